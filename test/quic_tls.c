#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include "quic/tls.h"
#include "quic/tls_impl.h"
#include "test/quic_hex.h"

#define NOW  1800000000 /* 2027-01-15; certificates are valid from the day before */
#define DAYS 3650

static const char *const alpn_h3[] = {"h3"};
static const char *const host_names[] = {"vpn.example.net", "192.0.2.7", "2001:db8::7"};

/* Made once: a server's certificate and key for those names, and another one. */
static struct tls_pem cert, key, other_cert, other_key;

static int setup(void **state)
{
    static const char *const other[] = {"other.example"};

    (void)state;
    return tls_make_cert(host_names, 3, DAYS, NOW, &cert, &key) ||
           tls_make_cert(other, 1, DAYS, NOW, &other_cert, &other_key);
}

static int teardown(void **state)
{
    (void)state;
    tls_pem_free(&cert);
    tls_pem_free(&key);
    tls_pem_free(&other_cert);
    tls_pem_free(&other_key);
    return 0;
}

static struct tls_ctx_config server_config(void)
{
    return (struct tls_ctx_config){
        .server = true,
        .alpn = alpn_h3,
        .n_alpn = 1,
        .cert_pem = tls_pem_span(&cert),
        .key_pem = tls_pem_span(&key),
        .verify = TLS_VERIFY_NONE,
    };
}

/* A client that trusts exactly the server's certificate. */
static struct tls_ctx_config client_config(void)
{
    return (struct tls_ctx_config){
        .alpn = alpn_h3,
        .n_alpn = 1,
        .verify = TLS_VERIFY_CHAIN,
        .ca_pem = tls_pem_span(&cert),
        .no_system_ca = true,
        .verify_time = NOW,
    };
}

static struct tls_ctx *ctx_of(const struct tls_ctx_config *cfg)
{
    char err[256];
    struct tls_ctx *ctx = tls_ctx_new(cfg, err, sizeof(err));

    if (!ctx)
        fail_msg("%s", err);
    return ctx;
}

/* One end, with all it has given away. */
struct end {
    struct tls *t;
    int error;
    struct tls_secret secret[LEVEL_N][2]; /* read, write */
    size_t sent[LEVEL_N];
    bool early_tparams; /* the peer's were visible before the handshake was done */
};

struct pair {
    struct tls_ctx *client_ctx, *server_ctx;
    struct end client, server;
    size_t chunk; /* feed that many bytes at a time; 0: all at once */
    unsigned steps, max_steps;
};

static const struct span client_tparams = {(const uint8_t *)"client parameters", 17};
static const struct span server_tparams = {(const uint8_t *)"server parameters!", 18};

static void pair_init(struct pair *p, const struct tls_ctx_config *client,
                      const struct tls_ctx_config *server, const char *name)
{
    *p = (struct pair){.max_steps = 1000000};
    p->client_ctx = ctx_of(client);
    p->server_ctx = ctx_of(server);
    p->client.t = tls_new(p->client_ctx, name, client_tparams);
    p->server.t = tls_new(p->server_ctx, NULL, server_tparams);
    assert_non_null(p->client.t);
    assert_non_null(p->server.t);
}

static void pair_free(struct pair *p)
{
    tls_del(p->client.t);
    tls_del(p->server.t);
    tls_ctx_del(p->client_ctx);
    tls_ctx_del(p->server_ctx);
    assert_int_equal(ERR_peek_error(), 0);
}

static void step(struct pair *p, struct end *e)
{
    struct tls_secret s;

    if (e->error || p->steps >= p->max_steps)
        return;
    p->steps++;
    e->error = tls_step(e->t);
    assert_int_equal(ERR_peek_error(), 0);
    while (tls_next_secret(e->t, &s)) {
        assert_int_equal(e->secret[s.level][s.write].n, 0); /* each only once */
        e->secret[s.level][s.write] = s;
    }
    if (tls_peer_tparams(e->t).n && !tls_done(e->t))
        e->early_tparams = true;
}

/* Move what `from` has to `to`, which steps after every chunk. True if there was anything. */
static bool deliver(struct pair *p, struct end *from, struct end *to)
{
    enum quic_level level;
    struct span s;
    bool any = false;

    while (!from->error && !to->error && p->steps < p->max_steps &&
           tls_next_out(from->t, &level, &s)) {
        size_t n = p->chunk && p->chunk < s.n ? p->chunk : s.n;
        uint8_t *copy = exact_copy(s.p, n);

        assert_int_not_equal(level, LEVEL_EARLY);
        to->error = tls_feed(to->t, level, span_of(copy, n));
        free(copy); /* must have been copied */
        tls_out_done(from->t, level, n);
        from->sent[level] += n;
        any = true;
        if (p->chunk)
            step(p, to);
    }
    if (any)
        step(p, to);
    return any;
}

/* Run until nothing moves. */
static void run(struct pair *p)
{
    step(p, &p->client);
    while (deliver(p, &p->client, &p->server) || deliver(p, &p->server, &p->client))
        ;
}

static void assert_secrets_equal(const struct end *a, const struct end *b)
{
    static const enum quic_level levels[] = {LEVEL_HANDSHAKE, LEVEL_APP};

    for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
        for (int w = 0; w < 2; w++) {
            const struct tls_secret *x = &a->secret[levels[i]][w];
            const struct tls_secret *y = &b->secret[levels[i]][!w];

            assert_true(x->n == 32 || x->n == 48);
            assert_int_equal(x->n, y->n);
            assert_memory_equal(x->b, y->b, x->n);
            assert_int_equal(x->aead, y->aead);
        }
    }
    assert_memory_not_equal(a->secret[LEVEL_APP][0].b, a->secret[LEVEL_APP][1].b, 32);
    assert_memory_not_equal(a->secret[LEVEL_APP][0].b, a->secret[LEVEL_HANDSHAKE][0].b, 32);
    assert_int_equal(a->secret[LEVEL_EARLY][0].n + a->secret[LEVEL_EARLY][1].n, 0);
    assert_int_equal(a->secret[LEVEL_INITIAL][0].n + a->secret[LEVEL_INITIAL][1].n, 0);
}

static void assert_done(const struct pair *p)
{
    if (p->client.error || p->server.error)
        fail_msg("client %#x %s, server %#x %s", p->client.error, tls_error_text(p->client.t),
                 p->server.error, tls_error_text(p->server.t));
    assert_true(tls_done(p->client.t));
    assert_true(tls_done(p->server.t));
    assert_string_equal(tls_alpn(p->client.t), tls_alpn(p->server.t));
    assert_secrets_equal(&p->client, &p->server);
    assert_int_equal(tls_error_why(p->client.t), TLS_WHY_NONE);
    assert_string_equal(tls_error_text(p->client.t), "");
}

static void assert_span(struct span a, struct span b)
{
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.p, b.p, a.n);
}

static void test_handshake(void **state)
{
    struct tls_ctx_config c = client_config(), s = server_config();
    struct pair p;

    (void)state;
    pair_init(&p, &c, &s, "vpn.example.net");
    run(&p);
    assert_done(&p);
    assert_string_equal(tls_alpn(p.client.t), "h3");
    assert_span(tls_peer_tparams(p.client.t), server_tparams);
    assert_span(tls_peer_tparams(p.server.t), client_tparams);
    assert_true(p.server.early_tparams);
    assert_int_equal(p.client.secret[LEVEL_APP][1].aead, AEAD_AES_128_GCM);
    /* The hybrid share makes two datagrams of it; nothing at 1-RTT: no tickets. */
    assert_true(p.client.sent[LEVEL_INITIAL] > 1200);
    assert_true(p.server.sent[LEVEL_INITIAL] > 1000);
    assert_true(p.client.sent[LEVEL_HANDSHAKE] > 0 && p.server.sent[LEVEL_HANDSHAKE] > 0);
    assert_int_equal(p.client.sent[LEVEL_APP] + p.server.sent[LEVEL_APP], 0);
    assert_string_equal(SSL_get0_group_name(p.client.t->ssl), "X25519MLKEM768");
    assert_string_equal(SSL_get_servername(p.server.t->ssl, TLSEXT_NAMETYPE_host_name),
                        "vpn.example.net");
    pair_free(&p);
}

/* Cut into pieces of each size: the result is the same. */
static void test_pieces(void **state)
{
    static const size_t sizes[] = {1, 2, 3, 4, 5, 7, 64, 100, 1000, 1100};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct tls_ctx_config c = client_config(), s = server_config();
        struct pair p;

        pair_init(&p, &c, &s, "vpn.example.net");
        p.chunk = sizes[i];
        run(&p);
        assert_done(&p);
        assert_span(tls_peer_tparams(p.client.t), server_tparams);
        pair_free(&p);
    }
}

/* Handshake bytes that come before the Initial ones wait for their key. */
static void test_levels_reordered(void **state)
{
    struct tls_ctx_config c = client_config(), s = server_config();
    struct pair p;
    enum quic_level level;
    struct span out;
    uint8_t hello[4096];
    size_t n = 0;

    (void)state;
    pair_init(&p, &c, &s, "vpn.example.net");
    step(&p, &p.client);
    deliver(&p, &p.client, &p.server);
    while (tls_next_out(p.server.t, &level, &out) && level == LEVEL_INITIAL) {
        memcpy(hello + n, out.p, out.n);
        n += out.n;
        tls_out_done(p.server.t, level, out.n);
    }
    assert_true(n > 0);
    assert_true(deliver(&p, &p.server, &p.client)); /* the Handshake level */
    assert_int_equal(p.client.secret[LEVEL_HANDSHAKE][0].n, 0);
    assert_int_equal(p.client.error, 0);
    assert_int_equal(tls_feed(p.client.t, LEVEL_INITIAL, span_of(hello, n)), 0);
    step(&p, &p.client);
    deliver(&p, &p.client, &p.server);
    assert_done(&p);
    pair_free(&p);
}

/* Key shares in a ClientHello, as a list of group numbers. */
static size_t key_shares(struct span hello, uint16_t *groups, size_t max)
{
    struct wire_r r = wire_r_span(hello), exts, shares;
    size_t n = 0;

    wire_r_bytes(&r, 4 + 2 + 32);
    wire_r_bytes(&r, wire_r_u8(&r));  /* session id */
    wire_r_bytes(&r, wire_r_u16(&r)); /* suites */
    wire_r_bytes(&r, wire_r_u8(&r));  /* compression */
    exts = wire_r_span(wire_r_bytes(&r, wire_r_u16(&r)));
    while (wire_r_left(&exts)) {
        uint16_t type = wire_r_u16(&exts);
        struct span body = wire_r_bytes(&exts, wire_r_u16(&exts));

        if (type != 51)
            continue;
        shares = wire_r_span(body);
        wire_r_u16(&shares);
        while (wire_r_left(&shares) && n < max) {
            groups[n++] = wire_r_u16(&shares);
            wire_r_bytes(&shares, wire_r_u16(&shares));
        }
    }
    return n;
}

static void test_key_shares(void **state)
{
    struct tls_ctx_config c = client_config(), s = server_config();
    struct pair p;
    enum quic_level level;
    struct span hello;
    uint16_t groups[8];

    (void)state;
    pair_init(&p, &c, &s, "vpn.example.net");
    step(&p, &p.client);
    assert_true(tls_next_out(p.client.t, &level, &hello));
    assert_int_equal(level, LEVEL_INITIAL);
    assert_int_equal(key_shares(hello, groups, 8), 2);
    assert_int_equal(groups[0], 0x11ec);
    assert_int_equal(groups[1], 0x001d);
    pair_free(&p);
}

/* Servers that know less: X25519 without another round trip, P-256 with one. */
static void test_groups(void **state)
{
    static const struct {
        const char *server, *group;
        bool retry;
    } cases[] = {
        {"X25519MLKEM768", "X25519MLKEM768", false},
        {"X25519", "x25519", false},
        {"P-256", "secp256r1", true},
        {"P-384:P-256", "secp256r1", true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t chunk = 0; chunk < 2; chunk++) {
            struct tls_ctx_config c = client_config(), s = server_config();
            struct pair p;

            s.groups = cases[i].server;
            pair_init(&p, &c, &s, "vpn.example.net");
            p.chunk = chunk;
            run(&p);
            assert_done(&p);
            if (strcmp(cases[i].server, "P-384:P-256") != 0)
                assert_string_equal(SSL_get0_group_name(p.client.t->ssl), cases[i].group);
            /* The second ClientHello has neither of the big shares. */
            assert_int_equal(p.client.sent[LEVEL_INITIAL] > 1700, cases[i].retry);
            assert_span(tls_peer_tparams(p.server.t), client_tparams);
            pair_free(&p);
        }
    }
}

static void test_no_common_group(void **state)
{
    struct tls_ctx_config c = client_config(), s = server_config();
    struct pair p;

    (void)state;
    c.groups = "*X25519";
    s.groups = "P-256";
    pair_init(&p, &c, &s, "vpn.example.net");
    run(&p);
    assert_int_equal(p.server.error, QUIC_CRYPTO_ERROR + TLS_ALERT_HANDSHAKE_FAILURE);
    assert_int_equal(tls_error_why(p.server.t), TLS_WHY_PROTOCOL);
    assert_non_null(strstr(tls_error_text(p.server.t), "handshake_failure"));
    pair_free(&p);
}

static void test_suites(void **state)
{
    static const struct {
        const char *suite;
        enum aead_id aead;
        size_t secret;
    } cases[] = {
        {"TLS_AES_128_GCM_SHA256", AEAD_AES_128_GCM, 32},
        {"TLS_AES_256_GCM_SHA384", AEAD_AES_256_GCM, 48},
        {"TLS_CHACHA20_POLY1305_SHA256", AEAD_CHACHA20_POLY1305, 32},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tls_ctx_config c = client_config(), s = server_config();
        struct pair p;

        s.suites = cases[i].suite;
        pair_init(&p, &c, &s, "vpn.example.net");
        run(&p);
        assert_done(&p);
        for (int w = 0; w < 2; w++) {
            struct tls_secret *x = &p.client.secret[LEVEL_APP][w];
            struct aead a;

            assert_int_equal(x->aead, cases[i].aead);
            assert_int_equal(x->n, cases[i].secret);
            assert_int_equal(aead_init(&a, x->aead, span_of(x->b, x->n), w), 0);
            aead_free(&a);
        }
        pair_free(&p);
    }
}

/* ---- verification ---------------------------------------------------------------------- */

enum trust { TRUST_SERVER, TRUST_OTHER, TRUST_NOBODY };

static const struct verify_case {
    const char *what, *name;
    enum trust trust;
    int64_t time;
    int error; /* of the client; 0: accepted */
    enum tls_why why;
    const char *text[3]; /* in the message */
} verify_cases[] = {
    {"host name", "vpn.example.net", TRUST_SERVER, NOW, 0, TLS_WHY_NONE, {NULL}},
    {"host name in capitals", "VPN.Example.NET", TRUST_SERVER, NOW, 0, TLS_WHY_NONE, {NULL}},
    {"final dot", "vpn.example.net.", TRUST_SERVER, NOW, 0, TLS_WHY_NONE, {NULL}},
    {"IPv4 address", "192.0.2.7", TRUST_SERVER, NOW, 0, TLS_WHY_NONE, {NULL}},
    {"IPv6 address", "2001:db8::7", TRUST_SERVER, NOW, 0, TLS_WHY_NONE, {NULL}},
    {"IPv6 address, long", "2001:0db8:0::0:7", TRUST_SERVER, NOW, 0, TLS_WHY_NONE, {NULL}},
    {"wrong name",
     "wrong.example",
     TRUST_SERVER,
     NOW,
     QUIC_CRYPTO_ERROR + TLS_ALERT_BAD_CERTIFICATE,
     TLS_WHY_NAME,
     {"is for vpn.example.net, 192.0.2.7, 2001:db8::7, not for wrong.example"}},
    {"parent name",
     "example.net",
     TRUST_SERVER,
     NOW,
     QUIC_CRYPTO_ERROR + TLS_ALERT_BAD_CERTIFICATE,
     TLS_WHY_NAME,
     {"not for example.net"}},
    {"wrong address",
     "192.0.2.8",
     TRUST_SERVER,
     NOW,
     QUIC_CRYPTO_ERROR + TLS_ALERT_BAD_CERTIFICATE,
     TLS_WHY_NAME,
     {"not for 192.0.2.8"}},
    {"wrong address, IPv6",
     "2001:db8::8",
     TRUST_SERVER,
     NOW,
     QUIC_CRYPTO_ERROR + TLS_ALERT_BAD_CERTIFICATE,
     TLS_WHY_NAME,
     {"not for 2001:db8::8"}},
    {"wrong CA",
     "vpn.example.net",
     TRUST_OTHER,
     NOW,
     QUIC_CRYPTO_ERROR + TLS_ALERT_UNKNOWN_CA,
     TLS_WHY_SELF_SIGNED,
     {"self-signed", "--pin sha256/", "--ca"}},
    {"no CA",
     "vpn.example.net",
     TRUST_NOBODY,
     NOW,
     QUIC_CRYPTO_ERROR + TLS_ALERT_UNKNOWN_CA,
     TLS_WHY_SELF_SIGNED,
     {"self-signed", "--pin sha256/", "--ca"}},
    {"expired",
     "vpn.example.net",
     TRUST_SERVER,
     NOW + (DAYS + 1) * 86400ll,
     QUIC_CRYPTO_ERROR + TLS_ALERT_CERTIFICATE_EXPIRED,
     TLS_WHY_EXPIRED,
     {"expired on 2037-01-12", "renewed"}},
    {"not yet valid",
     "vpn.example.net",
     TRUST_SERVER,
     NOW - 2 * 86400,
     QUIC_CRYPTO_ERROR + TLS_ALERT_BAD_CERTIFICATE,
     TLS_WHY_NOT_YET_VALID,
     {"not valid before 2027-01-14", "clock"}},
};

static void assert_client_fails(struct pair *p, int error, enum tls_why why,
                                const char *const text[3])
{
    enum quic_level level;
    struct span s;
    struct tls_secret secret;

    assert_int_equal(p->client.error, error);
    assert_int_equal(tls_error_why(p->client.t), why);
    for (int i = 0; i < 3 && text[i]; i++) {
        if (!strstr(tls_error_text(p->client.t), text[i]))
            fail_msg("no \"%s\" in \"%s\"", text[i], tls_error_text(p->client.t));
    }
    assert_false(tls_done(p->client.t));
    assert_false(tls_done(p->server.t));
    /* Final: nothing comes out any more, and the error stays. */
    assert_false(tls_next_out(p->client.t, &level, &s));
    assert_false(tls_next_secret(p->client.t, &secret));
    assert_int_equal(p->client.secret[LEVEL_APP][1].n, 0);
    assert_int_equal(tls_step(p->client.t), error);
    assert_int_equal(tls_feed(p->client.t, LEVEL_HANDSHAKE, SPAN_LIT("x")), error);
    assert_int_equal(tls_set_tparams(p->client.t, SPAN_LIT("x")), QUIC_CLOSED);
}

static void test_verify(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(verify_cases); i++) {
        const struct verify_case *v = &verify_cases[i];
        struct tls_ctx_config c = client_config(), s = server_config();
        struct pair p;

        c.verify_time = v->time;
        if (v->trust == TRUST_OTHER)
            c.ca_pem = tls_pem_span(&other_cert);
        if (v->trust == TRUST_NOBODY)
            c.ca_pem = (struct span){NULL, 0};
        pair_init(&p, &c, &s, v->name);
        run(&p);
        if (v->error)
            assert_client_fails(&p, v->error, v->why, v->text);
        else
            assert_done(&p);
        pair_free(&p);
    }
}

/* A pin takes the place of chain, name and expiry. */
static void test_pin(void **state)
{
    static const char *const none[3] = {"which is not pinned", "sha256/", "--pin"};
    uint8_t pins[TLS_PINS_MAX][TLS_PIN] = {{1}, {2}, {3}, {4}};
    char text[TLS_PIN_TEXT];

    (void)state;
    for (size_t n = 1; n <= TLS_PINS_MAX; n++) {
        for (int match = 0; match < 2; match++) {
            struct tls_ctx_config c = client_config(), s = server_config();
            struct pair p;

            c.verify = TLS_VERIFY_PIN;
            c.ca_pem = (struct span){NULL, 0};
            c.pins = (const uint8_t(*)[TLS_PIN])pins;
            c.n_pins = n;
            c.verify_time = NOW + (DAYS + 1) * 86400ll;
            if (match)
                assert_int_equal(tls_spki_pin(tls_pem_span(&cert), pins[n - 1]), 0);
            pair_init(&p, &c, &s, n == 1 ? NULL : "any.example");
            run(&p);
            if (match) {
                assert_done(&p);
                tls_pin_text(pins[n - 1], text);
                memset(pins[n - 1], (int)n, TLS_PIN);
            } else {
                assert_client_fails(&p, QUIC_CRYPTO_ERROR + TLS_ALERT_BAD_CERTIFICATE,
                                    TLS_WHY_PIN, none);
                if (n > 1) /* it says which key it saw */
                    assert_non_null(strstr(tls_error_text(p.client.t), text));
            }
            pair_free(&p);
        }
    }
}

static void test_verify_none(void **state)
{
    struct tls_ctx_config c = client_config(), s = server_config();
    struct pair p;

    (void)state;
    c.verify = TLS_VERIFY_NONE;
    c.ca_pem = (struct span){NULL, 0};
    pair_init(&p, &c, &s, NULL);
    run(&p);
    assert_done(&p);
    assert_null(SSL_get_servername(p.server.t->ssl, TLSEXT_NAMETYPE_host_name));
    pair_free(&p);
}

/* No SNI for an address (RFC 6066 3). */
static void test_sni_address(void **state)
{
    struct tls_ctx_config c = client_config(), s = server_config();
    struct pair p;

    (void)state;
    pair_init(&p, &c, &s, "192.0.2.7");
    run(&p);
    assert_done(&p);
    assert_null(SSL_get_servername(p.server.t->ssl, TLSEXT_NAMETYPE_host_name));
    pair_free(&p);
}

static void test_names_refused(void **state)
{
    static const char *const names[] = {"",
                                        ".",
                                        ".example",
                                        "a b",
                                        "a/b",
                                        "ex\xc3\xa4mple",
                                        "[2001:db8::7]",
                                        "2001:db8::7%eth0",
                                        "host:443"};
    struct tls_ctx_config cfg = client_config();
    struct tls_ctx *ctx = ctx_of(&cfg);
    char longest[300];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_null(tls_new(ctx, names[i], client_tparams));
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_null(tls_new(ctx, longest, client_tparams));
    longest[254] = '\0';
    assert_null(tls_new(ctx, longest, client_tparams));
    /* A chain says nothing without a name to hold it against. */
    assert_null(tls_new(ctx, NULL, client_tparams));
    assert_int_equal(ERR_peek_error(), 0);
    tls_ctx_del(ctx);
}

/* ---- a CA of our own --------------------------------------------------------------------- */

struct issued {
    X509 *x;
    EVP_PKEY *key;
};

/* A certificate by `ca`, or by itself; `host` NULL makes a CA. */
static struct issued issue(const struct issued *ca, const char *cn, const char *host, int days)
{
    struct issued c = {X509_new(), EVP_EC_gen("P-256")};
    X509_NAME *subject = X509_get_subject_name(c.x);
    X509V3_CTX v3;
    X509_EXTENSION *ext;
    char san[100];

    X509_set_version(c.x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(c.x), (long)(uintptr_t)c.x & 0xfffffff);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const uint8_t *)cn, -1, -1, 0);
    X509_set_issuer_name(c.x, ca ? X509_get_subject_name(ca->x) : subject);
    ASN1_TIME_adj(X509_getm_notBefore(c.x), NOW, -1, 0);
    ASN1_TIME_adj(X509_getm_notAfter(c.x), NOW, days, 0);
    X509_set_pubkey(c.x, c.key);
    X509V3_set_ctx(&v3, ca ? ca->x : c.x, c.x, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &v3, NID_basic_constraints,
                              host ? "critical,CA:FALSE" : "critical,CA:TRUE");
    X509_add_ext(c.x, ext, -1);
    X509_EXTENSION_free(ext);
    if (host && *host) {
        snprintf(san, sizeof(san), "DNS:%s", host);
        ext = X509V3_EXT_conf_nid(NULL, &v3, NID_subject_alt_name, san);
        X509_add_ext(c.x, ext, -1);
        X509_EXTENSION_free(ext);
    }
    assert_true(X509_sign(c.x, ca ? ca->key : c.key, EVP_sha256()) > 0);
    return c;
}

static void issued_free(struct issued *c)
{
    X509_free(c->x);
    EVP_PKEY_free(c->key);
}

/* PEM of up to two certificates, and of the key of the first. */
static struct span pem_certs(char *buf, size_t size, const X509 *a, const X509 *b)
{
    BIO *bio = BIO_new(BIO_s_mem());
    int n;

    PEM_write_bio_X509(bio, a);
    if (b)
        PEM_write_bio_X509(bio, b);
    n = BIO_read(bio, buf, (int)size);
    BIO_free(bio);
    return span_of(buf, (size_t)n);
}

static struct span pem_key(char *buf, size_t size, const EVP_PKEY *k)
{
    BIO *bio = BIO_new(BIO_s_mem());
    int n;

    PEM_write_bio_PrivateKey(bio, k, NULL, NULL, 0, NULL, NULL);
    n = BIO_read(bio, buf, (int)size);
    BIO_free(bio);
    return span_of(buf, (size_t)n);
}

enum { ROOT = 1, MIDDLE = 2 };

static const struct {
    const char *what, *host;
    int sends, trusts; /* besides the leaf: MIDDLE; as CA: ROOT or MIDDLE */
    int root_days, middle_days;
    int error;
    enum tls_why why;
    const char *text[3];
} chain_cases[] = {
    {"whole chain", "vpn.example.net", MIDDLE, ROOT, 100, 100, 0, TLS_WHY_NONE, {NULL}},
    {"middle as anchor", "vpn.example.net", 0, MIDDLE, 100, 100, 0, TLS_WHY_NONE, {NULL}},
    {"wildcard", "*.example.net", MIDDLE, ROOT, 100, 100, 0, TLS_WHY_NONE, {NULL}},
    {"middle missing",
     "vpn.example.net",
     0,
     ROOT,
     100,
     100,
     QUIC_CRYPTO_ERROR + TLS_ALERT_UNKNOWN_CA,
     TLS_WHY_UNKNOWN_CA,
     {"comes from \"Middle\"", "--ca", "--pin"}},
    {"nothing trusted",
     "vpn.example.net",
     MIDDLE,
     0,
     100,
     100,
     QUIC_CRYPTO_ERROR + TLS_ALERT_UNKNOWN_CA,
     TLS_WHY_UNKNOWN_CA,
     {"comes from \"Root", "--ca"}},
    {"middle expired",
     "vpn.example.net",
     MIDDLE,
     ROOT,
     100,
     5,
     QUIC_CRYPTO_ERROR + TLS_ALERT_CERTIFICATE_EXPIRED,
     TLS_WHY_EXPIRED,
     {"a CA certificate in the server's chain expired on 2027-01-20"}},
    {"no name at all",
     "",
     MIDDLE,
     ROOT,
     100,
     100,
     QUIC_CRYPTO_ERROR + TLS_ALERT_BAD_CERTIFICATE,
     TLS_WHY_NAME,
     {"is for no host at all", "not for vpn.example.net"}},
};

static void test_chain(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(chain_cases); i++) {
        struct issued root =
            issue(NULL, "Root \x01\xe2\x82\xac", NULL, chain_cases[i].root_days);
        struct issued middle = issue(&root, "Middle", NULL, chain_cases[i].middle_days);
        struct issued leaf = issue(&middle, "vpn.example.net", chain_cases[i].host, 100);
        struct tls_ctx_config c = client_config(), s = server_config();
        char chain[8192], ca[4096], k[1024];
        struct pair p;

        s.cert_pem =
            pem_certs(chain, sizeof(chain), leaf.x, chain_cases[i].sends ? middle.x : NULL);
        s.key_pem = pem_key(k, sizeof(k), leaf.key);
        c.ca_pem = (struct span){NULL, 0};
        if (chain_cases[i].trusts)
            c.ca_pem = pem_certs(ca, sizeof(ca),
                                 chain_cases[i].trusts == ROOT ? root.x : middle.x, NULL);
        c.verify_time = NOW + 10 * 86400;
        pair_init(&p, &c, &s, "vpn.example.net");
        run(&p);
        if (chain_cases[i].error)
            assert_client_fails(&p, chain_cases[i].error, chain_cases[i].why,
                                chain_cases[i].text);
        else
            assert_done(&p);
        /* Text from the peer is printable ASCII whatever it was. */
        for (const char *t = tls_error_text(p.client.t); *t; t++)
            assert_true(*t >= ' ' && *t <= '~');
        pair_free(&p);
        issued_free(&root);
        issued_free(&middle);
        issued_free(&leaf);
    }
}

/* ---- what a peer can do wrong -------------------------------------------------------------- */

static void test_alpn(void **state)
{
    static const char *const both[] = {"mine/2", "h3"}, *const h3_first[] = {"h3", "mine/2"},
                             *const strange[] = {"h3-29", "h", "h33"};
    struct tls_ctx_config c = client_config(), s = server_config();
    struct pair p;

    (void)state;
    /* The server's preference decides. */
    c.alpn = h3_first;
    s.alpn = both;
    c.n_alpn = s.n_alpn = 2;
    pair_init(&p, &c, &s, "vpn.example.net");
    run(&p);
    assert_done(&p);
    assert_string_equal(tls_alpn(p.client.t), "mine/2");
    pair_free(&p);

    c.alpn = strange;
    c.n_alpn = 3;
    pair_init(&p, &c, &s, "vpn.example.net");
    run(&p);
    assert_int_equal(p.server.error, 0x178);
    assert_int_equal(tls_error_why(p.server.t), TLS_WHY_ALPN);
    assert_non_null(strstr(tls_error_text(p.server.t), "application protocols"));
    assert_string_equal(tls_alpn(p.server.t), "");
    pair_free(&p);
}

/* OpenSSL goes on without ALPN; QUIC must not (RFC 9001 8.1). */
static void test_alpn_missing(void **state)
{
    struct tls_ctx_config c = client_config(), s = server_config();
    enum quic_level level;
    struct span out;
    struct pair p;

    (void)state;
    pair_init(&p, &c, &s, "vpn.example.net");
    SSL_set_alpn_protos(p.client.t->ssl, NULL, 0);
    run(&p);
    assert_int_equal(p.server.error, 0x178);
    assert_int_equal(tls_error_why(p.server.t), TLS_WHY_ALPN);
    assert_false(tls_next_out(p.server.t, &level, &out));
    pair_free(&p);

    pair_init(&p, &c, &s, "vpn.example.net");
    SSL_CTX_set_alpn_select_cb(p.server_ctx->ssl, NULL, NULL);
    step(&p, &p.client);
    deliver(&p, &p.client, &p.server);
    assert_int_equal(p.server.error, 0x178); /* it would refuse itself, too */
    pair_free(&p);
}

/* A server whose callback says "go on without": only the client notices. */
static int select_nothing(SSL *ssl, const unsigned char **out, unsigned char *n,
                          const unsigned char *in, unsigned in_n, void *arg)
{
    struct tls *t = SSL_get_app_data(ssl);

    (void)out;
    (void)n;
    (void)in;
    (void)in_n;
    (void)arg;
    strcpy(t->alpn, "h3"); /* so that its own check is content */
    return SSL_TLSEXT_ERR_NOACK;
}

static void test_alpn_ignored_by_server(void **state)
{
    static const char *const text[3] = {"the server agrees to no application protocol"};
    struct tls_ctx_config c = client_config(), s = server_config();
    struct pair p;

    (void)state;
    pair_init(&p, &c, &s, "vpn.example.net");
    SSL_CTX_set_alpn_select_cb(p.server_ctx->ssl, select_nothing, NULL);
    run(&p);
    assert_int_equal(p.server.error, 0);
    assert_int_equal(p.client.error, 0x178);
    assert_non_null(strstr(tls_error_text(p.client.t), text[0]));
    assert_false(tls_done(p.client.t));
    pair_free(&p);
}

/* A ClientHello that knows nothing of QUIC, out of its TLS record. */
static size_t plain_hello(uint8_t *out, size_t max)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *wire = BIO_new(BIO_s_mem());
    uint8_t head[5];
    size_t n;

    SSL_set_min_proto_version(ssl, TLS1_3_VERSION);
    SSL_clear_options(ssl, SSL_OP_ENABLE_MIDDLEBOX_COMPAT);
    SSL_set_alpn_protos(ssl, (const uint8_t *)"\2h3", 3);
    SSL_set_bio(ssl, in, wire);
    SSL_connect(ssl);
    assert_int_equal(BIO_read(wire, head, sizeof(head)), sizeof(head));
    n = (size_t)head[3] << 8 | head[4];
    assert_true(n <= max);
    assert_int_equal(BIO_read(wire, out, (int)n), n);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    ERR_clear_error();
    return n;
}

/* The transport parameters extension is mandatory (RFC 9001 8.2). */
static void test_tparams_missing(void **state)
{
    struct tls_ctx_config c = client_config(), s = server_config();
    enum quic_level level;
    struct span out;
    uint8_t hello[4096];
    struct pair p;

    (void)state;
    pair_init(&p, &c, &s, "vpn.example.net");
    assert_int_equal(
        tls_feed(p.server.t, LEVEL_INITIAL, span_of(hello, plain_hello(hello, sizeof(hello)))),
        0);
    step(&p, &p.server);
    assert_int_equal(p.server.error, QUIC_CRYPTO_ERROR + TLS_ALERT_MISSING_EXTENSION);
    assert_int_equal(p.server.secret[LEVEL_APP][1].n, 0);
    assert_false(tls_next_out(p.server.t, &level, &out));
    pair_free(&p);

    /* A client, made to forget those that it got. */
    pair_init(&p, &c, &s, "vpn.example.net");
    step(&p, &p.client);
    deliver(&p, &p.client, &p.server);
    p.chunk = 1;
    p.max_steps = p.steps;
    while (!p.client.error && !tls_done(p.client.t) && tls_next_out(p.server.t, &level, &out)) {
        p.max_steps++;
        deliver(&p, &p.server, &p.client);
        p.client.t->got_tparams = false;
    }
    assert_int_equal(p.client.error, QUIC_CRYPTO_ERROR + TLS_ALERT_MISSING_EXTENSION);
    pair_free(&p);
}

/* Nor can it be empty: initial_source_connection_id is always in it. */
static void test_tparams_empty(void **state)
{
    struct tls_ctx_config c = client_config(), s = server_config();
    struct pair p;

    (void)state;
    pair_init(&p, &c, &s, "vpn.example.net");
    tls_del(p.client.t);
    p.client.t = tls_new(p.client_ctx, "vpn.example.net", (struct span){NULL, 0});
    run(&p);
    assert_int_equal(p.server.error, QUIC_TRANSPORT_PARAMETER_ERROR);
    assert_int_equal(p.server.secret[LEVEL_APP][1].n, 0);
    pair_free(&p);

    pair_init(&p, &c, &s, "vpn.example.net");
    tls_del(p.server.t);
    p.server.t = tls_new(p.server_ctx, NULL, (struct span){NULL, 0});
    run(&p);
    assert_int_equal(p.client.error, QUIC_TRANSPORT_PARAMETER_ERROR);
    pair_free(&p);
}

/* A server may set its own after it was made, and again; the last ones before the step count. */
static void test_tparams_late(void **state)
{
    struct tls_ctx_config c = client_config(), s = server_config();
    struct pair p;

    (void)state;
    pair_init(&p, &c, &s, "vpn.example.net");
    assert_int_equal(tls_set_tparams(p.server.t, SPAN_LIT("one")), 0);
    assert_int_equal(tls_set_tparams(p.server.t, SPAN_LIT("another")), 0);
    run(&p);
    assert_done(&p);
    assert_span(tls_peer_tparams(p.client.t), SPAN_LIT("another"));
    pair_free(&p);
}

static void test_garbage(void **state)
{
    static const struct {
        const char *hex;
        int error;
    } cases[] = {
        {"02000001 00", QUIC_CRYPTO_ERROR + TLS_ALERT_UNEXPECTED_MESSAGE}, /* ServerHello */
        {"18000001 00", QUIC_CRYPTO_ERROR + TLS_ALERT_UNEXPECTED_MESSAGE}, /* KeyUpdate */
        {"01000002 0303", QUIC_CRYPTO_ERROR + 50},                         /* decode_error */
        {"01ffffff 00", QUIC_CRYPTO_ERROR + 47},                           /* 16 MB */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tls_ctx_config s = server_config();
        struct tls_ctx *ctx = ctx_of(&s);
        struct tls *t = tls_new(ctx, NULL, server_tparams);
        struct hex h = hex_of(cases[i].hex);

        assert_int_equal(tls_feed(t, LEVEL_INITIAL, hex_span(&h)), 0);
        assert_int_equal(tls_step(t), cases[i].error);
        assert_int_equal(tls_step(t), cases[i].error);
        assert_int_equal(tls_error_why(t), TLS_WHY_PROTOCOL);
        assert_true(strlen(tls_error_text(t)) > 0);
        assert_int_equal(ERR_peek_error(), 0);
        tls_del(t);
        tls_ctx_del(ctx);
    }
}

/* Any byte of either flight changed: an error on one side, never a handshake nor a crash. */
static void test_flipped(void **state)
{
    uint64_t seed = 99;

    (void)state;
    for (int i = 0; i < 150; i++) {
        struct tls_ctx_config c = client_config(), s = server_config();
        struct end *from, *to;
        enum quic_level level;
        struct span out;
        struct pair p;
        bool server_side = i & 1;

        pair_init(&p, &c, &s, "vpn.example.net");
        step(&p, &p.client);
        if (server_side)
            deliver(&p, &p.client, &p.server);
        from = server_side ? &p.server : &p.client;
        to = server_side ? &p.client : &p.server;
        while (tls_next_out(from->t, &level, &out) && !to->error) {
            uint8_t *copy = exact_copy(out.p, out.n);

            copy[rand_below(&seed, out.n)] ^= (uint8_t)(1 << rand_below(&seed, 8));
            to->error = tls_feed(to->t, level, span_of(copy, out.n));
            tls_out_done(from->t, level, out.n);
            step(&p, to);
            free(copy);
        }
        while (deliver(&p, &p.client, &p.server) || deliver(&p, &p.server, &p.client))
            ;
        assert_false(tls_done(p.client.t) && tls_done(p.server.t));
        pair_free(&p);
    }
}

static void test_limits(void **state)
{
    static uint8_t zero[TLS_IN_MAX];
    struct tls_ctx_config c = client_config(), s = server_config();
    struct pair p;

    (void)state;
    pair_init(&p, &c, &s, "vpn.example.net");
    step(&p, &p.client);
    assert_int_equal(tls_feed(p.client.t, LEVEL_APP, span_of(zero, TLS_IN_MAX - 1)), 0);
    assert_int_equal(tls_feed(p.client.t, LEVEL_HANDSHAKE, span_of(zero, 1)), 0);
    assert_int_equal(tls_feed(p.client.t, LEVEL_HANDSHAKE, span_of(zero, 0)), 0);
    assert_int_equal(tls_feed(p.client.t, LEVEL_HANDSHAKE, span_of(zero, 1)),
                     QUIC_CRYPTO_BUFFER_EXCEEDED);
    assert_int_equal(tls_step(p.client.t), QUIC_CRYPTO_BUFFER_EXCEEDED);
    pair_free(&p);

    pair_init(&p, &c, &s, "vpn.example.net");
    assert_int_equal(tls_feed(p.server.t, LEVEL_EARLY, span_of(zero, 1)),
                     QUIC_PROTOCOL_VIOLATION);
    pair_free(&p);
}

/* Bytes at a level that is over, or beyond the message that ends it (RFC 9001 4.1.3). */
static void test_past_level(void **state)
{
    struct tls_ctx_config c = client_config(), s = server_config();
    struct pair p;
    enum quic_level level;
    struct span out;

    (void)state;
    pair_init(&p, &c, &s, "vpn.example.net");
    run(&p);
    assert_done(&p);
    assert_int_equal(tls_feed(p.server.t, LEVEL_INITIAL, SPAN_LIT("x")),
                     QUIC_PROTOCOL_VIOLATION);
    assert_int_equal(tls_feed(p.client.t, LEVEL_HANDSHAKE, SPAN_LIT("x")),
                     QUIC_PROTOCOL_VIOLATION);
    assert_false(tls_done(p.client.t));
    pair_free(&p);

    for (int apart = 0; apart < 2; apart++) {
        uint8_t *hello;

        pair_init(&p, &c, &s, "vpn.example.net");
        step(&p, &p.client);
        deliver(&p, &p.client, &p.server);
        assert_true(tls_next_out(p.server.t, &level, &out));
        assert_int_equal(level, LEVEL_INITIAL);
        hello = malloc(out.n + 2000);
        memcpy(hello, out.p, out.n);
        memset(hello + out.n, 0, 2000);
        assert_int_equal(tls_feed(p.client.t, level, span_of(hello, out.n + (apart ? 0 : 5))),
                         0);
        if (apart)
            assert_int_equal(tls_feed(p.client.t, level, span_of(hello + out.n, 2000)), 0);
        step(&p, &p.client);
        assert_true(p.client.error == QUIC_PROTOCOL_VIOLATION ||
                    p.client.error == QUIC_CRYPTO_ERROR + TLS_ALERT_UNEXPECTED_MESSAGE);
        free(hello);
        pair_free(&p);
    }
}

/* After the handshake: tickets are read over, a TLS KeyUpdate is an error (RFC 9001 6). */
static void test_post_handshake(void **state)
{
    struct tls_ctx_config c = client_config(), s = server_config();
    struct hex update = hex_of("18 000001 00");
    struct pair p;

    (void)state;
    pair_init(&p, &c, &s, "vpn.example.net");
    SSL_set_num_tickets(p.server.t->ssl, 2);
    p.chunk = 3;
    run(&p);
    assert_done(&p);
    assert_true(p.server.sent[LEVEL_APP] > 0);
    assert_int_equal(tls_feed(p.client.t, LEVEL_APP, hex_span(&update)), 0);
    assert_int_equal(tls_step(p.client.t), 0x10a);
    assert_int_equal(tls_feed(p.server.t, LEVEL_APP, hex_span(&update)), 0);
    assert_int_equal(tls_step(p.server.t), 0x10a);
    pair_free(&p);
}

/* ---- life and death -------------------------------------------------------------------------- */

/* Freed after every number of steps, whatever OpenSSL still holds. */
static void test_free_any_time(void **state)
{
    unsigned steps = 0;

    (void)state;
    for (size_t chunk = 0; chunk < 500; chunk += 250) {
        for (unsigned max = 0;; max++) {
            struct tls_ctx_config c = client_config(), s = server_config();
            struct pair p;

            pair_init(&p, &c, &s, "vpn.example.net");
            p.chunk = chunk;
            p.max_steps = max;
            run(&p);
            steps = p.steps;
            pair_free(&p);
            if (steps < max)
                break;
        }
        assert_true(steps >= 3);
    }
    tls_del(NULL);
    tls_ctx_del(NULL);
}

/* What other code left in OpenSSL's error queue does not disturb. */
static void test_error_queue(void **state)
{
    struct tls_ctx_config c = client_config(), s = server_config();
    struct pair p;

    (void)state;
    pair_init(&p, &c, &s, "vpn.example.net");
    p.chunk = 200;
    step(&p, &p.client);
    for (bool any = true; any;) {
        ERR_raise(ERR_LIB_SSL, ERR_R_INTERNAL_ERROR);
        any = deliver(&p, &p.client, &p.server);
        ERR_raise(ERR_LIB_X509, ERR_R_INTERNAL_ERROR);
        any |= deliver(&p, &p.server, &p.client);
    }
    ERR_clear_error();
    assert_done(&p);
    pair_free(&p);
}

static char log_lines[10][300];
static size_t n_lines;

static void keylog(void *ctx, const char *line)
{
    assert_ptr_equal(ctx, &n_lines);
    assert_true(n_lines < ARRAY_LEN(log_lines));
    snprintf(log_lines[n_lines++], sizeof(log_lines[0]), "%s", line);
}

static void test_keylog(void **state)
{
    static const char *const labels[] = {
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET ", "SERVER_HANDSHAKE_TRAFFIC_SECRET ",
        "CLIENT_TRAFFIC_SECRET_0 ", "SERVER_TRAFFIC_SECRET_0 "};
    struct tls_ctx_config c = client_config(), s = server_config();
    struct pair p;

    (void)state;
    n_lines = 0;
    c.keylog = keylog;
    c.keylog_ctx = &n_lines;
    pair_init(&p, &c, &s, "vpn.example.net");
    run(&p);
    assert_done(&p);
    for (size_t i = 0; i < ARRAY_LEN(labels); i++) {
        bool found = false;

        for (size_t k = 0; k < n_lines; k++)
            found |= strncmp(log_lines[k], labels[i], strlen(labels[i])) == 0;
        assert_true(found);
    }
    pair_free(&p);
}

/* ---- contexts -------------------------------------------------------------------------------- */

static void write_file(const char *path, struct span s)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(s.p, 1, s.n, f), s.n);
    fclose(f);
}

static void test_files(void **state)
{
    struct tls_ctx_config c = client_config(), s = server_config();
    char dir[] = "/tmp/quic_tls_XXXXXX", cert_file[64], key_file[64], bad_file[64], err[256];
    struct pair p;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(cert_file, sizeof(cert_file), "%s/cert.pem", dir);
    snprintf(key_file, sizeof(key_file), "%s/key.pem", dir);
    snprintf(bad_file, sizeof(bad_file), "%s/bad.pem", dir);
    write_file(cert_file, tls_pem_span(&cert));
    write_file(key_file, tls_pem_span(&key));
    write_file(bad_file,
               SPAN_LIT("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));

    s.cert_file = cert_file;
    s.key_file = key_file;
    s.cert_pem = s.key_pem = c.ca_pem = (struct span){NULL, 0};
    c.ca_file = cert_file;
    pair_init(&p, &c, &s, "vpn.example.net");
    run(&p);
    assert_done(&p);
    pair_free(&p);

    s.cert_file = bad_file;
    assert_null(tls_ctx_new(&s, err, sizeof(err)));
    assert_non_null(strstr(err, bad_file));
    s.cert_file = "/nonexistent/cert.pem";
    assert_null(tls_ctx_new(&s, err, sizeof(err)));
    assert_non_null(strstr(err, "/nonexistent/cert.pem"));
    assert_non_null(strstr(err, "o such file"));
    s.cert_file = cert_file;
    s.key_file = cert_file;
    assert_null(tls_ctx_new(&s, err, sizeof(err)));
    assert_non_null(strstr(err, "private key"));
    c.ca_file = bad_file;
    assert_null(tls_ctx_new(&c, err, sizeof(err)));
    assert_non_null(strstr(err, bad_file));
    c.ca_file = key_file;
    assert_null(tls_ctx_new(&c, err, sizeof(err)));
    assert_non_null(strstr(err, key_file));
    unlink(cert_file);
    unlink(key_file);
    unlink(bad_file);
    rmdir(dir);
    assert_int_equal(ERR_peek_error(), 0);
}

static void refused(const struct tls_ctx_config *cfg, const char *text)
{
    char err[256];

    assert_null(tls_ctx_new(cfg, err, sizeof(err)));
    if (!strstr(err, text))
        fail_msg("no \"%s\" in \"%s\"", text, err);
    assert_null(tls_ctx_new(cfg, NULL, 0));
    assert_int_equal(ERR_peek_error(), 0);
}

static void test_ctx_refused(void **state)
{
    static const char *const empty[] = {""};
    static const char *many[120];
    struct tls_ctx_config c, s;
    uint8_t pins[5][TLS_PIN] = {{0}};

    (void)state;
    s = server_config();
    s.key_pem = tls_pem_span(&other_key);
    refused(&s, "doesn't belong to the certificate");
    s = server_config();
    s.cert_pem = (struct span){NULL, 0};
    refused(&s, "no certificate given");
    s = server_config();
    s.key_pem = (struct span){NULL, 0};
    refused(&s, "no private key given");
    s = server_config();
    s.key_pem = SPAN_LIT("nonsense");
    refused(&s, "private key in memory is not usable");
    s = server_config();
    s.n_alpn = 0;
    refused(&s, "no application protocol");
    s.alpn = empty;
    s.n_alpn = 1;
    refused(&s, "1 to 255 bytes");
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = "h3";
    s.alpn = many;
    s.n_alpn = ARRAY_LEN(many);
    refused(&s, "too many");

    c = client_config();
    c.groups = "X25519:NoSuchGroup";
    refused(&c, "NoSuchGroup");
    c = client_config();
    c.suites = "TLS_NO_SUCH_SUITE";
    refused(&c, "TLS_NO_SUCH_SUITE");
    c = client_config();
    c.suites = "TLS_AES_128_GCM_SHA256:TLS_AES_128_CCM_8_SHA256";
    refused(&c, "CCM_8");
    c = client_config();
    c.verify = TLS_VERIFY_PIN;
    refused(&c, "pins are needed, not 0");
    c.pins = (const uint8_t(*)[TLS_PIN])pins;
    c.n_pins = 5;
    refused(&c, "not 5");
}

/* The system's CAs are trusted unless told otherwise, and don't include ours. */
static void test_system_ca(void **state)
{
    static const char *const text[3] = {"self-signed"};
    struct tls_ctx_config c = client_config(), s = server_config();
    struct pair p;

    (void)state;
    c.no_system_ca = false;
    pair_init(&p, &c, &s, "vpn.example.net");
    run(&p);
    assert_done(&p);
    pair_free(&p);
    c.ca_pem = (struct span){NULL, 0};
    pair_init(&p, &c, &s, "vpn.example.net");
    run(&p);
    assert_client_fails(&p, QUIC_CRYPTO_ERROR + TLS_ALERT_UNKNOWN_CA, TLS_WHY_SELF_SIGNED,
                        text);
    pair_free(&p);
}

/* Many handshakes of one context don't disturb each other. */
static void test_shared_context(void **state)
{
    struct tls_ctx_config c = client_config(), s = server_config();
    struct pair all[4];

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        pair_init(&all[i], &c, &s, "vpn.example.net");
        if (i > 0) {
            tls_del(all[i].client.t);
            tls_ctx_del(all[i].client_ctx);
            all[i].client_ctx = all[0].client_ctx;
            all[i].client.t = tls_new(all[0].client_ctx, "vpn.example.net", client_tparams);
        }
        step(&all[i], &all[i].client);
    }
    for (size_t i = 4; i-- > 0;) {
        run(&all[i]);
        assert_done(&all[i]);
    }
    assert_memory_not_equal(all[0].client.secret[LEVEL_APP][0].b,
                            all[1].client.secret[LEVEL_APP][0].b, 32);
    for (size_t i = 4; i-- > 0;) {
        if (i > 0)
            all[i].client_ctx = NULL;
        pair_free(&all[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_levels_reordered),
        cmocka_unit_test(test_key_shares),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_no_common_group),
        cmocka_unit_test(test_suites),
        cmocka_unit_test(test_verify),
        cmocka_unit_test(test_pin),
        cmocka_unit_test(test_verify_none),
        cmocka_unit_test(test_sni_address),
        cmocka_unit_test(test_names_refused),
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_alpn),
        cmocka_unit_test(test_alpn_missing),
        cmocka_unit_test(test_alpn_ignored_by_server),
        cmocka_unit_test(test_tparams_missing),
        cmocka_unit_test(test_tparams_empty),
        cmocka_unit_test(test_tparams_late),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_flipped),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_past_level),
        cmocka_unit_test(test_post_handshake),
        cmocka_unit_test(test_free_any_time),
        cmocka_unit_test(test_error_queue),
        cmocka_unit_test(test_keylog),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_ctx_refused),
        cmocka_unit_test(test_system_ca),
        cmocka_unit_test(test_shared_context),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
