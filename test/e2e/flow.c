/*
 * flow - TCP as fast as it goes, and when something of it arrived: for tests of interruptions.
 *
 *   flow serve PORT send|recv         accept one connection on any address
 *   flow run ADDRESS PORT send|recv   connect
 *   flow read FILE                    what another program writes into a pipe
 *
 * The end that receives prints, every 50 ms, "TIME BYTES GAP": milliseconds of CLOCK_REALTIME,
 * the bytes since the last line, and for how long at most, in milliseconds, nothing had come
 * until then. Bytes are checked, but not those of a file. The end that sends prints "TIME
 * retransmitted N" (segments so far) about as often, if it became more. Exit status when the
 * other end closes: 0; 1 the connection broke, 2 a byte was wrong, 3 it could not start. It
 * ends by SIGTERM. $FLOW_CC is the congestion control to use, else it is the system's.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVERY 50    /* milliseconds between two lines */
#define CHUNK 65521 /* bytes of the pattern, a prime */

static uint8_t pattern[2 * CHUNK];

static int64_t clock_ms(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void tell_retransmitted(int fd, uint32_t *before)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof(info);

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) ||
        info.tcpi_total_retrans == *before)
        return;
    *before = info.tcpi_total_retrans;
    printf("%lld retransmitted %u\n", (long long)clock_ms(CLOCK_REALTIME), *before);
    fflush(stdout);
}

static int send_all(int fd)
{
    int64_t told = 0;
    uint32_t before = 0;
    size_t at = 0;

    for (;;) {
        ssize_t n = send(fd, pattern + at, CHUNK, MSG_NOSIGNAL);

        if (n < 0) {
            perror("flow: send");
            tell_retransmitted(fd, &before);
            return 1;
        }
        at = (at + (size_t)n) % CHUNK;
        if (clock_ms(CLOCK_MONOTONIC) - told >= EVERY) {
            tell_retransmitted(fd, &before);
            told = clock_ms(CLOCK_MONOTONIC);
        }
    }
}

static int recv_all(int fd, bool check)
{
    static uint8_t buf[CHUNK];
    int64_t told = clock_ms(CLOCK_MONOTONIC), last = told, gap = 0, bytes = 0;
    size_t at = 0;

    for (;;) {
        int64_t now = clock_ms(CLOCK_MONOTONIC);
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n;

        if (now - last > gap)
            gap = now - last;
        if (now - told >= EVERY) {
            printf("%lld %lld %lld\n", (long long)clock_ms(CLOCK_REALTIME), (long long)bytes,
                   (long long)gap);
            fflush(stdout);
            bytes = gap = 0;
            told = now;
        }
        if (poll(&p, 1, (int)(told + EVERY - now)) <= 0)
            continue;
        n = read(fd, buf, sizeof(buf));
        if (n <= 0) {
            if (n < 0)
                perror("flow: read");
            return n < 0;
        }
        now = clock_ms(CLOCK_MONOTONIC);
        if (now - last > gap)
            gap = now - last;
        last = now;
        if (check && memcmp(buf, pattern + at, (size_t)n) != 0) {
            printf("bytes are wrong\n");
            return 2;
        }
        at = (at + (size_t)n) % CHUNK;
        bytes += n;
    }
}

/* False: the system has no such congestion control, or not for us. */
static bool choose_cc(int fd)
{
    const char *cc = getenv("FLOW_CC");

    return !cc || !setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, cc, (socklen_t)strlen(cc));
}

static int accept_one(const char *port)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port))};
    int s = socket(AF_INET6, SOCK_STREAM, 0), on = 1;

    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (!choose_cc(s) || bind(s, (struct sockaddr *)&a, sizeof(a)) || listen(s, 1))
        return -1;
    printf("listening\n");
    fflush(stdout);
    return accept(s, NULL, NULL);
}

static int dial(const char *host, const char *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (!choose_cc(fd) || inet_pton(AF_INET, host, &a.sin_addr) != 1 ||
        connect(fd, (struct sockaddr *)&a, sizeof(a)))
        return -1;
    return fd;
}

int main(int argc, char **argv)
{
    bool serve = argc == 4 && strcmp(argv[1], "serve") == 0;
    bool file = argc == 3 && strcmp(argv[1], "read") == 0;
    int fd;

    if (!serve && !file && (argc != 5 || strcmp(argv[1], "run") != 0)) {
        fprintf(stderr, "usage: flow serve PORT send|recv | flow run ADDRESS PORT send|recv |"
                        " flow read FILE\n");
        return 3;
    }
    for (size_t i = 0; i < CHUNK; i++)
        pattern[i] = pattern[CHUNK + i] = (uint8_t)(i * 2654435761u >> 13);
    if (file)
        fd = open(argv[2], O_RDONLY);
    else
        fd = serve ? accept_one(argv[2]) : dial(argv[2], argv[3]);
    if (fd < 0) {
        perror("flow: can't begin");
        return 3;
    }
    return strcmp(argv[argc - 1], "send") == 0 ? send_all(fd) : recv_all(fd, !file);
}
