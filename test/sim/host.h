/*
 * host - a node that runs real connections: an endpoint behind one simulated address.
 *
 * Packets that arrive in one instant are one batch, as a socket would give them. After a
 * batch, a due timer or sim_host_wake, every connection of the host is drained of datagrams
 * and events, its application gets a turn, and everything due is sent: the rhythm that
 * quic/quic.h asks of a driver.
 *
 * The host owns its connections. It frees those that are drained only if `reap` is set, so
 * that a scenario can look at them after they have ended.
 */
#ifndef SIM_HOST_H
#define SIM_HOST_H

#include "quic/endpoint.h"
#include "test/sim/net.h"

#define SIM_HOST_CONNS 128

struct sim_host;

/* What a scenario does on a host. Any function may be null. */
struct sim_app {
    void *ctx;
    void (*accepted)(struct sim_host *host, struct quic_conn *conn);
    void (*event)(struct sim_host *host, struct quic_conn *conn, const struct quic_event *ev);
    void (*dgram)(struct sim_host *host, struct quic_conn *conn,
                  const struct quic_dgram_rx *dgram);
    void (*turn)(struct sim_host *host, struct quic_conn *conn);  /* write, open, close ... */
    bool fair; /* what quic_send kept back goes before the next turn's DATAGRAMs */
    bool (*busy)(struct sim_host *host, struct quic_conn *conn);  /* has DATAGRAMs to send */
    void (*freed)(struct sim_host *host, struct quic_conn *conn); /* about to be deleted */
};

struct sim_host {
    struct sim_node node;
    struct quic_addr addr;
    struct quic_endpoint *ep;
    struct quic_config cfg; /* for its own connections */
    struct sim_app app;
    struct quic_conn *conn[SIM_HOST_CONNS];
    size_t n_conns;
    struct sim_packet *inbox, **inbox_tail;
    bool awake, reap;
    bool control_first;  /* it was kept waiting: before the application's turn, next time */
    uint8_t ecn_in;      /* or of all marks seen */
    uint64_t ecn_out[4]; /* datagrams sent with each */
    uint64_t trains, datagrams, answers, largest;
    uint8_t *train_buf;
    uint8_t *dgram_buf;
};

struct sim_host *sim_host(struct sim *sim, const struct quic_addr *addr,
                          const struct quic_endpoint_config *cfg, const struct sim_app *app);

/* A client connection of this host; null if it could not be made. */
struct quic_conn *sim_host_connect(struct sim_host *host, const char *name,
                                   const struct quic_addr *remote);

/* Take a turn at the next step: after calls on a connection from outside. */
void sim_host_wake(struct sim_host *host);

/* Forget every connection and the table, as a crashed and restarted process does. */
void sim_host_restart(struct sim_host *host);

/*
 * Send one DATAGRAM on path 0 of `conn` at once, as a train of its own. Returns as
 * quic_dgram_send.
 */
int sim_host_dgram(struct sim_host *host, struct quic_conn *conn, struct span data,
                   uint64_t tag);

/* Send an array of DATAGRAMs; returns how many were taken, or the negative first answer. */
int sim_host_dgrams_on(struct sim_host *host, struct quic_conn *conn, size_t path,
                       struct quic_dgram *pkts, size_t n);

/* The same on path 0. */
int sim_host_dgrams(struct sim_host *host, struct quic_conn *conn, struct quic_dgram *pkts,
                    size_t n);

#endif
