#include "quic/tls.h"

#include <openssl/core_dispatch.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quic/tls_impl.h"

#define CHUNK_MIN 1024 /* room of a chunk, so that single bytes don't make one each */
#define OUT_MIN   4096

#define TLS_CERTIFICATE_REQUEST 13 /* RFC 8446 4 */

/* ---- bytes in ---------------------------------------------------------------------- */

static void in_pop(struct tls_in *in)
{
    struct tls_chunk *c = in->head;

    in->head = c->next;
    if (!in->head)
        in->tail = NULL;
    OPENSSL_cleanse(c->b, c->len);
    free(c);
}

static bool in_push(struct tls_in *in, struct span s)
{
    struct tls_chunk *c = in->tail;

    if (!c || c->cap - c->len < s.n) {
        size_t cap = s.n > CHUNK_MIN ? s.n : CHUNK_MIN;

        c = malloc(sizeof(*c) + cap);
        if (!c)
            return false;
        *c = (struct tls_chunk){.cap = cap};
        if (in->tail)
            in->tail->next = c;
        else
            in->head = c;
        in->tail = c;
    }
    memcpy(c->b + c->len, s.p, s.n);
    c->len += s.n;
    return true;
}

/* ---- bytes out --------------------------------------------------------------------- */

static bool out_push(struct tls_out *out, const uint8_t *p, size_t n)
{
    if (out->off == out->len)
        out->off = out->len = 0;
    if (out->cap - out->len < n) {
        size_t cap = out->cap ? 2 * out->cap : OUT_MIN;
        uint8_t *b;

        while (cap - out->len < n)
            cap *= 2;
        b = realloc(out->b, cap);
        if (!b)
            return false;
        out->b = b;
        out->cap = cap;
    }
    memcpy(out->b + out->len, p, n);
    out->len += n;
    return true;
}

/* ---- what OpenSSL calls -------------------------------------------------------------- */

static int on_crypto_send(SSL *ssl, const unsigned char *p, size_t n, size_t *consumed,
                          void *arg)
{
    struct tls *t = arg;

    (void)ssl;
    if (!out_push(&t->out[t->write_level], p, n)) {
        t->no_memory = true;
        return 0;
    }
    *consumed = n;
    return 1;
}

/* Lends the unread bytes of the first chunk of the read level; none is fine too. */
static int on_crypto_recv(SSL *ssl, const unsigned char **p, size_t *n, void *arg)
{
    struct tls *t = arg;
    const struct tls_chunk *c = t->in[t->read_level].head;

    (void)ssl;
    *p = c ? c->b + c->off : NULL;
    *n = c ? c->len - c->off : 0;
    if (c) {
        t->lent = true;
        t->lent_level = t->read_level;
    }
    return 1;
}

/* May come from a later read level than the bytes are of, and from SSL_free. */
static int on_crypto_release(SSL *ssl, size_t n, void *arg)
{
    struct tls *t = arg;
    struct tls_chunk *c = t->in[t->lent_level].head;

    (void)ssl;
    if (!t->lent || !c || n > c->len - c->off)
        return n == 0;
    t->lent = false;
    t->waiting -= n;
    c->off += n;
    if (c->off == c->len)
        in_pop(&t->in[t->lent_level]);
    return 1;
}

static bool level_of(uint32_t protection, enum quic_level *level)
{
    switch (protection) {
    case OSSL_RECORD_PROTECTION_LEVEL_EARLY:
        *level = LEVEL_EARLY;
        return true;
    case OSSL_RECORD_PROTECTION_LEVEL_HANDSHAKE:
        *level = LEVEL_HANDSHAKE;
        return true;
    case OSSL_RECORD_PROTECTION_LEVEL_APPLICATION:
        *level = LEVEL_APP;
        return true;
    default:
        return false;
    }
}

static bool aead_of(const SSL_CIPHER *cipher, enum aead_id *id)
{
    switch (cipher ? SSL_CIPHER_get_protocol_id(cipher) : 0) {
    case 0x1301:
        *id = AEAD_AES_128_GCM;
        return true;
    case 0x1302:
        *id = AEAD_AES_256_GCM;
        return true;
    case 0x1303:
        *id = AEAD_CHACHA20_POLY1305;
        return true;
    default:
        return false;
    }
}

/* Read and write level go on separately; a 0-RTT secret never moves the write level. */
static int on_secret(SSL *ssl, uint32_t protection, int write, const unsigned char *secret,
                     size_t n, void *arg)
{
    struct tls *t = arg;
    struct tls_secret *s;
    enum quic_level level;
    enum aead_id id;

    if (n > AEAD_SECRET_MAX || t->secret_n == TLS_SECRETS_MAX ||
        !level_of(protection, &level) || !aead_of(SSL_get_current_cipher(ssl), &id))
        return 0;
    s = &t->secret[(t->secret_first + t->secret_n++) % TLS_SECRETS_MAX];
    *s = (struct tls_secret){.level = level, .write = write, .aead = id, .n = n};
    memcpy(s->b, secret, n);
    if (level == LEVEL_EARLY)
        return 1;
    if (write)
        t->write_level = level;
    else
        t->read_level = level;
    return 1;
}

/* Comes once more on a server that sent HelloRetryRequest. */
static int on_tparams(SSL *ssl, const unsigned char *p, size_t n, void *arg)
{
    struct tls *t = arg;
    uint8_t *copy = malloc(n ? n : 1);

    (void)ssl;
    if (!copy) {
        t->no_memory = true;
        return 0;
    }
    if (n)
        memcpy(copy, p, n);
    free(t->peer_tparams);
    t->peer_tparams = copy;
    t->peer_tparams_len = n;
    t->got_tparams = true;
    return 1;
}

static int on_alert(SSL *ssl, unsigned char alert, void *arg)
{
    struct tls *t = arg;

    (void)ssl;
    t->alert = alert;
    return 1;
}

#define CALLBACK(id, f)                                                                        \
    {                                                                                          \
        OSSL_FUNC_SSL_QUIC_TLS_##id, (void (*)(void))(f)                                       \
    }

static const OSSL_DISPATCH callbacks[] = {
    CALLBACK(CRYPTO_SEND, on_crypto_send),
    CALLBACK(CRYPTO_RECV_RCD, on_crypto_recv),
    CALLBACK(CRYPTO_RELEASE_RCD, on_crypto_release),
    CALLBACK(YIELD_SECRET, on_secret),
    CALLBACK(GOT_TRANSPORT_PARAMS, on_tparams),
    CALLBACK(ALERT, on_alert),
    OSSL_DISPATCH_END,
};

/* ---- making and ending --------------------------------------------------------------- */

static bool host_ok(const char *name, size_t n)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";

    return n > 0 && n <= 253 && name[0] != '.' && strspn(name, allowed) == n;
}

/* SNI for a name, none for an address (RFC 6066 3); the check of either on a client. */
static bool set_name(struct tls *t, const char *name)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
    size_t n = strlen(name);

    if (n == 0 || n >= sizeof(t->name))
        return false;
    memcpy(t->name, name, n + 1);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, t->name) > 0)
        return true;
    if (t->name[n - 1] == '.')
        t->name[--n] = '\0';
    return host_ok(t->name, n) && X509_VERIFY_PARAM_set1_host(param, t->name, n) > 0 &&
           SSL_set_tlsext_host_name(t->ssl, t->name) > 0;
}

static bool start(struct tls *t, const char *server_name, struct span tparams)
{
    t->ssl = SSL_new(t->ctx->ssl);
    if (!t->ssl)
        return false;
    SSL_set_app_data(t->ssl, t);
    /* The role has to be known before the callbacks are set. */
    if (t->ctx->server)
        SSL_set_accept_state(t->ssl);
    else
        SSL_set_connect_state(t->ssl);
    if (SSL_set_quic_tls_cbs(t->ssl, callbacks, t) <= 0)
        return false;
    if (!t->ctx->server && server_name && !set_name(t, server_name))
        return false;
    if (!t->ctx->server && !server_name && t->ctx->verify == TLS_VERIFY_CHAIN)
        return false;
    return tparams.n == 0 || tls_set_tparams(t, tparams) == 0;
}

struct tls *tls_new(struct tls_ctx *ctx, const char *server_name, struct span tparams)
{
    struct tls *t = calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    t->ctx = ctx;
    t->alert = -1;
    ERR_clear_error();
    if (!start(t, server_name, tparams)) {
        tls_del(t);
        t = NULL;
    }
    ERR_clear_error();
    return t;
}

static void drop_secrets(struct tls *t)
{
    OPENSSL_cleanse(t->secret, sizeof(t->secret));
    t->secret_n = 0;
}

void tls_del(struct tls *t)
{
    if (!t)
        return;
    if (t->ssl) {
        ERR_clear_error();
        /* Nothing is sent by it; without it the session would count as broken. */
        SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(t->ssl); /* may still give borrowed bytes back */
        ERR_clear_error();
    }
    for (int level = 0; level < LEVEL_N; level++) {
        while (t->in[level].head)
            in_pop(&t->in[level]);
        free(t->out[level].b);
    }
    drop_secrets(t);
    free(t->tparams);
    free(t->peer_tparams);
    tls_session_drop(t);
    free(t);
}

int tls_set_tparams(struct tls *t, struct span tparams)
{
    uint8_t *copy;

    if (t->error)
        return QUIC_CLOSED;
    /* OpenSSL keeps the pointer only. */
    copy = malloc(tparams.n ? tparams.n : 1);
    if (!copy)
        return QUIC_NOMEM;
    if (tparams.n)
        memcpy(copy, tparams.p, tparams.n);
    if (SSL_set_quic_tls_transport_params(t->ssl, copy, tparams.n) <= 0) {
        ERR_clear_error();
        free(copy);
        return QUIC_NOMEM;
    }
    free(t->tparams);
    t->tparams = copy;
    t->tparams_len = tparams.n;
    return 0;
}

/* ---- running ------------------------------------------------------------------------- */

/* The first error stays; nothing that was produced may still be used. */
static int __attribute__((format(printf, 4, 5)))
fail(struct tls *t, int code, enum tls_why why, const char *fmt, ...)
{
    va_list ap;

    t->error = code;
    if (t->why == TLS_WHY_NONE) {
        t->why = why;
        va_start(ap, fmt);
        vsnprintf(t->text, sizeof(t->text), fmt, ap);
        va_end(ap);
    }
    drop_secrets(t);
    for (int level = 0; level < LEVEL_N; level++)
        t->out[level].off = t->out[level].len = 0;
    ERR_clear_error();
    return code;
}

/* OpenSSL gave up: from the alert that it wanted to send, or from our own trouble. */
static int fail_ssl(struct tls *t)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    int alert = t->alert >= 0 ? t->alert : TLS_ALERT_INTERNAL_ERROR;
    int error = QUIC_CRYPTO_ERROR + alert;
    enum tls_why why = alert == TLS_ALERT_INTERNAL_ERROR ? TLS_WHY_INTERNAL : TLS_WHY_PROTOCOL;

    if (t->no_memory)
        return fail(t, QUIC_INTERNAL_ERROR, TLS_WHY_INTERNAL,
                    "no memory for the TLS handshake");
    /* Tickets are all that a server may send then; one with an amount of 0-RTT data, say. */
    if (!t->ctx->server && t->read_level == LEVEL_APP && alert == SSL_AD_ILLEGAL_PARAMETER)
        return fail(t, QUIC_PROTOCOL_VIOLATION, TLS_WHY_PROTOCOL,
                    "the server sent a session ticket that QUIC forbids");
    if (alert == TLS_ALERT_NO_APPLICATION_PROTOCOL)
        return fail(t, error, TLS_WHY_ALPN,
                    "the client offers none of our application protocols");
    return fail(t, error, why, "the TLS handshake failed: %s (%s)",
                reason ? reason : "no reason given", quic_error_name((uint64_t)error));
}

static void learn_alpn(struct tls *t)
{
    const unsigned char *p;
    unsigned n;

    SSL_get0_alpn_selected(t->ssl, &p, &n);
    if (n > 0 && n < sizeof(t->alpn)) {
        memcpy(t->alpn, p, n);
        t->alpn[n] = '\0';
    }
}

/* What QUIC demands of the peer's first flight and OpenSSL doesn't (RFC 9001 8.1, 8.2). */
static int check_peer(struct tls *t)
{
    const char *peer = t->ctx->server ? "client" : "server";

    if (!t->alpn[0])
        return fail(t, QUIC_CRYPTO_ERROR + TLS_ALERT_NO_APPLICATION_PROTOCOL, TLS_WHY_ALPN,
                    "the %s agrees to no application protocol (ALPN)", peer);
    if (!t->got_tparams)
        return fail(t, QUIC_CRYPTO_ERROR + TLS_ALERT_MISSING_EXTENSION, TLS_WHY_PROTOCOL,
                    "the %s sent no QUIC transport parameters", peer);
    if (t->peer_tparams_len == 0)
        return fail(t, QUIC_TRANSPORT_PARAMETER_ERROR, TLS_WHY_PROTOCOL,
                    "the %s's QUIC transport parameters are empty", peer);
    return 0;
}

/*
 * Bytes of a level that ended must all have been used (RFC 9001 4.1.3). Those that OpenSSL still
 * holds it has judged itself: it refuses a change of keys in the middle of them.
 */
static int check_left_over(struct tls *t)
{
    for (int level = 0; level < (int)t->read_level; level++) {
        const struct tls_chunk *c = t->in[level].head;

        if (c && t->lent && t->lent_level == (enum quic_level)level)
            c = c->next;
        if (c)
            return fail(t, QUIC_PROTOCOL_VIOLATION, TLS_WHY_PROTOCOL,
                        "the peer sent handshake bytes past a change of keys");
    }
    return 0;
}

/* Whether OpenSSL only waits for more bytes. */
static bool waits(const struct tls *t, int r)
{
    return SSL_get_error(t->ssl, r) == SSL_ERROR_WANT_READ;
}

int tls_step(struct tls *t)
{
    bool known;
    int r;

    if (t->error)
        return t->error;
    ERR_clear_error();
    r = SSL_do_handshake(t->ssl);
    if (r <= 0 && !waits(t, r))
        return fail_ssl(t);
    learn_alpn(t);
    /* A server knows the client's by its first secret, a client the server's at the end. */
    known = t->ctx->server ? t->write_level != LEVEL_INITIAL : SSL_is_init_finished(t->ssl);
    if (known && check_peer(t))
        return t->error;
    if (SSL_is_init_finished(t->ssl)) {
        r = SSL_read(t->ssl, NULL, 0);
        if (r <= 0 && !waits(t, r))
            return fail_ssl(t);
    }
    ERR_clear_error();
    return check_left_over(t);
}

/*
 * Whether among the messages in these bytes, which go on where the last ones ended, is a
 * request for a certificate: after the handshake QUIC has none (RFC 9001 4.4).
 */
static bool asks_late(struct tls *t, struct span s)
{
    while (s.n) {
        size_t some = s.n < t->late_left ? s.n : t->late_left;

        if (t->late_left) {
            t->late_left -= (uint32_t)some;
            s = span_of(s.p + some, s.n - some);
            continue;
        }
        if (t->late_head_len == 0 && s.p[0] == TLS_CERTIFICATE_REQUEST)
            return true;
        t->late_head[t->late_head_len++] = s.p[0];
        s = span_of(s.p + 1, s.n - 1);
        if (t->late_head_len == sizeof(t->late_head)) {
            t->late_head_len = 0;
            t->late_left = (uint32_t)t->late_head[1] << 16 | (uint32_t)t->late_head[2] << 8 |
                           t->late_head[3];
        }
    }
    return false;
}

int tls_feed(struct tls *t, enum quic_level level, struct span bytes)
{
    if (t->error)
        return t->error;
    if (bytes.n == 0)
        return 0;
    if (level == LEVEL_EARLY || level >= LEVEL_N || level < t->read_level)
        return fail(t, QUIC_PROTOCOL_VIOLATION, TLS_WHY_PROTOCOL,
                    "the peer sent handshake bytes of an encryption level that is over");
    if (bytes.n > TLS_IN_MAX - t->waiting)
        return fail(t, QUIC_CRYPTO_BUFFER_EXCEEDED, TLS_WHY_PROTOCOL,
                    "the peer sent more handshake bytes than can be kept");
    if (level == LEVEL_APP && !t->ctx->server && asks_late(t, bytes))
        return fail(t, QUIC_PROTOCOL_VIOLATION, TLS_WHY_PROTOCOL,
                    "the server asked for a certificate after the handshake");
    if (!in_push(&t->in[level], bytes))
        return fail(t, QUIC_INTERNAL_ERROR, TLS_WHY_INTERNAL,
                    "no memory for the TLS handshake");
    t->waiting += bytes.n;
    return 0;
}

/* ---- what the connection takes ------------------------------------------------------- */

bool tls_next_out(const struct tls *t, enum quic_level *level, struct span *bytes)
{
    for (int i = 0; i < LEVEL_N; i++) {
        const struct tls_out *out = &t->out[i];

        if (out->off < out->len) {
            *level = (enum quic_level)i;
            *bytes = span_of(out->b + out->off, out->len - out->off);
            return true;
        }
    }
    return false;
}

void tls_out_done(struct tls *t, enum quic_level level, size_t n)
{
    struct tls_out *out = &t->out[level];

    out->off += n < out->len - out->off ? n : out->len - out->off;
    if (out->off < out->len)
        return;
    free(out->b);
    *out = (struct tls_out){0};
}

/* ---- memory -------------------------------------------------------------------------- */

size_t tls_memory(const struct tls *t)
{
    size_t sum;

    if (!t)
        return 0;
    sum = sizeof(*t) + t->tparams_len + t->peer_tparams_len + t->session_len;
    for (int level = 0; level < LEVEL_N; level++) {
        sum += t->out[level].cap;
        for (const struct tls_chunk *c = t->in[level].head; c; c = c->next)
            sum += sizeof(*c) + c->cap;
    }
    return sum;
}

size_t tls_memory_max(size_t out)
{
    /* Two chunks in a row hold more than one has room for; the first may be all but read. */
    size_t chunk = CHUNK_MIN + sizeof(struct tls_chunk);
    size_t in = 3 * TLS_IN_MAX + (2 * TLS_IN_MAX / CHUNK_MIN + 2 * LEVEL_N) * chunk;

    /* The parameters of both ends as large as a message may be. */
    return sizeof(struct tls) + 2 * TLS_IN_MAX + TLS_SESSION_MAX + in + 2 * out + LEVEL_N * OUT_MIN;
}

bool tls_next_secret(struct tls *t, struct tls_secret *out)
{
    struct tls_secret *s = &t->secret[t->secret_first];

    if (t->secret_n == 0)
        return false;
    *out = *s;
    OPENSSL_cleanse(s, sizeof(*s));
    t->secret_first = (t->secret_first + 1) % TLS_SECRETS_MAX;
    t->secret_n--;
    return true;
}

bool tls_done(const struct tls *t)
{
    return !t->error && SSL_is_init_finished(t->ssl);
}

const char *tls_alpn(const struct tls *t)
{
    return t->alpn;
}

struct span tls_peer_tparams(const struct tls *t)
{
    return span_of(t->peer_tparams, t->peer_tparams_len);
}

enum tls_why tls_error_why(const struct tls *t)
{
    return t->why;
}

const char *tls_error_text(const struct tls *t)
{
    return t->text;
}
