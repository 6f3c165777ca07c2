/*
 * numbered - a session's numbered flows: numbers out, order in, repair between.
 *
 * Joins masque/bulk, sched/repair, sched/parity and sched/reseq. Outwards, each packet of a
 * numbered flow gets its head and is kept under a tag; the transport's fates settle the tags,
 * and what is lost is there to be sent again. Inwards, packets are put in order and delivered,
 * and the delays of the paths are compared by the sender's times: once every 100 ms of traffic
 * the far end is told how much later than on the fastest path its packets arrive on each, at
 * their earliest: what stands in queues on the way is left out, as the sender sees it sooner.
 *
 * Memory: NUMBERED_BYTES for what may go again and as much for what waits for its turn; less where
 * all sessions together come near the cap of the process.
 *
 * Which flow is numbered, and which path a packet takes, is the scheduler's business; that the peer
 * understands it, the owner's (BULK_FIELD).
 */
#ifndef APP_NUMBERED_H
#define APP_NUMBERED_H

#include "app/device.h"
#include "app/hold.h"
#include "masque/bulk.h"
#include "masque/connect_ip.h"
#include "quic/quic.h"
#include "sched/parity.h"
#include "sched/repair.h"
#include "sched/reseq.h"

#define NUMBERED_BYTES    (16u << 20) /* for repair, and as much for order */
#define NUMBERED_PATHS    16         /* of which delays are compared */
#define NUMBERED_HEAD_MAX (DGRAM_PREFIX_MAX + BULK_HEAD)
#define NUMBERED_NOTE     512 /* bytes of a note, at most */
#define NUMBERED_REPORT   (100 * NS_PER_MS)
#define NUMBERED_FLOOR    (5 * NS_PER_MS) /* a floor waits so long for a packet that tells it */
#define NUMBERED_LEAST    (3 * NS_PER_S)
#define NUMBERED_TEND     NS_PER_S /* memory is looked after so often */
#define NUMBERED_HOLD_MIN (150 * NS_PER_MS) /* TCP is patient for 200 */
#define NUMBERED_HOLD_MAX NS_PER_S

/* One path as its packets arrive. */
struct numbered_path {
    bool used;
    uint64_t id;
    ns_t seen;
    int32_t delay;    /* mean of (arrival - sent) in 1/16 BULK_TICK, against `base` */
    uint32_t jitter;  /* mean deviation from it, the same unit */
    int32_t least[2]; /* smallest, in this time of NUMBERED_LEAST and the one before */
    ns_t least_at;    /* when this one began */
};

/* What all sessions of a process may hold together. */
struct numbered_cap {
    size_t max, used; /* bytes */
};

struct numbered_stats {
    uint64_t heads;     /* packets numbered */
    uint64_t malformed; /* payloads of the context that are none */
    uint64_t reports;   /* taken */
};

struct numbered {
    uint64_t context_in;      /* context ID of what we receive */
    struct numbered_cap *cap; /* null: only our own bounds count */
    struct hold *hold;        /* sees what comes; the owner's to set, null: none does */
    size_t counted;           /* of ours in it */
    uint8_t prefix[DGRAM_PREFIX_MAX];
    size_t prefix_n;
    struct repair repair;
    struct reseq reseq;
    struct parity_out parity_out;
    struct parity_in parity_in;
    uint32_t next[BULK_FLOWS]; /* number of the next packet */
    uint64_t given_up;         /* that the far end was told of by floors */
    uint64_t active;           /* bit per flow: sent since its last floor */
    uint64_t floor_due;        /* bit per flow: tell its floor */
    ns_t floor_at;             /* from then on, if no packet has told it, */
    uint64_t floor_next;       /* and then those */

    struct numbered_path path[NUMBERED_PATHS];
    bool based;
    uint16_t base;
    ns_t report_at; /* the next report; NS_NEVER: nothing has arrived since the last */
    ns_t tend_at;   /* memory is looked after; NS_NEVER: there is none */

    size_t told_n; /* by the far end, of our paths */
    ns_t told_at;
    struct bulk_report told[BULK_REPORT_MAX];
    struct numbered_stats stats;
};

/*
 * For the tunnel of request stream `stream`. `cap` is borrowed, and may be null.
 * Returns 0, or QUIC_INVAL for no such stream.
 */
int numbered_init(struct numbered *n, bool server, uint64_t stream, struct numbered_cap *cap);
void numbered_free(struct numbered *n);

/* ---- out ---- */

/* The number space of a flow of that hash. Flows that share one wait for each other. */
static inline unsigned numbered_flow(uint32_t hash)
{
    return hash % BULK_FLOWS;
}

/* The bytes before a packet. */
static inline size_t numbered_head(const struct numbered *n)
{
    return n->prefix_n + BULK_HEAD;
}

/*
 * The bytes before the next packet of `flow` (below BULK_FLOWS), which consists of `head` and
 * `body` and goes over the path of ID `path`, into `out`. It is kept; `*tag` is for
 * quic_dgram.tag. Returns their number.
 */
size_t numbered_out(struct numbered *n, unsigned flow, uint32_t path, struct span head,
                    struct span body, ns_t now, uint8_t out[NUMBERED_HEAD_MAX], uint64_t *tag);

/* The last packet of `flow`, `tag` from numbered_out, was not sent after all. */
void numbered_unsent(struct numbered *n, unsigned flow, uint64_t tag);

/*
 * A packet of `flow` has left with the bytes `head` of numbered_out before it, and its own
 * first ones; `left` of those numbered have after it, in this turn.
 */
void numbered_left(struct numbered *n, unsigned flow, size_t left, struct span head,
                   struct span body, ns_t now);

/*
 * A parity to be sent now, `*pkt` behind the bytes in `out`; afterwards, or if it can't be:
 * parity_sent. Returns the bytes in `out`; 0: none.
 */
size_t numbered_parity(struct numbered *n, ns_t now, struct span *pkt,
                       uint8_t out[NUMBERED_HEAD_MAX]);

/* Take the fates that the connection has. */
void numbered_fates(struct numbered *n, struct quic_conn *conn);

/*
 * A packet to be sent again now, the oldest; `idle` as for repair_next: `it->tag` is its tag,
 * `it->pkt` what follows `out`. Returns the bytes in `out`; 0: none. After it was sent:
 * repair_resent.
 */
size_t numbered_again(struct numbered *n, bool idle, ns_t now, struct repair_item *it,
                      uint8_t out[NUMBERED_HEAD_MAX]);

/*
 * A note to the far end that is due now: a floor, or a report. It counts as sent. Returns its
 * bytes; 0: none.
 */
size_t numbered_note(struct numbered *n, ns_t now, uint8_t out[NUMBERED_NOTE]);
bool numbered_note_due(struct numbered *n, ns_t now);

/* It can't leave now: a report is put off, and a floor goes with the next chance. */
void numbered_note_later(struct numbered *n, ns_t now);

/* ---- in ---- */

/*
 * A payload of context n->context_in, behind the context ID, that came over the path of ID
 * `path_id`. Packets that are due, this one and others, are given to `device`; their bytes
 * are lent to it until numbered_written. Returns the verdict on the packet in it (`*pkt`), CIP_OK
 * also where there is none.
 */
enum cip_verdict numbered_in(struct numbered *n, struct cip *cip, struct device *device,
                             struct span payload, uint64_t path_id, struct span *pkt, ns_t now);

/* Time passed: what is too old is given up, and what waited behind it is delivered. Cheap. */
void numbered_tick(struct numbered *n, struct device *device, ns_t now);

/* Whether bytes are lent to `device`; and they are back: device_flush was called. */
static inline bool numbered_lent(const struct numbered *n)
{
    return n->reseq.lent || n->parity_in.lent;
}
void numbered_written(struct numbered *n);

/* When numbered_tick, numbered_again or numbered_note has something to do. */
ns_t numbered_deadline(const struct numbered *n);

/* The longest that a gap is waited for, from the paths' round trips: see numbered.c. */
void numbered_hold(struct numbered *n, ns_t slowest_rtt, ns_t slowest_rttvar);

/*
 * How much later than on the fastest path packets arrive on our path `id`, as the far end says, but
 * NUMBERED_HOLD_MAX at most: schedulers plan by it. False: not known.
 */
bool numbered_late(const struct numbered *n, uint64_t id, ns_t now, ns_t *late, ns_t *jitter);

#endif
