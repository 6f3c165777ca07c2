#include "quic/conn_qlog.h"

#include <stdlib.h>
#include <string.h>

#include "quic/qlog.h"

/* What was last told of a path. */
struct seen_path {
    bool used, told;
    struct quic_route route;
    size_t mtu;
    ns_t min_rtt, smoothed, latest, variation;
    unsigned pto_count;
    uint64_t cwnd, in_flight, ssthresh, pacing_bps;
    const char *congestion;
    enum ecn_state ecn;
    ns_t timer;
};

struct conn_qlog {
    struct qlog log;
    bool has_peer, handshake, complete, confirmed, alpn, closed;
    enum conn_state state;
    unsigned keys[2];   /* FRAME_AT bits of levels with keys, [1]: to send with */
    unsigned discarded; /* the same of levels that are over */
    bool phase[2];
    uint64_t generation[2];
    const char *state_name;
    struct seen_path path[]; /* cfg.max_paths */
};

/* ---- packets ------------------------------------------------------------------------- */

void conn_qlog_log_sent(struct quic_conn *c, const struct conn_qlog_sent *s)
{
    static const enum packet_type types[LEVEL_N] = {PACKET_INITIAL, PACKET_0RTT,
                                                    PACKET_HANDSHAKE, PACKET_1RTT};
    struct qlog_packet p = {
        .type = types[s->level],
        .pn = s->pn,
        .dcid = cid_span(s->dcid),
        .scid = cid_span(&c->local.initial_scid),
        .token_n = s->level == LEVEL_INITIAL ? c->token_len : 0,
        .bytes = s->bytes,
        .path = s->path->id,
        .level = s->level,
        .frames = s->frames,
        .dgram_rest = s->dgram_rest,
        .ack_exponent = s->level == LEVEL_APP ? CONN_ACK_EXPONENT : 0,
        .rows = c->ext_rows,
        .n_rows = c->n_ext_rows,
        .key_phase = c->keys.tx_phase,
        .mtu_probe = s->mtu_probe,
    };
    qlog_packet_sent(&c->qlog->log, &p, c->now);
}

/* What the header tells. */
static struct qlog_packet of_head(const struct packet_head *h)
{
    return (struct qlog_packet){
        .type = h->type,
        .pn = QUIC_PN_NONE,
        .dcid = h->dcid,
        .scid = h->scid,
        .token_n = h->token.n,
        .bytes = h->length,
        .level = packet_level(h->type),
    };
}

void conn_qlog_log_received(struct quic_conn *c, const struct rx_packet *pkt,
                            const struct packet_head *h, bool held, struct span frames)
{
    struct qlog_packet p = of_head(h);
    p.pn = pkt->pn;
    p.path = pkt->path->id;
    p.frames = frames;
    p.ack_exponent = pkt->level == LEVEL_APP ? (unsigned)c->peer.ack_delay_exponent : 0;
    p.rows = c->ext_rows;
    p.n_rows = c->n_ext_rows;
    p.key_phase = c->keys.rx_phase != pkt->late;
    p.buffered = held;
    qlog_packet_received(&c->qlog->log, &p, c->now);
}

void conn_qlog_log_bare(struct quic_conn *c, const struct packet_head *h)
{
    struct qlog_packet p = of_head(h);
    qlog_packet_received(&c->qlog->log, &p, c->now);
}

void conn_qlog_log_dropped(struct quic_conn *c, const struct packet_head *h,
                           const char *trigger)
{
    struct qlog_packet p = of_head(h);
    qlog_packet_event(&c->qlog->log, "transport:packet_dropped", trigger, &p, c->now);
}

void conn_qlog_log_unparsed(struct quic_conn *c, size_t bytes)
{
    struct qlog_packet p = {.type = PACKET_OTHER_VERSION, .pn = QUIC_PN_NONE, .bytes = bytes};
    qlog_packet_event(&c->qlog->log, "transport:packet_dropped", "invalid", &p, c->now);
}

void conn_qlog_log_buffered(struct quic_conn *c, const struct packet_head *h)
{
    struct qlog_packet p = of_head(h);
    qlog_packet_event(&c->qlog->log, "transport:packet_buffered", "keys_unavailable", &p,
                      c->now);
}

void conn_qlog_log_lost(struct quic_conn *c, const struct quic_path *path,
                        const struct verdict *v)
{
    static const enum packet_type types[SPACE_N] = {PACKET_INITIAL, PACKET_HANDSHAKE,
                                                    PACKET_1RTT};
    struct qlog_packet p = {.type = types[v->space],
                            .pn = v->pn,
                            .path = path->id,
                            .bytes = v->pkt->bytes,
                            .mtu_probe = v->pkt->flags & SENT_PROBE};
    qlog_packet_event(&c->qlog->log, "recovery:packet_lost", NULL, &p, c->now);
}

/* ---- the beginning ------------------------------------------------------------------- */

static void ip(struct json *j, const char *ip_key, const char *port_key,
               const struct quic_addr *a, uint8_t family)
{
    char text[QUIC_ADDR_TEXT];
    struct quic_addr any = {.family = family};
    size_t open = family == 6;
    quic_addr_text(a->family ? a : &any, text);
    size_t n = (size_t)(strrchr(text, ':') - text);
    json_bytes(j, ip_key, span_of(text + open, n - 2 * open));
    if (a->family)
        json_number(j, port_key, a->port);
}

static void started(struct quic_conn *c, struct qlog *q)
{
    const struct quic_route *r = &path_current(&c->path[0])->route;
    struct json *j = qlog_begin(q, "connectivity:connection_started", 0, c->now);
    json_text(j, "ip_version", r->remote.family == 6 ? "ipv6" : "ipv4");
    ip(j, "src_ip", "src_port", &r->local, r->remote.family);
    ip(j, "dst_ip", "dst_port", &r->remote, r->remote.family);
    json_text(j, "protocol", "QUIC");
    json_hex(j, "src_cid", cid_span(&c->local.initial_scid));
    json_hex(j, "dst_cid", cid_span(c->server ? &c->peer_scid : &c->original_dcid));
    qlog_end(q, c->now);
}

static void recovery_parameters(struct quic_conn *c, struct qlog *q)
{
    const struct recovery *r = &c->path[0].recovery;
    struct json *j = qlog_begin(q, "recovery:parameters_set", 0, c->now);
    json_number(j, "reordering_threshold", reorder_packets(&r->reorder));
    json_number(j, "persistent_congestion_threshold", RECOVERY_PERSISTENT);
    json_number(j, "timer_granularity", 1);
    json_ms(j, "initial_rtt", r->initial_rtt);
    json_number(j, "max_datagram_size", r->cc.mss);
    json_number(j, "initial_congestion_window", cc_initial_window(r->cc.mss));
    json_number(j, "minimum_congestion_window", cc_min_window(&r->cc));
    json_text(j, "congestion_controller", r->cc.ops->name);
    qlog_end(q, c->now);
}

static void state(struct quic_conn *c, const char *name)
{
    struct conn_qlog *s = c->qlog;
    struct json *j = qlog_begin(&s->log, "connectivity:connection_state_updated", 0, c->now);
    if (s->state_name)
        json_text(j, "old", s->state_name);
    json_text(j, "new", name);
    s->state_name = name;
    qlog_end(&s->log, c->now);
}

void conn_qlog_start(struct quic_conn *c)
{
    if (!c->cfg.qlog)
        return;
    struct conn_qlog *s = calloc(1, sizeof(*s) + c->cfg.max_paths * sizeof(struct seen_path));
    if (!s)
        return;
    if (qlog_init(&s->log, c->cfg.qlog, &c->original_dcid, c->server, c->now) != 0) {
        free(s);
        return;
    }
    c->qlog = s;
    started(c, &s->log);
    state(c, "attempted");
    struct json *j = qlog_begin(&s->log, "transport:version_information", 0, c->now);
    json_open(j, c->server ? "server_versions" : "client_versions", '[');
    json_text(j, NULL, "00000001");
    json_close(j, ']');
    json_text(j, "chosen_version", "00000001");
    qlog_end(&s->log, c->now);
    qlog_parameters(&s->log, &c->local, true, NULL, c->now);
    recovery_parameters(c, &s->log);
    conn_qlog_log_update(c);
}

void conn_qlog_stop(struct quic_conn *c)
{
    if (!c->qlog)
        return;
    conn_qlog_log_update(c);
    if (c->state != CONN_DRAINED)
        state(c, "closed");
    qlog_free(&c->qlog->log);
    free(c->qlog);
    c->qlog = NULL;
}

/* ---- keys ---------------------------------------------------------------------------- */

static const char *key_name(bool of_server, enum quic_level level)
{
    static const char *const names[LEVEL_N][2] = {
        {"client_initial_secret", "server_initial_secret"},
        {"client_0rtt_secret", "server_0rtt_secret"},
        {"client_handshake_secret", "server_handshake_secret"},
        {"client_1rtt_secret", "server_1rtt_secret"},
    };
    return names[level][of_server];
}

static void key(struct quic_conn *c, const char *event, bool write, int level,
                const char *trigger)
{
    struct conn_qlog *s = c->qlog;
    struct json *j = qlog_begin(&s->log, event, 0, c->now);
    json_text(j, "key_type", key_name(c->server == write, (enum quic_level)level));
    if (level == LEVEL_APP)
        json_number(j, "generation", s->generation[write]);
    json_text(j, "trigger", trigger);
    qlog_end(&s->log, c->now);
}

static void keys(struct quic_conn *c)
{
    struct conn_qlog *s = c->qlog;
    const struct conn_keys *k = &c->keys;
    for (int l = 0; l < LEVEL_N; l++) {
        for (int write = 0; write < 2; write++) {
            bool is = aead_ready(write ? &k->tx[l] : &k->rx[l]);
            bool was = s->keys[write] & FRAME_AT(l);
            if (is && !was)
                key(c, "security:key_updated", write, l, "tls");
            else if (was && !is)
                key(c, "security:key_discarded", write, l, "tls");
            s->keys[write] = is ? s->keys[write] | FRAME_AT(l) : s->keys[write] & ~FRAME_AT(l);
        }
    }
    /* Both at once: the peer's update and our answer; ours alone: our own. */
    const bool now[2] = {k->rx_phase, k->tx_phase};
    const bool changed[2] = {now[0] != s->phase[0], now[1] != s->phase[1]};
    for (int write = 0; write < 2; write++) {
        if (!changed[write])
            continue;
        s->generation[write]++;
        bool ours = write ? !changed[0] : !changed[1];
        key(c, "security:key_updated", write, LEVEL_APP,
            ours ? "local_update" : "remote_update");
        s->phase[write] = now[write];
    }
}

/* ---- handshake and close ------------------------------------------------------------- */

static const char *cipher_name(const struct quic_conn *c)
{
    static const char *const names[] = {
        [AEAD_AES_128_GCM] = "AES_128_GCM_SHA256",
        [AEAD_AES_256_GCM] = "AES_256_GCM_SHA384",
        [AEAD_CHACHA20_POLY1305] = "CHACHA20_POLY1305_SHA256",
    };
    const struct aead *a = &c->keys.tx[LEVEL_HANDSHAKE];
    if (!aead_ready(a))
        a = &c->keys.tx[LEVEL_APP];
    return aead_ready(a) ? names[a->id] : NULL;
}

static void alpn(struct quic_conn *c)
{
    struct json *j = qlog_begin(&c->qlog->log, "transport:alpn_information", 0, c->now);
    json_text(j, "chosen_alpn", quic_alpn(c));
    qlog_end(&c->qlog->log, c->now);
}

static void closed(struct quic_conn *c)
{
    static const char *const triggers[] = {
        [QUIC_CLOSE_NONE] = "clean",
        [QUIC_CLOSE_LOCAL] = "error",
        [QUIC_CLOSE_PEER] = "error",
        [QUIC_CLOSE_IDLE] = "idle_timeout",
        [QUIC_CLOSE_HANDSHAKE] = "handshake_timeout",
        [QUIC_CLOSE_RESET] = "stateless_reset",
        [QUIC_CLOSE_VERSION] = "version_mismatch",
    };
    const struct quic_close_info *i = &c->close;
    struct json *j = qlog_begin(&c->qlog->log, "connectivity:connection_closed", 0, c->now);
    json_text(j, "owner",
              i->kind == QUIC_CLOSE_PEER || i->kind == QUIC_CLOSE_RESET ? "remote" : "local");
    json_number(j, i->app ? "application_code" : "connection_code", i->code);
    json_text(j, "reason", c->close_text);
    json_text(j, "trigger", i->app ? "application" : triggers[i->kind]);
    qlog_end(&c->qlog->log, c->now);
}

static void life(struct quic_conn *c)
{
    struct conn_qlog *s = c->qlog;
    if (c->has_peer && !s->has_peer)
        qlog_parameters(&s->log, &c->peer, false, cipher_name(c), c->now);
    if (aead_ready(&c->keys.tx[LEVEL_HANDSHAKE]) && !s->handshake) {
        s->handshake = true;
        state(c, "handshake_started");
    }
    if (c->complete && !s->complete) {
        state(c, "handshake_complete");
        alpn(c);
    }
    if (c->confirmed && !s->confirmed)
        state(c, "handshake_confirmed");
    s->has_peer = c->has_peer;
    s->complete = c->complete;
    s->confirmed = c->confirmed;
    if (c->state == s->state || c->state < CONN_CLOSING)
        return;
    s->state = c->state;
    if (!s->closed)
        closed(c);
    s->closed = true;
    state(c, c->state == CONN_CLOSING    ? "closing"
             : c->state == CONN_DRAINING ? "draining"
                                         : "closed");
}

/* ---- paths --------------------------------------------------------------------------- */

static void route(struct quic_conn *c, const struct quic_path *p, struct seen_path *s)
{
    const struct quic_route *r = &p->route[p->current].route;
    if (s->told && quic_addr_eq(&s->route.remote, &r->remote) &&
        quic_addr_eq(&s->route.local, &r->local))
        return;
    struct json *j = qlog_begin(&c->qlog->log, "connectivity:path_assigned", p->id, c->now);
    json_number(j, "path_id", p->id);
    json_open(j, "path_remote", '{');
    qlog_address(j, &r->remote);
    json_close(j, '}');
    json_open(j, "path_local", '{');
    qlog_address(j, &r->local);
    json_close(j, '}');
    qlog_end(&c->qlog->log, c->now);
    s->route = *r;
    s->told = true;
}

static void mtu(struct quic_conn *c, const struct quic_path *p, struct seen_path *s)
{
    if (s->mtu == p->mtu.current)
        return;
    struct json *j = qlog_begin(&c->qlog->log, "connectivity:mtu_updated", p->id, c->now);
    if (s->mtu)
        json_number(j, "old", s->mtu);
    json_number(j, "new", p->mtu.current);
    json_bool(j, "done", p->mtu.state == MTU_COMPLETE);
    qlog_end(&c->qlog->log, c->now);
    s->mtu = p->mtu.current;
}

static void metric_ms(struct json *j, const char *key, ns_t *was, ns_t is)
{
    if (*was == is)
        return;
    *was = is;
    json_ms(j, key, is);
}

static void metric(struct json *j, const char *key, uint64_t *was, uint64_t is)
{
    if (*was == is)
        return;
    *was = is;
    json_number(j, key, is);
}

static void metrics(struct quic_conn *c, const struct quic_path *p, struct seen_path *s)
{
    const struct recovery *r = &p->recovery;
    const struct rtt *t = &r->rtt;
    struct qlog *q = &c->qlog->log;
    struct json *j = qlog_begin(q, "recovery:metrics_updated", p->id, c->now);
    size_t empty = j->n;
    if (rtt_has_sample(t)) {
        metric_ms(j, "min_rtt", &s->min_rtt, t->min);
        metric_ms(j, "smoothed_rtt", &s->smoothed, t->smoothed);
        metric_ms(j, "latest_rtt", &s->latest, t->latest);
        metric_ms(j, "rtt_variance", &s->variation, t->variation);
    }
    if (s->pto_count != r->pto_count)
        json_number(j, "pto_count", r->pto_count);
    s->pto_count = r->pto_count;
    metric(j, "congestion_window", &s->cwnd, cc_cwnd(&r->cc));
    metric(j, "bytes_in_flight", &s->in_flight, r->bytes_in_flight);
    if (r->cc.ssthresh != UINT64_MAX)
        metric(j, "ssthresh", &s->ssthresh, r->cc.ssthresh);
    metric(j, "pacing_rate", &s->pacing_bps, path_pacing_bps(p));
    if (j->n > empty)
        qlog_end(q, c->now);
}

static const char *congestion_name(const struct recovery *r)
{
    static const char *const bbr[] = {
        [BBR_STARTUP] = "startup",        [BBR_DRAIN] = "drain",
        [BBR_DOWN] = "probe_bw_down",     [BBR_CRUISE] = "probe_bw_cruise",
        [BBR_REFILL] = "probe_bw_refill", [BBR_UP] = "probe_bw_up",
        [BBR_PROBE_RTT] = "probe_rtt",
    };
    const struct cc *cc = &r->cc;
    if (cc->ops == &cc_bbr_ops)
        return cc->u.bbr.state < ARRAY_LEN(bbr) ? bbr[cc->u.bbr.state] : "unknown";
    if (cc_in_slow_start(cc))
        return "slow_start";
    return cc_in_recovery(cc, r->space[SPACE_APP].acked_sent_time) ? "recovery"
                                                                   : "congestion_avoidance";
}

static void congestion(struct quic_conn *c, const struct quic_path *p, struct seen_path *s)
{
    const char *name = congestion_name(&p->recovery);
    if (s->congestion == name)
        return;
    struct json *j =
        qlog_begin(&c->qlog->log, "recovery:congestion_state_updated", p->id, c->now);
    if (s->congestion)
        json_text(j, "old", s->congestion);
    json_text(j, "new", name);
    qlog_end(&c->qlog->log, c->now);
    s->congestion = name;
}

static void ecn(struct quic_conn *c, const struct quic_path *p, struct seen_path *s)
{
    static const char *const names[] = {[ECN_OFF] = "failed",
                                        [ECN_TESTING] = "testing",
                                        [ECN_UNKNOWN] = "unknown",
                                        [ECN_FAILED] = "failed",
                                        [ECN_CAPABLE] = "capable"};
    enum ecn_state is = p->recovery.ecn.state;
    if (s->ecn == is)
        return;
    struct json *j = qlog_begin(&c->qlog->log, "recovery:ecn_state_updated", p->id, c->now);
    json_text(j, "new", is < ARRAY_LEN(names) ? names[is] : "unknown");
    qlog_end(&c->qlog->log, c->now);
    s->ecn = is;
}

static void timer(struct quic_conn *c, const struct quic_path *p, struct seen_path *s)
{
    const struct recovery *r = &p->recovery;
    ns_t at = conn_alive(c) ? recovery_deadline(r) : NS_NEVER;
    if (s->timer == at)
        return;
    bool loss = false;
    for (int i = 0; i < SPACE_N; i++)
        loss |= r->space[i].loss_time == at;
    struct json *j = qlog_begin(&c->qlog->log, "recovery:loss_timer_updated", p->id, c->now);
    if (at != NS_NEVER)
        json_text(j, "timer_type", loss ? "ack" : "pto");
    json_text(j, "event_type", at == NS_NEVER ? "cancelled" : "set");
    if (at != NS_NEVER)
        json_ms(j, "delta", ns_sub(at, c->now));
    qlog_end(&c->qlog->log, c->now);
    s->timer = at;
}

static void path(struct quic_conn *c, size_t i)
{
    const struct quic_path *p = &c->path[i];
    struct seen_path *s = &c->qlog->path[i];
    if (!s->used)
        *s = (struct seen_path){.timer = NS_NEVER};
    s->used = p->used;
    if (!p->used)
        return;
    route(c, p, s);
    mtu(c, p, s);
    metrics(c, p, s);
    congestion(c, p, s);
    ecn(c, p, s);
    timer(c, p, s);
}

void conn_qlog_log_update(struct quic_conn *c)
{
    keys(c);
    for (size_t i = 0; i < c->n_paths; i++)
        path(c, i);
    life(c);
}
