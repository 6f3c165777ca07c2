#include <stdlib.h>
#include <string.h>

#include "quic/conn.h"

#define GREASE_MAX 15 /* bytes of a reserved transport parameter's value */

/* ---- transport parameters ------------------------------------------------------------ */

/* The preferred address takes our second connection ID with it (RFC 9000 5.1.1). */
static void announce_preferred(struct quic_conn *c, struct tparams *t)
{
    const struct quic_addr *ip4 = &c->cfg.preferred[0], *ip6 = &c->cfg.preferred[1];
    struct cid_local *ours = &c->path[0].ours;
    struct cid_issue issue;
    if (!ip4->family && !ip6->family)
        return;
    cid_local_set_limit(ours, 2); /* the least that a peer allows */
    if (!cid_local_next(ours, &issue))
        return;
    cid_local_on_sent(ours, issue.seq);
    cid_local_on_acked(ours, issue.seq); /* the handshake does not go on without it */
    t->has_preferred = true;
    t->preferred = (struct tparam_preferred){.cid = issue.cid};
    memcpy(t->preferred.token, issue.token, sizeof(issue.token));
    if (ip4->family == 4) {
        memcpy(t->preferred.ip4, ip4->ip, 4);
        t->preferred.port4 = ip4->port;
    }
    if (ip6->family == 6) {
        memcpy(t->preferred.ip6, ip6->ip, 16);
        t->preferred.port6 = ip6->port;
    }
}

static void local_params(struct quic_conn *c)
{
    const struct quic_config *cfg = &c->cfg;
    struct quic_cid scid = c->local.initial_scid;
    struct tparams *t = &c->local;
    tparams_default(t);
    t->max_idle_timeout = cfg->idle;
    t->max_ack_delay = cfg->max_ack_delay;
    t->ack_delay_exponent = CONN_ACK_EXPONENT;
    t->initial_max_data = cfg->conn_window;
    t->initial_max_stream_data_bidi_local = cfg->stream_window;
    t->initial_max_stream_data_bidi_remote = cfg->stream_window;
    t->initial_max_stream_data_uni = cfg->stream_window;
    t->initial_max_streams_bidi = cfg->streams_bidi;
    t->initial_max_streams_uni = cfg->streams_uni;
    t->min_ack_delay_us = conn_min_ack_delay_us(c);
    t->active_connection_id_limit = CONN_CID_LIMIT;
    t->max_datagram_frame_size = cfg->max_datagram_frame_size;
    t->grease_quic_bit = true;
    t->has_initial_scid = true;
    t->initial_scid = scid;
    if (c->server) {
        t->has_original_dcid = true;
        t->original_dcid = c->original_dcid;
        t->has_retry_scid = c->has_retry;
        t->retry_scid = c->retry_scid;
        t->has_reset_token = stateless_reset_token(c->reset_key, &scid, t->reset_token) == 0;
        announce_preferred(c, t);
    }
}

/* One of the reserved parameters, so that nobody relies on knowing all (RFC 9000 18.1). */
static void grease_params(struct quic_conn *c, struct wire_w *w)
{
    uint8_t noise[GREASE_MAX + 3];
    rng_fill(&c->cfg.rng, noise, sizeof(noise));
    uint64_t n = (uint64_t)noise[0] << 8 | noise[1];
    tparam_put_bytes(w, 27 + 31 * n, span_of(noise + 3, noise[2] % (GREASE_MAX + 1)));
}

int conn_tls_start(struct quic_conn *c, const char *server_name)
{
    uint8_t buf[CONN_TPARAMS], extra[CONN_TPARAMS / 2];
    struct wire_w w = wire_w_of(buf, sizeof(buf)), x = wire_w_of(extra, sizeof(extra));
    local_params(c);
    if (c->ext && c->cfg.ext->tparams)
        c->cfg.ext->tparams(c->ext, &x);
    grease_params(c, &x);
    if (x.failed)
        return QUIC_INVAL;
    struct span more = span_of(extra, (size_t)(x.p - extra));
    int r = tparams_encode(&w, &c->local, c->server, more);
    if (r)
        return r;
    c->tls = tls_new(c->cfg.tls, server_name, span_of(buf, (size_t)(w.p - buf)));
    return c->tls ? 0 : QUIC_NOMEM;
}

/* A preferred address may not be followed, but its connection ID counts (RFC 9000 5.1.1). */
static int add_preferred(struct quic_conn *c)
{
    struct frame_new_cid f = {.seq = 1, .cid = c->peer.preferred.cid};
    memcpy(f.token, c->peer.preferred.token, sizeof(f.token));
    return cid_remote_add(&c->path[0].theirs, &f, CONN_CID_LIMIT);
}

static int negotiate_ext(struct quic_conn *c, struct span blob)
{
    bool on = false;
    int r = c->cfg.ext->on_peer_tparams(c->ext, blob, &on);
    if (r == 0 && on) {
        c->ext_rows = c->cfg.ext->rows;
        c->n_ext_rows = c->cfg.ext->n_rows;
    }
    return r;
}

static ns_t negotiate_idle(ns_t ours, ns_t theirs)
{
    if (!ours || !theirs)
        return ours ? ours : theirs;
    return ns_min(ours, theirs);
}

static void peer_params(struct quic_conn *c, struct span blob)
{
    int r = tparams_decode(blob, !c->server, &c->peer);
    if (r == 0)
        r = tparams_check_cids(&c->peer, !c->server, &c->peer_scid, &c->original_dcid,
                               c->has_retry ? &c->retry_scid : NULL);
    struct quic_path *p = &c->path[0];
    if (r == 0 && c->peer.has_preferred && c->peer_scid.len)
        r = add_preferred(c);
    if (r == 0 && c->ext)
        r = negotiate_ext(c, blob);
    if (r) {
        conn_fail(c, r > 0 ? (uint64_t)r : QUIC_INTERNAL_ERROR, FRAME_CRYPTO,
                  "the peer's transport parameters are not acceptable");
        return;
    }
    c->has_peer = true;
    c->idle = negotiate_idle(c->cfg.idle, c->peer.max_idle_timeout);
    conn_restart_idle(c);
    streams_set_peer(&c->streams, &c->peer);
    conn_acks_start(c);
    cid_local_set_limit(&p->ours, c->peer.active_connection_id_limit);
    if (c->peer.has_reset_token)
        cid_remote_set_first_token(&p->theirs, c->peer.reset_token);
    if (c->peer.max_udp_payload_size < c->cfg.max_udp_payload)
        mtu_set_max(&p->mtu, c->peer.max_udp_payload_size, c->now);
}

/* ---- keys ---------------------------------------------------------------------------- */

int conn_initial_keys(struct quic_conn *c, const struct quic_cid *dcid)
{
    struct aead client, server;
    int r = aead_initial(&client, &server, dcid, c->server);
    if (r)
        return r;
    aead_free(&c->keys.rx[LEVEL_INITIAL]);
    aead_free(&c->keys.tx[LEVEL_INITIAL]);
    c->keys.tx[LEVEL_INITIAL] = c->server ? server : client;
    c->keys.rx[LEVEL_INITIAL] = c->server ? client : server;
    return 0;
}

static void install(struct quic_conn *c, const struct tls_secret *s)
{
    if (s->level == LEVEL_EARLY)
        return;
    struct aead *a = s->write ? &c->keys.tx[s->level] : &c->keys.rx[s->level];
    int r = aead_init(a, s->aead, span_of(s->b, s->n), s->write);
    if (r == 0 && s->level == LEVEL_APP && !s->write)
        r = keys_prepare(c);
    if (r)
        conn_fail(c, QUIC_INTERNAL_ERROR, FRAME_CRYPTO, "no memory for keys");
    c->held_ready |= !s->write;
}

void conn_discard(struct quic_conn *c, enum quic_level level)
{
    enum quic_space space = space_of(level);
    if (!aead_ready(&c->keys.rx[level]) && !aead_ready(&c->keys.tx[level]))
        return;
    aead_free(&c->keys.rx[level]);
    aead_free(&c->keys.tx[level]);
    sbuf_free(&c->crypto[space].tx);
    sbuf_init(&c->crypto[space].tx, 0);
    rbuf_free(&c->crypto[space].rx);
    rbuf_init(&c->crypto[space].rx, 0);
    recovery_discard_space(&c->path[0].recovery, space, c->now);
    ackrx_free(&c->path[0].ack[space]);
    ackrx_init(&c->path[0].ack[space], 0);
    c->keys.discarded |= FRAME_AT(level);
}

/* ---- the order of the handshake ------------------------------------------------------ */

void conn_confirm(struct quic_conn *c)
{
    if (c->confirmed)
        return;
    c->confirmed = true;
    conn_discard(c, LEVEL_INITIAL);
    conn_discard(c, LEVEL_HANDSHAKE);
    mtu_start(&c->path[0].mtu, c->now);
    if (c->original_dcid_event != CONN_ODCID_NONE)
        c->original_dcid_event = CONN_ODCID_REMOVED;
    conn_path_preferred(c);
    conn_event(c, QUIC_EV_CONFIRMED, 0, 0, 0);
    conn_tell_recovery(c);
}

void conn_issue_token(struct quic_conn *c, const struct quic_addr *addr)
{
    uint8_t token[TOKEN_NEW_SIZE];
    if (!c->has_token_key || token_seal_new(&c->token_key, &c->cfg.rng, addr, c->now, token) != 0)
        return;
    c->new_tokens++;
    c->new_token_due =
        conn_keep_token(span_of(token, sizeof(token)), &c->new_token, &c->new_token_len);
}

static void complete(struct quic_conn *c)
{
    c->complete = true;
    c->state = CONN_OPEN;
    c->timer[CONN_TIMER_HANDSHAKE] = NS_NEVER;
    c->held_ready = true;
    conn_event(c, QUIC_EV_HANDSHAKE_DONE, 0, 0, 0);
    if (tls_resumed(c->tls))
        LOG_AT(c->cfg.log, LOG_DEBUG, "quic: the TLS session of a former connection goes on");
    conn_restart_idle(c);
    if (c->server) {
        c->done_due = true;
        conn_confirm(c);
        conn_issue_token(c, &path_current(&c->path[0])->route.remote);
    }
}

static void fail_tls(struct quic_conn *c, int code)
{
    const char *text = tls_error_text(c->tls);
    conn_fail(c, code > 0 ? (uint64_t)code : QUIC_INTERNAL_ERROR, FRAME_CRYPTO, "%s",
              text[0] ? text : quic_error_name((uint64_t)code));
}

/* Hand over what is in order, each level to its own. */
static int feed(struct quic_conn *c)
{
    static const enum quic_level level[] = {LEVEL_INITIAL, LEVEL_HANDSHAKE, LEVEL_APP};
    for (size_t i = 0; i < ARRAY_LEN(level); i++) {
        struct rbuf *rx = &c->crypto[space_of(level[i])].rx;
        for (struct span s; (s = rbuf_peek(rx, NULL)).n; rbuf_consume(rx, s.n)) {
            int r = tls_feed(c->tls, level[i], s);
            if (r)
                return r;
        }
    }
    return 0;
}

static void take_out(struct quic_conn *c)
{
    enum quic_level level;
    struct span out;
    while (tls_next_out(c->tls, &level, &out)) {
        size_t taken = 0;
        int r = sbuf_write(&c->crypto[space_of(level)].tx, out, &taken);
        if (r || taken == 0) {
            conn_fail(c, QUIC_INTERNAL_ERROR, FRAME_CRYPTO, "no room for handshake data");
            return;
        }
        tls_out_done(c->tls, level, taken);
    }
}

void conn_tls_run(struct quic_conn *c)
{
    int r = feed(c);
    if (r == 0)
        r = tls_step(c->tls);
    if (r) {
        fail_tls(c, r);
        return;
    }
    struct tls_secret secret;
    while (conn_alive(c) && tls_next_secret(c->tls, &secret))
        install(c, &secret);
    explicit_bzero(&secret, sizeof(secret));
    if (conn_alive(c))
        take_out(c);
    struct span params = tls_peer_tparams(c->tls);
    if (conn_alive(c) && !c->has_peer && params.n)
        peer_params(c, params);
    if (conn_alive(c) && !c->complete && tls_done(c->tls))
        complete(c);
    conn_tell_recovery(c);
}
