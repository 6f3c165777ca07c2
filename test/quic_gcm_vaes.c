/*
 * The AES-GCM kernel against the vectors of its specification, and against libcrypto: every
 * length, at any alignment, between pages that may not be touched. Where the kernel is off,
 * this skips.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <openssl/evp.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "quic/aead.h"
#include "quic/gcm_vaes.h"
#include "test/quic_hex.h"

#define MOST 2100
#define PAGE 4096

static void evp_seal(const uint8_t *key, size_t key_n, const uint8_t *iv, struct span aad,
                     const uint8_t *in, size_t n, uint8_t *out)
{
    static EVP_CIPHER_CTX *ctx;
    int len;

    if (!ctx)
        ctx = EVP_CIPHER_CTX_new();
    assert_true(EVP_EncryptInit_ex2(ctx, key_n == 32 ? EVP_aes_256_gcm() : EVP_aes_128_gcm(),
                                    key, iv, NULL));
    assert_true(aad.n == 0 || EVP_EncryptUpdate(ctx, NULL, &len, aad.p, (int)aad.n));
    assert_true(n == 0 || EVP_EncryptUpdate(ctx, out, &len, in, (int)n));
    assert_true(EVP_EncryptFinal_ex(ctx, out + n, &len));
    assert_true(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, GCM_TAG, out + n) > 0);
}

/* The cases of McGrew and Viega that have a nonce of 12 bytes and a key of 16 or 32. */
static const struct {
    const char *key, *iv, *aad, *plain, *sealed;
} vectors[] = {
    /* 1, 2, 3 and 4 */
    {"00000000000000000000000000000000", "000000000000000000000000", "", "",
     "58e2fccefa7e3061367f1d57a4e7455a"},
    {"00000000000000000000000000000000", "000000000000000000000000", "",
     "00000000000000000000000000000000",
     "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf"},
    {"feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888", "",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
     "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
     "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
     "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985"
     "4d5c2af327cd64a62cf35abd2ba6fab4"},
    {"feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
     "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
     "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
     "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091"
     "5bc94fbc3221a5db94fae95ae7121a47"},
    /* 13, 14, 15 and 16 */
    {"0000000000000000000000000000000000000000000000000000000000000000",
     "000000000000000000000000", "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
    {"0000000000000000000000000000000000000000000000000000000000000000",
     "000000000000000000000000", "", "00000000000000000000000000000000",
     "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
     "cafebabefacedbaddecaf888", "",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
     "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
     "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
     "b094dac5d93471bdec1a502270e3cc6c"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
     "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
     "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
     "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
     "76fc6ece0f4e1768cddf8853bb2d551b"},
    /* RFC 9001 A.5 has ChaCha20; A.3, the server's Initial: key and IV of A.1 with number 1 */
    {"cf3a5331653c364c88f0f379b6067e37", "0ac1493ca1905853b0bba03f",
     "c1000000010008f067a5502a4262b50040750001",
     "02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf739"
     "88cfc79825df566dc5430b9a045a1200130100002e00330024001d00209d3c94"
     "0d89690b84d08a60993c144eca684d1081287c834d5311bcf32bb9da1a002b00"
     "020304",
     "5a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb38cc5a99f"
     "5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73"
     "cc3f3bded74b562bfb19fb84022f8ef4cdd93795d77d06edbb7aaf2f58891850"
     "abbdca3d20398c276456cbc42158407dd074ee"},
};

static void test_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        struct hex key = hex_of(vectors[i].key), iv = hex_of(vectors[i].iv);
        struct hex aad = hex_of(vectors[i].aad), plain = hex_of(vectors[i].plain);
        struct hex sealed = hex_of(vectors[i].sealed);
        struct gcm_vaes *k = gcm_vaes_new(key.b, key.n);
        uint8_t b[256];

        assert_non_null(k);
        assert_int_equal(plain.n + GCM_TAG, sealed.n);
        gcm_vaes_seal(k, iv.b, hex_span(&aad), plain.b, plain.n, b);
        assert_memory_equal(b, sealed.b, sealed.n);
        assert_true(gcm_vaes_open(k, iv.b, hex_span(&aad), b, plain.n));
        assert_memory_equal(b, plain.b, plain.n);
        assert_memory_equal(b + plain.n, sealed.b + plain.n, GCM_TAG);
        gcm_vaes_del(k);
    }
}

static void test_keys(void **state)
{
    uint8_t key[33] = {0};

    (void)state;
    for (size_t n = 0; n <= sizeof(key); n++) {
        struct gcm_vaes *k = gcm_vaes_new(key, n);

        assert_true((k != NULL) == (n == 16 || n == 32));
        gcm_vaes_del(k);
    }
    gcm_vaes_del(NULL);
}

/* FIPS 197 appendix C.1 and C.3. */
static void test_mask_vectors(void **state)
{
    static const char *const block = "00112233445566778899aabbccddeeff";
    static const char *const want[2] = {"69c4e0d86a", "8ea2b7ca51"};
    static const char *const keys[2] = {
        "000102030405060708090a0b0c0d0e0f",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct hex key = hex_of(keys[i]), in = hex_of(block), out = hex_of(want[i]);
        struct gcm_vaes *k = gcm_vaes_new(key.b, key.n);
        uint8_t mask[1][GCM_MASK];

        gcm_vaes_masks(k, (const uint8_t(*)[GCM_SAMPLE])in.b, 1, mask);
        assert_memory_equal(mask[0], out.b, GCM_MASK);
        gcm_vaes_del(k);
    }
}

/* Bytes in an area of their own between two pages that fault. */
static uint8_t *fenced(void)
{
    uint8_t *p =
        mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(p != MAP_FAILED);
    assert_int_equal(mprotect(p, PAGE, PROT_NONE), 0);
    assert_int_equal(mprotect(p + 3 * PAGE, PAGE, PROT_NONE), 0);
    return p + PAGE;
}

#define FENCED (2 * PAGE)

static struct areas {
    uint8_t *key, *iv, *aad, *in, *out;
} areas;

/*
 * Packet of `n` bytes with `aad_n` of header: each piece at the begin of its area, or at the
 * end, out of place and in place, opened again.
 */
static void check(const uint8_t *key, size_t key_n, const uint8_t *plain, size_t n,
                  const uint8_t *head, size_t aad_n, bool at_end)
{
    static const uint8_t nonce[GCM_IV] = {9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 255, 254};
    uint8_t want[MOST + GCM_TAG];
    uint8_t *k = areas.key + (at_end ? FENCED - key_n : 0);
    uint8_t *iv = areas.iv + (at_end ? FENCED - GCM_IV : 0);
    uint8_t *in = areas.in + (at_end ? FENCED - n : 0);
    uint8_t *out = areas.out + (at_end ? FENCED - n - GCM_TAG : 0);
    struct span aad = {areas.aad + (at_end ? FENCED - aad_n : 0), aad_n};
    struct gcm_vaes *gcm;

    memcpy(k, key, key_n);
    memcpy(iv, nonce, GCM_IV);
    memcpy(in, plain, n);
    memcpy((uint8_t *)(uintptr_t)aad.p, head, aad_n);
    evp_seal(key, key_n, nonce, aad, plain, n, want);
    gcm = gcm_vaes_new(k, key_n);
    assert_non_null(gcm);
    gcm_vaes_seal(gcm, iv, aad, in, n, out);
    assert_memory_equal(out, want, n + GCM_TAG);
    assert_memory_equal(in, plain, n);
    memcpy(out, plain, n);
    gcm_vaes_seal(gcm, iv, aad, out, n, out);
    assert_memory_equal(out, want, n + GCM_TAG);
    assert_true(gcm_vaes_open(gcm, iv, aad, out, n));
    assert_memory_equal(out, plain, n);
    assert_memory_equal(out + n, want + n, GCM_TAG);
    gcm_vaes_del(gcm);
}

static void test_lengths(void **state)
{
    uint8_t plain[MOST], head[64], key[32];
    uint64_t seed = 1;

    (void)state;
    rand_bytes(&seed, plain, sizeof(plain));
    rand_bytes(&seed, head, sizeof(head));
    for (size_t n = 0; n <= MOST; n++) {
        rand_bytes(&seed, key, sizeof(key));
        for (unsigned way = 0; way < 4; way++)
            check(key, way & 1 ? 32 : 16, plain, n, head, (n + way * 16) % 65, way & 2);
    }
}

/* Any number of masks at once, samples and masks at the ends of what may be touched. */
static void test_masks(void **state)
{
    uint8_t samples[70 * GCM_SAMPLE], key[32], want[70 * GCM_SAMPLE];
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint64_t seed = 3;
    int len;

    (void)state;
    for (size_t n = 0; n <= 70; n++) {
        for (size_t key_n = 16; key_n <= 32; key_n += 16) {
            uint8_t *in = areas.in + FENCED - n * GCM_SAMPLE;
            uint8_t *out = areas.out + FENCED - n * GCM_MASK;
            struct gcm_vaes *k;

            rand_bytes(&seed, key, sizeof(key));
            rand_bytes(&seed, samples, sizeof(samples));
            memcpy(in, samples, n * GCM_SAMPLE);
            k = gcm_vaes_new(key, key_n);
            gcm_vaes_masks(k, (const uint8_t(*)[GCM_SAMPLE])in, n, (uint8_t(*)[GCM_MASK])out);
            gcm_vaes_del(k);
            assert_true(EVP_EncryptInit_ex2(
                ctx, key_n == 32 ? EVP_aes_256_ecb() : EVP_aes_128_ecb(), key, NULL, NULL));
            assert_true(EVP_EncryptUpdate(ctx, want, &len, samples, (int)(n * GCM_SAMPLE)) ==
                        1);
            for (size_t i = 0; i < n; i++)
                assert_memory_equal(out + i * GCM_MASK, want + i * GCM_SAMPLE, GCM_MASK);
        }
    }
    EVP_CIPHER_CTX_free(ctx);
}

/* Every length of header with every length around one and two registers and chunks. */
static void test_aad(void **state)
{
    static const size_t around[] = {0, 16, 32, 128, 256, 512};
    uint8_t plain[MOST], head[200], key[32];
    uint64_t seed = 2;

    (void)state;
    rand_bytes(&seed, plain, sizeof(plain));
    rand_bytes(&seed, head, sizeof(head));
    rand_bytes(&seed, key, sizeof(key));
    for (size_t aad_n = 0; aad_n <= sizeof(head); aad_n += aad_n < 66 ? 1 : 7)
        for (size_t i = 0; i < ARRAY_LEN(around); i++)
            for (size_t n = around[i] ? around[i] - 1 : 0; n <= around[i] + 1; n++)
                check(key, n & 1 ? 32 : 16, plain, n, head, aad_n, aad_n & 1);
}

/* Nothing outside of what the header says is written, wherever things lie. */
static void test_alignment(void **state)
{
    uint8_t key[32], iv[GCM_IV], head[64 + 32], want[MOST + GCM_TAG];
    static uint8_t in[64 + MOST], out[64 + MOST + GCM_TAG + 64], before[sizeof(out)];
    uint64_t seed = 3;

    (void)state;
    for (int i = 0; i < 3000; i++) {
        size_t key_n = i & 1 ? 32 : 16, n = rand_below(&seed, i % 3 ? 600 : MOST + 1);
        size_t aad_n = rand_below(&seed, 65), in_at = rand_below(&seed, 64);
        size_t out_at = rand_below(&seed, 64), aad_at = rand_below(&seed, 32);
        struct span aad = {head + aad_at, aad_n};
        struct gcm_vaes *k;

        rand_bytes(&seed, key, sizeof(key));
        rand_bytes(&seed, iv, sizeof(iv));
        rand_bytes(&seed, head, sizeof(head));
        rand_bytes(&seed, in + in_at, n);
        memset(out, 0xa5, sizeof(out));
        memcpy(before, out, sizeof(out));
        k = gcm_vaes_new(key, key_n);
        assert_non_null(k);
        evp_seal(key, key_n, iv, aad, in + in_at, n, want);
        memcpy(before + out_at, want, n + GCM_TAG);
        gcm_vaes_seal(k, iv, aad, in + in_at, n, out + out_at);
        assert_memory_equal(out, before, sizeof(out));
        memcpy(before + out_at, in + in_at, n);
        assert_true(gcm_vaes_open(k, iv, aad, out + out_at, n));
        assert_memory_equal(out, before, sizeof(out));
        gcm_vaes_del(k);
    }
}

/* One bit of anything changed: refused, all wiped, the tag as it came. */
static void refuse(const struct gcm_vaes *k, const uint8_t *iv, struct span aad,
                   const uint8_t *sealed, size_t n)
{
    static const uint8_t zero[MOST];
    uint8_t b[MOST + GCM_TAG];

    memcpy(b, sealed, n + GCM_TAG);
    assert_false(gcm_vaes_open(k, iv, aad, b, n));
    assert_memory_equal(b, zero, n);
    assert_memory_equal(b + n, sealed + n, GCM_TAG);
}

static void test_tampering(void **state)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 31, 33, 64, 255, 257, 300, 1350};
    uint8_t key[32], iv[GCM_IV], head[40], plain[MOST], sealed[MOST + GCM_TAG];
    uint64_t seed = 4;

    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(sizes); i++) {
        size_t n = sizes[i / 2], aad_n = i * 13 % 41;
        struct span aad = {head, aad_n};
        struct gcm_vaes *k;
        uint8_t bit;

        rand_bytes(&seed, key, sizeof(key));
        rand_bytes(&seed, iv, sizeof(iv));
        rand_bytes(&seed, head, sizeof(head));
        rand_bytes(&seed, plain, n);
        k = gcm_vaes_new(key, i & 1 ? 32 : 16);
        assert_non_null(k);
        gcm_vaes_seal(k, iv, aad, plain, n, sealed);
        for (size_t at = 0; at < n + GCM_TAG + aad_n + GCM_IV; at++) {
            uint8_t *p = at < n + GCM_TAG           ? sealed + at
                         : at < n + GCM_TAG + aad_n ? head + (at - n - GCM_TAG)
                                                    : iv + (at - n - GCM_TAG - aad_n);

            bit = (uint8_t)(1u << rand_below(&seed, 8));
            *p ^= bit;
            refuse(k, iv, aad, sealed, n);
            *p ^= bit;
        }
        /* Bytes moved between header and payload, and cut off. */
        if (n > 0)
            refuse(k, iv, aad, sealed, n - 1);
        if (aad_n > 0)
            refuse(k, iv, span_of(head, aad_n - 1), sealed, n);
        assert_true(gcm_vaes_open(k, iv, aad, sealed, n));
        gcm_vaes_del(k);
    }
}

/* More blocks than one byte of the counter, than two of them: carries go through. */
static void test_long(void **state)
{
    static const size_t sizes[] = {4064,  4080,           4096,           9000,
                                   65507, (1 << 20) - 17, (1 << 20) + 300};
    uint8_t key[32], iv[GCM_IV];
    uint64_t seed = 5;

    (void)state;
    rand_bytes(&seed, key, sizeof(key));
    rand_bytes(&seed, iv, sizeof(iv));
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        size_t n = sizes[i], key_n = i & 1 ? 16 : 32;
        uint8_t *plain = malloc(n), *want = malloc(n + GCM_TAG), *got = malloc(n + GCM_TAG);
        struct gcm_vaes *k = gcm_vaes_new(key, key_n);

        assert_true(plain && want && got && k);
        for (size_t j = 0; j + 8 <= n; j += 8) {
            uint64_t v = rand_u64(&seed);
            memcpy(plain + j, &v, 8);
        }
        memset(plain + n / 8 * 8, 1, n % 8);
        evp_seal(key, key_n, iv, SPAN_LIT("header"), plain, n, want);
        gcm_vaes_seal(k, iv, SPAN_LIT("header"), plain, n, got);
        assert_memory_equal(got, want, n + GCM_TAG);
        assert_true(gcm_vaes_open(k, iv, SPAN_LIT("header"), got, n));
        assert_memory_equal(got, plain, n);
        gcm_vaes_del(k);
        free(plain);
        free(want);
        free(got);
    }
}

static void *seal_many(void *arg)
{
    static const uint8_t iv[GCM_IV];
    uint8_t plain[500] = {1}, want[500 + GCM_TAG], got[500 + GCM_TAG];

    gcm_vaes_seal(arg, iv, SPAN_LIT("h"), plain, sizeof(plain), want);
    for (int i = 0; i < 2000; i++) {
        gcm_vaes_seal(arg, iv, SPAN_LIT("h"), plain, sizeof(plain), got);
        if (memcmp(got, want, sizeof(want)) || !gcm_vaes_open(arg, iv, SPAN_LIT("h"), got, 500))
            return arg;
    }
    return NULL;
}

/* One key in two threads, and in a child. */
static void test_shared(void **state)
{
    static const uint8_t key[16] = {1};
    struct gcm_vaes *k = gcm_vaes_new(key, 16);
    pthread_t thread[2];
    void *bad;
    int status;
    pid_t pid;

    (void)state;
    assert_non_null(k);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, seal_many, k), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(thread[i], &bad), 0);
        assert_null(bad);
    }
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(seal_many(k) != NULL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    gcm_vaes_del(k);
}

/* aead: with and without the kernel the same packets, through a key update. */
static void test_aead(void **state)
{
    static uint8_t plain[2 * GCM_LARGE], got[2][2 * GCM_LARGE + QUIC_TAG];
    uint8_t secret[48];
    uint64_t seed = 6;
    char text[128];

    (void)state;
    rand_bytes(&seed, secret, sizeof(secret));
    rand_bytes(&seed, plain, sizeof(plain));
    for (enum aead_id id = AEAD_AES_128_GCM; id <= AEAD_CHACHA20_POLY1305; id++) {
        struct span s = {secret, id == AEAD_AES_256_GCM ? 48 : 32};
        struct aead a[2], next[2], opens;

        assert_int_equal(aead_init(&opens, id, s, false), 0);
        for (int i = 0; i < 2; i++) {
            aead_set_vaes(i);
            assert_int_equal(aead_init(&a[i], id, s, true), 0);
            assert_int_equal(aead_next(&next[i], &a[i]), 0);
            assert_true((a[i].gcm != NULL) == (i && id != AEAD_CHACHA20_POLY1305));
            assert_true((next[i].ctx == NULL) == (a[i].ctx == NULL));
            assert_true(a[i].ctx || (a[i].gcm && gcm_vaes_large() == SIZE_MAX));
            aead_describe(text, sizeof(text));
            assert_true((strstr(text, "switched off") == NULL) == i);
        }
        for (uint64_t pn = 0; pn < 100; pn++) {
            size_t n = pn < 4 ? GCM_LARGE - 2 + pn : rand_below(&seed, sizeof(plain));

            for (int gen = 0; gen < 2; gen++) {
                for (int i = 0; i < 2; i++)
                    assert_int_equal(aead_seal(gen ? &next[i] : &a[i], (uint32_t)gen, pn,
                                               SPAN_LIT("header"), plain, n, got[i]),
                                     0);
                assert_memory_equal(got[0], got[1], n + QUIC_TAG);
                if (gen == 0) {
                    assert_int_equal(
                        aead_open(&opens, 0, pn, SPAN_LIT("header"), got[1], n + QUIC_TAG), 0);
                    assert_memory_equal(got[1], plain, n);
                }
            }
        }
        for (int i = 0; i < 2; i++) {
            aead_free(&a[i]);
            aead_free(&next[i]);
            assert_null(a[i].gcm);
        }
        aead_free(&opens);
    }
}

/* The other half: where EVP opens, what isn't authentic is wiped as well. */
static void test_evp_wipes(void **state)
{
    static const uint8_t zero[100], secret[32];
    uint8_t b[100 + QUIC_TAG] = {0};
    struct aead seal, open;

    (void)state;
    aead_set_vaes(false);
    assert_int_equal(aead_init(&seal, AEAD_AES_128_GCM, span_of(secret, 32), true), 0);
    assert_int_equal(aead_init(&open, AEAD_AES_128_GCM, span_of(secret, 32), false), 0);
    aead_set_vaes(true);
    assert_int_equal(aead_seal(&seal, 0, 1, SPAN_LIT("h"), b, 100, b), 0);
    assert_memory_not_equal(b, zero, 100);
    assert_int_equal(aead_open(&open, 0, 2, SPAN_LIT("h"), b, sizeof(b)), QUIC_DROP);
    assert_memory_equal(b, zero, 100);
    aead_free(&seal);
    aead_free(&open);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),   cmocka_unit_test(test_keys),
        cmocka_unit_test(test_lengths),   cmocka_unit_test(test_aad),
        cmocka_unit_test(test_alignment), cmocka_unit_test(test_tampering),
        cmocka_unit_test(test_long),      cmocka_unit_test(test_shared),
        cmocka_unit_test(test_masks),     cmocka_unit_test(test_mask_vectors),
        cmocka_unit_test(test_aead),      cmocka_unit_test(test_evp_wipes),
    };
    const char *off = gcm_vaes_off();

    if (off) {
        printf("skipped: %s\n", off);
        return 77;
    }
    areas = (struct areas){fenced(), fenced(), fenced(), fenced(), fenced()};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
