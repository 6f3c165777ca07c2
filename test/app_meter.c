/* meter: what metered links have used: counted, kept, added up, begun anew each month. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "app/meter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOV (126 * 12 + 10)

static char dir[64], file[80];

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/meter-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(file, sizeof(file), "%s/%s", dir, METER_FILE);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(file);
    return rmdir(dir);
}

static void write_file(const char *text)
{
    FILE *f = fopen(file, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static struct meter opened(int month)
{
    struct meter m;

    meter_open(&m, dir, month, NULL);
    return m;
}

static void test_kept(void **state)
{
    struct meter m = opened(NOV);
    char text[64] = "";
    FILE *f;

    (void)state;
    assert_int_equal(meter_used(&m, "wwan0"), 0);
    meter_add(&m, "wwan0", 1000, 5);
    meter_add(&m, "usb0", 7, 6);
    meter_add(&m, "wwan0", 500, 7);
    assert_int_equal(meter_used(&m, "wwan0"), 1500);
    assert_false(meter_tick(&m, NOV, 5 + METER_SAVE - 1));
    assert_int_equal(access(file, F_OK), -1);
    assert_false(meter_tick(&m, NOV, 5 + METER_SAVE));
    assert_true(m.save_at == NS_NEVER);
    f = fopen(file, "r");
    assert_non_null(f);
    assert_true(fread(text, 1, sizeof(text) - 1, f) > 0);
    fclose(f);
    assert_string_equal(text, "2026-11\nwwan0 1500\nusb0 7\n");
    meter_add(&m, "wwan0", 1, 8);
    meter_close(&m);
    m = opened(NOV);
    assert_int_equal(meter_used(&m, "wwan0"), 1501);
    assert_int_equal(meter_used(&m, "usb0"), 7);
    m = opened(NOV + 1);
    assert_int_equal(meter_used(&m, "wwan0"), 0);
    assert_int_equal(meter_used(&m, "eth0"), 0);
}

/* Two at once add to the same account. */
static void test_two(void **state)
{
    struct meter a, b;

    (void)state;
    unlink(file);
    a = opened(NOV);
    b = opened(NOV);
    meter_add(&a, "wwan0", 100, 1);
    meter_add(&b, "wwan0", 20, 1);
    meter_close(&a);
    meter_close(&b);
    assert_int_equal(meter_used(&b, "wwan0"), 120);
    meter_add(&a, "wwan0", 3, 2);
    meter_close(&a);
    assert_int_equal(meter_used(&a, "wwan0"), 123);
}

static void test_month(void **state)
{
    struct meter m;

    (void)state;
    write_file("2026-11\nwwan0 99\n");
    m = opened(NOV);
    meter_add(&m, "wwan0", 1, 5);
    assert_int_equal(meter_used(&m, "wwan0"), 100);
    assert_true(meter_tick(&m, NOV + 1, 6));
    assert_int_equal(meter_used(&m, "wwan0"), 0);
    meter_add(&m, "wwan0", 4, 7);
    meter_close(&m);
    m = opened(NOV + 1);
    assert_int_equal(meter_used(&m, "wwan0"), 4);
    setenv("TZ", "UTC", 1);
    tzset();
    assert_int_equal(meter_month(1795219200), NOV);     /* 2026-11-21 */
    assert_int_equal(meter_month(1796083199), NOV);     /* 2026-11-30 23:59:59 */
    assert_int_equal(meter_month(1796083200), NOV + 1); /* a second later */
}

/* Whatever stands in the file, and where none can be. */
static void test_bad(void **state)
{
    static const char *const bad[] = {"",
                                      "\n",
                                      "x",
                                      "2026-11",
                                      "2026-11\nwwan0\n\n 5\nwwan0 x\n",
                                      "9999999999-99\nwwan0 5\n",
                                      "wwan0 5\n"};
    char many[2000] = "2026-11\n";
    struct meter m;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        write_file(bad[i]);
        m = opened(NOV);
        assert_int_equal(meter_used(&m, "wwan0"), 0);
    }
    write_file("2026-11\nabcdefghijklmnopqrstuvw 5\nwwan0 6\n");
    m = opened(NOV);
    assert_int_equal(meter_used(&m, "wwan0"), 6);
    for (int i = 0; i < 40; i++)
        sprintf(many + strlen(many), "i%d 1\n", i);
    write_file(many);
    m = opened(NOV);
    assert_int_equal(m.n, LINKS_MAX);
    meter_add(&m, "one-more", 5, 1);
    assert_int_equal(meter_used(&m, "one-more"), 0);
    meter_open(&m, NULL, NOV, NULL);
    meter_add(&m, "wwan0", 5, 1);
    assert_false(meter_tick(&m, NOV, 1 + METER_SAVE));
    assert_int_equal(meter_used(&m, "wwan0"), 5);
    meter_open(&m, "/proc/none/such", NOV, NULL);
    meter_add(&m, "wwan0", 5, 1);
    meter_close(&m);
    assert_int_equal(meter_used(&m, "wwan0"), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept),
        cmocka_unit_test(test_two),
        cmocka_unit_test(test_month),
        cmocka_unit_test(test_bad),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
