/*
 * cc_bbr - BBRv3 (draft-ietf-ccwg-bbr): its state, and what its two halves share.
 *
 * BBR keeps a model of the path, the most it delivers (max_bw) and the shortest time it
 * takes (min_rtt), and sends at that rate with about one product of the two in flight.
 * cc_bbr_model.c measures and bounds the model; cc_bbr.c is the state machine whose
 * experiments feed it, and computes window, rate and burst.
 *
 *     STARTUP -> DRAIN -> DOWN -> CRUISE -> REFILL -> UP -> DOWN ...
 *     any -> PROBE_RTT -> CRUISE, or STARTUP if the pipe was never full
 *
 * Deviations from the draft (docs/congestion.md has figures). One is so that a path that loses
 * packets at random is not taken for a full one. `base_loss` is the share lost while we do not
 * send faster than the path is believed to be: between probes, and in those rounds of Startup
 * after which the rate still grew, so that they were not the path's end. A probe went too high
 * when it loses more than base_loss + 2 % (the draft: 2 %) and chance explain, and a round
 * outside of probes bounds the model only when it loses more than base_loss and chance explain
 * (the draft: when it loses anything). On a path without random loss both are what the draft
 * says. A bound that was set by losses which turn out to be the path's own is given up: the
 * probe, or Startup, begins again.
 *
 * The search for a plateau begins anew where a round's rate falls well below its baseline: a
 * sender that had little to say for a while is not judged by the rate it had before.
 *
 * Probes for bandwidth come every 4 to 8 s (the draft: 2 to 3 s, or 63 round trips), and
 * ProbeRTT doesn't start that wait anew: flows that share a path probe one at a time, which is
 * how they find equal shares. Once a probe has found the path's end, the window between probes
 * is 1.25 bandwidth-delay products (the draft: 2), which bounds the queue of several flows. And
 * what stands in the queue between probes, for a rate that is believed to be a little higher than
 * it is, is got rid of (the draft: up to a whole product).
 *
 * A bound that losses have set is given up before its time, with a probe, when nothing has gone
 * wrong for some rounds and no queue stands: a path that was silent for a moment loses what was on
 * its way, and is as fast as before.
 *
 * A path is taken to be at least BBR_HOST_TURN long where volumes are computed. On one of 50 us
 * a sender with two products of the draft in flight stands idle whenever a host schedules
 * something else. What that may cost is a queue of as long. And no round is shorter than
 * BBR_ROUND_LEAST: three of 50 us in which a host was away are no plateau, nor may the filters,
 * which count in rounds, forget within some ten milliseconds what the path has carried.
 *
 * A round trip near the shortest, or shorter than that turn, puts off ProbeRTT: it has met no
 * queue. A probe that keeps more in flight than the pipe holds, but is app-limited, is over
 * after a few rounds: the sender has a window of its own, and what is too much of it may wait
 * with him.
 *
 * CE marks, to which the draft leaves the answer open, are answered like a round of excess
 * loss: once per round trip.
 *
 * Rates are bits per second, volumes bytes; BBR_INF in either means no bound.
 */
#ifndef QUIC_CC_BBR_H
#define QUIC_CC_BBR_H

#include "quic/types.h"

#define BBR_INF UINT64_MAX

/* Constants of the draft. */
#define BBR_LOSS_THRESH   0.02
#define BBR_BETA          0.7
#define BBR_HEADROOM      0.15
#define BBR_MIN_PACKETS   4 /* MinPipeCwnd */
#define BBR_MIN_RTT_LEN   (10 * NS_PER_S)
#define BBR_PROBE_RTT_GAP (5 * NS_PER_S)
#define BBR_PROBE_RTT_LEN (200 * NS_PER_MS)

/* What either host may need until it gets to its packets again, however short the path. */
#define BBR_HOST_TURN (2 * NS_PER_MS)

/* Within less the state of a path does not show, only what the hosts were about. */
#define BBR_ROUND_LEAST (10 * NS_PER_MS)

enum bbr_state {
    BBR_STARTUP,
    BBR_DRAIN,
    BBR_DOWN,
    BBR_CRUISE,
    BBR_REFILL,
    BBR_UP,
    BBR_PROBE_RTT,
    BBR_NONE /* of undo_state: nothing to return to */
};

/* What acknowledgements say about a probe for bandwidth. */
enum bbr_acks {
    BBR_ACKS_INIT,      /* nothing */
    BBR_ACKS_REFILLING, /* sent at the known rate, to fill the pipe */
    BBR_ACKS_STARTING,  /* a probe has begun, these were sent before */
    BBR_ACKS_FEEDBACK,  /* sent in the probe */
    BBR_ACKS_STOPPING   /* sent in the probe, which is over */
};

/* The largest of the values of a window of rounds: the three best, in order of age. */
struct bbr_max {
    uint64_t value[3], round[3];
};

struct cc_bbr {
    enum bbr_state state, undo_state;
    enum bbr_acks acks;
    double pacing_gain, cwnd_gain;
    uint64_t pacing_bps; /* 0: no round trip was measured yet */

    /* The model. */
    uint64_t max_bw, bw;   /* bw: max_bw within its short-term bound */
    uint64_t bw_filter[2]; /* largest of this cycle and the previous one */
    uint64_t bw_short, inflight_short, inflight_long;
    uint64_t bw_latest, inflight_latest; /* largest of this round */
    ns_t min_rtt, min_rtt_stamp;         /* NS_NEVER: none */
    ns_t probe_rtt_min, probe_rtt_stamp;
    uint64_t extra_acked, extra_delivered;
    struct bbr_max extra_filter;
    ns_t extra_start;
    double base_loss;                 /* share of bytes */
    uint32_t learned;                 /* intervals that it was learned from */
    uint64_t learn_acked, learn_lost; /* of the interval that is being looked at */
    uint64_t doubt_acked, doubt_lost; /* Startup: of the round before, not yet believed */
    uint64_t known_acked, known_lost; /* Startup: of the rounds that are */
    bool blamed, acquitted;           /* loss bounds the model; wrongly, as it turned out */
    bool startup_blamed;              /* Startup was left for it */
    double blamed_base;               /* base_loss at the time */

    /* Rounds. */
    uint64_t round_count, next_round_delivered, loss_round_delivered;
    ns_t round_stamp;    /* its beginning */
    uint64_t held_round; /* the last one in ProbeRTT or Drain */
    bool round_start, loss_round_start, loss_in_round, ce_in_round;
    ns_t round_rtt;                   /* the shortest of this round */
    ns_t standing;                    /* of the last: how much longer than min_rtt */
    uint64_t round_acked, round_lost; /* bytes */
    uint32_t round_runs;              /* runs of packets lost */
    uint64_t last_lost;               /* packet number of the latest loss */
    uint64_t delivered;               /* bytes on the path so far */
    bool full_reached, full_now;
    uint64_t full_bw, lap_bps; /* lap_bps: the best of this round, not app-limited; 0: none */
    uint32_t full_count;
    uint64_t stall_bw; /* Startup: max_bw when it last grew, */
    uint32_t stalled;  /* and rounds since that had a BDP on the way */
    bool hasty; /* Startup was left by them, or a probe idle: on as soon as there is more to say */

    /* ProbeBW. */
    uint64_t rounds_since_up, drain_round;
    ns_t cycle_stamp, probe_wait;
    uint64_t up_acked, up_per_inc;
    uint32_t up_rounds, up_spare;
    bool probe_sample, too_high, precautionary;
    bool up_short; /* UP began before the pipe was full */

    /* Trouble between probes: more loss than usual, marks, or a queue that stands. */
    uint64_t trouble_round; /* the last one with any */
    uint32_t vain_probes;   /* in a row, that found it again */
    uint64_t shed_round;    /* in which CRUISE last began or ended to shed a queue, */
    ns_t shed_above;        /* as it was longer than that; */
    ns_t shed, shed_least;  /* how long it was then, and the least since; 0: all that is done */

    /* ProbeRTT, idle times and recovery. */
    ns_t probe_rtt_done; /* 0: not yet down to its window */
    bool probe_rtt_round_done, probe_rtt_expired, idle_restart;
    bool in_recovery,
        saved; /* saved: what an undo needs, as of the first loss of this episode */
    uint64_t prior_cwnd, undo_bw_short, undo_inflight_short, undo_inflight_long;
};

struct cc;
struct cc_ack;
struct cc_lost;

/* ---- model (cc_bbr_model.c) ---------------------------------------------------------- */

void bbr_start_round(struct cc_bbr *b);
void bbr_reset_signals(struct cc_bbr *b);
void bbr_reset_short(struct cc_bbr *b);
void bbr_reset_full(struct cc_bbr *b);

/* Beginning of an acknowledgement: rounds, rates, congestion of the round, aggregation. */
void bbr_update_model(struct cc *cc, const struct cc_ack *ack);

/* Its end: the latest signals start anew with a round, bw is bounded. */
void bbr_finish_model(struct cc_bbr *b, const struct cc_ack *ack);

/* min_rtt, and whether ProbeRTT is due. */
void bbr_update_min_rtt(struct cc_bbr *b, const struct cc_ack *ack);

/* A new cycle for the filter of max_bw. */
void bbr_advance_max_bw(struct cc_bbr *b);

/* A packet was lost: count it; at the first of an episode, save what it might cost. */
void bbr_note_loss(struct cc *cc, const struct cc_lost *lost);

/*
 * Whether `lost` of `all` bytes are too many for a probe: more than 2 % above base_loss and
 * what chance adds to that (two standard deviations; nothing where base_loss is 0).
 */
bool bbr_too_high(const struct cc *cc, uint64_t lost, uint64_t all);

/* A bound is set because of loss: if that is the path's own, as base_loss tells later, the
 * model is acquitted, and probes anew. */
void bbr_blame(struct cc_bbr *b);

/* How much was in flight when the losses crossed that share. */
uint64_t bbr_inflight_at_loss(const struct cc_bbr *b, const struct cc_lost *lost);

/* The window without what ProbeRTT and recovery make of it; the bounds, for an undo. */
void bbr_save_cwnd(struct cc *cc);
void bbr_restore_cwnd(struct cc *cc);
void bbr_save_state(struct cc *cc);

/*
 * `gain` times the bandwidth-delay product, on a path shorter than BBR_HOST_TURN with that for
 * the delay; the initial window before there is one.
 */
uint64_t bbr_bdp(const struct cc *cc, uint64_t bw, double gain);

static inline bool bbr_is_probe_bw(const struct cc_bbr *b)
{
    return b->state >= BBR_DOWN && b->state <= BBR_UP;
}

static inline bool bbr_is_probing(const struct cc_bbr *b)
{
    return b->state == BBR_STARTUP || b->state == BBR_REFILL || b->state == BBR_UP;
}

#endif
