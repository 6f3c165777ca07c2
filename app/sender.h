/*
 * sender - a session's way out: packets from the queue to the paths.
 *
 * The paths pull: as long as the scheduler sees one with room, the next burst of the queue is
 * sealed into a train for it (sched/sched.h, quic_dgram_send); so no packet is bound to a path
 * before it can leave, and the queue in front stays the only one. What the connection itself has
 * to send goes when it is due, ahead of the queue when it had to wait.
 *
 * Packets of a numbered flow (app/numbered.h) get their heads here, and what links have lost of
 * them goes again, first in line; but what a dead link leaves, in turn with prompt packets.
 *
 * While no path answers nothing of the queue is sent, and its clock stands still: the latest
 * packets of each flow are there when one does again, and an inner TCP goes on at once, however
 * long it would have waited before its next try.
 *
 * What CoDel drops of a super-packet is passed over when it is cut up; what it marks is marked in
 * the header of the inner packet (RFC 3168), never in that of the tunnel (RFC 9484 10.2).
 */
#ifndef APP_SENDER_H
#define APP_SENDER_H

#include "app/device.h"
#include "app/lookout.h"
#include "app/numbered.h"
#include "app/socks.h"
#include "quic/quic.h"
#include "sched/queue.h"
#include "sched/sched.h"

#define SENDER_QUEUE_BYTES (8u << 20) /* of memory */
#define SENDER_MUTE_BYTES  (256u << 10) /* ... while no path answers */
#define SENDER_QUEUE_AGE   (100 * NS_PER_MS)
#define SENDER_TARGET_MOST (40 * NS_PER_MS) /* of CoDel, for bulk flows */

struct sender_stats {
    uint64_t too_big;  /* packets that fitted no path when their turn came */
    uint64_t no_train; /* flushes cut short by a full socket; nothing is lost */
};

struct sender {
    struct quic_conn *quic;
    struct device *device;
    const struct socks *socks;
    const struct sched *sched;
    struct sched_state *state; /* null while there is one path, or without memory */
    struct numbered *numbered; /* null: the peer knows none */
    size_t prefix_n;
    struct lookout lookout;
    struct queue queue;
    struct sender_stats stats;
    ns_t wake;          /* when the next packet that waits may leave; NS_NEVER if none does */
    bool control_first; /* the last flush left something of the connection's behind */
    bool starved;       /* the last flush was cut short by a full socket */
    uint64_t full;      /* ... of these paths, by index */
};

/* All is borrowed. It must not be moved in memory. */
void sender_init(struct sender *s, struct quic_conn *quic, struct device *device,
                 const struct socks *socks, const struct sched *sched);
void sender_free(struct sender *s);

/*
 * From now on flows may be numbered by `n`, which is borrowed; null: no longer. `prefix_n` bytes
 * stand before a packet that is not.
 */
void sender_number(struct sender *s, struct numbered *n, size_t prefix_n);

/* Queue a packet, which is the sender's from now on; others may be dropped for it. */
void sender_push(struct sender *s, struct packet *pkt, ns_t now);

/* Send all that may leave now. Sets `wake`, `starved`. */
void sender_flush(struct sender *s, ns_t now);

#endif
