#include "quic/frame_codec.h"

#include <string.h>

/* Data of a stream or of CRYPTO must end at an offset that a varint can hold (19.6, 19.8). */
static void check_end(struct wire_r *r, uint64_t offset, size_t n)
{
    if (n > VARINT_MAX - offset)
        wire_r_fail(r);
}

void padding_get(struct wire_r *r, struct frame *f)
{
    const uint8_t *start = r->p;

    while (r->p < r->end && *r->p == 0)
        r->p++;
    f->padding = 1 + (size_t)(r->p - start);
}

void padding_put(struct wire_w *w, const struct frame *f)
{
    wire_w_zero(w, f->padding);
}

void bare_get(struct wire_r *r, struct frame *f)
{
    (void)r;
    (void)f;
}

void bare_put(struct wire_w *w, const struct frame *f)
{
    wire_w_varint(w, f->type);
}

/* Walks the ranges on the way, so that nobody has to doubt them later. */
void frame_ack_get(struct wire_r *r, struct frame *f)
{
    struct frame_ack *a = &f->ack;
    const uint8_t *start;

    a->largest = wire_r_varint(r);
    a->delay = wire_r_varint(r);
    a->range_count = wire_r_varint(r);
    a->first = wire_r_varint(r);
    start = r->p;
    if (a->first > a->largest)
        wire_r_fail(r);
    for (uint64_t i = 0, low = a->largest - a->first; !r->failed && i < a->range_count; i++) {
        uint64_t gap = wire_r_varint(r), length = wire_r_varint(r);

        if (gap + 2 > low || length > low - gap - 2)
            wire_r_fail(r);
        low -= gap + 2 + length;
    }
    a->ranges = span_of(start, (size_t)(r->p - start));
    a->ecn = f->type & 1;
    if (a->ecn) {
        a->ect0 = wire_r_varint(r);
        a->ect1 = wire_r_varint(r);
        a->ce = wire_r_varint(r);
    }
}

void frame_ack_put(struct wire_w *w, const struct frame_ack *a)
{
    wire_w_varint(w, a->largest);
    wire_w_varint(w, a->delay);
    wire_w_varint(w, a->range_count);
    wire_w_varint(w, a->first);
    wire_w_span(w, a->ranges);
    if (a->ecn) {
        wire_w_varint(w, a->ect0);
        wire_w_varint(w, a->ect1);
        wire_w_varint(w, a->ce);
    }
}

void ack_put(struct wire_w *w, const struct frame *f)
{
    wire_w_varint(w, f->ack.ecn ? FRAME_ACK_ECN : FRAME_ACK);
    frame_ack_put(w, &f->ack);
}

void reset_stream_get(struct wire_r *r, struct frame *f)
{
    f->reset_stream.id = wire_r_varint(r);
    f->reset_stream.code = wire_r_varint(r);
    f->reset_stream.final_size = wire_r_varint(r);
}

void reset_stream_put(struct wire_w *w, const struct frame *f)
{
    wire_w_varint(w, f->type);
    wire_w_varint(w, f->reset_stream.id);
    wire_w_varint(w, f->reset_stream.code);
    wire_w_varint(w, f->reset_stream.final_size);
}

void stop_sending_get(struct wire_r *r, struct frame *f)
{
    f->stop_sending.id = wire_r_varint(r);
    f->stop_sending.code = wire_r_varint(r);
}

void stop_sending_put(struct wire_w *w, const struct frame *f)
{
    wire_w_varint(w, f->type);
    wire_w_varint(w, f->stop_sending.id);
    wire_w_varint(w, f->stop_sending.code);
}

void crypto_get(struct wire_r *r, struct frame *f)
{
    f->crypto.offset = wire_r_varint(r);
    f->crypto.data = wire_r_vec(r);
    check_end(r, f->crypto.offset, f->crypto.data.n);
}

void frame_crypto_head(struct wire_w *w, uint64_t offset, size_t n)
{
    wire_w_varint(w, FRAME_CRYPTO);
    wire_w_varint(w, offset);
    wire_w_varint(w, n);
}

size_t frame_crypto_overhead(uint64_t offset, size_t n)
{
    return 1 + varint_len(offset) + varint_len(n);
}

void crypto_put(struct wire_w *w, const struct frame *f)
{
    frame_crypto_head(w, f->crypto.offset, f->crypto.data.n);
    wire_w_span(w, f->crypto.data);
}

void new_token_get(struct wire_r *r, struct frame *f)
{
    f->token = wire_r_vec(r);
    if (f->token.n == 0)
        wire_r_fail(r);
}

void new_token_put(struct wire_w *w, const struct frame *f)
{
    wire_w_varint(w, f->type);
    wire_w_vec(w, f->token);
}

void stream_get(struct wire_r *r, struct frame *f)
{
    f->stream.fin = f->type & FRAME_STREAM_FIN;
    f->stream.has_len = f->type & FRAME_STREAM_LEN;
    f->stream.id = wire_r_varint(r);
    if (f->type & FRAME_STREAM_OFF)
        f->stream.offset = wire_r_varint(r);
    f->stream.data =
        f->stream.has_len ? wire_r_vec(r) : wire_r_bytes(r, (uint64_t)wire_r_left(r));
    check_end(r, f->stream.offset, f->stream.data.n);
}

void frame_stream_head(struct wire_w *w, uint64_t id, uint64_t offset, size_t n, bool fin,
                       bool has_len)
{
    wire_w_varint(w, FRAME_STREAM | (fin ? FRAME_STREAM_FIN : 0) |
                         (has_len ? FRAME_STREAM_LEN : 0) | (offset ? FRAME_STREAM_OFF : 0));
    wire_w_varint(w, id);
    if (offset)
        wire_w_varint(w, offset);
    if (has_len)
        wire_w_varint(w, n);
}

size_t frame_stream_overhead(uint64_t id, uint64_t offset, size_t n, bool has_len)
{
    return 1 + varint_len(id) + (offset ? varint_len(offset) : 0) +
           (has_len ? varint_len(n) : 0);
}

void stream_put(struct wire_w *w, const struct frame *f)
{
    frame_stream_head(w, f->stream.id, f->stream.offset, f->stream.data.n, f->stream.fin,
                      f->stream.has_len);
    wire_w_span(w, f->stream.data);
}

void number_get(struct wire_r *r, struct frame *f)
{
    f->max = wire_r_varint(r);
}

void number_put(struct wire_w *w, const struct frame *f)
{
    wire_w_varint(w, f->type);
    wire_w_varint(w, f->max);
}

void streams_get(struct wire_r *r, struct frame *f)
{
    f->max = wire_r_varint(r);
    if (f->max > FRAME_STREAMS_MAX)
        wire_r_fail(r);
}

void max_stream_data_get(struct wire_r *r, struct frame *f)
{
    f->max_stream_data.id = wire_r_varint(r);
    f->max_stream_data.max = wire_r_varint(r);
}

void max_stream_data_put(struct wire_w *w, const struct frame *f)
{
    wire_w_varint(w, f->type);
    wire_w_varint(w, f->max_stream_data.id);
    wire_w_varint(w, f->max_stream_data.max);
}

void frame_new_cid_get(struct wire_r *r, struct frame *f)
{
    struct frame_new_cid *c = &f->new_cid;
    size_t len;

    c->seq = wire_r_varint(r);
    c->retire_prior_to = wire_r_varint(r);
    len = wire_r_u8(r);
    if (len < 1 || len > QUIC_CID_MAX || c->retire_prior_to > c->seq)
        wire_r_fail(r);
    c->cid = cid_of(wire_r_bytes(r, len));
    wire_r_copy(r, c->token, sizeof(c->token));
}

void frame_new_cid_put(struct wire_w *w, const struct frame_new_cid *c)
{
    wire_w_varint(w, c->seq);
    wire_w_varint(w, c->retire_prior_to);
    wire_w_u8(w, c->cid.len);
    wire_w_bytes(w, c->cid.b, c->cid.len);
    wire_w_bytes(w, c->token, sizeof(c->token));
}

void new_cid_put(struct wire_w *w, const struct frame *f)
{
    wire_w_varint(w, f->type);
    frame_new_cid_put(w, &f->new_cid);
}

void path_data_get(struct wire_r *r, struct frame *f)
{
    wire_r_copy(r, f->path_data, sizeof(f->path_data));
}

void path_data_put(struct wire_w *w, const struct frame *f)
{
    wire_w_varint(w, f->type);
    wire_w_bytes(w, f->path_data, sizeof(f->path_data));
}

void close_get(struct wire_r *r, struct frame *f)
{
    f->close.app = f->type == FRAME_CONNECTION_CLOSE_APP;
    f->close.code = wire_r_varint(r);
    if (!f->close.app)
        f->close.frame_type = wire_r_varint(r);
    f->close.reason = wire_r_vec(r);
}

void close_put(struct wire_w *w, const struct frame *f)
{
    wire_w_varint(w, f->close.app ? FRAME_CONNECTION_CLOSE_APP : FRAME_CONNECTION_CLOSE);
    wire_w_varint(w, f->close.code);
    if (!f->close.app)
        wire_w_varint(w, f->close.frame_type);
    wire_w_vec(w, f->close.reason);
}

void datagram_get(struct wire_r *r, struct frame *f)
{
    f->datagram.has_len = f->type & 1;
    f->datagram.data =
        f->datagram.has_len ? wire_r_vec(r) : wire_r_bytes(r, (uint64_t)wire_r_left(r));
}

void frame_datagram_head(struct wire_w *w, size_t n, bool has_len)
{
    wire_w_varint(w, has_len ? FRAME_DATAGRAM_LEN : FRAME_DATAGRAM);
    if (has_len)
        wire_w_varint(w, n);
}

size_t frame_datagram_overhead(size_t n, bool has_len)
{
    return 1 + (has_len ? varint_len(n) : 0);
}

void datagram_put(struct wire_w *w, const struct frame *f)
{
    frame_datagram_head(w, f->datagram.data.n, f->datagram.has_len);
    wire_w_span(w, f->datagram.data);
}

void ack_frequency_get(struct wire_r *r, struct frame *f)
{
    f->ack_frequency.seq = wire_r_varint(r);
    f->ack_frequency.threshold = wire_r_varint(r);
    f->ack_frequency.max_delay_us = wire_r_varint(r);
    f->ack_frequency.reordering = wire_r_varint(r);
}

void ack_frequency_put(struct wire_w *w, const struct frame *f)
{
    wire_w_varint(w, f->type);
    wire_w_varint(w, f->ack_frequency.seq);
    wire_w_varint(w, f->ack_frequency.threshold);
    wire_w_varint(w, f->ack_frequency.max_delay_us);
    wire_w_varint(w, f->ack_frequency.reordering);
}
