#!/bin/bash
# ngtcp2_server.sh - our client side visits the example server of ngtcp2 (GnuTLS, nghttp3).
#
#     ┌──────── c1 ─────────┐                      ┌────── server ───────┐
#     │  eth0 172.31.1.2    │────────veth──────────│  c1 172.31.1.1      │
#     │  get, mqvpn client  │                      │  gtlsserver         │
#     └─────────────────────┘                      └─────────────────────┘
. "$(dirname "$0")/../e2e/lib.sh"

command -v gtlsserver >/dev/null || skip "gtlsserver is missing (make deps)"
GET=$O/test/interop/get

stage 1
cd "$T" || exit 1
"$MQVPN" gencert --name vpn.example --cert a.crt --key a.key >/dev/null
mkdir www
head -c 1000000 /dev/urandom >www/one
head -c 300000 /dev/urandom >www/two
head -c 1 /dev/urandom >www/tiny
TLS=NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL
HOST=172.31.1.1

serve() { # OPTIONS...
    spawn other server gtlsserver --no-http-dump -d "$T/www" "$@" "${LISTEN:-172.31.1.1}" 443 a.key a.crt
    sleep 0.3
    running other || fail "gtlsserver does not start"
}
served() {
    kill "${pid[other]}"
    wait_for 5 "gtlsserver to end" gone other
}

# All files must arrive as they are, from a server with OPTIONS.
fetch() { # CASE OPTIONS...
    local what=$1
    shift
    serve "$@"
    # shellcheck disable=SC2086
    in_ns c1 timeout $((50 * slow)) "$GET" ${OURS:-} $HOST 443 vpn.example /one /two /tiny >got 2>get.log ||
        fail "$what: $(cat get.log)"
    cat www/one www/two www/tiny | cmp - got || fail "$what: other bytes"
    served
    echo "   ok: $what"
}

step "ciphers and groups"
fetch "defaults"
fetch "AES-128-GCM" --ciphers=$TLS:+AES-128-GCM
fetch "AES-256-GCM" --ciphers=$TLS:+AES-256-GCM
fetch "ChaCha20-Poly1305" --ciphers=$TLS:+CHACHA20-POLY1305
fetch "X25519" --groups=-GROUP-ALL:+GROUP-X25519
fetch "HelloRetryRequest to P-256" --groups=-GROUP-ALL:+GROUP-SECP256R1
fetch "HelloRetryRequest to P-384" --groups=-GROUP-ALL:+GROUP-SECP384R1

step "transport"
fetch "Retry" --validate-addr
said other 'Token was successfully validated'
fetch "small windows" --max-data=1K --max-stream-data-bidi-remote=64 --max-stream-data-uni=64
fetch "datagrams of 1200 bytes" --max-udp-payload-size=1200
fetch "no GSO" --max-gso-dgrams=1
fetch "trailers" --send-trailers
fetch "a tenth of all packets lost, both ways" -t 0.1 -r 0.1
said other 'Simulated (in|out)'
OURS=-k fetch "key update by us"
grep -q 'key update 1' get.log || fail "no key update: $(cat get.log)"
OURS=-m fetch "migration by us"
grep -q 'moved to port' get.log || fail "no migration: $(cat get.log)"
said other 'PATH_CHALLENGE'
OURS=-r fetch "resumption"
grep -q '^resumed' get.log || fail "not resumed: $(cat get.log)"
OURS=-r fetch "resumption, Retry and the token of a former connection" --validate-addr
grep -q '^resumed' get.log || fail "not resumed: $(cat get.log)"
grep -q 'a token of [1-9]' get.log || fail "no token: $(cat get.log)"
LISTEN=fd00:31:1::1 HOST=fd00:31:1::1
fetch "IPv6"
LISTEN='' HOST=172.31.1.1

step "a file that is not there"
serve
in_ns c1 "$GET" $HOST 443 vpn.example /nowhere >got 2>get.log && fail "a file that is not there came"
grep -q 'status 404' get.log || fail "$(cat get.log)"

step "mqvpn client: the handshake is done, the server carries no IP"
spawn c1 c1 "$MQVPN" client $HOST --insecure --log-level debug --state-dir "$T/c1" --auth-key x
ended c1 76
said c1 'carries no IP'
said other 'QUIC handshake has completed'
said other 'HANDSHAKE_DONE'
spawn c1 c1 "$MQVPN" client $HOST --ca a.crt --tls-server-name vpn.example --state-dir "$T/c1" --auth-key x
ended c1 76
spawn c1 c1 "$MQVPN" client $HOST --ca a.crt --state-dir "$T/c1" --auth-key x
ended c1 78
served
