/*
 * settings - the parameters of a SETTINGS frame (RFC 9114 7.2.4).
 *
 * The reader takes the frame's payload in any split: it holds one varint pair at
 * a time and never the frame. Identifiers that HTTP/2 used and HTTP/3 has not are
 * refused, unknown ones (reserved ones among them) are skipped, a known one that
 * comes twice is refused. Unknown ones may repeat: to see that would cost memory
 * that the peer chooses.
 */
#ifndef H3_SETTINGS_H
#define H3_SETTINGS_H

#include "h3/frame.h"
#include "quic/types.h"
#include "quic/wire.h"

enum {
    H3_SET_QPACK_MAX_TABLE_CAPACITY = 0x01, /* RFC 9204 5 */
    H3_SET_MAX_FIELD_SECTION_SIZE = 0x06,   /* RFC 9114 7.2.4.1 */
    H3_SET_QPACK_BLOCKED_STREAMS = 0x07,    /* RFC 9204 5 */
    H3_SET_ENABLE_CONNECT_PROTOCOL = 0x08,  /* RFC 9220 3 */
    H3_SET_H3_DATAGRAM = 0x33               /* RFC 9297 2.1.1 */
};

#define H3_UNLIMITED UINT64_MAX /* MAX_FIELD_SECTION_SIZE that was not sent */

/*
 * The longest SETTINGS payload that is read. Each parameter has two bytes at the
 * least, and nobody has thousands of them.
 */
#define H3_SETTINGS_MAX_BYTES 4096

struct h3_settings {
    uint64_t qpack_max_table_capacity; /* bytes; 0 by default */
    uint64_t qpack_blocked_streams;    /* 0 by default */
    uint64_t max_field_section_size;   /* bytes; H3_UNLIMITED by default */
    bool enable_connect_protocol;      /* Extended CONNECT may be used towards the sender */
    bool h3_datagram;                  /* the sender takes HTTP Datagrams */
};

/* One payload being read. */
struct h3_settings_rd {
    struct h3_settings *out;
    struct h3_varint_rd v;
    uint64_t id;
    bool have_id;
    uint32_t seen; /* one bit for each known setting */
};

/* The initial value of every setting (RFC 9114 7.2.4.2). */
void h3_settings_default(struct h3_settings *s);

/* Begin to read a payload into `out`, which is set to the defaults. */
void h3_settings_rd_init(struct h3_settings_rd *r, struct h3_settings *out);

/*
 * Take the next bytes of the payload.
 *
 * Returns 0, or H3_SETTINGS_ERROR for an identifier of HTTP/2, a known setting
 * that comes twice, or a value other than 0 and 1 where only these are allowed
 * (RFC 9114 7.2.4 and 7.2.4.1, RFC 9220 3, RFC 9297 2.1.1).
 */
int h3_settings_rd_feed(struct h3_settings_rd *r, struct span in);

/* The payload is over. Returns 0, or H3_FRAME_ERROR when it ended inside a parameter. */
int h3_settings_rd_end(const struct h3_settings_rd *r);

/*
 * Write a whole SETTINGS frame, header and payload. Settings at their default are
 * left out, except that H3_DATAGRAM and ENABLE_CONNECT_PROTOCOL are written when
 * set. `grease` other than 0 adds one setting with a reserved identifier
 * (0x1f * N + 0x21) and a value, both derived from it (RFC 9114 7.2.4.1).
 */
void h3_settings_write(struct wire_w *w, const struct h3_settings *s, uint64_t grease);

#endif
