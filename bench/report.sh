#!/bin/bash
# report.sh FILE... - what bench/e2e.sh, bench/soak.sh and bench/lab.sh printed, as tables and plots.
#
# Writes the parts of docs/benchmarks.md between lines "<!-- NAME: ..." and "<!-- end of NAME -->",
# where NAME is e2e, soak or lab, and nothing else of it; a part of which the files have no line
# stays. And docs/plots/*.png, if there is a gnuplot (`make peers`). A later line for the same
# figure replaces an earlier one, so that parts may come from runs of their own.
#
#   OUT=file PLOTS=folder    other places

set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
OUT=${OUT:-$root/docs/benchmarks.md} PLOTS=${PLOTS:-$(dirname "$OUT")/plots}
DEPS=${DEPS:-$root/build/deps}
# shellcheck source=/dev/null
[ ! -f "$DEPS/env.sh" ] || . "$DEPS/env.sh"
export LC_ALL=C
[ $# != 0 ] || {
    echo "usage: bench/report.sh FILE..." >&2
    exit 2
}
cat -- "$@" >/dev/null
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
trap 'exit 130' INT TERM HUP
mkdir "$T/data"
gnuplot=$(command -v gnuplot-nox || command -v gnuplot || :)
[ -n "$gnuplot" ] || echo "no gnuplot: tables only" >&2

# The tables, and what is to be plotted.
for part in e2e soak lab; do
    cat -- "$@" | awk -v data="$T/data" -v plots="${gnuplot:+${PLOTS##*/}}" \
        -f "$root/bench/tables_$part.awk" >"$T/$part"
done
# Whether there are such figures: those of the laboratory have environments.
grep -hv ' env=' -- "$@" | grep -qE '^(tcp|udp|seg|sweep|clients|rtt|idle|memory) ' || : >"$T/e2e"
grep -qh '^[a-z]* env=' -- "$@" || : >"$T/lab"

### Plots

# draw NAME TITLE X-LABEL Y-LABEL bars|lines|log|loglog|soak
draw() {
    local file=$T/data/$1 style=$5 columns i list=''
    [ -s "$file" ] && [ -n "$gnuplot" ] || return 0
    columns=$(awk 'NR == 1 { print gsub(/" "/, "") }' "$file")
    for ((i = 2; i <= columns + 1; i++)); do
        case $style in
        bars) list+="${list:+, }'$file' using $i:xticlabels(1) title columnheader($i)" ;;
        soak) list+="${list:+, }'$file' using 1:$i with lines lw 2 title columnheader($i)" ;;
        *) list+="${list:+, }'$file' using 1:$i with linespoints lw 2 title columnheader($i)" ;;
        esac
        [ "$style" != soak ] || [ $i -lt 4 ] || list+=" axes x1y2"
    done
    {
        echo "set terminal pngcairo noenhanced size 640,380 font ',10'"
        echo "set output '$PLOTS/$1.png'"
        echo "set title '$2'; set xlabel '$3'; set ylabel '$4'; set grid ytics lt 1 lw 0.5 lc rgb '#cccccc'"
        echo "set key outside bottom center horizontal samplen 2; set yrange [0:*]; set datafile missing '?'"
        echo "set border 3; set tics nomirror"
        case $style in
        bars)
            echo "set style data histograms; set style histogram clustered gap 1"
            echo "set style fill solid 0.8 noborder; set xtics rotate by -30"
            ;;
        log) echo "set logscale x 2" ;;
        loglog) echo "set logscale x 2; set logscale y; set yrange [*:*]; set format x '%.0f'" ;;
        soak) echo "set border 11; set y2tics; set y2range [0:*]; set y2label 'MB'" ;;
        esac
        echo "plot $list"
    } >"$T/plot"
    "$gnuplot" "$T/plot"
}

[ -z "$gnuplot" ] || mkdir -p "$PLOTS"
draw tcp 'One tunnel, TCP' '' 'Mbit/s' bars
draw cost 'CPU of the whole machine' '' 'seconds per GB' bars
draw udp64 '64-byte packets' 'thousand packets a second offered' 'thousand a second that came' lines
draw udp1200 '1200-byte packets' 'thousand packets a second offered' 'thousand a second that came' lines
draw latency 'TCP, one message at a time' 'bytes' 'µs' loglog
draw bandwidth 'TCP' 'bytes a message' 'Mbit/s' loglog
draw udplatency 'UDP, one message at a time' 'bytes' 'µs' loglog
draw messages 'UDP' 'bytes a message' 'thousand messages a second' loglog
draw clients 'Several clients, TCP to the server' 'clients' 'Mbit/s together' lines
draw tcp_links 'One inner TCP flow' '' '% of the sum of the links alone' bars
draw quic_links 'One inner QUIC flow' '' '% of the sum of the links alone' bars
draw streams 'Inner TCP flows by scheduler' 'flows' 'Mbit/s together' log
draw cuts 'A link is cut, and comes back' 'seconds after the cut' 'Mbit/s' lines
draw soak 'Both directions at once' 'minutes' 'Mbit/s' soak

### Into the page

[ -f "$OUT" ] || : >"$OUT"
for part in e2e soak lab; do
    [ -s "$T/$part" ] || continue
    begin="<!-- $part: written by bench/report.sh, do not edit -->"
    grep -q "^<!-- $part" "$OUT" || printf '\n%s\n%s\n' "$begin" "<!-- end of $part -->" >>"$OUT"
    awk -v tables="$T/$part" -v begin="$begin" -v part="$part" '
        $0 ~ "^<!-- " part { print begin "\n"; while ((getline line < tables) > 0) print line; skip = 1 }
        $0 ~ "^<!-- end of " part { skip = 0 }
        !skip' "$OUT" >"$T/page"
    cat "$T/page" >"$OUT"
done
echo "$OUT"
