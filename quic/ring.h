/*
 * ring - bytes at (stream offset modulo a power of two): what sbuf and rbuf share.
 */
#ifndef QUIC_RING_H
#define QUIC_RING_H

#include <string.h>

#include "quic/types.h"

#define RING_MIN    512  /* bytes of the smallest ring that is not absent */
#define RING_MODEST 4096 /* with a larger one come the sets of ranges that losses ask for */

/* The smallest power of two, at least RING_MIN and `cap`, that holds `n` bytes. */
static inline uint32_t ring_size(uint32_t cap, uint64_t n)
{
    if (cap < RING_MIN)
        cap = RING_MIN;
    while (cap < n)
        cap *= 2;
    return cap;
}

/* Copy `data` to offset `off` on: in at most two pieces. */
static inline void ring_put(uint8_t *ring, uint32_t cap, uint64_t off, struct span data)
{
    size_t at = off & (cap - 1), first = data.n < cap - at ? data.n : cap - at;

    memcpy(ring + at, data.p, first);
    if (data.n > first)
        memcpy(ring, data.p + first, data.n - first);
}

/* What of the bytes [off, end) is contiguous from `off` on. */
static inline struct span ring_piece(const uint8_t *ring, uint32_t cap, uint64_t off,
                                     uint64_t end)
{
    size_t at = off & (cap - 1), n = (size_t)(end - off);

    return span_of(ring + at, n < cap - at ? n : cap - at);
}

/* Copy the bytes [off, end) from one ring to another. */
static inline void ring_move(uint8_t *to, uint32_t to_cap, const uint8_t *from,
                             uint32_t from_cap, uint64_t off, uint64_t end)
{
    while (off < end) {
        struct span p = ring_piece(from, from_cap, off, end);

        ring_put(to, to_cap, off, p);
        off += p.n;
    }
}

#endif
