#!/bin/bash
# tunnel.sh - one client, one server, real packets both ways, and nothing left afterwards.
#
#     ┌──────── c1 ─────────┐                      ┌────── server ───────┐
#     │  eth0 172.31.1.2    │────────veth──────────│  c1 172.31.1.1      │
#     │       fd00:31:1::2  │                      │     fd00:31:1::1    │
#     │  mqvpn0 10.0.0.2    │~~~~~~~ tunnel ~~~~~~~│  mqvpn0 10.0.0.1    │
#     │  fd6d:7176:706e::2  │                      │  fd6d:7176:706e::1  │
#     └─────────────────────┘                      └─────────────────────┘
#
# Once for each way to talk to the kernel (--io), and once packet by packet (--offload off).
. "$(dirname "$0")/lib.sh"

FAR4=10.0.0.1 FAR6=fd6d:7176:706e::1

# The largest packet passes, one byte more is told to its sender.
packet_sizes() { # NS ADDR HEADERS MTU OPTIONS
    local out
    pings "$1" 5 "$2" -M "do" -s $(($4 - $3)) "${@:5}"
    out=$(in_ns "$1" ping -c 2 -i 0.2 -W 1 -M "do" -s $(($4 - $3 + 1)) "${@:5}" "$2" 2>&1) &&
        fail "$1: a packet of $4 + 1 bytes passed"
    case ${out,,} in
    *"message too long"* | *"frag needed"* | *"packet too big"*) ;;
    *) fail "$1: nothing told of a packet of $4 + 1 bytes: $out" ;;
    esac
}

# The tunnel's MTU once it no longer grows.
settled_mtu() {
    local now before=
    for _ in {1..40}; do
        now=$(ip -n c1 -o link show mqvpn0 | sed 's/.* mtu \([0-9]*\).*/\1/')
        [ "$now" != "$before" ] || break
        before=$now
        sleep 1
    done
    echo "$now"
}

stage 1
remember c1 server

kinds=(io_uring epoll offloads_off)
if [ "$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0)" != 0 ]; then
    echo "io_uring is forbidden here: epoll alone"
    kinds=(epoll offloads_off)
fi
for kind in "${kinds[@]}"; do
    IO=$kind options=()
    [ "$kind" != offloads_off ] || IO=auto options=(--offload off)
    step "$kind: tunnel"
    rm -rf "$T/server" # with the leases of the last time
    # The MTU is more than the path carries: the tunnel itself must tell of it.
    server --mtu 1500 "${options[@]}"
    client 1 "${options[@]}"
    [ "$IO" = auto ] || said server "$IO"
    said c1 "tunnel is up: mqvpn0, MTU [0-9]+"
    [ "$IO" = auto ] || said c1 "MTU [0-9]+, $IO"
    near4=$(inner 1 4) near6=$(inner 1 6)
    equal "inner IPv4 address" "$near4" 10.0.0.2
    equal "inner IPv6 address" "$near6" fd6d:7176:706e::2

    step "$kind: ping"
    pings c1 200 $FAR4
    pings c1 200 $FAR6
    pings server 200 "$near4"
    pings server 200 "$near6"

    step "$kind: packet sizes"
    mtu=$(settled_mtu)
    [ "$mtu" -ge 1280 ] || fail "MTU $mtu"
    packet_sizes c1 $FAR4 28 "$mtu"
    packet_sizes c1 $FAR6 48 "$mtu"
    packet_sizes server "$near4" 28 "$mtu"
    packet_sizes server "$near6" 48 "$mtu"
    pings c1 5 $FAR4 -s 4000 # in fragments
    pings server 5 "$near6" -s 4000

    step "$kind: iperf3"
    spawn iperf server iperf3 -s --forceflush
    wait_log iperf 'Server listening'
    for far in $FAR4 $FAR6; do
        flow c1 "$far" -t 1
        flow c1 "$far" -t 1 -R
        flow c1 "$far" -t 1 -u -b 20M -l 1200
        flow c1 "$far" -t 1 -u -b 20M -l 1200 -R
    done
    flow c1 $FAR4 -t 1 -P 4 --bidir
    kill "${pid[iperf]}"
    wait_for 5 "iperf3 to end" gone iperf

    step "$kind: memory"
    for name in server c1; do
        rss=$(sed -n 's/VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/${pid[$name]}/status")
        echo "   $name: $rss kB resident"
        [ -n "${SAN:-}" ] || [ "$rss" -lt 20000 ] || fail "$name has $rss kB resident"
    done

    step "$kind: leaving"
    stop c1
    stop server
    nothing_left "after $IO" c1 server
done
