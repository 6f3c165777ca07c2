/*
 * peek - what is in a 1-RTT packet on the way, with the keys of the connection it is for.
 */
#ifndef SIM_PEEK_H
#define SIM_PEEK_H

#include "quic/conn.h"
#include "test/sim/net.h"

/*
 * Count the frames of the packet by type (below `n`) in `frames`. False if it is no 1-RTT
 * packet that `to` could open now. Changes neither.
 */
bool peek_frames(const struct quic_conn *to, const struct sim_packet *packet, unsigned *frames,
                 size_t n);

/* The destination connection ID of a datagram's first packet, with IDs of 8 bytes. */
struct quic_cid peek_dcid(const struct sim_packet *packet);

#endif
