#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "app/exit.h"
#include "app/qlog_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/qlog-test-XXXXXX", said[1024];
static const struct quic_cid odcid = {.len = 3, .b = {0x0a, 0xbc, 0xff}};
#define CLIENT "0abcff_client.sqlog"

static void line(void *ctx, enum log_level level, const char *text)
{
    (void)ctx, (void)level;
    snprintf(said, sizeof(said), "%s", text);
}

static const struct log tells = {.line = line, .level = LOG_WARN};

static const char *at(const char *name)
{
    static char path[512];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static off_t size_of(const char *name)
{
    struct stat st;
    return stat(at(name), &st) ? -1 : st.st_size;
}

static int set_up(void **state)
{
    (void)state;
    said[0] = 0;
    strcpy(dir, "/tmp/qlog-test-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    DIR *d = opendir(dir);
    struct dirent *e;
    while (d && (e = readdir(d)))
        if (e->d_name[0] != '.')
            unlink(at(e->d_name));
    if (d)
        closedir(d);
    return rmdir(dir);
}

static void *begin(struct qlog_dir *d, bool server)
{
    return d->sink.open(d->sink.ctx, &odcid, server, NS_PER_S);
}

static void put(struct qlog_dir *d, void *trace, size_t n, ns_t now)
{
    static char record[70000];
    memset(record, 'x', sizeof(record));
    d->sink.write(trace, record, n, now);
}

static void test_names(void **state)
{
    (void)state;
    struct qlog_dir d;
    struct stat st;
    assert_int_equal(qlog_dir_open(&d, dir, &tells), 0);
    void *a = begin(&d, false), *b = begin(&d, true), *again = begin(&d, false);
    assert_true(a && b && again);
    d.sink.close(a);
    d.sink.close(b);
    d.sink.close(again);
    assert_int_equal(stat(at(CLIENT), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(size_of("0abcff_server.sqlog"), 0);
    assert_int_equal(size_of("0abcff_client_1.sqlog"), 0);
    assert_string_equal(said, "");
    qlog_dir_close(&d);
}

/* When bytes reach the file: a full buffer, a second, the end. */
static void test_flush(void **state)
{
    (void)state;
    struct qlog_dir d;
    assert_int_equal(qlog_dir_open(&d, dir, &tells), 0);
    void *a = begin(&d, false);
    put(&d, a, 100, NS_PER_S);
    assert_int_equal(size_of(CLIENT), 0);
    put(&d, a, 65500, NS_PER_S);
    assert_int_equal(size_of(CLIENT), 100);
    put(&d, a, 1, 2 * NS_PER_S);
    assert_int_equal(size_of(CLIENT), 65601);
    put(&d, a, 7, 2 * NS_PER_S + 1);
    assert_int_equal(size_of(CLIENT), 65601);
    d.sink.close(a);
    assert_int_equal(size_of(CLIENT), 65608);
    assert_int_equal(d.open, 0);
    qlog_dir_close(&d);
}

static void test_no_folder(void **state)
{
    (void)state;
    struct qlog_dir d;
    assert_int_equal(qlog_dir_open(&d, at("nowhere"), &tells), EXIT_FILE);
    assert_non_null(strstr(said, "nowhere"));
    qlog_dir_close(&d);
    int fd = open(at("file"), O_CREAT | O_WRONLY, 0600);
    close(fd);
    said[0] = 0;
    assert_int_equal(qlog_dir_open(&d, at("file"), &tells), EXIT_FILE);
    assert_non_null(strstr(said, "folder"));
}

/* What is there stays as it is; a link is not followed. */
static void test_link(void **state)
{
    (void)state;
    struct qlog_dir d;
    int fd = open(at("other"), O_CREAT | O_WRONLY, 0600);
    close(fd);
    assert_int_equal(symlink("other", at(CLIENT)), 0);
    assert_int_equal(qlog_dir_open(&d, dir, &tells), 0);
    void *a = begin(&d, false);
    put(&d, a, 10, NS_PER_S);
    d.sink.close(a);
    assert_int_equal(size_of("other"), 0);
    assert_int_equal(size_of("0abcff_client_1.sqlog"), 10);
    qlog_dir_close(&d);
}

static void test_greatest_size(void **state)
{
    (void)state;
    struct qlog_dir d;
    assert_int_equal(qlog_dir_open(&d, dir, &tells), 0);
    d.max = 1000;
    void *a = begin(&d, false);
    for (int i = 0; i < 5; i++)
        put(&d, a, 400, NS_PER_S);
    assert_non_null(strstr(said, "greatest size"));
    assert_int_equal(size_of(CLIENT), 800);
    put(&d, a, 100, 9 * NS_PER_S);
    d.sink.close(a);
    assert_int_equal(size_of(CLIENT), 800);
    qlog_dir_close(&d);
}

/* A disk that takes no more, here by RLIMIT_FSIZE: a word in the log, and no more. */
static void test_disk_full(void **state)
{
    (void)state;
    struct qlog_dir d;
    struct rlimit was, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    small = (struct rlimit){.rlim_cur = 50000, .rlim_max = was.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(qlog_dir_open(&d, dir, &tells), 0);
    void *a = begin(&d, false);
    for (int i = 0; i < 4; i++)
        put(&d, a, 40000, NS_PER_S);
    d.sink.close(a);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_non_null(strstr(said, CLIENT));
    assert_true(size_of(CLIENT) <= 50000);
    qlog_dir_close(&d);
}

static void test_too_many(void **state)
{
    (void)state;
    static void *trace[QLOG_FILE_OPEN];
    struct qlog_dir d;
    struct quic_cid id = {.len = 2};
    assert_int_equal(qlog_dir_open(&d, dir, &tells), 0);
    for (int i = 0; i < QLOG_FILE_OPEN; i++) {
        id.b[0] = (uint8_t)i;
        trace[i] = d.sink.open(d.sink.ctx, &id, true, 0);
        assert_non_null(trace[i]);
    }
    assert_null(begin(&d, true));
    assert_non_null(strstr(said, "too many"));
    d.sink.close(trace[0]);
    trace[0] = begin(&d, true);
    assert_non_null(trace[0]);
    for (int i = 0; i < QLOG_FILE_OPEN; i++)
        d.sink.close(trace[i]);
    qlog_dir_close(&d);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_names),         T(test_flush),     T(test_no_folder), T(test_link),
        T(test_greatest_size), T(test_disk_full), T(test_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
