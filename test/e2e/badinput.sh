#!/bin/bash
# badinput.sh - whatever is wrong: a message that says it, its own exit status, nothing left.
#
#     ┌──────── c1 ─────────┐                      ┌────── server ───────┐
#     │  eth0 172.31.1.2    │────────veth──────────│  c1 172.31.1.1      │
#     │                     │                      │                     │
#     └─────────────────────┘                      └─────────────────────┘
. "$(dirname "$0")/lib.sh"

stage 1
cd "$T" || exit 1
echo 'a-key-for-tests' >key
echo 'another-key' >wrong.key
: >empty
echo 'no PEM at all' >garbage
mkdir nothing
cp "$MQVPN" mqvpn && chmod 755 mqvpn . # where a user without rights can reach it
"$MQVPN" gencert --name vpn.example --cert a.crt --key a.key >/dev/null
"$MQVPN" gencert --name vpn.example --cert b.crt --key b.key >/dev/null
PIN_B=$("$MQVPN" gencert --name x --cert x.crt --key x.key | grep '^sha256/')
printf '[Interface]\nListen = :443\nnot a line of any sort\n' >bad.conf
printf '[Interface]\nListen = :443\nColour = blue\n' >unknown.conf
printf '[Interface]\nMTU = many\n' >value.conf
remember c1 server

wrap=() # what runs the program
cases=0

# The program with these arguments ends with STATUS, and its last words match REGEX.
bad() { # NS STATUS REGEX ARGUMENTS...
    local ns=$1 status=$2 regex=$3 out rc
    shift 3
    out=$(timeout -k 5 $((120 * slow)) nsenter --net="/run/netns/$ns" -- "${wrap[@]}" "$MQVPN" "$@" 2>&1 </dev/null)
    rc=$?
    cases=$((cases + 1))
    if [ $rc != "$status" ] || ! echo "$out" | grep -qE -- "$regex"; then
        echo "$out"
        fail "mqvpn $*: status $rc instead of $status, or no word of \"$regex\""
    fi
    case $out in *"mqvpn: "*error:* | *"mqvpn: "*warning:* | *"mqvpn demo"*) ;; *) fail "mqvpn $*: no message: $out" ;; esac
    as_before "after mqvpn $*" "$ns"
}
server_bad() { bad server "$1" "$2" server --state-dir "$T/bad" "${@:3}"; }
client_bad() { bad c1 "$1" "$2" client --state-dir "$T/bad" "${@:3}"; }

step "command lines"
bad c1 64 'no-such-option.* is no option' server --no-such-option
bad c1 64 'frobnicate.* is no command' frobnicate
bad c1 64 '\-\-mtu needs a value' server --mtu
bad c1 64 'which server' client
bad c1 64 'one word too many' client a.example b.example
bad c1 64 'no HOST:PORT' client 172.31.1.1:99999
bad c1 64 'no HOST:PORT' client 172.31.1.1:https
bad c1 64 'no HOST:PORT' client '[::1'
bad c1 64 'no prefix' client 172.31.1.1 --route 10.0.0.1/8
bad c1 64 'no prefix' client 172.31.1.1 --route 10.0.0.0
bad c1 64 'no IP address' client 172.31.1.1 --dns resolver.example
bad c1 64 'no pin' client 172.31.1.1 --pin sha256/short
bad c1 64 'contradicts' client 172.31.1.1 --insecure --ca "$T/a.crt"
bad c1 64 'interface name' client 172.31.1.1 --path an-interface-name-too-long
bad server 64 'IPv4 prefix' server --subnet 10.0.0.0/31
bad server 64 'IPv6 prefix' server --subnet6 fd00::/48
bad server 64 'no IP address of this host' server --listen vpn.example:443
bad server 64 'NAME:KEY' server --user ann
bad server 64 'ann.* twice' server --state-dir "$T/bad" --user ann:one --user ann:two
bad server 64 'go together' server --cert "$T/a.crt"
bad server 64 'contradicts' server --no-auth --user ann:one
bad server 64 'no number' server --mtu 1279
bad server 64 'no number' server --max-clients 0
bad server 64 'none of' server --log-level loud
bad server 64 'none of cubic' server --cc vegas
bad c1 64 'for which host' gencert

step "files"
server_bad 66 'nowhere' --config nowhere.conf
server_bad 64 'bad.conf, line 3' --config bad.conf
server_bad 64 'Colour is no option' --config unknown.conf
server_bad 64 'MTU.*no number' --config value.conf
server_bad 66 'nowhere.key' --auth-key-file nowhere.key
server_bad 66 'first line is empty' --auth-key-file empty
server_bad 66 'nowhere.crt' --cert nowhere.crt --key a.key
server_bad 66 'garbage' --cert garbage --key a.key
server_bad 66 'a.crt|a.key|b.key' --cert a.crt --key b.key
server_bad 66 'nowhere.key' --cert a.crt --key nowhere.key
server_bad 66 '/proc/nowhere' --state-dir /proc/nowhere
client_bad 66 'nowhere.key' 172.31.1.1 --auth-key-file nowhere.key
client_bad 66 'nowhere.crt' 172.31.1.1 --auth-key-file key --ca nowhere.crt
client_bad 66 'garbage' 172.31.1.1 --auth-key-file key --ca garbage
bad c1 66 'exists already' gencert --name x --cert a.crt --key new.key
bad c1 66 'nowhere' gencert --name x --cert /proc/nowhere/c --key /proc/nowhere/k

step "what the system refuses"
ok "hide /dev/net" mount --bind nothing /dev/net
server_bad 2 '/dev/net/tun'
client_bad 2 '/dev/net/tun' 172.31.1.1 --auth-key-file key
umount /dev/net
wrap=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all)
MQVPN=$T/mqvpn
if "${wrap[@]}" "$MQVPN" --version >/dev/null 2>&1; then
    install -d -o 65534 -g 65534 nobody 2>/dev/null || mkdir -m 777 nobody
    bad c1 2 'root|CAP_NET_ADMIN|ermission|ermitted' client --state-dir "$T/nobody" 172.31.1.1 --insecure
    bad server 2 'root|CAP_NET_ADMIN|ermission|ermitted' server --state-dir "$T/nobody"
else
    echo "   no other user in this namespace"
fi
wrap=()
server_bad 73 '192.0.2.99' --listen 192.0.2.99:443
client_bad 73 'nosuch0' 172.31.1.1 --insecure --path nosuch0 --no-reconnect
ip -n c1 link add mqvpn0 type veth peer name other0
remember c1
client_bad 71 'mqvpn0' 172.31.1.1 --insecure
ip -n c1 link del mqvpn0
remember c1

step "a server that runs already"
server --auth-key-file key
remember server
server_bad 73 '443' --tun-name second0
server_bad 71 'mqvpn0' --listen :4433

step "names and answers"
printf 'nameserver 127.0.0.1\n' >resolv.conf
ok "private resolv.conf" mount --bind resolv.conf /etc/resolv.conf
remember c1
client_bad 68 'vpn.invalid.* does not resolve' vpn.invalid --insecure --auth-key-file key
client_bad 69 'does not answer' 172.31.1.1:444 --insecure --auth-key-file key --no-reconnect

step "keys and certificates"
client_bad 77 'auth-key-file' 172.31.1.1 --pin "$PIN" --auth-key-file wrong.key
client_bad 77 'auth-key-file' 172.31.1.1 --pin "$PIN"
client_bad 78 'pin' 172.31.1.1 --pin "$PIN_B" --auth-key-file key
client_bad 78 'certificate' 172.31.1.1 --auth-key-file key
client_bad 78 'certificate' 172.31.1.1 --ca a.crt --auth-key-file key
stop server

step "pool full"
server --auth-key-file key --max-clients 1
remember server
client 1 --tun-name first0 --no-manage-routes
remember c1
client_bad 75 'no address is free' 172.31.1.1 --pin "$PIN" --auth-key-file key --no-reconnect
stop c1
stop server

if command -v gtlsserver >/dev/null; then
    step "a server that is none for IP"
    remember c1
    spawn other server gtlsserver -q -d "$T/nothing" 172.31.1.1 443 a.key a.crt
    wait_for 10 "gtlsserver" eval "in_ns server ss -Huln | grep -q ':443 '"
    client_bad 76 'carries no IP' 172.31.1.1 --insecure --auth-key-file key
    kill "${pid[other]}"
fi
echo "$cases cases"
