#include "sched/queue.h"

#include <stdlib.h>
#include <string.h>

#define SETS (QUEUE_SLOTS / QUEUE_WAYS)

struct queue_table {
    uint32_t tag[QUEUE_SLOTS]; /* those of the slots, close together */
    struct queue_slot slot[QUEUE_SLOTS];
};

void queue_init(struct queue *q, size_t max_held, ns_t max_age)
{
    memset(q, 0, sizeof(*q));
    q->max_held = max_held > QUEUE_HELD_LEAST ? max_held : QUEUE_HELD_LEAST;
    q->max_age = max_age;
    q->target[SCHED_PROMPT] = QUEUE_TARGET_PROMPT;
    q->target[SCHED_BULK] = QUEUE_TARGET_BULK;
    q->one.tail = &q->one.head;
    q->recent = &q->one;
}

void queue_free(struct queue *q)
{
    free(q->table);
    q->table = NULL;
    q->recent = &q->one;
}

static ns_t clock_of(const struct queue *q, ns_t now)
{
    return ns_sub(q->paused ? ns_min(now, q->paused_since) : now, q->paused_for);
}

void queue_pause(struct queue *q, bool pause, ns_t now)
{
    if (pause == q->paused)
        return;
    if (pause)
        q->paused_since = now;
    else
        q->paused_for += ns_sub(now, q->paused_since);
    q->paused = pause;
}

/* ---- lists ----------------------------------------------------------------------------- */

static void unlist(struct queue *q, struct queue_slot *s)
{
    struct queue_list *l = &q->list[s->where];

    *(s->prev ? &s->prev->next : &l->first) = s->next;
    *(s->next ? &s->next->prev : &l->last) = s->prev;
    s->where = QUEUE_NONE;
}

static void append(struct queue *q, struct queue_slot *s, enum queue_where where)
{
    struct queue_list *l = &q->list[where];

    s->next = NULL;
    s->prev = l->last;
    *(l->last ? &l->last->next : &l->first) = s;
    l->last = s;
    s->where = where;
}

static void move(struct queue *q, struct queue_slot *s, enum queue_where where)
{
    unlist(q, s);
    append(q, s, where);
}

static enum queue_where round_of(const struct queue_slot *s)
{
    return s->flow.lane == SCHED_BULK ? QUEUE_BULK : QUEUE_OLD;
}

/*
 * Its packets are gone. A sparse flow waits for its turn among the others once, so that it
 * can't come first again and again (RFC 8290 4.2).
 */
static void emptied(struct queue *q, struct queue_slot *s)
{
    if (s->where == QUEUE_NEW && q->list[QUEUE_OLD].first)
        move(q, s, QUEUE_OLD);
    else if (s->where != QUEUE_NONE)
        unlist(q, s);
}

/* ---- slots ----------------------------------------------------------------------------- */

static struct queue_slot *slot_at(const struct queue *q, uint32_t i)
{
    return &q->table->slot[i];
}

static void set_tag(struct queue *q, struct queue_slot *s, uint32_t flow)
{
    s->tag = flow;
    if (s != &q->one)
        q->table->tag[s - q->table->slot] = flow;
}

/* By hash: where a flow's set begins. The bits of a flow hash are all alike. */
static uint32_t set_of(uint32_t flow)
{
    return flow % SETS * QUEUE_WAYS;
}

static struct queue_table *table_new(void)
{
    struct queue_table *t = calloc(1, sizeof(*t));

    for (size_t i = 0; t && i < QUEUE_SLOTS; i++)
        t->slot[i].tail = &t->slot[i].head;
    return t;
}

/* The slot of a flow that has packets or is remembered; null if there is none. */
static struct queue_slot *find(struct queue *q, uint32_t flow)
{
    uint32_t set = set_of(flow);

    if (q->recent->tag == flow)
        return q->recent;
    if (!q->table)
        return NULL;
    for (uint32_t i = set; i < set + QUEUE_WAYS; i++)
        if (q->table->tag[i] == flow)
            return q->recent = slot_at(q, i);
    return NULL;
}

/* A slot for a flow that has none: the one out of use for longest, a quiet one if there is. */
static struct queue_slot *claim(struct queue *q, uint32_t flow, ns_t now)
{
    struct queue_slot *best = NULL;

    for (uint32_t i = set_of(flow); i < set_of(flow) + QUEUE_WAYS; i++) {
        struct queue_slot *s = slot_at(q, i);
        bool bulk = s->flow.lane == SCHED_BULK && !flow_quiet(&s->flow, now);

        if (s->count > 0 || (bulk && best))
            continue;
        if (!best || best->flow.lane == SCHED_BULK || s->flow.last < best->flow.last)
            best = s;
    }
    if (!best)
        return slot_at(q, set_of(flow) + flow / SETS % QUEUE_WAYS); /* shared */
    if (best->where != QUEUE_NONE)
        unlist(q, best);
    *best = (struct queue_slot){.tail = &best->head};
    set_tag(q, best, flow);
    return best;
}

static struct queue_slot *slot_for(struct queue *q, uint32_t flow, ns_t now)
{
    struct queue_slot *s = find(q, flow);

    if (!q->table && q->count == 0)
        q->table = table_new();
    if (!q->table)
        return &q->one;
    if (!s || s == &q->one)
        s = claim(q, flow, now);
    return q->recent = s;
}

void queue_trim(struct queue *q, ns_t now)
{
    if (q->table && q->count == 0 && ns_sub(now, q->used) >= QUEUE_TRIM) {
        memset(q->list, 0, sizeof(q->list)); /* of slots that wait for their turn, empty */
        queue_free(q);
    }
}

/* ---- packets --------------------------------------------------------------------------- */

static struct queue_pkt *shift(struct queue *q, struct queue_slot *s)
{
    struct queue_pkt *pkt = s->head;

    s->head = pkt->next;
    s->count--;
    s->bytes -= pkt->bytes;
    s->held -= pkt->held;
    q->count--;
    q->bytes -= pkt->bytes;
    q->held -= pkt->held;
    if (!s->head) {
        s->tail = &s->head;
        s->flow.filled = false;
        emptied(q, s);
    } else if (s->head->flow != s->tag) {
        set_tag(q, s, s->head->flow);
    }
    return pkt;
}

static void drop(struct queue *q, struct queue_slot *s, uint64_t *counter)
{
    struct queue_pkt *pkt = shift(q, s);

    pkt->next = q->dropped;
    q->dropped = pkt;
    ++*counter;
}

/* Make room for a packet that holds `held`. */
static void make_room(struct queue *q, uint32_t held)
{
    while (q->count > 0 && q->held + held > q->max_held) {
        struct queue_slot *fattest = NULL;
        uint32_t half;

        for (int l = QUEUE_NEW; l < QUEUE_LISTS; l++)
            for (struct queue_slot *s = q->list[l].first; s; s = s->next)
                if (!fattest || s->held > fattest->held)
                    fattest = s;
        half = fattest->held / 2;
        do
            drop(q, fattest, &q->stats.dropped_full);
        while (q->held + held > q->max_held && fattest->held > half);
    }
}

void queue_push(struct queue *q, struct queue_pkt *pkt, ns_t now)
{
    struct queue_slot *s;

    if (q->held + pkt->held > q->max_held)
        make_room(q, pkt->held);
    s = slot_for(q, pkt->flow, now);
    flow_pushed(&s->flow, pkt->elastic, now);
    pkt->next = NULL;
    pkt->arrived = clock_of(q, now);
    *s->tail = pkt;
    s->tail = &pkt->next;
    s->count++;
    s->bytes += pkt->bytes;
    s->held += pkt->held;
    if (q->count++ == 0)
        q->filled = pkt->arrived;
    q->bytes += pkt->bytes;
    q->held += pkt->held;
    q->used = now;
    q->stats.pushed++;
    if (s->count == 1 && s->tag != pkt->flow)
        set_tag(q, s, pkt->flow);
    if (s->where == QUEUE_BULK && s->flow.lane == SCHED_PROMPT)
        unlist(q, s); /* quiet since */
    if (s->where == QUEUE_NONE && s->flow.lane == SCHED_BULK) {
        append(q, s, QUEUE_BULK);
    } else if (s->where == QUEUE_NONE) {
        s->deficit = QUEUE_QUANTUM;
        append(q, s, QUEUE_NEW);
    }
}

static ns_t slack_of(const struct queue *q, const struct queue_slot *s)
{
    return s->flow.lane == SCHED_BULK ? q->slack : 0;
}

/* A bulk flow is told by CoDel first: many packets dropped at once would only stop it. */
static ns_t age_of(const struct queue *q, const struct queue_slot *s)
{
    return s->flow.lane == SCHED_BULK ? QUEUE_PATIENCE * (q->max_age + q->slack) : q->max_age;
}

/* Whether the first of a list may be served; else it goes to the end of its round. */
static bool settled(struct queue *q, struct queue_slot *s)
{
    if (s->count == 0) {
        unlist(q, s);
        return false;
    }
    if (s->deficit > 0)
        return true;
    s->deficit += QUEUE_QUANTUM;
    if (s->where == QUEUE_NEW || s->next)
        move(q, s, round_of(s));
    else if (s->deficit <= 0)
        s->deficit = 1; /* alone, it owes nobody */
    return false;
}

static void head_of(const struct queue *q, const struct queue_slot *s, ns_t now,
                    struct sched_head *out)
{
    const struct queue_pkt *pkt = s->head;
    ns_t t = clock_of(q, now);

    *out = (struct sched_head){
        .flow = pkt->flow,
        .bytes = pkt->unit < pkt->bytes ? pkt->unit : pkt->bytes,
        .backlog_bytes = s->bytes,
        .lane = s->flow.lane,
        .numbering = !q->may_number     ? SCHED_PLAIN
                     : s->flow.numbered ? SCHED_NUMBERED
                                        : SCHED_MAY,
        .elastic = s->flow.elastic,
        .steady = s->flow.steady,
        .moved_bytes = s->flow.moved,
        .busy = s->flow.busy,
        .waited = ns_sub(t, pkt->arrived),
        .standing = ns_sub(t, q->filled),
    };
}

size_t queue_heads(struct queue *q, ns_t now, struct sched_head *out, size_t max)
{
    ns_t t = clock_of(q, now);
    size_t n = 0;

    if (q->count == 0)
        return 0;
    for (int l = QUEUE_NEW; l < QUEUE_LISTS && n < max; l++) {
        struct queue_slot *s, *next;

        while ((s = q->list[l].first) && !settled(q, s))
            ;
        for (; s && n < max; s = next) {
            next = s->next;
            while (s->head && ns_sub(t, s->head->arrived) > age_of(q, s))
                drop(q, s, &q->stats.dropped_old);
            if (s->head)
                head_of(q, s, now, &out[n++]);
        }
    }
    return n;
}

/*
 * The slot at whose head a packet of `flow` is, `pkt` unless that is null. A flow that had to
 * share a slot may have packets in two.
 */
static struct queue_slot *serving(struct queue *q, uint32_t flow, const struct queue_pkt *pkt)
{
    uint32_t set = set_of(flow);
    struct queue_slot *s = q->recent;

    if (s->tag == flow && s->head && (!pkt || s->head == pkt))
        return s;
    for (uint32_t i = set; q->table && i < set + QUEUE_WAYS; i++) {
        s = slot_at(q, i);
        if (s->tag == flow && s->head && (!pkt || s->head == pkt))
            return q->recent = s;
    }
    s = &q->one;
    return s->head && s->tag == flow ? s : NULL;
}

/* One datagram less in the first packet, which has more than one. */
static void skip(struct queue *q, struct queue_slot *s)
{
    struct queue_pkt *pkt = s->head;

    pkt->skip++;
    pkt->bytes -= pkt->unit;
    s->bytes -= pkt->unit;
    q->bytes -= pkt->unit;
}

struct queue_pkt *queue_first(struct queue *q, uint32_t flow, ns_t now)
{
    struct queue_slot *s = serving(q, flow, NULL);
    ns_t t = clock_of(q, now);

    while (s && s->head && s->head->flow == flow) {
        struct queue_pkt *pkt = s->head;
        bool last = s->bytes <= pkt->unit;

        if (!codel_due(&s->codel, ns_sub(t, pkt->arrived),
                       q->target[s->flow.lane] + slack_of(q, s), last, t))
            return pkt;
        if (pkt->ect) {
            q->stats.marked += !pkt->mark;
            pkt->mark = true;
            return pkt;
        }
        if (pkt->bytes > pkt->unit) {
            skip(q, s);
            q->stats.dropped_codel++;
        } else {
            drop(q, s, &q->stats.dropped_codel);
        }
    }
    return NULL;
}

bool queue_took(struct queue *q, struct queue_pkt *pkt, uint32_t bytes, ns_t now)
{
    struct queue_slot *s = serving(q, pkt->flow, pkt);
    bool rest = bytes >= pkt->bytes;

    if (rest)
        bytes = pkt->bytes;
    flow_took(&s->flow, bytes, !rest || s->count > 1, q->lossy, now);
    if (rest) {
        ns_t *mean = &q->sojourn[s->flow.lane];

        *mean += ns_sub(clock_of(q, now), pkt->arrived) / 8 - *mean / 8;
        shift(q, s);
        q->stats.popped++;
    } else {
        pkt->bytes -= bytes;
        s->bytes -= bytes;
        q->bytes -= bytes;
    }
    pkt->mark = false;
    s->deficit -= (int32_t)bytes;
    if (s->where == QUEUE_NONE)
        return rest;
    if (s->flow.lane == SCHED_BULK && s->where != QUEUE_BULK)
        move(q, s, QUEUE_BULK);
    else if (s->deficit <= 0 && (s->where == QUEUE_NEW || s->next)) {
        s->deficit += QUEUE_QUANTUM;
        move(q, s, round_of(s));
    }
    return rest;
}

const struct queue_slot *queue_find(struct queue *q, uint32_t flow)
{
    const struct queue_slot *s = find(q, flow);

    return s && s->tag == flow && s != &q->one ? s : NULL;
}

void queue_numbered(struct queue *q, uint32_t flow)
{
    struct queue_slot *s = find(q, flow);

    if (s && s->tag == flow)
        s->flow.numbered = true;
}

void queue_drop(struct queue *q, uint32_t flow)
{
    struct queue_slot *s = serving(q, flow, NULL);

    if (s)
        drop(q, s, &q->stats.dropped_told);
}

void queue_clear(struct queue *q)
{
    for (int l = QUEUE_NEW; l < QUEUE_LISTS; l++) {
        struct queue_slot *s;

        while ((s = q->list[l].first)) {
            while (s->head)
                drop(q, s, &q->stats.dropped_told);
            if (s->where == (enum queue_where)l)
                unlist(q, s);
        }
    }
}

struct queue_pkt *queue_dropped(struct queue *q)
{
    struct queue_pkt *pkt = q->dropped;

    if (pkt)
        q->dropped = pkt->next;
    return pkt;
}

void queue_flows(const struct queue *q, ns_t now, struct queue_flows *out)
{
    *out = (struct queue_flows){0};
    for (uint32_t i = 0; i <= QUEUE_SLOTS; i++) {
        const struct queue_slot *s = i == QUEUE_SLOTS ? &q->one : q->table ? slot_at(q, i) : NULL;

        if (!s || s->flow.last == 0 || flow_quiet(&s->flow, now))
            continue;
        if (s->flow.lane == SCHED_BULK)
            out->bulk++;
        else
            out->prompt++;
        out->steady += s->flow.steady;
        out->numbered += s->flow.numbered;
    }
    if (out->prompt)
        out->waited[SCHED_PROMPT] = q->sojourn[SCHED_PROMPT];
    if (out->bulk)
        out->waited[SCHED_BULK] = q->sojourn[SCHED_BULK];
}

/* ---- the invariant --------------------------------------------------------------------- */

struct sums {
    size_t count, bytes, held;
};

static bool slot_check(const struct queue_slot *s, struct sums *total)
{
    struct queue_pkt *const *end = &s->head;
    struct sums sum = {0};

    for (const struct queue_pkt *p = s->head; p; p = p->next) {
        if (p->bytes == 0)
            return false;
        sum.count++;
        sum.bytes += p->bytes;
        sum.held += p->held;
        end = &p->next;
    }
    total->count += sum.count;
    total->bytes += sum.bytes;
    total->held += sum.held;
    return sum.count == s->count && sum.bytes == s->bytes && sum.held == s->held &&
           end == s->tail && (!s->head || s->head->flow == s->tag);
}

bool queue_check(const struct queue *q)
{
    struct sums total = {0};

    for (int l = QUEUE_NEW; l < QUEUE_LISTS; l++) {
        const struct queue_slot *prev = NULL;

        for (const struct queue_slot *s = q->list[l].first; s; prev = s, s = s->next) {
            if (s->where != (enum queue_where)l || s->prev != prev || !slot_check(s, &total))
                return false;
            if (s->head && (l == QUEUE_BULK) != (s->flow.lane == SCHED_BULK))
                return false;
        }
        if (q->list[l].last != prev)
            return false;
    }
    return total.count == q->count && total.bytes == q->bytes && total.held == q->held &&
           (q->count <= 1 || q->held <= q->max_held);
}
