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
static uint64_t told_spurious;

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
    /* Acknowledged means arrived; one fate for each, and spurious only after lost. */
    sim_host_wake(w.client);
    sim_run(&w.sim, w.sim.now + NS_PER_S, NULL, NULL);
    struct quic_stats stats;
    quic_stats(w.client->conn[0], &stats);
    WORLD_CHECK(&w, stats.drop_fate == 0);
    const uint64_t *fates = w.xfer.fates;
    WORLD_CHECK(&w, w.xfer.fates_bad == 0 && w.xfer.fates_open == 0);
    WORLD_CHECK(&w, fates[QUIC_FATE_ACKED] + fates[QUIC_FATE_SPURIOUS] <= got);
    WORLD_CHECK(&w, fates[QUIC_FATE_ACKED] + fates[QUIC_FATE_LOST] == net->count);
    WORLD_CHECK(&w, net->loss + net->reorder + net->corrupt || net->bps ||
                        fates[QUIC_FATE_LOST] == 0);
    told_spurious += fates[QUIC_FATE_SPURIOUS];
    for (size_t i = 0; i < w.xfer.n_ends; i++)
        WORLD_CHECK(&w, !w.xfer.end[i].closed);
    world_free(&w);
}

static void test_networks(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(networks); i++) {
        net = &networks[i];
        told_spurious = 0;
        world_each_seed(2, scenario);
        assert_true(!net->reorder || told_spurious);
    }
}

/* ---- fates where a path moves, and where a connection ends --------------------------- */

static bool some_sent(void *ctx)
{
    struct xfer *x = ctx;
    return x->dgrams_sent >= 1000;
}

static void dgram_world(struct world *w, uint64_t seed)
{
    world_init(w, seed);
    for (int d = UP; d <= DOWN; d++) {
        world_link(w, (enum world_dir)d, sim_rate(&w->sim, 20 * MB, 200000));
        world_link(w, (enum world_dir)d, sim_delay(&w->sim, 15 * NS_PER_MS));
        world_link(w, (enum world_dir)d, sim_loss(&w->sim, 2 * PPM, 0));
        world_link(w, (enum world_dir)d, sim_reorder(&w->sim, 3 * PPM, 10 * NS_PER_MS));
    }
    w->xfer.dgrams = 3000;
    w->xfer.dgram_size = 1000;
    world_start(w, 1);
    WORLD_CHECK(w, sim_run(&w->sim, w->sim.now + 20 * NS_PER_S, some_sent, &w->xfer));
    WORLD_CHECK(w, w->xfer.fates_open > 0); /* in flight */
}

static void fates_moved(uint64_t seed)
{
    struct world w;
    dgram_world(&w, seed);
    struct quic_route route = {.local = sim_addr(10, 40001), .remote = w.server_addr};
    WORLD_CHECK(&w, quic_path_move(w.client->conn[0], 0, &route, w.sim.now) == 0);
    sim_host_wake(w.client);
    WORLD_CHECK(&w, world_run(&w, 30 * NS_PER_S));
    sim_run(&w.sim, w.sim.now + 5 * NS_PER_S, NULL, NULL);
    sim_host_wake(w.client);
    sim_run(&w.sim, w.sim.now + NS_PER_S, NULL, NULL);
    WORLD_CHECK(&w, w.xfer.fates_open == 0 && w.xfer.fates_bad == 0);
    world_free(&w);
}

/* Closed by us, by the peer, or because nobody answers. */
static unsigned how;

static void fates_closed(uint64_t seed)
{
    struct world w;
    dgram_world(&w, seed);
    struct quic_conn *conn = w.client->conn[0];
    if (how == 0)
        quic_close(conn, 0, "enough", w.sim.now);
    if (how == 1)
        quic_close(w.server->conn[0], 0, "enough", w.sim.now);
    if (how == 2)
        w.server->node.out = NULL;
    sim_host_wake(w.client);
    sim_host_wake(w.server);
    sim_run(&w.sim, w.sim.now + 100 * NS_PER_S, NULL, NULL);
    WORLD_CHECK(&w, w.xfer.end[0].closed);
    uint64_t acked = w.xfer.fates[QUIC_FATE_ACKED] + w.xfer.fates[QUIC_FATE_SPURIOUS];
    xfer_fates(&w.xfer, conn);
    WORLD_CHECK(&w, w.xfer.fates_open == 0 && w.xfer.fates_bad == 0);
    WORLD_CHECK(&w, acked <= w.xfer.dgrams_got[0]);
    world_free(&w);
}

static void test_fates(void **state)
{
    (void)state;
    world_each_seed(3, fates_moved);
    for (how = 0; how < 3; how++)
        world_each_seed(3, fates_closed);
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
        cmocka_unit_test(test_fates),
        cmocka_unit_test(test_goodput),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
