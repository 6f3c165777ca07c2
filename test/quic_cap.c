/* quic_path_cap: a path sends no more than it is allowed to, and no less where there is more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/quic_pair.h"

#define MBIT    ((uint64_t)1000000)
#define STEP    (250 * NS_PER_US)
#define ROUND   8 /* steps: what comes back comes together, every 2 ms */
#define PACKETS 64
#define PAYLOAD 1100

/* All that left, as a leaky bucket: its level is the excess over the rate, in bits. */
struct meter {
    uint64_t cap_bps, bytes;
    double level, highest;
    size_t head;
    ns_t last;
};

static void meter_sent(struct meter *m, const struct quic_train *t, ns_t now)
{
    double bits = 8 * (double)(t->len + m->head * t->count);
    double leaked = (double)(now - m->last) * (double)m->cap_bps / 1e9;

    m->level = m->level > leaked ? m->level - leaked + bits : bits;
    m->highest = m->level > m->highest ? m->level : m->highest;
    m->last = now;
    m->bytes += t->len + m->head * t->count;
}

static void send_all(struct pair *p, struct meter *m, size_t payload)
{
    static uint8_t out[65536], body[2048];
    struct quic_train t = {.buf = out, .cap = 65507, .max_count = PACKETS};
    struct quic_dgram d[PACKETS];
    int r;

    do {
        for (size_t i = 0; i < PACKETS; i++)
            d[i] = (struct quic_dgram){.p = body + 128, .n = payload, .headroom = 128};
        r = quic_dgram_send(p->conn[CLIENT], 0, &t, d, PACKETS, p->now);
        if (t.count == 0 && quic_send(p->conn[CLIENT], 0, &t, p->now) > 0)
            r = 1;
        if (t.count > 0) {
            meter_sent(m, &t, p->now);
            pair_train(p, CLIENT, &t);
            quic_train_reset(&t);
        }
    } while (r > 0 || r == QUIC_AGAIN);
}

/* Send for `time` as much as may leave. */
static void fill(struct pair *p, struct meter *m, size_t payload, ns_t time)
{
    struct quic_dgram_rx rx[PACKETS];
    ns_t end = p->now + time;

    m->last = p->now;
    for (unsigned step = 1; p->now < end; step++) {
        send_all(p, m, payload);
        while (quic_dgram_recv(p->conn[SERVER], rx, PACKETS) > 0)
            ;
        p->now += STEP;
        if (step % ROUND == 0)
            pair_flush(p, SERVER);
        for (int i = 0; i < 2; i++)
            quic_tick(p->conn[i], p->now);
    }
}

static void open_pair(struct pair *p, const char *cc, uint8_t family)
{
    pair_init(p);
    for (int i = 0; i < 2; i++) {
        p->cfg[i].cc = cc;
        p->route[i].local.family = p->route[i].remote.family = family;
    }
    pair_connect(p);
    pair_run(p, NS_PER_S / 2);
    assert_true(quic_is_established(p->conn[CLIENT]));
}

static void test_bound(void **state)
{
    static const struct {
        uint64_t bps;
        size_t payload;
        ns_t time;
    } rows[] = {
        {MBIT / 4, PAYLOAD, 3 * NS_PER_S},
        {3 * MBIT, PAYLOAD, NS_PER_S},
        {3 * MBIT, 60, NS_PER_S},
        {20 * MBIT, PAYLOAD, NS_PER_S / 2},
        {300 * MBIT, PAYLOAD, NS_PER_S / 10},
    };
    static const char *const cc[] = {"cubic", "newreno", "bbr"};

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(cc) * ARRAY_LEN(rows) * 2; k++) {
        uint64_t bps = rows[k / 6].bps;
        bool v6 = k / 3 % 2;
        struct meter m = {.cap_bps = bps, .head = v6 ? 48 : 28};
        struct pair p;

        open_pair(&p, cc[k % 3], v6 ? 6 : 4);
        assert_int_equal(quic_path_cap(p.conn[CLIENT], 0, bps), 0);
        fill(&p, &m, rows[k / 6].payload, rows[k / 6].time);
        size_t burst = p.conn[CLIENT]->path[0].pacer.burst;
        double least = (double)bps * (double)rows[k / 6].time / 8e9 - 2.0 * (double)burst;
        if (m.highest > 8.0 * (2.0 * (double)burst + 1500))
            fail_msg("%s, %llu bit/s: %.0f bytes too many at once", cc[k % 3],
                     (unsigned long long)bps, m.highest / 8);
        if ((double)m.bytes < 0.9 * least)
            fail_msg("%s, %llu bit/s: %llu bytes instead of %.0f", cc[k % 3],
                     (unsigned long long)bps, (unsigned long long)m.bytes, least);
        pair_free(&p);
    }
}

/* It may come, change and go; it is what the path says of itself. */
static void test_changes(void **state)
{
    struct meter m = {.cap_bps = 10 * MBIT, .head = 28};
    struct quic_path_view v;
    struct pair p;

    (void)state;
    open_pair(&p, "cubic", 4);
    assert_int_equal(quic_path_cap(p.conn[CLIENT], 1, MBIT), QUIC_INVAL);
    fill(&p, &m, PAYLOAD, NS_PER_S / 50);
    assert_true(m.bytes > MBIT / 8); /* without one it sends far more */
    assert_int_equal(quic_path_view(p.conn[CLIENT], 0, p.now, &v), 0);
    assert_int_equal(v.cap_bps, 0);
    assert_true(v.pacing_bps == 0 || v.pacing_bps > 20 * MBIT);

    assert_int_equal(quic_path_cap(p.conn[CLIENT], 0, 10 * MBIT), 0);
    assert_int_equal(quic_path_view(p.conn[CLIENT], 0, p.now, &v), 0);
    assert_int_equal(v.cap_bps, 10 * MBIT);
    assert_int_equal(v.pacing_bps, 10 * MBIT);
    m.bytes = 0;
    fill(&p, &m, PAYLOAD, NS_PER_S);
    assert_in_range(m.bytes, 9 * MBIT / 8, 11 * MBIT / 8);

    assert_int_equal(quic_path_cap(p.conn[CLIENT], 0, 20 * MBIT), 0);
    m.bytes = 0;
    fill(&p, &m, PAYLOAD, NS_PER_S);
    assert_in_range(m.bytes, 19 * MBIT / 8, 21 * MBIT / 8);

    assert_int_equal(quic_path_cap(p.conn[CLIENT], 0, 0), 0);
    m.bytes = 0;
    fill(&p, &m, PAYLOAD, NS_PER_S / 50);
    assert_true(m.bytes > MBIT / 8);
    pair_free(&p);
}

/* A path that only acknowledges is not held back by it, but charged. */
static void test_acks_count(void **state)
{
    struct pair p;
    uint64_t packets;

    (void)state;
    open_pair(&p, "cubic", 4);
    assert_int_equal(quic_path_cap(p.conn[SERVER], 0, 64000), 0);
    pair_run(&p, 3 * NS_PER_S);
    struct meter m = {.cap_bps = 10 * MBIT, .head = 28};
    packets = p.datagrams[SERVER];
    fill(&p, &m, PAYLOAD, NS_PER_S / 50);
    assert_true(m.bytes > MBIT / 8); /* the client is acknowledged as fast as ever */
    assert_true(p.datagrams[SERVER] > packets + 5);
    assert_false(pacer_full(&p.conn[SERVER]->path[0].pacer, p.now));
    pair_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_acks_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
