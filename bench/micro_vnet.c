/*
 * micro_vnet - super-packets cut and put together, per packet.
 *
 *     sum bytes=N           inetsum_add, and GB/s
 *     split kind=K bytes=N  vnet_split_head of each packet of a super-packet, N bytes of
 *                           payload each, with the look at the super-packet
 *     merge kind=K bytes=N  vnet_merge_add and vnet_merge_next of such packets in one flow
 *     merge kind=K bytes=N flows=F
 *                           the same of F flows in turn
 *
 * K is tcp4, tcp6, udp4 or udp6. TCP has a timestamp option.
 */
#include "bench/bench.h"

#include <string.h>

#include "tun/inetsum.h"
#include "tun/vnet.h"

#define PACKETS 45
#define ROOM    1500
#define HEAD_AT 10 /* of a super-packet: behind the virtio-net header */

struct shape {
    const char *name;
    bool v6, tcp;
};

static const struct shape shapes[] = {
    {"tcp4", false, true}, {"tcp6", true, true}, {"udp4", false, false}, {"udp6", true, false}};

static struct {
    uint8_t super[VNET_READ_MAX];
    size_t n, count, flows;
    struct vnet_merge merge;
    uint8_t packet[PACKETS][ROOM];
    size_t len[PACKETS], head_n;
    uint8_t fresh[PACKETS][VNET_HEAD_MAX]; /* headers as they were */
} b;

static void put16(uint8_t *p, size_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* A super-packet of `count` times `bytes` of payload, of connection `flow`. */
static void make_super(const struct shape *s, size_t count, size_t bytes, unsigned flow)
{
    size_t ip = s->v6 ? 40 : 20, head = ip + (s->tcp ? 32 : 8), n = head + count * bytes;
    uint8_t *p = b.super + HEAD_AT, *l4 = p + ip, proto = s->tcp ? 6 : 17;
    struct vnet_hdr h = {.flags = VNET_NEEDS_CSUM,
                         .gso_type = !s->tcp ? VNET_GSO_UDP_L4
                                     : s->v6 ? VNET_GSO_TCPV6
                                             : VNET_GSO_TCPV4,
                         .gso_size = (uint16_t)bytes,
                         .csum_start = (uint16_t)ip,
                         .csum_offset = s->tcp ? 16 : 6};
    uint64_t sum = inetsum_word(inetsum_word(0, proto), (uint16_t)(n - ip));
    uint16_t field;

    memset(p, 0, head);
    p[0] = s->v6 ? 0x60 : 0x45;
    put16(p + (s->v6 ? 4 : 2), s->v6 ? n - 40 : n);
    p[s->v6 ? 6 : 9] = proto;
    p[s->v6 ? 7 : 8] = 64;
    put16(l4, 40000 + flow);
    put16(l4 + 2, 443);
    if (s->tcp) {
        l4[12] = 0x80;
        l4[13] = 0x10;
    }
    field = inetsum_fold(sum);
    memcpy(l4 + h.csum_offset, &field, 2);
    memcpy(b.super, &h, sizeof(h));
    b.n = HEAD_AT + n;
}

static void split(void *ctx, uint64_t n)
{
    uint8_t head[VNET_HEAD_MAX];
    struct vnet_split s;
    struct span body;

    (void)ctx;
    while (n--) {
        BENCH_CHECK(vnet_split_init(&s, b.super, b.n) == 0 && s.count == b.count);
        for (size_t i = 0; i < s.count; i++)
            BENCH_CHECK(vnet_split_head(&s, i, head, &body) == s.head_n);
    }
}

/* The packets, each as it arrives: from `flows` connections in turn. */
static void make_packets(const struct shape *s, size_t bytes)
{
    struct vnet_split v;
    struct span body;

    for (size_t i = 0; i < PACKETS; i++) {
        make_super(s, PACKETS, bytes, (unsigned)(i % b.flows));
        BENCH_CHECK(vnet_split_init(&v, b.super, b.n) == 0);
        b.head_n = vnet_split_head(&v, i / b.flows, b.packet[i], &body);
        memcpy(b.packet[i] + b.head_n, body.p, body.n);
        b.len[i] = b.head_n + body.n;
        memcpy(b.fresh[i], b.packet[i], b.head_n);
    }
}

static void merge(void *ctx, uint64_t n)
{
    struct iovec iov[VNET_IOV];
    struct vnet_hdr hdr;

    (void)ctx;
    while (n--) {
        size_t writes = 0;

        for (size_t i = 0; i < b.flows; i++)
            memcpy(b.packet[i], b.fresh[i], b.head_n);
        for (size_t i = 0; i < PACKETS; i++)
            BENCH_CHECK(vnet_merge_add(&b.merge, b.packet[i], b.len[i]));
        while (vnet_merge_next(&b.merge, &hdr, iov) > 0)
            writes++;
        BENCH_CHECK(writes == b.flows);
    }
}

static void sum(void *ctx, uint64_t n)
{
    size_t bytes = *(const size_t *)ctx;
    uint64_t total = 0;

    while (n--)
        total = inetsum_add(total & 1, b.super, bytes);
    BENCH_CHECK(inetsum_fold(total) <= 0xffff);
}

int main(void)
{
    static const size_t sums[] = {20, 64, 1400, 65000}, sizes[] = {64, 1348};

    memset(b.super, 0xa5, sizeof(b.super));
    for (size_t i = 0; i < ARRAY_LEN(sums); i++) {
        size_t bytes = sums[i];
        double ns = bench_ns(&(struct bench){.run = sum, .ctx = &bytes});

        printf("sum bytes=%zu ns=%.1f gbytes_per_s=%.1f\n", bytes, ns, (double)bytes / ns);
    }
    b.count = PACKETS;
    vnet_merge_init(&b.merge, true);
    for (size_t k = 0; k < ARRAY_LEN(shapes); k++) {
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            make_super(&shapes[k], PACKETS, sizes[i], 0);
            printf("split kind=%s bytes=%zu ns=%.1f\n", shapes[k].name, sizes[i],
                   bench_ns(&(struct bench){.run = split}) / PACKETS);
            b.flows = 1;
            make_packets(&shapes[k], sizes[i]);
            printf("merge kind=%s bytes=%zu ns=%.1f\n", shapes[k].name, sizes[i],
                   bench_ns(&(struct bench){.run = merge}) / PACKETS);
        }
    }
    for (b.flows = 3; b.flows <= 15; b.flows *= 5) {
        make_packets(&shapes[0], 1348);
        printf("merge kind=tcp4 bytes=1348 flows=%zu ns=%.1f\n", b.flows,
               bench_ns(&(struct bench){.run = merge}) / PACKETS);
    }
    return 0;
}
