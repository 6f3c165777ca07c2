/*
 * private - what the platform programs share: a network namespace of their own, devices in
 * it, and a way to say what did not hold. Exit status: 0 it holds, 1 it doesn't, 77 it can't
 * be tried here.
 */
#ifndef TEST_PLATFORM_PRIVATE_H
#define TEST_PLATFORM_PRIVATE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/route.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOLDS(cond)                                                                            \
    do {                                                                                       \
        if (!(cond)) {                                                                         \
            printf("%s:%d: does not hold: %s (errno %d, %s)\n", __FILE__, __LINE__, #cond,     \
                   errno, strerror(errno));                                                    \
            exit(1);                                                                           \
        }                                                                                      \
    } while (0)

#define SKIP(...)                                                                              \
    do {                                                                                       \
        printf("skipped: " __VA_ARGS__);                                                       \
        printf("\n");                                                                          \
        exit(77);                                                                              \
    } while (0)

/* Set one thing of an interface, by ioctl. */
__attribute__((unused)) static bool if_set(const char *name, unsigned long request,
                                           const char *addr, int number)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc;
    struct ifreq ifr;

    memset(&ifr, 0, sizeof(ifr));
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
    if (addr) {
        ifr.ifr_addr.sa_family = AF_INET;
        inet_pton(AF_INET, addr, &((struct sockaddr_in *)(void *)&ifr.ifr_addr)->sin_addr);
    } else if (request == SIOCSIFFLAGS) {
        ifr.ifr_flags = (short)number;
    } else {
        ifr.ifr_mtu = number;
    }
    rc = ioctl(fd, request, &ifr);
    close(fd);
    return rc == 0;
}

/* Into a network namespace of our own, with loopback up. */
__attribute__((unused)) static void private_net(void)
{
    if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET))
        SKIP("no network namespace: %s", strerror(errno));
    if (!if_set("lo", SIOCSIFFLAGS, NULL, IFF_UP))
        SKIP("loopback does not come up: %s", strerror(errno));
}

/* A TUN with an address of a /24, up, in blocking mode. */
__attribute__((unused)) static int tun_open(const char *name, const char *addr)
{
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    struct ifreq ifr;

    if (fd < 0)
        SKIP("no /dev/net/tun: %s", strerror(errno));
    memset(&ifr, 0, sizeof(ifr));
    snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
    ifr.ifr_flags = IFF_TUN | IFF_NO_PI;
    if (ioctl(fd, TUNSETIFF, &ifr))
        SKIP("no TUN device: %s", strerror(errno));
    HOLDS(if_set(name, SIOCSIFADDR, addr, 0));
    HOLDS(if_set(name, SIOCSIFNETMASK, "255.255.255.0", 0));
    HOLDS(if_set(name, SIOCSIFFLAGS, NULL, IFF_UP));
    return fd;
}

static inline struct sockaddr_in v4(const char *addr, uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};

    inet_pton(AF_INET, addr, &a.sin_addr);
    return a;
}

/* A UDP socket bound to a loopback address; its port in `a`. */
__attribute__((unused)) static int udp_bound(struct sockaddr_in *a)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(*a);

    *a = v4("127.0.0.1", 0);
    HOLDS(fd >= 0 && !bind(fd, (struct sockaddr *)a, len));
    HOLDS(!getsockname(fd, (struct sockaddr *)a, &len));
    return fd;
}

#endif
