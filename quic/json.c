#include "quic/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EXACT_MAX ((uint64_t)1 << 53)

void json_raw(struct json *j, const char *text, size_t n)
{
    if (j->failed || n > j->cap - j->n) {
        j->failed = true;
        return;
    }
    memcpy(j->p + j->n, text, n);
    j->n += n;
}

static void string(struct json *j, const uint8_t *p, size_t n)
{
    json_raw(j, "\"", 1);
    for (size_t i = 0; i < n; i++) {
        char esc[8];
        if (p[i] == '"' || p[i] == '\\') {
            esc[0] = '\\';
            esc[1] = (char)p[i];
            json_raw(j, esc, 2);
        } else if (p[i] < 0x20 || p[i] > 0x7e) {
            snprintf(esc, sizeof(esc), "\\u%04x", p[i]);
            json_raw(j, esc, 6);
        } else {
            json_raw(j, (const char *)p + i, 1);
        }
    }
    json_raw(j, "\"", 1);
}

/* Comma and name. */
static void member(struct json *j, const char *key)
{
    char last = j->n ? j->p[j->n - 1] : '{';
    if (last != '{' && last != '[' && last != ':')
        json_raw(j, ",", 1);
    if (key) {
        string(j, (const uint8_t *)key, strlen(key));
        json_raw(j, ":", 1);
    }
}

void json_open(struct json *j, const char *key, char bracket)
{
    member(j, key);
    json_raw(j, &bracket, 1);
}

void json_close(struct json *j, char bracket)
{
    json_raw(j, &bracket, 1);
}

void json_bytes(struct json *j, const char *key, struct span text)
{
    member(j, key);
    string(j, text.p, text.n);
}

void json_text(struct json *j, const char *key, const char *text)
{
    json_bytes(j, key, span_of(text, strlen(text)));
}

void json_hex(struct json *j, const char *key, struct span bytes)
{
    static const char digit[] = "0123456789abcdef";
    member(j, key);
    json_raw(j, "\"", 1);
    for (size_t i = 0; i < bytes.n; i++) {
        char two[2] = {digit[bytes.p[i] >> 4], digit[bytes.p[i] & 15]};
        json_raw(j, two, 2);
    }
    json_raw(j, "\"", 1);
}

void json_number(struct json *j, const char *key, uint64_t value)
{
    char text[32];
    int n =
        snprintf(text, sizeof(text), value > EXACT_MAX ? "\"%" PRIu64 "\"" : "%" PRIu64, value);
    member(j, key);
    json_raw(j, text, (size_t)n);
}

void json_ms(struct json *j, const char *key, ns_t time)
{
    char text[40];
    int n = snprintf(text, sizeof(text), "%" PRIu64 ".%06u", time / NS_PER_MS,
                     (unsigned)(time % NS_PER_MS));
    member(j, key);
    json_raw(j, text, (size_t)n);
}

void json_bool(struct json *j, const char *key, bool value)
{
    member(j, key);
    json_raw(j, value ? "true" : "false", value ? 4 : 5);
}
