#include "quic/rbuf.h"

#include <stdlib.h>
#include <string.h>

#include "quic/errors.h"
#include "quic/ring.h"

void rbuf_init(struct rbuf *r, size_t max)
{
    memset(r, 0, sizeof *r);
    r->final_size = RBUF_NO_SIZE;
    r->max = max > (size_t)1 << 30 ? 1u << 30 : (uint32_t)max;
    ranges_init(&r->got, RBUF_GAPS + 1);
}

static void set_ring(struct rbuf *r, uint8_t *ring, uint32_t cap)
{
    if (r->account)
        r->account->held += cap - (size_t)r->cap;
    free(r->ring);
    r->ring = ring;
    r->cap = cap;
}

void rbuf_free(struct rbuf *r)
{
    set_ring(r, NULL, 0);
    ranges_free(&r->got);
}

size_t rbuf_memory(const struct rbuf *r)
{
    return r->cap + ranges_memory(&r->got);
}

/* Move what is held to a ring of `cap`. */
static int resize(struct rbuf *r, uint32_t cap)
{
    uint8_t *ring = malloc(cap);

    if (!ring)
        return QUIC_NOMEM;
    for (size_t i = 0; i < ranges_count(&r->got); i++) {
        struct range g = ranges_at(&r->got)[i];

        ring_move(ring, cap, r->ring, r->cap, g.start, g.end);
    }
    set_ring(r, ring, cap);
    return 0;
}

/* Make the ring hold `n` bytes from base on. */
static int grow(struct rbuf *r, uint64_t n)
{
    uint32_t cap = ring_size(r->cap, n);
    int err = cap > RING_MODEST ? ranges_reserve(&r->got) : 0;

    return err || cap == r->cap ? err : resize(r, cap);
}

/* Whether a large ring may stay, whatever is in it. */
static bool kept(const struct rbuf *r)
{
    return r->cap <= RBUF_SMALL || (r->account && r->account->held <= r->account->keep);
}

/* A large ring for little: what is to be kept for long may not hold on to it. */
static void shrink(struct rbuf *r)
{
    uint64_t span = ranges_end(&r->got) - r->base;

    if (!kept(r) && r->cap > RBUF_SLACK * span)
        resize(r, ring_size(0, 2 * span)); /* without memory it stays */
}

/* RFC 9000 4.5: whether data up to `end`, the last if `fin`, agrees with the final size. */
static int check_size(const struct rbuf *r, uint64_t end, bool fin)
{
    if (r->final_size != RBUF_NO_SIZE && (end > r->final_size || (fin && end != r->final_size)))
        return QUIC_FINAL_SIZE_ERROR;
    if (fin && end < r->highest)
        return QUIC_FINAL_SIZE_ERROR;
    return 0;
}

/* Keep the bytes from `off` on that were not consumed. */
static int store(struct rbuf *r, uint64_t off, struct span data)
{
    uint64_t end = off + data.n;
    int err;

    if (end <= r->base)
        return 0;
    if (end - r->base > r->max)
        return QUIC_TOOBIG;
    if (off < r->base) {
        data = span_of(data.p + (r->base - off), (size_t)(end - r->base));
        off = r->base;
    }
    err = grow(r, end - r->base);
    if (!err)
        err = ranges_add(&r->got, off, end);
    if (!err)
        ring_put(r->ring, r->cap, off, data);
    return err;
}

int rbuf_add(struct rbuf *r, uint64_t off, struct span data, bool fin)
{
    uint64_t end = off + data.n;
    int err = check_size(r, end, fin);

    if (!err && data.n && !r->sink)
        err = store(r, off, data);
    if (err)
        return err;
    if (end > r->highest)
        r->highest = end;
    if (fin)
        r->final_size = end;
    if (r->sink)
        r->base = r->highest;
    return 0;
}

bool rbuf_has(const struct rbuf *r, uint64_t off, uint64_t end)
{
    size_t i;

    if (off < r->base)
        off = r->base;
    if (off >= end)
        return true;
    i = ranges_find(&r->got, off);
    return i < ranges_count(&r->got) && ranges_at(&r->got)[i].start <= off &&
           ranges_at(&r->got)[i].end >= end;
}

int rbuf_set_final(struct rbuf *r, uint64_t size)
{
    int err = check_size(r, size, true);

    if (err)
        return err;
    r->final_size = r->highest = size;
    if (r->sink)
        r->base = size;
    return 0;
}

size_t rbuf_readable(const struct rbuf *r)
{
    if (ranges_empty(&r->got) || ranges_first(&r->got) != r->base)
        return 0;
    return (size_t)(ranges_at(&r->got)[0].end - r->base);
}

struct span rbuf_peek(const struct rbuf *r, bool *fin)
{
    size_t n = rbuf_readable(r);
    struct span s = n ? ring_piece(r->ring, r->cap, r->base, r->base + n) : span_of(NULL, 0);

    if (fin)
        *fin = r->base + s.n == r->final_size;
    return s;
}

void rbuf_consume(struct rbuf *r, size_t n)
{
    size_t most = rbuf_readable(r);

    if (n > most)
        n = most;
    if (!n)
        return;
    r->base += n;
    ranges_remove(&r->got, 0, r->base);
    if (!ranges_empty(&r->got))
        shrink(r);
    else if (!kept(r))
        rbuf_free(r);
}

void rbuf_trim(struct rbuf *r)
{
    if (ranges_empty(&r->got))
        rbuf_free(r);
}

uint64_t rbuf_discard(struct rbuf *r)
{
    uint64_t moved = r->highest - r->base;

    r->base = r->highest;
    r->sink = true;
    rbuf_free(r);
    return moved;
}

bool rbuf_complete(const struct rbuf *r)
{
    return r->base + rbuf_readable(r) == r->final_size;
}

bool rbuf_check(const struct rbuf *r)
{
    if (!ranges_check(&r->got) || (r->cap & (r->cap - 1)) || r->base > r->highest)
        return false;
    if (r->final_size != RBUF_NO_SIZE && r->highest > r->final_size)
        return false;
    if (ranges_empty(&r->got))
        return r->account || r->cap <= RBUF_SMALL;
    return ranges_first(&r->got) >= r->base && ranges_end(&r->got) <= r->highest &&
           ranges_end(&r->got) - r->base <= r->cap;
}
