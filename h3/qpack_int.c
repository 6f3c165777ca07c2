#include "h3/qpack_int.h"

int qpack_int_start(struct qpack_int_rd *r, uint8_t byte, unsigned prefix)
{
    uint8_t mask = (uint8_t)((1u << prefix) - 1);

    r->v = byte & mask;
    r->shift = 0;
    return r->v < mask ? 0 : QUIC_AGAIN;
}

int qpack_int_feed(struct qpack_int_rd *r, uint8_t byte)
{
    uint64_t low = byte & 0x7f;

    if (r->shift >= 7 * (QPACK_INT_MAX_BYTES - 1))
        return QUIC_INVAL;
    if (low != 0) {
        if (r->shift > 56 || low << r->shift > VARINT_MAX - r->v)
            return QUIC_INVAL;
        r->v += low << r->shift;
    }
    r->shift = (uint8_t)(r->shift + 7);
    return byte & 0x80 ? QUIC_AGAIN : 0;
}

int qpack_int_get(struct wire_r *r, uint8_t first, unsigned prefix, uint64_t *v)
{
    struct qpack_int_rd rd;
    int rc = qpack_int_start(&rd, first, prefix);

    while (rc == QUIC_AGAIN) {
        if (wire_r_left(r) == 0)
            return QUIC_INVAL;
        rc = qpack_int_feed(&rd, wire_r_u8(r));
    }
    *v = rd.v;
    return rc;
}

void qpack_int_put(struct wire_w *w, uint8_t flags, unsigned prefix, uint64_t v)
{
    uint8_t mask = (uint8_t)((1u << prefix) - 1);

    if (v < mask) {
        wire_w_u8(w, (uint8_t)(flags | v));
        return;
    }
    wire_w_u8(w, flags | mask);
    for (v -= mask; v >= 0x80; v >>= 7)
        wire_w_u8(w, (uint8_t)(v | 0x80));
    wire_w_u8(w, (uint8_t)v);
}

size_t qpack_int_len(unsigned prefix, uint64_t v)
{
    uint64_t mask = (1u << prefix) - 1;
    size_t n = 1;

    if (v < mask)
        return n;
    for (v -= mask; v >= 0x80; v >>= 7)
        n++;
    return n + 1;
}
