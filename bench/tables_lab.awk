# tables_lab.awk - lines of bench/lab.sh as tables of Markdown; for bench/report.sh, as tables_e2e.awk.

# list[KIND, n] are rows in order of first appearance; v[KIND, row, key] what is known of them.
function note(kind, row,   k) {
    if (!((kind, row) in known)) {
        known[kind, row] = 1
        list[kind, ++count[kind]] = row
    }
    for (k in f) v[kind, row, k] = f[k]
}
{
    delete f
    for (i = 2; i <= NF; i++) {
        at = index($i, "=")
        if (at) f[substr($i, 1, at - 1)] = substr($i, at + 1)
    }
}
$1 == "host" && ("lab" in f) { for (k in f) host[k] = f[k] }
$1 == "host" || !("env" in f) { next }
$1 == "sum" && f["part"] != "streams" {
    note(f["part"], f["env"] " " f["flows"] " " f["way"])
    next
}
$1 == "sum" {
    note("streams", f["env"] " " f["flows"])
    note("stream", f["env"] " " f["flows"] " " f["sched"])
    if (!(f["sched"] in sched_n)) {
        sched_n[f["sched"]] = ++scheds
        sched[scheds] = f["sched"]
    }
}
($1 == "tcp" || $1 == "quic") && f["paths"] != "all_noloss" { cpu[$1, f["env"] " " f["flows"] " " f["way"]] = f["cpu_pct"] }
$1 == "beside" { cpu[$1, f["env"] " " f["flows"] " " f["way"]] = f["cpu_pct"] }
$1 == "streams" && f["measured"] == "no" { busy[f["env"] " " f["flows"] " " f["sched"]] = 1 }
$1 == "udp" { note("udp", f["env"] " " f["size"] " " f["paths"] " " f["sched"] " " f["offered_mbps"]) }
$1 == "cut" { note("cut", f["env"] " " f["link"] " " f["how"] " " f["flows"] " " f["way"]) }
$1 == "failed" { failed++ }

function spaces(s) { gsub(/_/, " ", s); return s }
function num(x) {
    if (x == "" || x == "-") return "-"
    if (x ~ /[^-0-9.]/) return x
    x += 0
    return x >= 100 || x <= -100 ? sprintf("%.0f", x) : x >= 10 || x <= -10 ? sprintf("%.1f", x) : \
        x == int(x) ? x : sprintf("%.2f", x)
}
function pct(x) { return x == "" ? "-" : sprintf("%.0f %%", 100 * x) }
function verdict(s) { return s == "no_measurement" ? "CPU-bound" : s }
function image(name, text) { if (plots) print "![" text "](" plots "/" name ".png)\n" }
# The environment of a row, its rates' factor, and what else is not usual.
function env_of(kind, row,   w, s) {
    split(row, w, " ")
    s = w[1]
    if (v[kind, row, "scale"] != "" && v[kind, row, "scale"] != 1) s = s ", rates × " v[kind, row, "scale"]
    if (kind != "beside" && w[2] != 1) s = s ", " w[2] " flows"
    if (w[3] == "up") s = s ", up"
    return s
}

function environments(kind, what,   i, n, row, file, a, sum) {
    print "#### " what " over several links\n"
    print "Mbit/s that came. Wanted at least: × the best link alone, % of the sum of the links alone; in " \
        "the first 10 s, what the best link alone has then; and where links lose at random, a share " \
        "of the same links' without loss. The ping is the 99th percentile beside the flow, over the idle median.\n"
    print "| environment | alone | together | × best | of sum | first 10 s (best alone) | without loss | ping + ms | CPU | wanted | |"
    print "|---|---|---|---|---|---|---|---|---|---|---|"
    file = data "/" kind "_links"
    print "\"\" \"best link alone\" \"all together\"" > file
    for (i = 1; i <= count[kind]; i++) {
        row = list[kind, i]
        n = split(v[kind, row, "alone"], a, ",")
        sum = v[kind, row, "sum"]
        print "| " env_of(kind, row) " | " both(a, n) " | " (n > 1 ? num(v[kind, row, "bonded"]) : "-") \
            " | " (n > 1 ? sprintf("%.2f", v[kind, row, "ratio_best"]) : "-") \
            " | " (n > 1 ? pct(v[kind, row, "ratio_sum"]) : "-") \
            " | " num(v[kind, row, "first"]) " (" num(v[kind, row, "first_best"]) ")" \
            " | " (v[kind, row, "noloss"] == "" ? "-" : num(v[kind, row, "noloss"]) ", so " pct(v[kind, row, "ratio_noloss"])) \
            " | " num(v[kind, row, "ping_added_p99_ms"]) " | " num(cpu[kind, row]) " % | " \
            asked(v[kind, row, "asked"]) " | " verdict(v[kind, row, "verdict"]) " |"
        if (n > 1 && sum > 0) print "\"" env_of(kind, row) "\"", 100 * v[kind, row, "best_single"] / sum, \
            100 * v[kind, row, "bonded"] / sum > file
    }
    print ""
    image(kind "_links", what)
}
function both(a, n,   i, s) {
    for (i = 1; i <= n; i++) s = s (i > 1 ? " + " : "") num(a[i])
    return s
}
function asked(s) {
    if (s == "" || s == "-") return "-"
    gsub(/>=/, " ≥ ", s)
    gsub(/<=/, " ≤ ", s)
    gsub(/</, " < ", s)
    sub(/noloss/, "without loss", s)
    gsub(/,/, ", ", s)
    return s
}

function streams(   i, j, row, w, key, file, line, rule) {
    print "#### Inner TCP flows by scheduler\n"
    print "Mbit/s that came, of all flows together. *: over 85 % CPU, or 5 % taken by the host.\n"
    line = "| environment, flows | alone | sum |"
    rule = "|---|---|---|"
    file = data "/streams"
    printf "\"\" \"sum of both alone\"" > file
    for (j = 1; j <= scheds; j++) {
        line = line " " sched[j] " |"
        rule = rule "---|"
        printf " \"%s\"", sched[j] > file
    }
    print "" > file
    print line "\n" rule
    for (i = 1; i <= count["streams"]; i++) {
        row = list["streams", i]
        split(row, w, " ")
        line = v["streams", row, "alone"]
        gsub(/,/, " + ", line)
        line = "| " w[1] ", " w[2] " | " line " | " num(v["streams", row, "sum"]) " |"
        printf "%s %s", w[2], v["streams", row, "sum"] > file
        for (j = 1; j <= scheds; j++) {
            key = row " " sched[j]
            line = line " " num(v["stream", key, "bonded"]) (key in busy ? "*" : "") " |"
            printf " %s", v["stream", key, "bonded"] == "" ? "?" : v["stream", key, "bonded"] > file
        }
        print line
        print "" > file
    }
    print ""
    image("streams", "Inner TCP flows by scheduler")
}

function udp(   i, row, w) {
    print "#### UDP through the tunnel\n"
    print "| environment | bytes | links | offered, Mbit/s | sent | came | lost, % | jitter, ms | CPU |"
    print "|---|---|---|---|---|---|---|---|---|"
    for (i = 1; i <= count["udp"]; i++) {
        row = list["udp", i]
        split(row, w, " ")
        print "| " w[1] " | " w[2] " | " w[3] (v["udp", row, "sched"] == "" ? "" : ", " v["udp", row, "sched"]) \
            " | " num(v["udp", row, "offered_mbps"]) " | " num(v["udp", row, "sent_mbps"]) \
            " | " num(v["udp", row, "mbps"]) " | " num(v["udp", row, "loss_pct"]) \
            " | " num(v["udp", row, "jitter_ms"]) " | " num(v["udp", row, "cpu_pct"]) " %" \
            (v["udp", row, "measured"] == "no" ? ", CPU-bound" : "") " |"
    }
    print ""
}

function cuts(   i, j, n, row, w, s, file, line, some) {
    print "#### A link that is cut, and comes back\n"
    print "A silent black hole (hole), or `ip link set down` at the far end (down) or at our own (own). Mbit/s before, of the " \
        "links that are left alone, while it was away, and in the last second; the longest time in which " \
        "any flow got nothing; how long until half a second brought 90 % of the links left, and after the " \
        "return 95 % of what was before; segments that the inner TCP sent again in the second before and " \
        "after the cut.\n"
    print "| environment, link | how | flows | before | left alone | away | at the end | longest gap, ms | 90 %, ms | again, ms | sent again | CPU | |"
    print "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    for (i = 1; i <= count["cut"]; i++) {
        row = list["cut", i]
        split(row, w, " ")
        print "| " w[1] ", " w[2] " | " w[3] " | " w[4] " " w[5] " | " num(v["cut", row, "before_mbps"]) " | " \
            num(v["cut", row, "alone_mbps"]) " | " num(v["cut", row, "during_mbps"]) " | " \
            num(v["cut", row, "after_mbps"]) " | " num(v["cut", row, "stall_ms"]) " | " \
            num(v["cut", row, "to_90_ms"]) " | " num(v["cut", row, "full_ms"]) " | " \
            num(v["cut", row, "retransmitted_before"]) ", " num(v["cut", row, "retransmitted_cut"]) " | " \
            num(v["cut", row, "cpu_pct"]) " % | " \
            verdict(v["cut", row, "measured"] == "no" ? "no_measurement" : v["cut", row, "verdict"]) " |"
        if (w[4] > most) most = w[4]
    }
    print ""
    # Of the runs with most flows, half a second a line.
    file = data "/cuts"
    printf "\"\"" > file
    for (i = 1; i <= count["cut"]; i++) {
        row = list["cut", i]
        split(row, w, " ")
        if (w[4] != most) continue
        printf " \"%s, %s\"", w[2], w[3] > file
        n = split(v["cut", row, "samples"], s, ",")
        for (j = 1; j <= n; j++) line[j] = line[j] " " s[j]
        if (n > some) some = n
    }
    print "" > file
    for (j = 1; j <= some; j++) print -3 + (j - 1) * 0.5 line[j] > file
    image("cuts", "A cut, in samples of half a second")
}

function beside(   i, row) {
    print "#### Beside four flows\n"
    print "A ping, and 64 kbit/s of UDP in 50 packets a second, while 4 TCP flows take all there is. The ping " \
        "is told over the median of the idle tunnel.\n"
    print "| environment | flows, Mbit/s | ping +, median, ms | ping +, 99 %, ms | UDP lost, % | jitter, ms | CPU | wanted | |"
    print "|---|---|---|---|---|---|---|---|---|"
    for (i = 1; i <= count["beside"]; i++) {
        row = list["beside", i]
        print "| " env_of("beside", row) " | " num(v["beside", row, "mbps"]) " | " \
            num(v["beside", row, "ping_added_p50_ms"]) " | " num(v["beside", row, "ping_added_p99_ms"]) \
            " | " num(v["beside", row, "voip_loss_pct"]) " | " num(v["beside", row, "voip_jitter_ms"]) \
            " | " num(cpu["beside", row]) " % | " asked(v["beside", row, "asked"]) " | " \
            verdict(v["beside", row, "verdict"]) " |"
    }
    print ""
}

END {
    if ("date" in host)
        print host["date"] ". " spaces(host["cpu"]) ", " host["cores"] " processors, Linux " host["kernel"] \
            "; mqvpn " host["mqvpn"] ", load average " host["load"] " at the start. Environments are those of " \
            "`bench/links.sh`; runs of " host["lab"] " s, the inner flows\x27 congestion control is " host["cc"] "." (failed ? " " failed " runs failed." : "") "\n"
    if (count["tcp"]) environments("tcp", "One inner TCP flow")
    if (count["quic"]) environments("quic", "One inner QUIC flow")
    if (count["streams"]) streams()
    if (count["udp"]) udp()
    if (count["cut"]) cuts()
    if (count["beside"]) beside()
}
