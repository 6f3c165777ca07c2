#include "masque/cksum.h"

#include <string.h>

#include "masque/prefix.h"

uint64_t cksum_add(uint64_t sum, struct span s)
{
    const uint8_t *p = s.p;
    size_t n = s.n;

    /* four bytes at a time: two words each, 2^32 of them before 64 bits overflow */
    for (; n >= 4; n -= 4, p += 4)
        sum += ((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]);
    if (n >= 2) {
        sum += (uint32_t)p[0] << 8 | p[1];
        n -= 2;
        p += 2;
    }
    if (n > 0)
        sum += (uint32_t)p[0] << 8;
    return sum;
}

uint64_t cksum_pseudo(uint8_t version, const uint8_t *src, const uint8_t *dst, uint8_t proto,
                      uint32_t length)
{
    uint64_t sum = (uint64_t)length + proto;

    sum = cksum_add(sum, span_of(src, ip_size(version)));
    return cksum_add(sum, span_of(dst, ip_size(version)));
}

uint16_t cksum_fold(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}
