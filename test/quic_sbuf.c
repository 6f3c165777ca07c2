#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "quic/sbuf.h"
#include "test/quic_rand.h"

#define NO_LIMIT UINT64_MAX

static uint8_t byte_at(uint64_t off)
{
    return (uint8_t)(off * 31 + (off >> 8) * 7 + (off >> 16));
}

/* Write `n` bytes of the pattern; returns how many were taken. */
static size_t write_some(struct sbuf *s, size_t n, int want)
{
    uint8_t buf[70000];
    size_t taken = 1;

    assert_true(n <= sizeof buf);
    for (size_t i = 0; i < n; i++)
        buf[i] = byte_at(s->end + i);
    assert_int_equal(sbuf_write(s, span_of(buf, n), &taken), want);
    assert_true(sbuf_check(s));
    return taken;
}

struct step {
    char what; /* n next and send, p nothing to send, a acked, l lost */
    uint64_t limit;
    size_t max;
    uint64_t off; /* expected, or the frame's */
    size_t n;
    bool fin;
};

/* clang-format off */
static const struct step steps[] = { /* 100 bytes and the end */
    {'n', 50, 30, 0, 30, false},
    {'n', 50, 30, 30, 20, false},            /* up to the limit */
    {'p', 50, 30, 0, 0, false},
    {'n', NO_LIMIT, 40, 50, 40, false},
    {'l', 0, 0, 0, 30, false},
    {'n', 50, 10, 0, 10, false},             /* lost ones first, regardless of the limit */
    {'n', 0, 99, 10, 20, false},
    {'p', 90, 99, 0, 0, false},
    {'n', NO_LIMIT, 99, 90, 10, true},
    {'p', NO_LIMIT, 99, 0, 0, false},
    {'a', 0, 0, 30, 20, false},
    {'l', 0, 0, 10, 80, false},              /* 30 to 50 is acknowledged */
    {'n', 0, 99, 10, 20, false},
    {'n', 0, 15, 50, 15, false},
    {'a', 0, 0, 65, 25, false},              /* late: lost, but acknowledged after all */
    {'l', 0, 0, 90, 10, true},
    {'n', 0, 4, 90, 4, false},
    {'n', 0, 99, 94, 6, true},
    {'l', 0, 0, 100, 0, true},               /* the FIN alone */
    {'n', 0, 0, 100, 0, true},
    {'p', NO_LIMIT, 99, 0, 0, false},
    {'a', 0, 0, 94, 6, true},
    {'l', 0, 0, 94, 6, true},                /* lost after it was acknowledged: no matter */
    {'l', 0, 0, 100, 0, true},
    {'p', NO_LIMIT, 99, 0, 0, false},
    {'a', 0, 0, 0, 30, false},
    {'a', 0, 0, 50, 15, false},
    {'a', 0, 0, 90, 4, false},
};
/* clang-format on */

static void test_steps(void **state)
{
    struct sbuf s;

    (void)state;
    sbuf_init(&s, 1000);
    assert_int_equal(write_some(&s, 100, 0), 100);
    assert_int_equal(sbuf_finish(&s), 0);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        const struct step *st = &steps[i];
        uint64_t off;
        size_t n;
        bool fin;

        assert_false(sbuf_done(&s));
        switch (st->what) {
        case 'n':
            assert_true(sbuf_next(&s, st->limit, st->max, &off, &n, &fin));
            assert_int_equal(off, st->off);
            assert_int_equal(n, st->n);
            assert_int_equal(fin, st->fin);
            assert_true(sbuf_pending(&s));
            sbuf_on_sent(&s, off, n, fin);
            break;
        case 'p':
            assert_false(sbuf_next(&s, st->limit, st->max, &off, &n, &fin));
            break;
        case 'a':
            sbuf_on_acked(&s, st->off, st->n, st->fin);
            break;
        default:
            sbuf_on_lost(&s, st->off, st->n, st->fin);
            break;
        }
        assert_true(sbuf_check(&s));
    }
    assert_true(sbuf_done(&s));
    assert_true(sbuf_settled(&s));
    sbuf_trim(&s);
    assert_int_equal(sbuf_memory(&s), 0);
    sbuf_free(&s);
}

static void test_write(void **state)
{
    struct sbuf s;

    (void)state;
    sbuf_init(&s, 1000);
    assert_int_equal(sbuf_memory(&s), 0);
    assert_int_equal(sbuf_room(&s), 1000);
    assert_int_equal(write_some(&s, 0, 0), 0);
    assert_int_equal(write_some(&s, 999, 0), 999);
    assert_int_equal(write_some(&s, 5, 0), 1); /* what fits */
    assert_int_equal(write_some(&s, 5, QUIC_BLOCKED), 0);
    assert_int_equal(sbuf_room(&s), 0);
    sbuf_on_sent(&s, 0, 1000, false);
    sbuf_on_acked(&s, 0, 10, false);
    assert_int_equal(write_some(&s, 50, 0), 10);
    assert_int_equal(sbuf_finish(&s), 0);
    assert_int_equal(sbuf_finish(&s), QUIC_CLOSED);
    assert_int_equal(write_some(&s, 1, QUIC_CLOSED), 0);
    assert_int_equal(sbuf_room(&s), 0);
    sbuf_free(&s);
    /* Nothing but an end. */
    sbuf_init(&s, 0);
    assert_int_equal(write_some(&s, 1, QUIC_BLOCKED), 0);
    assert_false(sbuf_pending(&s));
    sbuf_finish(&s);
    assert_true(sbuf_pending(&s));
    sbuf_on_sent(&s, 0, 0, true);
    assert_false(sbuf_done(&s));
    sbuf_on_acked(&s, 0, 0, true);
    assert_true(sbuf_done(&s));
    sbuf_free(&s);
}

/* An acknowledgement for what was never sent releases nothing beyond what was. */
static void test_nonsense(void **state)
{
    struct sbuf s;

    (void)state;
    sbuf_init(&s, 1000);
    write_some(&s, 500, 0);
    sbuf_on_acked(&s, 0, 400, true);
    assert_int_equal(s.base, 0);
    assert_false(s.fin_acked);
    sbuf_on_lost(&s, 0, 400, false);
    assert_true(ranges_empty(&s.lost));
    sbuf_on_sent(&s, 0, 100, false);
    sbuf_on_acked(&s, 50, 450, false);
    sbuf_on_lost(&s, 0, 500, false);
    assert_int_equal(ranges_size(&s.lost), 50);
    assert_true(sbuf_check(&s));
    sbuf_free(&s);
}

struct flight {
    uint64_t off;
    size_t n;
    bool fin, lost;
};

struct model {
    struct sbuf s;
    struct rnd rnd;
    uint8_t *acked;    /* one flag per byte */
    uint8_t *received; /* what the peer has of each byte: flag */
    struct flight flight[3000];
    size_t n_flight;
    uint64_t total, sent_bytes;
    bool fin_acked;
};

/* Send one frame, if there is anything, and check it against the pattern. */
static bool model_send(struct model *m, uint64_t limit)
{
    size_t max = 1 + rnd_below(&m->rnd, 1400), n;
    uint64_t off;
    bool fin;
    struct span data;

    if (m->n_flight == ARRAY_LEN(m->flight) || !sbuf_next(&m->s, limit, max, &off, &n, &fin))
        return false;
    assert_true(n <= max);
    assert_true(off + n <= m->s.next || off + n <= limit);
    assert_int_equal(fin, m->s.finished && off + n == m->s.end);
    data = sbuf_peek(&m->s, off, n);
    assert_int_equal(data.n, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(data.p[i], byte_at(off + i));
    sbuf_on_sent(&m->s, off, n, fin);
    m->flight[m->n_flight++] = (struct flight){off, n, fin, false};
    m->sent_bytes += n;
    return true;
}

/* Something happens to a frame in flight; a lost one may still be acknowledged later. */
static void model_fate(struct model *m, unsigned loss)
{
    size_t i = rnd_below(&m->rnd, m->n_flight);
    struct flight *f = &m->flight[i];

    if (!f->lost && rnd_below(&m->rnd, 100) < loss) {
        sbuf_on_lost(&m->s, f->off, f->n, f->fin);
        f->lost = true;
        if (rnd_chance(&m->rnd, 2, 3))
            *f = m->flight[--m->n_flight];
        return;
    }
    memset(m->acked + f->off, 1, f->n);
    m->fin_acked |= f->fin;
    sbuf_on_acked(&m->s, f->off, f->n, f->fin);
    *f = m->flight[--m->n_flight];
}

static void model_check(const struct model *m)
{
    uint64_t first = 0;

    assert_true(sbuf_check(&m->s));
    while (first < m->total && m->acked[first])
        first++;
    /* Without a lack of ranges, the base is the first byte not acknowledged. */
    assert_int_equal(m->s.base, first);
    assert_true(m->s.end - m->s.base <= m->s.max);
    assert_true(m->s.cap < 2 * m->s.max || m->s.cap <= 512);
}

static void run_model(uint64_t seed, unsigned loss)
{
    static struct model m;
    static uint8_t acked[400000];
    uint64_t limit = 0;

    memset(&m, 0, sizeof m);
    memset(acked, 0, sizeof acked);
    m.rnd.state = seed;
    m.acked = acked;
    m.total = 100000 + rnd_below(&m.rnd, 300000);
    sbuf_init(&m.s, 1 + rnd_below(&m.rnd, 40000));
    for (int step = 0; !sbuf_done(&m.s); step++) {
        assert_true(step < 10000000);
        if (m.s.end < m.total && rnd_chance(&m.rnd, 1, 4) && sbuf_room(&m.s)) {
            uint64_t n = 1 + rnd_below(&m.rnd, 9000);

            write_some(&m.s, n < m.total - m.s.end ? n : m.total - m.s.end, 0);
            if (m.s.end == m.total)
                sbuf_finish(&m.s);
        }
        if (rnd_chance(&m.rnd, 1, 2))
            model_send(&m, limit);
        if (m.n_flight && (rnd_chance(&m.rnd, 2, 5) || m.n_flight > 200))
            model_fate(&m, loss);
        if (rnd_chance(&m.rnd, 1, 10))
            limit += rnd_below(&m.rnd, 5000);
        if (rnd_chance(&m.rnd, 1, 50))
            model_check(&m);
    }
    assert_true(m.fin_acked);
    for (uint64_t off = 0; off < m.total; off++)
        assert_true(acked[off]);
    sbuf_trim(&m.s);
    assert_int_equal(sbuf_memory(&m.s), 0);
    sbuf_free(&m.s);
}

static void test_random(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++)
        run_model(seed, (unsigned)(seed * 5 % 60));
}

/* One-byte frames, every other one lost: bounded, and everything arrives all the same. */
static void test_fragments(void **state)
{
    enum { N = 4000 };
    bool delivered[N] = {0};
    struct sbuf s;
    uint64_t off;
    size_t n;
    bool fin;

    (void)state;
    sbuf_init(&s, N);
    write_some(&s, N, 0);
    sbuf_finish(&s);
    for (int i = 0; i < N; i++)
        sbuf_on_sent(&s, (uint64_t)i, 1, i == N - 1);
    for (uint64_t i = 0; i < N; i++) {
        if (i % 2)
            sbuf_on_acked(&s, i, 1, i == N - 1);
        else
            sbuf_on_lost(&s, i, 1, false);
        delivered[i] = i % 2;
        assert_true(sbuf_check(&s));
    }
    assert_true(ranges_count(&s.lost) <= SBUF_RANGES);
    for (int frames = 0; !sbuf_done(&s); frames++) {
        assert_true(frames < 2 * N);
        assert_true(sbuf_next(&s, 0, 100, &off, &n, &fin));
        sbuf_on_sent(&s, off, n, fin);
        memset(delivered + off, true, n);
        sbuf_on_acked(&s, off, n, fin);
        assert_true(sbuf_check(&s));
    }
    for (int i = 0; i < N; i++)
        assert_true(delivered[i]);
    sbuf_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),     cmocka_unit_test(test_write),
        cmocka_unit_test(test_nonsense),  cmocka_unit_test(test_random),
        cmocka_unit_test(test_fragments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
