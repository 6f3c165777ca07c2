/* The event loop and UDP over loopback: trains, views, shares, held buffers. */
#include <errno.h>
#include <poll.h>

#include "app/loop_core.h"
#include "test/app_ring_rig.h"

static const struct train_row {
    size_t segment, n;
    uint8_t ecn;
} trains[] = {
    // clang-format off
    {1200, 45 * 1200,       2},
    {1400, 46 * 1400 + 7,   1},
    {100,  64 * 100,        0},
    {50,   128 * 50,        3},
    {1,    5,               2},
    {1200, 1200,            0},
    {1472, 300,             1},
    {9000, 63000,           2},
    {60000, 60000,          0},
    {1350, 48 * 1350,       2},
    {77,   77 * 3 + 1,      3},
    // clang-format on
};

static void train_send(struct rig *g, size_t i)
{
    struct udp_train *t = ring_train_get(g->a);

    assert_non_null(t);
    assert_int_equal((uintptr_t)t->buf % 64, 0);
    t->n = trains[i].n;
    t->segment = trains[i].segment;
    t->ecn = trains[i].ecn;
    pattern_fill(t->buf, t->n, i);
    t->remote = *ring_udp_local(g->b);
    if (udp_addr_is_any(&t->remote)) /* a dual-stack socket is reached by IPv4 here */
        assert_int_equal(udp_addr_parse("127.0.0.1", udp_addr_port(&t->remote), &t->remote), 0);
    assert_int_equal(ring_udp_send(t), 0);
}

/* Datagrams arrive whole, in order, with their sender, receiver and ECN. */
static void trains_on_udp(struct rig *g, struct ring_udp *s, struct udp_dgram *d, size_t n,
                          ns_t now)
{
    (void)now;
    assert_ptr_equal(s, g->b);
    for (size_t i = 0; i < n; i++) {
        const struct train_row *row = &trains[g->m];
        size_t left = row->n - g->off;

        assert_int_equal(d[i].n, left < row->segment ? left : row->segment);
        assert_true(pattern_is(d[i].p, d[i].n, g->m, g->off));
        assert_int_equal(d[i].ecn, row->ecn);
        assert_true(udp_addr_equal(d[i].remote, ring_udp_local(g->a)));
        assert_int_equal(udp_addr_port(d[i].local), udp_addr_port(ring_udp_local(g->b)));
        assert_false(udp_addr_is_any(d[i].local));
        assert_int_equal(d[i].local->sa.sa_family, d[i].remote->sa.sa_family);
        assert_true(d[i].ifindex > 0);
        memset(d[i].p, 0, d[i].n); /* the bytes are ours */
        g->off += d[i].n;
        g->n++;
        if (g->off < row->n)
            continue;
        g->off = 0;
        if (++g->m == ARRAY_LEN(trains))
            ring_stop(g->r, 0);
        else if (g->m + 1 < ARRAY_LEN(trains))
            train_send(g, g->m + 1);
    }
}

static void trains_run(void **state, const char *from, const char *to, bool dual,
                       const struct ring_cfg *cfg)
{
    const struct ring_stats *st;
    struct rig g;

    rig_open(state, cfg, &g);
    g.on_udp = trains_on_udp;
    g.a = sock_open(&g, from, false);
    g.b = sock_open(&g, to, dual);
    train_send(&g, 0);
    train_send(&g, 1);
    assert_int_equal(ring_run(g.r), 0);
    st = ring_stats(g.r);
    assert_int_equal(g.m, ARRAY_LEN(trains));
    assert_int_equal(st->udp_rx_datagrams, g.n);
    assert_int_equal(st->udp_tx_datagrams, g.n);
    assert_int_equal(st->udp_tx_bytes, st->udp_rx_bytes);
    assert_int_equal(st->udp_tx_drops + st->udp_rx_drops, 0);
    if (cfg && cfg->no_gso)
        assert_int_equal(st->udp_tx_sends, g.n);
    else if (ring_udp_gso(g.a))
        assert_true(st->udp_tx_sends < g.n / 4);
    rig_close(&g);
}

static void test_trains_v4(void **state)
{
    trains_run(state, "127.0.0.1:0", "127.0.0.1:0", false, NULL);
}

static void test_trains_v6(void **state)
{
    trains_run(state, "[::1]:0", "[::1]:0", false, NULL);
}

/* IPv4 has one spelling also on a socket of both families. */
static void test_trains_dual(void **state)
{
    trains_run(state, "127.0.0.1:0", "[::]:0", true, NULL);
}

static void test_trains_no_gso(void **state)
{
    struct ring_cfg cfg = {.no_gso = true};

    trains_run(state, "127.0.0.1:0", "127.0.0.1:0", false, &cfg);
}

/* Two receive buffers for all: nothing is lost, reading starts again each time. */
static void test_trains_two_buffers(void **state)
{
    struct ring_cfg cfg = {.udp_bufs = 2};

    trains_run(state, "127.0.0.1:0", "127.0.0.1:0", false, &cfg);
}

static void answer_on_udp(struct rig *g, struct ring_udp *s, struct udp_dgram *d, size_t n,
                          ns_t now)
{
    (void)now;
    for (size_t i = 0; i < n; i++) {
        struct udp_train *t = ring_train_get(s);

        assert_non_null(t);
        memcpy(t->buf, d[i].p, d[i].n);
        t->n = t->segment = d[i].n;
        t->remote = *d[i].remote;
        t->local = *d[i].local;
        assert_int_equal(ring_udp_send(t), 0);
    }
    if (++g->m == 20)
        ring_stop(g->r, 0);
}

/* An answer leaves from the address that was asked, not from the machine's first. */
static void test_local_address(void **state)
{
    struct udp_train *t;
    struct rig g;

    rig_open(state, NULL, &g);
    g.on_udp = answer_on_udp;
    g.a = sock_open(&g, "127.0.0.1:0", false);
    g.b = sock_open(&g, "[::]:0", true);
    t = ring_train_get(g.a);
    assert_non_null(t);
    t->n = t->segment = 10;
    assert_int_equal(
        udp_addr_parse("127.0.0.77", udp_addr_port(ring_udp_local(g.b)), &t->remote), 0);
    assert_int_equal(ring_udp_send(t), 0);
    assert_int_equal(ring_run(g.r), 0);
    assert_int_equal(ring_stats(g.r)->udp_tx_drops, 0);
    rig_close(&g);
}

static void empty_on_udp(struct rig *g, struct ring_udp *s, struct udp_dgram *d, size_t n,
                         ns_t now)
{
    (void)now;
    assert_ptr_equal(ring_udp_user(s), g);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(d[i].n, 1);
    g->m += n;
    if (g->m == 3)
        ring_stop(g->r, 0);
}

/* Empty datagrams are no datagrams, and nothing comes out of step by them. */
static void test_empty(void **state)
{
    static const size_t sizes[] = {0, 1, 0, 0, 1, 1, 0};
    const union udp_addr *to;
    struct rig g;
    int fd;

    rig_open(state, NULL, &g);
    g.on_udp = empty_on_udp;
    g.a = sock_open(&g, "127.0.0.1:0", false);
    ring_udp_set_user(g.a, &g);
    assert_true(ring_udp_fd(g.a) >= 0);
    to = ring_udp_local(g.a);
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        assert_int_equal(sendto(fd, "x", sizes[i], 0, &to->sa, udp_addr_len(to)), sizes[i]);
    assert_int_equal(ring_run(g.r), 0);
    assert_int_equal(ring_stats(g.r)->udp_rx_datagrams, 3);
    close(fd);
    rig_close(&g);
}

/* ---- what the kernel may answer to a send ---- */

static void log_keep(void *ctx, enum log_level level, const char *text)
{
    (void)level;
    snprintf(ctx, 600, "%s", text);
}

static struct udp_train *train_of(struct rig *g, size_t n, size_t segment)
{
    struct udp_train *t = ring_train_get(g->a);

    assert_non_null(t);
    t->n = n;
    t->segment = segment;
    assert_int_equal(udp_addr_parse("127.0.0.1:9", 0, &t->remote), 0);
    assert_int_equal(udp_train_msg(t, AF_INET, g->a->segments_max), 0);
    return t;
}

/* Answers of other kernels and devices, given by hand. */
static void test_send_results(void **state)
{
    char said[600] = "";
    struct log log = {log_keep, said, LOG_INFO};
    struct ring_cfg cfg = {.log = &log};
    struct udp_train *t;
    struct rig g;

    rig_open(state, &cfg, &g);
    g.a = sock_open(&g, "127.0.0.1:0", false);

    /* 64 segments only: the same in two parts. */
    t = train_of(&g, 12800, 100);
    assert_int_equal(t->part, 12800);
    assert_int_equal(loop_send_result(g.a, t, -EINVAL), LOOP_MORE);
    assert_int_equal(udp_train_msg(t, AF_INET, g.a->segments_max), 0);
    assert_int_equal(t->part, 6400);
    assert_int_equal(loop_send_result(g.a, t, 6400), LOOP_MORE);
    assert_int_equal(udp_train_msg(t, AF_INET, g.a->segments_max), 0);
    assert_int_equal(loop_send_result(g.a, t, -EINTR), LOOP_MORE);
    assert_int_equal(loop_send_result(g.a, t, -EAGAIN), LOOP_FULL);
    assert_int_equal(loop_send_result(g.a, t, 6400), LOOP_DONE);
    assert_true(ring_udp_gso(g.a));
    assert_string_equal(said, "");

    /* The whole refused, and its pieces as well: not the segmentation's fault. */
    t = train_of(&g, 2500, 1000);
    assert_int_equal(loop_send_result(g.a, t, -EMSGSIZE), LOOP_MORE);
    assert_int_equal(udp_train_msg(t, AF_INET, g.a->segments_max), 0);
    assert_int_equal(t->part, 1000);
    assert_int_equal(loop_send_result(g.a, t, -EMSGSIZE), LOOP_DONE);
    assert_true(ring_udp_gso(g.a));
    assert_int_equal(ring_stats(g.r)->udp_tx_drops, 3);

    /* The whole refused, a piece passes: no segmentation any more. */
    t = train_of(&g, 2500, 1000);
    assert_int_equal(loop_send_result(g.a, t, -EINVAL), LOOP_MORE);
    assert_int_equal(udp_train_msg(t, AF_INET, g.a->segments_max), 0);
    assert_int_equal(loop_send_result(g.a, t, 1000), LOOP_MORE);
    assert_false(ring_udp_gso(g.a));
    assert_non_null(strstr(said, "GSO"));
    assert_int_equal(loop_send_result(g.a, t, -ENOBUFS), LOOP_DONE);
    assert_int_equal(ring_stats(g.r)->udp_tx_drops, 5);

    /* The device can't: known at once. */
    said[0] = 0;
    g.b = sock_open(&g, "127.0.0.1:0", false);
    t = ring_train_get(g.b);
    assert_non_null(t);
    t->n = 2500;
    t->segment = 1000;
    assert_int_equal(udp_addr_parse("127.0.0.1:9", 0, &t->remote), 0);
    assert_int_equal(udp_train_msg(t, AF_INET, 64), 0);
    assert_int_equal(loop_send_result(g.b, t, -EIO), LOOP_MORE);
    assert_false(ring_udp_gso(g.b));
    assert_non_null(strstr(said, "GSO"));
    ring_train_put(t);
    rig_close(&g);
}

/* Contradicting trains are refused, and go back to the pool. */
static void test_train_refused(void **state)
{
    static const struct {
        size_t n, segment;
        const char *remote;
        uint8_t ecn;
    } rows[] = {
        {0, 100, "127.0.0.1:9", 0},      {100, 0, "127.0.0.1:9", 0},
        {65508, 1000, "127.0.0.1:9", 0}, {100, 100, "127.0.0.1:0", 0},
        {100, 100, "[::1]:9", 0},        {100, 100, "127.0.0.1:9", 4},
    };
    struct ring_cfg cfg = {.sock_trains = 1};
    struct rig g;

    rig_open(state, &cfg, &g);
    g.a = sock_open(&g, "127.0.0.1:0", false);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct udp_train *t = ring_train_get(g.a);

        assert_non_null(t);
        t->n = rows[i].n;
        t->segment = rows[i].segment;
        t->ecn = rows[i].ecn;
        assert_int_equal(udp_addr_parse(rows[i].remote, 0, &t->remote), 0);
        assert_int_equal(ring_udp_send(t), QUIC_INVAL);
    }
    ring_train_put(ring_train_get(g.a));
    rig_close(&g);
}

/* Each flush takes trains until refused; each refusal is followed by another flush. */
static void starve_on_flush(struct rig *g, ns_t now)
{
    struct udp_train *t;

    (void)now;
    while (g->n < g->want && (t = ring_train_get(g->a))) {
        t->n = t->segment = 20;
        t->remote = *ring_udp_local(g->b);
        assert_int_equal(ring_udp_send(t), 0);
        g->n++;
    }
}

static void starve_on_udp(struct rig *g, struct ring_udp *s, struct udp_dgram *d, size_t n,
                          ns_t now)
{
    (void)s;
    (void)d;
    (void)now;
    g->m += n;
    if (g->m == g->want)
        ring_stop(g->r, 0);
}

static void test_train_share(void **state)
{
    struct ring_cfg cfg = {.sock_trains = 3};
    struct rig g;

    rig_open(state, &cfg, &g);
    g.on_flush = starve_on_flush;
    g.on_udp = starve_on_udp;
    g.a = sock_open(&g, "127.0.0.1:0", false);
    g.b = sock_open(&g, "127.0.0.1:0", false);
    g.want = 40;
    starve_on_flush(&g, 0);
    assert_int_equal(g.n, 3);
    assert_int_equal(ring_run(g.r), 0);
    assert_int_equal(ring_stats(g.r)->udp_tx_datagrams, 40);
    rig_close(&g);
}

/* Both buffers held: nothing is read until they are released, then everything. */
static void hold_on_udp(struct rig *g, struct ring_udp *s, struct udp_dgram *d, size_t n,
                        ns_t now)
{
    void **held = g->p;

    (void)s;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(d[i].p[0], (uint8_t)(g->m + i));
        if (g->n < 2) {
            assert_true(ring_buf_hold(g->r, d[i].p));
            held[g->n++] = d[i].p;
        }
    }
    g->m += n;
    if (g->n == 2 && !g->off) {
        g->off = 1;
        ring_deadline_set(g->r, now + 30 * NS_PER_MS);
    }
    if (g->m == 6)
        ring_stop(g->r, 0);
}

static void hold_on_deadline(struct rig *g, ns_t now)
{
    void **held = g->p;

    assert_int_equal(g->m, 2);
    assert_int_equal(*(uint8_t *)held[0], 0);
    assert_int_equal(*(uint8_t *)held[1], 1);
    ring_buf_release(g->r, held[0]);
    ring_buf_release(g->r, held[1]);
    assert_false(ring_buf_hold(g->r, g));
    ring_deadline_set(g->r, now + LATE);
}

static void test_hold(void **state)
{
    struct ring_cfg cfg = {.udp_bufs = 2};
    void *held[2];
    struct rig g;

    rig_open(state, &cfg, &g);
    g.on_udp = hold_on_udp;
    g.on_deadline = hold_on_deadline;
    g.p = held;
    g.a = sock_open(&g, "127.0.0.1:0", false);
    g.b = sock_open(&g, "127.0.0.1:0", false);
    for (uint8_t i = 0; i < 6; i++) {
        struct udp_train *t = ring_train_get(g.a);

        assert_non_null(t);
        t->buf[0] = i;
        t->n = t->segment = 1;
        t->remote = *ring_udp_local(g.b);
        assert_int_equal(ring_udp_send(t), 0);
    }
    assert_int_equal(ring_run(g.r), 0);
    assert_true(ring_stats(g.r)->no_buffers > 0);
    rig_close(&g);
}

static void hasten_on_udp(struct rig *g, struct ring_udp *s, struct udp_dgram *d, size_t n,
                          ns_t now)
{
    (void)s, (void)d, (void)now;
    g->n += n;
}

/* An answer to a few packets is there before the callback ends, one to many comes later. */
static void hasten_on_flush(struct rig *g, ns_t now)
{
    struct pollfd p = {.fd = g->peer, .events = POLLIN};
    struct udp_train *t;
    uint8_t byte;

    (void)now;
    if (g->n == 0)
        return;
    t = ring_train_get(g->b);
    assert_non_null(t);
    t->n = t->segment = 1;
    t->remote = *(union udp_addr *)g->p;
    assert_int_equal(ring_udp_send(t), 0);
    ring_hasten(g->r);
    if (g->n <= LOOP_FEW) {
        assert_int_equal(poll(&p, 1, LATE / NS_PER_MS), 1);
        assert_int_equal(recv(g->peer, &byte, 1, 0), 1);
    } else {
        assert_int_equal(poll(&p, 1, 0), 0);
    }
    g->off += g->n;
    g->n = 0;
    if (g->off == g->want)
        ring_stop(g->r, 0);
}

static void test_hasten(void **state)
{
    static const size_t counts[] = {1, LOOP_FEW, 2 * LOOP_FEW};

    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        union udp_addr own;
        socklen_t n = sizeof(own);
        struct rig g;

        rig_open(state, NULL, &g);
        g.b = sock_open(&g, "127.0.0.1:0", false);
        g.peer = socket(AF_INET, SOCK_DGRAM, 0);
        assert_int_equal(udp_addr_parse("127.0.0.1:0", 0, &own), 0);
        assert_int_equal(bind(g.peer, &own.sa, udp_addr_len(&own)), 0);
        assert_int_equal(getsockname(g.peer, &own.sa, &n), 0);
        g.p = &own;
        g.on_udp = hasten_on_udp;
        g.on_flush = hasten_on_flush;
        g.want = counts[i];
        for (size_t k = 0; k < counts[i]; k++)
            assert_int_equal(sendto(g.peer, "x", 1, 0, &ring_udp_local(g.b)->sa,
                                    udp_addr_len(ring_udp_local(g.b))),
                             1);
        assert_int_equal(ring_run(g.r), 0);
        rig_close(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_trains_v4),
        EACH(test_trains_v6),
        EACH(test_trains_dual),
        EACH(test_trains_no_gso),
        EACH(test_trains_two_buffers),
        EACH(test_local_address),
        EACH(test_empty),
        EACH(test_send_results),
        EACH(test_train_refused),
        EACH(test_train_share),
        EACH(test_hold),
        EACH(test_hasten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
