/*
 * Congestion control over real connections and a bottleneck that is anything but ideal: what
 * share of it one flow keeps, how flows share it, and how long its queue is. BBR is held to
 * the figures of the tables; SHOW=1 prints what all three controllers do.
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

static bool show(void)
{
    return getenv("SHOW") != NULL;
}

static const struct cc_bbr *bbr(const struct bulk_flow *f)
{
    return &bulk_recovery(f)->cc.u.bbr;
}

/* Call `scenario` for `n` seeds, or those of SEEDS, but no more than 200: these are long. */
static void each(uint64_t n, void (*scenario)(uint64_t seed))
{
    uint64_t from, to;

    world_seeds(n, &from, &to);
    for (uint64_t seed = from; seed <= to && seed < from + 200; seed++)
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
};

// clang-format off
static const struct scene scenes[] = {
    /*                    Mbit/s queue        rtt      loss       jitter  slot     reorder    pause    every     police skip run   least queue */
    {"clean",               100, BDP,         50 * MS, 0,         0,      0,       0,         0,       0,             0, 2, 10,    0.95, 12},
    {"from the first byte", 100, BDP,         50 * MS, 0,         0,      0,       0,         0,       0,             0, 0, 20,    0.94, 12},
    {"buffer of 4 BDP",     100, 4 * BDP,     50 * MS, 0,         0,      0,       0,         0,       0,             0, 2, 10,    0.95, 20},
    {"buffer of BDP / 10",  100, BDP / 10,    50 * MS, 0,         0,      0,       0,         0,       0,             0, 2, 10,    0.80, 5},
    {"0.1 % lost",          100, BDP,         50 * MS, PPM / 10,  0,      0,       0,         0,       0,             0, 2, 10,    0.92, 12},
    {"2 % lost",            100, BDP,         50 * MS, 2 * PPM,   0,      0,       0,         0,       0,             0, 2, 10,    0.90, 12},
    {"5 % lost",            100, BDP,         50 * MS, 5 * PPM,   0,      0,       0,         0,       0,             0, 2, 10,    0.80, 12},
    {"10 % lost",           100, BDP,         50 * MS, 10 * PPM,  0,      0,       0,         0,       0,             0, 4, 10,    0.70, 12},
    {"ACKs every 10 ms",    100, BDP,         50 * MS, 0,         0,      10 * MS, 0,         0,       0,             0, 2, 10,    0.85, 25},
    {"jitter of 5 ms",      100, BDP,         50 * MS, 0,         5 * MS, 0,       0,         0,       0,             0, 2, 10,    0.85, 25},
    {"1 % reordered",       100, BDP,         50 * MS, 0,         0,      0,       PPM,       0,       0,             0, 2, 10,    0.85, 12},
    {"60 ms of silence",    100, BDP,         50 * MS, 0,         0,      0,       0,         60 * MS, NS_PER_S,      0, 2, 10,    0.80, 25},
    {"policer",             100, BDP,         50 * MS, 0,         0,      0,       0,         0,       0,            40, 2, 10,    0.80, 12},
    {"Wi-Fi",                50, 500000,      30 * MS, PPM / 2,   2 * MS, 4 * MS,  PPM / 10,  30 * MS, NS_PER_S,      0, 2, 10,    0.80, 35},
    {"LTE",                  20, 600000,      60 * MS, PPM / 2,   5 * MS, 5 * MS,  0,         0,       0,             0, 2, 10,    0.80, 40},
    {"Starlink",            100, 4 * BDP / 5, 40 * MS, PPM,       2 * MS, 0,       PPM / 10,  80 * MS, 5 * NS_PER_S,  0, 2, 10,    0.85, 25},
};
// clang-format on

struct outcome {
    double share, queue_ms;
};

static const struct scene *scene;

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

    if (o.share < scene->least || o.queue_ms > scene->queue_ms)
        fail_msg("SEEDS=%u-%u: %s: %.3f, queue %.1f ms", (unsigned)seed, (unsigned)seed,
                 scene->name, o.share, o.queue_ms);
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
        if (show())
            show_scene();
        each(1, scene_of);
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
    bulk_run(&b, 8); /* two cycles of ProbeBW, at the longest */
    WORLD_CHECK(&b.w, bbr(f)->max_bw < 33 * MBIT);
    b.link[UP]->bps = 100 * MBIT;
    bulk_share(&b, 10, &share[2]);
    if (show())
        print_message("rate: %.3f %.3f %.3f\n", share[0], share[1], share[2]);
    WORLD_CHECK(&b.w, share[0] > 0.93 && share[1] > 0.9 && share[2] > 0.55);
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
    each(1, steps);
    each(1, longer);
    each(1, after_quiet);
    each(1, inner_start);
}

/* ---- several flows ------------------------------------------------------------------- */

struct pair {
    const char *cc[2];
    uint64_t queue;
    double late, settle; /* seconds before the second begins; before measuring */
    double least;        /* share of the smaller */
    bool lengthy;        /* only in long runs */
};

static const struct pair *pair;

static void share_of(uint64_t seed, double *a, double *b, double *queue_ms)
{
    double share[2];
    struct bulk bulk;

    bulk_init(&bulk, seed, 100 * MBIT, pair->queue, 50 * MS);
    bulk_flow(&bulk, pair->cc[0]);
    bulk_run(&bulk, pair->late);
    bulk_flow(&bulk, pair->cc[1]);
    bulk_run(&bulk, pair->settle);
    sim_link_queueing(bulk.link[UP]);
    bulk_share(&bulk, 40, share);
    *a = share[0] / (share[0] + share[1]);
    *b = share[1] / (share[0] + share[1]);
    *queue_ms = sim_link_queueing(bulk.link[UP]) / (double)MS;
    if (share[0] + share[1] < 0.85)
        fail_msg("SEEDS=%u-%u: together %.3f", (unsigned)seed, (unsigned)seed,
                 share[0] + share[1]);
    assert_true(bulk_free(&bulk));
}

static void pair_of(uint64_t seed)
{
    double a, b, queue_ms;

    share_of(seed, &a, &b, &queue_ms);
    if (show())
        print_message("%s %s, %.1f BDP, late %.0f s: %.3f %.3f, queue %.1f ms\n", pair->cc[0],
                      pair->cc[1], (double)pair->queue / (double)BDP, pair->late, a, b,
                      queue_ms);
    if (a < pair->least || b < pair->least)
        fail_msg("SEEDS=%u-%u: %s %.3f, %s %.3f", (unsigned)seed, (unsigned)seed, pair->cc[0],
                 a, pair->cc[1], b);
}

static void test_pairs(void **state)
{
    // clang-format off
    static const struct pair pairs[] = {
        {{"bbr", "bbr"},     BDP,      0, 10, 0.38, false},
        {{"bbr", "bbr"},     BDP,     10, 10, 0.33, false},
        {{"bbr", "bbr"},     BDP / 4,  0, 10, 0.33, true},
        {{"bbr", "bbr"},     4 * BDP,  0, 10, 0.40, true},
        {{"cubic", "cubic"}, BDP,      0, 40, 0.38, true},
        {{"bbr", "cubic"},   BDP / 2,  0, 20, 0.15, true},
        {{"bbr", "cubic"},   BDP,      0, 20, 0.18, true},
        {{"bbr", "cubic"},   2 * BDP,  0, 20, 0.25, false},
    };
    // clang-format on

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        pair = &pairs[i];
        if (pair->lengthy && !show() && !(getenv("LONG") && *getenv("LONG")))
            continue;
        each(1, pair_of);
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
    each(1, crowd);
    each(1, policed);
    each(1, marked);
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
