/*
 * qpack_dec - field sections in, and the peer's encoder stream in (RFC 9204).
 *
 * There is no dynamic table: its maximum capacity is announced as 0, so a section
 * that refers to it can't be valid, and of the encoder's instructions only "set the
 * capacity to 0" is. Sections therefore decode at once and never block.
 *
 * Decoded fields lie in two arrays that belong to the decoder: the fields, and the
 * bytes that they point to. A section is decoded into the bytes of exactly one
 * allocation, whose size is known beforehand from the length of the input, so that
 * spans stay valid while it fills. Names and values that the static table has point
 * into that. The arrays are kept for the next section when they are small.
 *
 * The size of the section, name + value + 32 for each field, is counted as the
 * fields come, and decoding stops when it passes the limit.
 */
#ifndef H3_QPACK_DEC_H
#define H3_QPACK_DEC_H

#include "h3/fields.h"
#include "h3/qpack_int.h"
#include "quic/types.h"

struct qpack_dec {
    uint64_t max_size; /* of a section as RFC 9114 4.2.2 counts it */
    struct h3_field *fields;
    size_t count, cap;
    uint8_t *text;
    size_t text_cap;
};

/* `max_size` is the limit for one section in bytes, 32 of overhead for each field. */
void qpack_dec_init(struct qpack_dec *d, uint64_t max_size);
void qpack_dec_free(struct qpack_dec *d);

/*
 * Decode one whole field section to d->fields[0 .. d->count), which live until the
 * next call for `d`. `in` is no longer needed afterwards.
 *
 * Returns 0; QUIC_TOOBIG when the section is larger than the limit; QUIC_NOMEM; or
 * QPACK_DECOMPRESSION_FAILED for a prefix or representation that is cut off, a
 * reference to the dynamic table or beyond the static one, an integer above 2^62-1,
 * or a string that is no Huffman code (RFC 9204 2.2.3, 3.1, 4.5 and 7.4).
 */
int qpack_dec_section(struct qpack_dec *d, struct span in);

/* Give back the memory of the last section if it is large; its fields are gone. */
void qpack_dec_trim(struct qpack_dec *d);

/* The peer's encoder stream. Zeroed is its start. */
struct qpack_estream {
    struct qpack_int_rd v;
    bool inside; /* of a Set Dynamic Table Capacity */
};

/*
 * Take the next bytes of the encoder stream. Returns 0, or QPACK_ENCODER_STREAM_ERROR
 * for any insertion or duplication, none of which fits a table of capacity 0, and for
 * a capacity above 0 (RFC 9204 4.3 and 3.2.2).
 */
int qpack_estream_feed(struct qpack_estream *e, struct span in);

#endif
