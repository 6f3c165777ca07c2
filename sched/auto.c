/*
 * Theory of operation
 *
 * Prompt flows go by earliest predicted arrival, one by one, and never overtake themselves: a
 * flow changes to another path only for a gain that is above what predictions stray, and only
 * when what it sent before will have arrived by then. A prompt packet waits for a path that is
 * held back by its pacer if that is still the earliest; the path is then kept free for it.
 *
 * Bulk flows whose far end puts them in order are pulled by every link that has room, the
 * earliest first; what the flow sent before it was numbered is not overtaken. A link later than
 * another one is left out for a flow
 *   - while the faster ones have no standing queue: less than STANDING of work for them waits;
 *   - while what a faster one carries is unknown and the flow is in its slow start with it, if our
 *     queue was empty within the time by which the link is later, STANDING_TIME at most: such a flow
 *     comes in bursts, each of which is a queue for as long as it takes to send it;
 *   - by the finish time: its first packet would arrive after the faster links alone had carried
 *     all that is expected of the flow, which is what waits and once more what was sent so far;
 *   - by the deadline: what comes over it, repaired if it loses, could come too late;
 *   - by memory: the far end would hold more than SCHED_REORDER_BYTES;
 *   - by its gain: it is later than SPREAD_MOST, or RISKY and too slow to be worth that delay;
 *   - by result: RISKY links are on trial (sched_trial_allows).
 * Bulk flows without order at the far end stay on one path (sched_pinned).
 *
 * A prompt TCP flow is numbered, too, where its path loses more than LOSS_YOUNG, or may: the first
 * loss of a flow in slow start costs it more than any later one. Where there is but one path and it
 * turns out to lose nothing, packets of bulk flows go plain again.
 *
 * With one path in question there is nothing to decide: that one.
 */
#include "sched/pick.h"

#define GAIN_LEAST  (2 * NS_PER_MS)   /* of arrival, for a prompt flow to change paths */
#define RISKY       (25 * NS_PER_MS)  /* later than the fastest, repairs included: on trial */
#define SPREAD_MOST (100 * NS_PER_MS) /* later than that, a link is left out */
#define GAIN_SHARE  5 /* a risky link carries at least that part of what the faster ones do */
#define STANDING    (5 * NS_PER_MS) /* of the faster links' work waits before a later one joins */
#define STANDING_TIME (20 * NS_PER_MS) /* without a break, beside a slow start */
#define SLOW_START    4 /* windows of its links that a flow sends in it, at most */
#define LOSS_YOUNG  1000            /* the same, from a flow's beginning on */
#define YOUNG_BYTES 500             /* a packet of an elastic flow that will send more */
#define LOSS_BESIDE 5000   /* per million: too much beside faster links that lose nothing */
#define LOSS_MOST   250000 /* per million: above, repairs are a second flow */

/* All that one decision looks at. */
struct look {
    struct sched_state *st;
    const struct sched_path *views;
    size_t n;
    ns_t now;
    uint64_t reserved; /* by index: a prompt packet waits for it */
};

/* ---- prompt ---------------------------------------------------------------------------- */

static size_t earliest(const struct look *l, const struct sched_set *set,
                       const struct sched_head *h, ns_t *when)
{
    const struct sched_path *best = NULL;
    size_t at = 0;

    for (size_t i = 0; i < set->n; i++) {
        const struct sched_path *p = &l->views[set->at[i]];
        ns_t arrival = sched_arrival(set, p, h->bytes, l->now);

        if (best && (p->priority > best->priority ||
                     (p->priority == best->priority && arrival >= *when)))
            continue;
        best = p;
        at = set->at[i];
        *when = arrival;
    }
    return at;
}

/* The path for a prompt packet, whether or not it may leave now. */
static size_t prompt_path(const struct look *l, const struct sched_set *set,
                          const struct sched_head *h)
{
    struct sched_pin *pin = l->st ? sched_pin_find(l->st, h->flow, l->now) : NULL;
    ns_t best_at = NS_NEVER, arrival;
    size_t best = earliest(l, set, h, &best_at);

    for (size_t i = 0; pin && i < set->n; i++) {
        const struct sched_path *p = &l->views[set->at[i]], *b = &l->views[best];

        if (p->path != pin->path || p == b || p->priority != b->priority)
            continue;
        arrival = sched_arrival(set, p, h->bytes, l->now);
        if (best_at < pin->arrival ||
            ns_sub(arrival, best_at) < ns_max(GAIN_LEAST, ns_max(p->jitter, b->jitter)))
            return set->at[i];
    }
    return best;
}

/* Whether every other prompt flow that waits would go the same way. */
static bool prompt_shared(const struct look *l, const struct sched_head *heads, size_t nheads,
                          uint32_t path)
{
    for (size_t i = 0; i < nheads; i++) {
        struct sched_pin *pin;

        if (heads[i].lane != SCHED_PROMPT)
            continue;
        pin = l->st ? sched_pin_find(l->st, heads[i].flow, l->now) : NULL;
        if (pin && pin->path != path)
            return false;
    }
    return true;
}

/* ---- bulk ------------------------------------------------------------------------------ */

/* The links of the set that are faster than a certain one, together. */
struct faster {
    bool any;
    uint64_t bps;  /* that they carry, as far as it is known */
    uint64_t ramp; /* bytes: the windows of those of which it is not known yet */
    double queued; /* bits that stand in front of them */
    ns_t least;    /* delay of the fastest */
    bool lossy;
};

static struct faster faster(const struct look *l, const struct sched_set *set,
                            const struct sched_path *p)
{
    ns_t own = sched_delay(set, p);
    struct faster f = {.least = own};

    for (size_t i = 0; i < set->n; i++) {
        const struct sched_path *o = &l->views[set->at[i]];
        ns_t delay = sched_delay(set, o);

        if (o->priority > p->priority || o->loss_ppm > LOSS_MOST)
            continue;
        if (delay < own || (delay == own && o < p)) {
            f.any = true;
            f.ramp += o->rate_bps == 0 ? o->cwnd_bytes : 0;
            f.bps += o->rate_bps;
            f.queued += (double)o->queued * (double)o->rate_bps / 1e9;
            f.lossy |= o->loss_ppm > SCHED_LOSSY;
        }
        f.least = ns_min(f.least, delay);
    }
    return f;
}

/* Whether the flow is better off with `p`; or may be at `wake`, by time alone. */
static bool worth(const struct look *l, const struct sched_set *set, const struct sched_head *h,
                  const struct sched_path *p, ns_t *wake)
{
    struct faster f = faster(l, set, p);
    ns_t spread = sched_delay(set, p) - f.least, late;
    ns_t standing = ns_min(spread, STANDING_TIME);
    ns_t deadline = h->deadline ? h->deadline : SCHED_HOLD;
    double bps = (double)f.bps, work = (double)h->backlog_bytes * 8 + f.queued;
    double left = work + (double)h->moved_bytes * 8;

    if (!f.any)
        return true;
    if (p->loss_ppm > LOSS_MOST)
        return false;
    late = spread + p->jitter;
    if (p->loss_ppm > SCHED_LOSSY)
        late += p->srtt + f.least;
    if (late > deadline || (double)spread * bps / 8e9 > SCHED_REORDER_BYTES)
        return false;
    if (h->moved_bytes < SLOW_START * f.ramp && h->standing < standing) {
        *wake = ns_min(*wake, l->now + standing - h->standing);
        return false;
    }
    if (f.bps == 0)
        return true;
    if (work * 1e9 / bps < (double)ns_min(spread, STANDING))
        return false;
    if (p->rate_bps > 0 &&
        (double)(spread + p->queued) + (double)h->bytes * 8e9 / (double)p->rate_bps >
            left * 1e9 / bps)
        return false;
    if ((f.lossy ? spread : late) <= RISKY)
        return true;
    if (spread > SPREAD_MOST || (p->rate_bps > 0 && p->rate_bps < f.bps / GAIN_SHARE))
        return false;
    if (!f.lossy && p->loss_ppm > LOSS_BESIDE)
        return false;
    if (!l->st)
        return true;
    return sched_trial_allows(sched_trial_of(l->st, h->flow, l->now), p->path, h->busy, f.bps,
                              l->now);
}

static const struct sched_path *bulk_path(const struct look *l, const struct sched_set *set,
                                          const struct sched_head *h, ns_t *wake)
{
    struct sched_pin *pin = l->st ? sched_pin_find(l->st, h->flow, l->now) : NULL;
    const struct sched_path *best = NULL;
    ns_t when = NS_NEVER;

    for (size_t i = 0; i < set->n; i++) {
        const struct sched_path *p = &l->views[set->at[i]];
        ns_t arrival;

        if (l->reserved & (uint64_t)1 << set->at[i])
            continue;
        if (!sched_open(p, h->bytes, l->now)) {
            *wake = ns_min(*wake, sched_wake(p, h->bytes));
            continue;
        }
        arrival = sched_arrival(set, p, h->bytes, l->now);
        if (best && (p->priority > best->priority ||
                     (p->priority == best->priority && arrival >= when)))
            continue;
        if (pin && pin->path != p->path && arrival < pin->arrival) {
            *wake = ns_min(*wake, l->now + pin->arrival - arrival);
            continue;
        }
        if (!worth(l, set, h, p, wake))
            continue;
        best = p;
        when = arrival;
    }
    return best;
}

/* ---- both ------------------------------------------------------------------------------ */

/*
 * A prompt flow is not held at the far end without need: only where it would wait for what was lost
 * anyway, and sends more than acknowledgements or keys pressed, which gain nothing by it.
 */
static bool numbered(size_t n, const struct sched_set *set, const struct sched_head *h,
                     const struct sched_path *p)
{
    bool already = h->numbering == SCHED_NUMBERED;

    if (h->numbering == SCHED_PLAIN)
        return false;
    if (h->lane == SCHED_PROMPT)
        return h->elastic && (already || (h->bytes >= YOUNG_BYTES &&
                                          (p->loss_ppm > LOSS_YOUNG || p->unproven)));
    return set->n > 1 || p->unproven || (already && n > 1) ||
           p->loss_ppm > (already ? SCHED_LOSSY / 4 : SCHED_LOSSY);
}

static int next(struct sched_state *st, const struct sched_path *views, size_t n,
                const struct sched_head *heads, size_t nheads, ns_t now,
                struct sched_decision *out)
{
    struct look l = {.st = st, .views = views, .n = n, .now = now};
    int rc;

    sched_undecided(out);
    for (size_t i = 0; i < nheads; i++) {
        const struct sched_head *h = &heads[i];
        const struct sched_path *p = NULL;
        struct sched_set set;

        rc = sched_set_for(&set, views, n, h, out);
        if (rc == SCHED_TOOBIG)
            return rc;
        if (rc)
            continue;
        if (h->lane == SCHED_PROMPT || set.n == 1) {
            size_t at = prompt_path(&l, &set, h);

            if (sched_open(&views[at], h->bytes, now)) {
                p = &views[at];
            } else if (!(l.reserved & (uint64_t)1 << at)) {
                l.reserved |= (uint64_t)1 << at;
                out->wake = ns_min(out->wake, sched_wake(&views[at], h->bytes));
            }
            if (p && l.reserved & (uint64_t)1 << at)
                p = NULL;
        } else if (h->numbering == SCHED_PLAIN) {
            p = sched_pinned(st, views, &set, h, now, &out->wake);
        } else {
            p = bulk_path(&l, &set, h, &out->wake);
        }
        if (!p)
            continue;
        out->shared = nheads > 1 && (set.n == 1 || (h->lane == SCHED_PROMPT &&
                                                    prompt_shared(&l, heads, nheads, p->path)));
        out->numbered = numbered(n, &set, h, p);
        if (out->numbered)
            out->shared = false;
        return sched_decide(out, p, h, now);
    }
    return SCHED_WAIT;
}

static void sent(struct sched_state *st, const struct sched_path *views, size_t n,
                 const struct sched_head *head, const struct sched_decision *d, size_t bytes,
                 ns_t now)
{
    struct sched_set set;

    if (n < 2)
        return;
    if (head->lane == SCHED_BULK && d->numbered) {
        sched_trial_sent(sched_trial_of(st, head->flow, now), bytes, now);
        return;
    }
    if (head->lane == SCHED_BULK) {
        sched_charge(st, views, n, head, d->path, bytes, now);
        return;
    }
    sched_set_of(&set, views, n, head->bytes);
    for (size_t i = 0; i < set.n; i++) {
        const struct sched_path *p = &views[set.at[i]];

        if (p->path == d->path)
            sched_pin_set(st, head->flow, p->path, sched_arrival(&set, p, bytes, now), now);
    }
}

const struct sched sched_auto = {"auto", next, sent};
