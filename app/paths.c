#include "app/paths.h"

#include "mp/mp.h"

#include <string.h>

static const struct link *best(const struct attempt *a, const struct link *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].family == a->link.family)
            return &list[i];
    return NULL;
}

static const struct link *by_id(const struct link *list, size_t n, uint32_t id)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].id == id)
            return &list[i];
    return NULL;
}

/* ---- one path -------------------------------------------------------------------------- */

static int move(struct attempt *a, const struct attempt_env *env, size_t path,
                const struct link *to, ns_t now)
{
    if (attempt_move(a, env, path, to, now))
        return QUIC_CLOSED;
    LOG_AT(env->log, LOG_INFO, "going on via %s", to->name);
    return 0;
}

static int follow_one(struct attempt *a, const struct attempt_env *env, const struct link *list,
                      size_t n, ns_t now)
{
    const struct link *mine = by_id(list, n, a->link.id), *top = best(a, list, n);

    if (!mine)
        return top ? move(a, env, 0, top, now) : QUIC_CLOSED;
    if (top->priority < mine->priority)
        return move(a, env, 0, top, now);
    if (!tun_addr_equal(&mine->local, &a->link.local))
        return move(a, env, 0, mine, now);
    a->link = *mine;
    return 0;
}

/* ---- several --------------------------------------------------------------------------- */

static struct attempt_path *path_of(struct attempt *a, uint32_t link_id)
{
    for (size_t i = 0; i < a->paths; i++)
        if (a->path[i].link.id == link_id)
            return &a->path[i];
    return NULL;
}

static void forget(struct attempt *a, struct attempt_path *p)
{
    attempt_close(a, p->link.ifindex, p->link.family);
    *p = a->path[--a->paths];
}

/* A link that was gone for a moment, and is as it was: so is its path. */
static void keep_paths(struct attempt *a, const struct link *list, size_t n)
{
    for (size_t i = 0; i < a->paths; i++) {
        struct link *old = &a->path[i].link;

        for (size_t k = 0; k < n && !by_id(list, n, old->id); k++)
            if (list[k].ifindex == old->ifindex && list[k].family == old->family &&
                tun_addr_equal(&list[k].local, &old->local) && !path_of(a, list[k].id))
                *old = list[k];
    }
}

/* The best link that has no path. */
static const struct link *unused(struct attempt *a, const struct link *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].family == a->link.family && !path_of(a, list[i].id))
            return &list[i];
    return NULL;
}

/* End the paths whose links are gone, or have another address. The only one moves instead. */
static int end_paths(struct attempt *a, const struct attempt_env *env, const struct link *list,
                     size_t n, ns_t now)
{
    for (size_t i = a->paths; i-- > 0;) {
        struct attempt_path *p = &a->path[i];
        const struct link *it = by_id(list, n, p->link.id);
        bool changed = it;

        if (it && tun_addr_equal(&it->local, &p->link.local))
            continue;
        if (mp_abandon(a->session.quic, p->path, MP_APPLICATION_ABANDON_PATH, now) !=
            QUIC_BLOCKED) {
            LOG_AT(env->log, LOG_INFO, "%s %s: its path ends", p->link.name,
                   changed ? "has another address" : "is gone");
            forget(a, p);
            continue;
        }
        if (!it)
            it = unused(a, list, n);
        a->link = p->link; /* which it moves from */
        if (!it || move(a, env, p->path, it, now))
            return QUIC_CLOSED;
        p->link = *it;
    }
    return 0;
}

static void open_path(struct attempt *a, const struct attempt_env *env, const struct link *it,
                      ns_t now)
{
    struct quic_route route;
    bool shared = attempt_route(a, it, &route) == 0; /* with a path that is to end */
    size_t path;
    int rc;

    if (a->paths == LINKS_MAX)
        return;
    if (attempt_open(a, env, it)) {
        a->paths_at = now + PATHS_RETRY;
        return;
    }
    rc = attempt_route(a, it, &route);
    if (rc == 0)
        rc = mp_open(a->session.quic, &route, now, &path);
    if (rc == 0)
        rc = quic_path_cap(a->session.quic, path, it->rate_bps);
    if (rc) { /* QUIC_BLOCKED: the connection tells when it would be allowed */
        if (!shared)
            attempt_close(a, it->ifindex, it->family);
        return;
    }
    a->path[a->paths++] = (struct attempt_path){.link = *it, .path = path};
    if (it->priority == LINK_BACKUP)
        mp_set_backup(a->session.quic, path, true, now);
    LOG_AT(env->log, LOG_INFO, "a path via %s", it->name);
}

/* A path over each link that has none. */
static void open_paths(struct attempt *a, const struct attempt_env *env,
                       const struct link *list, size_t n, ns_t now)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].family == a->link.family && !path_of(a, list[i].id))
            open_path(a, env, &list[i], now);
}

static int follow_all(struct attempt *a, const struct attempt_env *env, const struct link *list,
                      size_t n, ns_t now)
{
    int rc;

    if (a->paths == 0) {
        const struct link *mine = by_id(list, n, a->link.id);

        a->path[a->paths++] = (struct attempt_path){.link = mine ? *mine : a->link, .path = 0};
        if (a->link.priority == LINK_BACKUP)
            mp_set_backup(a->session.quic, 0, true, now);
    }
    keep_paths(a, list, n);
    open_paths(a, env, list, n, now); /* first: there has to be one to abandon another */
    rc = end_paths(a, env, list, n, now);
    if (rc == 0)
        open_paths(a, env, list, n, now);
    return rc;
}

int paths_follow(struct attempt *a, const struct attempt_env *env, const struct links *links,
                 ns_t now)
{
    const struct link *list;
    size_t n;

    a->paths_at = NS_NEVER;
    list = links_list(links, &n);
    return mp_negotiated(a->session.quic) ? follow_all(a, env, list, n, now)
                                          : follow_one(a, env, list, n, now);
}

void paths_gone(struct attempt *a, const struct attempt_env *env, size_t path, ns_t now)
{
    for (size_t i = 0; i < a->paths; i++) {
        if (a->path[i].path != path)
            continue;
        LOG_AT(env->log, LOG_INFO, "the path via %s is over", a->path[i].link.name);
        forget(a, &a->path[i]);
        a->paths_at = ns_min(a->paths_at, now + PATHS_RETRY);
        return;
    }
}

bool paths_silent(const struct attempt *a, ns_t after, unsigned ptos, ns_t now)
{
    bool any = false;

    for (size_t i = 0; i < quic_path_count(a->session.quic); i++) {
        struct quic_path_view v;

        if (quic_path_view(a->session.quic, i, now, &v) || (!v.usable && i > 0))
            continue;
        if (v.pto_count < ptos || now - v.last_received < after)
            return false;
        any = true;
    }
    return any;
}

ns_t paths_heard(const struct attempt *a, ns_t now)
{
    struct quic_path_view v;
    ns_t last = 0;

    for (size_t i = 0; i < quic_path_count(a->session.quic); i++)
        if (quic_path_view(a->session.quic, i, now, &v) == 0 && v.packets_received > 0)
            last = ns_max(last, v.last_received);
    return last;
}

void paths_ping(const struct attempt *a)
{
    for (size_t i = 0; i < quic_path_count(a->session.quic); i++)
        quic_ping(a->session.quic, i);
}
