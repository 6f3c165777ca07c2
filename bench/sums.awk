# sums.awk - a line "sum" for each row of one environment and part of bench/lab.sh: all links
# together beside each alone, and beside what is wanted of it.

BEGIN { noise = 0.98 }
{
    delete f
    for (i = 2; i <= NF; i++) {
        at = index($i, "=")
        f[substr($i, 1, at - 1)] = substr($i, at + 1)
    }
    env = f["env"]; scale = f["scale"]
    sched = ("sched" in f) ? f["sched"] : ""
    row = f["flows"] " " f["way"]
    if (part == "beside") {
        beside()
        next
    }
    if (f["measured"] == "no") busy[row, sched] = busy[row] = 1
    if (f["paths"] == "all_noloss") {
        noloss[row] = f["mbps"]
        next
    }
    if (f["paths"] != "all") {
        alone[row] = (row in sum ? alone[row] "," : "") f["mbps"]
        sum[row] += f["mbps"]
        if (f["mbps"] + 0 > best[row] + 0) {
            best[row] = f["mbps"]
            first_best[row] = f["first_mbps"]
        }
    }
    if (!((row, sched) in known) && (part != "streams" || f["paths"] == "all")) {
        known[row, sched] = 1
        rows[++n] = row
        scheds[n] = sched
    }
    if (f["paths"] == "all" || part != "streams" && !((row, sched) in together)) {
        all[row, sched] = f["mbps"]
        first[row, sched] = f["first_mbps"]
        added[row, sched] = f["ping_p99_ms"] - f["idle_p50_ms"]
    }
    if (f["paths"] == "all") together[row, sched] = 1
}

function ask(name, least, got) {
    asked = asked (asked ? "," : "") name ">=" least
    if (got < least * (name == "best" || name == "first" ? noise : 1)) good = 0
}
function verdict(busy) { return busy ? "no_measurement" : good ? "PASS" : "below" }

function beside(   p50, p99) {
    p50 = f["ping_p50_ms"] - f["idle_p50_ms"]
    p99 = f["ping_p99_ms"] - f["idle_p50_ms"]
    good = p50 <= 15 && p99 <= 40 && ("voip_loss_pct" in f) && f["voip_loss_pct"] + 0 == 0 && \
        f["voip_jitter_ms"] + 0 < 3
    printf "sum env=%s part=beside flows=%s way=%s scale=%s mbps=%s ping_added_p50_ms=%.1f " \
        "ping_added_p99_ms=%.1f voip_loss_pct=%s voip_jitter_ms=%s " \
        "asked=p50<=15,p99<=40,loss=0,jitter<3 verdict=%s\n", env, f["flows"], f["way"], scale, \
        f["mbps"], p50, p99, f["voip_loss_pct"], f["voip_jitter_ms"], verdict(f["measured"] == "no")
}

END {
    for (i = 1; i <= n; i++) {
        row = rows[i]; sched = scheds[i]
        split(row, w, " ")
        several = ((row, sched) in together)
        if (several && !(row in alone)) continue # nothing to compare with
        good = 1; asked = ""
        x = all[row, sched]
        by_best = best[row] > 0 ? x / best[row] : 0
        by_sum = sum[row] > 0 ? x / sum[row] : 0
        wanted = sched == "" || sched == "auto"
        if (several && wanted) {
            ask("best", sum[row] >= 1.5 * best[row] ? 1.3 : 1, by_best)
            if (env == "300+80") {
                ask("sum", part == "quic" ? 0.85 : w[1] >= 4 ? 0.95 : 0.92, by_sum)
                if (part == "tcp" && w[1] == 1 && first_best[row] > 0)
                    ask("first", 1, first[row, sched] / first_best[row])
            }
        }
        line = sprintf("sum env=%s part=%s flows=%s way=%s%s scale=%s alone=%s best_single=%s " \
            "sum=%.2f bonded=%s ratio_best=%.3f ratio_sum=%.3f first=%s first_best=%s " \
            "ping_added_p99_ms=%.1f", env, part, w[1], w[2], sched == "" ? "" : " sched=" sched, scale, \
            alone[row], best[row], sum[row], x, by_best, by_sum, first[row, sched], first_best[row], \
            added[row, sched])
        if (row in noloss && noloss[row] > 0) {
            line = line sprintf(" noloss=%s ratio_noloss=%.3f", noloss[row], x / noloss[row])
            ask("noloss", 0.85, x / noloss[row])
        }
        print line " asked=" (asked == "" ? "-" : asked) " verdict=" \
            (asked == "" ? "-" : verdict((row, sched) in busy || row in busy && part != "streams"))
    }
}
