#!/bin/bash
# report.sh FILE... - what bench/e2e.sh and bench/soak.sh printed, as tables and plots.
#
# Writes the part of docs/benchmarks.md between the lines that begin with "<!-- e2e" and
# "<!-- end of e2e", and nothing else of it; and docs/plots/*.png, if there is a gnuplot
# (`make peers`). A later line for the same figure replaces an earlier one, so that parts may come
# from runs of their own.
#
#   OUT=file PLOTS=folder    other places

set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
OUT=${OUT:-$root/docs/benchmarks.md} PLOTS=${PLOTS:-$(dirname "$OUT")/plots}
DEPS=${DEPS:-$root/build/deps}
# shellcheck source=/dev/null
[ ! -f "$DEPS/env.sh" ] || . "$DEPS/env.sh"
export LC_ALL=C
[ $# != 0 ] || {
    echo "usage: bench/report.sh FILE..." >&2
    exit 2
}
cat -- "$@" >/dev/null
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
trap 'exit 130' INT TERM HUP
mkdir "$T/data"
gnuplot=$(command -v gnuplot-nox || command -v gnuplot || :)
[ -n "$gnuplot" ] || echo "no gnuplot: tables only" >&2

# The tables; and what is plotted, as $T/data/NAME, columns after one line of titles.
cat -- "$@" | awk -v data="$T/data" -v plots="${gnuplot:+${PLOTS##*/}}" '
    # v[KIND, ROW, PEER, KEY]; rows[KIND, n] in order of first appearance.
    function note(kind, row, peer,   k) {
        if (!((kind, row) in known)) { known[kind, row] = 1; rows[kind, ++count[kind]] = row }
        for (k in f) v[kind, row, peer, k] = f[k]
        if (peer != "") seen[kind, peer] = 1
        has[kind, row, peer] = 1 }
    { delete f
      for (i = 2; i <= NF; i++) { at = index($i, "=")
        if (at) f[substr($i, 1, at - 1)] = substr($i, at + 1) } }
    $1 == "host" && ("runs" in f) { for (k in f) host[k] = f[k] }
    $1 == "host" && ("minutes" in f) { for (k in f) soakhost[k] = f[k] }
    $1 == "peer" || $1 == "memory" || $1 == "idle" || $1 == "tcp" { add_peer(f["peer"]) }
    $1 == "peer" { version[f["peer"]] = f["version"] }
    $1 == "skip" { skipped = skipped (skipped ? ", " : "") (("peer" in f) ? f["peer"] : f["part"]) \
        " (" f["why"] ")" }
    $1 == "tcp" { note("tcp", f["flows"] (f["flows"] == 1 ? " flow " : " flows ") f["dir"] " IPv" f["ip"], f["peer"]) }
    $1 == "udp" { note("udp", f["size"] " B, " f["offered_kpps"], f["peer"]) }
    $1 == "seg" { note("seg", f["size"] " B, " f["offered_kpps"], f["peer"]) }
    $1 == "clients" { note("clients", f["n"] " " f["dir"], f["peer"]) }
    $1 == "sweep" { note("sweep_" substr(f["test"], 1, 3), f["size"], f["peer"]) }
    $1 == "rtt" { note("rtt", "", f["peer"]) }
    $1 == "idle" { note("idle", "", f["peer"]) }
    $1 == "memory" { note("memory", f["when"], f["peer"]) }
    $1 == "soak" { note("soak", f["seconds"], f["peer"]); soaker = f["peer"] }
    $1 == "verdict" { verdict = $0; sub(/^verdict /, "", verdict) }
    function add_peer(p) { if (!(p in peer_n)) { peer_n[p] = ++peers; peer[peers] = p } }
    function title(p) { return p == "none" ? "no tunnel" : p }
    function spaces(s) { gsub(/_/, " ", s); return s }

    # A number as one wants to read it.
    function num(x) {
        if (x == "") return "-"
        if (x ~ /[^-0-9.]/) return x
        x += 0
        return x >= 100 || x <= -100 ? sprintf("%.0f", x) : x >= 10 || x <= -10 ? sprintf("%.1f", x) : \
            x == int(x) ? x : sprintf("%.2f", x) }
    function val(kind, row, p, key) { return num(v[kind, row, p, key]) }
    function heads(kind, first,   i, a, b) {
        a = "| " first " |"; b = "|---|"
        for (i = 1; i <= peers; i++) if ((kind, peer[i]) in seen) {
            a = a " " title(peer[i]) " |"; b = b "---|" }
        return a "\n" b }
    # A table of KIND, whose cells are made by cell(WHAT, row, peer).
    function table(kind, first, what,   i, j, line) {
        print heads(kind, first)
        for (i = 1; i <= count[kind]; i++) {
            line = "| " rows[kind, i] " |"
            for (j = 1; j <= peers; j++) if ((kind, peer[j]) in seen)
                line = line " " (((kind, rows[kind, i], peer[j]) in has) ? \
                    cell(kind, what, rows[kind, i], peer[j]) : "-") " |"
            print line }
        print "" }
    function cell(kind, what, row, p,   limit) {
        if (v[kind, row, p, "runs"] == "0") return "failed"
        limit = v[kind, row, p, "limit"]
        if (what == "mbps") return val(kind, row, p, "mbps") \
            (((kind, row, p, "mbps_min") in v) ? " (" val(kind, row, p, "mbps_min") " to " \
            val(kind, row, p, "mbps_max") ")" : "") (limit == "machine" ? "" : " °")
        if (what == "cost") return val(kind, row, p, "machine_s_gb") (p == "none" ? "" : " (" \
            val(kind, row, p, "cli_s_gb") " + " val(kind, row, p, "srv_s_gb") ")")
        if (what == "pps") return val(kind, row, p, "kpps") ", " val(kind, row, p, "loss_pct") " %" \
            (p == "none" ? "" : ", " val(kind, row, p, "cli_us") " + " val(kind, row, p, "srv_us")) \
            (limit == "none" ? "" : " " toupper(substr(limit, 1, 1)))
        if (what == "clients") return val(kind, row, p, "mbps") " (" val(kind, row, p, "least_mbps") \
            " to " val(kind, row, p, "most_mbps") "), " val(kind, row, p, "machine_s_gb")
        if (what == "sweep") return val(kind, row, p, "us") ", " val(kind, row, p, "mbps") ", " \
            val(kind, row, p, "kmsgs") }
    function ratio(a, b) { return a == "" || b + 0 == 0 ? "-" : sprintf("%.2f", a / b) }
    function image(name, text) { if (plots && made[name]) print "![" text "](" plots "/" name ".png)\n" }

    # Data for a plot: rows of KIND down, one KEY of each peer across.
    function plot(name, kind, key, match_, cut,   i, j, line, file) {
        file = data "/" name
        for (i = 1; i <= count[kind]; i++) {
            if (match_ && rows[kind, i] !~ match_) continue
            if (!made[name]++) {
                line = "\"\""
                for (j = 1; j <= peers; j++) if ((kind, peer[j]) in seen)
                    line = line " \"" title(peer[j]) "\""
                print line > file }
            line = rows[kind, i]
            if (cut) sub(match_, "", line)
            if (line !~ /^[0-9.]+$/) line = "\"" line "\""
            for (j = 1; j <= peers; j++) if ((kind, peer[j]) in seen)
                line = line " " (v[kind, rows[kind, i], peer[j], key] == "" ? "?" : \
                    v[kind, rows[kind, i], peer[j], key])
            print line > file } }

    END {
        if ("date" in host) {
            printf "%s. %s, %s processors, %s GB, Linux %s; load average %s at the start. ", host["date"], \
                spaces(host["cpu"]), host["cores"], host["memory_gb"], host["kernel"], host["load"]
            printf "Medians of %s runs of %s s; the programs took turns within each run.", host["runs"], \
                host["time"]
            names = ""
            for (i = 1; i <= peers; i++) if (version[peer[i]] != "-" && version[peer[i]] != "")
                names = names (names ? ", " : " ") peer[i] " " version[peer[i]]
            print names (names ? "." : "") (skipped ? " Without " spaces(skipped) "." : "") "\n" }
        if (count["tcp"]) {
            print "#### TCP, Mbit/s\n\nFrom least to most in brackets. °: the processors were not over 95 % busy.\n"
            plot("tcp", "tcp", "mbps"); plot("cost", "tcp", "machine_s_gb")
            table("tcp", "", "mbps")
            image("tcp", "TCP throughput")
            print "#### TCP, CPU seconds per GB\n\nWhole machine; in brackets the client and the server process.\n"
            table("tcp", "", "cost")
            image("cost", "CPU per GB")
            line = "| mqvpn by |"; rule = "|---|"
            for (j = 1; j <= peers; j++) if (peer[j] != "none" && peer[j] != "mqvpn" && ("tcp", peer[j]) in seen) {
                line = line " " peer[j] ": throughput | CPU |"; rule = rule "---|---|"; others++ }
            if (others) {
                print line "\n" rule
                for (i = 1; i <= count["tcp"]; i++) {
                    r = rows["tcp", i]; line = "| " r " |"
                    for (j = 1; j <= peers; j++)
                        if (peer[j] != "none" && peer[j] != "mqvpn" && ("tcp", peer[j]) in seen)
                            line = line " " ratio(v["tcp", r, "mqvpn", "mbps"], v["tcp", r, peer[j], "mbps"]) \
                                " | " ratio(v["tcp", r, "mqvpn", "machine_s_gb"], v["tcp", r, peer[j], "machine_s_gb"]) " |"
                    print line }
                print "" } }
        legend = "Cells: thousands of packets a second that came, lost, CPU µs per packet of client + server " \
            "process. Where the offered rate was not reached: M, the processors were over 95 % busy; G, the " \
            "generator did not make it; T, the tunnel lost 1 % or more with time to spare.\n"
        if (count["udp"]) {
            print "#### UDP, packets offered at a rate\n\n" legend
            table("udp", "size, kpps offered", "pps")
            plot("udp64", "udp", "kpps", "^64 B, ", 1); plot("udp1200", "udp", "kpps", "^1200 B, ", 1)
            image("udp64", "64-byte packets"); image("udp1200", "1200-byte packets") }
        if (count["seg"]) {
            print "#### UDP, segmented by the application (UDP_SEGMENT)\n" (count["udp"] ? "" : "\n" legend)
            table("seg", "size, kpps offered", "pps") }
        if (count["sweep_tcp"] + count["sweep_udp"]) {
            print "#### Message sizes (qperf)\n\nCells: latency in µs, Mbit/s, thousand messages a second.\n"
            table("sweep_tcp", "TCP, bytes", "sweep")
            table("sweep_udp", "UDP, bytes", "sweep")
            plot("latency", "sweep_tcp", "us"); plot("bandwidth", "sweep_tcp", "mbps")
            plot("udplatency", "sweep_udp", "us"); plot("messages", "sweep_udp", "kmsgs")
            image("latency", "TCP latency"); image("bandwidth", "TCP bandwidth")
            image("udplatency", "UDP latency"); image("messages", "UDP messages a second") }
        if (count["clients"]) {
            print "#### Several clients at once, a TCP flow each\n\nCells: Mbit/s together (slowest to fastest " \
                "client), CPU seconds per GB of the machine.\n"
            table("clients", "clients", "clients")
            plot("clients", "clients", "mbps", " up$", 1)
            image("clients", "Several clients") }
        if (count["rtt"] || count["idle"] || count["memory"]) {
            print "#### At rest, and memory\n"
            print "| | round trip, µs: median | added | 99 % | wake-ups a second: client, server | CPU ms a second " \
                "| MB at the start: client, server | most at any time |\n|---|---|---|---|---|---|---|---|"
            for (i = 1; i <= peers; i++) { p = peer[i]
                print "| " title(p) " | " val("rtt", "", p, "p50_us") " | " val("rtt", "", p, "added_us") \
                    " | " val("rtt", "", p, "p99_us") " | " pair("idle", "", p, "cli_wakes", "srv_wakes") \
                    " | " pair("idle", "", p, "cli_ms", "srv_ms") \
                    " | " pair("memory", "start", p, "rss_cli", "rss_srv") \
                    " | " pair("memory", "end", p, "peak_cli", "peak_srv") " |" }
            print "" }
        if (count["soak"]) {
            print "#### Soak\n"
            printf "%s minutes, both directions at once, %s", soakhost["minutes"], soakhost["date"]
            print (verdict ? ": `" verdict "`." : ", not run to its end.") "\n"
            file = data "/soak"; made["soak"] = 1
            print "\"\" \"up, Mbit/s\" \"down, Mbit/s\" \"client, MB\" \"server, MB\"" > file
            for (i = 1; i <= count["soak"]; i++) { r = rows["soak", i]
                print r / 60, v["soak", r, soaker, "mbps_up"], v["soak", r, soaker, "mbps_down"], \
                    v["soak", r, soaker, "rss_cli"], v["soak", r, soaker, "rss_srv"] > file }
            image("soak", "Soak") } }
    function pair(kind, row, p, a, b) { return ((kind, row, p) in has) ? val(kind, row, p, a) ", " val(kind, row, p, b) : "-" }
' >"$T/tables"

### Plots

# draw NAME TITLE X-LABEL Y-LABEL bars|lines|loglog|soak
draw() {
    local file=$T/data/$1 style=$5 columns i list=''
    [ -s "$file" ] && [ -n "$gnuplot" ] || return 0
    columns=$(awk 'NR == 1 { print gsub(/" "/, "") }' "$file")
    for ((i = 2; i <= columns + 1; i++)); do
        case $style in
        bars) list+="${list:+, }'$file' using $i:xticlabels(1) title columnheader($i)" ;;
        soak) list+="${list:+, }'$file' using 1:$i with lines lw 2 title columnheader($i)" ;;
        *) list+="${list:+, }'$file' using 1:$i with linespoints lw 2 title columnheader($i)" ;;
        esac
        [ "$style" != soak ] || [ $i -lt 4 ] || list+=" axes x1y2"
    done
    {
        echo "set terminal pngcairo size 640,380 font ',10'"
        echo "set output '$PLOTS/$1.png'"
        echo "set title '$2'; set xlabel '$3'; set ylabel '$4'; set grid ytics lt 1 lw 0.5 lc rgb '#cccccc'"
        echo "set key outside bottom center horizontal samplen 2; set yrange [0:*]; set datafile missing '?'"
        echo "set border 3; set tics nomirror"
        case $style in
        bars)
            echo "set style data histograms; set style histogram clustered gap 1"
            echo "set style fill solid 0.8 noborder; set xtics rotate by -30"
            ;;
        loglog) echo "set logscale x 2; set logscale y; set yrange [*:*]; set format x '%.0f'" ;;
        soak) echo "set border 11; set y2tics; set y2range [0:*]; set y2label 'MB'" ;;
        esac
        echo "plot $list"
    } >"$T/plot"
    "$gnuplot" "$T/plot"
}

[ -z "$gnuplot" ] || mkdir -p "$PLOTS"
draw tcp 'One tunnel, TCP' '' 'Mbit/s' bars
draw cost 'CPU of the whole machine' '' 'seconds per GB' bars
draw udp64 '64-byte packets' 'thousand packets a second offered' 'thousand a second that came' lines
draw udp1200 '1200-byte packets' 'thousand packets a second offered' 'thousand a second that came' lines
draw latency 'TCP, one message at a time' 'bytes' 'µs' loglog
draw bandwidth 'TCP' 'bytes a message' 'Mbit/s' loglog
draw udplatency 'UDP, one message at a time' 'bytes' 'µs' loglog
draw messages 'UDP' 'bytes a message' 'thousand messages a second' loglog
draw clients 'Several clients, TCP to the server' 'clients' 'Mbit/s together' lines
draw soak 'Both directions at once' 'minutes' 'Mbit/s' soak

### Into the page

[ -f "$OUT" ] || : >"$OUT"
begin='<!-- e2e: written by bench/report.sh, do not edit -->' end='<!-- end of e2e -->'
grep -q '^<!-- e2e' "$OUT" || printf '\n%s\n%s\n' "$begin" "$end" >>"$OUT"
awk -v tables="$T/tables" -v begin="$begin" '
    /^<!-- e2e/ { print begin "\n"; while ((getline line < tables) > 0) print line; skip = 1 }
    /^<!-- end of e2e/ { skip = 0 }
    !skip' "$OUT" >"$T/page"
cat "$T/page" >"$OUT"
echo "$OUT"
