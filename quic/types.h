/*
 * types - the few types that every layer shares.
 *
 * Nothing here allocates, locks or does I/O. Errors are one `int` everywhere:
 *   0         success
 *   positive  the wire error code that the peer deserves, in the code space of
 *             the layer that returns it (RFC 9000 20, RFC 9114 8.1, ...)
 *   negative  a local condition, one of the codes below
 */
#ifndef QUIC_TYPES_H
#define QUIC_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Nanoseconds on a monotonic clock: instants and durations. The only time type. */
typedef uint64_t ns_t;

#define NS_NEVER UINT64_MAX
#define NS_PER_US ((ns_t)1000)
#define NS_PER_MS ((ns_t)1000000)
#define NS_PER_S  ((ns_t)1000000000)

/* `a + b`, staying at NS_NEVER when either is or the sum would pass it. */
static inline ns_t ns_add(ns_t a, ns_t b)
{
    return a > NS_NEVER - b ? NS_NEVER : a + b;
}

static inline ns_t ns_min(ns_t a, ns_t b)
{
    return a < b ? a : b;
}

static inline ns_t ns_max(ns_t a, ns_t b)
{
    return a > b ? a : b;
}

/* `a - b`, or 0 where b is the later. */
static inline ns_t ns_sub(ns_t a, ns_t b)
{
    return a > b ? a - b : 0;
}

/* Borrowed bytes. Whoever hands one out says until when it is valid. */
struct span {
    const uint8_t *p;
    size_t n;
};

static inline struct span span_of(const void *p, size_t n)
{
    return (struct span){(const uint8_t *)p, n};
}

/* A string literal as a span, without its terminator. */
#define SPAN_LIT(s) ((struct span){(const uint8_t *)(s), sizeof(s) - 1})

/* Local conditions, negative so that they never meet a wire error code. */
enum {
    QUIC_BLOCKED = -1, /* no credit, room or window now: try again after an event */
    QUIC_DROP = -2,    /* the input is to be ignored; nothing changed */
    QUIC_NOMEM = -3,   /* an allocation failed; nothing changed */
    QUIC_AGAIN = -4,   /* more input is needed; what was given is consumed */
    QUIC_TOOBIG = -5,  /* does not fit the packet, buffer or limit in question */
    QUIC_CLOSED = -6,  /* the connection or stream is over */
    QUIC_INVAL = -7    /* the caller's argument can't be right */
};

/* Random bytes, injected: fills `n` bytes at `out`. Must not fail. */
struct rng {
    void (*fill)(void *ctx, void *out, size_t n);
    void *ctx;
};

static inline void rng_fill(const struct rng *r, void *out, size_t n)
{
    r->fill(r->ctx, out, n);
}

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
