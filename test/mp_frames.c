/* mp/frames: every frame there and back, on the wire as the specification draws it, 1-RTT only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "mp/frames.h"
#include "quic/errors.h"
#include "quic/wire.h"

#include <string.h>

static int decode(const uint8_t *p, size_t n, enum quic_level level, struct frame *f)
{
    const struct frame_row *row;
    struct wire_r r = wire_r_of(p, n);
    int rc = frame_decode(&r, mp_frame_table, mp_frame_table_len, level, f, &row);

    if (rc == 0)
        assert_int_equal(wire_r_left(&r), 0);
    return rc;
}

#define CID8  1, 2, 3, 4, 5, 6, 7, 8
#define TOKEN 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9

/* clang-format off */
static const struct {
    const char *what;
    uint64_t type, path_id;
    uint8_t n, wire[40];
} rows[] = {
    {"PATH_ACK",       MP_PATH_ACK,      3, 8,  {0x3e, 3, 0x40, 0x64, 5, 1, 2, 0x00}}, /* cut: one range is due */
    {"PATH_ACK",       MP_PATH_ACK,      3, 9,  {0x3e, 3, 0x40, 0x64, 5, 1, 2, 0, 4}},
    {"PATH_ACK (ECN)", MP_PATH_ACK_ECN,  1, 9,  {0x3f, 1, 9, 0, 0, 9, 1, 2, 3}},
    {"PATH_ABANDON",   MP_PATH_ABANDON,  2, 4,  {0x7e, 0x75, 2, 0x3e}},
    {"PATH_STATUS",    MP_PATH_STATUS_BACKUP,    2, 4, {0x7e, 0x76, 2, 7}},
    {"PATH_STATUS",    MP_PATH_STATUS_AVAILABLE, 2, 4, {0x7e, 0x77, 2, 8}},
    {"NEW_CID",        MP_PATH_NEW_CONNECTION_ID, 1, 30, {0x7e, 0x78, 1, 2, 1, 8, CID8, TOKEN}},
    {"RETIRE_CID",     MP_PATH_RETIRE_CONNECTION_ID, 1, 4, {0x7e, 0x79, 1, 0}},
    {"MAX_PATH_ID",    MP_MAX_PATH_ID,   8, 3,  {0x7e, 0x7a, 8}},
    {"PATHS_BLOCKED",  MP_PATHS_BLOCKED, 8, 3,  {0x7e, 0x7b, 8}},
    {"CIDS_BLOCKED",   MP_PATH_CIDS_BLOCKED, 4, 4, {0x7e, 0x7c, 4, 2}},
};
/* clang-format on */

static void round_trips(void **state)
{
    (void)state;
    for (size_t i = 1; i < ARRAY_LEN(rows); i++) {
        const struct frame_row *row =
            frame_find(rows[i].type, mp_frame_table, mp_frame_table_len);
        uint8_t out[64];
        struct wire_w w = wire_w_of(out, sizeof(out));
        struct frame f;

        assert_int_equal(decode(rows[i].wire, rows[i].n, LEVEL_APP, &f), 0);
        assert_int_equal(f.type, rows[i].type);
        assert_int_equal(f.path_id, rows[i].path_id);
        assert_non_null(row);
        frame_encode(&w, row, &f);
        assert_false(w.failed);
        assert_int_equal(sizeof(out) - wire_w_left(&w), rows[i].n);
        assert_memory_equal(out, rows[i].wire, rows[i].n);
    }
}

static void cut_short(void **state)
{
    struct frame f;

    (void)state;
    assert_int_equal(decode(rows[0].wire, rows[0].n, LEVEL_APP, &f), QUIC_FRAME_ENCODING_ERROR);
    for (size_t i = 1; i < ARRAY_LEN(rows); i++)
        for (size_t n = 1; n < rows[i].n; n++)
            assert_int_equal(decode(rows[i].wire, n, LEVEL_APP, &f), QUIC_FRAME_ENCODING_ERROR);
}

static void one_rtt_only(void **state)
{
    static const enum quic_level levels[] = {LEVEL_INITIAL, LEVEL_EARLY, LEVEL_HANDSHAKE};
    struct frame f;

    (void)state;
    for (size_t i = 1; i < ARRAY_LEN(rows); i++)
        for (size_t k = 0; k < ARRAY_LEN(levels); k++)
            assert_int_equal(decode(rows[i].wire, rows[i].n, levels[k], &f),
                             QUIC_PROTOCOL_VIOLATION);
}

static void unknown_without_the_rows(void **state)
{
    (void)state;
    for (size_t i = 1; i < ARRAY_LEN(rows); i++) {
        const struct frame_row *row;
        struct wire_r r = wire_r_of(rows[i].wire, rows[i].n);
        struct frame f;
        assert_int_equal(frame_decode(&r, NULL, 0, LEVEL_APP, &f, &row),
                         QUIC_FRAME_ENCODING_ERROR);
    }
}

static void fields(void **state)
{
    const uint8_t ack[] = {0x3e, 3, 0x40, 0x64, 5, 1, 2, 0, 4};
    const uint8_t cid[] = {0x7e, 0x78, 1, 2, 1, 8, CID8, TOKEN};
    struct ack_iter it;
    struct frame f;
    uint64_t lo, hi;

    (void)state;
    assert_int_equal(decode(ack, sizeof(ack), LEVEL_APP, &f), 0);
    ack_iter_init(&it, &f.ack);
    assert_true(ack_iter_next(&it, &lo, &hi));
    assert_int_equal(hi, 100);
    assert_int_equal(lo, 98);
    assert_true(ack_iter_next(&it, &lo, &hi));
    assert_int_equal(hi, 96);
    assert_int_equal(lo, 92);
    assert_false(ack_iter_next(&it, &lo, &hi));

    assert_int_equal(decode(cid, sizeof(cid), LEVEL_APP, &f), 0);
    assert_int_equal(f.new_cid.seq, 2);
    assert_int_equal(f.new_cid.retire_prior_to, 1);
    assert_int_equal(f.new_cid.cid.len, 8);
    assert_int_equal(f.new_cid.cid.b[7], 8);
    assert_int_equal(f.new_cid.token[15], 9);
}

static void parameter(void **state)
{
    const uint8_t none[] = {0x01, 1, 30};
    const uint8_t large[] = {0x3e, 8, 0xc0, 0, 0, 1, 0, 0, 0, 0};
    const uint8_t ragged[] = {0x3e, 2, 8, 0};
    uint8_t out[32];
    struct wire_w w = wire_w_of(out, sizeof(out));
    uint64_t max = 0;

    (void)state;
    wire_w_bytes(&w, none, sizeof(none));
    mp_tparam_encode(&w, 8);
    assert_int_equal(mp_tparam_find(span_of(out, sizeof(out) - wire_w_left(&w)), &max), 0);
    assert_int_equal(max, 8);
    assert_int_equal(mp_tparam_find(span_of(none, sizeof(none)), &max), QUIC_DROP);
    assert_int_equal(mp_tparam_find(span_of(large, sizeof(large)), &max),
                     QUIC_TRANSPORT_PARAMETER_ERROR);
    assert_int_equal(mp_tparam_find(span_of(ragged, sizeof(ragged)), &max),
                     QUIC_TRANSPORT_PARAMETER_ERROR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),  cmocka_unit_test(cut_short),
        cmocka_unit_test(one_rtt_only), cmocka_unit_test(unknown_without_the_rows),
        cmocka_unit_test(fields),       cmocka_unit_test(parameter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
