#include "quic/rate.h"

void rate_on_sent(struct rate *r, struct sent_packet *p, uint64_t in_flight)
{
    uint64_t flight = in_flight + p->bytes;
    ns_t since;

    if (!in_flight)
        r->first_sent_time = r->delivered_time = p->time;
    p->delivered = r->delivered;
    p->delivered_time = r->delivered_time;
    since = ns_sub(p->time, r->first_sent_time) / SENT_TICK;
    p->since_first = since < UINT32_MAX ? (uint32_t)since : UINT32_MAX;
    p->lost = (uint32_t)r->lost;
    p->in_flight = flight < UINT32_MAX ? (uint32_t)flight : UINT32_MAX;
    if (r->app_limited)
        p->flags |= SENT_APP_LIMITED;
}

void rate_on_ack(struct rate *r, const struct sent_packet *newest, uint64_t bytes, ns_t now,
                 ns_t min_rtt, struct rate_sample *out)
{
    ns_t acked = ns_sub(now, newest->delivered_time);
    double bps;

    r->delivered += bytes;
    r->delivered_time = now;
    r->first_sent_time = newest->time;
    if (r->app_limited && r->delivered > r->app_limited)
        r->app_limited = 0;
    *out = (struct rate_sample){
        .delivered = r->delivered - newest->delivered,
        .prior_delivered = newest->delivered,
        .in_flight = newest->in_flight,
        .interval = ns_max((ns_t)newest->since_first * SENT_TICK, acked),
        .app_limited = newest->flags & SENT_APP_LIMITED,
    };
    if (!out->interval || out->interval < min_rtt)
        return;
    bps = 8.0 * (double)out->delivered * (double)NS_PER_S / (double)out->interval;
    out->bps = bps < 1e12 ? (uint64_t)bps : (uint64_t)1e12;
}
