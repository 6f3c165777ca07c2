/* frame, settings and error: layout of frames, where they are allowed, SETTINGS. */
#include "test/h3_util.h"

#include "h3/frame.h"
#include "h3/settings.h"

static void varints(void **state)
{
    static const struct {
        const char *hex;
        uint64_t v;
    } rows[] = {
        /* RFC 9000 A.1, and the limits of each length */
        {"c2197c5eff14e88c", 151288809941952652},
        {"9d7f3e7d", 494878333},
        {"7bbd", 15293},
        {"25", 37},
        {"4025", 37},
        {"00", 0},
        {"3f", 63},
        {"7fff", 16383},
        {"bfffffff", 1073741823},
        {"ffffffffffffffff", VARINT_MAX},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t buf[16] = {0};
        size_t n = unhex(rows[i].hex, buf, sizeof(buf));

        /* cut at every place; the byte behind it must not be taken */
        for (size_t cut = 0; cut <= n; cut++) {
            struct h3_varint_rd r = {0};
            uint64_t v = 1;
            size_t used = 0;

            if (cut < n) {
                assert_int_equal(h3_varint_rd_feed(&r, span_of(buf, cut), &used, &v),
                                 QUIC_AGAIN);
                assert_int_equal(used, cut);
                assert_int_equal(h3_varint_rd_idle(&r), cut == 0);
            }
            assert_int_equal(
                h3_varint_rd_feed(&r, span_of(buf + used, sizeof(buf) - used), &used, &v), 0);
            assert_int_equal(used, n);
            assert_int_equal(v, rows[i].v);
            assert_true(h3_varint_rd_idle(&r));
        }
    }
}

static void heads(void **state)
{
    static const uint64_t values[] = {0, 1, 63, 64, 16383, 16384, 1u << 30, VARINT_MAX};

    (void)state;
    for (size_t t = 0; t < ARRAY_LEN(values); t++) {
        for (size_t l = 0; l < ARRAY_LEN(values); l++) {
            uint8_t buf[H3_FRAME_HEAD_MAX];
            struct wire_w w = wire_w_of(buf, sizeof(buf));
            struct h3_frame_rd r = {0};
            size_t n, used = 0;

            h3_frame_write_head(&w, values[t], values[l]);
            assert_false(w.failed);
            n = (size_t)(w.p - buf);
            assert_int_equal(n, varint_len(values[t]) + varint_len(values[l]));
            for (size_t i = 0; i < n; i++) {
                assert_int_equal(h3_frame_rd_idle(&r), i == 0);
                assert_int_equal(h3_frame_rd_feed(&r, span_of(buf + i, 1), &used),
                                 i + 1 < n ? QUIC_AGAIN : 0);
            }
            assert_int_equal(used, n);
            assert_int_equal(r.type, values[t]);
            assert_int_equal(r.len, values[l]);
            assert_true(h3_frame_rd_idle(&r));
        }
    }
}

static void places(void **state)
{
    enum { OK = 0, BAD = H3_FRAME_UNEXPECTED, ID = H3_ID_ERROR };
    /* RFC 9114 table 1, 7.2.5, 7.2.7 and 7.2.8 */
    static const struct {
        uint64_t type;
        const char *name;
        int control_client, control_server, request_client, request_server;
    } rows[] = {
        {0x00, "DATA", BAD, BAD, OK, OK},
        {0x01, "HEADERS", BAD, BAD, OK, OK},
        {0x02, "PRIORITY", BAD, BAD, BAD, BAD},
        {0x03, "CANCEL_PUSH", OK, OK, BAD, BAD},
        {0x04, "SETTINGS", OK, OK, BAD, BAD},
        {0x05, "PUSH_PROMISE", BAD, BAD, BAD, ID},
        {0x06, "PING", BAD, BAD, BAD, BAD},
        {0x07, "GOAWAY", OK, OK, BAD, BAD},
        {0x08, "WINDOW_UPDATE", BAD, BAD, BAD, BAD},
        {0x09, "CONTINUATION", BAD, BAD, BAD, BAD},
        {0x0a, "unknown", OK, OK, OK, OK},
        {0x0d, "MAX_PUSH_ID", OK, BAD, BAD, BAD},
        {0x21, "unknown", OK, OK, OK, OK},
        {0xf0700, "unknown", OK, OK, OK, OK},
        {VARINT_MAX, "unknown", OK, OK, OK, OK},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint64_t t = rows[i].type;

        assert_int_equal(h3_frame_check(t, H3_ON_CONTROL, false), rows[i].control_client);
        assert_int_equal(h3_frame_check(t, H3_ON_CONTROL, true), rows[i].control_server);
        assert_int_equal(h3_frame_check(t, H3_ON_REQUEST, false), rows[i].request_client);
        assert_int_equal(h3_frame_check(t, H3_ON_REQUEST, true), rows[i].request_server);
        assert_string_equal(h3_frame_name(t), rows[i].name);
    }
}

/* Feed a payload in pieces of `step` bytes. */
static int read_settings(struct h3_settings *s, const uint8_t *p, size_t n, size_t step)
{
    struct h3_settings_rd r;

    h3_settings_rd_init(&r, s);
    for (size_t i = 0; i < n; i += step) {
        int rc = h3_settings_rd_feed(&r, span_of(p + i, n - i < step ? n - i : step));

        if (rc != 0)
            return rc;
    }
    return h3_settings_rd_end(&r);
}

static void settings_in(void **state)
{
    static const struct {
        const char *hex;
        int rc;
        struct h3_settings s;
    } rows[] = {
        {"", 0, {0, 0, H3_UNLIMITED, false, false}},
        {"01 5000 06 8000 8000 07 4064 08 01 33 01", 0, {4096, 100, 32768, true, true}},
        {"0800 3300", 0, {0, 0, H3_UNLIMITED, false, false}},
        {"0600", 0, {0, 0, 0, false, false}},
        /* unknown and reserved ones, also twice; the old H3_DATAGRAM of drafts */
        {"21 00 21 01 c000 0000 0000 0021 05 4276 01 09 00 09 00",
         0,
         {0, 0, H3_UNLIMITED, false, false}},
        {"0801 0801", H3_SETTINGS_ERROR, {0}},
        {"3301 3300", H3_SETTINGS_ERROR, {0}},
        {"0100 0100", H3_SETTINGS_ERROR, {0}},
        {"0605 0605", H3_SETTINGS_ERROR, {0}},
        {"0701 0701", H3_SETTINGS_ERROR, {0}},
        {"0000", H3_SETTINGS_ERROR, {0}},
        {"0200", H3_SETTINGS_ERROR, {0}},
        {"0300", H3_SETTINGS_ERROR, {0}},
        {"0400", H3_SETTINGS_ERROR, {0}},
        {"0500", H3_SETTINGS_ERROR, {0}},
        {"400200", H3_SETTINGS_ERROR, {0}}, /* the same in two bytes */
        {"0802", H3_SETTINGS_ERROR, {0}},
        {"3302", H3_SETTINGS_ERROR, {0}},
        {"08ffffffffffffffff", H3_SETTINGS_ERROR, {0}},
        {"06", H3_FRAME_ERROR, {0}},
        {"06 80", H3_FRAME_ERROR, {0}},
        {"40", H3_FRAME_ERROR, {0}},
        {"0801 33", H3_FRAME_ERROR, {0}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t buf[64];
        size_t n = unhex(rows[i].hex, buf, sizeof(buf));

        for (size_t step = 1; step <= n + 1; step++) {
            struct h3_settings s;

            assert_int_equal(read_settings(&s, buf, n, step), rows[i].rc);
            if (rows[i].rc != 0)
                continue;
            assert_int_equal(s.qpack_max_table_capacity, rows[i].s.qpack_max_table_capacity);
            assert_int_equal(s.qpack_blocked_streams, rows[i].s.qpack_blocked_streams);
            assert_int_equal(s.max_field_section_size, rows[i].s.max_field_section_size);
            assert_int_equal(s.enable_connect_protocol, rows[i].s.enable_connect_protocol);
            assert_int_equal(s.h3_datagram, rows[i].s.h3_datagram);
        }
    }
}

static void settings_out(void **state)
{
    uint64_t seed = 7;

    (void)state;
    for (size_t i = 0; i < 2000; i++) {
        struct h3_settings s = {
            .qpack_max_table_capacity = rnd(&seed) % 3 ? rnd(&seed) >> 34 : 0,
            .qpack_blocked_streams = rnd(&seed) % 3 ? rnd(&seed) >> 50 : 0,
            .max_field_section_size = rnd(&seed) % 3 ? rnd(&seed) >> 2 : H3_UNLIMITED,
            .enable_connect_protocol = rnd(&seed) & 1,
            .h3_datagram = rnd(&seed) & 1,
        };
        uint64_t grease = rnd(&seed) % 4 ? rnd(&seed) : 0;
        uint8_t buf[160];
        struct wire_w w = wire_w_of(buf, sizeof(buf));
        struct wire_r r;
        struct h3_settings back;
        bool reserved = false;
        struct span payload;

        h3_settings_write(&w, &s, grease);
        assert_false(w.failed);
        r = wire_r_of(buf, (size_t)(w.p - buf));
        assert_int_equal(wire_r_varint(&r), H3_FRAME_SETTINGS);
        payload = wire_r_vec(&r);
        assert_false(r.failed);
        assert_int_equal(wire_r_left(&r), 0);
        assert_int_equal(read_settings(&back, payload.p, payload.n, 1 + i % 7), 0);
        assert_memory_equal(&back.qpack_max_table_capacity, &s.qpack_max_table_capacity, 24);
        assert_int_equal(back.enable_connect_protocol, s.enable_connect_protocol);
        assert_int_equal(back.h3_datagram, s.h3_datagram);
        for (r = wire_r_span(payload); wire_r_left(&r) > 0; wire_r_varint(&r)) {
            uint64_t id = wire_r_varint(&r);

            reserved |= id >= 0x21 && (id - 0x21) % 0x1f == 0;
        }
        assert_int_equal(reserved, grease != 0);
    }
}

static void settings_without_room(void **state)
{
    struct h3_settings s = {.max_field_section_size = 1, .h3_datagram = true};
    uint8_t buf[64];

    (void)state;
    for (size_t room = 0; room < 9; room++) {
        struct wire_w w = wire_w_of(buf, room);

        h3_settings_write(&w, &s, 0);
        assert_int_equal(w.failed, room < 6);
    }
    s.max_field_section_size = VARINT_MAX + 1; /* has no encoding */
    struct wire_w w = wire_w_of(buf, sizeof(buf));
    h3_settings_write(&w, &s, 0);
    assert_true(w.failed);
}

static void error_names(void **state)
{
    (void)state;
    assert_string_equal(h3_error_name(0x100), "H3_NO_ERROR");
    assert_string_equal(h3_error_name(0x10e), "H3_MESSAGE_ERROR");
    assert_string_equal(h3_error_name(0x33), "H3_DATAGRAM_ERROR");
    assert_string_equal(h3_error_name(0x202), "QPACK_DECODER_STREAM_ERROR");
    assert_string_equal(h3_error_name(0x21), "reserved");
    assert_string_equal(h3_error_name(0x21 + 0x1f * 1000), "reserved");
    assert_string_equal(h3_error_name(0x22), "unknown");
    assert_string_equal(h3_error_name(0), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(varints),      cmocka_unit_test(heads),
        cmocka_unit_test(places),       cmocka_unit_test(settings_in),
        cmocka_unit_test(settings_out), cmocka_unit_test(settings_without_room),
        cmocka_unit_test(error_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
