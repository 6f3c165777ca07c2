#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "quic/errors.h"
#include "quic/flow.h"
#include "quic/wire.h"
#include "test/quic_rand.h"

#define MS NS_PER_MS

static void test_tx(void **state)
{
    struct flow_tx f;

    (void)state;
    flow_tx_init(&f, 100);
    assert_int_equal(flow_tx_room(&f), 100);
    assert_false(flow_tx_blocked(&f));
    flow_tx_use(&f, 100);
    assert_int_equal(flow_tx_room(&f), 0);
    assert_true(flow_tx_blocked(&f)); /* to be told once for this limit */
    flow_tx_blocked_sent(&f);
    assert_false(flow_tx_blocked(&f));
    flow_tx_blocked_lost(&f, 50); /* an old one */
    assert_false(flow_tx_blocked(&f));
    flow_tx_blocked_lost(&f, 100);
    assert_true(flow_tx_blocked(&f));
    flow_tx_blocked_sent(&f);
    assert_false(flow_tx_raise(&f, 100));
    assert_false(flow_tx_raise(&f, 7));
    assert_int_equal(flow_tx_room(&f), 0);
    assert_true(flow_tx_raise(&f, 150));
    assert_int_equal(flow_tx_room(&f), 50);
    flow_tx_use(&f, 50);
    assert_true(flow_tx_blocked(&f));
    flow_tx_blocked_lost(&f, 100);
    assert_true(flow_tx_blocked(&f));
    /* A limit of nothing blocks from the start. */
    flow_tx_init(&f, 0);
    assert_true(flow_tx_blocked(&f));
}

static void test_rx(void **state)
{
    struct flow_rx f;

    (void)state;
    flow_rx_init(&f, 1000, 1000);
    assert_int_equal(flow_rx_receive(&f, 1000), 0);
    assert_int_equal(flow_rx_receive(&f, 1), QUIC_FLOW_CONTROL_ERROR);
    assert_int_equal(flow_rx_receive(&f, UINT64_MAX), QUIC_FLOW_CONTROL_ERROR);
    assert_int_equal(f.received, 1000);
    assert_false(flow_rx_due(&f));
    flow_rx_consume(&f, 250); /* a quarter is not yet more than a quarter */
    assert_false(flow_rx_due(&f));
    flow_rx_consume(&f, 1);
    assert_true(flow_rx_due(&f));
    assert_int_equal(flow_rx_update(&f, 5, 0), 1251);
    assert_false(flow_rx_due(&f));
    flow_rx_lost(&f, 1000); /* not the newest */
    assert_false(flow_rx_due(&f));
    flow_rx_lost(&f, 1251);
    assert_true(flow_rx_due(&f));
    flow_rx_consume(&f, 9); /* it is the newest value that is sent again */
    assert_int_equal(flow_rx_update(&f, 6, 0), 1260);
    assert_false(flow_rx_due(&f));
    assert_int_equal(f.window, 1000);
}

/* A window of nothing never opens; limits end at the largest varint. */
static void test_edges(void **state)
{
    struct flow_rx f;

    (void)state;
    flow_rx_init(&f, 0, 0);
    assert_false(flow_rx_due(&f));
    assert_int_equal(flow_rx_receive(&f, 0), 0);
    assert_int_equal(flow_rx_receive(&f, 1), QUIC_FLOW_CONTROL_ERROR);
    flow_rx_init(&f, VARINT_MAX, VARINT_MAX);
    assert_int_equal(flow_rx_receive(&f, VARINT_MAX), 0);
    flow_rx_consume(&f, VARINT_MAX);
    assert_false(flow_rx_due(&f));
    assert_int_equal(flow_rx_update(&f, 1, 1), VARINT_MAX);
    flow_rx_init(&f, 10, 5); /* the first window counts as the smallest maximum */
    assert_int_equal(f.window_max, 10);
}

/* Drain a flow whose sender is never slower than its window for `rounds` round trips. */
static uint64_t pump(struct flow_rx *f, ns_t rtt, int rounds, uint64_t per_round)
{
    ns_t now = 1000 * MS;

    for (int i = 0; i < rounds; i++) {
        uint64_t n = f->limit - f->received;

        if (n > per_round)
            n = per_round;
        now += rtt;
        assert_int_equal(flow_rx_receive(f, n), 0);
        flow_rx_consume(f, n);
        if (flow_rx_due(f))
            flow_rx_update(f, now, rtt);
        assert_true(f->limit <= f->consumed + f->window);
    }
    return f->window;
}

static void test_tuning(void **state)
{
    struct flow_rx f;

    (void)state;
    flow_rx_init(&f, 10000, 160000);
    assert_int_equal(pump(&f, 50 * MS, 20, UINT64_MAX), 160000); /* doubles to the maximum */
    flow_rx_init(&f, 10000, 100000);
    assert_int_equal(pump(&f, 50 * MS, 20, UINT64_MAX), 100000); /* not by powers only */
    flow_rx_init(&f, 100000, 1000000);
    assert_int_equal(pump(&f, 50 * MS, 100, 30000), 100000); /* a slow one needs no more */
    flow_rx_init(&f, 100000, 1000000);
    assert_int_equal(pump(&f, 0, 100, UINT64_MAX), 100000); /* round trip unknown */
}

/* The peer can always send: whatever is consumed comes back as credit in the end. */
static void test_random(void **state)
{
    struct rnd rnd = {3};
    struct flow_rx rx;
    struct flow_tx tx;
    ns_t now = 1;

    (void)state;
    flow_rx_init(&rx, 5000, 80000);
    flow_tx_init(&tx, 5000);
    for (int i = 0; i < 20000; i++) {
        uint64_t n = rnd_below(&rnd, 3000);

        now += rnd_below(&rnd, 10 * MS);
        if (n > flow_tx_room(&tx))
            n = flow_tx_room(&tx);
        flow_tx_use(&tx, n);
        assert_int_equal(flow_rx_receive(&rx, n), 0);
        n = rnd_below(&rnd, rx.received - rx.consumed + 1);
        flow_rx_consume(&rx, n);
        if (flow_rx_due(&rx)) {
            uint64_t limit = flow_rx_update(&rx, now, 40 * MS);

            if (rnd_chance(&rnd, 1, 3))
                flow_rx_lost(&rx, limit);
            else
                flow_tx_raise(&tx, limit);
        }
        assert_true(tx.limit <= rx.limit && tx.used == rx.received);
        assert_true(rx.consumed <= rx.received && rx.received <= rx.limit);
        assert_true(rx.window <= rx.window_max);
    }
    flow_rx_consume(&rx, rx.received - rx.consumed);
    while (flow_rx_due(&rx))
        flow_tx_raise(&tx, flow_rx_update(&rx, now, 0));
    assert_true(flow_tx_room(&tx) >= rx.window * 3 / 4 - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tx),     cmocka_unit_test(test_rx),
        cmocka_unit_test(test_edges),  cmocka_unit_test(test_tuning),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
