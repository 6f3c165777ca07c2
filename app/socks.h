/*
 * socks - the UDP sockets by which a session sends, found by the route of what it sends.
 *
 * A client has one for each link in use, bound to its interface and named by its index and family
 * of addresses; a server has one for all. The sockets are the ring's; here are their handles.
 */
#ifndef APP_SOCKS_H
#define APP_SOCKS_H

#include "app/link_rules.h"
#include "app/ring.h"
#include "quic/quic.h"

struct socks {
    struct {
        uint32_t ifindex; /* 0: for every route */
        int family;       /* 4 or 6; 0: both */
        enum link_priority priority;
        struct ring_udp *sock;
    } item[LINKS_MAX];
    size_t n;
};

/* The only socket, for every route. */
struct socks socks_one(struct ring_udp *sock);

/* 0, or QUIC_NOMEM: LINKS_MAX are there. */
int socks_add(struct socks *s, uint32_t ifindex, int family, enum link_priority priority,
              struct ring_udp *sock);

/* Whether that interface has one of its own. */
bool socks_has(const struct socks *s, uint32_t ifindex, int family);

/* Take it out of the table; NULL if there is none. */
struct ring_udp *socks_take(struct socks *s, uint32_t ifindex, int family);

/* The socket for `route`; the first one where its interface isn't told; NULL if there is none. */
struct ring_udp *socks_find(const struct socks *s, const struct quic_route *route);

/* How the link of `route` is to be used; LINK_PRIMARY where it isn't known. */
enum link_priority socks_priority(const struct socks *s, const struct quic_route *route);

/* The interface of a socket, 0 where it serves every route. */
uint32_t socks_ifindex(const struct socks *s, const struct ring_udp *sock);

#endif
