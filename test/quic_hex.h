/*
 * quic_hex - what the tests of packets, frames, keys and parameters share: hexadecimal text to
 * bytes, a small seeded generator, and a heap copy of exact size so that the address
 * sanitizer sees a read past the end.
 */
#ifndef TEST_QUIC_HEX_H
#define TEST_QUIC_HEX_H

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quic/types.h"
#include "test/rnd.h"

/* Bytes of a text of hexadecimal digits; white space is skipped. Returns their number. */
static inline size_t unhex(const char *text, uint8_t *out, size_t max)
{
    size_t n = 0;

    while (*text) {
        unsigned v;

        if (isspace((unsigned char)*text)) {
            text++;
            continue;
        }
        if (n == max || sscanf(text, "%2x", &v) != 1) {
            fprintf(stderr, "bad hex: %s\n", text);
            abort();
        }
        out[n++] = (uint8_t)v;
        text += 2;
    }
    return n;
}

struct hex {
    uint8_t b[2048];
    size_t n;
};

static inline struct hex hex_of(const char *text)
{
    struct hex h = {.n = 0};

    h.n = unhex(text, h.b, sizeof(h.b));
    return h;
}

static inline struct span hex_span(const struct hex *h)
{
    return (struct span){h->b, h->n};
}

/* A copy without a byte to spare; the caller frees it. */
static inline uint8_t *exact_copy(const void *p, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);

    if (!copy)
        abort();
    if (n)
        memcpy(copy, p, n);
    return copy;
}

static inline uint64_t rand_u64(uint64_t *state)
{
    return rnd(state);
}

static inline uint64_t rand_below(uint64_t *state, uint64_t n)
{
    return rand_u64(state) % n;
}

static inline void rand_bytes(uint64_t *state, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)rand_u64(state);
}

/* A number that is small as often as large: 0 to 2^62-1. */
static inline uint64_t rand_varint(uint64_t *state)
{
    return rand_u64(state) >> (2 + rand_below(state, 62));
}

#endif
