#include "quic/recovery.h"

#include <stdlib.h>
#include <string.h>

#include "quic/recovery_ack.h"

#define TRIM_EVERY   (4 * NS_PER_S)
#define SKIP_MIN     64   /* numbers between two that are passed over, at least */
#define SKIP_SPREAD  4096 /* and at most so many more */
#define BACKOFF_MAX  60   /* doublings of the probe timeout: no bound but that of ns_t */
#define RETIRE_BATCH 4    /* packets forgotten at most for one that is sent */

static void init_space(struct recovery_space *s, uint32_t max)
{
    *s = (struct recovery_space){.largest_acked = RECOVERY_NO_PN,
                                 .next_skip = RECOVERY_NO_PN,
                                 .loss_time = NS_NEVER,
                                 .lost_run = NS_NEVER};
    sent_init(&s->sent, max);
    ranges_init(&s->acked, RECOVERY_ACKED_RANGES);
}

static void seed(struct recovery *r)
{
    uint64_t random;

    if (!r->cc.ops->random || !r->rng)
        return;
    rng_fill(r->rng, &random, sizeof random);
    cc_seed(&r->cc, random);
}

int recovery_init(struct recovery *r, const struct recovery_config *cfg)
{
    memset(r, 0, sizeof *r);
    if (cc_init(&r->cc, cfg->cc, cfg->max_datagram))
        return QUIC_INVAL;
    rtt_init(&r->rtt, cfg->initial_rtt);
    for (int i = 0; i < SPACE_N; i++)
        init_space(&r->space[i], i == SPACE_APP ? SENT_MAX_APP : SENT_MAX_HANDSHAKE);
    r->initial_rtt = cfg->initial_rtt;
    r->rng = cfg->rng;
    seed(r);
    reorder_init(&r->reorder);
    ecn_init(&r->ecn, cfg->ecn);
    return 0;
}

void recovery_free(struct recovery *r)
{
    for (int i = 0; i < SPACE_N; i++) {
        sent_free(&r->space[i].sent);
        ranges_free(&r->space[i].acked);
    }
    free(r->runs);
    r->runs = NULL;
    r->n_runs = r->cap_runs = 0;
}

void recovery_set_state(struct recovery *r, const struct recovery_state *st, ns_t now)
{
    const struct recovery_state *old = &r->state;

    if (st->server != old->server || st->handshake_keys != old->handshake_keys ||
        st->peer_validated != old->peer_validated || st->confirmed != old->confirmed ||
        st->at_amplification_limit != old->at_amplification_limit)
        r->touched = now;
    r->state = *st;
}

ns_t recovery_pto(const struct recovery *r)
{
    return rtt_pto(&r->rtt, r->state.max_ack_delay);
}

/* ---- sending ------------------------------------------------------------------------- */

/* Choose the next number to pass over, about one in each window of packets. */
static void draw_skip(struct recovery *r, struct recovery_space *s)
{
    uint64_t spread = 2 * r->cc.cwnd / r->cc.mss;
    uint32_t random;

    rng_fill(r->rng, &random, sizeof random);
    s->next_skip = sent_next(&s->sent) + SKIP_MIN +
                   random % ((spread < SKIP_SPREAD ? spread : SKIP_SPREAD) + 1);
}

uint64_t recovery_next_pn(struct recovery *r, enum quic_space space)
{
    struct recovery_space *s = &r->space[space];
    uint64_t next = sent_next(&s->sent);

    if (!r->rng || space != SPACE_APP)
        return next;
    if (s->next_skip == RECOVERY_NO_PN || s->next_skip < next)
        draw_skip(r, s);
    return next == s->next_skip ? next + 1 : next;
}

/* Whether the lowest packet of `s` need not be remembered any more. */
static bool settled(const struct recovery *r, const struct sent_packet *p, bool pressed,
                    ns_t now)
{
    if (p->flags & SENT_ACKED)
        return true;
    if (recovery_outstanding(p))
        return false;
    return pressed || p->time < ns_sub(now, RECOVERY_KEEP_PTO * recovery_pto(r));
}

/* Forget the lowest packets, at most `most` of them. */
static void retire(struct recovery *r, struct recovery_space *s, uint64_t most, ns_t now)
{
    bool pressed = sent_pressed(&s->sent);

    if (r->n_runs)
        return;
    while (most-- && sent_count(&s->sent) &&
           settled(r, sent_get(&s->sent, s->sent.base), pressed, now))
        sent_retire(&s->sent);
    if (!ranges_empty(&s->acked) && ranges_first(&s->acked) < s->sent.base)
        ranges_remove(&s->acked, 0, s->sent.base);
}

/* Give back memory that a burst needed once. */
static void trim(struct recovery *r, ns_t now)
{
    if (now < r->trim_at || r->n_runs)
        return;
    for (int i = 0; i < SPACE_N; i++)
        sent_trim(&r->space[i].sent, SENT_KEPT);
    if (r->cap_runs > RECOVERY_RUNS_KEPT) {
        free(r->runs);
        r->runs = NULL;
        r->cap_runs = 0;
    }
    r->trim_at = ns_add(now, TRIM_EVERY);
}

void recovery_release(struct recovery *r, ns_t now)
{
    if (r->n_runs)
        return;
    for (int i = 0; i < SPACE_N; i++) {
        struct recovery_space *s = &r->space[i];

        retire(r, s, UINT64_MAX, now);
        if (!sent_count(&s->sent) && !s->sent.open)
            sent_clear(&s->sent);
        sent_trim(&s->sent, SENT_MIN); /* to what was the peak since the last time, */
        sent_trim(&s->sent, SENT_MIN); /* which is now */
        ranges_trim(&s->acked);
    }
    free(r->runs);
    r->runs = NULL;
    r->cap_runs = 0;
}

void recovery_on_sent(struct recovery *r, enum quic_space space, const struct sent_packet *pkt)
{
    struct recovery_space *s = &r->space[space];
    struct sent_packet p = *pkt;

    if (p.flags & SENT_ELICITING)
        p.flags |= SENT_IN_FLIGHT;
    if (p.flags & SENT_IN_FLIGHT) {
        if (!r->bytes_in_flight)
            cc_on_restart(&r->cc, p.time, r->rate.app_limited != 0);
        rate_on_sent(&r->rate, &p, r->bytes_in_flight);
        r->bytes_in_flight += p.bytes;
        if (r->bytes_in_flight > r->round_peak)
            r->round_peak = r->bytes_in_flight;
    }
    if (p.flags & SENT_ELICITING) {
        s->last_eliciting = p.time;
        if (!s->eliciting++)
            s->unanswered = p.time;
        if (s->probes)
            s->probes--;
    }
    p.ecn = ecn_on_sent(&r->ecn, space, p.ecn, p.flags & SENT_IN_FLIGHT);
    r->packets_sent++;
    r->bytes_sent += p.bytes;
    r->touched = p.time;
    sent_commit(&s->sent, &p);
    retire(r, s, RETIRE_BATCH, p.time);
    trim(r, p.time);
}

ns_t recovery_oldest(const struct recovery *r)
{
    const struct recovery_space *s = &r->space[SPACE_APP];
    uint64_t pn = s->largest_acked == RECOVERY_NO_PN ? 0 : s->largest_acked + 1;

    if (!s->eliciting)
        return NS_NEVER;
    for (pn = pn < s->sent.base ? s->sent.base : pn; pn < s->sent.next; pn++)
        if (recovery_outstanding(sent_get(&s->sent, pn)))
            return sent_get(&s->sent, pn)->time;
    return NS_NEVER;
}

uint64_t recovery_pacing_bps(const struct recovery *r)
{
    return rtt_has_sample(&r->rtt) ? cc_pacing_bps(&r->cc, r->rtt.smoothed) : 0;
}

void recovery_app_limited(struct recovery *r)
{
    if (recovery_room(r) >= r->cc.mss)
        rate_limited(&r->rate, r->bytes_in_flight);
}

void recovery_set_mtu(struct recovery *r, size_t max_datagram)
{
    cc_set_mss(&r->cc, max_datagram);
}

/* ---- verdicts ------------------------------------------------------------------------ */

bool recovery_next_verdict(struct recovery *r, struct verdict *v)
{
    struct sent *sent = &r->space[r->verdict_space].sent;

    while (r->run < r->n_runs && r->run_pn >= r->runs[r->run].end) {
        r->run++;
        if (r->run < r->n_runs)
            r->run_pn = r->runs[r->run].start;
    }
    if (r->run >= r->n_runs)
        return false;
    v->space = r->verdict_space;
    v->pn = r->run_pn++;
    v->pkt = sent_get(sent, v->pn);
    v->fate = r->run >= r->n_acked_runs   ? VERDICT_LOST
              : v->pkt->flags & SENT_LOST ? VERDICT_SPURIOUS
                                          : VERDICT_ACKED;
    v->rec = sent_recs(sent, v->pkt);
    v->n = v->pkt->n_rec;
    return true;
}

void recovery_verdicts_done(struct recovery *r, ns_t now)
{
    r->n_runs = r->run = 0;
    retire(r, &r->space[r->verdict_space], UINT64_MAX, now);
    trim(r, now);
}

/* ---- timers -------------------------------------------------------------------------- */

static ns_t backoff(const struct recovery *r, ns_t period)
{
    unsigned n = r->pto_count < BACKOFF_MAX ? r->pto_count : BACKOFF_MAX;

    return period > NS_NEVER >> (n + 1) ? NS_NEVER : period << n;
}

/* GetLossTimeAndSpace of RFC 9002 A.8. */
static ns_t loss_deadline(const struct recovery *r, enum quic_space *space)
{
    ns_t first = NS_NEVER;

    for (int i = 0; i < SPACE_N; i++) {
        if (r->space[i].loss_time < first) {
            first = r->space[i].loss_time;
            *space = (enum quic_space)i;
        }
    }
    return first;
}

/* PeerCompletedAddressValidation of RFC 9002 A.8. */
static bool peer_validated(const struct recovery *r)
{
    return r->state.server || r->state.peer_validated || r->state.confirmed;
}

/*
 * GetPtoTimeAndSpace of RFC 9002 A.8, with the conditions of SetLossDetectionTimer. But who goes
 * on sending does not put the timeout off for longer than a period: else a path of which nothing
 * comes back would be found out only when small packets have filled its window.
 */
static ns_t pto_deadline(const struct recovery *r, enum quic_space *space)
{
    ns_t first = NS_NEVER, period = rtt_pto(&r->rtt, 0);

    if (r->state.at_amplification_limit)
        return NS_NEVER;
    if (recovery_idle(r)) {
        if (peer_validated(r))
            return NS_NEVER;
        *space = r->state.handshake_keys ? SPACE_HANDSHAKE : SPACE_INITIAL;
        return ns_add(r->touched, backoff(r, period));
    }
    for (int i = 0; i < SPACE_N; i++) {
        const struct recovery_space *s = &r->space[i];
        ns_t at;

        if (!s->eliciting)
            continue;
        if (i == SPACE_APP && !r->state.confirmed)
            break;
        if (i == SPACE_APP)
            period += r->state.max_ack_delay;
        at = ns_min(s->last_eliciting, ns_add(s->unanswered, period));
        at = ns_add(at, backoff(r, period));
        if (at < first) {
            first = at;
            *space = (enum quic_space)i;
        }
    }
    return first;
}

ns_t recovery_deadline(const struct recovery *r)
{
    enum quic_space space;
    ns_t loss = loss_deadline(r, &space);

    return loss != NS_NEVER ? loss : pto_deadline(r, &space);
}

/* Ask for `n` probes, beginning with the content of the oldest packet. */
static void ask_probes(struct recovery_space *s, uint32_t n)
{
    if (s->discarded)
        return;
    s->probe_cursor = s->sent.base;
    s->probes = n;
}

void recovery_ask_probe(struct recovery *r, enum quic_space space)
{
    if (!r->space[space].probes)
        ask_probes(&r->space[space], 1);
}

/* How many probes carry what is in flight in `s`, as far as one timeout may send it. */
static uint32_t probes_for_flight(const struct recovery_space *s)
{
    uint32_t n = 0;

    for (uint64_t pn = s->sent.base; pn < s->sent.next && n < RECOVERY_PROBES; pn++) {
        const struct sent_packet *p = sent_get(&s->sent, pn);

        n += recovery_outstanding(p) && p->n_rec;
    }
    return n ? n : 1;
}

/*
 * The probe timeout of `space` has passed (RFC 9002 6.2.4). Initial and Handshake are probed
 * together, since the peer needs both to go on; a space that is alone in this is probed
 * twice in any case, against the loss of the probe.
 */
static void on_pto(struct recovery *r, enum quic_space space, ns_t now)
{
    bool in_flight = !recovery_idle(r);
    bool both = r->space[SPACE_INITIAL].eliciting && r->space[SPACE_HANDSHAKE].eliciting;

    for (int i = 0; i < SPACE_N; i++) {
        struct recovery_space *s = &r->space[i];

        if (both && i != SPACE_APP)
            ask_probes(s, probes_for_flight(s));
        else if (i == (int)space)
            ask_probes(s, in_flight ? RECOVERY_PROBES : 1);
        else if (s->eliciting && (i != SPACE_APP || r->state.confirmed))
            ask_probes(s, 1);
    }
    for (int i = 0; i < SPACE_N; i++)
        r->space[i].unanswered = now;
    r->pto_count++;
    r->touched = now;
    ecn_on_pto(&r->ecn, r->pto_count);
}

bool recovery_probe_early(struct recovery *r, ns_t since)
{
    bool any = false;

    for (int i = SPACE_INITIAL; i <= SPACE_HANDSHAKE; i++) {
        struct recovery_space *s = &r->space[i];

        if (!s->eliciting || s->last_eliciting > since || s->probes)
            continue;
        ask_probes(s, probes_for_flight(s));
        any = true;
    }
    return any;
}

void recovery_rewind_probe(struct recovery *r, enum quic_space space)
{
    r->space[space].probe_cursor = r->space[space].sent.base;
}

enum recovery_event recovery_on_timeout(struct recovery *r, ns_t now)
{
    enum quic_space space = SPACE_INITIAL;
    ns_t at = loss_deadline(r, &space);

    if (at != NS_NEVER && at <= now) {
        recovery_open_verdicts(r, space);
        recovery_detect_lost(r, space, now);
        r->touched = now;
        if (r->n_runs)
            return RECOVERY_LOSS;
    }
    if (loss_deadline(r, &space) != NS_NEVER)
        return RECOVERY_NONE;
    if (pto_deadline(r, &space) > now)
        return RECOVERY_NONE;
    on_pto(r, space, now);
    return RECOVERY_PTO;
}

bool recovery_next_probe(struct recovery *r, enum quic_space space, struct verdict *v)
{
    struct recovery_space *s = &r->space[space];

    if (s->probe_cursor < s->sent.base)
        s->probe_cursor = s->sent.base;
    while (s->probe_cursor < s->sent.next) {
        uint64_t pn = s->probe_cursor++;
        const struct sent_packet *p = sent_get(&s->sent, pn);

        if (!recovery_outstanding(p) || !p->n_rec)
            continue;
        *v = (struct verdict){VERDICT_PROBE, space, pn, p, sent_recs(&s->sent, p), p->n_rec};
        return true;
    }
    return false;
}

/* ---- the end of spaces and paths ----------------------------------------------------- */

void recovery_restart_space(struct recovery *r, enum quic_space space, ns_t now)
{
    struct recovery_space *s = &r->space[space];

    for (uint64_t pn = s->sent.base; pn < s->sent.next; pn++) {
        const struct sent_packet *p = sent_get(&s->sent, pn);

        if (!recovery_outstanding(p))
            continue;
        ecn_on_forgotten(&r->ecn, p->ecn);
        if (p->flags & SENT_IN_FLIGHT)
            r->bytes_in_flight -= p->bytes;
    }
    if (r->verdict_space == space)
        r->n_runs = r->run = 0;
    sent_clear(&s->sent);
    ranges_free(&s->acked);
    s->scan = s->probe_cursor = s->sent.next;
    s->eliciting = 0;
    s->probes = 0;
    s->loss_time = s->lost_run = NS_NEVER;
    s->any_acked = false;
    r->pto_count = 0;
    r->touched = now;
}

void recovery_discard_space(struct recovery *r, enum quic_space space, ns_t now)
{
    recovery_restart_space(r, space, now);
    r->space[space].discarded = true;
}

/* What is outstanding no longer counts for this route's congestion control. */
static void disown(struct recovery *r, struct recovery_space *s)
{
    for (uint64_t pn = s->sent.base; pn < s->sent.next; pn++) {
        struct sent_packet *p = sent_get(&s->sent, pn);

        if (recovery_outstanding(p) && !(p->flags & SENT_ELICITING))
            ecn_on_forgotten(&r->ecn, p->ecn);
        if (recovery_outstanding(p) && (p->flags & SENT_IN_FLIGHT))
            r->bytes_in_flight -= p->bytes;
        p->flags &= (uint8_t)~SENT_IN_FLIGHT;
    }
    s->lost_run = NS_NEVER;
}

void recovery_reset_path(struct recovery *r, ns_t now)
{
    cc_init(&r->cc, r->cc.ops->name, r->cc.mss);
    seed(r);
    rtt_init(&r->rtt, r->initial_rtt);
    reorder_init(&r->reorder);
    for (int i = 0; i < SPACE_N; i++)
        disown(r, &r->space[i]);
    r->round_peak = r->last_peak = r->bytes_in_flight;
    r->delivery_bps = 0;
    r->pto_count = 0;
    r->path_since = r->touched = now;
}

size_t recovery_memory(const struct recovery *r)
{
    size_t sum = r->cap_runs * sizeof *r->runs;

    for (int i = 0; i < SPACE_N; i++)
        sum += sent_memory(&r->space[i].sent) + ranges_memory(&r->space[i].acked);
    return sum;
}

static bool check_space(const struct recovery_space *s, uint64_t *in_flight)
{
    uint64_t eliciting = 0;

    for (uint64_t pn = s->sent.base; pn < s->sent.next; pn++) {
        const struct sent_packet *p = sent_get(&s->sent, pn);
        bool waits = recovery_outstanding(p);

        if (waits && pn < s->scan)
            return false;
        if (waits && (p->flags & SENT_ELICITING))
            eliciting++;
        if (waits && (p->flags & SENT_IN_FLIGHT))
            *in_flight += p->bytes;
        if (ranges_contains(&s->acked, pn) && !(p->flags & SENT_ACKED))
            return false;
    }
    return eliciting == s->eliciting && sent_check(&s->sent) && ranges_check(&s->acked);
}

bool recovery_check(const struct recovery *r)
{
    uint64_t in_flight = 0;

    for (int i = 0; i < SPACE_N; i++)
        if (!check_space(&r->space[i], &in_flight))
            return false;
    return in_flight == r->bytes_in_flight && ecn_check(&r->ecn) && cc_check(&r->cc) &&
           reorder_check(&r->reorder);
}
