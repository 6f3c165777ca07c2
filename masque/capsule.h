/*
 * capsule - the Capsule Protocol: type, length, value, one after the other (RFC 9297 3.2).
 *
 * The reader is fed a request's data stream in any split. A capsule whose type is
 * wanted and that lies whole in what was fed is lent from there; one that arrives in
 * pieces is collected in a buffer which grows with the bytes that really came, never
 * with the length that was announced. Any other type is skipped as it arrives,
 * whatever its length, and costs no memory. A DATAGRAM capsule above its own bound
 * is skipped too (RFC 9297 3.5); another wanted one above the bound is an error.
 *
 * Invariant: bytes of at most one capsule are held, at most `max` of them.
 */
#ifndef MASQUE_CAPSULE_H
#define MASQUE_CAPSULE_H

#include "masque/error.h"
#include "quic/types.h"
#include "quic/wire.h"

enum capsule_type {
    CAPSULE_DATAGRAM = 0x00,           /* RFC 9297 3.5 */
    CAPSULE_ADDRESS_ASSIGN = 0x01,     /* RFC 9484 4.7.1 */
    CAPSULE_ADDRESS_REQUEST = 0x02,    /* RFC 9484 4.7.2 */
    CAPSULE_ROUTE_ADVERTISEMENT = 0x03 /* RFC 9484 4.7.3 */
};

/* Our own, drawn at random (RFC 9297 5.4): rates of paths (masque/ipcapsule.h). */
#define CAPSULE_PATH_RATES 0x3e1c04e1b2159454

#define CAPSULE_HEAD_MAX 16 /* type and length at their longest */

struct capsule {
    uint64_t type;
    struct span value; /* until the next call on the same reader */
};

struct capsule_reader {
    uint64_t wanted;  /* bit t: capsules of type t are delivered */
    uint64_t also;    /* so is this one type above 63, which the user sets; 0: none is */
    size_t max;       /* bound on the length of a wanted capsule */
    size_t dgram_max; /* the same for DATAGRAM: longer ones are skipped */
    uint64_t skipped; /* capsules skipped so far */

    uint8_t head[CAPSULE_HEAD_MAX]; /* type and length as far as they came */
    uint8_t head_len;
    uint8_t state;
    uint64_t type, left; /* of the capsule whose value is arriving; bytes missing */
    uint8_t *buf;
    size_t have, cap;
};

/* A reader for the types in `wanted`; owns no memory until a capsule is cut in two. */
void capsule_reader_init(struct capsule_reader *r, uint64_t wanted, size_t max,
                         size_t dgram_max);
void capsule_reader_free(struct capsule_reader *r);

/*
 * Take bytes from the front of `*in` up to the end of the next wanted capsule.
 *
 * Returns 0 with a capsule in `*out` (call again with what is left in `*in`);
 * QUIC_AGAIN when `*in` is used up and no capsule is complete;
 * MASQUE_H3_EXCESSIVE_LOAD if a wanted capsule is longer than `max`;
 * QUIC_NOMEM if its pieces can't be kept. After an error the reader is done for.
 */
int capsule_next(struct capsule_reader *r, struct span *in, struct capsule *out);

/*
 * The stream has ended (FIN).
 *
 * Returns 0 between capsules, MASQUE_H3_MESSAGE_ERROR in the midst of one (RFC 9297 3.3).
 */
int capsule_end(const struct capsule_reader *r);

/* Write type and length; `length` bytes of value are to follow. */
void capsule_write_head(struct wire_w *w, uint64_t type, uint64_t length);

#endif
