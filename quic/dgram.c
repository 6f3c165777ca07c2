#include <stdlib.h>
#include <string.h>

#include "quic/build.h"
#include "quic/conn_qlog.h"

#define BATCH    64 /* headers masked by one cipher call */
#define ACK_ROOM 36 /* an ACK with a few ranges */
#define PREFIX   (ACK_ROOM + 24)
#define PN_LEN   2 /* packet numbers have at least this, so that sizes stay equal */
#define SAMPLE   4 /* see build.c */

/* One call of quic_dgram_send. */
struct run {
    struct quic_conn *c;
    struct quic_path *p;
    struct path_route *r;
    struct quic_train *t;
    const struct quic_cid *dcid;
    struct aead *key;
    uint8_t *pkt[BATCH]; /* sealed, not yet masked */
    size_t pn_offset, pn_len[BATCH], n;
};

static int can_send(const struct quic_conn *c, size_t path)
{
    if (!conn_alive(c))
        return QUIC_CLOSED;
    if (!c->complete || !c->peer.max_datagram_frame_size || path >= c->n_paths ||
        !c->path[path].used)
        return QUIC_INVAL;
    /* The end of our handshake first: without it the peer can't read what follows. */
    return sbuf_pending(&c->crypto[SPACE_HANDSHAKE].tx) ? QUIC_BLOCKED : 0;
}

/* Mask the headers of what is sealed, all by one call. */
static void mask_heads(struct run *run)
{
    uint8_t samples[BATCH][AEAD_SAMPLE], masks[BATCH][AEAD_MASK];
    for (size_t i = 0; i < run->n; i++)
        memcpy(samples[i], run->pkt[i] + run->pn_offset + 4, AEAD_SAMPLE);
    if (run->n && aead_masks(run->key, samples, run->n, masks) != 0)
        conn_fail(run->c, QUIC_INTERNAL_ERROR, 0, "headers could not be protected");
    for (size_t i = 0; i < run->n; i++)
        aead_mask_head(run->pkt[i], run->pn_offset, run->pn_len[i], masks[i]);
    run->n = 0;
}

/* The least bytes of frames: for header protection, and not to look like a reset (10.3). */
static size_t frames_least(const struct run *run, size_t fixed)
{
    size_t least = run->c->cfg.cid_len + 22u;
    return fixed + SAMPLE < least ? least - fixed : SAMPLE;
}

/* PADDING for a packet too short for header protection, a due ACK, the frame's type. */
static size_t prefix(struct run *run, size_t payload, size_t pnl, bool ack, uint8_t *out,
                     uint64_t *ack_largest)
{
    struct wire_w w = wire_w_of(out, PREFIX);
    size_t want = frames_least(run, build_app_overhead(run->dcid, pnl));
    size_t frames = 1 + payload;
    if (ack) {
        struct wire_w aw = wire_w_of(out, ACK_ROOM);
        if (ackrx_frame(&run->p->ack[SPACE_APP], &aw, ACKRX_NO_PATH, CONN_ACK_EXPONENT,
                        run->c->now, ack_largest))
            w.p = aw.p;
    }
    frames += (size_t)(w.p - out);
    if (frames < want)
        wire_w_zero(&w, want - frames);
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
static int seal(struct run *run, const struct quic_dgram *d, uint64_t pn, size_t pnl, bool ack)
{
    struct quic_conn *c = run->c;
    struct sent *sent = &run->p->recovery.space[SPACE_APP].sent;
    int begun = sent_begin(sent, pn);
    if (begun)
        return begun == QUIC_NOMEM ? QUIC_NOMEM : QUIC_BLOCKED;
    struct sent_packet proto = {.time = c->now,
                                .flags = SENT_ELICITING | SENT_IN_FLIGHT,
                                .ecn = build_ecn(run->p, run->r),
                                .tag = d->tag,
                                .ack_largest = SENT_NO_ACK};
    if (d->tag)
        proto.flags |= SENT_DGRAM;
    uint8_t pre[PREFIX];
    size_t pre_n = prefix(run, payload_bytes(d), pnl, ack, pre, &proto.ack_largest);
    uint8_t *out = run->t->buf + run->t->len;
    struct wire_w w = wire_w_of(out, 1 + QUIC_CID_MAX + 4);
    build_short_head(&w, c, run->dcid, pn, pnl);
    pn_write(&w, pn, pnl);
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
    run->pkt[run->n] = out;
    run->pn_len[run->n++] = pnl;
    build_sent(c, run->p, run->r, run->t, proto.bytes, proto.ecn, true);
    return 0;
}

/* The size of the packet for `payload` bytes without an ACK. */
static size_t packet_size(const struct run *run, size_t payload, size_t pnl)
{
    size_t fixed = build_app_overhead(run->dcid, pnl), least = frames_least(run, fixed);
    return fixed + (1 + payload < least ? least : 1 + payload);
}

/*
 * Whether an ACK may ride along: only where it can't make packets of a train unequal, that is
 * in a packet that is alone or ends the train by being shorter than the others, and where
 * `room` allows it.
 */
static bool ack_rides(const struct run *run, size_t size, size_t room, bool last)
{
    return ackrx_pending(&run->p->ack[SPACE_APP]) && (run->t->count || last) &&
           size + ACK_ROOM <= room;
}

/* One packet: 0, or why it can't go. */
static int one(struct run *run, const struct quic_dgram *d, bool last)
{
    struct quic_path *p = run->p;
    struct recovery *r = &p->recovery;
    size_t room;
    uint64_t pn = recovery_next_pn(r, SPACE_APP);
    size_t pnl = pn_len(pn, recovery_largest_acked(r, SPACE_APP));
    if (pnl < PN_LEN)
        pnl = PN_LEN;
    size_t size = packet_size(run, payload_bytes(d), pnl);
    if (d->head.n > QUIC_DGRAM_HEAD_MAX)
        return QUIC_INVAL;
    if (size > p->mtu.current || payload_bytes(d) >= run->c->peer.max_datagram_frame_size)
        return QUIC_TOOBIG;
    room = build_train_room(run->t, p, run->r, p->mtu.current);
    if (room > p->mtu.current) /* a path MTU probe leads the train */
        room = p->mtu.current;
    if (room < size)
        return run->t->count == 0 ? QUIC_TOOBIG : QUIC_AGAIN;
    size_t most = room > size + ACK_ROOM ? size + ACK_ROOM : room;
    /* A path MTU probe that is due gets its place in the window. */
    size_t probe = mtu_next_probe(&p->mtu, run->c->now);
    if (!path_window(p, most + probe) || path_amplification_room(run->r) < most)
        return QUIC_BLOCKED;
    if (pacer_ready(&p->pacer, run->c->now) == 0) {
        p->dgram_paced_until = pacer_next(&p->pacer);
        return QUIC_BLOCKED;
    }
    return seal(run, d, pn, pnl, ack_rides(run, size, room, last));
}

static void want_fates(struct quic_conn *c, const struct quic_dgram *pkts, size_t n)
{
    for (size_t i = 0; i < n && !c->fate; i++)
        if (pkts[i].tag) {
            c->fate = malloc(CONN_FATES * sizeof(*c->fate));
            return;
        }
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
    struct run run = {.c = c, .p = p, .r = path_current(p), .t = t};
    run.dcid = path_dcid(p, run.r);
    run.key = &c->keys.tx[LEVEL_APP];
    if (!run.dcid)
        return QUIC_BLOCKED;
    run.pn_offset = 1 + run.dcid->len;
    p->dgram_paced_until = NS_NEVER;
    path_pace(p, now);
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
    if (done && !c->eliciting_since_rx) {
        c->eliciting_since_rx = true;
        conn_restart_idle(c);
    }
    c->stats.dgrams_sent += done;
    CONN_QLOG(c, update);
    return done ? (int)done : r;
}
