/*
 * lanes - a world with several links between client and server, each with an address of the
 * client's own and a NAT of its own.
 *
 *              /-- NAT 0 -- link[0] --\
 *     client --+-- NAT 1 -- link[1] ---+-- server
 *              \-- NAT 2 -- link[2] --/
 *
 *     lanes_init(&l, seed, 3); change l.lane[i].link[UP]->bps ..., l.w.xfer, l.w.client_cfg
 *     lanes_start(&l);                one connection, over lane 0 at first
 *     lanes_run(&l, seconds);         ... or sim_run(&l.w.sim, ...)
 *     lanes_free(&l);
 *
 * The client opens a path on every lane as soon as it may, unless `wait`. Beside the transfer of
 * the world, either end may flood the other with numbered DATAGRAMs, by room and in turn
 * over all paths that are usable, and neither silent nor to be spared.
 */
#ifndef SIM_LANES_H
#define SIM_LANES_H

#include "mp/mp.h"
#include "quic/conn.h"
#include "test/sim/link.h"
#include "test/sim/world.h"

#define LANES_MAX  8
#define LANES_SEEN (1u << 20) /* DATAGRAMs of a flood that are told apart */

struct lanes;

struct lane {
    struct lanes *l;
    struct sim_link *link[2];
    struct sim_nat nat;
    struct sim_node *first[2];
    struct quic_addr addr;
    bool cut[2]; /* nothing passes */
    bool (*keep)(struct lanes *l, struct sim_packet *pkt, enum world_dir dir); /* or null */
};

struct lanes_flood {
    bool on;
    size_t size; /* of a DATAGRAM; 0: as large as the path takes */
    uint64_t sent, got, twice, bytes, fates[3], bad;
    uint64_t by_lane[LANES_MAX]; /* bytes that came over each */
    uint8_t *seen, *told;
};

struct lanes {
    struct world w;
    struct lane lane[LANES_MAX];
    size_t n;
    bool wait;                           /* the scenario opens paths, not lanes */
    size_t next;                         /* lane to open next */
    size_t path[LANES_MAX];              /* of each lane, at the client; SIZE_MAX: none */
    unsigned news[2], valid[2], gone[2]; /* events of each end: [0] client */
    uint64_t gone_code[2];
    struct lanes_flood flood[2]; /* that the client sends, the server */
    struct quic_conn *conn[2];
};

/* `n` lanes of 10 Mbit/s and 10 ms, without loss, and 9 path IDs at each end. */
void lanes_init(struct lanes *l, uint64_t seed, size_t n);
void lanes_start(struct lanes *l);
void lanes_free(struct lanes *l);

/* Let `seconds` pass. */
void lanes_run(struct lanes *l, double seconds);

/* The route of a lane as the client sees it. */
struct quic_route lanes_route(const struct lanes *l, size_t lane);

/* Open the path of a lane; as mp_open. */
int lanes_open(struct lanes *l, size_t lane);

/* Another outside address for a lane's NAT. */
void lanes_rebind(struct lanes *l, size_t lane);

/* The invariants of both connections; whether the world went on. */
bool lanes_check_conns(const struct lanes *l);
/* And whether everything that arrived is as it was sent. */
bool lanes_check(const struct lanes *l);

#endif
