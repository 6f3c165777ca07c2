#include "h3/qpack_enc.h"

#include "h3/error.h"
#include "h3/qpack_huff.h"
#include "h3/qpack_static.h"

/* The first bits of each representation (RFC 9204 4.5). */
enum {
    INDEXED_STATIC = 0xc0,  /* 1 T=1, 6-bit prefix */
    NAME_REF_STATIC = 0x50, /* 01 N T=1, 4-bit prefix */
    NAME_REF_NEVER = 0x20,
    NAME_LITERAL = 0x20, /* 001 N H, 3-bit prefix */
    NAME_LITERAL_NEVER = 0x10,
    CANCEL = 0x40 /* decoder stream: 01, 6-bit prefix */
};

uint64_t qpack_enc_bound(const struct h3_field *fields, size_t n)
{
    uint64_t bound = 2;

    for (size_t i = 0; i < n; i++)
        bound += (uint64_t)fields[i].name.n + fields[i].value.n + 2 * QPACK_INT_MAX_BYTES;
    return bound;
}

/* A string whose length has a `prefix`-bit prefix below the H bit (RFC 9204 4.1.2). */
static void put_string(struct wire_w *w, uint8_t flags, unsigned prefix, struct span s)
{
    uint64_t coded = qpack_huff_len(s);

    if (coded < s.n) {
        qpack_int_put(w, (uint8_t)(flags | 1u << prefix), prefix, coded);
        qpack_huff_encode(w, s);
    } else {
        qpack_int_put(w, flags, prefix, s.n);
        wire_w_span(w, s);
    }
}

static void put_field(struct wire_w *w, const struct h3_field *f)
{
    bool exact;
    int row = qpack_static_find(f->name, f->value, &exact);

    if (exact && !f->never_index) {
        qpack_int_put(w, INDEXED_STATIC, 6, (uint64_t)row);
        return;
    }
    if (row >= 0)
        qpack_int_put(w, NAME_REF_STATIC | (f->never_index ? NAME_REF_NEVER : 0), 4,
                      (uint64_t)row);
    else
        put_string(w, NAME_LITERAL | (f->never_index ? NAME_LITERAL_NEVER : 0), 3, f->name);
    put_string(w, 0, 7, f->value);
}

void qpack_enc_section(struct wire_w *w, const struct h3_field *fields, size_t n)
{
    wire_w_u8(w, 0); /* Required Insert Count */
    wire_w_u8(w, 0); /* Sign, Delta Base */
    for (size_t i = 0; i < n; i++)
        put_field(w, &fields[i]);
}

int qpack_dstream_feed(struct qpack_dstream *d, struct span in)
{
    for (size_t i = 0; i < in.n; i++) {
        int rc;

        if (d->inside) {
            rc = qpack_int_feed(&d->v, in.p[i]);
        } else {
            if ((in.p[i] & 0xc0) != CANCEL)
                return QPACK_DECODER_STREAM_ERROR;
            rc = qpack_int_start(&d->v, in.p[i], 6);
        }
        if (rc == QUIC_INVAL)
            return QPACK_DECODER_STREAM_ERROR;
        d->inside = rc == QUIC_AGAIN;
    }
    return 0;
}
