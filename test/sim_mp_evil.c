/*
 * A hostile peer with multipath: what RFC 10069 forbids closes the connection with the code it
 * names, what is merely late or useless is ignored, and nothing that a peer repeats for ever
 * makes us hold more.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mp/ext.h"
#include "test/sim/evil.h"
#include "test/sim/lanes.h"

enum { SHRUG = -1 }; /* no error: the connection stays open */

struct evil_case {
    const char *name;
    enum quic_level level;
    int code;
    const char *frames;
    size_t n;
};

#define F(s) s, sizeof(s) - 1
#define CID8                                                                                   \
    "\x08"                                                                                     \
    "12345678"
#define TOKEN "0123456789abcdef"
#define TOP   "\xff\xff\xff\xff\xff\xff\xff\xff" /* 2^62 - 1 */

/* Two paths are open, 0 and 1; path IDs up to 8 are allowed; path 2 has one ID of each end. */
// clang-format off
static const struct evil_case cases[] = {
    /* path IDs beyond the limit (4) */
    {"PATH_ACK", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x3e\x09\x00\x00\x00\x00")},
    {"PATH_ACK with ECN", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x3f\x09\x00\x00\x00\x00\x00\x00\x00")},
    {"PATH_ABANDON", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x7e\x75\x09\x00")},
    {"PATH_STATUS_BACKUP", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x7e\x76\x09\x00")},
    {"PATH_STATUS_AVAILABLE", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x7e\x77\x09\x00")},
    {"PATH_NEW_CONNECTION_ID", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x7e\x78\x09\x00\x00" CID8 TOKEN)},
    {"PATH_RETIRE_CONNECTION_ID", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x7e\x79\x09\x00")},
    {"PATHS_BLOCKED", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x7e\x7b\x09")},
    {"PATH_CIDS_BLOCKED", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x7e\x7c\x09\x00")},
    {"far beyond", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x7e\x75" TOP "\x00")},

    /* where they don't belong (4) */
    {"PATH_ACK in Initial", LEVEL_INITIAL, QUIC_PROTOCOL_VIOLATION, F("\x3e\x00\x00\x00\x00\x00")},
    {"PATH_ABANDON in Initial", LEVEL_INITIAL, QUIC_PROTOCOL_VIOLATION, F("\x7e\x75\x00\x00")},
    {"MAX_PATH_ID in Initial", LEVEL_INITIAL, QUIC_PROTOCOL_VIOLATION, F("\x7e\x7a\x10")},

    /* MAX_PATH_ID (4.6), PATHS_BLOCKED, PATH_CIDS_BLOCKED (4.7) */
    {"MAX_PATH_ID above 2^32-1", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x7e\x7a\xc0\x00\x00\x01\x00\x00\x00\x00")},
    {"MAX_PATH_ID of 2^32-1", LEVEL_APP, SHRUG, F("\x7e\x7a\xc0\x00\x00\x00\xff\xff\xff\xff")},
    {"MAX_PATH_ID below the initial value", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x7e\x7a\x07")},
    {"MAX_PATH_ID that raises nothing", LEVEL_APP, SHRUG, F("\x7e\x7a\x08\x7e\x7a\x0a\x7e\x7a\x09")},
    {"PATHS_BLOCKED below the limit", LEVEL_APP, SHRUG, F("\x7e\x7b\x00\x7e\x7b\x08")},
    {"PATH_CIDS_BLOCKED past what comes next", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x7e\x7c\x02\x02")},
    {"PATH_CIDS_BLOCKED", LEVEL_APP, SHRUG, F("\x7e\x7c\x02\x01\x7e\x7c\x02\x00")},

    /* connection IDs (3.2, 4.4, 4.5) */
    {"ID of length 0", LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x7e\x78\x02\x01\x00\x00" TOKEN)},
    {"ID of length 21", LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x7e\x78\x02\x01\x00\x15" "123456789012345678901" TOKEN)},
    {"Retire Prior To above the number", LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x7e\x78\x02\x01\x02" CID8 TOKEN)},
    {"two IDs of one number", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x7e\x78\x02\x00\x00" CID8 TOKEN)},
    {"one ID of two numbers", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x7e\x78\x02\x01\x00" CID8 TOKEN "\x7e\x78\x02\x02\x00" CID8 TOKEN)},
    {"one ID on two paths", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x7e\x78\x02\x01\x00" CID8 TOKEN "\x7e\x78\x03\x01\x00" CID8 TOKEN)},
    {"one ID and two tokens", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x7e\x78\x02\x01\x00" CID8 TOKEN "\x7e\x78\x02\x01\x00" CID8 "0123456789abcdeg")},
    {"an ID twice", LEVEL_APP, SHRUG, F("\x7e\x78\x02\x01\x00" CID8 TOKEN "\x7e\x78\x02\x01\x00" CID8 TOKEN)},
    {"more IDs than allowed", LEVEL_APP, QUIC_CONNECTION_ID_LIMIT_ERROR, F("\x7e\x78\x02\x01\x00\x01" "1" TOKEN "\x7e\x78\x02\x02\x00\x01" "2" TOKEN "\x7e\x78\x02\x03\x00\x01" "3" TOKEN "\x7e\x78\x02\x04\x00\x01" "4" TOKEN)},
    {"an ID replaced", LEVEL_APP, SHRUG, F("\x7e\x78\x02\x01\x01" CID8 TOKEN)},
    {"retiring what was never issued", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x7e\x79\x02\x01")},
    {"retiring what was never issued, on path 0", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x7e\x79\x00\x20")},
    {"retiring the packet's own ID", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x7e\x79\x00\x00")},
    {"the same by the plain frame", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x19\x00")},
    {"retiring one of a path that is ahead", LEVEL_APP, SHRUG, F("\x7e\x79\x02\x00\x7e\x79\x02\x00")},

    /* acknowledgements (2.3, 4.1) */
    {"PATH_ACK of what was never sent", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x3e\x01\x80\x0f\xff\xff\x00\x00\x00")},
    {"PATH_ACK for a path that is ahead", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x3e\x02\x00\x00\x00\x00")},
    {"PATH_ACK below zero", LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x3e\x01\x00\x00\x00\x05")},
    {"PATH_ACK cut off", LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x3e\x01\x00\x00")},
    {"PATH_ACK of what was sent", LEVEL_APP, SHRUG, F("\x3e\x01\x00\x00\x00\x00")},
    {"ACK of what was sent", LEVEL_APP, SHRUG, F("\x02\x00\x00\x00\x00")},

    /* encoding */
    {"PATH_ABANDON cut off", LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x7e\x75\x01")},
    {"PATH_STATUS cut off", LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x7e\x76\x01")},
    {"PATH_NEW_CONNECTION_ID cut off", LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x7e\x78\x02\x01\x00" CID8 "01234")},
    {"PATH_RETIRE_CONNECTION_ID cut off", LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x7e\x79\x01")},
    {"MAX_PATH_ID cut off", LEVEL_APP, QUIC_FRAME_ENCODING_ERROR, F("\x7e\x7a")},
    {"a type not in its shortest form", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x40\x3e\x01\x00\x00\x00\x00")},
    {"PATH_ABANDON not in its shortest form", LEVEL_APP, QUIC_PROTOCOL_VIOLATION, F("\x80\x00\x3e\x75\x02\x00")},

    /* status (4.3) */
    {"status of a path that is ahead", LEVEL_APP, SHRUG, F("\x7e\x76\x05\x00\x7e\x77\x05\x05\x7e\x76\x05\x03")},

    /* abandoning (3.4) */
    {"a path that is ahead", LEVEL_APP, SHRUG, F("\x7e\x75\x05\x00\x7e\x75\x05\x00")},
    {"all but the one at hand, with unknown codes", LEVEL_APP, SHRUG, F("\x7e\x75\x01" TOP "\x7e\x75\x02\x3e\x7e\x75\x03\x00\x7e\x75\x04\x00\x7e\x75\x05\x00\x7e\x75\x06\x00\x7e\x75\x07\x00\x7e\x75\x08\x00")},
    {"the path at hand", LEVEL_APP, SHRUG, F("\x7e\x75\x00\x00\x01")},
    {"all of them", LEVEL_APP, QUIC_NO_ERROR, F("\x7e\x75\x00\x00\x7e\x75\x01\x00")},
};
// clang-format on

/* Two lanes, open; `early`: the server has a connection, the client has heard nothing. */
static void stage(struct lanes *l, bool early)
{
    lanes_init(l, 1, 2);
    if (early)
        l->lane[0].cut[DOWN] = true;
    lanes_start(l);
    lanes_run(l, early ? 0.05 : 1);
    assert_int_equal(l->w.server->n_conns, 1);
    l->conn[1] = l->w.server->conn[0];
    assert_true(early || (l->valid[0] == 1 && l->valid[1] == 1));
}

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct evil_case *k = &cases[i];
        struct lanes l;
        stage(&l, k->level != LEVEL_APP);
        struct evil e = {.level = k->level, .pad = k->level == LEVEL_INITIAL};
        evil_send(l.conn[0], l.conn[1], &e, span_of(k->frames, k->n), l.w.sim.now);
        struct quic_close_info info;
        quic_close_info(l.conn[1], &info);
        bool open = conn_alive(l.conn[1]);
        if (open != (k->code == SHRUG) || (!open && info.code != (uint64_t)k->code))
            fail_msg("%s: %s code %#llx %s", k->name, open ? "open" : "closed",
                     (unsigned long long)info.code, info.text);
        /* Life goes on, as far as it may. */
        lanes_run(&l, 0.3);
        assert_false(l.w.sim.livelock);
        lanes_free(&l);
    }
}

/* Both frames that multipath replaces are about path 0, and none of the others. */
static void test_plain_frames(void **state)
{
    (void)state;
    struct lanes l;
    stage(&l, false);
    struct quic_conn *server = l.conn[1];
    struct evil e = {.level = LEVEL_APP};
    uint64_t next = server->path[0].theirs.seen_below;
    uint8_t frame[64] = {
        FRAME_NEW_CONNECTION_ID, (uint8_t)next, (uint8_t)next, 8, 'n', 'e', 'w'};
    evil_send(l.conn[0], server, &e, span_of(frame, 28), l.w.sim.now);
    assert_true(conn_alive(server));
    assert_non_null(cid_remote_get(&server->path[0].theirs, next));
    assert_null(cid_remote_get(&server->path[1].theirs, next));
    lanes_free(&l);
}

/* A peer whose Initial had no connection ID can't have several paths. */
static void test_zero_length(void **state)
{
    (void)state;
    struct lanes l;
    uint8_t blob[16];
    struct wire_w w = wire_w_of(blob, sizeof(blob));
    bool on;
    stage(&l, false);
    struct quic_conn *c = l.conn[1];
    void *fresh = mp_ext.open(c);
    assert_non_null(fresh);
    c->peer_scid.len = 0;
    assert_int_equal(mp_ext.on_peer_tparams(fresh, span_of(blob, 0), &on), 0);
    assert_false(on);
    mp_tparam_encode(&w, 8);
    assert_int_equal(mp_ext.on_peer_tparams(fresh, span_of(blob, (size_t)(w.p - blob)), &on),
                     QUIC_PROTOCOL_VIOLATION);
    assert_false(on);
    w = wire_w_of(blob, sizeof(blob));
    mp_tparam_encode(&w, (uint64_t)1 << 32);
    assert_int_equal(mp_ext.on_peer_tparams(fresh, span_of(blob, (size_t)(w.p - blob)), &on),
                     QUIC_TRANSPORT_PARAMETER_ERROR);
    mp_ext.close(fresh);
    lanes_free(&l);
}

/* What was not negotiated is unknown. */
static void test_not_negotiated(void **state)
{
    (void)state;
    static const char *const frames[] = {"\x3e\x01\x01\x01\x01\x01", "\x7e\x75\x01\x01",
                                         "\x7e\x7a\x10"};
    for (size_t i = 0; i < ARRAY_LEN(frames); i++) {
        struct lanes l;
        lanes_init(&l, 1, 2);
        l.w.client_cfg.conn.ext = NULL;
        lanes_start(&l);
        lanes_run(&l, 1);
        struct evil e = {.level = LEVEL_APP};
        evil_send(l.conn[0], l.conn[1], &e, span_of(frames[i], strlen(frames[i])), l.w.sim.now);
        assert_false(conn_alive(l.conn[1]));
        assert_int_equal(l.conn[1]->close.code, QUIC_FRAME_ENCODING_ERROR);
        lanes_free(&l);
    }
}

static size_t memory(const struct quic_conn *c)
{
    struct quic_stats s;
    quic_stats(c, &s);
    return s.memory_bytes;
}

/*
 * The peer abandons every path that it is allowed as fast as it is allowed to: the limit grows
 * slowly, and neither memory nor the table of connection IDs does.
 */
static void test_churn(void **state)
{
    (void)state;
    struct lanes l;
    stage(&l, false);
    struct quic_conn *server = l.conn[1];
    size_t before = memory(server), most = 0;
    struct mp_stats s;
    for (int i = 0; i < 1000; i++) {
        mp_stats(server, &s);
        struct evil e = {.level = LEVEL_APP};
        for (uint64_t id = 2; id <= s.local_max && id <= s.peer_max; id++) {
            uint8_t frame[16];
            struct wire_w w = wire_w_of(frame, sizeof(frame));
            wire_w_varint(&w, MP_PATH_ABANDON);
            wire_w_varint(&w, id);
            wire_w_varint(&w, 0);
            size_t at;
            if (mp_find(server->ext, id, &at))
                evil_send(l.conn[0], server, &e, span_of(frame, (size_t)(w.p - frame)),
                          l.w.sim.now);
        }
        assert_true(conn_alive(server));
        lanes_run(&l, 0.01);
        most = memory(server) > most ? memory(server) : most;
    }
    mp_stats(server, &s);
    assert_true(s.over > 20);
    assert_true(s.local_max <= 8 + 10 * NS_PER_S / MP_RAISE_EVERY);
    assert_true(s.local_max >= 8 + 20);
    assert_true(server->n_paths <= 9);
    assert_true(most < before + 32768);
    assert_true(lanes_check(&l));
    lanes_free(&l);
}

/* Connection IDs for all paths that are retired at once, again and again, unacknowledged. */
static void test_cid_flood(void **state)
{
    (void)state;
    struct lanes l;
    stage(&l, false);
    struct quic_conn *server = l.conn[1];
    struct evil e = {.level = LEVEL_APP};
    size_t before = memory(server);
    unsigned sent = 0;
    for (uint8_t seq = 4; conn_alive(server) && seq < 60; seq++)
        for (uint8_t id = 0; conn_alive(server) && id <= 8; id++, sent++) {
            uint8_t frame[64] = {0x7e, 0x78, id, seq, seq, 8, 1, 2, 3, 4, 5, 6, id, seq};
            evil_send(l.conn[0], server, &e, span_of(frame, 30), l.w.sim.now);
        }
    struct quic_close_info info;
    quic_close_info(server, &info);
    assert_false(conn_alive(server));
    assert_int_equal(info.code, QUIC_CONNECTION_ID_LIMIT_ERROR);
    assert_true(sent <= 9 * (CID_RETIRE_MAX + 2));
    assert_true(memory(server) < before + 65536);
    lanes_free(&l);
}

/* All paths are opened at once from made-up addresses: three times what came, and no more. */
static void test_open_all(void **state)
{
    (void)state;
    struct lanes l;
    static uint8_t buf[65536];
    stage(&l, false);
    struct quic_conn *client = l.conn[0], *server = l.conn[1];
    size_t before = memory(server);
    uint64_t sent[9] = {0};
    for (size_t i = 0; i < client->n_paths; i++) {
        struct quic_path *p = &client->path[i];
        if (p->phase != PATH_AHEAD)
            continue;
        struct quic_cid dcid = p->theirs.peer[0].cid;
        struct evil e = {.level = LEVEL_APP, .path = i, .dcid = &dcid};
        struct quic_rx rx = {.p = buf};
        rx.route.local = l.w.server_addr;
        rx.route.remote = sim_addr((uint8_t)(200 + i), 9999);
        rx.n = sent[i] = evil_packet(client, &e, SPAN_LIT("\x01\x01"), buf, sizeof(buf));
        assert_int_equal(quic_recv(server, &rx, 1, l.w.sim.now), 0);
    }
    for (int k = 0; k < 2000; k++) {
        for (size_t i = 0; i < quic_path_count(server); i++) {
            struct quic_train t = {.buf = buf, .cap = sizeof(buf), .max_count = 64};
            quic_send(server, i, &t, l.w.sim.now);
        }
        l.w.sim.now += 5 * NS_PER_MS;
        quic_tick(server, l.w.sim.now);
    }
    unsigned opened = 0;
    for (size_t i = 0; i < server->n_paths; i++) {
        const struct quic_path *p = &server->path[i];
        if (p->id < 2 || !p->route[0].used)
            continue;
        opened++;
        assert_true(p->route[0].sent <= PATH_AMPLIFICATION * p->route[0].received);
    }
    assert_int_equal(opened, 7);
    /* None answered: all were abandoned, and the connection goes on. */
    for (size_t i = 0; i < server->n_paths; i++)
        assert_true(server->path[i].id < 2 || !server->path[i].used);
    assert_true(conn_alive(server));
    assert_true(memory(server) < before + 65536);
    lanes_free(&l);
}

/* Frames of random bytes after every type of ours: whatever comes of it, nothing breaks. */
static void random_frames(uint64_t seed)
{
    struct lanes l;
    stage(&l, false);
    struct quic_conn *server = l.conn[1];
    struct sim_rng rng;
    sim_rng_seed(&rng, seed);
    for (int k = 0; k < 200 && conn_alive(server); k++) {
        uint8_t frame[96];
        struct wire_w w = wire_w_of(frame, sizeof(frame));
        static const uint16_t type[] = {0x3e,   0x3f,   0x3e75, 0x3e76, 0x3e77,
                                        0x3e78, 0x3e79, 0x3e7a, 0x3e7b, 0x3e7c};
        wire_w_varint(&w, type[sim_rng_below(&rng, ARRAY_LEN(type))]);
        wire_w_varint(&w, sim_rng_below(&rng, 10));
        wire_w_varint(&w, sim_rng_below(&rng, 4));
        wire_w_varint(&w, sim_rng_below(&rng, 3));
        wire_w_u8(&w, 8);
        for (int b = 0; b < 24; b++)
            wire_w_u8(&w, (uint8_t)sim_rng_below(&rng, b < 7 ? 3 : 256));
        size_t n = 3 + sim_rng_below(&rng, (uint64_t)(w.p - frame) - 2);
        struct evil e = {.level = LEVEL_APP, .deaf = true};
        evil_send(l.conn[0], server, &e, span_of(frame, n), l.w.sim.now);
        lanes_run(&l, 0.002);
        WORLD_CHECK(&l.w, lanes_check_conns(&l));
    }
    lanes_free(&l);
}

static void test_random(void **state)
{
    (void)state;
    world_each_seed(40, random_frames);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),       cmocka_unit_test(test_plain_frames),
        cmocka_unit_test(test_zero_length), cmocka_unit_test(test_not_negotiated),
        cmocka_unit_test(test_churn),       cmocka_unit_test(test_cid_flood),
        cmocka_unit_test(test_open_all),    cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
