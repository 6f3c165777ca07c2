#include "sched/pick.h"

/*
 * All on one path: of those most alive, the first by the user's priority and then by number. It
 * is waited for when it is full.
 */
static int next_backup(struct sched_state *st, const struct sched_path *views, size_t n,
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

        if (!best || p->priority < best->priority ||
            (p->priority == best->priority && p->path < best->path))
            best = p;
    }
    out->wake = sched_wake(best, heads[0].bytes);
    if (!sched_open(best, heads[0].bytes, now))
        return SCHED_WAIT;
    out->shared = nheads > 1;
    return sched_decide(out, best, &heads[0], now);
}

const struct sched sched_backup = {"backup", next_backup, NULL};
