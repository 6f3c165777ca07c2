/*
 * tls - the TLS 1.3 handshake of a QUIC connection (RFC 9001 4 and 8), with OpenSSL as a
 * mailbox.
 *
 * OpenSSL wants callbacks; the connection wants data. So the callbacks only put things into
 * `struct tls`, and the connection empties it after each step:
 *
 *     tls_feed(t, level, bytes)        CRYPTO bytes in order, as they come off the frames
 *     tls_step(t)                      let OpenSSL run; 0 or a transport error code
 *     tls_next_secret(t, &s)           keys to install, in the order they became known
 *     tls_next_out / tls_out_done      CRYPTO bytes to send, by level
 *     tls_peer_tparams, tls_alpn       as soon as known, mind: see there
 *     tls_done                         the handshake is complete (not yet confirmed)
 *     tls_session                      what a client may keep for the next handshake
 *
 * Model: bytes fed wait in a queue for each level until OpenSSL's read level has come to it;
 * what it produces waits in a buffer of the write level. Nothing is routed to 0-RTT.
 *
 * Invariants: the bytes that OpenSSL has borrowed don't move until it gives them back; a
 * failed handshake stays failed with its first error; no call leaves anything in OpenSSL's
 * error queue, nor is confused by what others left there.
 *
 * Limits: at most TLS_IN_MAX bytes wait unread.
 *
 * A context is made once for each configuration and shared by all connections of a thread
 * or process; it must outlive them.
 */
#ifndef QUIC_TLS_H
#define QUIC_TLS_H

#include "quic/aead.h"
#include "quic/cert.h"
#include "quic/errors.h"
#include "quic/packet.h"

#define TLS_IN_MAX   65536 /* bytes fed and not yet read by OpenSSL, all levels together */
#define TLS_PINS_MAX 4
#define TLS_TEXT_MAX 512 /* bytes of an error text */

#define TLS_TICKET_KEY     32
#define TLS_TICKET_SECONDS 86400 /* a ticket is good for so long */
#define TLS_SESSION_MAX    16384 /* bytes of a session; larger ones are not kept */

/*
 * Preference, best first; key shares go out for those with a star. The hybrid share makes the
 * ClientHello larger than one datagram; X25519 beside it spares a round trip with
 * servers that don't know the hybrid.
 */
#define TLS_GROUPS_DEFAULT "*X25519MLKEM768:*X25519:P-256:P-384"
#define TLS_SUITES_DEFAULT                                                                     \
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

enum tls_verify {
    TLS_VERIFY_CHAIN, /* chain to a trusted CA, name, expiry */
    TLS_VERIFY_PIN,   /* the key is one of the pins; chain, name and expiry don't matter */
    TLS_VERIFY_NONE   /* anything goes: for servers (no client certificates) and tests */
};

struct tls_ctx;
struct tls;

/* All pointers are borrowed for the call of tls_ctx_new only, except the key log's. */
struct tls_ctx_config {
    bool server;
    const char *const *alpn; /* names in order of preference, 1 to 255 bytes each */
    size_t n_alpn;           /* at least 1 (RFC 9001 8.1) */

    /* A server's certificate chain, leaf first, and key: files, or PEM in memory. */
    const char *cert_file, *key_file;
    struct span cert_pem, key_pem;

    /* How a client verifies the server. */
    enum tls_verify verify;
    const char *ca_file; /* PEM, in addition to the system's CAs */
    struct span ca_pem;  /* the same from memory */
    bool no_system_ca;   /* trust only those two */
    const uint8_t (*pins)[TLS_PIN];
    size_t n_pins;       /* 1 to TLS_PINS_MAX for TLS_VERIFY_PIN */
    int64_t verify_time; /* Unix time to judge expiry by; 0: the time of the check */

    /*
     * A server's secret of at least TLS_TICKET_KEY bytes: then it gives each client a ticket,
     * with which the next handshake needs no certificate. Tickets hold for the same secret
     * and certificate, in another process too. Without one there are no tickets.
     */
    struct span ticket_key;

    const char *groups; /* NULL: TLS_GROUPS_DEFAULT */
    const char *suites; /* NULL: TLS_SUITES_DEFAULT */

    /* Each line of the NSS key log, without newline; the function may be NULL. */
    void (*keylog)(void *ctx, const char *line);
    void *keylog_ctx;
};

/*
 * Make a context. Returns NULL on failure with a text for a person in `err`, which says what
 * couldn't be read or used and why. `err` may be NULL.
 */
struct tls_ctx *tls_ctx_new(const struct tls_ctx_config *cfg, char *err, size_t err_len);
void tls_ctx_del(struct tls_ctx *ctx); /* NULL is fine */

/*
 * A handshake in the role of its context. `server_name` is what a client wants to reach: a
 * host name (sent as SNI) or an IP address in text (not sent); both are checked against the
 * certificate. May be NULL for a server, and for a client that doesn't verify by chain.
 * `tparams` are the own encoded transport parameters, copied; a server may set them later.
 *
 * Returns NULL if memory is short, a name is needed and lacking, or it is no name.
 */
struct tls *tls_new(struct tls_ctx *ctx, const char *server_name, struct span tparams);

/* Bytes on the heap without libssl's, and the most of them where `out` bytes are ever sent. */
size_t tls_memory(const struct tls *t);
size_t tls_memory_max(size_t out);

/* Free in any state, wiping secrets. NULL is fine. */
void tls_del(struct tls *t);

/*
 * Set the own transport parameters (copied). They must be there before the first tls_step of
 * a client, and before the tls_step that gets a server the end of the ClientHello.
 * Returns 0, QUIC_NOMEM, or QUIC_CLOSED after a failure.
 */
int tls_set_tparams(struct tls *t, struct span tparams);

/*
 * Hand over the next CRYPTO bytes of `level` (not LEVEL_EARLY), in order, copied.
 *
 * Returns 0; QUIC_CRYPTO_BUFFER_EXCEEDED over TLS_IN_MAX waiting bytes;
 * QUIC_PROTOCOL_VIOLATION for bytes of a level that the handshake has left (RFC 9001 4.1.3),
 * and for a server's CertificateRequest after the handshake (4.4);
 * QUIC_INTERNAL_ERROR without memory; the first error again after a failure. An error is
 * final.
 */
int tls_feed(struct tls *t, enum quic_level level, struct span bytes);

/*
 * Let OpenSSL go as far as it can with what was fed. A client's first call makes the
 * ClientHello. After the handshake it reads what the peer still sends (tickets).
 *
 * Returns 0; QUIC_CRYPTO_ERROR + alert when TLS failed (RFC 9001 4.8), and with
 * TLS_ALERT_NO_APPLICATION_PROTOCOL if no ALPN was agreed, TLS_ALERT_MISSING_EXTENSION if the
 * peer sent no transport parameters; QUIC_TRANSPORT_PARAMETER_ERROR if it sent an empty list of
 * them; QUIC_PROTOCOL_VIOLATION for bytes left over at a level that ended, or a ticket that QUIC
 * forbids (4.6.1); QUIC_INTERNAL_ERROR without memory. An error is final: nothing is left to
 * send and no secret to take, and each later call returns it again.
 */
int tls_step(struct tls *t);

/*
 * The longest run of bytes to send at the lowest level that has any. Borrowed until the next
 * tls_step, tls_out_done or tls_del. False if there are none.
 */
bool tls_next_out(const struct tls *t, enum quic_level *level, struct span *bytes);

/* The first `n` bytes of that level were taken. */
void tls_out_done(struct tls *t, enum quic_level level, size_t n);

/*
 * A client, before its first tls_step: offer a session of a former handshake with the same
 * server (tls_session). It is not offered, and false returned, unless it is intact and was
 * made under the same verification settings, name and application protocols: so a server that
 * was not verified then is not trusted now. The server decides whether to go on with it; if
 * not, the handshake is a full one. There is no 0-RTT data.
 */
bool tls_set_session(struct tls *t, struct span session);

/*
 * A client's latest session, for tls_set_session; empty while the server has given none, and
 * after a failure. It holds secrets, and is to be used once: on the way, it links two
 * connections that use it (RFC 8446 C.4). Valid until the next tls_step.
 */
struct span tls_session(const struct tls *t);

/* Whether the handshake is complete, and resumed a session: no certificate was sent. */
bool tls_resumed(const struct tls *t);

struct tls_secret {
    enum quic_level level;
    bool write; /* for sending */
    enum aead_id aead;
    uint8_t b[AEAD_SECRET_MAX];
    size_t n;
};

/*
 * Take the next traffic secret; each is given once. Read keys of LEVEL_APP may come before
 * tls_done: they must not be used before (RFC 9001 5.7). The caller wipes its copy.
 */
bool tls_next_secret(struct tls *t, struct tls_secret *out);

/* Whether the handshake is complete: Finished sent and the peer's verified. */
bool tls_done(const struct tls *t);

/* The agreed protocol, "" while not known. Valid until tls_del. */
const char *tls_alpn(const struct tls *t);

/*
 * The peer's transport parameters as received, empty before. They are visible, and a server
 * has to answer by them, before the peer is authenticated; that they were not tampered with
 * is only known at tls_done. Valid until the next tls_step.
 */
struct span tls_peer_tparams(const struct tls *t);

/* Why a handshake failed, for a program to act on. */
enum tls_why {
    TLS_WHY_NONE,          /* no failure */
    TLS_WHY_NAME,          /* the certificate is for another name or address */
    TLS_WHY_SELF_SIGNED,   /* a self-signed certificate that isn't trusted */
    TLS_WHY_UNKNOWN_CA,    /* no chain to a trusted CA */
    TLS_WHY_EXPIRED,       /* the certificate, or a CA's, is no longer valid */
    TLS_WHY_NOT_YET_VALID, /* or not yet: is the clock right? */
    TLS_WHY_PIN,           /* the key is none of the pinned ones */
    TLS_WHY_CERTIFICATE,   /* any other fault of the certificate */
    TLS_WHY_ALPN,          /* no common application protocol */
    TLS_WHY_PROTOCOL,      /* the peer broke or can't do TLS 1.3 as we need it */
    TLS_WHY_INTERNAL       /* on this side: memory, configuration */
};

enum tls_why tls_error_why(const struct tls *t);

/*
 * What went wrong, for a person, and what can be done about it; "" while nothing did. Names
 * and pins in it come from the peer, with all but printable ASCII replaced. Valid until tls_del.
 */
const char *tls_error_text(const struct tls *t);

#endif
