/*
 * api - the verbs of mp.h.
 */
#include <string.h>

#include "mp/ext.h"

/* The state, where it is negotiated; else null. */
static struct mp *of(const struct quic_conn *c)
{
    struct mp *m = c->cfg.ext == &mp_ext ? c->ext : NULL;
    return m && m->on ? m : NULL;
}

bool mp_negotiated(const struct quic_conn *c)
{
    return of(c) != NULL;
}

/* Whether the path at `at` could be opened. */
static bool ready(const struct mp *m, size_t at)
{
    return m->path[at].state == MP_AHEAD && m->c->path[at].id <= m->peer_max &&
           mp_cids_ready(m, at);
}

size_t mp_ready(const struct quic_conn *c)
{
    const struct mp *m = of(c);
    size_t n = 0;
    for (size_t i = 0; m && i < m->n; i++)
        n += ready(m, i);
    return n;
}

/* The lowest path ID that is ahead, and ready if `is_ready`; false if there is none. */
static bool lowest(const struct mp *m, bool is_ready, size_t *at)
{
    bool found = false;
    for (size_t i = 0; i < m->n; i++) {
        if (m->path[i].state != MP_AHEAD || (is_ready && !ready(m, i)) ||
            (found && m->c->path[i].id > m->c->path[*at].id))
            continue;
        *at = i;
        found = true;
    }
    return found;
}

/* Tell the peer what of its is in the way, once (RFC 10069 4.7). */
static void tell_blocked(struct mp *m)
{
    size_t at;
    m->wanted = true;
    if (!lowest(m, false, &at))
        return;
    struct quic_path *q = &m->c->path[at];
    if (q->id > m->peer_max) {
        m->paths_due = m->due = m->paths_told != m->peer_max;
        m->paths_told = m->peer_max;
    } else if (!cid_remote_unused(&q->theirs) && m->path[at].cids_told == MP_UNTOLD) {
        m->path[at].cids_told = q->theirs.seen_below;
        m->path[at].cids_due = m->due = true;
    }
}

/* Without leave to migrate, only the preferred address is left (RFC 10069 2.2). */
static bool may_go_to(const struct quic_conn *c, const struct quic_addr *a)
{
    const struct tparam_preferred *p = &c->peer.preferred;
    if (!c->peer.disable_active_migration)
        return true;
    if (!c->peer.has_preferred)
        return false;
    return a->family == 4 ? a->port == p->port4 && memcmp(a->ip, p->ip4, 4) == 0
                          : a->port == p->port6 && memcmp(a->ip, p->ip6, 16) == 0;
}

int mp_open(struct quic_conn *c, const struct quic_route *route, ns_t now, size_t *path)
{
    struct mp *m = of(c);
    size_t at;
    c->now = now;
    if (!conn_alive(c))
        return QUIC_CLOSED;
    if (c->server || (c->has_peer && !m) || !may_go_to(c, &route->remote))
        return QUIC_INVAL;
    if (!m || !c->confirmed)
        return QUIC_BLOCKED;
    if (!lowest(m, true, &at)) {
        tell_blocked(m);
        return QUIC_BLOCKED;
    }
    mp_step(m, at, MP_EV_OPENED, 0);
    mp_cids_limit(m, at);
    conn_path_start(c, &c->path[at], route);
    m->stats.opened++;
    *path = at;
    return 0;
}

/* The place of an open path of the user's. */
static struct mp *find(struct quic_conn *c, size_t path, ns_t now, int *r)
{
    struct mp *m = of(c);
    c->now = now;
    *r = !conn_alive(c) ? QUIC_CLOSED : !m || path >= m->n ? QUIC_INVAL : 0;
    return *r ? NULL : m;
}

int mp_abandon(struct quic_conn *c, size_t path, uint64_t error, ns_t now)
{
    int r;
    struct mp *m = find(c, path, now, &r);
    if (!m)
        return r;
    if (m->path[path].state == MP_LEAVING || m->path[path].state == MP_LEFT)
        return 0;
    if (!mp_state_open(m->path[path].state))
        return QUIC_INVAL;
    if (mp_open_paths(m) == 1)
        return QUIC_BLOCKED;
    mp_step(m, path, MP_EV_ABANDON, error);
    return 0;
}

/* The path's status is to be what the wishes make of it. */
static int wish(struct quic_conn *c, size_t path, enum mp_wish which, bool is, ns_t now)
{
    int r;
    struct mp *m = find(c, path, now, &r);
    if (!m)
        return r;
    struct mp_path *p = &m->path[path];
    if (!mp_state_open(p->state))
        return QUIC_INVAL;
    bool was = mp_wished(p);
    p->wish[which] = is;
    if (mp_wished(p) == was && p->has_status)
        return 0;
    p->has_status = p->status_due = m->due = true;
    return 0;
}

int mp_set_backup(struct quic_conn *c, size_t path, bool backup, ns_t now)
{
    return wish(c, path, MP_BACKUP, backup, now);
}

int mp_spare(struct quic_conn *c, size_t path, bool spare, ns_t now)
{
    return wish(c, path, MP_SPARE, spare, now);
}

void mp_stats(const struct quic_conn *c, struct mp_stats *out)
{
    const struct mp *m = of(c);
    memset(out, 0, sizeof(*out));
    if (!m)
        return;
    *out = m->stats;
    out->local_max = m->local_max;
    out->peer_max = m->peer_max;
}
