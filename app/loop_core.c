#include "app/loop_core.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SLICE (100 * NS_PER_US) /* the least that Linux grants */

ns_t ring_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (ns_t)ts.tv_sec * NS_PER_S + (ns_t)ts.tv_nsec;
}

/* ---- what the backends report ---- */

void loop_udp_received(struct ring_udp *s, unsigned slot, const struct msghdr *msg, size_t n)
{
    struct ring *r = s->r;
    struct udp_rx *rx = &r->rx[slot];

    loop_slot_took(&r->udp, slot);
    if (s->dead)
        return;
    s->errors = 0;
    r->stats.udp_rx_reads++;
    r->stats.udp_rx_bytes += n;
    r->few += r->few <= LOOP_FEW;
    rx->p = loop_slot(&r->udp, slot) + LOOP_RX_SKIP;
    rx->n = n;
    udp_rx_read(rx, msg, s->port);
    if (rx->cut || !udp_addr_len(&rx->remote)) {
        r->stats.udp_rx_drops++;
        return;
    }
    r->rx_next[slot] = -1;
    if (s->first < 0)
        s->first = (int)slot;
    else
        r->rx_next[s->last] = (int)slot;
    s->last = (int)slot;
    r->got = true;
}

void loop_tun_received(struct ring_tun *t, unsigned slot, size_t n)
{
    struct ring *r = t->r;

    loop_slot_took(&t->arena, slot);
    if (t->dead || n == 0)
        return;
    /* One byte more than the largest packet was asked for, so a cut one shows. */
    if (n > t->packet_bytes) {
        r->stats.tun_rx_errors++;
        return;
    }
    r->few += r->few <= LOOP_FEW;
    r->stats.tun_rx_packets++;
    r->stats.tun_rx_bytes += n;
    t->pkts[t->pkts_n++] = (struct ring_pkt){loop_slot(&t->arena, slot) + t->arena.skip, n};
    r->got = true;
}

void loop_tun_failed(struct ring_tun *t, int err)
{
    t->r->stats.tun_rx_errors++;
    t->failed = err;
    t->r->got = true;
}

void loop_tun_written(struct ring_tun *t, ssize_t res, size_t bytes)
{
    struct ring_stats *st = &t->r->stats;

    if (res < 0 || (size_t)res != bytes) {
        st->tun_tx_drops++;
        return;
    }
    st->tun_tx_packets++;
    st->tun_tx_bytes += bytes;
}

void loop_tun_write_now(struct ring_tun *t, const struct iovec *iov, size_t n, size_t bytes)
{
    ssize_t res;

    do
        res = writev(t->fd, iov, (int)n);
    while (res < 0 && errno == EINTR);
    loop_tun_written(t, res, bytes);
}

void loop_watch_ready(struct loop_watch *w, short events)
{
    struct ring *r = w->r;

    w->ready |= events;
    r->got = true;
    if (w->queued)
        return;
    w->queued = true;
    w->next_ready = NULL;
    *r->ready_tail = w;
    r->ready_tail = &w->next_ready;
}

/* ---- delivery ---- */

static void deliver_watches(struct ring *r, ns_t now)
{
    struct loop_watch *w = r->ready;

    r->ready = NULL;
    r->ready_tail = &r->ready;
    while (w) {
        struct loop_watch *next = w->next_ready;
        short ready = w->ready;

        w->queued = false;
        w->ready = 0;
        if (!w->dead)
            w->fn(w->ctx, w->fd, ready, now);
        if (!w->dead)
            r->be->watch_next(w);
        w = next;
    }
}

static void deliver_errors(struct ring *r, ns_t now)
{
    for (unsigned i = 0; i < r->errors_n; i++) {
        struct loop_error *e = &r->errors[i];

        if (!e->sock || e->sock->dead)
            continue;
        if (r->cfg.ops.on_udp_error)
            r->cfg.ops.on_udp_error(r->cfg.ctx, e->sock, &e->e, now);
        else
            LOG_AT(r->cfg.log, LOG_DEBUG, "sending %zu x %zu bytes: %s", e->e.count, e->e.bytes,
                   strerror(e->e.err));
    }
    r->errors_n = 0;
}

/* The datagrams of one socket, LOOP_VIEWS at a time. */
static void deliver_sock(struct ring *r, struct ring_udp *s, ns_t now)
{
    int slot = s->first;
    size_t n = 0, off = 0;

    s->first = s->last = -1;
    while (slot >= 0 && !s->dead) {
        size_t got = udp_split(&r->rx[slot], &off, r->views + n, LOOP_VIEWS - n);

        n += got;
        r->stats.udp_rx_datagrams += got;
        if (off >= r->rx[slot].n) {
            slot = r->rx_next[slot];
            off = 0;
        }
        if (n == LOOP_VIEWS || slot < 0) {
            if (n && r->cfg.ops.on_udp)
                r->cfg.ops.on_udp(r->cfg.ctx, s, r->views, n, now);
            n = 0;
        }
    }
}

static void deliver_tun(struct ring *r, struct ring_tun *t, ns_t now)
{
    unsigned n = t->pkts_n;

    t->pkts_n = 0;
    if (n && !t->dead && r->cfg.ops.on_tun)
        r->cfg.ops.on_tun(r->cfg.ctx, t, t->pkts, n, now);
    if (t->failed && !t->failed_told && !t->dead) {
        t->failed_told = true;
        if (r->cfg.ops.on_tun_error)
            r->cfg.ops.on_tun_error(r->cfg.ctx, t, t->failed, now);
    }
}

static void deliver(struct ring *r, ns_t now)
{
    deliver_watches(r, now);
    deliver_errors(r, now);
    for (struct ring_udp *s = r->socks; s; s = s->next)
        deliver_sock(r, s, now);
    for (struct ring_tun *t = r->tuns; t; t = t->next)
        deliver_tun(r, t, now);
    if (r->deadline <= now) {
        r->deadline = NS_NEVER;
        if (r->cfg.ops.on_deadline)
            r->cfg.ops.on_deadline(r->cfg.ctx, now);
    }
    r->flush_due = false;
    r->stats.batches++;
    if (r->cfg.ops.on_flush)
        r->cfg.ops.on_flush(r->cfg.ctx, now);
}

/* ---- the end of objects ---- */

static void tun_free(struct ring_tun *t)
{
    loop_arena_close(&t->arena);
    free(t->pkts);
    free(t);
}

static void sock_free(struct ring_udp *s)
{
    close(s->fd);
    free(s);
}

/* Free what is dead and of no use to anybody any more. */
static void sweep(struct ring *r)
{
    for (struct ring_tun **p = &r->tuns; *p;) {
        struct ring_tun *t = *p;

        if (t->dead && !t->pending && !t->arena.held) {
            *p = t->next;
            tun_free(t);
            r->dead_n--;
        } else {
            p = &t->next;
        }
    }
    for (struct ring_udp **p = &r->socks; *p;) {
        struct ring_udp *s = *p;

        if (s->dead && !s->pending && !s->taken) {
            *p = s->next;
            sock_free(s);
            r->dead_n--;
        } else {
            p = &s->next;
        }
    }
    for (struct loop_watch **p = &r->watches; *p;) {
        struct loop_watch *w = *p;

        if (w->dead && !w->pending && !w->queued) {
            *p = w->next;
            free(w);
            r->dead_n--;
        } else {
            p = &w->next;
        }
    }
}

/* ---- the loop ---- */

int ring_run(struct ring *r)
{
    while (!r->stop) {
        ns_t now;
        bool hurry;
        int rc;

        r->be->flush(r);
        hurry = r->flush_due || r->errors_n || r->got;
        rc = r->be->gather(r, hurry ? 0 : r->deadline);
        if (rc)
            return rc;
        now = ring_clock();
        if (r->got || r->flush_due || r->errors_n || r->deadline <= now) {
            r->got = false;
            deliver(r, now);
            r->few = 0;
        }
        loop_batch_end(r);
        if (r->dead_n)
            sweep(r);
    }
    r->be->flush(r);
    r->stop = false;
    return r->code;
}

void ring_hasten(struct ring *r)
{
    if (r->few <= LOOP_FEW)
        r->be->hasten(r);
}

void ring_stop(struct ring *r, int code)
{
    r->stop = true;
    r->code = code;
}

void ring_deadline_set(struct ring *r, ns_t at)
{
    r->deadline = at;
}

ns_t ring_deadline(const struct ring *r)
{
    return r->deadline;
}

/* ---- making and freeing ---- */

static int cfg_fill(struct ring *r, const struct ring_cfg *cfg)
{
    struct ring_cfg *c = &r->cfg;

    *c = *cfg;
    c->udp_bufs = c->udp_bufs ? c->udp_bufs : 32;
    c->sock_trains = c->sock_trains ? c->sock_trains : 32;
    c->tun_writes = c->tun_writes ? c->tun_writes : 4096;
    if (c->udp_bufs > 4096 || c->tun_bufs > 32768 || c->sock_trains > 4096 ||
        c->tun_writes > 65536 || c->kind > RING_EPOLL)
        return QUIC_INVAL;
    return 0;
}

/* Start a backend, with the receive buffers, on which some systems refuse io_uring too. */
static int backend_open(struct ring *r, const struct loop_backend *be, char *why,
                        size_t why_size)
{
    int rc;

    r->be = be;
    rc = be->open(r, why, why_size);
    if (rc)
        return rc;
    rc = loop_arena_open(r, &r->udp, r->cfg.udp_bufs, 0, LOOP_RX_SKIP + LOOP_RX_ROOM);
    if (!rc)
        return 0;
    be->close(r);
    snprintf(why, why_size,
             "%s gives no receive buffers: out of memory, or `ulimit -l` too small", be->name);
    return rc;
}

/* Start the backend asked for, or for RING_AUTO the first that works. */
static int backend_choose(struct ring *r, char *why, size_t why_size)
{
    int rc;

    if (r->cfg.kind != RING_EPOLL) {
        rc = backend_open(r, &loop_uring, why, why_size);
        if (!rc || r->cfg.kind == RING_URING)
            return rc;
        LOG_AT(r->cfg.log, LOG_INFO, "using epoll: %s", why);
    }
    return backend_open(r, &loop_epoll, why, why_size);
}

static void ring_release(struct ring *r)
{
    free(r->rx);
    free(r->rx_next);
    for (size_t i = 0; i < r->all_n; i++) {
        free(r->all[i]->buf);
        free(r->all[i]);
    }
    free(r->all);
    free(r);
}

/*
 * Deadlines pace packets: the usual 50 us of timer slack would smear them. And who answers a
 * packet can't wait until a busy process has used up its time slice, of milliseconds: one whose
 * own slice is shorter need not, since Linux 6.12. Its share of the processor stays the same.
 */
static void be_prompt(void)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period; /* ns */
    } a = {0};

    prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
    if (syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0) || a.policy != SCHED_OTHER)
        return;
    a.flags = 0;
    a.runtime = SLICE;
    syscall(SYS_sched_setattr, 0, &a, 0); /* where it is forbidden, nothing is lost */
}

int ring_new(const struct ring_cfg *cfg, struct ring **out, char *why, size_t why_size)
{
    struct ring *r = calloc(1, sizeof(*r));
    int rc;

    *out = NULL;
    snprintf(why, why_size, "out of memory");
    if (!r)
        return QUIC_NOMEM;
    r->deadline = NS_NEVER;
    r->sigfd = -1;
    r->ready_tail = &r->ready;
    rc = cfg_fill(r, cfg);
    if (rc) {
        snprintf(why, why_size, "a buffer count of the event loop is out of range");
        ring_release(r);
        return rc;
    }
    r->rx = calloc(r->cfg.udp_bufs, sizeof(*r->rx));
    r->rx_next = calloc(r->cfg.udp_bufs, sizeof(*r->rx_next));
    rc = r->rx && r->rx_next ? backend_choose(r, why, why_size) : QUIC_NOMEM;
    if (rc) {
        ring_release(r);
        return rc;
    }
    be_prompt();
    *out = r;
    return 0;
}

void ring_free(struct ring *r)
{
    if (!r)
        return;
    while (r->children)
        ring_child_del(r, r->children->pid);
    for (struct ring_udp *s = r->socks; s; s = s->next)
        ring_udp_del(s);
    for (struct ring_tun *t = r->tuns; t; t = t->next)
        ring_tun_del(t);
    if (r->sigfd >= 0) {
        struct signalfd_siginfo late;

        while (read(r->sigfd, &late, sizeof(late)) == (ssize_t)sizeof(late))
            ;
        close(r->sigfd);
        pthread_sigmask(SIG_SETMASK, &r->mask_before, NULL);
    }
    for (struct loop_watch *w = r->watches; w; w = w->next)
        w->dead = true;
    r->be->flush(r);
    if (!r->be->drain(r)) {
        LOG_AT(r->cfg.log, LOG_ERROR,
               "io_uring requests don't end: their memory is left alone");
        return;
    }
    loop_batch_end(r);
    while (r->socks) {
        struct ring_udp *s = r->socks;

        r->socks = s->next;
        sock_free(s);
    }
    while (r->tuns) {
        struct ring_tun *t = r->tuns;

        r->tuns = t->next;
        tun_free(t);
    }
    while (r->watches) {
        struct loop_watch *w = r->watches;

        r->watches = w->next;
        free(w);
    }
    loop_arena_close(&r->udp);
    r->be->close(r);
    ring_release(r);
}

enum ring_kind ring_kind(const struct ring *r)
{
    return r->be->kind;
}

const char *ring_kind_name(const struct ring *r)
{
    return r->be->name;
}

/* Slots add up, and no spent one is free. */
static bool arena_check(const struct loop_arena *a)
{
    unsigned held = 0;

    for (unsigned i = 0; i < a->n; i++)
        held += a->refs[i] > 0;
    for (unsigned i = 0; i < a->spent_n; i++) {
        if (!a->refs[a->spent[i]])
            return false;
    }
    return held == a->held && a->avail + a->held == a->n && a->spent_n <= a->held;
}

bool ring_check(const struct ring *r)
{
    size_t trains = 0;

    for (const struct loop_arena *a = r->arenas; a; a = a->next) {
        if (!arena_check(a))
            return false;
    }
    for (const struct udp_train *t = r->pool; t; t = t->next)
        trains++;
    for (const struct ring_udp *s = r->socks; s; s = s->next) {
        const struct udp_train *t = s->queue;
        unsigned queued = 0;

        for (; t; t = t->next)
            queued += t->sock == s;
        if (queued > s->taken || s->taken > r->cfg.sock_trains)
            return false;
        trains += s->taken;
    }
    return trains == r->all_n;
}

const struct ring_stats *ring_stats(const struct ring *r)
{
    return &r->stats;
}
