/*
 * request - the header fields that open an IP tunnel, and their answer (RFC 9484 4.4, 4.5).
 *
 * A head is a list of fields together with the text they point to, so it is built in
 * place and not copied. Parsers point into the fields they are given.
 */
#ifndef MASQUE_REQUEST_H
#define MASQUE_REQUEST_H

#include "h3/fields.h"
#include "masque/uri.h"
#include "quic/types.h"

#define MASQUE_FIELDS_MAX 24
#define MASQUE_SECRET_MAX 1024 /* longest Bearer key, in bytes */

struct masque_head {
    struct h3_field field[MASQUE_FIELDS_MAX];
    size_t n;
    char text[MASQUE_SECRET_MAX + 32];
};

/* What a client asks with. Every span is borrowed until the head is encoded. */
struct masque_ask {
    struct span authority;        /* "host:port", IPv6 hosts in brackets */
    struct span path;             /* empty: the default template with wildcards */
    struct span bearer;           /* the key as text; empty: no authorization */
    const struct h3_field *extra; /* further fields, lower-case names */
    size_t nextra;
};

/*
 * Build the request. `authorization` is marked never to be indexed.
 *
 * Returns 0; QUIC_TOOBIG for too many extra fields or a key above MASQUE_SECRET_MAX;
 * QUIC_INVAL for an empty authority, a path not starting with "/", or a key with
 * other than visible ASCII characters.
 */
int masque_request_build(const struct masque_ask *ask, struct masque_head *head);

enum masque_auth {
    MASQUE_AUTH_NONE,   /* neither field is there */
    MASQUE_AUTH_BEARER, /* `credential` is the token (RFC 6750 2.1) */
    MASQUE_AUTH_BASIC,  /* `credential` is base64 of user:password (RFC 7617) */
    MASQUE_AUTH_OTHER   /* another scheme; `credential` is what follows it */
};

/* A parsed request; spans point into the fields. */
struct masque_request {
    struct span authority, path;
    struct masque_scope scope;
    enum masque_auth auth;
    struct span credential;
    bool proxy_auth;       /* came as Proxy-Authorization: refuse with 407, not 401 */
    bool capsule_protocol; /* capsule-protocol: ?1 was there */
    bool bulk;             /* the client numbers flows (masque/bulk.h) */
};

/*
 * Parse a request's fields. `own_path`, when not empty, is a further path that means
 * the wildcard scope, compared byte by byte.
 *
 * Authorization wins over Proxy-Authorization; the scheme's case does not matter.
 * Whether the credential is good (401, 403, 407) and the target reachable is the
 * caller's to say.
 *
 * Returns 0, or the HTTP status to answer with:
 *   400  :scheme other than https, no :authority or :path, a pseudo field or a
 *        credential field twice, content-length, content-type or transfer-encoding
 *        (RFC 9297 3.2), a bad scope
 *   404  another path, for any method
 *   405  the path is served but the method is not CONNECT
 *   501  CONNECT without :protocol, or with one other than connect-ip
 */
int masque_request_parse(const struct h3_field *f, size_t n, struct span own_path,
                         struct masque_request *out);

/*
 * Decode the credential of MASQUE_AUTH_BASIC into `buf` of `size` bytes.
 *
 * Returns 0 with user and password pointing into `buf`; QUIC_INVAL if it is not base64
 * of a text with a colon; QUIC_TOOBIG if it does not fit.
 */
int masque_basic_decode(struct span credential, uint8_t *buf, size_t size, struct span *user,
                        struct span *password);

/*
 * Build the answer: status, `capsule-protocol: ?1` for 200, the challenge that belongs
 * to 401 and 407, `allow` for 405, then `extra`.
 *
 * Returns 0; QUIC_TOOBIG for too many extra fields; QUIC_INVAL for a status outside
 * 200..599 or one that the Capsule Protocol forbids (204, 205, 206).
 */
int masque_response_build(int status, const struct h3_field *extra, size_t nextra,
                          struct masque_head *head);

enum masque_reply {
    MASQUE_REPLY_OK,          /* 2xx: the tunnel is open */
    MASQUE_REPLY_INTERIM,     /* 1xx: wait for the next one */
    MASQUE_REPLY_AUTH,        /* 401, 403, 407: the key is not accepted */
    MASQUE_REPLY_NOT_FOUND,   /* 404, 410: no tunnel at that path */
    MASQUE_REPLY_UNSUPPORTED, /* 405, 501: no IP tunnels here */
    MASQUE_REPLY_FULL,        /* 429, 503: try again later */
    MASQUE_REPLY_BAD,         /* other 4xx: it did not like the request */
    MASQUE_REPLY_REDIRECT,    /* 3xx: refused as well (RFC 9484 4.5) */
    MASQUE_REPLY_FAILED,      /* other 5xx */
    MASQUE_REPLY_MALFORMED    /* not a valid answer (RFC 9297 3.2): abort with MESSAGE_ERROR */
};

struct masque_response {
    enum masque_reply reply;
    int status;             /* 100..599; 0 if malformed */
    bool capsule_protocol;  /* capsule-protocol: ?1 was there */
    bool bulk;              /* the server numbers flows, too (masque/bulk.h) */
    uint32_t retry_after_s; /* Retry-After in seconds; 0: none, or a date */
};

void masque_response_parse(const struct h3_field *f, size_t n, struct masque_response *out);

/* What a reply means, for a person: "authentication failed", ... */
const char *masque_reply_text(enum masque_reply reply);

#endif
