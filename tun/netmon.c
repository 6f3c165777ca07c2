#include "tun/netmon.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "tun/netlink.h"

/* A dump can't come here, so a message is never larger than this. */
#define BUF_BYTES 32768

struct netmon {
    struct mnl_socket *sock;
    const struct nlmsghdr *next; /* in buf; NULL: nothing buffered */
    int left;                    /* bytes from `next` on */
    _Alignas(8) char buf[BUF_BYTES];
};

static const int groups[] = {
    RTNLGRP_LINK,       RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,
};

static int setup(struct netmon *m)
{
    m->sock = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (!m->sock || mnl_socket_bind(m->sock, 0, MNL_SOCKET_AUTOPID) < 0)
        return -errno;
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        int group = groups[i];

        if (mnl_socket_setsockopt(m->sock, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
            return -errno;
    }
    return 0;
}

int netmon_new(struct netmon **out, char *why, size_t why_size)
{
    struct netmon *m = calloc(1, sizeof(*m));
    int err;

    if (!m)
        return why_set(why, why_size, -ENOMEM, "out of memory");
    err = setup(m);
    if (err) {
        netmon_del(m);
        return why_set(why, why_size, err, "can't watch the network by netlink: %s",
                       strerror(-err));
    }
    *out = m;
    return 0;
}

void netmon_del(struct netmon *m)
{
    if (!m)
        return;
    if (m->sock)
        mnl_socket_close(m->sock);
    free(m);
}

int netmon_fd(const struct netmon *m)
{
    return mnl_socket_get_fd(m->sock);
}

/* Each of these fills `ev` from one message and returns whether it is worth telling. */

static bool on_link(const struct nlmsghdr *nlh, struct netmon_event *ev)
{
    const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
    const struct nlattr *tb[IFLA_IFNAME + 1];

    if (nlh->nlmsg_len < mnl_nlmsg_size(sizeof(*ifi)) || ifi->ifi_family != AF_UNSPEC)
        return false; /* a bridge port, told besides the link itself */
    netlink_attrs(nlh, sizeof(*ifi), tb, IFLA_IFNAME);
    ev->ifindex = ifi->ifi_index;
    if (tb[IFLA_IFNAME] && mnl_attr_validate(tb[IFLA_IFNAME], MNL_TYPE_NUL_STRING) >= 0)
        strncat(ev->name, mnl_attr_get_str(tb[IFLA_IFNAME]), IFNAMSIZ - 1);
    if (nlh->nlmsg_type == RTM_DELLINK)
        ev->type = NETMON_LINK_GONE;
    else if ((ifi->ifi_flags & IFF_UP) && (ifi->ifi_flags & IFF_RUNNING))
        ev->type = NETMON_LINK_UP;
    else
        ev->type = NETMON_LINK_DOWN;
    return true;
}

static bool on_addr(const struct nlmsghdr *nlh, struct netmon_event *ev)
{
    const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
    const struct nlattr *tb[IFA_FLAGS + 1];
    uint32_t flags;

    if (nlh->nlmsg_len < mnl_nlmsg_size(sizeof(*ifa)))
        return false;
    netlink_attrs(nlh, sizeof(*ifa), tb, IFA_FLAGS);
    flags = netlink_u32(tb[IFA_FLAGS], ifa->ifa_flags);
    ev->type = nlh->nlmsg_type == RTM_NEWADDR ? NETMON_ADDR_ADD : NETMON_ADDR_DEL;
    ev->ifindex = (int)ifa->ifa_index;
    ev->prefix.addr =
        netlink_get_addr(tb[IFA_LOCAL] ? tb[IFA_LOCAL] : tb[IFA_ADDRESS], ifa->ifa_family);
    ev->prefix.len = ifa->ifa_prefixlen;
    if (ev->type == NETMON_ADDR_ADD && (flags & IFA_F_TENTATIVE) && !(flags & IFA_F_OPTIMISTIC))
        return false; /* told again when duplicate address detection is over */
    return ev->prefix.addr.family != 0;
}

static bool on_route(const struct nlmsghdr *nlh, struct netmon_event *ev)
{
    const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
    const struct nlattr *tb[RTA_TABLE + 1];

    if (nlh->nlmsg_len < mnl_nlmsg_size(sizeof(*rtm)))
        return false;
    netlink_attrs(nlh, sizeof(*rtm), tb, RTA_TABLE);
    if (netlink_u32(tb[RTA_TABLE], rtm->rtm_table) != RT_TABLE_MAIN ||
        (rtm->rtm_flags & RTM_F_CLONED))
        return false;
    ev->type = nlh->nlmsg_type == RTM_NEWROUTE ? NETMON_ROUTE_ADD : NETMON_ROUTE_DEL;
    ev->ifindex = (int)netlink_u32(tb[RTA_OIF], 0);
    ev->prefix.addr = netlink_get_addr(tb[RTA_DST], rtm->rtm_family);
    ev->prefix.addr.family = rtm->rtm_family; /* a default route has no RTA_DST */
    ev->prefix.len = rtm->rtm_dst_len;
    return tun_addr_size(rtm->rtm_family) != 0;
}

static bool event(const struct nlmsghdr *nlh, struct netmon_event *ev)
{
    *ev = (struct netmon_event){0};
    switch (nlh->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
        return on_link(nlh, ev);
    case RTM_NEWADDR:
    case RTM_DELADDR:
        return on_addr(nlh, ev);
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
        return on_route(nlh, ev);
    default:
        return false;
    }
}

/* Read the next buffer. Returns 1, 0 (none now), -ENOBUFS (messages were lost), -errno. */
static int fill(struct netmon *m)
{
    ssize_t n;

    do
        n = mnl_socket_recvfrom(m->sock, m->buf, sizeof(m->buf));
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    if (n < 0 && errno == ENOSPC)
        return -ENOBUFS; /* one was longer than the buffer */
    if (n < 0)
        return -errno;
    m->next = (const struct nlmsghdr *)m->buf;
    m->left = (int)n;
    return 1;
}

int netmon_read(struct netmon *m, struct netmon_event *ev)
{
    for (;;) {
        int rc;

        while (m->next && mnl_nlmsg_ok(m->next, m->left)) {
            const struct nlmsghdr *nlh = m->next;

            m->next = mnl_nlmsg_next(nlh, &m->left);
            if (event(nlh, ev))
                return 1;
        }
        m->next = NULL;
        rc = fill(m);
        if (rc == -ENOBUFS) {
            *ev = (struct netmon_event){.type = NETMON_LOST};
            return 1;
        }
        if (rc <= 0)
            return rc;
    }
}
