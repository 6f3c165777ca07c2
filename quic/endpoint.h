/*
 * endpoint - datagrams to connections, by connection ID.
 *
 * The endpoint of one set of sockets: a table from every connection ID in use to its
 * connection, the acceptance of new ones (server), the stateless answers of RFC 9000
 * (Version Negotiation 6, Retry 8.1.2, stateless reset 10.3), and a heap of deadlines. It does
 * no I/O: an answer is written into a train of the caller's.
 *
 * The caller owns the connections. It tells the endpoint when it has touched one:
 *
 *     route(ep, rx) -> conn, quic_recv(conn, rx), events, quic_send ...,
 *     quic_endpoint_update(ep, conn)      after each batch per connection touched
 *     quic_endpoint_remove(ep, conn) and quic_del(conn)      once quic_is_drained
 *
 * Address validation: under load, that is from a number of half-open connections on, a client
 * without a token that holds gets a Retry instead of a connection, before anything of its
 * packet is decrypted. Whoever comes back with the Retry's token has proven its address, so
 * floods from forged ones fill the half-open connections only so far. Each connection made
 * here gives its client one NEW_TOKEN, which saves the next one the Retry. Neither is used up:
 * see quic/token.h. A Retry token that doesn't hold is answered by INVALID_TOKEN (8.1.2).
 *
 * Limits: connections, half-open connections (made, handshake not done), stateless answers
 * and Retries per second. What exceeds them is dropped and counted.
 *
 * Invariant: a connection ID is in the table exactly while its connection lists it as
 * current, as of that connection's last update.
 */
#ifndef QUIC_ENDPOINT_H
#define QUIC_ENDPOINT_H

#include "quic/quic.h"

struct quic_endpoint;

enum quic_retry {
    QUIC_RETRY_LOAD,   /* from retry_half_open half-open connections on */
    QUIC_RETRY_ALWAYS, /* whoever comes without a token that holds */
    QUIC_RETRY_NEVER
};

struct quic_endpoint_config {
    struct quic_config conn; /* for connections it accepts; cid_len and reset_key for all */
    bool accept;             /* make connections of valid Initials (a server) */
    size_t max_conns;        /* 0: 4096 */
    size_t max_half_open;    /* 0: 256 */
    unsigned answers_per_s;  /* stateless answers; 0: 200 */
    enum quic_retry retry;
    size_t retry_half_open; /* 0: a quarter of max_half_open */
    unsigned retries_per_s; /* 0: 20000, as a flood must not use up what others need */
    /*
     * Unix time minus the `now` of the calls, in ns: with the same conn.reset_key, tokens for
     * future connections then survive a restart. 0: they don't.
     */
    ns_t unix_offset;
};

/* Returns null if an allocation fails or the configuration is absurd. */
struct quic_endpoint *quic_endpoint_new(const struct quic_endpoint_config *cfg);

/* Free the endpoint. Connections still attached are detached, not freed. */
void quic_endpoint_del(struct quic_endpoint *ep);

enum quic_route_result {
    QUIC_ROUTE_CONN,   /* `*conn` is the one: give it the datagram by quic_recv */
    QUIC_ROUTE_NEW,    /* `*conn` was just made: the caller owns it, then as above */
    QUIC_ROUTE_ANSWER, /* `answer` holds one datagram to send; nothing else to do */
    QUIC_ROUTE_DROP    /* nothing to do */
};

/*
 * Find or make the connection of a datagram. `answer` must be empty, with `cap` of 1200
 * or more. An answer is always shorter than the datagram.
 */
enum quic_route_result quic_endpoint_route(struct quic_endpoint *ep, const struct quic_rx *rx,
                                           ns_t now, struct quic_conn **conn,
                                           struct quic_train *answer);

/*
 * Attach a connection that the endpoint did not make (a client's).
 * Returns 0, QUIC_NOMEM, or QUIC_BLOCKED at max_conns.
 */
int quic_endpoint_add(struct quic_endpoint *ep, struct quic_conn *conn);

/*
 * Bring the table and the heap up to date with a connection.
 * Returns 0, or QUIC_NOMEM (the connection keeps working with the IDs known so far).
 */
int quic_endpoint_update(struct quic_endpoint *ep, struct quic_conn *conn);

/* Detach: its connection IDs are forgotten. Call before quic_del. */
void quic_endpoint_remove(struct quic_endpoint *ep, struct quic_conn *conn);

/* The earliest deadline of all connections; NS_NEVER if none. */
ns_t quic_endpoint_deadline(const struct quic_endpoint *ep);

/*
 * A connection whose deadline is not later than `now`, or null. Call quic_tick and
 * quic_send on it, then quic_endpoint_update, then ask again.
 */
struct quic_conn *quic_endpoint_next_due(struct quic_endpoint *ep, ns_t now);

/* Connections by index, 0 <= i < count, in no particular order; removing reorders. */
size_t quic_endpoint_count(const struct quic_endpoint *ep);
struct quic_conn *quic_endpoint_conn(const struct quic_endpoint *ep, size_t i);

struct quic_endpoint_stats {
    uint64_t accepted;
    uint64_t drop_parse;   /* not QUIC, or too short to answer */
    uint64_t drop_full;    /* max_conns or max_half_open reached */
    uint64_t drop_rate;    /* stateless answers, and looks for resets, beyond the rate */
    uint64_t drop_unknown; /* long header of no connection */
    uint64_t version_negotiations, resets;
    uint64_t retries;                /* Retry packets */
    uint64_t drop_retry;             /* Retries beyond the rate */
    uint64_t invalid_tokens;         /* Retry tokens that don't hold, answered or not */
    uint64_t by_retry, by_new_token; /* accepted with a token that holds, of each kind */
    size_t half_open;
};

void quic_endpoint_stats(const struct quic_endpoint *ep, struct quic_endpoint_stats *out);

#endif
