/* prefix and routes: text, containment, ranges and their set algebra against naive ones. */
#include "test/masque_util.h"

#include "masque/routes.h"

static void text_both_ways(void **state)
{
    static const struct {
        const char *in, *out; /* out null: refused */
    } row[] = {
        /* clang-format off */
        {"0.0.0.0",           "0.0.0.0"},
        {"192.0.2.255",       "192.0.2.255"},
        {"255.255.255.255",   "255.255.255.255"},
        {"::",                "::"},
        {"::1",               "::1"},
        {"2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
        {"2001:db8::42",      "2001:db8::42"},
        {"::ffff:192.0.2.1",  "::ffff:192.0.2.1"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
                              "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
        {"",                  NULL},
        {"1.2.3",             NULL},
        {"1.2.3.4.5",         NULL},
        {"1.2.3.4 ",          NULL},
        {" 1.2.3.4",          NULL},
        {"1.2.3.256",         NULL},
        {"01.2.3.4",          NULL},
        {"1..2.3",            NULL},
        {"1.2.3.",            NULL},
        {"0x1.2.3.4",         NULL},
        {"1.2.3.-4",          NULL},
        {"1.2.3.4444",        NULL},
        {":",                 NULL},
        {":::",               NULL},
        {"1::2::3",           NULL},
        {"fe80::1%eth0",      NULL},
        {"[::1]",             NULL},
        {"1:2:3:4:5:6:7",     NULL},
        {"1:2:3:4:5:6:7:8:9", NULL},
        {"12345::",           NULL},
        {"host.example",      NULL},
        {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.2555", NULL},
        /* clang-format on */
    };
    char buf[IP_ADDR_TEXT], small[5];
    struct ip_addr a;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        memset(&a, 0xee, sizeof(a));
        if (!row[i].out) {
            assert_int_equal(ip_addr_parse(text_span(row[i].in), &a), QUIC_INVAL);
            assert_int_equal(a.version, 0xee);
            continue;
        }
        assert_int_equal(ip_addr_parse(text_span(row[i].in), &a), 0);
        assert_string_equal(ip_addr_format(&a, buf, sizeof(buf)), row[i].out);
    }
    assert_int_equal(ip_addr_parse(span_of("1.2.3.4\0", 8), &a), QUIC_INVAL);
    assert_int_equal(ip_addr_parse(span_of("::1\0", 4), &a), QUIC_INVAL);
    assert_int_equal(ip_addr_parse(span_of("1.2.3.45", 7), &a), 0);
    assert_int_equal(a.b[3], 4);
    a = (struct ip_addr){0};
    assert_string_equal(ip_addr_format(&a, buf, sizeof(buf)), "none");
    a = addr("10.0.0.1");
    assert_string_equal(ip_addr_format(&a, small, sizeof(small)), "");
}

static void prefix_text(void **state)
{
    static const struct {
        const char *in, *out;
        bool canonical;
    } row[] = {
        /* clang-format off */
        {"10.0.0.0/8",      "10.0.0.0/8",       true},
        {"10.0.0.1/8",      "10.0.0.1/8",       false},
        {"0.0.0.0/0",       "0.0.0.0/0",        true},
        {"10.1.2.3",        "10.1.2.3/32",      true},
        {"10.1.2.3/32",     "10.1.2.3/32",      true},
        {"10.1.2.3/31",     "10.1.2.3/31",      false},
        {"::/0",            "::/0",             true},
        {"fd00::/112",      "fd00::/112",       true},
        {"fd00::5/112",     "fd00::5/112",      false},
        {"2001:db8::1",     "2001:db8::1/128",  true},
        {"8000::/1",        "8000::/1",         true},
        {"c000::/1",        "c000::/1",         false},
        {"10.0.0.0/33",     NULL,               false},
        {"10.0.0.0/",       NULL,               false},
        {"10.0.0.0/-1",     NULL,               false},
        {"10.0.0.0/08",     NULL,               false},
        {"10.0.0.0/8/8",    NULL,               false},
        {"10.0.0.0/8x",     NULL,               false},
        {"::/129",          NULL,               false},
        {"::/1000",         NULL,               false},
        {"/8",              NULL,               false},
        {"",                NULL,               false},
        /* clang-format on */
    };
    char buf[IP_PREFIX_TEXT];
    struct ip_prefix p, m;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        if (!row[i].out) {
            assert_int_equal(ip_prefix_parse(text_span(row[i].in), &p), QUIC_INVAL);
            continue;
        }
        assert_int_equal(ip_prefix_parse(text_span(row[i].in), &p), 0);
        assert_true(ip_prefix_valid(&p));
        assert_string_equal(ip_prefix_format(&p, buf, sizeof(buf)), row[i].out);
        assert_int_equal(ip_prefix_canonical(&p), row[i].canonical);
        m = ip_prefix_mask(&p);
        assert_true(ip_prefix_canonical(&m));
        assert_true(ip_prefix_contains(&m, &p.addr));
    }
    p = (struct ip_prefix){addr("::"), 129};
    assert_false(ip_prefix_valid(&p));
    p = (struct ip_prefix){{.version = 5}, 0};
    assert_false(ip_prefix_valid(&p));
}

static void kinds(void **state)
{
    enum { UNSPEC = 1, LOOP = 2, LINK = 4, MULTI = 8, BROAD = 16, MARTIAN = 32 };
    static const struct {
        const char *text;
        int kind;
    } row[] = {
        /* clang-format off */
        {"0.0.0.0",         UNSPEC | MARTIAN},
        {"0.1.2.3",         MARTIAN},
        {"10.0.0.1",        0},
        {"100.64.0.1",      0},
        {"127.0.0.1",       LOOP | MARTIAN},
        {"127.255.255.255", LOOP | MARTIAN},
        {"169.254.1.1",     LINK},
        {"169.253.1.1",     0},
        {"223.255.255.255", 0},
        {"224.0.0.1",       MULTI | MARTIAN},
        {"239.255.255.255", MULTI | MARTIAN},
        {"240.0.0.1",       MARTIAN},
        {"255.255.255.254", MARTIAN},
        {"255.255.255.255", BROAD | MARTIAN},
        {"::",              UNSPEC | MARTIAN},
        {"::1",             LOOP | MARTIAN},
        {"::2",             0},
        {"fe7f::1",         0},
        {"fe80::1",         LINK},
        {"febf::1",         LINK},
        {"fec0::1",         0},
        {"ff02::1",         MULTI | MARTIAN},
        {"::ffff:10.0.0.1", MARTIAN},
        {"::fffe:10.0.0.1", 0},
        {"2001:db8::1",     0},
        {"fd00::1",         0},
        /* clang-format on */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        struct ip_addr a = addr(row[i].text);
        int got = (ip_bytes_unspecified(a.version, a.b) ? UNSPEC : 0) |
                  (ip_bytes_loopback(a.version, a.b) ? LOOP : 0) |
                  (ip_bytes_link_local(a.version, a.b) ? LINK : 0) |
                  (ip_bytes_multicast(a.version, a.b) ? MULTI : 0) |
                  (ip_bytes_broadcast(a.version, a.b) ? BROAD : 0) |
                  (ip_bytes_martian(a.version, a.b) ? MARTIAN : 0);

        if (got != row[i].kind)
            fail_msg("%s: %d, expected %d", row[i].text, got, row[i].kind);
    }
}

static void arithmetic(void **state)
{
    struct ip_addr a, b;
    uint64_t seed = 1;

    (void)state;
    a = addr("10.0.0.255");
    assert_true(ip_addr_next(&a));
    b = addr("10.0.1.0");
    assert_true(ip_addr_equal(&a, &b));
    assert_true(ip_addr_prev(&a));
    b = addr("10.0.0.255");
    assert_true(ip_addr_equal(&a, &b));
    a = addr("255.255.255.255");
    b = a;
    assert_false(ip_addr_next(&a));
    assert_true(ip_addr_equal(&a, &b));
    a = addr("::");
    assert_false(ip_addr_prev(&a));
    a = addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    assert_false(ip_addr_next(&a));
    a = addr("2001:db8::ffff:ffff:ffff:ffff");
    assert_true(ip_addr_next(&a));
    b = addr("2001:db8:0:1::");
    assert_true(ip_addr_equal(&a, &b));
    assert_true(ip_addr_add(&b, UINT64_MAX, &a));
    b = addr("2001:db8:0:1:ffff:ffff:ffff:ffff");
    assert_true(ip_addr_equal(&a, &b));
    a = addr("::2");
    assert_true(ip_addr_cmp(&a, &b) < 0);
    a = addr("255.255.255.255");
    assert_true(ip_addr_cmp(&a, &b) < 0);
    for (int i = 0; i < 10000; i++) {
        uint32_t v = (uint32_t)rnd(&seed), n = (uint32_t)rnd(&seed) >> (rnd(&seed) % 32);
        bool fits = (uint64_t)v + n <= UINT32_MAX;

        a = ip_addr_v4(v);
        assert_int_equal(ip_addr_v4_value(&a), v);
        assert_int_equal(ip_addr_add(&a, n, &b), fits);
        if (fits)
            assert_int_equal(ip_addr_v4_value(&b), v + n);
    }
}

static bool bit_of(const struct ip_addr *a, unsigned i)
{
    return a->b[i / 8] >> (7 - i % 8) & 1;
}

static bool naive_contains(const struct ip_prefix *p, const struct ip_addr *a)
{
    if (p->addr.version != a->version)
        return false;
    for (unsigned i = 0; i < p->len; i++)
        if (bit_of(&p->addr, i) != bit_of(a, i))
            return false;
    return true;
}

/* Addresses that share many bits, so that the interesting cases come up. */
static struct ip_addr near(uint64_t *seed)
{
    struct ip_addr a = addr(rnd(seed) % 2 ? "10.128.64.32" : "2001:db8:8040::2010");
    unsigned flips = rnd(seed) % 3;

    while (flips-- > 0) {
        unsigned i = rnd(seed) % ip_bits(a.version);

        a.b[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    return a;
}

static void containment(void **state)
{
    uint64_t seed = 7;
    unsigned hits = 0;

    (void)state;
    for (int i = 0; i < 200000; i++) {
        struct ip_addr a = near(&seed), b = near(&seed);
        struct ip_prefix p = {a, (uint8_t)(rnd(&seed) % (ip_bits(a.version) + 1))};
        struct ip_prefix q = {b, (uint8_t)(rnd(&seed) % (ip_bits(b.version) + 1))};
        struct ip_range r = ip_range_of(&p, 0);
        bool in = naive_contains(&p, &b);

        hits += in;
        assert_int_equal(ip_prefix_contains(&p, &b), in);
        assert_int_equal(ip_range_contains(&r, &b), in);
        assert_int_equal(ip_prefix_covers(&p, &q), in && p.len <= q.len);
        assert_int_equal(ip_prefix_overlaps(&p, &q),
                         (in && p.len <= q.len) || (naive_contains(&q, &a) && q.len <= p.len));
        assert_true(ip_range_contains(&r, &r.start) && ip_range_contains(&r, &r.end));
        p.addr = r.start;
        assert_true(ip_prefix_canonical(&p));
        if (ip_addr_prev(&r.start))
            assert_false(ip_prefix_contains(&p, &r.start));
        if (ip_addr_next(&r.end))
            assert_false(ip_prefix_contains(&p, &r.end));
    }
    assert_true(hits > 10000);
}

static void ranges_to_prefixes(void **state)
{
    static const struct {
        const char *start, *end, *out;
    } row[] = {
        /* clang-format off */
        {"0.0.0.0", "255.255.255.255", "0.0.0.0/0"},
        {"10.0.0.0", "10.255.255.255", "10.0.0.0/8"},
        {"192.0.2.7", "192.0.2.7", "192.0.2.7/32"},
        {"192.0.2.0", "192.0.2.41", "192.0.2.0/27 192.0.2.32/29 192.0.2.40/31"},
        {"192.0.2.43", "192.0.2.255",
         "192.0.2.43/32 192.0.2.44/30 192.0.2.48/28 192.0.2.64/26 192.0.2.128/25"},
        {"::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0"},
        {"fd00::1", "fd00::2", "fd00::1/128 fd00::2/128"},
        {"255.255.255.254", "255.255.255.255", "255.255.255.254/31"},
        /* clang-format on */
    };
    struct ip_prefix out[IP_RANGE_PREFIXES];
    struct ip_range r;
    char text[1024], one[IP_PREFIX_TEXT];
    uint64_t seed = 3;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        r = range(row[i].start, row[i].end, 0);
        int n = ip_range_prefixes(&r, out, ARRAY_LEN(out));

        text[0] = 0;
        for (int k = 0; k < n; k++) {
            strcat(text, k ? " " : "");
            strcat(text, ip_prefix_format(&out[k], one, sizeof(one)));
        }
        assert_string_equal(text, row[i].out);
        assert_int_equal(ip_range_prefixes(&r, out, (size_t)n - 1), QUIC_TOOBIG);
    }
    /* the longest list there is */
    r = range("::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", 0);
    assert_int_equal(ip_range_prefixes(&r, out, ARRAY_LEN(out)), IP_RANGE_PREFIXES);
    r = range("10.0.0.2", "10.0.0.1", 0);
    assert_int_equal(ip_range_prefixes(&r, out, ARRAY_LEN(out)), QUIC_INVAL);
    /* what comes out is the range again, gapless, and no two could be one */
    for (int i = 0; i < 3000; i++) {
        struct ip_addr a = near(&seed), b = near(&seed), next;

        if (a.version != b.version || ip_addr_cmp(&a, &b) > 0)
            continue;
        r = (struct ip_range){a, b, 0};
        next = a;
        int n = ip_range_prefixes(&r, out, ARRAY_LEN(out));

        assert_true(n > 0);
        for (int k = 0; k < n; k++) {
            struct ip_range part = ip_range_of(&out[k], 0);
            struct ip_prefix up = {out[k].addr, (uint8_t)(out[k].len - 1)};

            assert_true(ip_addr_equal(&part.start, &next));
            next = part.end;
            ip_addr_next(&next);
            if (k + 1 < n && out[k].len > 0 && out[k + 1].len == out[k].len &&
                ip_prefix_canonical(&up))
                fail_msg("two prefixes could be one");
            if (k + 1 == n)
                assert_true(ip_addr_equal(&part.end, &b));
        }
    }
}

static void normal_order(void **state)
{
    struct ip_range r[3];
    static const struct {
        const char *s0, *e0;
        uint8_t p0;
        const char *s1, *e1;
        uint8_t p1;
        bool ok;
    } row[] = {
        /* clang-format off */
        {"10.0.0.0", "10.0.0.9", 0, "10.0.0.10", "10.0.0.20", 0, true},
        {"10.0.0.0", "10.0.0.9", 0, "10.0.0.9", "10.0.0.20", 0, false},
        {"10.0.0.10", "10.0.0.20", 0, "10.0.0.0", "10.0.0.9", 0, false},
        {"10.0.0.10", "10.0.0.20", 6, "10.0.0.0", "10.0.0.9", 17, true},
        {"10.0.0.10", "10.0.0.20", 6, "10.0.0.0", "10.0.0.15", 17, true},
        {"10.0.0.10", "10.0.0.20", 17, "10.0.0.0", "10.0.0.9", 6, false},
        {"10.0.0.10", "10.0.0.20", 0, "10.0.0.15", "10.0.0.15", 6, false},
        {"10.0.0.10", "10.0.0.20", 0, "10.0.0.0", "10.0.0.10", 6, false},
        {"10.0.0.10", "10.0.0.20", 0, "10.0.0.0", "10.0.0.9", 6, true},
        {"10.0.0.10", "10.0.0.20", 0, "::", "::5", 0, true},
        {"10.0.0.10", "10.0.0.20", 6, "::", "::5", 0, true},
        {"::", "::5", 0, "10.0.0.10", "10.0.0.20", 0, false},
        {"10.0.0.9", "10.0.0.1", 0, "10.0.0.10", "10.0.0.20", 0, false},
        /* clang-format on */
    };

    (void)state;
    assert_true(ip_ranges_normal(NULL, 0));
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        r[0] = range(row[i].s0, row[i].e0, row[i].p0);
        r[1] = range(row[i].s1, row[i].e1, row[i].p1);
        if (ip_ranges_normal(r, 2) != row[i].ok)
            fail_msg("row %zu", i);
    }
    /* an overlap with the second of two ranges of all protocols */
    r[0] = range("10.0.0.0", "10.0.0.5", 0);
    r[1] = range("10.0.1.0", "10.0.1.5", 0);
    r[2] = range("10.0.0.9", "10.0.1.0", 6);
    assert_false(ip_ranges_normal(r, 3));
    r[2] = range("10.0.0.9", "10.0.0.255", 6);
    assert_true(ip_ranges_normal(r, 3));
    r[0].end.version = 6;
    assert_false(ip_ranges_normal(r, 1));
}

/* A small space to hold every address and protocol against a naive set. */
#define SPACE 64

static struct ip_range small_range(uint64_t *seed, uint8_t protos)
{
    uint32_t a = (uint32_t)(rnd(seed) % SPACE), b = (uint32_t)(rnd(seed) % SPACE);
    struct ip_range r;
    bool v6 = rnd(seed) % 4 == 0;

    if (a > b) {
        uint32_t t = a;

        a = b;
        b = t;
    }
    if (rnd(seed) % 2)
        b = a + (b - a) / 8;
    r.start = v6 ? addr("fd00::") : ip_addr_v4(0xffffffc0);
    r.end = r.start;
    ip_addr_add(&r.start, a, &r.start);
    ip_addr_add(&r.end, b, &r.end);
    r.proto = (uint8_t)(rnd(seed) % protos);
    return r;
}

static void normalize(void **state)
{
    uint64_t seed = 11;
    struct ip_range r[12], out[64];

    (void)state;
    for (int round = 0; round < 4000; round++) {
        size_t n = rnd(&seed) % 12;
        int k;

        for (size_t i = 0; i < n; i++)
            r[i] = out[i] = small_range(&seed, 3);
        k = ip_ranges_normalize(out, n, ARRAY_LEN(out));
        assert_true(k >= 0 && ip_ranges_normal(out, (size_t)k));
        for (uint32_t v = 0; v < 2 * SPACE * 3; v++) {
            struct ip_addr a = v % 2 ? addr("fd00::") : ip_addr_v4(0xffffffc0);
            uint8_t proto = (uint8_t)(v / 2 / SPACE);
            bool before = false, after = false;

            ip_addr_add(&a, v / 2 % SPACE, &a);
            for (size_t i = 0; i < n; i++)
                before = before || (ip_range_contains(&r[i], &a) &&
                                    (r[i].proto == 0 || r[i].proto == proto));
            for (int i = 0; i < k; i++)
                after = after || (ip_range_contains(&out[i], &a) &&
                                  (out[i].proto == 0 || out[i].proto == proto));
            assert_int_equal(before, after);
        }
    }
    /* a cut that has no room */
    out[0] = range("10.0.0.0", "10.0.0.255", 6);
    out[1] = range("10.0.0.7", "10.0.0.7", 0);
    assert_int_equal(ip_ranges_normalize(out, 2, 2), QUIC_TOOBIG);
    out[0] = range("10.0.0.0", "10.0.0.255", 6);
    out[1] = range("10.0.0.7", "10.0.0.7", 0);
    assert_int_equal(ip_ranges_normalize(out, 2, 3), 3);
    /* touching ranges become one, to the very end of the space */
    out[0] = range("128.0.0.0", "255.255.255.255", 0);
    out[1] = range("0.0.0.0", "127.255.255.255", 0);
    out[2] = range("255.255.255.255", "255.255.255.255", 0);
    assert_int_equal(ip_ranges_normalize(out, 3, 3), 1);
    r[0] = ip_range_all(4, 0);
    assert_true(ip_addr_equal(&out[0].start, &r[0].start) &&
                ip_addr_equal(&out[0].end, &r[0].end));
    out[0].end.version = 6;
    assert_int_equal(ip_ranges_normalize(out, 1, 1), QUIC_INVAL);
}

static void exclude(void **state)
{
    uint64_t seed = 5;
    struct ip_prefix cut[4];
    struct ip_range out[16], all = ip_range_all(4, 0);
    int n;

    (void)state;
    /* the split tunnel of RFC 9484, figure 16 */
    cut[0] = prefix("192.0.2.0/24");
    all = ip_range_of(&cut[0], 0);
    cut[0] = prefix("192.0.2.42/32");
    assert_int_equal(ip_range_exclude(&all, cut, 1, out, 16), 2);
    struct ip_range want[2] = {range("192.0.2.0", "192.0.2.41", 0),
                               range("192.0.2.43", "192.0.2.255", 0)};
    for (int i = 0; i < 2; i++)
        assert_true(ip_addr_equal(&out[i].start, &want[i].start) &&
                    ip_addr_equal(&out[i].end, &want[i].end));
    assert_int_equal(ip_range_exclude(&all, cut, 1, out, 1), QUIC_TOOBIG);
    assert_int_equal(ip_range_exclude(&all, cut, 0, out, 0), QUIC_TOOBIG);
    for (int round = 0; round < 2000; round++) {
        struct ip_range from = {ip_addr_v4(0xffffffc0), ip_addr_v4(0xffffffff), 6};
        size_t k = rnd(&seed) % 5;

        for (size_t i = 0; i < k; i++) {
            cut[i] = (struct ip_prefix){ip_addr_v4(0xffffffc0 + rnd(&seed) % SPACE),
                                        (uint8_t)(26 + rnd(&seed) % 7)};
            if (rnd(&seed) % 8 == 0)
                cut[i] = prefix("::/0");
        }
        n = ip_range_exclude(&from, cut, k, out, 16);
        assert_true(n >= 0 && ip_ranges_normal(out, (size_t)n));
        for (uint32_t v = 0; v < SPACE; v++) {
            struct ip_addr a = ip_addr_v4(0xffffffc0 + v);
            bool want_in = true, in = false;

            for (size_t i = 0; i < k; i++)
                want_in = want_in && !naive_contains(&cut[i], &a);
            for (int i = 0; i < n; i++)
                in = in || ip_range_contains(&out[i], &a);
            assert_int_equal(in, want_in);
        }
    }
}

static void route_lookup(void **state)
{
    uint64_t seed = 21;
    struct ip_range r[64];
    struct routes t;

    (void)state;
    routes_init(&t);
    for (int round = 0; round < 1500; round++) {
        size_t n = rnd(&seed) % 14;
        int k;

        for (size_t i = 0; i < n; i++)
            r[i] = small_range(&seed, 4);
        if (rnd(&seed) % 8 == 0 && n > 0)
            r[0] = ip_range_all(rnd(&seed) % 2 ? 4 : 6, 0);
        k = ip_ranges_normalize(r, n, ARRAY_LEN(r));
        assert_true(k >= 0);
        assert_int_equal(routes_set(&t, r, (size_t)k), 0);
        for (uint32_t v = 0; v < 2 * (SPACE + 2); v++) {
            struct ip_addr a = v % 2 ? addr("fd00::") : ip_addr_v4(0xffffffc0 - 1);
            uint8_t proto = (uint8_t)(rnd(&seed) % 4);
            bool icmp = rnd(&seed) % 4 == 0, any = false, match = false, family = false;

            if (!ip_addr_add(&a, v / 2, &a))
                continue;
            for (int i = 0; i < k; i++) {
                bool in = ip_range_contains(&r[i], &a);

                family = family || r[i].start.version == a.version;
                any = any || in;
                match = match || (in && (icmp || r[i].proto == 0 || r[i].proto == proto));
            }
            assert_int_equal(routes_find(&t, a.version, a.b, proto, icmp),
                             match ? ROUTES_MATCH
                             : any ? ROUTES_OTHER_PROTO
                                   : ROUTES_NONE);
            assert_int_equal(routes_has(&t, a.version), family);
        }
    }
    r[0] = range("10.0.0.9", "10.0.0.1", 0);
    assert_int_equal(routes_set(&t, r, 1), QUIC_INVAL);
    assert_int_equal(routes_set(&t, NULL, 0), 0);
    assert_false(routes_has(&t, 4));
    routes_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_both_ways), cmocka_unit_test(prefix_text),
        cmocka_unit_test(kinds),          cmocka_unit_test(arithmetic),
        cmocka_unit_test(containment),    cmocka_unit_test(ranges_to_prefixes),
        cmocka_unit_test(normal_order),   cmocka_unit_test(normalize),
        cmocka_unit_test(exclude),        cmocka_unit_test(route_lookup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
