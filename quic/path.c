#include "quic/path.h"

#include <string.h>

int path_init(struct quic_path *p, const struct path_config *cfg,
              const struct quic_route *route)
{
    memset(p, 0, sizeof(*p));
    struct recovery_config rc = {
        .cc = cfg->cc,
        .max_datagram = QUIC_MIN_DATAGRAM,
        .initial_rtt = cfg->initial_rtt,
        .rng = cfg->rng,
        .ecn = cfg->ecn,
    };
    int r = recovery_init(&p->recovery, &rc);
    if (r)
        return r;
    p->phase = PATH_AHEAD;
    p->id = cfg->id;
    for (int s = 0; s < SPACE_N; s++)
        ackrx_init(&p->ack[s], s == SPACE_APP ? cfg->max_ack_delay : 0);
    pacer_init(&p->pacer, QUIC_MIN_DATAGRAM);
    mtu_init(&p->mtu, cfg->max_udp_payload);
    p->largest_non_probing = QUIC_PN_NONE;
    p->phase_first_got = QUIC_PN_NONE;
    p->paced_until = NS_NEVER;
    p->dgram_paced_until = NS_NEVER;
    p->ack_own_at = NS_NEVER;
    if (route)
        path_open(p, route, cfg->validated);
    return 0;
}

void path_open(struct quic_path *p, const struct quic_route *route, bool validated)
{
    path_route_set(&p->route[0], route);
    p->route[0].validated = validated;
    p->current = 0;
    p->phase = PATH_OPEN;
    p->used = true;
}

void path_end(struct quic_path *p)
{
    p->phase = PATH_ENDED;
    p->used = p->ping_due = false;
    p->ack_own_at = NS_NEVER;
    for (int i = 0; i < PATH_ROUTES; i++) {
        validate_cancel(&p->route[i].validate);
        p->route[i].n_responses = 0;
    }
}

void path_free(struct quic_path *p)
{
    if (p->phase == PATH_FREE)
        return;
    recovery_free(&p->recovery);
    for (int s = 0; s < SPACE_N; s++)
        ackrx_free(&p->ack[s]);
    p->used = false;
    p->phase = PATH_FREE;
}

struct path_route *path_find(struct quic_path *p, const struct quic_route *route)
{
    for (int i = 0; i < PATH_ROUTES; i++)
        if (p->route[i].used && quic_route_eq(&p->route[i].route, route))
            return &p->route[i];
    return NULL;
}

/* What would be lost with it. */
static int worth(const struct path_route *r)
{
    return r->used + (r->used && r->validated);
}

struct path_route *path_fallback(struct quic_path *p, const struct path_route *than)
{
    for (int i = 0; i < PATH_ROUTES; i++)
        if (&p->route[i] != than && p->route[i].used && p->route[i].validated)
            return &p->route[i];
    return NULL;
}

struct path_route *path_spare(struct quic_path *p)
{
    struct path_route *spare = NULL;
    for (int i = 0; i < PATH_ROUTES; i++) {
        struct path_route *r = &p->route[i];
        if (r != path_current(p) && (!spare || worth(r) < worth(spare)))
            spare = r;
    }
    return spare;
}

void path_route_set(struct path_route *r, const struct quic_route *route)
{
    memset(r, 0, sizeof(*r));
    r->used = true;
    r->route = *route;
    validate_init(&r->validate);
}

size_t path_amplification_room(const struct path_route *r)
{
    if (r->validated)
        return SIZE_MAX;
    uint64_t limit = r->received * PATH_AMPLIFICATION;
    return limit > r->sent ? limit - r->sent : 0;
}

const struct quic_cid *path_dcid(const struct quic_path *p, const struct path_route *r)
{
    if (r->has_cid)
        return cid_remote_get(&p->theirs, r->cid_seq);
    return cid_remote_current(&p->theirs);
}

bool path_next_retire(const struct quic_path *p, uint64_t *seq)
{
    return !validate_active(&p->route[p->current].validate) &&
           cid_remote_next_retire(&p->theirs, seq);
}

bool path_respond(struct path_route *r, const uint8_t data[8])
{
    bool full = r->n_responses == PATH_RESPONSES;
    if (full) {
        memmove(r->response[0], r->response[1], (PATH_RESPONSES - 1) * 8);
        r->n_responses--;
    }
    memcpy(r->response[r->n_responses++], data, 8);
    return full;
}

bool path_route_due(const struct path_route *r, ns_t now)
{
    return r->used && (r->n_responses || validate_due(&r->validate, now));
}

uint64_t path_pacing_bps(const struct quic_path *p)
{
    uint64_t bps = recovery_pacing_bps(&p->recovery);
    return p->cap_bps && (!bps || bps > p->cap_bps) ? p->cap_bps : bps;
}

void path_pace_copy(const struct quic_path *p, struct pacer *pacer, ns_t now)
{
    uint64_t bps = path_pacing_bps(p);
    pacer_rate(pacer, bps, now);
    /* A capped path has the bursts of its rate, not of what it might send. */
    pacer_quantum(pacer, p->cap_bps && bps == p->cap_bps ? 0 : p->recovery.cc.quantum);
}

void path_pace(struct quic_path *p, ns_t now)
{
    path_pace_copy(p, &p->pacer, now);
}

static uint64_t window_train(const struct quic_path *p)
{
    uint64_t part = p->recovery.cc.cwnd / 16;
    return p->pacer.train < part ? p->pacer.train : part;
}

uint64_t path_window_room(const struct quic_path *p)
{
    uint64_t room = recovery_room(&p->recovery);
    return p->window_waits && room < window_train(p) ? 0 : room;
}

bool path_window(struct quic_path *p, uint64_t need)
{
    uint64_t room = recovery_room(&p->recovery);
    if (room < need)
        p->window_waits = true;
    else if (room >= window_train(p))
        p->window_waits = false;
    return !p->window_waits;
}

bool path_may_ack(const struct quic_path *p, size_t least)
{
    size_t room = path_amplification_room(&p->route[p->current]);
    return room >= least && room >= PATH_ACK_ROOM &&
           !sent_scarce(&p->recovery.space[SPACE_APP].sent);
}

ns_t path_deadline(const struct quic_path *p, unsigned spaces, size_t least)
{
    ns_t at = ns_min(recovery_deadline(&p->recovery), p->paced_until);
    at = ns_min(at, p->dgram_paced_until);
    for (int i = 0; i < PATH_ROUTES; i++) {
        const struct path_route *r = &p->route[i];
        if (!r->used || !validate_active(&r->validate))
            continue;
        bool stuck = path_amplification_room(r) < PATH_SMALLEST || !path_dcid(p, r);
        at = ns_min(at, stuck ? r->validate.give_up : validate_deadline(&r->validate));
    }
    size_t room = path_amplification_room(&p->route[p->current]);
    if (room < least || room < PATH_ACK_ROOM)
        return at;
    for (unsigned s = 0; s < SPACE_N; s++)
        if (spaces & 1u << s && !sent_scarce(&p->recovery.space[s].sent))
            at = ns_min(at, ackrx_deadline(&p->ack[s]));
    at = ns_min(at, p->ack_own_at);
    size_t probe = mtu_next_probe(&p->mtu, NS_NEVER - 1);
    if (recovery_room(&p->recovery) >= probe && p->route[p->current].validated &&
        !sent_scarce(&p->recovery.space[SPACE_APP].sent))
        at = ns_min(at, mtu_deadline(&p->mtu));
    return at;
}
