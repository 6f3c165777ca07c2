/*
 * Theory of operation
 *
 * The client is in one of three states:
 *
 *   WAITING     no connection; the next round is due at `retry_at`
 *   CONNECTING  attempts race, or one has won and the tunnel is not open
 *   UP          the server has accepted; addresses and routes are on the TUN
 *
 * When the server falls silent on every path, or the last link goes, the session is put aside
 * (outage.h), while rounds try for a new connection in the usual way. Whichever answers first
 * goes on; a new one waits ANSWER_FIRST for the old.
 *
 * A round (round.h) tries all ways to the server, by each link and to each of its addresses. The
 * attempt that wins it asks for the tunnel, and is its connection from then on.
 *
 * The machine's side (inside.h) outlives sessions. The lease token of the last answer gets
 * the same addresses again. QUIC's own token, from the last connection to the same address
 * and port, saves the next one the proof of our address; it is used once, since it would let
 * those on the way link the connections that use it. The same goes for the TLS session, which is
 * kept for the next start too (ticket.h).
 *
 * The server is reached by sockets bound to one interface each, so that the routes into the
 * TUN, which are more specific than the machine's default route, don't catch the
 * tunnel's own packets. Links are followed (links.h), and the tunnel's connection has a path over
 * each (paths.h), or moves from one to another.
 *
 * A failure before the first success ends the program after TRIES_FIRST rounds, at
 * once where trying again can't help (wrong key, wrong certificate, no such server).
 * Later, everything is tried again: at once, then with back-off and jitter, and at once
 * when the network changes.
 */
#include "app/client_states.h"

#include "app/address.h"
#include "app/exit.h"
#include "app/inside.h"
#include "quic/errors.h"

#include <string.h>

#define TRIES_FIRST  3 /* rounds before giving up */
#define RETRY_MIN    (500 * NS_PER_MS)
#define RETRY_MAX    (30 * NS_PER_S)
#define UP_STABLE    (20 * NS_PER_S) /* up for so long: the next retry is immediate */
#define ANSWER_FIRST (700 * NS_PER_MS)

/* ---- ending and trying again ----------------------------------------------------------- */

void client_stop(struct client *c, int status, ns_t now)
{
    c->stopping = true;
    c->status = status;
    outage_drop(&c->outage, &c->env, now);
    round_end(&c->round, now);
    ring_stop(c->base.ring, status);
}

/* 0 at first, then doubling from RETRY_MIN to RETRY_MAX, each drawn from its upper half. */
static ns_t backoff(struct client *c)
{
    ns_t d = RETRY_MIN;
    uint64_t r;

    if (c->tries == 0)
        return 0;
    for (unsigned i = 1; i < c->tries && d < RETRY_MAX; i++)
        d *= 2;
    if (d > RETRY_MAX)
        d = RETRY_MAX;
    rng_fill(&c->rng, &r, sizeof(r));
    return d / 2 + r % (d / 2);
}

static void on_moved(void *ctx, ns_t now);

void client_lost(struct client *c, struct failure why, ns_t now)
{
    ns_t wait;

    if (c->stopping)
        return;
    if (c->state == UP && now - c->up_since >= UP_STABLE)
        c->tries = 0;
    if (c->state != UP) /* an address that has worked is tried again first */
        peer_failed(&c->peer, c->base.ring, on_moved, c, now);
    c->state = WAITING;
    c->status = why.status;
    c->request_at = NS_NEVER;
    round_end(&c->round, now);
    if (!c->cfg->reconnect || (!c->ever_up && (why.hopeless || c->tries >= TRIES_FIRST))) {
        client_stop(c, why.status, now);
        return;
    }
    wait = backoff(c);
    c->retry_at = now + wait;
    if (wait)
        LOG_AT(c->log, LOG_INFO, "trying again in %.1f s", (double)wait / 1e9);
    else
        LOG_AT(c->log, LOG_INFO, "trying again");
}

void client_failed(struct client *c, struct attempt *a, struct failure why, ns_t now)
{
    if (!c->stopping && !round_failed(&c->round, a, why, now))
        client_lost(c, c->round.why, now);
}

void client_remotes(struct client *c, ns_t now)
{
    struct tun_addr a[RESOLVE_MAX];

    for (size_t i = 0; i < c->peer.addrs; i++)
        a[i] = address_tun_of_udp(&c->peer.addr[i]);
    links_remotes(&c->links, a, c->peer.addrs, now);
}

/* The server's name leads elsewhere now. */
static void on_moved(void *ctx, ns_t now)
{
    struct client *c = ctx;
    bool known = false;

    if (c->stopping)
        return;
    client_remotes(c, now);
    for (size_t i = 0; i < c->round.n_run; i++)
        known |= peer_has_addr(&c->peer, &c->round.run[i]->remote);
    if (c->state == CONNECTING && !known) {
        client_lost(c, (struct failure){EXIT_NO_ANSWER, false}, now);
        c->peer.turn = 0;
    }
    if (c->state == WAITING)
        c->retry_at = now;
}

/* ---- connecting ------------------------------------------------------------------------ */

void client_connect(struct client *c, ns_t now)
{
    c->tries++;
    c->state = CONNECTING;
    c->retry_at = NS_NEVER;
    links_look(&c->links, now);
    links_tick(&c->links, now);
    if (!round_begin(&c->round, now))
        client_lost(c, c->round.why, now);
}

/* ---- the tunnel ------------------------------------------------------------------------ */

static void request(struct client *c, struct attempt *a, ns_t now)
{
    struct h3_field extra[2];
    struct masque_ask ask = {.authority = span_of(c->peer.authority, strlen(c->peer.authority)),
                             .bearer = span_of(c->peer.key, strlen(c->peer.key)),
                             .extra = extra};
    struct masque_head head;

    if (c->peer.lease[0])
        extra[ask.nextra++] = h3_field_secret(h3_field_str(LEASE_FIELD, c->peer.lease));
    extra[ask.nextra++] = h3_field_str(BULK_FIELD, BULK_VERSION);
    if (masque_request_build(&ask, &head) || session_request(&a->session, head.field, head.n))
        client_failed(c, a, (struct failure){EXIT_PROTOCOL, true}, now);
}

void client_give_up(struct client *c, struct attempt *a, struct failure why, ns_t now)
{
    quic_close(a->session.quic, H3_NO_ERROR, "", now);
    client_failed(c, a, why, now);
}

static void response(struct client *c, struct attempt *a, const struct session_event *ev,
                     ns_t now)
{
    struct masque_response r;

    masque_response_parse(ev->fields, ev->n, &r);
    if (r.reply == MASQUE_REPLY_INTERIM)
        return;
    if (r.reply != MASQUE_REPLY_OK) {
        client_give_up(c, a, failure_refused(&r, c->log), now);
        return;
    }
    peer_lease(&c->peer, h3_fields_value(ev->fields, ev->n, LEASE_FIELD));
    if (session_open(&a->session, a->session.request, r.bulk))
        client_failed(c, a, (struct failure){EXIT_INTERNAL, true}, now);
}

void client_fall_asleep(struct client *c, struct attempt *a, ns_t now)
{
    struct failure why = {EXIT_NO_ANSWER, false};

    if (!c->cfg->reconnect) {
        client_failed(c, a, why, now);
        return;
    }
    outage_begin(&c->outage, &c->env, round_take(&c->round), now);
    client_lost(c, why, now);
}

void client_follow(struct client *c, ns_t now)
{
    struct attempt *a = c->round.won;

    if (c->state != UP || paths_follow(a, &c->env, &c->links, now) == 0)
        return;
    if (link_rules_spent(&c->rules, a->link.name))
        client_give_up(c, a, (struct failure){EXIT_NO_ANSWER, false}, now);
    else
        client_fall_asleep(c, a, now);
}

/* Addresses and MTU are known: the machine's side can stand. */
static void bring_up(struct client *c, struct attempt *a, ns_t now)
{
    bool first = !c->ever_up;
    int rc;

    if (!inside_ready(&a->session))
        return;
    rc = inside_apply(&c->base.host, c->cfg, &a->session, c->log);
    if (rc) {
        client_stop(c, rc, now);
        return;
    }
    if (c->state != UP) {
        c->up_since = now;
        peer_keep(&c->peer, &a->remote, a->session.quic, now);
        LOG_AT(c->log, LOG_INFO, "tunnel is up: %s, MTU %u, %s", c->base.host.tun.name,
               c->base.host.tun.mtu_bytes, ring_kind_name(c->base.ring));
    }
    c->state = UP;
    c->ever_up = true;
    if (first)
        inside_check(&c->base.host, c->cfg, a->link.name, c->log);
    client_follow(c, now);
}

/* The server carries IP, as the first attempt has found out. */
static void won(struct client *c, struct attempt *a, ns_t now)
{
    round_win(&c->round, a, now);
    peer_worked(&c->peer, &a->remote);
    if (!c->outage.a) {
        request(c, a, now);
        return;
    }
    c->request_at = now + ANSWER_FIRST;
    outage_nudge(&c->outage, &c->env, &c->links, now);
}

void client_request(struct client *c, ns_t now)
{
    c->request_at = NS_NEVER;
    outage_drop(&c->outage, &c->env, now);
    request(c, c->round.won, now);
}

void client_outage(struct client *c, ns_t now)
{
    ns_t since = c->outage.since;
    struct attempt *a;

    switch (outage_tick(&c->outage, &c->env, &c->links, now)) {
    case OUTAGE_ENDED:
        LOG_AT(c->log, LOG_INFO, "the server answers again, after %.1f s: the session goes on",
               (double)(now - since) / 1e9);
        a = outage_take(&c->outage);
        round_put(&c->round, a, now);
        c->request_at = c->retry_at = NS_NEVER;
        c->state = UP;
        c->up_since = now;
        bring_up(c, a, now);
        break;
    case OUTAGE_LOST:
        LOG_AT(c->log, LOG_INFO, "the former session is over");
        outage_drop(&c->outage, &c->env, now);
        c->request_at = c->request_at == NS_NEVER ? NS_NEVER : now;
        break;
    case OUTAGE_NONE:
    case OUTAGE_LASTS:
        break;
    }
}

void client_events(struct client *c, struct attempt *a, ns_t now)
{
    struct session_event ev;

    while (round_has(&c->round, a) && session_next_event(&a->session, &ev, now)) {
        switch (ev.type) {
        case SESSION_READY:
            won(c, a, now);
            break;
        case SESSION_UNFIT:
            client_give_up(c, a, failure_unfit(c->log), now);
            break;
        case SESSION_RESPONSE:
            response(c, a, &ev, now);
            break;
        case SESSION_ADDRESSES:
        case SESSION_MTU:
            bring_up(c, a, now);
            break;
        case SESSION_PATHS:
            if (ev.gone != SESSION_NO_PATH)
                paths_gone(a, &c->env, ev.gone, now);
            else
                client_follow(c, now);
            break;
        case SESSION_ENDED:
            client_give_up(c, a, failure_ended(a, c->log), now);
            break;
        case SESSION_CLOSED:
            client_failed(c, a, failure_closed(a, &c->env), now);
            break;
        case SESSION_ASKED: /* a client has no addresses to give */
            cip_refuse(&a->session.cip, ev.asked.request_id);
            break;
        case SESSION_REQUEST:
        case SESSION_ROUTES:
            break;
        }
    }
}
