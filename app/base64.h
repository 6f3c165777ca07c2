/*
 * base64 - base64url without padding (RFC 4648 section 5), for keys and tokens.
 */
#ifndef APP_BASE64_H
#define APP_BASE64_H

#include "quic/types.h"

#define BASE64URL_LEN(n) (((n)*4 + 2) / 3) /* characters for n bytes, without terminator */

/* Encode `n` bytes; `out` takes BASE64URL_LEN(n) characters and a terminator. */
void base64url_encode(const uint8_t *in, size_t n, char *out);

/* Decode strictly; `*n` is room in, bytes out. 0, or QUIC_INVAL on any stray character or bit. */
int base64url_decode(struct span in, uint8_t *out, size_t *n);

#endif
