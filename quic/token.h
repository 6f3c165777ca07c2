/*
 * token - address validation tokens of a server that remembers nothing (RFC 9000 8.1).
 *
 * A token is sealed for the address it is given to, and says until when it holds. There are
 * two kinds, told apart by their first byte (8.1.1):
 *
 *     Retry      bound to IP address and port, TOKEN_RETRY_LIFE; carries the connection IDs
 *                that the server has to repeat in its transport parameters (7.3)
 *     NEW_TOKEN  bound to the IP address alone, TOKEN_NEW_LIFE
 *
 *     type (1) | salt (16) | AES-128-GCM of { expiry (8), connection IDs } | tag (16)
 *
 * Key and nonce of each token are HMAC-SHA256(key, salt) with a random salt, so the kept key
 * may be used for longer than a random nonce would allow. The address is associated data.
 *
 * Time: the expiry is in Unix time where the embedder tells it, so that tokens survive a
 * restart of the server with the same secret. Without, it is in `now`, and the key is drawn
 * at random: such a clock means nothing to another process.
 *
 * Limits: a token can be used more than once until it expires, by whoever receives at the
 * address that it is bound to: it takes the anti-amplification limit away from no other
 * address. Nothing here is secret-dependent in time: tags are compared by libcrypto.
 */
#ifndef QUIC_TOKEN_H
#define QUIC_TOKEN_H

#include "quic/packet.h"
#include "quic/quic.h"

#define TOKEN_SALT       16
#define TOKEN_NEW_SIZE   (1 + TOKEN_SALT + 8 + QUIC_TAG)
#define TOKEN_RETRY_SIZE (TOKEN_NEW_SIZE + 2 * (1 + QUIC_CID_MAX))

#define TOKEN_RETRY_LIFE (10 * NS_PER_S)
#define TOKEN_NEW_LIFE   (24 * 3600 * NS_PER_S)

struct token_key {
    uint8_t b[32];
    ns_t unix_offset; /* Unix time minus `now`; 0: unknown */
};

/*
 * Derive the key from a kept secret, or, where `unix_offset` is 0, draw it.
 * Returns 0 or QUIC_NOMEM (libcrypto failed).
 */
int token_key_init(struct token_key *k, const uint8_t secret[32], ns_t unix_offset,
                   const struct rng *rng);

/* What a Retry token carries: the client's first destination ID, and the Retry's source ID. */
struct token_retry {
    struct quic_cid original_dcid, scid;
};

/*
 * Make a token for the client at `addr`.
 * Returns 0, or QUIC_NOMEM (libcrypto failed).
 */
int token_seal_retry(const struct token_key *k, const struct rng *rng,
                     const struct quic_addr *addr, ns_t now, const struct token_retry *retry,
                     uint8_t out[TOKEN_RETRY_SIZE]);
int token_seal_new(const struct token_key *k, const struct rng *rng,
                   const struct quic_addr *addr, ns_t now, uint8_t out[TOKEN_NEW_SIZE]);

enum token_verdict {
    TOKEN_NONE,       /* none, or of unknown origin, or a NEW_TOKEN that doesn't hold */
    TOKEN_NEW,        /* proves the IP address */
    TOKEN_RETRY,      /* proves IP address and port; `retry` is filled */
    TOKEN_RETRY_WRONG /* a Retry token that doesn't hold: INVALID_TOKEN (RFC 9000 8.1.2) */
};

/* Judge the token of an Initial that came from `addr`. `retry` is written for TOKEN_RETRY. */
enum token_verdict token_open(const struct token_key *k, struct span token,
                              const struct quic_addr *addr, ns_t now,
                              struct token_retry *retry);

#endif
