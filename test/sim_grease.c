/* What a connection says at random, so that nobody relies on it (RFC 9000 18.1, RFC 9287). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "quic/conn.h"
#include "test/sim/world.h"

/* First packets of datagrams, by form and QUIC bit. */
struct seen {
    unsigned n[2][2]; /* short, long; clear, set */
};

static bool look(void *ctx, struct sim_packet *packet)
{
    struct seen *s = ctx;
    s->n[packet->p[0] >> 7][packet->p[0] >> 6 & 1]++;
    return true;
}

static void start(struct world *w, uint64_t seed, struct seen seen[2])
{
    world_init(w, seed);
    for (int dir = UP; dir <= DOWN; dir++)
        world_link(w, (enum world_dir)dir, sim_filter(&w->sim, look, &seen[dir]));
    world_path(w, 10 * NS_PER_MS, 0, 0);
    w->xfer.streams = 1;
    w->xfer.up = w->xfer.down = 500000;
    world_start(w, 1);
}

/* About half of the 1-RTT packets, of streams and DATAGRAMs, and no others. */
static void bit(uint64_t seed)
{
    struct world w;
    struct seen seen[2] = {0};
    start(&w, seed, seen);
    w.xfer.dgrams = 500;
    w.xfer.dgram_size = 900;
    w.xfer.dgram_echo = true;
    WORLD_CHECK(&w, world_run(&w, 30 * NS_PER_S));
    WORLD_CHECK(&w, w.xfer.bad_bytes == 0 && w.xfer.dgrams_got[0] == 500);
    for (int dir = UP; dir <= DOWN; dir++) {
        unsigned clear = seen[dir].n[0][0], set = seen[dir].n[0][1];
        WORLD_CHECK(&w, clear + set > 500);
        WORLD_CHECK(&w, clear * 10 > (clear + set) * 3 && clear * 10 < (clear + set) * 7);
        WORLD_CHECK(&w, seen[dir].n[1][0] == 0 && seen[dir].n[1][1] > 0);
    }
    world_free(&w);
}

static void test_bit(void **state)
{
    (void)state;
    world_each_seed(20, bit);
}

/* A peer that has not allowed it always finds the bit. */
static void test_bit_not_allowed(void **state)
{
    (void)state;
    struct world w;
    struct seen seen[2] = {0};
    start(&w, 1, seen);
    while (!w.server || !w.server->n_conns)
        sim_run(&w.sim, w.sim.now + NS_PER_MS, NULL, NULL);
    w.server->conn[0]->peer.grease_quic_bit = false;
    WORLD_CHECK(&w, world_run(&w, 30 * NS_PER_S));
    WORLD_CHECK(&w, seen[UP].n[0][0] > 0);
    WORLD_CHECK(&w, seen[DOWN].n[0][0] == 0 && seen[DOWN].n[0][1] > 100);
    world_free(&w);
}

/* The one reserved transport parameter that an end sends. */
static uint64_t reserved(struct span params)
{
    struct wire_r r = wire_r_span(params);
    uint64_t found = 0;
    while (wire_r_left(&r)) {
        uint64_t id = wire_r_varint(&r);
        wire_r_bytes(&r, (size_t)wire_r_varint(&r));
        if (id % 31 == 27) {
            assert_int_equal(found, 0);
            found = id;
        }
    }
    assert_false(r.failed);
    return found;
}

/* Both ends send one, another each time, and mind none. */
static void test_params(void **state)
{
    (void)state;
    uint64_t last[2] = {0};
    unsigned same = 0;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct world w;
        struct seen seen[2] = {0};
        start(&w, seed, seen);
        sim_run(&w.sim, w.sim.now + 2 * NS_PER_S, NULL, NULL);
        WORLD_CHECK(&w, w.xfer.end[0].confirmed && w.xfer.end[1].confirmed);
        uint64_t id[2] = {reserved(tls_peer_tparams(w.server->conn[0]->tls)),
                          reserved(tls_peer_tparams(w.client->conn[0]->tls))};
        for (int i = 0; i < 2; i++) {
            WORLD_CHECK(&w, id[i] != 0);
            same += id[i] == last[i];
            last[i] = id[i];
        }
        world_free(&w);
    }
    assert_true(same < 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bit),
        cmocka_unit_test(test_bit_not_allowed),
        cmocka_unit_test(test_params),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
