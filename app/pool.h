/*
 * pool - the server's tunnel addresses.
 *
 * A slot is one IPv4 address and, with an IPv6 pool, one IPv6 address of the same
 * index: slot i holds base4 + i and base6 + i. Slot 0 is the network, slot 1 the
 * server itself; the last one of the IPv4 prefix is its broadcast address. A slot
 * is free, taken by a session, or held for the holder of its lease until an
 * instant of wall-clock time. When no slot is free, the one held the longest
 * unclaimed is given away: a new client is worth more than an old promise. When all are
 * taken, pool_silent tells whose owner is most likely gone.
 *
 * A slot remembers its last two leases (lease.h), by their expiry. While it is taken or held only
 * these claim it: who had it before somebody else did has no right to it any more.
 */
#ifndef APP_POOL_H
#define APP_POOL_H

#include "quic/types.h"

#define POOL_NONE UINT32_MAX

struct pool_slot {
    uint32_t owner;    /* session number, POOL_NONE when not taken */
    uint64_t held_s;   /* held until this Unix time, 0 when not */
    uint64_t lease[2]; /* expiry of those that claim it; 0, 0: none is known */
};

struct pool {
    uint8_t base4[4], base6[16];
    unsigned len4, len6;
    bool has6;
    uint32_t size; /* slots, the reserved ones included */
    uint32_t next; /* where the search for a free one starts */
    uint32_t taken;
    struct pool_slot *slot;
};

/*
 * `subnet` and `subnet6` are checked prefixes (config.c); subnet6 may be "none".
 * At most `max_slots` clients. 0, QUIC_NOMEM or QUIC_INVAL.
 */
int pool_init(struct pool *p, const char *subnet, const char *subnet6, uint32_t max_slots);
void pool_free(struct pool *p);

/* A slot for `owner`, or POOL_NONE when all are taken. `now_s` is Unix time. */
uint32_t pool_take(struct pool *p, uint32_t owner, uint64_t now_s);

/*
 * Whether the lease of slot `i` with this `expiry_s` (Unix time) claims it at `now_s`: nobody
 * has it and it is not held, or it is one of the slot's own, or those are not known, as of a slot
 * held since an earlier run. `i` must be pool_valid().
 */
bool pool_may_claim(const struct pool *p, uint32_t i, uint64_t expiry_s, uint64_t now_s);

/*
 * Slot `i` for `owner`, whoever has it now.
 * Returns the former owner, POOL_NONE if there was none. `i` must be pool_valid().
 */
uint32_t pool_claim(struct pool *p, uint32_t i, uint32_t owner);

/*
 * The leases of slot `i`'s owner, by their expiry: that which it came with (0: none), and the
 * new one, which it may not have got yet. `i` must be pool_valid().
 */
void pool_leases(struct pool *p, uint32_t i, uint64_t came_s, uint64_t given_s);

/* When `owner` was last heard of. */
typedef ns_t pool_heard_fn(void *ctx, uint32_t owner);

/*
 * Of the slots whose owners were last heard of before `before`, that of the one silent the
 * longest; POOL_NONE if there is none.
 */
uint32_t pool_silent(const struct pool *p, pool_heard_fn *heard, void *ctx, ns_t before);

/* Give slot `i` back if `owner` still has it; hold it until `held_s` for its lease. */
void pool_release(struct pool *p, uint32_t i, uint32_t owner, uint64_t held_s);

/* Hold slot `i` (a lease of an earlier run) unless it is taken. */
void pool_hold(struct pool *p, uint32_t i, uint64_t held_s);

/* Whether `i` is a slot for clients. */
bool pool_valid(const struct pool *p, uint32_t i);

void pool_addr4(const struct pool *p, uint32_t i, uint8_t out[4]);
void pool_addr6(const struct pool *p, uint32_t i, uint8_t out[16]);

/* Session whose address this is, POOL_NONE if nobody's. `version` is 4 or 6. */
uint32_t pool_owner(const struct pool *p, int version, const uint8_t *addr);

#endif
