/*
 * The life of paths in the simulator: abandoned and opened anew, path 0 among them, by either
 * end; NATs that rebind, key updates, lost control frames, wishes, and a peer without multipath.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mp/ext.h"
#include "test/sim/lanes.h"

#define MB  1000000u
#define PPM 10000u /* a percent */

static bool view(struct lanes *l, int end, size_t path, struct quic_path_view *v)
{
    return quic_path_view(l->conn[end], path, l->w.sim.now, v) == 0;
}

static bool usable(struct lanes *l, int end, size_t path)
{
    struct quic_path_view v;
    return view(l, end, path, &v) && v.usable;
}

/* The index of a path ID at an end; SIZE_MAX if it is not open there. */
static size_t index_of(struct lanes *l, int end, uint32_t id)
{
    struct quic_path_view v;
    for (size_t i = 0; i < quic_path_count(l->conn[end]); i++)
        if (view(l, end, i, &v) && v.id == id)
            return i;
    return SIZE_MAX;
}

/* ---- abandoned and opened anew ------------------------------------------------------- */

/* Lanes are given up and taken up for a while, path 0 among them; streams don't notice. */
static void reopen(uint64_t seed)
{
    struct lanes l;
    uint32_t last_id = 2;
    lanes_init(&l, seed, 3);
    for (size_t i = 0; i < l.n; i++)
        for (int d = UP; d <= DOWN; d++)
            l.lane[i].link[d]->loss_ppm = seed % 2 ? PPM : 0;
    l.w.xfer.streams = 2;
    l.w.xfer.up = l.w.xfer.down = 8 * MB;
    lanes_start(&l);
    lanes_run(&l, 0.5);
    for (unsigned k = 0; k < 20; k++) {
        size_t lane = (k + seed) % l.n;
        int end = k % 3 == 2; /* now and then the server is the one to abandon */
        struct quic_path_view v;
        WORLD_CHECK(&l.w, view(&l, 0, l.path[lane], &v));
        size_t at = end ? index_of(&l, 1, v.id) : l.path[lane];
        WORLD_CHECK(&l.w, at != SIZE_MAX);
        WORLD_CHECK(&l.w,
                    mp_abandon(l.conn[end], at, MP_APPLICATION_ABANDON_PATH, l.w.sim.now) == 0);
        WORLD_CHECK(&l.w, !usable(&l, end, at));
        for (int wait = 0; wait < 20 && index_of(&l, !end, v.id) != SIZE_MAX; wait++)
            lanes_run(&l, 0.1);
        WORLD_CHECK(&l.w, index_of(&l, 0, v.id) == SIZE_MAX);
        WORLD_CHECK(&l.w, index_of(&l, 1, v.id) == SIZE_MAX);
        WORLD_CHECK(&l.w, l.gone_code[!end] == MP_APPLICATION_ABANDON_PATH);
        int r = QUIC_BLOCKED;
        for (int wait = 0; wait < 100 && r == QUIC_BLOCKED; wait++) {
            r = lanes_open(&l, lane);
            lanes_run(&l, 0.02);
        }
        WORLD_CHECK(&l.w, r == 0 && view(&l, 0, l.path[lane], &v));
        WORLD_CHECK(&l.w, v.id > last_id); /* never used again */
        last_id = v.id;
        for (int wait = 0; wait < 20 && !usable(&l, 0, l.path[lane]); wait++)
            lanes_run(&l, 0.1);
        lanes_run(&l, 0.1);
        WORLD_CHECK(&l.w, usable(&l, 0, l.path[lane]));
        WORLD_CHECK(&l.w, lanes_check(&l));
    }
    WORLD_CHECK(&l.w, world_run(&l.w, 60 * NS_PER_S));
    WORLD_CHECK(&l.w, l.gone[0] == 20 && l.gone[1] == 20);
    lanes_run(&l, 5);
    for (int end = 0; end < 2; end++) {
        struct mp_stats s;
        mp_stats(l.conn[end], &s);
        WORLD_CHECK(&l.w, s.over == 20 && s.local_max == 28 && s.peer_max == 28);
        WORLD_CHECK(&l.w, l.conn[end]->n_paths == 9);
    }
    WORLD_CHECK(&l.w, lanes_check(&l));
    lanes_free(&l);
}

static void test_reopen(void **state)
{
    (void)state;
    world_each_seed(6, reopen);
}

/*
 * What is on its way when a path is abandoned is acknowledged over others, and no packet that
 * comes late is answered by a stateless reset.
 */
static void late(uint64_t seed)
{
    struct lanes l;
    lanes_init(&l, seed, 2);
    l.lane[1].link[UP]->delay = l.lane[1].link[DOWN]->delay = 80 * NS_PER_MS;
    lanes_start(&l);
    lanes_run(&l, 1);
    l.flood[0].on = true;
    lanes_run(&l, 2);
    uint64_t lost = l.flood[0].fates[QUIC_FATE_LOST];
    l.flood[0].on = false;
    WORLD_CHECK(&l.w, mp_abandon(l.conn[0], l.path[1], MP_NO_ERROR, l.w.sim.now) == 0);
    lanes_run(&l, 3);
    WORLD_CHECK(&l.w, l.flood[0].fates[QUIC_FATE_LOST] == lost);
    WORLD_CHECK(&l.w, l.flood[0].fates[QUIC_FATE_ACKED] + lost == l.flood[0].sent);
    WORLD_CHECK(&l.w, l.w.server->answers == 0 && l.w.client->answers == 0);
    WORLD_CHECK(&l.w, !l.w.xfer.end[0].closed && !l.w.xfer.end[1].closed);
    WORLD_CHECK(&l.w, lanes_check(&l));
    lanes_free(&l);
}

static void test_late(void **state)
{
    (void)state;
    world_each_seed(3, late);
}

/* The last path can't be abandoned; one that never answers is, and its ID is spent. */
static void test_no_answer(void **state)
{
    (void)state;
    struct lanes l;
    lanes_init(&l, 1, 2);
    l.lane[1].cut[UP] = true;
    lanes_start(&l);
    lanes_run(&l, 0.5);
    assert_int_equal(mp_abandon(l.conn[0], 7, 0, l.w.sim.now), QUIC_INVAL);
    assert_int_equal(mp_abandon(l.conn[0], 99, 0, l.w.sim.now), QUIC_INVAL);
    assert_int_equal(l.news[0], 1);
    assert_false(usable(&l, 0, l.path[1]));
    lanes_run(&l, 5);
    assert_int_equal(l.gone[0], 1);
    assert_int_equal(l.gone_code[0], MP_PATH_UNSTABLE_OR_POOR);
    assert_int_equal(l.news[1] + l.gone[1], 0);
    assert_int_equal(mp_abandon(l.conn[0], 0, 0, l.w.sim.now), QUIC_BLOCKED);
    l.lane[1].cut[UP] = false;
    assert_int_equal(lanes_open(&l, 1), 0);
    lanes_run(&l, 0.2);
    struct quic_path_view v;
    assert_true(view(&l, 0, l.path[1], &v));
    assert_true(v.usable);
    assert_int_equal(v.id, 2);
    /* Now path 0 may go. */
    assert_int_equal(mp_abandon(l.conn[0], 0, 0, l.w.sim.now), 0);
    assert_int_equal(mp_abandon(l.conn[0], 0, 0, l.w.sim.now), 0);
    lanes_run(&l, 2);
    assert_int_equal(l.gone[1], 1);
    assert_true(lanes_check(&l));
    /* And the end of it all goes over what is left. */
    quic_close(l.conn[0], 7, "enough", l.w.sim.now);
    lanes_run(&l, 0.1);
    assert_true(l.w.xfer.end[1].closed);
    assert_int_equal(l.w.xfer.end[1].close.code, 7);
    lanes_free(&l);
}

/* ---- every control frame may be lost ------------------------------------------------- */

static bool lose_some(struct lanes *l, struct sim_packet *pkt, enum world_dir dir)
{
    (void)pkt, (void)dir;
    return sim_rng_below(&l->w.sim.rng, 10) >= 3;
}

static void lossy(uint64_t seed)
{
    struct lanes l;
    lanes_init(&l, seed, 3);
    l.w.client_cfg.conn.idle = l.w.server_cfg.conn.idle = 0;
    lanes_start(&l);
    lanes_run(&l, 0.3);
    for (size_t i = 0; i < l.n; i++)
        l.lane[i].keep = lose_some;
    for (unsigned k = 0; k < 4; k++) {
        struct quic_path_view v;
        size_t lane = 1 + k % 2;
        if (l.path[lane] == SIZE_MAX || !view(&l, 0, l.path[lane], &v)) {
            lanes_open(&l, lane);
        } else {
            mp_set_backup(l.conn[0], l.path[lane], true, l.w.sim.now);
            lanes_run(&l, 0.5);
            mp_abandon(l.conn[0], l.path[lane], MP_NO_ERROR, l.w.sim.now);
        }
        lanes_run(&l, 3);
    }
    for (size_t i = 0; i < l.n; i++)
        l.lane[i].keep = NULL;
    lanes_run(&l, 30);
    struct mp_stats a, b;
    mp_stats(l.conn[0], &a);
    mp_stats(l.conn[1], &b);
    WORLD_CHECK(&l.w, a.over > 0 && a.over == b.over);
    WORLD_CHECK(&l.w, a.local_max == 8 + a.over && b.peer_max == a.local_max);
    WORLD_CHECK(&l.w, b.local_max == 8 + b.over && a.peer_max == b.local_max);
    for (size_t i = 0; i < 9; i++) { /* IDs are there for all that is ahead */
        const struct quic_path *p = &l.conn[0]->path[i];
        WORLD_CHECK(&l.w, p->phase != PATH_AHEAD || cid_remote_unused(&p->theirs) == 1);
    }
    WORLD_CHECK(&l.w, lanes_check(&l));
    WORLD_CHECK(&l.w, !l.w.xfer.end[0].closed && !l.w.xfer.end[1].closed);
    lanes_free(&l);
}

static void test_lossy(void **state)
{
    (void)state;
    world_each_seed(20, lossy);
}

/* ---- routes -------------------------------------------------------------------------- */

/* The NAT of one path rebinds: that path is validated anew, the others don't notice. */
static void rebind(uint64_t seed)
{
    struct lanes l;
    size_t lane = seed % 3;
    lanes_init(&l, seed, 3);
    l.w.xfer.streams = 2;
    l.w.xfer.up = l.w.xfer.down = 6 * MB;
    lanes_start(&l);
    lanes_run(&l, 1);
    for (int k = 0; k < 3; k++) {
        unsigned valid = l.valid[1];
        lanes_rebind(&l, lane);
        quic_ping(l.conn[0], l.path[lane]);
        lanes_run(&l, 0.5);
        WORLD_CHECK(&l.w, l.valid[1] > valid);
        for (size_t i = 0; i < l.n; i++) {
            struct quic_path_view c, s;
            WORLD_CHECK(&l.w, view(&l, 0, l.path[i], &c));
            WORLD_CHECK(&l.w, view(&l, 1, index_of(&l, 1, c.id), &s));
            WORLD_CHECK(&l.w, s.validated && s.usable);
            WORLD_CHECK(&l.w, quic_addr_eq(&s.route.remote, &l.lane[i].nat.outside));
        }
    }
    WORLD_CHECK(&l.w, world_run(&l.w, 30 * NS_PER_S));
    WORLD_CHECK(&l.w, l.gone[0] + l.gone[1] == 0);
    WORLD_CHECK(&l.w, lanes_check(&l));
    lanes_free(&l);
}

static void test_rebind(void **state)
{
    (void)state;
    world_each_seed(6, rebind);
}

/* A path of the client's moves to another lane by itself: same ID, other connection IDs. */
static void test_move(void **state)
{
    (void)state;
    struct lanes l;
    lanes_init(&l, 1, 3);
    l.wait = true;
    l.w.xfer.streams = 1;
    l.w.xfer.up = l.w.xfer.down = 3 * MB;
    lanes_start(&l);
    lanes_run(&l, 0.2);
    assert_int_equal(lanes_open(&l, 1), 0);
    lanes_run(&l, 0.5);
    struct quic_route route = lanes_route(&l, 2);
    struct quic_conn *server = l.conn[1];
    size_t at = index_of(&l, 1, 1);
    struct quic_cid before = *path_dcid(&server->path[at], path_current(&server->path[at]));
    assert_int_equal(quic_path_move(l.conn[0], l.path[1], &route, l.w.sim.now), 0);
    lanes_run(&l, 0.5);
    struct quic_path_view v;
    assert_true(view(&l, 1, at, &v));
    assert_true(v.id == 1 && v.validated &&
                v.route.remote.ip[3] == l.lane[2].nat.outside.ip[3]);
    assert_false(
        cid_eq(&before, path_dcid(&server->path[at], path_current(&server->path[at]))));
    assert_true(world_run(&l.w, 30 * NS_PER_S));
    assert_true(lanes_check(&l));
    lanes_free(&l);
}

/* ---- keys ---------------------------------------------------------------------------- */

/* Keys are updated while packets of both generations are on paths of different length. */
static void key_update(uint64_t seed)
{
    struct lanes l;
    unsigned updates = 0;
    lanes_init(&l, seed, 3);
    for (size_t i = 0; i < l.n; i++)
        for (int d = UP; d <= DOWN; d++) {
            l.lane[i].link[d]->delay = NS_PER_MS * (5 + 70 * i);
            l.lane[i].link[d]->jitter = 3 * NS_PER_MS;
        }
    l.w.xfer.streams = 2;
    l.w.xfer.up = l.w.xfer.down = 3 * MB;
    lanes_start(&l);
    lanes_run(&l, 0.5);
    l.flood[0].on = l.flood[1].on = true;
    for (int k = 0; k < 200; k++) {
        updates += quic_key_update(l.conn[(k + seed) % 2]) == 0;
        lanes_run(&l, 0.05);
    }
    l.flood[0].on = l.flood[1].on = false;
    WORLD_CHECK(&l.w, world_run(&l.w, 60 * NS_PER_S));
    struct quic_stats s[2];
    quic_stats(l.conn[0], &s[0]);
    quic_stats(l.conn[1], &s[1]);
    WORLD_CHECK(&l.w, updates >= 4 && s[0].key_updates >= 4);
    WORLD_CHECK(&l.w, s[0].drop_crypt + s[1].drop_crypt == 0);
    WORLD_CHECK(&l.w, !l.w.xfer.end[0].closed && !l.w.xfer.end[1].closed);
    WORLD_CHECK(&l.w, lanes_check(&l));
    lanes_free(&l);
}

static void test_key_update(void **state)
{
    (void)state;
    world_each_seed(4, key_update);
}

/* ---- wishes -------------------------------------------------------------------------- */

/* A path that the peer wants spared carries nothing while another one works. */
static void test_backup(void **state)
{
    (void)state;
    struct lanes l;
    struct quic_path_view v;
    lanes_init(&l, 1, 2);
    lanes_start(&l);
    lanes_run(&l, 0.5);
    assert_int_equal(mp_set_backup(l.conn[0], 8, true, l.w.sim.now), QUIC_INVAL);
    assert_int_equal(mp_set_backup(l.conn[0], 0, true, l.w.sim.now), 0);
    lanes_run(&l, 0.3);
    assert_true(view(&l, 1, 0, &v));
    assert_true(v.standby);
    assert_true(view(&l, 0, 0, &v));
    assert_false(v.standby); /* that is what the server wishes, and it wishes nothing */
    uint64_t down = l.lane[0].link[DOWN]->node.bytes, up = l.lane[0].link[UP]->node.bytes;
    l.w.xfer.up = l.w.xfer.down = 2 * MB;
    assert_true(world_again(&l.w, 2, 30 * NS_PER_S));
    assert_true(l.lane[0].link[DOWN]->node.bytes - down < MB / 4); /* acknowledgements */
    assert_true(l.lane[0].link[UP]->node.bytes - up > MB);
    /* The other one dies: a spared path is better than none. */
    l.lane[1].cut[UP] = l.lane[1].cut[DOWN] = true;
    assert_true(world_again(&l.w, 4, 30 * NS_PER_S));
    assert_true(l.lane[0].link[DOWN]->node.bytes - down > 3 * MB);
    assert_int_equal(mp_set_backup(l.conn[0], 0, false, l.w.sim.now), 0);
    lanes_run(&l, 1);
    assert_true(view(&l, 1, 0, &v));
    assert_false(v.standby);
    assert_true(lanes_check(&l));
    lanes_free(&l);
}

/* That a path gives no news is said by another one, and is forgotten beside a wish that stays. */
static void test_spare(void **state)
{
    (void)state;
    struct lanes l;
    struct quic_path_view v;
    for (size_t dead = 0; dead < 2; dead++) {
        lanes_init(&l, 1, 2);
        lanes_start(&l);
        lanes_run(&l, 0.5);
        assert_int_equal(mp_spare(l.conn[0], 8, true, l.w.sim.now), QUIC_INVAL);
        l.lane[dead].cut[UP] = l.lane[dead].cut[DOWN] = true;
        assert_int_equal(mp_spare(l.conn[0], l.path[dead], true, l.w.sim.now), 0);
        sim_host_wake(l.w.client);
        lanes_run(&l, 0.03); /* no probe timeout has passed that would send it again */
        assert_true(view(&l, 1, dead, &v));
        assert_true(v.standby);
        assert_true(view(&l, 1, !dead, &v));
        assert_false(v.standby);
        l.lane[dead].cut[UP] = l.lane[dead].cut[DOWN] = false;
        assert_int_equal(mp_set_backup(l.conn[0], l.path[dead], true, l.w.sim.now), 0);
        assert_int_equal(mp_spare(l.conn[0], l.path[dead], false, l.w.sim.now), 0);
        lanes_run(&l, 1);
        assert_true(view(&l, 1, dead, &v));
        assert_true(v.standby);
        assert_int_equal(mp_set_backup(l.conn[0], l.path[dead], false, l.w.sim.now), 0);
        lanes_run(&l, 1);
        assert_true(view(&l, 1, dead, &v));
        assert_false(v.standby);
        assert_true(lanes_check(&l));
        lanes_free(&l);
    }
}

/*
 * Acknowledgements over the fastest path: what a slow link carried is known a round trip of the
 * slow way and the fast one later; and the death of the fastest makes no other one silent.
 */
static void acks_fastest(uint64_t seed)
{
    struct lanes l;
    struct quic_path_view v;
    lanes_init(&l, seed, 2);
    for (int d = UP; d <= DOWN; d++) {
        l.lane[0].link[d]->delay = 5 * NS_PER_MS;
        l.lane[1].link[d]->delay = 100 * NS_PER_MS;
    }
    lanes_start(&l);
    lanes_run(&l, 1);
    quic_set_acks(l.conn[0], QUIC_ACKS_FASTEST);
    quic_set_acks(l.conn[1], QUIC_ACKS_FASTEST);
    l.flood[0].on = true;
    lanes_run(&l, 3);
    WORLD_CHECK(&l.w, view(&l, 0, l.path[1], &v));
    WORLD_CHECK(&l.w, v.min_rtt < 120 * NS_PER_MS); /* 105, not 200 */
    for (size_t i = 0; i < 2; i++)
        WORLD_CHECK(&l.w, l.flood[0].by_lane[i] > 0);
    l.lane[0].cut[UP] = l.lane[0].cut[DOWN] = true;
    for (int k = 0; k < 40; k++) {
        lanes_run(&l, 0.05);
        WORLD_CHECK(&l.w, view(&l, 0, l.path[1], &v) && !v.silent);
    }
    WORLD_CHECK(&l.w, view(&l, 0, 0, &v) && v.silent);
    uint64_t got = l.flood[0].by_lane[1];
    lanes_run(&l, 2);
    WORLD_CHECK(&l.w, l.flood[0].by_lane[1] > got + MB);
    l.flood[0].on = false;
    l.lane[0].cut[UP] = l.lane[0].cut[DOWN] = false;
    lanes_run(&l, 3);
    WORLD_CHECK(&l.w, lanes_check(&l));
    lanes_free(&l);
}

static void test_acks_fastest(void **state)
{
    (void)state;
    world_each_seed(3, acks_fastest);
}

/* ---- limits -------------------------------------------------------------------------- */

/* Ends with different limits: the lower one counts, and whoever wants more says so. */
static void test_limits(void **state)
{
    (void)state;
    struct lanes l;
    struct mp_stats s;
    lanes_init(&l, 1, 5);
    l.w.server_cfg.conn.max_paths = 3;
    lanes_start(&l);
    lanes_run(&l, 1);
    assert_int_equal(l.news[0], 2);
    assert_int_equal(l.next, 3);
    mp_stats(l.conn[0], &s);
    assert_int_equal(s.local_max, 8);
    assert_int_equal(s.peer_max, 2);
    mp_stats(l.conn[1], &s);
    assert_int_equal(s.paths_blocked, 1);
    assert_int_equal(lanes_open(&l, 3), QUIC_BLOCKED); /* and is not said again */
    lanes_run(&l, 1);
    mp_stats(l.conn[1], &s);
    assert_int_equal(s.paths_blocked, 1);
    /* One is over: the server allows another ID, and the next lane opens by itself. */
    assert_int_equal(mp_abandon(l.conn[0], l.path[1], MP_NO_ERROR, l.w.sim.now), 0);
    lanes_run(&l, 2);
    assert_int_equal(l.news[0], 3);
    assert_true(usable(&l, 0, l.path[3]));
    assert_true(lanes_check(&l));
    lanes_free(&l);
}

/* One of the two without multipath, or both: plain QUIC. */
static void test_plain(void **state)
{
    (void)state;
    for (int k = 0; k < 3; k++) {
        struct lanes l;
        struct quic_path_view v;
        size_t path;
        lanes_init(&l, 1, 2);
        if (k != 1)
            l.w.client_cfg.conn.ext = NULL;
        if (k != 0)
            l.w.server_cfg.conn.ext = NULL;
        l.w.xfer.streams = 2;
        l.w.xfer.up = l.w.xfer.down = MB;
        lanes_start(&l);
        assert_true(world_run(&l.w, 10 * NS_PER_S));
        for (int end = 0; end < 2; end++) {
            assert_false(mp_negotiated(l.conn[end]));
            assert_int_equal(quic_path_count(l.conn[end]), 1);
            assert_true(view(&l, end, 0, &v));
            assert_true(v.usable && v.validated && !v.silent);
        }
        struct quic_route route = lanes_route(&l, 1);
        assert_int_equal(mp_open(l.conn[0], &route, l.w.sim.now, &path), QUIC_INVAL);
        assert_int_equal(mp_abandon(l.conn[0], 0, 0, l.w.sim.now), QUIC_INVAL);
        assert_int_equal(mp_ready(l.conn[0]), 0);
        lanes_free(&l);
    }
}

/* Where the server forbids migration, its handshake address has one path. */
static void test_no_migration(void **state)
{
    (void)state;
    struct lanes l;
    lanes_init(&l, 1, 2);
    l.wait = true;
    lanes_start(&l);
    lanes_run(&l, 0.5);
    l.conn[0]->peer.disable_active_migration = true;
    assert_int_equal(lanes_open(&l, 1), QUIC_INVAL);
    l.conn[0]->peer.has_preferred = true;
    memcpy(l.conn[0]->peer.preferred.ip4, l.w.server_addr.ip, 4);
    l.conn[0]->peer.preferred.port4 = l.w.server_addr.port;
    assert_int_equal(lanes_open(&l, 1), 0);
    struct quic_route route = lanes_route(&l, 1);
    size_t path;
    assert_int_equal(mp_open(l.conn[1], &route, l.w.sim.now, &path), QUIC_INVAL);
    lanes_free(&l);
}

/* A server that has forgotten the connection says so on whatever path is asked. */
static void test_reset(void **state)
{
    (void)state;
    struct lanes l;
    lanes_init(&l, 1, 2);
    lanes_start(&l);
    lanes_run(&l, 1);
    l.lane[0].cut[UP] = true;
    sim_host_restart(l.w.server);
    l.conn[1] = NULL;
    quic_ping(l.conn[0], l.path[1]);
    lanes_run(&l, 1);
    assert_true(l.w.xfer.end[0].closed);
    assert_int_equal(l.w.xfer.end[0].close.kind, QUIC_CLOSE_RESET);
    lanes_free(&l);
}

/* One path that lives keeps the connection; and paths without traffic are kept alive. */
static void test_idle(void **state)
{
    (void)state;
    struct lanes l;
    lanes_init(&l, 1, 2);
    l.w.client_cfg.conn.idle = l.w.server_cfg.conn.idle = 5 * NS_PER_S;
    l.w.client_cfg.conn.keep_alive = NS_PER_S;
    lanes_start(&l);
    lanes_run(&l, 1);
    uint64_t quiet = l.lane[1].link[UP]->node.passed;
    l.flood[0].on = true;
    l.flood[0].size = 100;
    lanes_run(&l, 1);
    l.flood[0].on = false;
    lanes_run(&l, 10);
    assert_true(l.lane[1].link[UP]->node.passed > quiet + 5);
    l.lane[0].cut[UP] = l.lane[0].cut[DOWN] = true;
    lanes_run(&l, 20);
    assert_false(l.w.xfer.end[0].closed || l.w.xfer.end[1].closed);
    l.lane[1].cut[UP] = l.lane[1].cut[DOWN] = true;
    lanes_run(&l, 20);
    assert_true(l.w.xfer.end[0].closed && l.w.xfer.end[1].closed);
    assert_int_equal(l.w.xfer.end[0].close.kind, QUIC_CLOSE_IDLE);
    lanes_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reopen),       cmocka_unit_test(test_late),
        cmocka_unit_test(test_no_answer),    cmocka_unit_test(test_lossy),
        cmocka_unit_test(test_rebind),       cmocka_unit_test(test_move),
        cmocka_unit_test(test_key_update),   cmocka_unit_test(test_backup),
        cmocka_unit_test(test_spare),        cmocka_unit_test(test_acks_fastest),
        cmocka_unit_test(test_limits),       cmocka_unit_test(test_plain),
        cmocka_unit_test(test_no_migration), cmocka_unit_test(test_reset),
        cmocka_unit_test(test_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
