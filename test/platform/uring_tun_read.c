/*
 * READ_MULTISHOT on a TUN with a provided-buffer ring: one completion per packet, it stays
 * armed while there are buffers, ends with -ENOBUFS without them, and starts again; also on a
 * descriptor in non-blocking mode, where an empty device waits instead of failing. Where it is
 * missing (before Linux 6.7), plain reads that select a buffer do.
 */
#include <liburing.h>

#include "test/platform/private.h"

#define BUFS 4
#define SIZE 2048

static struct io_uring ring;
static struct io_uring_buf_ring *br;
static uint8_t bufs[BUFS][SIZE];

struct done {
    uint64_t user_data;
    int res;
    unsigned flags;
};

static void arm(int fd, bool multishot)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

    if (multishot) {
        io_uring_prep_read_multishot(sqe, fd, 0, 0, 0);
    } else {
        io_uring_prep_read(sqe, fd, NULL, SIZE, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = 0;
    }
    HOLDS(io_uring_submit(&ring) == 1);
}

static void give(unsigned bid)
{
    io_uring_buf_ring_add(br, bufs[bid], SIZE, (unsigned short)bid, BUFS - 1, 0);
    io_uring_buf_ring_advance(br, 1);
}

/* A packet of the kernel's to a neighbour behind the TUN, told by its last byte. */
static void send_one(int fd, uint8_t mark)
{
    struct sockaddr_in to = v4("10.1.0.2", 9);

    HOLDS(sendto(fd, &mark, 1, 0, (struct sockaddr *)&to, sizeof(to)) == 1);
}

/* No packets of IPv6's own: one would end a single read, or take a buffer. */
static void no_ipv6(void)
{
    int fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return; /* a kernel without IPv6 */
    HOLDS(write(fd, "1", 1) == 1);
    close(fd);
}

/* The next completion, within 30 s. */
static struct done next(void)
{
    struct __kernel_timespec ts = {.tv_sec = 30};
    struct io_uring_cqe *cqe;
    struct done copy;

    HOLDS(io_uring_wait_cqe_timeout(&ring, &cqe, &ts) == 0);
    copy = (struct done){cqe->user_data, cqe->res, cqe->flags};
    io_uring_cqe_seen(&ring, cqe);
    return copy;
}

static void test_multishot(int tun, int udp)
{
    struct done cqe;

    arm(tun, true);
    for (uint8_t i = 0; i < BUFS; i++)
        send_one(udp, i);
    for (uint8_t i = 0; i < BUFS; i++) {
        cqe = next();
        HOLDS(cqe.res == 29 && cqe.flags & IORING_CQE_F_BUFFER);
        HOLDS(bufs[cqe.flags >> IORING_CQE_BUFFER_SHIFT][28] == i);
        HOLDS(cqe.flags & IORING_CQE_F_MORE);
    }
    send_one(udp, 100);
    cqe = next();
    HOLDS(cqe.res == -ENOBUFS && !(cqe.flags & IORING_CQE_F_MORE));
    for (unsigned i = 0; i < BUFS; i++)
        give(i);
    arm(tun, true);
    cqe = next(); /* nothing was lost */
    HOLDS(cqe.res == 29 && bufs[cqe.flags >> IORING_CQE_BUFFER_SHIFT][28] == 100);
    give(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
}

/* A request that waits ends when it is cancelled. */
static void test_cancel(void)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    struct done cqe;
    bool cancelled = false;

    io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY);
    sqe->user_data = 1;
    HOLDS(io_uring_submit(&ring) == 1);
    for (unsigned i = 0; i < 2; i++) {
        cqe = next();
        cancelled |= cqe.user_data == 0 && cqe.res == -ECANCELED;
    }
    HOLDS(cancelled);
}

int main(void)
{
    struct io_uring_params p = {.flags =
                                    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    struct io_uring_probe *probe;
    struct done cqe;
    int tun, udp, rc;
    bool multishot;

    private_net();
    no_ipv6();
    rc = io_uring_queue_init_params(16, &ring, &p);
    if (rc == -EINVAL) {
        p.flags = 0;
        rc = io_uring_queue_init_params(16, &ring, &p);
    }
    if (rc)
        SKIP("no io_uring: %s", strerror(-rc));
    probe = io_uring_get_probe_ring(&ring);
    multishot = probe && io_uring_opcode_supported(probe, IORING_OP_READ_MULTISHOT);
    io_uring_free_probe(probe);
    br = io_uring_setup_buf_ring(&ring, BUFS, 0, 0, &rc);
    if (!br)
        SKIP("no provided-buffer rings: %s", strerror(-rc));
    for (unsigned i = 0; i < BUFS; i++)
        give(i);
    tun = tun_open("t0", "10.1.0.1");
    HOLDS(!fcntl(tun, F_SETFL, fcntl(tun, F_GETFL) | O_NONBLOCK));
    udp = socket(AF_INET, SOCK_DGRAM, 0);

    for (uint8_t i = 0; i < 3; i++) {
        arm(tun, false); /* waits, though nothing is there and the descriptor non-blocking */
        send_one(udp, 200 + i);
        cqe = next();
        if (cqe.res <= 0)
            break;
        HOLDS(cqe.res == 29 && cqe.flags & IORING_CQE_F_BUFFER);
        HOLDS(bufs[cqe.flags >> IORING_CQE_BUFFER_SHIFT][28] == 200 + i);
        give(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
    }
    HOLDS(cqe.res > 0);
    if (multishot) {
        test_multishot(tun, udp);
        test_cancel();
    }
    printf("READ_MULTISHOT: %s\n", multishot ? "yes" : "no");
    io_uring_queue_exit(&ring);
    return 0;
}
