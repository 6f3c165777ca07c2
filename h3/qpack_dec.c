#include "h3/qpack_dec.h"

#include <stdlib.h>

#include "h3/error.h"
#include "h3/qpack_huff.h"
#include "h3/qpack_static.h"
#include "quic/wire.h"

#define KEEP_TEXT    4096 /* bytes of text that stay allocated between sections */
#define KEEP_FIELDS  64
#define SET_CAPACITY 0x20 /* encoder stream: 001, 5-bit prefix */

void qpack_dec_init(struct qpack_dec *d, uint64_t max_size)
{
    *d = (struct qpack_dec){.max_size = max_size};
}

void qpack_dec_free(struct qpack_dec *d)
{
    free(d->fields);
    free(d->text);
    *d = (struct qpack_dec){.max_size = d->max_size};
}

void qpack_dec_trim(struct qpack_dec *d)
{
    if (d->text_cap > KEEP_TEXT || d->cap > KEEP_FIELDS)
        qpack_dec_free(d);
    d->count = 0;
}

/* Room for the text of any section of `n` encoded bytes that stays within the limit. */
static int reserve_text(struct qpack_dec *d, size_t n)
{
    uint64_t need = qpack_huff_bound(n);
    uint8_t *text;

    if (need > d->max_size)
        need = d->max_size;
    if (d->text && need <= d->text_cap)
        return 0;
    text = realloc(d->text, need > 0 ? (size_t)need : 1);
    if (!text)
        return QUIC_NOMEM;
    d->text = text;
    d->text_cap = (size_t)need;
    return 0;
}

static int reserve_field(struct qpack_dec *d)
{
    size_t cap = d->cap ? d->cap * 2 : 16;
    struct h3_field *fields;

    if (d->count < d->cap)
        return 0;
    fields = realloc(d->fields, cap * sizeof(*fields));
    if (!fields)
        return QUIC_NOMEM;
    d->fields = fields;
    d->cap = cap;
    return 0;
}

/*
 * A string whose length stands in the low `prefix` bits of `first`, with the H bit
 * above them. The text goes to `w`; `*out` borrows it from there.
 */
static int get_string(struct wire_r *r, struct wire_w *w, uint8_t first, unsigned prefix,
                      struct span *out)
{
    const uint8_t *start = w->p;
    struct span s;
    uint64_t n;

    if (qpack_int_get(r, first, prefix, &n) != 0)
        return QPACK_DECOMPRESSION_FAILED;
    s = wire_r_bytes(r, n);
    if (r->failed)
        return QPACK_DECOMPRESSION_FAILED;
    if (first & 1u << prefix) {
        int rc = qpack_huff_decode(w, s);

        if (rc != 0)
            return rc == QUIC_TOOBIG ? rc : QPACK_DECOMPRESSION_FAILED;
    } else {
        if (s.n > wire_w_left(w))
            return QUIC_TOOBIG;
        wire_w_span(w, s);
    }
    *out = span_of(start, (size_t)(w->p - start));
    return 0;
}

static int get_value(struct wire_r *r, struct wire_w *w, struct span *out)
{
    if (wire_r_left(r) == 0)
        return QPACK_DECOMPRESSION_FAILED;
    return get_string(r, w, wire_r_u8(r), 7, out);
}

/* The row that an index in the low `prefix` bits of `first` names, or null. */
static const struct qpack_static_row *get_row(struct wire_r *r, uint8_t first, unsigned prefix)
{
    uint64_t index;

    if (qpack_int_get(r, first, prefix, &index) != 0)
        return NULL;
    return qpack_static_get(index);
}

/* One field line (RFC 9204 4.5.2 to 4.5.6); all references but static ones fail. */
static int get_line(struct wire_r *r, struct wire_w *w, struct h3_field *f)
{
    uint8_t first = wire_r_u8(r);
    const struct qpack_static_row *row;
    int rc;

    f->never_index = false;
    if ((first & 0xc0) == 0xc0) { /* indexed, static */
        row = get_row(r, first, 6);
        if (!row)
            return QPACK_DECOMPRESSION_FAILED;
        f->name = row->name;
        f->value = row->value;
        return 0;
    }
    if ((first & 0xd0) == 0x50) { /* literal with a static name */
        f->never_index = first & 0x20;
        row = get_row(r, first, 4);
        if (!row)
            return QPACK_DECOMPRESSION_FAILED;
        f->name = row->name;
        return get_value(r, w, &f->value);
    }
    if ((first & 0xe0) == 0x20) { /* literal with a literal name */
        f->never_index = first & 0x10;
        rc = get_string(r, w, first, 3, &f->name);
        return rc == 0 ? get_value(r, w, &f->value) : rc;
    }
    return QPACK_DECOMPRESSION_FAILED;
}

/*
 * The prefix (RFC 9204 4.5.1). With no dynamic table only a Required Insert Count of
 * 0 can be; the Base is then free, but may not be negative.
 */
static int get_prefix(struct wire_r *r)
{
    uint64_t insert_count, delta;
    uint8_t sign;

    if (wire_r_left(r) == 0 || qpack_int_get(r, wire_r_u8(r), 8, &insert_count) != 0)
        return QPACK_DECOMPRESSION_FAILED;
    if (wire_r_left(r) == 0)
        return QPACK_DECOMPRESSION_FAILED;
    sign = wire_r_u8(r);
    if (qpack_int_get(r, sign, 7, &delta) != 0)
        return QPACK_DECOMPRESSION_FAILED;
    return insert_count == 0 && !(sign & 0x80) ? 0 : QPACK_DECOMPRESSION_FAILED;
}

int qpack_dec_section(struct qpack_dec *d, struct span in)
{
    struct wire_r r;
    struct wire_w w;
    uint64_t size = 0;
    int rc;

    qpack_dec_trim(d);
    if (in.n == 0)
        return QPACK_DECOMPRESSION_FAILED;
    r = wire_r_span(in);
    rc = get_prefix(&r);
    if (rc == 0)
        rc = reserve_text(d, wire_r_left(&r));
    if (rc != 0)
        return rc;
    w = wire_w_of(d->text, d->text_cap);
    while (wire_r_left(&r) > 0) {
        struct h3_field *f;

        rc = reserve_field(d);
        if (rc != 0)
            break;
        f = &d->fields[d->count];
        rc = get_line(&r, &w, f);
        if (rc != 0)
            break;
        size += (uint64_t)f->name.n + f->value.n + 32;
        if (size > d->max_size) {
            rc = QUIC_TOOBIG;
            break;
        }
        d->count++;
    }
    if (rc != 0)
        d->count = 0;
    return rc;
}

int qpack_estream_feed(struct qpack_estream *e, struct span in)
{
    for (size_t i = 0; i < in.n; i++) {
        int rc;

        if (e->inside) {
            rc = qpack_int_feed(&e->v, in.p[i]);
        } else {
            if ((in.p[i] & 0xe0) != SET_CAPACITY)
                return QPACK_ENCODER_STREAM_ERROR;
            rc = qpack_int_start(&e->v, in.p[i], 5);
        }
        e->inside = rc == QUIC_AGAIN;
        if (rc == QUIC_INVAL || e->v.v != 0)
            return QPACK_ENCODER_STREAM_ERROR;
    }
    return 0;
}
