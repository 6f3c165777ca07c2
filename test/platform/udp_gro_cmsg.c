/*
 * What one recvmsg on a socket with UDP_GRO tells: the datagrams of one sender in one buffer,
 * their size, ECN bits, local address and interface as control messages; datagrams that differ
 * in ECN never share a buffer.
 */
#include <netinet/ip.h>

#include "test/platform/private.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

static uint8_t bytes[70000];

static bool option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

struct told {
    size_t n;
    int segment, ecn, ifindex;
    struct in_addr local;
    size_t control;
};

static struct told receive(int fd)
{
    _Alignas(struct cmsghdr) uint8_t control[192];
    struct iovec iov = {bytes, sizeof(bytes)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    struct told t = {.segment = -1, .ecn = -1, .ifindex = -1};
    ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT);

    HOLDS(n >= 0);
    HOLDS(!(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)));
    t.n = (size_t)n;
    t.control = msg.msg_controllen;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
            memcpy(&t.segment, CMSG_DATA(c), sizeof(t.segment));
        } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
            t.ecn = CMSG_DATA(c)[0] & 3;
        } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;

            memcpy(&info, CMSG_DATA(c), sizeof(info));
            t.ifindex = info.ipi_ifindex;
            t.local = info.ipi_addr;
        }
    }
    return t;
}

int main(void)
{
    struct sockaddr_in to, from;
    struct told t;
    int rx, tx;

    private_net();
    rx = udp_bound(&to);
    tx = udp_bound(&from);
    if (!option(rx, IPPROTO_UDP, UDP_GRO, 1) || !option(tx, IPPROTO_UDP, UDP_SEGMENT, 1000))
        SKIP("no UDP_GRO before Linux 5.0");
    HOLDS(option(rx, IPPROTO_IP, IP_RECVTOS, 1));
    HOLDS(option(rx, IPPROTO_IP, IP_PKTINFO, 1));
    HOLDS(option(tx, IPPROTO_IP, IP_TOS, 2));

    memset(bytes, 7, sizeof(bytes));
    HOLDS(sendto(tx, bytes, 40500, 0, (struct sockaddr *)&to, sizeof(to)) == 40500);
    t = receive(rx);
    HOLDS(t.n == 40500 && t.segment == 1000);
    HOLDS(t.ecn == 2);
    HOLDS(t.ifindex == (int)if_nametoindex("lo"));
    HOLDS(t.local.s_addr == htonl(INADDR_LOOPBACK));
    HOLDS(t.control <= 192);
    printf("control bytes used: %zu\n", t.control);

    /* One datagram: no size is told, or its own. */
    HOLDS(sendto(tx, bytes, 600, 0, (struct sockaddr *)&to, sizeof(to)) == 600);
    t = receive(rx);
    HOLDS(t.n == 600 && (t.segment == -1 || t.segment == 600));

    for (int ecn = 0; ecn < 4; ecn++) {
        HOLDS(option(tx, IPPROTO_IP, IP_TOS, ecn));
        HOLDS(sendto(tx, bytes, 3000, 0, (struct sockaddr *)&to, sizeof(to)) == 3000);
    }
    for (int ecn = 0; ecn < 4; ecn++) {
        t = receive(rx);
        HOLDS(t.n == 3000 && t.ecn == ecn);
    }
    return 0;
}
