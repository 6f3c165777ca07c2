#include "masque/icmp.h"

#include <string.h>

#include "masque/cksum.h"

enum { ICMP_HEAD = 8, HOP_LIMIT = 64, V4_TOS_CONTROL = 0xc0, V4_DF = 0x40 };
enum { V6_ECHO_REQUEST = 128, V6_ECHO_REPLY = 129 };

/* Type and code of each kind. */
static const struct {
    uint8_t type4, code4, type6, code6;
} codes[ICMP_KINDS] = {
    /* clang-format off */
    [ICMP_NO_ROUTE]      = { 3,  0, 1, 0},
    [ICMP_PROHIBITED]    = { 3, 13, 1, 1},
    [ICMP_SOURCE_POLICY] = { 3, 13, 1, 5},
    [ICMP_TOO_BIG]       = { 3,  4, 2, 0},
    [ICMP_TIME_EXCEEDED] = {11,  0, 3, 0},
    /* clang-format on */
};

static void put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v);
}

/* Whether an error may be sent about this packet: see the head of icmp.h. */
static bool may_answer(enum icmp_kind kind, const struct ippkt *v, struct span pkt)
{
    if (ip_bytes_martian(v->version, v->src) || ip_bytes_link_local(v->version, v->src))
        return false;
    if (ip_bytes_multicast(v->version, v->dst) || ip_bytes_broadcast(v->version, v->dst))
        return v->version == 6 && kind == ICMP_TOO_BIG && !ippkt_icmp_error(v, pkt);
    if (v->version == 4 && v->later_fragment)
        return false;
    return !ippkt_icmp_error(v, pkt);
}

/* IPv4 or IPv6 header in front of an ICMP message of `n` bytes, and its checksum. */
static size_t finish(uint8_t *out, const struct ip_addr *from, const uint8_t *to, size_t n)
{
    size_t head = from->version == 4 ? IPPKT_V4_HEAD : IPPKT_V6_HEAD;
    uint8_t *m = out + head;
    uint64_t sum = 0;

    memset(out, 0, head);
    if (from->version == 4) {
        out[0] = 0x45;
        out[1] = V4_TOS_CONTROL; /* RFC 1812 4.3.2.5 */
        put16(out + 2, (uint32_t)(head + n));
        out[6] = V4_DF; /* so that no identification is needed (RFC 6864) */
        out[8] = HOP_LIMIT;
        out[9] = IP_PROTO_ICMP;
        memcpy(out + 12, from->b, 4);
        memcpy(out + 16, to, 4);
        put16(out + 10, cksum_fold(cksum_add(0, span_of(out, head))));
    } else {
        out[0] = 0x60;
        put16(out + 4, (uint32_t)n);
        out[6] = IP_PROTO_ICMPV6;
        out[7] = HOP_LIMIT;
        memcpy(out + 8, from->b, 16);
        memcpy(out + 24, to, 16);
        sum = cksum_pseudo(6, out + 8, out + 24, IP_PROTO_ICMPV6, (uint32_t)n);
    }
    put16(m + 2, 0);
    put16(m + 2, cksum_fold(cksum_add(sum, span_of(m, n))));
    return head + n;
}

size_t icmp_error_build(enum icmp_kind kind, const struct ip_addr *from, struct span pkt,
                        uint32_t mtu, uint8_t *out, size_t size)
{
    struct ippkt v;
    size_t head, room, quote;
    uint8_t *m;

    if ((unsigned)kind >= ICMP_KINDS || ippkt_parse(pkt, &v) || v.version != from->version ||
        ip_bytes_martian(from->version, from->b) || !may_answer(kind, &v, pkt))
        return 0;
    room = v.version == 4 ? ICMP_V4_MAX : ICMP_V6_MAX;
    if (size < room)
        return 0;
    head = v.version == 4 ? IPPKT_V4_HEAD : IPPKT_V6_HEAD;
    quote = pkt.n < room - head - ICMP_HEAD ? pkt.n : room - head - ICMP_HEAD;
    m = out + head;
    memset(m, 0, ICMP_HEAD);
    m[0] = v.version == 4 ? codes[kind].type4 : codes[kind].type6;
    m[1] = v.version == 4 ? codes[kind].code4 : codes[kind].code6;
    if (kind == ICMP_TOO_BIG && v.version == 4)
        put16(m + 6, mtu < UINT16_MAX ? mtu : UINT16_MAX); /* RFC 1191 4 */
    else if (kind == ICMP_TOO_BIG)
        put32(m + 4, mtu > ICMP_V6_MAX ? mtu : ICMP_V6_MAX); /* RFC 4443 3.2, RFC 8200 5 */
    memcpy(m + ICMP_HEAD, pkt.p, quote);
    return finish(out, from, v.src, ICMP_HEAD + quote);
}

size_t icmp_echo_reply_build(const struct ip_addr *from, struct span pkt, uint8_t *out,
                             size_t size)
{
    struct ippkt v;
    size_t n;
    uint64_t sum;

    if (ippkt_parse(pkt, &v) || v.version != 6 || from->version != 6 ||
        ip_bytes_martian(6, from->b) || ip_bytes_martian(6, v.src) ||
        v.proto != IP_PROTO_ICMPV6 || v.fragment)
        return 0;
    n = pkt.n - v.upper;
    if (n < ICMP_HEAD || pkt.p[v.upper] != V6_ECHO_REQUEST || size < IPPKT_V6_HEAD + n)
        return 0;
    sum = cksum_pseudo(6, v.src, v.dst, IP_PROTO_ICMPV6, (uint32_t)n);
    if (cksum_fold(cksum_add(sum, span_of(pkt.p + v.upper, n))) != 0)
        return 0;
    memcpy(out + IPPKT_V6_HEAD, pkt.p + v.upper, n);
    out[IPPKT_V6_HEAD] = V6_ECHO_REPLY;
    return finish(out, from, v.src, n);
}

void icmp_limit_init(struct icmp_limit *l, uint32_t rate, uint32_t burst)
{
    *l = (struct icmp_limit){rate, burst, 0};
}

bool icmp_limit_take(struct icmp_limit *l, ns_t now)
{
    ns_t each, from = ns_max(l->full_at, now);

    if (l->rate == 0 || l->burst == 0)
        return false;
    each = NS_PER_S / l->rate;
    /* full_at - now is the time that the tokens gone will take to come back */
    if (ns_sub(from, now) > (ns_t)(l->burst - 1) * each)
        return false;
    l->full_at = ns_add(from, each);
    return true;
}
