#!/bin/bash
# links.sh - a client with two links, one at a time: a dead one costs nothing, one that goes is
# not missed. (Several at a time: multipath.sh.)
#
#     ┌──────── c1 ─────────┐                      ┌────── server ───────┐
#     │  eth0 172.31.1.2    │────────veth──────────│  c1  172.31.1.1     │
#     │  eth1 172.32.1.2    │────────veth──────────│  c1b 172.32.1.1     │
#     └─────────────────────┘                      └─────────────────────┘
#
# Both have a default route; that of eth0 is the better one.
. "$(dirname "$0")/lib.sh"

FAR=10.0.0.1

second_routes() {
    ip -n c1 route replace default via 172.32.1.1 dev eth1 metric 200
    ip -n c1 -6 route replace default via fd00:32:1::1 dev eth1 metric 2000
}

# What arrives on the server's DEV is dropped, both ways, without a word.
black_hole() { # DEV
    in_ns server nft "add table inet hole; add chain inet hole in { type filter hook input priority 0; }
        add rule inet hole in iifname $1 drop"
}
no_black_hole() { in_ns server nft delete table inet hole; }

stage 1
link c1 eth1 172.32.1.2/24 fd00:32:1::2/64 server c1b 172.32.1.1/24 fd00:32:1::1/64
second_routes
for dev in all default eth0 eth1; do setting c1 ipv4/conf/$dev/rp_filter 2; done
remember c1 server
server

step "the routing table's choice, then the other"
client 1 --multipath off
said c1 "connecting to 172.31.1.1:443 via eth0"
pings c1 20 $FAR

step "its link goes: the connection goes on by the other"
in_ns c1 ping -q -i 0.05 -c 60 -W 2 $FAR >"$T/ping" 2>&1 &
ping=$!
sleep 1
ip -n c1 link set eth0 down
wait_log c1 'going on via eth1' 5
wait $ping
got=$(sed -n 's/.* \([0-9]*\) received.*/\1/p' "$T/ping")
echo "   $got of 60 pings answered"
[ "${got:-0}" -ge 50 ] || fail "more than a few pings lost"
pings c1 20 $FAR
equal "tunnels opened" "$(grep -c 'tunnel is up' "$T/c1.log")" 1
silent_about c1 'trying again'

step "its address changes"
ip -n c1 address add 172.32.1.3/24 dev eth1
ip -n c1 address del 172.32.1.2/24 dev eth1
ip -n c1 address replace 172.32.1.3/24 dev eth1
second_routes
wait_for 10 "the tunnel to carry again" can_ping c1 $FAR
pings c1 20 $FAR
stop c1

step "a dead first link costs nothing"
ip -n c1 link set eth0 up
ip -n c1 address add fd00:31:1::2/64 dev eth0 nodad
ip -n c1 route add default via 172.31.1.1
ip -n c1 -6 route add default via fd00:31:1::1
black_hole c1
began=$(now_ms) late=$(late)
client 1 --multipath off
took=$(($(now_ms) - began))
echo "   up after $took ms"
[ $took -lt "$(patience 2000 "$late")" ] || fail "it took $took ms"
said c1 "via eth0"
said c1 "via eth1"
pings c1 20 $FAR
stop c1
no_black_hole

step "names and patterns"
client 1 --path 'eth[1-9]'
said c1 "via eth1"
silent_about c1 "via eth0"
stop c1
client 1 --no-path eth0
silent_about c1 "via eth0"
stop c1
client 1 --link 'eth0=backup' --multipath off
said c1 "via eth1"
silent_about c1 "via eth0"

step "a link of higher priority comes back"
ip -n c1 link set eth1 down
wait_log c1 'going on via eth0' 5
ip -n c1 link set eth1 up
second_routes
wait_log c1 'going on via eth1' 5
pings c1 20 $FAR
equal "tunnels opened" "$(grep -c 'tunnel is up' "$T/c1.log")" 1
stop c1
stop server
