/*
 * A tunnel's two directions carry bulk one after the other: what the quiet direction learned
 * meanwhile about the path must not hold it back when its turn comes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "quic/conn.h"
#include "test/sim/world.h"

#define MBIT  1000000u
#define RATE  (100 * MBIT)
#define DELAY (15 * NS_PER_MS)
#define BULK  1300 /* bytes of a DATAGRAM of bulk */
#define SMALL 60   /* and of an answer: an inner TCP acknowledgement, one for two */

struct side {
    bool bulk;
    uint64_t got, debt; /* bytes that came; packets not yet answered */
    uint64_t owed;      /* answers to send */
};

struct ramp {
    struct world *w;
    struct side side[2]; /* client, server */
};

static int send(struct sim_host *host, struct quic_conn *conn, size_t n)
{
    static uint8_t bytes[BULK];
    return sim_host_dgram(host, conn, span_of(bytes, n), 0);
}

static void turn(struct sim_host *host, struct quic_conn *conn)
{
    struct ramp *t = host->app.ctx;
    struct side *s = &t->side[quic_is_server(conn)];
    if (!quic_is_established(conn))
        return;
    while (s->owed && send(host, conn, SMALL) > 0)
        s->owed--;
    while (s->bulk && !s->owed && send(host, conn, BULK) > 0)
        ;
}

static void dgram(struct sim_host *host, struct quic_conn *conn, const struct quic_dgram_rx *d)
{
    struct ramp *t = host->app.ctx;
    struct side *s = &t->side[quic_is_server(conn)];
    s->got += d->n;
    if (d->n != BULK || ++s->debt < 2)
        return;
    s->debt = 0;
    s->owed++;
}

static void run(struct world *w, ns_t time)
{
    sim_host_wake(w->client);
    sim_host_wake(w->server);
    sim_run(&w->sim, w->sim.now + time, NULL, NULL);
}

static struct quic_conn *conn_of(struct world *w, int side)
{
    return side ? w->server->conn[0] : w->client->conn[0];
}

/* Bulk in one direction for `time`, with answers; the share of the link that it gets. */
static double carry(struct world *w, struct ramp *t, int from, ns_t time)
{
    uint64_t before = t->side[!from].got;
    t->side[from].bulk = true;
    t->side[!from].bulk = false;
    run(w, time);
    return (double)(t->side[!from].got - before) * 8 / ((double)time / NS_PER_S) / RATE;
}

struct link {
    const char *cc;
    size_t queue; /* bytes */
};

/*
 * Slow start gets from ten datagrams to a bandwidth-delay product of 375 kB in five round trips,
 * and loses about four of them, 120 ms of 2 s, wherever it starts. 3 % of the link are headers.
 * A window that overran a short queue costs some more.
 */
static void scenario(const struct link *link, uint64_t seed)
{
    struct world w;
    struct ramp t = {.w = &w};
    world_init(&w, seed);
    w.client_cfg.conn.cc = w.server_cfg.conn.cc = link->cc;
    world_path(&w, DELAY, RATE, link->queue);
    struct sim_app app = {.ctx = &t, .turn = turn, .dgram = dgram};
    world_start_app(&w, 1, &app, &app);
    run(&w, 500 * NS_PER_MS);
    double up = carry(&w, &t, 0, 3 * NS_PER_S), down = carry(&w, &t, 1, 2 * NS_PER_S);
    double again = carry(&w, &t, 0, NS_PER_S);
    if (getenv("SHOW") || down < 0.88)
        print_error("%-8s queue %7zu: up %.3f, then down %.3f, then up %.3f\n", link->cc,
                    link->queue, up, down, again);
    WORLD_CHECK(&w, down >= 0.88 && again >= 0.88 && up >= 0.88);
    for (int i = 0; i < 2; i++)
        WORLD_CHECK(&w, recovery_check(&conn_of(&w, i)->path[0].recovery));
    world_free(&w);
}

static void test_ramp(void **state)
{
    static const struct link links[] = {
        {"cubic", 625000}, {"cubic", 190000}, {"newreno", 375000}, {"bbr", 625000}};
    uint64_t from, to;

    (void)state;
    world_seeds(1, &from, &to);
    for (size_t i = 0; i < ARRAY_LEN(links); i++)
        for (uint64_t seed = from; seed <= to; seed++)
            scenario(&links[i], seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ramp)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
