/*
 * sched - which path takes the next burst, and of which flow.
 *
 * A scheduler decides from plain snapshots: the paths as they are now and the packets that
 * wait at the head of each flow. The links pull: the caller asks whenever something may be
 * sent, sends what the decision says, tells what was sent, takes new snapshots and asks again
 * until SCHED_WAIT. So no packet is bound to a path before it can leave, and the queue in
 * front stays the only one.
 *
 *     minrtt       the usable path with the least round trip that has room
 *     wlb          each TCP flow on one path, weighted by what the paths carry; UDP by packets
 *     wlb_udp_pin  the same with UDP flows on one path each as well
 *     backup       one path, the others when it is gone
 *     redundant    every packet on every path that has room for it
 *     auto         prompt flows by earliest arrival, bulk flows over all links that are worth it
 *
 * What a scheduler remembers (where a flow is, what a link has brought) lies in a struct
 * sched_state, owned by the caller and bounded. Every scheduler works without one as well,
 * by the snapshots alone; with one path none needs it.
 *
 * Snapshots are made by whoever owns the paths; nothing here knows QUIC. The model is in
 * docs/scheduling.md.
 */
#ifndef SCHED_SCHED_H
#define SCHED_SCHED_H

#include "quic/types.h"

#define SCHED_PATHS_MAX  64
#define SCHED_HEADS      16 /* flows that are worth looking at together */
#define SCHED_COPIES_MAX 7  /* further paths of one decision */
#define SCHED_LOSSY      200 /* lost packets of a million: more are to be expected */

/* How bulk flows wait at the far end, unless a head says otherwise. */
#define SCHED_HOLD          (1000 * NS_PER_MS)
#define SCHED_REORDER_BYTES (6u << 20) /* most that one flow should have waiting there */

/* What the owner wants of a path. The first tier that has a live path is used. */
enum sched_priority {
    SCHED_PRIMARY,
    SCHED_SECONDARY, /* joins when no primary path has room */
    SCHED_BACKUP,    /* only while no other path is alive */
    SCHED_NEVER
};

/* How long nothing was heard of what was sent on a path. */
enum sched_silence {
    SCHED_HEARD,
    SCHED_SUSPECT, /* longer than it ever should: nothing new on it if there is another */
    SCHED_SILENT   /* twice that, or known to be cut */
};

/* One path now. */
struct sched_path {
    uint32_t path;       /* the path ID: what is remembered of a path goes by it */
    bool usable;         /* validated, open */
    ns_t srtt, min_rtt;  /* smoothed and least round trip; 0 while unmeasured */
    uint64_t rate_bps;   /* that it carries, estimated, bits per second; 0: unknown */
    ns_t queued;         /* that what is in flight stands in front of the link, estimated */
    size_t cwnd_bytes;   /* congestion window */
    size_t flight_bytes; /* of it, in flight */
    size_t room_bytes;   /* what the window lets go now */
    ns_t earliest;       /* when the pacer lets the next packet go; <= now: at once */
    size_t mtu_bytes;    /* longest packet of ours (queue's bytes) that fits a datagram */
    uint32_t loss_ppm;   /* loss rate, packets per million */
    bool unproven;       /* has not carried enough to tell a low one */

    ns_t
        delay; /* one-way, above that of the quickest path, without queues, as the far end sees it */
    bool delay_known; /* else it is guessed from half the round trips */
    ns_t jitter;      /* how far its delay strays */
    enum sched_priority priority;
    enum sched_silence silence;
};

/*
 * What a flow is, by what it does (sched/flow.h): prompt, the default; or bulk, which keeps
 * its queue filled.
 */
enum sched_lane { SCHED_PROMPT, SCHED_BULK };

/* Whether packets of a flow are numbered, so that the far end puts them in order. */
enum sched_numbering {
    SCHED_PLAIN,   /* no: the far end knows nothing of it */
    SCHED_MAY,     /* they may be */
    SCHED_NUMBERED /* they are already: plain ones could overtake those that are lost */
};

/* The packets of one flow that wait, by the first of them. */
struct sched_head {
    uint32_t flow;
    size_t bytes;         /* length of the first packet */
    size_t backlog_bytes; /* of all, the first included */

    enum sched_lane lane;
    enum sched_numbering numbering;
    bool elastic;         /* TCP, QUIC: its sender repairs losses, and slows down for them */
    bool steady;          /* the others: of a steady rate that is not the link's */
    uint64_t moved_bytes; /* sent since it last was quiet */
    uint32_t busy;        /* share of the last time in which its queue was filled, of 1024 */
    ns_t waited;          /* by the first packet */
    ns_t standing;        /* time in which the queue, of all flows, was never empty */
    ns_t deadline;        /* longest wait at the far end; 0: SCHED_HOLD */
};

struct sched_decision {
    uint32_t path, flow;
    size_t bytes;  /* at most so many now, whole packets; at least the first one */
    ns_t wake;     /* with SCHED_WAIT: when time alone changes that; NS_NEVER: never */
    bool numbered; /* the packets are numbered: the far end puts them in order, once each */
    bool shared;   /* packets of flows of the same lane that wait too may fill up the burst */
    size_t copies; /* the same burst goes on so many paths besides, where it fits */
    uint32_t copy[SCHED_COPIES_MAX];
};

/* Results of sched_next beside 0. */
enum {
    SCHED_WAIT = -100,  /* nothing can leave now: see `wake` */
    SCHED_TOOBIG = -101 /* the first packet fits no usable path: drop it (`flow` says whose) */
};

struct sched_state;

struct sched {
    const char *name; /* as on the command line */
    int (*next)(struct sched_state *st, const struct sched_path *views, size_t n,
                const struct sched_head *heads, size_t nheads, ns_t now,
                struct sched_decision *out);
    void (*sent)(struct sched_state *st, const struct sched_path *views, size_t n,
                 const struct sched_head *head, const struct sched_decision *d, size_t bytes,
                 ns_t now);
};

extern const struct sched sched_minrtt, sched_wlb, sched_wlb_udp_pin, sched_backup,
    sched_redundant, sched_auto;

/* The scheduler of that name, or null. */
const struct sched *sched_find(const char *name);

/* All of them, by index from 0; null at the end. The first is the default. */
const struct sched *sched_at(size_t i);

/* What a scheduler remembers, all forgotten; null without memory. One per session, some 20 kB. */
struct sched_state *sched_state_new(void);
void sched_state_del(struct sched_state *st);

/*
 * Decide on the next burst. `heads` in order of service, prompt flows first (queue_heads);
 * `st` may be null.
 *
 * Returns 0 with path, flow and bytes; SCHED_WAIT if no packet waits (`wake` is then
 * NS_NEVER) or no usable path has room; SCHED_TOOBIG if there is a usable path, but the
 * first packet of `flow` is above the MTU of each.
 */
static inline int sched_next(const struct sched *s, struct sched_state *st,
                             const struct sched_path *views, size_t n,
                             const struct sched_head *heads, size_t nheads, ns_t now,
                             struct sched_decision *out)
{
    return s->next(st, views, n, heads, nheads, now, out);
}

/*
 * `bytes` of `head` went as `d` said; both, and the views, as they were for sched_next. For
 * each flow of a shared burst.
 */
static inline void sched_sent(const struct sched *s, struct sched_state *st,
                              const struct sched_path *views, size_t n,
                              const struct sched_head *head, const struct sched_decision *d,
                              size_t bytes, ns_t now)
{
    if (st && s->sent)
        s->sent(st, views, n, head, d, bytes, now);
}

/*
 * Where `bytes` that can't wait go: out->path is the one on which they arrive first, whether or
 * not it takes them at once. Returns as sched_next, `flow` aside.
 */
int sched_urgent(const struct sched_path *views, size_t n, size_t bytes, ns_t now,
                 struct sched_decision *out);

/*
 * How much one burst on `p` should carry: some 2 ms at its rate, at least one packet,
 * at most what one segmented UDP send takes (45 packets, 64 KB).
 */
size_t sched_burst_bytes(const struct sched_path *p);

#endif
