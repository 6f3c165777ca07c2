/*
 * micro_aead - packet protection by aead_seal, aead_open and aead_masks.
 *
 *     seal cipher=C by=K bytes=N   one packet of N bytes of frames and 11 of header, out of place
 *     open cipher=C by=K bytes=N   the same one in place, with its tag checked
 *     mask cipher=C batch=N        one header protection mask of N made by one call
 *
 * K is vaes where the processor has that kernel (quic/gcm_vaes), and evp.
 *
 * Packets lie in a buffer of one train, TRAIN of them side by side, as on a socket.
 */
#include "bench/bench.h"

#include "quic/aead.h"
#include "quic/gcm_vaes.h"

#include <string.h>

#define TRAIN 45
#define BYTES 1400
#define HEAD  11 /* flags, connection ID of 8, packet number of 2 */

struct packets {
    struct aead tx, rx;
    enum aead_id id;
    size_t bytes; /* of frames in each */
    uint8_t head[HEAD];
    uint8_t plain[TRAIN * BYTES], sealed[TRAIN * (BYTES + QUIC_TAG)];
};

static const struct cipher {
    const char *name;
    enum aead_id id;
    size_t secret_len;
} ciphers[] = {{"aes-128-gcm", AEAD_AES_128_GCM, 32},
               {"aes-256-gcm", AEAD_AES_256_GCM, 48},
               {"chacha20-poly1305", AEAD_CHACHA20_POLY1305, 32}};

static void make_keys(struct packets *p)
{
    static const uint8_t secret[48] = {7};
    struct span s = span_of(secret, ciphers[p->id].secret_len);

    aead_free(&p->tx);
    aead_free(&p->rx);
    BENCH_CHECK(aead_init(&p->tx, p->id, s, true) == 0);
    BENCH_CHECK(aead_init(&p->rx, p->id, s, false) == 0);
}

/* The place of packet `i` among the sealed ones. */
static uint8_t *slot(struct packets *p, size_t i)
{
    return p->sealed + i * (p->bytes + QUIC_TAG);
}

static void seal(void *ctx, uint64_t n)
{
    struct packets *p = ctx;

    if (p->tx.used + n > aead_seal_limit(p->id))
        make_keys(p);
    for (uint64_t i = 0; i < n; i++)
        BENCH_CHECK(aead_seal(&p->tx, 0, i, span_of(p->head, HEAD),
                              p->plain + i % TRAIN * p->bytes, p->bytes,
                              slot(p, i % TRAIN)) == 0);
}

static void seal_train(void *ctx)
{
    seal(ctx, TRAIN);
}

static void open_train(void *ctx, uint64_t n)
{
    struct packets *p = ctx;

    for (uint64_t i = 0; i < n; i++)
        BENCH_CHECK(aead_open(&p->rx, 0, i, span_of(p->head, HEAD), slot(p, i),
                              p->bytes + QUIC_TAG) == 0);
}

/* What seal and open make of a train is what went in. */
static void verify(struct packets *p)
{
    for (size_t i = 0; i < p->bytes * TRAIN; i++)
        p->plain[i] = (uint8_t)(i * 7 + i / 256);
    seal_train(p);
    open_train(p, TRAIN);
    for (size_t i = 0; i < TRAIN; i++)
        BENCH_CHECK(memcmp(slot(p, i), p->plain + i * p->bytes, p->bytes) == 0);
}

static size_t mask_batch;

static void masks(void *ctx, uint64_t n)
{
    static const uint8_t samples[64][AEAD_SAMPLE];
    static uint8_t out[64][AEAD_MASK];
    struct packets *p = ctx;

    for (uint64_t i = 0; i < n; i++)
        BENCH_CHECK(aead_masks(&p->tx, samples, mask_batch, out) == 0);
}

/* All sizes under the cipher of `p`. */
static void packets(struct packets *p, const char *name, bool vaes)
{
    static const size_t sizes[] = {64, 576, 1200, 1350, 1400};
    const struct bench sealing = {.run = seal, .ctx = p};
    const struct bench opening = {
        .run = open_train, .ctx = p, .prepare = seal_train, .batch = TRAIN};
    const char *by = vaes ? "vaes" : "evp";

    aead_set_vaes(vaes);
    make_keys(p);
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
        p->bytes = sizes[s];
        verify(p);
        bench_line(&sealing, "seal cipher=%s by=%s bytes=%zu", name, by, p->bytes);
        bench_line(&opening, "open cipher=%s by=%s bytes=%zu", name, by, p->bytes);
    }
}

int main(void)
{
    static const size_t batches[] = {1, 16, TRAIN};
    static struct packets p;
    const struct bench masking = {.run = masks, .ctx = &p};

    for (size_t c = 0; c < ARRAY_LEN(ciphers); c++) {
        const char *name = ciphers[c].name;

        p.id = ciphers[c].id;
        if (p.id != AEAD_CHACHA20_POLY1305 && !gcm_vaes_off())
            packets(&p, name, true);
        packets(&p, name, false);
        for (size_t b = 0; b < ARRAY_LEN(batches); b++) {
            mask_batch = batches[b];
            printf("mask cipher=%s batch=%zu ns=%.1f\n", name, mask_batch,
                   bench_ns(&masking) / (double)mask_batch);
        }
    }
    aead_free(&p.tx);
    aead_free(&p.rx);
    return 0;
}
