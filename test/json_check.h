/*
 * json_check - a strict reader of JSON (RFC 8259) for tests: is it JSON, and what does it hold?
 *
 *     json_check(text, n)               whether text is one JSON value, exactly
 *     json_find(text, n, "a.b", &v)     a member of an object in it, by names with dots
 *
 * Nothing is allowed that the grammar doesn't allow: no byte over 0x7f, no duplicate names, no
 * more than JSON_DEPTH levels.
 */
#ifndef TEST_JSON_CHECK_H
#define TEST_JSON_CHECK_H

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "quic/types.h"

#define JSON_DEPTH   16
#define JSON_MEMBERS 64

struct json_r {
    const char *p, *end;
    int depth;
};

static inline bool json_r_value(struct json_r *r);

static inline void json_r_space(struct json_r *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t'))
        r->p++;
}

static inline bool json_r_char(struct json_r *r, char c)
{
    json_r_space(r);
    if (r->p == r->end || *r->p != c)
        return false;
    r->p++;
    return true;
}

static inline bool json_r_string(struct json_r *r)
{
    if (!json_r_char(r, '"'))
        return false;
    while (r->p < r->end && *r->p != '"') {
        unsigned char c = (unsigned char)*r->p++;
        if (c < 0x20 || c > 0x7e)
            return false;
        if (c != '\\')
            continue;
        if (r->p == r->end || !strchr("\"\\/bfnrtu", *r->p))
            return false;
        if (*r->p++ == 'u') {
            for (int i = 0; i < 4; i++)
                if (r->p == r->end || !isxdigit((unsigned char)*r->p++))
                    return false;
        }
    }
    return json_r_char(r, '"');
}

static inline bool json_r_digits(struct json_r *r)
{
    const char *from = r->p;
    while (r->p < r->end && isdigit((unsigned char)*r->p))
        r->p++;
    return r->p > from;
}

static inline bool json_r_number(struct json_r *r)
{
    if (r->p < r->end && *r->p == '-')
        r->p++;
    const char *from = r->p;
    if (!json_r_digits(r) || (*from == '0' && r->p - from > 1))
        return false;
    if (r->p < r->end && *r->p == '.') {
        r->p++;
        if (!json_r_digits(r))
            return false;
    }
    if (r->p < r->end && (*r->p == 'e' || *r->p == 'E')) {
        r->p++;
        if (r->p < r->end && (*r->p == '+' || *r->p == '-'))
            r->p++;
        return json_r_digits(r);
    }
    return true;
}

static inline bool json_r_word(struct json_r *r, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0)
        return false;
    r->p += n;
    return true;
}

static inline bool json_r_object(struct json_r *r)
{
    struct span name[JSON_MEMBERS];
    int n = 0;
    if (json_r_char(r, '}'))
        return true;
    do {
        json_r_space(r);
        const char *from = r->p;
        if (n == JSON_MEMBERS || !json_r_string(r))
            return false;
        name[n] = span_of(from, (size_t)(r->p - from));
        for (int i = 0; i < n; i++)
            if (name[i].n == name[n].n && memcmp(name[i].p, name[n].p, name[n].n) == 0)
                return false;
        n++;
        if (!json_r_char(r, ':') || !json_r_value(r))
            return false;
    } while (json_r_char(r, ','));
    return json_r_char(r, '}');
}

static inline bool json_r_array(struct json_r *r)
{
    if (json_r_char(r, ']'))
        return true;
    do {
        if (!json_r_value(r))
            return false;
    } while (json_r_char(r, ','));
    return json_r_char(r, ']');
}

static inline bool json_r_value(struct json_r *r)
{
    bool ok;
    json_r_space(r);
    if (r->p == r->end || ++r->depth > JSON_DEPTH)
        return false;
    if (*r->p == '{') {
        r->p++;
        ok = json_r_object(r);
    } else if (*r->p == '[') {
        r->p++;
        ok = json_r_array(r);
    } else if (*r->p == '"') {
        ok = json_r_string(r);
    } else {
        ok = json_r_word(r, "true") || json_r_word(r, "false") || json_r_word(r, "null") ||
             json_r_number(r);
    }
    r->depth--;
    return ok;
}

static inline bool json_check(const char *text, size_t n)
{
    struct json_r r = {text, text + n, 0};
    bool ok = json_r_value(&r);
    json_r_space(&r);
    return ok && r.p == r.end;
}

/* The text of a member, quotes included; `text` must have passed json_check. */
static inline bool json_find(const char *text, size_t n, const char *path, struct span *out)
{
    struct json_r r = {text, text + n, 0};
    size_t len = strcspn(path, ".");
    if (!json_r_char(&r, '{'))
        return false;
    do {
        json_r_space(&r);
        const char *name = r.p;
        if (!json_r_string(&r))
            return false;
        bool same = (size_t)(r.p - name) == len + 2 && memcmp(name + 1, path, len) == 0;
        json_r_char(&r, ':');
        json_r_space(&r);
        const char *value = r.p;
        json_r_value(&r);
        if (same && path[len])
            return json_find(value, (size_t)(r.p - value), path + len + 1, out);
        if (same) {
            *out = span_of(value, (size_t)(r.p - value));
            return true;
        }
    } while (json_r_char(&r, ','));
    return false;
}

/* Whether that member is there and its text, quotes included, is `want`. */
static inline bool json_is(const char *text, size_t n, const char *path, const char *want)
{
    struct span v;
    return json_find(text, n, path, &v) && v.n == strlen(want) && memcmp(v.p, want, v.n) == 0;
}

#endif
