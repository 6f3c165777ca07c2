#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tun/addr.h"

/* clang-format off */
static const struct {
    const char *text;
    const char *prefix;  /* as written back; NULL: refused */
    const char *network;
} prefixes[] = {
    {"10.0.0.1/24",                 "10.0.0.1/24",            "10.0.0.0/24"},
    {"10.0.0.1",                    "10.0.0.1/32",            "10.0.0.1/32"},
    {"0.0.0.0/0",                   "0.0.0.0/0",              "0.0.0.0/0"},
    {"255.255.255.255/1",           "255.255.255.255/1",      "128.0.0.0/1"},
    {"192.0.2.129/31",              "192.0.2.129/31",         "192.0.2.128/31"},
    {"2001:db8::1/32",              "2001:db8::1/32",         "2001:db8::/32"},
    {"2001:DB8:0:0::1",             "2001:db8::1/128",        "2001:db8::1/128"},
    {"::/0",                        "::/0",                   "::/0"},
    {"ffff::ffff/7",                "ffff::ffff/7",           "fe00::/7"},
    {"::ffff:192.0.2.1/97",         "::ffff:192.0.2.1/97",    "::ffff:128.0.0.0/97"},
    {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"},
    {"", NULL, NULL},
    {"/24", NULL, NULL},
    {"10.0.0.1/", NULL, NULL},
    {"10.0.0.1/33", NULL, NULL},
    {"10.0.0.1/-1", NULL, NULL},
    {"10.0.0.1/+8", NULL, NULL},
    {"10.0.0.1/08", NULL, NULL},
    {"10.0.0.1/ 8", NULL, NULL},
    {"10.0.0.1/8 ", NULL, NULL},
    {"10.0.0.1/8/8", NULL, NULL},
    {"10.0.0.1/4294967304", NULL, NULL},
    {"10.0.0/24", NULL, NULL},
    {"10.0.0.256/24", NULL, NULL},
    {"010.0.0.1/24", NULL, NULL},
    {"::/129", NULL, NULL},
    {"fe80::1%eth0/64", NULL, NULL},
    {"example/24", NULL, NULL},
    {"1111111111111111111111111111111111111111111111111111111111/8", NULL, NULL},
};
/* clang-format on */

static void parses_and_prints(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        struct tun_prefix p = {.len = 99}, net;
        char text[TUN_PREFIX_TEXT];
        int rc = tun_prefix_parse(prefixes[i].text, &p);

        if (!prefixes[i].prefix) {
            assert_int_equal(rc, -EINVAL);
            assert_int_equal(p.len, 99);
            continue;
        }
        assert_int_equal(rc, 0);
        assert_string_equal(tun_prefix_text(&p, text), prefixes[i].prefix);
        net = tun_prefix_network(&p);
        assert_string_equal(tun_prefix_text(&net, text), prefixes[i].network);
    }
}

static void none_prints(void **state)
{
    struct tun_prefix p = {0};
    char text[TUN_PREFIX_TEXT];

    (void)state;
    assert_string_equal(tun_prefix_text(&p, text), "none");
    assert_string_equal(tun_addr_text(&p.addr, text), "none");
}

/* Bit by bit. */
static bool naive_contains(const struct tun_prefix *p, const struct tun_addr *a)
{
    if (p->addr.family != a->family)
        return false;
    for (unsigned bit = 0; bit < p->len; bit++) {
        unsigned x = p->addr.ip[bit / 8] >> (7 - bit % 8) & 1;
        unsigned y = a->ip[bit / 8] >> (7 - bit % 8) & 1;

        if (x != y)
            return false;
    }
    return true;
}

static void contains_as_the_oracle_says(void **state)
{
    unsigned inside = 0;

    (void)state;
    srand(7);
    for (unsigned i = 0; i < 20000; i++) {
        sa_family_t family = i & 1 ? AF_INET : AF_INET6;
        struct tun_addr a = {.family = i % 7 ? family : AF_INET};
        struct tun_prefix p = {.addr.family = family}, net;
        size_t size = tun_addr_size(family);

        for (size_t j = 0; j < size; j++)
            p.addr.ip[j] = a.ip[j] = (uint8_t)rand();
        p.len = (uint8_t)(rand() % (int)(8 * size + 1));
        if (i % 3) /* flip one bit, anywhere */
            a.ip[rand() % (int)size] ^= (uint8_t)(1 << (rand() % 8));
        assert_int_equal(tun_prefix_contains(&p, &a), naive_contains(&p, &a));
        inside += naive_contains(&p, &a);
        net = tun_prefix_network(&p);
        assert_true(tun_prefix_contains(&net, &p.addr));
        assert_true(tun_prefix_contains(&p, &net.addr));
    }
    assert_in_range(inside, 1000, 19000);
}

static void equality(void **state)
{
    struct tun_prefix a, b;

    (void)state;
    tun_prefix_parse("10.0.0.1/24", &a);
    tun_prefix_parse("10.0.0.1/24", &b);
    assert_true(tun_prefix_equal(&a, &b));
    b.len = 25;
    assert_false(tun_prefix_equal(&a, &b));
    tun_prefix_parse("10.0.0.2/24", &b);
    assert_false(tun_prefix_equal(&a, &b));
    tun_prefix_parse("a00:1::/24", &b);
    assert_false(tun_prefix_equal(&a, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses_and_prints),
        cmocka_unit_test(none_prints),
        cmocka_unit_test(contains_as_the_oracle_says),
        cmocka_unit_test(equality),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
