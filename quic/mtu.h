/*
 * mtu - the datagram size of one path: DPLPMTUD (RFC 8899, RFC 9000 14.3).
 *
 * Starts at the base size of 1200 bytes, which every path must carry. Probes, larger
 * packets whose loss is no sign of congestion, search between the size that is known to
 * work and `max`: first `max` itself, as most paths carry what their interface does, then
 * by halving. A size fails after MTU_PROBES lost probes. The search ends when less than
 * MTU_STEP is to be gained; it begins anew MTU_RAISE later.
 *
 * Black hole: when MTU_BLACK_HOLE large packets in a row are lost (the upper half of what
 * is above the base) and none sent after the first of them is acknowledged, the path falls
 * back to the base and the search begins anew. What was lost while nothing at all came back
 * (mtu_on_outage) does not count; when something does again, a probe of the current size asks
 * whether it still passes, and MTU_PROBES of them lost are a black hole, too.
 *
 * Invariant: base <= current <= max; at most one probe is in flight; a probe's size is in
 * [current, max] and below `failed`.
 */
#ifndef QUIC_MTU_H
#define QUIC_MTU_H

#include "quic/types.h"

#define MTU_BASE       1200             /* BASE_PLPMTU, RFC 9000 14.1 */
#define MTU_PROBES     3                /* MAX_PROBES, RFC 8899 5.1.2 */
#define MTU_STEP       16               /* bytes: end of the search */
#define MTU_RAISE      (600 * NS_PER_S) /* PMTU_RAISE_TIMER, RFC 8899 5.1.1 */
#define MTU_BLACK_HOLE 6                /* large packets lost in a row */

enum mtu_state { MTU_DISABLED, MTU_SEARCHING, MTU_COMPLETE };

struct mtu {
    enum mtu_state state;
    size_t current; /* UDP payload bytes that packets may have */
    size_t max;     /* never try more */
    size_t failed;  /* smallest size known not to work; max + 1 if none */
    size_t probe;   /* size of the probe in flight; 0: none */
    uint64_t probe_pn;
    uint64_t large_acked; /* highest number of a large packet acknowledged, plus 1 */
    unsigned losses;      /* of probes of the size that is tried */
    unsigned large_lost;  /* large packets lost since */
    uint64_t blind;       /* what became of probes below this number tells nothing */
    bool doubt;           /* whether `current` still passes is to be asked by a probe */
    ns_t next;            /* no probe before then */
};

/* Start at MTU_BASE; never above `max`. With max <= MTU_BASE nothing is probed. */
void mtu_init(struct mtu *m, size_t max);

/* The handshake is confirmed, the path validated: begin to search at `now`. */
void mtu_start(struct mtu *m, ns_t now);

/* The bound changed: the peer's max_udp_payload_size, another interface. */
void mtu_set_max(struct mtu *m, size_t max, ns_t now);

/* Size of the probe to send now: a PING padded to that many bytes; 0: none. */
size_t mtu_next_probe(const struct mtu *m, ns_t now);

/* When mtu_next_probe is to be asked again; NS_NEVER: only after an event. */
ns_t mtu_deadline(const struct mtu *m);

/* The probe of `size` was sent as packet `pn`. */
void mtu_on_probe_sent(struct mtu *m, size_t size, uint64_t pn);

/*
 * What became of a packet with SENT_PROBE. Numbers of forgotten probes are ignored.
 * Both return whether `current` changed.
 */
bool mtu_on_probe_acked(struct mtu *m, uint64_t pn, ns_t now);
bool mtu_on_probe_lost(struct mtu *m, uint64_t pn, ns_t now);

/* Packet `pn` of `bytes`, other than a probe, was acknowledged. */
void mtu_on_acked(struct mtu *m, uint64_t pn, size_t bytes);

/* It was lost. */
void mtu_on_lost(struct mtu *m, uint64_t pn, size_t bytes);

/*
 * All verdicts of one acknowledgement were told: of packets lost in a row the ones behind them are
 * known to have arrived only then. Returns whether `current` changed: a black hole.
 */
bool mtu_judge(struct mtu *m, ns_t now);

/*
 * Nothing came back for a while: what became of packets below `pn` tells nothing of sizes. `over`:
 * something comes back now.
 */
void mtu_on_outage(struct mtu *m, uint64_t pn, bool over);

/* The path moved: start over from the base. */
void mtu_reset(struct mtu *m, ns_t now);

/* Whether the invariant holds: for tests. */
bool mtu_check(const struct mtu *m);

#endif
