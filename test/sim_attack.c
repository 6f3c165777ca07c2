/*
 * Attacks that take more than one packet: each is carried out with real keys against a real
 * connection, and the bound that stops it is read back. docs/security.md has the list.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quic/endpoint.h"
#include "quic/recovery_ack.h"
#include "test/quic_pair.h"
#include "test/sim/evil.h"

/* A connection between an attacker (the client, unless said otherwise) and its victim. */
static void meet(struct pair *p)
{
    pair_init(p);
    pair_connect(p);
    pair_run(p, NS_PER_S);
    assert_true(quic_is_established(p->conn[SERVER]) && p->conn[CLIENT]->confirmed);
}

/* One packet of the attacker's. Returns as quic_recv. */
static int say(struct pair *p, int victim, const void *frames, size_t n)
{
    struct evil e = {.level = LEVEL_APP, .deaf = true};
    return evil_send(p->conn[1 - victim], p->conn[victim], &e, span_of(frames, n), p->now);
}

static struct quic_stats stats_of(const struct pair *p, int i)
{
    struct quic_stats stats;
    quic_stats(p->conn[i], &stats);
    return stats;
}

static uint64_t close_code(const struct pair *p, int i)
{
    struct quic_close_info info;
    quic_close_info(p->conn[i], &info);
    return info.kind == QUIC_CLOSE_LOCAL ? info.code : 0;
}

/* What the victim sends is lost. Returns how many datagrams there were. */
static size_t swallow(struct pair *p, int i)
{
    static uint8_t buf[65536];
    size_t n = 0;
    struct quic_train t = {.buf = buf, .cap = 65507, .max_count = 64};
    while (quic_send(p->conn[i], 0, &t, p->now) > 0) {
        n += t.count;
        quic_train_reset(&t);
    }
    return n;
}

/* ---- acknowledgements (RFC 9000 21.4) ------------------------------------------------ */

/* An ACK frame for all numbers from `first` to `last`. */
static size_t ack_frame(uint8_t *out, size_t cap, uint64_t first, uint64_t last)
{
    struct wire_w w = wire_w_of(out, cap);
    wire_w_u8(&w, FRAME_ACK);
    wire_w_varint(&w, last);
    wire_w_varint(&w, 0);
    wire_w_varint(&w, 0);
    wire_w_varint(&w, last - first);
    return (size_t)(w.p - out);
}

/*
 * A peer acknowledges all that may have been sent, without having seen any of it. It is found
 * out before it has opened the window by much, whatever number was left out.
 */
static void test_optimistic_ack(void **state)
{
    (void)state;
    static uint8_t data[1 << 20];
    uint64_t worst = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct pair p;
        pair_init(&p);
        p.seed = seed * 77;
        p.cfg[CLIENT].conn_window = p.cfg[CLIENT].stream_window = 1ull << 40;
        p.cfg[SERVER].stream_send_buffer = sizeof(data);
        pair_connect(&p);
        pair_run(&p, NS_PER_S);
        struct quic_conn *victim = p.conn[SERVER];
        const struct recovery *r = &victim->path[0].recovery;
        uint64_t id, from = sent_next(&r->space[SPACE_APP].sent), cwnd = cc_cwnd(&r->cc);
        size_t taken;
        assert_int_equal(quic_stream_open(victim, true, &id), 0);
        int err = 0;
        for (int round = 0; !err; round++) {
            uint8_t frame[40];
            assert_true(round < 10000);
            quic_stream_write(victim, id, span_of(data, sizeof(data)), &taken);
            swallow(&p, SERVER);
            p.now += 2 * NS_PER_MS;
            size_t n =
                ack_frame(frame, sizeof(frame), from, sent_next(&r->space[SPACE_APP].sent) - 1);
            err = say(&p, SERVER, frame, n);
        }
        assert_int_equal(err, QUIC_PROTOCOL_VIOLATION);
        uint64_t sent = sent_next(&r->space[SPACE_APP].sent) - from;
        worst = sent > worst ? sent : worst;
        /* One number in two windows' worth, and 64: doublings until it is hit are few. */
        assert_true(cc_cwnd(&r->cc) <= 512 * cwnd);
        pair_free(&p);
    }
    print_message("found out after at most %llu packets\n", (unsigned long long)worst);
    assert_true(worst < 3 * 4096);
}

/* One-packet ranges, more of them than anybody needs. */
static void test_ack_ranges(void **state)
{
    (void)state;
    struct pair p;
    meet(&p);
    struct quic_conn *attacker = p.conn[CLIENT], *victim = p.conn[SERVER];
    struct ackrx *ack = &victim->path[0].ack[SPACE_APP];
    struct sent *sent = &attacker->path[0].recovery.space[SPACE_APP].sent;
    /* Every other number: the victim has to say so many ranges. */
    for (int i = 0; i < 2000; i++) {
        sent_skip(sent, sent_next(sent));
        sent_clear(sent);
        assert_int_equal(say(&p, SERVER, "\x01", 1), 0);
    }
    assert_true(ackrx_check(ack));
    assert_true(ranges_count(&ack->received) <= ACKRX_MAX);
    uint8_t buf[1500];
    struct wire_w w = wire_w_of(buf, sizeof(buf));
    assert_true(ackrx_frame(ack, &w, ACKRX_NO_PATH, 3, p.now, NULL));
    assert_true((size_t)(w.p - buf) <= 32 + 2 * ACKRX_SENT * 2);
    /* The other way: every other packet of many is acknowledged. */
    static uint8_t data[1 << 20];
    uint64_t id;
    size_t taken;
    const struct recovery *r = &victim->path[0].recovery;
    uint64_t from = sent_next(&r->space[SPACE_APP].sent);
    assert_int_equal(quic_stream_open(victim, true, &id), 0);
    quic_stream_write(victim, id, span_of(data, sizeof(data)), &taken);
    for (int i = 0; i < 300 && quic_is_established(victim); i++) {
        swallow(&p, SERVER);
        for (; from < sent_next(&r->space[SPACE_APP].sent); from += 2) {
            if (sent_get(&r->space[SPACE_APP].sent, from)->flags & SENT_SKIPPED)
                from++;
            size_t n = ack_frame(buf, sizeof(buf), from, from);
            assert_int_equal(say(&p, SERVER, buf, n), 0);
        }
        assert_true(ranges_count(&r->space[SPACE_APP].acked) <= RECOVERY_ACKED_RANGES);
        p.now += 10 * NS_PER_MS;
        quic_tick(victim, p.now);
    }
    assert_true(recovery_check(r));
    pair_free(&p);
}

/* ---- CRYPTO -------------------------------------------------------------------------- */

static size_t crypto_frame(uint8_t *out, size_t cap, uint64_t off, size_t n)
{
    struct wire_w w = wire_w_of(out, cap);
    wire_w_u8(&w, FRAME_CRYPTO);
    wire_w_varint(&w, off);
    wire_w_varint(&w, n);
    wire_w_zero(&w, n);
    return (size_t)(w.p - out);
}

/* Single bytes with gaps between. */
static void test_crypto_gaps(void **state)
{
    (void)state;
    struct pair p;
    meet(&p);
    int err = 0;
    unsigned n = 0;
    for (; !err; n++) {
        uint8_t frame[20];
        size_t len = crypto_frame(frame, sizeof(frame), 2 * n + 1, 1);
        err = say(&p, SERVER, frame, len);
        assert_true(stats_of(&p, SERVER).memory_bytes < 40000);
    }
    assert_int_equal(err, QUIC_CRYPTO_BUFFER_EXCEEDED);
    assert_int_equal(n, RBUF_GAPS + 2);
    pair_free(&p);
}

/* A message of the largest size that is never ended keeps no more than was agreed on. */
static void test_crypto_endless(void **state)
{
    (void)state;
    for (int victim = CLIENT; victim <= SERVER; victim++) {
        struct pair p;
        meet(&p);
        /* The type of a ticket, which a server refuses at once, and a length of 2^24 - 1. */
        uint8_t frame[1100];
        const struct rbuf *rx = &p.conn[victim]->crypto[SPACE_APP].rx;
        size_t n = crypto_frame(frame, sizeof(frame), rx->base, 1000);
        memcpy(frame + n - 1000, "\x04\xff\xff\xff", 4);
        int err = 0;
        uint64_t sent = 0;
        for (; !err && sent < 1 << 24; sent += 1000) {
            err = say(&p, victim, frame, n);
            n = crypto_frame(frame, sizeof(frame), rx->base, 1000);
            assert_true(stats_of(&p, victim).memory_bytes < 200000);
        }
        assert_true(err > 0 && sent <= 2 * TLS_IN_MAX);
        pair_free(&p);
    }
}

/* Bytes of a level that TLS has left (RFC 9001 4.1.3). */
static void test_crypto_of_the_past(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    pair_connect(&p);
    struct quic_conn *victim = p.conn[CLIENT];
    for (int i = 0; i < 100 && !aead_ready(&victim->keys.rx[LEVEL_HANDSHAKE]); i++) {
        pair_flush(&p, CLIENT);
        pair_flush(&p, SERVER);
        p.now += NS_PER_MS;
    }
    assert_true(aead_ready(&victim->keys.rx[LEVEL_HANDSHAKE]));
    if (aead_ready(&p.conn[SERVER]->keys.tx[LEVEL_INITIAL]) &&
        aead_ready(&victim->keys.rx[LEVEL_INITIAL])) {
        uint8_t frame[20];
        size_t n = crypto_frame(frame, sizeof(frame), victim->crypto[SPACE_INITIAL].rx.base, 4);
        struct evil e = {.level = LEVEL_INITIAL, .pad = true};
        assert_int_equal(evil_send(p.conn[SERVER], victim, &e, span_of(frame, n), p.now),
                         QUIC_PROTOCOL_VIOLATION);
    } else {
        assert_true(victim->keys.discarded & FRAME_AT(LEVEL_INITIAL));
    }
    pair_free(&p);
}

/* ---- before the handshake is done ---------------------------------------------------- */

/* A server connection whose client has sent no more than its first flight. */
static void half_open(struct pair *p)
{
    static uint8_t flight[65536];
    struct quic_train t = {.buf = flight, .cap = 65507, .max_count = 64};
    pair_init(p);
    pair_connect(p);
    assert_true(quic_send(p->conn[CLIENT], 0, &t, p->now) > 0);
    p->lose[SERVER] = true;
    pair_train(p, CLIENT, &t);
    assert_non_null(p->conn[SERVER]);
}

/* Datagrams full of packets that can't be read, or not yet: CONN_HELD of them are kept. */
static void test_coalesced_garbage(void **state)
{
    (void)state;
    struct pair p;
    half_open(&p);
    struct quic_conn *victim = p.conn[SERVER];
    size_t before = stats_of(&p, SERVER).memory_bytes;
    uint8_t buf[1500];
    uint64_t seed = 5;
    for (int i = 0; i < 5000; i++) {
        size_t n = 0;
        for (int k = 0; k < 24; k++) {
            static const uint8_t first[] = {0xc3, 0xd3, 0xe3, 0xe3};
            struct wire_w w = wire_w_of(buf + n, 60);
            wire_w_u8(&w, first[(i + k) % 4]);
            wire_w_u32(&w, QUIC_V1);
            wire_w_u8(&w, victim->local.initial_scid.len);
            wire_w_bytes(&w, victim->local.initial_scid.b, victim->local.initial_scid.len);
            wire_w_u8(&w, victim->peer_scid.len);
            wire_w_bytes(&w, victim->peer_scid.b, victim->peer_scid.len);
            if ((i + k) % 4 == 0)
                wire_w_u8(&w, 0); /* no token */
            wire_w_varint(&w, 30);
            pair_fill(&seed, w.p, 30);
            n += (size_t)(w.p - (buf + n)) + 30;
        }
        assert_true(n >= QUIC_MIN_DATAGRAM && n <= sizeof(buf));
        struct quic_rx rx = {.route = p.route[SERVER], .p = buf, .n = n};
        assert_int_equal(quic_recv(victim, &rx, 1, p.now), 0);
        assert_true(victim->n_held <= CONN_HELD);
        assert_true(stats_of(&p, SERVER).memory_bytes <= before + CONN_HELD * CONN_HELD_BYTES);
    }
    struct quic_stats stats = stats_of(&p, SERVER);
    assert_true(stats.drop_crypt + stats.drop_keys > 5000 * 20);
    /* Unhurt: the handshake goes on when the client speaks again. */
    p.lose[SERVER] = false;
    pair_run(&p, 5 * NS_PER_S);
    assert_true(quic_is_established(victim));
    assert_int_equal(victim->n_held, 0);
    pair_free(&p);
}

/* Version Negotiation and Retry of somebody who has seen the client's first packet. */
static void test_forged_answers(void **state)
{
    (void)state;
    for (int after = 0; after <= 1; after++) {
        struct pair p;
        pair_init(&p);
        pair_connect(&p);
        struct quic_conn *victim = p.conn[CLIENT];
        pair_flush(&p, CLIENT);
        if (after) /* the server has answered: both come too late */
            pair_flush(&p, SERVER);
        assert_int_equal(victim->got_packet, after);
        uint8_t buf[300];
        struct quic_cid scid = {.len = 8, .b = "attacker"}, odcid = victim->original_dcid;
        if (!after)
            odcid.b[0] ^= 1; /* he has not seen it: a guess */
        struct wire_w w = wire_w_of(buf, sizeof(buf));
        assert_int_equal(
            packet_retry(&w, &victim->local.initial_scid, &scid, &odcid, SPAN_LIT("token"), 0),
            0);
        struct quic_rx rx = {.route = p.route[CLIENT], .p = buf, .n = (size_t)(w.p - buf)};
        assert_int_equal(quic_recv(victim, &rx, 1, p.now), 0);
        assert_false(victim->has_retry);
        w = wire_w_of(buf, sizeof(buf));
        const uint32_t other[] = {0x0a1a2a3a};
        assert_int_equal(packet_version_negotiation(&w, cid_span(&victim->local.initial_scid),
                                                    cid_span(&odcid), other, 1, 0),
                         0);
        rx = (struct quic_rx){.route = p.route[CLIENT], .p = buf, .n = (size_t)(w.p - buf)};
        assert_int_equal(quic_recv(victim, &rx, 1, p.now), 0);
        assert_true(conn_alive(victim));
        pair_run(&p, NS_PER_S);
        assert_true(quic_is_established(victim));
        pair_free(&p);
    }
}

/* A server's Initial has no token; one that has is not for us (RFC 9000 17.2.2). */
static void test_token_of_a_server(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    pair_connect(&p);
    pair_flush(&p, CLIENT);
    struct quic_conn *server = p.conn[SERVER], *victim = p.conn[CLIENT];
    struct evil e = {.level = LEVEL_INITIAL, .pad = true};
    server->token = malloc(4);
    memcpy(server->token, "abcd", 4);
    server->token_len = 4;
    assert_int_equal(evil_send(server, victim, &e, SPAN_LIT("\x08\x00x"), p.now), 0);
    assert_true(conn_alive(victim));
    assert_false(victim->got_packet);
    server->token_len = 0;
    assert_int_equal(evil_send(server, victim, &e, SPAN_LIT("\x08\x00x"), p.now),
                     QUIC_PROTOCOL_VIOLATION);
    pair_free(&p);
}

/* ---- keys (RFC 9001 6) --------------------------------------------------------------- */

/* A packet of the old keys with an ACK for one of the new (6.2). */
static void test_old_keys_ack(void **state)
{
    (void)state;
    struct pair p;
    meet(&p);
    struct quic_conn *victim = p.conn[SERVER];
    assert_int_equal(quic_key_update(victim), 0);
    uint64_t pn = sent_next(&victim->path[0].recovery.space[SPACE_APP].sent);
    quic_ping(victim, 0);
    assert_true(swallow(&p, SERVER) > 0);
    uint8_t frame[40];
    size_t n = ack_frame(frame, sizeof(frame), pn, pn);
    assert_int_equal(say(&p, SERVER, frame, n), QUIC_KEY_UPDATE_ERROR);
    pair_free(&p);
}

/* Old keys with a number above the first of the new ones: such a packet is not opened (6.4). */
static void test_old_keys_again(void **state)
{
    (void)state;
    struct pair p;
    meet(&p);
    struct quic_conn *victim = p.conn[SERVER];
    struct aead next;
    assert_int_equal(aead_next(&next, &p.conn[CLIENT]->keys.tx[LEVEL_APP]), 0);
    struct evil e = {.level = LEVEL_APP, .flip_phase = true, .key = &next, .deaf = true};
    assert_int_equal(evil_send(p.conn[CLIENT], victim, &e, SPAN_LIT("\x01"), p.now), 0);
    assert_int_equal(stats_of(&p, SERVER).key_updates, 1);
    uint64_t dropped = stats_of(&p, SERVER).drop_crypt;
    assert_int_equal(say(&p, SERVER, "\x01", 1), 0);
    assert_int_equal(stats_of(&p, SERVER).drop_crypt, dropped + 1);
    assert_int_equal(stats_of(&p, SERVER).key_updates, 1);
    aead_free(&next);
    pair_free(&p);
}

/* Forged packets until the cipher has been tried too often (6.6). */
static void test_integrity_limit(void **state)
{
    (void)state;
    struct pair p;
    meet(&p);
    struct quic_conn *victim = p.conn[SERVER];
    victim->keys.failed = aead_open_limit(victim->keys.rx[LEVEL_APP].id) - 3;
    for (int i = 0; i < 3; i++) {
        uint8_t buf[60] = {0x40};
        memcpy(buf + 1, victim->local.initial_scid.b, victim->local.initial_scid.len);
        struct quic_rx rx = {.route = p.route[SERVER], .p = buf, .n = sizeof(buf)};
        assert_int_equal(quic_recv(victim, &rx, 1, p.now), i < 2 ? 0 : QUIC_AEAD_LIMIT_REACHED);
    }
    assert_int_equal(close_code(&p, SERVER), QUIC_AEAD_LIMIT_REACHED);
    pair_free(&p);
}

/* ---- connection IDs and paths -------------------------------------------------------- */

/*
 * Retire Prior To goes on while the victim may send nothing, since its window is full and
 * nothing is acknowledged: the list of retirements stays what it is.
 */
static void test_retire_while_blocked(void **state)
{
    (void)state;
    static uint8_t data[1 << 20];
    struct pair p;
    meet(&p);
    struct quic_conn *victim = p.conn[SERVER];
    uint64_t id;
    size_t taken;
    assert_int_equal(quic_stream_open(victim, true, &id), 0);
    quic_stream_write(victim, id, span_of(data, sizeof(data)), &taken);
    for (int i = 0; i < 1000; i++) {
        swallow(&p, SERVER);
        p.now += NS_PER_MS;
    }
    assert_true(recovery_room(&victim->path[0].recovery) < 1200);
    int err = 0, n = 0;
    for (uint8_t seq = 4; !err && seq < 63; seq++, n++) {
        uint8_t frame[28] = {
            FRAME_NEW_CONNECTION_ID, seq, seq, 8, 1, 2, 3, 4, 5, 6, 7, seq, seq};
        err = say(&p, SERVER, frame, sizeof(frame));
        swallow(&p, SERVER);
        unsigned used = 0;
        for (int k = 0; k < CID_RETIRE_MAX; k++)
            used += victim->path[0].theirs.retire[k].used;
        assert_true(used <= CID_RETIRE_MAX);
    }
    assert_int_equal(err, QUIC_CONNECTION_ID_LIMIT_ERROR);
    assert_true(n <= CID_RETIRE_MAX + 1);
    pair_free(&p);
}

/*
 * PATH_RESPONSE does not wait for the window, so a peer who never acknowledges may go on asking
 * for it: it gets one datagram of 1200 bytes for each of its own, and nothing of a stream in it.
 */
static void test_challenge_pull(void **state)
{
    (void)state;
    static uint8_t data[1 << 20];
    struct pair p;
    meet(&p);
    struct quic_conn *victim = p.conn[SERVER];
    struct recovery *r = &victim->path[0].recovery;
    uint64_t id;
    size_t taken, before, n;
    assert_int_equal(quic_stream_open(victim, true, &id), 0);
    quic_stream_write(victim, id, span_of(data, sizeof(data)), &taken);
    for (int i = 0; i < 100; i++) {
        swallow(&p, SERVER);
        p.now += NS_PER_MS;
    }
    assert_true(recovery_room(r) < 1200);
    swallow(&p, SERVER);
    before = r->bytes_in_flight;
    uint64_t sent = streams_find(&victim->streams, id)->out.next;
    for (n = 0; n < 500; n++) {
        uint8_t frame[9] = {FRAME_PATH_CHALLENGE, (uint8_t)n};
        assert_int_equal(say(&p, SERVER, frame, sizeof(frame)), 0);
        assert_true(swallow(&p, SERVER) <= 1);
        assert_int_equal(path_current(&victim->path[0])->n_responses, 0); /* it was answered */
    }
    assert_int_equal(streams_find(&victim->streams, id)->out.next, sent);
    assert_true(r->bytes_in_flight - before <= n * 1200);
    assert_true(sent > 5000 && sent < sizeof(data));
    pair_free(&p);
}

/*
 * Initials that only ask for an ACK, while what the server said is never acknowledged: the record
 * of its packets is bounded, it keeps room for repeating itself, and does not spin.
 */
static void test_initial_pings(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    pair_connect(&p);
    pair_flush(&p, CLIENT); /* makes the server */
    swallow(&p, SERVER);
    struct quic_conn *server = p.conn[SERVER];
    struct recovery *r = &server->path[0].recovery;
    struct evil e = {.level = LEVEL_INITIAL, .deaf = true, .pad = true};
    uint64_t before = sent_next(&r->space[SPACE_INITIAL].sent);
    for (int i = 0; i < 3 * (int)SENT_MAX_HANDSHAKE; i++) {
        evil_send(p.conn[CLIENT], server, &e, SPAN_LIT("\x01"), p.now);
        swallow(&p, SERVER);
        assert_true(quic_deadline(server) > p.now);
    }
    assert_true(sent_next(&r->space[SPACE_INITIAL].sent) - before > SENT_MAX_HANDSHAKE / 2);
    assert_true(recovery_memory(r) < 1 << 18);
    /* Its timeout still brings its flight. */
    p.now = quic_deadline(server);
    quic_tick(server, p.now);
    assert_true(swallow(&p, SERVER) > 0);
    assert_true(recovery_memory(r) < 1 << 18);
    pair_run(&p, 5 * NS_PER_S);
    assert_true(quic_is_established(server));
    pair_free(&p);
}

/* Nothing that is sent is acknowledged: the rings of a busy path, and a little. */
#define UNACKNOWLEDGED \
    (SENT_KEPT * (sizeof(struct sent_packet) + sizeof(struct sent_record)) + 65536)

/* The same the other way: our IDs are retired as fast as they come, for nothing. */
static void test_retire_churn(void **state)
{
    (void)state;
    struct pair p;
    meet(&p);
    struct quic_conn *victim = p.conn[SERVER];
    size_t before = stats_of(&p, SERVER).memory_bytes;
    for (unsigned i = 1; i < 1000 && conn_alive(victim); i++) {
        uint8_t frame[9] = {FRAME_RETIRE_CONNECTION_ID, (uint8_t)(0x40 | i >> 8), (uint8_t)i};
        struct cid_event ev;
        if (say(&p, SERVER, frame, 3) != 0)
            break;
        while (conn_cid_event(victim, &ev))
            ;
        swallow(&p, SERVER);
        assert_true(cid_local_check(&victim->path[0].ours));
        assert_true(cid_local_active(&victim->path[0].ours) <= CID_LOCAL_MAX);
        assert_true(stats_of(&p, SERVER).memory_bytes < before + UNACKNOWLEDGED);
    }
    pair_free(&p);
}

/* Authentic packets from ever new addresses: three routes, three times what came from each. */
static void test_address_churn(void **state)
{
    (void)state;
    struct pair p;
    meet(&p);
    struct quic_conn *attacker = p.conn[CLIENT], *victim = p.conn[SERVER];
    size_t before = stats_of(&p, SERVER).memory_bytes;
    uint8_t buf[200], out[65536];
    uint64_t got = 0, sent = 0;
    for (unsigned i = 0; i < 2000; i++) {
        struct evil e = {.level = LEVEL_APP, .deaf = true};
        struct quic_rx rx = {.route = p.route[SERVER], .p = buf};
        rx.route.remote.ip[3] = (uint8_t)(10 + i % 200);
        rx.route.remote.port = (uint16_t)(2000 + i);
        rx.n = evil_packet(attacker, &e, SPAN_LIT("\x01"), buf, sizeof(buf));
        got += rx.n;
        assert_int_equal(quic_recv(victim, &rx, 1, p.now), 0);
        struct quic_train t = {.buf = out, .cap = 65507, .max_count = 64};
        while (quic_send(victim, 0, &t, p.now) > 0) {
            if (!quic_addr_eq(&t.route.remote, &p.route[SERVER].remote))
                sent += t.len;
            quic_train_reset(&t);
        }
        for (int k = 0; k < PATH_ROUTES; k++) {
            const struct path_route *r = &victim->path[0].route[k];
            assert_true(!r->used || r->validated || r->sent <= 3 * r->received);
        }
        p.now += NS_PER_MS;
        quic_tick(victim, p.now);
        if (!conn_alive(victim))
            break;
    }
    assert_true(sent <= PATH_AMPLIFICATION * got);
    assert_true(stats_of(&p, SERVER).memory_bytes < before + UNACKNOWLEDGED);
    pair_free(&p);
}

/* ---- streams ------------------------------------------------------------------------- */

/* Opened, reset and stopped at once: more come only when the user has seen the last ones. */
static void test_rapid_reset(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    p.cfg[SERVER].streams_bidi = 10;
    pair_connect(&p);
    pair_run(&p, NS_PER_S);
    struct quic_conn *victim = p.conn[SERVER];
    int err = 0;
    uint64_t n = 0;
    for (; !err; n++) {
        uint8_t frame[40];
        struct wire_w w = wire_w_of(frame, sizeof(frame));
        wire_w_u8(&w, FRAME_RESET_STREAM);
        wire_w_varint(&w, 4 * n);
        wire_w_varint(&w, 0);
        wire_w_varint(&w, 0);
        wire_w_u8(&w, FRAME_STOP_SENDING);
        wire_w_varint(&w, 4 * n);
        wire_w_varint(&w, 0);
        err = say(&p, SERVER, frame, (size_t)(w.p - frame));
        swallow(&p, SERVER);
        assert_true(victim->streams.count <= 10);
    }
    assert_int_equal(err, QUIC_STREAM_LIMIT_ERROR);
    assert_int_equal(n, 11);
    pair_free(&p);
}

/* The highest stream alone: the lower ones are open, too, and cost nothing (21.8). */
static void test_stream_commitment(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    p.cfg[SERVER].streams_bidi = 1 << 20;
    pair_connect(&p);
    pair_run(&p, NS_PER_S);
    struct quic_conn *victim = p.conn[SERVER];
    size_t before = stats_of(&p, SERVER).memory_bytes;
    uint8_t frame[20];
    struct wire_w w = wire_w_of(frame, sizeof(frame));
    wire_w_u8(&w, FRAME_STREAM | 0x02);
    wire_w_varint(&w, 4 * ((1ull << 20) - 1));
    wire_w_varint(&w, 1);
    wire_w_u8(&w, 'x');
    assert_int_equal(say(&p, SERVER, frame, (size_t)(w.p - frame)), 0);
    assert_int_equal(victim->streams.count, 1);
    assert_true(stats_of(&p, SERVER).memory_bytes < before + 4096);
    pair_free(&p);
}

/* ---- nothing, very often ------------------------------------------------------------- */

/* Datagrams, DATAGRAM and STREAM frames without a byte in them. */
static void test_empty(void **state)
{
    (void)state;
    struct pair p;
    meet(&p);
    struct quic_conn *victim = p.conn[SERVER];
    struct quic_rx none[64];
    uint8_t byte = 0;
    for (int i = 0; i < 64; i++)
        none[i] = (struct quic_rx){.route = p.route[SERVER], .p = &byte, .n = 0};
    for (int i = 0; i < 100; i++)
        assert_int_equal(quic_recv(victim, none, 64, p.now), 0);
    assert_int_equal(swallow(&p, SERVER), 0);
    static uint8_t frames[1200];
    memset(frames, 0, sizeof(frames));
    for (size_t i = 0; i < sizeof(frames); i += 2)
        frames[i] = 0x31;
    size_t before = stats_of(&p, SERVER).memory_bytes;
    struct quic_dgram_rx d[QUIC_DGRAM_RX_MAX + 1];
    assert_int_equal(say(&p, SERVER, frames, sizeof(frames)), 0);
    assert_int_equal(quic_dgram_recv(victim, d, QUIC_DGRAM_RX_MAX + 1), QUIC_DGRAM_RX_MAX);
    assert_true(stats_of(&p, SERVER).drop_dgram >= 600 - QUIC_DGRAM_RX_MAX);
    for (size_t i = 0; i < sizeof(frames) / 3 * 3; i += 3)
        memcpy(frames + i, "\x0a\x00", 3);
    assert_int_equal(say(&p, SERVER, frames, sizeof(frames) / 3 * 3), 0);
    assert_int_equal(victim->streams.count, 1);
    assert_true(stats_of(&p, SERVER).memory_bytes <= before + 16384);
    pair_free(&p);
}

/* Two endpoints that both have forgotten, and each answers the other's reset (21.11). */
static void test_reset_loop(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    struct quic_endpoint *ep[2];
    uint8_t buf[2][1500];
    for (int i = 0; i < 2; i++) {
        struct quic_endpoint_config cfg = {.conn = p.cfg[SERVER], .accept = true};
        memset(cfg.conn.reset_key, i + 1, sizeof(cfg.conn.reset_key));
        ep[i] = quic_endpoint_new(&cfg);
    }
    memset(buf[0], 0x55, sizeof(buf[0]));
    size_t n = 1200;
    int hops = 0;
    for (bool on = true; on; hops++) {
        int to = hops & 1;
        struct quic_rx rx = {.route = p.route[SERVER], .p = buf[to], .n = n};
        struct quic_train answer = {.buf = buf[1 - to], .cap = 1500, .max_count = 1};
        struct quic_conn *conn;
        on = quic_endpoint_route(ep[to], &rx, p.now, &conn, &answer) == QUIC_ROUTE_ANSWER;
        assert_true(!on || answer.len < n);
        n = answer.len;
    }
    assert_true(hops > 1 && hops <= 24);
    quic_endpoint_del(ep[0]);
    quic_endpoint_del(ep[1]);
    pair_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_optimistic_ack),
        cmocka_unit_test(test_ack_ranges),
        cmocka_unit_test(test_crypto_gaps),
        cmocka_unit_test(test_crypto_endless),
        cmocka_unit_test(test_crypto_of_the_past),
        cmocka_unit_test(test_coalesced_garbage),
        cmocka_unit_test(test_forged_answers),
        cmocka_unit_test(test_token_of_a_server),
        cmocka_unit_test(test_old_keys_ack),
        cmocka_unit_test(test_old_keys_again),
        cmocka_unit_test(test_integrity_limit),
        cmocka_unit_test(test_retire_while_blocked),
        cmocka_unit_test(test_challenge_pull),
        cmocka_unit_test(test_initial_pings),
        cmocka_unit_test(test_retire_churn),
        cmocka_unit_test(test_address_churn),
        cmocka_unit_test(test_rapid_reset),
        cmocka_unit_test(test_stream_commitment),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_reset_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
