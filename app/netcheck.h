/*
 * netcheck - settings of this machine that would make a tunnel fail in silence.
 *
 * Looks only, changes nothing. Each finding is one line: what it is, why it matters, and the
 * command that repairs it.
 */
#ifndef APP_NETCHECK_H
#define APP_NETCHECK_H

#include <net/if.h>

#include "quic/log.h"
#include "quic/types.h"

enum netcheck_kind {
    NETCHECK_RP_FILTER,    /* strict reverse path filter would drop our packets */
    NETCHECK_FORWARD_DROP, /* a firewall drops forwarded packets by policy */
    NETCHECK_FORWARDING,   /* the server does not forward between links */
    NETCHECK_IPV6_OFF      /* IPv6 is switched off, but wanted */
};

struct netcheck_item {
    enum netcheck_kind kind;
    char ifname[IFNAMSIZ]; /* the link concerned, or "" */
    char what[160];
    char why[160];
    char fix[320]; /* a shell command */
};

struct netcheck_cfg {
    bool server; /* it forwards for others; else a client */
    const char *tun_name;
    const char *const *links; /* outer links: the client's paths, the server's uplinks */
    size_t n_links;
    bool ipv4, ipv6;    /* families inside the tunnel */
    bool default_route; /* client: all IPv4 goes into the tunnel */
};

/*
 * Findings into `out`. Returns how many there are (only `max` are written). What can't be
 * found out (no permission, no /proc) is not a finding.
 */
size_t netcheck_run(const struct netcheck_cfg *cfg, struct netcheck_item *out, size_t max);

/* "what: why; fix: command" as one warning line per item. */
void netcheck_log(const struct netcheck_item *items, size_t n, const struct log *log);

#endif
