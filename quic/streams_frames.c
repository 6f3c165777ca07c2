/*
 * streams_frames - the frames of all streams: what the peer's do, and which go out next.
 */
#include <string.h>

#include "quic/errors.h"
#include "quic/streams_core.h"

/* ---- frames of the peer -------------------------------------------------------------- */

bool streams_takes(uint64_t type)
{
    return type == FRAME_RESET_STREAM || type == FRAME_STOP_SENDING ||
           (type >= FRAME_STREAM && type <= FRAME_STREAMS_BLOCKED_UNI);
}

/*
 * The stream that a frame of the peer names, opened if that is what it means; null in
 * `*out` if it is over. `for_sending`: the frame is about the half that sends to the peer.
 * The errors of streams_on_frame.
 */
static int named(struct streams *s, uint64_t id, bool for_sending, struct stream **out)
{
    struct streams_type *t = streams_type_of(s, id);
    uint64_t index = id >> 2;

    *out = streams_find(s, id);
    if ((id & ID_UNI) && streams_is_ours(s, id) != for_sending)
        return QUIC_STREAM_STATE_ERROR;
    if (*out)
        return 0;
    if (streams_is_ours(s, id))
        return index >= t->opened ? QUIC_STREAM_STATE_ERROR : 0;
    if (index >= t->limit)
        return QUIC_STREAM_LIMIT_ERROR;
    if (index < t->opened && !ranges_contains(&t->unborn, index))
        return 0;
    if (ranges_add(&t->unborn, t->opened, index) || ranges_remove(&t->unborn, index, index + 1))
        return QUIC_INTERNAL_ERROR;
    if (index >= t->opened)
        t->opened = index + 1;
    *out = streams_create(s, id);
    if (!*out)
        return QUIC_INTERNAL_ERROR;
    (*out)->events |= STREAM_EV_OPENED;
    return 0;
}

/* Whether the connection's limit allows a stream to grow to offset `end`. */
static bool fits_connection(const struct streams *s, const struct stream *st, uint64_t end)
{
    return stream_growth(st, end) <= s->conn_rx.limit - s->conn_rx.received;
}

static int on_data(struct streams *s, const struct frame *f)
{
    uint64_t off = f->stream.offset, end = off + f->stream.data.n;
    struct stream *st;
    struct streams_counts before;
    int err;

    if (off > VARINT_MAX || end > VARINT_MAX)
        return QUIC_FRAME_ENCODING_ERROR;
    err = named(s, f->stream.id, false, &st);
    if (err || !st)
        return err;
    before = streams_counts_of(st);
    err = fits_connection(s, st, end) ? stream_on_data(st, off, f->stream.data, f->stream.fin)
                                      : QUIC_FLOW_CONTROL_ERROR;
    s->bytes_received += st->rx.received - before.received;
    streams_settle(s, st, before);
    return err;
}

static int on_reset(struct streams *s, const struct frame *f)
{
    struct stream *st;
    struct streams_counts before;
    int err = named(s, f->reset_stream.id, false, &st);

    if (err || !st)
        return err;
    before = streams_counts_of(st);
    err = fits_connection(s, st, f->reset_stream.final_size)
              ? stream_on_reset(st, f->reset_stream.code, f->reset_stream.final_size)
              : QUIC_FLOW_CONTROL_ERROR;
    streams_settle(s, st, before);
    return err;
}

static int on_stop(struct streams *s, const struct frame *f)
{
    struct stream *st;
    int err = named(s, f->stop_sending.id, true, &st);

    if (err || !st)
        return err;
    stream_on_stop(st, f->stop_sending.code);
    streams_settle(s, st, streams_counts_of(st));
    return 0;
}

static int on_max_stream_data(struct streams *s, const struct frame *f)
{
    struct stream *st;
    int err = named(s, f->max_stream_data.id, true, &st);

    if (err || !st)
        return err;
    stream_on_max(st, f->max_stream_data.max);
    streams_settle(s, st, streams_counts_of(st));
    return 0;
}

static int on_stream_data_blocked(struct streams *s, const struct frame *f)
{
    struct stream *st;
    int err = named(s, f->max_stream_data.id, false, &st);

    if (!err && st)
        streams_settle(s, st, streams_counts_of(st));
    return err;
}

static int on_max_streams(struct streams *s, uint64_t max, bool uni)
{
    if (max > FRAME_STREAMS_MAX)
        return QUIC_FRAME_ENCODING_ERROR;
    streams_allow(&s->ours[uni], max);
    return 0;
}

int streams_on_frame(struct streams *s, const struct frame *f)
{
    if (f->type >= FRAME_STREAM && f->type <= FRAME_STREAM_LAST)
        return on_data(s, f);
    switch (f->type) {
    case FRAME_RESET_STREAM:
        return on_reset(s, f);
    case FRAME_STOP_SENDING:
        return on_stop(s, f);
    case FRAME_MAX_DATA:
        if (flow_tx_raise(&s->conn_tx, f->max))
            streams_release_held(s);
        return 0;
    case FRAME_MAX_STREAM_DATA:
        return on_max_stream_data(s, f);
    case FRAME_MAX_STREAMS_BIDI:
    case FRAME_MAX_STREAMS_UNI:
        return on_max_streams(s, f->max, f->type == FRAME_MAX_STREAMS_UNI);
    case FRAME_DATA_BLOCKED:
        return 0;
    case FRAME_STREAM_DATA_BLOCKED:
        return on_stream_data_blocked(s, f);
    case FRAME_STREAMS_BLOCKED_BIDI:
    case FRAME_STREAMS_BLOCKED_UNI:
        return f->max > FRAME_STREAMS_MAX ? QUIC_FRAME_ENCODING_ERROR : 0;
    default:
        return QUIC_INVAL;
    }
}

/* ---- frames to the peer -------------------------------------------------------------- */

/* The total of streams that the peer may be allowed now. */
static uint64_t streams_target(const struct streams_type *t)
{
    uint64_t to = t->over + t->window;

    return to > FRAME_STREAMS_MAX ? FRAME_STREAMS_MAX : to;
}

static bool max_streams_due(const struct streams_type *t)
{
    uint64_t to = streams_target(t);

    return t->resend || (to > t->limit && to - t->limit >= t->window / 4 + 1);
}

static bool streams_blocked_due(const struct streams_type *t)
{
    return t->wanted && t->opened == t->limit && t->blocked_at != t->limit;
}

static bool data_blocked_due(const struct streams *s)
{
    return s->held.first && flow_tx_blocked(&s->conn_tx);
}

/* The connection frame that is due: its type and value; false if there is none. */
static bool conn_frame_due(const struct streams *s, uint64_t *type, uint64_t *value)
{
    if (flow_rx_due(&s->conn_rx)) {
        *type = FRAME_MAX_DATA;
        *value = VARINT_MAX; /* as large as it may become */
        return true;
    }
    for (int uni = 0; uni < 2; uni++) {
        if (max_streams_due(&s->theirs[uni])) {
            *type = uni ? FRAME_MAX_STREAMS_UNI : FRAME_MAX_STREAMS_BIDI;
            *value = streams_target(&s->theirs[uni]);
            return true;
        }
        if (streams_blocked_due(&s->ours[uni])) {
            *type = uni ? FRAME_STREAMS_BLOCKED_UNI : FRAME_STREAMS_BLOCKED_BIDI;
            *value = s->ours[uni].limit;
            return true;
        }
    }
    *type = FRAME_DATA_BLOCKED;
    *value = s->conn_tx.limit;
    return data_blocked_due(s);
}

static bool next_conn_frame(struct streams *s, size_t room, struct frame *f,
                            struct sent_record *rec)
{
    uint64_t type, value;
    bool uni;

    if (!conn_frame_due(s, &type, &value) || 1 + varint_len(value) > room)
        return false;
    uni = type == FRAME_MAX_STREAMS_UNI || type == FRAME_STREAMS_BLOCKED_UNI;
    switch (type) {
    case FRAME_MAX_DATA:
        value = flow_rx_update(&s->conn_rx, s->now, s->rtt);
        break;
    case FRAME_MAX_STREAMS_BIDI:
    case FRAME_MAX_STREAMS_UNI:
        s->theirs[uni].limit = value;
        s->theirs[uni].resend = false;
        break;
    case FRAME_DATA_BLOCKED:
        flow_tx_blocked_sent(&s->conn_tx);
        break;
    default:
        s->ours[uni].blocked_at = value;
        break;
    }
    memset(f, 0, sizeof *f);
    f->type = type;
    f->max = value;
    *rec = (struct sent_record){.kind = (uint16_t)type, .b = value};
    return true;
}

/* One frame of the first stream in a data queue that may send now. */
static bool next_data_frame(struct streams *s, struct stream_list *l, size_t room,
                            struct frame *f, struct sent_record *rec)
{
    struct stream *st;

    while ((st = l->first)) {
        uint64_t fresh, credit = flow_tx_room(&s->conn_tx);

        if (!stream_wants_data(st, credit)) {
            streams_join(s, st, streams_right_queue(s, st));
            continue;
        }
        if (!stream_next_data(st, room, credit, f, rec, &fresh))
            return false;
        flow_tx_use(&s->conn_tx, fresh);
        s->bytes_sent += fresh;
        streams_join(s, st, streams_right_queue(s, st)); /* to the end: take turns */
        return true;
    }
    return false;
}

bool streams_next_frame(struct streams *s, size_t room, struct frame *f,
                        struct sent_record *rec)
{
    struct stream *st = s->control.first;

    if (next_conn_frame(s, room, f, rec))
        return true;
    if (st) {
        bool found = stream_next_control(st, room, s->now, s->rtt, f, rec);

        streams_settle(s, st, streams_counts_of(st));
        return found;
    }
    if (next_data_frame(s, &s->data[0], room, f, rec) ||
        next_data_frame(s, &s->data[1], room, f, rec))
        return true;
    /* The connection's limit may have been met just now. */
    return next_conn_frame(s, room, f, rec);
}

bool streams_pending(const struct streams *s)
{
    uint64_t type, value, credit = flow_tx_room(&s->conn_tx);

    if (s->control.first || conn_frame_due(s, &type, &value))
        return true;
    for (int i = 0; i < 2; i++)
        for (const struct stream *st = s->data[i].first; st; st = st->tx_next)
            if (stream_wants_data(st, credit))
                return true;
    /* What waits for the connection's credit has yet to say so. */
    return (s->data[0].first || s->data[1].first) && flow_tx_blocked(&s->conn_tx);
}

/* Records of frames that are the connection's. False if `rec` is of none. */
static bool conn_fate(struct streams *s, const struct sent_record *rec, bool acked)
{
    struct streams_type *t;

    switch (rec->kind) {
    case FRAME_MAX_DATA:
        if (!acked)
            flow_rx_lost(&s->conn_rx, rec->b);
        return true;
    case FRAME_DATA_BLOCKED:
        if (!acked)
            flow_tx_blocked_lost(&s->conn_tx, rec->b);
        return true;
    case FRAME_MAX_STREAMS_BIDI:
    case FRAME_MAX_STREAMS_UNI:
        t = &s->theirs[rec->kind == FRAME_MAX_STREAMS_UNI];
        t->resend |= !acked && rec->b == t->limit;
        return true;
    case FRAME_STREAMS_BLOCKED_BIDI:
    case FRAME_STREAMS_BLOCKED_UNI:
        t = &s->ours[rec->kind == FRAME_STREAMS_BLOCKED_UNI];
        if (!acked && rec->b == t->blocked_at)
            t->blocked_at = FLOW_NOT_BLOCKED;
        return true;
    default:
        return false;
    }
}

bool streams_on_fate(struct streams *s, const struct sent_record *rec, bool acked)
{
    struct stream *st;

    if (!streams_takes(rec->kind))
        return false;
    if (conn_fate(s, rec, acked))
        return true;
    st = streams_find(s, rec->a);
    if (st) {
        stream_on_fate(st, rec, acked);
        streams_settle(s, st, streams_counts_of(st));
    }
    return true;
}
