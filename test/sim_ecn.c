/* ECN over networks that mark, wash off, change or drop it; and over routes that differ. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quic/conn.h"
#include "test/sim/world.h"

#define PPM 10000u /* per cent, in millionths */
#define MB  1000000u

static const struct quic_path *path_of(const struct sim_host *host)
{
    return &host->conn[0]->path[0];
}

static void transfer(struct world *w, ns_t limit)
{
    w->xfer.streams = 1;
    w->xfer.up = w->xfer.down = MB;
    world_start(w, 1);
    WORLD_CHECK(w, world_run(w, limit));
    WORLD_CHECK(w, w->xfer.bad_bytes == 0 && !w->sim.livelock);
    WORLD_CHECK(w, !w->xfer.end[0].closed && !w->xfer.end[1].closed);
}

/* What the network does to packets of the client, and what he makes of it. */
static const struct {
    const char *name;
    enum sim_ecn what;
    uint32_t ppm, loss;
    enum ecn_state client;
    ns_t limit;
} networks[] = {
    {"clean", SIM_ECN_MARK, 0, 0, ECN_CAPABLE, 5 * NS_PER_S},
    {"clean, 2 % loss", SIM_ECN_MARK, 0, 2 * PPM, ECN_CAPABLE, 30 * NS_PER_S},
    {"1 % marked CE", SIM_ECN_MARK, 1 * PPM, 0, ECN_CAPABLE, 30 * NS_PER_S},
    {"everything CE", SIM_ECN_MARK, 100 * PPM, 0, ECN_FAILED, 10 * NS_PER_S},
    {"bleached", SIM_ECN_BLEACH, 100 * PPM, 0, ECN_FAILED, 5 * NS_PER_S},
    {"now and then bleached", SIM_ECN_BLEACH, 5 * PPM, 0, ECN_FAILED, 5 * NS_PER_S},
    {"ECT(1) instead", SIM_ECN_MANGLE, 100 * PPM, 0, ECN_FAILED, 5 * NS_PER_S},
    {"ECT(1) now and then", SIM_ECN_MANGLE, 5 * PPM, 0, ECN_FAILED, 5 * NS_PER_S},
    {"ECT is dropped", SIM_ECN_DROP, 100 * PPM, 0, ECN_FAILED, 15 * NS_PER_S},
};

static size_t which;

static void scenario(uint64_t seed)
{
    struct world w;
    world_init(&w, seed);
    world_link(&w, UP, sim_ecn(&w.sim, networks[which].what, networks[which].ppm));
    for (int d = UP; d <= DOWN; d++)
        world_link(&w, (enum world_dir)d, sim_loss(&w.sim, networks[which].loss, 0));
    world_path(&w, 10 * NS_PER_MS, 50 * MB, 500000);
    transfer(&w, networks[which].limit);
    const struct quic_path *client = path_of(w.client), *server = path_of(w.server);
    if (client->recovery.ecn.state != networks[which].client)
        print_error("%s: state %d\n", networks[which].name, (int)client->recovery.ecn.state);
    WORLD_CHECK(&w, client->recovery.ecn.state == networks[which].client);
    WORLD_CHECK(&w, server->recovery.ecn.state == ECN_CAPABLE);
    struct quic_path_view view;
    quic_path_view(w.client->conn[0], 0, w.sim.now, &view);
    WORLD_CHECK(&w, view.ecn == (networks[which].client == ECN_CAPABLE));
    bool marks = networks[which].what == SIM_ECN_MARK && networks[which].ppm;
    WORLD_CHECK(&w, (view.packets_ce > 0) == marks);
    if (marks && view.ecn) { /* each was told once, and the window fell without a loss */
        const struct ecn_space *handshake = client->recovery.ecn.space;
        WORLD_CHECK(&w, view.packets_ce <= handshake[SPACE_INITIAL].ce +
                                               handshake[SPACE_HANDSHAKE].ce +
                                               server->ack[SPACE_APP].ce);
        WORLD_CHECK(&w, client->recovery.cc.recovered_once);
        WORLD_CHECK(&w, view.packets_lost == 0);
    }
    /* Who has found out doesn't mark: few of what is sent in all. */
    if (!view.ecn && networks[which].ppm == 100 * PPM)
        WORLD_CHECK(&w, w.client->ecn_out[ECN_ECT0] <= 2 * ECN_TEST);
    world_free(&w);
}

static void test_networks(void **state)
{
    (void)state;
    for (which = 0; which < ARRAY_LEN(networks); which++)
        world_each_seed(2, scenario);
}

/* The case "ecn" of the QUIC interop runner: both ends mark, and report, and nothing is CE. */
static void test_interop(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    world_path(&w, 15 * NS_PER_MS, 10 * MB, 100000);
    w.xfer.streams = 1;
    w.xfer.down = 100000;
    world_start(&w, 1);
    assert_true(world_run(&w, 10 * NS_PER_S));
    struct sim_host *ends[] = {w.client, w.server};
    for (int i = 0; i < 2; i++) {
        const struct quic_path *p = path_of(ends[i]);
        assert_int_equal(p->recovery.ecn.state, ECN_CAPABLE);
        assert_true(p->recovery.ecn.space[SPACE_APP].ect0 > 0);
        assert_int_equal(p->recovery.ecn.space[SPACE_APP].ce, 0);
        assert_true(ends[i]->ecn_out[ECN_ECT0] > ends[i]->ecn_out[ECN_NOT_ECT]);
        assert_int_equal(ends[i]->ecn_in & ECN_ECT1, 0); /* no ECT(1), no CE */
    }
    world_free(&w);
}

/* Off is off: nothing is marked, but marks of the peer are reported. */
static void test_off(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    w.client_cfg.conn.ecn = false;
    world_path(&w, 10 * NS_PER_MS, 50 * MB, 500000);
    transfer(&w, 5 * NS_PER_S);
    assert_int_equal(w.server->ecn_in, 0);
    assert_int_equal(path_of(w.client)->recovery.ecn.state, ECN_OFF);
    assert_int_equal(path_of(w.server)->recovery.ecn.state, ECN_CAPABLE);
    world_free(&w);
}

/*
 * The client moves from a route that washes marks off to one that doesn't, and back: each is
 * found out anew, by both ends (the server answers by the new route, too).
 */
struct moving {
    struct world *w;
    bool dirty;
};

static bool wash(void *ctx, struct sim_packet *packet)
{
    struct moving *m = ctx;
    if (m->dirty == (packet->src.ip[3] == 10 || packet->dst.ip[3] == 10))
        packet->ecn = ECN_NOT_ECT;
    return true;
}

static void move(uint64_t seed)
{
    struct world w;
    world_init(&w, seed);
    bool dirty_first = seed % 2;
    struct moving m = {.w = &w, .dirty = !dirty_first};
    world_link(&w, UP, sim_filter(&w.sim, wash, &m));
    world_link(&w, DOWN, sim_filter(&w.sim, wash, &m));
    world_path(&w, 15 * NS_PER_MS, 10 * MB, 100000);
    w.xfer.streams = 1;
    w.xfer.up = w.xfer.down = 3 * MB;
    world_start(&w, 1);
    sim_run(&w.sim, w.sim.now + NS_PER_S, NULL, NULL);
    enum ecn_state before = dirty_first ? ECN_FAILED : ECN_CAPABLE;
    enum ecn_state after = dirty_first ? ECN_CAPABLE : ECN_FAILED;
    WORLD_CHECK(&w, path_of(w.client)->recovery.ecn.state == before);
    WORLD_CHECK(&w, path_of(w.server)->recovery.ecn.state == before);
    struct quic_route route = {.local = sim_addr(10, 40001), .remote = w.server_addr};
    WORLD_CHECK(&w, quic_path_move(w.client->conn[0], 0, &route, w.sim.now) == 0);
    WORLD_CHECK(&w, path_of(w.client)->recovery.ecn.state == ECN_TESTING);
    sim_host_wake(w.client);
    WORLD_CHECK(&w, world_run(&w, 30 * NS_PER_S));
    WORLD_CHECK(&w, path_of(w.client)->recovery.ecn.state == after);
    WORLD_CHECK(&w, path_of(w.server)->recovery.ecn.state == after);
    WORLD_CHECK(&w, w.xfer.bad_bytes == 0 && !w.sim.livelock);
    world_free(&w);
}

static void test_move(void **state)
{
    (void)state;
    world_each_seed(4, move);
}

/* In the middle of a connection the path begins to drop what is marked. */
static void late_drop(uint64_t seed)
{
    struct world w;
    world_init(&w, seed);
    struct sim_node *drop = sim_ecn(&w.sim, SIM_ECN_DROP, 0);
    world_link(&w, UP, drop);
    world_path(&w, 15 * NS_PER_MS, 10 * MB, 100000);
    w.xfer.streams = 1;
    w.xfer.up = w.xfer.down = 2 * MB;
    world_start(&w, 1);
    sim_run(&w.sim, w.sim.now + NS_PER_S, NULL, NULL);
    WORLD_CHECK(&w, path_of(w.client)->recovery.ecn.state == ECN_CAPABLE);
    sim_ecn_rate(drop, 100 * PPM);
    WORLD_CHECK(&w, world_run(&w, 30 * NS_PER_S));
    WORLD_CHECK(&w, path_of(w.client)->recovery.ecn.state == ECN_FAILED);
    WORLD_CHECK(&w, w.xfer.bad_bytes == 0 && !w.sim.livelock);
    world_free(&w);
}

static void test_late_drop(void **state)
{
    (void)state;
    world_each_seed(3, late_drop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_networks),  cmocka_unit_test(test_interop),
        cmocka_unit_test(test_off),       cmocka_unit_test(test_move),
        cmocka_unit_test(test_late_drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
