/* queue: order, bounds in memory and time, what is dropped and comes back, against a naive list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "sched/queue.h"

static uint64_t rnd(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static struct queue_pkt pkt(uint32_t flow, uint32_t bytes, uint32_t held)
{
    return (struct queue_pkt){.flow = flow, .bytes = bytes, .unit = bytes, .held = held};
}

static void first_in_first_out(void **state)
{
    struct queue q;
    struct queue_pkt p[3];

    (void)state;
    queue_init(&q, 1 << 20, NS_NEVER);
    assert_null(queue_head(&q, 0));
    queue_drop(&q); /* of nothing */
    for (uint32_t i = 0; i < 3; i++) {
        p[i] = pkt(i, 10 * (i + 1), 100);
        queue_push(&q, &p[i], i);
        assert_true(queue_check(&q));
    }
    assert_int_equal(q.count, 3);
    assert_int_equal(q.bytes, 60);
    assert_int_equal(q.held, 300);
    for (uint32_t i = 0; i < 3; i++) {
        assert_ptr_equal(queue_head(&q, 9), &p[i]);
        assert_int_equal(p[i].arrived, i);
        assert_true(queue_took(&q, 10 * (i + 1)));
    }
    assert_null(queue_head(&q, 9));
    assert_null(queue_dropped(&q));
    assert_int_equal(q.stats.pushed, 3);
    assert_int_equal(q.stats.popped, 3);
}

static void in_several_pulls(void **state)
{
    struct queue q;
    struct queue_pkt a = pkt(1, 3000, 4000), b = pkt(2, 500, 600);

    (void)state;
    queue_init(&q, 1 << 20, NS_NEVER);
    queue_push(&q, &a, 0);
    queue_push(&q, &b, 0);
    a.unit = 1000;
    assert_false(queue_took(&q, 1000));
    assert_false(queue_took(&q, 1999));
    assert_int_equal(q.bytes, 501);
    assert_int_equal(q.held, 4600); /* its memory is not free before all of it has left */
    assert_ptr_equal(queue_head(&q, 0), &a);
    a.unit = 1;
    assert_true(queue_check(&q));
    assert_true(queue_took(&q, 1));
    assert_ptr_equal(queue_head(&q, 0), &b);
    assert_int_equal(q.held, 600);
}

static void the_oldest_go_for_want_of_room(void **state)
{
    struct queue q;
    struct queue_pkt p[5];

    (void)state;
    queue_init(&q, 1, NS_NEVER);
    assert_int_equal(q.max_held, QUEUE_HELD_LEAST);
    for (uint32_t i = 0; i < 5; i++) {
        p[i] = pkt(i, 100, QUEUE_HELD_LEAST / 4);
        queue_push(&q, &p[i], 0);
    }
    assert_int_equal(q.stats.dropped_full, 1);
    assert_ptr_equal(queue_dropped(&q), &p[0]);
    assert_null(queue_dropped(&q));
    assert_ptr_equal(queue_head(&q, 0), &p[1]);
    /* One that needs all the room is still queued. */
    p[0] = pkt(9, 100, QUEUE_HELD_LEAST);
    queue_push(&q, &p[0], 0);
    assert_int_equal(q.count, 1);
    assert_int_equal(q.stats.dropped_full, 5);
    assert_true(queue_check(&q));
}

static void too_old(void **state)
{
    struct queue q;
    struct queue_pkt p[3];

    (void)state;
    queue_init(&q, 1 << 20, 100);
    for (uint32_t i = 0; i < 3; i++) {
        p[i] = pkt(i, 100, 100);
        queue_push(&q, &p[i], 50 * i);
    }
    assert_ptr_equal(queue_head(&q, 100), &p[0]); /* as old as allowed */
    assert_ptr_equal(queue_head(&q, 151), &p[2]);
    assert_int_equal(q.stats.dropped_old, 2);
    assert_ptr_equal(queue_dropped(&q), &p[1]);
    assert_ptr_equal(queue_dropped(&q), &p[0]);
    assert_ptr_equal(queue_head(&q, 0), &p[2]); /* time that stands still harms nothing */
    queue_drop(&q);
    assert_ptr_equal(queue_dropped(&q), &p[2]);
    assert_int_equal(q.stats.dropped_told, 1);
    assert_null(queue_head(&q, 0));
}

#define MANY 400

/* Random calls; the queue and an array of packet numbers tell the same story. */
static void against_a_list(void **state)
{
    static struct queue_pkt p[MANY];
    uint64_t seed = 7;

    (void)state;
    for (int round = 0; round < 50; round++) {
        size_t list[MANY], n = 0, next = 0, dropped = 0, gone = 0, held = 0;
        struct queue q;
        ns_t now = 0;

        queue_init(&q, 1 << 18, 1000);
        while (next < MANY) {
            uint64_t r = rnd(&seed);

            now += r % 40;
            if (r >> 8 & 1) {
                p[next] = pkt((uint32_t)next, 1 + r % 9000, 200 + (uint32_t)(r >> 20) % 20000);
                for (; n > 0 && held + p[next].held > 1 << 18; dropped++) {
                    held -= p[list[0]].held;
                    memmove(list, list + 1, --n * sizeof(*list));
                }
                queue_push(&q, &p[next], now);
                held += p[next].held;
                list[n++] = next++;
            } else {
                struct queue_pkt *h;

                for (; n > 0 && now - p[list[0]].arrived > 1000; dropped++) {
                    held -= p[list[0]].held;
                    memmove(list, list + 1, --n * sizeof(*list));
                }
                h = queue_head(&q, now);
                assert_ptr_equal(h, n ? &p[list[0]] : NULL);
                if (h && (r >> 9 & 1)) {
                    h->unit = 1;
                    if (queue_took(&q, 1 + (uint32_t)(r >> 30) % h->bytes)) {
                        held -= h->held;
                        memmove(list, list + 1, --n * sizeof(*list));
                        gone++;
                    }
                }
            }
            assert_int_equal(q.count, n);
            assert_int_equal(q.held, held);
            assert_true(queue_check(&q));
        }
        queue_clear(&q);
        dropped += n;
        for (n = 0; queue_dropped(&q); n++)
            ;
        assert_int_equal(n, dropped);
        assert_int_equal(gone + dropped, MANY);
        assert_int_equal(q.stats.popped, gone);
        assert_int_equal(q.stats.pushed, MANY);
        assert_int_equal(q.stats.dropped_full + q.stats.dropped_old + q.stats.dropped_told,
                         dropped);
        assert_true(q.bytes == 0 && q.held == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_in_first_out),
        cmocka_unit_test(in_several_pulls),
        cmocka_unit_test(the_oldest_go_for_want_of_room),
        cmocka_unit_test(too_old),
        cmocka_unit_test(against_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
