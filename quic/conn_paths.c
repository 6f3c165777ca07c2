/*
 * conn_paths - the path slots of a connection, for an extension that opens and ends paths.
 *
 * Slots are never moved, so an index names a path until it is dropped. Which path IDs there
 * are, and when they come and go, is the extension's; what a path is made of, ours.
 *
 * Of several paths, what belongs to none of them (streams, control frames) goes over those of
 * the best rank: proven ones that answer, before ones the peer wants spared, before silent ones.
 */
#include <string.h>

#include "quic/conn.h"

#define CHALLENGE_PTOS 2 /* of the other paths, before a new one is asked again */
#define LOSE_TRIES     8 /* rounds of verdicts, where memory for them is short */

int conn_path_init(struct quic_conn *c, struct quic_path *p, uint32_t id,
                   const struct quic_route *route, bool validated)
{
    struct path_config pc = {
        .id = id,
        .validated = validated,
        .cc = c->cfg.cc,
        .initial_rtt = c->cfg.initial_rtt,
        .max_ack_delay = c->cfg.max_ack_delay,
        .max_udp_payload = c->cfg.max_udp_payload,
        .rng = &c->cfg.rng,
        .ecn = c->cfg.ecn,
    };
    return path_init(p, &pc, route);
}

/* Whether the endpoint has yet to hear of connection IDs of this slot. */
static bool has_cid_events(const struct quic_path *p)
{
    for (size_t i = 0; i < CID_LOCAL_MAX; i++)
        if (p->ours.slot[i].state == CID_GONE)
            return true;
    return false;
}

struct quic_path *conn_path_reserve(struct quic_conn *c, uint32_t id)
{
    for (size_t i = 0; i < c->cfg.max_paths; i++) {
        struct quic_path *p = &c->path[i];
        if (p->phase != PATH_FREE || has_cid_events(p))
            continue;
        if (conn_path_init(c, p, id, NULL, false) != 0)
            return NULL;
        cid_local_init(&p->ours, NULL, conn_make_cid, c);
        cid_remote_init(&p->theirs, NULL);
        if (i >= c->n_paths)
            c->n_paths = i + 1;
        return p;
    }
    return NULL;
}

/* Whether another path has already shown who is at the other end of this route. */
static bool known_route(const struct quic_conn *c, const struct quic_route *route)
{
    for (size_t i = 0; i < c->n_paths; i++) {
        const struct quic_path *p = &c->path[i];
        for (int k = 0; p->used && k < PATH_ROUTES; k++)
            if (p->route[k].used && p->route[k].validated &&
                quic_route_eq(&p->route[k].route, route))
                return true;
    }
    return false;
}

void conn_path_start(struct quic_conn *c, struct quic_path *p, const struct quic_route *route)
{
    path_open(p, route, !c->server || known_route(c, route));
    if (c->peer.max_udp_payload_size < c->cfg.max_udp_payload)
        mtu_set_max(&p->mtu, c->peer.max_udp_payload_size, c->now);
    if (c->acks_asked)
        ackrx_ask(&p->ack[SPACE_APP], c->ack_ask.threshold, c->ack_ask.delay,
                  c->ack_ask.reordering);
    if (!cid_remote_current(&p->theirs))
        cid_remote_rotate(&p->theirs);
    p->last_received = c->now;
    /* A guess that tells little of this route, but more than the initial one. */
    validate_start(&p->route[0].validate,
                   ns_min(recovery_pto(&p->recovery), CHALLENGE_PTOS * conn_pto(c)), c->now);
    conn_event(c, QUIC_EV_PATH_NEW, conn_path_index(c, p), 0, 0);
    conn_tell_recovery(c);
}

void conn_path_proven(struct quic_conn *c, struct quic_path *p)
{
    p->proven = true;
    mtu_start(&p->mtu, c->now);
    conn_path_mtu(c, p);
    if (c->n_ext_rows)
        c->cfg.ext->on_path(c->ext, conn_path_index(c, p), EXT_PATH_PROVEN, c->now);
}

void conn_path_end(struct quic_conn *c, struct quic_path *p)
{
    path_end(p);
    cid_remote_clear(&p->theirs);
    conn_tell_recovery(c);
}

void conn_path_outage(struct quic_path *p, bool over)
{
    if (p->recovery.pto_count >= CONN_HUSH_PTOS)
        mtu_on_outage(&p->mtu, sent_next(&p->recovery.space[SPACE_APP].sent), over);
}

void conn_path_lose(struct quic_conn *c, struct quic_path *p)
{
    conn_path_outage(p, false);
    for (int i = 0; i < LOSE_TRIES && p->recovery.space[SPACE_APP].eliciting; i++) {
        recovery_lose_all(&p->recovery, c->now);
        conn_verdicts(c, p);
    }
}

void conn_path_drop(struct quic_conn *c, struct quic_path *p)
{
    conn_path_lose(c, p);
    if (p->recovery.space[SPACE_APP].eliciting) {
        conn_fail(c, QUIC_INTERNAL_ERROR, 0, "no memory to end a path");
        return;
    }
    cid_local_clear(&p->ours);
    path_free(p);
}

/* ---- which path speaks for the connection -------------------------------------------- */

enum rank { UNUSABLE, SILENT, STANDBY, GOOD };

static enum rank rank_of(const struct quic_path *p)
{
    if (!p->used || !p->proven || !path_dcid(p, &p->route[p->current]))
        return UNUSABLE;
    return path_silent(p) ? SILENT : p->standby ? STANDBY : GOOD;
}

struct quic_path *conn_path_best(const struct quic_conn *c)
{
    struct quic_path *best = NULL;
    enum rank top = UNUSABLE;
    for (size_t i = 0; i < c->n_paths; i++) {
        struct quic_path *p = &c->path[i];
        enum rank rank = rank_of(p);
        if (rank == UNUSABLE || rank < top)
            continue;
        if (rank == top && p->recovery.rtt.smoothed >= best->recovery.rtt.smoothed)
            continue;
        top = rank;
        best = p;
    }
    return best;
}

bool conn_path_speaks(const struct quic_conn *c, const struct quic_path *p)
{
    if (c->n_paths == 1)
        return true;
    enum rank mine = rank_of(p);
    for (size_t i = 0; i < c->n_paths && mine; i++)
        if (rank_of(&c->path[i]) > mine)
            return false;
    return mine != UNUSABLE;
}

struct quic_path *conn_path_voice(const struct quic_conn *c)
{
    struct quic_path *best = conn_path_best(c);
    for (size_t i = 0; !best && i < c->n_paths; i++)
        if (c->path[i].used)
            best = &c->path[i];
    return best;
}

void conn_path_ping(struct quic_path *p)
{
    if (path_silent(p))
        recovery_ask_probe(&p->recovery, SPACE_APP);
    else
        p->ping_due = true;
}

void conn_path_hush(struct quic_conn *c, struct quic_path *p)
{
    if (p->recovery.pto_count >= CONN_HUSH_PTOS && !conn_path_speaks(c, p))
        conn_path_lose(c, p);
}

ns_t conn_rtt(const struct quic_conn *c)
{
    ns_t most = 0;
    for (size_t i = 0; i < c->n_paths; i++) {
        const struct rtt *rtt = &c->path[i].recovery.rtt;
        if (c->path[i].used && rtt_has_sample(rtt))
            most = ns_max(most, rtt->smoothed);
    }
    return most;
}
