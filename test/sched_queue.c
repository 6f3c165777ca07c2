/* queue: order, fairness, bounds, CoDel, and what is dropped and comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "sched/queue.h"
#include "test/rnd.h"

#define MS NS_PER_MS

static struct queue_pkt pkt(uint32_t flow, uint32_t bytes, uint32_t held)
{
    return (struct queue_pkt){.flow = flow, .bytes = bytes, .unit = bytes, .held = held};
}

static size_t drain(struct queue *q)
{
    size_t n = 0;

    while (queue_dropped(q))
        n++;
    return n;
}

static void done(struct queue *q)
{
    queue_clear(q);
    drain(q);
    assert_true(q->count == 0 && q->bytes == 0 && q->held == 0 && queue_check(q));
    queue_free(q);
}

/* The packet that is served next; null if there is none. */
static struct queue_pkt *next(struct queue *q, ns_t now)
{
    struct sched_head h;

    if (queue_heads(q, now, &h, 1) == 0)
        return NULL;
    return queue_first(q, h.flow, now);
}

static void one_flow_is_in_order(void **state)
{
    struct queue q;
    struct queue_pkt p[3];

    (void)state;
    queue_init(&q, 1 << 20, NS_NEVER);
    assert_null(next(&q, 0));
    assert_null(queue_first(&q, 0, 0));
    queue_drop(&q, 0); /* of nothing */
    for (uint32_t i = 0; i < 3; i++) {
        p[i] = pkt(5, 10 * (i + 1), 100);
        queue_push(&q, &p[i], i);
        assert_true(queue_check(&q));
    }
    assert_true(q.count == 3 && q.bytes == 60 && q.held == 300);
    for (uint32_t i = 0; i < 3; i++) {
        assert_ptr_equal(next(&q, 9), &p[i]);
        assert_ptr_equal(queue_follow(&p[i]), i < 2 ? &p[i + 1] : NULL);
        assert_int_equal(p[i].arrived, i);
        assert_true(queue_took(&q, &p[i], 10 * (i + 1), 9));
    }
    assert_null(next(&q, 9));
    assert_null(queue_dropped(&q));
    assert_true(q.stats.pushed == 3 && q.stats.popped == 3);
    done(&q);
}

static void in_several_pulls(void **state)
{
    struct queue q;
    struct queue_pkt a = pkt(1, 3000, 4000), b = pkt(1, 500, 600);

    (void)state;
    queue_init(&q, 1 << 20, NS_NEVER);
    queue_push(&q, &a, 0);
    queue_push(&q, &b, 0);
    a.unit = 1000;
    assert_false(queue_took(&q, &a, 1000, 0));
    assert_false(queue_took(&q, &a, 1999, 0));
    assert_int_equal(q.bytes, 501);
    assert_int_equal(q.held, 4600); /* its memory is not free before all of it has left */
    assert_ptr_equal(next(&q, 0), &a);
    assert_true(queue_check(&q));
    assert_true(queue_took(&q, &a, 1, 0));
    assert_ptr_equal(next(&q, 0), &b);
    assert_int_equal(q.held, 600);
    done(&q);
}

static void heads(void **state)
{
    struct queue q;
    struct queue_pkt p[4] = {pkt(1, 3000, 10), pkt(1, 700, 10), pkt(2, 900, 10),
                             pkt(3, 50, 10)};
    struct sched_head h[SCHED_HEADS];

    (void)state;
    queue_init(&q, 1 << 20, NS_NEVER);
    p[0].unit = 1000;
    p[2].elastic = true;
    for (int i = 0; i < 4; i++)
        queue_push(&q, &p[i], 1);
    assert_int_equal(queue_heads(&q, 5, h, SCHED_HEADS), 3);
    assert_true(h[0].flow == 1 && h[0].bytes == 1000 && h[0].backlog_bytes == 3700);
    assert_true(h[1].flow == 2 && h[1].bytes == 900 && h[1].elastic && !h[0].elastic);
    assert_true(h[2].flow == 3 && h[2].waited == 4);
    for (int i = 0; i < 3; i++)
        assert_int_equal(h[i].standing, 4);
    assert_true(h[0].numbering == SCHED_PLAIN);
    assert_int_equal(queue_heads(&q, 5, h, 2), 2);
    q.may_number = true;
    queue_numbered(&q, 2);
    queue_heads(&q, 5, h, SCHED_HEADS);
    assert_true(h[0].numbering == SCHED_MAY && h[1].numbering == SCHED_NUMBERED);
    queue_clear(&q);
    drain(&q);
    for (int i = 2; i < 4; i++)
        queue_push(&q, &p[i], (ns_t)(4 + 2 * i));
    queue_heads(&q, 11, h, SCHED_HEADS);
    assert_true(h[0].standing == 3 && h[1].standing == 3 && h[1].waited == 1);
    done(&q);
}

/* A sparse flow comes before heavy ones; a heavy one that pauses does not. */
static void sparse_first(void **state)
{
    struct queue q;
    struct queue_pkt p[20], s = pkt(9, 100, 10), t = pkt(9, 100, 10);

    (void)state;
    queue_init(&q, 1 << 20, NS_NEVER);
    for (uint32_t i = 0; i < 20; i++) {
        p[i] = pkt(1 + i % 2, 1400, 10);
        queue_push(&q, &p[i], 0);
    }
    for (int i = 0; i < 6; i++) {
        struct queue_pkt *h = next(&q, MS);

        queue_took(&q, h, h->bytes, MS);
    }
    queue_push(&q, &s, MS);
    assert_ptr_equal(next(&q, MS), &s);
    queue_took(&q, &s, 100, MS);
    /* Its next packet waits for its turn: it has been sparse once in this round. */
    queue_push(&q, &t, MS);
    assert_ptr_not_equal(next(&q, MS), &t);
    done(&q);
}

/* Flows of packets of every size that never run dry get equal bytes, in pulls of any size. */
static void fair(void **state)
{
    enum { FLOWS = 7 };
    static const uint32_t size[FLOWS] = {60, 200, 1400, 9000, 45 * 1400, 1400, 333};
    static struct queue_pkt p[FLOWS][2000];
    size_t sent[FLOWS] = {0}, used[FLOWS] = {0};
    struct queue q;

    (void)state;
    queue_init(&q, 64 << 20, NS_NEVER);
    for (int round = 0; round < 3000; round++) {
        struct queue_pkt *h;
        uint32_t f;

        for (f = 0; f < FLOWS; f++) {
            while (used[f] < ARRAY_LEN(p[f]) && used[f] < 20 + sent[f] / size[f]) {
                struct queue_pkt *n = &p[f][used[f]++];

                *n = pkt(f, size[f], size[f]);
                n->unit = size[f] < 1400 ? size[f] : 1400;
                queue_push(&q, n, 0);
            }
        }
        h = next(&q, 0);
        f = h->flow;
        sent[f] += h->bytes < 4000 ? h->bytes : 4000;
        queue_took(&q, h, 4000, 0);
        assert_true(queue_check(&q));
        if (used[0] == ARRAY_LEN(p[0]))
            break;
    }
    for (uint32_t f = 1; f < FLOWS; f++)
        assert_in_range(sent[f], sent[0] * 8 / 10, sent[0] * 12 / 10 + 9000);
    done(&q);
}

/* Make a flow bulky: its queue is filled for long and it moves. Returns the time. */
static ns_t make_bulk(struct queue *q, struct queue_pkt *p, size_t n, uint32_t flow, ns_t now)
{
    for (size_t i = 0; i < n; i++) {
        p[i] = pkt(flow, 1400, 100);
        queue_push(q, &p[i], now);
    }
    for (size_t i = 0; i + 2 < n; i++) {
        now += MS / 2;
        queue_took(q, &p[i], 1400, now);
    }
    return now;
}

static void bulk_comes_after_prompt(void **state)
{
    static struct queue_pkt p[60], s[20];
    struct sched_head h[SCHED_HEADS];
    struct queue q;
    ns_t now;

    (void)state;
    queue_init(&q, 1 << 20, NS_NEVER);
    now = make_bulk(&q, p, 60, 1, MS);
    for (uint32_t i = 0; i < 20; i++) {
        s[i] = pkt(2, 1400, 100);
        queue_push(&q, &s[i], now);
    }
    assert_int_equal(queue_heads(&q, now, h, SCHED_HEADS), 2);
    assert_true(h[0].flow == 2 && h[0].lane == SCHED_PROMPT);
    assert_true(h[1].flow == 1 && h[1].lane == SCHED_BULK && h[1].moved_bytes >= FLOW_UP_BYTES);
    for (uint32_t i = 0; i < 20; i++) {
        assert_ptr_equal(next(&q, now), &s[i]);
        queue_took(&q, &s[i], 1400, now);
    }
    assert_ptr_equal(next(&q, now), &p[58]);
    queue_took(&q, &p[58], 1400, now);
    queue_took(&q, &p[59], 1400, now);
    /* After it was quiet, it begins anew; the other one comes first all the same. */
    now += FLOW_QUIET;
    queue_push(&q, &p[0], now);
    assert_int_equal(queue_heads(&q, now, h, SCHED_HEADS), 1);
    assert_true(h[0].lane == SCHED_PROMPT && queue_check(&q));
    done(&q);
}

static void the_fattest_drops(void **state)
{
    struct queue q;
    struct queue_pkt thin = pkt(1, 100, 1000), p[6];

    (void)state;
    queue_init(&q, 1, NS_NEVER);
    assert_int_equal(q.max_held, QUEUE_HELD_LEAST);
    queue_push(&q, &thin, 0);
    for (uint32_t i = 0; i < 6; i++) {
        p[i] = pkt(2, 100, QUEUE_HELD_LEAST / 4 - 200);
        queue_push(&q, &p[i], 0);
        assert_true(queue_check(&q));
    }
    assert_true(q.stats.dropped_full >= 2 && q.stats.dropped_full <= 3);
    assert_int_equal(drain(&q), q.stats.dropped_full);
    assert_ptr_equal(queue_first(&q, 1, 0), &thin);
    assert_ptr_equal(queue_first(&q, 2, 0), &p[q.stats.dropped_full]); /* its oldest are gone */
    /* One that needs all the room is still queued. */
    p[0] = pkt(3, 100, QUEUE_HELD_LEAST);
    queue_push(&q, &p[0], 0);
    assert_int_equal(q.count, 1);
    assert_true(queue_check(&q));
    done(&q);
}

static void too_old(void **state)
{
    struct queue q;
    struct queue_pkt p[3];

    (void)state;
    queue_init(&q, 1 << 20, 100);
    for (uint32_t i = 0; i < 3; i++) {
        p[i] = pkt(i / 2, 100, 100);
        queue_push(&q, &p[i], 50 * i);
    }
    assert_ptr_equal(next(&q, 100), &p[0]); /* as old as allowed */
    assert_ptr_equal(next(&q, 151), &p[2]);
    assert_int_equal(q.stats.dropped_old, 2);
    assert_int_equal(drain(&q), 2);
    assert_ptr_equal(next(&q, 0), &p[2]); /* time that stands still harms nothing */
    queue_drop(&q, 1);
    assert_ptr_equal(queue_dropped(&q), &p[2]);
    assert_int_equal(q.stats.dropped_told, 1);
    assert_null(next(&q, 0));
    done(&q);
}

/* ---- CoDel ----------------------------------------------------------------------------- */

/*
 * A standing queue of one flow for 400 ms, one packet of 1400 bytes out each ms. `units`: in
 * packets of so many datagrams.
 */
static void standing(struct queue *q, struct queue_pkt *p, size_t n, uint32_t units, bool ect)
{
    size_t pushed = 0;

    for (ns_t now = MS; now < 400 * MS; now += MS) {
        struct queue_pkt *h;

        while (q->bytes < 50 * 1400 && pushed < n) {
            p[pushed] = pkt(1, 1400 * units, 2000 * units);
            p[pushed].unit = 1400;
            p[pushed].ect = ect;
            queue_push(q, &p[pushed++], now);
        }
        h = next(q, now);
        h->skip = 0;
        queue_took(q, h, 1400, now);
        assert_true(queue_check(q));
    }
    assert_true(pushed < n);
}

static void codel_drops_or_marks(void **state)
{
    static struct queue_pkt p[1000];
    static const struct {
        uint32_t units;
        bool ect;
    } row[] = {{1, false}, {1, true}, {20, false}, {20, true}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        struct queue q;
        size_t dropped;

        queue_init(&q, 16 << 20, NS_NEVER);
        standing(&q, p, ARRAY_LEN(p), row[i].units, row[i].ect);
        dropped = drain(&q);
        if (row[i].ect) {
            assert_in_range(q.stats.marked, 3, 30);
            assert_true(q.stats.dropped_codel == 0 && dropped == 0);
        } else {
            assert_in_range(q.stats.dropped_codel, 3, 30);
            assert_int_equal(q.stats.marked, 0);
            /* of a super-packet one datagram, not all of it */
            assert_true(row[i].units == 1 ? dropped == q.stats.dropped_codel : dropped <= 1);
        }
        done(&q);
    }
}

static void mark_and_skip(void **state)
{
    struct queue_pkt a = pkt(1, 5 * 1000, 100), b = pkt(1, 1000, 100);
    struct queue q;
    int ect;

    (void)state;
    for (ect = 0; ect < 2; ect++) {
        queue_init(&q, 1 << 20, NS_NEVER);
        a = pkt(1, 5 * 1000, 100);
        a.unit = 1000;
        a.ect = ect;
        b = pkt(1, 1000, 100);
        queue_push(&q, &a, MS);
        queue_push(&q, &b, MS);
        assert_ptr_equal(queue_first(&q, 1, 50 * MS), &a); /* long, but not for long */
        assert_true(!a.mark && a.skip == 0);
        assert_ptr_equal(queue_first(&q, 1, 160 * MS), &a);
        assert_true(a.mark == (ect == 1) && a.skip == (ect == 0));
        assert_int_equal(a.bytes, ect ? 5000 : 4000);
        assert_int_equal(q.bytes, a.bytes + 1000);
        /* Not sent after all: the mark stays, the next datagram is not dropped as well. */
        assert_ptr_equal(queue_first(&q, 1, 161 * MS), &a);
        assert_true(a.mark == (ect == 1) && a.skip == (ect == 0));
        queue_took(&q, &a, 1000, 161 * MS);
        assert_false(a.mark);
        done(&q);
    }
}

static void bulk_may_wait_longer(void **state)
{
    static struct queue_pkt p[60], s[2];
    struct queue q;
    ns_t now;

    (void)state;
    queue_init(&q, 1 << 20, NS_NEVER);
    q.target[SCHED_BULK] = 100 * MS;
    now = make_bulk(&q, p, 60, 1, MS);
    for (int i = 0; i < 2; i++) {
        s[i] = pkt(2, 1000, 100);
        s[i].ect = true;
        queue_push(&q, &s[i], now);
    }
    p[58].ect = true;
    p[58].arrived = p[59].arrived = now;
    for (ns_t t = now; t < now + 99 * MS; t += MS) {
        queue_first(&q, 1, t);
        assert_false(p[58].mark);
    }
    for (ns_t t = now; t < now + 150 * MS; t += MS)
        queue_first(&q, 2, t);
    assert_true(s[0].mark);
    done(&q);
}

/* While the clock stands, no packet waits. */
static void paused(void **state)
{
    struct queue_pkt a = pkt(1, 1000, 100), b = pkt(1, 1000, 100);
    struct sched_head h;
    struct queue q;

    (void)state;
    queue_init(&q, 1 << 20, 300 * MS);
    a.ect = true;
    queue_push(&q, &a, 10 * MS);
    queue_push(&q, &b, 10 * MS);
    queue_pause(&q, true, 12 * MS);
    queue_pause(&q, true, 500 * MS); /* it stood already */
    for (ns_t t = 12 * MS; t < 1000 * MS; t += MS)
        assert_ptr_equal(queue_first(&q, 1, t), &a);
    assert_int_equal(queue_heads(&q, 1000 * MS, &h, 1), 1);
    assert_int_equal(h.waited, 2 * MS);
    queue_pause(&q, false, 1000 * MS);
    assert_false(a.mark);
    for (ns_t t = 1000 * MS; t < 1120 * MS; t += MS)
        queue_first(&q, 1, t);
    assert_true(a.mark);
    assert_int_equal(queue_heads(&q, 1400 * MS, &h, 1), 0); /* and gets too old */
    assert_int_equal(drain(&q), 2);
    done(&q);
}

/* ---- the table ------------------------------------------------------------------------- */

/* More flows than a set has places: none is lost, none mixed with another in a pull. */
static void crowded_set(void **state)
{
    enum { FLOWS = 20, EACH = 5 };
    static struct queue_pkt p[FLOWS][EACH];
    size_t got[FLOWS] = {0}, n = 0;
    struct queue q;

    (void)state;
    queue_init(&q, 1 << 20, NS_NEVER);
    for (uint32_t i = 0; i < EACH; i++) {
        for (uint32_t f = 0; f < FLOWS; f++) {
            p[f][i] = pkt(f * QUEUE_SLOTS, 1000, 100);
            queue_push(&q, &p[f][i], i);
            assert_true(queue_check(&q));
        }
    }
    while (q.count > 0) {
        struct queue_pkt *h = next(&q, EACH), *f;
        uint32_t flow = h->flow / QUEUE_SLOTS;

        for (f = h; f; f = queue_follow(f))
            assert_int_equal(f->flow, h->flow);
        assert_true(queue_took(&q, h, 1000, EACH));
        assert_true(queue_check(&q));
        got[flow]++;
        n++;
    }
    assert_int_equal(n, FLOWS * EACH);
    for (size_t f = 0; f < FLOWS; f++)
        assert_int_equal(got[f], EACH);
    done(&q);
}

/* Counted while they are not quiet, in their lane; and how long their packets had waited. */
static void flows(void **state)
{
    struct queue_flows f;
    struct queue_pkt bulk[80], one;
    struct queue q;
    ns_t now = MS;

    (void)state;
    queue_init(&q, 1 << 20, NS_NEVER);
    queue_flows(&q, now, &f);
    assert_int_equal(f.prompt + f.bulk + f.steady + f.numbered, 0);
    for (size_t i = 0; i < ARRAY_LEN(bulk); i++) {
        bulk[i] = pkt(1, 1400, 1400);
        queue_push(&q, &bulk[i], now);
    }
    one = pkt(2, 100, 100);
    queue_push(&q, &one, now);
    queue_flows(&q, now, &f);
    assert_int_equal(f.prompt, 2);
    for (size_t i = 0; i + 1 < ARRAY_LEN(bulk); i++) {
        now += MS / 2;
        queue_took(&q, &bulk[i], 1400, now);
    }
    queue_took(&q, &one, 100, now);
    queue_numbered(&q, 1);
    queue_flows(&q, now, &f);
    assert_int_equal(f.prompt, 1);
    assert_int_equal(f.bulk, 1);
    assert_int_equal(f.numbered, 1);
    /* the last one left after half a millisecond for each before it */
    assert_in_range(f.waited[SCHED_BULK], 20 * MS, 40 * MS);
    assert_in_range(f.waited[SCHED_PROMPT], 4 * MS, 40 * MS);
    queue_flows(&q, now + FLOW_QUIET, &f); /* what still waits is not quiet */
    assert_int_equal(f.prompt, 0);
    assert_int_equal(f.bulk, 1);
    assert_int_equal(f.waited[SCHED_PROMPT], 0);
    queue_took(&q, &bulk[ARRAY_LEN(bulk) - 1], 1400, now);
    queue_flows(&q, now + FLOW_QUIET, &f);
    assert_int_equal(f.prompt + f.bulk, 0);
    done(&q);
}

static void table_comes_and_goes(void **state)
{
    struct queue_pkt a = pkt(3, 100, 100);
    struct queue q;

    (void)state;
    queue_init(&q, 1 << 20, NS_NEVER);
    assert_null(queue_find(&q, 3));
    queue_push(&q, &a, MS);
    assert_int_equal(queue_find(&q, 3)->bytes, 100);
    assert_null(queue_find(&q, 3 + QUEUE_SLOTS)); /* of the same set */
    queue_trim(&q, MS + QUEUE_TRIM);
    assert_non_null(q.table); /* not empty */
    queue_took(&q, next(&q, MS), 100, MS);
    assert_int_equal(queue_find(&q, 3)->bytes, 0); /* remembered */
    queue_trim(&q, QUEUE_TRIM);
    assert_non_null(q.table);
    queue_trim(&q, MS + QUEUE_TRIM);
    assert_null(q.table);
    assert_null(queue_find(&q, 3));
    queue_push(&q, &a, MS);
    assert_ptr_equal(next(&q, MS), &a);
    done(&q);
}

/* ---- all of it ------------------------------------------------------------------------- */

#define MANY 3000

/*
 * Random calls, with and without a table. What must hold: the invariant; every packet comes back
 * once, by a pull or dropped; each flow's packets come in order.
 */
static void random_calls(void **state)
{
    static struct queue_pkt p[MANY];
    static bool back[MANY];
    uint64_t seed = 7;

    (void)state;
    for (int round = 0; round < 40; round++) {
        size_t used = 0, returned = 0;
        long last[40];
        struct queue_pkt *d;
        struct queue q;
        ns_t now = 0;

        queue_init(&q, 1 << 19, 200 * MS);
        memset(back, 0, sizeof(back));
        for (int f = 0; f < 40; f++)
            last[f] = -1;
        while (used < MANY) {
            uint64_t r = rnd(&seed);

            now += r % (3 * MS);
            if (r >> 8 & 1) {
                uint32_t flow = (uint32_t)(r >> 20) % 40 * (round % 2 ? 1 : 0x10001);

                p[used] = pkt(flow, 1 + (r >> 30) % 9000, 200 + (uint32_t)(r >> 44) % 20000);
                p[used].unit = 1 + (r >> 31) % p[used].bytes;
                p[used].ect = r >> 9 & 1;
                queue_push(&q, &p[used++], now);
            } else if (r >> 9 & 7) {
                struct sched_head h[SCHED_HEADS];
                size_t n = queue_heads(&q, now, h, 1 + (r >> 12) % SCHED_HEADS);
                struct queue_pkt *first;

                assert_int_equal(n == 0, q.count == 0);
                if (n == 0)
                    continue;
                first = queue_first(&q, h[(r >> 20) % n].flow, now);
                if (first) {
                    long at = first - p, *l = &last[first->flow % 0x10000 % 40];

                    assert_true(first->flow == h[(r >> 20) % n].flow && !back[at] && at >= *l);
                    *l = at;
                    if (queue_took(&q, first, 1 + (uint32_t)(r >> 30) % first->bytes, now)) {
                        back[at] = true;
                        returned++;
                    }
                }
            } else if (used > 0) {
                queue_pause(&q, r >> 13 & 1, now);
                queue_drop(&q, p[(r >> 20) % used].flow);
            }
            for (; (d = queue_dropped(&q)); returned++) {
                assert_false(back[d - p]);
                back[d - p] = true;
            }
            assert_true(queue_check(&q));
            assert_int_equal(used - returned, q.count);
        }
        queue_clear(&q);
        for (; (d = queue_dropped(&q)); returned++)
            back[d - p] = true;
        assert_int_equal(returned, MANY);
        done(&q);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_flow_is_in_order),
        cmocka_unit_test(in_several_pulls),
        cmocka_unit_test(heads),
        cmocka_unit_test(sparse_first),
        cmocka_unit_test(fair),
        cmocka_unit_test(bulk_comes_after_prompt),
        cmocka_unit_test(the_fattest_drops),
        cmocka_unit_test(too_old),
        cmocka_unit_test(codel_drops_or_marks),
        cmocka_unit_test(mark_and_skip),
        cmocka_unit_test(bulk_may_wait_longer),
        cmocka_unit_test(paused),
        cmocka_unit_test(crowded_set),
        cmocka_unit_test(flows),
        cmocka_unit_test(table_comes_and_goes),
        cmocka_unit_test(random_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
