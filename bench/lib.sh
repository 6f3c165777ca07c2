#!/bin/bash
# lib.sh - what bench/*.sh share: stages of several programs beside each other,
# and what a measurement costs. Built upon test/e2e/lib.sh (namespaces, background programs).
#
# A program under test, here a "peer", has namespaces of its own, so that all can be up at once and
# be measured in turn:
#
#    PEER-cI: eth0 172.31.I.2/24  ─────  PEER-s: cI 172.31.I.1/24        I = 1 to 14
#                  fd00:31:I::2/64                  fd00:31:I::1/64
#
# Results are lines of key=value pairs on standard output, all else goes to standard error.

measuring=1
# shellcheck source=test/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../test/e2e/lib.sh"
exec 3>&1 1>&2
step() { echo "== $(date +%T) $*"; }

result() { echo "$*" >&3; }
[ -z "${PEER_DIR:-}" ] || PATH=$PEER_DIR:$PATH
UDPLOAD=${UDPLOAD:-$O/bench/tools/udpload} FORWARD=$O/bench/tools/forward
tick=$(getconf CLK_TCK)

### Stages

declare -A addr4=() addr6=() # the server end of each peer's tunnel
declare -A server_pids=() client_pids=()

# Client I of PEER: a host, and its link to the peer's server.
client_host() { # PEER I
    hosts "$1-c$2"
    link "$1-c$2" eth0 "172.31.$2.2/24" "fd00:31:$2::2/64" \
        "$1-s" "c$2" "172.31.$2.1/24" "fd00:31:$2::1/64"
}

# What runs in a namespace now; called before anything but the peer runs there.
pids_in() { # NS
    local ns proc of
    ns=$(stat -L -c %i "/run/netns/$1")
    for proc in /proc/[0-9]*; do
        of=$(stat -L -c %i "$proc/ns/net" 2>/dev/null)
        [ "$of" != "$ns" ] || echo "${proc#/proc/}"
    done | tr '\n' ' '
}

# Bring PEER up with one client, ready to be measured. 1: it can't be had, and $why says it.
peer_up() { # PEER
    why=
    "have_$(kind "$1")" "$1" || return 1
    hosts "$1-s"
    client_host "$1" 1
    "start_server_$(kind "$1")" "$1"
    server_pids[$1]=$(pids_in "$1-s")
    peer_client "$1" 1
}

# Client I of PEER, whose host exists.
peer_client() { # PEER I
    "start_client_$(kind "$1")" "$1" "$2"
    wait_for 20 "the tunnel of $1, client $2" can_ping "$1-c$2" "$(far "$1" "$2" 4)"
    client_pids[$1-$2]=$(pids_in "$1-c$2")
}

# A client and its host go.
peer_client_down() { # PEER I
    local p
    for p in ${client_pids[$1-$2]}; do kill "$p"; done
    for p in ${client_pids[$1-$2]}; do wait_for 10 "$1, client $2, to end" eval "! kill -0 $p"; done
    unset "client_pids[$1-$2]"
    ip netns del "$1-c$2"
    ip -n "$1-s" link del "c$2" 2>/dev/null # it may be gone with the other end already
}

# The address of the far end of the tunnel of client I.
far() { # PEER I FAMILY
    case $1-$3 in
    none-4) echo "172.31.$2.1" ;;
    none-6) echo "fd00:31:$2::1" ;;
    *-4) echo "${addr4[$1]}" ;;
    *) echo "${addr6[$1]}" ;;
    esac
}

has_family() { # PEER FAMILY
    [ -n "$(far "$1" 1 "$2")" ] && can_ping "$1-c1" "$(far "$1" 1 "$2")" >/dev/null
}

# Which of the programs below a peer is; those of the user's $PEER are all one kind.
kind() { # PEER
    case $1 in
    none | forwarder | mqvpn | openvpn | wireguard-go) echo "${1%-go}" ;;
    *) echo custom ;;
    esac
}

need() { # PROGRAM...
    local p
    for p; do
        command -v "$p" >/dev/null || {
            why="no_program_$p"
            return 1
        }
    done
}

# No tunnel: the veth pair itself.

# Each have_ sets $version for what calls peer_up.
# shellcheck disable=SC2034
have_none() { version=-; }
start_server_none() { :; }
start_client_none() { :; }

# The least that a tunnel in user space does (bench/tools/forward.c).

# shellcheck disable=SC2034
have_forwarder() { version=-; }
forwarder() { # PEER NS ADDRESS [SERVER]
    spawn "$2" "$2" "$FORWARD" fwd0 5300 ${4:+"$4"}
    wait_for 5 "a TUN of the forwarder" ip -n "$2" link show fwd0
    ip -n "$2" address add "$3/24" dev fwd0
    ip -n "$2" link set fwd0 up mtu 1400
}
start_server_forwarder() { # PEER
    forwarder "$1" "$1-s" 10.7.0.1
    addr4[$1]=10.7.0.1 addr6[$1]=
}
start_client_forwarder() { # PEER I
    forwarder "$1" "$1-c$2" 10.7.0.2 "172.31.$2.1"
}

# mqvpn, with the options in $MQVPN_ARGS on either side.

have_mqvpn() { version=$("$MQVPN" --version | sed -n '1s/.* //p'); }
start_server_mqvpn() { # PEER
    # shellcheck disable=SC2086
    spawn "$1-s" "$1-s" "$MQVPN" server --auth-key bench --state-dir "$T/$1-s" ${MQVPN_ARGS:-}
    wait_log "$1-s" 'connect with: '
    addr4[$1]=10.0.0.1 addr6[$1]=fd6d:7176:706e::1
}
start_client_mqvpn() { # PEER I
    # shellcheck disable=SC2086
    spawn "$1-c$2" "$1-c$2" "$MQVPN" client "172.31.$2.1" --insecure --auth-key bench \
        --state-dir "$T/$1-c$2" ${MQVPN_ARGS:-}
    wait_log "$1-c$2" 'tunnel is up'
}

# OpenVPN in user space, tuned: large batches of its own it has none, but nothing slows it down.

have_openvpn() {
    need openvpn || return
    version=$(openvpn --version | sed -n '1s/^OpenVPN \([^ ]*\).*/\1/p')
}
start_server_openvpn() { # PEER
    local side d=$T/$1 print
    mkdir -p "$d"
    for side in s c; do
        ok "a certificate for OpenVPN" "$MQVPN" gencert --name "$side" --cert "$d/$side.crt" \
            --key "$d/$side.key"
        print=$(sed '/---/d' "$d/$side.crt" | base64 -d | sha256sum | cut -c 1-64 |
            sed 's/../&:/g; s/:$//')
        echo "$print" >"$d/$side.print"
    done
    ovpn=(openvpn --dev tun0 --proto udp --disable-dco --fast-io --sndbuf 0 --rcvbuf 0
        --txqueuelen 1000 --data-ciphers AES-128-GCM --topology subnet --verb 1)
    spawn "$1-s" "$1-s" "${ovpn[@]}" --port 1194 --tls-server --dh none --duplicate-cn \
        --server 10.8.0.0 255.255.255.0 --server-ipv6 fd00:8::/64 --keepalive 10 60 \
        --cert "$d/s.crt" --key "$d/s.key" --peer-fingerprint "$(cat "$d/c.print")"
    wait_log "$1-s" 'Initialization Sequence Completed'
    addr4[$1]=10.8.0.1 addr6[$1]=fd00:8::1
}
start_client_openvpn() { # PEER I
    local d=$T/$1
    spawn "$1-c$2" "$1-c$2" "${ovpn[@]}" --client --remote "172.31.$2.1" 1194 --nobind \
        --cert "$d/c.crt" --key "$d/c.key" --peer-fingerprint "$(cat "$d/s.print")"
    wait_log "$1-c$2" 'Initialization Sequence Completed' 30
}

# WireGuard in user space; from the end of 2023 on it uses GSO.

have_wireguard() {
    need wireguard-go wg || return
    # What it says of itself is older than it is; the package knows.
    case $(command -v wireguard-go) in
    "$DEPS"/*) version=$(cat "$DEPS/tools/wireguard-go/version") ;;
    *) version=$(wireguard-go --version | sed -n '1s/.* v\?//p') ;;
    esac
}
wireguard() { # PEER NS DEV ADDRESS LENGTH
    spawn "$2" "$2" env WG_PROCESS_FOREGROUND=1 LOG_LEVEL=error wireguard-go -f "$3"
    wait_for 10 "wireguard-go $3" test -S "/run/wireguard/$3.sock"
    (umask 077 && wg genkey >"$T/$3.key")
    in_ns "$2" wg set "$3" private-key "$T/$3.key" || fail "wg set $3"
    ip -n "$2" address add "10.9.0.$4/24" dev "$3"
    ip -n "$2" address add "fd00:9::$4/64" dev "$3" nodad
    ip -n "$2" link set "$3" up mtu 1420
}
start_server_wireguard() { # PEER
    wireguard "$1" "$1-s" wgs 1
    ok "the port of wireguard-go" in_ns "$1-s" wg set wgs listen-port 51820
    addr4[$1]=10.9.0.1 addr6[$1]=fd00:9::1
}
start_client_wireguard() { # PEER I
    local host=$(($2 + 1)) key
    wireguard "$1" "$1-c$2" "wgc$2" $host
    key=$(wg pubkey <"$T/wgc$2.key")
    ok "a client of wireguard-go" in_ns "$1-s" wg set wgs peer "$key" \
        allowed-ips "10.9.0.$host/32,fd00:9::$host/128"
    key=$(wg pubkey <"$T/wgs.key")
    ok "a server of wireguard-go" in_ns "$1-c$2" wg set "wgc$2" peer "$key" \
        endpoint "172.31.$2.1:51820" allowed-ips 10.9.0.0/24,fd00:9::/64
}

# Any program: lines NAME:SERVER-COMMAND:CLIENT-COMMAND[:ADDR4[:ADDR6]] in $PEER. The commands run
# in a shell on their hosts until they are ended. They see SERVER (the server's address, as this
# client has it), I (the client's number), and DIR (a folder for both). ADDR4 (10.0.0.1) and ADDR6
# (none: no IPv6) are the server's addresses in the tunnel.

declare -A custom_server=() custom_client=()
custom_names=
while IFS=: read -r name server client four six; do
    [ -n "$name" ] || continue
    [ -n "$client" ] || fail "PEER: \"$name\" has no client command"
    case $name in
    *[!a-zA-Z0-9._]* | none | forwarder | mqvpn | openvpn) fail "PEER: \"$name\" can't be a name here" ;;
    esac
    custom_server[$name]=$server custom_client[$name]=$client
    addr4[$name]=${four:-10.0.0.1} addr6[$name]=$six
    custom_names+=" $name"
done <<<"${PEER:-}"

# shellcheck disable=SC2034
have_custom() {
    version=-
    [ -n "${custom_server[$1]:-}" ] || {
        why=unknown
        return 1
    }
}
start_server_custom() { # PEER
    mkdir -p "$T/$1"
    spawn "$1-s" "$1-s" env DIR="$T/$1" SERVER=172.31.1.1 sh -c "${custom_server[$1]}"
    sleep 1
}
start_client_custom() { # PEER I
    spawn "$1-c$2" "$1-c$2" env DIR="$T/$1" SERVER="172.31.$2.1" I="$2" \
        sh -c "${custom_client[$1]}"
    sleep 1
}

### What a measurement costs

# CPU time of processes, in ticks.
cpu_of() { # PID...
    local p line f sum=0
    for p; do
        { read -r line <"/proc/$p/stat"; } 2>/dev/null || continue
        read -ra f <<<"${line##*) }"
        sum=$((sum + f[11] + f[12]))
    done
    echo $sum
}

# Ticks that all processors were busy, and all ticks.
machine() {
    local f
    read -ra f </proc/stat
    local busy=$((f[1] + f[2] + f[3] + f[6] + f[7] + f[8]))
    echo $busy $((busy + f[4] + f[5]))
}

# A value of /proc/PID/status in MB, the sum of processes.
mega() { # KEY PID...
    local key=$1 p
    shift
    for p; do sed -n "s/^$key:[^0-9]*\([0-9]*\) kB/\1/p" "/proc/$p/status" 2>/dev/null; done |
        awk '{ n += $1 } END { printf "%.1f", n * 1.024 / 1000 }'
}

all_client_pids() { # PEER CLIENTS
    local i
    for ((i = 1; i <= $2; i++)); do echo "${client_pids[$1-$i]}"; done
}

# cost_begin; then what is measured; then cost_end, which sets, in seconds of CPU, $cost_cli,
# $cost_srv and $cost_all (the whole machine), and $busy in per cent.
cost_begin() { # PEER [CLIENTS]
    cost_of=("$1" "${2:-1}")
    cost_0=$(cost_now)
}
cost_now() {
    # shellcheck disable=SC2046,SC2086
    echo $(cpu_of $(all_client_pids "${cost_of[@]}")) \
        $(cpu_of ${server_pids[${cost_of[0]}]}) $(machine)
}
cost_end() {
    local now
    now=$(cost_now)
    # shellcheck disable=SC2034
    read -r cost_cli cost_srv cost_all busy < <(awk -v t="$tick" -v a="$cost_0" -v b="$now" \
        'BEGIN { split(a, x); split(b, y); all = y[4] - x[4]; print (y[1] - x[1]) / t, \
        (y[2] - x[2]) / t, (y[3] - x[3]) / t, all ? 100 * (y[3] - x[3]) / all : 0 }')
}

# From iperf3 -J on standard input: bytes that came, seconds, retransmissions, and CPU per cent of
# both its ends.
iperf_sums() {
    awk -F'[:,]' '/^\t"end":/ { end = 1 }
        end && /"(sum|sum_sent|sum_received|cpu_utilization_percent)":/ { split($1, q, "\""); in_ = q[2] }
        end && in_ { gsub(/[ \t"]/, "", $1); v[in_ " " $1] = $2 }
        /\}/ { in_ = "" }
        END { b = v["sum_received bytes"]; s = v["sum_received seconds"]
        print b + 0, s + 0, v["sum_sent retransmits"] + 0, \
            v["cpu_utilization_percent host_total"] + 0, v["cpu_utilization_percent remote_total"] + 0 }'
}

### The machine, and the programs

words() { tr -s ' \t' '_' | tr -d '"' | head -n 1; }

host_line() {
    local cpu
    cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | words)
    result "host date=$(date +%Y-%m-%d) cpu=${cpu:-$(uname -m)} cores=$(nproc)" \
        "memory_gb=$(awk '/MemTotal/ { printf "%.0f", $2 / 1e6 }' /proc/meminfo)" \
        "kernel=$(uname -r) load=$(cut -d' ' -f1 /proc/loadavg)" "$@"
}
