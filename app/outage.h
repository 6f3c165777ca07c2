/*
 * outage - a session in which nothing comes back, kept until something does.
 *
 * Model: the client's connection is put aside here when the server falls silent on all of its
 * paths, or the last link has gone. It is pinged every OUTAGE_SOON for OUTAGE_LONG, then every
 * OUTAGE_LATE, and at once when anything about the network changes, and follows the links
 * (paths.h). It is over when the first packet comes, or with the connection: QUIC's idle
 * timeout (--grace), a stateless reset, the server's word.
 *
 * What the TUN brings meanwhile may be given to the session; its queue keeps the latest.
 */
#ifndef APP_OUTAGE_H
#define APP_OUTAGE_H

#include "app/paths.h"

#define OUTAGE_SOON (NS_PER_S / 2)
#define OUTAGE_LONG (120 * NS_PER_S)
#define OUTAGE_LATE (5 * NS_PER_S)

enum outage_state {
    OUTAGE_NONE, /* there is no session */
    OUTAGE_LASTS,
    OUTAGE_ENDED, /* the session answers: outage_take */
    OUTAGE_LOST   /* it is no more: outage_drop */
};

struct outage {
    struct attempt *a; /* NULL: none */
    ns_t since, ping_at;
};

/* `a` is the outage's, whose former session is dropped. */
void outage_begin(struct outage *o, const struct attempt_env *env, struct attempt *a, ns_t now);

/*
 * How it is, after packets were given to the session or time has passed; pings are due there.
 * Events of the session are taken here.
 */
enum outage_state outage_tick(struct outage *o, const struct attempt_env *env,
                              const struct links *links, ns_t now);

/* Links have changed, or something that may have ended the outage. */
void outage_nudge(struct outage *o, const struct attempt_env *env, const struct links *links,
                  ns_t now);

/* When outage_tick has something to do. */
ns_t outage_deadline(const struct outage *o, ns_t now);

/* Its session is the caller's, or ends here. */
struct attempt *outage_take(struct outage *o);
void outage_drop(struct outage *o, const struct attempt_env *env, ns_t now);

#endif
