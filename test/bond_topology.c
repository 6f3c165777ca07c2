/*
 * Random topologies under random trouble: 2 to 8 links of 0.5 to 50 Mbit/s, 1 to 150 ms, with
 * jitter, loss and queues of all sizes, that are cut (both ways or one), taken away and given
 * back, slow down or grow long, while a flow without end runs each way, or one way.
 *
 * Whatever happens
 *
 *   nothing hangs or spins: when all links are well again the flows move, and when they have
 *   ended nothing is left;
 *   a flow that is numbered comes in order, but for packets whose gap was given up, and none
 *   waits for order longer than 2 * NUMBERED_HOLD_MAX;
 *   memory stays within the bounds of queue, repair, order and connection.
 *
 * `make check-long` tries five times as many seeds as it does of other tests: 1000.
 */
#include "test/bond.h"

#include <math.h>

#define EVENTS  12
#define TROUBLE 4.0 /* seconds in which events begin; each lasts 2 at most */
#define CALM    8   /* seconds after the start: two without an event are over */
#define PATIENT 40  /* ... in which flows have to move: they have their back-offs, too, */
#define MOVED   (16u << 10) /* so much at least */
#define DRAINED 14          /* seconds until an idle flow is forgotten */
#define STEP    (50 * NS_PER_MS)
#define UNMIXED (2 * NS_PER_S) /* since a plain packet was sent: none is under way */

enum kind { CUT, CUT_UP, CUT_DOWN, GONE, SLOWER, LATER, KINDS };

struct event {
    ns_t at, until;
    size_t lane;
    enum kind kind;
};

/* What is known of one direction, named by the end that sends. */
struct order {
    uint64_t plain, overtaken, late;
    ns_t plain_at; /* a packet that is not numbered was sent last */
};

struct topology {
    struct bond b;
    struct sim_rng rng;
    struct event event[EVENTS];
    size_t events;
    uint64_t bps[BOND_LANES][2];
    ns_t delay[BOND_LANES];
    unsigned cuts[BOND_LANES][2], gone[BOND_LANES];
    struct order order[SIDES];
};

static uint64_t in_order; /* numbered packets whose order was looked at, over all seeds */

/* ---- chance ---------------------------------------------------------------------------- */

static double fraction(struct sim_rng *r)
{
    return (double)sim_rng_below(r, 1u << 30) / (double)(1u << 30);
}

/* Between both, as often near the one as near the other. */
static double spread(struct sim_rng *r, double low, double high)
{
    return low * pow(high / low, fraction(r));
}

static void make_lane(struct topology *t, size_t i)
{
    struct sim_rng *r = &t->rng;
    double down = spread(r, 0.5e6, 50e6), up = down * spread(r, 0.2, 1);
    double queue = spread(r, 0.01, 0.25); /* seconds */
    ns_t delay = (ns_t)(spread(r, 1, 150) * 1e6), jitter = (ns_t)(fraction(r) * 15e6);
    uint32_t loss = (uint32_t)spread(r, 10, 30000);
    bool lossy = sim_rng_below(r, 2), shaky = sim_rng_below(r, 2);

    t->bps[i][UP] = (uint64_t)(up < 0.3e6 ? 0.3e6 : up);
    t->bps[i][DOWN] = (uint64_t)down;
    t->delay[i] = delay;
    for (int d = UP; d <= DOWN; d++) {
        struct sim_link *l = t->b.link[i][d];

        l->bps = t->bps[i][d];
        l->queue = (uint64_t)((double)l->bps / 8 * queue) + 6000;
        l->delay = delay;
        l->jitter = shaky && jitter < delay ? jitter : 0;
        l->loss_ppm = lossy ? loss : 0;
    }
}

static void make_events(struct topology *t, ns_t start)
{
    t->events = sim_rng_below(&t->rng, EVENTS + 1);
    for (size_t i = 0; i < t->events; i++) {
        struct event *e = &t->event[i];

        e->lane = sim_rng_below(&t->rng, t->b.lanes);
        e->kind = (enum kind)sim_rng_below(&t->rng, KINDS);
        e->at = start + (ns_t)(fraction(&t->rng) * TROUBLE * 1e9);
        e->until = e->at + (ns_t)(spread(&t->rng, 0.02, 2) * 1e9);
    }
}

/* ---- what happens ---------------------------------------------------------------------- */

static void cut(struct topology *t, size_t lane, int dir, bool on)
{
    t->cuts[lane][dir] += on ? 1 : -1u;
    t->b.cut[lane][dir] = t->cuts[lane][dir] > 0;
}

/* The interface is gone, and the client knows: its path is abandoned, and opened anew later. */
static void take_away(struct topology *t, size_t lane, bool on)
{
    t->gone[lane] += on ? 1 : -1u;
    bond_away(&t->b, lane, t->gone[lane] > 0);
}

static void happen(struct topology *t, const struct event *e, bool on)
{
    struct sim_link *const *link = t->b.link[e->lane];

    if (e->kind == CUT || e->kind == CUT_UP || e->kind == GONE)
        cut(t, e->lane, UP, on);
    if (e->kind == CUT || e->kind == CUT_DOWN || e->kind == GONE)
        cut(t, e->lane, DOWN, on);
    if (e->kind == GONE)
        take_away(t, e->lane, on);
    for (int d = UP; d <= DOWN; d++) {
        if (e->kind == SLOWER)
            link[d]->bps = t->bps[e->lane][d] / (on ? 5 : 1);
        if (e->kind == LATER)
            link[d]->delay = t->delay[e->lane] + (on ? 60 * NS_PER_MS : 0);
    }
    bond_wake(t->b.end[CLIENT]);
}

/* ---- what must hold -------------------------------------------------------------------- */

static void check_memory(struct bond *b, const struct session *s)
{
    struct quic_stats q;

    quic_stats(s->quic, &q);
    WORLD_CHECK(&b->w, q.memory_bytes <= quic_memory_bound(&b->cfg.conn, 8));
    WORLD_CHECK(&b->w, s->sender.queue.held <= SENDER_QUEUE_BYTES);
    WORLD_CHECK(&b->w, repair_check(&s->numbered->repair) && reseq_check(&s->numbered->reseq));
    WORLD_CHECK(&b->w, s->numbered->repair.cap <= NUMBERED_BYTES &&
                           repair_bytes(&s->numbered->repair) <= 2 * NUMBERED_BYTES);
    WORLD_CHECK(&b->w, s->numbered->reseq.bytes <= 2 * (NUMBERED_BYTES + NUMBERED_BYTES / 8));
}

/* From `side` to the other end, since the last call. */
static void check_order(struct topology *t, int side)
{
    const struct bond_end *from = t->b.end[side];
    const struct reseq_stats *in = &t->b.end[!side]->s.numbered->reseq.stats;
    struct order *o = &t->order[side];
    uint64_t heads = from->s.numbered->stats.heads;
    uint64_t plain = from->s.sender.queue.stats.popped - heads;
    uint64_t overtaken = from->overtaken - o->overtaken, late = in->late - o->late;

    if (plain != o->plain)
        o->plain_at = t->b.w.sim.now;
    if (heads && ns_sub(t->b.w.sim.now, o->plain_at) > UNMIXED) {
        WORLD_CHECK(&t->b.w, overtaken <= late);
        in_order++;
    }
    WORLD_CHECK(&t->b.w, in->longest <= 2 * NUMBERED_HOLD_MAX);
    o->plain = plain;
    o->overtaken = from->overtaken;
    o->late = in->late;
}

static void run_until(struct topology *t, ns_t until)
{
    struct bond *b = &t->b;

    while (b->w.sim.now < until) {
        ns_t now = b->w.sim.now, next = ns_min(until, now + STEP);

        for (size_t i = 0; i < t->events; i++) {
            const struct event *e = &t->event[i];

            next = e->at > now ? ns_min(next, e->at) : next;
            next = e->until > now ? ns_min(next, e->until) : next;
        }
        sim_run(&b->w.sim, next, NULL, NULL);
        WORLD_CHECK(&b->w, !b->w.sim.livelock);
        b->w.sim.now = next;
        for (size_t i = 0; i < t->events; i++) {
            if (t->event[i].at == next || t->event[i].until == next)
                happen(t, &t->event[i], t->event[i].at == next);
        }
        for (int side = CLIENT; side < SIDES; side++) {
            check_memory(b, &b->end[side]->s);
            check_order(t, side);
        }
    }
}

/* The flows have ended: so has everything about them. */
static void drain(struct topology *t)
{
    struct bond *b = &t->b;

    for (size_t i = 0; i < b->w.xfer.n_ends; i++)
        quic_close(b->w.xfer.end[i].conn, 0, "", b->w.sim.now);
    run_until(t, b->w.sim.now + DRAINED * NS_PER_S);
    for (int side = CLIENT; side < SIDES; side++) {
        const struct session *s = &b->end[side]->s;

        WORLD_CHECK(&b->w, quic_is_established(s->quic));
        WORLD_CHECK(&b->w, s->sender.queue.count == 0 && s->sender.wake == NS_NEVER);
        WORLD_CHECK(&b->w, !repair_bytes(&s->numbered->repair));
        WORLD_CHECK(&b->w, !s->numbered->reseq.bytes);
        WORLD_CHECK(&b->w, numbered_deadline(s->numbered) == NS_NEVER);
    }
}

static bool moved(const struct xfer *x, const uint64_t before[2])
{
    return x->bytes[1] - before[1] > MOVED && (!x->up || x->bytes[0] - before[0] > MOVED);
}

static void topology(uint64_t seed)
{
    struct topology t = {0};
    struct bond *b = &t.b;
    uint64_t before[2];
    ns_t start;

    sim_rng_seed(&t.rng, seed);
    bond_init(b, seed, 2 + sim_rng_below(&t.rng, BOND_LANES - 1));
    for (size_t i = 0; i < b->lanes; i++)
        make_lane(&t, i);
    b->cfg.conn.cc = sim_rng_below(&t.rng, 2) ? "bbr" : "cubic";
    bond_endless(b, sim_rng_below(&t.rng, 2), true);
    bond_start(b);
    start = b->w.sim.now;
    make_events(&t, start);
    run_until(&t, start + CALM * NS_PER_S);
    memcpy(before, b->w.xfer.bytes, sizeof(before));
    do {
        WORLD_CHECK(&b->w, b->w.sim.now < start + (CALM + PATIENT) * NS_PER_S);
        run_until(&t, b->w.sim.now + 2 * NS_PER_S);
    } while (!moved(&b->w.xfer, before));
    WORLD_CHECK(&b->w, b->w.xfer.bad_bytes == 0);
    drain(&t);
    bond_free(b);
}

static void test_topology(void **state)
{
    const char *more = getenv("LONG");
    uint64_t from, to;

    (void)state;
    world_seeds(4, &from, &to);
    if (more && *more && from == 1)
        to *= 5;
    for (uint64_t seed = from; seed <= to; seed++)
        topology(seed);
    assert_true(in_order > 0 || to - from < 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topology),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
