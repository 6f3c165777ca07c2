/*
 * app_ring_faults - the kernel under the event loop fails as a random schedule says.
 *
 * The linker puts the functions here between the loop and its system calls (LINK_ in the
 * Makefile). With epoll a call fails, or does less, in the kernel's place. With io_uring the
 * chosen requests become no-ops before they are submitted, and their completions get the
 * result chosen: what the loop sees is what the kernel would say, and what did not happen did
 * not. Submissions and waits fail too, multishot requests are cancelled under way, and the
 * submission queue is small.
 */
#ifndef TEST_APP_RING_FAULTS_H
#define TEST_APP_RING_FAULTS_H

#include <errno.h>
#include <liburing.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define FAULTS_MAX 4096

struct fault {
    uint64_t data;
    int res;
};

static struct {
    uint64_t seed;
    unsigned one_in; /* how often; 0: never */
    unsigned sq_entries;
    unsigned seen; /* entries of the submission queue before this one were looked at */
    struct fault due[FAULTS_MAX];
    unsigned due_n;
    uint64_t armed[4]; /* multishot requests */
    unsigned armed_n;
    uint64_t hits;
} faults;

static inline uint32_t fault_random(uint32_t below)
{
    faults.seed += 0x9e3779b97f4a7c15u;
    uint64_t x = faults.seed;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((x ^ x >> 31) >> 16) % below;
}

static inline bool fault_now(void)
{
    if (!faults.one_in || fault_random(faults.one_in))
        return false;
    faults.hits++;
    return true;
}

static inline int fault_of(const int *from, size_t n)
{
    return from[fault_random((uint32_t)n)];
}

#define FAULT(...)                                                                             \
    fault_of((const int[]){__VA_ARGS__}, sizeof((int[]){__VA_ARGS__}) / sizeof(int))

/* ---- results --------------------------------------------------------------------------- */

/* Of a send; 1 is a byte of many. EIO, seldom, is a device without segmentation. */
static inline int fault_send(void)
{
    if (!fault_random(64))
        return -EIO;
    return FAULT(-EAGAIN, -EAGAIN, -EINTR, -ENOBUFS, -ECANCELED, -EMSGSIZE, 1, 0);
}

static inline int fault_write(void)
{
    return FAULT(-EAGAIN, -EAGAIN, -EINTR, -ENOBUFS, -ECANCELED, -EIO, 1, 0);
}

static inline int fault_receive(void)
{
    return FAULT(-EAGAIN, -EINTR, -ENOBUFS, -ECANCELED);
}

/* ---- system calls ---------------------------------------------------------------------- */

static inline ssize_t fault_result(int res)
{
    if (res >= 0)
        return res;
    errno = -res;
    return -1;
}

ssize_t __real_read(int fd, void *p, size_t n);
ssize_t __wrap_read(int fd, void *p, size_t n);
ssize_t __wrap_read(int fd, void *p, size_t n)
{
    return fault_now() ? fault_result(FAULT(-EAGAIN, -EINTR)) : __real_read(fd, p, n);
}

ssize_t __real_writev(int fd, const struct iovec *iov, int n);
ssize_t __wrap_writev(int fd, const struct iovec *iov, int n);
ssize_t __wrap_writev(int fd, const struct iovec *iov, int n)
{
    return fault_now() ? fault_result(fault_write()) : __real_writev(fd, iov, n);
}

ssize_t __real_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags)
{
    return fault_now() ? fault_result(fault_send()) : __real_sendmsg(fd, m, flags);
}

int __real_sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *m, unsigned n, int flags)
{
    if (!fault_now())
        return __real_sendmmsg(fd, m, n, flags);
    if (n > 1 && fault_random(2))
        return __real_sendmmsg(fd, m, 1 + fault_random(n - 1), flags);
    return (int)fault_result(FAULT(-EAGAIN, -EINTR, -ENOBUFS));
}

int __real_recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *ts);
int __wrap_recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *ts);
int __wrap_recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *ts)
{
    if (!fault_now())
        return __real_recvmmsg(fd, m, n, flags, ts);
    if (n > 1 && fault_random(2))
        return __real_recvmmsg(fd, m, 1 + fault_random(n - 1), flags, ts);
    return (int)fault_result(FAULT(-EAGAIN, -EINTR, -ENOBUFS));
}

int __real_epoll_wait(int fd, struct epoll_event *ev, int n, int ms);
int __wrap_epoll_wait(int fd, struct epoll_event *ev, int n, int ms);
int __wrap_epoll_wait(int fd, struct epoll_event *ev, int n, int ms)
{
    return fault_now() ? (int)fault_result(-EINTR) : __real_epoll_wait(fd, ev, n, ms);
}

int __real_epoll_pwait2(int fd, struct epoll_event *ev, int n, const struct timespec *ts,
                        const sigset_t *mask);
int __wrap_epoll_pwait2(int fd, struct epoll_event *ev, int n, const struct timespec *ts,
                        const sigset_t *mask);
int __wrap_epoll_pwait2(int fd, struct epoll_event *ev, int n, const struct timespec *ts,
                        const sigset_t *mask)
{
    /* ENOSYS is forbidden news, but what containers say: the coarse wait takes over. */
    if (!fault_now())
        return __real_epoll_pwait2(fd, ev, n, ts, mask);
    return (int)fault_result(fault_random(8) ? -EINTR : -ENOSYS);
}

/* ---- io_uring -------------------------------------------------------------------------- */

int __real_io_uring_queue_init_params(unsigned n, struct io_uring *u,
                                      struct io_uring_params *p);
int __wrap_io_uring_queue_init_params(unsigned n, struct io_uring *u,
                                      struct io_uring_params *p);
int __wrap_io_uring_queue_init_params(unsigned n, struct io_uring *u, struct io_uring_params *p)
{
    faults.seen = faults.due_n = faults.armed_n = 0;
    return __real_io_uring_queue_init_params(faults.sq_entries ? faults.sq_entries : n, u, p);
}

/* The result that a request shall have; false: what the kernel says. */
static inline bool fault_for(const struct io_uring_sqe *sqe, int *res)
{
    switch (sqe->opcode) {
    case IORING_OP_SENDMSG:
        *res = fault_send();
        return fault_now();
    case IORING_OP_WRITEV:
        *res = fault_random(8) ? fault_write() : -EOPNOTSUPP;
        return fault_now();
    case IORING_OP_READ:
    case IORING_OP_READ_MULTISHOT:
    case IORING_OP_RECVMSG:
        *res = fault_receive();
        return fault_now();
    case IORING_OP_POLL_ADD:
        *res = -ECANCELED;
        return fault_now();
    default:
        return false;
    }
}

static inline void fault_before(struct io_uring *u)
{
    for (; faults.seen != u->sq.sqe_tail; faults.seen++) {
        struct io_uring_sqe *sqe = &u->sq.sqes[faults.seen & u->sq.ring_mask];
        uint64_t data = sqe->user_data;
        bool multi = sqe->opcode == IORING_OP_READ_MULTISHOT ||
                     (sqe->opcode == IORING_OP_RECVMSG && sqe->flags & IOSQE_BUFFER_SELECT);
        int res;

        if (faults.due_n < FAULTS_MAX && fault_for(sqe, &res)) {
            memset(sqe, 0, sizeof(*sqe));
            io_uring_prep_nop(sqe);
            sqe->user_data = data;
            faults.due[faults.due_n++] = (struct fault){data, res};
        } else if (multi) {
            faults.armed[faults.armed_n++ % 4] = data;
        }
    }
}

/* A multishot request ends under way. */
static inline void fault_cancel(struct io_uring *u)
{
    unsigned n = faults.armed_n < 4 ? faults.armed_n : 4;
    struct io_uring_sync_cancel_reg reg = {.fd = -1, .timeout = {0, 100000000}};

    if (!n || fault_random(4) || !fault_now())
        return;
    reg.addr = faults.armed[fault_random(n)];
    io_uring_register_sync_cancel(u, &reg);
}

/* Completions of no-ops say what was chosen. */
static inline void fault_after(struct io_uring *u)
{
    struct io_uring_cqe *cqe;
    unsigned head;

    io_uring_for_each_cqe(u, head, cqe)
    {
        for (unsigned i = 0; i < faults.due_n; i++) {
            if (faults.due[i].data != cqe->user_data || cqe->res || cqe->flags)
                continue;
            cqe->res = faults.due[i].res;
            faults.due[i] = faults.due[--faults.due_n];
            break;
        }
    }
}

/* Whether the kernel takes nothing now, and `*rc` is what it says. */
static inline bool fault_enter(struct io_uring *u, int *rc)
{
    fault_before(u);
    *rc = FAULT(-EAGAIN, -EBUSY, -EINTR);
    if (fault_now())
        return true;
    fault_cancel(u);
    return false;
}

int __real_io_uring_submit(struct io_uring *u);
int __wrap_io_uring_submit(struct io_uring *u);
int __wrap_io_uring_submit(struct io_uring *u)
{
    int rc;

    if (!fault_enter(u, &rc))
        rc = __real_io_uring_submit(u);
    fault_after(u);
    return rc;
}

int __real_io_uring_submit_and_wait(struct io_uring *u, unsigned n);
int __wrap_io_uring_submit_and_wait(struct io_uring *u, unsigned n);
int __wrap_io_uring_submit_and_wait(struct io_uring *u, unsigned n)
{
    int rc;

    if (!fault_enter(u, &rc))
        rc = __real_io_uring_submit_and_wait(u, n);
    fault_after(u);
    return rc;
}

int __real_io_uring_submit_and_get_events(struct io_uring *u);
int __wrap_io_uring_submit_and_get_events(struct io_uring *u);
int __wrap_io_uring_submit_and_get_events(struct io_uring *u)
{
    int rc;

    if (!fault_enter(u, &rc))
        rc = __real_io_uring_submit_and_get_events(u);
    fault_after(u);
    return rc;
}

int __real_io_uring_submit_and_wait_timeout(struct io_uring *u, struct io_uring_cqe **cqe,
                                            unsigned n, struct __kernel_timespec *ts,
                                            sigset_t *mask);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *u, struct io_uring_cqe **cqe,
                                            unsigned n, struct __kernel_timespec *ts,
                                            sigset_t *mask);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *u, struct io_uring_cqe **cqe,
                                            unsigned n, struct __kernel_timespec *ts,
                                            sigset_t *mask)
{
    int rc;

    if (!fault_enter(u, &rc))
        rc = __real_io_uring_submit_and_wait_timeout(u, cqe, n, ts, mask);
    fault_after(u);
    return rc;
}

#endif
