#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "test/tun_ns.h"
#include "tun/netcfg.h"
#include "tun/tun.h"
#include "tun/vnet.h"

#define VNET sizeof(struct vnet_hdr)

static bool tun_here;

static int enter(void **state)
{
    (void)state;
    tun_here = ns_enter() && access("/dev/net/tun", R_OK | W_OK) == 0;
    return 0;
}

#define NEEDS_TUN()                                                                            \
    do {                                                                                       \
        if (!tun_here)                                                                         \
            skip();                                                                            \
    } while (0)

static void names(void **state)
{
    /* clang-format off */
    static const struct {
        const char *name;
        bool pattern;
        int rc;
    } rows[] = {
        {"mqvpn0", false, 0},
        {"a", false, 0},
        {"abcdefghijklmno", false, 0},
        {"tun.7_x-y", false, 0},
        {"mqvpn%d", true, 0},
        {"mqvpn%d", false, -EINVAL},
        {"m%dq%d", true, -EINVAL},
        {"m%s", true, -EINVAL},
        {"m%", true, -EINVAL},
        {"abcdefghijklmnop", false, -ENAMETOOLONG},
        {"abcdefghijklm%d0", true, -ENAMETOOLONG},
        {"", false, -EINVAL},
        {".", false, -EINVAL},
        {"..", false, -EINVAL},
        {"a b", false, -EINVAL},
        {"a/b", false, -EINVAL},
        {"a:1", false, -EINVAL},
        {"a\n", false, -EINVAL},
        {"t\xc3\xa4", false, -EINVAL},
        {"\"; flush", false, -EINVAL},
    };
    /* clang-format on */

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char why[WHY_SIZE] = "";

        assert_int_equal(tun_name_check(rows[i].name, rows[i].pattern, why, sizeof(why)),
                         rows[i].rc);
        assert_int_equal(why[0] != '\0', rows[i].rc != 0);
    }
    assert_int_equal(tun_name_check("", false, NULL, 0), -EINVAL);
}

static void bad_input_is_refused(void **state)
{
    /* clang-format off */
    static const struct {
        const char *name;
        unsigned mtu;
        int rc;
        const char *says;
    } rows[] = {
        {"x y",                1400,  -EINVAL,       "letters"},
        {"abcdefghijklmnop",   1400,  -ENAMETOOLONG, "too long"},
        {"mq0",                1279,  -ERANGE,       "1280"},
        {"mq0",                0,     -ERANGE,       "1280"},
        {"mq0",                65536, -ERANGE,       "65535"},
        {"lo",                 1400,  -EBUSY,        "--tun-name"},
    };
    /* clang-format on */

    (void)state;
    NEEDS_TUN();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct tun_cfg cfg = {.name = rows[i].name, .mtu_bytes = rows[i].mtu};
        char why[WHY_SIZE] = "";
        struct tun t;

        assert_int_equal(tun_open(&t, &cfg, why, sizeof(why)), rows[i].rc);
        assert_non_null(strstr(why, rows[i].says));
        assert_int_equal(t.fd, -1);
        assert_int_equal(if_nametoindex("mq0"), 0);
    }
}

static void opens_and_leaves_nothing(void **state)
{
    struct tun_cfg cfg = {.name = "mq7", .mtu_bytes = 1350};
    char why[WHY_SIZE] = "", *before, *after;
    struct netcfg_link link[8];
    struct netcfg *nc;
    struct tun t;
    int n;

    (void)state;
    NEEDS_TUN();
    before = ns_dump();
    assert_int_equal(netcfg_new(&nc, NULL, why, sizeof(why)), 0);
    assert_int_equal(tun_open(&t, &cfg, why, sizeof(why)), 0);
    assert_string_equal(t.name, "mq7");
    assert_int_equal(t.ifindex, if_nametoindex("mq7"));
    assert_true(fcntl(t.fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(t.fd, F_GETFD) & FD_CLOEXEC);

    n = netcfg_links(nc, link, ARRAY_LEN(link), why, sizeof(why));
    assert_int_equal(n, 2);
    assert_string_equal(link[1].name, "mq7");
    assert_int_equal(link[1].mtu_bytes, 1350);
    assert_false(link[1].flags & IFF_UP);

    assert_int_equal(tun_up(&t, why, sizeof(why)), 0);
    assert_int_equal(tun_up(&t, why, sizeof(why)), 0);
    assert_int_equal(tun_mtu_set(&t, 1280, why, sizeof(why)), 0);
    assert_int_equal(tun_mtu_set(&t, 1279, why, sizeof(why)), -ERANGE);
    assert_int_equal(t.mtu_bytes, 1280);
    n = netcfg_links(nc, link, ARRAY_LEN(link), why, sizeof(why));
    assert_true(link[1].flags & IFF_UP);
    assert_int_equal(link[1].mtu_bytes, 1280);

    tun_close(&t);
    tun_close(&t);
    netcfg_del(nc);
    after = ns_dump();
    assert_string_equal(before, after);
    free(before);
    free(after);
}

static void pattern_and_taken_names(void **state)
{
    struct tun_cfg cfg = {.mtu_bytes = 1400}, named = {.name = "mqvpn0", .mtu_bytes = 1400};
    char why[WHY_SIZE] = "";
    struct tun a, b, c;

    (void)state;
    NEEDS_TUN();
    assert_int_equal(tun_open(&a, &cfg, why, sizeof(why)), 0);
    assert_string_equal(a.name, "mqvpn0");
    cfg.name = "";
    assert_int_equal(tun_open(&b, &cfg, why, sizeof(why)), 0);
    assert_string_equal(b.name, "mqvpn1");
    assert_int_equal(tun_open(&c, &named, why, sizeof(why)), -EBUSY);
    assert_non_null(strstr(why, "'mqvpn0' exists already"));
    tun_close(&a);
    assert_int_equal(tun_open(&c, &named, why, sizeof(why)), 0);
    tun_close(&b);
    tun_close(&c);
}

/* 10.9.0.0/24 on the device: what is sent to .2 comes out, what goes in to .1 arrives. */
static void carries_packets(void **state)
{
    struct tun_cfg cfg = {.name = "mq0", .mtu_bytes = 1400};
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(7777)}, from;
    char why[WHY_SIZE] = "", got[32];
    socklen_t len = sizeof(from);
    struct tun_prefix addr;
    struct netcfg *nc;
    uint8_t pkt[2048];
    struct tun t;
    int s;

    (void)state;
    NEEDS_TUN();
    assert_int_equal(tun_open(&t, &cfg, why, sizeof(why)), 0);
    assert_int_equal(netcfg_new(&nc, NULL, why, sizeof(why)), 0);
    assert_int_equal(tun_prefix_parse("10.9.0.1/24", &addr), 0);
    assert_int_equal(netcfg_addr_add(nc, t.ifindex, &addr, NULL, why, sizeof(why)), 0);
    assert_int_equal(netcfg_link_plain(nc, t.ifindex, why, sizeof(why)), 0);
    assert_int_equal(tun_write(&t, "E", 1), -EIO); /* down */
    assert_int_equal(tun_up(&t, why, sizeof(why)), 0);
    assert_int_equal(tun_read(&t, pkt, sizeof(pkt)), 0); /* nothing: no router solicitation */

    s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    inet_pton(AF_INET, "10.9.0.1", &sin.sin_addr);
    assert_int_equal(bind(s, (struct sockaddr *)&sin, sizeof(sin)), 0);
    inet_pton(AF_INET, "10.9.0.2", &sin.sin_addr);
    assert_int_equal(sendto(s, "ping", 4, 0, (struct sockaddr *)&sin, sizeof(sin)), 4);
    assert_int_equal(tun_read(&t, pkt, sizeof(pkt)), 32);
    assert_int_equal(pkt[0], 0x45);
    assert_memory_equal(pkt + 28, "ping", 4);
    assert_int_equal(tun_read(&t, pkt, sizeof(pkt)), 0);

    /* Swapped addresses leave both checksums right. */
    for (int i = 0; i < 4; i++) {
        uint8_t x = pkt[12 + i];

        pkt[12 + i] = pkt[16 + i];
        pkt[16 + i] = x;
    }
    assert_int_equal(tun_write(&t, pkt, 32), 0);
    assert_int_equal(recvfrom(s, got, sizeof(got), 0, (struct sockaddr *)&from, &len), 4);
    assert_memory_equal(got, "ping", 4);
    assert_int_equal(from.sin_addr.s_addr, sin.sin_addr.s_addr);

    assert_int_equal(tun_write(&t, "\x99no packet", 10), -EINVAL);
    assert_int_equal(ns_unlink("mq0"), 0);
    assert_int_equal(tun_read(&t, pkt, sizeof(pkt)), -EBADFD);
    assert_int_equal(tun_write(&t, pkt, 32), -EBADFD);
    assert_int_equal(tun_up(&t, why, sizeof(why)), -ENODEV);
    close(s);
    netcfg_del(nc);
    tun_close(&t);
}

static void virtio_header(void **state)
{
    struct tun_cfg cfg = {.name = "mq0", .mtu_bytes = 1400, .vnet = true};
    struct tun_cfg bare = {.name = "mq1", .mtu_bytes = 1400};
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(7777)};
    char why[WHY_SIZE] = "";
    struct tun_prefix addr;
    struct netcfg *nc;
    uint8_t pkt[2048];
    struct tun t, u;
    int s;

    (void)state;
    NEEDS_TUN();
    assert_int_equal(tun_open(&t, &cfg, why, sizeof(why)), 0);
    assert_int_equal(tun_open(&u, &bare, why, sizeof(why)), 0);
    assert_true(t.vnet && !u.vnet);
    assert_int_equal(u.offload, TUN_OFFLOAD_NONE);
    assert_string_equal(tun_offload_text(&u), "no offloads");
    assert_int_equal(tun_read_max(&u), 1400);
    assert_int_equal(tun_offload_set(&u, TUN_OFFLOAD_CSUM, why, sizeof(why)), -EINVAL);
    assert_int_equal(tun_offload_set(&t, TUN_OFFLOAD_CSUM, why, sizeof(why)), 0);
    assert_int_equal(t.offload, TUN_OFFLOAD_CSUM);
    assert_int_equal(tun_read_max(&t), 1400 + VNET);
    assert_int_equal(tun_offload_set(&t, TUN_OFFLOAD_TSO, why, sizeof(why)), 0);
    assert_int_equal(tun_read_max(&t), VNET_READ_MAX);
    assert_int_equal(tun_offload_set(&t, TUN_OFFLOAD_NONE, why, sizeof(why)), 0);
    assert_int_equal(t.offload, TUN_OFFLOAD_NONE);

    assert_int_equal(netcfg_new(&nc, NULL, why, sizeof(why)), 0);
    tun_prefix_parse("10.9.0.1/24", &addr);
    assert_int_equal(netcfg_addr_add(nc, t.ifindex, &addr, NULL, why, sizeof(why)), 0);
    assert_int_equal(netcfg_link_plain(nc, t.ifindex, why, sizeof(why)), 0);
    assert_int_equal(tun_up(&t, why, sizeof(why)), 0);
    s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    inet_pton(AF_INET, "10.9.0.2", &sin.sin_addr);
    assert_int_equal(sendto(s, "ping", 4, 0, (struct sockaddr *)&sin, sizeof(sin)), 4);
    assert_int_equal(tun_read(&t, pkt, sizeof(pkt)), VNET + 32);
    assert_int_equal(pkt[VNET], 0x45);
    close(s);
    netcfg_del(nc);
    tun_close(&t);
    tun_close(&u);
}

/* Without CAP_NET_ADMIN over the namespace. */
static void no_privilege(void **state)
{
    struct tun_cfg cfg = {.name = "mq0", .mtu_bytes = 1400};
    int status;
    pid_t pid;

    (void)state;
    NEEDS_TUN();
    pid = fork();
    if (pid == 0) {
        char why[WHY_SIZE] = "";
        struct tun t;
        int rc;

        if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
            _exit(77);
        rc = tun_open(&t, &cfg, why, sizeof(why));
        _exit(rc == -EPERM && strstr(why, "root") && t.fd == -1 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* A killed process leaves neither device nor addresses nor routes. */
static void killed_process_leaves_nothing(void **state)
{
    char *before, *during, *after;
    int ready[2], status;
    pid_t pid;
    char c;

    (void)state;
    NEEDS_TUN();
    before = ns_dump();
    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        struct tun_cfg cfg = {.name = "mq0", .mtu_bytes = 1400};
        struct tun_prefix addr[2],
            all[2] = {{.addr.family = AF_INET}, {.addr.family = AF_INET6}};
        struct netcfg *nc;
        struct tun t;
        bool ok;

        tun_prefix_parse("10.9.0.1/24", &addr[0]);
        tun_prefix_parse("fd00:9::1/64", &addr[1]);
        ok = !tun_open(&t, &cfg, NULL, 0) && !netcfg_new(&nc, NULL, NULL, 0) &&
             !netcfg_addr_add(nc, t.ifindex, &addr[0], NULL, NULL, 0) &&
             !netcfg_addr_add(nc, t.ifindex, &addr[1], NULL, NULL, 0) && !tun_up(&t, NULL, 0) &&
             !netcfg_route_via_tun(nc, t.ifindex, all, 2, NULL, 0);
        if (write(ready[1], ok ? "y" : "n", 1) == 1)
            pause();
        _exit(1);
    }
    assert_int_equal(read(ready[0], &c, 1), 1);
    during = ns_dump();
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    after = ns_dump();
    assert_int_equal(c, 'y');
    assert_string_not_equal(before, during);
    assert_string_equal(before, after);
    free(before);
    free(during);
    free(after);
    close(ready[0]);
    close(ready[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test_setup(bad_input_is_refused, enter),
        cmocka_unit_test_setup(opens_and_leaves_nothing, enter),
        cmocka_unit_test_setup(pattern_and_taken_names, enter),
        cmocka_unit_test_setup(carries_packets, enter),
        cmocka_unit_test_setup(virtio_header, enter),
        cmocka_unit_test_setup(no_privilege, enter),
        cmocka_unit_test_setup(killed_process_leaves_nothing, enter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
