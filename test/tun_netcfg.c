#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "test/tun_ns.h"
#include "tun/netcfg.h"
#include "tun/netcfg_int.h"
#include "tun/tun.h"

/* A namespace with a veth "up0" (192.0.2.1/24, fd00:1::1/64) whose other end is down. */
struct bed {
    struct tun tun;
    struct netcfg *nc;
    int up0;
    char why[WHY_SIZE];
    char *before;
};

static struct bed bed;

static struct tun_prefix P(const char *text) {
    struct tun_prefix p = {0};

    assert_int_equal(tun_prefix_parse(text, &p), 0);
    return p;
}

static struct tun_addr
A(const char *text) {
    struct tun_addr a = {0};

    assert_int_equal(tun_addr_parse(text, &a), 0);
    return a;
}

#define OK(call)                                                                               \
    do {                                                                                       \
        int rc_ = (call);                                                                      \
        if (rc_)                                                                               \
            print_message("%s\n", bed.why);                                                    \
        assert_int_equal(rc_, 0);                                                              \
    } while (0)
#define WHY bed.why, sizeof(bed.why)

static int
set_up(void **state)
{
    struct tun_cfg cfg = {.name = "mq0", .mtu_bytes = 1400};
    struct netcfg *setup;
    struct tun_prefix p4 = P("192.0.2.1/24"), p6 = P("fd00:1::1/64");

    (void)state;
    memset(&bed, 0, sizeof(bed));
    if (!ns_enter() || access("/dev/net/tun", R_OK | W_OK))
        return 0;
    if (ns_veth("up0", "up1", -1)) {
        printf("no veth devices here\n");
        return 0;
    }
    bed.up0 = (int)if_nametoindex("up0");
    OK(netcfg_new(&setup, NULL, WHY));
    OK(netcfg_link_plain(setup, (int)if_nametoindex("up1"), WHY));
    OK(netcfg_link_plain(setup, bed.up0, WHY));
    OK(netcfg_link_up(setup, (int)if_nametoindex("up1"), WHY));
    OK(netcfg_link_up(setup, bed.up0, WHY));
    OK(netcfg_addr_add(setup, bed.up0, &p4, NULL, WHY));
    OK(netcfg_addr_add(setup, bed.up0, &p6, NULL, WHY));
    OK(tun_open(&bed.tun, &cfg, WHY));
    /* `setup` is let go of on purpose: its changes are the state to return to. */
    netlink_close(&setup->nl);
    free(setup->changes);
    free(setup);
    OK(netcfg_new(&bed.nc, NULL, WHY));
    OK(netcfg_link_plain(bed.nc, bed.tun.ifindex, WHY));
    ns_settle("up0");
    ns_settle("up1");
    bed.before = ns_dump();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (!bed.nc)
        return 0;
    netcfg_del(bed.nc);
    tun_close(&bed.tun);
    free(bed.before);
    return 0;
}

#define NEEDS_BED()                                                                            \
    do {                                                                                       \
        if (!bed.nc)                                                                           \
            skip();                                                                            \
    } while (0)

/* Whether the dump of the namespace mentions `text`. */
static bool dumped(const char *text)
{
    char *d = ns_dump();
    bool found = strstr(d, text) != NULL;

    free(d);
    return found;
}

/* The namespace is what it was; IPv6 finishes some removals in its own time. */
static void as_before(void)
{
    char *now = NULL;
    bool same = false;

    for (int i = 0; i < 200 && !same; i++) {
        free(now);
        now = ns_dump();
        same = !strcmp(now, bed.before);
        if (!same)
            usleep(10000);
    }
    if (!same)
        fprintf(stderr, "before:\n%snow:\n%s", bed.before, now);
    free(now);
    assert_true(same);
}

/* A datagram to `a` from itself comes at once. */
static bool talks_to_itself(const struct tun_prefix *a)
{
    struct sockaddr_in6 self = {.sin6_family = AF_INET6};
    socklen_t size = sizeof(self);
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok;

    memcpy(&self.sin6_addr, a->addr.ip, 16);
    ok = !bind(fd, (struct sockaddr *)&self, size) &&
         !getsockname(fd, (struct sockaddr *)&self, &size) &&
         sendto(fd, "x", 1, 0, (struct sockaddr *)&self, size) == 1 &&
         recv(fd, &(char){0}, 1, MSG_DONTWAIT) == 1;
    close(fd);
    return ok;
}

/* The kernel takes packets for an address as soon as it has been added, the link up or not. */
static void address_is_usable_at_once(void **state)
{
    int ifindex[] = {bed.tun.ifindex, bed.up0};

    (void)state;
    NEEDS_BED();
    for (int i = 0; i < 100; i++) {
        struct tun_prefix a = P("fd00:9::2/128");

        a.addr.ip[14] = (uint8_t)i;
        usleep(1000); /* so that the kernel's own threads don't come before us */
        OK(netcfg_addr_add(bed.nc, ifindex[i % 2], &a, NULL, WHY));
        assert_true(talks_to_itself(&a));
    }
    OK(netcfg_undo(bed.nc, WHY));
    as_before();
}

/* Everything at once, undone. */
static void undo_restores(void **state)
{
    struct tun_prefix a4 = P("10.9.0.2/24"), a6 = P("fd00:9::2/64"), peer = P("10.8.0.1/32");
    struct tun_prefix p4 = P("10.8.0.2/32"), extra = P("192.0.2.77/24");
    struct tun_prefix all[] = {P("0.0.0.0/0"), P("::/0")};
    struct netcfg_route gw = {.dst = P("198.51.100.0/24"), .gateway = A("192.0.2.254")};
    struct netcfg_route wall = {
        .dst = P("203.0.113.0/24"), .type = NETCFG_UNREACHABLE, .metric = 77};
    struct netcfg_route hole = {.dst = P("2001:db8::/32"), .type = NETCFG_BLACKHOLE};
    struct netcfg_route other = {.dst = P("0.0.0.0/0"), .table = 51820};
    struct netcfg_route v6 = {.dst = P("fd00:2::/64"), .gateway = A("fd00:1::2")};

    (void)state;
    NEEDS_BED();
    other.oif = bed.tun.ifindex;
    gw.oif = v6.oif = bed.up0;
    OK(netcfg_addr_add(bed.nc, bed.tun.ifindex, &a4, NULL, WHY));
    OK(netcfg_addr_add(bed.nc, bed.tun.ifindex, &a6, NULL, WHY));
    OK(netcfg_addr_add(bed.nc, bed.tun.ifindex, &p4, &peer, WHY));
    OK(netcfg_addr_add(bed.nc, bed.up0, &extra, NULL, WHY));
    OK(netcfg_link_mtu(bed.nc, bed.tun.ifindex, 1300, WHY));
    OK(netcfg_link_mtu(bed.nc, bed.up0, 1450, WHY));
    OK(netcfg_link_up(bed.nc, bed.tun.ifindex, WHY));
    OK(netcfg_link_up(bed.nc, bed.tun.ifindex, WHY)); /* already: no change */
    OK(netcfg_route_via_tun(bed.nc, bed.tun.ifindex, all, 2, WHY));
    OK(netcfg_route_add(bed.nc, &gw, WHY));
    OK(netcfg_route_add(bed.nc, &wall, WHY));
    OK(netcfg_route_add(bed.nc, &hole, WHY));
    OK(netcfg_route_add(bed.nc, &other, WHY));
    OK(netcfg_route_add(bed.nc, &v6, WHY));
    assert_int_equal(netcfg_changes(bed.nc), 16);

    assert_true(dumped("link: mq0 mtu 1300"));
    assert_true(dumped("link: up0 mtu 1450"));
    assert_true(dumped("0.0.0.0/1 "));
    assert_true(dumped("128.0.0.0/1 "));
    assert_true(dumped("198.51.100.0/24 "));
    assert_true(dumped("203.0.113.0/24 "));
    assert_true(dumped("fd000009000000000000000000000002"));
    assert_true(dumped("ipv6_route: 80000000000000000000000000000000/01"));

    OK(netcfg_undo(bed.nc, WHY));
    assert_int_equal(netcfg_changes(bed.nc), 0);
    as_before();
    OK(netcfg_undo(bed.nc, WHY));
    as_before();
}

static void del_takes_back_ours_only(void **state)
{
    struct tun_prefix ours = P("10.9.0.2/24"), theirs = P("192.0.2.1/24");
    struct netcfg_route r = {.dst = P("10.1.0.0/16")}, s = {.dst = P("10.2.0.0/16")};
    struct netcfg *stranger;

    (void)state;
    NEEDS_BED();
    r.oif = s.oif = bed.tun.ifindex;
    OK(netcfg_new(&stranger, NULL, WHY));
    OK(netcfg_link_up(stranger, bed.tun.ifindex, WHY));
    OK(netcfg_route_add(stranger, &s, WHY));
    OK(netcfg_addr_add(bed.nc, bed.tun.ifindex, &ours, NULL, WHY));
    OK(netcfg_route_add(bed.nc, &r, WHY));

    assert_int_equal(netcfg_addr_del(bed.nc, bed.up0, &theirs, WHY), -ENOENT);
    assert_int_equal(netcfg_route_del(bed.nc, &s, WHY), -ENOENT);
    assert_true(dumped("10.2.0.0/16"));
    OK(netcfg_route_del(bed.nc, &r, WHY));
    assert_int_equal(netcfg_route_del(bed.nc, &r, WHY), -ENOENT);
    OK(netcfg_addr_del(bed.nc, bed.tun.ifindex, &ours, WHY));
    assert_int_equal(netcfg_addr_del(bed.nc, bed.tun.ifindex, &ours, WHY), -ENOENT);
    assert_false(dumped("10.1.0.0/16"));
    assert_int_equal(netcfg_changes(bed.nc), 0);
    netcfg_del(stranger);
    as_before();
}

/* Somebody else has removed or changed it meanwhile. */
static void undo_copes_with_others(void **state)
{
    struct tun_prefix a4 = P("10.9.0.2/24"), all[] = {P("0.0.0.0/0"), P("::/0")};
    struct netcfg_route gw = {.dst = P("198.51.100.0/24"), .gateway = A("192.0.2.254")};
    struct netcfg *stranger;

    (void)state;
    NEEDS_BED();
    OK(netcfg_addr_add(bed.nc, bed.tun.ifindex, &a4, NULL, WHY));
    OK(netcfg_link_up(bed.nc, bed.tun.ifindex, WHY));
    OK(netcfg_route_via_tun(bed.nc, bed.tun.ifindex, all, 2, WHY));
    OK(netcfg_link_mtu(bed.nc, bed.up0, 1450, WHY));
    OK(netcfg_route_add(bed.nc, &gw, WHY));

    OK(netcfg_new(&stranger, NULL, WHY));
    OK(netcfg_link_mtu(stranger, bed.up0, 1440, WHY));
    OK(netcfg_revert("route unicast 198.51.100.0/24 0 192.0.2.254 - 0 254", WHY));
    assert_int_equal(ns_unlink("mq0"), 0);
    OK(netcfg_undo(bed.nc, WHY));
    assert_int_equal(netcfg_changes(bed.nc), 0);
    assert_true(dumped("link: up0 mtu 1440")); /* theirs stays */
    OK(netcfg_undo(stranger, WHY));
    netcfg_del(stranger);
}

static void routes_into_the_tun(void **state)
{
    struct tun_prefix all[] = {P("0.0.0.0/0"),   P("128.0.0.0/1"), P("10.1.2.3/16"),
                               P("10.1.0.0/16"), P("::/0"),        P("0.0.0.0/0")};
    struct tun_prefix bad[] = {P("10.5.0.0/16"), P("10.6.0.0/16"), P("192.0.2.0/24")};
    struct netcfg_route taken = {.dst = P("10.6.0.0/16")};
    struct netcfg *stranger;
    struct netcfg_hop hop;
    struct tun_addr far = A("8.8.8.8"), far6 = A("2001:db8::9"), near = A("192.0.2.9");

    (void)state;
    NEEDS_BED();
    assert_int_equal(netcfg_route_via_tun(bed.nc, bed.tun.ifindex, all, 1, WHY), -ENETDOWN);
    assert_int_equal(netcfg_route_via_tun(bed.nc, 4711, all, 1, WHY), -ENODEV);
    OK(netcfg_link_up(bed.nc, bed.tun.ifindex, WHY));
    OK(netcfg_route_via_tun(bed.nc, bed.tun.ifindex, all, ARRAY_LEN(all), WHY));
    assert_int_equal(netcfg_changes(bed.nc), 1 + 2 + 1 + 2);
    OK(netcfg_route_via_tun(bed.nc, bed.tun.ifindex, all, ARRAY_LEN(all), WHY));
    assert_int_equal(netcfg_changes(bed.nc), 1 + 2 + 1 + 2);
    OK(netcfg_route_get(bed.nc, &far, 0, NULL, &hop, WHY));
    assert_int_equal(hop.oif, bed.tun.ifindex);
    OK(netcfg_route_get(bed.nc, &far6, 0, NULL, &hop, WHY));
    assert_int_equal(hop.oif, bed.tun.ifindex);
    OK(netcfg_route_get(bed.nc, &near, 0, NULL, &hop, WHY));
    assert_int_equal(hop.oif, bed.up0); /* the more specific one still wins */

    /* All or nothing: the second is there already, put by somebody else. */
    OK(netcfg_new(&stranger, NULL, WHY));
    taken.oif = bed.up0;
    OK(netcfg_route_add(stranger, &taken, WHY));
    assert_int_equal(netcfg_route_via_tun(bed.nc, bed.tun.ifindex, bad, 3, WHY), -EEXIST);
    assert_non_null(strstr(bed.why, "10.6.0.0/16"));
    assert_non_null(strstr(bed.why, "--route"));
    assert_false(dumped("10.5.0.0/16"));
    assert_int_equal(netcfg_changes(bed.nc), 6);
    netcfg_del(stranger);
}

/* IPv6 off on the TUN alone: IPv6 traffic meets a wall instead of leaking. */
static void no_ipv6_on_the_tun(void **state)
{
    struct tun_prefix all[] = {P("0.0.0.0/0"), P("::/0")}, a6 = P("fd00:9::2/64");
    struct tun_addr far6 = A("2001:db8::9"), near6 = A("fd00:1::2");
    struct netcfg_route def = {.dst = P("::/0"), .gateway = A("fd00:1::2")};
    struct netcfg_hop hop;

    (void)state;
    NEEDS_BED();
    def.oif = bed.up0;
    OK(netcfg_route_add(bed.nc, &def, WHY));
    OK(netcfg_route_get(bed.nc, &far6, 0, NULL, &hop, WHY));
    if (!ns_write("/proc/sys/net/ipv6/conf/mq0/disable_ipv6", "1"))
        skip();
    OK(netcfg_link_up(bed.nc, bed.tun.ifindex, WHY));
    assert_int_equal(netcfg_addr_add(bed.nc, bed.tun.ifindex, &a6, NULL, WHY), -EACCES);
    assert_non_null(strstr(bed.why, "IPv6 disabled"));
    OK(netcfg_route_via_tun(bed.nc, bed.tun.ifindex, all, 2, WHY));
    assert_int_equal(netcfg_route_get(bed.nc, &far6, 0, NULL, &hop, WHY), -ENETUNREACH);
    OK(netcfg_route_get(bed.nc, &near6, 0, NULL, &hop, WHY));
    assert_int_equal(hop.oif, bed.up0);
    OK(netcfg_undo(bed.nc, WHY));
    assert_int_equal(netcfg_route_get(bed.nc, &far6, 0, NULL, &hop, WHY), -ENETUNREACH);
    assert_true(ns_write("/proc/sys/net/ipv6/conf/mq0/disable_ipv6", "0"));
    as_before();
}

/* IPv6 off everywhere: nothing to block, and that is no error. */
static void no_ipv6_at_all(void **state)
{
    struct tun_prefix all[] = {P("0.0.0.0/0"), P("::/0")};
    struct tun_addr far6 = A("2001:db8::9");
    struct netcfg_hop hop;

    (void)state;
    NEEDS_BED();
    if (!ns_write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1"))
        skip();
    OK(netcfg_link_up(bed.nc, bed.tun.ifindex, WHY));
    OK(netcfg_route_via_tun(bed.nc, bed.tun.ifindex, all, 2, WHY));
    assert_int_equal(netcfg_route_get(bed.nc, &far6, 0, NULL, &hop, WHY), -ENETUNREACH);
    OK(netcfg_undo(bed.nc, WHY));
}

static void bad_changes_are_refused(void **state)
{
    struct tun_prefix a4 = P("10.9.0.2/24"), a6 = P("fd00:9::2/64"), none = {0};
    struct netcfg_route r;

    (void)state;
    NEEDS_BED();
    assert_int_equal(netcfg_addr_add(bed.nc, 4711, &a4, NULL, WHY), -ENODEV);
    assert_int_equal(netcfg_addr_add(bed.nc, bed.tun.ifindex, &a4, &a6, WHY), -EINVAL);
    assert_int_equal(netcfg_addr_add(bed.nc, bed.tun.ifindex, &none, NULL, WHY), -EINVAL);
    OK(netcfg_addr_add(bed.nc, bed.tun.ifindex, &a4, NULL, WHY));
    assert_int_equal(netcfg_addr_add(bed.nc, bed.tun.ifindex, &a4, NULL, WHY), -EEXIST);
    assert_int_equal(netcfg_link_up(bed.nc, 4711, WHY), -ENODEV);
    assert_int_equal(netcfg_link_up(bed.nc, -1, WHY), -ENODEV);
    assert_int_equal(netcfg_link_plain(bed.nc, 4711, WHY), -ENODEV);
    assert_int_equal(netcfg_link_mtu(bed.nc, 4711, 1400, WHY), -ENODEV);
    assert_int_equal(netcfg_link_mtu(bed.nc, bed.tun.ifindex, 100000, WHY), -EINVAL);
    assert_int_equal(netcfg_addrs(bed.nc, 0, NULL, 0, WHY), -ENODEV);

    r = (struct netcfg_route){.dst = P("10.0.0.1/8"), .oif = bed.up0};
    assert_int_equal(netcfg_route_add(bed.nc, &r, WHY), -EINVAL); /* host bits */
    r = (struct netcfg_route){.dst = P("10.0.0.0/8")};
    assert_int_equal(netcfg_route_add(bed.nc, &r, WHY), -EINVAL); /* neither link nor gateway */
    r = (struct netcfg_route){.dst = P("10.0.0.0/8"), .gateway = A("fd00:1::2")};
    assert_int_equal(netcfg_route_add(bed.nc, &r, WHY), -EINVAL); /* families */
    r = (struct netcfg_route){
        .dst = P("10.0.0.0/8"), .type = NETCFG_UNREACHABLE, .oif = bed.up0};
    assert_int_equal(netcfg_route_add(bed.nc, &r, WHY), -EINVAL);
    r = (struct netcfg_route){.oif = bed.up0};
    assert_int_equal(netcfg_route_add(bed.nc, &r, WHY), -EINVAL); /* no prefix */
    r = (struct netcfg_route){.dst = P("10.0.0.0/8"), .gateway = A("172.16.0.1")};
    assert_int_equal(netcfg_route_add(bed.nc, &r, WHY), -ENETUNREACH);
    r = (struct netcfg_route){.dst = P("10.0.0.0/8"), .oif = 4711};
    assert_int_equal(netcfg_route_add(bed.nc, &r, WHY), -ENODEV);
    r = (struct netcfg_route){.dst = P("192.0.2.0/24"), .oif = bed.up0};
    assert_int_equal(netcfg_route_add(bed.nc, &r, WHY), -EEXIST); /* the kernel's own */
    assert_int_equal(netcfg_changes(bed.nc), 1);
    OK(netcfg_undo(bed.nc, WHY));
    as_before();
}

static void queries(void **state)
{
    struct netcfg_route d1 = {.dst = P("0.0.0.0/0"), .metric = 300};
    struct netcfg_route d2 = {.dst = P("0.0.0.0/0"), .gateway = A("192.0.2.254"), .metric = 50};
    struct netcfg_route d6 = {.dst = P("::/0"), .gateway = A("fd00:1::2")};
    struct netcfg_route elsewhere = {.dst = P("0.0.0.0/0"), .table = 1000};
    struct netcfg_default def[4] = {{0}};
    struct tun_addr far = A("8.8.8.8"), self = A("192.0.2.1");
    struct tun_prefix addr[4], a4 = P("10.9.0.2/24");
    struct netcfg_link link[8];
    struct netcfg_hop hop;
    int n;

    (void)state;
    NEEDS_BED();
    n = netcfg_links(bed.nc, link, ARRAY_LEN(link), WHY);
    assert_int_equal(n, 4);
    assert_string_equal(link[0].name, "lo");
    assert_true(link[0].flags & IFF_LOOPBACK);
    assert_int_equal(netcfg_links(bed.nc, link, 1, WHY), 4);
    n = netcfg_addrs(bed.nc, bed.up0, addr, ARRAY_LEN(addr), WHY);
    assert_true(n >= 2);
    assert_true(tun_addr_equal(&addr[0].addr, &self));
    assert_int_equal(addr[0].len, 24);

    assert_int_equal(netcfg_defaults(bed.nc, 0, def, 4, WHY), 0);
    assert_int_equal(netcfg_route_get(bed.nc, &far, 0, NULL, &hop, WHY), -ENETUNREACH);
    assert_non_null(strstr(bed.why, "8.8.8.8"));
    OK(netcfg_addr_add(bed.nc, bed.tun.ifindex, &a4, NULL, WHY));
    OK(netcfg_link_up(bed.nc, bed.tun.ifindex, WHY));
    d1.oif = elsewhere.oif = bed.tun.ifindex;
    d6.oif = bed.up0;
    OK(netcfg_route_add(bed.nc, &d1, WHY));
    OK(netcfg_route_add(bed.nc, &d2, WHY));
    OK(netcfg_route_add(bed.nc, &d6, WHY));
    OK(netcfg_route_add(bed.nc, &elsewhere, WHY));
    assert_int_equal(netcfg_defaults(bed.nc, 0, def, 4, WHY), 3);
    assert_int_equal(def[0].metric, 50);
    assert_int_equal(def[0].oif, bed.up0);
    assert_true(tun_addr_equal(&def[0].gateway, &d2.gateway));
    assert_int_equal(def[0].protocol, NETCFG_PROTOCOL);
    assert_int_equal(def[1].metric, 300);
    assert_int_equal(def[1].oif, bed.tun.ifindex);
    assert_int_equal(def[1].gateway.family, 0);
    assert_int_equal(def[2].family, AF_INET6);
    assert_true(tun_addr_equal(&def[2].gateway, &d6.gateway));
    assert_int_equal(netcfg_defaults(bed.nc, AF_INET6, def, 4, WHY), 1);
    assert_int_equal(netcfg_defaults(bed.nc, 0, NULL, 0, WHY), 3);

    OK(netcfg_route_get(bed.nc, &far, 0, NULL, &hop, WHY));
    assert_int_equal(hop.oif, bed.up0);
    assert_true(tun_addr_equal(&hop.gateway, &d2.gateway));
    assert_true(tun_addr_equal(&hop.source, &self));
    OK(netcfg_route_get(bed.nc, &far, bed.tun.ifindex, NULL, &hop, WHY));
    assert_int_equal(hop.oif, bed.tun.ifindex);
    assert_true(tun_addr_equal(&hop.source, &a4.addr));
    OK(netcfg_route_get(bed.nc, &far, 0, &self, &hop, WHY));
    assert_true(tun_addr_equal(&hop.source, &self));
    assert_int_equal(netcfg_route_get(bed.nc, &far, 4711, NULL, &hop, WHY), -ENODEV);
    assert_int_equal(netcfg_route_get(bed.nc, &far, 0, &d6.gateway, &hop, WHY), -EINVAL);
    OK(netcfg_route_get(bed.nc, &self, 0, NULL, &hop, WHY));
    assert_int_equal(hop.oif, 1);
    OK(netcfg_undo(bed.nc, WHY));
    as_before();
}

/* ---- the journal ---- */

static char log_lines[16][NETCFG_LINE_MAX];
static bool log_open[16];
static uint64_t log_n;
static int log_refuse;

static int log_before(void *ctx, const char *line, uint64_t *id, char *why, size_t why_size)
{
    (void)ctx;
    if (log_refuse)
        return why_set(why, why_size, log_refuse, "journal full");
    assert_true(log_n < 16);
    strcpy(log_lines[log_n], line);
    log_open[log_n] = true;
    *id = log_n++;
    return 0;
}

static void log_after(void *ctx, uint64_t id)
{
    (void)ctx;
    assert_true(id < log_n && log_open[id]);
    log_open[id] = false;
}

static void journal_is_told_first(void **state)
{
    struct netcfg_journal j = {.before = log_before, .after = log_after};
    struct tun_prefix a4 = P("10.9.0.2/24"), extra = P("192.0.2.77/24");
    struct netcfg_route wall = {.dst = P("203.0.113.0/24"), .type = NETCFG_UNREACHABLE};
    struct netcfg_route gw = {.dst = P("fd00:2::/64"), .gateway = A("fd00:1::2"), .metric = 9};
    struct netcfg_route bad = {.dst = P("10.0.0.0/8"), .gateway = A("172.16.0.1")};
    struct netcfg_route own = {.dst = P("10.1.0.0/16")};
    struct netcfg *nc;

    (void)state;
    NEEDS_BED();
    log_n = 0;
    OK(netcfg_new(&nc, &j, WHY));
    netcfg_own_link(nc, bed.tun.ifindex);
    own.oif = bed.tun.ifindex;
    gw.oif = bed.up0;
    OK(netcfg_addr_add(nc, bed.tun.ifindex, &a4, NULL, WHY));
    OK(netcfg_link_up(nc, bed.tun.ifindex, WHY));
    OK(netcfg_route_add(nc, &own, WHY));
    assert_int_equal(log_n, 0); /* all that dies with us */
    OK(netcfg_addr_add(nc, bed.up0, &extra, NULL, WHY));
    OK(netcfg_route_add(nc, &wall, WHY));
    OK(netcfg_route_add(nc, &gw, WHY));
    OK(netcfg_link_mtu(nc, bed.up0, 1450, WHY));
    assert_int_equal(log_n, 4);
    assert_int_equal(netcfg_route_add(nc, &bad, WHY), -ENETUNREACH);
    assert_int_equal(log_n, 5);
    assert_false(log_open[4]); /* never made: the record is closed */

    log_refuse = -ENOSPC;
    own.dst = wall.dst = P("203.0.114.0/24");
    wall.dst = P("203.0.115.0/24");
    OK(netcfg_route_add(nc, &own, WHY));
    assert_int_equal(netcfg_route_add(nc, &wall, WHY), -ENOSPC);
    assert_string_equal(bed.why, "journal full");
    assert_false(dumped("203.0.115.0"));
    log_refuse = 0;

    /* A later process reverts from the lines alone, twice, oldest last. */
    for (int round = 0; round < 2; round++) {
        for (int i = 4; i >= 0; i--)
            OK(netcfg_revert(log_lines[i], WHY));
    }
    OK(netcfg_undo(nc, WHY));
    for (int i = 0; i < 5; i++)
        assert_false(log_open[i]);
    netcfg_del(nc);
    as_before();
}

/* A process that is killed leaves what its lines say, and they take it back. */
static void lines_of_a_killed_process(void **state)
{
    int out[2], status;
    size_t n = 0;
    ssize_t got;
    char *during, lines[2048] = "", *rest = lines, *line;
    pid_t pid;

    (void)state;
    NEEDS_BED();
    assert_int_equal(pipe(out), 0);
    pid = fork();
    if (pid == 0) {
        struct netcfg_journal j = {.before = log_before, .after = log_after};
        struct tun_prefix extra = P("192.0.2.77/24"), p6 = P("fd00:1::77/64");
        struct netcfg_route wall = {.dst = P("::/1"), .type = NETCFG_UNREACHABLE};
        struct netcfg *nc;

        log_n = 0;
        if (netcfg_new(&nc, &j, NULL, 0) ||
            netcfg_addr_add(nc, bed.up0, &extra, NULL, NULL, 0) ||
            netcfg_addr_add(nc, bed.up0, &p6, NULL, NULL, 0) ||
            netcfg_route_add(nc, &wall, NULL, 0) || netcfg_link_mtu(nc, bed.up0, 1450, NULL, 0))
            _exit(1);
        for (uint64_t i = 0; i < log_n; i++)
            dprintf(out[1], "%s\n", log_lines[i]);
        kill(getpid(), SIGKILL);
    }
    close(out[1]);
    while ((got = read(out[0], lines + n, sizeof(lines) - 1 - n)) > 0)
        n += (size_t)got;
    close(out[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    during = ns_dump();
    assert_string_not_equal(during, bed.before);
    free(during);
    for (n = 0; (line = strsep(&rest, "\n")) && *line; n++)
        OK(netcfg_revert(line, WHY));
    assert_int_equal(n, 4);
    as_before();
}

static void lines_round_trip(void **state)
{
    /* clang-format off */
    static const char *const good[] = {
        "up 7",
        "mtu 7 1400 1500",
        "addr 2147483647 10.9.0.2/24 -",
        "addr 3 10.9.0.2/32 10.9.0.1/32",
        "addr 3 fd00::2/64 -",
        "route unicast 0.0.0.0/1 7 - - 0 254",
        "route unicast fd00::/64 7 fe80::1 fd00::9 1024 51820",
        "route unreachable ::/1 0 - - 1024 254",
        "route blackhole 203.0.113.0/24 0 - - 4294967295 254",
    };
    static const char *const bad[] = {
        "", " ", "up", "up ", "up 0", "up -1", "up 7 ", " up 7", "up 7 8", "up 2147483648", "up 0x7",
        "down 7", "mtu 7 1400", "mtu 7 1400 x", "mtu 7 1400 99999999999", "addr 3 10.9.0.2/24",
        "addr 3 - -", "addr 0 10.9.0.2/24 -", "addr 3 10.9.0.2/33 -", "addr x 10.9.0.2/24 -",
        "route unicast 0.0.0.0/1 7 - - 0", "route unicast 0.0.0.0/1 7 - - 0 254 9",
        "route cast 0.0.0.0/1 7 - - 0 254", "route unicast - 7 - - 0 254",
        "route unicast 0.0.0.0/1 7 - - 4294967296 254", "route unicast 0.0.0.0/1 -7 - - 0 254",
        "route unicast 0.0.0.0/1 7 gw - 0 254", "up 7\n", "1 2 3 4 5 6 7 8 9 10",
    };
    /* clang-format on */
    char line[NETCFG_LINE_MAX], big[5000];
    struct change c;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(change_parse(good[i], &c), 0);
        change_line(&c, line);
        assert_string_equal(line, good[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (change_parse(bad[i], &c) == 0)
            fail_msg("'%s' was taken", bad[i]);
    }
    memset(big, 'a', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    assert_int_equal(change_parse(big, &c), -EINVAL);
    assert_int_equal(netcfg_revert("rm -rf", NULL, 0), -EINVAL);

    /* Hostile: any change of one character is refused or reads as what it then says. */
    srand(3);
    for (unsigned i = 0; i < 20000; i++) {
        char mutant[NETCFG_LINE_MAX];

        strcpy(mutant, good[i % ARRAY_LEN(good)]);
        mutant[(size_t)rand() % strlen(mutant)] = (char)(rand() % 255 + 1);
        if (change_parse(mutant, &c) == 0) {
            struct change d;

            change_line(&c, line);
            assert_int_equal(change_parse(line, &d), 0);
            assert_int_equal(c.kind, d.kind);
            assert_int_equal(c.ifindex, d.ifindex);
        }
    }
}

static void no_privilege(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    NEEDS_BED();
    pid = fork();
    if (pid == 0) {
        struct tun_prefix all[] = {{.addr.family = AF_INET}};
        char why[WHY_SIZE] = "";
        struct netcfg *nc;

        if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
            _exit(77);
        if (netcfg_new(&nc, NULL, why, sizeof(why)))
            _exit(2);
        if (netcfg_route_via_tun(nc, bed.tun.ifindex, all, 1, why, sizeof(why)) != -EPERM)
            _exit(3);
        _exit(strstr(why, "root") ? 0 : 4);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define BED_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_round_trip),
        BED_TEST(address_is_usable_at_once),
        BED_TEST(undo_restores),
        BED_TEST(del_takes_back_ours_only),
        BED_TEST(undo_copes_with_others),
        BED_TEST(routes_into_the_tun),
        BED_TEST(no_ipv6_on_the_tun),
        BED_TEST(no_ipv6_at_all),
        BED_TEST(bad_changes_are_refused),
        BED_TEST(queries),
        BED_TEST(journal_is_told_first),
        BED_TEST(lines_of_a_killed_process),
        BED_TEST(no_privilege),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
