#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "app/dns.h"
#include "app/leftovers.h"
#include "app/nat.h"
#include "app/sysctl.h"
#include "test/tun_fw.h"
#include "test/tun_router.h"
#include "tun/nft.h"

#define FORWARD4 "net/ipv4/ip_forward"
#define FORWARD6 "net/ipv6/conf/all/forwarding"

static struct router bench;
static struct tun_prefix pools[2];
static struct nat_cfg cfg;
static struct undo *undo;
static char base[64], dir[96], resolv[96], why[WHY_SIZE];

static bool nat_possible(void)
{
    struct nft_nat nat = {.table = "try", .tun_name = "mq0", .pools = pools, .n_pools = 2};
    struct nft *nf;
    int rc = nft_new(&nf, why, sizeof(why));

    if (rc)
        return false;
    rc = nft_nat_set(nf, &nat, NULL, why, sizeof(why));
    if (rc == 0)
        nft_table_del(nf, "try", why, sizeof(why));
    else
        print_message("%s\n", why);
    nft_del(nf);
    return rc == 0;
}

static int set_up(void **state)
{
    (void)state;
    strcpy(base, "/tmp/mqvpn-nat-XXXXXX");
    assert_non_null(mkdtemp(base));
    snprintf(dir, sizeof(dir), "%s/state", base);
    snprintf(resolv, sizeof(resolv), "%s/resolv.conf", base);
    undo = NULL;
    tun_prefix_parse("10.9.0.1/24", &pools[0]);
    tun_prefix_parse("fd00:9::/64", &pools[1]);
    cfg = (struct nat_cfg){.tun_name = "mq0", .pools = pools, .n_pools = 2};
    router_init(&bench);
    bench.here = bench.here && nat_possible();
    if (!bench.here)
        return 0;
    assert_int_equal(undo_open(&undo, dir, NULL, why, sizeof(why)), 0);
    router_forwarding(false);
    return 0;
}

static int tear_down(void **state)
{
    char cmd[160];

    (void)state;
    undo_close(undo);
    router_free(&bench);
    snprintf(cmd, sizeof(cmd), "rm -rf '%s'", base);
    return system(cmd);
}

#define NEEDS_BENCH()                                                                          \
    do {                                                                                       \
        if (!bench.here)                                                                       \
            skip();                                                                            \
    } while (0)

static const char *setting(const char *key)
{
    static char v[SYSCTL_VALUE_MAX];

    assert_int_equal(sysctl_get(key, v), 0);
    return v;
}

static struct nat *start_with(struct undo *u)
{
    struct nat *nat = NULL;
    int rc = nat_start(&nat, &cfg, u, NULL, why, sizeof(why));

    if (rc)
        print_message("%s\n", why);
    assert_int_equal(rc, 0);
    return nat;
}

/* Whether a ping from `src` arrives outside with the router's address, within `ms`. */
static bool masqueraded(const char *src, int ms)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(7777)}, from = {0};
    socklen_t len = sizeof(from);
    int s = router_socket(&bench, AF_INET, SOCK_DGRAM, 0);
    bool ok;
    char got[16];

    assert_int_equal(bind(s, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(router_ping(&bench, src, "192.0.2.2"), 0);
    ok = router_readable(s, ms) &&
         recvfrom(s, got, sizeof(got), 0, (struct sockaddr *)&from, &len) == 4 &&
         from.sin_addr.s_addr == inet_addr("192.0.2.1");
    close(s);
    return ok;
}

static void on_and_off(void **state)
{
    char *before, *after;
    struct nat *nat;

    (void)state;
    NEEDS_BENCH();
    before = ns_dump();
    for (int unowned = 0; unowned < 2; unowned++) {
        cfg.unowned = unowned;
        nat = start_with(undo);
        assert_true(fw_table_exists("mqvpn-mq0"));
        assert_string_equal(setting(FORWARD4), "1");
        assert_string_equal(setting(FORWARD6), "1");
        assert_true(masqueraded("10.9.0.2", 10000));
        nat_stop(nat);
        assert_false(fw_table_exists("mqvpn-mq0"));
        assert_string_equal(setting(FORWARD4), "0");
        assert_string_equal(setting(FORWARD6), "0");
        assert_int_equal(undo_count(undo), 0);
    }
    after = ns_dump();
    assert_string_equal(before, after);
    free(before);
    free(after);
}

static void one_family(void **state)
{
    struct nat *nat;

    (void)state;
    NEEDS_BENCH();
    cfg.n_pools = 1;
    nat = start_with(undo);
    assert_string_equal(setting(FORWARD4), "1");
    assert_string_equal(setting(FORWARD6), "0");
    nat_stop(nat);
    cfg.pools = &pools[1];
    nat = start_with(undo);
    assert_string_equal(setting(FORWARD4), "0");
    assert_string_equal(setting(FORWARD6), "1");
    nat_stop(nat);
}

static void forwarding_alone(void **state)
{
    struct nat *nat;

    (void)state;
    NEEDS_BENCH();
    cfg.forward_only = true;
    nat = start_with(undo);
    assert_false(fw_table_exists("mqvpn-mq0"));
    assert_string_equal(setting(FORWARD4), "1");
    assert_false(masqueraded("10.9.0.2", 500));
    nat_stop(nat);
    assert_string_equal(setting(FORWARD4), "0");
}

static void a_router_stays_one(void **state)
{
    (void)state;
    NEEDS_BENCH();
    router_forwarding(true);
    nat_stop(start_with(undo));
    assert_string_equal(setting(FORWARD4), "1");
    assert_string_equal(setting(FORWARD6), "1");
}

/* Forwarding that was on for one link only is on for just that one afterwards. */
static void single_links_are_kept(void **state)
{
    (void)state;
    NEEDS_BENCH();
    assert_true(ns_write("/proc/sys/net/ipv4/conf/up0/forwarding", "1"));
    assert_true(ns_write("/proc/sys/net/ipv6/conf/up0/forwarding", "1"));
    nat_stop(start_with(undo));
    assert_string_equal(setting(FORWARD4), "0");
    assert_string_equal(setting("net/ipv4/conf/up0/forwarding"), "1");
    assert_string_equal(setting("net/ipv4/conf/mq0/forwarding"), "0");
    assert_string_equal(setting(FORWARD6), "0");
    assert_string_equal(setting("net/ipv6/conf/up0/forwarding"), "1");
    assert_string_equal(setting("net/ipv6/conf/mq0/forwarding"), "0");
}

/* ---- router advertisements ---- */

static bool has_advertised_route(void)
{
    struct netcfg_default def[4];
    int n = netcfg_defaults(bench.nc, AF_INET6, def, 4, why, sizeof(why));

    for (int i = 0; i < n && i < 4; i++) {
        if (def[i].protocol == RTPROT_RA)
            return true;
    }
    return false;
}

/* A router advertisement (RFC 4861 4.2) from outside, lifetime 1800 s. */
static bool advertise(void)
{
    static const uint8_t ra[16] = {134, 0, 0, 0, 64, 0, 1800 >> 8, 1800 & 255};
    uint8_t frame[128] = {0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd};
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_halen = 6};
    size_t n =
        router_packet(frame + 14, "fe80::1", "ff02::1", IPPROTO_ICMPV6, ra, sizeof(ra), 2);
    int s;

    frame[14 + 7] = 255;
    ns_back(bench.outside);
    to.sll_ifindex = (int)if_nametoindex("in0");
    ns_back(bench.router);
    s = router_socket(&bench, AF_PACKET, SOCK_RAW, 0);
    if (s < 0)
        return false;
    n = (size_t)sendto(s, frame, 14 + n, 0, (struct sockaddr *)&to, sizeof(to));
    close(s);
    for (int i = 0; i < 200 && !has_advertised_route(); i++)
        usleep(10000);
    return n == 14 + 40 + sizeof(ra) && has_advertised_route();
}

static void advertised_routes_survive(void **state)
{
    struct nat *nat;

    (void)state;
    NEEDS_BENCH();
    if (!ns_write("/proc/sys/net/ipv6/conf/up0/accept_ra", "1") || !advertise())
        skip();
    nat = start_with(undo);
    assert_string_equal(setting(FORWARD6), "1");
    assert_string_equal(setting("net/ipv6/conf/up0/accept_ra"), "2");
    assert_true(has_advertised_route());
    nat_stop(nat);
    assert_string_equal(setting("net/ipv6/conf/up0/accept_ra"), "1");
    assert_true(has_advertised_route());
}

/* ---- two instances, killed instances ---- */

static void two_instances(void **state)
{
    struct undo *other;
    struct nat *a, *b;

    (void)state;
    NEEDS_BENCH();
    assert_int_equal(undo_open(&other, dir, NULL, why, sizeof(why)), 0);
    a = start_with(undo);
    cfg.tun_name = "mq1";
    b = start_with(other);
    nat_stop(b);
    assert_true(masqueraded("10.9.0.2", 10000));
    b = start_with(other);
    nat_stop(a);
    assert_false(fw_table_exists("mqvpn-mq0"));
    assert_true(fw_table_exists("mqvpn-mq1"));
    assert_string_equal(setting(FORWARD4), "1");
    assert_string_equal(setting(FORWARD6), "1");
    nat_stop(b);
    assert_string_equal(setting(FORWARD4), "0");
    assert_string_equal(setting(FORWARD6), "0");
    undo_close(other);
}

/* All that an instance can leave: NAT, settings, routes, an address, name servers. */
static int leave_everything(struct undo *u)
{
    struct netcfg_journal journal = leftovers_netcfg_journal(u);
    struct netcfg_route wall = {.type = NETCFG_UNREACHABLE};
    struct tun_prefix extra;
    struct dns_cfg names = {
        .n_servers = 1, .tun_name = "mq0", .path = resolv, .resolvectl = ""};
    struct tun_addr server;
    struct netcfg *nc;
    struct nat *nat;
    struct dns *dns;
    int up0 = (int)if_nametoindex("up0");

    tun_prefix_parse("2000::/3", &wall.dst);
    tun_prefix_parse("192.0.2.77/24", &extra);
    tun_addr_parse("10.9.0.1", &server);
    names.servers = &server;
    cfg.unowned = true;
    return nat_start(&nat, &cfg, u, NULL, NULL, 0) || netcfg_new(&nc, &journal, NULL, 0) ||
           netcfg_route_add(nc, &wall, NULL, 0) ||
           netcfg_addr_add(nc, up0, &extra, NULL, NULL, 0) ||
           netcfg_link_mtu(nc, up0, 1400, NULL, 0) || dns_start(&dns, &names, u, NULL, NULL, 0);
}

static int talk[2];

/* A child that leaves everything, says so, and lives until it is killed. */
static pid_t busy_child(void)
{
    pid_t pid;
    char c = 0;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, talk), 0);
    pid = fork();
    if (pid == 0) {
        struct undo *u;

        if (undo_open(&u, dir, NULL, NULL, 0) || leave_everything(u) ||
            write(talk[1], "y", 1) != 1)
            _exit(1);
        pause();
    }
    close(talk[1]);
    assert_int_equal(read(talk[0], &c, 1), 1);
    return pid;
}

static void killed_instance(void **state)
{
    char *before, *during, *after, *running;
    int fd, status;
    pid_t pid;

    (void)state;
    NEEDS_BENCH();
    fd = open(resolv, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(write(fd, "nameserver 192.0.2.53\n", 22), 22);
    close(fd);
    before = ns_dump();
    pid = busy_child();
    during = ns_dump();
    assert_string_not_equal(before, during);
    assert_int_equal(leftovers_recover(undo, resolv, NULL), 0); /* it lives */
    running = ns_dump();
    assert_string_equal(during, running);
    assert_true(fw_table_exists("mqvpn-mq0"));
    assert_string_equal(setting(FORWARD4), "1");

    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(fw_table_exists("mqvpn-mq0"));
    assert_int_equal(leftovers_recover(undo, resolv, NULL), 7);
    after = ns_dump();
    assert_string_equal(before, after);
    assert_false(fw_table_exists("mqvpn-mq0"));
    assert_string_equal(setting(FORWARD4), "0");
    assert_string_equal(setting(FORWARD6), "0");
    fd = open(resolv, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, why, sizeof(why)), 22);
    close(fd);
    assert_memory_equal(why, "nameserver 192.0.2.53\n", 22);
    assert_int_equal(leftovers_recover(undo, resolv, NULL), 0);
    close(talk[0]);
    free(before);
    free(during);
    free(running);
    free(after);
}

static void journal_in_memory(void **state)
{
    struct undo *u;

    (void)state;
    NEEDS_BENCH();
    assert_int_equal(undo_open(&u, NULL, NULL, why, sizeof(why)), 0);
    assert_int_equal(leftovers_recover(u, "", NULL), 0);
    nat_stop(start_with(u));
    assert_string_equal(setting(FORWARD4), "0");
    assert_int_equal(undo_count(u), 0);
    undo_close(u);
}

static void hostile_records(void **state)
{
    static const char *const bad[] = {
        "", "mqvpn-", "filter", "mqvpn-x y", "mqvpn-/", "mqvpn-1234567890123456", " mqvpn-mq0"};

    (void)state;
    NEEDS_BENCH();
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(nat_undo_kind.revert(undo, bad[i], why, sizeof(why)), -EINVAL);
    assert_int_equal(nat_undo_kind.revert(undo, "mqvpn-mq0", why, sizeof(why)), 0);
}

/* ---- bad input ---- */

static int start_rc(void)
{
    struct nat *nat;

    return nat_start(&nat, &cfg, undo, NULL, why, sizeof(why));
}

static void nothing_left(void)
{
    assert_false(fw_table_exists("mqvpn-mq0"));
    assert_string_equal(setting(FORWARD4), "0");
    assert_int_equal(undo_count(undo), 0);
}

static void bad_input_is_refused(void **state)
{
    struct tun_prefix none = {0};

    (void)state;
    NEEDS_BENCH();
    cfg.n_pools = 0;
    assert_int_equal(start_rc(), -EINVAL);
    cfg.n_pools = NAT_POOLS_MAX + 1;
    assert_int_equal(start_rc(), -EINVAL);
    cfg.n_pools = 1;
    cfg.pools = &none;
    assert_int_equal(start_rc(), -EINVAL);
    cfg.pools = pools;
    cfg.tun_name = "a b";
    assert_int_equal(start_rc(), -EINVAL);
    cfg.tun_name = "abcdefghijklmnop";
    assert_int_equal(start_rc(), -ENAMETOOLONG);
    nothing_left();
}

/* A mount namespace of our own with something else in the place of `where`. */
static bool covered(const char *where, bool empty)
{
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
        return false;
    if (empty)
        return mount("none", where, "tmpfs", 0, NULL) == 0;
    return mount(where, where, NULL, MS_BIND, NULL) == 0 &&
           mount(NULL, where, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) == 0;
}

static void read_only_settings(void **state)
{
    (void)state;
    NEEDS_BENCH();
    if (!covered("/proc/sys", false))
        skip();
    assert_int_equal(start_rc(), -EROFS);
    assert_non_null(strstr(why, "--sysctl net.ipv4.ip_forward=1"));
    umount2("/proc/sys", MNT_DETACH);
    nothing_left();
}

static void no_ipv6_here(void **state)
{
    (void)state;
    NEEDS_BENCH();
    if (!covered("/proc/sys/net", true))
        skip();
    cfg.pools = &pools[1];
    cfg.n_pools = 1;
    assert_int_equal(start_rc(), -EAFNOSUPPORT);
    assert_non_null(strstr(why, "--subnet6"));
    umount2("/proc/sys/net", MNT_DETACH);
    nothing_left();
}

static void no_privilege(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    NEEDS_BENCH();
    pid = fork();
    if (pid == 0) {
        if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
            _exit(77);
        _exit(start_rc() == -EPERM && strstr(why, "root") ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
    nothing_left();
}

#define BENCH_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(on_and_off),
        BENCH_TEST(one_family),
        BENCH_TEST(forwarding_alone),
        BENCH_TEST(a_router_stays_one),
        BENCH_TEST(single_links_are_kept),
        BENCH_TEST(advertised_routes_survive),
        BENCH_TEST(two_instances),
        BENCH_TEST(killed_instance),
        BENCH_TEST(journal_in_memory),
        BENCH_TEST(hostile_records),
        BENCH_TEST(bad_input_is_refused),
        BENCH_TEST(no_privilege),
        BENCH_TEST(read_only_settings),
        BENCH_TEST(no_ipv6_here),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
