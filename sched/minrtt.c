#include "sched/pick.h"

/* Whether `a` comes before `b`: primary, less round trip, an unmeasured one last, then by ID. */
static bool before(const struct sched_path *a, const struct sched_path *b)
{
    ns_t ra = a->srtt ? a->srtt : NS_NEVER, rb = b->srtt ? b->srtt : NS_NEVER;

    if (a->priority != b->priority)
        return a->priority < b->priority;
    return ra != rb ? ra < rb : a->path < b->path;
}

/*
 * The packet that comes first in the order of service decides, so that no flow is starved:
 * heads[0].
 */
static int next(struct sched_state *st, const struct sched_path *views, size_t n,
                const struct sched_head *heads, size_t nheads, ns_t now,
                struct sched_decision *out)
{
    const struct sched_path *best = NULL;
    struct sched_set set;
    int rc;

    (void)st;
    rc = sched_begin(&set, views, n, heads, nheads, out);
    if (rc)
        return rc;
    for (size_t i = 0; i < set.n; i++) {
        const struct sched_path *p = &views[set.at[i]];

        if (!sched_open(p, heads[0].bytes, now))
            out->wake = ns_min(out->wake, sched_wake(p, heads[0].bytes));
        else if (!best || before(p, best))
            best = p;
    }
    if (!best)
        return SCHED_WAIT;
    out->shared = nheads > 1;
    return sched_decide(out, best, &heads[0], now);
}

const struct sched sched_minrtt = {"minrtt", next, NULL};
