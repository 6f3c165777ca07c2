/*
 * The cases rebind-port, rebind-addr and connectionmigration of the QUIC interop runner, with
 * what it sees in its traces: what the first packets on a new path carry, from whom to whom.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "quic/conn.h"
#include "test/sim/peek.h"
#include "test/sim/world.h"

#define MB     1000000u
#define FRAMES 0x1f
#define ROUTES 16

/* One address of the client as the server sees it, or of the server as the client does. */
struct route {
    struct quic_addr addr;
    bool challenged_first;         /* the first packet to it carries a PATH_CHALLENGE */
    unsigned challenges, answers;  /* PATH_CHALLENGE to it, PATH_RESPONSE from it */
    unsigned from;                 /* packets that came from there before one went there */
    uint64_t bytes_to, bytes_from; /* until it has answered */
    bool over;                     /* sent more than three times as much before */
    struct quic_cid dcid;          /* of the first packet to it */
};

struct trace {
    struct world *w;
    struct route route[ROUTES];
    size_t n;
};

static struct route *route_of(struct trace *t, const struct quic_addr *addr)
{
    for (size_t i = 0; i < t->n; i++)
        if (quic_addr_eq(&t->route[i].addr, addr))
            return &t->route[i];
    if (t->n == ROUTES)
        return NULL;
    t->route[t->n] = (struct route){.addr = *addr};
    return &t->route[t->n++];
}

/* From the server: after the network, before the NAT. */
static bool see_down(void *ctx, struct sim_packet *packet)
{
    struct trace *t = ctx;
    unsigned frames[FRAMES];
    struct route *r = route_of(t, &packet->dst);
    if (!r || !t->w->client->n_conns)
        return true;
    if (r->bytes_to == 0 && t->n > 1)
        r->dcid = peek_dcid(packet);
    bool opened = peek_frames(t->w->client->conn[0], packet, frames, FRAMES);
    if (r->bytes_to == 0)
        r->challenged_first = opened && frames[FRAME_PATH_CHALLENGE];
    if (opened)
        r->challenges += frames[FRAME_PATH_CHALLENGE];
    r->bytes_to += packet->n;
    r->over |= !r->answers && r->bytes_to > 3 * r->bytes_from;
    return true;
}

/* From the client: behind the NAT. */
static bool see_up(void *ctx, struct sim_packet *packet)
{
    struct trace *t = ctx;
    unsigned frames[FRAMES];
    struct route *r = route_of(t, &packet->src);
    if (!r)
        return true;
    r->bytes_from += packet->n;
    if (t->w->server->n_conns && peek_frames(t->w->server->conn[0], packet, frames, FRAMES) &&
        frames[FRAME_PATH_RESPONSE])
        r->answers++;
    return true;
}

/* ---- rebinding ----------------------------------------------------------------------- */

struct rebinding {
    struct trace trace;
    struct sim_nat nat;
    bool host;
    ns_t next;
    unsigned n;
    uint64_t cwnd, mtu; /* of the server before */
    ns_t rtt;
};

#define REBINDS 4

static bool rebind_and_done(void *ctx)
{
    struct rebinding *r = ctx;
    struct world *w = r->trace.w;
    if (r->n < REBINDS && w->sim.now >= r->next) {
        r->n++;
        r->next = w->sim.now + NS_PER_S;
        struct quic_addr out =
            sim_addr((uint8_t)(r->host ? 100 + r->n : 100), (uint16_t)(5000 + r->n));
        sim_nat_rebind(&r->nat, &out);
    }
    return xfer_done(&w->xfer) && r->n == REBINDS;
}

static void rebind(uint64_t seed, bool host)
{
    struct world w;
    world_init(&w, seed);
    struct rebinding r = {.trace = {.w = &w}, .host = host, .next = w.sim.now + NS_PER_S};
    struct quic_addr outside = sim_addr(100, 5000);
    sim_nat(&w.sim, &r.nat, &w.client_addr, &outside);
    world_link(&w, UP, r.nat.in);
    world_link(&w, UP, sim_rate(&w.sim, 10 * MB, 100000));
    world_link(&w, UP, sim_delay(&w.sim, 15 * NS_PER_MS));
    world_link(&w, UP, sim_filter(&w.sim, see_up, &r.trace));
    world_link(&w, DOWN, sim_filter(&w.sim, see_down, &r.trace));
    world_link(&w, DOWN, sim_rate(&w.sim, 10 * MB, 100000));
    world_link(&w, DOWN, sim_delay(&w.sim, 15 * NS_PER_MS));
    world_link(&w, DOWN, r.nat.back);
    w.xfer.streams = 1;
    w.xfer.down = 7 * MB;
    w.client_cfg.conn.keep_alive = NS_PER_S / 4;
    world_start(&w, 1);
    WORLD_CHECK(&w, sim_run(&w.sim, w.sim.now + 60 * NS_PER_S, rebind_and_done, &r));
    quic_ping(w.client->conn[0], 0);
    sim_host_wake(w.client);
    sim_run(&w.sim, w.sim.now + 2 * NS_PER_S, NULL, NULL);
    WORLD_CHECK(&w, w.xfer.bad_bytes == 0 && !w.sim.livelock && w.server->n_conns == 1);
    WORLD_CHECK(&w, !w.xfer.end[0].closed && !w.xfer.end[1].closed);
    WORLD_CHECK(&w, r.trace.n == 1 + REBINDS);
    for (size_t i = 1; i < r.trace.n; i++) {
        const struct route *p = &r.trace.route[i];
        WORLD_CHECK(&w, p->challenged_first && p->answers > 0);
        WORLD_CHECK(&w, p->answers <= p->challenges);
        WORLD_CHECK(&w, !p->over);
    }
    struct quic_path_view view;
    quic_path_view(w.server->conn[0], 0, w.sim.now, &view);
    WORLD_CHECK(&w, view.validated && quic_addr_eq(&view.route.remote, &r.nat.outside));
    world_free(&w);
}

static void rebind_port(uint64_t seed)
{
    rebind(seed, false);
}

static void rebind_addr(uint64_t seed)
{
    rebind(seed, true);
}

static void test_rebind_port(void **state)
{
    (void)state;
    world_each_seed(3, rebind_port);
}

static void test_rebind_addr(void **state)
{
    (void)state;
    world_each_seed(3, rebind_addr);
}

/* A change of the port keeps window, round-trip time and MTU; one of the host none of them. */
static void test_estimates(void **state)
{
    (void)state;
    for (int host = 0; host <= 1; host++) {
        struct world w;
        world_init(&w, 1);
        struct sim_nat nat;
        struct quic_addr outside = sim_addr(100, 5000), out = sim_addr(host ? 101 : 100, 5001);
        sim_nat(&w.sim, &nat, &w.client_addr, &outside);
        world_link(&w, UP, nat.in);
        world_path(&w, 15 * NS_PER_MS, 20 * MB, 200000);
        world_link(&w, DOWN, nat.back);
        w.xfer.streams = 1;
        w.xfer.down = 3 * MB;
        w.client_cfg.conn.keep_alive = NS_PER_S / 4;
        world_start(&w, 1);
        assert_true(world_run(&w, 30 * NS_PER_S));
        sim_run(&w.sim, w.sim.now + NS_PER_S, NULL, NULL);
        struct quic_path_view before, after;
        const struct quic_conn *server = w.server->conn[0];
        quic_path_view(server, 0, w.sim.now, &before);
        assert_true(before.mtu_bytes == 1452 && before.cwnd_bytes > 40000);
        sim_nat_rebind(&nat, &out);
        quic_ping(w.client->conn[0], 0);
        sim_host_wake(w.client);
        /* One round trip after the move it is confirmed, and no later. */
        ns_t until = w.sim.now + 10 * NS_PER_S;
        do {
            sim_run(&w.sim, w.sim.now + NS_PER_MS, NULL, NULL);
            quic_path_view(server, 0, w.sim.now, &after);
        } while (w.sim.now < until &&
                 !(quic_addr_eq(&after.route.remote, &out) && after.validated));
        assert_true(after.validated && quic_addr_eq(&after.route.remote, &out));
        if (host) {
            assert_true(after.cwnd_bytes <= 14720 && after.mtu_bytes < 1452);
        } else {
            assert_int_equal(after.mtu_bytes, 1452);
            assert_true(after.cwnd_bytes >= before.cwnd_bytes && after.has_rtt);
            assert_true(after.srtt < 2 * before.srtt);
        }
        /* And it is found out again. */
        sim_run(&w.sim, w.sim.now + 5 * NS_PER_S, NULL, NULL);
        quic_path_view(server, 0, w.sim.now, &after);
        assert_int_equal(after.mtu_bytes, 1452);
        world_free(&w);
    }
}

/* ---- the preferred address of a server ----------------------------------------------- */

enum net { NET_GOOD, NET_DEAD, NET_REFUSED, NET_OFF, NET_N };

struct preferred {
    struct world *w;
    struct quic_addr addr;
    bool dead;
    unsigned probes, to, from; /* to the address: with a challenge, all; and from it */
    unsigned data_early;       /* more than probing frames to it before it had answered */
    bool answered;
    struct quic_cid cid, first; /* first: used before */
};

static bool to_server(void *ctx, struct sim_packet *packet)
{
    struct preferred *p = ctx;
    unsigned f[FRAMES];
    if (!quic_addr_eq(&packet->dst, &p->addr)) {
        p->first = peek_dcid(packet);
        return true;
    }
    p->cid = peek_dcid(packet);
    if (p->to++ == 0)
        assert_false(cid_eq(&p->cid, &p->first)); /* another ID on the first packet */
    if (p->w->server->n_conns && peek_frames(p->w->server->conn[0], packet, f, FRAMES)) {
        p->probes += f[FRAME_PATH_CHALLENGE];
        for (unsigned i = 1; i < FRAMES && !p->answered; i++)
            p->data_early += i != FRAME_PATH_CHALLENGE && i != FRAME_PATH_RESPONSE &&
                             i != FRAME_NEW_CONNECTION_ID && f[i];
    }
    return !p->dead;
}

static bool to_client(void *ctx, struct sim_packet *packet)
{
    struct preferred *p = ctx;
    p->from += quic_addr_eq(&packet->src, &p->addr);
    p->answered |= quic_addr_eq(&packet->src, &p->addr);
    return true;
}

static void migration(uint64_t seed, enum net net)
{
    struct world w;
    world_init(&w, seed);
    struct preferred p = {.w = &w, .addr = sim_addr(9, 8443), .dead = net == NET_DEAD};
    if (net == NET_REFUSED)
        p.addr.port = 53;
    w.server_cfg.conn.preferred[0] = p.addr;
    w.client_cfg.conn.no_preferred = net == NET_OFF;
    world_link(&w, UP, sim_filter(&w.sim, to_server, &p));
    world_link(&w, DOWN, sim_filter(&w.sim, to_client, &p));
    world_path(&w, 15 * NS_PER_MS, 10 * MB, 100000);
    w.xfer.streams = 1;
    w.xfer.up = w.xfer.down = 2 * MB;
    world_start(&w, 1);
    WORLD_CHECK(&w, world_run(&w, 60 * NS_PER_S));
    sim_run(&w.sim, w.sim.now + 5 * NS_PER_S, NULL, NULL);
    WORLD_CHECK(&w, w.xfer.bad_bytes == 0 && !w.sim.livelock && w.server->n_conns == 1);
    WORLD_CHECK(&w, !w.xfer.end[0].closed && !w.xfer.end[1].closed);
    struct quic_path_view client, server;
    quic_path_view(w.client->conn[0], 0, w.sim.now, &client);
    quic_path_view(w.server->conn[0], 0, w.sim.now, &server);
    WORLD_CHECK(&w, client.validated && server.validated);
    WORLD_CHECK(&w, p.data_early == 0);
    struct quic_path *theirs = &w.client->conn[0]->path[0];
    WORLD_CHECK(&w, cid_remote_check(&theirs->theirs));
    if (net == NET_GOOD) {
        WORLD_CHECK(&w, p.probes > 0 && p.to > 300 && p.from > 300);
        WORLD_CHECK(&w, quic_addr_eq(&client.route.remote, &p.addr));
        WORLD_CHECK(&w, quic_addr_eq(&server.route.local, &p.addr));
        WORLD_CHECK(&w, client.mtu_bytes == 1452 && server.mtu_bytes == 1452);
    } else {
        WORLD_CHECK(&w, quic_addr_eq(&client.route.remote, &w.server_addr));
        WORLD_CHECK(&w, p.to == p.probes && p.probes <= VALIDATE_MAX);
        WORLD_CHECK(&w, net == NET_DEAD ? p.probes > 3 : p.to == 0);
    }
    world_free(&w);
}

static void migration_seed(uint64_t seed)
{
    for (int net = NET_GOOD; net < NET_N; net++)
        migration(seed, (enum net)net);
}

static void test_migration(void **state)
{
    (void)state;
    world_each_seed(3, migration_seed);
}

/* The client may be moved on from there, though the server allows no other migration. */
static void test_migration_on(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    struct quic_addr addr = sim_addr(9, 8443);
    w.server_cfg.conn.preferred[0] = addr;
    world_path(&w, 5 * NS_PER_MS, 0, 0);
    w.xfer.streams = 1;
    w.xfer.up = w.xfer.down = 1000;
    world_start(&w, 1);
    struct quic_conn *c = w.client->conn[0];
    assert_true(world_run(&w, 10 * NS_PER_S));
    sim_run(&w.sim, w.sim.now + 5 * NS_PER_S, NULL, NULL);
    c->peer.disable_active_migration = true;
    struct quic_route route = {.local = sim_addr(40, 4000), .remote = addr};
    assert_int_equal(quic_path_move(c, 0, &route, w.sim.now), 0);
    c->preferred_taken = false;
    assert_int_equal(quic_path_move(c, 0, &route, w.sim.now), QUIC_INVAL);
    sim_host_wake(w.client);
    sim_run(&w.sim, w.sim.now + 2 * NS_PER_S, NULL, NULL);
    struct quic_path_view view;
    quic_path_view(w.server->conn[0], 0, w.sim.now, &view);
    assert_true(quic_addr_eq(&view.route.remote, &route.local) && view.validated);
    world_free(&w);
}

/* A source port of a service that would answer is not followed (RFC 9000 21.5). */
static void test_forged_port(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    struct sim_nat nat;
    struct quic_addr outside = sim_addr(100, 5000), dns = sim_addr(100, 53);
    sim_nat(&w.sim, &nat, &w.client_addr, &outside);
    world_link(&w, UP, nat.in);
    world_path(&w, 5 * NS_PER_MS, 0, 0);
    world_link(&w, DOWN, nat.back);
    w.xfer.streams = 1;
    w.xfer.up = w.xfer.down = 1000;
    world_start(&w, 1);
    assert_true(world_run(&w, 10 * NS_PER_S));
    sim_nat_rebind(&nat, &dns);
    quic_ping(w.client->conn[0], 0);
    sim_host_wake(w.client);
    sim_run(&w.sim, w.sim.now + NS_PER_S, NULL, NULL);
    struct quic_path_view view;
    quic_path_view(w.server->conn[0], 0, w.sim.now, &view);
    assert_true(quic_addr_eq(&view.route.remote, &outside));
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rebind_port),  cmocka_unit_test(test_rebind_addr),
        cmocka_unit_test(test_estimates),    cmocka_unit_test(test_migration),
        cmocka_unit_test(test_migration_on), cmocka_unit_test(test_forged_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
