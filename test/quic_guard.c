#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <string.h>

#include "quic/guard.h"

static struct quic_addr addr(const char *ip, uint16_t port)
{
    struct quic_addr a = {.family = strchr(ip, ':') ? 6 : 4, .port = port};

    assert_int_equal(inet_pton(a.family == 6 ? AF_INET6 : AF_INET, ip, a.ip), 1);
    return a;
}

static void test_ports(void **state)
{
    static const uint16_t no[] = {0, 19, 53, 123, 161, 389, 1900, 5353, 11211};
    static const uint16_t yes[] = {1, 80, 443, 1024, 4433, 8443, 50000, 65535};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        assert_false(guard_port(no[i]));
    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        assert_true(guard_port(yes[i]));
}

static void test_preferred(void **state)
{
    static const struct {
        const char *from, *to;
        bool ok;
    } rows[] = {
        {"203.0.113.1", "198.51.100.9", true},
        {"203.0.113.1", "203.0.113.1", true},
        {"203.0.113.1", "10.1.2.3", false},
        {"203.0.113.1", "172.16.0.1", false},
        {"203.0.113.1", "172.31.255.255", false},
        {"203.0.113.1", "172.32.0.1", true},
        {"203.0.113.1", "172.15.255.255", true},
        {"203.0.113.1", "192.168.1.1", false},
        {"203.0.113.1", "100.64.0.1", false},
        {"203.0.113.1", "100.127.0.1", false},
        {"203.0.113.1", "100.128.0.1", true},
        {"203.0.113.1", "127.0.0.1", false},
        {"203.0.113.1", "169.254.169.254", false},
        {"203.0.113.1", "0.0.0.0", false},
        {"203.0.113.1", "224.0.0.251", false},
        {"203.0.113.1", "239.255.255.250", false},
        {"203.0.113.1", "255.255.255.255", false},
        {"203.0.113.1", "2001:db8::1", false},
        {"10.0.0.1", "10.9.9.9", true},
        {"10.0.0.1", "192.168.0.1", true},
        {"10.0.0.1", "198.51.100.9", true},
        {"10.0.0.1", "169.254.0.1", false},
        {"10.0.0.1", "127.0.0.1", false},
        {"127.0.0.1", "127.0.0.2", true},
        {"127.0.0.1", "10.0.0.1", true},
        {"127.0.0.1", "224.0.0.1", false},
        {"2001:db8::1", "2001:db8::2", true},
        {"2001:db8::1", "::1", false},
        {"2001:db8::1", "::", false},
        {"2001:db8::1", "::ffff:10.0.0.1", false},
        {"2001:db8::1", "::10.0.0.1", false},
        {"2001:db8::1", "fe80::1", false},
        {"2001:db8::1", "febf::1", false},
        {"2001:db8::1", "fd00::1", false},
        {"2001:db8::1", "fc00::1", false},
        {"2001:db8::1", "ff02::1", false},
        {"2001:db8::1", "192.0.2.1", false},
        {"fd00::1", "fd01::1", true},
        {"fe80::1", "fd01::1", true},
        {"fd00::1", "fe80::1", false},
        {"::1", "::1", true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct quic_addr from = addr(rows[i].from, 443), to = addr(rows[i].to, 8443);

        if (guard_preferred(&from, &to) != rows[i].ok)
            fail_msg("%s to %s", rows[i].from, rows[i].to);
        to.port = 53;
        assert_false(guard_preferred(&from, &to));
        to.port = 8443;
        to.family = 0;
        assert_false(guard_preferred(&from, &to));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_preferred),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
