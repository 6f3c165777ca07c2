/*
 * width - the MTU of a tunnel over several paths, which come, go and find out their own.
 *
 * What the tunnel should carry is what the narrowest path in use carries, so that a packet may
 * take any of them. A path too narrow for IPv6 (1280 bytes) is not waited for: it carries what
 * fits it, and the tunnel is as wide as the others.
 *
 * The MTU is told to the kernel and, by ICMP and TCP's MSS, to those who send, who remember it
 * for minutes; paths look for theirs in steps, within some round trips. So a change counts once
 * it has been wanted for WIDTH_SETTLE, with two exceptions that can't wait: the first MTU, and
 * one above which nothing passes at all any more, on any path. As long as no path in use is
 * heard of, everything stays.
 *
 * Invariant: once 1280 or more, never below it.
 */
#ifndef APP_WIDTH_H
#define APP_WIDTH_H

#include "quic/types.h"

#define WIDTH_MIN    1280 /* RFC 8200 5 */
#define WIDTH_SETTLE (2 * NS_PER_S)

/* All zero to begin with. */
struct width {
    size_t mtu;    /* the longest IP packet that should enter the tunnel; 0: not yet known */
    size_t wanted; /* what the paths in use would have it be, since when; 0: nobody says */
    ns_t since;
    ns_t look_at;       /* look again then though nothing happens; NS_NEVER, or 0: no need */
    size_t least, most; /* of the paths that were told of by width_path, */
    unsigned rank;      /* the lowest of all: those in use */
};

/* Begin to look at the paths, each by width_path, then width_look. */
void width_begin(struct width *w);

/*
 * A path that carries IP packets of up to `bytes`; `rank` says how much it is a last resort (0:
 * none; a backup; one that does not answer), and WIDTH_DEAF and above that nothing is heard of it.
 */
#define WIDTH_DEAF 2
void width_path(struct width *w, size_t bytes, unsigned rank);

/* Whether `mtu` has changed by what was told since width_begin. Sets `look_at`. */
bool width_look(struct width *w, ns_t now);

#endif
