#!/bin/bash
# outage.sh - everything is gone for a while: the session is kept, and what is inside goes on.
#
#     ┌────── c ───────┐                                     ┌────── s ───────┐
#     │  wan0, wan1    │────── a: 20 Mbit/s, 10 ms ──────────│  wan0, wan1    │
#     │                │────── b: 10 Mbit/s, 20 ms ──────────│                │
#     └────────────────┘                                     └────────────────┘
#
# With LONG=1 (make check-long) the black hole lasts 65 s, and there is one more step.
. "$(dirname "$0")/lib.sh"

STREAM=$O/test/e2e/stream
FAR=10.0.0.1
long=8
[ -z "${LONG:-}" ] || long=62

two_links

begin() { # OPTIONS OF THE CLIENT...
    spawn c1 c "$MQVPN" client 172.29.0.1 --insecure --auth-key lab --route 10.0.0.0/24 \
        --state-dir "$T/c1" "$@"
    client_up 1
    wait_for 5 "the far end" can_ping c $FAR
    spawn echo s "$STREAM" serve 5000
    wait_log echo listening
    spawn stream c "$STREAM" run $FAR 5000
    wait_log stream '^[0-9]'
    sleep 1
}
lines() { wc -l <"$T/stream.log"; }
# The stream goes on within SECONDS of now.
goes_on() { # SECONDS
    local was began
    was=$(lines) began=$(date +%s%N)
    wait_for "$1" "the stream to go on" eval '[ $(lines) -gt '"$was"' ]'
    echo "   goes on after $((($(date +%s%N) - began) / 1000000)) ms"
}
finish_stream() { # TUNNELS
    kill "${pid[stream]}"
    ended stream 0
    said stream '^intact'
    ended echo 0
    equal "tunnels opened" "$(grep -c 'tunnel is up' "$T/c1.log")" "$1"
    stop c1
}

spawn server s "$MQVPN" server --auth-key lab --state-dir "$T/server"
wait_log server 'connect with: '

step "a black hole everywhere, then a link comes back"
begin
order "cut a"
order "cut b"
wait_log c1 'has not answered' 10
ok "status in an outage" eval "in_ns c $MQVPN status --json | grep -q '\"state\":\"outage\"'"
sleep "$long"
order "restore b"
goes_on 5
said c1 'the session goes on'
order "restore a"
sleep 1
pings c 20 $FAR

step "all interfaces down, and up"
ip -n c link set wan0 down
ip -n c link set wan1 down
wait_log c1 'is kept|has not answered|no interface' 10
sleep 5
ip -n c link set wan1 up
routes 1
goes_on 5
ip -n c link set wan0 up
routes 0
sleep 1
pings c 20 $FAR
finish_stream 1

step "without multipath"
begin --multipath off
order "cut a"
order "cut b"
wait_log c1 'has not answered' 10
sleep 6
order "restore a"
order "restore b"
goes_on 5
pings c 20 $FAR
finish_stream 1

step "the server is another meanwhile: a new session, at once"
begin
order "cut a"
order "cut b"
wait_log c1 'has not answered' 10
murder server
spawn server s "$MQVPN" server --auth-key lab --state-dir "$T/server"
wait_log server 'connect with: '
order "restore a"
order "restore b"
goes_on 8
pings c 20 $FAR
finish_stream 2
stop server

# The session of one that is gone holds an address for as long as --grace. It loses it where a
# newcomer would get none, and comes back when there is room: 30 s, for make check-long.
[ -n "${LONG:-}" ] || exit 0

step "the pool is full of one that is gone"
hosts c2
link c2 eth0 172.30.2.2/24 fd00:30:2::2/64 s eth0 172.30.2.1/24 fd00:30:2::1/64
ip -n c2 route replace default via 172.30.2.1 dev eth0
second() { # OPTIONS...
    spawn c2 c2 "$MQVPN" client 172.29.0.1 --insecure --auth-key lab --route 10.0.0.0/24 \
        --state-dir "$T/c2" "$@"
}
spawn server s "$MQVPN" server --auth-key lab --state-dir "$T/server" --max-clients 1
wait_log server 'connect with: '
spawn c1 c "$MQVPN" client 172.29.0.1 --insecure --auth-key lab --route 10.0.0.0/24 \
    --state-dir "$T/c1"
client_up 1
order "cut a"
order "cut b"
wait_log c1 'has not answered' 15
second --no-reconnect
ended c2 75
sleep 28
second
client_up 2
said server 'silent for 3[0-9] s, loses 10\.0\.0\.2'
pings c2 20 $FAR
order "restore a"
order "restore b"
wait_log c1 'status 503' 20
pings c2 20 $FAR # its address is not taken away again
stop c2
wait_for 40 "the first client's return" can_ping c $FAR
equal "tunnels opened" "$(grep -c 'tunnel is up' "$T/c1.log")" 2
stop c1
stop server
