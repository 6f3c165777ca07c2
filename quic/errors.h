/*
 * errors - the transport error codes that go into CONNECTION_CLOSE (RFC 9000 20.1).
 */
#ifndef QUIC_ERRORS_H
#define QUIC_ERRORS_H

#include "quic/types.h"

enum {
    QUIC_NO_ERROR = 0x00,
    QUIC_INTERNAL_ERROR = 0x01,
    QUIC_CONNECTION_REFUSED = 0x02,
    QUIC_FLOW_CONTROL_ERROR = 0x03,
    QUIC_STREAM_LIMIT_ERROR = 0x04,
    QUIC_STREAM_STATE_ERROR = 0x05,
    QUIC_FINAL_SIZE_ERROR = 0x06,
    QUIC_FRAME_ENCODING_ERROR = 0x07,
    QUIC_TRANSPORT_PARAMETER_ERROR = 0x08,
    QUIC_CONNECTION_ID_LIMIT_ERROR = 0x09,
    QUIC_PROTOCOL_VIOLATION = 0x0a,
    QUIC_INVALID_TOKEN = 0x0b,
    QUIC_APPLICATION_ERROR = 0x0c,
    QUIC_CRYPTO_BUFFER_EXCEEDED = 0x0d,
    QUIC_KEY_UPDATE_ERROR = 0x0e,
    QUIC_AEAD_LIMIT_REACHED = 0x0f,
    QUIC_NO_VIABLE_PATH = 0x10,

    /* 0x0100-0x01ff: a TLS alert in the low byte (RFC 9001 4.8). */
    QUIC_CRYPTO_ERROR = 0x0100,
    QUIC_CRYPTO_ERROR_LAST = 0x01ff
};

/* The TLS alerts that this stack raises or names (RFC 8446 6.2, RFC 7301). */
enum {
    TLS_ALERT_UNEXPECTED_MESSAGE = 10,
    TLS_ALERT_HANDSHAKE_FAILURE = 40,
    TLS_ALERT_BAD_CERTIFICATE = 42,
    TLS_ALERT_CERTIFICATE_EXPIRED = 45,
    TLS_ALERT_UNKNOWN_CA = 48,
    TLS_ALERT_INTERNAL_ERROR = 80,
    TLS_ALERT_MISSING_EXTENSION = 109,
    TLS_ALERT_NO_APPLICATION_PROTOCOL = 120
};

/*
 * The RFC's name of a transport error code, the alert's name for a CRYPTO_ERROR with a
 * known alert, else "CRYPTO_ERROR" or "unknown error". Static; for logs and messages.
 */
const char *quic_error_name(uint64_t code);

#endif
