#!/bin/bash
# ecn.sh - the tunnel's own packets carry ECT(0) both ways and live with what becomes of it; the
# marks of the packets inside are their own affair (RFC 9484 10.2). Once for each --io.
. "$(dirname "$0")/lib.sh"

FAR4=10.0.0.1

# Rules in namespace NS: counters of what comes and goes by ECN bits, and the chain `net`, which
# changes what comes by the device DEV.
count() { # NS DEV
    in_ns "$1" nft -f - <<EOF || skip "nftables can't look at ECN bits here"
table ip marks {
    counter in_ect0 {}
    counter in_ce {}
    counter out_ect0 {}
    counter out_plain {}
    counter inner_plain {}
    counter inner_ect0 {}
    counter inner_ce {}
    chain net {
        type filter hook prerouting priority -400
    }
    chain in {
        type filter hook prerouting priority -300
        iifname "$2" meta l4proto udp ip ecn ect0 counter name in_ect0
        iifname "$2" meta l4proto udp ip ecn ce counter name in_ce
        iifname "mqvpn0" ip ecn not-ect counter name inner_plain
        iifname "mqvpn0" ip ecn ect0 counter name inner_ect0
        iifname "mqvpn0" ip ecn ce counter name inner_ce
    }
    chain out {
        type filter hook output priority 0
        oifname "$2" meta l4proto udp ip ecn ect0 counter name out_ect0
        oifname "$2" meta l4proto udp ip ecn not-ect counter name out_plain
    }
}
EOF
}

packets() { # NS COUNTER
    in_ns "$1" nft list counter ip marks "$2" | sed -n 's/.*packets \([0-9]*\).*/\1/p'
}

# Of packets outside the tunnel nft counts several at a time (GSO, GRO), the more the busier the
# machine is.
at_least() { # WHAT IS LEAST
    [ "$2" -ge "$3" ] || fail "$1: $2, not at least $3"
}

stage 1
count server c1
count c1 eth0

kinds=(io_uring epoll)
if [ "$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0)" != 0 ]; then
    echo "io_uring is forbidden here: epoll alone"
    kinds=(epoll)
fi
for IO in "${kinds[@]}"; do
    step "$IO: marked both ways"
    rm -rf "$T/server"
    in_ns server nft flush chain ip marks net
    server
    client 1
    spawn iperf server iperf3 -s -B $FAR4
    in_ns server nft reset counters >/dev/null
    in_ns c1 nft reset counters >/dev/null
    pings c1 100 $FAR4
    at_least "marked at the server" "$(packets server in_ect0)" 10
    at_least "marked at the client" "$(packets c1 in_ect0)" 10
    at_least "sent by the server" "$(packets server out_ect0)" 10
    equal "unmarked ones of the client" "$(packets c1 out_plain)" 0
    equal "CE at the server" "$(packets server in_ce)" 0
    flow c1 $FAR4 -t 1

    step "$IO: CE outside, ECT(0) inside"
    ok "a rule" in_ns server nft add rule ip marks net iifname c1 meta l4proto udp ip ecn ect0 \
        numgen random mod 10 0 ip ecn set ce
    in_ns server nft reset counters >/dev/null
    flow c1 $FAR4 -t 1
    pings c1 100 $FAR4 -Q 2
    at_least "CE at the server" "$(packets server in_ce)" 5
    at_least "ECT(0) inside" "$(packets server inner_ect0)" 100
    equal "CE inside" "$(packets server inner_ce)" 0
    in_ns c1 nft reset counters >/dev/null
    pings c1 20 $FAR4
    at_least "still marked" "$(packets c1 out_ect0)" 2

    step "$IO: marks washed off on the way"
    in_ns server nft flush chain ip marks net
    ok "a rule" in_ns server nft add rule ip marks net iifname c1 meta l4proto udp \
        ip ecn set not-ect
    pings c1 50 $FAR4
    in_ns server nft reset counters >/dev/null
    in_ns c1 nft reset counters >/dev/null
    pings c1 100 $FAR4
    equal "marked ones of the client" "$(packets c1 out_ect0)" 0
    at_least "unmarked ones of the client" "$(packets c1 out_plain)" 10
    at_least "marked ones of the server" "$(packets server out_ect0)" 10
    at_least "unmarked inside" "$(packets server inner_plain)" 100
    stop c1
    stop server
    murder iperf
done

step "done"
