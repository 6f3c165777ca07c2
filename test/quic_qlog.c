#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "test/quic_pair.h"
#include "test/quic_rand.h"
#include "test/quic_trace.h"

/* ---- frames -------------------------------------------------------------------------- */

struct row {
    const char *wire; /* hexadecimal */
    const char *out;  /* the array */
};

/* clang-format off */
static const struct row frames[] = {
    {"00", "[{\"frame_type\":\"padding\",\"length\":1,\"raw\":{\"payload_length\":1}}]"},
    {"0101", "[{\"frame_type\":\"ping\"},{\"frame_type\":\"ping\"}]"},
    {"0209010000", "[{\"frame_type\":\"ack\",\"ack_delay\":0.008000,\"acked_ranges\":[[9]]}]"},
    {"02090101020103", "[{\"frame_type\":\"ack\",\"ack_delay\":0.008000,"
        "\"acked_ranges\":[[7,9],[1,4]]}]"},
    {"030900000901020a", "[{\"frame_type\":\"ack\",\"ack_delay\":0.000000,\"acked_ranges\":[[0,9]],"
        "\"ect0\":1,\"ect1\":2,\"ce\":10}]"},
    {"04040506", "[{\"frame_type\":\"reset_stream\",\"stream_id\":4,\"error_code\":5,\"final_size\":6}]"},
    {"050405", "[{\"frame_type\":\"stop_sending\",\"stream_id\":4,\"error_code\":5}]"},
    {"060703616263", "[{\"frame_type\":\"crypto\",\"offset\":7,\"length\":3,"
        "\"raw\":{\"payload_length\":3}}]"},
    {"0703616263", "[{\"frame_type\":\"new_token\",\"length\":3,\"raw\":{\"payload_length\":3}}]"},
    {"0f040903616263", "[{\"frame_type\":\"stream\",\"stream_id\":4,\"offset\":9,\"length\":3,"
        "\"raw\":{\"payload_length\":3},\"fin\":true}]"},
    {"1005", "[{\"frame_type\":\"max_data\",\"maximum\":5}]"},
    {"110405", "[{\"frame_type\":\"max_stream_data\",\"stream_id\":4,\"maximum\":5}]"},
    {"1205", "[{\"frame_type\":\"max_streams\",\"stream_type\":\"bidirectional\",\"maximum\":5}]"},
    {"1305", "[{\"frame_type\":\"max_streams\",\"stream_type\":\"unidirectional\",\"maximum\":5}]"},
    {"1405", "[{\"frame_type\":\"data_blocked\",\"limit\":5}]"},
    {"150405", "[{\"frame_type\":\"stream_data_blocked\",\"stream_id\":4,\"limit\":5}]"},
    {"1705", "[{\"frame_type\":\"streams_blocked\",\"stream_type\":\"unidirectional\",\"limit\":5}]"},
    {"18020104aabbccdd00112233445566778899aabbccddeeff",
        "[{\"frame_type\":\"new_connection_id\",\"sequence_number\":2,\"retire_prior_to\":1,"
        "\"connection_id_length\":4,\"connection_id\":\"aabbccdd\"}]"},
    {"1905", "[{\"frame_type\":\"retire_connection_id\",\"sequence_number\":5}]"},
    {"1a0011223344556677", "[{\"frame_type\":\"path_challenge\",\"data\":\"0011223344556677\"}]"},
    {"1b0011223344556677", "[{\"frame_type\":\"path_response\",\"data\":\"0011223344556677\"}]"},
    {"1c0a060561220a1eff", "[{\"frame_type\":\"connection_close\",\"error_space\":\"transport\","
        "\"error_code\":10,\"raw_error_code\":10,\"reason\":\"a\\\"\\u000a\\u001e\\u00ff\","
        "\"trigger_frame_type\":6}]"},
    {"1d0a00", "[{\"frame_type\":\"connection_close\",\"error_space\":\"application\","
        "\"error_code\":10,\"raw_error_code\":10,\"reason\":\"\"}]"},
    {"1e", "[{\"frame_type\":\"handshake_done\"}]"},
    {"3103616263", "[{\"frame_type\":\"datagram\",\"length\":3,\"raw\":{\"payload_length\":3}}]"},
    {"01306162", "[{\"frame_type\":\"ping\"},{\"frame_type\":\"datagram\",\"length\":2,"
        "\"raw\":{\"payload_length\":2}}]"},
    {"01ff", "[{\"frame_type\":\"ping\"}],\"left_out\":1"}, /* what can't be read */
};
/* clang-format on */

static size_t unhex(const char *text, uint8_t *out)
{
    size_t n = 0;
    for (; text[0] && text[1]; text += 2) {
        char two[3] = {text[0], text[1], 0};
        out[n++] = (uint8_t)strtoul(two, NULL, 16);
    }
    return n;
}

static struct qlog_packet packet_of(const uint8_t *p, size_t n)
{
    return (struct qlog_packet){.type = PACKET_1RTT,
                                .pn = 1,
                                .level = LEVEL_APP,
                                .frames = span_of(p, n),
                                .bytes = n + 20,
                                .ack_exponent = 3};
}

static void test_frames(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(frames); i++) {
        uint8_t wire[64];
        char buf[QLOG_RECORD], want[QLOG_RECORD];
        struct qlog_packet p = packet_of(wire, unhex(frames[i].wire, wire));
        struct json j = json_of(buf, sizeof(buf));
        json_open(&j, NULL, '{');
        qlog_frames(&j, "frames", &p);
        json_close(&j, '}');
        assert_true(json_check(j.p, j.n));
        snprintf(want, sizeof(want), "{\"frames\":%s}", frames[i].out);
        if (j.n != strlen(want) || memcmp(j.p, want, j.n) != 0)
            fail_msg("%s: %.*s", frames[i].wire, (int)j.n, j.p);
    }
}

/* One record, as the sink got it. */
static struct trace *record(struct traces *t, const struct qlog_packet *p)
{
    struct qlog *q = malloc(sizeof(*q));
    struct quic_cid odcid = {.len = 2, .b = {1, 2}};
    traces_init(t);
    assert_int_equal(qlog_init(q, &t->sink, &odcid, false, 5), 0);
    free(t->trace[0].p);
    t->trace[0].p = NULL;
    t->trace[0].n = t->trace[0].cap = 0;
    qlog_packet_received(q, p, 5);
    qlog_free(q);
    free(q);
    return &t->trace[0];
}

/* More frames or ranges than a record holds: it stays a record, and tells of the rest. */
static void test_too_much(void **state)
{
    (void)state;
    static uint8_t pings[1200], acks[1200], closes[1200];
    struct traces t;
    struct trace_walk w;
    struct span v;
    memset(pings, FRAME_PING, sizeof(pings));
    struct qlog_packet p = packet_of(pings, sizeof(pings));
    trace_walk(&w, record(&t, &p));
    assert_true(trace_next(&w));
    assert_true(json_find(w.p, w.n, "data.left_out", &v));
    assert_true(strtoul((const char *)v.p, NULL, 10) > 500);
    assert_true(trace_has(&w, "data.header.packet_number", "1"));
    assert_false(trace_next(&w));
    traces_free(&t);

    struct wire_w ww = wire_w_of(acks, sizeof(acks));
    wire_w_u8(&ww, FRAME_ACK);
    wire_w_varint(&ww, 5000); /* largest */
    wire_w_varint(&ww, 0);
    wire_w_varint(&ww, 500); /* ranges */
    for (int i = 0; i < 1001; i++)
        wire_w_varint(&ww, 0);
    p = packet_of(acks, (size_t)(ww.p - acks));
    trace_walk(&w, record(&t, &p));
    assert_true(trace_next(&w));
    assert_non_null(memmem(w.p, w.n, "\"left_out\":437", 14)); /* 501 - QLOG_RANGES */
    traces_free(&t);

    /* A reason phrase of bytes that take six times their room. */
    ww = wire_w_of(closes, sizeof(closes));
    wire_w_u8(&ww, FRAME_PING);
    wire_w_u8(&ww, FRAME_CONNECTION_CLOSE_APP);
    wire_w_varint(&ww, 1);
    wire_w_varint(&ww, 1190);
    memset(ww.p, 0xff, 1190);
    p = packet_of(closes, (size_t)(ww.p - closes) + 1190);
    trace_walk(&w, record(&t, &p));
    assert_true(trace_next(&w));
    assert_false(trace_next(&w));
    traces_free(&t);
}

static void test_any_bytes(void **state)
{
    (void)state;
    struct rnd r = {11};
    struct traces t;
    struct quic_cid odcid = {.len = 1};
    struct qlog *q = malloc(sizeof(*q));
    traces_init(&t);
    assert_int_equal(qlog_init(q, &t.sink, &odcid, true, 0), 0);
    for (int round = 0; round < 5000; round++) {
        uint8_t in[300];
        size_t n = 1 + rnd_below(&r, sizeof(in) - 1);
        for (size_t i = 0; i < n; i++)
            in[i] = (uint8_t)(rnd_chance(&r, 1, 2) ? rnd_below(&r, 0x32) : rnd_next(&r));
        struct qlog_packet p = packet_of(in, n);
        p.type = (enum packet_type)rnd_below(&r, PACKET_OTHER_VERSION + 1);
        p.level = (enum quic_level)rnd_below(&r, LEVEL_N);
        p.dcid = span_of(in, n < 20 ? n : 20);
        p.ack_exponent = (unsigned)rnd_below(&r, 21);
        p.token_n = rnd_below(&r, 2);
        qlog_packet_received(q, &p, (ns_t)round);
    }
    qlog_free(q);
    free(q);
    assert_int_equal(trace_count(&t.trace[0], "transport:packet_received", NULL, NULL), 5000);
    traces_free(&t);
}

/* ---- whole connections --------------------------------------------------------------- */

static const char secret[] = "the inner packet of somebody";

static void send_dgram(struct pair *p, int from)
{
    static uint8_t buf[2000];
    uint8_t text[64 + sizeof(secret)];
    struct quic_train t = {.buf = buf, .cap = sizeof(buf), .max_count = 1};
    memcpy(text + 64, secret, sizeof(secret));
    struct quic_dgram d = {.p = text + 64, .n = sizeof(secret), .headroom = 64};
    assert_int_equal(quic_dgram_send(p->conn[from], 0, &t, &d, 1, p->now), 1);
    pair_train(p, from, &t);
}

static uint64_t dropped(const struct quic_conn *c)
{
    struct quic_stats s;
    quic_stats(c, &s);
    return s.drop_parse + s.drop_cid + s.drop_version + s.drop_keys + s.drop_crypt +
           s.drop_duplicate + s.drop_small;
}

/* The header, and time that never goes back. */
static void check_trace(const struct trace *t)
{
    struct trace_walk w;
    struct span v;
    double last = 0;
    trace_walk(&w, t);
    assert_true(trace_next(&w));
    assert_true(trace_has(&w, "qlog_version", "\"0.3\""));
    assert_true(trace_has(&w, "qlog_format", "\"JSON-SEQ\""));
    assert_true(
        trace_has(&w, "trace.vantage_point.type", t->server ? "\"server\"" : "\"client\""));
    assert_true(trace_has(&w, "trace.common_fields.time_format", "\"relative\""));
    assert_true(json_find(w.p, w.n, "trace.common_fields.reference_time", &v));
    assert_true(json_find(w.p, w.n, "trace.common_fields.ODCID", &v));
    assert_int_equal(v.n, 2 + 2 * t->odcid.len);
    while (trace_next(&w)) {
        assert_true(json_find(w.p, w.n, "name", &v));
        assert_true(json_find(w.p, w.n, "data", &v));
        assert_true(json_find(w.p, w.n, "time", &v));
        double time = strtod((const char *)v.p, NULL);
        assert_true(time >= last);
        last = time;
    }
    assert_null(memmem(t->p, t->n, secret, sizeof(secret) - 1));
}

static const char *const expected[] = {
    "connectivity:connection_started",
    "connectivity:connection_state_updated",
    "connectivity:connection_closed",
    "connectivity:path_assigned",
    "connectivity:mtu_updated",
    "transport:version_information",
    "transport:alpn_information",
    "transport:parameters_set",
    "transport:packet_sent",
    "transport:packet_received",
    "security:key_updated",
    "security:key_discarded",
    "recovery:parameters_set",
    "recovery:metrics_updated",
    "recovery:congestion_state_updated",
    "recovery:loss_timer_updated",
};

static void test_connection(void **state)
{
    (void)state;
    struct traces t;
    struct pair p;
    struct quic_path_view view[2];
    uint64_t drops[2];
    pair_init(&p);
    traces_init(&t);
    p.cfg[CLIENT].qlog = p.cfg[SERVER].qlog = &t.sink;
    pair_connect(&p);
    pair_run(&p, NS_PER_S);
    assert_int_equal(t.n, 2);
    for (int i = 0; i < 20; i++)
        send_dgram(&p, i & 1);
    uint64_t id;
    size_t taken;
    assert_int_equal(quic_stream_open(p.conn[CLIENT], false, &id), 0);
    assert_int_equal(quic_stream_write(p.conn[CLIENT], id, SPAN_LIT(secret), &taken), 0);
    pair_run(&p, NS_PER_S);
    assert_int_equal(quic_key_update(p.conn[CLIENT]), 0);
    quic_ping(p.conn[CLIENT], 0);
    pair_run(&p, NS_PER_S);
    uint8_t junk[60] = {0x40}, other[60] = {0xc0, 0x1a, 0x2a, 0x3a, 0x4a}, none[30] = {0};
    memcpy(junk + 1, p.conn[SERVER]->local.initial_scid.b, 8);
    pair_deliver(&p, SERVER, junk, sizeof(junk));
    pair_deliver(&p, SERVER, other, sizeof(other));
    pair_deliver(&p, CLIENT, none, sizeof(none));
    quic_close(p.conn[CLIENT], 0x17, "so \"long\"\n", p.now);
    pair_run(&p, 100 * NS_PER_MS);
    for (int i = 0; i < 2; i++) {
        quic_path_view(p.conn[i], 0, p.now, &view[i]);
        drops[i] = dropped(p.conn[i]);
    }
    assert_int_equal(drops[SERVER], 2);
    assert_int_equal(drops[CLIENT], 1);
    pair_free(&p);
    for (int i = 0; i < 2; i++) {
        const struct trace *c = &t.trace[i];
        assert_int_equal(c->server, i == SERVER);
        check_trace(c);
        for (size_t k = 0; k < ARRAY_LEN(expected); k++)
            if (trace_count(c, expected[k], NULL, NULL) == 0)
                fail_msg("side %d has no %s", i, expected[k]);
        assert_int_equal(trace_count(c, "transport:packet_dropped", NULL, NULL), drops[i]);
        assert_int_equal(trace_count(c, "transport:packet_received", NULL, NULL),
                         view[i].packets_received);
        assert_int_equal(trace_count(c, "transport:parameters_set", "data.owner", "\"remote\""),
                         1);
        assert_int_equal(
            trace_count(c, "connectivity:connection_closed", "data.application_code", "23"), 1);
        assert_int_equal(trace_count(c, "connectivity:connection_state_updated", "data.new",
                                     "\"handshake_confirmed\""),
                         1);
        assert_int_equal(
            trace_count(c, "connectivity:connection_state_updated", "data.new", "\"closed\""),
            1);
        assert_int_equal(trace_count(c, "security:key_updated", "data.generation", "1"), 2);
    }
    assert_int_equal(trace_count(&t.trace[CLIENT], "security:key_updated", "data.trigger",
                                 "\"local_update\""),
                     2);
    assert_int_equal(trace_count(&t.trace[SERVER], "security:key_updated", "data.trigger",
                                 "\"remote_update\""),
                     2);
    /* CONNECTION_CLOSE is a packet without recovery's knowing; all others it has counted. */
    for (int i = 0; i < 2; i++)
        assert_int_equal(trace_count(&t.trace[i], "transport:packet_sent", NULL, NULL),
                         view[i].packets_sent);
    assert_true(trace_count(&t.trace[CLIENT], "connectivity:connection_closed", "data.reason",
                            "\"so \\\"long\\\"\\u000a\"") == 1);
    assert_true(trace_count(&t.trace[CLIENT], "connectivity:connection_closed", "data.owner",
                            "\"local\"") == 1);
    assert_true(trace_count(&t.trace[SERVER], "connectivity:connection_closed", "data.owner",
                            "\"remote\"") == 1);
    traces_free(&t);
}

/* Reset tokens and address validation tokens are in no trace. */
static void test_no_tokens(void **state)
{
    (void)state;
    struct traces t;
    struct pair p;
    uint8_t blob[64];
    char hex[33];
    pair_init(&p);
    traces_init(&t);
    memset(blob, 0xa5, sizeof(blob));
    p.cfg[CLIENT].token = span_of(blob, sizeof(blob));
    p.cfg[CLIENT].qlog = p.cfg[SERVER].qlog = &t.sink;
    pair_connect(&p);
    pair_run(&p, NS_PER_S);
    assert_true(p.conn[CLIENT]->peer.has_reset_token);
    for (int i = 0; i < 16; i++)
        snprintf(hex + 2 * i, 3, "%02x", p.conn[CLIENT]->peer.reset_token[i]);
    pair_free(&p);
    for (int i = 0; i < 2; i++) {
        const struct trace *c = &t.trace[i];
        assert_null(memmem(c->p, c->n, hex, 32));
        assert_null(memmem(c->p, c->n, "a5a5a5a5", 8));
        assert_true(
            trace_count(c, i == CLIENT ? "transport:packet_sent" : "transport:packet_received",
                        "data.header.token.raw.length", "64") > 0);
    }
    traces_free(&t);
}

/* Where in the trace such a packet is first that has such a frame; SIZE_MAX: nowhere. */
static size_t first(const struct trace *t, const char *name, const char *frame)
{
    char quoted[64];
    struct trace_walk w;
    size_t at = 0;
    snprintf(quoted, sizeof(quoted), "\"frame_type\":\"%s\"", frame);
    for (trace_walk(&w, t); trace_next(&w); at++)
        if (trace_has(&w, "name", name) && memmem(w.p, w.n, quoted, strlen(quoted)))
            return at;
    return SIZE_MAX;
}

/* A client that moved retires the connection ID of before once the new route is validated. */
static void test_move(void **state)
{
    (void)state;
    struct traces t;
    struct pair p;
    pair_init(&p);
    traces_init(&t);
    p.cfg[CLIENT].qlog = &t.sink;
    pair_connect(&p);
    pair_run(&p, NS_PER_S);
    p.route[CLIENT].local.port = p.route[SERVER].remote.port = 2000;
    assert_int_equal(quic_path_move(p.conn[CLIENT], 0, &p.route[CLIENT], p.now), 0);
    pair_run(&p, NS_PER_S);
    assert_true(quic_is_established(p.conn[CLIENT]));
    pair_free(&p);
    const struct trace *c = &t.trace[0];
    size_t validated = first(c, "\"transport:packet_received\"", "path_response");
    size_t retired = first(c, "\"transport:packet_sent\"", "retire_connection_id");
    assert_true(validated < retired && retired < SIZE_MAX);
    assert_int_equal(trace_count(c, "connectivity:path_assigned", NULL, NULL), 2);
    traces_free(&t);
}

/* A sink that wants no trace: the connection works, and is not logged. */
static void test_refused(void **state)
{
    (void)state;
    struct traces t;
    struct pair p;
    pair_init(&p);
    traces_init(&t);
    t.n = TRACES;
    p.cfg[CLIENT].qlog = &t.sink;
    pair_connect(&p);
    pair_run(&p, NS_PER_S);
    assert_true(quic_is_established(p.conn[CLIENT]));
    assert_null(p.conn[CLIENT]->qlog);
    pair_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames),    cmocka_unit_test(test_too_much),
        cmocka_unit_test(test_any_bytes), cmocka_unit_test(test_connection),
        cmocka_unit_test(test_no_tokens), cmocka_unit_test(test_move),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
