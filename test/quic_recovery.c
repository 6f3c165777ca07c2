#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "quic/errors.h"
#include "test/quic_rand.h"
#include "test/quic_recovery.h"

#define BYTES    1200
#define ELICIT   SENT_ELICITING
#define ACK_ONLY 0
#define PADDING  SENT_IN_FLIGHT

enum verb {
    SEND,  /* packets lo to hi, ack-eliciting */
    PAD,   /* packets lo to hi with PADDING only */
    NOELI, /* packets lo to hi with ACK only */
    MTU,   /* packets lo to hi are MTU probes */
    ACK,   /* up to four ranges */
    TIMER, /* the timer fires; `result` is what it says */
    DUE    /* the deadline is at lo (ms, or NS_NEVER) */
};

struct step {
    ns_t at; /* ms */
    enum verb verb;
    struct range r[4];
    int result;
    const char *fates; /* afterwards, one letter per packet number */
};

/*
 * Letters: . outstanding, A acknowledged, L lost, S late (acknowledged after lost),
 * - never to be heard of, x passed over.
 */
struct script {
    struct recovery r;
    char fate[64];
};

static void take_verdicts(struct script *s, enum quic_space space, ns_t now)
{
    struct verdict v;
    bool lost = false;

    while (recovery_next_verdict(&s->r, &v)) {
        char *f = &s->fate[v.pn];

        assert_int_equal(v.space, space);
        assert_int_equal(v.n, v.pkt->n_rec);
        assert_int_equal(v.rec[0].a, v.pn);
        assert_int_equal(v.rec[0].b, space);
        assert_true(!lost || v.fate == VERDICT_LOST); /* lost ones come last */
        if (v.fate == VERDICT_ACKED) {
            assert_true(*f == '.' || *f == '-');
            *f = 'A';
        } else if (v.fate == VERDICT_LOST) {
            assert_int_equal(*f, '.');
            *f = 'L';
            lost = true;
        } else {
            assert_int_equal(v.fate, VERDICT_SPURIOUS);
            assert_int_equal(*f, 'L');
            *f = 'S';
        }
    }
    recovery_verdicts_done(&s->r, now);
    assert_true(recovery_check(&s->r));
}

static void send_range(struct script *s, const struct step *st, uint8_t flags)
{
    for (uint64_t pn = strlen(s->fate); pn < st->r[0].start; pn++)
        s->fate[pn] = 'x';
    for (uint64_t pn = st->r[0].start; pn <= st->r[0].end; pn++) {
        assert_int_equal(send_packet(&s->r, SPACE_APP, pn, flags, BYTES, st->at * MS), 0);
        s->fate[pn] = flags ? '.' : '-';
    }
}

static int act(struct script *s, const struct step *st)
{
    struct ack_frame f;
    size_t n = 1;
    int result;

    switch (st->verb) {
    case SEND:
        send_range(s, st, ELICIT);
        return 0;
    case PAD:
        send_range(s, st, PADDING);
        return 0;
    case NOELI:
        send_range(s, st, ACK_ONLY);
        return 0;
    case MTU:
        send_range(s, st, ELICIT | SENT_PROBE);
        return 0;
    case ACK:
        while (n < 4 && st->r[n].end)
            n++;
        ack_make(&f, st->r, n);
        result = recovery_on_ack(&s->r, SPACE_APP, &f.ack, 0, st->at * MS);
        take_verdicts(s, SPACE_APP, st->at * MS);
        return result;
    case TIMER:
        result = recovery_on_timeout(&s->r, st->at * MS);
        take_verdicts(s, SPACE_APP, st->at * MS);
        return result;
    default:
        assert_int_equal(recovery_deadline(&s->r),
                         st->r[0].start == NS_NEVER ? NS_NEVER : st->r[0].start * MS);
        return 0;
    }
}

static void play_in(struct script *s, const struct step *st, size_t n)
{
    for (; n--; st++) {
        int result = act(s, st);

        if (st->fates && strcmp(s->fate, st->fates) != 0)
            print_error("at %d ms: %s\n", (int)st->at, s->fate);
        assert_int_equal(result, st->result);
        if (st->fates)
            assert_string_equal(s->fate, st->fates);
        assert_true(recovery_check(&s->r));
    }
}

static void script_init(struct script *s)
{
    struct recovery_config cfg = config_of("newreno", NULL);

    memset(s, 0, sizeof *s);
    assert_int_equal(recovery_init(&s->r, &cfg), 0);
    recovery_set_state(&s->r, &confirmed, 0);
}

static void play(const struct step *st, size_t n)
{
    struct script s;

    script_init(&s);
    play_in(&s, st, n);
    recovery_free(&s.r);
}

#define PLAY(table) play(table, ARRAY_LEN(table))

/* ---- RFC 9002 6.1 -------------------------------------------------------------------- */

/* clang-format off */
static const struct step packet_threshold[] = {
    {0, SEND, {{0, 9}}, 0, ".........."},
    {50, ACK, {{2, 2}}, 0, "..A......."},
    {50, ACK, {{3, 3}}, 0, "L.AA......"},                /* 3 behind the largest */
    {50, ACK, {{3, 3}}, 0, "L.AA......"},                /* the same again: nothing */
    {51, ACK, {{9, 9}, {2, 3}}, 0, "LLAALLL..A"},
    {52, ACK, {{9, 9}, {5, 7}, {2, 3}}, 0, "LLAALSSA.A"}, /* 5 and 6 were only late */
    {53, ACK, {{0, 9}}, 0, "SSAASSSAAA"},
    {54, ACK, {{0, 9}}, 0, "SSAASSSAAA"},
};
static const struct step time_threshold[] = { /* the first sample makes RTT 80 ms */
    {0, SEND, {{0, 0}}, 0, "."},
    {80, ACK, {{0, 0}}, 0, "A"},
    {100, SEND, {{1, 1}}, 0, "A."},
    {110, SEND, {{2, 2}}, 0, "A.."},
    {120, SEND, {{3, 3}}, 0, "A..."},
    {180, ACK, {{3, 3}}, 0, "A..A"},                     /* sample 60: smoothed 77.5 */
    {180, TIMER, {{0}}, RECOVERY_NONE, "A..A"},
    {187, TIMER, {{0}}, RECOVERY_NONE, "A..A"},          /* 100 + 9/8 * 77.5 = 187.19 */
    {188, TIMER, {{0}}, RECOVERY_LOSS, "AL.A"},
    {197, TIMER, {{0}}, RECOVERY_NONE, "AL.A"},
    {198, TIMER, {{0}}, RECOVERY_LOSS, "ALLA"},
    {199, TIMER, {{0}}, RECOVERY_NONE, "ALLA"},          /* nothing left */
};
static const struct step by_time_on_ack[] = { /* an ACK finds it, too */
    {0, SEND, {{0, 0}}, 0, "."},
    {80, ACK, {{0, 0}}, 0, "A"},
    {100, SEND, {{1, 1}}, 0, "A."},
    {300, SEND, {{2, 2}}, 0, "A.."},
    {380, ACK, {{2, 2}}, 0, "ALA"},
};
static const struct step passed_over[] = { /* numbers that never travelled are no distance */
    {0, SEND, {{0, 0}}, 0, "."},
    {0, SEND, {{2, 4}}, 0, ".x..."},
    {50, ACK, {{3, 3}}, 0, ".x.A."},                     /* 3 behind, but 1 doesn't count */
    {50, ACK, {{4, 4}}, 0, "Lx.AA"},
};
static const struct step not_in_flight[] = { /* ACK-only packets are never declared lost */
    {0, NOELI, {{0, 1}}, 0, "--"},
    {0, SEND, {{2, 3}}, 0, "--.."},
    {0, PAD, {{4, 4}}, 0, "--..."},
    {0, SEND, {{5, 9}}, 0, "--........"},
    {50, ACK, {{9, 9}}, 0, "--LLLLL..A"},                /* padding counts as in flight */
    {400, ACK, {{9, 9}, {0, 1}}, 0, "AALLLLLLLA"},       /* 7 and 8 are late by now */
};
static const struct step old_ack[] = { /* one that was overtaken changes nothing */
    {0, SEND, {{0, 9}}, 0, ".........."},
    {50, ACK, {{0, 9}}, 0, "AAAAAAAAAA"},
    {60, ACK, {{0, 3}}, 0, "AAAAAAAAAA"},
    {60, DUE, {{NS_NEVER, 0}}, 0, NULL},
};
/* clang-format on */

static void test_thresholds(void **state)
{
    (void)state;
    PLAY(packet_threshold);
    PLAY(time_threshold);
    PLAY(by_time_on_ack);
    PLAY(passed_over);
    PLAY(not_in_flight);
    PLAY(old_ack);
}

/* ---- who acknowledges what was not sent ---------------------------------------------- */

/* clang-format off */
static const struct step unsent[] = {
    {0, SEND, {{0, 2}}, 0, "..."},
    {50, ACK, {{3, 3}}, QUIC_PROTOCOL_VIOLATION, NULL},
};
static const struct step nothing_sent[] = {
    {50, ACK, {{0, 0}}, QUIC_PROTOCOL_VIOLATION, NULL},
};
static const struct step was_passed_over[] = {
    {0, SEND, {{0, 2}}, 0, "..."},
    {0, SEND, {{4, 6}}, 0, "...x..."},
    {50, ACK, {{4, 6}, {0, 2}}, 0, "AAAxAAA"},
    {51, SEND, {{7, 9}}, 0, NULL},
    {51, SEND, {{11, 12}}, 0, NULL},
    {52, ACK, {{7, 11}}, QUIC_PROTOCOL_VIOLATION, NULL},
};
/* clang-format on */

static void test_violations(void **state)
{
    (void)state;
    PLAY(unsent);
    PLAY(nothing_sent);
    PLAY(was_passed_over);
}

/* Numbers are passed over now and then; nobody who acknowledges all gets away with it. */
static void test_skipping(void **state)
{
    struct rnd rnd = {9};
    struct rng rng = {rnd_fill, &rnd};
    struct recovery_config cfg = config_of(NULL, &rng);
    struct recovery r;
    uint64_t pn = 0, last = 0;
    int skipped = 0, caught = 0;

    (void)state;
    assert_int_equal(recovery_init(&r, &cfg), 0);
    recovery_set_state(&r, &confirmed, 0);
    for (int i = 0; i < 20000; i++) {
        struct range all = {last, 0};
        struct ack_frame f;
        int err;

        pn = recovery_next_pn(&r, SPACE_APP);
        assert_int_equal(recovery_next_pn(&r, SPACE_APP), pn); /* asking is no harm */
        skipped += pn != sent_next(&r.space[SPACE_APP].sent);
        assert_int_equal(send_packet(&r, SPACE_APP, pn, ELICIT, 100, (ns_t)i), 0);
        if (i % 500 != 499)
            continue;
        all.end = pn;
        ack_make(&f, &all, 1);
        err = recovery_on_ack(&r, SPACE_APP, &f.ack, 0, (ns_t)i);
        caught += err == QUIC_PROTOCOL_VIOLATION;
        last = pn + 1;
        recovery_verdicts_done(&r, (ns_t)i);
    }
    assert_true(skipped > 20000 / 200 && skipped < 20000 / 50);
    assert_int_equal(caught, 40); /* in 500 packets there was one */
    /* The handshake's spaces are left alone. */
    for (int i = 0; i < 2000; i++) {
        assert_int_equal(recovery_next_pn(&r, SPACE_INITIAL), i);
        assert_int_equal(send_packet(&r, SPACE_INITIAL, (uint64_t)i, ACK_ONLY, 9, 0), 0);
    }
    recovery_free(&r);
}

/* Packets of each round trip change places: soon none of them is called lost. */
static void test_adapts(void **state)
{
    struct recovery_config cfg = config_of("newreno", NULL);
    struct range range;
    struct ack_frame f;
    struct recovery r;
    struct verdict v;
    uint64_t spurious[20], pn = 0;
    ns_t now = 1000 * MS;

    (void)state;
    recovery_init(&r, &cfg);
    recovery_set_state(&r, &confirmed, 0);
    for (int round = 0; round < 20; round++, now += 100 * MS) {
        uint64_t late = pn;

        for (int i = 0; i < 10; i++) /* the first arrives behind the eighth, 5 ms later */
            send_packet(&r, SPACE_APP, pn++, ELICIT, BYTES, now);
        for (int i = 0; i < 3; i++) {
            range = (struct range){i == 1 ? late : late + 1, i == 2 ? pn - 1 : late + 7};
            range.start = i == 2 ? late : range.start;
            ack_make(&f, &range, 1);
            assert_int_equal(
                recovery_on_ack(&r, SPACE_APP, &f.ack, 0, now + (ns_t)(50 + 5 * i) * MS), 0);
            while (recovery_next_verdict(&r, &v))
                ;
            recovery_verdicts_done(&r, now + (ns_t)(50 + 5 * i) * MS);
            assert_true(recovery_check(&r));
        }
        spurious[round] = r.packets_spurious;
    }
    assert_true(spurious[0] == 1 && spurious[19] <= 3);
    assert_int_equal(spurious[4], spurious[19]);
    assert_int_equal(r.packets_lost, r.packets_spurious);
    /* A lost packet is noticed all the same: now by the distance, else by time. */
    for (int i = 0; i < 2; i++)
        send_packet(&r, SPACE_APP, pn++, ELICIT, BYTES, now);
    range = (struct range){pn - 1, pn - 1};
    ack_make(&f, &range, 1);
    assert_int_equal(recovery_on_ack(&r, SPACE_APP, &f.ack, 0, now + 50 * MS), 0);
    recovery_verdicts_done(&r, now + 50 * MS);
    assert_true(recovery_deadline(&r) <= now + 2 * rtt_longest(&r.rtt));
    assert_int_equal(recovery_on_timeout(&r, now + 2 * rtt_longest(&r.rtt)), RECOVERY_LOSS);
    recovery_free(&r);
}

/* ---- probe timeout: RFC 9002 A.8 ----------------------------------------------------- */

struct pto {
    const char *what;
    struct recovery_state st;
    int sent[SPACE_N]; /* when an ack-eliciting packet was sent, ms; -1: none */
    bool sample;       /* an RTT of 100 ms was measured: then smoothed 100, variation 50 */
    unsigned count;    /* probe timeouts before, in a row */
    ns_t deadline;     /* ms */
    uint32_t probes[SPACE_N];
};

#define NEVER  0
#define CLIENT .server = false
#define SERVER .server = true
#define DELAY  .max_ack_delay = 25 * MS

/* Without a sample: 333 + 4 * 166.5 = 999 ms; with one: 300 ms. All starts at 0. */
/* clang-format off */
static const struct pto ptos[] = {
    {"an Initial", {CLIENT, DELAY}, {10, -1, -1}, false, 0, 1009, {2, 0, 0}},
    {"an Initial, backed off", {CLIENT, DELAY}, {10, -1, -1}, false, 3, 8002,
     {2, 0, 0}},
    {"no max_ack_delay in the handshake", {CLIENT, DELAY}, {-1, 20, -1}, true, 0, 320,
     {0, 2, 0}},
    {"the earlier of two, both probed with what they have", {SERVER, DELAY}, {30, 20, -1}, true,
     0, 320, {1, 1, 0}},
    {"application data waits for confirmation", {SERVER, DELAY}, {-1, -1, 20}, true, 0, NEVER,
     {0, 0, 0}},
    {"and is not probed along before", {SERVER, DELAY}, {-1, 30, 20}, true, 0, 330, {0, 2, 0}},
    {"application data", {SERVER, .confirmed = true, DELAY}, {-1, -1, 20}, true, 0, 345,
     {0, 0, 2}},
    {"the delay is backed off, too", {SERVER, .confirmed = true, DELAY}, {-1, -1, 20}, true, 2,
     20 + 4 * 325, {0, 0, 2}},
    {"a peer that never delays", {CLIENT, .confirmed = true}, {-1, -1, 20}, true, 0, 320,
     {0, 0, 2}},
    {"nothing in flight", {SERVER, DELAY}, {-1, -1, -1}, true, 0, NEVER, {0, 0, 0}},
    {"nothing in flight at a validated client", {CLIENT, .peer_validated = true, DELAY},
     {-1, -1, -1}, true, 0, NEVER, {0, 0, 0}},
    {"anti-deadlock: Initial", {CLIENT, DELAY}, {-1, -1, -1}, false, 0, 999, {1, 0, 0}},
    {"anti-deadlock: Handshake", {CLIENT, .handshake_keys = true, DELAY}, {-1, -1, -1}, true, 1,
     600, {0, 1, 0}},
    {"no credit to send a probe", {SERVER, .at_amplification_limit = true, DELAY}, {10, 10, -1},
     false, 0, NEVER, {0, 0, 0}},
};
/* clang-format on */

static void acknowledge(struct recovery *r, enum quic_space space, uint64_t lo, uint64_t hi,
                        ns_t now)
{
    struct range range = {lo, hi};
    struct ack_frame f;
    struct verdict v;

    ack_make(&f, &range, 1);
    assert_int_equal(recovery_on_ack(r, space, &f.ack, 0, now), 0);
    while (recovery_next_verdict(r, &v))
        ;
    recovery_verdicts_done(r, now);
    assert_true(recovery_check(r));
}

/*
 * A server that had no credit: a datagram gives it some, and the timeout that passed meanwhile is
 * served at once (A.6). Sent, and without an ACK asked for: in flight, and no reason for a timer
 * (A.5, B.2). Keys discarded: the timer of the space goes with them (A.11).
 */
static void test_timer_events(void **state)
{
    struct recovery_config cfg = config_of(NULL, NULL);
    struct recovery_state st = {.server = true, .at_amplification_limit = true};
    struct recovery r;

    (void)state;
    assert_int_equal(recovery_init(&r, &cfg), 0);
    recovery_set_state(&r, &st, 0);
    send_packet(&r, SPACE_INITIAL, 0, SENT_IN_FLIGHT, BYTES, 0);
    assert_int_equal(r.bytes_in_flight, BYTES);
    st.at_amplification_limit = false;
    recovery_set_state(&r, &st, 5 * MS);
    assert_int_equal(recovery_deadline(&r), NS_NEVER);
    send_packet(&r, SPACE_INITIAL, 1, ELICIT, BYTES, 10 * MS);
    st.at_amplification_limit = true;
    recovery_set_state(&r, &st, 11 * MS);
    assert_int_equal(recovery_deadline(&r), NS_NEVER);
    assert_int_equal(recovery_on_timeout(&r, 4999 * MS), RECOVERY_NONE);
    st.at_amplification_limit = false;
    recovery_set_state(&r, &st, 5000 * MS);
    assert_int_equal(recovery_deadline(&r), 1009 * MS);
    assert_int_equal(recovery_on_timeout(&r, 5000 * MS), RECOVERY_PTO);
    assert_true(recovery_probes(&r, SPACE_INITIAL) > 0);
    assert_int_equal(r.pto_count, 1);
    recovery_discard_space(&r, SPACE_INITIAL, 5001 * MS);
    assert_int_equal(recovery_deadline(&r), NS_NEVER);
    assert_int_equal(recovery_probes(&r, SPACE_INITIAL), 0);
    assert_int_equal(r.bytes_in_flight, 0);
    recovery_free(&r);
}

/* Who sends all the time hears of a dead path within two periods, and again. */
static void test_pto_while_sending(void **state)
{
    struct recovery_config cfg = config_of(NULL, NULL);
    ns_t now = 1000 * MS, period, since = now;
    struct recovery r;
    uint64_t pn = 0;
    unsigned fired = 0;

    (void)state;
    assert_int_equal(recovery_init(&r, &cfg), 0);
    recovery_set_state(&r, &confirmed, 0);
    rtt_sample(&r.rtt, 100 * MS, 0, true, 0, 0);
    period = recovery_pto(&r);
    for (; fired < 2; now += 10 * MS) {
        if (recovery_on_timeout(&r, now) == RECOVERY_PTO) {
            assert_in_range(now - since, period, (2 + fired) * period + 10 * MS);
            since = now;
            fired++;
        }
        assert_in_range(now - since, 0, 4 * period);
        pn = recovery_next_pn(&r, SPACE_APP);
        assert_int_equal(send_packet(&r, SPACE_APP, pn, ELICIT, 50, now), 0);
    }
    recovery_free(&r);
}

static void test_pto_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ptos); i++) {
        const struct pto *p = &ptos[i];
        struct recovery_config cfg = config_of(NULL, NULL);
        struct recovery r;
        ns_t at = p->deadline ? p->deadline * MS : NS_NEVER;

        assert_int_equal(recovery_init(&r, &cfg), 0);
        recovery_set_state(&r, &p->st, 0);
        if (p->sample)
            rtt_sample(&r.rtt, 100 * MS, 0, true, 0, 0);
        for (int s = 0; s < SPACE_N; s++)
            if (p->sent[s] >= 0)
                send_packet(&r, (enum quic_space)s, 0, ELICIT, BYTES, (ns_t)p->sent[s] * MS);
        r.pto_count = p->count;
        if (recovery_deadline(&r) != at)
            print_error("%s\n", p->what);
        assert_int_equal(recovery_deadline(&r), at);
        if (at == NS_NEVER) {
            assert_int_equal(recovery_on_timeout(&r, NS_NEVER - 1), RECOVERY_NONE);
        } else {
            assert_int_equal(recovery_on_timeout(&r, at - 1), RECOVERY_NONE);
            assert_int_equal(r.pto_count, p->count);
            assert_int_equal(recovery_on_timeout(&r, at), RECOVERY_PTO);
            assert_int_equal(r.pto_count, p->count + 1);
            assert_true(recovery_deadline(&r) > at);
        }
        for (int s = 0; s < SPACE_N; s++)
            assert_int_equal(recovery_probes(&r, (enum quic_space)s), p->probes[s]);
        assert_true(recovery_check(&r)); /* a PTO declares nothing lost */
        recovery_free(&r);
    }
}

/* Who is answered sees no probe timeout, however the path's delays and the sending compare. */
static void test_pto_answered(void **state)
{
    static const struct {
        unsigned rtt, gap, delay; /* ms; the answer waits for `delay`, at most */
    } paths[] = {{1, 1, 25},    {1, 20, 25},  {5, 1, 25},   {20, 50, 25},
                 {50, 1, 25},   {50, 90, 25}, {50, 10, 0},  {100, 100, 5},
                 {300, 10, 25}, {600, 1, 25}, {600, 60, 0}, {20, 400, 25}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct recovery_config cfg = config_of(NULL, NULL);
        struct recovery_state st = confirmed;
        unsigned rtt = paths[i].rtt, gap = paths[i].gap, delay = paths[i].delay;
        uint64_t pn = 0, acked = 0;
        struct recovery r;

        assert_int_equal(recovery_init(&r, &cfg), 0);
        st.max_ack_delay = delay * MS;
        recovery_set_state(&r, &st, 0);
        rtt_sample(&r.rtt, rtt * MS, 0, true, 0, 0);
        for (unsigned ms = 0; ms < 5000; ms++) {
            /* One ACK each max_ack_delay, of what was sent a round trip ago. */
            uint64_t there = ms < rtt ? 0 : (ms - rtt) / gap + 1;

            if (there > acked && (!delay || ms % delay == 0)) {
                acknowledge(&r, SPACE_APP, acked, there - 1, ms * MS);
                acked = there;
            }
            if (recovery_deadline(&r) <= ms * MS)
                assert_int_not_equal(recovery_on_timeout(&r, ms * MS), RECOVERY_PTO);
            if (ms % gap == 0)
                assert_int_equal(send_packet(&r, SPACE_APP, pn++, ELICIT, 50, ms * MS), 0);
        }
        assert_int_equal(r.pto_count, 0);
        assert_int_equal(r.packets_lost, 0);
        recovery_free(&r);
    }
}

/*
 * Section 5.1: a sample comes from the largest acknowledged packet, if that is new, and if
 * something new had asked for the acknowledgement.
 */
/* clang-format off */
static const struct {
    const char *what;
    struct step step[5];
    ns_t latest; /* ms, afterwards; 0: no sample */
} sampled[] = {
    {"the largest", {{0, SEND, {{0, 0}}, 0, NULL}, {30, SEND, {{1, 1}}, 0, NULL},
     {100, ACK, {{0, 1}}, 0, NULL}}, 70},
    {"the largest is not new", {{0, SEND, {{0, 1}}, 0, NULL}, {100, ACK, {{1, 1}}, 0, NULL},
     {180, ACK, {{0, 1}}, 0, NULL}}, 100},
    {"none of the new ones asked", {{0, NOELI, {{0, 1}}, 0, NULL},
     {100, ACK, {{0, 1}}, 0, NULL}}, 0},
    {"one below the largest asked", {{0, SEND, {{0, 0}}, 0, NULL}, {30, NOELI, {{1, 1}}, 0, NULL},
     {100, ACK, {{0, 1}}, 0, NULL}}, 70},
    {"the largest had been called lost", {{0, SEND, {{0, 9}}, 0, NULL},
     {100, ACK, {{5, 5}}, 0, NULL}, {150, ACK, {{1, 1}}, 0, NULL}}, 100},
};
/* clang-format on */

static void test_samples(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sampled); i++) {
        size_t n = 0;
        struct script s;

        script_init(&s);
        while (n < ARRAY_LEN(sampled[i].step) && (n == 0 || sampled[i].step[n].at))
            n++;
        play_in(&s, sampled[i].step, n);
        if (s.r.rtt.latest != sampled[i].latest * MS)
            print_error("%s\n", sampled[i].what);
        assert_int_equal(s.r.rtt.latest, sampled[i].latest * MS);
        assert_int_equal(rtt_has_sample(&s.r.rtt), sampled[i].latest != 0);
        recovery_free(&s.r);
    }
}

/* ---- probes -------------------------------------------------------------------------- */

/* Probes use up what was asked for, name old content first, and reset when answered. */
static void test_probes(void **state)
{
    struct recovery_config cfg = config_of(NULL, NULL);
    struct recovery r;
    struct verdict v;

    (void)state;
    recovery_init(&r, &cfg);
    recovery_set_state(&r, &confirmed, 0);
    for (uint64_t pn = 0; pn < 4; pn++)
        send_packet(&r, SPACE_APP, pn, ELICIT, BYTES, pn * MS);
    acknowledge(&r, SPACE_APP, 1, 1, 50 * MS);
    assert_int_equal(recovery_on_timeout(&r, NS_NEVER - 1), RECOVERY_LOSS);
    recovery_verdicts_done(&r, 200 * MS); /* 0 is lost by time */
    assert_int_equal(recovery_on_timeout(&r, 1000 * MS), RECOVERY_PTO);
    assert_int_equal(recovery_probes(&r, SPACE_APP), 2);
    assert_true(recovery_next_probe(&r, SPACE_APP, &v));
    assert_int_equal(v.pn, 2);
    assert_int_equal(v.fate, VERDICT_PROBE);
    assert_int_equal(v.rec[0].a, 2);
    send_packet(&r, SPACE_APP, 4, ELICIT, BYTES, 1000 * MS);
    assert_true(recovery_next_probe(&r, SPACE_APP, &v));
    assert_int_equal(v.pn, 3);
    send_packet(&r, SPACE_APP, 5, ACK_ONLY, 50, 1000 * MS); /* is none */
    assert_int_equal(recovery_probes(&r, SPACE_APP), 1);
    send_packet(&r, SPACE_APP, 6, ELICIT, BYTES, 1000 * MS);
    assert_int_equal(recovery_probes(&r, SPACE_APP), 0);
    assert_int_equal(r.bytes_in_flight, 4 * BYTES);
    assert_int_equal(r.pto_count, 1);
    acknowledge(&r, SPACE_APP, 4, 4, 1050 * MS);
    assert_int_equal(r.pto_count, 0);
    /* One on demand; not more for asking twice. */
    recovery_ask_probe(&r, SPACE_APP);
    recovery_ask_probe(&r, SPACE_APP);
    assert_int_equal(recovery_probes(&r, SPACE_APP), 1);
    assert_true(recovery_next_probe(&r, SPACE_APP, &v));
    recovery_free(&r);
}

/* Handshake data before its timeout (6.2.3): what is in flight for long enough, no back-off. */
static void test_probe_early(void **state)
{
    struct recovery_config cfg = config_of(NULL, NULL);
    struct recovery_state st = {.server = true};
    struct recovery r;
    struct verdict v;

    (void)state;
    recovery_init(&r, &cfg);
    recovery_set_state(&r, &st, 0);
    assert_false(recovery_probe_early(&r, 100 * MS));
    send_packet(&r, SPACE_INITIAL, 0, ELICIT, BYTES, 10 * MS);
    for (uint64_t pn = 0; pn < 3; pn++)
        send_packet(&r, SPACE_HANDSHAKE, pn, ELICIT, BYTES, 20 * MS);
    send_packet(&r, SPACE_APP, 0, ELICIT, BYTES, 20 * MS);
    assert_false(recovery_probe_early(&r, 9 * MS));
    assert_true(recovery_probe_early(&r, 10 * MS));
    assert_int_equal(recovery_probes(&r, SPACE_INITIAL), 1);
    assert_int_equal(recovery_probes(&r, SPACE_HANDSHAKE), 0);
    assert_true(recovery_probe_early(&r, 20 * MS));
    assert_int_equal(recovery_probes(&r, SPACE_INITIAL), 1);
    assert_int_equal(recovery_probes(&r, SPACE_HANDSHAKE), 2);
    assert_int_equal(recovery_probes(&r, SPACE_APP), 0);
    assert_false(recovery_probe_early(&r, 20 * MS)); /* they are still to be sent */
    assert_int_equal(r.pto_count, 0);
    assert_true(recovery_next_probe(&r, SPACE_INITIAL, &v));
    assert_false(recovery_next_probe(&r, SPACE_INITIAL, &v));
    recovery_rewind_probe(&r, SPACE_INITIAL);
    assert_true(recovery_next_probe(&r, SPACE_INITIAL, &v));
    assert_int_equal(v.pn, 0);
    recovery_free(&r);
}

/* A client keeps its back-off until it knows that the server has validated it (6.2.1). */
static void test_backoff_kept(void **state)
{
    struct recovery_config cfg = config_of(NULL, NULL);
    struct recovery_state st = {.max_ack_delay = 25 * MS};
    struct recovery r;

    (void)state;
    recovery_init(&r, &cfg);
    recovery_set_state(&r, &st, 0);
    send_packet(&r, SPACE_INITIAL, 0, ELICIT, BYTES, 0);
    assert_int_equal(recovery_on_timeout(&r, 999 * MS), RECOVERY_PTO);
    send_packet(&r, SPACE_INITIAL, 1, ELICIT, BYTES, 999 * MS);
    acknowledge(&r, SPACE_INITIAL, 0, 1, 1099 * MS);
    assert_int_equal(r.pto_count, 1);
    /* Nothing is in flight, and yet the timer is on: 2 * 300 ms from the last event. */
    assert_int_equal(recovery_deadline(&r), 1699 * MS);
    st.handshake_keys = true;
    recovery_set_state(&r, &st, 1200 * MS);
    recovery_set_state(&r, &st, 1300 * MS); /* no change, no new start */
    assert_int_equal(recovery_deadline(&r), 1800 * MS);
    assert_int_equal(recovery_on_timeout(&r, 1800 * MS), RECOVERY_PTO);
    assert_int_equal(recovery_probes(&r, SPACE_HANDSHAKE), 1);
    send_packet(&r, SPACE_HANDSHAKE, 0, ELICIT, BYTES, 1800 * MS);
    st.peer_validated = true;
    recovery_set_state(&r, &st, 1900 * MS);
    acknowledge(&r, SPACE_HANDSHAKE, 0, 0, 1900 * MS);
    assert_int_equal(r.pto_count, 0);
    assert_int_equal(recovery_deadline(&r), NS_NEVER);
    recovery_free(&r);
}

/* ---- persistent congestion: RFC 9002 7.6 --------------------------------------------- */

/*
 * Section 7.6.3, with a PTO of 2 seconds: its t = 0 is at 1000 ms here, packets 1 to 9 are as
 * there. Packet 0 gives the sample that must exist before packet 2 is sent.
 */
/* clang-format off */
static const struct step example[] = {
    {0, SEND, {{0, 0}}, 0, NULL},
    {100, ACK, {{0, 0}}, 0, NULL},
    {1000, SEND, {{1, 1}}, 0, NULL},
    {2000, SEND, {{2, 2}}, 0, NULL},
    {2200, ACK, {{1, 1}}, 0, NULL},
    {3000, SEND, {{3, 3}}, 0, NULL},
    {4000, SEND, {{4, 4}}, 0, NULL},
    {5000, SEND, {{5, 5}}, 0, NULL},
    {6000, SEND, {{6, 6}}, 0, NULL},
    {7000, SEND, {{7, 7}}, 0, NULL},
    {9000, SEND, {{8, 8}}, 0, NULL},
    {13000, SEND, {{9, 9}}, 0, NULL},
    {13200, ACK, {{9, 9}}, 0, "AALLLLLLLA"},
};
static const struct step one_got_through[] = {
    {0, SEND, {{1, 1}}, 0, NULL},
    {100, ACK, {{1, 1}}, 0, NULL},
    {1000, SEND, {{2, 2}}, 0, NULL},
    {4000, SEND, {{3, 3}}, 0, NULL},
    {8000, SEND, {{4, 4}}, 0, NULL},
    {12000, SEND, {{5, 5}}, 0, NULL},
    {12200, ACK, {{5, 5}, {3, 3}}, 0, "xALALA"},
};
static const struct step too_short[] = { /* exactly 6 seconds do not exceed 6 seconds */
    {0, SEND, {{1, 1}}, 0, NULL},
    {100, ACK, {{1, 1}}, 0, NULL},
    {1000, SEND, {{2, 2}}, 0, NULL},
    {7000, SEND, {{3, 3}}, 0, NULL},
    {12000, SEND, {{4, 4}}, 0, NULL},
    {12200, ACK, {{4, 4}}, 0, "xALLA"},
};
static const struct step no_sample_before[] = {
    {0, SEND, {{1, 1}}, 0, NULL},
    {8000, SEND, {{2, 2}}, 0, NULL},
    {12000, SEND, {{3, 6}}, 0, NULL},
    {12200, ACK, {{6, 6}}, 0, "xLLL..A"},
};
static const struct step not_eliciting[] = { /* packets that need no answer prove nothing */
    {0, SEND, {{1, 1}}, 0, NULL},
    {100, ACK, {{1, 1}}, 0, NULL},
    {1000, PAD, {{2, 2}}, 0, NULL},
    {8000, SEND, {{3, 3}}, 0, NULL},
    {12000, SEND, {{4, 4}}, 0, NULL},
    {12200, ACK, {{4, 4}}, 0, "xALLA"},
};
static const struct step two_acks[] = { /* found by two acknowledgements, it is one run */
    {0, SEND, {{1, 1}}, 0, NULL},
    {100, ACK, {{1, 1}}, 0, NULL},
    {1000, SEND, {{2, 2}}, 0, NULL},
    {8000, SEND, {{3, 3}}, 0, NULL},
    {8001, SEND, {{4, 5}}, 0, NULL},
    {8101, ACK, {{5, 5}}, 0, "xAL..A"},
    {12000, SEND, {{6, 6}}, 0, NULL},
    {12200, ACK, {{6, 6}}, 0, "xALLLAA"},
};
/* clang-format on */

/* The last step is an ACK with a sample of 200 ms that makes the PTO 2 seconds sharp. */
static void persist(const struct step *steps, size_t n, bool collapses)
{
    struct recovery_state st = confirmed;
    struct script s;
    uint64_t before;

    script_init(&s);
    st.max_ack_delay = 24 * MS;
    recovery_set_state(&s.r, &st, 0);
    play_in(&s, steps, n - 1);
    before = s.r.cc.cwnd;
    s.r.rtt.smoothed = 1000 * MS; /* becomes 900 */
    s.r.rtt.variation = 92 * MS;  /* becomes 269 */
    play_in(&s, steps + n - 1, 1);
    if (collapses) {
        assert_int_equal(recovery_pto(&s.r), 2000 * MS);
        assert_int_equal(s.r.cc.cwnd, cc_min_window(&s.r.cc));
        assert_true(cc_in_slow_start(&s.r.cc));
        assert_int_equal(s.r.rtt.min, 200 * MS);
    } else {
        assert_int_equal(s.r.cc.cwnd, before / 2);
    }
    recovery_free(&s.r);
}

static void test_persistent(void **state)
{
    (void)state;
    persist(example, ARRAY_LEN(example), true);
    persist(one_got_through, ARRAY_LEN(one_got_through), false);
    persist(too_short, ARRAY_LEN(too_short), false);
    persist(no_sample_before, ARRAY_LEN(no_sample_before), false);
    persist(not_eliciting, ARRAY_LEN(not_eliciting), false);
    persist(two_acks, ARRAY_LEN(two_acks), true);
}

/* What another space acknowledged in between disproves it. */
static void test_persistent_spaces(void **state)
{
    (void)state;
    for (int acked = 0; acked < 2; acked++) {
        struct recovery_config cfg = config_of("newreno", NULL);
        struct recovery r;

        recovery_init(&r, &cfg);
        recovery_set_state(&r, &confirmed, 0);
        send_packet(&r, SPACE_APP, 0, ELICIT, BYTES, 0);
        acknowledge(&r, SPACE_APP, 0, 0, 100 * MS);
        send_packet(&r, SPACE_APP, 1, ELICIT, BYTES, 1000 * MS);
        send_packet(&r, SPACE_HANDSHAKE, 0, ELICIT, BYTES, 2000 * MS);
        if (acked)
            acknowledge(&r, SPACE_HANDSHAKE, 0, 0, 2100 * MS);
        send_packet(&r, SPACE_APP, 2, ELICIT, BYTES, 9000 * MS);
        send_packet(&r, SPACE_APP, 3, ELICIT, BYTES, 20000 * MS);
        acknowledge(&r, SPACE_APP, 3, 3, 20100 * MS);
        assert_int_equal(r.packets_lost, 2);
        assert_int_equal(r.cc.cwnd == cc_min_window(&r.cc), !acked);
        recovery_free(&r);
    }
}

/* ---- congestion control is told the truth -------------------------------------------- */

static void test_congestion(void **state)
{
    struct script s;
    uint64_t cwnd;

    (void)state;
    script_init(&s);
    cwnd = s.r.cc.cwnd;
    assert_int_equal(cwnd, 12000);
    /* One event for all that was sent before it; bytes leave the flight. */
    act(&s, &(struct step){0, SEND, {{0, 9}}, 0, NULL});
    assert_int_equal(s.r.bytes_in_flight, 12000);
    assert_int_equal(recovery_room(&s.r), 0);
    act(&s, &(struct step){50, ACK, {{5, 5}}, 0, NULL});
    assert_string_equal(s.fate, "LLL..A....");
    assert_int_equal(s.r.bytes_in_flight, 6 * BYTES);
    assert_int_equal(s.r.cc.cwnd, cwnd / 2);
    act(&s, &(struct step){51, ACK, {{9, 9}, {5, 5}}, 0, NULL});
    assert_int_equal(s.r.cc.cwnd, cwnd / 2);
    assert_int_equal(s.r.packets_lost, 6);
    /* All of them were late only: the reduction is taken back. */
    act(&s, &(struct step){52, ACK, {{0, 9}}, 0, NULL});
    assert_string_equal(s.fate, "SSSSSASAAA");
    assert_int_equal(s.r.cc.cwnd, cwnd);
    assert_int_equal(s.r.packets_spurious, 6);
    recovery_free(&s.r);
    /* A lost MTU probe is no congestion. */
    script_init(&s);
    act(&s, &(struct step){0, MTU, {{0, 0}}, 0, NULL});
    act(&s, &(struct step){0, SEND, {{1, 4}}, 0, NULL});
    act(&s, &(struct step){50, ACK, {{1, 4}}, 0, NULL});
    assert_string_equal(s.fate, "LAAAA");
    assert_true(s.r.cc.cwnd >= cwnd);
    assert_int_equal(s.r.bytes_in_flight, 0);
    recovery_free(&s.r);
}

/* An acknowledged lost packet is remembered for a while, and then forgotten. */
static void test_memory_of_losses(void **state)
{
    struct script s;

    (void)state;
    script_init(&s);
    act(&s, &(struct step){0, SEND, {{0, 4}}, 0, NULL});
    act(&s, &(struct step){50, ACK, {{1, 4}}, 0, NULL});
    assert_string_equal(s.fate, "LAAAA");
    assert_non_null(sent_get(&s.r.space[SPACE_APP].sent, 0));
    act(&s, &(struct step){100, SEND, {{5, 5}}, 0, NULL});
    assert_non_null(sent_get(&s.r.space[SPACE_APP].sent, 0));
    act(&s, &(struct step){5000, SEND, {{6, 6}}, 0, NULL});
    assert_null(sent_get(&s.r.space[SPACE_APP].sent, 0));
    act(&s, &(struct step){5001, ACK, {{0, 6}}, 0, NULL}); /* too late to matter */
    assert_string_equal(s.fate, "LAAAAAA");
    assert_int_equal(s.r.packets_spurious, 0);
    assert_int_equal(sent_count(&s.r.space[SPACE_APP].sent), 0);
    recovery_free(&s.r);
}

/* ---- the end of spaces and paths ----------------------------------------------------- */

static void test_discard(void **state)
{
    struct recovery_config cfg = config_of(NULL, NULL);
    struct recovery_state st = {.handshake_keys = true};
    struct range range = {0, 2};
    struct ack_frame f;
    struct recovery r;
    struct verdict v;

    (void)state;
    recovery_init(&r, &cfg);
    recovery_set_state(&r, &st, 0);
    for (uint64_t pn = 0; pn < 3; pn++)
        send_packet(&r, SPACE_INITIAL, pn, ELICIT, BYTES, 0);
    send_packet(&r, SPACE_HANDSHAKE, 0, ELICIT, 700, 10 * MS);
    acknowledge(&r, SPACE_INITIAL, 1, 1, 50 * MS);
    assert_int_equal(recovery_on_timeout(&r, 57 * MS), RECOVERY_LOSS); /* Initial 0 */
    recovery_verdicts_done(&r, 57 * MS);
    r.pto_count = 3;
    recovery_discard_space(&r, SPACE_INITIAL, 60 * MS);
    assert_int_equal(r.bytes_in_flight, 700);
    assert_int_equal(r.pto_count, 0);
    assert_false(recovery_next_verdict(&r, &v));
    assert_true(recovery_check(&r));
    /* What comes for it now is nobody's business. */
    ack_make(&f, &range, 1);
    assert_int_equal(recovery_on_ack(&r, SPACE_INITIAL, &f.ack, 0, 61 * MS), 0);
    assert_false(recovery_next_verdict(&r, &v));
    recovery_ask_probe(&r, SPACE_INITIAL);
    assert_int_equal(recovery_probes(&r, SPACE_INITIAL), 0);
    recovery_free(&r);
}

/* Retry: nothing is forgotten but what was sent; numbering goes on. */
static void test_restart(void **state)
{
    struct recovery_config cfg = config_of(NULL, NULL);
    struct recovery_state st = {0};
    struct recovery r;

    (void)state;
    recovery_init(&r, &cfg);
    recovery_set_state(&r, &st, 0);
    send_packet(&r, SPACE_INITIAL, 0, ELICIT, BYTES, 0);
    recovery_restart_space(&r, SPACE_INITIAL, 20 * MS);
    assert_int_equal(r.bytes_in_flight, 0);
    assert_int_equal(recovery_next_pn(&r, SPACE_INITIAL), 1);
    send_packet(&r, SPACE_INITIAL, 1, ELICIT, BYTES, 20 * MS);
    assert_int_equal(recovery_deadline(&r), 1019 * MS);
    acknowledge(&r, SPACE_INITIAL, 1, 1, 70 * MS);
    assert_int_equal(r.rtt.latest, 50 * MS);
    recovery_free(&r);
}

static void test_reset_path(void **state)
{
    struct script s;

    (void)state;
    script_init(&s);
    act(&s, &(struct step){0, SEND, {{0, 0}}, 0, NULL});
    act(&s, &(struct step){50, ACK, {{0, 0}}, 0, NULL});
    act(&s, &(struct step){60, SEND, {{1, 8}}, 0, NULL});
    recovery_reset_path(&s.r, 80 * MS);
    assert_int_equal(s.r.bytes_in_flight, 0);
    assert_false(rtt_has_sample(&s.r.rtt));
    assert_true(recovery_check(&s.r));
    act(&s, &(struct step){90, SEND, {{9, 9}}, 0, NULL});
    assert_int_equal(s.r.bytes_in_flight, BYTES);
    /* What was sent before is still acknowledged or lost, but says nothing of this route. */
    act(&s, &(struct step){110, ACK, {{6, 6}}, 0, NULL});
    assert_string_equal(s.fate, "ALLL..A...");
    assert_false(rtt_has_sample(&s.r.rtt));
    assert_int_equal(s.r.cc.cwnd, 12000);
    assert_int_equal(s.r.bytes_in_flight, BYTES);
    act(&s, &(struct step){190, ACK, {{9, 9}}, 0, NULL});
    assert_int_equal(s.r.rtt.latest, 100 * MS);
    assert_true(recovery_check(&s.r));
    recovery_free(&s.r);
}

static void test_lose_all(void **state)
{
    struct script s;

    (void)state;
    script_init(&s);
    act(&s, &(struct step){0, SEND, {{0, 5}}, 0, NULL});
    act(&s, &(struct step){50, ACK, {{1, 1}}, 0, NULL});
    recovery_lose_all(&s.r, 60 * MS);
    take_verdicts(&s, SPACE_APP, 60 * MS);
    assert_string_equal(s.fate, "LALLLL");
    assert_int_equal(s.r.bytes_in_flight, 0);
    assert_int_equal(recovery_deadline(&s.r), NS_NEVER);
    assert_true(s.r.cc.cwnd >= 12000);
    act(&s, &(struct step){70, ACK, {{3, 4}}, 0, NULL});
    assert_string_equal(s.fate, "LALSSL");
    recovery_free(&s.r);
}

/* ---- ECN: RFC 9000 13.4.2 ------------------------------------------------------------ */

struct ecn_case {
    const char *what;
    int marked; /* of 10 packets, the first so many with ECT(0) */
    bool counts;
    uint64_t ect0, ect1, ce;
    enum ecn_state result;
    bool congestion;
};

/* clang-format off */
static const struct ecn_case ecn_cases[] = {
    {"all reported", 10, true, 10, 0, 0, ECN_CAPABLE, false},
    {"some marked on the way", 10, true, 7, 0, 3, ECN_CAPABLE, true},
    {"the network erases marks", 10, true, 5, 0, 0, ECN_FAILED, false},
    {"the peer reports none", 10, false, 0, 0, 0, ECN_FAILED, false},
    {"turned into ECT(1)", 10, true, 5, 5, 0, ECN_FAILED, false},
    {"more than were sent", 10, true, 11, 0, 0, ECN_FAILED, false},
    {"nothing marked, nothing reported", 0, false, 0, 0, 0, ECN_TESTING, false},
    {"nothing marked, something reported", 0, true, 1, 0, 0, ECN_FAILED, false},
};
/* clang-format on */

static void test_ecn(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ecn_cases); i++) {
        const struct ecn_case *c = &ecn_cases[i];
        struct recovery_config cfg = config_of("newreno", NULL);
        struct recovery r;
        struct ack_frame f;
        struct range all = {0, 9};

        cfg.ecn = true;
        recovery_init(&r, &cfg);
        recovery_set_state(&r, &confirmed, 0);
        for (uint64_t pn = 0; pn < 10; pn++) {
            struct sent_packet p = {
                .bytes = BYTES, .flags = ELICIT, .ecn = pn < (uint64_t)c->marked ? 2 : 0};

            assert_int_equal(sent_begin(&r.space[SPACE_APP].sent, pn), 0);
            recovery_on_sent(&r, SPACE_APP, &p);
        }
        ack_make(&f, &all, 1);
        f.ack.ecn = c->counts;
        f.ack.ect0 = c->ect0;
        f.ack.ect1 = c->ect1;
        f.ack.ce = c->ce;
        assert_int_equal(recovery_on_ack(&r, SPACE_APP, &f.ack, 0, 50 * MS), 0);
        if (r.ecn.state != c->result)
            print_error("%s\n", c->what);
        assert_int_equal(r.ecn.state, c->result);
        assert_int_equal(r.cc.cwnd < 12000, c->congestion);
        assert_int_equal(recovery_ecn_mark(&r), c->result == ECN_FAILED ? 0 : 2);
        recovery_verdicts_done(&r, 50 * MS);
        recovery_free(&r);
    }
}

/* Marked packets that never arrive: marks are at fault, perhaps. */
static void test_ecn_lost(void **state)
{
    struct recovery_config cfg = config_of(NULL, NULL);
    struct recovery r;

    (void)state;
    cfg.ecn = true;
    recovery_init(&r, &cfg);
    recovery_set_state(&r, &confirmed, 0);
    for (uint64_t pn = 0; pn < 14; pn++) {
        struct sent_packet p = {.bytes = BYTES, .flags = ELICIT, .ecn = recovery_ecn_mark(&r)};

        assert_int_equal(p.ecn, pn < ECN_TEST ? ECN_ECT0 : ECN_NOT_ECT);
        assert_int_equal(sent_begin(&r.space[SPACE_APP].sent, pn), 0);
        recovery_on_sent(&r, SPACE_APP, &p);
    }
    acknowledge(&r, SPACE_APP, 11, 11, 50 * MS); /* 0 to 8 are lost */
    assert_int_equal(r.packets_lost, 9);
    assert_int_equal(r.ecn.state, ECN_UNKNOWN);
    acknowledge(&r, SPACE_APP, 13, 13, 51 * MS);
    assert_int_equal(r.ecn.state, ECN_FAILED);
    recovery_reset_path(&r, 60 * MS);
    assert_int_equal(r.ecn.state, ECN_FAILED); /* estimates start over, the route is the same */
    recovery_ecn_restart(&r);
    assert_int_equal(recovery_ecn_mark(&r), ECN_ECT0);
    recovery_free(&r);

    recovery_init(&r, &cfg);
    recovery_set_state(&r, &confirmed, 0);
    send_packet(&r, SPACE_APP, 0, ELICIT, BYTES, 0);
    assert_int_equal(recovery_ecn_mark(&r), ECN_ECT0);
    assert_int_equal(recovery_on_timeout(&r, 2000 * MS), RECOVERY_PTO);
    assert_int_equal(recovery_ecn_mark(&r), ECN_NOT_ECT);
    recovery_free(&r);
}

static void test_config(void **state)
{
    struct recovery_config cfg = config_of("vegas", NULL);
    struct recovery r;

    (void)state;
    assert_int_equal(recovery_init(&r, &cfg), QUIC_INVAL);
    cfg = config_of("cubic", NULL);
    cfg.max_datagram = 1199;
    assert_int_equal(recovery_init(&r, &cfg), QUIC_INVAL);
    cfg.max_datagram = 1200;
    assert_int_equal(recovery_init(&r, &cfg), 0);
    assert_int_equal(recovery_memory(&r), 0);
    assert_int_equal(recovery_deadline(&r), 999 * MS); /* a client: anti-deadlock from 0 */
    assert_int_equal(recovery_pacing_bps(&r), 0);
    assert_int_equal(recovery_ecn_mark(&r), 0);
    recovery_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_thresholds),        cmocka_unit_test(test_adapts),
        cmocka_unit_test(test_violations),        cmocka_unit_test(test_skipping),
        cmocka_unit_test(test_pto_table),
        cmocka_unit_test(test_timer_events),         cmocka_unit_test(test_probes),
        cmocka_unit_test(test_pto_while_sending), cmocka_unit_test(test_pto_answered),
        cmocka_unit_test(test_samples),           cmocka_unit_test(test_probe_early),
        cmocka_unit_test(test_backoff_kept),      cmocka_unit_test(test_persistent),
        cmocka_unit_test(test_persistent_spaces), cmocka_unit_test(test_congestion),
        cmocka_unit_test(test_memory_of_losses),  cmocka_unit_test(test_discard),
        cmocka_unit_test(test_restart),           cmocka_unit_test(test_reset_path),
        cmocka_unit_test(test_lose_all),          cmocka_unit_test(test_ecn),
        cmocka_unit_test(test_ecn_lost),          cmocka_unit_test(test_config),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
