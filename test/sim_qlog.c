/* qlog over bad networks: every record is JSON, and they say what the counters say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "quic/conn.h"
#include "test/quic_trace.h"
#include "test/sim/world.h"

static uint64_t drops(const struct quic_conn *c)
{
    struct quic_stats s;
    quic_stats(c, &s);
    return s.drop_parse + s.drop_cid + s.drop_version + s.drop_keys + s.drop_crypt +
           s.drop_duplicate + s.drop_small;
}

/* What the connection has counted, for when it is gone. */
struct counts {
    struct quic_path_view view;
    struct quic_stats stats;
    uint64_t drops;
};

static void agree(struct world *w, const struct trace *t, const struct counts *c)
{
    WORLD_CHECK(w, trace_count(t, "transport:packet_sent", NULL, NULL) == c->view.packets_sent);
    WORLD_CHECK(w, trace_count(t, "transport:packet_received", NULL, NULL) ==
                       c->view.packets_received);
    WORLD_CHECK(w, trace_count(t, "recovery:packet_lost", NULL, NULL) == c->view.packets_lost);
    WORLD_CHECK(w, trace_count(t, "transport:packet_dropped", NULL, NULL) == c->drops);
    WORLD_CHECK(w,
                trace_count(t, "transport:packet_buffered", NULL, NULL) == c->stats.buffered);
    WORLD_CHECK(w, trace_count(t, "connectivity:connection_closed", NULL, NULL) == 0);
}

/* The latest value that the trace has for a member of recovery:metrics_updated. */
static uint64_t latest(const struct trace *t, const char *path)
{
    struct trace_walk w;
    struct span v;
    uint64_t value = 0;
    for (trace_walk(&w, t); trace_next(&w);)
        if (trace_has(&w, "name", "\"recovery:metrics_updated\"") &&
            json_find(w.p, w.n, path, &v))
            value = strtoull((const char *)v.p, NULL, 10);
    return value;
}

static void lossy(uint64_t seed)
{
    struct world w;
    struct traces t;
    struct counts c[2];
    traces_init(&t);
    world_init(&w, seed);
    w.client_cfg.conn.qlog = w.server_cfg.conn.qlog = &t.sink;
    w.client_cfg.conn.handshake = w.server_cfg.conn.handshake = 60 * NS_PER_S;
    for (int d = UP; d <= DOWN; d++) {
        enum world_dir dir = (enum world_dir)d;
        world_link(&w, dir, sim_rate(&w.sim, 10000000, 60000));
        world_link(&w, dir, sim_delay(&w.sim, 15 * NS_PER_MS));
        world_link(&w, dir, sim_loss(&w.sim, 20000, 2));
        world_link(&w, dir, sim_duplicate(&w.sim, 10000));
        world_link(&w, dir, sim_corrupt(&w.sim, 10000));
        world_link(&w, dir, sim_reorder(&w.sim, 20000, 8 * NS_PER_MS));
    }
    w.xfer.streams = 3;
    w.xfer.up = w.xfer.down = 100000;
    w.xfer.dgrams = 50;
    w.xfer.dgram_size = 500;
    world_start(&w, 1);
    WORLD_CHECK(&w, world_run(&w, 120 * NS_PER_S));
    WORLD_CHECK(&w, t.n == 2 && w.server->n_conns == 1);
    for (int i = 0; i < 2; i++) {
        struct quic_conn *conn = i ? w.server->conn[0] : w.client->conn[0];
        quic_path_view(conn, 0, w.sim.now, &c[i].view);
        quic_stats(conn, &c[i].stats);
        c[i].drops = drops(conn);
        const struct trace *mine = &t.trace[t.trace[0].server == (i == 1) ? 0 : 1];
        agree(&w, mine, &c[i]);
        WORLD_CHECK(&w, latest(mine, "data.congestion_window") == c[i].view.cwnd_bytes);
        WORLD_CHECK(&w, latest(mine, "data.bytes_in_flight") == c[i].view.in_flight_bytes);
    }
    WORLD_CHECK(&w, c[0].view.packets_lost > 0 && c[0].drops + c[1].drops > 0);
    world_free(&w);
    traces_free(&t);
}

static void test_lossy(void **state)
{
    (void)state;
    world_each_seed(4, lossy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lossy)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
