/*
 * h3 - one HTTP/3 connection (RFC 9114, 9204, 9220), client or server.
 *
 * Sans-I/O: stream bytes in, stream bytes out, and events that are pulled. It
 * knows QUIC only by stream numbers and never calls the caller.
 *
 * Model. Both sides open three unidirectional streams, in this order: control,
 * QPACK encoder, QPACK decoder (client 2, 6, 10; server 3, 7, 11). Every request
 * is one client-initiated bidirectional stream; a client numbers them 0, 4, 8, ...
 * in the order of h3_request. The driver opens a transport stream when it first
 * sees its number in h3_next_out, which is always the next of its kind. The
 * transport must let the peer open at least three unidirectional streams, and
 * `max_uni_streams` at the most.
 *
 * In. Hand all received bytes of all streams to h3_recv, in any split, and drain
 * h3_next_event after each call:
 *
 *     do {
 *         rc = h3_recv(h, id, data, fin, &used);
 *         if (rc != 0)
 *             ... close the connection with rc, if it is positive
 *         while (h3_next_event(h, &ev))
 *             ...
 *         data.p += used, data.n -= used;
 *     } while (data.n > 0);
 *
 * h3_recv stops behind the first event, because events borrow: DATA the caller's
 * input, HEADERS the decoder's memory. `fin` belongs to the end of `data` and is
 * given again with the rest. Tell it of RESET_STREAM and STOP_SENDING by the other
 * two calls, drain the events again, and call h3_stream_done when the transport
 * has let go of both directions, which frees the stream. What still comes for it is
 * ignored.
 *
 * Out. While h3_next_out gives bytes, write them and say with h3_out_done how many
 * the transport took; if not all, or if the stream cannot be opened yet, call
 * h3_out_blocked, and h3_out_unblocked when there is room again. The control
 * stream goes first, the QPACK streams next, then requests in turn, at most
 * H3_OUT_QUANTUM bytes each.
 *
 * Errors. A positive result of h3_recv, h3_stream_reset or h3_stream_stopped is a
 * connection error: close with it; the object stays failed, the same code comes
 * again. An error of one stream is an ABORT event: reset what is still open in the
 * sending direction and stop what is open in the receiving one, with that code. A
 * request that is given up before its first byte was taken may not be open in the
 * transport: then open streams up to its number first, so that numbers stay in step;
 * later ones are not offered before that event was pulled.
 *
 * Limits. Bytes waiting to be sent are bounded by `max_out_bytes`, a field section
 * by `max_field_section_size` (counted while decoding), requests by `max_requests`,
 * and requests that end by a reset or an error of the peer by `max_resets`, where
 * every request that ends well gives one back. DATA is never buffered. The QPACK
 * dynamic table is not used: capacity 0 and 0 blocked streams are announced, and
 * instructions of the peer that would need one are errors.
 */
#ifndef H3_H3_H
#define H3_H3_H

#include "h3/error.h"
#include "h3/fields.h"
#include "h3/settings.h"
#include "quic/log.h"
#include "quic/types.h"

#define H3_OUT_QUANTUM 16384 /* bytes offered at once by h3_next_out */

struct h3_config {
    bool server;

    /* Settings to announce. */
    bool enable_connect_protocol;    /* server: Extended CONNECT may be used (RFC 9220) */
    bool h3_datagram;                /* HTTP Datagrams are taken (RFC 9297) */
    uint64_t max_field_section_size; /* bytes; 0 means 32 KiB */
    uint64_t grease;                 /* not 0: send one reserved setting derived from it */

    /* Limits; 0 means the default. */
    size_t max_requests;    /* request streams that are not done; 100 */
    size_t max_uni_streams; /* the peer's unidirectional streams that are open; 16 */
    size_t max_out_bytes;   /* waiting on request streams, all together; 256 KiB */
    size_t max_resets;      /* requests ended by the peer's reset or error, net; 200 */

    const struct log *log; /* borrowed for the life of the connection; may be null */
};

struct h3_conn;

enum h3_event_type {
    H3_EV_NONE,     /* never given */
    H3_EV_SETTINGS, /* the peer's SETTINGS are known: `settings` */
    H3_EV_HEADERS,  /* a header or trailer section: `stream_id`, `fields`, `count`, ... */
    H3_EV_DATA,     /* content: `stream_id`, `data` */
    H3_EV_FIN,      /* the peer's side of the stream ended well: `stream_id` */
    H3_EV_RESET,    /* the peer reset its side: `stream_id`, `code`; there is no FIN */
    H3_EV_STOPPED,  /* the peer stopped our side: `stream_id`, `code`; nothing more is sent */
    H3_EV_GOAWAY,   /* `goaway_id`; on a client, our requests from it on are not served */
    H3_EV_ABORT     /* reset and stop the stream in the transport: `stream_id`, `code` */
};

/* Which members are set depends on the type; the rest is zero. */
struct h3_event {
    enum h3_event_type type;
    uint64_t stream_id;

    /* HEADERS. Fields live until the next h3_recv or h3_conn_del. */
    const struct h3_field *fields;
    size_t count;
    bool trailers;      /* a trailer section */
    bool informational; /* client: an interim response (1xx), another will follow */
    bool fin;           /* the stream ends right here: FIN is the next event of it */
    unsigned status;    /* client: the status code; 0 for requests and trailers */

    struct span data; /* DATA: a piece of the `data` given to h3_recv */

    uint64_t code;                      /* RESET, STOPPED, ABORT: application error code */
    uint64_t goaway_id;                 /* GOAWAY */
    const struct h3_settings *settings; /* SETTINGS: lives as long as the connection */
};

/* Bytes to write: valid until the next call for this connection. */
struct h3_out {
    uint64_t stream_id;
    struct span bytes;
    bool fin; /* the stream ends behind these bytes, of which there may be none */
};

/*
 * A new connection whose three own streams are ready in h3_next_out, SETTINGS
 * first. `cfg` is copied. Null when memory is short.
 */
struct h3_conn *h3_conn_new(const struct h3_config *cfg);

/* Free it and everything that it lent; null is allowed. */
void h3_conn_del(struct h3_conn *h);

/*
 * Take received bytes of one stream, any split, in order; `fin` when they are its
 * last. `*used` says how many were taken, and an event may be waiting: see above.
 * Bytes of a stream that was aborted or is done are taken and dropped.
 *
 * Returns 0, or
 *   a positive HTTP/3 code: close the connection with it
 *   QUIC_BLOCKED  events of an earlier call were not pulled; nothing was taken
 *   QUIC_INVAL    no such stream can bring bytes: one that we opened in one
 *                 direction, or a request that was never made; nothing was taken
 */
int h3_recv(struct h3_conn *h, uint64_t stream_id, struct span data, bool fin, size_t *used);

/*
 * The peer sent RESET_STREAM with this application code. Gives a RESET event for
 * a request that had not ended. On a server, a request that no HEADERS event told
 * of gives ABORT with H3_REQUEST_REJECTED instead (RFC 9114 4.1.1). Bytes that were
 * sent before and not handed over are lost.
 *
 * Returns 0, H3_CLOSED_CRITICAL_STREAM for a control or QPACK stream (RFC 9114
 * 6.2.1, RFC 9204 4.2), H3_STREAM_CREATION_ERROR for a bidirectional stream of a
 * server, H3_EXCESSIVE_LOAD for too many of them, H3_INTERNAL_ERROR without memory;
 * QUIC_INVAL for a stream on which this can't happen.
 */
int h3_stream_reset(struct h3_conn *h, uint64_t stream_id, uint64_t code);

/*
 * The peer sent STOP_SENDING with this application code. What was queued for the
 * stream is dropped, and a STOPPED event is given for a request whose sending side
 * was open; ABORT as above on a server. Returns as h3_stream_reset, and
 * H3_CLOSED_CRITICAL_STREAM where it concerns our own control or QPACK stream.
 */
int h3_stream_stopped(struct h3_conn *h, uint64_t stream_id, uint64_t code);

/* The transport is finished with the stream: free it, drop its events and bytes. */
void h3_stream_done(struct h3_conn *h, uint64_t stream_id);

/* The next event, oldest first; false when there is none. */
bool h3_next_event(struct h3_conn *h, struct h3_event *ev);

/*
 * Client: make a request of `n` fields, pseudo-header fields first. `fin` when no
 * content and no trailers will follow. The stream's number goes to `*stream_id`.
 *
 * Returns 0, or, with nothing changed,
 *   QUIC_BLOCKED  too many requests or waiting bytes; or the request has :protocol
 *                 and the peer's SETTINGS are not here yet (RFC 9220 3)
 *   QUIC_INVAL    malformed by RFC 9114 4.2 to 4.4; not a client; or :protocol
 *                 where the peer's SETTINGS do not allow it
 *   QUIC_TOOBIG   more than the peer's MAX_FIELD_SECTION_SIZE, or than max_out_bytes
 *   QUIC_CLOSED   GOAWAY was received or sent, or the connection has failed
 *   QUIC_NOMEM
 */
int h3_request(struct h3_conn *h, const struct h3_field *fields, size_t n, bool fin,
               uint64_t *stream_id);

/*
 * Server: answer the request. Any number of interim responses (1xx, without `fin`),
 * then one final response.
 *
 * Returns as h3_request; QUIC_CLOSED also for a stream that is unknown, aborted,
 * stopped or already ended; QUIC_INVAL also after a final response and before the
 * request was received.
 */
int h3_respond(struct h3_conn *h, uint64_t stream_id, const struct h3_field *fields, size_t n,
               bool fin);

/*
 * Send content as one DATA frame, all or nothing; `fin` ends the stream behind it.
 * No bytes with `fin` just end it; no bytes without do nothing.
 *
 * Returns 0, QUIC_BLOCKED over max_out_bytes, QUIC_TOOBIG if it can never fit,
 * QUIC_INVAL before the header section of the message or after its trailers,
 * QUIC_CLOSED as h3_respond, QUIC_NOMEM.
 */
int h3_data(struct h3_conn *h, uint64_t stream_id, struct span data, bool fin);

/*
 * Send a trailer section, which ends the stream. Returns as h3_data; QUIC_INVAL also
 * for pseudo-header fields, and on a tunnel made by CONNECT, where only DATA is
 * allowed (RFC 9114 4.4).
 */
int h3_trailers(struct h3_conn *h, uint64_t stream_id, const struct h3_field *fields, size_t n);

/*
 * Stop taking new requests: sends GOAWAY with the first request that is not served
 * (server), or push ID 0 (client, which then makes no new requests). Requests that
 * arrive later are aborted with H3_REQUEST_REJECTED. Again is harmless.
 *
 * Returns 0, or QUIC_NOMEM.
 */
int h3_goaway(struct h3_conn *h);

/*
 * Give the stream up with this code: drops what is queued, and gives an ABORT event
 * so that one place in the driver acts on the transport. Bytes that still arrive are
 * dropped. Returns 0, or QUIC_CLOSED where there is no such stream or it was
 * aborted already.
 */
int h3_reset(struct h3_conn *h, uint64_t stream_id, uint64_t code);

/* The next bytes to write; false when nothing can be written now. */
bool h3_next_out(struct h3_conn *h, struct h3_out *out);

/*
 * The transport took the first `n` bytes that h3_next_out gave for this stream, and
 * its end where `fin`. More than were offered is the caller's mistake and is cut.
 */
void h3_out_done(struct h3_conn *h, uint64_t stream_id, size_t n, bool fin);

/* The transport takes nothing for this stream for now / takes it again. */
void h3_out_blocked(struct h3_conn *h, uint64_t stream_id);
void h3_out_unblocked(struct h3_conn *h, uint64_t stream_id);

/* Bytes waiting for the transport on all request streams. */
size_t h3_out_queued(const struct h3_conn *h);

/* The peer's settings, or null before they arrived. Lives as long as `h`. */
const struct h3_settings *h3_peer_settings(const struct h3_conn *h);

/* HTTP Datagrams may be sent: the setting was sent and received (RFC 9297 2.1.1). */
bool h3_datagram_ready(const struct h3_conn *h);

/* Request streams that exist, finished ones that are not done included. */
size_t h3_request_count(const struct h3_conn *h);

/* Why the connection failed, for CONNECTION_CLOSE and the log; "" if it did not. */
const char *h3_fail_text(const struct h3_conn *h);

/* Assert the invariants of the connection's parts; for tests and fuzzers. */
void h3_conn_check(const struct h3_conn *h);

#endif
