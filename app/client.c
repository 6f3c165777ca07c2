/*
 * Theory of operation
 *
 * The client is in one of three states:
 *
 *   WAITING     no connection; the next round is due at `retry_at`
 *   CONNECTING  attempts race, or one has won and the tunnel is not open
 *   UP          the server has accepted; addresses and routes are on the TUN
 *
 * A round tries all ways to the server, by each link and to each of its addresses, staggered
 * (race.h). The first attempt in which the server shows that it carries IP wins: it asks for the
 * tunnel, and the others are closed. A round has failed when its last attempt has.
 *
 * The machine's side (host.h) is set up once and outlives sessions: while the client
 * reconnects, routes and addresses stay, so that inner connections wait rather than
 * break and nothing leaks around the tunnel. The lease token of the last answer gets
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
#include "app/client.h"

#include "app/address.h"
#include "app/attempt.h"
#include "app/control.h"
#include "app/exit.h"
#include "app/host.h"
#include "app/links.h"
#include "app/netcheck.h"
#include "app/paths.h"
#include "app/peer.h"
#include "app/qlog_file.h"
#include "app/race.h"
#include "app/random.h"
#include "app/status.h"
#include "app/transport.h"
#include "masque/request.h"
#include "quic/errors.h"
#include "quic/tls.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIES_FIRST     3 /* rounds before giving up */
#define RETRY_MIN       (500 * NS_PER_MS)
#define RETRY_MAX       (30 * NS_PER_S)
#define SILENT_AFTER    (3 * NS_PER_S) /* unanswered for so long, and SILENT_PTOS probes */
#define SILENT_PTOS     3
#define UP_STABLE       (20 * NS_PER_S) /* up for so long: the next retry is immediate */
#define NETWORK_SETTLE  (300 * NS_PER_MS)
#define TUN_MTU_DEFAULT 1400
#define TUN_BATCH       64
#define RACE_MAX        8 /* ways of one round */

enum state { WAITING, CONNECTING, UP };

struct client {
    const struct config *cfg;
    const struct log *log;
    struct rng rng;
    struct tls_ctx *tls;
    struct qlog_dir qlog;
    struct ring *ring;
    struct device device;
    struct host host;
    struct links links;

    struct peer peer;
    struct attempt_env env;

    enum state state;
    struct attempt *run[RACE_MAX]; /* those that race, or the winner alone */
    size_t n_run;
    struct attempt *at; /* the winner */
    struct race_way way[RACE_MAX];
    union udp_addr remote[RESOLVE_MAX]; /* that the ways lead to */
    size_t ways, next_way;
    ns_t next_at;     /* when the next way is tried; NS_NEVER if there is none */
    int round_status; /* of the attempt of this round that tells most */
    bool round_hopeless;

    unsigned tries; /* rounds since the tunnel was up for UP_STABLE */
    ns_t retry_at, up_since;
    bool ever_up, stopping;
    int status; /* of the last failure */

    struct control *control;
    struct status_rates rates;
    ns_t started;
};

/* ---- ending and trying again ----------------------------------------------------------- */

/* Whether `a` still is one of ours. */
static bool runs(const struct client *c, const struct attempt *a)
{
    for (size_t i = 0; i < c->n_run; i++)
        if (c->run[i] == a)
            return true;
    return false;
}

static void drop(struct client *c, struct attempt *a, ns_t now)
{
    size_t i = 0;

    while (c->run[i] != a)
        i++;
    for (c->n_run--; i < c->n_run; i++)
        c->run[i] = c->run[i + 1];
    if (c->at == a)
        c->at = NULL;
    attempt_del(a, now);
}

/* An attempt is over: what it leaves is kept for the next. */
static void over(struct client *c, struct attempt *a, ns_t now)
{
    peer_keep(&c->peer, &a->remote, a->session.quic, now);
    session_log(&a->session, now);
    drop(c, a, now);
}

static void no_more_ways(struct client *c)
{
    c->ways = c->next_way = 0;
    c->next_at = NS_NEVER;
}

static void over_all(struct client *c, ns_t now)
{
    while (c->n_run > 0)
        over(c, c->run[c->n_run - 1], now);
    no_more_ways(c);
}

static void stop(struct client *c, int status, ns_t now)
{
    c->stopping = true;
    c->status = status;
    over_all(c, now);
    ring_stop(c->ring, status);
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

/* The connection or the round is over for `status`; decide whether and when to try again. */
static void lost(struct client *c, int status, bool hopeless, ns_t now)
{
    ns_t wait;

    if (c->stopping)
        return;
    if (c->state == UP && now - c->up_since >= UP_STABLE)
        c->tries = 0;
    if (c->state != UP) /* an address that has worked is tried again first */
        peer_failed(&c->peer, c->ring, on_moved, c, now);
    c->state = WAITING;
    c->status = status;
    over_all(c, now);
    if (!c->cfg->reconnect || (!c->ever_up && (hopeless || c->tries >= TRIES_FIRST))) {
        stop(c, status, now);
        return;
    }
    wait = backoff(c);
    c->retry_at = now + wait;
    if (wait)
        LOG_AT(c->log, LOG_INFO, "trying again in %.1f s", (double)wait / 1e9);
    else
        LOG_AT(c->log, LOG_INFO, "trying again");
}

/* One attempt has come to nothing, the only one if it had won. */
static void failed(struct client *c, struct attempt *a, int status, bool hopeless, ns_t now)
{
    if (c->stopping)
        return;
    over(c, a, now);
    if (hopeless || !c->round_hopeless)
        c->round_status = status;
    c->round_hopeless |= hopeless;
    if (c->n_run == 0 && c->next_way == c->ways)
        lost(c, c->round_status, c->round_hopeless, now);
    else if (c->n_run == 0)
        c->next_at = now;
}

static void tell_remotes(struct client *c, ns_t now)
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
    tell_remotes(c, now);
    for (size_t i = 0; i < c->n_run; i++)
        known |= peer_has_addr(&c->peer, &c->run[i]->remote);
    if (c->state == CONNECTING && !known) {
        lost(c, EXIT_NO_ANSWER, false, now);
        c->peer.turn = 0;
    }
    if (c->state == WAITING)
        c->retry_at = now;
}

/* ---- connecting ------------------------------------------------------------------------ */

/* No link leads to the server: why. Returns the exit status. */
static int complain_no_link(const struct client *c)
{
    const struct config_list *paths = &c->cfg->paths;
    char text[UDP_ADDR_TEXT];

    udp_addr_text(peer_addr(&c->peer), text, sizeof(text));
    if (paths->n > 0)
        LOG_AT(c->log, LOG_WARN,
               "--path %s%s: there is no such interface, it is down, or has no way to %s",
               paths->item[0], paths->n > 1 ? ", ..." : "", text);
    else
        LOG_AT(c->log, LOG_WARN, "no interface leads to %s", text);
    return paths->n > 0 ? EXIT_BIND : EXIT_NO_ANSWER;
}

/* Try the next way of the round; where it can't even be begun, the one after. */
static void try_next(struct client *c, ns_t now)
{
    while (c->next_way < c->ways) {
        const struct race_way *way = &c->way[c->next_way++];
        const struct link *it = links_by_id(&c->links, way->link_id);
        struct attempt *a;
        bool hopeless;
        int rc;

        c->next_at = c->next_way < c->ways ? now + RACE_STAGGER : NS_NEVER;
        if (!it)
            continue;
        rc = attempt_new(&a, &c->env, it, &c->remote[way->remote], now, &hopeless);
        if (rc == 0) {
            c->run[c->n_run++] = a;
            return;
        }
        c->round_status = rc;
        c->round_hopeless |= hopeless;
    }
    if (c->n_run == 0)
        lost(c, c->round_status, c->round_hopeless, now);
}

/* The next way is due; but where the server has answered another just now, that may win soon. */
static void race_on(struct client *c, ns_t now)
{
    struct quic_path_view v;

    for (size_t i = 0; i < c->n_run; i++) {
        if (quic_path_view(c->run[i]->session.quic, 0, now, &v) || v.packets_received == 0 ||
            now - v.last_received >= RACE_ANSWERED)
            continue;
        c->next_at = v.last_received + RACE_ANSWERED;
        return;
    }
    try_next(c, now);
}

static void connect_now(struct client *c, ns_t now)
{
    const struct link *list;
    size_t n;

    c->tries++;
    c->state = CONNECTING;
    c->retry_at = NS_NEVER;
    c->round_status = EXIT_NO_ANSWER;
    c->round_hopeless = false;
    links_look(&c->links, now);
    links_tick(&c->links, now);
    list = links_list(&c->links, &n);
    memcpy(c->remote, c->peer.addr, sizeof(c->remote));
    c->next_way = 0;
    c->ways = race_plan(list, n, c->remote, c->peer.addrs, c->peer.turn, c->way, RACE_MAX);
    if (c->ways == 0)
        lost(c, complain_no_link(c), false, now);
    else
        try_next(c, now);
}

static bool planned(const struct client *c, uint32_t link_id)
{
    for (size_t i = 0; i < c->ways; i++)
        if (c->way[i].link_id == link_id)
            return true;
    return false;
}

/* A link has appeared in the midst of a round: it takes part. */
static void join_race(struct client *c, const struct link *it, ns_t now)
{
    size_t n = race_plan(it, 1, c->remote, c->peer.addrs, c->peer.turn, &c->way[c->ways],
                         RACE_MAX - c->ways);

    if (n > 0 && c->next_way == c->ways)
        c->next_at = now;
    c->ways += n;
}

/* ---- the tunnel ------------------------------------------------------------------------ */

static void request(struct client *c, struct attempt *a, ns_t now)
{
    struct h3_field extra[1];
    struct masque_ask ask = {.authority = span_of(c->peer.authority, strlen(c->peer.authority)),
                             .bearer = span_of(c->peer.key, strlen(c->peer.key)),
                             .extra = extra};
    struct masque_head head;

    if (c->peer.lease[0])
        extra[ask.nextra++] = h3_field_secret(h3_field_str(LEASE_FIELD, c->peer.lease));
    if (masque_request_build(&ask, &head) || session_request(&a->session, head.field, head.n))
        failed(c, a, EXIT_PROTOCOL, true, now);
}

static void response(struct client *c, struct attempt *a, const struct session_event *ev,
                     ns_t now)
{
    struct masque_response r;
    int status = EXIT_PROTOCOL;

    masque_response_parse(ev->fields, ev->n, &r);
    if (r.reply == MASQUE_REPLY_INTERIM)
        return;
    if (r.reply != MASQUE_REPLY_OK) {
        if (r.reply == MASQUE_REPLY_AUTH)
            status = EXIT_AUTH;
        else if (r.reply == MASQUE_REPLY_FULL)
            status = EXIT_FULL;
        LOG_AT(c->log, LOG_ERROR, "the server refused (status %d): %s%s", r.status,
               masque_reply_text(r.reply),
               status == EXIT_AUTH   ? "; check --auth-key-file or --auth-key"
               : status == EXIT_FULL ? "; no address is free, try later"
                                     : "");
        quic_close(a->session.quic, H3_NO_ERROR, "", now);
        failed(c, a, status, status != EXIT_FULL, now);
        return;
    }
    peer_lease(&c->peer, h3_fields_value(ev->fields, ev->n, LEASE_FIELD));
    if (session_open(&a->session, a->session.request))
        failed(c, a, EXIT_INTERNAL, true, now);
}

/*
 * A stand-in for the server's own address, from which our ICMP messages into the TUN
 * come: the first host of the /24 or /64 that the assigned address lies in.
 */
static struct ip_addr gateway_of(const struct ip_addr *a)
{
    struct ip_addr g = *a;

    if (g.version == 4) {
        g.b[3] = g.b[3] == 1 ? 2 : 1;
    } else if (g.version == 6) {
        memset(g.b + 8, 0, 7);
        g.b[15] = ip_addr_equal(a, &g) || g.b[15] == 1 ? 2 : 1;
    }
    return g;
}

static int apply_addresses(struct client *c, struct attempt *a)
{
    static const uint8_t ula[16] = {0xfd, 0x6d, 0x71, 0x76, 0x70, 0x6e, [15] = 1};
    struct ip_addr ip[2] = {{0}, {0}}, self[2];
    char text[2][IP_ADDR_TEXT];
    bool changed = false;
    int rc;

    for (int i = 0; i < 2; i++) {
        if (!cip_address(&a->session.cip, i ? 6 : 4, &ip[i]))
            continue; /* a former one stays: what comes from it, the tunnel refuses */
        struct ip_prefix p = ip_prefix_host(&ip[i]);
        changed |= !host_has_address(&c->host, &p);
        if ((rc = host_address(&c->host, &p)))
            return rc;
    }
    self[0] = gateway_of(&ip[0]);
    self[1] = ip[1].version ? gateway_of(&ip[1]) : ip_addr_of(6, ula);
    cip_set_self(&a->session.cip, &self[0], &self[1]);
    if (!changed)
        return 0;
    LOG_AT(c->log, LOG_INFO, "tunnel address %s, IPv6 %s",
           ip_addr_format(&ip[0], text[0], IP_ADDR_TEXT),
           ip[1].version ? ip_addr_format(&ip[1], text[1], IP_ADDR_TEXT) : "none (blocked)");
    return 0;
}

/* What stands in the way on this machine, told once. */
static void check_machine(struct client *c, const struct attempt *a)
{
    const char *links[] = {a->link.name};
    struct netcheck_cfg cfg = {.tun_name = c->host.tun.name,
                               .links = links,
                               .n_links = 1,
                               .ipv4 = true,
                               .ipv6 = c->host.addr[1].addr.family != 0,
                               .default_route = c->cfg->manage_routes && !c->cfg->routes.n};
    struct netcheck_item item[8];
    size_t n = netcheck_run(&cfg, item, ARRAY_LEN(item));

    netcheck_log(item, n < ARRAY_LEN(item) ? n : ARRAY_LEN(item), c->log);
}

/* The tunnel's connection follows the links; without one it is made anew. */
static void follow(struct client *c, ns_t now)
{
    struct attempt *a = c->at;

    if (c->state == UP && paths_follow(a, &c->env, &c->links, now))
        failed(c, a, EXIT_NO_ANSWER, false, now);
}

/* Addresses and MTU are known: the machine's side can stand. */
static void bring_up(struct client *c, struct attempt *a, ns_t now)
{
    size_t mtu = session_mtu(&a->session), n;
    bool first = !c->ever_up;
    int rc;

    cip_assigned(&a->session.cip, &n);
    if (n == 0 || mtu < TUN_MTU_MIN)
        return;
    if (c->cfg->mtu && mtu > (size_t)c->cfg->mtu)
        mtu = (size_t)c->cfg->mtu;
    if ((rc = host_mtu(&c->host, mtu)) || (rc = apply_addresses(c, a)) ||
        (rc = host_up(&c->host)) ||
        (c->cfg->manage_routes &&
         (rc = host_route(&c->host, c->cfg->routes.item, c->cfg->routes.n))) ||
        (rc = host_dns(&c->host, c->cfg->dns.item, c->cfg->dns.n))) {
        stop(c, rc, now);
        return;
    }
    if (c->state != UP) {
        c->up_since = now;
        peer_keep(&c->peer, &a->remote, a->session.quic, now);
        LOG_AT(c->log, LOG_INFO, "tunnel is up: %s, MTU %u, %s", c->host.tun.name,
               c->host.tun.mtu_bytes, ring_kind_name(c->ring));
    }
    c->state = UP;
    c->ever_up = true;
    if (first)
        check_machine(c, a);
    follow(c, now);
}

/* The connection is over: say why, in words that help. */
static void closed(struct client *c, struct attempt *a, ns_t now)
{
    struct quic_close_info info;
    char text[UDP_ADDR_TEXT];
    int status = EXIT_PROTOCOL;
    bool hopeless = false;

    udp_addr_text(&a->remote, text, sizeof(text));
    quic_close_info(a->session.quic, &info);
    switch (info.kind) {
    case QUIC_CLOSE_HANDSHAKE:
        LOG_AT(c->log, LOG_WARN,
               "%s does not answer: is the server running, and UDP port %u open on the way?",
               text, c->peer.port);
        status = EXIT_NO_ANSWER;
        break;
    case QUIC_CLOSE_IDLE:
    case QUIC_CLOSE_RESET:
        LOG_AT(c->log, LOG_WARN, "connection to %s lost: %s", text,
               info.kind == QUIC_CLOSE_IDLE ? "the server fell silent"
                                            : "the server restarted");
        status = EXIT_NO_ANSWER;
        break;
    case QUIC_CLOSE_LOCAL:
        hopeless = !info.app && info.code >= QUIC_CRYPTO_ERROR &&
                   info.code < QUIC_CRYPTO_ERROR + 0x100;
        if (hopeless && info.code >= QUIC_CRYPTO_ERROR + TLS_ALERT_BAD_CERTIFICATE &&
            info.code <= QUIC_CRYPTO_ERROR + TLS_ALERT_UNKNOWN_CA)
            status = EXIT_CERT;
        else if (c->peer.ticket.offered) /* perhaps without the former session */
            hopeless = false;
        LOG_AT(c->log, LOG_ERROR, "%s", info.text);
        break;
    default:
        /* Some servers refuse a key by no more than this. */
        LOG_AT(c->log, LOG_WARN, "the server closed the connection%s%s%s",
               *info.text ? ": " : "", info.text,
               a->session.requested && !a->session.open
                   ? " instead of an answer; is the key right?"
                   : "");
        break;
    }
    failed(c, a, status, hopeless, now);
}

/* The tunnel's stream is over. A reset can overtake the refusal that it follows. */
static void ended(struct client *c, struct attempt *a, ns_t now)
{
    bool was_open = a->session.open;

    if (was_open)
        LOG_AT(c->log, LOG_WARN, "the server ended the tunnel");
    else
        LOG_AT(c->log, LOG_ERROR,
               "the server dropped the request without an answer, as some do for a wrong key; "
               "check --auth-key-file or --auth-key");
    quic_close(a->session.quic, H3_NO_ERROR, "", now);
    failed(c, a, was_open ? EXIT_PROTOCOL : EXIT_AUTH, false, now);
}

/* Connected for long, and still no tunnel: say what is missing. */
static void not_opened(struct client *c, struct attempt *a, ns_t now)
{
    struct quic_path_view v = {0};
    bool small = false;
    size_t n = 0;

    if (a->session.open) {
        cip_assigned(&a->session.cip, &n);
        quic_path_view(a->session.quic, 0, now, &v);
        small = n > 0;
    }
    if (small)
        LOG_AT(
            c->log, LOG_ERROR,
            "the way to the server is too narrow: its packets carry %zu bytes, which leaves "
            "%zu for the tunnel, and IP needs %d; raise the MTU of %s or of what lies behind",
            v.mtu_bytes, session_mtu(&a->session), TUN_MTU_MIN, a->link.name);
    else
        LOG_AT(c->log, LOG_ERROR, "the server %s",
               a->session.open        ? "opened a tunnel, but gave no address"
               : a->session.requested ? "does not answer the request for a tunnel"
                                      : "speaks QUIC, but no HTTP/3");
    quic_close(a->session.quic, H3_NO_ERROR, "", now);
    failed(c, a, small || a->session.open ? EXIT_PROTOCOL : EXIT_NO_ANSWER, small, now);
}

/* The server carries IP, as the first attempt has found out: the others are not needed. */
static void won(struct client *c, struct attempt *a, ns_t now)
{
    c->at = a;
    c->round_hopeless = false;
    no_more_ways(c);
    for (size_t i = c->n_run; i-- > 0;) {
        struct attempt *other = c->run[i];

        if (other == a)
            continue;
        quic_close(other->session.quic, H3_NO_ERROR, "", now);
        drop(c, other, now);
    }
    peer_worked(&c->peer, &a->remote);
    request(c, a, now);
}

static void events(struct client *c, struct attempt *a, ns_t now)
{
    struct session_event ev;

    while (runs(c, a) && session_next_event(&a->session, &ev, now)) {
        switch (ev.type) {
        case SESSION_READY:
            won(c, a, now);
            break;
        case SESSION_UNFIT:
            LOG_AT(c->log, LOG_ERROR,
                   "this HTTP/3 server carries no IP (CONNECT-IP): wrong "
                   "host or port?");
            quic_close(a->session.quic, H3_NO_ERROR, "", now);
            failed(c, a, EXIT_PROTOCOL, true, now);
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
                follow(c, now);
            break;
        case SESSION_ENDED:
            ended(c, a, now);
            break;
        case SESSION_CLOSED:
            closed(c, a, now);
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

/* ---- links ----------------------------------------------------------------------------- */

/* The link of a running attempt is gone. */
static void link_lost(struct client *c, struct attempt *a, ns_t now)
{
    LOG_AT(c->log, LOG_WARN, "%s went down", a->link.name);
    if (c->state == CONNECTING)
        failed(c, a, EXIT_NO_ANSWER, false, now);
}

/* What became of the links. */
static void link_events(struct client *c, ns_t now)
{
    struct link_event ev;
    bool any = false;

    links_tick(&c->links, now);
    while (!c->stopping && links_next(&c->links, &ev)) {
        any = true;
        LOG_AT(c->log, LOG_DEBUG, "link %s (IPv%d) %s", ev.link.name,
               ev.link.family == AF_INET6 ? 6 : 4,
               ev.type == LINK_ADDED     ? "leads to the server"
               : ev.type == LINK_CHANGED ? "changed"
                                         : "is gone");
        if (ev.type == LINK_REMOVED) {
            for (size_t i = c->n_run; i-- > 0;)
                if (i < c->n_run && c->run[i]->link.id == ev.link.id)
                    link_lost(c, c->run[i], now);
        } else if (ev.type == LINK_ADDED && c->state == CONNECTING && !c->at &&
                   !planned(c, ev.link.id)) {
            join_race(c, &ev.link, now);
        }
    }
    if (any)
        follow(c, now);
}

/* ---- the loop's calls ------------------------------------------------------------------ */

static void on_udp(void *ctx, struct ring_udp *sock, struct udp_dgram *d, size_t n, ns_t now)
{
    struct client *c = ctx;
    struct attempt *a = ring_udp_user(sock);

    if (!runs(c, a))
        return;
    session_on_udp(&a->session, socks_ifindex(&a->socks, sock), d, n, now);
    events(c, a, now);
}

static void on_tun(void *ctx, struct ring_tun *tun, struct ring_pkt *pkts, size_t n, ns_t now)
{
    struct client *c = ctx;
    struct vnet_split split[TUN_BATCH];

    (void)tun;
    while (n > 0 && c->at) {
        size_t k = 0;

        for (; n > 0 && k < TUN_BATCH; pkts++, n--)
            k += device_split(&c->device, pkts, &split[k]);
        session_on_tun(&c->at->session, split, k, now);
    }
}

/* The timers of one attempt. */
static void attempt_tick(struct client *c, struct attempt *a, ns_t now)
{
    if (quic_deadline(a->session.quic) <= now) {
        quic_tick(a->session.quic, now);
        events(c, a, now);
    }
    if (runs(c, a) && c->state == UP && paths_silent(a, SILENT_AFTER, SILENT_PTOS, now)) {
        LOG_AT(c->log, LOG_WARN, "the server has not answered for %d s",
               (int)(SILENT_AFTER / NS_PER_S));
        failed(c, a, EXIT_NO_ANSWER, false, now);
    }
    if (runs(c, a) && c->state == CONNECTING && a->open_by <= now)
        not_opened(c, a, now);
}

static void on_deadline(void *ctx, ns_t now)
{
    struct client *c = ctx;

    link_events(c, now);
    for (size_t i = c->n_run; i-- > 0;)
        if (i < c->n_run) /* one may have ended others */
            attempt_tick(c, c->run[i], now);
    if (c->next_at <= now)
        race_on(c, now);
    if (c->at && c->at->paths_at <= now)
        follow(c, now);
    if (c->state == WAITING && !c->stopping && c->retry_at <= now)
        connect_now(c, now);
}

static ns_t deadline(const struct client *c, ns_t now)
{
    ns_t at = ns_min(links_deadline(&c->links), c->next_at);

    if (c->state == WAITING)
        at = ns_min(at, c->retry_at);
    for (size_t i = 0; i < c->n_run; i++) {
        at = ns_min(at, session_deadline(&c->run[i]->session, now));
        at = ns_min(at, c->state == CONNECTING ? c->run[i]->open_by : c->run[i]->paths_at);
    }
    return at;
}

static void on_flush(void *ctx, ns_t now)
{
    struct client *c = ctx;

    if (c->stopping)
        return;
    device_flush(&c->device);
    for (size_t i = c->n_run; i-- > 0;) {
        if (i >= c->n_run)
            continue;
        session_flush(&c->run[i]->session, now);
        events(c, c->run[i], now);
    }
    device_trim(&c->device, now);
    ring_deadline_set(c->ring, deadline(c, now));
}

static void on_signal(void *ctx, int signo, ns_t now)
{
    struct client *c = ctx;

    LOG_AT(c->log, LOG_INFO, "%s: leaving", strsignal(signo));
    for (size_t i = 0; i < c->n_run; i++)
        quic_close(c->run[i]->session.quic, H3_NO_ERROR, "client leaves", now);
    stop(c, EXIT_OK, now);
}

static void on_udp_error(void *ctx, struct ring_udp *sock, const struct ring_udp_error *e,
                         ns_t now)
{
    struct client *c = ctx;

    (void)sock;
    (void)now;
    LOG_AT(c->log, LOG_DEBUG, "sending %zu x %zu bytes: %s", e->count, e->bytes,
           strerror(e->err));
}

static void on_tun_error(void *ctx, struct ring_tun *tun, int err, ns_t now)
{
    struct client *c = ctx;

    (void)tun;
    LOG_AT(c->log, LOG_ERROR, "the TUN device is gone: %s", strerror(err));
    stop(c, EXIT_TUN, now);
}

/* Something about the machine's network changed: what was hopeless may work now. */
static void on_network(void *ctx, int fd, short ready, ns_t now)
{
    struct client *c = ctx;
    bool changed = false;
    int rc = links_read(&c->links, now, &changed);

    (void)ready;
    if (rc < 0) {
        LOG_AT(c->log, LOG_WARN, "network changes are not noticed any more: %s", strerror(-rc));
        ring_fd_del(c->ring, fd);
    }
    if (changed && c->state == WAITING && !c->stopping && c->retry_at > now + NETWORK_SETTLE)
        c->retry_at = now + NETWORK_SETTLE;
}

/* A question by the control socket. */
static void on_question(void *ctx, const char *line, struct json *out, ns_t now)
{
    static const char *const state[] = {"waiting", "connecting", "up"};
    struct client *c = ctx;
    struct status_self self = {.role = "client",
                               .state = state[c->state],
                               .server = c->peer.authority,
                               .tun = c->host.tun.name,
                               .mtu_bytes = c->host.tun.mtu_bytes,
                               .addr = c->host.addr,
                               .started = c->started};
    struct status_peer peer = {.number = c->up_since,
                               .name = "server",
                               .interface = "",
                               .since = c->state == UP ? c->up_since : 0};

    if (strcmp(line, "status") != 0) {
        status_unknown(out);
        return;
    }
    status_begin(out, &c->rates, &self, now);
    if (c->at) {
        peer.session = &c->at->session;
        peer.interface = c->at->link.name;
        status_peer(out, &c->rates, &peer, now);
    }
    status_end(out, &c->rates);
}

/* ---- setting up ------------------------------------------------------------------------ */

static int set_up(struct client *c)
{
    struct ring_cfg ring = {.kind = (enum ring_kind)c->cfg->io,
                            .ops = {.on_udp = on_udp,
                                    .on_tun = on_tun,
                                    .on_deadline = on_deadline,
                                    .on_flush = on_flush,
                                    .on_signal = on_signal,
                                    .on_udp_error = on_udp_error,
                                    .on_tun_error = on_tun_error},
                            .ctx = c,
                            .log = c->log};
    struct link_rules rules = {.paths = c->cfg->paths.item,
                               .n_paths = c->cfg->paths.n,
                               .no_paths = c->cfg->no_paths.item,
                               .n_no_paths = c->cfg->no_paths.n,
                               .links = c->cfg->links.item,
                               .n_links = c->cfg->links.n};
    char why[WHY_SIZE] = "";
    int rc;

    if (c->cfg->qlog_dir && (rc = qlog_dir_open(&c->qlog, c->cfg->qlog_dir, c->log)))
        return rc;
    if ((rc = peer_open(&c->peer, c->cfg, c->log)) ||
        (rc = transport_client_tls(c->cfg, c->log, &c->tls)) || (rc = peer_resolve(&c->peer)))
        return rc;
    rc = host_open(&c->host, c->cfg->tun_name,
                   c->cfg->mtu ? (unsigned)c->cfg->mtu : TUN_MTU_DEFAULT, !c->cfg->offload,
                   c->cfg->state_dir, c->log);
    if (rc)
        return rc;
    if (ring_new(&ring, &c->ring, why, sizeof(why))) {
        LOG_AT(c->log, LOG_ERROR, "%s", why);
        return EXIT_INTERNAL;
    }
    if (device_open(&c->device, c->ring, &c->host.tun, NULL) ||
        ring_signal_add(c->ring, SIGINT) || ring_signal_add(c->ring, SIGTERM) ||
        ring_signal_add(c->ring, SIGHUP))
        return EXIT_INTERNAL;
    c->started = ring_clock();
    if (c->cfg->state_dir && /* a demo leaves no trace */
        control_open(&c->control, c->ring, CONTROL_DIR, c->host.tun.name, on_question, c, why,
                     sizeof(why)))
        LOG_AT(c->log, LOG_INFO, "mqvpn status will find nothing: %s", why);
    why[0] = 0;
    links_init(&c->links, c->host.nc, c->host.tun.ifindex, &rules, why, sizeof(why));
    if (links_fd(&c->links) >= 0)
        ring_fd_add(c->ring, links_fd(&c->links), POLLIN, on_network, c);
    else
        LOG_AT(c->log, LOG_WARN, "network changes will not be noticed: %s", why);
    tell_remotes(c, ring_clock());
    c->env = (struct attempt_env){.cfg = c->cfg,
                                  .log = c->log,
                                  .rng = &c->rng,
                                  .tls = c->tls,
                                  .qlog = c->cfg->qlog_dir ? &c->qlog.sink : NULL,
                                  .ring = c->ring,
                                  .device = &c->device,
                                  .peer = &c->peer};
    return 0;
}

static void tear_down(struct client *c)
{
    over_all(c, ring_clock());
    peer_close(&c->peer);
    if (c->links.mon) {
        if (c->ring)
            ring_fd_del(c->ring, links_fd(&c->links));
        links_free(&c->links);
    }
    control_close(c->control);
    status_rates_free(&c->rates);
    ring_free(c->ring);
    device_close(&c->device);
    host_close(&c->host);
    tls_ctx_del(c->tls);
    qlog_dir_close(&c->qlog);
}

int client_run(const struct config *config, const struct log *log)
{
    struct client *c = calloc(1, sizeof(*c));
    int status;

    if (!c)
        return EXIT_INTERNAL;
    c->cfg = config;
    c->log = log;
    c->rng = random_system();
    status = set_up(c);
    if (status == 0) {
        ns_t now = ring_clock();
        connect_now(c, now);
        if (!c->stopping) {
            on_flush(c, now);
            status = ring_run(c->ring);
            if (status < 0)
                status = EXIT_INTERNAL;
        } else {
            status = c->status;
        }
    }
    tear_down(c);
    free(c);
    return status;
}
