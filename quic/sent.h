/*
 * sent - the packets of one packet number space that we sent, by packet number.
 *
 * A ring of fixed-size packets, addressed by packet number: finding one is O(1). What
 * frames a packet carried stands as records in a second ring; a packet with only ACK and
 * DATAGRAM frames has none. Both rings are powers of two, grow up to `max` in few
 * steps and shrink by sent_trim when they are mostly empty.
 *
 * Sending is a transaction:
 *
 *     sent_begin(s, pn);                 reserves; the only step that may fail for memory
 *     sent_record_add(s, &rec); ...      for each frame to be told about later
 *     sent_commit(s, &proto);            or sent_abort(s)
 *
 * Numbers that are passed over, by sent_skip or by a begin beyond the next, are marked
 * SENT_SKIPPED: an acknowledgement of one is an attack.
 *
 * Packets leave at the low end only (sent_retire), whoever decides when.
 *
 * Invariant: base <= next <= base + cap; each packet with n_rec > 0 has its records
 * contiguous in the record ring, in the order of packet numbers; a transaction is open
 * exactly when `open`.
 */
#ifndef QUIC_SENT_H
#define QUIC_SENT_H

#include "quic/types.h"

#define SENT_MAX_APP       (1u << 17) /* packets and records, of 1-RTT */
#define SENT_MAX_HANDSHAKE (1u << 10) /* of Initial, of Handshake */
#define SENT_MIN           64u /* smallest ring that is not empty; the next one is of */
#define SENT_KEPT          1024u /* where there may be more: a busy path's, kept as long as it is */
#define SENT_NO_ACK        UINT64_MAX
#define SENT_TICK          64 /* ns, unit of since_first: 32 bits of it are more than 4 minutes */

enum {
    SENT_ELICITING = 0x01,
    SENT_IN_FLIGHT = 0x02, /* counts in bytes_in_flight until it is acked or lost */
    SENT_LOST = 0x04,      /* declared lost; kept to notice a late acknowledgement */
    SENT_ACKED = 0x08,
    SENT_PROBE = 0x10,      /* path MTU probe: its loss is no congestion */
    SENT_SKIPPED = 0x20,    /* this number was never used */
    SENT_DGRAM = 0x40,      /* `tag` is that of its DATAGRAM */
    SENT_APP_LIMITED = 0x80 /* there was nothing more to send at the time */
};

/*
 * One sent packet, one cache line. The sender fills time, bytes, flags (ELICITING, IN_FLIGHT,
 * PROBE, DGRAM), ecn, tag and ack_largest; recovery fills the delivery state (rate.h).
 */
struct sent_packet {
    ns_t time;            /* when it was sent; never decreases with the packet number */
    uint32_t bytes;       /* UDP payload it took (the packet, not the datagram) */
    uint16_t n_rec;       /* records */
    uint8_t flags;        /* SENT_* */
    uint8_t ecn;          /* ECN bits it was sent with; once committed, those of ecn_on_sent */
    uint32_t rec_first;   /* index of its first record, modulo 2^32 */
    uint32_t in_flight;   /* bytes in flight when it was sent, itself included */
    uint64_t tag;         /* of its DATAGRAM if SENT_DGRAM */
    uint64_t ack_largest; /* Largest Acknowledged of the ACK it carried, SENT_NO_ACK none */
    uint64_t delivered;   /* bytes delivered on the path when it was sent */
    ns_t delivered_time;  /* instant of the latest delivery at that time */
    uint32_t since_first; /* from the sending of what that delivery was about, SENT_TICKs */
    uint32_t lost;        /* bytes lost on the path when it was sent, modulo 2^32 */
};

/*
 * One frame to be told about: `kind` is the frame type (or any number that its owner
 * agreed with itself on). For STREAM: a stream ID, b offset, len, fin; CRYPTO: a level,
 * b offset, len; STATE and ITEM frames: a stream ID or sequence number, b the value sent.
 */
struct sent_record {
    uint16_t kind;
    bool fin;
    uint32_t path; /* path ID the frame is about, where it matters */
    uint64_t a, b;
    uint32_t len;
};

struct sent {
    struct sent_packet *ring;
    struct sent_record *recs;
    uint64_t base, next; /* packet numbers in the ring: [base, next) */
    uint64_t rec_base, rec_next;
    uint32_t cap, rec_cap; /* powers of two, or 0 */
    uint32_t max;          /* of both */
    uint64_t open_first;   /* of the open transaction: first record, */
    uint32_t open_n;       /* count of records */
    bool open;
    uint32_t peak, rec_peak; /* most in use since the last sent_trim */
};

/* Empty, from number 0 on. Neither ring exceeds `max`, a power of two, at least SENT_MIN. */
void sent_init(struct sent *s, uint32_t max);
void sent_free(struct sent *s);

/* The lowest packet number that may be used next. */
static inline uint64_t sent_next(const struct sent *s)
{
    return s->next;
}

/* How many numbers are in the ring. */
static inline uint64_t sent_count(const struct sent *s)
{
    return s->next - s->base;
}

/* Past half of what it may hold, it is time to forget what needn't be remembered. */
static inline bool sent_pressed(const struct sent *s)
{
    return sent_count(s) > s->max / 2;
}

/*
 * Almost full: what is left is for packets that may bring relief, not for those that only
 * acknowledge.
 */
static inline bool sent_scarce(const struct sent *s)
{
    return sent_count(s) > s->max - s->max / 8;
}

/*
 * Open the transaction for packet number `pn`.
 * Returns 0, QUIC_INVAL if one is open, or pn was used already or is more than 16 ahead;
 * QUIC_BLOCKED if the ring would exceed its bound; QUIC_NOMEM.
 */
int sent_begin(struct sent *s, uint64_t pn);

/*
 * Add a record to the open packet.
 * Returns 0, QUIC_INVAL outside of a transaction, QUIC_TOOBIG past 65535 records in one
 * packet, QUIC_BLOCKED at the bound of the ring, QUIC_NOMEM; the transaction stays open.
 */
int sent_record_add(struct sent *s, const struct sent_record *rec);

/* The packet is sent. rec_first and n_rec of `proto` are not read. Never fails. */
void sent_commit(struct sent *s, const struct sent_packet *proto);

/* It is not: forget its records. The number may be used again. */
void sent_abort(struct sent *s);

/* Pass over `pn`, as sent_begin would. The same errors. */
int sent_skip(struct sent *s, uint64_t pn);

/* The packet `pn`, SENT_SKIPPED ones included; null if it is not in the ring. */
static inline struct sent_packet *sent_get(const struct sent *s, uint64_t pn)
{
    return pn - s->base < s->next - s->base ? &s->ring[pn & (s->cap - 1)] : NULL;
}

/* The first of the packet's n_rec records; valid until the next change. */
static inline const struct sent_record *sent_recs(const struct sent *s,
                                                  const struct sent_packet *p)
{
    return p->n_rec ? &s->recs[p->rec_first & (s->rec_cap - 1)] : NULL;
}

/* Drop the lowest packet and its records. There must be one. */
void sent_retire(struct sent *s);

/*
 * Halve rings, as often as they stay at least four times as large as the most in use
 * since the last call, and `least` entries (SENT_MIN, or more: a power of two). To be called
 * every few seconds. Never fails.
 */
void sent_trim(struct sent *s, uint32_t least);

/* Drop everything; numbering goes on. Gives back the memory. */
void sent_clear(struct sent *s);

/* Bytes on the heap. */
size_t sent_memory(const struct sent *s);

/* Whether the invariant holds: for tests. */
bool sent_check(const struct sent *s);

#endif
