/*
 * qpack_huff - the Huffman code of HPACK, which QPACK uses unchanged (RFC 7541
 * 5.2 and appendix B).
 *
 * The code is canonical: codes of one length are consecutive numbers, and a longer
 * code is greater than every shorter one when both are left-justified. So a symbol
 * is found by comparing the next 32 bits with one limit for each of the 21 lengths
 * that exist, and then by an index into the symbols in code order. One byte of text
 * takes 5 to 30 bits: text grows by at most 8/5 when decoded, and by 15/4 when
 * encoded.
 */
#ifndef H3_QPACK_HUFF_H
#define H3_QPACK_HUFF_H

#include "quic/types.h"
#include "quic/wire.h"

/* The most bytes that `n` encoded bytes decode to. */
static inline uint64_t qpack_huff_bound(uint64_t n)
{
    return n / 5 * 8 + (n % 5 * 8 + 4) / 5;
}

/* The length in bytes of `s` encoded, padding included. */
uint64_t qpack_huff_len(struct span s);

/* Append `s` encoded, padded with ones. */
void qpack_huff_encode(struct wire_w *w, struct span s);

/*
 * Decode the whole of `in` and append it to `w`.
 *
 * Returns 0; QUIC_TOOBIG when `w` lacks the room; QUIC_INVAL for a code that is
 * none: the EOS symbol, more than 7 bits of padding, or padding that is not all
 * ones (RFC 7541 5.2). On an error `w` may hold a part.
 */
int qpack_huff_decode(struct wire_w *w, struct span in);

#endif
