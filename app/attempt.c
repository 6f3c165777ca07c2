#include "app/attempt.h"

#include "app/address.h"
#include "app/exit.h"
#include "app/transport.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OPEN_WITHIN (15 * NS_PER_S) /* from the first packet to a tunnel */

static int family_of(const struct link *link)
{
    return link->family == AF_INET6 ? 6 : 4;
}

/* A socket bound to the link. Returns 0, or an exit status after telling why. */
static int open_socket(struct attempt *a, const struct attempt_env *env,
                       const struct link *link, bool *hopeless)
{
    struct udp_cfg udp = {
        .bind = udp_addr_any(link->family, 0), .device = link->name, .log = env->log};
    char why[WHY_SIZE] = "";
    struct ring_udp *sock;
    int fd, rc = udp_open(&udp, &fd, why, sizeof(why));

    *hopeless = rc != -ENODEV;
    if (rc) {
        LOG_AT(env->log, LOG_ERROR, "%s", why);
        return rc == -EPERM ? EXIT_PRIVILEGE : EXIT_BIND;
    }
    if (ring_udp_add(env->ring, fd, a, &sock))
        return EXIT_INTERNAL;
    if (socks_add(&a->socks, (uint32_t)link->ifindex, family_of(link), link->priority, sock)) {
        ring_udp_del(sock);
        return EXIT_INTERNAL;
    }
    return 0;
}

/* The connection and its session. Returns 0 or an exit status after telling why. */
static int open_session(struct attempt *a, const struct attempt_env *env, ns_t now)
{
    struct session_cfg cfg = {.socks = &a->socks,
                              .device = env->device,
                              .log = env->log,
                              .mtu_max = (size_t)env->cfg->mtu,
                              .sched = sched_at((size_t)env->cfg->scheduler)};
    struct quic_route route;
    struct quic_config quic;
    struct quic_conn *conn;

    if (attempt_route(a, &a->link, &a->remote, &route))
        return EXIT_INTERNAL;
    transport_config(&quic, env->cfg, env->tls, env->rng, env->log);
    quic.qlog = env->qlog;
    quic.max_udp_payload = transport_payload(a->link.mtu_bytes, a->link.family == AF_INET6);
    rng_fill(env->rng, &cfg.hash_seed, sizeof(cfg.hash_seed));
    rng_fill(env->rng, &cfg.grease, sizeof(cfg.grease));
    peer_prepare(env->peer, &a->remote, &quic);
    conn = quic_connect(&quic, peer_tls_name(env->peer), &route, now);
    if (conn && session_init(&a->session, conn, &cfg) == 0)
        return quic_path_cap(conn, 0, a->link.rate_bps) ? EXIT_INTERNAL : 0;
    quic_del(conn);
    LOG_AT(env->log, LOG_ERROR, "can't make a connection: out of memory, or \"%s\" is no name",
           peer_tls_name(env->peer));
    return EXIT_INTERNAL;
}

static void close_sockets(struct attempt *a)
{
    while (a->socks.n > 0)
        ring_udp_del(a->socks.item[--a->socks.n].sock);
}

int attempt_new(struct attempt **out, const struct attempt_env *env, const struct link *link,
                const union udp_addr *remote, ns_t now, bool *hopeless)
{
    struct attempt *a = calloc(1, sizeof(*a));
    char text[UDP_ADDR_TEXT];
    int rc;

    *hopeless = true;
    if (!a)
        return EXIT_INTERNAL;
    a->link = *link;
    a->remote = *remote;
    a->open_by = now + OPEN_WITHIN;
    a->paths_at = NS_NEVER;
    rc = open_socket(a, env, link, hopeless);
    if (rc == 0 && (rc = open_session(a, env, now))) {
        *hopeless = true;
        close_sockets(a);
    }
    if (rc) {
        free(a);
        return rc;
    }
    LOG_AT(env->log, LOG_INFO, "connecting to %s via %s",
           udp_addr_text(remote, text, sizeof(text)), link->name);
    *out = a;
    return 0;
}

void attempt_del(struct attempt *a, ns_t now)
{
    session_flush(&a->session, now);
    session_free(&a->session);
    close_sockets(a);
    free(a);
}

/* ---- further links --------------------------------------------------------------------- */

int attempt_route(const struct attempt *a, const struct link *link,
                  const union udp_addr *remote, struct quic_route *out)
{
    struct quic_route route = {.remote = address_quic(remote),
                               .ifindex = (uint32_t)link->ifindex};
    struct ring_udp *sock = socks_find(&a->socks, &route);
    union udp_addr local;

    if (!sock || link->family != remote->sa.sa_family)
        return QUIC_INVAL;
    local = udp_addr_raw(link->family, link->local.ip, udp_addr_port(ring_udp_local(sock)));
    route.local = address_quic(&local);
    *out = route;
    return 0;
}

bool attempt_has(const struct attempt *a, const struct link *link)
{
    return socks_has(&a->socks, (uint32_t)link->ifindex, family_of(link));
}

int attempt_open(struct attempt *a, const struct attempt_env *env, const struct link *link)
{
    bool hopeless;

    return attempt_has(a, link) ? 0 : open_socket(a, env, link, &hopeless);
}

void attempt_close(struct attempt *a, int ifindex, sa_family_t family)
{
    struct ring_udp *sock =
        socks_take(&a->socks, (uint32_t)ifindex, family == AF_INET6 ? 6 : 4);

    if (sock)
        ring_udp_del(sock);
}

int attempt_fit(struct attempt *a, size_t path, const struct link *link, ns_t now)
{
    size_t payload = transport_payload(link->mtu_bytes, link->family == AF_INET6);
    int rc = quic_path_mtu_max(a->session.quic, path, payload, now);

    return rc ? rc : quic_path_cap(a->session.quic, path, link->rate_bps);
}

int attempt_move(struct attempt *a, const struct attempt_env *env, size_t path,
                 const struct link *link, ns_t now)
{
    struct quic_route route;
    int rc = attempt_open(a, env, link);

    if (rc == 0)
        rc = attempt_route(a, link, &a->remote, &route);
    if (rc == 0)
        rc = quic_path_move(a->session.quic, path, &route, now);
    if (rc == 0)
        rc = attempt_fit(a, path, link, now);
    if (rc)
        return rc;
    if (a->link.ifindex != link->ifindex || a->link.family != link->family)
        attempt_close(a, a->link.ifindex, a->link.family);
    a->link = *link;
    return 0;
}
