/* The thresholds of loss detection: what makes them grow and shrink, and their bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "quic/reorder.h"
#include "test/quic_rand.h"

#define MS  NS_PER_MS
#define RTT (80 * MS)

enum what { LATE, SPURIOUS, LOST, ROUND };

struct step {
    enum what what;
    uint64_t distance; /* of a late packet; else how many times */
    ns_t took;         /* ms */
    uint32_t packets, eighths;
};

/* clang-format off */
static const struct step spurious[] = {
    {ROUND, 1, 0, 3, 1},
    {LATE, 2, 85, 3, 1},
    {SPURIOUS, 3, 85, 4, 1},       /* four behind would have been needed */
    {SPURIOUS, 3, 85, 4, 1},
    {SPURIOUS, 100, 85, 6, 1},     /* twofold in a round trip, no more */
    {SPURIOUS, 100, 95, 6, 2},     /* 95 ms are 1.5 eighths beyond 80 */
    {SPURIOUS, 100, 300, 6, 2},
    {ROUND, 1, 0, 6, 2},
    {SPURIOUS, 100, 300, 12, 4},
    {ROUND, 1, 0, 12, 4},
    {SPURIOUS, 100, 300, 24, 8},
    {ROUND, 1, 0, 24, 8},
    {SPURIOUS, 100, 3000, 48, 8},  /* never more than two round trips */
    {ROUND, 1, 0, 48, 8},
    {SPURIOUS, 60, 80, 61, 8},
};
static const struct step shrinking[] = {
    {SPURIOUS, 5, 90, 6, 2},
    {ROUND, 1, 0, 6, 2},
    {SPURIOUS, 10, 110, 11, 4},
    {ROUND, 100, 0, 11, 4},        /* no losses: no reason */
    {LOST, 15, 0, 11, 4},
    {LOST, 1, 0, 7, 2},            /* halfway back after 16 */
    {LOST, 15, 0, 7, 2},
    {LATE, 5, 0, 7, 2},            /* still needed: 6 of 7 */
    {LOST, 1, 0, 7, 1},
    {LOST, 15, 0, 7, 1},
    {LATE, 3, 200, 7, 1},          /* 4 of 7 */
    {LOST, 16, 0, 7, 1},
    {LOST, 1, 0, 5, 1},
    {LATE, 1, 0, 5, 1},            /* 2 of 5: not needed */
    {LOST, 16, 0, 4, 1},
    {LOST, 16, 0, 3, 1},
    {LOST, 160, 0, 3, 1},
};
/* clang-format on */

static void play(const struct step *s, size_t n)
{
    struct reorder r;

    reorder_init(&r);
    assert_int_equal(reorder_packets(&r), 3);
    assert_int_equal(reorder_delay(&r, RTT), 90 * MS); /* 9/8 */
    for (size_t i = 0; i < n; i++, s++) {
        if (s->what == LATE || s->what == SPURIOUS)
            reorder_late(&r, s->distance, s->took * MS, RTT, s->what == SPURIOUS);
        for (uint64_t k = 0; s->what == ROUND && k < s->distance; k++)
            reorder_round(&r);
        for (uint64_t k = 0; s->what == LOST && k < s->distance; k++) {
            reorder_lost(&r);
            reorder_round(&r);
        }
        if (reorder_packets(&r) != s->packets || r.eighths.value != s->eighths)
            print_error("step %zu: %u %u\n", i, reorder_packets(&r), r.eighths.value);
        assert_int_equal(reorder_packets(&r), s->packets);
        assert_int_equal(r.eighths.value, s->eighths);
        assert_true(reorder_check(&r));
    }
}

static void test_steps(void **state)
{
    (void)state;
    play(spurious, ARRAY_LEN(spurious));
    play(shrinking, ARRAY_LEN(shrinking));
}

/* Whatever a peer acknowledges, the bounds hold; and what was late is spared the next time. */
static void test_random(void **state)
{
    struct rnd rnd = {1};
    struct reorder r;

    (void)state;
    reorder_init(&r);
    for (int i = 0; i < 200000; i++) {
        uint64_t distance = rnd_below(&rnd, rnd_chance(&rnd, 1, 100) ? UINT64_MAX : 200);
        ns_t took = rnd_below(&rnd, rnd_chance(&rnd, 1, 100) ? NS_NEVER : 300 * MS);
        ns_t rtt = rnd_chance(&rnd, 1, 20) ? rnd_below(&rnd, 20) : rnd_below(&rnd, 200 * MS);
        uint32_t before = r.packets.before, packets = r.packets.value;

        if (rnd_chance(&rnd, 1, 2))
            reorder_lost(&r);
        if (rnd_chance(&rnd, 1, 5)) {
            reorder_late(&r, distance, took, rtt, true);
            assert_true(reorder_packets(&r) >= packets);
            assert_true(reorder_packets(&r) <= 2 * before || reorder_packets(&r) == packets);
            assert_true(reorder_packets(&r) > distance || reorder_packets(&r) == 2 * before ||
                        reorder_packets(&r) == REORDER_PACKETS_MAX);
        }
        if (rnd_chance(&rnd, 1, 3))
            reorder_round(&r);
        assert_true(reorder_check(&r));
        assert_true(reorder_delay(&r, rtt) >= rtt && reorder_delay(&r, rtt) <= 2 * rtt);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
