/*
 * peer - the server as a client knows it: its name, its addresses, and what it gave us.
 *
 * Addresses come from one look-up at the start, and from more beside the loop while attempts
 * fail, since the name may have moved. They are taken in turn; one that has worked is tried
 * again first.
 *
 * Three things make the next connection better than a first one: the lease (the same inner
 * addresses again), the TLS session (no certificate), and QUIC's token (no proof of our address).
 * Lease and session are kept in the state directory; the token, which links the connections
 * that use it for whoever is on the way, is used once and only with the address it came from.
 */
#ifndef APP_PEER_H
#define APP_PEER_H

#include "app/config.h"
#include "app/lease.h"
#include "app/resolve.h"
#include "app/ticket.h"
#include "quic/quic.h"

struct peer;

/* The name was looked up again and has moved: the turn begins anew with the first address. */
typedef void peer_moved_fn(void *ctx, ns_t now);

struct peer {
    const struct config *cfg;
    const struct log *log;
    char host[256];
    uint16_t port;
    char authority[300]; /* host:port */
    char key[300];       /* the user's */

    union udp_addr addr[RESOLVE_MAX];
    size_t addrs, turn;
    struct resolve lookup;
    ns_t looked_up;
    peer_moved_fn *moved;
    void *moved_ctx;

    char lease[LEASE_TEXT + 1]; /* "": none */
    struct ticket ticket;
    uint8_t token[QUIC_TOKEN_MAX];
    size_t token_n;
    union udp_addr token_from;
};

/*
 * Read names and keys of `cfg` and what the state directory has. `peer_resolve` then looks the
 * name up. Both return 0, or an exit status (app/exit.h) after the log was told why.
 */
int peer_open(struct peer *p, const struct config *cfg, const struct log *log);
int peer_resolve(struct peer *p);
void peer_close(struct peer *p);

/* The address whose turn it is. */
const union udp_addr *peer_addr(const struct peer *p);

/* `a` has answered: it has its turn again next time. */
void peer_worked(struct peer *p, const union udp_addr *a);

/* Whether it is one of the server's. */
bool peer_has_addr(const struct peer *p, const union udp_addr *a);

/*
 * An attempt has failed: the next address has its turn, and the name is looked up beside the loop
 * of `ring`, not more often than every 10 s. `moved` is called if that shows other addresses.
 */
void peer_failed(struct peer *p, struct ring *ring, peer_moved_fn *moved, void *ctx, ns_t now);

/* Give a connection to `to` what the last one has left; its spans live as long as `p`. */
void peer_prepare(struct peer *p, const union udp_addr *to, struct quic_config *quic);

/* A connection to `from` ends: keep what it was given. */
void peer_keep(struct peer *p, const union udp_addr *from, struct quic_conn *conn, ns_t now);

/* The lease of an answer; anything but a lease is ignored. */
void peer_lease(struct peer *p, struct span lease);

/* For certificates and SNI. */
const char *peer_tls_name(const struct peer *p);

#endif
