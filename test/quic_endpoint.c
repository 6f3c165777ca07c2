/* Routing by connection ID, acceptance and its limits, stateless answers, address validation,
 * deadlines. */
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

static struct quic_endpoint *server_endpoint(const struct fixture *f,
                                             struct quic_endpoint_config cfg)
{
    cfg.conn = f->p.cfg[SERVER];
    cfg.accept = true;
    memset(cfg.conn.reset_key, 7, sizeof(cfg.conn.reset_key));
    struct quic_endpoint *ep = quic_endpoint_new(&cfg);
    assert_non_null(ep);
    return ep;
}

static void set_up_with(struct fixture *f, struct quic_endpoint_config cfg)
{
    memset(f, 0, sizeof(*f));
    pair_init(&f->p);
    f->ep = server_endpoint(f, cfg);
    f->answer = (struct quic_train){.buf = f->buf, .cap = sizeof(f->buf), .max_count = 64};
}

static void set_up(struct fixture *f, size_t conns, size_t half_open, unsigned answers)
{
    set_up_with(f, (struct quic_endpoint_config){.max_conns = conns,
                                                 .max_half_open = half_open,
                                                 .answers_per_s = answers,
                                                 .retry = QUIC_RETRY_NEVER});
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

/* The first flight of a new client: datagrams of 1200 bytes at `out`. */
static size_t first_flight(struct fixture *f, struct quic_conn **client, uint8_t *out)
{
    *client = quic_connect(&f->p.cfg[CLIENT], "pair.test", &f->p.route[CLIENT], f->p.now);
    assert_non_null(*client);
    struct quic_train t = {.buf = out, .cap = 65507, .max_count = 64};
    assert_true(quic_send(*client, 0, &t, f->p.now) > 0);
    /* A long token leaves the ClientHello so little room that it takes a third one. */
    assert_true(t.count == 2 || (t.count == 3 && f->p.cfg[CLIENT].token.n > 200));
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
    /* Two that have both forgotten answer each other's answers: it ends (10.3.3). */
    unsigned rounds = 0;
    size_t n = sizeof(packet);
    while (route(&f, packet, n, &conn) == QUIC_ROUTE_ANSWER && rounds++ < 100) {
        n = f.answer.len;
        memcpy(packet, f.buf, n);
    }
    assert_int_equal(rounds, 42 - 21 + 1);
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

/* ---- address validation -------------------------------------------------------------- */

static struct quic_endpoint_stats stats_of(const struct fixture *f)
{
    struct quic_endpoint_stats stats;
    quic_endpoint_stats(f->ep, &stats);
    return stats;
}

static void give_answer(struct fixture *f, struct quic_conn *client)
{
    static uint8_t copy[1500];
    memcpy(copy, f->buf, f->answer.len);
    struct quic_rx rx = {.route = f->p.route[CLIENT], .p = copy, .n = f->answer.len};
    quic_recv(client, &rx, 1, f->p.now);
}

/* What the client says next, at `out`. Returns its length. */
static size_t next_flight(struct fixture *f, struct quic_conn *client, uint8_t *out)
{
    struct quic_train t = {.buf = out, .cap = 65507, .max_count = 64};
    return quic_send(client, 0, &t, f->p.now) > 0 ? t.len : 0;
}

static size_t take_answer(struct fixture *f, struct quic_conn *client, uint8_t *out)
{
    give_answer(f, client);
    return next_flight(f, client, out);
}

/* Off below the threshold, on from there, off again; and what a Retry is made of. */
static void test_retry_load(void **state)
{
    (void)state;
    static struct fixture f;
    static uint8_t flight[65536], again[65536];
    set_up_with(&f, (struct quic_endpoint_config){.max_half_open = 5, .retry_half_open = 3});
    struct quic_conn *client[5], *conn[5];
    for (int i = 0; i < 3; i++) {
        first_flight(&f, &client[i], flight);
        assert_int_equal(route(&f, flight, 1200, &conn[i]), QUIC_ROUTE_NEW);
        assert_false(path_current(&conn[i]->path[0])->validated);
    }
    assert_int_equal(stats_of(&f).retries, 0);
    first_flight(&f, &client[3], flight);
    assert_int_equal(route(&f, flight, 1200, &conn[3]), QUIC_ROUTE_ANSWER);
    assert_null(conn[3]);
    assert_int_equal(f.answer.count, 1);
    assert_true(quic_route_eq(&f.answer.route, &f.p.route[SERVER]));
    assert_true(f.answer.len < 200);
    struct packet_head h;
    struct quic_cid odcid = client[3]->original_dcid;
    assert_int_equal(packet_parse(f.buf, f.answer.len, 8, &h), 0);
    assert_int_equal(h.type, PACKET_RETRY);
    assert_memory_equal(h.dcid.p, client[3]->local.initial_scid.b, h.dcid.n);
    assert_int_equal(h.scid.n, 8);
    assert_memory_not_equal(h.scid.p, odcid.b, 8);
    assert_true(retry_verify(&odcid, f.buf, f.answer.len));
    assert_int_equal(quic_endpoint_count(f.ep), 3);
    /* The one that has received it gets its connection, and no limit. */
    assert_true(take_answer(&f, client[3], again) >= 2400);
    assert_true(client[3]->has_retry);
    assert_int_equal(route(&f, again, 1200, &conn[3]), QUIC_ROUTE_NEW);
    assert_true(path_current(&conn[3]->path[0])->validated);
    assert_true(conn[3]->local.has_retry_scid);
    assert_true(cid_eq(&conn[3]->local.original_dcid, &odcid));
    assert_true(cid_eq(&conn[3]->local.retry_scid, &client[3]->retry_scid));
    struct quic_conn *same;
    assert_int_equal(route(&f, again + 1200, 1200, &same), QUIC_ROUTE_CONN);
    assert_ptr_equal(same, conn[3]);
    struct quic_rx rx[2] = {{f.p.route[SERVER], 0, again, 1200},
                            {f.p.route[SERVER], 0, again + 1200, 1200}};
    assert_int_equal(quic_recv(conn[3], rx, 2, f.p.now), 0);
    f.p.conn[CLIENT] = client[3];
    f.p.conn[SERVER] = conn[3];
    pair_run(&f.p, NS_PER_S);
    assert_true(quic_is_established(conn[3]) && quic_is_established(client[3]));
    quic_endpoint_update(f.ep, conn[3]);
    assert_int_equal(stats_of(&f).by_retry, 1);
    assert_int_equal(stats_of(&f).half_open, 3);
    /* Less load: no Retry any more. */
    quic_close(conn[0], 0, "", f.p.now);
    quic_endpoint_update(f.ep, conn[0]);
    first_flight(&f, &client[4], flight);
    assert_int_equal(route(&f, flight, 1200, &conn[4]), QUIC_ROUTE_NEW);
    assert_int_equal(stats_of(&f).retries, 1);
    quic_endpoint_del(f.ep);
    f.ep = NULL;
    for (int i = 0; i < 5; i++) {
        if (i != 3) {
            quic_del(client[i]);
            quic_del(conn[i]);
        }
    }
    tear_down(&f);
}

/* From forged addresses: no state beyond the threshold, and less comes back than went in. */
static void test_retry_flood(void **state)
{
    (void)state;
    enum { FLOOD = 5000, AT = 4 };
    static struct fixture f;
    static uint8_t flight[65536];
    set_up_with(&f, (struct quic_endpoint_config){
                        .max_half_open = 16, .retry_half_open = AT, .retries_per_s = 20000});
    struct quic_conn *client, *conn[AT], *none;
    for (int i = 0; i < AT; i++) {
        first_flight(&f, &client, flight);
        assert_int_equal(route(&f, flight, 1200, &conn[i]), QUIC_ROUTE_NEW);
        quic_del(client);
    }
    first_flight(&f, &client, flight);
    uint64_t in = 0, out = 0;
    for (uint32_t i = 0; i < FLOOD; i++) {
        memcpy(flight + 6, &i, 4); /* another destination ID each time */
        struct quic_rx rx = {.route = f.p.route[SERVER], .p = flight, .n = 1200};
        memcpy(rx.route.remote.ip, &i, 4);
        quic_train_reset(&f.answer);
        enum quic_route_result r = quic_endpoint_route(f.ep, &rx, f.p.now, &none, &f.answer);
        assert_true(r == QUIC_ROUTE_ANSWER || r == QUIC_ROUTE_DROP);
        in += rx.n;
        out += f.answer.len;
    }
    assert_true(out > 0 && 6 * out < in);
    assert_int_equal(quic_endpoint_count(f.ep), AT);
    struct quic_endpoint_stats stats = stats_of(&f);
    assert_int_equal(stats.half_open, AT);
    /* A tenth of a second's worth, as no time has passed. */
    assert_int_equal(stats.retries, 2000);
    assert_int_equal(stats.drop_retry, FLOOD - 2000);
    f.p.now += NS_PER_S / 10;
    assert_int_equal(route(&f, flight, 1200, &none), QUIC_ROUTE_ANSWER);
    /* The other answers have a budget of their own. */
    assert_int_equal(stats.drop_rate, 0);
    quic_del(client);
    quic_endpoint_del(f.ep);
    f.ep = NULL;
    for (int i = 0; i < AT; i++)
        quic_del(conn[i]);
    tear_down(&f);
}

/* A Retry token that doesn't hold ends the attempt at once, without state (8.1.2). */
static void test_retry_wrong(void **state)
{
    (void)state;
    static struct fixture f;
    static uint8_t flight[65536], copy[1200];
    enum { PORT, ADDRESS, LATE, OTHER_ID, DAMAGED, WRONGS };
    for (int wrong = 0; wrong < WRONGS; wrong++) {
        set_up_with(&f, (struct quic_endpoint_config){.retry = QUIC_RETRY_ALWAYS});
        struct quic_conn *client, *conn;
        first_flight(&f, &client, flight);
        assert_int_equal(route(&f, flight, 1200, &conn), QUIC_ROUTE_ANSWER);
        struct quic_rx rx = {.route = f.p.route[SERVER], .p = copy, .n = 1200};
        if (wrong == DAMAGED) { /* as if sealed by another server */
            f.buf[f.answer.len - 20] ^= 1;
            assert_int_equal(retry_tag(&client->original_dcid, f.buf, f.answer.len - 16,
                                       f.buf + f.answer.len - 16),
                             0);
        }
        give_answer(&f, client);
        assert_true(client->has_retry);
        if (wrong == OTHER_ID) { /* the token of another attempt */
            struct quic_cid other = {8, "other-id"};
            cid_remote_set_first(&client->path[0].theirs, &other);
            assert_int_equal(conn_initial_keys(client, &other), 0);
        }
        assert_true(next_flight(&f, client, flight) > 0);
        rx.route.remote.port += wrong == PORT;
        rx.route.remote.ip[3] += wrong == ADDRESS;
        f.p.now += wrong == LATE ? TOKEN_RETRY_LIFE : 0;
        /* Not if it isn't authentic: then nobody is to be told anything. */
        memcpy(copy, flight, 1200);
        copy[1100] ^= 1;
        quic_train_reset(&f.answer);
        assert_int_equal(quic_endpoint_route(f.ep, &rx, f.p.now, &conn, &f.answer),
                         QUIC_ROUTE_DROP);
        memcpy(copy, flight, 1200);
        assert_int_equal(quic_endpoint_route(f.ep, &rx, f.p.now, &conn, &f.answer),
                         QUIC_ROUTE_ANSWER);
        assert_null(conn);
        assert_int_equal(quic_endpoint_count(f.ep), 0);
        assert_true(f.answer.len < 200);
        assert_int_equal(take_answer(&f, client, flight), 0);
        struct quic_close_info info;
        quic_close_info(client, &info);
        assert_int_equal(info.kind, QUIC_CLOSE_PEER);
        assert_int_equal(info.code, QUIC_INVALID_TOKEN);
        assert_int_equal(stats_of(&f).invalid_tokens, 2);
        assert_int_equal(stats_of(&f).by_retry, 0);
        quic_del(client);
        tear_down(&f);
    }
}

/* A token of unknown origin is no token (8.1.3). */
static void test_unknown_token(void **state)
{
    (void)state;
    static struct fixture f;
    static uint8_t flight[65536], token[QUIC_TOKEN_MAX + 1] = "of another server";
    for (int always = 0; always < 2; always++) {
        for (size_t n = 1; n <= QUIC_TOKEN_MAX; n = n * 5 / 4 + 1) {
            set_up_with(&f, (struct quic_endpoint_config){.retry = always ? QUIC_RETRY_ALWAYS
                                                                          : QUIC_RETRY_NEVER});
            struct quic_conn *client, *conn;
            f.p.cfg[CLIENT].token = span_of(token, n);
            first_flight(&f, &client, flight);
            assert_int_equal(route(&f, flight, 1200, &conn),
                             always ? QUIC_ROUTE_ANSWER : QUIC_ROUTE_NEW);
            assert_true(always || !path_current(&conn->path[0])->validated);
            assert_int_equal(stats_of(&f).invalid_tokens, 0);
            if (always) { /* the Retry's replaces it */
                assert_true(take_answer(&f, client, flight) > 0);
                assert_int_equal(client->token_len, TOKEN_RETRY_SIZE);
                assert_int_equal(route(&f, flight, 1200, &conn), QUIC_ROUTE_NEW);
            }
            quic_del(client);
            quic_endpoint_remove(f.ep, conn);
            quic_del(conn);
            tear_down(&f);
        }
    }
    set_up(&f, 0, 0, 0);
    f.p.cfg[CLIENT].token = span_of(token, QUIC_TOKEN_MAX + 1);
    assert_null(quic_connect(&f.p.cfg[CLIENT], "pair.test", &f.p.route[CLIENT], f.p.now));
    tear_down(&f);
}

/* One connection through `f`, and the token that it leaves to the client. */
static size_t earn_token(struct fixture *f, uint8_t token[QUIC_TOKEN_MAX])
{
    static uint8_t flight[65536];
    struct quic_conn *conn;
    first_flight(f, &f->p.conn[CLIENT], flight);
    assert_int_equal(route(f, flight, 1200, &conn), QUIC_ROUTE_NEW);
    struct quic_rx rx[2] = {{f->p.route[SERVER], 0, flight, 1200},
                            {f->p.route[SERVER], 0, flight + 1200, 1200}};
    assert_int_equal(quic_recv(conn, rx, 2, f->p.now), 0);
    f->p.conn[SERVER] = conn;
    assert_int_equal(quic_new_token(f->p.conn[CLIENT]).n, 0);
    pair_run(&f->p, NS_PER_S);
    struct span got = quic_new_token(f->p.conn[CLIENT]);
    size_t n = got.n;
    assert_int_equal(n, TOKEN_NEW_SIZE);
    memcpy(token, got.p, n);
    /* The server keeps nothing of it once it has arrived. */
    assert_null(conn->new_token);
    assert_false(conn->new_token_due || conn->new_token);
    assert_int_equal(quic_new_token(conn).n, 0);
    quic_endpoint_remove(f->ep, conn);
    for (int i = 0; i < 2; i++) {
        quic_del(f->p.conn[i]);
        f->p.conn[i] = NULL;
    }
    return n;
}

static void test_new_token(void **state)
{
    (void)state;
    static struct fixture f;
    static uint8_t flight[65536], token[QUIC_TOKEN_MAX];
    const ns_t unix_offset = 1700000000 * NS_PER_S, hour = 3600 * NS_PER_S;
    set_up_with(&f, (struct quic_endpoint_config){.unix_offset = unix_offset});
    size_t n = earn_token(&f, token);
    quic_endpoint_del(f.ep);
    // clang-format off
    static const struct {
        bool same_clock;   /* told Unix time, as before */
        uint8_t address, port;
        unsigned hours;
        bool holds;
    } cases[] = {
        {true,  0, 0, 0,  true},
        {true,  0, 0, 23, true},
        {true,  0, 9, 23, true},
        {true,  0, 0, 24, false},
        {true,  1, 0, 0,  false},
        {false, 0, 0, 0,  false},
    };
    // clang-format on
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        /* A restarted server that wants every address proven. */
        struct quic_conn *client, *conn;
        f.ep = server_endpoint(
            &f,
            (struct quic_endpoint_config){
                .retry = QUIC_RETRY_ALWAYS,
                .unix_offset = cases[i].same_clock ? unix_offset + cases[i].hours * hour : 0});
        f.p.cfg[CLIENT].token = span_of(token, n);
        first_flight(&f, &client, flight);
        struct quic_rx rx = {.route = f.p.route[SERVER], .p = flight, .n = 1200};
        rx.route.remote.ip[3] += cases[i].address;
        rx.route.remote.port += cases[i].port;
        quic_train_reset(&f.answer);
        assert_int_equal(quic_endpoint_route(f.ep, &rx, f.p.now, &conn, &f.answer),
                         cases[i].holds ? QUIC_ROUTE_NEW : QUIC_ROUTE_ANSWER);
        assert_int_equal(stats_of(&f).by_new_token, cases[i].holds);
        assert_int_equal(stats_of(&f).retries, !cases[i].holds);
        if (cases[i].holds) {
            assert_true(path_current(&conn->path[0])->validated);
            assert_false(conn->local.has_retry_scid);
            quic_endpoint_remove(f.ep, conn);
            quic_del(conn);
        }
        quic_del(client);
        quic_endpoint_del(f.ep);
    }
    f.ep = NULL;
    tear_down(&f);
}

/* What a client takes as a Retry (17.2.5.2): each of these but the last is ignored. */
static void test_client_retry(void **state)
{
    (void)state;
    static struct fixture f;
    static uint8_t flight[65536];
    enum { OTHER_DCID, SAME_SCID, LONG_TOKEN, NO_TOKEN, BAD_TAG, GOOD, SECOND, CASES };
    set_up(&f, 0, 0, 0);
    struct quic_conn *client;
    first_flight(&f, &client, flight);
    uint64_t pn = recovery_next_pn(&client->path[0].recovery, SPACE_INITIAL);
    for (int i = 0; i < CASES; i++) {
        uint8_t token[QUIC_TOKEN_MAX + 1] = {1};
        size_t n = i == NO_TOKEN ? 0 : i == LONG_TOKEN ? sizeof(token) : QUIC_TOKEN_MAX;
        struct quic_cid dcid = client->local.initial_scid, scid = {.len = 8, .b = "retry"};
        const struct quic_cid *odcid = &client->original_dcid;
        dcid.b[0] ^= i == OTHER_DCID;
        scid.b[0] ^= i == SECOND;
        scid = i == SAME_SCID ? *odcid : scid;
        struct wire_w w = wire_w_of(f.buf, 1500);
        wire_w_u8(&w, 0xf0);
        wire_w_u32(&w, QUIC_V1);
        wire_w_u8(&w, dcid.len);
        wire_w_span(&w, cid_span(&dcid));
        wire_w_u8(&w, scid.len);
        wire_w_span(&w, cid_span(&scid));
        wire_w_bytes(&w, token, n);
        assert_int_equal(retry_tag(odcid, f.buf, (size_t)(w.p - f.buf), w.p), 0);
        w.p[3] ^= i == BAD_TAG;
        f.answer.len = (size_t)(w.p - f.buf) + QUIC_RETRY_TAG;
        size_t sent = take_answer(&f, client, flight);
        assert_int_equal(sent > 0, i == GOOD);
        assert_int_equal(client->has_retry, i >= GOOD);
    }
    /* Numbering went on, and everything was said again (17.2.5.3), if in smaller pieces. */
    assert_true(recovery_next_pn(&client->path[0].recovery, SPACE_INITIAL) > pn);
    assert_int_equal(client->token_len, QUIC_TOKEN_MAX);
    assert_memory_equal(client->retry_scid.b, "retry", 5);
    quic_del(client);
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
        cmocka_unit_test(test_accept),        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limits),        cmocka_unit_test(test_version_negotiation),
        cmocka_unit_test(test_reset),         cmocka_unit_test(test_reset_found),
        cmocka_unit_test(test_heap),          cmocka_unit_test(test_table),
        cmocka_unit_test(test_config),        cmocka_unit_test(test_retry_load),
        cmocka_unit_test(test_retry_flood),   cmocka_unit_test(test_retry_wrong),
        cmocka_unit_test(test_unknown_token), cmocka_unit_test(test_new_token),
        cmocka_unit_test(test_client_retry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
