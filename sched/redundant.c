#include "sched/pick.h"

/*
 * On the open path with the earliest arrival, and on every other one that is open as well. A
 * path that is full just misses the copy: nothing waits for the slowest.
 */
static int next_redundant(struct sched_state *st, const struct sched_path *views, size_t n,
                          const struct sched_head *heads, size_t nheads, ns_t now,
                          struct sched_decision *out)
{
    const struct sched_path *best = NULL;
    struct sched_set set;
    ns_t first = NS_NEVER;
    size_t bytes;
    int rc;

    (void)st;
    rc = sched_begin(&set, views, n, heads, nheads, out);
    if (rc)
        return rc;
    for (size_t i = 0; i < set.n; i++) {
        const struct sched_path *p = &views[set.at[i]];
        ns_t at = sched_arrival(&set, p, heads[0].bytes, now);

        if (!sched_open(p, heads[0].bytes, now)) {
            out->wake = ns_min(out->wake, sched_wake(p, heads[0].bytes));
        } else if (!best || at < first) {
            best = p;
            first = at;
        }
    }
    if (!best)
        return SCHED_WAIT;
    rc = sched_decide(out, best, &heads[0], now);
    bytes = out->bytes;
    for (size_t i = 0; i < set.n && out->copies < SCHED_COPIES_MAX; i++) {
        const struct sched_path *p = &views[set.at[i]];

        if (p != best && sched_open(p, bytes, now))
            out->copy[out->copies++] = p->path;
    }
    out->numbered = set.n > 1 && heads[0].numbering != SCHED_PLAIN;
    return rc;
}

const struct sched sched_redundant = {"redundant", next_redundant, NULL};
