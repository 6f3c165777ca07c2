/*
 * pair - two connections back to back, for tests that need no network: what one sends is
 * given to the other a millisecond later.
 *
 *     pair_init(&p); change p.cfg[]; pair_connect(&p); pair_run(&p, time); pair_free(&p)
 */
#ifndef TEST_QUIC_PAIR_H
#define TEST_QUIC_PAIR_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quic/conn.h"

enum { CLIENT, SERVER };

struct pair {
    struct quic_config cfg[2];
    struct quic_conn *conn[2];
    struct tls_ctx *tls[2];
    struct quic_route route[2]; /* as each side sees it */
    ns_t now;
    uint64_t seed;
    uint64_t datagrams[2], bytes[2]; /* sent by each */
    bool lose[2];                    /* what this side sends is lost */
};

static inline void pair_fill(void *ctx, void *out, size_t n)
{
    uint64_t *s = ctx;
    uint8_t *p = out;
    for (size_t i = 0; i < n; i++) {
        *s = *s * 6364136223846793005u + 1442695040888963407u;
        p[i] = (uint8_t)(*s >> 56);
    }
}

/* With other groups at the server, and other cipher suites at the client; null: defaults. */
static inline void pair_init_tls(struct pair *p, const char *groups, const char *suites)
{
    static const char *const alpn[] = {"pair"}, *const name[] = {"pair.test"};
    static struct tls_pem cert, key;
    char err[TLS_TEXT_MAX];
    memset(p, 0, sizeof(*p));
    p->now = NS_PER_S;
    p->seed = 1;
    if (!cert.p && tls_make_cert(name, 1, 30, 1700000000, &cert, &key) != 0)
        abort();
    struct tls_ctx_config client = {.alpn = alpn,
                                    .n_alpn = 1,
                                    .verify = TLS_VERIFY_CHAIN,
                                    .no_system_ca = true,
                                    .ca_pem = tls_pem_span(&cert),
                                    .verify_time = 1700000000,
                                    .suites = suites};
    struct tls_ctx_config server = {.server = true,
                                    .alpn = alpn,
                                    .n_alpn = 1,
                                    .verify = TLS_VERIFY_NONE,
                                    .cert_pem = tls_pem_span(&cert),
                                    .key_pem = tls_pem_span(&key),
                                    .groups = groups};
    p->tls[CLIENT] = tls_ctx_new(&client, err, sizeof(err));
    p->tls[SERVER] = tls_ctx_new(&server, err, sizeof(err));
    for (int i = 0; i < 2; i++) {
        quic_config_default(&p->cfg[i]);
        p->cfg[i].tls = p->tls[i];
        p->cfg[i].rng = (struct rng){pair_fill, &p->seed};
        p->route[i].local = (struct quic_addr){4, {10, 0, 0, (uint8_t)(1 + i)}, 1000};
        p->route[i].remote = (struct quic_addr){4, {10, 0, 0, (uint8_t)(2 - i)}, 1000};
        if (!p->tls[i])
            abort();
    }
}

static inline void pair_init(struct pair *p)
{
    pair_init_tls(p, NULL, NULL);
}

static inline void pair_connect(struct pair *p)
{
    p->conn[CLIENT] = quic_connect(&p->cfg[CLIENT], "pair.test", &p->route[CLIENT], p->now);
}

/* Give one datagram to side `to`; the server is made by the first. */
static inline int pair_deliver(struct pair *p, int to, uint8_t *buf, size_t n)
{
    struct quic_rx rx = {.route = p->route[to], .p = buf, .n = n};
    if (!p->conn[to]) {
        struct packet_head h;
        if (packet_parse(buf, n, p->cfg[to].cid_len, &h) != 0)
            return QUIC_DROP;
        p->conn[to] = conn_accept(&p->cfg[to], &rx.route, &h, NULL, p->now);
        if (!p->conn[to])
            return QUIC_NOMEM;
    }
    return quic_recv(p->conn[to], &rx, 1, p->now);
}

/* Deliver a train to the other side, or lose it. DATAGRAMs of the last packet stay. */
static inline void pair_train(struct pair *p, int from, const struct quic_train *t)
{
    p->datagrams[from] += t->count;
    p->bytes[from] += t->len;
    for (size_t i = 0; i < t->count && !p->lose[from]; i++)
        pair_deliver(p, 1 - from, t->buf + i * t->segment, quic_train_size(t, i));
}

/* Everything that `from` has to send. Returns whether there was anything. */
static inline bool pair_flush(struct pair *p, int from)
{
    static uint8_t buf[2][65536];
    struct quic_train t = {.buf = buf[from], .cap = 65507, .max_count = 64};
    bool any = false;
    while (p->conn[from] && quic_send(p->conn[from], 0, &t, p->now) > 0) {
        pair_train(p, from, &t);
        quic_train_reset(&t);
        any = true;
    }
    return any;
}

/* Back and forth for `time`. */
static inline void pair_run(struct pair *p, ns_t time)
{
    ns_t end = p->now + time;
    while (p->now < end) {
        bool any = pair_flush(p, CLIENT);
        any |= pair_flush(p, SERVER);
        ns_t next = any ? p->now + NS_PER_MS : end;
        for (int i = 0; i < 2; i++)
            if (p->conn[i])
                next = ns_min(next, ns_max(quic_deadline(p->conn[i]), p->now + NS_PER_MS));
        p->now = ns_min(next, end);
        for (int i = 0; i < 2; i++)
            if (p->conn[i])
                quic_tick(p->conn[i], p->now);
    }
}

/* Until an event of `type` comes on side `i`; the others are forgotten. */
static inline bool pair_event(struct pair *p, int i, enum quic_event_type type,
                              struct quic_event *out)
{
    struct quic_event ev;
    while (p->conn[i] && quic_next_event(p->conn[i], &ev)) {
        if (ev.type != type)
            continue;
        if (out)
            *out = ev;
        return true;
    }
    return false;
}

static inline void pair_free(struct pair *p)
{
    for (int i = 0; i < 2; i++) {
        quic_del(p->conn[i]);
        tls_ctx_del(p->tls[i]);
    }
}

#endif
