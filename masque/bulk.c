#include "masque/bulk.h"

#include "quic/wire.h"

void bulk_encode(const struct bulk_head *h, uint8_t out[BULK_HEAD])
{
    struct wire_w w = wire_w_of(out, BULK_HEAD);

    wire_w_u8(&w, (uint8_t)(h->kind << 6 | (h->flow & 63)));
    wire_w_u8(&w, (uint8_t)(h->number >> 16));
    wire_w_u16(&w, (uint16_t)h->number);
    wire_w_u16(&w, h->time);
    wire_w_u16(&w, h->floor);
}

int bulk_decode(struct span payload, struct bulk_head *h, struct span *rest)
{
    struct wire_r r = wire_r_span(payload);
    uint8_t first = wire_r_u8(&r), high = wire_r_u8(&r);

    h->kind = (enum bulk_kind)(first >> 6);
    h->flow = first & 63;
    h->number = (uint32_t)high << 16 | wire_r_u16(&r);
    h->time = wire_r_u16(&r);
    h->floor = wire_r_u16(&r);
    if (r.failed)
        return QUIC_DROP;
    if (h->kind == BULK_PARITY && (h->number % BULK_BLOCK || h->time > BULK_BLOCK ||
                                   (h->time > 0) != (payload.n > BULK_HEAD)))
        return QUIC_DROP;
    *rest = span_of(payload.p + BULK_HEAD, payload.n - BULK_HEAD);
    return h->kind == BULK_DATA && rest->n == 0 ? QUIC_DROP : 0;
}

size_t bulk_report_encode(const struct bulk_report *list, size_t n, uint8_t *out, size_t size)
{
    struct bulk_head h = {.kind = BULK_REPORT, .flow = (uint8_t)n};
    struct wire_w w = wire_w_of(out, size);

    if (n > BULK_REPORT_MAX || size < BULK_HEAD)
        return 0;
    bulk_encode(&h, out);
    w = wire_w_of(out + BULK_HEAD, size - BULK_HEAD);
    for (size_t i = 0; i < n; i++) {
        wire_w_varint(&w, list[i].path);
        wire_w_varint(&w, list[i].late);
        wire_w_varint(&w, list[i].jitter);
    }
    return w.failed ? 0 : BULK_HEAD + (size_t)(w.p - (out + BULK_HEAD));
}

int bulk_report_decode(const struct bulk_head *h, struct span rest,
                       struct bulk_report out[BULK_REPORT_MAX])
{
    struct wire_r r = wire_r_span(rest);

    for (int i = 0; i < h->flow; i++) {
        uint64_t late, jitter;

        out[i].path = wire_r_varint(&r);
        late = wire_r_varint(&r);
        jitter = wire_r_varint(&r);
        out[i].late = late > UINT32_MAX ? UINT32_MAX : (uint32_t)late;
        out[i].jitter = jitter > UINT32_MAX ? UINT32_MAX : (uint32_t)jitter;
    }
    return r.failed ? QUIC_DROP : h->flow;
}
