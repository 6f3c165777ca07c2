/*
 * links - the local interfaces that lead to the server, as they come and go.
 *
 * Model: a list of links (app/link_rules.h), made anew by queries to the kernel whenever
 * something about the machine's network changed (tun/netmon.h), and compared with the former:
 * what differs is an event, to be pulled. A link keeps its id while its interface stays and keeps
 * leading to the server. Changes that come together are looked at together, LINKS_SETTLE after
 * the first; a link that went down at once.
 *
 * The routes into the TUN don't mislead it: each interface is asked about by itself, as a socket
 * bound to it would, and where the routing table's own answer is the TUN, the former one counts.
 *
 * Invariant: at most one link of an interface and family; ids grow. Limits: LINKS_MAX links of
 * the LINKS_LOOK first interfaces, LINKS_REMOTES addresses of the server.
 */
#ifndef APP_LINKS_H
#define APP_LINKS_H

#include "app/link_rules.h"
#include "tun/netcfg.h"
#include "tun/netmon.h"

#define LINKS_SETTLE  (50 * NS_PER_MS)
#define LINKS_LOOK    128
#define LINKS_REMOTES 16

enum link_event_type { LINK_ADDED, LINK_CHANGED, LINK_REMOVED };

struct link_event {
    enum link_event_type type;
    struct link link; /* as it is now; LINK_REMOVED: as it was told last */
};

struct links {
    struct netcfg *nc;
    struct netmon *mon;
    int tun_ifindex;
    struct link_rules rules;
    struct tun_addr remote[LINKS_REMOTES];
    size_t remotes;
    int answer[2]; /* the routing table's former choice, not the TUN: IPv4, IPv6; 0: none */

    struct link now[LINKS_MAX], told[LINKS_MAX];
    size_t n, n_told;
    uint32_t last_id;
    ns_t look_at; /* NS_NEVER: nothing changed */
};

/*
 * Start to watch the present network namespace; `nc` and the lists of `rules` are borrowed.
 * The list is empty until links_tick. Always succeeds: where changes can't be noticed, `why`
 * says so (else it is ""), and the list is made anew only by links_look.
 */
void links_init(struct links *l, struct netcfg *nc, int tun_ifindex,
                const struct link_rules *rules, char *why, size_t why_size);
void links_free(struct links *l);

/* The addresses of the server; the list is to be made anew. */
void links_remotes(struct links *l, const struct tun_addr *remote, size_t n, ns_t now);

/* Descriptor to be watched for reading, -1 if there is none. */
int links_fd(const struct links *l);

/*
 * `links_fd` is readable. `*changed` is set if anything happened to the machine's network.
 * Returns 0, or -errno: changes are not noticed any more, and links_fd is not to be watched.
 */
int links_read(struct links *l, ns_t now, bool *changed);

/* Something changed: make the list anew at the next links_tick. */
void links_look(struct links *l, ns_t now);

/* When links_tick has something to do; and do it. */
ns_t links_deadline(const struct links *l);
void links_tick(struct links *l, ns_t now);

/* The next event, removals first; false if there is none. Call until then after links_tick. */
bool links_next(struct links *l, struct link_event *ev);

/* The present links, best first. */
const struct link *links_list(const struct links *l, size_t *n);
const struct link *links_by_id(const struct links *l, uint32_t id);

#endif
