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
#include "app/client.h"

#include "app/address.h"
#include "app/base.h"
#include "app/exit.h"
#include "app/inside.h"
#include "app/outage.h"
#include "app/qlog_file.h"
#include "app/random.h"
#include "app/round.h"
#include "app/transport.h"
#include "quic/errors.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define TRIES_FIRST    3 /* rounds before giving up */
#define RETRY_MIN      (500 * NS_PER_MS)
#define RETRY_MAX      (30 * NS_PER_S)
#define SILENT_AFTER   (3 * NS_PER_S) /* unanswered for so long, and SILENT_PTOS probes */
#define SILENT_PTOS    2
#define UP_STABLE      (20 * NS_PER_S) /* up for so long: the next retry is immediate */
#define NETWORK_SETTLE (300 * NS_PER_MS)
#define ANSWER_FIRST   (700 * NS_PER_MS)
#define METER_LOOK     (NS_PER_S / 2)

enum state { WAITING, CONNECTING, UP };

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

    enum state state;
    struct round round;

    struct outage outage;
    ns_t request_at; /* of a round's winner that waits for its end; NS_NEVER: none does */

    unsigned tries; /* rounds since the tunnel was up for UP_STABLE */
    ns_t retry_at, up_since;
    bool ever_up, stopping;
    int status; /* of the last failure */
};

/* ---- ending and trying again ----------------------------------------------------------- */

static void stop(struct client *c, int status, ns_t now)
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

/* The connection or the round is over; decide whether and when to try again. */
static void lost(struct client *c, struct failure why, ns_t now)
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
        stop(c, why.status, now);
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
static void failed(struct client *c, struct attempt *a, struct failure why, ns_t now)
{
    if (!c->stopping && !round_failed(&c->round, a, why, now))
        lost(c, c->round.why, now);
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
    for (size_t i = 0; i < c->round.n_run; i++)
        known |= peer_has_addr(&c->peer, &c->round.run[i]->remote);
    if (c->state == CONNECTING && !known) {
        lost(c, (struct failure){EXIT_NO_ANSWER, false}, now);
        c->peer.turn = 0;
    }
    if (c->state == WAITING)
        c->retry_at = now;
}

/* ---- connecting ------------------------------------------------------------------------ */

static void connect_now(struct client *c, ns_t now)
{
    c->tries++;
    c->state = CONNECTING;
    c->retry_at = NS_NEVER;
    links_look(&c->links, now);
    links_tick(&c->links, now);
    if (!round_begin(&c->round, now))
        lost(c, c->round.why, now);
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
        failed(c, a, (struct failure){EXIT_PROTOCOL, true}, now);
}

/* The connection stands, but it is of no use. */
static void give_up(struct client *c, struct attempt *a, struct failure why, ns_t now)
{
    quic_close(a->session.quic, H3_NO_ERROR, "", now);
    failed(c, a, why, now);
}

static void response(struct client *c, struct attempt *a, const struct session_event *ev,
                     ns_t now)
{
    struct masque_response r;

    masque_response_parse(ev->fields, ev->n, &r);
    if (r.reply == MASQUE_REPLY_INTERIM)
        return;
    if (r.reply != MASQUE_REPLY_OK) {
        give_up(c, a, failure_refused(&r, c->log), now);
        return;
    }
    peer_lease(&c->peer, h3_fields_value(ev->fields, ev->n, LEASE_FIELD));
    if (session_open(&a->session, a->session.request, r.bulk))
        failed(c, a, (struct failure){EXIT_INTERNAL, true}, now);
}

/* Nothing comes back. The session is kept, unless the user had rather see the end. */
static void fall_asleep(struct client *c, struct attempt *a, ns_t now)
{
    struct failure why = {EXIT_NO_ANSWER, false};

    if (!c->cfg->reconnect) {
        failed(c, a, why, now);
        return;
    }
    outage_begin(&c->outage, &c->env, round_take(&c->round), now);
    lost(c, why, now);
}

/* The tunnel's connection follows the links; without one it waits, but where it may not go on. */
static void follow(struct client *c, ns_t now)
{
    struct attempt *a = c->round.won;

    if (c->state != UP || paths_follow(a, &c->env, &c->links, now) == 0)
        return;
    if (link_rules_spent(&c->rules, a->link.name))
        give_up(c, a, (struct failure){EXIT_NO_ANSWER, false}, now);
    else
        fall_asleep(c, a, now);
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
        stop(c, rc, now);
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
    follow(c, now);
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

/* A new session it is. */
static void request_after(struct client *c, ns_t now)
{
    c->request_at = NS_NEVER;
    outage_drop(&c->outage, &c->env, now);
    request(c, c->round.won, now);
}

static void outage_check(struct client *c, ns_t now)
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

static void events(struct client *c, struct attempt *a, ns_t now)
{
    struct session_event ev;

    while (round_has(&c->round, a) && session_next_event(&a->session, &ev, now)) {
        switch (ev.type) {
        case SESSION_READY:
            won(c, a, now);
            break;
        case SESSION_UNFIT:
            give_up(c, a, failure_unfit(c->log), now);
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
            give_up(c, a, failure_ended(a, c->log), now);
            break;
        case SESSION_CLOSED:
            failed(c, a, failure_closed(a, &c->env), now);
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
        failed(c, a, (struct failure){EXIT_NO_ANSWER, false}, now);
}

/* What became of the links. */
static void link_events(struct client *c, ns_t now)
{
    char text[UDP_ADDR_TEXT];
    struct link_event ev;
    union udp_addr local;
    bool any = false;

    links_tick(&c->links, now);
    while (!c->stopping && links_next(&c->links, &ev)) {
        any = true;
        local = udp_addr_raw(ev.link.family, ev.link.local.ip, 0);
        LOG_AT(c->log, LOG_DEBUG, "link %s (%s) %s", ev.link.name,
               udp_addr_text(&local, text, sizeof(text)),
               ev.type == LINK_ADDED     ? "leads to the server"
               : ev.type == LINK_CHANGED ? "changed"
                                         : "is gone");
        if (ev.type == LINK_REMOVED) {
            for (size_t i = c->round.n_run; i-- > 0;)
                if (i < c->round.n_run && c->round.run[i]->link.id == ev.link.id)
                    link_lost(c, c->round.run[i], now);
        } else if (ev.type == LINK_ADDED && c->state == CONNECTING) {
            round_join(&c->round, &ev.link, now);
        }
    }
    if (!any)
        return;
    outage_nudge(&c->outage, &c->env, &c->links, now);
    follow(c, now);
    if (c->round.won) /* what was silent may answer now, and the other way round */
        paths_ping(c->round.won);
}

/* ---- metered links --------------------------------------------------------------------- */

static uint64_t used(void *ctx, const char *name)
{
    return meter_used(ctx, name);
}

static void tell_spent(const struct client *c, const char *name)
{
    LOG_AT(c->log, LOG_WARN, "%s has carried what it may this month: not used any more", name);
}

/* Count; a link whose month is used up is one no more, until the next. */
static void meter_look(struct client *c, ns_t now)
{
    const struct link *list;
    bool change;
    size_t n;

    c->meter_at = now + METER_LOOK;
    for (size_t i = 0; i < c->round.n_run; i++)
        paths_count(c->round.run[i], &c->env, now);
    if (c->outage.a)
        paths_count(c->outage.a, &c->env, now);
    change = meter_tick(&c->meter, meter_month(time(NULL)), now);
    list = links_list(&c->links, &n);
    for (size_t i = 0; i < n; i++) {
        if (!link_rules_spent(&c->rules, list[i].name))
            continue;
        tell_spent(c, list[i].name);
        change = true;
    }
    if (change)
        links_look(&c->links, now);
}

/* ---- the loop's calls ------------------------------------------------------------------ */

static void on_udp(void *ctx, struct ring_udp *sock, struct udp_dgram *d, size_t n, ns_t now)
{
    struct client *c = ctx;
    struct attempt *a = ring_udp_user(sock);

    if (a != c->outage.a && !round_has(&c->round, a))
        return;
    session_on_udp(&a->session, socks_ifindex(&a->socks, sock), d, n, now);
    if (a == c->outage.a)
        outage_check(c, now);
    events(c, a, now);
}

static void on_tun(void *ctx, struct ring_tun *tun, struct ring_pkt *pkts, size_t n, ns_t now)
{
    struct client *c = ctx;
    struct attempt *a = c->outage.a ? c->outage.a : c->round.won;
    struct vnet_split split[DEVICE_BATCH];

    (void)tun;
    while (n > 0 && a) {
        size_t k = device_split_batch(&c->base.device, &pkts, &n, split);

        session_on_tun(&a->session, split, k, now);
    }
}

/* The timers of one attempt. */
static void attempt_tick(struct client *c, struct attempt *a, ns_t now)
{
    if (quic_deadline(a->session.quic) <= now) {
        quic_tick(a->session.quic, now);
        paths_watch(a, &c->env, now);
        events(c, a, now);
    }
    if (round_has(&c->round, a) && c->state == UP &&
        paths_silent(a, SILENT_AFTER, SILENT_PTOS, now)) {
        LOG_AT(c->log, LOG_WARN, "the server has not answered for %d s",
               (int)(SILENT_AFTER / NS_PER_S));
        fall_asleep(c, a, now);
    }
    if (round_has(&c->round, a) && c->state == CONNECTING && a->open_by <= now)
        give_up(c, a, failure_unopened(a, c->log, now), now);
}

static void on_deadline(void *ctx, ns_t now)
{
    struct client *c = ctx;

    if (c->meter_at <= now)
        meter_look(c, now);
    link_events(c, now);
    for (size_t i = c->round.n_run; i-- > 0;)
        if (i < c->round.n_run) /* one may have ended others */
            attempt_tick(c, c->round.run[i], now);
    outage_check(c, now);
    if (c->request_at <= now)
        request_after(c, now);
    if (!c->stopping && !round_tick(&c->round, now))
        lost(c, c->round.why, now);
    if (c->round.won && c->round.won->paths_at <= now)
        follow(c, now);
    if (c->state == WAITING && !c->stopping && c->retry_at <= now)
        connect_now(c, now);
}

static ns_t deadline(const struct client *c, ns_t now)
{
    ns_t at = ns_min(links_deadline(&c->links), c->round.next_at);

    at = ns_min(at, ns_min(outage_deadline(&c->outage, now), c->request_at));
    at = ns_min(at, c->meter_at);

    if (c->state == WAITING)
        at = ns_min(at, c->retry_at);
    for (size_t i = 0; i < c->round.n_run; i++) {
        at = ns_min(at, session_deadline(&c->round.run[i]->session, now));
        at = ns_min(at, c->state == CONNECTING ? c->round.run[i]->open_by
                                               : c->round.run[i]->paths_at);
    }
    return at;
}

static void on_flush(void *ctx, ns_t now)
{
    struct client *c = ctx;

    if (c->stopping)
        return;
    device_flush(&c->base.device);
    ring_hasten(c->base.ring);
    for (size_t i = c->round.n_run; i-- > 0;) {
        if (i >= c->round.n_run)
            continue;
        session_flush(&c->round.run[i]->session, now);
        events(c, c->round.run[i], now);
    }
    if (c->outage.a) {
        session_flush(&c->outage.a->session, now);
        outage_check(c, now);
    }
    device_trim(&c->base.device, now);
    ring_deadline_set(c->base.ring, deadline(c, now));
}

static void on_signal(void *ctx, int signo, ns_t now)
{
    struct client *c = ctx;

    LOG_AT(c->log, LOG_INFO, "%s: leaving", strsignal(signo));
    for (size_t i = 0; i < c->round.n_run; i++)
        quic_close(c->round.run[i]->session.quic, H3_NO_ERROR, "client leaves", now);
    if (c->outage.a)
        quic_close(c->outage.a->session.quic, H3_NO_ERROR, "client leaves", now);
    stop(c, EXIT_OK, now);
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
        ring_fd_del(c->base.ring, fd);
    }
    if (changed)
        outage_nudge(&c->outage, &c->env, &c->links, now);
    if (changed && c->state == WAITING && !c->stopping && c->retry_at > now + NETWORK_SETTLE)
        c->retry_at = now + NETWORK_SETTLE;
}

/* A question by the control socket. */
static void on_question(void *ctx, const char *line, struct json *out, ns_t now)
{
    static const char *const state[] = {"waiting", "connecting", "up"};
    struct client *c = ctx;
    const struct attempt *a = c->outage.a ? c->outage.a : c->round.won;
    struct status_self self = base_self(&c->base, "client");
    struct status_peer peer = {.number = c->up_since,
                               .name = "server",
                               .interface = "",
                               .since = c->state == UP || c->outage.a ? c->up_since : 0};

    if (strcmp(line, "status") != 0) {
        status_unknown(out);
        return;
    }
    self.state = c->outage.a ? "outage" : state[c->state];
    self.server = c->peer.authority;
    self.meter = &c->meter;
    self.rules = &c->rules;
    status_begin(out, &c->base.rates, &self, now);
    if (a) {
        peer.session = &a->session;
        peer.interface = a->link.name;
        status_peer(out, &c->base.rates, &peer, now);
    }
    status_end(out, &c->base.rates);
}

/* ---- setting up ------------------------------------------------------------------------ */

static int set_up(struct client *c)
{
    static const struct ring_ops ops = {.on_udp = on_udp,
                                        .on_tun = on_tun,
                                        .on_deadline = on_deadline,
                                        .on_flush = on_flush,
                                        .on_signal = on_signal,
                                        .on_tun_error = on_tun_error};
    char why[WHY_SIZE] = "";
    int rc;

    if (c->cfg->qlog_dir && (rc = qlog_dir_open(&c->qlog, c->cfg->qlog_dir, c->log)))
        return rc;
    if ((rc = peer_open(&c->peer, c->cfg, c->log)) ||
        (rc = transport_client_tls(c->cfg, c->log, &c->tls)) || (rc = peer_resolve(&c->peer)) ||
        (rc = base_open(&c->base, c->cfg, &ops, c, c->log)))
        return rc;
    base_answer(&c->base, c->cfg, on_question, c, c->log);
    c->rules = (struct link_rules){.paths = c->cfg->paths.item,
                                   .n_paths = c->cfg->paths.n,
                                   .no_paths = c->cfg->no_paths.item,
                                   .n_no_paths = c->cfg->no_paths.n,
                                   .links = c->cfg->links.item,
                                   .n_links = c->cfg->links.n,
                                   .used = used,
                                   .used_ctx = &c->meter};
    meter_open(&c->meter, c->cfg->state_dir, meter_month(time(NULL)), c->log);
    c->meter_at = link_rules_metered(&c->rules) ? 0 : NS_NEVER;
    for (size_t i = 0; i < c->meter.n; i++)
        if (link_rules_spent(&c->rules, c->meter.item[i].name))
            tell_spent(c, c->meter.item[i].name);
    links_init(&c->links, c->base.host.nc, c->base.host.tun.ifindex, &c->rules, why,
               sizeof(why));
    if (links_fd(&c->links) >= 0)
        ring_fd_add(c->base.ring, links_fd(&c->links), POLLIN, on_network, c);
    else
        LOG_AT(c->log, LOG_WARN, "network changes will not be noticed: %s", why);
    tell_remotes(c, ring_clock());
    c->env = (struct attempt_env){.cfg = c->cfg,
                                  .log = c->log,
                                  .rng = &c->rng,
                                  .tls = c->tls,
                                  .qlog = c->cfg->qlog_dir ? &c->qlog.sink : NULL,
                                  .ring = c->base.ring,
                                  .device = &c->base.device,
                                  .peer = &c->peer,
                                  .meter = &c->meter};
    return 0;
}

static void tear_down(struct client *c)
{
    outage_drop(&c->outage, &c->env, ring_clock());
    round_end(&c->round, ring_clock());
    meter_close(&c->meter);
    peer_close(&c->peer);
    if (c->links.mon) {
        ring_fd_del(c->base.ring, links_fd(&c->links));
        links_free(&c->links);
    }
    base_close(&c->base);
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
    round_init(&c->round, &c->env, &c->links);
    c->request_at = c->meter_at = NS_NEVER;
    c->meter.save_at = NS_NEVER;
    status = set_up(c);
    if (status == 0) {
        ns_t now = ring_clock();
        connect_now(c, now);
        if (!c->stopping) {
            on_flush(c, now);
            status = ring_run(c->base.ring);
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
