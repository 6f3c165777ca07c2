/*
 * How long handshakes take where packets get lost: the probe timeouts of both ends, and what
 * is repeated before them. SHOW=1 prints the figures.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "quic/conn.h"
#include "test/sim/evil.h"
#include "test/sim/world.h"

#define PPM      10000u /* per cent, in millionths */
#define DELAY    (15 * NS_PER_MS)
#define PATIENCE (10 * NS_PER_S) /* what either end grants a handshake, by default */
#define MOST     100000

/* Both ends have completed the handshake, or one has given up. */
static bool over(void *ctx)
{
    const struct world *w = ctx;
    size_t up = 0;
    for (size_t i = 0; i < w->xfer.n_ends; i++) {
        up += w->xfer.end[i].established;
        if (w->xfer.end[i].closed)
            return true;
    }
    return up == 2;
}

/* Returns the time it took; NS_NEVER if one end gave up. */
static ns_t handshake(struct world *w)
{
    world_path(w, DELAY, 0, 0);
    world_start(w, 1);
    ns_t start = w->sim.now;
    bool done = sim_run(&w->sim, start + 2 * PATIENCE, over, w);
    for (size_t i = 0; i < w->xfer.n_ends; i++)
        done &= !w->xfer.end[i].closed;
    WORLD_CHECK(w, !w->sim.livelock);
    return done ? w->sim.now - start : NS_NEVER;
}

/* ---- how often it fails, and how long it takes --------------------------------------- */

struct weather {
    const char *name;
    uint32_t loss, corrupt;
    unsigned burst;      /* most that are lost in a row; 0: any number */
    ns_t median, ninety; /* upper bounds */
};

/* Nearly all that fails has lost all that the client sent at 0, 1, 3 and 7 s, or the answers. */
static const struct weather weathers[] = {
    {"loss 20 %, at most 3 in a row", 20 * PPM, 0, 3, 150 * NS_PER_MS, 1500 * NS_PER_MS},
    {"loss 30 %, at most 3 in a row", 30 * PPM, 0, 3, 230 * NS_PER_MS, 2 * NS_PER_S},
    {"loss 30 %", 30 * PPM, 0, 0, 230 * NS_PER_MS, 2 * NS_PER_S},
    {"corruption 30 %", 0, 30 * PPM, 0, 230 * NS_PER_MS, 2 * NS_PER_S},
};

static ns_t in_weather(const struct weather *we, uint64_t seed)
{
    struct world w;
    world_init(&w, seed);
    for (int dir = UP; dir <= DOWN; dir++) {
        if (we->loss)
            world_link(&w, (enum world_dir)dir, sim_loss(&w.sim, we->loss, we->burst));
        if (we->corrupt)
            world_link(&w, (enum world_dir)dir, sim_corrupt(&w.sim, we->corrupt));
    }
    ns_t took = handshake(&w);
    if (took == NS_NEVER && getenv("SHOW"))
        print_error("  seed %llu: client %s, server %s\n", (unsigned long long)seed,
                    w.xfer.end[0].established ? "done" : "not done",
                    w.xfer.n_ends < 2           ? "unaware"
                    : w.xfer.end[1].established ? "done"
                                                : "not done");
    world_free(&w);
    return took;
}

static int by_time(const void *a, const void *b)
{
    const ns_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static double seconds(ns_t t)
{
    return (double)t / (double)NS_PER_S;
}

static void test_weathers(void **state)
{
    (void)state;
    uint64_t from, to;
    world_seeds(150, &from, &to);
    size_t n = (size_t)(to - from + 1);
    assert_true(to >= from && n <= MOST);
    ns_t *t = calloc(n, sizeof(*t));
    assert_non_null(t);
    for (size_t k = 0; k < ARRAY_LEN(weathers); k++) {
        const struct weather *we = &weathers[k];
        size_t failed = 0;
        for (size_t i = 0; i < n; i++) {
            t[i] = in_weather(we, from + i);
            failed += t[i] == NS_NEVER;
        }
        qsort(t, n, sizeof(*t), by_time);
        bool bad = failed > 1 + n / 200 ||
                   (n >= 100 && (t[n / 2] > we->median || t[n * 9 / 10] > we->ninety));
        if (bad || getenv("SHOW"))
            print_error("%-30s %zu of %zu failed; median %.3f s, 90 %% %.3f s, 99 %% %.3f s\n",
                        we->name, failed, n, seconds(t[n / 2]), seconds(t[n * 9 / 10]),
                        seconds(t[n * 99 / 100]));
        assert_false(bad);
    }
    free(t);
}

/* ---- repeated early ------------------------------------------------------------------ */

/*
 * Without an estimate of the round-trip time a timeout takes a second. What a later packet
 * shows to be missing comes sooner.
 */
static void test_gap_is_noticed(void **state)
{
    static const struct {
        enum world_dir dir;
        uint64_t lost; /* bits: packets of that direction */
        ns_t most;
    } cases[] = {
        {UP, 0, 3 * DELAY},      /* nothing lost */
        {DOWN, 0x1, 5 * DELAY},  /* ServerHello: Handshake packets come and can't be read */
        {DOWN, 0x2, 10 * DELAY}, /* those: the server has an estimate by an Initial's ACK */
        {UP, 0x4, 10 * DELAY},   /* what follows the ClientHello */
        {UP, 0x8, 10 * DELAY},   {UP, 0xc, 12 * DELAY},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct world w;
        world_init(&w, i + 1);
        world_link(&w, cases[i].dir, sim_mask(&w.sim, cases[i].lost));
        ns_t took = handshake(&w);
        if (took > cases[i].most || getenv("SHOW"))
            print_error("case %zu: %.3f s\n", i, seconds(took));
        assert_true(took <= cases[i].most);
        world_free(&w);
    }
}

/* Someone who repeats himself for ever gets a handful of flights for it. */
static void test_bounded(void **state)
{
    static const uint8_t ping[] = {FRAME_PING};
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, DOWN, sim_hole(&w.sim, 0, NS_NEVER));
    world_path(&w, DELAY, 0, 0);
    world_start(&w, 1);
    sim_run(&w.sim, w.sim.now + 100 * NS_PER_MS, NULL, NULL);
    assert_int_equal(w.server->n_conns, 1);
    struct evil e = {.level = LEVEL_INITIAL, .pad = true};
    uint64_t flight = w.server->datagrams;
    assert_true(flight >= 2 && flight <= 4);
    for (int i = 0; i < 60; i++) {
        evil_send(w.client->conn[0], w.server->conn[0], &e, span_of(ping, sizeof(ping)),
                  w.sim.now);
        sim_host_wake(w.server);
        sim_run(&w.sim, w.sim.now + 10 * NS_PER_MS, NULL, NULL);
    }
    /* One answer for each: an acknowledgement, or with eight of them a flight. */
    uint64_t after = w.server->datagrams - flight;
    if (getenv("SHOW"))
        print_error("flight of %llu, then %llu\n", (unsigned long long)flight,
                    (unsigned long long)after);
    assert_true(after >= 60 && after <= 60 + 8 * flight);
    assert_int_equal(w.server->conn[0]->early, 8);
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weathers),
        cmocka_unit_test(test_gap_is_noticed),
        cmocka_unit_test(test_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
