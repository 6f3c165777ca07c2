#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "quic/ecn.h"
#include "test/quic_rand.h"

#define APP SPACE_APP

static uint8_t send_marked(struct ecn *e)
{
    uint8_t stamp = ecn_on_sent(e, APP, ECN_ECT0, true);

    assert_int_equal(stamp & 3, ECN_ECT0);
    assert_true(ecn_check(e));
    return stamp;
}

/* An ACK with these totals; `none`: of the kind without counts. */
static uint64_t ack(struct ecn *e, struct ecn_news news, bool counts, uint64_t ect0,
                    uint64_t ect1, uint64_t ce)
{
    struct frame_ack f = {.ecn = counts, .ect0 = ect0, .ect1 = ect1, .ce = ce};
    uint64_t marked = ecn_on_ack(e, APP, &f, &news);

    assert_true(ecn_check(e));
    return marked;
}

/* ---- what one ACK may say (RFC 9000 13.4.2.1) ----------------------------------------- */

static const struct {
    const char *what;
    unsigned sent, acked;  /* marked packets */
    unsigned plain, tried; /* packets without a mark that were sent before, that are acked */
    bool counts;
    uint64_t ect0, ect1, ce;
    enum ecn_state state;
    uint64_t told; /* CE that congestion control hears of */
} acks[] = {
    {"all reported", 10, 10, 0, 0, true, 10, 0, 0, ECN_CAPABLE, 0},
    {"one of ten", 10, 1, 0, 0, true, 1, 0, 0, ECN_CAPABLE, 0},
    {"one of one", 1, 1, 0, 0, true, 1, 0, 0, ECN_CAPABLE, 0},
    {"some CE", 10, 10, 0, 0, true, 7, 0, 3, ECN_CAPABLE, 3},
    {"all but one CE", 10, 10, 0, 0, true, 1, 0, 9, ECN_CAPABLE, 9},
    {"more than acknowledged: an ACK was lost", 10, 4, 0, 0, true, 9, 0, 0, ECN_CAPABLE, 0},
    {"all CE", 10, 10, 0, 0, true, 0, 0, 10, ECN_FAILED, 10},
    {"all CE so far", 10, 4, 0, 0, true, 0, 0, 4, ECN_UNKNOWN, 4},
    {"the only one is CE", 1, 1, 0, 0, true, 0, 0, 1, ECN_TESTING, 1},
    {"no counts", 10, 10, 0, 0, false, 0, 0, 0, ECN_FAILED, 0},
    {"counts of zero", 10, 10, 0, 0, true, 0, 0, 0, ECN_FAILED, 0},
    {"one short", 10, 10, 0, 0, true, 9, 0, 0, ECN_FAILED, 0},
    {"one short, and CE", 10, 10, 0, 0, true, 5, 0, 4, ECN_FAILED, 0},
    {"ECT(1)", 10, 10, 0, 0, true, 0, 10, 0, ECN_FAILED, 0},
    {"one ECT(1)", 10, 10, 0, 0, true, 10, 1, 0, ECN_FAILED, 0},
    {"more ECT(0) than sent", 10, 10, 0, 0, true, 11, 0, 0, ECN_FAILED, 0},
    {"a mark where none was", 0, 0, 3, 3, true, 1, 0, 0, ECN_FAILED, 0},
    {"unmarked packets, no counts", 2, 0, 3, 3, false, 0, 0, 0, ECN_TESTING, 0},
    {"unmarked packets, counts of zero", 2, 0, 3, 3, true, 0, 0, 0, ECN_TESTING, 0},
    {"both kinds", 10, 10, 3, 3, true, 10, 0, 0, ECN_CAPABLE, 0},
    {"more CE than sent", 10, 10, 0, 0, true, 10, 0, 1, ECN_FAILED, 0},
    {"numbers beyond reason", 10, 10, 0, 0, true, 10, 0, UINT64_MAX >> 2, ECN_FAILED, 0},
};

static void test_acks(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(acks); i++) {
        struct ecn e;
        struct ecn_news news = {0};
        uint8_t stamp[16] = {0};

        ecn_init(&e, true);
        for (unsigned k = 0; k < acks[i].plain; k++)
            assert_int_equal(ecn_on_sent(&e, APP, ECN_NOT_ECT, true), 0);
        for (unsigned k = 0; k < acks[i].sent; k++) {
            assert_int_equal(ecn_mark(&e), ECN_ECT0);
            stamp[k] = send_marked(&e);
        }
        assert_int_equal(ecn_mark(&e), acks[i].sent < ECN_TEST ? ECN_ECT0 : ECN_NOT_ECT);
        for (unsigned k = 0; k < acks[i].tried; k++)
            ecn_on_acked(&e, &news, 0, true, false);
        for (unsigned k = 0; k < acks[i].acked; k++)
            ecn_on_acked(&e, &news, stamp[k], true, false);
        assert_int_equal(news.marked, acks[i].acked);
        assert_int_equal(ack(&e, news, acks[i].counts, acks[i].ect0, acks[i].ect1, acks[i].ce),
                         acks[i].told);
        if (acks[i].acked == acks[i].sent && acks[i].sent)
            ecn_settle(&e, true);
        if (e.state != acks[i].state)
            print_error("%s: %d\n", acks[i].what, (int)e.state);
        assert_int_equal(e.state, acks[i].state);
    }
}

/* ---- the life of a test (appendix A.4) ------------------------------------------------ */

static void lose(struct ecn *e, const uint8_t *stamp, unsigned n)
{
    for (unsigned k = 0; k < n; k++)
        ecn_on_lost(e, stamp[k]);
}

static void deliver(struct ecn *e, uint8_t stamp)
{
    struct ecn_news news = {0};

    ecn_on_acked(e, &news, stamp, true, false);
    ack(e, news, true, e->space[APP].ect0 + 1, 0, 0);
}

static void test_blackhole(void **state)
{
    struct ecn e;
    uint8_t stamp[ECN_TEST];

    (void)state;
    ecn_init(&e, true);
    for (int k = 0; k < ECN_TEST; k++)
        stamp[k] = send_marked(&e);
    lose(&e, stamp, ECN_TEST - 1);
    ecn_settle(&e, true);
    assert_int_equal(e.state, ECN_UNKNOWN);
    lose(&e, stamp + 9, 1);
    ecn_settle(&e, true);
    assert_int_equal(e.state, ECN_FAILED);
    /* Late, after all: no reason to try again. */
    ecn_on_acked(&e, &(struct ecn_news){0}, stamp[0], true, true);
    ecn_settle(&e, true);
    assert_int_equal(e.state, ECN_FAILED);
    assert_int_equal(ecn_mark(&e), ECN_NOT_ECT);

    /* One of ten that arrives is enough. */
    ecn_init(&e, true);
    for (int k = 0; k < ECN_TEST; k++)
        stamp[k] = send_marked(&e);
    lose(&e, stamp, ECN_TEST - 1);
    deliver(&e, stamp[9]);
    ecn_settle(&e, true);
    assert_int_equal(e.state, ECN_CAPABLE);
}

/* Timeouts: the probes are unmarked, and after three there is no fourth test. */
static void test_timeouts(void **state)
{
    struct ecn e;
    uint8_t stamp;

    (void)state;
    ecn_init(&e, true);
    for (int strike = 1; strike <= ECN_STRIKES; strike++) {
        assert_int_equal(e.state, ECN_TESTING);
        stamp = send_marked(&e);
        ecn_on_pto(&e, 1);
        assert_int_equal(e.state, ECN_UNKNOWN);
        ecn_on_pto(&e, 2);
        ecn_settle(&e, true); /* not known to be lost */
        assert_int_equal(e.state, ECN_UNKNOWN);
        ecn_on_lost(&e, stamp);
        ecn_settle(&e, false); /* not while the handshake lasts */
        assert_int_equal(e.state, strike < ECN_STRIKES ? ECN_UNKNOWN : ECN_FAILED);
        ecn_settle(&e, true);
    }
    assert_int_equal(e.state, ECN_FAILED);

    /* It was only late. */
    ecn_init(&e, true);
    stamp = send_marked(&e);
    ecn_on_pto(&e, 1);
    deliver(&e, stamp);
    assert_int_equal(e.state, ECN_CAPABLE);
    /* A path that was capable, and nothing comes back any more. */
    ecn_on_pto(&e, ECN_CAPABLE_PTOS - 1);
    assert_int_equal(e.state, ECN_CAPABLE);
    stamp = send_marked(&e);
    ecn_on_pto(&e, ECN_CAPABLE_PTOS);
    assert_int_equal(ecn_mark(&e), ECN_NOT_ECT);
    ecn_settle(&e, true); /* an unmarked one was acknowledged */
    assert_int_equal(e.state, ECN_TESTING);
    ecn_on_lost(&e, stamp); /* of the round before: no matter */
    assert_int_equal(e.lost, 0);
    deliver(&e, send_marked(&e));
    assert_int_equal(e.state, ECN_CAPABLE);
    /* A mark that is washed off later ends it, too. */
    stamp = send_marked(&e);
    ack(&e, (struct ecn_news){.marked = 1}, true, e.space[APP].ect0, 0, 0);
    assert_int_equal(e.state, ECN_FAILED);

    /* Packets whose keys are gone are no evidence. */
    ecn_init(&e, true);
    ecn_on_forgotten(&e, send_marked(&e));
    ecn_on_pto(&e, 1);
    ecn_settle(&e, true);
    assert_int_equal(e.state, ECN_TESTING);
    assert_int_equal(e.strikes, 0);
}

/* Another route is tested anew, and what the last one did is not held against it. */
static void test_restart(void **state)
{
    struct ecn e;
    uint8_t old[4];
    struct ecn_news news = {0};

    (void)state;
    ecn_init(&e, true);
    for (int k = 0; k < 4; k++)
        old[k] = send_marked(&e);
    ack(&e, (struct ecn_news){.marked = 1}, true, 0, 1, 0);
    assert_int_equal(e.state, ECN_FAILED);
    ecn_restart(&e);
    assert_int_equal(e.state, ECN_TESTING);
    /* One of before came washed, one as ECT(1), and one of now as it should. */
    ecn_on_acked(&e, &news, old[1], true, false);
    ecn_on_acked(&e, &news, old[2], true, false);
    ecn_on_lost(&e, old[3]);
    ecn_on_acked(&e, &news, send_marked(&e), true, false);
    assert_int_equal(news.older, 2);
    ack(&e, news, true, 1, 2, 0);
    assert_int_equal(e.state, ECN_CAPABLE);
    ecn_restart(&e);
    ack(&e, (struct ecn_news){.marked = 1}, false, 0, 0, 0);
    assert_int_equal(e.state, ECN_FAILED);

    ecn_init(&e, false);
    ecn_restart(&e);
    assert_int_equal(ecn_mark(&e), ECN_NOT_ECT);
    ecn_on_pto(&e, 9);
    ecn_settle(&e, true);
    assert_int_equal(ack(&e, (struct ecn_news){0}, true, 5, 5, 5), 0);
    assert_int_equal(e.state, ECN_OFF);
}

/* ---- networks: random losses of packets and of ACKs ----------------------------------- */

enum network { CLEAN, CONGESTED, BLEACH, MANGLE, DROP, NETWORKS };

#define PACKETS 400

static void play(enum network net, struct rnd *rnd)
{
    static const enum ecn_state ends[] = {ECN_CAPABLE, ECN_CAPABLE, ECN_FAILED, ECN_FAILED,
                                          ECN_FAILED};
    uint8_t stamp[PACKETS];
    bool arrived[PACKETS], settled[PACKETS] = {0};
    uint64_t count[4] = {0}, told = 0, marks = 0;
    struct ecn e;
    int from = 0;

    ecn_init(&e, true);
    for (int pn = 0; pn < PACKETS; pn++) {
        uint8_t mark = ecn_mark(&e), got = mark;
        struct ecn_news news = {0};

        stamp[pn] = ecn_on_sent(&e, APP, mark, true);
        marks += mark == ECN_ECT0;
        if (mark && net == CONGESTED && rnd_chance(rnd, 1, 4))
            got = ECN_CE;
        if (mark && (net == BLEACH || net == MANGLE))
            got = net == BLEACH ? ECN_NOT_ECT : ECN_ECT1;
        arrived[pn] = !(mark && net == DROP) && !rnd_chance(rnd, 1, 10);
        count[got] += arrived[pn];
        /* An ACK of everything that arrived, now and then; some are lost. */
        if (!arrived[pn] || !rnd_chance(rnd, 1, 3))
            continue;
        for (int k = from; k <= pn; k++) {
            if (arrived[k] && !settled[k])
                ecn_on_acked(&e, &news, stamp[k], true, false);
            else if (!settled[k] && k + 3 <= pn)
                ecn_on_lost(&e, stamp[k]);
            else
                continue;
            settled[k] = true;
        }
        from = pn > 20 ? pn - 20 : 0;
        told += ack(&e, news, true, count[ECN_ECT0], count[ECN_ECT1], count[ECN_CE]);
        ecn_settle(&e, true);
    }
    if (e.state != ends[net])
        print_error("network %d\n", (int)net);
    assert_int_equal(e.state, ends[net]);
    assert_true(ends[net] == ECN_CAPABLE ? marks > PACKETS / 2 : marks <= ECN_TEST);
    assert_true(told <= count[ECN_CE] && (told > 0) == (net == CONGESTED));
}

static void test_networks(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++)
        for (int net = 0; net < NETWORKS; net++)
            play((enum network)net, &(struct rnd){seed});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_acks),     cmocka_unit_test(test_blackhole),
        cmocka_unit_test(test_timeouts), cmocka_unit_test(test_restart),
        cmocka_unit_test(test_networks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
