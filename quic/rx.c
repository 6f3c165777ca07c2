#include <stdlib.h>
#include <string.h>

#include "quic/conn_qlog.h"

/* Shortest datagram that may be a stateless reset (RFC 9000 10.3). */
#define RESET_MIN 21

#define BATCH 64 /* headers unmasked by one cipher call */

/* A datagram on its way through. */
struct rx_dgram {
    const struct quic_route *route;
    uint8_t ecn;
    ns_t time;
    size_t size;               /* of the datagram; not yet counted if `counted` is false */
    bool counted;              /* against the amplification limit */
    bool held;                 /* comes from the held packets */
    bool first;                /* looking at its first packet */
    struct span dcid;          /* of the first packet: the others must have the same */
    struct quic_path *path;    /* the path that the first packet named, */
    const struct quic_cid *id; /* and the ID of ours that it is */
    const uint8_t *mask;       /* for the header of the first packet; null: yet to be made */
};

/* Header protection masks for the short headers of a batch. */
struct rx_masks {
    uint8_t mask[BATCH][AEAD_MASK];
    uint8_t of[BATCH]; /* which one a datagram has; NO_MASK: none */
};
#define NO_MASK UINT8_MAX

/* What became of one packet. */
enum rx_result { RX_OK, RX_IGNORED, RX_UNKNOWN /* no ID of ours, or not authentic */ };

/* A packet that is not taken, for the reason that `counter` counts. */
static enum rx_result dropped(struct quic_conn *c, const struct packet_head *h,
                              uint64_t *counter, const char *trigger, enum rx_result result)
{
    ++*counter;
    CONN_QLOG(c, dropped, h, trigger);
    return result;
}

/* ---- packets without protection ------------------------------------------------------ */

static enum rx_result version_negotiation(struct quic_conn *c, const struct packet_head *h)
{
    struct span ours = cid_span(&c->local.initial_scid), theirs = cid_span(&c->original_dcid);
    if (c->server || c->got_packet || c->has_retry || h->dcid.n != ours.n ||
        memcmp(h->dcid.p, ours.p, ours.n) != 0 || h->scid.n != theirs.n ||
        memcmp(h->scid.p, theirs.p, theirs.n) != 0)
        return RX_IGNORED;
    struct span list = h->rest;
    uint32_t version;
    while (packet_next_version(&list, &version))
        if (version == QUIC_V1)
            return RX_IGNORED; /* RFC 9000 6.2 */
    conn_vanish(c, QUIC_CLOSE_VERSION, "the server speaks no QUIC version 1");
    return RX_OK;
}

static enum rx_result retry(struct quic_conn *c, const struct packet_head *h, const uint8_t *p)
{
    struct span ours = cid_span(&c->local.initial_scid);
    if (c->server || c->got_packet || c->has_retry || h->dcid.n != ours.n ||
        memcmp(h->dcid.p, ours.p, ours.n) != 0 || h->token.n > QUIC_TOKEN_MAX ||
        !retry_verify(&c->original_dcid, p, h->length))
        return RX_IGNORED;
    struct quic_cid scid = cid_of(h->scid);
    if (cid_eq(&scid, &c->original_dcid) ||
        !conn_keep_token(h->token, &c->token, &c->token_len))
        return RX_IGNORED;
    c->has_retry = true;
    c->retry_scid = scid;
    cid_remote_set_first(&c->path[0].theirs, &scid);
    if (conn_initial_keys(c, &scid) != 0) {
        conn_fail(c, QUIC_INTERNAL_ERROR, 0, "no memory for keys");
        return RX_OK;
    }
    /* Everything is said again, under the new keys; numbering goes on. */
    recovery_restart_space(&c->path[0].recovery, SPACE_INITIAL, c->now);
    struct sbuf *tx = &c->crypto[SPACE_INITIAL].tx;
    sbuf_on_lost(tx, tx->base, (size_t)(tx->next - tx->base), false);
    return RX_OK;
}

/* ---- packets that came before their keys --------------------------------------------- */

static enum rx_result hold(struct quic_conn *c, const struct rx_dgram *d,
                           const struct packet_head *h, const uint8_t *p)
{
    size_t n = h->length;
    if (d->held || c->n_held == CONN_HELD || n > CONN_HELD_BYTES)
        return dropped(c, h, &c->stats.drop_keys, "key_unavailable", RX_IGNORED);
    uint8_t *copy = malloc(n);
    if (!copy)
        return RX_IGNORED;
    memcpy(copy, p, n);
    c->held[c->n_held++] = (struct conn_held){
        .p = copy, .n = n, .route = *d->route, .ecn = d->ecn, .time = d->time};
    c->stats.buffered++;
    CONN_QLOG(c, buffered, h);
    return RX_IGNORED;
}

void rx_free_held(struct quic_conn *c, bool all)
{
    size_t kept = 0;
    for (size_t i = 0; i < c->n_held; i++) {
        if (all || c->held[i].done)
            free(c->held[i].p);
        else
            c->held[kept++] = c->held[i];
    }
    c->n_held = kept;
}

/* ---- protected packets --------------------------------------------------------------- */

static bool is_original(const struct quic_conn *c, struct span dcid)
{
    const struct quic_cid *first = conn_initial_dcid(c);
    return c->original_dcid_event != CONN_ODCID_NONE && dcid.n == first->len &&
           memcmp(dcid.p, first->b, dcid.n) == 0;
}

/* The path that the destination connection ID names; null if it names none of ours. */
static struct quic_path *find_path(struct quic_conn *c, struct rx_dgram *d,
                                   const struct packet_head *h)
{
    if (!d->first)
        return d->dcid.n == h->dcid.n && memcmp(d->dcid.p, h->dcid.p, h->dcid.n) == 0 ? d->path
                                                                                      : NULL;
    d->dcid = h->dcid;
    d->path = conn_path_by_cid(c, h->dcid, &d->id);
    if (!d->path && c->server && h->type == PACKET_INITIAL && is_original(c, h->dcid)) {
        d->path = &c->path[0];
        d->id = conn_initial_dcid(c);
    }
    return d->path;
}

/* Every byte attributed to the connection counts, understood or not (RFC 9000 8.1). */
static void count(struct quic_path *p, struct path_route *r, struct rx_dgram *d)
{
    if (d->counted || !r)
        return;
    d->counted = true;
    r->received += d->size;
    p->bytes_received += d->size;
}

/* A long header has to come from whom the first Initial came from (RFC 9000 7.2). */
static bool source_ok(const struct quic_conn *c, const struct packet_head *h)
{
    if (h->type == PACKET_1RTT || !c->has_peer_scid)
        return true;
    return h->scid.n == c->peer_scid.len && memcmp(h->scid.p, c->peer_scid.b, h->scid.n) == 0;
}

/*
 * Take the protection off: `*payload`, `*n` get the frames. Returns RX_OK, or what else
 * became of the packet; the connection may have failed.
 */
static enum rx_result open_packet(struct quic_conn *c, struct rx_packet *pkt,
                                  const struct rx_dgram *d, const struct packet_head *h,
                                  uint8_t *p, uint8_t **payload, size_t *n)
{
    struct aead *key = &c->keys.rx[pkt->level];
    struct ackrx *ack = &pkt->path->ack[pkt->space];
    size_t pnl;
    uint64_t truncated;
    if (d->first && d->mask)
        aead_unmask_head(p, h->pn_offset, d->mask, &pnl, &truncated);
    else if (aead_unprotect_head(key, p, h->length, h->pn_offset, &pnl, &truncated) != 0)
        return dropped(c, h, &c->stats.drop_crypt, "decryption_failure", RX_UNKNOWN);
    pkt->pn = pn_decode(truncated, pnl, ack->largest);
    size_t head = h->pn_offset + pnl;
    int r;
    if (pkt->level == LEVEL_APP)
        r = keys_open_app(c, pkt->path, pkt->pn, p[0] & 0x04, span_of(p, head), p + head,
                          h->length - head, &pkt->late);
    else
        r = aead_open(key, 0, pkt->pn, span_of(p, head), p + head, h->length - head);
    if (r > 0) {
        conn_fail(c, (uint64_t)r, 0, "%s", quic_error_name((uint64_t)r));
        return RX_OK;
    }
    if (r < 0) {
        if (++c->keys.failed >= aead_open_limit(key->id))
            conn_fail(c, QUIC_AEAD_LIMIT_REACHED, 0, "too many packets that don't open");
        return dropped(c, h, &c->stats.drop_crypt, "decryption_failure", RX_UNKNOWN);
    }
    if (ackrx_seen(ack, pkt->pn))
        return dropped(c, h, &c->stats.drop_duplicate, "duplicate", RX_IGNORED);
    if (p[0] & (pkt->level == LEVEL_APP ? 0x18 : 0x0c)) {
        conn_fail(c, QUIC_PROTOCOL_VIOLATION, 0, "reserved bits are set");
        return RX_OK;
    }
    *payload = p + head;
    *n = h->length - head - QUIC_TAG;
    return RX_OK;
}

/* What follows from a packet having been authentic, before its frames. */
static void authentic(struct quic_conn *c, struct rx_packet *pkt, const struct packet_head *h)
{
    if (!c->has_peer_scid && pkt->level == LEVEL_INITIAL) {
        c->peer_scid = cid_of(h->scid);
        c->has_peer_scid = true;
        cid_remote_set_first(&pkt->path->theirs, &c->peer_scid);
    }
    c->got_packet = true;
    c->eliciting_since_rx = false;
    pkt->sign = ns_sub(c->now, pkt->path->last_received) >= CONN_SIGN_AFTER;
    pkt->path->last_received = c->now;
    pkt->path->packets_received++;
    if (c->server && pkt->level == LEVEL_HANDSHAKE)
        pkt->route->validated = true; /* RFC 9000 8.1 */
    c->heard = true;
}

/* And after them. */
static void processed(struct quic_conn *c, struct rx_packet *pkt, const struct rx_dgram *d)
{
    ackrx_add(&pkt->path->ack[pkt->space], pkt->pn, pkt->eliciting, d->ecn, d->time);
    if (pkt->level == LEVEL_APP)
        conn_path_follow(c, pkt->path, pkt->route, pkt->pn, pkt->probing, pkt->dcid);
    if (pkt->level == LEVEL_APP && pkt->sign && path_silent(pkt->path))
        conn_path_ping(pkt->path);
    if (pkt->crypto)
        conn_tls_run(c);
    if (pkt->level != LEVEL_APP && pkt->eliciting && !pkt->fresh)
        conn_early_repeat(c);
    if (c->server && pkt->level == LEVEL_HANDSHAKE)
        conn_discard(c, LEVEL_INITIAL); /* RFC 9001 4.9.1 */
}

static enum rx_result protected_packet(struct quic_conn *c, struct rx_dgram *d,
                                       const struct packet_head *h, uint8_t *p)
{
    enum quic_level level = packet_level(h->type);
    struct quic_path *path = find_path(c, d, h);
    if (!path)
        return dropped(c, h, &c->stats.drop_cid, "connection_unknown", RX_UNKNOWN);
    struct rx_packet pkt = {
        .path = path,
        .route = path_find(path, d->route),
        .level = level,
        .space = space_of(level),
        .dcid = d->id,
    };
    count(path, pkt.route, d);
    if (h->type == PACKET_INITIAL && c->server && d->size < QUIC_MIN_DATAGRAM)
        return dropped(c, h, &c->stats.drop_small, "invalid", RX_IGNORED);
    if (h->type == PACKET_INITIAL && !c->server && h->token.n) /* RFC 9000 17.2.2 */
        return dropped(c, h, &c->stats.drop_parse, "invalid", RX_IGNORED);
    if (!source_ok(c, h))
        return dropped(c, h, &c->stats.drop_cid, "connection_unknown", RX_IGNORED);
    if (level == LEVEL_EARLY || c->keys.discarded & FRAME_AT(level) ||
        (path->id && level != LEVEL_APP)) {
        /* The client still says its Finished: it doesn't know yet that it arrived. */
        if (c->server && level == LEVEL_HANDSHAKE && !c->done_acked)
            c->done_due = true;
        return dropped(c, h, &c->stats.drop_keys, "key_unavailable", RX_IGNORED);
    }
    if (!aead_ready(&c->keys.rx[level]) || (level == LEVEL_APP && !c->complete)) {
        conn_early_missing(c, level);
        return hold(c, d, h, p);
    }
    uint8_t *payload = NULL;
    size_t n = 0;
    enum rx_result result = open_packet(c, &pkt, d, h, p, &payload, &n);
    if (result != RX_OK || !payload)
        return result;
    if (!pkt.route)
        pkt.route = conn_path_route(c, path, d->route, pkt.dcid);
    if (!pkt.route)
        return dropped(c, h, &c->stats.drop_cid, "rejected", RX_IGNORED);
    count(path, pkt.route, d);
    authentic(c, &pkt, h);
    CONN_QLOG(c, received, &pkt, h, d->held, span_of(payload, n));
    if (rx_frames(c, &pkt, payload, n) == 0 && conn_alive(c))
        processed(c, &pkt, d);
    return RX_OK;
}

static enum rx_result one_packet(struct quic_conn *c, struct rx_dgram *d,
                                 const struct packet_head *h, uint8_t *p)
{
    enum rx_result r;
    switch (h->type) {
    case PACKET_VERSION_NEGOTIATION:
        r = version_negotiation(c, h);
        break;
    case PACKET_RETRY:
        r = retry(c, h, p);
        break;
    case PACKET_OTHER_VERSION:
        return dropped(c, h, &c->stats.drop_version, "unsupported", RX_IGNORED);
    default:
        return protected_packet(c, d, h, p);
    }
    if (r == RX_OK)
        CONN_QLOG(c, bare, h);
    return r;
}

/* ---- datagrams ----------------------------------------------------------------------- */

static void maybe_reset(struct quic_conn *c, const uint8_t *p, size_t n)
{
    if (n < RESET_MIN || !conn_alive(c))
        return;
    for (size_t i = 0; i < c->n_paths; i++) {
        if (!c->path[i].used || !cid_remote_is_reset_token(&c->path[i].theirs, p + n - 16))
            continue;
        struct quic_close_info why = {.kind = QUIC_CLOSE_RESET,
                                      .text = "the peer has forgotten this connection"};
        conn_close(c, &why, false);
        return;
    }
}

/*
 * A peer that knows our parameters may clear the bit that version 1 has set (RFC 9287 3.1); a
 * server knows them from the ClientHello, so before we know anything of it.
 */
static int parse(const struct quic_conn *c, const uint8_t *p, size_t n, struct packet_head *h)
{
    return c->has_peer || !c->server ? packet_parse_greased(p, n, c->cfg.cid_len, h)
                                     : packet_parse(p, n, c->cfg.cid_len, h);
}

static void datagram(struct quic_conn *c, struct rx_dgram *d, uint8_t *p, size_t n)
{
    size_t at = 0;
    d->first = true;
    while (at < n && c->state < CONN_DRAINING) {
        struct packet_head h;
        if (parse(c, p + at, n - at, &h) != 0) {
            c->stats.drop_parse++;
            CONN_QLOG(c, unparsed, n - at);
            if (d->first)
                maybe_reset(c, p, n);
            return;
        }
        enum rx_result r = one_packet(c, d, &h, p + at);
        if (r == RX_UNKNOWN && d->first)
            maybe_reset(c, p, n);
        d->first = false;
        at += h.length;
    }
}

void rx_held(struct quic_conn *c)
{
    while (c->held_ready && conn_alive(c)) {
        c->held_ready = false;
        for (size_t i = 0; i < c->n_held && conn_alive(c); i++) {
            struct conn_held *held = &c->held[i];
            struct packet_head h;
            if (held->done || parse(c, held->p, held->n, &h) != 0)
                continue;
            enum quic_level level = packet_level(h.type);
            bool over = c->keys.discarded & FRAME_AT(level);
            if (!over &&
                (!aead_ready(&c->keys.rx[level]) || (level == LEVEL_APP && !c->complete)))
                continue;
            struct rx_dgram d = {.route = &held->route,
                                 .ecn = held->ecn,
                                 .time = held->time,
                                 .size = QUIC_MIN_DATAGRAM,
                                 .counted = true,
                                 .held = true,
                                 .first = true};
            held->done = true;
            one_packet(c, &d, &h, held->p);
        }
    }
}

/* While closing, the close is repeated at the 1st, 2nd, 4th, 8th ... packet that comes. */
static void count_closing(struct quic_conn *c)
{
    if (c->state != CONN_CLOSING || ++c->close_got < c->close_answer_at)
        return;
    c->close_answer_at *= 2;
    c->close_due = true;
}

/*
 * The masks of the datagrams that begin with a short header, as far as there is anything to unmask
 * them with. They depend on nothing that another packet of the batch may change: the header key
 * outlives key updates (RFC 9001 6). Without its mask a header gets one later on its own.
 */
static void make_masks(struct quic_conn *c, const struct quic_rx *rx, size_t n,
                       struct rx_masks *m)
{
    struct aead *key = &c->keys.rx[LEVEL_APP];
    size_t at = 1u + c->cfg.cid_len + 4, count = 0;
    uint8_t sample[BATCH][AEAD_SAMPLE];
    bool ready = n > 1 && c->complete && aead_ready(key);
    for (size_t i = 0; i < n; i++) {
        m->of[i] = NO_MASK;
        if (!ready || rx[i].n < at + AEAD_SAMPLE || rx[i].p[0] & 0x80)
            continue;
        memcpy(sample[count], rx[i].p + at, AEAD_SAMPLE);
        m->of[i] = (uint8_t)count++;
    }
    if (count && aead_masks(key, (const uint8_t(*)[AEAD_SAMPLE])sample, count, m->mask) != 0)
        memset(m->of, NO_MASK, n);
}

/* At most BATCH datagrams. `closed`: the connection was when the call began. */
static void batch(struct quic_conn *c, struct quic_rx *rx, size_t n, bool closed)
{
    struct rx_masks m;
    make_masks(c, rx, n, &m);
    for (size_t i = 0; i < n && c->state < CONN_DRAINING; i++) {
        struct rx_dgram d = {.route = &rx[i].route,
                             .ecn = rx[i].ecn,
                             .time = c->now,
                             .size = rx[i].n,
                             .mask = m.of[i] == NO_MASK ? NULL : m.mask[m.of[i]]};
        if (closed)
            count_closing(c);
        datagram(c, &d, rx[i].p, rx[i].n);
        if (c->held_ready)
            rx_held(c);
    }
}

int quic_recv(struct quic_conn *c, struct quic_rx *rx, size_t n, ns_t now)
{
    c->now = now;
    if (c->state >= CONN_DRAINING)
        return QUIC_CLOSED;
    bool closed = !conn_alive(c);
    rx_free_held(c, false);
    c->stats.drop_dgram += c->dgram_n - c->dgram_first;
    c->dgram_first = c->dgram_n = 0;
    streams_time(&c->streams, now, conn_rtt(c));
    for (size_t at = 0; at < n && c->state < CONN_DRAINING; at += BATCH)
        batch(c, rx + at, n - at < BATCH ? n - at : BATCH, closed);
    if (c->heard)
        conn_restart_idle(c);
    c->heard = false;
    conn_tell_recovery(c);
    CONN_QLOG(c, update);
    if (closed)
        return QUIC_CLOSED;
    return conn_alive(c) || c->close.app ? 0 : (int)c->close.code;
}

size_t quic_dgram_recv(struct quic_conn *c, struct quic_dgram_rx *out, size_t max)
{
    size_t n = c->dgram_n - c->dgram_first;
    if (n > max)
        n = max;
    if (n)
        memcpy(out, &c->dgram[c->dgram_first], n * sizeof(*out));
    c->dgram_first += n;
    return n;
}
