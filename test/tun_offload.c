/*
 * The kernel's own super-packets through tun/vnet.h: two namespaces, a TUN in each, and
 * everything that one hands over cut, put together again and given to the other. TCP and
 * UDP of both families must come through whole, with no checksum refused, at each level of
 * offload and where the two ends differ.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "test/tun_ns.h"
#include "tun/netcfg.h"
#include "tun/tun.h"
#include "tun/vnet.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define PLAIN    (-1) /* instead of a level: no virtio-net header */
#define TOTAL    (3u << 20)
#define PORT     7777
#define PATIENCE 60 /* seconds */

struct end {
    int ns;
    struct tun t;
    struct netcfg *nc;
};

static struct end ends[2]; /* .1 and .2 */
static bool here;
static struct vnet_merge merge;
static uint8_t packets[VNET_BATCH][2048];
static unsigned supers[2]; /* read: UDP, TCP */
static size_t longest;     /* packet written */

/* ---- two ends and what is between them ------------------------------------------------ */

static void end_open(struct end *e, int i, int level)
{
    struct tun_cfg cfg = {.name = "mq0", .mtu_bytes = 1400, .vnet = level != PLAIN};
    char why[WHY_SIZE] = "", text[32];
    struct tun_prefix addr;

    assert_int_equal(tun_open(&e->t, &cfg, why, sizeof(why)), 0);
    if (level != PLAIN)
        assert_int_equal(tun_offload_set(&e->t, (enum tun_offload)level, why, sizeof(why)), 0);
    assert_int_equal(netcfg_new(&e->nc, NULL, why, sizeof(why)), 0);
    for (int v6 = 0; v6 < 2; v6++) {
        snprintf(text, sizeof(text), v6 ? "fd08::%d/64" : "10.8.0.%d/24", i + 1);
        assert_int_equal(tun_prefix_parse(text, &addr), 0);
        assert_int_equal(netcfg_addr_add(e->nc, e->t.ifindex, &addr, NULL, why, sizeof(why)),
                         0);
    }
    assert_int_equal(netcfg_link_plain(e->nc, e->t.ifindex, why, sizeof(why)), 0);
    assert_int_equal(tun_up(&e->t, why, sizeof(why)), 0);
    ns_settle("mq0");
}

/* False where namespaces or TUN devices are not to be had. */
static bool both_open(int level_a, int level_b)
{
    here = ns_enter() && access("/dev/net/tun", R_OK | W_OK) == 0;
    if (!here)
        return false;
    for (int i = 0; i < 2; i++) {
        if (i > 0 && !ns_enter())
            abort();
        ends[i].ns = ns_here();
        end_open(&ends[i], i, i ? level_b : level_a);
    }
    vnet_merge_init(&merge, ends[1].t.offload >= TUN_OFFLOAD_USO);
    supers[0] = supers[1] = 0;
    longest = 0;
    return true;
}

static void both_close(void)
{
    for (int i = 0; i < 2; i++) {
        netcfg_del(ends[i].nc);
        tun_close(&ends[i].t);
        close(ends[i].ns);
    }
}

/* Give what was gathered to the device. A full queue behind it may drop: that is no error. */
static void give(struct end *to)
{
    struct iovec iov[VNET_IOV];
    struct vnet_hdr hdr;
    size_t k;

    while ((k = vnet_merge_next(&merge, &hdr, iov)) > 0) {
        int skip_head = !to->t.vnet;
        ssize_t done = writev(to->t.fd, iov + skip_head, (int)k - skip_head);

        assert_true(done > 0);
        if (longest < (size_t)done)
            longest = (size_t)done;
    }
}

/* Everything that one end hands over goes to the other. */
static void pump(struct end *from, struct end *to)
{
    static uint8_t buf[VNET_READ_MAX];
    struct vnet_split s = {.p = buf, .count = 1};
    size_t used = 0;
    ssize_t n;

    while ((n = tun_read(&from->t, buf, sizeof(buf))) > 0) {
        assert_true((size_t)n <= tun_read_max(&from->t));
        if (from->t.vnet)
            assert_int_equal(vnet_split_init(&s, buf, (size_t)n), 0);
        else
            s.n = s.size = s.segment = (size_t)n;
        supers[s.tcp] += s.count > 1;
        for (size_t i = 0; i < s.count; i++) {
            struct span body;
            size_t head = vnet_split_head(&s, i, packets[used], &body);

            assert_true(head + body.n <= 1400);
            memcpy(packets[used] + head, body.p, body.n);
            /* What can't be taken with a virtio-net header goes as it came. */
            if (!to->t.vnet) {
                assert_int_equal(tun_write(&to->t, packets[used], head + body.n), 0);
                continue;
            }
            assert_true(vnet_merge_add(&merge, packets[used], head + body.n));
            if (++used == VNET_BATCH) {
                give(to);
                used = 0;
            }
        }
    }
    assert_int_equal(n, 0);
    give(to);
}

/* A number of /proc/net/snmp, of the line and column named. */
static long counter(const char *line, const char *column)
{
    char names[2048], values[2048], *n, *v, *np, *vp;
    FILE *f = fopen("/proc/thread-self/net/snmp", "re");
    long found = -1;

    assert_non_null(f);
    while (fgets(names, sizeof(names), f) && fgets(values, sizeof(values), f)) {
        if (strncmp(names, line, strlen(line)) != 0)
            continue;
        n = strtok_r(names, " \n", &np);
        v = strtok_r(values, " \n", &vp);
        for (; n && v; n = strtok_r(NULL, " \n", &np), v = strtok_r(NULL, " \n", &vp))
            if (!strcmp(n, column))
                found = atol(v);
    }
    fclose(f);
    return found;
}

static void nothing_refused(void)
{
    for (int i = 0; i < 2; i++) {
        ns_back(ends[i].ns);
        assert_int_equal(counter("Tcp:", "InCsumErrors"), 0);
        assert_int_equal(counter("Tcp:", "InErrs"), 0);
        assert_int_equal(counter("Udp:", "InCsumErrors"), 0);
    }
    assert_int_equal(merge.stats.bad_sums, 0);
}

static int sock(int i, bool v6, int type)
{
    ns_back(ends[i].ns);
    return socket(v6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static socklen_t address(struct sockaddr_storage *ss, int i, bool v6)
{
    struct sockaddr_in *a = (struct sockaddr_in *)(void *)ss;
    struct sockaddr_in6 *b = (struct sockaddr_in6 *)(void *)ss;

    memset(ss, 0, sizeof(*ss));
    if (v6) {
        b->sin6_family = AF_INET6;
        b->sin6_port = htons(PORT);
        inet_pton(AF_INET6, i ? "fd08::2" : "fd08::1", &b->sin6_addr);
        return sizeof(*b);
    }
    a->sin_family = AF_INET;
    a->sin_port = htons(PORT);
    inet_pton(AF_INET, i ? "10.8.0.2" : "10.8.0.1", &a->sin_addr);
    return sizeof(*a);
}

static uint8_t content(size_t at)
{
    return (uint8_t)(at * 7 + at / 251);
}

/* Move packets until something may have come for `fd`. */
static void turn(int fd)
{
    struct pollfd p[] = {{ends[0].t.fd, POLLIN, 0}, {ends[1].t.fd, POLLIN, 0}, {fd, POLLIN, 0}};

    poll(p, 3, 20);
    pump(&ends[0], &ends[1]);
    pump(&ends[1], &ends[0]);
}

static bool late(const struct timespec *since)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec - since->tv_sec > PATIENCE;
}

/* ---- what goes through ---------------------------------------------------------------- */

/* TOTAL bytes from end 0 to end 1. */
static void tcp_through(bool v6)
{
    static uint8_t out[65536], got[65536];
    int listener = sock(1, v6, SOCK_STREAM), a = sock(0, v6, SOCK_STREAM), b = -1;
    size_t sent = 0, done = 0;
    struct sockaddr_storage ss;
    socklen_t len = address(&ss, 1, v6);
    struct timespec start;
    ssize_t n;

    clock_gettime(CLOCK_MONOTONIC, &start);
    assert_int_equal(bind(listener, (struct sockaddr *)&ss, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(connect(a, (struct sockaddr *)&ss, len), -1);
    assert_int_equal(errno, EINPROGRESS);
    while (done < TOTAL) {
        assert_false(late(&start));
        turn(b < 0 ? listener : b);
        if (b < 0)
            b = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        while (b >= 0 && sent < TOTAL) {
            size_t k = TOTAL - sent < sizeof(out) ? TOTAL - sent : sizeof(out);

            for (size_t i = 0; i < k; i++)
                out[i] = content(sent + i);
            n = send(a, out, k, MSG_NOSIGNAL);
            if (n <= 0)
                break;
            sent += (size_t)n;
        }
        while (b >= 0 && (n = recv(b, got, sizeof(got), 0)) > 0)
            for (ssize_t i = 0; i < n; i++)
                assert_int_equal(got[i], content(done++));
    }
    close(a);
    close(b);
    close(listener);
    turn(-1);
}

/* One send of many datagrams from end 0 to end 1, cut by the kernel or by us. */
static void udp_through(bool v6)
{
    enum { SIZE = 1000, COUNT = 31, LAST = 300 };
    static uint8_t out[(COUNT - 1) * SIZE + LAST], got[4096];
    int a = sock(0, v6, SOCK_DGRAM), b = sock(1, v6, SOCK_DGRAM), size = SIZE;
    struct sockaddr_storage ss;
    socklen_t len = address(&ss, 1, v6);
    struct timespec start;
    size_t done = 0;

    clock_gettime(CLOCK_MONOTONIC, &start);
    for (size_t i = 0; i < sizeof(out); i++)
        out[i] = content(i);
    assert_int_equal(bind(b, (struct sockaddr *)&ss, len), 0);
    assert_int_equal(setsockopt(a, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)), 0);
    assert_int_equal(sendto(a, out, sizeof(out), 0, (struct sockaddr *)&ss, len), sizeof(out));
    while (done < COUNT) {
        ssize_t n;

        assert_false(late(&start));
        turn(b);
        while ((n = recv(b, got, sizeof(got), 0)) > 0) {
            assert_int_equal(n, done + 1 < COUNT ? SIZE : LAST);
            assert_memory_equal(got, out + done * SIZE, (size_t)n);
            done++;
        }
    }
    close(a);
    close(b);
}

static void through(int level_a, int level_b)
{
    if (!both_open(level_a, level_b))
        skip();
    for (int v6 = 0; v6 < 2; v6++) {
        tcp_through(v6);
        udp_through(v6);
    }
    nothing_refused();
    if (level_a == TUN_OFFLOAD_USO && ends[0].t.offload == TUN_OFFLOAD_USO)
        assert_true(supers[0] > 0);
    else
        assert_int_equal(supers[0], 0);
    if (level_a >= TUN_OFFLOAD_TSO)
        assert_true(supers[1] > 20);
    if (level_b != PLAIN)
        assert_true(longest > 20000);
    both_close();
}

static void no_header(void **state)
{
    (void)state;
    through(PLAIN, PLAIN);
}

static void no_offload(void **state)
{
    (void)state;
    through(TUN_OFFLOAD_NONE, TUN_OFFLOAD_NONE);
}

static void checksums(void **state)
{
    (void)state;
    through(TUN_OFFLOAD_CSUM, TUN_OFFLOAD_CSUM);
}

static void tso(void **state)
{
    (void)state;
    through(TUN_OFFLOAD_TSO, TUN_OFFLOAD_TSO);
}

static void uso(void **state)
{
    (void)state;
    through(TUN_OFFLOAD_USO, TUN_OFFLOAD_USO);
}

static void unequal_ends(void **state)
{
    (void)state;
    through(TUN_OFFLOAD_USO, PLAIN);
    through(PLAIN, TUN_OFFLOAD_USO);
}

/* ---- a kernel that refuses ------------------------------------------------------------ */

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

#ifdef ARCH
/* ioctl `request` fails with EINVAL where its argument has one of `bits` (0: always). */
static bool refuse(unsigned request, unsigned bits)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 0, 6),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, request, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
    };
    struct sock_fprog prog = {ARRAY_LEN(code), code};

    if (bits == 0)
        code[6] = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, 2);
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0;
}

/* Exit status of the child: what it got, 100 for no virtio-net header. */
static int got_by(unsigned request, unsigned bits)
{
    struct tun_cfg cfg = {.name = "mq0", .mtu_bytes = 1400, .vnet = true};
    char why[WHY_SIZE] = "";
    struct tun t;

    if (!refuse(request, bits))
        return 77;
    if (tun_open(&t, &cfg, why, sizeof(why))) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    return t.vnet ? 10 + (int)t.offload : 100;
}

static void refusals(void **state)
{
    /* clang-format off */
    static const struct { unsigned request, bits; int got; } rows[] = {
        {TUNSETOFFLOAD,   TUN_F_USO4 | TUN_F_USO6, 10 + TUN_OFFLOAD_TSO},
        {TUNSETOFFLOAD,   TUN_F_TSO4,              10 + TUN_OFFLOAD_CSUM},
        {TUNSETOFFLOAD,   TUN_F_CSUM,              10 + TUN_OFFLOAD_NONE},
        {TUNGETFEATURES,  0,                       100},
    };
    /* clang-format on */
    int status;

    (void)state;
    here = ns_enter() && access("/dev/net/tun", R_OK | W_OK) == 0;
    if (!here)
        skip();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        pid_t pid = fork();

        if (pid == 0)
            _exit(got_by(rows[i].request, rows[i].bits));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 77)
            skip();
        assert_int_equal(WEXITSTATUS(status), rows[i].got);
    }
}
#else
static void refusals(void **state)
{
    (void)state;
    skip();
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_header), cmocka_unit_test(no_offload),
        cmocka_unit_test(checksums), cmocka_unit_test(tso),
        cmocka_unit_test(uso),       cmocka_unit_test(unequal_ends),
        cmocka_unit_test(refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
