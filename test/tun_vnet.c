/*
 * vnet: super-packets cut and put together, against test/tun_vnet.h. SEEDS is the number of
 * seeds of the random tests.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "test/quic_rand.h"
#include "test/tun_vnet.h"

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define PSH 0x08
#define ACK 0x10
#define URG 0x20
#define ECE 0x40
#define CWR 0x80

static uint8_t buf[NAIVE_MAX], made[NAIVE_MAX], want[NAIVE_MAX];
static struct vnet_merge merge;
static struct naive_in in;

static uint64_t seeds(void)
{
    const char *s = getenv("SEEDS");

    return s && atoi(s) > 0 ? (uint64_t)atoi(s) : 300;
}

/* A usual TCP packet to start from. */
static struct naive_spec tcp_spec(bool v6)
{
    return (struct naive_spec){.v6 = v6,
                               .tcp = true,
                               .df = true,
                               .flow = 7,
                               .ttl = 64,
                               .flags = ACK,
                               .id = 0xfffe,
                               .window = 502,
                               .seq = 0xfffffff0,
                               .ack = 77,
                               .options = 12,
                               .payload = 1000};
}

/* ---- splitting ----------------------------------------------------------------------- */

/* Packet `i` in one piece to `made`. Returns its length. */
static size_t packet(const struct vnet_split *s, size_t i)
{
    struct span body;
    size_t head = vnet_split_head(s, i, made, &body);

    assert_int_equal(head, s->head_n);
    assert_true(body.p >= s->p + head && body.p + body.n <= s->p + s->n);
    memcpy(made + head, body.p, body.n);
    assert_int_equal(head + body.n, vnet_split_size(s, i));
    return head + body.n;
}

/* All packets of the `n` bytes at buf, in some order, against the naive ones. */
static void compare(size_t n, struct rnd *r)
{
    static uint8_t before[NAIVE_MAX], after[NAIVE_MAX];
    struct vnet_split s;
    size_t len, k = 0;

    memcpy(before, buf, n);
    assert_int_equal(vnet_split_init(&s, buf, n), 0);
    memcpy(after, buf, n);
    while ((len = naive_packet(before, n, k, want)) > 0)
        k++;
    assert_int_equal(s.count, k);
    for (size_t turn = 0; turn < k; turn++) {
        size_t i = r && k <= 64 ? rnd_below(r, k) : turn;

        len = naive_packet(before, n, i, want);
        assert_int_equal(packet(&s, i), len);
        assert_memory_equal(made, want, len);
    }
    assert_memory_equal(buf, after, n);
    /* A second look at what was read finds the same. */
    assert_int_equal(vnet_split_init(&s, buf, n), 0);
    assert_int_equal(s.count, k);
    len = naive_packet(before, n, 0, want);
    assert_int_equal(packet(&s, 0), len);
    assert_memory_equal(made, want, len);
}

static struct naive_spec random_spec(struct rnd *r)
{
    struct naive_spec s = {.v6 = rnd_chance(r, 1, 2),
                           .tcp = rnd_chance(r, 2, 3),
                           .df = rnd_chance(r, 1, 2),
                           .flow = (uint8_t)rnd_next(r),
                           .tos = (uint8_t)rnd_next(r),
                           .ttl = (uint8_t)rnd_next(r),
                           .flags = (uint8_t)rnd_next(r),
                           .id = (uint16_t)rnd_next(r),
                           .window = (uint16_t)rnd_next(r),
                           .seq = (uint32_t)rnd_next(r),
                           .ack = (uint32_t)rnd_next(r),
                           .label = (uint32_t)rnd_next(r)};

    s.options = rnd_chance(r, 1, 2) ? 12 : 4 * rnd_below(r, 11);
    if (rnd_chance(r, 1, 4))
        s.ip_options = s.v6 ? 8 * rnd_below(r, 18) : 4 * rnd_below(r, 11);
    return s;
}

static void cut_like_the_oracle(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= seeds(); seed++) {
        struct rnd r = {seed};
        struct naive_spec s = random_spec(&r);
        size_t most = 65535 - 40 - 160 - 60, fill = rnd_below(&r, 3), n;
        uint16_t gso = (uint16_t)(1 + rnd_below(&r, rnd_chance(&r, 1, 4) ? 100 : 1500));

        s.payload = 1 + rnd_below(&r, rnd_chance(&r, 1, 3) ? most : 6000);
        for (size_t i = 0; i < sizeof(buf); i++)
            buf[i] = fill == 0 ? (uint8_t)rnd_next(&r) : fill == 1 ? 0xff : 0;
        n = naive_super(&s, rnd_chance(&r, 1, 8) ? 0 : gso, buf);
        compare(n, &r);
        if (!s.ip_options) /* naive_look doesn't look into more */
            assert_true(naive_valid(made, naive_packet(buf, n, 0, want)));
    }
}

static void sizes(void **state)
{
    /* clang-format off */
    static const struct { size_t payload; uint16_t gso; size_t count, size, last; } rows[] = {
        {1000, 1000, 1,     1052,  1052},
        {1001, 1000, 2,     1052,  53},
        {2000, 1000, 2,     1052,  1052},
        {999,  1000, 1,     1051,  1051},
        {1,    1,    1,     53,    53},
        {300,  1,    300,   53,    53},
        {65483, 1348, 49,   1400,  831},
        {65483, 65535, 1,   65535, 65535},
    };
    /* clang-format on */
    struct naive_spec s = tcp_spec(false);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct vnet_split v;

        s.payload = rows[i].payload;
        assert_int_equal(vnet_split_init(&v, buf, naive_super(&s, rows[i].gso, buf)), 0);
        assert_int_equal(v.count, rows[i].count);
        assert_int_equal(v.size, rows[i].size);
        assert_int_equal(v.head_n, 52);
        assert_int_equal(vnet_split_size(&v, 0), v.count > 1 ? rows[i].size : rows[i].last);
        assert_int_equal(vnet_split_size(&v, v.count - 1), rows[i].last);
    }
}

/* The fields that change, by their numbers: identification and sequence wrap around. */
static void fields(void **state)
{
    struct naive_spec s = tcp_spec(false);
    struct vnet_split v;

    (void)state;
    s.flags = ACK | ECE | CWR | PSH | FIN;
    s.payload = 2500;
    assert_int_equal(vnet_split_init(&v, buf, naive_super(&s, 1000, buf)), 0);
    assert_int_equal(v.count, 3);
    for (size_t i = 0; i < 3; i++) {
        static const uint8_t flags[] = {ACK | ECE | CWR, ACK | ECE, ACK | ECE | PSH | FIN};
        size_t n = packet(&v, i);

        assert_true(naive_valid(made, n));
        assert_int_equal(naive_get(made + 2), n);
        assert_int_equal(naive_get(made + 4), (uint16_t)(0xfffe + i));
        assert_int_equal(made[6], 0x40);
        assert_int_equal(naive_get(made + 24), i ? 0 : 0xffff);
        assert_int_equal(naive_get(made + 26), (uint16_t)(0xfff0 + 1000 * i));
        assert_int_equal(made[33], flags[i]);
        assert_memory_equal(made + 34, buf + 10 + 34, 2);
        assert_memory_equal(made + 40, buf + 10 + 40, 12);
    }
}

/* A hop limit taken off after the look at the packet is in all of its packets. */
static void routed_between(void **state)
{
    struct naive_spec s = tcp_spec(false);
    struct vnet_split v;

    (void)state;
    s.payload = 3000;
    assert_int_equal(vnet_split_init(&v, buf, naive_super(&s, 1000, buf)), 0);
    buf[10 + 8]--;
    for (size_t i = 0; i < v.count; i++) {
        size_t n = packet(&v, i);

        assert_int_equal(made[8], 63);
        assert_true(naive_valid(made, n));
    }
}

/* A UDP checksum that comes out as zero is sent as 0xffff; no other packet has zero there. */
static void udp_zero(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct naive_spec s = {.v6 = kind & 1, .flow = 1, .ttl = 9, .payload = 4};
        struct vnet_split v;
        unsigned zeros = 0;

        for (unsigned x = 0; x < 0x10000; x++) {
            size_t head = (kind & 1 ? 40 : 20) + 8, n;

            memset(buf + 10 + head, 0, 4);
            naive_put(buf + 10 + head, x);
            n = naive_super(&s, kind & 2 ? 2 : 0, buf);
            assert_int_equal(vnet_split_init(&v, buf, n), 0);
            n = packet(&v, 0);
            assert_int_not_equal(naive_get(made + head - 2), 0);
            zeros += naive_get(made + head - 2) == 0xffff;
            if (x % 256 == 0)
                assert_true(naive_valid(made, n));
        }
        assert_int_equal(zeros, 1);
    }
}

/* One changed field of a good virtio-net header or packet, and what is said to it. */
static void malformed(void **state)
{
    enum { V4 = 1, V6 = 2, UDP = 4, PLAIN = 8, ALL = V4 | V6 };
    /* clang-format off */
    static const struct {
        const char *what; int to, at, bytes; unsigned value; bool good;
    } rows[] = {
        {"as it is",            ALL, 0, 0, 0, true},
        {"as it is",            ALL | UDP, 0, 0, 0, true},
        {"as it is",            ALL | PLAIN, 0, 0, 0, true},
        {"hdr_len too small",   ALL, 2, 2, 0, true},
        {"hdr_len too large",   ALL, 2, 2, 65535, true},
        {"no NEEDS_CSUM",       ALL, 0, 1, 0, false},
        {"DATA_VALID too",      ALL, 0, 1, 3, true},
        {"unknown flag",        ALL, 0, 1, 5, false},
        {"unknown flag",        ALL | PLAIN, 0, 1, 8, false},
        {"UFO",                 ALL, 1, 1, 3, false},
        {"unknown type",        ALL, 1, 1, 2, false},
        {"ECN alone",           ALL, 1, 1, 0x80, false},
        {"UDP tunnel",          ALL, 1, 1, 0x21, false},
        {"TCPV6 for IPv4",      V4, 1, 1, 4, false},
        {"TCPV4 for IPv6",      V6, 1, 1, 1, false},
        {"ECN",                 V4, 1, 1, 0x81, true},
        {"ECN for UDP",         ALL | UDP, 1, 1, 0x85, false},
        {"UDP_L4 for TCP",      ALL, 1, 1, 5, false},
        {"TCPV4 for UDP",       V4 | UDP, 1, 1, 1, false},
        {"gso_size 0",          ALL, 4, 2, 0, false},
        {"gso_size large",      ALL, 4, 2, 65535, true},
        {"csum_start 0",        ALL, 6, 2, 0, false},
        {"csum_start - 1",      V4, 6, 2, 19, false},
        {"csum_start + 1",      V4, 6, 2, 21, false},
        {"csum_start + 4",      V4, 6, 2, 24, false},
        {"csum_start - 8",      V6, 6, 2, 32, false},
        {"csum_start + 8",      V6, 6, 2, 48, false},
        {"csum_start at end",   ALL, 6, 2, 1052, false},
        {"csum_start past end", ALL, 6, 2, 65535, false},
        {"csum_start in IP",    ALL | PLAIN, 6, 2, 19, false},
        {"csum_start past end", ALL | PLAIN, 6, 2, 65535, false},
        {"csum_start last",     V4 | PLAIN, 6, 2, 1052 - 18, true},
        {"csum_start too far",  V4 | PLAIN, 6, 2, 1052 - 17, false},
        {"csum_offset UDP",     ALL, 8, 2, 6, false},
        {"csum_offset TCP",     ALL | UDP, 8, 2, 16, false},
        {"csum_offset",         ALL, 8, 2, 65535, false},
        {"csum_offset",         ALL | PLAIN, 8, 2, 65535, false},
        {"version",             ALL, 10, 1, 0x55, false},
        {"IP header too short", V4, 10, 1, 0x44, false},
        {"IP header longer",    V4, 10, 1, 0x46, false},
        {"total length",        V4, 12, -2, 1051, false},
        {"total length",        V4, 12, -2, 0, false},
        {"more fragments",      V4, 16, 1, 0x20, false},
        {"fragment offset",     V4, 17, 1, 1, false},
        {"protocol",            V4, 19, 1, 17, false},
        {"payload length",      V6, 14, -2, 1033, false},
        {"jumbo",               V6, 14, -2, 0, false},
        {"next header UDP",     V6, 16, 1, 17, false},
        {"fragment header",     V6, 16, 1, 44, false},
        {"hop-by-hop",          V6, 16, 1, 0, false},
        {"TCP header short",    V4, 42, 1, 0x40, false},
        {"TCP header of 60",    V4, 42, 1, 0xf0, true},
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (int v6 = 0; v6 < 2; v6++) {
            struct naive_spec s = tcp_spec(v6);
            struct vnet_split v;
            uint16_t value = (uint16_t)rows[i].value;
            size_t n;

            if (!(rows[i].to & (v6 ? V6 : V4)))
                continue;
            s.tcp = !(rows[i].to & UDP);
            n = naive_super(&s, rows[i].to & PLAIN ? 0 : 300, buf);
            if (rows[i].bytes == 1)
                buf[rows[i].at] = (uint8_t)value;
            else if (rows[i].bytes == 2)
                memcpy(buf + rows[i].at, &value, 2);
            else if (rows[i].bytes == -2)
                naive_put(buf + rows[i].at, value);
            if ((vnet_split_init(&v, buf, n) == 0) != rows[i].good)
                fail_msg("%s, IPv%d", rows[i].what, v6 ? 6 : 4);
        }
    }
}

/* Cut off anywhere, extension headers that lead anywhere, headers that are too long. */
static void malformed_lengths(void **state)
{
    struct naive_spec s = tcp_spec(true);
    struct vnet_split v;
    size_t n;

    (void)state;
    for (int udp = 0; udp < 2; udp++) {
        s.tcp = !udp;
        n = naive_super(&s, 300, buf);
        for (size_t k = 0; k < n; k++)
            assert_int_equal(vnet_split_init(&v, buf, k), QUIC_INVAL);
        assert_int_equal(vnet_split_init(&v, buf, n), 0);
    }
    s.ip_options = 64;
    s.tcp = true;
    n = naive_super(&s, 300, buf);
    assert_int_equal(vnet_split_init(&v, buf, n), 0);
    assert_int_equal(v.head_n, 40 + 64 + 32);
    for (unsigned len = 0; len < 256; len++) {
        buf[10 + 41] = (uint8_t)len;
        assert_int_equal(vnet_split_init(&v, buf, n), len == 7 ? 0 : QUIC_INVAL);
    }
    for (s.ip_options = 8; s.ip_options < 400; s.ip_options += 8) {
        n = naive_super(&s, 300, buf);
        assert_int_equal(vnet_split_init(&v, buf, n),
                         40 + s.ip_options + 32 <= VNET_HEAD_MAX ? 0 : QUIC_INVAL);
    }
    s.ip_options = 0;
    s.payload = 0;
    assert_int_equal(vnet_split_init(&v, buf, naive_super(&s, 300, buf)), QUIC_INVAL);
    assert_int_equal(vnet_split_init(&v, buf, VNET_READ_MAX + 1), QUIC_INVAL);
}

static void as_it_is(void **state)
{
    struct vnet_split v;
    struct span body;

    (void)state;
    memset(buf, 0, 10);
    for (size_t i = 10; i < 100; i++)
        buf[i] = (uint8_t)i;
    memcpy(want, buf, 100);
    assert_int_equal(vnet_split_init(&v, buf, 100), 0);
    assert_int_equal(v.count, 1);
    assert_int_equal(v.size, 90);
    assert_int_equal(vnet_split_head(&v, 0, NULL, &body), 0);
    assert_ptr_equal(body.p, buf + 10);
    assert_int_equal(body.n, 90);
    assert_memory_equal(buf, want, 100);
    assert_int_equal(vnet_split_init(&v, buf, 29), QUIC_INVAL);
}

/* ---- merging ------------------------------------------------------------------------- */

static uint8_t pkts[VNET_BATCH][2200];

static size_t add(size_t i, const struct naive_spec *s)
{
    size_t l4, head = naive_build(s, pkts[i], &l4), n = head + s->payload;

    naive_add(&in, &merge, pkts[i], n);
    return n;
}

/* The next segment of the same flow. */
static void step(struct naive_spec *s)
{
    s->seq += (uint32_t)s->payload;
    s->id++;
}

/* The sums of a packet, whatever became of it. */
static void repair(uint8_t *p, size_t n, bool tcp)
{
    size_t ip = p[0] >> 4 == 6 ? 40 : 20, check = ip + (tcp ? 16 : 6);

    if (ip == 20)
        naive_ip_csum(p);
    naive_put(p + check, 0);
    naive_put(p + check, ~naive_sum(naive_pseudo(p, tcp ? 6 : 17, n - ip), p + ip, n - ip));
}

/* Two packets of a flow: which change keeps the second from being added to the first. */
static void pairs(void **state)
{
    enum { T = 1, U = 2, V4 = 4, V6 = 8, TU = T | U, VV = V4 | V6 };
    enum { A = 1, B = 2, AB = 3 };    /* what is changed */
    enum { IP, L4, END };             /* where, from there */
    enum { KEEP, REPAIR, NO_DF = 2 }; /* what happens to the sums */
    /* clang-format off */
    static const struct {
        const char *what;
        int to, who, base, at, xor, sums;
        size_t writes;
    } rows[] = {
        {"nothing",            TU | VV, AB, IP, 0, 0,     REPAIR, 1},
        {"same id, DF",        TU | V4, B,  IP, 5, 0x01,  REPAIR, 1},
        {"same id, no DF",     TU | V4, B,  IP, 5, 0x01,  REPAIR | NO_DF, 2},
        {"next id, no DF",     TU | V4, B,  IP, 5, 0,     REPAIR | NO_DF, 1},
        {"id + 2",             TU | V4, B,  IP, 5, 0x03,  REPAIR, 2},
        {"id - 1",             TU | V4, B,  IP, 5, 0x1e,  REPAIR, 2},
        {"id far",             TU | V4, B,  IP, 4, 0x80,  REPAIR, 2},
        {"DF differs",         TU | V4, A,  IP, 6, 0x40,  REPAIR, 2},
        {"TTL",                TU | V4, B,  IP, 8, 0x01,  REPAIR, 2},
        {"TOS",                TU | V4, B,  IP, 1, 0x20,  REPAIR, 2},
        {"CE mark",            TU | V4, B,  IP, 1, 0x03,  REPAIR, 2},
        {"hop limit",          TU | V6, B,  IP, 7, 0x01,  REPAIR, 2},
        {"traffic class",      TU | V6, B,  IP, 0, 0x02,  REPAIR, 2},
        {"CE mark",            TU | V6, B,  IP, 1, 0x30,  REPAIR, 2},
        {"flow label",         TU | V6, B,  IP, 3, 0x01,  REPAIR, 2},
        {"flow label, high",   TU | V6, B,  IP, 1, 0x08,  REPAIR, 2},
        {"reserved IP flag",   TU | V4, AB, IP, 6, 0x80,  REPAIR, 2},
        {"fragment first",     TU | V4, A,  IP, 6, 0x20,  REPAIR, 2},
        {"fragment second",    TU | V4, B,  IP, 7, 0x01,  REPAIR, 2},
        {"other protocol",     TU | V4, B,  IP, 9, 0x55,  REPAIR, 2},
        {"other protocol",     TU | V6, B,  IP, 6, 0x55,  REPAIR, 2},
        {"source",             TU | V4, B,  IP, 15, 0x01, REPAIR, 2},
        {"destination",        TU | V4, B,  IP, 16, 0x80, REPAIR, 2},
        {"source",             TU | V6, B,  IP, 8, 0x01,  REPAIR, 2},
        {"source, end",        TU | V6, B,  IP, 23, 0x01, REPAIR, 2},
        {"destination",        TU | V6, B,  IP, 24, 0x80, REPAIR, 2},
        {"destination, end",   TU | V6, B,  IP, 39, 0x01, REPAIR, 2},
        {"IP length",          TU | V4, B,  IP, 3, 0x01,  REPAIR, 2},
        {"IP length",          TU | V6, B,  IP, 5, 0x01,  REPAIR, 2},
        {"bad IP sum first",   TU | V4, A,  IP, 11, 0x01, KEEP, 2},
        {"bad IP sum second",  TU | V4, B,  IP, 10, 0x80, KEEP, 2},
        {"source port",        TU | VV, B,  L4, 1, 0x01,  REPAIR, 2},
        {"destination port",   TU | VV, B,  L4, 2, 0x01,  REPAIR, 2},
        {"bad sum first",      TU | VV, A,  END, 1, 0x01, KEEP, 2},
        {"bad sum second",     TU | VV, B,  END, 2, 0x80, KEEP, 2},
        {"bad sum both",       TU | VV, AB, L4, 3, 0x01,  KEEP, 2},
        {"UDP length",         U | VV,  B,  L4, 5, 0x01,  REPAIR, 2},
        {"sequence + 1",       T | VV,  B,  L4, 7, 0x01,  REPAIR, 2},
        {"sequence far",       T | VV,  B,  L4, 4, 0x80,  REPAIR, 2},
        {"acknowledgement",    T | VV,  B,  L4, 11, 0x01, REPAIR, 2},
        {"reserved bit",       T | VV,  B,  L4, 12, 0x01, REPAIR, 2},
        {"fewer options",      T | VV,  B,  L4, 12, 0xf0, REPAIR, 2},
        {"PSH second",         T | VV,  B,  L4, 13, PSH,  REPAIR, 1},
        {"FIN second",         T | VV,  B,  L4, 13, FIN,  REPAIR, 1},
        {"FIN, PSH second",    T | VV,  B,  L4, 13, FIN | PSH, REPAIR, 1},
        {"PSH first",          T | VV,  A,  L4, 13, PSH,  REPAIR, 2},
        {"FIN first",          T | VV,  A,  L4, 13, FIN,  REPAIR, 2},
        {"PSH both",           T | VV,  AB, L4, 13, PSH,  REPAIR, 2},
        {"SYN first",          T | VV,  A,  L4, 13, SYN,  REPAIR, 2},
        {"SYN second",         T | VV,  B,  L4, 13, SYN,  REPAIR, 2},
        {"SYN both",           T | VV,  AB, L4, 13, SYN,  REPAIR, 2},
        {"RST second",         T | VV,  B,  L4, 13, RST,  REPAIR, 2},
        {"RST both",           T | VV,  AB, L4, 13, RST,  REPAIR, 2},
        {"URG second",         T | VV,  B,  L4, 13, URG,  REPAIR, 2},
        {"URG both",           T | VV,  AB, L4, 13, URG,  REPAIR, 2},
        {"CWR first",          T | VV,  A,  L4, 13, CWR,  REPAIR, 2},
        {"CWR second",         T | VV,  B,  L4, 13, CWR,  REPAIR, 2},
        {"CWR both",           T | VV,  AB, L4, 13, CWR,  REPAIR, 2},
        {"ECE second",         T | VV,  B,  L4, 13, ECE,  REPAIR, 2},
        {"ECE both",           T | VV,  AB, L4, 13, ECE,  REPAIR, 1},
        {"no ACK",             T | VV,  B,  L4, 13, ACK,  REPAIR, 2},
        {"window",             T | VV,  B,  L4, 14, 0x01, REPAIR, 2},
        {"window, low",        T | VV,  B,  L4, 15, 0x01, REPAIR, 2},
        {"urgent pointer",     T | VV,  B,  L4, 19, 0x01, REPAIR, 2},
        {"first option",       T | VV,  B,  L4, 20, 0x01, REPAIR, 2},
        {"last option",        T | VV,  B,  L4, 31, 0x01, REPAIR, 2},
        {"payload",            TU | VV, B,  END, 1, 0x01, REPAIR, 1},
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < 4 * ARRAY_LEN(rows); i++) {
        bool v6 = i & 1, tcp = i & 2;
        struct naive_spec s = tcp_spec(v6);
        uint64_t bad = merge.stats.bad_sums;
        size_t row = i / 4, n, l4, writes;

        if (!(rows[row].to & (v6 ? V6 : V4)) || !(rows[row].to & (tcp ? T : U)))
            continue;
        s.tcp = tcp;
        s.id = 0x10;
        s.df = !(rows[row].sums & NO_DF);
        for (int k = 0; k < 2; k++, step(&s)) {
            uint8_t *p = pkts[k];

            n = naive_build(&s, p, &l4) + s.payload;
            p += rows[row].base == IP ? 0 : rows[row].base == L4 ? l4 : n - 3;
            if (rows[row].who & (1 << k))
                p[rows[row].at] ^= (uint8_t)rows[row].xor ;
            if (rows[row].sums & REPAIR)
                repair(pkts[k], n, tcp);
            naive_add(&in, &merge, pkts[k], n);
        }
        writes = naive_drain(&in, &merge);
        if (writes != rows[row].writes)
            fail_msg("%s, %s over IPv%d: %zu writes", rows[row].what, tcp ? "TCP" : "UDP",
                     v6 ? 6 : 4, writes);
        bad = merge.stats.bad_sums - bad;
        assert_int_equal(bad, strncmp(rows[row].what, "bad sum", 7) ? 0
                              : rows[row].who == AB                 ? 2
                                                                    : 1);
    }
}

/* The sizes of the payloads of a flow, and how many writes they make. */
static void lengths(void **state)
{
    /* clang-format off */
    static const struct { size_t payload[5]; size_t n, tcp, udp; } rows[] = {
        {{1000}, 1, 1, 1},
        {{0}, 1, 1, 1},
        {{0, 0, 0}, 3, 3, 3},
        {{1000, 1000, 1000, 1000, 1000}, 5, 1, 1},
        {{1000, 1000, 999, 1000, 1000}, 5, 2, 2},
        {{1000, 1, 1, 1, 1}, 5, 2, 2},
        {{1000, 1001, 1000, 1000, 1000}, 5, 3, 3},
        {{1, 1000, 1000, 1000, 1000}, 5, 2, 2},
        {{1000, 0, 1000, 1000, 1000}, 5, 3, 3},
        {{1000, 0, 0, 0, 1000}, 5, 5, 5},
        {{1, 1, 1, 1, 1}, 5, 1, 1},
        {{3, 3, 3, 2, 3}, 5, 2, 2},
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (int kind = 0; kind < 4; kind++) {
            struct naive_spec s = tcp_spec(kind & 1);

            s.tcp = kind & 2;
            for (size_t k = 0; k < rows[i].n; k++, step(&s)) {
                s.payload = rows[i].payload[k];
                add(k, &s);
            }
            assert_int_equal(naive_drain(&in, &merge), s.tcp ? rows[i].tcp : rows[i].udp);
        }
    }
}

/* 64 packets, 65535 bytes, 256 packets at a time: then it goes on with the next. */
static void bounds(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct naive_spec s = tcp_spec(kind & 1);
        size_t n = 0, head = (kind & 1 ? 40 : 20) + (kind & 2 ? 32 : 8);

        s.tcp = kind & 2;
        s.payload = 100;
        for (size_t i = 0; i < VNET_BATCH; i++, step(&s))
            n = add(i, &s);
        assert_false(vnet_merge_add(&merge, pkts[0], n));
        assert_int_equal(naive_drain(&in, &merge), VNET_BATCH / VNET_SEGMENTS);
        s.payload = 2000; /* 32 of them make 64000 bytes and a header */
        for (size_t i = 0; i < 64; i++, step(&s))
            add(i, &s);
        assert_int_equal(naive_drain(&in, &merge), 2);
        s.payload = (65535 - head) / 40; /* filled to the last bytes */
        for (size_t i = 0; i < 40; i++, step(&s))
            add(i, &s);
        assert_int_equal(naive_drain(&in, &merge), 1);
        s.payload++;
        for (size_t i = 0; i < 40; i++, step(&s))
            add(i, &s);
        assert_int_equal(naive_drain(&in, &merge), 2);
    }
}

/* The same identification throughout or counting, not first one and then the other. */
static void identification(void **state)
{
    /* clang-format off */
    static const struct { bool df; uint16_t id[4]; size_t writes; } rows[] = {
        {true,  {5, 6, 7, 8}, 1},
        {false, {5, 6, 7, 8}, 1},
        {true,  {5, 5, 5, 5}, 1},
        {true,  {0, 0, 0, 0}, 1},
        {false, {0, 0, 0, 0}, 4},
        {true,  {5, 5, 6, 7}, 2},
        {true,  {5, 5, 7, 8}, 2},
        {true,  {5, 6, 6, 6}, 2},
        {true,  {5, 6, 5, 5}, 2},
        {false, {0xfffe, 0xffff, 0, 1}, 1},
        {true,  {8, 7, 6, 5}, 4},
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (int tcp = 0; tcp < 2; tcp++) {
            struct naive_spec s = tcp_spec(false);

            s.tcp = tcp;
            s.df = rows[i].df;
            for (size_t k = 0; k < 4; k++, step(&s)) {
                s.id = rows[i].id[k];
                add(k, &s);
            }
            assert_int_equal(naive_drain(&in, &merge), rows[i].writes);
        }
    }
}

/* What comes between two packets of a flow, and whether the second still joins the first. */
static void between(void **state)
{
    /* clang-format off */
    static const struct { const char *what; size_t at; uint8_t xor; size_t writes; } rows[] = {
        {"another flow",             12 + 3, 0x01, 2},
        {"ICMP of the same hosts",   9, 6 ^ 1, 3},
        {"a fragment",               6, 0x20, 3},
        {"IP options",               0, 0x03, 3},
        {"no IP at all",             0, 0x90, 3},
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct naive_spec s = tcp_spec(false), o = s;
        size_t n;

        add(0, &s);
        o.flow = 7;
        n = naive_build(&o, pkts[1], &(size_t){0}) + o.payload;
        pkts[1][rows[i].at] ^= rows[i].xor ;
        if (pkts[1][0] == 0x45)
            repair(pkts[1], n, true);
        naive_add(&in, &merge, pkts[1], n);
        step(&s);
        add(2, &s);
        if (naive_drain(&in, &merge) != rows[i].writes)
            fail_msg("%s", rows[i].what);
    }
}

/* More flows than are kept open: the oldest is closed, and nothing is lost. */
static void many_flows(void **state)
{
    struct naive_spec s[VNET_FLOWS + 1];
    size_t k = 0;

    (void)state;
    for (size_t flows = VNET_FLOWS; flows <= VNET_FLOWS + 1; flows++, k = 0) {
        for (size_t i = 0; i < flows; i++) {
            s[i] = tcp_spec(i & 1);
            s[i].flow = (uint8_t)(2 * i);
        }
        for (size_t round = 0; round < 3; round++)
            for (size_t i = 0; i < flows; i++, k++) {
                add(k, &s[i]);
                step(&s[i]);
            }
        assert_int_equal(naive_drain(&in, &merge), flows == VNET_FLOWS ? flows : 3 * flows);
    }
}

static void without_udp(void **state)
{
    struct naive_spec s = tcp_spec(true);

    (void)state;
    vnet_merge_init(&merge, false);
    s.tcp = false;
    for (size_t i = 0; i < 10; i++, step(&s))
        add(i, &s);
    assert_int_equal(naive_drain(&in, &merge), 10);
    s.tcp = true;
    for (size_t i = 0; i < 10; i++, step(&s))
        add(i, &s);
    assert_int_equal(naive_drain(&in, &merge), 1);
    assert_int_equal(merge.stats.packets, 20);
    assert_int_equal(merge.stats.writes, 11);
    vnet_merge_init(&merge, true);
}

/* Nothing is added once handing out has begun; then all begins again. */
static void phases(void **state)
{
    struct naive_spec s = tcp_spec(false);
    struct iovec iov[VNET_IOV];
    struct vnet_hdr hdr;
    size_t l4, n = naive_build(&s, pkts[0], &l4) + s.payload;

    (void)state;
    assert_int_equal(vnet_merge_next(&merge, &hdr, iov), 0);
    assert_true(vnet_merge_add(&merge, pkts[0], n));
    assert_int_equal(vnet_merge_next(&merge, &hdr, iov), 2);
    assert_ptr_equal(iov[1].iov_base, pkts[0]);
    assert_int_equal(iov[1].iov_len, n);
    assert_false(vnet_merge_add(&merge, pkts[0], n));
    assert_int_equal(vnet_merge_next(&merge, &hdr, iov), 0);
    assert_true(vnet_merge_add(&merge, pkts[0], n));
    assert_int_equal(vnet_merge_next(&merge, &hdr, iov), 2);
    assert_int_equal(vnet_merge_next(&merge, &hdr, iov), 0);
}

/* What was cut is put together again to the very same bytes. */
static void round_trip(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= seeds(); seed++) {
        struct rnd r = {seed};
        struct naive_spec s = random_spec(&r);
        uint16_t gso = (uint16_t)(50 + rnd_below(&r, 2000));
        struct iovec iov[VNET_IOV];
        struct vnet_split v;
        struct vnet_hdr hdr;
        size_t n, k, at = 10;

        s.ip_options = 0;
        s.flags &= FIN | PSH | ACK | ECE;
        s.payload = gso + 1 + rnd_below(&r, (size_t)gso * 63);
        if (s.payload > 65535 - 120)
            s.payload = 65535 - 120;
        for (size_t i = 0; i < 120 + s.payload; i++)
            buf[i] = (uint8_t)rnd_next(&r);
        n = naive_super(&s, gso, buf);
        assert_int_equal(vnet_split_init(&v, buf, n), 0);
        for (size_t i = 0; i < v.count; i++) {
            size_t len = packet(&v, i);

            memcpy(pkts[i], made, len);
            assert_true(vnet_merge_add(&merge, pkts[i], len));
        }
        k = vnet_merge_next(&merge, &hdr, iov);
        assert_int_equal(k, 1 + v.count);
        assert_memory_equal(buf, &hdr, sizeof(hdr));
        for (size_t i = 1; i < k; at += iov[i++].iov_len)
            assert_memory_equal(buf + at, iov[i].iov_base, iov[i].iov_len);
        assert_int_equal(at, n);
        assert_int_equal(vnet_merge_next(&merge, &hdr, iov), 0);
    }
}

/* Flows in any mixture, with damage of any kind: everything comes out, each flow in order. */
static void mixtures(void **state)
{
    size_t packets = 0, writes = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= seeds(); seed++) {
        struct rnd r = {seed};
        struct naive_spec s[20];
        size_t flows = 1 + rnd_below(&r, ARRAY_LEN(s)), n = 1 + rnd_below(&r, VNET_BATCH);
        unsigned harm = (unsigned)rnd_below(&r, 3);

        for (size_t i = 0; i < flows; i++) {
            s[i] = random_spec(&r);
            s[i].flags &= rnd_chance(&r, 1, 4) ? 0xff : ACK;
            s[i].flow = (uint8_t)rnd_below(&r, 12);
            s[i].ip_options = rnd_chance(&r, 1, 10) ? 8 : 0;
            s[i].payload = rnd_below(&r, 1400);
        }
        for (size_t i = 0; i < n; i++) {
            struct naive_spec *o = &s[rnd_below(&r, flows)];
            size_t l4, len = naive_build(o, pkts[i], &l4) + o->payload, at;

            step(o);
            if (harm && rnd_chance(&r, harm, 8)) {
                at = rnd_below(&r, rnd_chance(&r, 3, 4) ? l4 + 20 : len);
                pkts[i][at < len ? at : 0] ^= (uint8_t)(1u << rnd_below(&r, 8));
                if (rnd_chance(&r, 1, 2) && len >= l4 + 20)
                    repair(pkts[i], len, o->tcp);
                if (rnd_chance(&r, 1, 4))
                    o->payload = rnd_below(&r, 1400);
                if (rnd_chance(&r, 1, 8))
                    len = rnd_below(&r, len + 1);
            }
            naive_add(&in, &merge, pkts[i], len);
        }
        packets += n;
        writes += naive_drain(&in, &merge);
    }
    assert_true(packets > 2 * writes);
}

static int fill(void **state)
{
    (void)state;
    for (size_t i = 0; i < VNET_BATCH; i++)
        for (size_t k = 0; k < sizeof(pkts[0]); k++)
            pkts[i][k] = (uint8_t)(i * 7 + k * 13 + k / 256);
    vnet_merge_init(&merge, true);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_like_the_oracle),
        cmocka_unit_test(sizes),
        cmocka_unit_test(fields),
        cmocka_unit_test(routed_between),
        cmocka_unit_test(udp_zero),
        cmocka_unit_test(malformed),
        cmocka_unit_test(malformed_lengths),
        cmocka_unit_test(as_it_is),
        cmocka_unit_test(pairs),
        cmocka_unit_test(lengths),
        cmocka_unit_test(bounds),
        cmocka_unit_test(identification),
        cmocka_unit_test(between),
        cmocka_unit_test(many_flows),
        cmocka_unit_test(without_udp),
        cmocka_unit_test(phases),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(mixtures),
    };

    return cmocka_run_group_tests(tests, fill, NULL);
}
