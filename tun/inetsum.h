/*
 * inetsum - the Internet checksum (RFC 1071) at the speed of memory.
 *
 * A sum is that of 16-bit words in the machine's own byte order, which the checksum allows:
 * what is folded is stored as it is. Spans that are added one after the other must each,
 * except the last, be of even length; their addresses may be odd.
 */
#ifndef TUN_INETSUM_H
#define TUN_INETSUM_H

#include <endian.h>
#include <string.h>

#include "quic/types.h"

/*
 * `sum` plus the `n` bytes at `p`, an odd last one padded with zero. A sum that begins at 0
 * takes 2^30 spans of up to 2^30 bytes.
 */
uint64_t inetsum_add(uint64_t sum, const void *p, size_t n);

/* The same for a few words: `n` is a multiple of 4, small, best known to the compiler. */
static inline uint64_t inetsum_few(uint64_t sum, const void *p, size_t n)
{
    for (size_t i = 0; i < n; i += 4) {
        uint32_t v;

        memcpy(&v, (const uint8_t *)p + i, 4);
        sum += v;
    }
    return sum;
}

/* `sum` plus one word, given in host order. */
static inline uint64_t inetsum_word(uint64_t sum, uint16_t host)
{
    return sum + htobe16(host);
}

/*
 * Fold to 16 bits, not complemented, in the byte order of the packet: to be stored by memcpy.
 * Over data with its right checksum in it, the result is 0xffff.
 */
static inline uint16_t inetsum_fold(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

#endif
