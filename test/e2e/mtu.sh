#!/bin/bash
# mtu.sh - two links of which one is narrower on its way: the tunnel's MTU, and who is told of it.
#
#     ┌─ lan ─┐   ┌────── c1 ───────┐                             ┌──── server ─────┐   ┌─ net ─┐
#     │ 1500  │───│ eth0 172.31.1.2 │───────────1500──────────────│ c1  172.31.1.1  │───│ 1500  │
#     └───────┘   │ eth1 172.32.1.2 │──1500── mid ──1400──────────│ c1b 172.33.1.1  │   └───────┘
#                 │ mqvpn0 10.0.0.2 │~~~~~~~~~~ tunnel ~~~~~~~~~~~│ mqvpn0 10.0.0.1 │
#                 └─────────────────┘                             └─────────────────┘
. "$(dirname "$0")/lib.sh"

FLOW=$O/test/e2e/flow
FAR=10.0.0.1
NET=172.30.0.2

stage 1
hosts r1 r2 lan
link c1 eth1 172.32.1.2/24 fd00:32:1::2/64 r1 near 172.32.1.1/24 fd00:32:1::1/64
link r1 far 172.34.1.1/24 fd00:34:1::1/64 r2 far 172.34.1.2/24 fd00:34:1::2/64
link r2 near 172.33.1.2/24 fd00:33:1::2/64 server c1b 172.33.1.1/24 fd00:33:1::1/64
link lan eth0 172.29.0.2/24 fd00:29::2/64 c1 lan 172.29.0.1/24 fd00:29::1/64
for r in r1 r2; do setting $r ipv4/ip_forward 1; done
ip -n r1 route add 172.31.1.0/24 via 172.34.1.2
ip -n r2 route add 172.31.1.0/24 via 172.33.1.1
ip -n r2 route add 172.32.1.0/24 via 172.34.1.1
between() { ip -n r1 link set far mtu "$1" && ip -n r2 link set far mtu "$1"; } # MTU
ip -n server route add 172.32.1.0/24 via 172.33.1.2
ip -n net route add 10.0.0.0/24 via 172.30.0.1
ip -n net -6 route add fd6d:7176:706e::/112 via fd00:30::1
ip -n lan route add default via 172.29.0.1
for dev in all default eth0 eth1; do setting c1 ipv4/conf/$dev/rp_filter 2; done
for dev in all default c1 c1b; do setting server ipv4/conf/$dev/rp_filter 2; done
setting server ipv4/ip_forward 1
setting server ipv6/conf/all/forwarding 1
# What the lan sends leaves with the tunnel's address.
setting c1 ipv4/ip_forward 1
in_ns c1 nft -f - <<X || skip "no masquerading here"
table ip lan {
    chain post { type nat hook postrouting priority 100; oifname "mqvpn0" masquerade; }
}
X
second_route() { ip -n c1 route replace default via 172.32.1.1 dev eth1 metric 200; }

mtu_of() { ip -n "$1" -o link show mqvpn0 | sed 's/.* mtu \([0-9]*\).*/\1/'; } # NS
wide() { [ "$(mtu_of "$1")" -gt 1420 ]; }                                     # NS
# 1400 less the outer headers, found to within 16 bytes.
narrow() { local m; m=$(mtu_of "$1") && [ "$m" -ge 1300 ] && [ "$m" -le 1344 ]; } # NS

step "one link: as much as it carries; a server's device is as wide"
between 1400
server
client 1
wait_for 10 "the MTU of the client" wide c1
wait_for 10 "the MTU of the server" wide server
spawn iperf net iperf3 -s --forceflush
wait_log iperf 'Server listening'

step "a narrower link joins: what is long goes over the other one, until nothing is"
spawn monitor c1 ip monitor link dev mqvpn0
in_ns c1 ping -M do -s 1400 -i 0.05 -c 100 -W 2 $FAR >"$T/ping" 2>&1 &
ping=$!
second_route
wait_log c1 'a path via eth1' 10
wait_for 15 "a narrower tunnel" narrow c1
wait $ping
# Later ones may be refused by the server, which has found out on its own.
early=$(grep -oE 'icmp_seq=[0-9]+ ttl' "$T/ping" | grep -cE '=(1?[0-9]|20) ')
errors=$(grep -ciE 'message too long|frag needed' "$T/ping")
echo "   of the first 20 long pings $early answered; of 100, $errors refused"
[ "$early" = 20 ] || fail "long packets were lost on the narrow link"
refused "a long packet was taken in the end" in_ns c1 ping -M do -s 1400 -c 1 -W 2 $FAR
MTU=$(mtu_of c1)
sleep 3
equal "the MTU later" "$(mtu_of c1)" "$MTU"
changes=$(grep -o ' mtu [0-9]*' "$T/monitor.log" | uniq | wc -l)
echo "   MTU $MTU, after $changes changes"
[ "$changes" -le 3 ] || fail "the MTU went to and fro"

step "too long a packet is answered by what the tunnel carries, from either side"
in_ns net ping -M do -s 1400 -c 1 -W 2 10.0.0.2 >"$T/ping4" 2>&1
grep -qE "mtu ?= ?13[0-4][0-9]" "$T/ping4" || { cat "$T/ping4"; fail "no Fragmentation Needed"; }
in_ns net ping -6 -M do -s 1380 -c 1 -W 2 "$(inner 1 6)" >"$T/ping6" 2>&1
grep -qE "mtu ?= ?13[0-4][0-9]" "$T/ping6" || { cat "$T/ping6"; fail "no Packet Too Big"; }
in_ns lan ping -M do -s 1400 -c 1 -W 2 $NET >"$T/ping4" 2>&1
grep -qE "mtu ?= ?$MTU" "$T/ping4" || { cat "$T/ping4"; fail "no Fragmentation Needed for the lan"; }
ok "a ping that fits" in_ns net ping -M do -s $((MTU - 60)) -c 3 -i 0.1 -W 2 10.0.0.2
ok "a ping in fragments" in_ns c1 ping -M dont -s 3000 -c 3 -i 0.1 -W 2 $FAR

step "TCP from 1500 to 1500 bytes, and nobody may say that anything is too long"
for ns in lan net; do
    ip -n $ns route flush cache
    in_ns $ns nft -f - <<X || fail "nft in $ns"
table ip deaf {
    chain in { type filter hook input priority 0; icmp type destination-unreachable drop; }
}
X
done
seen() {
    for ns in lan net; do
        in_ns $ns ss -Htin state established '( sport = :5201 or dport = :5201 )' >"$T/ss-$ns"
        grep -q ' mss:' "$T/ss-$ns" || return
    done
}
for way in "" -R; do
    # shellcheck disable=SC2086
    flow lan $NET -t 3 $way &
    flow=$!
    sleep 0.5
    wait_for 2 "a TCP connection" seen
    wait $flow || fail "the flow $way"
    for ns in lan net; do
        most=$(grep -oE ' mss:[0-9]+' "$T/ss-$ns" | cut -d: -f2 | sort -n | tail -n 1)
        [ "$most" -le $((MTU - 40)) ] || fail "$ns sends segments of $most bytes"
    done
done

step "without the narrow link it is wide again, and narrow when that is back"
ip -n c1 link set eth1 down
wait_for 10 "the wide tunnel" wide c1
ip -n c1 link set eth1 up
second_route
wait_log c1 'a path via eth1' 10
wait_for 15 "the narrow tunnel" narrow c1
stop c1

step "the only link gets narrower on its way while a flow runs"
between 1500
client 1 --path eth1
wait_for 10 "the MTU of the client" wide c1
spawn sink net "$FLOW" serve 5001 recv
wait_log sink listening
spawn source c1 "$FLOW" run $NET 5001 send
got() { awk '{ n += $2 } END { print n + 0 }' "$T/sink.log"; }
beyond() { [ "$(got)" -gt "$1" ]; }
wait_for 10 "the flow" beyond 1000000
between 1400
wait_for 30 "the narrower tunnel" narrow c1
wait_for 30 "the flow to go on" beyond $(($(got) + 1000000))
stop source TERM 143
ended sink 0
silent_about c1 'has not answered'
stop c1
stop server
exit 0
