/*
 * Fuzz target: QPACK.
 *
 * The first byte chooses what the rest is:
 *   0  the limit in units of 8 bytes, then a field section: decoded, then encoded and
 *      decoded again, which must give the same fields
 *   1  a Huffman string: if it decodes, encoding the text must give the same bytes
 *   2  an encoder stream, 3  a decoder stream: whole and byte by byte must agree
 *   4  fields: for each a byte of flags, two lengths, name and value (or the number
 *      of a static row); encoded and decoded, which must give the same fields
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "h3/error.h"
#include "h3/qpack_dec.h"
#include "h3/qpack_enc.h"
#include "h3/qpack_huff.h"
#include "h3/qpack_static.h"

#define MUST(x)                                                                                \
    do {                                                                                       \
        if (!(x))                                                                              \
            abort();                                                                           \
    } while (0)

/* Encode fields, decode them with exactly the limit that they need, and compare. */
static void there_and_back(const struct h3_field *f, size_t n)
{
    size_t bound = (size_t)qpack_enc_bound(f, n);
    uint8_t *buf = malloc(bound);
    struct wire_w w = wire_w_of(buf, bound);
    struct qpack_dec d;

    qpack_enc_section(&w, f, n);
    MUST(!w.failed);
    qpack_dec_init(&d, h3_fields_size(f, n));
    MUST(qpack_dec_section(&d, span_of(buf, (size_t)(w.p - buf))) == 0);
    MUST(d.count == n);
    for (size_t i = 0; i < n; i++)
        MUST(h3_span_eq(f[i].name, d.fields[i].name) &&
             h3_span_eq(f[i].value, d.fields[i].value) &&
             f[i].never_index == d.fields[i].never_index);
    qpack_dec_free(&d);
    free(buf);
}

static void section(struct span in)
{
    struct qpack_dec d;
    int rc;

    if (in.n == 0)
        return;
    qpack_dec_init(&d, 8 * (uint64_t)in.p[0]);
    rc = qpack_dec_section(&d, span_of(in.p + 1, in.n - 1));
    MUST(rc == 0 || rc == QUIC_TOOBIG || rc == QPACK_DECOMPRESSION_FAILED);
    MUST(rc == 0 || d.count == 0);
    MUST(h3_fields_size(d.fields, d.count) <= d.max_size);
    if (rc == 0)
        there_and_back(d.fields, d.count);
    qpack_dec_free(&d);
}

static void huffman(struct span in)
{
    size_t room = (size_t)qpack_huff_bound(in.n) + 1;
    uint8_t *text = malloc(room), *back = malloc(in.n + 1);
    struct wire_w w = wire_w_of(text, room), v = wire_w_of(back, in.n);
    int rc = qpack_huff_decode(&w, in);

    MUST(rc == 0 || rc == QUIC_INVAL); /* the bound leaves room for all */
    if (rc == 0) {
        struct span s = span_of(text, (size_t)(w.p - text));

        MUST(qpack_huff_len(s) == in.n);
        qpack_huff_encode(&v, s);
        MUST(!v.failed && (size_t)(v.p - back) == in.n);
        MUST(in.n == 0 || memcmp(back, in.p, in.n) == 0);
    }
    free(text);
    free(back);
}

static void streams(struct span in, bool encoder)
{
    struct qpack_estream e[2] = {{.inside = false}};
    struct qpack_dstream d[2] = {{.inside = false}};
    int whole = encoder ? qpack_estream_feed(&e[0], in) : qpack_dstream_feed(&d[0], in);
    int bytes = 0;

    for (size_t i = 0; i < in.n && bytes == 0; i++)
        bytes = encoder ? qpack_estream_feed(&e[1], span_of(in.p + i, 1))
                        : qpack_dstream_feed(&d[1], span_of(in.p + i, 1));
    MUST(whole == bytes);
    MUST(whole == 0 ||
         whole == (encoder ? QPACK_ENCODER_STREAM_ERROR : QPACK_DECODER_STREAM_ERROR));
}

static void fields(struct span in)
{
    struct h3_field f[32];
    struct wire_r r = wire_r_span(in);
    size_t n = 0;

    while (n < ARRAY_LEN(f) && wire_r_left(&r) > 0) {
        uint8_t flags = wire_r_u8(&r);
        const struct qpack_static_row *row = qpack_static_get(wire_r_u8(&r) % QPACK_STATIC_N);
        uint8_t value_n = wire_r_u8(&r);

        f[n].never_index = flags & 1;
        f[n].name = flags & 2 ? row->name : wire_r_bytes(&r, flags >> 3);
        f[n].value = flags & 4 ? row->value : wire_r_bytes(&r, value_n);
        n++;
    }
    there_and_back(f, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span rest;

    if (size == 0)
        return 0;
    rest = span_of(data + 1, size - 1);
    switch (data[0] % 5) {
    case 0:
        section(rest);
        break;
    case 1:
        huffman(rest);
        break;
    case 2:
    case 3:
        streams(rest, data[0] % 5 == 2);
        break;
    default:
        fields(rest);
    }
    return 0;
}
