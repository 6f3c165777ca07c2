#include "app/pool.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static int parse(const char *cidr, int family, uint8_t *addr, unsigned *len)
{
    char text[INET6_ADDRSTRLEN];
    const char *slash = strchr(cidr, '/');

    if (!slash || (size_t)(slash - cidr) >= sizeof(text))
        return QUIC_INVAL;
    memcpy(text, cidr, (size_t)(slash - cidr));
    text[slash - cidr] = 0;
    *len = (unsigned)strtoul(slash + 1, NULL, 10);
    return inet_pton(family, text, addr) == 1 ? 0 : QUIC_INVAL;
}

int pool_init(struct pool *p, const char *subnet, const char *subnet6, uint32_t max_slots)
{
    uint64_t size;

    memset(p, 0, sizeof(*p));
    if (parse(subnet, AF_INET, p->base4, &p->len4) || p->len4 < 8 || p->len4 > 30)
        return QUIC_INVAL;
    size = ((uint64_t)1 << (32 - p->len4)) - 1; /* without the broadcast address */
    p->has6 = strcmp(subnet6, "none") != 0;
    if (p->has6) {
        if (parse(subnet6, AF_INET6, p->base6, &p->len6) || p->len6 > 126 || p->len6 < 64)
            return QUIC_INVAL;
        if (128 - p->len6 < 32 && ((uint64_t)1 << (128 - p->len6)) < size)
            size = (uint64_t)1 << (128 - p->len6);
    }
    if (size > (uint64_t)max_slots + 2)
        size = (uint64_t)max_slots + 2;
    p->size = (uint32_t)size;
    p->next = 2;
    p->slot = calloc(p->size, sizeof(*p->slot));
    if (!p->slot)
        return QUIC_NOMEM;
    for (uint32_t i = 0; i < p->size; i++)
        p->slot[i].owner = POOL_NONE;
    return 0;
}

void pool_free(struct pool *p)
{
    free(p->slot);
    p->slot = NULL;
}

bool pool_valid(const struct pool *p, uint32_t i)
{
    return i >= 2 && i < p->size;
}

uint32_t pool_take(struct pool *p, uint32_t owner, uint64_t now_s)
{
    uint32_t best = POOL_NONE;

    if (p->size <= 2 || p->taken == p->size - 2)
        return POOL_NONE;
    for (uint32_t k = 0; k < p->size - 2; k++) {
        uint32_t i = 2 + (p->next - 2 + k) % (p->size - 2);
        const struct pool_slot *s = &p->slot[i];
        if (s->owner != POOL_NONE)
            continue;
        if (s->held_s <= now_s) {
            best = i;
            break;
        }
        if (best == POOL_NONE || s->held_s < p->slot[best].held_s)
            best = i;
    }
    pool_claim(p, best, owner);
    p->next = best + 1 < p->size ? best + 1 : 2;
    return best;
}

bool pool_may_claim(const struct pool *p, uint32_t i, uint64_t expiry_s, uint64_t now_s)
{
    const struct pool_slot *s = &p->slot[i];

    if (s->owner == POOL_NONE && s->held_s <= now_s)
        return true;
    return (s->lease[0] == 0 && s->lease[1] == 0) || s->lease[0] == expiry_s ||
           s->lease[1] == expiry_s;
}

uint32_t pool_claim(struct pool *p, uint32_t i, uint32_t owner)
{
    uint32_t former = p->slot[i].owner;

    p->taken += former == POOL_NONE;
    p->slot[i] = (struct pool_slot){.owner = owner};
    return former;
}

void pool_leases(struct pool *p, uint32_t i, uint64_t came_s, uint64_t given_s)
{
    p->slot[i].lease[0] = came_s;
    p->slot[i].lease[1] = given_s;
}

uint32_t pool_silent(const struct pool *p, pool_heard_fn *heard, void *ctx, ns_t before)
{
    uint32_t best = POOL_NONE;

    for (uint32_t i = 2; i < p->size; i++) {
        ns_t at = p->slot[i].owner == POOL_NONE ? NS_NEVER : heard(ctx, p->slot[i].owner);

        if (at >= before)
            continue;
        before = at;
        best = i;
    }
    return best;
}

void pool_release(struct pool *p, uint32_t i, uint32_t owner, uint64_t held_s)
{
    if (!pool_valid(p, i) || p->slot[i].owner != owner)
        return;
    p->slot[i].owner = POOL_NONE;
    p->slot[i].held_s = held_s;
    p->taken--;
}

void pool_hold(struct pool *p, uint32_t i, uint64_t held_s)
{
    if (pool_valid(p, i) && p->slot[i].owner == POOL_NONE)
        p->slot[i].held_s = held_s;
}

/* base + i over the last `n` bytes; the pool's size keeps the sum inside them. */
static void add(const uint8_t *base, size_t n, uint32_t i, uint8_t *out)
{
    uint64_t carry = i;

    for (size_t k = n; k-- > 0; carry >>= 8) {
        carry += base[k];
        out[k] = (uint8_t)carry;
    }
}

void pool_addr4(const struct pool *p, uint32_t i, uint8_t out[4])
{
    add(p->base4, 4, i, out);
}

void pool_addr6(const struct pool *p, uint32_t i, uint8_t out[16])
{
    add(p->base6, 16, i, out);
}

uint32_t pool_owner(const struct pool *p, int version, const uint8_t *addr)
{
    size_t n = version == 4 ? 4 : 16;
    const uint8_t *base = version == 4 ? p->base4 : p->base6;
    uint64_t i = 0;

    if (version != 4 && (!p->has6 || memcmp(addr, base, 8) != 0))
        return POOL_NONE;
    for (size_t k = n == 4 ? 0 : 8; k < n; k++)
        i = i << 8 | (uint8_t)(addr[k] ^ base[k]);
    /* The base has no host bits, so the difference is the index where the prefix matches. */
    if (i >= p->size || !pool_valid(p, (uint32_t)i))
        return POOL_NONE;
    return p->slot[i].owner;
}
