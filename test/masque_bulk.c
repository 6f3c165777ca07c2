/* bulk: the bytes of each kind, what is refused, numbers round the corner. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "masque/bulk.h"

static void bytes(void **state)
{
    static const struct {
        struct bulk_head h;
        uint8_t b[BULK_HEAD];
    } rows[] = {
        {{BULK_DATA, 0, 0, 0, 0}, {0}},
        {{BULK_DATA, 63, 0x123456, 0xabcd, 0xfffe},
         {0x3f, 0x12, 0x34, 0x56, 0xab, 0xcd, 0xff, 0xfe}},
        {{BULK_FLOOR, 5, 0xffffff, 1, 2}, {0x45, 0xff, 0xff, 0xff, 0, 1, 0, 2}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t b[BULK_HEAD + 3] = {0};
        struct bulk_head h;
        struct span rest;

        bulk_encode(&rows[i].h, b);
        assert_memory_equal(b, rows[i].b, BULK_HEAD);
        assert_int_equal(bulk_decode(span_of(b, sizeof(b)), &h, &rest), 0);
        assert_int_equal(h.kind, rows[i].h.kind);
        assert_int_equal(h.flow, rows[i].h.flow);
        assert_int_equal(h.number, rows[i].h.number);
        assert_int_equal(h.time, rows[i].h.time);
        assert_int_equal(h.floor, rows[i].h.floor);
        assert_ptr_equal(rest.p, b + BULK_HEAD);
        assert_int_equal(rest.n, 3);
    }
}

static void refused(void **state)
{
    static const uint8_t data[BULK_HEAD] = {0};
    static const struct {
        uint8_t number, count, n;
        int rc;
    } parity[] = {{0, 0, 0, 0},          {0, 0, 1, QUIC_DROP},  {0, 1, 0, QUIC_DROP},
                  {0, 1, 1, 0},          {32, 16, 1, 0},        {32, 17, 1, QUIC_DROP},
                  {33, 5, 1, QUIC_DROP}, {40, 16, 1, QUIC_DROP}};
    struct bulk_head h;
    struct span rest;

    (void)state;
    for (size_t n = 0; n <= BULK_HEAD; n++) /* cut short, or a packet of no bytes */
        assert_int_equal(bulk_decode(span_of(data, n), &h, &rest), QUIC_DROP);
    for (size_t i = 0; i < ARRAY_LEN(parity); i++) {
        uint8_t p[BULK_HEAD + 1] = {0xc5, 0, 0, parity[i].number, 0, parity[i].count, 0, 99};

        assert_int_equal(bulk_decode(span_of(p, BULK_HEAD + parity[i].n), &h, &rest),
                         parity[i].rc);
    }
}

static void reports(void **state)
{
    static const struct bulk_report list[] = {{0, 0, 3}, {1, 1000, 70}, {1ull << 40, 20, 0}};
    struct bulk_report out[BULK_REPORT_MAX];
    uint8_t b[100];
    struct bulk_head h;
    struct span rest;
    size_t n = bulk_report_encode(list, 3, b, sizeof(b));

    (void)state;
    assert_true(n > BULK_HEAD);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(bulk_report_encode(list, 3, b, i), 0);
    assert_int_equal(bulk_report_encode(list, 3, b, n), n);
    assert_int_equal(bulk_report_encode(list, BULK_REPORT_MAX + 1, b, sizeof(b)), 0);
    assert_int_equal(bulk_decode(span_of(b, n), &h, &rest), 0);
    assert_int_equal(h.kind, BULK_REPORT);
    assert_int_equal(bulk_report_decode(&h, rest, out), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(out[i].path, list[i].path);
        assert_int_equal(out[i].late, list[i].late);
        assert_int_equal(out[i].jitter, list[i].jitter);
    }
    for (size_t i = 0; i < rest.n; i++)
        assert_int_equal(bulk_report_decode(&h, span_of(rest.p, i), out), QUIC_DROP);
    /* Times above any sense are cut, not wrapped. */
    memset(b + BULK_HEAD, 0xff, sizeof(b) - BULK_HEAD);
    h.flow = 1;
    assert_int_equal(bulk_report_decode(&h, span_of(b + BULK_HEAD, 24), out), 1);
    assert_int_equal(out[0].late, UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes),
        cmocka_unit_test(refused),
        cmocka_unit_test(reports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
