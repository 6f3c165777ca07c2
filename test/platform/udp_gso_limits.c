/*
 * What one sendmsg with UDP_SEGMENT takes: at least 64 segments, 65507 bytes in all, none
 * above the device's MTU; the last may be shorter; one datagram alone needs no segmentation.
 * And what the refusals look like, on which app/udp.c decides how to go on.
 */
#include "test/platform/private.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

static uint8_t bytes[70000];

static int send_gso(int fd, const struct sockaddr_in *to, size_t n, uint16_t segment)
{
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(segment))] = {0};
    struct iovec iov = {bytes, n};
    struct msghdr msg = {.msg_name = (void *)(uintptr_t)to,
                         .msg_namelen = sizeof(*to),
                         .msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = IPPROTO_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof(segment));
    memcpy(CMSG_DATA(c), &segment, sizeof(segment));
    return sendmsg(fd, &msg, 0) == (ssize_t)n ? 0 : errno;
}

/* How many datagrams come, the last of how many bytes. */
static unsigned drain(int fd, size_t *last)
{
    unsigned n = 0;
    ssize_t got;

    while ((got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) >= 0) {
        *last = (size_t)got;
        n++;
    }
    return n;
}

int main(void)
{
    int probe = IP_PMTUDISC_PROBE, big = 4 << 20, rx, tx, err;
    struct sockaddr_in to, from;
    size_t last = 0;

    private_net();
    rx = udp_bound(&to);
    tx = udp_bound(&from);
    setsockopt(rx, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof(big));
    HOLDS(!setsockopt(tx, IPPROTO_IP, IP_MTU_DISCOVER, &probe, sizeof(probe)));

    err = send_gso(tx, &to, 64 * 100, 100);
    if (err == EINVAL || err == ENOPROTOOPT)
        SKIP("no UDP_SEGMENT before Linux 4.18");
    HOLDS(err == 0);
    HOLDS(drain(rx, &last) == 64 && last == 100);
    HOLDS(send_gso(tx, &to, 63 * 100 + 1, 100) == 0);
    HOLDS(drain(rx, &last) == 64 && last == 1);
    HOLDS(send_gso(tx, &to, 100, 100) == 0);
    HOLDS(send_gso(tx, &to, 60, 100) == 0);
    HOLDS(drain(rx, &last) == 2 && last == 60);

    /* 64 or 128 segments; too many are told by EINVAL, and nothing is sent. */
    err = send_gso(tx, &to, 128 * 100, 100);
    HOLDS(err == 0 || err == EINVAL);
    HOLDS(drain(rx, &last) == (err ? 0u : 128u));
    printf("segments per send: %s\n", err ? "64" : "128");
    HOLDS(send_gso(tx, &to, 129 * 100, 100) == EINVAL);
    HOLDS(drain(rx, &last) == 0);

    HOLDS(send_gso(tx, &to, 65507, 1432) == 0);
    HOLDS(drain(rx, &last) == 46 && last == 65507 - 45 * 1432);
    HOLDS(send_gso(tx, &to, 65508, 1432) == EMSGSIZE);

    /* A segment above the device's MTU: EMSGSIZE, or EINVAL of older kernels. */
    HOLDS(if_set("lo", SIOCSIFMTU, NULL, 1280));
    HOLDS(send_gso(tx, &to, 2 * 1252, 1252) == 0);
    HOLDS(drain(rx, &last) == 2);
    err = send_gso(tx, &to, 2 * 1253, 1253);
    HOLDS(err == EMSGSIZE || err == EINVAL);
    HOLDS(sendto(tx, bytes, 1253, 0, (struct sockaddr *)&to, sizeof(to)) == -1 &&
          errno == EMSGSIZE);
    HOLDS(drain(rx, &last) == 0);
    return 0;
}
