/* What a client keeps of its TLS session. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/ticket.h"

static char dir[64], file[128];
static struct ticket t, other;

static struct span text(const char *s)
{
    return span_of((const uint8_t *)s, strlen(s));
}

static void assert_holds(const struct ticket *k, const char *s)
{
    assert_int_equal(k->n, strlen(s));
    assert_memory_equal(k->b, s, k->n);
}

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/mqvpn-ticket.XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(file, sizeof(file), "%s/session-a.example:443", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(file);
    return rmdir(dir);
}

static void test_kept(void **state)
{
    struct stat st;

    (void)state;
    ticket_load(&t, dir, "a.example:443");
    assert_int_equal(t.n, 0);
    assert_int_equal(ticket_next(&t, dir, "a.example:443", text("one")), 0);
    assert_holds(&t, "one");
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    ticket_load(&other, dir, "a.example:443");
    assert_holds(&other, "one");
    ticket_load(&other, dir, "b.example:443");
    assert_int_equal(other.n, 0);
    /* A later one takes its place. */
    assert_int_equal(ticket_next(&t, dir, "a.example:443", text("second")), 0);
    ticket_load(&other, dir, "a.example:443");
    assert_holds(&other, "second");
    /* Not offered: it stays. Offered, answered and not replaced: it is gone. */
    assert_int_equal(ticket_next(&t, dir, "a.example:443", text("")), 0);
    assert_holds(&t, "second");
    t.offered = true;
    assert_int_equal(ticket_next(&t, dir, "a.example:443", text("")), 0);
    assert_int_equal(t.n, 0);
    assert_false(t.offered);
    assert_int_equal(stat(file, &st), -1);
    t.offered = true;
    assert_int_equal(ticket_next(&t, dir, "a.example:443", text("")), 0);
}

/* Without a place to keep it, within one process. */
static void test_no_dir(void **state)
{
    (void)state;
    t = (struct ticket){.n = 0};
    assert_int_equal(ticket_next(&t, NULL, "a.example:443", text("one")), 0);
    assert_holds(&t, "one");
    t.offered = true;
    assert_int_equal(ticket_next(&t, NULL, "a.example:443", text("")), 0);
    assert_int_equal(t.n, 0);
}

static void test_hostile(void **state)
{
    static uint8_t large[TLS_SESSION_MAX + 1];
    FILE *f;

    (void)state;
    /* A name must not lead out of the directory. */
    assert_int_equal(ticket_next(&t, dir, "../x", text("one")), -ENAMETOOLONG);
    ticket_load(&other, dir, "../x");
    assert_int_equal(other.n, 0);
    /* A file too large, or too large a session. */
    f = fopen(file, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(large, 1, sizeof(large), f), sizeof(large));
    assert_int_equal(fclose(f), 0);
    ticket_load(&other, dir, "a.example:443");
    assert_int_equal(other.n, 0);
    assert_int_equal(truncate(file, TLS_SESSION_MAX), 0);
    ticket_load(&other, dir, "a.example:443");
    assert_int_equal(other.n, TLS_SESSION_MAX);
    t = (struct ticket){.n = 0};
    assert_int_equal(ticket_next(&t, dir, "a.example:443", span_of(large, sizeof(large))), 0);
    assert_int_equal(t.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept),
        cmocka_unit_test(test_no_dir),
        cmocka_unit_test(test_hostile),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
