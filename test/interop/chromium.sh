#!/bin/bash
# chromium.sh - headless Chromium visits our server over HTTP/3.
#
#     ┌──────── c1 ─────────┐                      ┌────── server ───────┐
#     │  eth0 172.31.1.2    │────────veth──────────│  c1 172.31.1.1      │
#     │  chromium           │                      │  mqvpn server       │
#     └─────────────────────┘                      └─────────────────────┘
#
# CHROMIUM names the program, if it is not in PATH. "/" of our server is a plain page.
. "$(dirname "$0")/../e2e/lib.sh"

chromium=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome)}
[ -n "$chromium" ] || skip "there is no chromium (CHROMIUM=/path/to/it)"

stage 1
server --log-level debug
# The pin is the hash of the public key, as Chromium wants it but for the prefix.
spki=${PIN#sha256/}
flags=(--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run
    --disable-background-networking --disable-component-update --disable-extensions
    --no-proxy-server --host-resolver-rules='MAP vpn.example 172.31.1.1, MAP * ~NOTFOUND'
    --enable-quic --origin-to-force-quic-on=vpn.example:443
    --ignore-certificate-errors-spki-list="$spki")

# A visit to PATH: the page goes to $T/page, what the browser's network did to $T/net.json.
visit() { # PATH OPTIONS...
    local path=$1
    shift
    rm -rf "$T/page" "$T/net.json" "$T/profile"
    in_ns c1 timeout $((60 * slow)) "$chromium" "${flags[@]}" --user-data-dir="$T/profile" \
        --log-net-log="$T/net.json" "$@" --dump-dom "https://vpn.example$path" \
        >"$T/page" 2>"$T/chromium.log" || fail "$path: $(tail -5 "$T/chromium.log")"
}

step "the page comes, over h3"
visit /
grep -q 'It works\.' "$T/page" || fail "another page: $(cat "$T/page")"
grep -q '"version":"RFCv1"' "$T/net.json" || fail "no session of QUIC version 1"
grep -q ':status: 200' "$T/net.json" || fail "the browser's log has no answer"
"$chromium" --version

step "twice more, and a page that is not there"
visit / --disable-features=PostQuantumKyber
grep -q 'It works\.' "$T/page" || fail "another page: $(cat "$T/page")"
visit /nowhere
grep -q ':status: 404' "$T/net.json" || fail "no 404 in the browser's log"

step "all is well afterwards"
running server || fail "the server is gone"
client 1
pings c1 10 10.0.0.1
stop c1
stop server
