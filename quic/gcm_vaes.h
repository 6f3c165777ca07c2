/*
 * gcm_vaes - AES-GCM by VAES and VPCLMULQDQ on 256-bit registers, for x86-64 processors that
 * have them (with or without AVX-512). It does what libcrypto's EVP does for the same key,
 * nonce and bytes, in less time, above all for the fixed part of each packet.
 *
 * The way of use: ask gcm_vaes_off once; if it has nothing to say, gcm_vaes_new makes keys. On
 * other processors, architectures and with compilers that don't know the instructions the
 * functions exist, gcm_vaes_off says why not, and gcm_vaes_new gives NULL.
 *
 * Theory: two blocks lie in a register, 16 blocks are a chunk. The key object holds the round
 * keys and the powers H^1 to H^18 of the hash key, so that the products of a whole chunk, or
 * of all that comes after the last one together with the block of lengths, are added up
 * unreduced and reduced once. While one chunk is enciphered another is hashed: when opening,
 * the same one; when sealing, the one before, the ciphertext of which is there already.
 *
 * Time and memory accesses depend on the lengths, never on key, nonce or bytes: there is no
 * table and no branch on them. A key object is read only after it was made, so threads may
 * share it.
 *
 * The same object serves as a header protection key (RFC 9001 5.4.3), for which only its round
 * keys are needed: masks are AES of one block each, eight at a time.
 *
 * Released bytes: opening deciphers while it hashes. If the tag is wrong, what was written is
 * wiped before gcm_vaes_open returns, so the caller never sees anything of an unauthentic packet.
 */
#ifndef QUIC_GCM_VAES_H
#define QUIC_GCM_VAES_H

#include "quic/types.h"

#define GCM_IV  12
#define GCM_TAG 16

#define GCM_SAMPLE 16
#define GCM_MASK   5

struct gcm_vaes;

/*
 * NULL if the kernel may be used in this process, else why not, for a person. The first call
 * looks at the processor and compares the kernel with known answers and with libcrypto on many
 * lengths (under a millisecond); any difference rules it out for good.
 */
const char *gcm_vaes_off(void);

/*
 * The size from which on libcrypto's own kernel is the faster one: GCM_LARGE where the processor
 * has the AVX-512 that it takes, else SIZE_MAX.
 */
size_t gcm_vaes_large(void);

#define GCM_LARGE 3000 /* bytes; measured */

/*
 * A key object of the `n` bytes at `key`: 16 (AES-128) or 32 (AES-256). NULL where
 * gcm_vaes_off has a reason, for another `n`, or if there is no memory. It lies on libcrypto's
 * heap.
 */
struct gcm_vaes *gcm_vaes_new(const uint8_t *key, size_t n);

/* Wipe and free. NULL is fine. */
void gcm_vaes_del(struct gcm_vaes *k);

/*
 * Seal the `n` bytes at `in` to `out`, which gets n + GCM_TAG bytes. `in` may equal `out`;
 * other overlap is not allowed. `aad` may be empty, `n` 0 to 2^31.
 */
void gcm_vaes_seal(const struct gcm_vaes *k, const uint8_t iv[GCM_IV], struct span aad,
                   const uint8_t *in, size_t n, uint8_t *out);

/*
 * Open in place: `n` bytes of ciphertext at `inout`, a tag of GCM_TAG bytes behind them, which
 * stays as it is.
 *
 * Returns whether it is authentic. If not, the `n` bytes are zeros.
 */
bool gcm_vaes_open(const struct gcm_vaes *k, const uint8_t iv[GCM_IV], struct span aad,
                   uint8_t *inout, size_t n);

/* The first GCM_MASK bytes of AES of each of `n` samples. */
void gcm_vaes_masks(const struct gcm_vaes *k, const uint8_t (*samples)[GCM_SAMPLE], size_t n,
                    uint8_t (*masks)[GCM_MASK]);

#endif
