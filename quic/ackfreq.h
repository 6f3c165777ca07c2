/*
 * ackfreq - how often we ask the peer to acknowledge (draft-ietf-quic-ack-frequency).
 *
 * By itself a peer acknowledges every other packet, which for a fast flow is a packet back,
 * and its handling at both ends, for nothing. One that sent min_ack_delay obeys ACK_FREQUENCY
 * frames; what they are to say follows from the path:
 *
 *     threshold  so that ACKFREQ_PER_RTT acknowledgements come for a window of packets, and
 *                twice as many in slow start, which lives by them; and that no more than
 *                ACKFREQ_FEW packets, or what the window is in 1 ms if that is more, wait for
 *                one: who shares a short queue, or meets its end, must hear of it in time, and
 *                what one acknowledgement lets go is no burst. Never more than ACKFREQ_MAX
 *     delay      a quarter of the round trip, so that what is less than a window is heard of
 *                in time too; within what the peer can do and what it would do unasked
 *     reordering the packet threshold of loss detection (section 9)
 *
 * Where there are several paths, the frame speaks for all of them: the threshold is that of
 * the widest, the delay that of the shortest, so the narrow ones are served by the delay.
 *
 * A frame is sent only where the threshold should be twice or half of what it is, or, once it
 * was changed, the delay should, or the reordering changed; and when the one before has been
 * heard of, so that at most one is in flight. A lost one makes room for one with the values of
 * that time.
 *
 * Until a frame is acknowledged nobody knows which delay the peer goes by, and the probe
 * timeout has to be safe with either (section 7): ackfreq_delay.
 *
 * Invariant: not both `in_flight` and `due`; what is wanted lies within the peer's bounds.
 */
#ifndef QUIC_ACKFREQ_H
#define QUIC_ACKFREQ_H

#include "quic/types.h"

#define ACKFREQ_PER_RTT 16
#define ACKFREQ_FEW     16 /* packets for one acknowledgement at any rate, */
#define ACKFREQ_MAX     64 /* and at most */

/* What an ACK_FREQUENCY frame asks for. */
struct ackfreq_ask {
    uint64_t threshold; /* ack-eliciting packets that may go without an ACK */
    ns_t delay;         /* max_ack_delay, in whole microseconds */
    uint64_t reordering;
};

/* A path, as far as it matters here. */
struct ackfreq_path {
    uint64_t window_packets; /* the congestion window */
    ns_t srtt;
    bool slow_start;
    unsigned packet_threshold; /* of loss detection */
};

struct ackfreq {
    bool on;                        /* the peer understands the frames */
    bool due;                       /* `want` is to be sent */
    bool in_flight, resend;         /* the latest frame: not heard of yet; lost */
    ns_t min_delay, own_delay;      /* the peer's min_ack_delay and max_ack_delay parameters */
    struct ackfreq_ask asked, want; /* by the latest frame, or by default; by the next */
    uint64_t next_seq;
    ns_t acked_delay;      /* of the latest frame that was acknowledged */
    ns_t pending_delay;    /* the longest of those sent since */
    ns_t srtt, not_before; /* one frame per round trip */
};

/*
 * Start with the peer's parameters: min_ack_delay, NS_NEVER if it has none (or none of this is
 * wanted), and max_ack_delay. To be called once more when they become known.
 */
void ackfreq_init(struct ackfreq *a, ns_t min_delay, ns_t own_delay);

/* Whether ackfreq_update would look at anything: false in most cases, and cheap. */
static inline bool ackfreq_wants_update(const struct ackfreq *a, ns_t now)
{
    return a->on && !a->in_flight && now >= a->not_before;
}

/*
 * Look at the paths, n > 0, each with a round-trip time; to be called when something was
 * acknowledged. Afterwards ackfreq_due says whether a frame is to be sent.
 */
void ackfreq_update(struct ackfreq *a, const struct ackfreq_path *path, size_t n, ns_t now);

static inline bool ackfreq_due(const struct ackfreq *a)
{
    return a->due;
}

/* The frame to send at `now`; returns its sequence number. Only when one is due. */
uint64_t ackfreq_next(struct ackfreq *a, struct ackfreq_ask *out, ns_t now);

/* What became of the frame `seq`, which asked for `delay`. */
void ackfreq_on_acked(struct ackfreq *a, uint64_t seq, ns_t delay);
void ackfreq_on_lost(struct ackfreq *a, uint64_t seq);

/* Whether the invariant holds: for tests. */
bool ackfreq_check(const struct ackfreq *a);

/* The longest time that the peer may wait with an acknowledgement, as far as we know. */
static inline ns_t ackfreq_delay(const struct ackfreq *a)
{
    return ns_max(a->acked_delay, a->pending_delay);
}

#endif
