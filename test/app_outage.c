/* outage: when a session put aside is pinged, and when it is over. The session is played. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "app/outage.h"

#include <stdlib.h>

#define S NS_PER_S

static size_t pings, follows, freed;
static ns_t heard;
static int follow_rc;
static enum session_event_type next_event;
static bool has_event;

void paths_end(struct attempt *a, const struct attempt_env *env, ns_t now)
{
    (void)env;
    (void)now;
    freed++;
    free(a);
}

bool session_next_event(struct session *s, struct session_event *ev, ns_t now)
{
    bool had = has_event;

    (void)s;
    (void)now;
    *ev = (struct session_event){.type = next_event, .gone = SESSION_NO_PATH};
    has_event = false;
    return had;
}

ns_t session_deadline(const struct session *s, ns_t now)
{
    (void)s;
    (void)now;
    return 1000 * S;
}

ns_t quic_deadline(const struct quic_conn *conn)
{
    (void)conn;
    return NS_NEVER;
}

void quic_tick(struct quic_conn *conn, ns_t now)
{
    (void)conn;
    (void)now;
}

int paths_follow(struct attempt *a, const struct attempt_env *env, const struct links *links,
                 ns_t now)
{
    (void)env;
    (void)links;
    (void)now;
    a->paths_at = NS_NEVER;
    follows++;
    return follow_rc;
}

void paths_watch(struct attempt *a, const struct attempt_env *e, ns_t now)
{
    (void)a;
    (void)e;
    (void)now;
}

void paths_gone(struct attempt *a, const struct attempt_env *env, size_t path, ns_t now)
{
    (void)a;
    (void)env;
    (void)path;
    (void)now;
    fail_msg("no path is gone");
}

ns_t paths_heard(const struct attempt *a, ns_t now)
{
    (void)a;
    (void)now;
    return heard;
}

void paths_ping(const struct attempt *a)
{
    (void)a;
    pings++;
}

static const struct attempt_env env;
static struct links links;

static struct outage begin(ns_t now)
{
    struct attempt *a = calloc(1, sizeof(*a));
    struct outage o = {0};

    assert_non_null(a);
    a->paths_at = NS_NEVER;
    pings = follows = freed = 0;
    heard = now - 3 * S;
    follow_rc = 0;
    has_event = false;
    outage_begin(&o, &env, a, now);
    return o;
}

static void test_pings(void **state)
{
    struct outage o = begin(10 * S);

    (void)state;
    for (ns_t now = 10 * S; now < 10 * S + OUTAGE_LONG; now = outage_deadline(&o, now))
        assert_int_equal(outage_tick(&o, &env, &links, now), OUTAGE_LASTS);
    assert_int_equal(pings, OUTAGE_LONG / OUTAGE_SOON);
    for (ns_t now = outage_deadline(&o, 0); now < 10 * S + OUTAGE_LONG + 60 * S;
         now = outage_deadline(&o, now))
        assert_int_equal(outage_tick(&o, &env, &links, now), OUTAGE_LASTS);
    assert_int_equal(pings, OUTAGE_LONG / OUTAGE_SOON + 60 * S / OUTAGE_LATE);
    /* The network has changed. */
    outage_nudge(&o, &env, &links, 200 * S);
    assert_int_equal(follows, 1);
    assert_int_equal(outage_deadline(&o, 200 * S), 200 * S);
    outage_drop(&o, &env, 200 * S);
    assert_int_equal(freed, 1);
}

static void test_ends(void **state)
{
    struct outage o = begin(10 * S);
    struct attempt *a = o.a;

    (void)state;
    heard = 12 * S;
    follow_rc = QUIC_CLOSED; /* by a link that is none any more */
    assert_int_equal(outage_tick(&o, &env, &links, 12 * S), OUTAGE_LASTS);
    follow_rc = 0;
    assert_int_equal(outage_tick(&o, &env, &links, 12 * S), OUTAGE_ENDED);
    assert_ptr_equal(outage_take(&o), a);
    assert_int_equal(outage_tick(&o, &env, &links, 12 * S), OUTAGE_NONE);
    assert_true(outage_deadline(&o, 12 * S) == NS_NEVER);
    outage_nudge(&o, &env, &links, 12 * S); /* nothing to wake */
    outage_drop(&o, &env, 12 * S);
    assert_int_equal(freed, 0);
    free(a);
}

static void test_lost(void **state)
{
    static const enum session_event_type ends[] = {SESSION_CLOSED, SESSION_ENDED};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        struct outage o = begin(10 * S);

        has_event = true;
        next_event = SESSION_MTU;
        assert_int_equal(outage_tick(&o, &env, &links, 11 * S), OUTAGE_LASTS);
        has_event = true;
        next_event = ends[i];
        assert_int_equal(outage_tick(&o, &env, &links, 11 * S), OUTAGE_LOST);
        outage_drop(&o, &env, 11 * S);
        assert_int_equal(freed, 1);
    }
}

/* A second outage before the first has ended: the newer session counts. */
static void test_again(void **state)
{
    struct outage o = begin(10 * S);
    struct attempt *a = calloc(1, sizeof(*a));

    (void)state;
    assert_non_null(a);
    outage_begin(&o, &env, a, 20 * S);
    assert_int_equal(freed, 1);
    assert_ptr_equal(o.a, a);
    assert_int_equal(o.since, 20 * S);
    outage_drop(&o, &env, 20 * S);
    assert_int_equal(freed, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pings),
                                       cmocka_unit_test(test_ends), cmocka_unit_test(test_lost),
                                       cmocka_unit_test(test_again)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
