#include "tun/inetsum.h"

#include <string.h>

/*
 * 32 bytes at a time as four lanes of 64 bits, whose halves are added apart so that nothing
 * carries over: one register with AVX2, two without. The compiler makes both of one text.
 */
typedef uint64_t lanes __attribute__((vector_size(32)));

#define HALF 0xffffffffu

static inline uint64_t halves(uint64_t v)
{
    return (v & HALF) + (v >> 32);
}

/* Up to 31 bytes. */
static inline uint64_t rest(const uint8_t *p, size_t n)
{
    uint64_t sum = 0, v;
    uint32_t w = 0;
    uint16_t h = 0;

    for (; n >= 8; n -= 8, p += 8) {
        memcpy(&v, p, 8);
        sum += halves(v);
    }
    if (n & 4) {
        memcpy(&w, p, 4);
        p += 4;
    }
    sum += w;
    if (n & 2) {
        memcpy(&h, p, 2);
        p += 2;
    }
    sum += h;
    if (n & 1) {
        h = 0;
        memcpy(&h, p, 1);
        sum += h;
    }
    return sum;
}

static inline __attribute__((always_inline)) uint64_t sum_lanes(const uint8_t *p, size_t n)
{
    const lanes half = {HALF, HALF, HALF, HALF};
    lanes a = {0}, b = {0}, c = {0}, d = {0}, x, y;

    for (; n >= 64; n -= 64, p += 64) {
        memcpy(&x, p, 32);
        memcpy(&y, p + 32, 32);
        a += x & half;
        b += x >> 32;
        c += y & half;
        d += y >> 32;
    }
    if (n >= 32) {
        memcpy(&x, p, 32);
        a += x & half;
        b += x >> 32;
        p += 32;
        n -= 32;
    }
    a += b + c + d;
    return a[0] + a[1] + a[2] + a[3] + rest(p, n);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static uint64_t sum_avx2(const uint8_t *p, size_t n)
{
    return sum_lanes(p, n);
}
#endif

uint64_t inetsum_add(uint64_t sum, const void *p, size_t n)
{
    if (n < 32)
        return sum + rest(p, n);
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2"))
        return sum + halves(sum_avx2(p, n));
#endif
    return sum + halves(sum_lanes(p, n));
}
