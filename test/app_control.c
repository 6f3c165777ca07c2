/* The control socket: questions, bounds, hostile clients, which instance is meant. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "app/control.h"

struct rig {
    struct ring *ring;
    struct control *control;
    char dir[64];
    size_t size; /* of the text in an answer */
    unsigned asked;
    _Atomic bool enough; /* the thread that runs the loop may end */
};

static void answer(void *ctx, const char *line, struct json *out, ns_t now)
{
    struct rig *r = ctx;

    (void)now;
    r->asked++;
    json_open(out, NULL, '{');
    json_text(out, "line", line);
    json_open(out, "fill", '[');
    for (size_t n = 0; n < r->size / 2; n++)
        json_number(out, NULL, 1);
    json_close(out, ']');
    json_close(out, '}');
}

static void on_deadline(void *ctx, ns_t now)
{
    struct rig *r = ctx;

    (void)now;
    ring_stop(r->ring, 0);
}

/* Let the loop run for a while, and then take what is ready by then, however late that is. */
static void run(struct rig *r, int ms)
{
    ring_deadline_set(r->ring, ring_clock() + (ns_t)ms * NS_PER_MS);
    assert_int_equal(ring_run(r->ring), 0);
    for (int i = 0; i < 50; i++) {
        ring_deadline_set(r->ring, 0);
        assert_int_equal(ring_run(r->ring), 0);
    }
}

static void open_rig(struct rig *r, const char *name)
{
    struct ring_cfg cfg = {.kind = RING_EPOLL, .ops = {.on_deadline = on_deadline}, .ctx = r};
    char why[256] = "";

    if (!r->dir[0]) {
        strcpy(r->dir, "/tmp/mqvpn-control-XXXXXX");
        assert_non_null(mkdtemp(r->dir));
    }
    assert_int_equal(ring_new(&cfg, &r->ring, why, sizeof(why)), 0);
    assert_int_equal(
        control_open(&r->control, r->ring, r->dir, name, answer, r, why, sizeof(why)), 0);
}

static void close_rig(struct rig *r)
{
    control_close(r->control);
    ring_free(r->ring);
}

static int plain(const char *dir, const char *file)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(a.sun_path, sizeof(a.sun_path), "%.60s/%s", dir, file);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

/* What has come on `fd`, -1 if it is closed, 0 if nothing has. */
static ssize_t got(int fd, char *buf, size_t size)
{
    ssize_t n = recv(fd, buf, size - 1, MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN ? 0 : -1;
    buf[n] = 0;
    return n ? n : -1;
}

static void test_lines(void **state)
{
    struct rig r = {.size = 0};
    char buf[4096];
    struct stat st;
    int fd;

    (void)state;
    open_rig(&r, "tun7");
    snprintf(buf, sizeof(buf), "%s/tun7.sock", r.dir);
    assert_int_equal(stat(buf, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    fd = plain(r.dir, "tun7.sock");
    /* Two questions and a half in one go, then the rest byte by byte. */
    assert_int_equal(send(fd, "a\n\nb", 4, 0), 4);
    run(&r, 30);
    assert_true(got(fd, buf, sizeof(buf)) > 0);
    assert_string_equal(buf, "{\"line\":\"a\",\"fill\":[]}\n{\"line\":\"\",\"fill\":[]}\n");
    send(fd, "c", 1, 0);
    run(&r, 10);
    assert_int_equal(got(fd, buf, sizeof(buf)), 0);
    send(fd, "\n", 1, 0);
    run(&r, 30);
    assert_true(got(fd, buf, sizeof(buf)) > 0);
    assert_string_equal(buf, "{\"line\":\"bc\",\"fill\":[]}\n");
    close(fd);
    run(&r, 10);
    assert_int_equal(control_clients(r.control), 0);
    close_rig(&r);
    snprintf(buf, sizeof(buf), "%s/tun7.sock", r.dir);
    assert_int_equal(stat(buf, &st), -1);
    assert_int_equal(rmdir(r.dir), 0);
}

/* Too long a line, any bytes at all, too large an answer: the client is dropped, no other. */
static void test_hostile(void **state)
{
    struct rig r = {.size = 10};
    char big[CONTROL_LINE_MAX + 64], buf[4096];
    int good, bad;

    (void)state;
    open_rig(&r, "t");
    good = plain(r.dir, "t.sock");
    bad = plain(r.dir, "t.sock");
    memset(big, 'x', sizeof(big));
    send(bad, big, sizeof(big), 0);
    run(&r, 30);
    assert_int_equal(got(bad, buf, sizeof(buf)), -1);
    assert_int_equal(control_clients(r.control), 1);
    close(bad);

    bad = plain(r.dir, "t.sock");
    for (size_t i = 0; i < 200; i++)
        big[i] = (char)(i * 37);
    send(bad, big, 200, 0);
    run(&r, 30);
    close(bad);

    r.size = 2 * (size_t)CONTROL_ANSWER;
    bad = plain(r.dir, "t.sock");
    send(bad, "large\n", 6, 0);
    run(&r, 500);
    assert_int_equal(got(bad, buf, sizeof(buf)), -1);
    close(bad);

    r.size = 10;
    send(good, "still\n", 6, 0);
    run(&r, 30);
    assert_true(got(good, buf, sizeof(buf)) > 0);
    close(good);
    close_rig(&r);
    rmdir(r.dir);
}

/* A client that does not read holds one answer, however much it asks; places are few. */
static void test_slow(void **state)
{
    struct rig r = {.size = 600000};
    int fd[CONTROL_CLIENTS], late;
    char buf[4096];

    (void)state;
    open_rig(&r, "t");
    for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
        fd[i] = plain(r.dir, "t.sock");
        send(fd[i], "1\n2\n3\n", 6, 0);
    }
    run(&r, 1000);
    assert_int_equal(control_clients(r.control), CONTROL_CLIENTS);
    assert_true(r.asked >= CONTROL_CLIENTS && r.asked <= 6 * CONTROL_CLIENTS);
    run(&r, (int)(CONTROL_PATIENCE / NS_PER_MS) + 200);
    late = plain(r.dir, "t.sock");
    r.size = 0;
    send(late, "x\n", 2, 0);
    run(&r, 100);
    assert_true(got(late, buf, sizeof(buf)) > 0);
    assert_int_equal(control_clients(r.control), CONTROL_CLIENTS);
    close(late);
    for (size_t i = 0; i < CONTROL_CLIENTS; i++)
        close(fd[i]);
    close_rig(&r);
    rmdir(r.dir);
}

static void *serve(void *arg)
{
    struct rig *r = arg;

    while (!r->enough)
        run(r, 10);
    return NULL;
}

static void test_ask(void **state)
{
    struct rig r = {.size = 500000}, other = {0};
    char why[256] = "", *text = NULL, path[128];
    pthread_t thread;
    int fd;

    (void)state;
    assert_int_equal(control_connect("/tmp/no/such/folder", NULL, why, sizeof(why)), -ENOENT);
    assert_non_null(strstr(why, "no mqvpn is running"));
    open_rig(&r, "tun0");
    assert_int_equal(control_connect(r.dir, "tun1", why, sizeof(why)), -ENOENT);
    fd = control_connect(r.dir, NULL, why, sizeof(why));
    assert_true(fd >= 0);
    assert_int_equal(pthread_create(&thread, NULL, serve, &r), 0);
    assert_int_equal(control_ask(fd, "status", 60000, &text), 0);
    assert_true(strlen(text) >= 500000);
    assert_memory_equal(text, "{\"line\":\"status\"", 16);
    free(text);
    r.enough = true;
    pthread_join(thread, NULL);
    assert_int_equal(control_ask(fd, "status", 20, &text), -ETIMEDOUT);
    assert_null(text);
    close(fd);

    /* A second instance of that name, and one of another. */
    strcpy(other.dir, r.dir);
    open_rig(&other, "tun0");
    snprintf(path, sizeof(path), "%s/tun0.%d.sock", r.dir, (int)getpid());
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(control_connect(r.dir, NULL, why, sizeof(why)), -ENOTUNIQ);
    assert_non_null(strstr(why, "tun0"));
    close_rig(&other);
    open_rig(&other, "tun1");
    assert_int_equal(control_connect(r.dir, NULL, why, sizeof(why)), -ENOTUNIQ);
    fd = control_connect(r.dir, "tun1", why, sizeof(why));
    assert_true(fd >= 0);
    close_rig(&other);
    assert_int_equal(control_ask(fd, "status", 60000, &text), -ECONNRESET);
    close(fd);

    /* What a killed one leaves is neither found nor in the way. */
    snprintf(path, sizeof(path), "%s/tun0.sock", r.dir);
    rename(path, "/tmp/mqvpn-control-moved");
    close_rig(&r);
    rename("/tmp/mqvpn-control-moved", path);
    assert_int_equal(control_connect(r.dir, "tun0", why, sizeof(why)), -ENOENT);
    open_rig(&r, "tun0");
    fd = control_connect(r.dir, "tun0", why, sizeof(why));
    assert_true(fd >= 0);
    close(fd);
    close_rig(&r);
    assert_int_equal(rmdir(r.dir), 0);
}

/* The socket of a dead process that someone else still holds takes connections, for nobody. */
static void test_outlived(void **state)
{
    char dir[] = "/tmp/mqvpn-control-XXXXXX", why[256];
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), status;
    pid_t child;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(a.sun_path, sizeof(a.sun_path), "%s/tun0.sock", dir);
    child = fork();
    if (child == 0)
        _exit(bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 4));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(control_connect(dir, "tun0", why, sizeof(why)), -ENOENT);
    assert_int_equal(access(a.sun_path, F_OK), 0);
    control_sweep(dir, "tun0");
    assert_int_equal(access(a.sun_path, F_OK), -1);
    close(fd);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_slow),
        cmocka_unit_test(test_ask),
        cmocka_unit_test(test_outlived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
