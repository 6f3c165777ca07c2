#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "quic/pacer.h"
#include "test/quic_rand.h"

#define US   NS_PER_US
#define MS   NS_PER_MS
#define MBIT ((uint64_t)1000000)

struct burst {
    size_t mss;
    uint64_t bps;
    size_t burst;
};

/* clang-format off */
static const struct burst bursts[] = {
    {1200, 0, 19200},              /* 16 packets */
    {1200, 1 * MBIT, 19200},
    {1452, 100 * MBIT, 23232},     /* 1 ms of it would be 12500 */
    {1200, 160 * MBIT, 20000},     /* 1 ms of it */
    {1200, 500 * MBIT, 62500},
    {1200, 1000 * MBIT, 65536},    /* no more than one offloaded send */
    {9000, 1 * MBIT, 65536},
    {1200, 100000 * MBIT, 65536},
};
/* clang-format on */

static void test_burst(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bursts); i++) {
        struct pacer p;

        pacer_init(&p, bursts[i].mss);
        pacer_rate(&p, bursts[i].bps, 0);
        assert_true(pacer_check(&p));
        if (!bursts[i].bps)
            assert_int_equal(pacer_ready(&p, 0), SIZE_MAX);
        pacer_rate(&p, bursts[i].bps, 1000 * MS);
        /* Full after a second, and never more. */
        if (bursts[i].bps)
            assert_int_equal(pacer_ready(&p, 1000 * MS), bursts[i].burst);
        assert_int_equal(p.burst, bursts[i].burst);
    }
}

static void test_steps(void **state)
{
    struct pacer p;

    (void)state;
    pacer_init(&p, 1000);
    pacer_rate(&p, 8 * MBIT, 0); /* one byte per microsecond */
    assert_int_equal(pacer_ready(&p, 0), 16000);
    pacer_sent(&p, 16000, 0);
    assert_int_equal(pacer_ready(&p, 0), 0);
    assert_int_equal(pacer_next(&p, 1000), 1000 * US);
    assert_int_equal(pacer_ready(&p, 999 * US), 999);
    assert_int_equal(pacer_ready(&p, 1000 * US), 1000);
    assert_int_equal(pacer_ready(&p, 1), 0);             /* a thousandth of a byte */
    assert_int_equal(pacer_next(&p, 99999), 16000 * US); /* cut to the burst */
    pacer_sent(&p, 1000, 500 * US);                      /* could not wait */
    assert_int_equal(pacer_ready(&p, 1000 * US), 0);
    assert_int_equal(pacer_next(&p, 1), 1001 * US);
    pacer_sent(&p, 1000000, 500 * US); /* debt is bounded by one burst */
    assert_int_equal(pacer_next(&p, 1), 16501 * US);
    assert_true(pacer_check(&p));
    /* The clock standing still or going back gives nothing. */
    assert_int_equal(pacer_ready(&p, 0), 0);
    pacer_sent(&p, 0, 0);
    assert_int_equal(pacer_next(&p, 1), 16501 * US);
    /* Off: anything goes; on again: from where it was. */
    pacer_rate(&p, 0, 600 * US);
    assert_int_equal(pacer_ready(&p, 600 * US), SIZE_MAX);
    pacer_sent(&p, 5000, 700 * US);
    pacer_rate(&p, 16 * MBIT, 700 * US);
    assert_true(pacer_check(&p));
    assert_int_equal(pacer_next(&p, 2), 700 * US + 7951 * US);
    /* Smaller packets, smaller bucket. */
    pacer_set_mss(&p, 1200);
    pacer_set_mss(&p, 500);
    assert_true(pacer_check(&p));
    assert_int_equal(pacer_ready(&p, 10000 * MS), 8000);
}

/* No rounding: at a rate of 3 bits per second the first byte takes 8/3 seconds. */
static void test_slow(void **state)
{
    struct pacer p;

    (void)state;
    pacer_init(&p, 1200);
    pacer_rate(&p, 3, 0);
    pacer_sent(&p, 19200, 0);
    for (ns_t now = 0; now < 2666666667; now += 999983) { /* asking changes nothing */
        assert_true(pacer_ready(&p, now) <= 1);
        pacer_sent(&p, 0, now);
    }
    assert_int_equal(pacer_next(&p, 1), 2666666667);
    pacer_sent(&p, 0, 2666666667);
    assert_int_equal(pacer_ready(&p, 2666666667), 1);
    assert_int_equal(pacer_next(&p, 1), 2666666667);
}

/*
 * The inequality of the header, over every pair of instants, for a sender that wakes up
 * when it is told to, or late, and sends packets of any size up to P while it may.
 */
static void test_inequality(void **state)
{
    static ns_t at[4000];
    static uint64_t sum[4000];

    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct rnd rnd = {seed};
        uint64_t bps = rnd_below(&rnd, 5000 * MBIT) + 1000, total = 0;
        size_t mss = 1200 + rnd_below(&rnd, 300), n = 0;
        struct pacer p;
        ns_t now = 0, late = rnd_below(&rnd, 3000) * US;

        pacer_init(&p, mss);
        pacer_rate(&p, bps, 0);
        while (n < ARRAY_LEN(at)) {
            while (pacer_ready(&p, now) && n < ARRAY_LEN(at)) {
                size_t bytes = 1 + rnd_below(&rnd, mss);

                at[n] = now;
                sum[n++] = total;
                total += bytes;
                pacer_sent(&p, bytes, now);
                assert_true(pacer_check(&p));
            }
            now = ns_max(now, pacer_next(&p, mss)) + (late ? rnd_below(&rnd, late) : 0);
        }
        /* Bytes sent from instant i up to, not including, the send at j. */
        for (size_t i = 0; i < n; i++) {
            for (size_t j = i + 1; j < n; j += 1 + j / 100) {
                double carried = (double)bps / 8 * (double)(at[j] - at[i]) / 1e9;

                assert_true((double)(sum[j] - sum[i]) <= (double)(p.burst + mss) + carried + 1);
            }
        }
        /* A punctual sender gets what it is due. */
        if (late < 10 * US)
            assert_true((double)sum[n - 1] >=
                        (double)bps / 8 * (double)at[n - 1] / 1e9 - (double)(p.burst + mss));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_burst),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_slow),
        cmocka_unit_test(test_inequality),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
