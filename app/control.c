#include "app/control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_FIRST 16384

struct client {
    struct control *of;
    int fd; /* -1: free */
    char in[CONTROL_LINE_MAX];
    size_t in_n;
    char *out;
    size_t out_n, out_at;
    ns_t progress;
};

struct control {
    struct ring *ring;
    int fd;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    control_fn *fn;
    void *ctx;
    struct client client[CONTROL_CLIENTS];
};

/* ---- one client ---- */

static void client_drop(struct client *k)
{
    ring_fd_del(k->of->ring, k->fd);
    close(k->fd);
    free(k->out);
    *k = (struct client){.of = k->of, .fd = -1};
}

/* The answer to the first line of `in`, its newline included. False: no memory. */
static bool answer(struct client *k, const char *line, ns_t now)
{
    for (size_t cap = ANSWER_FIRST; cap <= CONTROL_ANSWER; cap *= 4) {
        char *p = malloc(cap + 1);
        struct json j = json_of(p, cap);

        if (!p)
            return false;
        k->of->fn(k->of->ctx, line, &j, now);
        if (!j.failed) {
            p[j.n] = '\n';
            k->out = p;
            k->out_n = j.n + 1;
            k->out_at = 0;
            return true;
        }
        free(p);
    }
    return false;
}

static void on_client(void *ctx, int fd, short events, ns_t now);

/* Send what is there; true as long as the client lives. */
static bool client_write(struct client *k, ns_t now)
{
    while (k->out) {
        ssize_t n =
            send(k->fd, k->out + k->out_at, k->out_n - k->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        k->out_at += (size_t)n;
        k->progress = now;
        if (k->out_at == k->out_n) {
            free(k->out);
            k->out = NULL;
        }
    }
    return true;
}

/* Answer the lines that have come, one after the other. */
static bool client_lines(struct client *k, ns_t now)
{
    char *end;

    while (!k->out && (end = memchr(k->in, '\n', k->in_n))) {
        size_t used = (size_t)(end - k->in) + 1;

        *end = 0;
        if (!answer(k, k->in, now))
            return false;
        memmove(k->in, k->in + used, k->in_n - used);
        k->in_n -= used;
        if (!client_write(k, now))
            return false;
    }
    return k->in_n < sizeof(k->in) || k->out;
}

static bool client_read(struct client *k, ns_t now)
{
    while (!k->out && k->in_n < sizeof(k->in)) {
        ssize_t n = recv(k->fd, k->in + k->in_n, sizeof(k->in) - k->in_n, MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        k->in_n += (size_t)n;
        k->progress = now;
        if (!client_lines(k, now))
            return false;
    }
    return true;
}

static void on_client(void *ctx, int fd, short events, ns_t now)
{
    struct client *k = ctx;
    bool alive = !(events & (POLLERR | POLLNVAL));

    if (alive && k->out)
        alive = client_write(k, now) && client_lines(k, now);
    if (alive && !k->out)
        alive = client_read(k, now);
    if (alive && ring_fd_add(k->of->ring, fd, k->out ? POLLOUT : POLLIN, on_client, k) == 0)
        return;
    client_drop(k);
}

/* ---- newcomers ---- */

/* A free place, if need be that of whoever is silent or deaf for longest. */
static struct client *place(struct control *c, ns_t now)
{
    struct client *idle = NULL;

    for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
        struct client *k = &c->client[i];

        if (k->fd < 0)
            return k;
        if (!idle || k->progress < idle->progress)
            idle = k;
    }
    if (idle->progress + CONTROL_PATIENCE > now)
        return NULL;
    client_drop(idle);
    return idle;
}

static bool may_ask(int fd)
{
    struct ucred who;
    socklen_t n = sizeof(who);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) == 0 &&
           (who.uid == 0 || who.uid == geteuid());
}

static void on_listen(void *ctx, int fd, short events, ns_t now)
{
    struct control *c = ctx;
    int in;

    (void)events;
    while ((in = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct client *k = may_ask(in) ? place(c, now) : NULL;

        if (!k) {
            close(in);
            continue;
        }
        k->fd = in;
        k->progress = now;
        if (ring_fd_add(c->ring, in, POLLIN, on_client, k)) {
            close(in);
            k->fd = -1;
        }
    }
}

/* ---- open and close ---- */

static int bind_at(int fd, const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    mode_t mask;
    int rc;

    if (strlen(path) >= sizeof(a.sun_path))
        return -ENAMETOOLONG;
    strcpy(a.sun_path, path);
    unlink(path);
    mask = umask(0177);
    rc = bind(fd, (struct sockaddr *)&a, sizeof(a)) ? -errno : 0;
    umask(mask);
    return rc ? rc : listen(fd, CONTROL_CLIENTS) ? -errno : 0;
}

/* The socket gets its name only when it listens: one that does not answer is nobody's. */
static int listen_at(struct control *c, const char *dir, const char *name)
{
    char first[sizeof(c->path)];
    int rc, n;

    if (mkdir(dir, 0700) && errno != EEXIST)
        return -errno;
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return -errno;
    n = snprintf(first, sizeof(first), "%s/%s.%d.new", dir, name, (int)getpid());
    rc = n < 0 || (size_t)n >= sizeof(first) ? -ENAMETOOLONG : bind_at(c->fd, first);
    if (rc)
        return rc;
    control_sweep(dir, name);
    snprintf(c->path, sizeof(c->path), "%s/%s.sock", dir, name);
    rc = link(first, c->path) ? -errno : 0;
    if (rc == -EEXIST) {
        n = snprintf(c->path, sizeof(c->path), "%s/%s.%d.sock", dir, name, (int)getpid());
        rc = n < 0 || (size_t)n >= sizeof(c->path) ? -ENAMETOOLONG
             : link(first, c->path)                ? -errno
                                                   : 0;
    }
    unlink(first);
    if (rc)
        c->path[0] = 0; /* not ours to remove */
    return rc;
}

int control_open(struct control **out, struct ring *ring, const char *dir, const char *name,
                 control_fn *fn, void *ctx, char *why, size_t why_size)
{
    struct control *c = calloc(1, sizeof(*c));
    int rc = -ENOMEM;

    *out = NULL;
    if (c) {
        c->fd = -1;
        c->fn = fn;
        c->ctx = ctx;
        for (size_t i = 0; i < CONTROL_CLIENTS; i++)
            c->client[i] = (struct client){.of = c, .fd = -1};
        rc = listen_at(c, dir, name);
        if (!rc && ring_fd_add(ring, c->fd, POLLIN, on_listen, c))
            rc = -ENOMEM;
        else if (!rc)
            c->ring = ring;
    }
    if (rc) {
        snprintf(why, why_size, "no control socket in %s: %s", dir, strerror(-rc));
        control_close(c);
        return rc;
    }
    *out = c;
    return 0;
}

void control_close(struct control *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < CONTROL_CLIENTS; i++)
        if (c->client[i].fd >= 0)
            client_drop(&c->client[i]);
    if (c->ring)
        ring_fd_del(c->ring, c->fd);
    if (c->path[0])
        unlink(c->path);
    if (c->fd >= 0)
        close(c->fd);
    free(c);
}

size_t control_clients(const struct control *c)
{
    size_t n = 0;

    for (size_t i = 0; i < CONTROL_CLIENTS; i++)
        n += c->client[i].fd >= 0;
    return n;
}
