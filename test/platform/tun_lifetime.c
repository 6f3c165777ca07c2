/*
 * A TUN that is not persistent goes with the last reference to its descriptor: by close, by
 * SIGKILL of its process, and not while io_uring still holds a request on it.
 * IFF_TUN_EXCL never takes over a device that exists.
 *
 * On this rests that the TUN, its addresses and its routes need no cleaning up.
 */
#include <liburing.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include "test/platform/private.h"

static bool exists(const char *name)
{
    return if_nametoindex(name) != 0;
}

static void by_close(void)
{
    int fd = tun_open("t0", "10.1.0.1"), copy = dup(fd);

    close(fd);
    HOLDS(exists("t0"));
    close(copy);
    HOLDS(!exists("t0"));
}

static void by_sigkill(void)
{
    int ready[2], status;
    pid_t pid;
    char c;

    HOLDS(!pipe(ready));
    pid = fork();
    if (pid == 0) {
        tun_open("t0", "10.1.0.1");
        if (write(ready[1], "r", 1) == 1)
            pause();
        _exit(1);
    }
    HOLDS(read(ready[0], &c, 1) == 1);
    HOLDS(exists("t0"));
    HOLDS(!kill(pid, SIGKILL));
    HOLDS(waitpid(pid, &status, 0) == pid);
    HOLDS(!exists("t0"));
    close(ready[0]);
    close(ready[1]);
}

static void after_io_uring(void)
{
    struct io_uring_sqe *sqe;
    struct io_uring ring;
    uint8_t buf[2048];
    int fd;

    if (io_uring_queue_init(8, &ring, 0))
        return; /* forbidden here, and then of no interest */
    fd = tun_open("t0", "10.1.0.1");
    HOLDS(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    while (read(fd, buf, sizeof(buf)) > 0)
        ; /* what IPv6 says when a device comes up */
    sqe = io_uring_get_sqe(&ring);
    io_uring_prep_poll_add(sqe, fd, POLLERR);
    HOLDS(io_uring_submit(&ring) == 1);
    close(fd);
    HOLDS(exists("t0"));
    io_uring_queue_exit(&ring);
    for (int i = 0; i < 500 && exists("t0"); i++)
        usleep(10000);
    HOLDS(!exists("t0"));
}

static void exclusive(void)
{
    int fd = tun_open("t0", "10.1.0.1"), other = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    struct ifreq ifr = {.ifr_name = "t0"};

    ifr.ifr_flags = (short)(IFF_TUN | IFF_NO_PI | IFF_TUN_EXCL);
    HOLDS(ioctl(other, TUNSETIFF, &ifr) == -1 && errno == EBUSY);
    strcpy(ifr.ifr_name, "lo");
    HOLDS(ioctl(other, TUNSETIFF, &ifr) == -1 && errno == EBUSY);
    close(other);
    close(fd);
}

int main(void)
{
    private_net();
    by_close();
    by_sigkill();
    after_io_uring();
    exclusive();
    return 0;
}
