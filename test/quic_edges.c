/* Edges: trains that are nearly full, limits that are nearly met, one who only listens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quic/endpoint.h"
#include "test/quic_pair.h"

static void open_pair(struct pair *p)
{
    pair_connect(p);
    pair_run(p, NS_PER_S);
    assert_true(quic_is_established(p->conn[CLIENT]));
    assert_true(quic_is_established(p->conn[SERVER]));
}

/* One DATAGRAM of `n` bytes; returns as quic_dgram_send. */
static int dgram(struct pair *p, int from, struct quic_train *t, size_t n)
{
    static uint8_t buf[2048];
    struct quic_dgram d = {.p = buf + 128, .n = n, .headroom = 128};
    return quic_dgram_send(p->conn[from], 0, t, &d, 1, p->now);
}

/* Two from the client, so that the server has something to acknowledge. */
static void owe_ack(struct pair *p)
{
    static uint8_t out[65536];
    for (int i = 0; i < 2; i++) {
        struct quic_train t = {.buf = out, .cap = 65507, .max_count = 64};
        assert_int_equal(dgram(p, CLIENT, &t, 40), 1);
        pair_train(p, CLIENT, &t);
    }
    assert_true(ackrx_due(&p->conn[SERVER]->path[0].ack[SPACE_APP], p->now));
}

/* An ACK that rides along stays within the buffer, the segment and the path MTU. */
static void test_ack_fits(void **state)
{
    (void)state;
    for (size_t spare = 0; spare < 48; spare++) {
        struct pair p;
        pair_init(&p);
        p.cfg[SERVER].max_udp_payload = 1200;
        open_pair(&p);

        /* Behind a larger one, at the end of the buffer. */
        static uint8_t large[1024], small[1024], out[4096];
        struct quic_dgram d[2] = {{.p = large + 128, .n = 600, .headroom = 128},
                                  {.p = small + 128, .n = 130, .headroom = 128}};
        struct quic_train t = {.buf = out, .cap = sizeof(out), .max_count = 64};
        assert_int_equal(quic_dgram_send(p.conn[SERVER], 0, &t, d, 2, p.now), 2);
        size_t whole = t.len;
        pair_train(&p, SERVER, &t);
        pair_run(&p, 100 * NS_PER_MS);
        owe_ack(&p);
        uint8_t *exact = malloc(whole + spare);
        t = (struct quic_train){.buf = exact, .cap = whole + spare, .max_count = 64};
        assert_int_equal(quic_dgram_send(p.conn[SERVER], 0, &t, d, 2, p.now), 2);
        assert_true(t.len <= t.cap);
        free(exact);

        /* Behind a path MTU probe, which is larger than what is known to pass. */
        pair_run(&p, 100 * NS_PER_MS);
        owe_ack(&p);
        t = (struct quic_train){.buf = out, .cap = sizeof(out), .max_count = 64};
        t.len = t.segment = 1400;
        t.count = 1;
        t.route = p.route[SERVER];
        size_t max = quic_dgram_max(p.conn[SERVER], 0);
        assert_int_equal(dgram(&p, SERVER, &t, max - spare), 1);
        assert_true(t.len - 1400 <= 1200);
        pair_free(&p);
    }
}

/* Payloads of a few bytes take what header protection and the look of a reset ask for. */
static void test_tiny_payloads(void **state)
{
    (void)state;
    static const uint8_t lens[][2] = {{4, 20}, {20, 4}, {4, 4}, {8, 20}};
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct pair p;
        pair_init(&p);
        p.cfg[CLIENT].cid_len = lens[i][0];
        p.cfg[SERVER].cid_len = lens[i][1];
        open_pair(&p);
        for (size_t n = 0; n < 30; n++) {
            static uint8_t out[2048];
            struct quic_train t = {.buf = out, .cap = sizeof(out), .max_count = 64};
            assert_int_equal(dgram(&p, CLIENT, &t, n), 1);
            size_t need = t.len;
            pair_train(&p, CLIENT, &t);
            pair_run(&p, 100 * NS_PER_MS);
            /* The bytes that it took are those it asked for. */
            t = (struct quic_train){.buf = out, .cap = need - 1, .max_count = 64};
            assert_int_equal(dgram(&p, CLIENT, &t, n), QUIC_TOOBIG);
            t.cap = need;
            assert_int_equal(dgram(&p, CLIENT, &t, n), 1);
            assert_int_equal(t.len, need);
            pair_train(&p, CLIENT, &t);
            pair_run(&p, 100 * NS_PER_MS);
        }
        pair_free(&p);
    }
}

/* What was not taken when the connection ended is gone, whatever was taken before. */
static void test_close_with_dgrams(void **state)
{
    (void)state;
    for (size_t taken = 0; taken <= 3; taken++) {
        struct pair p;
        pair_init(&p);
        open_pair(&p);
        static uint8_t out[3][2048];
        struct quic_rx rx[3];
        for (int i = 0; i < 3; i++) {
            struct quic_train t = {.buf = out[i], .cap = sizeof(out[i]), .max_count = 1};
            assert_int_equal(dgram(&p, CLIENT, &t, 100), 1);
            rx[i] = (struct quic_rx){p.route[SERVER], 0, out[i], t.len};
        }
        assert_int_equal(quic_recv(p.conn[SERVER], rx, 3, p.now), 0);
        struct quic_dgram_rx got[8];
        assert_int_equal(quic_dgram_recv(p.conn[SERVER], got, taken), taken);
        quic_close(p.conn[SERVER], 1, "enough", p.now);
        assert_int_equal(quic_dgram_recv(p.conn[SERVER], got, 8), 0);
        struct quic_stats stats;
        quic_stats(p.conn[SERVER], &stats);
        assert_int_equal(stats.drop_dgram, 3 - taken);
        /* What comes while closing changes nothing. */
        struct quic_train t = {.buf = out[0], .cap = sizeof(out[0]), .max_count = 1};
        assert_int_equal(dgram(&p, CLIENT, &t, 100), 1);
        pair_train(&p, CLIENT, &t);
        assert_int_equal(quic_dgram_recv(p.conn[SERVER], got, 8), 0);
        quic_stats(p.conn[SERVER], &stats);
        assert_int_equal(stats.drop_dgram, 3 - taken);
        pair_free(&p);
    }
}

/*
 * However little may be sent to an address that is not proven: once everything is sent, the
 * deadline lies in the future, and never comes again and again without effect.
 */
static void little_room(size_t n, bool back)
{
    struct pair p;
    pair_init(&p);
    open_pair(&p);
    static uint8_t out[2048];
    for (int i = 0; i <= back; i++) {
        struct quic_train t = {.buf = out, .cap = sizeof(out), .max_count = 1};
        assert_int_equal(dgram(&p, CLIENT, &t, n), 1);
        p.route[SERVER].remote.port = i ? 1000 : 4444;
        pair_train(&p, CLIENT, &t);
    }
    p.lose[SERVER] = true;
    struct quic_conn *c = p.conn[SERVER];
    struct path_route *r = path_current(&c->path[0]);
    assert_int_equal(r->route.remote.port, back ? 1000 : 4444);
    assert_int_equal(r->validated, back);
    p.bytes[SERVER] = 0;
    for (int steps = 0; quic_deadline(c) != NS_NEVER; steps++) {
        assert_true(steps < 50);
        pair_flush(&p, SERVER);
        assert_true(quic_deadline(c) > p.now);
        p.now = quic_deadline(c);
        quic_tick(c, p.now);
    }
    assert_true(p.bytes[SERVER] > 0);
    pair_free(&p);
}

static void test_little_room(void **state)
{
    (void)state;
    for (size_t n = 20; n < 1100; n += n < 500 ? 3 : 17) {
        little_room(n, false);
        little_room(n, true);
    }
}

/*
 * One who only acknowledges hears nothing of it by himself. Now and then he asks, so that he
 * has fewer ranges to report, and packets that count as in flight without asking for an
 * acknowledgement (RFC 9000 13.2.4, 13.2.7) don't fill his window for good.
 */
static void listener(unsigned lose_each)
{
    struct pair p;
    pair_init(&p);
    p.cfg[SERVER].cid_len = 20; /* his short packets are padded: to a client with short IDs */
    p.cfg[CLIENT].cid_len = 4;
    open_pair(&p);
    struct quic_path *path = &p.conn[SERVER]->path[0];
    static uint8_t out[2048];
    size_t most_ranges = 0;
    uint64_t before = p.datagrams[SERVER];
    for (int i = 0; i < 4000; i++) {
        struct quic_train t = {.buf = out, .cap = sizeof(out), .max_count = 1};
        int r = dgram(&p, CLIENT, &t, 100);
        assert_true(r == 1 || r == QUIC_BLOCKED);
        p.lose[CLIENT] = lose_each && i % lose_each == 0;
        if (r == 1)
            pair_train(&p, CLIENT, &t);
        p.lose[CLIENT] = false;
        pair_run(&p, 3 * NS_PER_MS);
        size_t ranges = ackrx_range_count(&path->ack[SPACE_APP]);
        if (ranges > most_ranges)
            most_ranges = ranges;
    }
    assert_true(most_ranges < 16);
    const struct recovery *r = &path->recovery;
    assert_true(recovery_next_pn(&path->recovery, SPACE_APP) -
                    recovery_largest_acked(r, SPACE_APP) <
                128);
    assert_true(r->bytes_in_flight < 6000);
    /* Not at the price of more packets: it rides along. */
    assert_true(p.datagrams[SERVER] - before < 4100);
    struct quic_train t = {.buf = out, .cap = sizeof(out), .max_count = 1};
    assert_int_equal(dgram(&p, SERVER, &t, 100), 1);
    pair_free(&p);
}

static void test_listener(void **state)
{
    (void)state;
    listener(0);
    listener(10);
}

/* Looking for a reset's token costs by the connection: it is done so often a second only. */
static void test_reset_flood(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    open_pair(&p);
    struct quic_endpoint_config cfg = {.conn = p.cfg[CLIENT]};
    struct quic_endpoint *ep = quic_endpoint_new(&cfg);
    assert_int_equal(quic_endpoint_add(ep, p.conn[CLIENT]), 0);
    uint8_t packet[40] = {0x41};
    struct quic_rx rx = {p.route[CLIENT], 0, packet, sizeof(packet)};
    struct quic_train answer = {.max_count = 1};
    struct quic_conn *conn;
    struct quic_endpoint_stats stats;
    unsigned n = 0;
    do {
        assert_true(++n < 1000000);
        assert_int_equal(quic_endpoint_route(ep, &rx, p.now, &conn, &answer), QUIC_ROUTE_DROP);
        quic_endpoint_stats(ep, &stats);
    } while (!stats.drop_rate);
    assert_true(n > 100000);
    struct quic_conn *server = p.conn[SERVER];
    assert_int_equal(
        stateless_reset_token(server->reset_key, &server->local.initial_scid, packet + 24), 0);
    assert_int_equal(quic_endpoint_route(ep, &rx, p.now, &conn, &answer), QUIC_ROUTE_DROP);
    p.now += NS_PER_S;
    assert_int_equal(quic_endpoint_route(ep, &rx, p.now, &conn, &answer), QUIC_ROUTE_CONN);
    assert_ptr_equal(conn, p.conn[CLIENT]);
    quic_endpoint_del(ep);
    pair_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ack_fits),          cmocka_unit_test(test_tiny_payloads),
        cmocka_unit_test(test_close_with_dgrams), cmocka_unit_test(test_little_room),
        cmocka_unit_test(test_listener),          cmocka_unit_test(test_reset_flood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
