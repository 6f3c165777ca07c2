/*
 * link - a bottleneck whose nature may change while packets travel: rate, drop-tail queue,
 * delay, loss, jitter, marks, a policer, air time in slots, pauses.
 *
 *     policer -> [queue] -> rate -> loss -> delay, jitter, slots
 *
 * Packets keep their order. Every field of `struct sim_link` up to `measured` may be set at
 * any time and holds for packets that arrive from then on; those on their way keep the
 * times they were given. Of what passes, the node records how long it stood in the queue.
 */
#ifndef SIM_LINK_H
#define SIM_LINK_H

#include "test/sim/net.h"

struct sim_link {
    struct sim_node node;
    uint64_t bps;      /* bits per second */
    uint64_t queue;    /* bytes in front of it */
    ns_t delay;        /* one way */
    ns_t jitter;       /* up to so much more or less, but never out of order */
    uint32_t loss_ppm; /* at random, of what left the queue */
    uint64_t mark;     /* CE on what finds so many bytes in the queue; 0: never */
    ns_t slot;         /* arrivals only at multiples of this; 0: at any time */
    ns_t pause, until; /* nothing leaves the queue from `pause` to before `until` */
    uint64_t police_bps, police_burst; /* a token bucket that drops the excess; 0: none */

    /* measured, and the link's own */
    double queued_ns; /* sum over the packets that passed the queue */
    uint64_t packets, marked, lost, overflowed, policed;
    ns_t free_at, last_at, police_at;
    double police_tokens;
    struct sim_packet *head, **tail;
};

/* A link of `bps`, `queue` bytes and `delay` one way, without any of the rest. */
struct sim_link *sim_link(struct sim *sim, uint64_t bps, uint64_t queue, ns_t delay);

/* Mean time in the queue since the last call, in ns. */
double sim_link_queueing(struct sim_link *link);

#endif
