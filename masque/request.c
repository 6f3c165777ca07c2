#include "masque/request.h"

#include "masque/bulk.h"

#include <string.h>

enum { BAD_REQUEST = 400, NOT_FOUND = 404, NOT_ALLOWED = 405, NOT_IMPLEMENTED = 501 };

#define BEARER "Bearer "

static int add(struct masque_head *h, struct h3_field f)
{
    if (h->n == MASQUE_FIELDS_MAX)
        return QUIC_TOOBIG;
    h->field[h->n++] = f;
    return 0;
}

static int add_all(struct masque_head *h, const struct h3_field *f, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (add(h, f[i]))
            return QUIC_TOOBIG;
    return 0;
}

static bool visible(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 127)
            return false;
    return true;
}

int masque_request_build(const struct masque_ask *ask, struct masque_head *head)
{
    const struct span wild = SPAN_LIT(MASQUE_URI_PREFIX "*/*/");
    struct span path = ask->path.n ? ask->path : wild;

    head->n = 0;
    if (ask->authority.n == 0 || !visible(ask->authority) || path.p[0] != '/' ||
        !visible(path) || !visible(ask->bearer))
        return QUIC_INVAL;
    if (ask->bearer.n > MASQUE_SECRET_MAX)
        return QUIC_TOOBIG;
    /* a head has room for these seven; only `extra` can be too much */
    add(head, h3_field_str(":method", "CONNECT"));
    add(head, h3_field_str(":protocol", "connect-ip"));
    add(head, h3_field_str(":scheme", "https"));
    add(head, h3_field_span(":authority", ask->authority));
    add(head, h3_field_span(":path", path));
    add(head, h3_field_str("capsule-protocol", "?1"));
    if (ask->bearer.n > 0) {
        size_t n = sizeof(BEARER) - 1;

        memcpy(head->text, BEARER, n);
        memcpy(head->text + n, ask->bearer.p, ask->bearer.n);
        add(head, h3_field_secret(
                      h3_field_span("authorization", span_of(head->text, n + ask->bearer.n))));
    }
    return add_all(head, ask->extra, ask->nextra);
}

/*
 * Whether `v` is the Boolean true of RFC 8941, perhaps with parameters, which are to be
 * ignored (RFC 9297 3.4).
 */
static bool sf_true(struct span v)
{
    while (v.n > 0 && (v.p[0] == ' '))
        v = span_of(v.p + 1, v.n - 1);
    while (v.n > 0 && (v.p[v.n - 1] == ' '))
        v.n--;
    return v.n >= 2 && v.p[0] == '?' && v.p[1] == '1' && (v.n == 2 || v.p[2] == ';');
}

static bool capsule_protocol(const struct h3_field *f, size_t n)
{
    /* more than one makes a list, which counts as none */
    return h3_fields_count(f, n, "capsule-protocol") == 1 &&
           sf_true(h3_fields_value(f, n, "capsule-protocol"));
}

static bool bulk(const struct h3_field *f, size_t n)
{
    return h3_fields_count(f, n, BULK_FIELD) == 1 &&
           h3_span_is(h3_fields_value(f, n, BULK_FIELD), BULK_VERSION);
}

/* Fields that must not stand where the Capsule Protocol is used (RFC 9297 3.2). */
static bool content_fields(const struct h3_field *f, size_t n)
{
    return h3_fields_find(f, n, "content-length") || h3_fields_find(f, n, "content-type") ||
           h3_fields_find(f, n, "transfer-encoding");
}

/* Cut scheme and credential apart; an empty credential is no known scheme. */
static void parse_auth(struct span v, struct masque_request *out)
{
    const uint8_t *space = v.n ? memchr(v.p, ' ', v.n) : NULL;
    struct span scheme = span_of(v.p, space ? (size_t)(space - v.p) : v.n);
    struct span rest = space ? span_of(space, v.n - scheme.n) : span_of(v.p, 0);

    while (rest.n > 0 && rest.p[0] == ' ')
        rest = span_of(rest.p + 1, rest.n - 1);
    while (rest.n > 0 && rest.p[rest.n - 1] == ' ')
        rest.n--;
    out->auth = MASQUE_AUTH_OTHER;
    out->credential = rest;
    if (rest.n > 0 && h3_span_is_nocase(scheme, "bearer"))
        out->auth = MASQUE_AUTH_BEARER;
    else if (rest.n > 0 && h3_span_is_nocase(scheme, "basic"))
        out->auth = MASQUE_AUTH_BASIC;
}

/* Every pseudo field and credential at most once. */
static bool once(const struct h3_field *f, size_t n)
{
    static const char *const names[] = {
        ":method",       ":protocol",          ":scheme", ":authority", ":path",
        "authorization", "proxy-authorization"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (h3_fields_count(f, n, names[i]) > 1)
            return false;
    return true;
}

static int parse_path(struct span path, struct span own_path, struct masque_scope *scope)
{
    if (own_path.n > 0 && h3_span_eq(path, own_path)) {
        *scope = (struct masque_scope){.target = MASQUE_TARGET_ANY};
        return 0;
    }
    return masque_uri_parse(path, scope);
}

int masque_request_parse(const struct h3_field *f, size_t n, struct span own_path,
                         struct masque_request *out)
{
    struct masque_request q = {.path = h3_fields_value(f, n, ":path"),
                               .authority = h3_fields_value(f, n, ":authority")};
    const struct h3_field *auth = h3_fields_find(f, n, "authorization");
    bool connect = h3_span_is(h3_fields_value(f, n, ":method"), "CONNECT");
    int status;

    if (!once(f, n))
        return BAD_REQUEST;
    if (connect && !h3_span_is(h3_fields_value(f, n, ":protocol"), "connect-ip"))
        return NOT_IMPLEMENTED;
    if (!h3_span_is(h3_fields_value(f, n, ":scheme"), "https") || q.path.n == 0 ||
        q.authority.n == 0)
        return BAD_REQUEST;
    status = parse_path(q.path, own_path, &q.scope);
    if (!connect)
        return status == NOT_FOUND ? NOT_FOUND : NOT_ALLOWED;
    if (status == 0 && content_fields(f, n))
        status = BAD_REQUEST;
    if (status)
        return status;
    q.capsule_protocol = capsule_protocol(f, n);
    q.bulk = bulk(f, n);
    if (!auth) {
        auth = h3_fields_find(f, n, "proxy-authorization");
        q.proxy_auth = auth != NULL;
    }
    if (auth)
        parse_auth(auth->value, &q);
    *out = q;
    return 0;
}

static int base64_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decode RFC 4648 base64 with or without padding; the length, or a negative error. */
static int base64_decode(struct span s, uint8_t *out, size_t size)
{
    size_t k = 0, pad = 0;
    uint32_t bits = 0;

    while (s.n > 0 && s.p[s.n - 1] == '=' && pad < 2) {
        s.n--;
        pad++;
    }
    if (s.n % 4 == 1 || (pad > 0 && (s.n + pad) % 4 != 0))
        return QUIC_INVAL;
    for (size_t i = 0; i < s.n; i++) {
        int v = base64_value(s.p[i]);

        if (v < 0)
            return QUIC_INVAL;
        bits = bits << 6 | (uint32_t)v;
        if (i % 4 == 0)
            continue;
        if (k == size)
            return QUIC_TOOBIG;
        out[k++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    return (int)k;
}

int masque_basic_decode(struct span credential, uint8_t *buf, size_t size, struct span *user,
                        struct span *password)
{
    const uint8_t *colon;
    int n = base64_decode(credential, buf, size);

    if (n < 0)
        return n;
    colon = n > 0 ? memchr(buf, ':', (size_t)n) : NULL;
    if (!colon)
        return QUIC_INVAL;
    *user = span_of(buf, (size_t)(colon - buf));
    *password = span_of(colon + 1, (size_t)n - user->n - 1);
    return 0;
}

int masque_response_build(int status, const struct h3_field *extra, size_t nextra,
                          struct masque_head *head)
{
    head->n = 0;
    if (status < 200 || status > 599 || (status >= 204 && status <= 206))
        return QUIC_INVAL;
    for (size_t i = 0, div = 100; i < 3; i++, div /= 10)
        head->text[i] = (char)('0' + (size_t)status / div % 10);
    add(head, h3_field_span(":status", span_of(head->text, 3)));
    if (status < 300)
        add(head, h3_field_str("capsule-protocol", "?1"));
    else if (status == 401)
        add(head, h3_field_str("www-authenticate", "Bearer"));
    else if (status == 407)
        add(head, h3_field_str("proxy-authenticate", "Bearer"));
    else if (status == NOT_ALLOWED)
        add(head, h3_field_str("allow", "CONNECT"));
    return add_all(head, extra, nextra);
}

/* Up to seven digits; 0 for anything else. */
static uint32_t seconds(struct span s)
{
    uint32_t v = 0;

    if (s.n > 7)
        return 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return 0;
        v = v * 10 + (uint32_t)(s.p[i] - '0');
    }
    return v;
}

static enum masque_reply classify(int status)
{
    switch (status) {
    case 401:
    case 403:
    case 407:
        return MASQUE_REPLY_AUTH;
    case 404:
    case 410:
        return MASQUE_REPLY_NOT_FOUND;
    case 405:
    case 501:
        return MASQUE_REPLY_UNSUPPORTED;
    case 429:
    case 503:
        return MASQUE_REPLY_FULL;
    default:
        break;
    }
    switch (status / 100) {
    case 1:
        /* there is no switching of protocols in HTTP/3 (RFC 9114 4.5) */
        return status == 101 ? MASQUE_REPLY_MALFORMED : MASQUE_REPLY_INTERIM;
    case 2:
        return status >= 204 && status <= 206 ? MASQUE_REPLY_MALFORMED : MASQUE_REPLY_OK;
    case 3:
        return MASQUE_REPLY_REDIRECT;
    case 4:
        return MASQUE_REPLY_BAD;
    default:
        return MASQUE_REPLY_FAILED;
    }
}

void masque_response_parse(const struct h3_field *f, size_t n, struct masque_response *out)
{
    struct span s = h3_fields_value(f, n, ":status");
    uint32_t status = s.n == 3 && h3_fields_count(f, n, ":status") == 1 ? seconds(s) : 0;

    *out = (struct masque_response){.reply = MASQUE_REPLY_MALFORMED};
    if (status < 100 || status > 599)
        return;
    out->reply = classify((int)status);
    if (out->reply == MASQUE_REPLY_OK && content_fields(f, n))
        out->reply = MASQUE_REPLY_MALFORMED;
    if (out->reply == MASQUE_REPLY_MALFORMED)
        return;
    out->status = (int)status;
    out->capsule_protocol = capsule_protocol(f, n);
    out->bulk = bulk(f, n);
    out->retry_after_s = seconds(h3_fields_value(f, n, "retry-after"));
}

const char *masque_reply_text(enum masque_reply reply)
{
    static const char *const text[] = {
        [MASQUE_REPLY_OK] = "accepted",
        [MASQUE_REPLY_INTERIM] = "not answered yet",
        [MASQUE_REPLY_AUTH] = "authentication failed",
        [MASQUE_REPLY_NOT_FOUND] = "no tunnel at that path",
        [MASQUE_REPLY_UNSUPPORTED] = "the server does not offer IP tunnels",
        [MASQUE_REPLY_FULL] = "the server is full or busy",
        [MASQUE_REPLY_BAD] = "the server did not accept the request",
        [MASQUE_REPLY_REDIRECT] = "the server points elsewhere",
        [MASQUE_REPLY_FAILED] = "the server failed",
        [MASQUE_REPLY_MALFORMED] = "the answer is malformed",
    };

    return (size_t)reply < ARRAY_LEN(text) ? text[reply] : "unknown";
}
