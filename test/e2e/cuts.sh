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
GAP=2000    # milliseconds without a byte at most, while a link lives; expected: 400
SETTLE=4000 # milliseconds after which the link carries again; expected: 1000

two_links

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
carried() { in_ns c awk -v d="$1:" '$1 == d { print int(($2 + $10) / 1000) }' /proc/net/dev; } # DEV: kB

# CUT, and SECONDS later RESTORE: neither flow stops for long, and the link carries again.
around() { # WHAT SECONDS CUT RESTORE
    local began late back late_back name gap at end before
    sleep 0.5
    began=$(now_ms) late=$(late)
    eval "$3"
    sleep "$2"
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
        echo "   ${name%_s}: nothing for $gap ms at most (until $at), then" \
            "$(($(bytes $name $((end - 1000)) "$end") / 125)) kbit/s"
        [ "$gap" -le "$(patience $GAP "$late")" ] || fail "$1: nothing for $gap ms"
    done
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
equal "tunnels opened" "$(grep -c 'tunnel is up' "$T/c1.log")" 1
kill "${pid[down]}" "${pid[up]}"
stop c1
stop server
