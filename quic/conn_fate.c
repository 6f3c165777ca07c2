#include <stdlib.h>

#include "quic/conn_qlog.h"

static void crypto_fate(struct quic_conn *c, const struct sent_record *rec, bool acked)
{
    struct sbuf *tx = &c->crypto[space_of((enum quic_level)rec->a)].tx;
    if (acked)
        sbuf_on_acked(tx, rec->b, rec->len, rec->fin);
    else
        sbuf_on_lost(tx, rec->b, rec->len, rec->fin);
}

static struct quic_path *path_by_id(struct quic_conn *c, uint32_t id)
{
    for (size_t i = 0; i < c->n_paths; i++)
        if (c->path[i].phase != PATH_FREE && c->path[i].id == id)
            return &c->path[i];
    return NULL;
}

/* One frame of ours arrived, or has to be sent again. */
static void fate(struct quic_conn *c, const struct sent_record *rec, bool acked)
{
    struct quic_path *about;
    switch (rec->kind) {
    case FRAME_CRYPTO:
        crypto_fate(c, rec, acked);
        return;
    case FRAME_HANDSHAKE_DONE:
        c->done_acked |= acked;
        c->done_due = !c->done_acked;
        return;
    case FRAME_NEW_TOKEN:
        if (rec->a != c->new_tokens) /* the client has moved since: another one counts */
            return;
        if (acked) {
            free(c->new_token);
            c->new_token = NULL;
            c->new_token_len = 0;
        }
        c->new_token_due = c->new_token != NULL;
        return;
    case FRAME_ACK_FREQUENCY:
        if (acked)
            ackfreq_on_acked(&c->ackfreq, rec->a, rec->b);
        else
            ackfreq_on_lost(&c->ackfreq, rec->a);
        return;
    case FRAME_NEW_CONNECTION_ID:
        about = path_by_id(c, rec->path);
        if (about && acked)
            cid_local_on_acked(&about->ours, rec->a);
        else if (about)
            cid_local_on_lost(&about->ours, rec->a);
        return;
    case FRAME_RETIRE_CONNECTION_ID:
        about = path_by_id(c, rec->path);
        if (about && acked)
            cid_remote_on_acked(&about->theirs, rec->a);
        else if (about)
            cid_remote_on_lost(&about->theirs, rec->a);
        return;
    case CONN_RECORD_ACK:
        about = path_by_id(c, rec->path);
        if (about && acked)
            ackrx_on_ack_of_ack(&about->ack[SPACE_APP], rec->a);
        return;
    default:
        if (rec->kind < EXT_RECORD_FIRST)
            streams_on_fate(&c->streams, rec, acked);
        else if (c->ext)
            c->cfg.ext->on_fate(c->ext, rec, acked);
    }
}

static void dgram_fate(struct quic_conn *c, const struct quic_path *p, uint64_t tag,
                       enum verdict_fate verdict)
{
    static const enum quic_fate fates[] = {[VERDICT_ACKED] = QUIC_FATE_ACKED,
                                           [VERDICT_LOST] = QUIC_FATE_LOST,
                                           [VERDICT_SPURIOUS] = QUIC_FATE_SPURIOUS};
    if (!c->fate) {
        c->stats.drop_fate++;
        return;
    }
    if (c->fate_n == CONN_FATES) {
        c->fate_first = (c->fate_first + 1) % CONN_FATES;
        c->fate_n--;
        c->stats.drop_fate++;
    }
    c->fate[(c->fate_first + c->fate_n++) % CONN_FATES] =
        (struct quic_dgram_fate){tag, conn_path_index(c, p), fates[verdict]};
}

static void acked_packet(struct quic_conn *c, struct quic_path *p, const struct verdict *v)
{
    const struct sent_packet *pkt = v->pkt;
    if (pkt->ack_largest != SENT_NO_ACK)
        ackrx_on_ack_of_ack(&p->ack[v->space], pkt->ack_largest);
    if (v->space == SPACE_APP)
        keys_acked(c, p, v->pn);
    if (pkt->flags & SENT_PROBE)
        mtu_on_probe_acked(&p->mtu, v->pn, c->now);
    else
        mtu_on_acked(&p->mtu, v->pn, pkt->bytes);
}

static void lost_packet(struct quic_conn *c, struct quic_path *p, const struct verdict *v)
{
    CONN_QLOG(c, lost, p, v);
    if (v->pkt->flags & SENT_PROBE)
        mtu_on_probe_lost(&p->mtu, v->pn, c->now);
    else
        mtu_on_lost(&p->mtu, v->pn, v->pkt->bytes);
}

void conn_verdicts(struct quic_conn *c, struct quic_path *p)
{
    struct verdict v;
    size_t mtu = p->mtu.current;
    while (recovery_next_verdict(&p->recovery, &v)) {
        bool acked = v.fate == VERDICT_ACKED || v.fate == VERDICT_SPURIOUS;
        if (acked)
            acked_packet(c, p, &v);
        else if (v.fate == VERDICT_LOST)
            lost_packet(c, p, &v);
        if (v.pkt->flags & SENT_DGRAM)
            dgram_fate(c, p, v.pkt->tag, v.fate);
        for (size_t i = 0; i < v.n; i++)
            fate(c, &v.rec[i], acked);
    }
    recovery_verdicts_done(&p->recovery, c->now);
    mtu_judge(&p->mtu, c->now);
    if (p->mtu.current != mtu)
        conn_path_mtu(c, p);
}

void conn_probe(struct quic_conn *c, struct quic_path *p)
{
    for (int s = 0; s < SPACE_N; s++) {
        struct verdict v;
        for (uint32_t k = recovery_probes(&p->recovery, (enum quic_space)s); k; k--) {
            if (!recovery_next_probe(&p->recovery, (enum quic_space)s, &v))
                break;
            for (size_t i = 0; i < v.n; i++)
                fate(c, &v.rec[i], false);
        }
    }
}

void conn_probe_more(struct quic_conn *c, struct quic_path *p, enum quic_space space)
{
    struct verdict v;
    recovery_rewind_probe(&p->recovery, space);
    if (recovery_next_probe(&p->recovery, space, &v))
        for (size_t i = 0; i < v.n; i++)
            fate(c, &v.rec[i], false);
}

/*
 * The connection has ended: the next DATAGRAM that was neither acknowledged nor lost then.
 * Nothing is sent or acknowledged any more, so the walk over the sent packets never goes back.
 */
static bool fate_at_end(struct quic_conn *c, struct quic_dgram_fate *out)
{
    for (; c->fate_path < c->n_paths; c->fate_path++, c->fate_pn = 0) {
        const struct quic_path *p = &c->path[c->fate_path];
        const struct sent *sent = &p->recovery.space[SPACE_APP].sent;
        if (p->phase < PATH_OPEN)
            continue;
        if (c->fate_pn < sent->base)
            c->fate_pn = sent->base;
        while (c->fate_pn < sent->next) {
            const struct sent_packet *pkt = sent_get(sent, c->fate_pn++);
            if ((pkt->flags & (SENT_DGRAM | SENT_ACKED | SENT_LOST)) != SENT_DGRAM)
                continue;
            *out = (struct quic_dgram_fate){pkt->tag, c->fate_path, QUIC_FATE_LOST};
            return true;
        }
    }
    return false;
}

size_t quic_dgram_fates(struct quic_conn *c, struct quic_dgram_fate *out, size_t max)
{
    size_t n = c->fate_n < max ? c->fate_n : max;
    for (size_t i = 0; i < n; i++)
        out[i] = c->fate[(c->fate_first + i) % CONN_FATES];
    c->fate_first = (c->fate_first + n) % CONN_FATES;
    c->fate_n -= n;
    while (c->fate && n < max && !conn_alive(c) && fate_at_end(c, &out[n]))
        n++;
    return n;
}
