/*
 * stream - one stream: its two halves, their states and what they have to say
 * (RFC 9000 2 to 4, 19).
 *
 * The sending half is READY/SEND until FIN was sent, then DATA_SENT, DATA_RECVD; or
 * RESET_SENT, RESET_RECVD. The receiving half is RECV until the end is known (SIZE_KNOWN),
 * complete (DATA_RECVD) and read (DATA_READ); or RESET_RECVD, RESET_READ. A half that a
 * unidirectional stream lacks is in its terminal state from the start.
 *
 * A stream knows neither its connection nor its peers: `streams` asks it what it wants
 * to send (`control`, stream_wants_data) and what happened (`events`).
 *
 * Invariant: after RESET_STREAM was asked for nothing of `out` is sent any more, and the
 * code and final size never change; rx.received == in.highest; out.next <= tx.used.
 */
#ifndef QUIC_STREAM_H
#define QUIC_STREAM_H

#include "quic/flow.h"
#include "quic/frame.h"
#include "quic/rbuf.h"
#include "quic/sbuf.h"
#include "quic/sent.h"
#include "quic/types.h"

enum stream_send {
    SEND_OPEN, /* Ready and Send of RFC 9000 3.1 */
    SEND_DATA_SENT,
    SEND_RESET_SENT,
    SEND_DATA_RECVD, /* terminal from here on */
    SEND_RESET_RECVD,
    SEND_ABSENT
};

enum stream_recv {
    RECV_OPEN, /* Recv of RFC 9000 3.2 */
    RECV_SIZE_KNOWN,
    RECV_DATA_RECVD,
    RECV_RESET_RECVD, /* the user was not told yet */
    RECV_DATA_READ,   /* terminal from here on */
    RECV_RESET_READ,
    RECV_ABSENT
};

/* Control frames that wait to be sent. */
enum {
    STREAM_TX_RESET = 0x01,
    STREAM_TX_STOP = 0x02,
    STREAM_TX_MAX = 0x04,
    STREAM_TX_BLOCKED = 0x08
};

/* What happened since the user was told last, one bit each. */
enum {
    STREAM_EV_OPENED = 0x01,   /* by the peer */
    STREAM_EV_READABLE = 0x02, /* more bytes in order, or the end */
    STREAM_EV_WRITABLE = 0x04, /* takes bytes again after a short write */
    STREAM_EV_RESET = 0x08,    /* the peer abandoned sending: peer_reset_code */
    STREAM_EV_STOPPED = 0x10,  /* the peer wants no more: peer_stop_code */
    STREAM_EV_FINISHED = 0x20  /* all bytes written and the end are acknowledged */
};

struct stream {
    uint64_t id;
    struct sbuf out;
    struct rbuf in;
    struct flow_tx tx;
    struct flow_rx rx;
    uint64_t reset_code, stop_code;           /* ours */
    uint64_t peer_reset_code, peer_stop_code; /* the peer's */
    uint8_t send, recv;                       /* enum stream_send, stream_recv */
    uint8_t control;                          /* STREAM_TX_* */
    uint8_t events;                           /* STREAM_EV_* */
    bool stopped;     /* the user wants no more bytes: arriving ones are dropped */
    bool short_write; /* the user could not write all */
    bool urgent;      /* its data goes before that of the others */

    /* For the collection (streams.c). */
    struct stream *hash_next;
    struct stream *tx_prev, *tx_next;
    struct stream *ev_next;
    uint8_t queue; /* which list it is in */
    bool ev_queued;
};

struct stream_limits {
    uint64_t send_limit;                   /* the peer's first MAX_STREAM_DATA */
    uint64_t recv_window, recv_window_max; /* bytes */
    size_t send_buffer;                    /* bytes */
};

/* Make a stream with the halves named. Allocates nothing. */
void stream_init(struct stream *st, uint64_t id, bool sends, bool receives,
                 const struct stream_limits *lim);
void stream_free(struct stream *st);

/* ---- from the peer ------------------------------------------------------------------- */

/* By how much `received` would grow if the highest offset were `end`. */
uint64_t stream_growth(const struct stream *st, uint64_t end);

/*
 * STREAM frame. The connection's flow control has been asked before.
 * Returns 0; QUIC_FLOW_CONTROL_ERROR past the stream's limit; QUIC_FINAL_SIZE_ERROR;
 * QUIC_DROP for too many gaps, when nothing has changed and the packet must not be
 * acknowledged, so that it counts as lost; QUIC_INTERNAL_ERROR for lack of memory.
 */
int stream_on_data(struct stream *st, uint64_t off, struct span data, bool fin);

/*
 * RESET_STREAM. What was not read is dropped (rx.consumed moves to the final size).
 * Returns 0, QUIC_FLOW_CONTROL_ERROR or QUIC_FINAL_SIZE_ERROR.
 */
int stream_on_reset(struct stream *st, uint64_t code, uint64_t final_size);

/* STOP_SENDING: answered by RESET_STREAM with the same code (RFC 9000 3.5). */
void stream_on_stop(struct stream *st, uint64_t code);

/* MAX_STREAM_DATA. */
void stream_on_max(struct stream *st, uint64_t max);

/* ---- to the peer --------------------------------------------------------------------- */

/*
 * The next control frame that fits `room` bytes, counted as sent.
 * False if there is none. `now` and `rtt` tune the receive window.
 */
bool stream_next_control(struct stream *st, size_t room, ns_t now, ns_t rtt, struct frame *f,
                         struct sent_record *rec);

/* Whether a STREAM frame could be sent if the connection's credit allowed `conn_room`. */
bool stream_wants_data(const struct stream *st, uint64_t conn_room);

/*
 * The next STREAM frame that fits `room` bytes, counted as sent; its data is borrowed
 * until the stream changes. `*fresh` says how many of its bytes were never sent before:
 * they use the connection's credit, at most `conn_room`. False if there is none.
 */
bool stream_next_data(struct stream *st, size_t room, uint64_t conn_room, struct frame *f,
                      struct sent_record *rec, uint64_t *fresh);

/* A frame of this stream was acknowledged, or else lost. */
void stream_on_fate(struct stream *st, const struct sent_record *rec, bool acked);

/* ---- from the user ------------------------------------------------------------------- */

/* As sbuf_write; QUIC_CLOSED too once reset or stopped, QUIC_INVAL without that half. */
int stream_write(struct stream *st, struct span data, size_t *taken);
int stream_finish(struct stream *st);

/* Abandon sending. Returns 0, QUIC_CLOSED if it is over, QUIC_INVAL without that half. */
int stream_reset(struct stream *st, uint64_t code);

/* Want no more. Returns 0, QUIC_CLOSED if all has come or was reset, QUIC_INVAL. */
int stream_stop(struct stream *st, uint64_t code);

/* As rbuf_peek; empty once stopped or reset. */
struct span stream_peek(const struct stream *st, bool *fin);
void stream_consume(struct stream *st, size_t n);

/* Both halves are in a terminal state. */
static inline bool stream_over(const struct stream *st)
{
    return st->send >= SEND_DATA_RECVD && st->recv >= RECV_DATA_READ;
}

/* Bytes on the heap, and its own. */
size_t stream_memory(const struct stream *st);

/* Give back what empty buffers keep. */
void stream_trim(struct stream *st);

/* Whether the invariant holds: for tests. */
bool stream_check(const struct stream *st);

#endif
