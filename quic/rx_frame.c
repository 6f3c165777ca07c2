#include <stdlib.h>
#include <string.h>

#include "quic/conn.h"

/*
 * One handler per kind of frame: 0, the error code that the peer deserves, or QUIC_DROP where
 * the packet can't be taken now and has to come again.
 */
typedef int handler(struct quic_conn *c, struct rx_packet *pkt, const struct frame *f);

static int on_nothing(struct quic_conn *c, struct rx_packet *pkt, const struct frame *f)
{
    (void)c, (void)pkt, (void)f;
    return 0;
}

/* ACK Delay in ns; whatever can't be right is as good as the longest possible. */
static ns_t ack_delay(const struct quic_conn *c, enum quic_space space, uint64_t raw)
{
    if (space != SPACE_APP)
        return 0;
    unsigned shift = (unsigned)c->peer.ack_delay_exponent;
    uint64_t most = NS_PER_S * 3600 / NS_PER_US;
    return (raw > most >> shift ? most : raw << shift) * NS_PER_US;
}

int rx_ack(struct quic_conn *c, struct quic_path *p, enum quic_space space,
           const struct frame_ack *ack, bool late)
{
    /* Acknowledged with old keys what was sent with new ones (RFC 9001 6.2). */
    if (space == SPACE_APP && (c->keys.rx_phase != c->keys.tx_phase || late) &&
        ack->largest >= p->phase_first_sent)
        return QUIC_KEY_UPDATE_ERROR;
    conn_path_outage(p, true);
    int code =
        recovery_on_ack(&p->recovery, space, ack, ack_delay(c, space, ack->delay), c->now);
    if (code)
        return code;
    c->got_handshake_ack |= space == SPACE_HANDSHAKE;
    /* A client is sure too when its 1-RTT packets are acknowledged (RFC 9001 4.1.2). */
    if (!c->server && space == SPACE_APP)
        conn_confirm(c);
    conn_verdicts(c, p);
    if (space == SPACE_APP)
        conn_acks_update(c);
    return 0;
}

/* The path that plain frames are about: with multipath, that of ID 0; null once it is gone. */
static struct quic_path *path_zero(struct quic_conn *c)
{
    struct quic_path *p = &c->path[0];
    return p->phase != PATH_FREE && p->id == 0 ? p : NULL;
}

static int on_ack(struct quic_conn *c, struct rx_packet *pkt, const struct frame *f)
{
    struct quic_path *p = path_zero(c);
    return p ? rx_ack(c, p, pkt->space, &f->ack, pkt->late) : 0;
}

static int on_crypto(struct quic_conn *c, struct rx_packet *pkt, const struct frame *f)
{
    struct rbuf *rx = &c->crypto[pkt->space].rx;
    bool had = rbuf_has(rx, f->crypto.offset, f->crypto.offset + f->crypto.data.n);
    int r = rbuf_add(rx, f->crypto.offset, f->crypto.data, false);
    pkt->crypto = true;
    pkt->fresh |= !had;
    return r == QUIC_TOOBIG ? QUIC_CRYPTO_BUFFER_EXCEEDED : r ? QUIC_INTERNAL_ERROR : 0;
}

/* The latest counts; one that would not fit an Initial, or no memory, is no loss. */
static int on_new_token(struct quic_conn *c, struct rx_packet *pkt, const struct frame *f)
{
    (void)pkt;
    if (f->token.n <= QUIC_TOKEN_MAX)
        conn_keep_token(f->token, &c->new_token, &c->new_token_len);
    return 0;
}

static int on_stream(struct quic_conn *c, struct rx_packet *pkt, const struct frame *f)
{
    (void)pkt;
    int r = streams_on_frame(&c->streams, f);
    return r < 0 && r != QUIC_DROP ? QUIC_INTERNAL_ERROR : r;
}

static int on_new_cid(struct quic_conn *c, struct rx_packet *pkt, const struct frame *f)
{
    (void)pkt;
    struct quic_path *p = path_zero(c);
    c->ext_news = true;
    return p ? cid_remote_add(&p->theirs, &f->new_cid, CONN_CID_LIMIT) : 0;
}

static int on_retire_cid(struct quic_conn *c, struct rx_packet *pkt, const struct frame *f)
{
    struct quic_path *p = path_zero(c);
    c->ext_news = true;
    return p ? cid_local_retire(&p->ours, f->seq, pkt->dcid) : 0;
}

static int on_path_challenge(struct quic_conn *c, struct rx_packet *pkt, const struct frame *f)
{
    if (path_respond(pkt->route, f->path_data))
        c->stats.path_responses_dropped++;
    return 0;
}

static int on_path_response(struct quic_conn *c, struct rx_packet *pkt, const struct frame *f)
{
    return conn_on_path_response(c, pkt->path, f->path_data);
}

static int on_close(struct quic_conn *c, struct rx_packet *pkt, const struct frame *f)
{
    (void)pkt;
    char text[CONN_TEXT];
    size_t n = f->close.reason.n < sizeof(text) - 1 ? f->close.reason.n : sizeof(text) - 1;
    for (size_t i = 0; i < n; i++)
        text[i] = f->close.reason.p[i] >= 32 && f->close.reason.p[i] < 127
                      ? (char)f->close.reason.p[i]
                      : '?';
    text[n] = 0;
    struct quic_close_info why = {.kind = QUIC_CLOSE_PEER,
                                  .app = f->close.app,
                                  .code = f->close.code,
                                  .frame_type = f->close.frame_type,
                                  .text = text};
    conn_close(c, &why, false);
    if (c->state == CONN_CLOSING) {
        c->state = CONN_DRAINING;
        c->close_due = false;
    }
    return 0;
}

static int on_handshake_done(struct quic_conn *c, struct rx_packet *pkt, const struct frame *f)
{
    (void)pkt, (void)f;
    conn_confirm(c);
    return 0;
}

static int take_dgram(struct quic_conn *c, struct rx_packet *pkt, struct span data,
                      bool has_len)
{
    size_t size = data.n + frame_datagram_overhead(data.n, has_len);
    if (size > c->local.max_datagram_frame_size)
        return QUIC_PROTOCOL_VIOLATION;
    c->stats.dgrams_received++;
    if (!c->dgram)
        c->dgram = malloc(QUIC_DGRAM_RX_MAX * sizeof(*c->dgram));
    if (!c->dgram || c->dgram_n == QUIC_DGRAM_RX_MAX) {
        c->stats.drop_dgram++;
        return 0;
    }
    /* The payload lies in the caller's buffer, which is mutable. */
    c->dgram[c->dgram_n++] = (struct quic_dgram_rx){
        .p = pkt->payload + (data.p - pkt->payload),
        .n = data.n,
        .path = conn_path_index(c, pkt->path),
        .time = c->now,
    };
    return 0;
}

static int on_datagram(struct quic_conn *c, struct rx_packet *pkt, const struct frame *f)
{
    return take_dgram(c, pkt, f->datagram.data, f->datagram.has_len);
}

static int on_ack_frequency(struct quic_conn *c, struct rx_packet *pkt, const struct frame *f)
{
    (void)pkt;
    return conn_on_ack_frequency(c, f);
}

static int on_immediate_ack(struct quic_conn *c, struct rx_packet *pkt, const struct frame *f)
{
    (void)f;
    return conn_on_immediate_ack(c, pkt->path);
}

/* By the first type of the row in frame_table. */
// clang-format off
static handler *const handlers[] = {
    [FRAME_PADDING]              = on_nothing,
    [FRAME_PING]                 = on_nothing,
    [FRAME_ACK]                  = on_ack,
    [FRAME_RESET_STREAM]         = on_stream,
    [FRAME_STOP_SENDING]         = on_stream,
    [FRAME_CRYPTO]               = on_crypto,
    [FRAME_NEW_TOKEN]            = on_new_token,
    [FRAME_STREAM]               = on_stream,
    [FRAME_MAX_DATA]             = on_stream,
    [FRAME_MAX_STREAM_DATA]      = on_stream,
    [FRAME_MAX_STREAMS_BIDI]     = on_stream,
    [FRAME_MAX_STREAMS_UNI]      = on_stream,
    [FRAME_DATA_BLOCKED]         = on_stream,
    [FRAME_STREAM_DATA_BLOCKED]  = on_stream,
    [FRAME_STREAMS_BLOCKED_BIDI] = on_stream,
    [FRAME_STREAMS_BLOCKED_UNI]  = on_stream,
    [FRAME_NEW_CONNECTION_ID]    = on_new_cid,
    [FRAME_RETIRE_CONNECTION_ID] = on_retire_cid,
    [FRAME_PATH_CHALLENGE]       = on_path_challenge,
    [FRAME_PATH_RESPONSE]        = on_path_response,
    [FRAME_CONNECTION_CLOSE]     = on_close,
    [FRAME_CONNECTION_CLOSE_APP] = on_close,
    [FRAME_HANDSHAKE_DONE]       = on_handshake_done,
    [FRAME_IMMEDIATE_ACK]        = on_immediate_ack,
    [FRAME_DATAGRAM]             = on_datagram,
    [FRAME_ACK_FREQUENCY]        = on_ack_frequency,
};
// clang-format on

static int dispatch(struct quic_conn *c, struct rx_packet *pkt, const struct frame_row *row,
                    const struct frame *f)
{
    if (row->flags & FRAME_FROM_SERVER && c->server)
        return QUIC_PROTOCOL_VIOLATION;
    if (row >= frame_table && row < frame_table + frame_table_len) {
        handler *h = row->first < ARRAY_LEN(handlers) ? handlers[row->first] : NULL;
        return h ? h(c, pkt, f) : QUIC_FRAME_ENCODING_ERROR;
    }
    return c->cfg.ext->on_frame(c->ext, pkt, f, c->now);
}

/*
 * What most packets consist of, past the table: a DATAGRAM without length, to the end of the
 * packet. It is legal at 1-RTT from either side, elicits an acknowledgement and probes nothing.
 */
static bool only_dgram(const struct quic_conn *c, const struct rx_packet *pkt,
                       const struct wire_r *r)
{
    return *r->p == FRAME_DATAGRAM && pkt->level == LEVEL_APP && conn_alive(c);
}

static int last_dgram(struct quic_conn *c, struct rx_packet *pkt, struct wire_r *r)
{
    struct span data = span_of(r->p + 1, wire_r_left(r) - 1);
    pkt->eliciting = true;
    pkt->probing = false;
    r->p = r->end;
    return take_dgram(c, pkt, data, false);
}

/* Any frame, by its row; its type to *type. `closing`: the connection is. */
static int one_frame(struct quic_conn *c, struct rx_packet *pkt, struct wire_r *r, bool closing,
                     uint64_t *type)
{
    struct frame f;
    const struct frame_row *row = NULL;
    /* Below 1-RTT an extension's frames are known for what they are: not allowed there. */
    bool early = pkt->level != LEVEL_APP && c->cfg.ext;
    const struct frame_row *rows = early ? c->cfg.ext->rows : c->ext_rows;
    int code = frame_decode(r, rows, early ? c->cfg.ext->n_rows : c->n_ext_rows, pkt->level, &f,
                            &row);
    *type = f.type;
    if (code)
        return code;
    pkt->eliciting |= row->flags & FRAME_ELICITING;
    pkt->probing &= (row->flags & FRAME_PROBING) != 0;
    /* While closing, only the peer's own close is of interest. */
    if (closing && row->first != FRAME_CONNECTION_CLOSE &&
        row->first != FRAME_CONNECTION_CLOSE_APP)
        return 0;
    return dispatch(c, pkt, row, &f);
}

int rx_frames(struct quic_conn *c, struct rx_packet *pkt, uint8_t *p, size_t n)
{
    struct wire_r r = wire_r_of(p, n);
    pkt->payload = p;
    pkt->probing = true;
    if (n == 0) {
        conn_fail(c, QUIC_PROTOCOL_VIOLATION, 0, "a packet without frames");
        return QUIC_PROTOCOL_VIOLATION;
    }
    while (wire_r_left(&r)) {
        bool closing = !conn_alive(c);
        uint64_t type = FRAME_DATAGRAM;
        int code = only_dgram(c, pkt, &r) ? last_dgram(c, pkt, &r)
                                          : one_frame(c, pkt, &r, closing, &type);
        if (code == QUIC_DROP)
            return code;
        if (code) {
            const struct frame_row *row = frame_find(type, c->ext_rows, c->n_ext_rows);
            conn_fail(c, (uint64_t)code, type, "%s in %s frame",
                      quic_error_name((uint64_t)code), row ? row->name : "unknown");
            return code;
        }
        if (!conn_alive(c) && !closing)
            return 0;
    }
    return 0;
}
