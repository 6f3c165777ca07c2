/*
 * udpload - makes, takes and times UDP packets, for bench/e2e.sh.
 *
 *   udpload recv PORT [gro]                          until SIGTERM; then prints what came
 *   udpload send ADDR PORT SIZE PPS SECONDS [SEGMENTS]
 *   udpload echo PORT                                until SIGTERM
 *   udpload rtt ADDR PORT SIZE COUNT GAP_US          one packet there and back, COUNT times
 *
 * A result is one line of key=value pairs. SIZE is that of the payload. PPS is kept by sending
 * what is due once a millisecond, in batches (sendmmsg); 0 means without end. With SEGMENTS
 * the application cuts nothing: each system call hands over SEGMENTS packets as one buffer
 * (UDP_SEGMENT); `gro` is the same for the receiver. Without these both are ordinary programs.
 *
 * Each packet starts with a number, so that the receiver tells what came late. What was not
 * sent because time ran out is not sent: `pps` says what the sender achieved.
 *
 * Exit status: 0; 1 for what the system refused; 2 for arguments.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH     64 /* messages a system call */
#define SLOT      2048
#define BIG       65536
#define MAX_COUNT 1000000
#define TICK_NS   1000000
#define SECOND_NS 1000000000LL

static volatile sig_atomic_t stopped;
static char buffers[BATCH][BIG];

static void stop(int sig)
{
    (void)sig;
    stopped = 1;
}

static void die(const char *what)
{
    fprintf(stderr, "udpload: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND_NS + t.tv_nsec;
}

static double cpu_s(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* A number argument within bounds, or the end. */
static long number(const char *arg, long min, long max)
{
    char *end;
    long n;

    errno = 0;
    n = strtol(arg, &end, 10);
    if (errno || end == arg || *end || n < min || n > max) {
        fprintf(stderr, "udpload: \"%s\" is not a number of %ld to %ld\n", arg, min, max);
        exit(2);
    }
    return n;
}

/* A socket for both families, bound to a port. */
static int bound(const char *port)
{
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT};
    struct timeval wake = {.tv_usec = 100000}; /* to see `stopped` */
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), off = 0, size = 4 << 20;

    if (fd < 0)
        die("socket");
    at.sin6_port = htons((uint16_t)number(port, 1, 65535));
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    /* More than an ordinary user may have, where this is root: the receiver is not under test. */
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wake, sizeof(wake));
    if (bind(fd, (struct sockaddr *)&at, sizeof(at)))
        die("bind");
    return fd;
}

static int connected(const char *addr, const char *port)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                             .ai_socktype = SOCK_DGRAM},
                    *to;
    int fd, rc = getaddrinfo(addr, port, &hints, &to);

    if (rc) {
        fprintf(stderr, "udpload: %s: %s\n", addr, gai_strerror(rc));
        exit(2);
    }
    fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, to->ai_addr, to->ai_addrlen))
        die(addr);
    freeaddrinfo(to);
    return fd;
}

/* The receiver */

struct tally {
    uint64_t packets, bytes, late, next;
    int64_t first, last;
};

static void count_packet(struct tally *t, const char *p, size_t n)
{
    uint64_t seq;

    t->packets++;
    t->bytes += n;
    if (n < sizeof(seq))
        return;
    memcpy(&seq, p, sizeof(seq));
    if (seq < t->next)
        t->late++;
    else
        t->next = seq + 1;
}

/* The size of the segments that a message consists of, or its own. */
static size_t segment_size(struct msghdr *m, size_t n)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        int size;

        if (c->cmsg_level != SOL_UDP || c->cmsg_type != UDP_GRO)
            continue;
        memcpy(&size, CMSG_DATA(c), sizeof(size));
        return size > 0 ? (size_t)size : n;
    }
    return n;
}

static int receive(const char *port, int gro)
{
    struct mmsghdr msg[BATCH];
    struct iovec iov[BATCH];
    char control[BATCH][CMSG_SPACE(sizeof(int))];
    struct tally t = {0};
    int fd = bound(port), on = 1;

    if (gro && setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof(on)))
        die("UDP_GRO");
    while (!stopped) {
        int n;

        for (int i = 0; i < BATCH; i++) {
            iov[i] = (struct iovec){buffers[i], gro ? BIG : SLOT};
            msg[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
            if (gro) {
                msg[i].msg_hdr.msg_control = control[i];
                msg[i].msg_hdr.msg_controllen = sizeof(control[i]);
            }
        }
        n = recvmmsg(fd, msg, BATCH, MSG_WAITFORONE, NULL);
        if (n < 0) {
            if (errno != EAGAIN && errno != EINTR)
                die("receive");
            continue;
        }
        t.last = clock_ns();
        if (!t.first)
            t.first = t.last;
        for (int i = 0; i < n; i++) {
            size_t len = msg[i].msg_len, size = segment_size(&msg[i].msg_hdr, len);

            for (size_t at = 0; at == 0 || at < len; at += size ? size : 1)
                count_packet(&t, buffers[i] + at, len - at < size ? len - at : size);
        }
    }
    printf("packets=%llu bytes=%llu late=%llu seconds=%.3f cpu_s=%.3f\n",
           (unsigned long long)t.packets, (unsigned long long)t.bytes,
           (unsigned long long)t.late, (double)(t.last - t.first) / 1e9, cpu_s());
    return 0;
}

/* The sender */

struct sender {
    int fd, segments;
    size_t size;
    uint64_t seq, refused;
};

/* Send up to `packets`; how many it were. What the system has no room for counts as sent. */
static uint64_t send_batch(struct sender *s, uint64_t packets)
{
    struct mmsghdr msg[BATCH] = {0};
    struct iovec iov[BATCH];
    char control[CMSG_SPACE(sizeof(uint16_t))] = {0};
    struct msghdr with = {.msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&with);
    uint16_t size = (uint16_t)s->size;
    uint64_t done = 0;
    int n = 0, sent;

    c->cmsg_level = SOL_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof(size));
    memcpy(CMSG_DATA(c), &size, sizeof(size));
    for (; n < BATCH && done < packets; n++) {
        size_t len = 0;

        for (int i = 0; i < s->segments && done < packets; i++, done++, len += s->size) {
            memcpy(buffers[n] + len, &s->seq, sizeof(s->seq));
            s->seq++;
        }
        iov[n] = (struct iovec){buffers[n], len};
        msg[n].msg_hdr = (struct msghdr){.msg_iov = &iov[n], .msg_iovlen = 1};
        if (len > s->size) {
            msg[n].msg_hdr.msg_control = control;
            msg[n].msg_hdr.msg_controllen = sizeof(control);
        }
    }
    for (int at = 0; at < n; at += sent) {
        sent = sendmmsg(s->fd, msg + at, (unsigned)(n - at), 0);
        if (sent > 0)
            continue;
        sent = errno == EINTR ? 0 : 1; /* on error, the first is skipped */
        if (errno != EINTR && errno != ENOBUFS && errno != EAGAIN && errno != ECONNREFUSED)
            die("send");
        s->refused += (uint64_t)sent;
    }
    return done;
}

static int transmit(struct sender *s, long pps, long seconds)
{
    int64_t begin = clock_ns(), end = begin + seconds * SECOND_NS, now = begin;
    uint64_t sent = 0, most = (uint64_t)BATCH * (uint64_t)s->segments;

    while (!stopped && now < end) {
        uint64_t due = (uint64_t)((double)(now - begin + TICK_NS) / 1e9 * (double)pps);

        if (!pps) {
            sent += send_batch(s, most);
        } else if (sent + (uint64_t)s->segments <= due) {
            uint64_t n = due - sent;

            n -= n % (uint64_t)s->segments;
            sent += send_batch(s, n < most ? n : most);
        } else {
            int64_t tick = begin + (now - begin + TICK_NS) / TICK_NS * TICK_NS;
            struct timespec until = {tick / SECOND_NS, tick % SECOND_NS};

            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        }
        now = clock_ns();
    }
    printf("packets=%llu refused=%llu seconds=%.3f pps=%.0f cpu_s=%.3f\n",
           (unsigned long long)sent, (unsigned long long)s->refused,
           (double)(now - begin) / 1e9, (double)sent * 1e9 / (double)(now - begin), cpu_s());
    return 0;
}

/* There and back */

static int echo(const char *port)
{
    struct sockaddr_storage from;
    int fd = bound(port);

    while (!stopped) {
        socklen_t from_len = sizeof(from);
        ssize_t n = recvfrom(fd, buffers[0], BIG, 0, (struct sockaddr *)&from, &from_len);

        if (n >= 0)
            sendto(fd, buffers[0], (size_t)n, 0, (struct sockaddr *)&from, from_len);
        else if (errno != EAGAIN && errno != EINTR)
            die("receive");
    }
    return 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Wait for the answer `seq`, and no other. */
static int answered(int fd, uint64_t seq)
{
    uint64_t got;
    ssize_t n;

    while ((n = recv(fd, buffers[1], BIG, 0)) >= 0 || errno == EINTR) {
        if (n < (ssize_t)sizeof(got))
            continue;
        memcpy(&got, buffers[1], sizeof(got));
        if (got == seq)
            return 1;
    }
    return 0;
}

static int round_trips(int fd, size_t size, long count, long gap_us)
{
    struct timeval limit = {.tv_sec = 1};
    struct timespec gap = {gap_us / 1000000, gap_us % 1000000 * 1000};
    double *us = calloc((size_t)count, sizeof(*us));
    long n = 0, lost = 0;

    if (!us)
        die("memory");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    for (uint64_t seq = 0; seq < (uint64_t)count && !stopped && lost < 5; seq++) {
        int64_t begin = clock_ns();

        memcpy(buffers[0], &seq, sizeof(seq));
        if (send(fd, buffers[0], size, 0) >= 0 && answered(fd, seq))
            us[n++] = (double)(clock_ns() - begin) / 1e3;
        else
            lost++;
        nanosleep(&gap, NULL);
    }
    if (!n) {
        fprintf(stderr, "udpload: no answer\n");
        return 1;
    }
    qsort(us, (size_t)n, sizeof(*us), by_value);
    printf("answers=%ld lost=%ld min_us=%.1f p50_us=%.1f p90_us=%.1f p99_us=%.1f\n", n, lost,
           us[0], us[n / 2], us[n * 9 / 10], us[n * 99 / 100]);
    free(us);
    return 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: udpload recv PORT [gro]\n"
                    "       udpload send ADDR PORT SIZE PPS SECONDS [SEGMENTS]\n"
                    "       udpload echo PORT\n"
                    "       udpload rtt ADDR PORT SIZE COUNT GAP_US\n");
    return 2;
}

int main(int argc, char **argv)
{
    struct sigaction end = {.sa_handler = stop};
    const char *what = argc > 1 ? argv[1] : "";

    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGINT, &end, NULL);
    if (!strcmp(what, "recv") && (argc == 3 || (argc == 4 && !strcmp(argv[3], "gro"))))
        return receive(argv[2], argc == 4);
    if (!strcmp(what, "echo") && argc == 3)
        return echo(argv[2]);
    if (!strcmp(what, "rtt") && argc == 7)
        return round_trips(connected(argv[2], argv[3]), (size_t)number(argv[4], 8, SLOT),
                           number(argv[5], 1, MAX_COUNT), number(argv[6], 0, 10000000));
    if (!strcmp(what, "send") && (argc == 7 || argc == 8)) {
        struct sender s = {.fd = connected(argv[2], argv[3]),
                           .segments = argc == 8 ? (int)number(argv[7], 1, 128) : 1,
                           .size = (size_t)number(argv[4], 8, SLOT)};

        if ((size_t)s.segments * s.size > 65507) {
            fprintf(stderr, "udpload: %d segments of %zu bytes are too much\n", s.segments,
                    s.size);
            return 2;
        }
        return transmit(&s, number(argv[5], 0, 100000000), number(argv[6], 1, 86400));
    }
    return usage();
}
