#!/bin/bash
# lab.sh - one tunnel over several emulated links: each link alone, and all of them together.
#
#   bench/lab.sh report | tee lab.txt         # all that docs/benchmarks.md wants, fifty minutes
#   bench/lab.sh 2x50 50+12                   # environments of bench/links.sh; `all`: each of them
#   bench/lab.sh 'rate 50mbit delay 20ms, rate 8mbit delay 80ms jitter 20ms'   # or one's own
#   TIME=6 only=tcp bench/lab.sh all          # one part only, and short
#   bench/report.sh lab.txt                   # docs/benchmarks.md and its plots
#
# A client and a server in network namespaces, joined by links a, b, ... of `mqvpn wan` (the words
# for a link are in app/wan_spec.h; 50 ms of drop-tail queue unless told otherwise). Nothing outside
# is touched. Root, or user namespaces. `make peers` first.
#
# Parts, each for each environment (only="tcp quic"):
#   tcp      inner TCP flows (iperf3); where links lose at random, also the same links without loss
#   quic     one inner QUIC flow (ngtcp2's programs)
#   streams  1 to 64 inner TCP flows, for each scheduler
#   udp      UDP offered at a rate (iperf3), for some schedulers
#   cuts     inner TCP flows while a link is cut and comes back: as a silent black hole ("hole"), by
#            `ip link set down` at the far end ("down"), or at our own ("own")
#   beside   a ping and UDP like a telephone's (64 kbit/s, 50 packets a second) beside 4 flows
# `report` is: tcp and quic everywhere, then on 300+80 all the others, and beside on 2x50.
#
# Settings, as environment variables:
#   TIME=30             seconds of a run of tcp, quic and beside; of each the first 5 are left out, the
#                       first 10 told separately
#   FLOWS="1" WAYS="down"         of tcp (and quic's ways): numbers of flows; directions: down, up
#   STREAMS="1 4 8 16 32 64" STREAM_TIME=10 SCHEDULERS="auto minrtt wlb wlb_udp_pin backup redundant"
#   UDP="1100:60,80,92,100 160:13,26,39,53" UDP_TIME=5 UDP_SCHEDULERS="auto wlb minrtt"
#                       bytes, and what is offered in per cent of the links' rates
#   CUT_FLOWS="1 4" CUT_TIME=6    seconds before a cut, of it, and after
#   CC=cubic            congestion control of the inner flows
#   ALONE=1 ALL=1       measure each link alone; all together (empty: not)
#   EVENTS=""           orders to the links during the runs of all: "10 cut a, 15 restore a" (s)
#   SCALE=1             factor for all rates
#   FIT=1               halve it for tcp and quic as long as a run of 5 s takes more CPU than is good,
#                       or its receiver does not get to read its socket in time (empty: not; only
#                       looked at above 150 Mbit/s)
#   MQVPN=program MQVPN_ARGS="options" CLIENT_ARGS="options"      which mqvpn, and how
#
# Lines of key=value on standard output, else to standard error:
#   mbps, first_mbps    payload that came, after the first 5 s (a sixth of shorter runs), and within
#                       the first 10 s (a third)
#   rcvbuf_lost         quic: packets that came and were lost for want of room in a socket
#   stall_ms            the longest time without a byte (tcp: seen in steps of 100 ms)
#   ping_*              a ping every 50 ms beside the flows, and on the idle tunnel before; those under
#                       way at the end count as _lost
#   cpu_pct             the busiest of: the machine, and any one process in per cent of a core
#   steal_pct           of the machine, what its host took where it is a virtual one
#   late_ms             the longest time in which a processor ran nothing at all, not even what comes
#                       before all else: the host ran others
#   measured=no         cpu_pct is over 85, steal_pct over 5, or late_ms over 50: the figures say more
#                       about the machine than about us
#   sum                 how all links together compare with each alone, and with what is wanted:
#                       verdict=PASS, below, or no_measurement. 2 % are taken for noise
#   samples             of a cut: Mbit/s of each half second, from 3 s before it
#   to_90_ms, full_ms   after a cut, until a half second brings 90 % of what the links that are left
#                       bring alone; after the return, until one brings 95 % of what was before
# Exit status 1 if something failed; runs that the program can't do are told as "skip".

set -u
case ${1:-} in
'' | -h | --help)
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
    exit 64
    ;;
esac
# shellcheck source=bench/links.sh
. "$(dirname "$0")/links.sh"

only=${only:-tcp quic} TIME=${TIME:-30} FLOWS=${FLOWS:-1} WAYS=${WAYS:-down}
STREAMS=${STREAMS:-1 4 8 16 32 64} STREAM_TIME=${STREAM_TIME:-10}
SCHEDULERS=${SCHEDULERS:-auto minrtt wlb wlb_udp_pin backup redundant}
UDP=${UDP:-1100:60,80,92,100 160:13,26,39,53} UDP_TIME=${UDP_TIME:-5}
UDP_SCHEDULERS=${UDP_SCHEDULERS:-auto wlb minrtt}
CUT_FLOWS=${CUT_FLOWS:-1 4} CUT_TIME=${CUT_TIME:-6} FIT=${FIT-1}
ALONE=${ALONE-1} ALL=${ALL-1} EVENTS=${EVENTS:-} SCALE=${SCALE:-1}
CC=${CC:-cubic} FLOW=$O/test/e2e/flow
export FLOW_CC=$CC
for n in $TIME $FLOWS $STREAMS $STREAM_TIME ${UDP//[:,]/ } $UDP_TIME $CUT_FLOWS $CUT_TIME; do
    case $n in *[!0-9]* | '' | 0*) fail "\"$n\" is not a count" ;; esac
done
for n in $WAYS; do case $n in up | down) ;; *) fail "\"$n\" is neither up nor down" ;; esac done
for n in $only; do
    case $n in
    tcp | streams | udp | cuts | beside) ;;
    quic) for p in gtlsserver gtlsclient; do
        command -v $p >/dev/null || fail "part quic needs $p: make deps"
    done ;;
    *) fail "only=: there is no part \"$n\"" ;;
    esac
done
for program in "$FLOW" "$O/bench/tools/late"; do
    [ -x "$program" ] || fail "no program $program: make peers"
done

broken() { result "failed $* $cost"; } # LINE...

### Round trips

# Out of ping's output: KEY_p50_ms KEY_p99_ms KEY_lost.
pings_of() { # KEY FILE
    sed -n 's/.*time=\([0-9.]*\) ms.*/\1/p' "$2" | sort -n | awk -v k="$1" -v sent="$(sed -n \
        's/^\([0-9]*\) packets transmitted.*/\1/p' "$2")" '{ v[NR] = $1 } END {
        if (NR) printf "%s_p50_ms=%.1f %s_p99_ms=%.1f ", k, v[int((NR + 1) / 2)], k, \
            v[int(NR * 0.99 + 0.999)]
        printf "%s_lost=%d", k, sent - NR }'
}
idle_ping() { # sets $idle
    in_ns c ping -i 0.05 -c 40 -W 2 $INNER >"$T/ping" 2>&1
    idle=$(pings_of idle "$T/ping")
}
ping_begin() { spawn ping c ping -i 0.05 -W 2 $INNER; }
ping_end() { # sets $pings
    kill -INT "${pid[ping]}"
    wait "${pid[ping]}"
    unset 'pid[ping]'
    pings=$(pings_of ping "$T/ping.log")
}

### Runs of flows

# Intervals of iperf3 -J, those of its receiver: start and end in seconds, bytes.
intervals_iperf() { # FILE
    awk '/"server_output_json":/ { n = 0 }
        /"intervals":/ { on = 1 }
        /"end":.*{/ { on = 0; in_sum = 0 }
        on && /"sum":.*{/ { in_sum = 1 }
        on && in_sum && /"(start|end|bytes)":/ { split($0, kv, /[:,]/); k = kv[1]
            gsub(/[^a-z]/, "", k); v[k] = kv[2] + 0 }
        on && in_sum && /}/ { in_sum = 0; line[n++] = v["start"] " " v["end"] " " v["bytes"] }
        END { for (i = 0; i < n; i++) print line[i] }' "$1"
}
# The same from the lines of test/e2e/flow, that began at a time in ms, with the longest gap.
intervals_flow() { # FILE BEGAN
    awk -v t="$2" 'NF == 3 { s = n++ ? e : 0; e = ($1 - t) / 1000; print s, e, $2, $3 }' "$1"
}

# Goodput after the start and in it, and the longest stall.
figures() {
    awk -v whole="$TIME" '{ s[NR] = $1; e[NR] = $2; b[NR] = $3
            quiet = $3 ? 0 : quiet + $2 - $1
            gap = NF > 3 ? $4 / 1000 : quiet
            if (sum && gap > stall) stall = gap
            sum += $3 }
        END {
            skip = whole < 30 ? whole / 6 : 5; first = whole < 30 ? whole / 3 : 10
            for (i = 1; i <= NR; i++) {
                if (s[i] >= skip - 0.01 && e[i] <= whole + 0.2) { late += b[i]; late_s += e[i] - s[i] }
                if (e[i] <= first + 0.01) { early += b[i]; early_s += e[i] - s[i] }
            }
            if (!late_s || !early_s || !sum) exit 1
            printf "mbps=%.2f first_mbps=%.2f stall_ms=%.0f", late * 8 / late_s / 1e6, \
                early * 8 / early_s / 1e6, stall * 1000 }'
}

events() {
    local at now=0 rest
    tr ',' '\n' <<<"$EVENTS" | while read -r at rest; do
        [ -n "$at" ] || continue
        sleep "$(awk -v a="$at" -v n="$now" 'BEGIN { print a - n }')"
        now=$at
        echo "$rest" >&8
    done
}

tcp_flows() { # FLOWS WAY; writes $T/intervals
    local way=(-R)
    [ "$2" = down ] || way=(--get-server-output)
    in_ns c iperf3 -J -i 0.1 -c $INNER -C "$CC" -P "$1" -t "$TIME" --connect-timeout 5000 "${way[@]}" \
        >"$T/what" 2>&1
    intervals_iperf "$T/what" >"$T/intervals"
}

no_room() { in_ns "$1" awk '$1 == "Udp:" && $6 + 0 == $6 { print $6 }' /proc/net/snmp; } # NS

# ngtcp2's server makes bytes, its client writes them into a pipe.
quic_flows() { # 1 WAY; sets $rcvbuf_lost
    local from=s to=c at=$INNER began size=1000000000000
    [ "$2" = down ] || from=c to=s at=$(inner_client)
    rm -rf "$T/got"
    mkdir -p "$T/got"
    mkfifo "$T/got/$size"
    [ -e "$T/quic.key" ] || ok "a certificate" "$MQVPN" gencert --name lab --cert "$T/quic.crt" \
        --key "$T/quic.key"
    spawn quic_s $from gtlsserver -q --cc="$CC" --max-dyn-length=$size -d "$T/got" "$at" 4433 \
        "$T/quic.key" "$T/quic.crt"
    wait_for 5 "gtlsserver" eval "in_ns $from cat /proc/net/udp | grep -q :1151"
    spawn quic_n $to "$FLOW" read "$T/got/$size"
    rcvbuf_lost=$(no_room $to)
    began=$(date +%s%3N)
    spawn quic_c $to gtlsclient -q --no-quic-dump --no-http-dump --download="$T/got" "$at" 4433 \
        "https://$at/$size"
    sleep "$TIME"
    load_end
    running quic_c || cp "$T/quic_c.log" "$T/what"
    end_of quic_c quic_n quic_s
    rcvbuf_lost=$(($(no_room $to) - rcvbuf_lost))
    intervals_flow "$T/quic_n.log" "$began" >"$T/intervals"
}

flow_run() { # PART PATHS FLOWS WAY
    local what watching='' out rcvbuf_lost=''
    what="env=$env_name paths=$2 flows=$3 way=$4${scheduler:+ sched=$scheduler} scale=$scale seconds=$TIME"
    load_begin
    ping_begin
    if [ "$2" = all ] && [ -n "$EVENTS" ]; then
        events &
        watching=$!
    fi
    case $1 in
    quic) quic_flows "$3" "$4" ;;
    *)
        tcp_flows "$3" "$4"
        load_end
        ;;
    esac
    ping_end
    [ -z "$watching" ] || wait $watching
    out=$(figures <"$T/intervals") || {
        broken "part=$1 $what"
        tail -n 5 "$T/what"
        return
    }
    result "$1 $what $out${rcvbuf_lost:+ rcvbuf_lost=$rcvbuf_lost} $idle $pings $cost"
}

### Parts

# Each link alone, and all: COMMAND PATHS ARGS... for each.
on_links() { # COMMAND ARGS...
    local i
    if [ -n "$ALONE" ]; then
        for ((i = 0; i < ${#links[@]}; i++)); do on "$(letter $i)" "$@"; done
    fi
    [ -z "$ALL" ] || [ ${#links[@]} -lt 2 ] || on all "$@"
}
on() { # PATHS COMMAND ARGS...
    local i numbers=() paths=$1
    shift
    for ((i = 0; i < ${#links[@]}; i++)); do
        case $paths in all* | "$(letter $i)") numbers+=("$i") ;; esac
    done
    step "$env_name: $(sed 's/_on\>//' <<<"$*") over $paths${scheduler:+, $scheduler}"
    client_on "${numbers[@]}" || {
        result "skip env=$env_name paths=$paths${scheduler:+ sched=$scheduler} why=$why"
        return
    }
    idle_ping
    "$1" "$paths" "${@:2}"
    client_off
}

flows_on() { # PATHS PART FLOWS-LIST WAYS
    local n way
    for way in $4; do
        for n in $3; do flow_run "$2" "$1" "$n" "$way"; done
    done
}

# Halve the rates while the machine is too slow for a run.
fit() { # PART
    local lost
    [ -n "$FIT" ] || return 0
    while [ "$(rate_of all)" -gt 150000000 ]; do
        step "$env_name: $1 at scale $scale?"
        client_on "${!links[@]}" || return 0
        idle=''
        TIME=5 flow_run "$1" all 1 "${WAYS%% *}" 3>"$T/fit"
        client_off
        lost=$(sed -n 's/.*rcvbuf_lost=\([0-9]*\).*/\1/p' "$T/fit")
        echo "   cpu_pct=$cpu${lost:+ rcvbuf_lost=$lost}"
        [ "$cpu" -gt $CPU_MAX ] || [ "${lost:-0}" -gt 0 ] || return 0
        scale_to "$(awk -v s="$scale" 'BEGIN { print s / 2 }')"
        shape
    done
}

tcp_part() {
    fit tcp
    on_links flows_on tcp "$FLOWS" "$WAYS"
    case "${links[*]}" in *loss*)
        shape loss 0
        on all_noloss flows_on tcp "${FLOWS%% *}" "${WAYS%% *}"
        shape
        ;;
    esac
    summary tcp
}

quic_part() {
    fit quic
    on_links flows_on quic 1 "$WAYS"
    summary quic
}

streams_part() {
    local TIME=$STREAM_TIME n
    scheduler=''
    [ -z "$ALONE" ] || ALL='' on_links flows_on streams "$STREAMS" "${WAYS%% *}"
    for scheduler in $SCHEDULERS; do on all flows_on streams "$STREAMS" "${WAYS%% *}"; done
    scheduler=''
    summary streams
}

udp_run() { # PATHS PERCENT SIZE WAY
    local way=() rate what out tries
    [ "$4" = up ] || way=(-R)
    rate=$(rate_of "$1")
    what="env=$env_name paths=$1 size=$3 offered_mbps=$(awk -v r="$rate" -v p="$2" \
        'BEGIN { printf "%.1f", r * p / 1e8 }') way=$4${scheduler:+ sched=$scheduler} scale=$scale"
    # iperf3 gives up when the one packet is lost that begins its UDP stream.
    for tries in 1 2 3; do
        load_begin
        in_ns c iperf3 -J -c $INNER -u -b $((rate * $2 / 100)) -l "$3" -t "$UDP_TIME" \
            --connect-timeout 5000 "${way[@]}" >"$T/what" 2>&1
        load_end
        out=$(udp_figures "$T/what") && break
        [ $tries -lt 3 ] || {
            broken "part=udp $what"
            tail -n 5 "$T/what"
            return
        }
        sleep 0.5
    done
    result "udp $what $out $cost"
}
# Of a run of iperf3 with UDP: what was sent, what came, what was lost.
udp_figures() { # FILE
    awk '/^\t"end":/ { on = 1 } on && /"sum(_sent|_received)?":.*{/ { split($1, q, "\""); in_ = q[2] }
        on && in_ { split($0, kv, /[:,]/); k = kv[1]; gsub(/[^a-z_]/, "", k)
            if (kv[2] != "") v[in_ " " k] = kv[2] + 0 }
        /}/ { in_ = "" }
        END { if (!v["sum packets"]) exit 1
            printf "sent_mbps=%.2f mbps=%.2f loss_pct=%.3f jitter_ms=%.2f", \
                v["sum_sent bits_per_second"] / 1e6, \
                v["sum bits_per_second"] / 1e6 * (1 - v["sum lost_percent"] / 100), \
                v["sum lost_percent"], v["sum jitter_ms"] }' "$1"
}
udp_on() { # PATHS
    local size load percents
    for load in $UDP; do
        size=${load%%:*} percents=${load#*:}
        for n in ${percents//,/ }; do udp_run "$1" "$n" "$size" "${WAYS%% *}"; done
    done
}
udp_part() {
    scheduler=''
    [ -z "$ALONE" ] || ALL='' on_links udp_on
    for scheduler in $UDP_SCHEDULERS; do on all udp_on; done
    scheduler=''
}

# Flows of test/e2e/flow; those that receive are named got1, got2, ...
flows_begin() { # N WAY
    local i
    for ((i = 1; i <= $1; i++)); do
        if [ "$2" = down ]; then
            spawn "sent$i" s "$FLOW" serve $((5100 + i)) send
            wait_log "sent$i" listening
            spawn "got$i" c "$FLOW" run $INNER $((5100 + i)) recv
        else
            spawn "got$i" s "$FLOW" serve $((5100 + i)) recv
            wait_log "got$i" listening
            spawn "sent$i" c "$FLOW" run $INNER $((5100 + i)) send
        fi
    done
}
flows_end() { # N
    local i
    for ((i = 1; i <= $1; i++)); do
        running "got$i" || broken_flows=$((broken_flows + 1))
        end_of "got$i" "sent$i"
    done
}

declare -A alone=() # of the other links, by link and number of flows
others_on() { # PATHS FLOWS WAY: how much the links bring without one of them
    local n at
    for n in $2; do
        flows_begin "$n" "$3"
        sleep $((CUT_TIME / 3))
        at=$(date +%s%3N)
        sleep "$CUT_TIME"
        flows_end "$n"
        alone[$1-$n]=$(cat "$T"/got*.log | awk -v a="$at" -v s="$CUT_TIME" \
            'NF == 3 && $1 > a && $1 <= a + s * 1000 { n += $2 } END { print n * 8 / s / 1e6 }')
        rm -f "$T"/got*.log
    done
}

cut_run() { # ALL LINK HOW FLOWS WAY
    local i=$2 name t1 t2 t3 what out broken_flows=0
    name=$(letter "$i")
    what="env=$env_name link=$name how=$3 flows=$4 way=$5 scale=$scale seconds=$CUT_TIME"
    rm -f "$T"/got*.log "$T"/sent*.log
    load_begin
    flows_begin "$4" "$5"
    sleep "$CUT_TIME"
    t1=$(date +%s%3N)
    case $3 in
    hole) order "cut $name" ;;
    down) ip -n s link set "wan$i" down ;;
    own) ip -n c link set "wan$i" down ;;
    esac
    sleep "$CUT_TIME"
    t2=$(date +%s%3N)
    case $3 in
    hole) order "restore $name" ;;
    down) ip -n s link set "wan$i" up ;;
    own) ip -n c link set "wan$i" up && routes "$i" ;;
    esac
    sleep "$CUT_TIME"
    t3=$(date +%s%3N)
    load_end
    flows_end "$4"
    out=$(awk -v t1="$t1" -v t2="$t2" -v t3="$t3" -v alone="${alone[$name-$4]:-0}" \
        -v broken=$broken_flows -f "$root/bench/cuts.awk" "$T"/got*.log "$T"/sent*.log) || {
        broken "part=cuts $what"
        return
    }
    result "cut $what $out $cost"
}
cuts_on() { # PATHS WAY
    local i how n
    for ((i = 0; i < ${#links[@]}; i++)); do
        for how in hole down own; do
            for n in $CUT_FLOWS; do cut_run all $i $how "$n" "$2"; done
        done
    done
}
cuts_part() {
    local way=${WAYS%% *} i broken_flows=0
    [ ${#links[@]} -gt 1 ] || return 0
    for ((i = 0; i < ${#links[@]}; i++)); do
        without "$i" others_on "$CUT_FLOWS" "$way"
    done
    on all cuts_on "$way"
}
# As `on`, with all links but one; its name goes to COMMAND.
without() { # LINK COMMAND ARGS...
    local i numbers=()
    for ((i = 0; i < ${#links[@]}; i++)); do [ "$i" = "$1" ] || numbers+=("$i"); done
    step "$env_name: without $(letter "$1")"
    client_on "${numbers[@]}" || fail "the client: $why"
    "$2" "$(letter "$1")" "${@:3}"
    client_off
}

beside_on() { # PATHS WAY
    local way=() what voip
    [ "$2" = up ] || way=(-R)
    what="env=$env_name paths=$1 flows=4 way=$2 scale=$scale seconds=$TIME"
    in_ns c ping -i 0.05 -c 100 -W 2 $INNER >"$T/ping" 2>&1
    idle=$(pings_of idle "$T/ping")
    spawn voip_s s iperf3 -s -p 5202 --forceflush
    wait_log voip_s listening
    spawn voip c sh -c "sleep $((TIME / 6)); exec iperf3 -J -c $INNER -p 5202 -u -b 64000 -l 160 \
        -t $((TIME - TIME / 6)) --connect-timeout 5000 ${way[*]}"
    load_begin
    spawn ping c sh -c "sleep $((TIME / 6)); exec ping -i 0.05 -W 2 $INNER"
    tcp_flows 4 "$2"
    load_end
    ping_end
    wait "${pid[voip]}"
    voip=$(udp_figures "$T/voip.log") || {
        broken "part=beside $what"
        tail -n 5 "$T/voip.log"
    }
    end_of voip_s
    result "beside $what $(figures <"$T/intervals") $idle $pings$(sed 's/[^ ]*=/voip_&/g; s/^/ /' \
        <<<"$voip") $cost"
}
beside_part() {
    on all beside_on "${WAYS%% *}"
    summary beside
}

# Lines "sum" for this environment and part, from the lines above.
summary() { # PART
    grep "^$1 env=$env_name " "$T/results" | awk -v part="$1" -f "$root/bench/sums.awk" >&3
}

run_parts() { # ENVIRONMENT
    local p
    choose "$1"
    build
    for p in $only; do
        "${p}_part"
        [ "$scale" = "$SCALE" ] || { scale_to "$SCALE" && shape; }
    done
    tear_down
}

# In a shell of its own: what ends it does not end the others.
environment() { # ENVIRONMENT
    local p
    (run_parts "$1") && return
    choose "$1"
    result "failed env=$env_name parts=${only// /,} why=stopped"
    tail -n 20 "$T"/client.log "$T"/server.log "$T"/wan.log 2>/dev/null
    # All that is left of it, in this namespace of processes.
    for p in /proc/[0-9]*; do
        case ${p#/proc/} in "$$" | "$showing") ;; *) kill "${p#/proc/}" 2>/dev/null ;; esac
    done
    sleep 0.5
    ip netns del c
    ip netns del s
}

case $1 in
all | report) mapfile -t chosen < <(sed 's/:.*//' <<<"$environments") ;;
*) chosen=("$@") ;;
esac
for name in "${chosen[@]}"; do choose "$name"; done # all names are looked at first
exec 4>&3 3>"$T/results"
result "host date=$(date +%Y-%m-%d) cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | words)" \
    "cores=$(nproc) kernel=$(uname -r) load=$(cut -d' ' -f1 /proc/loadavg)" \
    "mqvpn=$("$MQVPN" --version | sed -n '1s/.* //p') lab=$TIME cc=$CC"
tail -n +1 -f "$T/results" --pid=$$ >&4 2>/dev/null 3>&- &
showing=$!
for name in "${chosen[@]}"; do environment "$name"; done
if [ "$1" = report ]; then
    only="streams udp cuts beside" environment 300+80
    only=beside environment 2x50
fi
sleep 1.2 # the last lines are shown once a second
kill $showing
wait $showing 2>/dev/null
! grep -q '^failed ' "$T/results" || fail "runs failed: $(grep -c '^failed ' "$T/results")"
