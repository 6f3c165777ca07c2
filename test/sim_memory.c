/*
 * Memory of one connection, counted at the allocator: what it costs idle, and that nothing a
 * peer does takes it past quic_memory_bound.
 *
 * Linked with --wrap for malloc and its kin; libcrypto and libssl, which come to them too, are
 * counted apart.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quic/endpoint.h"
#include "test/quic_heap.h"
#include "test/quic_pair.h"
#include "test/sim/evil.h"

/* What ending the connection of side `i` gives back: what it has cost. */
struct cost {
    size_t ours, ssl, told;
};

static struct cost cost(struct pair *p, int i)
{
    struct quic_stats stats;
    size_t o = ours.now, s = ssl.now;
    quic_stats(p->conn[i], &stats);
    quic_del(p->conn[i]);
    p->conn[i] = NULL;
    return (struct cost){o - ours.now, s - ssl.now, stats.memory_bytes};
}

/* A connection that knows what it holds: all but the rounding of each block. */
static void assert_told(const struct cost *c)
{
    assert_true(c->told <= c->ours);
    assert_true(c->ours <= c->told + 1024 + c->told / 64);
}

/* Handshake, and once through everything that makes something for good. */
static void start(struct pair *p)
{
    pair_init(p);
    for (int i = 0; i < 2; i++) {
        pair_connect(p);
        pair_run(p, NS_PER_S);
        assert_true(p->conn[CLIENT]->confirmed && p->conn[SERVER]->confirmed);
        if (i)
            break;
        cost(p, CLIENT);
        cost(p, SERVER);
    }
}

/* A megabyte each way, DATAGRAMs with fates, and streams; then nothing but time. */
static void be_busy(struct pair *p)
{
    static uint8_t data[1 << 18], payload[1500], out[1500];
    for (int i = 0; i < 2; i++) {
        struct quic_conn *from = p->conn[i], *to = p->conn[1 - i];
        uint64_t id;
        size_t taken;
        assert_int_equal(quic_stream_open(from, true, &id), 0);
        for (int k = 0; k < 400; k++) {
            struct quic_dgram d = {.p = payload + 64, .n = 500, .tag = 1};
            struct quic_dgram_fate fate;
            struct quic_dgram_rx got;
            struct quic_train t = {.buf = out, .cap = sizeof(out), .max_count = 1};
            quic_stream_write(from, id, span_of(data, 16384), &taken);
            if (quic_dgram_send(from, 0, &t, &d, 1, p->now) == 1)
                pair_train(p, i, &t);
            while (quic_dgram_recv(to, &got, 1))
                ;
            pair_run(p, 2 * NS_PER_MS);
            while (quic_dgram_fates(from, &fate, 1))
                ;
            for (struct span s; (s = quic_stream_peek(to, id, NULL)).n;)
                quic_stream_consume(to, id, s.n);
        }
        quic_stream_finish(from, id);
        pair_run(p, 100 * NS_PER_MS);
        quic_stream_consume(to, id, quic_stream_peek(to, id, NULL).n);
        struct quic_event ev;
        for (int k = 0; k < 2; k++)
            while (quic_next_event(p->conn[k], &ev))
                ;
    }
}

/* ---- idle ---------------------------------------------------------------------------- */

#define IDLE_OURS 16384 /* bytes */
#define IDLE_SSL  32768 /* libssl's and libcrypto's: the handshake's object, keys */

static void assert_idle(struct pair *p, const char *what)
{
    for (int i = 0; i < 2; i++) {
        struct cost c = cost(p, i);
        print_message("%s, %s: %zu bytes, libssl %zu\n", what, i ? "server" : "client", c.ours,
                      c.ssl);
        assert_told(&c);
        assert_true(c.ours <= IDLE_OURS);
        assert_true(c.ssl <= IDLE_SSL);
    }
}

static void test_idle(void **state)
{
    (void)state;
    struct pair p;
    start(&p);
    pair_run(&p, 2 * CONN_TRIM);
    assert_idle(&p, "after the handshake");
    pair_connect(&p);
    pair_run(&p, NS_PER_S);
    heap_mark();
    be_busy(&p);
    assert_true(ours.most - ours.now > 0);
    for (int i = 0; i < 2; i++) {
        struct quic_stats stats;
        quic_stats(p.conn[i], &stats);
        assert_true(stats.memory_bytes > IDLE_OURS); /* there is something to give back */
        assert_true(stats.memory_bytes <= quic_memory_bound(&p.cfg[i], 1));
    }
    pair_run(&p, 3 * CONN_TRIM);
    assert_idle(&p, "after busy times");
    pair_free(&p);
}

/* It goes on as if nothing had been given back, and again. */
static void test_idle_and_on(void **state)
{
    (void)state;
    struct pair p;
    start(&p);
    for (int round = 0; round < 3; round++) {
        be_busy(&p);
        pair_run(&p, 3 * CONN_TRIM);
        for (int i = 0; i < 2; i++) {
            struct quic_stats stats;
            quic_stats(p.conn[i], &stats);
            assert_true(stats.dgrams_received >= 300 * (unsigned)(round + 1));
            assert_true(stats.memory_bytes <= IDLE_OURS);
            assert_true(quic_is_established(p.conn[i]));
        }
    }
    pair_free(&p);
}

/* ---- the bound ----------------------------------------------------------------------- */

/*
 * The worst peer: what it sends is sealed with the client's keys, the server is the victim. Its
 * user reads all that can be read, so that windows open, and answers on every stream.
 */
struct worst {
    struct pair p;
    size_t bound;
    uint64_t seed;
};

static int say(struct worst *w, struct span frames)
{
    struct evil e = {.level = LEVEL_APP};
    int r = evil_send(w->p.conn[CLIENT], w->p.conn[SERVER], &e, frames, w->p.now);
    struct quic_stats stats;
    quic_stats(w->p.conn[SERVER], &stats);
    assert_true(stats.memory_bytes <= w->bound);
    return r;
}

static void worst_start(struct worst *w)
{
    memset(w, 0, sizeof(*w));
    pair_init(&w->p);
    struct quic_config *cfg = &w->p.cfg[SERVER];
    cfg->conn_window = 1 << 18;
    cfg->conn_window_max = 1 << 20;
    cfg->stream_window = 1 << 16;
    cfg->stream_window_max = 1 << 19;
    cfg->streams_bidi = 20;
    cfg->streams_uni = 10;
    cfg->stream_send_buffer = 1 << 16;
    w->p.cfg[CLIENT].conn_window = w->p.cfg[CLIENT].stream_window = 1 << 10;
    w->bound = quic_memory_bound(cfg, 0);
    pair_connect(&w->p);
    pair_run(&w->p, NS_PER_S);
    /* The source of keys knows of the streams, so that answers on them don't offend it. */
    for (int i = 0; i < 30; i++) {
        uint64_t id;
        assert_int_equal(quic_stream_open(w->p.conn[CLIENT], i >= 20, &id), 0);
    }
}

/* A STREAM frame with an offset and no end. */
static void stream_data(struct worst *w, uint64_t id, uint64_t off, size_t n)
{
    static uint8_t frame[1300];
    struct wire_w out = wire_w_of(frame, sizeof(frame));
    wire_w_varint(&out, FRAME_STREAM | 0x04 | 0x02);
    wire_w_varint(&out, id);
    wire_w_varint(&out, off);
    wire_w_varint(&out, n);
    wire_w_zero(&out, n);
    assert_int_equal(say(w, span_of(frame, (size_t)(out.p - frame))), 0);
}

static void serve(struct worst *w)
{
    static const uint8_t data[1 << 17];
    struct quic_event ev;
    struct quic_conn *server = w->p.conn[SERVER];
    while (quic_next_event(server, &ev)) {
        size_t taken;
        if (ev.type == QUIC_EV_STREAM_OPENED)
            quic_stream_write(server, ev.stream, span_of(data, sizeof(data)), &taken);
        for (struct span s; (s = quic_stream_peek(server, ev.stream, NULL)).n;)
            quic_stream_consume(server, ev.stream, s.n);
    }
}

/* The offset up to which a stream, whose highest is `at`, may send now. */
static uint64_t room(struct worst *w, uint64_t id, uint64_t at)
{
    struct streams *s = &w->p.conn[SERVER]->streams;
    const struct stream *st = streams_find(s, id);
    uint64_t limit = st ? st->rx.limit : w->p.cfg[SERVER].stream_window;
    uint64_t all = s->conn_rx.limit - s->conn_rx.received;
    return limit - at > all ? at + all : limit;
}

/* One stream after the other is filled and read but for a byte behind a gap. */
static void hold_rings(struct worst *w)
{
    for (uint64_t k = 0; k < 20; k++) {
        uint64_t id = 4 * k, at = 0;
        for (int round = 0; round < 6; round++) {
            uint64_t limit = room(w, id, at);
            for (; at + 1002 < limit; at += 1000)
                stream_data(w, id, at, 1000);
            if (round == 5 && at + 2 <= limit)
                stream_data(w, id, at + 1, 1);
            serve(w);
            pair_run(&w->p, 2 * NS_PER_MS);
        }
    }
}

/* Every other byte, as many gaps as are taken, on every stream that may be open. */
static void make_gaps(struct worst *w)
{
    for (uint64_t k = 0; k < 30; k++) {
        uint64_t id = k < 20 ? 4 * k : 4 * (k - 20) + 2;
        const struct stream *st = streams_find(&w->p.conn[SERVER]->streams, id);
        uint64_t at = st ? st->in.highest : 0;
        uint64_t end = room(w, id, at);
        for (int i = 0; i < 2 * RBUF_GAPS && (at += 2) < end; i++)
            stream_data(w, id, at, 1);
    }
}

/* ACKs of ours are never acknowledged: packets that are not forgotten for a while. */
static void flood(struct worst *w)
{
    static uint8_t crypto[] = {FRAME_CRYPTO, 0x7f, 0xf0, 1, 'x'};
    static uint8_t junk[200], out[65536];
    struct quic_conn *server = w->p.conn[SERVER];
    assert_int_equal(say(w, span_of(crypto, sizeof(crypto))), 0);
    for (unsigned i = 0; i < 3000; i++) {
        struct quic_train t = {.buf = out, .cap = 65507, .max_count = 64};
        uint8_t frame[] = {FRAME_PING, FRAME_PATH_CHALLENGE, (uint8_t)i, 1, 2, 3, 4, 5, 6,
                           7,          FRAME_DATAGRAM,       'x'};
        struct quic_rx rx = {.route = w->p.route[SERVER], .p = junk, .n = sizeof(junk)};
        say(w, span_of(frame, sizeof(frame)));
        memset(junk, 0xe0 | (uint8_t)(i & 15), sizeof(junk)); /* Handshake, not authentic */
        quic_recv(server, &rx, 1, w->p.now);
        while (quic_send(server, 0, &t, w->p.now) > 0) /* lost */
            quic_train_reset(&t);
    }
}

static void test_worst(void **state)
{
    (void)state;
    struct worst w;
    worst_start(&w);
    size_t before = ours.now;
    heap_mark();
    hold_rings(&w);
    make_gaps(&w);
    flood(&w);
    struct quic_stats stats;
    quic_stats(w.p.conn[SERVER], &stats);
    assert_true(quic_is_established(w.p.conn[SERVER]));
    size_t grown = ours.most - before;
    print_message("worst peer: %zu kB of at most %zu kB; libssl %zu kB more than before\n",
                  stats.memory_bytes / 1024, w.bound / 1024, (ssl.most - ssl.now) / 1024);
    assert_true(grown + sizeof(struct quic_conn) <= w.bound);
    /* The rings that are held span a byte each: not what they were. */
    assert_true(stats.memory_bytes < 3 << 20);
    struct cost c = cost(&w.p, SERVER);
    assert_told(&c);
    pair_free(&w.p);
}

/* Packets of ours that the peer never acknowledges, however many: a ring of a bounded size. */
static void test_unacknowledged(void **state)
{
    (void)state;
    struct worst w;
    static uint8_t out[65536];
    worst_start(&w);
    struct quic_conn *server = w.p.conn[SERVER];
    struct evil e = {.level = LEVEL_APP, .deaf = true};
    for (unsigned i = 0; i < 3 * SENT_MAX_APP; i++) {
        struct quic_train t = {.buf = out, .cap = 65507, .max_count = 64};
        assert_int_equal(evil_send(w.p.conn[CLIENT], server, &e, SPAN_LIT("\x01\x01"), w.p.now),
                         0);
        quic_send(server, 0, &t, w.p.now);
    }
    struct quic_stats stats;
    quic_stats(server, &stats);
    assert_true(quic_is_established(server));
    assert_true(sent_count(&server->path[0].recovery.space[SPACE_APP].sent) <=
                SENT_MAX_APP);
    print_message("deaf peer: %zu kB of at most %zu kB\n", stats.memory_bytes / 1024,
                  w.bound / 1024);
    assert_true(stats.memory_bytes <= w.bound);
    pair_free(&w.p);
}

/* ---- before validation --------------------------------------------------------------- */

#define HALF_OPEN     32
#define HALF_OPEN_MAX 131072 /* bytes of a connection that has heard one flight, libssl's too */

/* Many clients say hello, each from an address of its own, and nothing more. */
static void test_handshake_flood(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    static uint8_t flight[65536], copy[1500], answer_buf[1500];
    struct quic_endpoint_config cfg = {.conn = p.cfg[SERVER],
                                       .accept = true,
                                       .max_half_open = HALF_OPEN,
                                       .retry = QUIC_RETRY_NEVER};
    struct quic_endpoint *ep = quic_endpoint_new(&cfg);
    size_t made = 0, before = 0;
    for (unsigned i = 0; i < 20 * HALF_OPEN; i++) {
        struct quic_train t = {.buf = flight, .cap = 65507, .max_count = 64};
        pair_connect(&p);
        quic_send(p.conn[CLIENT], 0, &t, p.now);
        quic_del(p.conn[CLIENT]);
        p.conn[CLIENT] = NULL;
        if (i == 1)
            before = ours.now + ssl.now;
        for (size_t k = 0; k < t.count; k++) {
            struct quic_rx rx = {.route = p.route[SERVER], .p = copy};
            struct quic_train answer = {.buf = answer_buf, .cap = 1500, .max_count = 1};
            struct quic_conn *conn;
            rx.n = quic_train_size(&t, k);
            memcpy(copy, t.buf + k * t.segment, rx.n);
            memcpy(rx.route.remote.ip, &i, 4);
            made += quic_endpoint_route(ep, &rx, p.now, &conn, &answer) == QUIC_ROUTE_NEW;
            struct quic_train out = {.buf = flight + 8192, .cap = 16384, .max_count = 8};
            if (conn) {
                quic_recv(conn, &rx, 1, p.now);
                while (quic_send(conn, 0, &out, p.now) > 0)
                    quic_train_reset(&out);
                quic_endpoint_update(ep, conn);
            }
        }
    }
    size_t each = (ours.now + ssl.now - before) / (HALF_OPEN - 1);
    assert_int_equal(made, HALF_OPEN);
    assert_int_equal(quic_endpoint_count(ep), HALF_OPEN);
    print_message("half open: %zu bytes each, libssl's included\n", each);
    assert_true(each <= HALF_OPEN_MAX);
    /* All are gone when their time is up. */
    p.now += 11 * NS_PER_S;
    for (struct quic_conn *c; (c = quic_endpoint_next_due(ep, p.now));) {
        quic_tick(c, p.now);
        struct quic_train out = {.buf = flight, .cap = 16384, .max_count = 8};
        quic_send(c, 0, &out, p.now);
        quic_endpoint_update(ep, c);
        if (!quic_is_drained(c))
            p.now += NS_PER_MS;
        else {
            quic_endpoint_remove(ep, c);
            quic_del(c);
        }
        if (quic_endpoint_count(ep))
            p.now = ns_max(p.now, quic_endpoint_deadline(ep));
    }
    assert_int_equal(quic_endpoint_count(ep), 0);
    quic_endpoint_del(ep);
    pair_free(&p);
}

int main(void)
{
    if (!heap_begin())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_idle_and_on),
        cmocka_unit_test(test_worst),
        cmocka_unit_test(test_unacknowledged),
        cmocka_unit_test(test_handshake_flood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
