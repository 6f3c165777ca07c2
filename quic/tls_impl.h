/*
 * tls_impl - what tls.c, tls_ctx.c, tls_session.c and cert.c share. Private to them.
 */
#ifndef QUIC_TLS_IMPL_H
#define QUIC_TLS_IMPL_H

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "quic/tls.h"

#define TLS_ALPN_MAX    256 /* bytes of all names with their lengths */
#define TLS_SECRETS_MAX 8   /* both directions of three levels, and some */

struct tls_ctx {
    SSL_CTX *ssl;
    bool server;
    enum tls_verify verify;
    uint8_t pins[TLS_PINS_MAX][TLS_PIN];
    size_t n_pins;
    int64_t verify_time;
    uint8_t ticket_key[TLS_TICKET_KEY]; /* a server's, where it gives tickets */
    uint8_t binding[32];                /* hash of what verification depends on */
    uint8_t alpn[TLS_ALPN_MAX];         /* length-prefixed names */
    size_t alpn_len;
    void (*keylog)(void *ctx, const char *line);
    void *keylog_ctx;
};

/* Bytes fed: a list of chunks that never move, since OpenSSL may have borrowed the first. */
struct tls_chunk {
    struct tls_chunk *next;
    size_t off, len, cap; /* [off, len) is unread */
    uint8_t b[];
};

struct tls_in {
    struct tls_chunk *head, *tail;
};

/* Bytes to send: [off, len) is still to be taken. */
struct tls_out {
    uint8_t *b;
    size_t off, len, cap;
};

struct tls {
    SSL *ssl;
    struct tls_ctx *ctx;

    int error; /* the first, 0 while none */
    enum tls_why why;
    bool no_memory;
    int alert; /* that OpenSSL wants sent, -1 for none */

    struct tls_in in[LEVEL_N];
    size_t waiting; /* bytes in them */
    enum quic_level read_level, write_level;
    bool lent; /* OpenSSL has borrowed the head of in[lent_level] */
    enum quic_level lent_level;
    uint8_t late_head[4]; /* of a message after the handshake: type and length */
    uint8_t late_head_len;
    uint32_t late_left; /* bytes of its body to come */
    struct tls_out out[LEVEL_N];

    struct tls_secret secret[TLS_SECRETS_MAX];
    size_t secret_first, secret_n;

    uint8_t *tparams, *peer_tparams;
    size_t tparams_len, peer_tparams_len;
    bool got_tparams;
    uint8_t *session; /* client: the latest that the server gave */
    size_t session_len;
    char alpn[TLS_ALPN_MAX];
    char name[256]; /* that the server was to have; "" for none */
    char text[TLS_TEXT_MAX];
};

/*
 * For SSL_CTX_set_cert_verify_callback, with the context as `arg`: judges the server's
 * certificate and, if it isn't acceptable, leaves the reason in the connection's `why`, `text`.
 */
int tls_verify_peer(X509_STORE_CTX *store, void *arg);

/* Tickets and sessions of a context whose certificate, ALPN and verification are set. */
bool tls_set_sessions(struct tls_ctx *ctx, const struct tls_ctx_config *cfg);

/* Sessions of this context are worth nothing to one that was not told the same, in order. */
bool tls_bind(struct tls_ctx *ctx, const void *p, size_t n);

void tls_session_drop(struct tls *t);

/* The pin of a certificate. 0 or QUIC_NOMEM. */
int tls_x509_pin(const X509 *x, uint8_t pin[TLS_PIN]);

#endif
