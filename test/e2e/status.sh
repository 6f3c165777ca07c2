#!/bin/bash
# mqvpn status: what client and server say about themselves, and to whom.
. "$(dirname "$0")/lib.sh"

stage 2
FAR=10.0.0.1

step "nobody to ask"
"$MQVPN" status >"$T/out" 2>&1
equal "status" $? 69
grep -q 'no mqvpn is running' "$T/out" || fail "it does not say that none runs"

step "a client and its server"
server --user ann:secret --user bob:other
echo secret >"$T/ann"
client_start 1 --auth-key-file "$T/ann"
client_up 1
json() { in_ns "$1" "$MQVPN" status --json "${@:2}"; } # NS [OPTIONS]
ok "status of the client" in_ns c1 "$MQVPN" status
wait_for 5 "a pinged tunnel" can_ping c1 $FAR
pings c1 20 $FAR
json c1 >"$T/client.json" || fail "no status of the client"
json server >"$T/server.json" || fail "no status of the server"
has() { grep -qE -- "$2" "$T/$1.json" || { cat "$T/$1.json"; fail "the $1 does not say $2"; }; }
has client '^\{"version":1,"role":"client","state":"up",'
has client '"server":"172.31.1.1:443"'
has client '"ipv4":"10.0.0.2"'
has client '"interface":"eth0"'
has client '"remote":"172.31.1.1:443"'
has client '"rx_packets":(2[0-9]|[3-9][0-9]|[0-9]{3})'
has server '"role":"server"'
has server '"name":"ann"'
has server '"remote":"172.31.1.2:[0-9]+"'
has server '"ipv4":"10.0.0.2"'

step "the table fits a terminal, --watch shows it again and again"
in_ns server "$MQVPN" status >"$T/table" || fail "no table"
grep -q '^ann: up' "$T/table" || fail "ann is not in the table"
[ "$(wc -L <"$T/table")" -le 80 ] || fail "a line is longer than 80 columns"
spawn watch server "$MQVPN" status --watch
wait_for 10 "three tables" eval "[ \$(grep -c '^server mqvpn0: up' $T/watch.log) -ge 3 ]"
stop watch TERM 0

step "rates and shares under load"
spawn sink server iperf3 -s -1 --forceflush
wait_log sink listening
flow c1 $FAR -t 5 &
flow=$!
fast() { json c1 >"$T/client.json" && grep -qE '"tx_bps":[0-9]{6}' "$T/client.json"; }
wait_for 5 "a rate" fast
wait $flow || fail "the flow"
has client '"share_pct":100'
has client '"flows":\{"prompt":[0-9]+,"bulk":[0-9]+,'
has client '"bulk_ms":[0-9.]+,"marked":[0-9]+,"dropped_codel":[0-9]+'
has client '"numbered":\{"tx_packets":[0-9]+,"tx_lost":[0-9]+,"tx_repairs":'
has server '"numbered":\{.*"rx_waited":[0-9]+'

step "two clients"
echo other >"$T/bob"
client_start 2 --auth-key-file "$T/bob"
client_up 2
json server >"$T/server.json"
has server '"name":"ann".*"name":"bob"|"name":"bob".*"name":"ann"'

step "several of one name: that of the own namespace; wrong names"
json c2 >"$T/client.json"
has client '"server":"172.31.2.1:443"'
json c2 --tun-name mqvpn0 >"$T/client.json"
has client '"server":"172.31.2.1:443"'
in_ns c2 "$MQVPN" status --tun-name nope >"$T/out" 2>&1
equal "status of what does not run" $? 69
in_ns net "$MQVPN" status >"$T/out" 2>&1
equal "status where there are several" $? 64

if [ "$(id -u)" = 0 ] && setpriv --reuid=12345 --clear-groups true 2>/dev/null; then
    step "another user"
    chmod 755 /run /run/e2e
    cp "$MQVPN" /run/e2e/other-mqvpn
    setpriv --reuid=12345 --clear-groups /run/e2e/other-mqvpn status >"$T/out" 2>&1
    equal "status for another user" $? 2
    grep -q 'permission denied' "$T/out" || fail "it does not say why"
fi

step "a client that is gone, however it went"
murder c2
in_ns c2 "$MQVPN" status --tun-name mqvpn0 >/dev/null 2>&1
stop c1
in_ns c1 "$MQVPN" status >"$T/out" 2>&1 || true
grep -q '^client' "$T/out" && fail "a client answers that has ended"
client_start 2 --auth-key-file "$T/bob"
client_up 2
json c2 >"$T/client.json" || fail "no status after a kill"
stop c2
stop server
rmdir /run/mqvpn 2>/dev/null
nothing=$(ls /run/mqvpn 2>/dev/null)
equal "left in /run/mqvpn" "$nothing" ""
exit 0
