#!/bin/bash
# changes.sh - what a change of the machine's network costs: an interface that appears is carrying
# within a second, another address on the only one costs less than a second.
#
#     ┌──────── c1 ─────────┐                      ┌────── server ───────┐
#     │  eth0 172.31.1.2    │────────veth──────────│  c1  172.31.1.1     │
#     │  eth1 172.32.1.2    │────────veth──────────│  c1b 172.32.1.1     │
#     └─────────────────────┘                      └─────────────────────┘
#
# Each is tried up to TRIES times, as a busy machine may hold anything up: one has to be quick enough.
. "$(dirname "$0")/lib.sh"

FAR=10.0.0.1 TRIES=6 ASKED=1000 # ms
gone_times=0

ms() { echo $((${EPOCHREALTIME/./} / 1000)); }

# COMMAND, which sets $took, until it is quick enough.
quick() { # WHAT COMMAND...
    local what=$1 best=999999 i
    shift
    for ((i = 0; i < TRIES; i++)); do
        "$@"
        echo "   $what: $took ms"
        [ "$took" -ge $best ] || best=$took
        [ $best -ge $ASKED ] || return
    done
    fail "$what took $best ms at best"
}

sent() { awk '$1 == "eth1:" { print $10 }' /proc/net/dev; }
export -f sent

# From the moment when eth1 has all it needs until it has sent more than the handshake of a path.
appear() {
    local began
    ip -n c1 link set eth1 up
    ip -n c1 address replace 172.32.1.2/24 dev eth1
    began=$(ms)
    ip -n c1 route replace default via 172.32.1.1 dev eth1 metric 200
    in_ns c1 bash -c 'was=$(sent); for ((i = 0; i < 2000; i++)); do
        [ $(($(sent) - was)) -lt 50000 ] || exit 0; sleep 0.005; done; exit 1' ||
        fail "eth1 does not carry"
    took=$(($(ms) - began))
    ip -n c1 link set eth1 down
    gone_times=$((gone_times + 1))
    wait_for 5 "eth1's path to end" eval "[ \$(grep -c 'eth1 is gone' $T/c1.log) = $gone_times ]"
}

# From the moment when eth0 has all it needs at another address until a ping is answered.
readdress() { # The two addresses take turns.
    local new=3 old=2 began
    ! ip -n c1 -o address show dev eth0 | grep -q 172.31.1.3 || new=2 old=3
    ip -n c1 address del 172.31.1.$old/24 dev eth0
    ip -n c1 address add 172.31.1.$new/24 dev eth0
    began=$(ms)
    ip -n c1 route add default via 172.31.1.1 dev eth0
    in_ns c1 bash -c 'for ((i = 0; i < 100; i++)); do
        ping -q -n -c 1 -W 0.1 '$FAR' >/dev/null && exit 0; done; exit 1' || fail "the tunnel does not carry"
    took=$(($(ms) - began))
}

stage 1
link c1 eth1 172.32.1.2/24 fd00:32:1::2/64 server c1b 172.32.1.1/24 fd00:32:1::1/64
ip -n c1 -6 address flush dev eth1
ip -n c1 link set eth1 down
for dev in all default eth0 eth1; do setting c1 ipv4/conf/$dev/rp_filter 2; done
for at in "c1 eth0" "c1 eth1"; do
    in_ns ${at% *} tc qdisc add dev ${at#* } root tbf rate 40mbit burst 64k latency 50ms 2>/dev/null ||
        echo "   no tbf here: the links are as fast as they can be"
done
server
spawn iperf server iperf3 -s --forceflush
wait_log iperf 'Server listening'

step "an interface appears while a flow fills the other"
client 1
in_ns c1 iperf3 -c $FAR -t 60 -P 2 >"$T/flow" 2>&1 &
flow=$!
sleep 1
quick "appeared" appear
kill $flow
wait $flow 2>/dev/null

step "another address"
quick "with multipath" readdress
stop c1
client 1 --multipath off
quick "without" readdress
stop c1
kill "${pid[iperf]}"
wait_for 5 "iperf3 to end" gone iperf
stop server
