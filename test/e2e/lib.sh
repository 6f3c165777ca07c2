#!/bin/bash
# lib.sh - what every end-to-end test starts with: `. "$(dirname "$0")/lib.sh"`.
#
# The test is run again inside a mount, process and network namespace of its own (and a user
# namespace where the user is not root), with a fresh /run and all files in $T, which is memory.
# So nothing that it does is seen outside, and everything goes with it, however it ends.
#
# Exit status: 0, 1 (after the logs of all programs), or 77 with a reason where the system does
# not allow this. No test asserts a speed; time limits are there to end what hangs.
#
# By hand: bash test/e2e/NAME.sh, with O=build/... for another build, V=1 to see all logs.

set -u

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
O=${O:-$root/build} DEPS=${DEPS:-$root/build/deps}
O=$(cd "$O" && pwd) DEPS=$(cd "$DEPS" && pwd)
MQVPN=${MQVPN:-$O/mqvpn}
export O DEPS MQVPN
# shellcheck source=/dev/null
[ ! -f "$DEPS/env.sh" ] || . "$DEPS/env.sh"

# Everything takes its time under the sanitizers.
slow=1
[ -z "${SAN:-}" ] || slow=4

step() { echo "== $*"; }

skip() {
    echo "skipped: $*"
    exit 77
}

fail() {
    echo "FAIL: $*"
    echo "   at ${BASH_SOURCE[1]##*/}:${BASH_LINENO[0]}, called from line(s) ${BASH_LINENO[*]:1}"
    exit 1
}

### Into the namespaces

if [ "${E2E_INSIDE:-}" != "$0" ]; then
    [ -x "$MQVPN" ] || fail "no program $MQVPN: make it first"
    for tool in ip ping iperf3 nft unshare nsenter; do
        command -v $tool >/dev/null || skip "$tool is missing (make deps)"
    done
    flags=(--mount --net --pid --fork --kill-child --mount-proc)
    [ "$(id -u)" = 0 ] || flags+=(--user --map-root-user)
    why=$(unshare "${flags[@]}" true 2>&1) || skip "namespaces are not allowed here: $why"
    why=$(unshare "${flags[@]}" sh -c 'exec 3<>/dev/net/tun' 2>&1) ||
        skip "/dev/net/tun can't be used: $why"
    export E2E_INSIDE=$0
    exec unshare "${flags[@]}" -- bash "$0" "$@"
fi
unset E2E_INSIDE
mount -t tmpfs -o mode=755 none /run || skip "no tmpfs in the private namespace"
mkdir -p /run/netns /run/e2e
T=/run/e2e
export HOME=$T/home XDG_STATE_HOME=$T/home/state LC_ALL=C
mkdir -p "$HOME"
cd "$root" || exit 1

### Time

# Measurements (bench/lib.sh) do without: the machine is for them alone.
if [ -n "${measuring:-}" ] || [ ! -x "$O/test/e2e/pulse" ]; then
    echo 0 >"$T/late"
else
    "$O/test/e2e/pulse" "$T/late" &
    until [ -s "$T/late" ]; do sleep 0.01; done
fi

now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }
late() { cat "$T/late"; } # milliseconds by which this machine was late so far

# How many milliseconds to allow for what needs MS of an idle machine, when late() was LATE at its
# begin: a few processes wait for each other, and the machine is late for each of them.
patience() { # MS LATE
    local ms=$(($1 * slow)) more=$((4 * ($(late) - $2)))
    echo $((ms + (more < 29 * ms ? more : 29 * ms)))
}

### Programs in the background

declare -A pid=() # by name
declare -i spawned=0

# Run COMMAND in namespace NS as NAME; its output goes to $T/NAME.log.
spawn() { # NAME NS COMMAND...
    local name=$1 ns=$2
    shift 2
    [ ! -e "$T/$name.log" ] || mv "$T/$name.log" "$T/$name.log.$((++spawned))"
    nsenter --net="/run/netns/$ns" -- "$@" >"$T/$name.log" 2>&1 &
    pid[$name]=$!
}

# Run COMMAND in namespace NS and wait for it.
in_ns() { # NS COMMAND...
    local ns=$1
    shift
    nsenter --net="/run/netns/$ns" -- "$@"
}

running() { kill -0 "${pid[$1]}" 2>/dev/null; } # NAME

# Wait until COMMAND succeeds, at most SECONDS.
wait_for() { # SECONDS WHAT COMMAND...
    local ms=$(($1 * 1000)) what=$2 began late
    began=$(now_ms) late=$(late)
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $(($(now_ms) - began)) -lt "$(patience $ms "$late")" ] || fail "waited in vain for $what"
        sleep 0.05
    done
}

# Wait until the log of NAME has a line like REGEX; that the program ended is a failure, too.
wait_log() { # NAME REGEX [SECONDS]
    local began late
    began=$(now_ms) late=$(late)
    until grep -qsE -- "$2" "$T/$1.log"; do
        if ! running "$1" && ! grep -qE -- "$2" "$T/$1.log"; then
            fail "$1 ended before it said \"$2\""
        fi
        [ $(($(now_ms) - began)) -lt "$(patience $((${3:-15} * 1000)) "$late")" ] || fail "$1 did not say \"$2\""
        sleep 0.05
    done
}

gone() { ! running "$1"; }

# Wait until NAME has ended, and check its exit status.
ended() { # NAME STATUS [SECONDS]
    local rc
    wait_for "${3:-15}" "$1 to end" gone "$1"
    wait "${pid[$1]}"
    rc=$?
    [ $rc = "$2" ] || fail "$1 ended with status $rc, not $2"
}

# End NAME by SIGNAL (TERM) and check its exit status (0).
stop() { # NAME [SIGNAL [STATUS]]
    kill -s "${2:-TERM}" "${pid[$1]}" || fail "$1 was not running any more"
    ended "$1" "${3:-0}"
}

murder() { # NAME...
    local name
    for name; do
        kill -s KILL "${pid[$name]}" || fail "$name was not running any more"
        { wait "${pid[$name]}"; } 2>/dev/null # without the shell's own word about it
    done
}

### Asserts

# COMMAND must succeed. Its output is shown if it doesn't.
ok() { # WHAT COMMAND...
    local what=$1 out rc
    shift
    out=$("$@" 2>&1)
    rc=$?
    [ $rc = 0 ] && return
    echo "$out" | tail -n 40
    fail "$what (status $rc)"
}

# COMMAND must fail with any status.
refused() { # WHAT COMMAND...
    local what=$1 out
    shift
    if out=$("$@" 2>&1); then
        echo "$out" | tail -n 20
        fail "$what"
    fi
}

said() { grep -qE -- "$2" "$T/$1.log" || fail "$1 did not say \"$2\""; } # NAME REGEX
silent_about() { # NAME REGEX
    ! grep -E -- "$2" "$T/$1.log" || fail "$1 said \"$2\""
}
equal() { [ "$2" = "$3" ] || fail "$1: \"$2\" instead of \"$3\""; } # WHAT IS WANTED

# Send fast pings to ADDR until each of the first N is answered: none may be lost. A late answer is
# none that is lost, so it does not count for how long ping itself waits for its last ones.
pings() { # NS N ADDR [OPTIONS]
    local ns=$1 n=$2 to=$3 out='' line ping
    local -A missing=()
    shift 3
    for ((line = 1; line <= n; line++)); do missing[$line]=1; done
    exec 7< <(exec nsenter --net="/run/netns/$ns" -- \
        ping -n -i 0.01 -w $((10 * slow)) "$@" "$to" 2>&1)
    ping=$!
    while [ ${#missing[@]} != 0 ] && read -r line <&7; do
        out+=$line$'\n'
        [[ ! $line =~ ' bytes from '.*icmp_seq=([0-9]+) ]] || unset "missing[${BASH_REMATCH[1]}]"
    done
    kill "$ping" 2>/dev/null
    { wait "$ping"; } 2>/dev/null
    exec 7<&-
    [ ${#missing[@]} != 0 ] || return 0
    echo "$out"
    fail "$ns: ping $to: no answer to ${!missing[*]} of $n"
}

# iperf3 from NS towards ADDR, where an iperf3 server runs: it must end well, and have moved bytes.
flow() { # NS ADDR [OPTIONS]
    local ns=$1 to=$2 out bytes
    shift 2
    out=$(in_ns "$ns" iperf3 -J -c "$to" --connect-timeout 5000 "$@" 2>&1) || {
        echo "$out" | tail -n 20
        fail "$ns: iperf3 to $to $*"
    }
    bytes=$(echo "$out" | sed -n '/"sum_received"/,/}/s/.*"bytes":[^0-9]*\([0-9]*\).*/\1/p' | tail -n 1)
    [ -n "$bytes" ] || bytes=$(echo "$out" | sed -n '/"sum":/,/}/s/.*"bytes":[^0-9]*\([0-9]*\).*/\1/p' | tail -n 1)
    [ "${bytes:-0}" -gt 100000 ] || {
        echo "$out" | tail -n 40
        fail "$ns: iperf3 to $to $* moved ${bytes:-no} bytes"
    }
    echo "   $to $*: $bytes bytes"
}

can_ping() { in_ns "$1" ping -q -c 1 -W 1 "$2"; } # NS ADDR

# Everything about NS that mqvpn may change, as text.
state() { # NS
    ip -n "$1" -o link show
    ip -n "$1" -o address show
    ip -n "$1" rule show
    ip -n "$1" -6 rule show
    ip -n "$1" route show table all | sort
    ip -n "$1" -6 route show table all | sort
    in_ns "$1" nft -s list ruleset
    in_ns "$1" sh -c 'cd /proc/sys/net && grep -H . ipv4/ip_forward ipv4/conf/*/rp_filter \
        ipv4/conf/*/forwarding ipv6/conf/*/forwarding ipv6/conf/*/accept_ra'
    stat -c '%n %F %a %u %g' /etc/resolv.conf
    cat /etc/resolv.conf
}

# Remember the state of namespaces; later compare.
remember() { # NS...
    local ns
    for ns; do state "$ns" >"$T/$ns.before" 2>&1; done
}
as_before() { # WHEN NS...
    local when=$1 ns
    shift
    for ns; do
        state "$ns" >"$T/$ns.after" 2>&1
        diff -u "$T/$ns.before" "$T/$ns.after" || fail "$ns is not as before, $when"
    done
}
# For when no program runs any more.
nothing_left() { # WHEN NS...
    as_before "$@"
    [ -z "$(ls /run/mqvpn 2>/dev/null)" ] || fail "a journal stays in /run/mqvpn, $1"
}

### Hosts

# Write a file below /proc/sys/net, or print it.
setting() { # NS FILE [VALUE]
    if [ $# = 3 ]; then
        in_ns "$1" sh -c 'echo "$2" >"/proc/sys/net/$1"' - "$2" "$3"
    else
        in_ns "$1" cat "/proc/sys/net/$2"
    fi
}

# Network namespaces, each with its loopback up.
hosts() { # NAME...
    local ns
    for ns; do
        ip netns add "$ns" || fail "can't make a network namespace"
        setting "$ns" ipv6/conf/all/accept_dad 0
        setting "$ns" ipv6/conf/default/accept_dad 0
        ip -n "$ns" link set lo up
    done
}

# A veth pair between two hosts, with an IPv4 and an IPv6 network on it.
link() { # NS DEV ADDR4 ADDR6  NS DEV ADDR4 ADDR6
    ip link add "$2" netns "$1" type veth peer name "$6" netns "$5" || skip "no veth devices here"
    ip -n "$1" address add "$3" dev "$2" &&
        ip -n "$5" address add "$7" dev "$6" &&
        ip -n "$1" address add "$4" dev "$2" nodad &&
        ip -n "$5" address add "$8" dev "$6" nodad &&
        ip -n "$1" link set "$2" up &&
        ip -n "$5" link set "$6" up || fail "can't set up the link of $1 and $5"
}

# The usual stage (N clients, and "net" behind the server):
#
#    cI: eth0 172.31.I.2/24  ─────  server: cI 172.31.I.1/24
#             fd00:31:I::2/64               fd00:31:I::1/64
#                                   server: out 172.30.0.1/24  ─────  net: in 172.30.0.2/24
#                                               fd00:30::1/64                 fd00:30::2/64
#
# Clients have default routes to the server; "net" knows no way back but its own link.
stage() { # N
    local i
    hosts server net
    link server out 172.30.0.1/24 fd00:30::1/64 net in 172.30.0.2/24 fd00:30::2/64
    for ((i = 1; i <= $1; i++)); do
        hosts "c$i"
        link "c$i" eth0 "172.31.$i.2/24" "fd00:31:$i::2/64" \
            server "c$i" "172.31.$i.1/24" "fd00:31:$i::1/64"
        ip -n "c$i" route add default via "172.31.$i.1"
        ip -n "c$i" -6 route add default via "fd00:31:$i::1"
    done
}

# The stage for several links: `mqvpn wan` joins two hosts, whose addresses are for IPv4 only.
#
#    c: wan0 172.30.0.2/24  ───  a: 20 Mbit/s, 10 ms  ───  s: wan0 172.30.0.1/24
#       wan1 172.30.1.2/24  ───  b: 10 Mbit/s, 20 ms  ───     wan1 172.30.1.1/24
#                                                             lo   172.29.0.1
#
# c has a default route by each, wan0's before wan1's.
two_links() {
    local i
    hosts c s
    ip -n s address add 172.29.0.1/32 dev lo
    cat >"$T/links" <<'END'
link a c/wan0 s/wan0 rate 20mbit delay 10ms
link b c/wan1 s/wan1 rate 10mbit delay 20ms
END
    mkfifo "$T/orders"
    exec 8<>"$T/orders"
    "$MQVPN" wan "$T/links" <"$T/orders" >"$T/wan.log" 2>&1 &
    pid[wan]=$!
    wait_log wan '^ready$'
    for i in 0 1; do
        ip -n c address add "172.30.$i.2/24" dev wan$i && ip -n s address add "172.30.$i.1/24" dev wan$i &&
            ip -n c link set wan$i up && ip -n s link set wan$i up && routes $i || fail "link $i"
    done
}
routes() { # I
    ip -n c route replace default via "172.30.$1.1" dev "wan$1" metric $((100 + $1))
}
order() { echo "$1" >&8; } # ORDER of app/wan_spec.h

### mqvpn

IO=auto # for --io

# Start the server with a state directory of its own; $PIN and $T/key are set from what it prints.
server() { # OPTIONS...
    spawn server server "$MQVPN" server --state-dir "$T/server" --io "$IO" "$@"
    wait_log server 'connect with: '
    PIN=$(sed -n 's/.*connect with: .* --pin \([^ ]*\).*/\1/p' "$T/server.log")
    [ ! -e "$T/server/auth.key" ] || cp "$T/server/auth.key" "$T/key"
}

# Start client I (namespace cI) without waiting for anything.
client_start() { # I OPTIONS...
    local i=$1
    shift
    spawn "c$i" "c$i" "$MQVPN" client "172.31.$i.1" --state-dir "$T/c$i" --pin "$PIN" \
        --io "$IO" "$@"
}

# Start client I with the server's key and wait for the tunnel.
client() { # I OPTIONS...
    local i=$1
    shift
    client_start "$i" --auth-key-file "$T/key" "$@"
    client_up "$i"
}

client_up() { wait_log "c$1" 'tunnel is up' "${2:-15}"; } # I [SECONDS]

# The tunnel address of client I: inner I 4, inner I 6.
inner() { # I FAMILY
    ip -n "c$1" "-$2" -o address show dev mqvpn0 scope global | sed -n 's/.*inet6\? \([^/ ]*\).*/\1/p'
}

### The end

finish() {
    local rc=$? f
    trap - EXIT
    if [ $rc != 0 ] && [ $rc != 77 ] || [ -n "${V:-}" ]; then
        for f in "$T"/*.log*; do
            [ -e "$f" ] || continue
            echo "--- ${f##*/}"
            tail -n 60 "$f"
        done
    fi
    exit $rc
}
trap finish EXIT
trap 'echo "interrupted"; exit 1' INT TERM HUP
