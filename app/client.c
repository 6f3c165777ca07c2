/*
 * Theory of operation
 *
 * What the loop brings goes to the attempts of the round (round.h), or to the session that is
 * put aside in an outage (outage.h); what follows from it is decided in client_states.c. Links
 * are followed (links.h): one that appears joins a round that runs, the tunnel's connection has
 * paths over all. What metered ones carry is counted every METER_LOOK.
 */
#include "app/client.h"

#include "app/address.h"
#include "app/client_states.h"
#include "app/exit.h"
#include "app/random.h"
#include "app/transport.h"
#include "quic/errors.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define SILENT_AFTER   (3 * NS_PER_S) /* unanswered for so long, and SILENT_PTOS probes */
#define SILENT_PTOS    2
#define NETWORK_SETTLE (300 * NS_PER_MS)
#define METER_LOOK     (NS_PER_S / 2)

/* ---- links ----------------------------------------------------------------------------- */

/* The link of a running attempt is gone. */
static void link_lost(struct client *c, struct attempt *a, ns_t now)
{
    LOG_AT(c->log, LOG_WARN, "%s went down", a->link.name);
    if (c->state == CONNECTING)
        client_failed(c, a, (struct failure){EXIT_NO_ANSWER, false}, now);
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
    client_follow(c, now);
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
        client_outage(c, now);
    client_events(c, a, now);
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
        client_events(c, a, now);
    }
    if (round_has(&c->round, a) && c->state == UP &&
        paths_silent(a, SILENT_AFTER, SILENT_PTOS, now)) {
        LOG_AT(c->log, LOG_WARN, "the server has not answered for %d s",
               (int)(SILENT_AFTER / NS_PER_S));
        client_fall_asleep(c, a, now);
    }
    if (round_has(&c->round, a) && c->state == CONNECTING && a->open_by <= now)
        client_give_up(c, a, failure_unopened(a, c->log, now), now);
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
    client_outage(c, now);
    if (c->request_at <= now)
        client_request(c, now);
    if (!c->stopping && !round_tick(&c->round, now))
        client_lost(c, c->round.why, now);
    if (c->round.won && c->round.won->paths_at <= now)
        client_follow(c, now);
    if (c->state == WAITING && !c->stopping && c->retry_at <= now)
        client_connect(c, now);
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
        client_events(c, c->round.run[i], now);
    }
    if (c->outage.a) {
        session_flush(&c->outage.a->session, now);
        client_outage(c, now);
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
    client_stop(c, EXIT_OK, now);
}

static void on_tun_error(void *ctx, struct ring_tun *tun, int err, ns_t now)
{
    struct client *c = ctx;

    (void)tun;
    LOG_AT(c->log, LOG_ERROR, "the TUN device is gone: %s", strerror(err));
    client_stop(c, EXIT_TUN, now);
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
    client_remotes(c, ring_clock());
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
        client_connect(c, now);
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
