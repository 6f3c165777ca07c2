/*
 * lookout - the paths of a session as its scheduler sees them.
 *
 * A snapshot of a path (struct sched_path) is made of what the connection says now, what the
 * far end has told of its delay (app/numbered.h), and what is remembered here from one look to
 * the next: how much it has lost in the last time, which the connection only counts from its
 * beginning.
 *
 * lookout_watch is to be called once per batch, and at `check`. It also tells the numbered
 * flows of a path that is over, or of which there is no news for longer than there should be
 * while others are heard: what is in flight on it goes again over those. The far end is told of
 * such a path as well, if nothing comes by it either. And how long to wait for packets.
 *
 * What a path that is given up leaves behind is missed until it is back, or another in its place.
 *
 * Paths are held by their index in the connection, and known by their ID: an index is used again
 * when its path is over.
 *
 * Invariant: what is remembered belongs to the path ID that stands beside it.
 */
#ifndef APP_LOOKOUT_H
#define APP_LOOKOUT_H

#include "app/numbered.h"
#include "app/socks.h"
#include "quic/quic.h"
#include "sched/sched.h"

#define LOOKOUT_PATHS 16                /* by index; of those above nothing is remembered */
#define LOOKOUT_EVERY (100 * NS_PER_MS) /* between two looks at what changes slowly */
#define LOOKOUT_SOON  (10 * NS_PER_MS)  /* while nothing is kept */
#define LOOKOUT_PROOF       2000 /* packets, of which a path that loses would have lost some */
#define LOOKOUT_PARITY      1000   /* of all paths together: a parity pays, */
#define LOOKOUT_PARITY_MOST 150000 /* and no longer does */

/* The least of something, in this time of NUMBERED_LEAST and the one before. */
struct lookout_least {
    ns_t v[2], since; /* 0: there is none */
};

struct lookout_path {
    bool used, heard;
    bool spared;                /* the far end was asked not to use it, */
    unsigned misjudged;         /* times since it was heard that it need not have been, */
    ns_t told_at;               /* and when it was last asked, or told that it may */
    bool standby, doubted;      /* and we were, while we had no news of it */
    unsigned probed;            /* probe timeouts that packets were sent again for, and one */
    uint32_t id;
    uint64_t sent, lost;        /* packets, at the last look */
    double lately, lost_lately; /* the same, the older the less */
    ns_t ramped_at;             /* when its controller last tried what it carries */
    double bps;                 /* that it carries, as it showed */
    ns_t news, lost_at;         /* the last before it was given up, and when it was, */
    ns_t usual;                 /* and the longest time without, pauses aside */
    ns_t pause;                 /* that it made lately without having failed, beyond what is usual */
    bool usable;
    ns_t counts; /* its rate, from then on */
    struct lookout_least rtt;
    ns_t standing;               /* of that, in a queue */
    struct lookout_least jitter; /* it strays more while a queue comes or goes, for a moment */
    uint32_t loss_ppm;
    bool late_known;
    ns_t late; /* as the far end sees it */
};

/* What a path left behind that was given up, and is perhaps over now. */
struct lookout_gap {
    uint32_t id;   /* of that path */
    bool open;     /* it is expected back, or another in its place; else it fills again */
    uint64_t left; /* bytes of flows' windows, */
    ns_t until;    /* which they will want back till then */
};

struct lookout {
    struct lookout_path path[LOOKOUT_PATHS];
    struct lookout_gap gap[LOOKOUT_PATHS];
    size_t paths; /* that were looked at */
    ns_t next;    /* look at what changes slowly, */
    ns_t soon;    /* and at anything */
    ns_t check;   /* when a path that gives no news falls silent; NS_NEVER: none would */
    ns_t slack;   /* by which flows may fill the queue beyond its target, in a dead path's place */
    bool away;    /* there is one such, or was, expected back */
    double bps;   /* that the paths that are heard carry, as they showed */
    ns_t longest_rtt; /* least round trip of the path where that is longest; 0: not known */
    bool lossy;       /* some path loses packets */
    bool parity;      /* so many are lost, of all that are sent, that it is worth to add a parity */
    bool unproven;    /* no path has shown that it loses none */
    bool held; /* paths hold back for reasons of their own: no flow is to blame for a queue */
};

/* Look at the paths. `n` may be null: no flow is ever numbered. */
void lookout_watch(struct lookout *o, struct quic_conn *conn, struct numbered *n, ns_t now);

/*
 * Path `path` (an index) now; all zero where there is none. `reserve` bytes of each DATAGRAM are
 * kept free beside what the queue counts.
 */
struct sched_path lookout_path(const struct lookout *o, const struct quic_conn *conn,
                               const struct socks *socks, size_t path, size_t reserve,
                               ns_t now);

#endif
