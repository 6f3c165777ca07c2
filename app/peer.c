#include "app/peer.h"

#include "app/exit.h"
#include "app/keep.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LOOK_UP_EVERY (10 * NS_PER_S)

/* ---- names and keys -------------------------------------------------------------------- */

static int load_key(struct peer *p)
{
    const struct config *cfg = p->cfg;
    int rc;

    if (cfg->auth_key)
        snprintf(p->key, sizeof(p->key), "%s", cfg->auth_key);
    if (!cfg->auth_key_file)
        return 0;
    rc = keep_read_line(cfg->auth_key_file, p->key, sizeof(p->key));
    if (rc == 0 && config_is_key(p->key))
        return 0;
    LOG_AT(p->log, LOG_ERROR, "--auth-key-file %s: %s", cfg->auth_key_file,
           rc == 0         ? CONFIG_KEY_RULE
           : rc == -EINVAL ? "the first line is empty"
                           : strerror(-rc));
    return EXIT_FILE;
}

int peer_open(struct peer *p, const struct config *cfg, const struct log *log)
{
    memset(p, 0, sizeof(*p));
    p->cfg = cfg;
    p->log = log;
    config_host_port(cfg->server, 443, p->host, sizeof(p->host), &p->port);
    snprintf(p->authority, sizeof(p->authority), strchr(p->host, ':') ? "[%s]:%u" : "%s:%u",
             p->host, p->port);
    if (cfg->state_dir) {
        lease_load(cfg->state_dir, p->authority, p->lease);
        ticket_load(&p->ticket, cfg->state_dir, p->authority);
    }
    return load_key(p);
}

void peer_close(struct peer *p)
{
    resolve_stop(&p->lookup);
}

const char *peer_tls_name(const struct peer *p)
{
    return p->cfg->server_name ? p->cfg->server_name : p->host;
}

/* ---- addresses ------------------------------------------------------------------------- */

int peer_resolve(struct peer *p)
{
    const char *why;

    p->addrs = resolve_now(p->host, p->port, p->addr, &why);
    if (p->addrs > 0)
        return 0;
    LOG_AT(p->log, LOG_ERROR, "the server's name \"%s\" does not resolve: %s", p->host, why);
    return EXIT_RESOLVE;
}

const union udp_addr *peer_addr(const struct peer *p)
{
    return &p->addr[p->turn];
}

void peer_worked(struct peer *p, const union udp_addr *a)
{
    for (size_t i = 0; i < p->addrs; i++)
        if (udp_addr_equal(&p->addr[i], a))
            p->turn = i;
}

bool peer_has_addr(const struct peer *p, const union udp_addr *a)
{
    for (size_t i = 0; i < p->addrs; i++)
        if (udp_addr_equal(&p->addr[i], a))
            return true;
    return false;
}

static void on_resolved(void *ctx, const union udp_addr *addr, size_t n, ns_t now)
{
    struct peer *p = ctx;
    char text[UDP_ADDR_TEXT];
    size_t same = 0;

    for (size_t i = 0; i < n; i++)
        same += peer_has_addr(p, &addr[i]);
    if (same == n && n == p->addrs)
        return;
    memcpy(p->addr, addr, n * sizeof(*addr));
    p->addrs = n;
    p->turn = 0;
    LOG_AT(p->log, LOG_INFO, "%s is now %s", p->host,
           udp_addr_text(&addr[0], text, sizeof(text)));
    p->moved(p->moved_ctx, now);
}

void peer_failed(struct peer *p, struct ring *ring, peer_moved_fn *moved, void *ctx, ns_t now)
{
    union udp_addr a;

    p->turn = (p->turn + 1) % p->addrs;
    if (now - p->looked_up < LOOK_UP_EVERY || udp_addr_parse(p->host, p->port, &a) == 0)
        return;
    p->looked_up = now;
    p->moved = moved;
    p->moved_ctx = ctx;
    resolve_start(&p->lookup, ring, p->host, p->port, on_resolved, p);
}

/* ---- from one connection to the next --------------------------------------------------- */

void peer_prepare(struct peer *p, const union udp_addr *to, struct quic_config *quic)
{
    if (p->token_n && udp_addr_equal(&p->token_from, to)) {
        quic->token = span_of(p->token, p->token_n);
        p->token_n = 0;
    }
    quic->session = span_of(p->ticket.b, p->ticket.n);
    p->ticket.offered = p->ticket.n > 0;
}

/* A TLS session that met with an answer is used up. */
static void keep_session(struct peer *p, struct quic_conn *conn, ns_t now)
{
    struct quic_path_view v;
    int rc;

    if (quic_path_view(conn, 0, now, &v) || v.packets_received == 0)
        return;
    rc = ticket_next(&p->ticket, p->cfg->state_dir, p->authority, quic_new_session(conn));
    if (rc)
        LOG_AT(p->log, LOG_DEBUG, "%s: %s; the TLS session is not kept for a new start",
               p->cfg->state_dir, strerror(-rc));
}

void peer_keep(struct peer *p, const union udp_addr *from, struct quic_conn *conn, ns_t now)
{
    struct span token = quic_new_token(conn);

    if (token.n > 0 && token.n <= sizeof(p->token)) {
        memcpy(p->token, token.p, token.n);
        p->token_n = token.n;
        p->token_from = *from;
    }
    keep_session(p, conn, now);
}

void peer_lease(struct peer *p, struct span lease)
{
    int rc;

    if (lease.n != LEASE_TEXT || memcmp(p->lease, lease.p, lease.n) == 0)
        return;
    memcpy(p->lease, lease.p, lease.n);
    p->lease[lease.n] = 0;
    rc = p->cfg->state_dir ? lease_save(p->cfg->state_dir, p->authority, p->lease) : 0;
    if (rc)
        LOG_AT(p->log, LOG_DEBUG, "%s: %s; a new start may get other addresses",
               p->cfg->state_dir, strerror(-rc));
}
