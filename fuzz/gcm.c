/*
 * gcm - AES-GCM by quic/gcm_vaes against libcrypto. Where the kernel is off, nothing is tried.
 *
 * Input: a byte of flags, a byte each for the header's length and the payload's alignment, two
 * that say which bit is changed before it is opened, a key of 16 or (flag 1) 32 bytes, a
 * nonce, the header, the payload. Flag 2: the payload is repeated 8 times, so that short
 * inputs make long packets. Where the input is too short, there are zeros.
 */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "quic/gcm_vaes.h"

#define REQUIRE(x)                                                                             \
    do {                                                                                       \
        if (!(x))                                                                              \
            abort();                                                                           \
    } while (0)

/* The next `n` bytes of input. */
static void take(uint8_t *out, size_t n, const uint8_t **data, size_t *size)
{
    size_t have = n < *size ? n : *size;

    memset(out, 0, n);
    if (have)
        memcpy(out, *data, have);
    *data += have;
    *size -= have;
}

static void evp_seal(const uint8_t *key, size_t key_n, const uint8_t *iv, struct span aad,
                     const uint8_t *in, size_t n, uint8_t *out)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int len;

    REQUIRE(ctx && EVP_EncryptInit_ex2(ctx, key_n == 32 ? EVP_aes_256_gcm() : EVP_aes_128_gcm(),
                                       key, iv, NULL));
    REQUIRE(aad.n == 0 || EVP_EncryptUpdate(ctx, NULL, &len, aad.p, (int)aad.n));
    REQUIRE(n == 0 || EVP_EncryptUpdate(ctx, out, &len, in, (int)n));
    REQUIRE(EVP_EncryptFinal_ex(ctx, out + n, &len));
    REQUIRE(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, GCM_TAG, out + n) > 0);
    EVP_CIPHER_CTX_free(ctx);
}

/* Sealed out of place and in place, opened, and refused with `bit` of it changed. */
static void compare(const uint8_t *key, size_t key_n, const uint8_t *iv, struct span aad,
                    const uint8_t *in, size_t n, size_t shift, size_t bit)
{
    size_t all = n + GCM_TAG;
    uint8_t *want = malloc(all), *block = malloc(shift + all), *got = block + shift;
    struct gcm_vaes *k = gcm_vaes_new(key, key_n);

    REQUIRE(want && block && k);
    evp_seal(key, key_n, iv, aad, in, n, want);
    gcm_vaes_seal(k, iv, aad, in, n, got);
    REQUIRE(!memcmp(got, want, all));
    if (n)
        memcpy(got, in, n);
    gcm_vaes_seal(k, iv, aad, got, n, got);
    REQUIRE(!memcmp(got, want, all));
    REQUIRE(gcm_vaes_open(k, iv, aad, got, n));
    REQUIRE(!n || !memcmp(got, in, n));
    REQUIRE(!memcmp(got + n, want + n, GCM_TAG));
    memcpy(got, want, all);
    bit %= 8 * all;
    got[bit / 8] ^= (uint8_t)(1u << bit % 8);
    REQUIRE(!gcm_vaes_open(k, iv, aad, got, n));
    for (size_t i = 0; i < n; i++)
        REQUIRE(got[i] == 0);
    gcm_vaes_del(k);
    free(want);
    free(block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t head[5], key[32], iv[GCM_IV], *aad, *in;
    size_t key_n, aad_n, n, times;

    if (gcm_vaes_off())
        return 0;
    take(head, sizeof(head), &data, &size);
    key_n = head[0] & 1 ? 32 : 16;
    times = head[0] & 2 ? 8 : 1;
    aad_n = head[1];
    take(key, key_n, &data, &size);
    take(iv, sizeof(iv), &data, &size);
    aad = malloc(aad_n ? aad_n : 1);
    REQUIRE(aad);
    take(aad, aad_n, &data, &size);
    n = size * times;
    in = malloc(n ? n : 1);
    REQUIRE(in);
    for (size_t i = 0; i < times && size; i++)
        memcpy(in + i * size, data, size);
    compare(key, key_n, iv, span_of(aad, aad_n), in, n, head[2] % 64,
            (size_t)(head[3] << 8 | head[4]));
    free(aad);
    free(in);
    return 0;
}
