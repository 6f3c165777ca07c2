/*
 * link_rules - which of the machine's interfaces are links to the server, and in what order.
 *
 * Pure: what the kernel told (link_seen) and what the user wants (link_rules) in, links out. An
 * interface may give two links, one for each family of addresses. With names given (--path) the
 * interfaces that match one of them are links if a route of theirs leads to the server. Without,
 * those with a default route are, and the one that the routing table itself would take; what
 * belongs to containers and virtual machines only if there is nothing else.
 *
 * Patterns are those of a shell: * ? [...].
 */
#ifndef APP_LINK_RULES_H
#define APP_LINK_RULES_H

#include <net/if.h>

#include "quic/types.h"
#include "tun/addr.h"

#define LINKS_MAX 16

/* Which links are to be used: the later ones where the earlier don't suffice, or not at all. */
enum link_priority { LINK_PRIMARY, LINK_SECONDARY, LINK_BACKUP, LINK_NEVER };

#define LINK_RATE_MIN 64000u /* bits per second: keeps a connection alive */
#define LINK_RATE_MAX (1000 * 1000000000ull)

/* How a link is to be used. */
struct link_terms {
    enum link_priority priority;
    uint64_t rate_bps;    /* no more by it, each way, bits per second; 0: no bound */
    uint64_t month_bytes; /* no more by it in a month, both ways (app/meter.h); 0: no bound */
    bool all;             /* a path for each way to the server, not one (app/paths.h) */
};

/* How much an interface has carried this month: see meter_used. */
typedef uint64_t link_used_fn(void *ctx, const char *name);

/* Lists of the user, borrowed. */
struct link_rules {
    char *const *paths; /* patterns of --path */
    size_t n_paths;
    char *const *no_paths; /* patterns of --no-path */
    size_t n_no_paths;
    char *const *links; /* PATTERN=TERMS of --link, the first that matches counts */
    size_t n_links;
    link_used_fn *used; /* NULL: nobody counts */
    void *used_ctx;
};

/* One interface that is up and has its carrier, for one family of addresses. */
struct link_seen {
    int ifindex;
    char name[IFNAMSIZ];
    sa_family_t family;
    struct tun_addr local; /* that the kernel sends from */
    unsigned mtu_bytes;
    bool loopback;
    bool reaches;       /* a route of this interface leads to the server */
    bool default_route; /* ... a default route of `metric`, the best it has */
    uint32_t metric;
    bool answer; /* the routing table's own choice */
};

struct link {
    uint32_t id; /* of this appearance of it, never used again; 0 from link_rules_decide */
    int ifindex;
    char name[IFNAMSIZ];
    sa_family_t family;
    struct tun_addr local;
    unsigned mtu_bytes;
    enum link_priority priority;
    uint64_t rate_bps; /* by it at most, each way, bits per second; 0: no bound */
    uint64_t month_bytes;
    bool all;
    ns_t since; /* when it appeared, or changed last */
};

/*
 * The links among `n` of `seen` into `out`, at most `max`, best first: by priority, by the place
 * of their pattern in --path, the routing table's choice, then by metric. Returns how many.
 */
size_t link_rules_decide(const struct link_rules *rules, const struct link_seen *seen, size_t n,
                         struct link *out, size_t max);

/* The terms for an interface called `name`. */
struct link_terms link_rules_terms(const struct link_rules *rules, const char *name);

/* Whether an interface has carried what it may in a month. */
bool link_rules_spent(const struct link_rules *rules, const char *name);

/* Whether some link has a month's bound. */
bool link_rules_metered(const struct link_rules *rules);

/*
 * Whether `text` is PATTERN=TERMS; `*terms` then is what it says. TERMS, with colons between
 * them, are a priority ("backup"), a rate ("20mbit", "1gbit", "500kbit"), how much in a month
 * ("10gb", "500mb", "1tb": powers of 1000), "metered", which is "backup", as is a month's bound
 * without a priority; and "all".
 */
bool link_rule_parse(const char *text, char pattern[64], struct link_terms *terms);

#endif
