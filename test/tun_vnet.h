/*
 * tun_vnet - a second opinion on tun/vnet.h: packets are built, segmented and checked here
 * by plain code of its own, copying, one field after the other. For the test and the fuzzer.
 */
#ifndef TEST_TUN_VNET_H
#define TEST_TUN_VNET_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tun/vnet.h"

#define NAIVE_MAX 65600

#define REQUIRE(cond)                                                                          \
    do {                                                                                       \
        if (!(cond)) {                                                                         \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                         \
            abort();                                                                           \
        }                                                                                      \
    } while (0)

/* ---- numbers and sums ---------------------------------------------------------------- */

static inline unsigned naive_get(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static inline void naive_put(uint8_t *p, size_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* One's complement addition of the words at `p`, one by one. */
static inline unsigned naive_sum(unsigned sum, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i += 2) {
        sum += (unsigned)p[i] << 8 | (i + 1 < n ? p[i + 1] : 0);
        if (sum > 0xffff)
            sum -= 0xffff;
    }
    return sum;
}

/* The pseudo header's sum for a transport part of `n` bytes. */
static inline unsigned naive_pseudo(const uint8_t *pkt, uint8_t proto, size_t n)
{
    uint8_t last[4] = {0, proto};
    unsigned sum = pkt[0] >> 4 == 4 ? naive_sum(0, pkt + 12, 8) : naive_sum(0, pkt + 8, 32);

    naive_put(last + 2, n);
    return naive_sum(sum, last, 4);
}

static inline void naive_ip_csum(uint8_t *pkt)
{
    size_t ihl = (pkt[0] & 15u) * 4;

    naive_put(pkt + 10, 0);
    naive_put(pkt + 10, ~naive_sum(0, pkt, ihl));
}

/* ---- what a packet is ---------------------------------------------------------------- */

struct naive_view {
    bool ip;   /* has addresses */
    bool flow; /* TCP or UDP, whole and of the right lengths, without options before it */
    bool v4, tcp;
    size_t addr_at, addr_n, l4, head_n;
};

static inline struct naive_view naive_look(const uint8_t *p, size_t n)
{
    struct naive_view v = {.v4 = n >= 20 && p[0] >> 4 == 4};
    uint8_t proto;

    v.ip = v.v4 || (n >= 40 && p[0] >> 4 == 6);
    if (!v.ip)
        return v;
    v.l4 = v.v4 ? 20 : 40;
    v.addr_at = v.v4 ? 12 : 8;
    v.addr_n = v.v4 ? 8 : 32;
    proto = p[v.v4 ? 9 : 6];
    v.tcp = proto == 6;
    if (v.v4 && (p[0] != 0x45 || naive_get(p + 2) != n || (naive_get(p + 6) & 0xbfff) ||
                 naive_sum(0, p, 20) != 0xffff))
        return v;
    if (!v.v4 && naive_get(p + 4) != n - 40)
        return v;
    if ((proto != 6 && proto != 17) || n < v.l4 + (v.tcp ? 20 : 8))
        return v;
    v.head_n = v.l4 + (v.tcp ? (p[v.l4 + 12] >> 4) * 4u : 8u);
    if (v.head_n > n || v.head_n < v.l4 + 8 || (v.tcp && v.head_n < v.l4 + 20) ||
        (!v.tcp && naive_get(p + v.l4 + 4) != n - v.l4))
        return v;
    v.flow = true;
    return v;
}

/* Whether it is of a flow and has the right checksum. */
static inline bool naive_valid(const uint8_t *p, size_t n)
{
    struct naive_view v = naive_look(p, n);

    return v.flow && (v.tcp || naive_get(p + v.l4 + 6) != 0) &&
           naive_sum(naive_pseudo(p, v.tcp ? 6 : 17, n - v.l4), p + v.l4, n - v.l4) == 0xffff;
}

/* Whether one of two packets must not overtake the other. */
static inline bool naive_related(const uint8_t *a, size_t an, const uint8_t *b, size_t bn)
{
    struct naive_view x = naive_look(a, an), y = naive_look(b, bn);

    if (!x.ip || !y.ip)
        return true;
    if (x.v4 != y.v4 || memcmp(a + x.addr_at, b + y.addr_at, x.addr_n) != 0)
        return false;
    if (!x.flow || !y.flow)
        return true;
    return x.tcp == y.tcp && !memcmp(a + x.l4, b + y.l4, 4);
}

/*
 * Whether two packets are the same for every receiver: byte by byte, but for the
 * identification of one that can't be fragmented, and the two forms of a checksum of zero.
 */
static inline bool naive_same(const uint8_t *a, const uint8_t *b, size_t n)
{
    static uint8_t x[NAIVE_MAX], y[NAIVE_MAX];
    struct naive_view v = naive_look(a, n);

    if (!memcmp(a, b, n))
        return true;
    if ((n > 120 && memcmp(a + 120, b + 120, n - 120)) || !naive_valid(a, n) ||
        !naive_valid(b, n))
        return false;
    memcpy(x, a, n);
    memcpy(y, b, n);
    naive_put(x + v.l4 + (v.tcp ? 16 : 6), 0);
    naive_put(y + v.l4 + (v.tcp ? 16 : 6), 0);
    if (v.v4) {
        naive_put(x + 10, 0);
        naive_put(y + 10, 0);
        if (x[6] & y[6] & 0x40) {
            naive_put(x + 4, 0);
            naive_put(y + 4, 0);
        }
    }
    return !memcmp(x, y, n);
}

/* ---- segmentation -------------------------------------------------------------------- */

/*
 * Packet `i` of what a device hands over or takes, with its virtio-net header, the way the
 * kernel makes it, to `out`. Returns its length, or 0 if there are not so many.
 */
static inline size_t naive_packet(const uint8_t *buf, size_t n, size_t i, uint8_t *out)
{
    struct vnet_hdr h;
    const uint8_t *p = buf + sizeof(h);
    size_t l4, head, payload, off, part, len;
    unsigned sum;
    bool tcp, last;

    memcpy(&h, buf, sizeof(h));
    n -= sizeof(h);
    if (h.gso_type == VNET_GSO_NONE) {
        if (i > 0)
            return 0;
        memcpy(out, p, n);
        if (h.flags & VNET_NEEDS_CSUM) {
            sum = 0xffff ^ naive_sum(0, p + h.csum_start, n - h.csum_start);
            naive_put(out + h.csum_start + h.csum_offset, sum ? sum : 0xffff);
        }
        return n;
    }
    tcp = h.gso_type != VNET_GSO_UDP_L4;
    l4 = h.csum_start;
    head = l4 + (tcp ? (p[l4 + 12] >> 4) * 4u : 8u);
    payload = n - head;
    off = i * h.gso_size;
    if (off >= payload)
        return 0;
    last = payload - off <= h.gso_size;
    part = last ? payload - off : h.gso_size;
    len = head + part;
    memcpy(out, p, head);
    memcpy(out + head, p + head + off, part);
    if (p[0] >> 4 == 4) {
        naive_put(out + 2, len);
        naive_put(out + 4, naive_get(p + 4) + i);
        naive_ip_csum(out);
    } else {
        naive_put(out + 4, len - 40);
    }
    if (tcp) {
        uint32_t seq =
            ((uint32_t)naive_get(p + l4 + 4) << 16 | naive_get(p + l4 + 6)) + (uint32_t)off;

        naive_put(out + l4 + 4, seq >> 16);
        naive_put(out + l4 + 6, seq & 0xffff);
        if (i > 0)
            out[l4 + 13] &= 0x7f;
        if (!last)
            out[l4 + 13] &= 0xf6;
    } else {
        naive_put(out + l4 + 4, len - l4);
    }
    /* From the pseudo header that is given, of which only the length is another. */
    sum =
        naive_get(p + l4 + h.csum_offset) + 0xffffu - (unsigned)(n - l4) + (unsigned)(len - l4);
    sum = sum > 0xffff ? sum - 0xffff : sum;
    naive_put(out + l4 + h.csum_offset, 0);
    sum = 0xffff ^ naive_sum(sum, out + l4, len - l4);
    naive_put(out + l4 + h.csum_offset, sum || tcp ? sum : 0xffff);
    return len;
}

/* ---- merging ------------------------------------------------------------------------- */

/* Packets that were added to a merge, as they were. */
struct naive_in {
    uint8_t *copy[VNET_BATCH];
    size_t n[VNET_BATCH], count;
    bool used[VNET_BATCH];
};

static inline void naive_add(struct naive_in *in, struct vnet_merge *m, uint8_t *p, size_t n)
{
    REQUIRE(in->count < VNET_BATCH);
    in->copy[in->count] = malloc(n ? n : 1);
    REQUIRE(in->copy[in->count]);
    memcpy(in->copy[in->count], p, n);
    in->used[in->count] = false;
    in->n[in->count++] = n;
    REQUIRE(vnet_merge_add(m, p, n));
    REQUIRE(vnet_merge_check(m));
}

/* One packet that the kernel makes of what it was given: it must be the next of its flow. */
static inline void naive_take(struct naive_in *in, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < in->count; i++) {
        if (in->used[i])
            continue;
        if (in->n[i] == n && naive_same(in->copy[i], p, n)) {
            in->used[i] = true;
            return;
        }
        REQUIRE(!naive_related(in->copy[i], in->n[i], p, n)); /* overtaken, or changed */
    }
    REQUIRE(!"a packet that was never added");
}

/* Would the kernel take it? (drivers/net/tun.c, include/linux/virtio_net.h) */
static inline void naive_accept(const struct vnet_hdr *h, const uint8_t *p, size_t n)
{
    struct naive_view v = naive_look(p, n);

    REQUIRE(h->hdr_len <= n);
    if (!(h->flags & VNET_NEEDS_CSUM)) {
        REQUIRE(h->flags == 0 && h->gso_type == 0 && h->gso_size == 0);
        return;
    }
    REQUIRE(v.flow && h->csum_start == v.l4 && h->csum_offset == (v.tcp ? 16 : 6));
    REQUIRE(h->hdr_len == v.head_n);
    REQUIRE(naive_get(p + v.l4 + h->csum_offset) % 0xffff ==
            naive_pseudo(p, v.tcp ? 6 : 17, n - v.l4) % 0xffff);
    if (h->gso_type == VNET_GSO_NONE) {
        REQUIRE(h->gso_size == 0);
        return;
    }
    REQUIRE(h->gso_type == (!v.tcp ? VNET_GSO_UDP_L4 : v.v4 ? VNET_GSO_TCPV4 : VNET_GSO_TCPV6));
    REQUIRE(n - v.head_n > h->gso_size && h->gso_size > 0 && n <= 65535);
    REQUIRE(n - v.head_n <= (size_t)h->gso_size * VNET_SEGMENTS);
    REQUIRE(!v.tcp || !(p[v.l4 + 13] & 0xa6)); /* nothing of CWR, URG, RST, SYN */
}

/*
 * Take everything out of `m`: it must be what was added to it, in each flow's order. Frees
 * the copies. Returns the number of writes.
 */
static inline size_t naive_drain(struct naive_in *in, struct vnet_merge *m)
{
    static uint8_t buf[NAIVE_MAX + 16], one[NAIVE_MAX];
    struct iovec iov[VNET_IOV];
    struct vnet_hdr hdr;
    size_t k, len, writes = 0;

    while ((k = vnet_merge_next(m, &hdr, iov)) > 0) {
        size_t n = 0;

        REQUIRE(k <= VNET_IOV && iov[0].iov_base == &hdr && iov[0].iov_len == 10);
        REQUIRE(vnet_merge_check(m));
        for (size_t i = 0; i < k; i++) {
            REQUIRE(n + iov[i].iov_len <= sizeof(buf));
            memcpy(buf + n, iov[i].iov_base, iov[i].iov_len);
            n += iov[i].iov_len;
        }
        naive_accept(&hdr, buf + sizeof(hdr), n - sizeof(hdr));
        if (n == sizeof(hdr)) {
            naive_take(in, one, 0);
        } else {
            for (size_t i = 0; (len = naive_packet(buf, n, i, one)) > 0; i++)
                naive_take(in, one, len);
        }
        writes++;
    }
    for (size_t i = 0; i < in->count; i++) {
        REQUIRE(in->used[i]);
        free(in->copy[i]);
    }
    in->count = 0;
    return writes;
}

/* ---- building ------------------------------------------------------------------------ */

/* What to build; addresses and ports follow from `flow`. */
struct naive_spec {
    bool v6, tcp, df;
    uint8_t flow, tos, ttl, flags;
    uint16_t id, window;
    uint32_t seq, ack, label;
    size_t ip_options; /* bytes of IPv4 options or IPv6 extension headers, whole headers */
    size_t options;    /* bytes of TCP options */
    size_t payload;
};

/*
 * Build a packet with right checksums to `p`; its payload is what lies there already, behind
 * the header. Returns the header's length, `*l4` where the transport header begins.
 */
static inline size_t naive_build(const struct naive_spec *s, uint8_t *p, size_t *l4)
{
    size_t ip = (s->v6 ? 40 : 20) + s->ip_options, head = ip + (s->tcp ? 20 + s->options : 8);
    size_t n = head + s->payload, check = ip + (s->tcp ? 16 : 6);
    uint8_t proto = s->tcp ? 6 : 17;
    unsigned sum;

    memset(p, 0, head);
    if (s->v6) {
        p[0] = (uint8_t)(0x60 | s->tos >> 4);
        p[1] = (uint8_t)(s->tos << 4 | (s->label >> 16 & 15));
        naive_put(p + 2, s->label & 0xffff);
        naive_put(p + 4, n - 40);
        p[6] = s->ip_options ? 60 : proto;
        p[7] = s->ttl;
        memcpy(p + 8, "\xfd\0\0\1\0\0\0\0\0\0\0\0\0\0\0", 15);
        memcpy(p + 24, "\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0", 15);
        p[23] = s->flow;
        p[39] = (uint8_t)(s->flow >> 1);
        if (s->ip_options) { /* destination options: one PadN */
            p[40] = proto;
            p[41] = (uint8_t)(s->ip_options / 8 - 1);
            p[42] = 1;
            p[43] = (uint8_t)(s->ip_options - 4);
        }
    } else {
        p[0] = (uint8_t)(0x40 | ip / 4);
        p[1] = s->tos;
        naive_put(p + 2, n);
        naive_put(p + 4, s->id);
        p[6] = s->df ? 0x40 : 0;
        p[8] = s->ttl;
        p[9] = proto;
        memcpy(p + 12, (uint8_t[]){10, 0, 0, s->flow, 192, 0, 2, (uint8_t)(s->flow >> 1)}, 8);
        memset(p + 20, 1, s->ip_options);
        naive_ip_csum(p);
    }
    naive_put(p + ip, 1000u + s->flow);
    naive_put(p + ip + 2, 443);
    if (s->tcp) {
        naive_put(p + ip + 4, s->seq >> 16);
        naive_put(p + ip + 6, s->seq & 0xffff);
        naive_put(p + ip + 8, s->ack >> 16);
        naive_put(p + ip + 10, s->ack & 0xffff);
        p[ip + 12] = (uint8_t)((20 + s->options) / 4 << 4);
        p[ip + 13] = s->flags;
        naive_put(p + ip + 14, s->window);
        for (size_t i = 0; i < s->options; i++)
            p[ip + 20 + i] = (uint8_t)(i + s->ack);
    } else {
        naive_put(p + ip + 4, n - ip);
    }
    sum = 0xffff ^ naive_sum(naive_pseudo(p, proto, n - ip), p + ip, n - ip);
    naive_put(p + check, sum || s->tcp ? sum : 0xffff);
    *l4 = ip;
    return head;
}

/*
 * The same as a super-packet, or one whose checksum is yet to be made if `gso_size` is 0, at
 * `buf`, where payload must lie behind virtio-net header and header. Returns all its bytes.
 */
static inline size_t naive_super(const struct naive_spec *s, uint16_t gso_size, uint8_t *buf)
{
    size_t l4, head = naive_build(s, buf + 10, &l4), n = head + s->payload;
    struct vnet_hdr h = {.flags = VNET_NEEDS_CSUM,
                         .hdr_len = (uint16_t)head,
                         .gso_size = gso_size,
                         .csum_start = (uint16_t)l4,
                         .csum_offset = s->tcp ? 16 : 6};

    if (gso_size)
        h.gso_type = !s->tcp ? VNET_GSO_UDP_L4 : s->v6 ? VNET_GSO_TCPV6 : VNET_GSO_TCPV4;
    if (gso_size && s->tcp && s->flags & 0x80)
        h.gso_type |= VNET_GSO_ECN;
    memcpy(buf, &h, sizeof(h));
    naive_put(buf + 10 + l4 + h.csum_offset, naive_pseudo(buf + 10, s->tcp ? 6 : 17, n - l4));
    return 10 + n;
}

#endif
