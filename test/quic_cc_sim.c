/*
 * Loss recovery, congestion control, pacer and acknowledgements in a closed loop over a
 * bottleneck, in virtual time, without packets or a connection:
 *
 *     sender -> [queue] -> rate -> delay -> receiver (ackrx) -> delay -> sender
 *
 * The properties asserted hold for any sane implementation: a large share of the link is
 * used, nothing is called lost that wasn't, the window is respected.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>

#include "quic/ackrx.h"
#include "quic/pacer.h"
#include "test/quic_rand.h"
#include "test/quic_recovery.h"

#define MBIT   ((uint64_t)1000000)
#define PACKET 1200
#define QUEUE  (1u << 17) /* events in flight */

struct link {
    const char *cc;
    uint64_t bps;
    ns_t rtt;
    uint64_t buffer;    /* bytes in front of the bottleneck */
    unsigned loss_ppm;  /* of data packets, at random */
    ns_t reorder;       /* up to so much more delay for one packet in a hundred */
    uint64_t offer_bps; /* what the application has to send; 0: no end of it */
    unsigned seconds;
    /* what comes out at least and at most */
    double utilisation;
    double lost, spurious; /* shares of packets sent, at most */
};

/* Data packets and ACK frames in flight, by time of arrival: a binary heap each. */
struct event {
    ns_t at;
    uint64_t pn; /* data */
    uint8_t n;   /* bytes of an ACK frame */
    uint8_t b[200];
};

struct heap {
    struct event **e;
    size_t n;
};

struct sim {
    const struct link *link;
    struct recovery r;
    struct pacer pacer;
    struct ackrx rx;
    struct heap data, acks;
    struct rnd rnd;
    struct rng rng;
    ns_t now, link_free, next_send;
    uint64_t offered, sent, delivered, dropped, peak;
};

static struct event *heap_top(const struct heap *h)
{
    return h->n ? h->e[0] : NULL;
}

static struct event *heap_add(struct heap *h, ns_t at)
{
    struct event *e = calloc(1, sizeof *e);
    size_t i = h->n++;

    assert_non_null(e);
    assert_true(h->n <= QUEUE);
    e->at = at;
    for (; i && h->e[(i - 1) / 2]->at > at; i = (i - 1) / 2)
        h->e[i] = h->e[(i - 1) / 2];
    h->e[i] = e;
    return e;
}

static void heap_pop(struct heap *h)
{
    struct event *last = h->e[--h->n];
    size_t i = 0, kid;

    free(h->e[0]);
    while ((kid = 2 * i + 1) < h->n) {
        if (kid + 1 < h->n && h->e[kid + 1]->at < h->e[kid]->at)
            kid++;
        if (last->at <= h->e[kid]->at)
            break;
        h->e[i] = h->e[kid];
        i = kid;
    }
    if (h->n)
        h->e[i] = last;
}

/* Through the bottleneck, or into the bin. */
static void forward(struct sim *s, uint64_t pn, uint32_t bytes)
{
    const struct link *l = s->link;
    ns_t start = ns_max(s->now, s->link_free);
    uint64_t queued = (start - s->now) * (l->bps / 1000) / 8 / 1000000;
    ns_t at;

    if (queued + bytes > l->buffer) {
        s->dropped++;
        return;
    }
    s->link_free = start + (ns_t)bytes * 8 * NS_PER_S / l->bps;
    if (rnd_below(&s->rnd, 1000000) < l->loss_ppm) {
        s->dropped++;
        return;
    }
    at = s->link_free + l->rtt / 2;
    if (l->reorder && rnd_chance(&s->rnd, 1, 100))
        at += rnd_below(&s->rnd, l->reorder);
    heap_add(&s->data, at)->pn = pn;
}

static bool has_data(struct sim *s)
{
    if (s->link->offer_bps)
        s->offered = s->now / 1000 * (s->link->offer_bps / 1000) / 8000;
    return !s->link->offer_bps || s->offered >= s->sent + PACKET;
}

static void transmit(struct sim *s)
{
    bool probe = recovery_probes(&s->r, SPACE_APP) > 0;

    s->next_send = NS_NEVER;
    pacer_rate(&s->pacer, recovery_pacing_bps(&s->r), s->now);
    while (probe || (recovery_room(&s->r) >= PACKET && has_data(s))) {
        uint64_t pn = recovery_next_pn(&s->r, SPACE_APP);

        if (!probe && !pacer_ready(&s->pacer, s->now)) {
            s->next_send = pacer_next(&s->pacer);
            break;
        }
        assert_int_equal(send_packet(&s->r, SPACE_APP, pn, SENT_ELICITING, PACKET, s->now), 0);
        pacer_sent(&s->pacer, PACKET, s->now);
        s->sent += PACKET;
        forward(s, pn, PACKET);
        if (s->r.bytes_in_flight > s->peak)
            s->peak = s->r.bytes_in_flight;
        assert_true(probe || s->r.bytes_in_flight <= cc_cwnd(&s->r.cc));
        probe = recovery_probes(&s->r, SPACE_APP) > 0;
    }
    if (s->link->offer_bps && !has_data(s))
        s->next_send = s->now + MS;
}

static void receive_data(struct sim *s)
{
    struct event *e = heap_top(&s->data);

    s->delivered += PACKET;
    ackrx_add(&s->rx, e->pn, true, 0, s->now);
    heap_pop(&s->data);
}

static void send_ack(struct sim *s)
{
    struct event *e = heap_add(&s->acks, s->now + s->link->rtt / 2);
    struct wire_w w = wire_w_of(e->b, sizeof e->b);

    assert_true(ackrx_frame(&s->rx, &w, ACKRX_NO_PATH, 3, s->now, NULL));
    e->n = (uint8_t)(w.p - e->b);
}

static void receive_ack(struct sim *s)
{
    struct event *e = heap_top(&s->acks);
    struct wire_r r = wire_r_of(e->b, e->n);
    const struct frame_row *row;
    struct frame f;
    struct verdict v;

    assert_int_equal(frame_decode(&r, NULL, 0, LEVEL_APP, &f, &row), 0);
    assert_int_equal(
        recovery_on_ack(&s->r, SPACE_APP, &f.ack, f.ack.delay * 8 * NS_PER_US, s->now), 0);
    while (recovery_next_verdict(&s->r, &v))
        ;
    recovery_verdicts_done(&s->r, s->now);
    ackrx_on_ack_of_ack(&s->rx, f.ack.largest > 1000 ? f.ack.largest - 1000 : 0);
    heap_pop(&s->acks);
    if (rnd_chance(&s->rnd, 1, 5000))
        assert_true(recovery_check(&s->r));
}

/* Do everything that is due at the earliest instant at which anything is. */
static void step(struct sim *s)
{
    const struct event *data = heap_top(&s->data), *ack = heap_top(&s->acks);
    ns_t at = ns_min(data ? data->at : NS_NEVER, ack ? ack->at : NS_NEVER);
    struct verdict v;

    at = ns_min(at, ns_min(s->next_send, ackrx_deadline(&s->rx)));
    at = ns_min(at, recovery_deadline(&s->r));
    assert_int_not_equal(at, NS_NEVER); /* it would stand still for ever */
    s->now = ns_max(s->now, at);
    if (data && data->at <= s->now)
        receive_data(s);
    if (ackrx_due(&s->rx, s->now))
        send_ack(s);
    if (ack && ack->at <= s->now)
        receive_ack(s);
    if (recovery_deadline(&s->r) <= s->now &&
        recovery_on_timeout(&s->r, s->now) == RECOVERY_LOSS) {
        while (recovery_next_verdict(&s->r, &v))
            ;
        recovery_verdicts_done(&s->r, s->now);
    }
    transmit(s);
}

static void run(const struct link *l, uint64_t seed, struct sim *s)
{
    struct recovery_config cfg = config_of(l->cc, NULL);

    memset(s, 0, sizeof *s);
    s->rnd.state = seed;
    s->rng = (struct rng){rnd_fill, &s->rnd};
    cfg.rng = &s->rng;
    s->link = l;
    s->data.e = calloc(QUEUE, sizeof *s->data.e);
    s->acks.e = calloc(QUEUE, sizeof *s->acks.e);
    assert_int_equal(recovery_init(&s->r, &cfg), 0);
    recovery_set_state(&s->r, &confirmed, 0);
    pacer_init(&s->pacer, PACKET);
    ackrx_init(&s->rx, 25 * MS);
    transmit(s);
    while (s->now < l->seconds * NS_PER_S)
        step(s);
    assert_true(recovery_check(&s->r));
    assert_true(pacer_check(&s->pacer));
    assert_true(ackrx_check(&s->rx));
}

static void finish(struct sim *s)
{
    while (heap_top(&s->data))
        heap_pop(&s->data);
    while (heap_top(&s->acks))
        heap_pop(&s->acks);
    free(s->data.e);
    free(s->acks.e);
    recovery_free(&s->r);
    ackrx_free(&s->rx);
}

/* The bandwidth-delay product of 100 Mbit/s and 50 ms is 625 kB. */
/* clang-format off */
static const struct link links[] = {
    /* cc       rate          rtt      buffer   loss  reorder   offer     s  use   lost  late */
    {"cubic",   100 * MBIT,   50 * MS,  625000,    0, 0,        0,        20, 0.90, 0.02, 0},
    {"cubic",   100 * MBIT,   50 * MS,  150000,    0, 0,        0,        20, 0.85, 0.02, 0},
    {"cubic",   100 * MBIT,   50 * MS,  5000000,   0, 0,        0,        20, 0.90, 0.03, 0},
    {"newreno", 100 * MBIT,   50 * MS,  625000,    0, 0,        0,        20, 0.85, 0.02, 0},
    {"cubic",   1000 * MBIT,  NS_PER_MS / 5, 200000, 0, 0,      0,         2, 0.90, 0.02, 0},
    {"cubic",   1000 * MBIT,  10 * MS,  1250000,   0, 0,        0,         4, 0.90, 0.02, 0},
    {"cubic",   10 * MBIT,    100 * MS, 125000,    0, 0,        0,        30, 0.90, 0.03, 0},
    {"cubic",   1 * MBIT,     600 * MS, 75000,     0, 0,        0,        60, 0.80, 0.05, 0},
    {"cubic",   100 * MBIT,   20 * MS,  250000,   20, 0,        0,        20, 0.70, 0.02, 0},
    {"cubic",   100 * MBIT,   20 * MS,  250000,    0, 15 * MS,  0,        10, 0.30, 0.10, 0.10},
    {"cubic",   100 * MBIT,   50 * MS,  625000,    0, 0, 10 * MBIT,        20, 0.09, 0.00, 0},
};
/* clang-format on */

static void test_links(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(links); i++) {
        const struct link *l = &links[i];
        struct sim s;
        double capacity = (double)l->bps / 8 * l->seconds, use, lost, spurious;

        run(l, 7 + i, &s);
        use = (double)s.delivered / capacity;
        lost = (double)s.r.packets_lost / (double)s.r.packets_sent;
        spurious = (double)s.r.packets_spurious / (double)s.r.packets_sent;
        if (use < l->utilisation || lost > l->lost || spurious > l->spurious)
            print_error("%s %d Mbit/s %d us: use %.3f lost %.4f spurious %.4f\n", l->cc,
                        (int)(l->bps / MBIT), (int)(l->rtt / 1000), use, lost, spurious);
        assert_true(use >= l->utilisation && use <= 1.0);
        assert_true(lost <= l->lost);
        assert_true(spurious <= l->spurious);
        /* What was called lost was lost, if nothing was reordered. */
        if (!l->reorder)
            assert_true(s.r.packets_lost <= s.dropped);
        /* A sender who has little to send gathers no window to burst with. */
        if (l->offer_bps)
            assert_true(cc_cwnd(&s.r.cc) <= 2 * s.peak + 10 * PACKET && s.peak < 200000);
        finish(&s);
    }
}

/* A link that dies and comes back: probes keep it alive, and it recovers. */
static void test_outage(void **state)
{
    static const struct link good = {"cubic", 20 * MBIT, 30 * MS, 75000, 0, 0, 0, 5, 0, 0, 0};
    static const struct link dead = {"cubic", 20 * MBIT, 30 * MS, 0, 0, 0, 0, 9, 0, 0, 0};
    struct sim s;
    uint64_t delivered;
    ns_t since;

    (void)state;
    run(&good, 3, &s);
    delivered = s.delivered;
    assert_true((double)delivered > 0.85 * 20e6 / 8 * 5);
    s.link = &dead;
    while (s.now < 9 * NS_PER_S)
        step(&s);
    assert_true(s.r.pto_count > 2);
    assert_true(s.delivered < delivered + 300000);
    /* The probe timeout has doubled up to the length of the outage, about, and not more. */
    s.link = &good;
    while (s.r.pto_count)
        step(&s);
    assert_true(s.now < 9 * NS_PER_S + 2 * 4 * NS_PER_S);
    assert_int_equal(cc_cwnd(&s.r.cc), cc_min_window(&s.r.cc)); /* persistent congestion */
    since = s.now;
    delivered = s.delivered;
    while (s.now < since + 5 * NS_PER_S)
        step(&s);
    assert_true((double)(s.delivered - delivered) > 0.85 * 20e6 / 8 * 5);
    assert_true(recovery_check(&s.r));
    finish(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_outage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
