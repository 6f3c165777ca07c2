#include <stdlib.h>
#include <string.h>

#include "quic/build.h"
#include "quic/conn_qlog.h"

#define BATCH    64 /* headers masked by one cipher call */
#define ACK_ROOM 36 /* an ACK with a few ranges */
#define PREFIX   (ACK_ROOM + 24)
#define SAMPLE   4 /* see build.c */

/* One call of quic_dgram_send, and what doesn't change from one of its packets to the next. */
struct run {
    struct quic_conn *c;
    struct quic_path *p;
    struct path_route *r;
    struct quic_train *t;
    const struct quic_cid *dcid;
    struct aead *key;
    size_t pn_len;   /* enough for all of them */
    size_t overhead; /* bytes that a packet adds to its frames */
    size_t least;    /* bytes of frames that a packet has at least */
    size_t probe;    /* bytes kept free for a path MTU probe that is due */
    size_t paced;    /* bytes that the pacer allows */
    size_t sent;     /* cost of the packets sealed, which the pacer is yet to hear of */
    size_t n;        /* packets sealed and not yet masked, */
    uint8_t *first;  /* the first of them */
    bool joins;      /* the train goes where the packets go */
    uint8_t ecn;
};

static int can_send(const struct quic_conn *c, size_t path)
{
    if (!conn_alive(c))
        return QUIC_CLOSED;
    if (!c->complete || !c->peer.max_datagram_frame_size || path >= c->n_paths ||
        !c->path[path].used)
        return QUIC_INVAL;
    /* The end of our handshake first: without it the peer can't read what follows. */
    return sbuf_pending(&c->crypto[SPACE_HANDSHAKE].tx) || !c->path[path].proven ? QUIC_BLOCKED
                                                                                 : 0;
}

/* Mask the headers of what is sealed, all by one call: the train has them at equal distances. */
static void mask_heads(struct run *run)
{
    uint8_t samples[BATCH][AEAD_SAMPLE], masks[BATCH][AEAD_MASK];
    size_t pn_offset = 1u + run->dcid->len, step = run->t->segment;
    for (size_t i = 0; i < run->n; i++)
        memcpy(samples[i], run->first + i * step + pn_offset + 4, AEAD_SAMPLE);
    if (run->n && aead_masks(run->key, samples, run->n, masks) != 0)
        conn_fail(run->c, QUIC_INTERNAL_ERROR, 0, "headers could not be protected");
    for (size_t i = 0; i < run->n; i++)
        aead_mask_head(run->first + i * step, pn_offset, run->pn_len, masks[i]);
    run->n = 0;
}

/*
 * PADDING for a packet too short for header protection, or so short that it would look like a
 * stateless reset (RFC 9000 10.3); a due ACK; the frame's type.
 */
static size_t prefix(struct run *run, size_t payload, bool ack, uint8_t *out,
                     uint64_t *ack_largest)
{
    struct wire_w w = wire_w_of(out, PREFIX);
    size_t frames = 1 + payload;
    if (ack) {
        struct wire_w aw = wire_w_of(out, ACK_ROOM);
        if (ackrx_frame(&run->p->ack[SPACE_APP], &aw, conn_ack_id(run->c, run->p),
                        CONN_ACK_EXPONENT, run->c->now, ack_largest)) {
            w.p = aw.p;
            run->p->ack_own_at = NS_NEVER;
        }
    }
    frames += (size_t)(w.p - out);
    if (frames < run->least)
        wire_w_zero(&w, run->least - frames);
    wire_w_u8(&w, FRAME_DATAGRAM);
    return (size_t)(w.p - out);
}

static size_t payload_bytes(const struct quic_dgram *d)
{
    return d->head.n + d->n;
}

/*
 * Seal prefix, head and payload behind the packet's head `aad`: from where the payload lies, the
 * others put before it for that time, or from a copy at the place where the result goes.
 */
static int seal_payload(struct run *run, const struct quic_dgram *d, uint64_t pn,
                        struct span aad, const uint8_t *pre, size_t pre_n)
{
    uint8_t kept[PREFIX + QUIC_DGRAM_HEAD_MAX];
    uint8_t *out = (uint8_t *)(uintptr_t)aad.p + aad.n;
    size_t n = pre_n + d->head.n;
    bool in_place = d->headroom >= n;
    uint8_t *in = in_place ? d->p - n : out;

    if (in_place)
        memcpy(kept, in, n);
    else if (d->n)
        memcpy(in + n, d->p, d->n);
    memcpy(in, pre, pre_n);
    if (d->head.n)
        memcpy(in + pre_n, d->head.p, d->head.n);
    int r = aead_seal(run->key, run->p->id, pn, aad, in, n + d->n, out);
    if (in_place)
        memcpy(in, kept, n);
    return r;
}

static void log_sent(const struct run *run, uint64_t pn, struct span prefix_bytes,
                     size_t payload, size_t bytes)
{
    struct conn_qlog_sent s = {.path = run->p,
                               .dcid = run->dcid,
                               .level = LEVEL_APP,
                               .pn = pn,
                               .bytes = bytes,
                               .frames = prefix_bytes,
                               .dgram_rest = payload};
    CONN_QLOG(run->c, sent, &s);
}

/* Seal one packet at the end of the train. Returns 0, or the negative code. */
static int seal(struct run *run, const struct quic_dgram *d, uint64_t pn, bool ack)
{
    struct quic_conn *c = run->c;
    struct sent *sent = &run->p->recovery.space[SPACE_APP].sent;
    int begun = sent_begin(sent, pn);
    if (begun)
        return begun == QUIC_NOMEM ? QUIC_NOMEM : QUIC_BLOCKED;
    struct sent_packet proto = {.time = c->now,
                                .flags = SENT_ELICITING | SENT_IN_FLIGHT,
                                .ecn = run->ecn,
                                .tag = d->tag,
                                .ack_largest = SENT_NO_ACK};
    if (d->tag)
        proto.flags |= SENT_DGRAM;
    uint8_t pre[PREFIX];
    size_t pre_n = prefix(run, payload_bytes(d), ack, pre, &proto.ack_largest);
    uint8_t *out = run->t->buf + run->t->len;
    struct wire_w w = wire_w_of(out, 1 + QUIC_CID_MAX + 4);
    build_short_head(&w, c, run->dcid, pn, run->pn_len);
    pn_write(&w, pn, run->pn_len);
    size_t head = (size_t)(w.p - out);
    if (seal_payload(run, d, pn, span_of(out, head), pre, pre_n)) {
        sent_abort(sent);
        conn_fail(c, QUIC_INTERNAL_ERROR, 0, "a packet could not be sealed");
        return QUIC_CLOSED;
    }
    proto.bytes = (uint32_t)(head + pre_n + payload_bytes(d) + QUIC_TAG);
    recovery_on_sent(&run->p->recovery, SPACE_APP, &proto);
    if (c->qlog)
        log_sent(run, pn, span_of(pre, pre_n), payload_bytes(d), proto.bytes);
    if (!run->n++)
        run->first = out;
    run->sent += path_cost(run->p, proto.bytes);
    build_sent(c, run->p, run->r, run->t, proto.bytes, run->ecn, false);
    return 0;
}

/*
 * Whether an ACK may ride along: only where it can't make packets of a train unequal, that is
 * in a packet that is alone or ends the train by being shorter than the others, and where
 * `room` allows it.
 */
static bool ack_rides(const struct run *run, size_t size, size_t room, bool last)
{
    return size + ACK_ROOM <= room && (run->t->count || last) &&
           conn_acks_ride(run->c, run->p);
}

/* The pacer hears of what was sealed. */
static void tell_pacer(struct run *run)
{
    if (run->sent)
        pacer_sent(&run->p->pacer, run->sent, run->c->now);
    run->sent = 0;
}

/* One packet: 0, or why it can't go. */
static int one(struct run *run, const struct quic_dgram *d, bool last)
{
    struct quic_path *p = run->p;
    size_t payload = payload_bytes(d), mtu = p->mtu.current;
    size_t size = run->overhead + (1 + payload < run->least ? run->least : 1 + payload);
    if (d->head.n > QUIC_DGRAM_HEAD_MAX)
        return QUIC_INVAL;
    if (size > mtu || payload >= run->c->peer.max_datagram_frame_size)
        return QUIC_TOOBIG;
    run->ecn = build_ecn(p, run->r); /* sending may change it */
    size_t room = run->joins && (!run->t->count || run->t->ecn == run->ecn)
                      ? build_train_left(run->t, mtu)
                      : 0;
    if (room > mtu) /* a path MTU probe leads the train */
        room = mtu;
    if (room < size)
        return run->t->count == 0 ? QUIC_TOOBIG : QUIC_AGAIN;
    size_t most = room > size + ACK_ROOM ? size + ACK_ROOM : room;
    if (!path_window(p, most + run->probe) ||
        (!run->r->validated && path_amplification_room(run->r) < most))
        return QUIC_BLOCKED;
    if (run->sent >= run->paced) {
        tell_pacer(run);
        p->dgram_paced_until = pacer_next(&p->pacer);
        return QUIC_BLOCKED;
    }
    return seal(run, d, recovery_next_pn(&p->recovery, SPACE_APP),
                ack_rides(run, size, room, last));
}

static void want_fates(struct quic_conn *c, const struct quic_dgram *pkts, size_t n)
{
    for (size_t i = 0; i < n && !c->fate; i++)
        if (pkts[i].tag) {
            c->fate = malloc(CONN_FATES * sizeof(*c->fate));
            return;
        }
}

/*
 * A path MTU probe that is due gets its place in the window: else DATAGRAMs would fill it up for
 * ever. Not one so large that they would have to wait for a window which only they can open.
 */
static size_t probe_due(const struct quic_path *p, ns_t now)
{
    size_t probe = mtu_next_probe(&p->mtu, now);
    return 2 * (uint64_t)probe <= p->recovery.cc.cwnd ? probe : 0;
}

/* What holds for all of at most `n` packets. False if the peer has no ID for us. */
static bool begin(struct run *run, size_t n)
{
    struct quic_conn *c = run->c;
    struct quic_path *p = run->p;
    const struct recovery *r = &p->recovery;
    run->dcid = path_dcid(p, run->r);
    if (!run->dcid)
        return false;
    run->key = &c->keys.tx[LEVEL_APP];
    /* Equal in all of them, with as many numbers passed over as there are packets. */
    uint64_t last = sent_next(&r->space[SPACE_APP].sent) + 2 * n;
    run->pn_len = pn_len_app(last, recovery_largest_acked(r, SPACE_APP));
    run->overhead = build_app_overhead(run->dcid, run->pn_len);
    size_t whole = c->cfg.cid_len + 22u; /* RFC 9000 10.3 */
    run->least = run->overhead + SAMPLE < whole ? whole - run->overhead : SAMPLE;
    run->joins = run->t->count == 0 || build_train_joins(run->t, p, run->r);
    run->probe = probe_due(p, c->now);
    run->paced = pacer_ready(&p->pacer, c->now);
    return true;
}

int quic_dgram_send(struct quic_conn *c, size_t path, struct quic_train *t,
                    struct quic_dgram *pkts, size_t n, ns_t now)
{
    c->now = now;
    keys_check_limits(c);
    int r = can_send(c, path);
    if (r)
        return r;
    struct quic_path *p = &c->path[path];
    path_pace(p, now);
    struct run run = {.c = c, .p = p, .r = path_current(p), .t = t};
    if (!begin(&run, n))
        return QUIC_BLOCKED;
    p->dgram_paced_until = NS_NEVER;
    want_fates(c, pkts, n);
    size_t done = 0;
    while (done < n && r == 0) {
        r = one(&run, &pkts[done], done + 1 == n);
        if (r == 0)
            done++;
        if (run.n == BATCH)
            mask_heads(&run);
    }
    mask_heads(&run);
    tell_pacer(&run);
    if (done && !c->eliciting_since_rx) {
        c->eliciting_since_rx = true;
        conn_restart_idle(c);
    }
    c->stats.dgrams_sent += done;
    CONN_QLOG(c, update);
    return done ? (int)done : r;
}
