/* peer: names, turns of addresses, and what is left from one connection to the next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "app/exit.h"
#include "app/peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void names(void **state)
{
    static const struct {
        const char *server, *name, *authority, *tls;
    } rows[] = {
        {"192.0.2.1", NULL, "192.0.2.1:443", "192.0.2.1"},
        {"vpn.example:8443", NULL, "vpn.example:8443", "vpn.example"},
        {"[2001:db8::1]:4433", NULL, "[2001:db8::1]:4433", "2001:db8::1"},
        {"192.0.2.1", "vpn.example", "192.0.2.1:443", "vpn.example"},
    };
    struct peer p;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config cfg = {.server = (char *)(uintptr_t)rows[i].server,
                             .server_name = (char *)(uintptr_t)rows[i].name,
                             .auth_key = (char *)(uintptr_t) "secret"};

        assert_int_equal(peer_open(&p, &cfg, NULL), 0);
        assert_string_equal(p.authority, rows[i].authority);
        assert_string_equal(peer_tls_name(&p), rows[i].tls);
        assert_string_equal(p.key, "secret");
        assert_string_equal(p.lease, "");
        peer_close(&p);
    }
}

static void key_files(void **state)
{
    static const struct {
        const char *text; /* null: no file */
        int status;
    } rows[] = {{"abc\n", 0}, {"", EXIT_FILE}, {"a b\n", EXIT_FILE}, {NULL, EXIT_FILE}};
    char path[] = "/tmp/peer-XXXXXX";
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct config cfg = {.server = (char *)(uintptr_t) "192.0.2.1", .auth_key_file = path};
        struct peer p;
        FILE *f = rows[i].text ? fopen(path, "w") : NULL;

        if (f) {
            fputs(rows[i].text, f);
            fclose(f);
        } else {
            unlink(path);
        }
        assert_int_equal(peer_open(&p, &cfg, NULL), rows[i].status);
        if (rows[i].status == 0)
            assert_string_equal(p.key, "abc");
    }
}

static void never(void *ctx, ns_t now)
{
    (void)ctx;
    (void)now;
    fail();
}

/* A numeric address is its own answer, and is never looked up again. */
static void turns(void **state)
{
    struct config cfg = {.server = (char *)(uintptr_t) "192.0.2.1:7"};
    union udp_addr other;
    struct peer p;

    (void)state;
    assert_int_equal(peer_open(&p, &cfg, NULL), 0);
    assert_int_equal(peer_resolve(&p), 0);
    assert_int_equal(p.addrs, 1);
    assert_int_equal(udp_addr_parse("192.0.2.2", 7, &other), 0);
    assert_true(peer_has_addr(&p, peer_addr(&p)));
    assert_false(peer_has_addr(&p, &other));
    p.addr[p.addrs++] = other;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(udp_addr_equal(peer_addr(&p), &other), i % 2);
        peer_failed(&p, NULL, never, NULL, 100 * NS_PER_S * (ns_t)(i + 1));
    }
    assert_null(p.lookup.ring);
    peer_close(&p);
}

/* A token goes to the address it came from, once. */
static void tokens(void **state)
{
    struct config cfg = {.server = (char *)(uintptr_t) "192.0.2.1:7"};
    struct quic_config quic = {0};
    union udp_addr other;
    struct peer p;

    (void)state;
    assert_int_equal(peer_open(&p, &cfg, NULL), 0);
    assert_int_equal(peer_resolve(&p), 0);
    assert_int_equal(udp_addr_parse("192.0.2.1", 8, &other), 0);
    memcpy(p.token, "token", 5);
    p.token_n = 5;
    p.token_from = *peer_addr(&p);
    peer_prepare(&p, &other, &quic);
    assert_int_equal(quic.token.n, 0);
    peer_prepare(&p, peer_addr(&p), &quic);
    assert_int_equal(quic.token.n, 5);
    assert_memory_equal(quic.token.p, "token", 5);
    quic.token.n = 0;
    peer_prepare(&p, peer_addr(&p), &quic);
    assert_int_equal(quic.token.n, 0);
    assert_int_equal(quic.session.n, 0);
    assert_false(p.ticket.offered);
    peer_close(&p);
}

/* A lease is kept and found again; what is none changes nothing. */
static void leases(void **state)
{
    char dir[] = "/tmp/peer-XXXXXX", command[64];
    struct config cfg = {.server = (char *)(uintptr_t) "192.0.2.1"};
    char text[LEASE_TEXT + 1];
    struct peer p;

    (void)state;
    assert_non_null(mkdtemp(dir));
    cfg.state_dir = dir;
    memset(text, 'a', LEASE_TEXT);
    text[LEASE_TEXT] = 0;
    assert_int_equal(peer_open(&p, &cfg, NULL), 0);
    peer_lease(&p, span_of(text, LEASE_TEXT - 1));
    assert_string_equal(p.lease, "");
    peer_lease(&p, span_of(text, LEASE_TEXT));
    assert_string_equal(p.lease, text);
    peer_close(&p);
    assert_int_equal(peer_open(&p, &cfg, NULL), 0);
    assert_string_equal(p.lease, text);
    peer_close(&p);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),  cmocka_unit_test(key_files), cmocka_unit_test(turns),
        cmocka_unit_test(tokens), cmocka_unit_test(leases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
