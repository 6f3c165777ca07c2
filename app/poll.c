/*
 * poll - the epoll backend of app/ring.h.
 *
 * Model: every descriptor is in one epoll set, level-triggered. A socket or TUN is asked for
 * input only while there are free buffers, and for output only while its send queue waits,
 * so that an idle or blocked loop sleeps. Reads go on until EAGAIN within a budget. TUN
 * writes happen at once; trains wait in their socket's queue until the batch is over.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "app/loop_core.h"

#define EVENTS   64 /* descriptors per wait */
#define RX_BATCH 8  /* messages per recvmmsg */

/* What an event belongs to, in the low bits of its pointer. */
enum tag { TAG_WATCH, TAG_TUN, TAG_UDP, TAG_MASK = 3 };

struct epoll_state {
    int fd;
    bool coarse; /* no epoll_pwait2: milliseconds only */
};

static int ctl(struct ring *r, int op, int fd, uint32_t events, void *object, enum tag tag)
{
    struct epoll_state *e = r->priv;
    struct epoll_event ev = {.events = events, .data.u64 = (uintptr_t)object | tag};

    return epoll_ctl(e->fd, op, fd, &ev) ? QUIC_INVAL : 0;
}

static int poll_open(struct ring *r, char *why, size_t why_size)
{
    struct epoll_state *e = calloc(1, sizeof(*e));

    if (!e)
        return QUIC_NOMEM;
    e->fd = epoll_create1(EPOLL_CLOEXEC);
    if (e->fd < 0) {
        snprintf(why, why_size, "epoll doesn't work here: %s", strerror(errno));
        free(e);
        return QUIC_CLOSED;
    }
    r->priv = e;
    return 0;
}

static bool poll_drain(struct ring *r)
{
    (void)r; /* system calls are over when they return */
    return true;
}

static void poll_close(struct ring *r)
{
    struct epoll_state *e = r->priv;

    close(e->fd);
    free(e);
}

/* ---- buffers ---- */

static int poll_arena_open(struct loop_arena *a)
{
    a->free_list = calloc(a->n, sizeof(*a->free_list));
    if (!a->free_list)
        return QUIC_NOMEM;
    for (unsigned i = 0; i < a->n; i++)
        a->free_list[i] = a->n - 1 - i;
    return 0;
}

static void poll_arena_close(struct loop_arena *a)
{
    free(a->free_list);
}

static void tun_resume(struct ring_tun *t);
static void udp_interest(struct ring_udp *s);

static void poll_slot_back(struct loop_arena *a, unsigned slot)
{
    struct ring *r = a->r;

    a->free_list[a->avail - 1] = slot;
    if (a->avail > 1)
        return;
    /* The first one back: whoever paused for want of it reads again. */
    if (a == &r->udp) {
        for (struct ring_udp *s = r->socks; s; s = s->next)
            udp_interest(s);
    } else {
        for (struct ring_tun *t = r->tuns; t; t = t->next) {
            if (a == &t->arena)
                tun_resume(t);
        }
    }
}

/* ---- TUN ---- */

static int poll_tun_add(struct ring_tun *t)
{
    return ctl(t->r, EPOLL_CTL_ADD, t->fd, EPOLLIN, t, TAG_TUN);
}

static void poll_tun_del(struct ring_tun *t)
{
    struct epoll_state *e = t->r->priv;

    epoll_ctl(e->fd, EPOLL_CTL_DEL, t->fd, NULL);
}

static void tun_pause(struct ring_tun *t)
{
    t->paused = true;
    ctl(t->r, EPOLL_CTL_MOD, t->fd, 0, t, TAG_TUN);
}

static void tun_resume(struct ring_tun *t)
{
    if (!t->paused || t->dead || t->failed)
        return;
    t->paused = false;
    t->r->stats.rearms++;
    ctl(t->r, EPOLL_CTL_MOD, t->fd, EPOLLIN, t, TAG_TUN);
}

static void tun_stop(struct ring_tun *t, int err)
{
    loop_tun_failed(t, err);
    poll_tun_del(t);
}

static void tun_read(struct ring_tun *t)
{
    struct loop_arena *a = &t->arena;

    if (t->dead || t->failed)
        return;
    while (a->avail) {
        unsigned slot = a->free_list[a->avail - 1];
        ssize_t n = read(t->fd, loop_slot(a, slot) + a->skip, a->room);

        if (n > 0)
            loop_tun_received(t, slot, (size_t)n);
        else if (n < 0 && errno == EINTR)
            continue;
        else if (n < 0 && errno == EAGAIN)
            return;
        else
            return tun_stop(t, n < 0 ? errno : EPIPE);
    }
    t->r->stats.no_buffers++;
    tun_pause(t);
}

static int poll_tun_write(struct ring_tun *t, const struct iovec *iov, size_t n_iov,
                          size_t bytes)
{
    loop_tun_write_now(t, iov, n_iov, bytes);
    return 0;
}

/* ---- UDP ---- */

static uint32_t udp_events(const struct ring_udp *s)
{
    return (s->receiving ? EPOLLIN : 0U) | (s->full ? EPOLLOUT : 0U);
}

/* Ask for input as buffers allow, for output as the queue wants. */
static void udp_interest(struct ring_udp *s)
{
    if (s->dead)
        return;
    if (!s->receiving && s->r->udp.avail)
        s->r->stats.rearms++;
    s->receiving = s->r->udp.avail > 0;
    ctl(s->r, EPOLL_CTL_MOD, s->fd, udp_events(s), s, TAG_UDP);
}

static int poll_udp_add(struct ring_udp *s)
{
    s->receiving = true;
    return ctl(s->r, EPOLL_CTL_ADD, s->fd, EPOLLIN, s, TAG_UDP);
}

static void poll_udp_del(struct ring_udp *s)
{
    struct epoll_state *e = s->r->priv;

    epoll_ctl(e->fd, EPOLL_CTL_DEL, s->fd, NULL);
}

/* Receive up to `n` messages, all of which find a buffer; returns how many came. */
static unsigned udp_read_batch(struct ring_udp *s, unsigned n)
{
    struct loop_arena *a = &s->r->udp;
    unsigned slots[RX_BATCH];
    struct mmsghdr msgs[RX_BATCH];
    struct iovec iov[RX_BATCH];
    int got;

    for (unsigned i = 0; i < n; i++) {
        uint8_t *p;

        slots[i] = a->free_list[a->avail - 1 - i];
        p = loop_slot(a, slots[i]);
        iov[i] = (struct iovec){p + LOOP_RX_SKIP, LOOP_RX_ROOM};
        msgs[i].msg_hdr = (struct msghdr){.msg_name = p + 16,
                                          .msg_namelen = LOOP_RX_NAME,
                                          .msg_control = p + 16 + LOOP_RX_NAME,
                                          .msg_controllen = UDP_RX_CONTROL,
                                          .msg_iov = &iov[i],
                                          .msg_iovlen = 1};
    }
    got = recvmmsg(s->fd, msgs, n, MSG_DONTWAIT, NULL);
    for (int i = 0; i < got; i++)
        loop_udp_received(s, slots[i], &msgs[i].msg_hdr, msgs[i].msg_len);
    return got < 0 ? 0 : (unsigned)got;
}

static void udp_read(struct ring_udp *s)
{
    /* Half of what is free, so that a flooded socket leaves buffers for the others. */
    unsigned left = (s->r->udp.avail + 1) / 2;

    if (s->dead)
        return;
    while (left) {
        unsigned n = left < RX_BATCH ? left : RX_BATCH;
        unsigned got = udp_read_batch(s, n);

        left -= got;
        if (got < n)
            break;
    }
    if (!s->r->udp.avail) {
        s->r->stats.no_buffers++;
        udp_interest(s);
    }
}

static void poll_udp_send(struct ring_udp *s, struct udp_train *t)
{
    loop_send_queue(s, t);
}

static void udp_write(struct ring_udp *s)
{
    bool was_full = s->full;

    if (s->dead)
        return;
    loop_send_now(s);
    if (s->full != was_full)
        udp_interest(s);
}

static void poll_flush(struct ring *r)
{
    for (struct ring_udp *s = r->socks; s; s = s->next) {
        if (s->queue && !s->full)
            udp_write(s);
    }
}

/* ---- descriptors ---- */

static int poll_watch_add(struct loop_watch *w)
{
    uint32_t events =
        (w->events & POLLIN ? EPOLLIN : 0U) | (w->events & POLLOUT ? EPOLLOUT : 0U);

    return ctl(w->r, EPOLL_CTL_ADD, w->fd, events, w, TAG_WATCH);
}

static void poll_watch_next(struct loop_watch *w)
{
    (void)w; /* level-triggered */
}

static void poll_watch_del(struct loop_watch *w)
{
    struct epoll_state *e = w->r->priv;

    epoll_ctl(e->fd, EPOLL_CTL_DEL, w->fd, NULL);
}

static void watch_event(struct loop_watch *w, uint32_t events)
{
    short ready = 0;

    ready |= events & EPOLLIN ? POLLIN : 0;
    ready |= events & EPOLLOUT ? POLLOUT : 0;
    ready |= events & EPOLLERR ? POLLERR : 0;
    ready |= events & EPOLLHUP ? POLLHUP : 0;
    if (!w->dead)
        loop_watch_ready(w, ready);
}

/* ---- the wait ---- */

/* Wait at most `left` (NS_NEVER: without end). */
static int wait_events(struct epoll_state *e, struct epoll_event *ev, ns_t left)
{
    ns_t ms = left / NS_PER_MS + (left % NS_PER_MS != 0);

    if (!e->coarse && left != NS_NEVER && left) {
        struct timespec ts = {(time_t)(left / NS_PER_S), (long)(left % NS_PER_S)};
        int n = epoll_pwait2(e->fd, ev, EVENTS, &ts, NULL);

        if (n >= 0 || (errno != ENOSYS && errno != EPERM))
            return n;
        e->coarse = true;
    }
    return epoll_wait(e->fd, ev, EVENTS, left == NS_NEVER ? -1 : (int)ns_min(ms, 1000 * 3600));
}

static int poll_gather(struct ring *r, ns_t until)
{
    struct epoll_state *e = r->priv;
    struct epoll_event ev[EVENTS];
    ns_t left = until == NS_NEVER || until == 0 ? until : ns_sub(until, ring_clock());
    int n = wait_events(e, ev, left);

    r->stats.enters++;
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < n; i++) {
        void *object = (void *)(uintptr_t)(ev[i].data.u64 & ~(uint64_t)TAG_MASK);

        switch ((enum tag)(ev[i].data.u64 & TAG_MASK)) {
        case TAG_TUN:
            tun_read(object);
            break;
        case TAG_UDP:
            if (ev[i].events & ~(uint32_t)EPOLLOUT)
                udp_read(object);
            if (ev[i].events & EPOLLOUT)
                udp_write(object);
            break;
        default:
            watch_event(object, ev[i].events);
        }
    }
    return 0;
}

const struct loop_backend loop_epoll = {
    .kind = RING_EPOLL,
    .name = "epoll",
    .open = poll_open,
    .drain = poll_drain,
    .close = poll_close,
    .gather = poll_gather,
    .flush = poll_flush,
    .hasten = poll_flush,
    .arena_open = poll_arena_open,
    .arena_close = poll_arena_close,
    .slot_back = poll_slot_back,
    .tun_add = poll_tun_add,
    .tun_del = poll_tun_del,
    .tun_write = poll_tun_write,
    .udp_add = poll_udp_add,
    .udp_del = poll_udp_del,
    .udp_send = poll_udp_send,
    .watch_add = poll_watch_add,
    .watch_next = poll_watch_next,
    .watch_del = poll_watch_del,
};
