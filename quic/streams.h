/*
 * streams - all streams of a connection: finding them, limits, who sends next.
 *
 * Streams live in a hash table by ID and exist only while something about them is open.
 * When the peer opens stream n, the lower ones of its type are open too, but get no
 * object until they are named: their numbers are a set (`unborn`). An ID below the count
 * of opened ones, neither in the table nor unborn, is over, and frames for it are ignored.
 *
 * The peer gets credit for another stream when one of its streams is over in both
 * directions and the user has read its end: opening and resetting at once gains nothing.
 *
 * Sending order: frames of the connection, control frames of streams, data of urgent
 * streams, data of the others; within each, streams take turns frame by frame. A stream
 * that only the connection's credit holds back leaves the queue until there is more.
 *
 * Events are bits in the stream and a list of streams that have some: bounded, coalesced.
 *
 * Invariant: a stream is in a sending queue exactly when it has something to send; what
 * conn_rx has received and consumed and conn_tx used is at least the sum over the streams
 * there are (the rest is of those that are over); opened <= limit and over <= opened for
 * each type (streams_check).
 */
#ifndef QUIC_STREAMS_H
#define QUIC_STREAMS_H

#include "quic/ranges.h"
#include "quic/stream.h"
#include "quic/tparam.h"
#include "quic/types.h"

struct streams_config {
    bool server;
    uint64_t conn_window, conn_window_max;     /* bytes that the peer may send */
    uint64_t stream_window, stream_window_max; /* per stream; the first is what our
                                                  initial_max_stream_data_* say */
    uint64_t max_bidi, max_uni;                /* streams of the peer open at once */
    size_t send_buffer;                        /* bytes kept per stream until acknowledged */
};

/* One type (bidirectional or unidirectional) of streams of one initiator. */
struct streams_type {
    uint64_t limit;       /* total that may be opened: the last MAX_STREAMS */
    uint64_t opened;      /* total opened */
    uint64_t over;        /* total that are over (the peer's) */
    uint64_t window;      /* the peer's: open at once */
    struct ranges unborn; /* the peer's: opened by a higher one, not named yet (indexes) */
    uint64_t blocked_at;  /* ours: limit for which STREAMS_BLOCKED was sent last */
    bool wanted;          /* ours: an open failed at this limit */
    bool resend;          /* the peer's: MAX_STREAMS was lost */
    bool allowed;         /* ours: event, the limit was raised */
};

struct stream_list {
    struct stream *first, *last;
};

/* Bytes of receive rings that streams keep together, beside small ones, while there is traffic. */
#define STREAMS_KEPT (1u << 20)

/* Not to be moved: streams point to `rings`. */
struct streams {
    struct stream **table; /* by hash of the ID */
    struct rbuf_account rings;
    uint32_t table_cap, count;
    struct streams_type ours[2], theirs[2]; /* [0] bidirectional, [1] unidirectional */
    struct flow_tx conn_tx;
    struct flow_rx conn_rx;
    struct stream_list control, data[2], held; /* data[0]: urgent */
    struct stream_list events;                 /* linked by ev_next */
    struct streams_config cfg;
    uint64_t send_limit[3]; /* the peer's, by enum send_kind in streams.c */
    ns_t now, rtt;
    uint64_t bytes_sent, bytes_received; /* stream data, first time only */
};

enum streams_event_type {
    STREAMS_OPENED,
    STREAMS_READABLE,
    STREAMS_WRITABLE,
    STREAMS_RESET,   /* code */
    STREAMS_STOPPED, /* code */
    STREAMS_FINISHED,
    STREAMS_ALLOWED /* streams_open may work again; id is 0 or 2: bidi, uni */
};

struct streams_event {
    enum streams_event_type type;
    uint64_t id, code;
};

/* No streams; our own may not be opened before streams_set_peer. Allocates nothing. */
void streams_init(struct streams *s, const struct streams_config *cfg);
void streams_free(struct streams *s);

/* The peer's transport parameters: what we may send and open. */
void streams_set_peer(struct streams *s, const struct tparams *peer);

/*
 * The current instant and smoothed round-trip time, for tuning windows. Call it once per
 * batch; 0 for `rtt` leaves windows as they are.
 */
void streams_time(struct streams *s, ns_t now, ns_t rtt);

/* ---- frames -------------------------------------------------------------------------- */

/* Whether streams_on_frame takes frames of this type. */
bool streams_takes(uint64_t type);

/*
 * A frame of the peer: STREAM, RESET_STREAM, STOP_SENDING, MAX_DATA, MAX_STREAM_DATA,
 * MAX_STREAMS, DATA_BLOCKED, STREAM_DATA_BLOCKED, STREAMS_BLOCKED.
 *
 * Returns 0; QUIC_STREAM_STATE_ERROR (a stream of ours that doesn't exist, a frame for
 * the half that it lacks); QUIC_STREAM_LIMIT_ERROR; QUIC_FLOW_CONTROL_ERROR;
 * QUIC_FINAL_SIZE_ERROR; QUIC_FRAME_ENCODING_ERROR (offsets past 2^62, MAX_STREAMS past
 * 2^60); QUIC_DROP (too many gaps: nothing changed, and the packet must not be
 * acknowledged); QUIC_INTERNAL_ERROR (memory); QUIC_INVAL for another type.
 */
int streams_on_frame(struct streams *s, const struct frame *f);

/* Whether anything could be sent, credit considered. */
bool streams_pending(const struct streams *s);

/*
 * The next frame to send that fits `room` bytes encoded: `f`, and the record to keep with
 * the packet. It counts as sent from here on: if the packet isn't sent after all, give
 * the record to streams_on_fate as lost. STREAM data is borrowed until the next call.
 * False if there is nothing that fits.
 */
bool streams_next_frame(struct streams *s, size_t room, struct frame *f,
                        struct sent_record *rec);

/*
 * A packet with `rec` was acknowledged, or else lost (or is to be probed with).
 * Returns false if the record isn't one of ours.
 */
bool streams_on_fate(struct streams *s, const struct sent_record *rec, bool acked);

/* ---- for the user -------------------------------------------------------------------- */

/* Returns 0 and the ID; QUIC_BLOCKED at the peer's limit (STREAMS_ALLOWED follows);
 * QUIC_NOMEM. */
int streams_open(struct streams *s, bool uni, uint64_t *id);

/*
 * By ID: as stream_write and so on. QUIC_CLOSED for a stream that is over or was never
 * opened.
 */
int streams_write(struct streams *s, uint64_t id, struct span data, size_t *taken);
int streams_finish(struct streams *s, uint64_t id);
int streams_reset(struct streams *s, uint64_t id, uint64_t code);
int streams_stop(struct streams *s, uint64_t id, uint64_t code);
struct span streams_peek(struct streams *s, uint64_t id, bool *fin);
void streams_consume(struct streams *s, uint64_t id, size_t n);

/* Its data goes before that of streams that aren't urgent. */
void streams_set_urgent(struct streams *s, uint64_t id, bool urgent);

/* The next event; false if there is none. */
bool streams_next_event(struct streams *s, struct streams_event *ev);

/* The stream, or null: for tests and statistics. */
struct stream *streams_find(struct streams *s, uint64_t id);

/* Bytes on the heap, buffers included. */
size_t streams_memory(const struct streams *s);

/* Nothing has happened for long: give back what empty buffers keep. */
void streams_trim(struct streams *s);

/* Whether the invariant holds: for tests. */
bool streams_check(const struct streams *s);

#endif
