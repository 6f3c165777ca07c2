#include "sched/codel.h"

#include <math.h>

#define AGAIN 16 /* intervals within which a new phase goes on where the last one was */

static ns_t after(ns_t t, uint32_t count)
{
    return ns_add(t, (ns_t)((double)CODEL_INTERVAL / sqrt(count)));
}

/* Whether the queue has been too long for an interval. */
static bool standing(struct codel *c, ns_t sojourn, ns_t target, bool last, ns_t now)
{
    if (sojourn < target || last) {
        c->above_until = 0;
        return false;
    }
    if (c->above_until == 0) {
        c->above_until = ns_add(now, CODEL_INTERVAL);
        return false;
    }
    return now >= c->above_until;
}

bool codel_due(struct codel *c, ns_t sojourn, ns_t target, bool last, ns_t now)
{
    uint32_t since;

    if (!standing(c, sojourn, target, last, now)) {
        c->dropping = false;
        return false;
    }
    if (c->dropping) {
        if (now < c->drop_next)
            return false;
        if (c->count < UINT32_MAX)
            c->count++;
        c->drop_next = after(c->drop_next, c->count);
        return true;
    }
    /* Not long after the last phase, the rate that it had found is a better start than 1. */
    since = c->count - c->last_count;
    c->dropping = true;
    c->count = since > 1 && ns_sub(now, c->drop_next) < AGAIN * CODEL_INTERVAL ? since : 1;
    c->last_count = c->count;
    c->drop_next = after(now, c->count);
    return true;
}
