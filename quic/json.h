/*
 * json - JSON text into a bounded buffer (RFC 8259).
 *
 * Calls write straight down, as in wire.h; whether all of it fitted is asked once, at the
 * end. Whatever bytes a string is made of, the output is ASCII: a byte that is no printable
 * ASCII comes out as the escape of the character with its number. Numbers beyond 2^53, which
 * readers may hold in a double, are written as strings.
 *
 * A copy of the struct is a place to come back to: assigning it takes back what was written
 * since.
 *
 * Invariant: n <= cap; after a failure nothing is added.
 */
#ifndef QUIC_JSON_H
#define QUIC_JSON_H

#include "quic/types.h"

struct json {
    char *p;
    size_t n, cap;
    bool failed; /* something did not fit */
};

static inline struct json json_of(char *p, size_t cap)
{
    return (struct json){.p = p, .cap = cap};
}

/* Bytes as they are, outside of any structure. */
void json_raw(struct json *j, const char *text, size_t n);

/*
 * Each writes one value, with a comma before it where one is due. `key` is the member's name,
 * plain ASCII without quotes; null inside an array and for the outermost value.
 */
void json_open(struct json *j, const char *key, char bracket); /* '{' or '[' */
void json_close(struct json *j, char bracket);                 /* '}' or ']' */
void json_text(struct json *j, const char *key, const char *text);
void json_bytes(struct json *j, const char *key, struct span text); /* as characters */
void json_hex(struct json *j, const char *key, struct span bytes);  /* as hexadecimal digits */
void json_number(struct json *j, const char *key, uint64_t value);
void json_ms(struct json *j, const char *key, ns_t time); /* ns in milliseconds, exactly */
void json_bool(struct json *j, const char *key, bool value);

#endif
