#include <stdlib.h>
#include <string.h>

#include "app/wan.h"

#define PPM 1000000u

/* splitmix64: the next draw. */
static uint64_t draw(struct wan_core *c)
{
    uint64_t z = c->random += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* True with probability `num` / `den`. */
static bool chance(struct wan_core *c, uint64_t num, uint64_t den)
{
    return draw(c) % den < num;
}

void wan_core_init(struct wan_core *c, const struct wan_shape *shape, uint64_t seed)
{
    memset(c, 0, sizeof(*c));
    c->shape = *shape;
    c->random = seed;
    c->tail = &c->head;
}

void wan_core_free(struct wan_core *c)
{
    while (c->head) {
        struct wan_pkt *p = c->head;

        c->head = p->next;
        free(p);
    }
    for (size_t i = 0; i < c->air_n; i++)
        free(c->air[i]);
    free(c->air);
    memset(c, 0, sizeof(*c));
    c->tail = &c->head;
}

/* How long `bytes` occupy the line. */
static ns_t line_time(const struct wan_shape *s, uint64_t bytes)
{
    if (!s->rate_bps)
        return 0;
    return (ns_t)((unsigned __int128)bytes * 8 * NS_PER_S / s->rate_bps);
}

/* How many bytes may wait. */
static uint64_t queue_limit(const struct wan_shape *s)
{
    ns_t time = s->queue_time || s->queue_bytes ? s->queue_time : 50 * NS_PER_MS;
    uint64_t bytes = UINT64_MAX;

    if (time && s->rate_bps)
        bytes = (uint64_t)((unsigned __int128)s->rate_bps * time / (8 * NS_PER_S));
    return s->queue_bytes && s->queue_bytes < bytes ? s->queue_bytes : bytes;
}

/* ---- what is in the air: a heap by (at, seq) ---- */

static bool before(const struct wan_pkt *a, const struct wan_pkt *b)
{
    return a->at < b->at || (a->at == b->at && a->seq < b->seq);
}

static bool air_push(struct wan_core *c, struct wan_pkt *p)
{
    size_t i = c->air_n;

    if (c->air_n == c->air_cap) {
        size_t cap = c->air_cap ? 2 * c->air_cap : 64;
        struct wan_pkt **air = realloc(c->air, cap * sizeof(*air));

        if (!air)
            return false;
        c->air = air;
        c->air_cap = cap;
    }
    c->air_n++;
    while (i && before(p, c->air[(i - 1) / 2])) {
        c->air[i] = c->air[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    c->air[i] = p;
    return true;
}

static struct wan_pkt *air_pop(struct wan_core *c)
{
    struct wan_pkt *top = c->air[0], *last = c->air[--c->air_n];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= c->air_n)
            break;
        if (child + 1 < c->air_n && before(c->air[child + 1], c->air[child]))
            child++;
        if (!before(c->air[child], last))
            break;
        c->air[i] = c->air[child];
        i = child;
    }
    c->air[i] = last;
    return top;
}

/* ---- the line ---- */

/* Is the packet that leaves the line now lost? Bursts by a chain of two states (Gilbert). */
static bool lost(struct wan_core *c)
{
    const struct wan_shape *s = &c->shape;
    uint64_t burst = s->loss_burst > 1 ? s->loss_burst : 1, least;

    if (s->loss_ppm == 0)
        return false;
    if (s->loss_ppm >= PPM)
        return true;
    if (burst == 1)
        return chance(c, s->loss_ppm, PPM);
    /* A burst ends with probability 1/burst; it begins so often that the share of lost
     * packets is loss_ppm: p = loss / (burst * (1 - loss)), at most 1. */
    least = (s->loss_ppm + (PPM - s->loss_ppm) - 1) / (PPM - s->loss_ppm);
    burst = burst < least ? least : burst;
    c->bad = c->bad ? !chance(c, 1, burst)
                    : chance(c, s->loss_ppm, burst * (uint64_t)(PPM - s->loss_ppm));
    return c->bad;
}

/* When the head of the queue has left the line. */
static ns_t head_done(const struct wan_core *c)
{
    return ns_add(ns_max(c->free_at, c->head->at), line_time(&c->shape, c->head->n));
}

/* `p` left the line at `now`: it is lost, or in the air. */
static void depart(struct wan_core *c, struct wan_pkt *p, ns_t now)
{
    const struct wan_shape *s = &c->shape;
    ns_t at = ns_add(now, s->delay);
    uint64_t *drops = NULL;

    if (s->black_hole)
        drops = &c->stats.drops_hole;
    else if (lost(c))
        drops = &c->stats.drops_loss;
    if (s->jitter)
        at = ns_add(at, draw(c) % ns_add(s->jitter, 1));
    if (!s->reorder)
        at = ns_max(at, c->last_at);
    p->at = at;
    if (!drops && !air_push(c, p))
        drops = &c->stats.drops_queue;
    if (drops) {
        ++*drops;
        c->stats.held_packets--;
        free(p);
        return;
    }
    c->last_at = ns_max(c->last_at, at);
}

/* Let the line work until `now`. */
static void advance(struct wan_core *c, ns_t now)
{
    while (c->head) {
        struct wan_pkt *p = c->head;
        ns_t done = head_done(c);

        if (done > now)
            return;
        c->head = p->next;
        if (!c->head)
            c->tail = &c->head;
        c->free_at = done;
        c->stats.queued_bytes -= p->n;
        depart(c, p, done);
    }
}

void wan_core_set(struct wan_core *c, const struct wan_shape *shape, ns_t now)
{
    advance(c, now);
    c->shape = *shape;
    if (!c->shape.loss_ppm)
        c->bad = false;
}

int wan_core_put(struct wan_core *c, const void *data, size_t n, ns_t now)
{
    struct wan_pkt *p;

    advance(c, now);
    c->stats.in_packets++;
    c->stats.in_bytes += n;
    if (c->stats.held_packets >= WAN_HELD_MAX ||
        (c->head && c->stats.queued_bytes + n > queue_limit(&c->shape))) {
        c->stats.drops_queue++;
        return QUIC_DROP;
    }
    p = malloc(sizeof(*p) + n);
    if (!p) {
        c->stats.drops_queue++;
        return QUIC_NOMEM;
    }
    p->next = NULL;
    p->at = now;
    p->seq = c->seq++;
    p->n = n;
    if (n)
        memcpy(p->p, data, n);
    *c->tail = p;
    c->tail = &p->next;
    c->stats.queued_bytes += n;
    c->stats.held_packets++;
    advance(c, now);
    return 0;
}

struct wan_pkt *wan_core_get(struct wan_core *c, ns_t now)
{
    struct wan_pkt *p;

    advance(c, now);
    if (!c->air_n || c->air[0]->at > now)
        return NULL;
    p = air_pop(c);
    p->next = NULL;
    c->stats.out_packets++;
    c->stats.out_bytes += p->n;
    c->stats.held_packets--;
    return p;
}

ns_t wan_core_next(struct wan_core *c)
{
    ns_t next = c->air_n ? c->air[0]->at : NS_NEVER;

    /* Nothing on the line can arrive sooner than its first packet would without jitter. */
    if (c->head)
        next = ns_min(next, ns_add(head_done(c), c->shape.delay));
    return next;
}

bool wan_core_check(const struct wan_core *c)
{
    const struct wan_stats *s = &c->stats;
    uint64_t bytes = 0, packets = 0;

    for (const struct wan_pkt *p = c->head; p; p = p->next) {
        bytes += p->n;
        packets++;
    }
    for (size_t i = 1; i < c->air_n; i++) {
        if (before(c->air[i], c->air[(i - 1) / 2]))
            return false;
    }
    return bytes == s->queued_bytes && packets + c->air_n == s->held_packets &&
           s->in_packets == s->out_packets + s->drops_queue + s->drops_loss + s->drops_hole +
                                s->drops_io + s->held_packets;
}
