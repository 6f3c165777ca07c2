#include "quic/build.h"

uint64_t conn_min_ack_delay_us(const struct quic_conn *c)
{
    return c->cfg.ack_frequency ? ns_min(CONN_MIN_ACK_DELAY, c->cfg.max_ack_delay) / NS_PER_US
                                : TPARAM_NO_ACK_FREQUENCY;
}

void conn_acks_start(struct quic_conn *c)
{
    uint64_t us = c->peer.min_ack_delay_us;
    bool on = c->cfg.ack_frequency && us != TPARAM_NO_ACK_FREQUENCY;
    ackfreq_init(&c->ackfreq, on ? us * NS_PER_US : NS_NEVER, c->peer.max_ack_delay);
}

/* Paths that have a round-trip time; the others have nothing to say yet. */
static size_t snapshot(const struct quic_conn *c, struct ackfreq_path *out, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n_paths && n < max; i++) {
        const struct recovery *r = &c->path[i].recovery;
        if (!c->path[i].used || !rtt_has_sample(&r->rtt))
            continue;
        out[n++] = (struct ackfreq_path){.window_packets = r->cc.cwnd / r->cc.mss,
                                         .srtt = r->rtt.smoothed,
                                         .slow_start = cc_in_slow_start(&r->cc),
                                         .packet_threshold = reorder_packets(&r->reorder)};
    }
    return n;
}

void conn_acks_update(struct quic_conn *c)
{
    struct ackfreq_path paths[CONN_ACKFREQ_PATHS];
    if (!c->confirmed || !ackfreq_wants_update(&c->ackfreq, c->now))
        return;
    size_t n = snapshot(c, paths, ARRAY_LEN(paths));
    if (n)
        ackfreq_update(&c->ackfreq, paths, n, c->now);
}

uint64_t conn_ping_type(const struct quic_conn *c, enum quic_level level)
{
    return level == LEVEL_APP && c->complete && c->ackfreq.on ? FRAME_IMMEDIATE_ACK
                                                              : FRAME_PING;
}

int conn_on_ack_frequency(struct quic_conn *c, const struct frame *f)
{
    if (!c->cfg.ack_frequency)
        return QUIC_FRAME_ENCODING_ERROR;
    if (f->ack_frequency.max_delay_us < c->local.min_ack_delay_us ||
        f->ack_frequency.max_delay_us >= TPARAM_MAX_ACK_DELAY_END / NS_PER_US)
        return QUIC_PROTOCOL_VIOLATION;
    if (f->ack_frequency.seq < c->ackfreq_got)
        return 0;
    c->ackfreq_got = f->ack_frequency.seq + 1;
    c->acks_asked = true;
    c->ack_ask.threshold = f->ack_frequency.threshold;
    c->ack_ask.delay = f->ack_frequency.max_delay_us * NS_PER_US;
    c->ack_ask.reordering = f->ack_frequency.reordering;
    for (size_t i = 0; i < c->n_paths; i++)
        if (c->path[i].used)
            ackrx_ask(&c->path[i].ack[SPACE_APP], f->ack_frequency.threshold,
                      f->ack_frequency.max_delay_us * NS_PER_US, f->ack_frequency.reordering);
    return 0;
}

int conn_on_immediate_ack(struct quic_conn *c, struct quic_path *p)
{
    if (!c->cfg.ack_frequency)
        return QUIC_FRAME_ENCODING_ERROR;
    ackrx_at_once(&p->ack[SPACE_APP]);
    return 0;
}

/* ---- which path carries them --------------------------------------------------------- */

#define ACK_ROOM 40 /* a PATH_ACK with a few ranges */

uint64_t conn_ack_id(const struct quic_conn *c, const struct quic_path *p)
{
    return c->n_ext_rows && c->complete ? p->id : ACKRX_NO_PATH;
}

/* The path that carries the acknowledgements of others; null: none does, or none could now. */
static const struct quic_path *carrier(const struct quic_conn *c)
{
    if (!c->n_ext_rows || !c->complete || c->n_paths == 1)
        return NULL;
    const struct quic_path *best = conn_path_best(c);
    return best && path_may_ack(best, conn_least(c)) ? best : NULL;
}

/* Whether `q`'s acknowledgements are another path's task. */
static bool carried(const struct quic_conn *c, const struct quic_path *q,
                    const struct quic_path *by)
{
    return by && q != by &&
           (q->phase == PATH_ENDED || (q->used && c->acks == QUIC_ACKS_FASTEST));
}

bool conn_acks_ride(const struct quic_conn *c, const struct quic_path *p)
{
    if (p->ack_own_at <= c->now)
        return true;
    return ackrx_pending(&p->ack[SPACE_APP]) &&
           !(c->acks == QUIC_ACKS_FASTEST && carried(c, p, carrier(c)));
}

static bool other_due(const struct quic_conn *c, const struct quic_path *q,
                      const struct quic_path *by)
{
    return carried(c, q, by) && ackrx_due(&q->ack[SPACE_APP], c->now);
}

bool conn_acks_due(const struct quic_conn *c, const struct quic_path *p)
{
    if (p->ack_own_at <= c->now)
        return true;
    if (c->n_paths == 1)
        return ackrx_due(&p->ack[SPACE_APP], c->now);
    const struct quic_path *by = carrier(c);
    for (size_t i = 0; by == p && i < c->n_paths; i++)
        if (other_due(c, &c->path[i], by))
            return true;
    return !carried(c, p, by) && ackrx_due(&p->ack[SPACE_APP], c->now);
}

ns_t conn_acks_deadline(const struct quic_conn *c)
{
    ns_t at = NS_NEVER;
    if (carrier(c))
        for (size_t i = 0; i < c->n_paths; i++)
            if (c->path[i].phase == PATH_ENDED)
                at = ns_min(at, ackrx_deadline(&c->path[i].ack[SPACE_APP]));
    return at;
}

static void write_other(struct build *b, struct quic_path *q)
{
    struct quic_conn *c = b->conn;
    struct sent_record rec = {.kind = CONN_RECORD_ACK, .path = q->id};
    if (!build_room(b, LEVEL_APP, ACK_ROOM) ||
        !ackrx_frame(&q->ack[SPACE_APP], &b->w, q->id, CONN_ACK_EXPONENT, c->now, &rec.a))
        return;
    build_record(b, &rec);
    if (q->used)
        q->ack_own_at = ns_min(q->ack_own_at, ns_add(c->now, c->cfg.max_ack_delay));
}

/*
 * Acknowledgements are lost with the path that carries them, and what came by it in its last
 * round trip would go again over the others, before what did not come. So a slower path that
 * acknowledges on its own tells those of a faster one once more: there, they come too late to
 * be taken for a round trip.
 */
static void write_again(struct build *b, const struct quic_path *p)
{
    struct quic_conn *c = b->conn;
    for (size_t i = 0; i < c->n_paths; i++) {
        struct quic_path *q = &c->path[i];
        if (q == p || !q->used || q->phase == PATH_ENDED || c->now < q->ack_again_at ||
            q->recovery.rtt.smoothed >= p->recovery.rtt.smoothed ||
            !build_room(b, LEVEL_APP, ACK_ROOM) ||
            !ackrx_again(&q->ack[SPACE_APP], &b->w, q->id, CONN_ACK_EXPONENT, c->now))
            continue;
        q->ack_again_at = ns_add(c->now, c->cfg.max_ack_delay);
    }
}

void conn_acks_write(struct build *b)
{
    struct quic_conn *c = b->conn;
    struct quic_path *p = b->path;
    uint64_t largest = SENT_NO_ACK;
    const struct quic_path *by = carrier(c);
    if (conn_acks_ride(c, p) &&
        ackrx_frame(&p->ack[SPACE_APP], &b->w, conn_ack_id(c, p), CONN_ACK_EXPONENT, c->now,
                    &largest)) {
        b->proto.ack_largest = largest;
        p->ack_own_at = NS_NEVER;
        if (c->n_paths > 1 && c->acks == QUIC_ACKS_OWN && conn_ack_id(c, p) != ACKRX_NO_PATH)
            write_again(b, p);
    }
    for (size_t i = 0; by == p && i < c->n_paths; i++)
        if (other_due(c, &c->path[i], by))
            write_other(b, &c->path[i]);
}
