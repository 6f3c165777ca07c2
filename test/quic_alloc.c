/*
 * Allocations. None in a steady state; and a sweep: connection set-up, handshake and first
 * streams with the n-th allocation failing, for every n. Nothing may crash or leak; the connection
 * isn't made, or it closes, or it goes on. Allocations of libcrypto and libssl are left out:
 * SSL_set_quic_tls_cbs of 3.5 doesn't survive the lack of memory itself.
 *
 * Linked with --wrap for malloc and its kin.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "quic/endpoint.h"
#include "test/quic_heap.h"
#include "test/quic_pair.h"

/* An endpoint that accepts, a client, a handshake, a stream each way, DATAGRAMs, closing. */
struct life {
    struct quic_endpoint *ep;
    struct pair *p;
    bool echoed;
};

static void accept_flight(struct life *l)
{
    static uint8_t buf[65536], answer_buf[1500];
    struct quic_train t = {.buf = buf, .cap = 65507, .max_count = 64};
    struct quic_train answer = {.buf = answer_buf, .cap = sizeof(answer_buf), .max_count = 1};
    if (quic_send(l->p->conn[CLIENT], 0, &t, l->p->now) <= 0)
        return;
    for (size_t i = 0; i < t.count; i++) {
        struct quic_rx rx = {l->p->route[SERVER], 0, t.buf + i * t.segment,
                             quic_train_size(&t, i)};
        struct quic_conn *conn;
        quic_train_reset(&answer);
        enum quic_route_result r = quic_endpoint_route(l->ep, &rx, l->p->now, &conn, &answer);
        if (r == QUIC_ROUTE_NEW)
            l->p->conn[SERVER] = conn;
        if (conn)
            quic_recv(conn, &rx, 1, l->p->now);
    }
}

static void talk(struct life *l)
{
    struct quic_conn *client = l->p->conn[CLIENT], *server = l->p->conn[SERVER];
    static const uint8_t data[5000] = {1};
    uint8_t payload[100] = {0}, out[1500];
    uint64_t id;
    size_t taken;
    if (quic_stream_open(client, false, &id) == 0 &&
        quic_stream_write(client, id, span_of(data, sizeof(data)), &taken) == 0)
        quic_stream_finish(client, id);
    struct quic_dgram d = {.p = payload + 50, .n = 50, .headroom = 50, .tag = 1};
    struct quic_train t = {.buf = out, .cap = sizeof(out), .max_count = 1};
    if (quic_dgram_send(client, 0, &t, &d, 1, l->p->now) == 1)
        pair_train(l->p, CLIENT, &t);
    pair_run(l->p, 100 * NS_PER_MS);
    struct quic_event ev;
    while (quic_next_event(server, &ev)) {
        bool fin = false;
        struct span s;
        if (ev.type != QUIC_EV_STREAM_READABLE)
            continue;
        while ((s = quic_stream_peek(server, ev.stream, &fin)).n || fin) {
            quic_stream_write(server, ev.stream, s, &taken);
            quic_stream_consume(server, ev.stream, s.n);
            if (fin)
                break;
        }
        quic_stream_finish(server, ev.stream);
    }
    pair_run(l->p, 100 * NS_PER_MS);
    while (quic_next_event(client, &ev))
        l->echoed |= ev.type == QUIC_EV_STREAM_READABLE;
    if (server)
        quic_endpoint_update(l->ep, server);
    quic_key_update(client);
    quic_ping(client, 0);
    pair_run(l->p, 100 * NS_PER_MS);
    quic_close(client, 0, "bye", l->p->now);
    pair_run(l->p, 3 * NS_PER_S);
}

/* Returns whether the life went well to its end. */
static bool live(struct pair *p)
{
    struct life l = {.p = p};
    struct quic_endpoint_config cfg = {.conn = p->cfg[SERVER], .accept = true};
    l.ep = quic_endpoint_new(&cfg);
    if (l.ep)
        pair_connect(p);
    if (p->conn[CLIENT]) {
        accept_flight(&l);
        if (p->conn[SERVER]) {
            pair_run(p, 200 * NS_PER_MS);
            talk(&l);
            quic_endpoint_remove(l.ep, p->conn[SERVER]);
        }
    }
    for (int i = 0; i < 2; i++) {
        quic_del(p->conn[i]);
        p->conn[i] = NULL;
    }
    quic_endpoint_del(l.ep);
    return l.echoed;
}

static void test_sweep(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p);
    assert_true(live(&p)); /* what is kept for good is allocated now */
    uint64_t made = 0, survived = 0, n = 0;
    bool more = true;
    for (; more; n++) {
        int64_t before = ours.blocks;
        p.now += NS_PER_S;
        sweep.n = 0;
        sweep.fail_at = n;
        sweep.failed = false;
        sweep.armed = true;
        bool well = live(&p);
        sweep.armed = false;
        more = sweep.failed;
        made += sweep.failed;
        survived += sweep.failed && well;
        if (ours.blocks != before)
            print_error("allocation %llu: %lld blocks leaked\n", (unsigned long long)n,
                        (long long)(ours.blocks - before));
        assert_int_equal(ours.blocks, before);
        assert_true(well || sweep.failed);
    }
    assert_true(made > 20);
    assert_true(survived < made);
    pair_free(&p);
}

/* ---- steady state ---------------------------------------------------------------------- */

#define STEADY_WARM  (6 * NS_PER_S) /* longer than what is trimmed takes */
#define STEADY_TIME  (9 * NS_PER_S) /* and twice that */
#define STEADY_AHEAD 4000 /* bytes of a stream on their way, */
#define STEADY_BULK  120000 /* of one that carries much */

struct steady {
    struct pair p;
    uint64_t id[2];
    uint64_t written[2], read[2]; /* of the stream of each */
    uint64_t dgrams;              /* that arrived */
    uint64_t random, ahead;
    unsigned loss, late; /* one packet of so many is lost, comes with the next batch */
    bool unread;         /* what came of streams is left to lie */
    uint8_t held[2][1500];
    size_t n_held[2];
};

static bool one_in(struct steady *s, unsigned n)
{
    s->random = s->random * 6364136223846793005u + 1442695040888963407u;
    return (s->random >> 33) % n == 0;
}

/* What `to` has got: DATAGRAMs, streams, fates, events. */
static void take(struct steady *s, int to)
{
    struct quic_conn *c = s->p.conn[to];
    struct quic_dgram_rx rx[64];
    struct quic_dgram_fate fate[64];
    struct quic_event ev;
    s->dgrams += quic_dgram_recv(c, rx, ARRAY_LEN(rx));
    while (quic_dgram_fates(c, fate, ARRAY_LEN(fate)))
        ;
    while (quic_next_event(c, &ev))
        ;
    for (struct span piece; !s->unread && (piece = quic_stream_peek(c, s->id[1 - to], NULL)).n;) {
        s->read[1 - to] += piece.n;
        quic_stream_consume(c, s->id[1 - to], piece.n);
    }
}

/* A train over a network that loses packets and has them change places, taken as one batch. */
static void carry(struct steady *s, int from, struct quic_train *t)
{
    uint8_t late[1500];
    struct quic_rx rx[65];
    size_t n = 0, n_late = s->n_held[from];
    memcpy(late, s->held[from], n_late);
    s->n_held[from] = 0;
    for (size_t i = 0; i < t->count; i++) {
        uint8_t *p = t->buf + i * t->segment;
        size_t size = quic_train_size(t, i);
        if (one_in(s, s->loss))
            continue;
        if (!s->n_held[from] && one_in(s, s->late)) {
            memcpy(s->held[from], p, size);
            s->n_held[from] = size;
            continue;
        }
        rx[n++] = (struct quic_rx){.route = s->p.route[1 - from], .p = p, .n = size};
    }
    if (n_late)
        rx[n++] = (struct quic_rx){.route = s->p.route[1 - from], .p = late, .n = n_late};
    quic_recv(s->p.conn[1 - from], rx, n, s->p.now);
    take(s, 1 - from);
    quic_train_reset(t);
}

static void say(struct steady *s, int from)
{
    static uint8_t out[2][65536], payload[8][1100], data[300];
    struct quic_train t = {.buf = out[from], .cap = 65507, .max_count = 64};
    struct quic_conn *c = s->p.conn[from];
    struct quic_dgram d[8];
    size_t taken;
    for (size_t i = 0; i < ARRAY_LEN(d); i++)
        d[i] = (struct quic_dgram){.p = payload[i] + 100, .n = 1000, .headroom = 100, .tag = 1};
    if (quic_dgram_send(c, 0, &t, d, ARRAY_LEN(d), s->p.now) > 0)
        carry(s, from, &t);
    /* A stream that says something now and then, as those of a tunnel. */
    if (s->written[from] - s->read[from] < s->ahead &&
        quic_stream_write(c, s->id[from], span_of(data, sizeof(data)), &taken) == 0)
        s->written[from] += taken;
    while (quic_send(c, 0, &t, s->p.now) > 0)
        carry(s, from, &t);
}

static void go_on(struct steady *s, ns_t time)
{
    for (ns_t end = s->p.now + time; s->p.now < end; s->p.now += NS_PER_MS)
        for (int i = 0; i < 2; i++) {
            if (quic_deadline(s->p.conn[i]) <= s->p.now)
                quic_tick(s->p.conn[i], s->p.now);
            say(s, i);
        }
}

/*
 * DATAGRAMs and streams both ways, some lost or late: after the first seconds nothing is
 * allocated.
 */
static void steady(const char *cc, uint64_t seed)
{
    static struct steady s;
    uint64_t ahead = seed % 2 ? STEADY_AHEAD : STEADY_BULK;
    s = (struct steady){.random = seed, .late = seed % 3 ? 100 : UINT32_MAX};
    pair_init(&s.p);
    s.p.seed += seed;
    s.p.cfg[CLIENT].cc = s.p.cfg[SERVER].cc = cc;
    pair_connect(&s.p);
    pair_run(&s.p, NS_PER_S);
    for (int i = 0; i < 2; i++)
        assert_int_equal(quic_stream_open(s.p.conn[i], true, &s.id[i]), 0);
    /* More than what comes, so that all has its size: streams, gaps, then windows. */
    s.ahead = 3 * ahead;
    s.loss = 5;
    s.unread = true;
    go_on(&s, STEADY_WARM);
    s.unread = false;
    static const unsigned warm[] = {5, 15, 100};
    for (size_t i = 0; i < ARRAY_LEN(warm); i++) {
        s.loss = warm[i];
        go_on(&s, STEADY_WARM);
    }
    s.ahead = ahead;
    s.loss = 50;
    uint64_t dgrams = s.dgrams, bytes = s.read[0] + s.read[1];
    sweep.n = 0;
    sweep.fail_at = UINT64_MAX;
    sweep.armed = true;
    go_on(&s, STEADY_TIME);
    sweep.armed = false;
    print_message("%s, seed %llu: %llu DATAGRAMs, %llu bytes of streams, %llu allocations\n", cc,
                  (unsigned long long)seed, (unsigned long long)(s.dgrams - dgrams),
                  (unsigned long long)(s.read[0] + s.read[1] - bytes), (unsigned long long)sweep.n);
    assert_true(s.dgrams - dgrams > 10000);
    assert_true(s.read[0] + s.read[1] - bytes > 100000);
    assert_int_equal(sweep.n, 0);
    pair_free(&s.p);
}

static void test_steady(void **state)
{
    (void)state;
    uint64_t seeds = getenv("SEEDS") ? strtoull(getenv("SEEDS"), NULL, 10) : 2;
    for (uint64_t seed = 1; seed <= (seeds ? seeds : 1); seed++) {
        steady("cubic", seed);
        steady("newreno", seed);
        steady("bbr", seed);
    }
}

int main(void)
{
    if (!heap_begin())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_steady),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
