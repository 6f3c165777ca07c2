#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/loop_core.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

/* ---- TUN ---- */

static int nonblock(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK))
        return QUIC_INVAL;
    return 0;
}

int ring_tun_add(struct ring *r, int fd, size_t packet_bytes, void *user, struct ring_tun **out)
{
    struct ring_tun *t;
    unsigned bufs;
    int rc;

    *out = NULL;
    if (packet_bytes == 0 || packet_bytes > 66000 || nonblock(fd))
        return QUIC_INVAL;
    t = calloc(1, sizeof(*t));
    if (!t)
        return QUIC_NOMEM;
    t->r = r;
    t->fd = fd;
    t->user = user;
    t->packet_bytes = packet_bytes;
    bufs = r->cfg.tun_bufs ? r->cfg.tun_bufs : packet_bytes > 16384 ? 32 : 128;
    t->pkts = calloc(bufs, sizeof(*t->pkts));
    rc = t->pkts ? loop_arena_open(r, &t->arena, bufs, RING_HEADROOM, packet_bytes + 1)
                 : QUIC_NOMEM;
    if (!rc)
        rc = r->be->tun_add(t);
    if (rc) {
        loop_arena_close(&t->arena);
        free(t->pkts);
        free(t);
        return rc;
    }
    t->next = r->tuns;
    r->tuns = t;
    *out = t;
    return 0;
}

void ring_tun_del(struct ring_tun *t)
{
    if (t->dead)
        return;
    t->dead = true;
    t->r->dead_n++;
    t->r->be->tun_del(t);
}

void *ring_tun_user(const struct ring_tun *t)
{
    return t->user;
}

void ring_tun_room(const struct ring_tun *t, unsigned *avail, unsigned *total)
{
    *avail = t->arena.avail;
    *total = t->arena.n;
}

int ring_tun_write(struct ring_tun *t, const struct iovec *iov, size_t n_iov)
{
    size_t bytes = 0;
    int rc = QUIC_INVAL;

    for (size_t i = 0; i < n_iov; i++)
        bytes += iov[i].iov_len;
    if (bytes > 0 && n_iov <= LOOP_TX_IOVS && !t->dead)
        rc = t->r->be->tun_write(t, iov, n_iov, bytes);
    if (rc)
        t->r->stats.tun_tx_drops++;
    return rc;
}

int ring_tun_write_one(struct ring_tun *t, const void *p, size_t n)
{
    struct iovec iov = {(void *)(uintptr_t)p, n};

    return ring_tun_write(t, &iov, 1);
}

/* ---- UDP ---- */

int ring_udp_add(struct ring *r, int fd, void *user, struct ring_udp **out)
{
    struct ring_udp *s = calloc(1, sizeof(*s));
    int rc = s ? QUIC_INVAL : QUIC_NOMEM;

    *out = NULL;
    if (s) {
        s->r = r;
        s->fd = fd;
        s->user = user;
        s->first = s->last = -1;
        s->queue_tail = &s->queue;
        s->gso = !r->cfg.no_gso;
        s->segments_max = UDP_SEGMENTS_MAX;
        if (!udp_local(fd, &s->local) && udp_addr_port(&s->local) && !nonblock(fd)) {
            s->family = s->local.sa.sa_family;
            s->port = udp_addr_port(&s->local);
            rc = r->be->udp_add(s);
        }
    }
    if (rc) {
        free(s);
        close(fd);
        return rc;
    }
    s->next = r->socks;
    r->socks = s;
    *out = s;
    return 0;
}

void ring_udp_del(struct ring_udp *s)
{
    if (s->dead)
        return;
    s->dead = true;
    s->r->dead_n++;
    s->r->be->udp_del(s);
    loop_send_now(s);
    loop_send_drop(s);
}

void *ring_udp_user(const struct ring_udp *s)
{
    return s->user;
}

void ring_udp_set_user(struct ring_udp *s, void *user)
{
    s->user = user;
}

int ring_udp_fd(const struct ring_udp *s)
{
    return s->fd;
}

const union udp_addr *ring_udp_local(const struct ring_udp *s)
{
    return &s->local;
}

bool ring_udp_gso(const struct ring_udp *s)
{
    return s->gso;
}

/* ---- descriptors ---- */

static struct loop_watch *watch_find(struct ring *r, int fd)
{
    for (struct loop_watch *w = r->watches; w; w = w->next) {
        if (w->fd == fd && !w->dead)
            return w;
    }
    return NULL;
}

int ring_fd_add(struct ring *r, int fd, short events, ring_fd_fn *fn, void *ctx)
{
    struct loop_watch *w;
    struct stat st;
    int rc;

    /* Plain files are always ready: nothing to wait for. */
    if (fstat(fd, &st) || S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
        return QUIC_INVAL;
    ring_fd_del(r, fd);
    w = calloc(1, sizeof(*w));
    if (!w)
        return QUIC_NOMEM;
    w->r = r;
    w->fd = fd;
    w->events = events;
    w->fn = fn;
    w->ctx = ctx;
    rc = r->be->watch_add(w);
    if (rc) {
        free(w);
        return rc;
    }
    w->next = r->watches;
    r->watches = w;
    return 0;
}

void ring_fd_del(struct ring *r, int fd)
{
    struct loop_watch *w = watch_find(r, fd);

    if (!w)
        return;
    w->dead = true;
    r->dead_n++;
    r->be->watch_del(w);
}

/* ---- signals ---- */

static void signal_ready(void *ctx, int fd, short events, ns_t now)
{
    struct ring *r = ctx;
    struct signalfd_siginfo info;

    (void)events;
    while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (r->cfg.ops.on_signal)
            r->cfg.ops.on_signal(r->cfg.ctx, (int)info.ssi_signo, now);
    }
}

int ring_signal_add(struct ring *r, int signo)
{
    sigset_t one;
    int fd;

    sigemptyset(&one);
    if (signo == SIGKILL || signo == SIGSTOP || sigaddset(&one, signo))
        return QUIC_INVAL;
    if (r->sigfd < 0) {
        sigemptyset(&r->caught);
        pthread_sigmask(SIG_SETMASK, NULL, &r->mask_before);
    }
    sigaddset(&r->caught, signo);
    pthread_sigmask(SIG_BLOCK, &one, NULL);
    fd = signalfd(r->sigfd, &r->caught, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return QUIC_INVAL;
    if (r->sigfd >= 0)
        return 0;
    r->sigfd = fd;
    return ring_fd_add(r, fd, POLLIN, signal_ready, r);
}

/* ---- children ---- */

static void child_free(struct loop_child *c)
{
    for (struct loop_child **p = &c->r->children; *p; p = &(*p)->next) {
        if (*p == c) {
            *p = c->next;
            break;
        }
    }
    ring_fd_del(c->r, c->pidfd);
    close(c->pidfd);
    free(c);
}

static void child_ready(void *ctx, int fd, short events, ns_t now)
{
    struct loop_child *c = ctx;
    ring_child_fn *fn = c->fn;
    void *fn_ctx = c->ctx;
    pid_t pid = c->pid;
    int status = 0;

    (void)fd;
    (void)events;
    if (waitpid(pid, &status, WNOHANG) == 0)
        return;
    child_free(c);
    fn(fn_ctx, pid, status, now);
}

int ring_child_add(struct ring *r, pid_t pid, ring_child_fn *fn, void *ctx)
{
    siginfo_t info;
    struct loop_child *c;
    int rc;

    /* Tells a child (exited already or not) from any other process, without reaping it. */
    if (pid <= 0 || waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT))
        return QUIC_INVAL;
    c = calloc(1, sizeof(*c));
    if (!c)
        return QUIC_NOMEM;
    c->r = r;
    c->pid = pid;
    c->fn = fn;
    c->ctx = ctx;
    c->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    rc = c->pidfd < 0 ? QUIC_INVAL : ring_fd_add(r, c->pidfd, POLLIN, child_ready, c);
    if (rc) {
        if (c->pidfd >= 0)
            close(c->pidfd);
        free(c);
        return rc;
    }
    c->next = r->children;
    r->children = c;
    return 0;
}

void ring_child_del(struct ring *r, pid_t pid)
{
    for (struct loop_child *c = r->children; c; c = c->next) {
        if (c->pid == pid) {
            child_free(c);
            return;
        }
    }
}
