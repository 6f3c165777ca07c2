/*
 * world - the usual set-up: a client host and a server host, a chain of nodes each way.
 *
 *     world_init(&w, seed, &opt);
 *     world_link(&w, UP, node); world_link(&w, DOWN, node); ...   in order of travel
 *     world_start(&w, n);                                         n client connections
 *     sim_run(&w.sim, until, xfer_done, &w.xfer);
 *     world_free(&w);
 *
 * The certificates are made once per program. Time starts at one second.
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "quic/tls.h"
#include "test/sim/xfer.h"

enum world_dir { UP, DOWN };

struct world {
    struct sim sim;
    struct xfer xfer;
    struct quic_endpoint_config client_cfg, server_cfg; /* change between init and start */
    struct quic_addr client_addr, server_addr;
    struct sim_host *client, *server;
    struct sim_node *first[2], *last[2];
    struct log log;
    uint64_t seed;
};

/* Contexts for tests: a self-signed certificate for "sim.test", trusted by the client. */
struct tls_ctx *world_tls_server(void);
struct tls_ctx *world_tls_client(void);
/* A server whose certificate is larger than three datagrams of 1200 bytes. */
struct tls_ctx *world_tls_large(void);
/* A server with a chain of nine, of more than 7500 bytes. */
struct tls_ctx *world_tls_chain(void);
/* A client that offers TLS_CHACHA20_POLY1305_SHA256 and nothing else. */
struct tls_ctx *world_tls_chacha20(void);
/* The large one with session tickets, under one of two secrets: 1 or 2. */
struct tls_ctx *world_tls_tickets(int secret);

void world_init(struct world *w, uint64_t seed);
void world_link(struct world *w, enum world_dir dir, struct sim_node *node);
void world_start(struct world *w, size_t n);
/* The same with other applications than the transfer; the connections are the hosts'. */
void world_start_app(struct world *w, size_t n, const struct sim_app *client,
                     const struct sim_app *server);
/* One more client connection. */
struct quic_conn *world_connect(struct world *w);
void world_free(struct world *w);

/* Symmetric: delay each way, and a rate if bps isn't 0 with `queue` bytes. */
void world_path(struct world *w, ns_t delay, uint64_t bps, size_t queue);

/* Run to the end of the workload, and a little on. Returns whether it was reached. */
bool world_run(struct world *w, ns_t limit);

/* The first client's workload is now of `streams` streams, more than it was. */
bool world_again(struct world *w, size_t streams, ns_t limit);

/* The seed range of the environment, SEEDS="n", "a-b"; `n` seeds from 1 without. */
void world_seeds(uint64_t n, uint64_t *from, uint64_t *to);

/* Call `scenario` for each seed of the range. */
void world_each_seed(uint64_t n, void (*scenario)(uint64_t seed));

/* In a cmocka test: fail with the seed that replays it. */
#define WORLD_CHECK(w, cond)                                                                   \
    do {                                                                                       \
        if (!(cond)) {                                                                         \
            print_error("SEEDS=%llu-%llu: %s\n", (unsigned long long)(w)->seed,                \
                        (unsigned long long)(w)->seed, #cond);                                 \
            fail();                                                                            \
        }                                                                                      \
    } while (0)

#endif
