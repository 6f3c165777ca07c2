/*
 * routes - the address ranges one end has advertised, ready to be asked per packet.
 *
 * Holds the list as it was given (normal order, RFC 9484 4.7.3) and, because ICMP is
 * allowed to every range whatever its protocol, the union over all protocols. A look
 * up is a binary search over disjoint ascending ranges, twice at most, or a flag
 * where a family is routed whole. A change replaces everything; nothing allocates
 * while asking.
 *
 * Invariant: `r` is normal; `any` is ascending, disjoint and not touching.
 */
#ifndef MASQUE_ROUTES_H
#define MASQUE_ROUTES_H

#include "masque/prefix.h"

enum routes_match {
    ROUTES_NONE,        /* no range holds the address */
    ROUTES_OTHER_PROTO, /* one does, but not for this protocol */
    ROUTES_MATCH
};

struct routes {
    struct ip_range *r, *any; /* one allocation */
    size_t n, nany;
    bool all[2]; /* all of IPv4, IPv6 for all protocols */
};

/* An empty list. */
void routes_init(struct routes *t);
void routes_free(struct routes *t);

/*
 * Replace the list by a copy of `r`.
 *
 * Returns 0; QUIC_INVAL if it is not in normal order, QUIC_NOMEM: the old list stays.
 */
int routes_set(struct routes *t, const struct ip_range *r, size_t n);

/* Whether any range of `version` is there. */
bool routes_has(const struct routes *t, uint8_t version);

/*
 * Ask for one packet: `bytes` is its address, `proto` its upper protocol, `icmp` says
 * that it is ICMP, which every range allows (RFC 9484 4.7.3).
 */
enum routes_match routes_find(const struct routes *t, uint8_t version, const uint8_t *bytes,
                              uint8_t proto, bool icmp);

#endif
