/*
 * ranges - a set of 64-bit numbers as sorted, disjoint, half-open ranges.
 *
 * Used for packet numbers, stream bytes and stream IDs. Ranges lie in an array in
 * ascending order: RANGES_INLINE of them inside the struct, more of them on the heap. The array
 * of a set of at most 512 ranges is allocated once, for all of them; that of a larger one grows by
 * a factor of four. It stays, since sets fill and empty all the time where packets are lost,
 * until the owner says ranges_trim or ranges_free. The set never holds more than `max` ranges, so
 * that no peer can make it grow without bound. A struct may be moved by assignment; it has no
 * pointer into itself.
 *
 * Invariant: start < end in each; end of one < start of the next (never adjacent);
 * count <= max; the heap is used exactly when `cap` > RANGES_INLINE.
 *
 * Cost: lookup is a binary search; add and remove move what lies above the change.
 * Adding at the top (the newest packet, the next bytes) is O(1).
 */
#ifndef QUIC_RANGES_H
#define QUIC_RANGES_H

#include "quic/types.h"

#define RANGES_INLINE 2

struct range {
    uint64_t start, end; /* [start, end) */
};

struct ranges {
    union {
        struct range inside[RANGES_INLINE];
        struct range *heap;
    } u;
    uint32_t count, cap, max;
};

/* Make an empty set of at most `max` ranges (at least RANGES_INLINE). No allocation. */
void ranges_init(struct ranges *r, size_t max);

/* Empty the set and give back its memory; it may be used again. */
void ranges_free(struct ranges *r);

/* Allocate the array of a set of at most 512 ranges already. Returns 0 or QUIC_NOMEM. */
int ranges_reserve(struct ranges *r);

/* Give back the array, if the set is small enough to do without one. Never fails. */
void ranges_trim(struct ranges *r);

/*
 * Add [start, end), joining what it touches. An empty range (start >= end) adds nothing.
 * Returns 0, QUIC_TOOBIG if the set would hold more than `max` ranges, or QUIC_NOMEM;
 * in both cases the set is unchanged.
 */
int ranges_add(struct ranges *r, uint64_t start, uint64_t end);

/* ranges_add of the number after the highest one; false, and nothing done, for any other. */
static inline bool ranges_extend(struct ranges *r, uint64_t v)
{
    struct range *at = r->cap > RANGES_INLINE ? r->u.heap : r->u.inside;

    if (!r->count || at[r->count - 1].end != v)
        return false;
    at[r->count - 1].end = v + 1;
    return true;
}

/*
 * Take [start, end) out, which may split one range in two. Cutting off the lower or upper
 * part of the set, or whole ranges, never fails.
 * Returns 0, QUIC_TOOBIG if a split would exceed `max`, or QUIC_NOMEM; the set is then
 * unchanged.
 */
int ranges_remove(struct ranges *r, uint64_t start, uint64_t end);

/* Remove the lowest range, if any. Never fails. */
void ranges_drop_first(struct ranges *r);

/*
 * Add [start, end) even where ranges_add would fail: then by stretching the closest range
 * over the gap between, so that numbers which were never added may be members too.
 */
void ranges_add_widening(struct ranges *r, uint64_t start, uint64_t end);

/* The ranges, ascending; valid until the next change. */
static inline struct range *ranges_at(const struct ranges *r)
{
    return r->cap > RANGES_INLINE ? r->u.heap : (struct range *)r->u.inside;
}

static inline size_t ranges_count(const struct ranges *r)
{
    return r->count;
}

static inline bool ranges_empty(const struct ranges *r)
{
    return r->count == 0;
}

/* The lowest member, and one past the highest. The set must not be empty. */
static inline uint64_t ranges_first(const struct ranges *r)
{
    return ranges_at(r)[0].start;
}

static inline uint64_t ranges_end(const struct ranges *r)
{
    return ranges_at(r)[r->count - 1].end;
}

/* Index of the first range whose end is above `v`; the count if there is none. */
size_t ranges_find(const struct ranges *r, uint64_t v);

bool ranges_contains(const struct ranges *r, uint64_t v);

/* How many numbers are members. */
uint64_t ranges_size(const struct ranges *r);

/* Bytes on the heap. */
size_t ranges_memory(const struct ranges *r);

/* Whether the invariant holds: for tests. */
bool ranges_check(const struct ranges *r);

#endif
