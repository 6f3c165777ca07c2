/*
 * initial - what a server does with a client's Initial while there is no connection: look
 * whether it is authentic, ask for a proof of the address by a Retry, refuse (RFC 9000 8.1).
 *
 * No state. Answers are whole datagrams, each shorter than the one that it answers.
 */
#ifndef QUIC_INITIAL_H
#define QUIC_INITIAL_H

#include "quic/token.h"

#define INITIAL_SCRATCH 16384 /* longest Initial that is looked at */
#define INITIAL_ANSWER  256   /* longest answer */

/*
 * Whether the Initial with header `h` at `p` opens with the keys that its destination ID
 * gives. Made on a copy in `scratch`, so that `p` stays as it came.
 */
bool initial_opens(const uint8_t *p, const struct packet_head *h,
                   uint8_t scratch[INITIAL_SCRATCH]);

/*
 * Write a Retry for the Initial `h` that came from `addr`: a new source ID of `cid_len`
 * bytes, but at least the 8 of a client's choice (RFC 9000 7.2), and a token with it.
 *
 * Returns its length, or 0 if libcrypto failed.
 */
size_t initial_retry(uint8_t out[INITIAL_ANSWER], const struct token_key *key,
                     const struct rng *rng, size_t cid_len, const struct packet_head *h,
                     const struct quic_addr *addr, ns_t now);

/*
 * Write an Initial with CONNECTION_CLOSE of `code`, for a client that gets no connection
 * (RFC 9000 8.1.2). Returns its length, or 0 if libcrypto failed.
 */
size_t initial_refuse(uint8_t out[INITIAL_ANSWER], const struct packet_head *h, uint64_t code);

#endif
