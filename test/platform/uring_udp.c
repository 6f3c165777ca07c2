/*
 * UDP by io_uring: SENDMSG with UDP_SEGMENT completes at the submission, many in one, in
 * order; with MSG_DONTWAIT a full socket fails it with -EAGAIN at once instead of keeping it.
 * RECVMSG multishot with a provided-buffer ring and UDP_GRO gives whole trains with their
 * control messages.
 */
#include <liburing.h>
#include <poll.h>

#include "test/platform/private.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define TRAINS  8
#define SEGMENT 1200
#define BYTES   (45 * SEGMENT)
#define BUF     66000

static struct io_uring ring;
static unsigned trains_n = TRAINS; /* fewer where the receive buffer is small */
static uint8_t out[TRAINS][BYTES], in[TRAINS][BUF];

struct send {
    struct msghdr msg;
    struct iovec iov;
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(uint16_t))];
};

static void lay_out(struct send *s, const struct sockaddr_in *to, uint8_t *p, size_t n)
{
    uint16_t segment = SEGMENT;
    struct cmsghdr *c;

    memset(s, 0, sizeof(*s));
    s->iov = (struct iovec){p, n};
    s->msg = (struct msghdr){.msg_name = (void *)(uintptr_t)to,
                             .msg_namelen = sizeof(*to),
                             .msg_iov = &s->iov,
                             .msg_iovlen = 1,
                             .msg_control = s->control,
                             .msg_controllen = sizeof(s->control)};
    c = CMSG_FIRSTHDR(&s->msg);
    c->cmsg_level = IPPROTO_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof(segment));
    memcpy(CMSG_DATA(c), &segment, sizeof(segment));
}

static void test_send(int tx, const struct sockaddr_in *to)
{
    static struct send sends[TRAINS];
    struct io_uring_cqe *cqes[TRAINS];

    for (unsigned i = 0; i < trains_n; i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

        memset(out[i], (int)i, BYTES);
        lay_out(&sends[i], to, out[i], BYTES);
        io_uring_prep_sendmsg(sqe, tx, &sends[i].msg, MSG_DONTWAIT);
        sqe->user_data = i;
    }
    HOLDS(io_uring_submit(&ring) == (int)trains_n);
    /* No wait: they are done. */
    HOLDS(io_uring_peek_batch_cqe(&ring, cqes, TRAINS) == trains_n);
    for (unsigned i = 0; i < trains_n; i++)
        HOLDS(cqes[i]->user_data == i && cqes[i]->res == BYTES);
    io_uring_cq_advance(&ring, trains_n);
}

static void test_receive(int rx)
{
    struct msghdr msg = {.msg_namelen = 32, .msg_controllen = 192};
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    struct io_uring_buf_ring *br;
    unsigned trains = 0;
    int err;

    br = io_uring_setup_buf_ring(&ring, TRAINS, 0, 0, &err);
    HOLDS(br != NULL);
    for (unsigned i = 0; i < TRAINS; i++)
        io_uring_buf_ring_add(br, in[i], BUF, (unsigned short)i, TRAINS - 1, (int)i);
    io_uring_buf_ring_advance(br, TRAINS);
    io_uring_prep_recvmsg_multishot(sqe, rx, &msg, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = 0;
    while (trains < trains_n) {
        struct __kernel_timespec ts = {.tv_sec = 5};
        struct io_uring_recvmsg_out *o;
        struct io_uring_cqe *cqe;
        struct cmsghdr *c;
        unsigned n;
        int segment;

        HOLDS(io_uring_submit_and_wait_timeout(&ring, &cqe, 1, &ts, NULL) >= 0);
        HOLDS(io_uring_peek_cqe(&ring, &cqe) == 0);
        if (cqe->res == -EINVAL)
            SKIP("no multishot recvmsg before Linux 6.0");
        HOLDS(cqe->res > 0 && cqe->flags & IORING_CQE_F_BUFFER);
        o = io_uring_recvmsg_validate(in[cqe->flags >> IORING_CQE_BUFFER_SHIFT], cqe->res,
                                      &msg);
        HOLDS(o && !(o->flags & (MSG_TRUNC | MSG_CTRUNC)));
        n = io_uring_recvmsg_payload_length(o, cqe->res, &msg);
        HOLDS(n == BYTES);
        HOLDS(((uint8_t *)io_uring_recvmsg_payload(o, &msg))[BYTES - 1] == trains);
        HOLDS((uint8_t *)io_uring_recvmsg_payload(o, &msg) - (uint8_t *)o == 16 + 32 + 192);
        c = io_uring_recvmsg_cmsg_firsthdr(o, &msg);
        HOLDS(c && c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO);
        memcpy(&segment, CMSG_DATA(c), sizeof(segment));
        HOLDS(segment == SEGMENT);
        io_uring_cqe_seen(&ring, cqe);
        trains++;
    }
}

/* A neighbour that never answers keeps datagrams, and their socket full. */
static void test_full(void)
{
    struct sockaddr_in to = v4("10.1.0.2", 9);
    int tap = open("/dev/net/tun", O_RDWR), small = 20000, fd;
    struct io_uring_cqe *cqe;
    struct send s;
    struct ifreq ifr;
    unsigned i;

    memset(&ifr, 0, sizeof(ifr));
    strcpy(ifr.ifr_name, "t0");
    ifr.ifr_flags = IFF_TAP | IFF_NO_PI;
    if (tap < 0 || ioctl(tap, TUNSETIFF, &ifr)) {
        printf("no TAP device: a full socket was not tried\n");
        return;
    }
    HOLDS(if_set("t0", SIOCSIFADDR, "10.1.0.1", 0));
    HOLDS(if_set("t0", SIOCSIFNETMASK, "255.255.255.0", 0));
    HOLDS(if_set("t0", SIOCSIFFLAGS, NULL, IFF_UP));
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    HOLDS(!setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)));
    lay_out(&s, &to, out[0], 10 * SEGMENT);
    for (i = 0; i < 50; i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
        int res;

        io_uring_prep_sendmsg(sqe, fd, &s.msg, MSG_DONTWAIT);
        HOLDS(io_uring_submit(&ring) == 1);
        HOLDS(io_uring_peek_cqe(&ring, &cqe) == 0);
        res = cqe->res;
        io_uring_cqe_seen(&ring, cqe);
        if (res == -EAGAIN)
            break;
        HOLDS(res == 10 * SEGMENT);
    }
    HOLDS(i > 0 && i < 50);
    close(fd);
}

int main(void)
{
    int one = 1, big = 4 << 20, rx, tx, rc;
    struct sockaddr_in to, from;

    private_net();
    rc = io_uring_queue_init(64, &ring, 0);
    if (rc)
        SKIP("no io_uring: %s", strerror(-rc));
    rx = udp_bound(&to);
    tx = udp_bound(&from);
    if (setsockopt(rx, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof(big)))
        trains_n = 2;
    HOLDS(!setsockopt(rx, IPPROTO_UDP, UDP_GRO, &one, sizeof(one)));
    test_send(tx, &to);
    test_receive(rx);
    io_uring_queue_exit(&ring);
    HOLDS(!io_uring_queue_init(64, &ring, 0));
    test_full();
    io_uring_queue_exit(&ring);
    return 0;
}
