#include "sched/queue.h"

#include <stdlib.h>
#include <string.h>

/* What stands before each packet in the ring. */
struct record {
    ns_t arrived;
    uint32_t flow, len;
};

#define TRIM_EVERY NS_PER_S

static size_t record_size(size_t len)
{
    return (sizeof(struct record) + len + 7) & ~(size_t)7;
}

static struct record *record_at(const struct queue *q, size_t at)
{
    return (struct record *)(void *)(q->ring + at);
}

static size_t power_of_two(size_t least, size_t at_least)
{
    size_t n = least;

    while (n < at_least && n <= SIZE_MAX / 2)
        n *= 2;
    return n;
}

void queue_init(struct queue *q, size_t max_bytes, ns_t max_age)
{
    memset(q, 0, sizeof(*q));
    queue_limit(q, max_bytes, max_age);
}

void queue_free(struct queue *q)
{
    free(q->ring);
    q->ring = NULL;
    q->cap = q->head = q->tail = q->wrap = 0;
    q->count = q->used = q->packet_bytes = q->peak = 0;
    q->turned = false;
}

/* Take the oldest record out; what it held stays readable. */
static void shift(struct queue *q)
{
    size_t len = record_at(q, q->head)->len;

    q->head += record_size(len);
    q->used -= record_size(len);
    q->packet_bytes -= len;
    q->count--;
    if (q->turned && q->head == q->wrap) {
        q->head = 0;
        q->turned = false;
    }
}

static void drop(struct queue *q, uint64_t *counter)
{
    shift(q);
    ++*counter;
}

/* Move all records, in order, to the front of a ring of `cap` bytes. */
static int rebuild(struct queue *q, size_t cap)
{
    uint8_t *ring = malloc(cap);
    size_t first = q->turned ? q->wrap - q->head : q->tail - q->head;

    if (!ring)
        return QUIC_NOMEM;
    if (first > 0)
        memcpy(ring, q->ring + q->head, first);
    if (q->turned)
        memcpy(ring + first, q->ring, q->tail);
    free(q->ring);
    q->ring = ring;
    q->cap = cap;
    q->head = 0;
    q->tail = q->used;
    q->turned = false;
    return 0;
}

/* Find a place for `size` bytes at the tail, turning round at the end of the ring. */
static bool place(struct queue *q, size_t size)
{
    if (q->count == 0) {
        q->head = q->tail = 0;
        q->turned = false;
    }
    if (q->turned)
        return q->head - q->tail >= size;
    if (q->cap - q->tail >= size)
        return true;
    if (q->head < size)
        return false;
    q->wrap = q->tail;
    q->tail = 0;
    q->turned = true;
    return true;
}

int queue_push(struct queue *q, struct span pkt, uint32_t flow, ns_t now)
{
    size_t size = record_size(pkt.n), most = power_of_two(QUEUE_RING_MIN, q->max_bytes);
    struct record *r;

    if (pkt.n == 0)
        return QUIC_INVAL;
    if (pkt.n > QUEUE_PACKET_MAX)
        return QUIC_TOOBIG;
    while (q->used + size > q->max_bytes)
        drop(q, &q->stats.dropped_full);
    while (!place(q, size)) {
        size_t cap = power_of_two(q->cap ? q->cap * 2 : QUEUE_RING_MIN, q->used + size);

        if (cap <= most && rebuild(q, cap) == 0)
            continue;
        if (q->cap < size)
            return QUIC_NOMEM;
        drop(q, &q->stats.dropped_full);
    }
    r = record_at(q, q->tail);
    *r = (struct record){now, flow, (uint32_t)pkt.n};
    memcpy(r + 1, pkt.p, pkt.n);
    q->tail += size;
    q->used += size;
    q->packet_bytes += pkt.n;
    q->count++;
    q->stats.pushed++;
    if (q->used > q->peak)
        q->peak = q->used;
    return 0;
}

static void drop_old(struct queue *q, ns_t now)
{
    while (q->count > 0 && ns_sub(now, record_at(q, q->head)->arrived) > q->max_age)
        drop(q, &q->stats.dropped_old);
}

size_t queue_peek(struct queue *q, ns_t now, struct queue_item *out, size_t max)
{
    size_t at, k;
    bool turned;

    drop_old(q, now);
    at = q->head;
    turned = q->turned;
    for (k = 0; k < max && k < q->count; k++) {
        const struct record *r = record_at(q, at);

        out[k] = (struct queue_item){span_of(r + 1, r->len), r->arrived, r->flow};
        at += record_size(r->len);
        if (turned && at == q->wrap) {
            at = 0;
            turned = false;
        }
    }
    return k;
}

bool queue_head(struct queue *q, ns_t now, struct queue_item *out)
{
    return queue_peek(q, now, out, 1) == 1;
}

void queue_pop(struct queue *q)
{
    if (q->count == 0)
        return;
    shift(q);
    q->stats.popped++;
}

void queue_limit(struct queue *q, size_t max_bytes, ns_t max_age)
{
    size_t least = record_size(QUEUE_PACKET_MAX);

    q->max_bytes = max_bytes > least ? max_bytes : least;
    q->max_age = max_age;
    while (q->used > q->max_bytes)
        drop(q, &q->stats.dropped_full);
}

void queue_clear(struct queue *q)
{
    while (q->count > 0)
        drop(q, &q->stats.dropped_flush);
}

void queue_trim(struct queue *q, ns_t now)
{
    if (now < q->trim_at)
        return;
    q->trim_at = ns_add(now, TRIM_EVERY);
    if (q->peak == 0)
        queue_free(q);
    else if (q->cap > QUEUE_RING_MIN && q->peak < q->cap / 4)
        (void)rebuild(q, q->cap / 2); /* without memory it stays as it is */
    q->peak = q->used;
}

bool queue_check(const struct queue *q)
{
    size_t at = q->head, used = 0, bytes = 0;
    bool turned = q->turned;

    if (q->used > q->max_bytes || q->used > q->peak || (q->cap & (q->cap - 1)) != 0 ||
        q->head > q->cap || q->tail > q->cap || (turned && q->wrap > q->cap) ||
        (turned && q->tail > q->head))
        return false;
    for (size_t k = 0; k < q->count; k++) {
        const struct record *r = record_at(q, at);
        size_t end = turned ? q->wrap : q->tail;

        if (at % 8 != 0 || r->len == 0 || end - at < record_size(r->len))
            return false;
        used += record_size(r->len);
        bytes += r->len;
        at += record_size(r->len);
        if (turned && at == q->wrap) {
            at = 0;
            turned = false;
        }
    }
    return used == q->used && bytes == q->packet_bytes && (q->count == 0 || at == q->tail);
}
