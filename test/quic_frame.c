#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "quic/errors.h"
#include "quic/frame.h"
#include "test/quic_hex.h"

#define TOKEN "000102030405060708090a0b0c0d0e0f"
#define CID20 "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3"
#define MAX62 "ffffffffffffffff"

/* RFC 9000 table 3 once more, as printed: types, packets, and the marks N, C, P, F. */
static const struct {
    uint64_t first, last;
    const char *name, *packets, *marks;
    enum loss_class loss;
} rfc_table[] = {
    {0x00, 0x00, "PADDING", "IH01", "NP", LOSS_NONE},
    {0x01, 0x01, "PING", "IH01", "", LOSS_NONE},
    {0x02, 0x03, "ACK", "IH_1", "NC", LOSS_NONE},
    {0x04, 0x04, "RESET_STREAM", "__01", "", LOSS_STATE},
    {0x05, 0x05, "STOP_SENDING", "__01", "", LOSS_STATE},
    {0x06, 0x06, "CRYPTO", "IH_1", "", LOSS_RANGE},
    {0x07, 0x07, "NEW_TOKEN", "___1", "S", LOSS_ITEM},
    {0x08, 0x0f, "STREAM", "__01", "F", LOSS_RANGE},
    {0x10, 0x10, "MAX_DATA", "__01", "", LOSS_STATE},
    {0x11, 0x11, "MAX_STREAM_DATA", "__01", "", LOSS_STATE},
    {0x12, 0x13, "MAX_STREAMS", "__01", "", LOSS_STATE},
    {0x14, 0x14, "DATA_BLOCKED", "__01", "", LOSS_STATE},
    {0x15, 0x15, "STREAM_DATA_BLOCKED", "__01", "", LOSS_STATE},
    {0x16, 0x17, "STREAMS_BLOCKED", "__01", "", LOSS_STATE},
    {0x18, 0x18, "NEW_CONNECTION_ID", "__01", "P", LOSS_ITEM},
    {0x19, 0x19, "RETIRE_CONNECTION_ID", "__01", "", LOSS_ITEM},
    {0x1a, 0x1a, "PATH_CHALLENGE", "__01", "P", LOSS_NONE},
    {0x1b, 0x1b, "PATH_RESPONSE", "___1", "P", LOSS_NONE},
    {0x1c, 0x1c, "CONNECTION_CLOSE", "IH01", "N", LOSS_NONE},
    {0x1d, 0x1d, "CONNECTION_CLOSE", "__01", "N", LOSS_NONE},
    {0x1e, 0x1e, "HANDSHAKE_DONE", "___1", "S", LOSS_STATE},
    {0x1f, 0x1f, "IMMEDIATE_ACK", "___1", "", LOSS_NONE}, /* draft-ietf-quic-ack-frequency */
    {0x30, 0x31, "DATAGRAM", "__01", "", LOSS_NONE},
    {0xaf, 0xaf, "ACK_FREQUENCY", "___1", "", LOSS_STATE},
};

static uint8_t levels_of(const char *packets)
{
    return (uint8_t)((packets[0] == 'I' ? FRAME_AT(LEVEL_INITIAL) : 0) |
                     (packets[1] == 'H' ? FRAME_AT(LEVEL_HANDSHAKE) : 0) |
                     (packets[2] == '0' ? FRAME_AT(LEVEL_EARLY) : 0) |
                     (packets[3] == '1' ? FRAME_AT(LEVEL_APP) : 0));
}

static uint8_t flags_of(const char *marks)
{
    return (uint8_t)((strchr(marks, 'N') ? 0 : FRAME_ELICITING) |
                     (strchr(marks, 'C') ? FRAME_NON_FLIGHT : 0) |
                     (strchr(marks, 'P') ? FRAME_PROBING : 0) |
                     (strchr(marks, 'F') ? FRAME_FLOW : 0) |
                     (strchr(marks, 'S') ? FRAME_FROM_SERVER : 0));
}

static void test_table(void **state)
{
    (void)state;
    assert_int_equal(frame_table_len, ARRAY_LEN(rfc_table));
    for (size_t i = 0; i < frame_table_len; i++) {
        const struct frame_row *row = &frame_table[i];

        assert_int_equal(row->first, rfc_table[i].first);
        assert_int_equal(row->last, rfc_table[i].last);
        assert_string_equal(row->name, rfc_table[i].name);
        assert_int_equal(row->levels, levels_of(rfc_table[i].packets));
        assert_int_equal(row->flags, flags_of(rfc_table[i].marks));
        assert_int_equal(row->loss, rfc_table[i].loss);
        assert_non_null(row->decode);
        assert_non_null(row->encode);
    }
    for (uint64_t type = 0; type < 0x100; type++) {
        const struct frame_row *want = NULL;

        for (size_t i = 0; i < frame_table_len; i++) {
            if (type >= frame_table[i].first && type <= frame_table[i].last)
                want = &frame_table[i];
        }
        assert_ptr_equal(frame_find(type, NULL, 0), want);
        assert_string_equal(frame_name(type), want ? want->name : "unknown");
    }
    assert_null(frame_find(UINT64_MAX, NULL, 0));
}

/* Frames in their one shortest encoding: they decode, and encode to the same bytes. */
static const char *const good[] = {
    "00",
    "0000000000",
    "01",
    "02 00 00 00 00",
    "02 19 4e20 00 05",
    "02 0a 00 02 00 00 00 01 02",            /* 10, 8, 5-3 */
    "02 04 00 01 00 00 02",                  /* 4, 2-0 */
    "03 0a 05 01 02 01 03 07 4100 80010000", /* with ECN */
    "02 ffffffffffffffff 00 00 ffffffffffffffff",
    "04 04 4100 " MAX62,
    "05 04 05",
    "06 00 00",
    "06 4100 05 68656c6c6f",
    "07 03 746f6b",
    "08 00",
    "08 04 6869",
    "09 04 6869",
    "0a 04 02 6869",
    "0b 04 00",
    "0c 04 01 6869",
    "0d 04 7fff 6869",
    "0e 04 "
    "80010000 02 6869",
    "0f 4444 01 02 6869",
    "10 " MAX62,
    "11 04 4400",
    "12 d000000000000000", /* 2^60 */
    "13 05",
    "14 05",
    "15 04 05",
    "16 05",
    "17 d000000000000000",
    "18 01 00 01 aa " TOKEN,
    "18 05 05 14 " CID20 TOKEN,
    "19 07",
    "1a 0001020304050607",
    "1b 0001020304050607",
    "1c 0a 06 03 626164",
    "1c 4100 00 00",
    "1d 4100 00",
    "1d 05 02 6869",
    "1e",
    "30",
    "30 010203",
    "31 00",
    "31 03 010203",
    "1f",
    "40af 00 01 43e8 01",
    "40af 7fff 05 800061a8 00",
    "40af " MAX62 MAX62 MAX62 MAX62,
};

static uint64_t type_of(const struct hex *h)
{
    struct wire_r r = wire_r_of(h->b, h->n);

    return wire_r_varint(&r);
}

static void test_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct hex h = hex_of(good[i]);
        uint8_t *p = exact_copy(h.b, h.n);
        struct wire_r r = wire_r_of(p, h.n);
        const struct frame_row *row = NULL;
        uint8_t out[128];
        struct wire_w w;
        struct frame f;

        assert_int_equal(frame_decode(&r, NULL, 0, LEVEL_APP, &f, &row), 0);
        assert_int_equal(wire_r_left(&r), 0);
        assert_ptr_equal(row, frame_find(type_of(&h), NULL, 0));
        assert_int_equal(f.type, type_of(&h));
        assert_int_equal(f.path_id, 0);

        w = wire_w_of(out, sizeof(out));
        frame_encode(&w, NULL, &f);
        assert_false(w.failed);
        assert_int_equal(w.p - out, h.n);
        assert_memory_equal(out, h.b, h.n);
        w = wire_w_of(out, sizeof(out));
        frame_encode(&w, row, &f);
        assert_int_equal(w.p - out, h.n);
        for (size_t room = 0; room < h.n; room++) {
            w = wire_w_of(out, room);
            frame_encode(&w, NULL, &f);
            assert_true(w.failed);
        }
        free(p);
    }
}

/* Cut anywhere: an error, unless what is left is a whole frame of its own kind. */
static void test_truncated(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct hex h = hex_of(good[i]);
        bool tail = h.b[0] == 0 || ((h.b[0] & ~5) == 8) || h.b[0] == 0x30;

        for (size_t n = 0; n < h.n; n++) {
            uint8_t *p = exact_copy(h.b, n);
            struct wire_r r = wire_r_of(p, n);
            const struct frame_row *row;
            struct frame f;
            int err = frame_decode(&r, NULL, 0, LEVEL_APP, &f, &row);

            if (!tail)
                assert_int_equal(err, QUIC_FRAME_ENCODING_ERROR);
            else if (err == 0)
                assert_int_equal(wire_r_left(&r), 0);
            free(p);
        }
    }
}

/* Each type at each level, right and wrong. */
static void test_levels(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct hex h = hex_of(good[i]);
        uint8_t levels = 0;

        for (size_t k = 0; k < ARRAY_LEN(rfc_table); k++) {
            if (type_of(&h) >= rfc_table[k].first && type_of(&h) <= rfc_table[k].last)
                levels = levels_of(rfc_table[k].packets);
        }
        for (int level = 0; level < LEVEL_N; level++) {
            struct wire_r r = wire_r_of(h.b, h.n);
            const struct frame_row *row;
            struct frame f;
            int err = frame_decode(&r, NULL, 0, (enum quic_level)level, &f, &row);

            assert_int_equal(err, levels & FRAME_AT(level) ? 0 : QUIC_PROTOCOL_VIOLATION);
            assert_int_equal(f.type, type_of(&h));
        }
    }
}

static const struct {
    const char *what, *wire;
    int err;
} bad[] = {
    {"nothing", "", QUIC_FRAME_ENCODING_ERROR},
    {"half a type", "40", QUIC_FRAME_ENCODING_ERROR},
    {"type in two bytes", "4001", QUIC_PROTOCOL_VIOLATION},
    {"padding in two bytes", "4000", QUIC_PROTOCOL_VIOLATION},
    {"type in eight bytes", "c000000000000001", QUIC_PROTOCOL_VIOLATION},
    {"unknown type", "20", QUIC_FRAME_ENCODING_ERROR},
    {"unknown type", "40ae", QUIC_FRAME_ENCODING_ERROR},
    {"ACK_FREQUENCY in four bytes", "800000af 00 01 43e8 01", QUIC_PROTOCOL_VIOLATION},
    {"IMMEDIATE_ACK in two bytes", "401f", QUIC_PROTOCOL_VIOLATION},
    {"unknown type", "21", QUIC_FRAME_ENCODING_ERROR},
    {"unknown type", "2f", QUIC_FRAME_ENCODING_ERROR},
    {"unknown type", "32", QUIC_FRAME_ENCODING_ERROR},
    {"unknown type", "403e", QUIC_PROTOCOL_VIOLATION},
    {"unknown type", "7e75 00 00", QUIC_FRAME_ENCODING_ERROR},
    {"unknown type", MAX62, QUIC_FRAME_ENCODING_ERROR},
    {"first range below zero", "02 04 00 00 05", QUIC_FRAME_ENCODING_ERROR},
    {"gap below zero", "02 04 00 01 00 03 00", QUIC_FRAME_ENCODING_ERROR},
    {"gap to minus one", "02 02 00 01 00 01 00", QUIC_FRAME_ENCODING_ERROR},
    {"second range below zero", "02 04 00 01 00 00 03", QUIC_FRAME_ENCODING_ERROR},
    {"huge gap", "02 04 00 01 00 " MAX62 " 00", QUIC_FRAME_ENCODING_ERROR},
    {"huge range", "02 04 00 01 00 00 " MAX62, QUIC_FRAME_ENCODING_ERROR},
    {"huge first range", "02 04 00 00 " MAX62, QUIC_FRAME_ENCODING_ERROR},
    {"more ranges than bytes", "02 3f 00 " MAX62 " 00 00 00", QUIC_FRAME_ENCODING_ERROR},
    {"ECN counts missing", "03 04 00 00 00", QUIC_FRAME_ENCODING_ERROR},
    {"crypto past 2^62-1", "06 " MAX62 " 01 aa", QUIC_FRAME_ENCODING_ERROR},
    {"crypto longer than packet", "06 00 02 aa", QUIC_FRAME_ENCODING_ERROR},
    {"empty token", "07 00", QUIC_FRAME_ENCODING_ERROR},
    {"stream past 2^62-1", "0c 00 " MAX62 " aa", QUIC_FRAME_ENCODING_ERROR},
    {"stream past 2^62-1, length", "0e 00 " MAX62 " 01 aa", QUIC_FRAME_ENCODING_ERROR},
    {"stream longer than packet", "0a 00 02 aa", QUIC_FRAME_ENCODING_ERROR},
    {"too many bidi streams", "12 d000000000000001", QUIC_FRAME_ENCODING_ERROR},
    {"too many uni streams", "13 " MAX62, QUIC_FRAME_ENCODING_ERROR},
    {"blocked at too many", "16 d000000000000001", QUIC_FRAME_ENCODING_ERROR},
    {"blocked at too many", "17 d000000000000001", QUIC_FRAME_ENCODING_ERROR},
    {"connection id of 0 bytes", "18 01 00 00 " TOKEN, QUIC_FRAME_ENCODING_ERROR},
    {"connection id of 21 bytes", "18 01 00 15 00" CID20 TOKEN, QUIC_FRAME_ENCODING_ERROR},
    {"retires itself", "18 01 02 01 aa " TOKEN, QUIC_FRAME_ENCODING_ERROR},
    {"reason past the end", "1c 00 00 4fff 61", QUIC_FRAME_ENCODING_ERROR},
    {"reason of 2^62-1", "1d 00 " MAX62, QUIC_FRAME_ENCODING_ERROR},
    {"datagram past the end", "31 02 00", QUIC_FRAME_ENCODING_ERROR},
};

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct hex h = hex_of(bad[i].wire);
        uint8_t *p = exact_copy(h.b, h.n);
        struct wire_r r = wire_r_of(p, h.n);
        const struct frame_row *row;
        struct frame f;
        int err = frame_decode(&r, NULL, 0, LEVEL_APP, &f, &row);

        if (err != bad[i].err)
            fail_msg("%s: %d", bad[i].what, err);
        free(p);
    }
}

/* Frames one after the other, as in a packet, the last one without length. */
static void test_sequence(void **state)
{
    struct hex h =
        hex_of("01 0000 02 05 00 00 01 0a 04 02 6869 1a 0001020304050607 08 08 6869");
    static const uint64_t types[] = {FRAME_PING,       FRAME_PADDING,        FRAME_ACK,
                                     FRAME_STREAM + 2, FRAME_PATH_CHALLENGE, FRAME_STREAM};
    struct wire_r r = wire_r_span(hex_span(&h));
    const struct frame_row *row;
    struct frame f;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        assert_int_equal(frame_decode(&r, NULL, 0, LEVEL_APP, &f, &row), 0);
        assert_int_equal(f.type, types[i]);
        if (f.type == FRAME_PADDING)
            assert_int_equal(f.padding, 2);
    }
    assert_int_equal(wire_r_left(&r), 0);
    assert_int_equal(f.stream.id, 8);
    assert_false(f.stream.has_len);
    assert_int_equal(f.stream.data.n, 2);
    assert_memory_equal(f.stream.data.p, "hi", 2);
}

static void test_fields(void **state)
{
    struct hex h = hex_of("0f 4444 01 02 6869 1c 0a 06 03 626164 18 05 03 02 abcd " TOKEN);
    struct wire_r r = wire_r_span(hex_span(&h));
    const struct frame_row *row;
    struct frame f;

    (void)state;
    assert_int_equal(frame_decode(&r, NULL, 0, LEVEL_APP, &f, &row), 0);
    assert_int_equal(f.stream.id, 0x444);
    assert_int_equal(f.stream.offset, 1);
    assert_true(f.stream.fin && f.stream.has_len);
    assert_int_equal(frame_decode(&r, NULL, 0, LEVEL_INITIAL, &f, &row), 0);
    assert_int_equal(f.close.code, QUIC_PROTOCOL_VIOLATION);
    assert_int_equal(f.close.frame_type, FRAME_CRYPTO);
    assert_memory_equal(f.close.reason.p, "bad", 3);
    assert_int_equal(frame_decode(&r, NULL, 0, LEVEL_APP, &f, &row), 0);
    assert_int_equal(f.new_cid.seq, 5);
    assert_int_equal(f.new_cid.retire_prior_to, 3);
    assert_int_equal(f.new_cid.cid.len, 2);
    assert_int_equal(f.new_cid.token[15], 15);
    h = hex_of("40af 05 18 43e8 03");
    r = wire_r_span(hex_span(&h));
    assert_int_equal(frame_decode(&r, NULL, 0, LEVEL_APP, &f, &row), 0);
    assert_int_equal(f.ack_frequency.seq, 5);
    assert_int_equal(f.ack_frequency.threshold, 24);
    assert_int_equal(f.ack_frequency.max_delay_us, 1000);
    assert_int_equal(f.ack_frequency.reordering, 3);
}

/* Encoding ranges the slow way, then walking them. */
static void test_ack_random(void **state)
{
    uint64_t seed = 41;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint64_t lo[20], hi[20], got_lo, got_hi, top = rand_varint(&seed);
        uint8_t b[20 * 16 + 64], wire[sizeof(b) + 64];
        struct wire_w w = wire_w_of(b, sizeof(b)), out = wire_w_of(wire, sizeof(wire));
        struct wire_r r;
        struct frame f = {.type = FRAME_ACK}, g;
        const struct frame_row *row;
        struct ack_iter it;
        size_t n = 0;

        while (n < 20) {
            uint64_t shift = rand_below(&seed, 64), gap = rand_u64(&seed) >> shift >> 2;
            uint64_t len = rand_u64(&seed) >> rand_below(&seed, 64) >> 2;

            if (n > 0 && gap + 2 > top)
                break;
            hi[n] = n > 0 ? top - gap - 2 : top;
            if (len > hi[n])
                len = hi[n];
            lo[n] = top = hi[n] - len;
            if (n > 0) {
                wire_w_varint(&w, gap);
                wire_w_varint(&w, len);
            }
            n++;
        }
        f.ack = (struct frame_ack){.largest = hi[0],
                                   .delay = 7,
                                   .range_count = n - 1,
                                   .first = hi[0] - lo[0],
                                   .ranges = span_of(b, (size_t)(w.p - b))};
        assert_int_equal(ack_check(&f.ack), 0);
        frame_encode(&out, NULL, &f);
        r = wire_r_of(wire, (size_t)(out.p - wire));
        assert_int_equal(frame_decode(&r, NULL, 0, LEVEL_INITIAL, &g, &row), 0);
        ack_iter_init(&it, &g.ack);
        for (size_t k = 0; k < n; k++) {
            assert_true(ack_iter_next(&it, &got_lo, &got_hi));
            assert_int_equal(got_lo, lo[k]);
            assert_int_equal(got_hi, hi[k]);
        }
        assert_false(ack_iter_next(&it, &got_lo, &got_hi));
        assert_false(ack_iter_next(&it, &got_lo, &got_hi));
    }
}

/* ack_check, frame_decode and the walk agree about any bytes at all. */
static void test_ack_check(void **state)
{
    uint64_t seed = 43;
    int accepted = 0;

    (void)state;
    for (int i = 0; i < 100000; i++) {
        uint8_t b[12], wire[80];
        size_t n = rand_below(&seed, sizeof(b));
        struct frame f = {.type = FRAME_ACK}, g;
        struct wire_w w = wire_w_of(wire, sizeof(wire));
        struct wire_r r;
        const struct frame_row *row;
        struct ack_iter it;
        uint64_t lo, hi, last = UINT64_MAX;
        int err;

        rand_bytes(&seed, b, n);
        for (size_t k = 0; k < n; k++)
            b[k] &= 0x47;
        f.ack = (struct frame_ack){.largest = rand_below(&seed, 64),
                                   .range_count = rand_below(&seed, 6),
                                   .first = rand_below(&seed, 8),
                                   .ranges = span_of(b, n)};
        err = ack_check(&f.ack);
        frame_encode(&w, NULL, &f);
        r = wire_r_of(wire, (size_t)(w.p - wire));
        assert_int_equal(frame_decode(&r, NULL, 0, LEVEL_APP, &g, &row) == 0 &&
                             wire_r_left(&r) == 0,
                         err == 0);
        accepted += err == 0;
        ack_iter_init(&it, &f.ack);
        while (ack_iter_next(&it, &lo, &hi)) {
            assert_true(lo <= hi);
            assert_true(last == UINT64_MAX ? hi == f.ack.largest : hi + 1 < last);
            last = lo;
        }
        assert_false(ack_iter_next(&it, &lo, &hi));
    }
    assert_true(accepted > 1000);
}

static void test_heads(void **state)
{
    static const uint64_t ids[] = {0, 63, 64, 16384, 1ull << 30, VARINT_MAX};
    static const size_t lengths[] = {0, 1, 63, 64, 1200};
    uint8_t b[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        for (size_t k = 0; k < ARRAY_LEN(ids); k++) {
            for (size_t m = 0; m < ARRAY_LEN(lengths); m++) {
                struct wire_w w = wire_w_of(b, sizeof(b));
                size_t n = lengths[m];

                frame_stream_head(&w, ids[i], ids[k], n, true, m & 1);
                assert_int_equal(w.p - b, frame_stream_overhead(ids[i], ids[k], n, m & 1));
                w = wire_w_of(b, sizeof(b));
                frame_crypto_head(&w, ids[k], n);
                assert_int_equal(w.p - b, frame_crypto_overhead(ids[k], n));
                w = wire_w_of(b, sizeof(b));
                frame_datagram_head(&w, n, m & 1);
                assert_int_equal(w.p - b, frame_datagram_overhead(n, m & 1));
            }
        }
    }
}

/* Contents decide the flag bits, whatever f->type said. */
static void test_encode_flags(void **state)
{
    struct frame f = {.type = FRAME_STREAM};
    uint8_t b[64];
    struct wire_w w = wire_w_of(b, sizeof(b));

    (void)state;
    f.stream.id = 4;
    f.stream.offset = 9;
    f.stream.fin = f.stream.has_len = true;
    frame_encode(&w, NULL, &f);
    assert_int_equal(b[0], 0x0f);
    f = (struct frame){.type = FRAME_DATAGRAM};
    f.datagram.has_len = true;
    w = wire_w_of(b, sizeof(b));
    frame_encode(&w, NULL, &f);
    assert_int_equal(b[0], 0x31);
    f = (struct frame){.type = 0x20};
    w = wire_w_of(b, sizeof(b));
    frame_encode(&w, NULL, &f);
    assert_true(w.failed);
}

/* An extension's rows: PATH_ACK and PATH_NEW_CONNECTION_ID, made of the shared bodies. */
static void path_ack_get(struct wire_r *r, struct frame *f)
{
    f->path_id = wire_r_varint(r);
    frame_ack_get(r, f);
}

static void path_ack_put(struct wire_w *w, const struct frame *f)
{
    wire_w_varint(w, f->type);
    wire_w_varint(w, f->path_id);
    frame_ack_put(w, &f->ack);
}

static void path_cid_get(struct wire_r *r, struct frame *f)
{
    f->path_id = wire_r_varint(r);
    frame_new_cid_get(r, f);
}

static void path_cid_put(struct wire_w *w, const struct frame *f)
{
    wire_w_varint(w, f->type);
    wire_w_varint(w, f->path_id);
    frame_new_cid_put(w, &f->new_cid);
}

static const struct frame_row ext_rows[] = {
    {0x3e, 0x3f, "PATH_ACK", FRAME_AT(LEVEL_APP), FRAME_NON_FLIGHT, LOSS_NONE, path_ack_get,
     path_ack_put},
    {0x3e78, 0x3e78, "PATH_NEW_CONNECTION_ID", FRAME_AT(LEVEL_APP), FRAME_ELICITING, LOSS_ITEM,
     path_cid_get, path_cid_put},
};

static void test_extension(void **state)
{
    static const char *const frames[] = {
        "3e 03 0a 00 01 00 00 01",
        "3f 03 0a 00 01 00 00 01 01 02 03",
        ("7e78 03 01 00 01 aa " TOKEN),
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(frames); i++) {
        struct hex h = hex_of(frames[i]);
        struct wire_r r = wire_r_of(h.b, h.n);
        uint8_t out[64];
        struct wire_w w = wire_w_of(out, sizeof(out));
        const struct frame_row *row;
        struct frame f;

        assert_int_equal(frame_decode(&r, ext_rows, 2, LEVEL_APP, &f, &row), 0);
        assert_ptr_equal(row, &ext_rows[i / 2]);
        assert_int_equal(f.path_id, 3);
        assert_int_equal(wire_r_left(&r), 0);
        frame_encode(&w, row, &f);
        assert_int_equal(w.p - out, h.n);
        assert_memory_equal(out, h.b, h.n);
        r = wire_r_of(h.b, h.n);
        assert_int_equal(frame_decode(&r, ext_rows, 2, LEVEL_EARLY, &f, &row),
                         QUIC_PROTOCOL_VIOLATION);
        r = wire_r_of(h.b, h.n);
        assert_int_equal(frame_decode(&r, ext_rows, 0, LEVEL_APP, &f, &row),
                         QUIC_FRAME_ENCODING_ERROR);
    }
}

/* Any bytes: no read past the end, and what decodes encodes and decodes to the same again. */
static void test_random(void **state)
{
    uint64_t seed = 47;
    int accepted = 0;

    (void)state;
    for (int i = 0; i < 300000; i++) {
        size_t n = 1 + rand_below(&seed, 40);
        uint8_t b[40], out[96], again[96];
        uint8_t *p;
        struct wire_r r;
        struct wire_w w = wire_w_of(out, sizeof(out));
        const struct frame_row *row;
        struct frame f, g;

        rand_bytes(&seed, b, n);
        b[0] &= 0x3f;
        for (size_t k = 1; k < n; k++) {
            if (rand_below(&seed, 2))
                b[k] &= 0x0f;
        }
        p = exact_copy(b, n);
        r = wire_r_of(p, n);
        if (frame_decode(&r, NULL, 0, (enum quic_level)rand_below(&seed, LEVEL_N), &f, &row) ==
            0) {
            size_t len;

            accepted++;
            frame_encode(&w, row, &f);
            assert_false(w.failed);
            len = (size_t)(w.p - out);
            r = wire_r_of(out, len);
            assert_int_equal(frame_decode(&r, NULL, 0, LEVEL_APP, &g, &row), 0);
            w = wire_w_of(again, sizeof(again));
            frame_encode(&w, row, &g);
            assert_int_equal(w.p - again, len);
            assert_memory_equal(out, again, len);
        }
        free(p);
    }
    assert_true(accepted > 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_truncated),    cmocka_unit_test(test_levels),
        cmocka_unit_test(test_bad),          cmocka_unit_test(test_sequence),
        cmocka_unit_test(test_fields),       cmocka_unit_test(test_ack_random),
        cmocka_unit_test(test_ack_check),    cmocka_unit_test(test_heads),
        cmocka_unit_test(test_encode_flags), cmocka_unit_test(test_extension),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
