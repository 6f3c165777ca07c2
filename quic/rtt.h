/*
 * rtt - the round-trip time estimator of one path (RFC 9002 5).
 *
 * Before the first sample `smoothed` is the initial guess and `variation` half of it.
 * `min` follows persistent congestion (rtt_refresh_min), else it only falls.
 *
 * Invariant: with a sample, min <= latest, and smoothed, variation are not 0 unless
 * samples were.
 */
#ifndef QUIC_RTT_H
#define QUIC_RTT_H

#include "quic/types.h"

#define RTT_INITIAL     (333 * NS_PER_MS) /* kInitialRtt, RFC 9002 6.2.2 */
#define RTT_GRANULARITY (1 * NS_PER_MS)   /* kGranularity, RFC 9002 6.1.2 */

struct rtt {
    ns_t latest, min, smoothed, variation;
    ns_t first_sample; /* instant of the first sample, NS_NEVER before it */
};

/* Start over with `initial` as the guess; 0 stands for RTT_INITIAL. */
void rtt_init(struct rtt *r, ns_t initial);

/*
 * One sample at `now`: `latest` since the largest acknowledged packet was sent,
 * `ack_delay` as the peer reported it. Once the handshake is `confirmed`, `ack_delay` is
 * cut to `max_ack_delay` (RFC 9002 5.3).
 */
void rtt_sample(struct rtt *r, ns_t latest, ns_t ack_delay, bool confirmed, ns_t max_ack_delay,
                ns_t now);

/* Persistent congestion: min becomes the newest sample (RFC 9002 5.2). */
void rtt_refresh_min(struct rtt *r);

static inline bool rtt_has_sample(const struct rtt *r)
{
    return r->first_sample != NS_NEVER;
}

/*
 * The probe timeout without back-off: smoothed + max(4 * variation, granularity) +
 * `max_ack_delay` (RFC 9002 6.2.1).
 */
ns_t rtt_pto(const struct rtt *r, ns_t max_ack_delay);

/* The larger of smoothed and latest: what the time threshold of loss detection is made of. */
static inline ns_t rtt_longest(const struct rtt *r)
{
    return ns_max(r->smoothed, r->latest);
}

#endif
