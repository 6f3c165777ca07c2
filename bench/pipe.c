/*
 * pipe - two QUIC connections in memory: what one core makes of 1200-byte DATAGRAM packets.
 *
 * Client and server exchange trains without any I/O, in virtual time with a short round
 * trip; the figure is packets per second of CPU time for seal, build, parse, open and the
 * acknowledgement bookkeeping of both sides together. Nothing is lost on the way, so a
 * DATAGRAM that does not arrive ends the program. One line: pipe pps=N ..., with the bytes
 * of a QUIC packet and of its DATAGRAM payload.
 *
 * Usage: pipe [seconds of CPU, default 2]
 */
#include "app/random.h"
#include "quic/cert.h"
#include "quic/endpoint.h"
#include "quic/quic.h"
#include "quic/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STEP    (100 * NS_PER_US) /* virtual time of one exchange */
#define TRAIN   45                /* packets of one GSO send */
#define PAYLOAD 1170              /* the most that fits where the path MTU is 1200 */

static uint8_t buffer[2][65536], payload[TRAIN][64 + PAYLOAD];

static void die(const char *what)
{
    fprintf(stderr, "pipe: %s\n", what);
    exit(1);
}

static double cpu_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct tls_ctx *context(bool server)
{
    static const char *const alpn[] = {"bench"}, *const names[] = {"pipe"};
    struct tls_ctx_config cfg = {
        .server = server, .alpn = alpn, .n_alpn = 1, .verify = TLS_VERIFY_NONE};
    struct tls_pem cert = {0}, key = {0};
    struct tls_ctx *ctx;
    char err[256] = "";

    if (server) {
        if (tls_make_cert(names, 1, 1, (int64_t)time(NULL), &cert, &key))
            die("no certificate");
        cfg.cert_pem = tls_pem_span(&cert);
        cfg.key_pem = tls_pem_span(&key);
    }
    ctx = tls_ctx_new(&cfg, err, sizeof(err));
    if (!ctx)
        die(err);
    tls_pem_free(&cert);
    tls_pem_free(&key);
    return ctx;
}

/* The way as the client sees it, and as the server does. */
static const struct quic_route routes[] = {
    {.local = {.family = 4, .ip = {10, 0, 0, 1}, .port = 1},
     .remote = {.family = 4, .ip = {10, 0, 0, 2}, .port = 2}},
    {.local = {.family = 4, .ip = {10, 0, 0, 2}, .port = 2},
     .remote = {.family = 4, .ip = {10, 0, 0, 1}, .port = 1}},
};

static uint64_t received; /* DATAGRAMs, by the server */

/* Give the datagrams of a train to the connection (or endpoint) at the other end. */
static void deliver(struct quic_endpoint *ep, struct quic_conn **server, struct quic_conn *to,
                    struct quic_train *t, bool to_server, ns_t now)
{
    struct quic_dgram_rx got[TRAIN];
    struct quic_rx rx[TRAIN];
    uint8_t answer_buf[1500];
    struct quic_train answer = {.buf = answer_buf, .cap = sizeof(answer_buf), .max_count = 1};

    for (size_t i = 0; i < t->count; i++)
        rx[i] = (struct quic_rx){.route = routes[to_server],
                                 .p = t->buf + i * t->segment,
                                 .n = quic_train_size(t, i)};
    if (to_server && !*server &&
        quic_endpoint_route(ep, &rx[0], now, server, &answer) != QUIC_ROUTE_NEW)
        die("the server did not take the first packet");
    if (t->count > 0)
        quic_recv(to ? to : *server, rx, t->count, now);
    if (to_server)
        received += quic_dgram_recv(*server, got, ARRAY_LEN(got));
    quic_train_reset(t);
}

static struct quic_train train(int which)
{
    return (struct quic_train){
        .buf = buffer[which], .cap = sizeof(buffer[which]) - 64, .max_count = TRAIN};
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 2, begin, used = 0;
    struct quic_config cfg;
    struct quic_endpoint_config ecfg = {.accept = true};
    struct quic_endpoint *ep;
    struct quic_conn *client, *server = NULL;
    struct quic_train up = train(0), down = train(1);
    struct quic_dgram dgram[TRAIN];
    struct quic_event ev;
    uint64_t sent = 0, rounds = 0;
    size_t bytes = 0;
    ns_t now = NS_PER_S;

    quic_config_default(&cfg);
    cfg.rng = random_system();
    cfg.max_datagram_frame_size = 65535;
    cfg.tls = context(true);
    ecfg.conn = cfg;
    ep = quic_endpoint_new(&ecfg);
    cfg.tls = context(false);
    client = quic_connect(&cfg, NULL, &routes[0], now);
    if (!ep || !client)
        die("out of memory");
    begin = cpu_s();
    do {
        if (server && quic_dgram_max(client, 0) >= PAYLOAD) {
            for (int i = 0; i < TRAIN; i++)
                dgram[i] = 
                    (struct quic_dgram){.p = payload[i] + 64, .n = PAYLOAD, .headroom = 64};
            int taken = quic_dgram_send(client, 0, &up, dgram, TRAIN, now);
            if (taken > 0)
                sent += (uint64_t)taken;
            bytes = up.segment > bytes ? up.segment : bytes;
            deliver(ep, &server, NULL, &up, true, now);
        } else {
            begin = cpu_s(); /* the handshake does not count */
        }
        while (quic_send(client, 0, &up, now) > 0)
            deliver(ep, &server, NULL, &up, true, now);
        while (server && quic_send(server, 0, &down, now) > 0)
            deliver(ep, &server, client, &down, false, now);
        while (quic_next_event(client, &ev) || (server && quic_next_event(server, &ev)))
            if (ev.type == QUIC_EV_CLOSED)
                die("a connection closed");
        now += STEP;
        if (quic_deadline(client) <= now)
            quic_tick(client, now);
        if (server && quic_deadline(server) <= now)
            quic_tick(server, now);
        if (++rounds % 64 == 0) /* the clock is a system call */
            used = cpu_s() - begin;
        if (now > 100 * NS_PER_S && received == 0)
            die("no handshake");
    } while (used < seconds);
    if (received == 0 || received != sent)
        die("DATAGRAMs were lost");
    printf("pipe pps=%.0f ns_per_packet=%.0f bytes=%zu payload=%d packets=%llu\n",
           (double)received / used, used * 1e9 / (double)received, bytes, PAYLOAD,
           (unsigned long long)received);
    return 0;
}
