/* links: what the kernel tells of interfaces, in a namespace of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "app/links.h"
#include "test/tun_ns.h"

#include <poll.h>

static struct netcfg *nc;
static struct links l;
static bool here;
static char why[WHY_SIZE];
static ns_t now;

static int index_of(const char *name)
{
    return (int)if_nametoindex(name);
}

static void address(const char *dev, const char *text)
{
    struct tun_prefix p;

    assert_int_equal(tun_prefix_parse(text, &p), 0);
    assert_int_equal(netcfg_addr_add(nc, index_of(dev), &p, NULL, why, sizeof(why)), 0);
}

static void address_gone(const char *dev, const char *text)
{
    struct tun_prefix p;

    assert_int_equal(tun_prefix_parse(text, &p), 0);
    assert_int_equal(netcfg_addr_del(nc, index_of(dev), &p, why, sizeof(why)), 0);
}

static void route(const char *dst, const char *via, const char *dev, uint32_t metric)
{
    struct netcfg_route r = {.metric = metric, .oif = index_of(dev)};

    assert_int_equal(tun_prefix_parse(dst, &r.dst), 0);
    if (via)
        assert_int_equal(tun_addr_parse(via, &r.gateway), 0);
    assert_int_equal(netcfg_route_add(nc, &r, why, sizeof(why)), 0);
}

/* NAME with its far end NAMEx, both up. */
static void pair(const char *name)
{
    char far[IFNAMSIZ + 1];

    snprintf(far, sizeof(far), "%sx", name);
    assert_int_equal(ns_veth(name, far, -1), 0);
    assert_int_equal(netcfg_link_up(nc, index_of(name), why, sizeof(why)), 0);
    assert_int_equal(netcfg_link_up(nc, index_of(far), why, sizeof(why)), 0);
}

static int link_set(const char *name, bool up)
{
    struct ifreq ifr = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc;

    strncpy(ifr.ifr_name, name, IFNAMSIZ - 1);
    rc = ioctl(fd, SIOCGIFFLAGS, &ifr);
    ifr.ifr_flags = (short)(up ? ifr.ifr_flags | IFF_UP : ifr.ifr_flags & ~IFF_UP);
    if (rc == 0)
        rc = ioctl(fd, SIOCSIFFLAGS, &ifr);
    close(fd);
    return rc;
}

static void start(const struct link_rules *rules, const char *const *remote, size_t n)
{
    struct tun_addr a[LINKS_REMOTES];

    links_init(&l, nc, index_of("tunx"), rules, why, sizeof(why));
    assert_string_equal(why, "");
    for (size_t i = 0; i < n; i++)
        assert_int_equal(tun_addr_parse(remote[i], &a[i]), 0);
    links_remotes(&l, a, n, now);
}

/*
 * Two networks, "one" with both families and "two"; "docker0" as well; and "tunx", which takes
 * everything as the TUN does.
 */
static int set_up(void **state)
{
    (void)state;
    now = 1000 * NS_PER_S;
    here = ns_enter() && netcfg_new(&nc, NULL, why, sizeof(why)) == 0 &&
           ns_veth("tunx", "tuny", -1) == 0;
    if (!here) {
        print_message("no namespace or veth here\n");
        return 0;
    }
    pair("one");
    pair("two");
    pair("docker0");
    address("one", "192.0.2.1/24");
    address("one", "2001:db8::1/64");
    address("two", "198.51.100.1/24");
    address("docker0", "172.17.0.1/16");
    route("0.0.0.0/0", "192.0.2.254", "one", 100);
    route("::/0", "2001:db8::fe", "one", 100);
    route("0.0.0.0/0", "198.51.100.254", "two", 200);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (!here)
        return 0;
    links_free(&l);
    netcfg_del(nc);
    return 0;
}

/* Events as text, in order: "+one/4 ~two/4 -docker0/4". */
static const char *events(void)
{
    static char text[512];
    struct link_event ev;

    text[0] = 0;
    while (links_next(&l, &ev)) {
        size_t at = strlen(text);

        snprintf(text + at, sizeof(text) - at, "%s%c%s/%d", at ? " " : "", "+~-"[ev.type],
                 ev.link.name, ev.link.family == AF_INET6 ? 6 : 4);
        if (ev.type != LINK_REMOVED) {
            const struct link *k = links_by_id(&l, ev.link.id);
            assert_non_null(k);
            assert_true(tun_addr_equal(&k->local, &ev.link.local));
        } else {
            assert_null(links_by_id(&l, ev.link.id));
        }
    }
    return text;
}

static const char *look(void)
{
    links_look(&l, now);
    links_tick(&l, now);
    assert_int_equal(links_deadline(&l), NS_NEVER);
    return events();
}

/* Read what the kernel tells until something of it matters; that comes within five seconds. */
static void hear(void)
{
    struct pollfd p = {.fd = links_fd(&l), .events = POLLIN};
    bool changed = false;

    while (!changed) {
        assert_int_equal(poll(&p, 1, 5000), 1);
        assert_int_equal(links_read(&l, now, &changed), 0);
    }
}

/*
 * What the kernel tells, until it comes to the events `want`: a carrier is told a little after
 * what changed it.
 */
static void follow(const char *want)
{
    const char *got;

    do {
        hear();
        assert_true(links_deadline(&l) <= now + LINKS_SETTLE);
        now += LINKS_SETTLE;
        links_tick(&l, now);
        got = events();
    } while (!*got && *want);
    assert_string_equal(got, want);
}

static const char *const both[] = {"203.0.113.9", "2001:db8:f::9"};
static const char *const only4[] = {"203.0.113.9"};

/* By the server's IPv4 address alone, without rules: the state that most tests begin with. */
static void find_two(void)
{
    struct link_rules none = {0};

    if (!here)
        skip();
    start(&none, only4, 1);
    assert_string_equal(look(), "+one/4 +two/4");
}

static void finds_them(void **state)
{
    struct link_rules none = {0};
    char text[TUN_ADDR_TEXT];
    const struct link *list;
    size_t n;

    (void)state;
    if (!here)
        skip();
    start(&none, both, 2);
    assert_false(links_next(&l, &(struct link_event){0}));
    assert_int_equal(links_deadline(&l), now);
    links_tick(&l, now);
    assert_string_equal(events(), "+one/4 +one/6 +two/4");
    list = links_list(&l, &n);
    assert_int_equal(n, 3);
    assert_int_equal(list[0].ifindex, index_of("one"));
    assert_int_equal(list[0].mtu_bytes, 1500);
    assert_int_equal(list[0].since, now);
    assert_string_equal(tun_addr_text(&list[0].local, text), "192.0.2.1");
    assert_string_equal(tun_addr_text(&list[1].local, text), "2001:db8::1");
    assert_string_equal(look(), "");
}

/* Only the families of the server count, and what is on link needs no default route. */
static void server_near(void **state)
{
    static const char *const near[] = {"172.17.0.9"};
    static char docker[] = "docker*", two[] = "t*";
    static char *const names[] = {docker, two};
    struct link_rules named = {.paths = names, .n_paths = 2};

    (void)state;
    find_two();
    links_free(&l);
    start(&named, near, 1);
    assert_string_equal(look(), "+docker0/4 +two/4");
    links_free(&l);
    start(&named, only4, 1); /* docker0 has no way there, whatever the kernel says */
    assert_string_equal(look(), "+two/4");
}

/* Routes into the TUN hide neither the links nor which one is the best. */
static void behind_the_tun(void **state)
{
    (void)state;
    find_two();
    assert_int_equal(netcfg_link_up(nc, index_of("tunx"), why, sizeof(why)), 0);
    assert_int_equal(netcfg_link_up(nc, index_of("tuny"), why, sizeof(why)), 0);
    address("tunx", "10.0.0.2/32");
    route("0.0.0.0/1", NULL, "tunx", 0);
    route("128.0.0.0/1", NULL, "tunx", 0);
    assert_string_equal(look(), "");
    /*
     * Without an address of its own it has those of others for the kernel: it is none, until it
     * has one.
     */
    address_gone("one", "192.0.2.1/24");
    follow("-one/4");
    address("one", "192.0.2.5/24");
    route("0.0.0.0/0", "192.0.2.254", "one", 100);
    follow("+one/4");
    links_free(&l);
    find_two();
}

static void follows(void **state)
{
    const struct link *list;
    char text[TUN_ADDR_TEXT];
    uint32_t one, two;
    size_t n;
    struct netcfg_route r = {.metric = 200};

    (void)state;
    find_two();
    list = links_list(&l, &n);
    one = list[0].id;
    two = list[1].id;

    /* A second address changes nothing; without the first, the other counts. */
    address("one", "203.0.114.7/24");
    now += NS_PER_S;
    follow("");
    assert_int_not_equal(links_by_id(&l, one)->since, now);
    address_gone("one", "192.0.2.1/24");
    follow("~one/4");
    assert_string_equal(tun_addr_text(&links_by_id(&l, one)->local, text), "203.0.114.7");
    assert_int_equal(links_by_id(&l, one)->since, now);

    /* The MTU. */
    assert_int_equal(netcfg_link_mtu(nc, index_of("two"), 1400, why, sizeof(why)), 0);
    follow("~two/4");
    assert_non_null(links_by_id(&l, two));
    assert_int_equal(links_by_id(&l, two)->mtu_bytes, 1400);
    assert_int_equal(links_by_id(&l, two)->since, now);

    /* Its route goes and comes. */
    tun_prefix_parse("0.0.0.0/0", &r.dst);
    tun_addr_parse("198.51.100.254", &r.gateway);
    r.oif = index_of("two");
    assert_int_equal(netcfg_route_del(nc, &r, why, sizeof(why)), 0);
    follow("-two/4");
    assert_int_equal(netcfg_route_add(nc, &r, why, sizeof(why)), 0);
    follow("+two/4");
    assert_null(links_by_id(&l, two)); /* another one */
}

/* The carrier, at once; the interface itself. */
static void goes_down(void **state)
{
    (void)state;
    find_two();
    assert_int_equal(link_set("onex", false), 0);
    do /* no waiting then */
        hear();
    while (links_deadline(&l) > now);
    links_tick(&l, now);
    assert_string_equal(events(), "-one/4");
    assert_int_equal(link_set("onex", true), 0);
    follow("+one/4");
    assert_int_equal(ns_unlink("two"), 0);
    follow("-two/4");

    pair("three");
    address("three", "203.0.113.1/24");
    follow("+three/4");
}

/* Told before it was pulled: only the end of it. */
static void events_not_pulled(void **state)
{
    struct link_rules none = {0};

    (void)state;
    if (!here)
        skip();
    start(&none, only4, 1);
    links_tick(&l, now);
    assert_int_equal(link_set("onex", false), 0);
    assert_string_equal(look(), "+two/4");
    assert_int_equal(link_set("onex", true), 0);
    links_look(&l, now);
    links_tick(&l, now);
    assert_int_equal(link_set("onex", false), 0);
    assert_string_equal(look(), "");
}

#define NS_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NS_TEST(finds_them), NS_TEST(server_near), NS_TEST(behind_the_tun),
        NS_TEST(follows),    NS_TEST(goes_down),   NS_TEST(events_not_pulled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
