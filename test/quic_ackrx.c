#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "quic/ackrx.h"
#include "quic/frame.h"
#include "test/quic_rand.h"

#define MS    NS_PER_MS
#define DELAY (25 * MS)
#define NOW   0u /* at once */

struct arrival {
    uint64_t pn;
    bool eliciting;
    uint8_t ecn;
    ns_t at;       /* ms */
    ns_t deadline; /* afterwards, ms; NEVER, or NOW */
    int result;
};

#define NEVER UINT64_MAX

/* When the ACK is due; one ACK frame is sent where `pn` is ACKED. */
#define ACKED UINT64_MAX

/* clang-format off */
static const struct arrival delayed[] = {
    {0, true, 0, 100, 125, 0},
    {1, false, 0, 101, 125, 0},             /* not ack-eliciting: changes nothing */
    {2, true, 0, 102, NOW, 0},              /* the second */
    {ACKED, false, 0, 103, NEVER, 0},
    {3, false, 0, 104, NEVER, 0},
    {4, true, 0, 110, 135, 0},
    {4, true, 0, 111, 135, QUIC_DROP},      /* a duplicate */
    {ACKED, false, 0, 111, NEVER, 0},
    {7, true, 0, 120, NOW, 0},              /* 5 and 6 are missing (13.2.1) */
    {ACKED, false, 0, 121, NEVER, 0},
    {8, true, 0, 122, 147, 0},              /* in order again: the gap was told of */
    {ACKED, false, 0, 123, NEVER, 0},
    {6, true, 0, 124, NOW, 0},              /* came after a higher one */
    {ACKED, false, 0, 125, NEVER, 0},
    {9, false, 0, 126, NEVER, 0},
    {11, true, 0, 127, NOW, 0},             /* 10 is missing */
    {ACKED, false, 0, 127, NEVER, 0},
    {12, true, 3, 128, NOW, 0},             /* CE */
    {ACKED, false, 0, 129, NEVER, 0},
    {13, true, 2, 130, 155, 0},             /* ECT(0) is no hurry */
    {10, false, 0, 131, 155, 0},            /* late, but not ack-eliciting */
};
static const struct arrival at_once[] = { /* Initial and Handshake: max_delay is 0 */
    {5, true, 0, 10, 10, 0},
    {ACKED, false, 0, 10, NEVER, 0},
    {6, false, 0, 11, NEVER, 0},
    {7, true, 0, 12, 12, 0},
};
/* clang-format on */

static void play(const struct arrival *a, size_t n, ns_t max_delay)
{
    struct ackrx rx;

    ackrx_init(&rx, max_delay);
    assert_true(ackrx_check(&rx));
    for (; n--; a++) {
        ns_t now = a->at * MS;

        if (a->pn == ACKED) {
            uint8_t buf[100];
            struct wire_w w = wire_w_of(buf, sizeof buf);

            assert_true(ackrx_frame(&rx, &w, ACKRX_NO_PATH, 3, now, NULL));
        } else {
            assert_int_equal(ackrx_seen(&rx, a->pn), a->result == QUIC_DROP);
            assert_int_equal(ackrx_add(&rx, a->pn, a->eliciting, a->ecn, now), a->result);
            assert_true(ackrx_seen(&rx, a->pn));
        }
        assert_true(ackrx_check(&rx));
        assert_int_equal(ackrx_deadline(&rx),
                         a->deadline == NEVER ? NS_NEVER : a->deadline * MS);
        assert_int_equal(ackrx_due(&rx, now), a->deadline != NEVER && a->deadline * MS <= now);
        assert_int_equal(ackrx_pending(&rx), a->deadline != NEVER);
    }
    ackrx_free(&rx);
}

static void test_when(void **state)
{
    (void)state;
    play(delayed, ARRAY_LEN(delayed), DELAY);
    play(at_once, ARRAY_LEN(at_once), 0);
}

/* ---- what the peer asks for (draft-ietf-quic-ack-frequency) ---------------------------- */

static void send_ack(struct ackrx *rx, ns_t now)
{
    uint8_t buf[200];
    struct wire_w w = wire_w_of(buf, sizeof buf);

    assert_true(ackrx_frame(rx, &w, ACKRX_NO_PATH, 3, now, NULL));
}

/* Tables 1 and 2 of 6.2.1, and what follows from 6.2 beyond them. */
static void test_reordering(void **state)
{
    static const struct {
        uint64_t threshold, pn[16];
        const char *acks; /* a letter for each packet */
        size_t n;
    } rows[] = {
        {3, {0, 1, 3, 4, 5, 8, 9, 10}, "....A.AA", 8},
        {5, {0, 1, 3, 5, 6, 7, 8, 9}, ".....A.A", 8},
        {1, {0, 1, 3, 4, 2, 6}, "..A.AA", 6},
        {0, {0, 1, 3, 9, 30, 2, 4, 100}, "........", 8},
        /* 2 is late, and by then lost for the peer: 7 was told of */
        {3, {0, 1, 3, 4, 5, 6, 7, 2}, "....A..A", 8},
        /* 4 comes within the window: no hurry */
        {3, {0, 1, 2, 3, 5, 4, 6, 7, 8}, ".........", 9},
        {3, {0, 5}, ".A", 2},
        {40, {0, 30, 39, 40, 41}, "....A", 5},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct ackrx rx;

        ackrx_init(&rx, DELAY);
        ackrx_ask(&rx, 1000, DELAY, rows[i].threshold);
        for (size_t k = 0; k < rows[i].n; k++) {
            assert_int_equal(ackrx_add(&rx, rows[i].pn[k], true, 0, k * MS), 0);
            if (ackrx_due(&rx, k * MS) != (rows[i].acks[k] == 'A'))
                fail_msg("row %zu, packet %zu", i, k);
            if (ackrx_due(&rx, k * MS))
                send_ack(&rx, k * MS);
            assert_true(ackrx_check(&rx));
        }
        ackrx_free(&rx);
    }
}

static void test_ask(void **state)
{
    struct ackrx rx;
    uint64_t pn = 0;

    (void)state;
    ackrx_init(&rx, DELAY);
    ackrx_ask(&rx, 9, 5 * MS, 3);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 10; i++) {
            assert_false(ackrx_due(&rx, 100 * MS));
            ackrx_add(&rx, pn++, true, 0, 100 * MS);
            assert_int_equal(ackrx_deadline(&rx), i < 9 ? 105 * MS : 0);
        }
        send_ack(&rx, 100 * MS);
    }
    ackrx_ask(&rx, 0, 5 * MS, 3); /* each of them */
    ackrx_add(&rx, pn++, true, 0, 100 * MS);
    assert_true(ackrx_due(&rx, 100 * MS));
    send_ack(&rx, 100 * MS);
    ackrx_ask(&rx, UINT64_MAX >> 2, 16383 * MS, 0);
    for (int i = 0; i < 1000; i++)
        ackrx_add(&rx, pn++, true, 0, 100 * MS);
    assert_int_equal(ackrx_deadline(&rx), 16483 * MS);
    /* IMMEDIATE_ACK: for the packet that it is in. */
    ackrx_at_once(&rx);
    ackrx_add(&rx, pn++, true, 0, 100 * MS);
    assert_true(ackrx_due(&rx, 100 * MS));
    send_ack(&rx, 100 * MS);
    ackrx_add(&rx, pn++, true, 0, 100 * MS);
    assert_false(ackrx_due(&rx, 100 * MS));
    /* CE: the first of a row (6.3). */
    for (int i = 0; i < 6; i++) {
        ackrx_add(&rx, pn++, true, i == 2 ? 2 : 3, 100 * MS);
        assert_int_equal(ackrx_due(&rx, 100 * MS), i == 0 || i == 3);
        if (ackrx_due(&rx, 100 * MS))
            send_ack(&rx, 100 * MS);
    }
    /* However patient the peer is, no gap is forgotten before it was told of. */
    for (int round = 0; round < 20; round++) {
        int gaps = 0;

        while (!ackrx_due(&rx, 100 * MS)) {
            ackrx_add(&rx, pn += 2, true, 0, 100 * MS);
            assert_true(++gaps < ACKRX_SENT);
        }
        send_ack(&rx, 100 * MS);
    }
    ackrx_free(&rx);
}

struct encoding {
    uint64_t path;
    struct range got[4]; /* ascending; received in this order, 1 ms apart */
    uint8_t ecn;
    size_t room;
    const char *bytes; /* empty: it does not fit */
    size_t n;
};

#define BYTES(s) s, sizeof(s) - 1

/* The last number arrived 8 ms before the frame: a delay of 1000 units of 8 us (0x43e8). */
/* clang-format off */
static const struct encoding encodings[] = {
    {ACKRX_NO_PATH, {{0, 1}}, 0, 99, BYTES("\x02\x00\x43\xe8\x00\x00")},
    {ACKRX_NO_PATH, {{0, 10}}, 0, 99, BYTES("\x02\x09\x43\xe8\x00\x09")},
    {ACKRX_NO_PATH, {{0, 10}, {11, 12}}, 0, 99, BYTES("\x02\x0b\x43\xe8\x01\x00\x00\x09")},
    {ACKRX_NO_PATH, {{3, 5}, {10, 12}, {100, 101}}, 0, 99,
     BYTES("\x02\x40\x64\x43\xe8\x02\x00\x40\x57\x01\x04\x01")},
    /* one byte less: the oldest range is left out */
    {ACKRX_NO_PATH, {{3, 5}, {10, 12}, {100, 101}}, 0, 11,
     BYTES("\x02\x40\x64\x43\xe8\x01\x00\x40\x57\x01")},
    {ACKRX_NO_PATH, {{3, 5}, {10, 12}, {100, 101}}, 0, 7,
     BYTES("\x02\x40\x64\x43\xe8\x00\x00")},
    {ACKRX_NO_PATH, {{3, 5}, {10, 12}, {100, 101}}, 0, 6, BYTES("")},
    {ACKRX_NO_PATH, {{0, 1}}, 0, 0, BYTES("")},
    {ACKRX_NO_PATH, {{0, 2}}, 2, 99, BYTES("\x03\x01\x43\xe8\x00\x01\x02\x00\x00")},
    {ACKRX_NO_PATH, {{0, 2}}, 1, 99, BYTES("\x03\x01\x43\xe8\x00\x01\x00\x02\x00")},
    {ACKRX_NO_PATH, {{0, 2}}, 3, 99, BYTES("\x03\x01\x43\xe8\x00\x01\x00\x00\x02")},
    {ACKRX_NO_PATH, {{0, 2}}, 3, 9, BYTES("\x03\x01\x43\xe8\x00\x01\x00\x00\x02")},
    {ACKRX_NO_PATH, {{0, 2}}, 3, 8, BYTES("")},
    {0, {{0, 1}}, 0, 99, BYTES("\x3e\x00\x00\x43\xe8\x00\x00")},
    {70, {{0, 2}}, 2, 99, BYTES("\x3f\x40\x46\x01\x43\xe8\x00\x01\x02\x00\x00")},
};
/* clang-format on */

static void test_encoding(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(encodings); i++) {
        const struct encoding *e = &encodings[i];
        uint8_t buf[100];
        struct wire_w w = wire_w_of(buf, e->room);
        struct ackrx rx;
        uint64_t largest = 12345, pn = 0;
        ns_t now = 0;

        ackrx_init(&rx, DELAY);
        for (size_t k = 0; k < 4 && e->got[k].end; k++)
            for (pn = e->got[k].start; pn < e->got[k].end; pn++)
                assert_int_equal(ackrx_add(&rx, pn, true, e->ecn, now += MS), 0);
        assert_int_equal(ackrx_frame(&rx, &w, e->path, 3, now + 8 * MS, &largest), e->n > 0);
        assert_false(w.failed);
        assert_int_equal(w.p - buf, e->n);
        assert_memory_equal(buf, e->bytes, e->n);
        assert_int_equal(largest, e->n ? pn - 1 : 12345);
        assert_int_equal(ackrx_pending(&rx), e->n == 0);
        ackrx_free(&rx);
    }
}

#define END UINT64_MAX

/* What was told, and no more, once more; it changes nothing. */
static void test_again(void **state)
{
    /* Received one after the other; the frame on all of them. */
    static const struct {
        uint64_t pn[6]; /* up to END */
        const char *bytes;
        size_t n;
    } steps[] = {
        {{0, 1, END}, BYTES("\x3e\x05\x01\x00\x00\x01")},
        {{2, 3, END}, BYTES("\x3e\x05\x03\x00\x00\x03")},
        {{5, 6, 9, END}, BYTES("\x3e\x05\x09\x00\x02\x00\x01\x01\x00\x03")},
        {{7, 8, 10, END}, BYTES("\x3e\x05\x0a\x00\x01\x05\x00\x03")},
        {{4, 12, END}, BYTES("\x3e\x05\x0c\x00\x01\x00\x00\x0a")},
    };
    uint8_t buf[100], before[100];
    struct ackrx rx;
    size_t told = 0;

    (void)state;
    ackrx_init(&rx, DELAY);
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct wire_w w = wire_w_of(buf, sizeof buf);
        struct ackrx was;

        for (size_t k = 0; steps[i].pn[k] != END; k++)
            assert_int_equal(ackrx_add(&rx, steps[i].pn[k], true, 0, 0), 0);
        was = rx;
        assert_int_equal(ackrx_again(&rx, &w, 5, 3, 0), i > 0);
        assert_memory_equal(&was, &rx, sizeof rx);
        /* Ranges that have grown since are told as they are, up to there. */
        if (i == 1 || i == 2) {
            assert_int_equal(w.p - buf, told);
            assert_memory_equal(buf, before, told);
        }
        w = wire_w_of(buf, sizeof buf);
        assert_true(ackrx_frame(&rx, &w, 5, 3, 0, NULL));
        w = wire_w_of(buf, sizeof buf);
        assert_true(ackrx_again(&rx, &w, 5, 3, 0));
        told = (size_t)(w.p - buf);
        assert_int_equal(told, steps[i].n);
        assert_memory_equal(buf, steps[i].bytes, told);
        memcpy(before, buf, told);
        w = wire_w_of(buf, 5);
        assert_true(!ackrx_again(&rx, &w, 5, 3, 0) && w.p == buf);
    }
    ackrx_free(&rx);
}

static void test_empty(void **state)
{
    uint8_t buf[100];
    struct wire_w w = wire_w_of(buf, sizeof buf);
    struct ackrx rx;

    (void)state;
    ackrx_init(&rx, DELAY);
    assert_false(ackrx_frame(&rx, &w, ACKRX_NO_PATH, 3, 0, NULL));
    assert_int_equal(w.p - buf, 0);
    assert_int_equal(ackrx_range_count(&rx), 0);
    ackrx_on_ack_of_ack(&rx, 5); /* nothing to forget */
    assert_false(ackrx_seen(&rx, 0));
    assert_true(ackrx_check(&rx));
    /* A clock that stood still gives a delay of 0. */
    assert_int_equal(ackrx_add(&rx, QUIC_PN_MAX, true, 0, 10), 0);
    assert_true(ackrx_frame(&rx, &w, ACKRX_NO_PATH, 0, 5, NULL));
    assert_memory_equal(buf, "\x02\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00", 12);
    ackrx_free(&rx);
}

static size_t report(struct ackrx *rx, struct range *out, size_t max, uint64_t *largest)
{
    uint8_t buf[1000];
    struct wire_w w = wire_w_of(buf, sizeof buf);
    struct wire_r r;
    const struct frame_row *row;
    struct frame f;
    struct ack_iter it;
    uint64_t lo, hi;
    size_t n = 0;

    assert_true(ackrx_frame(rx, &w, ACKRX_NO_PATH, 3, 0, largest));
    r = wire_r_of(buf, (size_t)(w.p - buf));
    assert_int_equal(frame_decode(&r, NULL, 0, LEVEL_APP, &f, &row), 0);
    assert_int_equal(wire_r_left(&r), 0);
    assert_int_equal(f.ack.largest, *largest);
    for (ack_iter_init(&it, &f.ack); ack_iter_next(&it, &lo, &hi); n++) {
        assert_true(n < max);
        out[n] = (struct range){lo, hi + 1};
    }
    return n;
}

/* What the peer has heard of is left out, unless something late comes between. */
static void test_ack_of_ack(void **state)
{
    static const uint64_t got[] = {0, 1, 4, 5, 8, 9, 12};
    struct range r[8];
    struct ackrx rx;
    uint64_t largest;

    (void)state;
    ackrx_init(&rx, DELAY);
    for (size_t i = 0; i < ARRAY_LEN(got); i++)
        ackrx_add(&rx, got[i], true, 0, 0);
    assert_int_equal(report(&rx, r, 8, &largest), 4);
    ackrx_on_ack_of_ack(&rx, 5);
    assert_int_equal(ackrx_range_count(&rx), 2);
    assert_int_equal(report(&rx, r, 8, &largest), 2);
    assert_int_equal(r[1].start, 8);
    assert_true(ackrx_seen(&rx, 4)); /* still known */
    assert_false(ackrx_seen(&rx, 3));
    assert_int_equal(ackrx_add(&rx, 3, true, 0, 0), 0);
    assert_int_equal(report(&rx, r, 8, &largest), 3); /* 3-5, 8-9, 12 */
    assert_int_equal(r[2].start, 3);
    assert_int_equal(r[2].end, 6);
    /* The largest is reported in any case (13.2.3). */
    ackrx_on_ack_of_ack(&rx, 12);
    assert_int_equal(report(&rx, r, 8, &largest), 1);
    assert_int_equal(r[0].start, 12);
    ackrx_on_ack_of_ack(&rx, 1000); /* never sent */
    ackrx_on_ack_of_ack(&rx, 2);    /* an old one */
    assert_int_equal(report(&rx, r, 8, &largest), 1);
    assert_true(ackrx_check(&rx));
    ackrx_free(&rx);
}

/* A sender who leaves every other number out costs no more than ACKRX_MAX ranges. */
static void test_many_gaps(void **state)
{
    struct range r[ACKRX_SENT];
    struct ackrx rx;
    uint64_t largest;

    (void)state;
    ackrx_init(&rx, DELAY);
    for (uint64_t pn = 0; pn < 4000; pn += 2) {
        assert_int_equal(ackrx_add(&rx, pn, true, 0, pn), 0);
        assert_true(ackrx_check(&rx));
        assert_true(ackrx_seen(&rx, pn));
    }
    assert_int_equal(report(&rx, r, ACKRX_SENT, &largest), ACKRX_SENT);
    assert_int_equal(r[0].start, 3998);
    /* Far behind, nothing is accepted any more; close behind, gaps fill up. */
    assert_int_equal(ackrx_add(&rx, 1, true, 0, 0), QUIC_DROP);
    assert_int_equal(ackrx_add(&rx, 2001, true, 0, 0), QUIC_DROP);
    assert_int_equal(ackrx_add(&rx, 3997, true, 0, 0), 0);
    assert_int_equal(ackrx_add(&rx, 3997, true, 0, 0), QUIC_DROP);
    assert_true(ranges_memory(&rx.received) <= 2 * ACKRX_MAX * sizeof(struct range));
    ackrx_free(&rx);
}

#define SPACE 3000

/*
 * Random loss, reordering and duplication: nothing is accepted twice; reported is what was
 * received and nothing else; everything is reported before the peer is thought to know.
 */
static void test_random(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct rnd rnd = {seed};
        bool got[SPACE] = {0}, told[SPACE] = {0};
        struct range r[ACKRX_SENT];
        struct ackrx rx;
        uint64_t front = 0, acked = 0;
        uint64_t reorder = rnd_below(&rnd, 200) + 1, loss = rnd_below(&rnd, 40);

        ackrx_init(&rx, DELAY);
        while (front < SPACE - reorder) {
            uint64_t pn = front + rnd_below(&rnd, reorder), largest;
            bool seen = ackrx_seen(&rx, pn);

            front += rnd_chance(&rnd, 1, 2);
            if (rnd_below(&rnd, 100) < loss)
                continue;
            assert_true(seen || !got[pn]);
            assert_int_equal(ackrx_add(&rx, pn, rnd_chance(&rnd, 2, 3), 0, front),
                             seen ? QUIC_DROP : 0);
            got[pn] |= !seen;
            assert_true(ackrx_check(&rx));
            assert_true(ackrx_seen(&rx, pn));
            if (!ackrx_due(&rx, front))
                continue;
            for (size_t n = report(&rx, r, ACKRX_SENT, &largest); n--;) {
                for (pn = r[n].start; pn < r[n].end; pn++) {
                    assert_true(got[pn]);
                    told[pn] = true;
                }
            }
            acked = largest;
            if (rnd_chance(&rnd, 1, 5))
                ackrx_on_ack_of_ack(&rx, acked);
        }
        /* Few ranges at a time: then every packet was reported at least once. */
        if (reorder < 16)
            for (uint64_t pn = 0; pn < acked; pn++)
                assert_int_equal(told[pn], got[pn]);
        ackrx_free(&rx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_when),      cmocka_unit_test(test_reordering),
        cmocka_unit_test(test_ask),       cmocka_unit_test(test_encoding),
        cmocka_unit_test(test_empty),     cmocka_unit_test(test_ack_of_ack),
        cmocka_unit_test(test_many_gaps), cmocka_unit_test(test_random),
        cmocka_unit_test(test_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
