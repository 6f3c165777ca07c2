/*
 * paths - the paths of a client's connection: one over each link, as links come and go.
 *
 * Model: a table of which link has which path, made to agree with the list of links whenever
 * either changes (paths_follow): an interface without a path gets a socket and a path, the path
 * of a link that is gone or has another address is abandoned. A path that came to nothing is
 * tried again after PATHS_RETRY. A backup link's path is one that the peer should not use
 * either while another works.
 *
 * An interface may have several ways to the server: by IPv4 and by IPv6, and to each of the
 * server's addresses. They share what the interface carries, and two paths over it would only
 * stand in each other's way, so it has one: to the address by which the connection was made if
 * it has that family, else to another of that family, else of the other family. One of which
 * nothing was heard for PATHS_DOUBT has the next way opened beside it, and what does not answer
 * ends when that does; it is not tried again for PATHS_AVOID while there are others. With `all`
 * in the link's terms each way has a path: for a server whose addresses are reached over
 * different networks.
 *
 * The server is told the rates that links are to have, too, and sends by their paths no more.
 *
 * Without multipath (the peer has none, or it is switched off) there is one path; it moves to
 * another link when its own is gone or gets another address, and back to one of higher priority.
 */
#ifndef APP_PATHS_H
#define APP_PATHS_H

#include "app/attempt.h"

#define PATHS_RETRY (5 * NS_PER_S)
#define PATHS_DOUBT NS_PER_S
#define PATHS_AVOID (60 * NS_PER_S)

/*
 * The connection of `a` has a tunnel: follow the links from now on.
 * Returns 0, or QUIC_CLOSED: no link is left for it.
 */
int paths_follow(struct attempt *a, const struct attempt_env *env, const struct links *links,
                 ns_t now);

/* A path of the connection is over. */
void paths_gone(struct attempt *a, const struct attempt_env *env, size_t path, ns_t now);

/* Time has passed: paths_follow is due (a->paths_at) where a path is silent and has another way. */
void paths_watch(struct attempt *a, const struct attempt_env *env, ns_t now);

/* Tell env->meter what went by metered links since the last call. */
void paths_count(struct attempt *a, const struct attempt_env *env, ns_t now);

/* `a` is over: counted, what it leaves for the next kept, the log told what it did, and freed. */
void paths_end(struct attempt *a, const struct attempt_env *env, ns_t now);

/* Whether probe after probe is unanswered on all paths, for `after`. */
bool paths_silent(const struct attempt *a, ns_t after, unsigned ptos, ns_t now);

/* When anything came last, on any path. */
ns_t paths_heard(const struct attempt *a, ns_t now);

/* Ask for a sign of life at once, on all paths. */
void paths_ping(const struct attempt *a);

#endif
