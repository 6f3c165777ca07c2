/* What `mqvpn status` shows: JSON found in text, and the table for a person. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "app/json_scan.h"
#include "app/status_show.h"

static void test_scan(void **state)
{
    const char *j =
        " { \"a\" : 1.5, \"b\\\"c\":\"x\\\"y\\u00e9\\n\\\\\", \"n\":\"18446744073709551615\","
        "\"o\":{\"a\":[[1,2],{\"a\":3}, \"]\" ,true]},\"e\":[],\"f\":{},\"last\":-7 }";
    const char *array = json_scan_member(json_scan_member(j, "o"), "a"), *p;
    char text[16];

    (void)state;
    assert_true(json_scan_number(json_scan_member(j, "a")) == 1.5);
    assert_true(json_scan_number(json_scan_member(j, "n")) == 18446744073709551615.0);
    assert_true(json_scan_number(json_scan_member(j, "last")) == -7);
    assert_string_equal(json_scan_text(json_scan_member(j, "b\\\"c"), text, sizeof(text)),
                        "x\"y??\\");
    assert_string_equal(json_scan_text(json_scan_member(j, "b\\\"c"), text, 3), "x\"");
    assert_string_equal(json_scan_text(json_scan_member(j, "a"), text, sizeof(text)), "");
    p = json_scan_item(array, NULL);
    assert_true(json_scan_number(json_scan_item(p, json_scan_item(p, NULL))) == 2);
    p = json_scan_item(array, p);
    assert_true(json_scan_number(json_scan_member(p, "a")) == 3);
    p = json_scan_item(array, p);
    assert_string_equal(json_scan_text(p, text, sizeof(text)), "]");
    p = json_scan_item(array, p);
    assert_true(json_scan_true(p));
    assert_null(json_scan_item(array, p));
    assert_null(json_scan_item(json_scan_member(j, "e"), NULL));
    assert_null(json_scan_member(json_scan_member(j, "f"), "a"));
    assert_null(json_scan_member(j, "missing"));
    assert_null(json_scan_member(NULL, "a"));
    assert_null(json_scan_item(NULL, NULL));
}

static const char answer[] =
    "{\"version\":1,\"role\":\"server\",\"state\":\"up\",\"pid\":7,\"uptime_ms\":93784000.5,"
    "\"memory_bytes\":9400000,\"tun\":{\"name\":\"mqvpn0\",\"mtu_bytes\":1400,"
    "\"ipv4\":\"10.0.0.1\",\"ipv6\":\"fd6d:7176:706e::1\"},\"peers\":[{\"name\":\"ann\","
    "\"state\":\"up\",\"uptime_ms\":65000.0,\"ipv4\":\"10.0.0.2\",\"ipv6\":\"fd6d:7176:706e::"
    "2\","
    "\"mtu_bytes\":1402,\"memory_bytes\":12000,\"total\":{\"tx_packets\":10,\"rx_packets\":20,"
    "\"tx_bytes\":1500000000,\"rx_bytes\":999},\"paths\":[{\"id\":0,\"state\":\"up\","
    "\"interface\":\"wlan0\",\"local\":\"192.0.2.1:443\",\"remote\":\"198.51.100.7:40000\","
    "\"tx_bps\":52400000,\"rx_bps\":800000,\"share_pct\":100,\"pacing_bps\":0,\"rtt_ms\":41."
    "234567,"
    "\"rtt_min_ms\":40.000001,\"jitter_ms\":1.500000,\"loss_ppm\":5000,\"cwnd_bytes\":250000,"
    "\"in_flight_bytes\":1,\"mtu_bytes\":1452,\"ecn\":true,\"tx_bytes\":\"9007199254740993\","
    "\"rx_bytes\":5}],\"flows\":{\"prompt\":3,\"bulk\":1},\"queue\":{\"packets\":3,"
    "\"bytes\":4200,\"delay_ms\":0.700000,\"prompt_ms\":0.7,\"bulk_ms\":12.04,"
    "\"marked\":12345,\"dropped_codel\":17,"
    "\"dropped_full\":1,\"dropped_old\":2,\"dropped_too_big\":0},"
    "\"numbered\":{\"tx_packets\":1200,\"tx_repairs\":7,\"rx_packets\":5,\"rx_waited\":2,"
    "\"rx_recovered\":1,"
    "\"wait_ms\":3.25}}]}";

static const char shown[] =
    "server mqvpn0: up, running for 1 d 2 h, memory 9.4 MB\n"
    "addresses 10.0.0.1 fd6d:7176:706e::1, MTU 1400\n"
    "1 client\n"
    "\n"
    "  path       state       in Mb/s out Mb/s     %  RTT ms   least     +- loss%\n"
    "\n"
    "ann: up for 1 min 5 s\n"
    "  10.0.0.2 fd6d:7176:706e::2, MTU 1402\n"
    "  999 B in, 1.5 GB out, 3 dropped; flows: 3 prompt, 1 bulk\n"
    "  queue 4.2 kB, wait 0.7 ms, bulk 12.0; CoDel 17 drops, 12.3 k marks\n"
    "  numbered: 1.2 k out, 7 again; 5 in, 1 recovered, 2 waited 3.2 ms\n"
    "  wlan0      up             0.80    52.40   100    41.2    40.0    1.5  0.50\n"
    "     192.0.2.1:443 > 198.51.100.7:40000\n"
    "     MTU 1452, ECN yes, window 250 kB, 5 B in, 9.0 PB out\n";

static char *text_of(const char *json)
{
    char *out = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&out, &n);

    assert_non_null(f);
    status_show_text(f, json);
    fclose(f);
    return out;
}

/* No line may be longer than a terminal, nor hold anything but printable ASCII. */
static void check_lines(const char *text)
{
    size_t column = 0;

    for (; *text; text++) {
        column = *text == '\n' ? 0 : column + 1;
        if (column > STATUS_COLUMNS)
            fail_msg("a line is too long: %.90s", text - column + 1);
        assert_true(*text == '\n' || (*text >= 0x20 && *text <= 0x7e));
    }
}

static void test_table(void **state)
{
    char *text = text_of(answer);

    (void)state;
    assert_string_equal(text, shown);
    check_lines(text);
    free(text);
}

/* The answer cut anywhere, and with any byte exchanged, is shown somehow, within bounds. */
static void test_hostile(void **state)
{
    static const char bytes[] = {'"', '{', '}', '[', ']', ',', '\\', '9', 'e', 0x1b};
    char copy[sizeof(answer)], deep[3000], *text;

    (void)state;
    for (size_t i = 0; i < sizeof(answer) - 1; i++) {
        char *exact = strndup(answer, i);

        text = text_of(exact);
        check_lines(text);
        free(text);
        free(exact);
        for (size_t k = 0; k < sizeof(bytes); k++) {
            strcpy(copy, answer);
            copy[i] = bytes[k];
            text = text_of(copy);
            check_lines(text);
            free(text);
        }
    }
    memset(deep, '[', sizeof(deep) - 1);
    deep[sizeof(deep) - 1] = 0;
    assert_null(json_scan_item(deep, json_scan_item(deep, NULL)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scan),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_hostile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
