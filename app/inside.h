/*
 * inside - the tunnel as this machine sees it: a client's addresses, MTU, routes and DNS.
 *
 * What a session says is put on the host once and outlives it: while the client reconnects,
 * routes and addresses stay, so that inner connections wait rather than break and nothing leaks
 * around the tunnel.
 */
#ifndef APP_INSIDE_H
#define APP_INSIDE_H

#include "app/config.h"
#include "app/host.h"
#include "app/session.h"

/* Whether the session knows all that inside_apply needs. */
bool inside_ready(const struct session *s);

/*
 * Make the host agree with the session, as the configuration allows; again after each change.
 * Returns 0, or an exit status after the log was told why.
 */
int inside_apply(struct host *h, const struct config *cfg, struct session *s,
                 const struct log *log);

/* Tell the log what stands in the way of the tunnel on this machine; `link` is what it uses. */
void inside_check(const struct host *h, const struct config *cfg, const char *link,
                  const struct log *log);

#endif
