/*
 * Seeded random numbers for tests: the same on every machine, so that a failure replays.
 */
#ifndef TEST_QUIC_RAND_H
#define TEST_QUIC_RAND_H

#include "quic/types.h"

struct rnd {
    uint64_t state;
};

/* splitmix64 */
static inline uint64_t rnd_next(struct rnd *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
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
