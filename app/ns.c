#include "app/ns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

#define LIFELINES_MAX 64
#define EXIT_NO_NS    125

/* Our ends of the lifelines of living children, which new children must not keep. */
static int lifelines[LIFELINES_MAX];
static unsigned lifelines_n;

/* Where making a namespace failed. */
enum stage { STAGE_USER, STAGE_MAP, STAGE_NET, STAGE_LOOPBACK, STAGE_PROC };

/* What a helper child reports before it exits. */
struct report {
    int rc; /* 0 or a negative errno */
    enum stage stage;
    char why[400];
};

static int say(char *why, size_t why_size, int err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static int say(char *why, size_t why_size, int err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, why_size, fmt, ap);
    va_end(ap);
    return -err;
}

/* ---- reports with descriptors ---- */

static void report_send(int sock, const struct report *rep, const int *fds, unsigned n)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {0};
    struct iovec iov = {(void *)(uintptr_t)rep, sizeof(*rep)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (n) {
        struct cmsghdr *c;

        msg.msg_control = control;
        msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    }
    while (sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

/* False when the other side ended without a report. `fds` has room for 2, -1 if not sent. */
static bool report_recv(int sock, struct report *rep, int *fds)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {0};
    struct iovec iov = {rep, sizeof(*rep)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    struct cmsghdr *c;
    ssize_t n;

    fds[0] = fds[1] = -1;
    do
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof(*rep))
        return false;
    c = CMSG_FIRSTHDR(&msg);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
    return true;
}

static void reap(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

/*
 * Fork a child that can report on `*sock`. Returns as fork does; in the child `*sock` is its
 * end, in the parent the other.
 */
static pid_t fork_reporter(int *sock)
{
    pid_t parent = getpid(), pid;
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        return -1;
    pid = fork();
    if (pid < 0) {
        int err = errno;

        close(pair[0]);
        close(pair[1]);
        errno = err;
        return -1;
    }
    close(pair[pid == 0 ? 0 : 1]);
    *sock = pair[pid == 0 ? 1 : 0];
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(EXIT_NO_NS);
    }
    return pid;
}

/* ---- making a namespace ---- */

int ns_link_up(const char *name)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc = 0;
    struct ifreq ifr;

    if (fd < 0)
        return -errno;
    memset(&ifr, 0, sizeof(ifr));
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
    if (ioctl(fd, SIOCGIFFLAGS, &ifr)) {
        rc = -errno;
    } else {
        ifr.ifr_flags |= IFF_UP;
        if (ioctl(fd, SIOCSIFFLAGS, &ifr))
            rc = -errno;
    }
    close(fd);
    return rc;
}

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC), rc = 0;

    if (fd < 0)
        return -errno;
    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        rc = -errno;
    close(fd);
    return rc;
}

/* The integer in a /proc/sys file; -1 where there is none. */
static int sysctl_get(const char *path)
{
    FILE *f = fopen(path, "re");
    int value = -1;

    if (f && fscanf(f, "%d", &value) != 1)
        value = -1;
    if (f)
        fclose(f);
    return value;
}

/* In the child: a user namespace in which the caller is root. */
static int user_make(struct report *rep)
{
    unsigned uid = geteuid(), gid = getegid();
    char map[40];
    int rc;

    /* After a change of identity /proc/self is root's, unless the process may be dumped. */
    prctl(PR_SET_DUMPABLE, 1);
    rep->stage = STAGE_USER;
    if (unshare(CLONE_NEWUSER))
        return -errno;
    rep->stage = STAGE_MAP;
    rc = write_file("/proc/self/setgroups", "deny");
    if (rc && rc != -ENOENT)
        return rc;
    snprintf(map, sizeof(map), "0 %u 1", uid);
    rc = write_file("/proc/self/uid_map", map);
    if (rc)
        return rc;
    snprintf(map, sizeof(map), "0 %u 1", gid);
    return write_file("/proc/self/gid_map", map);
}

/* In the child: make it, up to the open descriptors. */
static int net_make(struct report *rep, int *fds, unsigned *n)
{
    bool user = false;
    int rc;

    rep->stage = STAGE_NET;
    if (geteuid() != 0 || unshare(CLONE_NEWNET)) {
        rc = user_make(rep);
        if (rc)
            return rc;
        user = true;
        rep->stage = STAGE_NET;
        if (unshare(CLONE_NEWNET))
            return -errno;
    }
    rep->stage = STAGE_LOOPBACK;
    rc = ns_link_up("lo");
    if (rc)
        return rc;
    rep->stage = STAGE_PROC;
    fds[0] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    fds[1] = user ? open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC) : -1;
    if (fds[0] < 0 || (user && fds[1] < 0))
        return -errno;
    *n = user ? 2 : 1;
    return 0;
}

/* What the user reads when it failed. */
static int explain(const struct report *rep, char *why, size_t why_size)
{
    int err = -rep->rc;

    if (err == ENOSPC)
        return say(why, why_size, err,
                   "no more namespaces are allowed: raise the sysctl %s, or run as root",
                   rep->stage == STAGE_USER ? "user.max_user_namespaces"
                                            : "user.max_net_namespaces");
    if (rep->stage == STAGE_PROC)
        return say(why, why_size, err, "can't open /proc/self/ns: %s; is /proc mounted?",
                   strerror(err));
    if (err == ENOSYS || (err == EINVAL && rep->stage != STAGE_LOOPBACK))
        return say(why, why_size, ENOSYS, "this kernel has no %s namespaces",
                   rep->stage == STAGE_NET ? "network" : "user");
    if (sysctl_get("/proc/sys/kernel/unprivileged_userns_clone") == 0)
        return say(why, why_size, err,
                   "network namespaces need root here: the sysctl "
                   "kernel.unprivileged_userns_clone = 0 forbids user namespaces; run as root, "
                   "or set it to 1");
    if (sysctl_get("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1)
        return say(why, why_size, err,
                   "network namespaces need root here: the sysctl "
                   "kernel.apparmor_restrict_unprivileged_userns = 1 forbids user namespaces; "
                   "run as root, or set it to 0");
    if (sysctl_get("/proc/sys/user/max_user_namespaces") == 0)
        return say(why, why_size, err,
                   "network namespaces need root here: the sysctl user.max_user_namespaces = 0 "
                   "forbids user namespaces; run as root, or raise it");
    return say(
        why, why_size, err,
        "can't make a network namespace (%s): this takes root with CAP_SYS_ADMIN, or user "
        "namespaces, which a container's seccomp filter may forbid",
        strerror(err));
}

int ns_new(struct ns *ns, char *why, size_t why_size)
{
    struct report rep;
    unsigned n = 0;
    pid_t pid;
    int sock, fds[2] = {-1, -1};
    bool told;

    *ns = NS_NONE;
    pid = fork_reporter(&sock);
    if (pid < 0)
        return say(why, why_size, errno, "can't start a child: %s", strerror(errno));
    if (pid == 0) {
        memset(&rep, 0, sizeof(rep));
        rep.rc = net_make(&rep, fds, &n);
        report_send(sock, &rep, fds, rep.rc ? 0 : n);
        _exit(0);
    }
    told = report_recv(sock, &rep, fds);
    close(sock);
    reap(pid);
    if (!told)
        return say(why, why_size, ECHILD, "the child that makes a namespace ended early");
    if (rep.rc)
        return explain(&rep, why, why_size);
    *ns = (struct ns){fds[0], fds[1]};
    return 0;
}

void ns_del(struct ns *ns)
{
    if (ns->net >= 0)
        close(ns->net);
    if (ns->user >= 0)
        close(ns->user);
    *ns = NS_NONE;
}

int ns_enter(const struct ns *ns)
{
    if (ns->user >= 0 && setns(ns->user, CLONE_NEWUSER))
        return -errno;
    return setns(ns->net, CLONE_NEWNET) ? -errno : 0;
}

/* ---- children ---- */

static void lifeline_forget(int fd)
{
    for (unsigned i = 0; i < lifelines_n; i++) {
        if (lifelines[i] == fd) {
            lifelines[i] = lifelines[--lifelines_n];
            return;
        }
    }
}

static void signals_reset(void)
{
    sigset_t none;

    for (int i = 1; i < NSIG; i++)
        signal(i, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In the child of ns_run. Entering a user namespace clears the death signal: it is set last. */
static void child_run(const struct ns *ns, ns_main_fn *fn, void *arg, int lifeline,
                      pid_t parent)
{
    for (unsigned i = 0; i < lifelines_n; i++)
        close(lifelines[i]);
    lifelines_n = 0;
    signals_reset();
    if (ns && ns_enter(ns))
        _exit(EXIT_NO_NS);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(EXIT_NO_NS);
    _exit(fn(arg, lifeline));
}

int ns_run(const struct ns *ns, ns_main_fn *fn, void *arg, struct ns_child *child, char *why,
           size_t why_size)
{
    pid_t parent = getpid(), pid;
    int pipefd[2];

    *child = (struct ns_child){0, -1};
    if (lifelines_n == LIFELINES_MAX)
        return say(why, why_size, EAGAIN, "too many children (%d)", LIFELINES_MAX);
    if (pipe2(pipefd, O_CLOEXEC))
        return say(why, why_size, errno, "can't make a pipe: %s", strerror(errno));
    pid = fork();
    if (pid < 0) {
        int err = errno;

        close(pipefd[0]);
        close(pipefd[1]);
        return say(why, why_size, err, "can't start a child: %s", strerror(err));
    }
    if (pid == 0) {
        close(pipefd[1]);
        child_run(ns, fn, arg, pipefd[0], parent);
    }
    close(pipefd[0]);
    lifelines[lifelines_n++] = pipefd[1];
    *child = (struct ns_child){pid, pipefd[1]};
    return 0;
}

void ns_child_ask(struct ns_child *child)
{
    if (child->pid <= 0 || child->lifeline < 0)
        return;
    lifeline_forget(child->lifeline);
    close(child->lifeline);
    child->lifeline = -1;
}

/* Wait for the end of `pid` for at most `grace`. */
static void exit_wait(pid_t pid, ns_t grace)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct timespec ts = {(time_t)(grace / NS_PER_S), (long)(grace % NS_PER_S)};

    if (fd >= 0) {
        ppoll(&p, 1, &ts, NULL);
        close(fd);
        return;
    }
    for (ns_t waited = 0; waited < grace; waited += 5 * NS_PER_MS) {
        siginfo_t info = {0};

        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid)
            return;
        ts = (struct timespec){0, 5000000};
        nanosleep(&ts, NULL);
    }
}

int ns_child_end(struct ns_child *child, ns_t grace)
{
    pid_t pid = child->pid;
    int status = -1;

    if (pid <= 0)
        return -1;
    ns_child_ask(child);
    exit_wait(pid, grace);
    if (waitpid(pid, &status, WNOHANG) == 0) {
        kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    }
    *child = (struct ns_child){0, -1};
    return status;
}

/* ---- helpers that run to their end ---- */

struct call {
    ns_open_fn *open;
    ns_call_fn *call;
    void *arg;
};

static void call_run(const struct ns *ns, const struct call *c, int sock)
{
    struct report rep;
    int fd = -1;

    memset(&rep, 0, sizeof(rep));
    signals_reset();
    rep.rc = ns_enter(ns);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (rep.rc) {
        say(rep.why, sizeof(rep.why), 0, "can't enter the namespace: %s", strerror(-rep.rc));
    } else if (c->call) {
        rep.rc = c->call(c->arg, rep.why, sizeof(rep.why));
    } else {
        fd = c->open(c->arg, rep.why, sizeof(rep.why));
        rep.rc = fd < 0 ? fd : 0;
    }
    report_send(sock, &rep, &fd, fd >= 0 ? 1 : 0);
    _exit(0);
}

static int call_in(const struct ns *ns, const struct call *c, int *fd, char *why,
                   size_t why_size)
{
    struct report rep;
    int sock, fds[2];
    pid_t pid = fork_reporter(&sock);
    bool told;

    if (pid < 0)
        return say(why, why_size, errno, "can't start a child: %s", strerror(errno));
    if (pid == 0)
        call_run(ns, c, sock);
    told = report_recv(sock, &rep, fds);
    close(sock);
    reap(pid);
    *fd = fds[0];
    if (!told)
        return say(why, why_size, ECHILD, "a helper child ended early");
    if (rep.rc)
        return say(why, why_size, -rep.rc, "%s", rep.why);
    if (c->open && fds[0] < 0)
        return say(why, why_size, EMFILE, "too many open files");
    return 0;
}

int ns_open(const struct ns *ns, ns_open_fn *fn, void *arg, int *fd, char *why, size_t why_size)
{
    struct call c = {.open = fn, .arg = arg};

    return call_in(ns, &c, fd, why, why_size);
}

int ns_call(const struct ns *ns, ns_call_fn *fn, void *arg, char *why, size_t why_size)
{
    struct call c = {.call = fn, .arg = arg};
    int fd;

    return call_in(ns, &c, &fd, why, why_size);
}
