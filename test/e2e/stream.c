/*
 * stream - one TCP connection, slow and checked byte by byte, for tests of survival.
 *
 *   stream serve PORT          accept one connection on any address, echo it until its end
 *   stream run ADDRESS PORT    send a pattern at about 100 kB/s, check what comes back
 *
 * `run` prints "N" after every 20 kB that came back intact. SIGTERM makes it end the stream,
 * wait for the rest, and say "intact N". Exit status: 0; 1 the connection broke, 2 bytes were
 * wrong or missing, 3 it could not start.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STEP    2000  /* bytes written at once */
#define PAUSE   20000 /* microseconds between two writes */
#define REPORT  20000 /* bytes between two lines */
#define PATIENT 60000 /* milliseconds to wait for the rest */

static volatile sig_atomic_t stopped;

static void on_term(int signo)
{
    stopped = signo;
}

/* The byte at position i of every stream: no short period. */
static uint8_t byte_at(uint64_t i)
{
    uint64_t z = (i / 8 + 1) * 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 29) * 0xbf58476d1ce4e5b9u;
    return (uint8_t)(z >> i % 8 * 8);
}

static int serve(const char *port)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port))};
    int s = socket(AF_INET6, SOCK_STREAM, 0), on = 1, fd;
    uint8_t buf[65536];
    ssize_t n;

    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(s, (struct sockaddr *)&a, sizeof(a)) || listen(s, 1)) {
        perror("stream: listen");
        return 3;
    }
    printf("listening\n");
    fflush(stdout);
    fd = accept(s, NULL, NULL);
    if (fd < 0) {
        perror("stream: accept");
        return 3;
    }
    while ((n = read(fd, buf, sizeof(buf))) > 0) {
        for (ssize_t off = 0, w; off < n; off += w) {
            w = send(fd, buf + off, (size_t)(n - off), MSG_NOSIGNAL);
            if (w < 0) {
                perror("stream: echo");
                return 1;
            }
        }
    }
    if (n < 0)
        perror("stream: read");
    close(fd);
    return n < 0;
}

static int dial(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST}, *ai;
    int fd;

    if (getaddrinfo(host, port, &hints, &ai))
        return -1;
    fd = socket(ai->ai_family, ai->ai_socktype, 0);
    if (fd >= 0 && connect(fd, ai->ai_addr, ai->ai_addrlen)) {
        close(fd);
        fd = -1;
    }
    freeaddrinfo(ai);
    return fd;
}

/* Read what has come; its end is told by *over. 0, or an exit status. */
static int check(int fd, uint64_t *got, int *over)
{
    uint8_t buf[65536];
    ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

    if (n == 0)
        *over = 1;
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        perror("stream: broken");
        return 1;
    }
    for (ssize_t i = 0; i < n; i++) {
        if (buf[i] != byte_at(*got)) {
            printf("byte %llu is wrong\n", (unsigned long long)*got);
            return 2;
        }
        if (++*got % REPORT == 0)
            printf("%llu\n", (unsigned long long)*got);
    }
    fflush(stdout);
    return 0;
}

/* Write the next bytes, as many as there is room for. 0 or 1. */
static int more(int fd, uint64_t *sent)
{
    uint8_t buf[STEP];
    ssize_t n;

    for (size_t i = 0; i < sizeof(buf); i++)
        buf[i] = byte_at(*sent + i);
    n = send(fd, buf, sizeof(buf), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0)
        *sent += (uint64_t)n;
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        perror("stream: broken");
        return 1;
    }
    return 0;
}

static int run(const char *host, const char *port)
{
    struct sigaction act = {.sa_handler = on_term};
    uint64_t sent = 0, got = 0;
    int fd = dial(host, port), over = 0, rc = 0;

    if (fd < 0) {
        perror("stream: connect");
        return 3;
    }
    sigaction(SIGTERM, &act, NULL);
    while (!stopped && !over && rc == 0) {
        rc = more(fd, &sent);
        if (rc == 0)
            rc = check(fd, &got, &over);
        usleep(PAUSE);
    }
    shutdown(fd, SHUT_WR);
    while (!over && rc == 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, PATIENT) == 0)
            break;
        rc = check(fd, &got, &over);
    }
    if (rc == 0 && (!stopped || got != sent))
        rc = 2;
    printf("%s %llu of %llu\n", rc ? "FAILED" : "intact", (unsigned long long)got,
           (unsigned long long)sent);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "serve") == 0)
        return serve(argv[2]);
    if (argc == 4 && strcmp(argv[1], "run") == 0)
        return run(argv[2], argv[3]);
    fprintf(stderr, "usage: stream serve PORT | stream run ADDRESS PORT\n");
    return 3;
}
