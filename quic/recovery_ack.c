#include "quic/recovery_ack.h"

#include <stdlib.h>

#include "quic/errors.h"

#define RUNS_MIN 16 /* verdict runs; the next size is what is kept */

/* ---- verdict runs -------------------------------------------------------------------- */

void recovery_open_verdicts(struct recovery *r, enum quic_space space)
{
    r->verdict_space = space;
    r->n_runs = r->run = r->n_acked_runs = 0;
}

/* Add `pn`, joining it to the last run where that is of the same fate. */
static bool add_verdict(struct recovery *r, uint64_t pn, uint32_t first_run)
{
    if (r->n_runs > first_run && r->runs[r->n_runs - 1].end == pn) {
        r->runs[r->n_runs - 1].end++;
        return true;
    }
    if (r->n_runs == r->cap_runs) {
        uint32_t cap = r->cap_runs ? r->cap_runs * 2 : RUNS_MIN;
        struct verdict_run *bigger;

        if (r->cap_runs && r->cap_runs < RECOVERY_RUNS_KEPT)
            cap = RECOVERY_RUNS_KEPT;
        bigger = realloc(r->runs, cap * sizeof *bigger);
        if (!bigger)
            return false;
        r->runs = bigger;
        r->cap_runs = cap;
    }
    if (!r->n_runs)
        r->run_pn = pn;
    r->runs[r->n_runs++] = (struct verdict_run){pn, pn + 1};
    return true;
}

/* ---- losses -------------------------------------------------------------------------- */

/*
 * kPacketThreshold (RFC 9002 6.1.1). Numbers that were passed over did not travel: they
 * are too far apart for more than one of them to matter.
 */
static bool far_behind(const struct recovery *r, const struct recovery_space *s, uint64_t pn)
{
    uint64_t distance = s->largest_acked - pn, threshold = reorder_packets(&r->reorder);

    if (distance != threshold)
        return distance > threshold;
    for (uint64_t between = pn + 1; between < s->largest_acked; between++)
        if (sent_get(&s->sent, between)->flags & SENT_SKIPPED)
            return false;
    return true;
}

/*
 * A packet is lost: whether the run of losses it ends is long enough for persistent
 * congestion (RFC 9002 7.6.2). Nothing acknowledged lies within a run in its own space;
 * in another space nothing acknowledged may have been sent since it began.
 */
static bool persistent(struct recovery *r, struct recovery_space *s,
                       const struct sent_packet *p)
{
    if (!(p->flags & SENT_ELICITING) || (p->flags & SENT_PROBE) || !rtt_has_sample(&r->rtt) ||
        p->time <= r->rtt.first_sample)
        return false;
    if (s->lost_run == NS_NEVER) {
        s->lost_run = p->time;
        return false;
    }
    if (p->time - s->lost_run <= RECOVERY_PERSISTENT * recovery_pto(r))
        return false;
    for (int i = 0; i < SPACE_N; i++) {
        const struct recovery_space *other = &r->space[i];

        if (other != s && other->any_acked && other->acked_sent_time >= s->lost_run)
            return false;
    }
    s->lost_run = NS_NEVER;
    return true;
}

/* `tell`: congestion control is to know. */
static void lose(struct recovery *r, struct recovery_space *s, struct sent_packet *p,
                 uint64_t pn, struct cc_loss *loss, bool tell)
{
    p->flags |= SENT_LOST;
    if (p->flags & SENT_ELICITING)
        s->eliciting--;
    r->packets_lost++;
    reorder_lost(&r->reorder);
    r->bytes_lost += p->bytes;
    ecn_on_lost(&r->ecn, p->ecn);
    if (!(p->flags & SENT_IN_FLIGHT))
        return;
    r->bytes_in_flight -= p->bytes;
    if (p->flags & SENT_PROBE)
        return;
    r->rate.lost += p->bytes;
    if (tell)
        cc_on_lost(&r->cc, &(struct cc_lost){.now = loss->now,
                                             .pn = pn,
                                             .bytes = p->bytes,
                                             .in_flight = p->in_flight,
                                             .lost = rate_lost_since(&r->rate, p),
                                             .delivered = r->rate.delivered,
                                             .app_limited = p->flags & SENT_APP_LIMITED});
    loss->packets++;
    loss->bytes += p->bytes;
    loss->sent_time = ns_max(loss->sent_time, p->time);
}

/* Walk up from `scan`; returns whether congestion is persistent. */
static bool scan_lost(struct recovery *r, struct recovery_space *s, struct cc_loss *loss)
{
    ns_t delay = ns_max(reorder_delay(&r->reorder, rtt_longest(&r->rtt)), RTT_GRANULARITY);
    uint32_t first_run = r->n_runs;
    bool collapsed = false;

    if (s->scan < s->sent.base)
        s->scan = s->sent.base;
    for (; s->scan < s->sent.next && s->scan < s->largest_acked; s->scan++) {
        struct sent_packet *p = sent_get(&s->sent, s->scan);

        if (p->flags & SENT_ACKED)
            s->lost_run = NS_NEVER;
        if (!recovery_outstanding(p))
            continue;
        if (ns_add(p->time, delay) > loss->now && !far_behind(r, s, s->scan)) {
            s->loss_time = ns_add(p->time, delay);
            break;
        }
        if (!add_verdict(r, s->scan, first_run)) {
            s->loss_time = loss->now + RTT_GRANULARITY;
            break;
        }
        lose(r, s, p, s->scan, loss, true);
        collapsed |= persistent(r, s, p);
    }
    return collapsed;
}

void recovery_detect_lost(struct recovery *r, enum quic_space space, ns_t now)
{
    struct recovery_space *s = &r->space[space];
    struct cc_loss loss = {.now = now};
    bool collapsed;

    r->n_acked_runs = r->n_runs;
    s->loss_time = NS_NEVER;
    if (s->largest_acked == RECOVERY_NO_PN)
        return;
    collapsed = scan_lost(r, s, &loss);
    if (loss.packets)
        cc_on_loss(&r->cc, &loss);
    if (collapsed) {
        cc_on_persistent(&r->cc);
        rtt_refresh_min(&r->rtt);
    }
}

void recovery_lose_all(struct recovery *r, ns_t now)
{
    struct recovery_space *s = &r->space[SPACE_APP];
    struct cc_loss ignored = {.now = now};

    recovery_open_verdicts(r, SPACE_APP);
    for (uint64_t pn = s->sent.base; pn < s->sent.next; pn++) {
        struct sent_packet *p = sent_get(&s->sent, pn);

        if (!recovery_outstanding(p))
            continue;
        if (!add_verdict(r, pn, 0))
            break;
        lose(r, s, p, pn, &ignored, false);
    }
    s->loss_time = s->lost_run = NS_NEVER;
    s->probes = 0;
    r->touched = now;
}

/* ---- acknowledgements ---------------------------------------------------------------- */

/* What one ACK frame acknowledged for the first time. */
struct news {
    ns_t now;
    const struct sent_packet *newest; /* not among those declared lost before */
    uint64_t newest_pn;
    const struct sent_packet *flight; /* the newest that was in flight */
    uint64_t flight_pn;
    uint64_t bytes, growing; /* as in cc_ack */
    uint64_t late;           /* bytes of packets that had been called lost */
    struct ecn_news ecn;
    struct rate_sample rate;
    size_t index; /* where in the set of acknowledged numbers the walk is */
    bool eliciting, any;
};

/* Packet `pn` is acknowledged for the first time. */
static void acknowledge(struct recovery *r, struct recovery_space *s, uint64_t pn,
                        struct sent_packet *p, struct news *n)
{
    n->any = true;
    if (s->largest_acked != RECOVERY_NO_PN && pn < s->largest_acked && p->time >= r->path_since)
        reorder_late(&r->reorder, s->largest_acked - pn, ns_sub(n->now, p->time),
                     rtt_longest(&r->rtt), p->flags & SENT_LOST);
    ecn_on_acked(&r->ecn, &n->ecn, p->ecn, p->flags & (SENT_ELICITING | SENT_IN_FLIGHT),
                 p->flags & SENT_LOST);
    if (p->flags & SENT_LOST) {
        p->flags |= SENT_ACKED;
        r->packets_spurious++;
        if ((p->flags & SENT_IN_FLIGHT) && !(p->flags & SENT_PROBE)) {
            n->late += p->bytes;
            cc_on_spurious(&r->cc, p->time);
        }
        if (s->lost_run != NS_NEVER && p->time >= s->lost_run)
            s->lost_run = NS_NEVER;
        return;
    }
    if (recovery_outstanding(p) && (p->flags & SENT_IN_FLIGHT)) {
        r->bytes_in_flight -= p->bytes;
        n->bytes += p->bytes;
        if (!n->flight || pn > n->flight_pn) {
            n->flight = p;
            n->flight_pn = pn;
        }
        if (!cc_in_recovery(&r->cc, p->time))
            n->growing += p->bytes;
    }
    if (p->flags & SENT_ELICITING) {
        s->eliciting--;
        n->eliciting = true;
    }
    p->flags |= SENT_ACKED;
    if (!n->newest || pn > n->newest_pn) {
        n->newest = p;
        n->newest_pn = pn;
    }
    s->any_acked = true;
    s->acked_sent_time = ns_max(s->acked_sent_time, p->time);
}

/* Numbers [start, end) are in the ACK frame and not in the set of acknowledged ones. */
static int ack_run(struct recovery *r, struct recovery_space *s, uint64_t start, uint64_t end,
                   struct news *n)
{
    uint64_t pn = start;
    uint32_t first_run = r->n_runs;
    int err = 0;

    for (; pn < end; pn++) {
        struct sent_packet *p = sent_get(&s->sent, pn);

        if (p->flags & SENT_ACKED)
            continue;
        if (p->flags & SENT_SKIPPED)
            return QUIC_PROTOCOL_VIOLATION;
        if (!add_verdict(r, pn, first_run)) {
            err = QUIC_NOMEM;
            break;
        }
        acknowledge(r, s, pn, p, n);
    }
    while (ranges_add(&s->acked, start, pn))
        ranges_drop_first(&s->acked);
    return err;
}

/*
 * The index of the first range of `acked` that ends above `v`, known to be at most `from`.
 * An ACK is walked downwards, so this takes a step or two.
 */
static size_t find_below(const struct ranges *acked, uint64_t v, size_t from)
{
    const struct range *at = ranges_at(acked);

    while (from > 0 && at[from - 1].end > v)
        from--;
    return from;
}

/* Those of [lo, hi] that are new, from the highest down. */
static int ack_range(struct recovery *r, struct recovery_space *s, uint64_t lo, uint64_t hi,
                     struct news *n)
{
    uint64_t end = hi + 1;
    int err = 0;

    if (lo < s->sent.base)
        lo = s->sent.base;
    while (end > lo && !err) {
        const struct range *at = ranges_at(&s->acked);
        size_t i = n->index = find_below(&s->acked, end - 1, n->index);
        uint64_t start = i ? at[i - 1].end : 0;

        if (i < ranges_count(&s->acked) && at[i].start < end) {
            end = at[i].start;
            continue;
        }
        if (start < lo)
            start = lo;
        err = ack_run(r, s, start, end, n);
        end = start;
        n->index = ranges_count(&s->acked); /* the set has changed */
    }
    return err;
}

/* The validation of RFC 9000 13.4.2.1, and ProcessECN of RFC 9002 B.7. */
static void process_ecn(struct recovery *r, enum quic_space space, const struct frame_ack *ack,
                        const struct news *n)
{
    uint64_t marked = ecn_on_ack(&r->ecn, space, ack, &n->ecn);

    r->packets_ce += marked;
    if (marked && n->newest && n->newest->time >= r->path_since)
        cc_on_ecn(&r->cc, &(struct cc_loss){.now = n->now, .sent_time = n->newest->time});
}

/*
 * The rate at which what was in flight with the newest packet has been delivered. What was
 * called lost and came late is delivered, too.
 */
static void sample_rate(struct recovery *r, struct news *n)
{
    ns_t min_rtt = rtt_has_sample(&r->rtt) ? r->rtt.min : NS_NEVER;

    if (!n->flight) {
        r->rate.delivered += n->late;
        return;
    }
    rate_on_ack(&r->rate, n->flight, n->bytes + n->late, n->now, min_rtt, &n->rate);
    if (n->rate.bps && (!n->rate.app_limited || n->rate.bps > r->delivery_bps))
        r->delivery_bps = n->rate.bps;
}

/*
 * Whether the window is in use (RFC 9002 7.8): in slow start half of it suffices, since
 * it doubles within a round trip; later an eighth, or a few packets, may be free, since
 * packets leave in bursts.
 */
static bool window_used(const struct recovery *r)
{
    uint64_t peak = r->round_peak > r->last_peak ? r->round_peak : r->last_peak;
    uint64_t slack = r->cc.cwnd / 8;

    if (cc_in_slow_start(&r->cc))
        return 2 * peak >= r->cc.cwnd;
    if (slack < 4 * r->cc.mss)
        slack = 4 * r->cc.mss;
    return peak + slack >= r->cc.cwnd;
}

static void grow_window(struct recovery *r, struct news *n, ns_t rtt)
{
    uint64_t peak = r->round_peak > r->last_peak ? r->round_peak : r->last_peak;
    struct cc_ack ack = {.now = n->now,
                         .bytes = n->bytes,
                         .growing = n->growing,
                         .sent_time = n->newest->time,
                         .rtt = rtt,
                         .smoothed = r->rtt.smoothed,
                         .cwnd_limited = window_used(r),
                         .in_flight = r->bytes_in_flight,
                         .peak = peak,
                         .rate = &n->rate};

    n->rate.lost = rate_lost_since(&r->rate, n->flight);
    cc_on_ack(&r->cc, &ack);
    if (r->cc.holds_back)
        rate_limited(&r->rate, r->bytes_in_flight);
    if (n->newest->time >= r->round_start) {
        r->round_start = n->now;
        reorder_round(&r->reorder);
        r->last_peak = r->round_peak;
        r->round_peak = r->bytes_in_flight;
    }
}

/* The sample this ACK gives (RFC 9002 5.1), or 0. */
static ns_t sample_rtt(struct recovery *r, enum quic_space space, const struct frame_ack *ack,
                       const struct news *n, ns_t ack_delay)
{
    ns_t sample;

    if (!n->newest || n->newest_pn != ack->largest || !n->eliciting ||
        n->newest->time < r->path_since)
        return 0;
    sample = ns_sub(n->now, n->newest->time);
    rtt_sample(&r->rtt, sample, space == SPACE_INITIAL ? 0 : ack_delay, r->state.confirmed,
               r->state.max_ack_delay, n->now);
    return sample;
}

/* Mark what the frame acknowledges. Lower ranges may be left out for lack of memory. */
static int walk_ranges(struct recovery *r, struct recovery_space *s,
                       const struct frame_ack *ack, struct news *n)
{
    struct ack_iter it;
    uint64_t lo, hi;
    int err = 0;

    n->index = ranges_count(&s->acked);
    ack_iter_init(&it, ack);
    while (!err && ack_iter_next(&it, &lo, &hi) && hi >= s->sent.base)
        err = ack_range(r, s, lo, hi, n);
    return err == QUIC_NOMEM ? 0 : err;
}

int recovery_on_ack(struct recovery *r, enum quic_space space, const struct frame_ack *ack,
                    ns_t ack_delay, ns_t now)
{
    struct recovery_space *s = &r->space[space];
    struct news n = {.now = now};
    bool grew = s->largest_acked == RECOVERY_NO_PN || ack->largest > s->largest_acked;
    uint64_t cwnd;
    ns_t rtt;
    int err;

    recovery_open_verdicts(r, space);
    if (s->discarded)
        return 0;
    if (ack->largest >= sent_next(&s->sent))
        return QUIC_PROTOCOL_VIOLATION;
    err = walk_ranges(r, s, ack, &n);
    if (err) {
        recovery_open_verdicts(r, space);
        return err;
    }
    if (grew)
        s->largest_acked = ack->largest;
    if (!n.any)
        return 0;
    rtt = sample_rtt(r, space, ack, &n, ack_delay);
    sample_rate(r, &n);
    cwnd = r->cc.cwnd;
    if (grew)
        process_ecn(r, space, ack, &n);
    recovery_detect_lost(r, space, now);
    ecn_settle(&r->ecn, r->state.confirmed);
    /* A recovery period that begins here includes what is acknowledged here. */
    if (r->cc.cwnd < cwnd || (n.newest && cc_in_recovery(&r->cc, n.newest->time)))
        n.growing = 0;
    if (n.flight)
        grow_window(r, &n, rtt);
    if (r->state.server || r->state.peer_validated || r->state.confirmed)
        r->pto_count = 0;
    s->unanswered = now;
    r->touched = now;
    return 0;
}
