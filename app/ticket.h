/*
 * ticket - the TLS session that a client keeps for its next start.
 *
 * One file for each server ("host:port") in the state directory, beside the lease: it spares
 * the next handshake the certificate. What is in it is quic_new_session's, which says itself
 * under which settings it counts; this module only keeps bytes. They are secret, and used for
 * one answered connection: whoever has used them forgets them.
 */
#ifndef APP_TICKET_H
#define APP_TICKET_H

#include "quic/tls.h"

struct ticket {
    uint8_t b[TLS_SESSION_MAX];
    size_t n; /* 0: there is none */
    bool offered;
};

/* Read the one of `server` from DIR; none where there is none. */
void ticket_load(struct ticket *t, const char *dir, const char *server);

/*
 * A connection that offered what `t` holds was answered, or gave `next` (empty: it gave none):
 * keep that in `t` and, if `dir` is not NULL, in DIR; without it, the used one is forgotten in
 * both. Returns 0 or -errno of the file.
 */
int ticket_next(struct ticket *t, const char *dir, const char *server, struct span next);

#endif
