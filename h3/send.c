#include "h3/conn.h"

#include <assert.h>
#include <stdlib.h>

#include "quic/wire.h"

int h3_send_start(struct h3_conn *h)
{
    static const uint8_t types[H3_OWN_N] = {
        [H3_OWN_CONTROL] = H3_STREAM_CONTROL,
        [H3_OWN_ENCODER] = H3_STREAM_QPACK_ENCODER,
        [H3_OWN_DECODER] = H3_STREAM_QPACK_DECODER,
    };
    struct h3_settings s;
    uint8_t buf[160];
    struct wire_w w = wire_w_of(buf, sizeof(buf));
    int rc = 0;

    h->box.limit = h->cfg.max_out_bytes;
    h->box.opening = h->cfg.server ? UINT64_MAX : 0;
    h3_settings_default(&s);
    s.max_field_section_size = h->cfg.max_field_section_size;
    s.enable_connect_protocol = h->cfg.enable_connect_protocol;
    s.h3_datagram = h->cfg.h3_datagram;
    h3_settings_write(&w, &s, h->cfg.grease);
    assert(!w.failed);
    for (size_t i = 0; i < H3_OWN_N && rc == 0; i++) {
        struct span rest =
            i == H3_OWN_CONTROL ? span_of(buf, (size_t)(w.p - buf)) : span_of(NULL, 0);

        h3_outq_init(&h->own[i], 4 * i + (h->cfg.server ? 3 : 2));
        rc = h3_outq_put(NULL, &h->own[i], span_of(&types[i], 1), rest, false);
    }
    return rc;
}

void h3_send_advance(struct h3_conn *h)
{
    if (h->cfg.server)
        return;
    while (h->box.opening < h->next_request) {
        const struct h3_stream *s = h3_streams_find(&h->streams, h->box.opening);

        if (s && !s->tx.opened)
            return;
        h->box.opening += 4;
    }
}

/* Encode a field section into a HEADERS frame and queue it. */
static int put_headers(struct h3_conn *h, struct h3_stream *s, const struct h3_field *fields,
                       size_t n, bool fin)
{
    uint64_t bound = qpack_enc_bound(fields, n);
    uint8_t head[H3_FRAME_HEAD_MAX], *buf;
    struct wire_w hw = wire_w_of(head, sizeof(head)), w;
    int rc;

    if (h->ctrl.have_settings &&
        h3_fields_size(fields, n) > h->ctrl.settings.max_field_section_size)
        return QUIC_TOOBIG;
    buf = malloc((size_t)bound);
    if (!buf)
        return QUIC_NOMEM;
    w = wire_w_of(buf, (size_t)bound);
    qpack_enc_section(&w, fields, n);
    assert(!w.failed);
    h3_frame_write_head(&hw, H3_FRAME_HEADERS, (uint64_t)(w.p - buf));
    rc = h3_outq_put(&h->box, &s->tx, span_of(head, (size_t)(hw.p - head)),
                     span_of(buf, (size_t)(w.p - buf)), fin);
    free(buf);
    return rc;
}

/* Judge a section that is to be sent: 0, or QUIC_INVAL with the reason in the log. */
static int check(const struct h3_conn *h, enum h3_msg_kind kind, const struct h3_field *fields,
                 size_t n, struct h3_msg *m)
{
    const char *why;

    if (h3_msg_check(kind, fields, n, kind == H3_MSG_REQUEST, m, &why) == 0)
        return 0;
    LOG_AT(h->cfg.log, LOG_WARN, "h3: malformed section not sent: %s", why);
    return QUIC_INVAL;
}

/* Extended CONNECT needs the peer's word (RFC 9220 3, RFC 8441 3). */
static int may_extend(const struct h3_conn *h)
{
    if (!h->ctrl.have_settings)
        return QUIC_BLOCKED;
    return h->ctrl.settings.enable_connect_protocol ? 0 : QUIC_INVAL;
}

int h3_request(struct h3_conn *h, const struct h3_field *fields, size_t n, bool fin,
               uint64_t *stream_id)
{
    struct h3_stream *s;
    struct h3_msg m;
    int rc;

    if (h->failed != 0 || h->goaway_sent || h->ctrl.goaway != UINT64_MAX)
        return QUIC_CLOSED;
    if (h->cfg.server || h->next_request > VARINT_MAX ||
        check(h, H3_MSG_REQUEST, fields, n, &m) != 0)
        return QUIC_INVAL;
    rc = m.extended ? may_extend(h) : 0;
    if (rc != 0)
        return rc;
    if (h->streams.requests >= h->cfg.max_requests)
        return QUIC_BLOCKED;
    s = h3_streams_add(&h->streams, h->next_request, H3_KIND_REQUEST);
    if (!s)
        return QUIC_NOMEM;
    h3_req_init(&s->rx, false, false);
    h3_req_sent(&s->rx, &m);
    h3_outq_init(&s->tx, s->id);
    rc = put_headers(h, s, fields, n, fin);
    if (rc != 0) {
        h3_outq_drop(&h->box, &s->tx);
        h3_streams_remove(&h->streams, s);
        return rc;
    }
    s->tx_state = fin ? H3_TX_OVER : H3_TX_BODY;
    s->tx_tunnel = m.connect;
    *stream_id = s->id;
    h->next_request += 4;
    return 0;
}

/* The stream on which something is to be sent, or null. */
static struct h3_stream *sendable(struct h3_conn *h, uint64_t id)
{
    struct h3_stream *s = h->failed == 0 ? h3_streams_find(&h->streams, id) : NULL;

    if (!s || s->kind != H3_KIND_REQUEST || s->dead || s->tx_state == H3_TX_OVER)
        return NULL;
    return s;
}

int h3_respond(struct h3_conn *h, uint64_t stream_id, const struct h3_field *fields, size_t n,
               bool fin)
{
    struct h3_stream *s;
    struct h3_msg m;
    bool interim;
    int rc;

    if (!h->cfg.server)
        return QUIC_INVAL;
    s = sendable(h, stream_id);
    if (!s)
        return QUIC_CLOSED;
    if (s->rx.phase == H3_REQ_HEAD || s->tx_state != H3_TX_HEAD ||
        check(h, H3_MSG_RESPONSE, fields, n, &m) != 0)
        return QUIC_INVAL;
    interim = m.status / 100 == 1;
    if (interim && fin)
        return QUIC_INVAL;
    rc = put_headers(h, s, fields, n, fin);
    if (rc != 0 || interim)
        return rc;
    s->tx_state = fin ? H3_TX_OVER : H3_TX_BODY;
    s->tx_tunnel = s->rx.connect && m.status / 100 == 2;
    return 0;
}

int h3_data(struct h3_conn *h, uint64_t stream_id, struct span data, bool fin)
{
    uint8_t head[H3_FRAME_HEAD_MAX];
    struct wire_w w = wire_w_of(head, sizeof(head));
    struct h3_stream *s = sendable(h, stream_id);
    int rc;

    if (!s)
        return QUIC_CLOSED;
    if (s->tx_state != H3_TX_BODY)
        return QUIC_INVAL;
    if (data.n == 0 && !fin)
        return 0;
    if (data.n > 0)
        h3_frame_write_head(&w, H3_FRAME_DATA, data.n);
    rc = h3_outq_put(&h->box, &s->tx, span_of(head, (size_t)(w.p - head)), data, fin);
    if (rc == 0 && fin)
        s->tx_state = H3_TX_OVER;
    return rc;
}

int h3_trailers(struct h3_conn *h, uint64_t stream_id, const struct h3_field *fields, size_t n)
{
    struct h3_stream *s = sendable(h, stream_id);
    struct h3_msg m;
    int rc;

    if (!s)
        return QUIC_CLOSED;
    if (s->tx_state != H3_TX_BODY || s->tx_tunnel ||
        check(h, H3_MSG_TRAILERS, fields, n, &m) != 0)
        return QUIC_INVAL;
    rc = put_headers(h, s, fields, n, true);
    if (rc == 0)
        s->tx_state = H3_TX_OVER;
    return rc;
}

int h3_goaway(struct h3_conn *h)
{
    uint8_t head[H3_FRAME_HEAD_MAX + 8];
    struct wire_w w = wire_w_of(head, sizeof(head));
    uint64_t id = h->cfg.server ? h->next_seen : 0;
    int rc;

    if (h->goaway_sent)
        return 0;
    h3_frame_write_head(&w, H3_FRAME_GOAWAY, varint_len(id));
    wire_w_varint(&w, id);
    rc = h3_outq_put(NULL, &h->own[H3_OWN_CONTROL], span_of(head, (size_t)(w.p - head)),
                     span_of(NULL, 0), false);
    if (rc != 0)
        return rc;
    h->goaway_sent = true;
    h->goaway_id = id;
    return 0;
}

int h3_reset(struct h3_conn *h, uint64_t stream_id, uint64_t code)
{
    struct h3_stream *s = h3_streams_find(&h->streams, stream_id);

    if (!s || s->kind != H3_KIND_REQUEST || s->dead)
        return QUIC_CLOSED;
    h3_conn_abort(h, s, code);
    return 0;
}

/* Our own streams go first and in order; none before those in front of it is open. */
static struct h3_outq *next_own(struct h3_conn *h)
{
    for (size_t i = 0; i < H3_OWN_N; i++) {
        if (h3_outq_ready(&h->own[i]))
            return &h->own[i];
        if (!h->own[i].opened)
            return NULL;
    }
    return NULL;
}

bool h3_next_out(struct h3_conn *h, struct h3_out *out)
{
    struct h3_outq *q = next_own(h);

    if (!q)
        q = h3_outbox_next(&h->box);
    if (!q)
        return false;
    out->stream_id = q->id;
    out->bytes = h3_outq_peek(q, H3_OUT_QUANTUM, &out->fin);
    return true;
}

/* The queue of a stream of ours or of a request, and its outbox; or null. */
static struct h3_outq *queue_of(struct h3_conn *h, uint64_t id, struct h3_outbox **box)
{
    struct h3_stream *s;

    for (size_t i = 0; i < H3_OWN_N; i++) {
        if (h->own[i].id == id) {
            *box = NULL;
            return &h->own[i];
        }
    }
    *box = &h->box;
    s = h3_streams_find(&h->streams, id);
    return s && s->kind == H3_KIND_REQUEST ? &s->tx : NULL;
}

void h3_out_done(struct h3_conn *h, uint64_t stream_id, size_t n, bool fin)
{
    struct h3_outbox *box;
    struct h3_outq *q = queue_of(h, stream_id, &box);

    if (!q)
        return;
    h3_outq_took(box, q, n, fin);
    h3_send_advance(h);
}

void h3_out_blocked(struct h3_conn *h, uint64_t stream_id)
{
    struct h3_outbox *box;
    struct h3_outq *q = queue_of(h, stream_id, &box);

    if (q)
        h3_outq_block(box, q, true);
}

void h3_out_unblocked(struct h3_conn *h, uint64_t stream_id)
{
    struct h3_outbox *box;
    struct h3_outq *q = queue_of(h, stream_id, &box);

    if (q)
        h3_outq_block(box, q, false);
}

size_t h3_out_queued(const struct h3_conn *h)
{
    return h->box.total;
}
