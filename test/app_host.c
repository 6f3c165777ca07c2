/* host: what the program changes on the machine, in a namespace of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "app/host.h"
#include "app/ns.h"

#include <string.h>

static struct host h;
static bool here;
static char why[WHY_SIZE];

static int set_up(void **state)
{
    struct ns ns;

    (void)state;
    here = ns_new(&ns, why, sizeof(why)) == 0 && ns_enter(&ns) == 0 &&
           host_open(&h, "mqhost0", 1400, true, NULL, NULL) == 0;
    if (!here)
        print_message("no namespace or TUN device here: %s\n", why);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    host_close(&h);
    host_close(&h); /* again, and never opened, is fine */
    return 0;
}

static struct ip_prefix host_prefix(const char *text)
{
    struct ip_addr a;

    assert_int_equal(ip_addr_parse(span_of(text, strlen(text)), &a), 0);
    return ip_prefix_host(&a);
}

/* Whether packets to `text` go into the TUN. */
static bool caught(const char *text)
{
    struct tun_addr dst;
    struct netcfg_hop hop;

    assert_int_equal(tun_addr_parse(text, &dst), 0);
    return netcfg_route_get(h.nc, &dst, 0, NULL, &hop, why, sizeof(why)) == 0 &&
           hop.oif == h.tun.ifindex;
}

static size_t addresses(int family)
{
    struct tun_prefix p[16];
    int n = netcfg_addrs(h.nc, h.tun.ifindex, p, ARRAY_LEN(p), why, sizeof(why));
    size_t found = 0;

    for (int i = 0; i < n && i < (int)ARRAY_LEN(p); i++)
        found += p[i].addr.family == family;
    return found;
}

/* A link loses its IPv4 routes with its last IPv4 address: that must never happen. */
static void routes_outlive_addresses(void **state)
{
    static const char *const v4[] = {"10.0.0.2", "10.7.0.3", "10.0.0.2"};
    static const char *const v6[] = {"fd00::2", "fd00:7::3", "fd00::2"};
    struct ip_prefix a, former = {.len = 0};

    (void)state;
    if (!here)
        skip();
    for (size_t i = 0; i < ARRAY_LEN(v4); i++) {
        a = host_prefix(v4[i]);
        assert_false(host_has_address(&h, &a));
        assert_int_equal(host_address(&h, &a), 0);
        assert_int_equal(host_address(&h, &a), 0);
        assert_true(host_has_address(&h, &a));
        if (i > 0)
            assert_false(host_has_address(&h, &former));
        former = a;
        a = host_prefix(v6[i]);
        assert_int_equal(host_address(&h, &a), 0);
        assert_int_equal(host_up(&h), 0);
        assert_int_equal(host_route(&h, NULL, 0), 0);
        assert_int_equal(addresses(AF_INET), 1);
        assert_true(addresses(AF_INET6) <= 1);
        assert_true(caught("198.51.100.1"));
        assert_true(caught("8.8.8.8"));
        if (addresses(AF_INET6) == 1)
            assert_true(caught("2001:db8::1"));
    }
}

static void mtu_has_a_floor(void **state)
{
    (void)state;
    if (!here)
        skip();
    assert_int_equal(host_mtu(&h, 900), 0);
    assert_int_equal(h.tun.mtu_bytes, TUN_MTU_MIN);
    assert_int_equal(host_mtu(&h, 1380), 0);
    assert_int_equal(h.tun.mtu_bytes, 1380);
    assert_true(caught("8.8.8.8"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routes_outlive_addresses),
        cmocka_unit_test(mtu_has_a_floor),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
