#!/bin/bash
# lab.sh - one tunnel over several emulated links: each link alone, and all of them together.
#
#   bench/lab.sh 2x50 | tee results.txt       # an environment of the list below, or several
#   bench/lab.sh 'rate 50mbit delay 20ms, rate 8mbit delay 80ms jitter 20ms'   # or one's own
#   TIME=8 FLOWS=1 UDP= bench/lab.sh all      # all of them, short
#
# A client and a server in network namespaces, joined by links a, b, ... of `mqvpn wan` (the words
# for a link are in app/wan_spec.h; 50 ms of drop-tail queue unless told otherwise). Nothing outside
# is touched. Root, or user namespaces.
#
# Settings, as environment variables:
#   TIME=30             seconds of a TCP run; the first 5 are left out, the first 10 told separately
#   FLOWS="1 4"         numbers of inner TCP flows
#   WAYS="down"         directions: down, up
#   UDP="60 90 100"     inner UDP, offered in per cent of the links' rates; UDP_SIZES="1100 160",
#                       UDP_TIME=5 seconds each; empty: none
#   ALONE=1 ALL=1       measure each link alone; all together (empty: not)
#   EVENTS=""           orders to the links during the runs of all: "10 cut a, 15 restore a" (s)
#   SCALE=1             factor for all rates, where the machine is too slow
#   MQVPN=program MQVPN_ARGS="options" CLIENT_ARGS="options"      which mqvpn, and how
#
# Lines of key=value on standard output, then a table; all else goes to standard error.
#   mbps, first_mbps    payload that came, after the first 5 s (a sixth of shorter runs), and within
#                       the first 10 s (a third)
#   stall_ms            the longest time without a byte, seen in steps of 100 ms
#   ping_*              a ping every 50 ms beside the flows, and on the idle tunnel before
#   cpu_pct             the busier of: the machine, and any one process of ours in per cent of a core
#   measured=no         cpu_pct is over 85: the figures say more about the machine than about us;
#                       use SCALE
# Exit status 1 if something failed; runs that the program can't do are told as "skip".

set -u
case ${1:-} in
'' | -h | --help)
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
    exit 64
    ;;
esac
# shellcheck source=bench/lib.sh
. "$(dirname "$0")/lib.sh"

TIME=${TIME:-30} FLOWS=${FLOWS:-1 4} WAYS=${WAYS:-down} UDP=${UDP-60 90 100}
UDP_SIZES=${UDP_SIZES:-1100 160} UDP_TIME=${UDP_TIME:-5} ALONE=${ALONE-1} ALL=${ALL-1}
EVENTS=${EVENTS:-} SCALE=${SCALE:-1} MQVPN_ARGS=${MQVPN_ARGS:-} CLIENT_ARGS=${CLIENT_ARGS:-}
SERVER=172.29.0.1 INNER=10.0.0.1 CPU_MAX=85
for n in $TIME $FLOWS $UDP_TIME $UDP $UDP_SIZES; do
    case $n in *[!0-9]* | '' | 0*) fail "\"$n\" is not a count" ;; esac
done
for n in $WAYS; do case $n in up | down) ;; *) fail "\"$n\" is neither up nor down" ;; esac done
failures=0

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

# Links of an environment, one a line, with rates scaled: sets `links` and `rates` (bit/s).
choose() { # NAME-OR-LINKS
    local text
    text=$(sed -n "s/^$(printf %s "$1" | sed 's/[][\.*^$/]/\\&/g')://p" <<<"$environments" | head -n 1)
    env_name=$1
    if [ -z "$text" ]; then
        case $1 in *rate*) ;; *) fail "no environment \"$1\"; there are: $(sed 's/:.*//' <<<"$environments" | tr '\n' ' ')" ;; esac
        text=$1 env_name=own
    fi
    mapfile -t links < <(tr ',' '\n' <<<"$text" | awk -v f="$SCALE" '{
        for (i = 1; i < NF; i++) if ($i == "rate") {
            u = $(i + 1); sub(/^[0-9.]+/, "", u); $(i + 1) = ($(i + 1) * f) u }
        print }')
    mapfile -t rates < <(printf '%s\n' "${links[@]}" | awk '{ r = 0
        for (i = 1; i < NF; i++) if ($i == "rate" && !r) { r = $(i + 1) * 1
            if ($(i + 1) ~ /gbit/) r *= 1e9; else if ($(i + 1) ~ /mbit/) r *= 1e6
            else if ($(i + 1) ~ /kbit/) r *= 1e3 }
        printf "%d\n", r }')
}

letter() { printf "\\$(printf %o $((97 + $1)))"; } # I

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
        echo "link $(letter $i) c/wan$i s/wan$i ${links[i]}"
    done >"$T/links"
    [ -p "$T/orders" ] || mkfifo "$T/orders"
    exec 8<>"$T/orders"
    "$MQVPN" wan "$T/links" <"$T/orders" >"$T/wan.log" 2>&1 3>&- &
    pid[wan]=$!
    wait_log wan '^ready$'
    for ((i = 0; i < ${#links[@]}; i++)); do
        ip -n c address add "172.30.$i.2/24" dev wan$i && ip -n s address add "172.30.$i.1/24" dev wan$i &&
            ip -n c link set wan$i up && ip -n s link set wan$i up &&
            ip -n c route add default via "172.30.$i.1" dev wan$i metric $((100 + i)) || fail "link $i"
    done
    # shellcheck disable=SC2086
    spawn server s "$MQVPN" server --auth-key lab --state-dir "$T/server" $MQVPN_ARGS
    wait_log server 'connect with: '
    spawn iperf s iperf3 -s --forceflush
    wait_log iperf 'listening'
}

tear_down() {
    local name
    for name in iperf server; do kill "${pid[$name]}" 2>/dev/null && wait "${pid[$name]}" 2>/dev/null; done
    order quit
    wait "${pid[wan]}" 2>/dev/null
    ip netns del c
    ip netns del s
}

# A client over these links; 1 with $why if the program refuses them.
client_on() { # LINK-NUMBER...
    local i paths=() rc
    for i; do paths+=(--path "wan$i"); done
    # shellcheck disable=SC2086
    spawn client c "$MQVPN" client $SERVER --insecure --auth-key lab --route 10.0.0.0/24 \
        --state-dir "$T/client" "${paths[@]}" $MQVPN_ARGS $CLIENT_ARGS
    SECONDS=0
    until grep -q 'tunnel is up' "$T/client.log"; do
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

client_off() {
    kill "${pid[client]}"
    wait "${pid[client]}" 2>/dev/null
}

### What a run costs

# A process and its children.
family() { echo "$1" "$(cat "/proc/$1/task/$1/children" 2>/dev/null)"; } # PID
cost_now() { # busy and all ticks of the machine, those of client, server and links, the time
    # shellcheck disable=SC2046
    echo $(machine) $(for p in client server wan; do cpu_of $(family "${pid[$p]}"); done) \
        "$(date +%s.%N)"
}
cost_begin() { cost_0=$(cost_now); }
cost_end() { # sets $cost
    cost=$(awk -v a="$cost_0" -v b="$(cost_now)" -v t="$tick" -v max=$CPU_MAX 'BEGIN {
        split(a, x); split(b, y); s = y[6] - x[6]; m = y[2] - x[2]
        all = m ? 100 * (y[1] - x[1]) / m : 0
        cli = (y[3] - x[3]) / t / s * 100; srv = (y[4] - x[4]) / t / s * 100
        wan = (y[5] - x[5]) / t / s * 100
        most = all; if (cli > most) most = cli; if (srv > most) most = srv; if (wan > most) most = wan
        printf "cpu_pct=%.0f cli_pct=%.0f srv_pct=%.0f wan_pct=%.0f measured=%s", most, cli, srv, \
            wan, (most > max ? "no" : "yes") }')
}

### Runs

# Round trips out of ping's output: KEY_p50_ms KEY_p99_ms KEY_lost.
pings_of() { # KEY FILE
    sed -n 's/.*time=\([0-9.]*\) ms.*/\1/p' "$2" | sort -n | awk -v k="$1" -v sent="$(sed -n \
        's/^\([0-9]*\) packets transmitted.*/\1/p' "$2")" '{ v[NR] = $1 } END {
        if (NR) printf "%s_p50_ms=%.1f %s_p99_ms=%.1f ", k, v[int((NR + 1) / 2)], k, \
            v[int(NR * 0.99 + 0.999)]
        printf "%s_lost=%d", k, sent - NR }'
}

idle_ping() {
    in_ns c ping -i 0.05 -c 40 -W 2 $INNER >"$T/ping" 2>&1
    idle=$(pings_of idle "$T/ping")
}

# Intervals of iperf3 -J, those of its receiver: goodput after the start, in it, longest stall.
sums() { # FILE
    awk -v whole="$TIME" '
        /"server_output_json":/ { n = 0; ended = 0 }
        /"intervals":/ { on = 1 }
        /"end":.*{/ { on = 0; in_sum = 0 }
        on && /"sum":.*{/ { in_sum = 1 }
        on && in_sum && /"(start|end|bytes)":/ { split($0, kv, /[:,]/); k = kv[1]; gsub(/[^a-z]/, "", k); v[k] = kv[2] + 0 }
        on && in_sum && /}/ { in_sum = 0; s[n] = v["start"]; e[n] = v["end"]; b[n++] = v["bytes"] }
        END {
            skip = whole < 30 ? whole / 6 : 5; first = whole < 30 ? whole / 3 : 10
            for (i = 0; i < n; i++) {
                if (s[i] >= skip - 0.01) { late += b[i]; late_s += e[i] - s[i] }
                if (e[i] <= first + 0.01) { early += b[i]; early_s += e[i] - s[i] }
                quiet = b[i] ? 0 : quiet + e[i] - s[i]
                if (quiet > stall) stall = quiet
            }
            if (!late_s || !early_s) exit 1
            printf "mbps=%.2f first_mbps=%.2f stall_ms=%.0f", late * 8 / late_s / 1e6, \
                early * 8 / early_s / 1e6, stall * 1000
        }' "$1"
}

events() {
    local at now=0 rest
    tr ',' '\n' <<<"$EVENTS" | while read -r at rest; do
        [ -n "$at" ] || continue
        sleep "$(awk -v a="$at" -v n=$now 'BEGIN { print a - n }')"
        now=$at
        echo "$rest" >&8
    done
}

tcp_run() { # PATHS FLOWS WAY
    local way=(-R) out watching='' pinging
    [ "$3" = down ] || way=(--get-server-output)
    cost_begin
    nsenter --net=/run/netns/c -- ping -i 0.05 -W 2 $INNER >"$T/ping" 2>&1 &
    pinging=$!
    if [ "$1" = all ] && [ -n "$EVENTS" ]; then
        events &
        watching=$!
    fi
    in_ns c iperf3 -J -i 0.1 -c $INNER -P "$2" -t "$TIME" --connect-timeout 5000 "${way[@]}" \
        >"$T/iperf.json" 2>&1
    kill -INT $pinging
    wait $pinging
    [ -z "$watching" ] || wait $watching
    cost_end
    out=$(sums "$T/iperf.json") || {
        result "failed env=$env_name paths=$1 flows=$2 way=$3 $cost"
        failures=$((failures + 1))
        return
    }
    result "tcp env=$env_name paths=$1 flows=$2 way=$3 seconds=$TIME $out" \
        "$idle $(pings_of ping "$T/ping") $cost"
}

udp_run() { # PATHS PERCENT SIZE WAY
    local way=() rate=0 i out
    [ "$4" = up ] || way=(-R)
    for ((i = 0; i < ${#links[@]}; i++)); do
        [ "$1" != all ] && [ "$1" != "$(letter "$i")" ] || rate=$((rate + rates[i]))
    done
    [ $rate -gt 0 ] || return
    cost_begin
    in_ns c iperf3 -J -c $INNER -u -b $((rate * $2 / 100)) -l "$3" -t "$UDP_TIME" \
        --connect-timeout 5000 "${way[@]}" >"$T/iperf.json" 2>&1
    cost_end
    out=$(awk '/^\t"end":/ { on = 1 } on && /"sum(_received)?":.*{/ { in_sum = 1 }
        on && in_sum { split($0, kv, /[:,]/); k = kv[1]; gsub(/[^a-z_]/, "", k); if (kv[2] != "") v[k] = kv[2] + 0 }
        in_sum && /}/ { in_sum = 0 }
        END { if (!v["packets"]) exit 1
            printf "mbps=%.2f loss_pct=%.3f jitter_ms=%.2f", v["bits_per_second"] / 1e6, \
                v["lost_percent"], v["jitter_ms"] }' "$T/iperf.json") || {
        result "failed env=$env_name paths=$1 udp_pct=$2 size=$3 way=$4 $cost"
        failures=$((failures + 1))
        return
    }
    result "udp env=$env_name paths=$1 offered_mbps=$(awk -v r=$rate -v p="$2" \
        'BEGIN { printf "%.1f", r * p / 1e8 }') size=$3 way=$4 $out $cost"
}

measure() { # NAME LINK-NUMBER...
    local name=$1 n way size
    shift
    step "$env_name, $name"
    client_on "$@" || {
        result "skip env=$env_name paths=$name why=$why"
        return
    }
    idle_ping
    for way in $WAYS; do
        for n in $FLOWS; do tcp_run "$name" "$n" "$way"; done
        for size in $UDP_SIZES; do
            for n in $UDP; do udp_run "$name" "$n" "$size" "$way"; done
        done
    done
    client_off
}

# TCP by environment, flows and way: each link alone, all, and how they compare.
table() {
    awk '$1 == "tcp" { for (i = 2; i <= NF; i++) { split($i, kv, "="); v[kv[1]] = kv[2] }
            k = v["env"] " " v["flows"] " " v["way"]
            if (!(k in seen)) { seen[k] = 1; key[n++] = k }
            if (v["paths"] == "all") { all[k] = v["mbps"]; first[k] = v["first_mbps"]
                p99[k] = v["ping_p99_ms"] - v["idle_p50_ms"] }
            else { alone[k] = alone[k] (alone[k] ? " + " : "") v["mbps"]; sum[k] += v["mbps"]
                if (v["mbps"] > best[k]) best[k] = v["mbps"] }
            if (v["measured"] == "no") busy[k] = "  CPU-bound: no measurement" }
        END { if (!n) exit
            printf "# %-14s %5s %-4s %20s %8s %8s %8s %8s %9s\n", "environment", "flows", "way", \
                "alone Mbit/s", "all", "x best", "% of sum", "first", "ping+ p99"
            for (i = 0; i < n; i++) { k = key[i]; split(k, w, " ")
                printf "# %-14s %5d %-4s %20s", w[1], w[2], w[3], alone[k] ? alone[k] : "-"
                if (k in all) { printf " %8.1f", all[k]
                    if (best[k]) printf " %8.2f %8.1f", all[k] / best[k], 100 * all[k] / sum[k]
                    else printf " %8s %8s", "-", "-"
                    printf " %8.1f %9.1f", first[k], p99[k] }
                else printf " %8s %8s %8s %8s %9s", "-", "-", "-", "-", "-"
                print busy[k] } }' "$1"
}

case $1 in all) mapfile -t chosen < <(sed 's/:.*//' <<<"$environments") ;; *) chosen=("$@") ;; esac
for name in "${chosen[@]}"; do choose "$name"; done # all names are looked at first
exec 4>&3 3>"$T/results"
result "host date=$(date +%Y-%m-%d) cores=$(nproc) kernel=$(uname -r)" \
    "load=$(cut -d' ' -f1 /proc/loadavg) mqvpn=$("$MQVPN" --version | sed -n '1s/.* //p') scale=$SCALE"
tail -n +1 -f "$T/results" --pid=$$ >&4 2>/dev/null 3>&- &
showing=$!
for name in "${chosen[@]}"; do
    choose "$name"
    build
    if [ -n "$ALONE" ]; then
        for ((i = 0; i < ${#links[@]}; i++)); do measure "$(letter $i)" $i; done
    fi
    [ -z "$ALL" ] || [ ${#links[@]} -lt 2 ] || measure all "${!links[@]}"
    tear_down
done
sleep 1.2 # the last lines are shown once a second
kill $showing
wait $showing 2>/dev/null
table "$T/results" >&4
[ $failures = 0 ]
