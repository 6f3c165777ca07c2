#include "app/hold.h"

#include <math.h>
#include <string.h>

#define ROOM_MOST (64u << 20)
#define TRIP_MOST NS_PER_S
#define PACKET    1500u /* a sender doesn't use up a window by less than one */

void hold_init(struct hold *h, struct queue *queue, uint64_t seed)
{
    memset(h, 0, sizeof(*h));
    h->queue = queue;
    h->seed = seed;
}

static void let_go(struct hold *h)
{
    for (size_t i = 0; i < HOLD_SETS * HOLD_WAYS; i++) {
        struct hold_flow *f = &h->flow[i / HOLD_WAYS][i % HOLD_WAYS];

        f->sending = f->held = f->timed = false;
        f->trip = 0;
    }
    h->room = 0;
    h->bps = 0;
}

/* How long packets may wait: not so long that CoDel drops one. */
static ns_t bearable(const struct queue *q)
{
    return ns_min(HOLD_TIME, (q->target[SCHED_BULK] + q->slack) / 4 * 3);
}

void hold_look(struct hold *h, bool away, double bps, ns_t now)
{
    struct queue_flows flows;

    h->now = now;
    if (!away && h->room)
        let_go(h);
    if (!away || (h->room && now < h->look))
        return;
    h->look = now + HOLD_EVERY;
    h->bps = fmax(h->bps, bps);
    if (h->bps <= 0) /* they have shown no rate yet */
        return;
    queue_flows(h->queue, now, &flows);
    h->time = bearable(h->queue);
    h->room = 1 + (uint32_t)fmin(h->bps * (double)h->time / 8e9 / (flows.bulk + !flows.bulk),
                                 ROOM_MOST);
}

/* ---- flows ----------------------------------------------------------------------------- */

static struct hold_flow *find(struct hold *h, uint32_t flow)
{
    struct hold_flow *set = h->flow[flow % HOLD_SETS];

    for (size_t i = 0; i < HOLD_WAYS; i++)
        if (set[i].used && set[i].flow == flow)
            return &set[i];
    return NULL;
}

/* Its place in the queue; null if it is no bulk flow there. */
static const struct queue_slot *bulk(struct hold *h, uint32_t flow)
{
    const struct queue_slot *s = queue_find(h->queue, flow);

    return s && s->flow.lane == SCHED_BULK ? s : NULL;
}

/* A place for a flow that has none: of one that need not be held, if there is such. */
static struct hold_flow *claim(struct hold *h, uint32_t flow)
{
    struct hold_flow *set = h->flow[flow % HOLD_SETS], *best = NULL;

    h->next++;
    for (uint32_t i = 0; i < HOLD_WAYS; i++) {
        struct hold_flow *f = &set[(h->next + i) % HOLD_WAYS];

        if (!f->used)
            return f;
        if (!best || (bulk(h, best->flow) && !bulk(h, f->flow)))
            best = f;
    }
    return best;
}

/* Both ends have to say that they scale windows, and that of a signed segment may not change. */
static bool may_hold(const struct ippkt_tcp *syn)
{
    return syn->scale >= 0 && !syn->signs;
}

static bool after(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) > 0;
}

/*
 * How long it takes the sender to use what it is told of, if it waits for that: from then on, when
 * the queue is empty, until the last of it has come.
 */
static void end_trip(const struct hold *h, struct hold_flow *f)
{
    if (!f->timed || after(f->mark, f->end))
        return;
    f->trip = ns_max(f->trip, ns_min(ns_sub(h->now, f->marked_at), TRIP_MOST));
    f->timed = false;
}

void hold_look_out(struct hold *h, const uint8_t *pkt, size_t n, size_t at, uint32_t flow)
{
    struct hold_flow *f = find(h, flow);
    struct ippkt_tcp t;

    if (!f || !ippkt_tcp_read(pkt, n, at, &t))
        return;
    if (t.flags & IPPKT_TCP_SYN)
        f->used = may_hold(&t) && !f->held; /* what was held ended: the answer says anew */
    else if (!f->sending || after(t.seq + t.data, f->end))
        f->end = t.seq + t.data;
    f->sending = !(t.flags & IPPKT_TCP_SYN);
    end_trip(h, f);
}

/* A flow of the far end's begins, or is answered. One that is held may not begin again. */
static void begin(struct hold *h, uint32_t flow, const struct ippkt_tcp *syn)
{
    struct hold_flow *f = find(h, flow);

    if (f ? f->held : !may_hold(syn))
        return;
    if (!f)
        f = claim(h, flow);
    *f = (struct hold_flow){.flow = flow, .used = may_hold(syn), .scale = (uint8_t)syn->scale};
}

/*
 * Whether it is to be held, with `backlog` bytes in the queue. What is there was sent and not yet
 * acknowledged: if `end` says less, it is that of something sent again.
 */
static bool wanted(const struct hold *h, const struct hold_flow *f, uint32_t backlog,
                   uint32_t ack)
{
    uint32_t sent = after(f->end, ack) ? f->end - ack : 0;

    return f->held || (backlog > h->room && sent >= backlog - backlog / 8);
}

/* What may be on the way to the queue, beside its room there: what leaves meanwhile. */
static uint32_t on_the_way(const struct hold *h, const struct hold_flow *f)
{
    return (uint32_t)fmin((double)h->room * (double)f->trip / (double)h->time, ROOM_MOST);
}

/* It is told of `edge`. */
static void begin_trip(const struct hold *h, struct hold_flow *f, uint32_t edge)
{
    f->mark = edge - PACKET;
    f->marked_at = h->now;
    f->timed = after(f->mark, f->end);
}

void hold_look_in(struct hold *h, uint8_t *pkt, size_t n, size_t at)
{
    const struct queue_slot *s;
    struct hold_flow *f;
    struct ippkt_tcp t;
    struct ippkt v;
    uint32_t flow, edge, room, window, least;
    bool waits;

    if (!ippkt_tcp_read(pkt, n, at, &t) || ippkt_parse(span_of(pkt, n), &v))
        return;
    flow = ippkt_flow_hash_back(&v, span_of(pkt, n), h->seed);
    if (t.flags & IPPKT_TCP_SYN) {
        begin(h, flow, &t);
        return;
    }
    f = find(h, flow);
    s = bulk(h, flow);
    if (!(t.flags & IPPKT_TCP_ACK) || !f || !f->sending || !s || !wanted(h, f, s->bytes, t.ack))
        return;
    room = h->room + on_the_way(h, f);
    edge = f->end + (room > s->bytes ? room - s->bytes : 0);
    waits = f->held && s->bytes == 0;
    if (!f->held || after(edge, f->edge))
        f->edge = edge;
    f->held = true;
    least = ((HOLD_LEAST - 1) >> f->scale) + 1;
    window = (after(f->edge, t.ack) ? f->edge - t.ack : 0) >> f->scale;
    window = window > least ? window : least;
    window = window < t.window ? window : t.window;
    if (waits && !f->timed)
        begin_trip(h, f, t.ack + (window << f->scale));
    if (window < t.window)
        ippkt_tcp_window(pkt + at, (uint16_t)window);
}
