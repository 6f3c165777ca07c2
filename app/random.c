#include "app/random.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* One worker, one buffer: bytes are used once and wiped as they are given out. */
static _Thread_local struct {
    uint8_t b[256];
    size_t left;
} pool;

static void draw(uint8_t *out, size_t n)
{
    while (n > 0) {
        ssize_t got = getrandom(out, n, 0);
        if (got < 0 && errno != EINTR)
            abort(); /* no kernel since 3.17 is without */
        if (got > 0) {
            out += got;
            n -= (size_t)got;
        }
    }
}

static void fill(void *ctx, void *out, size_t n)
{
    (void)ctx;
    if (n > sizeof(pool.b)) {
        draw(out, n);
        return;
    }
    if (pool.left < n) {
        draw(pool.b, sizeof(pool.b));
        pool.left = sizeof(pool.b);
    }
    pool.left -= n;
    memcpy(out, pool.b + pool.left, n);
    explicit_bzero(pool.b + pool.left, n);
}

struct rng random_system(void)
{
    return (struct rng){fill, NULL};
}
