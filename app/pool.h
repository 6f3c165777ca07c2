/*
 * pool - the server's tunnel addresses.
 *
 * A slot is one IPv4 address and, with an IPv6 pool, one IPv6 address of the same
 * index: slot i holds base4 + i and base6 + i. Slot 0 is the network, slot 1 the
 * server itself; the last one of the IPv4 prefix is its broadcast address. A slot
 * is free, taken by a session, or held for the holder of its lease until an
 * instant of wall-clock time. When no slot is free, the one held the longest
 * unclaimed is given away: a new client is worth more than an old promise.
 */
#ifndef APP_POOL_H
#define APP_POOL_H

#include "quic/types.h"

#define POOL_NONE UINT32_MAX

struct pool_slot {
    uint32_t owner;  /* session number, POOL_NONE when not taken */
    uint64_t held_s; /* held until this Unix time, 0 when not */
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
 * Slot `i` for `owner`, whoever has it now: the caller has checked the lease.
 * Returns the former owner, POOL_NONE if there was none. `i` must be pool_valid().
 */
uint32_t pool_claim(struct pool *p, uint32_t i, uint32_t owner);

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
