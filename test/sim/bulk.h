/*
 * bulk - connections that share a bottleneck, each with all the DATAGRAMs that it may send.
 *
 *     client 0 -- access --\                          link[UP] is the bottleneck
 *     client 1 -- access ---+-- link[UP] --> server
 *                ^-------------- link[DOWN] <--/
 *
 *     bulk_init(&b, seed, bps, queue, rtt);  change b.link, b.w.client_cfg ...
 *     struct bulk_flow *f = bulk_flow(&b, "bbr");
 *     bulk_run(&b, seconds);
 *     bulk_free(&b);
 *
 * A flow sends from `start` on without end, or at `offer_bps` of payload. With `window` it
 * is a crude TCP on top: at most so many packets are on their way, a number that grows by
 * one for each that the server reports, as in slow start; the reports are small DATAGRAMs,
 * one for two packets, that make the other direction a flow that carries little.
 */
#ifndef SIM_BULK_H
#define SIM_BULK_H

#include "test/sim/link.h"
#include "test/sim/world.h"

#define BULK_FLOWS 8

struct bulk_flow {
    struct bulk *b;
    struct sim_host *host;
    struct sim_link *access;
    struct quic_conn *conn, *peer;
    ns_t start;
    uint64_t offer_bps; /* 0: without end */
    uint64_t window;    /* packets; 0: not limited */
    bool mute;          /* sends nothing at present */
    bool dry;           /* had nothing more to send */
    uint64_t sent, got, got_bytes, reported;
    uint64_t offered; /* bytes of payload sent at offer_bps */
};

struct bulk {
    struct world w;
    struct sim_link *link[2];
    struct bulk_flow flow[BULK_FLOWS];
    size_t n;
};

/* A server and a link each way: `queue` bytes at the bottleneck, UP. */
void bulk_init(struct bulk *b, uint64_t seed, uint64_t bps, uint64_t queue, ns_t rtt);

/* One more connection with congestion control `cc`; the handshake begins at once. */
struct bulk_flow *bulk_flow(struct bulk *b, const char *cc);

/* Let `seconds` pass. */
void bulk_run(struct bulk *b, double seconds);

/* Let `seconds` pass; `share[i]`: of the bottleneck, by UDP payload bytes of flow i. */
void bulk_share(struct bulk *b, double seconds, double *share);

/* What the sender knows of its path. */
struct recovery *bulk_recovery(const struct bulk_flow *f);

/* The end; whether no invariant was broken and time went on. */
bool bulk_free(struct bulk *b);

#endif
