/* Routing by connection ID, acceptance and its limits, stateless answers, deadlines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quic/endpoint.h"
#include "test/quic_pair.h"

struct fixture {
    struct pair p;
    struct quic_endpoint *ep; /* the server's */
    uint8_t buf[65536];
    struct quic_train answer;
};

static void set_up(struct fixture *f, size_t conns, size_t half_open, unsigned answers)
{
    memset(f, 0, sizeof(*f));
    pair_init(&f->p);
    struct quic_endpoint_config cfg = {.conn = f->p.cfg[SERVER],
                                       .accept = true,
                                       .max_conns = conns,
                                       .max_half_open = half_open,
                                       .answers_per_s = answers,
                                       .retry = QUIC_RETRY_NEVER};
    memset(cfg.conn.reset_key, 7, sizeof(cfg.conn.reset_key));
    f->ep = quic_endpoint_new(&cfg);
    assert_non_null(f->ep);
    f->answer = (struct quic_train){.buf = f->buf, .cap = sizeof(f->buf), .max_count = 64};
}

static void tear_down(struct fixture *f)
{
    quic_endpoint_del(f->ep);
    pair_free(&f->p);
}

static enum quic_route_result route(struct fixture *f, uint8_t *p, size_t n,
                                    struct quic_conn **conn)
{
    struct quic_rx rx = {.route = f->p.route[SERVER], .p = p, .n = n};
    quic_train_reset(&f->answer);
    return quic_endpoint_route(f->ep, &rx, f->p.now, conn, &f->answer);
}

/* The first flight of a new client: two datagrams of 1200 bytes at `out`. */
static size_t first_flight(struct fixture *f, struct quic_conn **client, uint8_t *out)
{
    *client = quic_connect(&f->p.cfg[CLIENT], "pair.test", &f->p.route[CLIENT], f->p.now);
    assert_non_null(*client);
    struct quic_train t = {.buf = out, .cap = 65507, .max_count = 64};
    assert_true(quic_send(*client, 0, &t, f->p.now) > 0);
    assert_int_equal(t.count, 2);
    assert_int_equal(t.segment, 1200);
    return t.len;
}

static void test_accept(void **state)
{
    (void)state;
    static struct fixture f;
    static uint8_t flight[65536];
    set_up(&f, 0, 0, 0);
    struct quic_conn *client, *conn, *again;
    first_flight(&f, &client, flight);
    assert_int_equal(route(&f, flight, 1200, &conn), QUIC_ROUTE_NEW);
    assert_int_equal(quic_endpoint_count(f.ep), 1);
    assert_ptr_equal(quic_endpoint_conn(f.ep, 0), conn);
    assert_null(quic_endpoint_conn(f.ep, 1));
    /* The second datagram has the same destination: it finds the connection. */
    assert_int_equal(route(&f, flight + 1200, 1200, &again), QUIC_ROUTE_CONN);
    assert_ptr_equal(again, conn);
    struct quic_endpoint_stats stats;
    quic_endpoint_stats(f.ep, &stats);
    assert_int_equal(stats.accepted, 1);
    assert_int_equal(stats.half_open, 1);
    /* Through the handshake, and on with the IDs that the server has issued. */
    f.p.conn[CLIENT] = client;
    f.p.conn[SERVER] = conn;
    struct quic_rx rx[2] = {{f.p.route[SERVER], 0, flight, 1200},
                            {f.p.route[SERVER], 0, flight + 1200, 1200}};
    assert_int_equal(quic_recv(conn, rx, 2, f.p.now), 0);
    pair_run(&f.p, NS_PER_S);
    assert_true(quic_is_established(conn) && quic_is_established(client));
    assert_int_equal(quic_endpoint_update(f.ep, conn), 0);
    quic_endpoint_stats(f.ep, &stats);
    assert_int_equal(stats.half_open, 0);
    struct cid_remote *theirs = &client->path[0].theirs;
    unsigned found = 0;
    for (int i = 0; i < CID_REMOTE_MAX; i++) {
        if (theirs->peer[i].use == CID_NONE)
            continue;
        uint8_t packet[60] = {0x40};
        memcpy(packet + 1, theirs->peer[i].cid.b, theirs->peer[i].cid.len);
        assert_int_equal(route(&f, packet, sizeof(packet), &again), QUIC_ROUTE_CONN);
        assert_ptr_equal(again, conn);
        found++;
    }
    assert_int_equal(found, CONN_CID_LIMIT);
    /* The ID that the client made up is no longer known. */
    uint8_t packet[60] = {0x40};
    memcpy(packet + 1, client->original_dcid.b, 8);
    assert_int_equal(route(&f, packet, sizeof(packet), &again), QUIC_ROUTE_ANSWER);
    /* Nor any, once it is removed. */
    quic_endpoint_remove(f.ep, conn);
    quic_endpoint_remove(f.ep, conn);
    assert_int_equal(quic_endpoint_count(f.ep), 0);
    memcpy(packet + 1, conn->local.initial_scid.b, 8);
    assert_int_equal(route(&f, packet, sizeof(packet), &again), QUIC_ROUTE_ANSWER);
    assert_null(again);
    tear_down(&f);
}

/* What is not the beginning of a connection makes none. */
static void test_refused(void **state)
{
    (void)state;
    static struct fixture f;
    static uint8_t flight[65536], copy[1200];
    set_up(&f, 0, 0, 0);
    struct quic_conn *client, *conn;
    first_flight(&f, &client, flight);
    /* Too small (RFC 9000 14.1); the packet inside would be whole. */
    struct packet_head h;
    memcpy(copy, flight, 1200);
    assert_int_equal(packet_parse(copy, 1200, 8, &h), 0);
    assert_int_equal(route(&f, copy, 1199, &conn), QUIC_ROUTE_DROP);
    /* Not authentic: each byte matters, though not each in the same way. */
    for (size_t i = 0; i < 1200; i += 7) {
        memcpy(copy, flight, 1200);
        copy[i] ^= 0x01;
        enum quic_route_result r = route(&f, copy, 1200, &conn);
        assert_true(r == QUIC_ROUTE_DROP || r == QUIC_ROUTE_ANSWER);
    }
    /* A destination ID of less than 8 bytes (7.2). */
    struct quic_cid dcid = {.len = 7}, scid = {.len = 8};
    struct wire_w w = wire_w_of(copy, sizeof(copy));
    uint8_t *at =
        packet_long_head(&w, PACKET_INITIAL, QUIC_V1, &dcid, &scid, (struct span){0}, 2);
    packet_long_length(at, (size_t)(copy + sizeof(copy) - w.p));
    assert_int_equal(route(&f, copy, 1200, &conn), QUIC_ROUTE_DROP);
    /* Handshake packets of nobody, short and empty ones. */
    w = wire_w_of(copy, sizeof(copy));
    at = packet_long_head(&w, PACKET_HANDSHAKE, QUIC_V1, &scid, &scid, (struct span){0}, 2);
    packet_long_length(at, (size_t)(copy + sizeof(copy) - w.p));
    assert_int_equal(route(&f, copy, 1200, &conn), QUIC_ROUTE_DROP);
    assert_int_equal(route(&f, copy, 0, &conn), QUIC_ROUTE_DROP);
    for (size_t n = 0; n < 40; n++) {
        memset(copy, 0xff, sizeof(copy));
        assert_int_equal(route(&f, copy, n, &conn), QUIC_ROUTE_DROP);
    }
    assert_int_equal(quic_endpoint_count(f.ep), 0);
    quic_del(client);
    tear_down(&f);
}

static void test_limits(void **state)
{
    (void)state;
    static struct fixture f;
    static uint8_t flight[65536];
    set_up(&f, 5, 3, 0);
    struct quic_conn *client[6], *conn[6];
    for (int i = 0; i < 3; i++) {
        first_flight(&f, &client[i], flight);
        assert_int_equal(route(&f, flight, 1200, &conn[i]), QUIC_ROUTE_NEW);
    }
    first_flight(&f, &client[3], flight);
    assert_int_equal(route(&f, flight, 1200, &conn[3]), QUIC_ROUTE_DROP);
    struct quic_endpoint_stats stats;
    quic_endpoint_stats(f.ep, &stats);
    assert_int_equal(stats.drop_full, 1);
    /* One that is closed is no longer half open. */
    quic_close(conn[0], 0, "", f.p.now);
    assert_int_equal(quic_endpoint_update(f.ep, conn[0]), 0);
    assert_int_equal(route(&f, flight, 1200, &conn[3]), QUIC_ROUTE_NEW);
    quic_close(conn[1], 0, "", f.p.now);
    quic_endpoint_update(f.ep, conn[1]);
    first_flight(&f, &client[4], flight);
    assert_int_equal(route(&f, flight, 1200, &conn[4]), QUIC_ROUTE_NEW);
    /* Five in all, open or not. */
    quic_close(conn[2], 0, "", f.p.now);
    quic_endpoint_update(f.ep, conn[2]);
    first_flight(&f, &client[5], flight);
    assert_int_equal(route(&f, flight, 1200, &conn[5]), QUIC_ROUTE_DROP);
    quic_endpoint_remove(f.ep, conn[2]);
    assert_int_equal(route(&f, flight, 1200, &conn[5]), QUIC_ROUTE_NEW);
    quic_del(conn[2]);
    conn[2] = conn[5];
    for (int i = 0; i < 6; i++)
        quic_del(client[i]);
    quic_endpoint_del(f.ep);
    for (int i = 0; i < 5; i++)
        quic_del(conn[i]);
    pair_free(&f.p);
}

/* ---- stateless answers --------------------------------------------------------------- */

static void test_version_negotiation(void **state)
{
    (void)state;
    static struct fixture f;
    set_up(&f, 0, 0, 50);
    uint8_t packet[1300] = {0xc0, 0x5a, 0x5a, 0x5a, 0x5a};
    packet[5] = 20; /* IDs may be longer than ours, and than version 1's */
    memset(packet + 6, 0xd0, 20);
    packet[26] = 30;
    memset(packet + 27, 0x50, 30);
    struct quic_conn *conn;
    assert_int_equal(route(&f, packet, 1199, &conn), QUIC_ROUTE_DROP);
    assert_int_equal(route(&f, packet, 1200, &conn), QUIC_ROUTE_ANSWER);
    assert_int_equal(f.answer.count, 1);
    assert_true(quic_route_eq(&f.answer.route, &f.p.route[SERVER]));
    struct packet_head h;
    assert_int_equal(packet_parse(f.buf, f.answer.len, 8, &h), 0);
    assert_int_equal(h.type, PACKET_VERSION_NEGOTIATION);
    assert_int_equal(h.dcid.n, 30);
    assert_int_equal(h.scid.n, 20);
    assert_memory_equal(h.dcid.p, packet + 27, 30);
    assert_memory_equal(h.scid.p, packet + 6, 20);
    uint32_t version;
    bool ours = false;
    while (packet_next_version(&h.rest, &version)) {
        ours |= version == QUIC_V1;
        assert_true(version == QUIC_V1 || (version & 0x0f0f0f0f) == 0x0a0a0a0a);
        assert_int_not_equal(version, 0x5a5a5a5a);
    }
    assert_true(ours);
    /* Never an answer to Version Negotiation (6.1). */
    memset(packet + 1, 0, 4);
    assert_int_equal(route(&f, packet, 1200, &conn), QUIC_ROUTE_DROP);
    /* Fifty in a second. */
    memset(packet + 1, 0x5a, 4);
    unsigned answers = 1;
    for (int i = 0; i < 200; i++)
        answers += route(&f, packet, 1200, &conn) == QUIC_ROUTE_ANSWER;
    assert_int_equal(answers, 50);
    f.p.now += NS_PER_S;
    assert_int_equal(route(&f, packet, 1200, &conn), QUIC_ROUTE_ANSWER);
    tear_down(&f);
}

static void test_reset(void **state)
{
    (void)state;
    static struct fixture f;
    set_up(&f, 0, 0, 1000);
    uint8_t packet[100] = {0x40, 1, 2, 3, 4, 5, 6, 7, 8}, key[32], token[16];
    struct quic_cid cid = {.len = 8, .b = {1, 2, 3, 4, 5, 6, 7, 8}};
    memset(key, 7, sizeof(key));
    assert_int_equal(stateless_reset_token(key, &cid, token), 0);
    struct quic_conn *conn;
    for (size_t n = 9; n <= sizeof(packet); n++) {
        enum quic_route_result r = route(&f, packet, n, &conn);
        if (n <= 21) {
            assert_int_equal(r, QUIC_ROUTE_DROP);
            continue;
        }
        assert_int_equal(r, QUIC_ROUTE_ANSWER);
        assert_true(f.answer.len < n && f.answer.len >= 21);
        assert_int_equal(f.buf[0] & 0xc0, 0x40);
        assert_memory_equal(f.buf + f.answer.len - 16, token, 16);
    }
    tear_down(&f);
}

/* A client's endpoint knows a reset by its token, though the ID in it is random. */
static void test_reset_found(void **state)
{
    (void)state;
    static struct fixture f;
    set_up(&f, 0, 0, 0);
    pair_connect(&f.p);
    pair_run(&f.p, NS_PER_S);
    struct quic_endpoint_config cfg = {.conn = f.p.cfg[CLIENT]};
    struct quic_endpoint *ep = quic_endpoint_new(&cfg);
    assert_int_equal(quic_endpoint_add(ep, f.p.conn[CLIENT]), 0);
    uint8_t packet[40];
    memset(packet, 0x41, sizeof(packet));
    struct quic_rx rx = {f.p.route[CLIENT], 0, packet, sizeof(packet)};
    struct quic_conn *conn;
    assert_int_equal(quic_endpoint_route(ep, &rx, f.p.now, &conn, &f.answer), QUIC_ROUTE_DROP);
    struct quic_conn *server = f.p.conn[SERVER];
    assert_int_equal(
        stateless_reset_token(server->reset_key, &server->local.initial_scid, packet + 24), 0);
    /* From another address it means nothing (10.3.1). */
    rx.route.remote.port++;
    assert_int_equal(quic_endpoint_route(ep, &rx, f.p.now, &conn, &f.answer), QUIC_ROUTE_DROP);
    rx.route.remote.port--;
    assert_int_equal(quic_endpoint_route(ep, &rx, f.p.now, &conn, &f.answer), QUIC_ROUTE_CONN);
    assert_ptr_equal(conn, f.p.conn[CLIENT]);
    quic_recv(conn, &rx, 1, f.p.now);
    struct quic_close_info info;
    quic_close_info(conn, &info);
    assert_int_equal(info.kind, QUIC_CLOSE_RESET);
    quic_endpoint_del(ep);
    tear_down(&f);
}

/* ---- deadlines, many connections ----------------------------------------------------- */

static void test_heap(void **state)
{
    (void)state;
    enum { N = 60 };
    static struct fixture f;
    static struct quic_conn *conn[N];
    set_up(&f, 0, 0, 0);
    struct quic_endpoint_config cfg = {.conn = f.p.cfg[CLIENT]};
    struct quic_endpoint *ep = quic_endpoint_new(&cfg);
    assert_true(quic_endpoint_deadline(ep) == NS_NEVER);
    for (int i = 0; i < N; i++) {
        conn[i] = quic_connect(&f.p.cfg[CLIENT], "pair.test", &f.p.route[CLIENT], f.p.now);
        assert_int_equal(quic_endpoint_add(ep, conn[i]), 0);
    }
    uint64_t seed = 5;
    size_t n = N;
    for (int round = 0; round < 3000 && n; round++) {
        uint8_t b[2];
        pair_fill(&seed, b, 2);
        struct quic_conn *c = conn[b[0] % n];
        /* Any deadline will do: the timer that is always there. */
        c->timer[CONN_TIMER_HANDSHAKE] = f.p.now + 1000u * b[1];
        quic_endpoint_update(ep, c);
        if (round % 60 == 59) {
            quic_endpoint_remove(ep, c);
            quic_del(c);
            conn[b[0] % n] = conn[n - 1];
            n--;
        }
        ns_t least = NS_NEVER;
        for (size_t i = 0; i < n; i++)
            least = ns_min(least, quic_deadline(conn[i]));
        assert_true(quic_endpoint_deadline(ep) == least);
        assert_int_equal(quic_endpoint_count(ep), n);
        if (n) {
            struct quic_conn *due = quic_endpoint_next_due(ep, least);
            assert_non_null(due);
            assert_true(quic_deadline(due) == least);
            assert_null(quic_endpoint_next_due(ep, least - 1));
        }
    }
    for (size_t i = 0; i < n; i++)
        quic_endpoint_remove(ep, conn[i]);
    for (size_t i = 0; i < n; i++)
        quic_del(conn[i]);
    quic_endpoint_del(ep);
    tear_down(&f);
}

/* Thousands of IDs come and go: each finds its own connection, and no other. */
static void test_table(void **state)
{
    (void)state;
    enum { N = 200 };
    static struct fixture f;
    static struct quic_conn *conn[N];
    set_up(&f, 0, 0, 0);
    struct quic_endpoint_config cfg = {.conn = f.p.cfg[CLIENT]};
    struct quic_endpoint *ep = quic_endpoint_new(&cfg);
    uint64_t seed = 9;
    for (int round = 0; round < 600; round++) {
        uint8_t b;
        pair_fill(&seed, &b, 1);
        struct quic_conn **c = &conn[b % N];
        if (*c) {
            quic_endpoint_remove(ep, *c);
            quic_del(*c);
            *c = NULL;
        } else {
            *c = quic_connect(&f.p.cfg[CLIENT], "pair.test", &f.p.route[CLIENT], f.p.now);
            assert_int_equal(quic_endpoint_add(ep, *c), 0);
        }
        if (round % 20)
            continue;
        for (int i = 0; i < N; i++) {
            if (!conn[i])
                continue;
            uint8_t packet[60] = {0x40};
            memcpy(packet + 1, conn[i]->local.initial_scid.b, 8);
            struct quic_rx rx = {f.p.route[CLIENT], 0, packet, sizeof(packet)};
            struct quic_conn *found;
            assert_int_equal(quic_endpoint_route(ep, &rx, f.p.now, &found, &f.answer),
                             QUIC_ROUTE_CONN);
            assert_ptr_equal(found, conn[i]);
            packet[8] ^= 1;
            assert_int_equal(quic_endpoint_route(ep, &rx, f.p.now, &found, &f.answer),
                             QUIC_ROUTE_DROP);
        }
    }
    quic_endpoint_del(ep);
    for (int i = 0; i < N; i++)
        quic_del(conn[i]);
    tear_down(&f);
}

static void test_config(void **state)
{
    (void)state;
    struct quic_endpoint_config cfg;
    memset(&cfg, 0, sizeof(cfg));
    quic_config_default(&cfg.conn);
    assert_null(quic_endpoint_new(&cfg)); /* no random source */
    uint64_t seed = 1;
    cfg.conn.rng = (struct rng){pair_fill, &seed};
    cfg.conn.cid_len = 3;
    assert_null(quic_endpoint_new(&cfg));
    cfg.conn.cid_len = 21;
    assert_null(quic_endpoint_new(&cfg));
    cfg.conn.cid_len = 20;
    struct quic_endpoint *ep = quic_endpoint_new(&cfg);
    assert_non_null(ep);
    quic_endpoint_del(ep);
    quic_endpoint_del(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accept), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limits), cmocka_unit_test(test_version_negotiation),
        cmocka_unit_test(test_reset),  cmocka_unit_test(test_reset_found),
        cmocka_unit_test(test_heap),   cmocka_unit_test(test_table),
        cmocka_unit_test(test_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
