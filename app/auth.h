/*
 * auth - who may in: users and their keys, held as hashes.
 *
 * Every key is compared with every stored one, in constant time, so that the time
 * of an answer tells nothing about keys or names. A key without a user name (the
 * server's own) lets in as the user "-".
 */
#ifndef APP_AUTH_H
#define APP_AUTH_H

#include "quic/types.h"

#define AUTH_NAME_MAX 64
#define AUTH_KEY_BITS 256

struct auth;

struct auth *auth_new(bool open_to_all);
void auth_del(struct auth *a);

/* Add a user; `name` NULL for the key without one. 0, QUIC_NOMEM, or QUIC_INVAL (name taken). */
int auth_add(struct auth *a, const char *name, const char *key);

/* Number of keys. */
size_t auth_count(const struct auth *a);

/*
 * The user whom this credential lets in, or NULL. `user` is empty with Bearer
 * (RFC 6750), else the name given with Basic (RFC 7617), which must match too.
 * Valid as long as `a`.
 */
const char *auth_check(const struct auth *a, struct span user, struct span key);

/* A new random key as text: 43 characters of base64url, 256 bits. */
void auth_make_key(const struct rng *rng, char out[44]);

#endif
