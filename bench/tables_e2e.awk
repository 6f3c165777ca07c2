# tables_e2e.awk - lines of bench/e2e.sh as tables of Markdown; for bench/report.sh.
#
# Given: data, the folder for what is to be plotted, a file NAME each: columns after one line of
# titles; plots, the folder of the plots as the page names it, or nothing.

# Lines of bench/lab.sh have names of their own environments.
/ env=/ { next }

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
$1 == "peer" || $1 == "memory" || $1 == "idle" || $1 == "tcp" || $1 == "rtt" { add_peer(f["peer"]) }
$1 == "peer" { version[f["peer"]] = f["version"] }
$1 == "skip" { skipped = skipped (skipped ? ", " : "") (("peer" in f) ? f["peer"] : f["part"]) \
    " (" f["why"] ")" }
$1 == "tcp" { note("tcp", f["flows"] (f["flows"] == 1 ? " flow " : " flows ") f["dir"] " IPv" f["ip"], f["peer"]) }
$1 == "udp" { note("udp", f["size"] " B, " f["offered_kpps"], f["peer"]) }
$1 == "seg" { note("seg", f["size"] " B, " f["offered_kpps"], f["peer"]) }
$1 == "clients" { note("clients", f["n"] " " f["dir"], f["peer"]) }
$1 == "sweep" { note("sweep_" substr(f["test"], 1, 3), f["size"], f["peer"]) }
$1 == "rtt" { note("rtt", f["gap_us"], f["peer"]) }
$1 == "idle" { note("idle", "", f["peer"]) }
$1 == "memory" { note("memory", f["when"], f["peer"]) }
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

# Data for a plot: rows of KIND down, one KEY of each peer across. Beside TCP without any tunnel all
# others would be small.
function drawn(name, kind, p) { return ((kind, p) in seen) && (name != "tcp" || p != "none") }
function plot(name, kind, key, match_, cut,   i, j, line, file) {
    file = data "/" name
    for (i = 1; i <= count[kind]; i++) {
        if (match_ && rows[kind, i] !~ match_) continue
        if (!made[name]++) {
            line = "\"\""
            for (j = 1; j <= peers; j++) if (drawn(name, kind, peer[j]))
                line = line " \"" title(peer[j]) "\""
            print line > file }
        line = rows[kind, i]
        if (cut) sub(match_, "", line)
        if (line !~ /^[0-9.]+$/) line = "\"" line "\""
        for (j = 1; j <= peers; j++) if (drawn(name, kind, peer[j]))
            line = line " " (v[kind, rows[kind, i], peer[j], key] == "" ? "?" : \
                v[kind, rows[kind, i], peer[j], key])
        print line > file } }

END {
    if ("date" in host) {
        printf "%s. %s, %s processors, %s GB, Linux %s; load average %s at the start. ", host["date"], \
            spaces(host["cpu"]), host["cores"], host["memory_gb"], host["kernel"], host["load"]
        printf "Medians of %s runs of %s s (UDP and several clients: %s of %s s); the programs took " \
            "turns within each run. TCP's congestion control is %s.", host["runs"], host["time"], \
            host["runs_2"], host["time_2"], host["cc"]
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
        print "A packet there and back, µs, 10 ms or 0.5 ms after the one before. The forwarder is the least " \
            "that a program can do:\n`bench/tools/forward.c`, without any cipher or state.\n"
        print "| | 10 ms: median | added | 99 % | 0.5 ms: median | added | wake-ups a second: client, server " \
            "| CPU ms a second | MB at the start: client, server | most at any time |" \
            "\n|---|---|---|---|---|---|---|---|---|---|"
        for (i = 1; i <= peers; i++) { p = peer[i]
            print "| " title(p) " | " val("rtt", 10000, p, "p50_us") " | " val("rtt", 10000, p, "added_us") \
                " | " val("rtt", 10000, p, "p99_us") " | " val("rtt", 500, p, "p50_us") \
                " | " val("rtt", 500, p, "added_us") " | " pair("idle", "", p, "cli_wakes", "srv_wakes") \
                " | " pair("idle", "", p, "cli_ms", "srv_ms") \
                " | " pair("memory", "start", p, "rss_cli", "rss_srv") \
                " | " pair("memory", "end", p, "peak_cli", "peak_srv") " |" }
        print "" } }
function pair(kind, row, p, a, b) { return ((kind, row, p) in has) ? val(kind, row, p, a) ", " val(kind, row, p, b) : "-" }
