/* resolve: names looked up beside the loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "app/resolve.h"
#include "tun/why.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

static struct {
    struct ring *ring;
    union udp_addr addr[RESOLVE_MAX];
    size_t n;
    unsigned calls;
} w;

static void found(void *ctx, const union udp_addr *addr, size_t n, ns_t now)
{
    assert_ptr_equal(ctx, &w);
    assert_true(now > 0);
    memcpy(w.addr, addr, n * sizeof(*addr));
    w.n = n;
    w.calls++;
    ring_stop(w.ring, 0);
}

static void give_up(void *ctx, ns_t now)
{
    (void)ctx;
    (void)now;
    ring_stop(w.ring, 1);
}

static int set_up(void **state)
{
    static const enum ring_kind kind[] = {RING_AUTO, RING_EPOLL};
    struct ring_cfg cfg = {.kind = kind[*(size_t *)*state], .ops = {.on_deadline = give_up}};
    char why[WHY_SIZE];

    memset(&w, 0, sizeof(w));
    return ring_new(&cfg, &w.ring, why, sizeof(why));
}

static int tear_down(void **state)
{
    (void)state;
    ring_free(w.ring);
    /* No child is left, neither running nor unreaped. */
    return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD ? 0 : -1;
}

static void numeric(void **state)
{
    static const char *const text[] = {"192.0.2.7", "2001:db8::7"};
    union udp_addr addr[RESOLVE_MAX], want;
    const char *why;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(text); i++) {
        struct resolve r = {0};
        assert_int_equal(udp_addr_parse(text[i], 443, &want), 0);
        assert_int_equal(resolve_now(text[i], 443, addr, &why), 1);
        assert_true(udp_addr_equal(&addr[0], &want));

        w.n = 0;
        assert_int_equal(resolve_start(&r, w.ring, text[i], 443, found, &w), 0);
        ring_deadline_set(w.ring, ring_clock() + RESOLVE_WITHIN * NS_PER_S);
        assert_int_equal(ring_run(w.ring), 0);
        assert_int_equal(w.n, 1);
        assert_true(udp_addr_equal(&w.addr[0], &want));
        assert_int_equal(r.pid, 0);
        resolve_stop(&r);
    }
}

static void names(void **state)
{
    union udp_addr addr[RESOLVE_MAX];
    struct resolve r = {0};
    const char *why;
    size_t n = resolve_now("localhost", 5, addr, &why);

    (void)state;
    assert_int_equal(resolve_now("no name at all", 5, w.addr, &why), 0);
    assert_true(strlen(why) > 0);
    if (n == 0)
        skip();
    for (size_t i = 0; i < n; i++)
        assert_int_equal(udp_addr_port(&addr[i]), 5);
    assert_int_equal(resolve_start(&r, w.ring, "localhost", 5, found, &w), 0);
    ring_deadline_set(w.ring, ring_clock() + RESOLVE_WITHIN * NS_PER_S);
    assert_int_equal(ring_run(w.ring), 0);
    assert_int_equal(w.n, n);
    assert_memory_equal(w.addr, addr, n * sizeof(*addr));
}

/* Nothing found: no call. A second start while one is under way is none. */
static void nothing(void **state)
{
    struct resolve r = {0};
    pid_t pid;

    (void)state;
    assert_int_equal(resolve_start(&r, w.ring, "no name at all", 5, found, &w), 0);
    pid = r.pid;
    assert_int_equal(resolve_start(&r, w.ring, "127.0.0.1", 5, found, &w), 0);
    assert_int_equal(r.pid, pid);
    for (int i = 0; i < 200 && r.pid; i++) {
        ring_deadline_set(w.ring, ring_clock() + 50 * NS_PER_MS);
        assert_int_equal(ring_run(w.ring), 1);
    }
    assert_int_equal(r.pid, 0);
    assert_int_equal(w.calls, 0);
}

static void stopped(void **state)
{
    struct resolve r = {0};

    (void)state;
    resolve_stop(&r);
    assert_int_equal(resolve_start(&r, w.ring, "127.0.0.1", 5, found, &w), 0);
    resolve_stop(&r);
    assert_int_equal(r.pid, 0);
    ring_deadline_set(w.ring, ring_clock() + 50 * NS_PER_MS);
    assert_int_equal(ring_run(w.ring), 1);
    assert_int_equal(w.calls, 0);
}

int main(void)
{
    static size_t kind[] = {0, 1};
#define BOTH(f)                                                                                \
    {#f ", default", f, set_up, tear_down, &kind[0]},                                          \
    {                                                                                          \
#f ", epoll", f, set_up, tear_down, &kind[1]                                           \
    }
    const struct CMUnitTest tests[] = {BOTH(numeric), BOTH(names), BOTH(nothing),
                                       BOTH(stopped)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
