#include "quic/ranges.h"

#include <stdlib.h>
#include <string.h>

#define GROWTH 4   /* of the array: few steps, since the next one would come late */
#define ONCE   512 /* a set of at most so many gets room for all of them at once */

void ranges_init(struct ranges *r, size_t max)
{
    memset(r, 0, sizeof *r);
    r->cap = RANGES_INLINE;
    r->max = max < RANGES_INLINE ? RANGES_INLINE
             : max > UINT32_MAX  ? UINT32_MAX
                                 : (uint32_t)max;
}

void ranges_free(struct ranges *r)
{
    if (r->cap > RANGES_INLINE)
        free(r->u.heap);
    ranges_init(r, r->max);
}

size_t ranges_memory(const struct ranges *r)
{
    return r->cap > RANGES_INLINE ? r->cap * sizeof(struct range) : 0;
}

static int resize(struct ranges *r, uint32_t cap)
{
    struct range *bigger = malloc(cap * sizeof *bigger);

    if (!bigger)
        return QUIC_NOMEM;
    memcpy(bigger, ranges_at(r), r->count * sizeof *bigger);
    if (r->cap > RANGES_INLINE)
        free(r->u.heap);
    r->u.heap = bigger;
    r->cap = cap;
    return 0;
}

int ranges_reserve(struct ranges *r)
{
    return r->max <= ONCE && r->cap < r->max ? resize(r, r->max) : 0;
}

/* Room for one more range. */
static int grow(struct ranges *r)
{
    if (r->count >= r->max)
        return QUIC_TOOBIG;
    if (r->count < r->cap)
        return 0;
    return resize(r, r->max <= ONCE || r->cap > r->max / GROWTH ? r->max : r->cap * GROWTH);
}

void ranges_trim(struct ranges *r)
{
    struct range *heap = r->u.heap;

    if (r->cap <= RANGES_INLINE || r->count > RANGES_INLINE)
        return;
    memcpy(r->u.inside, heap, r->count * sizeof *heap);
    free(heap);
    r->cap = RANGES_INLINE;
}

/* Take out the `n` ranges from index `i` on. */
static void cut(struct ranges *r, size_t i, size_t n)
{
    struct range *at = ranges_at(r);

    memmove(at + i, at + i + n, (r->count - i - n) * sizeof *at);
    r->count -= (uint32_t)n;
}

/* Put a range at index `i`. */
static int insert(struct ranges *r, size_t i, uint64_t start, uint64_t end)
{
    int err = grow(r);
    struct range *at = ranges_at(r);

    if (err)
        return err;
    memmove(at + i + 1, at + i, (r->count - i) * sizeof *at);
    at[i] = (struct range){start, end};
    r->count++;
    return 0;
}

size_t ranges_find(const struct ranges *r, uint64_t v)
{
    const struct range *at = ranges_at(r);
    size_t lo = 0, hi = r->count;

    /* Mostly it is the last range that is asked for. */
    if (hi && (hi == 1 || at[hi - 2].end <= v))
        return at[hi - 1].end > v ? hi - 1 : hi;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (at[mid].end > v)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

bool ranges_contains(const struct ranges *r, uint64_t v)
{
    size_t i = ranges_find(r, v);

    return i < r->count && ranges_at(r)[i].start <= v;
}

int ranges_add(struct ranges *r, uint64_t start, uint64_t end)
{
    struct range *at = ranges_at(r);
    size_t first, last;

    if (start >= end)
        return 0;
    /* [first, last) are the ranges that overlap or touch the new one. */
    first = start ? ranges_find(r, start - 1) : 0;
    for (last = first; last < r->count && at[last].start <= end; last++)
        ;
    if (first == last)
        return insert(r, first, start, end);
    if (at[first].start < start)
        start = at[first].start;
    if (at[last - 1].end > end)
        end = at[last - 1].end;
    at[first] = (struct range){start, end};
    if (last - first > 1)
        cut(r, first + 1, last - first - 1);
    return 0;
}

int ranges_remove(struct ranges *r, uint64_t start, uint64_t end)
{
    struct range *at = ranges_at(r);
    size_t first = ranges_find(r, start), last;

    if (start >= end || first == r->count || at[first].start >= end)
        return 0;
    if (at[first].start < start && at[first].end > end) {
        int err = insert(r, first + 1, end, at[first].end);

        if (!err)
            ranges_at(r)[first].end = start;
        return err;
    }
    if (at[first].start < start)
        at[first++].end = start;
    for (last = first; last < r->count && at[last].end <= end; last++)
        ;
    if (last < r->count && at[last].start < end)
        at[last].start = end;
    if (last > first)
        cut(r, first, last - first);
    return 0;
}

void ranges_drop_first(struct ranges *r)
{
    if (r->count)
        cut(r, 0, 1);
}

void ranges_add_widening(struct ranges *r, uint64_t start, uint64_t end)
{
    struct range *at = ranges_at(r);
    size_t i;

    if (start >= end || !ranges_add(r, start, end))
        return;
    /* It touches none, so it lies between i - 1 and i; there is at least one. */
    i = ranges_find(r, start);
    if (i == r->count || (i && start - at[i - 1].end <= at[i].start - end))
        ranges_add(r, at[i - 1].end, end);
    else
        ranges_add(r, start, at[i].start);
}

uint64_t ranges_size(const struct ranges *r)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < r->count; i++)
        sum += ranges_at(r)[i].end - ranges_at(r)[i].start;
    return sum;
}

bool ranges_check(const struct ranges *r)
{
    const struct range *at = ranges_at(r);

    if (r->count > r->cap || r->count > r->max || r->cap < RANGES_INLINE)
        return false;
    for (size_t i = 0; i < r->count; i++)
        if (at[i].start >= at[i].end || (i && at[i - 1].end >= at[i].start))
            return false;
    return true;
}
