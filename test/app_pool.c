/* pool and lease: every address to at most one session, the same address again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "app/lease.h"
#include "app/pool.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void addr_is(const struct pool *p, uint32_t i, const char *v4, const char *v6)
{
    uint8_t b[16];
    char text[INET6_ADDRSTRLEN];

    pool_addr4(p, i, b);
    assert_string_equal(inet_ntop(AF_INET, b, text, sizeof(text)), v4);
    if (!v6)
        return;
    pool_addr6(p, i, b);
    assert_string_equal(inet_ntop(AF_INET6, b, text, sizeof(text)), v6);
}

static uint32_t owner_of(const struct pool *p, const char *text)
{
    uint8_t b[16];

    if (inet_pton(AF_INET, text, b) == 1)
        return pool_owner(p, 4, b);
    assert_int_equal(inet_pton(AF_INET6, text, b), 1);
    return pool_owner(p, 6, b);
}

static void sizes(void **state)
{
    static const struct {
        const char *v4, *v6;
        uint32_t max, clients;
    } rows[] = {
        {"10.0.0.0/24", "fd00::/112", 1024, 253}, {"10.0.0.0/30", "none", 1024, 1},
        {"10.0.0.0/16", "fd00::/112", 100, 100},  {"10.0.0.0/24", "fd00::/126", 1024, 2},
        {"10.0.0.0/8", "fd00::/64", 5000, 5000},
    };
    struct pool p;

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
        assert_int_equal(pool_init(&p, rows[k].v4, rows[k].v6, rows[k].max), 0);
        for (uint32_t i = 0; i < rows[k].clients; i++)
            assert_true(pool_valid(&p, pool_take(&p, i, 0)));
        assert_int_equal(pool_take(&p, 99999, 0), POOL_NONE);
        pool_free(&p);
    }
    assert_int_equal(pool_init(&p, "10.0.0.0/31", "none", 9), QUIC_INVAL);
    assert_int_equal(pool_init(&p, "fd00::/64", "none", 9), QUIC_INVAL);
}

static void addresses(void **state)
{
    struct pool p;
    uint32_t i;

    (void)state;
    assert_int_equal(pool_init(&p, "10.1.254.0/23", "fd00::ff00/120", 1024), 0);
    addr_is(&p, 1, "10.1.254.1", "fd00::ff01");
    addr_is(&p, 255, "10.1.254.255", "fd00::ffff");
    i = pool_take(&p, 7, 0);
    addr_is(&p, i, "10.1.254.2", "fd00::ff02");
    assert_int_equal(owner_of(&p, "10.1.254.2"), 7);
    assert_int_equal(owner_of(&p, "fd00::ff02"), 7);
    assert_int_equal(owner_of(&p, "10.1.254.1"), POOL_NONE);
    assert_int_equal(owner_of(&p, "10.1.254.3"), POOL_NONE);
    assert_int_equal(owner_of(&p, "10.2.254.2"), POOL_NONE);
    assert_int_equal(owner_of(&p, "fd01::ff02"), POOL_NONE);
    assert_int_equal(owner_of(&p, "fd00::1:0:ff02"), POOL_NONE);
    assert_int_equal(owner_of(&p, "255.255.255.255"), POOL_NONE);
    pool_release(&p, i, 8, 0); /* not the owner: nothing happens */
    assert_int_equal(owner_of(&p, "10.1.254.2"), 7);
    pool_release(&p, i, 7, 0);
    assert_int_equal(owner_of(&p, "10.1.254.2"), POOL_NONE);
    pool_free(&p);
}

static void held_slots_come_last(void **state)
{
    struct pool p;
    uint32_t a, b, c;

    (void)state;
    assert_int_equal(pool_init(&p, "10.0.0.0/29", "none", 1024), 0); /* 5 clients */
    a = pool_take(&p, 1, 100);
    b = pool_take(&p, 2, 100);
    pool_release(&p, a, 1, 500);
    pool_release(&p, b, 2, 400);
    for (uint32_t i = 10; i < 13; i++) {
        c = pool_take(&p, i, 100);
        assert_true(c != a && c != b);
    }
    assert_int_equal(pool_take(&p, 20, 100), b); /* held the shorter of the two */
    assert_int_equal(pool_claim(&p, a, 21), POOL_NONE);
    assert_int_equal(pool_take(&p, 22, 100), POOL_NONE);
    assert_int_equal(pool_claim(&p, a, 23), 21); /* the newest wins */
    pool_release(&p, a, 21, 0);                  /* too late: it is 23's */
    assert_int_equal(pool_take(&p, 24, 100), POOL_NONE);
    pool_free(&p);
}

static void leases_of_a_slot(void **state)
{
    struct pool p;
    uint32_t i;

    (void)state;
    assert_int_equal(pool_init(&p, "10.0.0.0/30", "none", 1024), 0); /* 1 client */
    i = pool_take(&p, 1, 100);
    pool_leases(&p, i, 0, 1000);
    assert_true(pool_may_claim(&p, i, 1000, 100));
    assert_false(pool_may_claim(&p, i, 999, 100));
    /* It comes again; whether it gets the new lease is not known, so both are good. */
    pool_claim(&p, i, 2);
    pool_leases(&p, i, 1000, 1010);
    assert_true(pool_may_claim(&p, i, 1000, 110));
    assert_true(pool_may_claim(&p, i, 1010, 110));
    /* Another client has it: the former leases count for nothing, also while it is held. */
    pool_claim(&p, i, 3);
    pool_leases(&p, i, 0, 1020);
    assert_false(pool_may_claim(&p, i, 1000, 120));
    assert_false(pool_may_claim(&p, i, 1010, 120));
    pool_release(&p, i, 3, 500);
    assert_false(pool_may_claim(&p, i, 1010, 499));
    assert_true(pool_may_claim(&p, i, 1020, 499));
    assert_true(pool_may_claim(&p, i, 1010, 500)); /* there is room again */
    pool_free(&p);

    /* Of a slot held since an earlier run the leases are not known. */
    assert_int_equal(pool_init(&p, "10.0.0.0/30", "none", 1024), 0);
    pool_hold(&p, 2, 500);
    assert_true(pool_may_claim(&p, 2, 1000, 100));
    pool_free(&p);
}

static ns_t heard_at(void *ctx, uint32_t owner)
{
    return ((const ns_t *)ctx)[owner];
}

static void silent_the_longest(void **state)
{
    ns_t heard[] = {70, 50, 60, 0};
    struct pool p;
    uint32_t slot[3];

    (void)state;
    assert_int_equal(pool_init(&p, "10.0.0.0/29", "none", 3), 0);
    assert_int_equal(pool_silent(&p, heard_at, heard, 100), POOL_NONE);
    for (uint32_t i = 0; i < 3; i++)
        slot[i] = pool_take(&p, i, 0);
    assert_int_equal(pool_silent(&p, heard_at, heard, 100), slot[1]);
    assert_int_equal(pool_silent(&p, heard_at, heard, 51), slot[1]);
    assert_int_equal(pool_silent(&p, heard_at, heard, 50), POOL_NONE);
    pool_release(&p, slot[1], 1, 1000); /* nobody's silence */
    assert_int_equal(pool_silent(&p, heard_at, heard, 100), slot[2]);
    pool_claim(&p, slot[0], 3);
    assert_int_equal(pool_silent(&p, heard_at, heard, 100), slot[0]);
    pool_free(&p);
}

static struct span str(const char *s)
{
    return span_of(s, strlen(s));
}

static void tokens(void **state)
{
    const uint8_t secret[LEASE_SECRET] = {1, 2, 3}, other[LEASE_SECRET] = {1, 2, 4};
    char text[LEASE_TEXT + 1], broken[LEASE_TEXT + 1];
    struct pool p, moved;
    uint64_t until = 0;

    (void)state;
    assert_int_equal(pool_init(&p, "10.0.0.0/24", "fd00::/112", 1024), 0);
    assert_int_equal(pool_init(&moved, "10.0.1.0/24", "fd00::/112", 1024), 0);
    lease_make(secret, &p, 5, "ann", 1000, text);
    assert_int_equal(strlen(text), LEASE_TEXT);
    assert_int_equal(lease_check(secret, &p, str(text), "ann", 999, &until), 5);
    assert_int_equal(until, 1000);
    assert_int_equal(lease_check(secret, &p, str(text), "ann", 1000, &until), POOL_NONE);
    assert_int_equal(lease_check(secret, &p, str(text), "bob", 999, &until), POOL_NONE);
    assert_int_equal(lease_check(other, &p, str(text), "ann", 999, &until), POOL_NONE);
    assert_int_equal(lease_check(secret, &moved, str(text), "ann", 999, &until), POOL_NONE);
    for (size_t i = 0; i < LEASE_TEXT; i++) {
        memcpy(broken, text, sizeof(text));
        broken[i] = broken[i] == 'A' ? 'B' : 'A';
        assert_int_equal(lease_check(secret, &p, str(broken), "ann", 999, &until), POOL_NONE);
    }
    assert_int_equal(lease_check(secret, &p, str(""), "ann", 999, &until), POOL_NONE);
    pool_free(&p);
    pool_free(&moved);
}

static void journal(void **state)
{
    char dir[] = "/tmp/mqvpn-lease-XXXXXX", path[64];
    struct lease_journal j;
    struct pool p;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(pool_init(&p, "10.0.0.0/29", "none", 1024), 0);
    assert_int_equal(lease_journal_open(&j, dir, &p, 100, 50), 0);
    lease_journal_add(&j, 2, 1000);
    lease_journal_add(&j, 3, 120);
    lease_journal_add(&j, 4, 90);
    lease_journal_add(&j, 4000, 1000);
    lease_journal_close(&j);
    pool_free(&p);

    /* The next run holds them back, no longer than its patience, and forgets the rest. */
    assert_int_equal(pool_init(&p, "10.0.0.0/29", "none", 1024), 0);
    assert_int_equal(lease_journal_open(&j, dir, &p, 110, 50), 0);
    assert_int_equal(p.slot[2].held_s, 160);
    assert_int_equal(p.slot[3].held_s, 120);
    assert_int_equal(p.slot[4].held_s, 0);
    lease_journal_close(&j);
    pool_free(&p);
    snprintf(path, sizeof(path), "%s/leases", dir);
    unlink(path);
    assert_int_equal(rmdir(dir), 0);
}

static void kept_by_the_client(void **state)
{
    char dir[] = "/tmp/mqvpn-lease-XXXXXX", path[96], out[LEASE_TEXT + 1];
    char token[LEASE_TEXT + 1];

    (void)state;
    assert_non_null(mkdtemp(dir));
    memset(token, 'x', LEASE_TEXT);
    token[LEASE_TEXT] = 0;
    lease_load(dir, "[2001:db8::1]:443", out);
    assert_string_equal(out, "");
    assert_int_equal(lease_save(dir, "[2001:db8::1]:443", token), 0);
    lease_load(dir, "[2001:db8::1]:443", out);
    assert_string_equal(out, token);
    lease_load(dir, "other:443", out);
    assert_string_equal(out, "");
    assert_int_equal(lease_save(dir, "../evil", token), -ENAMETOOLONG);
    assert_int_equal(lease_save(dir, "short:1", "abc"), 0);
    lease_load(dir, "short:1", out);
    assert_string_equal(out, "");
    snprintf(path, sizeof(path), "%s/lease-[2001:db8::1]:443", dir);
    unlink(path);
    snprintf(path, sizeof(path), "%s/lease-short:1", dir);
    unlink(path);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(addresses),
        cmocka_unit_test(held_slots_come_last),
        cmocka_unit_test(leases_of_a_slot),
        cmocka_unit_test(silent_the_longest),
        cmocka_unit_test(tokens),
        cmocka_unit_test(kept_by_the_client),
        cmocka_unit_test(journal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
