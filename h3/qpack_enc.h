/*
 * qpack_enc - field sections out, and the peer's decoder stream in (RFC 9204).
 *
 * The encoder uses the static table and literals only, so it has no state: every
 * section stands for itself, with Required Insert Count 0. A string is Huffman
 * encoded when that makes it shorter. A field marked `never_index` always becomes
 * a literal with the N bit, even if the static table has it whole.
 *
 * Since nothing is ever inserted, a decoder can only cancel streams: a Section
 * Acknowledgment or Insert Count Increment acknowledges what was never sent.
 */
#ifndef H3_QPACK_ENC_H
#define H3_QPACK_ENC_H

#include "h3/fields.h"
#include "h3/qpack_int.h"
#include "quic/types.h"
#include "quic/wire.h"

/* No encoding of these fields is longer than this, in bytes. */
uint64_t qpack_enc_bound(const struct h3_field *fields, size_t n);

/* Append the encoded field section; fails `w` for lack of room. */
void qpack_enc_section(struct wire_w *w, const struct h3_field *fields, size_t n);

/* The peer's decoder stream. Zeroed is its start. */
struct qpack_dstream {
    struct qpack_int_rd v;
    bool inside; /* of a Stream Cancellation */
};

/*
 * Take the next bytes of the decoder stream. Returns 0, or QPACK_DECODER_STREAM_ERROR
 * for every instruction but Stream Cancellation, and for a stream number that is no
 * 62-bit integer (RFC 9204 4.4).
 */
int qpack_dstream_feed(struct qpack_dstream *d, struct span in);

#endif
