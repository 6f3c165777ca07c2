/* Namespaces held by descriptors, and the children that run in them. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "app/ns.h"
#include "test/app_ring_util.h"

static struct ns ns_or_skip(void)
{
    char why[400] = "";
    struct ns ns;

    if (ns_new(&ns, why, sizeof(why))) {
        print_message("%s\n", why);
        skip();
    }
    return ns;
}

static ino_t net_here(void)
{
    struct stat st;

    return stat("/proc/self/ns/net", &st) ? 0 : st.st_ino;
}

static ino_t net_of(const struct ns *ns)
{
    struct stat st;

    assert_int_equal(fstat(ns->net, &st), 0);
    return st.st_ino;
}

/* Loopback carries, and there is nothing else. */
static int look_around(void *arg, char *why, size_t why_size)
{
    struct sockaddr_in a = {.sin_family = AF_INET}, got;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct if_nameindex *list = if_nameindex();
    socklen_t len = sizeof(got);
    unsigned n = 0;
    char c = 0;

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    while (list && list[n].if_name)
        n++;
    snprintf(why, why_size, "%u interfaces, uid %u", n, geteuid());
    if (net_here() != *(ino_t *)arg || geteuid() != 0)
        return -EINVAL;
    if (bind(fd, (struct sockaddr *)&a, sizeof(a)) ||
        getsockname(fd, (struct sockaddr *)&got, &len) ||
        sendto(fd, "x", 1, 0, (struct sockaddr *)&got, len) != 1 || recv(fd, &c, 1, 0) != 1)
        return -errno;
    return c == 'x' ? 0 : -EPROTO;
}

static int refuse(void *arg, char *why, size_t why_size)
{
    snprintf(why, why_size, "no %s today", (const char *)arg);
    return -EBUSY;
}

static int crash(void *arg, char *why, size_t why_size)
{
    (void)arg;
    (void)why;
    (void)why_size;
    raise(SIGKILL);
    return 0;
}

static void test_call(void **state)
{
    unsigned fds = fds_open();
    struct ns a = ns_or_skip(), b = ns_or_skip();
    char why[400] = "";
    char what[] = "bread";
    ino_t net = net_of(&a);
    int rc;

    (void)state;
    assert_int_not_equal(net, net_of(&b));
    assert_int_not_equal(net, net_here());
    rc = ns_call(&a, look_around, &net, why, sizeof(why));
    if (rc)
        print_message("%s\n", why);
    assert_int_equal(rc, 0);
    assert_int_equal(ns_call(&b, refuse, what, why, sizeof(why)), -EBUSY);
    assert_string_equal(why, "no bread today");
    assert_int_equal(ns_call(&b, crash, what, why, sizeof(why)), -ECHILD);
    ns_del(&a);
    ns_del(&b);
    ns_del(&b);
    assert_int_equal(fds_open(), fds);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static int open_socket(void *arg, char *why, size_t why_size)
{
    (void)arg;
    snprintf(why, why_size, "socket");
    return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

/* What was opened in a namespace acts there; `lo` here has other counters. */
static void test_open(void **state)
{
    unsigned fds = fds_open();
    struct ns ns = ns_or_skip();
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(9)};
    char why[400] = "";
    int fd;

    (void)state;
    assert_int_equal(ns_open(&ns, open_socket, NULL, &fd, why, sizeof(why)), 0);
    a.sin_addr.s_addr = inet_addr("192.0.2.1");
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), -1);
    assert_int_equal(errno, ENETUNREACH);
    close(fd);
    assert_int_equal(ns_open(&ns, refuse, why, &fd, why, sizeof(why)), -EBUSY);
    assert_int_equal(fd, -1);
    ns_del(&ns);
    assert_int_equal(fds_open(), fds);
}

static int wait_lifeline(void *arg, int lifeline)
{
    struct pollfd p = {.fd = lifeline, .events = POLLIN};
    sigset_t mask;

    (void)arg;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    if (sigismember(&mask, SIGUSR1))
        return 1;
    return poll(&p, 1, 10000) == 1 ? 42 : 2;
}

static int wait_always(void *arg, int lifeline)
{
    (void)arg;
    (void)lifeline;
    while (getppid() != 1)
        pause();
    return 1;
}

/* Each child ends when its own lifeline closes, though all were forked by one parent. */
static void test_children(void **state)
{
    unsigned fds = fds_open();
    struct ns ns = ns_or_skip();
    struct ns_child c[4];
    char why[400] = "";
    sigset_t usr1;
    int status;

    (void)state;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigprocmask(SIG_BLOCK, &usr1, NULL);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(ns_run(i % 2 ? &ns : NULL, i == 3 ? wait_always : wait_lifeline, NULL,
                                &c[i], why, sizeof(why)),
                         0);
    ns_child_ask(&c[0]);
    ns_child_ask(&c[0]);
    for (unsigned i = 0; i < 3; i++) {
        status = ns_child_end(&c[i], 20 * NS_PER_S);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 42);
        assert_int_equal(c[i].pid, 0);
    }
    status = ns_child_end(&c[3], 10 * NS_PER_MS);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(ns_child_end(&c[3], 0), -1);
    sigprocmask(SIG_UNBLOCK, &usr1, NULL);
    ns_del(&ns);
    assert_int_equal(fds_open(), fds);
}

/* A namespace that can't be entered is told by the exit status. */
static void test_no_namespace(void **state)
{
    struct ns bad = {.net = 0, .user = -1};
    struct ns_child c;
    char why[400];
    int status;

    (void)state;
    assert_int_equal(ns_run(&bad, wait_always, NULL, &c, why, sizeof(why)), 0);
    status = ns_child_end(&c, 20 * NS_PER_S);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 125);
    assert_true(ns_call(&bad, refuse, why, why, sizeof(why)) < 0);
}

/* Killed without a chance to clean up, a parent takes its children along. */
static void test_parent_killed(void **state)
{
    struct ns ns = ns_or_skip();
    int pipefd[2], status;
    pid_t pid;
    char c;

    (void)state;
    assert_int_equal(pipe(pipefd), 0);
    pid = fork();
    if (pid == 0) {
        struct ns_child child;
        char why[400];

        close(pipefd[0]);
        /* The child holds the pipe open as long as it lives. */
        if (ns_run(&ns, wait_always, NULL, &child, why, sizeof(why)))
            _exit(1);
        if (write(pipefd[1], "r", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(pipefd[1]);
    assert_int_equal(read(pipefd[0], &c, 1), 1);
    usleep(20000); /* let the child set its death signal */
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(read(pipefd[0], &c, 1), 0); /* end of file: nobody holds it */
    close(pipefd[0]);
    ns_del(&ns);
}

/* Without root: it works by a user namespace, or the text says what forbids it. */
static void test_unprivileged(void **state)
{
    int status;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        char why[400] = "";
        ino_t net;
        struct ns ns;

        if (geteuid() == 0 && (setgid(65534) || setuid(65534)))
            _exit(77);
        if (ns_new(&ns, why, sizeof(why)))
            _exit(ns.net == -1 && strstr(why, "root") ? 0 : 1);
        net = net_of(&ns);
        if (ns_call(&ns, look_around, &net, why, sizeof(why)))
            _exit(2);
        ns_del(&ns);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_call),          cmocka_unit_test(test_open),
        cmocka_unit_test(test_children),      cmocka_unit_test(test_no_namespace),
        cmocka_unit_test(test_parent_killed), cmocka_unit_test(test_unprivileged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
