/* cksum and ippkt: checks of inner packets, the header walk, hop limit, hash and MSS. */
#include "test/masque_util.h"

#include "masque/cksum.h"

static void checksums(void **state)
{
    uint8_t b[1600];
    uint64_t seed = 4;

    (void)state;
    for (int round = 0; round < 5000; round++) {
        size_t n = rnd(&seed) % sizeof(b), cut = rnd(&seed) % (n / 2 + 1) * 2;
        uint64_t sum;

        for (size_t i = 0; i < n; i++)
            b[i] = rnd(&seed) % 8 ? (uint8_t)rnd(&seed) : 0xff;
        sum = cksum_add(cksum_add(0, span_of(b, cut)), span_of(b + cut, n - cut));
        assert_int_equal(cksum_fold(sum), (uint16_t)~naive_sum(0, b, n));
    }
    /* RFC 1071 3: the words 0001 f203 f4f5 f6f7 sum to ddf2 */
    assert_int_equal(cksum_fold(cksum_add(0, span_of("\x00\x01\xf2\x03\xf4\xf5\xf6\xf7", 8))),
                     0xffff - 0xddf2);
    /* RFC 1624 4: m = 5555, m' = 3285, checksum dd2f becomes 0000 */
    assert_int_equal(cksum_change(0xdd2f, 0x5555, 0x3285), 0x0000);
}

/* Changing one word at a time keeps agreeing with summing anew, ones and zeros included. */
static void checksum_changes(void **state)
{
    uint8_t b[40];
    uint64_t seed = 8;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        size_t at = rnd(&seed) % 19 * 2;
        uint16_t check, from,
            to = (uint16_t)(rnd(&seed) % 4 ? rnd(&seed) : rnd(&seed) % 2 * 0xffff);

        for (size_t i = 0; i < sizeof(b); i++)
            b[i] = rnd(&seed) % 3 ? (uint8_t)rnd(&seed) : 0;
        set16(b + 38, 0);
        check = (uint16_t)~naive_sum(0, b, sizeof(b));
        from = (uint16_t)(b[at] << 8 | b[at + 1]);
        set16(b + at, to);
        set16(b + 38, cksum_change(check, from, to));
        /* what a receiver sees: all ones, or all zeros summed (RFC 1624 3) */
        assert_true(naive_sum(0, b, sizeof(b)) == 0xffff || naive_sum(0, b, sizeof(b)) == 0);
    }
}

static void v4_checks(void **state)
{
    uint8_t good[64], b[64];
    struct ippkt v;
    size_t n;

    (void)state;
    n = make_udp(good, "10.0.0.1", "192.0.2.9", 64, 44);
    assert_int_equal(ippkt_parse(span_of(good, n), &v), 0);
    assert_int_equal(v.version, 4);
    assert_int_equal(v.proto, IP_PROTO_UDP);
    assert_int_equal(v.hop_limit, 64);
    assert_int_equal(v.upper, 20);
    assert_int_equal(v.len, 44);
    assert_true(v.dont_fragment && !v.fragment && !v.later_fragment && !v.source_routed);
    assert_ptr_equal(v.src, good + 12);
    assert_ptr_equal(v.dst, good + 16);
    /* every shorter or longer length is wrong, and so is every single changed bit */
    for (size_t k = 0; k < sizeof(good); k++)
        if (k != n)
            assert_int_equal(ippkt_parse(span_of(good, k), &v), QUIC_INVAL);
    for (size_t bit = 0; bit < 160; bit++) {
        memcpy(b, good, sizeof(b));
        b[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(ippkt_parse(span_of(b, n), &v), QUIC_INVAL);
    }
    for (unsigned ihl = 0; ihl < 16; ihl++) {
        memcpy(b, good, sizeof(b));
        b[0] = (uint8_t)(0x40 | ihl);
        if (ihl * 4 <= n && ihl > 0) { /* whatever follows as options, with a right checksum */
            set16(b + 10, 0);
            set16(b + 10, (uint16_t)~naive_sum(0, b, ihl * 4));
        }
        if (ihl < 5 || ihl > 11)
            assert_int_equal(ippkt_parse(span_of(b, n), &v), QUIC_INVAL);
    }
}

static void v4_options(void **state)
{
    static const struct {
        uint8_t o[8];
        int err;
        bool routed;
    } row[] = {
        /* clang-format off */
        {{1, 1, 1, 1, 1, 1, 1, 0}, 0, false},
        {{0, 99, 99, 99, 99, 99, 99, 99}, 0, false},
        {{148, 4, 0, 0, 0, 0, 0, 0}, 0, false},            /* router alert */
        {{131, 7, 4, 10, 0, 0, 1, 0}, 0, true},            /* loose source route */
        {{1, 137, 7, 4, 10, 0, 0, 1}, 0, true},            /* strict */
        {{7, 1, 0, 0, 0, 0, 0, 0}, QUIC_INVAL, false},     /* length below 2 */
        {{7, 9, 0, 0, 0, 0, 0, 0}, QUIC_INVAL, false},     /* beyond the header */
        {{1, 1, 1, 1, 1, 1, 1, 7}, QUIC_INVAL, false},     /* no length */
        /* clang-format on */
    };
    uint8_t b[48];
    struct ippkt v;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        make_udp(b, "10.0.0.1", "192.0.2.9", 64, 28);
        memmove(b + 28, b + 20, 8);
        memcpy(b + 20, row[i].o, 8);
        b[0] = 0x47;
        set16(b + 2, 36);
        fix_v4(b);
        assert_int_equal(ippkt_parse(span_of(b, 36), &v), row[i].err);
        if (row[i].err == 0) {
            assert_int_equal(v.source_routed, row[i].routed);
            assert_int_equal(v.upper, 28);
        }
    }
}

static void v4_fragments(void **state)
{
    static const struct {
        uint16_t word;
        bool fragment, later, df;
    } row[] = {
        {0x0000, false, false, false}, {0x4000, false, false, true},
        {0x2000, true, false, false},  {0x2001, true, true, false},
        {0x0001, true, true, false},   {0x1fff, true, true, false},
        {0x8000, false, false, false},
    };
    uint8_t b[48];
    struct ippkt v;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        make_udp(b, "10.0.0.1", "192.0.2.9", 64, 40);
        set16(b + 6, row[i].word);
        fix_v4(b);
        assert_int_equal(ippkt_parse(span_of(b, 40), &v), 0);
        assert_int_equal(v.fragment, row[i].fragment);
        assert_int_equal(v.later_fragment, row[i].later);
        assert_int_equal(v.dont_fragment, row[i].df);
        assert_int_equal(v.upper, row[i].later ? 40 : 20);
    }
}

/* IPv6 with the given bytes behind its header; the first is of type `next`. */
static size_t make_v6(uint8_t *b, uint8_t next, const uint8_t *body, size_t n)
{
    return make_packet(b, "fd00::1", "2001:db8::9", next, 64, body, n);
}

static void v6_walk(void **state)
{
    static const struct {
        uint8_t next;
        uint8_t body[40];
        size_t n;
        int err;
        uint8_t proto;
        size_t upper;
        bool fragment, later, routed;
    } row[] = {
        /* clang-format off */
        {17, {0}, 8, 0, 17, 40, 0, 0, 0},
        {59, {0}, 8, 0, 59, 48, 0, 0, 0},                            /* no next header */
        {17, {0}, 0, 0, 17, 40, 0, 0, 0},
        {0,  {17, 0}, 16, 0, 17, 48, 0, 0, 0},                       /* hop by hop */
        {0,  {60, 0, 0, 0, 0, 0, 0, 0, 6, 1}, 32, 0, 6, 64, 0, 0, 0}, /* then 16 of options */
        {60, {17, 0}, 7, QUIC_INVAL, 0, 0, 0, 0, 0},                 /* less than 8 bytes */
        {60, {17, 1}, 15, QUIC_INVAL, 0, 0, 0, 0, 0},                /* less than it says */
        {60, {17, 255}, 40, QUIC_INVAL, 0, 0, 0, 0, 0},
        {44, {17, 0, 0, 1}, 16, 0, 17, 48, 1, 0, 0},                 /* first fragment */
        {44, {17, 0, 0, 0}, 16, 0, 17, 48, 0, 0, 0},                 /* atomic fragment */
        {44, {17, 0, 0, 8}, 16, 0, 17, 56, 1, 1, 0},                 /* the last one */
        {44, {60, 0, 0, 9}, 16, 0, 60, 56, 1, 1, 0},                 /* type is not walked */
        {44, {17, 0, 0, 6}, 16, 0, 17, 48, 0, 0, 0},                 /* reserved bits */
        {44, {17}, 4, QUIC_INVAL, 0, 0, 0, 0, 0},
        {43, {17, 2, 0, 1}, 32, 0, 17, 64, 0, 0, 1},                 /* type 0 in use */
        {43, {17, 2, 0, 0}, 32, 0, 17, 64, 0, 0, 0},                 /* type 0, used up */
        {43, {17, 2, 2, 1}, 32, 0, 17, 64, 0, 0, 0},                 /* type 2: mobility */
        {51, {17, 4}, 32, 0, 17, 64, 0, 0, 0},                       /* AH: 4-byte units */
        {51, {17, 5}, 24, QUIC_INVAL, 0, 0, 0, 0, 0},
        {50, {0}, 16, 0, 50, 40, 0, 0, 0},                           /* ESP hides the rest */
        {253, {0}, 16, 0, 253, 40, 0, 0, 0},
        /* clang-format on */
    };
    uint8_t b[128];
    struct ippkt v;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        size_t n = make_v6(b, row[i].next, row[i].body, row[i].n);
        uint8_t *exact = malloc(n);

        assert_non_null(exact);
        memcpy(exact, b, n);
        if (ippkt_parse(span_of(exact, n), &v) != row[i].err)
            fail_msg("row %zu", i);
        if (row[i].err == 0 &&
            (v.proto != row[i].proto || v.upper != row[i].upper ||
             v.fragment != row[i].fragment || v.later_fragment != row[i].later ||
             v.source_routed != row[i].routed || !v.dont_fragment || v.len != n))
            fail_msg("row %zu: proto %u upper %u", i, v.proto, v.upper);
        free(exact);
    }
}

/* A chain of headers is walked so far and no further. */
static void v6_long_chain(void **state)
{
    uint8_t b[40 + 8 * (IPPKT_EXT_MAX + 2)], body[8 * (IPPKT_EXT_MAX + 2)];
    struct ippkt v;

    (void)state;
    for (size_t k = 1; k <= IPPKT_EXT_MAX + 1; k++) {
        memset(body, 0, sizeof(body));
        for (size_t i = 0; i < k; i++)
            body[8 * i] = i + 1 < k ? IP_PROTO_DSTOPTS : IP_PROTO_UDP;
        size_t n = make_v6(b, IP_PROTO_DSTOPTS, body, 8 * (k + 1));

        assert_int_equal(ippkt_parse(span_of(b, n), &v), k <= IPPKT_EXT_MAX ? 0 : QUIC_INVAL);
    }
}

static void v6_lengths(void **state)
{
    uint8_t b[80];
    struct ippkt v;
    size_t n;

    (void)state;
    n = make_udp(b, "fd00::1", "2001:db8::9", 64, 60);
    assert_int_equal(ippkt_parse(span_of(b, n), &v), 0);
    assert_ptr_equal(v.src, b + 8);
    assert_ptr_equal(v.dst, b + 24);
    for (size_t k = 0; k < sizeof(b); k++)
        if (k != n)
            assert_int_equal(ippkt_parse(span_of(b, k), &v), QUIC_INVAL);
    b[0] = 0x50;
    assert_int_equal(ippkt_parse(span_of(b, n), &v), QUIC_INVAL);
}

/* Every value of the ECN field in every traffic class; what is around it stays. */
static void ecn(void **state)
{
    uint8_t b[80], was[80];
    struct ippkt v;

    (void)state;
    for (unsigned tc = 0; tc < 256; tc++) {
        make_udp(b, "10.0.0.1", "192.0.2.9", 64, 40);
        b[1] = (uint8_t)tc;
        fix_v4(b);
        assert_true(ippkt_ecn(b) == (tc & 3) && ippkt_is_udp(b));
        memcpy(was, b, 80);
        ippkt_set_ce(b);
        assert_int_equal(b[1], tc | 3);
        assert_int_equal(ippkt_parse(span_of(b, 40), &v), 0); /* the checksum, too */
        fix_v4(was);
        was[1] |= 3;
        memcpy(was + 10, b + 10, 2);
        assert_memory_equal(b, was, 80);
        make_udp(b, "fd00::1", "fd00::2", 64, 60);
        b[0] = (uint8_t)(0x60 | tc >> 4);
        b[1] = (uint8_t)(tc << 4 | 5);
        assert_true(ippkt_ecn(b) == (tc & 3) && ippkt_is_udp(b));
        ippkt_set_ce(b);
        assert_true(b[0] == (0x60 | tc >> 4) && b[1] == (uint8_t)((tc | 3) << 4 | 5));
    }
}

/* QUIC's long header, in all that could be of UDP's payload. */
static void quic(void **state)
{
    static const struct {
        uint8_t first;
        uint32_t version;
        bool is;
    } t[] = {
        {0xc0, 1, true},           {0xff, 1, true},           {0xc3, 0x6b3343cf, true},
        {0x40, 1, false},          {0x80, 1, false},          {0xc0, 0, false},
        {0xc0, 2, false},          {0xc0, 0x01000000, false}, {0xc0, 0x6b3343ce, false},
        {0xc0, 0xff00001d, false},
    };
    static const struct {
        const char *src, *dst;
        size_t at;
    } ip[] = {{"10.0.0.1", "192.0.2.9", 28}, {"fd00::1", "fd00::2", 48}};
    uint8_t b[80];

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(ip); k++)
        for (size_t i = 0; i < ARRAY_LEN(t); i++) {
            size_t at = ip[k].at;

            make_udp(b, ip[k].src, ip[k].dst, 64, 80);
            b[at] = t[i].first;
            set16(b + at + 1, t[i].version >> 16);
            set16(b + at + 3, t[i].version & 0xffff);
            for (size_t n = 0; n <= 80; n++)
                assert_int_equal(ippkt_is_quic(b, n), t[i].is && n >= at + 5);
        }
    make_udp(b, "10.0.0.1", "192.0.2.9", 64, 80);
    b[0] = 0x46; /* with options */
    b[32] = 0xc0;
    set16(b + 33, 0);
    set16(b + 35, 1);
    assert_true(ippkt_is_quic(b, 37) && !ippkt_is_quic(b, 36));
}

static void hop_limit(void **state)
{
    uint8_t b[80];
    struct ippkt v;
    uint64_t seed = 2;

    (void)state;
    for (unsigned hops = 0; hops < 256; hops++) {
        make_udp(b, "10.0.0.1", "192.0.2.9", (uint8_t)hops, 40);
        set16(b + 4, (unsigned)rnd(&seed));
        fix_v4(b);
        assert_int_equal(ippkt_hop_decrement(b), hops > 1);
        assert_int_equal(b[8], hops > 1 ? hops - 1 : hops);
        assert_int_equal(ippkt_parse(span_of(b, 40), &v), 0);
        make_udp(b, "fd00::1", "fd00::2", (uint8_t)hops, 60);
        assert_int_equal(ippkt_hop_decrement(b), hops > 1);
        assert_int_equal(b[7], hops > 1 ? hops - 1 : hops);
    }
}

static uint32_t hash_of(const uint8_t *b, size_t n, uint64_t seed)
{
    struct ippkt v;

    assert_int_equal(ippkt_parse(span_of(b, n), &v), 0);
    return ippkt_flow_hash(&v, span_of(b, n), seed);
}

static void flow_hash(void **state)
{
    uint8_t a[80], b[80];
    uint32_t h, seen[256] = {0}, same = 0;
    size_t n;

    (void)state;
    for (int v6 = 0; v6 < 2; v6++) {
        const char *src = v6 ? "fd00::1" : "10.0.0.1", *dst = v6 ? "fd00::9" : "10.0.0.9";
        size_t head = v6 ? 40 : 20;

        n = make_udp(a, src, dst, 64, 76);
        h = hash_of(a, n, 1);
        assert_int_not_equal(h, hash_of(a, n, 2)); /* the seed counts */
        n = make_udp(b, src, dst, 3, 76);
        b[n - 1] ^= 1;
        assert_int_equal(h, hash_of(b, n, 1)); /* hop limit and payload don't */
        b[head] ^= 1;
        assert_int_not_equal(h, hash_of(b, n, 1)); /* ports do */
        n = make_udp(b, dst, src, 64, 76);
        assert_int_not_equal(h, hash_of(b, n, 1));
    }
    /* fragments of one packet stay together, with and without ports in them */
    make_udp(a, "10.0.0.1", "10.0.0.9", 64, 60);
    set16(a + 6, 0x2000);
    fix_v4(a);
    make_udp(b, "10.0.0.1", "10.0.0.9", 64, 60);
    set16(b + 6, 0x0003);
    set16(b + 20, 9999);
    fix_v4(b);
    assert_int_equal(hash_of(a, 60, 1), hash_of(b, 60, 1));
    /* echo: the identifier counts, the sequence number does not */
    n = make_packet(a, "10.0.0.1", "10.0.0.9", 1, 64, "\x08\0\0\0\x12\x34\0\1", 8);
    h = hash_of(a, n, 1);
    n = make_packet(a, "10.0.0.1", "10.0.0.9", 1, 64, "\x08\0\0\0\x12\x34\0\2", 8);
    assert_int_equal(h, hash_of(a, n, 1));
    n = make_packet(a, "10.0.0.1", "10.0.0.9", 1, 64, "\x08\0\0\0\x12\x35\0\2", 8);
    assert_int_not_equal(h, hash_of(a, n, 1));
    /* spread: 65536 flows over 256 classes, none is far from its share */
    for (unsigned port = 0; port < 65536; port++) {
        make_udp(a, "10.0.0.1", "10.0.0.9", 64, 28);
        set16(a + 20, port);
        h = hash_of(a, 28, 77);
        seen[h % 256]++;
        same += h % 256 == h >> 24;
    }
    for (unsigned i = 0; i < 256; i++)
        assert_in_range(seen[i], 256 - 100, 256 + 100);
    assert_in_range(same, 256 - 100, 256 + 100);
    /* too short for ports: no read beyond the end */
    n = make_packet(b, "10.0.0.1", "10.0.0.9", IP_PROTO_TCP, 64, "\1\2\3", 3);
    uint8_t *exact = malloc(n);
    assert_non_null(exact);
    memcpy(exact, b, n);
    hash_of(exact, n, 1);
    free(exact);
}

static void icmp_errors(void **state)
{
    static const struct {
        bool v6;
        int type; /* -1: no type byte at all */
        bool error;
    } row[] = {
        {false, 0, false},  {false, 3, true},   {false, 4, true},   {false, 5, true},
        {false, 8, false},  {false, 9, false},  {false, 10, false}, {false, 11, true},
        {false, 12, true},  {false, 13, false}, {false, 18, false}, {false, 19, true},
        {false, 200, true}, {false, -1, true},  {true, 1, true},    {true, 2, true},
        {true, 3, true},    {true, 127, true},  {true, 128, false}, {true, 129, false},
        {true, 135, false}, {true, 137, true},  {true, 138, false}, {true, -1, true},
    };
    uint8_t b[80];
    struct ippkt v;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        uint8_t body[8] = {(uint8_t)row[i].type};
        size_t n = make_packet(b, row[i].v6 ? "fd00::1" : "10.0.0.1",
                               row[i].v6 ? "fd00::2" : "10.0.0.2", row[i].v6 ? 58 : 1, 64, body,
                               row[i].type < 0 ? 0 : 8);

        assert_int_equal(ippkt_parse(span_of(b, n), &v), 0);
        assert_int_equal(ippkt_icmp_error(&v, span_of(b, n)), row[i].error);
    }
    make_udp(b, "10.0.0.1", "10.0.0.2", 64, 40);
    assert_int_equal(ippkt_parse(span_of(b, 40), &v), 0);
    assert_false(ippkt_icmp_error(&v, span_of(b, 40)));
    /* the other family's ICMP is just a protocol */
    size_t n = make_packet(b, "10.0.0.1", "10.0.0.2", 58, 64, "\1\0\0\0\0\0\0", 8);
    assert_int_equal(ippkt_parse(span_of(b, n), &v), 0);
    assert_false(ippkt_is_icmp(&v));
}

static void mss_clamp(void **state)
{
    static const struct {
        uint8_t flags, options[12];
        size_t n; /* of options */
        size_t mtu;
        int mss_at, mss; /* offset in the options; 0: unchanged */
    } row[] = {
        /* clang-format off */
        {0x02, {2, 4, 0x05, 0xb4}, 4, 1400, 2, 1360},
        {0x12, {2, 4, 0x05, 0xb4}, 4, 1400, 2, 1360},               /* SYN ACK */
        {0x02, {1, 2, 4, 0x05, 0xb4, 0, 0, 0}, 8, 1400, 3, 1360},   /* at an odd offset */
        {0x02, {4, 2, 1, 1, 2, 4, 0xff, 0xff}, 8, 1280, 6, 1240},
        {0x02, {2, 4, 0x05, 0xb4, 5, 99, 1, 1}, 8, 1400, 2, 1360},  /* malformed behind it */
        {0x02, {2, 4, 0x01, 0x00, 2, 4, 0x05, 0xb4}, 8, 1400, 6, 1360},
        {0x02, {2, 4, 0x05, 0xb4, 0, 0, 0, 0}, 8, 1400, 2, 1360},
        {0x02, {2, 4, 0x05, 0x50}, 4, 1400, 0, 0},                  /* 1360 already fits */
        {0x02, {2, 4, 0x02, 0x18}, 4, 1400, 0, 0},
        {0x10, {2, 4, 0x05, 0xb4}, 4, 1400, 0, 0},                  /* no SYN */
        {0x02, {2, 3, 0x05, 0xb4}, 4, 1400, 0, 0},                  /* wrong length */
        {0x02, {0, 2, 4, 0x05, 0xb4, 0, 0, 0}, 8, 1400, 0, 0},      /* behind the end */
        {0x02, {3, 0, 2, 4, 0x05, 0xb4, 0, 0}, 8, 1400, 0, 0},      /* length 0 */
        {0x02, {8, 10, 2, 4, 0x05, 0xb4, 0, 0}, 8, 1400, 0, 0},     /* beyond the header */
        {0x02, {1, 1, 1, 2}, 4, 1400, 0, 0},
        {0x02, {1, 1, 2, 2}, 4, 1400, 0, 0},                        /* what is behind is data */
        {0x02, {1, 2, 3, 0xff}, 4, 1400, 0, 0},
        {0x02, {1, 2, 4, 0xff}, 4, 1400, 0, 0},
        {0x02, {2, 6, 0xff, 0xff, 0xff, 0xff, 0, 0}, 8, 1400, 0, 0},
        {0x02, {2, 2, 2, 4, 0xff, 0xff, 0, 0}, 8, 1400, 4, 1360},   /* well formed, no value */
        {0x02, {2, 1, 2, 4, 0xff, 0xff, 0, 0}, 8, 1400, 0, 0},
        {0x02, {19, 4, 2, 4, 2, 4, 0xff, 0xff}, 8, 1400, 6, 1360},  /* another's bytes */
        {0x02, {0}, 0, 1400, 0, 0},
        {0x02, {2, 4, 0x05, 0xb4}, 4, 30, 0, 0},                    /* an MTU that can't be */
        /* clang-format on */
    };
    uint8_t tcp[64], b[128], before[128];
    struct ippkt v;
    size_t n_ext;

    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(row); i++) {
        size_t r = i / 2, head = i % 2 ? 40 : 20, n, tn = 20 + row[r].n + 5;
        /* an IPv6 header is 20 longer, so the same MSS belongs to an MTU 20 higher */
        size_t mtu = row[r].mtu + head - 20;

        memset(tcp, 0x5a, sizeof(tcp));
        tcp[12] = (uint8_t)((20 + row[r].n) / 4 << 4);
        tcp[13] = row[r].flags;
        memcpy(tcp + 20, row[r].options, row[r].n);
        set16(tcp + 16, 0);
        n = make_packet(b, i % 2 ? "fd00::1" : "10.0.0.1", i % 2 ? "fd00::2" : "10.0.0.2",
                        IP_PROTO_TCP, 64, tcp, tn);
        set16(b + head + 16, (uint16_t)~upper_sum(b, head, IP_PROTO_TCP, tn));
        memcpy(before, b, n);
        assert_int_equal(ippkt_parse(span_of(b, n), &v), 0);
        if (ippkt_mss_clamp(&v, b, mtu) != (row[r].mss_at > 0))
            fail_msg("row %zu", r);
        if (row[r].mss_at == 0) {
            assert_memory_equal(b, before, n);
            continue;
        }
        const uint8_t *mss = b + head + 20 + row[r].mss_at;

        assert_int_equal(mss[0] << 8 | mss[1], row[r].mss);
        assert_int_equal(upper_sum(b, head, IP_PROTO_TCP, tn), 0xffff);
        assert_false(ippkt_mss_clamp(&v, b, mtu));
    }
    /* each MSS option counts, since a receiver may take either */
    memset(tcp, 0, sizeof(tcp));
    tcp[12] = 0x70;
    tcp[13] = 0x02;
    memcpy(tcp + 20, "\x02\x04\xff\xff\x02\x04\x05\xb4", 8);
    size_t two = make_packet(b, "10.0.0.1", "10.0.0.2", IP_PROTO_TCP, 64, tcp, 28);
    set16(b + 36, (uint16_t)~upper_sum(b, 20, IP_PROTO_TCP, 28));
    assert_int_equal(ippkt_parse(span_of(b, two), &v), 0);
    assert_true(ippkt_mss_clamp(&v, b, 1400));
    assert_memory_equal(b + 40, "\x02\x04\x05\x50\x02\x04\x05\x50", 8);
    assert_int_equal(upper_sum(b, 20, IP_PROTO_TCP, 28), 0xffff);

    /* behind extension headers: the MSS is without them (RFC 6691) */
    uint8_t ext[24 + 24] = {IP_PROTO_DSTOPTS, 0, 1, 4, 0, 0, 0, 0, IP_PROTO_TCP, 1, 1, 12};
    memcpy(ext + 24, tcp, 24);
    ext[24 + 12] = 0x60;
    n_ext = make_packet(b, "fd00::1", "fd00::2", IP_PROTO_HOPOPT, 64, ext, sizeof(ext));
    set16(b + 64 + 16, 0);
    set16(b + 64 + 16, (uint16_t)~upper_sum(b, 64, IP_PROTO_TCP, 24));
    assert_int_equal(ippkt_parse(span_of(b, n_ext), &v), 0);
    assert_int_equal(v.upper, 64);
    assert_true(ippkt_mss_clamp(&v, b, 1400));
    assert_memory_equal(b + 64 + 20, "\x02\x04\x05\x3c", 4);
    assert_int_equal(upper_sum(b, 64, IP_PROTO_TCP, 24), 0xffff);

    /* a fragment and a header cut short are left alone */
    memset(tcp, 0, sizeof(tcp));
    memcpy(tcp + 20, "\x02\x04\xff\xff", 4);
    tcp[12] = 0x60;
    tcp[13] = 0x02;
    size_t n = make_packet(b, "10.0.0.1", "10.0.0.2", IP_PROTO_TCP, 64, tcp, 24);
    set16(b + 6, 0x2000);
    fix_v4(b);
    assert_int_equal(ippkt_parse(span_of(b, n), &v), 0);
    assert_false(ippkt_mss_clamp(&v, b, 1400));
    for (size_t k = 0; k < 24; k++) {
        n = make_packet(b, "10.0.0.1", "10.0.0.2", IP_PROTO_TCP, 64, tcp, k);
        uint8_t *exact = malloc(n);

        assert_non_null(exact);
        memcpy(exact, b, n);
        assert_int_equal(ippkt_parse(span_of(exact, n), &v), 0);
        assert_false(ippkt_mss_clamp(&v, exact, 1400));
        free(exact);
    }
}

/* Of a TCP packet's flow, and of the one in which it is answered. */
static void flow_hash_back(void **state)
{
    static const char *const ends[][2] = {{"10.0.0.1", "192.0.2.9"},
                                          {"fd00::1", "2001:db8::9"},
                                          {"10.0.0.1", "10.0.0.1"},
                                          {"fd00::1", "fd00::1"}};
    uint8_t tcp[20] = {0x12, 0x34, 0xab, 0xcd, [12] = 0x50}, a[80], b[80];
    struct ippkt v;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        size_t n = make_packet(a, ends[i][0], ends[i][1], IP_PROTO_TCP, 64, tcp, 20);
        uint32_t back;

        assert_int_equal(ippkt_parse(span_of(a, n), &v), 0);
        back = ippkt_flow_hash_back(&v, span_of(a, n), 5);
        assert_int_not_equal(back, hash_of(a, n, 5));
        make_packet(b, ends[i][1], ends[i][0], IP_PROTO_TCP, 64, tcp, 20);
        assert_int_not_equal(back, hash_of(b, n, 5)); /* with the same ports */
        memcpy(b + n - 20, "\xab\xcd\x12\x34", 4);
        assert_int_equal(back, hash_of(b, n, 5));
        assert_int_not_equal(back, hash_of(b, n, 6));
        assert_int_equal(ippkt_parse(span_of(b, n), &v), 0);
        assert_int_equal(ippkt_flow_hash_back(&v, span_of(b, n), 5), hash_of(a, n, 5));
    }
}

static void tcp_offset(void **state)
{
    static const struct {
        const char *src;
        uint8_t options; /* bytes of them, in IPv4's header */
        uint16_t fragment;
        uint8_t proto;
        size_t n; /* behind that */
        size_t at;
    } row[] = {
        {"10.0.0.1", 0, 0x4000, 6, 20, 20}, {"10.0.0.1", 0, 0x8000, 6, 60, 20},
        {"10.0.0.1", 4, 0, 6, 20, 24},      {"10.0.0.1", 40, 0, 6, 20, 60},
        {"10.0.0.1", 40, 0, 6, 19, 0},      {"10.0.0.1", 0, 0, 6, 19, 0},
        {"10.0.0.1", 0, 0, 6, 0, 0},        {"10.0.0.1", 0, 0x2000, 6, 20, 0},
        {"10.0.0.1", 0, 0x0001, 6, 20, 0},  {"10.0.0.1", 0, 0x0100, 6, 20, 0},
        {"10.0.0.1", 0, 0x5fff, 6, 20, 0},  {"10.0.0.1", 0, 0, 17, 20, 0},
        {"10.0.0.1", 0, 0, 1, 20, 0},       {"fd00::1", 0, 0, 6, 20, 40},
        {"fd00::1", 0, 0, 6, 32, 40},       {"fd00::1", 0, 0, 6, 19, 0},
        {"fd00::1", 0, 0, 6, 0, 0},         {"fd00::1", 0, 0, 17, 20, 0},
        {"fd00::1", 0, 0, 0, 32, 0}, /* not right behind its header */
        {"fd00::1", 0, 0, 44, 32, 0},       {"fd00::1", 0, 0, 60, 32, 0},
    };
    uint8_t b[160], upper[64] = {6, 0, 0, 1};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        uint8_t options[64] = {0}, *exact;
        struct ippkt v;
        size_t n;

        memcpy(options + row[i].options, upper, row[i].n);
        n = make_packet(b, row[i].src, row[i].src, row[i].proto, 64, options,
                        row[i].options + row[i].n);
        if (b[0] == 0x45) {
            b[0] += row[i].options / 4;
            set16(b + 6, row[i].fragment);
            fix_v4(b);
        }
        assert_int_equal(ippkt_parse(span_of(b, n), &v), 0);
        exact = malloc(n);
        assert_non_null(exact);
        memcpy(exact, b, n);
        if (ippkt_tcp(exact, n) != row[i].at)
            fail_msg("row %zu: %zu", i, ippkt_tcp(exact, n));
        free(exact);
    }
}

static void tcp_read(void **state)
{
    static const struct {
        uint8_t flags, offset, options[40];
        size_t n; /* of all behind the first 20 bytes */
        int data; /* -1: not read */
        int scale;
        bool signs;
    } row[] = {
        /* clang-format off */
        {0x10, 5, {0}, 0, 0, -1, false},
        {0x18, 5, {3, 3, 7}, 10, 10, -1, false},                  /* data, no option */
        {0x02, 5, {3, 3, 7}, 10, 10, -1, false},
        {0x02, 6, {3, 3, 7}, 4, 0, 7, false},
        {0x12, 6, {3, 3, 7}, 9, 5, 7, false},
        {0x10, 6, {3, 3, 7}, 4, 0, -1, false},                    /* no SYN */
        {0x02, 6, {3, 3, 0}, 4, 0, 0, false},
        {0x02, 6, {3, 3, 14}, 4, 0, 14, false},
        {0x02, 6, {3, 3, 15}, 4, 0, 14, false},
        {0x02, 6, {3, 3, 0x80}, 4, 0, 14, false},
        {0x02, 6, {3, 3, 0xff}, 4, 0, 14, false},
        {0x02, 6, {1, 3, 3, 9}, 4, 0, 9, false},                  /* at an odd offset */
        {0x02, 7, {2, 4, 5, 0xb4, 1, 3, 3, 9}, 8, 0, 9, false},
        {0x02, 7, {2, 3, 5, 3, 3, 6, 1, 1}, 8, 0, 6, false},      /* another of wrong length */
        {0x02, 7, {3, 3, 2, 3, 3, 8, 0, 0}, 8, 0, 8, false},      /* the last one, */
        {0x02, 7, {3, 4, 2, 2, 3, 3, 8, 0}, 8, 0, 8, false},      /* that is well formed */
        {0x02, 7, {3, 2, 3, 3, 5, 1, 1, 1}, 8, 0, 5, false},
        {0x02, 6, {3, 4, 7, 7}, 4, 0, -1, false},
        {0x02, 6, {3, 2, 7, 7}, 4, 0, -1, false},
        {0x02, 6, {3, 1, 7, 7}, 4, 0, -1, false},
        {0x02, 6, {3, 0, 7, 7}, 4, 0, -1, false},
        {0x02, 7, {5, 0, 3, 3, 7, 0, 0, 0}, 8, 0, -1, false},     /* behind what is malformed */
        {0x02, 7, {5, 1, 3, 3, 7, 0, 0, 0}, 8, 0, -1, false},
        {0x02, 7, {5, 9, 3, 3, 7, 0, 0, 0}, 8, 0, -1, false},
        {0x02, 7, {0, 3, 3, 7, 0, 0, 0, 0}, 8, 0, -1, false},     /* behind the end */
        {0x02, 6, {1, 1, 3, 3, 7}, 8, 4, -1, false},              /* cut short by it */
        {0x02, 6, {1, 1, 1, 3, 3, 7}, 8, 4, -1, false},
        {0x02, 15, {[37] = 3, 3, 7}, 40, 0, -1, false},
        {0x02, 15, {[0] = 8, 37, [37] = 3, 3, 7}, 40, 0, 7, false}, /* the last bytes there are */
        {0x02, 15, {3, 3, 7}, 39, -1, -1, false},
        {0x02, 6, {3, 3, 7}, 3, -1, -1, false},
        {0x02, 6, {0}, 0, -1, -1, false},
        {0x02, 4, {3, 3, 7}, 40, -1, -1, false},
        {0x02, 0, {3, 3, 7}, 40, -1, -1, false},
        {0x02, 6, {1, 1, 3, 2}, 9, 5, -1, false},                 /* what is behind is data */
        {0x02, 6, {1, 1, 1, 3}, 4, 0, -1, false},
        {0x02, 6, {1, 1, 2, 2}, 4, 0, -1, false},
        {0x02, 6, {1, 3, 3, 7}, 4, 0, 7, false},
        {0x02, 6, {19, 2, 0, 0}, 4, 0, -1, true},                 /* of any length */
        {0x02, 6, {1, 1, 29, 2}, 4, 0, -1, true},
        {0x02, 6, {29, 4, 3, 3}, 7, 3, -1, true},
        {0x12, 7, {29, 4, 1, 2, 3, 3, 7, 0}, 8, 0, 7, true},
        {0x12, 7, {3, 3, 7, 29, 4, 1, 2, 0}, 8, 0, 7, true},
        {0x02, 11, {3, 3, 7, 19, 18}, 24, 0, 7, true},
        {0x02, 7, {29, 4, 1, 2, 30, 4, 1, 2}, 8, 0, -1, true},
        {0x10, 6, {29, 4, 1, 2}, 4, 0, -1, false},                /* no SYN */
        {0x02, 7, {30, 4, 29, 4, 3, 3, 7, 0}, 8, 0, 7, false},    /* another's bytes */
        {0x02, 7, {18, 4, 19, 4, 20, 4, 29, 2}, 8, 0, -1, false},
        {0x02, 6, {1, 1, 1, 29}, 4, 0, -1, false},
        {0x02, 6, {1, 1, 19, 3}, 4, 0, -1, false},                /* malformed */
        {0x02, 6, {29, 1, 0, 0}, 4, 0, -1, false},
        {0x02, 6, {19, 0, 0, 0}, 4, 0, -1, false},
        {0x02, 7, {3, 3, 7, 5, 0, 29, 2, 0}, 8, 0, 7, false},     /* behind it */
        {0x02, 7, {3, 3, 7, 0, 29, 2, 0, 0}, 8, 0, 7, false},     /* behind the end */
        {0x02, 6, {0}, 8, 4, -1, false},
        /* clang-format on */
    };

    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(row); i++) {
        size_t r = i / 2, at = i % 2 ? 40 : 20, n = at + 20 + row[r].n;
        uint8_t *b = malloc(n), *t = b + at;
        struct ippkt_tcp got;

        assert_non_null(b);
        memset(b, 3, at);
        memcpy(t, "\1\2\3\4\x85\6\7\x88\x99\x0a\x0b\x8c", 12);
        t[12] = (uint8_t)(row[r].offset << 4 | 0xf);
        t[13] = row[r].flags;
        memcpy(t + 14, "\xfe\xdc\0\0\0\0", 6);
        memcpy(t + 20, row[r].options, row[r].n);
        if (ippkt_tcp_read(b, n, at, &got) != (row[r].data >= 0))
            fail_msg("row %zu", r);
        if (row[r].data >= 0 &&
            (got.flags != row[r].flags || got.window != 0xfedc || got.scale != row[r].scale ||
             got.seq != 0x85060788 || got.signs != row[r].signs || got.ack != 0x990a0b8c ||
             got.data != (uint32_t)row[r].data))
            fail_msg("row %zu: scale %d, data %u", r, got.scale, (unsigned)got.data);
        free(b);
    }
}

/* Any window to any other, in any packet: the checksum stays as right as it was. */
static void tcp_window(void **state)
{
    uint8_t tcp[60], b[128];
    uint64_t seed = 6;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        bool v6 = rnd(&seed) % 2;
        size_t head = v6 ? 40 : 20, len = 20 + rnd(&seed) % 41;
        uint16_t to = (uint16_t)(rnd(&seed) % 4 ? rnd(&seed) : rnd(&seed) % 2 * 0xffff);

        for (size_t i = 0; i < len; i++)
            tcp[i] = rnd(&seed) % 3 ? (uint8_t)rnd(&seed) : 0;
        set16(tcp + 16, 0);
        make_packet(b, v6 ? "fd00::1" : "10.0.0.1", v6 ? "fd00::2" : "10.0.0.2", IP_PROTO_TCP,
                    64, tcp, len);
        set16(b + head + 16, (uint16_t)~upper_sum(b, head, IP_PROTO_TCP, len));
        memcpy(tcp, b + head, len);
        ippkt_tcp_window(b + head, to);
        assert_int_equal(upper_sum(b, head, IP_PROTO_TCP, len), 0xffff);
        set16(tcp + 14, to);
        memcpy(tcp + 16, b + head + 16, 2);
        assert_memory_equal(b + head, tcp, len); /* nothing else */
        /* a wrong one stays wrong */
        b[head + 16] ^= 1;
        ippkt_tcp_window(b + head, (uint16_t)~to);
        assert_int_not_equal(upper_sum(b, head, IP_PROTO_TCP, len), 0xffff);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksums),
        cmocka_unit_test(checksum_changes),
        cmocka_unit_test(v4_checks),
        cmocka_unit_test(v4_options),
        cmocka_unit_test(v4_fragments),
        cmocka_unit_test(v6_walk),
        cmocka_unit_test(v6_long_chain),
        cmocka_unit_test(v6_lengths),
        cmocka_unit_test(ecn),
        cmocka_unit_test(quic),
        cmocka_unit_test(hop_limit),
        cmocka_unit_test(flow_hash),
        cmocka_unit_test(icmp_errors),
        cmocka_unit_test(mss_clamp),
        cmocka_unit_test(flow_hash_back),
        cmocka_unit_test(tcp_offset),
        cmocka_unit_test(tcp_read),
        cmocka_unit_test(tcp_window),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
