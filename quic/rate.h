/*
 * rate - samples of the rate at which a path delivers (draft-ietf-ccwg-bbr 4.1).
 *
 * Each packet takes along what had been delivered when it left, when that was, and when
 * the flight it belongs to began. Its acknowledgement closes an interval in which
 * `delivered` bytes came through: the longer of the time it took to send them and the time
 * it took to acknowledge them, so that neither a burst of acknowledgements nor an
 * idle moment before the flight counts as speed.
 *
 * A sample is app-limited where the sender had a moment with nothing to send in that
 * interval: it says how fast the application was, not the path. rate_limited marks the
 * beginning of such a bubble, which has left the path when everything that was in flight
 * then is delivered.
 */
#ifndef QUIC_RATE_H
#define QUIC_RATE_H

#include "quic/sent.h"
#include "quic/types.h"

struct rate {
    uint64_t delivered;   /* bytes acknowledged */
    uint64_t lost;        /* bytes declared lost */
    uint64_t app_limited; /* samples are, until `delivered` passes this; 0: they are not */
    ns_t delivered_time;  /* of the latest delivery */
    ns_t first_sent_time; /* send time of the packet it was about */
};

/* What one acknowledgement says. All about its newest packet, and 0 without one. */
struct rate_sample {
    uint64_t bps;             /* bits per second; 0: nothing reliable */
    uint64_t delivered;       /* bytes, over `interval` */
    uint64_t prior_delivered; /* what had been delivered when the packet was sent */
    uint64_t in_flight;       /* bytes when it was sent, itself included */
    uint64_t lost;            /* bytes declared lost since it was sent */
    ns_t interval;
    bool app_limited;
};

/*
 * A packet leaves: fill its delivery state. `in_flight` counts the bytes in flight without
 * it; packets that do not count are not to be told of.
 */
void rate_on_sent(struct rate *r, struct sent_packet *p, uint64_t in_flight);

/*
 * `bytes` were newly acknowledged at `now`, the newest of them in `newest`. `min_rtt`: a
 * shorter interval gives no rate. The sample's `lost` is the caller's to fill, once the losses
 * that this acknowledgement reveals are known (rate_lost_since).
 */
void rate_on_ack(struct rate *r, const struct sent_packet *newest, uint64_t bytes, ns_t now,
                 ns_t min_rtt, struct rate_sample *out);

/* Bytes that were declared lost since `p` was sent. Exact below 4 GB. */
static inline uint64_t rate_lost_since(const struct rate *r, const struct sent_packet *p)
{
    return (uint32_t)((uint32_t)r->lost - p->lost);
}

/* There is nothing to send, `in_flight` bytes are on their way, and more would be allowed. */
static inline void rate_limited(struct rate *r, uint64_t in_flight)
{
    r->app_limited = r->delivered + in_flight ? r->delivered + in_flight : 1;
}

#endif
