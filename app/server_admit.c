#include "app/server_admit.h"

#include "app/address.h"
#include "app/exit.h"
#include "app/keep.h"
#include "masque/bulk.h"
#include "masque/request.h"

#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t unix_time(void)
{
    return (uint64_t)time(NULL);
}

/* ---- secrets --------------------------------------------------------------------------- */

/* The master secret, kept; each use derives its own from it. */
static int master_secret(struct server *s, uint8_t out[32])
{
    char path[PATH_MAX], buf[64];
    size_t n;
    int rc;

    rng_fill(&s->rng, out, 32);
    if (!s->cfg->state_dir)
        return 0;
    snprintf(path, sizeof(path), "%s/secret", s->cfg->state_dir);
    rc = keep_read(path, buf, sizeof(buf), &n);
    if (rc == 0 && n == 32) {
        memcpy(out, buf, 32);
        OPENSSL_cleanse(buf, sizeof(buf));
        return 0;
    }
    if (rc == 0 || rc == -ENOENT)
        rc = keep_write(s->cfg->state_dir, "secret", out, 32);
    if (rc) {
        LOG_AT(s->log, LOG_ERROR,
               "can't keep the server's secret in %s: %s (choose another place with "
               "--state-dir)",
               s->cfg->state_dir, strerror(-rc));
        return EXIT_FILE;
    }
    return 0;
}

static void derive(const uint8_t master[32], const char *label, uint8_t out[32])
{
    unsigned n = 0;
    uint8_t mac[EVP_MAX_MD_SIZE];

    HMAC(EVP_sha256(), master, 32, (const uint8_t *)label, strlen(label), mac, &n);
    memcpy(out, mac, 32);
}

/* The key made at the first start without any, kept for the later ones. */
static int own_key(struct server *s)
{
    char key[300];
    int rc = -ENOENT;

    if (s->cfg->state_dir) {
        snprintf(s->key_file, sizeof(s->key_file), "%s/auth.key", s->cfg->state_dir);
        rc = keep_read_line(s->key_file, key, sizeof(key));
    }
    if (rc == -ENOENT) {
        char line[64];
        auth_make_key(&s->rng, key);
        int n = snprintf(line, sizeof(line), "%.60s\n", key);
        rc = s->cfg->state_dir ? keep_write(s->cfg->state_dir, "auth.key", line, (size_t)n) : 0;
        if (rc == 0) /* once, for who sits here; a journal is read by others */
            LOG_AT(s->log, LOG_INFO, "made a key for clients%s%s, kept in %s",
                   getenv("JOURNAL_STREAM") ? "" : ": ", getenv("JOURNAL_STREAM") ? "" : key,
                   s->key_file[0] ? s->key_file : "memory");
    }
    if (rc) {
        LOG_AT(s->log, LOG_ERROR, "%s: %s (choose another place with --state-dir)", s->key_file,
               rc == -EINVAL ? "the first line is empty" : strerror(-rc));
        return EXIT_FILE;
    }
    s->own_key = true;
    return auth_add(s->auth, NULL, key) ? EXIT_INTERNAL : 0;
}

static int users(struct server *s)
{
    const struct config *cfg = s->cfg;
    char key[300], name[AUTH_NAME_MAX];
    int rc;

    s->auth = auth_new(cfg->no_auth);
    if (!s->auth)
        return EXIT_INTERNAL;
    for (size_t i = 0; i < cfg->users.n; i++) {
        const char *colon = strchr(cfg->users.item[i], ':');
        snprintf(name, sizeof(name), "%.*s", (int)(colon - cfg->users.item[i]),
                 cfg->users.item[i]);
        rc = auth_add(s->auth, name, colon + 1);
        if (rc) {
            LOG_AT(s->log, LOG_ERROR, "--user: the name \"%s\" is given twice", name);
            return EXIT_USAGE;
        }
    }
    if (cfg->auth_key_file) {
        rc = keep_read_line(cfg->auth_key_file, key, sizeof(key));
        if (rc || !config_is_key(key)) {
            LOG_AT(s->log, LOG_ERROR, "--auth-key-file %s: %s", cfg->auth_key_file,
                   rc == 0         ? CONFIG_KEY_RULE
                   : rc == -EINVAL ? "the first line is empty"
                                   : strerror(-rc));
            return EXIT_FILE;
        }
        snprintf(s->key_file, sizeof(s->key_file), "%s", cfg->auth_key_file);
        return auth_add(s->auth, NULL, key) ? EXIT_INTERNAL : 0;
    }
    if (cfg->auth_key)
        return auth_add(s->auth, NULL, cfg->auth_key) ? EXIT_INTERNAL : 0;
    if (auth_count(s->auth) > 0)
        return 0;
    if (cfg->no_auth) {
        LOG_AT(s->log, LOG_WARN,
               "--no-auth: EVERYBODY who reaches this port may use the tunnel");
        return 0;
    }
    return own_key(s);
}

int server_secrets(struct server *s)
{
    uint8_t master[32];
    int rc;

    s->journal.fd = -1;
    if ((rc = users(s)) || (rc = master_secret(s, master)))
        return rc;
    derive(master, "mqvpn lease", s->lease_secret);
    derive(master, "mqvpn stateless reset", s->reset_key);
    derive(master, "mqvpn session tickets", s->ticket_key);
    OPENSSL_cleanse(master, sizeof(master));
    if (pool_init(&s->pool, s->cfg->subnet, s->cfg->subnet6, (uint32_t)s->cfg->max_clients))
        return EXIT_INTERNAL;
    if (!s->cfg->state_dir)
        return 0;
    rc = lease_journal_open(&s->journal, s->cfg->state_dir, &s->pool, unix_time(), LEASE_HOLD);
    if (rc)
        LOG_AT(s->log, LOG_WARN, "%s/leases: %s; addresses may change at the next restart",
               s->cfg->state_dir, strerror(-rc));
    return 0;
}

void server_secrets_free(struct server *s)
{
    lease_journal_close(&s->journal);
    pool_free(&s->pool);
    auth_del(s->auth);
    OPENSSL_cleanse(s->lease_secret, sizeof(s->lease_secret));
    OPENSSL_cleanse(s->reset_key, sizeof(s->reset_key));
    OPENSSL_cleanse(s->ticket_key, sizeof(s->ticket_key));
}

/* Addresses that mean nothing beyond their own network (RFC 1918, 6598, 4193, 3927). */
static bool is_private(const union udp_addr *a)
{
    struct quic_addr q = address_quic(a);
    const uint8_t *ip = q.ip;

    if (q.family == 6)
        return (ip[0] & 0xfe) == 0xfc || (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80);
    return ip[0] == 10 || (ip[0] == 172 && (ip[1] & 0xf0) == 16) ||
           (ip[0] == 192 && ip[1] == 168) || (ip[0] == 100 && (ip[1] & 0xc0) == 64) ||
           (ip[0] == 169 && ip[1] == 254);
}

/*
 * The address that clients may find this host at: the one listened on, else the one that
 * it would send from to the Internet. Family 0 if there is none.
 */
static union udp_addr outward(const struct server *s)
{
    static const char *const far[] = {"192.0.2.1", "2001:db8::1"}; /* nothing is sent */
    union udp_addr to, none = {.sa = {0}};
    struct netcfg_hop hop;
    char why[WHY_SIZE];

    if (!udp_addr_is_any(&s->listening))
        return s->listening;
    for (size_t i = 0; i < ARRAY_LEN(far); i++) {
        struct tun_addr dst;
        if (udp_addr_parse(far[i], 0, &to))
            continue;
        dst = address_tun_of_udp(&to);
        if (netcfg_route_get(s->base.host.nc, &dst, 0, NULL, &hop, why, sizeof(why)) == 0 &&
            hop.source.family)
            return udp_addr_raw(hop.source.family, hop.source.ip, udp_addr_port(&s->listening));
    }
    return none;
}

/* "192.0.2.1", "[2001:db8::1]:4433": the server as a client would name it. */
static void own_name(const struct server *s, const union udp_addr *at, char *out, size_t size)
{
    char host[UDP_ADDR_TEXT] = "THIS-HOST";
    uint16_t port = udp_addr_port(&s->listening);

    /* With a certificate of its own choice, the client must use the name in it. */
    if (s->own_cert && at->sa.sa_family) {
        struct ip_addr ip = {0};
        struct quic_addr q = address_quic(at);
        ip = ip_addr_of(q.family, q.ip);
        ip_addr_format(&ip, host, sizeof(host));
    }
    if (port == 443)
        snprintf(out, size, "%s", host);
    else
        snprintf(out, size, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
}

void server_announce(const struct server *s)
{
    const char *key = "";
    union udp_addr at = outward(s);
    char where[UDP_ADDR_TEXT], name[UDP_ADDR_TEXT + 16];

    udp_addr_text(&s->listening, where, sizeof(where));
    LOG_AT(s->log, LOG_INFO, "listening on UDP %s, pool %s%s%s, %s, %s", where, s->cfg->subnet,
           s->pool.has6 ? " and " : "", s->pool.has6 ? s->cfg->subnet6 : "",
           s->base.host.tun.name, ring_kind_name(s->base.ring));
    own_name(s, &at, name, sizeof(name));
    if (s->key_file[0] || s->own_key)
        key = " --auth-key-file mqvpn.key";
    else if (auth_count(s->auth))
        key = " --auth-key-file FILE-WITH-THE-USERS-KEY";
    LOG_AT(s->log, LOG_INFO, "connect with: mqvpn client %s%s%s%s", name,
           s->own_cert ? " --pin " : "", s->own_cert ? s->pin : "", key);
    if (s->key_file[0])
        LOG_AT(s->log, LOG_INFO, "where mqvpn.key is a copy of this host's %s", s->key_file);
    if (s->own_cert && at.sa.sa_family && is_private(&at))
        LOG_AT(s->log, LOG_INFO,
               "%s is an address of this network alone: from outside, use the public one, and "
               "let UDP port %u through to here",
               name, udp_addr_port(&s->listening));
}

/* ---- requests -------------------------------------------------------------------------- */

static void respond(struct client_entry *e, uint64_t stream, int status, ns_t now)
{
    struct masque_head head;

    if (masque_response_build(status, NULL, 0, &head) == 0)
        h3_respond(e->session.h3, stream, head.field, head.n, true);
    if (++e->failures >= ADMIT_FAILURES_MAX)
        quic_close(e->session.quic, H3_EXCESSIVE_LOAD, "too many refused requests", now);
}

const char *server_user(const struct client_entry *e)
{
    return strcmp(e->user, "-") == 0 ? "a client" : e->user;
}

/* Where the client is, in text. */
static const char *from(const struct client_entry *e, ns_t now, char out[QUIC_ADDR_TEXT])
{
    struct quic_path_view v = {0};

    quic_path_view(e->session.quic, 0, now, &v);
    return quic_addr_text(&v.route.remote, out);
}

/* A plain visitor. */
static void greet(struct client_entry *e, uint64_t stream)
{
    static const char text[] = "It works.\n";
    struct h3_field f[] = {H3_FIELD_LIT(":status", "200"),
                           H3_FIELD_LIT("content-type", "text/plain")};

    if (h3_respond(e->session.h3, stream, f, ARRAY_LEN(f), false) == 0)
        h3_data(e->session.h3, stream, SPAN_LIT(text), true);
}

/* Whom the credential lets in; NULL for nobody. */
static const char *authenticate(const struct server *s, const struct masque_request *r)
{
    uint8_t buf[512];
    struct span user = {0}, key = r->credential;

    if (r->auth == MASQUE_AUTH_BASIC) {
        if (masque_basic_decode(r->credential, buf, sizeof(buf), &user, &key))
            return NULL;
    } else if (r->auth != MASQUE_AUTH_BEARER) {
        key = (struct span){0};
    }
    return auth_check(s->auth, user, key);
}

/* The session `number` has no addresses any more. */
static void oust(struct server *s, uint32_t number, const char *why, ns_t now)
{
    struct client_entry *old = s->clients[number];

    old->slot = POOL_NONE;
    quic_close(old->session.quic, H3_NO_ERROR, why, now);
    if (!old->busy) {
        old->busy = true;
        old->next_busy = s->busy;
        s->busy = old;
    }
}

/* When anything came from this client last. */
static ns_t heard(void *ctx, uint32_t number)
{
    const struct server *s = ctx;
    const struct client_entry *e = s->clients[number];
    ns_t last = e->since;

    for (size_t i = 0; i < quic_path_count(e->session.quic); i++) {
        struct quic_path_view v;
        if (quic_path_view(e->session.quic, i, last, &v) == 0)
            last = ns_max(last, v.last_received);
    }
    return last;
}

/*
 * All addresses are taken: those of the client that has been silent the longest, if it has been
 * for ADMIT_SILENT. One that is there is heard of every 10 s at least (transport.c); the session
 * of one that isn't would hold them for the rest of --grace.
 */
static uint32_t take_silent(struct server *s, const struct client_entry *e, ns_t now)
{
    uint32_t slot = pool_silent(&s->pool, heard, s, ns_sub(now, ADMIT_SILENT)), former;
    struct ip_addr v4 = {.version = 4};
    char text[IP_ADDR_TEXT];

    if (slot == POOL_NONE)
        return POOL_NONE;
    former = pool_claim(&s->pool, slot, e->number);
    pool_addr4(&s->pool, slot, v4.b);
    LOG_AT(s->log, LOG_WARN,
           "%s, silent for %u s, loses %s to %s: no other address is left in %s",
           server_user(s->clients[former]), (unsigned)((now - heard(s, former)) / NS_PER_S),
           ip_addr_format(&v4, text, sizeof(text)), server_user(e), s->cfg->subnet);
    oust(s, former, "its addresses went to another client", now);
    return slot;
}

/*
 * The slot of a lease if it holds, else a free one, else that of a client which is gone; POOL_NONE
 * when there is none. `*came_s` is the expiry of the lease, 0 if it does not hold.
 */
static uint32_t take_slot(struct server *s, const struct client_entry *e, struct span lease,
                          uint64_t *came_s, ns_t now)
{
    uint64_t now_s = unix_time(), expiry_s;
    uint32_t slot = lease_check(s->lease_secret, &s->pool, lease, e->user, now_s, &expiry_s);
    uint32_t former;

    *came_s = 0;
    if (slot == POOL_NONE || !pool_may_claim(&s->pool, slot, expiry_s, now_s)) {
        slot = pool_take(&s->pool, e->number, now_s);
        return slot == POOL_NONE ? take_silent(s, e, now) : slot;
    }
    *came_s = expiry_s;
    former = pool_claim(&s->pool, slot, e->number);
    if (former != POOL_NONE && former != e->number)
        oust(s, former, "replaced by a newer connection", now);
    return slot;
}

/* Tell the client its addresses, and that we route what its scope asks for. */
static int hand_out(struct server *s, struct client_entry *e, const struct masque_scope *scope)
{
    struct ip_assign a[2] = {0};
    struct ip_range r[2];
    size_t n = 0;

    a[n].prefix.addr.version = 4;
    a[n].prefix.len = 32;
    pool_addr4(&s->pool, e->slot, a[n++].prefix.addr.b);
    if (s->pool.has6) {
        a[n].prefix.addr.version = 6;
        a[n].prefix.len = 128;
        pool_addr6(&s->pool, e->slot, a[n++].prefix.addr.b);
    }
    cip_set_self(&e->session.cip, &s->self[0], &s->self[1]);
    return cip_assign(&e->session.cip, a, n) ||
           cip_advertise(&e->session.cip, r, masque_scope_ranges(scope, true, s->pool.has6, r));
}

/* Let the client in on `stream`. */
static void admit(struct server *s, struct client_entry *e, uint64_t stream,
                  const struct masque_request *r, struct span lease, ns_t now)
{
    char token[LEASE_TEXT + 1], where[QUIC_ADDR_TEXT], text[IP_ADDR_TEXT];
    struct ip_addr v4 = {.version = 4};
    struct h3_field extra[2];
    size_t nextra = 0;
    struct masque_head head;
    uint64_t expiry = unix_time() + LEASE_SECONDS, came;

    e->slot = take_slot(s, e, lease, &came, now);
    if (e->slot == POOL_NONE) {
        LOG_AT(s->log, LOG_WARN, "%s: no address left in %s; widen --subnet or --max-clients",
               server_user(e), s->cfg->subnet);
        e->user[0] = 0;
        respond(e, stream, 503, now);
        return;
    }
    pool_leases(&s->pool, e->slot, came, expiry);
    lease_make(s->lease_secret, &s->pool, e->slot, e->user, expiry, token);
    extra[nextra++] = h3_field_secret(h3_field_str(LEASE_FIELD, token));
    if (r->bulk)
        extra[nextra++] = h3_field_str(BULK_FIELD, BULK_VERSION);
    if (masque_response_build(200, extra, nextra, &head) ||
        h3_respond(e->session.h3, stream, head.field, head.n, false) ||
        session_open(&e->session, stream, r->bulk) || hand_out(s, e, &r->scope)) {
        quic_close(e->session.quic, H3_INTERNAL_ERROR, "out of memory", now);
        server_release(s, e);
        return;
    }
    lease_journal_add(&s->journal, e->slot, expiry);
    pool_addr4(&s->pool, e->slot, v4.b);
    LOG_AT(s->log, LOG_INFO, "%s from %s has %s", server_user(e), from(e, now, where),
           ip_addr_format(&v4, text, sizeof(text)));
}

void server_request(struct server *s, struct client_entry *e, const struct session_event *ev,
                    ns_t now)
{
    char text[QUIC_ADDR_TEXT];
    struct masque_request r;
    const char *user;
    int status = masque_request_parse(ev->fields, ev->n, (struct span){0}, &r);

    if (status == 404 && h3_span_is(h3_fields_value(ev->fields, ev->n, ":method"), "GET") &&
        h3_span_is(h3_fields_value(ev->fields, ev->n, ":path"), "/")) {
        greet(e, ev->stream);
        return;
    }
    if (status == 0 && e->slot != POOL_NONE)
        status = 400; /* one tunnel for each connection */
    if (status == 0 && r.scope.target == MASQUE_TARGET_HOST)
        status = 501; /* tunnels to one named host are not served */
    if (status) {
        respond(e, ev->stream, status, now);
        return;
    }
    user = authenticate(s, &r);
    if (!user) {
        LOG_AT(s->log, LOG_WARN, "a client from %s was refused: %s", from(e, now, text),
               r.auth == MASQUE_AUTH_NONE ? "it showed no key" : "wrong key");
        respond(e, ev->stream, r.proxy_auth ? 407 : 401, now);
        return;
    }
    snprintf(e->user, sizeof(e->user), "%s", user);
    admit(s, e, ev->stream, &r, h3_fields_value(ev->fields, ev->n, LEASE_FIELD), now);
}

void server_asked(struct client_entry *e, const struct session_event *ev)
{
    struct ip_assign a[CIP_PREFIXES_MAX];
    struct cip *c = &e->session.cip;
    size_t n = c->ntheirs;

    memcpy(a, c->theirs, n * sizeof(*a));
    for (size_t i = 0; i < n; i++) {
        if (a[i].prefix.addr.version != ev->asked.prefix.addr.version)
            continue;
        a[i].request_id = ev->asked.request_id;
        cip_assign(c, a, n);
        return;
    }
    cip_refuse(c, ev->asked.request_id);
}

void server_release(struct server *s, struct client_entry *e)
{
    if (e->slot == POOL_NONE)
        return;
    pool_release(&s->pool, e->slot, e->number, unix_time() + LEASE_HOLD);
    e->slot = POOL_NONE;
}
