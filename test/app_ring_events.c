/* The event loop without UDP: packets, time, signals, children, descriptors, ends. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "test/app_ring_rig.h"

/* ---- packets ---- */

/* Echo: a header of ours before, the packet in place, both ends of it swapped in place. */
static void echo_on_tun(struct rig *g, struct ring_tun *t, struct ring_pkt *p, size_t n,
                        ns_t now)
{
    (void)now;
    for (size_t i = 0; i < n; i++) {
        uint8_t head[4] = {'h', 'e', 'a', (uint8_t)g->m};
        struct iovec iov[20] = {{head, 4}};
        size_t pieces = 1 + g->m % 15, off = 0;

        for (size_t k = 1; k <= pieces; k++) {
            size_t n_k = k < pieces ? 1 : p[i].n - off;

            iov[k] = (struct iovec){p[i].p + off, n_k};
            off += n_k;
        }
        assert_true(pattern_is(p[i].p, p[i].n, g->m, 0));
        memset(p[i].p - RING_HEADROOM, 1, RING_HEADROOM);
        memset(p[i].p + p[i].n, 2, RING_TAILROOM);
        assert_int_equal(ring_tun_write(t, iov, pieces + 1), 0);
        memset(head, 0, sizeof(head));
        g->m++;
    }
}

static void echo_read(void *ctx, int fd, short events, ns_t now)
{
    struct rig *g = ctx;
    uint8_t buf[4096];
    ssize_t n;

    (void)now;
    assert_true(events & POLLIN);
    while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
        assert_memory_equal(buf, "hea", 3);
        assert_int_equal(buf[3], (uint8_t)g->off);
        assert_true(pattern_is(buf + 4, (size_t)n - 4, g->off, 0));
        g->off++;
    }
    if (g->off == g->want)
        return ring_stop(g->r, 0);
    for (; g->p < (void *)g->want && (uintptr_t)g->p < g->off + 40;
         g->p = (void *)((uintptr_t)g->p + 1)) {
        size_t len = 20 + (uintptr_t)g->p * 7 % 1380;

        pattern_fill(buf, len, (uintptr_t)g->p);
        assert_int_equal(send(fd, buf, len, 0), len);
    }
}

static void echo_run(void **state, const struct ring_cfg *cfg)
{
    uint8_t first[20];
    struct rig g;
    int fd;

    rig_open(state, cfg, &g);
    pair_open(&g, 1400);
    fd = (int)g.n;
    g.on_tun = echo_on_tun;
    g.want = 1000;
    g.p = (void *)1;
    assert_int_equal(ring_fd_add(g.r, g.peer, POLLIN, echo_read, &g), 0);
    pattern_fill(first, sizeof(first), 0);
    assert_int_equal(send(g.peer, first, sizeof(first), 0), sizeof(first));
    assert_int_equal(ring_run(g.r), 0);
    assert_int_equal(g.m, g.want);
    assert_int_equal(ring_stats(g.r)->tun_rx_packets, g.want);
    assert_int_equal(ring_stats(g.r)->tun_tx_packets, g.want);
    assert_int_equal(ring_stats(g.r)->tun_tx_drops, 0);
    pair_close(&g, fd);
    rig_close(&g);
}

static void test_echo(void **state)
{
    echo_run(state, NULL);
}

static void test_echo_two_buffers(void **state)
{
    struct ring_cfg cfg = {.tun_bufs = 2};

    echo_run(state, &cfg);
}

static void count_on_tun(struct rig *g, struct ring_tun *t, struct ring_pkt *p, size_t n,
                         ns_t now)
{
    (void)t;
    (void)now;
    for (size_t i = 0; i < n; i++)
        assert_int_equal(p[i].n, 100);
    g->m += n;
    if (g->m == 2)
        ring_stop(g->r, 0);
}

/* A packet longer than announced is dropped and counted, never handed on cut. */
static void test_too_long(void **state)
{
    uint8_t buf[200] = {0};
    struct rig g;
    int fd;

    rig_open(state, NULL, &g);
    pair_open(&g, 100);
    fd = (int)g.n;
    g.on_tun = count_on_tun;
    assert_int_equal(send(g.peer, buf, 100, 0), 100);
    assert_int_equal(send(g.peer, buf, 101, 0), 101);
    assert_int_equal(send(g.peer, buf, 200, 0), 200);
    assert_int_equal(send(g.peer, buf, 100, 0), 100);
    assert_int_equal(ring_run(g.r), 0);
    assert_int_equal(ring_stats(g.r)->tun_rx_errors, 2);
    pair_close(&g, fd);
    rig_close(&g);
}

/* The device goes away: told once, writes are drops, the loop lives on. */
static void test_tun_gone(void **state)
{
    uint8_t buf[10] = {0};
    struct rig g;
    int fd;

    rig_open(state, NULL, &g);
    pair_open(&g, 100);
    fd = (int)g.n;
    signal(SIGPIPE, SIG_IGN);
    close(g.peer);
    g.peer = -1;
    assert_int_equal(ring_run(g.r), 0);
    assert_int_equal(g.tun_errors, 1);
    assert_true(g.last_tun_error > 0);
    ring_tun_write_one(g.tun, buf, sizeof(buf));
    assert_int_equal(ring_tun_write_one(g.tun, buf, 0), QUIC_INVAL);
    ring_deadline_set(g.r, ring_clock() + 20 * NS_PER_MS);
    assert_int_equal(ring_run(g.r), -1);
    assert_int_equal(g.tun_errors, 1);
    assert_int_equal(ring_stats(g.r)->tun_tx_drops, 2);
    assert_int_equal(ring_stats(g.r)->tun_tx_packets, 0);
    signal(SIGPIPE, SIG_DFL);
    pair_close(&g, fd);
    rig_close(&g);
}

/* More writes than allowed at once are refused and counted; those taken are done. */
static void test_too_many_writes(void **state)
{
    struct ring_cfg cfg = {.tun_writes = 3};
    struct iovec many[1025];
    unsigned avail, total, taken = 0;
    uint8_t byte = 1, buf[10];
    struct rig g;
    int fd;

    rig_open(state, &cfg, &g);
    pair_open(&g, 100);
    fd = (int)g.n;
    for (unsigned i = 0; i < 10; i++) {
        int rc = ring_tun_write_one(g.tun, &byte, 1);

        assert_true(rc == 0 || (rc == QUIC_BLOCKED && i >= 3));
        taken += rc == 0;
    }
    for (unsigned i = 0; i < ARRAY_LEN(many); i++)
        many[i] = (struct iovec){&byte, 1};
    assert_int_equal(ring_tun_write(g.tun, many, ARRAY_LEN(many)), QUIC_INVAL);
    ring_deadline_set(g.r, ring_clock() + NS_PER_MS);
    assert_int_equal(ring_run(g.r), -1);
    assert_int_equal(ring_stats(g.r)->tun_tx_packets, taken);
    assert_int_equal(ring_stats(g.r)->tun_tx_drops, 11 - taken);
    for (unsigned i = 0; i < taken; i++)
        assert_int_equal(recv(g.peer, buf, sizeof(buf), MSG_DONTWAIT), 1);
    assert_int_equal(recv(g.peer, buf, sizeof(buf), MSG_DONTWAIT), -1);
    ring_tun_room(g.tun, &avail, &total);
    assert_int_equal(avail, 128);
    assert_int_equal(total, 128);
    pair_close(&g, fd);
    rig_close(&g);
}

/* ---- time, signals, children, descriptors ---- */

static void tick_on_deadline(struct rig *g, ns_t now)
{
    ns_t at = *(ns_t *)g->p, due = now + 20 * NS_PER_MS;

    assert_true(now >= at);
    assert_true(now < at + LATE);
    assert_int_equal(ring_deadline(g->r), NS_NEVER);
    if (++g->m == 5)
        return ring_stop(g->r, 7);
    *(ns_t *)g->p = due;
    ring_deadline_set(g->r, due);
}

static void test_deadline(void **state)
{
    ns_t at = ring_clock() - NS_PER_MS; /* the first is in the past */
    struct rig g;

    rig_open(state, NULL, &g);
    g.on_deadline = tick_on_deadline;
    g.p = &at;
    ring_deadline_set(g.r, at);
    assert_int_equal(ring_run(g.r), 7);
    assert_int_equal(g.m, 5);
    rig_close(&g);
}

/* With sockets, a TUN and watches at rest, one wait lasts until the deadline. */
static void test_idle(void **state)
{
    const struct ring_stats *st;
    uint64_t before;
    struct rig g;
    int fd, pipefd[2];

    rig_open(state, NULL, &g);
    pair_open(&g, 1500);
    fd = (int)g.n;
    g.a = sock_open(&g, "127.0.0.1:0", false);
    assert_int_equal(pipe(pipefd), 0);
    assert_int_equal(ring_fd_add(g.r, pipefd[0], POLLIN, echo_read, &g), 0);
    assert_int_equal(ring_signal_add(g.r, SIGUSR2), 0);
    ring_deadline_set(g.r, ring_clock() + 10 * NS_PER_MS);
    ring_run(g.r);
    st = ring_stats(g.r);
    before = st->enters;
    ring_deadline_set(g.r, ring_clock() + 200 * NS_PER_MS);
    assert_int_equal(ring_run(g.r), -1);
    assert_true(st->enters - before <= 3);
    assert_int_equal(st->no_buffers, 0);
    pair_close(&g, fd);
    close(pipefd[0]);
    close(pipefd[1]);
    rig_close(&g);
}

static void test_signal(void **state)
{
    sigset_t before, after;
    struct rig g;

    sigprocmask(SIG_SETMASK, NULL, &before);
    rig_open(state, NULL, &g);
    assert_int_equal(ring_signal_add(g.r, SIGUSR1), 0);
    assert_int_equal(ring_signal_add(g.r, SIGTERM), 0);
    assert_int_equal(ring_signal_add(g.r, SIGKILL), QUIC_INVAL);
    assert_int_equal(ring_signal_add(g.r, 1000), QUIC_INVAL);
    kill(getpid(), SIGUSR1);
    assert_int_equal(ring_run(g.r), 0);
    assert_int_equal(g.signals[SIGUSR1], 1);
    kill(getpid(), SIGTERM);
    assert_int_equal(ring_run(g.r), 0);
    assert_int_equal(g.signals[SIGTERM], 1);
    ring_stop(g.r, 3); /* before it runs: it ends at once */
    assert_int_equal(ring_run(g.r), 3);
    kill(getpid(), SIGTERM); /* not read any more, and without effect */
    rig_close(&g);
    sigprocmask(SIG_SETMASK, NULL, &after);
    for (int i = 1; i < 65; i++)
        assert_int_equal(sigismember(&before, i), sigismember(&after, i));
}

static void child_over(void *ctx, pid_t pid, int status, ns_t now)
{
    struct rig *g = ctx;

    (void)now;
    assert_int_equal(pid, *(pid_t *)g->p);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
    g->m++;
    ring_stop(g->r, 0);
}

static void test_child(void **state)
{
    struct rig g;
    pid_t pid;

    rig_open(state, NULL, &g);
    assert_int_equal(ring_child_add(g.r, getppid(), child_over, &g), QUIC_INVAL);
    assert_int_equal(ring_child_add(g.r, 0, child_over, &g), QUIC_INVAL);
    for (unsigned i = 0; i < 2; i++) {
        pid = fork();
        if (pid == 0) {
            usleep(i ? 20000 : 0);
            _exit(7);
        }
        g.p = &pid;
        if (!i)
            usleep(20000); /* dead before it is watched */
        assert_int_equal(ring_child_add(g.r, pid, child_over, &g), 0);
        assert_int_equal(ring_run(g.r), 0);
    }
    assert_int_equal(g.m, 2);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* reaped */

    /* Forgotten, or still watched when the loop ends: left for the caller to reap. */
    for (unsigned i = 0; i < 2; i++) {
        pid = fork();
        if (pid == 0)
            _exit(7);
        assert_int_equal(ring_child_add(g.r, pid, child_over, &g), 0);
        if (i)
            break;
        ring_child_del(g.r, pid);
        ring_child_del(g.r, pid);
        ring_deadline_set(g.r, ring_clock() + 20 * NS_PER_MS);
        assert_int_equal(ring_run(g.r), -1);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
    }
    rig_close(&g);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(g.m, 2);
}

static void pipe_read(void *ctx, int fd, short events, ns_t now)
{
    struct rig *g = ctx;
    char c;

    (void)now;
    if (events & POLLIN) {
        assert_int_equal(read(fd, &c, 1), 1);
        g->m++;
        return;
    }
    assert_true(events & POLLHUP);
    ring_fd_del(g->r, fd);
    ring_stop(g->r, 0);
}

static void pipe_write(void *ctx, int fd, short events, ns_t now)
{
    struct rig *g = ctx;

    (void)now;
    assert_true(events & POLLOUT);
    ring_fd_del(g->r, fd);
    assert_int_equal(write(fd, "abc", 3), 3);
    close(fd);
}

static void never(void *ctx, int fd, short events, ns_t now)
{
    (void)ctx;
    (void)fd;
    (void)events;
    (void)now;
    fail();
}

/* Level-triggered, hang-ups told, replaced and deleted watches silent. */
static void test_descriptors(void **state)
{
    struct rig g;
    int pipefd[2];

    rig_open(state, NULL, &g);
    assert_int_equal(ring_fd_add(g.r, -1, POLLIN, never, &g), QUIC_INVAL);
    assert_int_equal(pipe(pipefd), 0);
    assert_int_equal(ring_fd_add(g.r, pipefd[1], POLLOUT, never, &g), 0);
    assert_int_equal(ring_fd_add(g.r, pipefd[1], POLLOUT, pipe_write, &g), 0);
    assert_int_equal(ring_fd_add(g.r, pipefd[0], POLLOUT, never, &g), 0);
    ring_fd_del(g.r, pipefd[0]);
    ring_fd_del(g.r, pipefd[0]);
    assert_int_equal(ring_fd_add(g.r, pipefd[0], POLLIN, pipe_read, &g), 0);
    assert_int_equal(ring_run(g.r), 0);
    assert_int_equal(g.m, 3);
    close(pipefd[0]);
    rig_close(&g);
}

/* ---- ends ---- */

static void del_on_udp(struct rig *g, struct ring_udp *s, struct udp_dgram *d, size_t n,
                       ns_t now)
{
    (void)d;
    (void)n;
    (void)now;
    if (s == g->b) {
        /* A send given before the end still leaves: the other socket gets it. */
        struct udp_train *t = ring_train_get(s);

        assert_non_null(t);
        t->n = t->segment = 3;
        t->remote = *ring_udp_local(g->a);
        assert_int_equal(ring_udp_send(t), 0);
        ring_udp_del(s);
        ring_udp_del(s);
        assert_null(ring_train_get(s));
        ring_tun_del(g->tun);
        close((int)g->n);
        return;
    }
    ring_stop(g->r, 0);
}

/* Objects deleted by a callback with requests of every kind under way. */
static void test_delete(void **state)
{
    struct udp_train *t;
    struct rig g;

    rig_open(state, NULL, &g);
    pair_open(&g, 1500);
    g.on_udp = del_on_udp;
    g.a = sock_open(&g, "127.0.0.1:0", false);
    g.b = sock_open(&g, "127.0.0.1:0", false);
    t = ring_train_get(g.a);
    assert_non_null(t);
    t->n = 64000;
    t->segment = 1000;
    t->remote = *ring_udp_local(g.b);
    assert_int_equal(ring_udp_send(t), 0);
    assert_int_equal(ring_run(g.r), 0);
    ring_deadline_set(g.r, ring_clock() + 10 * NS_PER_MS);
    assert_int_equal(ring_run(g.r), -1);
    /* The deleted socket's descriptor is closed by now, the TUN's was by us. */
    rig_close(&g);
}

/* The end with everything unsubmitted, armed, queued, held and taken at once. */
static void test_free_busy(void **state)
{
    struct ring_cfg cfg = {.udp_bufs = 4, .tun_bufs = 4};

    for (unsigned round = 0; round < 2; round++) {
        uint8_t pkt[50] = {0};
        struct rig g;
        int fd;

        rig_open(state, &cfg, &g);
        pair_open(&g, 100);
        fd = (int)g.n;
        g.a = sock_open(&g, "127.0.0.1:0", false);
        g.b = sock_open(&g, "127.0.0.1:0", false);
        assert_int_equal(ring_signal_add(g.r, SIGUSR1), 0);
        assert_int_equal(ring_fd_add(g.r, g.peer, POLLIN, never, &g), 0);
        if (round) {
            ring_fd_del(g.r, g.peer);
            ring_deadline_set(g.r, ring_clock() + NS_PER_MS);
            ring_run(g.r);
        }
        for (unsigned i = 0; i < 8; i++) {
            struct udp_train *t = ring_train_get(g.a);

            assert_non_null(t);
            t->n = 30000;
            t->segment = 100 + i * 1000;
            t->remote = *ring_udp_local(g.b);
            assert_int_equal(ring_udp_send(t), 0);
            ring_tun_write_one(g.tun, pkt, sizeof(pkt));
            assert_int_equal(send(g.peer, pkt, sizeof(pkt), 0), sizeof(pkt));
        }
        assert_non_null(ring_train_get(g.a)); /* kept by the caller to the end */
        pair_close(&g, fd);
        rig_close(&g);
    }
}

static void test_bad_arguments(void **state)
{
    struct ring_cfg cfg = {.kind = RING_EPOLL, .udp_bufs = 100000};
    struct ring_tun *t;
    struct ring_udp *s;
    struct ring *r;
    struct rig g;
    char why[100];
    int pair[2];

    assert_int_equal(ring_new(&cfg, &r, why, sizeof(why)), QUIC_INVAL);
    assert_null(r);
    rig_open(state, NULL, &g);
    assert_int_equal(ring_tun_add(g.r, -1, 1500, NULL, &t), QUIC_INVAL);
    assert_int_equal(ring_tun_add(g.r, 0, 0, NULL, &t), QUIC_INVAL);
    assert_int_equal(ring_tun_add(g.r, 0, 70000, NULL, &t), QUIC_INVAL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
    assert_int_equal(ring_udp_add(g.r, pair[0], NULL, &s), QUIC_INVAL);
    assert_int_equal(close(pair[0]), -1); /* it was the ring's to close */
    close(pair[1]);
    rig_close(&g);
    ring_free(NULL);
}

/* ---- the choice of a backend ---- */

static void log_keep(void *ctx, enum log_level level, const char *text)
{
    (void)level;
    snprintf(ctx, 600, "%s", text);
}

/* What is refused: a system call, or one only with a certain second argument. */
struct ban {
    unsigned call, err;
    int arg; /* -1: any */
};

static bool forbid(const struct ban *b)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, b->call, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x7fffffff), /* "by registered ring" */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)b->arg, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | b->err),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {ARRAY_LEN(code), code};

    if (b->arg < 0)
        code[4] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JA, 0, 0, 0);
    return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
           !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

static int forbidden_child(const struct ban *b)
{
    char said[600] = "", why[300] = "";
    struct log log = {log_keep, said, LOG_INFO};
    struct ring_cfg cfg = {.kind = RING_AUTO, .log = &log};
    unsigned fds = fds_open();
    struct ring *r;

    if (!forbid(b))
        return 77;
    if (ring_new(&cfg, &r, why, sizeof(why)) || ring_kind(r) != RING_EPOLL)
        return 1;
    ring_free(r);
    if (!strstr(said, "epoll") || !strstr(said, "io_uring"))
        return 2;
    cfg.kind = RING_URING;
    if (ring_new(&cfg, &r, why, sizeof(why)) >= 0 || !strstr(why, "io_uring"))
        return 3;
    return fds_open() == fds ? 0 : 4;
}

/* Where there is no epoll_pwait2 (before Linux 5.11), milliseconds have to do. */
static void coarse_deadline(void *ctx, ns_t now)
{
    struct ring **r = ctx;

    (void)now;
    ring_stop(*r, 5);
}

static int coarse_child(void)
{
    struct ban ban = {SYS_epoll_pwait2, ENOSYS, -1};
    struct ring *r;
    struct ring_cfg cfg = {
        .kind = RING_EPOLL, .ops = {.on_deadline = coarse_deadline}, .ctx = &r};
    char why[300];
    ns_t start = ring_clock(), took;

    if (!forbid(&ban))
        return 77;
    if (ring_new(&cfg, &r, why, sizeof(why)))
        return 1;
    for (unsigned i = 1; i <= 3; i++) {
        ring_deadline_set(r, start + i * 10 * NS_PER_MS + NS_PER_MS / 2);
        if (ring_run(r) != 5)
            return 2;
        took = ring_clock() - start;
        if (took < i * 10 * NS_PER_MS + NS_PER_MS / 2 || took > LATE)
            return 3;
    }
    if (ring_stats(r)->enters > 10)
        return 4;
    ring_free(r);
    return 0;
}

static void test_coarse_epoll(void **state)
{
    pid_t pid = fork();
    int status;

    (void)state;
    if (pid == 0)
        _exit(coarse_child());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_forbidden(void **state)
{
    static const struct ban bans[] = {
        {SYS_io_uring_setup, EPERM, -1},
        {SYS_io_uring_setup, ENOSYS, -1},
        {SYS_io_uring_setup, ENOMEM, -1},
        {SYS_io_uring_setup, EACCES, -1},
        {SYS_io_uring_setup, EMFILE, -1},
        {SYS_io_uring_register, EPERM, -1},
        {SYS_io_uring_register, ENOMEM, IORING_REGISTER_PBUF_RING},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bans); i++) {
        pid_t pid = fork();
        int status;

        if (pid == 0)
            _exit(forbidden_child(&bans[i]));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 77)
            skip();
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_echo),
        EACH(test_echo_two_buffers),
        EACH(test_too_long),
        EACH(test_too_many_writes),
        EACH(test_tun_gone),
        EACH(test_deadline),
        EACH(test_idle),
        EACH(test_signal),
        EACH(test_child),
        EACH(test_descriptors),
        EACH(test_delete),
        EACH(test_free_busy),
        EACH(test_bad_arguments),
        cmocka_unit_test(test_coarse_epoll),
        cmocka_unit_test(test_forbidden),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
