/* codel: when it speaks, and how often, by tables over time; against RFC 8289's numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "sched/codel.h"

#define MS     NS_PER_MS
#define TARGET (5 * MS)

/* A packet every ms that waited for `sojourn`, from `from` to `to` ms: how many are signalled. */
static unsigned run(struct codel *c, ns_t sojourn, unsigned from, unsigned to)
{
    unsigned n = 0;

    for (unsigned t = from; t < to; t++)
        while (codel_due(c, sojourn, TARGET, false, t * MS))
            n++;
    return n;
}

static void short_queue_is_left_alone(void **state)
{
    struct codel c = {0};

    (void)state;
    assert_int_equal(run(&c, TARGET - 1, 1, 5000), 0);
    /* A burst that is gone within an interval, again and again. */
    for (unsigned t = 5000; t < 9000; t += 110) {
        assert_int_equal(run(&c, 80 * MS, t, t + 99), 0);
        assert_int_equal(run(&c, 0, t + 99, t + 110), 0);
    }
}

static void standing_queue_is_told(void **state)
{
    struct codel c = {0};
    unsigned n = 0;

    (void)state;
    assert_int_equal(run(&c, 20 * MS, 1, 101), 0); /* the first interval */
    /* The k-th after the first comes interval / sqrt(k) after the one before. */
    double next = 101;
    for (unsigned t = 101; t < 2000; t++) {
        unsigned due = 0;

        while (next <= t) {
            due++;
            n++;
            next += 100 / sqrt(n);
        }
        /* the clock of the test is coarse: a signal may fall on the next ms */
        assert_in_range(run(&c, 20 * MS, t, t + 1) + 1, due, due + 2);
    }
    assert_in_range(c.count, n - 1, n + 1);
    /* One packet that did not wait ends it. */
    assert_int_equal(run(&c, TARGET - 1, 2000, 2001), 0);
    assert_int_equal(run(&c, 20 * MS, 2001, 2100), 0);
}

static void last_packet_is_never_dropped(void **state)
{
    struct codel c = {0};

    (void)state;
    for (unsigned t = 1; t < 1000; t++)
        assert_false(codel_due(&c, 500 * MS, TARGET, true, t * MS));
}

static void next_phase_goes_on(void **state)
{
    struct codel fresh = {0}, c = {0};
    unsigned first, again;

    (void)state;
    first = run(&c, 20 * MS, 1, 1500);
    run(&c, 0, 1500, 1510);
    again = run(&c, 20 * MS, 1510, 1910);
    assert_true(first > 10);
    assert_true(again > run(&fresh, 20 * MS, 1, 401)); /* faster than from scratch */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_queue_is_left_alone),
        cmocka_unit_test(standing_queue_is_told),
        cmocka_unit_test(last_packet_is_never_dropped),
        cmocka_unit_test(next_phase_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
