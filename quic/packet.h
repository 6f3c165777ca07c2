/*
 * packet - QUIC version 1 packet headers, packet numbers, Version Negotiation and
 * Retry (RFC 9000 17 and A.2-A.3, RFC 9001 5.8, RFC 8999).
 *
 * No state. Parsing takes the header of one packet out of a datagram, up to the packet
 * number, which is still protected (aead.h takes that off). A datagram may hold several
 * packets: `length` says where the next one begins.
 *
 * Writing puts down a header without its packet number; the caller appends that, the
 * payload, the seal, patches the length and masks the header:
 *
 *     at = packet_long_head(&w, PACKET_INITIAL, QUIC_V1, &dcid, &scid, token, pnl);
 *     pn_write(&w, pn, pnl);  ...payload...
 *     packet_long_length(at, pnl + payload + QUIC_TAG);
 *     aead_seal(...); aead_protect_head(...);
 */
#ifndef QUIC_PACKET_H
#define QUIC_PACKET_H

#include <string.h>

#include "quic/types.h"
#include "quic/wire.h"

#define QUIC_V1           0x00000001u
#define QUIC_CID_MAX      20   /* longest connection ID of version 1 */
#define QUIC_MIN_DATAGRAM 1200 /* UDP payload that any path must carry (RFC 9000 14) */
#define QUIC_TAG          16   /* bytes the AEAD adds, for each of the cipher suites */
#define QUIC_PN_MAX       VARINT_MAX
#define QUIC_PN_NONE      UINT64_MAX /* "no packet number yet" */
#define QUIC_RETRY_TAG    16

/* Encryption levels (RFC 9001 2.1). EARLY is 0-RTT. */
enum quic_level { LEVEL_INITIAL, LEVEL_EARLY, LEVEL_HANDSHAKE, LEVEL_APP, LEVEL_N };

/* Packet number spaces (RFC 9000 12.3). */
enum quic_space { SPACE_INITIAL, SPACE_HANDSHAKE, SPACE_APP, SPACE_N };

static inline enum quic_space space_of(enum quic_level level)
{
    return level == LEVEL_INITIAL     ? SPACE_INITIAL
           : level == LEVEL_HANDSHAKE ? SPACE_HANDSHAKE
                                      : SPACE_APP;
}

/* A connection ID, by value. Bytes past `len` are zero. */
struct quic_cid {
    uint8_t len;
    uint8_t b[QUIC_CID_MAX];
};

static inline struct span cid_span(const struct quic_cid *cid)
{
    return (struct span){cid->b, cid->len};
}

/* Whether `cid` is what `s` says. */
static inline bool cid_is(const struct quic_cid *cid, struct span s)
{
    uint64_t a, b;

    if (cid->len != s.n)
        return false;
    if (s.n != sizeof(a)) /* the length of our own */
        return s.n == 0 || memcmp(cid->b, s.p, s.n) == 0;
    memcpy(&a, cid->b, sizeof(a));
    memcpy(&b, s.p, sizeof(b));
    return a == b;
}

/* Same length and bytes. */
static inline bool cid_eq(const struct quic_cid *a, const struct quic_cid *b)
{
    return cid_is(a, cid_span(b));
}

/* The bytes of `s` as a connection ID; what passes QUIC_CID_MAX gives an empty one. */
struct quic_cid cid_of(struct span s);

enum packet_type {
    PACKET_INITIAL,
    PACKET_0RTT,
    PACKET_HANDSHAKE,
    PACKET_RETRY,
    PACKET_VERSION_NEGOTIATION,
    PACKET_1RTT,
    PACKET_OTHER_VERSION /* a long header of a version that is not QUIC_V1 */
};

/* The encryption level of a packet type that has one; LEVEL_N for the others. */
enum quic_level packet_level(enum packet_type type);

/* One parsed header. Every span and pointer borrows the datagram. */
struct packet_head {
    enum packet_type type;
    uint32_t version;       /* 0 for 1-RTT and Version Negotiation */
    struct span dcid, scid; /* up to 255 bytes where the version is not QUIC_V1 */
    struct span token;      /* Initial: address validation token; Retry: Retry Token */
    struct span rest;       /* Version Negotiation: the list of 32-bit versions */
    const uint8_t *tag;     /* Retry: the 16 bytes of the integrity tag, else NULL */
    size_t pn_offset;       /* where the protected packet number starts; 0 if none */
    size_t length;          /* bytes of this packet inside the datagram, header included */
};

/*
 * Parse the header of the packet that starts at `p`, with `n` bytes to the end of the
 * datagram. A short header's connection ID has `short_dcid_len` bytes (RFC 9000 17.3).
 *
 * A long header of an unknown version comes out as PACKET_OTHER_VERSION with both
 * connection IDs, of any length, taking all of the datagram (RFC 8999 5.1); a version of 0
 * as PACKET_VERSION_NEGOTIATION. Reserved bits are not looked at: they are protected.
 *
 * Returns 0, or QUIC_DROP where this can't be a packet: truncated, fixed bit clear,
 * connection ID over 20 bytes in version 1, Length beyond the datagram or too small for the
 * 20 bytes that header protection needs (RFC 9001 5.4.2), a Retry without token, a Version
 * Negotiation list that is empty or not of whole versions. Never reads beyond `n`.
 *
 * A short header only needs its connection ID here, since what follows may be a stateless
 * reset of 21 bytes or more; aead_unprotect_head refuses what is too short to be opened.
 */
int packet_parse(const uint8_t *p, size_t n, size_t short_dcid_len, struct packet_head *out);

/*
 * The same where a fixed bit that is clear is no reason to drop: for packets of a peer that
 * knows our grease_quic_bit transport parameter (RFC 9287 3).
 */
int packet_parse_greased(const uint8_t *p, size_t n, size_t short_dcid_len,
                         struct packet_head *out);

/*
 * The next version of a Version Negotiation list: takes it off the front of `rest`.
 * Returns false when the list is over.
 */
bool packet_next_version(struct span *rest, uint32_t *version);

/*
 * Write a long header of type Initial, 0-RTT or Handshake up to and excluding the packet
 * number (RFC 9000 17.2). `token` is written for Initial only. `pn_len` is 1..4.
 *
 * Returns the place of the 2-byte Length field, for packet_long_length; NULL when it did
 * not fit, and the writer is failed.
 */
uint8_t *packet_long_head(struct wire_w *w, enum packet_type type, uint32_t version,
                          const struct quic_cid *dcid, const struct quic_cid *scid,
                          struct span token, size_t pn_len);

/* Bytes packet_long_head writes for these arguments. */
size_t packet_long_head_size(enum packet_type type, const struct quic_cid *dcid,
                             const struct quic_cid *scid, size_t token_len);

/*
 * Set the Length field: `length` counts packet number, payload and tag; below 2^14.
 */
void packet_long_length(uint8_t *at, size_t length);

/* Write a 1-RTT header up to and excluding the packet number (RFC 9000 17.3.1). */
void packet_short_head(struct wire_w *w, const struct quic_cid *dcid, bool spin, bool key_phase,
                       size_t pn_len);

/*
 * Bytes (1..4) that packet number `pn` needs so that a peer which acknowledged
 * `largest_acked` (QUIC_PN_NONE: nothing yet) can recover it (RFC 9000 17.1, A.2).
 */
size_t pn_len(uint64_t pn, uint64_t largest_acked);

/*
 * The same for a 1-RTT packet, two at least: with one a packet that more than 128 later ones
 * overtake can't be opened, and sizes stay equal.
 */
static inline size_t pn_len_app(uint64_t pn, uint64_t largest_acked)
{
    size_t n = pn_len(pn, largest_acked);

    return n < 2 ? 2 : n;
}

/* Write the low `len` bytes (1..4) of `pn`. */
void pn_write(struct wire_w *w, uint64_t pn, size_t len);

/*
 * The packet number whose low `len` bytes are `truncated` and that is closest to
 * `largest` + 1, where `largest` is the highest one opened in this space (QUIC_PN_NONE:
 * none yet) (RFC 9000 A.3).
 */
uint64_t pn_decode(uint64_t truncated, size_t len, uint64_t largest);

/*
 * Write a whole Version Negotiation packet (RFC 9000 17.2.1) answering one that carried
 * `dcid` and `scid` as *its* IDs (they are swapped here; up to 255 bytes each). `random`
 * fills the unused bits.
 *
 * Returns 0, QUIC_TOOBIG if it doesn't fit `w`, QUIC_INVAL for an ID over 255 bytes.
 */
int packet_version_negotiation(struct wire_w *w, struct span dcid, struct span scid,
                               const uint32_t *versions, size_t n, uint8_t random);

/*
 * Retry Integrity Tag (RFC 9001 5.8) of the `n` bytes of a Retry packet without its tag,
 * which answers a client Initial whose Destination Connection ID was `odcid`.
 *
 * Returns 0, QUIC_TOOBIG for more bytes than a datagram has, QUIC_NOMEM if libcrypto could
 * not do it.
 */
int retry_tag(const struct quic_cid *odcid, const uint8_t *packet, size_t n,
              uint8_t tag[QUIC_RETRY_TAG]);

/*
 * Write a whole Retry packet (RFC 9000 17.2.5): `dcid` is the client's source ID, `scid`
 * the server's new one, `odcid` the destination ID of the client's Initial; `random` fills
 * the unused bits.
 *
 * Returns 0, QUIC_TOOBIG if it doesn't fit, QUIC_INVAL for an empty token or a `scid` equal
 * to `odcid`, QUIC_NOMEM.
 */
int packet_retry(struct wire_w *w, const struct quic_cid *dcid, const struct quic_cid *scid,
                 const struct quic_cid *odcid, struct span token, uint8_t random);

/*
 * Whether the Retry packet of `n` bytes at `packet`, tag included, has the right tag for
 * `odcid`. Compares in constant time.
 */
bool retry_verify(const struct quic_cid *odcid, const uint8_t *packet, size_t n);

#endif
