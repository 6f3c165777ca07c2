/*
 * sbuf - bytes to be sent reliably, in order: of one stream or one CRYPTO level.
 *
 * Written bytes are copied into a ring and stay until they are acknowledged:
 *
 *     0 ........ base ............... next ............... end
 *       released       sent at least once      not yet sent
 *
 * Between base and next, `lost` holds what is to be sent again and `acked` what is
 * acknowledged out of order. The ring is a power of two, grows by doubling as far as
 * `max` asks, and stays until sbuf_trim: else who writes again and again would allocate each time.
 *
 * Reports never fail: where a set of ranges is full or memory is lacking, more is sent
 * again than needed.
 *
 * Invariant: base <= next <= end <= base + capacity; lost and acked lie in [base, next);
 * base is not in acked; without a lack of ranges or memory lost and acked are disjoint.
 */
#ifndef QUIC_SBUF_H
#define QUIC_SBUF_H

#include "quic/ranges.h"
#include "quic/types.h"

#define SBUF_RANGES 128 /* of lost, and of acked, ranges */

struct sbuf {
    uint8_t *ring;
    uint64_t base, next, end;
    struct ranges lost, acked;
    uint32_t cap;  /* of the ring, 0 or a power of two */
    uint32_t max;  /* most bytes held */
    bool finished; /* the end is final */
    bool fin_sent; /* FIN is in flight or acknowledged */
    bool fin_acked;
};

/* Empty; holds at most `max` bytes that are not acknowledged. Allocates nothing. */
void sbuf_init(struct sbuf *s, size_t max);
void sbuf_free(struct sbuf *s);

/* Bytes that sbuf_write would take. */
size_t sbuf_room(const struct sbuf *s);

/*
 * Append bytes (copied); `*taken` (may be null) says how many fitted.
 * Returns 0, QUIC_BLOCKED if none did though there were some, QUIC_CLOSED after
 * sbuf_finish, QUIC_NOMEM.
 */
int sbuf_write(struct sbuf *s, struct span data, size_t *taken);

/* No more bytes follow: FIN is to be sent. Returns 0 or QUIC_CLOSED if done before. */
int sbuf_finish(struct sbuf *s);

/*
 * What to send next: at most `max` bytes at `*off`, contiguous in memory, lost bytes
 * before new ones; new ones only below offset `limit` (flow control). `*fin` says whether
 * the end comes right after them; then `*n` may be 0.
 * False if there is nothing that may be sent.
 */
bool sbuf_next(const struct sbuf *s, uint64_t limit, size_t max, uint64_t *off, size_t *n,
               bool *fin);

/* Whether anything waits to be sent, flow control aside. */
bool sbuf_pending(const struct sbuf *s);

/* Whether bytes wait that were never sent, from offset s->next on. */
static inline bool sbuf_has_new(const struct sbuf *s)
{
    return s->next < s->end;
}

/* The bytes that sbuf_next named; valid until the next change. */
struct span sbuf_peek(const struct sbuf *s, uint64_t off, size_t n);

/* They were sent. */
void sbuf_on_sent(struct sbuf *s, uint64_t off, size_t n, bool fin);

/* A frame was acknowledged: release what can be. */
void sbuf_on_acked(struct sbuf *s, uint64_t off, size_t n, bool fin);

/* A frame was lost (or is to be probed with): send what of it isn't acknowledged. */
void sbuf_on_lost(struct sbuf *s, uint64_t off, size_t n, bool fin);

/* Everything is acknowledged, including the end. */
static inline bool sbuf_done(const struct sbuf *s)
{
    return s->finished && s->fin_acked && s->base == s->end;
}

/* Every byte written is acknowledged. */
static inline bool sbuf_settled(const struct sbuf *s)
{
    return s->base == s->end;
}

/* Nothing was written for long: give back the ring if it holds nothing. */
void sbuf_trim(struct sbuf *s);

/* Bytes on the heap. */
size_t sbuf_memory(const struct sbuf *s);

/* Whether the invariant holds: for tests. */
bool sbuf_check(const struct sbuf *s);

#endif
