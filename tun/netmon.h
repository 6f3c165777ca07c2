/*
 * netmon - what changes in the network: links, addresses and routes, as they happen.
 *
 * Model: a non-blocking netlink socket for the event loop; when it is readable, call
 * netmon_read until it returns 0. Events tell what to look at again; the truth is in the
 * queries of netcfg.h. When the kernel had to drop messages, one NETMON_LOST comes: look at
 * everything again.
 *
 * Serves the network namespace of the thread that opened it. No allocation after opening.
 */
#ifndef TUN_NETMON_H
#define TUN_NETMON_H

#include <net/if.h>

#include "quic/types.h"
#include "tun/addr.h"
#include "tun/why.h"

enum netmon_type {
    NETMON_LINK_UP, /* link is administratively up and has its carrier (told again at changes) */
    NETMON_LINK_DOWN, /* link is down, or has no carrier */
    NETMON_LINK_GONE, /* link was removed */
    NETMON_ADDR_ADD,  /* `prefix`: an address is usable; not while it is tentative */
    NETMON_ADDR_DEL,
    NETMON_ROUTE_ADD, /* `prefix`: destination; a route of the main table; multipath: oif 0 */
    NETMON_ROUTE_DEL,
    NETMON_LOST /* events were lost */
};

struct netmon_event {
    enum netmon_type type;
    int ifindex;              /* 0 for NETMON_LOST, and for routes without one link */
    struct tun_prefix prefix; /* addresses and routes */
    char name[IFNAMSIZ];      /* links */
};

struct netmon;

/* Returns 0, or -errno (-ENOMEM, -EMFILE, ...). */
int netmon_new(struct netmon **out, char *why, size_t why_size);

/* Close and free. NULL is fine. */
void netmon_del(struct netmon *m);

/* The descriptor to poll for reading; stays owned by `m`. */
int netmon_fd(const struct netmon *m);

/* The next event into `*ev`. Returns 1, 0 when there is none now, or -errno (fatal). */
int netmon_read(struct netmon *m, struct netmon_event *ev);

#endif
