#include <string.h>

#include "sched/sched.h"

#define BURST_NS      (2 * NS_PER_MS)
#define BURST_PACKETS 45    /* what one UDP send can be cut into at full size */
#define BURST_BYTES   65507 /* longest UDP payload */

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

/* Whether `a` comes before `b`: less round trip, an unmeasured one last, then by ID. */
static bool before(const struct sched_path *a, const struct sched_path *b)
{
    ns_t ra = a->srtt ? a->srtt : NS_NEVER, rb = b->srtt ? b->srtt : NS_NEVER;

    return ra != rb ? ra < rb : a->path < b->path;
}

/*
 * The packet that has waited longest decides, so that no flow is starved: heads[0].
 */
static int next(const struct sched_path *views, size_t n, const struct sched_head *heads,
                size_t nheads, ns_t now, struct sched_decision *out)
{
    const struct sched_path *best = NULL;
    bool usable = false, fits = false;

    memset(out, 0, sizeof(*out));
    out->wake = NS_NEVER;
    if (nheads == 0)
        return SCHED_WAIT;
    out->flow = heads[0].flow;
    for (size_t i = 0; i < n; i++) {
        const struct sched_path *p = &views[i];

        if (!p->usable)
            continue;
        usable = true;
        if (p->mtu_bytes < heads[0].bytes)
            continue;
        fits = true;
        if (p->room_bytes < heads[0].bytes)
            continue; /* only an acknowledgement makes room */
        if (p->earliest > now)
            out->wake = ns_min(out->wake, p->earliest);
        else if (!best || before(p, best))
            best = p;
    }
    if (!best)
        return usable && !fits ? SCHED_TOOBIG : SCHED_WAIT;
    out->path = best->path;
    out->bytes = sched_burst_bytes(best);
    if (out->bytes > best->room_bytes)
        out->bytes = best->room_bytes;
    if (out->bytes > heads[0].backlog_bytes)
        out->bytes = heads[0].backlog_bytes;
    if (out->bytes < heads[0].bytes)
        out->bytes = heads[0].bytes;
    out->wake = now;
    return 0;
}

const struct sched sched_minrtt = {"minrtt", next};
