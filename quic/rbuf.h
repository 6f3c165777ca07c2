/*
 * rbuf - bytes received in any order, given out in order: of one stream or CRYPTO level.
 *
 * Bytes lie in a ring at (offset modulo capacity); `got` says which of them are there.
 * The ring is a power of two that grows by doubling as far as the highest offset asks, never
 * beyond `max` (rounded up to a power of two). A small one stays until rbuf_trim, else a stream
 * that is read as it comes would allocate for each packet; so does a large one, as long as all
 * those of its account don't hold more than may be kept. Beyond that it shrinks when little of it
 * is in use, and is given back when nothing is held: who bounds offsets by flow control bounds
 * memory, for all streams of a connection together too.
 * At most RBUF_GAPS ranges may lie beyond the first gap.
 *
 * Bytes that came before are ignored when they come again.
 *
 * Invariant: every member of got is in [base, base + capacity) and below final_size;
 * highest >= every member's end.
 */
#ifndef QUIC_RBUF_H
#define QUIC_RBUF_H

#include "quic/ranges.h"
#include "quic/types.h"

#define RBUF_GAPS    256
#define RBUF_SLACK   8     /* a ring is at most so many times what it spans, */
#define RBUF_SMALL   16384 /* or it is of at most so many bytes */
#define RBUF_NO_SIZE UINT64_MAX

/* What the rings of several hold together, and how much of that needs no reason. */
struct rbuf_account {
    size_t held, keep; /* bytes */
};

struct rbuf {
    uint8_t *ring;
    struct rbuf_account *account; /* null: a large ring is never kept; set after rbuf_init */
    uint64_t base;       /* everything below was consumed */
    uint64_t highest;    /* one past the highest byte received */
    uint64_t final_size; /* RBUF_NO_SIZE: not known */
    struct ranges got;
    uint32_t cap, max;
    bool sink; /* nothing is kept any more: rbuf_discard */
};

/* Empty; holds bytes up to `max` past the first one not consumed. Allocates nothing. */
void rbuf_init(struct rbuf *r, size_t max);
void rbuf_free(struct rbuf *r);

/*
 * Bytes at offset `off`; `fin`: they are the last.
 * Returns 0, QUIC_FINAL_SIZE_ERROR (RFC 9000 4.5: bytes past the end, another end, an end
 * below what came), QUIC_TOOBIG past `max` or with too many gaps, QUIC_NOMEM; in every
 * case of error nothing changed.
 */
int rbuf_add(struct rbuf *r, uint64_t off, struct span data, bool fin);

/* Nothing has come for long: give back the ring if it holds nothing. */
void rbuf_trim(struct rbuf *r);

/* Whether every byte of [off, end) came before. */
bool rbuf_has(const struct rbuf *r, uint64_t off, uint64_t end);

/*
 * The end is at `size`, though bytes may be missing (RESET_STREAM): checks as rbuf_add.
 */
int rbuf_set_final(struct rbuf *r, uint64_t size);

/*
 * The next bytes in order, contiguous in memory; there may be more behind them. Empty
 * where the next byte is missing. Valid until the next change. `*fin` (may be null): the
 * end is right after them.
 */
struct span rbuf_peek(const struct rbuf *r, bool *fin);

/* How many bytes are readable in order. */
size_t rbuf_readable(const struct rbuf *r);

/* Take `n` bytes (at most rbuf_readable) away from the front. */
void rbuf_consume(struct rbuf *r, size_t n);

/*
 * Throw away all that is held, and from now on everything that comes: base stays at the
 * highest offset. Sizes are checked as before. Returns how many bytes base moved.
 */
uint64_t rbuf_discard(struct rbuf *r);

/* Every byte up to the end is there (or was consumed). */
bool rbuf_complete(const struct rbuf *r);

/* And was consumed. */
static inline bool rbuf_done(const struct rbuf *r)
{
    return r->base == r->final_size;
}

/* Bytes on the heap. */
size_t rbuf_memory(const struct rbuf *r);

/* Whether the invariant holds: for tests. */
bool rbuf_check(const struct rbuf *r);

#endif
