#include "masque/dgram.h"

#include "quic/wire.h"

int masque_dgram_decode(struct span data, uint64_t *stream_id, struct span *payload)
{
    struct wire_r r = wire_r_span(data);
    uint64_t quarter = wire_r_varint(&r);

    if (r.failed || quarter > DGRAM_QUARTER_MAX)
        return MASQUE_H3_DATAGRAM_ERROR;
    *stream_id = quarter * 4;
    *payload = span_of(r.p, wire_r_left(&r));
    return 0;
}

int masque_dgram_context(struct span payload, uint64_t *context, struct span *rest)
{
    struct wire_r r = wire_r_span(payload);
    uint64_t id = wire_r_varint(&r);

    if (r.failed)
        return QUIC_DROP;
    *context = id;
    *rest = span_of(r.p, wire_r_left(&r));
    return 0;
}

size_t masque_dgram_prefix(uint64_t stream_id, uint64_t context, uint8_t out[DGRAM_PREFIX_MAX])
{
    struct wire_w w = wire_w_of(out, DGRAM_PREFIX_MAX);

    if (stream_id % 4 != 0 || stream_id > VARINT_MAX)
        return 0;
    wire_w_varint(&w, stream_id / 4);
    wire_w_varint(&w, context);
    return w.failed ? 0 : DGRAM_PREFIX_MAX - wire_w_left(&w);
}
