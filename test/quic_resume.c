/* Session tickets: what a second handshake saves, and for whom a session counts. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "quic/cert.h"
#include "quic/tls.h"
#include "quic/tls_impl.h"

#define NAME "vpn.example.net"

static const char *const alpn_h3[] = {"h3"}, *const alpn_other[] = {"other"};
static const char *const both[] = {"h3", "other"};
static struct tls_pem cert, key, cert2, key2, expired, expired_key;
static const uint8_t secret[TLS_TICKET_KEY] = {1, 2, 3}, secret2[TLS_TICKET_KEY] = {9};

static int setup(void **state)
{
    static const char *const names[] = {NAME, "two.example.net"};
    int64_t now = (int64_t)time(NULL);

    (void)state;
    return tls_make_cert(names, 2, 30, now, &cert, &key) ||
           tls_make_cert(names, 2, 30, now, &cert2, &key2) ||
           tls_make_cert(names, 2, 2, now, &expired, &expired_key);
}

static int teardown(void **state)
{
    struct tls_pem *all[] = {&cert, &key, &cert2, &key2, &expired, &expired_key};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        tls_pem_free(all[i]);
    return 0;
}

static struct tls_ctx_config server_config(void)
{
    return (struct tls_ctx_config){.server = true,
                                   .alpn = both,
                                   .n_alpn = 2,
                                   .cert_pem = tls_pem_span(&cert),
                                   .key_pem = tls_pem_span(&key),
                                   .ticket_key = {secret, sizeof(secret)},
                                   .verify = TLS_VERIFY_NONE};
}

static struct tls_ctx_config client_config(void)
{
    return (struct tls_ctx_config){.alpn = alpn_h3,
                                   .n_alpn = 1,
                                   .verify = TLS_VERIFY_CHAIN,
                                   .ca_pem = tls_pem_span(&cert),
                                   .no_system_ca = true};
}

/* What one handshake came to. */
struct outcome {
    int error[2]; /* client, server */
    bool offered, resumed;
    size_t sent[2][LEVEL_N];
    uint8_t session[TLS_SESSION_MAX]; /* that the client got */
    size_t session_len;
    uint8_t hello[4096];
    size_t hello_len;
};

struct end {
    struct tls *t;
    int error;
};

static bool move(struct end *from, struct end *to, size_t sent[LEVEL_N], struct outcome *o)
{
    enum quic_level level;
    struct span s;
    bool any = false;

    while (!from->error && !to->error && tls_next_out(from->t, &level, &s)) {
        if (o && o->hello_len == 0 && s.n <= sizeof(o->hello)) {
            memcpy(o->hello, s.p, s.n);
            o->hello_len = s.n;
        }
        to->error = tls_feed(to->t, level, s);
        tls_out_done(from->t, level, s.n);
        sent[level] += s.n;
        any = true;
    }
    if (any && !to->error)
        to->error = tls_step(to->t);
    assert_int_equal(ERR_peek_error(), 0);
    return any;
}

/* One handshake of new contexts, as after a restart of both. `o` keeps its session if given. */
static void shake(const struct tls_ctx_config *cc, const struct tls_ctx_config *sc,
                  const char *name, struct span session, struct outcome *o)
{
    static const struct span params = {(const uint8_t *)"params", 6};
    char err[256];
    struct tls_ctx *cctx = tls_ctx_new(cc, err, sizeof(err));
    struct tls_ctx *sctx = tls_ctx_new(sc, err, sizeof(err));
    struct end c = {0}, s = {0};
    uint8_t copy[TLS_SESSION_MAX + 1];

    if (!cctx || !sctx)
        fail_msg("%s", err);
    c.t = tls_new(cctx, name, params);
    s.t = tls_new(sctx, NULL, params);
    assert_true(c.t && s.t);
    if (session.n)
        memcpy(copy, session.p, session.n);
    *o = (struct outcome){0};
    o->offered = tls_set_session(c.t, span_of(copy, session.n));
    memset(copy, 0xee, sizeof(copy)); /* must not be needed any more */
    c.error = tls_step(c.t);
    while (move(&c, &s, o->sent[0], o) || move(&s, &c, o->sent[1], NULL))
        ;
    o->error[0] = c.error;
    o->error[1] = s.error;
    o->resumed = tls_resumed(c.t);
    assert_int_equal(o->resumed, tls_resumed(s.t));
    assert_int_equal(tls_session(s.t).n, 0);
    struct span got = tls_session(c.t);
    assert_true(got.n <= sizeof(o->session));
    if (got.n)
        memcpy(o->session, got.p, got.n);
    o->session_len = got.n;
    tls_del(c.t);
    tls_del(s.t);
    tls_ctx_del(cctx);
    tls_ctx_del(sctx);
    assert_int_equal(ERR_peek_error(), 0);
}

static struct span session_of(const struct outcome *o)
{
    return span_of(o->session, o->session_len);
}

static const struct span none = {NULL, 0};

static void assert_ok(const struct outcome *o)
{
    assert_int_equal(o->error[0], 0);
    assert_int_equal(o->error[1], 0);
}

/* Another process on both sides, and the certificate stays at home; again and again. */
static void test_resumed(void **state)
{
    struct tls_ctx_config c = client_config(), s = server_config();
    struct outcome first, o, last;

    (void)state;
    shake(&c, &s, NAME, none, &first);
    assert_ok(&first);
    assert_false(first.offered || first.resumed);
    assert_true(first.session_len > 0);
    assert_true(first.sent[1][LEVEL_HANDSHAKE] > 400);
    last = first;
    for (int i = 0; i < 3; i++) {
        shake(&c, &s, NAME, session_of(&last), &o);
        assert_ok(&o);
        assert_true(o.offered && o.resumed);
        /* EncryptedExtensions and Finished. */
        assert_true(o.sent[1][LEVEL_HANDSHAKE] < 150);
        assert_true(o.session_len > 0); /* a new ticket each time */
        assert_memory_not_equal(o.session, last.session, 200);
        /* Nor are there early data, and two datagrams are still enough for the first flight. */
        assert_int_equal(o.sent[0][LEVEL_EARLY], 0);
        assert_in_range(o.hello_len, first.hello_len + 100, 2200);
        last = o;
    }
    /* Used twice it works too: the server keeps nothing. */
    shake(&c, &s, NAME, session_of(&first), &o);
    assert_true(o.resumed);
}

/* A server without a secret of its own gives no tickets and takes none. */
static void test_off(void **state)
{
    struct tls_ctx_config c = client_config(), s = server_config();
    struct outcome first, o;

    (void)state;
    shake(&c, &s, NAME, none, &first);
    s.ticket_key = none;
    shake(&c, &s, NAME, session_of(&first), &o);
    assert_ok(&o);
    assert_true(o.offered && !o.resumed);
    assert_int_equal(o.session_len, 0);
    assert_int_equal(o.sent[1][LEVEL_APP], 0);
}

/* A key too short is refused. */
static void test_short_key(void **state)
{
    struct tls_ctx_config s = server_config();
    char err[256];

    (void)state;
    s.ticket_key.n = TLS_TICKET_KEY - 1;
    assert_null(tls_ctx_new(&s, err, sizeof(err)));
    assert_true(err[0]);
}

/* What the server has changed: the handshake is a full one, and another ticket comes of it. */
static void test_server_changed(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct tls_ctx_config c = client_config(), s = server_config();
        struct outcome first, o, next;

        c.ca_pem = i == 1 ? tls_pem_span(&cert2) : c.ca_pem;
        s.cert_pem = i == 1 ? tls_pem_span(&cert2) : s.cert_pem;
        s.key_pem = i == 1 ? tls_pem_span(&key2) : s.key_pem;
        shake(&c, &s, NAME, none, &first);
        if (i == 0)
            s.ticket_key = span_of(secret2, sizeof(secret2));
        if (i == 1) { /* back to the other certificate, which this client doesn't trust */
            s.cert_pem = tls_pem_span(&cert);
            s.key_pem = tls_pem_span(&key);
        }
        if (i == 2) /* another hash: the PSK is not usable (RFC 8446 4.2.11) */
            s.suites = "TLS_AES_256_GCM_SHA384";
        if (i == 3) /* the same hash: it is */
            s.suites = "TLS_CHACHA20_POLY1305_SHA256";
        shake(&c, &s, NAME, session_of(&first), &o);
        assert_true(o.offered);
        assert_int_equal(o.resumed, i == 3);
        if (i == 1) {
            assert_true(o.error[0] > QUIC_CRYPTO_ERROR);
            assert_int_equal(o.session_len, 0);
            continue;
        }
        assert_ok(&o);
        shake(&c, &s, NAME, session_of(&o), &next);
        assert_true(next.resumed);
    }
}

/* After a HelloRetryRequest, too. */
static void test_retry_request(void **state)
{
    struct tls_ctx_config c = client_config(), s = server_config();
    struct outcome first, o;

    (void)state;
    s.groups = "P-384";
    shake(&c, &s, NAME, none, &first);
    assert_ok(&first);
    shake(&c, &s, NAME, session_of(&first), &o);
    assert_ok(&o);
    assert_true(o.resumed);
}

/*
 * The same server, but a client that was told something else: the session counts only under
 * the settings by which its server was verified.
 */
static void test_bound(void **state)
{
    uint8_t pin[2][TLS_PIN], other[2][TLS_PIN];
    struct outcome got[5], o;
    struct tls_ctx_config s = server_config(), c[5];
    const char *names[5] = {NAME, NAME, NAME, "two.example.net", NAME};

    (void)state;
    assert_int_equal(tls_spki_pin(tls_pem_span(&cert), pin[0]), 0);
    assert_int_equal(tls_spki_pin(tls_pem_span(&cert), pin[1]), 0);
    assert_int_equal(tls_spki_pin(tls_pem_span(&cert2), other[0]), 0);
    memcpy(other[1], pin[0], TLS_PIN);
    for (int i = 0; i < 5; i++)
        c[i] = client_config();
    c[1] = (struct tls_ctx_config){.alpn = alpn_h3, .n_alpn = 1, .verify = TLS_VERIFY_NONE};
    c[2] = (struct tls_ctx_config){.alpn = alpn_h3,
                                   .n_alpn = 1,
                                   .verify = TLS_VERIFY_PIN,
                                   .pins = (const uint8_t(*)[TLS_PIN])pin,
                                   .n_pins = 1};
    c[4].alpn = alpn_other;
    for (int i = 0; i < 5; i++) {
        shake(&c[i], &s, names[i], none, &got[i]);
        assert_ok(&got[i]);
        assert_true(got[i].session_len > 0);
    }
    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < 5; k++) {
            shake(&c[i], &s, names[i], session_of(&got[k]), &o);
            assert_ok(&o);
            assert_int_equal(o.offered, i == k);
            assert_int_equal(o.resumed, i == k);
        }
    }
    /* Other pins, other anchors. */
    c[2].pins = (const uint8_t(*)[TLS_PIN])other;
    shake(&c[2], &s, NAME, session_of(&got[2]), &o);
    assert_true(!o.offered && o.error[0] > 0);
    c[2].n_pins = 2;
    shake(&c[2], &s, NAME, session_of(&got[2]), &o);
    assert_true(!o.offered && !o.resumed);
    assert_ok(&o);
    c[0].ca_pem = tls_pem_span(&cert2);
    shake(&c[0], &s, NAME, session_of(&got[0]), &o);
    assert_true(!o.offered && o.error[0] > 0);
    c[0] = client_config();
    c[0].no_system_ca = false;
    shake(&c[0], &s, NAME, session_of(&got[0]), &o);
    assert_true(!o.offered);
}

/* A session from a server that was never verified is worth nothing to a client that verifies. */
static void test_insecure(void **state)
{
    struct tls_ctx_config c = {.alpn = alpn_h3, .n_alpn = 1, .verify = TLS_VERIFY_NONE};
    struct tls_ctx_config s = server_config();
    struct outcome first, o;

    (void)state;
    s.cert_pem = tls_pem_span(&cert2);
    s.key_pem = tls_pem_span(&key2);
    shake(&c, &s, NAME, none, &first);
    assert_ok(&first);
    c = client_config();
    shake(&c, &s, NAME, session_of(&first), &o);
    assert_false(o.offered);
    assert_true(o.error[0] > QUIC_CRYPTO_ERROR);
}

/* The certificate runs out between the two: it is to be shown again. */
static void test_expired(void **state)
{
    struct tls_ctx_config c = client_config(), s = server_config();
    struct outcome first, o;

    (void)state;
    s.cert_pem = c.ca_pem = tls_pem_span(&expired);
    s.key_pem = tls_pem_span(&expired_key);
    c.verify_time = (int64_t)time(NULL);
    shake(&c, &s, NAME, none, &first);
    assert_ok(&first);
    c.verify_time += 86400;
    shake(&c, &s, NAME, session_of(&first), &o);
    assert_true(o.resumed);
    c.verify_time += 10 * 86400;
    shake(&c, &s, NAME, session_of(&first), &o);
    assert_false(o.offered);
    assert_true(o.error[0] > QUIC_CRYPTO_ERROR);
}

/* Any byte changed, cut, or something else altogether: not offered, and no harm. */
static void test_session_garbage(void **state)
{
    struct tls_ctx_config c = client_config();
    struct tls_ctx_config s = server_config();
    static uint8_t junk[TLS_SESSION_MAX + 1];
    struct outcome first;
    char err[256];
    struct tls_ctx *ctx;

    (void)state;
    shake(&c, &s, NAME, none, &first);
    ctx = tls_ctx_new(&c, err, sizeof(err));
    assert_non_null(ctx);
    for (size_t i = 0; i < first.session_len; i++) {
        struct tls *t = tls_new(ctx, NAME, none);

        memcpy(junk, first.session, first.session_len);
        junk[i] ^= (uint8_t)(1u << i % 8);
        assert_false(tls_set_session(t, span_of(junk, first.session_len)));
        assert_false(tls_set_session(t, span_of(first.session, i)));
        if (i % 64 == 0) {
            memset(junk, (int)i, sizeof(junk));
            memcpy(junk, first.session, 4);
            assert_false(tls_set_session(t, span_of(junk, sizeof(junk))));
            assert_false(tls_set_session(t, span_of(junk, sizeof(junk) - 1)));
            assert_true(tls_set_session(t, session_of(&first)));
        }
        tls_del(t);
    }
    tls_ctx_del(ctx);
    assert_int_equal(ERR_peek_error(), 0);
}

/* The ticket in a ClientHello: the identity of its one PSK. */
static struct span ticket_of(const struct outcome *o)
{
    struct wire_r r = wire_r_of(o->hello, o->hello_len), exts;
    struct span ticket = none;

    wire_r_bytes(&r, 4 + 2 + 32);
    wire_r_bytes(&r, wire_r_u8(&r));
    wire_r_bytes(&r, wire_r_u16(&r));
    wire_r_bytes(&r, wire_r_u8(&r));
    exts = wire_r_span(wire_r_bytes(&r, wire_r_u16(&r)));
    while (wire_r_left(&exts)) {
        uint16_t type = wire_r_u16(&exts);
        struct span body = wire_r_bytes(&exts, wire_r_u16(&exts));

        assert_int_not_equal(type, 42); /* early_data */
        assert_int_not_equal(type, 27); /* compress_certificate: its memory has no bound */
        if (type == 41)
            ticket = span_of(body.p + 4, (size_t)(body.p[2] << 8 | body.p[3]));
    }
    return ticket;
}

/* Tickets that a server can't read: a full handshake, whatever was changed in them. */
static void test_ticket_garbage(void **state)
{
    struct tls_ctx_config c = client_config(), s = server_config();
    struct outcome first, o;
    char err[256];
    struct tls_ctx *ctx;
    struct span ticket;
    unsigned flights = 0, tried = 0;

    (void)state;
    shake(&c, &s, NAME, none, &first);
    assert_int_equal(ticket_of(&first).n, 0);
    shake(&c, &s, NAME, session_of(&first), &o);
    assert_true(o.resumed);
    ticket = ticket_of(&o);
    assert_in_range(ticket.n, 100, 400);
    ctx = tls_ctx_new(&s, err, sizeof(err));
    assert_non_null(ctx);
    for (size_t i = 0; i < ticket.n; i += 3, tried++) {
        uint8_t *at = o.hello + (ticket.p - o.hello) + i;
        struct tls *t = tls_new(ctx, NULL, span_of((const uint8_t *)"p", 1));
        enum quic_level level;
        struct span out;

        *at ^= 0x40;
        assert_int_equal(tls_feed(t, LEVEL_INITIAL, span_of(o.hello, o.hello_len)), 0);
        assert_int_equal(tls_step(t), 0);
        while (tls_next_out(t, &level, &out)) {
            flights += level == LEVEL_HANDSHAKE && out.n > 400; /* with a certificate */
            tls_out_done(t, level, out.n);
        }
        assert_false(tls_resumed(t));
        *at ^= 0x40;
        tls_del(t);
    }
    assert_int_equal(flights, tried);
    tls_ctx_del(ctx);
}

/* A server may say it often: the latest counts, and nothing piles up. */
static void test_many_tickets(void **state)
{
    struct tls_ctx_config cc = client_config(), sc = server_config();
    struct tls_ctx *cctx = tls_ctx_new(&cc, NULL, 0), *sctx = tls_ctx_new(&sc, NULL, 0);
    struct end c = {0}, s = {0};
    size_t sent[LEVEL_N] = {0};
    struct outcome o;

    (void)state;
    assert_true(cctx && sctx);
    c.t = tls_new(cctx, NAME, span_of((const uint8_t *)"p", 1));
    s.t = tls_new(sctx, NULL, span_of((const uint8_t *)"p", 1));
    SSL_set_num_tickets(s.t->ssl, 100);
    c.error = tls_step(c.t);
    while (move(&c, &s, sent, NULL) || move(&s, &c, sent, NULL))
        ;
    assert_int_equal(c.error + s.error, 0);
    assert_true(sent[LEVEL_APP] > 100 * 200);
    assert_in_range(tls_session(c.t).n, 300, 4000);
    struct span got = tls_session(c.t);
    shake(&cc, &sc, NAME, got, &o);
    assert_true(o.resumed);
    /* A fatal error, and it is not given away any more. */
    assert_true(tls_feed(c.t, LEVEL_APP, span_of((const uint8_t *)"\x18\0\0\x01\0", 5)) == 0);
    assert_true(tls_step(c.t) > 0);
    assert_int_equal(tls_session(c.t).n, 0);
    tls_del(c.t);
    tls_del(s.t);
    tls_ctx_del(cctx);
    tls_ctx_del(sctx);
}

static double cpu_ms(const struct tls_ctx_config *c, const struct tls_ctx_config *s,
                     struct span session, int n)
{
    static const struct span params = {(const uint8_t *)"params", 6};
    struct tls_ctx *cctx = tls_ctx_new(c, NULL, 0), *sctx = tls_ctx_new(s, NULL, 0);
    size_t sent[LEVEL_N] = {0};
    clock_t from = clock();

    for (int i = 0; i < n; i++) {
        struct end a = {tls_new(cctx, NAME, params), 0}, b = {tls_new(sctx, NULL, params), 0};

        assert_int_equal(tls_set_session(a.t, session), session.n > 0);
        a.error = tls_step(a.t);
        while (move(&a, &b, sent, NULL) || move(&b, &a, sent, NULL))
            ;
        assert_int_equal(tls_resumed(b.t), session.n > 0);
        tls_del(a.t);
        tls_del(b.t);
    }
    double ms = (double)(clock() - from) * 1e3 / CLOCKS_PER_SEC / n;
    tls_ctx_del(cctx);
    tls_ctx_del(sctx);
    return ms;
}

/* What it costs, told and not judged. */
static void test_cost(void **state)
{
    struct tls_ctx_config c = client_config(), s = server_config();
    struct outcome first;

    (void)state;
    shake(&c, &s, NAME, none, &first);
    print_message("handshake, both ends: full_ms=%.2f resumed_ms=%.2f\n",
                  cpu_ms(&c, &s, none, 50), cpu_ms(&c, &s, session_of(&first), 50));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resumed),         cmocka_unit_test(test_off),
        cmocka_unit_test(test_short_key),       cmocka_unit_test(test_server_changed),
        cmocka_unit_test(test_retry_request),   cmocka_unit_test(test_bound),
        cmocka_unit_test(test_insecure),        cmocka_unit_test(test_expired),
        cmocka_unit_test(test_session_garbage), cmocka_unit_test(test_ticket_garbage),
        cmocka_unit_test(test_many_tickets),    cmocka_unit_test(test_cost),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
