#include "app/wan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS      16
#define READ_BUDGET 1024 /* packets of one descriptor per round */
#define PKT_MAX     66000

/* Tags of the epoll set: above the 2 * WAN_LINKS_MAX descriptors. */
enum { TAG_STOP = 2 * WAN_LINKS_MAX, TAG_KICK, TAG_TIMER };

#define SHAPE_WORDS (sizeof(struct wan_shape) / sizeof(uint64_t))
#define STATS_WORDS (sizeof(struct wan_stats) / sizeof(uint64_t))

_Static_assert(sizeof(struct wan_shape) % sizeof(uint64_t) == 0, "copied by words");

/*
 * What one direction shares. The shape is under a sequence lock: `version` is odd while a
 * writer is at it. A reader that meets a writer keeps what it has and comes back, so a
 * writer that died holds nobody up. Counters are single words.
 */
struct shared_dir {
    uint32_t version;
    uint64_t shape[SHAPE_WORDS];
    uint64_t stats[STATS_WORDS];
};

struct wan {
    size_t n;
    uint64_t seed;
    int kick; /* a shape changed */
    int fd[WAN_LINKS_MAX][2];
    struct shared_dir dir[2 * WAN_LINKS_MAX];
};

/* One run: private to wan_run. */
struct run {
    struct wan *w;
    int ep, timer;
    size_t dirs;
    ns_t timer_at;
    struct wan_core core[2 * WAN_LINKS_MAX];
    uint32_t version[2 * WAN_LINKS_MAX];
    uint8_t buf[PKT_MAX];
};

static ns_t clock_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (ns_t)ts.tv_sec * NS_PER_S + (ns_t)ts.tv_nsec;
}

static struct timespec timespec_of(ns_t t)
{
    return (struct timespec){(time_t)(t / NS_PER_S), (long)(t % NS_PER_S)};
}

/* ---- shared state ---- */

static void words_load(uint64_t *to, const uint64_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

static void words_store(uint64_t *to, const uint64_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        __atomic_store_n(&to[i], from[i], __ATOMIC_RELAXED);
}

/* A consistent copy of the shape and its version; false while somebody writes it. */
static bool shape_load(const struct shared_dir *d, struct wan_shape *shape, uint32_t *version)
{
    uint64_t words[SHAPE_WORDS];
    uint32_t v = __atomic_load_n(&d->version, __ATOMIC_ACQUIRE);

    if (v & 1)
        return false;
    words_load(words, d->shape, SHAPE_WORDS);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (__atomic_load_n(&d->version, __ATOMIC_RELAXED) != v)
        return false;
    memcpy(shape, words, sizeof(*shape));
    *version = v;
    return true;
}

static void shape_store(struct shared_dir *d, const struct wan_shape *shape)
{
    uint64_t words[SHAPE_WORDS];
    uint32_t v = __atomic_load_n(&d->version, __ATOMIC_RELAXED) & ~1u;

    memcpy(words, shape, sizeof(words));
    while (!__atomic_compare_exchange_n(&d->version, &v, v + 1, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED))
        v &= ~1u;
    __atomic_thread_fence(__ATOMIC_RELEASE);
    words_store(d->shape, words, SHAPE_WORDS);
    __atomic_store_n(&d->version, v + 2, __ATOMIC_RELEASE);
}

int wan_new(const struct wan_link *links, size_t n, uint64_t seed, struct wan **out)
{
    struct wan *w;

    *out = NULL;
    if (n == 0 || n > WAN_LINKS_MAX)
        return QUIC_INVAL;
    for (size_t i = 0; i < 2 * n; i++) {
        int fd = links[i / 2].fd[i % 2], flags = fcntl(fd, F_GETFL);

        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK))
            return QUIC_INVAL;
    }
    w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (w == MAP_FAILED)
        return QUIC_NOMEM;
    w->n = n;
    w->seed = seed;
    w->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (w->kick < 0) {
        munmap(w, sizeof(*w));
        return QUIC_NOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        memcpy(w->fd[i], links[i].fd, sizeof(w->fd[i]));
        shape_store(&w->dir[2 * i], &links[i].shape[0]);
        shape_store(&w->dir[2 * i + 1], &links[i].shape[1]);
    }
    *out = w;
    return 0;
}

void wan_del(struct wan *w)
{
    if (!w)
        return;
    close(w->kick);
    munmap(w, sizeof(*w));
}

void wan_set(struct wan *w, size_t link, unsigned dir, const struct wan_shape *shape)
{
    uint64_t one = 1;

    shape_store(&w->dir[2 * link + dir], shape);
    while (write(w->kick, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

void wan_get(const struct wan *w, size_t link, unsigned dir, struct wan_shape *shape)
{
    const struct shared_dir *d = &w->dir[2 * link + dir];
    uint64_t words[SHAPE_WORDS];
    uint32_t version;

    for (unsigned tries = 0; tries < 100000; tries++) {
        if (shape_load(d, shape, &version))
            return;
    }
    words_load(words, d->shape, SHAPE_WORDS); /* its writer died half-way */
    memcpy(shape, words, sizeof(*shape));
}

void wan_count(const struct wan *w, size_t link, unsigned dir, struct wan_stats *out)
{
    uint64_t words[STATS_WORDS];

    words_load(words, w->dir[2 * link + dir].stats, STATS_WORDS);
    memcpy(out, words, sizeof(*out));
}

/* ---- the run ---- */

/* Take over shapes that changed. */
static void shapes_update(struct run *u, ns_t now)
{
    for (size_t i = 0; i < u->dirs; i++) {
        struct wan_shape shape;
        uint32_t version;

        if (__atomic_load_n(&u->w->dir[i].version, __ATOMIC_RELAXED) == u->version[i] ||
            !shape_load(&u->w->dir[i], &shape, &version))
            continue;
        wan_core_set(&u->core[i], &shape, now);
        u->version[i] = version;
    }
}

/* Read what descriptor `i` has; true if there was anything. */
static bool pull(struct run *u, size_t i)
{
    int fd = u->w->fd[i / 2][i % 2];
    ns_t now = clock_now();

    for (unsigned n = 0; n < READ_BUDGET; n++) {
        ssize_t got = read(fd, u->buf, sizeof(u->buf));

        if (got > 0) {
            wan_core_put(&u->core[i], u->buf, (size_t)got, now);
        } else if (got < 0 && errno == EINTR) {
            continue;
        } else {
            /* Nothing now; or the device or the other end is gone: not asked again. */
            if (got == 0 || errno != EAGAIN)
                epoll_ctl(u->ep, EPOLL_CTL_DEL, fd, NULL);
            return n > 0;
        }
    }
    return true;
}

/* Hand over what has arrived in direction `i`, and publish its counters. */
static void push(struct run *u, size_t i, ns_t now)
{
    struct wan_core *c = &u->core[i];
    int fd = u->w->fd[i / 2][1 - i % 2];
    uint64_t words[STATS_WORDS];
    struct wan_pkt *p;

    while ((p = wan_core_get(c, now))) {
        ssize_t n;

        do
            n = write(fd, p->p, p->n);
        while (n < 0 && errno == EINTR);
        if (n < 0) {
            c->stats.drops_io++;
            c->stats.out_packets--;
            c->stats.out_bytes -= p->n;
        }
        free(p);
    }
    memcpy(words, &c->stats, sizeof(words));
    words_store(u->w->dir[i].stats, words, STATS_WORDS);
}

/* Wake at `next`, but not within the group that is over at `now` + WAN_GROUP_NS. */
static void timer_arm(struct run *u, ns_t next, ns_t now)
{
    struct itimerspec spec = {{0, 0}, {0, 0}};

    if (next != NS_NEVER)
        next = ns_max(next, now + WAN_GROUP_NS);
    if (next == u->timer_at)
        return;
    if (next != NS_NEVER)
        spec.it_value = timespec_of(next);
    timerfd_settime(u->timer, TFD_TIMER_ABSTIME, &spec, NULL);
    u->timer_at = next;
}

/* One wait and what it brings; true while the run goes on. */
static bool turn(struct run *u, bool *active, int *rc)
{
    struct epoll_event ev[EVENTS];
    int n = epoll_wait(u->ep, ev, EVENTS, *active ? 0 : -1);
    ns_t now, next = NS_NEVER;
    uint64_t count;

    if (n < 0 && errno != EINTR) {
        *rc = -errno;
        return false;
    }
    *active = false;
    shapes_update(u, clock_now());
    for (int i = 0; i < n; i++) {
        switch (ev[i].data.u32) {
        case TAG_STOP:
            return false;
        case TAG_KICK:
            if (read(u->w->kick, &count, sizeof(count)) < 0)
                continue;
            break;
        case TAG_TIMER:
            if (read(u->timer, &count, sizeof(count)) > 0)
                u->timer_at = NS_NEVER;
            break;
        default:
            *active |= pull(u, ev[i].data.u32);
        }
    }
    now = clock_now();
    for (size_t i = 0; i < u->dirs; i++) {
        push(u, i, now);
        next = ns_min(next, wan_core_next(&u->core[i]));
    }
    if (*active) {
        /* Let packets gather instead of waking for each. */
        struct timespec ts = timespec_of(now + WAN_GROUP_NS);

        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
    } else {
        timer_arm(u, next, now);
    }
    return true;
}

static int watch(struct run *u, int fd, uint32_t tag)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.u32 = tag};

    return fd < 0 || !epoll_ctl(u->ep, EPOLL_CTL_ADD, fd, &ev) ? 0 : -errno;
}

static int run_open(struct run *u, int stop_fd)
{
    struct wan *w = u->w;
    int rc;

    u->timer_at = NS_NEVER;
    u->ep = epoll_create1(EPOLL_CLOEXEC);
    u->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (u->ep < 0 || u->timer < 0)
        return -errno;
    rc = watch(u, stop_fd, TAG_STOP);
    if (!rc)
        rc = watch(u, w->kick, TAG_KICK);
    if (!rc)
        rc = watch(u, u->timer, TAG_TIMER);
    for (size_t i = 0; i < u->dirs && !rc; i++)
        rc = watch(u, w->fd[i / 2][i % 2], (uint32_t)i);
    return rc;
}

int wan_run(struct wan *w, int stop_fd)
{
    static const struct wan_shape none;
    struct run *u = calloc(1, sizeof(*u));
    bool active = false;
    int rc;

    if (!u)
        return -ENOMEM;
    prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
    u->w = w;
    u->dirs = 2 * w->n;
    for (size_t i = 0; i < u->dirs; i++) {
        wan_core_init(&u->core[i], &none, w->seed + i);
        u->version[i] = 1; /* no version that a shape ever has */
    }
    rc = run_open(u, stop_fd);
    while (!rc && turn(u, &active, &rc))
        ;
    for (size_t i = 0; i < u->dirs; i++)
        wan_core_free(&u->core[i]);
    if (u->ep >= 0)
        close(u->ep);
    if (u->timer >= 0)
        close(u->timer);
    free(u);
    return rc;
}
