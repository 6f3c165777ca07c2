/*
 * status - what an instance says about itself, as JSON (docs/status.md is its description).
 *
 * One object: what holds for the instance, and an array of peers, each a session with its paths.
 * Written straight from the views of the layers below, when somebody asks; nothing is counted for
 * it meanwhile but, in `struct status_rates`, what the counters were at the last question. Rates
 * are those since then, over STATUS_RATE_LEAST at least.
 */
#ifndef APP_STATUS_H
#define APP_STATUS_H

#include "app/meter.h"
#include "app/session.h"
#include "quic/json.h"
#include "tun/addr.h"

#define STATUS_VERSION    1
#define STATUS_RATE_LEAST (200 * NS_PER_MS)

struct status_rate {
    uint64_t who; /* the peer's number */
    uint32_t path;
    bool seen; /* by the present question */
    ns_t at;
    uint64_t tx, rx; /* bytes at `at` */
    uint64_t tx_bps, rx_bps;
};

/* All zero to begin with. */
struct status_rates {
    struct status_rate *e;
    size_t n, cap, next; /* next: where the next path is expected */
};

void status_rates_free(struct status_rates *r);

struct status_self {
    const char *role, *state;
    const char *server; /* host:port that a client uses; NULL: none to tell */
    const char *tun;
    unsigned mtu_bytes;
    const struct tun_prefix *addr; /* two: IPv4, IPv6; family 0: none */
    ns_t started;
    const struct meter *meter; /* NULL, or without links: nothing is metered */
    const struct link_rules *rules;
};

struct status_peer {
    uint64_t number; /* stays with the session */
    const char *name;
    const char *interface; /* where the paths don't know theirs; may be "" */
    const struct session *session;
    ns_t since; /* the session began; 0: unknown */
};

/* Write the object's head; then each peer; then its end. */
void status_begin(struct json *j, struct status_rates *r, const struct status_self *self,
                  ns_t now);
void status_peer(struct json *j, struct status_rates *r, const struct status_peer *p, ns_t now);
void status_end(struct json *j, struct status_rates *r);

/* The answer to a line that asks for nothing there is. */
void status_unknown(struct json *j);

#endif
