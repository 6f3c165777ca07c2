/*
 * repair - what was sent of numbered flows, kept until it arrived, sent again when it was lost.
 *
 * The sender keeps a copy of each packet under a tag, which is what the transport tells its fate
 * by. One that is lost waits to be sent again, oldest first; under the same tag, so that whichever
 * copy arrives settles it. A packet is given up when it is older than `deadline`, or when the
 * memory bound needs its place. What may still be sent again decides the floor of its flow, by
 * which the far end knows what to wait for (sched/reseq.h).
 *
 *     tag = repair_keep(...)           before a packet is sent for the first time
 *     repair_acked, repair_lost        its fate
 *     while (repair_next(...))         something to send again
 *         repair_resent(...)
 *     repair_floor(...)                for the head of each packet
 *
 * Repairs of ordinary loss are bounded to a share of what is sent (REPAIR_SHARE) while new
 * packets wait, so that a collapsing path can't flood the others. What was in flight on a path
 * that is given up (repair_path_lost) is exempt: that happens once.
 *
 * Memory: one ring of records, by tag, one of bytes, which double up to the bound each
 * and are given back when nothing is kept. Steady state doesn't allocate.
 *
 * Invariant: records below `oldest` are settled and gone; every record between is in flight, lost,
 * or settled; `lost` counts the lost ones.
 */
#ifndef SCHED_REPAIR_H
#define SCHED_REPAIR_H

#include "quic/types.h"

#define REPAIR_FLOWS     64
#define REPAIR_NUMBERS   (1u << 24) /* numbers of packets are modulo this */
#define REPAIR_FLOOR_MAX 0xffff
#define REPAIR_SHARE     4             /* one byte again for so many sent */
#define REPAIR_CREDIT    (256u * 1024) /* that may be saved up */
#define REPAIR_PACKET    16384         /* longest packet that is kept */
#define REPAIR_RECORD    64            /* bytes of memory per record, at most */
#define REPAIR_NO_PATH   UINT32_MAX

struct repair_stats {
    uint64_t kept, acked, lost, resent, resent_bytes;
    uint64_t spurious;       /* settled by the first copy after it was called lost */
    uint64_t given_deadline; /* given up for age */
    uint64_t given_memory;   /* ... for want of room */
    uint64_t given_told;     /* by repair_give_up */
};

struct repair_record;

struct repair {
    struct repair_record *record; /* by tag modulo `records` */
    size_t records;
    uint8_t *bytes; /* by running offset modulo `cap` */
    size_t cap, max_bytes;
    uint64_t oldest, next;        /* tags */
    uint64_t head;                /* running offset of the next packet */
    uint64_t first[REPAIR_FLOWS]; /* oldest tag of the flow that may not be settled; 0: none */
    uint64_t last[REPAIR_FLOWS];
    size_t lost;
    size_t pressing;    /* of these, what was in flight on a path that was given up */
    uint64_t lost_from; /* no lost record has a smaller tag */
    int64_t credit;
    ns_t deadline;
    struct repair_stats stats;
};

/* One packet to be sent again. */
struct repair_item {
    uint64_t tag;
    uint8_t flow;
    uint32_t number;
    uint32_t path;   /* the one that it was lost on */
    struct span pkt; /* until the next repair_keep */
};

/*
 * At most `max_bytes` of packets; `deadline` from the first sending (r->deadline: set anew
 * freely).
 */
void repair_init(struct repair *r, size_t max_bytes, ns_t deadline);
void repair_free(struct repair *r);

/*
 * Keep a copy of packet `number` of `flow` (below REPAIR_FLOWS), `head` and `body` put together,
 * which now goes over `path`. Where it has no place, the oldest are given up.
 *
 * Returns its tag, never 0; or 0 where it can't be kept: too long, or no memory. The flow's floor
 * is then above it.
 */
uint64_t repair_keep(struct repair *r, unsigned flow, uint32_t number, uint32_t path,
                     struct span head, struct span body, ns_t now);

/* The packet kept last, `tag`, was not sent after all. Tags are taken back in reverse order. */
void repair_unkeep(struct repair *r, uint64_t tag);

/*
 * The fate of the packet `tag`, or of a copy; unknown and settled tags are ignored. That one
 * was lost on `path` means nothing while a later copy is on its way over another.
 */
void repair_acked(struct repair *r, uint64_t tag);
void repair_lost(struct repair *r, uint64_t tag, uint32_t path);

/*
 * `path` is silent or gone: all that is in flight on it is lost, and may be sent again at once, as
 * may what it lost before; their deadline counts from now. Returns how many packets were in flight.
 */
size_t repair_path_lost(struct repair *r, uint32_t path, ns_t now);

/*
 * Nothing is heard of `path`, and there is no other: the oldest of what is in flight on it, `most`
 * packets, may be sent again as probes (RFC 9002 6.2.4).
 */
void repair_probe(struct repair *r, uint32_t path, size_t most);

/*
 * The oldest lost packet that may be sent again now. False: there is none, or the share is used
 * up, which counts for nothing while nothing else waits (`idle`). Packets past their deadline
 * are given up here.
 */
bool repair_next(struct repair *r, bool idle, ns_t now, struct repair_item *out);

/* That packet was sent again, over `path`. */
void repair_resent(struct repair *r, uint64_t tag, uint32_t path);

/* That packet can't be sent again: it fits no path. */
void repair_give_up(struct repair *r, uint64_t tag);

/*
 * How far below `number`, the next of `flow`, the oldest lies that may be sent again: at most
 * REPAIR_FLOOR_MAX.
 */
uint32_t repair_floor(struct repair *r, unsigned flow, uint32_t number, ns_t now);

/* Whether something of `flow` may still be sent again. */
bool repair_holds(struct repair *r, unsigned flow, ns_t now);

/* Whether anything may. */
static inline bool repair_holds_any(const struct repair *r)
{
    return r->oldest < r->next;
}

/* When the oldest packet is given up for its age, NS_NEVER while nothing is kept; and do it. */
ns_t repair_deadline(const struct repair *r);
void repair_tick(struct repair *r, ns_t now);

/* Memory in use. */
static inline size_t repair_bytes(const struct repair *r)
{
    return r->cap + r->records * REPAIR_RECORD;
}

/* Give memory back where nothing is kept. Cheap. */
void repair_trim(struct repair *r, ns_t now);

bool repair_check(const struct repair *r);

#endif
