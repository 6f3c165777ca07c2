#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "quic/validate.h"
#include "test/quic_rand.h"

#define MS NS_PER_MS

static struct rnd random_state = {1};
static const struct rng rng = {rnd_fill, &random_state};

static void test_answered(void **state)
{
    struct validate v;
    uint8_t first[8], second[8], wrong[8];

    (void)state;
    validate_init(&v);
    assert_false(validate_active(&v));
    assert_false(validate_due(&v, 100));
    assert_int_equal(validate_deadline(&v), NS_NEVER);
    memset(wrong, 0, sizeof wrong);
    assert_false(validate_on_response(&v, wrong, 100)); /* nobody asked */

    validate_start(&v, 50 * MS, 1000 * MS);
    assert_true(validate_active(&v));
    assert_true(validate_due(&v, 1000 * MS));
    validate_challenge(&v, &rng, 1000 * MS, first);
    assert_false(validate_due(&v, 1000 * MS));
    assert_int_equal(validate_deadline(&v), 1050 * MS);
    assert_true(validate_due(&v, 1050 * MS));
    validate_challenge(&v, &rng, 1050 * MS, second);
    assert_memory_not_equal(first, second, 8);
    memcpy(wrong, first, 8);
    wrong[7] ^= 1;
    assert_false(validate_on_response(&v, wrong, 1060 * MS));
    assert_int_equal(v.state, VALIDATE_PENDING);
    assert_true(validate_on_response(&v, first, 1070 * MS)); /* any of them will do */
    assert_int_equal(v.state, VALIDATE_DONE);
    assert_int_equal(v.rtt, 70 * MS);
    assert_false(validate_on_response(&v, second, 1080 * MS)); /* once */
    assert_int_equal(validate_deadline(&v), NS_NEVER);
    assert_false(validate_due(&v, NS_NEVER - 1));
    assert_false(validate_tick(&v, NS_NEVER - 1));
}

struct step {
    ns_t at; /* ms */
    bool challenge, failed;
};

/* With a probe timeout of 100 ms: doubling, until 3 * 999 ms have passed. */
static const struct step silence[] = {
    {0, true, false},     {99, false, false},   {100, true, false},   {299, false, false},
    {300, true, false},   {699, false, false},  {700, true, false},   {1499, false, false},
    {1500, true, false},  {2000, false, false}, {2996, false, false}, {2997, false, true},
    {2998, false, false}, {9000, false, false},
};

static void test_silence(void **state)
{
    struct validate v;
    uint8_t data[8];

    (void)state;
    validate_start(&v, 100 * MS, 0);
    for (size_t i = 0; i < ARRAY_LEN(silence); i++) {
        const struct step *s = &silence[i];

        assert_int_equal(validate_due(&v, s->at * MS), s->challenge);
        if (s->challenge)
            validate_challenge(&v, &rng, s->at * MS, data);
        assert_int_equal(validate_tick(&v, s->at * MS), s->failed);
    }
    assert_int_equal(v.state, VALIDATE_FAILED);
    assert_int_equal(v.n, 5);
    assert_false(validate_on_response(&v, data, 9001 * MS)); /* too late */
}

/* On a slow path the probe timeout decides (RFC 9000 8.2.4). */
static void test_slow(void **state)
{
    struct validate v;

    (void)state;
    validate_start(&v, 2000 * MS, 0);
    assert_false(validate_tick(&v, 5999 * MS));
    assert_true(validate_tick(&v, 6000 * MS));
    validate_start(&v, 2000 * MS, 0);
    validate_cancel(&v);
    assert_false(validate_active(&v));
    assert_false(validate_tick(&v, 6000 * MS));
    validate_start(&v, NS_NEVER, 5);
    assert_int_equal(v.give_up, NS_NEVER);
}

static void test_lost(void **state)
{
    struct validate v;
    uint8_t data[8];

    (void)state;
    validate_start(&v, 100 * MS, 0);
    validate_challenge(&v, &rng, 0, data);
    validate_on_lost(&v, 40 * MS);
    assert_true(validate_due(&v, 40 * MS));
    validate_challenge(&v, &rng, 40 * MS, data);
    assert_int_equal(validate_deadline(&v), 240 * MS);
    for (unsigned n = 2; n < VALIDATE_MAX; n++) {
        validate_on_lost(&v, 60 * MS);
        assert_true(validate_due(&v, 60 * MS));
        validate_challenge(&v, &rng, 60 * MS, data);
    }
    validate_on_lost(&v, 80 * MS); /* all of them spent */
    assert_false(validate_due(&v, 80 * MS));
    memset(data, 7, sizeof data);
    validate_challenge(&v, &rng, 80 * MS, data); /* one more is refused */
    assert_int_equal(v.n, VALIDATE_MAX);
    assert_int_equal(data[0], 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answered),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_slow),
        cmocka_unit_test(test_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
