/*
 * reseq - numbered flows in order again, at the far end of several paths.
 *
 * Per flow: the number that is due, and the packets behind a gap, copied, in a ring by number.
 * A packet in sequence passes at once and is not copied. A gap is waited for until the first of
 *
 *   1. it is filled,
 *   2. the sender's floor rises above it: no repair is coming any more,
 *   3. `hold` has gone by since the flow last moved on,
 *   4. a packet behind it, and behind others, has waited for twice the longest `hold`,
 *   5. memory is at its bound: the flow that has waited longest goes first.
 *
 * Then everything up to the next gap is released, in order; of a flow that is to be spread not
 * all at once: in RESEQ_TURN a quarter more than came in each of late, or RESEQ_BURST packets. A
 * receiver of UDP has room for some ninety packets, if it did not ask for more. A packet that
 * comes after its gap was given up passes late, once; every other number below the one due is a
 * duplicate. One that is too far ahead of what is held, or that there is no memory for, passes
 * late, too.
 *
 *     reseq_push(...)             a packet arrived: it passes, or is held
 *     while (reseq_next(...))     deliver what was released
 *     reseq_done                  and give its memory back
 *     reseq_deadline, reseq_tick  when time has something to say
 *
 * Memory: bounded by max_bytes and an eighth, copies and bookkeeping together, and a pool of as
 * much; an idle flow gives its part back. Only packets behind a gap allocate, from the pool.
 *
 * Invariant: every held packet has a number above `due` and below due + its ring's size; `held`
 * is their sum; a flow without held packets waits for nothing.
 */
#ifndef SCHED_RESEQ_H
#define SCHED_RESEQ_H

#include "quic/types.h"

#define RESEQ_FLOWS   64
#define RESEQ_BITS    24 /* of a number on the wire */
#define RESEQ_NUMBERS (1u << RESEQ_BITS)
#define RESEQ_WINDOW  65536 /* numbers beyond the one due that may be held */
#define RESEQ_PAST    4096  /* numbers below the one due of which is known whether they came */
#define RESEQ_CHUNK   2048  /* bytes of a packet of the pool; longer ones are allocated alone */
#define RESEQ_BURST   32
#define RESEQ_TURN    NS_PER_MS
#define RESEQ_IDLE    (10 * NS_PER_S) /* a flow that is silent so long is forgotten */

enum reseq_verdict {
    RESEQ_PASS,     /* in sequence: deliver it, then what reseq_next releases */
    RESEQ_LATE,     /* its gap was given up, but it is no duplicate: deliver it */
    RESEQ_HELD,     /* copied: it comes out of reseq_next */
    RESEQ_DUPLICATE /* came before: drop it */
};

struct reseq_stats {
    uint64_t passed, held, late, duplicates;
    uint64_t given_floor, given_time, given_memory; /* numbers given up, by reason */
    ns_t longest, waited;                           /* that a packet was held; all of them */
};

struct reseq_flow;

struct reseq {
    struct reseq_flow *flow[RESEQ_FLOWS];
    uint64_t ready;   /* bit per flow: has something to release */
    uint64_t spread;  /* is not to release all of it at once */
    uint64_t resting; /* has released enough for this turn */
    ns_t turn_end;
    size_t bytes;   /* memory, that of the pool included */
    size_t max_bytes;
    size_t held; /* packets */
    ns_t hold, most;
    struct reseq_chunk *spare; /* pool */
    size_t spare_n;
    struct reseq_chunk *lent; /* by reseq_next */
    struct reseq_stats stats;
};

/* `hold`: the longest that a gap is waited for; may be set lower at any time (r->hold). */
void reseq_init(struct reseq *r, size_t max_bytes, ns_t hold);
void reseq_free(struct reseq *r);

/* What `flow` releases is to be spread, or not. */
void reseq_spread(struct reseq *r, unsigned flow, bool spread);

/*
 * Packet `number` of `flow` (below RESEQ_FLOWS) has arrived; numbers are those of 24 bits on the
 * wire. `floor`: how far below `number` the oldest lies that may still come. `pkt` is borrowed
 * for the call; it may be empty. Without memory for a copy the packet passes out of order.
 */
enum reseq_verdict reseq_push(struct reseq *r, unsigned flow, uint32_t number, uint32_t floor,
                              struct span pkt, ns_t now);

/* The sender says: the next number is `number`, and nothing below `number - floor` is coming. */
void reseq_floor(struct reseq *r, unsigned flow, uint32_t number, uint32_t floor, ns_t now);

/* The next packet that is released; its bytes are the caller's until reseq_done. False: none. */
bool reseq_next(struct reseq *r, ns_t now, struct span *pkt);

/* All that reseq_next gave is done with. */
void reseq_done(struct reseq *r);

/* When a gap's time is over, or a turn; NS_NEVER while nothing is held. */
ns_t reseq_deadline(const struct reseq *r);

/* Give up what is due; then pull by reseq_next. Also forgets idle flows. */
void reseq_tick(struct reseq *r, ns_t now);

bool reseq_check(const struct reseq *r);

#endif
