#include "quic/gcm_vaes.h"

#if defined(__x86_64__) &&                                                                     \
    ((defined(__clang__) && __clang_major__ >= 10) || (!defined(__clang__) && __GNUC__ >= 11))

#include <cpuid.h>
#include <immintrin.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <string.h>

/* Whatever the flags of the compiler: these functions run only where gcm_vaes_off is silent. */
#define TARGET __attribute__((target("avx2,aes,pclmul,vaes,vpclmulqdq")))
#define INLINE static inline TARGET __attribute__((always_inline))

#define BLOCK      16
#define LANES      8                   /* registers of a chunk */
#define CHUNK      (LANES * 2 * BLOCK) /* bytes */
#define POWERS     18 /* the most blocks behind the last chunk are 16 and the lengths */
#define ROUNDS_128 10
#define ROUNDS_256 14

/*
 * Blocks of the hash are held with their bytes reversed: bit i is the coefficient of
 * x^(127-i). The product of two such numbers is one bit short of the reversed product, so the
 * powers of H are stored divided by x, which makes up for it (Gueron and Kounavis, "Intel
 * Carry-Less Multiplication Instruction and its Usage for Computing the GCM Mode").
 */
struct gcm_vaes {
    __m128i round[ROUNDS_256 + 2]; /* one too many, so that pairs of powers are aligned */
    __m128i power[POWERS];         /* H^18 / x first, H / x last */
    __m128i folded[POWERS];        /* in the low half: their halves added, for Karatsuba */
    void *block;                   /* that it lies in */
    bool is_256;
};

/* x^-1 modulo x^128 + x^7 + x^2 + x + 1, reversed; its high half also serves to reduce. */
#define POLY_HIGH (-0x3e00000000000000ll) /* 0xc2 and zeros */

/* ---- the field ----------------------------------------------------------------------- */

/* Products of pairs of blocks that were added up, each lane for itself. */
struct product {
    __m256i low, middle, high;
};

INLINE struct product product_zero(void)
{
    return (struct product){_mm256_setzero_si256(), _mm256_setzero_si256(),
                            _mm256_setzero_si256()};
}

/* Keep the compiler from holding summands back, for which there are no registers. */
#define SUM_NOW(v) __asm__("" : "+x"(v))

INLINE void multiply(struct product *p, __m256i a, const struct gcm_vaes *k, size_t at)
{
    __m256i h = _mm256_loadu_si256((const __m256i *)(k->power + at));
    __m256i f = _mm256_loadu_si256((const __m256i *)(k->folded + at));
    __m256i both = _mm256_xor_si256(a, _mm256_shuffle_epi32(a, 0x4e));

    p->low = _mm256_xor_si256(p->low, _mm256_clmulepi64_epi128(a, h, 0x00));
    p->high = _mm256_xor_si256(p->high, _mm256_clmulepi64_epi128(a, h, 0x11));
    p->middle = _mm256_xor_si256(p->middle, _mm256_clmulepi64_epi128(both, f, 0x00));
    SUM_NOW(p->low);
    SUM_NOW(p->high);
    SUM_NOW(p->middle);
}

/*
 * The sum of both lanes modulo the polynomial. A multiple of the (reversed) polynomial that
 * ends in the lowest 64 bits clears them, and the same once more for the next 64.
 */
INLINE __m128i reduce(struct product p)
{
    const __m256i poly = _mm256_set1_epi64x(POLY_HIGH);
    __m256i m = _mm256_xor_si256(p.middle, _mm256_xor_si256(p.low, p.high));
    __m256i low = _mm256_xor_si256(p.low, _mm256_bslli_epi128(m, 8));
    __m256i high = _mm256_xor_si256(p.high, _mm256_bsrli_epi128(m, 8));

    for (int i = 0; i < 2; i++)
        low = _mm256_xor_si256(_mm256_shuffle_epi32(low, 0x4e),
                               _mm256_clmulepi64_epi128(low, poly, 0x00));
    high = _mm256_xor_si256(high, low);
    return _mm_xor_si128(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}

INLINE __m128i reversed(__m128i a)
{
    return _mm_shuffle_epi8(a,
                            _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

INLINE __m256i reversed2(__m256i a)
{
    return _mm256_shuffle_epi8(a, _mm256_broadcastsi128_si256(_mm_set_epi8(
                                      0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
}

/* ---- pieces of less than a block ----------------------------------------------------- */

/* At 32 - n: `n` bytes of ones, then zeros. */
static const uint8_t keep[64] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
                                 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
                                 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};

/* At 16 - n: a shuffle that moves the last `n` bytes to the front and clears the others. */
static const uint8_t to_front[32] = {0,   1,   2,   3,   4,   5,   6,   7,   8,   9,   10,
                                     11,  12,  13,  14,  15,  128, 128, 128, 128, 128, 128,
                                     128, 128, 128, 128, 128, 128, 128, 128, 128, 128};

/* The `n` bytes at `p`, 1 to 16, of which at least 16 end at p + n. */
INLINE __m128i load_end(const uint8_t *p, size_t n)
{
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(p + n - BLOCK)),
                            _mm_loadu_si128((const __m128i *)(to_front + BLOCK - n)));
}

INLINE uint64_t load64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

INLINE uint32_t load32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

/* The `n` bytes at `p`, 0 to 15, and zeros: out of loads that overlap, none past either end. */
INLINE __m128i load_short(const uint8_t *p, size_t n)
{
    uint64_t low = 0, high = 0;

    if (n >= 8) {
        low = load64(p);
        high = load64(p + n - 8) >> (8 * (15 - n)) >> 8;
    } else if (n >= 4) {
        low = load32(p) | (uint64_t)load32(p + n - 4) << (8 * (n - 4));
    } else if (n > 0) {
        low = p[0] | (uint64_t)p[n / 2] << (8 * (n / 2)) | (uint64_t)p[n - 1] << (8 * (n - 1));
    }
    return _mm_set_epi64x((long long)high, (long long)low);
}

/* ---- cipher and hash together -------------------------------------------------------- */

INLINE __m256i round_key(const struct gcm_vaes *k, int i)
{
    return _mm256_broadcastsi128_si256(k->round[i]);
}

/* Counter block: the nonce, and `count` in the order of bytes that this processor adds in. */
INLINE __m128i counter(const uint8_t iv[GCM_IV], int count)
{
    uint64_t rest = load64(iv + 4);

    return _mm_set_epi32(count, (int)(rest >> 32), (int)rest, (int)load32(iv));
}

/*
 * The next `lanes` pairs of the key stream to `b`. If `hash`, multiply the chunk at `hashed`
 * into *x beside that: its last blocks first, since *x may not be ready yet.
 */
INLINE void stream(const struct gcm_vaes *k, int rounds, int lanes, __m256i *at,
                   __m256i b[LANES], bool hash, const uint8_t *hashed, __m128i *x)
{
    const __m256i big_endian = _mm256_broadcastsi128_si256(
        _mm_set_epi8(12, 13, 14, 15, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
    const __m256i two = _mm256_broadcastsi128_si256(_mm_set_epi32(2, 0, 0, 0));
    struct product p = product_zero();
    __m256i key = round_key(k, 0), c = *at;

#pragma GCC unroll 8
    for (int i = 0; i < lanes; i++) {
        b[i] = _mm256_xor_si256(_mm256_shuffle_epi8(c, big_endian), key);
        c = _mm256_add_epi32(c, two);
    }
    *at = c;
    __asm__("" : "+r"(hashed)); /* loads: the registers that it was stored from are taken */
#pragma GCC unroll 14
    for (int r = 1; r < rounds; r++) {
        key = round_key(k, r);
#pragma GCC unroll 8
        for (int i = 0; i < lanes; i++)
            b[i] = _mm256_aesenc_epi128(b[i], key);
        if (hash && r <= LANES) {
            int i = LANES - r;
            __m256i d = reversed2(_mm256_loadu_si256((const __m256i *)hashed + i));

            if (i == 0)
                d = _mm256_xor_si256(d, _mm256_zextsi128_si256(*x));
            multiply(&p, d, k, POWERS - 2 * LANES + 2 * (size_t)i);
        }
    }
    if (hash)
        *x = reduce(p);
    key = round_key(k, rounds);
#pragma GCC unroll 8
    for (int i = 0; i < lanes; i++)
        b[i] = _mm256_aesenclast_epi128(b[i], key);
}

/* `in` xor the key stream to `out`, a chunk. */
INLINE void apply(const __m256i b[LANES], const uint8_t *in, uint8_t *out)
{
#pragma GCC unroll 8
    for (int i = 0; i < LANES; i++)
        _mm256_storeu_si256(
            (__m256i *)out + i,
            _mm256_xor_si256(b[i], _mm256_loadu_si256((const __m256i *)in + i)));
}

/* Multiply x + a by H^2 and b by H. */
INLINE __m128i hash_pair(const struct gcm_vaes *k, __m128i a, __m128i b)
{
    struct product p = product_zero();

    multiply(&p, _mm256_set_m128i(b, a), k, POWERS - 2);
    return reduce(p);
}

INLINE __m128i hash_aad(const struct gcm_vaes *k, const uint8_t *p, size_t n)
{
    __m128i x = _mm_setzero_si128(), a;

    for (; n > BLOCK; p += 2 * BLOCK) {
        size_t second = n < 2 * BLOCK ? n - BLOCK : BLOCK;

        a = _mm_xor_si128(x, reversed(_mm_loadu_si128((const __m128i *)p)));
        x = hash_pair(k, a, reversed(load_end(p + BLOCK, second)));
        n -= BLOCK + second;
    }
    if (n == 0)
        return x;
    a = n == BLOCK ? _mm_loadu_si128((const __m128i *)p) : load_short(p, n);
    return hash_pair(k, _mm_setzero_si128(), _mm_xor_si128(x, reversed(a)));
}

/* What the tag is masked with: block 1 of the stream. */
INLINE __m128i tag_mask(const struct gcm_vaes *k, int rounds, const uint8_t iv[GCM_IV])
{
    __m128i b = counter(iv, 1 << 24); /* 1 in network order */

    b = _mm_xor_si128(b, k->round[0]);
#pragma GCC unroll 14
    for (int r = 1; r < rounds; r++)
        b = _mm_aesenc_si128(b, k->round[r]);
    return _mm_aesenclast_si128(b, k->round[rounds]);
}

/*
 * The last 1 to 16 bytes, `n`, of `total`; their ciphertext, with zeros behind. When sealing,
 * BLOCK bytes are written at `out`, when opening also read: there is the tag's place.
 */
INLINE __m128i last_block(bool seal, __m128i key_stream, const uint8_t *in, size_t n,
                          uint8_t *out, size_t total)
{
    __m128i a, b;

    if (!seal)
        a = _mm_loadu_si128((const __m128i *)in);
    else if (total < BLOCK)
        a = load_short(in, n);
    else
        a = load_end(in, n);
    b = _mm_xor_si128(a, key_stream);
    _mm_storeu_si128((__m128i *)out, b);
    return _mm_and_si128(seal ? b : a, _mm_loadu_si128((const __m128i *)(keep + 32 - n)));
}

/* The same of 17 to 31 bytes. */
INLINE __m256i last_pair(bool seal, __m256i key_stream, const uint8_t *in, size_t n,
                         uint8_t *out)
{
    __m256i a, b;

    if (seal)
        a = _mm256_set_m128i(load_end(in + BLOCK, n - BLOCK),
                             _mm_loadu_si128((const __m128i *)in));
    else
        a = _mm256_loadu_si256((const __m256i *)in);
    b = _mm256_xor_si256(a, key_stream);
    _mm256_storeu_si256((__m256i *)out, b);
    return _mm256_and_si256(seal ? b : a, _mm256_loadu_si256((const __m256i *)(keep + 32 - n)));
}

/* What is behind the last chunk, `n` bytes below CHUNK, and the lengths. Gives the sum. */
INLINE __m128i finish(const struct gcm_vaes *k, bool seal, __m128i x, const __m256i *key_stream,
                      const uint8_t *in, size_t n, uint8_t *out, size_t aad_n, size_t total)
{
    __m128i lengths = _mm_set_epi64x((long long)aad_n * 8, (long long)total * 8);
    __m128i one = _mm_setzero_si128();
    __m256i carry = _mm256_zextsi128_si256(x), a, b; /* goes into the first block there is */
    struct product p = product_zero();
    size_t at = POWERS - 1 - (n + BLOCK - 1) / BLOCK;

    if (n == 0) {
        lengths = _mm_xor_si128(lengths, x);
        carry = _mm256_setzero_si256();
    }
    for (; n >= 2 * BLOCK; n -= 2 * BLOCK, in += 2 * BLOCK, out += 2 * BLOCK, at += 2) {
        a = _mm256_loadu_si256((const __m256i *)in);
        b = _mm256_xor_si256(a, _mm256_load_si256(key_stream++));
        _mm256_storeu_si256((__m256i *)out, b);
        multiply(&p, _mm256_xor_si256(carry, reversed2(seal ? b : a)), k, at);
        carry = _mm256_setzero_si256();
    }
    if (n > BLOCK) {
        a = last_pair(seal, _mm256_load_si256(key_stream), in, n, out);
        multiply(&p, _mm256_xor_si256(carry, reversed2(a)), k, at);
        carry = _mm256_setzero_si256();
    } else if (n > 0) {
        one = _mm_load_si128((const __m128i *)key_stream);
        one = reversed(last_block(seal, one, in, n, out, total));
    }
    a = _mm256_xor_si256(carry, _mm256_set_m128i(lengths, one));
    multiply(&p, a, k, POWERS - 2);
    return reversed(reduce(p));
}

/* Seal or open; gives the tag as it should be. */
INLINE __m128i crypt(const struct gcm_vaes *k, int rounds, bool seal, const uint8_t iv[GCM_IV],
                     struct span aad, const uint8_t *in, size_t n, uint8_t *out)
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i b[LANES] = {zero, zero, zero, zero, zero, zero, zero, zero};
    __m256i at = _mm256_set_m128i(counter(iv, 3), counter(iv, 2));
    __m256i key_stream[LANES];
    __m128i mask = tag_mask(k, rounds, iv), x = hash_aad(k, aad.p, aad.n), tag;
    size_t total = n;

    if (n <= CHUNK / 2)
        stream(k, rounds, LANES / 2, &at, b, false, NULL, &x);
    else if (seal || n < CHUNK)
        stream(k, rounds, LANES, &at, b, false, NULL, &x);
    if (seal && n >= CHUNK) {
        do {
            apply(b, in, out);
            in += CHUNK, out += CHUNK, n -= CHUNK;
            stream(k, rounds, LANES, &at, b, true, out - CHUNK, &x);
        } while (n >= CHUNK);
    } else if (n >= CHUNK) {
        do {
            stream(k, rounds, LANES, &at, b, true, in, &x);
            apply(b, in, out);
            in += CHUNK, out += CHUNK, n -= CHUNK;
        } while (n >= CHUNK);
        stream(k, rounds, LANES, &at, b, false, NULL, &x);
    }
#pragma GCC unroll 8
    for (int i = 0; i < LANES; i++)
        _mm256_store_si256(key_stream + i, b[i]);
    tag = finish(k, seal, x, key_stream, in, n, out, aad.n, total);
#pragma GCC unroll 8
    for (int i = 0; i < LANES; i++)
        _mm256_store_si256(key_stream + i, zero);
    __asm__ volatile("" : : "r"(key_stream) : "memory"); /* keeps the wiping */
    return _mm_xor_si128(tag, mask);
}

/* ---- the four ways through it -------------------------------------------------------- */

#define SEAL_OR_OPEN(name, rounds, seal)                                                       \
    static TARGET __attribute__((noinline)) __m128i name(                                      \
        const struct gcm_vaes *k, const uint8_t iv[GCM_IV], struct span aad,                   \
        const uint8_t *in, size_t n, uint8_t *out)                                             \
    {                                                                                          \
        return crypt(k, rounds, seal, iv, aad, in, n, out);                                    \
    }

SEAL_OR_OPEN(seal_128, ROUNDS_128, true)
SEAL_OR_OPEN(seal_256, ROUNDS_256, true)
SEAL_OR_OPEN(open_128, ROUNDS_128, false)
SEAL_OR_OPEN(open_256, ROUNDS_256, false)

TARGET void gcm_vaes_seal(const struct gcm_vaes *k, const uint8_t iv[GCM_IV], struct span aad,
                          const uint8_t *in, size_t n, uint8_t *out)
{
    __m128i tag =
        k->is_256 ? seal_256(k, iv, aad, in, n, out) : seal_128(k, iv, aad, in, n, out);

    _mm_storeu_si128((__m128i *)(out + n), tag);
}

TARGET bool gcm_vaes_open(const struct gcm_vaes *k, const uint8_t iv[GCM_IV], struct span aad,
                          uint8_t *inout, size_t n)
{
    __m128i got = _mm_loadu_si128((const __m128i *)(inout + n)), tag, differ;

    tag = k->is_256 ? open_256(k, iv, aad, inout, n, inout)
                    : open_128(k, iv, aad, inout, n, inout);
    _mm_storeu_si128((__m128i *)(inout + n), got); /* a partial block was written over it */
    differ = _mm_xor_si128(got, tag);
    if (_mm_testz_si128(differ, differ))
        return true;
    memset(inout, 0, n);
    return false;
}

/* ---- masks --------------------------------------------------------------------------- */

#define MASKED 8 /* blocks at a time */

INLINE void encipher(const struct gcm_vaes *k, int rounds, const uint8_t *in, uint8_t *out)
{
    __m256i b[MASKED / 2], key = _mm256_broadcastsi128_si256(k->round[0]);

    for (int i = 0; i < MASKED / 2; i++)
        b[i] = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)in + i), key);
#pragma GCC unroll 14
    for (int r = 1; r < rounds; r++) {
        key = _mm256_broadcastsi128_si256(k->round[r]);
        for (int i = 0; i < MASKED / 2; i++)
            b[i] = _mm256_aesenc_epi128(b[i], key);
    }
    key = _mm256_broadcastsi128_si256(k->round[rounds]);
    for (int i = 0; i < MASKED / 2; i++)
        _mm256_storeu_si256((__m256i *)out + i, _mm256_aesenclast_epi128(b[i], key));
}

TARGET void gcm_vaes_masks(const struct gcm_vaes *k, const uint8_t (*samples)[GCM_SAMPLE],
                           size_t n, uint8_t (*masks)[GCM_MASK])
{
    uint8_t few[MASKED][GCM_SAMPLE], out[MASKED][GCM_SAMPLE];

    for (size_t some; n > 0; samples += some, masks += some, n -= some) {
        const uint8_t *in = samples[0];

        some = n < MASKED ? n : MASKED;
        if (some < MASKED) {
            memset(few, 0, sizeof(few));
            memcpy(few, samples, some * GCM_SAMPLE);
            in = few[0];
        }
        if (k->is_256)
            encipher(k, ROUNDS_256, in, out[0]);
        else
            encipher(k, ROUNDS_128, in, out[0]);
        for (size_t i = 0; i < some; i++)
            memcpy(masks[i], out[i], GCM_MASK);
    }
}

/* ---- keys ---------------------------------------------------------------------------- */

/* Round key `last` steps on by `word`, which is in all four places. */
INLINE __m128i next_round(__m128i last, __m128i word)
{
    last = _mm_xor_si128(last, _mm_bslli_si128(last, 4));
    last = _mm_xor_si128(last, _mm_bslli_si128(last, 8));
    return _mm_xor_si128(last, word);
}

/*
 * SubWord of the last word of `a`, in all four places, xor `add`: where all columns are the
 * same the last round of AES does nothing but that.
 */
INLINE __m128i sub_word(__m128i a, __m128i add)
{
    return _mm_aesenclast_si128(_mm_shuffle_epi32(a, 0xff), add);
}

/* The same with RotWord first. `rcon` is (Rcon) in all four places. */
INLINE __m128i sub_rot_word(__m128i a, __m128i rcon)
{
    a = _mm_shuffle_epi32(a, 0xff);
    a = _mm_or_si128(_mm_srli_epi32(a, 8), _mm_slli_epi32(a, 24));
    return _mm_aesenclast_si128(a, rcon);
}

/* FIPS 197 5.2. */
INLINE void expand(struct gcm_vaes *k, const uint8_t *key)
{
    const __m128i zero = _mm_setzero_si128();
    uint32_t rcon = 1;

    k->round[0] = _mm_loadu_si128((const __m128i *)key);
    if (!k->is_256) {
        for (int i = 1; i <= ROUNDS_128; i++) {
            k->round[i] = next_round(k->round[i - 1],
                                     sub_rot_word(k->round[i - 1], _mm_set1_epi32((int)rcon)));
            rcon = i == 8 ? 0x1b : rcon << 1;
        }
        return;
    }
    k->round[1] = _mm_loadu_si128((const __m128i *)(key + BLOCK));
    for (int i = 2; i <= ROUNDS_256; i++) {
        __m128i last = k->round[i - 1];

        last = i % 2 ? sub_word(last, zero) : sub_rot_word(last, _mm_set1_epi32((int)rcon));
        k->round[i] = next_round(k->round[i - 2], last);
        rcon <<= i % 2;
    }
}

/* The powers of H, the cipher of zeros. */
INLINE void make_powers(struct gcm_vaes *k)
{
    const __m128i zero = _mm_setzero_si128();
    __m128i h = k->round[0], carry;
    int rounds = k->is_256 ? ROUNDS_256 : ROUNDS_128;

    for (int r = 1; r < rounds; r++)
        h = _mm_aesenc_si128(h, k->round[r]);
    h = reversed(_mm_aesenclast_si128(h, k->round[rounds]));
    /* Divided by x: a shift by one in 128 bits, and what falls off is x^-1. */
    carry = _mm_shuffle_epi32(_mm_srai_epi32(h, 31), 0xff);
    carry = _mm_and_si128(carry, _mm_set_epi64x(POLY_HIGH, 1));
    h = _mm_or_si128(_mm_slli_epi64(h, 1), _mm_bslli_si128(_mm_srli_epi64(h, 63), 8));
    h = _mm_xor_si128(h, carry);
    for (int i = POWERS - 1; i >= 0; i--) {
        k->power[i] = h;
        k->folded[i] = _mm_xor_si128(h, _mm_shuffle_epi32(h, 0x4e));
        h = hash_pair(k, zero, h);
    }
}

static TARGET struct gcm_vaes *make(const uint8_t *key, size_t n)
{
    _Static_assert(sizeof(struct gcm_vaes) % 16 == 0, "so is the space it's cut from");
    void *block = OPENSSL_zalloc(sizeof(struct gcm_vaes) + 64);
    struct gcm_vaes *k;

    if (!block)
        return NULL;
    k = (struct gcm_vaes *)(((uintptr_t)block + 63) & ~(uintptr_t)63);
    k->block = block;
    k->is_256 = n == 32;
    expand(k, key);
    make_powers(k);
    return k;
}

void gcm_vaes_del(struct gcm_vaes *k)
{
    if (k)
        OPENSSL_clear_free(k->block, sizeof(struct gcm_vaes) + 64);
}

struct gcm_vaes *gcm_vaes_new(const uint8_t *key, size_t n)
{
    return (n == 16 || n == 32) && !gcm_vaes_off() ? make(key, n) : NULL;
}

/* ---- may it be used? ----------------------------------------------------------------- */

/* The processor has the instructions, and the kernel saves their registers. */
static bool processor_has(void)
{
    const unsigned ecx1 = bit_AES | bit_PCLMUL | bit_SSSE3 | bit_SSE4_1 | bit_OSXSAVE | bit_AVX;
    const unsigned ecx7 = 1u << 9 | 1u << 10; /* VAES, VPCLMULQDQ */
    unsigned a, b, c, d, xcr0, xcr0_high;

    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & ecx1) != ecx1)
        return false;
    __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(xcr0_high) : "c"(0));
    if ((xcr0 & 6) != 6) /* SSE and AVX state */
        return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2) && (c & ecx7) == ecx7;
}

size_t gcm_vaes_large(void)
{
    bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");

    return wide ? GCM_LARGE : SIZE_MAX;
}

#define TEST_MAX 1600 /* bytes of a packet in the comparison */
#define TEST_AAD 64

/* What libcrypto makes of it. */
static bool evp_seal(const uint8_t *key, size_t key_n, const uint8_t iv[GCM_IV],
                     struct span aad, const uint8_t *in, size_t n, uint8_t *out)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int len;
    bool ok = ctx &&
              EVP_EncryptInit_ex2(ctx, key_n == 32 ? EVP_aes_256_gcm() : EVP_aes_128_gcm(), key,
                                  iv, NULL) &&
              (aad.n == 0 || EVP_EncryptUpdate(ctx, NULL, &len, aad.p, (int)aad.n)) &&
              (n == 0 || EVP_EncryptUpdate(ctx, out, &len, in, (int)n)) &&
              EVP_EncryptFinal_ex(ctx, out + n, &len) &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, GCM_TAG, out + n) > 0;

    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

/* Both ways, and a tag with one bit changed. */
static bool same(const struct gcm_vaes *k, const uint8_t iv[GCM_IV], struct span aad,
                 const uint8_t *in, size_t n, const uint8_t *want)
{
    uint8_t got[TEST_MAX + GCM_TAG];
    size_t bit = (n + aad.n) % (8 * GCM_TAG);

    gcm_vaes_seal(k, iv, aad, in, n, got);
    if (memcmp(got, want, n + GCM_TAG) != 0 || !gcm_vaes_open(k, iv, aad, got, n) ||
        memcmp(got, in, n) != 0)
        return false;
    memcpy(got, want, n + GCM_TAG);
    got[n + bit / 8] ^= (uint8_t)(1u << bit % 8);
    return !gcm_vaes_open(k, iv, aad, got, n);
}

/* The blocks of `in`, of which TEST_MAX bytes are given, enciphered. */
static bool same_masks(const struct gcm_vaes *k, const uint8_t *key, size_t key_n,
                       const uint8_t *in, size_t n)
{
    uint8_t want[TEST_MAX], got[TEST_MAX / BLOCK][GCM_MASK];
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int len;
    bool ok = ctx &&
              EVP_EncryptInit_ex2(ctx, key_n == 32 ? EVP_aes_256_ecb() : EVP_aes_128_ecb(), key,
                                  NULL, NULL) &&
              EVP_CIPHER_CTX_set_padding(ctx, 0) &&
              EVP_EncryptUpdate(ctx, want, &len, in, (int)(n * BLOCK));

    EVP_CIPHER_CTX_free(ctx);
    gcm_vaes_masks(k, (const uint8_t(*)[GCM_SAMPLE])in, n, got);
    for (size_t i = 0; ok && i < n; i++)
        ok = memcmp(got[i], want + i * BLOCK, GCM_MASK) == 0;
    return ok;
}

/* Cases 4 and 16 of McGrew and Viega, "The Galois/Counter Mode of Operation". */
static bool known_answers(void)
{
    static const uint8_t key[32] = {0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c,
                                    0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08,
                                    0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c,
                                    0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08};
    static const uint8_t iv[GCM_IV] = {0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce,
                                       0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88};
    static const uint8_t aad[20] = {0xfe, 0xed, 0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xfe, 0xed,
                                    0xfa, 0xce, 0xde, 0xad, 0xbe, 0xef, 0xab, 0xad, 0xda, 0xd2};
    static const uint8_t in[60] = {0xd9, 0x31, 0x32, 0x25, 0xf8, 0x84, 0x06, 0xe5, 0xa5, 0x59,
                                   0x09, 0xc5, 0xaf, 0xf5, 0x26, 0x9a, 0x86, 0xa7, 0xa9, 0x53,
                                   0x15, 0x34, 0xf7, 0xda, 0x2e, 0x4c, 0x30, 0x3d, 0x8a, 0x31,
                                   0x8a, 0x72, 0x1c, 0x3c, 0x0c, 0x95, 0x95, 0x68, 0x09, 0x53,
                                   0x2f, 0xcf, 0x0e, 0x24, 0x49, 0xa6, 0xb5, 0x25, 0xb1, 0x6a,
                                   0xed, 0xf5, 0xaa, 0x0d, 0xe6, 0x57, 0xba, 0x63, 0x7b, 0x39};
    static const uint8_t want[2][60 + GCM_TAG] = {
        {0x42, 0x83, 0x1e, 0xc2, 0x21, 0x77, 0x74, 0x24, 0x4b, 0x72, 0x21, 0xb7, 0x84,
         0xd0, 0xd4, 0x9c, 0xe3, 0xaa, 0x21, 0x2f, 0x2c, 0x02, 0xa4, 0xe0, 0x35, 0xc1,
         0x7e, 0x23, 0x29, 0xac, 0xa1, 0x2e, 0x21, 0xd5, 0x14, 0xb2, 0x54, 0x66, 0x93,
         0x1c, 0x7d, 0x8f, 0x6a, 0x5a, 0xac, 0x84, 0xaa, 0x05, 0x1b, 0xa3, 0x0b, 0x39,
         0x6a, 0x0a, 0xac, 0x97, 0x3d, 0x58, 0xe0, 0x91, 0x5b, 0xc9, 0x4f, 0xbc, 0x32,
         0x21, 0xa5, 0xdb, 0x94, 0xfa, 0xe9, 0x5a, 0xe7, 0x12, 0x1a, 0x47},
        {0x52, 0x2d, 0xc1, 0xf0, 0x99, 0x56, 0x7d, 0x07, 0xf4, 0x7f, 0x37, 0xa3, 0x2a,
         0x84, 0x42, 0x7d, 0x64, 0x3a, 0x8c, 0xdc, 0xbf, 0xe5, 0xc0, 0xc9, 0x75, 0x98,
         0xa2, 0xbd, 0x25, 0x55, 0xd1, 0xaa, 0x8c, 0xb0, 0x8e, 0x48, 0x59, 0x0d, 0xbb,
         0x3d, 0xa7, 0xb0, 0x8b, 0x10, 0x56, 0x82, 0x88, 0x38, 0xc5, 0xf6, 0x1e, 0x63,
         0x93, 0xba, 0x7a, 0x0a, 0xbc, 0xc9, 0xf6, 0x62, 0x76, 0xfc, 0x6e, 0xce, 0x0f,
         0x4e, 0x17, 0x68, 0xcd, 0xdf, 0x88, 0x53, 0xbb, 0x2d, 0x55, 0x1b}};
    bool ok = true;

    for (size_t i = 0; i < 2; i++) {
        struct gcm_vaes *k = make(key, 16 * (i + 1));

        ok = ok && k && same(k, iv, span_of(aad, sizeof(aad)), in, sizeof(in), want[i]);
        gcm_vaes_del(k);
    }
    return ok;
}

/* A number that nobody needs to guess (Knuth's linear congruence). */
static uint32_t noise(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

/* Packets of many lengths and both key sizes against libcrypto. */
static bool like_libcrypto(void)
{
    uint8_t key[32], iv[GCM_IV], aad[TEST_AAD], in[TEST_MAX], want[TEST_MAX + GCM_TAG];
    uint64_t state = 1;

    for (size_t i = 0; i < 160; i++) {
        size_t key_n = i % 2 ? 32 : 16, most = i < 80 ? 288 : TEST_MAX;
        size_t n = noise(&state) % most, aad_n = noise(&state) % TEST_AAD;
        struct gcm_vaes *k;
        bool ok;

        for (size_t j = 0; j < sizeof(key); j++)
            key[j] = (uint8_t)noise(&state);
        for (size_t j = 0; j < sizeof(iv); j++)
            iv[j] = (uint8_t)noise(&state);
        for (size_t j = 0; j < aad_n; j++)
            aad[j] = (uint8_t)noise(&state);
        for (size_t j = 0; j < n; j++)
            in[j] = (uint8_t)noise(&state);
        k = make(key, key_n);
        ok = k && evp_seal(key, key_n, iv, span_of(aad, aad_n), in, n, want) &&
             same(k, iv, span_of(aad, aad_n), in, n, want) &&
             same_masks(k, key, key_n, in, i % (TEST_MAX / BLOCK));
        gcm_vaes_del(k);
        if (!ok)
            return false;
    }
    return true;
}

const char *gcm_vaes_off(void)
{
    static const char *const why[] = {NULL, "the processor has no VAES",
                                      "it fails its known answers",
                                      "it differs from libcrypto"};
    static atomic_int known = -1;
    int v = atomic_load_explicit(&known, memory_order_acquire);

    /* Two threads may both look; they find the same. */
    if (v < 0) {
        v = !processor_has() ? 1 : !known_answers() ? 2 : !like_libcrypto() ? 3 : 0;
        atomic_store_explicit(&known, v, memory_order_release);
    }
    return why[v];
}

#else

const char *gcm_vaes_off(void)
{
    return "not built for this processor, or by a compiler without VAES";
}

size_t gcm_vaes_large(void)
{
    return SIZE_MAX;
}

struct gcm_vaes *gcm_vaes_new(const uint8_t *key, size_t n)
{
    (void)key, (void)n;
    return NULL;
}

void gcm_vaes_del(struct gcm_vaes *k)
{
    (void)k;
}

void gcm_vaes_seal(const struct gcm_vaes *k, const uint8_t iv[GCM_IV], struct span aad,
                   const uint8_t *in, size_t n, uint8_t *out)
{
    (void)k, (void)iv, (void)aad, (void)in, (void)n, (void)out;
}

bool gcm_vaes_open(const struct gcm_vaes *k, const uint8_t iv[GCM_IV], struct span aad,
                   uint8_t *inout, size_t n)
{
    (void)k, (void)iv, (void)aad, (void)inout, (void)n;
    return false;
}

void gcm_vaes_masks(const struct gcm_vaes *k, const uint8_t (*samples)[GCM_SAMPLE], size_t n,
                    uint8_t (*masks)[GCM_MASK])
{
    (void)k, (void)samples, (void)n, (void)masks;
}

#endif
