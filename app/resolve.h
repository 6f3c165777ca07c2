/*
 * resolve - a host name to addresses, at once or beside the loop.
 *
 * Model: the system's resolver blocks for as long as its servers are silent, and it has no
 * other interface that every machine has. So a look-up beside the loop is a child process
 * that asks it and writes the answer into a pipe; the ring tells when it has ended. One
 * look-up at a time for each `struct resolve`; the child ends with its parent, and after
 * RESOLVE_WITHIN at the latest.
 */
#ifndef APP_RESOLVE_H
#define APP_RESOLVE_H

#include "app/ring.h"
#include "app/udp.h"

#define RESOLVE_MAX    16 /* addresses of one name; more are left out */
#define RESOLVE_WITHIN 20 /* seconds */

/* The addresses of a look-up that found some: 1..RESOLVE_MAX, without duplicates. */
typedef void resolve_fn(void *ctx, const union udp_addr *addr, size_t n, ns_t now);

/* All zero: nothing is under way. */
struct resolve {
    struct ring *ring;
    pid_t pid; /* 0: nothing is under way */
    int fd;
    resolve_fn *fn;
    void *ctx;
};

/*
 * Look `host` up, with `port` in the answers; a numeric address is its own answer.
 * Returns their number; or 0, with the resolver's reason in `*why` (a static text).
 */
size_t resolve_now(const char *host, uint16_t port, union udp_addr out[RESOLVE_MAX],
                   const char **why);

/*
 * The same beside the loop of `ring`, which calls `fn` unless nothing was found. While one
 * is under way, another is not begun.
 *
 * Returns 0, or -errno where there can be no child (-EAGAIN, -ENOMEM, -EMFILE, -ENOSYS).
 */
int resolve_start(struct resolve *r, struct ring *ring, const char *host, uint16_t port,
                  resolve_fn *fn, void *ctx);

/* End what is under way; `fn` is not called any more. Before ring_free. */
void resolve_stop(struct resolve *r);

#endif
