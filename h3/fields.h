/*
 * fields - one HTTP field line, and the small questions asked of a list of them.
 *
 * Header-only, so that code which reads or makes field lists needs no part of the
 * HTTP/3 archive. Names are in lower case on the wire (RFC 9114 4.2) and are
 * compared octet by octet; pseudo-header fields are ordinary rows whose name
 * starts with ':'. A list borrows the bytes that it points to: whoever hands one
 * out says until when.
 */
#ifndef H3_FIELDS_H
#define H3_FIELDS_H

#include <string.h>

#include "quic/types.h"

/*
 * `never_index` asks every hop to keep this line out of compression state, as
 * credentials demand (RFC 9204 4.5.4 and 7.1.3). It is set on received lines too.
 */
struct h3_field {
    struct span name, value;
    bool never_index;
};

/* Initialiser from two string literals: `struct h3_field f[] = {H3_FIELD_LIT("a", "b")};` */
#define H3_FIELD_LIT(n, v)                                                                     \
    {                                                                                          \
        .name = {(const uint8_t *)("" n), sizeof(n) - 1},                                      \
        .value = {(const uint8_t *)("" v), sizeof(v) - 1}, .never_index = false                \
    }

/* A field of two terminated strings, borrowed; null counts as the empty string. */
static inline struct h3_field h3_field_str(const char *name, const char *value)
{
    return (struct h3_field){span_of(name, name ? strlen(name) : 0),
                             span_of(value, value ? strlen(value) : 0), false};
}

/* A field with a terminated name and any bytes as value. */
static inline struct h3_field h3_field_span(const char *name, struct span value)
{
    return (struct h3_field){span_of(name, name ? strlen(name) : 0), value, false};
}

/* The same field, marked as never to be indexed. */
static inline struct h3_field h3_field_secret(struct h3_field f)
{
    f.never_index = true;
    return f;
}

static inline bool h3_span_eq(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Whether `s` holds exactly the characters of the terminated string `text`. */
static inline bool h3_span_is(struct span s, const char *text)
{
    return h3_span_eq(s, span_of(text, strlen(text)));
}

/* The same, with ASCII letters equal in either case; locale plays no part. */
static inline bool h3_span_is_nocase(struct span s, const char *text)
{
    if (s.n != strlen(text))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        uint8_t a = s.p[i], b = (uint8_t)text[i];

        if (a >= 'A' && a <= 'Z')
            a = (uint8_t)(a + 32);
        if (b >= 'A' && b <= 'Z')
            b = (uint8_t)(b + 32);
        if (a != b)
            return false;
    }
    return true;
}

/* The first field called `name` (lower case, ':' included), or null. */
static inline const struct h3_field *h3_fields_find(const struct h3_field *f, size_t n,
                                                    const char *name)
{
    struct span want = span_of(name, strlen(name));

    for (size_t i = 0; i < n; i++)
        if (h3_span_eq(f[i].name, want))
            return &f[i];
    return NULL;
}

/* Its value, or an empty span with a null pointer where there is no such field. */
static inline struct span h3_fields_value(const struct h3_field *f, size_t n, const char *name)
{
    const struct h3_field *hit = h3_fields_find(f, n, name);

    return hit ? hit->value : (struct span){NULL, 0};
}

/* How many fields are called `name`. */
static inline size_t h3_fields_count(const struct h3_field *f, size_t n, const char *name)
{
    struct span want = span_of(name, strlen(name));
    size_t k = 0;

    for (size_t i = 0; i < n; i++)
        k += h3_span_eq(f[i].name, want);
    return k;
}

/*
 * The size of a field section as SETTINGS_MAX_FIELD_SECTION_SIZE counts it: name
 * and value in bytes plus 32 for each field (RFC 9114 4.2.2).
 */
static inline uint64_t h3_fields_size(const struct h3_field *f, size_t n)
{
    uint64_t size = 0;

    for (size_t i = 0; i < n; i++)
        size += (uint64_t)f[i].name.n + f[i].value.n + 32;
    return size;
}

#endif
