#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "quic/json.h"
#include "test/json_check.h"
#include "test/quic_rand.h"

static void is(const struct json *j, const char *want)
{
    assert_false(j->failed);
    assert_int_equal(j->n, strlen(want));
    assert_memory_equal(j->p, want, j->n);
    assert_true(json_check(j->p, j->n));
}

static void test_structure(void **state)
{
    (void)state;
    char buf[512];
    struct json j = json_of(buf, sizeof(buf));
    json_open(&j, NULL, '{');
    json_number(&j, "a", 0);
    json_bool(&j, "b", true);
    json_bool(&j, "c", false);
    json_open(&j, "d", '[');
    json_open(&j, NULL, '{');
    json_close(&j, '}');
    json_open(&j, NULL, '[');
    json_number(&j, NULL, 1);
    json_number(&j, NULL, 2);
    json_close(&j, ']');
    json_text(&j, NULL, "x");
    json_close(&j, ']');
    json_hex(&j, "e", SPAN_LIT("\x00\x1f\xa0\xff"));
    json_hex(&j, "f", (struct span){0});
    json_close(&j, '}');
    is(&j,
       "{\"a\":0,\"b\":true,\"c\":false,\"d\":[{},[1,2],\"x\"],\"e\":\"001fa0ff\",\"f\":\"\"}");
}

static void test_numbers(void **state)
{
    (void)state;
    char buf[512];
    struct json j = json_of(buf, sizeof(buf));
    json_open(&j, NULL, '[');
    json_number(&j, NULL, (uint64_t)1 << 53);
    json_number(&j, NULL, ((uint64_t)1 << 53) + 1);
    json_number(&j, NULL, UINT64_MAX);
    json_ms(&j, NULL, 0);
    json_ms(&j, NULL, 1);
    json_ms(&j, NULL, 1234567890);
    json_ms(&j, NULL, NS_NEVER);
    json_close(&j, ']');
    is(&j, "[9007199254740992,\"9007199254740993\",\"18446744073709551615\",0.000000,0.000001,"
           "1234.567890,18446744073709.551615]");
}

static void test_text(void **state)
{
    (void)state;
    static const struct {
        struct span in;
        const char *out;
    } rows[] = {
        {SPAN_LIT(""), "\"\""},
        {SPAN_LIT("plain /text"), "\"plain /text\""},
        {SPAN_LIT("\"},{\""), "\"\\\"},{\\\"\""},
        {SPAN_LIT("\\"), "\"\\\\\""},
        {SPAN_LIT("\n\x1e\x00\x7f"), "\"\\u000a\\u001e\\u0000\\u007f\""},
        {SPAN_LIT("\xff\xc3\xa4"), "\"\\u00ff\\u00c3\\u00a4\""},
    };
    char buf[256];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct json j = json_of(buf, sizeof(buf));
        json_bytes(&j, NULL, rows[i].in);
        is(&j, rows[i].out);
    }
}

/* Any bytes at all come out as JSON of printable characters. */
static void test_any_bytes(void **state)
{
    (void)state;
    struct rnd r = {7};
    for (int round = 0; round < 2000; round++) {
        uint8_t in[64];
        char buf[1024];
        size_t n = rnd_below(&r, sizeof(in));
        for (size_t i = 0; i < n; i++)
            in[i] = (uint8_t)rnd_next(&r);
        struct json j = json_of(buf, sizeof(buf));
        json_open(&j, NULL, '{');
        json_bytes(&j, "k", span_of(in, n));
        json_close(&j, '}');
        assert_false(j.failed);
        assert_true(json_check(j.p, j.n));
    }
}

/* Whatever the room, nothing is written beyond it, and a copy brings back what was before. */
static void test_room(void **state)
{
    (void)state;
    char buf[64];
    for (size_t cap = 0; cap < 40; cap++) {
        memset(buf, '#', sizeof(buf));
        struct json j = json_of(buf, cap);
        json_open(&j, NULL, '{');
        struct json before = j;
        json_text(&j, "name", "some value");
        json_number(&j, "n", 12345);
        json_close(&j, '}');
        assert_int_equal(j.failed, cap < 31);
        assert_true(j.n <= cap);
        for (size_t i = cap; i < sizeof(buf); i++)
            assert_int_equal(buf[i], '#');
        if (cap < 2)
            continue;
        j = before;
        json_close(&j, '}');
        is(&j, "{}");
    }
}

/* The reader that the other tests go by refuses what is no JSON. */
static void test_reader(void **state)
{
    (void)state;
    static const char *const good[] = {
        "{}", "[]", "0", "-1.5e+3", " [1 , {\"a\":null}] ", "\"\\u00fF\\n\""};
    static const char *const bad[] = {
        "",           "{",        "{]",          "[1,]", "{\"a\"}", "01",
        "1.",         "\"\n\"",   "\"\\x\"",     "[1]2", "tru",     "{a:1}",
        "{\"a\":1,}", "\"\x80\"", "\"\\u12g4\"", "1e",   "[1 2]",   "{\"a\":1,\"a\":2}"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(json_check(good[i], strlen(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(json_check(bad[i], strlen(bad[i])));
    static const char text[] = "{\"a\":{\"b\":[1],\"c\":\"x\"},\"d\":2}";
    assert_true(json_is(text, strlen(text), "a.b", "[1]"));
    assert_true(json_is(text, strlen(text), "a.c", "\"x\""));
    assert_true(json_is(text, strlen(text), "d", "2"));
    assert_false(json_is(text, strlen(text), "a.d", "2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_structure), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_text),      cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_room),      cmocka_unit_test(test_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
