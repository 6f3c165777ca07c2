/* DATAGRAMs over all sorts of networks: never twice, never altered, and the fates are true. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/sim/world.h"

#define PPM 10000u /* per cent, in millionths */
#define MB  1000000u

struct network {
    const char *name;
    uint64_t bps;
    uint32_t loss, reorder, duplicate, corrupt;
    uint64_t count;
    size_t size;
    bool echo;
    size_t streams;
    unsigned percent; /* that arrive, at least */
};

// clang-format off
static const struct network networks[] = {
    {"clean",             0, 0,       0,        0,        0,        3000, 1000, false, 0, 100},
    {"clean, echo",       0, 0,       0,        0,        0,        2000, 1000, true,  0, 100},
    {"tiny",              0, 0,       0,        0,        0,        2000,    8, true,  0, 100},
    {"slow",        5000000, 0,       0,        0,        0,        2000, 1000, false, 0,  90},
    {"loss",       20000000, 2 * PPM, 0,        0,        0,        3000, 1000, true,  0,  90},
    {"reorder",    20000000, 0,       10 * PPM, 0,        0,        3000, 1000, true,  0,  90},
    {"duplicate",  20000000, 0,       0,        20 * PPM, 0,        3000, 1000, true,  0,  90},
    {"corrupt",    20000000, 0,       0,        0,        5 * PPM,  3000, 1000, true,  0,  85},
    {"everything", 20000000, 2 * PPM, 5 * PPM,  5 * PPM,  2 * PPM,  3000, 1000, true,  2,  85},
    {"with streams", 20000000, 0,     0,        0,        0,        3000,  800, true,  2,  90},
};
// clang-format on

static const struct network *net;

static void scenario(uint64_t seed)
{
    struct world w;
    world_init(&w, seed);
    for (int d = UP; d <= DOWN; d++) {
        enum world_dir dir = (enum world_dir)d;
        if (net->bps)
            world_link(&w, dir, sim_rate(&w.sim, net->bps, 200000));
        world_link(&w, dir, sim_delay(&w.sim, 15 * NS_PER_MS));
        world_link(&w, dir, sim_loss(&w.sim, net->loss, 0));
        world_link(&w, dir, sim_duplicate(&w.sim, net->duplicate));
        world_link(&w, dir, sim_corrupt(&w.sim, net->corrupt));
        world_link(&w, dir, sim_reorder(&w.sim, net->reorder, 10 * NS_PER_MS));
    }
    w.xfer.dgrams = net->count;
    w.xfer.dgram_size = net->size;
    w.xfer.dgram_echo = net->echo;
    w.xfer.streams = net->streams;
    w.xfer.up = w.xfer.down = 200000;
    world_start(&w, 1);
    WORLD_CHECK(&w, world_run(&w, 60 * NS_PER_S));
    sim_run(&w.sim, w.sim.now + 10 * NS_PER_S, NULL, NULL);
    WORLD_CHECK(&w, !w.sim.livelock);
    WORLD_CHECK(&w, w.xfer.bad_bytes == 0);
    WORLD_CHECK(&w, w.xfer.dgrams_bad == 0);
    WORLD_CHECK(&w, w.xfer.dgrams_twice == 0);
    WORLD_CHECK(&w, w.xfer.dgrams_sent == net->count);
    uint64_t got = w.xfer.dgrams_got[0];
    if (got * 100 < net->count * net->percent)
        print_error("%s: %llu of %llu\n", net->name, (unsigned long long)got,
                    (unsigned long long)net->count);
    WORLD_CHECK(&w, got * 100 >= net->count * net->percent);
    /* Acknowledged means arrived; a fate for each, and more only where one came late. */
    sim_host_wake(w.client);
    sim_run(&w.sim, w.sim.now + NS_PER_S, NULL, NULL);
    struct quic_stats stats;
    quic_stats(w.client->conn[0], &stats);
    WORLD_CHECK(&w, stats.drop_fate == 0);
    WORLD_CHECK(&w, w.xfer.fates_acked <= got);
    WORLD_CHECK(&w, w.xfer.fates_acked + w.xfer.fates_lost >= net->count);
    for (size_t i = 0; i < w.xfer.n_ends; i++)
        WORLD_CHECK(&w, !w.xfer.end[i].closed);
    world_free(&w);
}

static void test_networks(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(networks); i++) {
        net = &networks[i];
        world_each_seed(2, scenario);
    }
}

/* 100 Mbit/s and 50 ms: DATAGRAMs alone use nine tenths of it too. */
static bool all_sent(void *ctx)
{
    struct xfer *x = ctx;
    return x->dgrams_sent == x->dgrams;
}

static void goodput(uint64_t seed)
{
    struct world w;
    world_init(&w, seed);
    world_path(&w, 25 * NS_PER_MS, 100 * MB, 625000);
    w.xfer.dgrams = 40000;
    w.xfer.dgram_size = 1100;
    world_start(&w, 1);
    ns_t start = w.sim.now;
    WORLD_CHECK(&w, sim_run(&w.sim, start + 20 * NS_PER_S, all_sent, &w.xfer));
    double seconds = (double)(w.sim.now - start) / (double)NS_PER_S;
    sim_run(&w.sim, w.sim.now + NS_PER_S, NULL, NULL);
    /* On the wire: header, packet number, frame type and tag are 28 bytes. */
    double bps = (double)w.xfer.dgrams_got[0] * (1100 + 28) * 8 / seconds;
    if (bps < 0.9 * 100 * MB)
        print_error("%.1f Mbit/s, %llu got\n", bps / MB,
                    (unsigned long long)w.xfer.dgrams_got[0]);
    WORLD_CHECK(&w, bps >= 0.9 * 100 * MB);
    world_free(&w);
}

static void test_goodput(void **state)
{
    (void)state;
    world_each_seed(1, goodput);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_goodput),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
