/*
 * reorder - how far a packet may fall behind before it counts as lost (RFC 9002 6.1).
 *
 * Two thresholds: so many packets sent later that are acknowledged (kPacketThreshold), and
 * one round trip and so many eighths of it since it was sent (kTimeThreshold). Both begin
 * at what RFC 9002 recommends. When a packet that was called lost is acknowledged after all,
 * they grow to what would have spared it, at most twofold in a round trip. They shrink by
 * halves, back to where they began, each time REORDER_PERSIST round trips have seen losses
 * but no reordering that they are needed for (compare RFC 8985 6.2, step 4).
 *
 * However large the packet threshold, the time threshold holds; so a lost packet is noticed
 * at the latest two round trips after it was sent, given acknowledgements of later ones.
 *
 * Invariant: REORDER_PACKETS <= packets <= REORDER_PACKETS_MAX, and likewise for eighths.
 */
#ifndef QUIC_REORDER_H
#define QUIC_REORDER_H

#include "quic/types.h"

#define REORDER_PACKETS     3 /* kPacketThreshold, RFC 9002 6.1.1 */
#define REORDER_PACKETS_MAX 4096
#define REORDER_EIGHTHS     1 /* kTimeThreshold - 1, RFC 9002 6.1.2 */
#define REORDER_EIGHTHS_MAX 8
#define REORDER_PERSIST     16 /* lossy round trips until thresholds shrink */

struct reorder_limit {
    uint32_t value, before; /* now, and when this round trip began */
    uint32_t least, most;
    uint32_t persist; /* lossy round trips until it shrinks */
    bool needed;      /* in this round trip something came late by more than half of it */
};

struct reorder {
    struct reorder_limit packets, eighths;
    bool lossy; /* in this round trip */
};

void reorder_init(struct reorder *r);

/*
 * A packet was acknowledged `distance` numbers below the largest acknowledged one, `took`
 * after it was sent, where a round trip takes `rtt`. `spurious`: it had been called
 * lost.
 */
void reorder_late(struct reorder *r, uint64_t distance, ns_t took, ns_t rtt, bool spurious);

/* A packet was called lost. */
static inline void reorder_lost(struct reorder *r)
{
    r->lossy = true;
}

/* A round trip is over. */
void reorder_round(struct reorder *r);

static inline uint32_t reorder_packets(const struct reorder *r)
{
    return r->packets.value;
}

/* The time threshold where the larger of smoothed and latest round-trip time is `rtt`. */
static inline ns_t reorder_delay(const struct reorder *r, ns_t rtt)
{
    return rtt + rtt / 8 * r->eighths.value;
}

/* Whether the invariant holds: for tests. */
bool reorder_check(const struct reorder *r);

#endif
