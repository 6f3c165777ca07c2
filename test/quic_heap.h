/*
 * heap - the allocator of a test: it counts blocks and bytes, and fails when it is told to.
 *
 * To be linked with --wrap for malloc and its kin (LINK_... in the Makefile), and begun with
 * heap_begin. libcrypto and libssl are counted apart, and never fail.
 */
#ifndef TEST_QUIC_HEAP_H
#define TEST_QUIC_HEAP_H

#include <malloc.h>
#include <openssl/crypto.h>

#include "quic/types.h"

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t m);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t m);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);

/* Bytes as the allocator rounds them, and the most there were since heap_mark. */
static struct heap {
    size_t now, most;
    int64_t blocks;
} ours, ssl;

static struct {
    bool armed;
    uint64_t n;       /* allocations of ours since armed */
    uint64_t fail_at; /* which one fails; UINT64_MAX: none */
    bool failed;
} sweep = {.fail_at = UINT64_MAX};

static inline bool heap_fails(void)
{
    if (!sweep.armed || sweep.n++ != sweep.fail_at)
        return false;
    sweep.failed = true;
    return true;
}

static inline void *heap_got(struct heap *h, void *p)
{
    h->now += p ? malloc_usable_size(p) : 0;
    h->blocks += p != NULL;
    if (h->now > h->most)
        h->most = h->now;
    return p;
}

static inline void heap_gone(struct heap *h, void *p)
{
    h->now -= p ? malloc_usable_size(p) : 0;
    h->blocks -= p != NULL;
}

static inline void *heap_realloc(struct heap *h, void *old, size_t n)
{
    size_t was = old ? malloc_usable_size(old) : 0;
    void *p = __real_realloc(old, n);

    if (!p)
        return NULL;
    h->now -= was;
    h->blocks -= old != NULL;
    return heap_got(h, p);
}

void *__wrap_malloc(size_t n)
{
    return heap_fails() ? NULL : heap_got(&ours, __real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t m)
{
    return heap_fails() ? NULL : heap_got(&ours, __real_calloc(n, m));
}

void *__wrap_realloc(void *old, size_t n)
{
    return heap_fails() ? NULL : heap_realloc(&ours, old, n);
}

void __wrap_free(void *p)
{
    heap_gone(&ours, p);
    __real_free(p);
}

static void *ssl_malloc(size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return heap_got(&ssl, __real_malloc(n));
}

static void *ssl_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file, (void)line;
    return heap_realloc(&ssl, p, n);
}

static void ssl_free(void *p, const char *file, int line)
{
    (void)file, (void)line;
    heap_gone(&ssl, p);
    __real_free(p);
}

/* Before anything of OpenSSL is called. Returns whether it could be done. */
static inline bool heap_begin(void)
{
    return CRYPTO_set_mem_functions(ssl_malloc, ssl_realloc, ssl_free);
}

/* Start to look for the most. */
static inline void heap_mark(void)
{
    ours.most = ours.now;
    ssl.most = ssl.now;
}

#endif
