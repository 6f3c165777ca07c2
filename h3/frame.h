/*
 * frame - the layout of HTTP/3 frames (RFC 9114 7.1) and where each is allowed.
 *
 * A frame is a type, a length and a payload, and any of them may come in pieces.
 * The header reader is resumable: it takes one byte or many, keeps what it has,
 * and says how much it used. Legality is data: one row for each known type says
 * on which kind of stream and from which side it may come; a type without a row
 * is to be skipped (RFC 9114 9).
 */
#ifndef H3_FRAME_H
#define H3_FRAME_H

#include "quic/types.h"
#include "quic/wire.h"

enum {
    H3_FRAME_DATA = 0x00,
    H3_FRAME_HEADERS = 0x01,
    H3_FRAME_CANCEL_PUSH = 0x03,
    H3_FRAME_SETTINGS = 0x04,
    H3_FRAME_PUSH_PROMISE = 0x05,
    H3_FRAME_GOAWAY = 0x07,
    H3_FRAME_MAX_PUSH_ID = 0x0d
};

/* The first varint of a unidirectional stream (RFC 9114 6.2, RFC 9204 4.2). */
enum {
    H3_STREAM_CONTROL = 0x00,
    H3_STREAM_PUSH = 0x01,
    H3_STREAM_QPACK_ENCODER = 0x02,
    H3_STREAM_QPACK_DECODER = 0x03
};

enum h3_frame_place { H3_ON_CONTROL, H3_ON_REQUEST };

/* A varint that arrives in pieces. Zeroed is empty. */
struct h3_varint_rd {
    uint64_t v;
    uint8_t have, need; /* bytes; need is 0 before the first one */
};

/*
 * Take bytes from `in` until the varint is whole. Adds the number of bytes taken
 * to `*used`.
 *
 * Returns 0 with the value in `*out` and the reader empty again, or QUIC_AGAIN
 * when all of `in` was taken and more is needed.
 */
int h3_varint_rd_feed(struct h3_varint_rd *r, struct span in, size_t *used, uint64_t *out);

/* Whether the reader stands between two varints. */
static inline bool h3_varint_rd_idle(const struct h3_varint_rd *r)
{
    return r->have == 0;
}

/* A frame header that arrives in pieces. Zeroed is empty. */
struct h3_frame_rd {
    struct h3_varint_rd v;
    bool have_type;
    uint64_t type, len;
};

/*
 * The same for a frame header: on 0, `r->type` and `r->len` are set, and the
 * reader is ready for the next header.
 */
int h3_frame_rd_feed(struct h3_frame_rd *r, struct span in, size_t *used);

/* Whether the reader stands between two headers. */
static inline bool h3_frame_rd_idle(const struct h3_frame_rd *r)
{
    return !r->have_type && h3_varint_rd_idle(&r->v);
}

/*
 * Whether a frame of `type` may come at all on this kind of stream from this side
 * (`from_server`), apart from its order.
 *
 * Returns 0 for a known type that may and for an unknown type, else the connection
 * error: H3_FRAME_UNEXPECTED for a frame on the wrong stream, from the wrong side,
 * or of a type that only HTTP/2 has (RFC 9114 7.2 and 7.2.8); H3_ID_ERROR for a
 * PUSH_PROMISE, since no push ID is ever allowed here (RFC 9114 7.2.5).
 */
int h3_frame_check(uint64_t type, enum h3_frame_place place, bool from_server);

/* Its name for a person; "unknown" without a row. Static text. */
const char *h3_frame_name(uint64_t type);

/* Write type and length in their shortest form. */
void h3_frame_write_head(struct wire_w *w, uint64_t type, uint64_t len);

/* The longest header that h3_frame_write_head makes, in bytes. */
#define H3_FRAME_HEAD_MAX 16

#endif
