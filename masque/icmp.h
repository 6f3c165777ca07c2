/*
 * icmp - ICMP and ICMPv6 errors about packets that can't go on, and how many of them.
 *
 * An error quotes as much of the offending packet as its size bound allows: the whole
 * message is at most 576 bytes for IPv4 (RFC 1812 4.3.2.3) and 1280 for IPv6 (RFC
 * 4443 2.4 (c)). None is built where the RFCs forbid it: about an ICMP error or
 * redirect, a multicast or broadcast destination (except ICMPv6 packet too big), a
 * source that is not one host, an IPv4 fragment other than the first (RFC 1122
 * 3.2.2, RFC 4443 2.4 (e)), or a link-local source.
 */
#ifndef MASQUE_ICMP_H
#define MASQUE_ICMP_H

#include "masque/ippkt.h"
#include "masque/prefix.h"
#include "quic/types.h"

enum icmp_kind {
    ICMP_NO_ROUTE,      /* v4 3/0, v6 1/0 */
    ICMP_PROHIBITED,    /* v4 3/13, v6 1/1 */
    ICMP_SOURCE_POLICY, /* v4 3/13, v6 1/5 */
    ICMP_TOO_BIG,       /* v4 3/4, v6 2/0, with the MTU */
    ICMP_TIME_EXCEEDED, /* v4 11/0, v6 3/0 */
    ICMP_KINDS
};

#define ICMP_V4_MAX 576
#define ICMP_V6_MAX 1280
#define ICMP_MAX    ICMP_V6_MAX /* room that always suffices */

/*
 * Build the error `kind` about `pkt`, from the address `from`, to the packet's source,
 * into `out` of `size` bytes. `mtu` matters for ICMP_TOO_BIG alone; below 1280 it is
 * told as 1280 for IPv6, and above 65535 as 65535 for IPv4.
 *
 * Returns its length; 0 where none may be sent, `pkt` is not a packet, `from` is not a
 * host address of its version, or `size` is below the bound of that version.
 */
size_t icmp_error_build(enum icmp_kind kind, const struct ip_addr *from, struct span pkt,
                        uint32_t mtu, uint8_t *out, size_t size);

/*
 * Build the answer to the ICMPv6 echo request `pkt`, from the address `from`, into
 * `out` of `size` bytes (RFC 4443 4.2).
 *
 * Returns its length, that of the request without extension headers; 0 if `pkt` is not
 * an echo request with a right checksum, its source is not one host, or it does not fit.
 */
size_t icmp_echo_reply_build(const struct ip_addr *from, struct span pkt, uint8_t *out,
                             size_t size);

/*
 * A token bucket: `rate` per second on average, `burst` at once (RFC 4443 2.4 (f)).
 */
struct icmp_limit {
    uint32_t rate, burst;
    ns_t full_at; /* when the bucket will be full again */
};

void icmp_limit_init(struct icmp_limit *l, uint32_t rate, uint32_t burst);

/* Take one token at `now`; false if there is none. A `rate` of 0 never gives one. */
bool icmp_limit_take(struct icmp_limit *l, ns_t now);

#endif
