#include "app/links.h"

#include <string.h>

#define ADDRS    32
#define DEFAULTS 32
#define LOOPBACK 1 /* its index in every network namespace */

void links_init(struct links *l, struct netcfg *nc, int tun_ifindex,
                const struct link_rules *rules, char *why, size_t why_size)
{
    *l = (struct links){
        .nc = nc, .tun_ifindex = tun_ifindex, .rules = *rules, .look_at = NS_NEVER};
    why[0] = 0;
    if (netmon_new(&l->mon, why, why_size))
        l->mon = NULL;
}

void links_free(struct links *l)
{
    netmon_del(l->mon);
    memset(l, 0, sizeof(*l));
}

void links_remotes(struct links *l, const struct tun_addr *remote, size_t n, ns_t now)
{
    l->remotes = n < LINKS_REMOTES ? n : LINKS_REMOTES;
    memcpy(l->remote, remote, l->remotes * sizeof(*remote));
    links_look(l, now);
}

int links_fd(const struct links *l)
{
    return l->mon ? netmon_fd(l->mon) : -1;
}

const struct link *links_list(const struct links *l, size_t *n)
{
    *n = l->n;
    return l->now;
}

const struct link *links_by_id(const struct links *l, uint32_t id)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->now[i].id == id)
            return &l->now[i];
    return NULL;
}

/* ---- what happens ---------------------------------------------------------------------- */

void links_look(struct links *l, ns_t now)
{
    l->look_at = now;
}

static bool has_ifindex(const struct links *l, int ifindex)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->now[i].ifindex == ifindex)
            return true;
    return false;
}

int links_read(struct links *l, ns_t now, bool *changed)
{
    struct netmon_event ev;
    int rc;

    while ((rc = netmon_read(l->mon, &ev)) > 0) {
        bool down = ev.type == NETMON_LINK_DOWN || ev.type == NETMON_LINK_GONE;

        if (ev.ifindex && ev.ifindex == l->tun_ifindex)
            continue;
        *changed = true;
        if (down && has_ifindex(l, ev.ifindex))
            l->look_at = now;
        else
            l->look_at = ns_min(l->look_at, now + LINKS_SETTLE);
    }
    return rc;
}

ns_t links_deadline(const struct links *l)
{
    return l->look_at;
}

/* ---- what there is --------------------------------------------------------------------- */

/* What the kernel says about one family of addresses. */
struct family {
    sa_family_t family;
    struct netcfg_default route[DEFAULTS];
    int routes;
    int answer; /* the routing table's choice, 0: none */
};

static void family_look(struct links *l, struct family *f, sa_family_t family)
{
    struct netcfg_hop hop;
    char why[WHY_SIZE];
    int *former = &l->answer[family == AF_INET6];
    bool ours = false;

    f->family = family;
    f->answer = 0;
    f->routes = netcfg_defaults(l->nc, family, f->route, DEFAULTS, why, sizeof(why));
    if (f->routes > DEFAULTS)
        f->routes = DEFAULTS;
    for (size_t i = 0; i < l->remotes && f->answer == 0; i++) {
        if (l->remote[i].family != family ||
            netcfg_route_get(l->nc, &l->remote[i], 0, NULL, &hop, why, sizeof(why)))
            continue;
        if (hop.oif == l->tun_ifindex)
            ours = true;
        else
            f->answer = hop.oif;
    }
    if (f->answer || !ours)
        *former = f->answer;
    else
        f->answer = *former;
}

/* The best default route of a link. */
static const struct netcfg_default *default_of(const struct family *f, int ifindex)
{
    for (int i = 0; i < f->routes; i++)
        if (f->route[i].oif == ifindex)
            return &f->route[i];
    return NULL;
}

static bool on_link(const struct tun_prefix *addr, int n, const struct tun_addr *remote)
{
    for (int i = 0; i < n; i++)
        if (tun_prefix_contains(&addr[i], remote))
            return true;
    return false;
}

static bool has_addr(const struct tun_prefix *addr, int n, const struct tun_addr *a)
{
    for (int i = 0; i < n; i++)
        if (tun_addr_equal(&addr[i].addr, a))
            return true;
    return false;
}

static bool link_local(const struct tun_addr *a)
{
    return a->family == AF_INET6 && a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
}

/*
 * Whether the kernel would send from an address of the interface. While it has none, as when it
 * gets another one, that of any other is taken, the TUN's perhaps; only what lies on loopback
 * is meant so.
 */
static bool own_source(struct links *l, const struct link_seen *s,
                       const struct tun_addr *source, const struct tun_prefix *addr, int n_addr)
{
    struct tun_prefix lo[ADDRS];
    char why[WHY_SIZE];
    int n;

    if (s->loopback || has_addr(addr, n_addr, source))
        return true;
    n = netcfg_addrs(l->nc, LOOPBACK, lo, ADDRS, why, sizeof(why));
    return has_addr(lo, n < ADDRS ? n : ADDRS, source);
}

/*
 * Whether `hop`, the answer for a socket bound to the link, is a way to `remote`. For IPv4 the
 * kernel takes everything to be on link that no route covers.
 */
static bool is_way(const struct family *f, const struct link_seen *s,
                   const struct netcfg_hop *hop, const struct tun_addr *remote,
                   const struct tun_prefix *addr, int n_addr)
{
    if (hop->source.family != remote->family ||
        (link_local(&hop->source) && !link_local(remote)))
        return false;
    return s->answer || remote->family == AF_INET6 || hop->gateway.family ||
           (s->default_route && default_of(f, s->ifindex)->gateway.family == 0) ||
           on_link(addr, n_addr, remote);
}

/* Its former address while the interface has it: the kernel's choice changes without need. */
static struct tun_addr local_of(const struct links *l, const struct link_seen *s,
                                const struct tun_prefix *addr, int n_addr)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->now[i].ifindex != s->ifindex || l->now[i].family != s->family)
            continue;
        if (has_addr(addr, n_addr, &l->now[i].local))
            return l->now[i].local;
    }
    return s->local;
}

/* Whether a link leads anywhere; `*s` is then complete. */
static bool look_at(struct links *l, const struct family *f, const struct netcfg_link *it,
                    struct link_seen *s)
{
    const struct netcfg_default *def = default_of(f, it->ifindex);
    struct tun_prefix addr[ADDRS];
    struct netcfg_hop hop;
    char why[WHY_SIZE];
    int n = netcfg_addrs(l->nc, it->ifindex, addr, ADDRS, why, sizeof(why));

    if (n > ADDRS)
        n = ADDRS;
    *s = (struct link_seen){.ifindex = it->ifindex,
                            .family = f->family,
                            .mtu_bytes = it->mtu_bytes,
                            .loopback = it->flags & IFF_LOOPBACK,
                            .default_route = def != NULL,
                            .metric = def ? def->metric : 0,
                            .answer = it->ifindex == f->answer};
    memcpy(s->name, it->name, sizeof(s->name));
    for (size_t i = 0; i < l->remotes && !s->reaches; i++) {
        if (l->remote[i].family != f->family ||
            netcfg_route_get(l->nc, &l->remote[i], it->ifindex, NULL, &hop, why, sizeof(why)))
            continue;
        s->reaches = is_way(f, s, &hop, &l->remote[i], addr, n) &&
                     own_source(l, s, &hop.source, addr, n);
        s->local = hop.source;
    }
    s->local = local_of(l, s, addr, n);
    return s->reaches;
}

static bool has_family(const struct links *l, sa_family_t family)
{
    for (size_t i = 0; i < l->remotes; i++)
        if (l->remote[i].family == family)
            return true;
    return false;
}

/* All that leads to the server; at most `max`. */
static size_t survey(struct links *l, struct link_seen *out, size_t max)
{
    static const sa_family_t families[] = {AF_INET, AF_INET6};
    struct netcfg_link it[LINKS_LOOK];
    struct family f;
    char why[WHY_SIZE];
    int n = netcfg_links(l->nc, it, LINKS_LOOK, why, sizeof(why));
    size_t found = 0;

    if (n > LINKS_LOOK)
        n = LINKS_LOOK;
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        if (!has_family(l, families[i]))
            continue;
        family_look(l, &f, families[i]);
        for (int k = 0; k < n && found < max; k++)
            if (it[k].ifindex != l->tun_ifindex && (it[k].flags & IFF_UP) && it[k].carrier)
                found += look_at(l, &f, &it[k], &out[found]);
    }
    return found;
}

static const struct link *find(const struct link *list, size_t n, const struct link *it)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].ifindex == it->ifindex && list[i].family == it->family)
            return &list[i];
    return NULL;
}

static bool same(const struct link *a, const struct link *b)
{
    return tun_addr_equal(&a->local, &b->local) && a->mtu_bytes == b->mtu_bytes &&
           a->priority == b->priority && strcmp(a->name, b->name) == 0;
}

void links_tick(struct links *l, ns_t now)
{
    struct link_seen seen[2 * LINKS_LOOK];
    struct link next[LINKS_MAX];
    size_t n;

    if (now < l->look_at)
        return;
    l->look_at = NS_NEVER;
    n = link_rules_decide(&l->rules, seen, survey(l, seen, ARRAY_LEN(seen)), next, LINKS_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct link *was = find(l->now, l->n, &next[i]);

        next[i].id = was ? was->id : ++l->last_id;
        next[i].since = was && same(was, &next[i]) ? was->since : now;
    }
    memcpy(l->now, next, n * sizeof(*next));
    l->n = n;
}

/* ---- what differs ---------------------------------------------------------------------- */

static const struct link *by_id(const struct link *list, size_t n, uint32_t id)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].id == id)
            return &list[i];
    return NULL;
}

bool links_next(struct links *l, struct link_event *ev)
{
    for (size_t i = 0; i < l->n_told; i++) {
        if (by_id(l->now, l->n, l->told[i].id))
            continue;
        *ev = (struct link_event){LINK_REMOVED, l->told[i]};
        l->told[i] = l->told[--l->n_told];
        return true;
    }
    for (size_t i = 0; i < l->n; i++) {
        struct link *told = NULL;

        for (size_t k = 0; k < l->n_told && !told; k++)
            if (l->told[k].id == l->now[i].id)
                told = &l->told[k];
        if (told && same(told, &l->now[i]))
            continue;
        *ev = (struct link_event){told ? LINK_CHANGED : LINK_ADDED, l->now[i]};
        if (!told) /* all told ones are among the present, so there is room */
            told = &l->told[l->n_told++];
        *told = l->now[i];
        return true;
    }
    return false;
}
