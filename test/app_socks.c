/* socks: the table of a session's sockets. The handles are never looked into. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "app/socks.h"

static char handle[LINKS_MAX + 1];

static struct ring_udp *sock(size_t i)
{
    return (struct ring_udp *)(void *)&handle[i];
}

static struct quic_route route(uint32_t ifindex, uint8_t family)
{
    return (struct quic_route){.ifindex = ifindex, .remote = {.family = family}};
}

static void test_one(void **state)
{
    struct socks s = socks_one(sock(0));
    struct quic_route r = route(0, 4), other = route(7, 6);

    (void)state;
    assert_ptr_equal(socks_find(&s, &r), sock(0));
    assert_ptr_equal(socks_find(&s, &other), sock(0));
    assert_int_equal(socks_ifindex(&s, sock(0)), 0);
}

static void test_links(void **state)
{
    struct socks s = {0};
    struct quic_route any = route(0, 4), a4 = route(2, 4), a6 = route(2, 6), b4 = route(3, 4),
                      b6 = route(3, 6);

    (void)state;
    assert_null(socks_find(&s, &any));
    assert_null(socks_take(&s, 2, 4));
    assert_int_equal(socks_add(&s, 2, 4, LINK_PRIMARY, sock(0)), 0);
    assert_int_equal(socks_add(&s, 2, 6, LINK_PRIMARY, sock(1)), 0);
    assert_int_equal(socks_add(&s, 3, 4, LINK_BACKUP, sock(2)), 0);
    assert_ptr_equal(socks_find(&s, &any), sock(0));
    assert_ptr_equal(socks_find(&s, &a4), sock(0));
    assert_ptr_equal(socks_find(&s, &a6), sock(1));
    assert_ptr_equal(socks_find(&s, &b4), sock(2));
    assert_null(socks_find(&s, &b6));
    assert_int_equal(socks_priority(&s, &a6), LINK_PRIMARY);
    assert_int_equal(socks_priority(&s, &b4), LINK_BACKUP);
    assert_int_equal(socks_priority(&s, &b6), LINK_PRIMARY);
    assert_int_equal(socks_ifindex(&s, sock(1)), 2);
    assert_int_equal(socks_ifindex(&s, sock(2)), 3);
    assert_int_equal(socks_ifindex(&s, sock(3)), 0);
    assert_ptr_equal(socks_take(&s, 2, 4), sock(0));
    assert_null(socks_take(&s, 2, 4));
    assert_ptr_equal(socks_find(&s, &any), sock(1)); /* in the order of their coming */
    assert_ptr_equal(socks_find(&s, &b4), sock(2));
    assert_null(socks_find(&s, &a4));
}

static void test_full(void **state)
{
    struct socks s = {0};

    (void)state;
    for (uint32_t i = 0; i < LINKS_MAX; i++)
        assert_int_equal(socks_add(&s, i + 1, 4, LINK_PRIMARY, sock(i)), 0);
    assert_int_equal(socks_add(&s, 99, 4, LINK_PRIMARY, sock(LINKS_MAX)), QUIC_NOMEM);
    assert_ptr_equal(socks_take(&s, LINKS_MAX, 4), sock(LINKS_MAX - 1));
    assert_int_equal(socks_add(&s, 99, 4, LINK_PRIMARY, sock(LINKS_MAX)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_full),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
