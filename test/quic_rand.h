/*
 * Seeded random numbers for tests: the same on every machine, so that a failure replays.
 */
#ifndef TEST_QUIC_RAND_H
#define TEST_QUIC_RAND_H

#include "quic/types.h"

#include "test/rnd.h"

struct rnd {
    uint64_t state;
};

static inline uint64_t rnd_next(struct rnd *r)
{
    return rnd(&r->state);
}

/* A number below `n`. */
static inline uint64_t rnd_below(struct rnd *r, uint64_t n)
{
    return rnd_next(r) % n;
}

/* True `part` times out of `of`. */
static inline bool rnd_chance(struct rnd *r, uint64_t part, uint64_t of)
{
    return rnd_below(r, of) < part;
}

/* The function of a struct rng whose ctx is a struct rnd. */
static inline void rnd_fill(void *ctx, void *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)out)[i] = (uint8_t)rnd_next(ctx);
}

#endif
