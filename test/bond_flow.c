/*
 * One inner flow over a tunnel of one or several links: what it sees of their delays, losses
 * and ends.
 */
#include "test/bond.h"

#define START 3.0 /* seconds in which the flow proves bulky */

/* What the flow has seen from here on. */
struct seen {
    uint64_t missing, overtaken, dropped, bytes;
};

static struct seen seen(const struct bond *b)
{
    const struct queue_stats *q = &b->end[SERVER]->s.sender.queue.stats;

    return (struct seen){b->end[SERVER]->missing, b->end[SERVER]->overtaken,
                         q->dropped_codel + q->dropped_full + q->dropped_old,
                         b->w.xfer.bytes[1]};
}

static struct seen since(const struct bond *b, struct seen then)
{
    struct seen now = seen(b);

    return (struct seen){now.missing - then.missing, now.overtaken - then.overtaken,
                         now.dropped - then.dropped, now.bytes - then.bytes};
}

/* A download without end. */
static void start(struct bond *b)
{
    bond_endless(b, false, true);
    bond_start(b);
    bond_seconds(b, START);
}

static const struct numbered *sender_of(const struct bond *b)
{
    return b->end[SERVER]->s.numbered;
}

static const struct numbered *receiver_of(const struct bond *b)
{
    return b->end[CLIENT]->s.numbered;
}

/* A single link has to lose some before its flow is numbered; what was lost till then is gone. */
static void until_numbered(struct bond *b)
{
    for (int i = 0; i < 50 && sender_of(b)->stats.heads == 0; i++)
        bond_seconds(b, 0.1);
    bond_seconds(b, 0.5);
}

/*
 * All of the flow came in order, and nothing is lost but what our queue has dropped; and a
 * packet of 5000 at most, whose copies were lost too until it was given up.
 */
static void whole(struct bond *b, struct seen s)
{
    const struct reseq_stats *in = &receiver_of(b)->reseq.stats;
    uint64_t given = in->given_floor + in->given_time;

    WORLD_CHECK(&b->w, s.overtaken == 0);
    WORLD_CHECK(&b->w, s.missing >= s.dropped && s.missing <= s.dropped + given);
    WORLD_CHECK(&b->w, given <= sender_of(b)->stats.heads / 5000 && !in->given_memory);
    WORLD_CHECK(&b->w, s.bytes > 0 && !b->w.xfer.bad_bytes);
    WORLD_CHECK(&b->w, reseq_check(&receiver_of(b)->reseq));
    WORLD_CHECK(&b->w, repair_check(&sender_of(b)->repair));
}

/* Let what is under way arrive: nobody sends any more. */
static void settle(struct bond *b)
{
    for (size_t i = 0; i < b->w.xfer.n_ends; i++)
        quic_close(b->w.xfer.end[i].conn, 0, "", b->w.sim.now);
    bond_seconds(b, 2);
}

/* Two links of different delay carry one flow together, in order. */
static void striped(uint64_t seed)
{
    struct bond b;
    struct seen s;

    bond_init(&b, seed, 2);
    bond_link(&b, 1, 20, 25, 2, 0);
    start(&b);
    s = seen(&b);
    bond_seconds(&b, 5);
    s = since(&b, s);
    settle(&b);
    WORLD_CHECK(&b.w, s.overtaken == 0);
    WORLD_CHECK(&b.w, s.bytes * 8 > 5 * 26000000u); /* one alone: 18 */
    for (int i = 0; i < 2; i++)
        WORLD_CHECK(&b.w, b.link[i][DOWN]->node.bytes > 4u << 20);
    WORLD_CHECK(&b.w, sender_of(&b)->stats.heads > 10000 && sender_of(&b)->stats.reports > 10);
    bond_free(&b);
}

static void test_striped(void **state)
{
    (void)state;
    world_each_seed(2, striped);
}

/* Links as unlike as they come add up for one flow, and soon. */
static void sum(uint64_t seed)
{
    static const struct {
        unsigned mbps[2], ms[2];
    } pairs[] = {{{75, 20}, {10, 30}}, {{50, 50}, {20, 40}}, {{50, 12}, {10, 10}}};

    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        struct bond b;
        struct seen s;
        double mbps;

        bond_init(&b, seed, 2);
        for (size_t k = 0; k < 2; k++)
            bond_link(&b, k, pairs[i].mbps[k], pairs[i].ms[k], 0, 0);
        start(&b);
        bond_seconds(&b, 3);
        s = seen(&b);
        bond_seconds(&b, 6);
        mbps = (double)since(&b, s).bytes * 8e-6 / 6;
        if (getenv("V"))
            printf("%llu: %.1f of %u+%u Mbit/s\n", (unsigned long long)seed, mbps,
                   pairs[i].mbps[0], pairs[i].mbps[1]);
        /* 0.92 is what the headers leave; one loss of the flow's own costs it some seconds. */
        WORLD_CHECK(&b.w, mbps > 0.78 * (pairs[i].mbps[0] + pairs[i].mbps[1]));
        bond_free(&b);
    }
}

static void test_sum(void **state)
{
    (void)state;
    world_each_seed(1, sum);
}

/*
 * A flow in slow start keeps the round trip of the fastest link while that finds out what it
 * carries, and so gets far: the link beside it has 20 ms more delay, each way, and what follows
 * one packet over it waits.
 */
static void slow_start(uint64_t seed)
{
    struct bond b;

    bond_init(&b, seed, 2);
    bond_link(&b, 0, 300, 10, 0, 0);
    bond_link(&b, 1, 80, 30, 0, 0);
    bond_endless(&b, false, true);
    bond_start(&b);
    bond_seconds(&b, 0.25);
    /* Packets; 710 if the other link takes part from the start. */
    WORLD_CHECK(&b.w, sender_of(&b)->stats.heads > 1500);
    bond_free(&b);
}

static void test_slow_start(void **state)
{
    (void)state;
    world_each_seed(2, slow_start);
}

/*
 * What a link loses, the flow never sees: one of two, or the only one. And most of that is made
 * of the other packets before it could be sent again, so that the flow hardly waits.
 */
static void lossy(uint64_t seed)
{
    for (size_t lanes = 1; lanes <= 2; lanes++) {
        struct bond b;
        struct seen s;

        bond_init(&b, seed, lanes);
        bond_link(&b, 0, 20, 10, 0, 10000);
        bond_link(&b, lanes - 1, 20, 15, 0, lanes == 1 ? 10000 : 0);
        start(&b);
        until_numbered(&b);
        s = seen(&b);
        bond_seconds(&b, 5);
        settle(&b);
        whole(&b, since(&b, s));
        WORLD_CHECK(&b.w, b.link[0][DOWN]->lost > 20);
        WORLD_CHECK(&b.w, sender_of(&b)->repair.stats.resent > 20);
        WORLD_CHECK(&b.w, receiver_of(&b)->parity_in.recovered * 4 >
                              sender_of(&b)->repair.stats.lost * 3);
        WORLD_CHECK(&b.w, lanes > 1 || receiver_of(&b)->reseq.stats.held * 3 <
                                           receiver_of(&b)->reseq.stats.passed);
        bond_free(&b);
    }
}

static void test_lossy(void **state)
{
    (void)state;
    world_each_seed(2, lossy);
}

/* A single link that has shown that it loses nothing: nothing is numbered or kept. */
static void clean(uint64_t seed)
{
    uint64_t heads;
    struct bond b;

    bond_init(&b, seed, 1);
    bond_link(&b, 0, 20, 10, 0, 0);
    b.link[0][DOWN]->queue = 1u << 20; /* and none by overflow */
    start(&b);
    bond_seconds(&b, 2);
    heads = sender_of(&b)->stats.heads;
    WORLD_CHECK(&b.w, heads < 2 * LOOKOUT_PROOF);
    bond_seconds(&b, 1);
    WORLD_CHECK(&b.w, b.w.xfer.bytes[1] > 4u << 20);
    WORLD_CHECK(&b.w, sender_of(&b)->stats.heads == heads);
    WORLD_CHECK(&b.w, !sender_of(&b)->repair.bytes && receiver_of(&b)->reseq.bytes < 1024);
    bond_free(&b);
}

static void test_clean(void **state)
{
    (void)state;
    world_each_seed(2, clean);
}

/*
 * While BBR holds back to see the shortest round trip the queue's clock stands, and packets
 * leave all the same; while no path answers it stands, and none leaves.
 */
static void held(uint64_t seed)
{
    struct quic_path_view v;
    struct bond b;
    const struct sender *s;
    unsigned seen_held = 0;
    uint64_t left = 0;

    bond_init(&b, seed, 1);
    start(&b);
    b.link[0][DOWN]->delay += 5 * NS_PER_MS; /* so that ProbeRTT is needed to believe it */
    s = &b.end[SERVER]->s.sender;
    for (int i = 0; i < 1200 && seen_held < 20; i++) {
        if (seen_held == 0)
            left = s->queue.stats.popped;
        bond_seconds(&b, 0.01);
        assert_int_equal(quic_path_view(s->quic, 0, b.w.sim.now, &v), 0);
        seen_held = v.held_back && s->queue.count > 0 ? seen_held + 1 : 0;
        WORLD_CHECK(&b.w, seen_held < 3 || s->queue.paused); /* looked at every LOOKOUT_SOON */
    }
    WORLD_CHECK(&b.w, seen_held == 20 && s->queue.stats.popped > left);
    b.cut[0][UP] = b.cut[0][DOWN] = true;
    bond_seconds(&b, 1);
    left = s->queue.stats.popped;
    bond_seconds(&b, 0.5);
    WORLD_CHECK(&b.w, s->queue.paused && s->queue.count > 0 && s->queue.stats.popped == left);
    bond_free(&b);
}

static void test_held(void **state)
{
    (void)state;
    world_each_seed(2, held);
}

/* CoDel allows a bulk flow half a round trip. */
static void test_target(void **state)
{
    static const unsigned delay[] = {5, 25, 90}, least[] = {15, 25, 40}, most[] = {15, 28, 40};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(delay); i++) {
        struct bond b;

        bond_init(&b, 1, 1);
        bond_link(&b, 0, 20, delay[i], 0, 0);
        bond_start(&b);
        bond_seconds(&b, 0.5);
        assert_in_range(b.end[SERVER]->s.sender.queue.target[SCHED_BULK], least[i] * NS_PER_MS,
                        most[i] * NS_PER_MS);
        bond_free(&b);
    }
}

/* One end does not know numbered flows: plain packets, each flow on a link. */
static void unknown(uint64_t seed)
{
    for (int side = CLIENT; side < SIDES; side++) {
        struct bond b;

        bond_init(&b, seed, 2);
        b.plain[side] = true;
        start(&b);
        WORLD_CHECK(&b.w, !sender_of(&b) && !receiver_of(&b));
        WORLD_CHECK(&b.w, b.w.xfer.bytes[1] > 2u << 20 && !b.w.xfer.bad_bytes);
        WORLD_CHECK(&b.w,
                    b.end[SERVER]->overtaken < b.end[SERVER]->entered / 10); /* it moved once */
        bond_free(&b);
    }
}

static void test_unknown(void **state)
{
    (void)state;
    world_each_seed(2, unknown);
}

/* A link is cut in the middle, or its path abandoned: the flow goes on whole. */
static void ends(uint64_t seed)
{
    for (int how = 0; how < 2; how++) {
        struct bond b;
        struct seen s;

        bond_init(&b, seed, 2);
        start(&b);
        s = seen(&b);
        bond_seconds(&b, 1);
        if (how)
            b.cut[1][UP] = b.cut[1][DOWN] = true;
        else
            WORLD_CHECK(&b.w, mp_abandon(b.end[seed % 2]->s.quic, 1,
                                         MP_APPLICATION_ABANDON_PATH, b.w.sim.now) == 0);
        bond_wake(b.end[seed % 2]);
        bond_seconds(&b, 2);
        settle(&b);
        whole(&b, since(&b, s));
        WORLD_CHECK(&b.w, sender_of(&b)->repair.stats.resent > 0);
        bond_free(&b);
    }
}

static void test_ends(void **state)
{
    (void)state;
    world_each_seed(2, ends);
}

/* Nothing passes for two seconds: no end spins meanwhile (BOND_BUSY), and the flow goes on. */
static void silence(uint64_t seed)
{
    struct bond b;
    struct seen s;

    bond_init(&b, seed, 2);
    start(&b);
    WORLD_CHECK(&b.w, sender_of(&b)->stats.heads > 0);
    memset(b.cut, true, sizeof(b.cut));
    bond_seconds(&b, 2);
    WORLD_CHECK(&b.w, !repair_holds_any(&sender_of(&b)->repair));
    memset(b.cut, false, sizeof(b.cut));
    bond_seconds(&b, 1);
    s = seen(&b);
    bond_seconds(&b, 2);
    s = since(&b, s);
    WORLD_CHECK(&b.w, s.bytes > 1u << 20 && !b.w.xfer.bad_bytes);
    bond_free(&b);
}

static void test_silence(void **state)
{
    (void)state;
    world_each_seed(2, silence);
}

/* Heads that are none are counted and dropped, and the tunnel goes on. */
static void test_malformed(void **state)
{
    static uint8_t bad[][12] = {{0, 2},
                                {0, 2, 0, 0, 0, 1},
                                {0, 2, 0xc0, 0, 0, 0, 0, 0, 0, 0, 1},
                                {0, 2, 5, 0, 0, 0, 0, 0, 0, 0},
                                {0, 2, 0x82, 0, 0, 0, 0, 0, 0, 0, 1}};
    static const size_t n[] = {2, 6, 11, 10, 11};
    static uint8_t buf[65536];
    struct bond b;

    (void)state;
    bond_init(&b, 1, 2);
    start(&b);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct quic_train t = {.buf = buf, .cap = sizeof(buf), .max_count = 1};
        struct quic_dgram d = {.p = bad[i], .n = n[i]};
        struct sim_packet *p;

        assert_int_equal(quic_dgram_send(b.end[CLIENT]->s.quic, 0, &t, &d, 1, b.w.sim.now), 1);
        p = sim_packet_new(t.buf, t.len);
        p->src = bond_route(0).local;
        p->dst = bond_route(0).remote;
        bond_put(b.end[SERVER], 0, p);
    }
    bond_seconds(&b, 1);
    assert_int_equal(sender_of(&b)->stats.malformed, ARRAY_LEN(bad));
    assert_true(quic_is_established(b.end[CLIENT]->s.quic));
    bond_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_striped),    cmocka_unit_test(test_sum),
        cmocka_unit_test(test_slow_start), cmocka_unit_test(test_lossy),
        cmocka_unit_test(test_clean),      cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_target),     cmocka_unit_test(test_held),
        cmocka_unit_test(test_ends),       cmocka_unit_test(test_silence),
        cmocka_unit_test(test_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
