#include "quic/sbuf.h"

#include <stdlib.h>
#include <string.h>

#include "quic/ring.h"

void sbuf_init(struct sbuf *s, size_t max)
{
    memset(s, 0, sizeof *s);
    s->max = max > (size_t)1 << 30 ? 1u << 30 : (uint32_t)max;
    ranges_init(&s->lost, SBUF_RANGES);
    ranges_init(&s->acked, SBUF_RANGES);
}

void sbuf_free(struct sbuf *s)
{
    free(s->ring);
    s->ring = NULL;
    s->cap = 0;
    ranges_free(&s->lost);
    ranges_free(&s->acked);
}

size_t sbuf_memory(const struct sbuf *s)
{
    return s->cap + ranges_memory(&s->lost) + ranges_memory(&s->acked);
}

size_t sbuf_room(const struct sbuf *s)
{
    size_t held = (size_t)(s->end - s->base);

    return s->finished || held >= s->max ? 0 : s->max - held;
}

/* Make the ring hold `held` bytes from base on. */
static int grow(struct sbuf *s, size_t held)
{
    uint32_t cap = ring_size(s->cap, held);
    uint8_t *ring;

    if (cap == s->cap)
        return 0;
    if (cap > RING_MODEST && (ranges_reserve(&s->lost) || ranges_reserve(&s->acked)))
        return QUIC_NOMEM;
    ring = malloc(cap);
    if (!ring)
        return QUIC_NOMEM;
    ring_move(ring, cap, s->ring, s->cap, s->base, s->end);
    free(s->ring);
    s->ring = ring;
    s->cap = cap;
    return 0;
}

int sbuf_write(struct sbuf *s, struct span data, size_t *taken)
{
    size_t n = data.n < sbuf_room(s) ? data.n : sbuf_room(s);
    int err;

    if (taken)
        *taken = 0;
    if (s->finished)
        return QUIC_CLOSED;
    if (!data.n)
        return 0;
    if (!n)
        return QUIC_BLOCKED;
    err = grow(s, (size_t)(s->end - s->base) + n);
    if (err)
        return err;
    ring_put(s->ring, s->cap, s->end, span_of(data.p, n));
    s->end += n;
    if (taken)
        *taken = n;
    return 0;
}

int sbuf_finish(struct sbuf *s)
{
    if (s->finished)
        return QUIC_CLOSED;
    s->finished = true;
    return 0;
}

struct span sbuf_peek(const struct sbuf *s, uint64_t off, size_t n)
{
    if (!s->cap || off < s->base || off >= s->end)
        return span_of(NULL, 0);
    return ring_piece(s->ring, s->cap, off, n < s->end - off ? off + n : s->end);
}

bool sbuf_pending(const struct sbuf *s)
{
    return !ranges_empty(&s->lost) || s->next < s->end || (s->finished && !s->fin_sent);
}

bool sbuf_next(const struct sbuf *s, uint64_t limit, size_t max, uint64_t *off, size_t *n,
               bool *fin)
{
    uint64_t start = s->next, end = s->end < limit ? s->end : limit;

    if (!ranges_empty(&s->lost)) {
        start = ranges_at(&s->lost)[0].start;
        end = ranges_at(&s->lost)[0].end;
    } else if (end < start) {
        end = start;
    }
    if (end - start > max)
        end = start + max;
    *off = start;
    *n = sbuf_peek(s, start, (size_t)(end - start)).n;
    *fin = s->finished && start + *n == s->end;
    return *n || (*fin && !s->fin_sent);
}

void sbuf_on_sent(struct sbuf *s, uint64_t off, size_t n, bool fin)
{
    uint64_t end = off + n;

    if (off < s->next)
        ranges_remove(&s->lost, off, end < s->next ? end : s->next);
    if (end > s->next)
        s->next = end;
    if (fin)
        s->fin_sent = true;
}

/* Let go of what is acknowledged at the front. */
static void release(struct sbuf *s)
{
    if (!ranges_empty(&s->acked) && ranges_first(&s->acked) <= s->base) {
        s->base = ranges_at(&s->acked)[0].end;
        ranges_drop_first(&s->acked);
        ranges_remove(&s->lost, 0, s->base);
    }
}

void sbuf_trim(struct sbuf *s)
{
    if (s->base == s->end)
        sbuf_free(s);
}

void sbuf_on_acked(struct sbuf *s, uint64_t off, size_t n, bool fin)
{
    uint64_t end = off + n;

    if (fin && s->fin_sent)
        s->fin_acked = true;
    if (end > s->next)
        end = s->next;
    if (off < s->base)
        off = s->base;
    if (off >= end)
        return;
    /* Where it can't be noted, it is as if it had been lost. */
    if (ranges_add(&s->acked, off, end) || ranges_remove(&s->lost, off, end))
        sbuf_on_lost(s, off, (size_t)(end - off), false);
    release(s);
}

void sbuf_on_lost(struct sbuf *s, uint64_t off, size_t n, bool fin)
{
    uint64_t end = off + n;

    if (fin && !s->fin_acked)
        s->fin_sent = false;
    if (end > s->next)
        end = s->next;
    if (off < s->base)
        off = s->base;
    /* Each part of [off, end) that isn't acknowledged. */
    while (off < end) {
        size_t i = ranges_find(&s->acked, off);
        uint64_t stop = end;

        if (i < ranges_count(&s->acked)) {
            struct range r = ranges_at(&s->acked)[i];

            if (r.start <= off) {
                off = r.end;
                continue;
            }
            stop = r.start < end ? r.start : end;
        }
        ranges_add_widening(&s->lost, off, stop);
        off = stop;
    }
}

bool sbuf_check(const struct sbuf *s)
{
    if (s->base > s->next || s->next > s->end || s->end - s->base > s->cap)
        return false;
    if (!ranges_check(&s->lost) || !ranges_check(&s->acked) || (s->cap & (s->cap - 1)))
        return false;
    if (!ranges_empty(&s->lost) &&
        (ranges_first(&s->lost) < s->base || ranges_end(&s->lost) > s->next))
        return false;
    if (!ranges_empty(&s->acked) &&
        (ranges_first(&s->acked) <= s->base || ranges_end(&s->acked) > s->next))
        return false;
    return !s->fin_acked || s->fin_sent;
}
