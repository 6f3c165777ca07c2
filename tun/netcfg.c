#include "tun/netcfg.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tun/netcfg_int.h"

#define REASON_MAX 192

/* The pauses in which a new IPv6 address is waited for: the first, and one that is too long. */
#define LOCAL_PAUSE_US    100
#define LOCAL_PATIENCE_US 200000 /* a second in all */

int netcfg_new(struct netcfg **out, const struct netcfg_journal *journal, char *why,
               size_t why_size)
{
    struct netcfg *nc = calloc(1, sizeof(*nc));
    int err;

    if (!nc)
        return why_set(why, why_size, -ENOMEM, "out of memory");
    err = netlink_open(&nc->nl, NETLINK_ROUTE);
    if (err) {
        free(nc);
        return why_set(why, why_size, err, "can't talk to the kernel by netlink: %s",
                       strerror(-err));
    }
    if (journal)
        nc->journal = *journal;
    *out = nc;
    return 0;
}

void netcfg_del(struct netcfg *nc)
{
    if (!nc)
        return;
    netcfg_undo(nc, NULL, 0);
    netlink_close(&nc->nl);
    free(nc->changes);
    free(nc);
}

size_t netcfg_changes(const struct netcfg *nc)
{
    return nc->n;
}

void netcfg_own_link(struct netcfg *nc, int ifindex)
{
    nc->own_link = ifindex;
}

/* ---- the undo list ---- */

/* Whether an errno says that IPv6 is switched off, here or on a link. */
static bool no_ipv6(int err)
{
    return err == -EACCES || err == -EAFNOSUPPORT || err == -EOPNOTSUPP;
}

/* What a change does, for people: "give mqvpn0 the address 10.0.0.2/32". */
static void change_text(const struct change *c, char *out, size_t size)
{
    char name[IF_NAMESIZE], p[TUN_PREFIX_TEXT];

    if (!c->ifindex || !if_indextoname((unsigned)c->ifindex, name))
        snprintf(name, sizeof(name), "link %u", (unsigned)c->ifindex % 1000000);
    switch (c->kind) {
    case CHANGE_UP:
        snprintf(out, size, "bring %s up", name);
        break;
    case CHANGE_MTU:
        snprintf(out, size, "set the MTU of %s to %u", name, c->mtu_new);
        break;
    case CHANGE_ADDR:
        snprintf(out, size, "give %s the address %s", name, tun_prefix_text(&c->local, p));
        break;
    case CHANGE_ROUTE:
        tun_prefix_text(&c->route.dst, p);
        if (c->route.type == NETCFG_UNICAST)
            snprintf(out, size, "route %s to %s", p, c->ifindex ? name : "its gateway");
        else
            snprintf(out, size, "make %s unreachable", p);
        break;
    }
}

/* The failure of change `c` as a sentence that begins with `verb`. */
static int change_error(struct netcfg *nc, const struct change *c, const char *verb, int err,
                        char *why, size_t why_size)
{
    char text[128], reason[REASON_MAX];
    const char *hint = "";

    change_text(c, text, sizeof(text));
    netlink_reason(&nc->nl, err, reason, sizeof(reason));
    if (err == -EPERM)
        hint = "; run as root (CAP_NET_ADMIN)";
    else if (err == -EEXIST && c->kind == CHANGE_ROUTE)
        hint = "; another VPN or a static route is in the way: remove it, or use --route";
    else if (no_ipv6(err))
        hint = "; is IPv6 disabled here? (sysctl net.ipv6.conf.all.disable_ipv6)";
    return why_set(why, why_size, err, "%s %s: %s%s", verb, text, reason, hint);
}

/* Room for one more change. */
static int reserve(struct netcfg *nc, char *why, size_t why_size)
{
    size_t room = nc->room ? 2 * nc->room : 16;
    struct change *more;

    if (nc->n < nc->room)
        return 0;
    if (nc->n >= NETCFG_CHANGES_MAX)
        return why_set(why, why_size, -ENOSPC, "too many addresses and routes (at most %d)",
                       NETCFG_CHANGES_MAX);
    more = realloc(nc->changes, room * sizeof(*more));
    if (!more)
        return why_set(why, why_size, -ENOMEM, "out of memory");
    nc->changes = more;
    nc->room = room;
    return 0;
}

/* Tell the journal, if the change outlives us. */
static int record(struct netcfg *nc, struct change *c, char *why, size_t why_size)
{
    char line[NETCFG_LINE_MAX];
    int err;

    if (!nc->journal.before || (c->ifindex && c->ifindex == nc->own_link))
        return 0;
    change_line(c, line);
    err = nc->journal.before(nc->journal.ctx, line, &c->record, why, why_size);
    c->recorded = err == 0;
    return err;
}

static void unrecord(struct netcfg *nc, const struct change *c)
{
    if (c->recorded && nc->journal.after)
        nc->journal.after(nc->journal.ctx, c->record);
}

/* Record, make and remember one change. */
static int apply(struct netcfg *nc, struct change *c, char *why, size_t why_size)
{
    int err = reserve(nc, why, why_size);

    if (!err)
        err = record(nc, c, why, why_size);
    if (err)
        return err;
    err = change_make(&nc->nl, c);
    if (err) {
        unrecord(nc, c);
        return change_error(nc, c, "can't", err, why, why_size);
    }
    nc->changes[nc->n++] = *c;
    return 0;
}

/* Take change `i` back and off the list; it is kept where that fails. */
static int revert_at(struct netcfg *nc, size_t i, char *why, size_t why_size)
{
    struct change c = nc->changes[i];
    int err = change_unmake(&nc->nl, &c);

    if (err)
        return change_error(nc, &c, "can't take back:", err, why, why_size);
    unrecord(nc, &c);
    memmove(&nc->changes[i], &nc->changes[i + 1], (nc->n - i - 1) * sizeof(c));
    nc->n--;
    return 0;
}

/* Take back all beyond the first `keep`, newest first. */
static int undo_to(struct netcfg *nc, size_t keep, char *why, size_t why_size)
{
    int first = 0;

    for (size_t i = nc->n; i > keep; i--) {
        int err = revert_at(nc, i - 1, first ? NULL : why, first ? 0 : why_size);

        if (err && !first)
            first = err;
    }
    return first;
}

int netcfg_undo(struct netcfg *nc, char *why, size_t why_size)
{
    return undo_to(nc, 0, why, why_size);
}

int netcfg_revert(const char *line, char *why, size_t why_size)
{
    struct netcfg nc = {0};
    struct change c;
    int err = change_parse(line, &c);

    if (err)
        return why_set(why, why_size, err, "'%.80s' is no record of a network change", line);
    err = netlink_open(&nc.nl, NETLINK_ROUTE);
    if (err)
        return why_set(why, why_size, err, "can't talk to the kernel by netlink: %s",
                       strerror(-err));
    err = change_unmake(&nc.nl, &c);
    if (err)
        change_error(&nc, &c, "can't take back:", err, why, why_size);
    netlink_close(&nc.nl);
    return err;
}

/* ---- links ---- */

/* One link, or its absence as a sentence. */
static int link_get(struct netcfg *nc, int ifindex, struct netcfg_link *out, char *why,
                    size_t why_size)
{
    int err = link_query(&nc->nl, ifindex, out);

    if (err)
        why_set(why, why_size, err, "there is no network link with index %d", ifindex);
    return err;
}

int netcfg_link_up(struct netcfg *nc, int ifindex, char *why, size_t why_size)
{
    struct change c = {.kind = CHANGE_UP, .ifindex = ifindex};
    struct netcfg_link link;
    int err = link_get(nc, ifindex, &link, why, why_size);

    if (err || (link.flags & IFF_UP))
        return err;
    return apply(nc, &c, why, why_size);
}

int netcfg_link_mtu(struct netcfg *nc, int ifindex, unsigned mtu_bytes, char *why,
                    size_t why_size)
{
    struct change c = {.kind = CHANGE_MTU, .ifindex = ifindex, .mtu_new = mtu_bytes};
    struct netcfg_link link;
    int err = link_get(nc, ifindex, &link, why, why_size);

    if (err || link.mtu_bytes == mtu_bytes)
        return err;
    c.mtu_old = link.mtu_bytes;
    return apply(nc, &c, why, why_size);
}

int netcfg_link_plain(struct netcfg *nc, int ifindex, char *why, size_t why_size)
{
    struct netcfg_link link;
    struct ifinfomsg *ifi;
    struct nlattr *spec, *inet6;
    struct nlmsghdr *nlh;
    char reason[REASON_MAX];
    void *head;
    int err = link_get(nc, ifindex, &link, why, why_size);

    if (err)
        return err;
    nlh = netlink_begin(&nc->nl, RTM_NEWLINK, 0, sizeof(*ifi), &head);
    ifi = head;
    ifi->ifi_index = ifindex;
    spec = mnl_attr_nest_start(nlh, IFLA_AF_SPEC);
    inet6 = mnl_attr_nest_start(nlh, AF_INET6);
    mnl_attr_put_u8(nlh, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
    mnl_attr_nest_end(nlh, inet6);
    mnl_attr_nest_end(nlh, spec);
    err = netlink_ask(&nc->nl, nlh, NULL, NULL);
    if (err == -EAFNOSUPPORT || err == -EOPNOTSUPP || err == -EINVAL)
        return 0; /* no IPv6 on this machine or on this link: nothing to keep off */
    if (err)
        why_set(why, why_size, err, "can't keep IPv6 addresses off %s: %s", link.name,
                netlink_reason(&nc->nl, err, reason, sizeof(reason)));
    return err;
}

/* ---- addresses ---- */

/*
 * The kernel says that it has an IPv6 address before it takes packets for it: the route to the
 * address is made by a kernel thread, soon, or late on a busy machine.
 */
static void await_local(struct netlink *n, const struct tun_addr *a)
{
    useconds_t us = LOCAL_PAUSE_US;

    for (; us < LOCAL_PATIENCE_US && !addr_is_local(n, a); us += us / 4)
        usleep(us);
}

int netcfg_addr_add(struct netcfg *nc, int ifindex, const struct tun_prefix *local,
                    const struct tun_prefix *peer, char *why, size_t why_size)
{
    struct change c = {.kind = CHANGE_ADDR, .ifindex = ifindex, .local = *local};
    int rc;

    if (!tun_addr_size(local->addr.family) || (peer && peer->addr.family != local->addr.family))
        return why_set(why, why_size, -EINVAL,
                       "an address and its peer must be of the same family");
    if (peer)
        c.peer = *peer;
    rc = apply(nc, &c, why, why_size);
    if (rc == 0 && local->addr.family == AF_INET6)
        await_local(&nc->nl, &local->addr);
    return rc;
}

int netcfg_addr_del(struct netcfg *nc, int ifindex, const struct tun_prefix *local, char *why,
                    size_t why_size)
{
    char text[TUN_PREFIX_TEXT];

    for (size_t i = 0; i < nc->n; i++) {
        const struct change *c = &nc->changes[i];

        if (c->kind == CHANGE_ADDR && c->ifindex == ifindex &&
            tun_prefix_equal(&c->local, local))
            return revert_at(nc, i, why, why_size);
    }
    return why_set(why, why_size, -ENOENT, "%s on link %d is not an address of ours",
                   tun_prefix_text(local, text), ifindex);
}

/* ---- routes ---- */

/* The route with defaults filled in, as the kernel will list it. */
static struct netcfg_route settled(const struct netcfg_route *r)
{
    struct netcfg_route s = *r;

    if (s.table == 0)
        s.table = RT_TABLE_MAIN;
    if (s.metric == 0 && s.dst.addr.family == AF_INET6)
        s.metric = 1024;
    return s;
}

static bool family_fits(const struct tun_addr *a, sa_family_t family)
{
    return a->family == 0 || a->family == family;
}

static int route_check(const struct netcfg_route *r, char *why, size_t why_size)
{
    struct tun_prefix net = tun_prefix_network(&r->dst);
    sa_family_t family = r->dst.addr.family;
    char text[TUN_PREFIX_TEXT];

    tun_prefix_text(&r->dst, text);
    if (!tun_addr_size(family) || r->dst.len > 8 * tun_addr_size(family))
        return why_set(why, why_size, -EINVAL, "a route needs an IPv4 or IPv6 prefix");
    if (!tun_prefix_equal(&net, &r->dst))
        return why_set(why, why_size, -EINVAL, "%s is no network: bits beyond /%u are set",
                       text, r->dst.len);
    if (!family_fits(&r->gateway, family) || !family_fits(&r->source, family))
        return why_set(why, why_size, -EINVAL, "a route to %s mixes IPv4 and IPv6", text);
    if (r->type == NETCFG_UNICAST ? !r->oif && !r->gateway.family
                                  : r->oif || r->gateway.family || r->source.family)
        return why_set(why, why_size, -EINVAL,
                       "a route to %s needs a link or gateway, an unreachable one neither",
                       text);
    return 0;
}

int netcfg_route_add(struct netcfg *nc, const struct netcfg_route *r, char *why,
                     size_t why_size)
{
    struct change c = {.kind = CHANGE_ROUTE, .ifindex = r->oif, .route = settled(r)};
    int err = route_check(r, why, why_size);

    return err ? err : apply(nc, &c, why, why_size);
}

static bool route_same(const struct netcfg_route *a, const struct netcfg_route *b)
{
    return tun_prefix_equal(&a->dst, &b->dst) && a->type == b->type && a->oif == b->oif &&
           tun_addr_equal(&a->gateway, &b->gateway) && a->metric == b->metric &&
           a->table == b->table;
}

static bool route_is_ours(const struct netcfg *nc, const struct netcfg_route *r, size_t *at)
{
    struct netcfg_route s = settled(r);

    for (size_t i = 0; i < nc->n; i++) {
        if (nc->changes[i].kind == CHANGE_ROUTE && route_same(&nc->changes[i].route, &s)) {
            *at = i;
            return true;
        }
    }
    return false;
}

int netcfg_route_del(struct netcfg *nc, const struct netcfg_route *r, char *why,
                     size_t why_size)
{
    char text[TUN_PREFIX_TEXT];
    size_t at;

    if (route_is_ours(nc, r, &at))
        return revert_at(nc, at, why, why_size);
    return why_set(why, why_size, -ENOENT, "the route to %s is not one of ours",
                   tun_prefix_text(&r->dst, text));
}

/* Whether no link of the machine has an IPv6 address: then no IPv6 can leak. */
static bool ipv6_absent(struct netcfg *nc)
{
    int n = addr_list(&nc->nl, AF_INET6, 0, NULL, 0);

    return n == 0 || (n < 0 && no_ipv6(n));
}

/* One route into the TUN; where the TUN has no IPv6, an unreachable one in its place. */
static int via_tun(struct netcfg *nc, int ifindex, const struct tun_prefix *dst, char *why,
                   size_t why_size)
{
    struct netcfg_route r = {.dst = *dst, .oif = ifindex};
    struct netcfg_route wall = {.dst = *dst, .type = NETCFG_UNREACHABLE};
    size_t at;
    int err;

    if (route_is_ours(nc, &r, &at) || route_is_ours(nc, &wall, &at))
        return 0;
    err = netcfg_route_add(nc, &r, why, why_size);
    if (dst->addr.family != AF_INET6 || !no_ipv6(err))
        return err;
    err = netcfg_route_add(nc, &wall, why, why_size);
    return no_ipv6(err) && ipv6_absent(nc) ? 0 : err;
}

int netcfg_route_via_tun(struct netcfg *nc, int ifindex, const struct tun_prefix *prefixes,
                         size_t n, char *why, size_t why_size)
{
    size_t before = nc->n;
    int err = 0;

    for (size_t i = 0; i < n && !err; i++) {
        struct tun_prefix p = tun_prefix_network(&prefixes[i]);

        if (p.len == 0) {
            p.len = 1;
            err = via_tun(nc, ifindex, &p, why, why_size);
            p.addr.ip[0] = 0x80;
        }
        if (!err)
            err = via_tun(nc, ifindex, &p, why, why_size);
    }
    if (err)
        undo_to(nc, before, NULL, 0);
    return err;
}
