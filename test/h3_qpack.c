/* qpack_*: integers, Huffman, static table, sections both ways, the two streams, QIF files. */
#include "test/h3_util.h"

#include <dirent.h>
#include <unistd.h>

#include "h3/qpack_dec.h"
#include "h3/qpack_enc.h"
#include "h3/qpack_huff.h"
#include "h3/qpack_int.h"
#include "h3/qpack_static.h"

/* --- integers --- */

static void integers(void **state)
{
    static const struct {
        unsigned prefix;
        uint64_t v;
        const char *hex;
    } rows[] = {
        /* RFC 7541 C.1, then the edges of prefixes and of the range */
        {5, 10, "0a"},
        {5, 1337, "1f 9a 0a"},
        {8, 42, "2a"},
        {1, 0, "00"},
        {1, 1, "01 00"},
        {7, 126, "7e"},
        {7, 127, "7f 00"},
        {7, 128, "7f 01"},
        {8, 255 + 127, "ff 7f"},
        {8, 255 + 128, "ff 80 01"},
        {6, VARINT_MAX, "3f c0 ff ff ff ff ff ff ff 3f"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t want[16], got[16];
        struct wire_w w = wire_w_of(got, sizeof(got));
        struct wire_r r;
        size_t n = unhex(rows[i].hex, want, sizeof(want));
        uint64_t v;

        qpack_int_put(&w, 0, rows[i].prefix, rows[i].v);
        assert_int_equal(w.p - got, n);
        assert_memory_equal(got, want, n);
        assert_int_equal(qpack_int_len(rows[i].prefix, rows[i].v), n);
        for (size_t cut = 1; cut <= n; cut++) {
            r = wire_r_of(want + 1, cut - 1);
            assert_int_equal(qpack_int_get(&r, want[0], rows[i].prefix, &v),
                             cut < n ? QUIC_INVAL : 0);
        }
        assert_int_equal(v, rows[i].v);
    }
}

static void integers_random(void **state)
{
    uint64_t seed = 1;

    (void)state;
    for (size_t i = 0; i < 20000; i++) {
        unsigned prefix = 1 + rnd(&seed) % 8;
        uint64_t v = rnd(&seed) >> (2 + rnd(&seed) % 62), back;
        uint8_t flags = (uint8_t)(rnd(&seed) << prefix), buf[QPACK_INT_MAX_BYTES];
        struct wire_w w = wire_w_of(buf, sizeof(buf));
        struct wire_r r;

        qpack_int_put(&w, flags, prefix, v);
        assert_false(w.failed);
        assert_int_equal(w.p - buf, qpack_int_len(prefix, v));
        assert_int_equal(buf[0] >> prefix, flags >> prefix);
        r = wire_r_of(buf + 1, (size_t)(w.p - buf) - 1);
        assert_int_equal(qpack_int_get(&r, buf[0], prefix, &back), 0);
        assert_int_equal(back, v);
        assert_int_equal(wire_r_left(&r), 0);
    }
}

static void integers_bad(void **state)
{
    static const struct {
        const char *hex;
        int rc;
    } rows[] = {
        {"ff ff ff ff ff ff ff ff ff 3f", QUIC_INVAL},       /* 2^62 - 1 + 255 */
        {"ff 80 fe ff ff ff ff ff ff 3f", 0},                /* 2^62 - 1 */
        {"ff 81 fe ff ff ff ff ff ff 3f", QUIC_INVAL},       /* 2^62 */
        {"ff 80 80 80 80 80 80 80 80 80 00", 0},             /* ten bytes of zero */
        {"ff 80 80 80 80 80 80 80 80 80 80 00", QUIC_INVAL}, /* one more */
        {"ff 80 80 80 80 80 80 80 80 80 01", QUIC_INVAL},    /* 2^63 */
        {"ff 80 80 80 80 80 80 80 80 40", QUIC_INVAL},       /* 2^62 */
        {"ff ff ff ff ff ff ff ff ff ff ff ff", QUIC_INVAL},
        {"ff", QUIC_INVAL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t buf[16];
        size_t n = unhex(rows[i].hex, buf, sizeof(buf));
        struct wire_r r = wire_r_of(buf + 1, n - 1);
        uint64_t v;

        assert_int_equal(qpack_int_get(&r, buf[0], 8, &v), rows[i].rc);
    }
}

/* --- Huffman --- */

static void huffman_vectors(void **state)
{
    static const struct {
        const char *hex, *text;
    } rows[] = {
        /* RFC 7541 C.4 and C.6 */
        {"f1e3 c2e5 f23a 6ba0 ab90 f4ff", "www.example.com"},
        {"a8eb 1064 9cbf", "no-cache"},
        {"25a8 49e9 5ba9 7d7f", "custom-key"},
        {"25a8 49e9 5bb8 e8b4 bf", "custom-value"},
        {"6402", "302"},
        {"aec3 771a 4b", "private"},
        {"d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff",
         "Mon, 21 Oct 2013 20:13:21 GMT"},
        {"9d29 ad17 1863 c78f 0b97 c8e9 ae82 ae43 d3", "https://www.example.com"},
        {"640e ff", "307"},
        {"d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff",
         "Mon, 21 Oct 2013 20:13:22 GMT"},
        {"9bd9 ab", "gzip"},
        {"94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 "
         "3160 65c0 03ed 4ee5 b106 3d50 07",
         "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"},
        {"", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t want[64], got[64];
        size_t n = unhex(rows[i].hex, want, sizeof(want)), len = strlen(rows[i].text);
        struct wire_w w = wire_w_of(got, sizeof(got));

        qpack_huff_encode(&w, span_of(rows[i].text, len));
        assert_int_equal(w.p - got, n);
        assert_memory_equal(got, want, n);
        assert_int_equal(qpack_huff_len(span_of(rows[i].text, len)), n);
        w = wire_w_of(got, sizeof(got));
        assert_int_equal(qpack_huff_decode(&w, span_of(want, n)), 0);
        assert_int_equal(w.p - got, len);
        assert_memory_equal(got, rows[i].text, len);
        assert_true(qpack_huff_bound(n) >= len);
    }
}

static void huffman_bad(void **state)
{
    static const struct {
        const char *hex;
        int rc;
    } rows[] = {
        {"ff", QUIC_INVAL},   /* eight bits of padding */
        {"1fff", QUIC_INVAL}, /* "a", eleven bits of padding */
        {"1f", 0},            /* "a" */
        {"1e", QUIC_INVAL},   /* padding with a zero */
        {"18", QUIC_INVAL},
        {"ffffffff", QUIC_INVAL},   /* EOS and padding */
        {"fffffffc", QUIC_INVAL},   /* EOS cut by a zero */
        {"1ffffffffe", QUIC_INVAL}, /* "a", EOS */
        {"ffff eaff", QUIC_INVAL},  /* octet 9, then eight bits of padding */
        {"ffff ea", 0},             /* octet 9 */
        {"ffff fff3", 0},           /* octet 10, two bits of padding */
        {"ffff fff1", QUIC_INVAL},
    };
    uint8_t buf[8], out[16];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t n = unhex(rows[i].hex, buf, sizeof(buf));
        struct wire_w w = wire_w_of(out, sizeof(out));

        assert_int_equal(qpack_huff_decode(&w, span_of(buf, n)), rows[i].rc);
    }
    for (size_t room = 0; room < 4; room++) { /* "302" */
        struct wire_w w = wire_w_of(out, room);

        assert_int_equal(qpack_huff_decode(&w, span_of("\x64\x02", 2)),
                         room < 3 ? QUIC_TOOBIG : 0);
    }
}

/* The code of each octet, found by encoding it eight times; EOS as the standard has it. */
static struct code {
    uint32_t code;
    unsigned bits;
} codes[257];

static void find_codes(void)
{
    for (unsigned c = 0; c < 256; c++) {
        uint8_t eight[8], out[32];
        struct wire_w w = wire_w_of(out, sizeof(out));

        memset(eight, (int)c, sizeof(eight));
        qpack_huff_encode(&w, span_of(eight, 8));
        codes[c].bits = (unsigned)(w.p - out);
        codes[c].code = 0;
        for (unsigned b = 0; b < codes[c].bits; b++)
            codes[c].code = codes[c].code << 1 | (out[b / 8] >> (7 - b % 8) & 1);
    }
    codes[256] = (struct code){0x3fffffff, 30};
}

/* Decode bit by bit. Returns the length, or -1. */
static int naive_decode(uint8_t *out, const uint8_t *in, size_t n)
{
    uint32_t acc = 0;
    unsigned have = 0;
    int len = 0;

    for (size_t bit = 0; bit < 8 * n; bit++) {
        acc = acc << 1 | (in[bit / 8] >> (7 - bit % 8) & 1);
        have++;
        for (unsigned c = 0; c < 257; c++) {
            if (codes[c].bits != have || codes[c].code != acc)
                continue;
            if (c == 256)
                return -1;
            out[len++] = (uint8_t)c;
            acc = have = 0;
            break;
        }
    }
    return have <= 7 && acc == (1u << have) - 1 ? len : -1;
}

static void huffman_oracle(void **state)
{
    uint64_t seed = 2, kraft = 0;

    (void)state;
    find_codes();
    for (unsigned c = 0; c < 257; c++)
        kraft += (uint64_t)1 << (32 - codes[c].bits);
    assert_int_equal(kraft, (uint64_t)1 << 32); /* a complete prefix code */
    for (size_t i = 0; i < 3000; i++) {
        uint8_t in[40], want[80], got[80], coded[160];
        size_t n = rnd(&seed) % sizeof(in);
        uint8_t top = (uint8_t)(rnd(&seed) % 2 ? 0xff : 0); /* long codes, too */
        struct wire_w w = wire_w_of(got, sizeof(got));
        int len, rc;

        for (size_t k = 0; k < n; k++)
            in[k] = (uint8_t)(rnd(&seed) | (rnd(&seed) % 4 ? top : 0));
        len = naive_decode(want, in, n);
        rc = qpack_huff_decode(&w, span_of(in, n));
        assert_int_equal(rc, len < 0 ? QUIC_INVAL : 0);
        if (len >= 0) {
            assert_int_equal(w.p - got, len);
            assert_memory_equal(got, want, (size_t)len);
            assert_true((uint64_t)len <= qpack_huff_bound(n));
        }
        /* any octets survive the way there and back */
        w = wire_w_of(coded, sizeof(coded));
        qpack_huff_encode(&w, span_of(in, n));
        assert_int_equal(w.p - coded, qpack_huff_len(span_of(in, n)));
        assert_int_equal(naive_decode(want, coded, (size_t)(w.p - coded)), n);
        assert_memory_equal(want, in, n);
    }
}

/* --- static table --- */

static void static_table(void **state)
{
    static const struct {
        uint64_t index;
        const char *name, *value;
    } rows[] = {
        {0, ":authority", ""},
        {1, ":path", "/"},
        {15, ":method", "CONNECT"},
        {21, ":method", "PUT"},
        {25, ":status", "200"},
        {41, "cache-control", "public, max-age=31536000"},
        {47, "content-type", "application/x-www-form-urlencoded"},
        {52, "content-type", "text/html; charset=utf-8"},
        {54, "content-type", "text/plain;charset=utf-8"},
        {58, "strict-transport-security", "max-age=31536000; includesubdomains; preload"},
        {63, ":status", "100"},
        {84, "authorization", ""},
        {85, "content-security-policy",
         "script-src 'none'; object-src 'none'; base-uri 'none'"},
        {98, "x-frame-options", "sameorigin"},
    };
    bool exact;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct qpack_static_row *row = qpack_static_get(rows[i].index);

        assert_true(h3_span_is(row->name, rows[i].name));
        assert_true(h3_span_is(row->value, rows[i].value));
    }
    for (int i = 0; i < QPACK_STATIC_N; i++) {
        const struct qpack_static_row *row = qpack_static_get((uint64_t)i);
        int by_name = qpack_static_find(row->name, SPAN_LIT("no such value"), &exact);

        assert_false(exact);
        assert_true(by_name >= 0 && by_name <= i);
        assert_int_equal(qpack_static_find(row->name, row->value, &exact), i);
        assert_true(exact);
    }
    assert_int_equal(qpack_static_find(SPAN_LIT("capsule-protocol"), SPAN_LIT("?1"), &exact),
                     -1);
    assert_false(exact);
    assert_null(qpack_static_get(QPACK_STATIC_N));
    assert_null(qpack_static_get(VARINT_MAX));
}

/* --- sections --- */

static void decode_vectors(void **state)
{
    static const struct {
        const char *hex;
        int rc;
        const char *text;
    } rows[] = {
        {"0000 510b 2f69 6e64 6578 2e68 746d 6c", 0, " :path=/index.html"}, /* RFC 9204 B.1 */
        {"0000", 0, ""},
        {"0005", 0, ""}, /* the Base is free */
        {"00ff00", 512, NULL},
        {"007f00", 0, ""},
        {"0000 d9", 0, " :status=200"},
        {"0000 cf d7 c1", 0, " :method=CONNECT :scheme=https :path=/"},
        {"0000 ff 23", 0, " x-frame-options=sameorigin"}, /* 98 */
        {"0000 ff 24", 512, NULL},                        /* 99 */
        {"0000 5f45 03 616263", 0, " authorization=abc"},
        {"0000 7f45 03 616263", 0, " authorization=abc!"},
        {"0000 7f45 82 6402", 0, " authorization=302!"},
        {"0000 5f45 00", 0, " authorization="},
        {"0000 23 616263 01 64", 0, " abc=d"},
        {"0000 33 616263 01 64", 0, " abc=d!"},
        {"0000 2f 01 25a8 49e9 5ba9 7d7f 89 25a8 49e9 5bb8 e8b4 bf", 0,
         " custom-key=custom-value"},
        {"0000 20 00", 0, " ="}, /* an empty name is the message's affair */
        /* prefix */
        {"", 512, NULL},
        {"00", 512, NULL},
        {"ff", 512, NULL},
        {"0100", 512, NULL}, /* needs an insertion */
        {"0080", 512, NULL}, /* a negative base */
        {"00 ff ff ff ff ff ff ff ff ff ff ff 7f", 512, NULL},
        /* the dynamic table */
        {"0000 80", 512, NULL},
        {"0000 bf 01", 512, NULL},
        {"0000 10", 512, NULL},
        {"0000 00 01 61", 512, NULL},
        {"0000 40 01 61", 512, NULL},
        {"0000 60 01 61", 512, NULL},
        /* cut off */
        {"0000 ff", 512, NULL},
        {"0000 51", 512, NULL},
        {"0000 51 02 61", 512, NULL},
        {"0000 51 ff", 512, NULL},
        {"0000 23 6162", 512, NULL},
        {"0000 23 616263", 512, NULL},
        {"0000 27", 512, NULL},
        {"0000 51 ff ff ff ff ff ff ff ff ff 3f", 512, NULL},
        /* Huffman code that is none */
        {"0000 51 81 ff", 512, NULL},
        {"0000 51 84 ffffffff", 512, NULL},
        {"0000 29 ff 01 61", 512, NULL},
        /* an error behind good fields */
        {"0000 d9 d9 80", 512, NULL},
    };
    struct qpack_dec d;
    static struct text t;

    (void)state;
    qpack_dec_init(&d, 1000);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t buf[64], *copy;
        size_t n = unhex(rows[i].hex, buf, sizeof(buf));

        copy = malloc(n + !n); /* exactly as long: a read beyond it shows */
        memcpy(copy, buf, n);
        assert_int_equal(qpack_dec_section(&d, span_of(copy, n)), rows[i].rc);
        free(copy);
        text_clear(&t);
        say_fields(&t, d.fields, d.count);
        assert_string_equal(t.p, rows[i].text ? rows[i].text : "");
    }
    qpack_dec_free(&d);
}

/* The limit counts what comes out, whatever the form in which it came in. */
static void decode_limit(void **state)
{
    static const struct {
        const char *hex;
        uint64_t size;
    } rows[] = {
        {"0000 d9", 42},
        {"0000 d9 d9 d9", 126},
        {"0000 fa", 25 + 44 + 32}, /* 58 */
        {"0000 51 03 616263", 5 + 3 + 32},
        {"0000 51 82 6402", 5 + 3 + 32},
        {"0000 20 00", 32},
        {"0000 2f 01 25a8 49e9 5ba9 7d7f 89 25a8 49e9 5bb8 e8b4 bf", 10 + 12 + 32},
        {"0000", 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (uint64_t max = 0; max <= rows[i].size + 2; max++) {
            uint8_t buf[64];
            size_t n = unhex(rows[i].hex, buf, sizeof(buf));
            struct qpack_dec d;

            qpack_dec_init(&d, max);
            assert_int_equal(qpack_dec_section(&d, span_of(buf, n)),
                             max < rows[i].size ? QUIC_TOOBIG : 0);
            if (max < rows[i].size)
                assert_int_equal(d.count, 0);
            qpack_dec_free(&d);
        }
    }
}

/* One kilobyte of references to the longest static row would be 85 kilobytes of fields. */
static void decode_expansion(void **state)
{
    uint8_t bomb[1026] = {0};
    struct qpack_dec d;

    (void)state;
    memset(bomb + 2, 0xfa, sizeof(bomb) - 2);
    qpack_dec_init(&d, 32768);
    assert_int_equal(qpack_dec_section(&d, span_of(bomb, sizeof(bomb))), QUIC_TOOBIG);
    assert_true(d.cap <= 1024 && d.text_cap <= 2048);
    qpack_dec_trim(&d);
    assert_int_equal(d.cap, 0);
    qpack_dec_free(&d);
}

static void encode_vectors(void **state)
{
    static const struct {
        const char *name, *value;
        bool never;
        const char *hex;
    } rows[] = {
        {":status", "200", false, "0000 d9"},
        {":status", "200", true, "0000 7f0a 82 1001"},
        {":path", "/index.html", false, "0000 51 88 60d5 485f 2bce 9a68"},
        {"authorization", "", true, "0000 7f45 00"},
        {"custom-key", "custom-value", false,
         "0000 2f01 25a8 49e9 5ba9 7d7f 89 25a8 49e9 5bb8 e8b4 bf"},
        {"a", "~", false, "0000 21 61 01 7e"}, /* Huffman is not shorter: 8 bits, 13 bits */
        {"<>", "?1", true, "0000 32 3c3e 02 3f31"}, /* 27 bits, 15 bits */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct h3_field f = h3_field_str(rows[i].name, rows[i].value);
        uint8_t want[64], got[128];
        struct wire_w w = wire_w_of(got, sizeof(got));
        size_t n = unhex(rows[i].hex, want, sizeof(want));

        f.never_index = rows[i].never;
        qpack_enc_section(&w, &f, 1);
        assert_int_equal(w.p - got, n);
        assert_memory_equal(got, want, n);
        assert_true(n <= qpack_enc_bound(&f, 1));
    }
}

static void same_fields(const struct h3_field *a, const struct h3_field *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        assert_true(h3_span_eq(a[i].name, b[i].name));
        assert_true(h3_span_eq(a[i].value, b[i].value));
        assert_int_equal(a[i].never_index, b[i].never_index);
    }
}

/* Random fields, of static names and not, come back, and their size is the limit. */
static void round_trip(void **state)
{
    uint64_t seed = 3;

    (void)state;
    for (size_t round = 0; round < 2000; round++) {
        struct h3_field f[20];
        uint8_t bytes[20][2][48], buf[4096];
        struct wire_w w = wire_w_of(buf, sizeof(buf));
        size_t n = rnd(&seed) % 20;
        struct qpack_dec d;

        for (size_t i = 0; i < n; i++) {
            const struct qpack_static_row *row = qpack_static_get(rnd(&seed) % 99);
            size_t name_n = rnd(&seed) % 48, value_n = rnd(&seed) % 48;
            uint8_t mask = rnd(&seed) % 2 ? 0xff : 0x7f;

            for (size_t k = 0; k < 48; k++) {
                bytes[i][0][k] = (uint8_t)(rnd(&seed) & mask);
                bytes[i][1][k] = (uint8_t)(rnd(&seed) & mask);
            }
            f[i].name = rnd(&seed) % 2 ? row->name : span_of(bytes[i][0], name_n);
            f[i].value = rnd(&seed) % 2 ? row->value : span_of(bytes[i][1], value_n);
            f[i].never_index = rnd(&seed) % 4 == 0;
        }
        qpack_enc_section(&w, f, n);
        assert_false(w.failed);
        assert_true((uint64_t)(w.p - buf) <= qpack_enc_bound(f, n));
        qpack_dec_init(&d, h3_fields_size(f, n));
        assert_int_equal(qpack_dec_section(&d, span_of(buf, (size_t)(w.p - buf))), 0);
        assert_int_equal(d.count, n);
        same_fields(d.fields, f, n);
        qpack_dec_free(&d);
    }
}

/* Garbage gives an error or fields within the limit, never anything else. */
static void decode_garbage(void **state)
{
    uint64_t seed = 4;
    struct qpack_dec d;

    (void)state;
    qpack_dec_init(&d, 300);
    for (size_t round = 0; round < 50000; round++) {
        uint8_t buf[48] = {0};
        size_t n = rnd(&seed) % sizeof(buf);
        int rc;

        for (size_t i = 2; i < n; i++)
            buf[i] = (uint8_t)rnd(&seed);
        rc = qpack_dec_section(&d, span_of(buf, n));
        assert_true(rc == 0 || rc == QUIC_TOOBIG || rc == QPACK_DECOMPRESSION_FAILED);
        assert_true(h3_fields_size(d.fields, d.count) <= 300);
    }
    qpack_dec_free(&d);
}

/* --- encoder and decoder stream --- */

static void streams(void **state)
{
    static const struct {
        const char *hex;
        int encoder, decoder;
    } rows[] = {
        {"", 0, 0},
        {"20 20", 0, QPACK_DECODER_STREAM_ERROR},
        {"21", QPACK_ENCODER_STREAM_ERROR, QPACK_DECODER_STREAM_ERROR},
        {"3f 00", QPACK_ENCODER_STREAM_ERROR, QPACK_DECODER_STREAM_ERROR}, /* capacity 31 */
        {"3f", QPACK_ENCODER_STREAM_ERROR, QPACK_DECODER_STREAM_ERROR},
        {"00", QPACK_ENCODER_STREAM_ERROR, QPACK_DECODER_STREAM_ERROR}, /* increment 0 */
        {"01", QPACK_ENCODER_STREAM_ERROR, QPACK_DECODER_STREAM_ERROR},
        {"80", QPACK_ENCODER_STREAM_ERROR, QPACK_DECODER_STREAM_ERROR}, /* ack of stream 0 */
        {"c0 01 61", QPACK_ENCODER_STREAM_ERROR, QPACK_DECODER_STREAM_ERROR},
        {"40", QPACK_ENCODER_STREAM_ERROR, 0}, /* cancel stream 0 */
        {"44 7f 00 48", QPACK_ENCODER_STREAM_ERROR, 0},
        {"7f ff ff", QPACK_ENCODER_STREAM_ERROR, 0}, /* goes on */
        {"7f ff ff ff ff ff ff ff ff ff", QPACK_ENCODER_STREAM_ERROR,
         QPACK_DECODER_STREAM_ERROR},
        {"44 84", QPACK_ENCODER_STREAM_ERROR, QPACK_DECODER_STREAM_ERROR},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t buf[32];
        size_t n = unhex(rows[i].hex, buf, sizeof(buf));

        for (size_t step = 1; step <= n + 1; step++) {
            struct qpack_estream e = {0};
            struct qpack_dstream d = {0};
            int rc_e = 0, rc_d = 0;

            for (size_t at = 0; at < n; at += step) {
                struct span s = span_of(buf + at, n - at < step ? n - at : step);

                rc_e = rc_e ? rc_e : qpack_estream_feed(&e, s);
                rc_d = rc_d ? rc_d : qpack_dstream_feed(&d, s);
            }
            assert_int_equal(rc_e, rows[i].encoder);
            assert_int_equal(rc_d, rows[i].decoder);
        }
    }
}

/* --- files of the offline interop collection, where they are at hand --- */

#define VECTORS "../shared/vectors/qpack"

static uint8_t *slurp(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    uint8_t *p;
    long size;

    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    size = ftell(f);
    rewind(f);
    p = malloc((size_t)size + 1);
    assert_int_equal(fread(p, 1, (size_t)size, f), size);
    p[size] = 0;
    fclose(f);
    *n = (size_t)size;
    return p;
}

/* The next list of a QIF text as `name TAB value NL` lines; its length, 0 at the end. */
static size_t next_list(const char **at, char *out, size_t max)
{
    size_t n = 0;

    while (**at) {
        const char *end = strchr(*at, '\n');
        size_t len = end ? (size_t)(end - *at) : strlen(*at);

        if (len == 0 && n > 0)
            break;
        if (len > 0 && **at != '#') {
            assert_true(n + len + 1 < max);
            memcpy(out + n, *at, len);
            out[n + len] = '\n';
            n += len + 1;
        }
        *at += len + (end != NULL);
    }
    return n;
}

/* Decode one file of blocks. Returns the first error; else compares with the QIF. */
static int decode_file(const char *path, const char *qif, size_t *lists)
{
    static char want[1 << 16], got[1 << 16];
    struct qpack_estream e = {0};
    struct qpack_dec d;
    size_t n, want_n, got_n;
    uint8_t *file = slurp(path, &n);
    struct wire_r r = wire_r_of(file, n);
    int rc = 0;

    qpack_dec_init(&d, 1 << 20);
    while (rc == 0 && wire_r_left(&r) > 0) {
        uint64_t stream = wire_r_u64(&r);
        struct span block = wire_r_bytes(&r, wire_r_u32(&r));

        assert_false(r.failed);
        if (stream == 0) {
            rc = qpack_estream_feed(&e, block);
            continue;
        }
        rc = qpack_dec_section(&d, block);
        if (rc != 0 || !qif)
            continue;
        got_n = 0;
        for (size_t i = 0; i < d.count; i++)
            got_n +=
                (size_t)snprintf(got + got_n, sizeof(got) - got_n, "%.*s\t%.*s\n",
                                 (int)d.fields[i].name.n, (const char *)d.fields[i].name.p,
                                 (int)d.fields[i].value.n, (const char *)d.fields[i].value.p);
        want_n = next_list(&qif, want, sizeof(want));
        assert_int_equal(got_n, want_n);
        assert_memory_equal(got, want, want_n);
        (*lists)++;
    }
    if (rc == 0 && qif)
        assert_int_equal(next_list(&qif, want, sizeof(want)), 0);
    qpack_dec_free(&d);
    free(file);
    return rc;
}

/* Encode a QIF, decode it again; returns the bytes of all sections. */
static size_t encode_qif(const char *qif)
{
    static char list[1 << 16];
    static uint8_t buf[1 << 17];
    size_t total = 0, n;

    while ((n = next_list(&qif, list, sizeof(list))) > 0) {
        struct h3_field f[200];
        struct wire_w w = wire_w_of(buf, sizeof(buf));
        struct qpack_dec d;
        size_t k = 0;

        for (char *line = strtok(list, "\n"); line; line = strtok(NULL, "\n")) {
            char *tab = strchr(line, '\t');

            assert_true(tab && k < ARRAY_LEN(f));
            *tab = 0;
            f[k++] = h3_field_str(line, tab + 1);
        }
        qpack_enc_section(&w, f, k);
        assert_false(w.failed);
        qpack_dec_init(&d, h3_fields_size(f, k));
        assert_int_equal(qpack_dec_section(&d, span_of(buf, (size_t)(w.p - buf))), 0);
        assert_int_equal(d.count, k);
        same_fields(d.fields, f, k);
        qpack_dec_free(&d);
        total += (size_t)(w.p - buf);
        memset(list, 0, n);
    }
    return total;
}

static void interop_files(void **state)
{
    static const char *const encoders[] = {"nghttp3", "proxygen", "quinn"};
    static const char *const qifs[] = {"netbsd-hq", "fb-req-hq", "fb-resp-hq"};
    size_t files = 0, lists = 0;

    (void)state;
    for (size_t q = 0; q < ARRAY_LEN(qifs); q++) {
        char path[300];
        size_t n;
        DIR *dir;
        char *qif;

        snprintf(path, sizeof(path), VECTORS "/qifs/%s.qif", qifs[q]);
        if (access(path, R_OK) != 0) {
            print_message("no QIF files in " VECTORS ": skipped\n");
            skip();
        }
        qif = (char *)slurp(path, &n);
        for (size_t e = 0; e < ARRAY_LEN(encoders); e++) {
            struct dirent *entry;
            char prefix[64];

            snprintf(path, sizeof(path), VECTORS "/encoded/%s", encoders[e]);
            snprintf(prefix, sizeof(prefix), "%s.out.0.", qifs[q]);
            dir = opendir(path);
            assert_non_null(dir);
            while ((entry = readdir(dir))) {
                if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
                    continue;
                snprintf(path, sizeof(path), VECTORS "/encoded/%s/%s", encoders[e],
                         entry->d_name);
                assert_int_equal(decode_file(path, qif, &lists), 0);
                files++;
            }
            closedir(dir);
        }
        print_message("%s: %zu bytes encoded here\n", qifs[q], encode_qif(qif));
        free(qif);
    }
    print_message("%zu files, %zu field sections\n", files, lists);
    assert_true(files > 0 && lists > files);
}

static void interop_errors(void **state)
{
    static const struct {
        const char *name;
        int rc;
    } rows[] = {
        {"err1", QPACK_DECOMPRESSION_FAILED}, {"err2", QPACK_DECOMPRESSION_FAILED},
        {"err3", QPACK_DECOMPRESSION_FAILED}, {"err4", QPACK_DECOMPRESSION_FAILED},
        {"err5", QPACK_DECOMPRESSION_FAILED}, {"err11", QPACK_ENCODER_STREAM_ERROR},
    };
    size_t lists;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char path[300];

        snprintf(path, sizeof(path), VECTORS "/errors/%s", rows[i].name);
        if (access(path, R_OK) != 0) {
            print_message("no error files in " VECTORS ": skipped\n");
            skip();
        }
        assert_int_equal(decode_file(path, NULL, &lists), rows[i].rc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers),       cmocka_unit_test(integers_random),
        cmocka_unit_test(integers_bad),   cmocka_unit_test(huffman_vectors),
        cmocka_unit_test(huffman_bad),    cmocka_unit_test(huffman_oracle),
        cmocka_unit_test(static_table),   cmocka_unit_test(decode_vectors),
        cmocka_unit_test(decode_limit),   cmocka_unit_test(decode_expansion),
        cmocka_unit_test(encode_vectors), cmocka_unit_test(round_trip),
        cmocka_unit_test(decode_garbage), cmocka_unit_test(streams),
        cmocka_unit_test(interop_files),  cmocka_unit_test(interop_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
