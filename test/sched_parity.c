/* parity: what one loss of a block gives, what pauses cost, bounds; and a long random run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "sched/parity.h"
#include "test/rnd.h"

#define MS  NS_PER_MS
#define NOW MS

/* Packet `number` of `flow`: of a length and of bytes of its own. */
static struct span packet(unsigned flow, uint32_t number, uint8_t buf[PARITY_LONGEST])
{
    uint64_t x = (uint64_t)flow << 32 | number;
    size_t n = 1 + (size_t)(rnd(&x) % 1400);

    for (size_t i = 0; i < n; i++)
        buf[i] = (uint8_t)rnd(&x);
    return span_of(buf, n);
}

static void send(struct parity_out *o, unsigned flow, uint32_t number, ns_t now)
{
    uint8_t buf[PARITY_LONGEST];
    struct span p = packet(flow, number, buf);
    size_t cut = p.n < 40 ? 0 : 40;

    parity_add(o, flow, number, span_of(p.p, cut), span_of(p.p + cut, p.n - cut), now);
}

/* It comes. The number of what that gives, which must be as it was sent; -1: nothing. */
static int64_t come(struct parity_in *in, unsigned flow, uint32_t number, ns_t now)
{
    uint8_t buf[PARITY_LONGEST];
    struct span p = packet(flow, number, buf);

    if (!parity_got(in, flow, &number, &p, now))
        return -1;
    struct span is = packet(flow, number, buf);
    assert_int_equal(p.n, is.n);
    assert_memory_equal(p.p, is.p, is.n);
    return number;
}

static int64_t parity_comes(struct parity_in *in, const struct parity *p, ns_t now)
{
    uint8_t buf[PARITY_LONGEST];
    struct span pkt, is;
    uint32_t number;

    if (!parity_came(in, p, &number, &pkt, now))
        return -1;
    is = packet(p->flow, number, buf);
    assert_int_equal(pkt.n, is.n);
    assert_memory_equal(pkt.p, is.p, is.n);
    return number;
}

/* The parity that is due, copied: `buf` holds its bytes. */
static bool take(struct parity_out *o, struct parity *p, uint8_t buf[PARITY_LONGEST], ns_t now)
{
    if (!parity_next(o, now, p))
        return false;
    memcpy(buf, p->pkt.p, p->pkt.n);
    p->pkt.p = buf;
    parity_sent(o, now);
    return true;
}

static struct parity_out o;
static struct parity_in in;
static uint8_t bytes[PARITY_LONGEST];

static int set_up(void **state)
{
    (void)state;
    parity_out_init(&o);
    parity_in_init(&in);
    o.on = true;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    parity_out_free(&o);
    parity_in_free(&in);
    assert_true(o.pool.bytes == 0 && in.pool.bytes == 0);
    return 0;
}

/* Any one of a block, wherever the parity comes between the others. */
static void one_of_a_block(void **state)
{
    const struct parity hello = {.count = 0};
    uint32_t first = 0;

    (void)state;
    assert_int_equal(parity_comes(&in, &hello, NOW), -1);
    for (unsigned lost = 0; lost < PARITY_BLOCK; lost++) {
        for (unsigned at = 0; at <= PARITY_BLOCK; at++, first += PARITY_BLOCK) {
            int64_t gave = -1;
            struct parity p;
            unsigned times = 0;

            for (unsigned i = 0; i < PARITY_BLOCK; i++)
                send(&o, 3, first + i, NOW);
            do
                assert_true(take(&o, &p, bytes, NOW));
            while (p.count == 0);
            assert_int_equal(p.first, first);
            assert_int_equal(p.count, PARITY_BLOCK);
            for (unsigned i = 0; i <= PARITY_BLOCK; i++) {
                int64_t g = i == at ? parity_comes(&in, &p, NOW) : -1;

                times += g >= 0;
                gave = g >= 0 ? g : gave;
                g = i < PARITY_BLOCK && i != lost ? come(&in, 3, first + i, NOW) : -1;
                times += g >= 0;
                gave = g >= 0 ? g : gave;
            }
            assert_int_equal(times, 1);
            assert_int_equal(gave, first + lost);
            assert_int_equal(come(&in, 3, first + lost, NOW), -1); /* after all */
            assert_int_equal(parity_comes(&in, &p, NOW), -1);
            parity_done(&in);
        }
    }
    assert_true(in.recovered == PARITY_BLOCK * (PARITY_BLOCK + 1));
}

/* Two are too many; none, and one that came twice, give nothing. */
static void others_give_nothing(void **state)
{
    struct parity p;

    (void)state;
    assert_int_equal(parity_comes(&in, &(struct parity){.count = 0}, NOW), -1);
    for (unsigned lost = 0; lost <= 2; lost += 2) {
        uint32_t first = 160 * lost;

        for (unsigned i = 0; i < PARITY_BLOCK; i++)
            send(&o, 3, first + i, NOW);
        do
            assert_true(take(&o, &p, bytes, NOW));
        while (p.count == 0);
        for (unsigned i = lost; i < PARITY_BLOCK; i++) {
            assert_int_equal(come(&in, 3, first + i, NOW), -1);
            assert_int_equal(come(&in, 3, first + i, NOW), -1);
        }
        assert_int_equal(parity_comes(&in, &p, NOW), -1);
    }
    assert_int_equal(come(&in, 3, 320, NOW), 321); /* the first of the two is late */
}

/* What has come before the first parity is not kept, and nothing at all while it is off. */
static void nothing_of_it_costs(void **state)
{
    struct parity p;

    (void)state;
    o.on = false;
    for (uint32_t i = 0; i < 100; i++) {
        send(&o, 1, i, NOW);
        assert_int_equal(come(&in, 1, i, NOW), -1);
    }
    assert_true(o.pool.bytes == 0 && in.pool.bytes == 0 && parity_deadline(&o) == NS_NEVER);
    assert_false(parity_next(&o, 0, &p));
    o.on = true; /* from the next block on */
    for (uint32_t i = 100; i < 128; i++)
        send(&o, 1, i, NOW);
    assert_true(take(&o, &p, bytes, NOW) && p.count == 0); /* some will come */
    assert_true(take(&o, &p, bytes, NOW) && p.first == 112 && p.count == 16);
    assert_false(take(&o, &p, bytes, NOW));
    o.on = false; /* from the next block on */
    for (uint32_t i = 128; i < 200; i++)
        send(&o, 1, i, NOW);
    assert_false(take(&o, &p, bytes, NOW));
}

/* A pause within a block: the part that there is, once, and then the whole. */
static void a_pause(void **state)
{
    struct parity p;
    uint32_t i = 0;

    (void)state;
    for (; i < 5; i++)
        send(&o, 9, i, i * MS);
    assert_true(take(&o, &p, bytes, 4 * MS) && p.count == 0);
    assert_int_equal(parity_comes(&in, &p, 4 * MS), -1);
    while (parity_deadline(&o) < 4 * MS + PARITY_PAUSE) {
        parity_tick(&o, parity_deadline(&o));
        assert_false(take(&o, &p, bytes, 7 * MS));
    }
    parity_tick(&o, parity_deadline(&o));
    assert_true(parity_deadline(&o) == NS_NEVER);
    assert_true(take(&o, &p, bytes, 7 * MS) && p.first == 0 && p.count == 5);
    for (uint32_t k = 0; k < 4; k++)
        assert_int_equal(come(&in, 9, k, 8 * MS), -1);
    assert_int_equal(parity_comes(&in, &p, 8 * MS), 4);
    assert_int_equal(parity_comes(&in, &p, 8 * MS), -1); /* twice */
    send(&o, 9, i++, 9 * MS);                            /* one alone is not worth it */
    parity_tick(&o, parity_deadline(&o));
    assert_false(take(&o, &p, bytes, 20 * MS));
    for (; i < PARITY_BLOCK; i++)
        send(&o, 9, i, 20 * MS);
    assert_true(take(&o, &p, bytes, 20 * MS) && p.count == PARITY_BLOCK);
    for (uint32_t k = 6; k < PARITY_BLOCK; k++)
        assert_int_equal(come(&in, 9, k, 21 * MS), -1);
    assert_int_equal(parity_comes(&in, &p, 21 * MS), 5);
    /* A part that comes behind packets it does not cover is of no use, and does no harm. */
    for (; i < PARITY_BLOCK + 4; i++)
        send(&o, 9, i, 30 * MS);
    parity_tick(&o, 30 * MS + PARITY_PAUSE);
    parity_tick(&o, 40 * MS);
    assert_true(take(&o, &p, bytes, 40 * MS) && p.count == 4);
    assert_int_equal(come(&in, 9, 16, 40 * MS), -1);
    assert_int_equal(come(&in, 9, 17, 40 * MS), -1);
    assert_int_equal(come(&in, 9, 18, 40 * MS), -1);
    assert_int_equal(come(&in, 9, 20, 40 * MS), -1);
    assert_int_equal(parity_comes(&in, &p, 40 * MS), -1);
    for (; i < 2 * PARITY_BLOCK; i++)
        send(&o, 9, i, 41 * MS);
    assert_true(take(&o, &p, bytes, 41 * MS) && p.count == PARITY_BLOCK);
    assert_int_equal(parity_comes(&in, &p, 41 * MS), -1);
    for (uint32_t k = 21; k < 31; k++)
        assert_int_equal(come(&in, 9, k, 41 * MS), -1);
    assert_int_equal(come(&in, 9, 31, 41 * MS), 19);
}

/* However a flow pauses, it is one parity for PARITY_EARN packets. */
static void pauses_are_bounded(void **state)
{
    size_t n = 0;
    ns_t now = 0;

    (void)state;
    for (uint32_t i = 0; i < 8000; i++) {
        struct parity p;

        send(&o, 2, i, now);
        if (i % 2)
            now += 10 * MS;
        parity_tick(&o, now);
        parity_tick(&o, now);
        while (take(&o, &p, bytes, now))
            n += p.count > 0;
    }
    assert_true(n > 8000 / PARITY_EARN - 100 && n <= 8000 / PARITY_EARN + 2 * PARITY_SAVED);
}

/* What waits too long is dropped; so is the oldest where too many wait. */
static void what_waits(void **state)
{
    struct parity p;
    size_t n = 0;

    (void)state;
    for (uint32_t i = 0; i < 40 * PARITY_BLOCK; i++)
        send(&o, 7, i, NOW);
    assert_true(parity_next(&o, PARITY_AGE + MS, &p) && p.first == 24 * PARITY_BLOCK);
    for (; take(&o, &p, bytes, PARITY_AGE); n++)
        ;
    assert_int_equal(n, PARITY_DUE);
    for (uint32_t i = 40 * PARITY_BLOCK; i < 41 * PARITY_BLOCK; i++)
        send(&o, 7, i, PARITY_AGE);
    assert_false(parity_next(&o, 2 * PARITY_AGE + 1, &p));
    assert_true(o.pool.bytes <= (PARITY_DUE + 2) * sizeof(struct parity_block));
}

static void too_long(void **state)
{
    uint8_t big[PARITY_LONGEST + 1] = {0};
    struct parity p;
    struct span pkt = span_of(big, sizeof(big));
    uint32_t number = 5;

    (void)state;
    for (uint32_t i = 0; i < 2 * PARITY_BLOCK; i++) {
        if (i == 5)
            parity_add(&o, 4, i, span_of(NULL, 0), span_of(big, sizeof(big)), NOW);
        else
            send(&o, 4, i, NOW);
    }
    parity_tick(&o, 10 * MS);
    assert_true(take(&o, &p, bytes, NOW) && p.count == 0);
    assert_int_equal(parity_comes(&in, &p, NOW), -1);
    assert_true(take(&o, &p, bytes, NOW) && p.first == PARITY_BLOCK);
    assert_false(take(&o, &p, bytes, NOW));
    assert_false(parity_got(&in, 4, &number, &pkt, NOW));
}

/* The peer may say what it likes. */
static void nonsense(void **state)
{
    uint8_t junk[PARITY_LONGEST + 1];
    struct parity bad[] = {
        {.flow = 64, .count = 16, .pkt = span_of(junk, 100), .size = 50},
        {.flow = 1, .count = 17, .pkt = span_of(junk, 100), .size = 50},
        {.flow = 1, .first = 3, .count = 16, .pkt = span_of(junk, 100), .size = 50},
        {.flow = 1, .count = 16, .pkt = span_of(junk, PARITY_LONGEST + 1), .size = 50},
    };
    struct parity p = {.flow = 1, .count = 1, .pkt = span_of(junk, 100), .size = 50};
    struct span pkt;
    uint32_t number;

    (void)state;
    memset(junk, 0xa5, sizeof(junk));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(parity_came(&in, &bad[i], &number, &pkt, NOW));
    assert_true(in.pool.bytes == 0 && in.seen == 0);
    assert_true(parity_came(&in, &p, &number, &pkt, 1)); /* a copy of packet 0, if you like */
    assert_true(number == 0 && pkt.n == 50 && pkt.p[49] == 0xa5);
    for (size_t i = 0; i < 2; i++) {
        p.first = 16 * (uint32_t)(i + 1);
        p.size = i ? 101 : 0; /* longer than any, and nothing */
        assert_false(parity_came(&in, &p, &number, &pkt, 1));
    }
    p.pkt.n = 0;
    p.first = 1600;
    assert_false(parity_came(&in, &p, &number, &pkt, 1));
    for (uint32_t i = 0; i < 4000; i++) {
        p = (struct parity){.flow = i % 64,
                            .first = i * 16,
                            .count = 16,
                            .size = 1,
                            .pkt = span_of(junk, i % 2017)};
        parity_came(&in, &p, &number, &pkt, 1);
    }
    assert_true(in.pool.bytes <= (PARITY_SLOTS + 8) * sizeof(struct parity_block));
    parity_done(&in);
    parity_in_trim(&in, 1 + PARITY_IDLE);
    assert_true(in.pool.bytes == 0 && in.seen == 1);
    parity_in_trim(&in, 2 + PARITY_FORGET);
    assert_true(in.seen == 0);
}

/* Where memory ends there is no parity, and there is one again when it is back. */
static void without_memory(void **state)
{
    const size_t some[] = {0, 1, 2, 40};
    uint32_t first = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(some); i++) {
        struct parity p;
        size_t n = 0;
        int64_t gave = -1;

        o.pool.max_bytes = in.pool.max_bytes = some[i] * sizeof(struct parity_block);
        for (uint32_t k = 0; k < 5 * PARITY_BLOCK; k++) {
            send(&o, 1, first + k, NOW);
            parity_tick(&o, parity_deadline(&o));
            if (k % 16 != 7)
                come(&in, 1, first + k, NOW);
            for (; take(&o, &p, bytes, NOW); n++)
                if ((gave = parity_comes(&in, &p, NOW)) >= 0)
                    assert_int_equal(gave % 16, 7);
        }
        parity_done(&in);
        assert_true(o.pool.bytes <= o.pool.max_bytes && in.pool.bytes <= in.pool.max_bytes);
        first += 5 * PARITY_BLOCK;
        assert_true(i == 0 ? n == 0 : i < 3 || (n > 5 && in.recovered >= 5));
    }
}

/* A flow that was quiet so long that its blocks are forgotten, on either side. */
static void idle(void **state)
{
    struct parity p;
    ns_t later = 3 * PARITY_IDLE;

    (void)state;
    for (uint32_t i = 0; i < 8; i++)
        send(&o, 1, i, NOW);
    assert_true(take(&o, &p, bytes, NOW) && p.count == 0);
    assert_int_equal(parity_comes(&in, &p, NOW), -1);
    for (uint32_t i = 0; i < 7; i++)
        assert_int_equal(come(&in, 1, i, NOW), -1);
    parity_out_trim(&o, later);
    assert_true(o.pool.bytes == 0 && !o.bare);
    parity_tick(&o, later);
    for (uint32_t i = 8; i < 32; i++)
        send(&o, 1, i, later);
    assert_true(take(&o, &p, bytes, later) && p.count == 0); /* they may be forgotten */
    assert_true(take(&o, &p, bytes, later) && p.first == 16);
    assert_int_equal(come(&in, 1, 8, later), -1);
    for (uint32_t i = 17; i < 32; i++)
        assert_int_equal(come(&in, 1, i, later), -1);
    assert_int_equal(parity_comes(&in, &p, later), 16);
}

#define AWAY 300 /* packets that a path may be behind */

/*
 * Flows over a link that loses 1 % and delays some: what is made up is what was sent, most losses
 * are, and memory is bounded.
 */
static void random_runs(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        static struct {
            bool parity;
            unsigned flow;
            uint32_t number;
            struct parity p;
            uint8_t bytes[PARITY_LONGEST];
        } way[AWAY];
        uint32_t number[3] = {0xfffff0, 160, 0};
        size_t lost = 0, made = 0;
        uint64_t x = seed;
        ns_t now = 0;

        memset(way, 0, sizeof(way));
        set_up(NULL);
        for (size_t i = 0; i < AWAY; i++)
            way[i].parity = true; /* of count 0 */
        for (size_t i = 0; i < 60000; i++) {
            unsigned flow = (unsigned)(rnd(&x) % 3);
            uint32_t n = number[flow];
            bool pending = true, parity = false;
            struct parity p = {0};

            number[flow] = (n + 1) % (1u << 24);
            now += rnd(&x) % 100 == 0 ? 5 * MS : 100 * NS_PER_US;
            parity_tick(&o, now);
            send(&o, flow, n, now);
            while (pending || (parity = parity_next(&o, now, &p))) {
                size_t at = rnd(&x) % (parity || rnd(&x) % 2 ? 20 : AWAY);

                pending = false;
                /* What lay there comes now, and this later, if it is not lost. */
                if (way[at].parity)
                    made += parity_comes(&in, &way[at].p, now) >= 0;
                else if (way[at].number != UINT32_MAX)
                    made += come(&in, way[at].flow, way[at].number, now) >= 0;
                way[at].parity = parity;
                way[at].flow = flow;
                way[at].number = n;
                if (parity) {
                    memcpy(way[at].bytes, p.pkt.p, p.pkt.n);
                    way[at].p = p;
                    way[at].p.pkt.p = way[at].bytes;
                    parity_sent(&o, now);
                }
                if (rnd(&x) % 100 == 0) {
                    lost += !parity;
                    way[at].parity = false;
                    way[at].number = UINT32_MAX;
                }
                parity = false;
            }
            parity_done(&in);
        }
        assert_true(made > lost * 3 / 4);
        assert_true(o.pool.bytes <= (3 + PARITY_DUE + 2) * sizeof(struct parity_block));
        assert_true(in.pool.bytes <= (PARITY_SLOTS + 8) * sizeof(struct parity_block));
        assert_true(o.sent < 60000 / PARITY_BLOCK + 60000 / 30);
        tear_down(NULL);
    }
}

int main(void)
{
#define IT(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        IT(one_of_a_block),
        IT(others_give_nothing),
        IT(nothing_of_it_costs),
        IT(a_pause),
        IT(pauses_are_bounded),
        IT(what_waits),
        IT(too_long),
        IT(nonsense),
        IT(idle),
        IT(without_memory),
        cmocka_unit_test(random_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
