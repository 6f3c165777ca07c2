#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "quic/cc.h"
#include "test/quic_rand.h"

#define MS  NS_PER_MS
#define MSS 1200

static struct cc make(const char *name)
{
    struct cc cc;

    assert_int_equal(cc_init(&cc, name, MSS), 0);
    assert_true(cc_check(&cc));
    return cc;
}

/* Acknowledge `bytes` that were sent `rtt` ago. */
static void ack(struct cc *cc, ns_t now, uint64_t bytes, ns_t rtt, bool limited)
{
    struct cc_ack a = {.now = now,
                       .bytes = bytes,
                       .growing = cc_in_recovery(cc, now - rtt) ? 0 : bytes,
                       .sent_time = now - rtt,
                       .rtt = rtt,
                       .smoothed = rtt,
                       .cwnd_limited = limited};

    cc_on_ack(cc, &a);
    assert_true(cc_check(cc));
}

static void lose(struct cc *cc, ns_t now, ns_t sent_time, uint32_t packets)
{
    struct cc_loss l = {now, sent_time, (uint64_t)packets * MSS, packets};

    cc_on_loss(cc, &l);
    assert_true(cc_check(cc));
}

/* ---- common -------------------------------------------------------------------------- */

static void test_windows(void **state)
{
    /* RFC 9002 7.2: ten datagrams, at most 14720 bytes or two datagrams. */
    static const struct {
        size_t mss;
        uint64_t initial;
    } rows[] = {{1200, 12000}, {1252, 12520}, {1472, 14720}, {1500, 14720}, {9000, 18000}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cc cc;

        assert_int_equal(cc_init(&cc, NULL, rows[i].mss), 0);
        assert_string_equal(cc.ops->name, "cubic");
        assert_int_equal(cc_cwnd(&cc), rows[i].initial);
        assert_int_equal(cc_min_window(&cc), 2 * rows[i].mss);
        assert_true(cc_in_slow_start(&cc));
        assert_false(cc_in_recovery(&cc, 0));
    }
    struct cc cc = make("newreno");

    cc_set_mss(&cc, 1452); /* still the initial one: it follows */
    assert_int_equal(cc_cwnd(&cc), 14520);
    ack(&cc, 100 * MS, 1452, 50 * MS, true);
    cc_set_mss(&cc, 1200);
    assert_int_equal(cc_cwnd(&cc), 14520 + 1452); /* a window that was earned stays */
    cc_set_mss(&cc, 65000);
    assert_int_equal(cc_cwnd(&cc), 130000);
    assert_true(cc_check(&cc));
    assert_int_equal(cc_init(&cc, "reno", 1200), QUIC_INVAL);
    assert_int_equal(cc_init(&cc, NULL, 1199), QUIC_INVAL);
}

static void test_pacing(void **state)
{
    struct cc cc = make(NULL);

    (void)state;
    assert_int_equal(cc_pacing_bps(&cc, 0), 0);
    /* 12000 bytes in 100 ms, twice as fast: 1.92 Mbit/s. */
    assert_int_equal(cc_pacing_bps(&cc, 100 * MS), 1920001);
    lose(&cc, 10 * MS, 5 * MS, 1);
    cc.cwnd = 12000;
    assert_int_equal(cc_pacing_bps(&cc, 100 * MS), 1200001);
    cc.cwnd = (uint64_t)1 << 30;
    assert_int_equal(cc_pacing_bps(&cc, 1), (uint64_t)1e12); /* bounded */
    assert_true(cc_pacing_bps(&cc, NS_NEVER - 1) > 0);
}

/* Once per round trip, whatever is lost; both controllers. */
static void test_one_event(void **state)
{
    static const char *const names[] = {"cubic", "newreno"};
    static const uint64_t beta[] = {7, 5};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct cc cc = make(names[i]);
        uint64_t reduced;

        cc.cwnd = 100000;
        lose(&cc, 100 * MS, 60 * MS, 1);
        reduced = 100000 * beta[i] / 10;
        assert_int_equal(cc_cwnd(&cc), reduced);
        assert_int_equal(cc.ssthresh, reduced);
        lose(&cc, 101 * MS, 100 * MS, 5); /* sent before, or at, the beginning of recovery */
        assert_int_equal(cc_cwnd(&cc), reduced);
        ack(&cc, 110 * MS, 5000, 50 * MS, true); /* no growth by what was sent before */
        assert_int_equal(cc_cwnd(&cc), reduced);
        lose(&cc, 150 * MS, 100 * MS + 1, 1);
        assert_int_equal(cc_cwnd(&cc), reduced * beta[i] / 10);
        /* Down to two datagrams and no further. */
        for (ns_t t = 200; t < 8000; t += 100)
            lose(&cc, t * MS, t * MS - MS, 1);
        assert_int_equal(cc_cwnd(&cc), 2 * MSS);
        /* ECN counts as an event, too. */
        cc.cwnd = 50000;
        cc_on_ecn(&cc, &(struct cc_loss){9000 * MS, 8999 * MS, 0, 0});
        assert_int_equal(cc_cwnd(&cc), 50000 * beta[i] / 10);
        cc_on_ecn(&cc, &(struct cc_loss){9001 * MS, 8999 * MS, 0, 0});
        assert_int_equal(cc_cwnd(&cc), 50000 * beta[i] / 10);
        cc_on_persistent(&cc);
        assert_int_equal(cc_cwnd(&cc), 2 * MSS);
        assert_true(cc_in_slow_start(&cc));
        ack(&cc, 9100 * MS, 1200, 50 * MS, true);
        assert_int_equal(cc_cwnd(&cc), 3 * MSS);
    }
}

/* A reduction is taken back when every loss behind it was none. */
static void test_spurious(void **state)
{
    static const char *const names[] = {"cubic", "newreno"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct cc cc = make(names[i]);
        uint64_t reduced;

        cc.cwnd = 100000;
        lose(&cc, 100 * MS, 60 * MS, 2);
        lose(&cc, 101 * MS, 70 * MS, 1);
        reduced = cc_cwnd(&cc);
        cc_on_spurious(&cc, 60 * MS);
        cc_on_spurious(&cc, 61 * MS);
        cc_on_spurious(&cc, 200 * MS); /* has nothing to do with it */
        assert_int_equal(cc_cwnd(&cc), reduced);
        cc_on_spurious(&cc, 70 * MS);
        assert_int_equal(cc_cwnd(&cc), 100000);
        assert_true(cc_in_slow_start(&cc));
        cc_on_spurious(&cc, 70 * MS); /* once */
        assert_int_equal(cc_cwnd(&cc), 100000);
        /* A mark can't be taken back, nor what came before it. */
        lose(&cc, 200 * MS, 190 * MS, 1);
        cc_on_ecn(&cc, &(struct cc_loss){300 * MS, 290 * MS, 0, 0});
        reduced = cc_cwnd(&cc);
        cc_on_spurious(&cc, 290 * MS);
        cc_on_spurious(&cc, 190 * MS);
        assert_int_equal(cc_cwnd(&cc), reduced);
    }
}

/* Of two events in a row each is taken back, but the first one only when the second is. */
static void test_spurious_twice(void **state)
{
    static const char *const names[] = {"cubic", "newreno"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        for (unsigned way = 0; way < 5; way++) {
            struct cc cc = make(names[i]);
            uint64_t once, twice;

            cc.cwnd = 100000;
            lose(&cc, 100 * MS, 60 * MS, 1);
            lose(&cc, 110 * MS, 70 * MS, 1); /* the same one */
            once = cc_cwnd(&cc);
            lose(&cc, 150 * MS, 140 * MS, 2);
            lose(&cc, 160 * MS, 90 * MS, 1); /* of the first one, which is found late */
            twice = cc_cwnd(&cc);
            assert_true(twice < once && once < 100000);
            for (ns_t t = 60; way != 1 && t <= 90; t += way == 4 ? 20 : 10)
                if (t != 80)
                    cc_on_spurious(&cc, t * MS);
            assert_int_equal(cc_cwnd(&cc), twice);
            if (way == 0)
                continue;
            cc_on_spurious(&cc, 120 * MS);
            assert_int_equal(cc_cwnd(&cc), twice);
            if (way == 3) /* a third one: the first is forgotten */
                lose(&cc, 250 * MS, 240 * MS, 1);
            cc_on_spurious(&cc, 140 * MS);
            if (way == 3)
                cc_on_spurious(&cc, 240 * MS);
            assert_int_equal(cc_cwnd(&cc), way == 2 ? 100000 : once);
            if (way != 1)
                continue;
            for (ns_t t = 60; t <= 90; t += t == 70 ? 20 : 10)
                cc_on_spurious(&cc, t * MS);
            assert_int_equal(cc_cwnd(&cc), 100000);
            assert_true(cc_in_slow_start(&cc));
        }
    }
}

static void test_newreno(void **state)
{
    struct cc cc = make("newreno");
    uint64_t cwnd;

    (void)state;
    ack(&cc, 100 * MS, 5000, 50 * MS, true);
    assert_int_equal(cc_cwnd(&cc), 17000);
    ack(&cc, 101 * MS, 5000, 50 * MS, false); /* the window wasn't in use */
    assert_int_equal(cc_cwnd(&cc), 17000);
    lose(&cc, 200 * MS, 150 * MS, 1);
    cwnd = cc_cwnd(&cc);
    assert_int_equal(cwnd, 8500);
    /* One datagram for each window of bytes. */
    ack(&cc, 300 * MS, 8499, 50 * MS, true);
    assert_int_equal(cc_cwnd(&cc), cwnd);
    ack(&cc, 301 * MS, 1, 50 * MS, true);
    assert_int_equal(cc_cwnd(&cc), cwnd + MSS);
    ack(&cc, 302 * MS, 9699, 50 * MS, false);
    assert_int_equal(cc_cwnd(&cc), cwnd + MSS);
    ack(&cc, 303 * MS, 30000, 50 * MS, true);
    assert_int_equal(cc_cwnd(&cc), cwnd + 3 * MSS);
}

/* ---- CUBIC: RFC 9438, formulas worked out here in segments and seconds ---------------- */

/* A stage after a loss at `w` segments with round trips of `rtt` seconds, per segment. */
struct formula {
    double w_max, k, w_est, prior, cwnd;
};

static struct formula stage(double w, double w_max_before)
{
    struct formula f = {.prior = w, .cwnd = w * 0.7};

    f.w_max = w < w_max_before ? w * 1.7 / 2 : w;
    f.k = cbrt((f.w_max - f.cwnd) / 0.4);
    f.w_est = f.cwnd;
    return f;
}

/* One acknowledged segment, `t` seconds into the stage. */
static void formula_ack(struct formula *f, double t, double rtt)
{
    double w = 0.4 * pow(t - f->k, 3) + f->w_max;
    double target = 0.4 * pow(t + rtt - f->k, 3) + f->w_max;

    f->w_est += (f->w_est >= f->prior ? 1.0 : 3 * 0.3 / 1.7) / f->cwnd;
    if (w < f->w_est) {
        f->cwnd = fmax(f->cwnd, f->w_est);
        return;
    }
    target = fmin(fmax(target, f->cwnd), 1.5 * f->cwnd);
    f->cwnd += (target - f->cwnd) / f->cwnd;
}

/* Send a window per round trip for `seconds`; compare all along. */
static void follow(double segments, double w_max_before, ns_t rtt, double seconds)
{
    struct cc cc = make("cubic");
    struct formula f = stage(segments, w_max_before);
    ns_t start = 1000 * MS, now = start + rtt + 1, epoch = 0;

    cc.cwnd = (uint64_t)(segments * MSS);
    cc.ssthresh = 2 * MSS; /* it has left slow start */
    cc.u.cubic.now.w_max = (uint64_t)(w_max_before * MSS);
    lose(&cc, start, start - rtt, 1);
    while (now < start + (ns_t)(seconds * 1e9)) {
        ns_t step = (ns_t)((double)rtt / ((double)cc.cwnd / MSS)); /* evenly spaced */

        now += step ? step : 1;
        epoch = epoch ? epoch : now;
        ack(&cc, now, MSS, rtt, true);
        formula_ack(&f, (double)(now - epoch) / 1e9, (double)rtt / 1e9);
        assert_true(fabs((double)cc.cwnd / MSS - f.cwnd) < 0.01 * f.cwnd + 0.5);
    }
    /* The formula itself has come round: the plateau, or Reno's line, was reached. */
    assert_true(f.cwnd > f.w_max);
}

static void test_cubic_formula(void **state)
{
    (void)state;
    follow(1000, 0, 100 * MS, 14);   /* concave, then convex: K is 9.1 s */
    follow(1000, 2000, 100 * MS, 9); /* fast convergence: K is 7.2 s */
    follow(100, 0, 50 * MS, 8);
    follow(100, 0, 2 * MS, 1.5); /* Reno-friendly nearly at once */
    follow(20, 0, 10 * MS, 2);
}

/* The shape that the RFC promises: flat at w_max after K seconds, faster afterwards. */
static void test_cubic_shape(void **state)
{
    struct cc cc = make("cubic");
    ns_t rtt = 100 * MS, now;
    double k = cbrt(1000 * 0.3 / 0.4), at_k = 0, before = 0, after = 0;

    (void)state;
    cc.cwnd = 1000 * MSS;
    lose(&cc, 0, 0, 1);
    for (now = 1; now < (ns_t)(2.2 * k * 1e9); now += rtt) {
        for (uint64_t left = cc.cwnd; left >= MSS; left -= MSS)
            ack(&cc, now, MSS, 0, true);
        before = now < (ns_t)((k - 2) * 1e9) ? (double)cc.cwnd / MSS : before;
        at_k = now < (ns_t)(k * 1e9) ? (double)cc.cwnd / MSS : at_k;
        after = (double)cc.cwnd / MSS;
    }
    assert_true(fabs(at_k - 1000) < 5);
    assert_true(before > 980 && before < 1000);
    assert_true(after > 1000 + 0.4 * pow(1.1 * k, 3) && after < 1000 + 0.4 * pow(1.3 * k, 3));
}

/* Time without use of the window does not count (RFC 9438 4.2, 5.8). */
static void test_cubic_limited(void **state)
{
    uint64_t window[2];

    (void)state;
    for (int idle = 0; idle < 2; idle++) {
        struct cc cc = make("cubic");
        ns_t now = 1000 * MS;

        cc.cwnd = 500 * MSS;
        lose(&cc, now, now, 1);
        for (int i = 0; i < 3000; i++)
            ack(&cc, now += MS, 5 * MSS, 0, true);
        for (int i = 0; idle && i < 20000; i++) {
            uint64_t before = cc.cwnd;

            ack(&cc, now += MS, MSS, 0, false);
            assert_int_equal(cc.cwnd, before);
        }
        for (int i = 0; i < 3000; i++)
            ack(&cc, now += MS, 5 * MSS, 0, true);
        window[idle] = cc.cwnd;
    }
    assert_true(window[0] > 490 * MSS);
    assert_true(window[1] <= window[0] + MSS && window[1] + MSS >= window[0]);
}

/* ---- HyStart++: RFC 9406 -------------------------------------------------------------- */

/* A round trip in slow start with the smallest RTT `rtt`; a window is acknowledged. */
static ns_t round_of(struct cc *cc, ns_t now, ns_t rtt, const struct rate_sample *sample)
{
    uint64_t left = cc->cwnd;

    for (int i = 0; i < 10; i++) {
        uint64_t n = i < 9 ? cc->cwnd / 100 * 10 : left;
        struct cc_ack a = {.now = now + rtt + (ns_t)i,
                           .bytes = n < left ? n : left,
                           .growing = n < left ? n : left,
                           .sent_time = now + (ns_t)i,
                           .rtt = rtt + (ns_t)(i % 3) * MS,
                           .smoothed = rtt,
                           .cwnd_limited = true,
                           .rate = sample};

        left -= a.bytes;
        cc_on_ack(cc, &a);
    }
    return now + rtt + 10;
}

static ns_t round_trip(struct cc *cc, ns_t now, ns_t rtt)
{
    return round_of(cc, now, rtt, NULL);
}

static void test_hystart(void **state)
{
    struct cc cc = make("cubic");
    ns_t now = 1000 * MS;
    uint64_t cwnd;

    (void)state;
    for (int i = 0; i < 4; i++) { /* flat: it doubles */
        cwnd = cc.cwnd;
        now = round_trip(&cc, now, 50 * MS);
        assert_true(cc.cwnd == 2 * cwnd);
        assert_int_equal(cc.hystart.css_baseline, NS_NEVER);
    }
    /* 5 ms are less than an eighth of 50. */
    now = round_trip(&cc, now, 55 * MS);
    assert_int_equal(cc.hystart.css_baseline, NS_NEVER);
    now = round_trip(&cc, now, 65 * MS); /* 10 ms more: conservative from here on */
    assert_int_equal(cc.hystart.css_baseline, 65 * MS);
    cwnd = cc.cwnd;
    now = round_trip(&cc, now, 66 * MS);
    assert_true(cc.cwnd > cwnd + cwnd / 5 && cc.cwnd <= cwnd + cwnd / 4);
    assert_true(cc_in_slow_start(&cc));
    now = round_trip(&cc, now, 60 * MS); /* it was none: back to doubling */
    assert_int_equal(cc.hystart.css_baseline, NS_NEVER);
    cwnd = cc.cwnd;
    now = round_trip(&cc, now, 60 * MS);
    assert_true(cc.cwnd == 2 * cwnd);
    /* Now it is one, and lasts: five rounds, the first of them the one it was found in. */
    now = round_trip(&cc, now, 90 * MS);
    for (int i = 0; i < 4; i++) {
        assert_true(cc_in_slow_start(&cc));
        now = round_trip(&cc, now, 91 * MS);
    }
    cwnd = cc.cwnd;
    now = round_trip(&cc, now, 91 * MS);
    assert_false(cc_in_slow_start(&cc));
    assert_true(cc.cwnd < cwnd + cwnd / 10); /* CUBIC from a plateau (RFC 9438 4.10) */
    assert_false(cc.hystart.on);
    /* After a collapse plain slow start is used. */
    lose(&cc, now, now, 1);
    cc_on_persistent(&cc);
    round_trip(&cc, now, 200 * MS);
    assert_int_equal(cc.cwnd, 4 * MSS);
}

/* Fewer than eight samples in a round say nothing. */
static void test_hystart_samples(void **state)
{
    struct cc cc = make("newreno");
    ns_t now = 1000 * MS;

    (void)state;
    for (ns_t rtt = 20; rtt < 600; rtt += 20) {
        for (int i = 0; i < 7; i++)
            ack(&cc, now + rtt * MS + (ns_t)i, 100, rtt * MS, true);
        now += rtt * MS + 10;
    }
    assert_true(cc.hystart.on);
    assert_int_equal(cc.hystart.css_baseline, NS_NEVER);
}

/* A delay that rises while there is nothing more to send is not of our making. */
static void test_hystart_app_limited(void **state)
{
    const struct rate_sample limited = {.app_limited = true};
    struct cc cc = make("cubic");
    ns_t now = 1000 * MS;

    (void)state;
    for (ns_t rtt = 30; rtt < 130; rtt += 20) {
        now = round_of(&cc, now, rtt * MS, &limited);
        assert_int_equal(cc.hystart.css_baseline, NS_NEVER);
    }
    cc.cwnd = 20 * MSS;
    now = round_trip(&cc, now, 150 * MS); /* no baseline yet: from 110 it would be a rise */
    assert_int_equal(cc.hystart.css_baseline, NS_NEVER);
    now = round_trip(&cc, now, 30 * MS);
    now = round_trip(&cc, now, 40 * MS);
    assert_int_equal(cc.hystart.css_baseline, 40 * MS);
    for (int i = 0; i < 10; i++) /* and no such round counts for leaving */
        now = round_of(&cc, now, 41 * MS, &limited);
    assert_true(cc_in_slow_start(&cc) && cc.hystart.on);
    now = round_of(&cc, now, 35 * MS, &limited); /* but it may end the suspicion */
    assert_int_equal(cc.hystart.css_baseline, NS_NEVER);
}

/* Slow start that ended for nothing goes on as it was, HyStart++ included (RFC 9438 4.9.2). */
static void test_hystart_undo(void **state)
{
    static const char *const names[] = {"cubic", "newreno"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct cc cc = make(names[i]);
        ns_t now = round_trip(&cc, 1000 * MS, 50 * MS);
        uint64_t cwnd = cc.cwnd;

        lose(&cc, now, now - 10 * MS, 2);
        assert_true(cc.cwnd < cwnd && !cc.hystart.on);
        cc_on_spurious(&cc, now - 10 * MS);
        cc_on_spurious(&cc, now - 10 * MS);
        assert_int_equal(cc.cwnd, cwnd);
        assert_true(cc_in_slow_start(&cc) && cc.hystart.on);
        now = round_trip(&cc, now, 50 * MS);
        now = round_trip(&cc, now, 90 * MS);
        assert_int_equal(cc.hystart.css_baseline, 90 * MS);
    }
}

/* Anything at all in any order keeps the invariant. */
static void test_random(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct cc cc = make(seed % 2 ? "cubic" : "newreno");
        struct rnd rnd = {seed};
        ns_t now = 1;

        for (int i = 0; i < 3000; i++) {
            ns_t rtt = rnd_below(&rnd, 300 * MS), back = rnd_below(&rnd, 300 * MS);

            now += rnd_below(&rnd, 20 * MS);
            switch (rnd_below(&rnd, 30)) {
            case 0:
                lose(&cc, now, now - (back < now ? back : now),
                     (uint32_t)rnd_below(&rnd, 50) + 1);
                break;
            case 1:
                cc_on_spurious(&cc, now - (back < now ? back : now));
                break;
            case 2:
                cc_on_ecn(&cc, &(struct cc_loss){now, now - (back < now ? back : now), 0, 0});
                break;
            case 3:
                if (rnd_chance(&rnd, 1, 10))
                    cc_on_persistent(&cc);
                break;
            case 4:
                cc_set_mss(&cc, 1200 + rnd_below(&rnd, 300));
                break;
            default:
                if (rtt < now)
                    ack(&cc, now, rnd_below(&rnd, cc.cwnd + 1), rtt, rnd_chance(&rnd, 4, 5));
                break;
            }
            assert_true(cc_check(&cc));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_windows),         cmocka_unit_test(test_pacing),
        cmocka_unit_test(test_one_event),       cmocka_unit_test(test_spurious),
        cmocka_unit_test(test_spurious_twice),  cmocka_unit_test(test_newreno),
        cmocka_unit_test(test_cubic_formula),   cmocka_unit_test(test_cubic_shape),
        cmocka_unit_test(test_cubic_limited),   cmocka_unit_test(test_hystart),
        cmocka_unit_test(test_hystart_samples), cmocka_unit_test(test_hystart_app_limited),
        cmocka_unit_test(test_hystart_undo),    cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
