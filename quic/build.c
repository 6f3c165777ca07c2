#include "quic/build.h"
#include "quic/conn_qlog.h"

#include <string.h>

/* What header protection needs: packet number and frames make at least this (RFC 9001 5.4.2). */
#define SAMPLE_MIN 4
/* A packet is this much longer than its connection ID, so that none looks like a stateless
 * reset (RFC 9000 10.3). */
#define RESET_MARGIN 22
/* A datagram that is this much short of the train's segment is padded to go along with it. */
#define FILL_MAX 32

size_t build_app_overhead(const struct quic_cid *dcid, size_t pnl)
{
    return 1 + dcid->len + pnl + QUIC_TAG;
}

uint8_t build_ecn(const struct quic_path *p, const struct path_route *r)
{
    return r == &p->route[p->current] ? recovery_ecn_mark(&p->recovery) : ECN_NOT_ECT;
}

bool build_train_joins(const struct quic_train *t, const struct quic_path *p,
                       const struct path_route *r)
{
    return quic_route_eq(&t->route, &r->route) && t->ecn == build_ecn(p, r);
}

size_t build_train_room(const struct quic_train *t, const struct quic_path *p,
                        const struct path_route *r, size_t want)
{
    return t->count && !build_train_joins(t, p, r) ? 0 : build_train_left(t, want);
}

int build_begin(struct build *b, struct quic_conn *c, struct quic_path *p, struct path_route *r,
                struct quic_train *t, size_t limit)
{
    *b = (struct build){.conn = c, .path = p, .route = r, .train = t, .ecn = build_ecn(p, r)};
    size_t amplification = path_amplification_room(r);
    if (amplification < PATH_SMALLEST || !path_dcid(p, r))
        return QUIC_BLOCKED;
    size_t room = build_train_room(t, p, r, limit);
    /* What is left at the end of a long train is not worth a small datagram. */
    if (room < PATH_SMALLEST || (t->count && room < t->segment))
        return QUIC_AGAIN;
    if (room > limit)
        room = limit;
    b->base = t->buf + t->len;
    b->cap = room < amplification ? room : amplification;
    return 0;
}

static enum packet_type type_of(enum quic_level level)
{
    return level == LEVEL_INITIAL     ? PACKET_INITIAL
           : level == LEVEL_HANDSHAKE ? PACKET_HANDSHAKE
                                      : PACKET_1RTT;
}

static size_t head_size(const struct build *b, enum quic_level level)
{
    const struct quic_conn *c = b->conn;
    const struct quic_cid *dcid = path_dcid(b->path, b->route);
    if (level == LEVEL_APP)
        return 1 + dcid->len;
    return packet_long_head_size(type_of(level), dcid, &c->local.initial_scid, c->token_len);
}

/* Bytes of frames so far in the open packet. */
static size_t written(const struct build *b)
{
    return (size_t)(b->w.p - b->payload);
}

static void pad(struct build *b, size_t n)
{
    wire_w_zero(&b->w, n);
    b->proto.flags |= SENT_IN_FLIGHT; /* RFC 9000 13.2.7 */
}

/* The least that the open packet has to carry. */
static size_t least(const struct build *b)
{
    size_t n = SAMPLE_MIN - b->pn_len;
    if (b->level != LEVEL_APP)
        return n;
    size_t fixed = (size_t)(b->payload - b->start) + QUIC_TAG;
    size_t whole = b->conn->cfg.cid_len + RESET_MARGIN;
    return fixed + n < whole ? whole - fixed : n;
}

static void abandon(struct build *b)
{
    sent_abort(&b->path->recovery.space[space_of(b->level)].sent);
    b->open = false;
}

static void failed(struct build *b, const char *why)
{
    b->failed = true;
    conn_fail(b->conn, QUIC_INTERNAL_ERROR, 0, "%s", why);
}

static void log_sent(const struct build *b, size_t head, size_t n)
{
    struct conn_qlog_sent s = {.path = b->path,
                               .dcid = path_dcid(b->path, b->route),
                               .level = b->level,
                               .pn = b->pn,
                               .bytes = head + n + QUIC_TAG,
                               .frames = span_of(b->payload, n),
                               .mtu_probe = b->proto.flags & SENT_PROBE};
    CONN_QLOG(b->conn, sent, &s);
}

/* Seal the open packet, which has frames, padded by `extra`. */
static void seal(struct build *b, size_t extra)
{
    struct quic_conn *c = b->conn;
    struct recovery *r = &b->path->recovery;
    enum quic_space space = space_of(b->level);
    struct aead *key = &c->keys.tx[b->level];
    if (extra)
        pad(b, extra);
    if (written(b) < least(b))
        pad(b, least(b) - written(b));
    size_t n = written(b), head = (size_t)(b->payload - b->start);
    uint32_t id = b->level == LEVEL_APP ? b->path->id : 0;
    if (b->length_at)
        packet_long_length(b->length_at, b->pn_len + n + QUIC_TAG);
    if (c->qlog)
        log_sent(b, head, n);
    if (b->w.failed ||
        aead_seal(key, id, b->pn, span_of(b->start, head), b->payload, n, b->payload) != 0 ||
        aead_protect_head(key, b->start, (size_t)(b->pn_at - b->start), b->pn_len) != 0) {
        abandon(b);
        failed(b, "a packet could not be sealed");
        return;
    }
    b->proto.time = c->now;
    b->proto.bytes = (uint32_t)(head + n + QUIC_TAG);
    b->proto.ecn = b->ecn;
    recovery_on_sent(r, space, &b->proto);
    if (b->proto.flags & SENT_ELICITING && !c->eliciting_since_rx) {
        c->eliciting_since_rx = true;
        conn_restart_idle(c);
    }
    b->flight |= b->proto.flags & SENT_IN_FLIGHT;
    b->len += b->proto.bytes;
    b->open = false;
    if (b->level == LEVEL_HANDSHAKE)
        c->handshake_sent = true;
}

/* Open a packet of `level` with at least `n` bytes free, after what is sealed. */
static size_t open_packet(struct build *b, enum quic_level level, size_t n)
{
    struct quic_conn *c = b->conn;
    struct recovery *r = &b->path->recovery;
    enum quic_space space = space_of(level);
    uint64_t pn = recovery_next_pn(r, space);
    uint64_t acked = recovery_largest_acked(r, space);
    size_t pnl = level == LEVEL_APP ? pn_len_app(pn, acked) : pn_len(pn, acked);
    size_t fixed = head_size(b, level) + pnl;
    if (b->len + fixed + n + QUIC_TAG > b->cap)
        return 0;
    int begun = sent_begin(&r->space[space].sent, pn);
    if (begun == QUIC_NOMEM)
        failed(b, "no memory for a sent packet");
    if (begun)
        return 0;
    b->level = level;
    b->pn = pn;
    b->pn_len = pnl;
    b->open = true;
    b->proto = (struct sent_packet){.ack_largest = SENT_NO_ACK};
    b->start = b->base + b->len;
    b->length_at = NULL;
    b->w = wire_w_of(b->start, b->cap - b->len - QUIC_TAG);
    const struct quic_cid *dcid = path_dcid(b->path, b->route);
    if (level == LEVEL_APP)
        build_short_head(&b->w, c, dcid, pn, pnl);
    else
        b->length_at =
            packet_long_head(&b->w, type_of(level), QUIC_V1, dcid, &c->local.initial_scid,
                             span_of(c->token, c->token_len), pnl);
    b->pn_at = b->w.p;
    pn_write(&b->w, pn, pnl);
    b->payload = b->w.p;
    return wire_w_left(&b->w);
}

size_t build_room(struct build *b, enum quic_level level, size_t n)
{
    if (b->failed)
        return 0;
    if (b->open && b->level == level) {
        size_t left = wire_w_left(&b->w);
        return left >= n ? left : 0;
    }
    if (!b->open)
        return open_packet(b, level, n);
    if (written(b) == 0) {
        abandon(b);
        return open_packet(b, level, n);
    }
    /* Would anything fit behind the open packet, once it is sealed? */
    size_t body = written(b) > least(b) ? written(b) : least(b);
    size_t sealed = b->len + (size_t)(b->payload - b->start) + body + QUIC_TAG;
    if (sealed + head_size(b, level) + 4 + n + QUIC_TAG > b->cap)
        return 0;
    seal(b, 0);
    return b->failed ? 0 : open_packet(b, level, n);
}

void build_mark(struct build *b, uint8_t flags)
{
    if (flags & FRAME_ELICITING)
        b->proto.flags |= SENT_ELICITING;
    if (!(flags & FRAME_NON_FLIGHT))
        b->proto.flags |= SENT_IN_FLIGHT;
}

void build_record(struct build *b, const struct sent_record *rec)
{
    if (sent_record_add(&b->path->recovery.space[space_of(b->level)].sent, rec) != 0)
        failed(b, "no memory for the record of a frame");
}

void build_sent(struct quic_conn *c, struct quic_path *p, struct path_route *r,
                struct quic_train *t, size_t size, uint8_t ecn, bool flight)
{
    if (t->count == 0) {
        t->segment = size;
        t->route = r->route;
        t->ecn = ecn;
    }
    t->count++;
    t->len += size;
    r->sent += size;
    p->bytes_sent += size;
    if (flight)
        pacer_sent(&p->pacer, path_cost(p, size), c->now);
}

size_t build_end(struct build *b)
{
    /* A packet of nothing but padding may be what brings the datagram to its size. */
    if (b->open && written(b) == 0 && (b->len == 0 || b->len >= b->pad_to))
        abandon(b);
    if (b->open && !b->failed) {
        size_t size = b->len + (size_t)(b->payload - b->start) + written(b) + QUIC_TAG;
        size_t want = b->pad_to > b->cap ? b->cap : b->pad_to;
        size_t segment = b->train->segment;
        if (b->train->count && want < segment && size < segment && segment <= b->cap &&
            segment - size <= FILL_MAX)
            want = segment;
        seal(b, want > size ? want - size : 0);
    } else if (b->open) {
        abandon(b);
    }
    if (b->failed || b->len == 0)
        return 0;
    /* Under a cap all that is sent counts, also what only acknowledges. */
    build_sent(b->conn, b->path, b->route, b->train, b->len, b->ecn,
               b->flight || b->path->cap_bps);
    return b->len;
}
