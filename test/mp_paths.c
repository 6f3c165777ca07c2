#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mp/paths.h"

#define S  MP_DO_SAY
#define X  MP_DO_STOP
#define K  MP_DO_KEEP
#define G  MP_DO_GONE
#define D  MP_DO_DROP
#define NO MP_EVENTS /* end of a row */

struct row {
    enum mp_event event;
    enum mp_state want;
    unsigned todo;
};

struct life {
    const char *name;
    enum mp_state from;
    struct row row[8];
};

// clang-format off
static const struct life lives[] = {
    {"a path that opens and ends by our wish", MP_AHEAD, {
        {MP_EV_OPENED, MP_OPENING, 0}, {MP_EV_PROVEN, MP_OPEN, 0},
        {MP_EV_ABANDON, MP_LEAVING, S | X | G}, {MP_EV_ABANDONED, MP_LEFT, K},
        {MP_EV_EXPIRED, MP_OVER, D}, {NO, 0, 0}}},
    {"by the peer's", MP_AHEAD, {
        {MP_EV_OPENED, MP_OPENING, 0}, {MP_EV_PROVEN, MP_OPEN, 0},
        {MP_EV_ABANDONED, MP_LEFT, S | X | G | K}, {MP_EV_EXPIRED, MP_OVER, D}, {NO, 0, 0}}},
    {"never proven", MP_AHEAD, {
        {MP_EV_OPENED, MP_OPENING, 0}, {MP_EV_FAILED, MP_LEAVING, S | X | G},
        {MP_EV_ABANDONED, MP_LEFT, K}, {MP_EV_EXPIRED, MP_OVER, D}, {NO, 0, 0}}},
    {"abandoned before it was used, by the peer", MP_AHEAD, {
        {MP_EV_ABANDONED, MP_LEFT, S | X | K}, {MP_EV_EXPIRED, MP_OVER, D}, {NO, 0, 0}}},
    {"and by us", MP_AHEAD, {
        {MP_EV_ABANDON, MP_LEAVING, S | X}, {MP_EV_ABANDONED, MP_LEFT, K}, {NO, 0, 0}}},
    {"abandoned by both at once, while opening", MP_OPENING, {
        {MP_EV_ABANDON, MP_LEAVING, S | X | G}, {MP_EV_ABANDON, MP_LEAVING, 0},
        {MP_EV_ABANDONED, MP_LEFT, K}, {MP_EV_ABANDONED, MP_LEFT, 0},
        {MP_EV_ABANDON, MP_LEFT, 0}, {MP_EV_EXPIRED, MP_OVER, D}, {NO, 0, 0}}},
    {"the peer abandons while we wait for an answer", MP_OPENING, {
        {MP_EV_ABANDONED, MP_LEFT, S | X | G | K}, {MP_EV_PROVEN, MP_LEFT, 0},
        {MP_EV_FAILED, MP_LEFT, 0}, {MP_EV_OPENED, MP_LEFT, 0}, {NO, 0, 0}}},
    {"over is over", MP_OVER, {
        {MP_EV_OPENED, MP_OVER, 0}, {MP_EV_PROVEN, MP_OVER, 0}, {MP_EV_FAILED, MP_OVER, 0},
        {MP_EV_ABANDON, MP_OVER, 0}, {MP_EV_ABANDONED, MP_OVER, 0}, {MP_EV_EXPIRED, MP_OVER, 0},
        {NO, 0, 0}}},
    {"a place without a path", MP_NONE, {
        {MP_EV_OPENED, MP_NONE, 0}, {MP_EV_ABANDONED, MP_NONE, 0}, {MP_EV_EXPIRED, MP_NONE, 0},
        {NO, 0, 0}}},
    {"what is too early", MP_AHEAD, {
        {MP_EV_PROVEN, MP_AHEAD, 0}, {MP_EV_FAILED, MP_AHEAD, 0}, {MP_EV_EXPIRED, MP_AHEAD, 0},
        {NO, 0, 0}}},
    {"open", MP_OPEN, {
        {MP_EV_OPENED, MP_OPEN, 0}, {MP_EV_PROVEN, MP_OPEN, 0}, {MP_EV_EXPIRED, MP_OPEN, 0},
        {MP_EV_FAILED, MP_LEAVING, S | X | G}, {MP_EV_EXPIRED, MP_LEAVING, 0}, {NO, 0, 0}}},
};
// clang-format on

static void test_lives(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lives); i++) {
        enum mp_state s = lives[i].from;
        for (size_t k = 0; lives[i].row[k].event != NO; k++) {
            const struct row *r = &lives[i].row[k];
            unsigned todo = 99;
            s = mp_path_step(s, r->event, &todo);
            if (s != r->want || todo != r->todo)
                fail_msg("%s, step %zu: state %d, todo %#x", lives[i].name, k, (int)s, todo);
        }
    }
}

/*
 * Whatever happens in whatever order: each state is left for a later one, PATH_ABANDON is said
 * once, sending stops once and with it, the time of keeping begins once, and a path is dropped
 * after all that.
 */
static void test_any_order(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int run = 0; run < 20000; run++) {
        enum mp_state s = MP_AHEAD;
        unsigned times[5] = {0};
        for (int k = 0; k < 24; k++) {
            unsigned todo;
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            enum mp_state next =
                mp_path_step(s, (enum mp_event)((seed >> 33) % MP_EVENTS), &todo);
            assert_true(next >= s && next != MP_NONE);
            assert_true(next != s || todo == 0);
            for (unsigned b = 0; b < 5; b++)
                times[b] += todo >> b & 1;
            s = next;
            assert_int_equal(times[0], s >= MP_LEAVING); /* said */
            assert_int_equal(times[1], s >= MP_LEAVING); /* stopped */
            assert_int_equal(times[2], s >= MP_LEFT);    /* kept */
            assert_true(times[3] <= 1);                  /* told */
            assert_int_equal(times[4], s == MP_OVER);    /* dropped */
            assert_int_equal(mp_state_open(s), s == MP_OPENING || s == MP_OPEN);
        }
    }
}

static void test_status(void **state)
{
    (void)state;
    struct mp_status s = {0};
    assert_true(mp_status_take(&s, 0, true));
    assert_true(s.backup);
    assert_false(mp_status_take(&s, 0, false));
    assert_true(s.backup);
    assert_true(mp_status_take(&s, 7, false));
    assert_false(s.backup);
    assert_false(mp_status_take(&s, 6, true)); /* overtaken */
    assert_false(mp_status_take(&s, 7, true));
    assert_false(s.backup);
    assert_true(mp_status_take(&s, 8, true));
    assert_true(s.backup);
    assert_true(mp_status_take(&s, ((uint64_t)1 << 62) - 1, false));
    assert_false(mp_status_take(&s, ((uint64_t)1 << 62) - 1, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lives),
        cmocka_unit_test(test_any_order),
        cmocka_unit_test(test_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
