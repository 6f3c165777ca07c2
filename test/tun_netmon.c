#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/tun_ns.h"
#include "tun/netcfg.h"
#include "tun/netmon.h"

static struct netcfg *nc;
static struct netmon *mon;

static int enter(void **state)
{
    char why[WHY_SIZE];

    (void)state;
    nc = NULL;
    mon = NULL;
    if (!ns_enter())
        return 0;
    if (ns_veth("up0", "up1", -1)) {
        printf("no veth devices here\n");
        return 0;
    }
    assert_int_equal(netmon_new(&mon, why, sizeof(why)), 0);
    assert_int_equal(netcfg_new(&nc, NULL, why, sizeof(why)), 0);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    netcfg_del(nc);
    netmon_del(mon);
    return 0;
}

/* The next event of `type` for link `ifindex` (0: any), within five seconds. */
static bool wait_for(enum netmon_type type, int ifindex, struct netmon_event *ev)
{
    struct pollfd p = {.fd = netmon_fd(mon), .events = POLLIN};

    for (int i = 0; i < 500; i++) {
        int rc = netmon_read(mon, ev);

        assert_true(rc >= 0);
        if (rc == 1 && ev->type == type && (!ifindex || ev->ifindex == ifindex))
            return true;
        if (rc == 0)
            poll(&p, 1, 10);
    }
    return false;
}

static void quiet_at_first(void **state)
{
    struct netmon_event ev;

    (void)state;
    if (!mon)
        skip();
    assert_true(fcntl(netmon_fd(mon), F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(netmon_fd(mon), F_GETFD) & FD_CLOEXEC);
    while (netmon_read(mon, &ev) == 1)
        ;
    assert_int_equal(netmon_read(mon, &ev), 0);
}

static void tells_what_happens(void **state)
{
    struct tun_prefix a4, a6;
    struct netcfg_route r = {.metric = 5};
    struct netmon_event ev;
    int up0, up1;

    (void)state;
    if (!mon)
        skip();
    up0 = (int)if_nametoindex("up0");
    up1 = (int)if_nametoindex("up1");
    tun_prefix_parse("192.0.2.1/24", &a4);
    tun_prefix_parse("fd00:1::1/64", &a6);
    tun_prefix_parse("198.51.100.0/24", &r.dst);
    tun_addr_parse("192.0.2.2", &r.gateway);
    r.oif = up0;

    assert_int_equal(netcfg_link_up(nc, up0, NULL, 0), 0);
    assert_true(wait_for(NETMON_LINK_DOWN, up0, &ev)); /* up, but without carrier */
    assert_string_equal(ev.name, "up0");
    assert_int_equal(netcfg_link_up(nc, up1, NULL, 0), 0);
    assert_true(wait_for(NETMON_LINK_UP, up0, &ev));
    assert_string_equal(ev.name, "up0");

    assert_int_equal(netcfg_addr_add(nc, up0, &a4, NULL, NULL, 0), 0);
    do /* a link-local address may come between */
        assert_true(wait_for(NETMON_ADDR_ADD, up0, &ev));
    while (!tun_prefix_equal(&ev.prefix, &a4));
    assert_true(wait_for(NETMON_ROUTE_ADD, up0, &ev)); /* the subnet's */
    assert_int_equal(netcfg_addr_add(nc, up0, &a6, NULL, NULL, 0), 0);
    do
        assert_true(wait_for(NETMON_ADDR_ADD, up0, &ev));
    while (!tun_prefix_equal(&ev.prefix, &a6));
    assert_int_equal(netcfg_route_add(nc, &r, NULL, 0), 0);
    do
        assert_true(wait_for(NETMON_ROUTE_ADD, up0, &ev));
    while (!tun_prefix_equal(&ev.prefix, &r.dst));
    assert_int_equal(netcfg_route_del(nc, &r, NULL, 0), 0);
    do
        assert_true(wait_for(NETMON_ROUTE_DEL, up0, &ev));
    while (!tun_prefix_equal(&ev.prefix, &r.dst));

    tun_prefix_parse("0.0.0.0/0", &r.dst);
    assert_int_equal(netcfg_route_add(nc, &r, NULL, 0), 0);
    do
        assert_true(wait_for(NETMON_ROUTE_ADD, up0, &ev));
    while (ev.prefix.addr.family != AF_INET || ev.prefix.len != 0);

    assert_int_equal(netcfg_addr_del(nc, up0, &a4, NULL, 0), 0);
    do
        assert_true(wait_for(NETMON_ADDR_DEL, up0, &ev));
    while (!tun_prefix_equal(&ev.prefix, &a4));
    assert_int_equal(ns_unlink("up1"), 0);
    assert_true(wait_for(NETMON_LINK_GONE, up0, &ev));
    assert_string_equal(ev.name, "up0");
}

/* Routes of other tables don't concern anybody here. */
static void other_tables_are_silent(void **state)
{
    struct netcfg_route r = {.type = NETCFG_BLACKHOLE, .table = 1000};
    struct netcfg_route last = {.type = NETCFG_BLACKHOLE};
    struct netmon_event ev;

    (void)state;
    if (!mon)
        skip();
    tun_prefix_parse("198.51.100.0/24", &r.dst);
    tun_prefix_parse("203.0.113.0/24", &last.dst);
    assert_int_equal(netcfg_route_add(nc, &r, NULL, 0), 0);
    assert_int_equal(netcfg_route_add(nc, &last, NULL, 0), 0);
    assert_true(wait_for(NETMON_ROUTE_ADD, 0, &ev));
    assert_true(tun_prefix_equal(&ev.prefix, &last.dst));
}

/* More than the socket holds: one NETMON_LOST, then it works on. */
static void tells_of_losses(void **state)
{
    struct netmon_event ev;
    unsigned lost = 0, told = 0;
    int small = 1;

    (void)state;
    if (!mon)
        skip();
    setsockopt(netmon_fd(mon), SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    for (unsigned i = 0; i < 200; i++) {
        struct netcfg_route r = {.type = NETCFG_BLACKHOLE, .metric = i + 1};

        tun_prefix_parse("198.51.100.0/24", &r.dst);
        assert_int_equal(netcfg_route_add(nc, &r, NULL, 0), 0);
    }
    while (netmon_read(mon, &ev) == 1) {
        lost += ev.type == NETMON_LOST;
        told += ev.type == NETMON_ROUTE_ADD;
    }
    assert_true(lost >= 1);
    assert_in_range(told, 0, 199);
    assert_int_equal(netcfg_undo(nc, NULL, 0), 0);
    assert_true(wait_for(NETMON_ROUTE_DEL, 0, &ev));
}

#define NS_TEST(f) cmocka_unit_test_setup_teardown(f, enter, leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NS_TEST(quiet_at_first),
        NS_TEST(tells_what_happens),
        NS_TEST(other_tables_are_silent),
        NS_TEST(tells_of_losses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
