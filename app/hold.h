/*
 * hold - the windows of inner TCP flows, held down while a link is away.
 *
 * A link that is lost leaves the flows with windows for more links than there are: what is too
 * much stands in the queue. Were they to grow on, CoDel would have to drop a packet, and the
 * application at the receiver would wait for it as long as that queue is. And a window once cut
 * takes long to grow again when the link is back.
 *
 * So a sender is told otherwise. It is at this end of the tunnel, and the acknowledgements that it
 * waits for come through it: in each the receive window is lowered, so far that what is let in has
 * HOLD_TIME in the queue at most, or what CoDel bears if that is less. Nothing is dropped, the
 * sender's congestion window stays as it was, and the first acknowledgement that is left alone
 * gives it back.
 *
 * That begins when there is more in the queue. A window is never taken back from what was sent
 * already (RFC 9293 3.8.6), but for the rounding to its unit (RFC 7323 2.4), nor below HOLD_LEAST:
 * some packet is always under way whose acknowledgement opens it again. Where the sender is far
 * away, so that the queue runs empty all the same, it is allowed in addition what leaves in the
 * time that it takes to hear of that, and to answer: this is measured then.
 *
 * The window's unit is told in SYNs alone (RFC 7323 2.2), which are looked at all the time; for a
 * flow whose SYN was not seen, or was so long ago that others took its place, nothing is done. Nor
 * for one whose segments are signed.
 */
#ifndef APP_HOLD_H
#define APP_HOLD_H

#include "masque/ippkt.h"
#include "sched/queue.h"

#define HOLD_TIME  (150 * NS_PER_MS)
#define HOLD_LEAST 8192u /* bytes of window */
#define HOLD_EVERY (10 * NS_PER_MS)
#define HOLD_SETS  64u
#define HOLD_WAYS  4u

/* One flow that leaves by the queue. */
struct hold_flow {
    uint32_t flow; /* its hash */
    uint8_t scale; /* shift count of the windows that its receiver tells */
    bool used;
    bool sending;  /* `end` is known */
    bool held;     /* what follows is known: */
    uint32_t end;  /* sequence number behind what was sent, */
    uint32_t edge; /* and to which it was allowed */
    bool timed;    /* when all up to `mark`, which it was told of at `marked_at`, has come */
    uint32_t mark;
    ns_t marked_at;
    ns_t trip; /* from here to the sender and back, as it showed */
};

struct hold {
    struct queue *queue;
    uint64_t seed; /* of flow hashes */
    double bps;    /* of the links that are left, at best since */
    uint32_t room; /* bytes in the queue for each flow; 0: no link is away */
    ns_t time;     /* for which that lasts */
    ns_t look, now; /* the next look; the last one */
    uint32_t next; /* way to be used again */
    struct hold_flow flow[HOLD_SETS][HOLD_WAYS];
};

/* The queue is borrowed; `seed` is that of the hashes of its flows. */
void hold_init(struct hold *h, struct queue *queue, uint64_t seed);

/* Whether a link is away, and what the others carry, in bit/s. Cheap; once per batch. */
void hold_look(struct hold *h, bool away, double bps, ns_t now);

void hold_look_out(struct hold *h, const uint8_t *pkt, size_t n, size_t tcp, uint32_t flow);
void hold_look_in(struct hold *h, uint8_t *pkt, size_t n, size_t tcp);

static inline bool hold_wants(const struct hold *h, const uint8_t *pkt, size_t tcp)
{
    return tcp && (h->room || pkt[tcp + IPPKT_TCP_FLAGS] & IPPKT_TCP_SYN);
}

/* A packet, or a super-packet, that was parsed goes into the queue as one of `flow`. */
static inline void hold_out(struct hold *h, const uint8_t *pkt, size_t n, uint32_t flow)
{
    size_t tcp = ippkt_tcp(pkt, n);

    if (hold_wants(h, pkt, tcp))
        hold_look_out(h, pkt, n, tcp, flow);
}

/* A packet that was parsed came through the tunnel, its checksum whole. It may be changed. */
static inline void hold_in(struct hold *h, uint8_t *pkt, size_t n)
{
    size_t tcp = ippkt_tcp(pkt, n);

    if (hold_wants(h, pkt, tcp))
        hold_look_in(h, pkt, n, tcp);
}

#endif
