/* The routing table against a list of what ought to be in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quic/cid_table.h"
#include "test/quic_rand.h"

#define IDS   600
#define CONNS 8

/* IDs of every length, many of them alike but for one byte; who has them, 0: nobody. */
static struct quic_cid id[IDS];
static uint8_t owner[IDS];
static uint8_t conns[CONNS]; /* only their addresses count */

static struct quic_conn *conn(size_t i)
{
    return i ? (struct quic_conn *)(void *)&conns[i - 1] : NULL;
}

static void make_ids(struct rnd *r)
{
    for (size_t i = 0; i < IDS; i++) {
        uint8_t b[QUIC_CID_MAX] = {0};
        size_t n = rnd_chance(r, 1, 2) ? 8 : 4 + rnd_below(r, QUIC_CID_MAX - 3);

        if (rnd_chance(r, 1, 2))
            rnd_fill(r, b, n);
        b[0] = (uint8_t)i;
        b[n - 1] = (uint8_t)(i >> 8 | (size_t)b[n - 1] << 4);
        b[1] = (uint8_t)n;
        b[2] = (uint8_t)(i >> 8);
        id[i] = cid_of(span_of(b, n));
        owner[i] = 0;
    }
}

static void compare(struct cid_table *t, struct rnd *r)
{
    size_t n = 0;

    for (size_t k = 0; k < IDS; k++) {
        size_t i = rnd_chance(r, 1, 2) ? k : rnd_below(r, IDS);
        /* A copy of its own, at any alignment; twice, as the second time is another way. */
        uint8_t b[1 + QUIC_CID_MAX];

        memcpy(b + 1, id[i].b, id[i].len);
        for (int twice = 0; twice < 2; twice++)
            assert_ptr_equal(cid_table_find(t, span_of(b + 1, id[i].len)), conn(owner[i]));
        assert_null(cid_table_find(t, span_of(b + 1, id[i].len - 1u)));
        n += owner[k] != 0;
    }
    assert_int_equal(t->n, n);
    assert_true(cid_table_check(t));
}

static void play(uint64_t seed)
{
    struct rnd r = {seed};
    struct rng rng = {rnd_fill, &r};
    struct cid_table t;

    make_ids(&r);
    assert_int_equal(cid_table_init(&t, &rng), 0);
    for (int step = 0; step < 3000; step++) {
        size_t i = rnd_below(&r, IDS), who = 1 + rnd_below(&r, CONNS);

        if (rnd_chance(&r, 1, 200)) {
            cid_table_forget(&t, conn(who));
            for (size_t k = 0; k < IDS; k++)
                owner[k] = owner[k] == who ? 0 : owner[k];
        } else if (rnd_chance(&r, 2, 3)) {
            assert_int_equal(cid_table_add(&t, &id[i], conn(who)), 0);
            owner[i] = owner[i] ? owner[i] : (uint8_t)who;
        } else {
            cid_table_remove(&t, &id[i], conn(who));
            owner[i] = owner[i] == who ? 0 : owner[i];
        }
        /* What is gone isn't found where it was found last. */
        assert_ptr_equal(cid_table_find(&t, cid_span(&id[i])), conn(owner[i]));
        if (step % 100 == 0)
            compare(&t, &r);
    }
    compare(&t, &r);
    cid_table_free(&t);
}

static void test_oracle(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++)
        play(seed);
}

/* SipHash under another key puts IDs elsewhere, and no ID into one place with many others. */
static void test_spread(void **state)
{
    (void)state;
    size_t same = 0;
    struct cid_table t[2];

    for (int k = 0; k < 2; k++) {
        struct rnd r = {(uint64_t)k + 1};
        struct rng rng = {rnd_fill, &r};

        assert_int_equal(cid_table_init(&t[k], &rng), 0);
        for (uint32_t i = 0; i < 1000; i++) {
            uint8_t b[8] = {(uint8_t)i, (uint8_t)(i >> 8)};
            struct quic_cid cid = cid_of(span_of(b, 8));

            assert_int_equal(cid_table_add(&t[k], &cid, conn(1)), 0);
        }
        assert_true(cid_table_check(&t[k]));
        size_t run = 0;
        for (size_t i = 0; i < t[k].cap; i++) {
            run = t[k].at[i].conn ? run + 1 : 0;
            assert_true(run < 60);
        }
    }
    for (size_t i = 0; i < t[0].cap; i++)
        same += t[0].at[i].conn && t[1].at[i].conn && cid_eq(&t[0].at[i].cid, &t[1].at[i].cid);
    assert_true(same < 30);
    cid_table_free(&t[0]);
    cid_table_free(&t[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_oracle),
                                       cmocka_unit_test(test_spread)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
