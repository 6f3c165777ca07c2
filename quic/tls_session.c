/*
 * Theory of operation
 *
 * Server: a ticket is the session itself, sealed; nothing is kept for it. Its name is 16 random
 * bytes, and the keys that seal it are derived from that name and the kept key. So each ticket
 * has keys of its own, none wears out, and a ticket of another key, or one that was altered,
 * fails its MAC: the handshake is then a full one. The certificate goes into the derivation,
 * as a new one is to be shown and verified. OpenSSL writes the time into the session and
 * refuses what is older than TLS_TICKET_SECONDS.
 *
 * Client: what it may keep is
 *
 *     magic (4) | SHA-256 (32) | the session in OpenSSL's DER
 *
 * where the hash is over all that the verification of the server depended on (mode, anchors,
 * pins, name, application protocols), and over the session. So a session counts only for the
 * settings under which its server was verified, and only intact.
 */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "quic/tls_impl.h"

#define MAGIC     "mqs1"
#define MAGIC_LEN 4
#define HASH_LEN  32
#define HEAD      (MAGIC_LEN + HASH_LEN)
#define NAME_LEN  16
#define AES_KEY   32
#define MAC_KEY   32

/* ---- tickets of a server --------------------------------------------------------------- */

static bool ticket_keys(const struct tls_ctx *ctx, const uint8_t name[NAME_LEN],
                        uint8_t out[AES_KEY + MAC_KEY])
{
    unsigned n = 0;

    return HMAC(EVP_sha512(), ctx->ticket_key, sizeof(ctx->ticket_key), name, NAME_LEN, out,
                &n) &&
           n == AES_KEY + MAC_KEY;
}

static bool set_mac(EVP_MAC_CTX *mac, uint8_t key[MAC_KEY])
{
    static char sha256[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_octet_string("key", key, MAC_KEY),
                           OSSL_PARAM_utf8_string("digest", sha256, sizeof(sha256) - 1),
                           OSSL_PARAM_END};

    return EVP_MAC_CTX_set_params(mac, params) > 0;
}

/* As SSL_CTX_set_tlsext_ticket_key_evp_cb wants it: 2 for "good, and give a new one". */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int enc)
{
    const struct tls *t = SSL_get_app_data(ssl);
    const EVP_CIPHER *aes = EVP_aes_256_cbc();
    uint8_t keys[AES_KEY + MAC_KEY];
    bool ok = !enc || (RAND_bytes(name, NAME_LEN) > 0 &&
                       RAND_bytes(iv, EVP_CIPHER_get_iv_length(aes)) > 0);

    ok = ok && ticket_keys(t->ctx, name, keys) && set_mac(mac, keys + AES_KEY) &&
         EVP_CipherInit_ex(cipher, aes, NULL, keys, iv, enc) > 0;
    OPENSSL_cleanse(keys, sizeof(keys));
    return !ok ? -1 : enc ? 1 : 2;
}

/* The kept key and the certificate, mixed. */
static bool ticket_key(struct tls_ctx *ctx, struct span key)
{
    X509 *cert = SSL_CTX_get0_certificate(ctx->ssl);
    uint8_t digest[EVP_MAX_MD_SIZE], mac[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    bool ok = X509_digest(cert, EVP_sha256(), digest, &n) > 0 &&
              HMAC(EVP_sha256(), key.p, (int)key.n, digest, n, mac, &n);

    if (ok)
        memcpy(ctx->ticket_key, mac, sizeof(ctx->ticket_key));
    OPENSSL_cleanse(mac, sizeof(mac));
    return ok;
}

/* ---- sessions of a client -------------------------------------------------------------- */

bool tls_bind(struct tls_ctx *ctx, const void *p, size_t n)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint64_t len = n;
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) > 0 &&
              EVP_DigestUpdate(md, ctx->binding, sizeof(ctx->binding)) > 0 &&
              EVP_DigestUpdate(md, &len, sizeof(len)) > 0 && EVP_DigestUpdate(md, p, n) > 0 &&
              EVP_DigestFinal_ex(md, ctx->binding, NULL) > 0;

    EVP_MD_CTX_free(md);
    return ok;
}

static bool session_hash(const struct tls *t, const uint8_t *der, size_t n,
                         uint8_t out[HASH_LEN])
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) > 0 &&
              EVP_DigestUpdate(md, t->ctx->binding, sizeof(t->ctx->binding)) > 0 &&
              EVP_DigestUpdate(md, t->name, sizeof(t->name)) > 0 &&
              EVP_DigestUpdate(md, der, n) > 0 && EVP_DigestFinal_ex(md, out, NULL) > 0;

    EVP_MD_CTX_free(md);
    return ok;
}

void tls_session_drop(struct tls *t)
{
    if (t->session)
        OPENSSL_cleanse(t->session, t->session_len);
    free(t->session);
    t->session = NULL;
    t->session_len = 0;
}

/* The latest counts. Without memory there is none, which is no loss. Keeps no reference. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls *t = SSL_get_app_data(ssl);
    int n = i2d_SSL_SESSION(session, NULL);
    uint8_t *blob, *at;

    if (n <= 0 || (size_t)n > TLS_SESSION_MAX - HEAD || !(blob = malloc(HEAD + (size_t)n)))
        return 0;
    tls_session_drop(t);
    memcpy(blob, MAGIC, MAGIC_LEN);
    at = blob + HEAD;
    t->session = blob;
    t->session_len = HEAD + (size_t)n;
    if (i2d_SSL_SESSION(session, &at) != n ||
        !session_hash(t, blob + HEAD, (size_t)n, blob + MAGIC_LEN))
        tls_session_drop(t);
    return 0;
}

/* A certificate that is over by now must not be trusted for longer by way of its session. */
static bool still_valid(const struct tls *t, const SSL_SESSION *session)
{
    const X509 *leaf = SSL_SESSION_get0_peer((SSL_SESSION *)session);
    time_t at = (time_t)t->ctx->verify_time;

    return t->ctx->verify != TLS_VERIFY_CHAIN ||
           (leaf && X509_cmp_time(X509_get0_notAfter(leaf), at ? &at : NULL) > 0);
}

bool tls_set_session(struct tls *t, struct span session)
{
    uint8_t hash[HASH_LEN];
    const uint8_t *der;
    SSL_SESSION *s;
    bool ok;

    if (t->error || t->ctx->server || session.n <= HEAD || session.n > TLS_SESSION_MAX ||
        memcmp(session.p, MAGIC, MAGIC_LEN) != 0)
        return false;
    ERR_clear_error();
    der = session.p + HEAD;
    ok = session_hash(t, der, session.n - HEAD, hash) &&
         bytes_equal_ct(hash, session.p + MAGIC_LEN, HASH_LEN);
    s = ok ? d2i_SSL_SESSION(NULL, &der, (long)(session.n - HEAD)) : NULL;
    ok =
        s && SSL_SESSION_is_resumable(s) && still_valid(t, s) && SSL_set_session(t->ssl, s) > 0;
    SSL_SESSION_free(s);
    ERR_clear_error();
    return ok;
}

struct span tls_session(const struct tls *t)
{
    return t->error ? (struct span){0} : span_of(t->session, t->session_len);
}

bool tls_resumed(const struct tls *t)
{
    return tls_done(t) && SSL_session_reused(t->ssl) > 0;
}

/* ---- contexts -------------------------------------------------------------------------- */

bool tls_set_sessions(struct tls_ctx *ctx, const struct tls_ctx_config *cfg)
{
    SSL_CTX *ssl = ctx->ssl;

    ctx->verify_time = cfg->verify_time;
    SSL_CTX_set_num_tickets(ssl, 0);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    if (!ctx->server) {
        SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(ssl, on_session);
        return tls_bind(ctx, &ctx->verify, sizeof(ctx->verify)) &&
               tls_bind(ctx, ctx->pins, ctx->n_pins * TLS_PIN) &&
               tls_bind(ctx, ctx->alpn, ctx->alpn_len);
    }
    if (cfg->ticket_key.n == 0)
        return true;
    SSL_CTX_set_timeout(ssl, TLS_TICKET_SECONDS);
    return cfg->ticket_key.n >= TLS_TICKET_KEY && ticket_key(ctx, cfg->ticket_key) &&
           SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl, on_ticket) > 0 &&
           SSL_CTX_set_num_tickets(ssl, 1) > 0;
}
