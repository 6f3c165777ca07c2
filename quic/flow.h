/*
 * flow - one direction of flow control: of a stream or of the connection (RFC 9000 4).
 *
 * Sending (flow_tx): `used` bytes of `limit` were sent. When more waits than the limit
 * allows, a BLOCKED frame is due once for that limit.
 *
 * Receiving (flow_rx): the peer may send up to `limit`; `received` is the highest offset
 * seen (or their sum over all streams), `consumed` what the user took. The limit moves up
 * to consumed + window when that gains at least a quarter of the window. A window that
 * was used up in less than two round trips is doubled, up to `window_max`.
 *
 * Invariant: used <= limit; received <= limit; consumed <= received.
 */
#ifndef QUIC_FLOW_H
#define QUIC_FLOW_H

#include "quic/types.h"

#define FLOW_NOT_BLOCKED UINT64_MAX

struct flow_tx {
    uint64_t limit, used;
    uint64_t blocked_at; /* limit for which BLOCKED was sent last; FLOW_NOT_BLOCKED none */
};

struct flow_rx {
    uint64_t limit;    /* advertised */
    uint64_t received; /* counted against it */
    uint64_t consumed;
    uint64_t window, window_max;
    ns_t raised; /* when the limit was raised last */
    bool resend; /* the frame with the limit was lost */
};

void flow_tx_init(struct flow_tx *f, uint64_t limit);

/* How many bytes may still be sent. */
static inline uint64_t flow_tx_room(const struct flow_tx *f)
{
    return f->limit - f->used;
}

/* Send `n` more bytes; n <= flow_tx_room. */
void flow_tx_use(struct flow_tx *f, uint64_t n);

/* The peer set `limit`. Returns whether that raised it; a smaller one is ignored. */
bool flow_tx_raise(struct flow_tx *f, uint64_t limit);

/* Whether a BLOCKED frame is due, given that the sender wants to send more. */
bool flow_tx_blocked(const struct flow_tx *f);

/* It was sent for the current limit; or the one for `limit` was lost. */
void flow_tx_blocked_sent(struct flow_tx *f);
void flow_tx_blocked_lost(struct flow_tx *f, uint64_t limit);

/* `window` is the first limit; it grows to at most `window_max`. */
void flow_rx_init(struct flow_rx *f, uint64_t window, uint64_t window_max);

/*
 * `n` more bytes count against the limit.
 * Returns 0, or QUIC_FLOW_CONTROL_ERROR if that exceeds it: nothing changed.
 */
int flow_rx_receive(struct flow_rx *f, uint64_t n);

/* The user took `n` bytes, or they were thrown away. */
void flow_rx_consume(struct flow_rx *f, uint64_t n);

/* Whether a MAX_DATA or MAX_STREAM_DATA frame is worth sending. */
bool flow_rx_due(const struct flow_rx *f);

/*
 * Raise the limit and return it, for the frame that is sent at `now`; `rtt` tunes the
 * window (0: leave it).
 */
uint64_t flow_rx_update(struct flow_rx *f, ns_t now, ns_t rtt);

/* The frame that carried `limit` was lost: send again if it was the newest. */
void flow_rx_lost(struct flow_rx *f, uint64_t limit);

#endif
