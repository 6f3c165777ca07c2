#!/bin/bash
# Emulated links for scripts: mqvpn wan FILE, with orders while it runs.
. "$(dirname "$0")/lib.sh"

hosts c s
cat >"$T/links" <<'END'
# two ways from c to s
link a c/wan0 s/wan0 delay 30ms
link b c/wan1 s/wan1 rate 20mbit delay 5ms up rate 2mbit
at 300s every 1s set a delay 1s
END

mkfifo "$T/orders"
exec 8<>"$T/orders"
in_ns c "$MQVPN" wan "$T/links" <"$T/orders" >"$T/wan.log" 2>&1 &
pid[wan]=$!
wait_log wan '^ready$'
for i in 0 1; do
    ip -n c address add "172.16.$i.2/24" dev wan$i && ip -n c link set wan$i up &&
        ip -n s address add "172.16.$i.1/24" dev wan$i && ip -n s link set wan$i up ||
        fail "wan$i is not there"
done

declare -i told=0
order() { # ORDER [ANSWER]
    echo "$1" >&8
    told+=1
    wait_for 5 "an answer to \"$1\"" eval "[ \$(grep -cE '^(ok|error)' $T/wan.log) -ge $told ]"
    grep -E '^(ok|error)' "$T/wan.log" | tail -n 1 | grep -qE "^${2:-ok}" || fail "answer to \"$1\""
}
has_carrier() { ip -n "$1" link show wan0 | grep -q LOWER_UP; } # NS
rtt() { # ADDRESS: the least round trip in whole ms
    in_ns c ping -q -i 0.01 -c 20 -W 2 "$1" | sed -n 's|^rtt [^=]*= \([0-9]*\)\..*|\1|p'
}

step "delays"
ms=$(rtt 172.16.0.1)
[ "${ms:-0}" -ge 60 ] || fail "two times 30 ms took $ms ms"
order "set a delay 0"
ms=$(rtt 172.16.0.1)
[ "${ms:-99}" -lt 60 ] || fail "no delay took $ms ms"

step "a black hole, in one direction and in both"
for way in up down both; do
    order "cut a $way"
    refused "a ping came through a link cut $way" can_ping c 172.16.0.1
    order "restore a"
    pings c 5 172.16.0.1
done
has_carrier c || fail "a cut link has no carrier"

step "a link that goes down"
order "unplug a"
wait_for 5 "no carrier" eval '! has_carrier s'
refused "a ping came through no cable" can_ping c 172.16.0.1
order "plug a"
wait_for 5 "the link's return" can_ping c 172.16.0.1

step "both devices set down and up by hand"
ip -n s link set wan0 down
refused "a ping came through a device that is down" can_ping c 172.16.0.1
ip -n s link set wan0 up
wait_for 5 "the device's return" can_ping c 172.16.0.1

step "orders that come later, and wrong ones"
order "at 0 cut b"
wait_for 5 "the cut" eval "! can_ping c 172.16.1.1"
order "restore b"
order "cut nothing" "error: there is no link"
order "flood b" "error: order \"flood\""
order "link x c/wan5 s/wan5" "error: links are made"

step "rates: 2 Mbit/s carry 250 kB/s, whatever is offered"
spawn sink s iperf3 -s -1 --forceflush
wait_log sink "listening"
flow c 172.16.1.1 -t 2 -u -b 10M -l 1200
order stats
got=$(sed -n 's/^stats .* link=b dir=up .* out_bytes=\([0-9]*\) .*/\1/p' "$T/wan.log" | tail -n 1)
[ "$got" -gt 250000 ] && [ "$got" -lt 5000000 ] || fail "$got bytes went through 2 Mbit/s"
drops=$(sed -n 's/^stats .* link=b dir=up .* drop_queue=\([0-9]*\) .*/\1/p' "$T/wan.log" | tail -n 1)
[ "$drops" -gt 0 ] || fail "nothing was dropped"

step "the end, and files that are wrong"
order quit
ended wan 0
ip -n c link show wan0 >/dev/null 2>&1 && fail "a device stays behind"
for text in '' 'link a c/w' 'cut a' $'link a c/w s/w\nlink a c/v s/v' 'link a nowhere/w s/w'; do
    echo "$text" >"$T/links"
    refused "wrong links were taken: $text" "$MQVPN" wan "$T/links"
done
refused "a file that is not there" "$MQVPN" wan "$T/nothing"
exit 0
