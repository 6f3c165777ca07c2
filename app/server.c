/*
 * Theory of operation
 *
 * One socket, one TUN device, many clients. A datagram finds its connection by the
 * destination connection ID (quic/endpoint.h), a packet from the TUN its session by the
 * inner destination address (app/pool.h): each a table look-up.
 *
 * A batch touches some sessions; these are `busy`, and only they are flushed when the
 * batch is over. A session stays busy while packets wait, in its queue or for their order. When
 * nobody is busy, the endpoint's heap of deadlines is the only thing that wakes the server.
 *
 * A session has a number, its index in `clients`, which the pool knows as the owner of
 * its addresses. A client comes in by its request (server_admit.c); the newest holder of
 * a lease wins, and the session that had the addresses before is closed.
 */
#include "app/server.h"

#include "app/address.h"
#include "app/netcheck.h"
#include "app/random.h"
#include "app/server_admit.h"
#include "app/transport.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TAKEN_TRIES    40 /* how often a port that is taken is asked for */
#define TAKEN_PAUSE_US 50000
#define DRAIN          (200 * NS_PER_MS) /* after a signal, for the goodbyes */
#define NUMBERED_MOST  (256u << 20)      /* bytes of numbered flows, of all sessions */

static struct client_entry *entry_of(struct quic_conn *conn)
{
    return quic_user(conn);
}

/* ---- sessions -------------------------------------------------------------------------- */

static void busy(struct server *s, struct client_entry *e)
{
    if (e->busy)
        return;
    e->busy = true;
    e->next_busy = s->busy;
    s->busy = e;
}

static struct client_entry *entry_new(struct server *s, struct quic_conn *conn, ns_t now)
{
    struct session_cfg cfg = {.socks = &s->socks,
                              .device = &s->base.device,
                              .log = s->log,
                              .mtu_max = (size_t)s->cfg->mtu,
                              .sched = sched_at((size_t)s->cfg->scheduler),
                              .cap = &s->cap,
                              .hash_seed = s->hash_seed};
    struct client_entry *e = NULL;
    uint32_t i = s->free_hint;

    while (i < s->max_clients && s->clients[i])
        i++;
    if (i < s->max_clients)
        e = calloc(1, sizeof(*e));
    rng_fill(&s->rng, &cfg.grease, sizeof(cfg.grease));
    if (!e || session_init(&e->session, conn, &cfg)) {
        free(e);
        quic_endpoint_remove(s->endpoint, conn);
        quic_del(conn);
        return NULL;
    }
    e->number = i;
    e->serial = ++s->serial;
    e->since = now;
    e->slot = POOL_NONE;
    e->admit_by = now + ADMIT_WITHIN;
    s->sweep_at = ns_min(s->sweep_at, e->admit_by);
    s->clients[i] = e;
    s->free_hint = i + 1;
    quic_set_user(conn, e);
    return e;
}

static void entry_del(struct server *s, struct client_entry *e)
{
    for (struct client_entry **p = &s->busy; *p; p = &(*p)->next_busy) {
        if (*p == e) {
            *p = e->next_busy;
            break;
        }
    }
    server_release(s, e);
    quic_endpoint_remove(s->endpoint, e->session.quic);
    s->clients[e->number] = NULL;
    if (e->number < s->free_hint)
        s->free_hint = e->number;
    session_free(&e->session);
    free(e);
}

/* The TUN is as wide as the widest tunnel; what is too long for a narrower one is told so. */
static void widen(struct server *s, size_t mtu)
{
    if (mtu > s->base.host.tun.mtu_bytes)
        host_mtu(&s->base.host, mtu); /* or stays: said in the log, and no harm */
}

static void events(struct server *s, struct client_entry *e, ns_t now)
{
    struct session_event ev;
    struct quic_close_info info;

    while (session_next_event(&e->session, &ev, now)) {
        switch (ev.type) {
        case SESSION_REQUEST:
            server_request(s, e, &ev, now);
            break;
        case SESSION_ASKED:
            server_asked(e, &ev);
            break;
        case SESSION_MTU:
            widen(s, session_mtu(&e->session));
            break;
        case SESSION_ENDED:
            server_release(s, e);
            quic_close(e->session.quic, H3_NO_ERROR, "the tunnel was ended", now);
            break;
        case SESSION_CLOSED:
            quic_close_info(e->session.quic, &info);
            if (e->user[0])
                LOG_AT(s->log, LOG_INFO, "%s left: %s", server_user(e),
                       *info.text ? info.text : "closed");
            else
                LOG_AT(s->log, LOG_DEBUG, "connection over: %s", info.text);
            session_log(&e->session, now);
            server_release(s, e);
            break;
        default:
            break;
        }
    }
}

/*
 * Send what is due, tell the endpoint, end what is over, keep what waits for on_flush among
 * the busy ones. True if the socket is full.
 */
static bool settle(struct server *s, struct client_entry *e, ns_t now)
{
    bool starved;

    session_flush(&e->session, now);
    events(s, e, now);
    quic_endpoint_update(s->endpoint, e->session.quic);
    starved = e->session.sender.starved;
    if (quic_is_drained(e->session.quic))
        entry_del(s, e);
    else if (starved || e->session.sender.queue.count > 0 ||
             session_wake(&e->session) != NS_NEVER)
        busy(s, e);
    return starved;
}

/* ---- the loop's calls ------------------------------------------------------------------ */

static void answer_stateless(struct server *s, const struct quic_train *t)
{
    struct udp_train *u = ring_train_get(s->sock);

    if (!u)
        return;
    memcpy(u->buf, t->buf, t->len);
    u->n = u->segment = t->len;
    u->remote = address_udp(&t->route.remote);
    u->local = address_udp(&t->route.local);
    ring_udp_send(u);
}

/*
 * The connection of datagram d[i], made if need be; NULL if it has none. `rx` is what the same
 * made of d[i - 1], if there is one.
 */
static struct client_entry *route(struct server *s, const struct udp_dgram *d, size_t i,
                                  struct quic_rx *rx, ns_t now)
{
    uint8_t buf[1500];
    struct quic_train answer = {.buf = buf, .cap = sizeof(buf), .max_count = 1};
    struct quic_conn *conn = NULL;

    if (i == 0 || !udp_dgram_same_route(&d[i], &d[i - 1]))
        rx->route = (struct quic_route){.local = address_quic(d[i].local),
                                        .remote = address_quic(d[i].remote)};
    rx->ecn = d[i].ecn;
    rx->p = d[i].p;
    rx->n = d[i].n;
    switch (quic_endpoint_route(s->endpoint, rx, now, &conn, &answer)) {
    case QUIC_ROUTE_CONN:
        return entry_of(conn);
    case QUIC_ROUTE_NEW:
        if (s->stop_at == NS_NEVER)
            return entry_new(s, conn, now);
        quic_endpoint_remove(s->endpoint, conn);
        quic_del(conn);
        return NULL; /* the next server may answer when the client asks again */
    case QUIC_ROUTE_ANSWER:
        answer_stateless(s, &answer);
        return NULL;
    case QUIC_ROUTE_DROP:
        return NULL;
    }
    return NULL;
}

static void on_udp(void *ctx, struct ring_udp *sock, struct udp_dgram *d, size_t n, ns_t now)
{
    struct server *s = ctx;
    struct client_entry *e, *next = NULL;
    struct quic_rx rx;
    size_t from = 0;

    (void)sock;
    if (n == 0)
        return;
    e = route(s, d, 0, &rx, now);
    for (size_t i = 1; i <= n; i++) {
        next = i < n ? route(s, d, i, &rx, now) : NULL;
        if (i < n && next == e)
            continue;
        if (e) {
            session_on_udp(&e->session, 0, &d[from], i - from, now);
            events(s, e, now);
            busy(s, e);
        }
        from = i;
        e = next;
    }
}

/* The session that this packet is for: by its destination address. */
static struct client_entry *owner(struct server *s, const struct vnet_split *p)
{
    uint32_t i = POOL_NONE;

    if (p->n >= 20 && p->p[0] >> 4 == 4)
        i = pool_owner(&s->pool, 4, p->p + 16);
    else if (p->n >= 40 && p->p[0] >> 4 == 6)
        i = pool_owner(&s->pool, 6, p->p + 24);
    return i == POOL_NONE ? NULL : s->clients[i];
}

static void to_sessions(struct server *s, struct vnet_split *pkts, size_t n, ns_t now)
{
    struct client_entry *e = NULL, *next;
    size_t from = 0;

    for (size_t i = 0; i <= n; i++) {
        next = i < n ? owner(s, &pkts[i]) : NULL;
        if (i > 0 && i < n && next == e)
            continue;
        if (e) {
            session_on_tun(&e->session, &pkts[from], i - from, now);
            busy(s, e);
        }
        from = i;
        e = next;
    }
}

static void on_tun(void *ctx, struct ring_tun *tun, struct ring_pkt *pkts, size_t n, ns_t now)
{
    struct server *s = ctx;
    struct vnet_split split[DEVICE_BATCH];

    (void)tun;
    while (n > 0) {
        size_t k = device_split_batch(&s->base.device, &pkts, &n, split);

        to_sessions(s, split, k, now);
    }
}

/* Close connections that have asked for nothing, or were refused, for long. */
static void sweep(struct server *s, ns_t now)
{
    ns_t next = NS_NEVER;

    for (uint32_t i = 0; i < s->max_clients; i++) {
        struct client_entry *e = s->clients[i];
        if (!e || e->slot != POOL_NONE || e->admit_by == NS_NEVER)
            continue;
        if (e->admit_by > now) {
            next = ns_min(next, e->admit_by);
            continue;
        }
        e->admit_by = NS_NEVER;
        quic_close(e->session.quic, H3_NO_ERROR, "no tunnel was opened", now);
        busy(s, e);
    }
    s->sweep_at = next == NS_NEVER ? next : ns_max(next, now + ADMIT_SWEEP);
}

static void on_deadline(void *ctx, ns_t now)
{
    struct server *s = ctx;
    struct quic_conn *conn;
    bool starved = false;

    if (s->stop_at <= now)
        ring_stop(s->base.ring, EXIT_OK);
    if (s->sweep_at <= now)
        sweep(s, now);
    /* One turn each: what is due once more, or for want of a train, has to wait. */
    for (size_t n = quic_endpoint_count(s->endpoint); n > 0 && !starved; n--) {
        conn = quic_endpoint_next_due(s->endpoint, now);
        if (!conn)
            break;
        struct client_entry *e = entry_of(conn);
        quic_tick(conn, now);
        events(s, e, now);
        starved = settle(s, e, now);
    }
}

static void on_flush(void *ctx, ns_t now)
{
    struct server *s = ctx;
    struct client_entry *e = s->busy, *next;
    bool starved = false;
    ns_t wake = NS_NEVER;

    s->busy = NULL;
    device_flush(&s->base.device);
    ring_hasten(s->base.ring);
    for (; e; e = next) {
        next = e->next_busy;
        e->busy = false;
        e->next_busy = NULL;
        starved |= settle(s, e, now);
    }
    for (e = s->busy; e; e = e->next_busy)
        wake = ns_min(wake, session_wake(&e->session));
    wake = ns_min(wake, quic_endpoint_deadline(s->endpoint));
    device_trim(&s->base.device, now);
    if (starved) /* a train that comes back brings the next on_flush */
        wake = ns_max(wake, now + SESSION_STARVED);
    ring_deadline_set(s->base.ring, ns_min(wake, ns_min(s->stop_at, s->sweep_at)));
}

static void on_signal(void *ctx, int signo, ns_t now)
{
    struct server *s = ctx;
    size_t n = quic_endpoint_count(s->endpoint);

    if (s->stop_at != NS_NEVER) {
        ring_stop(s->base.ring, EXIT_OK);
        return;
    }
    LOG_AT(s->log, LOG_INFO, "%s: saying goodbye to %zu connections", strsignal(signo), n);
    for (size_t i = 0; i < n; i++) {
        struct client_entry *e = entry_of(quic_endpoint_conn(s->endpoint, i));
        quic_close(e->session.quic, H3_NO_ERROR, "server stops", now);
        busy(s, e);
    }
    s->stop_at = now + (n ? DRAIN : 0);
}

static void on_tun_error(void *ctx, struct ring_tun *tun, int err, ns_t now)
{
    struct server *s = ctx;

    (void)tun;
    (void)now;
    LOG_AT(s->log, LOG_ERROR, "the TUN device is gone: %s", strerror(err));
    ring_stop(s->base.ring, EXIT_TUN);
}

/* A question by the control socket. */
static void on_question(void *ctx, const char *line, struct json *out, ns_t now)
{
    struct server *s = ctx;
    struct status_self self = base_self(&s->base, "server");

    self.state = "up";
    if (strcmp(line, "status") != 0) {
        status_unknown(out);
        return;
    }
    status_begin(out, &s->base.rates, &self, now);
    for (uint32_t i = 0; i < s->max_clients; i++) {
        struct client_entry *e = s->clients[i];

        if (!e || e->slot == POOL_NONE)
            continue;
        status_peer(out, &s->base.rates,
                    &(struct status_peer){.number = e->serial,
                                          .name = server_user(e),
                                          .interface = "",
                                          .session = &e->session,
                                          .since = e->since},
                    now);
    }
    status_end(out, &s->base.rates);
}

/* ---- setting up ------------------------------------------------------------------------ */

/* A killed server's socket outlives it a little: io_uring lets go of it in its own time. */
static int open_patiently(const struct udp_cfg *cfg, int *fd, char *why, size_t why_size)
{
    int rc = udp_open(cfg, fd, why, why_size);

    for (int i = 1; rc == -EADDRINUSE && i < TAKEN_TRIES; i++) {
        usleep(TAKEN_PAUSE_US);
        rc = udp_open(cfg, fd, why, why_size);
    }
    return rc;
}

static int open_socket(struct server *s)
{
    struct udp_cfg cfg = {.log = s->log};
    char host[256], why[WHY_SIZE] = "";
    uint16_t port = 443;
    int fd, rc;

    config_host_port(s->cfg->listen, 443, host, sizeof(host), &port);
    cfg.dual = host[0] == 0 || strcmp(host, "::") == 0;
    if (cfg.dual || udp_addr_parse(host, port, &cfg.bind))
        cfg.bind = udp_addr_any(AF_INET6, port);
    udp_addr_set_port(&cfg.bind, port);
    rc = open_patiently(&cfg, &fd, why, sizeof(why));
    if (rc && rc != -EADDRINUSE && host[0] == 0) { /* a machine without IPv6 */
        cfg.dual = false;
        cfg.bind = udp_addr_any(AF_INET, port);
        rc = open_patiently(&cfg, &fd, why, sizeof(why));
    }
    if (rc) {
        LOG_AT(s->log, LOG_ERROR, "%s", why);
        return EXIT_BIND;
    }
    if (ring_udp_add(s->base.ring, fd, NULL, &s->sock))
        return EXIT_INTERNAL;
    s->socks = socks_one(s->sock);
    return udp_local(ring_udp_fd(s->sock), &s->listening) ? EXIT_INTERNAL : 0;
}

/* The server's own addresses on the TUN, and the pool routed or masqueraded behind it. */
static int set_network(struct server *s)
{
    struct tun_prefix pools[2];
    struct ip_prefix a = {.addr = {.version = 4}, .len = (uint8_t)s->pool.len4};
    size_t n = 0;
    int rc;

    pool_addr4(&s->pool, 1, a.addr.b);
    s->self[0] = a.addr;
    if ((rc = host_address(&s->base.host, &a)))
        return rc;
    pools[n++] = address_tun_prefix(&a);
    if (s->pool.has6) {
        a = (struct ip_prefix){.addr = {.version = 6}, .len = (uint8_t)s->pool.len6};
        pool_addr6(&s->pool, 1, a.addr.b);
        s->self[1] = a.addr;
        if ((rc = host_address(&s->base.host, &a)))
            return rc;
        if (s->base.host.addr[1].addr.family)
            pools[n++] = address_tun_prefix(&a);
        else
            s->pool.has6 = false; /* switched off here: clients get none either */
    }
    if ((rc = host_up(&s->base.host)))
        return rc;
    return s->cfg->nat ? host_nat(&s->base.host, pools, n, true) : 0;
}

static void check_machine(struct server *s)
{
    struct netcheck_cfg cfg = {
        .server = true, .tun_name = s->base.host.tun.name, .ipv4 = true, .ipv6 = s->pool.has6};
    struct netcheck_item item[8];
    size_t n = netcheck_run(&cfg, item, ARRAY_LEN(item));

    netcheck_log(item, n < ARRAY_LEN(item) ? n : ARRAY_LEN(item), s->log);
}

static int open_endpoint(struct server *s)
{
    struct quic_endpoint_config cfg = {.accept = true, .max_conns = s->max_clients};

    cfg.retry = (enum quic_retry)s->cfg->retry;
    transport_config(&cfg.conn, s->cfg, s->tls, &s->rng, s->log);
    cfg.conn.qlog = s->cfg->qlog_dir ? &s->qlog.sink : NULL;
    memcpy(cfg.conn.reset_key, s->reset_key, sizeof(cfg.conn.reset_key));
    cfg.unix_offset = (ns_t)time(NULL) * NS_PER_S - ring_clock();
    s->endpoint = quic_endpoint_new(&cfg);
    return s->endpoint ? 0 : EXIT_INTERNAL;
}

static int set_up(struct server *s)
{
    static const struct ring_ops ops = {.on_udp = on_udp,
                                        .on_tun = on_tun,
                                        .on_deadline = on_deadline,
                                        .on_flush = on_flush,
                                        .on_signal = on_signal,
                                        .on_tun_error = on_tun_error};
    int rc;

    /* Sessions that are closing linger for a while beside those that serve. */
    s->max_clients = (uint32_t)s->cfg->max_clients + 256;
    s->cap.max = NUMBERED_MOST;
    s->clients = calloc(s->max_clients, sizeof(struct client_entry *));
    if (!s->clients)
        return EXIT_INTERNAL;
    if (s->cfg->qlog_dir && (rc = qlog_dir_open(&s->qlog, s->cfg->qlog_dir, s->log)))
        return rc;
    if ((rc = server_secrets(s)) ||
        (rc =
             transport_server_tls(s->cfg, s->log, span_of(s->ticket_key, sizeof(s->ticket_key)),
                                  &s->tls, s->pin, &s->own_cert)))
        return rc;
    if ((rc = base_open(&s->base, s->cfg, &ops, s, s->log)) || (rc = open_socket(s)) ||
        (rc = set_network(s)) || (rc = open_endpoint(s)))
        return rc;
    base_answer(&s->base, s->cfg, on_question, s, s->log);
    return 0;
}

static void tear_down(struct server *s)
{
    for (uint32_t i = 0; s->clients && i < s->max_clients; i++)
        if (s->clients[i])
            entry_del(s, s->clients[i]);
    quic_endpoint_del(s->endpoint);
    base_close(&s->base);
    tls_ctx_del(s->tls);
    qlog_dir_close(&s->qlog);
    server_secrets_free(s);
    free(s->clients);
}

int server_run(const struct config *config, const struct log *log)
{
    struct server *s = calloc(1, sizeof(*s));
    int status;

    if (!s)
        return EXIT_INTERNAL;
    s->cfg = config;
    s->log = log;
    s->rng = random_system();
    s->stop_at = s->sweep_at = NS_NEVER;
    rng_fill(&s->rng, &s->hash_seed, sizeof(s->hash_seed));
    status = set_up(s);
    if (status == 0) {
        server_announce(s);
        check_machine(s);
        status = ring_run(s->base.ring);
        if (status < 0)
            status = EXIT_INTERNAL;
    }
    tear_down(s);
    free(s);
    return status;
}
