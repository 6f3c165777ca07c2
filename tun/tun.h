/*
 * tun - a TUN device: made, brought up, read and written.
 *
 * Model: one exclusive, non-persistent device of raw IP packets (no packet information
 * header), non-blocking and close-on-exec. The kernel removes it, with its addresses and its
 * routes, when the descriptor closes or the process dies, however it dies; so nothing that
 * lives on the device alone ever has to be undone.
 *
 * The device belongs to the network namespace of the thread that opened it. A device of
 * that name that exists already is never taken over.
 *
 * Errors: see tun/why.h.
 */
#ifndef TUN_TUN_H
#define TUN_TUN_H

#include <net/if.h>
#include <sys/types.h>

#include "quic/types.h"
#include "tun/why.h"

#define TUN_MTU_MIN   1280 /* RFC 8200 5: the least that IPv6 may have */
#define TUN_MTU_MAX   65535
#define TUN_NAME_MAX  (IFNAMSIZ - 1)
#define TUN_NAME_AUTO "mqvpn%d"

/*
 * Packets that wait in the kernel until they are read. Only the time between two batches has
 * to be bridged: with the kernel's own 500, one TCP flow at 1 Gbit/s loses packets here
 * whenever another process has the core for a moment.
 */
#define TUN_QUEUE_PACKETS 4096

/* What the kernel leaves to the reader of a device with virtio-net headers, one more each. */
enum tun_offload {
    TUN_OFFLOAD_NONE,
    TUN_OFFLOAD_CSUM, /* checksums */
    TUN_OFFLOAD_TSO,  /* TCP super-packets */
    TUN_OFFLOAD_USO   /* UDP super-packets (kernel 6.2); only now may they be written, too */
};

struct tun {
    int fd; /* -1: closed */
    int ifindex;
    unsigned mtu_bytes;
    bool vnet;                /* each packet is behind a struct vnet_hdr (tun/vnet.h) */
    enum tun_offload offload; /* NONE without `vnet` */
    char name[IFNAMSIZ];
};

struct tun_cfg {
    const char *name;   /* name, or pattern with one "%d"; NULL or "": TUN_NAME_AUTO */
    unsigned mtu_bytes; /* TUN_MTU_MIN..TUN_MTU_MAX */
    bool vnet;          /* virtio-net headers and all offloads, as far as they are to be had */
};

/*
 * Whether `name` can be a device name here: 1 to 15 letters, digits, '_', '-' or '.', not "."
 * or "..", and at most one "%d" where `pattern` allows it.
 *
 * Returns 0, -ENAMETOOLONG or -EINVAL.
 */
int tun_name_check(const char *name, bool pattern, char *why, size_t why_size);

/*
 * Make the device, set its MTU; it stays down, so that addresses can be set first.
 * On failure `t` is closed (fd -1) and nothing is left. What the kernel refuses of the
 * virtio-net header and the offloads is no failure: see t->vnet and t->offload.
 *
 * Returns 0, or: -EINVAL, -ENAMETOOLONG (name); -ERANGE (MTU); -ENOENT, -ENODEV (no
 * /dev/net/tun, no driver); -EPERM (no CAP_NET_ADMIN, or no access to /dev/net/tun);
 * -EBUSY (a device of that name exists); other errnos of the kernel with their text.
 */
int tun_open(struct tun *t, const struct tun_cfg *cfg, char *why, size_t why_size);

/* Close: the kernel removes the device with all that is on it. Again is fine. */
void tun_close(struct tun *t);

/* Bring the device up. Returns 0, -EPERM, -ENODEV (removed meanwhile), or another errno. */
int tun_up(struct tun *t, char *why, size_t why_size);

/* Change the MTU. Returns 0, -ERANGE (outside TUN_MTU_MIN..TUN_MTU_MAX), or as tun_up. */
int tun_mtu_set(struct tun *t, unsigned mtu_bytes, char *why, size_t why_size);

/*
 * Let the kernel leave more or less to the reader: as much as it will of what `want` says, to
 * be seen in t->offload. What was queued before may still be read in its former form.
 *
 * Returns 0, -EINVAL (no virtio-net header on this device), or another errno.
 */
int tun_offload_set(struct tun *t, enum tun_offload want, char *why, size_t why_size);

/* t->vnet and t->offload in words for a log line, such as "TSO, no USO". */
const char *tun_offload_text(const struct tun *t);

/* The most bytes of one tun_read, virtio-net header included. */
size_t tun_read_max(const struct tun *t);

/*
 * One packet into `buf` (with vnet: its header first). A packet longer than `size` is cut by
 * the kernel to `size`.
 *
 * Returns its length; 0 when none waits; -EBADFD when the device was removed; -errno.
 */
ssize_t tun_read(struct tun *t, void *buf, size_t size);

/*
 * Give one packet (with vnet: header first) to the kernel as if received on the device.
 *
 * Returns 0; -EAGAIN (try later); -EIO (device down); -EINVAL (no IP packet); -EBADFD
 * (device removed); -errno. The packet is dropped on every error.
 */
int tun_write(struct tun *t, const void *pkt, size_t n);

#endif
