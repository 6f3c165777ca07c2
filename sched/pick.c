#include "sched/pick.h"

#include <string.h>

#define BURST_NS      (2 * NS_PER_MS)
#define BURST_PACKETS 45    /* what one UDP send can be cut into at full size */
#define BURST_BYTES   65507 /* longest UDP payload */

#define RTT_GUESS  (500 * NS_PER_MS) /* of a path that was never measured */
#define SPILL      (20 * NS_PER_MS)  /* so long a pinned flow waits before it moves */
#define SPILL_REST (500 * NS_PER_MS) /* and so long it then stays */
#define FLOW_COST  65536.0           /* what a new flow is taken for, in bytes */
#define CREDIT_NS  (200 * NS_PER_MS) /* of a path's rate: as much is remembered at most */

size_t sched_burst_bytes(const struct sched_path *p)
{
    size_t most =
        p->mtu_bytes < BURST_BYTES / BURST_PACKETS ? p->mtu_bytes * BURST_PACKETS : BURST_BYTES;
    uint64_t bytes_per_ms = p->rate_bps / 8000;
    size_t burst = most;

    /* a rate that carries more than `most` in a millisecond needs no product */
    if (p->rate_bps > 0 && bytes_per_ms < most)
        burst = (size_t)(p->rate_bps * (BURST_NS / NS_PER_US) / 8 / 1000000);
    if (burst > most)
        burst = most;
    return burst > p->mtu_bytes ? burst : p->mtu_bytes;
}

/* How much a path is a last resort. */
static unsigned resort(const struct sched_path *p)
{
    return 2 * (unsigned)p->silence + (p->priority == SCHED_BACKUP);
}

void sched_set_of(struct sched_set *set, const struct sched_path *views, size_t n, size_t bytes)
{
    unsigned least = UINT32_MAX;

    set->n = 0;
    set->usable = false;
    set->known = true;
    for (size_t i = 0; i < n && i < SCHED_PATHS_MAX; i++) {
        const struct sched_path *p = &views[i];

        if (!p->usable || p->priority == SCHED_NEVER)
            continue;
        set->usable = true;
        if (p->mtu_bytes < bytes || resort(p) > least)
            continue;
        if (resort(p) < least) {
            least = resort(p);
            set->n = 0;
            set->known = true;
        }
        set->at[set->n++] = (uint8_t)i;
        set->known &= p->delay_known;
    }
}

ns_t sched_delay(const struct sched_set *set, const struct sched_path *p)
{
    ns_t srtt = p->srtt ? p->srtt : RTT_GUESS;

    return set->known ? p->delay : (p->min_rtt ? p->min_rtt : srtt) / 2;
}

ns_t sched_arrival(const struct sched_set *set, const struct sched_path *p, size_t bytes,
                   ns_t now)
{
    ns_t at = p->earliest == NS_NEVER ? now : ns_max(p->earliest, now);

    if (p->room_bytes < bytes && p->cwnd_bytes > 0) /* the window opens at the rate of ACKs */
        at += (ns_t)((double)(p->srtt ? p->srtt : RTT_GUESS) * (double)(bytes - p->room_bytes) /
                     (double)p->cwnd_bytes);
    if (p->rate_bps > 0)
        at += (ns_t)((double)bytes * 8e9 / (double)p->rate_bps);
    return ns_add(at, sched_delay(set, p) + p->queued);
}

void sched_undecided(struct sched_decision *d)
{
    *d = (struct sched_decision){.wake = NS_NEVER};
}

int sched_set_for(struct sched_set *set, const struct sched_path *views, size_t n,
                  const struct sched_head *h, struct sched_decision *d)
{
    sched_set_of(set, views, n, h->bytes);
    if (set->n > 0)
        return 0;
    d->flow = h->flow;
    return set->usable ? SCHED_TOOBIG : SCHED_WAIT;
}

int sched_begin(struct sched_set *set, const struct sched_path *views, size_t n,
                const struct sched_head *heads, size_t nheads, struct sched_decision *d)
{
    sched_undecided(d);
    return nheads > 0 ? sched_set_for(set, views, n, &heads[0], d) : SCHED_WAIT;
}

int sched_decide(struct sched_decision *d, const struct sched_path *p,
                 const struct sched_head *h, ns_t now)
{
    size_t bytes = sched_burst_bytes(p);

    if (bytes > p->room_bytes)
        bytes = p->room_bytes;
    if (bytes > h->backlog_bytes && !d->shared)
        bytes = h->backlog_bytes;
    d->path = p->path;
    d->flow = h->flow;
    d->bytes = bytes > h->bytes ? bytes : h->bytes;
    d->wake = now;
    return 0;
}

int sched_urgent(const struct sched_path *views, size_t n, size_t bytes, ns_t now,
                 struct sched_decision *out)
{
    struct sched_head head = {.bytes = bytes, .backlog_bytes = bytes};
    const struct sched_path *best = NULL;
    struct sched_set set;
    ns_t when = NS_NEVER;
    int rc = sched_begin(&set, views, n, &head, 1, out);

    for (size_t i = 0; i < set.n; i++) {
        const struct sched_path *p = &views[set.at[i]];
        ns_t at = sched_arrival(&set, p, bytes, now);

        if (best && at >= when)
            continue;
        best = p;
        when = at;
    }
    if (!best)
        return rc;
    if (sched_open(best, bytes, now))
        return sched_decide(out, best, &head, now);
    out->path = best->path;
    out->wake = sched_wake(best, bytes);
    return SCHED_WAIT;
}

/* ---- weighted round robin -------------------------------------------------------------- */

/*
 * What a TCP flow may get out of a path: window per round trip, less what is lost, and less for
 * the losses themselves.
 */
static double weight(const struct sched_path *p)
{
    double loss = (double)(p->loss_ppm < 500000 ? p->loss_ppm : 500000) / 1e6;
    double rate = p->srtt && p->cwnd_bytes ? (double)p->cwnd_bytes / (double)p->srtt : 1e-6;

    return rate * (1 - loss) / (1 + 20 * loss);
}

static double weights(const struct sched_path *views, const struct sched_set *set)
{
    double sum = 0;

    for (size_t i = 0; i < set->n; i++)
        sum += weight(&views[set->at[i]]);
    return sum;
}

static void charge(struct sched_state *st, const struct sched_path *views,
                   const struct sched_set *set, uint32_t path, double bytes)
{
    double sum = weights(views, set);

    for (size_t i = 0; i < set->n; i++) {
        const struct sched_path *p = &views[set->at[i]];
        double *credit = sched_credit_of(st, p->path), w = weight(p);
        double most = w * (double)CREDIT_NS + 2 * FLOW_COST;

        *credit += bytes * w / sum - (p->path == path ? bytes : 0);
        *credit = *credit > most ? most : *credit < -most ? -most : *credit;
    }
}

/* The path of the set that is furthest behind its share; only open ones if `bytes` > 0. */
static const struct sched_path *behind(struct sched_state *st, const struct sched_path *views,
                                       const struct sched_set *set, size_t bytes, ns_t now)
{
    const struct sched_path *best = NULL;
    double most = 0;

    for (size_t i = 0; i < set->n; i++) {
        const struct sched_path *p = &views[set->at[i]];
        /* as a time: what it is behind, by how fast it carries */
        double credit = *sched_credit_of(st, p->path) / weight(p);

        if (bytes > 0 && !sched_open(p, bytes, now))
            continue;
        if (!best || credit > most || (credit == most && weight(p) > weight(best))) {
            best = p;
            most = credit;
        }
    }
    return best;
}

/* Without memory: by the flow's hash, in proportion to the weights. */
static const struct sched_path *hashed(const struct sched_path *views,
                                       const struct sched_set *set, uint32_t flow)
{
    double at = (double)(flow * 2654435761u) / 4294967296.0 * weights(views, set);

    for (size_t i = 0; i + 1 < set->n; i++) {
        at -= weight(&views[set->at[i]]);
        if (at < 0)
            return &views[set->at[i]];
    }
    return &views[set->at[set->n - 1]];
}

static const struct sched_path *by_id(const struct sched_path *views,
                                      const struct sched_set *set, uint32_t path)
{
    for (size_t i = 0; i < set->n; i++)
        if (views[set->at[i]].path == path)
            return &views[set->at[i]];
    return NULL;
}

const struct sched_path *sched_pinned(struct sched_state *st, const struct sched_path *views,
                                      const struct sched_set *set, const struct sched_head *h,
                                      ns_t now, ns_t *wake)
{
    struct sched_pin *pin = st ? sched_pin_find(st, h->flow, now) : NULL;
    const struct sched_path *p = pin ? by_id(views, set, pin->path) : NULL, *other;

    if (set->n == 0)
        return NULL;
    if (!st)
        p = hashed(views, set, h->flow);
    if (!p) {
        p = behind(st, views, set, 0, now);
        charge(st, views, set, p->path, FLOW_COST);
        sched_pin_set(st, h->flow, p->path, now, now);
    }
    if (sched_open(p, h->bytes, now))
        return p;
    if (pin && h->waited >= SPILL && ns_sub(now, pin->since) >= SPILL_REST) {
        other = behind(st, views, set, h->bytes, now);
        if (other && *sched_credit_of(st, other->path) > *sched_credit_of(st, p->path))
            return other;
    }
    *wake = ns_min(*wake, sched_wake(p, h->bytes));
    return NULL;
}

const struct sched_path *sched_furthest_behind(struct sched_state *st,
                                               const struct sched_path *views,
                                               const struct sched_set *set, size_t bytes,
                                               ns_t now, ns_t *wake)
{
    const struct sched_path *p = behind(st, views, set, bytes, now);

    for (size_t i = 0; !p && i < set->n; i++)
        *wake = ns_min(*wake, sched_wake(&views[set->at[i]], bytes));
    return p;
}

void sched_charge(struct sched_state *st, const struct sched_path *views, size_t n,
                  const struct sched_head *h, uint32_t path, size_t bytes, ns_t now)
{
    struct sched_set set;
    const struct sched_path *p;

    sched_set_of(&set, views, n, h->bytes);
    p = by_id(views, &set, path);
    if (!p)
        return;
    charge(st, views, &set, path, (double)bytes);
    sched_pin_set(st, h->flow, path, sched_arrival(&set, p, bytes, now), now);
}
