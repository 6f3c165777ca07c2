/* What a client wants sent to it at most bounds the server, path by path. */
#include "test/bond.h"

#define CAP 4000 /* kbit/s, of links of 20000 */

static void tell(struct bond *b, int side, const struct path_rate *list, size_t n)
{
    assert_int_equal(session_rates(&b->end[side]->s, list, n), 0);
    bond_wake(b->end[side]);
    bond_seconds(b, 0.2);
}

/* One rate for path `id`; the others' are taken back. */
static void tell_one(struct bond *b, int side, uint64_t id, uint64_t kbps)
{
    tell(b, side, &(struct path_rate){id, kbps}, 1);
}

/* The bound of path `id` in bits per second; 1: there is no such path. */
static uint64_t bound(const struct bond *b, int side, uint32_t id)
{
    const struct quic_conn *conn = b->end[side]->s.quic;
    struct quic_path_view v;

    for (size_t i = 0; i < quic_path_count(conn); i++)
        if (quic_path_view(conn, i, b->w.sim.now, &v) == 0 && v.usable && v.id == id)
            return v.cap_bps;
    return 1;
}

/* What comes down by a link in `seconds`. */
static uint64_t comes(struct bond *b, size_t lane, double seconds)
{
    uint64_t before = b->link[lane][DOWN]->node.bytes;

    bond_seconds(b, seconds);
    return b->link[lane][DOWN]->node.bytes - before;
}

static void download(uint64_t seed)
{
    const uint64_t allowed = CAP * 1000 / 8 * 4; /* in 4 s */
    struct bond b;
    uint64_t got, other;

    bond_init(&b, seed, 2);
    bond_endless(&b, false, true);
    bond_start(&b);
    bond_seconds(&b, 3);
    WORLD_CHECK(&b.w, comes(&b, 1, 4) > 2 * allowed);
    tell_one(&b, CLIENT, 1, CAP);
    bond_seconds(&b, 1);
    other = b.link[0][DOWN]->node.bytes;
    got = comes(&b, 1, 4);
    WORLD_CHECK(&b.w, got <= allowed + 30000 && got > allowed / 2);
    WORLD_CHECK(&b.w, b.link[0][DOWN]->node.bytes - other > 3 * allowed);
    tell(&b, CLIENT, NULL, 0);
    bond_seconds(&b, 10); /* BBR finds out what there is */
    WORLD_CHECK(&b.w, comes(&b, 1, 4) > 2 * allowed);
    bond_free(&b);
}

static void test_download(void **state)
{
    (void)state;
    world_each_seed(2, download);
}

/* By ID, whether the path is there or comes later. */
static void paths(uint64_t seed)
{
    struct bond b;

    bond_init(&b, seed, 2);
    bond_start(&b);
    tell(&b, CLIENT, (struct path_rate[]){{1, 5000}, {2, 3000}}, 2);
    WORLD_CHECK(&b.w, bound(&b, SERVER, 0) == 0 && bound(&b, SERVER, 1) == 5000000);
    WORLD_CHECK(&b.w,
                bound(&b, CLIENT, 1) == 0); /* the client's own side is its own business */
    bond_away(&b, 1, true);
    assert_false(b.open[1]); /* it is abandoned */
    bond_seconds(&b, 2);
    WORLD_CHECK(&b.w, bound(&b, SERVER, 1) == 1);
    bond_away(&b, 1, false);
    bond_seconds(&b, 2);
    WORLD_CHECK(&b.w, bound(&b, SERVER, 0) == 0 && bound(&b, SERVER, 2) == 3000000);
    tell_one(&b, CLIENT, 0, 2000);
    WORLD_CHECK(&b.w, bound(&b, SERVER, 0) == 2000000 && bound(&b, SERVER, 2) == 0);
    bond_free(&b);
}

static void test_paths(void **state)
{
    (void)state;
    world_each_seed(2, paths);
}

/* Without multipath; and whatever a client may ask for. */
static void test_values(void **state)
{
    static const uint64_t row[][2] = {
        {CAP, CAP * 1000},   {1, LINK_RATE_MIN},          {63, LINK_RATE_MIN},
        {65, 65000},         {1000000000, LINK_RATE_MAX}, {1000000001, LINK_RATE_MAX},
        {999999, 999999000}, {VARINT_MAX, LINK_RATE_MAX}, {0, 0},
        {5000, 5000000},
    };
    struct bond b;

    (void)state;
    bond_init(&b, 1, 1);
    b.cfg.conn.ext = NULL;
    b.cfg.conn.max_paths = 1;
    bond_start(&b);
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        tell_one(&b, CLIENT, 0, row[i][0]);
        if (bound(&b, SERVER, 0) != row[i][1])
            fail_msg("row %zu", i);
    }
    tell_one(&b, CLIENT, 7, CAP); /* no such path */
    assert_int_equal(bound(&b, SERVER, 0), 0);
    bond_free(&b);
}

/* A server that may not know of it is not told; a client is not told by a server. */
static void test_others(void **state)
{
    struct bond b;

    (void)state;
    for (int plain = 0; plain < 2; plain++) {
        bond_init(&b, 1, 1);
        b.plain[SERVER] = plain;
        bond_start(&b);
        tell_one(&b, CLIENT, 0, CAP);
        assert_int_equal(bound(&b, SERVER, 0), plain ? 0 : CAP * 1000);
        assert_int_equal(b.end[SERVER]->s.cip.ntheir_rates, !plain);
        tell_one(&b, SERVER, 0, CAP);
        assert_int_equal(b.end[CLIENT]->s.cip.ntheir_rates, !plain);
        assert_int_equal(bound(&b, CLIENT, 0), 0);
        bond_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_download),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
