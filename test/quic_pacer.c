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
    uint64_t quantum;
    size_t burst, train;
};

/* clang-format off */
static const struct burst bursts[] = {
    {1200, 0, 0, 12000, 2400},
    {1200, 1 * MBIT, 0, 12000, 2400},         /* 10 packets, and 2 */
    {1452, 60 * MBIT, 0, 15000, 7500},        /* 2 ms of it, and 1 */
    {1452, 100 * MBIT, 0, 23232, 11616},      /* 16 packets, and half of that */
    {1200, 160 * MBIT, 0, 20000, 10000},      /* 1 ms of it */
    {1200, 500 * MBIT, 0, 62500, 19200},      /* and 16 packets */
    {1200, 1000 * MBIT, 0, 65536, 19200},     /* no more than one offloaded send */
    {9000, 1 * MBIT, 0, 65536, 18000},
    {1200, 2097 * MBIT, 0, 65536, 19200},
    {1200, 4000 * MBIT, 0, 125000, 19200},    /* but for fast ones: 1/4 ms of it */
    {1200, 100000 * MBIT, 0, 262144, 19200},
    {1200, 4000 * MBIT, 50000, 125000, 19200},
    {1200, 10 * MBIT, 1, 2400, 1200},         /* a quantum: at least 2 packets */
    {1200, 100 * MBIT, 5000, 5000, 2500},
    {1200, 100 * MBIT, 30000, 30000, 12500},
    {1200, 100 * MBIT, 1000000, 65536, 12500},
};
/* clang-format on */

static void test_burst(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bursts); i++) {
        const struct burst *b = &bursts[i];
        struct pacer p;

        pacer_init(&p, b->mss);
        pacer_rate(&p, b->bps, 0);
        pacer_quantum(&p, b->quantum);
        assert_true(pacer_check(&p));
        if (!b->bps)
            assert_int_equal(pacer_ready(&p, 0), SIZE_MAX);
        pacer_rate(&p, b->bps, 1000 * MS);
        assert_int_equal(p.burst, b->burst);
        assert_int_equal(p.train, b->train);
        if (!b->bps)
            continue;
        /* Full after a second, and never more. */
        assert_int_equal(pacer_ready(&p, 1000 * MS), b->burst);
        /* Emptied, it waits for a train. */
        pacer_sent(&p, b->burst, 1000 * MS);
        ns_t next = pacer_next(&p);
        assert_int_equal(pacer_ready(&p, next - 1), 0);
        assert_int_equal(pacer_ready(&p, next), b->train);
        assert_true(b->bps < 10 * MBIT || next - 1000 * MS <= 2 * MS);
    }
}

static void test_steps(void **state)
{
    struct pacer p;

    (void)state;
    pacer_init(&p, 1000);
    pacer_rate(&p, 8 * MBIT, 0); /* one byte per microsecond: 10 packets, trains of 2 */
    assert_int_equal(pacer_ready(&p, 0), 10000);
    pacer_sent(&p, 9000, 0); /* not empty: it gives what it has */
    assert_int_equal(pacer_ready(&p, 0), 1000);
    assert_int_equal(pacer_next(&p), 0);
    pacer_sent(&p, 1000, 0);
    assert_int_equal(pacer_ready(&p, 0), 0);
    assert_int_equal(pacer_next(&p), 2000 * US);
    assert_int_equal(pacer_ready(&p, 1999 * US), 0);
    assert_int_equal(pacer_ready(&p, 2000 * US), 2000);
    pacer_sent(&p, 1000, 500 * US); /* could not wait */
    assert_int_equal(pacer_ready(&p, 2999 * US), 0);
    assert_int_equal(pacer_next(&p), 3000 * US);
    pacer_sent(&p, 1000, 3000 * US); /* half of a train: the other half may go */
    assert_int_equal(pacer_ready(&p, 3000 * US), 1000);
    assert_int_equal(pacer_next(&p), 3000 * US);
    pacer_sent(&p, 1000000, 3000 * US); /* debt is bounded by one burst */
    assert_int_equal(pacer_next(&p), 15000 * US);
    assert_true(pacer_check(&p));
    /* The clock standing still or going back gives nothing. */
    assert_int_equal(pacer_ready(&p, 0), 0);
    pacer_sent(&p, 0, 0);
    assert_int_equal(pacer_next(&p), 15000 * US);
    /* Off: anything goes; on again: from where it was. */
    pacer_rate(&p, 0, 3000 * US);
    assert_int_equal(pacer_ready(&p, 3000 * US), SIZE_MAX);
    pacer_sent(&p, 5000, 3500 * US);
    pacer_rate(&p, 16 * MBIT, 3500 * US);
    assert_true(pacer_check(&p));
    assert_int_equal(pacer_next(&p), 3500 * US + 6000 * US);
    /* Smaller packets, smaller bucket. */
    pacer_set_mss(&p, 1200);
    pacer_set_mss(&p, 500);
    assert_true(pacer_check(&p));
    assert_int_equal(pacer_ready(&p, 10000 * MS), 5000);
}

/* No rounding: at a rate of 3 bits per second a train of 2400 bytes takes 6400 seconds. */
static void test_slow(void **state)
{
    struct pacer p;
    ns_t s = NS_PER_S;

    (void)state;
    pacer_init(&p, 1200);
    pacer_rate(&p, 3, 0);
    pacer_sent(&p, 12000, 0);
    for (ns_t now = 0; now < 6400 * s; now += 1000003) { /* asking changes nothing */
        assert_int_equal(pacer_ready(&p, now), 0);
        pacer_sent(&p, 0, now);
    }
    assert_int_equal(pacer_next(&p), 6400 * s);
    pacer_sent(&p, 0, 6400 * s);
    assert_int_equal(pacer_ready(&p, 6400 * s), 2400);
    pacer_sent(&p, 1200, 6400 * s);
    assert_int_equal(pacer_ready(&p, 6400 * s), 1200);
    pacer_sent(&p, 1, 6400 * s); /* no packet is left, so it waits for a train again */
    assert_int_equal(pacer_ready(&p, 6400 * s), 0);
    assert_int_equal(pacer_next(&p), 6400 * s + 1201 * 8 * s / 3 + 1);
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
            now = ns_max(now, pacer_next(&p)) + (late ? rnd_below(&rnd, late) : 0);
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
