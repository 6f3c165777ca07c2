/* lookout: paths that fall silent, pause and come back, what they lose, and what is remembered.
 * The connection and what is kept for repair are played by the functions below; what was asked
 * of repair is in `did`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "app/lookout.h"
#include "mp/mp.h"
#include "test/rnd.h"

#include <stdio.h>
#include <string.h>

#define MS    NS_PER_MS
#define S     NS_PER_S
#define T     (100 * S)
#define ON    1000 /* news that go on */
#define SRTT  (40 * MS)
#define BEAT  (45 * MS)     /* four variations and 25 ms */
#define LATE  (SRTT + BEAT) /* a round trip more */
#define BYTES 100000        /* in flight */

static struct lookout o;
static struct numbered n;
static struct socks socks;
static char did[256], asked[64];   /* asked: of the far end, in this look */
static ns_t held_rtt, held_rttvar; /* by numbered_hold */
static size_t holds;

static struct fake {
    bool gone, fresh; /* no such path; with news all the time */
    bool mute;        /* its status can't be said now */
    ns_t news, sent;  /* the last, and what is in flight since */
    ns_t age;         /* of the packet that the last news was about */
    bool late_known;
    ns_t late;
    struct quic_path_view v;
} path[LOOKOUT_PATHS + 4];
static size_t paths;

/* ---- the others ------------------------------------------------------------------------ */

size_t quic_path_count(const struct quic_conn *conn)
{
    (void)conn;
    return paths;
}

int quic_path_view(const struct quic_conn *conn, size_t i, ns_t now, struct quic_path_view *out)
{
    const struct fake *f = &path[i];

    (void)conn;
    memset(out, 0, sizeof(*out));
    if (i >= paths || f->gone)
        return QUIC_INVAL;
    *out = f->v;
    if (f->v.in_flight_bytes > 0) {
        out->waiting = f->fresh ? 0 : now - f->news;
        out->oldest = f->fresh ? f->v.srtt : ns_sub(now, f->sent);
        out->reached = now - out->waiting - f->age;
    }
    return 0;
}

static void note(const char *what, uint32_t id)
{
    snprintf(did + strlen(did), sizeof(did) - strlen(did), "%s%s:%u", did[0] ? " " : "", what,
             id);
}

size_t repair_path_lost(struct repair *r, uint32_t id, ns_t now)
{
    (void)now;
    assert_ptr_equal(r, &n.repair);
    note("lost", id);
    return 0;
}

void repair_probe(struct repair *r, uint32_t id, size_t most)
{
    assert_ptr_equal(r, &n.repair);
    assert_int_equal(most, 2);
    note("probe", id);
}

int mp_spare(struct quic_conn *conn, size_t i, bool spare, ns_t now)
{
    size_t at = strlen(asked);

    (void)conn;
    (void)now;
    snprintf(asked + at, sizeof(asked) - at, "%s%zu ", spare ? "spare " : "use ", i);
    return path[i].mute ? QUIC_BLOCKED : 0;
}

bool numbered_late(const struct numbered *of, uint64_t id, ns_t now, ns_t *late, ns_t *jitter)
{
    (void)now;
    assert_ptr_equal(of, &n);
    for (size_t i = 0; i < paths; i++) {
        if (path[i].v.id != id || !path[i].late_known)
            continue;
        *late = path[i].late;
        *jitter = 3 * MS;
        return true;
    }
    return false;
}

void numbered_hold(struct numbered *of, ns_t slowest_rtt, ns_t slowest_rttvar)
{
    assert_ptr_equal(of, &n);
    held_rtt = slowest_rtt;
    held_rttvar = slowest_rttvar;
    holds++;
}

/* ---- paths ----------------------------------------------------------------------------- */

static void begin(size_t count)
{
    memset(&o, 0, sizeof(o));
    memset(&n, 0, sizeof(n));
    memset(path, 0, sizeof(path));
    n.repair.next = 1; /* something is kept */
    for (size_t i = 0; i < count; i++)
        path[i].v = (struct quic_path_view){.usable = true,
                                            .id = (uint32_t)(7 + i),
                                            .has_rtt = true,
                                            .srtt = SRTT,
                                            .rttvar = 5 * MS,
                                            .min_rtt = SRTT,
                                            .latest_rtt = SRTT,
                                            .packets_sent = LOOKOUT_PROOF,
                                            .next_send = NS_NEVER};
    paths = count;
    socks = socks_one(NULL);
    holds = 0;
}

static void fresh(size_t i)
{
    path[i].fresh = true;
    path[i].v.in_flight_bytes = BYTES;
}

static void busy(size_t i, ns_t news, ns_t sent)
{
    path[i].fresh = false;
    path[i].news = news;
    path[i].sent = sent;
    path[i].v.in_flight_bytes = BYTES;
}

static void idle(size_t i)
{
    path[i].v.in_flight_bytes = 0;
}

/* Look, and what was done. It is never to be looked at again at once. */
static const char *watch(ns_t now)
{
    did[0] = asked[0] = 0;
    lookout_watch(&o, NULL, &n, now);
    assert_true(o.check > now);
    return did;
}

/* Look when it is to be looked at, until something is done: when. Before, nothing would be. */
static ns_t follow(ns_t now)
{
    for (int looks = 0; !*watch(now) && o.check != NS_NEVER; looks++) {
        now = o.check;
        assert_true(looks < 10);
        assert_string_equal(watch(now - 1), "");
    }
    return did[0] ? now : NS_NEVER;
}

/* For how long path 1 is believed in, which is busy and has its last news at `t`. */
static ns_t believed(ns_t t)
{
    ns_t at;

    busy(1, t, t - path[1].v.srtt);
    at = follow(t);
    assert_string_equal(did, "lost:8");
    return at - t;
}

static struct sched_path look(size_t i, ns_t now)
{
    return lookout_path(&o, NULL, &socks, i, 0, now);
}

static bool near(uint64_t a, uint64_t b, uint64_t by)
{
    return a + by >= b && a <= b + by;
}

/* ---- silence --------------------------------------------------------------------------- */

/* Two paths; the last news of the second at 0 ms, its oldest packet sent at `sent`. */
static void test_suspected(void **state)
{
    static const struct {
        int sent, other, at; /* ms; `other`: its last news, ON, or -1 for none in flight */
    } t[] = {
        {-40, ON, 45}, {-60, ON, 45}, {-39, ON, 46}, {-10, ON, 75},
        {0, ON, 85},   {-40, -1, 85}, /* nothing says that it isn't the far end */
        {30, ON, 85},  {60, -1, 85},  /* it waits for older ones, which others have passed */
        {-40, 5, 85},  {-40, 9, 85},  {-40, 10, 45}, {-40, 30, 45},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        ns_t from = T + (ns_t)(t[i].sent > 0 ? t[i].sent : 0) * MS;

        if (t[i].other >= 0 && t[i].other < ON)
            from = T + (ns_t)t[i].other * MS;
        begin(2);
        busy(1, T, T + (ns_t)t[i].sent * MS);
        if (t[i].other == ON)
            fresh(0);
        else if (t[i].other >= 0)
            busy(0, from, from - SRTT);
        assert_int_equal(follow(from), T + (ns_t)t[i].at * MS);
        assert_string_equal(did, "lost:8");
        assert_int_equal(look(1, T + (ns_t)t[i].at * MS).silence, SCHED_SUSPECT);
        assert_int_equal(look(0, T + (ns_t)t[i].at * MS).silence, SCHED_HEARD);
        assert_string_equal(watch(T + (ns_t)t[i].at * MS + 1), ""); /* once */
    }
}

/* What a snapshot says of a path with nothing beside it. */
static void test_silence(void **state)
{
    static const struct {
        ns_t rttvar, waiting;
        unsigned pto_count;
        enum sched_silence is;
    } t[] = {
        {5 * MS, LATE - 1, 0, SCHED_HEARD},
        {5 * MS, LATE, 0, SCHED_SUSPECT},
        {5 * MS, 2 * LATE - 1, 0, SCHED_SUSPECT},
        {5 * MS, 2 * LATE, 0, SCHED_SILENT},
        {5 * MS, 0, 1, SCHED_SUSPECT},
        {5 * MS, 0, 2, SCHED_SILENT},
        {0, 66 * MS - 1, 0, SCHED_HEARD}, /* a variation is never nothing */
        {0, 66 * MS, 0, SCHED_SUSPECT},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        begin(1);
        busy(0, T, T);
        path[0].v.rttvar = t[i].rttvar;
        watch(T);
        path[0].v.pto_count = t[i].pto_count;
        watch(T + t[i].waiting);
        assert_int_equal(look(0, T + t[i].waiting).silence, t[i].is);
    }
}

/* A probe timeout says as much as waiting. */
static void test_timeout(void **state)
{
    (void)state;
    begin(2);
    fresh(0);
    fresh(1);
    assert_string_equal(watch(T), "");
    path[0].v.pto_count = 1;
    assert_string_equal(watch(T + 1), "lost:7");
}

/*
 * A path that is given up is heard by news of what was sent since, not by more patience; or when it
 * owes none.
 */
static void test_heard_again(void **state)
{
    (void)state;
    begin(2);
    fresh(0);
    assert_int_equal(believed(T), BEAT);
    path[1].v.rttvar = S;
    assert_string_equal(watch(T + BEAT + 1), "");
    assert_int_equal(look(1, T + BEAT + 1).silence, SCHED_SUSPECT);
    path[1].news = T + BEAT + 2;
    path[1].age = 2; /* acknowledged by another path, perhaps */
    assert_string_equal(watch(T + BEAT + 2), "");
    assert_int_equal(look(1, T + BEAT + 2).silence, SCHED_SUSPECT);
    path[1].age = 1;
    assert_string_equal(watch(T + BEAT + 3), "");
    assert_int_equal(look(1, T + BEAT + 3).silence, SCHED_HEARD);

    begin(2);
    fresh(0);
    assert_int_equal(believed(T), BEAT);
    idle(1);
    watch(T + BEAT + 1);
    assert_int_equal(look(1, T + BEAT + 1).silence, SCHED_HEARD);
}

/* The only one: its packets go again as probes, with each probe timeout. */
static void test_alone(void **state)
{
    (void)state;
    begin(1);
    busy(0, T, T - SRTT);
    assert_int_equal(follow(T), T + LATE);
    assert_string_equal(did, "probe:7");
    assert_true(o.check == NS_NEVER);
    assert_string_equal(watch(T + LATE + 1), "");
    for (unsigned k = 1; k < 4; k++) {
        path[0].v.pto_count = k;
        assert_string_equal(watch(T + LATE + 10 * k), "probe:7");
        assert_string_equal(watch(T + LATE + 10 * k + 1), "");
    }
    path[0].v.pto_count = 0;
    busy(0, T + S, T + S);
    assert_string_equal(watch(T + S), "");
    assert_int_equal(follow(T + S), T + S + LATE);
    assert_string_equal(did, "probe:7");
    idle(0);
    path[0].v.pto_count = 3;
    path[0].v.usable = false;
    assert_string_equal(watch(T + 2 * S), ""); /* nothing to probe with */
}

/* None is heard: none is given up, until one of them is. */
static void test_all_silent(void **state)
{
    (void)state;
    begin(2);
    busy(0, T, T - SRTT);
    busy(1, T + 5 * MS, T - SRTT);
    assert_int_equal(follow(T + 5 * MS), T + LATE);
    assert_string_equal(did, "lost:7");
    assert_int_equal(follow(T + LATE), T + LATE + 5 * MS);
    assert_string_equal(did, "probe:8");
    fresh(0);
    assert_string_equal(watch(T + 2 * LATE), "lost:8");
    assert_int_equal(look(0, T + 2 * LATE).silence, SCHED_HEARD);
    assert_int_equal(look(1, T + 2 * LATE).silence, SCHED_SUSPECT);
}

/* ---- what the far end is asked --------------------------------------------------------- */

/* Not to use a path that gives no news and by which nothing comes, as long as there is another. */
static void test_spare(void **state)
{
    (void)state;
    begin(2);
    fresh(0);
    busy(1, T, T - SRTT);
    path[1].v.last_received = T + 10 * MS; /* only our direction is in doubt */
    watch(T + BEAT);
    assert_string_equal(asked, "");
    path[1].mute = true;
    for (int i = 0; i < 2; i++) {
        watch(T + 10 * MS + BEAT + (ns_t)i);
        assert_string_equal(asked, "spare 1 "); /* till it was said */
        path[1].mute = false;
    }
    watch(T + 2 * BEAT);
    assert_string_equal(asked, "");
    idle(1); /* which is no news */
    path[1].v.usable = false;
    watch(T + 3 * BEAT);
    assert_string_equal(asked, "");
    path[1].v.usable = true;
    path[1].v.last_received = T + 4 * BEAT;
    watch(T + 4 * BEAT);
    assert_string_equal(asked, "use 1 ");

    begin(1);
    busy(0, T, T - SRTT);
    watch(T + 2 * LATE);
    assert_string_equal(asked, "");
}

/* Once it spares the path nothing comes, and that proves nothing: it is tried, less and less often. */
static void test_spare_ends(void **state)
{
    ns_t now = T + BEAT;

    (void)state;
    begin(2);
    fresh(0);
    busy(1, T, T - SRTT);
    path[1].v.last_received = T;
    watch(now);
    assert_string_equal(asked, "spare 1 ");
    for (unsigned k = 0; k < 7; k++) {
        unsigned wrong = k < 4 ? k : 4; /* times, as far as they count */

        watch(now + (250 * MS << wrong) - 1);
        assert_string_equal(asked, "");
        now += 250 * MS << wrong;
        watch(now);
        assert_string_equal(asked, "use 1 ");
        wrong = k + 1 < 4 ? k + 1 : 4;
        watch(now + (BEAT << wrong) - 1);
        assert_string_equal(asked, "");
        now += BEAT << wrong;
        watch(now);
        assert_string_equal(asked, "spare 1 ");
    }
    path[1].v.last_received = now + 1; /* something came after all */
    watch(now + 1);
    assert_string_equal(asked, "use 1 ");
    path[1].news = now + 2; /* it is heard: as if it had never been */
    watch(now + 2);
    busy(1, now + 2, now + 2 - SRTT);
    assert_string_equal(watch(now + 2 + BEAT), "lost:8");
    assert_string_equal(asked, "spare 1 ");
}

/* Who asks us while we have no news either says no more than that; else it is a wish that stays. */
static void test_wish(void **state)
{
    (void)state;
    for (int doubted = 0; doubted < 2; doubted++) {
        begin(2);
        fresh(0);
        fresh(1);
        watch(T);
        if (doubted)
            assert_int_equal(believed(T), BEAT);
        path[1].v.standby = true;
        watch(T + BEAT + 1);
        assert_int_equal(look(1, T + BEAT + 1).priority, SCHED_BACKUP);
        fresh(1);
        watch(T + BEAT + 2);
        assert_int_equal(look(1, T + BEAT + 2).priority == SCHED_BACKUP, !doubted);
        path[1].v.standby = false;
        watch(T + BEAT + 3);
        path[1].v.standby = true;
        watch(T + BEAT + 4);
        assert_int_equal(look(1, T + BEAT + 4).priority, SCHED_BACKUP);
    }
}

/* ---- pauses ---------------------------------------------------------------------------- */

/* Path 1 makes a pause at `t`, and goes on. */
static void pause_at(ns_t t, ns_t lasts)
{
    believed(t);
    fresh(1);
    path[1].fresh = false;
    path[1].news = t + lasts;
    path[1].sent = t + lasts - SRTT;
    assert_string_equal(watch(t + lasts), "");
    assert_int_equal(look(1, t + lasts).silence, SCHED_HEARD);
    fresh(1);
    watch(t + lasts + 1);
}

/* Path 1 may not be used for so long. What is said of it then. */
static enum sched_silence closed(ns_t t, ns_t lasts)
{
    path[1].v.usable = false;
    assert_string_equal(watch(t), "lost:8");
    path[1].v.usable = true;
    watch(t + lasts);
    return look(1, t + lasts).silence;
}

static void test_pauses(void **state)
{
    static const ns_t t[][2] = {
        {50 * MS, 50 * MS},   {80 * MS, 80 * MS},
        {200 * MS, LATE},                       /* longer than that, any path is suspected */
        {500 * MS - 1, LATE}, {500 * MS, BEAT}, /* it had failed */
        {5 * S, BEAT},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        begin(2);
        fresh(0);
        pause_at(T, t[i][0]);
        assert_true(near(believed(T + 10 * S), t[i][1], MS));
    }
    /* A round trip as it was then, at most. */
    begin(2);
    fresh(0);
    pause_at(T, 400 * MS);
    path[1].v.srtt = 300 * MS;
    assert_true(near(believed(T + S), BEAT + SRTT, MS));
    /* A longer one adds, a shorter one takes nothing away. */
    begin(2);
    fresh(0);
    pause_at(T, 60 * MS);
    pause_at(T + S, 80 * MS);
    assert_true(near(believed(T + 2 * S), 80 * MS, MS));
    fresh(1);
    watch(T + 3 * S);
    assert_int_equal(closed(T + 4 * S, 50 * MS), SCHED_HEARD);
    assert_true(near(believed(T + 5 * S), 80 * MS, MS));
    /* One that was made while the round trip was longer: it is suspected by that of now. */
    begin(2);
    fresh(0);
    pause_at(T, 80 * MS);
    path[1].v.srtt = 10 * MS;
    assert_int_equal(believed(T + S), 10 * MS + BEAT);
    /* The round trip of the news after a pause strays: that is no part of what is usual. */
    begin(2);
    fresh(0);
    believed(T);
    path[1].news = T + 60 * MS;
    path[1].v.rttvar = 15 * MS;
    watch(T + 60 * MS);
    path[1].v.rttvar = 5 * MS;
    assert_true(near(believed(T + S), 60 * MS, MS));
    /* Nor is it a pause at all if it is shorter than any. */
    begin(2);
    fresh(0);
    fresh(1);
    watch(T);
    assert_int_equal(closed(T + S, 10 * MS), SCHED_HEARD);
    assert_int_equal(believed(T + 2 * S), BEAT);
}

/* Half of it is forgotten after half a minute. */
static void test_pause_fades(void **state)
{
    ns_t at;

    (void)state;
    begin(2);
    fresh(0);
    pause_at(T, BEAT + 32 * MS);
    for (at = T + S; at < T + 28 * S; at += 50 * MS)
        watch(at);
    assert_true(near(believed(at), BEAT + 16 * MS, MS));
}

/* ---- paths that come and go ------------------------------------------------------------ */

/* What was known of path 1 is known no more. */
static void forgotten(ns_t now)
{
    struct sched_path p = look(1, now);

    assert_int_equal(p.rate_bps, 5000);
    assert_int_equal(p.loss_ppm, 0);
    assert_int_equal(p.queued, 0);
    assert_false(p.delay_known);
    assert_int_equal(p.silence, SCHED_HEARD);
}

/* Two paths; of the second all sorts of things are known, and it is given up. */
static ns_t known(void)
{
    struct sched_path p;

    begin(2);
    fresh(0);
    path[0].v.delivery_bps = 100000000;
    path[1].v.delivery_bps = 80000000;
    path[1].v.pacing_bps = 5000;
    path[1].late_known = true;
    fresh(1);
    watch(T);
    path[1].v.packets_sent += 1000;
    path[1].v.packets_lost = 10;
    pause_at(T + S, 60 * MS);
    believed(T + 2 * S);
    p = look(1, T + 3 * S);
    assert_int_equal(p.rate_bps, 80000000);
    assert_true(p.loss_ppm > 0 && p.delay_known && o.lossy && o.slack > 0);
    assert_int_equal(p.silence, SCHED_SILENT);
    return T + 3 * S;
}

static void test_another_id(void **state)
{
    ns_t now = known();

    (void)state;
    path[1].v.id = 9;
    path[1].late_known = false;
    path[1].v.delivery_bps = 0;
    fresh(1);
    forgotten(now); /* even before it was looked at */
    assert_string_equal(watch(now), "lost:8");
    forgotten(now);
    assert_false(o.lossy);
    busy(1, now, now - SRTT);
    assert_int_equal(follow(now), now + BEAT); /* nor its pause */
    assert_string_equal(did, "lost:9");
}

static void test_over(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        ns_t now = known();

        if (way == 0)
            path[1].gone = true;
        else
            paths = 2 - (size_t)way; /* none at all, in the end */
        assert_string_equal(watch(now), way == 2 ? "lost:7 lost:8" : "lost:8");
        assert_string_equal(watch(now + 1), "");
        assert_false(o.lossy);
        assert_false(look(1, now).usable);
        assert_int_equal(look(1, now).rate_bps, 0);
        paths = 2;
        path[1].gone = path[1].late_known = false;
        path[1].v.delivery_bps = 0; /* the same ID, come anew */
        fresh(1);
        forgotten(now + 2);
        watch(now + 2);
        forgotten(now + 2);
        assert_int_equal(o.path[1].pause, 0);
    }
}

static void test_never_numbered(void **state)
{
    (void)state;
    begin(3);
    fresh(0);
    busy(1, T, T - SRTT);
    fresh(2);
    lookout_watch(&o, NULL, NULL, T);
    path[2].gone = true;
    lookout_watch(&o, NULL, NULL, T + BEAT);
    assert_int_equal(look(1, T + BEAT).silence, SCHED_SUSPECT);
    path[0].gone = true;
    lookout_watch(&o, NULL, NULL, T + S);
    fresh(1);
    lookout_watch(&o, NULL, NULL, T + 2 * S);
    path[1].v.pto_count = 1;
    lookout_watch(&o, NULL, NULL, T + 3 * S);
    assert_int_equal(holds, 0);
}

/* Of those that there is no place for nothing is remembered. */
static void test_many(void **state)
{
    struct sched_path p;

    (void)state;
    begin(ARRAY_LEN(path));
    for (size_t i = 0; i < paths; i++) {
        fresh(i);
        path[i].late_known = true;
        path[i].v.delivery_bps = 1000000;
        path[i].v.pacing_bps = 2000000;
    }
    watch(T);
    assert_int_equal(o.paths, LOOKOUT_PATHS);
    p = look(LOOKOUT_PATHS - 1, T);
    assert_true(p.rate_bps == 1000000 && p.delay_known && p.path == 22);
    p = look(LOOKOUT_PATHS, T);
    assert_true(p.rate_bps == 2000000 && !p.delay_known && p.path == 23);
    assert_int_equal(p.silence, SCHED_HEARD);
    assert_false(look(paths, T).usable);
    paths = 1;
    watch(T + 1);
    assert_int_equal(o.paths, 1);
    assert_true(strlen(did) > 15 * strlen("lost:8"));
}

/* ---- losses ---------------------------------------------------------------------------- */

static ns_t sending(ns_t now, int looks, unsigned sent, unsigned lost)
{
    for (; looks > 0; looks--) {
        path[0].v.packets_sent += sent;
        path[0].v.packets_lost += lost;
        now += LOOKOUT_EVERY;
        watch(now);
    }
    return now;
}

static uint32_t ppm(ns_t now)
{
    return look(0, now).loss_ppm;
}

static void test_losses(void **state)
{
    ns_t now = T;

    (void)state;
    begin(1);
    path[0].v.packets_sent += 1000;
    path[0].v.packets_lost = 100; /* before anybody looked */
    watch(now);
    now = sending(now, 1, 1000, 0);
    assert_int_equal(ppm(now), 0);
    now = sending(now, 1, 300, 1); /* few prove nothing */
    assert_true(near(ppm(now), 1000000 / 1475, 1));
    now = sending(now, 200, 1000, 10);
    assert_true(near(ppm(now), 10000, 100));
    assert_true(o.lossy && o.parity);
    now = sending(now, 27, 1000, 0); /* half after 3 s */
    assert_true(near(ppm(now), 5000, 100) && o.parity);
    while (ppm(now) > LOOKOUT_PARITY)
        now = sending(now, 1, 1000, 0);
    assert_true(o.lossy && !o.parity);
    now = sending(now, 200, 1000, 0);
    assert_true(ppm(now) < 100 && !o.lossy);
}

/* An overflowing queue says little; what was lost by mistake nothing. */
static void test_at_once(void **state)
{
    ns_t now = T;

    (void)state;
    begin(1);
    watch(now);
    now = sending(now, 400, 1000, 0);
    now = sending(now, 1, 1000, 500);
    assert_true(near(ppm(now), 20 * 1000000 / 40200, 1));
    now = sending(now, 400, 1000, 20); /* that is what it loses */
    assert_true(near(ppm(now), 20000, 200) && o.parity);
    now = sending(now, 1, 1000, 900);
    assert_true(near(ppm(now), (780 + 80) * 1000000ull / 40200, 200));

    begin(1);
    watch(T);
    now = sending(T, 1, 1000, 10);
    assert_int_equal(ppm(now), 10 * 1000000 / 1200);
    path[0].v.packets_spurious = 4;
    now = sending(now, 1, 0, 0);
    assert_true(near(ppm(now), 5750000 / 1175, 1));
    path[0].v.packets_spurious = 10;
    now = sending(now, 1, 0, 0);
    assert_int_equal(ppm(now), 0);
    path[0].v.packets_spurious = 30; /* more than there were */
    now = sending(now, 1, 0, 10);
    assert_int_equal(ppm(now), 0);
    now = sending(now, 1, 100, 11);
    assert_true(ppm(now) > 0);
}

/* Not what is lost while its controller tries what the path carries, nor what it finds out later. */
static void test_ramp(void **state)
{
    ns_t now = T;

    (void)state;
    begin(2);
    watch(now);
    path[0].v.ramping = true;
    now = sending(now, 3, 1000, 100);
    assert_int_equal(ppm(now), 0);
    path[0].v.ramping = false;
    now = sending(now, 1, 1000, 100); /* in less than two round trips, and a look */
    assert_int_equal(ppm(now), 0);
    now = sending(now, 1, 1000, 10);
    assert_true(ppm(now) > 0);

    begin(2); /* it tries, but there is little to try with */
    watch(now);
    path[0].v.ramping = path[0].v.app_limited = true;
    path[0].v.cwnd_bytes = 2 * BYTES;
    path[0].v.in_flight_bytes = BYTES;
    now = sending(now, 30, 100, 1);
    assert_true(ppm(now) > 0);

    begin(2); /* by turns */
    watch(now);
    path[0].v.ramping = path[0].v.app_limited = true;
    path[0].v.cwnd_bytes = 2 * BYTES;
    path[0].v.in_flight_bytes = BYTES + 1;
    now = sending(now, 30, 100, 1);
    assert_int_equal(ppm(now), 0);
}

/* What has carried little may lose packets, for all we know. */
static void test_unproven(void **state)
{
    (void)state;
    begin(2);
    path[0].v.packets_sent--;
    path[1].v.packets_sent--;
    watch(T);
    assert_true(o.unproven && look(0, T).unproven && look(1, T).unproven);
    assert_false(o.lossy || o.parity);
    path[1].v.packets_sent++; /* a backup may stay so for ever */
    watch(T + LOOKOUT_EVERY);
    assert_false(o.unproven || look(1, T + LOOKOUT_EVERY).unproven);
    assert_true(look(0, T + LOOKOUT_EVERY).unproven);
}

/* Where the first loss falls in more packets or fewer. */
static void test_lossy(void **state)
{
    (void)state;
    for (unsigned sent = 4770; sent <= 4800; sent += 30) {
        begin(2);
        path[1].v.packets_sent += 1;
        watch(T);
        sending(T, 1, sent, 1);
        assert_int_equal(ppm(T), sent == 4800 ? SCHED_LOSSY : SCHED_LOSSY + 1);
        assert_int_equal(o.lossy, sent != 4800);
    }
    path[0].v.packets_lost += 50; /* looked at only now and then */
    path[0].v.packets_sent += 5000;
    watch(T + 2 * LOOKOUT_EVERY - 1);
    assert_int_equal(ppm(T), SCHED_LOSSY);
    watch(T + 2 * LOOKOUT_EVERY);
    assert_true(ppm(T) > SCHED_LOSSY && o.lossy);
}

/* A parity pays where enough of all that is sent is lost. */
static void test_parity(void **state)
{
    ns_t now = T;

    (void)state;
    begin(2);
    watch(now);
    for (int i = 0; i < 200; i++) { /* 1 % of a tenth */
        path[0].v.packets_sent += 9500;
        path[1].v.packets_sent += 1000;
        path[1].v.packets_lost += 10;
        watch(now += LOOKOUT_EVERY);
        assert_true(i < 1 || (o.lossy && !o.parity));
    }
    for (int i = 0; i < 200; i++) { /* of a seventh */
        path[0].v.packets_sent += 6000;
        path[1].v.packets_sent += 1000;
        path[1].v.packets_lost += 10;
        watch(now += LOOKOUT_EVERY);
    }
    assert_true(o.parity);
    for (int i = 0; i < 200; i++) { /* half of it */
        path[0].v.packets_sent += 1000;
        path[1].v.packets_sent += 1000;
        path[1].v.packets_lost += 500;
        watch(now += LOOKOUT_EVERY);
    }
    assert_true(o.lossy && !o.parity);
}

/* ---- round trips, rates, queues -------------------------------------------------------- */

static void test_longest(void **state)
{
    (void)state;
    begin(3);
    path[0].v.min_rtt = 20 * MS;
    path[1].v.min_rtt = 30 * MS;
    path[1].v.srtt = 90 * MS;
    path[0].v.rttvar = 9 * MS;
    path[2].v.has_rtt = false; /* a guess */
    path[2].v.srtt = 333 * MS;
    path[2].v.rttvar = 166 * MS;
    watch(T);
    assert_int_equal(o.longest_rtt, 30 * MS);
    assert_int_equal(holds, 1);
    assert_int_equal(held_rtt, 90 * MS);
    assert_int_equal(held_rttvar, 9 * MS);
    watch(T + LOOKOUT_EVERY - 1);
    assert_int_equal(holds, 1);
    watch(T + LOOKOUT_EVERY);
    assert_int_equal(holds, 2);
    path[1].gone = true;
    watch(T + LOOKOUT_EVERY + 1);
    assert_int_equal(o.longest_rtt, 20 * MS);
    path[0].gone = true;
    watch(T + 2 * LOOKOUT_EVERY);
    assert_int_equal(o.longest_rtt, 0);
    assert_int_equal(holds, 2);
}

static void test_rates(void **state)
{
    struct sched_path p;

    (void)state;
    begin(1);
    fresh(0);
    path[0].v.pacing_bps = 7000000;
    watch(T);
    assert_int_equal(look(0, T).rate_bps, 7000000); /* none has shown */
    path[0].v.delivery_bps = 16000000;
    watch(T + 1);
    p = look(0, T);
    assert_int_equal(p.rate_bps, 16000000);
    assert_int_equal(p.queued, 10 * MS); /* 100 kB take 50 ms, and 40 of them on the way */
    path[0].v.delivery_bps = 24000000;
    watch(T + 2);
    assert_int_equal(look(0, T).rate_bps, 17000000);
    assert_true(near(look(0, T).queued, (ns_t)BYTES * 8000 / 17 - SRTT, 1));
    path[0].v.in_flight_bytes = BYTES / 2;
    assert_int_equal(look(0, T).queued, 0);
    path[0].v.delivery_bps = 0; /* unknown */
    watch(T + 3);
    assert_int_equal(look(0, T).rate_bps, 17000000);
    /* It is tried out: there is no rate, but a queue, and nothing that it carries is little. */
    path[0].v.ramping = true;
    path[0].v.delivery_bps = 1000000;
    path[0].v.latest_rtt = 47 * MS;
    watch(T + 4);
    p = look(0, T);
    assert_int_equal(p.rate_bps, 0);
    assert_int_equal(p.queued, 7 * MS);
    path[0].v.ramping = false;
    path[0].v.delivery_bps = 0;
    watch(T + 5);
    assert_int_equal(look(0, T).rate_bps, 17000000);
    path[0].v.ramping = true;
    path[0].v.delivery_bps = 25000000;
    watch(T + 6);
    path[0].v.ramping = false;
    assert_int_equal(look(0, T).rate_bps, 18000000);
    busy(0, T + 6, T + 6 - SRTT);
    path[0].v.delivery_bps = 10000000;
    watch(T + 8); /* nothing came since it was looked at */
    assert_int_equal(look(0, T + 8).rate_bps, 18000000);
    path[0].news = T + 9;
    watch(T + 10);
    assert_int_equal(look(0, T + 10).rate_bps, 17000000);
}

/* How much later path 1 is than path 0, as schedulers see it. */
static ns_t later(ns_t now)
{
    watch(now);
    assert_true(look(0, now).delay_known && look(1, now).delay_known);
    return look(1, now).delay - look(0, now).delay;
}

/* What stands on a path all the time is no part of its delay. */
static void test_standing(void **state)
{
    ns_t now;

    (void)state;
    begin(2);
    path[0].late_known = path[1].late_known = true;
    path[1].late = 250 * MS;
    assert_int_equal(later(T), 250 * MS);
    assert_int_equal(look(1, T).jitter, 3 * MS);
    for (now = T + 50 * MS; now < T + 10 * S; now += 50 * MS) {
        path[1].v.latest_rtt = SRTT + 20 * MS + now % (3 * MS);
        later(now);
    }
    assert_true(near(later(now), 230 * MS, 10000));
    path[1].v.latest_rtt = SRTT + 5 * MS; /* once */
    later(now);
    path[1].v.latest_rtt = SRTT + 30 * MS;
    assert_int_equal(later(now + 1), 245 * MS);
    assert_int_equal(later(now + NUMBERED_LEAST), 245 * MS);
    assert_int_equal(later(now + 2 * NUMBERED_LEAST), 220 * MS);
    path[1].v.latest_rtt = 2 * S;
    later(now + 3 * NUMBERED_LEAST);
    assert_int_equal(later(now + 4 * NUMBERED_LEAST), 150 * MS); /* so much at most */
    path[1].v.latest_rtt = SRTT - 10 * MS; /* less than the least, which was too old */
    assert_int_equal(later(now + 5 * NUMBERED_LEAST), 250 * MS);
    path[1].late_known = false;
    watch(now + 6 * NUMBERED_LEAST);
    assert_false(look(1, now).delay_known);
    watch(now + 7 * NUMBERED_LEAST);
    assert_int_equal(look(1, now).jitter, 5 * MS); /* its own variation */
}

static void test_held(void **state)
{
    (void)state;
    begin(2);
    fresh(0);
    fresh(1);
    watch(T);
    assert_false(o.held);
    path[1].v.held_back = true;
    watch(T + 1);
    assert_true(o.held);
    believed(T + 2); /* one that doesn't answer */
    assert_false(o.held);
    fresh(1);
    watch(T + S);
    assert_true(o.held);
    path[1].v.held_back = false;
    watch(T + S + 1);
    assert_false(o.held);
}

static void test_snapshot(void **state)
{
    static const enum sched_priority is[] = {
        [LINK_PRIMARY] = SCHED_PRIMARY,
        [LINK_SECONDARY] = SCHED_SECONDARY,
        [LINK_BACKUP] = SCHED_BACKUP,
        [LINK_NEVER] = SCHED_NEVER,
    };
    struct quic_path_view *v = &path[0].v;
    struct sched_path p;

    (void)state;
    begin(1);
    fresh(0);
    v->cwnd_bytes = 3 * BYTES;
    v->room_bytes = 1500;
    v->next_send = T;
    v->dgram_max_bytes = 1300;
    v->latest_rtt = 41 * MS;
    watch(T);
    p = lookout_path(&o, NULL, &socks, 0, 9, T);
    assert_true(p.usable && p.path == 7 && p.srtt == SRTT && p.min_rtt == SRTT);
    assert_true(p.cwnd_bytes == 3 * BYTES && p.flight_bytes == BYTES && p.room_bytes == 1500);
    assert_true(p.earliest == T && p.mtu_bytes == 1291 && p.jitter == 5 * MS);
    assert_int_equal(lookout_path(&o, NULL, &socks, 0, 1301, T).mtu_bytes, 0);
    v->next_send = T + 1; /* the pacer's turn: there is room then */
    assert_int_equal(look(0, T).room_bytes, 2 * BYTES);
    v->next_send = NS_NEVER;
    assert_int_equal(look(0, T).room_bytes, 1500);
    v->next_send = T + 1;
    v->cwnd_bytes = BYTES / 2;
    assert_int_equal(look(0, T).room_bytes, 1500);
    for (size_t i = 0; i < ARRAY_LEN(is); i++) {
        socks.item[0].priority = (enum link_priority)i;
        v->standby = false;
        assert_int_equal(look(0, T).priority, is[i]);
        v->standby = true; /* the peer's wish */
        assert_int_equal(look(0, T).priority, SCHED_BACKUP);
    }
    v->usable = false;
    assert_false(look(0, T).usable);
}

/* A path strays by what it does at least: a queue that comes or goes is no part of it. */
static void test_jitter(void **state)
{
    ns_t now = T;

    (void)state;
    begin(1);
    fresh(0);
    path[0].v.packets_sent = 31; /* half of the first sample, still */
    watch(now);
    assert_int_equal(look(0, now).jitter, 0);
    path[0].v.packets_sent = 32;
    watch(now += 100 * MS);
    assert_int_equal(look(0, now).jitter, 5 * MS);
    path[0].v.rttvar = 20 * MS;
    for (int i = 0; i < 3; i++) {
        watch(now += 2900 * MS);
        assert_int_equal(look(0, now).jitter, 5 * MS);
    }
    watch(now += 200 * MS);
    assert_int_equal(look(0, now).jitter, 20 * MS);
    path[0].v.rttvar = 4 * MS;
    watch(now += 100 * MS);
    assert_int_equal(look(0, now).jitter, 4 * MS);
    path[0].late_known = true; /* the far end sees better */
    watch(now += 100 * MS);
    assert_int_equal(look(0, now).jitter, 3 * MS);
}

/* Paths without a sample, a rate, a packet; and none at all. */
static void test_no_samples(void **state)
{
    struct sched_path p;

    (void)state;
    begin(0);
    assert_string_equal(watch(T), "");
    assert_true(o.check == NS_NEVER && o.slack == 0 && o.longest_rtt == 0 && !o.lossy &&
                !o.held);
    begin(2);
    for (size_t i = 0; i < 2; i++)
        path[i].v = (struct quic_path_view){.usable = true, .id = (uint32_t)(7 + i)};
    for (ns_t now = T; now < T + 20 * S; now += 50 * MS) {
        if (now == T + S)
            path[1].v.in_flight_bytes = BYTES; /* nothing ever comes back */
        path[1].news = T + S;
        path[1].v.ramping = now > T + 5 * S;
        watch(now);
        assert_int_equal(o.slack, 0);
        p = look(1, now);
        assert_true(p.loss_ppm == 0 && p.rate_bps == 0 && p.queued == 0 && p.jitter == 0);
    }
    assert_int_equal(look(1, T + 20 * S).silence, SCHED_SILENT);
    assert_int_equal(o.longest_rtt, 0);
    assert_int_equal(holds, 0);
}

/* ---- the queue's slack ----------------------------------------------------------------- */

/* Two paths of 100 Mbit/s, of which the second dies with `bytes` in flight; when. */
static ns_t dies(size_t bytes, ns_t longest_rtt)
{
    begin(3);
    path[0].v.min_rtt = longest_rtt;
    idle(2);
    fresh(0);
    fresh(1);
    path[0].v.delivery_bps = path[1].v.delivery_bps = 100000000;
    watch(T);
    assert_true(o.slack == 0 && !o.away && o.bps == 200e6);
    busy(1, T, T - SRTT);
    path[1].v.in_flight_bytes = bytes;
    assert_int_equal(follow(T), T + BEAT);
    assert_string_equal(did, "lost:8");
    assert_true(o.away && o.bps == 100e6);
    return T + BEAT;
}

/* Instant by instant. */
static void slack_is(ns_t at, ns_t want)
{
    watch(at);
    assert_true(near(o.slack, want, 10));
}

/* In the 15 seconds of its death: 500 kB, and a quarter, take 50 ms on the other path. */
static void test_slack(void **state)
{
    static const ns_t t[][2] = {
        {0, 50 * MS},         {S, 50 * MS},          {10 * S, 50 * MS},
        {11 * S, 40 * MS},    {12500 * MS, 25 * MS}, {14 * S, 10 * MS},
        {15 * S - MS, 10000}, {15 * S, 0},           {16 * S, 0},
    };
    ns_t died = dies(500000, SRTT);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        slack_is(died + t[i][0], t[i][1]);
        assert_true(o.away == (t[i][1] > 0) && o.bps == 100e6); /* one given up is not away */
    }
    died = dies(5000000, SRTT); /* there is an end */
    slack_is(died, 300 * MS);
    slack_is(died + 12500 * MS, 250 * MS);
    died = dies(500000, SRTT);
    path[0].v.delivery_bps = 0;
    path[2].v.delivery_bps = 100000000; /* all that are heard carry it */
    slack_is(died + S, 25 * MS);
    assert_true(o.away && o.bps == 200e6);
}

/* The flows' windows reach as far as the longest way, also for what a shorter one carried. */
static void test_slack_far(void **state)
{
    (void)state;
    slack_is(dies(BYTES, 80 * MS), 100 * MS);
}

/* It is back: a second, and its window is filled. */
static void test_slack_ends(void **state)
{
    ns_t died = dies(500000, SRTT);

    (void)state;
    slack_is(died + S, 50 * MS);
    fresh(1);
    slack_is(died + 2 * S, 50 * MS);
    assert_true(!o.away && o.bps == 100e6); /* nor counted on before its window is filled */
    slack_is(died + 2 * S + 500 * MS, 25 * MS);
    slack_is(died + 3 * S, 0);
    assert_true(!o.away && o.bps == 200e6);
    died = dies(500000, SRTT);
    slack_is(died + 12500 * MS, 25 * MS);
    fresh(1);
    slack_is(died + 12500 * MS, 25 * MS); /* from what is left */
    slack_is(died + 13 * S, 12500000);
    slack_is(died + 13500 * MS, 0);
    died = dies(500000, SRTT);
    fresh(1);
    slack_is(died + 17 * S, 0); /* nobody waits any more */
    died = dies(500000, SRTT);
    slack_is(died + S, 50 * MS);
    path[0].gone = true; /* what is left has shown no rate yet */
    slack_is(died + 2 * S, 50 * MS);
    assert_true(o.away && o.bps == 0);
    path[2].v.delivery_bps = 200000000;
    slack_is(died + 2 * S + 1, 50 * MS); /* for both */
    assert_true(o.away && o.bps == 200e6);
}

/* It ends, in silence or while it carries: the flows still have their windows. */
static void test_slack_over(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        ns_t died = way < 2 ? dies(500000, SRTT) : T + BEAT;

        if (way == 2) {
            dies(500000, SRTT);
            fresh(1);
            watch(T + 40 * S);
            died = T + 50 * S;
        }
        path[1].gone = way != 1;
        path[1].v.usable = way != 1; /* it is abandoned, and soon over */
        slack_is(died + S, 50 * MS);
        path[1].gone = true;
        slack_is(died + 2 * S, 50 * MS);
        assert_true(o.away && o.bps == 100e6);
        slack_is(died + 17 * S, 0);
        assert_false(o.away);
    }
}

/* What comes in its place: another path, and the first that is heard. */
static void test_slack_instead(void **state)
{
    ns_t died;

    (void)state;
    for (int way = 0; way < 3; way++) { /* over; about to be; only silent */
        died = dies(500000, SRTT);
        path[1].gone = way == 0;
        path[1].v.usable = way != 1;
        slack_is(died + S, 50 * MS);
        paths = 4;
        path[3].v = path[0].v;
        path[3].v.id = 11;
        path[3].v.usable = false; /* not yet */
        path[3].v.delivery_bps = 300000000;
        fresh(3);
        slack_is(died + 2 * S, 50 * MS);
        assert_true(o.away && o.bps == 100e6);
        path[3].v.usable = true;
        watch(died + 3 * S);
        assert_true(o.away == (way == 2) && o.bps == (way == 2 ? 400e6 : 100e6));
        watch(died + 3 * S + 500 * MS);
        assert_true(near(o.slack, way == 2 ? 12500000 : 25 * MS, 10));
        watch(died + 4 * S);
        assert_true((o.slack == 0) == (way != 2) && o.bps == 400e6);
    }
    /* One for one. */
    died = dies(500000, SRTT);
    path[0].gone = path[1].gone = true;
    path[2].v.delivery_bps = 100000000;
    slack_is(died + S, 100 * MS);
    path[0].gone = false;
    path[0].v.id = 11;
    watch(died + 2 * S);
    assert_true(o.away && o.bps == 100e6);
    slack_is(died + 3 * S, 25 * MS);
    assert_true(o.away && o.bps == 200e6);
    path[1].gone = false;
    path[1].v.id = 12;
    fresh(1);
    watch(died + 4 * S);
    assert_false(o.away);
    slack_is(died + 5 * S, 0);
    assert_true(o.bps == 300e6);
}

/* More than there are places for: the latest count. */
static void test_slack_many(void **state)
{
    ns_t now = T;

    (void)state;
    begin(2);
    fresh(0);
    fresh(1);
    path[0].v.delivery_bps = 1000000000;
    path[1].v.delivery_bps = 8000000;
    for (uint32_t id = 20; id < 60; id++) {
        path[1].v.id = id;
        watch(now += 20 * MS);
    }
    assert_true(o.slack > 0 && o.bps == 1e9);
    watch(now + S);
    path[1].gone = true;
    watch(now + 2 * S);
    assert_true(o.away);
    watch(now + 20 * S);
    assert_true(o.slack == 0 && !o.away);
}

/* Nor do their losses count, by which they had to find out what they carry; or none. */
static void test_slack_losses(void **state)
{
    ns_t died;
    uint32_t before;

    (void)state;
    for (int lossy = 0; lossy < 2; lossy++) {
        begin(3);
        idle(2);
        fresh(0);
        fresh(1);
        path[0].v.delivery_bps = path[1].v.delivery_bps = 100000000;
        for (died = T; died < T + 5 * S; died += 100 * MS) {
            path[0].v.packets_sent += 1000;
            path[0].v.packets_lost += 10 * (size_t)lossy;
            watch(died);
        }
        busy(1, died, died - SRTT);
        follow(died);
        before = look(0, died).loss_ppm;
        assert_true((before > 5000) == lossy);
        for (ns_t now = died + S; now < died + 15 * S; now += 100 * MS) {
            path[0].v.packets_sent += 1000;
            path[0].v.packets_lost += lossy ? 0 : 20;
            watch(now);
            assert_int_equal(look(0, now).loss_ppm, before);
        }
        watch(died + 16 * S);
        path[0].v.packets_sent += 1000;
        path[0].v.packets_lost += 20;
        watch(died + 17 * S);
        assert_true(o.slack == 0 && look(0, died).loss_ppm != before);
        assert_true(look(0, died).loss_ppm < 12000);
    }
}

/* While a link is missed, others carry what they were not tried with. */
static void test_slack_unproven(void **state)
{
    ns_t died = dies(500000, SRTT);

    (void)state;
    assert_true(look(0, died).unproven);
    fresh(1);
    watch(died + S);
    assert_true(look(0, died).unproven && look(1, died).unproven);
    watch(died + 3 * S);
    assert_false(look(0, died).unproven || look(1, died).unproven);
}

/* ---- when to look ---------------------------------------------------------------------- */

/* While nothing is kept there is no hurry. */
static void test_soon(void **state)
{
    (void)state;
    begin(2);
    fresh(0);
    busy(1, T, T - SRTT);
    watch(T);
    assert_int_equal(o.check, T + BEAT);
    n.repair.next = 0;
    watch(T + BEAT - 1);
    assert_string_equal(watch(T + BEAT), "");
    assert_true(o.check == NS_NEVER);
    assert_string_equal(watch(T + BEAT - 1 + LOOKOUT_SOON - 1), "");
    assert_string_equal(watch(T + BEAT - 1 + LOOKOUT_SOON), "lost:8");
    fresh(1);
    watch(T + S);
    busy(1, T + S, T + S - SRTT);
    watch(T + S + BEAT - 1);
    n.repair.next = 1;
    assert_string_equal(watch(T + S + BEAT), "lost:8");
}

/* Paths of all sorts without news: no look is late, and after some there are no more. */
static void test_check(void **state)
{
    uint64_t seed = 1;

    (void)state;
    for (int run = 0; run < 2000; run++) {
        ns_t now = T;
        int looks;

        begin(1 + rnd(&seed) % 5);
        for (size_t i = 0; i < paths; i++) {
            ns_t news = T - rnd(&seed) % (100 * MS);

            path[i].v.srtt = 1 + rnd(&seed) % (200 * MS);
            path[i].v.rttvar = rnd(&seed) % (20 * MS);
            path[i].v.usable = rnd(&seed) % 8 > 0;
            busy(i, news, T - rnd(&seed) % (200 * MS));
            if (rnd(&seed) % 4 == 0)
                idle(i);
        }
        watch(now);
        for (looks = 0; o.check != NS_NEVER && looks < 20; looks++) {
            ns_t at = o.check;

            assert_string_equal(watch(now + rnd(&seed) % (at - now)), "");
            assert_string_equal(watch(at - 1), "");
            watch(at);
            now = at;
        }
        assert_true(looks < 20);
        assert_string_equal(watch(now + S), "");
        for (size_t i = 0; i < paths; i++)
            if (path[i].v.in_flight_bytes > 0)
                assert_int_equal(look(i, now + S).silence, SCHED_SILENT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_suspected),      cmocka_unit_test(test_silence),
        cmocka_unit_test(test_timeout),        cmocka_unit_test(test_heard_again),
        cmocka_unit_test(test_spare),          cmocka_unit_test(test_spare_ends),
        cmocka_unit_test(test_wish),           cmocka_unit_test(test_ramp),
        cmocka_unit_test(test_alone),          cmocka_unit_test(test_all_silent),
        cmocka_unit_test(test_pauses),         cmocka_unit_test(test_pause_fades),
        cmocka_unit_test(test_another_id),     cmocka_unit_test(test_over),
        cmocka_unit_test(test_never_numbered), cmocka_unit_test(test_many),
        cmocka_unit_test(test_losses),         cmocka_unit_test(test_at_once),
        cmocka_unit_test(test_parity),         cmocka_unit_test(test_unproven),
        cmocka_unit_test(test_lossy),          cmocka_unit_test(test_longest),
        cmocka_unit_test(test_rates),          cmocka_unit_test(test_standing),
        cmocka_unit_test(test_held),           cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_jitter),         cmocka_unit_test(test_no_samples),
        cmocka_unit_test(test_slack),          cmocka_unit_test(test_slack_far),
        cmocka_unit_test(test_slack_ends),     cmocka_unit_test(test_slack_over),
        cmocka_unit_test(test_slack_instead),  cmocka_unit_test(test_slack_many),
        cmocka_unit_test(test_slack_unproven), cmocka_unit_test(test_slack_losses),
        cmocka_unit_test(test_soon),           cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
