#!/bin/bash
# multipath.sh - two links at a time: both carry, either may go and come while traffic runs.
#
#     ┌──────── c1 ─────────┐                      ┌────── server ───────┐
#     │  eth0 172.31.1.2    │────────veth──────────│  c1  172.31.1.1     │
#     │  eth1 172.32.1.2    │────────veth──────────│  c1b 172.32.1.1     │
#     │  mqvpn0 10.0.0.2    │~~~~~~~ tunnel ~~~~~~~│  mqvpn0 10.0.0.1    │
#     └─────────────────────┘                      └─────────────────────┘
. "$(dirname "$0")/lib.sh"

FAR=10.0.0.1

second_routes() {
    ip -n c1 route replace default via 172.32.1.1 dev eth1 metric 200
    ip -n c1 -6 route replace default via fd00:32:1::1 dev eth1 metric 2000
}
first_routes() {
    ip -n c1 address replace fd00:31:1::2/64 dev eth0 nodad
    ip -n c1 route replace default via 172.31.1.1
    ip -n c1 -6 route replace default via fd00:31:1::1
}
sent() { in_ns c1 sed -n "s/^ *$1: *//p" /proc/net/dev | awk '{ print $9 }'; } # DEV
paths_told() { grep -c "$1" "$T/c1.log"; }

# Each link carries more than N bytes while something runs.
both_carry() { # N
    local a b
    a=$(sent eth0) b=$(sent eth1)
    flow c1 $FAR -t 3 -P 4
    a=$(($(sent eth0) - a)) b=$(($(sent eth1) - b))
    echo "   eth0 sent $a bytes, eth1 $b"
    [ $a -gt "$1" ] && [ $b -gt "$1" ] || fail "one of the links carries (almost) nothing"
}

stage 1
link c1 eth1 172.32.1.2/24 fd00:32:1::2/64 server c1b 172.32.1.1/24 fd00:32:1::1/64
second_routes
for dev in all default eth0 eth1; do setting c1 ipv4/conf/$dev/rp_filter 2; done
# Slow enough for one to be full.
for at in "c1 eth0" "c1 eth1" "server c1" "server c1b"; do
    # shellcheck disable=SC2086
    in_ns ${at% *} tc qdisc add dev ${at#* } root tbf rate 40mbit burst 64k latency 50ms \
        2>/dev/null || echo "   no tbf here: the links are as fast as they can be"
done
server
spawn iperf server iperf3 -s --forceflush
wait_log iperf 'Server listening'

step "two paths"
client 1
wait_log c1 'a path via eth1' 5
pings c1 20 $FAR
sleep 1
both_carry 200000

step "one link goes: nobody notices"
in_ns c1 ping -q -i 0.05 -c 100 -W 2 $FAR >"$T/ping" 2>&1 &
ping=$!
in_ns c1 iperf3 -J -c $FAR -t 5 >"$T/flow" 2>&1 &
flow=$!
sleep 1.5
ip -n c1 link set eth0 down
sleep 1.5
ip -n c1 link set eth0 up
first_routes
wait_log c1 'a path via eth0' 5
wait $ping
wait $flow || fail "iperf3 did not survive"
got=$(sed -n 's/.* \([0-9]*\) received.*/\1/p' "$T/ping")
echo "   $got of 100 pings answered"
[ "${got:-0}" -ge 90 ] || fail "more than a few pings lost"
equal "tunnels opened" "$(paths_told 'tunnel is up')" 1

step "both carry again"
sleep 1
both_carry 200000
stop c1

step "a backup carries nothing while the other works"
client 1 --link eth1=backup
wait_log c1 'a path via eth1' 5
sleep 1
before=$(sent eth1)
flow c1 $FAR -t 2
flow c1 $FAR -t 2 -R
carried=$(($(sent eth1) - before))
echo "   eth1 sent $carried bytes"
[ $carried -lt 1500000 ] || fail "the backup was used"
ip -n c1 link set eth0 down
wait_for 5 "the backup to carry" can_ping c1 $FAR
pings c1 20 $FAR
ip -n c1 link set eth0 up
first_routes
stop c1

step "without multipath"
client 1 --multipath off
pings c1 20 $FAR
silent_about c1 "a path via"
stop c1
kill "${pid[iperf]}"
wait_for 5 "iperf3 to end" gone iperf
stop server
