#include "masque/routes.h"

#include <stdlib.h>
#include <string.h>

void routes_init(struct routes *t)
{
    memset(t, 0, sizeof(*t));
}

void routes_free(struct routes *t)
{
    free(t->r);
    routes_init(t);
}

/* Whether the list says at its place for `version` "everything, all protocols". */
static bool whole(const struct ip_range *r, size_t n, uint8_t version)
{
    struct ip_range all = ip_range_all(version, 0);

    for (size_t i = 0; i < n; i++)
        if (r[i].proto == 0 && ip_addr_equal(&r[i].start, &all.start) &&
            ip_addr_equal(&r[i].end, &all.end))
            return true;
    return false;
}

int routes_set(struct routes *t, const struct ip_range *r, size_t n)
{
    struct ip_range *copy = NULL;

    if (!ip_ranges_normal(r, n))
        return QUIC_INVAL;
    if (n > 0) {
        copy = malloc(2 * n * sizeof(*copy));
        if (!copy)
            return QUIC_NOMEM;
        memcpy(copy, r, n * sizeof(*r));
        memcpy(copy + n, r, n * sizeof(*r));
    }
    free(t->r);
    t->r = copy;
    t->n = n;
    t->any = copy ? copy + n : NULL;
    for (size_t i = 0; i < n; i++)
        t->any[i].proto = 0;
    t->nany = n ? (size_t)ip_ranges_normalize(t->any, n, n) : 0; /* joining never grows it */
    t->all[0] = whole(r, n, 4);
    t->all[1] = whole(r, n, 6);
    return 0;
}

/* -1, 0, 1: the address is below, in, above the range. Versions count first. */
static int place(const struct ip_range *r, uint8_t version, const uint8_t *bytes)
{
    if (r->start.version != version)
        return version < r->start.version ? -1 : 1;
    if (memcmp(bytes, r->start.b, ip_size(version)) < 0)
        return -1;
    return memcmp(bytes, r->end.b, ip_size(version)) > 0 ? 1 : 0;
}

/* As above, with the protocol between version and address, as the list is ordered. */
static int place_proto(const struct ip_range *r, uint8_t version, uint8_t proto,
                       const uint8_t *bytes)
{
    if (r->start.version == version && r->proto != proto)
        return proto < r->proto ? -1 : 1;
    return place(r, version, bytes);
}

static bool find_proto(const struct routes *t, uint8_t version, uint8_t proto,
                       const uint8_t *bytes)
{
    size_t lo = 0, hi = t->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = place_proto(&t->r[mid], version, proto, bytes);

        if (c == 0)
            return true;
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return false;
}

static bool find_any(const struct routes *t, uint8_t version, const uint8_t *bytes)
{
    size_t lo = 0, hi = t->nany;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = place(&t->any[mid], version, bytes);

        if (c == 0)
            return true;
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return false;
}

bool routes_has(const struct routes *t, uint8_t version)
{
    return t->nany > 0 &&
           (t->any[0].start.version == version || t->any[t->nany - 1].start.version == version);
}

enum routes_match routes_find(const struct routes *t, uint8_t version, const uint8_t *bytes,
                              uint8_t proto, bool icmp)
{
    if (t->all[version == 6])
        return ROUTES_MATCH;
    if (!find_any(t, version, bytes))
        return ROUTES_NONE;
    if (icmp || find_proto(t, version, 0, bytes))
        return ROUTES_MATCH;
    if (proto != 0 && find_proto(t, version, proto, bytes))
        return ROUTES_MATCH;
    return ROUTES_OTHER_PROTO;
}
