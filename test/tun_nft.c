#include <errno.h>
#include <netinet/in.h>
#include <net/if.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "test/tun_fw.h"
#include "test/tun_router.h"
#include "tun/nft.h"
#include "tun/xtables.h"

static struct router bench;
static struct nft *nf;
static struct tun_prefix pools[2];
static struct nft_nat nat;
static char why[WHY_SIZE];

static int set_up(void **state)
{
    (void)state;
    nf = NULL;
    router_init(&bench);
    if (!bench.here)
        return 0;
    assert_int_equal(nft_new(&nf, why, sizeof(why)), 0);
    tun_prefix_parse("10.9.0.1/24", &pools[0]); /* host bits are ignored */
    tun_prefix_parse("fd00:9::/63", &pools[1]);
    nat =
        (struct nft_nat){.table = "mqvpn-mq0", .tun_name = "mq0", .pools = pools, .n_pools = 2};
    router_forwarding(true);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    nft_del(nf);
    router_free(&bench);
    return 0;
}

#define NEEDS_BENCH()                                                                          \
    do {                                                                                       \
        if (!bench.here)                                                                       \
            skip();                                                                            \
    } while (0)

static void set_nat(bool *owned)
{
    int rc = nft_nat_set(nf, &nat, owned, why, sizeof(why));

    if (rc == -EOPNOTSUPP) {
        print_message("%s\n", why);
        skip();
    }
    if (rc)
        print_message("%s\n", why);
    assert_int_equal(rc, 0);
}

/* From whom a ping out of the TUN is seen to come, "" if it never comes; and answer it. */
static const char *seen_from(int s, const char *src, const char *dst, bool answer)
{
    static char text[INET6_ADDRSTRLEN];
    union {
        struct sockaddr sa;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } from;
    socklen_t len = sizeof(from);
    char got[16];
    int rc = router_ping(&bench, src, dst);

    assert_int_equal(rc, 0);
    if (!router_readable(s, answer ? 2000 : 100))
        return "";
    assert_int_equal(recvfrom(s, got, sizeof(got), 0, &from.sa, &len), 4);
    inet_ntop(from.sa.sa_family,
              from.sa.sa_family == AF_INET ? (void *)&from.v4.sin_addr
                                           : (void *)&from.v6.sin6_addr,
              text, sizeof(text));
    if (answer)
        assert_int_equal(sendto(s, "pong!", 5, 0, &from.sa, len), 5);
    return text;
}

static int outside_udp(const char *addr)
{
    bool v6 = strchr(addr, ':') != NULL;
    struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons(7777)};
    struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons(7777)};
    int s = router_socket(&bench, v6 ? AF_INET6 : AF_INET, SOCK_DGRAM, 0);

    assert_true(s >= 0);
    inet_pton(AF_INET, addr, &a4.sin_addr);
    inet_pton(AF_INET6, addr, &a6.sin6_addr);
    assert_int_equal(bind(s, v6 ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4,
                          v6 ? sizeof(a6) : sizeof(a4)),
                     0);
    return s;
}

static void masquerades(const char *src, const char *dst, const char *router,
                        const char *stranger)
{
    int s = outside_udp(dst);
    uint8_t pkt[256];
    struct tun_addr back, want;
    size_t n, head;
    bool v6 = strchr(src, ':') != NULL;

    assert_string_equal(seen_from(s, src, dst, true), router);
    n = router_read(&bench, pkt, sizeof(pkt), IPPROTO_UDP);
    head = v6 ? 40 : 20;
    assert_int_equal(n, head + 8 + 5);
    back = tun_addr_raw(v6 ? AF_INET6 : AF_INET, pkt + (v6 ? 24 : 16));
    assert_int_equal(tun_addr_parse(src, &want), 0);
    assert_true(tun_addr_equal(&back, &want));
    assert_int_equal(pkt[head + 2] << 8 | pkt[head + 3], 1111);
    assert_memory_equal(pkt + head + 8, "pong!", 5);

    /* A source outside the pool keeps its address: that is not ours to change. */
    assert_string_equal(seen_from(s, stranger, dst, false), stranger);
    close(s);
}

static void masquerades_ipv4(void **state)
{
    (void)state;
    NEEDS_BENCH();
    set_nat(NULL);
    masquerades("10.9.0.2", "192.0.2.2", "192.0.2.1", "10.9.1.2");
    masquerades("10.9.0.254", "192.0.2.2", "192.0.2.1", "10.8.255.255");
}

static void masquerades_ipv6(void **state)
{
    struct netcfg_route r = {.oif = bench.tun.ifindex};

    (void)state;
    NEEDS_BENCH();
    tun_prefix_parse("fd00:9:0:1::/64", &r.dst);
    assert_int_equal(netcfg_route_add(bench.nc, &r, why, sizeof(why)), 0);
    set_nat(NULL);
    masquerades("fd00:9::2", "fd00:1::2", "fd00:1::1", "fd00:9:0:2::2");
    masquerades("fd00:9:0:1::2", "fd00:1::2", "fd00:1::1", "fd00:8::2");
}

/* ---- maximum segment size ---- */

static unsigned mss_of(const uint8_t *tcp)
{
    assert_int_equal(tcp[20], 2); /* kind, length 4, value */
    assert_int_equal(tcp[21], 4);
    return (unsigned)tcp[22] << 8 | tcp[23];
}

/* A SYN from outside, towards the TUN of MTU 1400. */
static unsigned mss_inwards(const char *dst)
{
    bool v6 = strchr(dst, ':') != NULL;
    struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons(80)};
    struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
    int s = router_socket(&bench, v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
    uint8_t pkt[2048];
    unsigned mss;

    inet_pton(AF_INET, dst, &a4.sin_addr);
    inet_pton(AF_INET6, dst, &a6.sin6_addr);
    assert_int_equal(connect(s, v6 ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4,
                             v6 ? sizeof(a6) : sizeof(a4)),
                     -1);
    assert_int_equal(errno, EINPROGRESS);
    do /* not a reset, that answers an earlier SYN */
        assert_true(router_read(&bench, pkt, sizeof(pkt), IPPROTO_TCP) > 0);
    while (pkt[(v6 ? 40 : 20) + 13] != 0x02);
    mss = mss_of(pkt + (v6 ? 40 : 20));
    close(s);
    return mss;
}

/* A SYN out of the TUN that offers 1360, over an uplink of MTU 1300. */
static unsigned mss_outwards(int raw)
{
    static const uint8_t syn[] = {0x12, 0x34, 0, 80, 0,    0,    0,         1,
                                  0,    0,    0, 0,  0x60, 0x02, 0xff,      0xff,
                                  0,    0,    0, 0,  2,    4,    1360 >> 8, 1360 & 255};
    uint8_t pkt[128], got[128];
    size_t n = router_packet(pkt, "10.9.0.2", "192.0.2.2", IPPROTO_TCP, syn, sizeof(syn), 16);

    assert_int_equal(tun_write(&bench.tun, pkt, n), 0);
    assert_true(router_readable(raw, 10000));
    assert_true(recv(raw, got, sizeof(got), 0) >= 44);
    return mss_of(got + 20);
}

static void clamps_the_segment_size(void **state)
{
    struct netcfg_route r4 = {0}, r6 = {0};
    int raw;

    (void)state;
    NEEDS_BENCH();
    tun_prefix_parse("10.9.0.0/24", &r4.dst);
    tun_prefix_parse("fd00:9::/64", &r6.dst);
    tun_addr_parse("192.0.2.1", &r4.gateway);
    tun_addr_parse("fd00:1::1", &r6.gateway);
    assert_int_equal(netcfg_route_add(bench.nc_out, &r4, why, sizeof(why)), 0);
    assert_int_equal(netcfg_route_add(bench.nc_out, &r6, why, sizeof(why)), 0);
    raw = router_socket(&bench, AF_INET, SOCK_RAW, IPPROTO_TCP);
    assert_int_equal(
        netcfg_link_mtu(bench.nc, (int)if_nametoindex("up0"), 1300, why, sizeof(why)), 0);

    assert_int_equal(mss_inwards("10.9.0.2"), 1460);
    assert_int_equal(mss_inwards("fd00:9::2"), 1440);
    while (recv(raw, why, sizeof(why), 0) > 0)
        ;
    assert_int_equal(mss_outwards(raw), 1360);
    set_nat(NULL);
    assert_int_equal(mss_inwards("10.9.0.3"), 1260);
    assert_int_equal(mss_inwards("fd00:9::3"), 1240);
    while (recv(raw, why, sizeof(why), 0) > 0)
        ;
    assert_int_equal(mss_outwards(raw), 1260);
    close(raw);
}

/* ---- life of the table ---- */

static void owned_table_dies_with_the_socket(void **state)
{
    struct nft *other;
    bool owned = false;

    (void)state;
    NEEDS_BENCH();
    set_nat(&owned);
    set_nat(&owned); /* again: in its own place */
    assert_true(fw_table_exists("mqvpn-mq0"));
    if (!owned)
        skip();
    assert_int_equal(nft_new(&other, why, sizeof(why)), 0);
    assert_int_equal(nft_nat_set(other, &nat, NULL, why, sizeof(why)), -EPERM);
    assert_non_null(strstr(why, "mqvpn-mq0"));
    assert_int_equal(nft_table_del(other, "mqvpn-mq0", why, sizeof(why)), -EPERM);
    nft_del(nf);
    nf = NULL;
    assert_false(fw_table_exists("mqvpn-mq0"));
    assert_int_equal(nft_nat_set(other, &nat, NULL, why, sizeof(why)), 0);
    nft_del(other);
}

static void owned_table_dies_by_sigkill(void **state)
{
    bool owned = false;
    int status;
    pid_t pid;

    (void)state;
    NEEDS_BENCH();
    set_nat(&owned);
    assert_int_equal(nft_table_del(nf, "mqvpn-mq0", why, sizeof(why)), 0);
    if (!owned)
        skip();
    pid = fork();
    if (pid == 0) {
        struct nft *own;

        if (nft_new(&own, NULL, 0) || nft_nat_set(own, &nat, NULL, NULL, 0) ||
            !fw_table_exists("mqvpn-mq0"))
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_false(fw_table_exists("mqvpn-mq0"));
}

static void unowned_table_stays_until_removed(void **state)
{
    bool owned = true;
    int s;

    (void)state;
    NEEDS_BENCH();
    nat.unowned = true;
    set_nat(&owned);
    assert_false(owned);
    nft_del(nf);
    assert_int_equal(nft_new(&nf, why, sizeof(why)), 0);
    assert_true(fw_table_exists("mqvpn-mq0"));
    s = outside_udp("192.0.2.2");
    assert_string_equal(seen_from(s, "10.9.0.2", "192.0.2.2", false), "192.0.2.1");
    set_nat(NULL); /* in place of what a dead one left */
    assert_int_equal(nft_table_del(nf, "mqvpn-mq0", why, sizeof(why)), 0);
    assert_false(fw_table_exists("mqvpn-mq0"));
    assert_int_equal(nft_table_del(nf, "mqvpn-mq0", why, sizeof(why)), -ENOENT);
    assert_string_equal(seen_from(s, "10.9.0.7", "192.0.2.2", false), "10.9.0.7");
    close(s);
}

static void two_tables_side_by_side(void **state)
{
    struct nft_nat second = nat;

    (void)state;
    NEEDS_BENCH();
    second = nat;
    second.table = "mqvpn-mq1";
    second.tun_name = "mq1";
    set_nat(NULL);
    assert_int_equal(nft_nat_set(nf, &second, NULL, why, sizeof(why)), 0);
    assert_true(fw_table_exists("mqvpn-mq0"));
    assert_true(fw_table_exists("mqvpn-mq1"));
    assert_int_equal(nft_table_del(nf, "mqvpn-mq1", why, sizeof(why)), 0);
    assert_true(fw_table_exists("mqvpn-mq0"));
}

static void bad_input_is_refused(void **state)
{
    struct tun_prefix many[NFT_POOLS_MAX + 1], none = {0}, wild = {.len = 33};
    char name[NFT_NAME_SIZE + 1];

    (void)state;
    NEEDS_BENCH();
    for (size_t i = 0; i <= NFT_POOLS_MAX; i++)
        many[i] = pools[i % 2];
    memset(name, 'x', sizeof(name));
    name[NFT_NAME_SIZE] = '\0';
    wild.addr.family = AF_INET;

    nat.n_pools = 0;
    assert_int_equal(nft_nat_set(nf, &nat, NULL, why, sizeof(why)), -EINVAL);
    nat.pools = many;
    nat.n_pools = NFT_POOLS_MAX + 1;
    assert_int_equal(nft_nat_set(nf, &nat, NULL, why, sizeof(why)), -EINVAL);
    nat.n_pools = NFT_POOLS_MAX;
    assert_int_equal(nft_nat_set(nf, &nat, NULL, why, sizeof(why)), 0);
    nat.n_pools = 1;
    nat.pools = &none;
    assert_int_equal(nft_nat_set(nf, &nat, NULL, why, sizeof(why)), -EINVAL);
    nat.pools = &wild;
    assert_int_equal(nft_nat_set(nf, &nat, NULL, why, sizeof(why)), -EINVAL);
    nat.pools = pools;
    nat.table = "";
    assert_int_equal(nft_nat_set(nf, &nat, NULL, why, sizeof(why)), -EINVAL);
    nat.table = name;
    assert_int_equal(nft_nat_set(nf, &nat, NULL, why, sizeof(why)), -EINVAL);
    assert_int_equal(nft_table_del(nf, name, why, sizeof(why)), -EINVAL);
    nat.table = "mqvpn-mq0";
    nat.tun_name = "x y";
    assert_int_equal(nft_nat_set(nf, &nat, NULL, why, sizeof(why)), -EINVAL);
    assert_true(fw_table_exists("mqvpn-mq0")); /* the one that was right */
}

static void no_privilege(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    NEEDS_BENCH();
    pid = fork();
    if (pid == 0) {
        struct nft *own;
        char text[WHY_SIZE] = "";

        if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
            _exit(77);
        if (nft_new(&own, text, sizeof(text)))
            _exit(1);
        if (nft_nat_set(own, &nat, NULL, text, sizeof(text)) != -EPERM)
            _exit(2);
        _exit(strstr(text, "root") ? 0 : 3);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- who drops forwards ---- */

static void finds_drop_policies(void **state)
{
    struct nft_drop d[4];

    (void)state;
    NEEDS_BENCH();
    assert_int_equal(nft_forward_drops(nf, "mq0", d, 4, why, sizeof(why)), 0);
    set_nat(NULL); /* our own is none */
    assert_int_equal(fw_forward(NFPROTO_INET, "fine", "f", NF_ACCEPT, NULL), 0);
    assert_int_equal(nft_forward_drops(nf, "mq0", d, 4, why, sizeof(why)), 0);

    assert_int_equal(fw_forward(NFPROTO_IPV4, "filter", "FORWARD", NF_DROP, NULL), 0);
    assert_int_equal(fw_forward(NFPROTO_INET, "firewall", "fwd", NF_DROP, "mq0"), 0);
    assert_int_equal(fw_forward(NFPROTO_IPV6, "other", "fwd", NF_DROP, "mq01"), 0);
    assert_int_equal(nft_forward_drops(nf, "mq0", d, 4, why, sizeof(why)), 3);
    assert_int_equal(nft_forward_drops(nf, "mq0", NULL, 0, why, sizeof(why)), 3);
    for (int i = 0; i < 3; i++) {
        assert_false(d[i].legacy);
        if (d[i].family == NFPROTO_IPV4) {
            assert_string_equal(d[i].table, "filter");
            assert_string_equal(d[i].chain, "FORWARD");
            assert_false(d[i].named);
        } else if (d[i].family == NFPROTO_INET) {
            assert_string_equal(d[i].table, "firewall");
            assert_true(d[i].named);
        } else {
            assert_string_equal(d[i].table, "other");
            assert_false(d[i].named);
        }
    }
}

/* The old interface: read all entries, set the forward policy, write them back. */
static bool legacy_policy_drop(void)
{
    struct ipt_getinfo info = {.name = "filter"};
    socklen_t len = sizeof(info);
    struct ipt_get_entries *e;
    struct ipt_replace *rep;
    struct xt_standard_target *t;
    int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
    bool ok = fd >= 0 && !getsockopt(fd, SOL_IP, IPT_SO_GET_INFO, &info, &len);

    if (!ok) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    len = (socklen_t)(sizeof(*e) + info.size);
    e = calloc(1, len);
    rep = calloc(1, sizeof(*rep) + info.size);
    strcpy(e->name, "filter");
    e->size = info.size;
    ok = !getsockopt(fd, SOL_IP, IPT_SO_GET_ENTRIES, e, &len);
    t = (void *)((char *)e->entrytable + info.underflow[NF_INET_FORWARD] +
                 sizeof(struct ipt_entry));
    t->verdict = -NF_DROP - 1;
    strcpy(rep->name, "filter");
    rep->valid_hooks = info.valid_hooks;
    rep->num_entries = rep->num_counters = info.num_entries;
    rep->size = info.size;
    memcpy(rep->hook_entry, info.hook_entry, sizeof(rep->hook_entry));
    memcpy(rep->underflow, info.underflow, sizeof(rep->underflow));
    rep->counters = calloc(info.num_entries, sizeof(*rep->counters));
    memcpy(rep->entries, e->entrytable, info.size);
    ok = ok && !setsockopt(fd, SOL_IP, IPT_SO_SET_REPLACE, rep,
                           (socklen_t)(sizeof(*rep) + info.size));
    free(rep->counters);
    free(rep);
    free(e);
    close(fd);
    return ok;
}

static void finds_legacy_drop_policy(void **state)
{
    struct nft_drop d[4];
    bool named = true;

    (void)state;
    NEEDS_BENCH();
    assert_false(xtables_forward_drop(AF_INET, "mq0", &named));
    assert_false(named);
    if (!legacy_policy_drop()) {
        print_message("no iptables-legacy in this kernel\n");
        skip();
    }
    assert_true(xtables_forward_drop(AF_INET, "mq0", &named));
    assert_false(named);
    assert_false(xtables_forward_drop(AF_INET6, "mq0", &named));
    assert_int_equal(nft_forward_drops(nf, "mq0", d, 4, why, sizeof(why)), 1);
    assert_true(d[0].legacy);
    assert_int_equal(d[0].family, NFPROTO_IPV4);
    assert_string_equal(d[0].chain, "FORWARD");
}

#define BENCH_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(masquerades_ipv4),
        BENCH_TEST(masquerades_ipv6),
        BENCH_TEST(clamps_the_segment_size),
        BENCH_TEST(owned_table_dies_with_the_socket),
        BENCH_TEST(owned_table_dies_by_sigkill),
        BENCH_TEST(unowned_table_stays_until_removed),
        BENCH_TEST(two_tables_side_by_side),
        BENCH_TEST(bad_input_is_refused),
        BENCH_TEST(no_privilege),
        BENCH_TEST(finds_drop_policies),
        BENCH_TEST(finds_legacy_drop_policy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
