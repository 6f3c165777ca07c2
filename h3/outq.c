#include "h3/outq.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_BYTES 8192 /* an empty queue gives back a buffer larger than this */

void h3_outq_init(struct h3_outq *q, uint64_t id)
{
    *q = (struct h3_outq){.id = id};
}

bool h3_outq_ready(const struct h3_outq *q)
{
    return !q->blocked && !q->over && (q->len > 0 || q->fin);
}

static void unlink_queue(struct h3_outbox *box, struct h3_outq *q)
{
    if (q->next == q) {
        box->first = NULL;
    } else {
        q->prev->next = q->next;
        q->next->prev = q->prev;
        if (box->first == q)
            box->first = q->next;
    }
    q->prev = q->next = NULL;
    q->listed = false;
}

/* Behind all others: the place before the first of the ring. */
static void link_queue(struct h3_outbox *box, struct h3_outq *q)
{
    if (!box->first) {
        q->prev = q->next = q;
        box->first = q;
    } else {
        q->next = box->first;
        q->prev = box->first->prev;
        q->prev->next = q;
        q->next->prev = q;
    }
    q->listed = true;
}

/* Put the queue where its state says that it belongs. */
static void place(struct h3_outbox *box, struct h3_outq *q)
{
    bool ready = h3_outq_ready(q);

    if (!box || ready == q->listed)
        return;
    if (ready)
        link_queue(box, q);
    else
        unlink_queue(box, q);
}

void h3_outq_drop(struct h3_outbox *box, struct h3_outq *q)
{
    if (box)
        box->total -= q->len;
    free(q->buf);
    q->buf = NULL;
    q->off = q->len = q->cap = 0;
    q->fin = false;
    q->over = true;
    place(box, q);
}

/*
 * Room for `n` more bytes behind those that wait. They are moved to the front only
 * over a gap at least as large, so that a byte is moved once for each that leaves.
 */
static int reserve(struct h3_outq *q, size_t n)
{
    size_t cap = q->cap ? q->cap * 2 : 256;
    uint8_t *buf;

    if (q->off + q->len + n <= q->cap)
        return 0;
    if (q->len + n <= q->cap && q->off >= q->len) {
        memcpy(q->buf, q->buf + q->off, q->len);
        q->off = 0;
        return 0;
    }
    while (cap < q->len + n)
        cap *= 2;
    buf = malloc(cap);
    if (!buf)
        return QUIC_NOMEM;
    if (q->len > 0)
        memcpy(buf, q->buf + q->off, q->len);
    free(q->buf);
    q->buf = buf;
    q->off = 0;
    q->cap = cap;
    return 0;
}

static void append(struct h3_outq *q, struct span s)
{
    if (s.n > 0)
        memcpy(q->buf + q->off + q->len, s.p, s.n);
    q->len += s.n;
}

int h3_outq_put(struct h3_outbox *box, struct h3_outq *q, struct span head, struct span body,
                bool fin)
{
    size_t n = head.n + body.n;
    int rc;

    if (q->over || q->fin)
        return QUIC_CLOSED;
    if (box && (n > box->limit || n < body.n))
        return QUIC_TOOBIG;
    if (box && n > box->limit - box->total)
        return QUIC_BLOCKED;
    rc = reserve(q, n);
    if (rc != 0)
        return rc;
    append(q, head);
    append(q, body);
    q->fin = fin;
    if (box)
        box->total += n;
    place(box, q);
    return 0;
}

struct span h3_outq_peek(const struct h3_outq *q, size_t max, bool *fin)
{
    size_t n = q->len < max ? q->len : max;

    *fin = q->fin && n == q->len;
    return span_of(n > 0 ? q->buf + q->off : NULL, n);
}

void h3_outq_took(struct h3_outbox *box, struct h3_outq *q, size_t n, bool fin)
{
    if (n > q->len)
        n = q->len;
    if (n > 0 || fin)
        q->opened = true;
    q->off += n;
    q->len -= n;
    if (box)
        box->total -= n;
    if (q->len == 0) {
        q->off = 0;
        if (q->cap > KEEP_BYTES || (fin && q->fin)) {
            free(q->buf);
            q->buf = NULL;
            q->cap = 0;
        }
        if (fin && q->fin)
            q->over = true;
    }
    if (box && q->listed)
        unlink_queue(box, q);
    place(box, q);
}

void h3_outq_block(struct h3_outbox *box, struct h3_outq *q, bool blocked)
{
    q->blocked = blocked;
    place(box, q);
}

struct h3_outq *h3_outbox_next(const struct h3_outbox *box)
{
    struct h3_outq *q = box->first;

    if (!q)
        return NULL;
    do {
        if (q->opened || box->opening == UINT64_MAX || q->id == box->opening)
            return q;
        q = q->next;
    } while (q != box->first);
    return NULL;
}

void h3_outbox_check(const struct h3_outbox *box, size_t sum)
{
    const struct h3_outq *q = box->first;

    assert(box->total == sum);
    assert(box->total <= box->limit);
    if (!q)
        return;
    do {
        assert(q->listed && h3_outq_ready(q));
        assert(q->next->prev == q && q->prev->next == q);
        assert(q->off + q->len <= q->cap);
        q = q->next;
    } while (q != box->first);
}
