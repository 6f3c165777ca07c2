/* paths: which link has which path, while links come and go. The connection and its sockets are
 * played by the functions below; what they were asked for is in `did`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "app/address.h"
#include "app/paths.h"
#include "mp/mp.h"

#include <stdio.h>
#include <string.h>

#define S NS_PER_S

static char did[512];
static bool multipath, blocked, no_socket;
static size_t open_paths, next_path, sockets;
static int socket_of[16];
static struct quic_path_view view[4];
static size_t views, pings;
static uint8_t to[16]; /* by path: which of the server's addresses */
static struct peer peer;

static void note(const char *what, const char *name)
{
    snprintf(did + strlen(did), sizeof(did) - strlen(did), "%s%s%s%s", did[0] ? " " : "", what,
             name ? ":" : "", name ? name : "");
}

/* ---- the connection -------------------------------------------------------------------- */

bool mp_negotiated(const struct quic_conn *conn)
{
    (void)conn;
    return multipath;
}

int mp_open(struct quic_conn *conn, const struct quic_route *route, ns_t now, size_t *path)
{
    (void)conn;
    (void)now;
    if (blocked)
        return QUIC_BLOCKED;
    open_paths++;
    *path = next_path++;
    to[*path % ARRAY_LEN(to)] = route->remote.ip[3];
    return 0;
}

int mp_abandon(struct quic_conn *conn, size_t path, uint64_t error, ns_t now)
{
    char text[8];

    (void)conn;
    (void)now;
    assert_int_equal(error, MP_APPLICATION_ABANDON_PATH);
    if (open_paths == 1)
        return QUIC_BLOCKED;
    open_paths--;
    snprintf(text, sizeof(text), "%zu", path);
    note("abandon", text);
    return 0;
}

int mp_set_backup(struct quic_conn *conn, size_t path, bool backup, ns_t now)
{
    char text[8];

    (void)conn;
    (void)now;
    snprintf(text, sizeof(text), "%zu", path);
    note(backup ? "backup" : "usual", text);
    return 0;
}

void attempt_del(struct attempt *a, ns_t now)
{
    (void)a;
    (void)now;
    note("del", NULL);
}

int attempt_fit(struct attempt *a, size_t path, const struct link *link, ns_t now)
{
    char text[32];

    (void)a;
    (void)now;
    snprintf(text, sizeof(text), "%zu=%llu", path, (unsigned long long)link->rate_bps);
    if (link->rate_bps)
        note("cap", text);
    return 0;
}

void peer_keep(struct peer *p, const union udp_addr *from, struct quic_conn *conn, ns_t now)
{
    (void)p;
    (void)from;
    (void)conn;
    (void)now;
    note("keep", NULL);
}

void session_log(const struct session *s, ns_t now)
{
    (void)s;
    (void)now;
    note("log", NULL);
}

static char told[64]; /* rates, as path:kbps */

int session_rates(struct session *s, const struct path_rate *list, size_t n)
{
    size_t k = 0;

    (void)s;
    told[0] = 0;
    for (size_t i = 0; i < n; i++)
        k += (size_t)snprintf(told + k, sizeof(told) - k, "%s%u:%u", i ? " " : "",
                              (unsigned)list[i].path, (unsigned)list[i].kbps);
    return 0;
}

/* IDs are no indices. */
uint32_t quic_path_id(const struct quic_conn *conn, size_t path)
{
    (void)conn;
    return (uint32_t)(path ? path + 10 : 0);
}

size_t quic_path_count(const struct quic_conn *conn)
{
    (void)conn;
    return views;
}

int quic_path_view(const struct quic_conn *conn, size_t path, ns_t now,
                   struct quic_path_view *out)
{
    (void)conn;
    (void)now;
    if (path >= views)
        return QUIC_INVAL;
    *out = view[path];
    return 0;
}

void quic_ping(struct quic_conn *conn, size_t path)
{
    (void)conn;
    (void)path;
    pings++;
}

/* ---- sockets --------------------------------------------------------------------------- */

/* One for each family of an interface. */
static int key(int ifindex, sa_family_t family)
{
    return ifindex + (family == AF_INET6 ? 128 : 0);
}

static bool has_socket(int ifindex)
{
    for (size_t i = 0; i < sockets; i++)
        if (socket_of[i] == ifindex)
            return true;
    return false;
}

int attempt_route(const struct attempt *a, const struct link *link,
                  const union udp_addr *remote, struct quic_route *out)
{
    *out =
        (struct quic_route){.ifindex = (uint32_t)link->ifindex, .remote = address_quic(remote)};
    return attempt_has(a, link) && link->family == remote->sa.sa_family ? 0 : QUIC_INVAL;
}

bool attempt_has(const struct attempt *a, const struct link *link)
{
    (void)a;
    return has_socket(key(link->ifindex, link->family));
}

int attempt_open(struct attempt *a, const struct attempt_env *env, const struct link *link)
{
    (void)env;
    if (no_socket)
        return QUIC_NOMEM;
    if (!attempt_has(a, link))
        socket_of[sockets++] = key(link->ifindex, link->family);
    return 0;
}

void attempt_close(struct attempt *a, int ifindex, sa_family_t family)
{
    (void)a;
    for (size_t i = 0; i < sockets; i++)
        if (socket_of[i] == key(ifindex, family))
            socket_of[i] = socket_of[--sockets];
}

int attempt_move(struct attempt *a, const struct attempt_env *env, size_t path,
                 const struct link *link, ns_t now)
{
    (void)env;
    (void)path;
    (void)now;
    if (attempt_open(a, env, link))
        return QUIC_NOMEM;
    if (a->link.ifindex != link->ifindex)
        attempt_close(a, a->link.ifindex, a->link.family);
    a->link = *link;
    note("move", link->name);
    return 0;
}

/* ---- links ----------------------------------------------------------------------------- */

static struct links links;

const struct link *links_list(const struct links *l, size_t *n)
{
    *n = l->n;
    return l->now;
}

/* "a1" is interface a with its address 1; '+' after it: a backup; '6': of IPv6; '<': capped; '*': all
 * ways; '#': metered. */
static void links_are(const char *text)
{
    static uint32_t ids[256];
    static uint32_t last;
    struct link former[LINKS_MAX];
    size_t n = links.n;

    memcpy(former, links.now, sizeof(former));
    links.n = 0;
    for (; *text; text += *text == ' ') {
        struct link *it = &links.now[links.n++];
        bool known = false;

        *it = (struct link){.ifindex = text[0], .family = AF_INET, .name = {text[0]}};
        it->local.family = AF_INET;
        it->local.ip[0] = (uint8_t)text[1];
        for (text += 2; *text && *text != ' '; text++) {
            if (*text == '+')
                it->priority = LINK_BACKUP;
            else if (*text == '<')
                it->rate_bps = 64000;
            else if (*text == '#')
                it->month_bytes = 1000000;
            else if (*text == '*')
                it->all = true;
            else
                it->family = AF_INET6;
        }
        for (size_t i = 0; i < n; i++)
            known |= former[i].ifindex == it->ifindex && former[i].family == it->family;
        if (!known)
            ids[key(it->ifindex, it->family)] = ++last;
        it->id = ids[key(it->ifindex, it->family)];
    }
}

static struct meter meter;
static const struct attempt_env env = {.peer = &peer, .meter = &meter};

/* The server's addresses: each a digit; IPv6 from 6 on. */
static void server_has(const char *digits)
{
    peer.addrs = 0;
    for (; *digits; digits++) {
        uint8_t ip[16] = {10, 0, 0, (uint8_t)(*digits - '0')};

        peer.addr[peer.addrs++] = udp_addr_raw(*digits < '6' ? AF_INET : AF_INET6, ip, 443);
    }
}

static struct attempt *begin(struct attempt *a, const char *first, bool mp)
{
    memset(a, 0, sizeof(*a));
    memset(&links, 0, sizeof(links));
    links_are(first);
    a->link = links.now[0];
    server_has("1");
    a->remote = peer.addr[0];
    views = 0;
    socket_of[0] = a->link.ifindex;
    sockets = open_paths = next_path = 1;
    multipath = mp;
    blocked = no_socket = false;
    did[0] = 0;
    return a;
}

static int follow_at(struct attempt *a, const char *now_there, ns_t now)
{
    did[0] = 0;
    links_are(now_there);
    return paths_follow(a, &env, &links, now);
}

static int follow(struct attempt *a, const char *now_there)
{
    return follow_at(a, now_there, S);
}

/* What has a path, in the order of the table: interface and path. */
static const char *table(const struct attempt *a)
{
    static char text[64];
    size_t n = 0;

    text[0] = 0;
    for (size_t i = 0; i < a->paths; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s%zu", n ? " " : "",
                              a->path[i].link.name, a->path[i].path);
    return text;
}

/* ---- tests ----------------------------------------------------------------------------- */

static void test_come_and_go(void **state)
{
    struct attempt a;

    (void)state;
    begin(&a, "a1", true);
    assert_int_equal(follow(&a, "a1"), 0);
    assert_string_equal(table(&a), "a0");
    assert_int_equal(follow(&a, "a1 b1 c1"), 0);
    assert_string_equal(table(&a), "a0 b1 c2");
    assert_int_equal(sockets, 3);
    assert_int_equal(follow(&a, "a1 b1 c1"), 0);
    assert_string_equal(did, "");
    assert_int_equal(follow(&a, "a1 c1"), 0);
    assert_string_equal(did, "abandon:1");
    assert_string_equal(table(&a), "a0 c2");
    assert_int_equal(sockets, 2);
    assert_int_equal(follow(&a, "a1 d16 c1"), 0); /* of the other family */
    assert_string_equal(table(&a), "a0 c2");
    /* The new one is opened before the last is left. */
    assert_int_equal(follow(&a, "e1"), 0);
    assert_string_equal(did, "abandon:2 abandon:0");
    assert_string_equal(table(&a), "e3");
}

static void test_capped(void **state)
{
    struct attempt a;

    (void)state;
    begin(&a, "a1", true);
    assert_int_equal(follow(&a, "a1 b1< c1"), 0);
    assert_string_equal(did, "cap:1=64000");
    assert_string_equal(table(&a), "a0 b1 c2");
    assert_string_equal(told, "11:64");
    assert_int_equal(follow(&a, "a1 b2< c1"), 0); /* another address: another path */
    assert_string_equal(did, "abandon:1 cap:3=64000");
    assert_string_equal(told, "13:64");
    assert_int_equal(follow(&a, "a1 b2< c1 d1<"), 0);
    assert_string_equal(told, "13:64 14:64");
    assert_int_equal(follow(&a, "a1 c1"), 0);
    assert_string_equal(told, "");
    /* The first path, and the only one, which moves. */
    for (int mp = 0; mp < 2; mp++) {
        begin(&a, "a1<", mp);
        assert_int_equal(follow(&a, "a1<"), 0);
        assert_string_equal(told, "0:64");
        blocked = true;
        assert_int_equal(follow(&a, "b1"), 0);
        assert_string_equal(did, "move:b");
        assert_string_equal(told, "");
        assert_int_equal(follow(&a, "c1<"), 0);
        assert_string_equal(told, "0:64");
    }
}

static void test_address(void **state)
{
    struct attempt a;

    (void)state;
    begin(&a, "a1 b1", true);
    assert_int_equal(follow(&a, "a1 b1"), 0);
    assert_int_equal(follow(&a, "a1 b2"), 0);
    assert_string_equal(did, "abandon:1");
    assert_string_equal(table(&a), "a0 b2");
    assert_int_equal(follow(&a, "a1"), 0);
    assert_int_equal(follow(&a, "a2"), 0); /* the only one */
    assert_string_equal(did, "move:a");
    assert_string_equal(table(&a), "a0");
}

static void test_nothing_left(void **state)
{
    struct attempt a;

    (void)state;
    begin(&a, "a1 b1", true);
    assert_int_equal(follow(&a, "a1 b1"), 0);
    assert_int_equal(follow(&a, ""), QUIC_CLOSED);
    assert_string_equal(did, "abandon:1");
    assert_int_equal(follow(&a, ""), QUIC_CLOSED);
    assert_string_equal(table(&a), "a0");
    /* It is back as it was: so is its path, on the same socket. */
    assert_int_equal(follow(&a, "a1"), 0);
    assert_string_equal(did, "");
    assert_string_equal(table(&a), "a0");
    assert_true(has_socket('a'));
    /* Gone again, and another one comes, with no path to be had: it moves. */
    assert_int_equal(follow(&a, ""), QUIC_CLOSED);
    blocked = true;
    assert_int_equal(follow(&a, "c1"), 0);
    assert_string_equal(did, "move:c");
    assert_string_equal(table(&a), "c0");
    assert_true(has_socket('c'));
    assert_false(has_socket('a'));
}

static void test_not_yet(void **state)
{
    struct attempt a;

    (void)state;
    begin(&a, "a1", true);
    blocked = true;
    assert_int_equal(follow(&a, "a1 b1"), 0);
    assert_string_equal(table(&a), "a0");
    assert_int_equal(sockets, 1);
    assert_true(a.paths_at == NS_NEVER); /* the connection tells */
    blocked = false;
    no_socket = true;
    assert_int_equal(follow(&a, "a1 b1"), 0);
    assert_string_equal(table(&a), "a0");
    assert_int_equal(a.paths_at, S + PATHS_RETRY);
    no_socket = false;
    assert_int_equal(follow(&a, "a1 b1"), 0);
    assert_string_equal(table(&a), "a0 b1");
}

static void test_over(void **state)
{
    struct attempt a;

    (void)state;
    begin(&a, "a1 b1", true);
    assert_int_equal(follow(&a, "a1 b1"), 0);
    paths_gone(&a, &env, 7, 2 * S);
    assert_string_equal(table(&a), "a0 b1");
    paths_gone(&a, &env, 1, 2 * S);
    assert_string_equal(table(&a), "a0");
    assert_int_equal(a.paths_at, 2 * S + PATHS_RETRY);
    assert_int_equal(follow(&a, "a1 b1"), 0);
    assert_string_equal(table(&a), "a0 b2");
}

static void test_backup(void **state)
{
    struct attempt a;

    (void)state;
    begin(&a, "a1+", true);
    assert_int_equal(follow(&a, "a1+"), 0);
    assert_string_equal(did, "backup:0");
    assert_int_equal(follow(&a, "b1 a1+ c1+"), 0);
    assert_string_equal(did, "backup:2");
    assert_string_equal(table(&a), "a0 b1 c2");
}

static void test_single(void **state)
{
    struct attempt a;

    (void)state;
    begin(&a, "a1", false);
    assert_int_equal(follow(&a, "a1 b1"), 0);
    assert_string_equal(did, "");
    assert_int_equal(follow(&a, "b1"), 0);
    assert_string_equal(did, "move:b");
    assert_int_equal(follow(&a, "b2"), 0);
    assert_string_equal(did, "move:b");
    assert_int_equal(follow(&a, "a1 b2+"), 0); /* one of higher priority */
    assert_string_equal(did, "move:a");
    assert_int_equal(follow(&a, ""), QUIC_CLOSED);
    no_socket = true;
    assert_int_equal(follow(&a, "c1"), QUIC_CLOSED);
}

/*
 * An interface has one path, whatever leads from it to the server; another family is better
 * than none.
 */
static void test_families(void **state)
{
    struct attempt a;

    (void)state;
    begin(&a, "a1", true);
    server_has("17");
    assert_int_equal(follow(&a, "a1 a16 b16"), 0);
    assert_string_equal(table(&a), "a0 b1");
    assert_int_equal(to[1], 7);
    assert_int_equal(follow(&a, "a1 a16 b16 b1"), 0);
    assert_string_equal(did, "");
    assert_int_equal(follow(&a, "a16 b16 b1"),
                     0); /* its IPv4 is gone, even if it is the only one */
    assert_string_equal(did, "abandon:0");
    assert_string_equal(table(&a), "a2 b1");
    assert_int_equal(to[2], 7);
    assert_int_equal(sockets, 2);
}

static void is(size_t path, bool validated, bool silent, ns_t heard)
{
    views = views <= path ? path + 1 : views;
    view[path] = (struct quic_path_view){.usable = validated,
                                         .validated = validated,
                                         .silent = silent,
                                         .last_received = heard,
                                         .packets_received = heard > 0};
}

/* An address that does not answer any more: another is tried, and the one that answers stays. */
static void test_dead_address(void **state)
{
    struct attempt a;

    (void)state;
    begin(&a, "a1", true);
    server_has("12");
    is(0, true, false, S);
    assert_int_equal(follow(&a, "a1"), 0);
    paths_watch(&a, &env, S);
    assert_true(a.paths_at == NS_NEVER);
    is(0, true, true, S);
    paths_watch(&a, &env, S);
    assert_int_equal(a.paths_at, S + PATHS_DOUBT / 4);
    assert_int_equal(follow_at(&a, "a1", 2 * S - 1), 0);
    assert_string_equal(table(&a), "a0");
    assert_true(a.paths_at < 3 * S);
    is(1, false, false, 0);
    assert_int_equal(follow_at(&a, "a1", 2 * S), 0);
    assert_string_equal(table(&a), "a0 a1");
    assert_int_equal(to[1], 2);
    assert_int_equal(follow_at(&a, "a1", 2 * S + 1), 0);
    assert_string_equal(did, "");
    is(1, true, false, 2 * S + 2);
    assert_int_equal(follow_at(&a, "a1", 2 * S + 2), 0);
    assert_string_equal(did, "abandon:0");
    assert_string_equal(table(&a), "a1");
    assert_int_equal(sockets, 1);
    /* The first is not tried again soon. */
    is(1, true, true, 2 * S + 2);
    assert_int_equal(follow_at(&a, "a1", 4 * S), 0);
    assert_string_equal(table(&a), "a1");
    is(2, false, false, 0);
    assert_int_equal(follow_at(&a, "a1", 2 * S + 2 + PATHS_AVOID), 0);
    assert_string_equal(table(&a), "a1 a2");
    assert_int_equal(to[2], 1);
    /* Here it is the older one that answers first. */
    is(1, true, false, 70 * S);
    assert_int_equal(follow_at(&a, "a1", 70 * S), 0);
    assert_string_equal(did, "abandon:2");
    assert_string_equal(table(&a), "a1");
}

/* Every way, where that is asked for. */
static void test_all_ways(void **state)
{
    struct attempt a;

    (void)state;
    begin(&a, "a1*", true);
    server_has("127");
    assert_int_equal(follow(&a, "a1* a16* b1"), 0);
    assert_string_equal(table(&a), "a0 a1 a2 b3");
    assert_true(to[1] == 2 && to[2] == 7 && to[3] == 1);
    assert_int_equal(sockets, 3);
    assert_int_equal(follow(&a, "a1* b1"), 0);
    assert_string_equal(did, "abandon:2");
    paths_gone(&a, &env, 1, S);
    assert_int_equal(follow(&a, "a1* b1"), 0); /* it came to nothing: not at once again */
    assert_string_equal(table(&a), "a0 b3");
    assert_int_equal(follow_at(&a, "a1* b1", S + PATHS_AVOID), 0);
    assert_string_equal(table(&a), "a0 b3 a4");
}

/* What goes by metered links is counted, once, also of paths that end. */
static void test_metered(void **state)
{
    struct attempt a;

    (void)state;
    meter_open(&meter, NULL, 0, NULL);
    for (int mp = 0; mp < 2; mp++) {
        uint64_t before = meter_used(&meter, "a");

        begin(&a, "a1#", mp);
        is(0, true, false, S);
        view[0].bytes_sent = 1000;
        view[0].bytes_received = 200;
        view[0].packets_sent = 2;
        assert_int_equal(follow(&a, "a1#"), 0);
        paths_count(&a, &env, S);
        paths_count(&a, &env, S);
        assert_int_equal(meter_used(&meter, "a"), before + 1200 + 3 * 28); /* is() has one */
        view[0].bytes_received = 300;
        assert_int_equal(follow(&a, "b1"), 0); /* it ends, or moves */
        paths_count(&a, &env, S);
        assert_int_equal(meter_used(&meter, "a"), before + 1300 + 3 * 28);
        assert_int_equal(meter_used(&meter, "b"), 0);
    }
}

/* Nothing of an attempt that is over is lost. */
static void test_end(void **state)
{
    struct attempt a;

    (void)state;
    meter_open(&meter, NULL, 0, NULL);
    begin(&a, "a1#", true);
    is(0, true, false, S);
    view[0].bytes_sent = 1000;
    assert_int_equal(follow(&a, "a1#"), 0);
    view[0].bytes_sent = 3000;
    *did = 0;
    paths_end(&a, &env, S);
    assert_int_equal(meter_used(&meter, "a"), 3000 + 28);
    assert_string_equal(did, "keep log del");
}

static void test_silent(void **state)
{
    struct attempt a;

    (void)state;
    begin(&a, "a1", true);
    memset(view, 0, sizeof(view));
    views = 2;
    view[0] = (struct quic_path_view){
        .usable = true, .pto_count = 2, .last_received = 3 * S, .packets_received = 9};
    view[1] = (struct quic_path_view){
        .usable = true, .pto_count = 1, .last_received = 4 * S, .packets_received = 9};
    assert_false(paths_silent(&a, 3 * S, 2, 9 * S)); /* one is asked for the first time */
    view[1].pto_count = 5;
    assert_true(paths_silent(&a, 3 * S, 2, 9 * S));
    assert_false(paths_silent(&a, 3 * S, 2, 7 * S - 1));
    view[1].pto_count = 0;
    view[1].usable = false; /* it was never answered */
    assert_true(paths_silent(&a, 3 * S, 2, 9 * S));
    assert_int_equal(paths_heard(&a, 9 * S), 4 * S);
    pings = 0;
    paths_ping(&a);
    assert_int_equal(pings, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_come_and_go), cmocka_unit_test(test_capped),
        cmocka_unit_test(test_address),     cmocka_unit_test(test_nothing_left),
        cmocka_unit_test(test_not_yet),     cmocka_unit_test(test_over),
        cmocka_unit_test(test_backup),      cmocka_unit_test(test_single),
        cmocka_unit_test(test_families),    cmocka_unit_test(test_dead_address),
        cmocka_unit_test(test_all_ways),    cmocka_unit_test(test_metered),
        cmocka_unit_test(test_end),         cmocka_unit_test(test_silent)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
