/*
 * wire - bounded cursors over network bytes.
 *
 * A reader or writer that was asked for more than it holds is *failed* and stays
 * so: every later read gives zero or an empty span, every later write does
 * nothing. A codec therefore reads or writes straight down and checks once, at
 * the end. Integers are big-endian; varints are those of RFC 9000 section 16.
 *
 * Invariant: p <= end, and after a failure p == end.
 */
#ifndef QUIC_WIRE_H
#define QUIC_WIRE_H

#include "quic/types.h"

#define VARINT_MAX (((uint64_t)1 << 62) - 1) /* RFC 9000 16 */

struct wire_r {
    const uint8_t *p, *end;
    bool failed;
};

struct wire_w {
    uint8_t *p, *end;
    bool failed;
};

/* A null `p` is fine where `n` is 0. */
static inline struct wire_r wire_r_of(const void *p, size_t n)
{
    const uint8_t *b = (const uint8_t *)p;

    return (struct wire_r){b, n ? b + n : b, false};
}

static inline struct wire_r wire_r_span(struct span s)
{
    return wire_r_of(s.p, s.n);
}

static inline struct wire_w wire_w_of(void *p, size_t n)
{
    uint8_t *b = (uint8_t *)p;

    return (struct wire_w){b, n ? b + n : b, false};
}

/* Bytes left to read, or room left to write; 0 after a failure. */
static inline size_t wire_r_left(const struct wire_r *r)
{
    return (size_t)(r->end - r->p);
}

static inline size_t wire_w_left(const struct wire_w *w)
{
    return (size_t)(w->end - w->p);
}

/* Mark as failed; every later call gives zero or does nothing. */
void wire_r_fail(struct wire_r *r);
void wire_w_fail(struct wire_w *w);

static inline uint8_t wire_r_u8(struct wire_r *r)
{
    if (r->p == r->end) {
        wire_r_fail(r);
        return 0;
    }
    return *r->p++;
}

uint16_t wire_r_u16(struct wire_r *r);
uint32_t wire_r_u32(struct wire_r *r);
uint64_t wire_r_u64(struct wire_r *r);

/* wire_r_varint where the first byte is missing or says that there are more. */
uint64_t wire_r_varint_long(struct wire_r *r);

/* One varint of any of its four lengths. */
static inline uint64_t wire_r_varint(struct wire_r *r)
{
    return r->p != r->end && *r->p < 0x40 ? *r->p++ : wire_r_varint_long(r);
}

/*
 * The next `n` bytes, borrowed from the reader's buffer; an empty span on
 * failure. `n` is 64 bits wide so that a length read from the wire can be handed
 * over unchecked.
 */
struct span wire_r_bytes(struct wire_r *r, uint64_t n);

/* Copy the next `n` bytes to `out`; zeroes on failure. */
void wire_r_copy(struct wire_r *r, void *out, size_t n);

/* A varint length and that many bytes. */
struct span wire_r_vec(struct wire_r *r);

static inline void wire_w_u8(struct wire_w *w, uint8_t v)
{
    if (w->p == w->end)
        wire_w_fail(w);
    else
        *w->p++ = v;
}

void wire_w_u16(struct wire_w *w, uint16_t v);
void wire_w_u32(struct wire_w *w, uint32_t v);
void wire_w_u64(struct wire_w *w, uint64_t v);

/* `v` in its shortest form; a value above VARINT_MAX fails the writer. */
void wire_w_varint(struct wire_w *w, uint64_t v);

/* `v` in exactly `len` bytes (1, 2, 4 or 8); fails if it does not fit them. */
void wire_w_varint_len(struct wire_w *w, uint64_t v, size_t len);

void wire_w_bytes(struct wire_w *w, const void *p, size_t n);
void wire_w_span(struct wire_w *w, struct span s);
void wire_w_zero(struct wire_w *w, size_t n);

/* A varint length and the bytes. */
void wire_w_vec(struct wire_w *w, struct span s);

/* Length in bytes of the shortest encoding of `v`: 1, 2, 4 or 8; 0 above VARINT_MAX. */
static inline size_t varint_len(uint64_t v)
{
    return v < 0x40 ? 1 : v < 0x4000 ? 2 : v < 0x40000000 ? 4 : v <= VARINT_MAX ? 8 : 0;
}

/*
 * The number nearest to `near` whose lowest `bits` (1 to 32) bits are those of `low`; of two as
 * near, the higher. Never below 0.
 */
uint64_t wire_expand(uint32_t low, unsigned bits, uint64_t near);

#endif
