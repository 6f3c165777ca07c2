/*
 * attempt - one connection of a client: a session, its sockets, and the way it was begun on.
 *
 * Attempts race (app/race.h); the one that wins is the tunnel's connection from then on, and its
 * further links get sockets here as well. Each socket is bound to its link's interface and has
 * its attempt as `ring_udp_user`.
 */
#ifndef APP_ATTEMPT_H
#define APP_ATTEMPT_H

#include "app/config.h"
#include "app/links.h"
#include "app/meter.h"
#include "app/peer.h"
#include "app/session.h"
#include "app/socks.h"

/* What attempts share; all borrowed. */
struct attempt_env {
    const struct config *cfg;
    const struct log *log;
    const struct rng *rng;
    struct tls_ctx *tls;
    const struct qlog_sink *qlog; /* NULL: none */
    struct ring *ring;
    struct device *device;
    struct peer *peer;
    struct meter *meter;
};

/* Which path lies over which link, and to where; see app/paths.h. */
struct attempt_path {
    struct link link;
    union udp_addr remote;
    size_t path;
    ns_t since;       /* it was opened */
    uint64_t counted; /* bytes told to the meter */
};

/* A way that came to nothing. */
struct attempt_avoid {
    int ifindex;
    union udp_addr remote;
    ns_t until; /* it is not taken while there are others; 0: free */
};
#define ATTEMPT_AVOID 8

struct attempt {
    struct session session;
    struct socks socks;
    struct link link;      /* on which it was begun, or goes on */
    union udp_addr remote; /* the same */
    ns_t open_by;          /* a tunnel should be there */

    struct attempt_path path[LINKS_MAX]; /* with multipath */
    size_t paths;
    uint64_t counted; /* without multipath: as in attempt_path */
    ns_t paths_at; /* look at the paths again */
    struct attempt_avoid avoid[ATTEMPT_AVOID];
    size_t avoided;
};

/*
 * Begin a connection to `remote` by `link`; `*out` is the caller's, to be freed by attempt_del.
 * Returns 0, or an exit status (app/exit.h) after the log was told why; `*hopeless` then says
 * that another time would be no better.
 */
int attempt_new(struct attempt **out, const struct attempt_env *env, const struct link *link,
                const union udp_addr *remote, ns_t now, bool *hopeless);

/* Send what is due (the CONNECTION_CLOSE of a closed one), free it and its sockets. */
void attempt_del(struct attempt *a, ns_t now);

/*
 * Open a socket on `link`, for routes that attempt_route gives. Returns 0 (also if there is one);
 * QUIC_NOMEM; or an exit status after the log was told why.
 */
int attempt_open(struct attempt *a, const struct attempt_env *env, const struct link *link);

/* Whether there is one. */
bool attempt_has(const struct attempt *a, const struct link *link);

/* Close the socket of an interface; what it has not sent yet is tried once. */
void attempt_close(struct attempt *a, int ifindex, sa_family_t family);

/* The route by `link` to `remote`, with the address of its socket; QUIC_INVAL if the link has no
 * socket here, or is of the other family. */
int attempt_route(const struct attempt *a, const struct link *link,
                  const union udp_addr *remote, struct quic_route *out);

/*
 * What a link is able to do, its MTU and the rate it is to have, goes for `path`. As
 * quic_path_cap.
 */
int attempt_fit(struct attempt *a, size_t path, const struct link *link, ns_t now);

/* Go on to `a->remote` with `path` by `link` instead of `a->link`, whose socket is closed: see
 * quic_path_move, whose codes it returns, and those of attempt_open. */
int attempt_move(struct attempt *a, const struct attempt_env *env, size_t path,
                 const struct link *link, ns_t now);

#endif
