/* The path MTU changes under a connection: it shrinks below what is in use, and grows again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "quic/conn.h"
#include "test/sim/world.h"

static bool small_only(void *ctx, struct sim_packet *packet)
{
    return packet->n <= *(size_t *)ctx;
}

static size_t mtu_of(const struct world *w, const struct sim_host *host)
{
    struct quic_path_view view;
    quic_path_view(host->conn[0], 0, w->sim.now, &view);
    return view.mtu_bytes;
}

/* DATAGRAMs of the largest size for `time`, one every 2 ms; returns how many there were. */
static unsigned send_for(struct world *w, ns_t time)
{
    static uint8_t data[2000];
    struct quic_conn *c = w->client->conn[0];
    ns_t until = w->sim.now + time;
    unsigned n = 0;
    while (w->sim.now < until) {
        size_t max = quic_dgram_max(c, 0);
        WORLD_CHECK(w, max > 1100 && max < sizeof(data));
        n += sim_host_dgram(w->client, c, span_of(data, max), 0) == 1;
        sim_run(&w->sim, w->sim.now + 2 * NS_PER_MS, NULL, NULL);
    }
    return n;
}

static void change(uint64_t seed)
{
    struct world w;
    size_t real = 1452;
    world_init(&w, seed);
    w.client_cfg.conn.max_udp_payload = w.server_cfg.conn.max_udp_payload = 1452;
    w.client_cfg.conn.keep_alive = 5 * NS_PER_S;
    world_link(&w, UP, sim_filter(&w.sim, small_only, &real));
    world_link(&w, DOWN, sim_filter(&w.sim, small_only, &real));
    world_path(&w, 10 * NS_PER_MS, 0, 0);
    world_start(&w, 1);
    sim_run(&w.sim, w.sim.now + 3 * NS_PER_S, NULL, NULL);
    struct quic_stats stats;
    const struct quic_conn *server = w.server->conn[0];
    WORLD_CHECK(&w, mtu_of(&w, w.client) == 1452 && mtu_of(&w, w.server) == 1452);
    WORLD_CHECK(&w, send_for(&w, NS_PER_S) > 300);
    /* It shrinks. Nobody repeats a DATAGRAM: it is noticed all the same, and soon. */
    real = 1300;
    send_for(&w, NS_PER_S);
    quic_stats(server, &stats);
    uint64_t got = stats.dgrams_received;
    WORLD_CHECK(&w, mtu_of(&w, w.client) <= 1300);
    unsigned sent = send_for(&w, NS_PER_S);
    quic_stats(server, &stats);
    WORLD_CHECK(&w, sent > 300 && stats.dgrams_received - got + 5 >= sent);
    WORLD_CHECK(&w, mtu_of(&w, w.client) > 1300 - MTU_STEP - 1);
    /* It grows: that is tried when the raise timer says so (RFC 8899 5.1.1), at rest, too. */
    real = 1452;
    sim_run(&w.sim, w.sim.now + MTU_RAISE / 2, NULL, NULL);
    WORLD_CHECK(&w, mtu_of(&w, w.client) <= 1300);
    sim_run(&w.sim, w.sim.now + MTU_RAISE, NULL, NULL);
    WORLD_CHECK(&w, mtu_of(&w, w.client) == 1452);
    WORLD_CHECK(&w, !w.xfer.end[0].closed && !w.sim.livelock);
    world_free(&w);
}

/*
 * Behind an outage it is smaller, and there are but a few packets, as those of a TCP in the tunnel
 * that waits for its retransmission timeout.
 */
static void outage(uint64_t seed)
{
    struct world w;
    size_t real = 1452;
    world_init(&w, seed);
    w.client_cfg.conn.max_udp_payload = w.server_cfg.conn.max_udp_payload = 1452;
    world_link(&w, UP, sim_filter(&w.sim, small_only, &real));
    world_path(&w, 10 * NS_PER_MS, 0, 0);
    world_start(&w, 1);
    sim_run(&w.sim, w.sim.now + 3 * NS_PER_S, NULL, NULL);
    WORLD_CHECK(&w, mtu_of(&w, w.client) == 1452);
    send_for(&w, NS_PER_S);
    real = 0;
    for (int i = 0; i < 1000 && w.client->conn[0]->path[0].recovery.pto_count < 2; i++)
        send_for(&w, NS_PER_MS);
    WORLD_CHECK(&w, w.client->conn[0]->path[0].recovery.pto_count >= 2);
    real = 1300;
    for (int i = 0; i < 2; i++) {
        sim_run(&w.sim, w.sim.now + NS_PER_S / 2, NULL, NULL);
        send_for(&w, NS_PER_MS);
    }
    WORLD_CHECK(&w, mtu_of(&w, w.client) <= 1300);
    sim_run(&w.sim, w.sim.now + NS_PER_S, NULL, NULL);
    WORLD_CHECK(&w, mtu_of(&w, w.client) > 1300 - MTU_STEP - 1);
    world_free(&w);
}

static void test_outage(void **state)
{
    (void)state;
    world_each_seed(3, outage);
}

static void test_change(void **state)
{
    (void)state;
    world_each_seed(3, change);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_change), cmocka_unit_test(test_outage)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
