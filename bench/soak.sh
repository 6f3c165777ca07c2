#!/bin/bash
# soak.sh MINUTES - a client and a server under full load both ways at once, for long.
#
#   bench/soak.sh 30 | tee soak.txt; bench/report.sh results.txt soak.txt
#
# One TCP flow each way (iperf3), and 100 packets a second of UDP beside them to see what is lost.
# Each minute a line "soak": received Mbit/s each way, resident MB, open descriptors and threads of
# both processes. At the end a line "verdict": result=ok if both lived and stayed connected, and
# descriptors did not become more after the first quarter of the time; and, in ten minutes or more,
# memory did not grow by more than a tenth and 1 MB after that quarter, and the last quarter's
# throughput was at least half of the first's. Else result=bad, and exit status 1.
# rss_..._kb_h: slope of a line through the last three quarters, in kB per hour.
#
# Nothing outside namespaces of its own and a folder in memory is touched.
#
#   INTERVAL=60         seconds between lines; MINUTES may be a fraction (0.5)
#   MQVPN=program MQVPN_ARGS="options"
#   peer=mqvpn          or another that bench/lib.sh knows

# shellcheck source=bench/lib.sh
. "$(dirname "$0")/lib.sh"

peer=${peer:-mqvpn} INTERVAL=${INTERVAL:-60}
case ${1:-} in '' | *[!0-9.]*) fail "usage: bench/soak.sh MINUTES" ;; esac
case $INTERVAL in *[!0-9]* | '' | 0*) fail "INTERVAL=$INTERVAL is not a count" ;; esac
total=$(awk -v m="$1" 'BEGIN { printf "%d", m * 60 }')
[ "$total" -ge $((2 * INTERVAL)) ] || fail "at least two intervals of $INTERVAL seconds are needed"
[ -x "$UDPLOAD" ] || fail "no program $UDPLOAD: make peers"

# Bytes that came out of the tunnel of a namespace so far: what its TUN device gave to the kernel.
came() { # NS
    # shellcheck disable=SC2016
    in_ns "$1" awk '!/eth0|lo:|c1:/ && /:/ { sub(/.*:/, ""); n += $1 } END { printf "%.0f\n", n }' \
        /proc/net/dev
}
descriptors() { # PID...
    local p
    for p; do ls "/proc/$p/fd" 2>/dev/null; done | wc -l
}
threads() { # PID...
    local p
    for p; do ls "/proc/$p/task" 2>/dev/null; done | wc -l
}

host_line "minutes=$1"
peer_up "$peer" || fail "$peer: $why"
result "peer peer=$peer version=${version:--}"
to=$(far "$peer" 1 4)
cli=${client_pids[$peer-1]} srv=${server_pids[$peer]}
for way in up down; do
    port=5201
    [ $way = up ] || port=5202
    spawn "$way-s" "$peer-s" iperf3 -s -p $port --forceflush
    wait_log "$way-s" 'Server listening'
done
spawn udp-s "$peer-s" "$UDPLOAD" recv 5301
sleep 0.3
spawn up "$peer-c1" iperf3 -J -c "$to" -p 5201 -t $((total + 1))
spawn down "$peer-c1" iperf3 -J -c "$to" -p 5202 -t $((total + 1)) -R
spawn udp "$peer-c1" "$UDPLOAD" send "$to" 5301 200 100 "$total"
sleep 0.5 # they have connected; what they do runs half a second longer than what is counted

step "soak for $total s"
a=$(came "$peer-s") b=$(came "$peer-c1") at=$EPOCHREALTIME
alive=yes began=$at
for ((n = 1; n <= total / INTERVAL; n++)); do
    sleep "$(awk -v b="$began" -v n=$((n * INTERVAL)) -v now="$EPOCHREALTIME" \
        'BEGIN { s = b + n - now; print (s > 0 ? s : 0) }')"
    a1=$(came "$peer-s") b1=$(came "$peer-c1") at1=$EPOCHREALTIME
    # shellcheck disable=SC2086
    for p in $cli $srv; do kill -0 "$p" 2>/dev/null || alive=no; done
    # shellcheck disable=SC2086
    line="soak peer=$peer seconds=$((n * INTERVAL)) $(awk -v a=$a -v a1=$a1 -v b=$b -v b1=$b1 \
        -v t=$at -v t1="$at1" 'BEGIN { s = t1 - t
        printf "mbps_up=%.0f mbps_down=%.0f", (a1 - a) * 8 / s / 1e6, (b1 - b) * 8 / s / 1e6 }') \
rss_cli=$(mega VmRSS $cli) rss_srv=$(mega VmRSS $srv) \
fds_cli=$(descriptors $cli) fds_srv=$(descriptors $srv) \
threads_cli=$(threads $cli) threads_srv=$(threads $srv)"
    result "$line"
    echo "$line" >>"$T/lines"
    a=$a1 b=$b1 at=$at1
    [ $alive = yes ] || break
done
[ $alive = no ] || wait "${pid[up]}" "${pid[down]}" "${pid[udp]}"
kill "${pid[udp-s]}"
wait "${pid[udp-s]}"

retr() { # LOG
    iperf_sums <"$T/$1.log" | cut -d' ' -f3
}
packets() { # LOG
    sed -n 's/^packets=\([0-9]*\).*/\1/p' "$T/$1.log"
}
# Whether the tunnel had to be set up anew.
again=0
[ "$peer" != mqvpn ] || again=$(($(grep -c 'tunnel is up' "$T/$peer-c1.log") - 1))
verdict=$(awk -v alive=$alive -v again=$again -v up="$(retr up)" -v down="$(retr down)" \
    -v sent="$(packets udp)" -v came="$(packets udp-s)" '
    { for (i = 2; i <= NF; i++) { k = substr($i, 1, index($i, "=") - 1)
        v[k, NR] = substr($i, index($i, "=") + 1) } }
    # The mean of a key over lines.
    function mean(k, from, to,   i, s) {
        for (i = from; i <= to; i++) s += v[k, i]
        return s / (to - from + 1) }
    # The slope per hour over the last three quarters.
    function slope(k,   i, n, x, y, sx, sy, sxx, sxy) {
        for (i = q; i <= NR; i++) { n++; x = v["seconds", i] / 3600; y = v[k, i]
            sx += x; sy += y; sxx += x * x; sxy += x * y }
        return n * sxx == sx * sx ? 0 : (n * sxy - sx * sy) / (n * sxx - sx * sx) }
    function grew(k,   from, to) {
        from = v[k, q]; to = v[k, NR]
        return to - from > 1 && to - from > from / 10 }
    function slower(k) { return mean(k, NR - w, NR) < mean(k, 1, 1 + w) / 2 }
    END { q = int((NR + 3) / 4); w = int(NR / 4)
        if (w > 0) w--
        why = ""
        if (alive == "no") why = why ",died"
        if (again > 0) why = why ",reconnected"
        long = v["seconds", NR] >= 600
        if (long && (grew("rss_cli") || grew("rss_srv"))) why = why ",memory"
        if (v["fds_cli", NR] > v["fds_cli", q] || v["fds_srv", NR] > v["fds_srv", q]) why = why ",descriptors"
        if (long && (slower("mbps_up") || slower("mbps_down"))) why = why ",throughput"
        printf "verdict result=%s why=%s lines=%d reconnects=%d mbps_up=%.0f mbps_down=%.0f ", \
            why ? "bad" : "ok", why ? substr(why, 2) : "-", NR, again, mean("mbps_up", 1, NR), \
            mean("mbps_down", 1, NR)
        printf "rss_cli=%s rss_srv=%s rss_cli_kb_h=%.0f rss_srv_kb_h=%.0f ", v["rss_cli", NR], \
            v["rss_srv", NR], slope("rss_cli") * 1000, slope("rss_srv") * 1000
        printf "retr_up=%s retr_down=%s udp_sent=%d udp_lost=%d\n", up, down, sent, sent - came }' \
    "$T/lines")
result "$verdict"
case $verdict in *result=ok*) ;; *) fail "$verdict" ;; esac
