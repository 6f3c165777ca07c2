#include <string.h>

#include "quic/build.h"
#include "quic/conn_qlog.h"

/* A frame that may have data is not begun with less room than this for it. */
#define DATA_MIN 32
/* Least room for anything: an ACK with one range, a PING, PATH_CHALLENGE. */
#define FRAME_MIN 16
/* Room asked for a control frame of any kind: NEW_CONNECTION_ID is the longest. */
#define CONTROL_ROOM 64
/* One who only acknowledges asks for an answer after so many packets, or ranges to report. */
#define ELICIT_PACKETS 32 /* of at most 42 bytes, they leave room in the smallest window */
#define ELICIT_RANGES  8

/* What a datagram may carry. */
struct allowance {
    bool flight;           /* window and pacer allow what counts as in flight */
    bool route;            /* PATH_CHALLENGE or PATH_RESPONSE is due: these frames regardless */
    unsigned probe_spaces; /* bit per space that owes a probe: allowed regardless */
};

static void simple_frame(struct build *b, uint64_t type, const struct sent_record *rec)
{
    struct frame f = {.type = type};
    const struct frame_row *row = frame_find(type, NULL, 0);
    frame_encode(&b->w, row, &f);
    build_mark(b, row->flags);
    if (rec)
        build_record(b, rec);
}

static void encode(struct build *b, const struct frame *f, const struct sent_record *rec)
{
    const struct frame_row *row = frame_find(f->type, NULL, 0);
    frame_encode(&b->w, row, f);
    build_mark(b, row->flags);
    if (rec && rec->kind)
        build_record(b, rec);
}

/* ---- what each level has to say ------------------------------------------------------ */

static void write_ack(struct build *b)
{
    enum quic_space space = space_of(b->level);
    uint64_t largest = SENT_NO_ACK;
    if (space == SPACE_APP) {
        conn_acks_write(b);
        return;
    }
    if (ackrx_frame(&b->path->ack[space], &b->w, ACKRX_NO_PATH, CONN_ACK_EXPONENT, b->conn->now,
                    &largest))
        b->proto.ack_largest = largest;
}

static void write_crypto(struct build *b, enum quic_level level)
{
    struct sbuf *tx = &b->conn->crypto[space_of(level)].tx;
    uint64_t off;
    size_t n, room;
    bool fin;
    while (!b->failed && sbuf_next(tx, UINT64_MAX, 1, &off, &n, &fin)) {
        size_t over = frame_crypto_overhead(off, 16383);
        room = build_room(b, level, over + 1);
        if (room == 0 || !sbuf_next(tx, UINT64_MAX, room - over, &off, &n, &fin))
            return;
        struct span data = sbuf_peek(tx, off, n);
        frame_crypto_head(&b->w, off, n);
        wire_w_span(&b->w, data);
        build_mark(b, FRAME_ELICITING);
        struct sent_record rec = {
            .kind = FRAME_CRYPTO, .a = level, .b = off, .len = (uint32_t)n};
        build_record(b, &rec);
        sbuf_on_sent(tx, off, n, false);
    }
}

/* PATH_RESPONSE and PATH_CHALLENGE of the datagram's route: they fit PATH_SMALLEST. */
static void write_path(struct build *b)
{
    struct quic_conn *c = b->conn;
    struct path_route *r = b->route;
    while (r->n_responses && build_room(b, LEVEL_APP, FRAME_MIN)) {
        struct frame f = {.type = FRAME_PATH_RESPONSE};
        memcpy(f.path_data, r->response[0], 8);
        memmove(r->response[0], r->response[1], (PATH_RESPONSES - 1) * 8);
        r->n_responses--;
        encode(b, &f, NULL);
        b->pad_to = QUIC_MIN_DATAGRAM;
    }
    if (validate_due(&r->validate, c->now) && build_room(b, LEVEL_APP, FRAME_MIN)) {
        struct frame f = {.type = FRAME_PATH_CHALLENGE};
        validate_challenge(&r->validate, &c->cfg.rng, c->now, f.path_data);
        encode(b, &f, NULL);
        b->pad_to = QUIC_MIN_DATAGRAM;
        r->small |= b->cap < QUIC_MIN_DATAGRAM;
    }
}

static void write_cids(struct build *b)
{
    struct quic_conn *c = b->conn;
    for (size_t i = 0; i < c->n_paths; i++) {
        struct quic_path *p = &c->path[i];
        uint64_t seq;
        if (!p->used || c->n_ext_rows) /* then it is the extension that announces them */
            continue;
        while (path_next_retire(p, &seq) && build_room(b, LEVEL_APP, CONTROL_ROOM)) {
            struct frame f = {.type = FRAME_RETIRE_CONNECTION_ID, .seq = seq};
            struct sent_record rec = {
                .kind = FRAME_RETIRE_CONNECTION_ID, .path = p->id, .a = seq};
            encode(b, &f, &rec);
            cid_remote_on_sent(&p->theirs, seq);
        }
        struct cid_issue issue;
        while (cid_local_pending(&p->ours) && build_room(b, LEVEL_APP, CONTROL_ROOM) &&
               cid_local_next(&p->ours, &issue)) {
            struct frame f = {.type = FRAME_NEW_CONNECTION_ID};
            f.new_cid.seq = issue.seq;
            f.new_cid.cid = issue.cid;
            memcpy(f.new_cid.token, issue.token, sizeof(issue.token));
            struct sent_record rec = {
                .kind = FRAME_NEW_CONNECTION_ID, .path = p->id, .a = issue.seq};
            encode(b, &f, &rec);
            cid_local_on_sent(&p->ours, issue.seq);
        }
    }
}

static void write_token(struct build *b)
{
    struct quic_conn *c = b->conn;
    if (!c->new_token_due || !build_room(b, LEVEL_APP, CONTROL_ROOM))
        return;
    struct frame f = {.type = FRAME_NEW_TOKEN,
                      .token = span_of(c->new_token, c->new_token_len)};
    struct sent_record rec = {.kind = FRAME_NEW_TOKEN, .a = c->new_tokens};
    encode(b, &f, &rec);
    c->new_token_due = false;
}

static void write_ack_frequency(struct build *b)
{
    struct quic_conn *c = b->conn;
    if (!ackfreq_due(&c->ackfreq) || !build_room(b, LEVEL_APP, CONTROL_ROOM))
        return;
    struct ackfreq_ask ask;
    struct frame f = {.type = FRAME_ACK_FREQUENCY};
    f.ack_frequency.seq = ackfreq_next(&c->ackfreq, &ask, c->now);
    f.ack_frequency.threshold = ask.threshold;
    f.ack_frequency.max_delay_us = ask.delay / NS_PER_US;
    f.ack_frequency.reordering = ask.reordering;
    struct sent_record rec = {
        .kind = FRAME_ACK_FREQUENCY, .a = f.ack_frequency.seq, .b = ask.delay};
    encode(b, &f, &rec);
}

static void write_ext(struct build *b)
{
    struct quic_conn *c = b->conn;
    size_t path = conn_path_index(c, b->path);
    while (c->n_ext_rows && c->cfg.ext->pending(c->ext, path) &&
           build_room(b, LEVEL_APP, CONTROL_ROOM)) {
        struct sent_record rec = {0};
        bool eliciting = true;
        if (!c->cfg.ext->next_frame(c->ext, path, &b->w, &rec, &eliciting, c->now))
            return;
        build_mark(b, eliciting ? FRAME_ELICITING : FRAME_NON_FLIGHT);
        if (rec.kind)
            build_record(b, &rec);
    }
}

static void write_streams(struct build *b)
{
    struct streams *s = &b->conn->streams;
    size_t room;
    while (!b->failed && streams_pending(s) && (room = build_room(b, LEVEL_APP, DATA_MIN))) {
        struct frame f;
        struct sent_record rec = {0};
        if (!streams_next_frame(s, room, &f, &rec))
            return;
        encode(b, &f, &rec);
    }
}

/* Everything of 1-RTT that counts as in flight, most urgent first. */
static void write_app(struct build *b)
{
    struct quic_conn *c = b->conn;
    write_path(b);
    if (b->path->ping_due && build_room(b, LEVEL_APP, FRAME_MIN)) {
        simple_frame(b, conn_ping_type(c, LEVEL_APP), NULL);
        b->path->ping_due = false;
    }
    if (!conn_path_speaks(c, b->path))
        return;
    if (c->done_due && build_room(b, LEVEL_APP, CONTROL_ROOM)) {
        struct sent_record rec = {.kind = FRAME_HANDSHAKE_DONE};
        simple_frame(b, FRAME_HANDSHAKE_DONE, &rec);
        c->done_due = false;
    }
    write_cids(b);
    write_token(b);
    write_ack_frequency(b);
    write_ext(b);
    write_streams(b);
}

static bool app_due(const struct quic_conn *c, struct quic_path *p)
{
    uint64_t seq;
    if (!c->complete)
        return false;
    if (p->ping_due || path_route_due(path_current(p), c->now))
        return true;
    if (!conn_path_speaks(c, p))
        return false;
    if (c->done_due || c->new_token_due || ackfreq_due(&c->ackfreq) ||
        streams_pending(&c->streams))
        return true;
    for (size_t i = 0; i < c->n_paths; i++) {
        const struct quic_path *q = &c->path[i];
        if (q->used && !c->n_ext_rows &&
            (cid_local_pending(&q->ours) || path_next_retire(q, &seq)))
            return true;
    }
    return c->n_ext_rows && c->cfg.ext->pending(c->ext, conn_path_index(c, p));
}

/* Whether there is CRYPTO data for this path to carry. */
static bool crypto_due(const struct quic_conn *c, const struct quic_path *p,
                       enum quic_level level)
{
    return sbuf_pending(&c->crypto[space_of(level)].tx) &&
           (level != LEVEL_APP || conn_path_speaks(c, p));
}

/* Whether `level` has something that counts as in flight. */
static bool flight_due(struct quic_conn *c, struct quic_path *p, enum quic_level level)
{
    enum quic_space space = space_of(level);
    return crypto_due(c, p, level) || recovery_probes(&p->recovery, space) ||
           (level == LEVEL_APP && app_due(c, p));
}

/* Whether an ACK is. Where room for sent packets is scarce, one alone is not worth it. */
static bool ack_due(const struct quic_conn *c, const struct quic_path *p, enum quic_level level)
{
    enum quic_space space = space_of(level);
    if (sent_scarce(&p->recovery.space[space].sent))
        return false;
    return level == LEVEL_APP && c->complete ? conn_acks_due(c, p)
                                             : ackrx_due(&p->ack[space], c->now);
}

static void write_level(struct build *b, enum quic_level level, const struct allowance *may)
{
    struct quic_conn *c = b->conn;
    struct quic_path *p = b->path;
    enum quic_space space = space_of(level);
    struct ackrx *ack = &p->ack[space];
    if (!aead_ready(&c->keys.tx[level]) || (p->id && level != LEVEL_APP))
        return;
    bool probe = may->probe_spaces & 1u << space;
    bool flight = (may->flight || probe) && flight_due(c, p, level);
    bool route = may->route && level == LEVEL_APP && c->complete;
    bool due = ack_due(c, p, level);
    if (!due && !flight && !route)
        return;
    if (!build_room(b, level, FRAME_MIN))
        return;
    if (due || ackrx_pending(ack))
        write_ack(b);
    if (flight) {
        /* A second copy is a better probe than a PING. */
        if (probe && level != LEVEL_APP && recovery_probes(&p->recovery, space) &&
            !sbuf_pending(&c->crypto[space].tx))
            conn_probe_more(c, p, space);
        if (crypto_due(c, p, level))
            write_crypto(b, level);
        if (level == LEVEL_APP && c->complete)
            write_app(b);
        /* What is sent because nothing comes back asks for an answer without delay. */
        uint64_t ping = p->recovery.pto_count ? conn_ping_type(c, level) : FRAME_PING;
        bool asks = b->open && b->level == level && b->proto.flags & SENT_ELICITING;
        if (probe && (!asks || ping == FRAME_IMMEDIATE_ACK) && build_room(b, level, FRAME_MIN))
            simple_frame(b, ping, NULL);
    } else if (route) {
        write_path(b);
    }
    /* Both ends fill up datagrams that carry Initials (RFC 9000 14.1). */
    bool eliciting = b->open && b->level == level && b->proto.flags & SENT_ELICITING;
    if (level == LEVEL_INITIAL && b->open && b->level == level && (!c->server || eliciting))
        b->pad_to = QUIC_MIN_DATAGRAM;
}

/* ---- datagrams ----------------------------------------------------------------------- */

static const enum quic_level levels[] = {LEVEL_INITIAL, LEVEL_HANDSHAKE, LEVEL_APP};

/* PATH_CHALLENGE and PATH_RESPONSE on a route that isn't the current one. */
static int other_routes(struct quic_conn *c, struct quic_path *p, struct quic_train *t)
{
    for (int i = 0; i < PATH_ROUTES; i++) {
        struct path_route *r = &p->route[i];
        if (r == path_current(p) || !path_route_due(r, c->now))
            continue;
        struct build b;
        int begun = build_begin(&b, c, p, r, t, QUIC_MIN_DATAGRAM);
        if (begun == QUIC_AGAIN)
            return begun;
        if (begun)
            continue;
        write_path(&b);
        size_t n = build_end(&b);
        if (n)
            return (int)n;
    }
    return 0;
}

/* One packet now and then, which may not have to wait for the pacer behind saturating data. */
static int mtu_probe(struct quic_conn *c, struct quic_path *p, struct quic_train *t)
{
    size_t size = mtu_next_probe(&p->mtu, c->now);
    if (!size || !c->confirmed || recovery_room(&p->recovery) < size ||
        !path_current(p)->validated)
        return 0;
    if (t->count)
        return 0;
    if (t->cap < size) {
        mtu_set_max(&p->mtu, t->cap, c->now);
        return 0;
    }
    struct build b;
    if (build_begin(&b, c, p, path_current(p), t, size) != 0 ||
        !build_room(&b, LEVEL_APP, FRAME_MIN))
        return 0;
    simple_frame(&b, conn_ping_type(c, LEVEL_APP), NULL);
    b.proto.flags |= SENT_PROBE;
    b.pad_to = size;
    uint64_t pn = b.pn;
    size_t n = build_end(&b);
    if (n)
        mtu_on_probe_sent(&p->mtu, n, pn);
    return (int)n;
}

/* Whether anything that counts as in flight waits, at a level that has keys. */
static bool any_flight_due(struct quic_conn *c, struct quic_path *p)
{
    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        if (aead_ready(&c->keys.tx[levels[i]]) && flight_due(c, p, levels[i]))
            return true;
    return false;
}

static bool any_ack_due(const struct quic_conn *c, const struct quic_path *p)
{
    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        if (aead_ready(&c->keys.tx[levels[i]]) && ack_due(c, p, levels[i]))
            return true;
    return false;
}

/*
 * Handshake data goes first (CRYPTO of the two lower spaces, nothing of it in flight): packets
 * that the peer can't acknowledge without it might fill the window for ever.
 */
static bool handshake_stuck(const struct quic_conn *c, const struct quic_path *p, unsigned s)
{
    return s != SPACE_APP && sbuf_pending(&c->crypto[s].tx) &&
           p->recovery.space[s].eliciting == 0;
}

static struct allowance allowance(const struct quic_conn *c, struct quic_path *p)
{
    struct allowance may = {0};
    bool window = path_window(p, p->mtu.current);
    bool paced = pacer_ready(&p->pacer, c->now) == 0;
    may.flight = window && !paced;
    for (unsigned s = 0; s < SPACE_N; s++)
        if (recovery_probes(&p->recovery, (enum quic_space)s) || handshake_stuck(c, p, s))
            may.probe_spaces |= 1u << s;
    /* Few and urgent, and nothing else with them (RFC 9000 8.2.2). */
    may.route = path_route_due(path_current(p), c->now);
    if (window && paced)
        p->paced_until = pacer_next(&p->pacer);
    return may;
}

/*
 * An ACK is due. With nothing in flight that asks for one itself, the peer tells nothing, and
 * what hangs on that stays: the ranges to report, short packets whose PADDING counts as in
 * flight, the next key update. So a PING rides along, at most once in a round trip
 * (RFC 9000 13.2.4, 13.2.7); as a probe, since the window may be full of just that PADDING.
 */
static void elicit(struct quic_conn *c, struct quic_path *p)
{
    struct recovery *r = &p->recovery;
    uint64_t heard = recovery_largest_acked(r, SPACE_APP);
    uint64_t first = heard == RECOVERY_NO_PN ? 0 : heard + 1;
    if (!c->confirmed || r->space[SPACE_APP].eliciting)
        return;
    if (sent_next(&r->space[SPACE_APP].sent) - first >= ELICIT_PACKETS ||
        ackrx_range_count(&p->ack[SPACE_APP]) >= ELICIT_RANGES)
        recovery_ask_probe(r, SPACE_APP);
}

/* One datagram on the current route. > 0, 0, QUIC_BLOCKED or QUIC_AGAIN. */
static int datagram(struct quic_conn *c, struct quic_path *p, struct quic_train *t)
{
    bool ack = any_ack_due(c, p);
    if (ack)
        elicit(c, p);
    bool flight = any_flight_due(c, p);
    if (!flight && !ack)
        return 0;
    struct allowance may = allowance(c, p);
    if (!ack && !may.flight && !may.probe_spaces && !may.route)
        return QUIC_BLOCKED;
    struct path_route *r = path_current(p);
    if (path_amplification_room(r) < conn_least(c))
        return QUIC_BLOCKED;
    /* Nothing comes back: perhaps only small packets get through (RFC 8899 4.3). */
    size_t limit = p->recovery.pto_count > 1 ? QUIC_MIN_DATAGRAM : p->mtu.current;
    struct build b;
    int begun = build_begin(&b, c, p, r, t, limit);
    if (begun)
        return begun;
    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        write_level(&b, levels[i], &may);
    size_t n = build_end(&b);
    if (n == 0)
        return t->count && flight ? QUIC_AGAIN : QUIC_BLOCKED;
    if (!c->server && c->handshake_sent)
        conn_discard(c, LEVEL_INITIAL); /* RFC 9001 4.9.1 */
    return (int)n;
}

/* ---- closing ------------------------------------------------------------------------- */

static void write_close(struct build *b, enum quic_level level)
{
    struct quic_conn *c = b->conn;
    struct frame f = {.type = FRAME_CONNECTION_CLOSE};
    f.close.code = c->close.code;
    f.close.frame_type = c->close.frame_type;
    f.close.reason = span_of(c->close_text, strlen(c->close_text));
    if (c->close.app && level == LEVEL_APP) {
        f.type = FRAME_CONNECTION_CLOSE_APP;
        f.close.app = true;
    } else if (c->close.app) { /* not to be told below 1-RTT (RFC 9000 10.2.3) */
        f.close.code = QUIC_APPLICATION_ERROR;
        f.close.reason = (struct span){0};
    }
    if (!build_room(b, level, f.close.reason.n + 32))
        return;
    frame_encode(&b->w, NULL, &f);
    if (level == LEVEL_INITIAL)
        b->pad_to = QUIC_MIN_DATAGRAM;
}

/* CONNECTION_CLOSE at every level that the peer might read. */
static int send_close(struct quic_conn *c, struct quic_path *p, struct quic_train *t)
{
    if (!c->close_due || p != conn_path_voice(c))
        return QUIC_CLOSED;
    struct build b;
    int begun = build_begin(&b, c, p, path_current(p), t, QUIC_MIN_DATAGRAM);
    if (begun == QUIC_AGAIN)
        return begun;
    c->close_due = false;
    if (begun)
        return QUIC_CLOSED;
    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        if (aead_ready(&c->keys.tx[levels[i]]) && (levels[i] != LEVEL_APP || c->has_peer))
            write_close(&b, levels[i]);
    size_t n = build_end(&b);
    return n ? (int)n : QUIC_CLOSED;
}

int quic_send(struct quic_conn *c, size_t path, struct quic_train *t, ns_t now)
{
    c->now = now;
    if (path >= c->n_paths || !c->path[path].used)
        return QUIC_INVAL;
    struct quic_path *p = &c->path[path];
    keys_check_limits(c);
    if (c->state >= CONN_DRAINING)
        return QUIC_CLOSED;
    streams_time(&c->streams, now, conn_rtt(c));
    path_pace(p, now);
    p->paced_until = NS_NEVER;
    size_t before = t->len;
    int r = 1;
    while (r > 0 && conn_alive(c)) {
        r = other_routes(c, p, t);
        if (r == 0)
            r = mtu_probe(c, p, t);
        if (r == 0)
            r = datagram(c, p, t);
    }
    if (!conn_alive(c) && t->len == before)
        r = send_close(c, p, t);
    conn_tell_recovery(c);
    CONN_QLOG(c, update);
    return t->len > before ? (int)(t->len - before) : r;
}

void quic_app_limited(struct quic_conn *c, size_t path, ns_t now)
{
    if (path >= c->n_paths || !c->path[path].used || !conn_alive(c))
        return;
    struct quic_path *p = &c->path[path];
    c->now = now;
    path_pace(p, now);
    /* While pacer or window still gather what may leave at once, nothing is missed. */
    if (pacer_full(&p->pacer, now) && path_window_room(p) && !any_flight_due(c, p))
        recovery_app_limited(&p->recovery);
}
