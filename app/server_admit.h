/*
 * server_admit - who comes in, and with which addresses.
 *
 * The half of the server that reads requests: keys, leases, the pool. `struct server` is
 * shared with server.c, which owns the loop and the sessions.
 */
#ifndef APP_SERVER_ADMIT_H
#define APP_SERVER_ADMIT_H

#include "app/auth.h"
#include "app/base.h"
#include "app/lease.h"
#include "app/pool.h"
#include "app/qlog_file.h"
#include "app/session.h"
#include "quic/cert.h"
#include "quic/endpoint.h"

#define LEASE_SECONDS      (30 * 86400) /* a lease token is good for so long */
#define LEASE_HOLD         (10 * 60)    /* unclaimed, an address is held back for so long */
#define ADMIT_SILENT       (30 * NS_PER_S) /* silent for so long, a session may lose its addresses */
#define ADMIT_FAILURES_MAX 3               /* refused requests before a connection is closed */
#define ADMIT_WITHIN       (20 * NS_PER_S) /* a connection without a tunnel may last */
#define ADMIT_SWEEP        NS_PER_S        /* least time between two looks at these */

struct client_entry {
    struct session session;
    struct client_entry *next_busy;
    bool busy;
    uint32_t number; /* index in server.clients */
    uint32_t slot;   /* in the pool, POOL_NONE while not let in */
    unsigned failures;
    ns_t admit_by; /* closed then if it has no tunnel */
    ns_t since;    /* the connection began */
    uint64_t serial;
    char user[AUTH_NAME_MAX];
};

struct server {
    const struct config *cfg;
    const struct log *log;
    struct rng rng;
    struct tls_ctx *tls;
    struct qlog_dir qlog;
    struct quic_endpoint *endpoint;
    struct base base;
    struct ring_udp *sock;
    struct socks socks; /* the same for the sessions */
    struct pool pool;
    struct auth *auth;
    struct lease_journal journal;
    struct ip_addr self[2]; /* the server inside the tunnel: IPv4, IPv6 */
    union udp_addr listening;

    struct client_entry **clients; /* by number; NULL where free */
    uint32_t max_clients, free_hint;
    struct client_entry *busy;
    struct numbered_cap cap;
    ns_t stop_at, sweep_at;
    uint64_t hash_seed, serial;

    uint8_t lease_secret[LEASE_SECRET], reset_key[32], ticket_key[32];
    char pin[TLS_PIN_TEXT];
    bool own_cert, own_key;
    char key_file[512]; /* where the client's key is to be found, "" if not in a file */
};

/* Users, keys, secrets, pool and leases, from configuration and state directory. Exit status. */
int server_secrets(struct server *s);
void server_secrets_free(struct server *s);

/* Say where the server listens and how to connect to it. */
void server_announce(const struct server *s);

/* Who it is, for the log. */
const char *server_user(const struct client_entry *e);

/* A request on one of the client's streams. */
void server_request(struct server *s, struct client_entry *e, const struct session_event *ev,
                    ns_t now);

/* ADDRESS_REQUEST: the addresses stay what they are (RFC 9484 4.7.2). */
void server_asked(struct client_entry *e, const struct session_event *ev);

/* The client is gone: its slot is held for its lease. Again is harmless. */
void server_release(struct server *s, struct client_entry *e);

#endif
