/*
 * paths - the paths of a client's connection: one over each link, as links come and go.
 *
 * Model: a table of which link has which path, made to agree with the list of links whenever
 * either changes (paths_follow): a link without a path gets a socket and a path, the path of a
 * link that is gone or has another address is abandoned. A path that came to nothing is tried
 * again after PATHS_RETRY. A backup link's path is one that the peer should not use either while
 * another works. An interface with both families of addresses has one path, of the family by
 * which the connection was made.
 *
 * Without multipath (the peer has none, or it is switched off) there is one path; it moves to
 * another link when its own is gone or gets another address, and back to one of higher priority.
 */
#ifndef APP_PATHS_H
#define APP_PATHS_H

#include "app/attempt.h"

#define PATHS_RETRY (5 * NS_PER_S)

/*
 * The connection of `a` has a tunnel: follow the links from now on.
 * Returns 0, or QUIC_CLOSED: no link is left for it.
 */
int paths_follow(struct attempt *a, const struct attempt_env *env, const struct links *links,
                 ns_t now);

/* A path of the connection is over. */
void paths_gone(struct attempt *a, const struct attempt_env *env, size_t path, ns_t now);

/* Whether probe after probe is unanswered on all paths, for `after`. */
bool paths_silent(const struct attempt *a, ns_t after, unsigned ptos, ns_t now);

/* When anything came last, on any path. */
ns_t paths_heard(const struct attempt *a, ns_t now);

/* Ask for a sign of life at once, on all paths. */
void paths_ping(const struct attempt *a);

#endif
