/*
 * A socket bound to a device sends by it although a more specific route points to another:
 *
 *   socket bound to t0 --- 192.0.2.9? routes: 192.0.2.9/32 by t1, default by t0 ---> t0
 *
 * On this the client builds: with all traffic routed into the tunnel, its own sockets still
 * reach the server by the interface that they are bound to, without policy routing.
 */
#include <net/route.h>
#include <poll.h>

#include "test/platform/private.h"

static void route_add(const char *dst, const char *mask, const char *dev)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in a = v4(dst, 0), m = v4(mask, 0);
    char name[IFNAMSIZ];
    struct rtentry rt;

    memset(&rt, 0, sizeof(rt));
    memcpy(&rt.rt_dst, &a, sizeof(a));
    memcpy(&rt.rt_genmask, &m, sizeof(m));
    snprintf(name, sizeof(name), "%s", dev);
    rt.rt_dev = name;
    rt.rt_flags = RTF_UP | (strcmp(mask, "255.255.255.255") ? 0 : RTF_HOST);
    HOLDS(!ioctl(fd, SIOCADDRT, &rt));
    close(fd);
}

/* Which of the two devices `fd` sends its next datagram to 192.0.2.9 by: 0 or 1. */
static int sends_by(int fd, const int *tun)
{
    struct pollfd p[2] = {{tun[0], POLLIN, 0}, {tun[1], POLLIN, 0}};
    struct sockaddr_in to = v4("192.0.2.9", 4433);
    uint8_t pkt[1500];

    HOLDS(sendto(fd, "hello", 5, 0, (struct sockaddr *)&to, sizeof(to)) == 5);
    for (;;) {
        HOLDS(poll(p, 2, 5000) > 0);
        for (int i = 0; i < 2; i++) {
            if (!(p[i].revents & POLLIN))
                continue;
            HOLDS(read(tun[i], pkt, sizeof(pkt)) > 0);
            /* The kernel's own IPv6 packets pass by too. */
            if (pkt[0] == 0x45 && !memcmp(pkt + 16, "\xc0\x00\x02\x09", 4))
                return i;
        }
    }
}

int main(void)
{
    int tun[2], fd;

    private_net();
    tun[0] = tun_open("t0", "10.1.0.1");
    tun[1] = tun_open("t1", "10.2.0.1");
    route_add("0.0.0.0", "0.0.0.0", "t0");
    route_add("192.0.2.9", "255.255.255.255", "t1");

    fd = socket(AF_INET, SOCK_DGRAM, 0);
    HOLDS(sends_by(fd, tun) == 1);
    HOLDS(!setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "t0", 3));
    HOLDS(sends_by(fd, tun) == 0);
    close(fd);

    /* As the client has it: two halves of everything into the tunnel t1. */
    route_add("0.0.0.0", "128.0.0.0", "t1");
    route_add("128.0.0.0", "128.0.0.0", "t1");
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    HOLDS(!setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "t0", 3));
    HOLDS(sends_by(fd, tun) == 0);
    HOLDS(!setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "t1", 3));
    HOLDS(sends_by(fd, tun) == 1);
    return 0;
}
