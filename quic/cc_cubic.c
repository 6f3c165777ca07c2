/*
 * CUBIC (RFC 9438), in bytes and seconds.
 *
 * After a congestion event the window follows a cubic function of time that has its
 * plateau at the window where congestion was met (w_max), k seconds after the stage began:
 *
 *     W(t) = C * (t - k)^3 + w_max
 *
 * but is at least what Reno with the same decrease would have (w_est). Time in which the
 * window was not in use doesn't count: the start of the stage is moved by as much.
 */
#include "quic/cc.h"

#include <math.h>

#define CUBIC_C     0.4
#define CUBIC_BETA  0.7
#define CUBIC_ALPHA (3.0 * (1.0 - CUBIC_BETA) / (1.0 + CUBIC_BETA)) /* RFC 9438 4.3 */

static double seconds(ns_t t)
{
    return (double)t / (double)NS_PER_S;
}

static void init(struct cc *cc)
{
    cc->u.cubic = (struct cc_cubic){.now = {.epoch = NS_NEVER}, .limited_since = NS_NEVER};
}

/* Begin a congestion avoidance stage (RFC 9438 4.2, 4.8, 4.10). */
static void begin(struct cc *cc, ns_t now)
{
    struct cubic_stage *s = &cc->u.cubic.now;

    s->epoch = now;
    s->w_est = (double)cc->cwnd;
    cc->u.cubic.fraction = 0;
    if (s->cwnd_prior == 0)
        s->cwnd_prior = cc->cwnd;
    if (s->w_max > cc->cwnd) {
        s->k = cbrt((double)(s->w_max - cc->cwnd) / (CUBIC_C * (double)cc->mss));
    } else {
        s->w_max = cc->cwnd;
        s->k = 0;
    }
}

static double w_cubic(const struct cc *cc, double t)
{
    const struct cubic_stage *s = &cc->u.cubic.now;
    double d = t - s->k;

    return CUBIC_C * (double)cc->mss * d * d * d + (double)s->w_max;
}

static void grow(struct cc *cc, const struct cc_ack *ack)
{
    struct cc_cubic *c = &cc->u.cubic;
    struct cubic_stage *s = &c->now;
    double cwnd = (double)cc->cwnd, acked = (double)ack->growing;
    double t = seconds(ns_sub(ack->now, s->epoch)), target, next;
    double alpha = s->w_est >= (double)s->cwnd_prior ? 1.0 : CUBIC_ALPHA;

    s->w_est += alpha * (double)cc->mss * acked / cwnd;
    if (w_cubic(cc, t) < s->w_est) {
        next = s->w_est > cwnd ? s->w_est : cwnd;
    } else {
        target = w_cubic(cc, t + seconds(ack->smoothed));
        target = target < cwnd ? cwnd : target > 1.5 * cwnd ? 1.5 * cwnd : target;
        next = cwnd + (target - cwnd) * acked / cwnd;
    }
    next += c->fraction;
    cc->cwnd = (uint64_t)next;
    c->fraction = next - (double)cc->cwnd;
}

static void on_ack(struct cc *cc, const struct cc_ack *ack)
{
    struct cc_cubic *c = &cc->u.cubic;

    if (cc_in_slow_start(cc)) {
        hystart_on_ack(cc, ack);
        return;
    }
    if (!ack->cwnd_limited) {
        if (c->limited_since == NS_NEVER)
            c->limited_since = ack->now;
        return;
    }
    if (c->limited_since != NS_NEVER) {
        if (c->now.epoch != NS_NEVER)
            c->now.epoch += ack->now - c->limited_since;
        c->limited_since = NS_NEVER;
    }
    if (!ack->growing)
        return;
    if (c->now.epoch == NS_NEVER)
        begin(cc, ack->now);
    grow(cc, ack);
}

static void on_congestion(struct cc *cc, bool ecn)
{
    struct cc_cubic *c = &cc->u.cubic;
    uint64_t w_max = c->now.w_max;

    (void)ecn;
    cc->event[0].cubic = c->now;
    /* Fast convergence (RFC 9438 4.7). */
    c->now.w_max = cc->cwnd;
    if (cc->cwnd < w_max)
        c->now.w_max = (uint64_t)((double)cc->cwnd * (1.0 + CUBIC_BETA) / 2.0);
    c->now.cwnd_prior = cc->cwnd;
    c->now.epoch = NS_NEVER;
    c->limited_since = NS_NEVER;
    cc->ssthresh = (uint64_t)((double)cc->cwnd * CUBIC_BETA);
    if (cc->ssthresh < cc_min_window(cc))
        cc->ssthresh = cc_min_window(cc);
    cc->cwnd = cc->ssthresh;
}

static void on_persistent(struct cc *cc)
{
    struct cc_cubic *c = &cc->u.cubic;

    c->now.epoch = NS_NEVER;
    c->now.w_max = 0;
    c->limited_since = NS_NEVER;
}

static void on_undo(struct cc *cc, const struct cc_event *before)
{
    if (cc_restore(cc, before))
        cc->u.cubic.now = before->cubic;
}

const struct cc_ops cc_cubic_ops = {.name = "cubic",
                                    .init = init,
                                    .on_ack = on_ack,
                                    .on_congestion = on_congestion,
                                    .on_persistent = on_persistent,
                                    .on_undo = on_undo};
