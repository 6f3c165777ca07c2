/*
 * evil - a peer that says anything: packets with arbitrary frames, sealed with the real keys
 * of a connection of ours.
 *
 * The connection is used as a source of keys, connection IDs and packet numbers. What evil
 * sends counts as sent by it, so that answers to it don't end the wrong side.
 */
#ifndef SIM_EVIL_H
#define SIM_EVIL_H

#include "quic/conn.h"

struct evil {
    enum quic_level level;
    uint8_t bits;     /* or-ed into the first byte before it is masked: reserved bits */
    uint8_t clear;    /* taken out of it: the fixed bit */
    bool flip_phase;  /* the other Key Phase bit */
    struct aead *key; /* null: the connection's */
    bool pad;         /* datagram of at least 1200 bytes, by PADDING frames */
    bool seen;        /* packet number of a packet sent before */
    bool deaf;        /* numbers go on, but nobody waits for what comes of it */
    const struct quic_cid *dcid; /* null: the one in use */
    size_t path;                 /* index, at `as`; the victim must have its ID at the same */
};

/*
 * Write one datagram with one packet, holding `frames`, to `out` of `cap` bytes. Returns its
 * length; aborts if it can't be made.
 */
size_t evil_packet(struct quic_conn *as, const struct evil *e, struct span frames, uint8_t *out,
                   size_t cap);

/* The same, given to `victim` at once, from the address it knows. Returns as quic_recv. */
int evil_send(struct quic_conn *as, struct quic_conn *victim, const struct evil *e,
              struct span frames, ns_t now);

#endif
