#!/bin/bash
# cuts.sh - a bulk TCP flow each way through a tunnel over two links, while one of them goes and
# comes in every way that links do: the flow hardly stops, and the link carries again soon.
#
#     ┌────── c ───────┐                                     ┌────── s ───────┐
#     │  wan0, wan1    │────── a: 20 Mbit/s, 10 ms ──────────│  wan0, wan1    │
#     │                │────── b: 10 Mbit/s, 20 ms ──────────│                │
#     └────────────────┘                                     └────────────────┘
. "$(dirname "$0")/lib.sh"

FLOW=$O/test/e2e/flow
FAR=10.0.0.1
GAP=1000    # milliseconds without a byte at most, while a link lives; expected: 120
SETTLE=4000 # milliseconds after which the link carries again; expected: 1000
export FLOW_CC=${FLOW_CC-cubic} # or what the system has, if empty: BBR stops for 200 ms by itself
CUTS=${CUTS:-100} # with LONG

two_links
# Mbit/s and ms of both; by hand others: STAGE="50 20 50 40"
read -r rate_a delay_a rate_b delay_b <<<"${STAGE:-20 10 10 20}"
order "set a rate ${rate_a}mbit delay ${delay_a}ms"
order "set b rate ${rate_b}mbit delay ${delay_b}ms"

### Flows

begin() {
    spawn down_s s "$FLOW" serve 5001 send
    spawn up_s s "$FLOW" serve 5002 recv
    wait_log down_s listening
    wait_log up_s listening
    spawn down c "$FLOW" run $FAR 5001 recv
    spawn up c "$FLOW" run $FAR 5002 send
}
# The longest gap in what NAME got between two instants, and its end; and the bytes.
longest() { awk -v a="$2" -v b="$3" '$1 >= a && $1 <= b && $3 > g { g = $3; t = $1 - a } END { print g + 0, t + 0 }' "$T/$1.log"; }
bytes() { awk -v a="$2" -v b="$3" '$1 > a && $1 <= b { n += $2 } END { print n + 0 }' "$T/$1.log"; }
# How long after A the flow first had 0.9 of what links of MBIT together carry, for 0.2 s, in ms.
reached() { # NAME A MBIT
    awk -v a="$2" -v want=$(($3 * 25000 * 83 / 100)) '
        $1 > a { b[++n] = $2; sum += $2 - (n > 4 ? b[n - 4] : 0)
            if (n >= 4 && sum >= want) { print $1 - a; exit } }' "$T/$1.log"
}
carried() { in_ns c awk -v d="$1:" '$1 == d { print int(($2 + $10) / 1000) }' /proc/net/dev; } # DEV: kB
resent() { in_ns "$1" awk '/^Tcp: [0-9]/ { print $13 }' /proc/net/snmp; } # NS: TCP segments sent again

# CUT, and SECONDS later RESTORE: neither flow stops for long, and the link carries again.
around() { # WHAT SECONDS CUT RESTORE
    local began late again back late_back name gap at end before
    sleep 0.5
    again=$(($(resent c) + $(resent s)))
    began=$(now_ms) late=$(late)
    eval "$3"
    sleep "$2"
    again=$(($(resent c) + $(resent s) - again))
    eval "$4"
    back=$(now_ms) late_back=$(late) before=$(carried wan0)
    sleep 2
    until [ $(($(carried wan0) - before)) -ge 100 ]; do
        [ $(($(now_ms) - back)) -lt "$(patience $SETTLE "$late_back")" ] ||
            fail "$1: the link does not carry again: kB were $before, are $(carried wan0)"
        sleep 0.05
    done
    end=$(now_ms)
    for name in down up_s; do
        running $name || fail "$1: the flow broke"
        read -r gap at < <(longest $name "$began" "$end")
        echo "   ${name%_s}: nothing for $gap ms at most (until $at); the other link full after" \
            "$(reached $name "$began" "$rate_b") ms; both after $(reached $name "$back" $((rate_a + rate_b)))" \
            "ms; then $(($(bytes $name $((end - 1000)) "$end") / 125)) kbit/s"
        [ "$gap" -le "$(patience $GAP "$late")" ] || fail "$1: nothing for $gap ms"
    done
    echo "   $again segments sent again while it was gone"
}

spawn server s "$MQVPN" server --auth-key lab --state-dir "$T/server"
wait_log server 'connect with: '
spawn c1 c "$MQVPN" client 172.29.0.1 --insecure --auth-key lab --route 10.0.0.0/24 --state-dir "$T/c1"
client_up 1
wait_log c1 'a path via wan1' 5
begin
sleep 2

nft_drop() { # HOOK WORDS
    in_ns s nft "add table inet hole; add chain inet hole x { type filter hook $1 priority 0; }; add rule inet hole x $2 drop"
}

step "a black hole"
around "black hole" 2 "order 'cut a'" "order 'restore a'"
step "a black hole one way"
around "one way" 2 "order 'cut a down'" "order 'restore a'"
step "the far end is down"
around "far end" 2 "ip -n s link set wan0 down" "ip -n s link set wan0 up"
step "our end is down"
around "our end" 2 "ip -n c link set wan0 down" "ip -n c link set wan0 up; routes 0"
step "no carrier"
around "no carrier" 2 "order 'unplug a'" "order 'plug a'; routes 0"
step "the server may not send there"
around "output" 2 "nft_drop output 'oifname wan0'" "in_ns s nft delete table inet hole"
step "our address changes"
around "address" 0 "ip -n c address add 172.30.0.3/24 dev wan0; ip -n c address del 172.30.0.2/24 dev wan0
    ip -n c address replace 172.30.0.3/24 dev wan0; routes 0" true

step "a link appears"
ip -n c link set wan0 down
sleep 2
was=$(carried wan0) began=$(now_ms)
ip -n c link set wan0 up
routes 0
wait_for 5 "it to carry" eval "[ \$(carried wan0) -ge $((was + 100)) ]"
echo "   it carried 100 kB after $(($(now_ms) - began)) ms"

# Many times and fast, of either link: nothing ever breaks, and the flows hardly stop.
if [ -n "${LONG:-}" ]; then
    step "$CUTS cuts"
    first=$(late)
    for ((i = 0; i < CUTS; i++)); do
        n=$((i / 3 % 2)) link=a other=$rate_b
        [ $n = 0 ] || link=b other=$rate_a
        cut=$(now_ms) late=$(late)
        case $((i % 3)) in
        0) how=hole && order "cut $link" ;;
        1) how=far && ip -n s link set wan$n down ;;
        2) how=own && ip -n c link set wan$n down ;;
        esac
        sleep 1.5
        back=$(now_ms)
        case $how in
        hole) order "restore $link" ;;
        far) ip -n s link set wan$n up ;;
        own) ip -n c link set wan$n up && routes $n ;;
        esac
        sleep 2.5
        for name in down up_s; do
            running $name || fail "the flow broke at the cut number $i"
            read -r gap at < <(longest $name "$cut" "$back")
            [ "$gap" -le "$(patience $GAP "$late")" ] || fail "cut $i: nothing for $gap ms"
            echo "$gap $(reached $name "$cut" "$other" || echo -) $(reached $name "$back" $((rate_a + rate_b)) || echo -)" \
                "$link ${name%_s} $how" >>"$T/cuts.txt"
        done
    done
    sort -n "$T/cuts.txt" -o "$T/cuts.txt"
    tail -n 20 "$T/cuts.txt" | sed 's/^/   /'
    median=$(sed -n "$CUTS{s/ .*//p}" "$T/cuts.txt") # of two flows
    echo "   nothing for $median ms at most in half of the cuts"
    [ "$median" -le "$(patience 250 "$first")" ] || fail "half of the gaps are longer"
fi
equal "tunnels opened" "$(grep -c 'tunnel is up' "$T/c1.log")" 1
kill "${pid[down]}" "${pid[up]}"
stop c1
stop server
