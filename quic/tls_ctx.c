#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quic/tls_impl.h"

/* Where to put the text of a failure. */
struct why {
    char *text;
    size_t n;
};

/*
 * Set the text, with OpenSSL's reason after it if there is one, and clear that. Returns false,
 * for `return fail(...)`.
 */
static bool __attribute__((format(printf, 2, 3))) fail(struct why *why, const char *fmt, ...)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    va_list ap;

    if (why->text && why->n > 0) {
        size_t len;

        va_start(ap, fmt);
        vsnprintf(why->text, why->n, fmt, ap);
        va_end(ap);
        len = strlen(why->text);
        if (reason)
            snprintf(why->text + len, why->n - len, ": %s", reason);
    }
    ERR_clear_error();
    return false;
}

/* A PEM pass phrase is never asked for. */
static int no_phrase(char *buf, int size, int rwflag, void *ctx)
{
    (void)buf;
    (void)size;
    (void)rwflag;
    (void)ctx;
    return 0;
}

/* A file or memory for reading; `what` and the file's name go into the text. */
static BIO *open_pem(const char *file, struct span mem, const char *what, struct why *why)
{
    BIO *bio;

    ERR_clear_error();
    if (!file && mem.n == 0) {
        fail(why, "no %s given", what);
        return NULL;
    }
    bio = file ? BIO_new_file(file, "r") : BIO_new_mem_buf(mem.p, (int)mem.n);
    if (!bio)
        fail(why, "can't read the %s%s%s", what, file ? " " : "", file ? file : "");
    return bio;
}

/* PEM_read ends with this error where there are no more objects. */
static bool pem_ended(void)
{
    unsigned long code = ERR_peek_last_error();

    if (ERR_GET_LIB(code) != ERR_LIB_PEM || ERR_GET_REASON(code) != PEM_R_NO_START_LINE)
        return false;
    ERR_clear_error();
    return true;
}

/* The leaf, then the certificates between it and its CA. */
static bool use_chain(SSL_CTX *ssl, BIO *bio)
{
    X509 *x = PEM_read_bio_X509(bio, NULL, no_phrase, NULL);
    bool ok = x && SSL_CTX_use_certificate(ssl, x) > 0;

    X509_free(x);
    while (ok && (x = PEM_read_bio_X509(bio, NULL, no_phrase, NULL))) {
        ok = SSL_CTX_add0_chain_cert(ssl, x) > 0;
        if (!ok)
            X509_free(x);
    }
    return ok && pem_ended();
}

static bool load_cert(struct tls_ctx *ctx, const struct tls_ctx_config *cfg, struct why *why)
{
    const char *file = cfg->cert_file ? cfg->cert_file : "in memory";
    BIO *bio = open_pem(cfg->cert_file, cfg->cert_pem, "certificate", why);
    bool ok;

    if (!bio)
        return false;
    ok = use_chain(ctx->ssl, bio);
    BIO_free(bio);
    return ok || fail(why, "the certificate %s is not usable", file);
}

static bool load_key(struct tls_ctx *ctx, const struct tls_ctx_config *cfg, struct why *why)
{
    const char *file = cfg->key_file ? cfg->key_file : "in memory";
    BIO *bio = open_pem(cfg->key_file, cfg->key_pem, "private key", why);
    EVP_PKEY *key;
    bool ok;

    if (!bio)
        return false;
    key = PEM_read_bio_PrivateKey(bio, NULL, no_phrase, NULL);
    BIO_free(bio);
    if (!key)
        return fail(why, "the private key %s is not usable (has it a pass phrase?)", file);
    ok = SSL_CTX_use_PrivateKey(ctx->ssl, key) > 0 && SSL_CTX_check_private_key(ctx->ssl) > 0;
    EVP_PKEY_free(key);
    return ok || fail(why, "the private key %s doesn't belong to the certificate", file);
}

static bool bind_anchor(struct tls_ctx *ctx, const X509 *x)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    return X509_digest(x, EVP_sha256(), digest, &n) > 0 && tls_bind(ctx, digest, n);
}

/* Every certificate of the text becomes a trust anchor. */
static bool add_anchors(struct tls_ctx *ctx, BIO *bio)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx->ssl);
    size_t n = 0;
    X509 *x;

    while ((x = PEM_read_bio_X509(bio, NULL, no_phrase, NULL))) {
        bool ok = X509_STORE_add_cert(store, x) > 0 && bind_anchor(ctx, x);

        X509_free(x);
        if (!ok)
            return false;
        n++;
    }
    return n > 0 && pem_ended();
}

static bool load_cas(struct tls_ctx *ctx, const struct tls_ctx_config *cfg, struct why *why)
{
    struct span none = {NULL, 0};

    if (!tls_bind(ctx, &cfg->no_system_ca, sizeof(cfg->no_system_ca)))
        return fail(why, "no memory for TLS");
    if (!cfg->no_system_ca && SSL_CTX_set_default_verify_paths(ctx->ssl) <= 0)
        return fail(why, "the system's CA certificates are not usable");
    for (int i = 0; i < 2; i++) {
        const char *file = i == 0 ? cfg->ca_file : NULL;
        struct span mem = i == 1 ? cfg->ca_pem : none;
        BIO *bio;
        bool ok;

        if (!file && mem.n == 0)
            continue;
        bio = open_pem(file, mem, "CA certificate", why);
        if (!bio)
            return false;
        ok = add_anchors(ctx, bio);
        BIO_free(bio);
        if (!ok)
            return fail(why, "the CA certificate %s is not usable", file ? file : "in memory");
    }
    return true;
}

static bool set_verify(struct tls_ctx *ctx, const struct tls_ctx_config *cfg, struct why *why)
{
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ctx->ssl);

    ctx->verify = cfg->verify;
    if (cfg->server || cfg->verify == TLS_VERIFY_NONE) {
        SSL_CTX_set_verify(ctx->ssl, SSL_VERIFY_NONE, NULL);
        return true;
    }
    if (cfg->verify == TLS_VERIFY_PIN && (cfg->n_pins < 1 || cfg->n_pins > TLS_PINS_MAX))
        return fail(why, "1 to %d pins are needed, not %zu", TLS_PINS_MAX, cfg->n_pins);
    if (cfg->verify == TLS_VERIFY_PIN) {
        ctx->n_pins = cfg->n_pins;
        memcpy(ctx->pins, cfg->pins, cfg->n_pins * TLS_PIN);
    } else if (!load_cas(ctx, cfg, why)) {
        return false;
    }
    /* What is given as CA is trusted, even where it isn't a root. */
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                               X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (cfg->verify_time)
        X509_VERIFY_PARAM_set_time(param, (time_t)cfg->verify_time);
    SSL_CTX_set_verify(ctx->ssl, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(ctx->ssl, tls_verify_peer, ctx);
    return true;
}

/* The first of our names that the client offers. */
static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                       const unsigned char *in, unsigned in_len, void *arg)
{
    const struct tls_ctx *ctx = arg;

    (void)ssl;
    for (size_t i = 0; i < ctx->alpn_len; i += 1u + ctx->alpn[i]) {
        for (size_t k = 0; k < in_len && k + 1 + in[k] <= in_len; k += 1u + in[k]) {
            if (in[k] == ctx->alpn[i] && memcmp(in + k + 1, ctx->alpn + i + 1, in[k]) == 0) {
                *out = ctx->alpn + i + 1;
                *out_len = ctx->alpn[i];
                return SSL_TLSEXT_ERR_OK;
            }
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static bool set_alpn(struct tls_ctx *ctx, const struct tls_ctx_config *cfg, struct why *why)
{
    struct wire_w w = wire_w_of(ctx->alpn, sizeof(ctx->alpn));

    for (size_t i = 0; i < cfg->n_alpn; i++) {
        size_t n = strlen(cfg->alpn[i]);

        if (n == 0 || n > 255)
            return fail(why, "an application protocol's name has 1 to 255 bytes");
        wire_w_u8(&w, (uint8_t)n);
        wire_w_bytes(&w, cfg->alpn[i], n);
    }
    if (w.failed || cfg->n_alpn == 0)
        return fail(why, "%s",
                    cfg->n_alpn ? "too many application protocols"
                                : "no application protocol (ALPN) given");
    ctx->alpn_len = (size_t)(w.p - ctx->alpn);
    if (ctx->server)
        SSL_CTX_set_alpn_select_cb(ctx->ssl, select_alpn, ctx);
    else if (SSL_CTX_set_alpn_protos(ctx->ssl, ctx->alpn, (unsigned)ctx->alpn_len) != 0)
        return fail(why, "application protocols");
    return true;
}

/*
 * Only suites of TLS 1.3 (0x13..) for which packet protection exists here (RFC 9001 5.3). The
 * list also has those of other versions, which are never negotiated.
 */
static bool suites_known(SSL_CTX *ssl)
{
    const STACK_OF(SSL_CIPHER) *all = SSL_CTX_get_ciphers(ssl);
    size_t known = 0;

    for (int i = 0; i < sk_SSL_CIPHER_num(all); i++) {
        uint16_t id = SSL_CIPHER_get_protocol_id(sk_SSL_CIPHER_value(all, i));

        if (id >> 8 == 0x13 && (id < 0x1301 || id > 0x1303))
            return false;
        known += id >> 8 == 0x13;
    }
    return known > 0;
}

static bool set_crypto(struct tls_ctx *ctx, const struct tls_ctx_config *cfg, struct why *why)
{
    const char *groups = cfg->groups ? cfg->groups : TLS_GROUPS_DEFAULT;
    const char *suites = cfg->suites ? cfg->suites : TLS_SUITES_DEFAULT;

    if (SSL_CTX_set_min_proto_version(ctx->ssl, TLS1_3_VERSION) <= 0 ||
        SSL_CTX_set_max_proto_version(ctx->ssl, TLS1_3_VERSION) <= 0)
        return fail(why, "TLS 1.3 is not available");
    if (SSL_CTX_set1_groups_list(ctx->ssl, groups) <= 0)
        return fail(why, "the key exchange groups \"%s\" are not usable", groups);
    if (SSL_CTX_set_ciphersuites(ctx->ssl, suites) <= 0 || !suites_known(ctx->ssl))
        return fail(why, "the cipher suites \"%s\" are not usable", suites);
    return true;
}

static void keylog_line(const SSL *ssl, const char *line)
{
    const struct tls_ctx *ctx = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

    ctx->keylog(ctx->keylog_ctx, line);
}

static bool configure(struct tls_ctx *ctx, const struct tls_ctx_config *cfg, struct why *why)
{
    ctx->server = cfg->server;
    ctx->keylog = cfg->keylog;
    ctx->keylog_ctx = cfg->keylog_ctx;
    ctx->ssl = SSL_CTX_new(TLS_method());
    if (!ctx->ssl)
        return fail(why, "no memory for TLS");
    SSL_CTX_set_app_data(ctx->ssl, ctx);
    if (ctx->keylog)
        SSL_CTX_set_keylog_callback(ctx->ssl, keylog_line);
    /* A compressed certificate would cost memory that its sender chooses. */
    SSL_CTX_set_options(ctx->ssl, SSL_OP_NO_RX_CERTIFICATE_COMPRESSION |
                                      SSL_OP_NO_TX_CERTIFICATE_COMPRESSION);
    SSL_CTX_set_default_passwd_cb(ctx->ssl, no_phrase);
    if (!set_crypto(ctx, cfg, why) || !set_alpn(ctx, cfg, why) || !set_verify(ctx, cfg, why))
        return false;
    if (cfg->server && (!load_cert(ctx, cfg, why) || !load_key(ctx, cfg, why)))
        return false;
    return tls_set_sessions(ctx, cfg) || fail(why, "session tickets can't be set up");
}

struct tls_ctx *tls_ctx_new(const struct tls_ctx_config *cfg, char *err, size_t err_len)
{
    struct why why = {err, err_len};
    struct tls_ctx *ctx = calloc(1, sizeof(*ctx));

    ERR_clear_error();
    if (err && err_len > 0)
        err[0] = '\0';
    if (ctx && configure(ctx, cfg, &why)) {
        ERR_clear_error();
        return ctx;
    }
    if (!ctx)
        fail(&why, "no memory for TLS");
    tls_ctx_del(ctx);
    return NULL;
}

void tls_ctx_del(struct tls_ctx *ctx)
{
    if (!ctx)
        return;
    SSL_CTX_free(ctx->ssl);
    OPENSSL_cleanse(ctx->ticket_key, sizeof(ctx->ticket_key));
    free(ctx);
}
