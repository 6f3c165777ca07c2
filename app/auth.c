#include "app/auth.h"

#include "app/base64.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    char name[AUTH_NAME_MAX];
    uint8_t key[SHA256_DIGEST_LENGTH];
};

struct auth {
    bool open_to_all;
    struct entry *entry;
    size_t n;
};

struct auth *auth_new(bool open_to_all)
{
    struct auth *a = calloc(1, sizeof(*a));

    if (a)
        a->open_to_all = open_to_all;
    return a;
}

void auth_del(struct auth *a)
{
    if (!a)
        return;
    if (a->entry)
        OPENSSL_cleanse(a->entry, a->n * sizeof(*a->entry));
    free(a->entry);
    free(a);
}

int auth_add(struct auth *a, const char *name, const char *key)
{
    struct entry *grown, *e;

    if (!name)
        name = "-";
    if (strlen(name) >= AUTH_NAME_MAX)
        return QUIC_INVAL;
    for (size_t i = 0; i < a->n; i++)
        if (strcmp(a->entry[i].name, name) == 0)
            return QUIC_INVAL;
    grown = realloc(a->entry, (a->n + 1) * sizeof(*grown));
    if (!grown)
        return QUIC_NOMEM;
    a->entry = grown;
    e = &a->entry[a->n++];
    memset(e, 0, sizeof(*e));
    memcpy(e->name, name, strlen(name));
    SHA256((const uint8_t *)key, strlen(key), e->key);
    return 0;
}

size_t auth_count(const struct auth *a)
{
    return a->n;
}

const char *auth_check(const struct auth *a, struct span user, struct span key)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    const struct entry *found = NULL;

    SHA256(key.n ? key.p : (const uint8_t *)"", key.n, digest);
    for (size_t i = 0; i < a->n; i++) {
        const struct entry *e = &a->entry[i];
        bool same = CRYPTO_memcmp(e->key, digest, sizeof(digest)) == 0;
        if (same && (user.n == 0 ||
                     (strlen(e->name) == user.n && memcmp(e->name, user.p, user.n) == 0)))
            found = e;
    }
    if (found)
        return found->name;
    return a->open_to_all ? "-" : NULL;
}

void auth_make_key(const struct rng *rng, char out[44])
{
    uint8_t raw[AUTH_KEY_BITS / 8];

    rng_fill(rng, raw, sizeof(raw));
    base64url_encode(raw, sizeof(raw), out);
    OPENSSL_cleanse(raw, sizeof(raw));
}
