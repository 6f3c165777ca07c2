/* sched and minrtt: which path and how much, by tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "sched/sched.h"

#define MS NS_PER_MS

/* A path that would take anything: validated, measured, roomy. */
static struct sched_path path(uint32_t id, ns_t srtt)
{
    return (struct sched_path){.path = id,
                               .usable = true,
                               .srtt = srtt,
                               .min_rtt = srtt,
                               .cwnd_bytes = 1 << 20,
                               .room_bytes = 1 << 20,
                               .mtu_bytes = 1400};
}

static void choice(void **state)
{
    enum { NONE = 99 };
    static const struct {
        const char *what;
        struct {
            ns_t srtt;
            bool usable;
            size_t room, mtu;
            ns_t earliest;
        } p[3];
        int want; /* index of the path, or the result */
        ns_t wake;
    } row[] = {
        /* clang-format off */
        {"one path", {{20 * MS, 1, 9000, 1400, 0}}, 0, 0},
        {"the quickest", {{30 * MS, 1, 9000, 1400, 0}, {20 * MS, 1, 9000, 1400, 0},
                          {40 * MS, 1, 9000, 1400, 0}}, 1, 0},
        {"the quickest is full", {{30 * MS, 1, 9000, 1400, 0}, {20 * MS, 1, 999, 1400, 0},
                                  {40 * MS, 1, 9000, 1400, 0}}, 0, 0},
        {"the quickest is gone", {{30 * MS, 1, 9000, 1400, 0}, {20 * MS, 0, 9000, 1400, 0},
                                  {25 * MS, 1, 9000, 1400, 0}}, 2, 0},
        {"the quickest paces", {{30 * MS, 1, 9000, 1400, 0}, {20 * MS, 1, 9000, 1400, 51 * MS}},
         0, 0},
        {"room to the byte", {{20 * MS, 1, 1000, 1000, 50 * MS}}, 0, 0},
        {"a byte too little", {{20 * MS, 1, 999, 1400, 0}}, SCHED_WAIT, NS_NEVER},
        {"too small a datagram", {{20 * MS, 1, 9000, 999, 0}, {50 * MS, 1, 9000, 1400, 0}}, 1, 0},
        {"too small everywhere", {{20 * MS, 1, 9000, 999, 0}, {50 * MS, 1, 9000, 999, 0}},
         SCHED_TOOBIG, NS_NEVER},
        {"too small where usable", {{20 * MS, 1, 9000, 999, 0}, {50 * MS, 0, 9000, 1400, 0}},
         SCHED_TOOBIG, NS_NEVER},
        {"fits one that is full", {{20 * MS, 1, 9000, 999, 0}, {50 * MS, 1, 0, 1400, 0}},
         SCHED_WAIT, NS_NEVER},
        {"none usable", {{20 * MS, 0, 9000, 1400, 0}}, SCHED_WAIT, NS_NEVER},
        {"none at all", {{0}}, SCHED_WAIT, NS_NEVER},
        {"all pace", {{20 * MS, 1, 9000, 1400, 70 * MS}, {30 * MS, 1, 9000, 1400, 60 * MS}},
         SCHED_WAIT, 60 * MS},
        {"a pacer does not wake a full path",
         {{20 * MS, 1, 10, 1400, 55 * MS}, {30 * MS, 1, 9000, 1400, 60 * MS}},
         SCHED_WAIT, 60 * MS},
        {"unmeasured comes last", {{0, 1, 9000, 1400, 0}, {900 * MS, 1, 9000, 1400, 0}}, 1, 0},
        {"unmeasured is better than none", {{0, 1, 9000, 1400, 0}, {9 * MS, 0, 9000, 1400, 0}},
         0, 0},
        {"equals go by number", {{20 * MS, 1, 9000, 1400, 0}, {20 * MS, 1, 9000, 1400, 0}}, 0, 0},
        /* clang-format on */
    };
    const struct sched_head head = {.flow = 7, .bytes = 1000, .backlog_bytes = 5000};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        struct sched_path v[3];
        struct sched_decision d;
        size_t n = 0;
        int rc;

        for (; n < 3 && row[i].p[n].mtu; n++) {
            v[n] = path(10 + (uint32_t)n, row[i].p[n].srtt);
            v[n].usable = row[i].p[n].usable;
            v[n].room_bytes = row[i].p[n].room;
            v[n].mtu_bytes = row[i].p[n].mtu;
            v[n].earliest = row[i].p[n].earliest;
        }
        rc = sched_next(&sched_minrtt, NULL, v, n, &head, 1, 50 * MS, &d);
        if (row[i].want < 0) {
            if (rc != row[i].want || d.wake != row[i].wake)
                fail_msg("%s: %d", row[i].what, rc);
            continue;
        }
        if (rc != 0 || d.path != 10 + (uint32_t)row[i].want || d.flow != 7)
            fail_msg("%s: %d, path %u", row[i].what, rc, d.path);
        assert_in_range(d.bytes, 1000, 5000);
        assert_true(d.bytes <= v[row[i].want].room_bytes);
    }
}

static void nothing_waits(void **state)
{
    struct sched_path v = path(1, 20 * MS);
    struct sched_decision d;

    (void)state;
    assert_int_equal(sched_next(&sched_minrtt, NULL, &v, 1, NULL, 0, 50 * MS, &d), SCHED_WAIT);
    assert_true(d.wake == NS_NEVER);
}

static void burst(void **state)
{
    static const struct {
        uint64_t rate_bps;
        size_t mtu, burst;
    } row[] = {
        {0, 1400, 63000},          /* unknown: all that one send carries */
        {1000000, 1400, 1400},     /* 1 Mbit/s: 250 bytes in 2 ms, so one packet */
        {10000000, 1400, 2500},    /* 10 Mbit/s */
        {100000000, 1400, 25000},  /* 100 Mbit/s */
        {1000000000, 1400, 63000}, /* 1 Gbit/s: 45 packets */
        {UINT64_MAX, 1400, 63000},
        {0, 9000, 65507},
        {UINT64_MAX, SIZE_MAX / 2, SIZE_MAX / 2}, /* nonsense in, no overflow */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        struct sched_path v = path(1, 20 * MS);

        v.rate_bps = row[i].rate_bps;
        v.mtu_bytes = row[i].mtu;
        assert_int_equal(sched_burst_bytes(&v), row[i].burst);
    }
}

/* The decision never exceeds window or backlog, and always carries the first packet. */
static void burst_bounds(void **state)
{
    struct sched_path v = path(1, 20 * MS);
    struct sched_decision d;

    (void)state;
    for (size_t room = 1000; room < 80000; room += 777)
        for (size_t backlog = 1000; backlog < 80000; backlog += 1999) {
            struct sched_head h = {.flow = 1, .bytes = 1000, .backlog_bytes = backlog};

            v.room_bytes = room;
            assert_int_equal(sched_next(&sched_minrtt, NULL, &v, 1, &h, 1, 0, &d), 0);
            assert_true(d.bytes <= room && d.bytes <= backlog && d.bytes >= 1000);
            assert_true(d.bytes == room || d.bytes == backlog ||
                        d.bytes == sched_burst_bytes(&v));
        }
}

static void by_name(void **state)
{
    (void)state;
    assert_ptr_equal(sched_find("minrtt"), &sched_minrtt);
    assert_null(sched_find("no-such"));
    assert_null(sched_find(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choice),  cmocka_unit_test(nothing_waits),
        cmocka_unit_test(burst),   cmocka_unit_test(burst_bounds),
        cmocka_unit_test(by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
