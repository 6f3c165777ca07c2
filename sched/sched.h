/*
 * sched - which path takes the next burst, and of which flow.
 *
 * A scheduler is a pure function of plain snapshots: the paths as they are now and the
 * packets that wait at the head of each flow. The links pull: the caller asks whenever
 * something may be sent, sends what the decision says, takes a new snapshot and asks
 * again until SCHED_WAIT. So no packet is bound to a path before it can leave, and the
 * queue in front stays the only one.
 *
 * Snapshots are made by whoever owns the paths; nothing here knows QUIC.
 */
#ifndef SCHED_SCHED_H
#define SCHED_SCHED_H

#include "quic/types.h"

#define SCHED_PATHS_MAX 64

/* One path now. */
struct sched_path {
    uint32_t path;       /* the path ID, as the caller knows it */
    bool usable;         /* validated, open, not silent */
    ns_t srtt, min_rtt;  /* smoothed and least round trip; 0 while unmeasured */
    uint64_t rate_bps;   /* estimated or paced rate, bits per second; 0: unknown */
    size_t cwnd_bytes;   /* congestion window */
    size_t flight_bytes; /* of it, in flight */
    size_t room_bytes;   /* what the window lets go now */
    ns_t earliest;       /* when the pacer lets the next packet go; <= now: at once */
    size_t mtu_bytes;    /* longest packet of ours (queue's bytes) that fits a datagram */
    uint32_t loss_ppm;   /* loss rate, packets per million */
};

/* The packets of one flow that wait, by the first of them. */
struct sched_head {
    uint32_t flow;
    size_t bytes;         /* length of the first packet */
    size_t backlog_bytes; /* of all, the first included */
};

struct sched_decision {
    uint32_t path, flow;
    size_t bytes; /* at most so many now, whole packets; at least the first one */
    ns_t wake;    /* with SCHED_WAIT: when time alone changes that; NS_NEVER: never */
};

/* Results of sched_next beside 0. */
enum {
    SCHED_WAIT = -100,  /* nothing can leave now: see `wake` */
    SCHED_TOOBIG = -101 /* the first packet fits no usable path: drop it (`flow` says whose) */
};

struct sched {
    const char *name; /* as on the command line */
    int (*next)(const struct sched_path *views, size_t n, const struct sched_head *heads,
                size_t nheads, ns_t now, struct sched_decision *out);
};

/*
 * All on the usable path with the least smoothed round trip that has room; when its
 * window is full, on the next. With one path: that one.
 */
extern const struct sched sched_minrtt;

/* The scheduler of that name, or null. */
const struct sched *sched_find(const char *name);

/*
 * Decide on the next burst.
 *
 * Returns 0 with path, flow and bytes; SCHED_WAIT if no packet waits (`wake` is then
 * NS_NEVER) or no usable path has room; SCHED_TOOBIG if there is a usable path, but the
 * first packet is above the MTU of each.
 */
static inline int sched_next(const struct sched *s, const struct sched_path *views, size_t n,
                             const struct sched_head *heads, size_t nheads, ns_t now,
                             struct sched_decision *out)
{
    return s->next(views, n, heads, nheads, now, out);
}

/*
 * How much one burst on `p` should carry: some 2 ms at its rate, at least one packet,
 * at most what one segmented UDP send takes (45 packets, 64 KB).
 */
size_t sched_burst_bytes(const struct sched_path *p);

#endif
