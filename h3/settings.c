#include "h3/settings.h"

#include "h3/error.h"

void h3_settings_default(struct h3_settings *s)
{
    *s = (struct h3_settings){.max_field_section_size = H3_UNLIMITED};
}

void h3_settings_rd_init(struct h3_settings_rd *r, struct h3_settings *out)
{
    *r = (struct h3_settings_rd){.out = out};
    h3_settings_default(out);
}

/* Settings whose value is 0 or 1 and nothing else. */
static int take_bool(bool *out, uint64_t v)
{
    *out = v == 1;
    return v <= 1 ? 0 : H3_SETTINGS_ERROR;
}

static int take(struct h3_settings_rd *r, uint64_t id, uint64_t v)
{
    uint32_t bit = id < 32 ? (uint32_t)1 << id : 0;
    struct h3_settings *s = r->out;

    if (id == H3_SET_H3_DATAGRAM)
        bit = 1; /* identifier 0 is refused, so its bit is free */
    if (bit & r->seen)
        return H3_SETTINGS_ERROR;
    switch (id) {
    case 0x00: /* HTTP/2's: RFC 9114 7.2.4.1 and 11.2.2 */
    case 0x02:
    case 0x03:
    case 0x04:
    case 0x05:
        return H3_SETTINGS_ERROR;
    case H3_SET_QPACK_MAX_TABLE_CAPACITY:
        s->qpack_max_table_capacity = v;
        break;
    case H3_SET_MAX_FIELD_SECTION_SIZE:
        s->max_field_section_size = v;
        break;
    case H3_SET_QPACK_BLOCKED_STREAMS:
        s->qpack_blocked_streams = v;
        break;
    case H3_SET_ENABLE_CONNECT_PROTOCOL:
        r->seen |= bit;
        return take_bool(&s->enable_connect_protocol, v);
    case H3_SET_H3_DATAGRAM:
        r->seen |= bit;
        return take_bool(&s->h3_datagram, v);
    default:
        return 0; /* unknown: skipped, and not remembered */
    }
    r->seen |= bit;
    return 0;
}

int h3_settings_rd_feed(struct h3_settings_rd *r, struct span in)
{
    size_t used = 0;
    uint64_t v;
    int rc;

    while (used < in.n) {
        if (h3_varint_rd_feed(&r->v, span_of(in.p + used, in.n - used), &used, &v) != 0)
            break;
        if (!r->have_id) {
            r->id = v;
            r->have_id = true;
            continue;
        }
        r->have_id = false;
        rc = take(r, r->id, v);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int h3_settings_rd_end(const struct h3_settings_rd *r)
{
    return r->have_id || !h3_varint_rd_idle(&r->v) ? H3_FRAME_ERROR : 0;
}

static void put(struct wire_w *w, uint64_t id, uint64_t v, uint64_t initial)
{
    if (v == initial)
        return;
    wire_w_varint(w, id);
    wire_w_varint(w, v);
}

void h3_settings_write(struct wire_w *w, const struct h3_settings *s, uint64_t grease)
{
    uint8_t payload[128];
    struct wire_w p = wire_w_of(payload, sizeof(payload));
    struct h3_settings d;

    h3_settings_default(&d);
    put(&p, H3_SET_QPACK_MAX_TABLE_CAPACITY, s->qpack_max_table_capacity, 0);
    put(&p, H3_SET_MAX_FIELD_SECTION_SIZE, s->max_field_section_size, d.max_field_section_size);
    put(&p, H3_SET_QPACK_BLOCKED_STREAMS, s->qpack_blocked_streams, 0);
    put(&p, H3_SET_ENABLE_CONNECT_PROTOCOL, s->enable_connect_protocol, 0);
    put(&p, H3_SET_H3_DATAGRAM, s->h3_datagram, 0);
    if (grease != 0) {
        wire_w_varint(&p, 0x1f * (grease % ((uint64_t)1 << 56)) + 0x21);
        wire_w_varint(&p, grease >> 40);
    }
    if (p.failed) { /* a value above 2^62-1 has no encoding */
        wire_w_fail(w);
        return;
    }
    h3_frame_write_head(w, H3_FRAME_SETTINGS, (uint64_t)(p.p - payload));
    wire_w_bytes(w, payload, (size_t)(p.p - payload));
}
