/*
 * cert - a key and a self-signed certificate for a server without a public name, and pins.
 *
 * A pin is the SHA-256 of a certificate's SubjectPublicKeyInfo (RFC 7469 2.4), in text
 * "sha256/" and 44 characters of base64: it survives a new certificate with the same key.
 *
 * Key material comes from libcrypto's own random generator.
 */
#ifndef QUIC_CERT_H
#define QUIC_CERT_H

#include "quic/types.h"

#define TLS_PIN      32 /* bytes of a pin */
#define TLS_PIN_TEXT 52 /* characters of its text, terminator included */

/* PEM text on the heap, with a terminator that isn't counted. */
struct tls_pem {
    char *p;
    size_t n;
};

/* Wipe and free; `pem` is empty afterwards. */
void tls_pem_free(struct tls_pem *pem);

static inline struct span tls_pem_span(const struct tls_pem *pem)
{
    return (struct span){(const uint8_t *)pem->p, pem->n};
}

/*
 * Make an ECDSA P-256 key and a self-signed certificate for the `n` `names` (at least one):
 * host names, "*.example.org", or IP addresses in text, all of which go into the subject
 * alternative name, the first also into the common name if it fits there (64 characters).
 * Valid from a day before `now` (Unix time, seconds) for `days`.
 *
 * Returns 0, QUIC_INVAL for no name, an empty or overlong (253) one or `days` of 0 or over
 * 36500, QUIC_NOMEM when libcrypto failed. The caller frees both texts.
 */
int tls_make_cert(const char *const *names, size_t n, unsigned days, int64_t now,
                  struct tls_pem *cert, struct tls_pem *key);

/*
 * The pin of the first certificate in a PEM text. Returns 0, QUIC_INVAL where there is none,
 * QUIC_NOMEM.
 */
int tls_spki_pin(struct span cert_pem, uint8_t pin[TLS_PIN]);

/* "sha256/..." of a pin; returns `out`. */
char *tls_pin_text(const uint8_t pin[TLS_PIN], char out[TLS_PIN_TEXT]);

/*
 * The reverse. Accepts "sha256/" or "sha256//" before the base64, and none (44 characters
 * alone). Returns 0, or QUIC_INVAL.
 */
int tls_pin_parse(const char *text, uint8_t pin[TLS_PIN]);

#endif
