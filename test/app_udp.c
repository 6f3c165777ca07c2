/* UDP: addresses, opening and its texts, control messages, views, trains, verdicts. */
#include <errno.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "app/udp.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* ---- addresses ---- */

static const struct addr_row {
    const char *text;
    uint16_t port;      /* default */
    const char *expect; /* NULL: refused */
} addrs[] = {
    // clang-format off
    {"192.0.2.1",               443,  "192.0.2.1:443"},
    {"192.0.2.1:8443",          443,  "192.0.2.1:8443"},
    {"192.0.2.1:0",             443,  "192.0.2.1:0"},
    {"192.0.2.1:65535",         443,  "192.0.2.1:65535"},
    {"2001:db8::1",             443,  "[2001:db8::1]:443"},
    {"[2001:db8::1]",           443,  "[2001:db8::1]:443"},
    {"[2001:db8::1]:1",         443,  "[2001:db8::1]:1"},
    {"::1",                     5,    "[::1]:5"},
    {"::",                      5,    "[::]:5"},
    {"*:443",                   5,    "[::]:443"},
    {":443",                    5,    "[::]:443"},
    {"[fe80::1%lo]:443",        5,    "[fe80::1%lo]:443"},
    {"fe80::1%1",               5,    "[fe80::1%lo]:5"},
    {"::ffff:192.0.2.1",        5,    "[::ffff:192.0.2.1]:5"},
    {"192.0.2.1:65536",         443,  NULL},
    {"192.0.2.1:",              443,  NULL},
    {"192.0.2.1:-1",            443,  NULL},
    {"192.0.2.1: 1",            443,  NULL},
    {"192.0.2.1:000443",        443,  NULL},
    {"192.0.2",                 443,  NULL},
    {"192.0.2.256",             443,  NULL},
    {"192.0.2.1.5",             443,  NULL},
    {"[192.0.2.1]:443",         443,  NULL},
    {"[2001:db8::1",            443,  NULL},
    {"[2001:db8::1]443",        443,  NULL},
    {"[2001:db8::1]:",          443,  NULL},
    {"2001:db8::g",             443,  NULL},
    {"fe80::1%nosuchif0",       443,  NULL},
    {"fe80::1%1x",              443,  NULL},
    {"fe80::1%",                443,  NULL},
    {"localhost",               443,  NULL},
    {"",                        443,  NULL},
    {"*",                       443,  NULL},
    {":",                       443,  NULL},
    {"[]:1",                    443,  NULL},
    {"192.0.2.1%lo",            443,  NULL},
    {"1111111111111111111111111111111111111111111111111111111111111111111111111", 1, NULL},
    // clang-format on
};

static void test_addr_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(addrs); i++) {
        const struct addr_row *row = &addrs[i];
        union udp_addr a, again;
        char text[UDP_ADDR_TEXT];
        int rc;

        memset(&a, 0x55, sizeof(a));
        again = a;
        rc = udp_addr_parse(row->text, row->port, &a);
        if (!row->expect) {
            assert_int_equal(rc, QUIC_INVAL);
            assert_memory_equal(&a, &again, sizeof(a));
            continue;
        }
        assert_int_equal(rc, 0);
        assert_string_equal(udp_addr_text(&a, text, sizeof(text)), row->expect);
        assert_int_equal(udp_addr_parse(text, 1, &again), 0);
        assert_true(udp_addr_equal(&a, &again));
    }
}

static union udp_addr addr(const char *text)
{
    union udp_addr a;

    assert_int_equal(udp_addr_parse(text, 0, &a), 0);
    return a;
}

static void test_addr_compare(void **state)
{
    static const struct {
        const char *a, *b;
        bool equal, host, any;
    } rows[] = {
        {"192.0.2.1:1", "192.0.2.1:1", true, true, false},
        {"192.0.2.1:1", "192.0.2.1:2", false, true, false},
        {"192.0.2.1:1", "192.0.2.2:1", false, false, false},
        {"0.0.0.0:1", "[::]:1", false, false, true},
        {"[::]:1", "[::]:1", true, true, true},
        {"[2001:db8::1]:1", "[2001:db8::1]:1", true, true, false},
        {"[2001:db8::1]:1", "[2001:db8::2]:1", false, false, false},
        {"[fe80::1%1]:1", "[fe80::1%1]:1", true, true, false},
        {"[fe80::1%1]:1", "[fe80::1]:1", false, false, false},
        {"192.0.2.1:1", "[::ffff:192.0.2.1]:1", false, false, false},
    };
    union udp_addr none = {0}, a;
    char text[UDP_ADDR_TEXT];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        union udp_addr x = addr(rows[i].a), y = addr(rows[i].b);

        assert_int_equal(udp_addr_equal(&x, &y), rows[i].equal);
        assert_int_equal(udp_addr_equal(&y, &x), rows[i].equal);
        assert_int_equal(udp_addr_same_host(&x, &y), rows[i].host);
        assert_int_equal(udp_addr_is_any(&x), rows[i].any);
    }
    a = addr("[::ffff:192.0.2.1]:7");
    udp_addr_unmap(&a);
    assert_string_equal(udp_addr_text(&a, text, sizeof(text)), "192.0.2.1:7");
    udp_addr_set_port(&a, 9);
    assert_int_equal(udp_addr_port(&a), 9);
    assert_int_equal(udp_addr_len(&a), sizeof(struct sockaddr_in));
    a = addr("[::1]:7");
    udp_addr_unmap(&a);
    assert_int_equal(udp_addr_len(&a), sizeof(struct sockaddr_in6));
    assert_int_equal(udp_addr_len(&none), 0);
    assert_int_equal(udp_addr_port(&none), 0);
    assert_true(udp_addr_is_any(&none));
    assert_true(udp_addr_equal(&none, &none));
    assert_string_equal(udp_addr_text(&none, text, sizeof(text)), "none");
}

/* ---- opening ---- */

static void open_fails(const struct udp_cfg *cfg, int err, const char *says, const char *and)
{
    char why[300] = "";
    int fd;

    assert_int_equal(udp_open(cfg, &fd, why, sizeof(why)), -err);
    assert_int_equal(fd, -1);
    assert_non_null(strstr(why, says));
    assert_non_null(strstr(why, and));
}

static void test_open_texts(void **state)
{
    struct udp_cfg cfg = {.bind = addr("127.0.0.1:0")};
    union udp_addr local;
    char why[300], port[20];
    int fd, other;

    (void)state;
    assert_int_equal(udp_open(&cfg, &fd, why, sizeof(why)), 0);
    assert_int_equal(udp_local(fd, &local), 0);
    assert_true(udp_addr_port(&local) > 0);
    cfg.bind = local;
    snprintf(port, sizeof(port), "port %u", udp_addr_port(&local));
    open_fails(&cfg, EADDRINUSE, port, "--listen");
    close(fd);

    cfg.reuse_port = true;
    assert_int_equal(udp_open(&cfg, &fd, why, sizeof(why)), 0);
    assert_int_equal(udp_open(&cfg, &other, why, sizeof(why)), 0);
    close(fd);
    close(other);
    cfg.reuse_port = false;

    cfg.bind = addr("192.0.2.55:0");
    open_fails(&cfg, EADDRNOTAVAIL, "192.0.2.55", "ip address");
    cfg.bind = addr("127.0.0.1:0");
    cfg.device = "nosuchif0";
    open_fails(&cfg, ENODEV, "nosuchif0", "/sys/class/net");
    cfg.device = "a-name-that-is-far-too-long";
    open_fails(&cfg, ENODEV, "too long", "a-name");
    cfg.device = "lo";
    assert_int_equal(udp_open(&cfg, &fd, why, sizeof(why)), 0);
    close(fd);
    assert_int_equal(udp_local(-1, &local), -EBADF);
}

/* Without privilege, where port numbers below 1024 still mean something. */
static void test_open_privileged(void **state)
{
    struct udp_cfg cfg = {.bind = addr("127.0.0.1:443")};
    int status;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        char why[300] = "";
        int fd, rc;

        if (geteuid() == 0 && setuid(65534))
            _exit(77);
        rc = udp_open(&cfg, &fd, why, sizeof(why));
        if (rc == 0 || rc == -EADDRINUSE)
            _exit(77);
        _exit(rc == -EACCES && strstr(why, "443") && strstr(why, "CAP_NET_BIND") ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int get_int(int fd, int level, int name)
{
    socklen_t len = sizeof(int);
    int value = -1;

    assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

static void keep_line(void *ctx, enum log_level level, const char *text)
{
    (void)level;
    snprintf(ctx, 600, "%s", text);
}

/* Buffers that the system doesn't grant are told, with the sysctls that would. */
static void test_small_buffers(void **state)
{
    int status;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        char why[300] = "", said[600] = "";
        struct log log = {keep_line, said, LOG_WARN};
        struct udp_cfg cfg = {
            .bind = addr("127.0.0.1:0"), .sockbuf_bytes = 512 << 20, .log = &log};
        int fd;

        if (geteuid() == 0 && setuid(65534))
            _exit(77);
        if (udp_open(&cfg, &fd, why, sizeof(why)))
            _exit(1);
        if (get_int(fd, SOL_SOCKET, SO_RCVBUF) / 2 >= 256 << 20)
            _exit(77);
        _exit(strstr(said, "rmem_max") && strstr(said, "wmem_max") ? 0 : 2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_open_options(void **state)
{
    char why[300], said[600] = "";
    struct log log = {keep_line, said, LOG_WARN};
    struct udp_cfg cfg = {
        .bind = addr("[::1]:0"), .dual = false, .sockbuf_bytes = 30000, .log = &log};
    int fd;

    (void)state;
    if (udp_open(&cfg, &fd, why, sizeof(why)))
        skip();
    assert_int_equal(get_int(fd, IPPROTO_IPV6, IPV6_V6ONLY), 1);
    assert_int_equal(get_int(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER), IPV6_PMTUDISC_PROBE);
    assert_int_equal(get_int(fd, IPPROTO_UDP, UDP_GRO), 1);
    assert_true(get_int(fd, SOL_SOCKET, SO_RCVBUF) >= 30000);
    assert_string_equal(said, "");
    close(fd);
    cfg = (struct udp_cfg){.bind = addr("[::]:0"), .dual = true, .no_gro = true};
    assert_int_equal(udp_open(&cfg, &fd, why, sizeof(why)), 0);
    assert_int_equal(get_int(fd, IPPROTO_IPV6, IPV6_V6ONLY), 0);
    assert_int_equal(get_int(fd, IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_PROBE);
    assert_int_equal(get_int(fd, IPPROTO_IP, IP_RECVTOS), 1);
    assert_int_equal(get_int(fd, IPPROTO_UDP, UDP_GRO), 0);
    close(fd);
}

/* ---- receive ---- */

struct control {
    _Alignas(struct cmsghdr) uint8_t b[512];
    size_t n;
};

static void ctl(struct control *c, int level, int type, const void *data, size_t len)
{
    struct cmsghdr *h = (struct cmsghdr *)(void *)(c->b + c->n);

    h->cmsg_level = level;
    h->cmsg_type = type;
    h->cmsg_len = CMSG_LEN(len);
    memcpy(CMSG_DATA(h), data, len);
    c->n += CMSG_SPACE(len);
}

static void ctl_int(struct control *c, int level, int type, int value)
{
    ctl(c, level, type, &value, sizeof(value));
}

static struct udp_rx rx_read(struct control *c, const char *from, size_t n, int flags)
{
    static uint8_t bytes[65536];
    struct udp_rx rx = {.p = bytes, .n = n};
    union udp_addr name = addr(from);
    struct msghdr msg = {.msg_name = &name,
                         .msg_namelen = udp_addr_len(&name),
                         .msg_control = c->b,
                         .msg_controllen = c->n,
                         .msg_flags = flags};

    udp_rx_read(&rx, &msg, 4433);
    return rx;
}

static void test_rx_v4(void **state)
{
    struct in_pktinfo info = {.ipi_ifindex = 7};
    struct control c = {.n = 0};
    uint8_t tos = 0xb8 | 3;
    union udp_addr want;
    struct udp_rx rx;

    (void)state;
    info.ipi_addr = addr("192.0.2.9:0").v4.sin_addr;
    info.ipi_spec_dst = addr("192.0.2.10:0").v4.sin_addr;
    ctl_int(&c, IPPROTO_UDP, UDP_GRO, 1200);
    ctl_int(&c, SOL_SOCKET, 12345, 5); /* not ours */
    ctl(&c, IPPROTO_IP, IP_TOS, &tos, 1);
    ctl(&c, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
    rx = rx_read(&c, "198.51.100.1:999", 3000, 0);
    assert_int_equal(rx.segment, 1200);
    assert_int_equal(rx.ecn, 3);
    assert_int_equal(rx.ifindex, 7);
    assert_false(rx.cut);
    want = addr("192.0.2.9:4433");
    assert_true(udp_addr_equal(&rx.local, &want));
    want = addr("198.51.100.1:999");
    assert_true(udp_addr_equal(&rx.remote, &want));
}

/* As a socket of both families tells IPv4: the mapped names become plain. */
static void test_rx_mapped(void **state)
{
    struct in6_pktinfo info = {.ipi6_ifindex = 3};
    struct control c = {.n = 0};
    union udp_addr want;
    struct udp_rx rx;

    (void)state;
    info.ipi6_addr = addr("[::ffff:192.0.2.9]:0").v6.sin6_addr;
    ctl(&c, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
    ctl_int(&c, IPPROTO_IPV6, IPV6_TCLASS, 2);
    rx = rx_read(&c, "[::ffff:198.51.100.1]:999", 100, 0);
    assert_int_equal(rx.segment, 100);
    assert_int_equal(rx.ecn, 2);
    want = addr("192.0.2.9:4433");
    assert_true(udp_addr_equal(&rx.local, &want));
    want = addr("198.51.100.1:999");
    assert_true(udp_addr_equal(&rx.remote, &want));

    c.n = 0;
    info.ipi6_addr = addr("[fe80::5]:0").v6.sin6_addr;
    ctl(&c, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
    rx = rx_read(&c, "[2001:db8::1]:1", 1, 0);
    assert_int_equal(rx.local.v6.sin6_scope_id, 3);
    assert_int_equal(rx.remote.sa.sa_family, AF_INET6);
}

/* Odd control messages change nothing; a buffer without all of them is not used. */
static void test_rx_odd(void **state)
{
    static const int sizes[] = {0, -5, 100, 101, INT32_MAX};
    struct udp_dgram d[2];
    struct control c = {.n = 0};
    struct udp_rx rx;
    size_t off = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        c.n = 0;
        ctl_int(&c, IPPROTO_UDP, UDP_GRO, sizes[i]);
        rx = rx_read(&c, "192.0.2.1:1", 100, 0);
        assert_int_equal(rx.segment, 100);
    }
    c.n = 0;
    ctl(&c, IPPROTO_UDP, UDP_GRO, "\1", 1);
    ctl(&c, IPPROTO_IP, IP_PKTINFO, "\1\2", 2);
    ctl(&c, IPPROTO_IPV6, IPV6_PKTINFO, "\1\2", 2);
    ctl(&c, IPPROTO_IPV6, IPV6_TCLASS, "\1\2", 2);
    ctl(&c, IPPROTO_IP, IP_TOS, "", 0);
    rx = rx_read(&c, "192.0.2.1:1", 100, 0);
    assert_int_equal(rx.segment, 100);
    assert_int_equal(rx.ecn + rx.ifindex, 0);
    assert_int_equal(udp_addr_len(&rx.local), 0);

    c.n = 0;
    for (unsigned i = 0; i < 2; i++) {
        rx = rx_read(&c, "192.0.2.1:1", 100, i ? MSG_TRUNC : MSG_CTRUNC);
        assert_true(rx.cut);
        assert_int_equal(udp_split(&rx, &off, d, 2), 0);
    }
}

/* Any number of bytes in any number of steps gives the same views. */
static void test_split(void **state)
{
    static uint8_t bytes[5000];
    struct udp_dgram d[64];

    (void)state;
    for (size_t segment = 1; segment < 200; segment += 13) {
        for (size_t n = 0; n < 2000; n += 57) {
            struct udp_rx rx = {.p = bytes, .n = n, .segment = segment, .ecn = 2, .ifindex = 9};

            for (size_t max = 1; max <= 64; max += 21) {
                size_t off = 0, seen = 0, count = 0, got;

                while ((got = udp_split(&rx, &off, d, max)) > 0) {
                    assert_true(got <= max);
                    for (size_t i = 0; i < got; i++) {
                        assert_ptr_equal(d[i].p, bytes + seen);
                        assert_int_equal(d[i].n, n - seen < segment ? n - seen : segment);
                        assert_ptr_equal(d[i].remote, &rx.remote);
                        assert_ptr_equal(d[i].local, &rx.local);
                        assert_int_equal(d[i].ecn, 2);
                        assert_int_equal(d[i].ifindex, 9);
                        seen += d[i].n;
                        count++;
                    }
                }
                assert_int_equal(seen, n);
                assert_int_equal(count, (n + segment - 1) / segment);
                assert_int_equal(off, n);
            }
        }
    }
}

/* ---- send ---- */

static const struct msg_row {
    int family;
    const char *remote, *local;
    size_t n, segment, off;
    unsigned ifindex, max;
    uint8_t ecn, singles;
    size_t part; /* 0: refused */
    unsigned controls;
} msgs[] = {
    // clang-format off
    {AF_INET,  "192.0.2.1:1", NULL,          1000, 1000, 0,    0, 64,  0, 0, 1000, 0},
    {AF_INET,  "192.0.2.1:1", NULL,          900,  1000, 0,    0, 64,  0, 0, 900,  0},
    {AF_INET,  "192.0.2.1:1", NULL,          1001, 1000, 0,    0, 64,  0, 0, 1001, 1},
    {AF_INET,  "192.0.2.1:1", "192.0.2.2:1", 5000, 1000, 0,    4, 64,  2, 0, 5000, 3},
    {AF_INET,  "192.0.2.1:1", "0.0.0.0:1",   5000, 1000, 0,    0, 64,  0, 0, 5000, 1},
    {AF_INET,  "192.0.2.1:1", "[::1]:1",     5000, 1000, 0,    0, 64,  0, 0, 5000, 1},
    {AF_INET,  "192.0.2.1:1", NULL,          5000, 1000, 0,    4, 64,  0, 0, 5000, 2},
    {AF_INET,  "192.0.2.1:1", NULL,          5000, 1000, 0,    0, 2,   0, 0, 2000, 1},
    {AF_INET,  "192.0.2.1:1", NULL,          5500, 1000, 4000, 0, 2,   0, 0, 1500, 1},
    {AF_INET,  "192.0.2.1:1", NULL,          5500, 1000, 5000, 0, 2,   0, 0, 500,  0},
    {AF_INET,  "192.0.2.1:1", NULL,          5000, 1000, 0,    0, 64,  0, 1, 1000, 0},
    {AF_INET,  "192.0.2.1:1", NULL,          5000, 1000, 0,    0, 0,   0, 0, 1000, 0},
    {AF_INET6, "192.0.2.1:1", "192.0.2.2:1", 5000, 1000, 0,    0, 64,  1, 0, 5000, 3},
    {AF_INET6, "[::1]:1",     "[::2]:1",     5000, 1000, 0,    0, 64,  3, 0, 5000, 3},
    {AF_INET,  "[::1]:1",     NULL,          5000, 1000, 0,    0, 64,  0, 0, 0,    0},
    {AF_INET,  "192.0.2.1:0", NULL,          5000, 1000, 0,    0, 64,  0, 0, 0,    0},
    {AF_INET,  "192.0.2.1:1", NULL,          0,    1000, 0,    0, 64,  0, 0, 0,    0},
    {AF_INET,  "192.0.2.1:1", NULL,          5000, 0,    0,    0, 64,  0, 0, 0,    0},
    {AF_INET,  "192.0.2.1:1", NULL,          5000, 1000, 5000, 0, 64,  0, 0, 0,    0},
    {AF_INET,  "192.0.2.1:1", NULL,          5000, 1000, 0,    0, 64,  4, 0, 0,    0},
    {AF_INET,  "192.0.2.1:1", NULL,          65508, 1000, 0,   0, 64,  0, 0, 0,    0},
    {AF_INET,  "192.0.2.1:1", NULL,          5000, 65536, 0,   0, 64,  0, 0, 0,    0},
    // clang-format on
};

static void check_controls(const struct msg_row *row, struct udp_train *t)
{
    unsigned controls = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(&t->msg); c; c = CMSG_NXTHDR(&t->msg, c)) {
        bool v4 = t->remote.sa.sa_family == AF_INET;

        controls++;
        if (c->cmsg_level == IPPROTO_UDP) {
            uint16_t segment;

            assert_int_equal(c->cmsg_type, UDP_SEGMENT);
            memcpy(&segment, CMSG_DATA(c), sizeof(segment));
            assert_int_equal(segment, row->segment);
            continue;
        }
        assert_int_equal(c->cmsg_level, v4 ? IPPROTO_IP : IPPROTO_IPV6);
        if (c->cmsg_type == (v4 ? IP_TOS : IPV6_TCLASS)) {
            int tos;

            memcpy(&tos, CMSG_DATA(c), sizeof(tos));
            assert_int_equal(tos, row->ecn);
        } else if (v4) {
            struct in_pktinfo info;

            assert_int_equal(c->cmsg_type, IP_PKTINFO);
            memcpy(&info, CMSG_DATA(c), sizeof(info));
            assert_int_equal(info.ipi_ifindex, row->ifindex);
            if (row->local)
                assert_int_equal(info.ipi_spec_dst.s_addr, t->local.v4.sin_addr.s_addr);
        } else {
            struct in6_pktinfo info;

            assert_int_equal(c->cmsg_type, IPV6_PKTINFO);
            memcpy(&info, CMSG_DATA(c), sizeof(info));
            assert_memory_equal(&info.ipi6_addr, &t->local.v6.sin6_addr, 16);
        }
    }
    assert_int_equal(controls, row->controls);
}

static void test_train_msg(void **state)
{
    uint8_t *buf = malloc(UDP_TRAIN_BYTES);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(msgs); i++) {
        const struct msg_row *row = &msgs[i];
        struct udp_train t = {.buf = buf,
                              .n = row->n,
                              .segment = row->segment,
                              .off = row->off,
                              .ifindex = row->ifindex,
                              .ecn = row->ecn,
                              .singles = row->singles};
        int rc;

        t.remote = addr(row->remote);
        if (row->local)
            t.local = addr(row->local);
        rc = udp_train_msg(&t, row->family, row->max);
        assert_int_equal(rc, row->part ? 0 : QUIC_INVAL);
        if (rc)
            continue;
        assert_int_equal(t.part, row->part);
        assert_ptr_equal(t.iov.iov_base, buf + row->off);
        assert_int_equal(t.iov.iov_len, row->part);
        assert_int_equal(t.name.sa.sa_family, row->family);
        assert_int_equal(t.msg.msg_namelen, udp_addr_len(&t.name));
        udp_addr_unmap(&t.name);
        assert_true(udp_addr_equal(&t.name, &t.remote));
        check_controls(row, &t);
    }
    free(buf);
}

static void test_verdicts(void **state)
{
    static const struct {
        int err;
        size_t segments;
        enum udp_verdict verdict;
    } rows[] = {
        {EAGAIN, 1, UDP_RETRY},       {EAGAIN, 40, UDP_RETRY}, {EINTR, 1, UDP_RETRY},
        {EINVAL, 128, UDP_SPLIT},     {EINVAL, 65, UDP_SPLIT}, {EINVAL, 64, UDP_SINGLES},
        {EINVAL, 2, UDP_SINGLES},     {EINVAL, 1, UDP_SOFT},   {EMSGSIZE, 10, UDP_SINGLES},
        {EMSGSIZE, 1, UDP_SOFT},      {EIO, 2, UDP_NO_GSO},    {EIO, 1, UDP_SOFT},
        {EOPNOTSUPP, 2, UDP_NO_GSO},  {ENOBUFS, 40, UDP_SOFT}, {ENETUNREACH, 40, UDP_SOFT},
        {EHOSTUNREACH, 1, UDP_SOFT},  {EPERM, 3, UDP_SOFT},    {ENETDOWN, 3, UDP_SOFT},
        {EADDRNOTAVAIL, 3, UDP_SOFT}, {ENODEV, 3, UDP_SOFT},   {ECONNREFUSED, 9, UDP_SOFT},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct udp_train t = {.segment = 100, .part = rows[i].segments * 100 - 7};

        assert_int_equal(udp_send_verdict(&t, rows[i].err), rows[i].verdict);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addr_parse),   cmocka_unit_test(test_addr_compare),
        cmocka_unit_test(test_open_texts),   cmocka_unit_test(test_open_privileged),
        cmocka_unit_test(test_open_options), cmocka_unit_test(test_small_buffers),
        cmocka_unit_test(test_rx_v4),        cmocka_unit_test(test_rx_mapped),
        cmocka_unit_test(test_rx_odd),       cmocka_unit_test(test_split),
        cmocka_unit_test(test_train_msg),    cmocka_unit_test(test_verdicts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
