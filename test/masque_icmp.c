/* icmp: the errors byte by byte, when there must be none, size bounds, the rate. */
#include "test/masque_util.h"

#include "masque/icmp.h"

static const char *const self_text[2] = {"192.0.2.1", "2001:db8::1"};

static void kinds(void **state)
{
    static const uint8_t codes[ICMP_KINDS][4] = {
        /* v4 type, code; v6 type, code (RFC 792, RFC 1812 5.2.7.1, RFC 4443 3) */
        [ICMP_NO_ROUTE] = {3, 0, 1, 0},       [ICMP_PROHIBITED] = {3, 13, 1, 1},
        [ICMP_SOURCE_POLICY] = {3, 13, 1, 5}, [ICMP_TOO_BIG] = {3, 4, 2, 0},
        [ICMP_TIME_EXCEEDED] = {11, 0, 3, 0},
    };
    uint8_t in[1500], out[ICMP_MAX];
    uint64_t seed = 6;

    (void)state;
    for (int kind = 0; kind < ICMP_KINDS; kind++) {
        for (int round = 0; round < 300; round++) {
            bool v6 = round % 2;
            size_t head = v6 ? 40 : 20, max = v6 ? 1280 : 576;
            size_t len = head + 8 + rnd(&seed) % (sizeof(in) - head - 7), n, quote;
            struct ip_addr self = addr(self_text[v6]);
            struct ippkt v;
            const uint8_t *m = out + head;

            make_udp(in, v6 ? "fd00::5" : "10.0.0.5", v6 ? "fd00::9" : "10.0.0.9", 1, len);
            n = icmp_error_build((enum icmp_kind)kind, &self, span_of(in, len), 1400, out,
                                 sizeof(out));
            quote = len < max - head - 8 ? len : max - head - 8;
            assert_int_equal(n, head + 8 + quote);
            assert_int_equal(ippkt_parse(span_of(out, n), &v), 0);
            assert_memory_equal(v.src, self.b, ip_size(self.version));
            assert_memory_equal(v.dst, v6 ? in + 8 : in + 12, ip_size(self.version));
            assert_int_equal(v.hop_limit, 64);
            assert_true(ippkt_is_icmp(&v) && ippkt_icmp_error(&v, span_of(out, n)));
            assert_int_equal(m[0], codes[kind][v6 ? 2 : 0]);
            assert_int_equal(m[1], codes[kind][v6 ? 3 : 1]);
            assert_int_equal(
                v6 ? upper_sum(out, head, 58, n - head) : naive_sum(0, m, n - head), 0xffff);
            assert_int_equal(m[4] << 24 | m[5] << 16 | m[6] << 8 | m[7],
                             kind == ICMP_TOO_BIG ? 1400 : 0);
            assert_memory_equal(m + 8, in, quote);
        }
    }
}

/* One message written out: time exceeded about a 28-byte UDP packet. */
static void bytes(void **state)
{
    static const uint8_t want[] = {
        /* clang-format off */
        0x45, 0xc0, 0x00, 0x38, 0x00, 0x00, 0x40, 0x00, 0x40, 0x01, 0x6d, 0xff,
        192, 0, 2, 1, 10, 0, 0, 5,
        0x0b, 0x00, 0x09, 0x27, 0x00, 0x00, 0x00, 0x00,
        0x45, 0x00, 0x00, 0x1c, 0x00, 0x00, 0x40, 0x00, 0x01, 0x11, 0x65, 0xc4,
        10, 0, 0, 5, 10, 0, 0, 9,
        0x0f, 0xa0, 0x00, 0x35, 0x00, 0x08, 0xdb, 0xfb,
        /* clang-format on */
    };
    uint8_t in[64], out[ICMP_MAX];
    struct ip_addr self = addr("192.0.2.1");

    (void)state;
    make_udp(in, "10.0.0.5", "10.0.0.9", 1, 28);
    assert_int_equal(
        icmp_error_build(ICMP_TIME_EXCEEDED, &self, span_of(in, 28), 0, out, sizeof(out)),
        sizeof(want));
    assert_memory_equal(out, want, sizeof(want));
}

static void mtu_values(void **state)
{
    static const struct {
        uint32_t mtu, v4, v6;
    } row[] = {
        {1400, 1400, 1400},
        {1280, 1280, 1280},
        {1000, 1000, 1280},
        {0, 0, 1280},
        {65535, 65535, 65535},
        {100000, 65535, 100000},
        {UINT32_MAX, 65535, UINT32_MAX},
    };
    uint8_t in[100], out[ICMP_MAX];
    struct ip_addr s4 = addr(self_text[0]), s6 = addr(self_text[1]);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        make_udp(in, "10.0.0.5", "10.0.0.9", 64, 100);
        assert_true(icmp_error_build(ICMP_TOO_BIG, &s4, span_of(in, 100), row[i].mtu, out,
                                     sizeof(out)) > 0);
        assert_int_equal(out[24] << 8 | out[25], 0);
        assert_int_equal(out[26] << 8 | out[27], row[i].v4);
        make_udp(in, "fd00::5", "fd00::9", 64, 100);
        assert_true(icmp_error_build(ICMP_TOO_BIG, &s6, span_of(in, 100), row[i].mtu, out,
                                     sizeof(out)) > 0);
        assert_int_equal((uint32_t)out[44] << 24 | (uint32_t)out[45] << 16 | out[46] << 8 |
                             out[47],
                         row[i].v6);
    }
}

static void none_allowed(void **state)
{
    static const struct {
        const char *src, *dst;
        uint8_t proto, type; /* type: first byte of the message */
        uint16_t frag;       /* IPv4 fragment word; IPv6: a fragment header with it */
        bool unreachable, too_big;
    } row[] = {
        /* clang-format off */
        {"10.0.0.5", "10.0.0.9", 17, 0, 0, true, true},
        {"10.0.0.5", "10.0.0.9", 1, 8, 0, true, true},          /* echo */
        {"10.0.0.5", "10.0.0.9", 1, 3, 0, false, false},        /* an error */
        {"10.0.0.5", "10.0.0.9", 1, 5, 0, false, false},        /* redirect */
        {"10.0.0.5", "10.0.0.9", 17, 0, 0x2000, true, true},    /* first fragment */
        {"10.0.0.5", "10.0.0.9", 17, 0, 0x2001, false, false},  /* later fragment */
        {"10.0.0.5", "224.0.0.5", 17, 0, 0, false, false},
        {"10.0.0.5", "255.255.255.255", 17, 0, 0, false, false},
        {"0.0.0.0", "10.0.0.9", 17, 0, 0, false, false},
        {"127.0.0.1", "10.0.0.9", 17, 0, 0, false, false},
        {"224.0.0.5", "10.0.0.9", 17, 0, 0, false, false},
        {"240.0.0.1", "10.0.0.9", 17, 0, 0, false, false},
        {"169.254.0.1", "10.0.0.9", 17, 0, 0, false, false},
        {"fd00::5", "fd00::9", 17, 0, 0, true, true},
        {"fd00::5", "fd00::9", 58, 128, 0, true, true},         /* echo */
        {"fd00::5", "fd00::9", 58, 1, 0, false, false},
        {"fd00::5", "fd00::9", 58, 2, 0, false, false},
        {"fd00::5", "fd00::9", 58, 137, 0, false, false},       /* redirect */
        {"fd00::5", "ff0e::9", 17, 0, 0, false, true},          /* RFC 4443 2.4 (e.3) */
        {"fd00::5", "ff0e::9", 58, 1, 0, false, false},
        {"::", "fd00::9", 17, 0, 0, false, false},
        {"::1", "fd00::9", 17, 0, 0, false, false},
        {"ff02::1", "fd00::9", 17, 0, 0, false, false},
        {"fe80::1", "fd00::9", 17, 0, 0, false, false},
        {"fd00::5", "fd00::9", 17, 0, 8, true, true},           /* IPv6 later fragment */
        {"fd00::5", "fd00::9", 58, 0, 8, false, false},         /* perhaps of an error */
        /* clang-format on */
    };
    uint8_t in[100], body[24], out[ICMP_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        bool v6 = strchr(row[i].src, ':'), ext = v6 && row[i].frag;
        struct ip_addr self = addr(self_text[v6]);
        size_t n;

        memset(body, 0, sizeof(body));
        if (ext) {
            body[0] = row[i].proto;
            set16(body + 2, row[i].frag);
        }
        body[ext ? 8 : 0] = row[i].type;
        n = make_packet(in, row[i].src, row[i].dst, ext ? IP_PROTO_FRAGMENT : row[i].proto, 9,
                        body, sizeof(body));
        if (!v6) {
            set16(in + 6, row[i].frag);
            fix_v4(in);
        }
        bool u = icmp_error_build(ICMP_NO_ROUTE, &self, span_of(in, n), 0, out, sizeof(out));
        bool b = icmp_error_build(ICMP_TOO_BIG, &self, span_of(in, n), 1300, out, sizeof(out));

        if (u != row[i].unreachable || b != row[i].too_big)
            fail_msg("row %zu: %d %d", i, u, b);
    }
}

static void bad_arguments(void **state)
{
    uint8_t in[100], out[ICMP_MAX];
    struct ip_addr s4 = addr(self_text[0]), s6 = addr(self_text[1]), none = {0};
    struct ip_addr loop = addr("127.0.0.1");

    (void)state;
    make_udp(in, "10.0.0.5", "10.0.0.9", 64, 100);
    struct span p = span_of(in, 100);
    assert_int_equal(icmp_error_build(ICMP_NO_ROUTE, &s6, p, 0, out, sizeof(out)), 0);
    assert_int_equal(icmp_error_build(ICMP_NO_ROUTE, &none, p, 0, out, sizeof(out)), 0);
    assert_int_equal(icmp_error_build(ICMP_NO_ROUTE, &loop, p, 0, out, sizeof(out)), 0);
    assert_int_equal(icmp_error_build(ICMP_KINDS, &s4, p, 0, out, sizeof(out)), 0);
    assert_int_equal(icmp_error_build(ICMP_NO_ROUTE, &s4, p, 0, out, ICMP_V4_MAX - 1), 0);
    assert_int_equal(icmp_error_build(ICMP_NO_ROUTE, &s4, span_of(in, 99), 0, out, sizeof(out)),
                     0);
    assert_int_equal(icmp_error_build(ICMP_NO_ROUTE, &s4, p, 0, out, ICMP_V4_MAX), 128);
}

static void echo_reply(void **state)
{
    static const uint8_t hops[8] = {58, 0, 1, 4}; /* hop-by-hop options in front: padding */
    uint8_t body[1240], in[1300], out[1300];
    struct ip_addr self = addr(self_text[1]), s4 = addr(self_text[0]);
    size_t n, k;

    (void)state;
    /* 1232 bytes of data, as RFC 9484 7.1 probes */
    memset(body, 0xab, sizeof(body));
    memcpy(body, "\x80\0\0\0\x12\x34\0\1", 8);
    n = make_packet(in, "fe80::7", "ff02::1", 58, 255, body, sizeof(body));
    assert_int_equal(n, 1280);
    assert_int_equal(icmp_echo_reply_build(&self, span_of(in, n), out, sizeof(out)), 0);
    set16(in + 42, (uint16_t)~upper_sum(in, 40, 58, sizeof(body)));
    assert_int_equal(icmp_echo_reply_build(&self, span_of(in, n), out, 1279), 0);
    assert_int_equal(icmp_echo_reply_build(&s4, span_of(in, n), out, sizeof(out)), 0);
    assert_int_equal(icmp_echo_reply_build(&self, span_of(in, n), out, sizeof(out)), 1280);
    assert_int_equal(out[40], 129);
    assert_int_equal(upper_sum(out, 40, 58, sizeof(body)), 0xffff);
    assert_memory_equal(out + 44, in + 44, sizeof(body) - 4);
    assert_memory_equal(out + 24, in + 8, 16);
    assert_memory_equal(out + 8, self.b, 16);
    /* extension headers are not sent back */
    memmove(body + 8, body, 100);
    memcpy(body, hops, 8);
    n = make_packet(in, "fe80::7", "ff02::1", 0, 255, body, 108);
    set16(in + 50, 0);
    set16(in + 50, (uint16_t)~upper_sum(in, 48, 58, 100));
    assert_int_equal(icmp_echo_reply_build(&self, span_of(in, n), out, sizeof(out)), 140);
    assert_int_equal(upper_sum(out, 40, 58, 100), 0xffff);
    /* a reply is no request, a multicast source gets nothing */
    in[48] = 129;
    set16(in + 50, 0);
    set16(in + 50, (uint16_t)~upper_sum(in, 48, 58, 100));
    assert_int_equal(icmp_echo_reply_build(&self, span_of(in, n), out, sizeof(out)), 0);
    n = make_packet(in, "ff02::7", "ff02::1", 58, 255, "\x80\0\0\0\0\0\0", 8);
    set16(in + 42, (uint16_t)~upper_sum(in, 40, 58, 8));
    assert_int_equal(icmp_echo_reply_build(&self, span_of(in, n), out, sizeof(out)), 0);
    for (k = 0; k < 8; k++) {
        n = make_packet(in, "fd00::7", "ff02::1", 58, 255, "\x80\0\0\0\0\0\0", k);
        assert_int_equal(icmp_echo_reply_build(&self, span_of(in, n), out, sizeof(out)), 0);
    }
}

static void rate(void **state)
{
    struct icmp_limit l;
    ns_t now = 5 * NS_PER_S;
    unsigned taken = 0;

    (void)state;
    icmp_limit_init(&l, 10, 4);
    for (int i = 0; i < 20; i++)
        taken += icmp_limit_take(&l, now);
    assert_int_equal(taken, 4);
    assert_false(icmp_limit_take(&l, now + 99 * NS_PER_MS));
    assert_true(icmp_limit_take(&l, now + 100 * NS_PER_MS));
    assert_false(icmp_limit_take(&l, now + 100 * NS_PER_MS));
    /* a long pause fills it to the brim and no further */
    now += 1000 * NS_PER_S;
    for (taken = 0; icmp_limit_take(&l, now); taken++)
        ;
    assert_int_equal(taken, 4);
    /* over ten seconds of asking each millisecond: the burst and the rate */
    for (taken = 0; now < 1015 * NS_PER_S; now += NS_PER_MS)
        taken += icmp_limit_take(&l, now);
    assert_in_range(taken, 95, 105);
    icmp_limit_init(&l, 0, 5);
    assert_false(icmp_limit_take(&l, now));
    icmp_limit_init(&l, 5, 0);
    assert_false(icmp_limit_take(&l, now));
    icmp_limit_init(&l, UINT32_MAX, UINT32_MAX);
    assert_true(icmp_limit_take(&l, now));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds),         cmocka_unit_test(bytes),
        cmocka_unit_test(mtu_values),    cmocka_unit_test(none_allowed),
        cmocka_unit_test(bad_arguments), cmocka_unit_test(echo_reply),
        cmocka_unit_test(rate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
