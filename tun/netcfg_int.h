/*
 * netcfg_int - one change and its two forms, a netlink request and a journal line. For
 * netcfg*.c only.
 */
#ifndef TUN_NETCFG_INT_H
#define TUN_NETCFG_INT_H

#include "tun/netcfg.h"
#include "tun/netlink.h"

enum change_kind { CHANGE_UP, CHANGE_MTU, CHANGE_ADDR, CHANGE_ROUTE };

struct change {
    enum change_kind kind;
    int ifindex;               /* of the link, or of the route's output; 0 for none */
    unsigned mtu_new, mtu_old; /* CHANGE_MTU */
    struct tun_prefix local;   /* CHANGE_ADDR */
    struct tun_prefix peer;    /* CHANGE_ADDR; family 0: none */
    struct netcfg_route route; /* CHANGE_ROUTE; metric and table filled in */
    bool recorded;             /* the journal has it, as `record` */
    uint64_t record;
};

/* The change as a journal line. */
void change_line(const struct change *c, char out[NETCFG_LINE_MAX]);

/* The opposite. Returns 0, or -EINVAL for a line that change_line can't have made. */
int change_parse(const char *line, struct change *c);

/* Ask the kernel to make a change. Returns 0 or -errno. */
int change_make(struct netlink *n, const struct change *c);

/* Ask it to take the change back; already gone is 0. */
int change_unmake(struct netlink *n, const struct change *c);

/* Learn about one link. Returns 0, -ENODEV, -errno. */
int link_query(struct netlink *n, int ifindex, struct netcfg_link *out);

/*
 * Addresses of a link (0: all links) of `family` (0: both) into out[0..max). Returns how many
 * there are, or -errno.
 */
int addr_list(struct netlink *n, sa_family_t family, int ifindex, struct tun_prefix *out,
              size_t max);

/* Whether the kernel takes what is sent to `a` for its own. */
bool addr_is_local(struct netlink *n, const struct tun_addr *a);

struct netcfg {
    struct netlink nl;
    struct netcfg_journal journal;
    struct change *changes; /* in force, oldest first */
    size_t n, room;
    int own_link; /* 0: none */
};

#endif
