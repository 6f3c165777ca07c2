/*
 * queue - packets on their way out, in order, until a path pulls them.
 *
 * Holds nodes, not bytes: a `struct queue_pkt` lies inside its owner's packet, which may be
 * a super-packet that leaves in several pulls. First in, first out; bounded in the memory that
 * the packets hold and in time. When a packet would pass the byte bound, the oldest go (they
 * are the ones whose sender learns of it soonest); a packet older than the time bound is
 * dropped when its turn comes.
 *
 * What is dropped goes to a list that the owner empties (queue_dropped): nothing is freed here
 * and nothing calls back. Nothing allocates.
 *
 * Invariant: `held` and `bytes` are the sums over the packets; held <= max_held.
 */
#ifndef SCHED_QUEUE_H
#define SCHED_QUEUE_H

#include "quic/types.h"

#define QUEUE_HELD_LEAST 131072u /* the bound is no less: any one packet may be queued */

/* One packet in the queue: the owner sets the fields below the line. */
struct queue_pkt {
    struct queue_pkt *next;
    ns_t arrived;
    /* ---- */
    uint32_t flow;  /* hash of the inner flow */
    uint32_t bytes; /* yet to be sent: the lengths of its datagram payloads; never 0 */
    uint32_t unit;  /* its longest datagram payload */
    uint32_t held;  /* memory that it holds */
};

struct queue_stats {
    uint64_t pushed, popped;
    uint64_t dropped_full; /* the oldest, for want of room */
    uint64_t dropped_old;  /* above the time bound */
    uint64_t dropped_told; /* by queue_drop and queue_clear */
};

struct queue {
    struct queue_pkt *head, **tail;
    struct queue_pkt *dropped;
    size_t count, bytes, held;
    size_t max_held;
    ns_t max_age;
    struct queue_stats stats;
};

/*
 * An empty queue, bounded to `max_held` bytes of memory (QUEUE_HELD_LEAST at least) and to
 * packets not older than `max_age`, NS_NEVER for no bound. It must not be moved in memory.
 */
void queue_init(struct queue *q, size_t max_held, ns_t max_age);

/* Put a packet at the end; the oldest are dropped while it does not fit. */
void queue_push(struct queue *q, struct queue_pkt *pkt, ns_t now);

/* The oldest packet that is not too old; those before it are dropped. Null if none. */
struct queue_pkt *queue_head(struct queue *q, ns_t now);

/*
 * `bytes` of the oldest packet were sent. Returns whether that was the rest of it: it has then
 * left the queue and is the caller's again.
 */
bool queue_took(struct queue *q, uint32_t bytes);

/* Drop the oldest packet, or all of them. */
void queue_drop(struct queue *q);
void queue_clear(struct queue *q);

/* A dropped packet, the caller's again; null when there are no more. Call after any of the above. */
struct queue_pkt *queue_dropped(struct queue *q);

/* Whether the invariant holds, by a walk over all packets. */
bool queue_check(const struct queue *q);

#endif
