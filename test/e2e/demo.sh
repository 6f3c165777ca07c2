#!/bin/bash
# demo.sh - `mqvpn` alone: it works, tells of it, and nothing stays, however it ends.
#
#     ┌────────────────── machine ───────────────────┐
#     │ mqvpn   ┌─ near host ─┐      ┌─ far host ─┐  │
#     │         │ client      │──A───│ server     │  │   both anonymous, inside the program
#     │         │             │──B───│            │  │
#     │         └─────────────┘      └────────────┘  │
#     └──────────────────────────────────────────────┘
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

# Over which links each part went: as many as ROWS say, and in none of them more than it could.
parts() { # ROW...
    local row
    for row; do
        grep -E "^  $row  +[0-9.]+ +[0-9]+ %" demo.log >/dev/null || fail "nothing was measured in \"$row\""
    done
    [ "$(wc -L <demo.log)" -le 100 ] || fail "a line is too long"
}
share() { # ROW LINK: per cent
    awk -v row="$1" -v column=$(($2 + 1)) 'index($0, "  " row) == 1 { sub(row, ""); n = split($0, w, "%")
        split(w[column], v, " "); print v[1]; exit }' demo.log
}

step "without arguments"
demo
ended demo 0 60
said demo 'two hosts in private network namespaces'
said demo 'Nothing on this machine is'
parts "A alone" "B alone" "A [+] B" "A is cut" "A back"
equal "the share of A, alone" "$(share 'A alone' 1)" 100
equal "the share of B, alone" "$(share 'B alone' 2)" 100
[ "$(share 'A is cut' 2)" -ge 90 ] || fail "B does not carry what A did"
said demo 'MB in all, every byte intact; [0-9]+ of [0-9]+ pings answered, in [0-9.]+ ms when idle'
said demo 'times the better one alone'
said demo 'Nothing is left behind'
sed -n '/one TCP flow/,/MB in all/p' demo.log
clean "after the demo"

for io in io_uring epoll; do
    [ $io = epoll ] || [ "$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0)" = 0 ] || continue
    step "short, slow link, $io"
    demo --seconds 5 --rate 10 --delay 50 --io $io
    ended demo 0 60
    said demo 'every byte intact'
    clean "after the demo"
done

for signal in INT TERM HUP; do
    step "SIG$signal in the middle"
    demo --seconds 20
    wait_log demo 'Mbit/s  A .*ping' 30
    stop demo $signal $((128 + $(kill -l $signal)))
    said demo 'Interrupted'
    clean "after SIG$signal"
done

step "SIGKILL in the middle"
demo --seconds 20
wait_log demo 'Mbit/s  A .*ping' 30
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
    spawn demo machine setpriv --reuid=65534 --regid=65534 --clear-groups "$T/mqvpn" --seconds 3
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
