#!/bin/bash
# links.sh - what bench/lab.sh measures on: environments of emulated links, and a client and a
# server that they join. Built upon bench/lib.sh.
#
#    c: wanI 172.30.I.2/24  ───  link a, b, ... (I = 0, 1, ...)  ───  s: wanI 172.30.I.1/24
#                                                                       lo   172.29.0.1
#
# c has a default route by each link, the first one's before the second's.

# shellcheck source=bench/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Set here for what reads this file, and read from it: SC2034 sees neither.
# shellcheck disable=SC2034
SERVER=172.29.0.1 INNER=10.0.0.1 CPU_MAX=85 STEAL_MAX=5 LATE_MAX=50

### Environments: NAME:LINK,LINK...

same="rate 50mbit delay 20ms"
environments="300+80:rate 300mbit delay 10ms,rate 80mbit delay 30ms
2x50:$same,$same
2x50-loss:$same loss 0.5%,$same loss 0.5%
2x50-jitter:$same jitter 5ms,$same jitter 5ms
50-20+50-40:$same,rate 50mbit delay 40ms
50+12:$same,rate 12mbit delay 20ms
40+25-loss:rate 40mbit delay 30ms jitter 5ms loss 0.5%,rate 25mbit delay 45ms jitter 8ms loss 0.5%
300+30-loss:rate 300mbit delay 8ms,rate 30mbit delay 40ms jitter 8ms loss 0.5%
2x100:rate 100mbit delay 25ms,rate 100mbit delay 25ms
1x50-loss:$same loss 0.5%"

letter() { printf "\\$(printf %o $((97 + $1)))"; } # I

# The links of an environment, which it is from now on: sets `env_name` and `words`, one a link.
choose() { # NAME-OR-LINKS
    local text
    text=$(sed -n "s/^$(printf %s "$1" | sed 's/[][\.*^$/]/\\&/g')://p" <<<"$environments" | head -n 1)
    env_name=$1
    if [ -z "$text" ]; then
        case $1 in *rate*) ;; *) fail "no environment \"$1\"; there are: $(sed 's/:.*//' <<<"$environments" | tr '\n' ' ')" ;; esac
        text=$1 env_name=own
    fi
    mapfile -t words < <(tr ',' '\n' <<<"$text")
    scale_to "$SCALE"
}

# All rates by a factor: sets `scale`, `links` (the words with these rates) and `rates` (bit/s).
scale_to() { # FACTOR
    scale=$1
    mapfile -t links < <(printf '%s\n' "${words[@]}" | awk -v f="$scale" '{
        for (i = 1; i < NF; i++) if ($i == "rate") {
            u = $(i + 1); sub(/^[0-9.]+/, "", u); $(i + 1) = ($(i + 1) * f) u }
        print }')
    mapfile -t rates < <(printf '%s\n' "${links[@]}" | awk '{ r = 0
        for (i = 1; i < NF; i++) if ($i == "rate" && !r) { r = $(i + 1) * 1
            if ($(i + 1) ~ /gbit/) r *= 1e9; else if ($(i + 1) ~ /mbit/) r *= 1e6
            else if ($(i + 1) ~ /kbit/) r *= 1e3 }
        printf "%d\n", r }')
}

# The rate of a link, or of "all", in bit/s.
rate_of() { # PATHS
    local i sum=0
    for ((i = 0; i < ${#links[@]}; i++)); do
        case $1 in all* | "$(letter "$i")") sum=$((sum + rates[i])) ;; esac
    done
    echo $sum
}

# The links as in `links`; then MORE, words of app/wan_spec.h, for all of them.
shape() { # [MORE...]
    local i
    for ((i = 0; i < ${#links[@]}; i++)); do
        order "set $(letter "$i") $(sed 's/\<mtu [0-9]*//g' <<<"${links[i]}")"
        [ $# = 0 ] || order "set $(letter "$i") $*"
    done
}

### The stage

order() { # ORDER
    local before
    before=$(grep -cE '^(ok|error)' "$T/wan.log")
    echo "$1" >&8
    wait_for 5 "an answer to \"$1\"" eval \
        "[ \$(grep -cE '^(ok|error)' $T/wan.log) -gt $before ]"
    ! tail -n 1 "$T/wan.log" | grep '^error' || fail "order \"$1\""
}

build() {
    local i
    hosts c s
    ip -n s address add $SERVER/32 dev lo
    for ((i = 0; i < ${#links[@]}; i++)); do
        echo "link $(letter "$i") c/wan$i s/wan$i ${links[i]}"
    done >"$T/links"
    [ -p "$T/orders" ] || mkfifo "$T/orders"
    exec 8<>"$T/orders"
    : >"$T/wan.log" # nothing of the links before is read for these
    "$MQVPN" wan "$T/links" <"$T/orders" >"$T/wan.log" 2>&1 3>&- &
    pid[wan]=$!
    wait_log wan '^ready$'
    for ((i = 0; i < ${#links[@]}; i++)); do
        ip -n c address add "172.30.$i.2/24" dev "wan$i" &&
            ip -n s address add "172.30.$i.1/24" dev "wan$i" &&
            ip -n c link set "wan$i" up && ip -n s link set "wan$i" up &&
            routes "$i" || fail "link $i"
    done
    spawn iperf s iperf3 -s --forceflush
    wait_log iperf 'listening'
    server_on
}

# The server, anew where its options are others.
scheduler='' serving=none
server_on() {
    [ "$serving" != "$scheduler" ] || return 0
    server_off
    # shellcheck disable=SC2086
    spawn server s "$MQVPN" server --auth-key lab --state-dir "$T/server" \
        ${scheduler:+--scheduler $scheduler} ${MQVPN_ARGS:-}
    wait_log server 'connect with: '
    serving=$scheduler
}
server_off() { end_of server && serving=none; }

end_of() { # NAME...
    local name
    for name; do
        [ -z "${pid[$name]:-}" ] || { kill "${pid[$name]}" && wait "${pid[$name]}"; } 2>/dev/null
        unset "pid[$name]"
    done
}

tear_down() {
    end_of iperf server
    serving=none
    order quit
    wait "${pid[wan]}" 2>/dev/null
    ip netns del c
    ip netns del s
}

# A client over these links; 1 with $why if the program refuses them.
client_on() { # LINK-NUMBER...
    local i paths=() rc
    for i; do paths+=(--path "wan$i"); done
    server_on
    # shellcheck disable=SC2086
    spawn client c "$MQVPN" client $SERVER --insecure --auth-key lab --route 10.0.0.0/24 \
        --state-dir "$T/client" "${paths[@]}" ${scheduler:+--scheduler $scheduler} ${MQVPN_ARGS:-} \
        ${CLIENT_ARGS:-}
    SECONDS=0
    until grep -qs 'tunnel is up' "$T/client.log"; do
        if ! running client; then
            wait "${pid[client]}"
            rc=$?
            why=$(tail -n 1 "$T/client.log" | tr -c 'a-zA-Z0-9.,:\n-' _)
            [ $rc = 64 ] || fail "the client ended with status $rc"
            return 1
        fi
        [ $SECONDS -lt 30 ] || fail "the tunnel did not come up"
        sleep 0.1
    done
    wait_for 10 "the far end of the tunnel" can_ping c $INNER
}

client_off() { end_of client; }

# The client's address in the tunnel.
inner_client() { ip -n c -4 -o address show dev mqvpn0 | sed -n 's/.*inet \([^/ ]*\).*/\1/p'; }

### What a run costs

# A process and its children.
family() { echo "$1" "$(cat "/proc/$1/task/$1/children" 2>/dev/null)"; } # PID
stolen() { awk '/^cpu / { print $9 }' /proc/stat; }
load_now() { # busy and all ticks of the machine, those of client, server, links and QUIC, the time,
    # and those that a virtual machine's host took
    local p
    # shellcheck disable=SC2046
    echo $(machine) $(for p in client server wan quic_s quic_c; do
        [ -n "${pid[$p]:-}" ] && cpu_of $(family "${pid[$p]}") || echo 0
    done) "$EPOCHREALTIME" "$(stolen)"
}
load_begin() {
    spawn late s "$O/bench/tools/late"
    load_0=$(load_now)
}
load_end() { # sets $cost, and $cpu: cpu_pct's value
    end_of late
    cost=$(awk -v a="$load_0" -v b="$(load_now)" -v t="$tick" -v max=$CPU_MAX -v taken=$STEAL_MAX \
        -v late="$(sed -n 's/^late_ms=//p' "$T/late.log")" -v away=$LATE_MAX 'BEGIN {
        split(a, x); split(b, y); s = y[8] - x[8]; m = y[2] - x[2]
        all = m ? 100 * (y[1] - x[1]) / m : 0; most = all
        for (i = 3; i <= 7; i++) { p[i] = (y[i] - x[i]) / t / s * 100; if (p[i] > most) most = p[i] }
        steal = m ? 100 * (y[9] - x[9]) / m : 0
        printf "cpu_pct=%.0f machine_pct=%.0f cli_pct=%.0f srv_pct=%.0f wan_pct=%.0f steal_pct=%.0f", \
            most, all, p[3], p[4], p[5], steal
        print " late_ms=" late " measured=" \
            (most > max || steal > taken || late > away ? "no" : "yes") }')
    cpu=${cost#cpu_pct=} cpu=${cpu%% *}
}
