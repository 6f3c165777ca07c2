/*
 * micro_ip - what happens to an inner packet outside of QUIC, per packet.
 *
 *     cip_out version=V bytes=N  a client's packet in; its hop limit is set back each time,
 *                                by a copy of its header, which is in the figure
 *     cip_in version=V bytes=N   the same packet at the proxy
 *     cip_out/cip_in prefixes=P ranges=R
 *                                the same of a proxy that assigned P addresses, half of
 *                                them IPv4, which go first, and advertised R ranges, half
 *                                of them IPv4; the packet has the last of its family
 *     refuse version=V bytes=N   cip_out of a packet that is too big, and the ICMP error
 *     icmp version=V             icmp_error_build alone, about 1400 bytes
 *     queue flows=F              queue_push, queue_heads, queue_first and queue_took, BATCH
 *                                packets of F flows at a time
 *     flow version=V             ippkt_flow_hash of a parsed packet
 *     parse version=V            ippkt_parse
 */
#include "bench/bench.h"

#include "masque/cksum.h"
#include "masque/connect_ip.h"
#include "sched/queue.h"

#include <string.h>

#define BATCH 45
#define BYTES 1400
#define ROOM  1400
#define TTL   64

enum { CLIENT, PROXY };

static struct cip end[2];
static struct queue queue;

/* A UDP packet from a client to a host behind the proxy. */
static struct packet {
    uint8_t payload[1 + BYTES]; /* of an HTTP datagram: context ID 0, the packet */
    uint8_t *p;                 /* the packet */
    uint8_t version;
    size_t n, head;
    uint8_t fresh[IPPKT_V6_HEAD]; /* its header as it was */
    struct ippkt view;
} packet;

/* ---- set up -------------------------------------------------------------------------- */

static struct ip_prefix prefix(const char *text)
{
    struct ip_prefix p;

    BENCH_CHECK(ip_prefix_parse(span_of(text, strlen(text)), &p) == 0);
    return p;
}

static void put16(uint8_t *p, size_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* From the last of the `prefixes` addresses that tunnel() assigns in the family. */
static void make_packet(uint8_t version, size_t n, size_t prefixes)
{
    static const uint8_t v4[16] = {0x45, [8] = TTL, IP_PROTO_UDP, [12] = 10, 99, 0, 0};
    static const uint8_t v6[16] = {0x60, [6] = IP_PROTO_UDP, TTL, 0xfd, [15] = 1};
    uint8_t *p = packet.payload + 1;

    packet = (struct packet){.p = p, .version = version, .n = n};
    if (version == 4) {
        packet.head = IPPKT_V4_HEAD;
        memcpy(p, v4, sizeof(v4));
        put16(p + 2, n);
        p[15] = (uint8_t)prefixes;
        memcpy(p + 16, (uint8_t[]){192, 0, 2, 1}, 4);
        put16(p + 10, cksum_fold(cksum_add(0, span_of(p, IPPKT_V4_HEAD))));
    } else {
        packet.head = IPPKT_V6_HEAD;
        memcpy(p, v6, sizeof(v6));
        put16(p + 4, n - IPPKT_V6_HEAD);
        p[15] = 0;
        p[23] = (uint8_t)prefixes;
        memcpy(p + 24, (uint8_t[]){0x20, 0x01, 0x0d, 0xb8, [15] = 1}, 16);
    }
    put16(p + packet.head, 40000);
    put16(p + packet.head + 2, 443);
    put16(p + packet.head + 4, n - packet.head);
    memcpy(packet.fresh, p, packet.head);
    BENCH_CHECK(ippkt_parse(span_of(p, n), &packet.view) == 0);
}

/* Carry the proxy's capsules to the client. */
static void carry(void)
{
    struct span s, dgram;
    struct cip_event ev;

    while ((s = cip_out_bytes(&end[PROXY])).n > 0) {
        size_t n = s.n;

        while (s.n > 0)
            BENCH_CHECK(cip_recv(&end[CLIENT], &s, &dgram) == 0);
        cip_out_done(&end[PROXY], n);
    }
    while (cip_next_event(&end[CLIENT], &ev))
        ;
}

/* 2 * `prefixes` addresses of both families; everything in `ranges` pieces of each. */
static void tunnel(size_t prefixes, size_t ranges)
{
    struct cip_config cfg = {.hash_seed = 1};
    static struct ip_assign list[CIP_PREFIXES_MAX];
    static struct ip_range range[CIP_RANGES_MAX];
    static const uint8_t bits[2] = {32, 128};
    size_t n = 0;

    for (int i = 0; i < 2; i++) {
        cip_free(&end[i]);
        BENCH_CHECK(cip_init(&end[i], &cfg) == 0);
    }
    for (int v = 0; v < 2; v++) {
        for (size_t i = 1; i <= prefixes; i++, n++) {
            list[n].prefix = prefix(v ? "fd00::/128" : "10.99.0.0/32");
            list[n].prefix.addr.b[bits[v] / 8 - 1] = (uint8_t)i;
        }
    }
    BENCH_CHECK(cip_assign(&end[PROXY], list, n) == 0);
    /* Pieces of a size, between which each last address is missing. */
    n = 0;
    for (int v = 0; v < 2; v++) {
        for (size_t i = 0; i < ranges; i++) {
            struct ip_range *r = &range[n++];

            *r = ip_range_all(v ? 6 : 4, 0);
            if (i > 0)
                put16(r->start.b, i * 65536 / ranges);
            if (i + 1 < ranges) {
                put16(r->end.b, (i + 1) * 65536 / ranges - 1);
                r->end.b[bits[v] / 8 - 1] = 0xfe;
            }
        }
    }
    BENCH_CHECK(cip_advertise(&end[PROXY], range, n) == 0);
    carry();
    cip_assigned(&end[CLIENT], &n);
    BENCH_CHECK(n == 2 * prefixes);
    cip_routes(&end[CLIENT], &n);
    BENCH_CHECK(n == 2 * ranges);
}

/* ---- what is timed ------------------------------------------------------------------- */

static void out(void *ctx, uint64_t n)
{
    struct cip_head head;

    (void)ctx;
    while (n--) {
        memcpy(packet.p, packet.fresh, packet.head);
        BENCH_CHECK(cip_out(&end[CLIENT], packet.p, packet.n, packet.n, ROOM, &head) == CIP_OK);
    }
}

static void in(void *ctx, uint64_t n)
{
    struct span pkt;

    (void)ctx;
    while (n--)
        BENCH_CHECK(cip_in(&end[PROXY], span_of(packet.payload, 1 + packet.n), &pkt) == CIP_OK);
}

static void refuse(void *ctx, uint64_t n)
{
    static ns_t now;
    struct span pkt = span_of(packet.p, packet.n);
    struct cip_head head;
    uint8_t answer[ICMP_MAX];
    size_t room = packet.n - 1;

    (void)ctx;
    for (; n--; now += NS_PER_S) /* so that the rate limit allows it */
        BENCH_CHECK(
            cip_out(&end[CLIENT], packet.p, packet.n, packet.n, room, &head) == CIP_TOO_BIG &&
            cip_reject_out(&end[CLIENT], CIP_TOO_BIG, pkt, room, now, answer, sizeof(answer)) >
                0);
}

static void icmp(void *ctx, uint64_t n)
{
    struct ip_addr from = ip_addr_of(packet.version, packet.view.dst);
    uint8_t answer[ICMP_MAX];

    (void)ctx;
    while (n--)
        BENCH_CHECK(icmp_error_build(ICMP_TOO_BIG, &from, span_of(packet.p, packet.n), 1280,
                                     answer, sizeof(answer)) > 0);
}

/* As the sender does: pushed by the batch, pulled by the burst. `ctx`: how many flows. */
static void queue_batch(void *ctx, uint64_t n)
{
    static ns_t now;
    static struct queue_pkt pkt[BATCH];
    const unsigned *flows = ctx;
    struct sched_head head[SCHED_HEADS];

    for (; n--; now += NS_PER_MS) {
        for (unsigned i = 0; i < BATCH; i++) {
            pkt[i].bytes = pkt[i].unit = pkt[i].held = 1400;
            pkt[i].flow = i % *flows * 0x9e3779b9;
            queue_push(&queue, &pkt[i], now);
        }
        while (queue.count > 0) {
            size_t heads = queue_heads(&queue, now, head, SCHED_HEADS);

            BENCH_CHECK(heads > 0);
            for (size_t i = 0; i < heads; i++) {
                struct queue_pkt *p = queue_first(&queue, head[i].flow, now), *next;

                for (; p; p = next) {
                    next = queue_follow(p);
                    BENCH_CHECK(queue_took(&queue, p, 1400, now));
                }
            }
        }
    }
}

static void flow(void *ctx, uint64_t n)
{
    uint32_t first =
        ippkt_flow_hash(&packet.view, span_of(packet.p, packet.n), end[CLIENT].cfg.hash_seed);

    (void)ctx;
    while (n--)
        BENCH_CHECK(ippkt_flow_hash(&packet.view, span_of(packet.p, packet.n),
                                    end[CLIENT].cfg.hash_seed) == first);
}

static void parse(void *ctx, uint64_t n)
{
    struct ippkt v;

    (void)ctx;
    while (n--)
        BENCH_CHECK(ippkt_parse(span_of(packet.p, packet.n), &v) == 0);
}

/* ---- figures ------------------------------------------------------------------------- */

static void bench_versions(uint8_t version)
{
    static const size_t sizes[] = {100, BYTES};

    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        make_packet(version, sizes[i], 1);
        bench_line(&(struct bench){.run = out}, "cip_out version=%u bytes=%zu", version,
                   sizes[i]);
        bench_line(&(struct bench){.run = in}, "cip_in version=%u bytes=%zu", version,
                   sizes[i]);
    }
    bench_line(&(struct bench){.run = refuse}, "refuse version=%u bytes=%d", version, BYTES);
    bench_line(&(struct bench){.run = icmp}, "icmp version=%u", version);
    bench_line(&(struct bench){.run = flow}, "flow version=%u", version);
    bench_line(&(struct bench){.run = parse}, "parse version=%u", version);
}

/* With long lists, of which a packet has the last address of its family. */
static void bench_lists(uint8_t version, size_t prefixes, size_t ranges)
{
    tunnel(prefixes, ranges);
    make_packet(version, BYTES, prefixes);
    bench_line(&(struct bench){.run = out},
               "cip_out version=%u bytes=%d prefixes=%zu ranges=%zu", version, BYTES,
               2 * prefixes, 2 * ranges);
    bench_line(&(struct bench){.run = in}, "cip_in version=%u bytes=%d prefixes=%zu ranges=%zu",
               version, BYTES, 2 * prefixes, 2 * ranges);
}

static void bench_queue(void)
{
    static unsigned flows[] = {1, 4, BATCH};

    queue_init(&queue, 1 << 20, 100 * NS_PER_MS);
    for (size_t i = 0; i < ARRAY_LEN(flows); i++)
        printf("queue flows=%u ns=%.1f\n", flows[i],
               bench_ns(&(struct bench){.run = queue_batch, .ctx = &flows[i]}) / BATCH);
    BENCH_CHECK(queue.stats.dropped_full + queue.stats.dropped_old == 0 && queue_check(&queue));
    queue_free(&queue);
}

int main(void)
{
    tunnel(1, 1);
    bench_versions(4);
    bench_versions(6);
    for (int v = 4; v <= 6; v += 2) {
        bench_lists((uint8_t)v, CIP_PREFIXES_MAX / 2, 1);
        bench_lists((uint8_t)v, 1, CIP_RANGES_MAX / 2);
    }
    bench_queue();
    for (int i = 0; i < 2; i++)
        cip_free(&end[i]);
    return 0;
}
