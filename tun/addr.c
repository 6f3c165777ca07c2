#include "tun/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

size_t tun_addr_size(sa_family_t family)
{
    return family == AF_INET ? 4 : family == AF_INET6 ? 16 : 0;
}

struct tun_addr tun_addr_raw(sa_family_t family, const void *ip)
{
    struct tun_addr a = {.family = family};

    memcpy(a.ip, ip, tun_addr_size(family));
    return a;
}

int tun_addr_parse(const char *text, struct tun_addr *out)
{
    struct tun_addr a = {0};

    a.family = strchr(text, ':') ? AF_INET6 : AF_INET;
    if (inet_pton(a.family, text, a.ip) != 1)
        return -EINVAL;
    *out = a;
    return 0;
}

/* Decimal digits only, at most three, no leading zero: a prefix length, or -1. */
static int length(const char *s)
{
    int n = 0;

    if (s[0] == '\0' || (s[0] == '0' && s[1] != '\0') || strlen(s) > 3)
        return -1;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return -1;
        n = n * 10 + (*s - '0');
    }
    return n;
}

int tun_prefix_parse(const char *text, struct tun_prefix *out)
{
    char host[TUN_ADDR_TEXT];
    const char *slash = strchr(text, '/');
    size_t n = slash ? (size_t)(slash - text) : strlen(text);
    struct tun_prefix p = {0};
    int bits, max;

    if (n >= sizeof(host))
        return -EINVAL;
    memcpy(host, text, n);
    host[n] = '\0';
    if (tun_addr_parse(host, &p.addr))
        return -EINVAL;
    max = 8 * (int)tun_addr_size(p.addr.family);
    bits = slash ? length(slash + 1) : max;
    if (bits < 0 || bits > max)
        return -EINVAL;
    p.len = (uint8_t)bits;
    *out = p;
    return 0;
}

const char *tun_addr_text(const struct tun_addr *a, char out[TUN_ADDR_TEXT])
{
    if (!tun_addr_size(a->family) || !inet_ntop(a->family, a->ip, out, TUN_ADDR_TEXT))
        strcpy(out, "none");
    return out;
}

const char *tun_prefix_text(const struct tun_prefix *p, char out[TUN_PREFIX_TEXT])
{
    char host[TUN_ADDR_TEXT];

    if (!tun_addr_size(p->addr.family))
        strcpy(out, "none");
    else
        snprintf(out, TUN_PREFIX_TEXT, "%s/%u", tun_addr_text(&p->addr, host), p->len);
    return out;
}

bool tun_addr_equal(const struct tun_addr *a, const struct tun_addr *b)
{
    return a->family == b->family && !memcmp(a->ip, b->ip, tun_addr_size(a->family));
}

bool tun_prefix_equal(const struct tun_prefix *a, const struct tun_prefix *b)
{
    return a->len == b->len && tun_addr_equal(&a->addr, &b->addr);
}

/* The bits of byte `i` that belong to a prefix of `len` bits. */
static uint8_t mask(size_t i, unsigned len)
{
    if (len >= 8 * (i + 1))
        return 0xff;
    if (len <= 8 * i)
        return 0;
    return (uint8_t)(0xff << (8 - (len - 8 * i)));
}

struct tun_prefix tun_prefix_network(const struct tun_prefix *p)
{
    struct tun_prefix net = *p;

    for (size_t i = 0; i < sizeof(net.addr.ip); i++)
        net.addr.ip[i] &= mask(i, p->len);
    return net;
}

bool tun_prefix_contains(const struct tun_prefix *p, const struct tun_addr *a)
{
    if (a->family != p->addr.family)
        return false;
    for (size_t i = 0; i < tun_addr_size(a->family); i++) {
        if ((a->ip[i] ^ p->addr.ip[i]) & mask(i, p->len))
            return false;
    }
    return true;
}
