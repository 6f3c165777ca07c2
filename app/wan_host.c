/*
 * Theory of operation
 *
 * A child carries the packets (app/wan.h); this process only writes shapes into the memory that
 * they share, when an order comes by standard input or when one of the file falls due. Devices
 * are made by short-lived children inside their namespaces and live as long as these two
 * processes.
 *
 * A link that is cut or unplugged keeps its figures: what a direction shall be (`shape`) and why
 * nothing passes (`cut`, `unplugged`) are kept apart.
 */
#include "app/wan_host.h"

#include "app/exit.h"
#include "app/ns.h"
#include "app/ring.h"
#include "app/wan_spec.h"
#include "tun/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define TIMED_MAX 256
#define ORDER_MAX 512

struct joint {
    char name[WAN_NAME_MAX];
    int fd[2];
    struct wan_shape shape[2];
    bool cut[2], unplugged;
};

struct host_of {
    const struct log *log;
    struct joint joint[WAN_LINKS_MAX];
    size_t joints;
    struct wan_order timed[TIMED_MAX];
    size_t timers;
    struct wan *wan;
    struct ns_child child;
    ns_t start;
    bool quit;
};

static volatile sig_atomic_t stopped;

static void on_signal(int signo)
{
    stopped = signo;
}

/* ---- making ---- */

struct device_order {
    const struct wan_end *end;
    unsigned mtu_bytes;
};

static int open_device(void *arg, char *why, size_t why_size)
{
    const struct device_order *o = arg;
    struct tun_cfg cfg = {.name = o->end->dev, .mtu_bytes = o->mtu_bytes};
    struct tun tun;
    int rc = tun_open(&tun, &cfg, why, why_size);

    return rc ? rc : tun.fd;
}

static int make_device(const struct wan_end *end, unsigned mtu, int *fd, char *why,
                       size_t why_size)
{
    struct device_order o = {end, mtu};
    struct ns ns = NS_NONE;
    char path[64];
    int rc;

    if (!end->ns[0]) {
        rc = open_device(&o, why, why_size);
        *fd = rc;
        return rc < 0 ? rc : 0;
    }
    snprintf(path, sizeof(path), "/run/netns/%s", end->ns);
    ns.net = open(path, O_RDONLY | O_CLOEXEC);
    if (ns.net < 0) {
        rc = -errno;
        snprintf(why, why_size, "no namespace \"%s\": %s: %s", end->ns, path, strerror(-rc));
        return rc;
    }
    rc = ns_open(&ns, open_device, &o, fd, why, why_size);
    close(ns.net);
    return rc;
}

static struct joint *find(struct host_of *h, const char *name)
{
    for (size_t i = 0; i < h->joints; i++)
        if (strcmp(h->joint[i].name, name) == 0)
            return &h->joint[i];
    return NULL;
}

static int make_link(struct host_of *h, const struct wan_order *o, char *why, size_t why_size)
{
    struct joint *j = &h->joint[h->joints];
    unsigned mtu;
    int rc;

    if (h->joints == WAN_LINKS_MAX || find(h, o->name)) {
        snprintf(why, why_size, "link \"%s\": there is one already, or there are %d", o->name,
                 WAN_LINKS_MAX);
        return -EINVAL;
    }
    *j = (struct joint){.fd = {-1, -1}};
    strcpy(j->name, o->name);
    wan_shape_default(j->shape);
    wan_shape_read(o->shape, j->shape, &mtu, why, why_size);
    h->joints++; /* so that its descriptors are closed */
    for (unsigned i = 0; i < 2; i++)
        if ((rc = make_device(&o->end[i], o->mtu_bytes, &j->fd[i], why, why_size)))
            return rc;
    return 0;
}

/* ---- orders ---- */

static void apply(struct host_of *h, const struct joint *j)
{
    for (unsigned dir = 0; dir < 2; dir++) {
        struct wan_shape s = j->shape[dir];

        s.black_hole = j->cut[dir] || j->unplugged;
        wan_set(h->wan, (size_t)(j - h->joint), dir, &s);
    }
}

static int carrier(const struct joint *j, bool on, char *why, size_t why_size)
{
    int value = on;

    for (unsigned i = 0; i < 2; i++) {
        if (ioctl(j->fd[i], TUNSETCARRIER, &value)) {
            snprintf(why, why_size, "carrier of link %s: %s", j->name, strerror(errno));
            return -errno;
        }
    }
    return 0;
}

static double cpu_seconds(const struct host_of *h)
{
    struct timespec ts;
    clockid_t id;

    if (clock_getcpuclockid(h->child.pid, &id) || clock_gettime(id, &ts))
        return 0;
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void stats(const struct host_of *h, ns_t now)
{
    for (size_t i = 0; i < h->joints; i++) {
        for (unsigned dir = 0; dir < 2; dir++) {
            struct wan_stats s;

            wan_count(h->wan, i, dir, &s);
            printf("stats t=%.3f link=%s dir=%s in_packets=%llu in_bytes=%llu "
                   "out_packets=%llu out_bytes=%llu drop_queue=%llu drop_loss=%llu "
                   "drop_cut=%llu drop_down=%llu queued_bytes=%llu held_packets=%llu "
                   "cpu_s=%.3f\n",
                   (double)(now - h->start) / 1e9, h->joint[i].name, dir ? "down" : "up",
                   (unsigned long long)s.in_packets, (unsigned long long)s.in_bytes,
                   (unsigned long long)s.out_packets, (unsigned long long)s.out_bytes,
                   (unsigned long long)s.drops_queue, (unsigned long long)s.drops_loss,
                   (unsigned long long)s.drops_hole, (unsigned long long)s.drops_io,
                   (unsigned long long)s.queued_bytes, (unsigned long long)s.held_packets,
                   cpu_seconds(h));
        }
    }
}

static int obey(struct host_of *h, const struct wan_order *o, ns_t now, char *why,
                size_t why_size)
{
    struct joint *j = o->name[0] ? find(h, o->name) : NULL;
    int rc = 0;

    if (o->name[0] && !j && o->verb != WAN_LINK) {
        snprintf(why, why_size, "there is no link \"%s\"", o->name);
        return -ENOENT;
    }
    switch (o->verb) {
    case WAN_NONE:
        return 0;
    case WAN_LINK:
        snprintf(why, why_size, "links are made by the file, at the start");
        return -EINVAL;
    case WAN_STATS:
        stats(h, now);
        return 0;
    case WAN_QUIT:
        h->quit = true;
        return 0;
    case WAN_SET:
        rc = wan_shape_read(o->shape, j->shape, NULL, why, why_size);
        break;
    case WAN_CUT:
    case WAN_RESTORE:
        for (unsigned i = 0; i < 2; i++)
            if (o->dir[i])
                j->cut[i] = o->verb == WAN_CUT;
        break;
    case WAN_UNPLUG:
    case WAN_PLUG:
        if ((rc = carrier(j, o->verb == WAN_PLUG, why, why_size)))
            return rc;
        j->unplugged = o->verb == WAN_UNPLUG;
        break;
    }
    if (rc == 0)
        apply(h, j);
    return rc;
}

static int keep_timed(struct host_of *h, const struct wan_order *o, char *why, size_t why_size)
{
    if (h->timers == TIMED_MAX) {
        snprintf(why, why_size, "at most %d orders may wait", TIMED_MAX);
        return -E2BIG;
    }
    if (o->name[0] && !find(h, o->name)) {
        snprintf(why, why_size, "there is no link \"%s\"", o->name);
        return -ENOENT;
    }
    h->timed[h->timers++] = *o;
    return 0;
}

/* Do what has fallen due; returns the time of the next. */
static ns_t timed_run(struct host_of *h, ns_t now)
{
    ns_t next = NS_NEVER;

    for (size_t i = 0; i < h->timers;) {
        struct wan_order *o = &h->timed[i];
        ns_t at = h->start + o->at;
        char why[256] = "";

        if (at > now) {
            next = ns_min(next, at);
            i++;
            continue;
        }
        if (obey(h, o, now, why, sizeof(why)))
            printf("error: %s\n", why);
        if (o->every)
            o->at += o->every;
        else
            *o = h->timed[--h->timers];
    }
    return next;
}

/* ---- the file, and standard input ---- */

static int read_file(struct host_of *h, const char *file)
{
    FILE *f = fopen(file, "r");
    char line[ORDER_MAX + 2], why[256] = "";
    unsigned number = 0;
    int rc = 0;

    if (!f) {
        LOG_AT(h->log, LOG_ERROR, "%s: %s", file, strerror(errno));
        return EXIT_FILE;
    }
    while (!rc && fgets(line, sizeof(line), f)) {
        struct wan_order o;

        number++;
        rc = wan_order_read(line, &o, why, sizeof(why));
        if (!rc && o.verb == WAN_LINK) {
            rc = make_link(h, &o, why, sizeof(why)) ? EXIT_TUN : 0;
        } else if (!rc && o.verb != WAN_NONE) {
            o.timed = true;
            rc = keep_timed(h, &o, why, sizeof(why)) ? EXIT_USAGE : 0;
        } else if (rc) {
            rc = EXIT_USAGE;
        }
    }
    fclose(f);
    if (!rc && !h->joints) {
        snprintf(why, sizeof(why), "no link is described");
        rc = EXIT_USAGE;
    }
    if (rc)
        LOG_AT(h->log, LOG_ERROR, "%s, line %u: %s", file, number, why);
    return rc;
}

static void answer(struct host_of *h, const char *line, ns_t now)
{
    struct wan_order o;
    char why[256] = "";
    int rc = wan_order_read(line, &o, why, sizeof(why));

    if (!rc)
        rc = o.timed ? keep_timed(h, &o, why, sizeof(why)) : obey(h, &o, now, why, sizeof(why));
    if (rc)
        printf("error: %s\n", why);
    else
        printf("ok\n");
    fflush(stdout);
}

/* Take lines from standard input; false at its end. */
static bool take_input(struct host_of *h, char *buf, size_t *have)
{
    ssize_t n = read(STDIN_FILENO, buf + *have, ORDER_MAX - *have);
    char *end;

    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EINTR);
    *have += (size_t)n;
    while ((end = memchr(buf, '\n', *have))) {
        size_t used = (size_t)(end - buf) + 1;

        *end = 0;
        answer(h, buf, ring_clock());
        memmove(buf, buf + used, *have - used);
        *have -= used;
    }
    if (*have == ORDER_MAX) { /* no line is so long */
        printf("error: a line is no longer than %d bytes\n", ORDER_MAX - 1);
        fflush(stdout);
        *have = 0;
    }
    return true;
}

static int carry(void *arg, int lifeline)
{
    return wan_run(arg, lifeline) ? 1 : 0;
}

static int start(struct host_of *h)
{
    struct wan_link link[WAN_LINKS_MAX];
    char why[256] = "";

    for (size_t i = 0; i < h->joints; i++) {
        memcpy(link[i].fd, h->joint[i].fd, sizeof(link[i].fd));
        memcpy(link[i].shape, h->joint[i].shape, sizeof(link[i].shape));
    }
    if (wan_new(link, h->joints, 1, &h->wan)) {
        LOG_AT(h->log, LOG_ERROR, "no memory for the links");
        return EXIT_INTERNAL;
    }
    if (ns_run(NULL, carry, h->wan, &h->child, why, sizeof(why))) {
        LOG_AT(h->log, LOG_ERROR, "%s", why);
        return EXIT_INTERNAL;
    }
    return 0;
}

static void serve(struct host_of *h)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    char buf[ORDER_MAX];
    size_t have = 0;

    h->start = ring_clock();
    printf("ready\n");
    while (!h->quit && !stopped) {
        ns_t now = ring_clock(), next = timed_run(h, now);
        int wait = -1;

        fflush(stdout);
        if (h->quit)
            break;
        if (next != NS_NEVER)
            wait = (int)ns_min((next - now + NS_PER_MS - 1) / NS_PER_MS, 1000000);
        if (poll(&p, 1, wait) > 0 && !take_input(h, buf, &have))
            p.fd = -1;
    }
}

int wan_host_run(const char *file, const struct log *log)
{
    struct sigaction act = {.sa_handler = on_signal};
    struct host_of *h = calloc(1, sizeof(*h));
    int rc;

    if (!h)
        return EXIT_INTERNAL;
    h->log = log;
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGHUP, &act, NULL);
    if ((rc = read_file(h, file)) == 0 && (rc = start(h)) == 0)
        serve(h);
    ns_child_end(&h->child, NS_PER_S);
    wan_del(h->wan);
    for (size_t i = 0; i < h->joints; i++)
        for (unsigned k = 0; k < 2; k++)
            if (h->joint[i].fd[k] >= 0)
                close(h->joint[i].fd[k]);
    free(h);
    return rc;
}
