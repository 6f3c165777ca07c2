#!/bin/bash
# nat.sh - the server as a gateway, routes on the client, and nothing beside the tunnel.
#
#     ┌────── c1 ───────┐               ┌───────────── server ──────────────┐          ┌───── net ──────┐
#     │ eth0 172.31.1.2 │─────veth──────│ c1 172.31.1.1    out 172.30.0.1   │───veth───│ in 172.30.0.2  │
#     │ mqvpn0          │~~~~ tunnel ~~~│ mqvpn0 ── masquerade ──╯          │          │    fd00:30::2  │
#     └─────────────────┘               └───────────────────────────────────┘          └────────────────┘
#
# "net" has no route back to the pool: only masqueraded packets get an answer. Counters on c1's
# uplink tell the tunnel's own packets from all others.
. "$(dirname "$0")/lib.sh"

NET4=172.30.0.2 NET6=fd00:30::2

stage 1
setting server ipv4/ip_forward 1 # so that the ways beside the tunnel work without it
setting server ipv6/conf/all/forwarding 1
ip -n net route add 172.31.0.0/16 via 172.30.0.1
ip -n net -6 route add fd00:31::/32 via fd00:30::1
wait_for 5 "IPv4 without the tunnel" can_ping c1 $NET4
wait_for 5 "IPv6 without the tunnel" can_ping c1 $NET6

in_ns c1 nft -f - <<'END' || skip "nft does not work here"
table inet watch {
    counter tunnel {}
    counter beside {}
    chain out {
        type filter hook postrouting priority 0;
        oifname != "eth0" accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld2-listener-report } accept
        ip daddr 172.31.1.1 udp dport 443 counter name tunnel accept
        counter name beside
    }
}
END
counted() { in_ns c1 nft list counter inet watch "$1" | sed -n 's/.*packets \([0-9]*\).*/\1/p'; }
count_anew() { in_ns c1 nft reset counters table inet watch >/dev/null; }

# Since count_anew everything left through the tunnel.
nothing_beside() { # WHEN
    [ "$(counted beside)" = 0 ] || fail "$(counted beside) packets left beside the tunnel, $1"
    [ "$(counted tunnel)" -gt 0 ] || fail "no packet left through the tunnel, $1"
}

tables() { in_ns server nft list tables; }

remember c1
step "the server's forwarding is off at first and off again later"
setting server ipv4/ip_forward 0
setting server ipv6/conf/all/forwarding 0
remember server
server --nat
case $(tables) in *mqvpn*) ;; *) fail "no nft table: $(tables)" ;; esac
equal "ip_forward" "$(setting server ipv4/ip_forward)" 1
equal "IPv6 forwarding" "$(setting server ipv6/conf/all/forwarding)" 1
client 1
count_anew
pings c1 30 $NET4
pings c1 30 $NET6
nothing_beside "with --nat"
spawn iperf net iperf3 -s --forceflush
wait_log iperf 'Server listening'
flow c1 $NET4 -t 1
flow c1 $NET4 -t 1 -R
flow c1 $NET6 -t 1 -R
nothing_beside "with iperf3"
stop c1
as_before "after the client" c1
stop server
nothing_left "after --nat" c1 server

step "the server is killed: the next start takes the rest back"
server --nat
murder server
server # without --nat
case $(tables) in *mqvpn*) fail "the table of the killed server stays: $(tables)" ;; esac
stop server
nothing_left "after a killed server and the next" server

step "no --nat: nothing is changed, what is missing is named"
server
equal "ip_forward" "$(setting server ipv4/ip_forward)" 0
case $(tables) in *mqvpn*) fail "a table without --nat: $(tables)" ;; esac
wait_log server 'warning: .*forward'
client 1
refused "net answers without forwarding" can_ping c1 $NET4
setting server ipv4/ip_forward 1
refused "net answers without NAT" can_ping c1 $NET4
ip -n net route add 10.0.0.0/24 via 172.30.0.1
pings c1 10 $NET4
ip -n net route del 10.0.0.0/24
stop c1
stop server

step "a server without IPv6 to give: IPv6 is blocked, not leaked"
setting server ipv6/conf/all/forwarding 1
setting server ipv4/ip_forward 1
remember server
server --nat --subnet6 none
wait_for 5 "IPv6 before the client" can_ping c1 $NET6
client 1
said c1 'IPv6 none \(blocked\)'
count_anew
refused "IPv6 passed" in_ns c1 ping -6 -q -c 3 -i 0.2 -W 1 $NET6
pings c1 10 $NET4
nothing_beside "without IPv6 in the tunnel"
out=$(in_ns c1 ping -6 -c 1 -W 3 $NET6 2>&1)
case $out in *nreachable*) ;; *) fail "no word to the sender of a blocked packet: $out" ;; esac
stop c1
wait_for 5 "IPv6 after the client" can_ping c1 $NET6
as_before "after the client" c1
stop server

step "split tunnel"
server --nat
client 1 --route 172.30.0.0/24 --route 10.0.0.0/24
count_anew
pings c1 10 $NET4
nothing_beside "to the routed prefix"
wait_for 5 "IPv6 on its old way" can_ping c1 $NET6
[ "$(counted beside)" -gt 0 ] || fail "IPv6 went into a split tunnel for IPv4"
stop c1
as_before "after the client" c1

step "no routes at all"
client 1 --no-manage-routes
count_anew
pings c1 5 $NET4
[ "$(counted beside)" -gt 0 ] || fail "a route was set in spite of --no-manage-routes"
count_anew
pings c1 5 $NET4 -I mqvpn0
nothing_beside "bound to the device"
stop c1
as_before "after the client" c1
stop server
nothing_left "after the split tunnels" server

step "what stands in the way is named"
in_ns server nft -f - <<'END'
table inet fw {
    chain forward {
        type filter hook forward priority 0; policy drop;
    }
}
END
setting c1 ipv4/conf/all/rp_filter 1
remember c1 server
server --nat
wait_log server 'warning: .*drops forwarded packets .table fw'
client 1
wait_log c1 'warning: .*rp_filter'
stop c1
stop server
nothing_left "at the end" c1 server
