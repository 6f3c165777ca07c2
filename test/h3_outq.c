/* outq, stream, idset: against naive models; turns, the table and its events. */
#include "test/h3_util.h"

#include "h3/idset.h"
#include "h3/outq.h"
#include "h3/stream.h"

#define QUEUES 6

/* What a queue should hold. */
struct model {
    uint8_t bytes[1 << 16];
    size_t n;
    bool fin, over, blocked;
};

static struct model models[QUEUES];

static void put_random(struct h3_outbox *box, struct h3_outq *q, struct model *m, size_t total,
                       uint64_t *seed)
{
    uint8_t data[600];
    size_t n = rnd(seed) % sizeof(data), head = n ? rnd(seed) % n : 0;
    bool fin = rnd(seed) % 200 == 0;
    int want = m->over || m->fin ? QUIC_CLOSED : total + n > box->limit ? QUIC_BLOCKED : 0;

    for (size_t i = 0; i < n; i++)
        data[i] = (uint8_t)rnd(seed);
    assert_int_equal(
        h3_outq_put(box, q, span_of(data, head), span_of(data + head, n - head), fin), want);
    if (want != 0)
        return;
    memcpy(m->bytes + m->n, data, n);
    m->n += n;
    m->fin = fin;
}

static void take_random(struct h3_outbox *box, struct h3_outq *q, struct model *m,
                        uint64_t *seed)
{
    size_t max = 1 + rnd(seed) % 700, n;
    bool fin;
    struct span s = h3_outq_peek(q, max, &fin);

    assert_int_equal(s.n, m->n < max ? m->n : max);
    assert_int_equal(fin, m->fin && m->n <= max);
    if (s.n > 0)
        assert_memory_equal(s.p, m->bytes, s.n);
    n = s.n && rnd(seed) % 3 == 0 ? rnd(seed) % s.n : s.n;
    fin = fin && n == s.n;
    h3_outq_took(box, q, n, fin);
    m->n -= n;
    memmove(m->bytes, m->bytes + n, m->n);
    m->over |= fin;
}

static void random_queues(void **state)
{
    struct h3_outbox box = {.limit = 8000, .opening = UINT64_MAX};
    struct h3_outq q[QUEUES];
    uint64_t seed = 11;

    (void)state;
    memset(models, 0, sizeof(models));
    for (size_t i = 0; i < QUEUES; i++)
        h3_outq_init(&q[i], 4 * i);
    for (size_t round = 0; round < 60000; round++) {
        size_t k = rnd(&seed) % QUEUES, total = 0, ready = 0;
        struct h3_outq *next;

        for (size_t i = 0; i < QUEUES; i++)
            total += models[i].n;
        switch (rnd(&seed) % 8) {
        case 0:
        case 1:
        case 2:
            put_random(&box, &q[k], &models[k], total, &seed);
            break;
        case 3:
            models[k].blocked = rnd(&seed) % 2;
            h3_outq_block(&box, &q[k], models[k].blocked);
            break;
        case 4:
            if (models[k].over || rnd(&seed) % 50 == 0) {
                h3_outq_drop(&box, &q[k]);
                assert_int_equal(h3_outq_put(&box, &q[k], SPAN_LIT("x"), SPAN_LIT("y"), false),
                                 QUIC_CLOSED);
                h3_outq_init(&q[k], 4 * k);
                memset(&models[k], 0, sizeof(models[k]));
            }
            break;
        default:
            next = h3_outbox_next(&box);
            if (next)
                take_random(&box, next, &models[next->id / 4], &seed);
        }
        total = 0;
        for (size_t i = 0; i < QUEUES; i++) {
            const struct model *m = &models[i];
            bool is_ready = !m->blocked && !m->over && (m->n > 0 || m->fin);

            total += m->n;
            ready += is_ready;
            assert_int_equal(h3_outq_ready(&q[i]), is_ready);
            assert_int_equal(q[i].listed, is_ready);
            assert_int_equal(q[i].len, m->n);
        }
        h3_outbox_check(&box, total);
        assert_int_equal(h3_outbox_next(&box) != NULL, ready > 0);
    }
    for (size_t i = 0; i < QUEUES; i++)
        h3_outq_drop(&box, &q[i]);
    h3_outbox_check(&box, 0);
}

static void limits(void **state)
{
    static const uint8_t bytes[200];
    struct h3_outbox box = {.limit = 100, .opening = UINT64_MAX};
    struct h3_outq q;

    (void)state;
    h3_outq_init(&q, 0);
    assert_int_equal(h3_outq_put(&box, &q, span_of(bytes, 1), span_of(bytes, 100), false),
                     QUIC_TOOBIG);
    assert_int_equal(h3_outq_put(&box, &q, span_of(bytes, 2), span_of(NULL, SIZE_MAX), false),
                     QUIC_TOOBIG);
    assert_int_equal(h3_outq_put(&box, &q, span_of(bytes, 1), span_of(bytes, 99), false), 0);
    assert_int_equal(h3_outq_put(&box, &q, span_of(NULL, 0), span_of(bytes, 1), false),
                     QUIC_BLOCKED);
    h3_outq_took(&box, &q, 1, false);
    assert_int_equal(h3_outq_put(&box, &q, span_of(NULL, 0), span_of(bytes, 1), true), 0);
    assert_int_equal(h3_outq_put(&box, &q, span_of(NULL, 0), span_of(NULL, 0), true),
                     QUIC_CLOSED);
    h3_outq_took(&box, &q, 1000, false); /* more than there is: cut, and the end remains */
    assert_int_equal(box.total, 0);
    assert_ptr_equal(h3_outbox_next(&box), &q);
    h3_outq_took(&box, &q, 0, true);
    assert_null(h3_outbox_next(&box));
    assert_null(q.buf);
    h3_outq_drop(&box, &q);
}

/* Each of those that are ready has its turn before any has a second one. */
static void turns(void **state)
{
    struct h3_outbox box = {.limit = 1 << 20, .opening = UINT64_MAX};
    struct h3_outq q[QUEUES];
    size_t got[QUEUES] = {0};
    static const uint8_t bytes[1000];

    (void)state;
    for (size_t i = 0; i < QUEUES; i++) {
        h3_outq_init(&q[i], 4 * i);
        h3_outq_put(&box, &q[i], span_of(bytes, i == 0 ? 1000 : 100), span_of(NULL, 0), false);
    }
    h3_outq_block(&box, &q[3], true);
    for (size_t turn = 0; turn < 10 * (QUEUES - 1); turn++) {
        struct h3_outq *next = h3_outbox_next(&box);

        got[next->id / 4]++;
        h3_outq_took(&box, next, 10, false);
        for (size_t i = 0; i < QUEUES; i++)
            if (i != 3)
                assert_true(got[i] >= turn / (QUEUES - 1) && got[i] <= turn / (QUEUES - 1) + 1);
    }
    assert_int_equal(got[3], 0);
    assert_ptr_equal(h3_outbox_next(&box), &q[0]);
    h3_outq_block(&box, &q[3], false);
    h3_outq_took(&box, &q[0], 10, false);
    assert_ptr_equal(h3_outbox_next(&box), &q[3]);
    for (size_t i = 0; i < QUEUES; i++)
        h3_outq_drop(&box, &q[i]);
}

/* A stream that is not open waits for those of lower number, open ones do not. */
static void opening(void **state)
{
    struct h3_outbox box = {.limit = 1000, .opening = 0};
    struct h3_outq q[3];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        h3_outq_init(&q[i], 4 * i);
        h3_outq_put(&box, &q[i], SPAN_LIT("abc"), span_of(NULL, 0), false);
    }
    h3_outq_block(&box, &q[0], true);
    assert_null(h3_outbox_next(&box));
    h3_outq_block(&box, &q[0], false);
    assert_ptr_equal(h3_outbox_next(&box), &q[0]);
    h3_outq_took(&box, &q[0], 1, false);
    box.opening = 4;
    h3_outq_block(&box, &q[1], true);
    assert_ptr_equal(h3_outbox_next(&box), &q[0]);
    h3_outq_took(&box, &q[0], 2, false);
    assert_null(h3_outbox_next(&box));
    for (size_t i = 0; i < 3; i++)
        h3_outq_drop(&box, &q[i]);
}

/* The table against a bitmap, and its events against a list of what was raised. */
static void random_streams(void **state)
{
    enum { IDS = 64 };
    struct h3_streams t = {0};
    bool have[IDS] = {false};
    uint8_t pending[IDS] = {0};
    unsigned order[IDS], n_order = 0;
    uint64_t seed = 12;

    (void)state;
    for (size_t round = 0; round < 40000; round++) {
        unsigned k = (unsigned)(rnd(&seed) % IDS), at;
        struct h3_stream *s = h3_streams_find(&t, k), *from;
        struct h3_event ev;
        uint8_t bits, first;

        assert_int_equal(s != NULL, have[k]);
        for (at = 0; at < n_order && order[at] != k; at++)
            ;
        switch (rnd(&seed) % 4) {
        case 0: /* add or remove */
            if (!s) {
                assert_non_null(h3_streams_add(&t, k, k & 2 ? H3_KIND_NEW : H3_KIND_REQUEST));
            } else {
                h3_streams_remove(&t, s);
                if (at < n_order)
                    memmove(order + at, order + at + 1, (--n_order - at) * sizeof(*order));
                pending[k] = 0;
            }
            have[k] = !have[k];
            break;
        case 1:
        case 2:
            if (!s)
                break;
            bits = (uint8_t)(1 << rnd(&seed) % 4);
            h3_streams_raise(&t, s, bits);
            if (bits == H3_PEND_ABORT)
                pending[k] = bits;
            else if (pending[k] != H3_PEND_ABORT)
                pending[k] |= bits;
            if (at == n_order)
                order[n_order++] = k;
            break;
        default:
            assert_int_equal(h3_streams_next(&t, &ev, &from), n_order > 0);
            if (n_order == 0)
                break;
            k = order[0];
            first = (uint8_t)(pending[k] & -pending[k]);
            assert_int_equal(ev.stream_id, k);
            assert_int_equal(from->id, k);
            assert_int_equal(ev.type, first == H3_PEND_FIN       ? H3_EV_FIN
                                      : first == H3_PEND_RESET   ? H3_EV_RESET
                                      : first == H3_PEND_STOPPED ? H3_EV_STOPPED
                                                                 : H3_EV_ABORT);
            pending[k] &= (uint8_t)~first;
            if (!pending[k])
                memmove(order, order + 1, --n_order * sizeof(*order));
        }
        h3_streams_check(&t);
    }
    h3_streams_free(&t);
    assert_null(h3_streams_find(&t, 0));
}

/* The set against a bitmap, with numbers that come in order, nearly, and not at all. */
static void random_ids(void **state)
{
    enum { IDS = 900 };
    uint64_t seed = 13;

    (void)state;
    for (size_t round = 0; round < 60; round++) {
        struct h3_idset s = {0};
        bool have[IDS] = {false};
        uint64_t base = round % 2 ? 0 : VARINT_MAX / 4 - IDS;

        for (size_t i = 0; i < IDS; i++) {
            size_t k = round % 3 == 0   ? i
                       : round % 3 == 1 ? (i + rnd(&seed) % 8) % IDS
                                        : rnd(&seed) % IDS;

            h3_idset_add(&s, base + k);
            have[k] = true;
            h3_idset_check(&s);
            k = rnd(&seed) % IDS;
            assert_int_equal(h3_idset_has(&s, base + k), have[k]);
        }
        for (size_t k = 0; k < IDS; k++)
            assert_int_equal(h3_idset_has(&s, base + k), have[k]);
        assert_false(h3_idset_has(&s, base + IDS));
        assert_true(round % 3 || s.n == 1);
        h3_idset_free(&s);
    }
}

/* Too many holes: the lowest are closed, nothing that was added is lost. */
static void many_holes(void **state)
{
    struct h3_idset s = {0};

    (void)state;
    for (uint64_t k = 0; k < 5000; k++) {
        h3_idset_add(&s, 2 * k);
        h3_idset_check(&s);
    }
    for (uint64_t k = 0; k < 5000; k++)
        assert_true(h3_idset_has(&s, 2 * k));
    assert_true(h3_idset_has(&s, 1));
    assert_false(h3_idset_has(&s, 9997));
    assert_int_equal(s.n, H3_IDSET_MAX);
    h3_idset_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_queues),  cmocka_unit_test(limits),
        cmocka_unit_test(turns),          cmocka_unit_test(opening),
        cmocka_unit_test(random_streams), cmocka_unit_test(random_ids),
        cmocka_unit_test(many_holes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
