#include "app/json_scan.h"

#include <stdlib.h>
#include <string.h>

static const char *space(const char *p)
{
    return p + strspn(p, " \t\r\n");
}

/* Behind the text that begins at `p`, or its end where it does not end. */
static const char *text_end(const char *p)
{
    for (p++; *p && *p != '"'; p++)
        if (*p == '\\' && p[1])
            p++;
    return *p ? p + 1 : p;
}

/* Behind the value at `p`; NULL if it nests too deeply or does not end. */
static const char *value_end(const char *p)
{
    int depth = 0;

    do {
        p = space(p);
        if (!*p)
            return NULL;
        if (*p == '"') {
            p = text_end(p);
        } else if (*p == '{' || *p == '[') {
            if (++depth > JSON_SCAN_DEPTH)
                return NULL;
            p++;
        } else if (*p == '}' || *p == ']') {
            if (--depth < 0)
                return NULL;
            p++;
        } else if (*p == ',' || *p == ':') {
            if (!depth)
                return NULL;
            p++;
        } else {
            p += strcspn(p, " \t\r\n,:{}[]\"");
        }
    } while (depth);
    return p;
}

const char *json_scan_member(const char *object, const char *key)
{
    size_t n = strlen(key);
    const char *p = object ? space(object) : "";

    if (*p++ != '{')
        return NULL;
    for (;;) {
        const char *name = space(p), *value;

        if (*name != '"')
            return NULL;
        p = space(text_end(name));
        if (*p != ':')
            return NULL;
        value = space(p + 1);
        if (strncmp(name + 1, key, n) == 0 && name[1 + n] == '"')
            return *value ? value : NULL;
        p = value_end(value);
        if (!p || *(p = space(p)) != ',')
            return NULL;
        p++;
    }
}

const char *json_scan_item(const char *array, const char *prev)
{
    const char *p = array ? space(array) : "";

    if (*p++ != '[')
        return NULL;
    if (prev) {
        p = value_end(prev);
        if (!p || *(p = space(p)) != ',')
            return NULL;
        p++;
    }
    p = space(p);
    return *p && *p != ']' ? p : NULL;
}

double json_scan_number(const char *value)
{
    if (value && *value == '"')
        value++;
    return value && ((*value >= '0' && *value <= '9') || *value == '-') ? strtod(value, NULL)
                                                                        : 0;
}

bool json_scan_true(const char *value)
{
    return value && strncmp(value, "true", 4) == 0;
}

static int hex4(const char *p)
{
    int v = 0;

    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef", *d = p[i] ? strchr(digits, p[i] | 0x20) : NULL;

        if (!d)
            return -1;
        v = v * 16 + (int)(d - digits);
    }
    return v;
}

const char *json_scan_text(const char *value, char *out, size_t size)
{
    size_t n = 0;

    for (const char *p = value && *value == '"' ? value + 1 : ""; *p && *p != '"'; p++) {
        int c = (unsigned char)*p;

        if (c == '\\' && p[1] == 'u' && (c = hex4(p + 2)) >= 0) {
            p += 5;
        } else if (*p == '\\' && p[1]) {
            c = *++p;
            c = strchr("bfnrtu", c) ? '?' : c;
        }
        if (n + 1 < size)
            out[n++] = (char)(c >= 0x20 && c <= 0x7e ? c : '?');
    }
    out[n] = 0;
    return out;
}
