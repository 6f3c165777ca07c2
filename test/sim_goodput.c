/*
 * How much of a long fast path one connection gets, with real connections: a stream of data
 * from server to client over 100 Mbit/s and 50 ms of round trip. SHOW=1 prints the figures.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "quic/conn.h"
#include "test/sim/world.h"

#define MB    1000000u
#define RATE  (100 * MB) /* bits per second */
#define DELAY (25 * NS_PER_MS)
#define BDP   625000u /* bytes */
#define RAMP  (5 * NS_PER_S)
#define REST  (15 * NS_PER_S)

struct path {
    const char *cc;
    size_t queue;
    double all, after; /* shares of the link at least: of RAMP + REST, and of REST */
};

static const struct path *path;

static double share(uint64_t bytes, ns_t time)
{
    return 8.0 * (double)bytes / ((double)time / NS_PER_S) / RATE;
}

static void fill(uint64_t seed)
{
    const struct path *p = path;
    struct world w;
    world_init(&w, seed);
    world_path(&w, DELAY, RATE, p->queue);
    w.client_cfg.conn.cc = w.server_cfg.conn.cc = p->cc;
    w.xfer.streams = 1;
    w.xfer.down = 1000 * MB; /* more than fits */
    w.client_cfg.conn.conn_window = w.client_cfg.conn.stream_window = 8 << 20;
    w.server_cfg.conn.stream_send_buffer = 8 << 20;
    world_start(&w, 1);
    WORLD_CHECK(&w, !world_run(&w, RAMP));
    uint64_t ramp = w.xfer.bytes[1];
    WORLD_CHECK(&w, !world_run(&w, REST));
    double all = share(w.xfer.bytes[1], RAMP + REST);
    double after = share(w.xfer.bytes[1] - ramp, REST);
    const struct recovery *r = &w.server->conn[0]->path[0].recovery;
    bool bad = all < p->all || after < p->after;
    if (bad || getenv("SHOW"))
        print_error("%-8s queue %7zu: %.3f of the link in 20 s; %.3f in the first 5 s, %.3f "
                    "after; lost %llu of %llu; %.1f packets a train\n",
                    p->cc, p->queue, all, share(ramp, RAMP), after,
                    (unsigned long long)r->packets_lost, (unsigned long long)r->packets_sent,
                    (double)w.server->datagrams / (double)w.server->trains);
    /* Not packet by packet. */
    WORLD_CHECK(&w, w.server->datagrams > 6 * w.server->trains);
    WORLD_CHECK(&w, !bad && w.xfer.bad_bytes == 0 && recovery_check(r));
    world_free(&w);
}

static void test_paths(void **state)
{
    static const struct path paths[] = {
        /* 0.979 is all that headers leave */
        {"cubic", BDP, 0.95, 0.97},
        {"newreno", BDP, 0.95, 0.97},
        {"cubic", BDP / 4, 0.93, 0.95},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        path = &paths[i];
        world_each_seed(1, fill);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_paths)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
