#!/bin/bash
# qlog.sh - --qlog DIR on both sides of a tunnel: a file for each connection and role.
#
#     ┌──────── c1 ─────────┐                      ┌────── server ───────┐
#     │  eth0 172.31.1.2    │────────veth──────────│  c1 172.31.1.1      │
#     │  mqvpn0 10.0.0.2    │~~~~~~~ tunnel ~~~~~~~│  mqvpn0 10.0.0.1    │
#     └─────────────────────┘                      └─────────────────────┘
. "$(dirname "$0")/lib.sh"

RS=$'\x1e'

# FILE holds records and nothing else, and among them an event of each NAME.
holds() { # FILE NAME...
    local file=$1 name
    shift
    [ "$(stat -c %a "$file")" = 600 ] || fail "others may read $file"
    [ "$(grep -avcE "^$RS\{.*\}\$" "$file")" = 0 ] || fail "$file holds what is no record"
    head -n 1 "$file" | grep -qa '"qlog_version":"0.3","qlog_format":"JSON-SEQ"' ||
        fail "$file has no header"
    for name; do
        grep -qa "\"name\":\"$name\"" "$file" || fail "$file has no $name"
    done
    ! command -v python3 >/dev/null || python3 - "$file" <<'END' || fail "$file is not JSON"
import json, sys
for record in open(sys.argv[1], encoding="ascii").read().split("\x1e")[1:]:
    json.loads(record)
END
}

stage 1
mkdir "$T/ql"

step "a folder that is not there: said before anything is done"
spawn c1 c1 "$MQVPN" client 172.31.1.1 --qlog "$T/none" --insecure --auth-key x
ended c1 66
said c1 'qlog .*/none.*No such file'
spawn server server "$MQVPN" server --qlog "$T/none" --state-dir "$T/server"
ended server 66

step "both sides log"
server --qlog "$T/ql"
client 1 --qlog "$T/ql"
pings c1 20 10.0.0.1
sleep 1.2
pings c1 2 10.0.0.1
stop c1
stop server
n=$(find "$T/ql" -type f | wc -l)
equal "files" "$n" 2
for f in "$T"/ql/*_client.sqlog "$T"/ql/*_server.sqlog; do
    holds "$f" connectivity:connection_started connectivity:connection_closed \
        transport:parameters_set transport:packet_sent transport:packet_received \
        security:key_updated recovery:metrics_updated
    grep -a transport:packet_sent "$f" | grep -qa '"frame_type":"datagram"' ||
        fail "$f has no DATAGRAM sent"
done
a=$(basename "$T"/ql/*_client.sqlog _client.sqlog)
b=$(basename "$T"/ql/*_server.sqlog _server.sqlog)
equal "the connection's ID" "$a" "$b"

step "a full disk: the tunnel goes on"
mkdir "$T/small"
mount -t tmpfs -o size=8k,mode=700 none "$T/small"
server
client 1 --qlog "$T/small"
for _ in 1 2 3 4 5; do
    pings c1 20 10.0.0.1
    sleep 0.3
done
said c1 'qlog.*No space left'
stop c1
stop server
