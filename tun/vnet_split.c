#include "tun/inetsum.h"
#include "tun/vnet_int.h"

_Static_assert(sizeof(struct vnet_hdr) == 10, "as the kernel has it");

#define V4_MAX 65535u
#define V6_MAX (V6_HEAD + 65535u)

#define EXT_HOP_BY_HOP 0
#define EXT_ROUTING    43
#define EXT_DSTOPTS    60

/* Complete the checksum of a single packet, and say so in its virtio-net header. */
static int complete(struct vnet_split *s, const struct vnet_hdr *h, uint8_t *buf)
{
    size_t least = s->p[0] >> 4 == 6 ? V6_HEAD : V4_HEAD, start = h->csum_start;
    uint16_t sum;

    if (start < least || start > s->n || s->n - start < (size_t)h->csum_offset + 2)
        return QUIC_INVAL;
    sum = (uint16_t)~inetsum_fold(inetsum_add(0, s->p + start, s->n - start));
    /* Zero would mean "none" in UDP; elsewhere both are the same number. */
    put_sum(s->p + start + h->csum_offset, sum ? sum : 0xffff);
    *buf &= (uint8_t)~VNET_NEEDS_CSUM;
    return 0;
}

/* The IPv4 header of a super-packet whose transport header is at `start`. */
static bool v4_fits(const uint8_t *p, size_t n, size_t start, uint8_t proto)
{
    return start >= V4_HEAD && p[0] == (0x40 | start / 4) && start % 4 == 0 &&
           get16(p + V4_LENGTH) == n && (get16(p + V4_FRAG) & V4_OFFSET) == 0 &&
           p[V4_PROTO] == proto;
}

/* The same for IPv6 with extension headers that are alike in each packet. */
static bool v6_fits(const uint8_t *p, size_t n, size_t start, uint8_t proto)
{
    uint8_t next = p[V6_NEXT];
    size_t at = V6_HEAD;

    if (start < V6_HEAD || p[0] >> 4 != 6 || get16(p + V6_LENGTH) != n - V6_HEAD)
        return false;
    while (at < start) {
        if (next != EXT_HOP_BY_HOP && next != EXT_ROUTING && next != EXT_DSTOPTS)
            return false;
        next = p[at];
        at += 8 + 8u * p[at + 1];
    }
    return at == start && next == proto;
}

static int super(struct vnet_split *s, const struct vnet_hdr *h)
{
    uint8_t type = h->gso_type & (uint8_t)~VNET_GSO_ECN, version = s->p[0] >> 4;
    uint8_t proto = type == VNET_GSO_UDP_L4 ? PROTO_UDP : PROTO_TCP;
    size_t start = h->csum_start, l4_n, payload;

    if (!(h->flags & VNET_NEEDS_CSUM) || h->gso_size == 0 || start > VNET_HEAD_MAX ||
        h->csum_offset != (proto == PROTO_TCP ? TCP_CSUM : UDP_CSUM))
        return QUIC_INVAL;
    if (type == VNET_GSO_UDP_L4 ? h->gso_type != type
                                : type != (version == 6 ? VNET_GSO_TCPV6 : VNET_GSO_TCPV4))
        return QUIC_INVAL;
    if (s->n < start + (proto == PROTO_TCP ? TCP_HEAD : UDP_HEAD) ||
        !(version == 6 ? v6_fits(s->p, s->n, start, proto) : v4_fits(s->p, s->n, start, proto)))
        return QUIC_INVAL;
    l4_n = proto == PROTO_TCP ? (size_t)(s->p[start + TCP_OFF] >> 4) * 4 : UDP_HEAD;
    if ((proto == PROTO_TCP && l4_n < TCP_HEAD) || start + l4_n > VNET_HEAD_MAX ||
        start + l4_n >= s->n)
        return QUIC_INVAL;
    s->tcp = proto == PROTO_TCP;
    s->l4 = start;
    s->head_n = start + l4_n;
    payload = s->n - s->head_n;
    s->segment = h->gso_size < payload ? h->gso_size : payload;
    s->size = s->head_n + s->segment;
    s->count = (payload + s->segment - 1) / s->segment;
    return 0;
}

int vnet_split_init(struct vnet_split *s, uint8_t *buf, size_t n)
{
    struct vnet_hdr h;

    if (n < sizeof(h) + V4_HEAD || n > sizeof(h) + V6_MAX)
        return QUIC_INVAL;
    memcpy(&h, buf, sizeof(h));
    *s = (struct vnet_split){.p = buf + sizeof(h), .n = n - sizeof(h), .count = 1};
    s->size = s->segment = s->n;
    if (h.flags & ~(VNET_NEEDS_CSUM | VNET_DATA_VALID))
        return QUIC_INVAL;
    if (h.gso_type != VNET_GSO_NONE)
        return super(s, &h);
    return h.flags & VNET_NEEDS_CSUM ? complete(s, &h, buf) : 0;
}

/* Length, identification and checksum of the IP header of packet `i`, `n` bytes long. */
static void fix_ip(const struct vnet_split *s, size_t i, uint8_t *head, size_t n)
{
    if (head[0] >> 4 == 6) {
        put16(head + V6_LENGTH, n - V6_HEAD);
        return;
    }
    put16(head + V4_LENGTH, n);
    put16(head + V4_ID, get16(head + V4_ID) + i);
    put_sum(head + V4_CSUM, 0);
    put_sum(head + V4_CSUM, (uint16_t)~inetsum_fold(inetsum_few(0, head, s->l4)));
}

static void fix_tcp(const struct vnet_split *s, size_t i, uint8_t *tcp)
{
    put32(tcp + TCP_SEQ, get32(tcp + TCP_SEQ) + (uint32_t)(i * s->segment));
    if (i > 0)
        tcp[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
    if (i + 1 < s->count)
        tcp[TCP_FLAGS] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
}

size_t vnet_split_head(const struct vnet_split *s, size_t i, uint8_t *head, struct span *body)
{
    size_t n = vnet_split_size(s, i), l4_n = n - s->l4;
    uint8_t *l4 = head + s->l4, *check = l4 + (s->tcp ? TCP_CSUM : UDP_CSUM);
    uint64_t sum;
    uint16_t csum;

    *body = span_of(s->p + s->head_n + i * s->segment, n - s->head_n);
    if (s->head_n == 0)
        return 0;
    memcpy(head, s->p, s->head_n);
    fix_ip(s, i, head, n);
    if (s->tcp)
        fix_tcp(s, i, l4);
    else
        put16(l4 + UDP_LENGTH, l4_n);
    /* The field holds the pseudo header's sum with the length of the whole: take that off. */
    sum = inetsum_word(get_sum(check), (uint16_t) ~(s->n - s->l4));
    put_sum(check, 0);
    sum = inetsum_few(inetsum_word(sum, (uint16_t)l4_n), l4, s->head_n - s->l4);
    csum = (uint16_t)~inetsum_fold(inetsum_add(sum, body->p, body->n));
    put_sum(check, csum || s->tcp ? csum : 0xffff);
    return s->head_n;
}
