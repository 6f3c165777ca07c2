#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "quic/errors.h"
#include "quic/packet.h"
#include "test/quic_hex.h"

static struct quic_cid cid_hex(const char *text)
{
    struct hex h = hex_of(text);

    return cid_of(hex_span(&h));
}

static bool span_is(struct span s, const char *text)
{
    struct hex h = hex_of(text);

    return s.n == h.n && (h.n == 0 || memcmp(s.p, h.b, h.n) == 0);
}

/* 24 bytes: packet number, payload and tag in the tables below. */
#define BODY "000102030405060708090a0b0c0d0e0f1011121314151617"

/* Packets and what they parse to; result is QUIC_DROP for those that are none. */
static const struct parse_case {
    const char *what, *wire;
    int result;
    enum packet_type type;
    uint32_t version;
    const char *dcid, *scid, *token;
    size_t pn_offset, length; /* length 0: all of the input */
} parse_cases[] = {
    {"initial", "c0 00000001 02 a1a2 01 b1 03 f1f2f3 4018" BODY, 0, PACKET_INITIAL, 1, "a1a2",
     "b1", "f1f2f3", 16, 0},
    {"initial without token or ids", "c3 00000001 00 00 00 18" BODY, 0, PACKET_INITIAL, 1, "",
     "", "", 9, 0},
    {"0-RTT", "d0 00000001 00 00 18" BODY, 0, PACKET_0RTT, 1, "", "", "", 8, 0},
    {"handshake", "e0 00000001 01 aa 01 bb 4018" BODY, 0, PACKET_HANDSHAKE, 1, "aa", "bb", "",
     11, 0},
    {"coalesced", "e0 00000001 01 aa 01 bb 18" BODY "4000", 0, PACKET_HANDSHAKE, 1, "aa", "bb",
     "", 10, 34},
    {"length in 8 bytes", "e0 00000001 00 00 c000000000000018" BODY, 0, PACKET_HANDSHAKE, 1, "",
     "", "", 15, 0},
    {"20-byte ids",
     "e0 00000001 14 000102030405060708090a0b0c0d0e0f10111213"
     "14 202122232425262728292a2b2c2d2e2f30313233 18" BODY,
     0, PACKET_HANDSHAKE, 1, "000102030405060708090a0b0c0d0e0f10111213",
     "202122232425262728292a2b2c2d2e2f30313233", "", 48, 0},
    {"retry", "f5 00000001 01 aa 01 bb 746f6b 000102030405060708090a0b0c0d0e0f", 0,
     PACKET_RETRY, 1, "aa", "bb", "746f6b", 0, 0},
    {"version negotiation", "80 00000000 01 aa 01 bb 00000001 6b3343cf", 0,
     PACKET_VERSION_NEGOTIATION, 0, "aa", "bb", "", 0, 0},
    {"other version", "80 6b3343cf 01 aa 01 bb 5555", 0, PACKET_OTHER_VERSION, 0x6b3343cf, "aa",
     "bb", "", 0, 0},
    {"other version, 21-byte id",
     "80 0a1a2a3a 15 0102030405060708090a0b0c0d0e0f101112131415 00", 0, PACKET_OTHER_VERSION,
     0x0a1a2a3a, "0102030405060708090a0b0c0d0e0f101112131415", "", "", 0, 0},
    {"short", "40 c1c2c3c4" BODY, 0, PACKET_1RTT, 0, "c1c2c3c4", "", "", 5, 0},
    {"short, nothing behind", "7f c1c2c3c4", 0, PACKET_1RTT, 0, "c1c2c3c4", "", "", 5, 0},

    {"empty", "", QUIC_DROP, 0, 0, NULL, NULL, NULL, 0, 0},
    {"short, fixed bit clear", "00 c1c2c3c4" BODY, QUIC_DROP, 0, 0, NULL, NULL, NULL, 0, 0},
    {"short, id cut", "40 c1c2c3", QUIC_DROP, 0, 0, NULL, NULL, NULL, 0, 0},
    {"long, fixed bit clear", "80 00000001 00 00 00 18" BODY, QUIC_DROP, 0, 0, NULL, NULL, NULL,
     0, 0},
    {"21-byte destination id",
     "c0 00000001 15 0102030405060708090a0b0c0d0e0f101112131415 00 00 18" BODY, QUIC_DROP, 0, 0,
     NULL, NULL, NULL, 0, 0},
    {"21-byte source id",
     "c0 00000001 00 15 0102030405060708090a0b0c0d0e0f101112131415 00 18" BODY, QUIC_DROP, 0, 0,
     NULL, NULL, NULL, 0, 0},
    {"token past the end", "c0 00000001 00 00 4fff" BODY, QUIC_DROP, 0, 0, NULL, NULL, NULL, 0,
     0},
    {"token of 2^62-1", "c0 00000001 00 00 ffffffffffffffff" BODY, QUIC_DROP, 0, 0, NULL, NULL,
     NULL, 0, 0},
    {"length past the end", "e0 00000001 00 00 19" BODY, QUIC_DROP, 0, 0, NULL, NULL, NULL, 0,
     0},
    {"length of 2^62-1", "e0 00000001 00 00 ffffffffffffffff" BODY, QUIC_DROP, 0, 0, NULL, NULL,
     NULL, 0, 0},
    {"length below a sample", "e0 00000001 00 00 13" BODY, QUIC_DROP, 0, 0, NULL, NULL, NULL, 0,
     0},
    {"retry without token", "f0 00000001 00 00 000102030405060708090a0b0c0d0e0f", QUIC_DROP, 0,
     0, NULL, NULL, NULL, 0, 0},
    {"retry without tag", "f0 00000001 00 00 0001", QUIC_DROP, 0, 0, NULL, NULL, NULL, 0, 0},
    {"no versions", "80 00000000 01 aa 01 bb", QUIC_DROP, 0, 0, NULL, NULL, NULL, 0, 0},
    {"half a version", "80 00000000 01 aa 01 bb 00000001 6b33", QUIC_DROP, 0, 0, NULL, NULL,
     NULL, 0, 0},
};

static void test_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(parse_cases); i++) {
        const struct parse_case *c = &parse_cases[i];
        struct hex h = hex_of(c->wire);
        struct packet_head head;

        print_message("%s\n", c->what);
        assert_int_equal(packet_parse(h.b, h.n, 4, &head), c->result);
        if (c->result)
            continue;
        assert_int_equal(head.type, c->type);
        assert_int_equal(head.version, c->version);
        assert_true(span_is(head.dcid, c->dcid));
        assert_true(span_is(head.scid, c->scid));
        assert_true(span_is(head.token, c->token));
        assert_int_equal(head.pn_offset, c->pn_offset);
        assert_int_equal(head.length, c->length ? c->length : h.n);
        assert_int_equal(head.tag != NULL, c->type == PACKET_RETRY);
        if (head.tag)
            assert_ptr_equal(head.tag, h.b + h.n - QUIC_RETRY_TAG);
    }
}

/* RFC 9287: the same packets with the fixed bit clear; the other versions don't have it. */
static void test_parse_greased(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(parse_cases); i++) {
        const struct parse_case *c = &parse_cases[i];
        struct hex h = hex_of(c->wire);
        struct packet_head a, b;
        bool v1 = c->type != PACKET_VERSION_NEGOTIATION && c->type != PACKET_OTHER_VERSION;

        if (c->result)
            continue;
        assert_int_equal(packet_parse_greased(h.b, h.n, 4, &a), 0);
        h.b[0] &= 0xbf;
        assert_int_equal(packet_parse(h.b, h.n, 4, &b), v1 ? QUIC_DROP : 0);
        assert_int_equal(packet_parse_greased(h.b, h.n, 4, &b), 0);
        assert_memory_equal(&a, &b, sizeof(a));
    }
}

/* Cut at each length and moved to each alignment; the sanitizer watches the end. */
static void test_parse_truncated(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(parse_cases); i++) {
        const struct parse_case *c = &parse_cases[i];
        struct hex h = hex_of(c->wire);

        for (size_t n = 0; n <= h.n; n++) {
            for (size_t shift = 0; shift < 4; shift++) {
                uint8_t *p = malloc(n + shift + 1);
                struct packet_head head;

                memcpy(p + shift + 1, h.b, n);
                if (packet_parse(p + shift + 1, n, 4, &head) == 0) {
                    assert_true(head.length <= n && head.length > 0);
                    assert_true(head.pn_offset < head.length || head.pn_offset == n);
                }
                free(p);
            }
        }
        /* What has a Length is whole or nothing. */
        for (size_t n = 0; c->result == 0 && c->length == 0 && n < h.n; n++) {
            struct packet_head head;

            if (c->type == PACKET_INITIAL || c->type == PACKET_0RTT ||
                c->type == PACKET_HANDSHAKE)
                assert_int_equal(packet_parse(h.b, n, 4, &head), QUIC_DROP);
        }
    }
}

static void test_parse_random(void **state)
{
    uint64_t seed = 7;

    (void)state;
    for (int i = 0; i < 200000; i++) {
        size_t n = rand_below(&seed, 80);
        uint8_t b[80];
        uint8_t *p;
        struct packet_head head;

        rand_bytes(&seed, b, n);
        if (n > 7 && rand_below(&seed, 2)) {
            memcpy(b + 1, "\0\0\0\1", 4);
            b[5] &= 0x1f;
        }
        p = exact_copy(b, n);
        if (packet_parse(p, n, rand_below(&seed, 21), &head) == 0)
            assert_true(head.length <= n && head.pn_offset <= head.length);
        free(p);
    }
}

static void test_long_head(void **state)
{
    static const struct {
        enum packet_type type;
        const char *dcid, *scid, *token;
        size_t pnl;
    } cases[] = {
        {PACKET_INITIAL, "8394c8f03e515708", "", "", 4},
        {PACKET_INITIAL, "", "f067a5502a4262b5", "", 2},
        {PACKET_INITIAL, "01", "02", "00112233445566778899aabbccddeeff", 1},
        {PACKET_0RTT, "8394c8f03e515708", "aabb", "", 3},
        {PACKET_HANDSHAKE, "000102030405060708090a0b0c0d0e0f10111213",
         "000102030405060708090a0b0c0d0e0f10111214", "", 4},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct quic_cid dcid = cid_hex(cases[i].dcid), scid = cid_hex(cases[i].scid);
        struct hex token = hex_of(cases[i].token);
        uint8_t b[256];
        struct wire_w w = wire_w_of(b, sizeof(b));
        struct packet_head head;
        uint8_t *at;
        size_t size;

        at = packet_long_head(&w, cases[i].type, QUIC_V1, &dcid, &scid, hex_span(&token),
                              cases[i].pnl);
        assert_non_null(at);
        size = (size_t)(w.p - b);
        assert_int_equal(size, packet_long_head_size(cases[i].type, &dcid, &scid, token.n));
        assert_ptr_equal(at + 2, w.p);
        assert_int_equal((b[0] & 3) + 1, cases[i].pnl);
        assert_int_equal(b[0] & 0x0c, 0);
        wire_w_zero(&w, 30);
        packet_long_length(at, 30);
        assert_int_equal(packet_parse(b, (size_t)(w.p - b), 0, &head), 0);
        assert_int_equal(head.type, cases[i].type);
        assert_true(span_is(head.dcid, cases[i].dcid));
        assert_true(span_is(head.scid, cases[i].scid));
        assert_true(span_is(head.token, cases[i].token));
        assert_int_equal(head.pn_offset, size);
        assert_int_equal(head.length, size + 30);
        for (size_t room = 0; room < size; room++) {
            w = wire_w_of(b, room);
            assert_null(packet_long_head(&w, cases[i].type, QUIC_V1, &dcid, &scid,
                                         hex_span(&token), cases[i].pnl));
        }
    }
}

/* The header of RFC 9001 A.2, before protection. */
static void test_long_head_rfc(void **state)
{
    struct hex want = hex_of("c300000001088394c8f03e5157080000449e00000002");
    struct quic_cid dcid = cid_hex("8394c8f03e515708"), none = cid_hex("");
    uint8_t b[64];
    struct wire_w w = wire_w_of(b, sizeof(b));
    uint8_t *at;

    (void)state;
    at = packet_long_head(&w, PACKET_INITIAL, QUIC_V1, &dcid, &none, SPAN_LIT(""), 4);
    pn_write(&w, 2, 4);
    packet_long_length(at, 1182);
    assert_int_equal(w.p - b, want.n);
    assert_memory_equal(b, want.b, want.n);
}

static void test_short_head(void **state)
{
    struct quic_cid dcid = cid_hex("0102030405060708");

    (void)state;
    for (unsigned bits = 0; bits < 16; bits++) {
        uint8_t b[32];
        struct wire_w w = wire_w_of(b, sizeof(b));
        struct packet_head head;

        packet_short_head(&w, &dcid, bits & 1, bits & 2, 1 + (bits >> 2));
        assert_int_equal(w.p - b, 9);
        assert_int_equal(b[0],
                         0x40 | (bits & 1 ? 0x20 : 0) | (bits & 2 ? 0x04 : 0) | bits >> 2);
        assert_int_equal(packet_parse(b, sizeof(b), 8, &head), 0);
        assert_int_equal(head.type, PACKET_1RTT);
        assert_memory_equal(head.dcid.p, dcid.b, 8);
        assert_int_equal(head.length, sizeof(b));
    }
}

static void test_pn_rfc(void **state)
{
    (void)state;
    /* RFC 9000 A.2 and A.3. */
    assert_int_equal(pn_len(0xac5c02, 0xabe8b3), 2);
    assert_int_equal(pn_len(0xace8fe, 0xabe8b3), 3);
    assert_int_equal(pn_decode(0x9b32, 2, 0xa82f30ea), 0xa82f9b32);

    assert_int_equal(pn_len(0, QUIC_PN_NONE), 1);
    assert_int_equal(pn_len(127, QUIC_PN_NONE), 1);
    assert_int_equal(pn_len(128, QUIC_PN_NONE), 2);
    assert_int_equal(pn_len(1000, 999), 1);
    assert_int_equal(pn_len(1128, 1000), 1);
    assert_int_equal(pn_len(1129, 1000), 2);
    assert_int_equal(pn_len(QUIC_PN_MAX, 0), 4);
    assert_int_equal(pn_len(QUIC_PN_MAX, QUIC_PN_MAX - 1), 1);
    assert_int_equal(pn_decode(0, 1, QUIC_PN_NONE), 0);
    assert_int_equal(pn_decode(0x80, 1, QUIC_PN_NONE), 0x80);
    assert_int_equal(pn_decode(0xff, 1, 0x100), 0xff);
    assert_int_equal(pn_decode(0x00, 1, 0xff), 0x100);
    assert_int_equal(pn_decode(0xff, 1, QUIC_PN_MAX - 1), QUIC_PN_MAX);
    assert_int_equal(pn_decode(0xff, 1, QUIC_PN_MAX), QUIC_PN_MAX);
    assert_int_equal(pn_decode(0x00, 1, QUIC_PN_MAX), QUIC_PN_MAX - 0xff);
}

/* The candidate closest to the expected number, searched the slow way. */
static uint64_t pn_naive(uint64_t truncated, size_t len, uint64_t largest)
{
    uint64_t expected = largest == QUIC_PN_NONE ? 0 : largest + 1, best = UINT64_MAX;
    uint64_t window = 1ull << (8 * len), base = expected >> (8 * len);

    for (uint64_t k = base ? base - 1 : 0; k <= base + 1; k++) {
        uint64_t c = k * window + truncated;
        uint64_t d = c > expected ? c - expected : expected - c;
        uint64_t e = best > expected ? best - expected : expected - best;

        /* At equal distance, the greater (RFC 9000 A.3 includes +half, excludes -half). */
        if (c <= QUIC_PN_MAX && (best == UINT64_MAX || d < e || (d == e && c > best)))
            best = c;
    }
    return best;
}

static void test_pn_random(void **state)
{
    uint64_t seed = 3;

    (void)state;
    for (int i = 0; i < 200000; i++) {
        uint64_t largest = rand_varint(&seed), pn;
        size_t len = 1 + rand_below(&seed, 4);
        uint64_t truncated = rand_u64(&seed) & ((1ull << (8 * len)) - 1);

        if (rand_below(&seed, 50) == 0)
            largest = QUIC_PN_NONE;
        assert_int_equal(pn_decode(truncated, len, largest), pn_naive(truncated, len, largest));

        /* A sender's choice is undone by any receiver between its acknowledgement and it. */
        if (largest == QUIC_PN_NONE || largest > QUIC_PN_MAX - (1u << 30))
            continue;
        pn = largest + 1 + (rand_u64(&seed) >> (34 + rand_below(&seed, 30)));
        len = pn_len(pn, largest);
        if (pn - largest <= 1u << 30) {
            uint64_t at = largest + rand_below(&seed, pn - largest);

            assert_int_equal(pn_decode(pn & ((1ull << (8 * len)) - 1), len, at), pn);
        }
    }
}

static void test_pn_write(void **state)
{
    uint8_t b[4];
    struct wire_w w;

    (void)state;
    w = wire_w_of(b, 4);
    pn_write(&w, 0x123456789a, 4);
    assert_memory_equal(b, "\x34\x56\x78\x9a", 4);
    w = wire_w_of(b, 4);
    pn_write(&w, 0x123456, 3);
    assert_memory_equal(b, "\x12\x34\x56", 3);
    assert_int_equal(w.p - b, 3);
    w = wire_w_of(b, 1);
    pn_write(&w, 5, 2);
    assert_true(w.failed);
}

static void test_version_negotiation(void **state)
{
    static const uint32_t versions[] = {QUIC_V1, 0x6b3343cf};
    struct hex dcid = hex_of("0102030405060708090a0b0c0d0e0f101112131415161718"),
               scid = hex_of("aabb");
    uint8_t b[256], big[256] = {0};
    struct wire_w w = wire_w_of(b, sizeof(b));
    struct packet_head head;
    uint32_t v;
    size_t n;

    (void)state;
    assert_int_equal(
        packet_version_negotiation(&w, hex_span(&dcid), hex_span(&scid), versions, 2, 0x2a), 0);
    n = (size_t)(w.p - b);
    assert_int_equal(b[0], 0xea);
    assert_int_equal(packet_parse(b, n, 8, &head), 0);
    assert_int_equal(head.type, PACKET_VERSION_NEGOTIATION);
    assert_int_equal(head.dcid.n, 2);
    assert_memory_equal(head.scid.p, dcid.b, dcid.n);
    assert_true(packet_next_version(&head.rest, &v));
    assert_int_equal(v, QUIC_V1);
    assert_true(packet_next_version(&head.rest, &v));
    assert_int_equal(v, 0x6b3343cf);
    assert_false(packet_next_version(&head.rest, &v));
    w = wire_w_of(b, n - 1);
    assert_int_equal(
        packet_version_negotiation(&w, hex_span(&dcid), hex_span(&scid), versions, 2, 0),
        QUIC_TOOBIG);
    w = wire_w_of(b, sizeof(b));
    assert_int_equal(
        packet_version_negotiation(&w, span_of(big, 256), hex_span(&scid), versions, 2, 0),
        QUIC_INVAL);
}

/* RFC 9001 A.4. */
static void test_retry_rfc(void **state)
{
    struct hex want = hex_of("ff000000010008f067a5502a4262b5746f6b656e"
                             "04a265ba2eff4d829058fb3f0f2496ba");
    struct quic_cid odcid = cid_hex("8394c8f03e515708"), none = cid_hex(""),
                    scid = cid_hex("f067a5502a4262b5");
    struct packet_head head;
    uint8_t b[64];
    struct wire_w w = wire_w_of(b, sizeof(b));

    (void)state;
    assert_int_equal(packet_retry(&w, &none, &scid, &odcid, SPAN_LIT("token"), 0x0f), 0);
    assert_int_equal(w.p - b, want.n);
    assert_memory_equal(b, want.b, want.n);
    assert_true(retry_verify(&odcid, want.b, want.n));
    assert_int_equal(packet_parse(b, want.n, 0, &head), 0);
    assert_int_equal(head.type, PACKET_RETRY);
    assert_memory_equal(head.token.p, "token", 5);
    assert_memory_equal(head.tag, want.b + 20, 16);

    for (size_t i = 0; i < want.n; i++) {
        want.b[i] ^= 0x10;
        assert_false(retry_verify(&odcid, want.b, want.n));
        want.b[i] ^= 0x10;
    }
    assert_false(retry_verify(&scid, want.b, want.n));
    assert_false(retry_verify(&none, want.b, want.n));
    for (size_t n = 0; n < want.n; n++)
        assert_false(retry_verify(&odcid, want.b, n));
}

static void test_retry_refused(void **state)
{
    struct quic_cid odcid = cid_hex("8394c8f03e515708"), scid = cid_hex("f067a5502a4262b5");
    uint8_t b[64];
    struct wire_w w = wire_w_of(b, sizeof(b));

    (void)state;
    assert_int_equal(packet_retry(&w, &scid, &scid, &odcid, SPAN_LIT(""), 0), QUIC_INVAL);
    assert_int_equal(packet_retry(&w, &scid, &odcid, &odcid, SPAN_LIT("t"), 0), QUIC_INVAL);
    for (size_t room = 0; room < 1 + 4 + 9 + 9 + 1 + 16; room++) {
        w = wire_w_of(b, room);
        assert_int_equal(packet_retry(&w, &scid, &scid, &odcid, SPAN_LIT("t"), 0), QUIC_TOOBIG);
    }
}

static void test_levels(void **state)
{
    (void)state;
    assert_int_equal(packet_level(PACKET_INITIAL), LEVEL_INITIAL);
    assert_int_equal(packet_level(PACKET_0RTT), LEVEL_EARLY);
    assert_int_equal(packet_level(PACKET_HANDSHAKE), LEVEL_HANDSHAKE);
    assert_int_equal(packet_level(PACKET_1RTT), LEVEL_APP);
    assert_int_equal(packet_level(PACKET_RETRY), LEVEL_N);
    assert_int_equal(packet_level(PACKET_VERSION_NEGOTIATION), LEVEL_N);
    assert_int_equal(packet_level(PACKET_OTHER_VERSION), LEVEL_N);
    assert_int_equal(space_of(LEVEL_INITIAL), SPACE_INITIAL);
    assert_int_equal(space_of(LEVEL_EARLY), SPACE_APP);
    assert_int_equal(space_of(LEVEL_HANDSHAKE), SPACE_HANDSHAKE);
    assert_int_equal(space_of(LEVEL_APP), SPACE_APP);
}

static void test_cid(void **state)
{
    uint8_t big[21] = {1};
    struct quic_cid a = cid_hex("0102"), b = cid_hex("010200"), c = cid_hex("0103"),
                    d = cid_hex("0102");

    (void)state;
    assert_true(cid_eq(&a, &d));
    assert_false(cid_eq(&a, &b));
    assert_false(cid_eq(&a, &c));
    a = cid_of(span_of(big, sizeof(big)));
    assert_int_equal(a.len, 0);
    a = cid_of(span_of(NULL, 0));
    assert_int_equal(a.len, 0);
}

static void test_error_names(void **state)
{
    (void)state;
    assert_string_equal(quic_error_name(QUIC_NO_ERROR), "NO_ERROR");
    assert_string_equal(quic_error_name(QUIC_PROTOCOL_VIOLATION), "PROTOCOL_VIOLATION");
    assert_string_equal(quic_error_name(QUIC_NO_VIABLE_PATH), "NO_VIABLE_PATH");
    assert_string_equal(quic_error_name(QUIC_NO_VIABLE_PATH + 1), "unknown error");
    assert_string_equal(quic_error_name(0x178), "no_application_protocol");
    assert_string_equal(quic_error_name(0x128), "handshake_failure");
    assert_string_equal(quic_error_name(0x1fe), "CRYPTO_ERROR");
    assert_string_equal(quic_error_name(0x200), "unknown error");
    assert_string_equal(quic_error_name(UINT64_MAX), "unknown error");
    for (uint64_t code = 0; code <= QUIC_NO_VIABLE_PATH; code++)
        assert_non_null(quic_error_name(code));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_parse_greased),
        cmocka_unit_test(test_parse_truncated),
        cmocka_unit_test(test_parse_random),
        cmocka_unit_test(test_long_head),
        cmocka_unit_test(test_long_head_rfc),
        cmocka_unit_test(test_short_head),
        cmocka_unit_test(test_pn_rfc),
        cmocka_unit_test(test_pn_random),
        cmocka_unit_test(test_pn_write),
        cmocka_unit_test(test_version_negotiation),
        cmocka_unit_test(test_retry_rfc),
        cmocka_unit_test(test_retry_refused),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_cid),
        cmocka_unit_test(test_error_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
