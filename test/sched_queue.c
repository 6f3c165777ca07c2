/* queue: order, bounds in bytes and time, growth and shrinking, against a naive list. */
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

/* A packet whose every byte follows from `id` and its length. */
static struct span packet(uint8_t *buf, uint32_t id, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf[i] = (uint8_t)(id * 31 + i * 7 + n);
    return span_of(buf, n);
}

static size_t cost(size_t n)
{
    return 16 + (n + 7) / 8 * 8;
}

static void first_in_first_out(void **state)
{
    struct queue q;
    struct queue_item it[4];
    uint8_t b[64];

    (void)state;
    queue_init(&q, 1 << 20, NS_NEVER);
    assert_null(q.ring); /* nothing until the first packet */
    assert_false(queue_head(&q, 0, it));
    queue_pop(&q);
    for (uint32_t i = 1; i <= 3; i++)
        assert_int_equal(queue_push(&q, packet(b, i, 10 * i), i, i), 0);
    assert_int_equal(queue_count(&q), 3);
    assert_int_equal(queue_bytes(&q), 60);
    assert_int_equal(queue_peek(&q, 9, it, 4), 3);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(it[i - 1].flow, i);
        assert_int_equal(it[i - 1].arrived, i);
        assert_int_equal(it[i - 1].pkt.n, 10 * i);
    }
    assert_int_equal(queue_peek(&q, 9, it, 2), 2);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_true(queue_head(&q, 9, it));
        assert_memory_equal(it[0].pkt.p, packet(b, i, 10 * i).p, 10 * i);
        queue_pop(&q);
        assert_memory_equal(it[0].pkt.p, b, 10 * i); /* stays until the next push */
        assert_true(queue_check(&q));
    }
    assert_int_equal(q.stats.pushed, 3);
    assert_int_equal(q.stats.popped, 3);
    assert_int_equal(queue_push(&q, span_of(b, 0), 0, 0), QUIC_INVAL);
    assert_int_equal(queue_push(&q, span_of(b, QUEUE_PACKET_MAX + 1), 0, 0), QUIC_TOOBIG);
    assert_int_equal(queue_count(&q), 0);
    queue_free(&q);
}

static void byte_bound(void **state)
{
    struct queue q;
    struct queue_item it;
    uint8_t b[1000];

    (void)state;
    queue_init(&q, 100 * cost(1000), NS_NEVER);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(queue_push(&q, packet(b, i, 1000), i, i), 0);
        assert_true(queue_check(&q));
        assert_true(queue_count(&q) <= 100);
    }
    /* the newest are there, the oldest went; the ring's end may cost one of them */
    assert_in_range(queue_count(&q), 98, 100);
    assert_int_equal(q.stats.dropped_full, 1000 - queue_count(&q));
    assert_true(queue_head(&q, 1000, &it));
    assert_int_equal(it.flow, 1000 - queue_count(&q));
    /* many small packets count by what they take, not by their length */
    queue_clear(&q);
    assert_int_equal(q.stats.dropped_flush, 1000 - q.stats.dropped_full);
    for (uint32_t i = 0; i < 20000; i++)
        assert_int_equal(queue_push(&q, packet(b, i, 1), i, i), 0);
    assert_true(q.used <= 100 * cost(1000) && q.cap <= 1 << 17);
    assert_true(queue_check(&q));
    queue_free(&q);
    /* the smallest bound still takes the largest packet */
    uint8_t *large = malloc(QUEUE_PACKET_MAX);
    assert_non_null(large);
    queue_init(&q, 1, NS_NEVER);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(queue_push(&q, packet(large, i, QUEUE_PACKET_MAX), i, 0), 0);
        assert_int_equal(queue_count(&q), 1);
        assert_true(queue_check(&q));
    }
    queue_free(&q);
    free(large);
}

static void time_bound(void **state)
{
    struct queue q;
    struct queue_item it;
    uint8_t b[100];

    (void)state;
    queue_init(&q, 1 << 20, 50 * NS_PER_MS);
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(queue_push(&q, packet(b, i, 100), i, i * 10 * NS_PER_MS), 0);
    assert_true(queue_head(&q, 50 * NS_PER_MS, &it)); /* exactly as old as allowed */
    assert_int_equal(it.flow, 0);
    assert_true(queue_head(&q, 50 * NS_PER_MS + 1, &it));
    assert_int_equal(it.flow, 1);
    assert_int_equal(q.stats.dropped_old, 1);
    assert_true(queue_head(&q, 100 * NS_PER_MS, &it));
    assert_int_equal(it.flow, 5);
    assert_int_equal(queue_count(&q), 5);
    assert_false(queue_head(&q, NS_PER_S, &it));
    assert_int_equal(q.stats.dropped_old, 10);
    assert_int_equal(queue_bytes(&q), 0);
    /* a clock that stands behind the arrival is no age */
    assert_int_equal(queue_push(&q, packet(b, 1, 100), 1, 2 * NS_PER_S), 0);
    assert_true(queue_head(&q, NS_PER_S, &it));
    queue_free(&q);
}

static void limits_change(void **state)
{
    struct queue q;
    struct queue_item it;
    static uint8_t b[2000];

    (void)state;
    queue_init(&q, 1 << 20, NS_NEVER);
    for (uint32_t i = 0; i < 400; i++)
        assert_int_equal(queue_push(&q, packet(b, i, 1400), i, i), 0);
    assert_int_equal(queue_count(&q), 400);
    queue_limit(&q, 70 * cost(1400), NS_PER_MS);
    assert_int_equal(queue_count(&q), 70);
    assert_true(queue_head(&q, 399, &it));
    assert_int_equal(it.flow, 330);
    assert_memory_equal(it.pkt.p, packet(b, 330, 1400).p, 1400);
    assert_true(queue_check(&q));
    assert_false(queue_head(&q, NS_PER_S, &it));
    queue_free(&q);
}

/* Grows while it must, then gives memory back, half at a time, and at last all. */
static void memory(void **state)
{
    struct queue q;
    struct queue_item it;
    static uint8_t b[1400];
    ns_t now = NS_PER_S;
    size_t full;

    (void)state;
    queue_init(&q, 1 << 20, NS_NEVER);
    for (uint32_t i = 0; i < 500; i++)
        assert_int_equal(queue_push(&q, packet(b, i, 1400), i, now), 0);
    full = q.cap;
    assert_in_range(full, 500 * cost(1400), 1 << 20);
    queue_trim(&q, now);
    assert_int_equal(q.cap, full); /* it was needed */
    while (queue_count(&q) > 5)
        queue_pop(&q);
    queue_trim(&q, now + NS_PER_MS); /* too soon */
    queue_trim(&q, now += NS_PER_S);
    assert_int_equal(q.cap, full); /* it was needed a second ago */
    queue_trim(&q, now += NS_PER_S);
    assert_int_equal(q.cap, full / 2);
    assert_true(queue_check(&q));
    assert_true(queue_head(&q, now, &it));
    assert_int_equal(it.flow, 495);
    assert_memory_equal(it.pkt.p, packet(b, 495, 1400).p, 1400);
    for (int i = 0; i < 10; i++)
        queue_trim(&q, now += NS_PER_S);
    assert_in_range(q.cap, QUEUE_RING_MIN, 4 * 5 * cost(1400));
    assert_int_equal(queue_count(&q), 5);
    while (queue_count(&q) > 0)
        queue_pop(&q);
    queue_trim(&q, now += NS_PER_S);
    assert_non_null(q.ring);
    queue_trim(&q, now += NS_PER_S);
    assert_null(q.ring);
    assert_int_equal(queue_push(&q, packet(b, 1, 1400), 1, now), 0);
    assert_true(queue_check(&q));
    queue_free(&q);
}

/* Records that fill the ring to its last byte, and an end of the ring that moves. */
static void turns(void **state)
{
    struct queue q;
    struct queue_item it;
    static uint8_t b[2000];
    uint32_t id = 0;

    (void)state;
    queue_init(&q, 1 << 20, NS_NEVER);
    for (; id < QUEUE_RING_MIN / 1024; id++)
        assert_int_equal(queue_push(&q, packet(b, id, 1008), id, 0), 0);
    assert_int_equal(q.cap, QUEUE_RING_MIN);
    queue_clear(&q);
    /* 2016 a record: the ring turns with 256 bytes to spare */
    for (id = 0; id < 8; id++)
        assert_int_equal(queue_push(&q, packet(b, id, 2000), id, 0), 0);
    queue_pop(&q);
    queue_pop(&q);
    assert_int_equal(queue_push(&q, packet(b, id, 2000), id, 0), 0);
    assert_true(q.turned);
    while (queue_head(&q, 0, &it) && it.flow < id)
        queue_pop(&q);
    assert_false(q.turned);
    /* round again, with a record that fits behind where it turned last time */
    while (id++ < 15)
        assert_int_equal(queue_push(&q, packet(b, id, 2000), id, 0), 0);
    assert_int_equal(queue_push(&q, packet(b, id, 100), id, 0), 0);
    assert_int_equal(q.cap, QUEUE_RING_MIN);
    for (uint32_t want = 8; want <= id; want++) {
        assert_true(queue_check(&q) && queue_head(&q, 0, &it));
        assert_int_equal(it.flow, want);
        assert_memory_equal(it.pkt.p, packet(b, want, it.pkt.n).p, it.pkt.n);
        queue_pop(&q);
    }
    assert_int_equal(queue_count(&q), 0);
    queue_free(&q);
}

/* A steady stream through a ring that is large enough moves no memory. */
static void steady(void **state)
{
    struct queue q;
    struct queue_item it;
    static uint8_t b[1400], want[1400];
    const uint8_t *ring;

    (void)state;
    queue_init(&q, 1 << 16, NS_NEVER);
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(queue_push(&q, packet(b, i, 1400), i, i), 0);
    ring = q.ring;
    for (uint32_t i = 20; i < 5000; i++) {
        assert_int_equal(queue_push(&q, packet(b, i, 1400), i, i), 0);
        assert_true(queue_head(&q, i, &it));
        assert_int_equal(it.flow, i - 20);
        assert_memory_equal(it.pkt.p, packet(want, i - 20, 1400).p, 1400);
        queue_pop(&q);
        queue_trim(&q, i * NS_PER_MS);
        assert_ptr_equal(q.ring, ring);
    }
    assert_int_equal(q.stats.dropped_full, 0);
    queue_free(&q);
}

/* Random pushes, pops, trims and limits against a plain list of what must be inside. */
static void oracle(void **state)
{
    enum { MOST = 40000 };
    static struct {
        uint32_t id;
        size_t n;
        ns_t at;
    } list[MOST];
    static uint8_t b[QUEUE_PACKET_MAX], want[QUEUE_PACKET_MAX];
    uint64_t seed = 12;
    struct queue q;
    struct queue_item it[8];
    size_t head = 0, tail = 0;
    ns_t now = 0, age = 3 * NS_PER_MS;

    (void)state;
    queue_init(&q, 200000, age);
    while (tail < MOST) {
        unsigned op = rnd(&seed) % 100, phase = tail / 2000 % 3;

        now += rnd(&seed) % (20 * NS_PER_US);
        if (op < (phase == 0 ? 70 : phase == 1 ? 48 : 30)) {
            size_t n =
                rnd(&seed) % 50 ? 1 + rnd(&seed) % 1500 : 1 + rnd(&seed) % QUEUE_PACKET_MAX;

            assert_int_equal(queue_push(&q, packet(b, (uint32_t)tail, n), (uint32_t)tail, now),
                             0);
            list[tail].id = (uint32_t)tail;
            list[tail].n = n;
            list[tail++].at = now;
            /* what went is always the oldest */
            assert_true(queue_count(&q) <= tail - head);
            head = tail - queue_count(&q);
        } else if (op < 95) {
            size_t k = queue_peek(&q, now, it, 8);

            while (head < tail && now - list[head].at > age)
                head++;
            assert_int_equal(queue_count(&q), tail - head);
            assert_int_equal(k, tail - head < 8 ? tail - head : 8);
            for (size_t i = 0; i < k; i++) {
                assert_int_equal(it[i].flow, list[head + i].id);
                assert_int_equal(it[i].arrived, list[head + i].at);
                assert_int_equal(it[i].pkt.n, list[head + i].n);
                packet(want, list[head + i].id, list[head + i].n);
                assert_memory_equal(it[i].pkt.p, want, it[i].pkt.n);
            }
            for (size_t i = rnd(&seed) % (k + 1) % 3; i > 0; i--, head++)
                queue_pop(&q);
        } else if (op < 99) {
            queue_trim(&q, now * 10000); /* housekeeping, in a hurry */
        } else {
            queue_limit(&q, rnd(&seed) % 400000, age);
            head = tail - queue_count(&q);
        }
        assert_true(queue_check(&q));
        assert_int_equal(queue_count(&q), tail - head);
    }
    assert_int_equal(q.stats.pushed, q.stats.popped + q.stats.dropped_full +
                                         q.stats.dropped_old + queue_count(&q));
    assert_true(q.stats.dropped_full > 100 && q.stats.dropped_old > 100 &&
                q.stats.popped > 1000);
    queue_free(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_in_first_out),
        cmocka_unit_test(byte_bound),
        cmocka_unit_test(time_bound),
        cmocka_unit_test(limits_change),
        cmocka_unit_test(memory),
        cmocka_unit_test(turns),
        cmocka_unit_test(steady),
        cmocka_unit_test(oracle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
