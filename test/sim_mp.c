/*
 * Several paths in the simulator: they open, carry streams and DATAGRAMs, die, come back, are
 * abandoned and opened anew, over links of all kinds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "test/sim/lanes.h"

#define MB  1000000u
#define PPM 10000u /* a percent */

static struct quic_path_view view(struct lanes *l, int end, size_t path)
{
    struct quic_path_view v;
    if (quic_path_view(l->conn[end], path, l->w.sim.now, &v) != 0)
        memset(&v, 0, sizeof(v));
    return v;
}

/* A path on each lane at each end, all validated, a round trip after the IDs are there. */
static void opens(uint64_t seed)
{
    struct lanes l;
    size_t n = 2 + seed % 7;
    lanes_init(&l, seed, n);
    lanes_start(&l);
    lanes_run(&l, 0.12); /* two round trips for the handshake, one for IDs, one to open */
    for (int end = 0; end < 2; end++) {
        WORLD_CHECK(&l.w, mp_negotiated(l.conn[end]));
        WORLD_CHECK(&l.w, l.news[end] == n - 1);
        WORLD_CHECK(&l.w, l.valid[end] == n - 1);
        for (size_t i = 0; i < n; i++) {
            struct quic_path_view v = view(&l, end, l.path[i]);
            WORLD_CHECK(&l.w, v.usable && v.validated && v.id == i && !v.silent);
            WORLD_CHECK(&l.w, v.dgram_max_bytes > 1100);
        }
    }
    WORLD_CHECK(&l.w, lanes_check(&l));
    lanes_free(&l);
}

static void test_opens(void **state)
{
    (void)state;
    world_each_seed(7, opens);
}

/* Streams both ways over links of any kind. */
static void streams(uint64_t seed)
{
    struct lanes l;
    lanes_init(&l, seed, 2 + seed % 7);
    for (size_t i = 0; i < l.n; i++)
        for (int d = UP; d <= DOWN; d++) {
            struct sim_link *link = l.lane[i].link[d];
            link->bps = 2 * MB + sim_rng_below(&l.w.sim.rng, 20 * MB);
            link->delay = NS_PER_MS * (1 + sim_rng_below(&l.w.sim.rng, 60));
            link->loss_ppm = (uint32_t)sim_rng_below(&l.w.sim.rng, 2 * PPM);
            link->jitter = sim_rng_below(&l.w.sim.rng, NS_PER_MS);
        }
    l.w.xfer.streams = 4;
    l.w.xfer.up = l.w.xfer.down = MB / 2;
    lanes_start(&l);
    WORLD_CHECK(&l.w, world_run(&l.w, 60 * NS_PER_S));
    WORLD_CHECK(&l.w, lanes_check(&l));
    WORLD_CHECK(&l.w, !l.w.xfer.end[0].closed && !l.w.xfer.end[1].closed);
    lanes_free(&l);
}

static void test_streams(void **state)
{
    (void)state;
    world_each_seed(6, streams);
}

/* All the DATAGRAMs that fit, both ways: nearly the sum of the links. */
static void aggregate(uint64_t seed)
{
    struct lanes l;
    double sum = 0;
    lanes_init(&l, seed, 2 + seed % 4);
    for (size_t i = 0; i < l.n; i++) {
        uint64_t bps = 5 * MB + sim_rng_below(&l.w.sim.rng, 20 * MB);
        ns_t delay = NS_PER_MS * (2 + sim_rng_below(&l.w.sim.rng, 30));
        for (int d = UP; d <= DOWN; d++) {
            l.lane[i].link[d]->bps = bps;
            l.lane[i].link[d]->delay = delay;
            l.lane[i].link[d]->queue = 50000 + bps / 8 / 20;
        }
        sum += (double)bps;
    }
    l.w.client_cfg.conn.cc = l.w.server_cfg.conn.cc = seed % 2 ? "cubic" : "bbr";
    lanes_start(&l);
    l.flood[0].on = true;
    lanes_run(&l, 3);
    uint64_t before = l.flood[0].bytes;
    lanes_run(&l, 3);
    double share = (double)(l.flood[0].bytes - before) * 8 / 3 / sum;
    if (share < 0.9)
        print_error("share %.3f of %.1f Mbit/s over %zu\n", share, sum / 1e6, l.n);
    WORLD_CHECK(&l.w, share >= 0.9);
    for (size_t i = 0; i < l.n; i++)
        WORLD_CHECK(&l.w, l.flood[0].by_lane[i] > 0);
    WORLD_CHECK(&l.w, lanes_check(&l));
    lanes_free(&l);
}

static void test_aggregate(void **state)
{
    (void)state;
    world_each_seed(3, aggregate);
}

/* A path goes silent: the rest carries on, what it had is repaired, and it comes back. */
static void dies(uint64_t seed)
{
    struct lanes l;
    lanes_init(&l, seed, 3);
    size_t victim = seed % 3;
    l.w.xfer.streams = 2;
    l.w.xfer.up = l.w.xfer.down = 4 * MB;
    lanes_start(&l);
    lanes_run(&l, 0.8);
    WORLD_CHECK(&l.w, l.valid[0] == 2 && l.valid[1] == 2);
    l.lane[victim].cut[UP] = l.lane[victim].cut[DOWN] = true;
    uint64_t bytes = l.w.xfer.bytes[0] + l.w.xfer.bytes[1];
    lanes_run(&l, 1.5);
    for (int end = 0; end < 2; end++)
        WORLD_CHECK(&l.w, view(&l, end, l.path[victim]).silent);
    WORLD_CHECK(&l.w, l.w.xfer.bytes[0] + l.w.xfer.bytes[1] > bytes + MB);
    l.lane[victim].cut[UP] = l.lane[victim].cut[DOWN] = false;
    lanes_run(&l, 1);
    for (int end = 0; end < 2; end++)
        WORLD_CHECK(&l.w, !view(&l, end, l.path[victim]).silent);
    WORLD_CHECK(&l.w, world_run(&l.w, 30 * NS_PER_S));
    WORLD_CHECK(&l.w, l.gone[0] + l.gone[1] == 0);
    WORLD_CHECK(&l.w, lanes_check(&l));
    lanes_free(&l);
}

static void test_dies(void **state)
{
    (void)state;
    world_each_seed(3, dies);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opens),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_aggregate),
        cmocka_unit_test(test_dies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
