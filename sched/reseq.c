#include "sched/reseq.h"

#include "quic/wire.h"

#include <stdlib.h>
#include <string.h>

#define RING_MIN 64 /* a word of the map */
#define START    ((uint64_t)1 << 32) /* so that nothing before the first number is negative */

#define PACE_ONE   256 /* a packet, in `pace` */
#define PACE_TURNS 8   /* over how many it is an average */

struct reseq_chunk {
    struct reseq_chunk *next;
    size_t n; /* bytes of the packet */
    uint8_t b[];
};

struct held {
    struct reseq_chunk *chunk; /* null: not here */
    ns_t came;
};

struct reseq_flow {
    uint64_t due; /* everything below was released, passed or given up */
    uint64_t top; /* highest number held + 1, or due */
    uint64_t floor;
    struct held *ring; /* by number modulo `cap`, a power of two; null: nothing held since */
    uint64_t *map;     /* behind the ring: bit per place of it, a packet is held there */
    size_t cap, held;
    ns_t moved; /* when it last went on, or began to wait */
    uint64_t mark; /* the highest number held */
    ns_t mark_at;  /* then */
    ns_t seen;
    size_t came, left; /* packets of this turn: that arrived, that may still be released */
    size_t pace;       /* PACE_ONE times what arrived lately in a turn */
    uint8_t past[RESEQ_PAST / 8]; /* bit per number below `due`: it came */
};

void reseq_init(struct reseq *r, size_t max_bytes, ns_t hold)
{
    memset(r, 0, sizeof(*r));
    r->max_bytes = max_bytes;
    r->hold = r->most = hold;
}

/* ---- memory ---------------------------------------------------------------------------- */

/* What a chunk for `n` bytes takes. */
static size_t chunk_size(size_t n)
{
    return sizeof(struct reseq_chunk) + (n <= RESEQ_CHUNK ? RESEQ_CHUNK : n);
}

static struct reseq_chunk *chunk_get(struct reseq *r, size_t n)
{
    struct reseq_chunk *c = r->spare;

    if (n <= RESEQ_CHUNK && c) {
        r->spare = c->next;
        r->spare_n--;
    } else {
        c = malloc(chunk_size(n));
        if (!c)
            return NULL;
        r->bytes += chunk_size(n);
    }
    c->n = n;
    return c;
}

static void chunk_put(struct reseq *r, struct reseq_chunk *c)
{
    if (c->n > RESEQ_CHUNK) {
        r->bytes -= chunk_size(c->n);
        free(c);
        return;
    }
    c->next = r->spare;
    r->spare = c;
    r->spare_n++;
}

void reseq_done(struct reseq *r)
{
    while (r->lent) {
        struct reseq_chunk *c = r->lent;

        r->lent = c->next;
        chunk_put(r, c);
    }
}

static void spare_free(struct reseq *r, size_t keep)
{
    while (r->spare_n > keep) {
        struct reseq_chunk *c = r->spare;

        r->spare = c->next;
        r->spare_n--;
        r->bytes -= chunk_size(0);
        free(c);
    }
}

/* ---- one flow -------------------------------------------------------------------------- */

/* Of the ring of a flow, its map included. */
static size_t ring_size(size_t cap)
{
    return cap * sizeof(struct held) + cap / 8;
}

static struct held *at(const struct reseq_flow *f, uint64_t number)
{
    return &f->ring[number & (f->cap - 1)];
}

static bool is_held(const struct reseq_flow *f, uint64_t number)
{
    return number >= f->due && number < f->top && at(f, number)->chunk;
}

/*
 * The lowest number from `n` on that is held, `top` if there is none: by words, as gaps may be
 * long.
 */
static uint64_t next_held(const struct reseq_flow *f, uint64_t n)
{
    while (n < f->top) {
        size_t i = n & (f->cap - 1);
        uint64_t bits = f->map[i / 64] >> i % 64;

        if (bits) {
            n += (unsigned)__builtin_ctzll(bits);
            break;
        }
        n += 64 - i % 64;
    }
    return n < f->top ? n : f->top;
}

static void map_set(struct reseq_flow *f, uint64_t number, bool is)
{
    size_t i = number & (f->cap - 1);

    f->map[i / 64] = (f->map[i / 64] & ~((uint64_t)1 << i % 64)) | (uint64_t)is << i % 64;
}

static void flow_free(struct reseq *r, unsigned i)
{
    struct reseq_flow *f = r->flow[i];

    for (uint64_t n = next_held(f, f->due); n < f->top; n = next_held(f, n + 1))
        chunk_put(r, at(f, n)->chunk);
    r->held -= f->held;
    r->bytes -= sizeof(*f) + ring_size(f->cap);
    free(f->ring);
    free(f);
    r->flow[i] = NULL;
    r->ready &= ~((uint64_t)1 << i);
    reseq_spread(r, i, false);
}

void reseq_spread(struct reseq *r, unsigned flow, bool spread)
{
    uint64_t bit = (uint64_t)1 << flow;

    r->spread = spread ? r->spread | bit : r->spread & ~bit;
    r->resting &= r->spread;
}

void reseq_free(struct reseq *r)
{
    reseq_done(r);
    for (unsigned i = 0; i < RESEQ_FLOWS; i++)
        if (r->flow[i])
            flow_free(r, i);
    spare_free(r, 0);
}

static bool past_get(const struct reseq_flow *f, uint64_t number)
{
    size_t i = number % RESEQ_PAST;

    return f->past[i / 8] >> i % 8 & 1;
}

static void past_set(struct reseq_flow *f, uint64_t number, bool came)
{
    size_t i = number % RESEQ_PAST;

    f->past[i / 8] = (uint8_t)((f->past[i / 8] & ~(1u << i % 8)) | (unsigned)came << i % 8);
}

/* One number further: it came, or was given up. */
static void step(struct reseq_flow *f, bool came)
{
    past_set(f, f->due, came);
    f->due++;
    if (f->top < f->due)
        f->top = f->due;
}

/* Whether reseq_next has something: a held packet is due. */
static void look(struct reseq *r, unsigned i)
{
    struct reseq_flow *f = r->flow[i];
    uint64_t bit = (uint64_t)1 << i;

    if (is_held(f, f->due))
        r->ready |= bit;
    else
        r->ready &= ~bit;
}

/* What was given up is passed over, up to the next held packet. */
static void skip(struct reseq_flow *f)
{
    uint64_t to = f->held > 0 ? next_held(f, f->due) : f->floor;

    if (to > f->floor)
        to = f->floor;
    if (to > f->due + RESEQ_PAST) {
        memset(f->past, 0, sizeof(f->past));
        f->due = to;
        f->top = f->top < to ? to : f->top;
    }
    while (f->due < to)
        step(f, false);
}

/* Numbers up to `to` are not coming any more; those held are released by reseq_next. */
static void give_up(struct reseq *r, unsigned i, uint64_t to, uint64_t *counter)
{
    struct reseq_flow *f = r->flow[i];

    if (to <= f->floor)
        return;
    if (to > f->due) {
        uint64_t from = f->floor > f->due ? f->floor : f->due;

        *counter += to - from;
        for (uint64_t n = next_held(f, from); n < to && n < f->top; n = next_held(f, n + 1))
            --*counter;
    }
    f->floor = to;
    skip(f);
    look(r, i);
}

/* All but the pool. */
static size_t in_use(const struct reseq *r)
{
    return r->bytes - r->spare_n * chunk_size(0);
}

/* The rings of flows that hold nothing. */
static void rings_free(struct reseq *r)
{
    for (unsigned i = 0; i < RESEQ_FLOWS; i++) {
        struct reseq_flow *f = r->flow[i];

        if (!f || f->held > 0)
            continue;
        r->bytes -= ring_size(f->cap);
        free(f->ring);
        f->ring = NULL;
        f->map = NULL;
        f->cap = 0;
    }
}

/* Whether `more` bytes may be taken: a little beyond max_bytes, as make_room frees late. */
static bool room(struct reseq *r, size_t more)
{
    size_t most = r->max_bytes + r->max_bytes / 8;

    if (in_use(r) + more > most)
        rings_free(r);
    return in_use(r) + more <= most;
}

static bool grow(struct reseq *r, struct reseq_flow *f, uint64_t number)
{
    size_t cap = f->cap ? f->cap : RING_MIN;
    struct reseq_flow old;
    struct held *ring;

    while (number - f->due >= cap)
        cap *= 2;
    if (cap == f->cap)
        return true;
    if (!room(r, ring_size(cap) - ring_size(f->cap)))
        return false;
    old = *f;
    ring = calloc(1, ring_size(cap));
    if (!ring)
        return false;
    f->ring = ring;
    f->map = (uint64_t *)(ring + cap);
    f->cap = cap;
    for (uint64_t n = next_held(&old, old.due); n < old.top; n = next_held(&old, n + 1)) {
        *at(f, n) = *at(&old, n);
        map_set(f, n, true);
    }
    r->bytes += ring_size(cap) - ring_size(old.cap);
    free(old.ring);
    return true;
}

/*
 * All that is held now is released by `r->most` later, and so all that comes meanwhile by twice
 * that.
 */
static void mark(struct reseq_flow *f, ns_t now)
{
    f->mark = f->top - 1;
    f->mark_at = now;
}

static bool hold(struct reseq *r, unsigned i, uint64_t number, struct span pkt, ns_t now)
{
    struct reseq_flow *f = r->flow[i];
    struct reseq_chunk *c;

    if (!room(r, chunk_size(pkt.n)) || !grow(r, f, number))
        return false;
    c = chunk_get(r, pkt.n);
    if (!c)
        return false;
    if (pkt.n)
        memcpy(c->b, pkt.p, pkt.n);
    *at(f, number) = (struct held){c, now};
    map_set(f, number, true);
    if (f->top <= number)
        f->top = number + 1;
    if (f->held++ == 0) {
        f->moved = now;
        mark(f, now);
    }
    r->held++;
    r->stats.held++;
    return true;
}

/* The flow that has waited longest gives its gap up, until there is room. */
static void make_room(struct reseq *r)
{
    unsigned oldest = RESEQ_FLOWS;

    for (unsigned i = 0; i < RESEQ_FLOWS; i++) {
        struct reseq_flow *f = r->flow[i];

        if (f && f->held > 0 && !(r->ready >> i & 1) &&
            (oldest == RESEQ_FLOWS || f->moved < r->flow[oldest]->moved))
            oldest = i;
    }
    if (oldest == RESEQ_FLOWS)
        return;
    give_up(r, oldest, next_held(r->flow[oldest], r->flow[oldest]->due), &r->stats.given_memory);
}

/* A turn of flows that are spread is over: all may release again. */
static void turn(struct reseq *r, ns_t now)
{
    uint64_t turns, weight;

    if (!r->spread || now < r->turn_end)
        return;
    turns = 1 + (now - r->turn_end) / RESEQ_TURN; /* who comes late may release for two */
    weight = turns < PACE_TURNS ? turns : PACE_TURNS;
    for (unsigned i = 0; i < RESEQ_FLOWS; i++) {
        struct reseq_flow *f = r->flow[i];

        if (!f)
            continue;
        f->pace = (f->pace * (PACE_TURNS - weight) + f->came * PACE_ONE / turns * weight) /
                  PACE_TURNS;
        f->left = f->pace * (turns > 1 ? 2 : 1) * 5 / 4 / PACE_ONE;
        if (f->left < RESEQ_BURST)
            f->left = RESEQ_BURST;
        f->came = 0;
    }
    r->resting = 0;
    r->turn_end = now + RESEQ_TURN;
}

/* ---- verbs ----------------------------------------------------------------------------- */

/* The number nearest to the one due. */
static uint64_t expand(const struct reseq_flow *f, uint32_t number)
{
    return wire_expand(number, RESEQ_BITS, f->due);
}

/* The flow, begun where its first packet says. */
static struct reseq_flow *flow_of(struct reseq *r, unsigned i, uint32_t number, uint32_t floor)
{
    struct reseq_flow *f = r->flow[i];

    if (f)
        return f;
    f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    r->bytes += sizeof(*f);
    f->due = f->top = f->floor = START + number - floor;
    memset(f->past, 0xff, sizeof(f->past)); /* before its time: not wanted */
    f->left = RESEQ_BURST;
    r->flow[i] = f;
    return f;
}

enum reseq_verdict reseq_push(struct reseq *r, unsigned flow, uint32_t number, uint32_t floor,
                              struct span pkt, ns_t now)
{
    struct reseq_flow *f = flow_of(r, flow, number & (RESEQ_NUMBERS - 1), floor);
    uint64_t n;

    if (!f)
        return RESEQ_LATE;
    turn(r, now);
    f->seen = now;
    f->came++;
    n = expand(f, number);
    give_up(r, flow, n - floor, &r->stats.given_floor);
    if (n >= f->due + RESEQ_WINDOW)
        give_up(r, flow, n - RESEQ_WINDOW + 1, &r->stats.given_memory);
    if (n < f->due) {
        if (n + RESEQ_PAST < f->due || past_get(f, n)) {
            r->stats.duplicates++;
            return RESEQ_DUPLICATE;
        }
        past_set(f, n, true);
        r->stats.late++;
        return RESEQ_LATE;
    }
    if (is_held(f, n)) {
        r->stats.duplicates++;
        return RESEQ_DUPLICATE;
    }
    if (n == f->due) { /* fills the gap: it goes, then what waited behind it */
        step(f, true);
        f->moved = now;
        look(r, flow);
        r->stats.passed++;
        return RESEQ_PASS;
    }
    if (n - f->due >= RESEQ_WINDOW || !hold(r, flow, n, pkt, now))
        return RESEQ_LATE;
    look(r, flow);
    if (in_use(r) > r->max_bytes)
        make_room(r);
    return RESEQ_HELD;
}

void reseq_floor(struct reseq *r, unsigned flow, uint32_t number, uint32_t floor, ns_t now)
{
    struct reseq_flow *f = r->flow[flow];

    if (!f)
        return;
    f->seen = now;
    give_up(r, flow, expand(f, number) - floor, &r->stats.given_floor);
}

bool reseq_next(struct reseq *r, ns_t now, struct span *pkt)
{
    struct reseq_flow *f;
    struct held *h;
    unsigned i;

    turn(r, now);
    if (!(r->ready & ~r->resting))
        return false;
    i = (unsigned)__builtin_ctzll(r->ready & ~r->resting);
    f = r->flow[i];
    h = at(f, f->due);
    *pkt = span_of(h->chunk->b, h->chunk->n);
    h->chunk->next = r->lent;
    r->lent = h->chunk;
    if (ns_sub(now, h->came) > r->stats.longest)
        r->stats.longest = now - h->came;
    r->stats.waited += ns_sub(now, h->came);
    h->chunk = NULL;
    map_set(f, f->due, false);
    f->held--;
    r->held--;
    f->moved = now;
    step(f, true);
    skip(f);
    if (f->held > 0 && f->due > f->mark)
        mark(f, now);
    look(r, i);
    f->left -= f->left > 0;
    if (r->spread >> i & 1 && f->left == 0)
        r->resting |= (uint64_t)1 << i;
    return true;
}

/* When a flow waits for a gap no longer; NS_NEVER: it doesn't, or no more than for its turn. */
static ns_t deadline(const struct reseq *r, unsigned flow)
{
    const struct reseq_flow *f = r->flow[flow];

    return f && f->held > 0 && !(r->ready >> flow & 1)
               ? ns_min(ns_add(f->moved, r->hold), ns_add(f->mark_at, r->most))
               : NS_NEVER;
}

ns_t reseq_deadline(const struct reseq *r)
{
    ns_t at_least = r->ready & r->resting ? r->turn_end : NS_NEVER;

    for (unsigned i = 0; i < RESEQ_FLOWS && r->held > 0; i++)
        at_least = ns_min(at_least, deadline(r, i));
    return at_least;
}

void reseq_tick(struct reseq *r, ns_t now)
{
    for (unsigned i = 0; i < RESEQ_FLOWS; i++) {
        struct reseq_flow *f = r->flow[i];

        if (f && f->held == 0 && ns_sub(now, f->seen) > RESEQ_IDLE)
            flow_free(r, i);
        else if (now >= deadline(r, i))
            give_up(r, i,
                    now >= ns_add(f->mark_at, r->most) ? f->mark : next_held(f, f->due),
                    &r->stats.given_time);
    }
    if (r->held == 0)
        spare_free(r, r->spare_n / 2);
}

bool reseq_check(const struct reseq *r)
{
    size_t held = 0, bytes = r->spare_n * chunk_size(0);

    for (const struct reseq_chunk *c = r->lent; c; c = c->next)
        bytes += chunk_size(c->n);
    for (unsigned i = 0; i < RESEQ_FLOWS; i++) {
        const struct reseq_flow *f = r->flow[i];
        size_t mine = 0;

        if (!f)
            continue;
        bytes += sizeof(*f) + ring_size(f->cap);
        if (f->top < f->due || f->top - f->due > f->cap + (f->cap == 0 && f->top == f->due))
            return false;
        for (size_t k = 0; k < f->cap; k++) {
            if ((f->map[k / 64] >> k % 64 & 1) != (f->ring[k].chunk != NULL))
                return false;
            if (!f->ring[k].chunk)
                continue;
            mine++;
            bytes += chunk_size(f->ring[k].chunk->n);
        }
        for (uint64_t n = f->due; n < f->top; n++)
            mine -= is_held(f, n);
        if (mine != 0 || (f->held == 0) != (f->top == f->due || !f->cap))
            return false;
        held += f->held;
    }
    return held == r->held && bytes == r->bytes;
}
