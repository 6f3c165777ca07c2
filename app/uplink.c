#include "app/uplink.h"

#include <string.h>

#define LINKS 64

struct links {
    struct netcfg_link link[LINKS];
    int n;
};

static const struct netcfg_link *by_index(const struct links *l, int ifindex)
{
    for (int i = 0; i < l->n; i++)
        if (l->link[i].ifindex == ifindex)
            return &l->link[i];
    return NULL;
}

static const struct netcfg_link *by_name(const struct links *l, const char *name)
{
    for (int i = 0; i < l->n; i++)
        if (strcmp(l->link[i].name, name) == 0)
            return &l->link[i];
    return NULL;
}

static bool works(const struct netcfg_link *l)
{
    return l && (l->flags & IFF_UP) && l->carrier;
}

/* The best default route, not through the TUN, whose link works; else any of them. */
static const struct netcfg_link *by_default(const struct links *links, struct netcfg *nc,
                                            int tun_ifindex, sa_family_t family)
{
    struct netcfg_default def[8];
    const struct netcfg_link *l = NULL;
    char why[WHY_SIZE];
    int n = netcfg_defaults(nc, family, def, ARRAY_LEN(def), why, sizeof(why));

    for (int i = 0; i < n && i < (int)ARRAY_LEN(def) && !works(l); i++)
        l = def[i].oif == tun_ifindex ? NULL : by_index(links, def[i].oif);
    return l;
}

int uplink_choose(struct uplink *u, struct netcfg *nc, int tun_ifindex,
                  const struct tun_addr *remote, const char *wanted)
{
    const struct netcfg_link *l = NULL;
    struct netcfg_hop hop;
    struct links links;
    char why[WHY_SIZE];

    links.n = netcfg_links(nc, links.link, LINKS, why, sizeof(why));
    if (links.n > LINKS)
        links.n = LINKS;
    if (wanted) {
        l = by_name(&links, wanted);
    } else {
        if (netcfg_route_get(nc, remote, 0, NULL, &hop, why, sizeof(why)) == 0 &&
            hop.oif != tun_ifindex)
            l = by_index(&links, hop.oif);
        if (!l)
            l = by_default(&links, nc, tun_ifindex, remote->family);
        if (!works(l) && u->name[0])
            l = by_name(&links, u->name);
    }
    if (!l || !(l->flags & IFF_UP))
        return QUIC_INVAL;
    memcpy(u->name, l->name, sizeof(u->name));
    u->mtu_bytes = l->mtu_bytes;
    return 0;
}
