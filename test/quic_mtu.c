#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "quic/mtu.h"
#include "test/quic_rand.h"

#define S NS_PER_S

/* Probe a path that carries `limit` bytes until the search ends; returns the probes. */
static int search(struct mtu *m, size_t limit, ns_t *now, uint64_t *pn)
{
    int probes = 0;
    size_t size;

    while ((size = mtu_next_probe(m, *now))) {
        size_t before = m->current;

        assert_true(size > m->current && size <= m->max);
        mtu_on_probe_sent(m, size, ++*pn);
        assert_true(mtu_check(m));
        assert_int_equal(mtu_next_probe(m, *now), 0); /* one at a time */
        assert_int_equal(mtu_deadline(m), NS_NEVER);
        assert_false(mtu_on_probe_acked(m, *pn + 7, *now)); /* of no probe */
        *now += 1000;
        if (size <= limit) {
            assert_true(mtu_on_probe_acked(m, *pn, *now));
            assert_int_equal(m->current, size);
        } else {
            assert_false(mtu_on_probe_lost(m, *pn, *now));
            assert_int_equal(m->current, before);
        }
        assert_true(mtu_check(m));
        assert_true(++probes < 100);
    }
    assert_int_equal(m->state, MTU_COMPLETE);
    return probes;
}

static void test_search(void **state)
{
    (void)state;
    for (size_t max = 1200; max <= 9000; max += 97) {
        for (size_t limit = 1200; limit <= max; limit += 41) {
            struct mtu m;
            ns_t now = 5;
            uint64_t pn = 0;

            mtu_init(&m, max);
            assert_int_equal(mtu_next_probe(&m, now), 0); /* not started */
            mtu_start(&m, now);
            search(&m, limit, &now, &pn);
            assert_true(m.current <= limit && m.current + MTU_STEP >= limit);
        }
    }
}

/* The usual case: the interface's size works, one probe finds it. */
static void test_first_guess(void **state)
{
    struct mtu m;
    ns_t now = 5;
    uint64_t pn = 0;

    (void)state;
    mtu_init(&m, 1452);
    assert_int_equal(mtu_deadline(&m), NS_NEVER);
    mtu_start(&m, now);
    assert_int_equal(mtu_deadline(&m), now);
    assert_int_equal(mtu_next_probe(&m, now), 1452);
    assert_int_equal(search(&m, 1452, &now, &pn), 1);
    assert_int_equal(mtu_deadline(&m), NS_NEVER); /* there is nothing more */
    mtu_start(&m, now);                           /* a second start is none */
    assert_int_equal(mtu_next_probe(&m, now), 0);
    /* Nothing above the base to find. */
    mtu_init(&m, 1100);
    mtu_start(&m, 1);
    assert_int_equal(m.current, 1200);
    assert_int_equal(mtu_next_probe(&m, 1), 0);
    mtu_init(&m, 1200 + MTU_STEP - 1); /* not worth a probe */
    mtu_start(&m, 1);
    assert_int_equal(mtu_next_probe(&m, 1), 0);
}

/* One lost probe is no proof. */
static void test_lost_probe(void **state)
{
    struct mtu m;

    (void)state;
    mtu_init(&m, 1452);
    mtu_start(&m, 1);
    mtu_on_probe_sent(&m, 1452, 10);
    assert_false(mtu_on_probe_lost(&m, 10, 2));
    assert_int_equal(mtu_next_probe(&m, 2), 1452);
    mtu_on_probe_sent(&m, 1452, 11);
    assert_false(mtu_on_probe_acked(&m, 10, 3)); /* forgotten already */
    assert_true(mtu_on_probe_acked(&m, 11, 3));
    assert_int_equal(m.current, 1452);
    assert_false(mtu_on_probe_acked(&m, 11, 3));
    assert_false(mtu_on_probe_lost(&m, 11, 3));
}

/* After MTU_RAISE it looks again, and finds what the path carries by then. */
static void test_raise(void **state)
{
    struct mtu m;
    ns_t now = 5, first;
    uint64_t pn = 0;

    (void)state;
    mtu_init(&m, 1500);
    mtu_start(&m, now);
    search(&m, 1300, &now, &pn);
    first = m.current;
    assert_int_equal(mtu_deadline(&m), now + MTU_RAISE);
    assert_int_equal(mtu_next_probe(&m, now + MTU_RAISE - 1), 0);
    now += MTU_RAISE;
    assert_int_equal(mtu_next_probe(&m, now), 1500);
    assert_int_equal(search(&m, 1500, &now, &pn), 1);
    assert_true(first <= 1300 && m.current == 1500);
}

struct fate {
    char what; /* a acked, l lost */
    uint64_t pn;
    size_t bytes;
    bool hole;
};

/* `current` is 1452: large is more than 1326. */
/* clang-format off */
static const struct fate no_hole[] = {
    {'l', 1, 1452, false}, {'l', 2, 1452, false}, {'l', 3, 1452, false},
    {'l', 4, 1452, false}, {'l', 5, 1452, false},
    {'a', 6, 1452, false},                          /* sent later: they do pass */
    {'l', 7, 1452, false}, {'l', 8, 1452, false}, {'l', 9, 1452, false},
    {'l', 5, 1452, false}, {'l', 4, 1452, false}, {'l', 3, 1452, false}, /* sent before */
    {'l', 10, 1200, false}, {'l', 11, 1300, false}, {'l', 12, 900, false}, /* small */
    {'l', 13, 1452, false}, {'l', 14, 1452, false},
    {'a', 15, 1400, false},
    {'l', 16, 1452, false},
};
/* Verdicts of one ACK, in the order of numbers: many lost, and what was sent later arrived. */
static const struct fate burst[] = {
    {'b', 1, 1452, false}, {'b', 2, 1452, false}, {'b', 3, 1452, false},
    {'b', 4, 1452, false}, {'b', 5, 1452, false}, {'b', 6, 1452, false},
    {'b', 7, 1452, false}, {'a', 8, 1452, false},
    {'b', 9, 1452, false}, {'b', 10, 1452, false}, {'b', 11, 1452, false},
    {'b', 12, 1452, false}, {'b', 13, 1452, false}, {'l', 14, 1452, true},
};
static const struct fate hole[] = {
    {'a', 1, 1452, false},
    {'l', 2, 1452, false}, {'l', 3, 1452, false}, {'a', 4, 1200, false},
    {'l', 5, 1452, false}, {'a', 6, 1326, false}, {'l', 7, 1400, false},
    {'a', 1, 1452, false},                          /* nothing new */
    {'l', 8, 1452, false}, {'l', 9, 1452, true},
};
/* clang-format on */

static void play(struct mtu *m, const struct fate *f, size_t n)
{
    for (; n--; f++) {
        if (f->what == 'a')
            mtu_on_acked(m, f->pn, f->bytes);
        else
            mtu_on_lost(m, f->pn, f->bytes);
        if (f->what != 'b')
            assert_int_equal(mtu_judge(m, 9 * S), f->hole);
        assert_true(mtu_check(m));
    }
}

static struct mtu found(size_t size)
{
    struct mtu m;

    mtu_init(&m, size);
    mtu_start(&m, 1);
    mtu_on_probe_sent(&m, size, 0);
    assert_true(mtu_on_probe_acked(&m, 0, 1));
    return m;
}

static void test_black_hole(void **state)
{
    struct mtu m = found(1452);
    ns_t now = 9 * S;
    uint64_t pn = 100;

    (void)state;
    play(&m, no_hole, ARRAY_LEN(no_hole));
    assert_int_equal(m.current, 1452);
    m = found(1452);
    play(&m, hole, ARRAY_LEN(hole));
    m = found(1452);
    play(&m, burst, ARRAY_LEN(burst));
    assert_int_equal(m.current, 1200);
    assert_int_equal(mtu_next_probe(&m, now), 1452); /* was it an outage only? */
    search(&m, 1300, &now, &pn);
    assert_true(m.current > 1300 - MTU_STEP && m.current <= 1300);
}

/* Losses of an outage are passed over, those behind it count. */
static void test_outage(void **state)
{
    struct mtu m = found(1452);

    (void)state;
    mtu_on_lost(&m, 50, 1452);
    mtu_on_outage(&m, 70, false);
    for (uint64_t pn = 51; pn < 70; pn++)
        mtu_on_lost(&m, pn, 1452);
    assert_false(mtu_judge(&m, 9 * S));
    for (uint64_t pn = 70; pn < 70 + MTU_BLACK_HOLE - 1; pn++)
        mtu_on_lost(&m, pn, 1452);
    assert_false(mtu_judge(&m, 9 * S));
    mtu_on_lost(&m, 80, 1452);
    assert_true(mtu_judge(&m, 9 * S));
    assert_true(mtu_check(&m));
}

/* When it is over, a probe asks whether the size still passes. */
static void test_after_outage(void **state)
{
    struct mtu m = found(1452);
    ns_t next = m.next;

    (void)state;
    mtu_on_outage(&m, 70, false);
    assert_int_equal(mtu_next_probe(&m, 0), 0);
    mtu_on_outage(&m, 70, true);
    assert_int_equal(mtu_deadline(&m), 0);
    assert_int_equal(mtu_next_probe(&m, 0), 1452);
    mtu_on_probe_sent(&m, 1452, 70);
    assert_true(mtu_check(&m));
    assert_int_equal(mtu_next_probe(&m, 0), 0);
    assert_false(mtu_on_probe_acked(&m, 70, 9 * S));
    assert_int_equal(mtu_next_probe(&m, 0), 0);
    assert_int_equal(m.state, MTU_COMPLETE);
    assert_int_equal(m.next, next);

    mtu_on_outage(&m, 80, true);
    mtu_on_acked(&m, 80, 1452); /* any large packet shows it as well */
    assert_int_equal(mtu_next_probe(&m, 0), 0);

    mtu_on_outage(&m, 90, true);
    mtu_on_probe_sent(&m, 1452, 90);
    mtu_on_outage(&m, 91, true); /* another one: that probe tells nothing */
    for (uint64_t pn = 90; pn < 90 + MTU_PROBES; pn++) {
        assert_false(mtu_on_probe_lost(&m, pn, 9 * S));
        assert_int_equal(mtu_next_probe(&m, 9 * S), 1452);
        mtu_on_probe_sent(&m, 1452, pn + 1);
    }
    assert_true(mtu_on_probe_lost(&m, 90 + MTU_PROBES, 9 * S));
    assert_int_equal(m.current, MTU_BASE);
    assert_int_equal(mtu_next_probe(&m, 9 * S), 1452);
    mtu_on_outage(&m, 100, true); /* the base needs no asking */
    assert_false(m.doubt);
    assert_true(mtu_check(&m));
}

static void test_set_max(void **state)
{
    struct mtu m = found(1452);

    (void)state;
    mtu_set_max(&m, 1452, 5);
    assert_int_equal(m.state, MTU_COMPLETE);
    mtu_set_max(&m, 1350, 5); /* the peer takes no more */
    assert_int_equal(m.current, 1350);
    assert_int_equal(mtu_next_probe(&m, 5), 0);
    mtu_set_max(&m, 1500, 6);
    assert_int_equal(mtu_next_probe(&m, 6), 1500);
    mtu_on_probe_sent(&m, 1500, 9);
    mtu_set_max(&m, 1400, 7); /* the probe on its way is forgotten */
    assert_false(mtu_on_probe_acked(&m, 9, 8));
    assert_int_equal(mtu_next_probe(&m, 8), 1400);
    mtu_set_max(&m, 500, 9);
    assert_int_equal(m.current, 1200);
    assert_true(mtu_check(&m));
    mtu_init(&m, 1500);
    mtu_set_max(&m, 1400, 9); /* not started: it stays so */
    assert_int_equal(mtu_next_probe(&m, 9), 0);
    mtu_reset(&m, 9);
    assert_int_equal(mtu_next_probe(&m, 9), 0);
    m = found(1452);
    mtu_reset(&m, 9);
    assert_int_equal(m.current, 1200);
    assert_int_equal(mtu_next_probe(&m, 9), 1452);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_search),     cmocka_unit_test(test_first_guess),
        cmocka_unit_test(test_lost_probe), cmocka_unit_test(test_raise),
        cmocka_unit_test(test_black_hole), cmocka_unit_test(test_outage),
        cmocka_unit_test(test_after_outage), cmocka_unit_test(test_set_max),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
