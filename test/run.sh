#!/bin/bash
# test/run.sh NAME... - run tests and report them; called by `make check`.
#
# A NAME is a program $O/test/NAME, a fuzz target fuzz/NAME that replays its corpus, or a script
# test/NAME.sh (e2e/..., interop/...). Exit status 0 is a pass, 77 a skip, anything else a failure.
# Programs run two at a time, scripts one at a time. Each may take TEST_TIMEOUT seconds (300;
# scripts 900; more with sanitizers, for coverage and in long runs). Output is kept in $O/log and shown for
# failures. Tests see: O and DEPS (absolute), MQVPN (the program), SEEDS, LONG, SAN, and a PATH
# with the tools of deps/list.

set -u
O=${O:-build} DEPS=${DEPS:-build/deps}
mkdir -p "$O/log"
O=$(cd "$O" && pwd) DEPS=$(cd "$DEPS" && pwd)
MQVPN=$O/mqvpn
export O DEPS MQVPN SAN="${SAN:-}" LONG="${LONG:-}"
if [ -n "${SEEDS:-}" ]; then export SEEDS; else unset SEEDS; fi
unset MAKEFLAGS MFLAGS MAKELEVEL
# shellcheck source=/dev/null
[ ! -f "$DEPS/env.sh" ] || . "$DEPS/env.sh"
export ASAN_OPTIONS=${ASAN_OPTIONS:-abort_on_error=0:detect_leaks=1:detect_stack_use_after_return=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}

passed=0 failed=0 skipped=0
declare -A running=() started=() # of each process: name, start

limit() { # NAME
    local t=300
    case $1 in e2e/* | interop/*) t=900 ;; esac
    [ -z "$SAN${COV:-}" ] || t=$((t * 3))
    [ -z "$LONG" ] || t=$((t * 30))
    echo "${TEST_TIMEOUT:-$t}"
}

log_of() { echo "$O/log/${1//\//_}.log"; }

# In a subshell: becomes the test.
run() { # NAME
    local cmd
    case $1 in
    e2e/* | interop/*) cmd=(bash "test/$1.sh") ;;
    fuzz/*) cmd=("$O/$1" "fuzz/corpus/${1#fuzz/}") ;;
    *) cmd=("$O/test/$1") ;;
    esac
    exec timeout -k 10 "$(limit "$1")" "${cmd[@]}" </dev/null >"$(log_of "$1")" 2>&1
}

report() { # NAME STATUS MILLISECONDS
    local seconds
    seconds=$(printf '%d.%02d s' $(($3 / 1000)) $(($3 % 1000 / 10)))
    case $2 in
    0)
        passed=$((passed + 1))
        printf 'ok    %-36s %10s\n' "$1" "$seconds"
        ;;
    77)
        skipped=$((skipped + 1))
        printf 'skip  %-36s %10s  %s\n' "$1" "$seconds" "$(tail -n 1 "$(log_of "$1")")"
        ;;
    *)
        failed=$((failed + 1))
        [ "$2" != 124 ] && [ "$2" != 137 ] || echo "timed out after $(limit "$1") s" >>"$(log_of "$1")"
        printf 'FAIL  %-36s %10s  exit status %s; its output:\n' "$1" "$seconds" "$2"
        sed 's/^/    /' "$(log_of "$1")"
        ;;
    esac
}

ms() { echo $((${EPOCHREALTIME/./} / 1000)); }

# Wait until at most $1 tests are still running.
wait_for() {
    local pid rc
    while [ ${#running[@]} -gt "$1" ]; do
        wait -n -p pid "${!running[@]}"
        rc=$?
        report "${running[$pid]}" $rc $(($(ms) - ${started[$pid]}))
        unset "running[$pid]"
    done
}

stop() {
    trap - INT TERM
    [ ${#running[@]} = 0 ] || kill "${!running[@]}" 2>/dev/null
    wait
    exit 130
}
trap stop INT TERM

start() {
    run "$1" &
    running[$!]=$1 started[$!]=$(ms)
}

began=$(ms)
for name in "$@"; do
    case $name in e2e/* | interop/*) continue ;; esac
    wait_for 1
    start "$name"
done
wait_for 0
for name in "$@"; do
    case $name in e2e/* | interop/*) ;; *) continue ;; esac
    start "$name"
    wait_for 0
done

[ $# != 0 ] || echo "no test of that name"
echo "logs in ${O#"$PWD"/}/log, $((($(ms) - began) / 1000)) s"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ $((passed + skipped)) != 0 ]
