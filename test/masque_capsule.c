/* dgram, capsule and ipcapsule: bytes, splits, bounds and hostile input. */
#include "test/masque_util.h"

#include "masque/capsule.h"
#include "masque/dgram.h"
#include "masque/ipcapsule.h"

#define ALL 0x0f /* the four known types */

static size_t unhex(const char *text, uint8_t *out)
{
    size_t n = 0;
    unsigned byte;

    for (; *text; text += *text == ' ' ? 1 : 2)
        if (*text != ' ') {
            assert_int_equal(sscanf(text, "%2x", &byte), 1);
            out[n++] = (uint8_t)byte;
        }
    return n;
}

static void datagram_prefix(void **state)
{
    static const struct {
        uint64_t stream, context;
        const char *bytes; /* null: refused */
    } row[] = {
        /* clang-format off */
        {0, 0, "00 00"},
        {44, 0, "0b 00"}, /* RFC 9484 8.1: stream 44 has quarter stream ID 11 */
        {4 * 63, 2, "3f 02"},
        {4 * 64, 0, "40 40 00"},
        {VARINT_MAX - 3, VARINT_MAX, "cf ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff"},
        {2, 0, NULL},
        {1, 0, NULL},
        {VARINT_MAX + 1, 0, NULL},
        {0, VARINT_MAX + 1, NULL},
        /* clang-format on */
    };
    uint8_t out[DGRAM_PREFIX_MAX], want[32];
    struct span payload, rest;
    uint64_t stream, context;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        size_t n = masque_dgram_prefix(row[i].stream, row[i].context, out);

        if (!row[i].bytes) {
            assert_int_equal(n, 0);
            continue;
        }
        assert_int_equal(n, unhex(row[i].bytes, want));
        assert_memory_equal(out, want, n);
        assert_int_equal(masque_dgram_decode(span_of(out, n), &stream, &payload), 0);
        assert_int_equal(stream, row[i].stream);
        assert_int_equal(masque_dgram_context(payload, &context, &rest), 0);
        assert_int_equal(context, row[i].context);
        assert_int_equal(rest.n, 0);
    }
}

static void datagram_errors(void **state)
{
    static const struct {
        const char *bytes;
        int err;
        uint64_t stream;
        size_t left;
    } row[] = {
        /* clang-format off */
        {"",                        MASQUE_H3_DATAGRAM_ERROR, 0, 0},
        {"40",                      MASQUE_H3_DATAGRAM_ERROR, 0, 0},
        {"c0 00 00 00 00 00 00",    MASQUE_H3_DATAGRAM_ERROR, 0, 0},
        {"d0 00 00 00 00 00 00 00", MASQUE_H3_DATAGRAM_ERROR, 0, 0}, /* 2^60 */
        {"cf ff ff ff ff ff ff ff", 0, VARINT_MAX - 3, 0},
        {"c0 00 00 00 00 00 00 01 aa bb", 0, 4, 2}, /* not the shortest form */
        {"00",                      0, 0, 0},
        /* clang-format on */
    };
    uint8_t b[32];
    struct span payload;
    uint64_t stream, context;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        size_t n = unhex(row[i].bytes, b);

        assert_int_equal(masque_dgram_decode(span_of(b, n), &stream, &payload), row[i].err);
        if (row[i].err)
            continue;
        assert_int_equal(stream, row[i].stream);
        assert_int_equal(payload.n, row[i].left);
    }
    assert_int_equal(masque_dgram_context(span_of(b, 0), &context, &payload), QUIC_DROP);
    b[0] = 0x80;
    assert_int_equal(masque_dgram_context(span_of(b, 3), &context, &payload), QUIC_DROP);
}

/* Feed `bytes` in pieces of random length; write what comes as text. */
static int feed(const uint8_t *bytes, size_t n, uint64_t *seed, size_t max, char *text)
{
    struct capsule_reader r;
    int err = 0;

    capsule_reader_init(&r, ALL, max, max);
    r.also = CAPSULE_PATH_RATES;
    *text = 0;
    for (size_t at = 0; at < n && err == 0;) {
        size_t piece = seed ? 1 + rnd(seed) % (rnd(seed) % 4 ? 3 : 40) : n;
        uint8_t *copy;
        struct span in;
        struct capsule c;

        if (piece > n - at)
            piece = n - at;
        copy = malloc(piece); /* so that nothing can be read outside the piece */
        assert_non_null(copy);
        memcpy(copy, bytes + at, piece);
        in = span_of(copy, piece);
        while ((err = capsule_next(&r, &in, &c)) == 0) {
            text += sprintf(text, "%llx:", (unsigned long long)c.type);
            for (size_t i = 0; i < c.value.n; i++)
                text += sprintf(text, "%02x", c.value.p[i]);
            text += sprintf(text, " ");
        }
        free(copy);
        at += piece;
        if (err == QUIC_AGAIN) {
            assert_int_equal(in.n, 0);
            err = 0;
        }
    }
    if (err == 0)
        err = capsule_end(&r);
    text += sprintf(text, "skipped %u", (unsigned)r.skipped);
    capsule_reader_free(&r);
    return err;
}

static void any_split(void **state)
{
    static const struct {
        const char *bytes, *out;
        int err;
    } row[] = {
        /* clang-format off */
        {"", "skipped 0", 0},
        {"01 00", "1: skipped 0", 0},
        {"00 03 00 11 22 03 00 02 01 ff", "0:001122 3: 2:ff skipped 0", 0},
        {"17 04 de ad be ef 01 01 aa", "1:aa skipped 1", 0},  /* 0x29 * 0 + 0x17 */
        {"40 01 40 02 aa bb", "1:aabb skipped 0", 0},         /* long varints */
        {"7f ff 00 40 40 00 01 00", "1: skipped 2", 0},
        {"fe1c04e1b2159454 02 01 02 fe1c04e1b2159455 01 aa", "3e1c04e1b2159454:0102 skipped 1", 0},
        {"fe1c04e1b2159454 21", "skipped 0", MASQUE_H3_EXCESSIVE_LOAD},
        {"01", "skipped 0", MASQUE_H3_MESSAGE_ERROR},
        {"01 02 aa", "skipped 0", MASQUE_H3_MESSAGE_ERROR},
        {"17 02 aa", "skipped 1", MASQUE_H3_MESSAGE_ERROR},
        {"40", "skipped 0", MASQUE_H3_MESSAGE_ERROR},
        {"01 21", "skipped 0", MASQUE_H3_EXCESSIVE_LOAD},     /* 33 bytes; the bound is 32 */
        {"01 ff ff ff ff ff ff ff ff", "skipped 0", MASQUE_H3_EXCESSIVE_LOAD},
        {"00 21 000000000000000000000000000000000000000000000000000000000000000000 01 00",
         "1: skipped 1", 0},                                  /* a DATAGRAM too long to use */
        {"00 20 0000000000000000000000000000000000000000000000000000000000000000",
         "0:0000000000000000000000000000000000000000000000000000000000000000 skipped 0", 0},
        /* clang-format on */
    };
    uint8_t b[256];
    char whole[512], split[512];
    uint64_t seed = 1;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        size_t n = unhex(row[i].bytes, b);

        assert_int_equal(feed(b, n, NULL, 32, whole), row[i].err);
        assert_string_equal(whole, row[i].out);
        for (int k = 0; k < 200; k++) {
            assert_int_equal(feed(b, n, &seed, 32, split), row[i].err);
            assert_string_equal(split, row[i].out);
        }
    }
}

/* An unknown capsule of any length costs no memory, and ends where it says. */
static void endless_unknown(void **state)
{
    static const uint8_t junk[4096];
    uint8_t head[CAPSULE_HEAD_MAX];
    struct wire_w w = wire_w_of(head, sizeof(head));
    struct capsule_reader r;
    struct capsule c;
    struct span in;
    uint64_t length = 100 * sizeof(junk) + 17;

    (void)state;
    capsule_write_head(&w, 0x3fff, length);
    capsule_reader_init(&r, ALL, 64, 64);
    in = span_of(head, sizeof(head) - wire_w_left(&w));
    assert_int_equal(capsule_next(&r, &in, &c), QUIC_AGAIN);
    for (uint64_t at = 0; at < length; at += in.n) {
        in = span_of(junk, length - at < sizeof(junk) ? (size_t)(length - at) : sizeof(junk));
        size_t n = in.n;

        assert_int_equal(capsule_end(&r), MASQUE_H3_MESSAGE_ERROR);
        assert_int_equal(capsule_next(&r, &in, &c), QUIC_AGAIN);
        assert_int_equal(in.n, 0);
        assert_null(r.buf);
        in.n = n;
    }
    assert_int_equal(capsule_end(&r), 0);
    in = span_of("\x01\x01\x42", 3);
    assert_int_equal(capsule_next(&r, &in, &c), 0);
    assert_int_equal(c.value.p[0], 0x42);
    /* the buffer follows what came, not what was announced */
    capsule_reader_free(&r);
    capsule_reader_init(&r, ALL, 1 << 20, 64);
    in = span_of("\x01\x80\x10\x00\x00\x42", 6);
    assert_int_equal(capsule_next(&r, &in, &c), QUIC_AGAIN);
    assert_true(r.cap > 0 && r.cap <= 4096);
    capsule_reader_free(&r);
}

static void addresses(void **state)
{
    static const struct {
        const char *bytes;
        int err;
        const char *out; /* "id prefix ..." */
    } row[] = {
        /* clang-format off */
        {"", 0, ""},
        {"00 04 c000020b 20", 0, "0 192.0.2.11/32 "},
        {"01 04 c000020b 20", 0, "1 192.0.2.11/32 "},
        {"4001 06 fd000000000000000000000000000005 80", 0, "1 fd00::5/128 "},
        {"00 04 0a000000 08 00 06 fd000000000000000000000000000000 40", 0,
         "0 10.0.0.0/8 0 fd00::/64 "},
        {"05 04 00000000 20", 0, "5 0.0.0.0/32 "},
        {"00 04 0a000001 08", MASQUE_H3_MESSAGE_ERROR, NULL},          /* host bits */
        {"00 06 fd000000000000000000000000000005 70", MASQUE_H3_MESSAGE_ERROR, NULL},
        {"00 04 0a000000 21", MASQUE_H3_MESSAGE_ERROR, NULL},          /* /33 */
        {"00 06 fd000000000000000000000000000000 81", MASQUE_H3_MESSAGE_ERROR, NULL},
        {"00 05 0a000000 08", MASQUE_H3_MESSAGE_ERROR, NULL},          /* IP version 5 */
        {"00 04 0a000000", MASQUE_H3_MESSAGE_ERROR, NULL},             /* cut short */
        {"00 04 0a0000", MASQUE_H3_MESSAGE_ERROR, NULL},
        {"00", MASQUE_H3_MESSAGE_ERROR, NULL},
        {"00 04 c000020b 20 00", MASQUE_H3_MESSAGE_ERROR, NULL},       /* bytes left over */
        {"00 04 01020304 20 00 04 01020305 20 00 04 01020306 20 00 04 01020307 20 "
         "00 04 01020308 20", MASQUE_H3_EXCESSIVE_LOAD, NULL},
        /* clang-format on */
    };
    uint8_t b[256];
    struct ip_assign list[4];
    struct ip_assign_seen seen;
    char text[256], one[IP_PREFIX_TEXT];
    size_t n, count = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        n = unhex(row[i].bytes, b);
        if (ipcapsule_parse_assign(span_of(b, n), false, list, 4, &count, &seen) != row[i].err)
            fail_msg("row %zu", i);
        if (row[i].err)
            continue;
        text[0] = 0;
        for (size_t k = 0; k < count; k++)
            sprintf(text + strlen(text), "%u %s ", (unsigned)list[k].request_id,
                    ip_prefix_format(&list[k].prefix, one, sizeof(one)));
        assert_string_equal(text, row[i].out);
        assert_false(seen.host_bits);
    }
    /* host bits are let through for IPv6 alone, when asked to */
    n = unhex("00 06 fd000000000000000000000000000005 70", b);
    assert_int_equal(ipcapsule_parse_assign(span_of(b, n), true, list, 4, &count, &seen), 0);
    assert_true(seen.host_bits && seen.v6 && !seen.v4);
    n = unhex("00 04 0a000001 08", b);
    assert_int_equal(ipcapsule_parse_assign(span_of(b, n), true, list, 4, &count, &seen),
                     MASQUE_H3_MESSAGE_ERROR);
}

static void requests(void **state)
{
    static const struct {
        const char *bytes;
        int err;
    } row[] = {
        /* clang-format off */
        {"01 04 00000000 20", 0},
        {"01 04 00000000 20 02 06 00000000000000000000000000000000 80", 0},
        {"", MASQUE_H3_MESSAGE_ERROR},                                       /* none */
        {"00 04 00000000 20", MASQUE_H3_MESSAGE_ERROR},                      /* ID 0 */
        {"01 04 00000000 20 01 04 00000000 20", MASQUE_H3_MESSAGE_ERROR},    /* ID twice */
        {"01 04 0a000001 18", MASQUE_H3_MESSAGE_ERROR},                      /* host bits */
        {"01 04 00000000", MASQUE_H3_MESSAGE_ERROR},
        {"01 04 00000000 20 02 04 00000000 20 03 04 00000000 20", MASQUE_H3_EXCESSIVE_LOAD},
        /* clang-format on */
    };
    uint8_t b[256];
    struct ip_assign list[2];
    size_t count;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        size_t n = unhex(row[i].bytes, b);

        if (ipcapsule_parse_request(span_of(b, n), list, 2, &count) != row[i].err)
            fail_msg("row %zu", i);
    }
}

static void route_capsules(void **state)
{
    static const struct {
        const char *bytes;
        int err;
        size_t n;
    } row[] = {
        /* clang-format off */
        {"", 0, 0},
        {"04 00000000 ffffffff 00", 0, 1},
        {"04 c0000200 c0000229 00 04 c000022b c00002ff 00", 0, 2},
        {"04 c0000200 c0000229 00 06 00000000000000000000000000000000 "
         "ffffffffffffffffffffffffffffffff 00", 0, 2},
        {"04 c000022b c00002ff 00 04 c0000200 c0000229 00", MASQUE_H3_MESSAGE_ERROR, 0},
        {"04 c0000200 c000022b 00 04 c000022b c00002ff 00", MASQUE_H3_MESSAGE_ERROR, 0},
        {"04 00000000 ffffffff 11 04 00000000 ffffffff 06", MASQUE_H3_MESSAGE_ERROR, 0},
        {"04 00000000 ffffffff 06 04 00000000 ffffffff 11", 0, 2},
        {"04 00000000 ffffffff 00 04 00000000 00000001 11", MASQUE_H3_MESSAGE_ERROR, 0},
        {"04 ffffffff 00000000 00", MASQUE_H3_MESSAGE_ERROR, 0},
        {"05 00000000 ffffffff 00", MASQUE_H3_MESSAGE_ERROR, 0},
        {"04 00000000 ffffffff", MASQUE_H3_MESSAGE_ERROR, 0},
        {"04 00000000 ffffffff 00 04", MASQUE_H3_MESSAGE_ERROR, 0},
        {"04 01000000 01000000 00 04 02000000 02000000 00 04 03000000 03000000 00",
         MASQUE_H3_EXCESSIVE_LOAD, 0},
        /* clang-format on */
    };
    uint8_t b[256];
    struct ip_range list[2];
    size_t count;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        size_t n = unhex(row[i].bytes, b);

        if (ipcapsule_parse_routes(span_of(b, n), list, 2, &count) != row[i].err)
            fail_msg("row %zu", i);
        if (row[i].err == 0)
            assert_int_equal(count, row[i].n);
    }
}

static void rates(void **state)
{
    static const struct {
        const char *bytes;
        int err;
        const char *out; /* "path:kbps ..." */
    } row[] = {
        /* clang-format off */
        {"", 0, ""},
        {"00 00", 0, "0:0 "},
        {"01 4fa0", 0, "1:4000 "},
        {"4001 4040", 0, "1:64 "},                                     /* longer than need be */
        {"02 80030d40 00 40c8", 0, "2:200000 0:200 "},                 /* in any order */
        {"ffffffffffffffff ffffffffffffffff", 0,
         "4611686018427387903:4611686018427387903 "},
        {"01", MASQUE_H3_MESSAGE_ERROR, NULL},                         /* no rate */
        {"01 4f", MASQUE_H3_MESSAGE_ERROR, NULL},                      /* cut short */
        {"01 05 02", MASQUE_H3_MESSAGE_ERROR, NULL},
        {"01 05 02 06 4001 05", MASQUE_H3_MESSAGE_ERROR, NULL},        /* a path twice */
        {"01 05 02 06 03 07", 0, "1:5 2:6 3:7 "},
        {"01 05 02 06 03 07 04 08", MASQUE_H3_EXCESSIVE_LOAD, NULL},
        {"01 05 02 06 03 07 03 07", MASQUE_H3_MESSAGE_ERROR, NULL},
        /* clang-format on */
    };
    struct path_rate list[3];
    char text[256];
    uint8_t b[64];
    size_t n, count;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        n = unhex(row[i].bytes, b);
        count = 77;
        if (ipcapsule_parse_rates(span_of(b, n), list, 3, &count) != row[i].err)
            fail_msg("row %zu", i);
        if (row[i].err) {
            assert_int_equal(count, 77);
            continue;
        }
        text[0] = 0;
        for (size_t k = 0; k < count; k++)
            sprintf(text + strlen(text), "%llu:%llu ", (unsigned long long)list[k].path,
                    (unsigned long long)list[k].kbps);
        assert_string_equal(text, row[i].out);
    }
}

/* The capsules of RFC 9484 8.4, byte by byte, and random lists there and back. */
static void writers(void **state)
{
    uint8_t out[2048], want[256];
    struct wire_w w = wire_w_of(out, sizeof(out));
    struct ip_assign a[20] = {{0, prefix("192.0.2.3")}, {0, prefix("2001:db8::1234:1234")}};
    struct ip_range r[20] = {range("198.51.100.2", "198.51.100.2", 17),
                             range("2001:db8:3456::b", "2001:db8:3456::b", 17)};
    struct path_rate rate[20] = {{1, 4000}, {0, 64}}, rate2[20];
    struct ip_assign a2[20];
    struct ip_assign_seen seen;
    struct ip_range r2[20];
    uint64_t seed = 9;
    size_t n;

    (void)state;
    ipcapsule_write_addresses(&w, CAPSULE_ADDRESS_ASSIGN, a, 2);
    ipcapsule_write_routes(&w, r, 2);
    ipcapsule_write_rates(&w, rate, 2);
    n = unhex("01 1a 00 04 c0000203 20 00 06 20010db8000000000000000012341234 80"
              "03 2c 04 c6336402 c6336402 11"
              "   06 20010db834560000000000000000000b 20010db834560000000000000000000b 11"
              "fe1c04e1b2159454 06 01 4fa0 00 4040",
              want);
    assert_int_equal(sizeof(out) - wire_w_left(&w), n);
    assert_memory_equal(out, want, n);
    for (int round = 0; round < 500; round++) {
        struct capsule_reader reader;
        struct capsule c;
        struct span in;
        size_t k = rnd(&seed) % 20, got, len;

        for (size_t i = 0; i < k; i++) {
            struct ip_prefix p = {
                rnd(&seed) % 2 ? ip_addr_v4((uint32_t)rnd(&seed)) : addr("fd00::77"), 0};

            p.len = (uint8_t)(rnd(&seed) % (ip_bits(p.addr.version) + 1));
            a[i] = (struct ip_assign){rnd(&seed) >> (2 + rnd(&seed) % 62), ip_prefix_mask(&p)};
            r[i] = ip_range_of(&p, (uint8_t)(rnd(&seed) % 3));
            rate[i].path = (rnd(&seed) >> (8 + rnd(&seed) % 56)) * 20 + i;
            rate[i].kbps = rnd(&seed) >> (2 + rnd(&seed) % 62);
        }
        w = wire_w_of(out, ipcapsule_rates_size(k));
        ipcapsule_write_rates(&w, rate, k);
        assert_false(w.failed);
        capsule_reader_init(&reader, 0, 1024, 1024);
        reader.also = CAPSULE_PATH_RATES;
        in = span_of(out, ipcapsule_rates_size(k) - wire_w_left(&w));
        assert_int_equal(capsule_next(&reader, &in, &c), 0);
        assert_int_equal(ipcapsule_parse_rates(c.value, rate2, 20, &got), 0);
        assert_int_equal(got, k);
        for (size_t i = 0; i < k; i++)
            assert_true(rate2[i].path == rate[i].path && rate2[i].kbps == rate[i].kbps);
        w = wire_w_of(out, ipcapsule_addresses_size(k) + ipcapsule_routes_size(20));
        ipcapsule_write_addresses(&w, CAPSULE_ADDRESS_ASSIGN, a, k);
        len = ipcapsule_addresses_size(k) + ipcapsule_routes_size(20) - wire_w_left(&w);
        assert_true(!w.failed && len <= ipcapsule_addresses_size(k));
        int m = ip_ranges_normalize(r, k, 20);
        if (m < 0)
            continue;
        ipcapsule_write_routes(&w, r, (size_t)m);
        assert_false(w.failed);
        capsule_reader_init(&reader, ALL, 1024, 1024);
        in = span_of(out,
                     ipcapsule_addresses_size(k) + ipcapsule_routes_size(20) - wire_w_left(&w));
        assert_int_equal(capsule_next(&reader, &in, &c), 0);
        assert_int_equal(ipcapsule_parse_assign(c.value, false, a2, 20, &got, &seen), 0);
        assert_int_equal(got, k);
        for (size_t i = 0; i < k; i++) {
            assert_int_equal(a2[i].request_id, a[i].request_id);
            assert_int_equal(a2[i].prefix.len, a[i].prefix.len);
            assert_true(ip_addr_equal(&a2[i].prefix.addr, &a[i].prefix.addr));
        }
        assert_int_equal(capsule_next(&reader, &in, &c), 0);
        assert_int_equal(ipcapsule_parse_routes(c.value, r2, 20, &got), 0);
        assert_int_equal(got, m);
        for (size_t i = 0; i < got; i++)
            assert_true(ip_addr_equal(&r2[i].start, &r[i].start) &&
                        ip_addr_equal(&r2[i].end, &r[i].end) && r2[i].proto == r[i].proto);
        assert_int_equal(capsule_next(&reader, &in, &c), QUIC_AGAIN);
        assert_int_equal(capsule_end(&reader), 0);
        capsule_reader_free(&reader);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(datagram_prefix), cmocka_unit_test(datagram_errors),
        cmocka_unit_test(any_split),       cmocka_unit_test(endless_unknown),
        cmocka_unit_test(addresses),       cmocka_unit_test(requests),
        cmocka_unit_test(route_capsules),  cmocka_unit_test(rates),
        cmocka_unit_test(writers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
