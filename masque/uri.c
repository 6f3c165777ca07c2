#include "masque/uri.h"

#include <stdio.h>
#include <string.h>

#include "masque/ippkt.h"

enum { NOT_FOUND = 404, BAD_REQUEST = 400 };

static bool alnum(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* A DNS name: labels of letters, digits, '-' and '_', not all of digits and dots. */
static bool dns_name(struct span s)
{
    size_t label = 0;
    bool numeric = true;

    if (s.n == 0 || s.n > MASQUE_HOST_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.p[i];

        if (c == '.') {
            if (label == 0)
                return false;
            label = 0;
            continue;
        }
        if ((!alnum(c) && c != '-' && c != '_') || ++label > 63)
            return false;
        numeric = numeric && c >= '0' && c <= '9';
    }
    return !numeric;
}

/* The target as it stands in the path, percent-encoded where it must be. */
static bool target_text(const struct masque_scope *s, char *out, size_t size)
{
    char text[IP_PREFIX_TEXT];
    size_t k = 0;

    if (s->target == MASQUE_TARGET_ANY) {
        snprintf(out, size, "*");
        return true;
    }
    if (s->target == MASQUE_TARGET_HOST) {
        snprintf(out, size, "%s", s->host);
        return dns_name(span_of(s->host, strlen(s->host)));
    }
    if (!ip_prefix_valid(&s->prefix) || !ip_prefix_canonical(&s->prefix))
        return false;
    if (s->prefix.len == ip_bits(s->prefix.addr.version))
        ip_addr_format(&s->prefix.addr, text, sizeof(text));
    else
        ip_prefix_format(&s->prefix, text, sizeof(text));
    for (const char *c = text; *c; c++) {
        if (*c == ':' || *c == '/')
            k += (size_t)snprintf(out + k, size - k, "%%%02X", (unsigned)(uint8_t)*c);
        else
            k += (size_t)snprintf(out + k, size - k, "%c", *c);
    }
    return true;
}

size_t masque_uri_build(const struct masque_scope *scope, char *out, size_t size)
{
    char target[MASQUE_HOST_MAX + 1];
    char proto[4] = "*";
    int n;

    if (scope->proto != 0)
        snprintf(proto, sizeof(proto), "%u", scope->proto);
    if (!target_text(scope, target, sizeof(target)))
        return 0;
    n = snprintf(out, size, "%s%s/%s/", MASQUE_URI_PREFIX, target, proto);
    return n > 0 && (size_t)n < size ? (size_t)n : 0;
}

static int hex(uint8_t c)
{
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
}

/* Undo percent-encoding into `out` of `size`; the length, or -1 if it is broken or long. */
static int decode(struct span s, uint8_t *out, size_t size)
{
    size_t k = 0;

    for (size_t i = 0; i < s.n; i++) {
        int c = s.p[i];

        if (c == '%') {
            if (s.n - i < 3 || hex(s.p[i + 1]) < 0 || hex(s.p[i + 2]) < 0)
                return -1;
            c = hex(s.p[i + 1]) * 16 + hex(s.p[i + 2]);
            i += 2;
        }
        if (c <= ' ' || c >= 127 || k == size)
            return -1;
        out[k++] = (uint8_t)c;
    }
    return (int)k;
}

static int parse_target(struct span text, struct masque_scope *s)
{
    uint8_t z[MASQUE_HOST_MAX];
    int n = decode(text, z, sizeof(z));
    struct span t;

    if (n <= 0)
        return BAD_REQUEST;
    t = span_of(z, (size_t)n);
    if (n == 1 && z[0] == '*')
        return 0;
    if (ip_prefix_parse(t, &s->prefix) == 0) {
        s->target = MASQUE_TARGET_PREFIX;
        return ip_prefix_canonical(&s->prefix) ? 0 : BAD_REQUEST;
    }
    if (!dns_name(t))
        return BAD_REQUEST;
    s->target = MASQUE_TARGET_HOST;
    memcpy(s->host, z, t.n);
    s->host[t.n] = 0;
    return 0;
}

static int parse_proto(struct span text, struct masque_scope *s)
{
    uint8_t z[3];
    int n = decode(text, z, sizeof(z)), v = 0;

    if (n <= 0)
        return BAD_REQUEST;
    if (n == 1 && z[0] == '*')
        return 0;
    for (int i = 0; i < n; i++) {
        if (z[i] < '0' || z[i] > '9')
            return BAD_REQUEST;
        v = v * 10 + (z[i] - '0');
    }
    if (v > 255 || ippkt_is_extension((uint8_t)v))
        return BAD_REQUEST;
    s->proto = (uint8_t)v;
    return 0;
}

/* Cut the next path segment off the front of `*s`. */
static struct span segment(struct span *s)
{
    const uint8_t *slash = s->n ? memchr(s->p, '/', s->n) : NULL;
    struct span part = span_of(s->p, slash ? (size_t)(slash - s->p) : s->n);
    size_t used = part.n + (slash ? 1 : 0);

    if (used > 0)
        *s = span_of(s->p + used, s->n - used);
    return part;
}

int masque_uri_parse(struct span path, struct masque_scope *scope)
{
    const struct span prefix = SPAN_LIT(MASQUE_URI_PREFIX);
    const uint8_t *query = path.n ? memchr(path.p, '?', path.n) : NULL;
    struct masque_scope s = {.target = MASQUE_TARGET_ANY};
    struct span rest, target, proto;
    int status = 0;

    if (query)
        path.n = (size_t)(query - path.p);
    if (path.n + 1 < prefix.n || path.n > UINT16_MAX ||
        memcmp(path.p, prefix.p, prefix.n - 1) != 0 ||
        (path.n >= prefix.n && path.p[prefix.n - 1] != '/'))
        return NOT_FOUND;
    rest =
        path.n > prefix.n ? span_of(path.p + prefix.n, path.n - prefix.n) : span_of(path.p, 0);
    if (rest.n > 0) {
        target = segment(&rest);
        status = parse_target(target, &s);
    }
    if (status == 0 && rest.n > 0) {
        proto = segment(&rest);
        status = parse_proto(proto, &s);
    }
    if (status == 0 && rest.n > 0)
        return NOT_FOUND;
    if (status == 0)
        *scope = s;
    return status;
}

size_t masque_scope_ranges(const struct masque_scope *scope, bool v4, bool v6,
                           struct ip_range out[2])
{
    size_t n = 0;

    if (scope->target == MASQUE_TARGET_HOST)
        return 0;
    if (scope->target == MASQUE_TARGET_PREFIX) {
        if (scope->prefix.addr.version == 4 ? v4 : v6)
            out[n++] = ip_range_of(&scope->prefix, scope->proto);
        return n;
    }
    if (v4)
        out[n++] = ip_range_all(4, scope->proto);
    if (v6)
        out[n++] = ip_range_all(6, scope->proto);
    return n;
}
