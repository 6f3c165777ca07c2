/* quic_dgram_send and quic_dgram_recv, call by call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/quic_pair.h"

#define ROOM 128 /* headroom */

struct buffer {
    uint8_t b[2048];
};

static void open_pair(struct pair *p, uint64_t server_limit)
{
    pair_init(p);
    p->cfg[SERVER].max_datagram_frame_size = server_limit;
    pair_connect(p);
    pair_run(p, NS_PER_S);
    assert_true(quic_is_established(p->conn[CLIENT]));
    assert_true(quic_is_established(p->conn[SERVER]));
}

static struct quic_dgram make(struct buffer *buf, size_t n, size_t headroom, uint8_t first)
{
    for (size_t i = 0; i < sizeof(buf->b); i++)
        buf->b[i] = (uint8_t)(first + i);
    return (struct quic_dgram){.p = buf->b + ROOM, .n = n, .headroom = headroom};
}

static struct quic_train train(uint8_t *buf, size_t cap, size_t max)
{
    return (struct quic_train){.buf = buf, .cap = cap, .max_count = max};
}

/*
 * What arrives is what was sent, for every length, with and without headroom, of one piece or
 * with a head from elsewhere; nothing of the sender's is changed.
 */
static void test_lengths(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p, 65535);
    size_t max = quic_dgram_max(p.conn[CLIENT], 0);
    assert_true(max > 1150 && max < 1452);
    static uint8_t out[65536];
    for (size_t n = 0; n <= max; n += n < 64 || n > max - 20 ? 1 : 37) {
        for (int room = 0; room <= ROOM; room += 16) {
            struct buffer buf;
            struct quic_dgram d = make(&buf, n, (size_t)room, (uint8_t)n);
            struct buffer before = buf;
            if (n >= 60 && room >= 48) { /* its first bytes lie elsewhere, in place of others */
                d.head = span_of(before.b + ROOM, 60);
                d.p += 60;
                d.n -= 60;
                memset(buf.b + ROOM + 60 - room, 0x55, (size_t)room);
            }
            struct buffer lent = buf;
            struct quic_train t = train(out, sizeof(out), 64);
            int r = quic_dgram_send(p.conn[CLIENT], 0, &t, &d, 1, p.now);
            while (r == QUIC_BLOCKED) {
                pair_run(&p, 5 * NS_PER_MS);
                r = quic_dgram_send(p.conn[CLIENT], 0, &t, &d, 1, p.now);
            }
            assert_int_equal(r, 1);
            assert_int_equal(t.count, 1);
            assert_int_equal(t.len, t.segment);
            assert_true(t.len <= p.conn[CLIENT]->path[0].mtu.current);
            assert_memory_equal(buf.b, lent.b, sizeof(buf.b));
            pair_train(&p, CLIENT, &t);
            struct quic_dgram_rx rx[2];
            assert_int_equal(quic_dgram_recv(p.conn[SERVER], rx, 2), 1);
            assert_int_equal(rx[0].n, n);
            assert_memory_equal(rx[0].p, before.b + ROOM, n);
        }
        pair_run(&p, 2 * NS_PER_MS);
    }
    struct buffer buf;
    struct quic_dgram d = make(&buf, max + 8, ROOM, 0);
    struct quic_train t = train(out, sizeof(out), 64);
    assert_int_equal(quic_dgram_send(p.conn[CLIENT], 0, &t, &d, 1, p.now), QUIC_TOOBIG);
    assert_int_equal(t.count, 0);
    d = make(&buf, 10, ROOM, 0);
    d.head = span_of(buf.b, QUIC_DGRAM_HEAD_MAX + 1);
    assert_int_equal(quic_dgram_send(p.conn[CLIENT], 0, &t, &d, 1, p.now), QUIC_INVAL);
    assert_int_equal(t.count, 0);
    pair_free(&p);
}

static void test_not_allowed(void **state)
{
    (void)state;
    struct pair p;
    struct buffer buf;
    uint8_t out[1500];
    struct quic_dgram d = make(&buf, 10, ROOM, 0);
    struct quic_train t = train(out, sizeof(out), 64);
    pair_init(&p);
    pair_connect(&p);
    assert_int_equal(quic_dgram_send(p.conn[CLIENT], 0, &t, &d, 1, p.now), QUIC_INVAL);
    assert_int_equal(quic_dgram_max(p.conn[CLIENT], 0), 0);
    pair_free(&p);

    open_pair(&p, 0);
    assert_int_equal(quic_dgram_send(p.conn[CLIENT], 0, &t, &d, 1, p.now), QUIC_INVAL);
    assert_int_equal(quic_dgram_max(p.conn[CLIENT], 0), 0);
    /* The other direction was allowed. */
    assert_int_equal(quic_dgram_send(p.conn[SERVER], 0, &t, &d, 1, p.now), 1);
    assert_int_equal(quic_dgram_send(p.conn[SERVER], 1, &t, &d, 1, p.now), QUIC_INVAL);
    quic_close(p.conn[SERVER], 0, "", p.now);
    assert_int_equal(quic_dgram_send(p.conn[SERVER], 0, &t, &d, 1, p.now), QUIC_CLOSED);
    pair_free(&p);

    /* The peer's limit counts type and length of the frame too (RFC 9221 3). */
    open_pair(&p, 101);
    assert_int_equal(quic_dgram_max(p.conn[CLIENT], 0), 100);
    d = make(&buf, 101, ROOM, 0);
    t = train(out, sizeof(out), 64);
    assert_int_equal(quic_dgram_send(p.conn[CLIENT], 0, &t, &d, 1, p.now), QUIC_TOOBIG);
    d.n = 100;
    assert_int_equal(quic_dgram_send(p.conn[CLIENT], 0, &t, &d, 1, p.now), 1);
    pair_train(&p, CLIENT, &t);
    struct quic_dgram_rx rx;
    assert_int_equal(quic_dgram_recv(p.conn[SERVER], &rx, 1), 1);
    assert_int_equal(rx.n, 100);
    pair_free(&p);
}

/* All datagrams of a train are equal, but the last. */
static void test_trains(void **state)
{
    (void)state;
    static const struct {
        size_t size[6];
        size_t taken, count; /* of the first call */
    } rows[] = {
        {{500, 500, 500, 500, 500, 500}, 6, 6}, {{500, 500, 400, 500, 500, 500}, 3, 3},
        {{500, 500, 501, 500, 500, 500}, 2, 2}, {{100, 500, 500, 500, 500, 500}, 1, 1},
        {{500, 0, 0, 0, 0, 0}, 2, 2},           {{500, 500, 500, 500, 500, 20}, 6, 6},
    };
    struct pair p;
    open_pair(&p, 65535);
    static uint8_t out[65536];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buffer buf[6];
        struct quic_dgram d[6];
        for (int k = 0; k < 6; k++)
            d[k] = make(&buf[k], rows[i].size[k], ROOM, (uint8_t)(10 * k));
        struct quic_train t = train(out, sizeof(out), 64);
        pair_run(&p, 100 * NS_PER_MS);
        assert_int_equal(quic_dgram_send(p.conn[CLIENT], 0, &t, d, 6, p.now), rows[i].taken);
        assert_int_equal(t.count, rows[i].count);
        for (size_t k = 0; k < t.count; k++)
            assert_true(k + 1 == t.count ? quic_train_size(&t, k) <= t.segment
                                         : quic_train_size(&t, k) == t.segment);
        /* A train that has ended takes no more. */
        if (rows[i].taken < 6)
            assert_int_equal(
                quic_dgram_send(p.conn[CLIENT], 0, &t, d + rows[i].taken, 1, p.now),
                QUIC_AGAIN);
        size_t got = 0;
        for (size_t k = 0; k < t.count; k++) {
            struct quic_dgram_rx rx;
            pair_deliver(&p, SERVER, t.buf + k * t.segment, quic_train_size(&t, k));
            while (quic_dgram_recv(p.conn[SERVER], &rx, 1)) {
                assert_int_equal(rx.n, rows[i].size[got]);
                got++;
            }
        }
        assert_int_equal(got, rows[i].taken);
    }
    pair_free(&p);
}

static void test_train_limits(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p, 65535);
    static uint8_t out[65536];
    struct buffer buf[8];
    struct quic_dgram d[8];
    for (int k = 0; k < 8; k++)
        d[k] = make(&buf[k], 500, ROOM, 0);
    struct quic_train t = train(out, sizeof(out), 3);
    assert_int_equal(quic_dgram_send(p.conn[CLIENT], 0, &t, d, 8, p.now), 3);
    assert_int_equal(quic_dgram_send(p.conn[CLIENT], 0, &t, d + 3, 5, p.now), QUIC_AGAIN);
    pair_train(&p, CLIENT, &t);
    t = train(out, 1200, 64);
    assert_int_equal(quic_dgram_send(p.conn[CLIENT], 0, &t, d + 3, 5, p.now), 2);
    assert_true(t.len <= 1200);
    pair_train(&p, CLIENT, &t);
    /* What quic_send adds goes behind, if it is small enough. */
    pair_run(&p, 100 * NS_PER_MS);
    t = train(out, sizeof(out), 64);
    assert_int_equal(quic_dgram_send(p.conn[CLIENT], 0, &t, d, 2, p.now), 2);
    size_t segment = t.segment;
    quic_ping(p.conn[CLIENT], 0);
    assert_true(quic_send(p.conn[CLIENT], 0, &t, p.now) > 0);
    assert_int_equal(t.count, 3);
    assert_int_equal(t.segment, segment);
    assert_true(quic_train_size(&t, 2) <= segment);
    pair_free(&p);
}

/* The window bounds what may leave; acknowledgements and time open it again. */
static void test_blocked(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p, 65535);
    static uint8_t out[65536];
    struct buffer buf;
    p.lose[CLIENT] = true;
    size_t sent = 0;
    int r = 1;
    ns_t end = p.now + 200 * NS_PER_MS;
    while (p.now < end) {
        struct quic_dgram d = make(&buf, 1100, ROOM, 0);
        struct quic_train t = train(out, sizeof(out), 64);
        r = quic_dgram_send(p.conn[CLIENT], 0, &t, &d, 1, p.now);
        if (r == 1) {
            sent += t.len;
            continue;
        }
        assert_int_equal(r, QUIC_BLOCKED);
        struct quic_path_view view;
        assert_int_equal(quic_path_view(p.conn[CLIENT], 0, p.now, &view), 0);
        assert_true(view.in_flight_bytes <= view.cwnd_bytes);
        if (view.next_send == NS_NEVER || view.cwnd_bytes - view.in_flight_bytes < 1200 + 1452)
            break;
        /* It is the pacer: the deadline says until when. */
        assert_true(quic_deadline(p.conn[CLIENT]) > p.now);
        assert_true(quic_deadline(p.conn[CLIENT]) <= p.now + 100 * NS_PER_MS);
        p.now = quic_deadline(p.conn[CLIENT]);
        quic_tick(p.conn[CLIENT], p.now);
    }
    assert_int_equal(r, QUIC_BLOCKED);
    assert_true(sent >= 8000 && sent <= 20000);
    p.lose[CLIENT] = false;
    pair_run(&p, 3 * NS_PER_S);
    struct quic_dgram d = make(&buf, 1100, ROOM, 0);
    struct quic_train t = train(out, sizeof(out), 64);
    assert_int_equal(quic_dgram_send(p.conn[CLIENT], 0, &t, &d, 1, p.now), 1);
    pair_free(&p);
}

/* Fates of tagged packets: lost and acknowledged ones, by their tags. */
static void test_fates(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p, 65535);
    static uint8_t out[65536];
    struct buffer buf;
    unsigned acked = 0, lost = 0;
    for (uint64_t tag = 1; tag <= 40; tag++) {
        struct quic_dgram d = make(&buf, 300, ROOM, 0);
        d.tag = tag;
        struct quic_train t = train(out, sizeof(out), 64);
        assert_int_equal(quic_dgram_send(p.conn[CLIENT], 0, &t, &d, 1, p.now), 1);
        p.lose[CLIENT] = tag % 4 == 0;
        pair_train(&p, CLIENT, &t);
        p.lose[CLIENT] = false;
        pair_run(&p, 30 * NS_PER_MS);
    }
    pair_run(&p, 2 * NS_PER_S);
    struct quic_dgram_fate fate[7];
    size_t n;
    bool seen[41] = {false};
    while ((n = quic_dgram_fates(p.conn[CLIENT], fate, ARRAY_LEN(fate)))) {
        for (size_t i = 0; i < n; i++) {
            assert_in_range(fate[i].tag, 1, 40);
            assert_false(seen[fate[i].tag]);
            seen[fate[i].tag] = true;
            assert_int_equal(fate[i].fate,
                             fate[i].tag % 4 ? QUIC_FATE_ACKED : QUIC_FATE_LOST);
            *(fate[i].fate == QUIC_FATE_ACKED ? &acked : &lost) += 1;
        }
    }
    assert_int_equal(acked, 30);
    assert_int_equal(lost, 10);
    /* Without a tag nothing is told. */
    struct quic_dgram d = make(&buf, 300, ROOM, 0);
    struct quic_train t = train(out, sizeof(out), 64);
    assert_int_equal(quic_dgram_send(p.conn[CLIENT], 0, &t, &d, 1, p.now), 1);
    pair_train(&p, CLIENT, &t);
    pair_run(&p, NS_PER_S);
    assert_int_equal(quic_dgram_fates(p.conn[CLIENT], fate, 1), 0);
    pair_free(&p);
}

/*
 * A path MTU probe that is larger than the window ever was, as on a network of jumbo frames,
 * or after persistent congestion: DATAGRAMs do not wait for it.
 */
static void test_probe_beyond_window(void **state)
{
    (void)state;
    static const size_t max[] = {1452, 8972, 65507};
    for (size_t i = 0; i < ARRAY_LEN(max); i++) {
        struct pair p;
        pair_init(&p);
        for (int k = 0; k < 2; k++)
            p.cfg[k].max_udp_payload = max[i];
        pair_connect(&p);
        pair_run(&p, NS_PER_S);
        struct quic_path *path = &p.conn[CLIENT]->path[0];
        cc_on_persistent(&path->recovery.cc);
        mtu_reset(&path->mtu, p.now);
        assert_true(mtu_next_probe(&path->mtu, p.now) > 1200);
        static uint8_t out[65536];
        struct buffer buf;
        unsigned sent = 0;
        for (int k = 0; k < 50; k++) {
            struct quic_dgram d = make(&buf, 1000, ROOM, 0);
            struct quic_train t = train(out, sizeof(out), 64);
            int r = quic_dgram_send(p.conn[CLIENT], 0, &t, &d, 1, p.now);
            assert_true(r == 1 || r == QUIC_BLOCKED);
            sent += r == 1;
            pair_train(&p, CLIENT, &t);
            pair_run(&p, 30 * NS_PER_MS);
        }
        assert_true(sent > 40);
        pair_free(&p);
    }
}

/* Fates are told, however long nothing came back: longer than memory is kept that lies idle. */
static void test_fates_blackout(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    p.cfg[CLIENT].idle = p.cfg[SERVER].idle = 0;
    pair_connect(&p);
    pair_run(&p, NS_PER_S);
    static uint8_t out[65536];
    struct buffer buf;
    for (uint64_t round = 1; round <= 2; round++) {
        struct quic_dgram d = make(&buf, 300, ROOM, 0);
        d.tag = round;
        struct quic_train t = train(out, sizeof(out), 64);
        assert_int_equal(quic_dgram_send(p.conn[CLIENT], 0, &t, &d, 1, p.now), 1);
        p.lose[CLIENT] = p.lose[SERVER] = true;
        pair_run(&p, 2 * CONN_TRIM);
        p.lose[CLIENT] = p.lose[SERVER] = false;
        pair_run(&p, 4 * CONN_TRIM);
        struct quic_dgram_fate fate[2];
        assert_int_equal(quic_dgram_fates(p.conn[CLIENT], fate, 2), 1);
        assert_int_equal(fate[0].tag, round);
        assert_int_equal(fate[0].fate, QUIC_FATE_LOST);
    }
    struct quic_stats stats;
    pair_run(&p, 2 * CONN_TRIM);
    quic_stats(p.conn[CLIENT], &stats);
    assert_int_equal(stats.drop_fate, 0);
    assert_null(p.conn[CLIENT]->fate); /* and then their memory goes back */
    pair_free(&p);
}

/* Who doesn't take his fates loses the oldest, and each is counted. */
static void test_fates_overflow(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p, 65535);
    static uint8_t out[65536];
    struct buffer buf;
    uint64_t total = CONN_FATES + 100, sent = 0;
    while (sent < total) {
        struct quic_dgram d = make(&buf, 100, ROOM, 0);
        d.tag = sent + 1;
        struct quic_train t = train(out, sizeof(out), 64);
        int r = quic_dgram_send(p.conn[CLIENT], 0, &t, &d, 1, p.now);
        if (r == 1) {
            pair_train(&p, CLIENT, &t);
            sent++;
        }
        if (r != 1 || sent % 16 == 0)
            pair_run(&p, 5 * NS_PER_MS);
    }
    pair_run(&p, NS_PER_S);
    struct quic_stats stats;
    quic_stats(p.conn[CLIENT], &stats);
    assert_int_equal(stats.drop_fate, 100);
    struct quic_dgram_fate fate;
    bool seen[CONN_FATES + 101] = {false};
    for (int i = 0; i < CONN_FATES; i++) {
        assert_int_equal(quic_dgram_fates(p.conn[CLIENT], &fate, 1), 1);
        assert_in_range(fate.tag, 50, total); /* an ACK's newest packets come first */
        assert_false(seen[fate.tag]);
        seen[fate.tag] = true;
        assert_int_equal(fate.fate, QUIC_FATE_ACKED);
    }
    assert_int_equal(quic_dgram_fates(p.conn[CLIENT], &fate, 1), 0);
    pair_free(&p);
}

/*
 * A batch of packets gets one acknowledgement (RFC 9000 13.2.2), whether the peer has asked for
 * it or not: it is due after the second packet, and made when the batch is over.
 */
static void test_ack_once(void **state)
{
    (void)state;
    for (int extension = 0; extension < 2; extension++) {
        struct pair p;
        pair_init(&p);
        p.cfg[CLIENT].ack_frequency = p.cfg[SERVER].ack_frequency = extension;
        pair_connect(&p);
        pair_run(&p, NS_PER_S);
        static uint8_t out[65536], back[65536];
        struct buffer buf[8];
        struct quic_dgram d[8];
        struct quic_rx rx[8];
        for (uint8_t i = 0; i < 8; i++)
            d[i] = make(&buf[i], 1000, ROOM, i);
        struct quic_train t = train(out, sizeof(out), 64), u = train(back, sizeof(back), 64);
        assert_int_equal(quic_dgram_send(p.conn[CLIENT], 0, &t, d, 8, p.now), 8);
        for (size_t i = 0; i < 8; i++)
            rx[i] = (struct quic_rx){.route = p.route[SERVER],
                                     .p = out + i * t.segment,
                                     .n = quic_train_size(&t, i)};
        uint64_t sent = p.conn[SERVER]->path[0].recovery.packets_sent;
        assert_int_equal(quic_recv(p.conn[SERVER], rx, 8, p.now), 0);
        assert_true(quic_send(p.conn[SERVER], 0, &u, p.now) > 0);
        assert_int_equal(u.count, 1);
        assert_int_equal(p.conn[SERVER]->path[0].recovery.packets_sent, sent + 1);
        assert_false(ackrx_pending(&p.conn[SERVER]->path[0].ack[SPACE_APP]));
        pair_train(&p, SERVER, &u);
        assert_int_equal(p.conn[CLIENT]->path[0].recovery.bytes_in_flight, 0);
        pair_free(&p);
    }
}

/* A due acknowledgement rides along, instead of a packet of its own. */
static void test_ack_rides(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p, 65535);
    static uint8_t out[65536];
    struct buffer buf;
    for (int i = 0; i < 2; i++) {
        struct quic_dgram d = make(&buf, 300, ROOM, 0);
        struct quic_train t = train(out, sizeof(out), 64);
        assert_int_equal(quic_dgram_send(p.conn[CLIENT], 0, &t, &d, 1, p.now), 1);
        pair_train(&p, CLIENT, &t);
    }
    assert_true(ackrx_due(&p.conn[SERVER]->path[0].ack[SPACE_APP], p.now));
    uint64_t in_flight = p.conn[CLIENT]->path[0].recovery.bytes_in_flight;
    assert_true(in_flight > 0);
    struct quic_dgram d = make(&buf, 100, ROOM, 0);
    struct quic_train t = train(out, sizeof(out), 64);
    assert_int_equal(quic_dgram_send(p.conn[SERVER], 0, &t, &d, 1, p.now), 1);
    assert_false(ackrx_due(&p.conn[SERVER]->path[0].ack[SPACE_APP], p.now));
    pair_train(&p, SERVER, &t);
    assert_int_equal(p.conn[CLIENT]->path[0].recovery.bytes_in_flight, 0);
    struct quic_dgram_rx rx;
    assert_int_equal(quic_dgram_recv(p.conn[CLIENT], &rx, 1), 1);
    assert_int_equal(rx.n, 100);
    pair_free(&p);
}

/* More DATAGRAMs than the array holds, in one call: the rest is dropped and counted. */
static void test_overflow(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p, 65535);
    enum { N = 300 };
    static uint8_t out[65536], copy[N][64];
    static struct quic_rx rx[N];
    struct buffer buf;
    size_t n = 0;
    while (n < N) {
        struct quic_dgram d = make(&buf, 10, ROOM, (uint8_t)n);
        struct quic_train t = train(out, sizeof(out), 1);
        int r = quic_dgram_send(p.conn[CLIENT], 0, &t, &d, 1, p.now);
        if (r == 1) {
            assert_true(t.len <= sizeof(copy[0]));
            memcpy(copy[n], out, t.len);
            rx[n] = (struct quic_rx){p.route[SERVER], 0, copy[n], t.len};
            n++;
            continue;
        }
        assert_int_equal(r, QUIC_BLOCKED);
        p.now += 10 * NS_PER_MS;
    }
    assert_int_equal(quic_recv(p.conn[SERVER], rx, N, p.now), 0);
    struct quic_dgram_rx got[N];
    assert_int_equal(quic_dgram_recv(p.conn[SERVER], got, 100), 100);
    assert_int_equal(quic_dgram_recv(p.conn[SERVER], got + 100, N), QUIC_DGRAM_RX_MAX - 100);
    assert_int_equal(quic_dgram_recv(p.conn[SERVER], got, N), 0);
    struct quic_stats stats;
    quic_stats(p.conn[SERVER], &stats);
    assert_int_equal(stats.drop_dgram, N - QUIC_DGRAM_RX_MAX);
    for (size_t i = 0; i < QUIC_DGRAM_RX_MAX; i++)
        assert_int_equal(got[i].p[0], (uint8_t)(i + ROOM));
    pair_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths),   cmocka_unit_test(test_not_allowed),
        cmocka_unit_test(test_trains),    cmocka_unit_test(test_train_limits),
        cmocka_unit_test(test_blocked),   cmocka_unit_test(test_fates),
        cmocka_unit_test(test_fates_overflow), cmocka_unit_test(test_fates_blackout),
        cmocka_unit_test(test_probe_beyond_window),
        cmocka_unit_test(test_ack_once), cmocka_unit_test(test_ack_rides),
        cmocka_unit_test(test_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
