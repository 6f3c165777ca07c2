#include "h3/conn.h"

#include <assert.h>
#include <stdlib.h>

#define MAX_FIELD_SECTION (1u << 24) /* bytes: what a configuration may ask for */

static void fill_defaults(struct h3_config *cfg)
{
    if (cfg->max_field_section_size == 0)
        cfg->max_field_section_size = 32768;
    if (cfg->max_field_section_size > MAX_FIELD_SECTION)
        cfg->max_field_section_size = MAX_FIELD_SECTION;
    if (cfg->max_requests == 0)
        cfg->max_requests = 100;
    if (cfg->max_uni_streams == 0)
        cfg->max_uni_streams = 16;
    if (cfg->max_out_bytes == 0)
        cfg->max_out_bytes = 256 * 1024;
    if (cfg->max_resets == 0)
        cfg->max_resets = 200;
}

struct h3_conn *h3_conn_new(const struct h3_config *cfg)
{
    struct h3_conn *h = calloc(1, sizeof(*h));

    if (!h)
        return NULL;
    h->cfg = *cfg;
    fill_defaults(&h->cfg);
    h->why = "";
    h3_ctrl_init(&h->ctrl, !cfg->server);
    qpack_dec_init(&h->dec, h->cfg.max_field_section_size);
    if (h3_send_start(h) != 0) {
        h3_conn_del(h);
        return NULL;
    }
    return h;
}

void h3_conn_del(struct h3_conn *h)
{
    if (!h)
        return;
    for (size_t i = 0; i < H3_OWN_N; i++)
        h3_outq_drop(NULL, &h->own[i]);
    h3_streams_free(&h->streams);
    h3_idset_free(&h->over[0]);
    h3_idset_free(&h->over[1]);
    qpack_dec_free(&h->dec);
    free(h);
}

/* The only writer of the failed state; keeps the first cause. */
static int conn_fail(struct h3_conn *h, int code, const char *why)
{
    if (h->failed == 0) {
        h->failed = code;
        h->why = why;
        LOG_AT(h->cfg.log, LOG_INFO, "h3: connection error %s: %s",
               h3_error_name((uint64_t)code), why);
    }
    return h->failed;
}

/* The same for an error in a frame of a stream. */
static int frame_fail(struct h3_conn *h, const struct h3_stream *s, int code,
                      const struct h3_frame_rd *frame, const char *why)
{
    LOG_AT(h->cfg.log, LOG_DEBUG, "h3: stream %llu, frame %s (0x%llx) of %llu bytes",
           (unsigned long long)s->id, h3_frame_name(frame->type),
           (unsigned long long)frame->type, (unsigned long long)frame->len);
    return conn_fail(h, code, why);
}

void h3_conn_abort(struct h3_conn *h, struct h3_stream *s, uint64_t code)
{
    s->dead = true;
    s->abort_code = code;
    if (s->kind == H3_KIND_REQUEST) {
        h3_outq_drop(&h->box, &s->tx);
        h3_req_free(&s->rx);
        s->tx_state = H3_TX_OVER;
    }
    h3_streams_raise(&h->streams, s, H3_PEND_ABORT);
}

/* A request ended because of the peer: once for each, and not without end. */
static int charge(struct h3_conn *h, struct h3_stream *s)
{
    if (!h->cfg.server || s->charged)
        return 0;
    s->charged = true;
    if (++h->resets > h->cfg.max_resets)
        return conn_fail(h, H3_EXCESSIVE_LOAD, "too many requests were reset");
    return 0;
}

/* Whether the stream was opened by the peer, and in one direction only. */
static bool is_peer_uni(const struct h3_conn *h, uint64_t id)
{
    return (id & 2) && (id & 1) == (h->cfg.server ? 0 : 1);
}

static bool is_own_uni(const struct h3_conn *h, uint64_t id)
{
    return (id & 2) && !is_peer_uni(h, id);
}

/* Free a stream; one of the peer's stays known as over. */
static void forget(struct h3_conn *h, struct h3_stream *s)
{
    bool uni = s->id & 2;

    if (uni || h->cfg.server)
        h3_idset_add(&h->over[uni], s->id / 4);
    h3_streams_remove(&h->streams, s);
}

/*
 * The stream that the peer sends on, made if it is new. Returns 0 with a null `*s`
 * for one that is over.
 */
static int stream_for(struct h3_conn *h, uint64_t id, struct h3_stream **s)
{
    bool uni = id & 2;

    *s = h3_streams_find(&h->streams, id);
    if (*s)
        return 0;
    if ((id & 3) == 1)
        return h->cfg.server
                   ? QUIC_INVAL
                   : conn_fail(h, H3_STREAM_CREATION_ERROR, "bidirectional stream of a server");
    if (!uni && !h->cfg.server)
        return id < h->next_request ? 0 : QUIC_INVAL;
    if (h3_idset_has(&h->over[uni], id / 4))
        return 0;
    if (uni ? h->streams.unis >= h->cfg.max_uni_streams
            : h->streams.requests >= h->cfg.max_requests)
        return conn_fail(h, H3_EXCESSIVE_LOAD, "too many streams");
    *s = h3_streams_add(&h->streams, id, uni ? H3_KIND_NEW : H3_KIND_REQUEST);
    if (!*s)
        return conn_fail(h, H3_INTERNAL_ERROR, "no memory");
    if (uni)
        return 0;
    h3_req_init(&(*s)->rx, true, h->cfg.enable_connect_protocol);
    h3_outq_init(&(*s)->tx, id);
    if (id >= h->next_seen)
        h->next_seen = id + 4;
    if (h->goaway_sent && id >= h->goaway_id)
        h3_conn_abort(h, *s, H3_REQUEST_REJECTED);
    return 0;
}

/* The first varint of a unidirectional stream says what it is (RFC 9114 6.2). */
static int recv_type(struct h3_conn *h, struct h3_stream *s, struct span in, size_t *used)
{
    static const enum h3_stream_kind kinds[] = {
        [H3_STREAM_CONTROL] = H3_KIND_CONTROL,
        [H3_STREAM_PUSH] = H3_KIND_UNKNOWN,
        [H3_STREAM_QPACK_ENCODER] = H3_KIND_ENCODER,
        [H3_STREAM_QPACK_DECODER] = H3_KIND_DECODER,
    };
    uint64_t type;

    if (h3_varint_rd_feed(&s->type_rd, in, used, &type) != 0)
        return 0;
    if (type == H3_STREAM_PUSH)
        return h->cfg.server ? conn_fail(h, H3_STREAM_CREATION_ERROR, "push from a client")
                             : conn_fail(h, H3_ID_ERROR, "push stream, but none is allowed");
    s->kind = type < ARRAY_LEN(kinds) ? kinds[type] : H3_KIND_UNKNOWN;
    if (s->kind == H3_KIND_UNKNOWN) {
        h3_conn_abort(h, s, H3_STREAM_CREATION_ERROR);
        return 0;
    }
    if (h->have_stream[s->kind])
        return conn_fail(h, H3_STREAM_CREATION_ERROR, "second stream of a critical type");
    h->have_stream[s->kind] = true;
    return 0;
}

static int recv_uni(struct h3_conn *h, struct h3_stream *s, struct span in, size_t *used)
{
    struct span rest;
    int rc = 0;

    if (s->kind == H3_KIND_NEW) {
        rc = recv_type(h, s, in, used);
        if (rc != 0 || s->kind == H3_KIND_UNKNOWN) /* an event waits */
            return rc;
    }
    rest = span_of(in.p + *used, in.n - *used);
    if (rest.n == 0)
        return 0;
    switch (s->kind) {
    case H3_KIND_CONTROL:
        rc = h3_ctrl_read(&h->ctrl, rest, used, &h->now);
        return rc == 0 ? 0 : frame_fail(h, s, rc, &h->ctrl.frame, h->ctrl.why);
    case H3_KIND_ENCODER:
        rc = qpack_estream_feed(&h->estream, rest);
        break;
    case H3_KIND_DECODER:
        rc = qpack_dstream_feed(&h->dstream, rest);
        break;
    default:
        break;
    }
    *used = in.n;
    return rc == 0 ? 0 : conn_fail(h, rc, "QPACK instruction without a dynamic table");
}

/* The end of a unidirectional stream, or its reset. */
static int end_uni(struct h3_conn *h, struct h3_stream *s)
{
    if (s->kind != H3_KIND_NEW && s->kind != H3_KIND_UNKNOWN)
        return conn_fail(h, H3_CLOSED_CRITICAL_STREAM, "a critical stream was closed");
    forget(h, s);
    return 0;
}

/* An error of one stream, found while reading it. */
static int stream_error(struct h3_conn *h, struct h3_stream *s, uint64_t code)
{
    LOG_AT(h->cfg.log, LOG_INFO, "h3: stream %llu: %s: %s", (unsigned long long)s->id,
           h3_error_name(code), s->rx.why);
    h3_conn_abort(h, s, code);
    return charge(h, s);
}

static int recv_request(struct h3_conn *h, struct h3_stream *s, struct span in, bool fin,
                        size_t *used)
{
    uint64_t aborted = 0;
    int rc = h3_req_read(&s->rx, &h->dec, in, used, &h->now, &aborted);

    if (rc != 0)
        return frame_fail(h, s, rc, &s->rx.frame, s->rx.why);
    h->now.stream_id = s->id;
    if (aborted == 0 && fin && *used == in.n) {
        rc = h3_req_end(&s->rx, &aborted);
        if (rc != 0)
            return frame_fail(h, s, rc, &s->rx.frame, s->rx.why);
        if (aborted == 0) {
            s->rx_over = true;
            h->now.fin = h->now.type == H3_EV_HEADERS;
            h3_streams_raise(&h->streams, s, H3_PEND_FIN);
        }
    }
    if (aborted == 0)
        return 0;
    *used = in.n;
    return stream_error(h, s, aborted);
}

int h3_recv(struct h3_conn *h, uint64_t stream_id, struct span data, bool fin, size_t *used)
{
    struct h3_stream *s;
    int rc;

    *used = 0;
    if (h->failed != 0)
        return h->failed;
    if (h->now.type != H3_EV_NONE)
        return QUIC_BLOCKED;
    if (is_own_uni(h, stream_id))
        return QUIC_INVAL;
    if (data.n == 0)
        data.p = (const uint8_t *)"";
    qpack_dec_trim(&h->dec);
    rc = stream_for(h, stream_id, &s);
    if (rc != 0)
        return rc;
    if (s && s->kind == H3_KIND_REQUEST && !s->dead && !s->rx_over)
        return recv_request(h, s, data, fin, used);
    if (s && s->kind != H3_KIND_REQUEST) {
        rc = recv_uni(h, s, data, used);
        return rc == 0 && fin && *used == data.n ? end_uni(h, s) : rc;
    }
    *used = data.n; /* done, aborted or over */
    return 0;
}

/*
 * The peer ended a request abruptly: report `bit`, or give the stream up by ourselves
 * where the user never heard of it.
 */
static int cut_request(struct h3_conn *h, struct h3_stream *s, uint8_t bit)
{
    if (h->cfg.server && s->rx.phase == H3_REQ_HEAD)
        h3_conn_abort(h, s, H3_REQUEST_REJECTED);
    else
        h3_streams_raise(&h->streams, s, bit);
    return charge(h, s);
}

int h3_stream_reset(struct h3_conn *h, uint64_t stream_id, uint64_t code)
{
    struct h3_stream *s;
    int rc;

    if (h->failed != 0)
        return h->failed;
    if (is_own_uni(h, stream_id))
        return QUIC_INVAL;
    rc = stream_for(h, stream_id, &s);
    if (rc != 0 || !s)
        return rc;
    if (s->kind != H3_KIND_REQUEST)
        return end_uni(h, s);
    if (s->dead || s->rx_over)
        return 0;
    s->rx_over = true;
    s->reset_code = code;
    h3_req_free(&s->rx);
    return cut_request(h, s, H3_PEND_RESET);
}

int h3_stream_stopped(struct h3_conn *h, uint64_t stream_id, uint64_t code)
{
    struct h3_stream *s;
    int rc;

    if (h->failed != 0)
        return h->failed;
    if (is_own_uni(h, stream_id))
        return conn_fail(h, H3_CLOSED_CRITICAL_STREAM, "a critical stream was stopped");
    if (is_peer_uni(h, stream_id))
        return QUIC_INVAL;
    rc = stream_for(h, stream_id, &s);
    if (rc != 0 || !s)
        return rc;
    if (s->dead || s->tx.over)
        return 0;
    h3_outq_drop(&h->box, &s->tx);
    s->tx_state = H3_TX_OVER;
    s->tx.opened = true; /* or the peer could not know it */
    s->stop_code = code;
    h3_send_advance(h);
    return cut_request(h, s, H3_PEND_STOPPED);
}

void h3_stream_done(struct h3_conn *h, uint64_t stream_id)
{
    struct h3_stream *s = h3_streams_find(&h->streams, stream_id);

    if (!s)
        return;
    if (s->kind == H3_KIND_REQUEST) {
        if (s->rx_over && s->tx.over && !s->dead && !s->charged && h->resets > 0)
            h->resets--;
        h3_outq_drop(&h->box, &s->tx);
    }
    if (h->now.type != H3_EV_NONE && h->now.stream_id == stream_id &&
        (h->now.type == H3_EV_HEADERS || h->now.type == H3_EV_DATA))
        h->now.type = H3_EV_NONE;
    forget(h, s);
    h3_send_advance(h);
}

bool h3_next_event(struct h3_conn *h, struct h3_event *ev)
{
    struct h3_stream *s;

    if (h->now.type != H3_EV_NONE) {
        *ev = h->now;
        h->now = (struct h3_event){.type = H3_EV_NONE};
        return true;
    }
    if (!h3_streams_next(&h->streams, ev, &s))
        return false;
    if (ev->type == H3_EV_ABORT) { /* the driver keeps the numbers in step from here on */
        s->tx.opened = true;
        h3_send_advance(h);
    }
    return true;
}

const struct h3_settings *h3_peer_settings(const struct h3_conn *h)
{
    return h->ctrl.have_settings ? &h->ctrl.settings : NULL;
}

bool h3_datagram_ready(const struct h3_conn *h)
{
    return h->cfg.h3_datagram && h->ctrl.have_settings && h->ctrl.settings.h3_datagram;
}

size_t h3_request_count(const struct h3_conn *h)
{
    return h->streams.requests;
}

const char *h3_fail_text(const struct h3_conn *h)
{
    return h->why;
}

void h3_conn_check(const struct h3_conn *h)
{
    size_t sum = 0;

    h3_streams_check(&h->streams);
    for (size_t i = 0; i < h->streams.n; i++) {
        const struct h3_stream *s = h->streams.v[i];

        if (s->kind != H3_KIND_REQUEST)
            continue;
        sum += s->tx.len;
        assert(s->tx.listed == h3_outq_ready(&s->tx));
        assert(!s->dead || (s->tx.over && s->tx_state == H3_TX_OVER));
    }
    h3_outbox_check(&h->box, sum);
    h3_idset_check(&h->over[0]);
    h3_idset_check(&h->over[1]);
    assert(h->streams.requests <= h->cfg.max_requests);
    assert(h->streams.unis <= h->cfg.max_uni_streams);
    assert((h->failed != 0) == (h->why[0] != 0));
}
