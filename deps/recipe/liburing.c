#include <liburing.h>

#if IO_URING_VERSION_MAJOR < 2 || (IO_URING_VERSION_MAJOR == 2 && IO_URING_VERSION_MINOR < 9)
#error "older than 2.9"
#endif

int main(void)
{
    struct io_uring ring;
    struct io_uring_sqe *sqe;
    int err;
    /* Only linked, not asked to succeed: the kernel may forbid io_uring here. */
    if (io_uring_queue_init(2, &ring, 0))
        return 0;
    sqe = io_uring_get_sqe(&ring);
    io_uring_prep_read_multishot(sqe, 0, 0, 0, 0);
    io_uring_setup_buf_ring(&ring, 2, 0, 0, &err);
    io_uring_queue_exit(&ring);
    return !io_uring_check_version(2, 9) ? 0 : 1;
}
