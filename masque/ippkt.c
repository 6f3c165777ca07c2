#include "masque/ippkt.h"

#include <string.h>

#include "masque/cksum.h"

enum { ICMP_ECHO_REPLY = 0, ICMP_ECHO = 8, ICMPV6_INFO = 128, ICMPV6_REDIRECT = 137 };
enum { UDP_HEAD = 8 };
enum { TCP_HEAD = IPPKT_TCP_HEAD, TCP_WINDOW = 14, TCP_SUM = 16 };
enum {
    TCP_OPT_END = 0,
    TCP_OPT_NOP = 1,
    TCP_OPT_MSS = 2,
    TCP_OPT_SCALE = 3,
    TCP_OPT_MD5 = 19,
    TCP_OPT_AO = 29
};

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* Whether the IPv4 options in `o` hold a source route; a broken option list fails. */
static int v4_options(struct span o, bool *source_routed)
{
    enum { LSRR = 131, SSRR = 137 };

    for (size_t i = 0; i < o.n;) {
        uint8_t kind = o.p[i];

        if (kind == 0)
            break;
        if (kind == 1) {
            i++;
            continue;
        }
        if (o.n - i < 2 || o.p[i + 1] < 2 || o.p[i + 1] > o.n - i)
            return QUIC_INVAL;
        *source_routed = *source_routed || kind == LSRR || kind == SSRR;
        i += o.p[i + 1];
    }
    return 0;
}

static int parse_v4(struct span pkt, struct ippkt *v)
{
    size_t ihl = (size_t)(pkt.p[0] & 0x0f) * 4;
    uint16_t frag;

    if (pkt.n < IPPKT_V4_HEAD || ihl < IPPKT_V4_HEAD || ihl > pkt.n ||
        get16(pkt.p + 2) != pkt.n)
        return QUIC_INVAL;
    if (cksum_fold(cksum_add(0, span_of(pkt.p, ihl))) != 0)
        return QUIC_INVAL;
    frag = get16(pkt.p + 6);
    v->dont_fragment = frag & 0x4000;
    v->fragment = frag & 0x3fff;
    v->later_fragment = frag & 0x1fff;
    v->hop_limit = pkt.p[8];
    v->proto = pkt.p[9];
    v->src = pkt.p + 12;
    v->dst = pkt.p + 16;
    v->upper = (uint16_t)(v->later_fragment ? pkt.n : ihl);
    return v4_options(span_of(pkt.p + IPPKT_V4_HEAD, ihl - IPPKT_V4_HEAD), &v->source_routed);
}

bool ippkt_is_extension(uint8_t proto)
{
    switch (proto) {
    case IP_PROTO_HOPOPT:
    case IP_PROTO_ROUTING:
    case IP_PROTO_FRAGMENT:
    case IP_PROTO_AH:
    case IP_PROTO_DSTOPTS:
    case IP_PROTO_MOBILITY:
    case IP_PROTO_HIP:
    case IP_PROTO_SHIM6:
        return true;
    default:
        return false;
    }
}

/*
 * One extension header `h` of type `proto`, of which `left` bytes are in the packet.
 * Returns its length, or 0 if it does not fit.
 */
static size_t v6_extension(uint8_t proto, const uint8_t *h, size_t left, struct ippkt *v)
{
    size_t n;

    if (left < 8)
        return 0;
    if (proto == IP_PROTO_FRAGMENT) {
        v->later_fragment = get16(h + 2) & 0xfff8;
        v->fragment = v->fragment || (get16(h + 2) & 0xfff9);
        return 8;
    }
    n = proto == IP_PROTO_AH ? ((size_t)h[1] + 2) * 4 : ((size_t)h[1] + 1) * 8;
    if (proto == IP_PROTO_ROUTING && h[2] == 0 && h[3] > 0)
        v->source_routed = true; /* RFC 5095: type 0 with segments left */
    return n <= left ? n : 0;
}

static int parse_v6(struct span pkt, struct ippkt *v)
{
    size_t at = IPPKT_V6_HEAD;

    if (pkt.n < IPPKT_V6_HEAD || (size_t)get16(pkt.p + 4) + IPPKT_V6_HEAD != pkt.n)
        return QUIC_INVAL;
    v->dont_fragment = true;
    v->proto = pkt.p[6];
    v->hop_limit = pkt.p[7];
    v->src = pkt.p + 8;
    v->dst = pkt.p + 24;
    for (size_t k = 0; ippkt_is_extension(v->proto) && !v->later_fragment; k++) {
        size_t n = v6_extension(v->proto, pkt.p + at, pkt.n - at, v);

        if (n == 0 || k == IPPKT_EXT_MAX)
            return QUIC_INVAL;
        v->proto = pkt.p[at];
        at += n;
    }
    v->upper = (uint16_t)at;
    if (v->later_fragment || v->proto == IP_PROTO_NONE)
        v->upper = (uint16_t)pkt.n;
    return 0;
}

int ippkt_parse(struct span pkt, struct ippkt *out)
{
    struct ippkt v = {.len = (uint32_t)pkt.n};
    int err = QUIC_INVAL;

    if (pkt.n < IPPKT_V4_HEAD || pkt.n > UINT16_MAX)
        return QUIC_INVAL;
    v.version = pkt.p[0] >> 4;
    if (v.version == 4)
        err = parse_v4(pkt, &v);
    else if (v.version == 6)
        err = parse_v6(pkt, &v);
    if (err == 0)
        *out = v;
    return err;
}

bool ippkt_hop_decrement(uint8_t *pkt)
{
    if (pkt[0] >> 4 == 6) {
        if (pkt[7] <= 1)
            return false;
        pkt[7]--;
        return true;
    }
    if (pkt[8] <= 1)
        return false;
    /* TTL and protocol share a word of the header checksum */
    put16(pkt + 10,
          cksum_change(get16(pkt + 10), get16(pkt + 8), (uint16_t)(get16(pkt + 8) - 0x100)));
    pkt[8]--;
    return true;
}

/* Whether `n` bytes of the upper layer are there. */
static bool upper_has(const struct ippkt *v, size_t n)
{
    return !v->later_fragment && v->len - v->upper >= n;
}

/* What tells flows between two hosts apart: ports, SPI, echo identifier; else 0. */
static uint32_t flow_ports(const struct ippkt *v, struct span pkt)
{
    enum { UDPLITE = 136, DCCP = 33, ICMPV6_ECHO_REPLY = 129 };
    const uint8_t *u = pkt.p + v->upper;

    if (v->fragment || !upper_has(v, 8))
        return 0;
    switch (v->proto) {
    case IP_PROTO_TCP:
    case IP_PROTO_UDP:
    case IP_PROTO_SCTP:
    case IP_PROTO_ESP:
    case UDPLITE:
    case DCCP:
        return (uint32_t)get16(u) << 16 | get16(u + 2);
    case IP_PROTO_ICMP:
        return v->version == 4 && (u[0] == ICMP_ECHO || u[0] == ICMP_ECHO_REPLY) ? get16(u + 4)
                                                                                 : 0;
    case IP_PROTO_ICMPV6:
        return v->version == 6 && (u[0] == ICMPV6_INFO || u[0] == ICMPV6_ECHO_REPLY)
                   ? get16(u + 4)
                   : 0;
    default:
        return 0;
    }
}

static uint64_t rotl(uint64_t x, unsigned n)
{
    return x << n | x >> (64 - n);
}

static inline void sip_round(uint64_t s[4])
{
    s[0] += s[1];
    s[2] += s[3];
    s[1] = rotl(s[1], 13) ^ s[0];
    s[3] = rotl(s[3], 16) ^ s[2];
    s[0] = rotl(s[0], 32);
    s[2] += s[1];
    s[0] += s[3];
    s[1] = rotl(s[1], 17) ^ s[2];
    s[3] = rotl(s[3], 21) ^ s[0];
    s[2] = rotl(s[2], 32);
}

/* Of packets from `src` to `dst`. */
static uint32_t flow_hash(const struct ippkt *v, const uint8_t *src, const uint8_t *dst,
                          uint32_t ports, uint64_t seed)
{
    /* SipHash-1-3 over whole words: who does not know the seed can't make flows collide */
    uint64_t s[4] = {seed ^ 0x736f6d6570736575, ~seed ^ 0x646f72616e646f6d,
                     seed ^ 0x6c7967656e657261, ~seed ^ 0x7465646279746573};
    uint64_t m[5] = {(uint64_t)v->version << 40 | (uint64_t)v->proto << 32 | ports};
    size_t n = 1 + 2 * ip_size(v->version) / 8;

    memcpy(&m[1], src, ip_size(v->version));
    memcpy((uint8_t *)&m[1] + ip_size(v->version), dst, ip_size(v->version));
    for (size_t i = 0; i < n; i++) {
        s[3] ^= m[i];
        sip_round(s);
        s[0] ^= m[i];
    }
    s[2] ^= 0xff;
    for (size_t i = 0; i < 3; i++)
        sip_round(s);
    s[0] ^= s[1] ^ s[2] ^ s[3];
    return (uint32_t)(s[0] ^ s[0] >> 32);
}

uint32_t ippkt_flow_hash(const struct ippkt *v, struct span pkt, uint64_t seed)
{
    return flow_hash(v, v->src, v->dst, flow_ports(v, pkt), seed);
}

uint32_t ippkt_flow_hash_back(const struct ippkt *v, struct span pkt, uint64_t seed)
{
    uint32_t ports = flow_ports(v, pkt);

    return flow_hash(v, v->dst, v->src, ports << 16 | ports >> 16, seed);
}

bool ippkt_is_quic(const uint8_t *pkt, size_t n)
{
    size_t at = (pkt[0] >> 4 == 4 ? (pkt[0] & 15u) * 4 : IPPKT_V6_HEAD) + UDP_HEAD;
    uint32_t version;

    if (n < at + 5 || (pkt[at] & 0xc0) != 0xc0)
        return false;
    version = (uint32_t)get16(pkt + at + 1) << 16 | get16(pkt + at + 3);
    return version == 1 || version == 0x6b3343cf;
}

bool ippkt_icmp_error(const struct ippkt *v, struct span pkt)
{
    /* the queries of IPv4: echo, router discovery, timestamp, information, address mask */
    const uint32_t v4_query = 1u << 0 | 1u << 8 | 1u << 9 | 1u << 10 | 0x3fu << 13;
    uint8_t type;

    if (!ippkt_is_icmp(v))
        return false;
    if (!upper_has(v, 1))
        return true;
    type = pkt.p[v->upper];
    if (v->version == 4)
        return type >= 32 || !(v4_query >> type & 1);
    return type < ICMPV6_INFO || type == ICMPV6_REDIRECT;
}

/*
 * Offset of the next option other than padding in the TCP header `t` of `n` bytes, whose options
 * are read from *at on; or 0. What stands behind a malformed option is none.
 */
static size_t option_next(const uint8_t *t, size_t n, size_t *at)
{
    for (size_t i = *at; i < n && t[i] != TCP_OPT_END; i++) {
        if (t[i] == TCP_OPT_NOP)
            continue;
        if (n - i < 2 || t[i + 1] < 2 || t[i + 1] > n - i)
            return 0;
        *at = i + t[i + 1];
        return i;
    }
    return 0;
}

void ippkt_set_ce(uint8_t *pkt)
{
    uint16_t from = get16(pkt);

    pkt[1] |= pkt[0] >> 4 == 4 ? 0x03 : 0x30;
    if (pkt[0] >> 4 == 4)
        put16(pkt + 10, cksum_change(get16(pkt + 10), from, get16(pkt)));
}

static uint16_t swapped_if(bool odd, uint16_t v)
{
    return odd ? (uint16_t)(v << 8 | v >> 8) : v;
}

bool ippkt_mss_clamp(const struct ippkt *v, uint8_t *pkt, size_t mtu)
{
    uint8_t *t = pkt + v->upper;
    size_t heads = (v->version == 4 ? IPPKT_V4_HEAD : IPPKT_V6_HEAD) + TCP_HEAD;
    size_t n, option, at = TCP_HEAD, most = mtu > heads ? mtu - heads : 0;
    bool changed = false;

    if (!ippkt_is_syn(v, pkt) || most == 0)
        return false;
    n = (size_t)(t[12] >> 4) * 4;
    if (n < TCP_HEAD || !upper_has(v, n))
        return false;
    while ((option = option_next(t, n, &at)) > 0) {
        size_t value = option + 2;
        uint16_t mss;

        if (t[option] != TCP_OPT_MSS || t[option + 1] != 4)
            continue;
        mss = get16(t + value);
        if (mss <= most)
            continue;
        /* at an odd offset the value's bytes lie in two words, each in the other's half */
        put16(t + TCP_SUM, cksum_change(get16(t + TCP_SUM), swapped_if(value % 2, mss),
                                        swapped_if(value % 2, (uint16_t)most)));
        put16(t + value, (uint16_t)most);
        changed = true;
    }
    return changed;
}

bool ippkt_tcp_read(const uint8_t *pkt, size_t n, size_t at, struct ippkt_tcp *out)
{
    const uint8_t *t = pkt + at;
    size_t head = (size_t)(t[12] >> 4) * 4, options = TCP_HEAD, option;

    if (head < TCP_HEAD || at + head > n)
        return false;
    *out = (struct ippkt_tcp){.flags = t[IPPKT_TCP_FLAGS],
                              .window = get16(t + TCP_WINDOW),
                              .scale = -1,
                              .seq = (uint32_t)get16(t + 4) << 16 | get16(t + 6),
                              .ack = (uint32_t)get16(t + 8) << 16 | get16(t + 10),
                              .data = (uint32_t)(n - at - head)};
    while (out->flags & IPPKT_TCP_SYN && (option = option_next(t, head, &options)) > 0) {
        if (t[option] == TCP_OPT_SCALE && t[option + 1] == 3)
            out->scale = (int8_t)(t[option + 2] < 14 ? t[option + 2] : 14);
        out->signs |= t[option] == TCP_OPT_MD5 || t[option] == TCP_OPT_AO;
    }
    return true;
}

void ippkt_tcp_window(uint8_t *tcp, uint16_t window)
{
    put16(tcp + TCP_SUM, cksum_change(get16(tcp + TCP_SUM), get16(tcp + TCP_WINDOW), window));
    put16(tcp + TCP_WINDOW, window);
}
