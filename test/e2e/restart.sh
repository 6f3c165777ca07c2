#!/bin/bash
# restart.sh - a TCP connection inside the tunnel survives what happens outside it.
#
#     ┌──────── c1 ─────────┐                      ┌────── server ───────┐
#     │  eth0 172.31.1.2    │────────veth──────────│  c1 172.31.1.1      │
#     │  mqvpn0 10.0.0.2    │~~~~~~~ tunnel ~~~~~~~│  mqvpn0 10.0.0.1    │
#     │  stream run >────── │ ──────────────────── │ ─────> stream serve │
#     └─────────────────────┘                      └─────────────────────┘
#
# The server is killed and started again, stopped for a while, the client's link goes down and
# up. After each, the same TCP connection goes on and every byte is right.
. "$(dirname "$0")/lib.sh"

STREAM=$O/test/e2e/stream

stage 1
remember c1 server

count() { sed -n 's/^\([0-9]\+\)$/\1/p' "$T/run.log" | tail -n 1; }
beyond() { [ "$(count)" -gt "$1" ]; }

# The stream must get on by 200 kB from where it is.
goes_on() { # WHEN
    local from
    running run || fail "the stream broke, $1"
    from=$(count)
    wait_for 40 "the stream to go on, $1" beyond $((${from:-0} + 200000))
    running run || fail "the stream broke, $1"
    equal "IPv4 address, $1" "$(inner 1 4)" "$near4"
    equal "IPv6 address, $1" "$(inner 1 6)" "$near6"
}

server
client 1
near4=$(inner 1 4) near6=$(inner 1 6)
spawn serve server "$STREAM" serve 7000
wait_log serve listening
spawn run c1 "$STREAM" run 10.0.0.1 7000
wait_log run '^[0-9]+$'
goes_on "at first"

step "the server is killed and started again"
murder server
sleep 1
server --log-level debug
said server 'listening on'
goes_on "after the server's restart"
said server "has $near4"
said server 'proven its address by a token of a former connection'

step "the server ends and starts again"
stop server
sleep 1
server
goes_on "after the server's orderly restart"

step "the server sleeps for 8 seconds"
kill -s STOP "${pid[server]}"
sleep 8
kill -s CONT "${pid[server]}"
goes_on "after the server slept"

step "the client's link is down for 5 seconds"
ip -n c1 link set eth0 down
sleep 5
ip -n c1 link set eth0 up
# The kernel dropped what went with the link, as with a cable pulled under no manager.
ip -n c1 address add fd00:31:1::2/64 dev eth0 nodad
ip -n c1 route add default via 172.31.1.1
ip -n c1 -6 route add default via fd00:31:1::1
goes_on "after the link was down"

step "the stream ends, every byte is there"
kill -s TERM "${pid[run]}"
ended run 0 30
ended serve 0
tail -n 1 "$T/run.log"

step "the client is killed: nothing is left after the next start"
murder c1
client 1
pings c1 20 10.0.0.1
stop c1
stop server
nothing_left "at the end" c1 server
