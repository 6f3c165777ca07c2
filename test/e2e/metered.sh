#!/bin/bash
# metered.sh - a link with a month's bound: it carries only while the other can't, what it carries is
# counted and kept, and beyond the bound it is not used, until the month is over.
#
#     ┌──────── c1 ─────────┐                      ┌────── server ───────┐
#     │  eth0 172.31.1.2    │────────veth──────────│  c1  172.31.1.1     │
#     │  eth1 172.32.1.2    │────────veth──────────│  c1b 172.32.1.1     │
#     └─────────────────────┘                      └─────────────────────┘
. "$(dirname "$0")/lib.sh"

FAR=10.0.0.1 FILE=$T/c1/metered

routes() {
    ip -n c1 route replace default via 172.31.1.1
    ip -n c1 -6 route replace default via fd00:31:1::1
}
used() { in_ns c1 "$MQVPN" status --json | sed -n 's/.*"interface":"eth1","used_bytes":\([0-9]*\).*/\1/p'; }
carried() { in_ns c1 sed -n 's/^ *eth1: *//p' /proc/net/dev | awk '{ print $1 + $9 }'; }
# Whether there is a path by eth1, which may have won the race.
uses() { in_ns c1 "$MQVPN" status --json | grep -q '"state":"[a-z]*","interface":"eth1"'; }
# Some 2 kB a time, both ways, within a second or so.
push() { in_ns c1 ping -q -s 1000 -i 0.01 -c "$1" -W 1 $FAR >/dev/null 2>&1; } # PINGS
spent() { push 100; grep -q 'eth1 has carried what it may' "$T/c1.log"; }

stage 1
link c1 eth1 172.32.1.2/24 fd00:32:1::2/64 server c1b 172.32.1.1/24 fd00:32:1::1/64
ip -n c1 route replace default via 172.32.1.1 dev eth1 metric 200
for dev in all default eth0 eth1; do setting c1 ipv4/conf/$dev/rp_filter 2; done
server

step "a backup, whose bytes are counted"
client 1 --link eth1=1mb
wait_for 10 "a path by eth1" uses
wait_for 10 "a path by eth0" eval "in_ns c1 $MQVPN status | grep -q '^  eth0'"
push 200
before=$(used)
push 200
echo "   eth1: $before bytes, after 400 kB more by eth0 $(used)"
[ $(($(used) - before)) -lt 100000 ] || fail "the metered link carried what the other could"
ok "status tells of it" eval "in_ns c1 $MQVPN status | grep -q 'eth1: .* of 1.0 MB this month'"

step "alone: it carries, and is counted"
ip -n c1 link set eth0 down
wait_for 10 "eth1 to carry" can_ping c1 $FAR
before=$(used) really=$(carried)
push 100
wait_for 10 "the count" eval "[ \$((\$(used) - before)) -gt 200000 ]"
counted=$(($(used) - before)) really=$(($(carried) - really))
echo "   counted $counted of $really bytes on the wire"
[ $counted -le $really ] || fail "more was counted than carried"

step "its month is used up"
wait_for 30 "the bound" spent
before=$(carried)
sleep 1
refused "it still carries" can_ping c1 $FAR
push 20
now=$(carried)
echo "   $((now - before)) bytes by eth1 since"
[ $((now - before)) -lt 20000 ] || fail "eth1 is used beyond its bound"

step "the other is back"
ip -n c1 link set eth0 up
routes
wait_for 30 "eth0 to carry" can_ping c1 $FAR
pings c1 20 $FAR
stop c1

step "a new start knows"
ok "the file" grep -q '^eth1 1[0-9]\{6\}$' "$FILE"
client 1 --link eth1=1mb
said c1 'eth1 has carried what it may'
pings c1 20 $FAR
sleep 1
silent_about c1 'via eth1'
stop c1

step "and begins anew with the month"
sed -i '1s/.*/2020-01/' "$FILE"
client 1 --link eth1=1mb
wait_for 10 "a path by eth1" uses
wait_for 10 "a path by eth0" eval "in_ns c1 $MQVPN status | grep -q '^  eth0'"
silent_about c1 'has carried what it may'
pings c1 20 $FAR
stop c1
stop server
