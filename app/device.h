/*
 * device - the TUN as sessions use it: super-packets out of it, merged packets into it.
 *
 * One device, one loop, any number of sessions. What is read and is to wait becomes a `struct
 * packet`, the node of a session's queue: it lies where it was read, in a buffer of the loop that
 * is held as long, or in a copy where it is small or where buffers get scarce. Cutting it up
 * changes nothing in it (tun/vnet.h), so a large payload is read once, by the cipher.
 *
 * What sessions deliver is collected and written by device_flush, packets of a flow merged into
 * one gathered write; the payloads stay in the receive buffers.
 *
 * Packets come from a pool that grows with the queues and shrinks after them (device_trim): in a
 * steady state nothing allocates.
 */
#ifndef APP_DEVICE_H
#define APP_DEVICE_H

#include "app/ring.h"
#include "sched/queue.h"
#include "tun/tun.h"
#include "tun/vnet.h"

#define DEVICE_HEAD_MAX 24 /* bytes before each packet that leaves: prefixes of ours */
#define DEVICE_CLASSES  7
#define DEVICE_BATCH    64 /* reads that are looked at together */

/* One read that waits to leave: packets `next` .. split.count - 1 of it. */
struct packet {
    struct queue_pkt node; /* first, so that a node is its packet */
    struct vnet_split split;
    size_t next;
    uint8_t head[DEVICE_HEAD_MAX]; /* goes before each */
    uint8_t head_n;
    uint8_t size_class;
    bool held; /* its bytes lie in a buffer of the loop */
    _Alignas(8) uint8_t store[];
};

struct device_stats {
    uint64_t malformed; /* reads whose virtio-net header is none */
    uint64_t nomem;     /* packets dropped for want of memory */
    uint64_t full;      /* not written: too many writes under way */
};

struct device {
    struct ring *ring;
    struct ring_tun *tun;
    bool vnet;
    struct vnet_merge merge;
    struct device_stats stats;
    struct packet *spare[DEVICE_CLASSES];
    size_t spare_n[DEVICE_CLASSES], spare_least[DEVICE_CLASSES];
    ns_t trim_at;
};

/*
 * Add `tun` to the loop, with `user` for ring_tun_user; both are borrowed until device_close,
 * which frees the pool: every packet must have been put back. Returns 0, or what ring_tun_add
 * returns.
 */
int device_open(struct device *d, struct ring *ring, const struct tun *tun, void *user);
void device_close(struct device *d);

/*
 * What a read is. False: it is no packet (counted), to be passed over. `out` borrows the bytes,
 * which are the caller's until its on_flush is over.
 */
bool device_split(struct device *d, const struct ring_pkt *read, struct vnet_split *out);

/*
 * The same for the first of `*n` reads, without those that are no packets; `*reads` and `*n` go on
 * behind those that were looked at. Returns how many there are in `out`.
 */
size_t device_split_batch(struct device *d, struct ring_pkt **reads, size_t *n,
                          struct vnet_split out[DEVICE_BATCH]);

/*
 * Make it one to be queued, its node filled but for `flow`: `head`, of at most DEVICE_HEAD_MAX
 * bytes, goes before each packet of it. Null without memory (counted).
 */
struct packet *device_keep(struct device *d, const struct vnet_split *split, struct span head);

/* The same for a packet of our own making, whose bytes are copied. */
struct packet *device_own(struct device *d, struct span pkt, struct span head);

/* Put a packet back. */
void device_put(struct device *d, struct packet *p);

/*
 * Deliver a packet, which must stay as it is, in a buffer that the loop handed over, until
 * device_flush. Its bytes may be changed.
 */
void device_write(struct device *d, uint8_t *pkt, size_t n);

/* Deliver a packet at once; its bytes are copied. */
void device_write_own(struct device *d, struct span pkt);

/* Write what was delivered. At the end of each batch at the latest. */
void device_flush(struct device *d);

/* Give memory back that was not needed for a while. Cheap. */
void device_trim(struct device *d, ns_t now);

#endif
