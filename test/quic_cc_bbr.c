/*
 * BBR: the delivery rate sampler against tables made by hand, and the controller with loss
 * recovery, pacer and acknowledgements in a closed loop over a bottleneck that flows share:
 *
 *     flow 0 -\                                  /- ackrx - delay -> flow 0
 *              > [queue] - rate - loss - delay -<
 *     flow 1 -/                                  \- ackrx - delay -> flow 1
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "quic/ackrx.h"
#include "quic/pacer.h"
#include "quic/rate.h"
#include "test/quic_rand.h"
#include "test/quic_recovery.h"

#define MBIT   ((uint64_t)1000000)
#define PACKET 1200
#define RING   (1u << 14) /* packets, and ACK frames, of one flow on their way */
#define FLOWS  2

/* ---- the sampler --------------------------------------------------------------------- */

/* A packet of 1000 bytes sent at `sent`, acknowledged at `acked` (ms; 0: never). */
struct row {
    unsigned sent, acked;
    unsigned kbps; /* the sample, 0 for none */
    bool limited;  /* the sample is said to be app-limited */
    bool dry;      /* nothing more to send after this packet */
};

static const struct row steady[] = {
    /* One packet per 10 ms, round trip 40 ms: the pipe fills, then 800 kbit/s. */
    {100, 140, 200, false, false}, {110, 150, 320, false, false}, {120, 160, 400, false, false},
    {130, 170, 457, false, false}, {140, 180, 800, false, false}, {150, 190, 800, false, false},
    {160, 200, 800, false, false}, {170, 210, 800, false, false},
};

static const struct row burst[] = {
    /* All sent at once, delivered one per 10 ms: the acknowledgements set the rate. */
    {100, 140, 200, false, false},
    {100, 150, 320, false, false},
    {100, 160, 400, false, false},
    {100, 170, 457, false, false},
};

static const struct row stretched[] = {
    /* Sent one per 10 ms, acknowledged together: the sending sets the rate. */
    {100, 140, 200, false, false}, {110, 200, 0, false, false}, {120, 200, 0, false, false},
    {130, 200, 320, false, false}, {140, 240, 0, false, false}, {150, 240, 0, false, false},
};

static const struct row limited[] = {
    /* After the second there is nothing to send: what follows it says nothing. */
    {100, 140, 200, false, false}, {110, 150, 320, false, true},  {200, 240, 200, true, false},
    {210, 250, 320, true, false},  {250, 290, 200, false, false},
};

static void check_rows(const struct row *rows, size_t n)
{
    struct sent_packet p[16];
    struct rate r = {0};
    uint64_t in_flight = 0;
    bool done[16] = {false};

    for (unsigned t = 0; t < 1000; t++) {
        const struct sent_packet *newest = NULL;
        struct rate_sample rs;
        uint64_t bytes = 0;
        size_t at = 0;

        for (size_t i = 0; i < n; i++) {
            if (rows[i].acked != t || done[i])
                continue;
            done[i] = true;
            newest = &p[i];
            at = i;
            bytes += 1000;
        }
        if (newest) {
            rate_on_ack(&r, newest, bytes, t * MS, 40 * MS, &rs);
            in_flight -= bytes;
            if (rows[at].kbps && rs.bps / 1000 != rows[at].kbps)
                print_error("row %zu: %u kbit/s, not %u\n", at, (unsigned)(rs.bps / 1000),
                            rows[at].kbps);
            assert_true(!rows[at].kbps || rs.bps / 1000 == rows[at].kbps);
            assert_int_equal(rs.app_limited, rows[at].limited);
            assert_int_equal(rs.delivered + rs.prior_delivered, r.delivered);
        }
        for (size_t i = 0; i < n; i++) {
            if (rows[i].sent != t)
                continue;
            p[i] = (struct sent_packet){.time = t * MS, .bytes = 1000};
            rate_on_sent(&r, &p[i], in_flight);
            in_flight += 1000;
            assert_int_equal(p[i].in_flight, in_flight);
            if (rows[i].dry)
                rate_limited(&r, in_flight);
        }
    }
}

static void test_samples(void **state)
{
    (void)state;
    check_rows(steady, ARRAY_LEN(steady));
    check_rows(burst, ARRAY_LEN(burst));
    check_rows(limited, ARRAY_LEN(limited));
    check_rows(stretched, 4);
}

/* An interval shorter than the round trip, or none, gives no rate; extremes don't overflow. */
static void test_sample_edges(void **state)
{
    struct sent_packet p = {.time = 5 * MS, .bytes = 1200};
    struct rate r = {0};
    struct rate_sample rs;

    (void)state;
    rate_on_sent(&r, &p, 0);
    rate_on_ack(&r, &p, 1200, 10 * MS, 20 * MS, &rs);
    assert_int_equal(rs.bps, 0);
    assert_int_equal(rs.delivered, 1200);
    rate_on_sent(&r, &p, 0);
    rate_on_ack(&r, &p, 1200, 5 * MS, 0, &rs);
    assert_int_equal(rs.bps, 0);
    rate_on_ack(&r, &p, (uint64_t)1 << 40, 5 * MS + 1, 0, &rs);
    assert_true(rs.bps > 0 && rs.bps <= 1000000000000);
    rate_on_sent(&r, &p, UINT64_MAX / 2);
    assert_int_equal(p.in_flight, UINT32_MAX);
    p.time = NS_NEVER - 1;
    rate_on_sent(&r, &p, 1);
    assert_int_equal(p.since_first, UINT32_MAX);
    r.lost = ((uint64_t)1 << 32) - 100;
    rate_on_sent(&r, &p, 1);
    r.lost += 500; /* past 32 bits */
    assert_int_equal(rate_lost_since(&r, &p), 500);
}

/* ---- the loop ------------------------------------------------------------------------ */

struct link {
    uint64_t bps, buffer;
    ns_t rtt;
    unsigned loss_ppm;
    uint64_t mark_over; /* CE from so many bytes in the queue on; 0: never */
};

struct on_way {
    ns_t at;
    uint64_t pn;
    uint8_t mark;      /* ECN bits */
    uint8_t n, b[100]; /* an ACK frame */
};

struct fifo {
    struct on_way *e;
    uint64_t head, tail;
};

struct flow {
    struct recovery r;
    struct pacer pacer;
    struct ackrx rx;
    struct fifo data, acks;
    ns_t next_send, start;
    uint64_t delivered, sent, offer_bps;
    uint64_t window; /* bytes in flight that it has to send; 0: without end */
    unsigned seen;   /* states, a bit each */
    struct rng rng;
};

struct sim {
    struct link link;
    struct flow flow[FLOWS];
    unsigned n;
    struct rnd rnd;
    ns_t now, link_free;
    double queue_sum; /* of the queueing delay of each packet, ns */
    uint64_t forwarded, dropped, marked;
};

static struct on_way *fifo_add(struct fifo *f)
{
    assert_true(f->tail - f->head < RING);
    return &f->e[f->tail++ & (RING - 1)];
}

static struct on_way *fifo_top(struct fifo *f)
{
    return f->head < f->tail ? &f->e[f->head & (RING - 1)] : NULL;
}

static void forward(struct sim *s, struct flow *f, uint64_t pn, uint8_t mark)
{
    const struct link *l = &s->link;
    ns_t start = ns_max(s->now, s->link_free);
    double queued = (double)(start - s->now) * (double)l->bps / 8e9;
    struct on_way *e;

    if (queued + PACKET > (double)l->buffer) {
        s->dropped++;
        return;
    }
    s->link_free = start + (ns_t)PACKET * 8 * NS_PER_S / l->bps;
    s->queue_sum += (double)(start - s->now);
    s->forwarded++;
    if (rnd_below(&s->rnd, 1000000) < l->loss_ppm)
        return;
    e = fifo_add(&f->data);
    e->at = s->link_free + l->rtt / 2;
    e->pn = pn;
    e->mark = mark && l->mark_over && queued > (double)l->mark_over ? ECN_CE : mark;
    s->marked += e->mark == ECN_CE;
}

static bool has_data(const struct sim *s, const struct flow *f)
{
    if (f->window && f->r.bytes_in_flight + PACKET > f->window)
        return false;
    return !f->offer_bps ||
           (double)f->sent + PACKET <= (double)(s->now - f->start) * (double)f->offer_bps / 8e9;
}

static void transmit(struct sim *s, struct flow *f)
{
    f->next_send = NS_NEVER;
    if (s->now < f->start) {
        f->next_send = f->start;
        return;
    }
    pacer_rate(&f->pacer, recovery_pacing_bps(&f->r), s->now);
    pacer_quantum(&f->pacer, f->r.cc.quantum);
    for (;;) {
        bool probe = recovery_probes(&f->r, SPACE_APP) > 0;
        struct sent_packet p = {.time = s->now,
                                .bytes = PACKET,
                                .flags = SENT_ELICITING,
                                .ack_largest = SENT_NO_ACK};
        uint64_t pn;

        if (!probe && recovery_room(&f->r) < PACKET)
            break;
        if (!probe && !pacer_ready(&f->pacer, s->now)) {
            f->next_send = pacer_next(&f->pacer);
            break;
        }
        if (!probe && !has_data(s, f)) {
            recovery_app_limited(&f->r);
            f->next_send = s->now + MS;
            break;
        }
        pn = recovery_next_pn(&f->r, SPACE_APP);
        p.ecn = recovery_ecn_mark(&f->r);
        assert_int_equal(sent_begin(&f->r.space[SPACE_APP].sent, pn), 0);
        recovery_on_sent(&f->r, SPACE_APP, &p);
        pacer_sent(&f->pacer, PACKET, s->now);
        f->sent += PACKET;
        forward(s, f, pn, p.ecn);
    }
}

static void receive_data(struct sim *s, struct flow *f)
{
    const struct on_way *e = fifo_top(&f->data);

    f->delivered += PACKET;
    ackrx_add(&f->rx, e->pn, true, e->mark, s->now);
    f->data.head++;
}

static void send_ack(struct sim *s, struct flow *f)
{
    struct on_way *e = fifo_add(&f->acks);
    struct wire_w w = wire_w_of(e->b, sizeof e->b);

    assert_true(ackrx_frame(&f->rx, &w, ACKRX_NO_PATH, 3, s->now, NULL));
    e->n = (uint8_t)(w.p - e->b);
    e->at = s->now + s->link.rtt / 2;
}

static void pull(struct sim *s, struct flow *f)
{
    struct verdict v;

    while (recovery_next_verdict(&f->r, &v))
        ;
    recovery_verdicts_done(&f->r, s->now);
}

static void receive_ack(struct sim *s, struct flow *f)
{
    const struct on_way *e = fifo_top(&f->acks);
    struct wire_r r = wire_r_of(e->b, e->n);
    const struct frame_row *row;
    struct frame frame;
    ns_t delay;

    assert_int_equal(frame_decode(&r, NULL, 0, LEVEL_APP, &frame, &row), 0);
    delay = frame.ack.delay * 8 * NS_PER_US;
    assert_int_equal(recovery_on_ack(&f->r, SPACE_APP, &frame.ack, delay, s->now), 0);
    pull(s, f);
    ackrx_on_ack_of_ack(&f->rx, frame.ack.largest > 2000 ? frame.ack.largest - 2000 : 0);
    f->acks.head++;
    f->seen |= 1u << f->r.cc.u.bbr.state;
}

static ns_t next_of(struct flow *f)
{
    const struct on_way *data = fifo_top(&f->data), *ack = fifo_top(&f->acks);
    ns_t at = ns_min(data ? data->at : NS_NEVER, ack ? ack->at : NS_NEVER);

    at = ns_min(at, ns_min(f->next_send, ackrx_deadline(&f->rx)));
    return ns_min(at, recovery_deadline(&f->r));
}

static void step_flow(struct sim *s, struct flow *f)
{
    while (fifo_top(&f->data) && fifo_top(&f->data)->at <= s->now)
        receive_data(s, f);
    if (ackrx_due(&f->rx, s->now))
        send_ack(s, f);
    while (fifo_top(&f->acks) && fifo_top(&f->acks)->at <= s->now)
        receive_ack(s, f);
    if (recovery_deadline(&f->r) <= s->now &&
        recovery_on_timeout(&f->r, s->now) == RECOVERY_LOSS)
        pull(s, f);
    transmit(s, f);
}

static void run_until(struct sim *s, ns_t until)
{
    for (;;) {
        ns_t at = NS_NEVER;

        for (unsigned i = 0; i < s->n; i++)
            at = ns_min(at, next_of(&s->flow[i]));
        assert_int_not_equal(at, NS_NEVER);
        if (at > until)
            break;
        s->now = ns_max(s->now, at);
        for (unsigned i = 0; i < s->n; i++)
            if (next_of(&s->flow[i]) <= s->now)
                step_flow(s, &s->flow[i]);
    }
    s->now = until;
}

static void start(struct sim *s, const struct link *link, unsigned n, uint64_t seed)
{
    memset(s, 0, sizeof *s);
    s->link = *link;
    s->n = n;
    s->rnd.state = seed;
    s->now = NS_PER_S;
    for (unsigned i = 0; i < n; i++) {
        struct flow *f = &s->flow[i];
        struct recovery_config cfg = config_of("bbr", &f->rng);

        f->rng = (struct rng){rnd_fill, &s->rnd};
        cfg.ecn = link->mark_over != 0;
        f->data.e = calloc(RING, sizeof *f->data.e);
        f->acks.e = calloc(RING, sizeof *f->acks.e);
        assert_true(f->data.e && f->acks.e);
        assert_int_equal(recovery_init(&f->r, &cfg), 0);
        recovery_set_state(&f->r, &confirmed, s->now);
        pacer_init(&f->pacer, PACKET);
        ackrx_init(&f->rx, 25 * MS);
        f->start = f->next_send = s->now;
    }
}

static void finish(struct sim *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        struct flow *f = &s->flow[i];

        assert_true(recovery_check(&f->r));
        assert_true(pacer_check(&f->pacer));
        recovery_free(&f->r);
        ackrx_free(&f->rx);
        free(f->data.e);
        free(f->acks.e);
    }
}

/* Run on for `seconds`; returns the share of the link that flow `i` had. */
static double share(struct sim *s, unsigned i, double seconds)
{
    uint64_t before = s->flow[i].delivered;

    run_until(s, s->now + (ns_t)(seconds * (double)NS_PER_S));
    return (double)(s->flow[i].delivered - before) * 8 / seconds / (double)s->link.bps;
}

static const struct cc_bbr *bbr(const struct sim *s)
{
    return &s->flow[0].r.cc.u.bbr;
}

static double queue_ns(const struct sim *s)
{
    return s->queue_sum / (double)s->forwarded;
}

#define ALL_STATES 0x7f

/* 100 Mbit/s, 50 ms, a buffer of one bandwidth-delay product (625 kB). */
static const struct link usual = {100 * MBIT, 625000, 50 * MS, 0, 0};

/* The path is full, its queue is not; all states are passed through, again and again. */
static void test_steady(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct sim s;
        double use;

        start(&s, &usual, 1, seed);
        use = share(&s, 0, 30);
        if (use < 0.95)
            print_error("use %.3f\n", use);
        assert_true(use >= 0.95 && use <= 1.0);
        assert_true(queue_ns(&s) < 0.5 * 50e6);
        assert_int_equal(s.flow[0].seen, ALL_STATES & ~(1u << BBR_PROBE_RTT));
        assert_true(s.dropped < s.forwarded / 100);
        assert_true(bbr(&s)->full_reached && bbr(&s)->base_loss < 0.002);
        assert_in_range(bbr(&s)->max_bw, 95 * MBIT, 105 * MBIT);
        assert_in_range(bbr(&s)->min_rtt, 50 * MS, 52 * MS);
        finish(&s);
    }
}

/* Startup finds the rate in a few round trips, then the queue it made is drained. */
static void test_startup(void **state)
{
    struct sim s;

    (void)state;
    start(&s, &usual, 1, 1);
    assert_int_equal(bbr(&s)->state, BBR_STARTUP);
    run_until(&s, s.now + 200 * MS);
    assert_int_equal(bbr(&s)->state, BBR_STARTUP);
    assert_true(cc_in_slow_start(&s.flow[0].r.cc));
    while (bbr(&s)->state == BBR_STARTUP && s.now < 3 * NS_PER_S)
        run_until(&s, s.now + MS);
    assert_int_equal(bbr(&s)->state, BBR_DRAIN);
    assert_true(s.now < 2 * NS_PER_S);
    assert_true(bbr(&s)->max_bw > 90 * MBIT);
    assert_false(cc_in_slow_start(&s.flow[0].r.cc));
    while (bbr(&s)->state == BBR_DRAIN && s.now < 3 * NS_PER_S)
        run_until(&s, s.now + MS);
    assert_true(bbr(&s)->state == BBR_DOWN || bbr(&s)->state == BBR_CRUISE);
    run_until(&s, s.now + 300 * MS);
    assert_int_equal(bbr(&s)->state, BBR_CRUISE);
    assert_true(ns_sub(s.link_free, s.now) < 5 * MS);
    finish(&s);
}

/* Random loss costs what it loses and little more. */
static void test_random_loss(void **state)
{
    static const struct {
        uint64_t mbit;
        unsigned loss_ppm;
        double use;
    } rows[] = {{100, 1000, 0.93},
                {100, 10000, 0.92},
                {100, 20000, 0.90},
                {100, 50000, 0.80},
                {20, 20000, 0.80}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct link l = usual;
        double use, base = (double)rows[i].loss_ppm / 1e6;
        struct sim s;

        l.bps = rows[i].mbit * MBIT;
        l.buffer = l.bps / 8 / 20;
        l.loss_ppm = rows[i].loss_ppm;
        start(&s, &l, 1, i + 1);
        use = share(&s, 0, 40);
        if (use < rows[i].use || getenv("SHOW"))
            print_error("%u Mbit/s, loss %.3f: use %.3f, base %.4f\n", (unsigned)rows[i].mbit,
                        base, use, bbr(&s)->base_loss);
        assert_true(use >= rows[i].use);
        assert_true(fabs(bbr(&s)->base_loss - base) < base / 2);
        finish(&s);
    }
}

/* The larger of two flows' shares of what both had in 100 s, after a while of convergence. */
static double larger_share(uint64_t seed, ns_t late)
{
    uint64_t before[FLOWS];
    double a, b;
    struct sim s;

    start(&s, &usual, 2, seed);
    s.flow[1].start = s.now + late;
    run_until(&s, 30 * NS_PER_S);
    before[0] = s.flow[0].delivered;
    before[1] = s.flow[1].delivered;
    run_until(&s, 130 * NS_PER_S);
    a = (double)(s.flow[0].delivered - before[0]) * 8 / 100 / (double)s.link.bps;
    b = (double)(s.flow[1].delivered - before[1]) * 8 / 100 / (double)s.link.bps;
    if (getenv("SHOW"))
        print_error("seed %u: %.3f and %.3f, queue %.1f ms\n", (unsigned)seed, a, b,
                    queue_ns(&s) / 1e6);
    assert_true(a + b > 0.9 && a + b <= 1.0);
    finish(&s);
    return (a > b ? a : b) / (a + b);
}

/*
 * Two flows that begin together share within 60:40 on average, and never as 2:1. One that
 * comes ten seconds after the other has settled may still lack some of its part.
 */
static void test_fair(void **state)
{
    double sum = 0, one;

    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        one = larger_share(seed, 0);
        assert_true(one <= 0.66);
        sum += one;
    }
    assert_true(sum / 5 <= 0.6);
    assert_true(larger_share(2, 10 * NS_PER_S) <= 0.7);
}

/* Four times the rate, and a quarter of it, are found. */
static void test_steps(void **state)
{
    struct sim s;
    double use;

    (void)state;
    start(&s, &usual, 1, 1);
    s.link.bps = 25 * MBIT;
    share(&s, 0, 10);
    s.link.bps = 100 * MBIT;
    share(&s, 0, 6);
    use = share(&s, 0, 5);
    if (use < 0.9 || getenv("SHOW"))
        print_error("up: %.3f\n", use);
    assert_true(use >= 0.9);
    s.link.bps = 25 * MBIT;
    share(&s, 0, 8);
    s.queue_sum = 0;
    s.forwarded = 0;
    use = share(&s, 0, 5);
    if (use < 0.9 || queue_ns(&s) > 100e6 || getenv("SHOW"))
        print_error("down: %.3f, queue %.1f ms\n", use, queue_ns(&s) / 1e6);
    assert_true(use >= 0.9);
    assert_in_range(bbr(&s)->max_bw, 24 * MBIT, 27 * MBIT);
    /* The buffer is 200 ms of the new rate. */
    assert_true(queue_ns(&s) < 100e6);
    finish(&s);
}

/* One lap of a path of 50 us: `bytes` sent at `now`, acknowledged together. */
static void lap(struct cc *cc, struct rate *r, uint64_t bytes, ns_t now)
{
    struct sent_packet p = {.time = now, .bytes = (uint32_t)bytes};
    struct rate_sample rs;

    rate_on_sent(r, &p, 0);
    rate_on_ack(r, &p, bytes, now + 50 * NS_PER_US, 50 * NS_PER_US, &rs);
    cc_on_ack(cc, &(struct cc_ack){.now = now + 50 * NS_PER_US,
                                   .bytes = bytes,
                                   .sent_time = now,
                                   .rtt = 50 * NS_PER_US,
                                   .smoothed = 50 * NS_PER_US,
                                   .peak = bytes,
                                   .rate = &rs});
    assert_true(cc_check(cc));
}

/* A host that is slow for some laps of a short path has not found what the path carries. */
static void test_short_laps(void **state)
{
    const uint64_t bytes = 4000 * MBIT / 8 / 20000;
    ns_t now = NS_PER_S;
    struct rate r = {0};
    struct cc cc;

    (void)state;
    assert_int_equal(cc_init(&cc, "bbr", PACKET), 0);
    for (int i = 0; i < 100; i++, now += 50 * NS_PER_US)
        lap(&cc, &r, bytes / 20, now);
    assert_int_equal(cc.u.bbr.state, BBR_STARTUP);
    for (int i = 0; i < 1000; i++, now += 50 * NS_PER_US)
        lap(&cc, &r, bytes, now);
    assert_true(cc.u.bbr.full_reached && cc.u.bbr.bw > 3900 * MBIT);
    for (int i = 0; i < 4000; i++, now += 50 * NS_PER_US)
        lap(&cc, &r, bytes / 20, now);
    assert_true(cc.u.bbr.bw > 3900 * MBIT); /* for 200 ms */
}

/* A round of 20 ms that delivers `bps`, with at most `peak` bytes in flight. */
static void one_round(struct cc *cc, uint64_t bps, bool short_of, uint64_t peak, ns_t *now)
{
    uint64_t bytes = bps / 8 / 50;
    struct rate_sample rs = {.bps = bps,
                             .delivered = bytes,
                             .prior_delivered = cc->u.bbr.delivered,
                             .in_flight = peak,
                             .interval = 20 * MS,
                             .app_limited = short_of};

    cc_on_ack(cc, &(struct cc_ack){.now = *now + 20 * MS,
                                   .bytes = bytes,
                                   .sent_time = *now,
                                   .rtt = 20 * MS,
                                   .smoothed = 20 * MS,
                                   .in_flight = peak / 2,
                                   .peak = peak,
                                   .rate = &rs});
    assert_true(cc_check(cc));
    *now += 20 * MS;
}

/*
 * The end of Startup for a path that gets what another one leaves over: it is always
 * app-limited.
 */
static void test_leftovers(void **state)
{
    ns_t now = NS_PER_S;
    struct cc cc;

    (void)state;
    assert_int_equal(cc_init(&cc, "bbr", PACKET), 0);
    for (int i = 0; i < 40; i++) /* no more on the way than it takes */
        one_round(&cc, 10 * MBIT, true, 27000, &now);
    for (int i = 0; i < 7; i++)
        one_round(&cc, 2 * MBIT, true, 60000, &now);
    one_round(&cc, 13 * MBIT, true, 60000, &now); /* the path was not full */
    for (int i = 0; i < 8; i++)
        one_round(&cc, 2 * MBIT, true, 60000, &now);
    assert_false(cc.u.bbr.full_reached);
    one_round(&cc, 2 * MBIT, true, 60000, &now);
    assert_true(cc.u.bbr.full_reached);
    /* It was a guess: a probe comes with the first round that has enough to say. */
    for (int i = 0; i < 10; i++)
        one_round(&cc, 2 * MBIT, true, 5000, &now);
    assert_true(cc.u.bbr.state == BBR_DOWN || cc.u.bbr.state == BBR_CRUISE);
    one_round(&cc, 13 * MBIT, false, 30000, &now);
    assert_int_equal(cc.u.bbr.state, BBR_REFILL);
    one_round(&cc, 13 * MBIT, false, 30000, &now);
    assert_int_equal(cc.u.bbr.state, BBR_UP);
}

/*
 * 4 Gbit/s and 50 us, each round acknowledged at once: the window is enough for hosts that
 * are away for 2 ms, and ProbeRTT doesn't come.
 */
static void test_short_path(void **state)
{
    const uint64_t bps = 4000 * MBIT, bytes = bps / 8 / 20000;
    struct cc cc;
    struct rate r = {0};
    uint64_t least = UINT64_MAX;

    (void)state;
    assert_int_equal(cc_init(&cc, "bbr", PACKET), 0);
    for (ns_t now = NS_PER_S; now < 7 * NS_PER_S; now += 50 * NS_PER_US) {
        lap(&cc, &r, bytes, now);
        assert_int_not_equal(cc.u.bbr.state, BBR_PROBE_RTT);
        if (now > 2 * NS_PER_S)
            least = cc.cwnd < least ? cc.cwnd : least;
    }
    assert_in_range(cc.u.bbr.min_rtt, 50 * NS_PER_US, 50 * NS_PER_US);
    assert_in_range(cc.u.bbr.bw, bps * 99 / 100, bps);
    assert_true(least > bps / 8 / 500 && least < bps / 8 / 100);
}

/*
 * ProbeRTT is not needed while the queue is empty now and then. When round trips stay longer it
 * cuts what is in flight, and finds that the path is.
 */
static void test_probe_rtt(void **state)
{
    struct sim s;
    unsigned times = 0;
    bool in = false;

    (void)state;
    start(&s, &usual, 1, 2);
    share(&s, 0, 21);
    assert_int_equal(s.flow[0].seen & 1u << BBR_PROBE_RTT, 0);
    s.link.rtt = 80 * MS;
    for (unsigned ms = 0; ms < 20000; ms++) {
        run_until(&s, s.now + MS);
        if (bbr(&s)->state == BBR_PROBE_RTT && !in) {
            times++;
        } else if (bbr(&s)->state == BBR_PROBE_RTT && bbr(&s)->probe_rtt_done) {
            assert_true(s.flow[0].r.bytes_in_flight <= 320000);
            assert_true(s.flow[0].r.rate.app_limited);
        }
        in = bbr(&s)->state == BBR_PROBE_RTT;
    }
    assert_in_range(times, 1, 3);
    assert_in_range(bbr(&s)->min_rtt, 80 * MS, 84 * MS);
    assert_true(share(&s, 0, 5) > 0.9);
    finish(&s);
}

/*
 * A window of its own, a little more than the pipe: what is too much waits at home, not in the
 * path.
 */
static void test_own_window(void **state)
{
    struct sim s;

    (void)state;
    start(&s, &usual, 1, 4);
    share(&s, 0, 2);
    s.flow[0].window = (uint64_t)(1.2 * 625000);
    share(&s, 0, 8);
    s.queue_sum = 0;
    s.forwarded = 0;
    assert_true(share(&s, 0, 20) > 0.95);
    assert_true(queue_ns(&s) < 3e6); /* all of it: 10 ms */
    finish(&s);
}

/* An application with little to say neither lowers the estimate nor fakes a full pipe. */
static void test_app_limited(void **state)
{
    struct sim s;
    uint64_t bw;

    (void)state;
    start(&s, &usual, 1, 3);
    s.flow[0].offer_bps = 2 * MBIT;
    share(&s, 0, 20);
    assert_false(bbr(&s)->full_reached);
    assert_int_equal(bbr(&s)->state == BBR_STARTUP || bbr(&s)->state == BBR_PROBE_RTT, true);
    s.flow[0].offer_bps = 0;
    assert_true(share(&s, 0, 5) > 0.85);
    bw = bbr(&s)->max_bw;
    assert_true(bw > 90 * MBIT);
    /* Silence, then again: at once at the known rate. */
    s.flow[0].offer_bps = 1;
    share(&s, 0, 4);
    s.flow[0].offer_bps = 0;
    s.flow[0].next_send = s.now;
    share(&s, 0, 0.2);
    assert_true(share(&s, 0, 1) > 0.9);
    assert_true(bbr(&s)->max_bw > 9 * bw / 10);
    finish(&s);
}

/* CE marks bound the model without a loss. */
static void test_ecn(void **state)
{
    struct link l = usual;
    double use;
    struct sim s;

    (void)state;
    l.mark_over = 125000; /* 10 ms */
    start(&s, &l, 1, 4);
    use = share(&s, 0, 20);
    if (use < 0.85 || getenv("SHOW"))
        print_error("ecn: %.3f, queue %.1f ms, marked %u\n", use, queue_ns(&s) / 1e6,
                    (unsigned)s.marked);
    assert_true(s.marked > 0 && s.dropped < s.forwarded / 200); /* those of Startup */
    assert_true(bbr(&s)->inflight_long != BBR_INF);
    assert_true(use > 0.85);
    finish(&s);
}

/* Say that one in ten of the packets in flight of flow 0 is lost; returns how many. */
static unsigned claim_losses(struct sim *s)
{
    struct recovery *r = &s->flow[0].r;
    unsigned n = (unsigned)(r->bytes_in_flight / PACKET / 10);

    for (unsigned i = 0; i < n; i++)
        cc_on_lost(&r->cc, &(struct cc_lost){.now = s->now,
                                             .pn = 2 * i,
                                             .bytes = PACKET,
                                             .in_flight = r->bytes_in_flight,
                                             .lost = (i + 1) * PACKET,
                                             .delivered = r->rate.delivered});
    cc_on_loss(&r->cc,
               &(struct cc_loss){
                   .now = s->now, .sent_time = s->now, .bytes = n * PACKET, .packets = n});
    return n;
}

static void withdraw(struct sim *s, unsigned n, ns_t sent)
{
    while (n--)
        cc_on_spurious(&s->flow[0].r.cc, sent);
}

/* What late packets did to the model is taken back when they arrive, in every state. */
static void test_undo(void **state)
{
    static const enum bbr_state when[] = {BBR_STARTUP, BBR_CRUISE, BBR_UP};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(when); i++) {
        uint64_t in_long, cwnd;
        struct sim s;
        unsigned n;
        ns_t sent;

        start(&s, &usual, 1, 3);
        run_until(&s, s.now + (when[i] == BBR_STARTUP ? 220 * MS : 2500 * MS));
        while (bbr(&s)->state != when[i])
            run_until(&s, s.now + MS);
        if (when[i] == BBR_UP)
            run_until(&s, s.now + 20 * MS);
        in_long = bbr(&s)->inflight_long;
        cwnd = s.flow[0].r.cc.cwnd;
        sent = s.now;
        n = claim_losses(&s);
        assert_true(n > 6);
        if (when[i] == BBR_UP)
            assert_int_equal(bbr(&s)->state, BBR_DOWN);
        run_until(&s, s.now + 120 * MS);
        if (when[i] == BBR_STARTUP)
            assert_true(bbr(&s)->full_reached && bbr(&s)->inflight_long != BBR_INF);
        if (when[i] == BBR_CRUISE)
            assert_true(bbr(&s)->bw_short != BBR_INF && bbr(&s)->inflight_short < cwnd);
        withdraw(&s, n, sent);
        assert_int_equal(bbr(&s)->bw_short, BBR_INF);
        assert_int_equal(bbr(&s)->inflight_short, BBR_INF);
        assert_true(bbr(&s)->inflight_long >= in_long);
        assert_true(s.flow[0].r.cc.cwnd >= cwnd || when[i] == BBR_UP);
        assert_int_equal(bbr(&s)->state, when[i] == BBR_UP ? BBR_REFILL : when[i]);
        share(&s, 0, 2);
        assert_true(share(&s, 0, 5) > 0.9);
        finish(&s);
    }
}

/* Slow, fast, short, shallow: never below a fair part, never in the way. */
static void test_links(void **state)
{
    static const struct {
        struct link l;
        double use;
    } rows[] = {
        {{1 * MBIT, 25000, 100 * MS, 0, 0}, 0.85},
        {{10 * MBIT, 12500, 50 * MS, 0, 0}, 0.70},
        {{100 * MBIT, 62500, 50 * MS, 0, 0}, 0.75},
        {{100 * MBIT, 5000000, 50 * MS, 0, 0}, 0.95},
        {{500 * MBIT, 250000, 2 * MS, 0, 0}, 0.90},
        {{1 * MBIT, 75000, 600 * MS, 0, 0}, 0.75},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sim s;
        double use;

        start(&s, &rows[i].l, 1, i + 1);
        use = share(&s, 0, rows[i].l.bps > 200 * MBIT ? 10 : 30);
        if (use < rows[i].use || getenv("SHOW"))
            print_error("row %zu: use %.3f, queue %.1f ms, lost %.4f\n", i, use,
                        queue_ns(&s) / 1e6, (double)s.dropped / (double)s.forwarded);
        assert_true(use >= rows[i].use);
        finish(&s);
    }
}

/* A link that dies and comes back. */
static void test_outage(void **state)
{
    struct sim s;

    (void)state;
    start(&s, &usual, 1, 6);
    share(&s, 0, 5);
    s.link.buffer = 0;
    share(&s, 0, 3);
    s.link.buffer = usual.buffer;
    while (s.flow[0].r.pto_count && s.now < 30 * NS_PER_S)
        run_until(&s, s.now + 10 * MS);
    assert_true(s.now < 20 * NS_PER_S);
    share(&s, 0, 3);
    assert_true(share(&s, 0, 4) > 0.85);
    finish(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),     cmocka_unit_test(test_sample_edges),
        cmocka_unit_test(test_startup),     cmocka_unit_test(test_steady),
        cmocka_unit_test(test_random_loss), cmocka_unit_test(test_fair),
        cmocka_unit_test(test_steps),       cmocka_unit_test(test_probe_rtt),
        cmocka_unit_test(test_own_window),  cmocka_unit_test(test_app_limited),
        cmocka_unit_test(test_leftovers),   cmocka_unit_test(test_ecn),
        cmocka_unit_test(test_links),       cmocka_unit_test(test_outage),
        cmocka_unit_test(test_undo),        cmocka_unit_test(test_short_path),
        cmocka_unit_test(test_short_laps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
