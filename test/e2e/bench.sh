#!/bin/bash
# bench.sh - the end-to-end benchmark runs, its figures come in the form that bench/report.sh reads,
# and that writes its part of a page and leaves the rest alone. No speed is asserted.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
fail() {
    echo "FAIL: $*"
    cat "$T"/*.log "$T/results" "$T/soak" 2>/dev/null
    exit 1
}

TIME=1 RUNS=1 only=tcp1 families=4 PEERS="mqvpn absent" PEER='' \
    bash "$root/bench/e2e.sh" >"$T/results" 2>"$T/e2e.log"
rc=$?
if [ $rc = 77 ]; then
    tail -n 1 "$T/results"
    exit 77
fi
[ $rc = 0 ] || fail "bench/e2e.sh: status $rc"
for dir in up down; do
    grep -qE "^tcp flows=1 dir=$dir ip=4 peer=mqvpn mbps=[0-9.]*[1-9].* machine_s_gb=.* runs=1$" \
        "$T/results" || fail "no figure for $dir"
done
grep -qE '^skip peer=absent why=.' "$T/results" || fail "nothing said about the absent program"
! grep -vE '^[a-z]+( [a-z0-9_]+=[^ ]+)+$' "$T/results" || fail "not key=value"

INTERVAL=1 bash "$root/bench/soak.sh" 0.034 >"$T/soak" 2>"$T/soak.log" || fail "bench/soak.sh: status $?"
[ "$(grep -c '^soak ' "$T/soak")" = 2 ] || fail "bench/soak.sh: not two lines"
grep -q '^verdict result=ok ' "$T/soak" || fail "bench/soak.sh: not well"

# A flow of 80 Mbit/s, that gets nothing for 200 ms when a link is cut at 10000 ms, then 40 Mbit/s; from
# one second after the return at 14000 ms on again what it got before.
awk 'BEGIN { for (t = 6050; t <= 18000; t += 50) print t, \
    t <= 10000 ? 500000 : t <= 10200 ? 0 : t <= 15000 ? 250000 : 500000, t == 10200 ? 200 : 5 }' >"$T/got"
printf '%s\n' '9000 retransmitted 2' '9500 retransmitted 3' '10100 retransmitted 7' >"$T/sent"
cut=$(awk -v t1=10000 -v t2=14000 -v t3=18000 -v alone=40 -v broken=0 -f "$root/bench/cuts.awk" \
    "$T/got" "$T/sent")
[ "$cut" = "before_mbps=80.0 alone_mbps=40.0 during_mbps=40.0 after_mbps=80.0 stall_ms=200 to_90_ms=150 \
full_ms=950 retransmitted_before=1 retransmitted_cut=4 broken=0 samples=80,80,80,80,80,80,24,40,40,40,40,\
40,40,40,40,40,80,80,80,80,80,80 asked=stall<=250,to_90<=1000,full<=3000 verdict=PASS" ] ||
    fail "a cut: $cut"
cat >"$T/lab" <<'END'
host date=2000-01-01 cpu=none cores=2 kernel=6 load=0 mqvpn=1 lab=30
tcp env=x paths=a flows=1 way=down scale=1 mbps=40 first_mbps=30 idle_p50_ms=20 ping_p99_ms=30 cpu_pct=20 measured=yes
tcp env=x paths=b flows=1 way=down scale=1 mbps=40 first_mbps=30 idle_p50_ms=20 ping_p99_ms=30 cpu_pct=20 measured=yes
tcp env=x paths=all flows=1 way=down scale=1 mbps=60 first_mbps=50 idle_p50_ms=20 ping_p99_ms=35 cpu_pct=20 measured=yes
tcp env=x paths=all_noloss flows=1 way=down scale=1 mbps=75 first_mbps=60 idle_p50_ms=20 ping_p99_ms=35 cpu_pct=20 measured=yes
END
sums=$(grep '^tcp' "$T/lab" | awk -v part=tcp -f "$root/bench/sums.awk")
[ "$sums" = "sum env=x part=tcp flows=1 way=down scale=1 alone=40,40 best_single=40 sum=80.00 bonded=60 \
ratio_best=1.500 ratio_sum=0.750 first=50 first_best=30 ping_added_p99_ms=15.0 noloss=75 ratio_noloss=0.800 \
asked=best>=1.3,noloss>=0.85 verdict=below" ] || fail "a sum: $sums"
echo "$sums" >>"$T/lab"
echo "cut env=x link=a how=hole flows=1 way=down $cut cpu_pct=20 measured=yes" >>"$T/lab"

printf '%s\n' before '<!-- e2e -->' stale '<!-- end of e2e -->' '<!-- soak -->' '<!-- end of soak -->' \
    '<!-- lab -->' '<!-- end of lab -->' after >"$T/page.md"
for part in results soak lab; do # one at a time: what is there of the others stays
    OUT=$T/page.md bash "$root/bench/report.sh" "$T/$part" >"$T/report.log" 2>&1 ||
        fail "bench/report.sh: status $?"
done
[ "$(head -n 1 "$T/page.md") $(tail -n 1 "$T/page.md")" = "before after" ] || fail "the page around it"
! grep -q stale "$T/page.md" || fail "what was there before"
for line in '^| 1 flow up IPv4 | [0-9]' '^| mqvpn | ' '^0.034 minutes' 'result=ok' '^| 0.0[0-9]* | [0-9]* | ' \
    '^| x | 40.0 + 40.0 | 60.0 | 1.50 | 75 % |' '^| x, a | hole | 1 down | 80.0 |.* PASS |$'; do
    grep -q "$line" "$T/page.md" || fail "no \"$line\" in the page"
done
