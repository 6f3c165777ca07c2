#include <stdio.h>
#include <string.h>

#include "quic/build.h"
#include "quic/guard.h"

/* ---- addresses ----------------------------------------------------------------------- */

/* IPv6 in text by RFC 5952: the longest run of two or more zero groups becomes "::". */
static char *ip6_text(const uint8_t *ip, char *at)
{
    int best = -1, best_n = 1;
    for (int i = 0; i < 8; i++) {
        int n = 0;
        while (i + n < 8 && !ip[2 * (i + n)] && !ip[2 * (i + n) + 1])
            n++;
        if (n > best_n) {
            best = i;
            best_n = n;
        }
    }
    for (int i = 0; i < 8; i++) {
        if (i == best) {
            at += sprintf(at, "::");
            i += best_n - 1;
            continue;
        }
        bool colon = i && i != best + best_n;
        at += sprintf(at, colon ? ":%x" : "%x", (unsigned)(ip[2 * i] << 8 | ip[2 * i + 1]));
    }
    return at;
}

char *quic_addr_text(const struct quic_addr *a, char out[QUIC_ADDR_TEXT])
{
    if (a->family == 4) {
        snprintf(out, QUIC_ADDR_TEXT, "%u.%u.%u.%u:%u", a->ip[0], a->ip[1], a->ip[2], a->ip[3],
                 a->port);
    } else if (a->family == 6) {
        out[0] = '[';
        char *at = ip6_text(a->ip, out + 1);
        sprintf(at, "]:%u", a->port);
    } else {
        snprintf(out, QUIC_ADDR_TEXT, "none");
    }
    return out;
}

/* ---- routes -------------------------------------------------------------------------- */

static void route_free(struct quic_conn *c, struct quic_path *p, struct path_route *r)
{
    if (r->used && r->has_cid)
        cid_remote_release(&p->theirs, r->cid_seq);
    c->ext_news = true;
    memset(r, 0, sizeof(*r));
}

/* A packet on a path that was ahead: the client has opened it. */
static struct path_route *arrive(struct quic_conn *c, struct quic_path *p,
                                 const struct quic_route *route, const struct quic_cid *dcid)
{
    if (!c->server || !c->complete || !guard_port(route->remote.port))
        return NULL;
    conn_path_start(c, p, route);
    p->route[0].dcid = *dcid;
    c->cfg.ext->on_path(c->ext, conn_path_index(c, p), EXT_PATH_ARRIVED, c->now);
    return path_current(p);
}

struct path_route *conn_path_route(struct quic_conn *c, struct quic_path *p,
                                   const struct quic_route *route, const struct quic_cid *dcid)
{
    struct path_route *known = path_find(p, route), *cur = path_current(p);
    if (known)
        return known;
    if (p->phase == PATH_ENDED) /* nothing is sent there: it doesn't matter where it is */
        return cur->used ? cur : NULL;
    if (p->phase == PATH_AHEAD)
        return arrive(c, p, route, dcid);
    if (!c->server)
        return quic_addr_eq(&route->remote, &cur->route.remote) ? cur : NULL;
    if (!c->complete || !guard_port(route->remote.port))
        return NULL;
    /* One that is not proven yet has its time, whatever comes from elsewhere: copies, perhaps. */
    if (!cur->validated && path_fallback(p, cur) && ns_sub(c->now, cur->since) < conn_pto(c))
        return NULL;
    struct path_route *r = path_spare(p);
    route_free(c, p, r);
    path_route_set(r, route);
    r->since = c->now;
    r->dcid = *dcid;
    /* Another ID of the peer's for another address, if the peer did the same (9.5). */
    if (!cid_eq(dcid, &cur->dcid) && cid_remote_reserve(&p->theirs, &r->cid_seq) == 0)
        r->has_cid = true;
    return r;
}

static bool same_ip(const struct quic_addr *a, const struct quic_addr *b)
{
    return a->family == b->family && memcmp(a->ip, b->ip, 16) == 0;
}

/* Whether only a port differs, as after a NAT rebinding. */
static bool same_host(const struct quic_route *a, const struct quic_route *b)
{
    return same_ip(&a->remote, &b->remote) &&
           (!a->local.family || !b->local.family || same_ip(&a->local, &b->local));
}

/* Make `r` the route of the path. */
static void move_to(struct quic_conn *c, struct quic_path *p, struct path_route *r)
{
    p->current = (unsigned)(r - p->route);
    recovery_ecn_restart(&p->recovery);
    c->ext_news = true;
    if (r->has_cid) {
        cid_remote_adopt(&p->theirs, r->cid_seq);
        r->has_cid = false;
    }
    conn_event(c, QUIC_EV_PATH_ROUTE, conn_path_index(c, p), 0, 0);
    conn_tell_recovery(c);
}

static void restart_estimates(struct quic_conn *c, struct quic_path *p)
{
    recovery_reset_path(&p->recovery, c->now);
    mtu_reset(&p->mtu, c->now);
    conn_path_mtu(c, p);
}

void conn_path_follow(struct quic_conn *c, struct quic_path *p, struct path_route *r,
                      uint64_t pn, bool probing, const struct quic_cid *dcid)
{
    r->dcid = *dcid;
    bool newest = p->largest_non_probing == QUIC_PN_NONE || pn > p->largest_non_probing;
    if (probing || !newest)
        return;
    p->largest_non_probing = pn;
    struct path_route *old = path_current(p);
    if (r == old || !c->server || !p->used) /* clients decide for themselves (RFC 9000 9) */
        return;
    char text[QUIC_ADDR_TEXT];
    LOG_AT(c->cfg.log, LOG_INFO, "quic: the peer moved to %s",
           quic_addr_text(&r->route.remote, text));
    r->reset_due = !same_host(&r->route, &old->route);
    ns_t pto = conn_pto(c);
    if (!r->validated)
        validate_start(&r->validate, pto, c->now);
    /* Is the old one really gone? (RFC 9000 9.3.3) */
    if (old->validated)
        validate_start(&old->validate, pto, c->now);
    move_to(c, p, r);
}

/* ---- the preferred address of a server (RFC 9000 9.6) --------------------------------- */

void conn_path_preferred(struct quic_conn *c)
{
    struct quic_path *p = &c->path[0];
    const struct tparam_preferred *a = &c->peer.preferred;
    struct path_route *cur = path_current(p), *r = path_spare(p);
    struct quic_route route = cur->route;
    bool ip4 = route.remote.family == 4;
    if (c->server || c->cfg.no_preferred || !c->peer.has_preferred || r->used)
        return;
    memset(route.remote.ip, 0, sizeof(route.remote.ip));
    memcpy(route.remote.ip, ip4 ? a->ip4 : a->ip6, ip4 ? 4 : 16);
    route.remote.port = ip4 ? a->port4 : a->port6;
    if (quic_addr_eq(&route.remote, &cur->route.remote) ||
        !guard_preferred(&cur->route.remote, &route.remote) ||
        cid_remote_reserve_seq(&p->theirs, 1) != 0)
        return;
    path_route_set(r, &route);
    r->has_cid = true;
    r->cid_seq = 1;
    r->validated = true; /* probes only, until it answers */
    r->preferred = true;
    validate_start(&r->validate, conn_pto(c), c->now);
}

/* It has answered: from here on everything goes there. */
static void follow_preferred(struct quic_conn *c, struct quic_path *p, struct path_route *r)
{
    char text[QUIC_ADDR_TEXT];
    bool reset = !same_host(&r->route, &path_current(p)->route);
    r->preferred = false;
    c->preferred_taken = true;
    LOG_AT(c->cfg.log, LOG_INFO, "quic: over to the server's preferred address %s",
           quic_addr_text(&r->route.remote, text));
    move_to(c, p, r);
    if (reset)
        restart_estimates(c, p);
    p->ping_due = true; /* only more than probing frames tells the server (9.2) */
}

int conn_on_path_response(struct quic_conn *c, struct quic_path *p, const uint8_t data[8])
{
    for (int i = 0; i < PATH_ROUTES; i++) {
        struct path_route *r = &p->route[i];
        if (!r->used || !validate_on_response(&r->validate, data, c->now))
            continue;
        r->validated = c->ext_news = true;
        conn_event(c, QUIC_EV_PATH_VALIDATED, conn_path_index(c, p), 0, 0);
        /* From another address it may come again; what differs by the port has its token. */
        if (p->proven && r->reset_due && r == path_current(p))
            conn_issue_token(c, &r->route.remote);
        if (!p->proven && r == path_current(p))
            conn_path_proven(c, p);
        if (r->preferred)
            follow_preferred(c, p, r);
        else if (r->reset_due && r == path_current(p))
            restart_estimates(c, p);
        r->reset_due = false;
        /* The address is proven, but not yet that 1200 bytes get there (8.2.1). */
        if (r->small)
            validate_start(&r->validate, conn_pto(c), c->now);
        r->small = false;
        conn_tell_recovery(c);
        break;
    }
    return 0;
}

static void validation_failed(struct quic_conn *c, struct quic_path *p, struct path_route *r)
{
    struct path_route *other = path_fallback(p, r);
    c->ext_news = true;
    if (r != path_current(p)) {
        route_free(c, p, r);
    } else if (other) {
        move_to(c, p, other);
        route_free(c, p, r);
    } else if (!r->validated || !p->proven) {
        if (c->n_ext_rows)
            c->cfg.ext->on_path(c->ext, conn_path_index(c, p), EXT_PATH_FAILED, c->now);
        if (p->used && !r->validated)
            conn_vanish(c, QUIC_CLOSE_LOCAL, "no way to the peer is left");
    }
}

void conn_path_tick(struct quic_conn *c, struct quic_path *p)
{
    for (int i = 0; i < PATH_ROUTES && conn_alive(c) && p->used; i++)
        if (p->route[i].used && validate_tick(&p->route[i].validate, c->now))
            validation_failed(c, p, &p->route[i]);
}

int quic_path_move(struct quic_conn *c, size_t path, const struct quic_route *route, ns_t now)
{
    c->now = now;
    if (path >= c->n_paths || !c->path[path].used || c->server || !conn_alive(c) ||
        (c->peer.disable_active_migration && !c->preferred_taken))
        return QUIC_INVAL;
    struct quic_path *p = &c->path[path];
    if (!c->confirmed || cid_remote_rotate(&p->theirs) != 0)
        return QUIC_BLOCKED;
    struct path_route *r = path_spare(p);
    for (int i = 0; i < PATH_ROUTES; i++) /* to fall back to, only the present one counts */
        if (&p->route[i] != path_current(p))
            route_free(c, p, &p->route[i]);
    path_route_set(r, route);
    r->validated = true;
    validate_start(&r->validate, conn_pto(c), now);
    move_to(c, p, r);
    restart_estimates(c, p);
    /* Only a packet with more than probing frames moves the peer (RFC 9000 9.2). */
    p->ping_due = true;
    return 0;
}

void quic_set_acks(struct quic_conn *c, enum quic_acks acks)
{
    c->acks = acks;
}

/* ---- views --------------------------------------------------------------------------- */

void conn_path_mtu(struct quic_conn *c, struct quic_path *p)
{
    recovery_set_mtu(&p->recovery, p->mtu.current);
    pacer_set_mss(&p->pacer, p->mtu.current);
    size_t path = conn_path_index(c, p), max = quic_dgram_max(c, path);
    if (max != p->dgram_max)
        conn_event(c, QUIC_EV_DGRAM_MAX, path, 0, 0);
    p->dgram_max = max;
}

int quic_path_mtu_max(struct quic_conn *c, size_t path, size_t max, ns_t now)
{
    c->now = now;
    if (path >= c->n_paths || !c->path[path].used)
        return QUIC_INVAL;
    if (c->has_peer && max > c->peer.max_udp_payload_size)
        max = c->peer.max_udp_payload_size;
    mtu_set_max(&c->path[path].mtu, max, now);
    conn_path_mtu(c, &c->path[path]);
    return 0;
}

size_t quic_dgram_max(const struct quic_conn *c, size_t path)
{
    if (path >= c->n_paths || !c->path[path].used || !c->complete || !conn_alive(c) ||
        !c->peer.max_datagram_frame_size || !c->path[path].proven)
        return 0;
    const struct quic_path *p = &c->path[path];
    const struct quic_cid *dcid = path_dcid(p, &p->route[p->current]);
    if (!dcid)
        return 0;
    size_t over = build_app_overhead(dcid, 4) + 1;
    size_t max = p->mtu.current - over;
    uint64_t frame = c->peer.max_datagram_frame_size - 1;
    return frame < max ? (size_t)frame : max;
}

size_t quic_path_count(const struct quic_conn *c)
{
    return c->n_paths;
}

uint32_t quic_path_id(const struct quic_conn *c, size_t path)
{
    return path < c->n_paths ? c->path[path].id : 0;
}

int quic_path_view(const struct quic_conn *c, size_t path, ns_t now, struct quic_path_view *out)
{
    memset(out, 0, sizeof(*out));
    if (path >= c->n_paths || !c->path[path].used)
        return QUIC_INVAL;
    const struct quic_path *p = &c->path[path];
    const struct path_route *r = &p->route[p->current];
    const struct recovery *rec = &p->recovery;
    struct pacer pacer = p->pacer;
    path_pace_copy(p, &pacer, now);
    size_t tokens = pacer_ready(&pacer, now), amp = path_amplification_room(r);
    uint64_t room = path_window_room(p);
    *out = (struct quic_path_view){
        .usable = c->complete && conn_alive(c) && p->proven && path_dcid(p, r),
        .validated = r->validated && p->proven,
        .id = p->id,
        .route = r->route,
        .srtt = rec->rtt.smoothed,
        .rttvar = rec->rtt.variation,
        .min_rtt = rec->rtt.min,
        .latest_rtt = rec->rtt.latest,
        .has_rtt = rtt_has_sample(&rec->rtt),
        .mtu_bytes = p->mtu.current,
        .dgram_max_bytes = quic_dgram_max(c, path),
        .cwnd_bytes = cc_cwnd(&rec->cc),
        .in_flight_bytes = rec->bytes_in_flight,
        .pacing_bps = path_pacing_bps(p),
        .cap_bps = p->cap_bps,
        .delivery_bps = rec->delivery_bps,
        .ramping = cc_ramping(&rec->cc),
        .app_limited = rec->rate.app_limited > 0,
        .held_back = rec->cc.holds_back,
        .pto_count = rec->pto_count,
        .oldest = ns_sub(now, recovery_oldest(rec)),
        .waiting = rec->bytes_in_flight ? ns_sub(now, rec->rate.delivered_time) : 0,
        .reached = rec->rate.first_sent_time,
        .last_received = p->last_received,
        .packets_sent = rec->packets_sent,
        .packets_received = p->packets_received,
        .packets_lost = rec->packets_lost,
        .packets_spurious = rec->packets_spurious,
        .bytes_sent = p->bytes_sent,
        .bytes_received = p->bytes_received,
        .silent = path_silent(p),
        .standby = p->standby,
        .ecn = rec->ecn.state == ECN_CAPABLE,
        .packets_ce = rec->packets_ce,
    };
    out->next_send = NS_NEVER;
    if (room && amp)
        out->next_send = tokens ? now : pacer_next(&pacer);
    if (tokens && tokens < p->mtu.current) /* a packet more than there is may leave */
        tokens = p->mtu.current;
    if (room > tokens)
        room = tokens;
    out->room_bytes = room > amp ? amp : (size_t)room;
    return 0;
}
