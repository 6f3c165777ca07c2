/*
 * NewReno as RFC 9002 section 7 and appendix B have it, with an increase by whole
 * datagrams once a window of bytes was acknowledged (RFC 3465 2.1).
 */
#include "quic/cc.h"

static void init(struct cc *cc)
{
    cc->u.newreno = (struct cc_newreno){0};
}

static void on_ack(struct cc *cc, const struct cc_ack *ack)
{
    struct cc_newreno *n = &cc->u.newreno;

    if (cc_in_slow_start(cc)) {
        hystart_on_ack(cc, ack);
        return;
    }
    if (!ack->cwnd_limited)
        return;
    n->acked += ack->growing;
    while (n->acked >= cc->cwnd) {
        n->acked -= cc->cwnd;
        cc->cwnd += cc->mss;
    }
}

static void on_congestion(struct cc *cc, bool ecn)
{
    struct cc_newreno *n = &cc->u.newreno;

    (void)ecn;
    n->acked = 0;
    cc->ssthresh = cc->cwnd / 2;
    if (cc->ssthresh < cc_min_window(cc))
        cc->ssthresh = cc_min_window(cc);
    cc->cwnd = cc->ssthresh;
}

static void on_persistent(struct cc *cc)
{
    init(cc);
}

static void on_undo(struct cc *cc, const struct cc_event *before)
{
    cc_restore(cc, before);
}

const struct cc_ops cc_newreno_ops = {.name = "newreno",
                                      .init = init,
                                      .on_ack = on_ack,
                                      .on_congestion = on_congestion,
                                      .on_persistent = on_persistent,
                                      .on_undo = on_undo};
