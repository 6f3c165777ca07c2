/*
 * cids - connection IDs of paths: issued ahead for each path ID that both ends allow, one for a
 * path that is ahead (so that it opens in one round trip), and as many as the peer takes once
 * it is open (for a NAT that rebinds, and for moving). All in PATH_ frames, path 0 included.
 */
#include <string.h>

#include "mp/ext.h"

#define AHEAD_CIDS 1

static void put(struct wire_w *w, const struct frame *f)
{
    frame_encode(w, frame_find(f->type, mp_frame_table, mp_frame_table_len), f);
}

/* Nothing is announced for a path that is ending, nor beyond what the peer allows. */
static bool announces(const struct mp *m, size_t at)
{
    const struct mp_path *p = &m->path[at];
    return (p->state == MP_AHEAD || mp_state_open(p->state)) &&
           m->c->path[at].id <= m->peer_max;
}

bool mp_cids_due(const struct mp *m, size_t at)
{
    uint64_t seq;
    const struct quic_path *p = &m->c->path[at];
    return announces(m, at) && (cid_local_pending(&p->ours) || path_next_retire(p, &seq));
}

void mp_cids_limit(struct mp *m, size_t at)
{
    uint64_t limit = m->c->peer.active_connection_id_limit;
    if (m->path[at].state == MP_AHEAD && limit > AHEAD_CIDS)
        limit = AHEAD_CIDS;
    cid_local_set_limit(&m->c->path[at].ours, limit);
    m->due = true;
}

bool mp_cids_write(struct mp *m, size_t at, struct wire_w *w, struct sent_record *rec)
{
    struct quic_path *p = &m->c->path[at];
    struct frame f = {.path_id = p->id};
    struct cid_issue issue;
    uint64_t seq;
    if (!announces(m, at))
        return false;
    rec->path = p->id;
    if (path_next_retire(p, &seq)) {
        f.type = MP_PATH_RETIRE_CONNECTION_ID;
        f.seq = rec->a = seq;
        rec->kind = MP_REC_RETIRE;
        put(w, &f);
        if (!w->failed)
            cid_remote_on_sent(&p->theirs, seq);
        return !w->failed;
    }
    if (!cid_local_next(&p->ours, &issue))
        return false;
    f.type = MP_PATH_NEW_CONNECTION_ID;
    f.new_cid.seq = rec->a = issue.seq;
    f.new_cid.cid = issue.cid;
    memcpy(f.new_cid.token, issue.token, sizeof(issue.token));
    rec->kind = MP_REC_NEW_CID;
    put(w, &f);
    if (!w->failed)
        cid_local_on_sent(&p->ours, issue.seq);
    return !w->failed;
}

/* An ID is issued once in a connection, for one path (RFC 10069 3.2.1). */
static bool used_elsewhere(const struct mp *m, size_t at, const struct quic_cid *cid)
{
    for (size_t i = 0; i < m->n; i++)
        for (size_t k = 0; i != at && k < CID_REMOTE_MAX; k++) {
            const struct cid_peer *other = &m->c->path[i].theirs.peer[k];
            if (other->use != CID_NONE && cid_eq(&other->cid, cid))
                return true;
        }
    return false;
}

int mp_cids_on_new(struct mp *m, size_t at, const struct frame *f)
{
    struct quic_path *p = &m->c->path[at];
    if (used_elsewhere(m, at, &f->new_cid.cid))
        return QUIC_PROTOCOL_VIOLATION;
    int r = cid_remote_add(&p->theirs, &f->new_cid, CONN_CID_LIMIT);
    /* The client's first packet on the path was faster than this frame. */
    if (r == 0 && mp_state_open(m->path[at].state) && !cid_remote_current(&p->theirs))
        cid_remote_rotate(&p->theirs);
    return r;
}

int mp_cids_on_retire(struct mp *m, size_t at, const struct frame *f,
                      const struct rx_packet *pkt)
{
    struct quic_path *p = &m->c->path[at];
    return cid_local_retire(&p->ours, f->seq, pkt->path == p ? pkt->dcid : NULL);
}

int mp_cids_on_blocked(struct mp *m, size_t at, const struct frame *f)
{
    m->stats.cids_blocked++;
    return f->seq > m->c->path[at].ours.sent_seqs ? QUIC_PROTOCOL_VIOLATION : 0;
}

void mp_cids_on_fate(struct mp *m, size_t at, const struct sent_record *rec, bool acked)
{
    struct quic_path *p = &m->c->path[at];
    if (rec->kind == MP_REC_NEW_CID && acked)
        cid_local_on_acked(&p->ours, rec->a);
    else if (rec->kind == MP_REC_NEW_CID)
        cid_local_on_lost(&p->ours, rec->a);
    else if (acked)
        cid_remote_on_acked(&p->theirs, rec->a);
    else
        cid_remote_on_lost(&p->theirs, rec->a);
}

bool mp_cids_ready(const struct mp *m, size_t at)
{
    const struct quic_path *p = &m->c->path[at];
    bool arrived = false;
    for (size_t i = 0; i < CID_LOCAL_MAX; i++)
        arrived |= p->ours.slot[i].state == CID_ACKED;
    return arrived && cid_remote_unused(&p->theirs) > 0;
}
