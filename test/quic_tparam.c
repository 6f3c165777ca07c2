#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "quic/errors.h"
#include "quic/tparam.h"
#include "test/quic_hex.h"

#define BAD   QUIC_TRANSPORT_PARAMETER_ERROR
#define MAX62 "ffffffffffffffff"
#define TOKEN "000102030405060708090a0b0c0d0e0f"
#define CID20 "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3"

/* 41 bytes before the ID's length counted in: addresses, ports, length, token. */
#define PREFERRED_HEAD "c0000201 01bb 20010db8000000000000000000000001 01bc"

static int decode(const char *text, bool from_server, struct tparams *t)
{
    struct hex h = hex_of(text);
    uint8_t *p = exact_copy(h.b, h.n);
    int err = tparams_decode(span_of(p, h.n), from_server, t);

    free(p);
    return err;
}

static struct quic_cid cid_hex(const char *text)
{
    struct hex h = hex_of(text);

    return cid_of(hex_span(&h));
}

/* RFC 9000 18.2. */
static void test_defaults(void **state)
{
    struct tparams t, u;
    uint8_t b[16];
    struct wire_w w = wire_w_of(b, sizeof(b));

    (void)state;
    memset(&t, 0xa5, sizeof(t));
    tparams_default(&t);
    assert_int_equal(t.max_udp_payload_size, 65527);
    assert_int_equal(t.ack_delay_exponent, 3);
    assert_int_equal(t.max_ack_delay, 25 * NS_PER_MS);
    assert_int_equal(t.active_connection_id_limit, 2);
    assert_int_equal(t.max_idle_timeout, 0);
    assert_int_equal(t.initial_max_data, 0);
    assert_int_equal(t.max_datagram_frame_size, 0);
    assert_false(t.disable_active_migration || t.grease_quic_bit || t.has_preferred ||
                 t.has_reset_token || t.has_initial_scid);
    assert_int_equal(decode("", true, &u), 0);
    assert_memory_equal(&t, &u, sizeof(t));
    assert_int_equal(tparams_encode(&w, &t, true, SPAN_LIT("")), 0);
    assert_ptr_equal(w.p, b);
}

#define MIN_ACK_DELAY "c0000000ff04de1b"

/* The extension in the ClientHello of RFC 9001 A.2. */
static void test_rfc(void **state)
{
    struct tparams t;
    struct quic_cid want = cid_hex("8394c8f03e515708");

    (void)state;
    assert_int_equal(
        decode("0408ffffffffffffffff05048000ffff07048000ffff0801100104800075300901100f08"
               "8394c8f03e51570806048000ffff",
               false, &t),
        0);
    assert_int_equal(t.initial_max_data, VARINT_MAX);
    assert_int_equal(t.initial_max_stream_data_bidi_local, 65535);
    assert_int_equal(t.initial_max_stream_data_bidi_remote, 65535);
    assert_int_equal(t.initial_max_stream_data_uni, 65535);
    assert_int_equal(t.initial_max_streams_bidi, 16);
    assert_int_equal(t.initial_max_streams_uni, 16);
    assert_int_equal(t.max_idle_timeout, 30 * NS_PER_S);
    assert_true(t.has_initial_scid);
    assert_true(cid_eq(&t.initial_scid, &want));
    assert_int_equal(tparams_check_cids(&t, false, &want, NULL, NULL), 0);
}

/* Every parameter: edges of its range, what is out of it, too short and too long. */
static const struct {
    const char *wire;
    int from_client, from_server;
} cases[] = {
    {"00 00", BAD, 0},
    {"00 14 " CID20, BAD, 0},
    {"00 15 ff" CID20, BAD, BAD},
    {"01 01 00", 0, 0},
    {"01 08 " MAX62, 0, 0},
    {"01 00", BAD, BAD},
    {"01 02 0000", BAD, BAD},
    {"01 01 40", BAD, BAD},
    {"02 10 " TOKEN, BAD, 0},
    {"02 0f 0102030405060708090a0b0c0d0e0f", BAD, BAD},
    {"02 11 00" TOKEN, BAD, BAD},
    {"02 00", BAD, BAD},
    {"03 02 44b0", 0, 0},
    {"03 02 44af", BAD, BAD},
    {"03 04 8000fff7", 0, 0},
    {"03 08 " MAX62, 0, 0},
    {"03 01 00", BAD, BAD},
    {"04 08 " MAX62, 0, 0},
    {"04 01 00", 0, 0},
    {"04 00", BAD, BAD},
    {"05 08 " MAX62, 0, 0},
    {"05 02 0001", BAD, BAD},
    {"06 08 " MAX62, 0, 0},
    {"06 00", BAD, BAD},
    {"07 08 " MAX62, 0, 0},
    {"07 03 400100", BAD, BAD},
    {"08 08 d000000000000000", 0, 0},
    {"08 08 d000000000000001", BAD, BAD},
    {"09 08 d000000000000000", 0, 0},
    {"09 08 d000000000000001", BAD, BAD},
    {"0a 01 00", 0, 0},
    {"0a 01 14", 0, 0},
    {"0a 01 15", BAD, BAD},
    {"0a 02 4014", 0, 0},
    {"0b 01 00", 0, 0},
    {"0b 02 7fff", 0, 0},
    {"0b 04 80004000", BAD, BAD},
    {"0b 08 " MAX62, BAD, BAD},
    {"0c 00", 0, 0},
    {"0c 01 00", BAD, BAD},
    {"0d 2a " PREFERRED_HEAD "01 aa " TOKEN, BAD, 0},
    {"0d 3d " PREFERRED_HEAD "14 " CID20 TOKEN, BAD, 0},
    {"0d 29 " PREFERRED_HEAD "00 " TOKEN, BAD, BAD},
    {"0d 3e " PREFERRED_HEAD "15 ff" CID20 TOKEN, BAD, BAD},
    {"0d 2b " PREFERRED_HEAD "01 aa " TOKEN "00", BAD, BAD},
    {"0d 29 " PREFERRED_HEAD "01 aa 000102030405060708090a0b0c0d0e", BAD, BAD},
    {"0d 00", BAD, BAD},
    {"0f 00 0d 2a " PREFERRED_HEAD "01 aa " TOKEN, BAD, BAD}, /* the server uses no IDs */
    {"0f 01 bb 0d 2a " PREFERRED_HEAD "01 aa " TOKEN, BAD, 0},
    {"0e 01 02", 0, 0},
    {"0e 01 01", BAD, BAD},
    {"0e 01 00", BAD, BAD},
    {"0e 08 " MAX62, 0, 0},
    {"0f 00", 0, 0},
    {"0f 14 " CID20, 0, 0},
    {"0f 15 ff" CID20, BAD, BAD},
    {"10 00", BAD, 0},
    {"10 14 " CID20, BAD, 0},
    {"10 15 ff" CID20, BAD, BAD},
    {"20 04 8000ffff", 0, 0},
    {"20 08 " MAX62, 0, 0},
    {"20 00", BAD, BAD},
    {"6ab2 00", 0, 0},
    {"6ab2 01 00", BAD, BAD},
    /* min_ack_delay: microseconds, and not above max_ack_delay, wherever that is. */
    {MIN_ACK_DELAY " 02 43e8", 0, 0},
    {MIN_ACK_DELAY " 01 00", 0, 0},
    {MIN_ACK_DELAY " 04 800061a8", 0, 0},
    {MIN_ACK_DELAY " 04 800061a9", BAD, BAD},
    {"0b 01 05 " MIN_ACK_DELAY " 02 5388", 0, 0},
    {"0b 01 05 " MIN_ACK_DELAY " 02 5389", BAD, BAD},
    {MIN_ACK_DELAY " 02 5389 0b 01 05", BAD, BAD},
    {MIN_ACK_DELAY " 04 800061a9 0b 01 1a", 0, 0},
    {MIN_ACK_DELAY " 08 " MAX62, BAD, BAD},
    {MIN_ACK_DELAY " 00", BAD, BAD},
    {MIN_ACK_DELAY " 02 0001", BAD, BAD},
    /* Unknown ones, reserved (31 * N + 27) and not, even twice. */
    {"1b 00", 0, 0},
    {"1b 03 010203 1b 00", 0, 0},
    {"3e 01 02", 0, 0},
    {MAX62 " 01 ff", 0, 0},
    {"11 00 80ff73db 04 01020304", 0, 0},
    /* Identifiers in a longer form are the same parameter. */
    {"4004 01 05", 0, 0},
    {"4004 01 05 04 01 05", BAD, BAD},
    /* Broken sequences. */
    {"04", BAD, BAD},
    {"40", BAD, BAD},
    {"04 02 00", BAD, BAD},
    {"1b 01", BAD, BAD},
    {"1b " MAX62, BAD, BAD},
    {"04 01 05 05", BAD, BAD},
};

static void test_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tparams t;

        if (decode(cases[i].wire, false, &t) != cases[i].from_client)
            fail_msg("from client: %s", cases[i].wire);
        if (decode(cases[i].wire, true, &t) != cases[i].from_server)
            fail_msg("from server: %s", cases[i].wire);
    }
}

/* Each good one twice is an error, unless it is not known here. */
static void test_duplicates(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct hex h = hex_of(cases[i].wire);
        struct wire_r r = wire_r_of(h.b, h.n);
        uint64_t id = wire_r_varint(&r);
        bool known = id <= 0x10 || id == 0x20 || id == 0x2ab2 || id == 0xff04de1b;
        uint8_t twice[200];
        struct tparams t;

        if (cases[i].from_server != 0)
            continue;
        memcpy(twice, h.b, h.n);
        memcpy(twice + h.n, h.b, h.n);
        assert_int_equal(tparams_decode(span_of(twice, 2 * h.n), true, &t), known ? BAD : 0);
    }
}

/* All of them at once, cut at each length: only a cut between parameters is accepted. */
static void test_truncated(void **state)
{
    struct hex h =
        hex_of("00 01 aa 01 01 05 02 10 " TOKEN "03 02 44b0 0c 00 0d 2a " PREFERRED_HEAD
               "01 aa " TOKEN "0f 02 0102 6ab2 00");
    static const size_t ends[] = {0, 3, 6, 24, 28, 30, 74, 78};
    struct tparams t;

    (void)state;
    assert_int_equal(tparams_decode(hex_span(&h), true, &t), 0);
    for (size_t n = 0; n < h.n; n++) {
        uint8_t *p = exact_copy(h.b, n);
        bool whole = false;

        for (size_t i = 0; i < ARRAY_LEN(ends); i++)
            whole |= n == ends[i];
        assert_int_equal(tparams_decode(span_of(p, n), true, &t), whole ? 0 : BAD);
        free(p);
    }
}

static struct tparams random_params(uint64_t *seed)
{
    struct tparams t;
    uint8_t b[QUIC_CID_MAX];

    tparams_default(&t);
#define MAYBE(x)                                                                               \
    if (rand_below(seed, 2))                                                                   \
    x
    MAYBE(t.max_idle_timeout = rand_below(seed, 100000) * NS_PER_MS);
    MAYBE(t.max_udp_payload_size = 1200 + rand_below(seed, 64328));
    MAYBE(t.initial_max_data = rand_varint(seed));
    MAYBE(t.initial_max_stream_data_bidi_local = rand_varint(seed));
    MAYBE(t.initial_max_stream_data_bidi_remote = rand_varint(seed));
    MAYBE(t.initial_max_stream_data_uni = rand_varint(seed));
    MAYBE(t.initial_max_streams_bidi = rand_varint(seed) >> 2);
    MAYBE(t.initial_max_streams_uni = rand_varint(seed) >> 2);
    MAYBE(t.ack_delay_exponent = rand_below(seed, 21));
    MAYBE(t.max_ack_delay = rand_below(seed, 1 << 14) * NS_PER_MS);
    MAYBE(t.active_connection_id_limit = 2 + rand_below(seed, 100));
    MAYBE(t.max_datagram_frame_size = rand_varint(seed));
    t.disable_active_migration = rand_below(seed, 2);
    t.grease_quic_bit = rand_below(seed, 2);
    rand_bytes(seed, b, sizeof(b));
    t.has_initial_scid = true;
    t.initial_scid = cid_of(span_of(b, 1 + rand_below(seed, 20)));
    t.has_original_dcid = rand_below(seed, 2);
    if (t.has_original_dcid)
        t.original_dcid = cid_of(span_of(b, rand_below(seed, 21)));
    t.has_retry_scid = rand_below(seed, 2);
    if (t.has_retry_scid)
        t.retry_scid = cid_of(span_of(b, rand_below(seed, 21)));
    t.has_reset_token = rand_below(seed, 2);
    if (t.has_reset_token)
        rand_bytes(seed, t.reset_token, 16);
    t.has_preferred = rand_below(seed, 2);
    if (t.has_preferred) {
        rand_bytes(seed, t.preferred.ip4, 4);
        rand_bytes(seed, t.preferred.ip6, 16);
        rand_bytes(seed, t.preferred.token, 16);
        t.preferred.port4 = (uint16_t)rand_u64(seed);
        t.preferred.port6 = (uint16_t)rand_u64(seed);
        t.preferred.cid = cid_of(span_of(b, 1 + rand_below(seed, 20)));
    }
    return t;
}

static bool same(const struct tparams *a, const struct tparams *b)
{
#define SAME(f) (memcmp(&a->f, &b->f, sizeof(a->f)) == 0)
    return SAME(max_idle_timeout) && SAME(max_udp_payload_size) && SAME(initial_max_data) &&
           SAME(initial_max_stream_data_bidi_local) &&
           SAME(initial_max_stream_data_bidi_remote) && SAME(initial_max_stream_data_uni) &&
           SAME(initial_max_streams_bidi) && SAME(initial_max_streams_uni) &&
           SAME(ack_delay_exponent) && SAME(max_ack_delay) &&
           SAME(active_connection_id_limit) && SAME(max_datagram_frame_size) &&
           SAME(disable_active_migration) && SAME(grease_quic_bit) && SAME(has_original_dcid) &&
           SAME(has_initial_scid) && SAME(has_retry_scid) && SAME(has_reset_token) &&
           SAME(has_preferred) && SAME(original_dcid) && SAME(initial_scid) &&
           SAME(retry_scid) && SAME(reset_token) && SAME(preferred.ip4) &&
           SAME(preferred.ip6) && SAME(preferred.port4) && SAME(preferred.port6) &&
           SAME(preferred.cid) && SAME(preferred.token);
}

static void test_round_trip(void **state)
{
    uint64_t seed = 13;

    (void)state;
    for (int i = 0; i < 5000; i++) {
        struct tparams t = random_params(&seed), u;
        uint8_t b[512];
        struct wire_w w = wire_w_of(b, sizeof(b));
        struct span extra = SPAN_LIT("\x1b\x01x");
        size_t n;

        assert_int_equal(tparams_encode(&w, &t, true, extra), 0);
        n = (size_t)(w.p - b);
        assert_memory_equal(w.p - 3, extra.p, 3);
        assert_int_equal(tparams_decode(span_of(b, n), true, &u), 0);
        assert_true(same(&t, &u));
        for (size_t room = 0; room < n; room += 1 + rand_below(&seed, 20)) {
            w = wire_w_of(b, room);
            assert_int_equal(tparams_encode(&w, &t, true, extra), QUIC_TOOBIG);
        }

        /* From a client, the same without what is a server's. */
        w = wire_w_of(b, sizeof(b));
        assert_int_equal(tparams_encode(&w, &t, false, SPAN_LIT("")), 0);
        assert_int_equal(tparams_decode(span_of(b, (size_t)(w.p - b)), false, &u), 0);
        t.has_original_dcid = t.has_retry_scid = t.has_reset_token = t.has_preferred = false;
        memset(&t.original_dcid, 0, sizeof(t.original_dcid));
        memset(&t.retry_scid, 0, sizeof(t.retry_scid));
        memset(&t.reset_token, 0, sizeof(t.reset_token));
        memset(&t.preferred, 0, sizeof(t.preferred));
        assert_true(same(&t, &u));
    }
}

/* A part of a millisecond is rounded up; a time past ns_t is capped. */
static void test_times(void **state)
{
    struct tparams t, u;
    uint8_t b[64];
    struct wire_w w = wire_w_of(b, sizeof(b));

    (void)state;
    tparams_default(&t);
    t.max_idle_timeout = 1;
    t.max_ack_delay = 2 * NS_PER_MS + 1;
    assert_int_equal(tparams_encode(&w, &t, false, SPAN_LIT("")), 0);
    assert_int_equal(tparams_decode(span_of(b, (size_t)(w.p - b)), false, &u), 0);
    assert_int_equal(u.max_idle_timeout, NS_PER_MS);
    assert_int_equal(u.max_ack_delay, 3 * NS_PER_MS);
    assert_int_equal(decode("01 08 " MAX62, false, &u), 0);
    assert_int_equal(u.max_idle_timeout, NS_NEVER - 1);
    /* What was decoded can be encoded. */
    w = wire_w_of(b, sizeof(b));
    assert_int_equal(tparams_encode(&w, &u, false, SPAN_LIT("")), 0);
}

static void test_encode_refused(void **state)
{
    uint8_t b[512];

    (void)state;
    for (int i = 0; i < 9; i++) {
        struct wire_w w = wire_w_of(b, sizeof(b));
        struct tparams t;

        tparams_default(&t);
        t.max_udp_payload_size -= i == 0 ? 65527 - 1199 : 0;
        t.initial_max_data = i == 1 ? VARINT_MAX + 1 : 0;
        t.initial_max_streams_bidi = i == 2 ? ((uint64_t)1 << 60) + 1 : 0;
        t.ack_delay_exponent = i == 3 ? 21 : 3;
        t.max_ack_delay = i == 4 ? (1 << 14) * NS_PER_MS : 0;
        t.min_ack_delay_us = i == 8 ? 1 : TPARAM_NO_ACK_FREQUENCY;
        t.active_connection_id_limit = i == 5 ? 1 : 2;
        t.has_preferred = i == 6;
        t.initial_max_streams_uni = i == 7 ? UINT64_MAX : 0;
        assert_int_equal(tparams_encode(&w, &t, true, SPAN_LIT("")), QUIC_INVAL);
    }
}

/* RFC 9000 7.3, each case. */
static void test_check_cids(void **state)
{
    struct quic_cid a = cid_hex("aa"), b = cid_hex("bb"), c = cid_hex("cc"), none = cid_hex("");
    struct tparams t;

    (void)state;
    /* From a client. */
    tparams_default(&t);
    assert_int_equal(tparams_check_cids(&t, false, &a, NULL, NULL), BAD); /* absent */
    t.has_initial_scid = true;
    t.initial_scid = a;
    assert_int_equal(tparams_check_cids(&t, false, &a, NULL, NULL), 0);
    assert_int_equal(tparams_check_cids(&t, false, &b, NULL, NULL), BAD);
    assert_int_equal(tparams_check_cids(&t, false, &none, NULL, NULL), BAD);
    t.initial_scid = none;
    assert_int_equal(tparams_check_cids(&t, false, &none, NULL, NULL), 0);

    /* From a server, no Retry. */
    t.initial_scid = a;
    assert_int_equal(tparams_check_cids(&t, true, &a, &b, NULL), BAD); /* no original */
    t.has_original_dcid = true;
    t.original_dcid = b;
    assert_int_equal(tparams_check_cids(&t, true, &a, &b, NULL), 0);
    assert_int_equal(tparams_check_cids(&t, true, &a, &c, NULL), BAD);
    assert_int_equal(tparams_check_cids(&t, true, &c, &b, NULL), BAD);
    t.has_initial_scid = false;
    assert_int_equal(tparams_check_cids(&t, true, &a, &b, NULL), BAD);
    t.has_initial_scid = true;

    /* With a Retry. */
    assert_int_equal(tparams_check_cids(&t, true, &a, &b, &c), BAD); /* no retry_source */
    t.has_retry_scid = true;
    t.retry_scid = c;
    assert_int_equal(tparams_check_cids(&t, true, &a, &b, &c), 0);
    assert_int_equal(tparams_check_cids(&t, true, &a, &b, &a), BAD);
    assert_int_equal(tparams_check_cids(&t, true, &a, &b, NULL), BAD); /* there was none */
}

static void test_find(void **state)
{
    struct hex h = hex_of("04 01 05 3e 01 02 1b 00 7e77 03 010203 1b 00 ");
    struct span v;

    (void)state;
    assert_int_equal(tparam_find(hex_span(&h), 0x3e, &v), 0);
    assert_int_equal(v.n, 1);
    assert_int_equal(v.p[0], 2);
    assert_int_equal(tparam_find(hex_span(&h), 0x3e77, &v), 0);
    assert_int_equal(v.n, 3);
    assert_int_equal(tparam_find(hex_span(&h), 4, &v), 0);
    assert_int_equal(tparam_find(hex_span(&h), 5, &v), QUIC_DROP);
    assert_int_equal(tparam_find(hex_span(&h), 0x1b, &v), BAD);
    assert_int_equal(tparam_find(SPAN_LIT(""), 4, &v), QUIC_DROP);
    h = hex_of("3e 05 02");
    assert_int_equal(tparam_find(hex_span(&h), 0x3e, &v), QUIC_DROP);
}

static void test_put(void **state)
{
    uint8_t b[32];
    struct wire_w w = wire_w_of(b, sizeof(b));
    struct hex want = hex_of("3e 01 05 3e 08 c000000100000000 20 02 6869");

    (void)state;
    tparam_put_varint(&w, 0x3e, 5);
    tparam_put_varint(&w, 0x3e, 1ull << 32);
    tparam_put_bytes(&w, 0x20, SPAN_LIT("hi"));
    assert_int_equal(w.p - b, want.n);
    assert_memory_equal(b, want.b, want.n);
}

/* Any bytes: no read past the end; what is accepted survives another round. */
static void test_random(void **state)
{
    uint64_t seed = 19;
    int accepted = 0;

    (void)state;
    for (int i = 0; i < 200000; i++) {
        size_t n = rand_below(&seed, 60);
        uint8_t b[60], out[600];
        uint8_t *p;
        struct wire_w w = wire_w_of(out, sizeof(out));
        struct tparams t, u;
        bool server = rand_below(&seed, 2);

        rand_bytes(&seed, b, n);
        for (size_t k = 0; k + 2 < n && rand_below(&seed, 8); k += 2u + b[k + 1]) {
            b[k] %= 0x24;
            b[k + 1] %= 8;
        }
        p = exact_copy(b, n);
        if (tparams_decode(span_of(p, n), server, &t) == 0) {
            accepted++;
            assert_int_equal(tparams_encode(&w, &t, server, SPAN_LIT("")), 0);
            assert_int_equal(tparams_decode(span_of(out, (size_t)(w.p - out)), server, &u), 0);
            t.max_idle_timeout = u.max_idle_timeout = 0; /* capped ones are rounded */
            assert_true(same(&t, &u));
        }
        free(p);
    }
    assert_true(accepted > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),   cmocka_unit_test(test_rfc),
        cmocka_unit_test(test_values),     cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_truncated),  cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_times),      cmocka_unit_test(test_encode_refused),
        cmocka_unit_test(test_check_cids), cmocka_unit_test(test_find),
        cmocka_unit_test(test_put),        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
