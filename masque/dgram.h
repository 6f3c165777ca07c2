/*
 * dgram - HTTP/3 datagrams: what stands before the payload (RFC 9297 2.1, RFC 9484 6).
 *
 *     QUIC DATAGRAM frame data = quarter stream ID (varint) || HTTP datagram payload
 *     HTTP datagram payload    = context ID (varint) || IP packet, for context 0
 */
#ifndef MASQUE_DGRAM_H
#define MASQUE_DGRAM_H

#include "masque/error.h"
#include "quic/types.h"

#define DGRAM_PREFIX_MAX  16                        /* two varints at their longest */
#define DGRAM_QUARTER_MAX (((uint64_t)1 << 60) - 1) /* RFC 9297 2.1 */

/*
 * Split the data of one QUIC DATAGRAM frame into the request stream it belongs to
 * and the HTTP datagram payload (borrowed from `data`, possibly empty).
 *
 * Returns 0, or MASQUE_H3_DATAGRAM_ERROR, a *connection* error, if the quarter
 * stream ID is cut short or above 2^60-1 (RFC 9297 2.1).
 */
int masque_dgram_decode(struct span data, uint64_t *stream_id, struct span *payload);

/*
 * Split an HTTP datagram payload of an IP proxying request into context ID and the
 * rest (borrowed, possibly empty) (RFC 9484 6).
 *
 * Returns 0, or QUIC_DROP if the context ID is cut short: nothing can be done with it.
 */
int masque_dgram_context(struct span payload, uint64_t *context, struct span *rest);

/*
 * Write the bytes that go before an IP packet in a DATAGRAM frame of the request on
 * `stream_id` (a client-initiated bidirectional stream: a multiple of 4).
 *
 * Returns their number, at most DGRAM_PREFIX_MAX; 0 if `stream_id` or `context` is
 * not a legal one.
 */
size_t masque_dgram_prefix(uint64_t stream_id, uint64_t context, uint8_t out[DGRAM_PREFIX_MAX]);

#endif
