/*
 * cksum - the Internet checksum: sum, fold, and change without summing again
 * (RFC 1071, RFC 1624).
 *
 * A running sum is a 64-bit one of 16-bit words in network order; spans that are
 * added one after the other must each, except the last, be of even length.
 */
#ifndef MASQUE_CKSUM_H
#define MASQUE_CKSUM_H

#include "quic/types.h"

/* `sum` plus the bytes of `s`, an odd last one padded with zero. */
uint64_t cksum_add(uint64_t sum, struct span s);

/*
 * The pseudo header of IPv4 (RFC 9293 3.1) and IPv6 (RFC 8200 8.1): addresses, upper
 * protocol and its length in bytes.
 */
uint64_t cksum_pseudo(uint8_t version, const uint8_t *src, const uint8_t *dst, uint8_t proto,
                      uint32_t length);

/* Fold to 16 bits and complement: what goes into the header, big-endian. */
uint16_t cksum_fold(uint64_t sum);

/*
 * The checksum `check` after one 16-bit word of what it covers changed from `from` to
 * `to` (RFC 1624, equation 3).
 */
static inline uint16_t cksum_change(uint16_t check, uint16_t from, uint16_t to)
{
    uint32_t sum = (uint32_t)(uint16_t)~check + (uint16_t)~from + to;

    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

#endif
