/* The life of 1-RTT keys: updates, what old keys may still do, and the limits of a key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "quic/conn.h"
#include "test/sim/evil.h"
#include "test/sim/world.h"

#define PING SPAN_LIT("\x01")

enum { CLIENT, SERVER };

struct pair {
    struct world w;
    struct quic_conn *conn[2];
    struct sim_host *host[2];
};

static void pair_init(struct pair *p)
{
    world_init(&p->w, 1);
    world_path(&p->w, 10 * NS_PER_MS, 0, 0);
    p->w.xfer.streams = 1;
    p->w.xfer.up = p->w.xfer.down = 20000;
    world_start(&p->w, 1);
    sim_run(&p->w.sim, p->w.sim.now + NS_PER_S, NULL, NULL);
    p->host[CLIENT] = p->w.client;
    p->host[SERVER] = p->w.server;
    p->conn[CLIENT] = p->w.client->conn[0];
    p->conn[SERVER] = p->w.server->conn[0];
}

static void run(struct pair *p, ns_t time)
{
    sim_run(&p->w.sim, p->w.sim.now + time, NULL, NULL);
}

/* A packet of that end that asks for an answer, and time for both. */
static void say(struct pair *p, int end)
{
    quic_ping(p->conn[end], 0);
    sim_host_wake(p->host[end]);
    run(p, 100 * NS_PER_MS);
}

static uint64_t updates(const struct pair *p, int end)
{
    struct quic_stats stats;
    quic_stats(p->conn[end], &stats);
    return stats.key_updates;
}

/* Bytes that were sealed before, now. */
static int deliver(struct pair *p, int to, uint8_t *buf, size_t n)
{
    struct quic_rx rx = {.route = path_current(&p->conn[to]->path[0])->route, .p = buf, .n = n};
    return quic_recv(p->conn[to], &rx, 1, p->w.sim.now);
}

/* Forged packets to `to`: what of its counters they raise is returned. */
static uint64_t forge(struct pair *p, int to, unsigned n)
{
    uint64_t before = p->conn[to]->keys.failed;
    for (unsigned i = 0; i < n; i++) {
        uint8_t buf[100];
        struct evil e = {.level = LEVEL_APP};
        size_t len = evil_packet(p->conn[!to], &e, PING, buf, sizeof(buf));
        buf[len - 1] ^= 1;
        deliver(p, to, buf, len);
    }
    return p->conn[to]->keys.failed - before;
}

/* ---- when an update may be ----------------------------------------------------------- */

/* Not before the handshake is confirmed (RFC 9001 6.1), nor before an acknowledgement. */
static void test_when(void **state)
{
    (void)state;
    for (int end = CLIENT; end <= SERVER; end++) {
        struct pair p;
        pair_init(&p);
        struct quic_conn *c = p.conn[end];
        c->confirmed = false;
        assert_int_equal(quic_key_update(c), QUIC_BLOCKED);
        c->confirmed = true;
        assert_int_equal(quic_key_update(c), 0);
        assert_true(c->keys.tx_phase && !c->keys.rx_phase);
        /* Not again until the peer has followed and acknowledged, and three PTOs on (6.5). */
        assert_int_equal(quic_key_update(c), QUIC_BLOCKED);
        say(&p, end);
        assert_int_equal(updates(&p, CLIENT), 1);
        assert_int_equal(updates(&p, SERVER), 1);
        assert_true(c->keys.rx_phase && c->keys.phase_acked);
        ns_t acked = p.w.sim.now;
        assert_int_equal(quic_key_update(c), QUIC_BLOCKED);
        while (quic_key_update(c) != 0) {
            assert_true(p.w.sim.now < acked + 3 * conn_pto(c));
            run(&p, NS_PER_MS);
            c->now = p.w.sim.now;
        }
        assert_true(p.w.sim.now + 100 * NS_PER_MS >= acked + 3 * conn_pto(c));
        say(&p, end);
        assert_int_equal(updates(&p, !end), 2);
        assert_false(p.w.xfer.end[0].closed || p.w.xfer.end[1].closed);
        world_free(&p.w);
    }
}

/* Both at once is one update. */
static void test_crossed(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    assert_int_equal(quic_key_update(p.conn[CLIENT]), 0);
    assert_int_equal(quic_key_update(p.conn[SERVER]), 0);
    say(&p, CLIENT);
    say(&p, SERVER);
    assert_int_equal(updates(&p, CLIENT), 1);
    assert_int_equal(updates(&p, SERVER), 1);
    assert_false(p.w.xfer.end[0].closed || p.w.xfer.end[1].closed);
    world_free(&p.w);
}

/* ---- old keys ------------------------------------------------------------------------ */

/* What was sent before the update is read for three PTOs after it, and not beyond (6.5). */
static void test_late(void **state)
{
    (void)state;
    for (int in_time = 0; in_time <= 1; in_time++) {
        struct pair p;
        pair_init(&p);
        uint8_t buf[100];
        struct evil e = {.level = LEVEL_APP};
        size_t n = evil_packet(p.conn[CLIENT], &e, SPAN_LIT("\x31\x03xyz"), buf, sizeof(buf));
        assert_int_equal(quic_key_update(p.conn[CLIENT]), 0);
        say(&p, CLIENT);
        struct conn_keys *k = &p.conn[SERVER]->keys;
        assert_true(aead_ready(&k->rx_prev) && k->rx_phase);
        ns_t pto = conn_pto(p.conn[SERVER]);
        run(&p, in_time ? pto : 4 * pto);
        assert_int_equal(aead_ready(&k->rx_prev), in_time);
        uint64_t failed = k->failed;
        assert_int_equal(deliver(&p, SERVER, buf, n), 0);
        struct quic_dgram_rx d;
        assert_int_equal(quic_dgram_recv(p.conn[SERVER], &d, 1), in_time);
        assert_int_equal(k->failed - failed, !in_time);
        world_free(&p.w);
    }
}

/* A packet under old keys after one under new ones is not authentic (6.4). */
static void test_back(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    struct quic_conn *client = p.conn[CLIENT];
    struct aead *tx = &client->keys.tx[LEVEL_APP], old;
    assert_int_equal(aead_init(&old, tx->id, span_of(tx->secret, tx->secret_len), true), 0);
    /* The header is masked by the same key before and after. */
    assert_int_equal(quic_key_update(client), 0);
    say(&p, CLIENT);
    uint64_t failed = p.conn[SERVER]->keys.failed;
    struct evil e = {.level = LEVEL_APP, .flip_phase = true, .key = &old};
    assert_int_equal(
        evil_send(client, p.conn[SERVER], &e, SPAN_LIT("\x31\x03xyz"), p.w.sim.now), 0);
    struct quic_dgram_rx d;
    assert_int_equal(quic_dgram_recv(p.conn[SERVER], &d, 1), 0);
    assert_int_equal(p.conn[SERVER]->keys.failed - failed, 1);
    aead_free(&old);
    world_free(&p.w);
}

/* Acknowledged under old keys what was sent under new ones (6.2), at once or late. */
static void test_ack_by_old(void **state)
{
    (void)state;
    for (int late = 0; late <= 1; late++) {
        struct pair p;
        pair_init(&p);
        struct quic_conn *server = p.conn[SERVER];
        uint64_t pn = recovery_next_pn(&server->path[0].recovery, SPACE_APP);
        assert_true(pn < 0x4000);
        uint8_t ack[] = {FRAME_ACK, (uint8_t)(0x40 | pn >> 8), (uint8_t)pn, 0, 0, 0}, buf[100];
        struct evil e = {.level = LEVEL_APP};
        size_t n = evil_packet(p.conn[CLIENT], &e, span_of(ack, sizeof(ack)), buf, sizeof(buf));
        assert_int_equal(quic_key_update(server), 0);
        if (!late)
            p.host[SERVER]->node.out = NULL;
        say(&p, SERVER);
        assert_int_equal(server->keys.rx_phase, late);
        assert_true(recovery_next_pn(&server->path[0].recovery, SPACE_APP) > pn);
        assert_int_equal(deliver(&p, SERVER, buf, n), QUIC_KEY_UPDATE_ERROR);
        world_free(&p.w);
    }
}

/* ---- limits -------------------------------------------------------------------------- */

/* Half of what a key may seal is used up: either end updates, streams or DATAGRAMs. */
static void test_seal_limit(void **state)
{
    (void)state;
    for (int end = CLIENT; end <= SERVER; end++) {
        for (int dgram = 0; dgram <= 1; dgram++) {
            struct pair p;
            pair_init(&p);
            struct aead *tx = &p.conn[end]->keys.tx[LEVEL_APP];
            uint64_t half = aead_seal_limit(tx->id) / 2;
            tx->used = half - 3;
            for (int i = 0; i < 6; i++) {
                uint64_t used = tx->used;
                if (dgram)
                    assert_int_equal(
                        sim_host_dgram(p.host[end], p.conn[end], SPAN_LIT("xyz"), 0), 1);
                else
                    quic_ping(p.conn[end], 0);
                sim_host_wake(p.host[end]);
                run(&p, 100 * NS_PER_MS);
                assert_true(tx->used <= half || tx->used < used);
            }
            assert_true(tx->used < 20);
            assert_int_equal(updates(&p, end), 1);
            assert_int_equal(updates(&p, !end), 1);
            assert_false(p.w.xfer.end[0].closed || p.w.xfer.end[1].closed);
            world_free(&p.w);
        }
    }
}

/* A peer that never follows: the end comes before the limit, in words, from either end. */
static void test_seal_end(void **state)
{
    (void)state;
    for (int end = CLIENT; end <= SERVER; end++) {
        struct pair p;
        pair_init(&p);
        struct conn_keys *k = &p.conn[end]->keys;
        uint64_t limit = aead_seal_limit(k->tx[LEVEL_APP].id);
        k->not_before = NS_NEVER; /* as if the last one had just been */
        k->tx[LEVEL_APP].used = limit - 4096 - 2;
        say(&p, end);
        assert_true(conn_alive(p.conn[end]));
        for (int i = 0; i < 4 && conn_alive(p.conn[end]); i++)
            say(&p, end);
        struct quic_close_info info;
        quic_close_info(p.conn[end], &info);
        assert_int_equal(info.kind, QUIC_CLOSE_LOCAL);
        assert_int_equal(info.code, QUIC_AEAD_LIMIT_REACHED);
        assert_true(k->tx[LEVEL_APP].used < limit);
        /* The peer has been told, under this very key. */
        quic_close_info(p.conn[!end], &info);
        assert_int_equal(info.kind, QUIC_CLOSE_PEER);
        assert_int_equal(info.code, QUIC_AEAD_LIMIT_REACHED);
        world_free(&p.w);
    }
}

/* Packets that don't open are counted over all keys, and the last one allowed ends it. */
static void test_open_limit(void **state)
{
    (void)state;
    for (int end = CLIENT; end <= SERVER; end++) {
        struct pair p;
        pair_init(&p);
        struct conn_keys *k = &p.conn[end]->keys;
        uint64_t limit = aead_open_limit(k->rx[LEVEL_APP].id);
        assert_int_equal(limit, 1ull << 52);
        assert_int_equal(forge(&p, end, 10), 10);
        assert_int_equal(quic_key_update(p.conn[!end]), 0);
        say(&p, !end);
        assert_true(k->rx_phase);
        assert_int_equal(k->failed, 10); /* an update forgives nothing */
        k->failed = limit - 3;
        assert_int_equal(forge(&p, end, 2), 2);
        assert_true(conn_alive(p.conn[end]));
        assert_int_equal(forge(&p, end, 1), 1);
        struct quic_close_info info;
        quic_close_info(p.conn[end], &info);
        assert_int_equal(info.code, QUIC_AEAD_LIMIT_REACHED);
        assert_int_equal(info.kind, QUIC_CLOSE_LOCAL);
        world_free(&p.w);
    }
}

/* Forged packets with the other Key Phase bit change no key (6.3). */
static void test_forged_update(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    for (int i = 0; i < 50; i++) {
        uint8_t buf[100];
        struct evil e = {.level = LEVEL_APP, .flip_phase = true};
        size_t n = evil_packet(p.conn[CLIENT], &e, PING, buf, sizeof(buf));
        assert_int_equal(deliver(&p, SERVER, buf, n), 0);
    }
    assert_int_equal(updates(&p, SERVER), 0);
    assert_int_equal(p.conn[SERVER]->keys.failed, 50);
    assert_true(aead_ready(&p.conn[SERVER]->keys.rx_next));
    assert_false(aead_ready(&p.conn[SERVER]->keys.rx_prev));
    say(&p, CLIENT);
    assert_false(p.w.xfer.end[0].closed || p.w.xfer.end[1].closed);
    world_free(&p.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_when),          cmocka_unit_test(test_crossed),
        cmocka_unit_test(test_late),          cmocka_unit_test(test_back),
        cmocka_unit_test(test_ack_by_old),    cmocka_unit_test(test_seal_limit),
        cmocka_unit_test(test_seal_end),      cmocka_unit_test(test_open_limit),
        cmocka_unit_test(test_forged_update),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
