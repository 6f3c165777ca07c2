/* The language of emulated links, and that each figure does what it says. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "app/wan_spec.h"

#define MS NS_PER_MS

static const struct {
    const char *line;
    enum wan_verb verb;
    const char *name;
    ns_t at, every;
    bool up, down;
} good[] = {
    // clang-format off
    {"",                              WAN_NONE,    "",  0, 0, true, true},
    {"  \t # all of it",              WAN_NONE,    "",  0, 0, true, true},
    {"link a c/w0 s/w0",              WAN_LINK,    "a", 0, 0, true, true},
    {"link a -/w0 s/w0 rate 5mbit\r", WAN_LINK,    "a", 0, 0, true, true},
    {"set a rate 0 # free",           WAN_SET,     "a", 0, 0, true, true},
    {"set a delay 5ms jitter 5ms",    WAN_SET,     "a", 0, 0, true, true},
    {"set a jitter 5ms",              WAN_SET,     "a", 0, 0, true, true},
    {"cut a",                         WAN_CUT,     "a", 0, 0, true, true},
    {"cut a up",                      WAN_CUT,     "a", 0, 0, true, false},
    {"restore a.b-c_1 down",          WAN_RESTORE, "a.b-c_1", 0, 0, false, true},
    {"unplug a",                      WAN_UNPLUG,  "a", 0, 0, true, true},
    {"plug a",                        WAN_PLUG,    "a", 0, 0, true, true},
    {"stats",                         WAN_STATS,   "",  0, 0, true, true},
    {"quit",                          WAN_QUIT,    "",  0, 0, true, true},
    {"at 1.5s cut a",                 WAN_CUT,     "a", 1500 * MS, 0, true, true},
    {"at 0 every 20ms stats",         WAN_STATS,   "",  0, 20 * MS, true, true},
    // clang-format on
};

static const char *const refused[] = {
    "lnk a c/w0 s/w0",
    "link",
    "link a",
    "link a c/w0",
    "link a c s",
    "link a c/ s/w",
    "link a /w s/w",
    "link a ../w s/w",
    "link a c/w0123456789abcdef s/w",
    "link a c/w0 s/w0 rate",
    "link a c/w0 s/w0 rate 5",
    "link a c/w0 s/w0 rate -5mbit",
    "link a c/w0 s/w0 rate 0x5mbit",
    "link a c/w0 s/w0 rate 1e30gbit",
    "link a c/w0 s/w0 rate nanmbit",
    "link a c/w0 s/w0 delay 5",
    "link a c/w0 s/w0 delay 5 ms",
    "link a c/w0 s/w0 delay 100000s",
    "link a c/w0 s/w0 jitter 5ms",
    "link a c/w0 s/w0 delay 4ms jitter 5ms",
    "link a c/w0 s/w0 loss 0.5",
    "link a c/w0 s/w0 loss 101%",
    "link a c/w0 s/w0 burst 0",
    "link a c/w0 s/w0 burst 1.5",
    "link a c/w0 s/w0 queue 0",
    "link a c/w0 s/w0 queue 5",
    "link a c/w0 s/w0 mtu 1279",
    "link a c/w0 s/w0 colour blue",
    "at 1s link a c/w0 s/w0",
    "set a mtu 1500",
    "set",
    "cut",
    "cut /etc",
    "cut a sideways",
    "cut a up down",
    "stats all",
    "at",
    "at noon cut a",
    "at 1s",
    "at 1s every",
    "at 1s every 0 cut a",
    "at 1s every 1us cut a",
    "at 1s at 2s cut a",
};

static void test_orders(void **state)
{
    struct wan_order o;
    char why[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        why[0] = 0;
        if (wan_order_read(good[i].line, &o, why, sizeof(why)))
            fail_msg("\"%s\": %s", good[i].line, why);
        assert_int_equal(o.verb, good[i].verb);
        assert_string_equal(o.name, good[i].name);
        assert_int_equal(o.at, good[i].at);
        assert_int_equal(o.every, good[i].every);
        assert_int_equal(o.dir[0], good[i].up);
        assert_int_equal(o.dir[1], good[i].down);
    }
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        why[0] = 0;
        if (wan_order_read(refused[i], &o, why, sizeof(why)) != QUIC_INVAL || !why[0])
            fail_msg("\"%s\" was taken, or without a reason", refused[i]);
    }
}

/* Lines of any bytes and of any length end well. */
static void test_hostile(void **state)
{
    static const char *const words[] = {"link", "a",     "c/w", "at",   "1s",   "every", "set",
                                        "rate", "5mbit", "up",  "loss", "0.5%", "\xff",  "#",
                                        "mtu",  "1500",  "-",   "/",    "%n%s", "-1"};
    char line[4096], why[32];
    uint64_t random = 1;

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        struct wan_order o;
        unsigned n;

        line[0] = 0;
        random = random * 6364136223846793005u + 1442695040888963407u;
        n = (unsigned)(random >> 33) % 40;
        for (unsigned k = 0; k < n; k++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            strcat(line, words[(random >> 33) % ARRAY_LEN(words)]);
            if (random >> 63)
                strcat(line, " ");
        }
        wan_order_read(line, &o, why, sizeof(why));
        assert_true(o.verb <= WAN_QUIT);
    }
    memset(line, 'a', sizeof(line));
    line[sizeof(line) - 1] = 0;
    for (size_t i = 1; i < sizeof(line) - 1; i += 2)
        line[i] = ' ';
    assert_int_equal(wan_order_read(line, &(struct wan_order){0}, why, sizeof(why)),
                     QUIC_INVAL);
}

static void read_ok(const char *words, struct wan_shape s[2], unsigned *mtu)
{
    char why[256] = "";

    if (wan_shape_read(words, s, mtu, why, sizeof(why)))
        fail_msg("\"%s\": %s", words, why);
}

static void test_shapes(void **state)
{
    struct wan_shape s[2];
    char why[256];
    unsigned mtu = 1500;

    (void)state;
    wan_shape_default(s);
    read_ok("rate 50mbit delay 20ms jitter 5ms reorder loss 0.5% burst 8 queue 30ms mtu 1400 "
            "down rate 800kbit queue 64kB order",
            s, &mtu);
    assert_int_equal(mtu, 1400);
    assert_int_equal(s[0].rate_bps, 50000000);
    assert_int_equal(s[0].delay, 15 * MS); /* the middle of 15..25 ms is 20 */
    assert_int_equal(s[0].jitter, 10 * MS);
    assert_int_equal(s[0].loss_ppm, 5000);
    assert_int_equal(s[0].loss_burst, 8);
    assert_int_equal(s[0].queue_time, 30 * MS);
    assert_int_equal(s[0].queue_bytes, 0);
    assert_true(s[0].reorder && !s[1].reorder);
    assert_int_equal(s[1].rate_bps, 800000);
    assert_int_equal(s[1].queue_bytes, 64000);
    assert_int_equal(s[1].queue_time, 0);
    assert_int_equal(s[1].delay, 15 * MS);

    /* What is not named stays; the delay moves with its jitter, and the other way round. */
    read_ok("up delay 40ms", s, NULL);
    assert_int_equal(s[0].delay, 35 * MS);
    assert_int_equal(s[0].jitter, 10 * MS);
    assert_int_equal(s[0].rate_bps, 50000000);
    assert_int_equal(s[1].delay, 15 * MS);
    read_ok("jitter 0", s, NULL);
    assert_int_equal(s[0].delay, 40 * MS);
    assert_int_equal(s[1].delay, 20 * MS);

    /* A bad word late in the line changes nothing. */
    assert_int_equal(wan_shape_read("rate 1mbit loss much", s, NULL, why, sizeof(why)),
                     QUIC_INVAL);
    assert_int_equal(s[0].rate_bps, 50000000);
}

/* What arrives, by what was written: `packets` of 1000 bytes at `gap`. */
struct measured {
    double rate_bps, loss, run, delay_min, delay_max, delay_mean;
    unsigned swaps;
};

static struct measured measure(const char *words, unsigned packets, ns_t gap)
{
    struct measured m = {.delay_min = 1e18};
    struct wan_shape s[2];
    struct wan_core c;
    uint8_t buf[1000] = {0};
    uint32_t last = 0, got = 0, lost = 0, runs = 0;
    ns_t first = 0, end = 0;
    bool *here = calloc(packets, sizeof(*here));

    assert_non_null(here);
    wan_shape_default(s);
    read_ok(words, s, NULL);
    wan_core_init(&c, &s[0], 11);
    for (unsigned i = 0; i <= packets; i++) {
        ns_t now = i < packets ? i * gap : NS_NEVER / 2;
        struct wan_pkt *p;

        while ((p = wan_core_get(&c, now))) {
            uint32_t tag;
            double delay;

            memcpy(&tag, p->p, sizeof(tag));
            delay = (double)(p->at - tag * gap);
            m.delay_min = fmin(m.delay_min, delay);
            m.delay_max = fmax(m.delay_max, delay);
            m.delay_mean += delay;
            m.swaps += tag < last;
            last = tag;
            here[tag] = true;
            first = got++ ? first : p->at;
            end = p->at;
            free(p);
        }
        memcpy(buf, &i, sizeof(i));
        if (i < packets)
            wan_core_put(&c, buf, sizeof(buf), now);
    }
    for (unsigned i = 0; i < packets; i++) {
        lost += !here[i];
        runs += !here[i] && (i == 0 || here[i - 1]);
    }
    m.delay_mean /= got ? got : 1;
    m.rate_bps = end > first ? (got - 1) * 8e3 * 1e9 / (double)(end - first) : 0;
    m.loss = (double)lost / packets;
    m.run = runs ? (double)lost / runs : 0;
    wan_core_free(&c);
    free(here);
    return m;
}

static bool near(double got, double want, double share)
{
    return fabs(got - want) <= want * share;
}

static void test_figures(void **state)
{
    struct measured m;

    (void)state;
    /* Offered 80 Mbit/s: 50 come through, the rest is dropped after 50 ms of queue. */
    m = measure("rate 50mbit delay 20ms", 20000, 100000);
    assert_true(near(m.rate_bps, 50e6, 0.001));
    assert_true(near(m.loss, 30.0 / 80 - 312.0 / 20000, 0.02));
    assert_true(near(m.delay_max, 70e6, 0.01));
    m = measure("rate 50mbit delay 20ms queue 10kB", 20000, 100000);
    assert_true(near(m.delay_max, 20e6 + 10 * 160e3, 0.01));
    /* A delay that varies keeps its mean, and the order if told so. */
    m = measure("delay 20ms jitter 5ms reorder", 20000, 100000);
    assert_true(near(m.delay_min, 15e6, 0.01) && near(m.delay_max, 25e6, 0.01));
    assert_true(near(m.delay_mean, 20e6, 0.01));
    assert_true(m.swaps > 1000);
    m = measure("delay 20ms jitter 5ms", 20000, 100000);
    assert_true(m.delay_min >= 15e6 && m.delay_max <= 25e6 && m.swaps == 0);
    assert_true(m.loss == 0);
    /* Losses, one by one and in bursts. */
    m = measure("loss 0.5%", 400000, 1000);
    assert_true(near(m.loss, 0.005, 0.1) && near(m.run, 1, 0.1));
    m = measure("loss 2% burst 8", 400000, 1000);
    assert_true(near(m.loss, 0.02, 0.15) && near(m.run, 8, 0.15));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_orders),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_figures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
