#!/bin/bash
# ngtcp2_client.sh - the example client of ngtcp2 (GnuTLS, nghttp3) visits our server.
#
#     ┌──────── c1 ─────────┐                      ┌────── server ───────┐
#     │  eth0 172.31.1.2    │────────veth──────────│  c1 172.31.1.1      │
#     │  gtlsclient         │                      │  mqvpn server       │
#     └─────────────────────┘                      └─────────────────────┘
#
# "/" of our server is a plain page: "It works."
. "$(dirname "$0")/../e2e/lib.sh"

command -v gtlsclient >/dev/null || skip "gtlsclient is missing (make deps)"

stage 1
cd "$T" || exit 1
server --log-level debug
TLS=NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL
HOST=172.31.1.1

# One visit with OPTIONS must bring the page, or, with an empty PAGE, must do all but that.
visit() { # CASE OPTIONS...
    local what=$1
    shift
    rm -f index.html
    spawn visit c1 gtlsclient --no-http-dump --download "$T" --exit-on-all-streams-close \
        "$@" $HOST 443 https://vpn.example/
    ended visit 0 40
    said visit 'QUIC handshake has been confirmed'
    said visit ':status: 200'
    equal "$what: the page" "$(cat index.html)" 'It works.'
    running server || fail "$what ended the server"
    echo "   ok: $what"
}

step "ciphers and groups"
visit "defaults"
visit "AES-128-GCM" --ciphers=$TLS:+AES-128-GCM
visit "AES-256-GCM" --ciphers=$TLS:+AES-256-GCM
visit "ChaCha20-Poly1305" --ciphers=$TLS:+CHACHA20-POLY1305
visit "X25519" --groups=-GROUP-ALL:+GROUP-X25519
visit "P-256" --groups=-GROUP-ALL:+GROUP-SECP256R1
visit "P-384" --groups=-GROUP-ALL:+GROUP-SECP384R1
visit "HelloRetryRequest" --groups=-GROUP-ALL:+GROUP-SECP521R1:+GROUP-SECP384R1

step "no common group: refused, and the server lives"
spawn visit c1 gtlsclient --handshake-timeout=5s --groups=-GROUP-ALL:+GROUP-SECP521R1 \
    --exit-on-all-streams-close $HOST 443 https://vpn.example/
wait_for 20 "the end of a visit in vain" gone visit
said visit 'CONNECTION_CLOSE.*error_code=.*(0x128|CRYPTO_ERROR)'
silent_about visit ':status:'

step "transport"
visit "IPv4, a small client" --max-data=64 --max-stream-data-bidi-local=16 --max-stream-data-uni=32
visit "datagrams of 1200 bytes" --max-udp-payload-size=1200 --no-pmtud
visit "empty connection ID" --scid=
visit "long connection IDs" --dcid=0102030405060708090a0b0c0d0e0f101112 --scid=1112131415161718191a1b1c1d1e1f20
visit "key update" --key-update=200ms --delay-stream=500ms
said visit 'k=1'
visit "NAT rebinding" --nat-rebinding --change-local-addr=200ms --delay-stream=500ms
said visit 'Local address is now'
visit "migration" --change-local-addr=200ms --delay-stream=500ms
said visit 'PATH_RESPONSE'
for i in 1 2 3 4; do
    visit "a tenth of all packets lost, both ways ($i)" -t 0.1 -r 0.1
done
HOST=fd00:31:1::1
visit "IPv6"
HOST=172.31.1.1

step "version negotiation"
spawn visit c1 gtlsclient --version=0x1a2a3a4a --handshake-timeout=5s --exit-on-all-streams-close \
    $HOST 443 https://vpn.example/
wait_for 20 "the end of a visit with an unknown version" gone visit
said visit 'pkt rx .*type=VN'

step "a hundred requests, other paths and methods"
spawn visit c1 gtlsclient -q -n 100 --no-http-dump --exit-on-all-streams-close $HOST 443 https://vpn.example/
ended visit 0 30
spawn visit c1 gtlsclient --no-http-dump --exit-on-all-streams-close $HOST 443 \
    https://vpn.example/secret https://vpn.example/.well-known/masque/ip/*/*/
ended visit 0 30
said visit ':status: 404'
said visit ':status: 405'

step "all is well afterwards"
client 1
pings c1 10 10.0.0.1
stop c1
stop server
