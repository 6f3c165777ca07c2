#!/bin/bash
# outer6.sh - the server is reached over IPv6, by address and by name.
#
#     ┌──────── c1 ─────────┐                      ┌────── server ───────┐
#     │  eth0 fd00:31:1::2  │────────veth──────────│  c1 fd00:31:1::1    │
#     │  mqvpn0 10.0.0.2    │~~~~~~~ tunnel ~~~~~~~│  mqvpn0 10.0.0.1    │
#     └─────────────────────┘                      └─────────────────────┘
#
# The names are in an /etc/hosts that only this test sees.
. "$(dirname "$0")/lib.sh"

FAR4=10.0.0.1 FAR6=fd6d:7176:706e::1

cat >"$T/hosts" <<END
127.0.0.1 localhost
fd00:31:1::1 six.example
172.31.1.1 four.example
172.31.1.77 both.example
fd00:31:1::1 both.example
END
ok "private /etc/hosts" mount --bind "$T/hosts" /etc/hosts

stage 1
remember c1 server

# Whatever SERVER is, the client finds it, and the tunnel carries both families.
joins() { # SERVER REGEX
    step "$1"
    spawn c1 c1 "$MQVPN" client "$1" --state-dir "$T/c1" --pin "$PIN" --auth-key-file "$T/key"
    client_up 1 40
    said c1 "connecting to $2 via eth0"
    pings c1 20 $FAR4
    pings c1 20 $FAR6
    stop c1
    as_before "after $1" c1
}

server
joins fd00:31:1::1 '\[fd00:31:1::1\]:443'
joins '[fd00:31:1::1]:443' '\[fd00:31:1::1\]:443'
joins six.example '\[fd00:31:1::1\]:443'
joins four.example:443 '172.31.1.1:443'
# One of its addresses doesn't answer: the other is tried.
joins both.example '\[fd00:31:1::1\]:443'
stop server

step "a server on one IPv6 address and another port"
server --listen '[fd00:31:1::1]:4433'
joins '[fd00:31:1::1]:4433' '\[fd00:31:1::1\]:4433'
stop server

step "a server on one IPv4 address"
server --listen 172.31.1.1:443
joins 172.31.1.1 172.31.1.1:443
stop server

nothing_left "at the end" c1 server
