/*
 * ippkt - one IP packet inside the tunnel: checks, a view, and the few changes made to it.
 *
 * The view points into the packet and is good as long as its bytes are. Nothing here
 * reads past the length it was given, and the walk over IPv6 extension headers is
 * bounded in bytes and in headers, so that no packet costs more than a short walk.
 */
#ifndef MASQUE_IPPKT_H
#define MASQUE_IPPKT_H

#include "masque/prefix.h"
#include "quic/types.h"

enum ip_proto {
    IP_PROTO_HOPOPT = 0,
    IP_PROTO_ICMP = 1,
    IP_PROTO_TCP = 6,
    IP_PROTO_UDP = 17,
    IP_PROTO_ROUTING = 43,
    IP_PROTO_FRAGMENT = 44,
    IP_PROTO_ESP = 50,
    IP_PROTO_AH = 51,
    IP_PROTO_ICMPV6 = 58,
    IP_PROTO_NONE = 59,
    IP_PROTO_DSTOPTS = 60,
    IP_PROTO_SCTP = 132,
    IP_PROTO_MOBILITY = 135,
    IP_PROTO_HIP = 139,
    IP_PROTO_SHIM6 = 140
};

#define IPPKT_V4_HEAD 20
#define IPPKT_V6_HEAD 40
#define IPPKT_EXT_MAX 16 /* extension headers walked before a packet counts as malformed */

struct ippkt {
    uint8_t version;          /* 4 or 6 */
    uint8_t proto;            /* outermost protocol that is no extension header */
    uint8_t hop_limit;        /* TTL or hop limit */
    bool fragment;            /* part of a fragmented packet */
    bool later_fragment;      /* a fragment other than the first: no upper header in it */
    bool dont_fragment;       /* DF; always true for version 6 */
    bool source_routed;       /* LSRR or SSRR option, or a type 0 routing header in use */
    uint16_t upper;           /* offset of the upper-layer header; == len if none */
    uint32_t len;             /* whole packet in bytes */
    const uint8_t *src, *dst; /* 4 or 16 bytes each, in the packet */
};

/*
 * Check one packet and describe it.
 *
 * IPv4: header length, total length equal to `pkt.n`, header checksum. IPv6: payload
 * length that fits `pkt.n` exactly (no jumbograms), each extension header within the
 * packet (RFC 8200 4, RFC 7112). `proto` of a later IPv6 fragment is the next-header
 * value of its fragment header, which may itself name an extension header.
 *
 * Returns 0, or QUIC_INVAL if any of it does not hold.
 */
int ippkt_parse(struct span pkt, struct ippkt *out);

/* Whether `proto` is an IPv6 extension header that the walk steps over. */
bool ippkt_is_extension(uint8_t proto);

/*
 * Take one from the TTL (checksum updated, RFC 1624) or hop limit of a packet that was
 * parsed.
 *
 * Returns true, or false with the packet unchanged if it is 1 or 0 and would expire.
 */
bool ippkt_hop_decrement(uint8_t *pkt);

/* The ECN field of a packet that was parsed (RFC 3168 5): 0 where its sender doesn't know ECN. */
static inline uint8_t ippkt_ecn(const uint8_t *pkt)
{
    return (pkt[0] >> 4 == 4 ? pkt[1] : pkt[1] >> 4) & 3;
}

/* Set it to 3, congestion experienced, with the IPv4 header's checksum. */
void ippkt_set_ce(uint8_t *pkt);

/* Whether the header of a packet that was parsed names UDP, right behind itself. */
static inline bool ippkt_is_udp(const uint8_t *pkt)
{
    return pkt[pkt[0] >> 4 == 4 ? 9 : 6] == IP_PROTO_UDP;
}

/*
 * Whether a packet that was parsed, UDP right behind its header, has a QUIC version 1 or 2 long
 * header (RFC 9000 17.2, RFC 9369 3.1): a connection begins. `n`: its bytes that are there.
 */
bool ippkt_is_quic(const uint8_t *pkt, size_t n);

/*
 * A hash of addresses, protocol and ports (ICMP echo: its identifier), the same for all
 * packets of a flow, different with each `seed`. All fragments of one packet hash
 * alike, by addresses and protocol.
 */
uint32_t ippkt_flow_hash(const struct ippkt *v, struct span pkt, uint64_t seed);

/* That of the flow in which a TCP packet is answered. */
uint32_t ippkt_flow_hash_back(const struct ippkt *v, struct span pkt, uint64_t seed);

/* ICMP of the packet's own version: 1 for IPv4, 58 for IPv6. */
static inline bool ippkt_is_icmp(const struct ippkt *v)
{
    return v->proto == (v->version == 4 ? IP_PROTO_ICMP : IP_PROTO_ICMPV6);
}

/*
 * Whether it is an ICMP message that is an error, a redirect, of an unknown kind, or
 * too short to tell: never to be answered by an error (RFC 1122 3.2.2, RFC 4443 2.4).
 */
bool ippkt_icmp_error(const struct ippkt *v, struct span pkt);

#define IPPKT_TCP_HEAD  20
#define IPPKT_TCP_FLAGS 13 /* offset of the flags in it: */
#define IPPKT_TCP_SYN   0x02
#define IPPKT_TCP_ACK   0x10

/* Whether the packet that `v` describes is a TCP SYN, or SYN and ACK; no fragment is one. */
static inline bool ippkt_is_syn(const struct ippkt *v, const uint8_t *pkt)
{
    return v->proto == IP_PROTO_TCP && !v->fragment && v->len - v->upper >= IPPKT_TCP_HEAD &&
           pkt[v->upper + IPPKT_TCP_FLAGS] & IPPKT_TCP_SYN;
}

/*
 * Lower the maximum segment size that a TCP SYN announces to what fits a link of `mtu`
 * bytes without options and extension headers, for which the sender of the segments makes
 * room itself (RFC 6691 2), and correct the TCP checksum (RFC 1624). `pkt` is the packet that
 * `v` describes, its checksum whole.
 *
 * Returns whether it was changed. Packets other than a whole SYN with an MSS option
 * above that stay as they are, and so does what stands behind a malformed option.
 */
bool ippkt_mss_clamp(const struct ippkt *v, uint8_t *pkt, size_t mtu);

/*
 * Offset of the TCP header of a packet that was parsed, right behind its own; 0: there is none,
 * not all of it without options, or it is a fragment. `n`: its bytes that are there.
 */
static inline size_t ippkt_tcp(const uint8_t *pkt, size_t n)
{
    bool v4 = pkt[0] >> 4 == 4;
    size_t at = v4 ? (pkt[0] & 15u) * 4 : IPPKT_V6_HEAD;

    if (pkt[v4 ? 9 : 6] != IP_PROTO_TCP || (v4 && (pkt[6] & 0x3f || pkt[7])))
        return 0;
    return n >= at + IPPKT_TCP_HEAD ? at : 0;
}

/* What a TCP header says (RFC 9293 3.1). */
struct ippkt_tcp {
    uint8_t flags;
    uint16_t window; /* not scaled */
    int8_t scale; /* of a SYN: shift count of the window scale option (RFC 7323 2.2), else -1 */
    bool signs;   /* of a SYN: segments are to be signed (RFC 2385, RFC 5925) */
    uint32_t seq, ack;
    uint32_t data; /* bytes behind it */
};

/* Read that at offset `at`, as ippkt_tcp said, of `n` bytes. False: its length is none. */
bool ippkt_tcp_read(const uint8_t *pkt, size_t n, size_t at, struct ippkt_tcp *out);

/* Set the window of the TCP header `tcp`, and correct its checksum, which is whole. */
void ippkt_tcp_window(uint8_t *tcp, uint16_t window);

#endif
