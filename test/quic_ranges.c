#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "quic/ranges.h"
#include "test/quic_rand.h"

struct op {
    char what; /* + add, - remove, w add by widening, f drop the first */
    uint64_t start, end;
    int result;
    struct range want[6]; /* the set afterwards, up to an empty range */
};

/* clang-format off */
static const struct op joins[] = {
    {'+', 10, 20, 0, {{10, 20}}},
    {'+', 30, 40, 0, {{10, 20}, {30, 40}}},
    {'+', 20, 30, 0, {{10, 40}}},                      /* touches both */
    {'+', 5, 5, 0, {{10, 40}}},                        /* empty */
    {'+', 9, 8, 0, {{10, 40}}},                        /* turned round */
    {'+', 0, 1, 0, {{0, 1}, {10, 40}}},
    {'+', 41, 42, 0, {{0, 1}, {10, 40}, {41, 42}}},
    {'+', 40, 41, 0, {{0, 1}, {10, 42}}},              /* one number joins two */
    {'+', 12, 15, 0, {{0, 1}, {10, 42}}},              /* inside */
    {'+', 1, 10, 0, {{0, 42}}},
    {'+', 100, UINT64_MAX, 0, {{0, 42}, {100, UINT64_MAX}}},
    {'+', 0, UINT64_MAX, 0, {{0, UINT64_MAX}}},
};
static const struct op cuts[] = {
    {'+', 0, 100, 0, {{0, 100}}},
    {'-', 40, 60, 0, {{0, 40}, {60, 100}}},
    {'-', 45, 55, 0, {{0, 40}, {60, 100}}},            /* in the gap */
    {'-', 0, 10, 0, {{10, 40}, {60, 100}}},
    {'-', 30, 70, 0, {{10, 30}, {70, 100}}},
    {'-', 90, 200, 0, {{10, 30}, {70, 90}}},
    {'-', 7, 7, 0, {{10, 30}, {70, 90}}},
    {'-', 75, 80, 0, {{10, 30}, {70, 75}, {80, 90}}},
    {'f', 0, 0, 0, {{70, 75}, {80, 90}}},
    {'-', 0, UINT64_MAX, 0, {{0, 0}}},
    {'f', 0, 0, 0, {{0, 0}}},
    {'-', 1, 2, 0, {{0, 0}}},
};
static const struct op bound[] = { /* at most three ranges */
    {'+', 10, 11, 0, {{10, 11}}},
    {'+', 20, 30, 0, {{10, 11}, {20, 30}}},
    {'+', 40, 41, 0, {{10, 11}, {20, 30}, {40, 41}}},
    {'+', 50, 51, QUIC_TOOBIG, {{10, 11}, {20, 30}, {40, 41}}},
    {'+', 1, 2, QUIC_TOOBIG, {{10, 11}, {20, 30}, {40, 41}}},
    {'-', 22, 24, QUIC_TOOBIG, {{10, 11}, {20, 30}, {40, 41}}},
    {'-', 20, 24, 0, {{10, 11}, {24, 30}, {40, 41}}},
    {'+', 11, 12, 0, {{10, 12}, {24, 30}, {40, 41}}},
    {'w', 14, 15, 0, {{10, 15}, {24, 30}, {40, 41}}},  /* nearer to the lower */
    {'w', 22, 23, 0, {{10, 15}, {22, 30}, {40, 41}}},  /* nearer to the upper */
    {'w', 50, 60, 0, {{10, 15}, {22, 30}, {40, 60}}},
    {'w', 1, 2, 0, {{1, 15}, {22, 30}, {40, 60}}},
    {'w', 0, 25, 0, {{0, 30}, {40, 60}}},
};
/* clang-format on */

static void play(const struct op *ops, size_t n, size_t max)
{
    struct ranges r;

    ranges_init(&r, max);
    for (size_t i = 0; i < n; i++) {
        const struct op *op = &ops[i];
        size_t count = 0;
        int result = 0;

        if (op->what == '+')
            result = ranges_add(&r, op->start, op->end);
        else if (op->what == '-')
            result = ranges_remove(&r, op->start, op->end);
        else if (op->what == 'w')
            ranges_add_widening(&r, op->start, op->end);
        else
            ranges_drop_first(&r);
        assert_int_equal(result, op->result);
        assert_true(ranges_check(&r));
        while (count < 6 && op->want[count].end)
            count++;
        assert_int_equal(ranges_count(&r), count);
        assert_memory_equal(ranges_at(&r), op->want, count * sizeof *op->want);
        assert_int_equal(ranges_empty(&r), count == 0);
    }
    ranges_free(&r);
}

static void test_tables(void **state)
{
    (void)state;
    play(joins, ARRAY_LEN(joins), 8);
    play(cuts, ARRAY_LEN(cuts), 8);
    play(bound, ARRAY_LEN(bound), 3);
}

#define SPACE 300

/* Compare with one flag per number. */
static void compare(const struct ranges *r, const bool *has)
{
    uint64_t size = 0;
    size_t runs = 0;

    for (uint64_t v = 0; v < SPACE; v++) {
        size_t i = ranges_find(r, v);

        assert_int_equal(ranges_contains(r, v), has[v]);
        assert_true(i == ranges_count(r) || ranges_at(r)[i].end > v);
        assert_true(i == 0 || ranges_at(r)[i - 1].end <= v);
        size += has[v];
        runs += has[v] && (v == 0 || !has[v - 1]);
    }
    assert_int_equal(ranges_size(r), size);
    assert_int_equal(ranges_count(r), runs);
    if (runs) {
        assert_true(has[ranges_first(r)]);
        assert_true(has[ranges_end(r) - 1]);
    }
}

static size_t runs_of(const bool *has)
{
    size_t n = 0;

    for (size_t v = 0; v < SPACE; v++)
        n += has[v] && (v == 0 || !has[v - 1]);
    return n;
}

static void random_ops(uint64_t seed, size_t max)
{
    struct rnd rnd = {seed};
    struct ranges r;
    bool has[SPACE] = {0};

    ranges_init(&r, max);
    for (int step = 0; step < 1500; step++) {
        uint64_t start = rnd_below(&rnd, SPACE), width = rnd_below(&rnd, 8) + 1;
        uint64_t end = start + width > SPACE ? SPACE : start + width;
        bool add = rnd_chance(&rnd, 11, 20), after[SPACE];
        int err;

        memcpy(after, has, sizeof after);
        memset(after + start, add, end - start);
        err = add ? ranges_add(&r, start, end) : ranges_remove(&r, start, end);
        assert_true(ranges_check(&r));
        /* It fails exactly when the result would be too many. */
        assert_int_equal(err, runs_of(after) > (max < RANGES_INLINE ? RANGES_INLINE : max)
                                  ? QUIC_TOOBIG
                                  : 0);
        if (!err)
            memcpy(has, after, sizeof has);
        compare(&r, has);
        if (rnd_chance(&rnd, 1, 200)) {
            ranges_free(&r);
            memset(has, 0, sizeof has);
        }
    }
    ranges_free(&r);
    assert_int_equal(ranges_memory(&r), 0);
}

static void test_random(void **state)
{
    static const size_t maxima[] = {0, 2, 3, 5, 16, 64, 1000};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(maxima); i++)
        random_ops(i + 1, maxima[i]);
}

/* Widening never fails, and adds at least what was asked for. */
static void test_extend(void **state)
{
    (void)state;
    struct ranges r;

    ranges_init(&r, 8);
    assert_false(ranges_extend(&r, 0)); /* nothing to follow */
    for (uint64_t start = 10; start < 100; start += 20) {
        assert_int_equal(ranges_add(&r, start, start + 1), 0);
        assert_false(ranges_extend(&r, start)); /* a member */
        assert_false(ranges_extend(&r, start - 1));
        assert_false(ranges_extend(&r, start + 2));
        assert_true(ranges_extend(&r, start + 1));
        assert_false(ranges_extend(&r, start + 1));
        assert_true(ranges_check(&r));
        assert_int_equal(ranges_end(&r), start + 2);
        assert_int_equal(ranges_size(&r), 2 * ranges_count(&r));
    }
    ranges_free(&r);
}

static void test_widening(void **state)
{
    struct rnd rnd = {77};
    struct ranges r;
    bool has[SPACE] = {0};

    (void)state;
    ranges_init(&r, 4);
    for (int step = 0; step < 400; step++) {
        uint64_t start = rnd_below(&rnd, SPACE), end = start + 1 + rnd_below(&rnd, 3);

        if (end > SPACE)
            end = SPACE;
        ranges_add_widening(&r, start, end);
        memset(has + start, true, end - start);
        assert_true(ranges_check(&r));
        for (uint64_t v = 0; v < SPACE; v++)
            assert_true(!has[v] || ranges_contains(&r, v));
        if (step % 100 == 99) {
            ranges_free(&r);
            memset(has, 0, sizeof has);
        }
    }
    ranges_free(&r);
}

/* A set may be moved by assignment, inline and on the heap. */
static void test_move(void **state)
{
    struct ranges a, b;

    (void)state;
    ranges_init(&a, 100);
    for (uint64_t i = 0; i < 40; i++) {
        assert_int_equal(ranges_add(&a, 3 * i, 3 * i + 1), 0);
        b = a;
        memset(&a, 0xff, sizeof a);
        a = b;
        assert_true(ranges_check(&a));
        assert_int_equal(ranges_count(&a), i + 1);
        assert_true(ranges_contains(&a, 3 * i));
    }
    assert_true(ranges_memory(&a) > 0);
    ranges_free(&a);
}

/* The array stays when the set empties, until it is trimmed; what it holds is not lost. */
static void test_trim(void **state)
{
    struct ranges r;
    size_t most;

    (void)state;
    ranges_init(&r, 100);
    for (uint64_t i = 0; i < 40; i++)
        assert_int_equal(ranges_add(&r, 3 * i, 3 * i + 1), 0);
    most = ranges_memory(&r);
    assert_true(most >= 40 * sizeof(struct range));
    assert_int_equal(ranges_remove(&r, 0, 3 * 37), 0);
    ranges_trim(&r); /* three are more than fit inside */
    assert_int_equal(ranges_count(&r), 3);
    assert_int_equal(ranges_memory(&r), most);
    ranges_drop_first(&r);
    assert_int_equal(ranges_memory(&r), most);
    ranges_trim(&r);
    assert_int_equal(ranges_memory(&r), 0);
    assert_true(ranges_check(&r));
    assert_int_equal(ranges_count(&r), 2);
    assert_true(ranges_contains(&r, 3 * 38) && ranges_contains(&r, 3 * 39));
    ranges_trim(&r);
    assert_int_equal(ranges_count(&r), 2);
    ranges_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_extend),
        cmocka_unit_test(test_widening),
        cmocka_unit_test(test_move),
        cmocka_unit_test(test_trim),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
