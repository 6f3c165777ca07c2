#include "masque/capsule.h"

#include <stdlib.h>
#include <string.h>

/* Where the next byte belongs. */
enum { IN_HEAD, IN_VALUE, IN_SKIP };

#define KEEP_BUFFER 4096 /* a buffer above it is given back after its capsule */

void capsule_reader_init(struct capsule_reader *r, uint64_t wanted, size_t max,
                         size_t dgram_max)
{
    memset(r, 0, sizeof(*r));
    r->wanted = wanted;
    r->max = max;
    r->dgram_max = dgram_max;
}

void capsule_reader_free(struct capsule_reader *r)
{
    free(r->buf);
    r->buf = NULL;
    r->have = r->cap = 0;
}

static bool wants(const struct capsule_reader *r, uint64_t type)
{
    return type < 64 ? r->wanted >> type & 1 : type == r->also;
}

/* Drop a large buffer whose capsule the caller has seen. */
static void rest_buffer(struct capsule_reader *r)
{
    if (r->state == IN_HEAD && r->cap > KEEP_BUFFER)
        capsule_reader_free(r);
}

/*
 * Collect type and length. Returns 0 when both are there and `state` says what to do
 * with the value.
 */
static int take_head(struct capsule_reader *r, struct span *in)
{
    for (;;) {
        struct wire_r w = wire_r_of(r->head, r->head_len);

        r->type = wire_r_varint(&w);
        r->left = wire_r_varint(&w);
        if (!w.failed)
            break;
        if (in->n == 0)
            return QUIC_AGAIN;
        r->head[r->head_len++] = in->p[0];
        *in = span_of(in->p + 1, in->n - 1);
    }
    r->head_len = 0;
    r->have = 0;
    r->state = IN_VALUE;
    if (!wants(r, r->type) || (r->type == CAPSULE_DATAGRAM && r->left > r->dgram_max)) {
        r->state = IN_SKIP;
        r->skipped++;
    } else if (r->type != CAPSULE_DATAGRAM && r->left > r->max) {
        return MASQUE_H3_EXCESSIVE_LOAD;
    }
    return 0;
}

/* Keep `n` bytes of a value that has not come whole. */
static int keep(struct capsule_reader *r, const uint8_t *p, size_t n)
{
    if (r->have + n > r->cap) {
        size_t cap = r->cap ? r->cap : 256;
        uint8_t *buf;

        while (cap < r->have + n)
            cap *= 2;
        buf = realloc(r->buf, cap);
        if (!buf)
            return QUIC_NOMEM;
        r->buf = buf;
        r->cap = cap;
    }
    if (n > 0)
        memcpy(r->buf + r->have, p, n);
    r->have += n;
    return 0;
}

int capsule_next(struct capsule_reader *r, struct span *in, struct capsule *out)
{
    rest_buffer(r);
    for (;;) {
        struct span part;
        int err;

        if (r->state == IN_HEAD) {
            err = take_head(r, in);
            if (err)
                return err;
        }
        part = span_of(in->p, r->left < in->n ? (size_t)r->left : in->n);
        if (part.n > 0)
            *in = span_of(in->p + part.n, in->n - part.n);
        r->left -= part.n;
        if (r->state == IN_SKIP) {
            if (r->left > 0)
                return QUIC_AGAIN;
            r->state = IN_HEAD;
            continue;
        }
        if (r->left > 0 || r->have > 0) {
            err = keep(r, part.p, part.n);
            if (err)
                return err;
        }
        if (r->left > 0)
            return QUIC_AGAIN;
        *out = (struct capsule){r->type, r->have ? span_of(r->buf, r->have) : part};
        r->state = IN_HEAD;
        return 0;
    }
}

int capsule_end(const struct capsule_reader *r)
{
    return r->state == IN_HEAD && r->head_len == 0 ? 0 : MASQUE_H3_MESSAGE_ERROR;
}

void capsule_write_head(struct wire_w *w, uint64_t type, uint64_t length)
{
    wire_w_varint(w, type);
    wire_w_varint(w, length);
}
