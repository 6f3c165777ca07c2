/*
 * pipe - two QUIC connections in memory: what one core makes of 1200-byte DATAGRAM packets.
 *
 * Client and server exchange trains without any I/O, in virtual time with a short round trip;
 * the figure is packets per second of CPU time for seal, build, the server's routing, parse,
 * open and the acknowledgement bookkeeping of both sides together. Nothing is lost on the way,
 * so a DATAGRAM that does not arrive ends the program.
 *
 * Between slots of that, the cipher alone is timed: seal, masks, and the reverse, of packets of
 * the same size. The difference is our own bookkeeping, of which each side has half. Both are
 * the best slot, so what else the machine does falls on neither.
 *
 * A line: pipe by=K pps=N (over all slots) best_ns= cipher_ns= (a packet, both sides) own_ns= (a
 * packet and side), the bytes of a QUIC packet and of its DATAGRAM payload. K is what does AES-GCM:
 * vaes (quic/gcm_vaes), where the processor can, and evp.
 *
 * Usage: pipe [seconds of CPU for each line, default 2]
 */
#include "app/random.h"
#include "quic/aead.h"
#include "quic/cert.h"
#include "quic/endpoint.h"
#include "quic/gcm_vaes.h"
#include "quic/quic.h"
#include "quic/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STEP    (100 * NS_PER_US) /* virtual time of one exchange */
#define TRAIN   45                /* packets of one GSO send */
#define SLOT    0.02              /* seconds of CPU */
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
                                 .ecn = t->ecn,
                                 .p = t->buf + i * t->segment,
                                 .n = quic_train_size(t, i)};
    for (size_t i = 0; i < t->count && to_server; i++) {
        enum quic_route_result want = *server ? QUIC_ROUTE_CONN : QUIC_ROUTE_NEW;
        if (quic_endpoint_route(ep, &rx[i], now, server, &answer) != want)
            die("the server did not take a packet");
    }
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

/* Both connections, and what was sent so far. */
struct world {
    struct quic_endpoint *ep;
    struct quic_conn *client, *server;
    struct quic_train up, down;
    uint64_t sent;
    size_t bytes; /* of the largest packet */
    ns_t now;
};

static void open_world(struct world *w)
{
    struct quic_config cfg;
    struct quic_endpoint_config ecfg = {.accept = true};

    *w = (struct world){.up = train(0), .down = train(1), .now = NS_PER_S};
    quic_config_default(&cfg);
    cfg.rng = random_system();
    cfg.max_datagram_frame_size = 65535;
    cfg.tls = context(true);
    ecfg.conn = cfg;
    w->ep = quic_endpoint_new(&ecfg);
    cfg.tls = context(false);
    w->client = quic_connect(&cfg, NULL, &routes[0], w->now);
    if (!w->ep || !w->client)
        die("out of memory");
}

static void send_dgrams(struct world *w)
{
    struct quic_dgram dgram[TRAIN];
    int taken;

    for (int i = 0; i < TRAIN; i++)
        dgram[i] = (struct quic_dgram){.p = payload[i] + 64, .n = PAYLOAD, .headroom = 64};
    taken = quic_dgram_send(w->client, 0, &w->up, dgram, TRAIN, w->now);
    if (taken > 0)
        w->sent += (uint64_t)taken;
    w->bytes = w->up.segment > w->bytes ? w->up.segment : w->bytes;
    deliver(w->ep, &w->server, NULL, &w->up, true, w->now);
}

/* A train up, whatever else is due in both directions, and a step in time. */
static void exchange(struct world *w)
{
    struct quic_event ev;

    if (w->server && quic_dgram_max(w->client, 0) >= PAYLOAD)
        send_dgrams(w);
    while (quic_send(w->client, 0, &w->up, w->now) > 0)
        deliver(w->ep, &w->server, NULL, &w->up, true, w->now);
    while (w->server && quic_send(w->server, 0, &w->down, w->now) > 0)
        deliver(w->ep, &w->server, w->client, &w->down, false, w->now);
    while (quic_next_event(w->client, &ev) || (w->server && quic_next_event(w->server, &ev)))
        if (ev.type == QUIC_EV_CLOSED)
            die("a connection closed");
    w->now += STEP;
    if (quic_deadline(w->client) <= w->now)
        quic_tick(w->client, w->now);
    if (w->server && quic_deadline(w->server) <= w->now)
        quic_tick(w->server, w->now);
}

/* Seal and mask a train of packets of `bytes`, then open it again. */
static void cipher_round(struct aead *tx, struct aead *rx, size_t bytes, uint64_t pn)
{
    static uint8_t sample[TRAIN][AEAD_SAMPLE], mask[TRAIN][AEAD_MASK];
    size_t head = 11, n = bytes - head - QUIC_TAG, len;
    uint64_t truncated;

    for (size_t i = 0; i < TRAIN; i++) {
        uint8_t *p = buffer[0] + i * bytes;
        memset(p, 0x41, head);
        if (aead_seal(tx, 0, pn + i, span_of(p, head), payload[i], n, p + head))
            die("not sealed");
        memcpy(sample[i], p + head - 2 + 4, AEAD_SAMPLE);
    }
    if (aead_masks(tx, (const uint8_t(*)[AEAD_SAMPLE])sample, TRAIN, mask))
        die("no masks");
    for (size_t i = 0; i < TRAIN; i++)
        aead_mask_head(buffer[0] + i * bytes, head - 2, 2, mask[i]);
    if (aead_masks(rx, (const uint8_t(*)[AEAD_SAMPLE])sample, TRAIN, mask))
        die("no masks");
    for (size_t i = 0; i < TRAIN; i++) {
        uint8_t *p = buffer[0] + i * bytes;
        aead_unmask_head(p, head - 2, mask[i], &len, &truncated);
        if (aead_open(rx, 0, pn + i, span_of(p, head), p + head, n + QUIC_TAG))
            die("not opened");
    }
}

/* CPU nanoseconds of the cipher for one packet, out and in. */
static double cipher_slot(size_t bytes)
{
    static const uint8_t secret[32] = {1};
    struct aead tx, rx;
    double begin, used;
    uint64_t done = 0;

    if (aead_init(&tx, AEAD_AES_128_GCM, span_of(secret, 32), true) ||
        aead_init(&rx, AEAD_AES_128_GCM, span_of(secret, 32), false))
        die("no keys");
    begin = cpu_s();
    do {
        for (int i = 0; i < 16; i++, done += TRAIN)
            cipher_round(&tx, &rx, bytes, done);
        used = cpu_s() - begin;
    } while (used < SLOT);
    aead_free(&tx);
    aead_free(&rx);
    return used * 1e9 / (double)done;
}

/* The same of everything, by exchanging packets; the CPU time is added to *sum. */
static double packet_slot(struct world *w, double *sum)
{
    uint64_t before = received;
    double begin = cpu_s(), used;

    do {
        for (int i = 0; i < 16; i++)
            exchange(w);
        used = cpu_s() - begin;
    } while (used < SLOT);
    if (received == before)
        die("no packets");
    *sum += used;
    return used * 1e9 / (double)(received - before);
}

static void measure(double seconds, bool vaes)
{
    double used = 0, best = 0, cipher = 0;
    struct world w;

    aead_set_vaes(vaes);
    received = 0;
    open_world(&w);
    while (received == 0) { /* the handshake does not count */
        exchange(&w);
        if (w.now > 100 * NS_PER_S)
            die("no handshake");
    }
    uint64_t before = received;
    do {
        double all = packet_slot(&w, &used), alone = cipher_slot(w.bytes);
        best = best == 0 || all < best ? all : best;
        cipher = cipher == 0 || alone < cipher ? alone : cipher;
    } while (used < seconds);
    if (received != w.sent)
        die("DATAGRAMs were lost");
    printf("pipe by=%s pps=%.0f best_ns=%.0f cipher_ns=%.0f own_ns=%.0f bytes=%zu payload=%d "
           "packets=%llu\n",
           vaes ? "vaes" : "evp", (double)(received - before) / used, best, cipher,
           (best - cipher) / 2, w.bytes, PAYLOAD, (unsigned long long)(received - before));
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 2;

    if (!gcm_vaes_off())
        measure(seconds, true);
    measure(seconds, false);
    return 0;
}
