/* Questions to the kernel: links, addresses, routes. */
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "tun/netcfg_int.h"

#define REASON_MAX 192
#define DUMP_TRIES 8 /* how often a dump that changed under way begins again */

/* ---- links ---- */

struct link_dump {
    struct netcfg_link *out;
    size_t n, max;
};

static int on_link(const struct nlmsghdr *nlh, void *ctx)
{
    const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
    const struct nlattr *tb[IFLA_CARRIER + 1];
    struct link_dump *d = ctx;
    struct netcfg_link *l;

    if (nlh->nlmsg_type != RTM_NEWLINK || nlh->nlmsg_len < mnl_nlmsg_size(sizeof(*ifi)))
        return MNL_CB_OK;
    if (d->n++ >= d->max)
        return MNL_CB_OK;
    netlink_attrs(nlh, sizeof(*ifi), tb, IFLA_CARRIER);
    l = &d->out[d->n - 1];
    *l = (struct netcfg_link){.ifindex = ifi->ifi_index, .flags = ifi->ifi_flags};
    l->mtu_bytes = netlink_u32(tb[IFLA_MTU], 0);
    l->carrier = tb[IFLA_CARRIER] ? mnl_attr_get_u8(tb[IFLA_CARRIER]) != 0
                                  : (ifi->ifi_flags & IFF_RUNNING) != 0;
    if (tb[IFLA_IFNAME] && mnl_attr_validate(tb[IFLA_IFNAME], MNL_TYPE_NUL_STRING) >= 0)
        strncat(l->name, mnl_attr_get_str(tb[IFLA_IFNAME]), IFNAMSIZ - 1);
    return MNL_CB_OK;
}

int link_query(struct netlink *n, int ifindex, struct netcfg_link *out)
{
    struct link_dump d = {.out = out, .max = 1};
    struct ifinfomsg *ifi;
    struct nlmsghdr *nlh;
    void *head;
    int err;

    if (ifindex <= 0)
        return -ENODEV;
    nlh = netlink_begin(n, RTM_GETLINK, 0, sizeof(*ifi), &head);
    ifi = head;
    ifi->ifi_index = ifindex;
    err = netlink_ask(n, nlh, on_link, &d);
    if (!err && d.n == 0)
        err = -ENODEV;
    return err;
}

int netcfg_links(struct netcfg *nc, struct netcfg_link *out, size_t max, char *why,
                 size_t why_size)
{
    struct link_dump d;
    char reason[REASON_MAX];
    int err = -EINTR;

    for (int i = 0; i < DUMP_TRIES && err == -EINTR; i++) {
        void *head;
        struct nlmsghdr *nlh =
            netlink_begin(&nc->nl, RTM_GETLINK, NLM_F_DUMP, sizeof(struct ifinfomsg), &head);

        d = (struct link_dump){.out = out, .max = max};
        err = netlink_ask(&nc->nl, nlh, on_link, &d);
    }
    if (err)
        return why_set(why, why_size, err, "can't list the network links: %s",
                       netlink_reason(&nc->nl, err, reason, sizeof(reason)));
    return (int)d.n;
}

/* ---- addresses ---- */

struct addr_dump {
    sa_family_t family;
    int ifindex;
    struct tun_prefix *out;
    size_t n, max;
};

static int on_addr(const struct nlmsghdr *nlh, void *ctx)
{
    const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
    const struct nlattr *tb[IFA_LOCAL + 1];
    struct addr_dump *d = ctx;
    struct tun_prefix p = {0};

    if (nlh->nlmsg_type != RTM_NEWADDR || nlh->nlmsg_len < mnl_nlmsg_size(sizeof(*ifa)))
        return MNL_CB_OK;
    if ((d->ifindex && (int)ifa->ifa_index != d->ifindex) ||
        (d->family && ifa->ifa_family != d->family))
        return MNL_CB_OK;
    netlink_attrs(nlh, sizeof(*ifa), tb, IFA_LOCAL);
    p.addr = netlink_get_addr(tb[IFA_LOCAL] ? tb[IFA_LOCAL] : tb[IFA_ADDRESS], ifa->ifa_family);
    p.len = ifa->ifa_prefixlen;
    if (p.addr.family && d->n++ < d->max)
        d->out[d->n - 1] = p;
    return MNL_CB_OK;
}

int addr_list(struct netlink *n, sa_family_t family, int ifindex, struct tun_prefix *out,
              size_t max)
{
    struct addr_dump d;
    int err = -EINTR;

    for (int i = 0; i < DUMP_TRIES && err == -EINTR; i++) {
        struct ifaddrmsg *ifa;
        void *head;
        struct nlmsghdr *nlh = netlink_begin(n, RTM_GETADDR, NLM_F_DUMP, sizeof(*ifa), &head);

        ifa = head;
        ifa->ifa_family = (uint8_t)family;
        d = (struct addr_dump){.family = family, .ifindex = ifindex, .out = out, .max = max};
        err = netlink_ask(n, nlh, on_addr, &d);
    }
    return err ? err : (int)d.n;
}

int netcfg_addrs(struct netcfg *nc, int ifindex, struct tun_prefix *out, size_t max, char *why,
                 size_t why_size)
{
    char reason[REASON_MAX];
    int n;

    if (ifindex <= 0)
        return why_set(why, why_size, -ENODEV, "there is no network link with index %d",
                       ifindex);
    n = addr_list(&nc->nl, 0, ifindex, out, max);
    if (n < 0)
        why_set(why, why_size, n, "can't list the addresses: %s",
                netlink_reason(&nc->nl, n, reason, sizeof(reason)));
    return n;
}

/* ---- the route to a destination ---- */

struct hop_answer {
    struct netcfg_hop *out;
    sa_family_t family;
    uint8_t type;
};

static struct tun_addr via_addr(const struct nlattr *attr)
{
    const struct rtvia *via;
    size_t n;

    if (!attr || mnl_attr_get_payload_len(attr) < sizeof(*via))
        return (struct tun_addr){0};
    via = mnl_attr_get_payload(attr);
    n = tun_addr_size(via->rtvia_family);
    if (n == 0 || mnl_attr_get_payload_len(attr) < sizeof(*via) + n)
        return (struct tun_addr){0};
    return tun_addr_raw(via->rtvia_family, via->rtvia_addr);
}

static struct tun_addr gateway(const struct nlattr *const *tb, sa_family_t family)
{
    return tb[RTA_GATEWAY] ? netlink_get_addr(tb[RTA_GATEWAY], family) : via_addr(tb[RTA_VIA]);
}

static int on_hop(const struct nlmsghdr *nlh, void *ctx)
{
    const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
    const struct nlattr *tb[RTA_VIA + 1], *metric;
    struct hop_answer *h = ctx;

    if (nlh->nlmsg_type != RTM_NEWROUTE || nlh->nlmsg_len < mnl_nlmsg_size(sizeof(*rtm)))
        return MNL_CB_OK;
    netlink_attrs(nlh, sizeof(*rtm), tb, RTA_VIA);
    h->type = rtm->rtm_type;
    h->out->oif = (int)netlink_u32(tb[RTA_OIF], 0);
    h->out->gateway = gateway(tb, h->family);
    h->out->source = netlink_get_addr(tb[RTA_PREFSRC], h->family);
    if (tb[RTA_METRICS]) {
        mnl_attr_for_each_nested(metric, tb[RTA_METRICS])
        {
            if (mnl_attr_get_type(metric) == RTAX_MTU)
                h->out->mtu_bytes = netlink_u32(metric, 0);
        }
    }
    return MNL_CB_OK;
}

/* What the kernel's various refusals of a lookup mean to the caller. */
static int hop_errno(int err)
{
    switch (err) {
    case -ENETUNREACH:
    case -EHOSTUNREACH: /* an unreachable route */
    case -EACCES:       /* a prohibit route */
    case -EINVAL:       /* a blackhole route */
    case -EAFNOSUPPORT: /* no such family on this machine */
    case -EOPNOTSUPP:
        return -ENETUNREACH;
    default:
        return err;
    }
}

/* Look `dst` up, from `source` if not NULL, out of link `oif` if not 0. Returns 0 or -errno. */
static int hop_query(struct netlink *n, const struct tun_addr *dst, int oif,
                     const struct tun_addr *source, struct hop_answer *h)
{
    uint8_t bits = (uint8_t)(8 * tun_addr_size(dst->family));
    struct nlmsghdr *nlh;
    struct rtmsg *rtm;
    void *head;

    h->family = dst->family;
    nlh = netlink_begin(n, RTM_GETROUTE, 0, sizeof(*rtm), &head);
    rtm = head;
    rtm->rtm_family = (uint8_t)dst->family;
    rtm->rtm_dst_len = bits;
    netlink_put_addr(nlh, RTA_DST, dst);
    if (source) {
        rtm->rtm_src_len = bits;
        netlink_put_addr(nlh, RTA_SRC, source);
    }
    if (oif)
        mnl_attr_put_u32(nlh, RTA_OIF, (uint32_t)oif);
    return hop_errno(netlink_ask(n, nlh, on_hop, h));
}

bool addr_is_local(struct netlink *n, const struct tun_addr *a)
{
    struct netcfg_hop hop = {0};
    struct hop_answer h = {.out = &hop};

    return hop_query(n, a, 0, NULL, &h) == 0 && h.type == RTN_LOCAL;
}

int netcfg_route_get(struct netcfg *nc, const struct tun_addr *dst, int oif,
                     const struct tun_addr *source, struct netcfg_hop *out, char *why,
                     size_t why_size)
{
    struct hop_answer h = {.out = out};
    char text[TUN_ADDR_TEXT], reason[REASON_MAX];
    int err;

    if (!tun_addr_size(dst->family) || (source && source->family != dst->family))
        return why_set(why, why_size, -EINVAL, "a route is asked for one IPv4 or IPv6 address");
    *out = (struct netcfg_hop){0};
    err = hop_query(&nc->nl, dst, oif, source, &h);
    if (!err && h.type != RTN_UNICAST && h.type != RTN_LOCAL)
        err = -ENETUNREACH;
    if (source)
        out->source = *source; /* the kernel does not repeat it */
    if (err)
        why_set(why, why_size, err, "no way to reach %s: %s", tun_addr_text(dst, text),
                netlink_reason(&nc->nl, err, reason, sizeof(reason)));
    return err;
}

/* ---- default routes ---- */

struct default_dump {
    struct netcfg_default *out;
    size_t n, max;
    sa_family_t family;
};

static void add_default(struct default_dump *d, const struct netcfg_default *e)
{
    if (e->oif && d->n++ < d->max)
        d->out[d->n - 1] = *e;
}

/* Each living hop of a multipath route. */
static void add_hops(struct default_dump *d, struct netcfg_default e, const struct nlattr *list)
{
    const struct rtnexthop *nh = mnl_attr_get_payload(list);
    int left = mnl_attr_get_payload_len(list);

    while (RTNH_OK(nh, left)) {
        const struct nlattr *tb[RTA_VIA + 1] = {NULL}, *attr;
        const void *first = RTNH_DATA(nh);

        mnl_attr_for_each_payload(first, (size_t)nh->rtnh_len - RTNH_LENGTH(0))
        {
            if (mnl_attr_get_type(attr) <= RTA_VIA)
                tb[mnl_attr_get_type(attr)] = attr;
        }
        e.oif = nh->rtnh_flags & RTNH_F_DEAD ? 0 : nh->rtnh_ifindex;
        e.gateway = gateway(tb, e.family);
        add_default(d, &e);
        left -= (int)RTNH_ALIGN(nh->rtnh_len);
        nh = RTNH_NEXT(nh);
    }
}

static int on_default(const struct nlmsghdr *nlh, void *ctx)
{
    const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
    const struct nlattr *tb[RTA_VIA + 1];
    struct default_dump *d = ctx;
    struct netcfg_default e = {0};

    if (nlh->nlmsg_type != RTM_NEWROUTE || nlh->nlmsg_len < mnl_nlmsg_size(sizeof(*rtm)))
        return MNL_CB_OK;
    netlink_attrs(nlh, sizeof(*rtm), tb, RTA_VIA);
    if (rtm->rtm_dst_len != 0 || rtm->rtm_type != RTN_UNICAST || rtm->rtm_family != d->family ||
        netlink_u32(tb[RTA_TABLE], rtm->rtm_table) != RT_TABLE_MAIN ||
        (rtm->rtm_flags & (RTM_F_CLONED | RTNH_F_DEAD)))
        return MNL_CB_OK;
    e.family = rtm->rtm_family;
    e.metric = netlink_u32(tb[RTA_PRIORITY], 0);
    e.protocol = rtm->rtm_protocol;
    if (tb[RTA_MULTIPATH]) {
        add_hops(d, e, tb[RTA_MULTIPATH]);
    } else {
        e.oif = (int)netlink_u32(tb[RTA_OIF], 0);
        e.gateway = gateway(tb, e.family);
        add_default(d, &e);
    }
    return MNL_CB_OK;
}

static int by_metric(const void *a, const void *b)
{
    const struct netcfg_default *x = a, *y = b;

    return x->metric < y->metric ? -1 : x->metric > y->metric;
}

/* The default routes of one family, into out[0..max). Returns how many there are. */
static int defaults_of(struct netlink *n, sa_family_t family, struct netcfg_default *out,
                       size_t max)
{
    struct default_dump d;
    int err = -EINTR;

    for (int i = 0; i < DUMP_TRIES && err == -EINTR; i++) {
        struct rtmsg *rtm;
        void *head;
        struct nlmsghdr *nlh = netlink_begin(n, RTM_GETROUTE, NLM_F_DUMP, sizeof(*rtm), &head);

        rtm = head;
        rtm->rtm_family = (uint8_t)family;
        d = (struct default_dump){.out = out, .max = max, .family = family};
        err = netlink_ask(n, nlh, on_default, &d);
    }
    if (err == -EAFNOSUPPORT || err == -EOPNOTSUPP)
        return 0;
    if (err)
        return err;
    if (d.n > 1 && max > 1)
        qsort(out, d.n < max ? d.n : max, sizeof(*out), by_metric);
    return (int)d.n;
}

int netcfg_defaults(struct netcfg *nc, sa_family_t family, struct netcfg_default *out,
                    size_t max, char *why, size_t why_size)
{
    static const sa_family_t families[] = {AF_INET, AF_INET6};
    char reason[REASON_MAX];
    size_t total = 0;

    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        size_t used = total < max ? total : max;
        int n;

        if (family && family != families[i])
            continue;
        n = defaults_of(&nc->nl, families[i], out ? out + used : NULL, max - used);
        if (n < 0)
            return why_set(why, why_size, n, "can't list the routes: %s",
                           netlink_reason(&nc->nl, n, reason, sizeof(reason)));
        total += (size_t)n;
    }
    return (int)total;
}
