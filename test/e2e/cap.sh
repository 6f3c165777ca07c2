#!/bin/bash
# cap.sh - `--link IFACE=RATE`: neither a client nor its server sends more by a link than that, whatever
# the scheduler and the controller of congestion.
#
#     ┌────── c ───────┐                                     ┌────── s ───────┐
#     │  wan0: 4 Mbit/s│────── a: 20 Mbit/s, 10 ms ──────────│  wan0, wan1    │
#     │  wan1          │────── b: 10 Mbit/s, 20 ms ──────────│                │
#     └────────────────┘                                     └────────────────┘
. "$(dirname "$0")/lib.sh"

FAR=10.0.0.1
CAP=4 # Mbit/s

two_links
moved() { in_ns c sed -n "s/^ *$1: *//p" /proc/net/dev | awk -v k="$2" '{ print $k }'; } # DEV COLUMN
sent() { moved "$1" 9; }
received() { moved "$1" 1; }

cat >"$T/client.ini" <<'END'
[Server]
Address = 172.29.0.1
Insecure = true
[Auth]
Key = lab
[Interface]
Route = 10.0.0.0/24
[Multipath]
Link = wan0=4mbit
END
spawn server s "$MQVPN" server --auth-key lab --state-dir "$T/server"
wait_log server 'connect with: '
spawn iperf s iperf3 -s --forceflush
wait_log iperf 'Server listening'

begin_alone() { # OPTIONS...
    spawn c1 c "$MQVPN" client --state-dir "$T/c1" "$@"
    client_up 1
    wait_for 5 "the far end" can_ping c $FAR
}
begin() { # OPTIONS...
    begin_alone "$@"
    wait_log c1 'a path via wan1' 5
}
# By wan0 goes at least a third of what is allowed in the flow's 3 s, and never more; wan1 carries what
# it can.
carry() { # sent|received OPTIONS OF IPERF...
    local way=$1 a=$($1 wan0) b=$($1 wan1) began=$(date +%s%N) late=$(late) time
    shift
    flow c $FAR -t 3 "$@"
    a=$(($($way wan0) - a)) b=$(($($way wan1) - b)) time=$((($(date +%s%N) - began) / 1000))
    echo "   in $((time / 1000)) ms wan0 $way $a bytes, wan1 $b"
    # Bits are microseconds times Mbit/s; a burst of 10 packets may go before, another as debt.
    [ $a -le $((CAP * time / 8 + 30000)) ] || fail "wan0 $way more than $CAP Mbit/s"
    [ $a -gt $((CAP * (3000000 - 4000 * ($(late) - late)) / 8 / 3)) ] || fail "wan0 was hardly used"
}
upload() { carry sent "$@"; } # OPTIONS OF IPERF...
download() { carry received -R "$@"; }

step "a file's Link, with each scheduler, both ways"
for scheduler in minrtt auto wlb redundant; do
    begin --config "$T/client.ini" --scheduler $scheduler
    echo "   $scheduler:"
    upload -P 4
    download -P 4
    stop c1
done

step "BBR, and UDP that asks for more"
begin 172.29.0.1 --insecure --auth-key lab --route 10.0.0.0/24 --cc bbr --link 'wan0=4mbit'
upload
upload -u -b 30M -l 1100
ok "status tells of it" eval "in_ns c $MQVPN status | grep -q '4.0 Mbit/s out at most'"
ok "status --json, too" eval "in_ns c $MQVPN status --json | grep -q '\"cap_bps\":4000000'"
download
download -u -b 30M -l 1100
ok "the server's status tells of it" eval "in_ns s $MQVPN status | grep -q '4.0 Mbit/s out at most'"
stop c1

step "without multipath"
begin_alone 172.29.0.1 --insecure --auth-key lab --route 10.0.0.0/24 --multipath off \
    --link 'wan0=4mbit'
upload
download
stop c1

step "a link alone, and after it was away"
begin 172.29.0.1 --insecure --auth-key lab --route 10.0.0.0/24 --link 'wan*=4mbit'
ip -n c link set wan0 down
wait_log c1 'wan0 is gone' 5
ip -n c link set wan0 up
ip -n c route replace default via 172.30.0.1 dev wan0 metric 100
wait_for 5 "the path's return" eval "[ \$(grep -c 'a path via wan0' $T/c1.log) -ge 1 ]"
sleep 1
upload -P 4
stop c1
kill "${pid[iperf]}"
stop server
