#include "test/sim/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGE_NAMES 48
#define CHAIN       9  /* certificates of world_tls_chain */
#define CHAIN_NAMES 10 /* in each of them but the first */

static struct {
    struct tls_ctx *server, *client, *large, *chain, *chacha20, *tickets[2];
    struct tls_pem cert, key, large_cert, large_key;
} tls;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    abort();
}

static struct tls_ctx *context(struct tls_ctx_config *cfg)
{
    static const char *const alpn[] = {"sim"};
    char err[TLS_TEXT_MAX];
    cfg->alpn = alpn;
    cfg->n_alpn = 1;
    struct tls_ctx *ctx = tls_ctx_new(cfg, err, sizeof(err));
    if (!ctx)
        die("tls context", err);
    return ctx;
}

/* The clock of the certificates is the real one: they are valid from a day ago. */
static void make_certs(void)
{
    static char name[LARGE_NAMES][80];
    const char *names[LARGE_NAMES];
    for (int i = 0; i < LARGE_NAMES; i++) {
        snprintf(name[i], sizeof(name[i]),
                 "a-rather-long-name-of-number-%03d-that-fills-space%s", i,
                 ".in-the-certificate.test");
        names[i] = i ? name[i] : "sim.test";
    }
    if (tls.cert.p)
        return;
    if (tls_make_cert(names, 1, 30, 1700000000, &tls.cert, &tls.key) != 0 ||
        tls_make_cert(names, LARGE_NAMES, 30, 1700000000, &tls.large_cert, &tls.large_key) != 0)
        die("certificates", "could not be made");
}

struct tls_ctx *world_tls_server(void)
{
    make_certs();
    struct tls_ctx_config cfg = {.server = true,
                                 .verify = TLS_VERIFY_NONE,
                                 .cert_pem = tls_pem_span(&tls.cert),
                                 .key_pem = tls_pem_span(&tls.key)};
    if (!tls.server)
        tls.server = context(&cfg);
    return tls.server;
}

struct tls_ctx *world_tls_tickets(int secret)
{
    uint8_t key[TLS_TICKET_KEY] = {(uint8_t)secret};
    make_certs();
    struct tls_ctx_config cfg = {.server = true,
                                 .verify = TLS_VERIFY_NONE,
                                 .ticket_key = {key, sizeof(key)},
                                 .cert_pem = tls_pem_span(&tls.large_cert),
                                 .key_pem = tls_pem_span(&tls.large_key)};
    if (!tls.tickets[secret - 1])
        tls.tickets[secret - 1] = context(&cfg);
    return tls.tickets[secret - 1];
}

struct tls_ctx *world_tls_large(void)
{
    make_certs();
    struct tls_ctx_config cfg = {.server = true,
                                 .verify = TLS_VERIFY_NONE,
                                 .cert_pem = tls_pem_span(&tls.large_cert),
                                 .key_pem = tls_pem_span(&tls.large_key)};
    if (!tls.large)
        tls.large = context(&cfg);
    return tls.large;
}

/* The first is the large one; the others prove nothing and are only carried along. */
struct tls_ctx *world_tls_chain(void)
{
    static char pem[CHAIN * 8192];
    size_t n = 0;
    make_certs();
    if (tls.chain)
        return tls.chain;
    for (int i = 0; i < CHAIN; i++) {
        char name[CHAIN_NAMES][80];
        const char *names[CHAIN_NAMES];
        struct tls_pem cert, key;
        for (int k = 0; k < CHAIN_NAMES; k++) {
            snprintf(name[k], sizeof(name[k]),
                     "authority-%d-of-a-long-chain-under-name-%d.test", i, k);
            names[k] = name[k];
        }
        if (tls_make_cert(names, CHAIN_NAMES, 30, 1700000000, &cert, &key) != 0)
            die("certificates", "could not be made");
        const struct tls_pem *use = i ? &cert : &tls.large_cert;
        if (n + use->n > sizeof(pem))
            die("certificates", "too long a chain");
        memcpy(pem + n, use->p, use->n);
        n += use->n;
        tls_pem_free(&cert);
        tls_pem_free(&key);
    }
    struct tls_ctx_config cfg = {.server = true,
                                 .verify = TLS_VERIFY_NONE,
                                 .cert_pem = span_of(pem, n),
                                 .key_pem = tls_pem_span(&tls.large_key)};
    tls.chain = context(&cfg);
    return tls.chain;
}

static struct tls_ctx *client_context(const char *suites)
{
    make_certs();
    size_t n = tls.cert.n + tls.large_cert.n;
    char *both = malloc(n);
    if (!both)
        die("certificates", "no memory");
    memcpy(both, tls.cert.p, tls.cert.n);
    memcpy(both + tls.cert.n, tls.large_cert.p, tls.large_cert.n);
    struct tls_ctx_config cfg = {.verify = TLS_VERIFY_CHAIN,
                                 .no_system_ca = true,
                                 .ca_pem = span_of(both, n),
                                 .verify_time = 1700000000,
                                 .suites = suites};
    struct tls_ctx *ctx = context(&cfg);
    free(both);
    return ctx;
}

struct tls_ctx *world_tls_client(void)
{
    if (!tls.client)
        tls.client = client_context(NULL);
    return tls.client;
}

struct tls_ctx *world_tls_chacha20(void)
{
    if (!tls.chacha20)
        tls.chacha20 = client_context("TLS_CHACHA20_POLY1305_SHA256");
    return tls.chacha20;
}

static void say(void *ctx, enum log_level level, const char *text)
{
    const struct world *w = ctx;
    fprintf(stderr, "%12.6f %d %s\n", (double)w->sim.now / 1e9, (int)level, text);
}

void world_init(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof(*w));
    w->seed = seed;
    sim_init(&w->sim, seed);
    xfer_init(&w->xfer, &w->sim);
    w->log = (struct log){say, w, LOG_TRACE};
    w->client_addr = sim_addr(1, 40000);
    w->server_addr = sim_addr(2, 443);
    struct quic_config cfg;
    quic_config_default(&cfg);
    cfg.rng = (struct rng){sim_rng_fill, &w->sim.rng};
    cfg.log = getenv("SIM_LOG") ? &w->log : NULL;
    w->client_cfg.conn = w->server_cfg.conn = cfg;
    w->client_cfg.conn.tls = world_tls_client();
    w->server_cfg.conn.tls = world_tls_server();
    w->server_cfg.accept = true;
    for (size_t i = 0; i < sizeof(cfg.reset_key); i++)
        w->server_cfg.conn.reset_key[i] = (uint8_t)(i + 1);
}

void world_link(struct world *w, enum world_dir dir, struct sim_node *node)
{
    if (w->last[dir])
        w->last[dir]->out = node;
    else
        w->first[dir] = node;
    w->last[dir] = node;
}

void world_path(struct world *w, ns_t delay, uint64_t bps, size_t queue)
{
    for (int dir = UP; dir <= DOWN; dir++) {
        if (bps)
            world_link(w, (enum world_dir)dir, sim_rate(&w->sim, bps, queue));
        world_link(w, (enum world_dir)dir, sim_delay(&w->sim, delay));
    }
}

struct quic_conn *world_connect(struct world *w)
{
    struct quic_conn *conn = sim_host_connect(w->client, "sim.test", &w->server_addr);
    if (!conn)
        die("connect", "no connection");
    xfer_client(&w->xfer, conn);
    return conn;
}

static void chain(struct world *w, const struct sim_app *client, const struct sim_app *server)
{
    w->client = sim_host(&w->sim, &w->client_addr, &w->client_cfg, client);
    w->server = sim_host(&w->sim, &w->server_addr, &w->server_cfg, server);
    if (!w->last[UP])
        world_path(w, NS_PER_MS, 0, 0);
    w->client->node.out = w->first[UP];
    w->last[UP]->out = &w->server->node;
    w->server->node.out = w->first[DOWN];
    w->last[DOWN]->out = &w->client->node;
}

void world_start(struct world *w, size_t n)
{
    struct sim_app client = xfer_client_app(&w->xfer), server = xfer_server_app(&w->xfer);
    chain(w, &client, &server);
    for (size_t i = 0; i < n; i++)
        world_connect(w);
}

void world_start_app(struct world *w, size_t n, const struct sim_app *client,
                     const struct sim_app *server)
{
    chain(w, client, server);
    for (size_t i = 0; i < n; i++)
        if (!sim_host_connect(w->client, "sim.test", &w->server_addr))
            die("connect", "no connection");
}

bool world_run(struct world *w, ns_t limit)
{
    return sim_run(&w->sim, w->sim.now + limit, xfer_done, &w->xfer);
}

bool world_again(struct world *w, size_t streams, ns_t limit)
{
    w->xfer.streams = streams;
    w->xfer.end[0].done = false;
    w->xfer.clients_done = 0;
    sim_host_wake(w->client);
    return world_run(w, limit);
}

void world_free(struct world *w)
{
    sim_free(&w->sim);
    xfer_free(&w->xfer);
}

void world_seeds(uint64_t n, uint64_t *from, uint64_t *to)
{
    const char *text = getenv("SEEDS");
    *from = 1;
    *to = n;
    if (!text || !*text)
        return;
    char *end;
    *to = strtoull(text, &end, 10);
    if (*end == '-') {
        *from = *to;
        *to = strtoull(end + 1, NULL, 10);
    }
}

void world_each_seed(uint64_t n, void (*scenario)(uint64_t seed))
{
    uint64_t from, to;
    world_seeds(n, &from, &to);
    for (uint64_t seed = from; seed <= to; seed++)
        scenario(seed);
}
