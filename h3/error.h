/*
 * error - the error codes of HTTP/3 (RFC 9114 8.1), QPACK (RFC 9204 8.3) and
 * HTTP Datagrams (RFC 9297 5.2): one application code space.
 */
#ifndef H3_ERROR_H
#define H3_ERROR_H

#include "quic/types.h"

/* clang-format off */
#define H3_ERRORS(X)                          \
    X(H3_DATAGRAM_ERROR,          0x0033)     \
    X(H3_NO_ERROR,                0x0100)     \
    X(H3_GENERAL_PROTOCOL_ERROR,  0x0101)     \
    X(H3_INTERNAL_ERROR,          0x0102)     \
    X(H3_STREAM_CREATION_ERROR,   0x0103)     \
    X(H3_CLOSED_CRITICAL_STREAM,  0x0104)     \
    X(H3_FRAME_UNEXPECTED,        0x0105)     \
    X(H3_FRAME_ERROR,             0x0106)     \
    X(H3_EXCESSIVE_LOAD,          0x0107)     \
    X(H3_ID_ERROR,                0x0108)     \
    X(H3_SETTINGS_ERROR,          0x0109)     \
    X(H3_MISSING_SETTINGS,        0x010a)     \
    X(H3_REQUEST_REJECTED,        0x010b)     \
    X(H3_REQUEST_CANCELLED,       0x010c)     \
    X(H3_REQUEST_INCOMPLETE,      0x010d)     \
    X(H3_MESSAGE_ERROR,           0x010e)     \
    X(H3_CONNECT_ERROR,           0x010f)     \
    X(H3_VERSION_FALLBACK,        0x0110)     \
    X(QPACK_DECOMPRESSION_FAILED, 0x0200)     \
    X(QPACK_ENCODER_STREAM_ERROR, 0x0201)     \
    X(QPACK_DECODER_STREAM_ERROR, 0x0202)
/* clang-format on */

enum {
#define H3_ERROR_ENUM(name, value) name = value,
    H3_ERRORS(H3_ERROR_ENUM)
#undef H3_ERROR_ENUM
};

/*
 * The name of a code for a person. A reserved code (0x1f * N + 0x21) is
 * "reserved", which means H3_NO_ERROR; anything else is "unknown". Static text.
 */
const char *h3_error_name(uint64_t code);

#endif
