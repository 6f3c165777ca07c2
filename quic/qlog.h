/*
 * qlog - what happens on a connection, as events for tools (qlog, JSON text sequences).
 *
 * The version is 0.3, that is draft-ietf-quic-qlog-main-schema-02 and -quic-events-02, which
 * is the newest that qvis opens: names like "transport:packet_sent", times in milliseconds
 * after `reference_time`. Each record is RS, one JSON object, LF (RFC 7464).
 *
 * A trace belongs to one connection. It makes one record at a time in a buffer of its own and
 * hands it to the sink of the configuration; it keeps nothing. A record that would exceed the
 * buffer leaves out frames or ranges and says how many, in "left_out".
 *
 * Never in it: payload of any kind, keys, address validation and stateless reset tokens.
 * Addresses and connection IDs are. Text of the peer's is escaped (json.h).
 *
 * Invariant: between calls no record is open; what the sink gets is whole records.
 */
#ifndef QUIC_QLOG_H
#define QUIC_QLOG_H

#include "quic/frame.h"
#include "quic/json.h"
#include "quic/quic.h"
#include "quic/tparam.h"

#define QLOG_RECORD 8192 /* bytes of the longest record */
#define QLOG_RANGES 64   /* of one ACK frame; the rest is left out */

/* Where the records go. Functions must not call back into the connection. */
struct qlog_sink {
    void *ctx;
    /*
     * A new trace: `odcid` is the destination ID of the client's first Initial. Returns what
     * the other two get as `trace`, or null: this connection is not logged.
     */
    void *(*open)(void *ctx, const struct quic_cid *odcid, bool server, ns_t now);
    void (*write)(void *trace, const char *p, size_t n, ns_t now); /* one whole record */
    void (*close)(void *trace);
    uint64_t epoch_ms; /* milliseconds from 1970 to the instant 0 of ns_t */
};

struct qlog {
    const struct qlog_sink *sink;
    void *trace;
    ns_t start;
    ns_t last;     /* of the latest record: times don't go back */
    struct json j; /* the record, behind its RS */
    char buf[1 + QLOG_RECORD + 1];
};

/*
 * Begin a trace with its header. Returns 0, or QUIC_DROP where the sink wants none; `q` needs
 * no qlog_free then.
 */
int qlog_init(struct qlog *q, const struct qlog_sink *sink, const struct quic_cid *odcid,
              bool server, ns_t now);
void qlog_free(struct qlog *q);

/*
 * One event: between the two calls the members of its "data" are written to the json that is
 * returned. `name` is "category:type". `path` above 0 names the path.
 */
struct json *qlog_begin(struct qlog *q, const char *name, uint32_t path, ns_t now);
void qlog_end(struct qlog *q, ns_t now);

/* A packet that was sent or received; what is not there is zero. */
struct qlog_packet {
    enum packet_type type;
    uint64_t pn; /* QUIC_PN_NONE: unknown, or the type has none */
    struct span dcid, scid;
    size_t token_n; /* bytes of the token of an Initial or a Retry */
    size_t bytes;   /* of the packet, all included */
    uint32_t path;
    enum quic_level level; /* of the frames */
    struct span frames;    /* deciphered */
    size_t dgram_rest; /* data of the DATAGRAM at the end of `frames` that is not in there */
    unsigned ack_exponent;
    const struct frame_row *rows; /* of extensions */
    size_t n_rows;
    bool key_phase, mtu_probe, buffered;
};

void qlog_packet_sent(struct qlog *q, const struct qlog_packet *p, ns_t now);
void qlog_packet_received(struct qlog *q, const struct qlog_packet *p, ns_t now);

/* `name` is the event's, `trigger` one of the words that the schema has for it. */
void qlog_packet_event(struct qlog *q, const char *name, const char *trigger,
                       const struct qlog_packet *p, ns_t now);

/* transport:parameters_set; `cipher` may be null. */
void qlog_parameters(struct qlog *q, const struct tparams *t, bool local, const char *cipher,
                     ns_t now);

/* The members "ip_v4" and "port_v4", or those of IPv6; none for an address of no family. */
void qlog_address(struct json *j, const struct quic_addr *a);

/* An array of frames, as far as they can be read; for the functions above and for tests. */
void qlog_frames(struct json *j, const char *key, const struct qlog_packet *p);

#endif
