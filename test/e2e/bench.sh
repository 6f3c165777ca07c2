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

printf '%s\n' before '<!-- e2e -->' stale '<!-- end of e2e -->' after >"$T/page.md"
OUT=$T/page.md bash "$root/bench/report.sh" "$T/results" "$T/soak" >"$T/report.log" 2>&1 ||
    fail "bench/report.sh: status $?"
[ "$(head -n 1 "$T/page.md") $(tail -n 1 "$T/page.md")" = "before after" ] || fail "the page around it"
! grep -q stale "$T/page.md" || fail "what was there before"
for line in '^| 1 flow up IPv4 | [0-9]' '^| mqvpn | ' '^0.034 minutes' 'result=ok'; do
    grep -q "$line" "$T/page.md" || fail "no \"$line\" in the page"
done
