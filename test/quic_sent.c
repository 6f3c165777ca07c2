#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "quic/sent.h"
#include "test/quic_rand.h"

static struct sent_record record(uint64_t pn, uint32_t i)
{
    return (struct sent_record){
        .kind = (uint16_t)(pn + i), .path = i, .a = pn, .b = pn * 1000 + i, .len = i};
}

/* Send packet `pn` with `n` records. */
static void put(struct sent *s, uint64_t pn, uint32_t n)
{
    struct sent_packet p = {.time = pn * 10, .bytes = 1200, .tag = ~pn, .n_rec = 99};

    assert_int_equal(sent_begin(s, pn), 0);
    for (uint32_t i = 0; i < n; i++) {
        struct sent_record rec = record(pn, i);

        assert_int_equal(sent_record_add(s, &rec), 0);
    }
    sent_commit(s, &p);
}

/* Packet `pn` is there with its `n` records. */
static void look(const struct sent *s, uint64_t pn, uint32_t n)
{
    const struct sent_packet *p = sent_get(s, pn);
    const struct sent_record *rec;

    assert_non_null(p);
    assert_int_equal(p->time, pn * 10);
    assert_int_equal(p->tag, ~pn);
    assert_int_equal(p->n_rec, n);
    rec = sent_recs(s, p);
    assert_int_equal(rec == NULL, n == 0);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(rec[i].a, pn);
        assert_int_equal(rec[i].b, pn * 1000 + i);
        assert_int_equal(rec[i].len, i);
    }
}

static void test_transaction(void **state)
{
    struct sent_record rec = record(1, 1);
    struct sent s;

    (void)state;
    sent_init(&s, SENT_MAX_APP);
    assert_int_equal(sent_memory(&s), 0);
    assert_null(sent_get(&s, 0));
    assert_int_equal(sent_record_add(&s, &rec), QUIC_INVAL);
    sent_abort(&s); /* of nothing */
    assert_int_equal(sent_begin(&s, 0), 0);
    assert_int_equal(sent_begin(&s, 0), QUIC_INVAL); /* open already */
    assert_int_equal(sent_skip(&s, 0), QUIC_INVAL);
    assert_int_equal(sent_record_add(&s, &rec), 0);
    sent_abort(&s);
    assert_int_equal(sent_count(&s), 0);
    put(&s, 0, 2);
    look(&s, 0, 2);
    assert_int_equal(sent_begin(&s, 0), QUIC_INVAL);  /* used */
    assert_int_equal(sent_begin(&s, 18), QUIC_INVAL); /* too far ahead */
    put(&s, 1, 0);
    look(&s, 1, 0);
    assert_null(sent_get(&s, 2));
    assert_null(sent_get(&s, UINT64_MAX));
    assert_true(sent_check(&s));
    sent_free(&s);
}

static void test_skip(void **state)
{
    struct sent s;

    (void)state;
    sent_init(&s, SENT_MAX_APP);
    put(&s, 0, 1);
    put(&s, 3, 1); /* passes over 1 and 2 */
    assert_int_equal(sent_skip(&s, 4), 0);
    assert_int_equal(sent_next(&s), 5);
    put(&s, 5, 0);
    for (uint64_t pn = 0; pn < 6; pn++)
        assert_int_equal(!!(sent_get(&s, pn)->flags & SENT_SKIPPED),
                         pn == 1 || pn == 2 || pn == 4);
    assert_int_equal(sent_get(&s, 2)->time, 0);
    assert_int_equal(sent_get(&s, 4)->time, 30);
    assert_int_equal(sent_get(&s, 4)->ack_largest, SENT_NO_ACK);
    look(&s, 3, 1);
    assert_true(sent_check(&s));
    sent_free(&s);
}

static void test_limits(void **state)
{
    struct sent_record rec = record(0, 0);
    struct sent s;

    (void)state;
    sent_init(&s, SENT_MAX_APP);
    for (uint64_t pn = 0; pn < SENT_MAX_APP; pn++)
        put(&s, pn, 0);
    assert_int_equal(sent_begin(&s, SENT_MAX_APP), QUIC_BLOCKED);
    assert_int_equal(sent_skip(&s, SENT_MAX_APP), QUIC_BLOCKED);
    sent_retire(&s);
    put(&s, SENT_MAX_APP, 0);
    assert_true(sent_check(&s));
    sent_clear(&s);
    assert_int_equal(sent_memory(&s), 0);
    assert_int_equal(sent_next(&s), SENT_MAX_APP + 1); /* numbering goes on */

    assert_int_equal(sent_begin(&s, sent_next(&s)), 0);
    for (uint32_t i = 0; i < UINT16_MAX; i++)
        assert_int_equal(sent_record_add(&s, &rec), 0);
    assert_int_equal(sent_record_add(&s, &rec), QUIC_TOOBIG);
    sent_commit(&s, &(struct sent_packet){0});
    assert_int_equal(sent_begin(&s, sent_next(&s)), 0);
    for (uint32_t i = 0; i < UINT16_MAX; i++)
        assert_int_equal(sent_record_add(&s, &rec), 0);
    sent_commit(&s, &(struct sent_packet){0});
    assert_int_equal(sent_begin(&s, sent_next(&s)), 0);
    assert_int_equal(sent_record_add(&s, &rec), 0);
    assert_int_equal(sent_record_add(&s, &rec), 0);
    assert_int_equal(sent_record_add(&s, &rec), QUIC_BLOCKED); /* all records used */
    sent_abort(&s);
    assert_true(sent_check(&s));
    sent_free(&s);
}

/* A long life with a bounded number in the ring: it stays small, and so after a burst. */
static void test_trim(void **state)
{
    struct sent s;
    uint64_t pn = 0;
    size_t small;

    (void)state;
    sent_init(&s, SENT_MAX_APP);
    for (; pn < 10000; pn++) {
        put(&s, pn, pn % 3);
        if (sent_count(&s) > 40)
            sent_retire(&s);
    }
    small = sent_memory(&s);
    assert_true(small <= 64 * sizeof(struct sent_packet) + 128 * sizeof(struct sent_record));
    for (; pn < 15000; pn++)
        put(&s, pn, 1);
    assert_true(sent_memory(&s) > 4096 * sizeof(struct sent_packet));
    sent_trim(&s, SENT_MIN); /* the burst was since the last time */
    assert_true(sent_memory(&s) > 4096 * sizeof(struct sent_packet));
    while (sent_count(&s) > 10)
        sent_retire(&s);
    sent_trim(&s, SENT_MIN);
    sent_trim(&s, SENT_MIN);
    assert_true(sent_memory(&s) <= small);
    for (uint64_t i = pn - 10; i < pn; i++)
        look(&s, i, 1);
    assert_true(sent_check(&s));
    sent_free(&s);
}

/* Random packets, aborts, skips, retiring and trimming against a plain array. */
static void test_random(void **state)
{
    enum { N = 6000 };
    static uint32_t records[N];
    static bool skipped[N];

    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct rnd rnd = {seed};
        uint64_t base = 0, next = 0, most = rnd_below(&rnd, 600) + 1;
        struct sent s;

        sent_init(&s, SENT_MAX_APP);
        while (next < N - 16) {
            uint64_t gap = rnd_chance(&rnd, 1, 50) ? rnd_below(&rnd, 16) + 1 : 0;

            if (rnd_chance(&rnd, 1, 20)) { /* given up after some records */
                struct sent_record rec = record(7, 7);

                assert_int_equal(sent_begin(&s, next), 0);
                for (uint64_t i = rnd_below(&rnd, 40); i--;)
                    assert_int_equal(sent_record_add(&s, &rec), 0);
                sent_abort(&s);
            }
            for (; gap; gap--) {
                records[next] = 0;
                skipped[next++] = true;
            }
            records[next] = rnd_chance(&rnd, 1, 3) ? (uint32_t)rnd_below(&rnd, 30) : 0;
            skipped[next] = false;
            put(&s, next, records[next]);
            next++;
            while (next - base > most || (next > base && rnd_chance(&rnd, 1, 3))) {
                sent_retire(&s);
                base++;
            }
            if (rnd_chance(&rnd, 1, 200))
                sent_trim(&s, SENT_MIN);
            assert_int_equal(s.base, base);
            assert_int_equal(s.next, next);
            if (rnd_chance(&rnd, 1, 20)) {
                assert_true(sent_check(&s));
                for (uint64_t pn = base; pn < next; pn++) {
                    if (skipped[pn])
                        assert_true(sent_get(&s, pn)->flags & SENT_SKIPPED);
                    else
                        look(&s, pn, records[pn]);
                }
                assert_null(sent_get(&s, base - 1));
                assert_null(sent_get(&s, next));
            }
        }
        sent_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transaction), cmocka_unit_test(test_skip),
        cmocka_unit_test(test_limits),      cmocka_unit_test(test_trim),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
