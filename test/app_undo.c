#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "app/sysctl.h"
#include "app/undo.h"
#include "app/undo_file.h"
#include "test/tun_ns.h"

static char base[64], dir[96], why[WHY_SIZE];

/* What the reverters were given, newest last: "text;text;". */
static char reverted[4096];
static int revert_fails;

static int on_revert(const char *prefix, const char *text, char *w, size_t w_size)
{
    if (revert_fails)
        return why_set(w, w_size, -EIO, "no");
    strcat(reverted, prefix);
    strcat(reverted, text);
    strcat(reverted, ";");
    return 0;
}

static int on_kern(struct undo *u, const char *text, char *w, size_t w_size)
{
    (void)u;
    return on_revert("k:", text, w, w_size);
}

static int on_file(struct undo *u, const char *text, char *w, size_t w_size)
{
    (void)u;
    return on_revert("f:", text, w, w_size);
}

static const struct undo_kind kinds[] = {
    {.name = "kern", .in_kernel = true, .revert = on_kern},
    {.name = "file", .in_kernel = false, .revert = on_file},
};

static int set_up(void **state)
{
    (void)state;
    strcpy(base, "/tmp/mqvpn-undo-XXXXXX");
    assert_non_null(mkdtemp(base));
    snprintf(dir, sizeof(dir), "%s/state", base);
    reverted[0] = '\0';
    revert_fails = 0;
    return 0;
}

static int tear_down(void **state)
{
    char cmd[160];

    (void)state;
    snprintf(cmd, sizeof(cmd), "rm -rf '%s'", base);
    return system(cmd);
}

static struct undo *open_ok(void)
{
    struct undo *u;
    int rc = undo_open(&u, dir, NULL, why, sizeof(why));

    if (rc)
        print_message("%s\n", why);
    assert_int_equal(rc, 0);
    return u;
}

static size_t files(void)
{
    char cmd[160];
    size_t n = 0;
    FILE *f;

    snprintf(cmd, sizeof(cmd), "ls -A '%s' | wc -l", dir);
    f = popen(cmd, "r");
    assert_int_equal(fscanf(f, "%zu", &n), 1);
    pclose(f);
    return n;
}

/* Run `fn` in a child that then dies by SIGKILL; its exit status if it exits before. */
static int killed(void (*fn)(void))
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        fn();
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? 0 : WEXITSTATUS(status);
}

/* ---- the journal ---- */

static void clean_exit_leaves_nothing(void **state)
{
    struct undo *u = open_ok();
    uint64_t a, b;
    struct stat st;

    (void)state;
    assert_string_equal(undo_dir(u), dir);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(files(), 1);
    assert_int_equal(undo_add(u, "kern", "one", &a, why, sizeof(why)), 0);
    assert_int_equal(undo_add(u, "file", "two", &b, why, sizeof(why)), 0);
    assert_true(a != b);
    assert_int_equal(undo_count(u), 2);
    undo_done(u, a);
    undo_done(u, a);
    undo_done(u, 999);
    assert_int_equal(undo_count(u), 1);
    undo_done(u, b);
    undo_close(u);
    assert_int_equal(files(), 0);
}

static void what_is_not_undone_stays_for_the_next(void **state)
{
    struct undo *u = open_ok();

    (void)state;
    assert_int_equal(undo_add(u, "kern", "stuck", NULL, why, sizeof(why)), 0);
    undo_close(u);
    assert_int_equal(files(), 1);
    /* This very process wrote it and lives: it is not touched. */
    u = open_ok();
    assert_int_equal(undo_recover(u, kinds, 2, NULL, why, sizeof(why)), 0);
    undo_close(u);
    assert_int_equal(files(), 1);
}

static void dies_with_three(void)
{
    struct undo *u;
    uint64_t id;

    if (undo_open(&u, dir, NULL, NULL, 0) || undo_add(u, "kern", "one", NULL, NULL, 0) ||
        undo_add(u, "kern", "gone", &id, NULL, 0) ||
        undo_add(u, "file", "two\nlines \\ and \\n", NULL, NULL, 0) ||
        undo_add(u, "kern", "", NULL, NULL, 0))
        _exit(1);
    undo_done(u, id);
}

static void next_start_takes_back_newest_first(void **state)
{
    struct undo *u;

    (void)state;
    assert_int_equal(killed(dies_with_three), 0);
    assert_int_equal(files(), 1);
    u = open_ok();
    assert_int_equal(undo_recover(u, kinds, 2, NULL, why, sizeof(why)), 3);
    assert_string_equal(reverted, "k:;f:two\nlines \\ and \\n;k:one;");
    assert_int_equal(files(), 1); /* only the new one */
    assert_int_equal(undo_recover(u, kinds, 2, NULL, why, sizeof(why)), 0);
    undo_close(u);
    assert_int_equal(files(), 0);
}

static void failures_and_unknown_kinds_are_kept(void **state)
{
    struct undo *u;

    (void)state;
    assert_int_equal(killed(dies_with_three), 0);
    u = open_ok();
    revert_fails = 1;
    assert_int_equal(undo_recover(u, kinds, 2, NULL, why, sizeof(why)), 0);
    revert_fails = 0;
    assert_int_equal(undo_recover(u, &kinds[1], 1, NULL, why, sizeof(why)), 1);
    assert_string_equal(reverted, "f:two\nlines \\ and \\n;");
    assert_int_equal(undo_recover(u, kinds, 1, NULL, why, sizeof(why)), 2);
    undo_close(u);
    assert_int_equal(files(), 0);
}

static void dies_amid(void)
{
    struct undo *u;

    if (undo_open(&u, dir, NULL, NULL, 0))
        _exit(1);
    for (int i = 0; i < 3000; i++) {
        char text[16];
        uint64_t id;

        snprintf(text, sizeof(text), "n%d", i);
        if (undo_add(u, "kern", text, &id, NULL, 0))
            _exit(2);
        if (i != 17 && i != 2999)
            undo_done(u, id);
    }
}

/* Thousands of changes made and unmade leave a short file with the right records. */
static void long_lives_are_compacted(void **state)
{
    char path[200], cmd[200];
    struct undo *u;
    struct stat st;
    FILE *f;

    (void)state;
    assert_int_equal(killed(dies_amid), 0);
    assert_int_equal(files(), 1);
    snprintf(cmd, sizeof(cmd), "ls '%s'/*", dir);
    f = popen(cmd, "r");
    assert_int_equal(fscanf(f, "%199s", path), 1);
    pclose(f);
    assert_int_equal(stat(path, &st), 0);
    assert_in_range(st.st_size, 100, 20000);
    u = open_ok();
    assert_int_equal(undo_recover(u, kinds, 2, NULL, why, sizeof(why)), 2);
    assert_string_equal(reverted, "k:n2999;k:n17;");
    undo_close(u);
}

/* ---- two at a time ---- */

static void running_instances_are_left_alone(void **state)
{
    struct undo *u = open_ok(), *v = open_ok();
    char text[16];

    (void)state;
    assert_int_equal(undo_add(u, "kern", "mine", NULL, why, sizeof(why)), 0);
    assert_int_equal(undo_recover(v, kinds, 2, NULL, why, sizeof(why)), 0);
    assert_string_equal(reverted, "");
    assert_int_equal(undo_peer(v, "kern", "mine", text, sizeof(text)), getpid());
    assert_string_equal(text, "mine");
    undo_close(v);
    assert_int_equal(files(), 1);
    undo_close(u);
}

static void finds_peers_by_key(void **state)
{
    struct undo *u = open_ok(), *v = open_ok();
    char text[32] = "";

    (void)state;
    assert_int_equal(undo_add(u, "kern", "net/a 1 0", NULL, why, sizeof(why)), 0);
    assert_int_equal(undo_add(u, "file", "net/b 1 0", NULL, why, sizeof(why)), 0);
    assert_int_equal(undo_peer(v, "kern", "net/a", text, sizeof(text)), getpid());
    assert_string_equal(text, "net/a 1 0");
    assert_int_equal(undo_peer(v, "kern", "net/a", text, 6), getpid());
    assert_string_equal(text, "net/a");
    assert_int_equal(undo_peer(v, "kern", "net/", text, sizeof(text)), 0);
    assert_int_equal(undo_peer(v, "kern", "net/b", text, sizeof(text)), 0);
    assert_int_equal(undo_peer(u, "kern", "net/a", text, sizeof(text)), 0); /* its own */
    undo_close(u);
    undo_close(v);
}

static int go[2];

static void lives_until_told(void)
{
    struct undo *u;
    char c;

    if (undo_open(&u, dir, NULL, NULL, 0) || undo_add(u, "kern", "alive", NULL, NULL, 0))
        _exit(1);
    if (write(go[1], "r", 1) != 1 || read(go[1], &c, 1) != 1)
        _exit(2);
}

static void another_process_alive_then_dead(void **state)
{
    struct undo *u = open_ok();
    char c, text[16];
    pid_t pid;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, go), 0);
    pid = fork();
    if (pid == 0) {
        lives_until_told();
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(read(go[0], &c, 1), 1);
    assert_int_equal(undo_recover(u, kinds, 2, NULL, why, sizeof(why)), 0);
    assert_int_equal(undo_peer(u, "kern", "alive", text, sizeof(text)), pid);
    assert_int_equal(write(go[0], "g", 1), 1);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(undo_peer(u, "kern", "alive", text, sizeof(text)), 0);
    assert_int_equal(undo_recover(u, kinds, 2, NULL, why, sizeof(why)), 1);
    undo_close(u);
    close(go[0]);
    close(go[1]);
}

static void lock_nests(void **state)
{
    struct undo *u = open_ok(), *v = open_ok();

    (void)state;
    undo_lock(u);
    undo_lock(u);
    undo_unlock(u);
    undo_unlock(u);
    undo_lock(v); /* would take a second, were it still held */
    undo_unlock(v);
    undo_close(u);
    undo_close(v);
}

/* ---- whose it was ---- */

/* A journal as some other process would have left it. */
static void forge(const char *name, const struct undo_owner *o, const char *lines)
{
    char path[256], owner[UNDO_OWNER_TEXT];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "mqvpn-undo 1 %s\n%s", undo_owner_text(o, owner), lines);
    fclose(f);
}

static pid_t dead_pid(void)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    return pid;
}

static void namespaces_and_boots(void **state)
{
    struct undo *u = open_ok();
    struct undo_owner o, other;

    (void)state;
    undo_owner_self(&o);
    o.pid = dead_pid();
    other = o;
    other.netns++;
    forge("1.undo", &other, "+ 1 kern elsewhere\n+ 2 file anywhere\n");
    assert_int_equal(undo_recover(u, kinds, 2, NULL, why, sizeof(why)), 1);
    assert_string_equal(reverted, "f:anywhere;");
    assert_int_equal(files(), 2);
    if (o.cookie) {
        other = o;
        other.cookie++; /* the inode number has been used again since */
        forge("2.undo", &other, "+ 1 kern elsewhere\n");
        assert_int_equal(undo_recover(u, kinds, 2, NULL, why, sizeof(why)), 0);
        assert_int_equal(files(), 3);
    }
    other = o;
    strcpy(other.boot, "00000000-0000-0000-0000-000000000000");
    other.pid = getpid(); /* an earlier boot's, dead whatever runs now */
    other.start = 0;
    forge("3.undo", &other, "+ 1 kern rebooted\n+ 2 file survivor\n");
    assert_int_equal(undo_recover(u, kinds, 2, NULL, why, sizeof(why)), 1);
    assert_string_equal(reverted, "f:anywhere;f:survivor;");
    undo_close(u);
}

static void recycled_pid(void **state)
{
    struct undo *u = open_ok();
    struct undo_owner o;

    (void)state;
    undo_owner_self(&o);
    forge("1.undo", &o, "+ 1 kern mine\n");
    assert_int_equal(undo_recover(u, kinds, 2, NULL, why, sizeof(why)), 0);
    o.start++; /* the same number, but another process */
    forge("1.undo", &o, "+ 1 kern earlier\n");
    assert_int_equal(undo_recover(u, kinds, 2, NULL, why, sizeof(why)), 1);
    assert_string_equal(reverted, "k:earlier;");
    undo_close(u);
}

static void owners_round_trip(void **state)
{
    static const char *const bad[] = {
        "",
        "pid=",
        "pid=0 start=1 netns=1 cookie=1 boot=-",
        "pid=1 start=1 netns=1 cookie=1 boot=",
        "pid=1 start=1 netns=1 cookie=1",
        "pid=1 start=1 netns=1 boot=-",
        "pid=-1 start=1 netns=1 cookie=1 boot=-",
        "pid=99999999999 start=1 netns=1 cookie=1 boot=-",
        "pid=1 start=99999999999999999999 netns=1 cookie=1 boot=-",
        "pid=1 start=1 netns=1 cookie=1 boot=../../etc",
        "pid=1 start=1 netns=1 cookie=1 boot=0000000000000000000000000000000000000",
    };
    struct undo_owner o, p;
    char text[UNDO_OWNER_TEXT], again[UNDO_OWNER_TEXT];

    (void)state;
    undo_owner_self(&o);
    assert_true(undo_owner_alive(&o));
    assert_true(o.start > 0 && o.netns > 0 && o.boot[0]);
    undo_owner_text(&o, text);
    assert_int_equal(undo_owner_parse(text, &p), 0);
    assert_string_equal(text, undo_owner_text(&p, again));
    o.pid = dead_pid();
    assert_false(undo_owner_alive(&o));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        p.pid = 4711;
        assert_int_equal(undo_owner_parse(bad[i], &p), -EINVAL);
        assert_int_equal(p.pid, 4711);
    }
}

static void zombies_are_dead(void **state)
{
    struct undo_owner o;
    pid_t pid = fork();
    siginfo_t info;

    (void)state;
    if (pid == 0)
        _exit(0);
    undo_owner_self(&o);
    o.pid = pid;
    o.start = 0;
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_false(undo_owner_alive(&o));
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* ---- bad directories, bad files ---- */

static void directories(void **state)
{
    char file[128], link[128], fallback[128], missing[128];
    struct undo *u;
    struct stat st;

    (void)state;
    snprintf(file, sizeof(file), "%s/file", base);
    snprintf(link, sizeof(link), "%s/link", base);
    snprintf(fallback, sizeof(fallback), "%s/fallback", base);
    snprintf(missing, sizeof(missing), "%s/a/b", base);
    close(open(file, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(mkdir(dir, 0755), 0);
    assert_int_equal(symlink(dir, link), 0);

    assert_int_equal(undo_open(&u, missing, NULL, why, sizeof(why)), -ENOENT);
    assert_non_null(strstr(why, missing));
    assert_int_equal(undo_open(&u, file, NULL, why, sizeof(why)), -ENOTDIR);
    assert_int_not_equal(undo_open(&u, link, NULL, why, sizeof(why)), 0);
    assert_int_equal(undo_open(&u, file, missing, why, sizeof(why)), -ENOENT);

    assert_int_equal(undo_open(&u, missing, fallback, why, sizeof(why)), 0);
    assert_string_equal(undo_dir(u), fallback);
    undo_close(u);
    u = open_ok(); /* ours, but open to others: closed to them */
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    undo_close(u);

    assert_int_equal(undo_open(&u, NULL, fallback, why, sizeof(why)), 0);
    assert_null(undo_dir(u));
    assert_int_equal(undo_add(u, "kern", "x", NULL, why, sizeof(why)), 0);
    assert_int_equal(undo_count(u), 1);
    assert_int_equal(undo_recover(u, kinds, 2, NULL, why, sizeof(why)), 0);
    assert_int_equal(undo_peer(u, "kern", "x", why, sizeof(why)), 0);
    undo_lock(u);
    undo_unlock(u);
    undo_close(u);
}

static void foreign_directory_is_refused(void **state)
{
    struct undo *u;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(mkdir(dir, 0777), 0);
    if (chown(dir, 65534, 65534))
        skip();
    assert_int_equal(undo_open(&u, dir, NULL, why, sizeof(why)), -EPERM);
    assert_non_null(strstr(why, "owned"));
}

static void bad_records_are_refused(void **state)
{
    struct undo *u = open_ok();
    char *big = malloc(UNDO_TEXT_MAX + 2);

    (void)state;
    memset(big, 'x', UNDO_TEXT_MAX + 1);
    big[UNDO_TEXT_MAX + 1] = '\0';
    assert_int_equal(undo_add(u, "kern", big, NULL, why, sizeof(why)), -E2BIG);
    big[UNDO_TEXT_MAX] = '\0';
    assert_int_equal(undo_add(u, "kern", big, NULL, why, sizeof(why)), 0);
    assert_int_equal(undo_add(u, "", "x", NULL, why, sizeof(why)), -EINVAL);
    assert_int_equal(undo_add(u, "two words", "x", NULL, why, sizeof(why)), -EINVAL);
    assert_int_equal(undo_add(u, "sixteenletterssi", "x", NULL, why, sizeof(why)), -EINVAL);
    assert_int_equal(undo_add(u, "UPPER", "x", NULL, why, sizeof(why)), -EINVAL);
    assert_int_equal(undo_count(u), 1);
    free(big);
    undo_close(u);
}

/* A full disk: the change must not be made, and the journal stays readable. */
static void dies_on_a_full_disk(void)
{
    struct rlimit small = {.rlim_cur = 300, .rlim_max = 300};
    char text[200];
    struct undo *u;
    int rc;

    memset(text, 'y', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    signal(SIGXFSZ, SIG_IGN);
    if (undo_open(&u, dir, NULL, NULL, 0) || undo_add(u, "kern", "fits", NULL, NULL, 0) ||
        setrlimit(RLIMIT_FSIZE, &small))
        _exit(1);
    rc = undo_add(u, "kern", text, NULL, NULL, 0);
    if (rc == 0 || undo_count(u) != 1)
        _exit(2);
    if (undo_add(u, "kern", "too", NULL, NULL, 0))
        _exit(3);
}

static void full_disk(void **state)
{
    struct undo *u;

    (void)state;
    assert_int_equal(killed(dies_on_a_full_disk), 0);
    u = open_ok();
    assert_int_equal(undo_recover(u, kinds, 2, NULL, why, sizeof(why)), 2);
    assert_string_equal(reverted, "k:too;k:fits;");
    undo_close(u);
}

/* Whatever the bytes of a journal are, reading does no harm. */
static void hostile_files(void **state)
{
    static const char *const tails[] = {
        "+ 1 kern one\n+ 2 kern torn",  /* the torn one does not count */
        "+ 1 kern one\n- 1 \n",         /* no removal */
        "+ 1 kern one\n+ 1\n+ \n+\n\n", /* nonsense between */
        "nonsense\n+ 1 kern one\n",
        "+ 1 kern one\n+ 2 kern bad \\x\n+ 3 kern bad\\\n",
        "+ 1 kern one\n+ 99999999999999999999 kern big\n",
        "+ 1 kern one\n+ 2 KERN upper\n+ 3 kern\n+ -1 kern x\n- 7\n",
    };
    struct undo *u = open_ok();
    struct undo_owner o;
    char path[256], junk[400];
    struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};

    (void)state;
    undo_owner_self(&o);
    o.pid = dead_pid();
    for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
        reverted[0] = '\0';
        forge("1.undo", &o, tails[i]);
        assert_int_equal(undo_recover(u, kinds, 2, NULL, why, sizeof(why)), 1);
        assert_string_equal(reverted, "k:one;");
        assert_int_equal(files(), 1);
    }
    srand(11);
    snprintf(path, sizeof(path), "%s/1.undo", dir);
    for (int i = 0; i < 300; i++) {
        size_t n = (size_t)rand() % sizeof(junk);
        FILE *f;

        forge("1.undo", &o, "+ 1 kern one\n+ 2 file two\n- 1\n");
        f = fopen(path, i % 2 ? "r+" : "w");
        for (size_t j = 0; j < n; j++)
            junk[j] = (char)rand();
        if (i % 2)
            fseek(f, rand() % 100, SEEK_SET);
        fwrite(junk, 1, i % 2 ? 1 : n, f);
        fclose(f);
        utimensat(AT_FDCWD, path, old, 0);
        reverted[0] = '\0';
        undo_recover(u, kinds, 2, NULL, why, sizeof(why));
        unlink(path);
    }
    /* Not a file, not a name of ours, one that was just born: left alone. */
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(junk, sizeof(junk), "%s/2.undo", dir);
    assert_int_equal(symlink("/etc/passwd", junk), 0);
    snprintf(junk, sizeof(junk), "%s/3.undo", dir);
    close(open(junk, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(undo_recover(u, kinds, 2, NULL, why, sizeof(why)), 0);
    assert_int_equal(files(), 4);
    utimensat(AT_FDCWD, junk, old, 0);
    assert_int_equal(undo_recover(u, kinds, 2, NULL, why, sizeof(why)), 0);
    assert_int_equal(files(), 3);
    undo_close(u);
}

/* ---- settings ---- */

#define FORWARD "net/ipv4/ip_forward"

static const struct undo_kind *const settings = &sysctl_undo_kind;

static bool enter(void)
{
    char v[SYSCTL_VALUE_MAX];

    return ns_enter() && sysctl_get(FORWARD, v) == 0 && ns_write("/proc/sys/" FORWARD, "0");
}

static const char *forward(void)
{
    static char v[SYSCTL_VALUE_MAX];

    assert_int_equal(sysctl_get(FORWARD, v), 0);
    return v;
}

static void setting_is_restored(void **state)
{
    struct sysctl_change c, d;
    struct undo *u;
    long n;

    (void)state;
    if (!enter())
        skip();
    u = open_ok();
    assert_int_equal(sysctl_get_int(FORWARD, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(sysctl_set(u, FORWARD, "1", &c, why, sizeof(why)), 0);
    assert_true(c.active);
    assert_string_equal(forward(), "1");
    assert_int_equal(sysctl_set(u, FORWARD, "1", &d, why, sizeof(why)), 0);
    assert_false(d.active); /* right already, and nobody else's */
    assert_int_equal(sysctl_restore(u, &d, why, sizeof(why)), 0);
    assert_int_equal(sysctl_restore(u, &c, why, sizeof(why)), 0);
    assert_string_equal(forward(), "0");
    assert_int_equal(sysctl_restore(u, &c, why, sizeof(why)), 0);
    undo_close(u);
    assert_int_equal(files(), 0);
}

static void setting_of_others_stays(void **state)
{
    struct sysctl_change c;
    struct undo *u;

    (void)state;
    if (!enter())
        skip();
    u = open_ok();
    assert_int_equal(sysctl_set(u, "net/ipv4/conf/lo/rp_filter", "2", &c, why, sizeof(why)), 0);
    assert_true(ns_write("/proc/sys/net/ipv4/conf/lo/rp_filter", "1"));
    assert_int_equal(sysctl_restore(u, &c, why, sizeof(why)), 0);
    assert_int_equal(sysctl_get(c.key, why), 0);
    assert_string_equal(why, "1");
    /* ... unless it is one to be kept whatever it has become. */
    assert_int_equal(sysctl_keep(u, "net/ipv4/conf/lo/rp_filter", &c, why, sizeof(why)), 0);
    assert_true(ns_write("/proc/sys/net/ipv4/conf/lo/rp_filter", "0"));
    assert_int_equal(sysctl_restore(u, &c, why, sizeof(why)), 0);
    assert_int_equal(sysctl_get(c.key, why), 0);
    assert_string_equal(why, "1");
    undo_close(u);
}

static void last_instance_restores(void **state)
{
    struct sysctl_change c, d;
    struct undo *u, *v;

    (void)state;
    if (!enter())
        skip();
    u = open_ok();
    v = open_ok();
    assert_int_equal(sysctl_set(u, FORWARD, "1", &c, why, sizeof(why)), 0);
    assert_int_equal(sysctl_set(v, FORWARD, "1", &d, why, sizeof(why)), 0);
    assert_true(d.active);
    assert_int_equal(sysctl_restore(u, &c, why, sizeof(why)), 0);
    assert_string_equal(forward(), "1");
    assert_int_equal(sysctl_restore(v, &d, why, sizeof(why)), 0);
    assert_string_equal(forward(), "0");
    undo_close(u);
    undo_close(v);
}

static void dies_forwarding(void)
{
    struct sysctl_change c;
    struct undo *u;

    if (undo_open(&u, dir, NULL, NULL, 0) || sysctl_set(u, FORWARD, "1", &c, NULL, 0))
        _exit(1);
}

static void setting_of_a_killed_instance(void **state)
{
    struct sysctl_change d;
    struct undo *u;

    (void)state;
    if (!enter())
        skip();
    assert_int_equal(killed(dies_forwarding), 0);
    assert_string_equal(forward(), "1");
    u = open_ok();
    assert_int_equal(undo_recover(u, settings, 1, NULL, why, sizeof(why)), 1);
    assert_string_equal(forward(), "0");

    /* With a living one that relies on it too, it stays until that one ends. */
    assert_int_equal(sysctl_set(u, FORWARD, "1", &d, why, sizeof(why)), 0);
    assert_int_equal(killed(dies_forwarding), 0);
    {
        struct undo *v = open_ok();

        assert_int_equal(undo_recover(v, settings, 1, NULL, why, sizeof(why)), 1);
        assert_string_equal(forward(), "1");
        undo_close(v);
    }
    assert_int_equal(sysctl_restore(u, &d, why, sizeof(why)), 0);
    assert_string_equal(forward(), "0");
    undo_close(u);
    assert_int_equal(files(), 0);
}

static void bad_settings(void **state)
{
    static const char *const keys[] = {
        "",
        "kernel/hostname",
        "net",
        "net/",
        "net/../kernel/hostname",
        "net//ipv4/ip_forward",
        "net/ipv4/./ip_forward",
        "net/ipv4/..",
        "/proc/sys/net/ipv4/ip_forward",
        "net/a b",
        "net/ipv4/ip_forward\n",
    };
    static const char *const records[] = {
        "",
        "net/ipv4/ip_forward",
        "net/ipv4/ip_forward 1",
        "net/ipv4/ip_forward 1 ",
        "net/ipv4/ip_forward 1 0 0",
        "kernel/hostname a b",
        "net/../kernel/hostname a b",
        "net/ipv4/ip_forward 1 *",
        " net/ipv4/ip_forward 1 0",
    };
    char v[SYSCTL_VALUE_MAX], big[300];
    struct sysctl_change c;
    struct undo *u = open_ok();
    long n;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        assert_int_equal(sysctl_get(keys[i], v), -EINVAL);
        assert_int_equal(sysctl_set(u, keys[i], "1", &c, why, sizeof(why)), -EINVAL);
        assert_int_equal(sysctl_keep(u, keys[i], &c, why, sizeof(why)), -EINVAL);
        assert_false(c.active);
    }
    assert_int_equal(sysctl_get("net/ipv4/nonsense", v), -ENOENT);
    assert_int_equal(sysctl_set(u, "net/ipv4/nonsense", "1", &c, why, sizeof(why)), -ENOENT);
    assert_non_null(strstr(why, "net.ipv4.nonsense=1"));
    assert_int_equal(sysctl_set(u, FORWARD, "", &c, why, sizeof(why)), -EINVAL);
    assert_int_equal(sysctl_set(u, FORWARD, "1 2", &c, why, sizeof(why)), -EINVAL);
    assert_int_equal(sysctl_set(u, FORWARD, "*", &c, why, sizeof(why)), -EINVAL);
    assert_int_equal(sysctl_get_int("net/ipv4/tcp_congestion_control", &n), -EINVAL);
    for (size_t i = 0; i < ARRAY_LEN(records); i++)
        assert_int_equal(settings->revert(u, records[i], why, sizeof(why)), -EINVAL);
    memset(big, 'n', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    assert_int_equal(settings->revert(u, big, why, sizeof(why)), -EINVAL);
    /* A link that is gone: nothing to restore. */
    assert_int_equal(settings->revert(u, "net/ipv4/conf/gone0/rp_filter 2 1", why, sizeof(why)),
                     0);
    assert_int_equal(undo_count(u), 0);
    undo_close(u);
}

static void refused_setting_is_not_recorded(void **state)
{
    struct sysctl_change c;
    struct undo *u;

    (void)state;
    if (!enter())
        skip();
    u = open_ok();
    assert_int_equal(sysctl_set(u, FORWARD, "many", &c, why, sizeof(why)), -EINVAL);
    assert_non_null(strstr(why, "net.ipv4.ip_forward=many"));
    assert_false(c.active);
    assert_int_equal(undo_count(u), 0);
    undo_close(u);
}

#define DIR_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DIR_TEST(clean_exit_leaves_nothing),
        DIR_TEST(what_is_not_undone_stays_for_the_next),
        DIR_TEST(next_start_takes_back_newest_first),
        DIR_TEST(failures_and_unknown_kinds_are_kept),
        DIR_TEST(long_lives_are_compacted),
        DIR_TEST(running_instances_are_left_alone),
        DIR_TEST(finds_peers_by_key),
        DIR_TEST(another_process_alive_then_dead),
        DIR_TEST(lock_nests),
        DIR_TEST(namespaces_and_boots),
        DIR_TEST(recycled_pid),
        DIR_TEST(owners_round_trip),
        DIR_TEST(zombies_are_dead),
        DIR_TEST(directories),
        DIR_TEST(foreign_directory_is_refused),
        DIR_TEST(bad_records_are_refused),
        DIR_TEST(full_disk),
        DIR_TEST(hostile_files),
        DIR_TEST(setting_is_restored),
        DIR_TEST(setting_of_others_stays),
        DIR_TEST(last_instance_restores),
        DIR_TEST(setting_of_a_killed_instance),
        DIR_TEST(bad_settings),
        DIR_TEST(refused_setting_is_not_recorded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
