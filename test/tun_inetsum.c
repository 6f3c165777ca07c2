/* inetsum: vectors of RFC 1071, and the sum of single words at every length and alignment. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "test/quic_rand.h"
#include "tun/inetsum.h"

/* The words added one by one, as RFC 1071 1 defines it; in the packet's byte order. */
static uint16_t naive(const uint8_t *p, size_t n)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < n; i++) {
        sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return htobe16((uint16_t)sum);
}

/* 0 and 0xffff are the same number, and only data of zeros gives 0. */
static void vectors(void **state)
{
    static const uint8_t rfc[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    uint8_t b[256];

    (void)state;
    assert_int_equal(inetsum_fold(inetsum_add(0, rfc, sizeof(rfc))), htobe16(0xddf2));
    assert_int_equal(inetsum_fold(inetsum_add(0, rfc, 0)), 0);
    assert_int_equal(inetsum_fold(inetsum_add(0, rfc, 3)), htobe16(0xf201));
    assert_int_equal(inetsum_fold(inetsum_word(0, 0x1234)), htobe16(0x1234));
    memset(b, 0, sizeof(b));
    assert_int_equal(inetsum_fold(inetsum_add(0, b, sizeof(b))), 0);
    memset(b, 0xff, sizeof(b));
    for (size_t n = 2; n <= sizeof(b); n += 2)
        assert_int_equal(inetsum_fold(inetsum_add(0, b, n)), 0xffff);
    assert_int_equal(inetsum_fold(UINT64_MAX), 0xffff);
}

static void every_length_and_alignment(void **state)
{
    static uint8_t b[2048 + 64];
    struct rnd r = {1};

    (void)state;
    for (int fill = 0; fill < 3; fill++) {
        for (size_t i = 0; i < sizeof(b); i++)
            b[i] = fill == 0 ? (uint8_t)rnd_next(&r) : fill == 1 ? 0xff : (uint8_t)(i == 70);
        for (size_t n = 0; n <= 2048; n += n < 300 ? 1 : 1 + rnd_below(&r, 40))
            for (size_t at = 0; at < 9; at++) {
                assert_int_equal(inetsum_fold(inetsum_add(0, b + at, n)), naive(b + at, n));
                if (n % 4 == 0)
                    assert_int_equal(inetsum_fold(inetsum_few(0, b + at, n)),
                                     naive(b + at, n));
            }
    }
}

static void in_pieces(void **state)
{
    static uint8_t b[70000];
    struct rnd r = {2};

    (void)state;
    rnd_fill(&r, b, sizeof(b));
    for (int round = 0; round < 2000; round++) {
        size_t n = rnd_below(&r, round % 10 ? 3000 : sizeof(b)), at = 0;
        uint64_t sum = 0;

        while (at < n) {
            size_t k = 2 * rnd_below(&r, n / 2 + 2);

            if (k > n - at)
                k = n - at;
            sum = inetsum_add(sum, b + at, k);
            at += k;
        }
        assert_int_equal(inetsum_fold(sum), naive(b, n));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors),
        cmocka_unit_test(every_length_and_alignment),
        cmocka_unit_test(in_pieces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
