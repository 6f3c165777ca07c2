/*
 * app_ring_util - what the tests of the event loop share: the modes each test runs in, and
 * bytes that tell their place.
 */
#ifndef TEST_APP_RING_UTIL_H
#define TEST_APP_RING_UTIL_H

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "app/ring.h"

struct mode {
    const char *name;
    enum ring_kind kind;
    bool no_multishot;
};

static const struct mode modes[] = {
    {"io_uring", RING_URING, false},
    {"io_uring, plain reads", RING_URING, true},
    {"epoll", RING_EPOLL, false},
};

/* Byte `i` of message `m`. */
static inline uint8_t pattern(uint64_t m, size_t i)
{
    uint64_t x = (m + 1) * 0x9e3779b97f4a7c15u + i * 0xbf58476d1ce4e5b9u;

    return (uint8_t)(x >> 29 ^ x >> 53);
}

static inline void pattern_fill(uint8_t *p, size_t n, uint64_t m)
{
    for (size_t i = 0; i < n; i++)
        p[i] = pattern(m, i);
}

/* Do p[0..n) equal bytes `from`.. of message `m`? */
static inline bool pattern_is(const uint8_t *p, size_t n, uint64_t m, size_t from)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != pattern(m, from + i))
            return false;
    }
    return true;
}

/* Open descriptors of this process, but for the one that counts. */
static inline unsigned fds_open(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

#endif
