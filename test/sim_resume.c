/* The "resumption" case: two connections, and no certificate in the second. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "quic/conn.h"
#include "test/sim/world.h"

#define PPM 10000u /* per cent, in millionths */

/* One connection from its first packet to its end, and the session that it leaves. */
struct visit {
    uint8_t session[TLS_SESSION_MAX];
    size_t session_len;
    bool resumed[2]; /* client, server */
    uint64_t flight; /* bytes that the server sent below 1-RTT */
    size_t hello;    /* datagrams of the client's first flight */
};

static bool count_flight(void *ctx, struct sim_packet *packet)
{
    struct visit *v = ctx;
    for (size_t at = 0; at < packet->n;) {
        struct packet_head h;
        if (packet_parse(packet->p + at, packet->n - at, 8, &h) != 0 || h.type == PACKET_1RTT)
            break;
        v->flight += h.type == PACKET_HANDSHAKE ? h.length : 0;
        at += h.length;
    }
    return true;
}

static void visit(uint64_t seed, struct tls_ctx *server, uint32_t loss, struct span session,
                  struct visit *v)
{
    struct world w;
    world_init(&w, seed);
    w.server_cfg.conn.tls = server;
    w.client_cfg.conn.session = session;
    world_link(&w, DOWN, sim_filter(&w.sim, count_flight, v));
    if (loss)
        for (int dir = UP; dir <= DOWN; dir++)
            world_link(&w, (enum world_dir)dir, sim_loss(&w.sim, loss, 3));
    world_path(&w, 10 * NS_PER_MS, 0, 0);
    w.client_cfg.conn.handshake = w.server_cfg.conn.handshake = 100 * NS_PER_S;
    w.client_cfg.conn.idle = w.server_cfg.conn.idle = 100 * NS_PER_S;
    w.xfer.streams = 1;
    w.xfer.up = w.xfer.down = 20000;
    world_start(&w, 1);
    struct quic_conn *client = w.client->conn[0];
    WORLD_CHECK(&w, quic_new_session(client).n == 0 && !quic_is_resumed(client));
    sim_run(&w.sim, w.sim.now + 5 * NS_PER_MS, NULL, NULL);
    v->hello = (size_t)w.client->datagrams;
    WORLD_CHECK(&w, world_run(&w, 100 * NS_PER_S));
    sim_run(&w.sim, w.sim.now + 3 * NS_PER_S, NULL, NULL);
    WORLD_CHECK(&w, w.xfer.bad_bytes == 0 && !w.sim.livelock);
    WORLD_CHECK(&w, !w.xfer.end[0].closed && w.server->n_conns == 1);
    v->resumed[0] = quic_is_resumed(client);
    v->resumed[1] = quic_is_resumed(w.server->conn[0]);
    WORLD_CHECK(&w, quic_new_session(w.server->conn[0]).n == 0);
    struct span got = quic_new_session(client);
    WORLD_CHECK(&w, got.n > 0 && got.n <= sizeof(v->session));
    memcpy(v->session, got.p, got.n);
    v->session_len = got.n;
    quic_close(client, 0, "", w.sim.now);
    sim_host_wake(w.client);
    sim_run(&w.sim, w.sim.now + NS_PER_S, NULL, NULL);
    world_free(&w);
}

static void resume(uint64_t seed, uint32_t loss)
{
    static struct visit first, second, third;
    first = second = third = (struct visit){.flight = 0};
    visit(seed, world_tls_tickets(1), loss, (struct span){0}, &first);
    visit(seed + 1000, world_tls_tickets(1), loss, span_of(first.session, first.session_len),
          &second);
    /* A server with another secret: a handshake as ever. */
    visit(seed + 2000, world_tls_tickets(2), loss, span_of(second.session, second.session_len),
          &third);
    assert_true(!first.resumed[0] && !first.resumed[1]);
    assert_true(second.resumed[0] && second.resumed[1]);
    assert_true(!third.resumed[0] && !third.resumed[1]);
    assert_int_equal(second.hello, 2);
    if (loss)
        return;
    print_message("flight %lu %lu %lu\n", first.flight, second.flight, third.flight);
    assert_true(first.flight > 3600 && third.flight > 3600);
    assert_true(second.flight <= 1200);
}

static void resume_clean(uint64_t seed)
{
    resume(seed, 0);
}

static void resume_loss(uint64_t seed)
{
    resume(seed, 20 * PPM);
}

static void test_resumption(void **state)
{
    (void)state;
    world_each_seed(2, resume_clean);
}

static void test_resumption_loss(void **state)
{
    (void)state;
    world_each_seed(3, resume_loss);
}

/* A session that is none, or another server's, is no obstacle. */
static void test_garbage(void **state)
{
    static struct visit v;
    uint8_t junk[3000];
    (void)state;
    memset(junk, 'm', sizeof(junk));
    v = (struct visit){.flight = 0};
    visit(1, world_tls_tickets(1), 0, span_of(junk, sizeof(junk)), &v);
    assert_false(v.resumed[0]);
    visit(2, world_tls_tickets(1), 0, span_of(junk, 1), &v);
    assert_false(v.resumed[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resumption),
        cmocka_unit_test(test_resumption_loss),
        cmocka_unit_test(test_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
