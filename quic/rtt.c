#include "quic/rtt.h"

void rtt_init(struct rtt *r, ns_t initial)
{
    if (!initial)
        initial = RTT_INITIAL;
    *r = (struct rtt){.smoothed = initial, .variation = initial / 2, .first_sample = NS_NEVER};
}

void rtt_sample(struct rtt *r, ns_t latest, ns_t ack_delay, bool confirmed, ns_t max_ack_delay,
                ns_t now)
{
    ns_t adjusted = latest, deviation;

    r->latest = latest;
    if (!rtt_has_sample(r)) {
        r->min = r->smoothed = latest;
        r->variation = latest / 2;
        r->first_sample = now;
        return;
    }
    r->min = ns_min(r->min, latest);
    if (confirmed)
        ack_delay = ns_min(ack_delay, max_ack_delay);
    if (latest >= ns_add(r->min, ack_delay))
        adjusted = latest - ack_delay;
    deviation = r->smoothed > adjusted ? r->smoothed - adjusted : adjusted - r->smoothed;
    r->variation = (3 * r->variation + deviation) / 4;
    r->smoothed = (7 * r->smoothed + adjusted) / 8;
}

void rtt_refresh_min(struct rtt *r)
{
    if (rtt_has_sample(r))
        r->min = r->latest;
}

ns_t rtt_pto(const struct rtt *r, ns_t max_ack_delay)
{
    return ns_add(r->smoothed + ns_max(4 * r->variation, RTT_GRANULARITY), max_ack_delay);
}
