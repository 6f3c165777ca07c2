#include "app/resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER_FD 3 /* of the child; it keeps no other but the standard ones */

static bool known(const union udp_addr *addr, size_t n, const union udp_addr *a)
{
    for (size_t i = 0; i < n; i++)
        if (udp_addr_equal(&addr[i], a))
            return true;
    return false;
}

size_t resolve_now(const char *host, uint16_t port, union udp_addr out[RESOLVE_MAX],
                   const char **why)
{
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_ADDRCONFIG},
                    *list = NULL;
    size_t n = 0;
    int rc;

    *why = "it has no IP address";
    if (udp_addr_parse(host, port, &out[0]) == 0) {
        udp_addr_set_port(&out[0], port);
        return 1;
    }
    rc = getaddrinfo(host, NULL, &hints, &list);
    if (rc) {
        *why = gai_strerror(rc);
        return 0;
    }
    for (struct addrinfo *a = list; a && n < RESOLVE_MAX; a = a->ai_next) {
        if (a->ai_family != AF_INET && a->ai_family != AF_INET6)
            continue;
        memset(&out[n], 0, sizeof(out[n]));
        memcpy(&out[n], a->ai_addr, a->ai_addrlen);
        udp_addr_set_port(&out[n], port);
        n += !known(out, n, &out[n]);
    }
    freeaddrinfo(list);
    return n;
}

/* Whole or not at all: the answer is smaller than a pipe's atomic write. */
static void child(int fd, const char *host, uint16_t port)
{
    union udp_addr addr[RESOLVE_MAX];
    const char *why;
    size_t n;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(RESOLVE_WITHIN);
    if (fd != ANSWER_FD)
        dup2(fd, ANSWER_FD);
    close_range(ANSWER_FD + 1, ~0u, 0); /* the TUN must not outlive the parent */
    memset(addr, 0, sizeof(addr));
    n = resolve_now(host, port, addr, &why);
    _exit(n > 0 && write(ANSWER_FD, addr, n * sizeof(*addr)) < 0);
}

static void ended(void *ctx, pid_t pid, int status, ns_t now)
{
    struct resolve *r = ctx;
    union udp_addr addr[RESOLVE_MAX];
    ssize_t got = read(r->fd, addr, sizeof(addr));

    (void)pid;
    (void)status;
    close(r->fd);
    r->pid = 0;
    if (got >= (ssize_t)sizeof(*addr))
        r->fn(r->ctx, addr, (size_t)got / sizeof(*addr), now);
}

int resolve_start(struct resolve *r, struct ring *ring, const char *host, uint16_t port,
                  resolve_fn *fn, void *ctx)
{
    int fd[2], e;
    pid_t pid;

    if (r->pid)
        return 0;
    if (pipe2(fd, O_CLOEXEC))
        return -errno;
    pid = fork();
    e = errno;
    if (pid == 0)
        child(fd[1], host, port);
    close(fd[1]);
    *r = (struct resolve){.ring = ring, .pid = pid, .fd = fd[0], .fn = fn, .ctx = ctx};
    if (pid > 0 && ring_child_add(ring, pid, ended, r) == 0)
        return 0;
    close(fd[0]);
    r->pid = 0;
    if (pid < 0)
        return -e;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return -ENOSYS;
}

void resolve_stop(struct resolve *r)
{
    if (!r->pid)
        return;
    ring_child_del(r->ring, r->pid);
    kill(r->pid, SIGKILL);
    waitpid(r->pid, NULL, 0);
    close(r->fd);
    r->pid = 0;
}
