/* race: the order of links and addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "app/race.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *links;   /* family of each; b: a backup of IPv4 */
    const char *remotes; /* family of each */
    size_t first, max;
    const char *ways; /* link, then address, from 0 */
} rows[] = {
    {"", "4", 0, 8, ""},
    {"4", "", 0, 8, ""},
    {"4", "4", 0, 8, "00"},
    {"4", "6", 0, 8, ""},
    {"44", "4", 0, 8, "00 10"},
    {"4", "444", 0, 8, "00 01 02"},
    {"4", "444", 2, 8, "02 00 01"},
    {"44", "44", 0, 8, "00 01 10 11"},
    {"44", "44", 1, 8, "01 00 11 10"},
    {"44", "44", 0, 3, "00 01 10"},
    {"44", "44", 0, 0, ""},
    {"46", "46", 0, 8, "00 11"},
    {"46", "64", 0, 8, "01 10"},
    {"4646", "46", 0, 8, "00 11 20 31"},
    {"44b", "44", 0, 8, "00 01 10 11 20 21"},
    {"b", "4", 0, 8, "00"},
};

static void test_plan(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct link links[8] = {0};
        union udp_addr remote[8];
        struct race_way way[16];
        size_t n = strlen(rows[i].links), m = strlen(rows[i].remotes), got;
        char text[128] = "";

        for (size_t k = 0; k < n; k++) {
            links[k].id = 100 + (uint32_t)k;
            links[k].family = rows[i].links[k] == '6' ? AF_INET6 : AF_INET;
            links[k].priority = rows[i].links[k] == 'b' ? LINK_BACKUP : LINK_PRIMARY;
        }
        for (size_t k = 0; k < m; k++)
            remote[k] = udp_addr_any(rows[i].remotes[k] == '6' ? AF_INET6 : AF_INET, 443);
        got = race_plan(links, n, remote, m, rows[i].first, way, rows[i].max);
        assert_in_range(got, 0, rows[i].max);
        for (size_t k = 0; k < got; k++) {
            size_t at = strlen(text);
            snprintf(text + at, sizeof(text) - at, "%s%u%zu", k ? " " : "",
                     way[k].link_id - 100, way[k].remote);
        }
        if (strcmp(text, rows[i].ways) != 0)
            fail_msg("%s x %s: \"%s\" instead of \"%s\"", rows[i].links, rows[i].remotes, text,
                     rows[i].ways);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plan)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
