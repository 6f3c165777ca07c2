/*
 * tparam - transport parameters (RFC 9000 7.3, 7.4 and 18, RFC 9221 3, RFC 9287 3,
 * draft-ietf-quic-ack-frequency 3).
 *
 * One struct for either end's declaration. Numbers that may be absent hold their default
 * then, so readers need no presence bit; what has no default has a `has_` flag. Times are
 * ns_t here and milliseconds on the wire. Unknown parameters are ignored, whatever they hold;
 * tparam_find gets them out for an extension.
 */
#ifndef QUIC_TPARAM_H
#define QUIC_TPARAM_H

#include "quic/packet.h"

enum {
    TPARAM_ORIGINAL_DESTINATION_CONNECTION_ID = 0x00,
    TPARAM_MAX_IDLE_TIMEOUT = 0x01,
    TPARAM_STATELESS_RESET_TOKEN = 0x02,
    TPARAM_MAX_UDP_PAYLOAD_SIZE = 0x03,
    TPARAM_INITIAL_MAX_DATA = 0x04,
    TPARAM_INITIAL_MAX_STREAM_DATA_BIDI_LOCAL = 0x05,
    TPARAM_INITIAL_MAX_STREAM_DATA_BIDI_REMOTE = 0x06,
    TPARAM_INITIAL_MAX_STREAM_DATA_UNI = 0x07,
    TPARAM_INITIAL_MAX_STREAMS_BIDI = 0x08,
    TPARAM_INITIAL_MAX_STREAMS_UNI = 0x09,
    TPARAM_ACK_DELAY_EXPONENT = 0x0a,
    TPARAM_MAX_ACK_DELAY = 0x0b,
    TPARAM_DISABLE_ACTIVE_MIGRATION = 0x0c,
    TPARAM_PREFERRED_ADDRESS = 0x0d,
    TPARAM_ACTIVE_CONNECTION_ID_LIMIT = 0x0e,
    TPARAM_INITIAL_SOURCE_CONNECTION_ID = 0x0f,
    TPARAM_RETRY_SOURCE_CONNECTION_ID = 0x10,
    TPARAM_MAX_DATAGRAM_FRAME_SIZE = 0x20,
    TPARAM_GREASE_QUIC_BIT = 0x2ab2,
    TPARAM_MIN_ACK_DELAY = 0xff04de1b
};

/* A server's preferred address (RFC 9000 18.2); a port of 0 means "none of this family". */
struct tparam_preferred {
    uint8_t ip4[4], ip6[16];
    uint16_t port4, port6;
    struct quic_cid cid; /* sequence number 1 */
    uint8_t token[16];
};

/* max_ack_delay is below this (RFC 9000 18.2). */
#define TPARAM_MAX_ACK_DELAY_END (16384 * NS_PER_MS)

#define TPARAM_NO_ACK_FREQUENCY (((uint64_t)1 << 62) - 1)

struct tparams {
    ns_t max_idle_timeout; /* 0: none */
    uint64_t max_udp_payload_size;
    uint64_t initial_max_data;
    uint64_t initial_max_stream_data_bidi_local; /* streams that the sender of this opens */
    uint64_t initial_max_stream_data_bidi_remote;
    uint64_t initial_max_stream_data_uni;
    uint64_t initial_max_streams_bidi;
    uint64_t initial_max_streams_uni;
    uint64_t ack_delay_exponent;
    ns_t max_ack_delay;
    uint64_t min_ack_delay_us; /* microseconds; TPARAM_NO_ACK_FREQUENCY: not there */
    uint64_t active_connection_id_limit;
    uint64_t max_datagram_frame_size; /* type, length and payload; 0: no DATAGRAM */
    bool disable_active_migration;
    bool grease_quic_bit;

    bool has_original_dcid, has_initial_scid, has_retry_scid;
    bool has_reset_token, has_preferred;
    struct quic_cid original_dcid, initial_scid, retry_scid;
    uint8_t reset_token[16];
    struct tparam_preferred preferred;
};

/* Every value as if no parameter were there (RFC 9000 18.2). */
void tparams_default(struct tparams *t);

/*
 * Write the parameters that differ from their defaults; those that only a server may send
 * are left out where `server` is false. `extra` are ready-encoded parameters that follow.
 *
 * Returns 0, QUIC_TOOBIG if it doesn't fit `w`, QUIC_INVAL for a value out of the range that
 * the peer would accept.
 */
int tparams_encode(struct wire_w *w, const struct tparams *t, bool server, struct span extra);

/*
 * Read a peer's parameters; `t` starts from the defaults. `from_server` tells who sent them.
 *
 * Returns 0, or QUIC_TRANSPORT_PARAMETER_ERROR: truncated, a duplicate of any parameter
 * known here, a value out of range or with bytes left over, or a server's parameter from a
 * client. `t` is then undefined.
 */
int tparams_decode(struct span blob, bool from_server, struct tparams *t);

/*
 * The authentication of connection IDs (RFC 9000 7.3). `initial_source` is the source ID of
 * the peer's first Initial. From a server also: `original_dcid` is the destination ID of our
 * very first Initial, `retry_source` the source ID of the Retry that we followed, NULL if
 * there was none.
 *
 * Returns 0, or QUIC_TRANSPORT_PARAMETER_ERROR where one is missing, differs or must not be
 * there.
 */
int tparams_check_cids(const struct tparams *peer, bool from_server,
                       const struct quic_cid *initial_source,
                       const struct quic_cid *original_dcid,
                       const struct quic_cid *retry_source);

/*
 * The value of parameter `id` in an encoded sequence, borrowed from it; the first if there
 * are several. Returns 0, QUIC_DROP if absent (or the sequence breaks off before it),
 * QUIC_TRANSPORT_PARAMETER_ERROR if it is there twice.
 */
int tparam_find(struct span blob, uint64_t id, struct span *value);

/* Append one parameter with a varint value, or with bytes, to a sequence. */
void tparam_put_varint(struct wire_w *w, uint64_t id, uint64_t value);
void tparam_put_bytes(struct wire_w *w, uint64_t id, struct span value);

#endif
