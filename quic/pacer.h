/*
 * pacer - spreads packets over time: a token bucket of bytes (RFC 9002 7.7).
 *
 * The bucket holds at most `burst` bytes and fills at the rate. With a caller who sends
 * only while pacer_ready says > 0, and packets of at most P bytes, over every period of
 * length t between two instants
 *
 *     bytes sent  <=  burst + P + rate * t
 *
 * and if it sends whenever it may, bytes sent >= rate * t - burst - max(P, mss). Nothing is rounded
 * away: tokens are counted in bits * 1e9.
 *
 * The burst is what the rate carries in 1 ms, at most PACER_BURST_MAX, which is one
 * segmentation-offload send. Slow paths have more: PACER_FIRST packets, the initial window that
 * RFC 9002 7.7 grants to any burst, and up to PACER_PACKETS where the rate carries that in 2 ms.
 * Or it is what pacer_quantum says. Fast paths, where a caller needs more time for one offloaded
 * send than the rate does, have what the rate carries in PACER_FAST, at most PACER_FAST_MAX.
 *
 * A full bucket is for who was idle, or woke up late. One who has more to send than the rate
 * carries would empty it and then send packet by packet. So a bucket that holds less than a
 * packet is dry: it gives nothing before it holds a train, which is what the rate carries in
 * 1 ms, at least 2 and at most PACER_PACKETS packets, and at most half a burst: the other half
 * is for waking up late.
 *
 * Packets that may not wait (probes, acknowledgements) are charged all the same where they are
 * reported; the debt is bounded by one burst.
 *
 * Invariant: -burst <= tokens <= burst; 0 < train <= burst / 2. A rate of 0 means unpaced.
 */
#ifndef QUIC_PACER_H
#define QUIC_PACER_H

#include "quic/types.h"

#define PACER_PACKETS   16
#define PACER_FIRST     10
#define PACER_BURST_MAX 65536 /* bytes */
#define PACER_FAST      (250 * NS_PER_US)
#define PACER_FAST_MAX  (4 * PACER_BURST_MAX)

struct pacer {
    uint64_t rate_bps; /* bits per second; 0: not paced */
    uint64_t burst;    /* bytes */
    uint64_t mss;      /* bytes */
    uint64_t train;    /* bytes: a dry bucket is not asked before it holds so much */
    bool dry;          /* it held less than a packet, and did not hold a train since */
    uint64_t quantum;  /* bytes, in place of the pacer's own burst; 0: none */
    int64_t tokens;    /* bits * 1e9 */
    ns_t last;         /* instant up to which the bucket is filled */
};

/* A full bucket, not paced yet. `mss` is the datagram size in bytes. */
void pacer_init(struct pacer *p, size_t mss);

/* The datagram size changed. */
void pacer_set_mss(struct pacer *p, size_t mss);

/* Set the rate from `now` on; 0 turns pacing off. Cheap when it is the same. */
void pacer_rate(struct pacer *p, uint64_t bps, ns_t now);

/*
 * Have bursts of `bytes`, at least 2 packets or what a fast path has, at most PACER_BURST_MAX;
 * 0: the usual.
 */
void pacer_quantum(struct pacer *p, uint64_t bytes);

/* Bytes that may leave now; SIZE_MAX where not paced. Leaving more by less than one
 * packet is allowed. */
size_t pacer_ready(const struct pacer *p, ns_t now);

/* The instant from which pacer_ready gives something; may be in the past. */
ns_t pacer_next(const struct pacer *p);

/* Whether the bucket is full at `now`, or nothing is paced: who does not send misses something. */
bool pacer_full(const struct pacer *p, ns_t now);

/* `bytes` left at `now`. */
void pacer_sent(struct pacer *p, size_t bytes, ns_t now);

/* Whether the invariant holds: for tests. */
bool pacer_check(const struct pacer *p);

#endif
