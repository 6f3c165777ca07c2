/*
 * bulk - the numbered context of an IP tunnel: bulky flows striped over paths, in order again at
 * the far end.
 *
 * Negotiated by the field BULK_FIELD: BULK_VERSION in the request and in its answer; a peer
 * that doesn't know it gets context 0 alone. The client's context ID is 2, the server's 1
 * (RFC 9484 6: even and odd). Behind the context ID stand 8 bytes, in network order, and what
 * they announce:
 *
 *     kind (2 bits)  flow (6)  number (24)  time (16)  floor (16)
 *
 *   BULK_DATA    one IP packet follows: packet `number` of numbered flow `flow`
 *   BULK_FLOOR   nothing follows: `number` is the one that the next packet will have
 *   BULK_REPORT  entries of a report on the sender's paths follow, `flow` of them
 *   BULK_PARITY  the XOR of `time` packets from `number` on follows, shorter ones filled up with
 *                zero; `floor` is that of their lengths. They are the first of a block of
 *                BULK_BLOCK, or 0, and then nothing follows: some will come (sched/parity.h)
 *
 * `number` counts the packets of a flow modulo 2^24. `floor` says how far below `number` the
 * oldest packet lies that the sender may still send again: what is older and missing is not
 * coming. `time` is the sender's clock in BULK_TICKs modulo 2^16, of which only differences
 * between packets mean anything.
 *
 * Nothing allocates, nothing is kept.
 */
#ifndef MASQUE_BULK_H
#define MASQUE_BULK_H

#include "quic/types.h"

#define BULK_FIELD   "mqvpn-bulk"
#define BULK_VERSION "v1"

#define BULK_CONTEXT_CLIENT 2
#define BULK_CONTEXT_SERVER 1

#define BULK_HEAD       8
#define BULK_FLOWS      64
#define BULK_BLOCK      16
#define BULK_NUMBERS    (1u << 24)
#define BULK_FLOOR_MAX  0xffff
#define BULK_TICK       (64 * NS_PER_US)
#define BULK_REPORT_MAX 63

enum bulk_kind { BULK_DATA, BULK_FLOOR, BULK_REPORT, BULK_PARITY };

struct bulk_head {
    enum bulk_kind kind;
    uint8_t flow;    /* or the number of entries */
    uint32_t number; /* modulo BULK_NUMBERS */
    uint16_t time;
    uint16_t floor;
};

/* What the far end saw of one path: how much later than on the fastest its packets arrive. */
struct bulk_report {
    uint64_t path;   /* path ID */
    uint32_t late;   /* BULK_TICKs after the fastest path */
    uint32_t jitter; /* mean deviation, BULK_TICKs */
};

void bulk_encode(const struct bulk_head *h, uint8_t out[BULK_HEAD]);

/*
 * Read the head of a payload of the context, behind the context ID; `*rest` is what follows
 * it, borrowed.
 *
 * Returns 0, or QUIC_DROP: cut short, a DATA packet that is none, a PARITY of no such packets.
 */
int bulk_decode(struct span payload, struct bulk_head *h, struct span *rest);

/*
 * A whole REPORT payload of `n` entries, at most BULK_REPORT_MAX, into `size` bytes.
 * Returns its length, 0 if it doesn't fit.
 */
size_t bulk_report_encode(const struct bulk_report *list, size_t n, uint8_t *out, size_t size);

/*
 * The entries of a REPORT: `rest` of bulk_decode.
 * Returns their number, at most BULK_REPORT_MAX; QUIC_DROP where they are cut short.
 */
int bulk_report_decode(const struct bulk_head *h, struct span rest,
                       struct bulk_report out[BULK_REPORT_MAX]);

static inline uint16_t bulk_time(ns_t now)
{
    return (uint16_t)(now / BULK_TICK);
}

#endif
