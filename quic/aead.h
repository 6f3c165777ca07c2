/*
 * aead - packet protection: keys, nonces, seal, open, header protection, key update
 * (RFC 9001 5 and 6, RFC 10069 2.4).
 *
 * One `struct aead` is one direction under one key. It holds an EVP_CIPHER_CTX that got
 * its key once; a packet only sets the nonce. Header protection has an EVP context of
 * its own. Where the processor can, AES of both is done by quic/gcm_vaes instead, which gives the
 * same bytes in less time.
 * Contexts are owned: aead_free ends them and wipes the secret; a `struct aead` may be moved
 * by assignment as long as only one copy is used and freed. A zeroed one is empty and may be
 * freed.
 *
 * The nonce is IV xor (32-bit path ID || 64-bit packet number). With path 0 that is RFC
 * 9001's nonce; only 1-RTT packets of a multipath connection have another.
 *
 * Limits (RFC 9001 6.6): `used` counts sealed packets, `failed` packets that did not open.
 * aead_seal refuses to pass aead_seal_limit; the connection updates keys before. When
 * `failed` reaches aead_open_limit, summed over key generations, the connection must close
 * with AEAD_LIMIT_REACHED.
 */
#ifndef QUIC_AEAD_H
#define QUIC_AEAD_H

#include <openssl/evp.h>

#include "quic/packet.h"

#define AEAD_SECRET_MAX 48
#define AEAD_KEY_MAX    32
#define AEAD_IV         12
#define AEAD_SAMPLE     16 /* ciphertext bytes that header protection samples */
#define AEAD_MASK       5
/* Bytes of packet number and ciphertext that must follow pn_offset (RFC 9001 5.4.2). */
#define AEAD_SAMPLE_END (4 + AEAD_SAMPLE)

enum aead_id { AEAD_AES_128_GCM, AEAD_AES_256_GCM, AEAD_CHACHA20_POLY1305 };

/* The hash that goes with a cipher suite: SHA-256 but for AES-256, which has SHA-384. */
enum aead_hash { AEAD_SHA256, AEAD_SHA384 };

struct aead {
    struct gcm_vaes *gcm;  /* keyed, for less than `large` bytes; NULL where EVP does it, */
    EVP_CIPHER_CTX *ctx;   /* by this, which is NULL where it is never the faster one */
    struct gcm_vaes *mask; /* the same for header protection */
    EVP_CIPHER_CTX *hp;
    size_t large;    /* bytes, from which on `ctx` is the faster one; 0 without `gcm` */
    uint64_t used;   /* packets sealed */
    uint64_t failed; /* packets that failed to open */
    enum aead_id id;
    bool seal; /* direction */
    uint8_t secret_len;
    uint8_t iv[AEAD_IV];
    uint8_t secret[AEAD_SECRET_MAX]; /* for the next generation */
    uint8_t hp_key[AEAD_KEY_MAX];    /* carried into the next generation */
};

/*
 * Derive key, IV and header protection key from a traffic secret (RFC 9001 5.1).
 * `secret` has 32 bytes, or 48 for AES-256; `seal` tells the direction.
 *
 * Returns 0, QUIC_INVAL for a wrong secret length, QUIC_NOMEM when libcrypto failed; on
 * failure `a` is empty.
 */
int aead_init(struct aead *a, enum aead_id id, struct span secret, bool seal);

/* Free the contexts and wipe the secrets; `a` is empty afterwards. NULL is fine. */
void aead_free(struct aead *a);

static inline bool aead_ready(const struct aead *a)
{
    return a->mask || a->hp;
}

/*
 * Whether keys made from now on may use quic/gcm_vaes (they may, where it works): for tests and
 * benchmarks that compare, and for a user who doesn't trust it. Not for threads.
 */
void aead_set_vaes(bool on);

/* What does AES-GCM, and why, in one line for a person. `out` is of `n` bytes. */
void aead_describe(char *out, size_t n);

/*
 * The two Initial keys that follow from the client's first Destination Connection ID, or
 * from the Retry's Source Connection ID (RFC 9001 5.2). `client` protects what the client
 * sends; each comes out ready to seal or to open, as `i_am_server` says.
 *
 * Returns 0 or QUIC_NOMEM, and both are empty then.
 */
int aead_initial(struct aead *client, struct aead *server, const struct quic_cid *dcid,
                 bool i_am_server);

/*
 * The next key generation (RFC 9001 6.1): a new secret, key and IV in `next`, the same
 * header protection key, counters at zero. `cur` stays as it is.
 *
 * Returns 0 or QUIC_NOMEM.
 */
int aead_next(struct aead *next, const struct aead *cur);

/*
 * Seal `n` bytes at `in` to `out`, which gets n + QUIC_TAG bytes. `in` may equal `out`; other
 * overlap is not allowed. `aad` is the packet's header, packet number included, not yet
 * masked. `path_id` is 0 except on 1-RTT packets of a multipath connection.
 *
 * Returns 0, QUIC_INVAL when `a` is not for sealing, QUIC_CLOSED when the key has reached
 * its limit (nothing is written), QUIC_NOMEM when libcrypto failed.
 */
int aead_seal(struct aead *a, uint32_t path_id, uint64_t pn, struct span aad, const uint8_t *in,
              size_t n, uint8_t *out);

/*
 * Open the `n` bytes at `inout`, the last QUIC_TAG of which are the tag, in place; the
 * plaintext has n - QUIC_TAG bytes.
 *
 * Returns 0, or QUIC_DROP if it isn't authentic (counted in `failed`) or shorter than a
 * tag. The bytes before the tag of what isn't authentic are wiped; the last QUIC_TAG bytes are as
 * they were, so that a stateless reset token can still be looked for.
 */
int aead_open(struct aead *a, uint32_t path_id, uint64_t pn, struct span aad, uint8_t *inout,
              size_t n);

/*
 * Header protection masks of `n` samples at once; for AES one cipher call makes many
 * (RFC 9001 5.4.3, 5.4.4). Returns 0, or QUIC_NOMEM when libcrypto failed.
 */
int aead_masks(struct aead *a, const uint8_t (*samples)[AEAD_SAMPLE], size_t n,
               uint8_t (*masks)[AEAD_MASK]);

/*
 * Xor a mask into the first byte and the packet number of a header that is to be sent. At least 4
 * bytes must follow pn_offset, as there are where a sample could be taken.
 */
void aead_mask_head(uint8_t *packet, size_t pn_offset, size_t pn_len,
                    const uint8_t mask[AEAD_MASK]);

/*
 * The reverse on a received header: first byte in clear, packet number length (1..4) and
 * its truncated value out. At least 4 bytes must follow pn_offset.
 */
void aead_unmask_head(uint8_t *packet, size_t pn_offset, const uint8_t mask[AEAD_MASK],
                      size_t *pn_len, uint64_t *truncated);

/*
 * Mask the header of a sealed packet in place: one sample, taken 4 bytes after `pn_offset`,
 * which must exist (AEAD_SAMPLE_END). Returns 0 or QUIC_NOMEM.
 */
int aead_protect_head(struct aead *a, uint8_t *packet, size_t pn_offset, size_t pn_len);

/*
 * Unmask the header of a received packet of `n` bytes in place. The reserved bits may only
 * be judged after the packet was opened (RFC 9001 9.5).
 *
 * Returns 0, or QUIC_DROP where there are not AEAD_SAMPLE_END bytes after `pn_offset`.
 */
int aead_unprotect_head(struct aead *a, uint8_t *packet, size_t n, size_t pn_offset,
                        size_t *pn_len, uint64_t *truncated);

/* Packets that may be sealed, and packets that may fail to open, under a cipher. */
uint64_t aead_seal_limit(enum aead_id id);
uint64_t aead_open_limit(enum aead_id id);

/* The nonce of a packet. */
void aead_nonce(const uint8_t iv[AEAD_IV], uint32_t path_id, uint64_t pn,
                uint8_t nonce[AEAD_IV]);

/*
 * HKDF-Expand-Label with an empty context (RFC 8446 7.1): `label` without "tls13 ". At most
 * one hash length of output. Returns 0, QUIC_INVAL, or QUIC_NOMEM when libcrypto failed.
 */
int hkdf_expand_label(enum aead_hash hash, struct span secret, const char *label, uint8_t *out,
                      size_t n);

/* HKDF-Extract with SHA-256 (RFC 5869 2.2). Returns 0 or QUIC_NOMEM. */
int hkdf_extract(struct span salt, struct span ikm, uint8_t out[32]);

/*
 * The stateless reset token that a server with the static `key` gives to `cid`: HMAC-SHA-256,
 * cut to 16 bytes (RFC 9000 10.3.2). Returns 0 or QUIC_NOMEM.
 */
int stateless_reset_token(const uint8_t key[32], const struct quic_cid *cid, uint8_t out[16]);

/* Whether `n` bytes are equal, in a time that depends on `n` only. */
bool bytes_equal_ct(const void *a, const void *b, size_t n);

#endif
