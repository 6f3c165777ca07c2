#include "quic/cc.h"

#include <string.h>

#define CWND_MAX ((uint64_t)1 << 30) /* bytes: beyond any path, short of any overflow */

/* RFC 9406 4.3 */
#define HYSTART_MIN_THRESH (4 * NS_PER_MS)
#define HYSTART_MAX_THRESH (16 * NS_PER_MS)
#define HYSTART_DIVISOR    8
#define HYSTART_SAMPLES    8
#define CSS_DIVISOR        4
#define CSS_ROUNDS         5

uint64_t cc_initial_window(size_t mss)
{
    uint64_t ten = 10 * (uint64_t)mss, bound = 2 * (uint64_t)mss;

    if (bound < 14720)
        bound = 14720;
    return ten < bound ? ten : bound;
}

uint64_t cc_min_window(const struct cc *cc)
{
    return 2 * cc->mss;
}

int cc_init(struct cc *cc, const char *name, size_t mss)
{
    static const struct cc_ops *const all[] = {&cc_cubic_ops, &cc_newreno_ops, &cc_bbr_ops};

    for (size_t i = 0; i < ARRAY_LEN(all) && mss >= 1200; i++) {
        if (name && strcmp(name, all[i]->name) != 0)
            continue;
        *cc = (struct cc){
            .ops = all[i], .mss = mss, .cwnd = cc_initial_window(mss), .ssthresh = UINT64_MAX};
        hystart_init(&cc->hystart);
        cc->ops->init(cc);
        return 0;
    }
    return QUIC_INVAL;
}

void cc_seed(struct cc *cc, uint64_t seed)
{
    cc->random = seed;
}

double cc_random(struct cc *cc)
{
    uint64_t z = cc->random += 0x9e3779b97f4a7c15; /* SplitMix64 */

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

void cc_set_mss(struct cc *cc, size_t mss)
{
    bool initial = cc->ssthresh == UINT64_MAX && cc->cwnd == cc_initial_window(cc->mss);

    cc->mss = mss;
    if (initial)
        cc->cwnd = cc_initial_window(mss);
    if (cc->cwnd < cc_min_window(cc))
        cc->cwnd = cc_min_window(cc);
    if (cc->ssthresh < cc_min_window(cc))
        cc->ssthresh = cc_min_window(cc);
}

static void clamp(struct cc *cc)
{
    if (cc->cwnd > CWND_MAX)
        cc->cwnd = CWND_MAX;
}

void cc_on_ack(struct cc *cc, const struct cc_ack *ack)
{
    cc->ops->on_ack(cc, ack);
    clamp(cc);
}

static void congestion(struct cc *cc, const struct cc_loss *loss, bool ecn)
{
    cc->event[1] = cc->event[0];
    cc->event[0] = (struct cc_event){.from = cc->recovered_once ? cc->recovery_start : 0,
                                     .packets = loss->packets,
                                     .hystart = cc->hystart.on,
                                     .cwnd = cc->cwnd,
                                     .ssthresh = cc->ssthresh};
    cc->events += cc->events < ARRAY_LEN(cc->event);
    cc->ops->on_congestion(cc, ecn);
    cc->hystart.on = false;
    cc->recovery_start = loss->now;
    cc->recovered_once = true;
}

/* The event that a packet sent at `sent_time` belongs to; null: it can't be undone. */
static struct cc_event *event_of(struct cc *cc, ns_t sent_time)
{
    for (unsigned i = 0; i < cc->events && cc_in_recovery(cc, sent_time); i++)
        if (sent_time > cc->event[i].from || !cc->event[i].from)
            return &cc->event[i];
    return NULL;
}

void cc_on_loss(struct cc *cc, const struct cc_loss *loss)
{
    struct cc_event *e = event_of(cc, loss->sent_time);

    if (!cc_in_recovery(cc, loss->sent_time))
        congestion(cc, loss, false);
    else if (e)
        e->packets += loss->packets;
}

void cc_on_ecn(struct cc *cc, const struct cc_loss *ce)
{
    if (!cc_in_recovery(cc, ce->sent_time))
        congestion(cc, ce, true);
    cc->events = 0;
}

void cc_on_persistent(struct cc *cc)
{
    cc->ops->on_persistent(cc);
    cc->cwnd = cc_min_window(cc);
    cc->recovered_once = false;
    cc->events = 0;
}

/* As before the latest event. */
static void undo(struct cc *cc)
{
    struct cc_event e = cc->event[0];

    cc->event[0] = cc->event[1];
    cc->events--;
    cc->ops->on_undo(cc, &e);
    if (cc->ssthresh == UINT64_MAX)
        cc->hystart.on = e.hystart;
    cc->recovery_start = e.from;
    clamp(cc);
}

void cc_on_spurious(struct cc *cc, ns_t sent_time)
{
    struct cc_event *e = event_of(cc, sent_time);

    if (e && e->packets)
        e->packets--;
    while (cc->events && cc->event[0].packets == 0)
        undo(cc);
}

uint64_t cc_pacing_bps(const struct cc *cc, ns_t smoothed)
{
    double gain = cc_in_slow_start(cc) ? 2.0 : 1.25, bps;

    if (!smoothed)
        return 0;
    if (cc->ops->pacing_bps)
        return cc->ops->pacing_bps(cc);
    bps = gain * 8.0 * (double)cc->cwnd * (double)NS_PER_S / (double)smoothed;
    return bps < 1e12 ? (uint64_t)bps + 1 : (uint64_t)1e12;
}

bool cc_check(const struct cc *cc)
{
    return cc->cwnd >= cc_min_window(cc) && cc->ssthresh >= cc_min_window(cc) &&
           cc->cwnd <= CWND_MAX;
}

void hystart_init(struct hystart *h)
{
    *h = (struct hystart){
        .last_min = NS_NEVER, .this_min = NS_NEVER, .css_baseline = NS_NEVER, .on = true};
}

/* A round is over: whether Conservative Slow Start is, too. */
static bool next_round(struct hystart *h, ns_t now)
{
    bool counts = !h->app_limited;

    h->round_start = now;
    h->last_min = counts ? h->this_min : NS_NEVER;
    h->this_min = NS_NEVER;
    h->samples = 0;
    h->app_limited = false;
    return counts && h->css_baseline != NS_NEVER && ++h->css_rounds >= CSS_ROUNDS;
}

/* Enter or leave Conservative Slow Start as the RTT of this round says. */
static void judge_delay(struct hystart *h)
{
    ns_t thresh;

    if (h->samples < HYSTART_SAMPLES)
        return;
    if (h->css_baseline != NS_NEVER) {
        if (h->this_min < h->css_baseline)
            h->css_baseline = NS_NEVER;
        return;
    }
    if (h->last_min == NS_NEVER || h->app_limited)
        return;
    thresh =
        ns_max(HYSTART_MIN_THRESH, ns_min(h->last_min / HYSTART_DIVISOR, HYSTART_MAX_THRESH));
    if (h->this_min >= h->last_min + thresh) {
        h->css_baseline = h->this_min;
        h->css_rounds = 0;
    }
}

void hystart_on_ack(struct cc *cc, const struct cc_ack *ack)
{
    struct hystart *h = &cc->hystart;
    uint64_t grow = ack->cwnd_limited ? ack->growing : 0;

    if (!h->on) {
        cc->cwnd += grow;
        return;
    }
    if (ack->sent_time >= h->round_start && next_round(h, ack->now)) {
        cc->ssthresh = cc->cwnd;
        h->on = false;
        return;
    }
    h->app_limited |= ack->rate && ack->rate->app_limited;
    if (ack->rtt) {
        h->this_min = ns_min(h->this_min, ack->rtt);
        h->samples++;
    }
    cc->cwnd += h->css_baseline == NS_NEVER ? grow : grow / CSS_DIVISOR;
    judge_delay(h);
}
