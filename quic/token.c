#include "quic/token.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "quic/aead.h"

#define TYPE_RETRY 0x72
#define TYPE_NEW   0x6e
#define KEY        16
#define BODY_NEW   8
#define BODY_RETRY (TOKEN_RETRY_SIZE - 1 - TOKEN_SALT - QUIC_TAG)
#define AAD        (1 + 1 + 16 + 2)

int token_key_init(struct token_key *k, const uint8_t secret[32], ns_t unix_offset,
                   const struct rng *rng)
{
    k->unix_offset = unix_offset;
    if (unix_offset)
        return hkdf_expand_label(AEAD_SHA256, span_of(secret, 32), "address token", k->b,
                                 sizeof(k->b));
    rng_fill(rng, k->b, sizeof(k->b));
    return 0;
}

static ns_t life(uint8_t type)
{
    return type == TYPE_RETRY ? TOKEN_RETRY_LIFE : TOKEN_NEW_LIFE;
}

/* What the token is bound to, besides its contents. */
static void bind_address(uint8_t type, const struct quic_addr *addr, uint8_t aad[AAD])
{
    struct wire_w w = wire_w_of(aad, AAD);
    wire_w_u8(&w, type);
    wire_w_u8(&w, addr->family);
    wire_w_bytes(&w, addr->ip, sizeof(addr->ip));
    wire_w_u16(&w, type == TYPE_RETRY ? addr->port : 0);
}

/* A context with the key of one token; null if libcrypto failed. */
static EVP_CIPHER_CTX *token_ctx(const struct token_key *k, const uint8_t salt[TOKEN_SALT],
                                 bool seal)
{
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned len;
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    if (c && (!HMAC(EVP_sha256(), k->b, (int)sizeof(k->b), salt, TOKEN_SALT, mac, &len) ||
              !EVP_CipherInit_ex2(c, EVP_aes_128_gcm(), mac, mac + KEY, seal, NULL))) {
        EVP_CIPHER_CTX_free(c);
        c = NULL;
    }
    OPENSSL_cleanse(mac, sizeof(mac));
    return c;
}

static int seal(const struct token_key *k, const struct rng *rng, uint8_t type,
                const struct quic_addr *addr, const uint8_t *body, size_t n, uint8_t *out)
{
    uint8_t aad[AAD], *at = out + 1 + TOKEN_SALT;
    int len;
    out[0] = type;
    rng_fill(rng, out + 1, TOKEN_SALT);
    bind_address(type, addr, aad);
    EVP_CIPHER_CTX *c = token_ctx(k, out + 1, true);
    bool ok = c && EVP_CipherUpdate(c, NULL, &len, aad, AAD) &&
              EVP_CipherUpdate(c, at, &len, body, (int)n) &&
              EVP_CipherFinal_ex(c, at + n, &len) &&
              EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, QUIC_TAG, at + n) > 0;
    EVP_CIPHER_CTX_free(c);
    return ok ? 0 : QUIC_NOMEM;
}

static void put_cid(struct wire_w *w, const struct quic_cid *cid)
{
    wire_w_u8(w, cid->len);
    wire_w_bytes(w, cid->b, sizeof(cid->b));
}

int token_seal_retry(const struct token_key *k, const struct rng *rng,
                     const struct quic_addr *addr, ns_t now, const struct token_retry *retry,
                     uint8_t out[TOKEN_RETRY_SIZE])
{
    uint8_t body[BODY_RETRY];
    struct wire_w w = wire_w_of(body, sizeof(body));
    wire_w_u64(&w, now + k->unix_offset + TOKEN_RETRY_LIFE);
    put_cid(&w, &retry->original_dcid);
    put_cid(&w, &retry->scid);
    return seal(k, rng, TYPE_RETRY, addr, body, sizeof(body), out);
}

int token_seal_new(const struct token_key *k, const struct rng *rng,
                   const struct quic_addr *addr, ns_t now, uint8_t out[TOKEN_NEW_SIZE])
{
    uint8_t body[BODY_NEW];
    struct wire_w w = wire_w_of(body, sizeof(body));
    wire_w_u64(&w, now + k->unix_offset + TOKEN_NEW_LIFE);
    return seal(k, rng, TYPE_NEW, addr, body, sizeof(body), out);
}

static bool open_body(const struct token_key *k, struct span token,
                      const struct quic_addr *addr, uint8_t *body, size_t n)
{
    const uint8_t *in = token.p + 1 + TOKEN_SALT;
    uint8_t aad[AAD], tag[QUIC_TAG];
    int len;
    memcpy(tag, in + n, sizeof(tag));
    bind_address(token.p[0], addr, aad);
    EVP_CIPHER_CTX *c = token_ctx(k, token.p + 1, false);
    bool ok = c && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, QUIC_TAG, tag) > 0 &&
              EVP_CipherUpdate(c, NULL, &len, aad, AAD) &&
              EVP_CipherUpdate(c, body, &len, in, (int)n) &&
              EVP_CipherFinal_ex(c, tag, &len) > 0;
    EVP_CIPHER_CTX_free(c);
    return ok;
}

static bool get_cid(struct wire_r *r, struct quic_cid *cid)
{
    uint8_t len = wire_r_u8(r);
    struct span b = wire_r_bytes(r, QUIC_CID_MAX);
    if (r->failed || len > QUIC_CID_MAX)
        return false;
    *cid = cid_of(span_of(b.p, len));
    return true;
}

/* Not over, and not from further ahead than tokens are made: the clock was set back then. */
static bool in_time(const struct token_key *k, uint8_t type, ns_t expiry, ns_t now)
{
    ns_t time = now + k->unix_offset;
    return expiry > time && expiry - time <= life(type);
}

enum token_verdict token_open(const struct token_key *k, struct span token,
                              const struct quic_addr *addr, ns_t now, struct token_retry *retry)
{
    uint8_t body[BODY_RETRY];
    bool is_retry = token.n == TOKEN_RETRY_SIZE && token.p[0] == TYPE_RETRY;
    if (!is_retry && !(token.n == TOKEN_NEW_SIZE && token.p[0] == TYPE_NEW))
        return TOKEN_NONE;
    size_t n = is_retry ? BODY_RETRY : BODY_NEW;
    struct wire_r r = wire_r_of(body, n);
    bool ok = open_body(k, token, addr, body, n) && in_time(k, token.p[0], wire_r_u64(&r), now);
    if (!is_retry)
        return ok ? TOKEN_NEW : TOKEN_NONE;
    ok = ok && get_cid(&r, &retry->original_dcid) && get_cid(&r, &retry->scid);
    return ok ? TOKEN_RETRY : TOKEN_RETRY_WRONG;
}
