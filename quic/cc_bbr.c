/*
 * The state machine half of BBR (draft 5.3, 5.4) and its control parameters (5.6).
 *
 * Each acknowledgement updates the model, may move the state, and sets window, rate and
 * burst by the gains of the state. A bandwidth probe is REFILL (one round at the known rate,
 * so that the pipe is full when the probe begins), UP (faster, until the rate stops growing,
 * too much is lost, or nothing is learned) and DOWN (slower, until the queue is gone); `acks` follows which of
 * these the acknowledgements are about, a round trip later.
 *
 * Flows that share a path find each other by probing one at a time: together they only drive
 * the queue to its end, with shares as before. ProbeRTT is common to all, since each sees the
 * queue that it empties; so it doesn't start the wait for the next probe anew, and the waits
 * differ by seconds. Between probes the window has little more than the pipe: the queue that
 * flows keep standing who each believe in more than their share, and what other controllers'
 * flows find no room in.
 */
#include "quic/cc.h"

#define STARTUP_GAIN   2.77
#define DRAIN_GAIN     0.5
#define DOWN_GAIN      0.9
#define UP_GAIN        1.25
#define UP_CWND_GAIN   2.25
#define UP_FLIGHT      1.5
#define CWND_GAIN      2.0
#define CRUISE_GAIN    1.25 /* of the window, once a probe has found the path's end */
#define QUEUE_SHARE    8    /* a queue that is longer than so much of the path stands, */
#define QUEUE_LEAST    (5 * NS_PER_MS)
#define SHED_ROUNDS    8 /* to get rid of it, at most */
#define SHED_WAIT      3 /* rounds, until what was done shows */
#define PROBE_RTT_CWND 0.5
#define PACING_MARGIN  0.99
#define DRAIN_ROUNDS   3
#define STARTUP_LOSSES 6  /* BBRStartupFullLossCnt: runs of lost packets in a round */
#define STALL_GROWTH   1.25 /* Startup's, of the rate; and of what is on the way, to tell */
#define STALL_ROUNDS   8
#define PROBE_WAIT     (4 * NS_PER_S) /* for a probe, at least; at most twice that, */
#define RENO_ROUNDS    256            /* and so many round trips */
#define TROUBLE        0.85           /* it has cost more than the rest */
#define CALM_ROUNDS    8 /* after trouble, for a probe before its time; doubled so many times */
#define CALM_DOUBLED   5
#define QUANTUM_MAX    65536
#define UP_ROUNDS_MAX  30
#define UP_SPARE       3 /* rounds of a probe by who has too little to say */
#define BPS_MAX        ((uint64_t)1000000000000)

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t min_pipe(const struct cc *cc)
{
    return BBR_MIN_PACKETS * cc->mss;
}

/* ---- volumes ------------------------------------------------------------------------- */

static uint64_t quantization(const struct cc *cc, uint64_t inflight)
{
    inflight = larger(inflight, cc->quantum);
    inflight = larger(inflight, min_pipe(cc));
    return cc->u.bbr.state == BBR_UP ? inflight + 2 * cc->mss : inflight;
}

static uint64_t inflight_at(const struct cc *cc, uint64_t bw, double gain)
{
    return quantization(cc, bbr_bdp(cc, bw, gain));
}

/* What the path holds at `gain` times its best rate, acknowledgements that gather included. */
static uint64_t held_at(const struct cc *cc, double gain)
{
    return bbr_bdp(cc, cc->u.bbr.max_bw, gain) + cc->u.bbr.extra_acked;
}

static uint64_t target_inflight(const struct cc *cc)
{
    return smaller(bbr_bdp(cc, cc->u.bbr.bw, 1.0), cc->cwnd);
}

static uint64_t inflight_with_headroom(const struct cc *cc)
{
    const struct cc_bbr *b = &cc->u.bbr;

    if (b->inflight_long == BBR_INF)
        return BBR_INF;
    return larger(
        b->inflight_long -
            smaller(b->inflight_long,
                    larger(cc->mss, (uint64_t)(BBR_HEADROOM * (double)b->inflight_long))),
        min_pipe(cc));
}

static uint64_t probe_rtt_cwnd(const struct cc *cc)
{
    return larger(bbr_bdp(cc, cc->u.bbr.bw, PROBE_RTT_CWND), min_pipe(cc));
}

/* The window was full: there may have been room for less than a packet and a probe. */
static bool cwnd_limited(const struct cc *cc, const struct cc_ack *ack)
{
    return ack->peak + 3 * cc->mss >= cc->cwnd;
}

/* ---- transitions --------------------------------------------------------------------- */

static void enter(struct cc_bbr *b, enum bbr_state state, double pacing, double cwnd)
{
    b->state = state;
    b->pacing_gain = pacing;
    b->cwnd_gain = cwnd;
}

static void enter_startup(struct cc_bbr *b)
{
    b->stall_bw = b->stalled = 0;
    enter(b, BBR_STARTUP, STARTUP_GAIN, CWND_GAIN);
}

static void start_cycle(struct cc *cc, ns_t now)
{
    struct cc_bbr *b = &cc->u.bbr;

    b->rounds_since_up = cc_random(cc) < 0.5 ? 0 : 1;
    b->probe_wait = PROBE_WAIT + (ns_t)(cc_random(cc) * (double)PROBE_WAIT);
    b->cycle_stamp = now;
}

static void stop_probe(struct cc_bbr *b)
{
    bbr_reset_signals(b);
    b->up_per_inc = BBR_INF;
    b->acks = BBR_ACKS_STOPPING;
    bbr_start_round(b);
}

static void start_down(struct cc *cc, ns_t now)
{
    stop_probe(&cc->u.bbr);
    start_cycle(cc, now);
    enter(&cc->u.bbr, BBR_DOWN, DOWN_GAIN, CWND_GAIN);
}

/* A queue that is longer than that, and stands, is not to be. */
static ns_t queue_most(const struct cc_bbr *b)
{
    return ns_max(b->min_rtt / QUEUE_SHARE, QUEUE_LEAST);
}

static void start_cruise(struct cc_bbr *b)
{
    b->shed = 0;
    b->shed_above = queue_most(b);
    b->shed_round = b->round_count;
    enter(b, BBR_CRUISE, 1.0, b->inflight_long == BBR_INF ? CWND_GAIN : CRUISE_GAIN);
}

static void start_refill(struct cc_bbr *b)
{
    bbr_reset_short(b);
    b->blamed = b->startup_blamed = b->hasty = false;
    b->up_rounds = 0;
    b->up_acked = 0;
    b->precautionary = false;
    b->acks = BBR_ACKS_REFILLING;
    bbr_start_round(b);
    enter(b, BBR_REFILL, 1.0, CWND_GAIN);
}

static void raise_slope(struct cc *cc)
{
    struct cc_bbr *b = &cc->u.bbr;

    b->up_per_inc = larger(cc->cwnd >> b->up_rounds, cc->mss);
    if (b->up_rounds < UP_ROUNDS_MAX)
        b->up_rounds++;
}

static void start_up(struct cc *cc, const struct cc_ack *ack)
{
    struct cc_bbr *b = &cc->u.bbr;

    b->acks = BBR_ACKS_STARTING;
    bbr_start_round(b);
    bbr_reset_full(b);
    b->full_bw = ack->rate->bps;
    b->up_spare = 0;
    b->up_short = ack->in_flight < bbr_bdp(cc, b->max_bw, 1.0);
    enter(b, BBR_UP, UP_GAIN, UP_CWND_GAIN);
    raise_slope(cc);
}

/* ---- Startup and Drain --------------------------------------------------------------- */

/* Leave Startup for losses: a whole round of recovery with too many, in several places. */
static void check_startup_loss(struct cc *cc)
{
    struct cc_bbr *b = &cc->u.bbr;
    bool lossy = b->loss_in_round && b->round_runs >= STARTUP_LOSSES &&
                 bbr_too_high(cc, b->round_lost, b->round_acked + b->round_lost);

    if (b->state != BBR_STARTUP || !b->loss_round_start || !(lossy || b->ce_in_round))
        return;
    b->undo_state = b->ce_in_round ? BBR_NONE : BBR_STARTUP;
    b->startup_blamed = !b->ce_in_round;
    if (b->startup_blamed)
        bbr_blame(b);
    b->full_reached = true;
    b->inflight_long = larger(bbr_bdp(cc, b->bw, 1.0), b->inflight_latest);
}

/*
 * Who runs out of data in every round trip has no round that may tell that the path is full. But
 * several, each with more on the way than the path holds at the rate that was seen, would have
 * found a higher one.
 */
static void check_startup_stall(struct cc *cc, const struct cc_ack *ack)
{
    struct cc_bbr *b = &cc->u.bbr;

    if (b->state != BBR_STARTUP || b->full_reached || !b->round_start)
        return;
    if ((double)b->max_bw >= (double)b->stall_bw * STALL_GROWTH) {
        b->stall_bw = b->max_bw;
        b->stalled = 0;
    } else if (ack->peak > cc_initial_window(cc->mss) &&
               ack->peak > held_at(cc, STALL_GROWTH)) {
        b->stalled++;
    }
    b->full_reached = b->hasty = b->stalled >= STALL_ROUNDS;
}

static void check_startup_done(struct cc *cc, const struct cc_ack *ack)
{
    struct cc_bbr *b = &cc->u.bbr;

    check_startup_loss(cc);
    check_startup_stall(cc, ack);
    if (b->state != BBR_STARTUP || !b->full_reached)
        return;
    enter(b, BBR_DRAIN, DRAIN_GAIN, CWND_GAIN);
    b->drain_round = b->round_count;
}

static void check_drain_done(struct cc *cc, const struct cc_ack *ack)
{
    struct cc_bbr *b = &cc->u.bbr;

    if (b->state == BBR_DRAIN && (ack->in_flight <= inflight_at(cc, b->bw, 1.0) ||
                                  b->round_count > b->drain_round + DRAIN_ROUNDS))
        start_down(cc, ack->now);
}

/* ---- ProbeBW ------------------------------------------------------------------------- */

static bool time_to_probe(struct cc *cc, ns_t now)
{
    struct cc_bbr *b = &cc->u.bbr;
    uint64_t reno = target_inflight(cc) / cc->mss;

    if (now <= ns_add(b->cycle_stamp, b->probe_wait) &&
        b->rounds_since_up < smaller(reno, RENO_ROUNDS))
        return false;
    start_refill(b);
    return true;
}

static bool time_to_cruise(const struct cc *cc, const struct cc_ack *ack)
{
    return ack->in_flight <= inflight_with_headroom(cc) &&
           ack->in_flight <= inflight_at(cc, cc->u.bbr.max_bw, 1.0);
}

/*
 * Whether a probe that began before the pipe was full has put half as much again on the path as
 * that holds: rounds that only fill the pipe look like growth, and it would go on until the
 * queue is full.
 */
static bool probe_is_full(const struct cc *cc, const struct cc_ack *ack)
{
    return cc->u.bbr.up_short && ack->in_flight > held_at(cc, UP_FLIGHT);
}

/* Whether nothing is learned from a probe, as its sender has too little to say. */
static bool probe_is_idle(struct cc_bbr *b, const struct cc_ack *ack)
{
    if (b->round_start)
        b->up_spare = ack->rate->app_limited ? b->up_spare + 1 : 0;
    return b->up_spare >= UP_SPARE;
}

static bool time_to_go_down(struct cc *cc, const struct cc_ack *ack)
{
    struct cc_bbr *b = &cc->u.bbr;

    if (b->too_high && ack->in_flight >= b->inflight_long) {
        b->precautionary = true;
        return true;
    }
    if (cwnd_limited(cc, ack) && cc->cwnd >= b->inflight_long) {
        bbr_reset_full(b);
        b->full_bw = ack->rate->bps;
        return false;
    }
    if (b->full_now || probe_is_full(cc, ack))
        return true;
    if (!probe_is_idle(b, ack))
        return false;
    b->hasty = ack->in_flight <= inflight_at(cc, b->max_bw, 1.0);
    return true;
}

/* A probe lost too much with `in_flight` bytes on their way: the answer, once per probe. */
static void handle_too_high(struct cc *cc, uint64_t in_flight, bool app_limited, ns_t now)
{
    struct cc_bbr *b = &cc->u.bbr;

    b->too_high = true;
    b->probe_sample = false;
    b->vain_probes++;
    b->trouble_round = b->round_count;
    if (!app_limited)
        b->inflight_long =
            larger(in_flight, (uint64_t)((double)target_inflight(cc) * BBR_BETA));
    if (b->state == BBR_UP) {
        start_down(cc, now);
        b->undo_state = BBR_UP;
    }
}

/* While a probe is held up by inflight_long: raise that, faster with every round. */
static void probe_upward(struct cc *cc, const struct cc_ack *ack)
{
    struct cc_bbr *b = &cc->u.bbr;
    uint64_t steps;

    if (!cwnd_limited(cc, ack) || cc->cwnd < b->inflight_long)
        return;
    b->up_acked += ack->bytes;
    if (b->up_acked >= b->up_per_inc) {
        steps = b->up_acked / b->up_per_inc;
        b->up_acked -= steps * b->up_per_inc;
        b->inflight_long += steps * cc->mss;
    }
    if (b->round_start)
        raise_slope(cc);
}

/* Follow what acknowledgements are about. True if a state transition was decided. */
static bool adapt_long(struct cc *cc, const struct cc_ack *ack)
{
    struct cc_bbr *b = &cc->u.bbr;
    const struct rate_sample *rs = ack->rate;

    if (b->acks == BBR_ACKS_STARTING && b->round_start)
        b->acks = BBR_ACKS_FEEDBACK;
    if (b->acks == BBR_ACKS_STOPPING && b->round_start) {
        b->probe_sample = false;
        b->acks = BBR_ACKS_INIT;
        if (bbr_is_probe_bw(b) && !rs->app_limited)
            bbr_advance_max_bw(b);
        if (bbr_is_probe_bw(b) && b->precautionary && !b->too_high) {
            start_refill(b);
            return true;
        }
    }
    if (bbr_too_high(cc, rs->lost, rs->in_flight) || b->inflight_long == BBR_INF)
        return false;
    b->inflight_long = larger(b->inflight_long, rs->in_flight);
    if (b->state == BBR_UP)
        probe_upward(cc, ack);
    return false;
}

/*
 * Whether a bound that trouble has set is there although that is over: a link that was away for a
 * moment lost what was on its way. In vain, the next time after twice as long.
 */
static bool trouble_over(const struct cc *cc)
{
    const struct cc_bbr *b = &cc->u.bbr;
    uint64_t rounds =
        b->vain_probes < CALM_DOUBLED ? CALM_ROUNDS << b->vain_probes : RENO_ROUNDS;

    return b->round_count >= b->trouble_round + rounds &&
           ((double)b->bw_short < TROUBLE * (double)b->max_bw ||
            b->inflight_long < bbr_bdp(cc, b->max_bw, TROUBLE));
}

/*
 * Startup was left too early: by a sender with little to say that now has more, or for losses that
 * are the path's own. Probe again, or go on with it.
 */
static bool resume_probing(struct cc *cc, const struct cc_ack *ack)
{
    struct cc_bbr *b = &cc->u.bbr;

    if (b->state != BBR_DOWN && b->state != BBR_CRUISE)
        return false;
    if (b->hasty && b->round_start && !ack->rate->app_limited) {
        start_refill(b);
        return true;
    }
    if (b->standing > queue_most(b))
        b->trouble_round = b->round_count;
    if (trouble_over(cc)) {
        start_refill(b);
        return true;
    }
    if (!b->acquitted)
        return false;
    b->acquitted = false;
    if (!b->startup_blamed) {
        start_refill(b);
        return true;
    }
    bbr_reset_short(b);
    bbr_reset_full(b);
    b->inflight_long = BBR_INF;
    b->startup_blamed = b->full_reached = false;
    enter_startup(b);
    return true;
}

/*
 * A rate believed in that is a little too high fills the window, and half of that stands in the
 * queue: go slower until no more is in flight than the path holds. Where the queue is hardly
 * shorter for it, it is not ours, or none: see again when it is twice as long.
 */
static void shed_queue(struct cc *cc, const struct cc_ack *ack)
{
    struct cc_bbr *b = &cc->u.bbr;

    b->shed_least = ns_min(b->shed_least, b->standing);
    if (b->pacing_gain < 1.0) {
        if (ack->in_flight > inflight_at(cc, b->bw, 1.0) &&
            b->round_count < b->shed_round + SHED_ROUNDS)
            return;
        b->pacing_gain = 1.0;
        b->shed_round = b->round_count;
    }
    if (b->round_count < b->shed_round + SHED_WAIT)
        return;
    if (b->shed && b->shed_least > b->shed - b->shed / 4)
        b->shed_above = 2 * b->shed;
    b->shed = 0;
    if (b->standing <= b->shed_above)
        return;
    b->shed = b->shed_least = b->standing;
    b->shed_round = b->round_count;
    b->pacing_gain = DOWN_GAIN;
}

static void update_cycle(struct cc *cc, const struct cc_ack *ack)
{
    struct cc_bbr *b = &cc->u.bbr;

    if (resume_probing(cc, ack))
        return;
    if (b->ce_in_round && b->probe_sample)
        handle_too_high(cc, ack->rate->in_flight, ack->rate->app_limited, ack->now);
    if (!b->full_reached || adapt_long(cc, ack))
        return;
    switch (b->state) {
    case BBR_DOWN:
        if (!time_to_probe(cc, ack->now) && time_to_cruise(cc, ack))
            start_cruise(b);
        break;
    case BBR_CRUISE:
        if (!time_to_probe(cc, ack->now))
            shed_queue(cc, ack);
        break;
    case BBR_REFILL:
        if (b->round_start) {
            b->probe_sample = true;
            start_up(cc, ack);
        }
        break;
    case BBR_UP:
        if (time_to_go_down(cc, ack)) {
            if (!b->too_high)
                b->vain_probes = 0;
            b->too_high = false;
            start_down(cc, ack->now);
        }
        break;
    default:
        break;
    }
}

/* ---- ProbeRTT and idle times --------------------------------------------------------- */

static void check_probe_rtt_done(struct cc *cc, ns_t now)
{
    struct cc_bbr *b = &cc->u.bbr;

    if (!b->probe_rtt_done || now <= b->probe_rtt_done)
        return;
    b->probe_rtt_stamp = now;
    bbr_restore_cwnd(cc);
    bbr_reset_short(b);
    if (b->full_reached) {
        if (!b->cycle_stamp)
            start_cycle(cc, now);
        stop_probe(b);
        start_cruise(b);
    } else {
        enter_startup(b);
    }
}

static void handle_probe_rtt(struct cc *cc, const struct cc_ack *ack)
{
    struct cc_bbr *b = &cc->u.bbr;

    if (!b->probe_rtt_done) {
        if (ack->in_flight > probe_rtt_cwnd(cc))
            return;
        b->probe_rtt_done = ns_add(ack->now, BBR_PROBE_RTT_LEN);
        b->probe_rtt_round_done = false;
        bbr_start_round(b);
        return;
    }
    b->probe_rtt_round_done |= b->round_start;
    if (b->probe_rtt_round_done)
        check_probe_rtt_done(cc, ack->now);
}

static void check_probe_rtt(struct cc *cc, const struct cc_ack *ack)
{
    struct cc_bbr *b = &cc->u.bbr;

    if (b->state != BBR_PROBE_RTT && b->probe_rtt_expired && !b->idle_restart) {
        bbr_save_cwnd(cc);
        enter(b, BBR_PROBE_RTT, 1.0, PROBE_RTT_CWND);
        b->probe_rtt_done = 0;
        b->acks = BBR_ACKS_STOPPING;
        bbr_start_round(b);
    }
    if (b->state == BBR_PROBE_RTT)
        handle_probe_rtt(cc, ack);
    if (ack->rate->delivered)
        b->idle_restart = false;
}

/* ---- control parameters -------------------------------------------------------------- */

static void set_rate(struct cc *cc, double gain)
{
    struct cc_bbr *b = &cc->u.bbr;
    double bps = gain * (double)b->bw * PACING_MARGIN;

    if (b->full_reached || bps > (double)b->pacing_bps)
        b->pacing_bps = bps < (double)BPS_MAX ? (uint64_t)bps : BPS_MAX;
    if (!b->pacing_bps)
        b->pacing_bps = 1;
    cc->quantum = larger(smaller(b->pacing_bps / 8 / 1000, QUANTUM_MAX), 2 * cc->mss);
}

static void bound_cwnd(struct cc *cc)
{
    const struct cc_bbr *b = &cc->u.bbr;
    uint64_t cap = BBR_INF;

    if (b->state == BBR_PROBE_RTT || b->state == BBR_CRUISE)
        cap = inflight_with_headroom(cc);
    else if (bbr_is_probe_bw(b))
        cap = b->inflight_long;
    cap = larger(smaller(cap, b->inflight_short), min_pipe(cc));
    cc->cwnd = smaller(cc->cwnd, cap);
}

static void set_cwnd(struct cc *cc, const struct cc_ack *ack)
{
    struct cc_bbr *b = &cc->u.bbr;
    uint64_t most = quantization(cc, bbr_bdp(cc, b->bw, b->cwnd_gain) + b->extra_acked);

    if (b->full_reached)
        cc->cwnd = smaller(cc->cwnd + ack->bytes, most);
    else if (cc->cwnd < most || b->delivered < cc_initial_window(cc->mss))
        cc->cwnd += ack->bytes;
    cc->cwnd = larger(cc->cwnd, min_pipe(cc));
    if (b->state == BBR_PROBE_RTT)
        cc->cwnd = smaller(cc->cwnd, probe_rtt_cwnd(cc));
    bound_cwnd(cc);
}

/* ---- events -------------------------------------------------------------------------- */

static void init(struct cc *cc)
{
    struct cc_bbr *b = &cc->u.bbr;

    *b = (struct cc_bbr){
        .undo_state = BBR_NONE,
        .acks = BBR_ACKS_INIT,
        .inflight_long = BBR_INF,
        .up_per_inc = BBR_INF,
        .min_rtt = NS_NEVER,
        .probe_rtt_min = NS_NEVER,
        .round_rtt = NS_NEVER,
    };
    bbr_reset_short(b);
    enter_startup(b);
}

/* The first round trip that was measured sets clocks and rate going. */
static void begin(struct cc *cc, const struct cc_ack *ack)
{
    struct cc_bbr *b = &cc->u.bbr;
    double bps = STARTUP_GAIN * 8 * (double)cc_initial_window(cc->mss) * NS_PER_S /
                 (double)ack->smoothed;

    b->pacing_bps = bps < (double)BPS_MAX ? (uint64_t)bps + 1 : BPS_MAX;
    b->extra_start = b->min_rtt_stamp = b->probe_rtt_stamp = ack->now;
}

static void on_ack(struct cc *cc, const struct cc_ack *ack)
{
    struct cc_bbr *b = &cc->u.bbr;

    if (!ack->rate || !ack->smoothed)
        return;
    if (!b->pacing_bps)
        begin(cc, ack);
    if (ack->sent_time > cc->recovery_start) {
        if (b->in_recovery)
            bbr_restore_cwnd(cc);
        b->in_recovery = b->saved = false;
    }
    bbr_update_model(cc, ack);
    check_startup_done(cc, ack);
    check_drain_done(cc, ack);
    update_cycle(cc, ack);
    bbr_update_min_rtt(b, ack);
    check_probe_rtt(cc, ack);
    bbr_finish_model(b, ack);
    set_rate(cc, b->pacing_gain);
    set_cwnd(cc, ack);
    cc->holds_back = b->state == BBR_PROBE_RTT;
    cc->ssthresh = b->full_reached ? cc_min_window(cc) : UINT64_MAX;
}

static void on_lost(struct cc *cc, const struct cc_lost *lost)
{
    struct cc_bbr *b = &cc->u.bbr;

    bbr_note_loss(cc, lost);
    if (b->probe_sample && bbr_too_high(cc, lost->lost, lost->in_flight)) {
        bbr_blame(b);
        handle_too_high(cc, bbr_inflight_at_loss(b, lost), lost->app_limited, lost->now);
    }
}

static void on_congestion(struct cc *cc, bool ecn)
{
    struct cc_bbr *b = &cc->u.bbr;

    if (!ecn) {
        b->in_recovery = true;
        return;
    }
    if (!b->loss_in_round && !b->ce_in_round)
        b->loss_round_delivered = b->delivered;
    b->ce_in_round = true;
}

/* As after a retransmission timeout: the window is restored when something gets through. */
static void on_persistent(struct cc *cc)
{
    bbr_save_state(cc);
    cc->u.bbr.in_recovery = true;
}

static void on_undo(struct cc *cc, const struct cc_event *before)
{
    struct cc_bbr *b = &cc->u.bbr;

    (void)before;
    bbr_restore_cwnd(cc);
    b->in_recovery = b->saved = false;
    b->loss_in_round = false;
    bbr_reset_full(b);
    b->bw_short = larger(b->bw_short, b->undo_bw_short);
    b->inflight_short = larger(b->inflight_short, b->undo_inflight_short);
    b->inflight_long = larger(b->inflight_long, b->undo_inflight_long);
    if (b->undo_state == BBR_STARTUP && b->state != BBR_STARTUP) {
        b->full_reached = false;
        if (b->state != BBR_PROBE_RTT)
            enter_startup(b);
    } else if (b->undo_state == BBR_UP && b->state != BBR_UP && b->state != BBR_PROBE_RTT) {
        start_refill(b);
    }
    b->undo_state = BBR_NONE;
}

static void on_restart(struct cc *cc, ns_t now, bool app_limited)
{
    struct cc_bbr *b = &cc->u.bbr;

    if (!app_limited || !b->pacing_bps)
        return;
    b->idle_restart = true;
    b->extra_start = now;
    b->extra_delivered = 0;
    if (bbr_is_probe_bw(b))
        set_rate(cc, 1.0);
    else if (b->state == BBR_PROBE_RTT)
        check_probe_rtt_done(cc, now);
}

static uint64_t pacing_bps(const struct cc *cc)
{
    return cc->u.bbr.pacing_bps;
}

const struct cc_ops cc_bbr_ops = {.name = "bbr",
                                  .init = init,
                                  .on_ack = on_ack,
                                  .on_congestion = on_congestion,
                                  .on_persistent = on_persistent,
                                  .on_undo = on_undo,
                                  .on_lost = on_lost,
                                  .on_restart = on_restart,
                                  .pacing_bps = pacing_bps,
                                  .random = true};
