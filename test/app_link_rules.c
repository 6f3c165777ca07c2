/* link_rules: which interfaces are links, in what order. Tables; no kernel is asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "app/link_rules.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define WAY .reaches = true
#define DEF .reaches = true, .default_route = true

struct row {
    const char *what;
    const char *paths[3], *no_paths[2], *links[3];
    struct link_seen seen[6];
    const char *links_are; /* names and families, in order */
};

static const struct row rows[] = {
    {.what = "nothing at all", .links_are = ""},
    {.what = "the one with a default route",
     .seen = {{.name = "eth0", DEF, .answer = true}, {.name = "eth1", WAY}},
     .links_are = "eth0/4"},
    {.what = "every one with a default route, the routing table's choice first",
     .seen = {{.name = "wlan0", DEF, .metric = 600},
              {.name = "wwan0", DEF, .metric = 50},
              {.name = "eth0", DEF, .metric = 100, .answer = true}},
     .links_are = "eth0/4 wwan0/4 wlan0/4"},
    {.what = "a default route that leads nowhere",
     .seen = {{.name = "eth0", .default_route = true, .answer = true}},
     .links_are = ""},
    {.what = "the routing table's choice without a default route",
     .seen = {{.name = "eth1", WAY, .answer = true}, {.name = "eth0", DEF}},
     .links_are = "eth1/4 eth0/4"},
    {.what = "two families of one interface",
     .seen = {{.name = "eth0", DEF, .answer = true, .metric = 100},
              {.name = "eth0", .family = AF_INET6, DEF, .answer = true, .metric = 1024}},
     .links_are = "eth0/4 eth0/6"},
    {.what = "containers are left out",
     .seen = {{.name = "docker0", DEF},
              {.name = "veth12ab", DEF, .answer = true},
              {.name = "br-0123456789ab", DEF},
              {.name = "br-lan", DEF}},
     .links_are = "br-lan/4"},
    {.what = "unless there is nothing else",
     .seen = {{.name = "veth1", DEF, .answer = true}, {.name = "eth0", WAY}},
     .links_are = "veth1/4"},
    {.what = "or they are named",
     .paths = {"veth*", "eth0"},
     .seen = {{.name = "eth0", DEF, .answer = true}, {.name = "veth1", WAY}},
     .links_are = "veth1/4 eth0/4"},
    {.what = "loopback only where the server is on this machine",
     .seen = {{.name = "lo", DEF, .loopback = true}, {.name = "eth0", DEF}},
     .links_are = "eth0/4"},
    {.what = "loopback by the routing table",
     .seen = {{.name = "lo", WAY, .loopback = true, .answer = true}},
     .links_are = "lo/4"},
    {.what = "names need no default route, but a way",
     .paths = {"eth1", "eth2"},
     .seen = {{.name = "eth0", DEF, .answer = true}, {.name = "eth1", WAY}, {.name = "eth2"}},
     .links_are = "eth1/4"},
    {.what = "names in their order, whatever the routing table says",
     .paths = {"wlan*", "eth0"},
     .seen = {{.name = "eth0", DEF, .answer = true},
              {.name = "wlan1", DEF, .metric = 700},
              {.name = "wlan0", DEF, .metric = 600}},
     .links_are = "wlan0/4 wlan1/4 eth0/4"},
    {.what = "names that none has",
     .paths = {"nosuch0"},
     .seen = {{.name = "eth0", DEF, .answer = true}},
     .links_are = ""},
    {.what = "not that one",
     .no_paths = {"wlan?"},
     .seen = {{.name = "eth0", DEF}, {.name = "wlan0", DEF, .answer = true}},
     .links_are = "eth0/4"},
    {.what = "--no-path wins over --path",
     .paths = {"*"},
     .no_paths = {"eth1"},
     .seen = {{.name = "eth0", DEF}, {.name = "eth1", DEF}},
     .links_are = "eth0/4"},
    {.what = "priority before everything else",
     .links = {"eth0=backup", "wlan*=secondary"},
     .seen = {{.name = "eth0", DEF, .answer = true},
              {.name = "wlan0", DEF, .metric = 1},
              {.name = "wwan0", DEF, .metric = 9}},
     .links_are = "wwan0/4 wlan0/4 eth0/4"},
    {.what = "never",
     .links = {"eth0=never"},
     .seen = {{.name = "eth0", DEF, .answer = true}},
     .links_are = ""},
    {.what = "the first rule that matches counts",
     .links = {"eth1=primary", "eth*=never"},
     .seen = {{.name = "eth0", DEF, .answer = true}, {.name = "eth1", DEF}},
     .links_are = "eth1/4"},
};

static size_t length(const char *const *list, size_t max)
{
    size_t n = 0;

    while (n < max && list[n])
        n++;
    return n;
}

static void test_decide(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *t = &rows[i];
        struct link_rules rules = {
            .paths = (char *const *)(const void *)t->paths,
            .n_paths = length(t->paths, ARRAY_LEN(t->paths)),
            .no_paths = (char *const *)(const void *)t->no_paths,
            .n_no_paths = length(t->no_paths, ARRAY_LEN(t->no_paths)),
            .links = (char *const *)(const void *)t->links,
            .n_links = length(t->links, ARRAY_LEN(t->links)),
        };
        struct link_seen seen[6];
        struct link out[LINKS_MAX];
        char text[256] = "";
        size_t n = 0, got;

        for (; n < 6 && t->seen[n].name[0]; n++) {
            seen[n] = t->seen[n];
            seen[n].ifindex = (int)n + 2;
            if (!seen[n].family)
                seen[n].family = AF_INET;
        }
        got = link_rules_decide(&rules, seen, n, out, LINKS_MAX);
        for (size_t k = 0; k < got; k++) {
            size_t at = strlen(text);
            snprintf(text + at, sizeof(text) - at, "%s%s/%d", k ? " " : "", out[k].name,
                     out[k].family == AF_INET6 ? 6 : 4);
        }
        if (strcmp(text, t->links_are) != 0)
            fail_msg("%s: \"%s\" instead of \"%s\"", t->what, text, t->links_are);
    }
}

/* More than there is room for: the best are kept, in order. */
static void test_many(void **state)
{
    struct link_rules none = {0};
    struct link_seen seen[40];
    struct link out[LINKS_MAX + 1];

    (void)state;
    for (size_t i = 0; i < 40; i++) {
        seen[i] = (struct link_seen){
            .ifindex = (int)i + 1, .family = AF_INET, DEF, .metric = (uint32_t)(i * 17 % 40)};
        snprintf(seen[i].name, sizeof(seen[i].name), "if%zu", i);
    }
    memset(out, 0x5a, sizeof(out));
    assert_int_equal(link_rules_decide(&none, seen, 40, out, 3), 3);
    for (uint32_t k = 0; k < 3; k++)
        assert_int_equal((out[k].ifindex - 1) * 17 % 40, k);
    assert_int_equal(out[3].ifindex, 0x5a5a5a5a);
    assert_int_equal(link_rules_decide(&none, seen, 40, out, 40), LINKS_MAX);
    for (uint32_t k = 0; k < LINKS_MAX; k++)
        assert_int_equal((out[k].ifindex - 1) * 17 % 40, k);
    assert_int_equal(out[LINKS_MAX].ifindex, 0x5a5a5a5a);
    assert_int_equal(link_rules_decide(&none, seen, 40, out, 0), 0);
}

static void test_parse(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        enum link_priority priority;
        uint64_t rate_bps;
    } t[] = {
        {"eth0=primary", true, LINK_PRIMARY, 0},
        {"wlan*=secondary", true, LINK_SECONDARY, 0},
        {"wwan[0-3]=backup", true, LINK_BACKUP, 0},
        {"*=never", true, LINK_NEVER, 0},
        {"a=b=never", true, LINK_NEVER, 0},
        {"eth0=20mbit", true, LINK_PRIMARY, 20000000},
        {"eth0=backup:500kbit", true, LINK_BACKUP, 500000},
        {"eth0=1gbit:secondary", true, LINK_SECONDARY, 1000000000},
        {"eth0=64kbit", true, LINK_PRIMARY, 64000},
        {"eth0=all", true, LINK_PRIMARY, 0},
        {"eth0=5mbit:all:backup", true, LINK_BACKUP, 5000000},
        {"eth0=all:all", false, 0, 0},
        {"eth0=metered", true, LINK_BACKUP, 0},
        {"eth0=metered:secondary", false, 0, 0},
        {"eth0=0gb", false, 0, 0},
        {"eth0=10gb:5mb", false, 0, 0},
        {"eth0=10GB", false, 0, 0},
        {"eth0=63kbit", false, 0, 0},
        {"eth0=0mbit", false, 0, 0},
        {"eth0=1000gbit", true, LINK_PRIMARY, 1000000000000},
        {"eth0=1001gbit", false, 0, 0},
        {"eth0=999999999gbit", false, 0, 0},
        {"eth0=1000000000kbit", false, 0, 0},
        {"eth0=mbit", false, 0, 0},
        {"eth0=20", false, 0, 0},
        {"eth0=20 mbit", false, 0, 0},
        {"eth0=-20mbit", false, 0, 0},
        {"eth0=20mbits", false, 0, 0},
        {"eth0=backup:", false, 0, 0},
        {"eth0=:backup", false, 0, 0},
        {"eth0=backup:backup", false, 0, 0},
        {"eth0=1mbit:2mbit", false, 0, 0},
        {"eth0=backup:1mbit:2mbit", false, 0, 0},
        {"", false, 0, 0},
        {"=backup", false, 0, 0},
        {"eth0", false, 0, 0},
        {"eth0=", false, 0, 0},
        {"eth0=backups", false, 0, 0},
        {"0123456789012345678901234567890123456789012345678901234567890123=never", false, 0, 0},
    };
    struct link_terms p;
    char pattern[64];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        assert_int_equal(link_rule_parse(t[i].text, pattern, &p), t[i].ok);
        if (!t[i].ok)
            continue;
        assert_int_equal(p.priority, t[i].priority);
        assert_int_equal(p.rate_bps, t[i].rate_bps);
        assert_int_equal(p.all, strstr(t[i].text, "all") != NULL);
    }
    assert_true(link_rule_parse("a=b=never", pattern, &p));
    assert_string_equal(pattern, "a=b");
    assert_true(link_rule_parse("wwan0=10gb", pattern, &p));
    assert_true(p.priority == LINK_BACKUP && p.month_bytes == 10000000000);
    assert_true(link_rule_parse("wwan0=500mb:secondary:5mbit", pattern, &p));
    assert_true(p.priority == LINK_SECONDARY && p.month_bytes == 500000000 && p.rate_bps == 5000000);
    assert_true(link_rule_parse("wwan0=metered:2tb", pattern, &p));
    assert_true(p.priority == LINK_BACKUP && p.month_bytes == 2000000000000);
}

static uint64_t used_of(void *ctx, const char *name)
{
    return strcmp(name, ctx) == 0 ? 1000000 : 999999;
}

/* A link whose month is used up is none. */
static void test_month(void **state)
{
    const char *links[] = {"eth*=1mb", "*=primary"};
    struct link_rules rules = {.links = (char *const *)(const void *)links, .n_links = 2};
    struct link_seen seen[] = {
        {.name = "wlan0", .ifindex = 2, .family = AF_INET, DEF},
        {.name = "eth1", .ifindex = 3, .family = AF_INET, DEF},
        {.name = "eth0", .ifindex = 4, .family = AF_INET, DEF},
    };
    struct link out[3];
    char name[] = "eth0";

    (void)state;
    assert_true(link_rules_metered(&rules));
    assert_int_equal(link_rules_decide(&rules, seen, 3, out, 3), 3); /* nobody counts */
    rules.used = used_of;
    rules.used_ctx = name;
    assert_int_equal(link_rules_decide(&rules, seen, 3, out, 3), 2);
    assert_string_equal(out[0].name, "wlan0");
    assert_string_equal(out[1].name, "eth1");
    assert_int_equal(out[1].month_bytes, 1000000);
    assert_true(link_rules_spent(&rules, "eth0"));
    assert_false(link_rules_spent(&rules, "eth1"));
    assert_false(link_rules_spent(&rules, "wlan0"));
    rules.n_links = 0;
    assert_false(link_rules_metered(&rules));
}

/* A link has the terms of the first rule that matches, all of them. */
static void test_terms(void **state)
{
    const char *links[] = {"eth0=20mbit", "eth*=backup:5mbit", "*=secondary"};
    struct link_rules rules = {.links = (char *const *)(const void *)links, .n_links = 3};
    struct link_seen seen[] = {
        {.name = "wlan0", .ifindex = 2, .family = AF_INET, DEF},
        {.name = "eth1", .ifindex = 3, .family = AF_INET, DEF},
        {.name = "eth0", .ifindex = 4, .family = AF_INET, DEF},
    };
    struct link out[3];

    (void)state;
    assert_int_equal(link_rules_decide(&rules, seen, 3, out, 3), 3);
    assert_string_equal(out[0].name, "eth0");
    assert_int_equal(out[0].rate_bps, 20000000);
    assert_string_equal(out[1].name, "wlan0");
    assert_int_equal(out[1].rate_bps, 0);
    assert_string_equal(out[2].name, "eth1");
    assert_int_equal(out[2].rate_bps, 5000000);
    assert_int_equal(out[2].priority, LINK_BACKUP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decide),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_terms),
        cmocka_unit_test(test_month),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
