# cuts.awk - what bench/lab.sh's flows were like around a cut.
#
# Read: what test/e2e/flow printed, a file for each end. Given: t1, t2, t3, the times (ms) of the cut,
# of the link's return and of the end; alone, what the other links bring (Mbit/s); broken, how many
# flows ended. Status 1 where too little came for any figure.

FNR == 1 { was = 0 }
$2 == "retransmitted" {
    if ($1 > t1 - 1000 && $1 <= t1) before_n += $3 - was
    if ($1 > t1 && $1 <= t1 + 1000) cut_n += $3 - was
    was = $3
    next
}
NF == 3 {
    bin[int(($1 - 25 - t1 + 1e6) / 50) - 2e4] += $2
    if ($1 > t1 && $1 <= t3 && $3 > stall) stall = $3
    all += $2
}

# Mbit/s from one time to another, in ms after the cut.
function rate(from, to,   i, n) {
    for (i = from / 50; i < to / 50; i++) n += bin[i]
    return n * 8 / ((to - from) / 1000) / 1e6
}
# How long after `from` until half a second brings so much, in ms; "never" by `to`.
function until(from, to, mbps,   t) {
    for (t = from; t + 500 <= to; t += 50)
        if (rate(t, t + 500) >= mbps) return t - from
    return "never"
}
function down(ms) { return int(ms / 50) * 50 }

END {
    if (!all) exit 1
    back = down(t2 - t1); last = down(t3 - t1)
    before = rate(-3000, 0)
    ninety = until(0, back, 0.9 * alone)
    full = until(back, last, 0.95 * before)
    for (t = -3000; t + 500 <= last; t += 500)
        samples = samples (t > -3000 ? "," : "") sprintf("%.0f", rate(t, t + 500))
    good = !broken && stall <= 250 && ninety != "never" && ninety <= 1000 && full != "never" &&
        full <= 3000
    printf "before_mbps=%.1f alone_mbps=%.1f during_mbps=%.1f after_mbps=%.1f stall_ms=%d " \
        "to_90_ms=%s full_ms=%s retransmitted_before=%d retransmitted_cut=%d broken=%d samples=%s " \
        "asked=stall<=250,to_90<=1000,full<=3000 verdict=%s", before, alone, \
        rate(1000 < back ? 1000 : 0, back), rate(last - 1000, last), stall, ninety, full, before_n, \
        cut_n, broken, samples, good ? "PASS" : "below"
}
