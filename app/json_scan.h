/*
 * json_scan - finding values in JSON text without building anything (RFC 8259).
 *
 * A value is a pointer into the text, which ends with a NUL. Text that is no JSON gives wrong
 * values or none, but is never read beyond its end; nesting is bounded by JSON_SCAN_DEPTH.
 */
#ifndef APP_JSON_SCAN_H
#define APP_JSON_SCAN_H

#include "quic/types.h"

#define JSON_SCAN_DEPTH 32

/* The member `key` of an object, NULL if there is none, or `object` is none or NULL. */
const char *json_scan_member(const char *object, const char *key);

/* The element after `prev` of an array, the first one for NULL; NULL at the end. */
const char *json_scan_item(const char *array, const char *prev);

/* A number, also one in quotes; 0 if it is none. */
double json_scan_number(const char *value);

bool json_scan_true(const char *value);

/*
 * A text, cut to `size` - 1; what is not printable ASCII becomes '?'. "" if it is none.
 * Returns `out`.
 */
const char *json_scan_text(const char *value, char *out, size_t size);

#endif
