#include "h3/msg.h"

#include "h3/error.h"

enum pseudo { METHOD, SCHEME, AUTHORITY, PATH, PROTOCOL, STATUS, PSEUDO_N };

/* clang-format off */
static const struct {
    const char *name;
    enum h3_msg_kind kind; /* of section that may have it */
} pseudos[PSEUDO_N] = {
    [METHOD]    = { ":method",    H3_MSG_REQUEST  },
    [SCHEME]    = { ":scheme",    H3_MSG_REQUEST  },
    [AUTHORITY] = { ":authority", H3_MSG_REQUEST  },
    [PATH]      = { ":path",      H3_MSG_REQUEST  },
    [PROTOCOL]  = { ":protocol",  H3_MSG_REQUEST  },
    [STATUS]    = { ":status",    H3_MSG_RESPONSE },
};
/* clang-format on */

/* Fields that speak of one HTTP/1.1 connection (RFC 9114 4.2, RFC 9110 7.6.1). */
static const char *const connection_specific[] = {
    "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"};

/* A section as it is collected. */
struct section {
    enum h3_msg_kind kind;
    struct span pseudo[PSEUDO_N];
    bool has[PSEUDO_N];
    struct span host;
    bool has_host;
};

static bool is_alpha(uint8_t c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* RFC 9110 5.6.2 */
static bool is_tchar(uint8_t c)
{
    return is_alpha(c) || is_digit(c) || (c != 0 && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_tchar(s.p[i]))
            return false;
    return s.n > 0;
}

static bool is_lower_token(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] >= 'A' && s.p[i] <= 'Z')
            return false;
    return is_token(s);
}

/* RFC 9110 5.5: field-content, or nothing at all. */
static bool is_value(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        bool space = s.p[i] == ' ' || s.p[i] == '\t';

        if (space && (i == 0 || i == s.n - 1))
            return false;
        if (!space && (s.p[i] <= 0x20 || s.p[i] == 0x7f))
            return false;
    }
    return true;
}

/* Visible ASCII, none of it in `except`. */
static bool is_visible(struct span s, const char *except)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= 0x20 || s.p[i] >= 0x7f || strchr(except, s.p[i]))
            return false;
    return true;
}

/* RFC 3986 3.1 */
static bool is_scheme(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_alpha(s.p[i]) && (i == 0 || !(is_digit(s.p[i]) || strchr("+-.", s.p[i]))))
            return false;
    return s.n > 0;
}

/* host ":" port, as a plain CONNECT demands (RFC 9110 7.2 and 9.3.6). */
static bool is_host_port(struct span s)
{
    size_t digits = 0;

    while (digits < s.n && is_digit(s.p[s.n - 1 - digits]))
        digits++;
    return digits >= 1 && digits <= 5 && s.n > digits + 1 && s.p[s.n - 1 - digits] == ':';
}

/* RFC 9110 8.6: 1*DIGIT. A number that does not fit stands for the largest one. */
static bool parse_length(struct span s, uint64_t *v)
{
    *v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_digit(s.p[i]))
            return false;
        if (*v > (UINT64_MAX - 9) / 10)
            *v = UINT64_MAX;
        else
            *v = *v * 10 + (s.p[i] - '0');
    }
    return s.n > 0;
}

/* Each check returns null, or what is wrong. */

static const char *check_pseudo(struct section *s, const struct h3_field *f)
{
    size_t i = 0;

    while (i < PSEUDO_N && !h3_span_is(f->name, pseudos[i].name))
        i++;
    if (i == PSEUDO_N)
        return "unknown pseudo-header field";
    if (pseudos[i].kind != s->kind)
        return "pseudo-header field in the wrong kind of section";
    if (s->has[i])
        return "pseudo-header field comes twice";
    s->has[i] = true;
    s->pseudo[i] = f->value;
    return NULL;
}

static const char *check_ordinary(struct section *s, const struct h3_field *f, struct h3_msg *m)
{
    if (!is_lower_token(f->name))
        return "invalid character in a field name";
    for (size_t i = 0; i < ARRAY_LEN(connection_specific); i++)
        if (h3_span_is(f->name, connection_specific[i]))
            return "connection-specific field";
    if (h3_span_is(f->name, "te") &&
        (s->kind != H3_MSG_REQUEST || !h3_span_is_nocase(f->value, "trailers")))
        return "te other than trailers";
    if (h3_span_is(f->name, "host") && s->kind == H3_MSG_REQUEST) {
        if (s->has_host)
            return "host comes twice";
        s->has_host = true;
        s->host = f->value;
    }
    if (h3_span_is(f->name, "content-length") && s->kind != H3_MSG_TRAILERS) {
        if (m->has_length || !parse_length(f->value, &m->length))
            return "invalid content-length";
        m->has_length = true;
    }
    return NULL;
}

/* :authority and host, whichever is there (RFC 9114 4.3.1). */
static const char *check_authority(const struct section *s, bool demanded)
{
    struct span a = s->pseudo[AUTHORITY];

    if (demanded && !s->has[AUTHORITY] && !s->has_host)
        return "neither :authority nor host";
    if (s->has[AUTHORITY] && (a.n == 0 || !is_visible(a, demanded ? "/?#@" : "/?#")))
        return "invalid :authority";
    if (s->has_host && (s->host.n == 0 || !is_visible(s->host, "/?#@")))
        return "invalid host";
    if (s->has[AUTHORITY] && s->has_host) {
        if (a.n != s->host.n)
            return ":authority and host differ";
        for (size_t i = 0; i < a.n; i++)
            if (a.p[i] != s->host.p[i] &&
                !(is_alpha(a.p[i]) && (a.p[i] ^ 0x20) == s->host.p[i]))
                return ":authority and host differ";
    }
    return NULL;
}

/* :path of a scheme that has the syntax of http (RFC 9114 4.3.1). */
static const char *check_path(const struct section *s, bool http)
{
    struct span path = s->pseudo[PATH];

    if (!is_visible(path, "#"))
        return "invalid :path";
    if (!http || (path.n > 0 && path.p[0] == '/'))
        return NULL;
    if (h3_span_is(path, "*") && h3_span_is(s->pseudo[METHOD], "OPTIONS"))
        return NULL;
    return "invalid :path";
}

static const char *check_request(const struct section *s, bool extended_ok, struct h3_msg *m)
{
    const char *why;
    bool http;

    if (!s->has[METHOD] || !is_token(s->pseudo[METHOD]))
        return "no valid :method";
    m->connect = h3_span_is(s->pseudo[METHOD], "CONNECT");
    m->head = h3_span_is(s->pseudo[METHOD], "HEAD");
    m->extended = s->has[PROTOCOL];
    if (m->extended && !(extended_ok && m->connect && is_token(s->pseudo[PROTOCOL])))
        return ":protocol is not allowed here";
    if (m->connect && !m->extended) { /* RFC 9114 4.4 */
        if (s->has[SCHEME] || s->has[PATH])
            return "CONNECT with :scheme or :path";
        if (!s->has[AUTHORITY] || !is_host_port(s->pseudo[AUTHORITY]))
            return "CONNECT without host and port";
        return check_authority(s, true);
    }
    if (!s->has[SCHEME] || !is_scheme(s->pseudo[SCHEME]))
        return "no valid :scheme";
    if (!s->has[PATH])
        return "no :path";
    http = h3_span_is_nocase(s->pseudo[SCHEME], "http") ||
           h3_span_is_nocase(s->pseudo[SCHEME], "https");
    why = check_path(s, http);
    return why ? why : check_authority(s, http);
}

static const char *check_response(const struct section *s, struct h3_msg *m)
{
    struct span v = s->pseudo[STATUS];

    if (!s->has[STATUS])
        return "no :status";
    if (v.n != 3 || v.p[0] == '0' || !is_digit(v.p[0]) || !is_digit(v.p[1]) ||
        !is_digit(v.p[2]))
        return "invalid :status";
    m->status = (v.p[0] - '0') * 100u + (v.p[1] - '0') * 10u + (v.p[2] - '0');
    if (m->status == 101) /* RFC 9114 4.5 */
        return "status 101";
    return NULL;
}

static const char *check(struct section *s, const struct h3_field *fields, size_t n,
                         bool extended_ok, struct h3_msg *m)
{
    bool ordinary = false;
    const char *why;

    for (size_t i = 0; i < n; i++) {
        const struct h3_field *f = &fields[i];

        if (!is_value(f->value))
            return "invalid character in a field value";
        if (f->name.n > 0 && f->name.p[0] == ':') {
            if (ordinary)
                return "pseudo-header field behind an ordinary one";
            why = check_pseudo(s, f);
        } else {
            ordinary = true;
            why = check_ordinary(s, f, m);
        }
        if (why)
            return why;
    }
    if (s->kind == H3_MSG_REQUEST)
        return check_request(s, extended_ok, m);
    return s->kind == H3_MSG_RESPONSE ? check_response(s, m) : NULL;
}

int h3_msg_check(enum h3_msg_kind kind, const struct h3_field *fields, size_t n,
                 bool extended_ok, struct h3_msg *m, const char **why)
{
    struct section s = {.kind = kind};

    *m = (struct h3_msg){0};
    *why = check(&s, fields, n, extended_ok, m);
    return *why ? H3_MESSAGE_ERROR : 0;
}
