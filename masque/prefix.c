#include "masque/prefix.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ip_addr ip_addr_of(uint8_t version, const uint8_t *bytes)
{
    struct ip_addr a = {.version = version};

    memcpy(a.b, bytes, ip_size(version));
    return a;
}

struct ip_addr ip_addr_v4(uint32_t host_order)
{
    struct ip_addr a = {.version = 4};

    for (size_t i = 0; i < 4; i++)
        a.b[i] = (uint8_t)(host_order >> (24 - 8 * i));
    return a;
}

uint32_t ip_addr_v4_value(const struct ip_addr *a)
{
    return (uint32_t)a->b[0] << 24 | (uint32_t)a->b[1] << 16 | (uint32_t)a->b[2] << 8 | a->b[3];
}

int ip_addr_cmp(const struct ip_addr *a, const struct ip_addr *b)
{
    if (a->version != b->version)
        return a->version < b->version ? -1 : 1;
    return memcmp(a->b, b->b, ip_size(a->version));
}

bool ip_addr_equal(const struct ip_addr *a, const struct ip_addr *b)
{
    return ip_addr_cmp(a, b) == 0;
}

bool ip_addr_add(const struct ip_addr *base, uint64_t n, struct ip_addr *out)
{
    struct ip_addr a = *base;

    for (size_t i = ip_size(a.version); i-- > 0 && n > 0;) {
        /* the carry out of a byte joins what is left of n: at most 2^56 + 1 */
        uint64_t low = a.b[i] + (n & 0xff);

        a.b[i] = (uint8_t)low;
        n = (n >> 8) + (low >> 8);
    }
    if (n > 0)
        return false;
    *out = a;
    return true;
}

bool ip_addr_next(struct ip_addr *a)
{
    return ip_addr_add(a, 1, a);
}

bool ip_addr_prev(struct ip_addr *a)
{
    size_t n = ip_size(a->version), i = n;

    if (ip_bytes_unspecified(a->version, a->b))
        return false;
    while (i-- > 0 && a->b[i]-- == 0)
        ;
    return true;
}

/* A decimal of one to `most` digits without leading zeros, at most `max`; else -1. */
static int decimal(struct span text, size_t most, int max)
{
    int v = 0;

    if (text.n == 0 || text.n > most || (text.n > 1 && text.p[0] == '0'))
        return -1;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return -1;
        v = v * 10 + (text.p[i] - '0');
    }
    return v <= max ? v : -1;
}

static int parse_v4(struct span text, struct ip_addr *out)
{
    struct ip_addr a = {.version = 4};

    for (size_t i = 0; i < 4; i++) {
        const uint8_t *dot = i < 3 && text.n ? memchr(text.p, '.', text.n) : NULL;
        size_t n = i < 3 ? (dot ? (size_t)(dot - text.p) : 0) : text.n;
        int v = decimal(span_of(text.p, n), 3, 255);

        if (v < 0)
            return QUIC_INVAL;
        a.b[i] = (uint8_t)v;
        if (i < 3)
            text = span_of(dot + 1, text.n - n - 1);
    }
    *out = a;
    return 0;
}

int ip_addr_parse(struct span text, struct ip_addr *out)
{
    char z[IP_ADDR_TEXT];
    struct ip_addr a = {.version = 6};

    if (text.n == 0 || text.n >= sizeof(z) || memchr(text.p, 0, text.n))
        return QUIC_INVAL;
    if (!memchr(text.p, ':', text.n))
        return parse_v4(text, out);
    memcpy(z, text.p, text.n);
    z[text.n] = 0;
    if (inet_pton(AF_INET6, z, a.b) != 1)
        return QUIC_INVAL;
    *out = a;
    return 0;
}

char *ip_addr_format(const struct ip_addr *a, char *out, size_t size)
{
    char z[IP_ADDR_TEXT] = "none";

    if (a->version == 4 || a->version == 6)
        inet_ntop(a->version == 4 ? AF_INET : AF_INET6, a->b, z, sizeof(z));
    if (size > 0)
        out[0] = 0;
    if (strlen(z) < size)
        memcpy(out, z, strlen(z) + 1);
    return out;
}

char *ip_prefix_format(const struct ip_prefix *p, char *out, size_t size)
{
    char a[IP_ADDR_TEXT], z[IP_PREFIX_TEXT + 1];
    int n = snprintf(z, sizeof(z), "%s/%u", ip_addr_format(&p->addr, a, sizeof(a)), p->len);

    if (size > 0)
        out[0] = 0;
    if (n > 0 && (size_t)n < size && (size_t)n < sizeof(z))
        memcpy(out, z, (size_t)n + 1);
    return out;
}

int ip_prefix_parse(struct span text, struct ip_prefix *out)
{
    const uint8_t *slash = text.n ? memchr(text.p, '/', text.n) : NULL;
    struct ip_prefix p;
    int len;

    if (ip_addr_parse(span_of(text.p, slash ? (size_t)(slash - text.p) : text.n), &p.addr))
        return QUIC_INVAL;
    len = (int)ip_bits(p.addr.version);
    if (slash)
        len = decimal(span_of(slash + 1, text.n - (size_t)(slash + 1 - text.p)), 3, len);
    if (len < 0)
        return QUIC_INVAL;
    p.len = (uint8_t)len;
    *out = p;
    return 0;
}

struct ip_prefix ip_prefix_host(const struct ip_addr *a)
{
    return (struct ip_prefix){*a, (uint8_t)ip_bits(a->version)};
}

bool ip_prefix_valid(const struct ip_prefix *p)
{
    return ip_size(p->addr.version) > 0 && p->len <= ip_bits(p->addr.version);
}

/* The network bits of byte `i` under a prefix of `len`. */
static uint8_t mask_byte(unsigned len, size_t i)
{
    unsigned bits = len > 8 * i ? len - 8 * (unsigned)i : 0;

    return bits >= 8 ? 0xff : (uint8_t)(0xff00 >> bits);
}

struct ip_prefix ip_prefix_mask(const struct ip_prefix *p)
{
    struct ip_prefix q = *p;

    for (size_t i = 0; i < ip_size(q.addr.version); i++)
        q.addr.b[i] &= mask_byte(q.len, i);
    return q;
}

bool ip_prefix_canonical(const struct ip_prefix *p)
{
    struct ip_prefix q = ip_prefix_mask(p);

    return ip_addr_equal(&p->addr, &q.addr);
}

bool ip_prefix_contains_bytes(const struct ip_prefix *p, uint8_t version, const uint8_t *bytes)
{
    size_t whole = p->len / 8;

    if (p->addr.version != version || memcmp(p->addr.b, bytes, whole) != 0)
        return false;
    return p->len % 8 == 0 ||
           ((p->addr.b[whole] ^ bytes[whole]) & mask_byte(p->len, whole)) == 0;
}

bool ip_prefix_contains(const struct ip_prefix *p, const struct ip_addr *a)
{
    return ip_prefix_contains_bytes(p, a->version, a->b);
}

bool ip_prefix_covers(const struct ip_prefix *p, const struct ip_prefix *q)
{
    return p->len <= q->len && ip_prefix_contains(p, &q->addr);
}

bool ip_prefix_overlaps(const struct ip_prefix *p, const struct ip_prefix *q)
{
    return ip_prefix_covers(p, q) || ip_prefix_covers(q, p);
}

bool ip_range_valid(const struct ip_range *r)
{
    return ip_size(r->start.version) > 0 && r->start.version == r->end.version &&
           ip_addr_cmp(&r->start, &r->end) <= 0;
}

struct ip_range ip_range_of(const struct ip_prefix *p, uint8_t proto)
{
    struct ip_addr start = ip_prefix_mask(p).addr, end = start;

    for (size_t i = 0; i < ip_size(end.version); i++)
        end.b[i] |= (uint8_t)~mask_byte(p->len, i);
    return (struct ip_range){start, end, proto};
}

struct ip_range ip_range_all(uint8_t version, uint8_t proto)
{
    struct ip_prefix all = {{.version = version}, 0};

    return ip_range_of(&all, proto);
}

bool ip_range_contains(const struct ip_range *r, const struct ip_addr *a)
{
    return r->start.version == a->version && ip_addr_cmp(&r->start, a) <= 0 &&
           ip_addr_cmp(a, &r->end) <= 0;
}

int ip_range_prefixes(const struct ip_range *r, struct ip_prefix *out, size_t max)
{
    struct ip_addr at = r->start;
    size_t n = 0;

    if (!ip_range_valid(r))
        return QUIC_INVAL;
    for (;;) {
        struct ip_prefix p = {at, 0};
        struct ip_range q;

        /* the shortest prefix that starts here and ends in the range */
        while (!ip_prefix_canonical(&p) ||
               (q = ip_range_of(&p, 0), ip_addr_cmp(&q.end, &r->end) > 0))
            p.len++;
        if (n == max)
            return QUIC_TOOBIG;
        out[n++] = p;
        q = ip_range_of(&p, 0);
        if (ip_addr_equal(&q.end, &r->end))
            return (int)n;
        at = q.end;
        ip_addr_next(&at);
    }
}

static int cmp_ranges(const void *pa, const void *pb)
{
    const struct ip_range *a = pa, *b = pb;
    int c;

    if (a->start.version != b->start.version)
        return a->start.version < b->start.version ? -1 : 1;
    if (a->proto != b->proto)
        return a->proto < b->proto ? -1 : 1;
    c = ip_addr_cmp(&a->start, &b->start);
    return c ? c : ip_addr_cmp(&a->end, &b->end);
}

static bool same_list(const struct ip_range *a, const struct ip_range *b)
{
    return a->start.version == b->start.version && a->proto == b->proto;
}

/* Of `n` ascending, disjoint ranges of one version: the first that does not end below `a`. */
static size_t first_reaching(const struct ip_range *r, size_t n, const struct ip_addr *a)
{
    size_t lo = 0;

    while (n > 0) {
        size_t half = n / 2;

        if (ip_addr_cmp(&r[lo + half].end, a) < 0) {
            lo += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return lo;
}

bool ip_ranges_normal(const struct ip_range *r, size_t n)
{
    const struct ip_range *any = r; /* those of all protocols, of the version at hand */
    size_t nany = 0;

    for (size_t i = 0; i < n; i++) {
        if (!ip_range_valid(&r[i]))
            return false;
        if (i > 0 && same_list(&r[i - 1], &r[i])) {
            if (ip_addr_cmp(&r[i - 1].end, &r[i].start) >= 0)
                return false;
        } else if (i > 0 && cmp_ranges(&r[i - 1], &r[i]) > 0) {
            return false;
        }
        if (i == 0 || r[i - 1].start.version != r[i].start.version) {
            any = &r[i];
            nany = 0;
        }
        if (r[i].proto == 0) {
            nany++;
        } else {
            size_t k = first_reaching(any, nany, &r[i].start);

            if (k < nany && ip_addr_cmp(&any[k].start, &r[i].end) <= 0)
                return false;
        }
    }
    return true;
}

/* Join neighbours in a sorted list that overlap or touch. Returns the new length. */
static size_t join(struct ip_range *r, size_t n)
{
    size_t k = 0;

    for (size_t i = 0; i < n; i++) {
        struct ip_addr after = k ? r[k - 1].end : r[i].end;

        ip_addr_next(&after); /* the last address of all stays, and touches what follows */
        if (k > 0 && same_list(&r[k - 1], &r[i]) && ip_addr_cmp(&r[i].start, &after) <= 0) {
            if (ip_addr_cmp(&r[i].end, &r[k - 1].end) > 0)
                r[k - 1].end = r[i].end;
        } else {
            r[k++] = r[i];
        }
    }
    return k;
}

/*
 * Take the addresses of `cut` out of list[i]: it shrinks, vanishes or becomes two.
 * `*n` follows. Returns how many are left of it (0, 1, 2), or QUIC_TOOBIG.
 */
static int cut_one(struct ip_range *list, size_t *n, size_t max, size_t i,
                   const struct ip_range *cut)
{
    struct ip_range head = list[i], tail = list[i];
    bool has_head = ip_addr_cmp(&head.start, &cut->start) < 0;
    bool has_tail = ip_addr_cmp(&cut->end, &tail.end) < 0;

    if (ip_addr_cmp(&head.start, &cut->end) > 0 || ip_addr_cmp(&cut->start, &head.end) > 0)
        return 1;
    if (has_head) {
        head.end = cut->start;
        ip_addr_prev(&head.end);
    }
    if (has_tail) {
        tail.start = cut->end;
        ip_addr_next(&tail.start);
    }
    if (has_head && has_tail) {
        if (*n == max)
            return QUIC_TOOBIG;
        memmove(&list[i + 2], &list[i + 1], (*n - i - 1) * sizeof(*list));
        list[i] = head;
        list[i + 1] = tail;
        ++*n;
        return 2;
    }
    if (has_head || has_tail) {
        list[i] = has_head ? head : tail;
        return 1;
    }
    memmove(&list[i], &list[i + 1], (*n - i - 1) * sizeof(*list));
    --*n;
    return 0;
}

int ip_ranges_normalize(struct ip_range *r, size_t n, size_t max)
{
    size_t any = 0, nany = 0, i = 0;
    uint8_t version = 0;

    for (size_t k = 0; k < n; k++)
        if (!ip_range_valid(&r[k]))
            return QUIC_INVAL;
    if (n > 1)
        qsort(r, n, sizeof(*r), cmp_ranges);
    n = join(r, n);
    while (i < n) {
        size_t k;
        int left;

        if (r[i].start.version != version) { /* those of all protocols come first */
            version = r[i].start.version;
            any = i;
            while (i < n && r[i].start.version == version && r[i].proto == 0)
                i++;
            nany = i - any;
            continue;
        }
        k = first_reaching(&r[any], nany, &r[i].start);
        if (k == nany || ip_addr_cmp(&r[i].end, &r[any + k].start) < 0) {
            i++;
            continue;
        }
        left = cut_one(r, &n, max, i, &r[any + k]);
        if (left < 0)
            return left;
    }
    return (int)n;
}

int ip_range_exclude(const struct ip_range *from, const struct ip_prefix *cut, size_t n,
                     struct ip_range *out, size_t max)
{
    size_t k = 1;

    if (!ip_range_valid(from))
        return QUIC_INVAL;
    if (max == 0)
        return QUIC_TOOBIG;
    out[0] = *from;
    for (size_t c = 0; c < n; c++) {
        struct ip_range hole;

        if (!ip_prefix_valid(&cut[c]))
            return QUIC_INVAL;
        hole = ip_range_of(&cut[c], 0);
        for (size_t i = 0; hole.start.version == from->start.version && i < k;) {
            int left = cut_one(out, &k, max, i, &hole);

            if (left < 0)
                return left;
            i += (size_t)left;
        }
    }
    return (int)k;
}
