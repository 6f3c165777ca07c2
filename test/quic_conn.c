/* The connection's interface: creation, events, views, deadlines, bad calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/quic_pair.h"

static void open_pair(struct pair *p)
{
    pair_init(p);
    pair_connect(p);
    pair_run(p, NS_PER_S);
    assert_true(quic_is_established(p->conn[CLIENT]));
    assert_true(quic_is_established(p->conn[SERVER]));
}

/* ---- addresses ----------------------------------------------------------------------- */

static void test_addr_text(void **state)
{
    (void)state;
    static const struct {
        struct quic_addr addr;
        const char *text;
    } rows[] = {
        {{4, {192, 0, 2, 1}, 443}, "192.0.2.1:443"},
        {{4, {255, 255, 255, 255}, 65535}, "255.255.255.255:65535"},
        {{6, {0}, 1}, "[::]:1"},
        {{6, {[15] = 1}, 1}, "[::1]:1"},
        {{6, {0x20, 0x01, 0x0d, 0xb8, [15] = 1}, 443}, "[2001:db8::1]:443"},
        {{6, {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1}, 443},
         "[2001:db8:0:1:1:1:1:1]:443"},
        {{6, {0x20, 0x01, [7] = 1, [13] = 1, [15] = 1}, 443}, "[2001::1:0:0:1:1]:443"},
        {{6, {0x20, 0x01, [4] = 1}, 443}, "[2001:0:100::]:443"},
        {{6,
          {[0] = 0xff,
           0xff,
           0xff,
           0xff,
           0xff,
           0xff,
           0xff,
           0xff,
           0xff,
           0xff,
           0xff,
           0xff,
           0xff,
           0xff,
           0xff,
           0xff},
          65535},
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
        {{0, {0}, 0}, "none"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[QUIC_ADDR_TEXT];
        assert_string_equal(quic_addr_text(&rows[i].addr, text), rows[i].text);
    }
}

static void test_route_eq(void **state)
{
    (void)state;
    struct quic_route a = {{4, {1}, 1}, {4, {2}, 2}, 3}, b = a;
    assert_true(quic_route_eq(&a, &b));
    b.ifindex = 0; /* unknown: as good as the same */
    assert_true(quic_route_eq(&a, &b));
    b.ifindex = 4;
    assert_false(quic_route_eq(&a, &b));
    b = a;
    b.local.family = 0;
    assert_true(quic_route_eq(&a, &b));
    b = a;
    b.local.port++;
    assert_false(quic_route_eq(&a, &b));
    b = a;
    b.remote.ip[3]++;
    assert_false(quic_route_eq(&a, &b));
    b = a;
    b.remote.family = 6;
    assert_false(quic_route_eq(&a, &b));
}

/* ---- creation ------------------------------------------------------------------------ */

static void test_bad_config(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    struct quic_config good = p.cfg[CLIENT], bad[9];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        bad[i] = good;
    bad[0].tls = NULL;
    bad[1].rng.fill = NULL;
    bad[2].cid_len = 3;
    bad[3].cid_len = 21;
    bad[4].max_udp_payload = 1199;
    bad[5].max_udp_payload = 65508;
    bad[6].max_paths = 0;
    bad[7].cc = "vegas";
    bad[8].max_ack_delay = 16384 * NS_PER_MS;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_null(quic_connect(&bad[i], "pair.test", &p.route[CLIENT], p.now));
    /* Verification by chain wants a name. */
    assert_null(quic_connect(&good, NULL, &p.route[CLIENT], p.now));
    quic_del(NULL);
    pair_free(&p);
}

/* What each side is told of a plain connection, in order. */
static void test_events(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    pair_connect(&p);
    struct quic_event ev;
    assert_false(quic_next_event(p.conn[CLIENT], &ev));
    assert_false(quic_is_server(p.conn[CLIENT]));
    assert_string_equal(quic_alpn(p.conn[CLIENT]), "");
    pair_run(&p, NS_PER_S);
    for (int i = 0; i < 2; i++) {
        assert_true(quic_next_event(p.conn[i], &ev));
        assert_int_equal(ev.type, QUIC_EV_HANDSHAKE_DONE);
        assert_true(quic_next_event(p.conn[i], &ev));
        assert_int_equal(ev.type, QUIC_EV_CONFIRMED);
        assert_string_equal(quic_alpn(p.conn[i]), "pair");
        assert_int_equal(quic_is_server(p.conn[i]), i == SERVER);
        while (quic_next_event(p.conn[i], &ev))
            assert_true(ev.type == QUIC_EV_DGRAM_MAX || ev.type == QUIC_EV_STREAMS_ALLOWED);
    }
    uint64_t id;
    size_t taken;
    assert_int_equal(quic_stream_open(p.conn[CLIENT], false, &id), 0);
    assert_int_equal(id, 0);
    assert_int_equal(quic_stream_write(p.conn[CLIENT], id, SPAN_LIT("hello"), &taken), 0);
    assert_int_equal(taken, 5);
    assert_int_equal(quic_stream_finish(p.conn[CLIENT], id), 0);
    assert_int_equal(quic_stream_finish(p.conn[CLIENT], id), QUIC_CLOSED);
    pair_run(&p, 100 * NS_PER_MS);
    assert_true(pair_event(&p, SERVER, QUIC_EV_STREAM_OPENED, &ev));
    assert_int_equal(ev.stream, 0);
    assert_true(pair_event(&p, SERVER, QUIC_EV_STREAM_READABLE, &ev));
    bool fin;
    struct span s = quic_stream_peek(p.conn[SERVER], 0, &fin);
    assert_int_equal(s.n, 5);
    assert_memory_equal(s.p, "hello", 5);
    assert_true(fin);
    quic_stream_consume(p.conn[SERVER], 0, 5);
    assert_int_equal(quic_stream_reset(p.conn[SERVER], 0, 99), 0);
    pair_run(&p, 100 * NS_PER_MS);
    assert_true(pair_event(&p, CLIENT, QUIC_EV_STREAM_RESET, &ev));
    assert_int_equal(ev.code, 99);
    quic_close(p.conn[CLIENT], 7, "that is all", p.now);
    quic_close(p.conn[CLIENT], 8, "once more", p.now);
    pair_run(&p, 5 * NS_PER_MS);
    for (int i = 0; i < 2; i++) {
        struct quic_close_info info;
        assert_true(pair_event(&p, i, QUIC_EV_CLOSED, &ev));
        assert_false(quic_next_event(p.conn[i], &ev));
        quic_close_info(p.conn[i], &info);
        assert_int_equal(info.kind, i == CLIENT ? QUIC_CLOSE_LOCAL : QUIC_CLOSE_PEER);
        assert_true(info.app);
        assert_int_equal(info.code, 7);
        assert_string_equal(info.text, "that is all");
        assert_false(quic_is_established(p.conn[i]));
        assert_false(quic_is_drained(p.conn[i]));
    }
    pair_run(&p, 10 * NS_PER_S);
    assert_true(quic_is_drained(p.conn[CLIENT]) && quic_is_drained(p.conn[SERVER]));
    assert_true(quic_deadline(p.conn[CLIENT]) == NS_NEVER);
    pair_free(&p);
}

/* Calls that can't be meant are refused, in every state. */
static void test_bad_calls(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    pair_connect(&p);
    struct quic_conn *c = p.conn[CLIENT];
    struct quic_path_view view;
    uint8_t buf[1500];
    struct quic_train t = {.buf = buf, .cap = sizeof(buf), .max_count = 1};
    uint64_t id;
    size_t taken;
    bool fin = true;
    assert_int_equal(quic_send(c, 1, &t, p.now), QUIC_INVAL);
    assert_int_equal(quic_path_view(c, 1, p.now, &view), QUIC_INVAL);
    assert_int_equal(quic_path_view(c, 0, p.now, &view), 0);
    assert_false(view.usable);
    assert_int_equal(quic_stream_open(c, false, &id), QUIC_BLOCKED);
    assert_int_equal(quic_stream_write(c, 0, SPAN_LIT("x"), &taken), QUIC_CLOSED);
    assert_int_equal(quic_stream_peek(c, 0, &fin).n, 0);
    assert_false(fin);
    quic_stream_consume(c, 0, 0);
    assert_int_equal(quic_key_update(c), QUIC_BLOCKED);
    quic_ping(c, 5);
    quic_set_user(c, &p);
    assert_ptr_equal(quic_user(c), &p);
    pair_run(&p, NS_PER_S);
    assert_int_equal(quic_stream_write(c, 0, SPAN_LIT("x"), &taken), QUIC_CLOSED);
    assert_int_equal(quic_stream_reset(c, 400, 0), QUIC_CLOSED);
    assert_int_equal(quic_stream_stop(c, 1, 0), QUIC_CLOSED);
    quic_close(c, 0, "", p.now);
    assert_int_equal(quic_stream_open(c, false, &id), QUIC_CLOSED);
    assert_int_equal(quic_stream_reset(c, 0, 0), QUIC_CLOSED);
    assert_int_equal(quic_key_update(c), QUIC_BLOCKED);
    pair_free(&p);
}

/* ---- receiving ----------------------------------------------------------------------- */

/* Whatever garbage comes, it is counted and forgotten. */
static void test_garbage(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p);
    struct quic_stats before, after;
    quic_stats(p.conn[SERVER], &before);
    uint64_t seed = 3;
    uint8_t buf[1500];
    for (int i = 0; i < 20000; i++) {
        pair_fill(&seed, buf, sizeof(buf));
        size_t n = (size_t)buf[0] << 2 | buf[1] >> 6;
        /* every other one with a right connection ID */
        if (i % 2)
            memcpy(buf + 1, p.conn[SERVER]->local.initial_scid.b, 8);
        if (i % 3 == 0) {
            buf[0] = (uint8_t)(0xc0 | buf[0]);
            memcpy(buf + 1, "\0\0\0\1\x08", 5);
            memcpy(buf + 6, p.conn[SERVER]->local.initial_scid.b, 8);
        }
        struct quic_rx rx = {p.route[SERVER], 0, buf, n};
        assert_int_equal(quic_recv(p.conn[SERVER], &rx, 1, p.now), 0);
    }
    quic_stats(p.conn[SERVER], &after);
    uint64_t dropped = after.drop_parse + after.drop_cid + after.drop_crypt + after.drop_keys +
                       after.drop_version - before.drop_parse - before.drop_cid -
                       before.drop_crypt - before.drop_keys - before.drop_version;
    assert_true(dropped >= 19000);
    assert_true(quic_is_established(p.conn[SERVER]));
    pair_free(&p);
}

/* Packets before their keys: a few are kept, the rest is dropped, and all is well. */
static void test_held(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    pair_connect(&p);
    static uint8_t flight[65536], copy[65536];
    struct quic_train t = {.buf = flight, .cap = 65507, .max_count = 64};
    assert_true(quic_send(p.conn[CLIENT], 0, &t, p.now) > 0);
    for (size_t i = 0; i < t.count; i++)
        pair_deliver(&p, SERVER, t.buf + i * t.segment, quic_train_size(&t, i));
    quic_train_reset(&t);
    assert_true(quic_send(p.conn[SERVER], 0, &t, p.now) > 0);
    assert_true(t.count >= 2);
    /* The last datagram, Handshake only, comes first and twenty times. */
    size_t last = t.count - 1, n = quic_train_size(&t, last);
    for (int i = 0; i < 20; i++) {
        memcpy(copy, t.buf + last * t.segment, n);
        pair_deliver(&p, CLIENT, copy, n);
    }
    struct quic_stats stats;
    quic_stats(p.conn[CLIENT], &stats);
    assert_int_equal(stats.buffered, CONN_HELD);
    assert_int_equal(stats.drop_keys, 20 - CONN_HELD);
    for (size_t i = 0; i < last; i++)
        pair_deliver(&p, CLIENT, t.buf + i * t.segment, quic_train_size(&t, i));
    quic_stats(p.conn[CLIENT], &stats);
    assert_true(stats.drop_duplicate >= CONN_HELD - 1);
    pair_run(&p, NS_PER_S);
    assert_true(quic_is_established(p.conn[CLIENT]) && quic_is_established(p.conn[SERVER]));
    assert_int_equal(p.conn[CLIENT]->n_held, 0);
    pair_free(&p);
}

/*
 * A coalesced datagram: a second packet with another destination is ignored, and so are bytes
 * that are no packet (RFC 9000 12.2).
 */
static void test_coalesced(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    pair_connect(&p);
    static uint8_t flight[65536], buf[3000];
    struct quic_train t = {.buf = flight, .cap = 65507, .max_count = 64};
    assert_true(quic_send(p.conn[CLIENT], 0, &t, p.now) > 0);
    memcpy(buf, t.buf, 1200);
    memset(buf + 1200, 0, 100);
    assert_int_equal(pair_deliver(&p, SERVER, buf, 1300), 0);
    struct quic_stats stats;
    quic_stats(p.conn[SERVER], &stats);
    assert_int_equal(stats.drop_parse, 1);
    memcpy(buf, t.buf + 1200, 1200);
    memcpy(buf + 1200, t.buf, 1200);
    buf[1200 + 6] ^= 0xff; /* the destination ID */
    assert_int_equal(pair_deliver(&p, SERVER, buf, 2400), 0);
    quic_stats(p.conn[SERVER], &stats);
    assert_int_equal(stats.drop_cid, 1);
    pair_run(&p, NS_PER_S);
    assert_true(quic_is_established(p.conn[SERVER]));
    pair_free(&p);
}

/* During the handshake an address may not change, and a stranger is not believed. */
static void test_other_address(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    pair_connect(&p);
    static uint8_t flight[65536];
    struct quic_train t = {.buf = flight, .cap = 65507, .max_count = 64};
    assert_true(quic_send(p.conn[CLIENT], 0, &t, p.now) > 0);
    pair_deliver(&p, SERVER, t.buf, 1200);
    struct quic_rx rx = {p.route[SERVER], 0, t.buf + 1200, 1200};
    rx.route.remote.port++;
    assert_int_equal(quic_recv(p.conn[SERVER], &rx, 1, p.now), 0);
    struct quic_stats stats;
    quic_stats(p.conn[SERVER], &stats);
    assert_int_equal(stats.drop_cid, 1);
    /* The client takes nothing from an address that isn't the server's (RFC 9000 9). */
    quic_train_reset(&t);
    assert_true(quic_send(p.conn[SERVER], 0, &t, p.now) > 0);
    rx = (struct quic_rx){p.route[CLIENT], 0, t.buf, t.segment};
    rx.route.remote.ip[3]++;
    assert_int_equal(quic_recv(p.conn[CLIENT], &rx, 1, p.now), 0);
    quic_stats(p.conn[CLIENT], &stats);
    assert_int_equal(stats.drop_cid, 1);
    assert_false(p.conn[CLIENT]->has_peer_scid);
    pair_run(&p, 3 * NS_PER_S);
    assert_true(quic_is_established(p.conn[CLIENT]));
    pair_free(&p);
}

/* ---- sending ------------------------------------------------------------------------- */

/* A train of any shape is filled within its bounds, and nothing is lost by stopping early. */
static void test_train_shapes(void **state)
{
    (void)state;
    static const struct {
        size_t cap, max_count;
    } rows[] = {{1200, 1}, {1200, 64}, {1500, 1},  {2400, 2},
                {5000, 3}, {65507, 1}, {65507, 64}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pair p;
        open_pair(&p);
        static uint8_t out[65536 + 16];
        uint64_t id;
        size_t taken, got = 0;
        static uint8_t data[200000];
        pair_fill(&p.seed, data, sizeof(data));
        assert_int_equal(quic_stream_open(p.conn[CLIENT], true, &id), 0);
        assert_int_equal(
            quic_stream_write(p.conn[CLIENT], id, span_of(data, sizeof(data)), &taken), 0);
        assert_int_equal(taken, sizeof(data));
        for (int round = 0; round < 3000 && got < sizeof(data); round++) {
            struct quic_train t = {
                .buf = out, .cap = rows[i].cap, .max_count = rows[i].max_count};
            memset(out + rows[i].cap, 0xee, 16);
            while (quic_send(p.conn[CLIENT], 0, &t, p.now) > 0) {
                assert_true(t.len <= rows[i].cap && t.count <= rows[i].max_count);
                assert_int_equal(out[rows[i].cap], 0xee);
                for (size_t k = 0; k + 1 < t.count; k++)
                    assert_int_equal(quic_train_size(&t, k), t.segment);
                assert_in_range(quic_train_size(&t, t.count - 1), 1, t.segment);
                pair_train(&p, CLIENT, &t);
                quic_train_reset(&t);
            }
            struct span s;
            while ((s = quic_stream_peek(p.conn[SERVER], id, NULL)).n) {
                assert_memory_equal(s.p, data + got, s.n);
                got += s.n;
                quic_stream_consume(p.conn[SERVER], id, s.n);
            }
            pair_flush(&p, SERVER);
            p.now += NS_PER_MS;
            quic_tick(p.conn[CLIENT], p.now);
            quic_tick(p.conn[SERVER], p.now);
        }
        assert_int_equal(got, sizeof(data));
        pair_free(&p);
    }
}

/* An idle connection has nothing to send, and its deadline is far away. */
static void test_quiet(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p);
    pair_run(&p, 5 * NS_PER_S);
    uint8_t buf[1500];
    struct quic_train t = {.buf = buf, .cap = sizeof(buf), .max_count = 1};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(quic_send(p.conn[i], 0, &t, p.now), 0);
        assert_true(quic_deadline(p.conn[i]) > p.now + 20 * NS_PER_S);
        struct quic_path_view view;
        quic_path_view(p.conn[i], 0, p.now, &view);
        assert_int_equal(view.in_flight_bytes, 0);
        assert_true(view.room_bytes > 1200);
        assert_true(view.has_rtt && view.next_send <= p.now);
    }
    pair_free(&p);
}

/* Time that passes without anybody serving the deadlines does no harm. */
static void test_late_tick(void **state)
{
    (void)state;
    struct pair p;
    open_pair(&p);
    uint64_t id;
    size_t taken;
    quic_stream_open(p.conn[CLIENT], false, &id);
    quic_stream_write(p.conn[CLIENT], id, SPAN_LIT("late"), &taken);
    p.lose[CLIENT] = true;
    pair_flush(&p, CLIENT);
    p.lose[CLIENT] = false;
    p.now += 20 * NS_PER_S;
    quic_tick(p.conn[CLIENT], p.now);
    assert_true(quic_is_established(p.conn[CLIENT]));
    pair_run(&p, NS_PER_S);
    assert_true(pair_event(&p, SERVER, QUIC_EV_STREAM_READABLE, NULL));
    p.now += 40 * NS_PER_S;
    quic_tick(p.conn[CLIENT], p.now);
    assert_true(quic_is_drained(p.conn[CLIENT]));
    pair_free(&p);
}

/* Every cipher suite, with keys that are updated; every group, with HelloRetryRequest. */
static void test_ciphers(void **state)
{
    (void)state;
    static const struct {
        const char *groups, *suites;
        enum aead_id aead;
    } rows[] = {
        {NULL, "TLS_AES_128_GCM_SHA256", AEAD_AES_128_GCM},
        {NULL, "TLS_AES_256_GCM_SHA384", AEAD_AES_256_GCM},
        {NULL, "TLS_CHACHA20_POLY1305_SHA256", AEAD_CHACHA20_POLY1305},
        {"X25519", NULL, AEAD_AES_128_GCM},
        {"P-256", NULL, AEAD_AES_128_GCM}, /* no share of it was sent: HelloRetryRequest */
        {"P-384", "TLS_AES_256_GCM_SHA384", AEAD_AES_256_GCM},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pair p;
        pair_init_tls(&p, rows[i].groups, rows[i].suites);
        pair_connect(&p);
        pair_run(&p, NS_PER_S);
        for (int k = 0; k < 2; k++) {
            assert_true(quic_is_established(p.conn[k]));
            assert_int_equal(p.conn[k]->keys.tx[LEVEL_APP].id, rows[i].aead);
        }
        for (int k = 0; k < 2; k++)
            quic_ping(p.conn[k], 0);
        pair_run(&p, NS_PER_S);
        for (int update = 0; update < 3; update++) {
            assert_int_equal(quic_key_update(p.conn[update % 2]), 0);
            for (int k = 0; k < 2; k++)
                quic_ping(p.conn[k], 0);
            pair_run(&p, NS_PER_S);
            for (int k = 0; k < 2; k++) /* the next one wants an acknowledgement of this */
                quic_ping(p.conn[k], 0);
            pair_run(&p, NS_PER_S);
        }
        struct quic_stats stats;
        for (int k = 0; k < 2; k++) {
            assert_true(quic_is_established(p.conn[k]));
            quic_stats(p.conn[k], &stats);
            assert_int_equal(stats.key_updates, 3);
            assert_int_equal(stats.drop_crypt, 0);
        }
        pair_free(&p);
    }
}

/* The server's certificate is for another name: both sides are told why. */
static void test_wrong_name(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    p.conn[CLIENT] = quic_connect(&p.cfg[CLIENT], "other.test", &p.route[CLIENT], p.now);
    pair_run(&p, 5 * NS_PER_S);
    struct quic_close_info info[2];
    for (int i = 0; i < 2; i++)
        quic_close_info(p.conn[i], &info[i]);
    assert_int_equal(info[CLIENT].kind, QUIC_CLOSE_LOCAL);
    assert_int_equal(info[CLIENT].code, QUIC_CRYPTO_ERROR + TLS_ALERT_BAD_CERTIFICATE);
    assert_non_null(strstr(info[CLIENT].text, "other.test"));
    assert_int_equal(info[SERVER].kind, QUIC_CLOSE_PEER);
    assert_int_equal(info[SERVER].code, info[CLIENT].code);
    pair_free(&p);
}

/* Parameters that don't fit the connection IDs end the handshake (RFC 9000 7.3). */
static void test_parameters_checked(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    pair_connect(&p);
    /* The client forgets what it sent first, so that the server's echo is wrong. */
    p.conn[CLIENT]->original_dcid.b[0] ^= 1;
    pair_run(&p, 5 * NS_PER_S);
    struct quic_close_info info;
    quic_close_info(p.conn[CLIENT], &info);
    assert_int_equal(info.code, QUIC_TRANSPORT_PARAMETER_ERROR);
    quic_close_info(p.conn[SERVER], &info);
    assert_int_equal(info.code, QUIC_TRANSPORT_PARAMETER_ERROR);
    assert_int_equal(info.kind, QUIC_CLOSE_PEER);
    pair_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addr_text),
        cmocka_unit_test(test_route_eq),
        cmocka_unit_test(test_bad_config),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_bad_calls),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_held),
        cmocka_unit_test(test_coalesced),
        cmocka_unit_test(test_other_address),
        cmocka_unit_test(test_train_shapes),
        cmocka_unit_test(test_quiet),
        cmocka_unit_test(test_late_tick),
        cmocka_unit_test(test_ciphers),
        cmocka_unit_test(test_wrong_name),
        cmocka_unit_test(test_parameters_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
