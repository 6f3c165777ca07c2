#include "quic/aead.h"
#include "quic/gcm_vaes.h"

#include <endian.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#define SHA256_LEN 32
#define SHA384_LEN 48
#define LABEL_MAX  32 /* of what we ever derive; the format would allow 249 */
#define MASK_BATCH 64 /* samples per AES call */

static const struct cipher {
    const EVP_CIPHER *(*aead)(void);
    const EVP_CIPHER *(*hp)(void);
    enum aead_hash hash;
    uint8_t key_len, secret_len;
    uint64_t seal_limit, open_limit; /* packets (RFC 9001 6.6) */
} ciphers[] = {
    [AEAD_AES_128_GCM] = {EVP_aes_128_gcm, EVP_aes_128_ecb, AEAD_SHA256, 16, SHA256_LEN,
                          1ull << 23, 1ull << 52},
    [AEAD_AES_256_GCM] = {EVP_aes_256_gcm, EVP_aes_256_ecb, AEAD_SHA384, 32, SHA384_LEN,
                          1ull << 23, 1ull << 52},
    /* Its seal limit is above the number of packet numbers there are. */
    [AEAD_CHACHA20_POLY1305] = {EVP_chacha20_poly1305, EVP_chacha20, AEAD_SHA256, 32,
                                SHA256_LEN, 1ull << 62, 1ull << 36},
};

static const EVP_MD *digest(enum aead_hash hash)
{
    return hash == AEAD_SHA384 ? EVP_sha384() : EVP_sha256();
}

int hkdf_extract(struct span salt, struct span ikm, uint8_t out[32])
{
    unsigned len = 0;

    if (salt.n > INT_MAX || !HMAC(EVP_sha256(), salt.p, (int)salt.n, ikm.p, ikm.n, out, &len))
        return QUIC_NOMEM;
    return 0;
}

int hkdf_expand_label(enum aead_hash hash, struct span secret, const char *label, uint8_t *out,
                      size_t n)
{
    size_t hash_len = hash == AEAD_SHA384 ? SHA384_LEN : SHA256_LEN, label_len = strlen(label);
    uint8_t info[2 + 1 + 6 + LABEL_MAX + 1 + 1], block[EVP_MAX_MD_SIZE];
    struct wire_w w = wire_w_of(info, sizeof(info));
    unsigned len = 0;

    if (n > hash_len || label_len > LABEL_MAX || secret.n > INT_MAX)
        return QUIC_INVAL;
    wire_w_u16(&w, (uint16_t)n);
    wire_w_u8(&w, (uint8_t)(6 + label_len));
    wire_w_bytes(&w, "tls13 ", 6);
    wire_w_bytes(&w, label, label_len);
    wire_w_u8(&w, 0); /* no context */
    wire_w_u8(&w, 1); /* HKDF-Expand's first and only block */
    if (!HMAC(digest(hash), secret.p, (int)secret.n, info, (size_t)(w.p - info), block, &len))
        return QUIC_NOMEM;
    memcpy(out, block, n);
    OPENSSL_cleanse(block, sizeof(block));
    return 0;
}

void aead_free(struct aead *a)
{
    if (!a)
        return;
    gcm_vaes_del(a->gcm);
    gcm_vaes_del(a->mask);
    EVP_CIPHER_CTX_free(a->ctx);
    EVP_CIPHER_CTX_free(a->hp);
    OPENSSL_cleanse(a, sizeof(*a));
}

static bool no_vaes; /* aead_set_vaes */

void aead_set_vaes(bool on)
{
    no_vaes = !on;
}

void aead_describe(char *out, size_t n)
{
    const char *why = no_vaes ? "VAES is switched off" : gcm_vaes_off();

    if (why)
        snprintf(out, n, "AES-GCM by libcrypto: %s", why);
    else
        snprintf(out, n, "AES-GCM by VAES and VPCLMULQDQ, like libcrypto's where compared");
}

/* Contexts for `a->id`, key from `key`, header protection from `a->hp_key`. */
static int make_contexts(struct aead *a, const uint8_t *key)
{
    const struct cipher *c = &ciphers[a->id];

    if (a->id != AEAD_CHACHA20_POLY1305 && !no_vaes && !gcm_vaes_off()) {
        a->gcm = gcm_vaes_new(key, c->key_len);
        a->mask = gcm_vaes_new(a->hp_key, c->key_len);
        a->large = gcm_vaes_large();
        if (!a->gcm || !a->mask)
            return QUIC_NOMEM;
    }
    if (a->large < SIZE_MAX) {
        a->ctx = EVP_CIPHER_CTX_new();
        if (!a->ctx || !EVP_CipherInit_ex2(a->ctx, c->aead(), key, NULL, a->seal, NULL))
            return QUIC_NOMEM;
    }
    if (a->mask)
        return 0;
    a->hp = EVP_CIPHER_CTX_new();
    if (!a->hp || !EVP_EncryptInit_ex2(a->hp, c->hp(), a->hp_key, NULL, NULL) ||
        !EVP_CIPHER_CTX_set_padding(a->hp, 0))
        return QUIC_NOMEM;
    return 0;
}

/* All but the header protection key out of `a->secret`. */
static int derive(struct aead *a)
{
    const struct cipher *c = &ciphers[a->id];
    struct span secret = {a->secret, a->secret_len};
    uint8_t key[AEAD_KEY_MAX];
    int err;

    err = hkdf_expand_label(c->hash, secret, "quic key", key, c->key_len);
    if (!err)
        err = hkdf_expand_label(c->hash, secret, "quic iv", a->iv, AEAD_IV);
    if (!err)
        err = make_contexts(a, key);
    OPENSSL_cleanse(key, sizeof(key));
    return err;
}

int aead_init(struct aead *a, enum aead_id id, struct span secret, bool seal)
{
    const struct cipher *c = &ciphers[id];
    int err;

    *a = (struct aead){.id = id, .seal = seal, .secret_len = c->secret_len};
    if (secret.n != c->secret_len)
        return QUIC_INVAL;
    memcpy(a->secret, secret.p, secret.n);
    err = hkdf_expand_label(c->hash, secret, "quic hp", a->hp_key, c->key_len);
    if (!err)
        err = derive(a);
    if (err)
        aead_free(a);
    return err;
}

int aead_initial(struct aead *client, struct aead *server, const struct quic_cid *dcid,
                 bool i_am_server)
{
    static const uint8_t salt[20] = {0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34,
                                     0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8,
                                     0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a};
    uint8_t initial[SHA256_LEN], in[SHA256_LEN], out[SHA256_LEN];
    struct span prk = {initial, sizeof(initial)};
    int err;

    *client = *server = (struct aead){0};
    err = hkdf_extract(span_of(salt, sizeof(salt)), cid_span(dcid), initial);
    if (!err)
        err = hkdf_expand_label(AEAD_SHA256, prk, "client in", in, sizeof(in));
    if (!err)
        err = hkdf_expand_label(AEAD_SHA256, prk, "server in", out, sizeof(out));
    if (!err)
        err = aead_init(client, AEAD_AES_128_GCM, span_of(in, sizeof(in)), !i_am_server);
    if (!err)
        err = aead_init(server, AEAD_AES_128_GCM, span_of(out, sizeof(out)), i_am_server);
    if (err)
        aead_free(client);
    return err ? QUIC_NOMEM : 0;
}

int aead_next(struct aead *next, const struct aead *cur)
{
    struct span secret = {cur->secret, cur->secret_len};
    int err;

    *next = (struct aead){.id = cur->id, .seal = cur->seal, .secret_len = cur->secret_len};
    memcpy(next->hp_key, cur->hp_key, sizeof(next->hp_key));
    err = hkdf_expand_label(ciphers[cur->id].hash, secret, "quic ku", next->secret,
                            next->secret_len);
    if (!err)
        err = derive(next);
    if (err)
        aead_free(next);
    return err;
}

void aead_nonce(const uint8_t iv[AEAD_IV], uint32_t path_id, uint64_t pn,
                uint8_t nonce[AEAD_IV])
{
    uint32_t high;
    uint64_t low;

    memcpy(&high, iv, 4);
    memcpy(&low, iv + 4, 8);
    high ^= htobe32(path_id);
    low ^= htobe64(pn);
    memcpy(nonce, &high, 4);
    memcpy(nonce + 4, &low, 8);
}

static int evp_seal(struct aead *a, const uint8_t nonce[AEAD_IV], struct span aad,
                    const uint8_t *in, size_t n, uint8_t *out)
{
    int len;

    if (!EVP_EncryptInit_ex2(a->ctx, NULL, NULL, nonce, NULL) ||
        !EVP_EncryptUpdate(a->ctx, NULL, &len, aad.p, (int)aad.n) ||
        (n > 0 && !EVP_EncryptUpdate(a->ctx, out, &len, in, (int)n)) ||
        !EVP_EncryptFinal_ex(a->ctx, out + n, &len) ||
        EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_GET_TAG, QUIC_TAG, out + n) <= 0)
        return QUIC_NOMEM;
    return 0;
}

int aead_seal(struct aead *a, uint32_t path_id, uint64_t pn, struct span aad, const uint8_t *in,
              size_t n, uint8_t *out)
{
    uint8_t nonce[AEAD_IV];
    int err = 0;

    if (!aead_ready(a) || !a->seal || n > INT_MAX || aad.n > INT_MAX)
        return QUIC_INVAL;
    if (a->used >= ciphers[a->id].seal_limit)
        return QUIC_CLOSED;
    aead_nonce(a->iv, path_id, pn, nonce);
    if (n < a->large)
        gcm_vaes_seal(a->gcm, nonce, aad, in, n, out);
    else
        err = evp_seal(a, nonce, aad, in, n, out);
    a->used += err == 0;
    return err;
}

/* The `n` bytes at `inout`, a tag behind them. */
static bool evp_open(struct aead *a, const uint8_t nonce[AEAD_IV], struct span aad,
                     uint8_t *inout, size_t n)
{
    uint8_t none[QUIC_TAG];
    int len;

    if (EVP_DecryptInit_ex2(a->ctx, NULL, NULL, nonce, NULL) &&
        EVP_CIPHER_CTX_ctrl(a->ctx, EVP_CTRL_AEAD_SET_TAG, QUIC_TAG, inout + n) > 0 &&
        EVP_DecryptUpdate(a->ctx, NULL, &len, aad.p, (int)aad.n) &&
        (n == 0 || EVP_DecryptUpdate(a->ctx, inout, &len, inout, (int)n)) &&
        EVP_DecryptFinal_ex(a->ctx, none, &len) > 0)
        return true;
    memset(inout, 0, n);
    return false;
}

int aead_open(struct aead *a, uint32_t path_id, uint64_t pn, struct span aad, uint8_t *inout,
              size_t n)
{
    uint8_t nonce[AEAD_IV];
    bool ok;

    if (!aead_ready(a) || a->seal || n < QUIC_TAG || n > INT_MAX || aad.n > INT_MAX)
        return QUIC_DROP;
    n -= QUIC_TAG;
    aead_nonce(a->iv, path_id, pn, nonce);
    if (n < a->large)
        ok = gcm_vaes_open(a->gcm, nonce, aad, inout, n);
    else
        ok = evp_open(a, nonce, aad, inout, n);
    a->failed += !ok;
    return ok ? 0 : QUIC_DROP;
}

/* One block cipher call for up to MASK_BATCH samples. */
static int masks_aes(struct aead *a, const uint8_t (*samples)[AEAD_SAMPLE], size_t n,
                     uint8_t (*masks)[AEAD_MASK])
{
    uint8_t blocks[MASK_BATCH][AEAD_SAMPLE];
    int len;

    if (!EVP_EncryptUpdate(a->hp, blocks[0], &len, samples[0], (int)(n * AEAD_SAMPLE)))
        return QUIC_NOMEM;
    for (size_t i = 0; i < n; i++)
        memcpy(masks[i], blocks[i], AEAD_MASK);
    return 0;
}

/* The sample is 4 bytes of block counter and 12 of nonce, as OpenSSL wants its IV. */
static int masks_chacha20(struct aead *a, const uint8_t (*samples)[AEAD_SAMPLE], size_t n,
                          uint8_t (*masks)[AEAD_MASK])
{
    static const uint8_t zero[AEAD_MASK];
    int len;

    for (size_t i = 0; i < n; i++) {
        if (!EVP_EncryptInit_ex2(a->hp, NULL, NULL, samples[i], NULL) ||
            !EVP_EncryptUpdate(a->hp, masks[i], &len, zero, AEAD_MASK))
            return QUIC_NOMEM;
    }
    return 0;
}

int aead_masks(struct aead *a, const uint8_t (*samples)[AEAD_SAMPLE], size_t n,
               uint8_t (*masks)[AEAD_MASK])
{
    int err = 0;

    if (a->id == AEAD_CHACHA20_POLY1305)
        return masks_chacha20(a, samples, n, masks);
    if (a->mask) {
        gcm_vaes_masks(a->mask, samples, n, masks);
        return 0;
    }
    while (n > 0 && !err) {
        size_t some = n < MASK_BATCH ? n : MASK_BATCH;

        err = masks_aes(a, samples, some, masks);
        samples += some;
        masks += some;
        n -= some;
    }
    return err;
}

/* The bits of the first byte that are protected (RFC 9001 5.4.1). */
static uint8_t first_bits(uint8_t first)
{
    return first & 0x80 ? 0x0f : 0x1f;
}

/* Xor the mask into the `len` (1..4) bytes of the packet number at `p`; what they are then. */
static uint32_t mask_pn(uint8_t *p, size_t len, const uint8_t mask[AEAD_MASK])
{
    unsigned rest = 8 * (4 - (unsigned)len); /* bits of what follows it */
    uint32_t v, m;

    memcpy(&v, p, sizeof(v));
    memcpy(&m, mask + 1, sizeof(m));
    v ^= htobe32(be32toh(m) >> rest << rest);
    memcpy(p, &v, sizeof(v));
    return be32toh(v) >> rest;
}

void aead_mask_head(uint8_t *packet, size_t pn_offset, size_t pn_len,
                    const uint8_t mask[AEAD_MASK])
{
    packet[0] ^= mask[0] & first_bits(packet[0]);
    mask_pn(packet + pn_offset, pn_len, mask);
}

void aead_unmask_head(uint8_t *packet, size_t pn_offset, const uint8_t mask[AEAD_MASK],
                      size_t *pn_len, uint64_t *truncated)
{
    packet[0] ^= mask[0] & first_bits(packet[0]);
    *pn_len = (size_t)(packet[0] & 3) + 1;
    *truncated = mask_pn(packet + pn_offset, *pn_len, mask);
}

int aead_protect_head(struct aead *a, uint8_t *packet, size_t pn_offset, size_t pn_len)
{
    uint8_t sample[1][AEAD_SAMPLE], mask[1][AEAD_MASK];
    int err;

    memcpy(sample[0], packet + pn_offset + 4, AEAD_SAMPLE);
    err = aead_masks(a, (const uint8_t(*)[AEAD_SAMPLE])sample, 1, mask);
    if (!err)
        aead_mask_head(packet, pn_offset, pn_len, mask[0]);
    return err;
}

int aead_unprotect_head(struct aead *a, uint8_t *packet, size_t n, size_t pn_offset,
                        size_t *pn_len, uint64_t *truncated)
{
    uint8_t sample[1][AEAD_SAMPLE], mask[1][AEAD_MASK];

    if (n < AEAD_SAMPLE_END || pn_offset > n - AEAD_SAMPLE_END)
        return QUIC_DROP;
    memcpy(sample[0], packet + pn_offset + 4, AEAD_SAMPLE);
    if (aead_masks(a, (const uint8_t(*)[AEAD_SAMPLE])sample, 1, mask))
        return QUIC_DROP;
    aead_unmask_head(packet, pn_offset, mask[0], pn_len, truncated);
    return 0;
}

uint64_t aead_seal_limit(enum aead_id id)
{
    return ciphers[id].seal_limit;
}

uint64_t aead_open_limit(enum aead_id id)
{
    return ciphers[id].open_limit;
}

int stateless_reset_token(const uint8_t key[32], const struct quic_cid *cid, uint8_t out[16])
{
    uint8_t mac[SHA256_LEN];
    unsigned len = 0;

    if (!HMAC(EVP_sha256(), key, 32, cid->b, cid->len, mac, &len))
        return QUIC_NOMEM;
    memcpy(out, mac, 16);
    return 0;
}

bool bytes_equal_ct(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}
