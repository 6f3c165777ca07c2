/*
 * A strict reverse path filter drops the answers to a socket bound to a device when the route
 * to their sender leads into another one; a loose one doesn't. The larger of the settings for
 * all devices and for the device counts:
 *
 *   answer from 203.0.113.9 arrives on t0; route to it: 128.0.0.0/1 by t1, default by t0
 *
 * On this rests what the client tells about net.ipv4.conf.*.rp_filter.
 */
#include <net/route.h>
#include <poll.h>

#include "test/platform/private.h"

#define SERVER "203.0.113.9"

static void route_add(const char *dst, const char *mask, const char *dev)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = v4(dst, 0), m = v4(mask, 0);
    char name[IFNAMSIZ];
    struct rtentry rt;

    memset(&rt, 0, sizeof(rt));
    memcpy(&rt.rt_dst, &a, sizeof(a));
    memcpy(&rt.rt_genmask, &m, sizeof(m));
    snprintf(name, sizeof(name), "%s", dev);
    rt.rt_dev = name;
    rt.rt_flags = RTF_UP;
    HOLDS(!ioctl(fd, SIOCADDRT, &rt));
    close(fd);
}

static void filter(const char *dev, char value)
{
    char path[80];
    int fd;

    snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/rp_filter", dev);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, &value, 1) != 1)
        SKIP("%s can't be set: %s", path, strerror(errno));
    close(fd);
}

static uint16_t checksum(const uint8_t *p, size_t n)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < n; i += 2)
        sum += (uint32_t)p[i] << 8 | p[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* A UDP packet from the server to 192.0.2.1, port `port`, arriving on the device of `tun`. */
static void answer(int tun, uint16_t port)
{
    uint8_t pkt[30] = {0x45, 0, 0, 30, 0, 0, 0, 0, 64, IPPROTO_UDP};
    uint16_t sum;

    inet_pton(AF_INET, SERVER, pkt + 12);
    inet_pton(AF_INET, "192.0.2.1", pkt + 16);
    sum = checksum(pkt, 20);
    pkt[10] = (uint8_t)(sum >> 8);
    pkt[11] = (uint8_t)sum;
    pkt[20] = 443 >> 8;
    pkt[21] = 443 & 255;
    pkt[22] = (uint8_t)(port >> 8);
    pkt[23] = (uint8_t)port;
    pkt[25] = 10; /* no UDP checksum */
    HOLDS(write(tun, pkt, sizeof(pkt)) == sizeof(pkt));
}

/* Whether it does, where that is waited for so long. */
static bool arrives(int fd, int tun, uint16_t port, int ms)
{
    struct pollfd p = {fd, POLLIN, 0};
    uint8_t buf[16];

    answer(tun, port);
    if (poll(&p, 1, ms) == 0)
        return false;
    HOLDS(recv(fd, buf, sizeof(buf), 0) == 2);
    return true;
}

int main(void)
{
    static const struct {
        char all, own;
        bool arrives;
    } rows[] = {
        {'0', '0', true},  {'0', '1', false}, {'0', '2', true},
        {'1', '0', false}, {'1', '1', false}, {'1', '2', true},
        {'2', '0', true},  {'2', '1', true},  {'2', '2', true},
    };
    struct sockaddr_in a = v4("192.0.2.1", 0);
    socklen_t len = sizeof(a);
    int tun[2], fd;

    private_net();
    tun[0] = tun_open("t0", "192.0.2.1");
    tun[1] = tun_open("t1", "10.1.0.1");
    route_add("0.0.0.0", "0.0.0.0", "t0");
    route_add("0.0.0.0", "128.0.0.0", "t1");
    route_add("128.0.0.0", "128.0.0.0", "t1");
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "t0", 3))
        SKIP("no binding to a device: %s", strerror(errno));
    HOLDS(!bind(fd, (struct sockaddr *)&a, sizeof(a)));
    HOLDS(!getsockname(fd, (struct sockaddr *)&a, &len));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        filter("all", rows[i].all);
        filter("t0", rows[i].own);
        HOLDS(arrives(fd, tun[0], ntohs(a.sin_port), rows[i].arrives ? 10000 : 100) ==
              rows[i].arrives);
    }
    close(fd);
    close(tun[0]);
    close(tun[1]);
    return 0;
}
