#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "quic/errors.h"
#include "quic/rbuf.h"
#include "test/quic_rand.h"

static uint8_t byte_at(uint64_t off)
{
    return (uint8_t)(off * 37 + (off >> 8) * 11 + (off >> 16));
}

static int add(struct rbuf *r, uint64_t off, size_t n, bool fin)
{
    static uint8_t buf[70000];
    int err;

    assert_true(n <= sizeof buf);
    for (size_t i = 0; i < n; i++)
        buf[i] = byte_at(off + i);
    err = rbuf_add(r, off, span_of(buf, n), fin);
    assert_true(rbuf_check(r));
    return err;
}

/* Read and check up to `most` bytes; returns how many. */
static size_t drain(struct rbuf *r, size_t most, bool *fin)
{
    size_t sum = 0;
    struct span s;

    while (sum < most && (s = rbuf_peek(r, fin)).n) {
        size_t n = s.n < most - sum ? s.n : most - sum;

        for (size_t i = 0; i < n; i++)
            assert_int_equal(s.p[i], byte_at(r->base + i));
        rbuf_consume(r, n);
        assert_true(rbuf_check(r));
        sum += n;
    }
    rbuf_peek(r, fin);
    return sum;
}

struct step {
    char what; /* + data, R final size by RESET_STREAM, r read n bytes, d discard */
    uint64_t off;
    size_t n;
    bool fin;
    int result;
    size_t readable;
    bool complete;
};

#define FSE QUIC_FINAL_SIZE_ERROR

/* clang-format off */
static const struct step order[] = { /* at most 1000 bytes ahead */
    {'+', 10, 10, false, 0, 0, false},
    {'+', 0, 10, false, 0, 20, false},
    {'+', 0, 20, false, 0, 20, false},       /* again */
    {'r', 0, 5, false, 0, 15, false},
    {'+', 0, 30, false, 0, 25, false},       /* part of it is old */
    {'+', 0, 3, false, 0, 25, false},        /* all of it is */
    {'r', 0, 25, false, 0, 0, false},
    {'+', 30, 0, false, 0, 0, false},        /* empty */
    {'+', 1030, 1, false, QUIC_TOOBIG, 0, false},
    {'+', 1029, 1, false, 0, 0, false},
    {'+', 100, 50, true, FSE, 0, false},     /* an end below what came */
    {'+', 100, 50, false, 0, 0, false},
    {'+', 1030, 0, true, 0, 0, false},       /* the end alone */
    {'+', 1030, 0, true, 0, 0, false},
    {'+', 1029, 1, true, 0, 0, false},       /* the same end */
    {'+', 1029, 2, false, FSE, 0, false},
    {'+', 1020, 5, true, FSE, 0, false},
    {'+', 1031, 0, false, FSE, 0, false},
    {'R', 1029, 0, false, FSE, 0, false},
    {'R', 1030, 0, false, 0, 0, false},
    {'+', 30, 500, false, 0, 500, false},
    {'+', 500, 530, false, 0, 1000, true},
    {'r', 0, 999, false, 0, 1, true},
    {'r', 0, 1, false, 0, 0, true},
    {'+', 30, 1000, true, 0, 0, true},       /* late, after all is read */
};
static const struct step nothing[] = {
    {'+', 0, 0, true, 0, 0, true},
    {'+', 0, 1, false, FSE, 0, true},
    {'R', 0, 0, false, 0, 0, true},
    {'R', 1, 0, false, FSE, 0, true},
};
static const struct step reset[] = {
    {'+', 0, 100, false, 0, 100, false},
    {'+', 200, 100, false, 0, 100, false},
    {'r', 0, 50, false, 0, 50, false},
    {'R', 299, 0, false, FSE, 50, false},
    {'R', 400, 0, false, 0, 50, false},
    {'d', 350, 0, false, 0, 0, true},        /* moves from 50 to the final size */
    {'+', 100, 100, false, 0, 0, true},
    {'+', 300, 101, false, FSE, 0, true},
};
static const struct step stopped[] = { /* nothing is kept, sizes are checked */
    {'+', 0, 100, false, 0, 100, false},
    {'d', 100, 0, false, 0, 0, false},
    {'+', 500, 100, false, 0, 0, false},
    {'+', 5000, 100, false, 0, 0, false},
    {'+', 50, 10, true, FSE, 0, false},
    {'+', 5100, 10, true, 0, 0, true},
    {'d', 0, 0, false, 0, 0, true},
    {'+', 5110, 1, false, FSE, 0, true},
};
/* clang-format on */

static void play(const struct step *s, size_t n)
{
    struct rbuf r;
    bool fin;

    rbuf_init(&r, 1000);
    assert_int_equal(rbuf_memory(&r), 0);
    for (; n--; s++) {
        switch (s->what) {
        case '+':
            assert_int_equal(add(&r, s->off, s->n, s->fin), s->result);
            break;
        case 'R':
            assert_int_equal(rbuf_set_final(&r, s->off), s->result);
            break;
        case 'd':
            assert_int_equal(rbuf_discard(&r), s->off);
            assert_int_equal(rbuf_memory(&r), 0);
            break;
        default:
            assert_int_equal(drain(&r, s->n, &fin), s->n);
            break;
        }
        assert_int_equal(rbuf_readable(&r), s->readable);
        assert_int_equal(rbuf_complete(&r), s->complete);
        assert_int_equal(rbuf_done(&r), s->complete && !s->readable);
    }
    rbuf_free(&r);
}

static void test_steps(void **state)
{
    (void)state;
    play(order, ARRAY_LEN(order));
    play(nothing, ARRAY_LEN(nothing));
    play(reset, ARRAY_LEN(reset));
    play(stopped, ARRAY_LEN(stopped));
}

/* FIN shows when the last contiguous piece is at the front, not before. */
static void test_fin(void **state)
{
    struct rbuf r;
    bool fin;
    struct span s;

    (void)state;
    rbuf_init(&r, 1000);
    add(&r, 0, 400, false);
    rbuf_peek(&r, &fin);
    assert_false(fin);
    add(&r, 450, 50, true);
    assert_int_equal(rbuf_peek(&r, &fin).n, 400);
    assert_false(fin);
    rbuf_consume(&r, 390);
    add(&r, 400, 50, false); /* 390 to 500, and the ring of 512 doesn't wrap */
    assert_int_equal(rbuf_peek(&r, &fin).n, 110);
    assert_true(fin);
    rbuf_consume(&r, 1000); /* more than there is */
    assert_true(rbuf_done(&r));
    s = rbuf_peek(&r, &fin);
    assert_true(fin && s.n == 0);
    rbuf_free(&r);
}

/* Single bytes with holes between: bounded, and no harm done. */
static void test_gaps(void **state)
{
    struct rbuf r;
    uint64_t off = 2;

    (void)state;
    rbuf_init(&r, 100000);
    for (int i = 0; i <= RBUF_GAPS; i++, off += 2)
        assert_int_equal(add(&r, off, 1, false), 0);
    assert_int_equal(add(&r, off, 1, false), QUIC_TOOBIG);
    assert_int_equal(r.highest, off - 1);
    assert_int_equal(rbuf_readable(&r), 0);
    assert_int_equal(add(&r, 0, 2, false), 0); /* joins: fewer */
    assert_int_equal(rbuf_readable(&r), 3);
    assert_int_equal(add(&r, 5, 1, false), 0);
    assert_int_equal(add(&r, off, 1, false), 0);
    rbuf_free(&r);
}

#define SIZE 60000

/* Random pieces, duplicates and reads against a plain array of flags. */
static void run_random(uint64_t seed)
{
    static bool have[SIZE];
    struct rnd rnd = {seed};
    struct rbuf r;
    size_t window = 2000 + rnd_below(&rnd, 30000), total = 20000 + rnd_below(&rnd, 40000);
    uint64_t highest = 0;
    bool fin_seen = false, fin;

    memset(have, 0, sizeof have);
    rbuf_init(&r, window);
    for (int steps = 0; !rbuf_done(&r); steps++) {
        uint64_t ahead = rnd_chance(&rnd, 1, 3) ? rnd_below(&rnd, 5000) : 0;
        uint64_t off = r.base + rbuf_readable(&r) + ahead, back = rnd_below(&rnd, 100);
        size_t n = rnd_below(&rnd, 1500), readable;
        int err;

        assert_true(steps < 100000);
        off = off > back && rnd_chance(&rnd, 1, 2) ? off - back : off;
        if (off > total)
            off = total;
        if (n > total - off)
            n = total - off;
        fin = off + n == total && rnd_chance(&rnd, 1, 2);
        assert_int_equal(rbuf_has(&r, off, off + n), n == 0 || !memchr(have + off, false, n));
        err = add(&r, off, n, fin);
        if (err) { /* too far, or too many gaps: it must be one of them */
            assert_int_equal(err, QUIC_TOOBIG);
            assert_true(off + n > r.base + window || ranges_count(&r.got) == RBUF_GAPS + 1);
        } else {
            memset(have + off, true, n);
            highest = off + n > highest ? off + n : highest;
            fin_seen |= fin;
        }
        assert_int_equal(r.highest, highest);
        for (readable = 0; r.base + readable < total && have[r.base + readable];)
            readable++;
        assert_int_equal(rbuf_readable(&r), readable);
        assert_int_equal(rbuf_complete(&r), fin_seen && r.base + readable == total);
        if (rnd_chance(&rnd, 1, 4))
            drain(&r, rnd_below(&rnd, 4000), &fin);
        assert_true(r.cap <= 512 || r.cap < 2 * window);
    }
    assert_true(r.cap <= RBUF_SMALL);
    rbuf_trim(&r);
    assert_int_equal(rbuf_memory(&r), 0);
    rbuf_free(&r);
}

/* A byte behind a gap keeps no more than it needs, and nothing of it is lost. */
static void test_shrinks(void **state)
{
    struct rbuf r;
    uint8_t data[60000];

    (void)state;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + (i >> 8));
    rbuf_init(&r, 65536);
    assert_int_equal(rbuf_add(&r, 0, span_of(data, 59000), false), 0);
    assert_int_equal(rbuf_add(&r, 59500, span_of(data + 59500, 500), true), 0);
    assert_true(rbuf_memory(&r) >= 65536);
    while (rbuf_readable(&r)) {
        struct span s = rbuf_peek(&r, NULL);

        assert_memory_equal(s.p, data + r.base, s.n);
        rbuf_consume(&r, s.n < 777 ? s.n : 777);
        assert_true(rbuf_check(&r));
        assert_true(r.cap <= RBUF_SMALL || r.cap <= RBUF_SLACK * (60000 - r.base));
    }
    assert_true(r.cap <= RBUF_SMALL);
    assert_int_equal(rbuf_add(&r, 59000, span_of(data + 59000, 500), false), 0);
    assert_memory_equal(rbuf_peek(&r, NULL).p, data + 59000, 1000);
    rbuf_consume(&r, 1000);
    assert_true(rbuf_done(&r));
    rbuf_free(&r);
}

/* A large ring stays as long as those of its account hold no more than may be kept. */
static void test_kept(void **state)
{
    struct rbuf_account account = {.keep = 65536};
    static uint8_t data[60000];
    struct rbuf r[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        rbuf_init(&r[i], 65536);
        r[i].account = &account;
    }
    for (uint64_t off = 0; off < 10 * sizeof data; off += sizeof data) {
        const uint8_t *ring = r[0].ring;

        assert_int_equal(rbuf_add(&r[0], off, span_of(data, sizeof data), false), 0);
        assert_true(off == 0 || r[0].ring == ring);
        rbuf_consume(&r[0], rbuf_readable(&r[0]));
        assert_int_equal(r[0].cap, 65536);
        assert_int_equal(account.held, 65536);
    }
    /* There is another one now: what is read to its end goes. */
    assert_int_equal(rbuf_add(&r[1], 0, span_of(data, 20000), false), 0);
    assert_int_equal(account.held, 65536 + 32768);
    rbuf_consume(&r[1], 10000);
    assert_int_equal(r[1].cap, 32768);
    rbuf_consume(&r[1], 10000);
    assert_int_equal(r[1].cap, 0);
    assert_int_equal(account.held, 65536);
    rbuf_trim(&r[0]);
    assert_int_equal(account.held, 0);
    rbuf_free(&r[0]);
    rbuf_free(&r[1]);
    assert_int_equal(account.held, 0);
}

static void test_random(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 25; seed++)
        run_random(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_fin),
        cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_shrinks),
        cmocka_unit_test(test_kept),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
