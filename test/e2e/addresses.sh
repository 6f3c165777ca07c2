#!/bin/bash
# addresses.sh - a server with several addresses: each interface of the client has one path, to
# whichever address answers; IPv4 on one interface and IPv6 on the other make one tunnel.
#
#     ┌──────── c1 ─────────┐                      ┌────────── server ───────────┐
#     │  eth0 172.31.1.2    │────────veth──────────│  c1  172.31.1.1  172.31.1.9 │
#     │       fd00:31:1::2  │                      │      fd00:31:1::1           │
#     │  eth1 fd00:32:1::2  │────────veth──────────│  c1b fd00:32:1::1           │
#     └─────────────────────┘                      └─────────────────────────────┘
#
# The names are in an /etc/hosts that only this test sees.
. "$(dirname "$0")/lib.sh"

FAR=10.0.0.1

cat >"$T/hosts" <<END
127.0.0.1 localhost
172.31.1.1 two.example
172.31.1.9 two.example
172.31.1.1 both.example
fd00:31:1::1 both.example
END
ok "private /etc/hosts" mount --bind "$T/hosts" /etc/hosts

# Nothing passes between the client and an address of the server.
hole() { # ADDR...
    local a family
    in_ns server nft "add table inet hole; add chain inet hole in { type filter hook input priority 0; }"
    for a; do
        family=ip
        [[ $a != *:* ]] || family=ip6
        in_ns server nft "add rule inet hole in $family daddr $a drop"
    done
}
no_hole() { in_ns server nft delete table inet hole; }

joins() { # SERVER OPTIONS...
    local server=$1
    shift
    spawn c1 c1 "$MQVPN" client "$server" --state-dir "$T/c1" --pin "$PIN" --auth-key-file "$T/key" "$@"
    client_up 1
}
opened() { grep -c 'a path via' "$T/c1.log"; }
one_tunnel() { equal "tunnels opened" "$(grep -c 'tunnel is up' "$T/c1.log")" 1; }
uses() { in_ns c1 "$MQVPN" status --json | grep -q "\"interface\":\"$1\""; } # IFACE

stage 1
ip -n server address add 172.31.1.9/24 dev c1
server

step "one path by an interface, whatever the server has"
for name in two both; do
    joins $name.example
    pings c1 20 $FAR
    sleep 1
    equal "paths beside the first ($name)" "$(opened)" 0
    stop c1
done

step "an address that answers no more: the session goes on with the other"
for name in two both; do
    joins $name.example
    first=$(sed -n 's/.*connecting to \[\?\(.*[0-9]\)\]\?:443 via.*/\1/p' "$T/c1.log" | tail -n 1)
    case $name,$first in
    two,172.31.1.1) other=172.31.1.9 ;;
    both,172.31.1.1) other='\[fd00:31:1::1\]' ;;
    *) other=172.31.1.1 ;;
    esac
    hole "$first"
    began=$(date +%s%N)
    wait_for 15 "the other address to carry" can_ping c1 $FAR
    echo "   $first was cut; again after $((($(date +%s%N) - began) / 1000000)) ms"
    said c1 "a path via eth0 to $other:443"
    wait_log c1 "its path to .* ends"
    pings c1 20 $FAR
    one_tunnel
    no_hole
    stop c1
done

step "a dead address costs the handshake nothing"
hole 172.31.1.1
joins two.example
said c1 'connecting to 172.31.1.9:443'
pings c1 20 $FAR
stop c1
no_hole

step "all ways, where that is asked for"
joins both.example --link eth0=all
wait_log c1 'a path via eth0 to'
pings c1 20 $FAR
sleep 1
equal "paths beside the first" "$(opened)" 1
one_tunnel
stop c1

step "IPv6 alone on the second interface"
ip link add eth1 netns c1 type veth peer name c1b netns server || skip "no veth devices here"
ip -n c1 address add fd00:32:1::2/64 dev eth1 nodad
ip -n server address add fd00:32:1::1/64 dev c1b nodad
ip -n server link set c1b up
ip -n c1 link set eth1 up
ip -n c1 -6 route add default via fd00:32:1::1 dev eth1 metric 2000
ip -n c1 -6 address flush dev eth0
joins both.example
wait_for 5 "a path by each" eval "uses eth0 && uses eth1"
pings c1 20 $FAR
ip -n c1 link set eth0 down
wait_for 5 "IPv6 to carry" can_ping c1 $FAR
pings c1 20 $FAR
one_tunnel
stop c1
stop server
