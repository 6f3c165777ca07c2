/*
 * Loss recovery, buffers and streams while allocations fail at random: every error is a clean
 * one, what was there stays, and once memory is back everything goes on to its end.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "quic/ackrx.h"
#include "quic/errors.h"
#include "quic/streams.h"
#include "test/quic_rand.h"
#include "test/quic_recovery.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#endif

static unsigned one_in; /* so many allocations fail; 0: none */
static unsigned failed;

#ifndef SANITIZED
static struct rnd dice = {4};

static bool refuse(void)
{
    if (!one_in || !rnd_chance(&dice, 1, one_in))
        return false;
    failed++;
    return true;
}

/* The program's own functions stand before the C library's. */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

void *malloc(size_t n)
{
    return refuse() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return refuse() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    return refuse() ? NULL : __libc_realloc(p, n);
}
#endif

/* Under a sanitizer, which has an allocator of its own, there is nothing to test. */
static void begin(void)
{
#ifdef SANITIZED
    skip();
#endif
    failed = 0;
    one_in = 3;
}

/* It did happen; from here on all is well. */
static void end(void)
{
    one_in = 0;
    assert_true(failed > 0);
}

static void test_ranges(void **state)
{
    struct rnd rnd = {1};
    struct ranges r, before;
    struct range copy[200];

    (void)state;
    begin();
    ranges_init(&r, 150);
    for (int i = 0; i < 20000; i++) {
        uint64_t start = rnd_below(&rnd, 1000), stop = start + rnd_below(&rnd, 5);
        bool add = rnd_chance(&rnd, 1, 2);
        int err;

        before = r;
        memcpy(copy, ranges_at(&r), r.count * sizeof *copy);
        err = add ? ranges_add(&r, start, stop) : ranges_remove(&r, start, stop);
        if (err == QUIC_NOMEM) {
            assert_int_equal(r.count, before.count);
            assert_memory_equal(ranges_at(&r), copy, r.count * sizeof *copy);
        }
        if (err && add)
            ranges_add_widening(&r, start, stop);
        assert_true(ranges_check(&r));
        assert_true(!add || start >= stop || ranges_contains(&r, start));
        if (i % 1000 == 0)
            ranges_free(&r);
    }
    end();
    ranges_free(&r);
}

/* Nothing is accepted twice, with however little memory. */
static void test_ackrx(void **state)
{
    struct rnd rnd = {2};
    struct ackrx rx;

    (void)state;
    begin();
    for (int k = 0; k < 20; k++) { /* its set is allocated once */
        bool got[400] = {0};

        ackrx_init(&rx, 25 * MS);
        for (uint64_t i = 0; i < ARRAY_LEN(got) - 100; i++) {
            uint64_t pn = i + rnd_below(&rnd, 100);

            assert_true(!got[pn] || ackrx_seen(&rx, pn));
            if (!ackrx_seen(&rx, pn) && !ackrx_add(&rx, pn, true, 0, i))
                got[pn] = true;
            assert_true(ackrx_check(&rx));
        }
        ackrx_free(&rx);
    }
    end();
}

/* Every packet is acknowledged or lost in the end, and no byte stays in flight. */
static void test_recovery(void **state)
{
    enum { N = 8000 };
    static uint8_t verdicts[N];
    static bool arrived[N];
    struct recovery_config cfg = config_of(NULL, NULL);
    struct rnd rnd = {3};
    struct recovery r;
    struct verdict v;
    uint64_t next = 0;
    ns_t now = 1;

    (void)state;
    begin();
    assert_int_equal(recovery_init(&r, &cfg), 0);
    recovery_set_state(&r, &confirmed, 0);
    for (int step = 0; next < N || r.bytes_in_flight; step++) {
        struct range ranges[20];
        struct ack_frame f;
        size_t n = 0;
        int err;

        assert_true(step < 100 * N);
        now += 100 * NS_PER_US;
        if (next == N)
            one_in = 0;
        if (next < N && rnd_chance(&rnd, 2, 3)) {
            err = send_packet(&r, SPACE_APP, next, SENT_ELICITING, 1000, now);
            if (err) {
                assert_int_equal(err, QUIC_NOMEM);
                sent_abort(&r.space[SPACE_APP].sent);
            } else {
                arrived[next] = rnd_chance(&rnd, 4, 5) || next > N - 5;
                next++;
            }
        } else if (next) {
            for (uint64_t pn = next; pn-- > (next > 400 ? next - 400 : 0) && n < 20;) {
                if (!arrived[pn])
                    continue;
                if (n && ranges[n - 1].start == pn + 1)
                    ranges[n - 1].start = pn;
                else
                    ranges[n++] = (struct range){pn, pn};
            }
            if (n) {
                ack_make(&f, ranges, n);
                assert_int_equal(recovery_on_ack(&r, SPACE_APP, &f.ack, 0, now), 0);
            }
        }
        if (recovery_deadline(&r) <= now)
            recovery_on_timeout(&r, now);
        while (recovery_next_verdict(&r, &v)) {
            unsigned bit = 1u << v.fate;

            assert_false(verdicts[v.pn] & bit);
            if (v.fate == VERDICT_SPURIOUS)
                assert_true(verdicts[v.pn] & 1u << VERDICT_LOST);
            else
                assert_int_equal(verdicts[v.pn], 0);
            verdicts[v.pn] |= (uint8_t)bit;
        }
        recovery_verdicts_done(&r, now);
        if (step % 16 == 0)
            assert_true(recovery_check(&r));
    }
    end();
    for (uint64_t pn = 0; pn < N; pn++)
        assert_true(verdicts[pn]);
    assert_true(recovery_check(&r));
    recovery_free(&r);
}

static uint8_t byte_at(uint64_t off)
{
    return (uint8_t)(off * 31 + (off >> 8) * 7);
}

/* One buffer into the other, pieces lost and out of order. */
static void test_buffers(void **state)
{
    enum { TOTAL = 200000, FLIGHT = 40 };
    struct {
        uint64_t off;
        size_t n;
        bool fin;
    } flight[FLIGHT];
    struct rnd rnd = {4};
    struct sbuf s;
    struct rbuf r;
    size_t n_flight = 0;

    (void)state;
    begin();
    sbuf_init(&s, 20000);
    rbuf_init(&r, 30000);
    for (int step = 0; !sbuf_done(&s) || !rbuf_done(&r); step++) {
        uint8_t buf[1000];
        uint64_t off;
        size_t n = rnd_below(&rnd, sizeof buf), taken;
        bool fin;

        assert_true(step < 10000000);
        if (n > TOTAL - s.end)
            n = TOTAL - s.end;
        for (size_t i = 0; i < n; i++)
            buf[i] = byte_at(s.end + i);
        off = s.end;
        if (sbuf_write(&s, span_of(buf, n), &taken) == QUIC_NOMEM)
            assert_true(taken == 0 && s.end == off);
        if (s.end == TOTAL)
            sbuf_finish(&s);
        while (n_flight < FLIGHT && sbuf_next(&s, r.base + 30000, 700, &off, &n, &fin)) {
            sbuf_on_sent(&s, off, n, fin);
            flight[n_flight].off = off;
            flight[n_flight].n = n;
            flight[n_flight++].fin = fin;
        }
        for (int i = 0; i < 10 && n_flight; i++) {
            size_t k = rnd_below(&rnd, n_flight);
            struct span data = sbuf_peek(&s, flight[k].off, flight[k].n);
            bool known = flight[k].off < s.base || (!flight[k].n && s.base == s.end);

            if (!known && rnd_chance(&rnd, 3, 4) && data.n == flight[k].n &&
                !rbuf_add(&r, flight[k].off, data, flight[k].fin))
                sbuf_on_acked(&s, flight[k].off, flight[k].n, flight[k].fin);
            else if (known && !flight[k].n)
                sbuf_on_acked(&s, flight[k].off, 0, !rbuf_add(&r, flight[k].off, data, true));
            else
                sbuf_on_lost(&s, flight[k].off, flight[k].n, flight[k].fin);
            flight[k] = flight[--n_flight];
            assert_true(sbuf_check(&s) && rbuf_check(&r));
        }
        for (struct span p; (p = rbuf_peek(&r, NULL)).n; rbuf_consume(&r, p.n))
            for (size_t i = 0; i < p.n; i++)
                assert_int_equal(p.p[i], byte_at(r.base + i));
    }
    end();
    assert_int_equal(r.base, TOTAL);
    sbuf_free(&s);
    rbuf_free(&r);
}

/* A stream that can't be made leaves all as it was; a frame that can't be kept is an error. */
static void test_streams(void **state)
{
    static const struct streams_config cfg = {.server = true,
                                              .conn_window = 1000000,
                                              .conn_window_max = 1000000,
                                              .stream_window = 50000,
                                              .stream_window_max = 50000,
                                              .max_bidi = 100,
                                              .max_uni = 100,
                                              .send_buffer = 10000};
    static const uint8_t bytes[3000];
    struct tparams t = {.initial_max_data = 1000000,
                        .initial_max_stream_data_bidi_remote = 50000,
                        .initial_max_streams_bidi = 50};

    (void)state;
    begin();
    for (uint64_t seed = 1; seed < 200; seed++) {
        struct rnd rnd = {seed};
        struct streams s;

        streams_init(&s, &cfg);
        streams_set_peer(&s, &t);
        for (int i = 0; i < 100; i++) {
            struct frame f = {.type = FRAME_STREAM};
            struct sent_record rec;
            uint64_t id, opened = s.ours[0].opened;
            int err;

            err = streams_open(&s, false, &id);
            assert_true(!err || (err == QUIC_NOMEM && s.ours[0].opened == opened) ||
                        err == QUIC_BLOCKED);
            if (!err) {
                err = streams_write(&s, id, span_of(bytes, sizeof bytes), NULL);
                assert_true(!err || err == QUIC_NOMEM);
            }
            assert_true(streams_check(&s));
            f.stream.id = 4 * rnd_below(&rnd, 100);
            f.stream.offset = rnd_below(&rnd, 20000);
            f.stream.data = span_of(bytes, rnd_below(&rnd, 1000));
            err = streams_on_frame(&s, &f);
            assert_true(!err || err == QUIC_INTERNAL_ERROR);
            if (err)
                break; /* this ends a connection */
            assert_true(streams_check(&s));
            if (streams_next_frame(&s, 1200, &f, &rec))
                streams_on_fate(&s, &rec, rnd_chance(&rnd, 1, 2));
            assert_true(streams_check(&s));
        }
        streams_free(&s);
    }
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),   cmocka_unit_test(test_ackrx),
        cmocka_unit_test(test_recovery), cmocka_unit_test(test_buffers),
        cmocka_unit_test(test_streams),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
