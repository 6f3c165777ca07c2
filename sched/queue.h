/*
 * queue - packets on their way out, in one ring of bytes.
 *
 * First in, first out; bounded in bytes and in time. A packet is copied in once, with
 * its arrival time and flow beside it, and lent out from where it lies. When a packet
 * would pass the byte bound, the oldest go (they are the ones whose sender learns of
 * it soonest); a packet older than the time bound is dropped when its turn comes.
 *
 * The ring exists from the first packet on, doubles up to the bound, and gives memory
 * back when the traffic no longer needs it (queue_trim). No packet allocates by itself.
 *
 * A record is 16 bytes of head and the packet, rounded up to 8; it never wraps: where
 * the end of the ring is too near, it starts again at the front. The bound counts
 * records, so that small packets can't take more memory than large ones.
 *
 * Invariant: `used` is the sum of the records, at most max_bytes and at most `peak`; head,
 * tail and wrap are multiples of 8 within the ring, whose size is a power of two.
 */
#ifndef SCHED_QUEUE_H
#define SCHED_QUEUE_H

#include "quic/types.h"

#define QUEUE_RING_MIN   16384u
#define QUEUE_PACKET_MAX 65600u /* a largest IP packet and what goes before it */

struct queue_stats {
    uint64_t pushed, popped;
    uint64_t dropped_full;  /* the oldest, for want of room */
    uint64_t dropped_old;   /* above the time bound */
    uint64_t dropped_flush; /* by queue_clear */
};

/* One packet in the queue. */
struct queue_item {
    struct span pkt; /* until the next queue_push, queue_trim or queue_free */
    ns_t arrived;
    uint32_t flow;
};

struct queue {
    uint8_t *ring;
    size_t cap;        /* size of the ring, 0 or a power of two */
    size_t head, tail; /* offsets of the oldest record and of the next free byte */
    bool turned;       /* records lie in head..wrap and 0..tail, else in head..tail */
    size_t wrap;
    size_t count, used;
    size_t packet_bytes; /* sum of packet lengths */
    size_t max_bytes;
    ns_t max_age;
    size_t peak; /* highest `used` since trim_at */
    ns_t trim_at;
    struct queue_stats stats;
};

/*
 * An empty queue, bounded to `max_bytes` of records (at least one largest packet is made
 * of a smaller value) and to packets not older than `max_age`, NS_NEVER for no bound.
 */
void queue_init(struct queue *q, size_t max_bytes, ns_t max_age);
void queue_free(struct queue *q);

/*
 * Copy one packet in at the end; drops the oldest while it does not fit.
 *
 * Returns 0; QUIC_INVAL for an empty packet, QUIC_TOOBIG for one above
 * QUEUE_PACKET_MAX, QUIC_NOMEM without memory for a first or larger ring: the packet
 * is not queued.
 */
int queue_push(struct queue *q, struct span pkt, uint32_t flow, ns_t now);

/* Look at the oldest packet that is not too old; those before it go. False if none. */
bool queue_head(struct queue *q, ns_t now, struct queue_item *out);

/* The same for the `max` oldest, oldest first. Returns their number. */
size_t queue_peek(struct queue *q, ns_t now, struct queue_item *out, size_t max);

/*
 * Take the oldest packet out. Its bytes stay as they are until the next queue_push,
 * queue_trim or queue_free, so that a batch can be popped and then sent.
 */
void queue_pop(struct queue *q);

/* Change the bounds; what is above the new byte bound goes at once. */
void queue_limit(struct queue *q, size_t max_bytes, ns_t max_age);

/* Drop everything. */
void queue_clear(struct queue *q);

/* Packets, and the sum of their lengths. */
static inline size_t queue_count(const struct queue *q)
{
    return q->count;
}

static inline size_t queue_bytes(const struct queue *q)
{
    return q->packet_bytes;
}

/*
 * Give memory back: at most once a second, halves a ring of which not a quarter was
 * used since the last time, and frees it when it has been empty throughout. Cheap; to
 * be called from a housekeeping timer.
 */
void queue_trim(struct queue *q, ns_t now);

/* Whether the invariant holds, by a walk over all records. */
bool queue_check(const struct queue *q);

#endif
