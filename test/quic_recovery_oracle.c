/*
 * Loss recovery against the pseudocode of RFC 9002 appendix A, transcribed as it stands,
 * over random sending, acknowledging and waiting: every verdict, timer, estimate and byte in
 * flight must be the same.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "test/quic_rand.h"
#include "test/quic_recovery.h"

#define PACKETS 3000

enum fate { WAITS, ACKED, LOST, LATE, PASSED_OVER, GONE };

struct packet {
    ns_t time;
    uint32_t bytes;
    bool eliciting, in_flight;
    enum fate fate;
};

/* One space of the pseudocode. */
struct space {
    struct packet p[PACKETS];
    uint64_t next, largest_acked;
    ns_t loss_time; /* 0: none */
    ns_t last_eliciting;
    ns_t unanswered; /* the timer is put off by no more than a period from here */
    bool received[PACKETS]; /* by the peer */
};

struct oracle {
    struct space space[SPACE_N];
    struct rtt rtt; /* tested by itself */
    struct recovery_state st;
    unsigned pto_count;
    uint64_t in_flight;
    ns_t touched;
    struct recovery r; /* what is tested */
    struct rnd rnd;
    ns_t now;
};

static bool outstanding(const struct packet *p)
{
    return p->fate == WAITS && p->in_flight;
}

static bool eliciting_in_flight(const struct space *s)
{
    for (uint64_t pn = 0; pn < s->next; pn++)
        if (outstanding(&s->p[pn]) && s->p[pn].eliciting)
            return true;
    return false;
}

static bool peer_completed(const struct oracle *o)
{
    return o->st.server || o->st.peer_validated || o->st.confirmed;
}

/* SetLossDetectionTimer: the instant of the timer. */
static ns_t timer(const struct oracle *o, enum quic_space *which, bool *loss)
{
    ns_t first = 0, period, duration, from, timeout = NS_NEVER;
    bool none = true;

    *loss = false;
    for (int i = 0; i < SPACE_N; i++) {
        if (o->space[i].loss_time && (!first || o->space[i].loss_time < first)) {
            first = o->space[i].loss_time;
            *which = (enum quic_space)i;
        }
        none &= !eliciting_in_flight(&o->space[i]);
    }
    if (first) {
        *loss = true;
        return first;
    }
    if (o->st.at_amplification_limit || (none && peer_completed(o)))
        return NS_NEVER;
    period = o->rtt.smoothed + ns_max(4 * o->rtt.variation, MS);
    duration = period << o->pto_count;
    if (none) {
        *which = o->st.handshake_keys ? SPACE_HANDSHAKE : SPACE_INITIAL;
        return o->touched + duration;
    }
    for (int i = 0; i < SPACE_N; i++) {
        if (!eliciting_in_flight(&o->space[i]))
            continue;
        if (i == SPACE_APP) {
            if (!o->st.confirmed)
                return timeout;
            period += o->st.max_ack_delay;
            duration += o->st.max_ack_delay << o->pto_count;
        }
        from = ns_min(o->space[i].last_eliciting, o->space[i].unanswered + period);
        if (from + duration < timeout) {
            timeout = from + duration;
            *which = (enum quic_space)i;
        }
    }
    return timeout;
}

/* The numbers between that were used. */
static uint64_t distance(const struct space *s, uint64_t pn)
{
    uint64_t d = s->largest_acked - pn;

    for (uint64_t i = pn + 1; i < s->largest_acked; i++)
        d -= s->p[i].fate == PASSED_OVER;
    return d;
}

/* DetectAndRemoveLostPackets: marks them; returns whether there were any. */
static bool detect_lost(struct oracle *o, struct space *s)
{
    ns_t delay = ns_max(ns_max(o->rtt.latest, o->rtt.smoothed) * 9 / 8, MS);
    bool any = false;

    s->loss_time = 0;
    for (uint64_t pn = 0; pn < s->next && pn < s->largest_acked; pn++) {
        struct packet *p = &s->p[pn];

        if (!outstanding(p))
            continue;
        if (p->time + delay <= o->now || distance(s, pn) >= 3) {
            p->fate = LOST;
            o->in_flight -= p->bytes;
            any = true;
        } else if (!s->loss_time || p->time + delay < s->loss_time) {
            s->loss_time = p->time + delay;
        }
    }
    return any;
}

/* OnAckReceived, for the numbers in `acked`. */
static void oracle_ack(struct oracle *o, struct space *s, const struct range *r, size_t n)
{
    bool any = false, eliciting = false, spurious = false;
    const struct packet *largest = NULL;

    if (s->largest_acked == UINT64_MAX || r[0].end > s->largest_acked)
        s->largest_acked = r[0].end;
    for (size_t i = 0; i < n; i++) {
        for (uint64_t pn = r[i].start; pn <= r[i].end; pn++) {
            struct packet *p = &s->p[pn];

            if (p->fate == LOST) {
                p->fate = LATE;
                spurious = true;
            }
            if (p->fate != WAITS)
                continue;
            p->fate = ACKED;
            any = true;
            eliciting |= p->eliciting;
            if (p->in_flight)
                o->in_flight -= p->bytes;
            if (pn == r[0].end)
                largest = p;
        }
    }
    if (!any && !spurious)
        return;
    if (largest && eliciting)
        rtt_sample(&o->rtt, o->now - largest->time, 0, o->st.confirmed, o->st.max_ack_delay,
                   o->now);
    detect_lost(o, s);
    if (peer_completed(o))
        o->pto_count = 0;
    s->unanswered = o->now;
    o->touched = o->now;
}

/* How often each thing happened: a test that never gets there shows nothing. */
static unsigned seen[GONE], timeouts[3];

/* ---- both, step by step -------------------------------------------------------------- */

static void compare(struct oracle *o)
{
    enum quic_space space;
    bool loss;

    assert_int_equal(o->r.bytes_in_flight, o->in_flight);
    assert_int_equal(o->r.pto_count, o->pto_count);
    assert_int_equal(o->r.rtt.smoothed, o->rtt.smoothed);
    assert_int_equal(o->r.rtt.variation, o->rtt.variation);
    assert_int_equal(recovery_deadline(&o->r), timer(o, &space, &loss));
    if (rnd_chance(&o->rnd, 1, 10))
        assert_true(recovery_check(&o->r));
}

/* Every verdict agrees with the oracle's, and each packet gets each at most once. */
static void take(struct oracle *o, enum quic_space which, const enum fate *before)
{
    static bool told[PACKETS];
    struct space *s = &o->space[which];
    struct verdict v;

    memset(told, 0, sizeof told);
    while (recovery_next_verdict(&o->r, &v)) {
        enum fate want = v.fate == VERDICT_ACKED ? ACKED : v.fate == VERDICT_LOST ? LOST : LATE;

        assert_int_equal(v.space, which);
        assert_false(told[v.pn]);
        told[v.pn] = true;
        seen[want]++;
        assert_int_equal(s->p[v.pn].fate, want);
        assert_int_equal(v.pkt->time, s->p[v.pn].time);
        assert_int_equal(v.rec[0].a, v.pn);
        assert_int_equal(v.rec[0].b, which);
    }
    for (uint64_t pn = 0; pn < s->next; pn++)
        assert_int_equal(told[pn], s->p[pn].fate != before[pn] && s->p[pn].fate != GONE);
    recovery_verdicts_done(&o->r, o->now);
}

/* What is forgotten can't be told of any more; only what is settled may be. */
static void forget(struct oracle *o, enum quic_space which)
{
    struct space *s = &o->space[which];

    for (uint64_t pn = 0; pn < s->next; pn++) {
        if (sent_get(&o->r.space[which].sent, pn))
            continue;
        assert_false(outstanding(&s->p[pn]));
        s->p[pn].fate = GONE;
    }
}

static void save_fates(const struct space *s, enum fate *out)
{
    for (uint64_t pn = 0; pn < s->next; pn++)
        out[pn] = s->p[pn].fate;
}

static void send_one(struct oracle *o)
{
    enum quic_space which =
        o->st.confirmed ? SPACE_APP : (enum quic_space)rnd_below(&o->rnd, 3);
    struct space *s = &o->space[which];
    uint64_t skip = rnd_chance(&o->rnd, 1, 60) && which == SPACE_APP;
    struct packet p = {.time = o->now, .bytes = (uint32_t)rnd_below(&o->rnd, 1200) + 50};
    bool waiting = eliciting_in_flight(s);
    uint8_t flags = 0;

    if (s->next + 2 >= PACKETS || o->r.space[which].discarded)
        return;
    for (; skip && s->next >= 20 && !s->received[s->next]; skip--) {
        for (uint64_t i = 1; i < 20; i++) /* far from the last */
            if (s->p[s->next - i].fate == PASSED_OVER)
                skip = 0;
        if (!skip)
            break;
        s->p[s->next].time = s->p[s->next - 1].time;
        s->p[s->next++].fate = PASSED_OVER;
    }
    p.eliciting = rnd_chance(&o->rnd, 4, 5);
    p.in_flight = p.eliciting || rnd_chance(&o->rnd, 1, 2);
    flags = (uint8_t)((p.eliciting ? SENT_ELICITING : 0) | (p.in_flight ? SENT_IN_FLIGHT : 0));
    assert_int_equal(send_packet(&o->r, which, s->next, flags, p.bytes, o->now), 0);
    s->p[s->next] = p;
    s->received[s->next++] = rnd_chance(&o->rnd, 9, 10);
    if (p.in_flight)
        o->in_flight += p.bytes;
    if (p.eliciting && !waiting)
        s->unanswered = o->now;
    if (p.eliciting)
        s->last_eliciting = o->now;
    o->touched = o->now;
}

/* An ACK frame about some of what was received: the newest part, with a few holes. */
static void ack_some(struct oracle *o)
{
    enum quic_space which = (enum quic_space)rnd_below(&o->rnd, SPACE_N);
    struct space *s = &o->space[which];
    enum fate before[PACKETS];
    struct range r[32];
    struct ack_frame f;
    uint64_t back = rnd_below(&o->rnd, 12), pn;
    size_t n = 0;

    if (s->next <= back || o->r.space[which].discarded)
        return;
    for (pn = s->next - back; pn-- > 0 && n < 32;) {
        if (!s->received[pn] || s->p[pn].fate == PASSED_OVER || rnd_chance(&o->rnd, 1, 30))
            continue;
        if (n && r[n - 1].start == pn + 1)
            r[n - 1].start = pn;
        else
            r[n++] = (struct range){pn, pn};
    }
    if (!n)
        return;
    ack_make(&f, r, n);
    assert_int_equal(ack_check(&f.ack), 0);
    forget(o, which);
    save_fates(s, before);
    oracle_ack(o, s, r, n);
    assert_int_equal(recovery_on_ack(&o->r, which, &f.ack, 0, o->now), 0);
    take(o, which, before);
}

/* Time passes, perhaps to the timer. */
static void wait_some(struct oracle *o)
{
    enum quic_space which = SPACE_INITIAL;
    enum recovery_event want = RECOVERY_NONE;
    enum fate before[PACKETS];
    bool loss;
    ns_t at = timer(o, &which, &loss);

    o->now += rnd_below(&o->rnd, 8 * MS);
    if (at != NS_NEVER && rnd_chance(&o->rnd, 1, 6) && at < o->now + 3000 * MS)
        o->now = ns_max(o->now, at + rnd_below(&o->rnd, MS));
    forget(o, which);
    save_fates(&o->space[which], before);
    if (at <= o->now && loss) {
        want = detect_lost(o, &o->space[which]) ? RECOVERY_LOSS : RECOVERY_NONE;
        o->touched = o->now;
    } else if (at <= o->now) {
        want = RECOVERY_PTO;
        for (int i = 0; i < SPACE_N; i++)
            o->space[i].unanswered = o->now;
        o->pto_count++;
        o->touched = o->now;
    }
    assert_int_equal(recovery_on_timeout(&o->r, o->now), want);
    timeouts[want]++;
    if (want == RECOVERY_LOSS)
        take(o, which, before);
    if (want == RECOVERY_PTO)
        assert_true(recovery_probes(&o->r, which) > 0);
}

/* The handshake goes on. */
static void progress(struct oracle *o)
{
    switch (rnd_below(&o->rnd, 6)) {
    case 0:
        o->st.handshake_keys = true;
        break;
    case 1:
        o->st.peer_validated = o->st.handshake_keys;
        break;
    case 2:
        o->st.at_amplification_limit = o->st.server && !o->st.at_amplification_limit;
        break;
    case 3:
        if (o->st.peer_validated && o->now > 500 * MS) {
            o->st.confirmed = true;
            o->st.at_amplification_limit = false;
        }
        break;
    default:
        return;
    }
    if (memcmp(&o->st, &o->r.state, sizeof o->st) != 0)
        o->touched = o->now;
    recovery_set_state(&o->r, &o->st, o->now);
    for (int i = 0; i < SPACE_APP && o->st.confirmed; i++) {
        struct space *s = &o->space[i];

        if (o->r.space[i].discarded)
            continue;
        for (uint64_t pn = 0; pn < s->next; pn++) {
            if (outstanding(&s->p[pn]))
                o->in_flight -= s->p[pn].bytes;
            s->p[pn].fate = GONE;
        }
        s->loss_time = 0;
        o->pto_count = 0;
        o->touched = o->now;
        recovery_discard_space(&o->r, (enum quic_space)i, o->now);
    }
}

static void run(uint64_t seed)
{
    static struct oracle o;
    struct recovery_config cfg = config_of(seed % 2 ? "cubic" : "newreno", NULL);

    memset(&o, 0, sizeof o);
    o.rnd.state = seed;
    o.st.server = seed % 3 == 0;
    o.st.max_ack_delay = 25 * MS;
    o.now = 1;
    for (int i = 0; i < SPACE_N; i++)
        o.space[i].largest_acked = UINT64_MAX;
    rtt_init(&o.rtt, 0);
    assert_int_equal(recovery_init(&o.r, &cfg), 0);
    /* The pseudocode's thresholds do not adapt. */
    o.r.reorder.packets.most = REORDER_PACKETS;
    o.r.reorder.eighths.most = REORDER_EIGHTHS;
    recovery_set_state(&o.r, &o.st, o.now);
    o.touched = o.st.server ? o.now : 0; /* what a client is, it was before */
    for (int step = 0; step < 6000; step++) {
        uint64_t what = rnd_below(&o.rnd, 10);

        if (what < 4)
            send_one(&o);
        else if (what < 6)
            ack_some(&o);
        else if (what < 9)
            wait_some(&o);
        else
            progress(&o);
        compare(&o);
    }
    recovery_free(&o.r);
}

static void test_oracle(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++)
        run(seed);
    assert_true(seen[ACKED] > 5000 && seen[LOST] > 500 && seen[LATE] > 50);
    assert_true(timeouts[RECOVERY_LOSS] > 100 && timeouts[RECOVERY_PTO] > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_oracle)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
