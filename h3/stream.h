/*
 * stream - the streams of one connection: a table by number, and what each has to
 * report.
 *
 * A stream object is a request (both directions) or a unidirectional stream of the
 * peer. Events that a stream raises are bits in it, and streams with a bit set stand
 * in one queue; so reporting never allocates, and cannot grow.
 *
 * Invariant: v[0 .. n) ascend by number; a stream is queued if and only if it has a
 * bit pending; `requests` and `unis` count the two kinds.
 */
#ifndef H3_STREAM_H
#define H3_STREAM_H

#include "h3/h3.h"
#include "h3/outq.h"
#include "h3/req.h"

enum h3_stream_kind {
    H3_KIND_REQUEST,
    H3_KIND_NEW, /* unidirectional, type not read yet; so are the rest */
    H3_KIND_CONTROL,
    H3_KIND_ENCODER, /* the peer's QPACK encoder */
    H3_KIND_DECODER,
    H3_KIND_UNKNOWN /* bytes are dropped */
};

/* How far our side of a request is. */
enum h3_tx_state {
    H3_TX_HEAD, /* no final header section was sent */
    H3_TX_BODY,
    H3_TX_OVER /* ended, or stopped by the peer */
};

/* Pending bits, in the order in which they are reported. */
enum { H3_PEND_FIN = 1, H3_PEND_RESET = 2, H3_PEND_STOPPED = 4, H3_PEND_ABORT = 8 };

struct h3_stream {
    uint64_t id;
    enum h3_stream_kind kind;

    uint8_t pending;
    bool queued;
    struct h3_stream *event_next;
    uint64_t reset_code, stop_code, abort_code;

    bool dead;    /* aborted: bytes in are dropped, nothing goes out */
    bool rx_over; /* the peer's side ended or was reset */
    bool charged; /* counts towards max_resets */

    struct h3_varint_rd type_rd; /* H3_KIND_NEW */

    struct h3_req rx; /* H3_KIND_REQUEST from here on */
    struct h3_outq tx;
    enum h3_tx_state tx_state;
    bool tx_tunnel; /* our side may carry DATA only */
};

struct h3_streams {
    struct h3_stream **v;
    size_t n, cap;
    size_t requests, unis;
    struct h3_stream *event_first, *event_last;
};

/* Null if there is none of that number. */
struct h3_stream *h3_streams_find(const struct h3_streams *t, uint64_t id);

/* A zeroed stream of that number, which must be new. Null when memory is short. */
struct h3_stream *h3_streams_add(struct h3_streams *t, uint64_t id, enum h3_stream_kind kind);

/* Take a stream out, whose queue was dropped before, and free it with its events. */
void h3_streams_remove(struct h3_streams *t, struct h3_stream *s);

/* Free the table and all that is in it. */
void h3_streams_free(struct h3_streams *t);

/* Set pending bits. ABORT takes the place of all others, and nothing follows it. */
void h3_streams_raise(struct h3_streams *t, struct h3_stream *s, uint8_t bits);

/*
 * Report the next event in `*ev`; `*from` is its stream. False if there is none.
 */
bool h3_streams_next(struct h3_streams *t, struct h3_event *ev, struct h3_stream **from);

/* Assert the invariant. */
void h3_streams_check(const struct h3_streams *t);

#endif
