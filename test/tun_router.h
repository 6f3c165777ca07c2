/*
 * tun_router - a NAT router on the bench, for tests.
 *
 *   [ packets written and read by the test ]
 *        mq0 10.9.0.1/24 fd00:9::1/64          (namespace: router, where the test runs)
 *        up0 192.0.2.1/24 fd00:1::1/64
 *         |  veth
 *        in0 192.0.2.2/24 fd00:1::2/64         (namespace: outside; knows no 10.9.0.0/24)
 */
#ifndef TEST_TUN_ROUTER_H
#define TEST_TUN_ROUTER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>

#include "test/tun_ns.h"
#include "tun/netcfg.h"
#include "tun/tun.h"

struct router {
    bool here; /* false: not possible on this machine; then skip */
    struct tun tun;
    int router, outside; /* namespaces */
    struct netcfg *nc, *nc_out;
    char why[WHY_SIZE];
};

static bool router_link(struct router *r, struct netcfg *nc, int ifindex, const char *v4,
                        const char *v6)
{
    struct tun_prefix p4, p6;

    return !tun_prefix_parse(v4, &p4) && !tun_prefix_parse(v6, &p6) &&
           !netcfg_link_plain(nc, ifindex, r->why, sizeof(r->why)) &&
           !netcfg_addr_add(nc, ifindex, &p4, NULL, r->why, sizeof(r->why)) &&
           !netcfg_addr_add(nc, ifindex, &p6, NULL, r->why, sizeof(r->why)) &&
           !netcfg_link_up(nc, ifindex, r->why, sizeof(r->why));
}

/* Build it; r->here tells whether that worked. Forwarding is off. */
__attribute__((unused)) static void router_init(struct router *r)
{
    struct tun_cfg cfg = {.name = "mq0", .mtu_bytes = 1400};
    bool ok;

    *r = (struct router){.tun.fd = -1, .router = -1, .outside = -1};
    if (!ns_enter() || access("/dev/net/tun", R_OK | W_OK))
        return;
    r->outside = ns_here();
    ok = !netcfg_new(&r->nc_out, NULL, r->why, sizeof(r->why)) && ns_enter();
    r->router = ns_here();
    /* The TUN first: veth ends of different index are told about their carrier at once. */
    ok = ok && !netcfg_new(&r->nc, NULL, r->why, sizeof(r->why)) &&
         !tun_open(&r->tun, &cfg, r->why, sizeof(r->why)) &&
         !ns_veth("up0", "in0", r->outside) &&
         router_link(r, r->nc, r->tun.ifindex, "10.9.0.1/24", "fd00:9::1/64") &&
         router_link(r, r->nc, (int)if_nametoindex("up0"), "192.0.2.1/24", "fd00:1::1/64");
    if (ok) {
        ns_back(r->outside);
        ok = router_link(r, r->nc_out, (int)if_nametoindex("in0"), "192.0.2.2/24",
                         "fd00:1::2/64");
        ns_settle("in0");
        ns_back(r->router);
        ns_settle("up0");
        ns_settle("mq0");
    }
    r->here = ok;
    if (!ok)
        printf("no router on the bench: %s\n", r->why);
}

__attribute__((unused)) static void router_free(struct router *r)
{
    netcfg_del(r->nc);
    netcfg_del(r->nc_out);
    tun_close(&r->tun);
    if (r->router >= 0)
        close(r->router);
    if (r->outside >= 0)
        close(r->outside);
}

__attribute__((unused)) static void router_forwarding(bool on)
{
    ns_write("/proc/sys/net/ipv4/ip_forward", on ? "1" : "0");
    ns_write("/proc/sys/net/ipv6/conf/all/forwarding", on ? "1" : "0");
}

/* A socket in the outside namespace. */
__attribute__((unused)) static int router_socket(struct router *r, int family, int type,
                                                 int protocol)
{
    int fd;

    ns_back(r->outside);
    fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    ns_back(r->router);
    return fd;
}

/* ---- packets ---- */

static uint32_t router_sum(uint32_t sum, const void *p, size_t n)
{
    const uint8_t *b = p;

    for (size_t i = 0; i < n; i++)
        sum += i & 1 ? b[i] : (uint32_t)b[i] << 8;
    return sum;
}

static uint16_t router_fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/*
 * An IP packet with `n` transport bytes, whose checksum field at `sum_off` is filled in.
 * Returns its length.
 */
__attribute__((unused)) static size_t router_packet(uint8_t *out, const char *src,
                                                    const char *dst, uint8_t protocol,
                                                    const void *l4, size_t n, size_t sum_off)
{
    bool v6 = strchr(src, ':') != NULL;
    size_t head = v6 ? 40 : 20, addr = v6 ? 8 : 12, size = v6 ? 16 : 4;
    uint8_t *data = out + head;
    uint16_t sum;

    memset(out, 0, head);
    memcpy(data, l4, n);
    inet_pton(v6 ? AF_INET6 : AF_INET, src, out + addr);
    inet_pton(v6 ? AF_INET6 : AF_INET, dst, out + addr + size);
    if (v6) {
        out[0] = 0x60;
        out[4] = (uint8_t)(n >> 8);
        out[5] = (uint8_t)n;
        out[6] = protocol;
        out[7] = 64;
    } else {
        out[0] = 0x45;
        out[2] = (uint8_t)((head + n) >> 8);
        out[3] = (uint8_t)(head + n);
        out[8] = 64;
        out[9] = protocol;
        sum = router_fold(router_sum(0, out, head));
        out[10] = (uint8_t)(sum >> 8);
        out[11] = (uint8_t)sum;
    }
    sum = router_fold(
        router_sum(router_sum((uint32_t)n + protocol, out + addr, 2 * size), data, n));
    data[sum_off] = (uint8_t)(sum >> 8);
    data[sum_off + 1] = (uint8_t)sum;
    return head + n;
}

/* A UDP packet with payload "ping" from port 1111 to 7777 into the TUN. */
__attribute__((unused)) static int router_ping(struct router *r, const char *src,
                                               const char *dst)
{
    static const uint8_t udp[] = {1111 >> 8, 1111 & 255, 7777 >> 8, 7777 & 255, 0,   12,
                                  0,         0,          'p',       'i',        'n', 'g'};
    uint8_t pkt[128];
    size_t n = router_packet(pkt, src, dst, IPPROTO_UDP, udp, sizeof(udp), 6);

    return tun_write(&r->tun, pkt, n);
}

/* Wait until `fd` is readable, `ms` at most. */
__attribute__((unused)) static bool router_readable(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, ms) == 1;
}

/* The next packet with IP protocol `protocol` out of the TUN within two seconds, or 0. */
__attribute__((unused)) static size_t router_read(struct router *r, uint8_t *pkt, size_t size,
                                                  uint8_t protocol)
{
    for (int i = 0; i < 200; i++) {
        ssize_t n = tun_read(&r->tun, pkt, size);

        if (n > 20 && protocol == (pkt[0] >> 4 == 6 ? pkt[6] : pkt[9]))
            return (size_t)n;
        if (n <= 0)
            router_readable(r->tun.fd, 10);
    }
    return 0;
}

#endif
