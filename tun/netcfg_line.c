/* Changes as lines of text, and back. The reader takes exactly what the writer makes. */
#include "tun/netcfg_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 8

static const char *const types[] = {
    [NETCFG_UNICAST] = "unicast",
    [NETCFG_UNREACHABLE] = "unreachable",
    [NETCFG_BLACKHOLE] = "blackhole",
};

static const char *addr_or_dash(const struct tun_addr *a, char out[TUN_ADDR_TEXT])
{
    return a->family ? tun_addr_text(a, out) : "-";
}

static void route_line(const struct netcfg_route *r, char out[NETCFG_LINE_MAX])
{
    char dst[TUN_PREFIX_TEXT], gw[TUN_ADDR_TEXT], src[TUN_ADDR_TEXT];

    snprintf(out, NETCFG_LINE_MAX, "route %s %s %d %s %s %u %u", types[r->type],
             tun_prefix_text(&r->dst, dst), r->oif, addr_or_dash(&r->gateway, gw),
             addr_or_dash(&r->source, src), r->metric, r->table);
}

void change_line(const struct change *c, char out[NETCFG_LINE_MAX])
{
    char local[TUN_PREFIX_TEXT], peer[TUN_PREFIX_TEXT];

    switch (c->kind) {
    case CHANGE_UP:
        snprintf(out, NETCFG_LINE_MAX, "up %d", c->ifindex);
        break;
    case CHANGE_MTU:
        snprintf(out, NETCFG_LINE_MAX, "mtu %d %u %u", c->ifindex, c->mtu_new, c->mtu_old);
        break;
    case CHANGE_ADDR:
        snprintf(out, NETCFG_LINE_MAX, "addr %d %s %s", c->ifindex,
                 tun_prefix_text(&c->local, local),
                 c->peer.addr.family ? tun_prefix_text(&c->peer, peer) : "-");
        break;
    case CHANGE_ROUTE:
        route_line(&c->route, out);
        break;
    }
}

/* A decimal number of at most `max` from a whole word. */
static bool number(const char *word, uint32_t max, uint32_t *out)
{
    char *end;
    unsigned long v;

    if (word[0] < '0' || word[0] > '9')
        return false;
    errno = 0;
    v = strtoul(word, &end, 10);
    if (*end || errno || v > max)
        return false;
    *out = (uint32_t)v;
    return true;
}

static bool ifindex(const char *word, bool zero, int *out)
{
    uint32_t v;

    if (!number(word, INT32_MAX, &v) || (v == 0 && !zero))
        return false;
    *out = (int)v;
    return true;
}

static bool addr(const char *word, struct tun_addr *out)
{
    if (!strcmp(word, "-"))
        return true;
    return tun_addr_parse(word, out) == 0;
}

static bool prefix(const char *word, struct tun_prefix *out)
{
    if (!strcmp(word, "-"))
        return true;
    return tun_prefix_parse(word, out) == 0;
}

static bool route_type(const char *word, enum netcfg_route_type *out)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (!strcmp(word, types[i])) {
            *out = (enum netcfg_route_type)i;
            return true;
        }
    }
    return false;
}

static bool parse_route(char *const *w, struct change *c)
{
    struct netcfg_route *r = &c->route;

    if (!route_type(w[1], &r->type) || !prefix(w[2], &r->dst) || !r->dst.addr.family ||
        !ifindex(w[3], true, &r->oif) || !addr(w[4], &r->gateway) || !addr(w[5], &r->source) ||
        !number(w[6], UINT32_MAX, &r->metric) || !number(w[7], UINT32_MAX, &r->table))
        return false;
    c->ifindex = r->oif;
    return true;
}

int change_parse(const char *line, struct change *c)
{
    char copy[NETCFG_LINE_MAX], *w[WORDS_MAX], *rest = copy;
    struct change got = {0};
    size_t n = 0;
    bool ok = false;

    if (strlen(line) >= sizeof(copy))
        return -EINVAL;
    strcpy(copy, line);
    for (char *word; n < WORDS_MAX && (word = strsep(&rest, " ")) != NULL;)
        w[n++] = word;
    if (rest)
        return -EINVAL;
    if (n == 2 && !strcmp(w[0], "up")) {
        got.kind = CHANGE_UP;
        ok = ifindex(w[1], false, &got.ifindex);
    } else if (n == 4 && !strcmp(w[0], "mtu")) {
        got.kind = CHANGE_MTU;
        ok = ifindex(w[1], false, &got.ifindex) && number(w[2], INT32_MAX, &got.mtu_new) &&
             number(w[3], INT32_MAX, &got.mtu_old);
    } else if (n == 4 && !strcmp(w[0], "addr")) {
        got.kind = CHANGE_ADDR;
        ok = ifindex(w[1], false, &got.ifindex) && prefix(w[2], &got.local) &&
             got.local.addr.family && prefix(w[3], &got.peer);
    } else if (n == 8 && !strcmp(w[0], "route")) {
        got.kind = CHANGE_ROUTE;
        ok = parse_route(w, &got);
    }
    if (!ok)
        return -EINVAL;
    *c = got;
    return 0;
}
