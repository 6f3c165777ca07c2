/*
 * ext - multipath at the seam of a connection: parameters, frames both ways, fates.
 *
 * Each path ID up to `local_max` that is not over has a place, and there are as many places as
 * the connection has path slots; the limit is raised only when a place has become free. So
 * whatever the peer opens, abandons or announces, nothing grows.
 */
#include "mp/ext.h"

#include <stdlib.h>

bool mp_find(const struct mp *m, uint64_t id, size_t *at)
{
    for (size_t i = 0; i < m->n; i++) {
        enum mp_state s = m->path[i].state;
        if (s != MP_NONE && m->c->path[i].id == id) {
            *at = i;
            return true;
        }
    }
    return false;
}

/* ---- life ------------------------------------------------------------------------------ */

static void *ext_open(struct quic_conn *c)
{
    struct mp *m = calloc(1, sizeof(*m) + c->cfg.max_paths * sizeof(m->path[0]));
    if (!m)
        return NULL;
    m->c = c;
    m->n = c->cfg.max_paths;
    m->wanted = true;
    m->local_max = m->n - 1;
    m->paths_told = MP_UNTOLD;
    return m;
}

static void ext_close(void *state)
{
    free(state);
}

static void ext_tparams(void *state, struct wire_w *w)
{
    const struct mp *m = state;
    mp_tparam_encode(w, m->local_max);
}

void mp_place(struct mp *m, struct quic_path *q, enum mp_state state)
{
    size_t at = conn_path_index(m->c, q);
    m->path[at] = (struct mp_path){.state = state,
                                   .cids_told = MP_UNTOLD,
                                   .keep = NS_NEVER,
                                   .lose = NS_NEVER,
                                   .probe = NS_NEVER};
    mp_cids_limit(m, at);
}

static int ext_on_peer_tparams(void *state, struct span blob, bool *negotiated)
{
    struct mp *m = state;
    struct quic_conn *c = m->c;
    int r = mp_tparam_find(blob, &m->peer_initial);
    *negotiated = false;
    if (r)
        return r == QUIC_DROP ? 0 : r;
    if (!c->peer_scid.len) /* paths are told apart by connection IDs (RFC 10069 2.1) */
        return QUIC_PROTOCOL_VIOLATION;
    m->on = *negotiated = true;
    m->peer_max = m->peer_initial;
    mp_place(m, &c->path[0], MP_OPEN);
    for (uint32_t id = 1; id <= m->local_max; id++) {
        struct quic_path *q = conn_path_reserve(c, id);
        if (!q)
            return QUIC_INTERNAL_ERROR;
        mp_place(m, q, MP_AHEAD);
    }
    return 0;
}

size_t mp_open_paths(const struct mp *m)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++)
        n += mp_state_open(m->path[i].state);
    return n;
}

void mp_tell_ready(struct mp *m)
{
    struct quic_conn *c = m->c;
    if (!m->wanted || c->server || !c->confirmed || !mp_ready(c))
        return;
    m->wanted = false;
    conn_event(c, QUIC_EV_PATHS_ALLOWED, 0, 0, 0);
}

static void stop(struct mp *m, size_t at)
{
    struct quic_conn *c = m->c;
    struct quic_path *q = &c->path[at];
    bool silent = path_silent(q) || !q->proven;
    ns_t pto = recovery_pto(&q->recovery);
    conn_path_end(c, q);
    if (silent)
        conn_path_lose(c, q);
    else
        m->path[at].lose = ns_add(c->now, pto);
}

/* The probe timeout of a path that may be over; 0 where nothing was measured. */
static ns_t own_pto(const struct quic_conn *c, size_t at)
{
    const struct recovery *r = &c->path[at].recovery;
    return rtt_has_sample(&r->rtt) ? recovery_pto(r) : 0;
}

void mp_step(struct mp *m, size_t at, enum mp_event event, uint64_t error)
{
    struct quic_conn *c = m->c;
    struct mp_path *p = &m->path[at];
    unsigned todo;
    p->state = mp_path_step(p->state, event, &todo);
    m->due = true;
    if (todo & MP_DO_SAY) {
        p->say = true;
        p->error = error;
        m->stats.abandoned++;
    }
    if (todo & MP_DO_KEEP) /* before the path's own timeout is forgotten */
        p->keep = ns_add(c->now, 3 * ns_max(conn_pto(c), own_pto(c, at)));
    if (todo & MP_DO_STOP)
        stop(m, at);
    if (todo & MP_DO_GONE)
        conn_event(c, QUIC_EV_PATH_GONE, at, 0, error);
    if (todo & MP_DO_DROP) {
        conn_path_drop(c, &c->path[at]);
        p->state = MP_NONE;
        m->stats.over++;
    }
}

static void ext_on_path(void *state, size_t at, enum ext_path_event what, ns_t now)
{
    struct mp *m = state;
    struct mp_path *p = &m->path[at];
    (void)now;
    switch (what) {
    case EXT_PATH_ARRIVED:
        mp_step(m, at, MP_EV_OPENED, 0);
        mp_cids_limit(m, at);
        m->stats.opened++;
        break;
    case EXT_PATH_PROVEN:
        mp_step(m, at, MP_EV_PROVEN, 0);
        p->status_due = p->has_status; /* a peer may forget what it was told before */
        break;
    case EXT_PATH_FAILED:
        if (mp_open_paths(m) > 1)
            mp_step(m, at, MP_EV_FAILED,
                    cid_remote_current(&m->c->path[at].theirs) ? MP_PATH_UNSTABLE_OR_POOR
                                                               : MP_NO_CID_AVAILABLE_FOR_PATH);
        break;
    }
}

/* ---- frames in ------------------------------------------------------------------------- */

static int on_max(struct mp *m, const struct frame *f)
{
    if (f->path_id > MP_PATH_ID_MAX || f->path_id < m->peer_initial)
        return QUIC_PROTOCOL_VIOLATION;
    if (f->path_id > m->peer_max)
        m->peer_max = f->path_id;
    return 0;
}

/* It may have more when a path of its is over; asking doesn't make that sooner. */
static int on_paths_blocked(struct mp *m, const struct frame *f)
{
    m->stats.paths_blocked++;
    return f->path_id > m->local_max ? QUIC_PROTOCOL_VIOLATION : 0;
}

static int on_abandon(struct mp *m, size_t at, const struct frame *f)
{
    if (mp_state_open(m->path[at].state) && mp_open_paths(m) == 1)
        conn_fail(m->c, QUIC_NO_ERROR, f->type, "the peer has abandoned the only path");
    else
        mp_step(m, at, MP_EV_ABANDONED, f->ext.v[0]);
    return 0;
}

static void on_status(struct mp *m, size_t at, const struct frame *f)
{
    struct mp_path *p = &m->path[at];
    if (mp_status_take(&p->peer, f->ext.v[0], f->type == MP_PATH_STATUS_BACKUP))
        m->c->path[at].standby = p->peer.backup;
}

/* A frame about the path ID at place `at`. */
static int on_path_frame(struct mp *m, size_t at, const struct rx_packet *pkt,
                         const struct frame *f)
{
    struct quic_conn *c = m->c;
    switch (f->type) {
    case MP_PATH_ACK:
    case MP_PATH_ACK_ECN:
        return rx_ack(c, &c->path[at], SPACE_APP, &f->ack, pkt->late);
    case MP_PATH_ABANDON:
        return on_abandon(m, at, f);
    case MP_PATH_STATUS_BACKUP:
    case MP_PATH_STATUS_AVAILABLE:
        on_status(m, at, f);
        return 0;
    case MP_PATH_NEW_CONNECTION_ID:
        return mp_cids_on_new(m, at, f);
    case MP_PATH_RETIRE_CONNECTION_ID:
        return mp_cids_on_retire(m, at, f, pkt);
    case MP_PATH_CIDS_BLOCKED:
        return mp_cids_on_blocked(m, at, f);
    default:
        return QUIC_INTERNAL_ERROR;
    }
}

static int ext_on_frame(void *state, const struct rx_packet *pkt, const struct frame *f,
                        ns_t now)
{
    struct mp *m = state;
    size_t at;
    int r = 0;
    (void)now;
    m->due |= f->type != MP_PATH_ACK && f->type != MP_PATH_ACK_ECN;
    if (f->type == MP_MAX_PATH_ID)
        r = on_max(m, f);
    else if (f->type == MP_PATHS_BLOCKED)
        r = on_paths_blocked(m, f);
    else if (f->path_id > m->local_max)
        r = QUIC_PROTOCOL_VIOLATION;
    else if (mp_find(m, f->path_id, &at))
        r = on_path_frame(m, at, pkt, f);
    if (r == 0)
        mp_tell_ready(m);
    return r;
}

/* ---- frames out ------------------------------------------------------------------------ */

static bool path_due(const struct mp *m, size_t at)
{
    const struct mp_path *p = &m->path[at];
    return p->state != MP_NONE &&
           (p->say || p->status_due || p->cids_due || mp_cids_due(m, at));
}

/* What there is to say of the path at `at` waits for another one: on this it would be lost. */
static bool elsewhere(const struct mp *m, size_t at, size_t by)
{
    const struct quic_conn *c = m->c;
    if (at != by || !m->path[at].wish[MP_SPARE] || !m->path[at].status_due)
        return false;
    for (size_t i = 0; i < c->n_paths; i++)
        if (i != at && conn_path_speaks(c, &c->path[i]))
            return true;
    return false;
}

static bool ext_pending(void *state, size_t path)
{
    struct mp *m = state;
    bool here;
    if (!m->due && !m->c->ext_news)
        return false;
    m->c->ext_news = false;
    m->due = here = m->max_due || m->paths_due;
    for (size_t i = 0; i < m->n && !here; i++) {
        bool due = path_due(m, i);
        m->due |= due;
        here = due && !elsewhere(m, i, path);
    }
    return here;
}

static bool write_frame(struct wire_w *w, const struct frame *f)
{
    frame_encode(w, frame_find(f->type, mp_frame_table, mp_frame_table_len), f);
    return !w->failed;
}

/* One frame about the path at `at`. */
static bool write_path(struct mp *m, size_t at, struct wire_w *w, struct sent_record *rec)
{
    struct mp_path *p = &m->path[at];
    struct frame f = {.path_id = m->c->path[at].id};
    rec->path = m->c->path[at].id;
    if (p->say) {
        f.type = MP_PATH_ABANDON;
        f.ext.v[0] = p->error;
        rec->kind = MP_REC_ABANDON;
        p->say = false;
        return write_frame(w, &f);
    }
    if (p->status_due) {
        f.type = mp_wished(p) ? MP_PATH_STATUS_BACKUP : MP_PATH_STATUS_AVAILABLE;
        f.ext.v[0] = rec->a = p->status_next++;
        rec->kind = MP_REC_STATUS;
        p->status_due = false;
        return write_frame(w, &f);
    }
    if (p->cids_due) {
        f.type = MP_PATH_CIDS_BLOCKED;
        f.seq = rec->a = m->c->path[at].theirs.seen_below;
        rec->kind = MP_REC_CIDS;
        p->cids_due = false;
        return write_frame(w, &f);
    }
    return mp_cids_write(m, at, w, rec);
}

/* One of the two limits. */
static bool write_limit(struct mp *m, struct wire_w *w, struct sent_record *rec)
{
    struct frame f = {.type = m->max_due ? MP_MAX_PATH_ID : MP_PATHS_BLOCKED};
    rec->kind = m->max_due ? MP_REC_MAX : MP_REC_PATHS;
    rec->a = f.path_id = m->max_due ? m->local_max : m->peer_max;
    if (m->max_due)
        m->max_due = false;
    else
        m->paths_due = false;
    return write_frame(w, &f);
}

static bool ext_next_frame(void *state, size_t path, struct wire_w *w, struct sent_record *rec,
                           bool *eliciting, ns_t now)
{
    struct mp *m = state;
    struct wire_w before = *w;
    (void)now, (void)eliciting;
    if (m->max_due || m->paths_due)
        return write_limit(m, w, rec);
    for (size_t i = 0; i < m->n; i++)
        if (path_due(m, i) && !elsewhere(m, i, path) && write_path(m, i, w, rec))
            return true;
    *w = before;
    return false;
}

/* ---- fates ----------------------------------------------------------------------------- */

static void path_fate(struct mp *m, size_t at, const struct sent_record *rec, bool acked)
{
    struct mp_path *p = &m->path[at];
    switch (rec->kind) {
    case MP_REC_ABANDON:
        p->said |= acked;
        p->say = !p->said;
        break;
    case MP_REC_STATUS:
        p->status_due |= !acked && rec->a + 1 == p->status_next;
        break;
    case MP_REC_CIDS:
        p->cids_due |= !acked && p->state == MP_AHEAD && p->cids_told == rec->a &&
                       !cid_remote_unused(&m->c->path[at].theirs);
        break;
    default:
        mp_cids_on_fate(m, at, rec, acked);
    }
}

static void ext_on_fate(void *state, const struct sent_record *rec, bool acked)
{
    struct mp *m = state;
    size_t at;
    m->due = true;
    if (rec->kind == MP_REC_MAX)
        m->max_due |= !acked && rec->a == m->local_max;
    else if (rec->kind == MP_REC_PATHS)
        m->paths_due |= !acked && rec->a == m->peer_max && m->paths_told == rec->a;
    else if (mp_find(m, rec->path, &at))
        path_fate(m, at, rec, acked);
    mp_tell_ready(m);
}

const struct quic_ext mp_ext = {
    .rows = mp_frame_table,
    .n_rows = MP_FRAME_ROWS,
    .open = ext_open,
    .close = ext_close,
    .tparams = ext_tparams,
    .on_peer_tparams = ext_on_peer_tparams,
    .on_frame = ext_on_frame,
    .on_path = ext_on_path,
    .pending = ext_pending,
    .next_frame = ext_next_frame,
    .on_fate = ext_on_fate,
    .deadline = mp_deadline,
    .tick = mp_tick,
};
