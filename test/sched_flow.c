/* flow: lanes by tables over time: who becomes bulk, when, and who never does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "sched/flow.h"

#define MS NS_PER_MS

/*
 * A flow that sends `bytes` every `every_us`, each packet `wait_us` in the queue. `filled`: the
 * next one is there before. Played for `ms`.
 */
struct habit {
    const char *what;
    uint32_t bytes;
    unsigned every_us, wait_us;
    unsigned ms;
    bool elastic; /* as its packets tell */
    enum sched_lane lane;
    bool steady;
    bool lossy; /* links lose packets */
};

static ns_t play(struct flow *f, const struct habit *h, ns_t now)
{
    ns_t end = now + h->ms * MS;

    for (; now < end; now += h->every_us * NS_PER_US) {
        bool filled = h->wait_us >= h->every_us;

        flow_pushed(f, h->elastic, now);
        flow_took(f, h->bytes, filled, h->lossy, now + (filled ? 0 : h->wait_us * NS_PER_US));
    }
    return now;
}

static void habits(void **state)
{
    static const struct habit row[] = {
        /* clang-format off */
        {"an idle shell", 100, 300000, 500, 10000, true, SCHED_PROMPT, false, false},
        {"VoIP", 160, 20000, 2000, 20000, false, SCHED_PROMPT, false, false},
        {"video below the links' rate", 1200, 2000, 300, 20000, false, SCHED_PROMPT, false, false},
        {"a fast flow whose queue is empty", 60000, 1000, 100, 5000, true, SCHED_PROMPT, false, false},
        {"a download", 1400, 500, 500, 500, true, SCHED_BULK, false, false},
        {"a slow link's download", 1400, 10000, 10000, 2000, true, SCHED_BULK, false, false},
        {"few bytes that wait long", 100, 20000, 20000, 2000, true, SCHED_PROMPT, false, false},
        {"a QUIC download", 1400, 500, 500, 5000, false, SCHED_BULK, false, false},
        {"TCP over losses, its first flight", 1400, 100, 50, 1, true, SCHED_BULK, false, true},
        {"the same, a short answer", 1400, 125, 50, 1, true, SCHED_PROMPT, false, true},
        {"a shell over losses", 100, 5000, 500, 2000, true, SCHED_PROMPT, false, true},
        {"QUIC over losses, its first flight", 1400, 100, 50, 1, true, SCHED_BULK, false, true},
        {"the same, not known as QUIC", 1400, 100, 50, 1, false, SCHED_PROMPT, false, true},
        {"some more of it", 1400, 1000, 50, 50, false, SCHED_BULK, false, true},
        {"a video call over losses", 1000, 4000, 50, 5000, false, SCHED_PROMPT, false, true},
        /* clang-format on */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        struct flow f = {0};

        play(&f, &row[i], 5 * MS);
        if (f.lane != row[i].lane || f.steady != row[i].steady)
            fail_msg("%s: lane %d, steady %d", row[i].what, f.lane, f.steady);
    }
}

static void when(void **state)
{
    struct flow f = {0};
    ns_t now = 7 * MS, up = 0;

    (void)state;
    for (; now < 100 * MS && !up; now += MS / 2) {
        flow_pushed(&f, false, now);
        flow_took(&f, 1400, true, false, now);
        if (f.lane == SCHED_BULK)
            up = now;
    }
    /* both conditions: 20 ms, and 47 packets of 1400 bytes at 2 in a ms */
    assert_in_range(up, 7 * MS + 23 * MS, 7 * MS + 24 * MS);
}

/* A bulk flow stays one through pauses below FLOW_QUIET, whatever it does. */
static void no_oscillation(void **state)
{
    const struct habit download = {"", 1400, 500, 500, 200, true, SCHED_BULK, false, false};
    const struct habit trickle = {"", 100, 900000, 100, 9000, true, SCHED_BULK, false, false};
    struct flow f = {0};
    unsigned changes = 0;
    ns_t now = play(&f, &download, 5 * MS);

    (void)state;
    flow_took(&f, 1, false, false, now);
    for (unsigned i = 0; i < 40; i++) {
        enum sched_lane was = f.lane;

        now = play(&f, i % 2 ? &trickle : &download, now);
        flow_took(&f, 1, false, false, now);
        changes += f.lane != was;
    }
    assert_int_equal(changes, 0);
    assert_int_equal(f.lane, SCHED_BULK);
    assert_false(flow_quiet(&f, now + FLOW_QUIET - MS));
    assert_true(flow_quiet(&f, now + FLOW_QUIET));
    f.numbered = true;
    flow_pushed(&f, false, now + FLOW_QUIET);
    assert_int_equal(f.lane, SCHED_PROMPT);
    assert_false(f.numbered);
    assert_true(f.elastic); /* only the first packets of QUIC tell it */
}

/* Packets that wait are no quiet, however long. */
static void waiting_is_not_quiet(void **state)
{
    struct flow f = {0};

    (void)state;
    flow_pushed(&f, false, MS);
    assert_false(flow_quiet(&f, 100 * NS_PER_S));
    flow_took(&f, 100, false, false, 2 * MS);
    assert_true(flow_quiet(&f, 2 * MS + FLOW_QUIET));
}

/* Live video through a short jam: bulk for its sake, but steady, which a download never is. */
static void steady(void **state)
{
    const struct habit jam = {"", 1200, 500, 500, 100, false, SCHED_BULK, false, false};
    const struct habit live = {"", 1200, 2000, 300, 3000, false, SCHED_BULK, true, false};
    const struct habit tcp = {"", 1200, 2000, 300, 3000, true, SCHED_BULK, false, false};
    struct flow f = {0};
    ns_t now = play(&f, &jam, 5 * MS);

    (void)state;
    assert_int_equal(f.lane, SCHED_BULK);
    flow_took(&f, 1, false, false, now);
    now = play(&f, &live, now);
    assert_true(f.lane == SCHED_BULK && f.steady);
    now = play(&f, &jam, now);
    play(&f, &tcp, now);
    assert_false(f.steady);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(habits),         cmocka_unit_test(when),
        cmocka_unit_test(no_oscillation), cmocka_unit_test(waiting_is_not_quiet),
        cmocka_unit_test(steady),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
