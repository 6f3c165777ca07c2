/* round: attempts by all ways, of which one wins. Attempts are played by the functions below. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "app/exit.h"
#include "app/paths.h"
#include "app/round.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS NS_PER_MS

static char did[512];
static int refuse; /* exit status of attempt_new, 0: it works */
static bool hopeless_new;
static struct quic_path_view view;

static void note(const char *what, const struct attempt *a)
{
    snprintf(did + strlen(did), sizeof(did) - strlen(did), "%s%s%s", did[0] ? " " : "", what,
             a->link.name);
}

/* "+" begun, "-" freed, "x" closed before. */
int attempt_new(struct attempt **out, const struct attempt_env *env, const struct link *link,
                const union udp_addr *remote, ns_t now, bool *hopeless)
{
    (void)env;
    (void)now;
    *hopeless = hopeless_new;
    if (refuse)
        return refuse;
    *out = calloc(1, sizeof(**out));
    assert_non_null(*out);
    (*out)->link = *link;
    (*out)->remote = *remote;
    (*out)->session.quic = (struct quic_conn *)(void *)*out;
    note("+", *out);
    return 0;
}

void attempt_del(struct attempt *a, ns_t now)
{
    (void)now;
    note("-", a);
    free(a);
}

void quic_close(struct quic_conn *conn, uint64_t code, const char *reason, ns_t now)
{
    (void)code;
    (void)reason;
    (void)now;
    note("x", (const struct attempt *)(const void *)conn);
}

int quic_path_view(const struct quic_conn *conn, size_t path, ns_t now,
                   struct quic_path_view *out)
{
    (void)conn;
    (void)path;
    (void)now;
    *out = view;
    return 0;
}

void paths_end(struct attempt *a, const struct attempt_env *env, ns_t now)
{
    (void)env;
    attempt_del(a, now);
}

struct failure failure_no_link(const struct attempt_env *env)
{
    (void)env;
    return (struct failure){EXIT_BIND, false};
}

static struct links links;

const struct link *links_list(const struct links *l, size_t *n)
{
    *n = l->n;
    return l->now;
}

const struct link *links_by_id(const struct links *l, uint32_t id)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->now[i].id == id)
            return &l->now[i];
    return NULL;
}

static struct peer peer;
static const struct attempt_env env = {.peer = &peer};

/* A round over the links of these letters, to one address. */
static struct round begin(const char *names)
{
    struct round r;

    memset(&links, 0, sizeof(links));
    memset(&view, 0, sizeof(view));
    for (; *names; names++) {
        links.now[links.n] = (struct link){
            .id = (uint32_t)*names, .ifindex = *names, .family = AF_INET, .name = {*names}};
        links.n++;
    }
    peer.addr[0] = udp_addr_any(AF_INET, 443);
    peer.addrs = 1;
    refuse = 0;
    hopeless_new = false;
    did[0] = 0;
    round_init(&r, &env, &links);
    return r;
}

static const struct failure silence = {EXIT_NO_ANSWER, false}, key = {EXIT_AUTH, true};

static void test_stagger(void **state)
{
    struct round r = begin("ab");

    (void)state;
    assert_true(round_begin(&r, 0));
    assert_string_equal(did, "+a");
    assert_int_equal(r.next_at, RACE_STAGGER);
    assert_true(round_tick(&r, RACE_STAGGER - 1));
    assert_string_equal(did, "+a");
    assert_true(round_tick(&r, RACE_STAGGER));
    assert_string_equal(did, "+a +b");
    assert_true(r.next_at == NS_NEVER);
    round_win(&r, r.run[1], 200 * MS);
    assert_string_equal(did, "+a +b xa -a");
    assert_ptr_equal(r.won, r.run[0]);
    round_end(&r, 300 * MS);
    assert_string_equal(did, "+a +b xa -a -b");
    assert_null(r.won);
}

/* Where the server has answered one, the next waits. */
static void test_answered(void **state)
{
    struct round r = begin("ab");

    (void)state;
    assert_true(round_begin(&r, 0));
    view.packets_received = 1;
    view.last_received = 90 * MS;
    assert_true(round_tick(&r, RACE_STAGGER));
    assert_string_equal(did, "+a");
    assert_int_equal(r.next_at, 90 * MS + RACE_ANSWERED);
    assert_true(round_tick(&r, 90 * MS + RACE_ANSWERED));
    assert_string_equal(did, "+a +b");
    round_end(&r, 2 * NS_PER_S);
}

static void test_failure(void **state)
{
    struct round r = begin("ab");

    (void)state;
    assert_true(round_begin(&r, 0));
    assert_true(round_failed(&r, r.run[0], key, 10 * MS)); /* another way is left: at once */
    assert_int_equal(r.next_at, 10 * MS);
    assert_true(round_tick(&r, 10 * MS));
    assert_string_equal(did, "+a -a +b");
    assert_false(round_failed(&r, r.run[0], silence, 20 * MS));
    assert_int_equal(r.why.status, EXIT_AUTH); /* it tells more */
    assert_true(r.why.hopeless);
    /* The next round knows nothing of it. */
    assert_true(round_begin(&r, 30 * MS));
    assert_int_equal(r.why.status, EXIT_NO_ANSWER);
    assert_false(r.why.hopeless);
    round_end(&r, 40 * MS);
}

static void test_cannot_begin(void **state)
{
    struct round r = begin("");

    (void)state;
    assert_false(round_begin(&r, 0));
    assert_int_equal(r.why.status, EXIT_BIND);
    r = begin("ab");
    refuse = EXIT_PRIVILEGE;
    hopeless_new = true;
    assert_false(round_begin(&r, 0));
    assert_int_equal(r.why.status, EXIT_PRIVILEGE);
    assert_true(r.why.hopeless);
    /* A link that has gone since is passed over. */
    r = begin("abc");
    assert_true(round_begin(&r, 0));
    links.now[1] = links.now[2];
    links.n = 2;
    assert_true(round_tick(&r, RACE_STAGGER));
    assert_string_equal(did, "+a +c");
    round_end(&r, NS_PER_S);
}

static void test_join(void **state)
{
    struct round r = begin("a");

    (void)state;
    assert_true(round_begin(&r, 0));
    links.now[1] = links.now[0];
    links.now[1].id = links.now[1].ifindex = 'b';
    links.now[1].name[0] = 'b';
    links.n = 2;
    round_join(&r, &links.now[0], 5 * MS); /* takes part already */
    assert_true(r.next_at == NS_NEVER);
    round_join(&r, &links.now[1], 5 * MS);
    assert_int_equal(r.next_at, 5 * MS);
    assert_true(round_tick(&r, 5 * MS));
    assert_string_equal(did, "+a +b");
    round_win(&r, r.run[0], 6 * MS);
    links.now[1].id = 'c';
    round_join(&r, &links.now[1], 7 * MS);
    assert_true(r.next_at == NS_NEVER);
    round_end(&r, NS_PER_S);
}

/* The winner is put aside, others race, and it comes back. */
static void test_aside(void **state)
{
    struct round r = begin("ab");
    struct attempt *old;

    (void)state;
    assert_true(round_begin(&r, 0));
    round_win(&r, r.run[0], 10 * MS);
    old = round_take(&r);
    assert_non_null(old);
    assert_false(round_has(&r, old));
    assert_true(round_begin(&r, 20 * MS));
    assert_true(round_tick(&r, 20 * MS + RACE_STAGGER));
    assert_string_equal(did, "+a +a +b");
    round_put(&r, old, 200 * MS);
    assert_string_equal(did, "+a +a +b xa -a xb -b");
    assert_ptr_equal(r.won, old);
    assert_true(round_has(&r, old));
    assert_true(r.next_at == NS_NEVER);
    assert_false(round_failed(&r, old, silence, 300 * MS));
    assert_null(r.won);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stagger), cmocka_unit_test(test_answered),
        cmocka_unit_test(test_failure), cmocka_unit_test(test_cannot_begin),
        cmocka_unit_test(test_join),    cmocka_unit_test(test_aside)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
