#include "sched/parity.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(PARITY_BLOCK == 16, "a bit each in `came`");

static uint32_t first_of(uint32_t number)
{
    return number - number % PARITY_BLOCK;
}

/* ---- blocks ---------------------------------------------------------------------------- */

static struct parity_block *block_new(struct parity_pool *pool)
{
    struct parity_block *b = pool->spare;

    if (b) {
        pool->spare = b->next;
        return b;
    }
    if (pool->bytes + sizeof(*b) > pool->max_bytes || !(b = calloc(1, sizeof(*b))))
        return NULL;
    pool->bytes += sizeof(*b);
    return b;
}

static void block_put(struct parity_pool *pool, struct parity_block *b)
{
    b->next = pool->spare;
    pool->spare = b;
}

static void list_free(struct parity_pool *pool, struct parity_block **list)
{
    while (*list) {
        struct parity_block *b = *list;

        *list = b->next;
        pool->bytes -= sizeof(*b);
        free(b);
    }
}

static void block_begin(struct parity_block *b, unsigned flow, uint32_t first)
{
    memset(b->bytes, 0, b->longest);
    b->next = NULL;
    b->flow = (uint8_t)flow;
    b->first = first;
    b->count = b->covered = 0;
    b->came = b->size = b->longest = 0;
    b->whole = false;
}

static void xor_bytes(uint8_t *to, const uint8_t *from, size_t n)
{
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        uint64_t a, b;

        memcpy(&a, to + i, 8);
        memcpy(&b, from + i, 8);
        a ^= b;
        memcpy(to + i, &a, 8);
    }
    for (; i < n; i++)
        to[i] ^= from[i];
}

static void block_xor(struct parity_block *b, size_t at, struct span s)
{
    if (s.n > 0)
        xor_bytes(b->bytes + at, s.p, s.n);
    if (at + s.n > b->longest)
        b->longest = (uint16_t)(at + s.n);
}

/* ---- out ------------------------------------------------------------------------------- */

void parity_out_init(struct parity_out *o)
{
    memset(o, 0, sizeof(*o));
    o->pool.max_bytes = SIZE_MAX;
    o->due_end = &o->due;
    o->pause_at = NS_NEVER;
    for (size_t i = 0; i < PARITY_FLOWS; i++)
        o->credit[i] = PARITY_SAVED * PARITY_EARN;
}

void parity_out_free(struct parity_out *o)
{
    for (size_t i = 0; i < PARITY_FLOWS; i++)
        list_free(&o->pool, &o->open[i]);
    list_free(&o->pool, &o->due);
    list_free(&o->pool, &o->pool.spare);
    parity_out_init(o);
}

static void drop_due(struct parity_out *o)
{
    struct parity_block *b = o->due;

    o->due = b->next;
    if (!o->due)
        o->due_end = &o->due;
    o->due_n--;
    block_put(&o->pool, b);
}

static void make_due(struct parity_out *o, struct parity_block *b, ns_t now)
{
    if (o->due_n == PARITY_DUE)
        drop_due(o);
    b->at = now;
    b->next = NULL;
    *o->due_end = b;
    o->due_end = &b->next;
    o->due_n++;
}

/* The open block of a flow, which has none from then on. */
static struct parity_block *close_open(struct parity_out *o, unsigned flow)
{
    struct parity_block *b = o->open[flow];

    o->open[flow] = NULL;
    o->bare &= ~((uint64_t)1 << flow);
    return b;
}

/* The far end is to keep what comes from now on. */
static void announce(struct parity_out *o, unsigned flow, ns_t now)
{
    struct parity_block *b = block_new(&o->pool);

    if (!b)
        return;
    block_begin(b, flow, 0);
    make_due(o, b, now);
    o->told_at = now;
}

/* The part of its open block that there is. */
static void cover(struct parity_out *o, unsigned flow, ns_t now)
{
    struct parity_block *b = o->open[flow], *copy;

    o->bare &= ~((uint64_t)1 << flow);
    if (b->count - b->covered < PARITY_LEAST || o->credit[flow] < PARITY_EARN ||
        !(copy = block_new(&o->pool)))
        return;
    block_begin(copy, flow, b->first);
    copy->count = b->count;
    copy->size = b->size;
    block_xor(copy, 0, span_of(b->bytes, b->longest));
    make_due(o, copy, now);
    b->covered = b->count;
    o->credit[flow] -= PARITY_EARN;
}

void parity_add(struct parity_out *o, unsigned flow, uint32_t number, struct span head,
                struct span body, ns_t now)
{
    struct parity_block *b = o->open[flow];

    if (b && (b->first + b->count != number || head.n + body.n > PARITY_LONGEST)) {
        block_put(&o->pool, close_open(o, flow));
        b = NULL;
    }
    if (!b) {
        if (!o->on || number != first_of(number) || head.n + body.n > PARITY_LONGEST ||
            !(b = block_new(&o->pool)))
            return;
        block_begin(b, flow, number);
        o->open[flow] = b;
        if (!o->told_at || ns_sub(now, o->told_at) > PARITY_FORGET / 2)
            announce(o, flow, now);
    }
    block_xor(b, 0, head);
    block_xor(b, head.n, body);
    b->size ^= (uint16_t)(head.n + body.n);
    b->count++;
    b->at = now;
    if (o->credit[flow] < PARITY_SAVED * PARITY_EARN)
        o->credit[flow]++;
    o->bare |= (uint64_t)1 << flow;
    if (o->pause_at == NS_NEVER)
        o->pause_at = now + PARITY_PAUSE;
    if (b->count < PARITY_BLOCK)
        return;
    o->credit[flow] -= PARITY_EARN < o->credit[flow] ? PARITY_EARN : o->credit[flow];
    make_due(o, close_open(o, flow), now);
}

bool parity_next(struct parity_out *o, ns_t now, struct parity *p)
{
    const struct parity_block *b;

    while (o->due && ns_sub(now, o->due->at) > PARITY_AGE)
        drop_due(o);
    b = o->due;
    if (!b)
        return false;
    *p = (struct parity){.flow = b->flow,
                         .first = b->first,
                         .count = b->count,
                         .size = b->size,
                         .pkt = span_of(b->bytes, b->longest)};
    return true;
}

void parity_sent(struct parity_out *o, ns_t now)
{
    drop_due(o);
    o->told_at = now;
    o->sent++;
}

void parity_tick(struct parity_out *o, ns_t now)
{
    if (now < o->pause_at)
        return;
    o->pause_at = NS_NEVER;
    for (uint64_t rest = o->bare; rest; rest &= rest - 1) {
        unsigned flow = (unsigned)__builtin_ctzll(rest);
        ns_t at = o->open[flow]->at + PARITY_PAUSE;

        if (now < at)
            o->pause_at = ns_min(o->pause_at, at);
        else
            cover(o, flow, now);
    }
}

ns_t parity_deadline(const struct parity_out *o)
{
    return o->pause_at;
}

void parity_out_trim(struct parity_out *o, ns_t now)
{
    for (unsigned i = 0; i < PARITY_FLOWS; i++)
        if (o->open[i] && ns_sub(now, o->open[i]->at) >= PARITY_IDLE)
            block_put(&o->pool, close_open(o, i));
    list_free(&o->pool, &o->pool.spare);
}

/* ---- in -------------------------------------------------------------------------------- */

void parity_in_init(struct parity_in *in)
{
    memset(in, 0, sizeof(*in));
    in->pool.max_bytes = SIZE_MAX;
}

void parity_in_free(struct parity_in *in)
{
    for (size_t i = 0; i < PARITY_SLOTS; i++)
        list_free(&in->pool, &in->slot[i]);
    list_free(&in->pool, &in->lent);
    list_free(&in->pool, &in->pool.spare);
    parity_in_init(in);
}

static struct parity_block **slot_of(struct parity_in *in, unsigned flow, uint32_t first)
{
    return &in->slot[(first / PARITY_BLOCK + flow * 67) % PARITY_SLOTS];
}

/* The block from `first` on; another one makes room. Null without memory. */
static struct parity_block *block_of(struct parity_in *in, unsigned flow, uint32_t first,
                                     ns_t now)
{
    struct parity_block **slot = slot_of(in, flow, first), *b = *slot;

    if (!b) {
        b = *slot = block_new(&in->pool);
        if (!b)
            return NULL;
        block_begin(b, flow, first);
    } else if (b->flow != flow || b->first != first || ns_sub(now, b->at) > PARITY_IDLE) {
        block_begin(b, flow, first);
    }
    b->at = now;
    return b;
}

/* `b` holds packet `i`, the one that had not come, and nothing else. */
static bool give(struct parity_in *in, struct parity_block *b, unsigned i, uint32_t *number,
                 struct span *pkt)
{
    b->next = in->lent;
    in->lent = b;
    if (b->size == 0 || b->size > b->longest)
        return false;
    *number = b->first + i;
    *pkt = span_of(b->bytes, b->size);
    in->recovered++;
    return true;
}

/* Whether the parity of the whole block and what came give the packet that did not. */
static bool solve(struct parity_in *in, struct parity_block *b, uint32_t *number,
                  struct span *pkt)
{
    unsigned missing = (uint16_t)~b->came;

    if (!b->whole || __builtin_popcount(missing) != 1)
        return false;
    *slot_of(in, b->flow, b->first) = NULL;
    return give(in, b, (unsigned)__builtin_ctz(missing), number, pkt);
}

bool parity_got(struct parity_in *in, unsigned flow, uint32_t *number, struct span *pkt,
                ns_t now)
{
    unsigned i = *number % PARITY_BLOCK;
    struct parity_block *b;

    if (!in->seen || pkt->n > PARITY_LONGEST ||
        !(b = block_of(in, flow, first_of(*number), now)) || b->came >> i & 1)
        return false;
    block_xor(b, 0, *pkt);
    b->size ^= (uint16_t)pkt->n;
    b->came |= (uint16_t)(1u << i);
    return solve(in, b, number, pkt);
}

/*
 * The parity of the first packets of a block: good for the one of them that has not come, as
 * long as none behind them has.
 */
static bool part_came(struct parity_in *in, struct parity_block *b, const struct parity *p,
                      uint32_t *number, struct span *pkt)
{
    unsigned missing = (((1u << p->count) - 1) ^ b->came) & 0xffff;
    struct parity_block *copy;

    if (b->whole || __builtin_popcount(missing) != 1 || missing >> p->count ||
        !(copy = block_new(&in->pool)))
        return false;
    block_begin(copy, b->flow, b->first);
    copy->size = b->size ^ p->size;
    block_xor(copy, 0, span_of(b->bytes, b->longest));
    block_xor(copy, 0, p->pkt);
    if (!give(in, copy, (unsigned)__builtin_ctz(missing), number, pkt))
        return false;
    block_xor(b, 0, *pkt);
    b->size ^= (uint16_t)pkt->n;
    b->came |= (uint16_t)missing;
    return true;
}

bool parity_came(struct parity_in *in, const struct parity *p, uint32_t *number,
                 struct span *pkt, ns_t now)
{
    struct parity_block *b;

    if (p->flow >= PARITY_FLOWS || p->count > PARITY_BLOCK || p->first % PARITY_BLOCK ||
        p->pkt.n > PARITY_LONGEST)
        return false;
    in->seen = now;
    in->came++;
    if (p->count == 0 || !(b = block_of(in, p->flow, p->first, now)) || b->whole)
        return false;
    if (p->count < PARITY_BLOCK)
        return part_came(in, b, p, number, pkt);
    block_xor(b, 0, p->pkt);
    b->size ^= p->size;
    b->whole = true;
    return solve(in, b, number, pkt);
}

void parity_done(struct parity_in *in)
{
    while (in->lent) {
        struct parity_block *b = in->lent;

        in->lent = b->next;
        block_put(&in->pool, b);
    }
}

void parity_in_trim(struct parity_in *in, ns_t now)
{
    if (in->seen && ns_sub(now, in->seen) > PARITY_FORGET)
        in->seen = 0;
    for (size_t i = 0; i < PARITY_SLOTS; i++) {
        struct parity_block *b = in->slot[i];

        if (!b || ns_sub(now, b->at) < PARITY_IDLE)
            continue;
        in->slot[i] = NULL;
        block_put(&in->pool, b);
    }
    list_free(&in->pool, &in->pool.spare);
}
