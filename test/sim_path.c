/* Addresses that change under a connection, path MTU, and keys that do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "quic/conn.h"
#include "test/sim/world.h"

#define PPM 10000u /* per cent, in millionths */
#define MB  1000000u

/* ---- NAT rebinding ------------------------------------------------------------------- */

struct rebinding {
    struct sim_nat nat;
    struct world *w;
    bool host; /* the address changes, not just the port */
    ns_t next;
    unsigned n, max;
};

static bool rebind_and_done(void *ctx)
{
    struct rebinding *r = ctx;
    struct world *w = r->w;
    if (r->n < r->max && w->sim.now >= r->next) {
        r->n++;
        r->next = w->sim.now + NS_PER_S;
        struct quic_addr out =
            sim_addr((uint8_t)(r->host ? 100 + r->n : 100), (uint16_t)(5000 + r->n));
        sim_nat_rebind(&r->nat, &out);
    }
    return xfer_done(&w->xfer) && r->n == r->max;
}

static void rebind(uint64_t seed, bool host)
{
    struct world w;
    world_init(&w, seed);
    struct rebinding r = {.w = &w, .host = host, .max = 3, .next = w.sim.now + NS_PER_S};
    struct quic_addr outside = sim_addr(100, 5000);
    sim_nat(&w.sim, &r.nat, &w.client_addr, &outside);
    world_link(&w, UP, r.nat.in);
    world_link(&w, UP, sim_rate(&w.sim, 10 * MB, 100000));
    world_link(&w, UP, sim_delay(&w.sim, 15 * NS_PER_MS));
    world_link(&w, DOWN, sim_rate(&w.sim, 10 * MB, 100000));
    world_link(&w, DOWN, sim_delay(&w.sim, 15 * NS_PER_MS));
    world_link(&w, DOWN, r.nat.back);
    w.xfer.streams = 1;
    w.xfer.up = 3 * MB;
    w.xfer.down = 3 * MB;
    /* One who only receives has to say something now and then, or is lost with his address. */
    w.client_cfg.conn.keep_alive = NS_PER_S / 2;
    world_start(&w, 1);
    WORLD_CHECK(&w, sim_run(&w.sim, w.sim.now + 60 * NS_PER_S, rebind_and_done, &r));
    /* After the last change something has to be said from there. */
    quic_ping(w.client->conn[0], 0);
    sim_host_wake(w.client);
    sim_run(&w.sim, w.sim.now + 3 * NS_PER_S, NULL, NULL);
    WORLD_CHECK(&w, w.xfer.bad_bytes == 0 && !w.sim.livelock);
    WORLD_CHECK(&w, w.server->n_conns == 1);
    WORLD_CHECK(&w, !w.xfer.end[0].closed && !w.xfer.end[1].closed);
    struct quic_path_view view;
    quic_path_view(w.server->conn[0], 0, w.sim.now, &view);
    WORLD_CHECK(&w, quic_addr_eq(&view.route.remote, &r.nat.outside));
    WORLD_CHECK(&w, view.validated);
    world_free(&w);
}

static void rebind_port(uint64_t seed)
{
    rebind(seed, false);
}

static void rebind_host(uint64_t seed)
{
    rebind(seed, true);
}

static void test_rebind(void **state)
{
    (void)state;
    world_each_seed(3, rebind_port);
    world_each_seed(3, rebind_host);
}

/*
 * Somebody on the way sends a copy of a packet from an address of his own, faster than the
 * original: the server is not led astray for long, and sends him at most three times as much.
 */
struct attacker {
    struct world *w;
    struct quic_addr addr;
    uint64_t to_him, from_him;
    unsigned every, n;
    struct sim_node *fast;
};

static bool copy_packets(void *ctx, struct sim_packet *packet)
{
    struct attacker *a = ctx;
    if (++a->n % a->every)
        return true;
    struct sim_packet *copy = sim_packet_copy(packet);
    copy->src = a->addr;
    a->from_him += copy->n;
    a->fast->deliver(a->fast, copy);
    return true;
}

static bool count_to_him(void *ctx, struct sim_packet *packet)
{
    struct attacker *a = ctx;
    if (!quic_addr_eq(&packet->dst, &a->addr))
        return true;
    a->to_him += packet->n;
    return false;
}

static void spoof(uint64_t seed)
{
    struct world w;
    world_init(&w, seed);
    struct attacker a = {.w = &w, .addr = sim_addr(66, 666), .every = 101};
    a.fast = sim_delay(&w.sim, NS_PER_MS);
    world_link(&w, UP, sim_filter(&w.sim, copy_packets, &a));
    world_link(&w, DOWN, sim_filter(&w.sim, count_to_him, &a));
    world_path(&w, 15 * NS_PER_MS, 10 * MB, 100000);
    w.xfer.streams = 1;
    w.xfer.up = 2 * MB;
    w.xfer.down = 2 * MB;
    world_start(&w, 1);
    a.fast->out = &w.server->node;
    WORLD_CHECK(&w, world_run(&w, 60 * NS_PER_S));
    sim_run(&w.sim, w.sim.now + 5 * NS_PER_S, NULL, NULL);
    WORLD_CHECK(&w, w.xfer.bad_bytes == 0 && !w.sim.livelock);
    WORLD_CHECK(&w, !w.xfer.end[0].closed && !w.xfer.end[1].closed);
    WORLD_CHECK(&w, a.from_him > 0 && a.to_him <= 3 * a.from_him);
    struct quic_path_view view;
    quic_path_view(w.server->conn[0], 0, w.sim.now, &view);
    WORLD_CHECK(&w, quic_addr_eq(&view.route.remote, &w.client_addr));
    world_free(&w);
}

static void test_spoof(void **state)
{
    (void)state;
    world_each_seed(3, spoof);
}

/* ---- migration of the client's own --------------------------------------------------- */

struct moving {
    struct world *w;
    unsigned n;
    ns_t next;
};

static bool move_and_done(void *ctx)
{
    struct moving *m = ctx;
    struct world *w = m->w;
    if (m->n < 2 && w->sim.now >= m->next) {
        struct quic_route route = {.local = sim_addr((uint8_t)(10 + m->n), 40001),
                                   .remote = w->server_addr};
        int r = quic_path_move(w->client->conn[0], 0, &route, w->sim.now);
        if (r == 0) {
            m->n++;
            m->next = w->sim.now + NS_PER_S;
            sim_host_wake(w->client);
        } else if (r != QUIC_BLOCKED) {
            m->n = 99;
        }
    }
    return xfer_done(&w->xfer) && m->n == 2;
}

static void move(uint64_t seed)
{
    struct world w;
    world_init(&w, seed);
    struct moving m = {.w = &w, .next = w.sim.now + NS_PER_S};
    world_path(&w, 15 * NS_PER_MS, 10 * MB, 100000);
    w.xfer.streams = 1;
    w.xfer.up = 2 * MB;
    w.xfer.down = 2 * MB;
    world_start(&w, 1);
    struct quic_conn *client = w.client->conn[0];
    struct quic_route route = {.local = sim_addr(10, 40001), .remote = w.server_addr};
    WORLD_CHECK(&w, quic_path_move(client, 0, &route, w.sim.now) == QUIC_BLOCKED);
    WORLD_CHECK(&w, quic_path_move(client, 1, &route, w.sim.now) == QUIC_INVAL);
    WORLD_CHECK(&w, sim_run(&w.sim, w.sim.now + 60 * NS_PER_S, move_and_done, &m));
    sim_run(&w.sim, w.sim.now + 3 * NS_PER_S, NULL, NULL);
    WORLD_CHECK(&w, w.xfer.bad_bytes == 0 && !w.sim.livelock);
    WORLD_CHECK(&w, !w.xfer.end[0].closed && !w.xfer.end[1].closed);
    struct quic_path_view view;
    struct quic_conn *server = w.server->conn[0];
    quic_path_view(server, 0, w.sim.now, &view);
    WORLD_CHECK(&w, view.route.remote.ip[3] == 11 && view.validated);
    /* A token for where it is, not for where it was (RFC 9000 8.1.3). */
    struct span token = quic_new_token(client);
    struct quic_addr was = sim_addr(10, 40001), is = sim_addr(11, 40001);
    WORLD_CHECK(&w, token_open(&server->token_key, token, &is, w.sim.now, NULL) == TOKEN_NEW);
    WORLD_CHECK(&w, token_open(&server->token_key, token, &was, w.sim.now, NULL) == TOKEN_NONE);
    WORLD_CHECK(&w, !server->new_token && server->new_tokens == 3);
    /* Another place, other connection IDs, both ways (RFC 9000 9.5). */
    WORLD_CHECK(&w, !cid_eq(path_dcid(&client->path[0], path_current(&client->path[0])),
                            &server->local.initial_scid));
    WORLD_CHECK(&w, !cid_eq(path_dcid(&server->path[0], path_current(&server->path[0])),
                            &client->local.initial_scid));
    world_free(&w);
}

static void test_move(void **state)
{
    (void)state;
    world_each_seed(3, move);
}

/* Where the server's packets don't get to. */
static bool not_to_first(void *ctx, struct sim_packet *packet)
{
    (void)ctx;
    return packet->dst.ip[3] != 10;
}

/* A move to where nothing comes back, and at once another one to where it does: as on a link that
 * changes its address by way of none. */
static void hasty(uint64_t seed)
{
    struct world w;
    struct quic_route route = {.local = sim_addr(10, 40001)};

    world_init(&w, seed);
    route.remote = w.server_addr;
    world_link(&w, DOWN, sim_filter(&w.sim, not_to_first, NULL));
    world_path(&w, 5 * NS_PER_MS, 10 * MB, 100000);
    w.xfer.streams = 1;
    w.xfer.up = w.xfer.down = 60 * MB;
    world_start(&w, 1);
    for (unsigned i = 0; i < 8; i++) {
        uint64_t before;

        sim_run(&w.sim, w.sim.now + NS_PER_S, NULL, NULL);
        route.local = sim_addr(10, 40001);
        WORLD_CHECK(&w, quic_path_move(w.client->conn[0], 0, &route, w.sim.now) == 0);
        sim_host_wake(w.client);
        sim_run(&w.sim, w.sim.now + (20 + seed % 8 * 20) * NS_PER_MS, NULL, NULL);
        route.local = sim_addr((uint8_t)(11 + i % 2), 40001);
        WORLD_CHECK(&w, quic_path_move(w.client->conn[0], 0, &route, w.sim.now) == 0);
        sim_host_wake(w.client);
        sim_run(&w.sim, w.sim.now + NS_PER_S, NULL, NULL);
        before = w.xfer.bytes[0] + w.xfer.bytes[1];
        sim_run(&w.sim, w.sim.now + NS_PER_S, NULL, NULL);
        WORLD_CHECK(&w, w.xfer.bytes[0] + w.xfer.bytes[1] > before + MB / 10);
        WORLD_CHECK(&w, !w.xfer.end[0].closed && !w.xfer.end[1].closed);
    }
    world_free(&w);
}

static void test_hasty(void **state)
{
    (void)state;
    world_each_seed(3, hasty);
}

/* ---- path MTU ------------------------------------------------------------------------ */

static bool small_only(void *ctx, struct sim_packet *packet)
{
    return packet->n <= *(size_t *)ctx;
}

static void test_mtu(void **state)
{
    (void)state;
    static const size_t real[] = {1200, 1280, 1371, 1452, 1500, 9000};
    for (size_t i = 0; i < ARRAY_LEN(real); i++) {
        struct world w;
        world_init(&w, 1);
        size_t mtu = real[i];
        w.client_cfg.conn.max_udp_payload = w.server_cfg.conn.max_udp_payload = 1452;
        world_link(&w, UP, sim_filter(&w.sim, small_only, &mtu));
        world_link(&w, DOWN, sim_filter(&w.sim, small_only, &mtu));
        world_path(&w, 10 * NS_PER_MS, 0, 0);
        w.xfer.streams = 1;
        w.xfer.up = w.xfer.down = 100000;
        world_start(&w, 1);
        assert_true(world_run(&w, 20 * NS_PER_S));
        sim_run(&w.sim, w.sim.now + 20 * NS_PER_S, NULL, NULL);
        struct quic_path_view view;
        quic_path_view(w.client->conn[0], 0, w.sim.now, &view);
        size_t want = mtu < 1452 ? mtu : 1452;
        assert_in_range(view.mtu_bytes, want - 20 > 1200 ? want - 20 : 1200, want);
        assert_true(view.dgram_max_bytes > view.mtu_bytes - 50);
        /* Another interface has another MTU: of the client's it is looked for up to there. */
        WORLD_CHECK(&w, quic_path_mtu_max(w.client->conn[0], 0, 1300, w.sim.now) == 0);
        quic_path_view(w.client->conn[0], 0, w.sim.now, &view);
        assert_true(view.mtu_bytes <= 1300);
        WORLD_CHECK(&w, quic_path_mtu_max(w.client->conn[0], 0, 1472, w.sim.now) == 0);
        sim_host_wake(w.client);
        sim_run(&w.sim, w.sim.now + 5 * NS_PER_S, NULL, NULL);
        quic_path_view(w.client->conn[0], 0, w.sim.now, &view);
        want = mtu < 1472 ? mtu : 1472;
        assert_in_range(view.mtu_bytes, want - 20 > 1200 ? want - 20 : 1200, want);
        WORLD_CHECK(&w, quic_path_mtu_max(w.client->conn[0], 9, 1472, w.sim.now) == QUIC_INVAL);
        /* Then the path shrinks: the connection lives on. */
        mtu = 1210;
        assert_true(world_again(&w, 2, 30 * NS_PER_S));
        /* The client has its answer; its own bytes may still be on their way. */
        sim_run(&w.sim, w.sim.now + 5 * NS_PER_S, NULL, NULL);
        quic_path_view(w.client->conn[0], 0, w.sim.now, &view);
        assert_true(view.mtu_bytes <= 1210);
        assert_int_equal(w.xfer.bytes[0], 200016);
        world_free(&w);
    }
}

/* ---- key update ---------------------------------------------------------------------- */

struct updating {
    struct world *w;
    unsigned ok[2];
};

static bool update_and_done(void *ctx)
{
    struct updating *u = ctx;
    struct world *w = u->w;
    if (w->client->n_conns && quic_key_update(w->client->conn[0]) == 0)
        u->ok[0]++;
    if (w->server->n_conns && quic_key_update(w->server->conn[0]) == 0)
        u->ok[1]++;
    return xfer_done(&w->xfer);
}

static void key_update(uint64_t seed)
{
    struct world w;
    world_init(&w, seed);
    struct updating u = {.w = &w};
    for (int d = UP; d <= DOWN; d++) {
        world_link(&w, (enum world_dir)d, sim_rate(&w.sim, 10 * MB, 100000));
        world_link(&w, (enum world_dir)d, sim_delay(&w.sim, 10 * NS_PER_MS));
        world_link(&w, (enum world_dir)d, sim_loss(&w.sim, 1 * PPM, 3));
        world_link(&w, (enum world_dir)d, sim_reorder(&w.sim, 2 * PPM, 5 * NS_PER_MS));
    }
    w.xfer.streams = 1;
    w.xfer.up = w.xfer.down = 3 * MB;
    world_start(&w, 1);
    WORLD_CHECK(&w, sim_run(&w.sim, w.sim.now + 60 * NS_PER_S, update_and_done, &u));
    WORLD_CHECK(&w, w.xfer.bad_bytes == 0 && !w.sim.livelock);
    WORLD_CHECK(&w, !w.xfer.end[0].closed && !w.xfer.end[1].closed);
    WORLD_CHECK(&w, u.ok[0] + u.ok[1] >= 4);
    struct quic_stats client, server;
    quic_stats(w.client->conn[0], &client);
    quic_stats(w.server->conn[0], &server);
    WORLD_CHECK(&w, client.key_updates >= 4);
    WORLD_CHECK(&w, client.key_updates <= server.key_updates + 1);
    WORLD_CHECK(&w, server.key_updates <= client.key_updates + 1);
    world_free(&w);
}

static void test_key_update(void **state)
{
    (void)state;
    world_each_seed(3, key_update);
}

/* An update comes by itself, in good time before a key has sealed all it may. */
static void test_key_limit(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    world_path(&w, 10 * NS_PER_MS, 0, 0);
    w.xfer.streams = 1;
    w.xfer.up = w.xfer.down = 200000;
    world_start(&w, 1);
    sim_run(&w.sim, w.sim.now + NS_PER_S, NULL, NULL);
    struct quic_conn *client = w.client->conn[0];
    client->keys.tx[LEVEL_APP].used = aead_seal_limit(client->keys.tx[LEVEL_APP].id) / 2;
    quic_ping(client, 0);
    sim_host_wake(w.client);
    sim_run(&w.sim, w.sim.now + NS_PER_S, NULL, NULL);
    struct quic_stats stats;
    quic_stats(w.server->conn[0], &stats);
    assert_int_equal(stats.key_updates, 1);
    assert_true(client->keys.tx[LEVEL_APP].used < 100);
    assert_false(w.xfer.end[0].closed);
    /* Where the peer doesn't go along, the connection ends before the limit. */
    w.server->node.out = NULL;
    client->keys.tx[LEVEL_APP].used = aead_seal_limit(client->keys.tx[LEVEL_APP].id) / 2;
    quic_ping(client, 0);
    sim_host_wake(w.client);
    sim_run(&w.sim, w.sim.now + 100 * NS_PER_MS, NULL, NULL);
    client->keys.tx[LEVEL_APP].used = aead_seal_limit(client->keys.tx[LEVEL_APP].id) - 100;
    quic_ping(client, 0);
    sim_host_wake(w.client);
    sim_run(&w.sim, w.sim.now + 100 * NS_PER_MS, NULL, NULL);
    assert_true(w.xfer.end[0].closed);
    assert_int_equal(w.xfer.end[0].close.code, QUIC_AEAD_LIMIT_REACHED);
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rebind),    cmocka_unit_test(test_spoof),
        cmocka_unit_test(test_move),      cmocka_unit_test(test_hasty),
        cmocka_unit_test(test_mtu),       cmocka_unit_test(test_key_update),
        cmocka_unit_test(test_key_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
