#include "h3/frame.h"

#include "h3/error.h"

enum { FROM_CLIENT = 1, FROM_SERVER = 2, FROM_BOTH = 3 };

/* RFC 9114 table 1 and the sections of the frames; the last four: 7.2.8. */
/* clang-format off */
static const struct frame_row {
    uint64_t type;
    const char *name;
    uint8_t on_control, on_request; /* from whom; 0 is nobody */
} rows[] = {
    /* type                  name             control      request     */
    { H3_FRAME_DATA,         "DATA",          0,           FROM_BOTH   },
    { H3_FRAME_HEADERS,      "HEADERS",       0,           FROM_BOTH   },
    { H3_FRAME_CANCEL_PUSH,  "CANCEL_PUSH",   FROM_BOTH,   0           },
    { H3_FRAME_SETTINGS,     "SETTINGS",      FROM_BOTH,   0           },
    { H3_FRAME_PUSH_PROMISE, "PUSH_PROMISE",  0,           FROM_SERVER },
    { H3_FRAME_GOAWAY,       "GOAWAY",        FROM_BOTH,   0           },
    { H3_FRAME_MAX_PUSH_ID,  "MAX_PUSH_ID",   FROM_CLIENT, 0           },
    { 0x02,                  "PRIORITY",      0,           0           },
    { 0x06,                  "PING",          0,           0           },
    { 0x08,                  "WINDOW_UPDATE", 0,           0           },
    { 0x09,                  "CONTINUATION",  0,           0           },
};
/* clang-format on */

static const struct frame_row *row_of(uint64_t type)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].type == type)
            return &rows[i];
    return NULL;
}

int h3_varint_rd_feed(struct h3_varint_rd *r, struct span in, size_t *used, uint64_t *out)
{
    for (size_t i = 0; i < in.n; i++) {
        if (r->have == 0) {
            r->need = (uint8_t)(1 << (in.p[i] >> 6));
            r->v = in.p[i] & 0x3f;
        } else {
            r->v = r->v << 8 | in.p[i];
        }
        (*used)++;
        if (++r->have == r->need) {
            *out = r->v;
            *r = (struct h3_varint_rd){0};
            return 0;
        }
    }
    return QUIC_AGAIN;
}

int h3_frame_rd_feed(struct h3_frame_rd *r, struct span in, size_t *used)
{
    size_t n = 0;
    int rc;

    if (!r->have_type) {
        rc = h3_varint_rd_feed(&r->v, in, &n, &r->type);
        if (rc == 0)
            r->have_type = true;
    }
    rc = QUIC_AGAIN;
    if (r->have_type)
        rc = h3_varint_rd_feed(&r->v, span_of(in.p + n, in.n - n), &n, &r->len);
    if (rc == 0)
        r->have_type = false;
    *used += n;
    return rc;
}

int h3_frame_check(uint64_t type, enum h3_frame_place place, bool from_server)
{
    const struct frame_row *row = row_of(type);
    uint8_t from;

    if (!row)
        return 0;
    from = place == H3_ON_CONTROL ? row->on_control : row->on_request;
    if (!(from & (from_server ? FROM_SERVER : FROM_CLIENT)))
        return H3_FRAME_UNEXPECTED;
    return type == H3_FRAME_PUSH_PROMISE ? H3_ID_ERROR : 0;
}

const char *h3_frame_name(uint64_t type)
{
    const struct frame_row *row = row_of(type);

    return row ? row->name : "unknown";
}

void h3_frame_write_head(struct wire_w *w, uint64_t type, uint64_t len)
{
    wire_w_varint(w, type);
    wire_w_varint(w, len);
}
