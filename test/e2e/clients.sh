#!/bin/bash
# clients.sh - many clients: addresses of their own, each other's neighbours, and who is refused.
#
#     ┌─── c1 (ann) ───┐
#     │ eth0 172.31.1.2│───────veth───────╮
#     └────────────────┘                  │  ┌─────────── server ───────────┐
#     ┌─── c2 (bob) ───┐                  ╰──│ c1 172.31.1.1                │
#     │ eth0 172.31.2.2│───────veth──────────│ c2 172.31.2.1   mqvpn0       │
#     └────────────────┘                  ╭──│ c3 172.31.3.1   10.9.0.0/24  │
#     ┌────── c3 ──────┐                  │  └──────────────────────────────┘
#     │ eth0 172.31.3.2│───────veth───────╯
#     └────────────────┘
. "$(dirname "$0")/lib.sh"

stage 3
setting server ipv4/ip_forward 1
setting server ipv6/conf/all/forwarding 1
remember c1 c2 c3 server
ann=$("$MQVPN" genkey) bob=$("$MQVPN" genkey)
echo "$ann" >"$T/ann"
echo "$bob" >"$T/bob"
echo "not-a-key-of-anybody" >"$T/wrong"

step "two users at once"
server --user "ann:$ann" --user "bob:$bob" --subnet 10.9.0.0/24 --subnet6 fd99::/112 \
    --max-clients 2
client_start 1 --auth-key-file "$T/ann"
client_start 2 --auth-key-file "$T/bob"
client_up 1
client_up 2
said server 'ann from .* has 10\.9\.0\.'
said server 'bob from .* has 10\.9\.0\.'
a4=$(inner 1 4) a6=$(inner 1 6) b4=$(inner 2 4) b6=$(inner 2 6)
echo "   ann $a4 $a6, bob $b4 $b6"
for address in "$a4" "$b4"; do
    case $address in 10.9.0.*) ;; *) fail "\"$address\" is not of the pool" ;; esac
done
for address in "$a6" "$b6"; do
    case $address in fd99::*) ;; *) fail "\"$address\" is not of the pool" ;; esac
done
[ "$a4" != "$b4" ] && [ "$a6" != "$b6" ] || fail "both have the same address"

step "through the server to each other"
pings c1 50 10.9.0.1
pings c2 50 fd99::1
pings c1 50 "$b4"
pings c1 50 "$b6"
pings c2 50 "$a4"
pings c2 50 "$a6"

step "both send at once"
spawn iperf1 server iperf3 -s -p 5201 --forceflush
spawn iperf2 server iperf3 -s -p 5202 --forceflush
spawn iperf3 c2 iperf3 -s -p 5203 --forceflush
for name in iperf1 iperf2 iperf3; do wait_log $name 'Server listening'; done
flow c1 10.9.0.1 -t 2 -p 5201 &
one=$!
flow c2 10.9.0.1 -t 2 -p 5202 -R &
two=$!
wait $one && wait $two || fail "both at once"
flow c1 "$b4" -t 1 -p 5203
flow c1 "$b6" -t 1 -p 5203 -R

step "a wrong key, no key, another user's address"
client_start 3 --auth-key-file "$T/wrong"
ended c3 77
said c3 'the server refused \(status 401\).*auth-key'
said server 'a client from 172.31.3.2.* was refused: wrong key'
client_start 3
ended c3 77
said server 'a client from 172.31.3.2.* was refused: it showed no key'
as_before "after the refusals" c3
# ann uses the address of bob as her source: it goes no further than the server's check.
ip -n c1 address add "$b4/32" dev mqvpn0
refused "a stolen source address passed" in_ns c1 ping -q -c 3 -i 0.2 -W 1 -I "$b4" 10.9.0.1
ip -n c1 address del "$b4/32" dev mqvpn0
pings c1 20 10.9.0.1
pings c2 20 10.9.0.1

step "the pool is full"
client_start 3 --auth-key-file "$T/ann" --no-reconnect
ended c3 75
said c3 'no address is free'
said server 'no address left in 10.9.0.0/24'
as_before "after the pool was full" c3

step "the address of one who left is given on when no other is free"
stop c1
as_before "after leaving" c1
# Its lease went with the process of c1; no other slot is left, so c3 gets it.
client_start 3 --auth-key-file "$T/ann"
client_up 3
equal "address of the newcomer" "$(inner 3 4)" "$a4"
pings c3 20 10.9.0.1
pings c3 20 "$b4"
pings c2 20 "$a4"

step "a lease token is worth its addresses to its user alone"
stop c2
stop c3
stop server
rm -rf "$T/server"
server --user "ann:$ann" --user "bob:$bob" --subnet 10.9.0.0/24
STEAL=$O/test/e2e/steal
take() { # KEY [TOKEN]: prints what the server gave
    in_ns c1 "$STEAL" 172.31.1.1 443 "$@" || fail "no answer for a tunnel"
}
address() { echo "$1" | sed -n 's/^address \(10[0-9.]*\)$/\1/p'; }
first=$(take "$ann") || fail "$first"
token=$(echo "$first" | sed -n 's/^lease //p')
[ -n "$token" ] || fail "no lease token: $first"
mine=$(address "$first")
for _ in 1 2 3; do
    equal "ann's address with her token" "$(address "$(take "$ann" "$token")")" "$mine"
done
theirs=$(address "$(take "$bob" "$token")")
[ -n "$theirs" ] && [ "$theirs" != "$mine" ] || fail "bob got \"$theirs\" by ann's token"
for wrong in "${token%?}" "${token}A" "B${token#?}" "$(echo "$token" | tr 'A-Za-z' 'B-ZAb-za')"; do
    other=$(address "$(take "$ann" "$wrong")")
    [ -n "$other" ] && [ "$other" != "$mine" ] || fail "\"$other\" was given for a false token"
done
equal "ann's address with her token" "$(address "$(take "$ann" "$token")")" "$mine"

for name in iperf1 iperf2 iperf3; do kill "${pid[$name]}"; done
stop server
nothing_left "at the end" c1 c2 c3 server
