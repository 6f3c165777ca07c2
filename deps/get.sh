#!/bin/sh
# deps/get.sh STAGE - make what deps/list names ready below $DEPS (default build/deps).
#
# STAGE is `build` (what the program needs), `check` (that, and what its tests need) or `bench`
# (only what bench/e2e.sh and bench/report.sh can use beside those).
#
# A library is looked for in this order: below $DEPS_PREFIX if that was ever given; built here
# earlier; the system's static archive; a Debian source package, of this release if that is new
# enough, else of a following one, built static; the static archive of a binary package; and
# last a shared object, the system's or unpacked. Everything happens below $DEPS and nothing
# needs root. apt is used with a configuration of its own made from the machine's sources, so
# that mirrors, proxies and credentials set up there keep working.
#
# Leaves behind
#   include/ lib/              what was built here
#   flags/NAME.{cflags,libs}   compiler arguments for each library, used as @FILE
#   flags/build.cflags         those of all libraries of the build stage together
#   tools/bin/                 programs for the tests, where the system has none
#   prefix                     the last $DEPS_PREFIX
#   env.sh                     PATH for the tests; sourced from the root
#   log/                       what each step printed
#   stamp/NAME                 says what was done for NAME, and from which recipe

set -eu
export LC_ALL=C
umask 022
stage=${1:?usage: deps/get.sh build|check|bench}

# Nothing of the caller's own build may leak into those below.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL MAKEFILES O V CC CXX AR CFLAGS CXXFLAGS CPPFLAGS \
    LDFLAGS LDLIBS CROSS_COMPILE PREFIX DESTDIR PERL5LIB APT_CONFIG

here=$(cd "$(dirname "$0")" && pwd)
: "${DEPS:=$here/../build/deps}" "${DEPS_PREFIX:=}"
mkdir -p "$DEPS"
DEPS=$(cd "$DEPS" && pwd)
cd "$DEPS"
mkdir -p include lib flags stamp log src tools/bin
list=$here/list
[ -n "$DEPS_PREFIX" ] || DEPS_PREFIX=$(cat prefix 2>/dev/null) || :

# The release that follows each one, for what is too old in it.
next_release() {
    case $1 in
    bullseye) echo bookworm ;;
    bookworm) echo trixie ;;
    jammy) echo noble ;;
    noble) echo resolute ;;
    esac
}

### Messages

now() { date +%s; }
say() { echo "deps: $*"; }
warn() { echo "deps: $*" >&2; }

# What to install by hand, from the list itself.
give_up() {
    warn "$*"
    need=$(awk '$1 == "lib" && ($3 == "build" || stage == "check") { printf " %s", $7 }' \
        stage="$stage" "$list")
    cat >&2 <<END

The logs are in $DEPS/log. To provide the libraries yourself, either
  - on Debian 13 or newer: apt-get install$need
  - or set DEPS_PREFIX=/path, where include/ and lib/ hold OpenSSL >= 3.5, liburing >= 2.9,
    libmnl, inih and, for the tests, cmocka.
To let this script build them it needs apt with working sources, and
  apt-get install gcc make perl dpkg-dev patch xz-utils
END
    exit 1
}

ticker=
stop_ticker() {
    [ -z "$ticker" ] || kill "$ticker" 2>/dev/null || :
    ticker=
}
trap stop_ticker EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# step TEXT LOG COMMAND...: run COMMAND with its output in log/LOG, showing that time passes.
step() {
    text=$1 log=$DEPS/log/$2 began=$(now)
    shift 2
    (
        while sleep 10 >/dev/null 2>&1; do
            say "$text ... $(($(now) - began)) s"
        done
    ) 9>&- &
    ticker=$!
    rc=0
    echo "+ $*" >>"$log"
    "$@" </dev/null >>"$log" 2>&1 || rc=$?
    stop_ticker
    case $rc:$text in
    0:*) say "$text: $(($(now) - began)) s" ;;
    *:*download) say "$text: not to be had, trying another way" ;;
    *) say "$text: failed after $(($(now) - began)) s, see $log" ;;
    esac
    return $rc
}

### apt, private

codename=$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-}") || codename=

# The machine's own archives, one "URI SUITE" a line. Read from what apt would fetch rather than
# from its lists, since a fresh machine has none.
archives() {
    mkdir -p apt/none/partial
    apt-get update --print-uris -o "Dir::State::Lists=$DEPS/apt/none" -o Debug::NoLocking=1 |
        sed -n "s,^'\(.*\)/dists/\([^/]*\)/\(main\|universe\)/binary-.*,\1 \2 \3,p" | sort -u
}

# The keyrings that those archives are signed by: those trusted for all, and those that the
# sources name.
link_keys() { # FOLDER
    etc=/etc/apt parts='' file=''
    eval "$(apt-config shell etc Dir::Etc/d parts Dir::Etc::trustedparts/d \
        file Dir::Etc::trusted/f)"
    mkdir -p "$1"
    {
        ls "$parts"/* "$file" || :
        sed -n 's/^[^#]*[Ss]igned-[Bb]y[:=] *\(\/[^] ]*\).*/\1/p' \
            "$etc/sources.list" "$etc"/sources.list.d/*.list "$etc"/sources.list.d/*.sources |
            tr , '\n'
    } 2>/dev/null | sort -u | while read -r key; do
        [ -r "$key" ] || continue
        # apt goes by the suffix.
        suffix=gpg
        ! head -n 1 "$key" | grep -q BEGIN || suffix=asc
        ln -sf "$key" "$1/$(echo "$key" | cksum | cut -d' ' -f1).$suffix"
    done
}

# apt_ready KIND RELEASE: an apt folder apt/KIND-RELEASE with a fresh index. KIND is src (source
# packages of RELEASE) or bin (binary packages of this release).
# Sets $conf to its configuration.
apt_ready() {
    dir=$DEPS/apt/$1-$2
    conf=$dir/apt.conf
    # Its configuration names this folder, which may have been moved.
    ! grep -qs "^Dir::State \"$dir/state\"" "$conf" ||
        [ -z "$(find "$dir/ready" -mmin -720 2>/dev/null)" ] || return 0
    # Not twice in one run.
    case " $no_index " in *" $1-$2 "*) return 1 ;; esac
    command -v apt-get >/dev/null && [ -n "$2" ] && make_index "$1" "$2" && return 0
    no_index="$no_index $1-$2"
    return 1
}
no_index=

make_index() { # KIND RELEASE
    rm -rf "$dir"
    mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial" "$dir/parts"
    link_keys "$dir/keys"
    archives | while read -r uri suite component; do
        case $suite in
        "$codename" | stable | oldstable | oldoldstable | testing | unstable | sid) new=$2 ;;
        "$codename-security" | *stable-security | testing-security) new=$2-security ;;
        "$codename-updates" | *stable-updates) new= ;;
        *) continue ;;
        esac
        [ "$2" != "$codename" ] || new=$suite
        case $1:$new in
        *:) ;;
        src:*) echo "deb-src $uri $new $component" ;;
        bin:*) echo "deb $uri $new $component" ;;
        esac
    done | sort -u >"$dir/sources.list"
    [ -s "$dir/sources.list" ] || return 1
    status=/var/lib/dpkg/status
    eval "$(apt-config shell status Dir::State::status/f)"
    cat >"$conf" <<END
Dir::Etc::sourcelist "$dir/sources.list";
Dir::Etc::sourceparts "$dir/parts";
Dir::Etc::preferences "$dir/none";
Dir::Etc::preferencesparts "$dir/parts";
Dir::Etc::trusted "/dev/null";
Dir::Etc::trustedparts "$dir/keys";
Dir::State "$dir/state";
Dir::State::lists "$dir/state/lists";
Dir::State::status "$status";
Dir::Cache "$dir/cache";
Dir::Cache::archives "$dir/cache/archives";
Acquire::Languages "none";
Acquire::Retries "2";
APT::Sandbox::User "root";
APT::Get::Assume-Yes "true";
APT::Install-Recommends "false";
Debug::NoLocking "true";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
APT::Architectures { "$(dpkg --print-architecture)"; };
END
    step "index of $2 $1 packages" apt.log update_index && : >"$dir/ready"
}

# One archive of several may fail; what matters is whether there is any index.
update_index() {
    apt-get -c "$conf" update || :
    [ -n "$(find "$dir/state/lists" -name '*Sources*' -o -name '*Packages*')" ]
}

# unpack_binaries FOLDER PACKAGE...: unpack packages and what they depend on, as far as the
# system does not have it, below FOLDER.
unpack_binaries() {
    into=$1
    shift
    apt_ready bin "$codename" || return 1
    rm -rf "$into" "$into.new" "$into.debs"
    mkdir -p "$into.new" "$into.debs/partial"
    step "$*: download" tools.log apt-get -c "$conf" -q -o "Dir::Cache::archives=$into.debs" \
        --download-only install "$@" || return 1
    for deb in "$into.debs"/*.deb; do
        [ -f "$deb" ] || continue
        pkg=$(dpkg-deb -f "$deb" Package)
        case $(dpkg-query -W -f '${db:Status-Status}' "$pkg" 2>/dev/null) in
        installed) continue ;;
        esac
        dpkg-deb -x "$deb" "$into.new" >>log/tools.log 2>&1 || return 1
    done
    rm -rf "$into.debs"
    mv "$into.new" "$into"
}

### Libraries

CC=
for c in clang gcc cc; do
    ! command -v $c >/dev/null || CC=$c
done
[ -n "$CC" ] || give_up "no C compiler"
export CC
jobs=$(nproc 2>/dev/null || echo 2)

# try_library NAME CFLAGS LIBS: does the probe compile, link and run? Then these are the flags.
try_library() {
    {
        echo "+ $1: '$2' '$3'"
        # shellcheck disable=SC2086
        $CC -Werror=implicit-function-declaration $2 "$here/recipe/$1.c" -o "src/probe-$1" $3 && "src/probe-$1" </dev/null
    } >>"log/$1.log" 2>&1 || return 1
    rm -f "src/probe-$1"
    # Relative to $DEPS where possible: the Makefile names $DEPS/include and $DEPS/lib itself.
    echo "$2" | sed "s,-I$DEPS/include,," >"flags/$1.cflags"
    echo "$3" | sed "s,-L$DEPS/lib,," >"flags/$1.libs"
}

as_static() { for a in $(echo "$1" | tr , ' '); do printf ' %s' "-l:$a"; done; }
as_shared() { echo "$1" | sed 's/lib\([^,]*\)\.a/-l\1/g; s/,/ /g'; }
system_cflags() { pkg-config --cflags "$1" 2>/dev/null || :; }

# try_static NAME ARCHIVES CFLAGS PATHS: link with archives; some distributions' OpenSSL was
# built to use zlib and zstd too.
try_static() {
    try_library "$1" "$3" "$4 $(as_static "$2") -ldl -pthread" ||
        { [ "$1" = openssl ] &&
            try_library "$1" "$3" "$4 $(as_static "$2,libz.a,libzstd.a") -ldl -pthread"; }
}

try_prefix() { # NAME ARCHIVES
    for p in lib lib64 "lib/$(uname -m)-linux-gnu"; do
        [ -d "$DEPS_PREFIX/$p" ] || continue
        ! try_static "$1" "$2" "-I$DEPS_PREFIX/include" "-L$DEPS_PREFIX/$p" || return 0
        ! try_library "$1" "-I$DEPS_PREFIX/include" \
            "-L$DEPS_PREFIX/$p -Wl,-rpath,$DEPS_PREFIX/$p $(as_shared "$2")" || return 0
    done
    return 1
}

# dpkg-source, patch and xz: the system's, or unpacked like the other tools.
dpkg_source() {
    tree=$DEPS/tools/dpkg-dev
    env PATH="$PATH:$tree/usr/bin" PERL5LIB="$tree/usr/share/perl5" dpkg-source "$@"
}
have_dpkg_source() {
    tree=$DEPS/tools/dpkg-dev
    for c in dpkg-source patch xz; do
        [ -n "$(PATH=$PATH:$tree/usr/bin command -v $c)" ] || return 1
    done
}

# get_source NAME SOURCE MINIMUM FOLDER: unpack the newest version that can be had of SOURCE, of
# the first release that has MINIMUM, in FOLDER/source. Sets $version.
get_source() {
    release=$codename
    if [ -f "$4/unpacked" ]; then
        version=$(cat "$4/unpacked")
        return 0
    fi
    while [ -n "$release" ]; do
        ! get_source_of "$release" "$@" || return 0
        # An index from earlier may name what has been replaced since.
        if [ -n "$(find "apt/src-$release/ready" -mmin +10 2>/dev/null)" ]; then
            rm -f "apt/src-$release/ready"
            ! get_source_of "$release" "$@" || return 0
        fi
        release=$(next_release "$release")
    done
    return 1
}

get_source_of() { # RELEASE, and as above
    apt_ready src "$1" || return 1
    sources=$conf
    # A version that the index names may be gone already: then the next older one.
    for version in $(apt-cache -c "$sources" showsrc --only-source "$3" 2>/dev/null |
        sed -n 's/^Version: //p' | sort -ruV); do
        dpkg --compare-versions "$version" ge "$4" || continue
        # The upstream archive of another revision is kept: it often is the same.
        rm -rf "$5/source" "$5"/*.dsc
        mkdir -p "$5"
        cd "$5"
        step "$2 $version ($1): download" "$2.log" \
            apt-get -c "$sources" -q --only-source --download-only source "$3=$version" || {
            cd "$DEPS"
            continue
        }
        cd "$DEPS"
        have_dpkg_source || unpack_binaries "$DEPS/tools/dpkg-dev" dpkg-dev patch xz-utils || :
        # apt has checked the files against the signed index.
        step "$2 $version: unpack" "$2.log" \
            dpkg_source --no-check -x "$5"/*.dsc "$5/source" || continue
        echo "$version" >"$5/unpacked"
        return 0
    done
    return 1
}

build_library() { # NAME SOURCE MINIMUM ARCHIVES SIGNATURE
    command -v make >/dev/null || return 1
    work=$DEPS/src/$1-$5
    get_source "$1" "$2" "$3" "$work" || return 1
    built=$version
    cd "$work/source"
    rc=0
    step "$1 $version: build" "$1.log" sh -eu "$here/recipe/$1.sh" "$work/prefix" "$jobs" || rc=1
    cd "$DEPS"
    [ $rc = 0 ] && adopt_static "$1" "$4" "$work/prefix"
}

# adopt_static NAME ARCHIVES TREE: if TREE's include/ and lib/ are good, copy them to our own.
adopt_static() {
    try_static "$1" "$2" "-I$3/include" "-L$3/lib" || return 1
    copy_tree "$1" "$3"
    try_static "$1" "$2" "-I$DEPS/include" "-L$DEPS/lib"
}

# What was copied for each library is remembered, so that it does not linger when the library
# comes from somewhere else later.
copy_tree() { # NAME TREE
    (cd "$2" && find include lib ! -type d) >>"stamp/$1.files"
    cp -RP "$2/include" "$2/lib" .
}
forget_tree() { # NAME
    [ ! -f "stamp/$1.files" ] || while read -r file; do rm -f "$file"; done <"stamp/$1.files"
    rm -f "stamp/$1.files"
}

# unpack_package PACKAGE MINIMUM RELEASE FOLDER LOG: unpack one binary package, without what it
# depends on. Sets $built to its version.
unpack_package() {
    apt_ready bin "$3" || return 1
    built=$(apt-cache -c "$conf" show --no-all-versions "$1" 2>/dev/null |
        sed -n 's/^Version: //p' | head -n 1)
    [ -n "$built" ] && dpkg --compare-versions "$built" ge "$2" || return 1
    rm -rf "$4"
    mkdir -p "$4"
    cd "$4"
    rc=0
    step "$1 $built ($3): download" "$5" apt-get -c "$conf" -q download "$1=$built" &&
        dpkg-deb -x "$1"_*.deb . || rc=1
    cd "$DEPS"
    return $rc
}

# For when no source can be had: the static archive in the development package, of this release
# or a following one, if it links with this machine's libc.
unpack_library() { # NAME PACKAGE MINIMUM ARCHIVES
    release=$codename work=$DEPS/src/$1-binary
    while [ -n "$release" ]; do
        if unpack_package "$2" "$3" "$release" "$work" "$1.log"; then
            tree_of_package "$work" '*.a'
            ! adopt_static "$1" "$4" "$work/prefix" || return 0
        fi
        release=$(next_release "$release")
    done
    return 1
}

# The shared object of the binary package, for want of anything better: the program then needs
# this folder where it runs.
unpack_shared() { # NAME PACKAGE ARCHIVES
    work=$DEPS/src/$1-shared
    unpack_binaries "$work" "$2" || return 1
    tree_of_package "$work" 'lib*.so*'
    # What is installed already was not unpacked.
    for link in "$work"/prefix/lib/*.so; do
        target=$(readlink "$link") || continue
        [ -e "$link" ] || cp "$($CC -print-file-name="${target##*/}")" "$work/prefix/lib/" || return 1
    done
    copy_tree "$1" "$work/prefix"
    try_library "$1" "-I$DEPS/include" "-L$DEPS/lib -Wl,-rpath,$DEPS/lib $(as_shared "$3")"
}

# tree_of_package FOLDER PATTERN: FOLDER/prefix with include/, and in lib/ what matches.
tree_of_package() {
    mkdir -p "$1/prefix/lib"
    cp -R "$1/usr/include" "$1/prefix/"
    for d in "$1"/prefix/include/*-linux-gnu*; do
        [ ! -d "$d" ] || { cp -R "$d/." "$1/prefix/include/" && rm -rf "$d"; }
    done
    find "$1/usr/lib" -name "$2" ! -type d -exec cp -P {} "$1/prefix/lib/" \;
}

# Some distributions build OpenSSL to use zlib and zstd, and do not demand them beside its
# static archive.
system_openssl() { # NAME ARCHIVES
    [ "$1" = openssl ] && try_library "$1" "$(system_cflags "$1")" "$(as_shared "$2")" || return 1
    for pair in libz.a:zlib1g-dev libzstd.a:libzstd-dev; do
        case $($CC -print-file-name="${pair%:*}") in */*) continue ;; esac
        work=$DEPS/src/${pair#*:}
        unpack_package "${pair#*:}" 0 "$codename" "$work" "$1.log" || return 1
        tree_of_package "$work" "${pair%:*}"
        rm -rf "$work"/prefix/include/*
        copy_tree "$1" "$work/prefix"
    done
    try_static "$1" "$2" "$(system_cflags "$1")" "-L$DEPS/lib"
}

library() { # NAME MINIMUM SOURCE ARCHIVES PACKAGE
    signature=$({
        echo "$DEPS_PREFIX $*"
        cat "$here/recipe/$1.c" "$here/recipe/$1.sh"
    } | cksum | cut -d' ' -f1)
    ! grep -qs "^$signature " "stamp/$1" || return 0
    rm -f "stamp/$1" "log/$1.log"
    forget_tree "$1"
    if [ -n "$DEPS_PREFIX" ] && try_prefix "$1" "$4"; then
        how="from $DEPS_PREFIX"
    elif try_static "$1" "$4" "$(system_cflags "$1")" ""; then
        how="the system's"
    elif system_openssl "$1" "$4"; then
        how="the system's, static"
    elif build_library "$1" "$3" "$2" "$4" "$signature"; then
        how="built here, $built"
    elif unpack_library "$1" "$5" "$2" "$4"; then
        how="from the binary package, $built"
    elif try_library "$1" "$(system_cflags "$1")" "$(as_shared "$4")"; then
        how="the system's, shared"
    elif unpack_shared "$1" "$5" "$4"; then
        how="from the binary package, shared"
    else
        give_up "no $1 >= $2: the system has none, and none could be built"
    fi
    case $DEPS_PREFIX:$how in
    :* | *:"from $DEPS_PREFIX") ;;
    *) warn "$1: none in $DEPS_PREFIX is good enough, see $DEPS/log/$1.log" ;;
    esac
    say "$1: $how"
    rm -rf "src/$1"-*
    echo "$signature $how" >"stamp/$1"
}

libraries() { # STAGE
    while read -r kind name of minimum source archives package; do
        [ "$kind-$of" = "lib-$1" ] || continue
        # Not on standard input: that is the list.
        library "$name" "$minimum" "$source" "$archives" "$package" \
            </dev/null
    done <"$list"
}

### Tools

find_program() { PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin command -v "$1" >/dev/null; }

# usable TREE FILE: is it there, with all that it needs?
usable() {
    found=$(find "$1" -name "${2##*/}" -path "*$2" \( -type f -o -type l \) 2>/dev/null | head -n 1)
    [ -n "$found" ] &&
        ! LD_LIBRARY_PATH=$(library_path "$1") ldd "$found" | grep 'not found' >>log/tools.log
}

# Library folders of an unpacked tree, as a colon-separated list.
library_path() {
    find "$1" \( -name '*.so' -o -name '*.so.*' \) -exec dirname {} \; 2>/dev/null | sort -u |
        tr '\n' : | sed 's/:$//'
}

tool() { # COMMAND PACKAGE
    ! find_program "$1" || return 0
    wrap "$1" "$2" || { unpack_binaries "$DEPS/tools/$2" "$2" && wrap "$1" "$2"; }
}

# A wrapper in tools/bin, so that the tool's libraries are in nobody else's way.
wrap() { # COMMAND PACKAGE
    tree=$DEPS/tools/$2 program=
    for d in usr/bin usr/sbin bin sbin; do
        [ ! -x "$tree/$d/$1" ] || program=$d/$1
    done
    [ -n "$program" ] || return 1
    usable "$tree" "/$program" || return 1
    path=$(library_path "$tree")
    cat >"tools/bin/$1" <<END
#!/bin/sh
t=\$(dirname "\$0")/../$2
LD_LIBRARY_PATH=$(echo "$path" | sed "s,$tree,\$t,g") exec "\$t/$program" "\$@"
END
    chmod +x "tools/bin/$1"
}

# A program that needs nothing but libc, of this release or a following one. The package's version
# is kept beside it.
newer_tool() { # COMMAND PACKAGE MINIMUM
    [ ! -x "tools/bin/$1" ] || [ ! -f "tools/$2/version" ] || return 0
    release=$codename
    while [ -n "$release" ]; do
        unpack_package "$2" "$3" "$release" "$DEPS/tools/$2" tools.log && wrap "$1" "$2" &&
            echo "$built" >"tools/$2/version" && return 0
        release=$(next_release "$release")
    done
    return 1
}

tools() { # KIND WHO
    while read -r kind name package minimum _; do
        [ "$kind" = "$1" ] || continue
        case $minimum in
        '') tool "$name" "$package" </dev/null ;;
        *) newer_tool "$name" "$package" "$minimum" </dev/null ;;
        esac || warn "no $name ($package): $2"
    done <"$list"
}

write_env() {
    cat >env.sh <<END
# Sourced from the root of the tree, or with DEPS set.
: "\${DEPS:=\$PWD/build/deps}"
PATH=\$DEPS/tools/bin:\$PATH:/usr/local/sbin:/usr/sbin:/sbin
export PATH
END
}

### Main

# One at a time; a second caller waits and then finds the work done.
if command -v flock >/dev/null; then
    exec 9>lock
    flock -n 9 || {
        say "waiting for another deps/get.sh to finish"
        flock 9
    }
fi

if [ "$stage" = bench ]; then
    tools peer "the benchmarks go without it"
    rm -rf apt
    exit 0
fi
echo "$DEPS_PREFIX" >prefix
libraries build
awk '$1 == "lib" && $3 == "build" { print "flags/" $2 ".cflags" }' "$list" | xargs cat |
    tr -s ' \n' '\n' | awk 'NF && !seen[$0]++' >flags/build.cflags
if [ "$stage" = check ]; then
    libraries check
    tools tool "the tests that use it will be skipped"
    write_env
    rm -rf apt
fi
