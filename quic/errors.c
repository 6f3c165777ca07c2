#include "quic/errors.h"

static const char *const transport[] = {
    [QUIC_NO_ERROR] = "NO_ERROR",
    [QUIC_INTERNAL_ERROR] = "INTERNAL_ERROR",
    [QUIC_CONNECTION_REFUSED] = "CONNECTION_REFUSED",
    [QUIC_FLOW_CONTROL_ERROR] = "FLOW_CONTROL_ERROR",
    [QUIC_STREAM_LIMIT_ERROR] = "STREAM_LIMIT_ERROR",
    [QUIC_STREAM_STATE_ERROR] = "STREAM_STATE_ERROR",
    [QUIC_FINAL_SIZE_ERROR] = "FINAL_SIZE_ERROR",
    [QUIC_FRAME_ENCODING_ERROR] = "FRAME_ENCODING_ERROR",
    [QUIC_TRANSPORT_PARAMETER_ERROR] = "TRANSPORT_PARAMETER_ERROR",
    [QUIC_CONNECTION_ID_LIMIT_ERROR] = "CONNECTION_ID_LIMIT_ERROR",
    [QUIC_PROTOCOL_VIOLATION] = "PROTOCOL_VIOLATION",
    [QUIC_INVALID_TOKEN] = "INVALID_TOKEN",
    [QUIC_APPLICATION_ERROR] = "APPLICATION_ERROR",
    [QUIC_CRYPTO_BUFFER_EXCEEDED] = "CRYPTO_BUFFER_EXCEEDED",
    [QUIC_KEY_UPDATE_ERROR] = "KEY_UPDATE_ERROR",
    [QUIC_AEAD_LIMIT_REACHED] = "AEAD_LIMIT_REACHED",
    [QUIC_NO_VIABLE_PATH] = "NO_VIABLE_PATH",
};

/* RFC 8446 6 and RFC 7301 3.2. */
static const struct {
    uint8_t alert;
    const char *name;
} alerts[] = {
    {0, "close_notify"},
    {10, "unexpected_message"},
    {20, "bad_record_mac"},
    {22, "record_overflow"},
    {40, "handshake_failure"},
    {42, "bad_certificate"},
    {43, "unsupported_certificate"},
    {44, "certificate_revoked"},
    {45, "certificate_expired"},
    {46, "certificate_unknown"},
    {47, "illegal_parameter"},
    {48, "unknown_ca"},
    {49, "access_denied"},
    {50, "decode_error"},
    {51, "decrypt_error"},
    {70, "protocol_version"},
    {71, "insufficient_security"},
    {80, "internal_error"},
    {86, "inappropriate_fallback"},
    {90, "user_canceled"},
    {109, "missing_extension"},
    {110, "unsupported_extension"},
    {112, "unrecognized_name"},
    {113, "bad_certificate_status_response"},
    {115, "unknown_psk_identity"},
    {116, "certificate_required"},
    {120, "no_application_protocol"},
};

const char *quic_error_name(uint64_t code)
{
    if (code < ARRAY_LEN(transport))
        return transport[code];
    if (code < QUIC_CRYPTO_ERROR || code > QUIC_CRYPTO_ERROR_LAST)
        return "unknown error";
    for (size_t i = 0; i < ARRAY_LEN(alerts); i++) {
        if (alerts[i].alert == (code & 0xff))
            return alerts[i].name;
    }
    return "CRYPTO_ERROR";
}
