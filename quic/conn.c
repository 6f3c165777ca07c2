#include "quic/conn_qlog.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Closing and draining last three probe timeouts (RFC 9000 10.2). */
#define CLOSE_PTOS 3
/* An idle time shorter than this many probe timeouts is stretched (RFC 9000 10.1). */
#define IDLE_PTOS 3

/* ---- creation ------------------------------------------------------------------------ */

void quic_config_default(struct quic_config *cfg)
{
    *cfg = (struct quic_config){
        .cc = "cubic",
        .idle = 30 * NS_PER_S,
        .handshake = 10 * NS_PER_S,
        .initial_rtt = RTT_INITIAL,
        .max_ack_delay = 25 * NS_PER_MS,
        .conn_window = 1 << 20,
        .conn_window_max = 16 << 20,
        .stream_window = 256 << 10,
        .stream_window_max = 8 << 20,
        .streams_bidi = 100,
        .streams_uni = 100,
        .stream_send_buffer = 1 << 20,
        .max_datagram_frame_size = 65535,
        .max_udp_payload = 1452,
        .max_paths = 1,
        .cid_len = 8,
        .ack_frequency = true,
        .ecn = true,
    };
}

static bool config_ok(const struct quic_config *cfg)
{
    return cfg->tls && cfg->rng.fill && cfg->cid_len >= 4 && cfg->cid_len <= QUIC_CID_MAX &&
           cfg->max_udp_payload >= QUIC_MIN_DATAGRAM && cfg->max_udp_payload <= 65507 &&
           cfg->max_paths >= 1 && cfg->max_ack_delay < 16384 * NS_PER_MS;
}

static void reset_key_init(struct quic_conn *c)
{
    static const uint8_t none[32];
    if (memcmp(c->cfg.reset_key, none, 32) != 0)
        memcpy(c->reset_key, c->cfg.reset_key, 32);
    else
        rng_fill(&c->cfg.rng, c->reset_key, 32);
}

static void streams_start(struct quic_conn *c)
{
    const struct quic_config *cfg = &c->cfg;
    struct streams_config sc = {
        .server = c->server,
        .conn_window = cfg->conn_window,
        .conn_window_max = cfg->conn_window_max,
        .stream_window = cfg->stream_window,
        .stream_window_max = cfg->stream_window_max,
        .max_bidi = cfg->streams_bidi,
        .max_uni = cfg->streams_uni,
        .send_buffer = cfg->stream_send_buffer,
    };
    streams_init(&c->streams, &sc);
}

static int path_start(struct quic_conn *c, const struct quic_route *route, bool validated)
{
    int r = conn_path_init(c, &c->path[0], 0, route, validated);
    if (r)
        return r;
    c->path[0].proven = true;
    c->n_paths = 1;
    return 0;
}

bool conn_keep_token(struct span token, uint8_t **to, size_t *len)
{
    uint8_t *copy = malloc(token.n);
    if (!copy)
        return false;
    memcpy(copy, token.p, token.n);
    free(*to);
    *to = copy;
    *len = token.n;
    return true;
}

/* Everything that both ends have in common; null without memory or with a bad config. */
static struct quic_conn *create(const struct quic_config *cfg, bool server, bool validated,
                                const struct quic_route *route, ns_t now)
{
    if (!config_ok(cfg))
        return NULL;
    struct quic_conn *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->cfg = *cfg;
    c->cfg.token = c->cfg.session = (struct span){0}; /* not ours to keep */
    c->server = server;
    c->now = now;
    c->endpoint_slot = c->endpoint_heap = SIZE_MAX;
    c->endpoint_at = NS_NEVER;
    reset_key_init(c);
    rng_fill(&c->cfg.rng, &c->grease, sizeof(c->grease));
    streams_start(c);
    for (int s = 0; s < SPACE_N; s++) {
        sbuf_init(&c->crypto[s].tx, CONN_CRYPTO_TX);
        rbuf_init(&c->crypto[s].rx, s == SPACE_APP ? CONN_CRYPTO_LATE : CONN_CRYPTO_MAX);
    }
    for (int t = 0; t < CONN_TIMER_N; t++)
        c->timer[t] = NS_NEVER;
    tparams_default(&c->peer);
    ackfreq_init(&c->ackfreq, NS_NEVER, c->peer.max_ack_delay);
    c->path = calloc(cfg->max_paths, sizeof(*c->path));
    if (!c->path || path_start(c, route, validated) != 0) {
        quic_del(c);
        return NULL;
    }
    c->idle = cfg->idle;
    if (cfg->handshake)
        c->timer[CONN_TIMER_HANDSHAKE] = ns_add(now, cfg->handshake);
    return c;
}

static void random_cid(struct quic_conn *c, struct quic_cid *cid, uint8_t len)
{
    memset(cid, 0, sizeof(*cid));
    cid->len = len;
    rng_fill(&c->cfg.rng, cid->b, len);
}

int conn_make_cid(void *conn, struct quic_cid *cid, uint8_t token[CID_RESET_TOKEN])
{
    struct quic_conn *c = conn;
    random_cid(c, cid, c->cfg.cid_len);
    return stateless_reset_token(c->reset_key, cid, token);
}

/* Connection IDs, keys, TLS: the part of the set-up that follows the roles. */
static int begin(struct quic_conn *c, const struct quic_cid *theirs, const char *server_name)
{
    struct quic_cid ours;
    random_cid(c, &ours, c->cfg.cid_len);
    cid_local_init(&c->path[0].ours, &ours, conn_make_cid, c);
    cid_remote_init(&c->path[0].theirs, theirs);
    c->local.has_initial_scid = true;
    c->local.initial_scid = ours;
    if (c->cfg.ext) {
        c->ext = c->cfg.ext->open(c);
        if (!c->ext)
            return QUIC_NOMEM;
    }
    int r = conn_initial_keys(c, conn_initial_dcid(c));
    if (r == 0)
        r = conn_tls_start(c, server_name);
    if (r == 0) {
        conn_restart_idle(c);
        conn_qlog_start(c);
    }
    return r;
}

struct quic_conn *quic_connect(const struct quic_config *cfg, const char *server_name,
                               const struct quic_route *route, ns_t now)
{
    if (cfg->token.n > QUIC_TOKEN_MAX)
        return NULL;
    struct quic_conn *c = create(cfg, false, true, route, now);
    if (!c)
        return NULL;
    random_cid(c, &c->original_dcid, 8);
    if ((cfg->token.n && !conn_keep_token(cfg->token, &c->token, &c->token_len)) ||
        begin(c, &c->original_dcid, server_name) != 0) {
        quic_del(c);
        return NULL;
    }
    tls_set_session(c->tls, cfg->session);
    conn_tls_run(c);
    if (!conn_alive(c)) {
        quic_del(c);
        return NULL;
    }
    conn_tell_recovery(c);
    return c;
}

struct quic_conn *conn_accept(const struct quic_config *cfg, const struct quic_route *route,
                              const struct packet_head *initial, const struct conn_admit *admit,
                              ns_t now)
{
    static const struct conn_admit nothing;
    if (!admit)
        admit = &nothing;
    struct quic_conn *c = create(cfg, true, admit->validated, route, now);
    if (!c)
        return NULL;
    c->original_dcid = admit->has_retry ? admit->original_dcid : cid_of(initial->dcid);
    c->has_retry = admit->has_retry;
    if (c->has_retry)
        c->retry_scid = cid_of(initial->dcid);
    c->has_token_key = admit->key != NULL;
    if (c->has_token_key)
        c->token_key = *admit->key;
    c->original_dcid_event = CONN_ODCID_ADDED;
    c->peer_scid = cid_of(initial->scid);
    c->has_peer_scid = true;
    if (begin(c, &c->peer_scid, NULL) != 0) {
        quic_del(c);
        return NULL;
    }
    conn_tell_recovery(c);
    return c;
}

void quic_del(struct quic_conn *c)
{
    if (!c)
        return;
    conn_qlog_stop(c);
    if (c->ext)
        c->cfg.ext->close(c->ext);
    tls_del(c->tls);
    keys_free(c);
    rx_free_held(c, true);
    streams_free(&c->streams);
    for (int s = 0; s < SPACE_N; s++) {
        sbuf_free(&c->crypto[s].tx);
        rbuf_free(&c->crypto[s].rx);
    }
    for (size_t i = 0; i < c->n_paths; i++)
        path_free(&c->path[i]);
    free(c->path);
    free(c->dgram);
    free(c->fate);
    free(c->token);
    free(c->new_token);
    explicit_bzero(&c->token_key, sizeof(c->token_key));
    free(c);
}

/* ---- the end ------------------------------------------------------------------------- */

void conn_close(struct quic_conn *c, const struct quic_close_info *why, bool tell)
{
    if (!conn_alive(c))
        return;
    c->close = *why;
    snprintf(c->close_text, sizeof(c->close_text), "%s", why->text ? why->text : "");
    c->close.text = c->close_text;
    c->state = tell ? CONN_CLOSING : CONN_DRAINING;
    c->close_due = tell;
    c->close_answer_at = 1;
    for (int t = 0; t < CONN_TIMER_N; t++)
        c->timer[t] = NS_NEVER;
    c->timer[CONN_TIMER_CLOSE] = ns_add(c->now, CLOSE_PTOS * conn_pto(c));
    c->stats.drop_dgram += c->dgram_n - c->dgram_first;
    c->dgram_first = c->dgram_n = 0;
    LOG_AT(c->cfg.log, LOG_DEBUG, "quic: closed, %s code 0x%llx%s%s",
           why->app ? "application" : "transport", (unsigned long long)why->code,
           c->close_text[0] ? ": " : "", c->close_text);
}

void conn_fail(struct quic_conn *c, uint64_t code, uint64_t frame_type, const char *fmt, ...)
{
    char text[CONN_TEXT];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    struct quic_close_info why = {
        .kind = QUIC_CLOSE_LOCAL, .code = code, .frame_type = frame_type, .text = text};
    conn_close(c, &why, true);
}

void quic_close(struct quic_conn *c, uint64_t app_code, const char *reason, ns_t now)
{
    c->now = now;
    struct quic_close_info why = {
        .kind = QUIC_CLOSE_LOCAL, .app = true, .code = app_code, .text = reason};
    conn_close(c, &why, true);
    CONN_QLOG(c, update);
}

/* Nothing to be said to the peer, nothing to wait for: at once. */
void conn_vanish(struct quic_conn *c, enum quic_close_kind kind, const char *text)
{
    struct quic_close_info why = {.kind = kind, .text = text};
    conn_close(c, &why, false);
    c->state = CONN_DRAINED;
    c->timer[CONN_TIMER_CLOSE] = NS_NEVER;
}

bool quic_is_drained(const struct quic_conn *c)
{
    return c->state == CONN_DRAINED;
}

void quic_close_info(const struct quic_conn *c, struct quic_close_info *out)
{
    *out = c->close;
    out->text = c->close_text;
}

/* ---- time ---------------------------------------------------------------------------- */

ns_t conn_pto(const struct quic_conn *c)
{
    ns_t pto = 0;
    for (size_t i = 0; i < c->n_paths; i++)
        if (c->path[i].used && c->path[i].proven)
            pto = ns_max(pto, recovery_pto(&c->path[i].recovery));
    return pto;
}

void conn_restart_idle(struct quic_conn *c)
{
    if (!conn_alive(c))
        return;
    c->timer[CONN_TIMER_IDLE] =
        c->idle ? ns_add(c->now, ns_max(c->idle, IDLE_PTOS * conn_pto(c))) : NS_NEVER;
    if (c->cfg.keep_alive && c->complete)
        c->timer[CONN_TIMER_KEEP_ALIVE] = ns_add(c->now, c->cfg.keep_alive);
    c->timer[CONN_TIMER_TRIM] = ns_add(c->now, CONN_TRIM);
}

static bool state_eq(const struct recovery_state *a, const struct recovery_state *b)
{
    return a->server == b->server && a->handshake_keys == b->handshake_keys &&
           a->peer_validated == b->peer_validated && a->confirmed == b->confirmed &&
           a->at_amplification_limit == b->at_amplification_limit &&
           a->max_ack_delay == b->max_ack_delay;
}

void conn_tell_recovery(struct quic_conn *c)
{
    for (size_t i = 0; i < c->n_paths; i++) {
        struct quic_path *p = &c->path[i];
        if (!p->used)
            continue;
        struct recovery_state st = {
            .server = c->server,
            .handshake_keys = aead_ready(&c->keys.tx[LEVEL_HANDSHAKE]),
            .peer_validated = c->server || c->got_handshake_ack || c->confirmed,
            .confirmed = c->confirmed,
            .at_amplification_limit = path_amplification_room(path_current(p)) < conn_least(c),
            .max_ack_delay = ackfreq_delay(&c->ackfreq),
        };
        if (!state_eq(&st, &p->recovery.state))
            recovery_set_state(&p->recovery, &st, c->now);
    }
}

ns_t quic_deadline(const struct quic_conn *c)
{
    if (c->state == CONN_DRAINED)
        return NS_NEVER;
    if (c->close_due)
        return c->now;
    ns_t at = NS_NEVER;
    for (int t = 0; t < CONN_TIMER_N; t++)
        at = ns_min(at, c->timer[t]);
    if (!conn_alive(c))
        return at;
    unsigned spaces = 0;
    for (int l = 0; l < LEVEL_N; l++)
        if (aead_ready(&c->keys.tx[l]))
            spaces |= 1u << space_of((enum quic_level)l);
    for (size_t i = 0; i < c->n_paths; i++)
        if (c->path[i].used)
            at = ns_min(at, path_deadline(&c->path[i], spaces, conn_least(c)));
    at = ns_min(at, conn_acks_deadline(c));
    if (c->ext && c->cfg.ext->deadline)
        at = ns_min(at, c->cfg.ext->deadline(c->ext));
    return at;
}

static void fire(struct quic_conn *c, enum conn_timer timer)
{
    c->timer[timer] = NS_NEVER;
    switch (timer) {
    case CONN_TIMER_CLOSE:
        c->state = CONN_DRAINED;
        c->close_due = false;
        break;
    case CONN_TIMER_IDLE:
        conn_vanish(c, c->complete ? QUIC_CLOSE_IDLE : QUIC_CLOSE_HANDSHAKE,
                    c->got_packet ? "nothing heard for the idle time" : "no answer");
        break;
    case CONN_TIMER_HANDSHAKE: {
        struct quic_close_info why = {.kind = QUIC_CLOSE_HANDSHAKE,
                                      .text = c->got_packet ? "the handshake took too long"
                                                            : "no answer"};
        conn_close(c, &why, true);
        break;
    }
    case CONN_TIMER_KEEP_ALIVE:
        for (size_t i = 0; i < c->n_paths; i++)
            c->path[i].ping_due |= c->path[i].used;
        c->timer[CONN_TIMER_KEEP_ALIVE] = ns_add(c->now, c->cfg.keep_alive);
        break;
    case CONN_TIMER_OLD_KEYS:
        keys_drop_old(c);
        break;
    case CONN_TIMER_TRIM:
        conn_trim(c);
        break;
    case CONN_TIMER_N:
        break;
    }
}

static void tick_path(struct quic_conn *c, struct quic_path *p)
{
    if (recovery_deadline(&p->recovery) <= c->now) {
        switch (recovery_on_timeout(&p->recovery, c->now)) {
        case RECOVERY_LOSS:
            conn_verdicts(c, p);
            break;
        case RECOVERY_PTO:
            conn_probe(c, p);
            conn_path_hush(c, p);
            break;
        case RECOVERY_NONE:
            break;
        }
    }
    if (p->dgram_paced_until <= c->now)
        p->dgram_paced_until = NS_NEVER;
    conn_path_tick(c, p);
}

void quic_tick(struct quic_conn *c, ns_t now)
{
    c->now = now;
    for (int t = 0; t < CONN_TIMER_N; t++)
        if (c->timer[t] <= now)
            fire(c, (enum conn_timer)t);
    for (size_t i = 0; conn_alive(c) && i < c->n_paths; i++)
        if (c->path[i].used)
            tick_path(c, &c->path[i]);
    if (conn_alive(c) && c->ext && c->cfg.ext->tick)
        c->cfg.ext->tick(c->ext, now);
    CONN_QLOG(c, update);
}

/* ---- events -------------------------------------------------------------------------- */

void conn_event(struct quic_conn *c, enum quic_event_type type, size_t path, uint64_t stream,
                uint64_t code)
{
    struct quic_event ev = {.type = type, .stream = stream, .code = code, .path = path};
    for (unsigned i = 0; i < c->event_n; i++) {
        const struct quic_event *old = &c->event[(c->event_first + i) % CONN_EVENTS];
        if (old->type == type && old->path == path && old->stream == stream)
            return;
    }
    if (c->event_n == CONN_EVENTS) {
        c->events_lost = true;
        return;
    }
    c->event[(c->event_first + c->event_n++) % CONN_EVENTS] = ev;
}

static enum quic_event_type stream_event(enum streams_event_type type)
{
    switch (type) {
    case STREAMS_OPENED:
        return QUIC_EV_STREAM_OPENED;
    case STREAMS_READABLE:
        return QUIC_EV_STREAM_READABLE;
    case STREAMS_WRITABLE:
        return QUIC_EV_STREAM_WRITABLE;
    case STREAMS_RESET:
        return QUIC_EV_STREAM_RESET;
    case STREAMS_STOPPED:
        return QUIC_EV_STREAM_STOPPED;
    case STREAMS_FINISHED:
        return QUIC_EV_STREAM_FINISHED;
    case STREAMS_ALLOWED:
        break;
    }
    return QUIC_EV_STREAMS_ALLOWED;
}

bool quic_next_event(struct quic_conn *c, struct quic_event *ev)
{
    memset(ev, 0, sizeof(*ev));
    if (c->event_n) {
        *ev = c->event[c->event_first];
        c->event_first = (c->event_first + 1) % CONN_EVENTS;
        c->event_n--;
        return true;
    }
    if (c->events_lost) {
        c->events_lost = false;
        ev->type = QUIC_EV_EVENTS_LOST;
        return true;
    }
    struct streams_event se;
    if (conn_alive(c) && c->complete && streams_next_event(&c->streams, &se)) {
        *ev = (struct quic_event){stream_event(se.type), se.id, se.code, 0};
        return true;
    }
    if (!conn_alive(c) && !c->close_told) {
        c->close_told = true;
        ev->type = QUIC_EV_CLOSED;
        ev->code = c->close.code;
        return true;
    }
    return false;
}

/* ---- connection IDs ------------------------------------------------------------------ */

bool conn_cid_event(struct quic_conn *c, struct cid_event *out)
{
    if (c->original_dcid_event == CONN_ODCID_ADDED ||
        c->original_dcid_event == CONN_ODCID_REMOVED) {
        *out = (struct cid_event){c->original_dcid_event == CONN_ODCID_ADDED,
                                  *conn_initial_dcid(c)};
        c->original_dcid_event =
            c->original_dcid_event == CONN_ODCID_ADDED ? CONN_ODCID_LIVE : CONN_ODCID_NONE;
        return true;
    }
    for (size_t i = 0; i < c->n_paths; i++)
        if (cid_local_event(&c->path[i].ours, out))
            return true;
    return false;
}

struct quic_path *conn_path_search(struct quic_conn *c, struct span dcid,
                                   const struct quic_cid **id)
{
    for (size_t i = 0; i < c->n_paths; i++) {
        struct quic_path *p = &c->path[i];
        *id = p->phase != PATH_FREE ? cid_local_match(&p->ours, dcid) : NULL;
        if (*id) {
            c->rx_path = i;
            return p;
        }
    }
    return NULL;
}
