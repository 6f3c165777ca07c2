/* The asking end of control.h: which instance, and its answer. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "app/control.h"

#define FOUND_MAX 64

struct found {
    char name[64];
    int fd;
    bool here; /* in our network namespace */
};

struct search {
    struct found found[FOUND_MAX];
    size_t n;
    bool denied;
};

/* "mqvpn0" of "mqvpn0.sock" and "mqvpn0.123.sock"; false: it is no socket of ours. */
static bool name_of(const char *file, char *name, size_t size)
{
    size_t n = strlen(file);
    const char *dot;

    if (n <= 5 || n - 5 >= size || strcmp(file + n - 5, ".sock") != 0)
        return false;
    memcpy(name, file, n - 5);
    name[n - 5] = 0;
    dot = strrchr(name, '.');
    if (dot && dot[1] && dot[1 + strspn(dot + 1, "0123456789")] == 0)
        name[dot - name] = 0;
    return name[0] != 0;
}

/* A process at the other end of a socket, as seen from here. */
struct listener {
    bool dead, here; /* here: in our network namespace */
};

/*
 * The socket of a dead one may take connections for a while longer: io_uring lets go of the files
 * of a killed process in its own time. Of another PID namespace there is nothing to be told.
 */
static struct listener listener_of(int fd)
{
    struct listener l = {false, false};
    struct stat ours, theirs;
    struct ucred who;
    socklen_t n = sizeof(who);
    char path[48];

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) || who.pid <= 0 ||
        stat("/proc/self/ns/net", &ours))
        return l;
    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)who.pid);
    if (stat(path, &theirs))
        l.dead = errno == ENOENT;
    else
        l.here = ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev;
    return l;
}

void control_sweep(const char *dir, const char *name)
{
    struct dirent *e;
    DIR *d = opendir(dir);

    while (d && (e = readdir(d))) {
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        char of[64];
        int n = snprintf(a.sun_path, sizeof(a.sun_path), "%s/%s", dir, e->d_name), fd;

        if (n < 0 || (size_t)n >= sizeof(a.sun_path) || !name_of(e->d_name, of, sizeof(of)) ||
            strcmp(of, name) != 0)
            continue;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd >= 0 && (connect(fd, (struct sockaddr *)&a, sizeof(a)) ? errno == ECONNREFUSED
                                                                      : listener_of(fd).dead))
            unlink(a.sun_path);
        if (fd >= 0)
            close(fd);
    }
    if (d)
        closedir(d);
}

static void look_at(struct search *s, const char *dir, const char *file)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct found *f = &s->found[s->n];
    struct listener who;
    int n;

    if (s->n == FOUND_MAX || !name_of(file, f->name, sizeof(f->name)))
        return;
    n = snprintf(a.sun_path, sizeof(a.sun_path), "%s/%s", dir, file);
    if (n < 0 || (size_t)n >= sizeof(a.sun_path))
        return;
    f->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (f->fd < 0)
        return;
    if (connect(f->fd, (struct sockaddr *)&a, sizeof(a))) {
        s->denied |= errno == EACCES || errno == EPERM;
        close(f->fd);
        return;
    }
    who = listener_of(f->fd);
    if (who.dead) {
        close(f->fd);
        return;
    }
    f->here = who.here;
    s->n++;
}

/* Close all that are not wanted any more. */
static void keep(struct search *s, bool (*wanted)(const struct found *, const char *),
                 const char *name)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++) {
        if (wanted(&s->found[i], name))
            s->found[n++] = s->found[i];
        else
            close(s->found[i].fd);
    }
    s->n = n;
}

static bool has_name(const struct found *f, const char *name)
{
    return strcmp(f->name, name) == 0;
}

static bool in_namespace(const struct found *f, const char *name)
{
    (void)name;
    return f->here;
}

static bool none(const struct found *f, const char *name)
{
    (void)f;
    (void)name;
    return false;
}

static int tell(struct search *s, const char *name, char *why, size_t why_size)
{
    size_t n;

    if (s->n == 0 && s->denied) {
        snprintf(why, why_size,
                 "permission denied: only root and the user who runs mqvpn may ask it");
        return -EACCES;
    }
    if (s->n == 0) {
        snprintf(why, why_size, "no mqvpn%s%s is running here", name ? " with the device " : "",
                 name ? name : "");
        return -ENOENT;
    }
    n = (size_t)snprintf(why, why_size, "several are running, choose one by --tun-name:");
    for (size_t i = 0; i < s->n && n < why_size; i++)
        n += (size_t)snprintf(why + n, why_size - n, " %s", s->found[i].name);
    keep(s, none, NULL);
    return -ENOTUNIQ;
}

int control_connect(const char *dir, const char *name, char *why, size_t why_size)
{
    struct search s = {.n = 0};
    struct dirent *e;
    bool here = false;
    DIR *d = opendir(dir);

    s.denied = !d && errno == EACCES;
    while (d && (e = readdir(d)))
        look_at(&s, dir, e->d_name);
    if (d)
        closedir(d);
    if (name)
        keep(&s, has_name, name);
    for (size_t i = 0; i < s.n; i++)
        here |= s.found[i].here;
    if (here && s.n > 1)
        keep(&s, in_namespace, NULL);
    return s.n == 1 ? s.found[0].fd : tell(&s, name, why, why_size);
}

static int wait_for(int fd, short events, ns_t until)
{
    struct pollfd p = {.fd = fd, .events = events};
    ns_t now = ring_clock();
    int rc = poll(&p, 1, now < until ? (int)((until - now) / NS_PER_MS) + 1 : 0);

    return rc > 0 || (rc < 0 && errno == EINTR) ? 0 : rc < 0 ? -errno : -ETIMEDOUT;
}

static int send_line(int fd, const char *line, ns_t until)
{
    char buf[CONTROL_LINE_MAX];
    size_t n = strlen(line), at = 0;
    int rc;

    if (n + 1 > sizeof(buf))
        return -EFBIG;
    memcpy(buf, line, n);
    buf[n++] = '\n';
    while (at < n) {
        ssize_t k = send(fd, buf + at, n - at, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (k >= 0)
            at += (size_t)k;
        else if (errno != EAGAIN && errno != EINTR)
            return -ECONNRESET;
        else if ((rc = wait_for(fd, POLLOUT, until)))
            return rc;
    }
    return 0;
}

int control_ask(int fd, const char *line, int timeout_ms, char **answer)
{
    ns_t until = ring_clock() + (ns_t)timeout_ms * NS_PER_MS;
    size_t n = 0, cap = 0;
    char *p = NULL, *more;
    int rc = send_line(fd, line, until);

    *answer = NULL;
    while (!rc) {
        ssize_t k;

        if (n == cap) {
            cap = cap ? 2 * cap : 16384;
            rc = cap > 2 * (size_t)CONTROL_ANSWER ? -EFBIG : 0;
            more = rc ? NULL : realloc(p, cap);
            if (!more) {
                rc = rc ? rc : -ENOMEM;
                break;
            }
            p = more;
        }
        k = recv(fd, p + n, cap - n, MSG_DONTWAIT);
        if (k == 0 || (k < 0 && errno != EAGAIN && errno != EINTR)) {
            rc = -ECONNRESET;
        } else if (k < 0) {
            rc = wait_for(fd, POLLIN, until);
        } else {
            n += (size_t)k;
            if (p[n - 1] == '\n') {
                p[n - 1] = 0;
                *answer = p;
                return 0;
            }
        }
    }
    free(p);
    return rc;
}
