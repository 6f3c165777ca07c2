/*
 * micro_ack - what acknowledgements cost both sides, per packet.
 *
 *     recovery loss=P every=N flight=F   sender: recovery_next_pn, sent_begin and
 *                                        recovery_on_sent for each packet, recovery_on_ack
 *                                        and the verdicts for each ACK; per packet sent
 *     ackrx loss=P every=N               receiver: ackrx_seen, ackrx_add, ackrx_frame; per
 *                                        packet received
 *
 * P percent of the packets are lost, at places drawn once; an ACK comes for every N packets
 * that arrive (and, with N below a train, at once for a gap), F packets after what it is
 * about. Packets are DATAGRAMs of 1200 bytes without records, in trains of TRAIN; time is
 * virtual, a train a millisecond. No packet number is passed over.
 *
 * The sender's ACKs are made beforehand by a receiver and read by frame_decode, so neither
 * is in its figure. Losses repeat after CYCLE trains and with them the ACKs, but for their
 * largest number: what is made for the second cycle serves all later ones.
 */
#include "bench/bench.h"

#include "quic/ackrx.h"
#include "quic/recovery.h"

#include <string.h>

#define TRAIN       45
#define CYCLE       100              /* trains */
#define PERIOD      (CYCLE * TRAIN)  /* packets */
#define STEP        (1 * NS_PER_MS)  /* from train to train */
#define MAX_DELAY   (25 * NS_PER_MS) /* of the receiver */
#define EXPONENT    3
#define ASK_RANGES  8  /* a receiver asks for an ACK of its own when it reports so many */
#define ASK_ACKS    32 /* or has sent so many ACKs */
#define ANSWER      8  /* trains until that comes */
#define RANGE_BYTES 8  /* on the wire, at most */

static bool lost[PERIOD];

/* ---- the receiver -------------------------------------------------------------------- */

struct receiver {
    struct ackrx rx;
    unsigned every;
    uint64_t train;            /* the next one */
    unsigned acks;             /* since the last that wanted an answer */
    uint64_t asked, answer_at; /* the ACK of ours that wants an answer, and when it comes */
};

/* An ACK frame as the sender gets it. */
struct ack {
    struct frame_ack ack;
    uint8_t ranges[ACKRX_SENT * RANGE_BYTES];
};

/* The ACKs of the first and of any later cycle, by train. */
static struct ack_list {
    struct ack *ack;
    size_t n;
} acks[2 * CYCLE];

static void receiver_init(struct receiver *r, unsigned every)
{
    *r = (struct receiver){.every = every, .asked = UINT64_MAX};
    ackrx_init(&r->rx, MAX_DELAY);
    r->rx.tolerance = every;
}

/* The answer to an ACK of ours that came with a PING, and the next such ACK. */
static void ask(struct receiver *r, uint64_t largest)
{
    if (r->asked != UINT64_MAX && r->train >= r->answer_at) {
        ackrx_on_ack_of_ack(&r->rx, r->asked);
        r->asked = UINT64_MAX;
    }
    r->acks++;
    if (r->asked == UINT64_MAX &&
        (r->acks >= ASK_ACKS || ackrx_range_count(&r->rx) >= ASK_RANGES)) {
        r->asked = largest;
        r->answer_at = r->train + ANSWER;
        r->acks = 0;
    }
}

/* Remember the frame of `n` bytes as one of the train that has come last. */
static void keep(struct ack_list *list, const uint8_t *p, size_t n, uint64_t cycle)
{
    struct wire_r r = wire_r_of(p, n);
    const struct frame_row *row;
    struct frame f;
    struct ack *a;

    list->ack = realloc(list->ack, (list->n + 1) * sizeof(*list->ack));
    BENCH_CHECK(list->ack && frame_decode(&r, NULL, 0, LEVEL_APP, &f, &row) == 0);
    BENCH_CHECK(row->first == FRAME_ACK && f.ack.ranges.n <= sizeof(a->ranges));
    a = &list->ack[list->n++];
    a->ack = f.ack;
    a->ack.largest -= cycle * PERIOD;
    memcpy(a->ranges, f.ack.ranges.p, f.ack.ranges.n);
}

/* One train arrives. Its ACKs go to `list`, if there is one. */
static void receive(struct receiver *r, struct ack_list *list)
{
    uint64_t pn = r->train * TRAIN, cycle = r->train / CYCLE, largest;
    ns_t now = (r->train + 1) * STEP;

    for (size_t i = 0; i < TRAIN; i++, pn++) {
        uint8_t out[1200];
        struct wire_w w = wire_w_of(out, sizeof(out));

        if (!lost[pn % PERIOD])
            BENCH_CHECK(!ackrx_seen(&r->rx, pn) && ackrx_add(&r->rx, pn, true, 0, now) == 0);
        /* A train is one batch; fewer packets than that come one by one. */
        if (!(r->every < TRAIN ? ackrx_due(&r->rx, now) : i + 1 == TRAIN))
            continue;
        BENCH_CHECK(ackrx_frame(&r->rx, &w, ACKRX_NO_PATH, EXPONENT, now, &largest));
        ask(r, largest);
        if (list)
            keep(list, out, (size_t)(w.p - out), cycle);
    }
    r->train++;
}

/* Fill `acks`. */
static void make_acks(unsigned every)
{
    struct receiver r;

    receiver_init(&r, every);
    for (size_t i = 0; i < 2 * CYCLE; i++) {
        acks[i].n = 0;
        receive(&r, &acks[i]);
        for (size_t k = 0; k < acks[i].n; k++)
            acks[i].ack[k].ack.ranges.p = acks[i].ack[k].ranges;
    }
    BENCH_CHECK(ackrx_check(&r.rx));
    ackrx_free(&r.rx);
}

static void run_receiver(void *ctx, uint64_t n)
{
    while (n--)
        receive(ctx, NULL);
}

/* ---- the sender ---------------------------------------------------------------------- */

struct sender {
    struct recovery r;
    uint64_t train;       /* the next one */
    uint64_t delay;       /* trains from a packet to its ACK */
    uint64_t acked, gone; /* verdicts */
};

static void send_train(struct sender *s, ns_t now)
{
    const struct sent_packet pkt = {.time = now,
                                    .bytes = 1200,
                                    .flags = SENT_ELICITING | SENT_IN_FLIGHT,
                                    .ack_largest = SENT_NO_ACK};

    for (int i = 0; i < TRAIN; i++) {
        uint64_t pn = recovery_next_pn(&s->r, SPACE_APP);

        BENCH_CHECK(sent_begin(&s->r.space[SPACE_APP].sent, pn) == 0);
        recovery_on_sent(&s->r, SPACE_APP, &pkt);
    }
}

/* The ACKs for train `t` arrive. */
static void hear(struct sender *s, uint64_t t, ns_t now)
{
    uint64_t cycle = t / CYCLE;
    const struct ack_list *list = &acks[t % CYCLE + (cycle ? CYCLE : 0)];
    struct verdict v;

    for (size_t i = 0; i < list->n; i++) {
        struct frame_ack a = list->ack[i].ack;

        a.largest += cycle * PERIOD;
        BENCH_CHECK(recovery_on_ack(&s->r, SPACE_APP, &a, 0, now) == 0);
        while (recovery_next_verdict(&s->r, &v)) {
            s->acked += v.fate == VERDICT_ACKED;
            s->gone += v.fate == VERDICT_LOST;
        }
        recovery_verdicts_done(&s->r, now);
    }
}

static void run_sender(void *ctx, uint64_t n)
{
    struct sender *s = ctx;

    for (; n--; s->train++) {
        ns_t now = (s->train + 1) * STEP;

        send_train(s, now);
        if (s->train >= s->delay)
            hear(s, s->train - s->delay, now);
    }
}

/* How many of the first `n` packets are lost. */
static uint64_t lost_of(uint64_t n)
{
    uint64_t whole = 0, part = 0;

    for (size_t i = 0; i < PERIOD; i++) {
        whole += lost[i];
        part += i < n % PERIOD && lost[i];
    }
    return n / PERIOD * whole + part;
}

/* Every packet that was heard of got its verdict; the latest few may still wait for it. */
static void verify(const struct sender *s, unsigned every)
{
    uint64_t heard = (s->train - s->delay) * TRAIN, gone = lost_of(heard);

    BENCH_CHECK(s->acked <= heard - gone && s->acked + every > heard - gone);
    BENCH_CHECK(s->gone <= gone && s->gone + REORDER_PACKETS >= gone);
    BENCH_CHECK(s->r.packets_spurious == 0 && recovery_check(&s->r));
}

static void bench_sender(unsigned percent, unsigned every, uint64_t delay)
{
    static struct sender s;
    const struct recovery_config cfg = {.max_datagram = 1200};
    const struct recovery_state state = {.server = true,
                                         .handshake_keys = true,
                                         .peer_validated = true,
                                         .confirmed = true,
                                         .max_ack_delay = MAX_DELAY};
    const struct bench b = {.run = run_sender, .ctx = &s};

    s = (struct sender){.delay = delay};
    BENCH_CHECK(recovery_init(&s.r, &cfg) == 0);
    recovery_set_state(&s.r, &state, STEP);
    run_sender(&s, delay + CYCLE); /* until packets leave as fast as they come */
    printf("recovery loss=%u every=%u flight=%llu ns=%.1f\n", percent, every,
           (unsigned long long)delay * TRAIN, bench_ns(&b) / TRAIN);
    verify(&s, every);
    recovery_free(&s.r);
}

static void bench_receiver(unsigned percent, unsigned every)
{
    struct receiver r;
    const struct bench b = {.run = run_receiver, .ctx = &r};
    double each = (double)TRAIN * (double)(PERIOD - lost_of(PERIOD)) / PERIOD;

    receiver_init(&r, every);
    printf("ackrx loss=%u every=%u ns=%.1f\n", percent, every, bench_ns(&b) / each);
    BENCH_CHECK(ackrx_check(&r.rx));
    ackrx_free(&r.rx);
}

/* Lose `percent` of the packets, by splitmix64. */
static void draw_losses(unsigned percent)
{
    uint64_t seed = 1;

    memset(lost, 0, sizeof(lost));
    for (unsigned left = PERIOD * percent / 100; left > 0;) {
        uint64_t z = seed += 0x9e3779b97f4a7c15;

        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        z = (z ^ z >> 31) % PERIOD;
        left -= !lost[z];
        lost[z] = true;
    }
}

int main(void)
{
    static const unsigned every[] = {TRAIN, 2};
    static const uint64_t delay[] = {8, 400};

    for (unsigned percent = 0; percent <= 1; percent++) {
        draw_losses(percent);
        for (size_t e = 0; e < ARRAY_LEN(every); e++) {
            make_acks(every[e]);
            for (size_t d = 0; d < ARRAY_LEN(delay); d++)
                bench_sender(percent, every[e], delay[d]);
            bench_receiver(percent, every[e]);
            fflush(stdout);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(acks); i++)
        free(acks[i].ack);
    return 0;
}
