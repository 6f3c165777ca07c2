#include "sched/pick.h"

/*
 * Weighted load balancing. A flow stays on one path, chosen so that each path carries its share
 * by weight; it moves when its path is full for a while and another has room and is behind.
 * `spread_udp`: UDP, but for QUIC, goes burst by burst instead, each time on the open path that is
 * furthest behind.
 */
static int next(struct sched_state *st, const struct sched_path *views, size_t n,
                const struct sched_head *heads, size_t nheads, bool spread_udp, ns_t now,
                struct sched_decision *out)
{
    int rc;

    sched_undecided(out);
    for (size_t i = 0; i < nheads; i++) {
        const struct sched_head *h = &heads[i];
        const struct sched_path *p;
        struct sched_set set;

        rc = sched_set_for(&set, views, n, h, out);
        if (rc == SCHED_TOOBIG)
            return rc;
        if (rc)
            continue;
        if (!h->elastic && spread_udp && st)
            p = sched_furthest_behind(st, views, &set, h->bytes, now, &out->wake);
        else
            p = sched_pinned(st, views, &set, h, now, &out->wake);
        if (p) {
            out->shared = set.n == 1 && nheads > 1;
            return sched_decide(out, p, h, now);
        }
    }
    return SCHED_WAIT;
}

static int next_wlb(struct sched_state *st, const struct sched_path *views, size_t n,
                    const struct sched_head *heads, size_t nheads, ns_t now,
                    struct sched_decision *out)
{
    return next(st, views, n, heads, nheads, true, now, out);
}

static int next_pin(struct sched_state *st, const struct sched_path *views, size_t n,
                    const struct sched_head *heads, size_t nheads, ns_t now,
                    struct sched_decision *out)
{
    return next(st, views, n, heads, nheads, false, now, out);
}

static void sent(struct sched_state *st, const struct sched_path *views, size_t n,
                 const struct sched_head *head, const struct sched_decision *d, size_t bytes,
                 ns_t now)
{
    sched_charge(st, views, n, head, d->path, bytes, now);
}

const struct sched sched_wlb = {"wlb", next_wlb, sent};
const struct sched sched_wlb_udp_pin = {"wlb_udp_pin", next_pin, sent};
