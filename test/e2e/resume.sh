#!/bin/bash
# resume.sh - what a client keeps for its next start: the TLS session. And Retry, as asked for.
#
#     ┌──────── c1 ─────────┐                      ┌────── server ───────┐
#     │  eth0 172.31.1.2    │────────veth──────────│  c1 172.31.1.1      │
#     └─────────────────────┘                      └─────────────────────┘
. "$(dirname "$0")/lib.sh"

stage 1
remember c1 server

goes_on='TLS session of a former connection goes on'
file=$T/c1/session-172.31.1.1:443

# One start of the client, to the tunnel and to its end.
begin() { # OPTIONS...
    spawn c1 c1 "$MQVPN" client 172.31.1.1 --state-dir "$T/c1" --auth-key-file "$T/key" \
        --log-level debug --io "$IO" "$@"
    client_up 1
}
visit() { # OPTIONS...
    begin "${@:---pin=$PIN}"
    pings c1 5 10.0.0.1
    stop c1
}
resumed() { said c1 "$goes_on"; }
full() { silent_about c1 "$goes_on"; }

step "the second start goes on with the session of the first"
server --log-level debug
visit
full
[ -s "$file" ] || fail "no session in $T/c1"
equal "mode of the session" "$(stat -c %a "$file")" 600
sum=$(cksum <"$file")
visit
resumed
said server "$goes_on"
[ "$(cksum <"$file")" != "$sum" ] || fail "the same session is kept for a third time"

step "a client that is killed has kept it"
begin --pin "$PIN"
resumed
murder c1
visit
resumed

step "the server restarts: its tickets hold"
stop server
server --log-level debug
visit
resumed

step "what was not verified, or verified otherwise, is not taken for it"
cp "$file" "$T/kept"
visit --insecure
full
visit
full
cp "$T/kept" "$file"
visit
resumed

step "a file that holds something else"
head -c 3000 /dev/urandom >"$file"
visit
full
visit
resumed

step "the server has lost its secret"
stop server
rm "$T/server/secret"
server --log-level debug
visit
full
visit
resumed
stop server

step "--retry always: whoever comes without a token"
server --log-level debug --retry always
visit
resumed
said server "proven its address by a Retry's token"
stop server

step "--retry never"
server --log-level debug --retry never
visit
silent_about server 'Retry'
stop server
nothing_left "at the end" c1 server
