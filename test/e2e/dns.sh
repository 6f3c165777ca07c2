#!/bin/bash
# dns.sh - --dns is applied, and taken back to the last byte, however the client ends.
#
#     ┌──────── c1 ─────────┐                      ┌────── server ───────┐
#     │  eth0 172.31.1.2    │────────veth──────────│  c1 172.31.1.1      │
#     │  mqvpn0             │~~~~~~~ tunnel ~~~~~~~│  mqvpn0 10.0.0.1    │
#     └─────────────────────┘                      └─────────────────────┘
#
# /etc is a copy that only this test sees. resolv.conf there is an ordinary file, a symbolic
# link, or a bind mount as in containers.
. "$(dirname "$0")/lib.sh"

mkdir "$T/etc"
cp -a /etc/. "$T/etc/" 2>/dev/null # not all files are for all eyes
ok "private /etc" mount --bind "$T/etc" /etc
R=/etc/resolv.conf

stage 1
server

# Everything that can be told of the file and of its neighbours.
TIME=%Y
look() {
    find /etc -maxdepth 1 -name 'resolv*' | sort
    stat -c "%n %F %a %u %g %s $TIME %i %N" $R
    stat -L -c "%F %a %u %g %s $TIME %i" $R
    cat $R
}
original() { look >"$T/look.before"; }
restored() { # WHEN
    look >"$T/look.after"
    diff -u "$T/look.before" "$T/look.after" || fail "resolv.conf is not as before, $1"
}
applied() { # SERVER...
    local s
    for s; do
        grep -qx "nameserver $s" $R || fail "no nameserver $s in resolv.conf: $(cat $R)"
    done
    equal "name servers" "$(grep -c '^nameserver' $R)" $#
}

# All ways to end, with the file as it is.
ways() { # KIND
    step "$1: SIGTERM"
    original
    client 1 --dns 10.0.0.1 --dns fd6d:7176:706e::1
    applied 10.0.0.1 fd6d:7176:706e::1
    stop c1
    restored "after SIGTERM, $1"

    step "$1: SIGINT"
    client 1 --dns 10.0.0.1
    applied 10.0.0.1
    stop c1 INT
    restored "after SIGINT, $1"

    step "$1: SIGKILL and the next start"
    client 1 --dns 10.0.0.1
    applied 10.0.0.1
    murder c1
    client 1
    restored "after SIGKILL and the next start, $1"
    stop c1
    restored "after all, $1"
}

rm -f $R
printf '# by hand\nsearch example.org\nnameserver 172.31.1.1\noptions edns0' >$R
chmod 640 $R
ways "ordinary file"

step "another program writes it meanwhile: its text stays"
client 1 --dns 10.0.0.1
printf 'nameserver 172.31.1.9\n' >"$R.new"
mv "$R.new" $R
stop c1
equal "resolv.conf" "$(cat $R)" "nameserver 172.31.1.9"
equal "files beside it" "$(find /etc -maxdepth 1 -name 'resolv*')" $R

rm -f $R
printf 'nameserver 172.31.1.1\n' >"$T/etc/real-resolv.conf"
ln -s real-resolv.conf $R
ways "symbolic link"

rm -f $R "$T/etc/real-resolv.conf"
printf 'nameserver 172.31.1.2\n' >"$T/bound"
: >$R
ok "bind mount" mount --bind "$T/bound" $R
TIME='' # written in place
ways "bind mount"
umount $R

step "two instances: the second is refused, the first goes on"
rm -f $R
printf 'nameserver 172.31.1.1\n' >$R
original
client 1 --dns 10.0.0.1
spawn second c1 "$MQVPN" client 172.31.1.1 --state-dir "$T/second" --pin "$PIN" \
    --auth-key-file "$T/key" --tun-name mqvpn9 --no-manage-routes --dns 10.0.0.1 --no-reconnect
wait_for 20 "the second to end" gone second
said second 'resolv.conf'
applied 10.0.0.1
stop c1
restored "after two instances"

stop server
[ -z "$(ls /run/mqvpn 2>/dev/null)" ] || fail "a journal stays in /run/mqvpn"
