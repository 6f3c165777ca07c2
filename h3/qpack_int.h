/*
 * qpack_int - integers with an N-bit prefix (RFC 7541 5.1, RFC 9204 4.1.1).
 *
 * The reader is fed byte by byte, so that instruction streams can stop anywhere.
 * Values go up to 2^62-1, and an encoding has at most QPACK_INT_MAX_BYTES bytes: a
 * longer one could only hold zeroes.
 */
#ifndef H3_QPACK_INT_H
#define H3_QPACK_INT_H

#include "quic/types.h"
#include "quic/wire.h"

#define QPACK_INT_MAX_BYTES 11 /* the prefix and ten bytes of 7 bits */

/* One integer being read. `shift` is the place of the next 7 bits. */
struct qpack_int_rd {
    uint64_t v;
    uint8_t shift;
};

/*
 * Begin with the byte that holds the prefix, of whose low `prefix` bits (1 to 8) it
 * consists. Returns 0 when the value `r->v` is whole, QUIC_AGAIN when more bytes
 * follow.
 */
int qpack_int_start(struct qpack_int_rd *r, uint8_t byte, unsigned prefix);

/*
 * Go on with the next byte. Returns 0, QUIC_AGAIN, or QUIC_INVAL when the value
 * would pass 2^62-1 or the encoding is too long.
 */
int qpack_int_feed(struct qpack_int_rd *r, uint8_t byte);

/*
 * Read one whole integer whose first byte is `first`, already taken from `r`. Returns
 * 0 with the value, or QUIC_INVAL when it is cut off or out of range.
 */
int qpack_int_get(struct wire_r *r, uint8_t first, unsigned prefix, uint64_t *v);

/* Write `v` behind the bits of `flags` that stand above the prefix. */
void qpack_int_put(struct wire_w *w, uint8_t flags, unsigned prefix, uint64_t v);

/* The number of bytes that qpack_int_put writes. */
size_t qpack_int_len(unsigned prefix, uint64_t v);

#endif
