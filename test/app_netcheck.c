#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "app/netcheck.h"
#include "test/tun_fw.h"
#include "test/tun_ns.h"

static bool here;
static struct netcheck_item item[8];

static int set_up(void **state)
{
    (void)state;
    here = ns_enter() && ns_veth("up0", "up1", -1) == 0 &&
           ns_write("/proc/sys/net/ipv4/ip_forward", "1") &&
           ns_write("/proc/sys/net/ipv6/conf/all/forwarding", "1") &&
           ns_write("/proc/sys/net/ipv4/conf/all/rp_filter", "0") &&
           ns_write("/proc/sys/net/ipv4/conf/up0/rp_filter", "0");
    memset(item, 0, sizeof(item));
    return 0;
}

#define NEEDS_NS()                                                                             \
    do {                                                                                       \
        if (!here)                                                                             \
            skip();                                                                            \
    } while (0)

static const char *const links[] = {"up0", "up1"};

static const struct netcheck_cfg server = {
    .server = true, .tun_name = "mq0", .ipv4 = true, .ipv6 = true};
static const struct netcheck_cfg client = {.tun_name = "mq0",
                                           .links = links,
                                           .n_links = 2,
                                           .ipv4 = true,
                                           .ipv6 = true,
                                           .default_route = true};

static size_t check(const struct netcheck_cfg *cfg)
{
    return netcheck_run(cfg, item, ARRAY_LEN(item));
}

static void nothing_to_say(void **state)
{
    (void)state;
    NEEDS_NS();
    assert_int_equal(check(&server), 0);
    assert_int_equal(check(&client), 0);
}

static void strict_rp_filter(void **state)
{
    /* clang-format off */
    static const struct {
        const char *all, *up0;
        size_t items;
    } rows[] = {
        {"0", "0", 0}, {"0", "1", 1}, {"0", "2", 0},
        {"1", "0", 2}, {"1", "1", 2}, {"1", "2", 1},  /* up1 follows "all" */
        {"2", "0", 0}, {"2", "1", 0}, {"2", "2", 0},
    };
    /* clang-format on */
    struct netcheck_cfg split = client;

    (void)state;
    NEEDS_NS();
    split.default_route = false;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_true(ns_write("/proc/sys/net/ipv4/conf/all/rp_filter", rows[i].all));
        assert_true(ns_write("/proc/sys/net/ipv4/conf/up0/rp_filter", rows[i].up0));
        assert_true(ns_write("/proc/sys/net/ipv4/conf/up1/rp_filter", "0"));
        assert_int_equal(check(&client), rows[i].items);
        assert_int_equal(check(&split), 0);
    }
    ns_write("/proc/sys/net/ipv4/conf/all/rp_filter", "1");
    ns_write("/proc/sys/net/ipv4/conf/up0/rp_filter", "0");
    assert_int_equal(check(&client), 2);
    assert_int_equal(item[0].kind, NETCHECK_RP_FILTER);
    assert_string_equal(item[0].ifname, "up0");
    assert_string_equal(item[0].fix, "sysctl -w net.ipv4.conf.up0.rp_filter=2");
    assert_string_equal(item[1].ifname, "up1");
    ns_write("/proc/sys/net/ipv4/conf/up0/rp_filter", "2"); /* the command works */
    assert_int_equal(check(&client), 1);
}

static void firewall_filter(void **state)
{
    struct netcheck_cfg split = client;

    (void)state;
    NEEDS_NS();
    split.default_route = false;
    if (fw_reverse_path(NFPROTO_INET, "firewalld", "mangle_PREROUTING", false))
        skip();
    assert_int_equal(check(&client), 0); /* loose */
    assert_int_equal(fw_reverse_path(NFPROTO_INET, "firewalld", "mangle_PREROUTING", true), 0);
    assert_int_equal(check(&client), 1);
    assert_int_equal(item[0].kind, NETCHECK_RP_FILTER);
    assert_non_null(strstr(item[0].what, "mangle_PREROUTING"));
    assert_non_null(strstr(item[0].fix, "IPv6_rpfilter=loose"));
    assert_int_equal(check(&split), 0);
    assert_int_equal(check(&server), 0);
}

static void other_firewall_filter(void **state)
{
    (void)state;
    NEEDS_NS();
    if (fw_reverse_path(NFPROTO_IPV6, "own", "raw", true))
        skip();
    assert_int_equal(check(&client), 1);
    assert_non_null(strstr(item[0].fix, "nft -a list chain ip6 own raw"));
}

static void forwarding_off(void **state)
{
    struct netcheck_cfg only4 = server;

    (void)state;
    NEEDS_NS();
    only4.ipv6 = false;
    assert_true(ns_write("/proc/sys/net/ipv4/ip_forward", "0"));
    assert_int_equal(check(&server), 1);
    assert_int_equal(item[0].kind, NETCHECK_FORWARDING);
    assert_non_null(strstr(item[0].fix, "sysctl -w net.ipv4.ip_forward=1"));
    assert_true(ns_write("/proc/sys/net/ipv6/conf/all/forwarding", "0"));
    assert_int_equal(check(&server), 2);
    assert_non_null(strstr(item[1].fix, "sysctl -w net.ipv6.conf.all.forwarding=1"));
    assert_int_equal(check(&only4), 1);
    assert_int_equal(check(&client), 0);
}

static void forward_drops(void **state)
{
    struct netcheck_cfg only4 = server;

    (void)state;
    NEEDS_NS();
    only4.ipv6 = false;
    if (fw_forward(NFPROTO_IPV4, "filter", "FORWARD", NF_DROP, NULL))
        skip();
    assert_int_equal(check(&server), 1);
    assert_int_equal(item[0].kind, NETCHECK_FORWARD_DROP);
    assert_non_null(strstr(item[0].what, "FORWARD"));
    assert_non_null(strstr(item[0].fix, "mq0"));
    assert_int_equal(check(&client), 0);

    assert_int_equal(fw_forward(NFPROTO_IPV6, "filter", "FORWARD", NF_DROP, NULL), 0);
    assert_int_equal(check(&server), 2);
    assert_int_equal(check(&only4), 1);
    assert_int_equal(fw_forward(NFPROTO_INET, "own", "fwd", NF_DROP, NULL), 0);
    assert_int_equal(check(&only4), 2);
    assert_non_null(strstr(item[1].fix, "nft insert rule inet own fwd iifname mq0 accept"));
    assert_int_equal(fw_forward(NFPROTO_INET, "firewalld", "filter_FORWARD", NF_ACCEPT, NULL),
                     0);
    assert_int_equal(check(&only4), 3);
    assert_string_equal(item[2].fix, "firewall-cmd --zone=trusted --add-interface=mq0");
    assert_int_equal(netcheck_run(&only4, item, 1), 3); /* more than there is room for */
}

/* A firewall that has a rule about the TUN knows what it does. */
static void forward_drop_that_names_the_tun(void **state)
{
    (void)state;
    NEEDS_NS();
    if (fw_forward(NFPROTO_IPV4, "filter", "FORWARD", NF_DROP, "mq0"))
        skip();
    assert_int_equal(check(&server), 0);
}

static void ipv6_off(void **state)
{
    struct netcheck_cfg only4 = client;

    (void)state;
    NEEDS_NS();
    only4.ipv6 = false;
    assert_int_equal(ns_veth("mq0", "mq1", -1), 0);
    assert_true(ns_write("/proc/sys/net/ipv6/conf/mq0/disable_ipv6", "1"));
    assert_int_equal(check(&client), 1);
    assert_int_equal(item[0].kind, NETCHECK_IPV6_OFF);
    assert_non_null(strstr(item[0].what, "mq0"));
    assert_int_equal(check(&only4), 0);
    assert_true(ns_write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1"));
    assert_int_equal(check(&client), 1);
    assert_string_equal(item[0].fix, "sysctl -w net.ipv6.conf.all.disable_ipv6=0");
}

static char said[600];

static void on_line(void *ctx, enum log_level level, const char *text)
{
    (void)ctx;
    assert_int_equal(level, LOG_WARN);
    strcpy(said, text);
}

static void one_line_each(void **state)
{
    struct log log = {.line = on_line, .level = LOG_INFO};
    struct netcheck_item one = {.what = "strict", .why = "drops", .fix = "sysctl"};

    (void)state;
    netcheck_log(&one, 1, &log);
    assert_string_equal(said, "strict: drops; fix: sysctl");
    netcheck_log(&one, 1, NULL);
    netcheck_log(NULL, 0, &log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nothing_to_say, set_up),
        cmocka_unit_test_setup(strict_rp_filter, set_up),
        cmocka_unit_test_setup(firewall_filter, set_up),
        cmocka_unit_test_setup(other_firewall_filter, set_up),
        cmocka_unit_test_setup(forwarding_off, set_up),
        cmocka_unit_test_setup(forward_drops, set_up),
        cmocka_unit_test_setup(forward_drop_that_names_the_tun, set_up),
        cmocka_unit_test_setup(ipv6_off, set_up),
        cmocka_unit_test(one_line_each),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
