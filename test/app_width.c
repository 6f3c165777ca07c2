/* width: which paths count, what waits and what can't, and that it never swings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "app/width.h"
#include "test/quic_rand.h"

#define MS NS_PER_MS

struct path {
    size_t bytes;
    unsigned rank;
};

static bool look(struct width *w, const struct path *p, size_t n, ns_t now)
{
    width_begin(w);
    for (size_t i = 0; i < n && p[i].bytes; i++)
        width_path(w, p[i].bytes, p[i].rank);
    return width_look(w, now);
}

/* The first look. */
static void which_paths(void **state)
{
    static const struct {
        struct path path[4];
        size_t mtu;
    } row[] = {
        {{{0, 0}}, 0},
        {{{1440, 0}}, 1440},
        {{{1160, 0}}, 1160}, /* the first steps of the only path */
        {{{1440, 0}, {1360, 0}}, 1360},
        {{{1360, 0}, {1440, 0}, {8900, 0}}, 1360},
        {{{1440, 0}, {1160, 0}}, 1440}, /* one too narrow for IPv6 */
        {{{1160, 0}, {1200, 0}}, 1200}, /* only such: the widest */
        {{{1279, 0}, {1280, 0}}, 1280},
        {{{1440, 0}, {1300, 1}}, 1440}, /* a backup in reserve */
        {{{1300, 1}, {1440, 2}}, 1300}, /* in use */
        {{{1160, 0}, {1440, 1}}, 1160},
        {{{1440, 2}, {1300, 3}}, 1440}, /* nothing is heard, but nothing was known either */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        struct width w = {0};

        if (look(&w, row[i].path, 4, 5 * MS) != (row[i].mtu > 0) || w.mtu != row[i].mtu)
            fail_msg("row %zu: %zu", i, w.mtu);
    }
}

/* One path or two over time; each line from the state that the one before left. */
static void over_time(void **state)
{
    static const struct {
        ns_t at; /* ms */
        struct path path[2];
        size_t mtu;
    } row[] = {
        {0, {{1160, 0}}, 1160},
        {10, {{1296, 0}}, 1296}, /* the first that IPv6 can live with: at once */
        {50, {{1356, 0}}, 1296}, /* more waits for the search to end */
        {90, {{1364, 0}}, 1296},
        {2089, {{1364, 0}}, 1296},
        {2090, {{1364, 0}}, 1364},
        {3000, {{1160, 0}}, 1280}, /* nothing else passes: at once, but not below */
        {3050, {{1296, 0}}, 1280},
        {5049, {{1296, 0}}, 1280},
        {5050, {{1296, 0}}, 1296},
        {5100, {{1440, 0}}, 1296}, /* comes and goes within the time: nothing */
        {6000, {{1296, 0}}, 1296},
        {6100, {{1440, 0}}, 1296},
        {8100, {{1440, 0}}, 1440},
        {8200,
         {{1440, 0}, {1356, 0}},
         1440}, /* a narrower one beside: what is long has a way */
        {10200, {{1440, 0}, {1356, 0}}, 1356},
        {10300, {{1440, 2}, {1356, 0}}, 1356},
        {10400, {{1440, 0}, {1356, 2}}, 1356},
        {12500, {{1440, 0}, {1356, 2}}, 1440},
        {12600, {{1160, 2}, {1356, 3}}, 1440}, /* nothing is heard: nothing changes */
        {60000, {{1160, 2}, {1356, 3}}, 1440},
        {60010, {{1160, 2}, {1356, 0}}, 1356}, /* what is heard is too narrow */
        {60020, {{0, 0}}, 1356},
    };
    struct width w = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        size_t before = w.mtu;

        if (look(&w, row[i].path, 2, row[i].at * MS) != (row[i].mtu != before) ||
            w.mtu != row[i].mtu)
            fail_msg("row %zu: %zu", i, w.mtu);
    }
}

/* Whatever paths do: within bounds, no change too soon but down, and never a timer in the past. */
static void any_paths(void **state)
{
    struct rnd r = {.state = 7};

    (void)state;
    for (int run = 0; run < 200; run++) {
        struct width w = {0};
        ns_t now = 1, changed = 0;

        for (int i = 0; i < 200; i++) {
            struct path p[3];
            size_t n = rnd_below(&r, 4), before = w.mtu;

            for (size_t k = 0; k < n; k++)
                p[k] = (struct path){1100 + rnd_below(&r, 400), (unsigned)rnd_below(&r, 4)};
            now += rnd_below(&r, 4) ? rnd_below(&r, 500 * MS) : rnd_below(&r, 5000 * MS);
            if (look(&w, p, n, now)) {
                bool fits = before <= w.most;

                assert_true(w.mtu != before && (before < WIDTH_MIN || w.mtu >= WIDTH_MIN));
                assert_true(before < WIDTH_MIN || !fits || now - changed >= WIDTH_SETTLE);
                changed = now;
            }
            assert_true(w.look_at > now);
            assert_true(w.look_at == NS_NEVER || w.wanted != w.mtu);
        }
    }
}

/* The look that a wait ends with. */
static void looks_again(void **state)
{
    struct width w = {0};

    (void)state;
    assert_true(look(&w, &(struct path){1440, 0}, 1, 1));
    assert_int_equal(w.look_at, NS_NEVER);
    assert_false(look(&w, (struct path[]){{1440, 0}, {1400, 0}}, 2, 2));
    assert_int_equal(w.look_at, 2 + WIDTH_SETTLE);
    assert_true(look(&w, (struct path[]){{1440, 0}, {1400, 0}}, 2, w.look_at));
    assert_int_equal(w.look_at, NS_NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(which_paths),
        cmocka_unit_test(over_time),
        cmocka_unit_test(any_paths),
        cmocka_unit_test(looks_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
