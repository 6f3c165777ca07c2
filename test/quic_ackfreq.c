#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "quic/ackfreq.h"
#include "test/quic_rand.h"

#define MS  NS_PER_MS
#define OWN (25 * MS) /* the peer's max_ack_delay */

/* What is asked for a path, of a peer with these limits. */
static const struct {
    const char *what;
    struct ackfreq_path path;
    ns_t min_delay, own_delay;
    bool due;
    struct ackfreq_ask want;
} rows[] = {
    {"initial window", {10, 40 * MS, true, 3}, MS, OWN, false, {1, 10 * MS, 3}},
    {"small window", {62, 40 * MS, false, 3}, MS, OWN, false, {2, 10 * MS, 3}},
    {"twice the default", {64, 40 * MS, false, 3}, MS, OWN, true, {3, 10 * MS, 3}},
    {"the same in slow start", {64, 40 * MS, true, 3}, MS, OWN, false, {1, 10 * MS, 3}},
    {"slow start", {128, 40 * MS, true, 3}, MS, OWN, true, {3, 10 * MS, 3}},
    {"100 Mbit/s, 40 ms", {416, 40 * MS, false, 3}, MS, OWN, true, {15, 10 * MS, 3}},
    {"1 Gbit/s, 10 ms", {1000, 10 * MS, false, 3}, MS, OWN, true, {61, 2500000, 3}},
    {"as wide as can be",
     {UINT64_MAX / 1200, 40 * MS, true, 3},
     MS,
     OWN,
     true,
     {63, 10 * MS, 3}},
    {"long", {1000, 600 * MS, false, 3}, MS, OWN, true, {15, OWN, 3}},
    {"short", {1000, 1 * MS, false, 3}, MS, OWN, true, {61, MS, 3}},
    {"whole microseconds", {1000, 40001234, false, 3}, MS, OWN, true, {23, 10 * MS, 3}},
    {"a peer that can't wait longer",
     {1000, 40 * MS, false, 3},
     MS,
     5 * MS,
     true,
     {23, 5 * MS, 3}},
    {"a peer with one delay", {1000, 40 * MS, false, 3}, OWN, OWN, true, {23, OWN, 3}},
    {"more reordering", {1000, 40 * MS, false, 9}, MS, OWN, true, {23, 10 * MS, 9}},
    {"does not understand", {1000, 40 * MS, false, 3}, NS_NEVER, OWN, false, {1, OWN, 1}},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct ackfreq a;

        ackfreq_init(&a, rows[i].min_delay, rows[i].own_delay);
        assert_int_equal(ackfreq_delay(&a), rows[i].own_delay);
        ackfreq_update(&a, &rows[i].path, 1, NS_PER_S);
        if (ackfreq_due(&a) != rows[i].due || a.want.threshold != rows[i].want.threshold)
            print_error("%s\n", rows[i].what);
        assert_int_equal(ackfreq_due(&a), rows[i].due);
        assert_int_equal(a.want.threshold, rows[i].want.threshold);
        assert_int_equal(a.want.delay, rows[i].want.delay);
        assert_int_equal(a.want.reordering, rows[i].want.reordering);
        assert_true(ackfreq_check(&a));
    }
}

/* Several paths: the threshold of the widest, the delay of the shortest. */
static void test_paths(void **state)
{
    static const struct ackfreq_path paths[] = {{20, 8 * MS, true, 3},
                                                {400, 80 * MS, false, 5}};
    struct ackfreq a;

    (void)state;
    ackfreq_init(&a, MS, OWN);
    ackfreq_update(&a, paths, 2, NS_PER_S);
    assert_true(ackfreq_due(&a));
    assert_int_equal(a.want.threshold, 15);
    assert_int_equal(a.want.delay, 2 * MS);
    assert_int_equal(a.want.reordering, 5);
}

static bool asks(struct ackfreq *a, uint64_t window, ns_t srtt, ns_t now)
{
    struct ackfreq_path p = {window, srtt, false, 3};

    ackfreq_update(a, &p, 1, now);
    assert_true(ackfreq_check(a));
    return ackfreq_due(a);
}

static void test_life(void **state)
{
    struct ackfreq a;
    struct ackfreq_ask ask;
    ns_t now = NS_PER_S;

    (void)state;
    ackfreq_init(&a, MS, OWN);
    assert_true(asks(&a, 200, 40 * MS, now));
    assert_int_equal(ackfreq_next(&a, &ask, now), 0);
    assert_int_equal(ask.threshold, 11);
    assert_int_equal(ask.delay, 10 * MS);
    assert_false(ackfreq_due(&a));
    /* The longer of two delays, until it is known which one holds. */
    assert_int_equal(ackfreq_delay(&a), OWN);
    assert_false(asks(&a, 2000, 40 * MS, now + NS_PER_S)); /* one at a time */
    ackfreq_on_acked(&a, 0, ask.delay);
    assert_int_equal(ackfreq_delay(&a), 10 * MS);
    /* Not for little, not for a reordering that stays; for twice, half, and another delay. */
    now += NS_PER_S;
    assert_false(asks(&a, 300, 40 * MS, now));
    assert_false(asks(&a, 200, 70 * MS, now));
    assert_true(asks(&a, 200, 10 * MS, now));
    assert_true(asks(&a, 80, 40 * MS, now));
    assert_true(asks(&a, 1000, 40 * MS, now));
    assert_false(asks(&a, 200, 40 * MS, now)); /* what was due is not any more */
    assert_true(asks(&a, 2000, 80 * MS, now));
    assert_int_equal(ackfreq_next(&a, &ask, now), 1);
    assert_int_equal(ackfreq_delay(&a), 20 * MS);
    /* Lost: said again, with what is true by then; both delays may hold. */
    ackfreq_on_lost(&a, 0); /* an old story */
    assert_false(asks(&a, 2000, 40 * MS, now + NS_PER_S));
    ackfreq_on_lost(&a, 1);
    assert_false(asks(&a, 420, 40 * MS, now + 79 * MS)); /* once in a round trip */
    assert_true(asks(&a, 420, 40 * MS, now + 80 * MS));
    assert_int_equal(ackfreq_next(&a, &ask, now + 80 * MS), 2);
    assert_int_equal(ask.delay, 10 * MS);
    assert_int_equal(ackfreq_delay(&a), 20 * MS);
    ackfreq_on_acked(&a, 1, 20 * MS); /* spuriously lost: nothing is settled by it */
    assert_int_equal(ackfreq_delay(&a), 20 * MS);
    ackfreq_on_acked(&a, 2, ask.delay);
    assert_int_equal(ackfreq_delay(&a), 10 * MS);
    /* Lost, and then it wasn't: nothing to say. */
    now += NS_PER_S;
    assert_true(asks(&a, 100, 40 * MS, now));
    assert_int_equal(ackfreq_next(&a, &ask, now), 3);
    ackfreq_on_lost(&a, 3);
    ackfreq_on_acked(&a, 3, ask.delay);
    assert_false(asks(&a, 100, 40 * MS, now + NS_PER_S));
}

/* Whatever happens: one frame in flight, within bounds, and the delay is never too short. */
static void test_random(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct rnd rnd = {seed};
        struct ackfreq a;
        ns_t now = 0, peer = OWN; /* what the peer goes by */
        uint64_t seq = 0, heard = 0;
        struct ackfreq_ask ask = {0};
        bool waits = false;

        ackfreq_init(&a, MS, OWN);
        for (int i = 0; i < 2000; i++) {
            struct ackfreq_path p = {rnd_below(&rnd, 3000), 1 + rnd_below(&rnd, 200 * MS),
                                     rnd_chance(&rnd, 1, 2), 3};

            now += rnd_below(&rnd, 50 * MS);
            ackfreq_update(&a, &p, 1, now);
            assert_true(ackfreq_check(&a));
            assert_false(waits && ackfreq_due(&a));
            if (ackfreq_due(&a)) {
                assert_int_equal(ackfreq_next(&a, &ask, now), seq++);
                assert_in_range(ask.delay, MS, OWN);
                assert_in_range(ask.threshold, 1, ACKFREQ_MAX - 1);
                waits = true;
                if (rnd_chance(&rnd, 2, 3)) {
                    peer = ask.delay;
                    heard = seq;
                }
            }
            assert_true(ackfreq_delay(&a) >= peer);
            if (!waits || !rnd_chance(&rnd, 1, 3))
                continue;
            if (heard == seq && rnd_chance(&rnd, 4, 5))
                ackfreq_on_acked(&a, seq - 1, ask.delay);
            else
                ackfreq_on_lost(&a, seq - 1);
            waits = false;
        }
        assert_true(seq > 50);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
