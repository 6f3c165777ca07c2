/*
 * netcfg - addresses, routes and links by rtnetlink, each change remembered and undone.
 *
 * Model: `struct netcfg` speaks to one network namespace, that of the thread which made it.
 * Every change that succeeds is put on an undo list; netcfg_undo takes the list back in
 * reverse order. A netcfg removes only what it added itself: what was there before, whoever
 * put it, is never deleted or replaced, and an entry that is gone by the time of the undo
 * (the device was removed, somebody deleted the route) counts as undone.
 *
 * Changes on an own link (netcfg_own_link: the TUN) die with the process anyway. All others
 * outlive a SIGKILL; these are told to a journal hook as one line of text before they are
 * made, and netcfg_revert takes such a line back in a later process.
 *
 * Invariant: the list holds exactly the changes that are in force by us, oldest first.
 * Limits: NETCFG_CHANGES_MAX changes; blocking netlink, microseconds per call.
 *
 * Errors: see tun/why.h. All calls may return -EPERM (no CAP_NET_ADMIN in this namespace),
 * -ENOMEM, -ENOSPC (NETCFG_CHANGES_MAX) besides what each one says.
 */
#ifndef TUN_NETCFG_H
#define TUN_NETCFG_H

#include <net/if.h>

#include "quic/types.h"
#include "tun/addr.h"
#include "tun/why.h"

#define NETCFG_CHANGES_MAX 65536
#define NETCFG_LINE_MAX    256 /* a journal line with its NUL */
#define NETCFG_PROTOCOL    109 /* origin of our routes (rtm_protocol), "proto 109" for ip(8) */

struct netcfg;

/*
 * Where changes that outlive the process are recorded. `before` gets the line before the
 * change is made and may refuse it by returning a negative errno; it sets `*id`. `after`
 * says that the change is undone (or was never made): the record can go.
 */
struct netcfg_journal {
    int (*before)(void *ctx, const char *line, uint64_t *id, char *why, size_t why_size);
    void (*after)(void *ctx, uint64_t id);
    void *ctx;
};

/* Open netlink in the current namespace. `journal` may be NULL; it is copied. */
int netcfg_new(struct netcfg **out, const struct netcfg_journal *journal, char *why,
               size_t why_size);

/* Undo everything, close, free. NULL is fine. */
void netcfg_del(struct netcfg *nc);

/* Take everything back, newest first. Idempotent. Returns 0, or the first errno of a change
 * that could not be taken back and may still be there (the others are done all the same). */
int netcfg_undo(struct netcfg *nc, char *why, size_t why_size);

/* How many changes are in force. */
size_t netcfg_changes(const struct netcfg *nc);

/* Changes on link `ifindex` vanish with this process: don't record them in the journal. */
void netcfg_own_link(struct netcfg *nc, int ifindex);

/*
 * Take back the change that `line` (once given to a journal) describes, made by a process
 * that is dead now.
 *
 * Returns 0 when it is gone, be it that it never was there; -EINVAL for a line that is none;
 * -errno where it could not be removed.
 */
int netcfg_revert(const char *line, char *why, size_t why_size);

/* ---- links ---- */

struct netcfg_link {
    int ifindex;
    unsigned mtu_bytes;
    unsigned flags; /* IFF_UP, IFF_LOOPBACK, IFF_POINTOPOINT, IFF_RUNNING, ... */
    bool carrier;   /* operational: up, or of a kind that can't tell */
    char name[IFNAMSIZ];
};

/* Bring a link up. Undo: down again, if it was down. -ENODEV: no such link. */
int netcfg_link_up(struct netcfg *nc, int ifindex, char *why, size_t why_size);

/* Set the MTU. Undo: the former one. -ENODEV; -EINVAL, -ERANGE: not for this device. */
int netcfg_link_mtu(struct netcfg *nc, int ifindex, unsigned mtu_bytes, char *why,
                    size_t why_size);

/*
 * Keep the kernel from giving the link an IPv6 link-local address by itself, and with it from
 * sending router solicitations: right for a tunnel. To be called before the link comes up.
 * Without IPv6 on this machine it does nothing. Undo: only with the device.
 *
 * An IPv6 address on the link still makes the kernel send a few multicast listener reports
 * to ff02::16 when it comes up; whoever reads the TUN drops what has link-local scope.
 */
int netcfg_link_plain(struct netcfg *nc, int ifindex, char *why, size_t why_size);

/* All links into `out`. Returns how many there are (only `max` are written), or -errno. */
int netcfg_links(struct netcfg *nc, struct netcfg_link *out, size_t max, char *why,
                 size_t why_size);

/* ---- addresses ---- */

/*
 * Give `local` (prefix length: that of the subnet) to a link; with `peer`, a point-to-point
 * address whose prefix is the peer's. IPv6 without duplicate address detection, and the kernel
 * takes packets for it when this returns, which needs some milliseconds of a busy machine.
 *
 * Returns 0; -EEXIST (already on the link); -ENODEV (no such link); -EINVAL (families
 * differ); -EAFNOSUPPORT, -EACCES (IPv6 is disabled here).
 */
int netcfg_addr_add(struct netcfg *nc, int ifindex, const struct tun_prefix *local,
                    const struct tun_prefix *peer, char *why, size_t why_size);

/* Remove an address added by netcfg_addr_add. -ENOENT: this netcfg did not add it. */
int netcfg_addr_del(struct netcfg *nc, int ifindex, const struct tun_prefix *local, char *why,
                    size_t why_size);

/* Addresses of one link, both families, into `out`. Returns how many there are, or -errno. */
int netcfg_addrs(struct netcfg *nc, int ifindex, struct tun_prefix *out, size_t max, char *why,
                 size_t why_size);

/* ---- routes ---- */

enum netcfg_route_type { NETCFG_UNICAST, NETCFG_UNREACHABLE, NETCFG_BLACKHOLE };

struct netcfg_route {
    struct tun_prefix dst; /* host bits must be 0 */
    enum netcfg_route_type type;
    int oif;                 /* output link; 0 with a gateway or another type than unicast */
    struct tun_addr gateway; /* family 0: none */
    struct tun_addr source;  /* preferred source; family 0: none */
    uint32_t metric;         /* 0: the kernel's default (IPv4 0, IPv6 1024) */
    uint32_t table;          /* 0: main */
};

/*
 * Add a route; never replaces one.
 *
 * Returns 0; -EEXIST (a route for this prefix with this metric exists); -ENODEV (no such
 * link); -ENETDOWN (link down); -ENETUNREACH (the gateway is not reachable directly);
 * -EINVAL (host bits set, families differ, neither link nor gateway); -EAFNOSUPPORT,
 * -EACCES (IPv6 is disabled here).
 */
int netcfg_route_add(struct netcfg *nc, const struct netcfg_route *r, char *why,
                     size_t why_size);

/* Remove a route added by netcfg_route_add. -ENOENT: this netcfg did not add it. */
int netcfg_route_del(struct netcfg *nc, const struct netcfg_route *r, char *why,
                     size_t why_size);

/*
 * Send `n` prefixes into the TUN `ifindex`, host bits ignored. A default route (length 0) is
 * added as its two halves (0.0.0.0/1 and 128.0.0.0/1, ::/1 and 8000::/1), so that the
 * machine's own default route is neither changed nor needed again afterwards. Prefixes named
 * twice, also as halves, are added once.
 *
 * Where IPv6 is off on the TUN, an IPv6 prefix becomes an unreachable route: its traffic
 * fails at once and does not leak around the tunnel. Where the whole machine has no IPv6
 * nothing is to be done, and nothing is.
 *
 * All or nothing: on an error the routes added by this call are gone again. Errors as
 * netcfg_route_add.
 */
int netcfg_route_via_tun(struct netcfg *nc, int ifindex, const struct tun_prefix *prefixes,
                         size_t n, char *why, size_t why_size);

/* The answer of the routing table. */
struct netcfg_hop {
    int oif;
    struct tun_addr gateway; /* family 0: on link */
    struct tun_addr source;  /* the address the kernel would send from; family 0: none */
    uint32_t mtu_bytes;      /* of the route, where it has one of its own; else 0 */
};

/*
 * How the kernel would send to `dst`, out of link `oif` if not 0, as a socket bound to that
 * device would; from `source` if not NULL. Beware: with `oif` the kernel takes an IPv4 `dst`
 * that no route of that link covers as on link, without gateway; netcfg_defaults tells more.
 *
 * Returns 0; -ENETUNREACH (no route, or an unreachable one); -ENODEV (no such link).
 */
int netcfg_route_get(struct netcfg *nc, const struct tun_addr *dst, int oif,
                     const struct tun_addr *source, struct netcfg_hop *out, char *why,
                     size_t why_size);

/* A default route of the main table. */
struct netcfg_default {
    int oif;
    sa_family_t family;
    struct tun_addr gateway; /* family 0: none */
    uint32_t metric;
    uint8_t protocol; /* RTPROT_RA, RTPROT_DHCP, RTPROT_STATIC, ... */
};

/*
 * The default routes of `family` (AF_INET, AF_INET6, or 0: both), lowest metric first within
 * a family, IPv4 first, each hop of a multipath route by itself.
 * Returns how many there are (only `max` are written), or -errno.
 */
int netcfg_defaults(struct netcfg *nc, sa_family_t family, struct netcfg_default *out,
                    size_t max, char *why, size_t why_size);

#endif
