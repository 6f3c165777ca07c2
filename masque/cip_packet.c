#include <string.h>

#include "masque/connect_ip.h"

/* One side of the tunnel: its assigned addresses, and the ranges it routes. */
struct side {
    const struct ip_assign *a;
    size_t n;
    const struct routes *r;
};

static struct side our_side(const struct cip *c)
{
    return (struct side){c->ours, c->nours, &c->our_routes};
}

static struct side their_side(const struct cip *c)
{
    return (struct side){c->theirs, c->ntheirs, &c->their_routes};
}

static bool assigned(const struct side *s, uint8_t version, const uint8_t *bytes)
{
    for (size_t i = 0; i < s->n; i++)
        if (ip_prefix_contains_bytes(&s->a[i].prefix, version, bytes))
            return true;
    return false;
}

/* Packets that no router forwards, whoever they are for (RFC 9484 7.1). */
static enum cip_verdict check_scope(const struct ippkt *v)
{
    if (v->source_routed)
        return CIP_SOURCE_ROUTE;
    if (ip_bytes_multicast(v->version, v->dst) || ip_bytes_broadcast(v->version, v->dst))
        return CIP_MULTICAST;
    if (ip_bytes_link_local(v->version, v->src) || ip_bytes_link_local(v->version, v->dst))
        return CIP_LINK_LOCAL;
    if (ip_bytes_martian(v->version, v->src) || ip_bytes_martian(v->version, v->dst))
        return CIP_MARTIAN;
    return CIP_OK;
}

/* Whether the packet may come from that side. */
static enum cip_verdict check_source(const struct side *s, const struct ippkt *v,
                                     struct span pkt)
{
    enum routes_match m;

    if (assigned(s, v->version, v->src))
        return CIP_OK;
    m = routes_find(s->r, v->version, v->src, v->proto, ippkt_is_icmp(v));
    if (m == ROUTES_MATCH)
        return CIP_OK;
    if (routes_has(s->r, v->version) && ippkt_icmp_error(v, pkt))
        return CIP_OK;
    return m == ROUTES_OTHER_PROTO ? CIP_PROTOCOL : CIP_SOURCE;
}

/* Whether that side takes the packet. */
static enum cip_verdict check_destination(const struct side *s, const struct ippkt *v)
{
    if (assigned(s, v->version, v->dst))
        return CIP_OK;
    switch (routes_find(s->r, v->version, v->dst, v->proto, ippkt_is_icmp(v))) {
    case ROUTES_MATCH:
        return CIP_OK;
    case ROUTES_OTHER_PROTO:
        return CIP_PROTOCOL;
    default:
        return CIP_NO_ROUTE;
    }
}

static enum cip_verdict judge_out(const struct cip *c, const struct ippkt *v, struct span pkt,
                                  size_t unit, size_t room)
{
    struct side ours = our_side(c), theirs = their_side(c);
    enum cip_verdict verdict = check_scope(v);

    if (verdict == CIP_OK)
        verdict = check_destination(&theirs, v);
    if (verdict == CIP_OK)
        verdict = check_source(&ours, v, pkt);
    if (verdict != CIP_OK)
        return verdict;
    if (v->hop_limit <= 1)
        return CIP_HOP_LIMIT;
    return unit > room ? CIP_TOO_BIG : CIP_OK;
}

enum cip_verdict cip_out(struct cip *c, uint8_t *pkt, size_t len, size_t unit, size_t room,
                         struct cip_head *head)
{
    struct span p = span_of(pkt, len);
    struct ippkt v;
    enum cip_verdict verdict = CIP_MALFORMED;

    if (ippkt_parse(p, &v) == 0)
        verdict = judge_out(c, &v, p, unit, room);
    c->stats.out[verdict]++;
    if (verdict != CIP_OK)
        return verdict;
    c->stats.out_bytes += len;
    ippkt_hop_decrement(pkt);
    if (ippkt_is_syn(&v, pkt) && unit == len)
        ippkt_mss_clamp(&v, pkt, c->mtu);
    *head = c->head;
    head->flow = ippkt_flow_hash(&v, p, c->cfg.hash_seed);
    return CIP_OK;
}

/*
 * An ICMPv6 echo request to all nodes on this link, from a source that is on it: the
 * peer's way to find out whether 1280 bytes get through (RFC 9484 7.1).
 */
static bool all_nodes_echo(const struct cip *c, const struct ippkt *v, struct span pkt)
{
    static const uint8_t all_nodes[16] = {0xff, 0x02, [15] = 0x01};
    enum { ECHO_REQUEST = 128 };
    struct side theirs = their_side(c);

    return v->version == 6 && memcmp(v->dst, all_nodes, 16) == 0 &&
           v->proto == IP_PROTO_ICMPV6 && !v->fragment && v->upper < v->len &&
           pkt.p[v->upper] == ECHO_REQUEST &&
           (ip_bytes_link_local(6, v->src) || check_source(&theirs, v, pkt) == CIP_OK);
}

static enum cip_verdict judge_in(const struct cip *c, const struct ippkt *v, struct span pkt)
{
    struct side ours = our_side(c), theirs = their_side(c);
    enum cip_verdict verdict = check_scope(v);

    if (verdict == CIP_MULTICAST && all_nodes_echo(c, v, pkt))
        return CIP_ECHO;
    if (verdict == CIP_OK)
        verdict = check_source(&theirs, v, pkt);
    if (verdict == CIP_OK)
        verdict = check_destination(&ours, v);
    return verdict;
}

static enum cip_verdict count_in(struct cip *c, enum cip_verdict verdict, struct span pkt)
{
    c->stats.in[verdict]++;
    if (verdict == CIP_OK)
        c->stats.in_bytes += pkt.n;
    return verdict;
}

enum cip_verdict cip_in(struct cip *c, struct span payload, struct span *pkt)
{
    uint64_t context;

    *pkt = span_of(NULL, 0);
    if (masque_dgram_context(payload, &context, pkt))
        return count_in(c, CIP_MALFORMED, *pkt);
    if (context != 0)
        return count_in(c, CIP_CONTEXT, *pkt);
    return cip_in_packet(c, *pkt);
}

enum cip_verdict cip_in_packet(struct cip *c, struct span pkt)
{
    enum cip_verdict verdict = CIP_MALFORMED;
    struct ippkt v;

    if (ippkt_parse(pkt, &v) == 0)
        verdict = judge_in(c, &v, pkt);
    if (verdict == CIP_OK && ippkt_is_syn(&v, pkt.p))
        ippkt_mss_clamp(&v, (uint8_t *)(uintptr_t)pkt.p, c->mtu);
    return count_in(c, verdict, pkt);
}

/* The ICMP error for a verdict; ICMP_KINDS if it has none. */
static enum icmp_kind answer_kind(enum cip_verdict verdict)
{
    switch (verdict) {
    case CIP_SOURCE:
        return ICMP_SOURCE_POLICY;
    case CIP_NO_ROUTE:
        return ICMP_NO_ROUTE;
    case CIP_PROTOCOL:
        return ICMP_PROHIBITED;
    case CIP_HOP_LIMIT:
        return ICMP_TIME_EXCEEDED;
    case CIP_TOO_BIG:
        return ICMP_TOO_BIG;
    default:
        return ICMP_KINDS;
    }
}

/* Build the answer from `self`; see cip_reject_out. */
static size_t reject(struct cip *c, enum cip_verdict verdict, const struct ip_addr *self,
                     struct span pkt, size_t room, ns_t now, uint8_t *out, size_t size)
{
    enum icmp_kind kind = answer_kind(verdict);
    struct icmp_limit limit = c->limit;
    size_t n;

    if (self->version == 0 || (kind == ICMP_KINDS && verdict != CIP_ECHO))
        return 0;
    if (!icmp_limit_take(&limit, now)) {
        c->stats.answers_limited++;
        return 0;
    }
    if (verdict == CIP_ECHO)
        n = icmp_echo_reply_build(self, pkt, out, size);
    else
        n = icmp_error_build(kind, self, pkt, room < UINT32_MAX ? (uint32_t)room : UINT32_MAX,
                             out, size);
    if (n == 0)
        return 0; /* what can't be answered takes no token from what can */
    c->limit = limit;
    c->stats.answers++;
    return n;
}

/* The first address of that side in the family, else the gateway's, perhaps none. */
static struct ip_addr source_address(const struct cip *c, const struct side *s, uint8_t version)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->a[i].prefix.addr.version == version && s->a[i].prefix.len > 0)
            return s->a[i].prefix.addr;
    return c->self[version == 6];
}

size_t cip_reject_out(struct cip *c, enum cip_verdict verdict, struct span pkt, size_t room,
                      ns_t now, uint8_t *out, size_t size)
{
    struct side theirs = their_side(c);
    struct ip_addr self;
    struct ippkt v;

    if (ippkt_parse(pkt, &v))
        return 0;
    self = source_address(c, &theirs, v.version);
    if (self.version == 0)
        self = ip_addr_of(v.version, v.dst);
    return reject(c, verdict, &self, pkt, room, now, out, size);
}

size_t cip_reject_in(struct cip *c, enum cip_verdict verdict, struct span pkt, ns_t now,
                     uint8_t *out, size_t size)
{
    struct side ours = our_side(c);
    struct ip_addr self;
    struct ippkt v;

    if (ippkt_parse(pkt, &v))
        return 0;
    self = source_address(c, &ours, v.version);
    return reject(c, verdict, &self, pkt, 0, now, out, size);
}

const struct cip_head *cip_prefix(const struct cip *c)
{
    return &c->head;
}

const char *cip_verdict_name(enum cip_verdict verdict)
{
    static const char *const name[] = {
        [CIP_OK] = "ok",
        [CIP_MALFORMED] = "malformed",
        [CIP_CONTEXT] = "unknown-context",
        [CIP_SOURCE_ROUTE] = "source-route",
        [CIP_LINK_LOCAL] = "link-local",
        [CIP_MULTICAST] = "multicast",
        [CIP_MARTIAN] = "martian",
        [CIP_SOURCE] = "source",
        [CIP_NO_ROUTE] = "no-route",
        [CIP_PROTOCOL] = "protocol",
        [CIP_HOP_LIMIT] = "hop-limit",
        [CIP_TOO_BIG] = "too-big",
        [CIP_ECHO] = "echo",
    };

    _Static_assert(sizeof(name) / sizeof(name[0]) == CIP_VERDICTS, "one name per verdict");
    return (unsigned)verdict < CIP_VERDICTS ? name[verdict] : "unknown";
}
