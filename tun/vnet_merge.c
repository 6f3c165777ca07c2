#include "tun/inetsum.h"
#include "tun/vnet_int.h"

#define BYTES_MAX 65535u
#define NONE      UINT16_MAX

/* TCP flags with which a segment is neither added nor added to. */
#define TCP_ALONE (TCP_SYN | TCP_RST | TCP_URG | TCP_CWR)
/* TCP flags that end what they are added to. */
#define TCP_ENDS (TCP_FIN | TCP_PSH)

/* What a packet is to us. */
enum kind {
    JUNK,  /* not even addresses */
    OTHER, /* of two addresses, but of no flow that we know */
    BARE,  /* UDP without a checksum */
    WRONG, /* TCP or UDP whose checksum is wrong */
    TCP,   /* verified */
    UDP
};

struct view {
    const uint8_t *p;
    size_t n;
    bool v6;
    uint8_t proto;
    uint8_t kind;
    size_t l4, head_n;
};

void vnet_merge_init(struct vnet_merge *m, bool udp)
{
    *m = (struct vnet_merge){.udp = udp};
}

/* ---- what a packet is ---------------------------------------------------------------- */

/* The sum of the pseudo header for a transport part of `n` bytes. */
static uint64_t pseudo(const struct view *v, size_t n)
{
    uint64_t sum = v->v6 ? inetsum_few(0, v->p + V6_SRC, 32) : inetsum_few(0, v->p + V4_SRC, 8);

    return inetsum_word(inetsum_word(sum, v->proto), (uint16_t)n);
}

static enum kind transport(struct view *v)
{
    const uint8_t *l4 = v->p + v->l4;
    size_t n = v->n - v->l4, head = UDP_HEAD;
    bool tcp = v->proto == PROTO_TCP;

    if (n < (tcp ? TCP_HEAD : UDP_HEAD))
        return OTHER;
    if (tcp)
        head = (size_t)(l4[TCP_OFF] >> 4) * 4;
    if (tcp ? head < TCP_HEAD || head > n : get16(l4 + UDP_LENGTH) != n)
        return OTHER;
    v->head_n = v->l4 + head;
    if (!tcp && get_sum(l4 + UDP_CSUM) == 0)
        return BARE;
    return inetsum_fold(inetsum_add(pseudo(v, n), l4, n)) != 0xffff ? WRONG : tcp ? TCP : UDP;
}

/* IPv4 without options, IPv6 without extension headers, whole, of the length it says. */
static enum kind look(struct view *v)
{
    const uint8_t *p = v->p;

    if (v->n >= V4_HEAD && p[0] >> 4 == 4) {
        v->l4 = V4_HEAD;
        v->proto = p[V4_PROTO];
        if (p[0] != 0x45 || get16(p + V4_LENGTH) != v->n ||
            (get16(p + V4_FRAG) & ~V4_DF) != 0 ||
            inetsum_fold(inetsum_few(0, p, V4_HEAD)) != 0xffff)
            return OTHER;
    } else if (v->n >= V6_HEAD && p[0] >> 4 == 6) {
        v->v6 = true;
        v->l4 = V6_HEAD;
        v->proto = p[V6_NEXT];
        if (get16(p + V6_LENGTH) != v->n - V6_HEAD)
            return OTHER;
    } else {
        return JUNK;
    }
    return v->proto == PROTO_TCP || v->proto == PROTO_UDP ? transport(v) : OTHER;
}

static struct view view_of(uint8_t *p, size_t n)
{
    struct view v = {.p = p, .n = n};

    v.kind = (uint8_t)look(&v);
    return v;
}

/* ---- groups -------------------------------------------------------------------------- */

static bool same_addresses(const struct view *v, const uint8_t *q)
{
    if (v->v6 != (q[0] >> 4 == 6))
        return false;
    return v->v6 ? !memcmp(v->p + V6_SRC, q + V6_SRC, 32)
                 : !memcmp(v->p + V4_SRC, q + V4_SRC, 8);
}

/* Of addresses, protocol and ports. */
static bool same_flow(const struct view *v, const uint8_t *q)
{
    return same_addresses(v, q) && v->proto == q[v->v6 ? V6_NEXT : V4_PROTO] &&
           !memcmp(v->p + v->l4, q + v->l4, 4);
}

static void close_group(struct vnet_merge *m, size_t at)
{
    m->open_n--;
    memmove(m->open + at, m->open + at + 1, (m->open_n - at) * sizeof(*m->open));
}

/* Everything in the IP header that all must share, but for length and identification. */
static bool same_ip(const struct view *v, const uint8_t *q)
{
    const uint8_t *p = v->p;

    if (v->v6) /* version, traffic class, flow label; hop limit */
        return !memcmp(p, q, 4) && p[V6_HOPS] == q[V6_HOPS];
    return p[V4_TOS] == q[V4_TOS] && p[V4_TTL] == q[V4_TTL] &&
           get16(p + V4_FRAG) == get16(q + V4_FRAG);
}

/* Whether the identification goes on counting, or stays where it has no meaning. */
static bool next_id(const struct vnet_group *g, const struct view *v, const uint8_t *q,
                    bool *fixed)
{
    uint16_t step = v->v6 ? g->count : (uint16_t)(get16(v->p + V4_ID) - get16(q + V4_ID));

    *fixed = step == 0 && (get16(v->p + V4_FRAG) & V4_DF) && (g->count == 1 || g->fixed_id);
    return *fixed || (step == g->count && !g->fixed_id);
}

/* The next segment of the stream, with the same header, options included. */
static bool same_tcp(const struct view *v, const uint8_t *q, size_t payload)
{
    const uint8_t *p = v->p + v->l4;

    q += v->l4;
    return get32(p + TCP_SEQ) == get32(q + TCP_SEQ) + (uint32_t)payload &&
           !memcmp(p + TCP_ACK, q + TCP_ACK, 5) && /* with offset and reserved bits */
           ((p[TCP_FLAGS] ^ q[TCP_FLAGS]) & ~TCP_ENDS) == 0 &&
           !memcmp(p + TCP_FLAGS + 1, q + TCP_FLAGS + 1, 2) && /* window */
           !memcmp(p + TCP_URGENT, q + TCP_URGENT, v->head_n - v->l4 - TCP_URGENT);
}

/* Whether anything may be added to a packet, or it to anything. */
static bool is_joiner(const struct vnet_merge *m, const struct view *v)
{
    if (v->n == v->head_n)
        return false;
    return v->kind == UDP ? m->udp : v->kind == TCP && !(v->p[v->l4 + TCP_FLAGS] & TCP_ALONE);
}

/* Add to a group; false where it does not go on with this packet. */
static bool join(struct vnet_merge *m, struct vnet_group *g, const struct view *v)
{
    const struct vnet_packet *first = &m->packet[g->first];
    size_t payload = v->n - v->head_n;
    bool fixed;

    if (!is_joiner(m, v) || v->kind != g->kind || v->head_n != first->head_n ||
        payload > first->n - first->head_n || g->bytes + payload > BYTES_MAX ||
        !same_ip(v, first->p) || !next_id(g, v, first->p, &fixed) ||
        (v->kind == TCP && !same_tcp(v, first->p, g->bytes - first->head_n)))
        return false;
    m->packet[g->last].next = (uint16_t)(m->packets - 1);
    g->last = (uint16_t)(m->packets - 1);
    g->bytes += (uint32_t)payload;
    g->fixed_id = fixed;
    g->count++;
    return true;
}

/* Whether `v`, just put into the group, is the last that it takes. */
static bool ends(const struct vnet_merge *m, const struct vnet_group *g, const struct view *v)
{
    return g->count == VNET_SEGMENTS || v->n < m->packet[g->first].n ||
           (v->kind == TCP && v->p[v->l4 + TCP_FLAGS] & TCP_ENDS);
}

static const uint8_t *open_head(const struct vnet_merge *m, size_t at)
{
    return m->packet[m->group[m->open[at]].first].p;
}

/* The open group of the packet's flow, or open_n. There is at most one. */
static size_t find(const struct vnet_merge *m, const struct view *v)
{
    size_t i = 0;

    while (i < m->open_n && !same_flow(v, open_head(m, i)))
        i++;
    return i;
}

/* A packet that may belong to any flow between its addresses: nothing overtakes it. */
static void fence(struct vnet_merge *m, const struct view *v)
{
    for (size_t i = m->open_n; i-- > 0;)
        if (v->kind == JUNK || same_addresses(v, open_head(m, i)))
            close_group(m, i);
}

/* Put the packet into the group of its flow, if that takes it. */
static bool go_on(struct vnet_merge *m, const struct view *v)
{
    size_t at = find(m, v);
    struct vnet_group *g;
    bool joined;

    if (at == m->open_n)
        return false;
    g = &m->group[m->open[at]];
    joined = join(m, g, v);
    if (!joined || ends(m, g, v))
        close_group(m, at);
    return joined;
}

/* A group of its own, which is open if more may follow. */
static void begin(struct vnet_merge *m, const struct view *v)
{
    uint16_t at = (uint16_t)(m->packets - 1), id = (uint16_t)m->groups++;
    struct vnet_group *g = &m->group[id];

    *g = (struct vnet_group){
        .bytes = (uint32_t)v->n, .first = at, .last = at, .count = 1, .kind = v->kind};
    if (!is_joiner(m, v) || ends(m, g, v))
        return;
    if (m->open_n == VNET_FLOWS)
        m->open_n--;
    memmove(m->open + 1, m->open, m->open_n * sizeof(*m->open));
    m->open[0] = id;
    m->open_n++;
}

bool vnet_merge_add(struct vnet_merge *m, uint8_t *p, size_t n)
{
    struct view v;

    if (m->packets == VNET_BATCH || m->next > 0)
        return false;
    v = view_of(p, n);
    m->packet[m->packets++] = (struct vnet_packet){p, (uint32_t)n, (uint16_t)v.head_n, NONE};
    m->stats.packets++;
    m->stats.bad_sums += v.kind == WRONG;
    if (v.kind <= OTHER)
        fence(m, &v);
    if (v.kind <= OTHER || !go_on(m, &v))
        begin(m, &v);
    return true;
}

/* ---- handing out --------------------------------------------------------------------- */

/* The header of the first packet becomes that of them all. */
static void head_of_all(const struct vnet_merge *m, const struct vnet_group *g, struct view *v,
                        struct vnet_hdr *hdr)
{
    uint8_t *p = m->packet[g->first].p, *l4 = p + v->l4;
    bool tcp = g->kind == TCP;
    size_t l4_n = g->bytes - v->l4;

    if (v->v6) {
        put16(p + V6_LENGTH, l4_n);
    } else {
        put16(p + V4_LENGTH, g->bytes);
        put_sum(p + V4_CSUM, 0);
        put_sum(p + V4_CSUM, (uint16_t)~inetsum_fold(inetsum_few(0, p, V4_HEAD)));
    }
    if (tcp)
        l4[TCP_FLAGS] |= m->packet[g->last].p[v->l4 + TCP_FLAGS] & TCP_ENDS;
    else
        put16(l4 + UDP_LENGTH, l4_n);
    hdr->gso_size = (uint16_t)(v->n - v->head_n);
    hdr->gso_type = !tcp ? VNET_GSO_UDP_L4 : v->v6 ? VNET_GSO_TCPV6 : VNET_GSO_TCPV4;
}

static void describe(const struct vnet_merge *m, const struct vnet_group *g,
                     struct vnet_hdr *hdr)
{
    const struct vnet_packet *first = &m->packet[g->first];
    struct view v = {.p = first->p, .n = first->n, .head_n = first->head_n};
    uint8_t *p = first->p;

    v.v6 = p[0] >> 4 == 6;
    v.l4 = v.v6 ? V6_HEAD : V4_HEAD;
    v.proto = g->kind == TCP ? PROTO_TCP : PROTO_UDP;
    hdr->flags = VNET_NEEDS_CSUM;
    hdr->hdr_len = first->head_n;
    hdr->csum_start = (uint16_t)v.l4;
    hdr->csum_offset = g->kind == TCP ? TCP_CSUM : UDP_CSUM;
    if (g->count > 1)
        head_of_all(m, g, &v, hdr);
    put_sum(p + v.l4 + hdr->csum_offset, inetsum_fold(pseudo(&v, g->bytes - v.l4)));
}

size_t vnet_merge_next(struct vnet_merge *m, struct vnet_hdr *hdr, struct iovec *iov)
{
    const struct vnet_packet *k;
    const struct vnet_group *g;
    size_t n = 0;

    if (m->next == m->groups) {
        m->packets = m->groups = m->next = m->open_n = 0;
        return 0;
    }
    g = &m->group[m->next++];
    m->stats.writes++;
    *hdr = (struct vnet_hdr){0};
    if (g->kind == TCP || g->kind == UDP)
        describe(m, g, hdr);
    k = &m->packet[g->first];
    iov[n++] = (struct iovec){hdr, sizeof(*hdr)};
    iov[n++] = (struct iovec){k->p, k->n};
    while (k->next != NONE) {
        k = &m->packet[k->next];
        iov[n++] = (struct iovec){k->p + k->head_n, k->n - k->head_n};
    }
    return n;
}

bool vnet_merge_check(const struct vnet_merge *m)
{
    size_t packets = 0;

    if (m->packets > VNET_BATCH || m->groups > m->packets || m->next > m->groups ||
        m->open_n > VNET_FLOWS)
        return false;
    for (size_t i = 0; i < m->groups; i++) {
        const struct vnet_group *g = &m->group[i];
        size_t at = g->first, count = 1, bytes = m->packet[at].n;

        if (i > 0 && g->first <= m->group[i - 1].first)
            return false;
        for (; at != g->last; count++) {
            if (m->packet[at].next == NONE || m->packet[at].next <= at)
                return false;
            at = m->packet[at].next;
            bytes += m->packet[at].n - m->packet[at].head_n;
        }
        if (count != g->count || bytes != g->bytes || count > VNET_SEGMENTS ||
            m->packet[at].next != NONE || (count > 1 && bytes > BYTES_MAX))
            return false;
        packets += count;
    }
    for (size_t i = 0; i < m->open_n; i++)
        if (m->open[i] >= m->groups)
            return false;
    return packets == m->packets;
}
