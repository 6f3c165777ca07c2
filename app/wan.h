/*
 * wan - links with a rate, a delay, a queue and losses, between packet descriptors.
 *
 * Model of one direction (`struct wan_core`, pure, virtual time):
 *
 *   put -> [drop-tail queue] -> serialiser at `rate_bps` -> loss -> delay + jitter -> get
 *
 * A packet waits in the queue, occupies the line for its size / rate, is then lost or not
 * (so lost packets use capacity, as on a radio link), and arrives `delay` plus a uniform
 * draw of 0..jitter later. With `reorder` unset none arrives before an earlier one. A change
 * of the shape acts at once on everything still queued, and not on what is in the air.
 *
 * Invariant: packets put = got + dropped (each reason counted) + held.
 * Limit: WAN_HELD_MAX packets held per direction.
 *
 * `struct wan` joins pairs of descriptors (TUN devices in other namespaces, or anything that
 * keeps packet borders) by two cores each. wan_run does the I/O, in a thread or a forked
 * child; shapes and counters live in shared memory, so that the creator can change and read
 * them meanwhile. Packets that come within WAN_GROUP_NS are handled together.
 */
#ifndef APP_WAN_H
#define APP_WAN_H

#include <sys/types.h>

#include "quic/log.h"
#include "quic/types.h"

#define WAN_HELD_MAX  131072           /* packets held in one direction */
#define WAN_GROUP_NS  (50 * NS_PER_US) /* packets and timers handled together */
#define WAN_LINKS_MAX 16

/* One direction of a link. All zero: an unlimited, immediate, perfect wire. */
struct wan_shape {
    uint64_t rate_bps;    /* bits per second of whole packets; 0: unlimited */
    ns_t delay;           /* one way */
    ns_t jitter;          /* more delay, uniform in 0..jitter */
    ns_t queue_time;      /* drop-tail limit as time at rate_bps; 0: see queue_bytes */
    uint64_t queue_bytes; /* drop-tail limit; the smaller of both; both 0: 50 ms at rate_bps */
    uint32_t loss_ppm;    /* average loss, per million packets */
    uint32_t loss_burst;  /* mean length of a loss in packets; 0, 1: independent */
    bool reorder;         /* jitter may reorder */
    bool black_hole;      /* everything that reaches the end of the line is lost */
};

/* Counters of one direction. */
struct wan_stats {
    uint64_t in_packets, in_bytes;   /* put */
    uint64_t out_packets, out_bytes; /* delivered */
    uint64_t drops_queue;            /* queue full, or WAN_HELD_MAX */
    uint64_t drops_loss;             /* drawn */
    uint64_t drops_hole;             /* black hole */
    uint64_t drops_io;               /* the far descriptor took it not */
    uint64_t queued_bytes;           /* gauge: waiting for the line or on it */
    uint64_t held_packets;           /* gauge: queued and in the air */
};

/* ---- one direction in virtual time ---- */

struct wan_pkt {
    struct wan_pkt *next;
    ns_t at;      /* entered the queue; then, when it arrives */
    uint64_t seq; /* order among equal times */
    size_t n;
    uint8_t p[];
};

struct wan_core {
    struct wan_shape shape;
    struct wan_stats stats;
    struct wan_pkt *head, **tail; /* the queue; head is on the line */
    ns_t free_at;                 /* the line is free from then on */
    ns_t last_at;                 /* latest arrival given out so far */
    struct wan_pkt **air;         /* heap by (at, seq) */
    size_t air_n, air_cap;
    uint64_t seq, random;
    bool bad; /* within a burst of loss */
};

/* An empty line; `seed` starts its generator. */
void wan_core_init(struct wan_core *c, const struct wan_shape *shape, uint64_t seed);
void wan_core_free(struct wan_core *c);

/* Change the shape from `now` on. */
void wan_core_set(struct wan_core *c, const struct wan_shape *shape, ns_t now);

/*
 * Put a packet (copied) on the line at `now`, which must never go back.
 * Returns 0, QUIC_DROP (queue full) or QUIC_NOMEM; both counted in drops_queue.
 */
int wan_core_put(struct wan_core *c, const void *p, size_t n, ns_t now);

/* The next packet that has arrived by `now`, the caller's to free(), or NULL. */
struct wan_pkt *wan_core_get(struct wan_core *c, ns_t now);

/* When wan_core_get may have something next; NS_NEVER if nothing is held. */
ns_t wan_core_next(struct wan_core *c);

/* The invariants above; for tests. */
bool wan_core_check(const struct wan_core *c);

/* ---- links with descriptors ---- */

struct wan_link {
    int fd[2];                 /* direction 0 goes from fd[0] to fd[1], 1 back */
    struct wan_shape shape[2]; /* of each direction */
};

struct wan;

/*
 * Join `n` links. The descriptors stay the caller's, and are made non-blocking; `seed` makes
 * losses and jitter repeat.
 *
 * Returns 0, QUIC_NOMEM, or QUIC_INVAL (n 0 or above WAN_LINKS_MAX, bad descriptor).
 */
int wan_new(const struct wan_link *links, size_t n, uint64_t seed, struct wan **out);

/* Free; no wan_run may be at work any more. */
void wan_del(struct wan *w);

/*
 * Carry packets until `stop_fd` becomes readable or hangs up (-1: for ever). Blocks.
 * Returns 0, or a negative errno when the system refused epoll or a timer.
 */
int wan_run(struct wan *w, int stop_fd);

/* From any process that shares `w` since before a fork, or any thread, at any time: */

void wan_set(struct wan *w, size_t link, unsigned dir, const struct wan_shape *shape);
void wan_get(const struct wan *w, size_t link, unsigned dir, struct wan_shape *shape);
void wan_count(const struct wan *w, size_t link, unsigned dir, struct wan_stats *out);

#endif
