/* auth, base64, keep: keys in, keys out, keys kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "app/auth.h"
#include "app/base64.h"
#include "app/keep.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct span str(const char *s)
{
    return span_of(s, strlen(s));
}

static void base64_vectors(void **state)
{
    /* RFC 4648 10, without padding, and the two letters that differ. */
    static const struct {
        const char *plain, *text;
    } rows[] = {
        {"", ""},           {"f", "Zg"},          {"fo", "Zm8"},          {"foo", "Zm9v"},
        {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}, {"\xfb\xff", "-_8"}};
    static const char *const bad[] = {"Z", "Zg=", "Zh", "Zm9", "Zm 9v", "Zm+v", "Zm9vY"};
    char text[32];
    uint8_t bytes[32];
    size_t n;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t len = strlen(rows[i].plain);
        base64url_encode((const uint8_t *)rows[i].plain, len, text);
        assert_string_equal(text, rows[i].text);
        assert_int_equal(strlen(text), BASE64URL_LEN(len));
        n = sizeof(bytes);
        assert_int_equal(base64url_decode(str(text), bytes, &n), 0);
        assert_int_equal(n, len);
        assert_memory_equal(bytes, rows[i].plain, len);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        n = sizeof(bytes);
        assert_int_equal(base64url_decode(str(bad[i]), bytes, &n), QUIC_INVAL);
    }
    n = 2;
    assert_int_equal(base64url_decode(str("Zm9v"), bytes, &n), QUIC_INVAL);
}

static void who_may_in(void **state)
{
    struct auth *a = auth_new(false);

    (void)state;
    assert_int_equal(auth_add(a, "ann", "key-a"), 0);
    assert_int_equal(auth_add(a, "bob", "key-b"), 0);
    assert_int_equal(auth_add(a, NULL, "key-all"), 0);
    assert_int_equal(auth_add(a, "ann", "again"), QUIC_INVAL);
    assert_int_equal(auth_count(a), 3);

    assert_string_equal(auth_check(a, str(""), str("key-a")), "ann");
    assert_string_equal(auth_check(a, str(""), str("key-b")), "bob");
    assert_string_equal(auth_check(a, str(""), str("key-all")), "-");
    assert_string_equal(auth_check(a, str("bob"), str("key-b")), "bob");
    assert_null(auth_check(a, str("bob"), str("key-a")));
    assert_null(auth_check(a, str(""), str("key-")));
    assert_null(auth_check(a, str(""), str("key-aa")));
    assert_null(auth_check(a, str(""), str("")));
    auth_del(a);

    a = auth_new(true);
    assert_string_equal(auth_check(a, str(""), str("")), "-");
    auth_del(a);
}

static void count_up(void *ctx, void *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)out)[i] = (*(uint8_t *)ctx)++;
}

static void keys(void **state)
{
    uint8_t next = 0;
    struct rng rng = {count_up, &next};
    char a[44], b[44];

    (void)state;
    auth_make_key(&rng, a);
    auth_make_key(&rng, b);
    assert_int_equal(strlen(a), 43);
    assert_int_not_equal(strcmp(a, b), 0);
}

static void kept_files(void **state)
{
    char dir[] = "/tmp/mqvpn-keep-XXXXXX", sub[64], path[96], line[64], tiny[4];
    struct stat st;
    size_t n;
    char buf[64];

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(sub, sizeof(sub), "%s/a/b", dir);
    snprintf(path, sizeof(path), "%s/key", sub);
    assert_int_equal(keep_read(path, buf, sizeof(buf), &n), -ENOENT);
    assert_int_equal(keep_write(sub, "key", "one\r\ntwo\n", 9), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(sub, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(keep_read(path, buf, sizeof(buf), &n), 0);
    assert_int_equal(n, 9);
    assert_int_equal(keep_read(path, tiny, sizeof(tiny), &n), -EFBIG);
    assert_int_equal(keep_read_line(path, line, sizeof(line)), 0);
    assert_string_equal(line, "one");
    assert_int_equal(keep_read_line(path, tiny, 3), -EFBIG);
    assert_int_equal(keep_write(sub, "key", "\n", 1), 0);
    assert_int_equal(keep_read_line(path, line, sizeof(line)), -EINVAL);
    assert_int_equal(keep_write(path, "x", "", 0), -ENOTDIR);
    unlink(path);
    rmdir(sub);
    snprintf(sub, sizeof(sub), "%s/a", dir);
    rmdir(sub);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_vectors),
        cmocka_unit_test(who_may_in),
        cmocka_unit_test(keys),
        cmocka_unit_test(kept_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
