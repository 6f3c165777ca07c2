#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "quic/wire.h"
#include "test/quic_hex.h"

/* RFC 9000 A.1, and the edges of each length. */
static const struct {
    const char *wire;
    uint64_t value;
    bool shortest;
} varints[] = {
    {"c2197c5eff14e88c", 151288809941952652, true},
    {"9d7f3e7d", 494878333, true},
    {"7bbd", 15293, true},
    {"25", 37, true},
    {"4025", 37, false},
    {"00", 0, true},
    {"3f", 63, true},
    {"4040", 64, true},
    {"7fff", 16383, true},
    {"80004000", 16384, true},
    {"bfffffff", 1073741823, true},
    {"c000000040000000", 1073741824, true},
    {"ffffffffffffffff", VARINT_MAX, true},
    {"4000", 0, false},
    {"80000000", 0, false},
    {"c000000000000000", 0, false},
    {"c00000003fffffff", 1073741823, false},
};

static void test_varint(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(varints); i++) {
        struct hex h = hex_of(varints[i].wire);
        struct wire_r r = wire_r_of(h.b, h.n);
        uint8_t out[8];
        struct wire_w w = wire_w_of(out, sizeof(out));

        assert_int_equal(wire_r_varint(&r), varints[i].value);
        assert_false(r.failed);
        assert_int_equal(wire_r_left(&r), 0);
        wire_w_varint_len(&w, varints[i].value, h.n);
        assert_false(w.failed);
        assert_memory_equal(out, h.b, h.n);
        assert_int_equal(varint_len(varints[i].value) == h.n, varints[i].shortest);
        if (!varints[i].shortest)
            continue;
        w = wire_w_of(out, sizeof(out));
        wire_w_varint(&w, varints[i].value);
        assert_int_equal(w.p - out, h.n);
        assert_memory_equal(out, h.b, h.n);
    }
}

/* Each varint is refused when cut short at any length, and the reader stays failed. */
static void test_varint_truncated(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(varints); i++) {
        struct hex h = hex_of(varints[i].wire);

        for (size_t n = 0; n < h.n; n++) {
            uint8_t *p = exact_copy(h.b, n);
            struct wire_r r = wire_r_of(p, n);

            assert_int_equal(wire_r_varint(&r), 0);
            assert_true(r.failed);
            assert_int_equal(wire_r_left(&r), 0);
            free(p);
        }
    }
}

static void test_varint_too_large(void **state)
{
    uint8_t out[16];
    struct wire_w w = wire_w_of(out, sizeof(out));

    (void)state;
    assert_int_equal(varint_len(VARINT_MAX + 1), 0);
    assert_int_equal(varint_len(UINT64_MAX), 0);
    wire_w_varint(&w, VARINT_MAX + 1);
    assert_true(w.failed);
    w = wire_w_of(out, sizeof(out));
    wire_w_varint_len(&w, 64, 1);
    assert_true(w.failed);
    w = wire_w_of(out, sizeof(out));
    wire_w_varint_len(&w, 16384, 2);
    assert_true(w.failed);
}

static void test_integers(void **state)
{
    uint8_t out[15];
    static const uint8_t want[15] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    struct wire_w w = wire_w_of(out, sizeof(out));
    struct wire_r r = wire_r_of(want, sizeof(want));

    (void)state;
    wire_w_u8(&w, 0x01);
    wire_w_u16(&w, 0x0203);
    wire_w_u32(&w, 0x04050607);
    wire_w_u64(&w, 0x08090a0b0c0d0e0f);
    assert_false(w.failed);
    assert_int_equal(wire_w_left(&w), 0);
    assert_memory_equal(out, want, sizeof(want));
    assert_int_equal(wire_r_u8(&r), 0x01);
    assert_int_equal(wire_r_u16(&r), 0x0203);
    assert_int_equal(wire_r_u32(&r), 0x04050607);
    assert_int_equal(wire_r_u64(&r), 0x08090a0b0c0d0e0f);
    assert_false(r.failed);
    assert_int_equal(wire_r_u8(&r), 0);
    assert_true(r.failed);
}

/* After a failure nothing is read or written any more, even where it would fit. */
static void test_sticky(void **state)
{
    uint8_t buf[4] = {1, 2, 3, 4}, copy[2] = {9, 9};
    struct wire_r r = wire_r_of(buf, sizeof(buf));
    struct wire_w w = wire_w_of(buf, sizeof(buf));

    (void)state;
    assert_int_equal(wire_r_u64(&r), 0);
    assert_true(r.failed);
    assert_int_equal(wire_r_u8(&r), 0);
    assert_int_equal(wire_r_bytes(&r, 0).n, 0);
    assert_true(r.failed);
    wire_r_copy(&r, copy, 2);
    assert_int_equal(copy[0], 0);
    assert_int_equal(copy[1], 0);

    wire_w_u64(&w, 5);
    assert_true(w.failed);
    wire_w_u8(&w, 5);
    wire_w_bytes(&w, "x", 1);
    wire_w_zero(&w, 1);
    assert_int_equal(buf[0], 1);
    assert_int_equal(buf[3], 4);
}

static void test_bytes(void **state)
{
    struct hex h = hex_of("03 616263 02 6465 05 66");
    struct wire_r r = wire_r_span(hex_span(&h));
    uint8_t out[16];
    struct wire_w w = wire_w_of(out, sizeof(out));
    struct span s;

    (void)state;
    s = wire_r_vec(&r);
    assert_int_equal(s.n, 3);
    assert_memory_equal(s.p, "abc", 3);
    s = wire_r_vec(&r);
    assert_memory_equal(s.p, "de", 2);
    s = wire_r_vec(&r);
    assert_int_equal(s.n, 0);
    assert_true(r.failed);

    wire_w_vec(&w, SPAN_LIT("abc"));
    wire_w_span(&w, SPAN_LIT(""));
    wire_w_vec(&w, SPAN_LIT(""));
    wire_w_zero(&w, 2);
    assert_int_equal(w.p - out, 7);
    assert_memory_equal(out, "\3abc\0\0\0", 7);
    wire_w_zero(&w, 10);
    assert_true(w.failed);
}

/* A length from the wire near 2^62 doesn't overflow anything. */
static void test_huge_length(void **state)
{
    struct hex h = hex_of("ffffffffffffffff 00");
    struct wire_r r = wire_r_span(hex_span(&h));

    (void)state;
    assert_int_equal(wire_r_vec(&r).n, 0);
    assert_true(r.failed);
    r = wire_r_span(hex_span(&h));
    assert_int_equal(wire_r_bytes(&r, UINT64_MAX).n, 0);
    assert_true(r.failed);
}

/* An empty span has no address; cursors over it hold nothing and fail cleanly. */
static void test_null(void **state)
{
    struct wire_r r = wire_r_span((struct span){NULL, 0});
    struct wire_w w = wire_w_of(NULL, 0);

    (void)state;
    assert_int_equal(wire_r_left(&r), 0);
    assert_int_equal(wire_w_left(&w), 0);
    assert_int_equal(wire_r_bytes(&r, 0).n, 0);
    assert_false(r.failed);
    wire_w_bytes(&w, NULL, 0);
    wire_w_zero(&w, 0);
    assert_false(w.failed);
    wire_w_u8(&w, 1);
    assert_true(w.failed);
    assert_int_equal(wire_r_u8(&r), 0);
    assert_true(r.failed);
}

static void test_varint_random(void **state)
{
    uint64_t seed = 1;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint64_t v = rand_varint(&seed);
        size_t len = (size_t)1 << rand_below(&seed, 4);
        uint8_t out[8];
        struct wire_w w = wire_w_of(out, len);
        struct wire_r r = wire_r_of(out, len);

        wire_w_varint_len(&w, v, len);
        assert_int_equal(w.failed, varint_len(v) > len);
        if (w.failed)
            continue;
        assert_int_equal(wire_r_varint(&r), v);
        assert_int_equal(wire_r_left(&r), 0);
    }
}

/* Numbers of 24 bits, as far off as they can be told apart. */
static void test_expand(void **state)
{
    static const struct {
        uint64_t near;
        int64_t off;
    } rows[] = {{0, 0},
                {5, -5},
                {5, 0x7fffff},
                {0xffffff, 1},
                {0x1000000, -1},
                {0x2fffff0, 500},
                {0x3000005, -10},
                {0x5800000, 0x7fffff},
                {0x57fffff, -0x7fffff}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t n = rows[i].near + (uint64_t)rows[i].off;

        assert_int_equal(wire_expand((uint32_t)n & 0xffffff, 24, rows[i].near), n);
        assert_int_equal(wire_expand((uint32_t)n | 0xa5000000, 24, rows[i].near), n);
    }
    assert_int_equal(wire_expand(0xffffff, 24, 0), 0xffffff); /* nothing is below 0 */
    assert_int_equal(wire_expand(0, 32, 0xffffffff), (uint64_t)1 << 32);
    assert_int_equal(wire_expand(1, 1, 6), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_varint),           cmocka_unit_test(test_varint_truncated),
        cmocka_unit_test(test_varint_too_large), cmocka_unit_test(test_integers),
        cmocka_unit_test(test_sticky),           cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_huge_length),      cmocka_unit_test(test_null),
        cmocka_unit_test(test_varint_random),    cmocka_unit_test(test_expand),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
