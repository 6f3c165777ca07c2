/*
 * ackrx - which packets of one packet number space we received and have yet to
 * acknowledge (RFC 9000 13.2).
 *
 * Received numbers are kept as at most ACKRX_MAX ranges. When a new one would not fit,
 * the oldest is dropped and every number below what is left counts as received: a
 * duplicate can never be delivered twice, at the price of ignoring a very late original.
 *
 * An ACK frame reports at most ACKRX_SENT ranges, newest first. What the peer is known to
 * have heard (it acknowledged a packet that carried our ACK) is not reported again,
 * but is kept, so that late originals between are still accepted; such a late one lowers
 * the reporting mark again.
 *
 * An acknowledgement is due at once for Initial and Handshake (`max_delay` 0), for every
 * `tolerance`th ack-eliciting packet, on reordering or a gap (13.2.1), and for a packet
 * marked CE; else `max_delay` after the first unacknowledged ack-eliciting packet.
 *
 * The peer may ask for another tolerance and delay, and for patience with reordering
 * (draft-ietf-quic-ack-frequency): then an acknowledgement is due when it would let the peer
 * declare a packet lost that it could not before, when a packet arrives that it has declared
 * lost, and of several packets with CE in a row for the first. Whatever is asked for, it is
 * also due before more gaps have come up than an ACK frame can report.
 *
 * Invariant: received numbers >= floor; `largest` is the highest received;
 * reported_from >= floor; `deadline` is NS_NEVER exactly when no ack-eliciting packet is
 * unacknowledged.
 */
#ifndef QUIC_ACKRX_H
#define QUIC_ACKRX_H

#include "quic/ranges.h"
#include "quic/types.h"
#include "quic/wire.h"

#define ACKRX_MAX       64         /* ranges remembered */
#define ACKRX_SENT      32         /* ranges in one ACK frame */
#define ACKRX_NO_PATH   UINT64_MAX /* write a plain ACK frame, not PATH_ACK */
#define ACKRX_TOLERANCE 2          /* RFC 9000 13.2.2 */

struct ackrx {
    struct ranges received;
    uint64_t floor;         /* everything below counts as received */
    uint64_t reported_from; /* ranges wholly below are known to the peer */
    uint64_t largest;       /* UINT64_MAX: none yet */
    uint64_t largest_eliciting;
    ns_t largest_time;       /* arrival of `largest` */
    uint64_t ect0, ect1, ce; /* packets received with each mark */
    ns_t max_delay;          /* 0: acknowledge at once */
    ns_t deadline;           /* when the ACK is due */
    uint32_t unacked;        /* ack-eliciting packets since the last ACK frame */
    uint32_t tolerance;      /* an ACK at the latest every so many of them */
    uint64_t reordering;     /* threshold of the peer's loss detection; 0: it wants no hurry */
    uint64_t told;           /* Largest Acknowledged of the last ACK frame; UINT64_MAX: none */
    bool at_once;            /* the next ack-eliciting packet is to be acknowledged at once */
    bool last_ce;            /* the last packet came with CE */
    bool news;               /* anything received since the last ACK frame */
};

/* Start empty. `max_delay` 0 acknowledges everything at once (Initial, Handshake). */
void ackrx_init(struct ackrx *a, ns_t max_delay);

void ackrx_free(struct ackrx *a);

/*
 * Whether `pn` was received before, or is too old to tell: such a packet must be dropped
 * before its frames are looked at.
 */
static inline bool ackrx_seen(const struct ackrx *a, uint64_t pn)
{
    return pn < a->floor || (pn <= a->largest && ranges_contains(&a->received, pn));
}

/*
 * Record packet `pn`, received at `now` and processed. `ecn` are the two ECN bits of its
 * IP header (0 not marked, 1 ECT(1), 2 ECT(0), 3 CE).
 *
 * Returns 0, or QUIC_DROP if ackrx_seen(a, pn): nothing changed.
 */
int ackrx_add(struct ackrx *a, uint64_t pn, bool eliciting, uint8_t ecn, ns_t now);

/*
 * The peer asks (ACK_FREQUENCY) to go without acknowledgement for up to `threshold`
 * ack-eliciting packets or `max_delay`, and names the `reordering` threshold of its loss
 * detection. The defaults are 1, the max_delay of ackrx_init, and 1.
 */
void ackrx_ask(struct ackrx *a, uint64_t threshold, ns_t max_delay, uint64_t reordering);

/* IMMEDIATE_ACK is in the packet that will be added next. */
static inline void ackrx_at_once(struct ackrx *a)
{
    a->at_once = true;
}

/* Whether an ACK frame must be sent now, if need be in a packet of its own. */
bool ackrx_due(const struct ackrx *a, ns_t now);

/* When an ACK frame becomes due; NS_NEVER if nothing ack-eliciting waits for one. */
ns_t ackrx_deadline(const struct ackrx *a);

/*
 * Whether an ACK frame would tell the peer something new about ack-eliciting packets, so
 * that it should ride along with a packet that is sent anyway.
 */
bool ackrx_pending(const struct ackrx *a);

/*
 * As ackrx_frame, of no more than was told before, and nothing changes: for another path, in
 * case that the first one was lost with its own.
 */
bool ackrx_again(const struct ackrx *a, struct wire_w *w, uint64_t path_id, unsigned exponent,
                 ns_t now);

/*
 * Write an ACK frame (0x02, or 0x03 if an ECN mark was ever received) or, where `path_id`
 * is not ACKRX_NO_PATH, a PATH_ACK frame (0x3e, 0x3f) with that path ID, and count
 * everything as acknowledged. ACK Delay is the time since the largest number arrived, in
 * units of 2^`exponent` microseconds (RFC 9000 19.3). Takes as many ranges as fit.
 * `*largest` (may be null) gets the Largest Acknowledged, for sent_packet.ack_largest.
 *
 * Returns false, with the writer as it was, if nothing was received yet or not even one
 * range fits.
 */
bool ackrx_frame(struct ackrx *a, struct wire_w *w, uint64_t path_id, unsigned exponent,
                 ns_t now, uint64_t *largest);

/*
 * The peer acknowledged a packet of ours with an ACK frame whose Largest Acknowledged was
 * `largest`: numbers up to it need not be reported any more (RFC 9000 13.2.4).
 */
void ackrx_on_ack_of_ack(struct ackrx *a, uint64_t largest);

/*
 * How many ranges the next ACK frame would report. One who sends nothing ack-eliciting
 * for long gets no ack of its acks, and this grows: a PING now and then shortens it.
 */
size_t ackrx_range_count(const struct ackrx *a);

/* Whether the invariant holds: for tests. */
bool ackrx_check(const struct ackrx *a);

#endif
