/*
 * Congestion control over real connections and a bottleneck that is anything but ideal: what
 * share of it one flow keeps, how flows share it, and how long its queue is. BBR is held to
 * the figures of the tables; SHOW=1 prints what all three controllers do.
 *
 * Each table says over how many seeds its rows are proven by `make check-long`; `make check`
 * runs one seed of those that are quick.
 *
 * A share is that of UDP payload bytes on the link, headers included, and of packets that
 * arrive: those that the path loses count against it. User data is 97.9 % of that.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "quic/conn.h"
#include "test/sim/bulk.h"

#define MBIT ((uint64_t)1000000)
#define MS   NS_PER_MS
#define PPM  10000u /* per cent, in millionths */

/* The bandwidth-delay product of 100 Mbit/s and 50 ms. */
#define BDP ((uint64_t)625000)

static const char *const controllers[] = {"cubic", "newreno", "bbr"};

static bool is_set(const char *name)
{
    const char *value = getenv(name);

    return value && *value;
}

static bool show(void)
{
    return is_set("SHOW");
}

static bool lengthy(void)
{
    return show() || is_set("LONG");
}

static const struct cc_bbr *bbr(const struct bulk_flow *f)
{
    return &bulk_recovery(f)->cc.u.bbr;
}

/* Call `scenario` for one seed, or those of SEEDS, but no more than `most`: these are long. */
static void each(uint64_t most, void (*scenario)(uint64_t seed))
{
    uint64_t from, to;

    world_seeds(1, &from, &to);
    for (uint64_t seed = from; seed <= to && seed < from + most; seed++)
        scenario(seed);
}

/* ---- one flow ------------------------------------------------------------------------ */

struct scene {
    const char *name;
    uint64_t mbit, queue;
    ns_t rtt;
    uint32_t loss; /* per million */
    ns_t jitter, slot;
    uint32_t reorder; /* per million, by up to 5 ms */
    ns_t pause, every;
    uint64_t police;        /* Mbit/s */
    double skip, run;       /* seconds: not measured, measured */
    double least, queue_ms; /* what BBR keeps of link or policer; mean in the queue, at most */
    double cubic;           /* what CUBIC keeps; 0: is not held to it */
    uint64_t seeds;         /* at most */
    bool lengthy;           /* not in short runs */
    double worst;           /* `least` is of the mean, and this of each seed; 0: `least` is */
};

// clang-format off
static const struct scene scenes[] = {
    /*
     *                    Mbit/s queue        rtt      loss       jitter  slot     reorder
     * pause    every     police skip run   least queue cubic seeds, lengthy, worst
     */
    {"clean",               100, BDP,         50 * MS, 0,         0,      0,       0,         0,       0,             0, 2, 10,    0.95, 12, 0.95, 20, false, 0},
    {"from the first byte", 100, BDP,         50 * MS, 0,         0,      0,       0,         0,       0,             0, 0, 20,    0.94, 12, 0.93, 20, true, 0},
    {"buffer of 4 BDP",     100, 4 * BDP,     50 * MS, 0,         0,      0,       0,         0,       0,             0, 2, 10,    0.95, 20, 0.95, 10, true, 0},
    {"buffer of BDP / 10",  100, BDP / 10,    50 * MS, 0,         0,      0,       0,         0,       0,             0, 2, 10,    0.80, 5,  0,    10, false, 0},
    {"0.1 % lost",          100, BDP,         50 * MS, PPM / 10,  0,      0,       0,         0,       0,             0, 2, 10,    0.92, 12, 0,    10, false, 0.85},
    {"2 % lost",            100, BDP,         50 * MS, 2 * PPM,   0,      0,       0,         0,       0,             0, 2, 10,    0.90, 12, 0,    20, false, 0},
    {"5 % lost",            100, BDP,         50 * MS, 5 * PPM,   0,      0,       0,         0,       0,             0, 2, 10,    0.80, 12, 0,    10, true, 0},
    {"10 % lost",           100, BDP,         50 * MS, 10 * PPM,  0,      0,       0,         0,       0,             0, 4, 10,    0.70, 12, 0,    10, false, 0.15},
    {"ACKs every 10 ms",    100, BDP,         50 * MS, 0,         0,      10 * MS, 0,         0,       0,             0, 2, 10,    0.85, 15, 0,    10, false, 0},
    {"jitter of 5 ms",      100, BDP,         50 * MS, 0,         5 * MS, 0,       0,         0,       0,             0, 2, 10,    0.85, 12, 0,    10, false, 0},
    {"1 % reordered",       100, BDP,         50 * MS, 0,         0,      0,       PPM,       0,       0,             0, 2, 10,    0.85, 12, 0,    10, true, 0},
    {"60 ms of silence",    100, BDP,         50 * MS, 0,         0,      0,       0,         60 * MS, NS_PER_S,      0, 2, 10,    0.80, 20, 0,    10, false, 0},
    {"policer",             100, BDP,         50 * MS, 0,         0,      0,       0,         0,       0,            40, 2, 10,    0.80, 12, 0,    10, false, 0},
    {"Wi-Fi",                50, 500000,      30 * MS, PPM / 2,   2 * MS, 4 * MS,  PPM / 10,  30 * MS, NS_PER_S,      0, 2, 10,    0.80, 20, 0,    10, false, 0},
    {"LTE",                  20, 600000,      60 * MS, PPM / 2,   5 * MS, 5 * MS,  0,         0,       0,             0, 2, 10,    0.80, 20, 0,    10, false, 0},
    {"Starlink",            100, 4 * BDP / 5, 40 * MS, PPM,       2 * MS, 0,       PPM / 10,  80 * MS, 5 * NS_PER_S,  0, 2, 10,    0.92, 10, 0,    10, true, 0.90},
};
// clang-format on

struct outcome {
    double share, queue_ms;
};

static const struct scene *scene;

/* What BBR kept, over the seeds from 1 on. */
static struct {
    unsigned n;
    double sum;
} kept;

static struct outcome play(const char *cc, uint64_t seed)
{
    const struct scene *s = scene;
    uint64_t bps = s->mbit * MBIT;
    struct outcome out = {0};
    struct bulk b;

    bulk_init(&b, seed, bps, s->queue, s->rtt);
    b.link[UP]->loss_ppm = s->loss;
    b.link[UP]->jitter = s->jitter;
    b.link[DOWN]->slot = s->slot;
    b.link[UP]->police_bps = s->police * MBIT;
    b.link[UP]->police_burst = 60000;
    if (s->reorder)
        world_link(&b.w, UP, sim_reorder(&b.w.sim, s->reorder, 5 * MS));
    bulk_flow(&b, cc);
    bulk_run(&b, s->skip);
    sim_link_queueing(b.link[UP]);
    double step = s->every ? (double)s->every / (double)NS_PER_S : s->run, share;
    for (double t = 0; t < s->run; t += step) {
        if (s->every) {
            b.link[UP]->pause = b.w.sim.now;
            b.link[UP]->until = b.w.sim.now + s->pause;
        }
        bulk_share(&b, step, &share);
        out.share += share * step / s->run;
    }
    if (s->police)
        out.share *= (double)s->mbit / (double)s->police;
    out.queue_ms = sim_link_queueing(b.link[UP]) / (double)MS;
    assert_true(bulk_free(&b));
    return out;
}

static void scene_of(uint64_t seed)
{
    struct outcome o = play("bbr", seed);

    if (kept.n + 1 == seed) {
        kept.sum += o.share;
        kept.n++;
    }
    if (o.share < (scene->worst > 0 ? scene->worst : scene->least) ||
        o.queue_ms > scene->queue_ms)
        fail_msg("SEEDS=%u-%u: %s: %.3f, queue %.1f ms", (unsigned)seed, (unsigned)seed,
                 scene->name, o.share, o.queue_ms);
    if (scene->cubic == 0)
        return;
    o = play("cubic", seed);
    if (o.share < scene->cubic)
        fail_msg("SEEDS=%u-%u: %s: cubic %.3f", (unsigned)seed, (unsigned)seed, scene->name,
                 o.share);
}

static void show_scene(void)
{
    print_message("%-20s", scene->name);
    for (size_t c = 0; c < ARRAY_LEN(controllers); c++) {
        struct outcome sum = {0};
        for (uint64_t seed = 1; seed <= 3; seed++) {
            struct outcome o = play(controllers[c], seed);
            sum.share += o.share / 3;
            sum.queue_ms += o.queue_ms / 3;
        }
        print_message(" | %s %3.0f %% %4.1f ms", controllers[c], 100 * sum.share, sum.queue_ms);
    }
    print_message("\n");
}

static void test_scenes(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scenes); i++) {
        scene = &scenes[i];
        if (scene->lengthy && !lengthy())
            continue;
        if (show())
            show_scene();
        memset(&kept, 0, sizeof(kept));
        each(scene->seeds, scene_of);
        if (kept.sum < kept.n * scene->least)
            fail_msg("%s: %.3f on average of %u seeds", scene->name, kept.sum / kept.n, kept.n);
    }
}

/* ---- changes ------------------------------------------------------------------------- */

/* 100 Mbit/s, then 30, then 100 again: the share in the ten seconds after each change. */
static void steps(uint64_t seed)
{
    double share[3];
    struct bulk b;

    bulk_init(&b, seed, 100 * MBIT, BDP, 50 * MS);
    struct bulk_flow *f = bulk_flow(&b, "bbr");
    bulk_run(&b, 2);
    bulk_share(&b, 5, &share[0]);
    b.link[UP]->bps = 30 * MBIT;
    bulk_share(&b, 10, &share[1]);
    bulk_run(&b, 8); /* two cycles of ProbeBW, at the longest; one more if ProbeRTT swallows an end */
    for (int i = 0; i < 8 && bbr(f)->max_bw >= 33 * MBIT; i++)
        bulk_run(&b, 1);
    WORLD_CHECK(&b.w, bbr(f)->max_bw < 33 * MBIT);
    b.link[UP]->bps = 100 * MBIT;
    bulk_share(&b, 10, &share[2]);
    if (show())
        print_message("rate: %.3f %.3f %.3f\n", share[0], share[1], share[2]);
    /* A probe comes after 8 s, at the latest. */
    WORLD_CHECK(&b.w, share[0] > 0.93 && share[1] > 0.9 && share[2] > 0.4);
    bulk_share(&b, 5, &share[2]);
    WORLD_CHECK(&b.w, share[2] > 0.9);
    assert_true(bulk_free(&b));
}

/* A longer way is believed after ten seconds; a shorter one at once. */
static void longer(uint64_t seed)
{
    double share[3];
    struct bulk b;

    bulk_init(&b, seed, 100 * MBIT, BDP, 50 * MS);
    struct bulk_flow *f = bulk_flow(&b, "bbr");
    bulk_run(&b, 3);
    b.link[UP]->delay += 50 * MS;
    bulk_share(&b, 12, &share[0]);
    bulk_share(&b, 10, &share[1]);
    WORLD_CHECK(&b.w, bbr(f)->min_rtt >= 100 * MS && bbr(f)->min_rtt < 105 * MS);
    b.link[UP]->delay -= 50 * MS;
    bulk_share(&b, 10, &share[2]);
    WORLD_CHECK(&b.w, bbr(f)->min_rtt < 52 * MS);
    if (show())
        print_message("delay: %.3f %.3f %.3f\n", share[0], share[1], share[2]);
    WORLD_CHECK(&b.w, share[0] > 0.75 && share[1] > 0.85 && share[2] > 0.9);
    assert_true(bulk_free(&b));
}

/*
 * A direction that carried little for a while, below and above the interval of ProbeRTT, has
 * the rate within ten round trips; and again after silence, at once.
 */
static void after_quiet(uint64_t seed)
{
    static const double quiet[] = {0.5, 4.8, 5.2, 12};
    double share;

    for (size_t i = 0; i < ARRAY_LEN(quiet); i++) {
        struct bulk b;
        bulk_init(&b, seed, 100 * MBIT, BDP, 50 * MS);
        struct bulk_flow *f = bulk_flow(&b, "bbr");
        f->offer_bps = MBIT / 10;
        bulk_run(&b, quiet[i]);
        WORLD_CHECK(&b.w, !bbr(f)->full_reached);
        f->offer_bps = 0;
        bulk_run(&b, 0.5);
        bulk_share(&b, 0.5, &share);
        if (show())
            print_message("after %.1f s: %.3f\n", quiet[i], share);
        WORLD_CHECK(&b.w, share > (quiet[i] > 4.5 ? 0.6 : 0.9)); /* with a ProbeRTT */
        f->mute = true;
        bulk_run(&b, 7);
        f->mute = false;
        bulk_run(&b, 0.15);
        bulk_share(&b, 0.3, &share);
        WORLD_CHECK(&b.w, share > 0.9);
        assert_true(bulk_free(&b));
    }
}

/* A sender that grows by itself, as TCP does, is not held at the rate it had when small. */
static void inner_start(uint64_t seed)
{
    struct bulk b;
    double share;

    bulk_init(&b, seed, 100 * MBIT, BDP, 50 * MS);
    struct bulk_flow *f = bulk_flow(&b, "bbr");
    f->offer_bps = MBIT / 10;
    bulk_run(&b, 3);
    f->offer_bps = 0;
    f->reported = f->sent;
    f->window = 10;
    bulk_run(&b, 0.6);
    bulk_share(&b, 0.4, &share);
    if (show())
        print_message("inner start: %.3f\n", share);
    WORLD_CHECK(&b.w, share > 0.85);
    assert_true(bulk_free(&b));
}

static void test_changes(void **state)
{
    (void)state;
    each(10, steps);
    each(10, longer);
    each(10, after_quiet);
    each(10, inner_start);
}

/* ---- several flows ------------------------------------------------------------------- */

struct pair {
    const char *cc[2];
    uint64_t mbit;
    double queue;                /* in BDP */
    double late, settle, run;    /* seconds: until the second begins, not measured, measured */
    double least, most_queue_ms; /* share of the second and of the first; mean in the queue */
    uint64_t seeds;              /* at most; 1: is for short runs */
};

// clang-format off
static const struct pair pairs[] = {
    /*                 Mbit/s queue late settle run  least queue seeds */
    {{"bbr", "bbr"},      20, 1,     0, 25,    120, 0.40, 30,   1},
    {{"cubic", "cubic"},  20, 1,     0, 30,    120, 0.40, 45,   1},
    {{"bbr", "bbr"},     100, 1,     0, 25,    120, 0.40, 30,  20},
    {{"cubic", "cubic"}, 100, 1,     0, 30,    120, 0.40, 45,  20},
    {{"bbr", "bbr"},     100, 1,    10, 25,    120, 0.40, 30,  10},
    {{"bbr", "bbr"},     100, 0.25,  0, 25,    120, 0.40,  8,   4},
    {{"bbr", "bbr"},     100, 4,     0, 25,    120, 0.40, 70,   4},
    {{"bbr", "cubic"},   100, 1,     0, 30,    120, 0.16, 40,  20},
    {{"bbr", "cubic"},   100, 0.5,   0, 30,    120, 0.17, 25,   4},
    {{"bbr", "cubic"},   100, 2,     0, 30,    120, 0.38, 90,   4},
};
// clang-format on

static const struct pair *pair;

/* Of the second flow of the pair, over the seeds. */
static struct tally {
    unsigned n;
    double least, most, sum, queue_ms;
} tally;

static void pair_of(uint64_t seed)
{
    const struct pair *p = pair;
    double share[2], least, queue_ms;
    struct bulk b;

    bulk_init(&b, seed, p->mbit * MBIT,
              (uint64_t)(p->queue * (double)(p->mbit * MBIT / 8 / 20)), 50 * MS);
    bulk_flow(&b, p->cc[0]);
    bulk_run(&b, p->late);
    bulk_flow(&b, p->cc[1]);
    bulk_run(&b, p->settle);
    sim_link_queueing(b.link[UP]);
    bulk_share(&b, p->run, share);
    queue_ms = sim_link_queueing(b.link[UP]) / (double)MS;
    assert_true(bulk_free(&b));

    double second = share[1] / (share[0] + share[1]);
    least = second < 0.5 ? second : 1 - second;
    tally.least = tally.n && tally.least < second ? tally.least : second;
    tally.most = tally.most > second ? tally.most : second;
    tally.queue_ms += queue_ms;
    tally.sum += second;
    tally.n++;
    if (least < p->least || queue_ms > p->most_queue_ms || share[0] + share[1] < 0.9)
        fail_msg("SEEDS=%u-%u: %s %.3f, %s %.3f, queue %.1f ms", (unsigned)seed, (unsigned)seed,
                 p->cc[0], share[0], p->cc[1], share[1], queue_ms);
}

static void show_pair(const struct tally *t)
{
    print_message(
        "%s, %s: %.2f BDP, late %.0f s: second %.3f to %.3f, mean %.3f, queue %.1f ms, "
        "%u seeds\n",
        pair->cc[0], pair->cc[1], pair->queue, pair->late, t->least, t->most, t->sum / t->n,
        t->queue_ms / t->n, t->n);
}

static void test_pairs(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        pair = &pairs[i];
        if (pair->seeds > 1 && !lengthy())
            continue;
        memset(&tally, 0, sizeof(tally));
        each(pair->seeds, pair_of);
        if (show() && tally.n)
            show_pair(&tally);
    }
}

/* Four flows in a small buffer, and a policer: congestion of their own making is no base. */
static void crowd(uint64_t seed)
{
    double share[4], sum = 0;
    struct bulk b;

    bulk_init(&b, seed, 100 * MBIT, BDP / 8, 50 * MS);
    for (int i = 0; i < 4; i++)
        bulk_flow(&b, "bbr");
    bulk_run(&b, 5);
    bulk_share(&b, 30, share);
    for (int i = 0; i < 4; i++) {
        sum += share[i];
        if (show())
            print_message("crowd: %.3f, base %.4f\n", share[i], bbr(&b.flow[i])->base_loss);
        WORLD_CHECK(&b.w, bbr(&b.flow[i])->base_loss < 0.02);
        WORLD_CHECK(&b.w, share[i] > 0.08);
    }
    WORLD_CHECK(&b.w, sum > 0.85);
    assert_true(bulk_free(&b));
}

static void policed(uint64_t seed)
{
    struct bulk b;

    bulk_init(&b, seed, 100 * MBIT, BDP, 50 * MS);
    b.link[UP]->police_bps = 40 * MBIT;
    b.link[UP]->police_burst = 60000;
    struct bulk_flow *f = bulk_flow(&b, "bbr");
    bulk_run(&b, 20);
    if (show())
        print_message("policed: base %.4f, %u of %u\n", bbr(f)->base_loss,
                      (unsigned)b.link[UP]->policed, (unsigned)b.link[UP]->packets);
    WORLD_CHECK(&b.w, bbr(f)->base_loss < 0.02);
    WORLD_CHECK(&b.w, b.link[UP]->policed < b.link[UP]->packets / 20);
    assert_true(bulk_free(&b));
}

/* Marks instead of losses: the queue stays below what marks, and little is given away. */
static void marked(uint64_t seed)
{
    double share;
    struct bulk b;

    bulk_init(&b, seed, 100 * MBIT, BDP, 50 * MS);
    b.w.client_cfg.conn.ecn = b.w.server_cfg.conn.ecn = true;
    b.link[UP]->mark = BDP / 5;
    struct bulk_flow *f = bulk_flow(&b, "bbr");
    bulk_run(&b, 2);
    sim_link_queueing(b.link[UP]);
    uint64_t over = b.link[UP]->overflowed;
    bulk_share(&b, 10, &share);
    double queue_ms = sim_link_queueing(b.link[UP]) / (double)MS;
    if (show())
        print_message("marked: %.3f, queue %.1f ms, %u marks\n", share, queue_ms,
                      (unsigned)b.link[UP]->marked);
    WORLD_CHECK(&b.w, b.link[UP]->marked > 0 && b.link[UP]->overflowed == over);
    WORLD_CHECK(&b.w, bbr(f)->inflight_long != BBR_INF);
    WORLD_CHECK(&b.w, share > 0.85 && queue_ms < 10);
    assert_true(bulk_free(&b));
}

static void test_limits(void **state)
{
    (void)state;
    each(10, crowd);
    each(10, policed);
    each(10, marked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scenes),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
