/*
 * reseq: order, gaps and their ends, duplicates, bounds; and a long random run against an
 * oracle.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "sched/reseq.h"
#include "test/rnd.h"

#define HOLD (50 * NS_PER_MS)
#define MOST (8u << 20)

/* A packet that tells its flow and number. */
static struct span packet(uint8_t b[64], uint32_t flow, uint64_t number)
{
    memset(b, (int)number, 64);
    memcpy(b, &flow, 4);
    memcpy(b + 4, &number, 8);
    return span_of(b, 20 + number % 40);
}

static enum reseq_verdict push(struct reseq *r, uint32_t number, uint32_t floor, ns_t now)
{
    uint8_t b[64];
    enum reseq_verdict v = reseq_push(r, 3, number, floor, packet(b, 3, number), now);

    assert_true(reseq_check(r));
    return v;
}

/* The number of the next released packet, -1: none. */
static int64_t pull(struct reseq *r, ns_t now)
{
    struct span p;
    uint64_t number;

    if (!reseq_next(r, now, &p)) {
        reseq_done(r);
        return -1;
    }
    memcpy(&number, p.p + 4, 8);
    assert_int_equal(p.n, 20 + number % 40);
    assert_true(reseq_check(r));
    return (int64_t)number;
}

static void in_order_nothing_is_kept(void **state)
{
    struct reseq r;

    (void)state;
    reseq_init(&r, MOST, HOLD);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(push(&r, i, i < 5 ? i : 5, i), RESEQ_PASS);
    assert_int_equal(r.held, 0);
    assert_int_equal(pull(&r, 0), -1);
    assert_true(reseq_deadline(&r) == NS_NEVER);
    assert_int_equal(r.stats.passed, 1000);
    assert_true(r.bytes < 1024); /* no ring, no copies */
    reseq_free(&r);
    assert_int_equal(r.bytes, 0);
}

static void a_gap_is_filled(void **state)
{
    struct reseq r;

    (void)state;
    reseq_init(&r, MOST, HOLD);
    assert_int_equal(push(&r, 10, 0, 1), RESEQ_PASS);
    assert_int_equal(push(&r, 13, 2, 2), RESEQ_HELD);
    assert_int_equal(push(&r, 12, 1, 3), RESEQ_HELD);
    assert_int_equal(push(&r, 12, 1, 3), RESEQ_DUPLICATE);
    assert_int_equal(push(&r, 10, 0, 3), RESEQ_DUPLICATE);
    assert_int_equal(pull(&r, 3), -1);
    assert_true(reseq_deadline(&r) == 2 + HOLD);
    assert_int_equal(push(&r, 11, 0, 4), RESEQ_PASS);
    assert_int_equal(pull(&r, 4), 12);
    assert_int_equal(pull(&r, 4), 13);
    assert_int_equal(pull(&r, 4), -1);
    assert_int_equal(push(&r, 14, 0, 5), RESEQ_PASS);
    assert_true(reseq_deadline(&r) == NS_NEVER);
    assert_int_equal(r.stats.longest, 2);
    reseq_free(&r);
}

static unsigned pull_all(struct reseq *r, uint32_t *next, ns_t now)
{
    unsigned n = 0;

    for (int64_t k; (k = pull(r, now)) >= 0; n++)
        assert_int_equal(k, (*next)++);
    return n;
}

/* `rate` packets a millisecond wait behind a gap for 30, of a flow that is to be spread. It closes. */
static uint32_t pile_up(struct reseq *r, uint32_t rate, ns_t *now)
{
    uint32_t last = 0;
    uint8_t b[64];

    *now = NS_PER_S;
    reseq_init(r, MOST, HOLD);
    reseq_push(r, 3, 0xffffff, 0, packet(b, 3, 0), *now);
    reseq_spread(r, 3, true);
    for (int ms = 0; ms < 30; ms++, *now += NS_PER_MS)
        for (uint32_t i = 0; i < rate; i++, last++)
            assert_int_equal(push(r, last + 1, last + 1, *now), RESEQ_HELD);
    assert_int_equal(push(r, 0, 0, *now), RESEQ_PASS);
    return last;
}

/* What is to be spread comes out in turns of `least` to `most` packets. */
static void spread_flow(uint32_t rate, unsigned least, unsigned most)
{
    struct reseq r;
    ns_t now, closed;
    uint32_t last = pile_up(&r, rate, &now), next = 1;
    unsigned turn = 0;

    closed = now;
    while (r.held > 0) {
        unsigned n = pull_all(&r, &next, now);

        turn = n > turn ? n : turn;
        if (r.held == 0)
            break;
        assert_int_equal(pull(&r, now), -1);
        assert_true(reseq_deadline(&r) > now && reseq_deadline(&r) <= now + RESEQ_TURN);
        now = reseq_deadline(&r);
        for (uint32_t i = 0; i < rate; i++, last++) /* what is in order waits its turn, too */
            assert_int_equal(push(&r, last + 1, last + 1, now), RESEQ_HELD);
        assert_true(now - closed <= 30 * rate * NS_PER_MS / (least - rate));
    }
    assert_in_range(turn, least, most);
    assert_int_equal(next, last + 1);
    assert_int_equal(push(&r, next, 0, now), RESEQ_PASS);
    reseq_free(&r);
}

/* RESEQ_BURST, or a quarter more than come. */
static void a_spread_flow_is_no_burst(void **state)
{
    (void)state;
    spread_flow(10, RESEQ_BURST, RESEQ_BURST);
    spread_flow(80, 96, 100);
}

/* Who looks only now and then may release for two turns, no more. */
static void a_late_turn_is_no_burst(void **state)
{
    struct reseq r;
    uint32_t next = 1;
    ns_t now;

    (void)state;
    pile_up(&r, 80, &now);
    assert_in_range(pull_all(&r, &next, now), 96, 100);
    now += 2 * NS_PER_MS; /* in which nothing came: less than before from now on */
    assert_in_range(pull_all(&r, &next, now), 101, 200);
    reseq_free(&r);
}

/* Nor does it keep others waiting, or wait itself when it is to be spread no longer. */
static void a_resting_flow_is_alone(void **state)
{
    struct reseq r;
    uint32_t next = 1;
    ns_t now = NS_PER_S;
    uint8_t b[64];
    unsigned others = 0;
    struct span p;

    (void)state;
    reseq_init(&r, MOST, HOLD);
    reseq_spread(&r, 3, true);
    for (uint32_t flow = 3; flow <= 5; flow += 2) {
        reseq_push(&r, flow, 0xffffff, 0, packet(b, flow, 0), now);
        for (uint32_t k = 1; k <= 300; k++)
            reseq_push(&r, flow, k, k, packet(b, flow, k), now + k * NS_PER_MS / 10);
    }
    now += 40 * NS_PER_MS;
    assert_int_equal(push(&r, 0, 0, now), RESEQ_PASS);
    pull_all(&r, &next, now);
    assert_in_range(next, RESEQ_BURST, 250);
    reseq_push(&r, 5, 0, 0, packet(b, 5, 0), now);
    while (reseq_next(&r, now, &p))
        others++;
    reseq_done(&r);
    assert_int_equal(others, 300);
    reseq_spread(&r, 3, false);
    pull_all(&r, &next, now);
    assert_int_equal(next, 301);
    reseq_free(&r);
}

static void the_floor_rises(void **state)
{
    struct reseq r;

    (void)state;
    reseq_init(&r, MOST, HOLD);
    assert_int_equal(push(&r, 0, 0, 1), RESEQ_PASS);
    assert_int_equal(push(&r, 2, 1, 1), RESEQ_HELD);
    assert_int_equal(push(&r, 5, 4, 1), RESEQ_HELD);
    assert_int_equal(push(&r, 6, 2, 2), RESEQ_HELD); /* 1 and 3 are not coming, 4 may be */
    assert_int_equal(pull(&r, 2), 2);
    assert_int_equal(pull(&r, 2), -1);
    assert_int_equal(r.stats.given_floor, 2);
    assert_int_equal(push(&r, 3, 3, 2), RESEQ_LATE); /* but it did */
    assert_int_equal(push(&r, 3, 3, 2), RESEQ_DUPLICATE);
    reseq_floor(&r, 3, 7, 0, 3); /* a sender that goes idle */
    assert_int_equal(pull(&r, 3), 5);
    assert_int_equal(pull(&r, 3), 6);
    assert_int_equal(pull(&r, 3), -1);
    assert_int_equal(push(&r, 7, 0, 4), RESEQ_PASS);
    reseq_floor(&r, 3, 20, 0, 5); /* with nothing held, too */
    assert_int_equal(push(&r, 20, 0, 6), RESEQ_PASS);
    reseq_floor(&r, 60, 20, 0, 5); /* of a flow never seen */
    assert_true(reseq_check(&r));
    reseq_free(&r);
}

static void time_is_over(void **state)
{
    struct reseq r;
    ns_t now = 7;

    (void)state;
    reseq_init(&r, MOST, HOLD);
    assert_int_equal(push(&r, 0, 0, 1), RESEQ_PASS);
    assert_int_equal(push(&r, 2, 2, now), RESEQ_HELD);
    assert_int_equal(push(&r, 4, 4, now + 1), RESEQ_HELD);
    reseq_tick(&r, now + HOLD - 1);
    assert_int_equal(pull(&r, now + HOLD - 1), -1);
    now += HOLD;
    assert_true(reseq_deadline(&r) == now);
    reseq_tick(&r, now);
    assert_int_equal(pull(&r, now), 2);
    assert_int_equal(pull(&r, now), -1);
    assert_int_equal(r.stats.given_time, 1);
    assert_true(reseq_deadline(&r) == now + HOLD); /* 3 has its own time from here on */
    assert_int_equal(push(&r, 3, 3, now + 1), RESEQ_PASS);
    assert_int_equal(pull(&r, now + 1), 4);
    assert_int_equal(push(&r, 1, 1, now + 2), RESEQ_LATE);
    reseq_free(&r);
}

/* A flow that goes on, gap by gap, lets no packet wait for more than twice the time of one. */
static void gaps_add_up_to_a_bound(void **state)
{
    struct reseq r;

    (void)state;
    reseq_init(&r, 1 << 20, HOLD);
    assert_int_equal(push(&r, 0, 0, 0), RESEQ_PASS);
    for (uint32_t k = 0; k < 100; k++) {
        ns_t now = k * HOLD / 5;

        reseq_tick(&r, now);
        while (pull(&r, now) >= 0)
            ;
        push(&r, 1000 + 10 * k, 1000 + 10 * k, now); /* far ahead, */
        push(&r, 2 * k + 1, 2 * k + 1, now);             /* and the due one, with a gap behind it */
        push(&r, 2 * k + 3, 2 * k + 3, now);
        push(&r, 2 * k + 2, 2 * k + 2, now);
        while (pull(&r, now) >= 0)
            ;
        assert_true(reseq_deadline(&r) > now);
    }
    assert_in_range(r.stats.longest, HOLD, 2 * HOLD);
    reseq_free(&r);
}

static void memory_is_bounded(void **state)
{
    struct reseq r;
    static uint8_t big[9000];
    uint64_t given = 0;

    (void)state;
    reseq_init(&r, 300000, NS_NEVER);
    for (uint32_t f = 0; f < RESEQ_FLOWS; f++)
        assert_int_equal(reseq_push(&r, f, 0, 0, span_of(big, 100), 1), RESEQ_PASS);
    for (uint32_t i = 0; i < 3000; i++) {
        uint32_t f = i % 7 * 9;
        enum reseq_verdict v =
            reseq_push(&r, f, 2 + i, 2 + i, span_of(big, i % 50 ? 1400 : 9000), 2 + i);

        assert_int_equal(v, RESEQ_HELD);
        assert_true(r.bytes - r.spare_n * (RESEQ_CHUNK + 16) <= 300000 + 9000 + 70000);
        for (struct span p; reseq_next(&r, 2 + i, &p);)
            given++;
        reseq_done(&r);
        assert_true(reseq_check(&r));
    }
    assert_true(given > 2500 && r.stats.given_memory > 2000);
    reseq_tick(&r, 4000 + 2 * RESEQ_IDLE); /* only flows that hold nothing are forgotten */
    assert_true(r.held > 0);
    reseq_free(&r);
    assert_int_equal(r.bytes, 0);
}

/* Rings are memory, too: few packets far ahead, in many flows. And long ones after short ones. */
static void nothing_goes_round_the_bound(void **state)
{
    static uint8_t big[60000];
    const size_t most = 4u << 20;
    size_t held = 0;
    struct reseq r;
    struct span p;

    (void)state;
    reseq_init(&r, most, HOLD);
    for (uint32_t f = 0; f < RESEQ_FLOWS; f++) {
        assert_int_equal(reseq_push(&r, f, 0, 0, span_of(big, 40), 1), RESEQ_PASS);
        held += reseq_push(&r, f, 65000, 65000, span_of(big, 40), 1) == RESEQ_HELD;
        assert_true(reseq_check(&r));
        assert_true(r.bytes <= most + most / 8);
    }
    assert_true(held >= 2);
    /* What others no longer need is there for who comes next. */
    reseq_tick(&r, 1 + HOLD);
    while (reseq_next(&r, 1 + HOLD, &p))
        ;
    reseq_done(&r);
    assert_int_equal(reseq_push(&r, 63, 65003, 65000, span_of(big, 40), 2), RESEQ_HELD);
    assert_true(reseq_check(&r));
    reseq_free(&r);

    reseq_init(&r, most, NS_NEVER);
    for (uint32_t i = 0; i < 4000; i++) {
        reseq_push(&r, 0, 2 * i, 0xffff, span_of(big, i < 1900 ? 1 : sizeof(big)), 1);
        assert_true(r.bytes <= most + most / 4);
        while (reseq_next(&r, 1, &p))
            ;
        reseq_done(&r);
    }
    assert_true(reseq_check(&r));
    reseq_free(&r);
    assert_int_equal(r.bytes, 0);
}

static void far_numbers(void **state)
{
    struct reseq r;

    (void)state;
    reseq_init(&r, MOST, HOLD);
    assert_int_equal(push(&r, 0xfffffe, 0, 1), RESEQ_PASS); /* round the corner */
    assert_int_equal(push(&r, 0, 1, 1), RESEQ_HELD);
    assert_int_equal(push(&r, 0xffffff, 0, 1), RESEQ_PASS);
    assert_int_equal(pull(&r, 1), 0);
    assert_int_equal(push(&r, 1 + RESEQ_WINDOW, 0xffff, 2), RESEQ_HELD); /* floor: 2 */
    assert_int_equal(push(&r, 2 + RESEQ_WINDOW, 0xffff, 2), RESEQ_HELD);
    assert_int_equal(pull(&r, 2), -1);
    assert_int_equal(push(&r, 900000, 0xffff, 3), RESEQ_LATE); /* beyond any window */
    assert_int_equal(pull(&r, 3), 1 + RESEQ_WINDOW);
    assert_int_equal(pull(&r, 3), 2 + RESEQ_WINDOW);
    assert_int_equal(pull(&r, 3), -1);
    assert_int_equal(push(&r, 900001, 1, 3), RESEQ_HELD); /* 900000 is not known to have come */
    assert_int_equal(push(&r, 8000000, 0, 4), RESEQ_LATE); /* with one still held */
    assert_int_equal(pull(&r, 4), 900001);
    assert_int_equal(pull(&r, 4), -1);
    assert_int_equal(push(&r, 8000001, 0, 4), RESEQ_PASS);
    reseq_free(&r);
}

static void idle_flows_are_forgotten(void **state)
{
    struct reseq r;

    (void)state;
    reseq_init(&r, MOST, HOLD);
    assert_int_equal(push(&r, 5, 0, 1), RESEQ_PASS);
    assert_int_equal(push(&r, 7, 1, 1), RESEQ_HELD);
    assert_int_equal(push(&r, 6, 0, 1), RESEQ_PASS);
    assert_int_equal(pull(&r, 1), 7);
    assert_int_equal(pull(&r, 1), -1);
    for (int i = 0; i < 4; i++)
        reseq_tick(&r, 2 + RESEQ_IDLE);
    assert_null(r.flow[3]);
    assert_int_equal(r.bytes, 0);
    assert_int_equal(push(&r, 900, 0, 3 + RESEQ_IDLE), RESEQ_PASS); /* begins anew anywhere */
    reseq_free(&r);
}

/* ---- a random run ---------------------------------------------------------------------- */

#define PACKETS 4000
#define FLOWS   3

struct sent {
    unsigned flow;
    uint32_t number;
    uint32_t floor;
    ns_t at;
};

static int by_time(const void *a, const void *b)
{
    const struct sent *x = a, *y = b;

    return x->at < y->at ? -1 : x->at > y->at;
}

struct oracle {
    int64_t last[FLOWS];          /* highest delivered in order */
    uint8_t came[FLOWS][PACKETS]; /* times delivered */
};

static void deliver(struct oracle *o, struct span p, bool in_order)
{
    uint32_t flow;
    uint64_t number;

    memcpy(&flow, p.p, 4);
    memcpy(&number, p.p + 4, 8);
    assert_true(flow < FLOWS && number < PACKETS);
    assert_int_equal(o->came[flow][number]++, 0);
    if (!in_order)
        return;
    assert_true((int64_t)number > o->last[flow]);
    o->last[flow] = (int64_t)number;
}

/*
 * Packets that jitter, get lost and doubled: each delivered once at most, in order but for late
 * ones.
 */
static void random_runs(void **state)
{
    static struct sent s[FLOWS * PACKETS * 2];
    static struct oracle o;

    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        uint64_t x = seed, lost = 0, unique = 0, delivered = 0;
        struct reseq r;
        size_t n = 0;

        memset(&o, 0, sizeof(o));
        reseq_init(&r, seed % 4 ? MOST : 200000, HOLD);
        for (unsigned f = 0; f < FLOWS; f++) {
            o.last[f] = -1;
            for (uint32_t i = 0; i < PACKETS; i++) {
                ns_t t = i * (NS_PER_MS / 10) + rnd(&x) % (seed % 3 * 20 * NS_PER_MS + 1);
                uint32_t floor = i < 500 ? i : 500;

                if (rnd(&x) % 50 < seed % 5) {
                    lost++;
                    continue;
                }
                s[n++] = (struct sent){f, i, floor, t};
                unique++;
                if (rnd(&x) % 20 == 0)
                    s[n++] = (struct sent){f, i, floor, t + rnd(&x) % (20 * NS_PER_MS)};
            }
        }
        qsort(s, n, sizeof(*s), by_time);
        for (size_t i = 0; i < n; i++) {
            uint8_t b[64];
            struct span p = packet(b, s[i].flow, s[i].number), q;
            enum reseq_verdict v;

            if (reseq_deadline(&r) <= s[i].at)
                reseq_tick(&r, s[i].at);
            while (reseq_next(&r, s[i].at, &q))
                deliver(&o, q, true);
            v = reseq_push(&r, s[i].flow, s[i].number, s[i].floor, p, s[i].at);
            if (v == RESEQ_PASS || v == RESEQ_LATE)
                deliver(&o, p, v == RESEQ_PASS);
            while (reseq_next(&r, s[i].at, &q))
                deliver(&o, q, true);
            if (i % 3 == 0)
                reseq_done(&r);
            if (i % 64 == 0)
                assert_true(reseq_check(&r));
        }
        for (ns_t now = s[n - 1].at; r.held > 0; now += HOLD) {
            struct span q;

            reseq_tick(&r, now);
            while (reseq_next(&r, now, &q))
                deliver(&o, q, true);
        }
        for (unsigned f = 0; f < FLOWS; f++)
            for (uint32_t i = 0; i < PACKETS; i++)
                delivered += o.came[f][i];
        assert_int_equal(delivered, unique); /* nothing that arrived is lost here */
        if (lost == 0 && seed % 4)
            assert_int_equal(r.stats.given_time + r.stats.given_memory + r.stats.late, 0);
        reseq_free(&r);
        assert_int_equal(r.bytes, 0);
    }
}

/*
 * Two packets of a hostile sender, one as far ahead as can be held and one whose floor gives up
 * all between, again and again: as cheap as any others, since what is passed over is not walked
 * through.
 */
static void far_ahead_again_and_again(void **state)
{
    enum { TIMES = 20000, FAR = RESEQ_WINDOW - 1 };
    struct reseq r;
    uint32_t at = 1;

    (void)state;
    reseq_init(&r, MOST, HOLD);
    assert_int_equal(push(&r, 0, 0, 1), RESEQ_PASS);
    for (unsigned i = 0; i < TIMES; i++) {
        uint8_t b[64];
        struct span p = packet(b, 3, (at + FAR) & (RESEQ_NUMBERS - 1)), q;

        assert_int_equal(reseq_push(&r, 3, at + FAR, FAR, p, 1), RESEQ_HELD);
        if (i % 1000 == 0)
            assert_true(reseq_check(&r));
        if (i % 2) { /* up to it by a floor, or by time */
            reseq_floor(&r, 3, at + FAR, 0, 1);
        } else {
            reseq_tick(&r, 1 + HOLD);
        }
        assert_true(reseq_next(&r, 1, &q));
        assert_memory_equal(q.p, b, q.n);
        assert_false(reseq_next(&r, 1, &q));
        reseq_done(&r);
        at += FAR + 1;
    }
    assert_int_equal(r.stats.given_floor + r.stats.given_time, (uint64_t)TIMES * FAR);
    assert_true(reseq_check(&r));
    reseq_free(&r);
    assert_int_equal(r.bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_order_nothing_is_kept),
        cmocka_unit_test(a_gap_is_filled),
        cmocka_unit_test(a_spread_flow_is_no_burst),
        cmocka_unit_test(a_late_turn_is_no_burst),
        cmocka_unit_test(a_resting_flow_is_alone),
        cmocka_unit_test(the_floor_rises),
        cmocka_unit_test(time_is_over),
        cmocka_unit_test(gaps_add_up_to_a_bound),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(far_numbers),
        cmocka_unit_test(idle_flows_are_forgotten),
        cmocka_unit_test(random_runs),
        cmocka_unit_test(nothing_goes_round_the_bound),
        cmocka_unit_test(far_ahead_again_and_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
