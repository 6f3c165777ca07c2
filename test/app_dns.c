#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "app/dns.h"
#include "app/dns_file.h"
#include "test/tun_ns.h"

#define ORIGINAL                                                                               \
    "# by hand\nnameserver 192.0.2.53\nsearch example.org corp\noptions edns0\n"               \
    "domain example.net\nsortlist 10.0.0.0\n"

static char base[64], state_dir[128], path[128], backup[160], temporary[160], why[WHY_SIZE];
static struct tun_addr servers[2];
static struct dns_cfg cfg;
static struct undo *undo;

static void put(const char *file, const char *text, mode_t mode)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static const char *get(const char *file)
{
    static char text[70000];
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    assert_true(fd >= 0);
    n = read(fd, text, sizeof(text) - 1);
    assert_true(n >= 0);
    close(fd);
    text[n] = '\0';
    return text;
}

static bool exists(const char *file)
{
    struct stat st;

    return lstat(file, &st) == 0;
}

static int set_up(void **state)
{
    (void)state;
    strcpy(base, "/tmp/mqvpn-dns-XXXXXX");
    assert_non_null(mkdtemp(base));
    snprintf(state_dir, sizeof(state_dir), "%s/state", base);
    snprintf(path, sizeof(path), "%s/etc/resolv.conf", base);
    snprintf(backup, sizeof(backup), "%s.before-mqvpn", path);
    snprintf(temporary, sizeof(temporary), "%s.mqvpn-new", path);
    assert_int_equal(chmod(base, 0755), 0);
    *strrchr(path, '/') = '\0';
    assert_int_equal(mkdir(path, 0755), 0);
    path[strlen(path)] = '/';
    put(path, ORIGINAL, 0640);
    tun_addr_parse("10.9.0.1", &servers[0]);
    tun_addr_parse("fd00:9::1", &servers[1]);
    cfg = (struct dns_cfg){
        .servers = servers, .n_servers = 2, .tun_name = "mq0", .path = path, .resolvectl = ""};
    assert_int_equal(undo_open(&undo, state_dir, NULL, why, sizeof(why)), 0);
    return 0;
}

static int tear_down(void **state)
{
    char cmd[160];

    (void)state;
    undo_close(undo);
    umount2(path, MNT_DETACH);
    snprintf(cmd, sizeof(cmd), "rm -rf '%s'", base);
    return system(cmd);
}

static struct dns *start_ok(void)
{
    struct dns *d = NULL;
    int rc = dns_start(&d, &cfg, undo, NULL, why, sizeof(why));

    if (rc)
        print_message("%s\n", why);
    assert_int_equal(rc, 0);
    return d;
}

/* A child that applies and dies; with its own journal in `dir` (NULL: in memory only). */
static void apply_and_die(const char *dir)
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        struct undo *u;
        struct dns *d;

        if (undo_open(&u, dir, NULL, NULL, 0) || dns_start(&d, &cfg, u, NULL, NULL, 0))
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

static void is_original(void)
{
    struct stat st;

    assert_string_equal(get(path), ORIGINAL);
    assert_int_equal(lstat(path, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0640);
    assert_false(exists(backup));
    assert_false(exists(temporary));
    assert_int_equal(undo_count(undo), 0);
}

/* ---- the file ---- */

static void replaced_and_restored(void **state)
{
    struct stat before, during, after;
    struct dns *d;
    const char *text;

    (void)state;
    assert_int_equal(stat(path, &before), 0);
    d = start_ok();
    assert_false(dns_by_resolved(d));
    text = get(path);
    assert_non_null(strstr(text, "\nnameserver 10.9.0.1\nnameserver fd00:9::1\n"));
    assert_non_null(strstr(text, "\nsearch example.org corp\noptions edns0\n"));
    assert_non_null(strstr(text, "\ndomain example.net\n"));
    assert_null(strstr(text, "192.0.2.53"));
    assert_null(strstr(text, "sortlist"));
    assert_non_null(strstr(text, backup));
    assert_int_equal(stat(path, &during), 0);
    assert_int_equal(during.st_mode, S_IFREG | 0644); /* everybody resolves names */
    assert_string_equal(get(backup), ORIGINAL);
    assert_int_equal(undo_count(undo), 1);

    dns_stop(d);
    is_original();
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_ino, before.st_ino);
    assert_int_equal(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
    assert_int_equal(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
    assert_int_equal(after.st_nlink, 1);
}

static void odd_originals(void **state)
{
    static const char *const texts[] = {
        "",
        "\n",
        "nameserver 1.1.1.1",
        "search a",
        "\n\n\r\nsearch\tx\r\n",
        "searching for x\n",
        "# mqvpn-owner: \n",
        "# mqvpn-owner: renamed pid=1\n",
        "x# mqvpn-owner: created pid=1",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        put(path, texts[i], 0600);
        dns_stop(start_ok());
        assert_string_equal(get(path), texts[i]);
        assert_false(exists(backup));
    }
}

static void symbolic_link(void **state)
{
    char target[160], seen[160] = "";

    (void)state;
    snprintf(target, sizeof(target), "%s/etc/managed", base);
    assert_int_equal(rename(path, target), 0);
    assert_int_equal(symlink("managed", path), 0);
    for (int i = 0; i < 2; i++) {
        struct dns *d = start_ok();
        struct stat st;

        assert_int_equal(lstat(path, &st), 0);
        assert_true(S_ISREG(st.st_mode));
        if (i == 0)
            assert_string_equal(get(target), ORIGINAL); /* its manager's file is untouched */
        dns_stop(d);
        assert_int_equal(readlink(path, seen, sizeof(seen) - 1), 7);
        assert_string_equal(seen, "managed");
        unlink(target); /* and a link to nowhere */
    }
}

static void no_file_before(void **state)
{
    struct dns *d;

    (void)state;
    unlink(path);
    d = start_ok();
    assert_non_null(strstr(get(path), "nameserver 10.9.0.1\n"));
    dns_stop(d);
    assert_false(exists(path));
    assert_false(exists(backup));
    apply_and_die(state_dir);
    assert_true(exists(path));
    assert_int_equal(undo_recover(undo, &dns_undo_kind, 1, NULL, why, sizeof(why)), 1);
    assert_false(exists(path));
    apply_and_die(NULL);
    assert_int_equal(dns_recover(path, why, sizeof(why)), 1);
    assert_false(exists(path));
}

static void what_others_wrote_stays(void **state)
{
    struct dns *d = start_ok();

    (void)state;
    put(path, "nameserver 9.9.9.9\n", 0600);
    dns_stop(d);
    assert_string_equal(get(path), "nameserver 9.9.9.9\n");
    assert_false(exists(backup));
    assert_int_equal(undo_count(undo), 0);

    d = start_ok();
    unlink(path); /* removed by somebody: that stays, too */
    dns_stop(d);
    assert_false(exists(path));
    assert_false(exists(backup));

    put(path, ORIGINAL, 0640);
    apply_and_die(state_dir);
    put(path, "nameserver 9.9.9.9\n", 0600);
    undo_recover(undo, &dns_undo_kind, 1, NULL, why, sizeof(why));
    assert_string_equal(get(path), "nameserver 9.9.9.9\n");
    assert_false(exists(backup));
}

static void lost_original(void **state)
{
    struct dns *d = start_ok();

    (void)state;
    unlink(backup);
    dns_stop(d);
    assert_int_equal(undo_count(undo), 1); /* kept, and said at the next start */
}

/* ---- killed instances ---- */

static void killed_with_journal(void **state)
{
    struct stat before, after;

    (void)state;
    assert_int_equal(stat(path, &before), 0);
    apply_and_die(state_dir);
    assert_non_null(strstr(get(path), "nameserver 10.9.0.1\n"));
    assert_int_equal(undo_recover(undo, &dns_undo_kind, 1, NULL, why, sizeof(why)), 1);
    is_original();
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_ino, before.st_ino);
}

static void killed_and_journal_lost(void **state)
{
    (void)state;
    apply_and_die(NULL);
    assert_int_equal(dns_recover(path, why, sizeof(why)), 1);
    is_original();
    assert_int_equal(dns_recover(path, why, sizeof(why)), 0);
    is_original();
    assert_int_equal(dns_recover("/nonexistent/resolv.conf", why, sizeof(why)), 0);
}

/* Straight over the remains of a dead one: what comes back is the first original. */
static void started_over_the_remains(void **state)
{
    struct dns *d;

    (void)state;
    apply_and_die(NULL);
    d = start_ok();
    assert_string_equal(get(backup), ORIGINAL);
    dns_stop(d);
    is_original();
}

/* Killed between two steps: each state in which it can be found. */
static void killed_amid(void **state)
{
    char text[4096], ours[] = "# ours\nnameserver 10.9.0.1\n";

    (void)state;
    snprintf(text, sizeof(text), "%s renamed %zu\n%s", path, strlen(ours), ours);
    /* recorded, not yet linked */
    assert_int_equal(dns_undo_kind.revert(undo, text, why, sizeof(why)), 0);
    is_original();
    /* linked, not yet renamed */
    assert_int_equal(link(path, backup), 0);
    assert_int_equal(dns_undo_kind.revert(undo, text, why, sizeof(why)), 0);
    is_original();
    /* put back, record not yet closed */
    assert_int_equal(dns_undo_kind.revert(undo, text, why, sizeof(why)), 0);
    is_original();

    /* In place: nothing, a part, or all of ours was written; or a part of the original. */
    snprintf(text, sizeof(text), "%s in-place %zu\n%s%s", path, strlen(ours), ours, ORIGINAL);
    for (size_t n = 0; n <= strlen(ours); n++) {
        char part[64] = "";

        memcpy(part, ours, n);
        put(path, part, 0640);
        assert_int_equal(dns_undo_kind.revert(undo, text, why, sizeof(why)), 0);
        is_original();
    }
    for (size_t n = 0; n <= strlen(ORIGINAL); n++) {
        char part[256] = "";

        memcpy(part, ORIGINAL, n);
        put(path, part, 0640);
        assert_int_equal(dns_undo_kind.revert(undo, text, why, sizeof(why)), 0);
        is_original();
    }
    put(path, "# others\n", 0640);
    assert_int_equal(dns_undo_kind.revert(undo, text, why, sizeof(why)), 0);
    assert_string_equal(get(path), "# others\n");
}

static void hostile_records(void **state)
{
    static const char *const bad[] = {
        "",
        "x",
        "/x",
        "/x renamed",
        "/x renamed 5",
        "/x renamed 5\nabc",
        "/x renamed 0\n",
        "/x renamed -1\nabc",
        "/x renamed 2\nabc",
        "/x stolen 3\nabc",
        "/x created 2\nabc",
        "x renamed 3\nabc",
        "/x in-place 99999999999999999999\nabc",
        "/x in-place 4\nabc",
        "/x  renamed 3 \nabc",
    };
    char big[3000];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (dns_undo_kind.revert(undo, bad[i], why, sizeof(why)) != -EINVAL)
            fail_msg("'%s' was taken", bad[i]);
    }
    memset(big, 'x', sizeof(big));
    big[0] = '/';
    strcpy(big + 2900, " renamed 3\nabc");
    assert_int_equal(dns_undo_kind.revert(undo, big, why, sizeof(why)), -EINVAL);
    is_original();
}

/* ---- one at a time ---- */

static void held_by_a_running_instance(void **state)
{
    struct dns *d = start_ok(), *e;

    (void)state;
    assert_int_equal(dns_start(&e, &cfg, undo, NULL, why, sizeof(why)), -EBUSY);
    assert_non_null(strstr(why, "another mqvpn"));
    assert_int_equal(dns_recover(path, why, sizeof(why)), 0);
    dns_stop(d);
    is_original();
}

/* ---- mounts ---- */

/* A mount namespace of our own; false where that is not permitted. */
static bool mounts(void)
{
    return ns_enter() && unshare(CLONE_NEWNS) == 0 &&
           mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static void bind_mount(void **state)
{
    char source[128];
    struct stat before, after;
    struct dns *d;

    (void)state;
    if (!mounts())
        skip();
    snprintf(source, sizeof(source), "%s/source", base);
    put(source, ORIGINAL, 0640);
    if (mount(source, path, NULL, MS_BIND, NULL))
        skip();
    assert_int_equal(stat(path, &before), 0);
    d = start_ok();
    assert_non_null(strstr(get(source), "nameserver 10.9.0.1\n")); /* in place */
    dns_stop(d);
    is_original();
    assert_string_equal(get(source), ORIGINAL);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_ino, before.st_ino);

    apply_and_die(state_dir);
    assert_non_null(strstr(get(source), "nameserver 10.9.0.1\n"));
    assert_int_equal(dns_recover(path, why, sizeof(why)),
                     -ENOENT); /* only the journal has it */
    assert_int_equal(undo_recover(undo, &dns_undo_kind, 1, NULL, why, sizeof(why)), 1);
    is_original();

    d = start_ok();
    put(path, "nameserver 9.9.9.9\n", 0640);
    dns_stop(d);
    assert_string_equal(get(source), "nameserver 9.9.9.9\n");
}

static void read_only(void **state)
{
    char dir[128];
    struct dns *d;

    (void)state;
    if (!mounts())
        skip();
    snprintf(dir, sizeof(dir), "%s/etc", base);
    if (mount(dir, dir, NULL, MS_BIND, NULL) ||
        mount(NULL, dir, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL))
        skip();
    assert_int_equal(dns_start(&d, &cfg, undo, NULL, why, sizeof(why)), -EROFS);
    assert_non_null(strstr(why, path));
    assert_non_null(strstr(why, "--dns"));
    is_original();
    umount2(dir, MNT_DETACH);
}

static void no_permission(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    if (geteuid() != 0)
        skip();
    pid = fork();
    if (pid == 0) {
        char text[WHY_SIZE] = "";
        struct undo *u;
        struct dns *d;

        if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
            _exit(77);
        if (undo_open(&u, NULL, NULL, NULL, 0))
            _exit(1);
        if (dns_start(&d, &cfg, u, NULL, text, sizeof(text)) != -EACCES)
            _exit(2);
        _exit(strstr(text, "root") ? 0 : 3);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
    is_original();
}

/* ---- bad input ---- */

static int start_rc(void)
{
    struct dns *d;

    return dns_start(&d, &cfg, undo, NULL, why, sizeof(why));
}

static void bad_input_is_refused(void **state)
{
    static char big[66000];
    char dir[128], missing[128];
    int fd;

    (void)state;
    cfg.n_servers = 0;
    assert_int_equal(start_rc(), -EINVAL);
    cfg.n_servers = DNS_SERVERS_MAX + 1;
    assert_int_equal(start_rc(), -EINVAL);
    cfg.n_servers = 2;
    servers[1].family = 0;
    assert_int_equal(start_rc(), -EINVAL);
    cfg.n_servers = 1;
    cfg.tun_name = "x y";
    assert_int_equal(start_rc(), -EINVAL);
    cfg.tun_name = "mq0";
    cfg.path = "etc/resolv.conf";
    assert_int_equal(start_rc(), -EINVAL);
    cfg.path = "/tmp/with blank";
    assert_int_equal(start_rc(), -EINVAL);
    snprintf(missing, sizeof(missing), "%s/none/resolv.conf", base);
    cfg.path = missing;
    assert_int_equal(start_rc(), -ENOENT);
    assert_non_null(strstr(why, missing));
    snprintf(dir, sizeof(dir), "%s/etc", base);
    cfg.path = dir;
    assert_int_equal(start_rc(), -EINVAL);
    memset(big, '#', sizeof(big));
    big[sizeof(big) - 1] = '\0';
    cfg.path = big;
    big[0] = '/';
    assert_int_equal(start_rc(), -EINVAL);
    cfg.path = path;
    is_original();

    put(path, big, 0640);
    assert_int_equal(start_rc(), -EFBIG);
    assert_string_equal(get(path), big);
    fd = open(path, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, "a\0b", 3), 3);
    close(fd);
    assert_int_equal(start_rc(), -EINVAL);
    put(path, ORIGINAL, 0640);
    is_original();
}

/* ---- resolved ---- */

static char program[128], calls[128], run_dir[128];

/* A resolvectl that notes how it was called, then does `body`. */
static void fake_resolvectl(const char *body)
{
    char script[512], stub[160];

    snprintf(program, sizeof(program), "%s/resolvectl", base);
    snprintf(calls, sizeof(calls), "%s/calls", base);
    snprintf(run_dir, sizeof(run_dir), "%s/run", base);
    snprintf(script, sizeof(script), "#!/bin/sh\necho \"$*\" >> '%s'\n%s\n", calls, body);
    put(program, script, 0755);
    put(calls, "", 0644);
    if (!exists(run_dir))
        assert_int_equal(mkdir(run_dir, 0755), 0);
    snprintf(stub, sizeof(stub), "%s/stub-resolv.conf", run_dir);
    put(stub, "nameserver 127.0.0.53\n", 0644);
    unlink(path);
    assert_int_equal(symlink(stub, path), 0);
    cfg.resolvectl = program;
    cfg.resolved_dir = run_dir;
}

static void by_resolved(void **state)
{
    struct dns *d;
    struct stat st;

    (void)state;
    fake_resolvectl("exit 0");
    d = start_ok();
    assert_true(dns_by_resolved(d));
    assert_string_equal(get(calls), "dns mq0 10.9.0.1 fd00:9::1\ndomain mq0 ~.\n"
                                    "default-route mq0 yes\n");
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    put(calls, "", 0644);
    dns_stop(d);
    assert_string_equal(get(calls), "revert mq0\n");

    /* Not a link, but the stub is named. */
    unlink(path);
    put(path, "# stub\nnameserver 127.0.0.53\n", 0644);
    d = start_ok();
    assert_true(dns_by_resolved(d));
    dns_stop(d);

    /* Older ones lack the last verb. */
    fake_resolvectl("[ \"$1\" != default-route ]");
    d = start_ok();
    assert_true(dns_by_resolved(d));
    dns_stop(d);
}

static void not_by_resolved(void **state)
{
    struct dns *d;

    (void)state;
    fake_resolvectl("exit 0");
    unlink(path);
    put(path, ORIGINAL, 0640); /* names another server */
    dns_stop(start_ok());
    cfg.resolved_dir = "/nonexistent";
    d = start_ok();
    assert_false(dns_by_resolved(d));
    dns_stop(d);
    assert_string_equal(get(calls), "");
    is_original();
}

static char logged[600];

static void on_line(void *ctx, enum log_level level, const char *text)
{
    (void)ctx;
    if (level == LOG_WARN)
        strcpy(logged, text);
}

static void failing_resolvectl(const char *body, const char *says)
{
    struct log log = {.line = on_line, .level = LOG_INFO};
    struct dns *d;

    fake_resolvectl(body);
    logged[0] = '\0';
    assert_int_equal(dns_start(&d, &cfg, undo, &log, why, sizeof(why)), 0);
    assert_false(dns_by_resolved(d));
    if (!strstr(logged, says))
        fail_msg("'%s' does not say '%s'", logged, says);
    assert_non_null(strstr(get(path), "nameserver 10.9.0.1\n"));
    dns_stop(d);
    assert_string_equal(get(path), "nameserver 127.0.0.53\n");
}

static void resolvectl_fails(void **state)
{
    (void)state;
    failing_resolvectl("echo 'Link mq0 is unmanaged' >&2; exit 1", "Link mq0 is unmanaged");
    assert_string_equal(get(calls), "dns mq0 10.9.0.1 fd00:9::1\nrevert mq0\n");
    failing_resolvectl("[ \"$1\" != domain ]", "no reason given");
    failing_resolvectl("kill -9 $$", "failed");
    fake_resolvectl("exit 0");
    put(program, "not a program", 0755);
    dns_stop(start_ok());
}

static void resolvectl_hangs(void **state)
{
    (void)state;
    failing_resolvectl("[ \"$1\" = dns ] && exec sleep 60", "did not end");
}

#define DIR_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DIR_TEST(replaced_and_restored),
        DIR_TEST(odd_originals),
        DIR_TEST(symbolic_link),
        DIR_TEST(no_file_before),
        DIR_TEST(what_others_wrote_stays),
        DIR_TEST(lost_original),
        DIR_TEST(killed_with_journal),
        DIR_TEST(killed_and_journal_lost),
        DIR_TEST(started_over_the_remains),
        DIR_TEST(killed_amid),
        DIR_TEST(hostile_records),
        DIR_TEST(held_by_a_running_instance),
        DIR_TEST(no_permission),
        DIR_TEST(bad_input_is_refused),
        DIR_TEST(by_resolved),
        DIR_TEST(not_by_resolved),
        DIR_TEST(resolvectl_fails),
        DIR_TEST(resolvectl_hangs),
        DIR_TEST(bind_mount),
        DIR_TEST(read_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
