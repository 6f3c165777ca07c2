/* wlb, wlb_udp_pin, backup, redundant, auto: decisions by tables, and shares over many of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "sched/sched.h"

#define MS NS_PER_MS

/* A path that would take anything: measured, roomy. */
static struct sched_path path(uint32_t id, unsigned rtt_ms, unsigned mbps)
{
    return (struct sched_path){.path = id,
                               .usable = true,
                               .srtt = rtt_ms * MS,
                               .min_rtt = rtt_ms * MS,
                               .rate_bps = mbps * 1000000ull,
                               .cwnd_bytes = mbps * 125 * rtt_ms,
                               .room_bytes = 1 << 20,
                               .mtu_bytes = 1400};
}

static struct sched_head head(uint32_t flow, enum sched_lane lane)
{
    return (struct sched_head){.flow = flow,
                               .bytes = 1000,
                               .backlog_bytes = lane == SCHED_BULK ? 1000000 : 1000,
                               .lane = lane,
                               .numbering = SCHED_MAY,
                               .elastic = true,
                               .moved_bytes = lane == SCHED_BULK ? 10000000 : 0,
                               .standing = NS_PER_S};
}

static int ask(const char *sched, struct sched_state *st, const struct sched_path *v, size_t n,
               const struct sched_head *h, size_t heads, struct sched_decision *d)
{
    return sched_next(sched_find(sched), st, v, n, h, heads, 100 * MS, d);
}

static void names(void **state)
{
    static const char *const want[] = {"auto",        "minrtt", "wlb",
                                       "wlb_udp_pin", "backup", "redundant"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_string_equal(sched_at(i)->name, want[i]);
        assert_ptr_equal(sched_find(want[i]), sched_at(i));
    }
    assert_null(sched_at(ARRAY_LEN(want)));
}

/* What can't wait goes where it arrives first, behind what stands there, or waits for that path. */
static void urgent(void **state)
{
    struct sched_path v[2] = {path(7, 20, 50), path(9, 40, 50)};
    struct sched_decision d;

    (void)state;
    assert_int_equal(sched_urgent(v, 2, 1000, 100 * MS, &d), 0);
    assert_int_equal(d.path, 7);
    v[0].queued = 30 * MS;
    assert_int_equal(sched_urgent(v, 2, 1000, 100 * MS, &d), 0);
    assert_int_equal(d.path, 9);
    v[1].earliest = 105 * MS; /* still the first */
    assert_int_equal(sched_urgent(v, 2, 1000, 100 * MS, &d), SCHED_WAIT);
    assert_int_equal(d.wake, 105 * MS);
    v[1].mtu_bytes = 900;
    assert_int_equal(sched_urgent(v, 2, 1000, 100 * MS, &d), 0);
    assert_int_equal(d.path, 7);
    assert_int_equal(sched_urgent(v, 2, 2000, 100 * MS, &d), SCHED_TOOBIG);
    assert_int_equal(sched_urgent(v, 0, 1000, 100 * MS, &d), SCHED_WAIT);
    assert_int_equal(d.wake, NS_NEVER);
}

/* What the user says of paths and how alive they are goes before everything, for all. */
static void tiers(void **state)
{
    struct sched_head h = head(1, SCHED_PROMPT);
    struct sched_decision d;

    (void)state;
    for (size_t i = 0; sched_at(i); i++) {
        const char *s = sched_at(i)->name;
        struct sched_path v[2] = {path(0, 20, 50), path(1, 40, 50)};

        v[0].priority = SCHED_BACKUP;
        assert_int_equal(ask(s, NULL, v, 2, &h, 1, &d), 0);
        assert_true(d.path == 1 && d.copies == 0);
        v[1].silence = SCHED_SUSPECT;
        assert_int_equal(ask(s, NULL, v, 2, &h, 1, &d), 0);
        assert_int_equal(d.path, 0);
        v[0].silence = SCHED_SILENT; /* the other one is less dead */
        assert_int_equal(ask(s, NULL, v, 2, &h, 1, &d), 0);
        assert_int_equal(d.path, 1);
        v[1].usable = false; /* better than nothing */
        assert_int_equal(ask(s, NULL, v, 2, &h, 1, &d), 0);
        assert_int_equal(d.path, 0);
        v[0].priority = SCHED_NEVER;
        assert_int_equal(ask(s, NULL, v, 2, &h, 1, &d), SCHED_WAIT);
        assert_true(d.wake == NS_NEVER);
        v[1].usable = true;
        v[1].mtu_bytes = 999;
        assert_int_equal(ask(s, NULL, v, 2, &h, 1, &d), SCHED_TOOBIG);
        assert_int_equal(d.flow, 1);
        assert_int_equal(ask(s, NULL, v, 2, NULL, 0, &d), SCHED_WAIT);
    }
}

/* With one path, every scheduler sends when minrtt does, and as much. */
static void one_path(void **state)
{
    struct sched_head h[2] = {head(1, SCHED_PROMPT), head(2, SCHED_BULK)};
    struct sched_decision a, b;

    (void)state;
    for (size_t i = 0; sched_at(i); i++) {
        for (unsigned c = 0; c < 4; c++) {
            struct sched_path v = path(3, 20, 50);
            int rc;

            v.room_bytes = c & 1 ? 999 : 1 << 20;
            v.earliest = c & 2 ? 101 * MS : 0;
            rc = ask("minrtt", NULL, &v, 1, h, 2, &a);
            assert_int_equal(ask(sched_at(i)->name, NULL, &v, 1, h, 2, &b), rc);
            assert_true(a.wake == b.wake && a.path == b.path && !b.numbered && b.copies == 0);
        }
    }
}

static void backup_waits(void **state)
{
    struct sched_path v[2] = {path(0, 40, 50), path(1, 20, 50)};
    struct sched_head h = head(1, SCHED_BULK);
    struct sched_decision d;

    (void)state;
    assert_int_equal(ask("backup", NULL, v, 2, &h, 1, &d), 0);
    assert_int_equal(d.path, 0);
    v[0].earliest = 103 * MS;
    assert_int_equal(ask("backup", NULL, v, 2, &h, 1, &d), SCHED_WAIT);
    assert_true(d.wake == 103 * MS);
    v[0].silence = SCHED_SUSPECT;
    assert_int_equal(ask("backup", NULL, v, 2, &h, 1, &d), 0);
    assert_int_equal(d.path, 1);
}

static void redundant_copies(void **state)
{
    struct sched_path v[4] = {path(0, 40, 50), path(1, 20, 50), path(2, 30, 50),
                              path(3, 30, 50)};
    struct sched_head h = head(1, SCHED_PROMPT);
    struct sched_decision d;

    (void)state;
    v[2].room_bytes = 500; /* full: misses the copy */
    assert_int_equal(ask("redundant", NULL, v, 4, &h, 1, &d), 0);
    assert_true(d.path == 1 && d.copies == 2 && d.copy[0] == 0 && d.copy[1] == 3 && d.numbered);
    h.numbering = SCHED_PLAIN;
    ask("redundant", NULL, v, 4, &h, 1, &d);
    assert_false(d.numbered);
}

/* Flows over paths of 3 : 1, all the same size: shares within a tenth; each flow on one path. */
static void wlb_shares(void **state)
{
    struct sched_path v[2] = {path(0, 20, 90), path(1, 20, 30)};

    (void)state;
    for (int udp = 0; udp < 2; udp++) {
        struct sched_state *st = sched_state_new();
        uint64_t bytes[2] = {0};
        uint32_t on[32];
        unsigned moved = 0;

        assert_non_null(st);
        memset(on, 0xff, sizeof(on));
        for (unsigned i = 0; i < 31 * 400; i++) {
            uint32_t f = i % 31;
            struct sched_head h = head(f, SCHED_BULK);
            struct sched_decision d;
            ns_t now = 100 * MS + i * MS / 100;

            h.elastic = !udp;
            assert_int_equal(sched_next(&sched_wlb, st, v, 2, &h, 1, now, &d), 0);
            sched_sent(&sched_wlb, st, v, 2, &h, &d, 1000, now);
            bytes[d.path] += 1000;
            moved += on[f] != UINT32_MAX && on[f] != d.path;
            on[f] = d.path;
        }
        assert_in_range(bytes[0], 3 * bytes[1] * 8 / 10, 3 * bytes[1] * 12 / 10);
        assert_true(udp ? moved > 100 : moved == 0);
        sched_state_del(st);
    }
}

/* A pinned flow whose path is full waits, and moves when that lasts. */
static void wlb_spills(void **state)
{
    struct sched_state *st = sched_state_new();
    struct sched_path v[2] = {path(0, 20, 50), path(1, 20, 50)};
    struct sched_head h = head(7, SCHED_BULK);
    struct sched_decision d;
    uint32_t first;

    (void)state;
    assert_non_null(st);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(sched_next(&sched_wlb_udp_pin, st, v, 2, &h, 1, i * 10 * MS, &d), 0);
        sched_sent(&sched_wlb_udp_pin, st, v, 2, &h, &d, 20000, i * 10 * MS);
    }
    first = d.path;
    v[first].room_bytes = 0;
    h.waited = 5 * MS;
    assert_int_equal(sched_next(&sched_wlb_udp_pin, st, v, 2, &h, 1, 1001 * MS, &d),
                     SCHED_WAIT);
    h.waited = 30 * MS;
    assert_int_equal(sched_next(&sched_wlb_udp_pin, st, v, 2, &h, 1, 1002 * MS, &d), 0);
    assert_int_equal(d.path, 1 - first);
    sched_state_del(st);
}

/* Bulk over two links: when the later one is worth it. */
static void auto_bulk(void **state)
{
    enum { NO = -1 };
    static const struct {
        const char *what;
        unsigned mbps, delay;
        uint32_t loss;
        uint64_t moved;
        size_t backlog;
        int want;     /* the fast link is busy: the path, or none */
        bool burst;   /* the queue was empty 19 ms ago */
        bool ramping; /* what the fast link carries is unknown */
    } row[] = {
        {"much to do", 80, 20, 0, 10000000, 1000000, 1, false, false},
        {"a flow that is young", 80, 20, 0, 100000, 200000, NO, false, false},
        {"no standing queue", 80, 20, 0, 10000000, 20000, NO, false, false},
        {"no later at all", 80, 0, 0, 100000, 2000, 1, false, false},
        {"needs too much memory there", 80, 400, 0, 1u << 30, 1000000, NO, false, false},
        {"later than the deadline", 80, 1100, 0, 1u << 30, 1000000, NO, false, false},
        {"loses, but can be repaired", 80, 20, 3000, 10000000, 1000000, 1, false, false},
        {"loses beside one that doesn't", 80, 20, 20000, 10000000, 1000000, NO, false, false},
        {"loses too much", 80, 20, 300000, 10000000, 1000000, NO, false, false},
        {"a burst", 80, 20, 0, 10000000, 1000000, 1, true, false},
        {"a burst beside what ramps", 80, 20, 0, 2900000, 1000000, NO, true, true},
        {"the same, of an old flow", 80, 20, 0, 3100000, 2000, 1, true, true},
        {"the same, hardly later", 80, 19, 0, 2900000, 2000, 1, true, true},
        {"the same, much later", 80, 70, 0, 2900000, 1000000, NO, true, true},
        {"what ramps is not enough", 80, 20, 0, 2900000, 2000, 1, false, true},
        {"loses too much beside what ramps", 80, 20, 300000, 10000000, 1000000, NO, false,
         true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        struct sched_path v[2] = {path(0, 20, 300), path(1, 60, row[i].mbps)};
        struct sched_head h = head(1, SCHED_BULK);
        struct sched_decision d;
        int rc;

        v[0].delay_known = v[1].delay_known = true;
        v[1].delay = row[i].delay * MS;
        v[1].loss_ppm = row[i].loss;
        h.moved_bytes = row[i].moved;
        h.backlog_bytes = row[i].backlog;
        h.standing = row[i].burst ? 19 * MS : h.standing;
        v[0].rate_bps = row[i].ramping ? 0 : v[0].rate_bps;
        assert_int_equal(ask("auto", NULL, v, 2, &h, 1, &d), 0);
        assert_true(d.path == 0 && d.numbered);
        v[0].earliest = 110 * MS;
        rc = ask("auto", NULL, v, 2, &h, 1, &d);
        if (rc == SCHED_WAIT) /* until there is a standing queue, or the fast link may go on */
            assert_int_equal(d.wake, (row[i].burst ? 101 : 110) * MS);
        if (rc != (row[i].want == NO ? SCHED_WAIT : 0) || (rc == 0 && d.path != 1))
            fail_msg("%s: %d, path %u", row[i].what, rc, d.path);
    }
}

/* A prompt packet goes where it arrives first, waits for the pacer, and keeps its link free. */
static void auto_prompt(void **state)
{
    struct sched_path v[2] = {path(0, 20, 50), path(1, 60, 50)};
    struct sched_head h[2] = {head(1, SCHED_PROMPT), head(2, SCHED_BULK)};
    struct sched_decision d;

    (void)state;
    v[0].delay_known = v[1].delay_known = true;
    v[1].delay = 20 * MS;
    assert_int_equal(ask("auto", NULL, v, 2, h, 2, &d), 0);
    assert_true(d.flow == 1 && d.path == 0 && !d.numbered);
    v[0].earliest = 105 * MS; /* still earlier than the other */
    assert_int_equal(ask("auto", NULL, v, 2, h, 1, &d), SCHED_WAIT);
    assert_true(d.wake == 105 * MS);
    assert_int_equal(ask("auto", NULL, v, 2, h, 2, &d), 0); /* the bulk flow may pass by */
    assert_true(d.flow == 2 && d.path == 1);
    v[0].earliest = 130 * MS;
    assert_int_equal(ask("auto", NULL, v, 2, h, 1, &d), 0);
    assert_true(d.flow == 1 && d.path == 1);
}

/* Which young flows are numbered: elastic ones that send, on a path that loses, or may. */
static void auto_young(void **state)
{
    static const struct {
        uint32_t loss_ppm;
        size_t bytes;
        bool elastic;
        enum sched_numbering numbering;
        bool want;
    } cases[] = {
        {5000, 1200, true, SCHED_MAY, true},
        {5000, 1200, true, SCHED_PLAIN, false}, /* the far end wouldn't know */
        {5000, 1200, false, SCHED_MAY, false},  /* may not want to wait */
        {5000, 80, true, SCHED_MAY, false},     /* acknowledgements */
        {5000, 80, true, SCHED_NUMBERED, true}, /* of one that began otherwise */
        {500, 1200, true, SCHED_MAY, false},    /* hardly a loss */
        {0, 1200, true, SCHED_MAY, false},
        {0, 1200, true, SCHED_NUMBERED, true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t n = 1; n <= 2; n++) {
            struct sched_path v[2] = {path(0, 20, 50), path(1, 60, 50)};
            struct sched_head h = {.flow = 1,
                                   .bytes = cases[i].bytes,
                                   .backlog_bytes = cases[i].bytes,
                                   .elastic = cases[i].elastic,
                                   .numbering = cases[i].numbering};
            struct sched_decision d;

            v[0].loss_ppm = cases[i].loss_ppm;
            assert_int_equal(ask("auto", NULL, v, n, &h, 1, &d), 0);
            assert_true(d.path == 0 && d.numbered == cases[i].want && !(d.numbered && d.shared));
            if (cases[i].loss_ppm < 5000)
                continue;
            v[0].loss_ppm = 0; /* and as much may be lost, for all we know */
            v[0].unproven = true;
            assert_int_equal(ask("auto", NULL, v, n, &h, 1, &d), 0);
            assert_int_equal(d.numbered, cases[i].want);
        }
}

/* A bulk flow on a single path: as long as that loses packets, or may. */
static void auto_numbers_bulk(void **state)
{
    static const struct {
        uint32_t loss_ppm;
        bool unproven;
        enum sched_numbering numbering;
        bool want;
    } cases[] = {
        {0, false, SCHED_MAY, false},   {0, false, SCHED_NUMBERED, false},
        {0, true, SCHED_MAY, true},     {0, true, SCHED_PLAIN, false},
        {150, false, SCHED_MAY, false}, {150, false, SCHED_NUMBERED, true},
        {300, false, SCHED_MAY, true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sched_path v = path(0, 20, 50);
        struct sched_head h = head(1, SCHED_BULK);
        struct sched_decision d;

        h.numbering = cases[i].numbering;
        v.loss_ppm = cases[i].loss_ppm;
        v.unproven = cases[i].unproven;
        assert_int_equal(ask("auto", NULL, &v, 1, &h, 1, &d), 0);
        assert_int_equal(d.numbered, cases[i].want);
    }
}

/* A prompt flow stays where it is for a small gain, and while it would overtake itself. */
static void auto_keeps_order(void **state)
{
    struct sched_state *st = sched_state_new();
    struct sched_path v[2] = {path(0, 20, 1000), path(1, 20, 1000)};
    struct sched_head h = head(1, SCHED_PROMPT);
    struct sched_decision d;

    (void)state;
    assert_non_null(st);
    v[0].delay_known = v[1].delay_known = true;
    v[1].delay = 20 * MS;
    v[0].earliest = 150 * MS;
    assert_int_equal(ask("auto", st, v, 2, &h, 1, &d), 0);
    assert_int_equal(d.path, 1);
    sched_sent(&sched_auto, st, v, 2, &h, &d, 1000, 100 * MS); /* arrives at 120 ms */
    v[0].earliest = 0;
    assert_int_equal(ask("auto", st, v, 2, &h, 1, &d), 0);
    assert_int_equal(d.path, 1); /* path 0 would overtake it */
    assert_int_equal(sched_next(&sched_auto, st, v, 2, &h, 1, 121 * MS, &d), 0);
    assert_int_equal(d.path, 0);
    v[1].delay = MS; /* not worth it */
    sched_sent(&sched_auto, st, v, 2, &h, &(struct sched_decision){.path = 1}, 1000, 200 * MS);
    assert_int_equal(sched_next(&sched_auto, st, v, 2, &h, 1, 300 * MS, &d), 0);
    assert_int_equal(d.path, 1);
    sched_state_del(st);
}

/* A flow over two links, of which one is much later and on trial. */
struct trial {
    struct sched_state *st;
    struct sched_path v[2];
    struct sched_head h;
    bool in;        /* the late one is used */
    ns_t change[9]; /* in 10 ms: when it joined or left, */
    size_t changes, most;
};

static void trial_init(struct trial *t, size_t most)
{
    *t = (struct trial){.st = sched_state_new(),
                        .v = {path(0, 20, 8), path(1, 120, 50)},
                        .h = head(1, SCHED_BULK),
                        .most = most};
    assert_non_null(t->st);
    t->v[0].delay_known = t->v[1].delay_known = true;
    t->v[1].delay = 50 * MS;
    t->h.moved_bytes = 100000000;
}

/* 10 ms of it, in which the flow sends so many bytes without the late link, or with it. */
static void trial_step(struct trial *t, ns_t now, uint32_t without, uint32_t with)
{
    struct sched_decision d;
    bool was = t->in;

    t->v[0].earliest = now + MS;
    t->in = sched_next(&sched_auto, t->st, t->v, 2, &t->h, 1, now, &d) == 0;
    d = (struct sched_decision){.path = 0, .numbered = true};
    sched_sent(&sched_auto, t->st, t->v, 2, &t->h, &d, t->in ? with : without, now);
    if (t->in != was && t->changes < t->most)
        t->change[t->changes++] = now / (10 * MS);
}

/*
 * A link that is much later is on trial: it joins after a second, and leaves two seconds later
 * if the flow is limited by something else and got nothing from it; then again after 4 s, 8 s. It
 * stays if the flow sends more than the other link could carry.
 */
static void auto_trial(void **state)
{
    static const struct {
        uint32_t busy, bytes; /* in 10 ms; the other link carries 10,000 */
        bool stays;
    } cases[] = {{0, 10000, false}, {1024, 10000, true}, {0, 20000, true}};

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(cases); k++) {
        struct trial t;

        trial_init(&t, 9);
        t.h.busy = cases[k].busy;
        for (ns_t now = 10 * MS; now < 20 * NS_PER_S; now += 10 * MS)
            trial_step(&t, now, cases[k].bytes, cases[k].bytes);
        if (cases[k].stays) {
            assert_int_equal(t.changes, 1);
        } else {
            assert_true(t.changes >= 4 && t.changes <= 6);
            assert_in_range(t.change[1] - t.change[0], 195, 205);
            assert_in_range(t.change[2] - t.change[1], 395, 405);
            assert_in_range(t.change[4] - t.change[3], 795, 805);
        }
        sched_state_del(t.st);
    }
}

/*
 * One with which the flow sends a quarter less leaves as soon as that shows, and is tried again after
 * 32 s. That the other link then carries less, too, is no excuse for it.
 */
static void auto_trial_harm(void **state)
{
    struct trial t;
    uint64_t whole;

    (void)state;
    trial_init(&t, 3);
    whole = t.v[0].rate_bps;
    for (ns_t now = 10 * MS; now < 40 * NS_PER_S; now += 10 * MS) {
        t.v[0].rate_bps = t.in ? whole / 25 * 22 : whole;
        t.h.busy = t.in ? 100 : 1024;
        trial_step(&t, now, 10000, 7500);
    }
    assert_int_equal(t.changes, 3);
    assert_in_range(t.change[1] - t.change[0], 120, 130);
    assert_in_range(t.change[2] - t.change[1], 3195, 3205);
    sched_state_del(t.st);
}

/* One that a young flow grew with, but that then keeps it below what the other link offers, leaves. */
static void auto_trial_outgrown(void **state)
{
    struct trial t;

    (void)state;
    trial_init(&t, 2);
    for (ns_t now = 10 * MS; now < 10 * NS_PER_S; now += 10 * MS) {
        uint32_t bytes = now < NS_PER_S ? 4000 : 8000;

        trial_step(&t, now, bytes, bytes);
    }
    assert_int_equal(t.changes, 2);
    assert_in_range(t.change[1] - t.change[0], 395, 405);
    sched_state_del(t.st);
}

static uint32_t rnd(uint64_t *z, uint32_t n)
{
    *z = *z * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*z >> 33) % n;
}

/*
 * Whatever the snapshots say: a path that is usable and open, a flow that waits, a bounded
 * burst.
 */
static void nonsense(void **state)
{
    uint64_t z = 1;

    (void)state;
    for (size_t i = 0; sched_at(i); i++) {
        struct sched_state *st = sched_state_new();

        assert_non_null(st);
        for (unsigned k = 0; k < 20000; k++) {
            struct sched_path v[6];
            struct sched_head h[5];
            struct sched_decision d;
            ns_t now = k * MS / 2;
            size_t n, heads, p = 0, f = 0;

            n = rnd(&z, 7);
            heads = rnd(&z, 6);
            for (size_t j = 0; j < n; j++) {
                v[j] = path((uint32_t)j * 3, rnd(&z, 300), rnd(&z, 500));
                v[j].usable = rnd(&z, 8) > 0;
                v[j].room_bytes = rnd(&z, 3) ? rnd(&z, 100000) : 0;
                v[j].earliest = rnd(&z, 3)   ? now
                                : rnd(&z, 2) ? NS_NEVER
                                             : now + rnd(&z, 50) * MS;
                v[j].mtu_bytes = 500 + rnd(&z, 1000);
                v[j].loss_ppm = rnd(&z, 2) ? rnd(&z, 1000001) : 0;
                v[j].delay = rnd(&z, 400) * MS;
                v[j].delay_known = rnd(&z, 4) > 0;
                v[j].jitter = rnd(&z, 50) * MS;
                v[j].priority = (enum sched_priority)(rnd(&z, 4));
                v[j].silence = (enum sched_silence)(rnd(&z, 3));
            }
            for (size_t j = 0; j < heads; j++) {
                h[j] = head((uint32_t)(100 * j + rnd(&z, 90)), (enum sched_lane)(rnd(&z, 2)));
                h[j].bytes = 1 + rnd(&z, 1500);
                h[j].backlog_bytes = h[j].bytes + rnd(&z, 1000000);
                h[j].moved_bytes = rnd(&z, 100000000);
                h[j].numbering = (enum sched_numbering)(rnd(&z, 3));
                h[j].elastic = rnd(&z, 2);
                h[j].waited = rnd(&z, 100) * MS;
                h[j].busy = rnd(&z, 1025);
            }
            if (sched_next(sched_at(i), rnd(&z, 4) ? st : NULL, v, n, h, heads, now, &d))
                continue;
            while (p < n && v[p].path != d.path)
                p++;
            while (f < heads && h[f].flow != d.flow)
                f++;
            assert_true(p < n && f < heads);
            assert_true(v[p].usable && v[p].priority != SCHED_NEVER && v[p].earliest <= now);
            assert_true(d.bytes >= h[f].bytes && d.bytes <= v[p].room_bytes);
            assert_true(h[f].bytes <= v[p].mtu_bytes);
            assert_true(!d.numbered || h[f].numbering != SCHED_PLAIN);
            sched_sent(sched_at(i), st, v, n, &h[f], &d, d.bytes, now);
        }
        sched_state_del(st);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(urgent),
        cmocka_unit_test(tiers),
        cmocka_unit_test(one_path),
        cmocka_unit_test(backup_waits),
        cmocka_unit_test(redundant_copies),
        cmocka_unit_test(wlb_shares),
        cmocka_unit_test(wlb_spills),
        cmocka_unit_test(auto_bulk),
        cmocka_unit_test(auto_prompt),
        cmocka_unit_test(auto_young),
        cmocka_unit_test(auto_numbers_bulk),
        cmocka_unit_test(auto_keeps_order),
        cmocka_unit_test(auto_trial),
        cmocka_unit_test(auto_trial_harm),
        cmocka_unit_test(auto_trial_outgrown),
        cmocka_unit_test(nonsense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
