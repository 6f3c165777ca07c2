/*
 * Test cases of the QUIC interop runner that no other scenario covers, under its conditions:
 * docs/testing.md has the list of all of them.
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

#define MB 1000000u

static void workload(struct world *w, size_t streams, uint64_t up, uint64_t down)
{
    w->xfer.streams = streams;
    w->xfer.up = up;
    w->xfer.down = down;
}

static void check_done(struct world *w, bool done)
{
    WORLD_CHECK(w, done);
    WORLD_CHECK(w, !w->sim.livelock && w->xfer.bad_bytes == 0);
    WORLD_CHECK(w, w->server->n_conns == 1);
    WORLD_CHECK(w, !w->xfer.end[0].closed && !w->xfer.end[1].closed);
}

/* transfer: megabytes through windows that are small at first and have to be raised. */
static void transfer(uint64_t seed)
{
    struct world w;
    world_init(&w, seed);
    workload(&w, 3, 100, 10 * MB / 3);
    struct quic_config *c = &w.client_cfg.conn;
    c->conn_window = 16384;
    c->stream_window = 8192;
    c->conn_window_max = c->stream_window_max = 2 << 20;
    world_path(&w, 15 * NS_PER_MS, 10 * MB, 40000);
    world_start(&w, 1);
    check_done(&w, world_run(&w, 60 * NS_PER_S));
    WORLD_CHECK(&w, w.client->conn[0]->streams.conn_rx.limit > 10 * MB);
    world_free(&w);
}

static void test_transfer(void **state)
{
    (void)state;
    world_each_seed(2, transfer);
}

/* chacha20: the client offers that suite alone. */
static void chacha20(uint64_t seed)
{
    struct world w;
    world_init(&w, seed);
    workload(&w, 1, 100, 3 * MB);
    w.client_cfg.conn.tls = world_tls_chacha20();
    world_path(&w, 15 * NS_PER_MS, 10 * MB, 40000);
    world_start(&w, 1);
    check_done(&w, world_run(&w, 30 * NS_PER_S));
    for (int i = 0; i < 2; i++) {
        struct quic_conn *conn = i ? w.server->conn[0] : w.client->conn[0];
        WORLD_CHECK(&w, conn->keys.tx[LEVEL_APP].id == AEAD_CHACHA20_POLY1305);
        WORLD_CHECK(&w, conn->keys.rx[LEVEL_APP].id == AEAD_CHACHA20_POLY1305);
    }
    world_free(&w);
}

static void test_chacha20(void **state)
{
    (void)state;
    world_each_seed(2, chacha20);
}

/* ipv6: no packet has any other address. */
static bool is_v6(void *ctx, struct sim_packet *packet)
{
    unsigned *others = ctx;
    *others += packet->src.family != 6 || packet->dst.family != 6;
    return true;
}

static void ipv6(uint64_t seed)
{
    struct world w;
    unsigned others = 0;
    world_init(&w, seed);
    workload(&w, 2, 100, 10000);
    w.client_addr = (struct quic_addr){6, {0xfd, 1, [15] = 1}, 40000};
    w.server_addr = (struct quic_addr){6, {0xfd, 1, [15] = 2}, 443};
    for (int dir = UP; dir <= DOWN; dir++)
        world_link(&w, (enum world_dir)dir, sim_filter(&w.sim, is_v6, &others));
    world_path(&w, 15 * NS_PER_MS, 10 * MB, 40000);
    world_start(&w, 1);
    check_done(&w, world_run(&w, 10 * NS_PER_S));
    WORLD_CHECK(&w, others == 0);
    struct quic_path_view view;
    quic_path_view(w.server->conn[0], 0, w.sim.now, &view);
    WORLD_CHECK(&w, quic_addr_eq(&view.route.remote, &w.client_addr) && view.validated);
    world_free(&w);
}

static void test_ipv6(void **state)
{
    (void)state;
    world_each_seed(2, ipv6);
}

/* rebind-port: ten megabytes, another port after a second and then every five. */
struct rebinding {
    struct sim_nat nat;
    struct world *w;
    ns_t next;
    unsigned n;
};

static bool rebind(void *ctx)
{
    struct rebinding *r = ctx;
    struct world *w = r->w;
    if (w->sim.now >= r->next) {
        struct quic_addr out = sim_addr(100, (uint16_t)(5000 + ++r->n));
        r->next = w->sim.now + 5 * NS_PER_S;
        sim_nat_rebind(&r->nat, &out);
    }
    return xfer_done(&w->xfer);
}

/*
 * The runner's client downloads, and acknowledges all the time: that carries it over to the
 * server. Each route the server moved to, it challenged before it was taken for the client's.
 */
static void rebind_port(uint64_t seed)
{
    struct world w;
    world_init(&w, seed);
    struct rebinding r = {.w = &w, .next = w.sim.now + NS_PER_S};
    struct quic_addr outside = sim_addr(100, 5000);
    sim_nat(&w.sim, &r.nat, &w.client_addr, &outside);
    world_link(&w, UP, r.nat.in);
    world_path(&w, 15 * NS_PER_MS, 10 * MB, 40000);
    world_link(&w, DOWN, r.nat.back);
    workload(&w, 1, 100, 10 * MB);
    w.client_cfg.conn.keep_alive = NS_PER_S;
    world_start(&w, 1);
    check_done(&w, sim_run(&w.sim, w.sim.now + 90 * NS_PER_S, rebind, &r));
    WORLD_CHECK(&w, r.n >= 2);
    struct quic_path_view view;
    quic_path_view(w.server->conn[0], 0, w.sim.now, &view);
    WORLD_CHECK(&w, quic_addr_eq(&view.route.remote, &r.nat.outside) && view.validated);
    world_free(&w);
}

static void test_rebind_port(void **state)
{
    (void)state;
    world_each_seed(2, rebind_port);
}

/* crosstraffic: 25 megabytes beside a flow of CUBIC that was there before: both get on. */
static void crosstraffic(uint64_t seed)
{
    static const char *const cc[] = {"cubic", "bbr"};

    for (size_t i = 0; i < ARRAY_LEN(cc); i++) {
        struct bulk b;
        bulk_init(&b, seed, 10 * MB, 40000, 30 * NS_PER_MS);
        struct bulk_flow *other = bulk_flow(&b, "cubic");
        bulk_run(&b, 5);
        WORLD_CHECK(&b.w, other->got_bytes > MB);
        struct bulk_flow *ours = bulk_flow(&b, cc[i]);
        uint64_t before = other->got_bytes;
        ns_t start = b.w.sim.now;
        while (ours->got_bytes < 25 * MB && b.w.sim.now < start + 90 * NS_PER_S)
            bulk_run(&b, 1);
        WORLD_CHECK(&b.w, ours->got_bytes >= 25 * MB);
        if (getenv("SHOW"))
            print_message("%s: %.0f s, the other had %.1f MB\n", cc[i],
                          (double)(b.w.sim.now - start) / (double)NS_PER_S,
                          (double)(other->got_bytes - before) / MB);
        WORLD_CHECK(&b.w, other->got_bytes - before > 25 * MB / 4);
        WORLD_CHECK(&b.w, bulk_free(&b));
    }
}

static void test_crosstraffic(void **state)
{
    (void)state;
    world_each_seed(2, crosstraffic);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transfer),    cmocka_unit_test(test_chacha20),
        cmocka_unit_test(test_ipv6),        cmocka_unit_test(test_rebind_port), cmocka_unit_test(test_crosstraffic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
