#include "test/sim/net.h"

#include <stdlib.h>
#include <string.h>

/* ---- chance -------------------------------------------------------------------------- */

void sim_rng_seed(struct sim_rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += 0x9e3779b97f4a7c15u;
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        r->s[i] = z ^ (z >> 31);
    }
}

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t sim_rng_next(struct sim_rng *r)
{
    uint64_t result = rotl(r->s[1] * 5, 7) * 9;
    uint64_t t = r->s[1] << 17;
    r->s[2] ^= r->s[0];
    r->s[3] ^= r->s[1];
    r->s[1] ^= r->s[2];
    r->s[0] ^= r->s[3];
    r->s[2] ^= t;
    r->s[3] = rotl(r->s[3], 45);
    return result;
}

uint64_t sim_rng_below(struct sim_rng *r, uint64_t n)
{
    return sim_rng_next(r) % n;
}

bool sim_rng_chance(struct sim_rng *r, uint32_t ppm)
{
    return ppm && sim_rng_below(r, 1000000) < ppm;
}

void sim_rng_fill(void *rng, void *out, size_t n)
{
    uint8_t *p = out;
    while (n) {
        uint64_t v = sim_rng_next(rng);
        size_t k = n < sizeof(v) ? n : sizeof(v);
        memcpy(p, &v, k);
        p += k;
        n -= k;
    }
}

/* ---- packets, loop ------------------------------------------------------------------- */

struct sim_packet *sim_packet_new(const void *p, size_t n)
{
    struct sim_packet *packet = calloc(1, sizeof(*packet) + n);
    if (!packet)
        abort();
    packet->n = n;
    if (n)
        memcpy(packet->p, p, n);
    return packet;
}

struct sim_packet *sim_packet_copy(const struct sim_packet *packet)
{
    struct sim_packet *copy = sim_packet_new(packet->p, packet->n);
    copy->src = packet->src;
    copy->dst = packet->dst;
    copy->ecn = packet->ecn;
    return copy;
}

void sim_init(struct sim *sim, uint64_t seed)
{
    memset(sim, 0, sizeof(*sim));
    sim->now = NS_PER_S;
    sim_rng_seed(&sim->rng, seed);
}

void sim_free(struct sim *sim)
{
    for (size_t i = 0; i < sim->n_nodes; i++) {
        if (sim->node[i]->free)
            sim->node[i]->free(sim->node[i]);
        free(sim->node[i]);
    }
    sim->n_nodes = 0;
}

void sim_add(struct sim *sim, struct sim_node *node)
{
    if (sim->n_nodes == SIM_NODES)
        abort();
    node->sim = sim;
    sim->node[sim->n_nodes++] = node;
}

void sim_drop(struct sim_node *node, struct sim_packet *packet)
{
    node->dropped++;
    free(packet);
}

void sim_pass(struct sim_node *node, struct sim_packet *packet)
{
    if (!node->out) {
        sim_drop(node, packet);
        return;
    }
    node->passed++;
    node->bytes += packet->n;
    node->out->deliver(node->out, packet);
}

bool sim_run(struct sim *sim, ns_t until, bool (*done)(void *ctx), void *ctx)
{
    uint64_t still = 0;
    for (;;) {
        ns_t at = NS_NEVER;
        for (size_t i = 0; i < sim->n_nodes; i++)
            if (sim->node[i]->next)
                at = ns_min(at, sim->node[i]->next(sim->node[i]));
        if (at > until) {
            if (until != NS_NEVER)
                sim->now = ns_max(sim->now, until);
            return done && done(ctx);
        }
        if (at > sim->now) {
            sim->now = at;
            still = 0;
        } else if (++still > SIM_LIVELOCK) {
            sim->livelock = true;
            return false;
        }
        sim->steps++;
        for (size_t i = 0; i < sim->n_nodes; i++)
            if (sim->node[i]->next && sim->node[i]->next(sim->node[i]) <= sim->now)
                sim->node[i]->run(sim->node[i], sim->now);
        if (done && done(ctx))
            return true;
    }
}

/* ---- a heap of packets by time, then order: the store of every node that delays ------- */

struct store {
    struct sim_packet **heap;
    size_t n, cap;
    uint64_t order;
};

static bool earlier(const struct sim_packet *a, const struct sim_packet *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void store_push(struct store *s, struct sim_packet *packet, ns_t at)
{
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 64;
        s->heap = realloc(s->heap, s->cap * sizeof(*s->heap));
        if (!s->heap)
            abort();
    }
    packet->at = at;
    packet->order = s->order++;
    size_t i = s->n++;
    while (i && earlier(packet, s->heap[(i - 1) / 2])) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = packet;
}

static struct sim_packet *store_pop(struct store *s)
{
    struct sim_packet *top = s->heap[0], *last = s->heap[--s->n];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= s->n)
            break;
        if (child + 1 < s->n && earlier(s->heap[child + 1], s->heap[child]))
            child++;
        if (!earlier(s->heap[child], last))
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return top;
}

static ns_t store_next(const struct store *s)
{
    return s->n ? s->heap[0]->at : NS_NEVER;
}

static void store_free(struct store *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->heap[i]);
    free(s->heap);
}

/* ---- nodes --------------------------------------------------------------------------- */

/* One shape for all of them: what a node does to a packet is in its deliver function. */
struct pipe {
    struct sim_node node;
    struct store store;
    ns_t delay, from, to, free_at;
    uint64_t bps, mask, seen;
    size_t queue, queued;
    uint32_t ppm;
    unsigned burst, run;
    enum sim_ecn ecn;
    bool (*keep)(void *ctx, struct sim_packet *packet);
    void *ctx;
    struct sim_nat *nat;
};

static struct pipe *pipe_of(struct sim_node *node)
{
    return (struct pipe *)node;
}

static ns_t pipe_next(struct sim_node *node)
{
    return store_next(&pipe_of(node)->store);
}

static void pipe_run(struct sim_node *node, ns_t now)
{
    struct pipe *pipe = pipe_of(node);
    while (store_next(&pipe->store) <= now) {
        struct sim_packet *packet = store_pop(&pipe->store);
        if (pipe->bps)
            pipe->queued -= packet->n;
        sim_pass(node, packet);
    }
}

static void pipe_free(struct sim_node *node)
{
    store_free(&pipe_of(node)->store);
}

static struct pipe *pipe_new(struct sim *sim,
                             void (*deliver)(struct sim_node *, struct sim_packet *))
{
    struct pipe *pipe = calloc(1, sizeof(*pipe));
    if (!pipe)
        abort();
    pipe->node.deliver = deliver;
    pipe->node.next = pipe_next;
    pipe->node.run = pipe_run;
    pipe->node.free = pipe_free;
    sim_add(sim, &pipe->node);
    return pipe;
}

static void delay_deliver(struct sim_node *node, struct sim_packet *packet)
{
    store_push(&pipe_of(node)->store, packet, node->sim->now + pipe_of(node)->delay);
}

struct sim_node *sim_delay(struct sim *sim, ns_t delay)
{
    struct pipe *pipe = pipe_new(sim, delay_deliver);
    pipe->delay = delay;
    return &pipe->node;
}

static void rate_deliver(struct sim_node *node, struct sim_packet *packet)
{
    struct pipe *pipe = pipe_of(node);
    if (pipe->queued + packet->n > pipe->queue) {
        sim_drop(node, packet);
        return;
    }
    pipe->queued += packet->n;
    ns_t start = ns_max(pipe->free_at, node->sim->now);
    pipe->free_at = start + packet->n * 8 * NS_PER_S / pipe->bps;
    store_push(&pipe->store, packet, pipe->free_at);
}

struct sim_node *sim_rate(struct sim *sim, uint64_t bps, size_t queue)
{
    struct pipe *pipe = pipe_new(sim, rate_deliver);
    pipe->bps = bps;
    pipe->queue = queue;
    return &pipe->node;
}

static void loss_deliver(struct sim_node *node, struct sim_packet *packet)
{
    struct pipe *pipe = pipe_of(node);
    bool lose = sim_rng_chance(&node->sim->rng, pipe->ppm);
    if (lose && !(pipe->burst && pipe->run >= pipe->burst)) {
        pipe->run++;
        sim_drop(node, packet);
        return;
    }
    pipe->run = 0;
    sim_pass(node, packet);
}

struct sim_node *sim_loss(struct sim *sim, uint32_t ppm, unsigned burst)
{
    struct pipe *pipe = pipe_new(sim, loss_deliver);
    pipe->ppm = ppm;
    pipe->burst = burst;
    return &pipe->node;
}

static void mask_deliver(struct sim_node *node, struct sim_packet *packet)
{
    struct pipe *pipe = pipe_of(node);
    uint64_t i = pipe->seen++;
    if (i < 64 && (pipe->mask >> i & 1))
        sim_drop(node, packet);
    else
        sim_pass(node, packet);
}

struct sim_node *sim_mask(struct sim *sim, uint64_t mask)
{
    struct pipe *pipe = pipe_new(sim, mask_deliver);
    pipe->mask = mask;
    return &pipe->node;
}

static void reorder_deliver(struct sim_node *node, struct sim_packet *packet)
{
    struct pipe *pipe = pipe_of(node);
    if (!sim_rng_chance(&node->sim->rng, pipe->ppm)) {
        sim_pass(node, packet);
        return;
    }
    ns_t extra = sim_rng_below(&node->sim->rng, pipe->delay + 1);
    store_push(&pipe->store, packet, node->sim->now + extra);
}

struct sim_node *sim_reorder(struct sim *sim, uint32_t ppm, ns_t extra)
{
    struct pipe *pipe = pipe_new(sim, reorder_deliver);
    pipe->ppm = ppm;
    pipe->delay = extra;
    return &pipe->node;
}

static void duplicate_deliver(struct sim_node *node, struct sim_packet *packet)
{
    if (sim_rng_chance(&node->sim->rng, pipe_of(node)->ppm))
        sim_pass(node, sim_packet_copy(packet));
    sim_pass(node, packet);
}

struct sim_node *sim_duplicate(struct sim *sim, uint32_t ppm)
{
    struct pipe *pipe = pipe_new(sim, duplicate_deliver);
    pipe->ppm = ppm;
    return &pipe->node;
}

static void corrupt_deliver(struct sim_node *node, struct sim_packet *packet)
{
    if (packet->n && sim_rng_chance(&node->sim->rng, pipe_of(node)->ppm)) {
        size_t bit = sim_rng_below(&node->sim->rng, packet->n * 8);
        packet->p[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    sim_pass(node, packet);
}

struct sim_node *sim_corrupt(struct sim *sim, uint32_t ppm)
{
    struct pipe *pipe = pipe_new(sim, corrupt_deliver);
    pipe->ppm = ppm;
    return &pipe->node;
}

static void hole_deliver(struct sim_node *node, struct sim_packet *packet)
{
    struct pipe *pipe = pipe_of(node);
    if (node->sim->now >= pipe->from && node->sim->now < pipe->to)
        sim_drop(node, packet);
    else
        sim_pass(node, packet);
}

struct sim_node *sim_hole(struct sim *sim, ns_t from, ns_t to)
{
    struct pipe *pipe = pipe_new(sim, hole_deliver);
    pipe->from = from;
    pipe->to = to;
    return &pipe->node;
}

static void ecn_deliver(struct sim_node *node, struct sim_packet *packet)
{
    struct pipe *pipe = pipe_of(node);
    if (packet->ecn && sim_rng_chance(&node->sim->rng, pipe->ppm)) {
        switch (pipe->ecn) {
        case SIM_ECN_MARK:
            packet->ecn = 3;
            break;
        case SIM_ECN_BLEACH:
            packet->ecn = 0;
            break;
        case SIM_ECN_MANGLE:
            packet->ecn = packet->ecn == 2 ? 1 : packet->ecn;
            break;
        case SIM_ECN_DROP:
            sim_drop(node, packet);
            return;
        }
    }
    sim_pass(node, packet);
}

struct sim_node *sim_ecn(struct sim *sim, enum sim_ecn what, uint32_t ppm)
{
    struct pipe *pipe = pipe_new(sim, ecn_deliver);
    pipe->ecn = what;
    pipe->ppm = ppm;
    return &pipe->node;
}

void sim_ecn_rate(struct sim_node *node, uint32_t ppm)
{
    pipe_of(node)->ppm = ppm;
}

static void filter_deliver(struct sim_node *node, struct sim_packet *packet)
{
    if (pipe_of(node)->keep(pipe_of(node)->ctx, packet))
        sim_pass(node, packet);
    else
        sim_drop(node, packet);
}

struct sim_node *sim_filter(struct sim *sim, bool (*keep)(void *ctx, struct sim_packet *packet),
                            void *ctx)
{
    struct pipe *pipe = pipe_new(sim, filter_deliver);
    pipe->keep = keep;
    pipe->ctx = ctx;
    return &pipe->node;
}

static void nat_in(struct sim_node *node, struct sim_packet *packet)
{
    packet->src = pipe_of(node)->nat->outside;
    sim_pass(node, packet);
}

static void nat_back(struct sim_node *node, struct sim_packet *packet)
{
    struct sim_nat *nat = pipe_of(node)->nat;
    if (!quic_addr_eq(&packet->dst, &nat->outside)) {
        sim_drop(node, packet);
        return;
    }
    packet->dst = nat->inside;
    sim_pass(node, packet);
}

void sim_nat(struct sim *sim, struct sim_nat *nat, const struct quic_addr *inside,
             const struct quic_addr *outside)
{
    struct pipe *in = pipe_new(sim, nat_in), *back = pipe_new(sim, nat_back);
    *nat = (struct sim_nat){*inside, *outside, &in->node, &back->node, 0};
    in->nat = back->nat = nat;
}

void sim_nat_rebind(struct sim_nat *nat, const struct quic_addr *outside)
{
    nat->outside = *outside;
    nat->rebinds++;
}

struct quic_addr sim_addr(uint8_t host, uint16_t port)
{
    return (struct quic_addr){.family = 4, .ip = {10, 0, 0, host}, .port = port};
}
