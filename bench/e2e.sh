#!/bin/bash
# e2e.sh - mqvpn and others beside it, from program to program through real kernels.
#
#   make && make peers                        # once; what else can be had to compare with
#   bench/e2e.sh | tee results.txt            # 25 minutes; root, or user namespaces
#   bench/report.sh results.txt               # docs/benchmarks.md and its plots
#
# Client and server run on this machine, each in a network namespace of its own, joined by a veth
# pair of 1500 bytes; nothing outside of these namespaces and of a folder in memory is touched,
# and all goes when this ends, however it ends. Everything runs on the same processors: programs
# under test, what makes and takes the traffic, and both kernels.
#
# One line of key=value pairs per figure, its name first. Each figure is the median of several runs;
# the first one also with least and most (_min, _max). The peers take turns within
# each run, so that what else the machine does falls on all. A peer that can't be had is named in a
# line "skip", a measurement that failed in "failed=N" of its line (and the exit status is 1).
#
# Settings, as environment variables:
#   TIME=3 RUNS=5       seconds of each run, and runs, of tcp and rtt
#   TIME_2=2 RUNS_2=3   the same of udp, seg and clients; in each neither is more than the former
#   only="tcp udp"      parts, of: tcp1 tcp4 (both: tcp) udp seg sweep clients rtt idle
#   families="4 6"      IP versions of the TCP runs
#   CC=                 congestion control of TCP (empty: the system's own)
#   PEERS="none mqvpn wireguard-go openvpn"       what to compare, in this order
#   PEER=name:server-command:client-command       more (see bench/lib.sh), one a line
#   PEER_DIR=folder     where to look for programs first
#   MQVPN=program MQVPN_ARGS="options"            which mqvpn, and how
#   RATES="64:50,100,150,200 160:50,150 1200:75,105,135"      bytes, and kpps offered
#   SEG_RATES="64:900,1200 1200:100,300"
#   CLIENTS="2 4 8 14"  how many at once
#   SWEEP_RUNS=1        runs of the message sizes, a second or more for each size and test
#
# tcp      iperf3, flows at once, from (up) and to (down) the client
# udp      packets of 64, 160 and 1200 bytes at an offered rate, up
# seg      the same, the application handing over many at once (UDP_SEGMENT), and so taking them
# sweep    qperf: latency, bandwidth and messages a second over message sizes
# clients  one TCP flow of each of several clients
# rtt      a packet there and back on the idle tunnel, and how much of it the tunnel adds; beside the
#          others the least that a program can do (bench/tools/forward.c)
# idle     wake-ups and CPU while nothing happens
#
# Keys: mbps; kpps; cli_, srv_ (tunnel processes) and machine_ (all processors, /proc/stat)
# _s_gb: CPU seconds per 10^9 bytes of payload; procs_s_gb: tunnel and iperf3 processes alone;
# _us: CPU us per packet that came; busy_pct: of all processors; rss_: resident MB.
# limit=machine: the processors were over 95 % busy. At an offered rate, only where that was not
# reached; then limit=generator means that not even the sender made it, limit=tunnel that 1 % or
# more was lost with time to spare.

# Variables are read and set by name, in calc and take: SC2034 sees no use of those.
# shellcheck disable=SC2034
# shellcheck source=bench/lib.sh
. "$(dirname "$0")/lib.sh"

TIME=${TIME:-3} RUNS=${RUNS:-5} SWEEP_RUNS=${SWEEP_RUNS:-1} TIME_2=${TIME_2:-2} RUNS_2=${RUNS_2:-3}
only=${only:-tcp udp seg sweep clients rtt idle}
families=${families:-4 6}
PEERS="${PEERS:-none mqvpn wireguard-go openvpn}$custom_names"
RATES=${RATES:-64:50,100,150,200 160:50,150 1200:75,105,135}
SEG_RATES=${SEG_RATES:-64:900,1200 1200:100,300}
CLIENTS=${CLIENTS:-2 4 8 14}
CC=${CC:-}
IPERF=5201 QPERF=19765 UDP=5301 ECHO=5302

for n in "$TIME" "$RUNS" "$TIME_2" "$RUNS_2" "$SWEEP_RUNS" ${RATES//[:,]/ } \
    ${SEG_RATES//[:,]/ } $CLIENTS; do
    case $n in *[!0-9]* | '' | 0*) fail "\"$n\" is not a count" ;; esac
done
[ "$TIME_2" -le "$TIME" ] || TIME_2=$TIME
[ "$RUNS_2" -le "$RUNS" ] || RUNS_2=$RUNS
for n in $CLIENTS; do [ "$n" -le 14 ] || fail "14 clients are the most"; done
for n in $only; do
    case $n in
    tcp | tcp1 | tcp4 | udp | seg | sweep | clients | rtt | idle) ;;
    *) fail "only=: there is no part \"$n\"" ;;
    esac
done
wanted() { # PART...
    local p
    for p; do case " $only " in *" $p "*) return 0 ;; esac done
    return 1
}

### Runs, and their medians

mkdir -p "$T/raw"
failures=0

# A run of FIGURE ("name key=value...", what was measured) for PEER: its values, key=value each.
record() { # FIGURE PEER VALUES...
    echo "${*:3}" >>"$T/raw/$1 peer=$2"
}
broken() { # FIGURE PEER [WHY]
    echo "failed: $1 peer=$2 ${3:-}"
    [ ! -s "$T/what" ] || tail -n 5 "$T/what"
    record "$1" "$2" failed=1
    failures=$((failures + 1))
}

# One result line: of numbers the median, of words the most frequent.
median() { # FIGURE
    local file=$T/raw/$1
    [ ! -e "$file" ] || awk -v head="$1" '
        /^failed=1$/ { failed++; next }
        { for (i = 1; i <= NF; i++) { k = substr($i, 1, index($i, "=") - 1)
            if (!(k in n)) order[++keys] = k
            v[k, ++n[k]] = substr($i, index($i, "=") + 1) }
          runs++ }
        function mid(k,   i, j, t, m, best) {
            for (i = 1; i <= n[k]; i++) if (v[k, i] !~ /^-?[0-9.]+$/) {
                delete m; best = v[k, 1]
                for (j = 1; j <= n[k]; j++) if (++m[v[k, j]] > m[best]) best = v[k, j]
                return best }
            for (i = 2; i <= n[k]; i++) { t = v[k, i] + 0
                for (j = i - 1; j > 0 && v[k, j] + 0 > t; j--) v[k, j + 1] = v[k, j]
                v[k, j + 1] = t }
            t = int((n[k] + 1) / 2)
            return n[k] % 2 ? v[k, t] : (v[k, t] + v[k, t + 1]) / 2 }
        END { line = head
            for (i = 1; i <= keys; i++) { k = order[i]; line = line " " k "=" mid(k)
                if (i == 1 && n[k] > 1) line = line " " k "_min=" v[k, 1] " " k "_max=" v[k, n[k]] }
            print line " runs=" runs + 0 (failed ? " failed=" failed : "") }' "$file" >&3
}

# Run a measurement RUNS times for each peer in turn, then print its figures.
# COMMAND PEER FIGURE ARGS... records one run.
measure() { # RUNS FIGURE COMMAND ARGS...
    local runs=$1 figure=$2 command=$3 run peer
    shift 3
    step "$figure"
    for ((run = 1; run <= runs; run++)); do
        for peer in $up; do "$command" "$peer" "$figure" "$@"; done
    done
    for peer in $up; do median "$figure peer=$peer"; done
}

# Values from awk: NAME=FORMAT... are arithmetic in the variables of the shell given before "--".
calc() { # VARIABLE... -- NAME=EXPRESSION...
    local args=() vars='' out=''
    while [ "$1" != -- ]; do
        args+=(-v "$1=${!1}")
        shift
    done
    shift
    for vars; do out+="out(\"${vars%%=*}\", ${vars#*=}); "; done
    awk "${args[@]}" 'function out(k, x) {
            printf sep k "="
            if (x >= 1000) printf "%.0f", x
            else if (x < 1e-3 && x > -1e-3) printf "0"
            else printf "%.4g", x
            sep = " " }
        BEGIN { '"$out"' }'
}

### TCP

flow_stats() { # FILE; sets bytes, seconds, retr, host, remote
    read -r bytes seconds retr host remote < <(iperf_sums <"$1")
    [ "${bytes:-0}" != 0 ]
}

tcp_run() { # PEER FIGURE FLOWS FAMILY [OPTIONS]
    local peer=$1 figure=$2 flows=$3 family=$4 to bytes seconds retr host remote limit=none
    shift 4
    has_family "$peer" "$family" || return 0
    to=$(far "$peer" 1 "$family")
    cost_begin "$peer"
    in_ns "$peer-c1" iperf3 -J -c "$to" -p $IPERF -t "$TIME" -P "$flows" --connect-timeout 5000 \
        ${CC:+-C "$CC"} "$@" >"$T/what" 2>&1
    cost_end
    flow_stats "$T/what" || {
        broken "$figure" "$peer"
        return
    }
    [ "${busy%.*}" -lt 95 ] || limit=machine
    # shellcheck disable=SC2046,SC2086
    record "$figure" "$peer" $(calc bytes seconds retr host remote cost_cli cost_srv cost_all busy -- \
        mbps='bytes * 8 / seconds / 1e6' cli_s_gb='cost_cli / bytes * 1e9' \
        srv_s_gb='cost_srv / bytes * 1e9' \
        procs_s_gb='(cost_cli + cost_srv + (host + remote) / 100 * seconds) / bytes * 1e9' \
        machine_s_gb='cost_all / bytes * 1e9' busy_pct=busy retr=retr) \
        rss_cli="$(mega VmRSS ${client_pids[$peer-1]})" rss_srv="$(mega VmRSS ${server_pids[$peer]})" \
        limit=$limit
}

tcp_part() { # FLOWS
    local family
    for family in $families; do
        measure "$RUNS" "tcp flows=$1 dir=up ip=$family" tcp_run "$1" "$family"
        measure "$RUNS" "tcp flows=$1 dir=down ip=$family" tcp_run "$1" "$family" -R
    done
}

### UDP

# Words from a line of key=value pairs, as variables: PREFIX and the key.
take() { # PREFIX FILE
    local pair
    while IFS= read -r pair; do
        printf -v "$1${pair%%=*}" %s "${pair#*=}"
    done < <(grep -s '^packets=\|^answers=' "$2" | tr ' ' '\n')
}

udp_run() { # PEER FIGURE SIZE PPS [SEGMENTS]
    local peer=$1 figure=$2 size=$3 pps=$4 segments=${5:-} s_packets=0 r_packets=0 limit=none
    spawn recv "$peer-s" "$UDPLOAD" recv $UDP ${segments:+gro}
    sleep 0.2
    cost_begin "$peer"
    # shellcheck disable=SC2086
    in_ns "$peer-c1" "$UDPLOAD" send "$(far "$peer" 1 4)" $UDP "$size" "$pps" "$TIME" $segments \
        >"$T/what" 2>&1
    sleep 0.1 # what is still under way
    cost_end
    kill "${pid[recv]}"
    wait "${pid[recv]}"
    take s_ "$T/what"
    take r_ "$T/recv.log"
    if [ "$r_packets" = 0 ] || [ "$s_packets" = 0 ]; then
        broken "$figure" "$peer" "$s_packets sent, $r_packets came"
        return
    fi
    if [ $((r_packets * 100)) -lt $((pps * TIME * 99)) ]; then
        if [ "${busy%.*}" -ge 95 ]; then
            limit=machine
        elif [ $((s_packets * 100)) -lt $((pps * TIME * 99)) ]; then
            limit=generator
        else
            limit=tunnel
        fi
    fi
    # shellcheck disable=SC2046
    record "$figure" "$peer" $(calc s_packets r_packets s_pps r_late size TIME cost_cli cost_srv \
        cost_all busy -- kpps='r_packets / TIME / 1e3' sent_kpps='s_pps / 1e3' \
        mbps='r_packets * size * 8 / TIME / 1e6' \
        loss_pct='s_packets > r_packets ? 100 * (s_packets - r_packets) / s_packets : 0' \
        late_pct='100 * r_late / r_packets' cli_us='cost_cli / r_packets * 1e6' \
        srv_us='cost_srv / r_packets * 1e6' machine_us='cost_all / r_packets * 1e6' \
        busy_pct=busy) limit=$limit
}

# COMMAND SIZE RATE for each of a list SIZE:RATE,RATE...
offered() { # LIST COMMAND
    local load rate
    for load in $1; do
        for rate in $(tr , ' ' <<<"${load#*:}"); do "$2" "${load%%:*}" "$rate"; done
    done
}
udp_figure() { measure "$RUNS_2" "udp size=$1 offered_kpps=$2" udp_run "$1" "${2}000"; }
udp_part() { local TIME=$TIME_2 && offered "$RATES" udp_figure; }
# As many as fit into one buffer, but no more than the kernel takes.
seg_figure() {
    local n=$((65507 / $1 < 64 ? 54000 / $1 : 64))
    measure "$RUNS_2" "seg size=$1 segments=$n offered_kpps=$2" udp_run "$1" "${2}000" $n
}
seg_part() { local TIME=$TIME_2 && offered "$SEG_RATES" seg_figure; }

### Message sizes

qperf_run() { # PEER FIGURE SECONDS MOST-TCP MOST-UDP
    local peer=$1 most proto tries
    for proto in tcp udp; do
        most=$4
        [ $proto = tcp ] || most=$5
        # qperf's two ends may wait for each other when the messages between them were lost.
        for tries in 1 2; do
            spawn qperf "$peer-s" qperf -lp $QPERF
            sleep 0.5
            timeout $(($3 * 2 * 21 + 30)) nsenter --net="/run/netns/$peer-c1" -- qperf -uu -un -v \
                -t "$3" -oo "msg_size:1:$most:*2" "$(far "$peer" 1 4)" ${proto}_lat ${proto}_bw \
                >"$T/what" 2>&1 && tries=0
            kill "${pid[qperf]}"
            wait "${pid[qperf]}"
            [ $tries != 0 ] || break
        done
        [ $tries = 0 ] || broken "sweep proto=$proto" "$peer"
        # One recorded run for each size and test.
        while read -r test size values; do
            record "sweep test=$test size=$size" "$peer" "$values"
            sweeps["sweep test=$test size=$size"]=1
        done < <(awk '
            function flush() {
                if (name ~ /_lat/ && ("latency" in v))
                    print name, v["msg_size"], "us=" v["latency"] / 1e3
                else if (name ~ /_bw/ && (("bw" in v) || ("recv_bw" in v)))
                    print name, v["msg_size"], "mbps=" (("bw" in v) ? v["bw"] : v["recv_bw"]) * 8 / 1e6, \
                        "kmsgs=" v["msg_rate"] / 1e3
                delete v }
            /^[a-z_]+:$/ { flush(); name = substr($1, 1, length($1) - 1) }
            $2 == "=" { gsub(/,/, "", $3); v[$1] = $3 }
            END { flush() }' "$T/what")
    done
}

sweep_part() {
    local peer run figure
    local -A sweeps=()
    need qperf || {
        result "skip part=sweep why=$why"
        return
    }
    for ((run = 1; run <= SWEEP_RUNS; run++)); do
        for peer in $up; do
            step "sweep of $peer"
            qperf_run "$peer" - $(((TIME + 4) / 5)) "${SWEEP_TCP:-1048576}" "${SWEEP_UDP:-1024}"
        done
    done
    while read -r figure; do
        for peer in $up; do median "$figure peer=$peer"; done
    done < <(printf '%s\n' "${!sweeps[@]}" | sort -t= -k2,2 -k3,3n)
}

### Several clients

clients_run() { # PEER N DIR [OPTIONS]
    local peer=$1 n=$2 dir=$3 i jobs=() bytes seconds retr host remote limit=none figure
    shift 3
    figure="clients n=$n dir=$dir"
    rm -f "$T"/flow.*
    cost_begin "$peer" "$n"
    for ((i = 1; i <= n; i++)); do
        in_ns "$peer-c$i" iperf3 -J -c "$(far "$peer" "$i" 4)" -p $((IPERF + 100 + i)) -t "$TIME" \
            --connect-timeout 5000 ${CC:+-C "$CC"} "$@" >"$T/flow.$i" 2>&1 &
        jobs+=($!)
    done
    wait "${jobs[@]}"
    cost_end
    local all=0 least='' most='' rates=''
    for ((i = 1; i <= n; i++)); do
        flow_stats "$T/flow.$i" || {
            cp "$T/flow.$i" "$T/what"
            broken "$figure" "$peer" "client $i"
            return
        }
        rates+=" $bytes:$seconds"
    done
    read -r all least most < <(awk -v r="$rates" 'BEGIN { k = split(r, a, " ")
        for (i = 1; i <= k; i++) { split(a[i], p, ":"); x = p[1] * 8 / p[2] / 1e6; s += x
            if (i == 1 || x < lo) lo = x
            if (x > hi) hi = x }
        print s, lo, hi }')
    bytes=$(awk -v m="$all" -v t="$TIME" 'BEGIN { print m * 1e6 / 8 * t }')
    [ "${busy%.*}" -lt 95 ] || limit=machine
    # shellcheck disable=SC2046,SC2086
    record "$figure" "$peer" $(calc all least most bytes cost_cli cost_srv cost_all busy -- mbps=all \
        least_mbps=least most_mbps=most cli_s_gb='cost_cli / bytes * 1e9' \
        srv_s_gb='cost_srv / bytes * 1e9' machine_s_gb='cost_all / bytes * 1e9' busy_pct=busy) \
        rss_srv="$(mega VmRSS ${server_pids[$peer]})" limit=$limit
}

# The further clients exist only while they are needed: 13 more of each peer at once are too much
# for some machines' memory.
clients_part() {
    local run peer n i most=0 TIME=$TIME_2
    for n in $CLIENTS; do [ "$n" -le "$most" ] || most=$n; done
    for ((run = 1; run <= RUNS_2; run++)); do
        for peer in $up; do
            step "$most clients of $peer"
            for ((i = 2; i <= most; i++)); do
                client_host "$peer" "$i"
                peer_client "$peer" "$i"
            done
            for ((i = 1; i <= most; i++)); do
                spawn "$peer-iperf$i" "$peer-s" iperf3 -s -p $((IPERF + 100 + i)) --forceflush
                wait_log "$peer-iperf$i" 'Server listening'
            done
            for n in $CLIENTS; do
                clients_run "$peer" "$n" up
                clients_run "$peer" "$n" down -R
            done
            for ((i = 1; i <= most; i++)); do kill "${pid[$peer-iperf$i]}"; done
            for ((i = 2; i <= most; i++)); do peer_client_down "$peer" "$i"; done
        done
    done
    for n in $CLIENTS; do
        for peer in $up; do median "clients n=$n dir=up peer=$peer"; done
        for peer in $up; do median "clients n=$n dir=down peer=$peer"; done
    done
}

### Nothing to do

bare_us=
rtt_run() { # PEER FIGURE SIZE GAP_US
    local peer=$1 figure=$2 a_p50_us='' a_p99_us='' a_p90_us='' a_min_us='' a_lost='' \
        count=$((TIME * 1000000 / ($4 + 200)))
    spawn echo "$peer-s" "$UDPLOAD" echo $ECHO
    sleep 0.2
    in_ns "$peer-c1" "$UDPLOAD" rtt "$(far "$peer" 1 4)" $ECHO "$3" $count "$4" >"$T/what" 2>&1
    kill "${pid[echo]}"
    wait "${pid[echo]}"
    take a_ "$T/what"
    [ -n "$a_p50_us" ] || {
        broken "$figure" "$peer"
        return
    }
    [ "$peer" != none ] || bare_us=$a_p50_us
    record "$figure" "$peer" "p50_us=$a_p50_us" \
        "${bare_us:+$(calc a_p50_us bare_us -- added_us='a_p50_us - bare_us') }min_us=$a_min_us" \
        "p90_us=$a_p90_us p99_us=$a_p99_us lost=$a_lost"
}

rtt_part() {
    local up=$up
    peer_up forwarder
    up+=" forwarder"
    measure "$RUNS" "rtt size=64 gap_us=10000" rtt_run 64 10000
    measure "$RUNS" "rtt size=64 gap_us=500" rtt_run 64 500
}

# How often threads of processes have gone to sleep so far.
sleeps() { # PID...
    local p
    for p; do cat "/proc/$p/task"/*/status 2>/dev/null; done |
        awk '/^voluntary_ctxt_switches/ { n += $2 } END { print n + 0 }'
}

idle_part() {
    local peer time=$((TIME * 3)) x
    local -A was=()
    step "idle for $time s"
    sleep 3 # what the traffic before has left
    # shellcheck disable=SC2086
    for peer in $up; do
        [ -n "${server_pids[$peer]}" ] || continue
        was[$peer]="$(sleeps ${client_pids[$peer-1]}) $(sleeps ${server_pids[$peer]})
            $(cpu_of ${client_pids[$peer-1]}) $(cpu_of ${server_pids[$peer]})"
    done
    sleep $time
    # shellcheck disable=SC2086
    for peer in $up; do
        [ -n "${was[$peer]:-}" ] || continue
        x="$(sleeps ${client_pids[$peer-1]}) $(sleeps ${server_pids[$peer]})
            $(cpu_of ${client_pids[$peer-1]}) $(cpu_of ${server_pids[$peer]})"
        result "idle peer=$peer" "$(awk -v a="${was[$peer]//$'\n'/ }" -v b="${x//$'\n'/ }" -v t=$time \
            -v tick="$tick" 'BEGIN { split(a, x, " "); split(b, y, " ")
            printf "cli_wakes=%.2f srv_wakes=%.2f cli_ms=%.2f srv_ms=%.2f", (y[1] - x[1]) / t, \
            (y[2] - x[2]) / t, (y[3] - x[3]) / tick * 1000 / t, (y[4] - x[4]) / tick * 1000 / t }')" \
            "seconds=$time"
    done
}

memory() { # WHEN
    local peer
    # shellcheck disable=SC2086
    for peer in $up; do
        [ -z "${server_pids[$peer]}" ] ||
            result "memory when=$1 peer=$peer" "rss_cli=$(mega VmRSS ${client_pids[$peer-1]})" \
                "rss_srv=$(mega VmRSS ${server_pids[$peer]})" \
                "peak_cli=$(mega VmHWM ${client_pids[$peer-1]})" \
                "peak_srv=$(mega VmHWM ${server_pids[$peer]})"
    done
}

### All of it

for program in "$UDPLOAD" "$FORWARD"; do
    ! wanted udp seg rtt || [ -x "$program" ] || fail "no program $program: make peers"
done
host_line "time=$TIME runs=$RUNS time_2=$TIME_2 runs_2=$RUNS_2" \
    "cc=${CC:-$(cat /proc/sys/net/ipv4/tcp_congestion_control)}"
up=
for peer in $PEERS; do
    step "$peer"
    if peer_up "$peer"; then
        up+=" $peer"
        result "peer peer=$peer version=${version:--}"
    else
        echo "   without it: $why"
        result "skip peer=$peer why=$why"
    fi
done
memory start
for peer in $up; do
    spawn "$peer-iperf" "$peer-s" iperf3 -s -p $IPERF --forceflush
    wait_log "$peer-iperf" 'Server listening'
    # Once without counting: the path's MTU is found, memory is where it will be.
    in_ns "$peer-c1" iperf3 -c "$(far "$peer" 1 4)" -p $IPERF -t 1 >"$T/what" 2>&1 ||
        broken "warm-up" "$peer"
done
! wanted rtt || rtt_part
! wanted idle || idle_part
! wanted tcp tcp1 || tcp_part 1
! wanted tcp tcp4 || tcp_part 4
! wanted udp || udp_part
! wanted seg || seg_part
! wanted sweep || sweep_part
! wanted clients || clients_part
memory end
[ $failures = 0 ] || fail "$failures runs failed"
