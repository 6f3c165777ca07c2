/*
 * The model half of BBR: filters over samples, and bounds from congestion (draft 5.5).
 *
 * Two time scales. The long-term model (max_bw, inflight_long) is what probes found, kept
 * for two cycles of ProbeBW; the short-term one (bw_short, inflight_short) is what the
 * rounds of the present cycle say about congestion, and is forgotten when the next probe
 * begins.
 *
 * Rounds are counted by packets: one is over when a packet sent after its beginning is
 * acknowledged, BBR_ROUND_LEAST after it at the earliest. Loss has rounds of its own, which
 * begin with the first loss.
 */
#include <math.h>

#include "quic/cc.h"

#define EXTRA_ROUNDS  10   /* ExtraAckedFilterLen */
#define LEARN_PACKETS 512  /* in an interval that base_loss is learned from */
#define LEARN_RISE    16   /* a rise is taken over by a sixteenth, */
#define LEARN_FALL    8    /* a fall by an eighth: congestion comes in bursts */
#define BASE_LOSS_MAX 0.2  /* a path that loses more is not to be had by persistence */
#define FULL_GROWTH   1.25 /* below this, a round has not grown */
#define FULL_ROUNDS   3
#define NEAR_MIN      32 /* a round trip is the shortest but for so much of it */

/* ---- filters ------------------------------------------------------------------------- */

/* The largest value of the last `len` rounds, by Nichols' three best candidates. */
static uint64_t max_update(struct bbr_max *m, uint64_t value, uint64_t round, uint64_t len)
{
    if (value >= m->value[0] || round - m->round[2] > len) {
        for (int i = 0; i < 3; i++) {
            m->value[i] = value;
            m->round[i] = round;
        }
        return value;
    }
    for (int i = 1; i < 3; i++) {
        if (value < m->value[i])
            continue;
        for (int k = i; k < 3; k++) {
            m->value[k] = value;
            m->round[k] = round;
        }
        break;
    }
    while (round - m->round[0] > len) {
        for (int i = 0; i < 2; i++) {
            m->value[i] = m->value[i + 1];
            m->round[i] = m->round[i + 1];
        }
        m->value[2] = value;
        m->round[2] = round;
    }
    /* Candidates of the same age are no candidates: take over a younger one in time. */
    if (m->round[1] == m->round[0] && round - m->round[1] > len / 4) {
        m->value[1] = m->value[2] = value;
        m->round[1] = m->round[2] = round;
    } else if (m->round[2] == m->round[1] && round - m->round[2] > len / 2) {
        m->value[2] = value;
        m->round[2] = round;
    }
    return m->value[0];
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void bbr_advance_max_bw(struct cc_bbr *b)
{
    b->bw_filter[1] = b->bw_filter[0];
    b->bw_filter[0] = 0;
}

static void update_max_bw(struct cc_bbr *b, const struct rate_sample *rs)
{
    if (!rs->bps || (rs->bps < b->max_bw && rs->app_limited))
        return;
    b->bw_filter[0] = larger(b->bw_filter[0], rs->bps);
    b->max_bw = larger(b->bw_filter[0], b->bw_filter[1]);
}

/* The shortest round trip of a round has met what stands in the queue for good. */
static void update_standing(struct cc_bbr *b, const struct cc_ack *ack)
{
    if (b->round_start) {
        b->standing = b->round_rtt == NS_NEVER ? 0 : ns_sub(b->round_rtt, b->min_rtt);
        b->round_rtt = NS_NEVER;
    }
    if (ack->rtt)
        b->round_rtt = ns_min(b->round_rtt, ack->rtt);
}

/* Up to this a round trip has met no queue. */
static ns_t near_min(ns_t least)
{
    return ns_max(ns_add(least, least / NEAR_MIN), BBR_HOST_TURN);
}

void bbr_update_min_rtt(struct cc_bbr *b, const struct cc_ack *ack)
{
    b->probe_rtt_expired = ack->now > ns_add(b->probe_rtt_stamp, BBR_PROBE_RTT_GAP);
    if (ack->rtt && (ack->rtt < b->probe_rtt_min || b->probe_rtt_expired)) {
        b->probe_rtt_min = ack->rtt;
        b->probe_rtt_stamp = ack->now;
    } else if (ack->rtt && ack->rtt <= near_min(b->probe_rtt_min)) {
        b->probe_rtt_stamp = ack->now;
    }
    if (b->probe_rtt_min < b->min_rtt || ack->now > ns_add(b->min_rtt_stamp, BBR_MIN_RTT_LEN)) {
        b->min_rtt = b->probe_rtt_min;
        b->min_rtt_stamp = b->probe_rtt_stamp;
    }
    update_standing(b, ack);
}

/* How much more was acknowledged in a stretch than the rate explains. */
static void update_aggregation(struct cc *cc, const struct cc_ack *ack)
{
    struct cc_bbr *b = &cc->u.bbr;
    double interval = (double)ns_sub(ack->now, b->extra_start) / (double)NS_PER_S;
    uint64_t expected = (uint64_t)((double)b->bw / 8 * interval), extra;

    if (b->extra_delivered <= expected) {
        b->extra_delivered = 0;
        b->extra_start = ack->now;
        expected = 0;
    }
    b->extra_delivered += ack->bytes;
    extra = smaller(b->extra_delivered - expected, cc->cwnd);
    b->extra_acked =
        max_update(&b->extra_filter, extra, b->round_count, b->full_reached ? EXTRA_ROUNDS : 1);
}

uint64_t bbr_bdp(const struct cc *cc, uint64_t bw, double gain)
{
    const struct cc_bbr *b = &cc->u.bbr;

    if (b->min_rtt == NS_NEVER)
        return cc_initial_window(cc->mss);
    return (uint64_t)(gain * (double)bw / 8 *
                      (double)ns_max(b->min_rtt, BBR_HOST_TURN) / (double)NS_PER_S);
}

/* ---- rounds -------------------------------------------------------------------------- */

void bbr_start_round(struct cc_bbr *b)
{
    b->next_round_delivered = b->delivered;
}

/*
 * A lap, from a packet to the first that is sent after its acknowledgement, may be much shorter
 * than a round on a short path. The best of them speaks for the round.
 */
static void update_round(struct cc_bbr *b, const struct rate_sample *rs, ns_t now)
{
    bool lap = rs->prior_delivered >= b->next_round_delivered;

    b->round_start = lap && now >= ns_add(b->round_stamp, BBR_ROUND_LEAST);
    if (!lap)
        return;
    bbr_start_round(b);
    if (!rs->app_limited)
        b->lap_bps = larger(b->lap_bps, rs->bps);
    if (!b->round_start)
        return;
    b->round_stamp = now;
    b->round_count++;
    b->rounds_since_up++;
}

void bbr_reset_signals(struct cc_bbr *b)
{
    b->loss_in_round = b->ce_in_round = false;
    b->bw_latest = b->inflight_latest = 0;
}

void bbr_reset_short(struct cc_bbr *b)
{
    b->bw_short = b->inflight_short = BBR_INF;
}

void bbr_reset_full(struct cc_bbr *b)
{
    b->full_bw = b->lap_bps = 0;
    b->full_count = 0;
    b->full_now = false;
}

static void check_full(struct cc_bbr *b)
{
    uint64_t bps = b->lap_bps;

    if (b->full_now || !b->round_start || !bps)
        return;
    b->lap_bps = 0;
    if ((double)bps >= (double)b->full_bw * FULL_GROWTH ||
        (double)bps * FULL_GROWTH < (double)b->full_bw) {
        bbr_reset_full(b);
        b->full_bw = bps;
        return;
    }
    b->full_now = ++b->full_count >= FULL_ROUNDS;
    b->full_reached |= b->full_now;
}

/* ---- base loss ----------------------------------------------------------------------- */

/*
 * Startup doubles its rate each round, so the round that first exceeds the path may still
 * deliver much more than the one before, and lose as much again. Hence a round's loss is
 * believed only when the round after it has grown, too: then it was not the path's end.
 */
static void learn_startup(struct cc *cc)
{
    struct cc_bbr *b = &cc->u.bbr;
    double all;

    if (b->full_count || b->full_reached) {
        b->doubt_acked = b->doubt_lost = 0;
    } else {
        b->known_acked += b->doubt_acked;
        b->known_lost += b->doubt_lost;
        b->doubt_acked = b->learn_acked;
        b->doubt_lost = b->learn_lost;
    }
    b->learn_acked = b->learn_lost = 0;
    all = (double)(b->known_acked + b->known_lost);
    if (all <= 0)
        return;
    b->base_loss = fmin((double)b->known_lost / all, BASE_LOSS_MAX);
    b->learned = (uint32_t)fmin(all / (double)(LEARN_PACKETS * cc->mss), LEARN_RISE);
}

/*
 * Between probes the rate is one that the path is known to carry. An interval of packets at
 * a time: as an average first, then with caution upwards.
 */
static void learn_cruising(struct cc *cc)
{
    struct cc_bbr *b = &cc->u.bbr;
    double sample, share;

    if (b->learn_acked + b->learn_lost < LEARN_PACKETS * cc->mss)
        return;
    sample = (double)b->learn_lost / (double)(b->learn_acked + b->learn_lost);
    b->learn_acked = b->learn_lost = 0;
    share = sample > b->base_loss ? LEARN_RISE : LEARN_FALL;
    if (++b->learned < share)
        share = b->learned;
    b->base_loss += (sample - b->base_loss) / share;
    if (b->base_loss > BASE_LOSS_MAX)
        b->base_loss = BASE_LOSS_MAX;
    if (b->blamed && b->base_loss > b->blamed_base + BBR_LOSS_THRESH / 2) {
        b->blamed = false;
        b->acquitted = true;
    }
}

void bbr_blame(struct cc_bbr *b)
{
    if (!b->blamed)
        b->blamed_base = b->base_loss;
    b->blamed = true;
}

static void learn_loss(struct cc *cc, uint64_t acked, uint64_t lost)
{
    struct cc_bbr *b = &cc->u.bbr;
    bool cruising =
        bbr_is_probe_bw(b) && (b->acks == BBR_ACKS_INIT || b->acks == BBR_ACKS_REFILLING);

    if (b->state != BBR_STARTUP && !bbr_is_probe_bw(b))
        b->learn_acked = b->learn_lost = 0;
    if (b->state != BBR_STARTUP && !cruising)
        return; /* an interval goes on after a probe: on slow paths it is longer than the time between two */
    b->learn_acked += acked;
    b->learn_lost += lost;
    if (cruising)
        learn_cruising(cc);
}

/* What base_loss explains among `all` bytes: the mean and `sigmas` standard deviations. */
static double usual_loss(const struct cc *cc, double all, double sigmas)
{
    double packets = all / (double)cc->mss, usual = cc->u.bbr.base_loss * packets;

    return (usual + sigmas * sqrt(usual)) * (double)cc->mss;
}

/*
 * How much more than base_loss the path may well lose: two standard deviations of what Startup
 * has learned from a few packets so far, of one that it loses at least.
 */
static double startup_doubt(const struct cc *cc)
{
    const struct cc_bbr *b = &cc->u.bbr;
    double lost = (double)b->known_lost / (double)cc->mss;
    double all = (double)(b->known_acked + b->known_lost) / (double)cc->mss;

    return all > 0 ? 2 * sqrt(lost + 1) / all : 1;
}

bool bbr_too_high(const struct cc *cc, uint64_t lost, uint64_t all)
{
    double over = BBR_LOSS_THRESH;

    if (cc->u.bbr.state == BBR_STARTUP)
        over += startup_doubt(cc);
    return (double)lost > usual_loss(cc, (double)all, 2) + over * (double)all;
}

static bool excess_loss(const struct cc *cc)
{
    const struct cc_bbr *b = &cc->u.bbr;

    return (double)b->round_lost > usual_loss(cc, (double)(b->round_acked + b->round_lost), 4);
}

/* ---- congestion ---------------------------------------------------------------------- */

void bbr_save_cwnd(struct cc *cc)
{
    struct cc_bbr *b = &cc->u.bbr;

    if (!b->in_recovery && b->state != BBR_PROBE_RTT)
        b->prior_cwnd = cc->cwnd;
    else
        b->prior_cwnd = larger(b->prior_cwnd, cc->cwnd);
}

void bbr_restore_cwnd(struct cc *cc)
{
    cc->cwnd = larger(cc->cwnd, cc->u.bbr.prior_cwnd);
}

void bbr_save_state(struct cc *cc)
{
    struct cc_bbr *b = &cc->u.bbr;

    bbr_save_cwnd(cc);
    b->undo_state = BBR_NONE;
    b->undo_bw_short = b->bw_short;
    b->undo_inflight_short = b->inflight_short;
    b->undo_inflight_long = b->inflight_long;
}

void bbr_note_loss(struct cc *cc, const struct cc_lost *lost)
{
    struct cc_bbr *b = &cc->u.bbr;

    b->delivered = lost->delivered;
    if (!b->loss_in_round) {
        b->loss_round_delivered = b->delivered;
        b->round_acked = b->round_lost = 0;
        b->round_runs = 0;
    }
    if (!b->saved)
        bbr_save_state(cc);
    b->saved = b->loss_in_round = true;
    if (!b->round_runs || lost->pn != b->last_lost + 1)
        b->round_runs++;
    b->last_lost = lost->pn;
    b->round_lost += lost->bytes;
    learn_loss(cc, 0, lost->bytes);
}

uint64_t bbr_inflight_at_loss(const struct cc_bbr *b, const struct cc_lost *lost)
{
    double thresh = b->base_loss + BBR_LOSS_THRESH;
    double before = (double)lost->in_flight - (double)lost->bytes;
    double lost_before = (double)lost->lost - (double)lost->bytes;
    double prefix = (thresh * before - lost_before) / (1 - thresh);

    return before + prefix > 0 ? (uint64_t)(before + prefix) : 0;
}

/*
 * Once per round, outside of probes: slow down towards what is being delivered. What comes of
 * ProbeRTT and Drain, until a round after them, is as little as was sent, and what is found lost
 * in Drain is Startup's.
 */
static void adapt_short(struct cc *cc)
{
    struct cc_bbr *b = &cc->u.bbr;

    if (b->round_count <= b->held_round + 1)
        return;
    if (bbr_is_probing(b) || !((b->loss_in_round && excess_loss(cc)) || b->ce_in_round))
        return;
    b->trouble_round = b->round_count;
    if (!b->ce_in_round)
        bbr_blame(b);
    if (b->bw_short == BBR_INF)
        b->bw_short = b->max_bw;
    if (b->inflight_short == BBR_INF)
        b->inflight_short = cc->cwnd;
    b->bw_short = larger(b->bw_latest, (uint64_t)(BBR_BETA * (double)b->bw_short));
    b->inflight_short =
        larger(b->inflight_latest, (uint64_t)(BBR_BETA * (double)b->inflight_short));
}

/* ---- acknowledgements ---------------------------------------------------------------- */

void bbr_update_model(struct cc *cc, const struct cc_ack *ack)
{
    struct cc_bbr *b = &cc->u.bbr;
    const struct rate_sample *rs = ack->rate;

    b->delivered = rs->prior_delivered + rs->delivered;
    b->bw_latest = larger(b->bw_latest, rs->bps);
    b->inflight_latest = larger(b->inflight_latest, rs->delivered);
    b->loss_round_start = rs->prior_delivered >= b->loss_round_delivered;
    if (b->loss_round_start)
        b->loss_round_delivered = b->delivered;
    b->round_acked += ack->bytes;
    learn_loss(cc, ack->bytes, 0);
    update_round(b, rs, ack->now);
    update_max_bw(b, rs);
    if (b->state == BBR_PROBE_RTT || b->state == BBR_DRAIN)
        b->held_round = b->round_count;
    if (b->loss_round_start)
        adapt_short(cc);
    update_aggregation(cc, ack);
    check_full(b);
    if (b->state == BBR_STARTUP && b->round_start)
        learn_startup(cc);
}

void bbr_finish_model(struct cc_bbr *b, const struct cc_ack *ack)
{
    if (b->loss_round_start) {
        b->bw_latest = ack->rate->bps;
        b->inflight_latest = ack->rate->delivered;
        b->loss_in_round = b->ce_in_round = false;
        b->round_acked = b->round_lost = 0;
        b->round_runs = 0;
    }
    b->bw = smaller(b->max_bw, b->bw_short);
}
