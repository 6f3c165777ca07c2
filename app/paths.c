#include "app/paths.h"

#include "app/address.h"
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

/* ---- what metered links carry ---------------------------------------------------------- */

/* UDP and IP headers come on top of what the path counts. */
static void count(struct attempt *a, const struct attempt_env *env, const struct link *it,
                  size_t path, uint64_t *counted, ns_t now)
{
    struct quic_path_view v;
    uint64_t bytes;

    if (!it->month_bytes || quic_path_view(a->session.quic, path, now, &v))
        return;
    bytes = v.bytes_sent + v.bytes_received +
            (v.packets_sent + v.packets_received) * quic_ip_udp_bytes(it->family == AF_INET6);
    if (bytes > *counted)
        meter_add(env->meter, it->name, bytes - *counted, now);
    *counted = bytes;
}

void paths_count(struct attempt *a, const struct attempt_env *env, ns_t now)
{
    for (size_t i = 0; i < a->paths; i++)
        count(a, env, &a->path[i].link, a->path[i].path, &a->path[i].counted, now);
    if (a->paths == 0)
        count(a, env, &a->link, 0, &a->counted, now);
}

void paths_end(struct attempt *a, const struct attempt_env *env, ns_t now)
{
    paths_count(a, env, now);
    peer_keep(env->peer, &a->remote, a->session.quic, now);
    session_log(&a->session, now);
    attempt_del(a, now);
}

/* ---- one path -------------------------------------------------------------------------- */

static int move(struct attempt *a, const struct attempt_env *env, size_t path,
                const struct link *to, ns_t now)
{
    paths_count(a, env, now);
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

/* ---- ways ------------------------------------------------------------------------------ */

/* From an interface to the server: by a link of its own, to an address of that family. */
struct way {
    const struct link *link;
    const union udp_addr *remote;
};

#define WAYS_MAX (2 * RESOLVE_MAX + 1)

struct ways {
    struct way way[WAYS_MAX];
    size_t n;
};

static void ways_add(struct ways *w, const struct link *it, const union udp_addr *remote)
{
    for (size_t i = 0; i < w->n; i++)
        if (udp_addr_equal(w->way[i].remote, remote))
            return;
    if (w->n < WAYS_MAX && it->family == remote->sa.sa_family)
        w->way[w->n++] = (struct way){it, remote};
}

/* All ways of an interface, best first. */
static struct ways ways_of(const struct attempt *a, const struct attempt_env *env,
                           const struct link *list, size_t n, int ifindex)
{
    struct ways w = {.n = 0};

    for (int other = 0; other < 2; other++) {
        for (size_t i = 0; i < n; i++) {
            if (list[i].ifindex != ifindex ||
                (list[i].family != a->remote.sa.sa_family) != other)
                continue;
            ways_add(&w, &list[i], &a->remote);
            for (size_t k = 0; k < env->peer->addrs; k++)
                ways_add(&w, &list[i], &env->peer->addr[k]);
        }
    }
    return w;
}

static bool avoided(const struct attempt *a, const struct way *w, ns_t now)
{
    for (size_t i = 0; i < ATTEMPT_AVOID; i++)
        if (a->avoid[i].until > now && a->avoid[i].ifindex == w->link->ifindex &&
            udp_addr_equal(&a->avoid[i].remote, w->remote))
            return true;
    return false;
}

static void avoid(struct attempt *a, const struct attempt_path *p, ns_t now)
{
    a->avoid[a->avoided++ % ATTEMPT_AVOID] =
        (struct attempt_avoid){p->link.ifindex, p->remote, now + PATHS_AVOID};
}

static bool has_path(const struct attempt *a, const struct way *w)
{
    for (size_t i = 0; i < a->paths; i++)
        if (a->path[i].link.ifindex == w->link->ifindex &&
            udp_addr_equal(&a->path[i].remote, w->remote))
            return true;
    return false;
}

/* The best way without a path; those that came to nothing only with `any`. */
static const struct way *ways_next(const struct attempt *a, const struct ways *w, bool any,
                                   ns_t now)
{
    for (size_t i = 0; i < w->n; i++)
        if (!has_path(a, &w->way[i]) && !avoided(a, &w->way[i], now))
            return &w->way[i];
    for (size_t i = 0; any && i < w->n; i++)
        if (!has_path(a, &w->way[i]))
            return &w->way[i];
    return NULL;
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
    struct link it = p->link;

    *p = a->path[--a->paths];
    for (size_t i = 0; i < a->paths; i++)
        if (a->path[i].link.ifindex == it.ifindex && a->path[i].link.family == it.family)
            return;
    attempt_close(a, it.ifindex, it.family);
}

/* A link that was gone for a moment, and is as it was: so are its paths. */
static void keep_paths(struct attempt *a, const struct link *list, size_t n)
{
    for (size_t i = 0; i < a->paths; i++) {
        struct link *old = &a->path[i].link;

        for (size_t k = 0; k < n && !by_id(list, n, old->id); k++)
            if (list[k].ifindex == old->ifindex && list[k].family == old->family &&
                tun_addr_equal(&list[k].local, &old->local))
                *old = list[k];
    }
}

/* The server may have moved paths to its preferred address. */
static void learn_remotes(struct attempt *a, ns_t now)
{
    struct quic_path_view v;

    for (size_t i = 0; i < a->paths; i++)
        if (quic_path_view(a->session.quic, a->path[i].path, now, &v) == 0 &&
            v.route.remote.family)
            a->path[i].remote = address_udp(&v.route.remote);
    if (a->paths == 0 && quic_path_view(a->session.quic, 0, now, &v) == 0 &&
        v.route.remote.family)
        a->remote = address_udp(&v.route.remote);
}

/* The best link of a family that has no path. */
static const struct link *unused(struct attempt *a, const struct link *list, size_t n,
                                 sa_family_t family)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].family == family && !path_of(a, list[i].id))
            return &list[i];
    return NULL;
}

/* False: it is the only one. */
static bool end_path(struct attempt *a, const struct attempt_env *env, struct attempt_path *p,
                     const char *why, ns_t now)
{
    char text[UDP_ADDR_TEXT];

    paths_count(a, env, now);
    if (mp_abandon(a->session.quic, p->path, MP_APPLICATION_ABANDON_PATH, now) == QUIC_BLOCKED)
        return false;
    LOG_AT(env->log, LOG_INFO, "%s %s: its path to %s ends", p->link.name, why,
           udp_addr_text(&p->remote, text, sizeof(text)));
    forget(a, p);
    return true;
}

/* Its link is gone, or has another address. */
static bool stale(const struct attempt_path *p, const struct link *list, size_t n)
{
    const struct link *it = by_id(list, n, p->link.id);

    return !it || !tun_addr_equal(&it->local, &p->link.local);
}

/* End the paths whose links are gone, or have another address. The only one moves instead. */
static int end_paths(struct attempt *a, const struct attempt_env *env, const struct link *list,
                     size_t n, ns_t now)
{
    for (size_t i = a->paths; i-- > 0;) {
        struct attempt_path *p = &a->path[i];
        const struct link *it = by_id(list, n, p->link.id);

        if (!stale(p, list, n))
            continue;
        if (end_path(a, env, p, it ? "has another address" : "is gone", now))
            continue;
        if (!it)
            it = unused(a, list, n, p->link.family);
        a->link = p->link; /* which it moves from */
        a->remote = p->remote;
        if (!it || move(a, env, p->path, it, now))
            return QUIC_CLOSED;
        p->link = *it;
    }
    return 0;
}

static void open_path(struct attempt *a, const struct attempt_env *env, const struct way *way,
                      ns_t now)
{
    const struct link *it = way->link;
    bool shared = attempt_has(a, it); /* with another path, perhaps one that is to end */
    char text[UDP_ADDR_TEXT];
    struct quic_route route;
    size_t path;
    int rc;

    if (a->paths == LINKS_MAX)
        return;
    if (attempt_open(a, env, it)) {
        a->paths_at = ns_min(a->paths_at, now + PATHS_RETRY);
        return;
    }
    rc = attempt_route(a, it, way->remote, &route);
    if (rc == 0)
        rc = mp_open(a->session.quic, &route, now, &path);
    if (rc == 0)
        rc = attempt_fit(a, path, it, now);
    if (rc) { /* QUIC_BLOCKED: the connection tells when it would be allowed */
        if (!shared)
            attempt_close(a, it->ifindex, it->family);
        return;
    }
    a->path[a->paths++] = (struct attempt_path){*it, *way->remote, path, now, 0};
    if (it->priority == LINK_BACKUP)
        mp_set_backup(a->session.quic, path, true, now);
    LOG_AT(env->log, LOG_INFO, "a path via %s to %s", it->name,
           udp_addr_text(way->remote, text, sizeof(text)));
}

/* ---- one interface --------------------------------------------------------------------- */

enum health { ANSWERS, YOUNG, DOUBTED };

static enum health health_of(const struct attempt *a, const struct attempt_path *p, ns_t now)
{
    struct quic_path_view v;
    bool old;

    if (quic_path_view(a->session.quic, p->path, now, &v) || (v.validated && !v.silent))
        return ANSWERS;
    old = now - ns_max(p->since, v.last_received) >= PATHS_DOUBT;
    return old ? DOUBTED : YOUNG;
}

/* One of the interface's paths answers: the others end. */
static void end_others(struct attempt *a, const struct attempt_env *env, int ifindex,
                       size_t good, ns_t now)
{
    for (size_t i = a->paths; i-- > 0;) {
        struct attempt_path *p = &a->path[i];

        if (p->link.ifindex != ifindex || p->path == good)
            continue;
        if (health_of(a, p, now) == DOUBTED)
            avoid(a, p, now);
        end_path(a, env, p, "has another that answers", now);
    }
}

/* An interface gets a path, or another one where the first does not answer. */
static void tend(struct attempt *a, const struct attempt_env *env, const struct link *list,
                 size_t n, const struct ways *ways, ns_t now)
{
    const struct link *it = ways->way[0].link;
    size_t count[DOUBTED + 1] = {0}, good = 0, mine = 0;
    const struct way *next;

    for (size_t i = 0; i < a->paths; i++) {
        enum health h = health_of(a, &a->path[i], now);

        if (a->path[i].link.ifindex != it->ifindex || stale(&a->path[i], list, n))
            continue;
        mine++;
        if (h == ANSWERS && count[ANSWERS] == 0)
            good = a->path[i].path;
        count[h]++;
    }
    if (it->all) {
        for (size_t i = 0; i < ways->n; i++)
            if (!has_path(a, &ways->way[i]) && (mine == 0 || !avoided(a, &ways->way[i], now)))
                open_path(a, env, &ways->way[i], now);
        return;
    }
    if (count[ANSWERS] > 0 && mine > 1)
        end_others(a, env, it->ifindex, good, now);
    if (count[ANSWERS] > 0)
        return;
    next = ways_next(a, ways, mine == 0, now);
    if (next && count[YOUNG] == 0)
        open_path(a, env, next, now);
    if (mine > 0 && ways->n > 1)
        a->paths_at = ns_min(a->paths_at, now + PATHS_DOUBT / 4);
}

static void open_paths(struct attempt *a, const struct attempt_env *env,
                       const struct link *list, size_t n, ns_t now)
{
    for (size_t i = 0; i < n; i++) {
        struct ways ways = ways_of(a, env, list, n, list[i].ifindex);

        if (ways.n > 0 && ways.way[0].link == &list[i]) /* once for each interface */
            tend(a, env, list, n, &ways, now);
    }
}

static int follow_all(struct attempt *a, const struct attempt_env *env, const struct link *list,
                      size_t n, ns_t now)
{
    int rc;

    if (a->paths == 0) {
        const struct link *mine = by_id(list, n, a->link.id);

        a->path[a->paths++] = (struct attempt_path){.link = mine ? *mine : a->link,
                                                    .remote = a->remote,
                                                    .path = 0,
                                                    .since = now,
                                                    .counted = a->counted};
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

/* What a link's path may send, the server may send by it. */
static void tell_rates(struct attempt *a)
{
    struct path_rate list[LINKS_MAX];
    size_t n = 0;

    for (size_t i = 0; i < a->paths; i++)
        if (a->path[i].link.rate_bps)
            list[n++] =
                (struct path_rate){.path = quic_path_id(a->session.quic, a->path[i].path),
                                   .kbps = a->path[i].link.rate_bps / 1000};
    if (a->paths == 0 && a->link.rate_bps)
        list[n++] = (struct path_rate){.path = 0, .kbps = a->link.rate_bps / 1000};
    session_rates(&a->session, list, n); /* where it can't, it is told the next time */
}

int paths_follow(struct attempt *a, const struct attempt_env *env, const struct links *links,
                 ns_t now)
{
    const struct link *list;
    size_t n;
    int rc;

    a->paths_at = NS_NEVER;
    list = links_list(links, &n);
    learn_remotes(a, now);
    rc = mp_negotiated(a->session.quic) ? follow_all(a, env, list, n, now)
                                        : follow_one(a, env, list, n, now);
    tell_rates(a);
    return rc;
}

void paths_gone(struct attempt *a, const struct attempt_env *env, size_t path, ns_t now)
{
    for (size_t i = 0; i < a->paths; i++) {
        if (a->path[i].path != path)
            continue;
        LOG_AT(env->log, LOG_INFO, "the path via %s is over", a->path[i].link.name);
        avoid(a, &a->path[i], now);
        forget(a, &a->path[i]);
        a->paths_at = ns_min(a->paths_at, now + PATHS_RETRY);
        return;
    }
}

void paths_watch(struct attempt *a, const struct attempt_env *env, ns_t now)
{
    for (size_t i = 0; i < a->paths && env->peer->addrs > 1; i++)
        if (health_of(a, &a->path[i], now) != ANSWERS)
            a->paths_at = ns_min(a->paths_at, now + PATHS_DOUBT / 4);
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
