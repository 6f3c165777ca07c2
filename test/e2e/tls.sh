#!/bin/bash
# tls.sh - whom the client trusts, keys and certificates, configuration files.
#
#     ┌──────── c1 ─────────┐                      ┌────── server ───────┐
#     │  eth0 172.31.1.2    │────────veth──────────│  c1 172.31.1.1      │
#     │                     │                      │  vpn.example        │
#     └─────────────────────┘                      └─────────────────────┘
. "$(dirname "$0")/lib.sh"

stage 1
remember c1 server
cd "$T" || exit 1

step "genkey"
one=$("$MQVPN" genkey) two=$("$MQVPN" genkey)
[ "${#one}" -ge 40 ] && [ "$one" != "$two" ] || fail "keys \"$one\" and \"$two\""
echo "$one" >key

step "gencert"
ok "gencert" "$MQVPN" gencert --name vpn.example --name 172.31.1.1 --cert a.crt --key a.key
ok "gencert" "$MQVPN" gencert --name vpn.example --cert b.crt --key b.key
equal "mode of the key" "$(stat -c %a a.key)" 600
grep -q 'BEGIN CERTIFICATE' a.crt || fail "no certificate: $(cat a.crt)"
sum=$(cat a.crt a.key | cksum)
refused "gencert went over existing files" "$MQVPN" gencert --name x --cert a.crt --key a.key
equal "files after that" "$(cat a.crt a.key | cksum)" "$sum"
pin_a=$("$MQVPN" gencert --name vpn.example --cert c.crt --key c.key | grep '^sha256/')
equal "length of a pin" "${#pin_a}" 51

# A client with these options gets in / ends with STATUS and says REGEX.
joins() { # OPTIONS...
    echo "   in: $*"
    spawn c1 c1 "$MQVPN" client 172.31.1.1 --state-dir "$T/c1" --auth-key-file key "$@"
    client_up 1
    pings c1 5 10.0.0.1
    stop c1
    as_before "after $*" c1
}
turned_away() { # STATUS REGEX OPTIONS...
    local status=$1 regex=$2
    shift 2
    echo "   out: $*"
    spawn c1 c1 "$MQVPN" client 172.31.1.1 --state-dir "$T/c1" --auth-key-file key "$@"
    ended c1 "$status" 20
    said c1 "$regex"
    as_before "after $*" c1
}

step "a certificate of one's own"
server --cert a.crt --key a.key --auth-key-file key
said server 'connect with: mqvpn client THIS-HOST --auth-key-file'
joins --ca a.crt
joins --ca a.crt --tls-server-name vpn.example
turned_away 78 'certificate' # the system's authorities don't know it
said c1 '\-\-(ca|pin)'
turned_away 78 'certificate' --ca b.crt
turned_away 78 'other.example' --ca a.crt --tls-server-name other.example
turned_away 78 'pin' --pin "$pin_a"
joins --insecure
said c1 'warning: .*--insecure.*NOT checked'
stop server

step "a certificate for another address"
server --cert b.crt --key b.key --auth-key-file key
turned_away 78 '172\.31\.1\.1' --ca b.crt
joins --ca b.crt --tls-server-name vpn.example
stop server

step "pins"
server --cert c.crt --key c.key --auth-key-file key
joins --pin "$pin_a"
joins --pin sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= --pin "$pin_a"
joins --pin "$pin_a" --tls-server-name does.not.matter
turned_away 78 'pin' --pin sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
stop server

if command -v openssl >/dev/null; then
    step "a chain of three, RSA and P-384"
    {
        openssl req -x509 -newkey rsa:2048 -nodes -keyout root.key -out root.crt -subj /CN=root -days 9
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:secp384r1 -nodes -keyout mid.key -out mid.csr -subj /CN=mid
        openssl x509 -req -in mid.csr -CA root.crt -CAkey root.key -CAcreateserial -days 9 -out mid.crt \
            -extfile <(echo basicConstraints=critical,CA:true)
        openssl req -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /CN=vpn.example
        openssl x509 -req -in leaf.csr -CA mid.crt -CAkey mid.key -CAcreateserial -days 9 -out leaf.crt \
            -extfile <(echo subjectAltName=IP:172.31.1.1,DNS:vpn.example)
        cat leaf.crt mid.crt >chain.crt
        # Its time is over.
        openssl x509 -req -in leaf.csr -CA mid.crt -CAkey mid.key -CAcreateserial -days -1 -out old.crt \
            -extfile <(echo subjectAltName=IP:172.31.1.1)
        cat old.crt mid.crt >oldchain.crt
    } >openssl.log 2>&1 || fail "openssl failed: $(tail -n 3 openssl.log)"
    server --cert chain.crt --key leaf.key --auth-key-file key
    joins --ca root.crt
    turned_away 78 'certificate' --ca a.crt
    stop server
    server --cert oldchain.crt --key leaf.key --auth-key-file key
    turned_away 78 'expired|no longer valid' --ca root.crt
    joins --pin sha256/"$(openssl x509 -in old.crt -noout -pubkey | openssl pkey -pubin -outform der |
        openssl dgst -sha256 -binary | base64)"
    stop server
fi

step "configuration files on both sides"
cat >server.conf <<END
# the server
[Interface]
Listen = :4433
Subnet = 10.77.0.0/24
Subnet6 = none
TunName = vpnsrv
[TLS]
Cert = $T/c.crt
Key = $T/c.key
[Auth]
User = ann:$one
User = bob:$two
[Advanced]
StateDir = $T/server-conf
END
cat >client.conf <<END
[Server]
Address = 172.31.1.1:4433
Pin = $pin_a
[Auth]
KeyFile = $T/key
[Interface]
TunName = vpncli
Route = 10.77.0.0/24, 10.78.0.0/16
LogLevel = debug
[Advanced]
StateDir = $T/client-conf
END
spawn server server "$MQVPN" --config server.conf
wait_log server 'connect with: '
said server 'listening on UDP .*:4433, pool 10.77.0.0/24, vpnsrv'
spawn c1 c1 "$MQVPN" --config client.conf
client_up 1
said c1 'vpncli'
said server 'ann from'
pings c1 10 10.77.0.1
equal "routes of the file" "$(ip -n c1 route show dev vpncli | grep -c '^10.7[78]')" 2
stop c1
# The command line wins.
spawn c1 c1 "$MQVPN" --config client.conf --tun-name other0 --log-level info
client_up 1
said c1 'tunnel is up: other0'
silent_about c1 'debug: '
stop c1
stop server

step "the server's own certificate is kept"
server
pin=$PIN
[ -n "$pin" ] || fail "no pin in the server's line"
equal "mode of the state directory" "$(stat -c %a "$T/server")" 700
for file in auth.key server.key secret; do
    equal "mode of $file" "$(stat -c %a "$T/server/$file")" 600
done
stop server
server
equal "pin after a restart" "$PIN" "$pin"
client 1
pings c1 5 10.0.0.1
stop c1
stop server
nothing_left "at the end" c1 server
