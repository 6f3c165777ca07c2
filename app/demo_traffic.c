#include "app/demo_traffic.h"

#include "app/ring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK      65536
#define PING_EVERY (50 * NS_PER_MS)
#define PING_LOST  (2 * NS_PER_S)
#define IDLE_PINGS 20

/* The eight bytes at position 8 * i of every stream. */
static uint64_t word_at(uint64_t i)
{
    uint64_t z = (i + 1) * 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void make(uint8_t *out, uint64_t at, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t w = word_at((at + i) / 8);
        if ((at + i) % 8 == 0 && n - i >= 8) {
            memcpy(out + i, &w, 8);
            i += 7;
        } else {
            out[i] = ((const uint8_t *)&w)[(at + i) % 8];
        }
    }
}

static uint64_t differing(const uint8_t *in, uint64_t at, size_t n)
{
    uint8_t want[CHUNK];
    uint64_t bad = 0;

    make(want, at, n);
    if (memcmp(in, want, n) == 0)
        return 0;
    for (size_t i = 0; i < n; i++)
        bad += in[i] != want[i];
    return bad;
}

static int failed(struct demo_score *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static int failed(struct demo_score *s, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(s->why, sizeof(s->why), fmt, ap);
    va_end(ap);
    atomic_store(&s->phase, DEMO_FAILED);
    return 1;
}

/* Send the pattern on `fd` until `flow->start` + `each`, then end the stream. 0 or errno. */
static int send_pattern(int fd, struct demo_flow *flow, ns_t each)
{
    uint8_t buf[CHUNK];
    uint64_t at = 0;

    atomic_store(&flow->start, ring_clock());
    while (ring_clock() < atomic_load(&flow->start) + each) {
        ssize_t w;
        make(buf, at, sizeof(buf));
        for (size_t off = 0; off < sizeof(buf); off += (size_t)w, at += (uint64_t)w) {
            w = send(fd, buf + off, sizeof(buf) - off, MSG_NOSIGNAL);
            if (w < 0)
                return errno;
            atomic_fetch_add(&flow->sent, (uint64_t)w);
        }
    }
    return shutdown(fd, SHUT_WR) ? errno : 0;
}

/* Receive and check until the stream ends. 0 or errno. */
static int receive_pattern(int fd, struct demo_score *score, struct demo_flow *flow)
{
    uint8_t buf[CHUNK];
    uint64_t at = 0;
    ns_t before = ring_clock();
    int window;
    ssize_t r;

    while ((r = recv(fd, buf, sizeof(buf), 0)) > 0) {
        uint64_t bad = differing(buf, at, (size_t)r);
        ns_t now = ring_clock();

        at += (uint64_t)r;
        if (bad)
            atomic_fetch_add(&flow->wrong, bad);
        atomic_fetch_add(&flow->received, (uint64_t)r);
        window = atomic_load(&score->window);
        if ((window == WIN_CUT || window == WIN_BACK) &&
            now - before > atomic_load(&score->pause))
            atomic_store(&score->pause, now - before);
        before = now;
    }
    return r < 0 ? errno : 0;
}

static struct sockaddr_in address(const char *ip, uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};

    if (ip)
        inet_pton(AF_INET, ip, &a.sin_addr);
    return a;
}

/* ---- far ------------------------------------------------------------------------------- */

static void serve(int fd, const struct demo_traffic *t)
{
    uint8_t run = DEMO_RUNS;

    if (recv(fd, &run, 1, 0) == 1 && run < DEMO_RUNS)
        send_pattern(fd, &t->score->flow[run], t->each[run]);
    close(fd);
}

/* Echo UDP in a child of its own, so that a busy TCP transfer does not delay it. */
static void echo(int fd)
{
    struct sockaddr_storage from;
    uint8_t buf[256];

    for (;;) {
        socklen_t len = sizeof(from);
        ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);
        if (n >= 0)
            sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&from, len);
    }
}

int demo_far(void *arg, int lifeline)
{
    const struct demo_traffic *t = arg;
    struct sockaddr_in any = address(NULL, t->port);
    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct pollfd p[2] = {{.fd = lifeline, .events = POLLIN}, {.fd = tcp, .events = POLLIN}};
    pid_t echoing;

    setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (tcp < 0 || udp < 0 || bind(tcp, (struct sockaddr *)&any, sizeof(any)) ||
        bind(udp, (struct sockaddr *)&any, sizeof(any)) || listen(tcp, 8))
        return failed(t->score, "the far host's sockets: %s", strerror(errno));
    echoing = fork();
    if (echoing == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        echo(udp);
        _exit(0);
    }
    for (;;) {
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            break;
        if (p[0].revents)
            break;
        if (p[1].revents & POLLIN) {
            int fd = accept4(tcp, NULL, NULL, SOCK_CLOEXEC);
            if (fd >= 0)
                serve(fd, t);
        }
    }
    if (echoing > 0)
        kill(echoing, SIGKILL);
    return 0;
}

/* ---- near ------------------------------------------------------------------------------ */

/* A socket that uses the tunnel alone; -1 while there is none. */
static int socket_in_tunnel(const struct demo_traffic *t, int type)
{
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

    if (fd >= 0 &&
        setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, t->tun, (socklen_t)strlen(t->tun))) {
        close(fd);
        return -1;
    }
    return fd;
}

static int connect_far(const struct demo_traffic *t, int timeout_ms)
{
    struct sockaddr_in a = address(t->far_ip, t->port);
    int fd = socket_in_tunnel(t, SOCK_STREAM | SOCK_NONBLOCK), err = 0;
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    socklen_t len = sizeof(err);

    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) && errno != EINPROGRESS)
        goto no;
    if (poll(&p, 1, timeout_ms) <= 0 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) || err)
        goto no;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    return fd;
no:
    close(fd);
    return -1;
}

/* One flow; 0 or 1 with the reason told. */
static int transfer(const struct demo_traffic *t, uint8_t run)
{
    struct demo_flow *flow = &t->score->flow[run];
    int fd = connect_far(t, 5000), rc;

    if (fd < 0)
        return failed(t->score, "no TCP connection through the tunnel");
    rc = send(fd, &run, 1, MSG_NOSIGNAL) == 1 ? receive_pattern(fd, t->score, flow) : errno;
    close(fd);
    if (rc)
        return failed(t->score, "the TCP connection broke: %s", strerror(rc));
    if (flow->wrong || flow->received != flow->sent || flow->sent == 0)
        return failed(t->score, "%llu bytes sent, %llu arrived, %llu of them wrong",
                      (unsigned long long)flow->sent, (unsigned long long)flow->received,
                      (unsigned long long)flow->wrong);
    return 0;
}

static void note(struct demo_score *s, uint64_t rtt_us)
{
    struct demo_pings *p = &s->pings[atomic_load(&s->window)];
    uint32_t n = atomic_load(&p->n);

    atomic_fetch_add(&s->pings_answered, 1);
    atomic_store(&s->last_rtt_us, (uint32_t)rtt_us);
    if (n < DEMO_PINGS_MAX) {
        p->rtt_us[n] = (uint32_t)rtt_us;
        atomic_store(&p->n, n + 1);
    }
}

/* Ping until told otherwise: a child of its own, so that it feels what a person would. */
static void ping(const struct demo_traffic *t, int fd)
{
    uint64_t sent = 0, got;

    for (;;) {
        ns_t now = ring_clock();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int wait = (int)((sent + PING_EVERY - now) / NS_PER_MS) + 1;
        if (now >= sent + PING_EVERY) {
            sent = now;
            atomic_fetch_add(&t->score->pings_sent, 1);
            send(fd, &sent, sizeof(sent), MSG_NOSIGNAL | MSG_DONTWAIT);
            continue;
        }
        if (poll(&p, 1, wait) == 1 &&
            recv(fd, &got, sizeof(got), MSG_DONTWAIT) == sizeof(got)) {
            now = ring_clock();
            if (now - got < PING_LOST)
                note(t->score, (now - got) / NS_PER_US);
        }
    }
}

static int wait_for_tunnel(const struct demo_traffic *t)
{
    ns_t until = ring_clock() + t->patience;

    while (ring_clock() < until) {
        int fd = connect_far(t, 500);
        if (fd >= 0) {
            close(fd);
            return 0;
        }
        usleep(50000);
    }
    return failed(t->score, "the tunnel did not come up within %d s",
                  (int)(t->patience / NS_PER_S));
}

int demo_near(void *arg, int lifeline)
{
    const struct demo_traffic *t = arg;
    struct sockaddr_in far = address(t->far_ip, t->port);
    int udp, rc = 0;
    pid_t pinging;

    (void)lifeline;
    if (wait_for_tunnel(t))
        return 1;
    atomic_store(&t->score->phase, DEMO_IDLE);
    udp = socket_in_tunnel(t, SOCK_DGRAM);
    if (udp < 0 || connect(udp, (struct sockaddr *)&far, sizeof(far)))
        return failed(t->score, "the near host's socket: %s", strerror(errno));
    pinging = fork();
    if (pinging == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        ping(t, udp);
        _exit(0);
    }
    usleep((useconds_t)(IDLE_PINGS * PING_EVERY / NS_PER_US));
    for (uint8_t run = 0; run < DEMO_RUNS && rc == 0; run++) {
        atomic_store(&t->score->run, run);
        atomic_store(&t->score->phase, DEMO_READY);
        usleep(DEMO_SETTLE / NS_PER_US);
        atomic_store(&t->score->phase, DEMO_SENDING);
        rc = transfer(t, run);
    }
    if (pinging > 0)
        kill(pinging, SIGKILL);
    if (rc == 0)
        atomic_store(&t->score->phase, DEMO_DONE);
    return rc;
}
