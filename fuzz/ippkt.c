/*
 * ippkt - one inner packet through every function that looks at it.
 *
 * Input: one byte of flags, then the packet. Bit 0: set its length and header checksum
 * right first, so that what lies behind them is reached; bit 1: the tunnel knows few
 * addresses and routes, else all of them; bit 2: from the proxy's side.
 *
 * What parses must keep parsing after each change we make to it; checksums stay right;
 * every ICMP message built is itself a packet within its bound and never answered by
 * another; what one end lets out, the other lets in.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "masque/cksum.h"
#include "masque/connect_ip.h"

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void set16(uint8_t *p, size_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void repair(uint8_t *pkt, size_t n)
{
    size_t head = n > 0 ? (size_t)(pkt[0] & 15) * 4 : 0;

    if (n >= 40 && pkt[0] >> 4 == 6)
        set16(pkt + 4, n - 40);
    if (n < 20 || pkt[0] >> 4 != 4 || head < 20 || head > n)
        return;
    set16(pkt + 2, n);
    set16(pkt + 10, 0);
    set16(pkt + 10, cksum_fold(cksum_add(0, span_of(pkt, head))));
}

/* The checksum over the upper layer, its own included: 0 if it is right. */
static uint16_t upper_sum(const struct ippkt *v, const uint8_t *pkt)
{
    struct span upper = span_of(pkt + v->upper, v->len - v->upper);
    uint64_t sum = 0;
    uint16_t check;

    if (v->version == 6 || v->proto != IP_PROTO_ICMP)
        sum = cksum_pseudo(v->version, v->src, v->dst, v->proto, (uint32_t)upper.n);
    check = cksum_fold(cksum_add(sum, upper));
    return check == 0xffff ? 0 : check; /* the two zeros of one's complement */
}

static void check_view(const struct ippkt *v, const uint8_t *pkt, size_t n)
{
    size_t size = ip_size(v->version);

    require(v->len == n && v->upper <= n && size > 0);
    require(v->src >= pkt && v->src + size <= pkt + n && v->dst == v->src + size);
    require(!v->later_fragment || (v->fragment && v->upper == n));
    require(ippkt_flow_hash(v, span_of(pkt, n), 1) == ippkt_flow_hash(v, span_of(pkt, n), 1));
}

/* The hash of a TCP packet's flow, its ends swapped. */
static uint32_t hash_swapped(struct ippkt v, uint8_t *pkt, size_t n)
{
    const uint8_t *src = v.src;
    uint8_t was[4], *ports = pkt + v.upper;
    uint32_t hash;

    memcpy(was, ports, 4);
    memcpy(ports, was + 2, 2);
    memcpy(ports + 2, was, 2);
    v.src = v.dst;
    v.dst = src;
    hash = ippkt_flow_hash(&v, span_of(pkt, n), 7);
    memcpy(ports, was, 4);
    return hash;
}

/* What is read of a TCP header, and a window that is changed, and back. */
static void check_tcp(const struct ippkt *v, uint8_t *pkt, size_t n)
{
    size_t at = ippkt_tcp(pkt, n);
    uint16_t sum = upper_sum(v, pkt);
    struct ippkt_tcp t, again;

    if (at == 0)
        return;
    require(v->proto == IP_PROTO_TCP && !v->fragment && v->upper == at);
    require(ippkt_flow_hash_back(v, span_of(pkt, n), 7) == hash_swapped(*v, pkt, n));
    if (!ippkt_tcp_read(pkt, n, at, &t))
        return;
    require(at + IPPKT_TCP_HEAD + t.data <= n && t.scale >= -1 && t.scale <= 14);
    require((t.scale < 0 && !t.signs) || ippkt_is_syn(v, pkt));
    ippkt_tcp_window(pkt + at, (uint16_t)t.seq);
    require(ippkt_tcp_read(pkt, n, at, &again) && again.window == (uint16_t)t.seq);
    require(upper_sum(v, pkt) == sum);
    ippkt_tcp_window(pkt + at, t.window);
    require(upper_sum(v, pkt) == sum);
    require(again.flags == t.flags && again.scale == t.scale && again.signs == t.signs &&
            again.seq == t.seq && again.ack == t.ack && again.data == t.data);
}

static void check_changes(struct ippkt *v, uint8_t *pkt, size_t n)
{
    uint16_t before = upper_sum(v, pkt), mtu = (uint16_t)(60 + before % 1500);
    uint32_t hash = ippkt_flow_hash(v, span_of(pkt, n), 7);
    struct ippkt after;

    check_tcp(v, pkt, n);
    if (ippkt_mss_clamp(v, pkt, mtu)) {
        require(ippkt_is_syn(v, pkt));
        require(upper_sum(v, pkt) == before && !ippkt_mss_clamp(v, pkt, mtu));
    }
    require(ippkt_hop_decrement(pkt) == (v->hop_limit > 1));
    require(ippkt_parse(span_of(pkt, n), &after) == 0);
    require(after.hop_limit == v->hop_limit - (v->hop_limit > 1));
    require(ippkt_flow_hash(&after, span_of(pkt, n), 7) == hash);
}

static void check_answers(const struct ippkt *v, struct span pkt)
{
    uint8_t self[16] = {192, 0, 2, 1}, out[65600], again[ICMP_MAX];
    struct ip_addr from = ip_addr_of(v->version, self);
    struct ippkt a;
    size_t n;

    for (int kind = 0; kind < ICMP_KINDS; kind++) {
        n = icmp_error_build((enum icmp_kind)kind, &from, pkt, 1400, out, sizeof(out));
        if (n == 0)
            continue;
        require(n <= (v->version == 4 ? ICMP_V4_MAX : ICMP_V6_MAX));
        require(ippkt_parse(span_of(out, n), &a) == 0 && upper_sum(&a, out) == 0);
        require(!ippkt_icmp_error(v, pkt) && ippkt_icmp_error(&a, span_of(out, n)));
        require(memcmp(a.dst, v->src, ip_size(v->version)) == 0);
        require(icmp_error_build((enum icmp_kind)kind, &from, span_of(out, n), 1400, again,
                                 sizeof(again)) == 0);
    }
    n = icmp_echo_reply_build(&from, pkt, out, sizeof(out));
    if (n > 0)
        require(ippkt_parse(span_of(out, n), &a) == 0 && upper_sum(&a, out) == 0);
}

static struct cip ends[2][2]; /* few addresses or all; client, proxy */

static void tell(struct cip *from, struct cip *to)
{
    struct span out, dgram;

    while ((out = cip_out_bytes(from)).n > 0) {
        size_t n = out.n;

        require(cip_recv(to, &out, &dgram) == 0 && out.n == 0);
        cip_out_done(from, n);
    }
}

static void set_up(struct cip *pair, bool few)
{
    const struct cip_config cfg = {.stream_id = 0, .icmp_rate = 1000000, .icmp_burst = 1000};
    struct ip_assign a[2] = {{0, {{.version = 4, .b = {10, 0, 0, 2}}, 32}},
                             {0, {{.version = 6, .b = {0xfd, [15] = 2}}, 128}}};
    struct ip_range r[3] = {ip_range_all(4, 0), ip_range_all(6, 0)};
    struct ip_addr self[2] = {{.version = 4, .b = {10, 0, 0, 1}},
                              {.version = 6, .b = {0xfd, [15] = 1}}};
    size_t n = 2;

    for (int i = 0; i < 2; i++)
        require(cip_init(&pair[i], &cfg) == 0);
    if (few) {
        struct ip_prefix p = {{.version = 4, .b = {192, 0, 2}}, 24};

        r[0] = ip_range_of(&p, 0);
        r[1] = ip_range_all(6, IP_PROTO_TCP);
        r[2] = ip_range_all(6, IP_PROTO_UDP);
        n = 3;
    } else {
        a[0].prefix = (struct ip_prefix){{.version = 4}, 0};
        a[1].prefix = (struct ip_prefix){{.version = 6}, 0};
    }
    require(cip_assign(&pair[1], a, 2) == 0 && cip_advertise(&pair[1], r, n) == 0);
    tell(&pair[1], &pair[0]);
    for (int i = 0; i < 2; i++) {
        cip_set_self(&pair[i], &self[0], &self[1]);
        cip_set_mtu(&pair[i], 1280 + 100 * (size_t)i);
    }
}

static void check_tunnel(struct cip *pair, int from, uint8_t *pkt, size_t n)
{
    static ns_t now;
    static uint8_t frame[70000], answer[70000], copy[70000];
    struct cip *c = &pair[from], *to = &pair[!from];
    struct cip_head head;
    struct span payload, got;
    uint64_t stream;
    enum cip_verdict v;

    now += NS_PER_S; /* there is always a token */
    memcpy(copy, pkt, n);
    v = cip_out(c, pkt, n, n, 1400, &head);
    if (v != CIP_OK) {
        require(memcmp(copy, pkt, n) == 0);
        cip_reject_out(c, v, span_of(pkt, n), 1400, now, answer, sizeof(answer));
        frame[0] = 0;
        memcpy(frame + 1, pkt, n);
        v = cip_in(to, span_of(frame, n + 1), &got);
        cip_reject_in(to, v, got, now, answer, sizeof(answer));
        return;
    }
    memcpy(frame, head.b, head.len);
    memcpy(frame + head.len, pkt, n);
    require(masque_dgram_decode(span_of(frame, head.len + n), &stream, &payload) == 0);
    require(stream == 0 && cip_in(to, payload, &got) == CIP_OK && got.n == n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    uint8_t flags, *pkt;
    struct ippkt v;
    size_t n = size - 1;

    if (size < 2 || size > 66000)
        return 0;
    if (!ready) {
        set_up(ends[0], false);
        set_up(ends[1], true);
        ready = true;
    }
    flags = data[0];
    pkt = malloc(n); /* exactly as long, so that a read beyond it is seen */
    require(pkt != NULL);
    memcpy(pkt, data + 1, n);
    if (flags & 1)
        repair(pkt, n);
    check_tunnel(ends[flags >> 1 & 1], flags >> 2 & 1, pkt, n);
    if (ippkt_parse(span_of(pkt, n), &v) == 0) {
        check_view(&v, pkt, n);
        check_answers(&v, span_of(pkt, n));
        check_changes(&v, pkt, n);
    }
    free(pkt);
    return 0;
}
