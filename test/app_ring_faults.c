/*
 * The event loop while the kernel fails at random (test/app_ring_faults.h): packets go round
 *
 *   peer -> TUN read -> train -> UDP -> gathered TUN write -> peer
 *
 * and each comes back whole and once, or is counted as lost, exactly: what leaked, hung, or
 * went back to the kernel too early would show. SEEDS is the number of seeds.
 */
#include <poll.h>

#include "test/app_ring_faults.h"

#include "test/app_ring_rig.h"

#define PACKETS 300
#define WINDOW  24
#define HOLDS   4
#define PREFIX  13
#define SIZE    1200
#define TICK    (50 * NS_PER_MS)
#define STALLS  4 /* more than a busy machine makes */

/* Bytes that were handed over and are kept. */
struct held {
    uint8_t *p;
    size_t n;
    uint32_t id;
};

/* What one seed's run has come to. */
struct run {
    unsigned fed, arrived, own; /* own: dropped by the test, for want of a train */
    unsigned until;             /* how many are to be fed */
    size_t size;                /* of the packets now */
    bool seen[PACKETS];
    struct held held[HOLDS];
    unsigned held_n;
    ns_t late;
    unsigned before, stalls; /* what was arrived and lost at the last tick */
};

static size_t size_of(const uint8_t *p)
{
    return (size_t)p[4] << 8 | p[5];
}

static uint32_t id_of(const uint8_t *p)
{
    uint32_t id;

    memcpy(&id, p, sizeof(id));
    return id;
}

static void packet_make(uint8_t *p, size_t n, uint32_t id)
{
    pattern_fill(p, n, id);
    memcpy(p, &id, sizeof(id));
    p[4] = (uint8_t)(n >> 8);
    p[5] = (uint8_t)n;
}

static void packet_verify(const uint8_t *p, size_t n)
{
    assert_true(n >= 8);
    assert_true(id_of(p) < PACKETS);
    assert_int_equal(size_of(p), n);
    assert_true(pattern_is(p + 6, n - 6, id_of(p), 6));
}

/* ---- the peer -------------------------------------------------------------------------- */

static unsigned lost(const struct rig *g)
{
    const struct ring_stats *st = ring_stats(g->r);

    return ((const struct run *)g->p)->own +
           (unsigned)(st->tun_tx_drops + st->udp_tx_drops + st->udp_rx_drops);
}

static void peer_read(struct rig *g)
{
    struct run *run = g->p;
    uint8_t p[PREFIX + SIZE];
    ssize_t n;

    while ((n = recv(g->peer, p, sizeof(p), MSG_DONTWAIT)) > 0) {
        assert_true(n > PREFIX);
        packet_verify(p + PREFIX, (size_t)n - PREFIX);
        assert_true(pattern_is(p, PREFIX, id_of(p + PREFIX) + PACKETS, 0));
        assert_false(run->seen[id_of(p + PREFIX)]);
        run->seen[id_of(p + PREFIX)] = true;
        run->arrived++;
    }
}

static void peer_feed(struct rig *g)
{
    struct run *run = g->p;
    uint8_t p[SIZE];

    while (run->fed < run->until && run->fed < run->arrived + lost(g) + WINDOW) {
        if (!fault_random(20))
            run->size = 8 + fault_random(SIZE - 8);
        packet_make(p, run->size, run->fed);
        if (send(g->peer, p, run->size, MSG_DONTWAIT) < 0)
            return;
        run->fed++;
    }
}

/* ---- the loop's calls ------------------------------------------------------------------ */

static void hold_maybe(struct rig *g, uint8_t *p, size_t n)
{
    struct run *run = g->p;

    if (run->held_n == HOLDS || fault_random(8))
        return;
    assert_true(ring_buf_hold(g->r, p));
    run->held[run->held_n++] = (struct held){p, n, id_of(p)};
}

/* Held bytes are as they were, whatever went on meanwhile. */
static void holds_end(struct rig *g, bool all)
{
    struct run *run = g->p;

    for (unsigned i = 0; i < run->held_n;) {
        struct held h = run->held[i];

        packet_verify(h.p, h.n);
        assert_int_equal(id_of(h.p), h.id);
        if (all || fault_random(2)) {
            ring_buf_release(g->r, h.p);
            run->held[i] = run->held[--run->held_n];
        } else {
            i++;
        }
    }
}

/* Packets of one size that follow one another leave as one train. */
static void on_tun(struct rig *g, struct ring_tun *tun, struct ring_pkt *p, size_t n, ns_t now)
{
    struct run *run = g->p;

    (void)tun;
    (void)now;
    for (size_t i = 0; i < n;) {
        struct udp_train *t = ring_train_get(g->a);
        size_t most = 1 + fault_random(40);

        if (!t) {
            run->own++;
            i++;
            continue;
        }
        t->segment = p[i].n;
        t->remote = *ring_udp_local(g->b);
        for (size_t k = 0; k < most && i < n && p[i].n == t->segment; k++, i++) {
            packet_verify(p[i].p, p[i].n);
            hold_maybe(g, p[i].p, p[i].n);
            memcpy(t->buf + t->n, p[i].p, p[i].n);
            t->n += p[i].n;
        }
        assert_int_equal(ring_udp_send(t), 0);
    }
    assert_true(ring_check(g->r));
}

/* Each is written in pieces: one from elsewhere, the others where they lie. */
static void on_udp(struct rig *g, struct ring_udp *s, struct udp_dgram *d, size_t n, ns_t now)
{
    uint8_t prefix[PREFIX];
    struct iovec iov[100];

    (void)s;
    (void)now;
    for (size_t i = 0; i < n; i++) {
        size_t pieces = 1 + fault_random(ARRAY_LEN(iov) - 1), off = 0, k = 1;

        packet_verify(d[i].p, d[i].n);
        hold_maybe(g, d[i].p, d[i].n);
        pattern_fill(prefix, PREFIX, id_of(d[i].p) + PACKETS);
        iov[0] = (struct iovec){prefix, PREFIX};
        for (; off < d[i].n; k++) {
            size_t left = d[i].n - off;
            size_t len = k == pieces ? left : fault_random((uint32_t)(left / 4 + 2));

            iov[k] = (struct iovec){d[i].p + off, len};
            off += len;
        }
        ring_tun_write(g->tun, iov, k); /* what it refuses it counts */
        memset(prefix, 0, sizeof(prefix));
    }
    assert_true(ring_check(g->r));
}

/* Nobody is told of a lost packet, so the test looks from time to time; nothing waits for it. */
static void on_deadline(struct rig *g, ns_t now)
{
    struct run *run = g->p;
    unsigned done = run->arrived + lost(g);

    if (run->held_n)
        return;
    run->stalls += done == run->before && done < run->fed;
    run->before = done;
    if (run->stalls <= STALLS && now < run->late)
        return;
    print_error("%u fed, %u arrived, %u lost\n", run->fed, run->arrived, lost(g));
    ring_stop(g->r, -1);
}

static void on_flush(struct rig *g, ns_t now)
{
    struct run *run = g->p;

    holds_end(g, run->fed == run->until);
    peer_read(g);
    peer_feed(g);
    ring_deadline_set(g->r, now + (run->held_n ? NS_PER_MS : TICK));
    if (run->fed == run->until && (run->until < PACKETS || run->arrived + lost(g) == run->fed))
        ring_stop(g->r, 0);
}

static void on_peer(void *ctx, int fd, short events, ns_t now)
{
    (void)ctx; /* on_flush comes next */
    (void)fd;
    (void)now;
    assert_true(events & POLLIN);
}

/* ---- */

static void one_seed(void **state, uint64_t seed)
{
    struct ring_cfg cfg = {0};
    struct run run = {.size = SIZE};
    struct rig g;
    int fd;

    memset(&faults, 0, sizeof(faults));
    faults.seed = seed;
    cfg.udp_bufs = 1 + fault_random(6);
    cfg.tun_bufs = 1 + fault_random(12);
    cfg.sock_trains = 1 + fault_random(8);
    cfg.tun_writes = 1 + fault_random(40);
    faults.sq_entries = 1u << fault_random(10);
    /* In a third of the runs the end comes while much is under way. */
    run.until = fault_random(3) ? PACKETS : fault_random(PACKETS);
    rig_open(state, &cfg, &g);
    g.p = &run;
    g.on_tun = on_tun;
    g.on_udp = on_udp;
    g.on_flush = on_flush;
    g.on_deadline = on_deadline;
    g.a = sock_open(&g, "127.0.0.1:0", false);
    g.b = sock_open(&g, "127.0.0.1:0", false);
    pair_open(&g, SIZE);
    fd = (int)g.n;
    assert_int_equal(ring_fd_add(g.r, g.peer, POLLIN, on_peer, &g), 0);
    run.late = ring_clock() + 4 * LATE;
    ring_deadline_set(g.r, ring_clock() + TICK);
    peer_feed(&g);
    faults.one_in = 2 + fault_random(20);
    if (ring_run(g.r))
        fail_msg("seed %llu hangs", (unsigned long long)seed);
    assert_int_equal(g.tun_errors, 0);
    if (run.until == PACKETS)
        assert_true(faults.hits > 0);
    holds_end(&g, true);
    assert_true(ring_check(g.r));
    pair_close(&g, fd);
    faults.one_in = 0;
    rig_close(&g);
}

static void test_faults(void **state)
{
    const char *env = getenv("SEEDS");
    unsigned seeds = env ? (unsigned)strtoul(env, NULL, 10) : 40;

    for (uint64_t seed = 1; seed <= seeds; seed++)
        one_seed(state, seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {EACH(test_faults)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
