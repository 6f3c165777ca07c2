/*
 * time - what multipath does as time passes: forget paths that were kept for long enough, give
 * up what is in flight on abandoned ones, raise the limit of path IDs, probe silent paths, keep
 * the others alive.
 */
#include "mp/ext.h"

/* Whether a path ID may follow one that is over, and there is a place for it. */
static bool may_raise(const struct mp *m)
{
    if (m->local_max >= MP_PATH_ID_MAX)
        return false;
    for (size_t i = 0; i < m->n; i++)
        if (m->path[i].state == MP_NONE)
            return true;
    return false;
}

static ns_t alive_at(const struct mp *m, size_t at)
{
    const struct quic_conn *c = m->c;
    const struct quic_path *q = &c->path[at];
    if (!c->cfg.keep_alive || !q->used || !q->proven)
        return NS_NEVER;
    return ns_add(ns_max(q->last_received, m->path[at].pinged), c->cfg.keep_alive);
}

ns_t mp_deadline(void *state)
{
    const struct mp *m = state;
    ns_t at = NS_NEVER;
    if (!m->on || !m->c->confirmed)
        return NS_NEVER;
    if (may_raise(m))
        at = m->raise_at;
    for (size_t i = 0; i < m->n; i++) {
        const struct mp_path *p = &m->path[i];
        if (p->state == MP_NONE)
            continue;
        if (p->state == MP_LEFT && p->said)
            at = ns_min(at, p->keep);
        at = ns_min(at, ns_min(p->lose, p->probe));
        at = ns_min(at, alive_at(m, i));
    }
    return at;
}

/* A path is silent from the first probe timeout on; it is asked until it answers. */
static void probe(struct mp *m, size_t at)
{
    struct mp_path *p = &m->path[at];
    struct quic_path *q = &m->c->path[at];
    ns_t now = m->c->now;
    if (!q->used || !q->proven || !path_silent(q)) {
        p->probe = NS_NEVER;
        return;
    }
    if (p->probe == NS_NEVER) {
        p->silent = now;
    } else if (p->probe <= now) {
        conn_path_ping(q);
    } else {
        return;
    }
    p->probe = ns_add(now, now - p->silent < MP_PROBE_LONG ? MP_PROBE_SOON : MP_PROBE_LATE);
}

static void tick_path(struct mp *m, size_t at)
{
    struct mp_path *p = &m->path[at];
    struct quic_path *q = &m->c->path[at];
    ns_t now = m->c->now;
    if (p->lose <= now) {
        p->lose = NS_NEVER;
        conn_path_lose(m->c, q);
    }
    if (p->state == MP_LEFT && p->said && p->keep <= now) {
        mp_step(m, at, MP_EV_EXPIRED, 0);
        return;
    }
    probe(m, at);
    if (alive_at(m, at) <= now) {
        p->pinged = now;
        q->ping_due = true;
    }
}

static void raise_limit(struct mp *m)
{
    struct quic_conn *c = m->c;
    m->raise_at = ns_add(c->now, MP_RAISE_EVERY);
    struct quic_path *q = conn_path_reserve(c, (uint32_t)m->local_max + 1);
    if (!q)
        return;
    m->local_max++;
    m->max_due = m->due = true;
    mp_place(m, q, MP_AHEAD);
}

void mp_tick(void *state, ns_t now)
{
    struct mp *m = state;
    if (!m->on || !m->c->confirmed)
        return;
    for (size_t i = 0; i < m->n && conn_alive(m->c); i++)
        if (m->path[i].state != MP_NONE)
            tick_path(m, i);
    if (conn_alive(m->c) && m->raise_at <= now && may_raise(m))
        raise_limit(m);
    mp_tell_ready(m);
}
