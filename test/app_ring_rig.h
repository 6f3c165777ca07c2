/*
 * app_ring_rig - one test's loop, what its callbacks note, and how it is closed: with every
 * descriptor given back. Tests run once in each mode.
 */
#ifndef TEST_APP_RING_RIG_H
#define TEST_APP_RING_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "app/ring.h"
#include "test/app_ring_util.h"

#define LATE (30 * NS_PER_S) /* the watchdog of each test */

/* One test's loop and what its callbacks noted. */
struct rig {
    struct ring *r;
    const struct mode *mode;
    unsigned fds_before;
    void (*on_udp)(struct rig *g, struct ring_udp *s, struct udp_dgram *d, size_t n, ns_t now);
    void (*on_tun)(struct rig *g, struct ring_tun *t, struct ring_pkt *p, size_t n, ns_t now);
    void (*on_flush)(struct rig *g, ns_t now);
    void (*on_deadline)(struct rig *g, ns_t now);
    struct ring_udp *a, *b;
    struct ring_tun *tun;
    unsigned flushes, signals[65], tun_errors;
    int last_tun_error;
    uint64_t m; /* message under way */
    size_t off; /* bytes of it seen */
    size_t n, want;
    void *p;
    int peer;
};

static void rig_udp(void *ctx, struct ring_udp *s, struct udp_dgram *d, size_t n, ns_t now)
{
    struct rig *g = ctx;

    if (g->on_udp)
        g->on_udp(g, s, d, n, now);
}

static void rig_tun(void *ctx, struct ring_tun *t, struct ring_pkt *p, size_t n, ns_t now)
{
    struct rig *g = ctx;

    if (g->on_tun)
        g->on_tun(g, t, p, n, now);
}

static void rig_flush(void *ctx, ns_t now)
{
    struct rig *g = ctx;

    g->flushes++;
    assert_true(ring_check(g->r));
    if (g->on_flush)
        g->on_flush(g, now);
}

static void rig_deadline(void *ctx, ns_t now)
{
    struct rig *g = ctx;

    if (g->on_deadline)
        g->on_deadline(g, now);
    else
        ring_stop(g->r, -1);
}

static void rig_signal(void *ctx, int signo, ns_t now)
{
    struct rig *g = ctx;

    (void)now;
    g->signals[signo]++;
    ring_stop(g->r, 0);
}

static void rig_tun_error(void *ctx, struct ring_tun *t, int err, ns_t now)
{
    struct rig *g = ctx;

    (void)t;
    (void)now;
    g->tun_errors++;
    g->last_tun_error = err;
    ring_stop(g->r, 0);
}

static const struct ring_ops rig_ops = {.on_udp = rig_udp,
                                        .on_tun = rig_tun,
                                        .on_flush = rig_flush,
                                        .on_deadline = rig_deadline,
                                        .on_signal = rig_signal,
                                        .on_tun_error = rig_tun_error};

static void rig_open(void **state, const struct ring_cfg *base, struct rig *g)
{
    struct ring_cfg cfg = base ? *base : (struct ring_cfg){0};
    char why[300];

    memset(g, 0, sizeof(*g));
    g->mode = *state;
    g->fds_before = fds_open();
    g->peer = -1;
    cfg.kind = g->mode->kind;
    cfg.no_multishot = g->mode->no_multishot;
    cfg.ops = rig_ops;
    cfg.ctx = g;
    if (ring_new(&cfg, &g->r, why, sizeof(why))) {
        print_message("%s\n", why);
        skip();
    }
    assert_int_equal(ring_kind(g->r), g->mode->kind);
    ring_deadline_set(g->r, ring_clock() + LATE);
}

/* Everything is given back. */
static void rig_close(struct rig *g)
{
    if (g->r)
        assert_true(ring_check(g->r));
    ring_free(g->r);
    if (g->peer >= 0)
        close(g->peer);
    assert_int_equal(fds_open(), g->fds_before);
}

static struct ring_udp *sock_open(struct rig *g, const char *addr, bool dual)
{
    struct udp_cfg cfg = {.dual = dual};
    struct ring_udp *s;
    char why[200] = "";
    int fd;

    assert_int_equal(udp_addr_parse(addr, 0, &cfg.bind), 0);
    if (udp_open(&cfg, &fd, why, sizeof(why))) {
        print_message("%s\n", why);
        ring_free(g->r);
        skip();
    }
    assert_int_equal(ring_udp_add(g->r, fd, NULL, &s), 0);
    return s;
}

/* A packet descriptor pair: one end a "TUN" of the loop, the other in g->peer. */
__attribute__((unused)) static void pair_open(struct rig *g, size_t packet_bytes)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(ring_tun_add(g->r, pair[0], packet_bytes, NULL, &g->tun), 0);
    g->peer = pair[1];
    g->n = (size_t)pair[0]; /* closed by pair_close */
}

__attribute__((unused)) static void pair_close(struct rig *g, int fd)
{
    ring_free(g->r);
    g->r = NULL;
    close(fd);
}

#define EACH(f)                                                                                \
    {#f " on io_uring", f, NULL, NULL, (void *)(uintptr_t)&modes[0]},                          \
        {#f " on io_uring, plain reads", f, NULL, NULL, (void *)(uintptr_t)&modes[1]},         \
    {                                                                                          \
#f " on epoll", f, NULL, NULL, (void *)(uintptr_t)&modes[2]                            \
    }

#endif
