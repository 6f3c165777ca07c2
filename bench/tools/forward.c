/*
 * forward - the least that a tunnel in user space does, for bench/e2e.sh.
 *
 *   forward TUN PORT [ADDR]    until it is ended
 *
 * What comes by TUN goes out by UDP, to PORT of ADDR, and what comes by UDP to TUN: one process
 * that sleeps in poll, a system call a packet, no cipher, no state. A server has no ADDR: it answers
 * whom it heard last. The time that a packet loses here it loses in any program that sleeps.
 *
 * Exit status: 1 for what the system refused; 2 for arguments.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const char *what)
{
    fprintf(stderr, "forward: %s: %s\n", what, strerror(errno));
    return 1;
}

int main(int argc, char **argv)
{
    struct sockaddr_in bound = {.sin_family = AF_INET}, far = bound;
    struct ifreq tun = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    struct pollfd fds[2] = {{.events = POLLIN}, {.events = POLLIN}};
    static char packet[65536];
    int port = argc > 2 ? atoi(argv[2]) : 0;

    if (argc < 3 || argc > 4 || strlen(argv[1]) >= sizeof(tun.ifr_name) || port < 1 ||
        port > UINT16_MAX || (argc == 4 && !inet_aton(argv[3], &far.sin_addr))) {
        fprintf(stderr, "usage: forward TUN PORT [ADDR]\n");
        return 2;
    }
    strcpy(tun.ifr_name, argv[1]);
    bound.sin_port = far.sin_port = htons((uint16_t)port);
    fds[0].fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    if (fds[0].fd < 0 || ioctl(fds[0].fd, TUNSETIFF, &tun))
        return fail(argv[1]);
    fds[1].fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (fds[1].fd < 0 || bind(fds[1].fd, (struct sockaddr *)&bound, sizeof(bound)))
        return fail("UDP");
    while (poll(fds, 2, -1) > 0) {
        socklen_t len = sizeof(far);
        ssize_t n;

        /* What can't be passed on is lost, as it is on any link. */
        while ((n = read(fds[0].fd, packet, sizeof(packet))) > 0)
            (void)!sendto(fds[1].fd, packet, (size_t)n, 0, (struct sockaddr *)&far,
                          sizeof(far));
        while ((n = recvfrom(fds[1].fd, packet, sizeof(packet), 0, (struct sockaddr *)&far,
                             &len)) > 0)
            (void)!write(fds[0].fd, packet, (size_t)n);
    }
    return fail("poll");
}
