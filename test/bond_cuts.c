/*
 * One inner flow over two links, of which one is cut without a word, or its path ended, and comes
 * back: the flow hardly stops and loses nothing by it, has the other link to itself soon, and both
 * soon after the return.
 *
 * BBR with odd seeds, half of these with an inner flow that knows no ECN, so that a queue that is
 * too long costs it packets; CUBIC with even ones. With LONG the first seeds do it on all stages, in all
 * ways. V=1 shows what was measured.
 */
#include "test/bond.h"

#include <math.h>

#define GAP_MOST (250 * NS_PER_MS)
#define AGE      10 /* seconds of the flow at the cut, at least */
#define BIN      0.25

#define LONG_SEEDS 2 /* with all stages and ways of cutting */

struct stage {
    const char *name;
    double mbps[2];
    unsigned ms[2];
};

static const struct stage stages[] = {
    {"20/10+10/20", {20, 10}, {10, 20}},
    {"50/20+50/40", {50, 50}, {20, 40}},
    {"75/10+20/30", {75, 20}, {10, 30}},
};

enum how { BOTH_WAYS, ONE_WAY, OTHER_WAY, GONE, HOWS };

static const char *const hows[] = {"both ways", "up", "down", "and gone"};

struct run {
    struct bond b;
    const struct stage *stage;
    enum how how;
    size_t victim;
    int from; /* the end that sends */
    struct bond_end *in, *out;
};

static void run_start(struct run *r, uint64_t seed)
{
    struct bond *b = &r->b;

    bond_init(b, seed, 2);
    b->cfg.conn.cc = seed % 2 ? "bbr" : "cubic";
    b->no_ecn = seed % 4 == 3;
    for (size_t i = 0; i < 2; i++)
        bond_link(b, i, r->stage->mbps[i], r->stage->ms[i], 0, 0);
    bond_endless(b, r->from == CLIENT, r->from == SERVER);
    bond_start(b);
    r->out = b->end[r->from];
    r->in = b->end[!r->from];
    bond_seconds(b, AGE + (double)(seed * 7919 % 1000) / 500);
}

static void cut(struct run *r, bool on)
{
    for (int dir = UP; dir <= DOWN; dir++)
        if (r->how == BOTH_WAYS || r->how == GONE || (r->how == ONE_WAY) == (dir == UP))
            r->b.cut[r->victim][dir] = on;
    if (r->how == GONE)
        bond_away(&r->b, r->victim, on);
}

/* Mbit/s that arrive in the next `seconds`. */
static double rate(struct run *r, double seconds)
{
    uint64_t was = r->in->data;

    bond_seconds(&r->b, seconds);
    return (double)(r->in->data - was) * 8e-6 / seconds;
}

/* Dropped by our queue as a sign of congestion, */
static uint64_t signs(const struct run *r)
{
    return r->out->s.sender.queue.stats.dropped_codel;
}

/* and for want of time or room. */
static uint64_t spilled(const struct run *r)
{
    const struct queue_stats *q = &r->out->s.sender.queue.stats;

    return q->dropped_old + q->dropped_full;
}

static void one(uint64_t seed, const struct stage *stage, size_t victim, enum how how, int from)
{
    struct run r = {.stage = stage, .victim = victim, .how = how, .from = from};
    double full, bin[8], at[12], alone = 0, least = INFINITY, back = 0;
    uint64_t missing, overtaken, sign, spill;
    ns_t gap;

    run_start(&r, seed);
    full = rate(&r, 2);
    missing = r.out->missing;
    overtaken = r.out->overtaken;
    sign = signs(&r);
    spill = spilled(&r);
    r.in->gap = 0;
    cut(&r, true);
    for (size_t i = 0; i < ARRAY_LEN(bin); i++)
        bin[i] = rate(&r, BIN);
    cut(&r, false);
    for (size_t i = 0; i < ARRAY_LEN(at); i++)
        at[i] = rate(&r, BIN);
    gap = ns_max(r.in->gap, r.b.w.sim.now - r.in->data_at);
    missing = r.out->missing - missing;
    sign = signs(&r) - sign;
    for (size_t i = 4; i < 8; i++) { /* from a second on; BBR's ProbeRTT may take one */
        alone += bin[i] / 3;
        least = fmin(least, bin[i]);
    }
    alone -= least / 3;
    for (size_t i = 0; i + 4 <= ARRAY_LEN(at); i++)
        back = fmax(back, (at[i] + at[i + 1] + at[i + 2] + at[i + 3]) / 4);
    if (getenv("V")) {
        printf("%llu: %s, link %zu cut %s, %s: gap %u ms, %.0f Mbit/s |",
               (unsigned long long)seed, stage->name, victim, hows[how],
               from == CLIENT ? "upload" : "download", (unsigned)(gap / NS_PER_MS), full);
        for (size_t i = 0; i < ARRAY_LEN(bin); i++)
            printf(" %.0f", bin[i]);
        printf(" |");
        for (size_t i = 0; i < ARRAY_LEN(at); i++)
            printf(" %.0f", at[i]);
        printf("; missing %u, of these by CoDel %u\n", (unsigned)missing, (unsigned)sign);
    }
    WORLD_CHECK(&r.b.w, gap <= GAP_MOST);
    WORLD_CHECK(&r.b.w, alone >= 0.9 * 0.95 * stage->mbps[!victim]);
    WORLD_CHECK(&r.b.w,
                back >= (how == GONE ? 0.75 : 0.9) * full); /* a new path begins small */
    WORLD_CHECK(&r.b.w, spilled(&r) == spill && r.out->overtaken == overtaken && missing <= sign);
    bond_free(&r.b);
}

/* All of a stage where `all`, else a link cut both ways. */
static void cuts(uint64_t seed, const struct stage *stage, bool all)
{
    for (size_t victim = 0; victim < 2; victim++)
        for (enum how how = 0; how < (all ? HOWS : 1); how++)
            for (int from = CLIENT; from <= SERVER; from++)
                one(seed, stage, victim, how, from);
}

static void scenario(uint64_t seed)
{
    const char *is_long = getenv("LONG");
    bool all = is_long && *is_long;

    all &= seed <= LONG_SEEDS;
    for (size_t i = 0; i < (all ? ARRAY_LEN(stages) : 1); i++)
        cuts(seed, &stages[i], all);
}

/*
 * The smaller link returns with the least of windows: it is not judged by what it carried with
 * that.
 */
static void test_small(void **state)
{
    (void)state;
    one(2, &stages[2], 1, BOTH_WAYS, SERVER);
}

/* What CoDel would drop of a flow that keeps its window for the link's return, it hardly gets back. */
static void test_no_ecn(void **state)
{
    (void)state;
    one(3, &stages[2], 0, BOTH_WAYS, SERVER);
}

/* Our acknowledgements come late from then on, and for moments not at all: the link stays in use. */
static void test_one_way(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++)
        one(seed, &stages[2], 0, ONE_WAY, SERVER);
}

/* All acknowledgements had just moved to the link that is cut: its other end is told. */
static void test_answers(void **state)
{
    (void)state;
    one(42, &stages[0], 1, BOTH_WAYS, CLIENT);
}

static void test_cuts(void **state)
{
    (void)state;
    world_each_seed(1, scenario);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cuts), cmocka_unit_test(test_small),
                                       cmocka_unit_test(test_no_ecn), cmocka_unit_test(test_one_way),
                                       cmocka_unit_test(test_answers)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
