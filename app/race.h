/*
 * race - in what order a client tries its links and the server's addresses.
 *
 * Pure. Each pair of a link and an address of its family is a way to the server; they are tried
 * staggered, and the first that is answered wins. So that neither a dead link nor a dead address
 * costs more than one step, the order goes by both: the first of each, then second with first,
 * first with second, and so on. Backup links come after all others.
 */
#ifndef APP_RACE_H
#define APP_RACE_H

#include "app/link_rules.h"
#include "app/udp.h"

#define RACE_STAGGER (100 * NS_PER_MS) /* from one attempt to the next */
#define RACE_ANSWERED                                                                          \
    NS_PER_S /* ... where the server has answered one, since its last packet */

struct race_way {
    uint32_t link_id;
    size_t remote; /* index of the address */
};

/*
 * All ways by `n` of `links` to `m` addresses, of which `first` has its turn, into `out`, at most
 * `max`. Returns how many.
 */
size_t race_plan(const struct link *links, size_t n, const union udp_addr *remote, size_t m,
                 size_t first, struct race_way *out, size_t max);

#endif
