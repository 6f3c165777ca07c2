/* Streams over all sorts of networks: every byte arrives, in order, and fast enough. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "quic/conn.h"
#include "test/sim/world.h"

#define PPM 10000u /* per cent, in millionths */
#define MB  1000000u

/* One kind of network. */
struct network {
    const char *name;
    ns_t delay;
    uint64_t bps;
    size_t queue;
    uint32_t loss, reorder, duplicate, corrupt; /* per million */
    ns_t late;                                  /* of what is reordered */
    size_t streams;
    uint64_t up, down;
    ns_t limit;
    bool clean; /* nothing may be declared lost */
};

// clang-format off
static const struct network networks[] = {
    /*
     *                delay           bit/s     queue    loss     reord    dup      corr    late
     * streams  up      down    limit           clean
     */
    {"clean",         10 * NS_PER_MS,        0,       0, 0,       0,       0,       0,      0,              1,  2 * MB, 3 * MB,  60 * NS_PER_S, true},
    {"two streams",   10 * NS_PER_MS,        0,       0, 0,       0,       0,       0,      0,              2,  1 * MB, 1 * MB,  60 * NS_PER_S, true},
    {"slow",          20 * NS_PER_MS,  2000000,   40000, 0,       0,       0,       0,      0,              1, 500000,  500000, 120 * NS_PER_S, false},
    {"loss",          15 * NS_PER_MS, 10000000,  100000, 2 * PPM, 0,       0,       0,      0,              1,  1 * MB, 1 * MB, 120 * NS_PER_S, false},
    {"heavy loss",    15 * NS_PER_MS, 10000000,  100000, 15 * PPM, 0,      0,       0,      0,              1, 100000,  100000, 200 * NS_PER_S, false},
    {"reorder",       15 * NS_PER_MS, 20000000,  200000, 0,       5 * PPM, 0,       0, 5 * NS_PER_MS,       1,  1 * MB, 1 * MB, 120 * NS_PER_S, false},
    {"duplicate",     15 * NS_PER_MS, 20000000,  200000, 0,       0,       10 * PPM, 0,     0,              1,  1 * MB, 1 * MB,  60 * NS_PER_S, false},
    {"corrupt",       15 * NS_PER_MS, 20000000,  200000, 0,       0,       0,       2 * PPM, 0,             1,  1 * MB, 1 * MB, 120 * NS_PER_S, false},
    {"everything",    25 * NS_PER_MS, 10000000,  100000, 1 * PPM, 2 * PPM, 2 * PPM, 1 * PPM, 8 * NS_PER_MS, 4, 200000,  200000, 200 * NS_PER_S, false},
    {"long",         750 * NS_PER_MS, 10000000, 1000000, 0,       0,       0,       0,      0,              1, 500000,  500000, 120 * NS_PER_S, false},
    {"many streams",  15 * NS_PER_MS,        0,       0, 0,       0,       0,       0,      0,           1999,     32,      32,  60 * NS_PER_S, false},
    {"many, lossy",   15 * NS_PER_MS,        0,       0, 3 * PPM, 0,       0,       0,      0,            500,    100,     500, 120 * NS_PER_S, false},
};
// clang-format on

static const struct network *net;

static void build(struct world *w, const struct network *n)
{
    for (int d = UP; d <= DOWN; d++) {
        enum world_dir dir = (enum world_dir)d;
        if (n->bps)
            world_link(w, dir, sim_rate(&w->sim, n->bps, n->queue));
        world_link(w, dir, sim_delay(&w->sim, n->delay));
        if (n->loss)
            world_link(w, dir, sim_loss(&w->sim, n->loss, 3));
        if (n->duplicate)
            world_link(w, dir, sim_duplicate(&w->sim, n->duplicate));
        if (n->corrupt)
            world_link(w, dir, sim_corrupt(&w->sim, n->corrupt));
        if (n->reorder)
            world_link(w, dir, sim_reorder(&w->sim, n->reorder, n->late));
    }
}

static void check_inside(struct world *w, struct quic_conn *conn)
{
    WORLD_CHECK(w, streams_check(&conn->streams));
    WORLD_CHECK(w, recovery_check(&conn->path[0].recovery));
    WORLD_CHECK(w, ackrx_check(&conn->path[0].ack[SPACE_APP]));
    WORLD_CHECK(w, cid_local_check(&conn->path[0].ours));
    WORLD_CHECK(w, cid_remote_check(&conn->path[0].theirs));
}

static void transfer(uint64_t seed)
{
    struct world w;
    world_init(&w, seed);
    build(&w, net);
    w.xfer.streams = net->streams;
    w.xfer.up = net->up;
    w.xfer.down = net->down;
    w.client_cfg.conn.handshake = w.server_cfg.conn.handshake = 60 * NS_PER_S;
    world_start(&w, 1);
    bool done = world_run(&w, net->limit);
    struct quic_path_view view[2];
    quic_path_view(w.client->conn[0], 0, w.sim.now, &view[0]);
    if (!done)
        print_error("%s: %llu of %llu up, %llu of %llu down\n", net->name,
                    (unsigned long long)w.xfer.bytes[0],
                    (unsigned long long)(net->streams * (net->up + 8)),
                    (unsigned long long)w.xfer.bytes[1],
                    (unsigned long long)(net->streams * net->down));
    WORLD_CHECK(&w, done);
    WORLD_CHECK(&w, !w.sim.livelock && w.xfer.bad_bytes == 0);
    WORLD_CHECK(&w, w.server->n_conns == 1);
    quic_path_view(w.server->conn[0], 0, w.sim.now, &view[1]);
    for (int i = 0; i < 2; i++) {
        if (net->clean && view[i].packets_lost)
            print_error("%s: side %d lost %llu\n", net->name, i,
                        (unsigned long long)view[i].packets_lost);
        WORLD_CHECK(&w, !net->clean || view[i].packets_lost == 0);
    }
    /* Let acknowledgements settle: then nothing may be held any more. */
    sim_run(&w.sim, w.sim.now + 5 * NS_PER_S, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        struct quic_conn *conn = i ? w.server->conn[0] : w.client->conn[0];
        check_inside(&w, conn);
        WORLD_CHECK(&w, !w.xfer.end[i].closed);
        WORLD_CHECK(&w, conn->streams.count == 0);
    }
    world_free(&w);
}

static void test_networks(void **state)
{
    (void)state;
    const char *only = getenv("NETWORK");
    for (size_t i = 0; i < ARRAY_LEN(networks); i++) {
        net = &networks[i];
        if (only && atoi(only) != (int)i)
            continue;
        world_each_seed(2, transfer);
    }
}

/* A hundred megabits with 50 ms of round trip, and what of it gets used. */
struct speed {
    const char *cc;
    uint32_t loss; /* per million */
    double share;
};

static const struct speed *speed;

static void goodput(uint64_t seed)
{
    struct world w;
    world_init(&w, seed);
    if (speed->loss)
        world_link(&w, DOWN, sim_loss(&w.sim, speed->loss, 100));
    world_path(&w, 25 * NS_PER_MS, 100 * MB, 625000);
    w.client_cfg.conn.cc = w.server_cfg.conn.cc = speed->cc;
    w.xfer.streams = 1;
    w.xfer.up = 0;
    w.xfer.down = 60 * MB; /* the client sees the end of it */
    w.client_cfg.conn.conn_window = w.client_cfg.conn.stream_window = 4 << 20;
    w.server_cfg.conn.stream_send_buffer = 4 << 20;
    world_start(&w, 1);
    ns_t start = w.sim.now;
    WORLD_CHECK(&w, world_run(&w, 20 * NS_PER_S));
    double seconds = (double)(w.sim.now - start) / (double)NS_PER_S;
    double bps = 60.0 * MB * 8 / seconds;
    if (bps < speed->share * 100 * MB || getenv("SHOW"))
        print_error("%s: %.1f Mbit/s\n", speed->cc, bps / MB);
    WORLD_CHECK(&w, bps >= speed->share * 100 * MB);
    check_inside(&w, w.client->conn[0]);
    world_free(&w);
}

static void test_goodput(void **state)
{
    static const struct speed speeds[] = {
        {"cubic", 0, 0.85}, {"bbr", 0, 0.85}, {"bbr", 2 * PPM, 0.80}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(speeds); i++) {
        speed = &speeds[i];
        world_each_seed(1, goodput);
    }
}

/* The network goes away for some seconds, twice, as in the interop runner. */
static void black_hole(uint64_t seed)
{
    struct world w;
    world_init(&w, seed);
    for (int dir = UP; dir <= DOWN; dir++) {
        world_link(&w, (enum world_dir)dir,
                   sim_hole(&w.sim, w.sim.now + NS_PER_S, w.sim.now + 3 * NS_PER_S));
        world_link(&w, (enum world_dir)dir,
                   sim_hole(&w.sim, w.sim.now + 6 * NS_PER_S, w.sim.now + 8 * NS_PER_S));
    }
    world_path(&w, 15 * NS_PER_MS, 10 * MB, 100000);
    w.xfer.streams = 1;
    w.xfer.up = 2 * MB;
    w.xfer.down = 4 * MB;
    world_start(&w, 1);
    WORLD_CHECK(&w, world_run(&w, 60 * NS_PER_S));
    WORLD_CHECK(&w, w.xfer.bad_bytes == 0);
    world_free(&w);
}

static void test_black_hole(void **state)
{
    (void)state;
    world_each_seed(3, black_hole);
}

/* Megabytes later the connection holds what it held before. */
static void test_memory(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    world_path(&w, 5 * NS_PER_MS, 50 * MB, 100000);
    w.xfer.up = w.xfer.down = 200000;
    world_start(&w, 1);
    uint64_t first[2] = {0, 0};
    for (size_t round = 1; round <= 20; round++) {
        assert_true(world_again(&w, 5 * round, 20 * NS_PER_S));
        sim_run(&w.sim, w.sim.now + 12 * NS_PER_S, NULL, NULL);
        for (int i = 0; i < 2; i++) {
            struct quic_stats stats;
            quic_stats(i ? w.server->conn[0] : w.client->conn[0], &stats);
            if (round == 3)
                first[i] = stats.memory_bytes;
            if (round > 3 && stats.memory_bytes > first[i] + 4096)
                print_error("round %zu side %d: %zu bytes\n", round, i, stats.memory_bytes);
            assert_true(round <= 3 || stats.memory_bytes <= first[i] + 4096);
        }
    }
    assert_int_equal(w.xfer.bad_bytes, 0);
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_goodput),
        cmocka_unit_test(test_black_hole),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
