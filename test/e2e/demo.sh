#!/bin/bash
# demo.sh - `mqvpn` alone: it works, tells of it, and nothing stays, however it ends.
#
#     ┌───────────────── machine ──────────────────┐
#     │ mqvpn   ┌─ near host ─┐    ┌─ far host ─┐  │
#     │         │ client      │────│ server     │  │   both anonymous, inside the program
#     │         └─────────────┘    └────────────┘  │
#     └────────────────────────────────────────────┘
. "$(dirname "$0")/lib.sh"

hosts machine
cp "$MQVPN" "$T/mqvpn" && chmod 755 "$T/mqvpn" "$T" # for a user without rights
cd "$T" || exit 1
remember machine
mounts=$(cat /proc/self/mountinfo)
export TMPDIR=$T/tmp
mkdir "$TMPDIR"
kept() { # whatever a program could have kept
    find "$HOME" "$TMPDIR"
    stat -c '%n %Y' /var/lib/mqvpn 2>/dev/null
}
files=$(kept)

# Other processes in this process namespace, but this shell and its helpers.
others() { grep -l '^mqvpn' /proc/[0-9]*/comm 2>/dev/null; }
none() { [ -z "$(others)" ]; }

clean() { # WHEN
    wait_for 10 "all processes to end, $1" none
    nothing_left "$1" machine
    equal "mounts, $1" "$(grep -v /dev/net/tun /proc/self/mountinfo)" "$mounts"
}
demo() { spawn demo machine "$MQVPN" "$@"; } # OPTIONS

step "without arguments"
demo
ended demo 0 60
said demo 'two hosts in private network namespaces'
said demo 'Nothing on this machine is changed'
equal "flows with every byte intact" "$(grep -c 'every byte intact' demo.log)" 2
said demo 'ping  *idle [0-9.]+ ms'
said demo 'Nothing is left behind'
sed -n '/one TCP flow/,/ping  /p' demo.log
clean "after the demo"

for io in io_uring epoll; do
    [ $io = epoll ] || [ "$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0)" = 0 ] || continue
    step "short, slow link, $io"
    demo --seconds 2 --rate 10 --delay 50 --io $io
    ended demo 0 60
    equal "flows with every byte intact" "$(grep -c 'every byte intact' demo.log)" 2
    clean "after the demo"
done

for signal in INT TERM HUP; do
    step "SIG$signal in the middle"
    demo --seconds 20
    wait_log demo 'Mbit/s   ping' 30
    stop demo $signal $((128 + $(kill -l $signal)))
    said demo 'Interrupted'
    clean "after SIG$signal"
done

step "SIGKILL in the middle"
demo --seconds 20
wait_log demo 'Mbit/s   ping' 30
[ "$(others | wc -l)" -gt 3 ] || fail "fewer processes than expected: $(others)"
murder demo
clean "after SIGKILL"

step "SIGKILL at the start"
for pause in 0.02 0.1 0.3; do
    demo --seconds 20
    sleep $pause
    murder demo
    clean "after SIGKILL at $pause s"
done

# The demo of an ordinary user works where the system allows it, else it says what is missing.
ordinary() {
    spawn demo machine setpriv --reuid=65534 --regid=65534 --clear-groups "$T/mqvpn" --seconds 2
    wait_for 60 "the demo to end" gone demo
    wait "${pid[demo]}"
    case $? in
    0) said demo 'every byte intact' ;;
    2)
        said demo 'run it as root'
        grep 'error: ' demo.log
        ;;
    *) fail "an ordinary user's demo ended otherwise" ;;
    esac
    clean "after an ordinary user"
}
step "a user without rights"
if setpriv --reuid=65534 --regid=65534 --clear-groups "$T/mqvpn" --version >/dev/null 2>&1; then
    ordinary
    if mknod -m 666 "$T/tun" c 10 200 2>/dev/null && mount --bind "$T/tun" /dev/net/tun; then
        echo "   with a TUN device for everybody:"
        ordinary
        umount /dev/net/tun
    fi
else
    echo "   no other user in this namespace"
fi

equal "files at the end" "$(kept)" "$files"
