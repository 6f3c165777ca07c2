#include "quic/stream.h"

#include <string.h>

#include "quic/errors.h"

#define CRUMB 16 /* bytes of data below which a STREAM frame isn't split off */

void stream_init(struct stream *st, uint64_t id, bool sends, bool receives,
                 const struct stream_limits *lim)
{
    memset(st, 0, sizeof *st);
    st->id = id;
    st->send = sends ? SEND_OPEN : SEND_ABSENT;
    st->recv = receives ? RECV_OPEN : RECV_ABSENT;
    sbuf_init(&st->out, lim->send_buffer);
    rbuf_init(&st->in, lim->recv_window_max);
    flow_tx_init(&st->tx, lim->send_limit);
    flow_rx_init(&st->rx, lim->recv_window, lim->recv_window_max);
}

void stream_free(struct stream *st)
{
    sbuf_free(&st->out);
    rbuf_free(&st->in);
}

size_t stream_memory(const struct stream *st)
{
    return sizeof *st + sbuf_memory(&st->out) + rbuf_memory(&st->in);
}

void stream_trim(struct stream *st)
{
    sbuf_trim(&st->out);
    rbuf_trim(&st->in);
}

/* Bring the control bits that follow from other state up to date. */
static void refresh(struct stream *st)
{
    st->control &= (uint8_t) ~(STREAM_TX_MAX | STREAM_TX_BLOCKED);
    if (st->recv == RECV_OPEN && !st->stopped && flow_rx_due(&st->rx))
        st->control |= STREAM_TX_MAX;
    if (st->send == SEND_OPEN && sbuf_has_new(&st->out) && flow_tx_blocked(&st->tx))
        st->control |= STREAM_TX_BLOCKED;
}

/* Flow control follows what `in` has taken and let go. */
static void settle_rx(struct stream *st)
{
    st->rx.received = st->in.highest;
    st->rx.consumed = st->in.base;
    if (st->recv == RECV_OPEN && st->in.final_size != RBUF_NO_SIZE)
        st->recv = RECV_SIZE_KNOWN;
    if (st->recv == RECV_SIZE_KNOWN && rbuf_complete(&st->in)) {
        st->recv = st->stopped ? RECV_DATA_READ : RECV_DATA_RECVD;
        st->control &= (uint8_t)~STREAM_TX_STOP;
    }
    refresh(st);
}

/* ---- from the peer ------------------------------------------------------------------- */

uint64_t stream_growth(const struct stream *st, uint64_t end)
{
    return end > st->rx.received ? end - st->rx.received : 0;
}

int stream_on_data(struct stream *st, uint64_t off, struct span data, bool fin)
{
    size_t readable = rbuf_readable(&st->in);
    uint8_t before = st->recv;
    int err;

    if (stream_growth(st, off + data.n) > st->rx.limit - st->rx.received)
        return QUIC_FLOW_CONTROL_ERROR;
    err = rbuf_add(&st->in, off, data, fin);
    if (err == QUIC_TOOBIG)
        return QUIC_DROP;
    if (err)
        return err < 0 ? QUIC_INTERNAL_ERROR : err;
    settle_rx(st);
    if (rbuf_readable(&st->in) > readable ||
        (st->recv == RECV_DATA_RECVD && before < RECV_DATA_RECVD))
        st->events |= STREAM_EV_READABLE;
    return 0;
}

int stream_on_reset(struct stream *st, uint64_t code, uint64_t final_size)
{
    int err;

    if (stream_growth(st, final_size) > st->rx.limit - st->rx.received)
        return QUIC_FLOW_CONTROL_ERROR;
    err = rbuf_set_final(&st->in, final_size);
    if (err || st->recv > RECV_SIZE_KNOWN)
        return err;
    rbuf_discard(&st->in);
    st->recv = RECV_RESET_READ;
    st->events &= (uint8_t)~STREAM_EV_READABLE;
    if (!st->stopped) {
        st->recv = RECV_RESET_RECVD;
        st->peer_reset_code = code;
        st->events |= STREAM_EV_RESET;
    }
    st->control &= (uint8_t)~STREAM_TX_STOP;
    settle_rx(st);
    return 0;
}

/* Ready, Send or Data Sent: no RESET_STREAM was asked for, not all is acknowledged. */
static bool sending(const struct stream *st)
{
    return st->send == SEND_OPEN || st->send == SEND_DATA_SENT;
}

static void abandon(struct stream *st, uint64_t code)
{
    st->send = SEND_RESET_SENT;
    st->reset_code = code;
    st->control |= STREAM_TX_RESET;
    st->events &= (uint8_t)~STREAM_EV_WRITABLE;
    sbuf_free(&st->out);
    refresh(st);
}

void stream_on_stop(struct stream *st, uint64_t code)
{
    if (!sending(st))
        return;
    st->peer_stop_code = code;
    st->events |= STREAM_EV_STOPPED;
    abandon(st, code);
}

void stream_on_max(struct stream *st, uint64_t max)
{
    flow_tx_raise(&st->tx, max);
    refresh(st);
}

/* ---- to the peer --------------------------------------------------------------------- */

/* Size of a frame of one-byte type and up to three varints. */
static size_t frame_size(uint64_t a, uint64_t b, bool has_c, uint64_t c)
{
    return 1 + varint_len(a) + varint_len(b) + (has_c ? varint_len(c) : 0);
}

static bool next_reset(struct stream *st, size_t room, struct frame *f, struct sent_record *rec)
{
    if (frame_size(st->id, st->reset_code, true, st->tx.used) > room)
        return false;
    f->type = rec->kind = FRAME_RESET_STREAM;
    f->reset_stream.id = st->id;
    f->reset_stream.code = st->reset_code;
    f->reset_stream.final_size = st->tx.used;
    st->control &= (uint8_t)~STREAM_TX_RESET;
    return true;
}

static bool next_stop(struct stream *st, size_t room, struct frame *f, struct sent_record *rec)
{
    if (frame_size(st->id, st->stop_code, false, 0) > room)
        return false;
    f->type = rec->kind = FRAME_STOP_SENDING;
    f->stop_sending.id = st->id;
    f->stop_sending.code = st->stop_code;
    st->control &= (uint8_t)~STREAM_TX_STOP;
    return true;
}

static bool next_max(struct stream *st, size_t room, ns_t now, ns_t rtt, struct frame *f,
                     struct sent_record *rec)
{
    if (frame_size(st->id, VARINT_MAX, false, 0) > room)
        return false;
    f->type = rec->kind = FRAME_MAX_STREAM_DATA;
    f->max_stream_data.id = st->id;
    f->max_stream_data.max = rec->b = flow_rx_update(&st->rx, now, rtt);
    return true;
}

static bool next_blocked(struct stream *st, size_t room, struct frame *f,
                         struct sent_record *rec)
{
    if (frame_size(st->id, st->tx.limit, false, 0) > room)
        return false;
    f->type = rec->kind = FRAME_STREAM_DATA_BLOCKED;
    f->max_stream_data.id = st->id;
    f->max_stream_data.max = rec->b = st->tx.limit;
    flow_tx_blocked_sent(&st->tx);
    return true;
}

bool stream_next_control(struct stream *st, size_t room, ns_t now, ns_t rtt, struct frame *f,
                         struct sent_record *rec)
{
    bool found = false;

    memset(f, 0, sizeof *f);
    *rec = (struct sent_record){.a = st->id};
    if (st->control & STREAM_TX_RESET)
        found = next_reset(st, room, f, rec);
    else if (st->control & STREAM_TX_STOP)
        found = next_stop(st, room, f, rec);
    else if (st->control & STREAM_TX_MAX)
        found = next_max(st, room, now, rtt, f, rec);
    else if (st->control & STREAM_TX_BLOCKED)
        found = next_blocked(st, room, f, rec);
    refresh(st);
    return found;
}

/* The offset below which new bytes may be sent. */
static uint64_t send_limit(const struct stream *st, uint64_t conn_room)
{
    uint64_t room = flow_tx_room(&st->tx);

    return st->out.next + (room < conn_room ? room : conn_room);
}

bool stream_wants_data(const struct stream *st, uint64_t conn_room)
{
    uint64_t off;
    size_t n;
    bool fin;

    return sending(st) &&
           sbuf_next(&st->out, send_limit(st, conn_room), SIZE_MAX, &off, &n, &fin);
}

bool stream_next_data(struct stream *st, size_t room, uint64_t conn_room, struct frame *f,
                      struct sent_record *rec, uint64_t *fresh)
{
    uint64_t off;
    size_t n, head;
    bool fin;

    if (!sending(st) || !sbuf_next(&st->out, send_limit(st, conn_room), room, &off, &n, &fin))
        return false;
    head = frame_stream_overhead(st->id, off, n, true);
    if (head > room)
        return false;
    if (n > room - head) {
        n = room - head;
        fin = false;
        if (n < CRUMB)
            return false;
    }
    memset(f, 0, sizeof *f);
    f->type = FRAME_STREAM;
    f->stream.id = st->id;
    f->stream.offset = off;
    f->stream.data = sbuf_peek(&st->out, off, n);
    f->stream.fin = fin;
    f->stream.has_len = true;
    *rec = (struct sent_record){
        .kind = FRAME_STREAM, .fin = fin, .a = st->id, .b = off, .len = (uint32_t)n};
    *fresh = off + n > st->out.next ? off + n - st->out.next : 0;
    sbuf_on_sent(&st->out, off, n, fin);
    flow_tx_use(&st->tx, *fresh);
    if (fin)
        st->send = SEND_DATA_SENT;
    refresh(st);
    return true;
}

static void data_fate(struct stream *st, const struct sent_record *rec, bool acked)
{
    if (!sending(st))
        return;
    if (!acked) {
        sbuf_on_lost(&st->out, rec->b, rec->len, rec->fin);
        return;
    }
    sbuf_on_acked(&st->out, rec->b, rec->len, rec->fin);
    if (sbuf_done(&st->out)) {
        sbuf_trim(&st->out);
        st->send = SEND_DATA_RECVD;
        st->events |= STREAM_EV_FINISHED;
    } else if (st->short_write && sbuf_room(&st->out) >= st->out.max / 4) {
        st->short_write = false;
        st->events |= STREAM_EV_WRITABLE;
    }
}

void stream_on_fate(struct stream *st, const struct sent_record *rec, bool acked)
{
    switch (rec->kind) {
    case FRAME_STREAM:
        data_fate(st, rec, acked);
        break;
    case FRAME_RESET_STREAM:
        if (st->send == SEND_RESET_SENT && acked)
            st->send = SEND_RESET_RECVD;
        else if (st->send == SEND_RESET_SENT)
            st->control |= STREAM_TX_RESET;
        break;
    case FRAME_STOP_SENDING:
        if (!acked && st->recv <= RECV_SIZE_KNOWN)
            st->control |= STREAM_TX_STOP;
        break;
    case FRAME_MAX_STREAM_DATA:
        if (!acked)
            flow_rx_lost(&st->rx, rec->b);
        break;
    case FRAME_STREAM_DATA_BLOCKED:
        if (!acked)
            flow_tx_blocked_lost(&st->tx, rec->b);
        break;
    default:
        break;
    }
    if (st->send == SEND_RESET_RECVD)
        st->control &= (uint8_t)~STREAM_TX_RESET;
    refresh(st);
}

/* ---- from the user ------------------------------------------------------------------- */

int stream_write(struct stream *st, struct span data, size_t *taken)
{
    size_t n = 0;
    int err;

    if (taken)
        *taken = 0;
    if (st->send != SEND_OPEN)
        return st->send == SEND_ABSENT ? QUIC_INVAL : QUIC_CLOSED;
    err = sbuf_write(&st->out, data, &n);
    if (taken)
        *taken = n;
    if (n < data.n && (!err || err == QUIC_BLOCKED))
        st->short_write = true;
    refresh(st);
    return err;
}

int stream_finish(struct stream *st)
{
    if (st->send != SEND_OPEN)
        return st->send == SEND_ABSENT ? QUIC_INVAL : QUIC_CLOSED;
    return sbuf_finish(&st->out);
}

int stream_reset(struct stream *st, uint64_t code)
{
    if (!sending(st))
        return st->send == SEND_ABSENT ? QUIC_INVAL : QUIC_CLOSED;
    abandon(st, code);
    return 0;
}

int stream_stop(struct stream *st, uint64_t code)
{
    if (st->recv >= RECV_DATA_READ || st->stopped)
        return st->recv == RECV_ABSENT ? QUIC_INVAL : QUIC_CLOSED;
    st->stopped = true;
    st->stop_code = code;
    st->events &= (uint8_t) ~(STREAM_EV_READABLE | STREAM_EV_RESET);
    rbuf_discard(&st->in);
    if (st->recv == RECV_OPEN)
        st->control |= STREAM_TX_STOP;
    else
        st->recv = st->recv == RECV_RESET_RECVD ? RECV_RESET_READ : RECV_DATA_READ;
    settle_rx(st);
    return 0;
}

struct span stream_peek(const struct stream *st, bool *fin)
{
    if (!st->stopped && st->recv <= RECV_DATA_RECVD)
        return rbuf_peek(&st->in, fin);
    if (fin)
        *fin = false;
    return span_of(NULL, 0);
}

void stream_consume(struct stream *st, size_t n)
{
    if (st->stopped || st->recv > RECV_DATA_RECVD)
        return;
    rbuf_consume(&st->in, n);
    if (st->recv == RECV_DATA_RECVD && rbuf_done(&st->in))
        st->recv = RECV_DATA_READ;
    settle_rx(st);
}

bool stream_check(const struct stream *st)
{
    if (!rbuf_check(&st->in) || st->rx.received != st->in.highest ||
        st->rx.consumed != st->in.base || st->rx.received > st->rx.limit)
        return false;
    if (st->tx.used > st->tx.limit || st->out.next != st->tx.used)
        return false;
    if (st->send >= SEND_RESET_SENT && st->send != SEND_DATA_RECVD)
        return st->out.ring == NULL;
    return sbuf_check(&st->out);
}
