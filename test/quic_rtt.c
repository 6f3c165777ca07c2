#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "quic/rtt.h"
#include "test/quic_rand.h"

#define MS NS_PER_MS

struct sample {
    ns_t latest, ack_delay;
    bool confirmed;
    ns_t min, smoothed, variation; /* afterwards */
};

/* Worked out by hand from RFC 9002 5.3; max_ack_delay is 25 ms. */
/* clang-format off */
static const struct sample samples[] = {
    /* the first sets all, whatever its delay */
    {100 * MS, 90 * MS, false, 100 * MS, 100 * MS, 50 * MS},
    /* no plausible delay: 100 < 100 + 10, so it isn't subtracted; deviation 0 */
    {100 * MS, 10 * MS, true, 100 * MS, 100 * MS, 37500000},
    /* 180 - 20 = 160; |100 - 160| = 60: (3 * 37.5 + 60) / 4; (700 + 160) / 8 */
    {180 * MS, 20 * MS, true, 100 * MS, 107500000, 43125000},
    /* the delay is cut to 25 ms after confirmation: 175; deviation 67.5 */
    {200 * MS, 80 * MS, true, 100 * MS, 115937500, 49218750},
    /* but taken whole before: 120; deviation 4.0625 */
    {200 * MS, 80 * MS, false, 100 * MS, 116445312, 37929687},
    /* a new minimum */
    {60 * MS, 5 * MS, true, 60 * MS, 109389648, 42558593},
};
/* clang-format on */

static void test_samples(void **state)
{
    struct rtt r;

    (void)state;
    rtt_init(&r, 0);
    assert_false(rtt_has_sample(&r));
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        const struct sample *s = &samples[i];

        rtt_sample(&r, s->latest, s->ack_delay, s->confirmed, 25 * MS, 1000 + i);
        assert_true(rtt_has_sample(&r));
        assert_int_equal(r.first_sample, 1000);
        assert_int_equal(r.latest, s->latest);
        assert_int_equal(r.min, s->min);
        assert_int_equal(r.smoothed, s->smoothed);
        assert_int_equal(r.variation, s->variation);
    }
    rtt_refresh_min(&r);
    assert_int_equal(r.min, 60 * MS);
    rtt_sample(&r, 90 * MS, 0, true, 0, 2000);
    assert_int_equal(r.min, 60 * MS);
    rtt_refresh_min(&r);
    assert_int_equal(r.min, 90 * MS);
}

static void test_initial(void **state)
{
    struct rtt r;

    (void)state;
    rtt_init(&r, 0);
    assert_int_equal(r.smoothed, 333 * MS);
    assert_int_equal(r.variation, 333 * MS / 2);
    /* RFC 9002 6.2.2: a PTO of 1 second, nearly. */
    assert_int_equal(rtt_pto(&r, 0), 999 * MS);
    assert_int_equal(rtt_pto(&r, 25 * MS), 1024 * MS);
    rtt_init(&r, 40 * MS);
    assert_int_equal(rtt_pto(&r, 0), 120 * MS);
    rtt_refresh_min(&r);
    assert_int_equal(r.min, 0);
}

/* Granularity bounds both timers from below on a short path. */
static void test_granularity(void **state)
{
    struct rtt r;

    (void)state;
    rtt_init(&r, 0);
    for (int i = 0; i < 100; i++)
        rtt_sample(&r, 50 * NS_PER_US, 0, true, 25 * MS, 1);
    assert_true(r.variation < MS / 4);
    assert_int_equal(rtt_pto(&r, 0), r.smoothed + MS);
    rtt_init(&r, 0);
    rtt_sample(&r, 80 * MS, 0, true, 0, 1);
    assert_int_equal(rtt_longest(&r), 80 * MS);
    rtt_sample(&r, 160 * MS, 0, true, 0, 1); /* the latest is the larger */
    assert_int_equal(rtt_longest(&r), 160 * MS);
    assert_int_equal(rtt_pto(&r, NS_NEVER), NS_NEVER);
}

/* The same formulas in floating point. */
static void test_oracle(void **state)
{
    struct rnd rnd = {5};
    struct rtt r;
    double smoothed = 0, variation = 0, min = 0;

    (void)state;
    rtt_init(&r, 0);
    for (int i = 0; i < 5000; i++) {
        ns_t latest = 1000 + rnd_below(&rnd, 300 * MS), delay = rnd_below(&rnd, 60 * MS);
        bool confirmed = i > 5;
        double used = (double)(confirmed && delay > 25 * MS ? 25 * MS : delay);
        double adjusted = (double)latest;

        rtt_sample(&r, latest, delay, confirmed, 25 * MS, 1);
        if (!i) {
            smoothed = min = adjusted;
            variation = adjusted / 2;
        } else {
            min = adjusted < min ? adjusted : min;
            if (adjusted >= min + used)
                adjusted -= used;
            variation = 0.75 * variation + 0.25 * (smoothed > adjusted ? smoothed - adjusted
                                                                       : adjusted - smoothed);
            smoothed = 0.875 * smoothed + 0.125 * adjusted;
        }
        assert_true(r.min <= r.latest);
        assert_int_equal(r.min, (uint64_t)min);
        assert_true((double)r.smoothed - smoothed < 20 && smoothed - (double)r.smoothed < 20);
        assert_true((double)r.variation - variation < 20 &&
                    variation - (double)r.variation < 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_initial),
        cmocka_unit_test(test_granularity),
        cmocka_unit_test(test_oracle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
