/*
 * vnet - packets of a TUN with virtio-net headers: super-packets cut into packets, packets
 * put together to super-packets. Pure: no I/O, no allocation.
 *
 * Such a device hands over, behind a struct vnet_hdr, either one packet, whose checksum may
 * still have to be made, or a super-packet: up to 64 kB of one TCP connection, or equal
 * datagrams of one UDP flow, under one header. It takes the same.
 *
 * Splitting.
 *
 *     vnet_split_init(&s, buf, n)                what was read: one packet, or s.count of them
 *       vnet_split_head(&s, i, head, &body)      packet i: its own header, and its payload
 *
 * A packet is the header that vnet_split_head writes, followed by payload where it lies in
 * the buffer: nothing of the payload is copied, and nothing in the buffer is changed, so
 * packets may be asked for in any order, later, and again. Whoever seals a packet has header
 * and payload put one behind the other for one cipher call: by saving the bytes before the
 * payload, writing the header over them, and putting them back after. All of them are
 * either the packet's own header or the payload of the packet before.
 *
 * Packets are cut as the kernel's own segmentation would: IPv4 identification counted up,
 * sequence numbers moved on, CWR in the first only, FIN and PSH in the last only, everything
 * else alike, all checksums complete.
 *
 * Merging.
 *
 *     vnet_merge_init(&m, udp)                   once
 *     vnet_merge_add(&m, p, n) ...               packets, in the order of arrival
 *     vnet_merge_next(&m, &hdr, iov) ...         until 0: what to write, one after the other
 *
 * A packet is added to the one before it of its flow under the rules of the kernel's receive
 * offload: TCP in sequence with equal acknowledgement, window, flags and options; UDP of
 * equal size; IP headers alike, identification counting up (or, where no fragment can ever be,
 * all the same: it then counts up after the merge, RFC 6864 4.1); a shorter one, PSH or FIN
 * ends it. Everything else goes alone. Checksums are verified first: a packet that has a
 * wrong one or none is handed on as it is, and so is all that is no plain TCP or UDP, so that
 * the kernel judges it. Verified packets go without a checksum of their own: the kernel is told
 * that it is yet to be made.
 *
 * Invariant: split by the kernel's rules, what is handed out is what was added, byte by byte
 * (but for the identification named above), in the same order within each flow, where all
 * packets of two addresses that are of no TCP or UDP flow count as part of every flow
 * between them. Packets of different flows may overtake one another.
 */
#ifndef TUN_VNET_H
#define TUN_VNET_H

#include <sys/uio.h>

#include "quic/types.h"

/* What precedes each packet: the kernel's struct virtio_net_hdr, in host byte order. */
struct vnet_hdr {
    uint8_t flags;        /* VNET_NEEDS_CSUM, VNET_DATA_VALID */
    uint8_t gso_type;     /* VNET_GSO_... */
    uint16_t hdr_len;     /* all headers; only a hint where the kernel wrote it */
    uint16_t gso_size;    /* payload of each packet but the last */
    uint16_t csum_start;  /* where the transport header begins */
    uint16_t csum_offset; /* of the checksum, from there; it holds the pseudo header's sum */
};

#define VNET_NEEDS_CSUM 1
#define VNET_DATA_VALID 2
#define VNET_GSO_NONE   0
#define VNET_GSO_TCPV4  1
#define VNET_GSO_TCPV6  4
#define VNET_GSO_UDP_L4 5    /* kernel 6.2 */
#define VNET_GSO_ECN    0x80 /* beside TCPV4 or TCPV6: CWR is set */

#define VNET_HEAD_MAX 256   /* IP and transport headers of a super-packet */
#define VNET_READ_MAX 65585 /* most bytes that a read gives, virtio-net header included */
#define VNET_BATCH    256   /* packets that can be looked at together */
#define VNET_SEGMENTS 64    /* most packets of one super-packet that we make */
#define VNET_FLOWS    16    /* flows that are added to at a time */
#define VNET_IOV      (1 + VNET_SEGMENTS)

/* What was read from the device. */
struct vnet_split {
    uint8_t *p;     /* the packet or super-packet, behind the virtio-net header */
    size_t n;       /* its bytes */
    size_t count;   /* packets that it makes */
    size_t size;    /* bytes of each packet but the last; the only one's if there is one */
    size_t head_n;  /* bytes of header that vnet_split_head makes: 0 for a packet as it is */
    size_t l4;      /* where the transport header begins, if head_n > 0 */
    size_t segment; /* payload of each packet but the last */
    bool tcp;
};

/*
 * Look at `n` bytes as read from the device: virtio-net header and what follows. A single
 * packet that needs a checksum gets it in place here, and the virtio-net header is changed
 * to say so. The bytes are borrowed as long as `s` is used.
 *
 * After that the IP header may still be changed as a router does (hop limit, with its
 * checksum): packets are made from what is there when they are asked for.
 *
 * Returns 0, or QUIC_INVAL where the virtio-net header and the packet contradict each other,
 * or it is of a kind that was not asked for: `s` must not be used, the packet is to be
 * dropped and counted.
 */
int vnet_split_init(struct vnet_split *s, uint8_t *buf, size_t n);

/* The bytes of packet `i`, header and payload. */
static inline size_t vnet_split_size(const struct vnet_split *s, size_t i)
{
    return i + 1 < s->count ? s->size : s->n - i * s->segment;
}

/*
 * Packet `i` < s->count: its header to `head`, which has room for s->head_n bytes, and its
 * payload, not copied, to `body`. With head_n 0, `body` is all of the packet.
 *
 * Returns head_n.
 */
size_t vnet_split_head(const struct vnet_split *s, size_t i, uint8_t *head, struct span *body);

struct vnet_merge_stats {
    uint64_t packets;  /* added */
    uint64_t writes;   /* handed out */
    uint64_t bad_sums; /* TCP or UDP with a wrong checksum */
};

/* Packets being put together. About 8 kB; to be kept, not to be made for each batch. */
struct vnet_merge {
    struct vnet_merge_stats stats;
    bool udp;
    size_t packets, groups; /* used of the arrays below */
    size_t next;            /* the group that is handed out next */
    size_t open_n;
    uint16_t open[VNET_FLOWS]; /* groups that may be added to, youngest first */
    struct vnet_packet {
        uint8_t *p;
        uint32_t n;
        uint16_t head_n; /* IP and transport header */
        uint16_t next;   /* of its group */
    } packet[VNET_BATCH];
    struct vnet_group {
        uint32_t bytes; /* of the super-packet, headers included */
        uint16_t first, last, count;
        uint8_t kind;
        bool fixed_id; /* all have the same IPv4 identification */
    } group[VNET_BATCH];
};

/* `udp`: the device takes UDP super-packets. Where it doesn't, UDP packets go one by one. */
void vnet_merge_init(struct vnet_merge *m, bool udp);

/*
 * Add one packet of 1 to 65535 bytes. Its bytes must stay until all has been handed out and
 * written, and are not to be read by anyone else: its header may be changed.
 *
 * Returns false, and nothing is added, when VNET_BATCH packets are in, or handing out has
 * begun: take all out first.
 */
bool vnet_merge_add(struct vnet_merge *m, uint8_t *p, size_t n);

/*
 * What to write next: `*hdr` is filled, iov[0] is its place, the others lie in the packets
 * that were added. `iov` has room for VNET_IOV.
 *
 * Returns the number of pieces, or 0 when everything was handed out: packets may then be
 * added again.
 */
size_t vnet_merge_next(struct vnet_merge *m, struct vnet_hdr *hdr, struct iovec *iov);

/* The invariants of what is kept, for tests. */
bool vnet_merge_check(const struct vnet_merge *m);

#endif
