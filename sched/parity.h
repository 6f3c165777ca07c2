/*
 * parity - a lost packet of a numbered flow made from the others, without asking for it again.
 *
 * The numbers of a flow are cut into blocks of PARITY_BLOCK, and after each block goes the XOR
 * of its packets: whoever has all but one of them and the parity has the one as well. That
 * spares the flow most of the round trips that repairs of random losses take (sched/repair.h),
 * for a sixteenth of its rate. Two losses in a block are beyond it, and those of an overflowing
 * queue mostly are. Where a flow pauses within a block, the part that there is goes, too: its
 * last packets are the ones that nothing comes behind; one parity for PARITY_EARN packets in
 * the long run, at most.
 *
 *     parity_add          out: a packet of the flow was sent
 *     parity_next         a parity to be sent, then parity_sent
 *     parity_deadline     when a pause makes one due, parity_tick
 *
 *     parity_got          in: a packet has come; perhaps that gives another
 *     parity_came         a parity has come; perhaps that gives one
 *     parity_done         and give what came of it back
 *     parity_trim         once in a while
 *
 * Memory: a sum and its parity per block that is open, out one of each flow and PARITY_DUE, in
 * one of PARITY_SLOTS; none at the far end before it has seen a parity. Steady state doesn't
 * allocate. Without memory there is no parity; nothing else changes.
 *
 * Invariant: the bytes of a block beyond `longest` are zero.
 */
#ifndef SCHED_PARITY_H
#define SCHED_PARITY_H

#include "quic/types.h"

#define PARITY_FLOWS   64
#define PARITY_BLOCK   16   /* packets; numbers of 24 bits are divided by it without a rest */
#define PARITY_LONGEST 2016 /* bytes of a packet; the block of a longer one goes without */
#define PARITY_DUE     16   /* that wait to be sent; the oldest make room */
#define PARITY_SLOTS   512
#define PARITY_PAUSE   (3 * NS_PER_MS)  /* of a flow, after which its open block is covered */
#define PARITY_LEAST   2                /* packets of that */
#define PARITY_EARN    8                /* packets that earn a parity */
#define PARITY_SAVED   8                /* parities that may be saved up */
#define PARITY_AGE     (50 * NS_PER_MS) /* an older one comes too late */
#define PARITY_IDLE    (2 * NS_PER_S)   /* blocks are kept so long */
#define PARITY_FORGET  (10 * NS_PER_S)  /* without a parity none is expected */

struct parity_block {
    struct parity_block *next;
    ns_t at;        /* of the last change */
    uint32_t first; /* number, a multiple of PARITY_BLOCK */
    uint8_t flow;
    bool whole;      /* in: the parity of the whole block is in the sum */
    uint8_t count;   /* out: packets in it, from the first on */
    uint8_t covered; /* out: by a parity that went early */
    uint16_t came;   /* in: bit per packet */
    uint16_t size;   /* XOR of the lengths */
    uint16_t longest;
    uint8_t bytes[PARITY_LONGEST];
};

/* Blocks that are not in use, and the memory of all. */
struct parity_pool {
    struct parity_block *spare;
    size_t bytes, max_bytes; /* the latter may be changed at any time */
};

/* What a parity says: the packets `first` to `first + count - 1`. */
struct parity {
    unsigned flow;
    uint32_t first;
    unsigned count;  /* 0: none, but some will come */
    uint16_t size;   /* XOR of their lengths */
    struct span pkt; /* XOR of their bytes, shorter ones filled up with zero */
};

struct parity_out {
    bool on; /* new blocks begin; the owner's to set */
    struct parity_block *open[PARITY_FLOWS];
    uint16_t credit[PARITY_FLOWS]; /* packets */
    uint64_t bare;                 /* bit per flow: packets that no parity covers */
    struct parity_block *due, **due_end;
    size_t due_n;
    struct parity_pool pool;
    ns_t pause_at; /* look for flows that pause */
    ns_t told_at;  /* the last parity; 0: none */
    uint64_t sent;
};

struct parity_in {
    struct parity_block *slot[PARITY_SLOTS];
    struct parity_block *lent;
    struct parity_pool pool;
    ns_t seen; /* the last parity; 0: none, so nothing is kept */
    uint64_t came, recovered;
};

/* ---- out ---- */

void parity_out_init(struct parity_out *o);
void parity_out_free(struct parity_out *o);

/*
 * Packet `number` of `flow` (below PARITY_FLOWS), of two parts, was sent for the first time.
 * Numbers of a flow in turn.
 */
void parity_add(struct parity_out *o, unsigned flow, uint32_t number, struct span head,
                struct span body, ns_t now);

/* The parity to be sent now, borrowed until parity_sent. False: none. */
bool parity_next(struct parity_out *o, ns_t now, struct parity *p);

/* It was sent, or can't be. */
void parity_sent(struct parity_out *o, ns_t now);

/* Time passed: what belongs to a flow that pauses is due. NS_NEVER: no flow may be pausing. */
void parity_tick(struct parity_out *o, ns_t now);
ns_t parity_deadline(const struct parity_out *o);

/* ---- in ---- */

void parity_in_init(struct parity_in *in);
void parity_in_free(struct parity_in *in);

/*
 * Packet `number` of `flow` came. True where that gives another one, `*number` and `*pkt`, lent
 * until parity_done. It may have come before, and it is what the peer says it is: check it as
 * any.
 */
bool parity_got(struct parity_in *in, unsigned flow, uint32_t *number, struct span *pkt,
                ns_t now);

/* As parity_got. What makes no sense is ignored. */
bool parity_came(struct parity_in *in, const struct parity *p, uint32_t *number,
                 struct span *pkt, ns_t now);

/* All that was lent is done with. */
void parity_done(struct parity_in *in);

/* Give up memory that is not in use. */
void parity_out_trim(struct parity_out *o, ns_t now);
void parity_in_trim(struct parity_in *in, ns_t now);

#endif
