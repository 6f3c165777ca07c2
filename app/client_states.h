/*
 * client_states - how a client joins a server, and what it does when it has lost it.
 *
 * The half of the client that decides: rounds of attempts, the request for a tunnel, the
 * session that is put aside in an outage, when to try again and when to give up. `struct
 * client` is shared with client.c, which owns the loop, the links and the meter.
 */
#ifndef APP_CLIENT_STATES_H
#define APP_CLIENT_STATES_H

#include "app/base.h"
#include "app/meter.h"
#include "app/outage.h"
#include "app/qlog_file.h"
#include "app/round.h"

enum client_state { WAITING, CONNECTING, UP };

struct client {
    const struct config *cfg;
    const struct log *log;
    struct rng rng;
    struct tls_ctx *tls;
    struct qlog_dir qlog;
    struct base base;
    struct links links;
    struct link_rules rules;
    struct meter meter;
    ns_t meter_at; /* it is looked at; NS_NEVER: no link is metered */

    struct peer peer;
    struct attempt_env env;

    enum client_state state;
    struct round round;

    struct outage outage;
    ns_t request_at; /* of a round's winner that waits for its end; NS_NEVER: none does */

    unsigned tries; /* rounds since the tunnel was up for UP_STABLE */
    ns_t retry_at, up_since;
    bool ever_up, stopping;
    int status; /* of the last failure */
};

/* The server's addresses are known, or others now: tell the links. */
void client_remotes(struct client *c, ns_t now);

/* Begin a round. */
void client_connect(struct client *c, ns_t now);

/* Take the events of an attempt that runs; it may end. */
void client_events(struct client *c, struct attempt *a, ns_t now);

/* The tunnel's connection follows the links; without one it waits, but where it may not go on. */
void client_follow(struct client *c, ns_t now);

/* How the session put aside is, after packets for it or time have come. */
void client_outage(struct client *c, ns_t now);

/* Nothing comes back. The session is kept, unless the user had rather see the end. */
void client_fall_asleep(struct client *c, struct attempt *a, ns_t now);

/* The round's winner has waited long enough for the end of an outage: a new session it is. */
void client_request(struct client *c, ns_t now);

/* The connection stands, but it is of no use. */
void client_give_up(struct client *c, struct attempt *a, struct failure why, ns_t now);

/* One attempt has come to nothing, the only one if it had won. */
void client_failed(struct client *c, struct attempt *a, struct failure why, ns_t now);

/* The connection or the round is over; decide whether and when to try again. */
void client_lost(struct client *c, struct failure why, ns_t now);

/* Leave the loop with an exit status. */
void client_stop(struct client *c, int status, ns_t now);

#endif
