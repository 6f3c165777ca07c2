/* Changes as requests to the kernel. */
#include "tun/netcfg_int.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>

static const uint8_t rtn[] = {
    [NETCFG_UNICAST] = RTN_UNICAST,
    [NETCFG_UNREACHABLE] = RTN_UNREACHABLE,
    [NETCFG_BLACKHOLE] = RTN_BLACKHOLE,
};

static int link_flags(struct netlink *n, int ifindex, unsigned flags)
{
    struct ifinfomsg *ifi;
    void *head;
    struct nlmsghdr *nlh = netlink_begin(n, RTM_NEWLINK, 0, sizeof(*ifi), &head);

    ifi = head;
    ifi->ifi_index = ifindex;
    ifi->ifi_flags = flags;
    ifi->ifi_change = IFF_UP;
    return netlink_ask(n, nlh, NULL, NULL);
}

static int link_mtu(struct netlink *n, int ifindex, unsigned mtu_bytes)
{
    struct ifinfomsg *ifi;
    void *head;
    struct nlmsghdr *nlh = netlink_begin(n, RTM_NEWLINK, 0, sizeof(*ifi), &head);

    ifi = head;
    ifi->ifi_index = ifindex;
    mnl_attr_put_u32(nlh, IFLA_MTU, mtu_bytes);
    return netlink_ask(n, nlh, NULL, NULL);
}

static int address(struct netlink *n, const struct change *c, uint16_t type, uint16_t flags)
{
    const struct tun_prefix *subnet = c->peer.addr.family ? &c->peer : &c->local;
    struct ifaddrmsg *ifa;
    void *head;
    struct nlmsghdr *nlh = netlink_begin(n, type, flags, sizeof(*ifa), &head);

    ifa = head;
    ifa->ifa_family = (uint8_t)c->local.addr.family;
    ifa->ifa_prefixlen = subnet->len;
    ifa->ifa_index = (uint32_t)c->ifindex;
    if (c->local.addr.family == AF_INET6)
        ifa->ifa_flags = IFA_F_NODAD;
    netlink_put_addr(nlh, IFA_LOCAL, &c->local.addr);
    netlink_put_addr(nlh, IFA_ADDRESS, &subnet->addr);
    return netlink_ask(n, nlh, NULL, NULL);
}

static int route(struct netlink *n, const struct change *c, uint16_t type, uint16_t flags)
{
    const struct netcfg_route *r = &c->route;
    struct rtmsg *rtm;
    void *head;
    struct nlmsghdr *nlh = netlink_begin(n, type, flags, sizeof(*rtm), &head);

    rtm = head;
    rtm->rtm_family = (uint8_t)r->dst.addr.family;
    rtm->rtm_dst_len = r->dst.len;
    rtm->rtm_table = r->table < 256 ? (uint8_t)r->table : RT_TABLE_UNSPEC;
    rtm->rtm_protocol = NETCFG_PROTOCOL;
    rtm->rtm_type = rtn[r->type];
    rtm->rtm_scope =
        r->type == NETCFG_UNICAST && !r->gateway.family && r->dst.addr.family == AF_INET
            ? RT_SCOPE_LINK
            : RT_SCOPE_UNIVERSE;
    if (r->dst.len)
        netlink_put_addr(nlh, RTA_DST, &r->dst.addr);
    if (r->oif)
        mnl_attr_put_u32(nlh, RTA_OIF, (uint32_t)r->oif);
    if (r->gateway.family)
        netlink_put_addr(nlh, RTA_GATEWAY, &r->gateway);
    if (r->source.family)
        netlink_put_addr(nlh, RTA_PREFSRC, &r->source);
    mnl_attr_put_u32(nlh, RTA_PRIORITY, r->metric);
    mnl_attr_put_u32(nlh, RTA_TABLE, r->table);
    return netlink_ask(n, nlh, NULL, NULL);
}

int change_make(struct netlink *n, const struct change *c)
{
    uint16_t flags = NLM_F_CREATE | NLM_F_EXCL;

    switch (c->kind) {
    case CHANGE_UP:
        return link_flags(n, c->ifindex, IFF_UP);
    case CHANGE_MTU:
        return link_mtu(n, c->ifindex, c->mtu_new);
    case CHANGE_ADDR:
        return address(n, c, RTM_NEWADDR, flags);
    default:
        return route(n, c, RTM_NEWROUTE, flags);
    }
}

/* Whether `err` says that what was to be removed does not exist. */
static bool gone(const struct change *c, int err)
{
    switch (c->kind) {
    case CHANGE_ADDR:
        return err == -EADDRNOTAVAIL || err == -ENODEV;
    case CHANGE_ROUTE: /* ENETUNREACH: the output link is gone or down, and the route with it */
        return err == -ESRCH || err == -ENODEV || err == -ENETUNREACH || err == -ENETDOWN;
    default:
        return err == -ENODEV;
    }
}

int change_unmake(struct netlink *n, const struct change *c)
{
    struct netcfg_link now;
    int err;

    switch (c->kind) {
    case CHANGE_UP:
        err = link_flags(n, c->ifindex, 0);
        break;
    case CHANGE_MTU:
        err = link_query(n, c->ifindex, &now);
        if (!err && now.mtu_bytes == c->mtu_new)
            err = link_mtu(n, c->ifindex, c->mtu_old);
        break;
    case CHANGE_ADDR:
        err = address(n, c, RTM_DELADDR, 0);
        break;
    default:
        err = route(n, c, RTM_DELROUTE, 0);
        break;
    }
    return gone(c, err) ? 0 : err;
}
