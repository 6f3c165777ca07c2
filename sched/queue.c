#include "sched/queue.h"

#include <string.h>

void queue_init(struct queue *q, size_t max_held, ns_t max_age)
{
    memset(q, 0, sizeof(*q));
    q->tail = &q->head;
    q->max_held = max_held > QUEUE_HELD_LEAST ? max_held : QUEUE_HELD_LEAST;
    q->max_age = max_age;
}

static struct queue_pkt *shift(struct queue *q)
{
    struct queue_pkt *pkt = q->head;

    q->head = pkt->next;
    if (!q->head)
        q->tail = &q->head;
    q->count--;
    q->bytes -= pkt->bytes;
    q->held -= pkt->held;
    return pkt;
}

static void drop(struct queue *q, uint64_t *counter)
{
    struct queue_pkt *pkt = shift(q);

    pkt->next = q->dropped;
    q->dropped = pkt;
    ++*counter;
}

void queue_push(struct queue *q, struct queue_pkt *pkt, ns_t now)
{
    while (q->head && q->held + pkt->held > q->max_held)
        drop(q, &q->stats.dropped_full);
    pkt->next = NULL;
    pkt->arrived = now;
    *q->tail = pkt;
    q->tail = &pkt->next;
    q->count++;
    q->bytes += pkt->bytes;
    q->held += pkt->held;
    q->stats.pushed++;
}

struct queue_pkt *queue_head(struct queue *q, ns_t now)
{
    while (q->head && ns_sub(now, q->head->arrived) > q->max_age)
        drop(q, &q->stats.dropped_old);
    return q->head;
}

bool queue_took(struct queue *q, uint32_t bytes)
{
    if (bytes < q->head->bytes) {
        q->head->bytes -= bytes;
        q->bytes -= bytes;
        return false;
    }
    shift(q);
    q->stats.popped++;
    return true;
}

void queue_drop(struct queue *q)
{
    if (q->head)
        drop(q, &q->stats.dropped_told);
}

void queue_clear(struct queue *q)
{
    while (q->head)
        drop(q, &q->stats.dropped_told);
}

struct queue_pkt *queue_dropped(struct queue *q)
{
    struct queue_pkt *pkt = q->dropped;

    if (pkt)
        q->dropped = pkt->next;
    return pkt;
}

bool queue_check(const struct queue *q)
{
    size_t count = 0, bytes = 0, held = 0;
    struct queue_pkt *const *end = &q->head;

    for (const struct queue_pkt *p = q->head; p; p = p->next) {
        if (p->bytes == 0 || p->unit > p->bytes)
            return false;
        count++;
        bytes += p->bytes;
        held += p->held;
        end = &p->next;
    }
    return count == q->count && bytes == q->bytes && held == q->held && end == q->tail &&
           (q->count <= 1 || held <= q->max_held);
}
