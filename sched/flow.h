/*
 * flow - which lane an inner flow is in, by what it does.
 *
 * Model: every flow begins prompt. Each has a score, the time that its queue was filled less the
 * time that it was empty, never below 0. A flow whose score passes FLOW_UP_TIME while
 * FLOW_UP_BYTES went through is limited by the links and nothing else: it becomes bulk. One that
 * sends less than the links carry, however fast, is not: its queue is mostly empty.
 *
 * While links lose packets this can't be told: a flow may be held down by the losses and leave
 * its queue empty. Then FLOW_UP_BYTES in one FLOW_WINDOW are enough; FLOW_UP_ELASTIC of an elastic
 * one (TCP's or QUIC's), which waits for nothing but its own acknowledgements: a packet that its
 * slow start loses costs it seconds, so that nothing after its first flight should be lost.
 *
 * A bulk flow stays one until no packet of it came or went for FLOW_QUIET: so no flow changes
 * lanes more often than that, and its packets never overtake each other by changing.
 *
 * Steady is a bulk flow, not elastic, that sends at one rate, its own: over the last FLOW_WINDOWS
 * windows its queue was empty most of the time and the fastest window was less than half as fast
 * again as the slowest. Live video is; a download isn't, as it keeps its queue filled.
 *
 * Invariant: constant memory, constant time per packet; time that stands still or jumps harms
 * nothing.
 */
#ifndef SCHED_FLOW_H
#define SCHED_FLOW_H

#include "sched/sched.h"

#define FLOW_UP_TIME    (20 * NS_PER_MS)
#define FLOW_UP_BYTES   65536u
#define FLOW_UP_ELASTIC 12288u /* a first flight is 10 packets (RFC 6928, RFC 9002 7.2) */
#define FLOW_QUIET      (1000 * NS_PER_MS)
#define FLOW_WINDOW     (250 * NS_PER_MS)
#define FLOW_WINDOWS    4

/* All zero: a flow that was never seen. */
struct flow {
    enum sched_lane lane;
    bool elastic; /* as one of its packets told */
    bool steady;
    bool filled; /* packets wait */
    bool numbered;
    ns_t last;      /* when a packet came or went; 0: never */
    ns_t score;     /* time filled less time empty */
    uint64_t moved; /* bytes that left since it last was quiet; in the prompt lane: since the
                     * score was 0 */
    ns_t window;    /* when the current window began */
    ns_t window_filled;
    uint32_t window_bytes;
    uint32_t busy;                /* of the window before, of 1024 */
    uint32_t rate[FLOW_WINDOWS];  /* bytes per window, of those before */
    uint16_t share[FLOW_WINDOWS]; /* `busy` of each */
    uint8_t windows;              /* of them known */
};

/* Whether it has been quiet: nothing is worth remembering. */
static inline bool flow_quiet(const struct flow *f, ns_t now)
{
    return !f->filled && ns_sub(now, f->last) >= FLOW_QUIET;
}

/* Count the time up to now, in which the queue was as it is. Begins anew what was quiet. */
void flow_account(struct flow *f, ns_t now);

/* A packet came into its queue, `elastic` as in sched/queue.h. */
static inline void flow_pushed(struct flow *f, bool elastic, ns_t now)
{
    if (now != f->last)
        flow_account(f, now);
    f->elastic |= elastic;
    f->filled = true;
}

/* `bytes` left it; `filled`: others still wait; `lossy`: links lose packets. */
static inline void flow_took(struct flow *f, uint32_t bytes, bool filled, bool lossy, ns_t now)
{
    if (now != f->last)
        flow_account(f, now);
    f->filled = filled;
    f->moved += bytes;
    f->window_bytes += bytes;
    if ((f->score >= FLOW_UP_TIME && f->moved >= FLOW_UP_BYTES) ||
        (lossy && f->window_bytes >= (f->elastic ? FLOW_UP_ELASTIC : FLOW_UP_BYTES)))
        f->lane = SCHED_BULK;
}

#endif
