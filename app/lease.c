#include "app/lease.h"

#include "app/base64.h"
#include "app/keep.h"
#include "quic/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BODY (LEASE_TOKEN - 16)

static void body(const struct pool *p, uint32_t i, uint64_t expiry_s, uint8_t out[BODY])
{
    struct wire_w w = wire_w_of(out, BODY);
    uint8_t v4[4], v6[16];

    pool_addr4(p, i, v4);
    pool_addr6(p, i, v6);
    wire_w_u32(&w, i);
    wire_w_bytes(&w, v4, sizeof(v4));
    wire_w_bytes(&w, v6, sizeof(v6));
    wire_w_u64(&w, expiry_s);
}

/* HMAC-SHA256 over "mqvpn lease", the body and the user's name, cut to 16 bytes. */
static void seal(const uint8_t secret[LEASE_SECRET], const uint8_t b[BODY], const char *user,
                 uint8_t out[16])
{
    uint8_t text[16 + BODY + 64], mac[EVP_MAX_MD_SIZE];
    struct wire_w w = wire_w_of(text, sizeof(text));
    unsigned mac_len = 0;

    wire_w_span(&w, SPAN_LIT("mqvpn lease v1"));
    wire_w_bytes(&w, b, BODY);
    wire_w_bytes(&w, user, strnlen(user, 64));
    HMAC(EVP_sha256(), secret, LEASE_SECRET, text, sizeof(text) - wire_w_left(&w), mac,
         &mac_len);
    memcpy(out, mac, 16);
}

void lease_make(const uint8_t secret[LEASE_SECRET], const struct pool *p, uint32_t i,
                const char *user, uint64_t expiry_s, char out[LEASE_TEXT + 1])
{
    uint8_t token[LEASE_TOKEN];

    body(p, i, expiry_s, token);
    seal(secret, token, user, token + BODY);
    base64url_encode(token, sizeof(token), out);
}

uint32_t lease_check(const uint8_t secret[LEASE_SECRET], const struct pool *p, struct span text,
                     const char *user, uint64_t now_s, uint64_t *expiry_s)
{
    uint8_t token[LEASE_TOKEN], again[BODY], mac[16];
    size_t n = sizeof(token);
    struct wire_r r;
    uint64_t expiry;
    uint32_t i;

    if (text.n != LEASE_TEXT || base64url_decode(text, token, &n) || n != sizeof(token))
        return POOL_NONE;
    seal(secret, token, user, mac);
    if (CRYPTO_memcmp(mac, token + BODY, sizeof(mac)) != 0)
        return POOL_NONE;
    r = wire_r_of(token, BODY);
    i = wire_r_u32(&r);
    wire_r_bytes(&r, 20);
    expiry = wire_r_u64(&r);
    if (expiry <= now_s || !pool_valid(p, i))
        return POOL_NONE;
    body(p, i, expiry, again);
    *expiry_s = expiry;
    return memcmp(again, token, BODY) == 0 ? i : POOL_NONE;
}

/* The file name for one server's lease; false where it would be too long or leave DIR. */
static bool client_file(const char *server, char *out, size_t n)
{
    return !strchr(server, '/') && snprintf(out, n, "lease-%s", server) < (int)n;
}

void lease_load(const char *dir, const char *server, char out[LEASE_TEXT + 1])
{
    char name[NAME_MAX], path[PATH_MAX];

    if (!client_file(server, name, sizeof(name)) ||
        snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path) ||
        keep_read_line(path, out, LEASE_TEXT + 1) || strlen(out) != LEASE_TEXT)
        out[0] = 0;
}

int lease_save(const char *dir, const char *server, const char *token)
{
    char name[NAME_MAX];

    return client_file(server, name, sizeof(name)) ? keep_write(dir, name, token, strlen(token))
                                                   : -ENAMETOOLONG;
}

static void load(char *text, struct pool *p, uint64_t now_s, uint64_t hold_s)
{
    char *save = NULL;

    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        unsigned long long i, expiry;
        if (sscanf(line, "%llu %llu", &i, &expiry) != 2 || i >= POOL_NONE)
            continue;
        if (expiry > now_s)
            pool_hold(p, (uint32_t)i, expiry < now_s + hold_s ? expiry : now_s + hold_s);
    }
}

/* The held slots, one line each, as the new journal. */
static int compact(const char *dir, const struct pool *p)
{
    size_t cap = 64, n = 0;
    char *text = malloc(cap);
    int rc;

    if (!text)
        return -ENOMEM;
    for (uint32_t i = 0; i < p->size; i++) {
        if (p->slot[i].held_s == 0)
            continue;
        if (cap - n < 64) {
            char *grown = realloc(text, cap *= 2);
            if (!grown) {
                free(text);
                return -ENOMEM;
            }
            text = grown;
        }
        n += (size_t)snprintf(text + n, cap - n, "%u %llu\n", i,
                              (unsigned long long)p->slot[i].held_s);
    }
    rc = keep_write(dir, "leases", text, n);
    free(text);
    return rc;
}

int lease_journal_open(struct lease_journal *j, const char *dir, struct pool *p, uint64_t now_s,
                       uint64_t hold_s)
{
    char path[PATH_MAX], *text;
    size_t cap = (size_t)p->size * 128 + 65536, n;
    int rc;

    j->fd = -1;
    if (snprintf(path, sizeof(path), "%s/leases", dir) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    text = malloc(cap);
    if (!text)
        return -ENOMEM;
    rc = keep_read(path, text, cap, &n);
    if (rc == 0)
        load(text, p, now_s, hold_s);
    free(text);
    if (rc && rc != -ENOENT && rc != -EFBIG)
        return rc;
    if ((rc = compact(dir, p)))
        return rc;
    j->fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    return j->fd < 0 ? -errno : 0;
}

void lease_journal_add(struct lease_journal *j, uint32_t i, uint64_t expiry_s)
{
    if (j->fd >= 0)
        dprintf(j->fd, "%u %llu\n", i, (unsigned long long)expiry_s);
}

void lease_journal_close(struct lease_journal *j)
{
    if (j->fd >= 0)
        close(j->fd);
    j->fd = -1;
}
