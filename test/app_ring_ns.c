/*
 * The event loop with kernel devices, in a private namespace:
 *
 *   socket -> TUN -> on_tun -> ring_tun_write -> TUN -> socket          (echo)
 *   trains -> TAP without a neighbour -> the socket fills, then drains   (full socket)
 *   trains -> lo with a small MTU, no route                             (soft errors)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#include "app/ns.h"
#include "app/ring.h"
#include "test/app_ring_util.h"

#define SKIP 77

/* Within the child: say where it failed and give up. */
#define CHECK(cond)                                                                            \
    do {                                                                                       \
        if (!(cond)) {                                                                         \
            snprintf(why, why_size, "line %d: %s (errno %d)", __LINE__, #cond, errno);         \
            return -EPROTO;                                                                    \
        }                                                                                      \
    } while (0)

static bool ifr_set(const char *name, unsigned long request, const char *addr, int number)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc;
    struct ifreq ifr;

    memset(&ifr, 0, sizeof(ifr));
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
    if (addr) {
        ifr.ifr_addr.sa_family = AF_INET;
        inet_pton(AF_INET, addr, &((struct sockaddr_in *)(void *)&ifr.ifr_addr)->sin_addr);
    } else {
        ifr.ifr_mtu = number;
    }
    rc = ioctl(fd, request, &ifr);
    close(fd);
    return rc == 0;
}

/* A TUN or TAP with 10.9.0.1/24, up; -SKIP without /dev/net/tun. */
static int device_open(const char *name, short flags)
{
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    struct ifreq ifr;

    if (fd < 0)
        return -SKIP;
    memset(&ifr, 0, sizeof(ifr));
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
    ifr.ifr_flags = flags;
    if (ioctl(fd, TUNSETIFF, &ifr) || !ifr_set(name, SIOCSIFADDR, "10.9.0.1", 0) ||
        !ifr_set(name, SIOCSIFNETMASK, "255.255.255.0", 0) ||
        !ifr_set(name, SIOCSIFMTU, NULL, 1400) || ns_link_up(name)) {
        close(fd);
        return -SKIP;
    }
    return fd;
}

struct rig {
    struct ring *r;
    const struct mode *mode;
    struct ring_udp *sock;
    struct ring_tun *tun;
    int plain; /* the socket of the echo, or the TAP */
    uint64_t sent, got, bad, errors, lost;
    int err;
    size_t err_bytes;
    bool seen_full;
};

static int rig_open(struct rig *g, const struct ring_ops *ops, char *why, size_t why_size)
{
    struct ring_cfg cfg = {
        .kind = g->mode->kind, .no_multishot = g->mode->no_multishot, .ops = *ops, .ctx = g};

    if (ring_new(&cfg, &g->r, why, why_size))
        return -SKIP;
    ring_deadline_set(g->r, ring_clock() + 20 * NS_PER_S);
    return 0;
}

static int sock_open(struct rig *g, const char *bind, int sockbuf, char *why, size_t why_size)
{
    struct udp_cfg cfg = {.sockbuf_bytes = sockbuf};
    int fd;

    CHECK(udp_addr_parse(bind, 0, &cfg.bind) == 0);
    CHECK(udp_open(&cfg, &fd, why, why_size) == 0);
    CHECK(ring_udp_add(g->r, fd, NULL, &g->sock) == 0);
    return 0;
}

static void give_up(void *ctx, ns_t now)
{
    struct rig *g = ctx;

    (void)now;
    ring_stop(g->r, -1);
}

/* ---- echo ---- */

#define ECHOES 3000

/* Send back each UDP packet: addresses and ports swapped, which keeps every checksum. */
static void echo_on_tun(void *ctx, struct ring_tun *tun, struct ring_pkt *p, size_t n, ns_t now)
{
    struct rig *g = ctx;

    (void)now;
    for (size_t i = 0; i < n; i++) {
        uint8_t addr[4], port[2], *b = p[i].p;

        if (p[i].n < 28 || b[0] != 0x45 || b[9] != IPPROTO_UDP)
            continue; /* the kernel's own IPv6 chatter */
        memcpy(addr, b + 12, 4);
        memcpy(b + 12, b + 16, 4);
        memcpy(b + 16, addr, 4);
        memcpy(port, b + 20, 2);
        memcpy(b + 20, b + 22, 2);
        memcpy(b + 22, port, 2);
        if (ring_tun_write_one(tun, b, p[i].n))
            g->bad++;
    }
}

static void echo_more(struct rig *g)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(7)};
    uint8_t buf[1372];

    inet_pton(AF_INET, "10.9.0.2", &to.sin_addr);
    while (g->sent < ECHOES && g->sent < g->got + 50) {
        size_t n = 8 + g->sent * 31 % (sizeof(buf) - 8);

        pattern_fill(buf, n, g->sent);
        memcpy(buf, &g->sent, 8);
        if (sendto(g->plain, buf, n, 0, (struct sockaddr *)&to, sizeof(to)) < 0)
            g->bad++;
        g->sent++;
    }
}

static void echo_read(void *ctx, int fd, short events, ns_t now)
{
    struct rig *g = ctx;
    uint8_t buf[1500];
    ssize_t n;

    (void)events;
    (void)now;
    while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
        uint64_t m;

        memcpy(&m, buf, 8);
        g->bad += m != g->got || (size_t)n != 8 + m * 31 % 1364 ||
                  !pattern_is(buf + 8, (size_t)n - 8, m, 8);
        g->got++;
    }
    if (g->got == ECHOES)
        ring_stop(g->r, 0);
    echo_more(g);
}

static int echo_in_ns(void *arg, char *why, size_t why_size)
{
    static const struct ring_ops ops = {.on_tun = echo_on_tun, .on_deadline = give_up};
    struct rig g = {.mode = arg};
    struct sockaddr_in here = {.sin_family = AF_INET};
    int fd = device_open("t0", IFF_TUN | IFF_NO_PI), rc;

    if (fd < 0)
        return fd;
    rc = rig_open(&g, &ops, why, why_size);
    if (rc)
        return rc;
    CHECK(ring_tun_add(g.r, fd, 1400, NULL, &g.tun) == 0);
    g.plain = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    inet_pton(AF_INET, "10.9.0.1", &here.sin_addr);
    CHECK(bind(g.plain, (struct sockaddr *)&here, sizeof(here)) == 0);
    CHECK(ring_fd_add(g.r, g.plain, POLLIN, echo_read, &g) == 0);
    echo_more(&g);
    CHECK(ring_run(g.r) == 0);
    CHECK(g.got == ECHOES && g.bad == 0);
    CHECK(ring_stats(g.r)->tun_tx_packets == ECHOES);
    CHECK(ring_stats(g.r)->tun_tx_drops == 0);
    /* The device goes down: writes are refused and counted. */
    CHECK(ring_tun_write_one(g.tun, "\x05", 1) == 0);
    ring_deadline_set(g.r, ring_clock() + 10 * NS_PER_MS);
    CHECK(ring_run(g.r) == -1);
    CHECK(ring_stats(g.r)->tun_tx_drops == 1);
    ring_free(g.r);
    close(fd);
    CHECK(if_nametoindex("t0") == 0); /* nothing in the kernel holds it any more */
    return 0;
}

/* ---- the device is removed ---- */

static bool link_delete(const char *name)
{
    struct {
        struct nlmsghdr head;
        struct ifinfomsg info;
    } msg = {{.nlmsg_len = sizeof(msg),
              .nlmsg_type = RTM_DELLINK,
              .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
             {.ifi_index = (int)if_nametoindex(name)}};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    struct {
        struct nlmsghdr head;
        struct nlmsgerr err;
        char rest[200];
    } answer;
    bool ok = send(fd, &msg, sizeof(msg), 0) == sizeof(msg) &&
              recv(fd, &answer, sizeof(answer), 0) > 0 && answer.err.error == 0;

    close(fd);
    return ok;
}

static void gone_on_deadline(void *ctx, ns_t now)
{
    struct rig *g = ctx;

    (void)now;
    if (g->sent++)
        ring_stop(g->r, -1);
    else
        g->bad += !link_delete("t0");
    ring_deadline_set(g->r, now + 20 * NS_PER_S);
}

static void gone_on_error(void *ctx, struct ring_tun *tun, int err, ns_t now)
{
    struct rig *g = ctx;

    (void)now;
    g->bad += tun != g->tun;
    g->err = err;
    g->errors++;
    ring_stop(g->r, 0);
}

static int gone_in_ns(void *arg, char *why, size_t why_size)
{
    static const struct ring_ops ops = {.on_deadline = gone_on_deadline,
                                        .on_tun_error = gone_on_error};
    struct rig g = {.mode = arg};
    int fd = device_open("t0", IFF_TUN | IFF_NO_PI), rc;

    if (fd < 0)
        return fd;
    rc = rig_open(&g, &ops, why, why_size);
    if (rc)
        return rc;
    CHECK(ring_tun_add(g.r, fd, 1400, NULL, &g.tun) == 0);
    ring_deadline_set(g.r, ring_clock() + 10 * NS_PER_MS);
    CHECK(ring_run(g.r) == 0);
    CHECK(g.bad == 0 && g.errors == 1 && g.err > 0);
    ring_deadline_set(g.r, ring_clock() + 10 * NS_PER_MS);
    CHECK(ring_run(g.r) == -1);
    CHECK(g.errors == 1);
    ring_free(g.r);
    close(fd);
    return 0;
}

/* ---- a full socket ---- */

#define FULL_TRAINS   12
#define FULL_SEGMENT  1000
#define FULL_SEGMENTS 20

static void full_train(struct rig *g)
{
    struct udp_train *t = ring_train_get(g->sock);

    if (!t) {
        g->bad++;
        return;
    }
    t->n = FULL_SEGMENTS * FULL_SEGMENT;
    t->segment = FULL_SEGMENT;
    for (size_t i = 0; i < FULL_SEGMENTS; i++) {
        uint8_t *p = t->buf + i * FULL_SEGMENT;

        pattern_fill(p, FULL_SEGMENT, g->sent);
        memcpy(p, &g->sent, 8);
        g->sent++;
    }
    udp_addr_parse("10.9.0.2:9", 0, &t->remote);
    if (ring_udp_send(t))
        g->bad++;
}

/* 30 ms of nobody answering: then the neighbour appears. */
static void full_on_deadline(void *ctx, ns_t now)
{
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 9};
    struct rig *g = ctx;
    uint8_t arp[42] = {0};
    struct ifreq ifr;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (g->seen_full)
        return ring_stop(g->r, -1);
    g->seen_full = true;
    g->bad += ring_stats(g->r)->udp_tx_blocked == 0 || g->got != 0;
    memset(&ifr, 0, sizeof(ifr));
    strcpy(ifr.ifr_name, "t0");
    g->bad += ioctl(fd, SIOCGIFHWADDR, &ifr) != 0;
    close(fd);
    memcpy(arp, ifr.ifr_hwaddr.sa_data, 6);
    memcpy(arp + 6, mac, 6);
    memcpy(arp + 12, "\x08\x06\x00\x01\x08\x00\x06\x04\x00\x02", 10); /* ARP reply */
    memcpy(arp + 22, mac, 6);
    memcpy(arp + 28, "\x0a\x09\x00\x02", 4);
    memcpy(arp + 32, ifr.ifr_hwaddr.sa_data, 6);
    memcpy(arp + 38, "\x0a\x09\x00\x01", 4);
    g->bad += write(g->plain, arp, sizeof(arp)) != sizeof(arp);
    ring_deadline_set(g->r, now + 20 * NS_PER_S);
}

/* The TAP gives the frames in the order in which the trains were queued. */
static void full_read(void *ctx, int fd, short events, ns_t now)
{
    struct rig *g = ctx;
    uint8_t buf[2000];
    ssize_t n;

    (void)events;
    (void)now;
    while ((n = read(fd, buf, sizeof(buf))) > 0) {
        uint64_t m;

        if (n != 14 + 28 + FULL_SEGMENT || buf[12] != 8 || buf[13] != 0)
            continue;
        memcpy(&m, buf + 42, 8);
        g->bad += m != g->got || !pattern_is(buf + 50, FULL_SEGMENT - 8, m, 8);
        g->got++;
    }
    if (g->got == FULL_TRAINS * FULL_SEGMENTS)
        ring_stop(g->r, 0);
}

static int full_in_ns(void *arg, char *why, size_t why_size)
{
    static const struct ring_ops ops = {.on_deadline = full_on_deadline};
    struct rig g = {.mode = arg};
    int rc;

    g.plain = device_open("t0", IFF_TAP | IFF_NO_PI);
    if (g.plain < 0)
        return g.plain;
    rc = rig_open(&g, &ops, why, why_size);
    if (rc)
        return rc;
    rc = sock_open(&g, "10.9.0.1:0", 50000, why, why_size);
    if (rc)
        return rc;
    fcntl(g.plain, F_SETFL, O_NONBLOCK);
    CHECK(ring_fd_add(g.r, g.plain, POLLIN, full_read, &g) == 0);
    for (unsigned i = 0; i < FULL_TRAINS; i++)
        full_train(&g);
    ring_deadline_set(g.r, ring_clock() + 30 * NS_PER_MS);
    CHECK(ring_run(g.r) == 0);
    CHECK(g.bad == 0);
    CHECK(ring_stats(g.r)->udp_tx_drops == 0);
    CHECK(ring_stats(g.r)->udp_tx_datagrams == g.sent);
    ring_free(g.r);
    close(g.plain);
    return 0;
}

/* The same, given up half-way: nothing is waited for. */
static int full_close_in_ns(void *arg, char *why, size_t why_size)
{
    static const struct ring_ops ops = {.on_deadline = give_up};
    struct rig g = {.mode = arg};
    int rc;

    g.plain = device_open("t0", IFF_TAP | IFF_NO_PI);
    if (g.plain < 0)
        return g.plain;
    rc = rig_open(&g, &ops, why, why_size);
    if (rc)
        return rc;
    rc = sock_open(&g, "10.9.0.1:0", 50000, why, why_size);
    if (rc)
        return rc;
    for (unsigned i = 0; i < FULL_TRAINS; i++)
        full_train(&g);
    ring_deadline_set(g.r, ring_clock() + 5 * NS_PER_MS);
    CHECK(ring_run(g.r) == -1);
    CHECK(ring_stats(g.r)->udp_tx_blocked > 0);
    ring_udp_del(g.sock);
    CHECK(ring_stats(g.r)->udp_tx_drops > 0);
    ring_deadline_set(g.r, ring_clock() + 5 * NS_PER_MS);
    CHECK(ring_run(g.r) == -1);
    ring_free(g.r);
    close(g.plain);
    return 0;
}

/* ---- soft errors ---- */

static void soft_on_udp(void *ctx, struct ring_udp *s, struct udp_dgram *d, size_t n, ns_t now)
{
    struct rig *g = ctx;

    (void)s;
    (void)now;
    for (size_t i = 0; i < n; i++)
        g->bad += d[i].n != 1200;
    g->got += n;
    if (g->got == 20)
        ring_stop(g->r, 0);
}

static void soft_on_error(void *ctx, struct ring_udp *s, const struct ring_udp_error *e,
                          ns_t now)
{
    struct rig *g = ctx;

    (void)now;
    g->bad += s != g->sock || udp_addr_port(e->remote) != 9;
    g->errors++;
    g->lost += e->count;
    g->err = e->err;
    g->err_bytes = e->bytes;
    ring_stop(g->r, 0);
}

static bool soft_send(struct rig *g, const char *to, size_t n, size_t segment)
{
    struct udp_train *t = ring_train_get(g->sock);

    if (!t)
        return false;
    t->n = n;
    t->segment = segment;
    if (!to)
        t->remote = *ring_udp_local(g->sock);
    else
        udp_addr_parse(to, 0, &t->remote);
    return ring_udp_send(t) == 0;
}

static int soft_in_ns(void *arg, char *why, size_t why_size)
{
    static const struct ring_ops ops = {
        .on_udp = soft_on_udp, .on_udp_error = soft_on_error, .on_deadline = give_up};
    static const struct {
        const char *to;
        size_t n, segment, count;
        int err;
    } rows[] = {
        {"192.0.2.1:9", 5500, 1000, 6, ENETUNREACH}, /* no route */
        {"127.0.0.1:9", 1300, 1300, 1, EMSGSIZE},    /* a probe above the MTU */
        {"127.0.0.1:9", 5500, 1300, 5, EMSGSIZE},    /* a train above the MTU */
    };
    struct rig g = {.mode = arg};
    int rc = rig_open(&g, &ops, why, why_size);

    if (rc)
        return rc;
    CHECK(ifr_set("lo", SIOCSIFMTU, NULL, 1280));
    rc = sock_open(&g, "0.0.0.0:0", 0, why, why_size);
    if (rc)
        return rc;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        g.lost = g.errors = 0;
        CHECK(soft_send(&g, rows[i].to, rows[i].n, rows[i].segment));
        CHECK(ring_run(g.r) == 0);
        CHECK(g.err == rows[i].err && g.errors == 1);
        CHECK(g.lost == rows[i].count && g.err_bytes == rows[i].segment);
        CHECK(g.bad == 0);
    }
    CHECK(ring_stats(g.r)->udp_tx_drops == 12);
    CHECK(ring_udp_gso(g.sock));
    ring_free(g.r);
    return 0;
}

static int after_soft_in_ns(void *arg, char *why, size_t why_size)
{
    static const struct ring_ops ops = {
        .on_udp = soft_on_udp, .on_udp_error = soft_on_error, .on_deadline = give_up};
    struct rig g = {.mode = arg};
    int rc = rig_open(&g, &ops, why, why_size);

    if (rc)
        return rc;
    CHECK(ifr_set("lo", SIOCSIFMTU, NULL, 1280));
    rc = sock_open(&g, "127.0.0.1:0", 0, why, why_size);
    if (rc)
        return rc;
    /* More failures than are told in one batch, then a train that passes. */
    for (unsigned i = 0; i < 31; i++)
        CHECK(soft_send(&g, i % 2 ? "127.0.0.1:9" : "127.0.0.2:9", 2600, 1300));
    CHECK(soft_send(&g, NULL, 24000, 1200));
    while (g.got < 20 || g.lost < 62)
        CHECK(ring_run(g.r) == 0);
    CHECK(g.bad == 0);
    CHECK(g.lost == 62);
    CHECK(ring_udp_gso(g.sock));
    ring_free(g.r);
    return 0;
}

/* ---- */

static void in_ns(void **state, ns_call_fn *fn)
{
    char why[400] = "";
    struct ns ns;
    int rc;

    if (ns_new(&ns, why, sizeof(why))) {
        print_message("%s\n", why);
        skip();
    }
    rc = ns_call(&ns, fn, *state, why, sizeof(why));
    ns_del(&ns);
    if (rc)
        print_message("%s\n", why);
    if (rc == -SKIP)
        skip();
    assert_int_equal(rc, 0);
}

static void test_tun_echo(void **state)
{
    in_ns(state, echo_in_ns);
}

static void test_tun_removed(void **state)
{
    in_ns(state, gone_in_ns);
}

static void test_full_socket(void **state)
{
    in_ns(state, full_in_ns);
}

static void test_full_socket_closed(void **state)
{
    in_ns(state, full_close_in_ns);
}

static void test_soft_errors(void **state)
{
    in_ns(state, soft_in_ns);
}

static void test_after_soft_errors(void **state)
{
    in_ns(state, after_soft_in_ns);
}

#define EACH(f)                                                                                \
    {#f " on io_uring", f, NULL, NULL, (void *)(uintptr_t)&modes[0]},                          \
        {#f " on io_uring, plain reads", f, NULL, NULL, (void *)(uintptr_t)&modes[1]},         \
    {                                                                                          \
#f " on epoll", f, NULL, NULL, (void *)(uintptr_t)&modes[2]                            \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_tun_echo),           EACH(test_tun_removed), EACH(test_full_socket),
        EACH(test_full_socket_closed), EACH(test_soft_errors), EACH(test_after_soft_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
