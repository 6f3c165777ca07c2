/*
 * queue - packets on their way out, until a path pulls them: fair among flows, and short.
 *
 * Holds nodes, not bytes: a `struct queue_pkt` lies inside its owner's packet, which may be a
 * super-packet of several datagrams that leaves in several pulls. Nothing calls back: what is
 * dropped goes to a list that the owner empties (queue_dropped). One pull is
 *
 *     n = queue_heads(q, now, heads, max);       the flows, in order of service
 *     (choose one)
 *     pkt = queue_first(q, flow, now);           its first packet; CoDel has had its say
 *     for (; pkt; pkt = queue_follow(pkt))       what is behind it
 *     queue_took(q, pkt, bytes, now);            what of it was sent, oldest first
 *
 * Model: flow queueing with CoDel (RFC 8290). Each inner flow has a queue of its own, a CoDel of
 * its own (RFC 8289, sched/codel.h) and a lane (sched/flow.h). Flows of the prompt lane come
 * before those of the bulk lane; within a lane deficit round robin shares by bytes, and flows
 * that are sparse go first. Where CoDel says so, a datagram is dropped, or marked if its sender
 * knows ECN (`ect`): `mark` tells the owner to do it. Of a super-packet, one datagram is
 * dropped, not all: `skip` says how many of its next ones.
 *
 * Bounds: in memory (when a packet would pass it, the flow that holds most drops its oldest), in
 * time (a packet older than that is dropped when its turn comes), and in flows: a table of
 * QUEUE_SLOTS, in sets of QUEUE_WAYS by hash. A flow that finds its set full of others shares
 * one's queue, but never a pull. The table is made by the first packet and given back by
 * queue_trim; without memory for it all flows share one queue. Else nothing allocates.
 *
 * Time inside is a clock that the owner may stop (queue_pause), while the links are held back
 * for reasons of their own, which is no fault of the flows.
 *
 * Invariant: `count`, `bytes` and `held` are the sums over the packets; held <= max_held; a
 * slot with packets is in one list, that of its lane.
 */
#ifndef SCHED_QUEUE_H
#define SCHED_QUEUE_H

#include "sched/codel.h"
#include "sched/flow.h"
#include "sched/sched.h"

#define QUEUE_HELD_LEAST 131072u /* the bound is no less: any one packet may be queued */
#define QUEUE_SLOTS      256u
#define QUEUE_WAYS       8u
#define QUEUE_QUANTUM    3028 /* bytes of a flow per round */
#define QUEUE_TRIM       (10 * NS_PER_S)

#define QUEUE_PATIENCE   4u

#define QUEUE_TARGET_PROMPT (5 * NS_PER_MS)
#define QUEUE_TARGET_BULK   (15 * NS_PER_MS)

/* One packet in the queue: the owner sets the fields below the line. */
struct queue_pkt {
    struct queue_pkt *next;
    ns_t arrived; /* by the queue's clock */
    /* ---- */
    uint32_t flow;  /* hash of the inner flow */
    uint32_t bytes; /* yet to be sent: the lengths of its datagram payloads; never 0 */
    uint32_t unit;  /* its longest datagram payload, that of each but the last */
    uint32_t held;  /* memory that it holds */
    bool ect;       /* its sender knows ECN: marked instead of dropped */
    bool elastic; /* it tells that its flow's sender repairs losses, and slows down for them */
    /* ---- the queue's to the owner; both 0 in a new packet */
    bool mark;     /* its next datagram is to be marked: congestion experienced */
    uint16_t skip; /* so many datagrams before that were dropped: pass them over, set it to 0 */
};

struct queue_stats {
    uint64_t pushed, popped;
    uint64_t dropped_full;  /* by the flow that held most, for want of room */
    uint64_t dropped_old;   /* above the time bound */
    uint64_t dropped_codel; /* datagrams */
    uint64_t marked;        /* the same */
    uint64_t dropped_told;  /* by queue_drop and queue_clear */
};

enum queue_where { QUEUE_NONE, QUEUE_NEW, QUEUE_OLD, QUEUE_BULK, QUEUE_LISTS };

/* A flow's place. */
struct queue_slot {
    struct queue_pkt *head, **tail;
    struct queue_slot *next, *prev; /* in its list */
    uint32_t tag;                   /* the flow, that of `head` if there is one */
    uint32_t count, bytes, held;
    int32_t deficit;
    enum queue_where where;
    struct codel codel;
    struct flow flow;
};

struct queue_list {
    struct queue_slot *first, *last;
};

struct queue_table;

struct queue {
    size_t count, bytes, held;
    size_t max_held;
    ns_t max_age;    /* of prompt packets; QUEUE_PATIENCE times as much of bulk ones */
    ns_t target[2];  /* CoDel's, by enum sched_lane; may be changed at any time */
    ns_t slack;      /* by which bulk flows may exceed theirs: the owner's to set */
    bool may_number; /* the far end knows numbered packets: the owner's to set */
    bool lossy;      /* the links lose packets: the owner's to set */
    bool paused;
    ns_t paused_since, paused_for;
    ns_t used;       /* when a packet came last */
    ns_t filled;     /* since when packets wait, by its clock */
    ns_t sojourn[2]; /* how long packets that left had waited, a mean of the last few, by lane */
    struct queue_stats stats;
    struct queue_list list[QUEUE_LISTS];
    struct queue_slot *recent; /* looked up last */
    struct queue_table *table;
    struct queue_slot one; /* of all flows, without a table */
    struct queue_pkt *dropped;
};

/*
 * An empty queue, bounded to `max_held` bytes of memory (QUEUE_HELD_LEAST at least) and to
 * packets not older than `max_age`, NS_NEVER for no bound. It must not be moved in memory.
 */
void queue_init(struct queue *q, size_t max_held, ns_t max_age);

/* Give back the table. The queue must be empty, and what it dropped taken. */
void queue_free(struct queue *q);

/* Put a packet behind its flow's others; the flow that holds most drops while it doesn't fit. */
void queue_push(struct queue *q, struct queue_pkt *pkt, ns_t now);

/*
 * The flows that wait, in the order in which they should be served, `max` at most. Packets that
 * are too old are dropped first. Returns how many; 0 if and only if the queue is empty.
 */
size_t queue_heads(struct queue *q, ns_t now, struct sched_head *out, size_t max);

/*
 * The first packet of a flow that queue_heads named and that is about to be sent: CoDel may
 * have dropped some before it, and marked it. Null if no such flow waits.
 */
struct queue_pkt *queue_first(struct queue *q, uint32_t flow, ns_t now);

/* The packet of the same flow behind it, null if there is none. */
static inline struct queue_pkt *queue_follow(const struct queue_pkt *pkt)
{
    return pkt->next && pkt->next->flow == pkt->flow ? pkt->next : NULL;
}

/*
 * `bytes` of the first packet of a flow were sent. Returns whether that was the rest of it: it
 * has then left the queue and is the caller's again.
 */
bool queue_took(struct queue *q, struct queue_pkt *pkt, uint32_t bytes, ns_t now);

/* A flow's place, until the next call; null if it has none, or shares one with others. */
const struct queue_slot *queue_find(struct queue *q, uint32_t flow);

/* Packets of this flow go numbered: SCHED_NUMBERED from now on, until it is quiet. */
void queue_numbered(struct queue *q, uint32_t flow);

/* Drop the first packet of a flow, as a whole; or all packets of all flows. */
void queue_drop(struct queue *q, uint32_t flow);
void queue_clear(struct queue *q);

/*
 * A dropped packet, the caller's again; null when there are no more. Call after any of the
 * above.
 */
struct queue_pkt *queue_dropped(struct queue *q);

/* Stop its clock, or let it go on. */
void queue_pause(struct queue *q, bool pause, ns_t now);

/* Flows that had a packet within the last FLOW_QUIET, and how long their packets wait. */
struct queue_flows {
    unsigned prompt, bulk;
    unsigned steady, numbered; /* of them */
    ns_t waited[2];            /* by those that left lately, by enum sched_lane */
};

void queue_flows(const struct queue *q, ns_t now, struct queue_flows *out);

/* Give back memory that was not needed for QUEUE_TRIM. Cheap. */
void queue_trim(struct queue *q, ns_t now);

/* Whether the invariant holds, by a walk over all packets. */
bool queue_check(const struct queue *q);

#endif
