/*
 * Paths that deliver out of order all the time: what comes late is not lost, and the rate
 * stays. SHOW=1 prints the figures.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "quic/conn.h"
#include "test/sim/world.h"

#define PPM   10000u /* per cent, in millionths */
#define MB    1000000u
#define RATE  (50 * MB) /* bits per second */
#define DELAY (20 * NS_PER_MS)
#define QUEUE 250000 /* bytes: a bandwidth-delay product */

struct path {
    const char *cc;
    uint32_t late; /* packets that are held back, per million */
    ns_t by;       /* at most so long */
    uint32_t loss;
    double share;    /* of the link, at least */
    double spurious; /* share of packets called lost that were not, at most */
};

static const struct path *path;

static void transfer(uint64_t seed)
{
    const struct path *p = path;
    struct world w;
    world_init(&w, seed);
    world_path(&w, DELAY, RATE, QUEUE);
    if (p->late)
        world_link(&w, DOWN, sim_reorder(&w.sim, p->late, p->by));
    if (p->loss)
        world_link(&w, DOWN, sim_loss(&w.sim, p->loss, 0));
    w.client_cfg.conn.cc = w.server_cfg.conn.cc = p->cc;
    w.xfer.streams = 1;
    w.xfer.down = 40 * MB;
    w.client_cfg.conn.conn_window = w.client_cfg.conn.stream_window = 4 << 20;
    w.server_cfg.conn.stream_send_buffer = 4 << 20;
    world_start(&w, 1);
    ns_t start = w.sim.now;
    bool done = world_run(&w, 200 * NS_PER_S);
    double share = 8.0 * 40 * MB / ((double)(w.sim.now - start) / NS_PER_S) / RATE;
    const struct recovery *r = &w.server->conn[0]->path[0].recovery;
    double spurious = (double)r->packets_spurious / (double)r->packets_sent;
    if (!done || share < p->share || spurious > p->spurious || getenv("SHOW"))
        print_error("%-8s %2u %% late by %2u ms, loss %u.%u %%: share %.3f, lost %llu, of them "
                    "spurious %llu, of %llu\n",
                    p->cc, p->late / PPM, (unsigned)(p->by / NS_PER_MS), p->loss / PPM,
                    p->loss / (PPM / 10) % 10, share, (unsigned long long)r->packets_lost,
                    (unsigned long long)r->packets_spurious,
                    (unsigned long long)r->packets_sent);
    WORLD_CHECK(&w, done && w.xfer.bad_bytes == 0 && recovery_check(r));
    WORLD_CHECK(&w, share >= p->share && spurious <= p->spurious);
    world_free(&w);
}

static void test_paths(void **state)
{
    static const struct path paths[] = {
        {"cubic", 1 * PPM, 5 * NS_PER_MS, 0, 0.90, 0.01},
        {"cubic", 20 * PPM, 5 * NS_PER_MS, 0, 0.90, 0.01},
        {"cubic", 50 * PPM, 15 * NS_PER_MS, 0, 0.90, 0.01},
        {"cubic", 10 * PPM, 40 * NS_PER_MS, 0, 0.88, 0.01},
        {"newreno", 20 * PPM, 5 * NS_PER_MS, 0, 0.90, 0.01},
        {"bbr", 20 * PPM, 5 * NS_PER_MS, 0, 0.88, 0.01},
        {"cubic", 20 * PPM, 5 * NS_PER_MS, PPM / 10, 0.15, 0.01}, /* and some are lost */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        path = &paths[i];
        world_each_seed(1, transfer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_paths)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
