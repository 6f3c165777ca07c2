/*
 * net - a simulated network: packets travel from node to node in virtual time.
 *
 * A node has three functions: `deliver` takes a packet, `next` says when the node wants to
 * run, `run` lets it. Nodes are chained by `out`. The network's loop advances the clock to
 * the earliest wish and runs whoever is due; nothing else moves time. All chance comes from
 * one seeded generator in the network, so a seed replays exactly.
 *
 * Limits: SIM_NODES nodes; a loop that runs SIM_LIVELOCK times without the clock moving is
 * a livelock and ends the run with `livelock` set.
 *
 * A packet belongs to whoever holds it: deliver takes it over, sim_drop ends it.
 */
#ifndef SIM_NET_H
#define SIM_NET_H

#include "quic/quic.h"

#define SIM_NODES    96
#define SIM_LIVELOCK 20000

/* xoshiro256** (Blackman, Vigna), seeded by splitmix64. */
struct sim_rng {
    uint64_t s[4];
};

void sim_rng_seed(struct sim_rng *r, uint64_t seed);
uint64_t sim_rng_next(struct sim_rng *r);
/* Uniform in [0, n), n > 0. */
uint64_t sim_rng_below(struct sim_rng *r, uint64_t n);
/* True in `ppm` of a million cases. */
bool sim_rng_chance(struct sim_rng *r, uint32_t ppm);
/* As a random source for the code under test. */
void sim_rng_fill(void *rng, void *out, size_t n);

struct sim_packet {
    struct sim_packet *next;
    ns_t at;        /* due time inside a node */
    uint64_t order; /* tie breaker inside a node */
    struct quic_addr src, dst;
    uint8_t ecn;
    size_t n;
    uint8_t p[];
};

struct sim_node {
    void (*deliver)(struct sim_node *node, struct sim_packet *packet);
    ns_t (*next)(struct sim_node *node);
    void (*run)(struct sim_node *node, ns_t now);
    void (*free)(struct sim_node *node);
    struct sim_node *out;
    struct sim *sim;
    uint64_t passed, dropped, bytes; /* packets handed on, ended; bytes handed on */
};

struct sim {
    ns_t now;
    struct sim_rng rng;
    struct sim_node *node[SIM_NODES];
    size_t n_nodes;
    uint64_t steps;
    bool livelock;
};

void sim_init(struct sim *sim, uint64_t seed);
/* Free all nodes and what they hold. */
void sim_free(struct sim *sim);

/* Attach a node (allocated by malloc; `free`, if set, releases what it points to). */
void sim_add(struct sim *sim, struct sim_node *node);

/* Hand a packet to the node behind; without one it ends. */
void sim_pass(struct sim_node *node, struct sim_packet *packet);
void sim_drop(struct sim_node *node, struct sim_packet *packet);

struct sim_packet *sim_packet_new(const void *p, size_t n);
struct sim_packet *sim_packet_copy(const struct sim_packet *packet);

/*
 * Run until `done(ctx)` holds, which is asked after every instant (null: never), nothing is
 * left to do, or the clock would pass `until`. Returns whether `done` held.
 */
bool sim_run(struct sim *sim, ns_t until, bool (*done)(void *ctx), void *ctx);

/* ---- nodes: all return a node of the network, to be chained by `out` ------------------ */

/* Everything later by `delay`. */
struct sim_node *sim_delay(struct sim *sim, ns_t delay);

/* `bps` bits per second on the wire, behind a drop-tail queue of `queue` bytes. */
struct sim_node *sim_rate(struct sim *sim, uint64_t bps, size_t queue);

/*
 * Drop `ppm` of a million packets, each independently, but never more than `burst` in a row
 * (0: no bound).
 */
struct sim_node *sim_loss(struct sim *sim, uint32_t ppm, unsigned burst);

/* Drop packet i (from 0) of the first 64 where bit i of `mask` is set. */
struct sim_node *sim_mask(struct sim *sim, uint64_t mask);

/* Hold back `ppm` of a million packets by a random time of at most `extra`. */
struct sim_node *sim_reorder(struct sim *sim, uint32_t ppm, ns_t extra);

/* Pass `ppm` of a million packets twice. */
struct sim_node *sim_duplicate(struct sim *sim, uint32_t ppm);

/* Change one random bit in `ppm` of a million packets. */
struct sim_node *sim_corrupt(struct sim *sim, uint32_t ppm);

/* Drop everything from `from` until `to`. */
struct sim_node *sim_hole(struct sim *sim, ns_t from, ns_t to);

/* What a network does to ECN marks: congestion, and three sorts of nonsense. */
enum sim_ecn {
    SIM_ECN_MARK,   /* ECT to CE */
    SIM_ECN_BLEACH, /* any to not-ECT */
    SIM_ECN_MANGLE, /* ECT(0) to ECT(1) */
    SIM_ECN_DROP    /* what is marked is dropped */
};

/* Do that to `ppm` of a million packets; sim_ecn_rate changes how many. */
struct sim_node *sim_ecn(struct sim *sim, enum sim_ecn what, uint32_t ppm);
void sim_ecn_rate(struct sim_node *node, uint32_t ppm);

/* Ask a function about each packet: false drops it. It may change the packet. */
struct sim_node *sim_filter(struct sim *sim, bool (*keep)(void *ctx, struct sim_packet *packet),
                            void *ctx);

/*
 * A NAT in front of one inside address: packets of `in` get the outside address, packets of
 * `back` to it get the inside one; other destinations end. sim_nat_rebind changes the
 * outside address: the old one is then unknown.
 */
struct sim_nat {
    struct quic_addr inside, outside;
    struct sim_node *in, *back;
    unsigned rebinds;
};

void sim_nat(struct sim *sim, struct sim_nat *nat, const struct quic_addr *inside,
             const struct quic_addr *outside);
void sim_nat_rebind(struct sim_nat *nat, const struct quic_addr *outside);

/* 10.0.0.`host`:`port` */
struct quic_addr sim_addr(uint8_t host, uint16_t port);

#endif
