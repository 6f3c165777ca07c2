/*
 * masque_util - what the tests of masque share: a repeatable random source, spans and
 * addresses from text, and packets built by hand with a naive checksum.
 */
#ifndef TEST_MASQUE_UTIL_H
#define TEST_MASQUE_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "masque/ippkt.h"
#include "masque/prefix.h"
#include "quic/types.h"
#include "test/rnd.h"

static inline struct span text_span(const char *s)
{
    return span_of(s, strlen(s));
}

static inline struct ip_addr addr(const char *s)
{
    struct ip_addr a = {0};

    if (ip_addr_parse(text_span(s), &a))
        fail_msg("not an address: %s", s);
    return a;
}

static inline struct ip_prefix prefix(const char *s)
{
    struct ip_prefix p = {{0}, 0};

    if (ip_prefix_parse(text_span(s), &p))
        fail_msg("not a prefix: %s", s);
    return p;
}

static inline struct ip_range range(const char *start, const char *end, uint8_t proto)
{
    return (struct ip_range){addr(start), addr(end), proto};
}

/* The one's complement sum, word by word with the carry taken at once (RFC 1071). */
static inline uint16_t naive_sum(uint16_t sum, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i += 2) {
        uint32_t s = (uint32_t)sum + ((uint32_t)p[i] << 8 | (i + 1 < n ? p[i + 1] : 0u));

        sum = (uint16_t)((s & 0xffff) + (s >> 16));
    }
    return sum;
}

static inline void set16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* The sum over an upper-layer message and its pseudo header; 0xffff when it is right. */
static inline uint16_t upper_sum(const uint8_t *pkt, size_t at, uint8_t proto, size_t n)
{
    uint8_t tail[4] = {0, proto, (uint8_t)(n >> 8), (uint8_t)n};
    bool v6 = pkt[0] >> 4 == 6;
    uint16_t sum = naive_sum(0, pkt + (v6 ? 8 : 12), v6 ? 32 : 8);

    sum = naive_sum(sum, tail, 4);
    return naive_sum(sum, pkt + at, n);
}

static inline void fix_v4(uint8_t *p)
{
    set16(p + 10, 0);
    set16(p + 10, (uint16_t)~naive_sum(0, p, (size_t)(p[0] & 15) * 4));
}

/* A packet around an upper-layer message of `n` bytes; returns its length. */
static inline size_t make_packet(uint8_t *out, const char *src, const char *dst, uint8_t proto,
                                 uint8_t hops, const void *upper, size_t n)
{
    struct ip_addr s = addr(src), d = addr(dst);
    size_t head = s.version == 4 ? 20 : 40;

    assert_int_equal(s.version, d.version);
    memset(out, 0, head);
    if (n > 0)
        memmove(out + head, upper, n);
    if (s.version == 4) {
        out[0] = 0x45;
        set16(out + 2, (unsigned)(head + n));
        out[6] = 0x40;
        out[8] = hops;
        out[9] = proto;
        memcpy(out + 12, s.b, 4);
        memcpy(out + 16, d.b, 4);
        fix_v4(out);
    } else {
        out[0] = 0x60;
        set16(out + 4, (unsigned)n);
        out[6] = proto;
        out[7] = hops;
        memcpy(out + 8, s.b, 16);
        memcpy(out + 24, d.b, 16);
    }
    return head + n;
}

/* A UDP packet of `len` bytes altogether. */
static inline size_t make_udp(uint8_t *out, const char *src, const char *dst, uint8_t hops,
                              size_t len)
{
    size_t head = strchr(src, ':') ? 40 : 20, n = len - head;
    uint8_t *u = calloc(1, n);

    assert_true(u && n >= 8);
    for (size_t i = 8; i < n; i++)
        u[i] = (uint8_t)i;
    set16(u, 4000);
    set16(u + 2, 53);
    set16(u + 4, (unsigned)n);
    make_packet(out, src, dst, IP_PROTO_UDP, hops, u, n);
    set16(out + head + 6, (uint16_t)~upper_sum(out, head, IP_PROTO_UDP, n));
    free(u);
    return len;
}

#endif
