/*
 * prefix - IPv4 and IPv6 addresses, prefixes and ranges: values, text and set algebra.
 *
 * An address is a version and big-endian bytes; an IPv4 address uses the first four
 * and leaves the other twelve zero, so that two equal addresses are equal bytes.
 * A prefix is canonical when its host bits are zero; parsing text keeps them, because
 * "10.0.0.1/24" also names an interface address, and the capsule rules (RFC 9484
 * 4.7.1) ask for canonical ones.
 *
 * A range is what ROUTE_ADVERTISEMENT carries (RFC 9484 4.7.3): inclusive ends of
 * one version, and an IP protocol number, 0 for all. A list of ranges is *normal*
 * when it obeys the order that section demands: version, then protocol ascending;
 * within those disjoint and ascending; and no range of one protocol overlaps a range
 * of all protocols.
 *
 * Pure functions; nothing is kept.
 */
#ifndef MASQUE_PREFIX_H
#define MASQUE_PREFIX_H

#include <string.h>

#include "quic/types.h"

struct ip_addr {
    uint8_t version; /* 4 or 6; 0 is no address */
    uint8_t b[16];   /* network order; b[4..15] are zero for version 4 */
};

struct ip_prefix {
    struct ip_addr addr;
    uint8_t len; /* 0..32 or 0..128 */
};

struct ip_range {
    struct ip_addr start, end; /* inclusive, same version, start <= end */
    uint8_t proto;             /* IP protocol number, 0 for all */
};

#define IP_ADDR_TEXT      46  /* longest text with its terminator */
#define IP_PREFIX_TEXT    50  /* the same with "/128" */
#define IP_RANGE_PREFIXES 254 /* the most prefixes one range can need (IPv6) */

/* Length of an address in bytes (4, 16) and bits; 0 for another version. */
static inline size_t ip_size(uint8_t version)
{
    return version == 4 ? 4 : version == 6 ? 16 : 0;
}

static inline unsigned ip_bits(uint8_t version)
{
    return (unsigned)ip_size(version) * 8;
}

/* An address of `version` from 4 or 16 network-order bytes. */
struct ip_addr ip_addr_of(uint8_t version, const uint8_t *bytes);

/* An IPv4 address from a host-order integer, and back. */
struct ip_addr ip_addr_v4(uint32_t host_order);
uint32_t ip_addr_v4_value(const struct ip_addr *a);

/* Order: version, then value. Negative, zero or positive. */
int ip_addr_cmp(const struct ip_addr *a, const struct ip_addr *b);
bool ip_addr_equal(const struct ip_addr *a, const struct ip_addr *b);

/* The next or previous address; false, `*a` unchanged, past the end of the space. */
bool ip_addr_next(struct ip_addr *a);
bool ip_addr_prev(struct ip_addr *a);

/* `base` + `n`; false, `*out` unchanged, when it would pass the end of the space. */
bool ip_addr_add(const struct ip_addr *base, uint64_t n, struct ip_addr *out);

/*
 * Kinds of address, by version and network-order bytes, so that a packet's header can
 * be asked without a copy. `bytes` holds 4 or 16. Inline: each packet asks several.
 */

/* 0.0.0.0, :: */
static inline bool ip_bytes_unspecified(uint8_t version, const uint8_t *bytes)
{
    static const uint8_t zero[16];

    return memcmp(bytes, zero, version == 4 ? 4 : 16) == 0;
}

/* 127/8, ::1 */
static inline bool ip_bytes_loopback(uint8_t version, const uint8_t *bytes)
{
    static const uint8_t one[16] = {[15] = 1};

    return version == 4 ? bytes[0] == 127 : memcmp(bytes, one, 16) == 0;
}

/* 169.254/16, fe80::/10 */
static inline bool ip_bytes_link_local(uint8_t version, const uint8_t *bytes)
{
    return version == 4 ? bytes[0] == 169 && bytes[1] == 254
                        : bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

/* 224/4, ff00::/8 */
static inline bool ip_bytes_multicast(uint8_t version, const uint8_t *bytes)
{
    return version == 4 ? (bytes[0] & 0xf0) == 0xe0 : bytes[0] == 0xff;
}

/* 255.255.255.255 */
static inline bool ip_bytes_broadcast(uint8_t version, const uint8_t *bytes)
{
    return version == 4 && (bytes[0] & bytes[1] & bytes[2] & bytes[3]) == 0xff;
}

/*
 * What can't be one host's address on any wire: unspecified, 0/8, loopback, multicast,
 * broadcast, 240/4 and IPv4-mapped IPv6 (RFC 1122 3.2.1.3, RFC 6890).
 */
static inline bool ip_bytes_martian(uint8_t version, const uint8_t *bytes)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

    if (version == 4)
        return bytes[0] == 0 || bytes[0] == 127 || bytes[0] >= 224;
    return ip_bytes_unspecified(6, bytes) || ip_bytes_loopback(6, bytes) ||
           ip_bytes_multicast(6, bytes) || memcmp(bytes, mapped, 12) == 0;
}

/*
 * Parse the text of one address: dotted quad without leading zeros, or RFC 4291 2.2
 * in all its forms. No zone identifier, no brackets, no surrounding space.
 *
 * Returns 0, or QUIC_INVAL; `*out` is then unchanged.
 */
int ip_addr_parse(struct span text, struct ip_addr *out);

/*
 * Write the text (RFC 5952 for IPv6) and a terminator into `out` of `size` bytes;
 * IP_ADDR_TEXT (IP_PREFIX_TEXT) always suffice. Returns `out`; "" where it does not
 * fit, "none" for version 0.
 */
char *ip_addr_format(const struct ip_addr *a, char *out, size_t size);
char *ip_prefix_format(const struct ip_prefix *p, char *out, size_t size);

/*
 * Parse "address" (full length) or "address/length". Host bits are kept.
 *
 * Returns 0, or QUIC_INVAL; `*out` is then unchanged.
 */
int ip_prefix_parse(struct span text, struct ip_prefix *out);

/* The prefix of full length that holds just `a`. */
struct ip_prefix ip_prefix_host(const struct ip_addr *a);

/* Version 4 or 6, length within it. The host bits may be set. */
bool ip_prefix_valid(const struct ip_prefix *p);

/* Whether the host bits are zero, and the prefix with them cleared. */
bool ip_prefix_canonical(const struct ip_prefix *p);
struct ip_prefix ip_prefix_mask(const struct ip_prefix *p);

/* Whether `a` lies in `p` (host bits of `p` are ignored); false across versions. */
bool ip_prefix_contains(const struct ip_prefix *p, const struct ip_addr *a);
bool ip_prefix_contains_bytes(const struct ip_prefix *p, uint8_t version, const uint8_t *bytes);

/* Whether all of `q` lies in `p`; whether they share an address. */
bool ip_prefix_covers(const struct ip_prefix *p, const struct ip_prefix *q);
bool ip_prefix_overlaps(const struct ip_prefix *p, const struct ip_prefix *q);

/* Same version, start <= end. */
bool ip_range_valid(const struct ip_range *r);

/* The addresses of `p`, for protocol `proto`. */
struct ip_range ip_range_of(const struct ip_prefix *p, uint8_t proto);

/* All addresses of `version`, for protocol `proto`. */
struct ip_range ip_range_all(uint8_t version, uint8_t proto);

/* Whether `a` lies in `r`; the protocol is not looked at. */
bool ip_range_contains(const struct ip_range *r, const struct ip_addr *a);

/*
 * The fewest prefixes that make up `r`, ascending, into `out` of `max`.
 *
 * Returns their number, 1 to IP_RANGE_PREFIXES; QUIC_TOOBIG if `max` is too small;
 * QUIC_INVAL if `r` is not valid.
 */
int ip_range_prefixes(const struct ip_range *r, struct ip_prefix *out, size_t max);

/* Whether the list is normal, as the head of this file has it (RFC 9484 4.7.3). */
bool ip_ranges_normal(const struct ip_range *r, size_t n);

/*
 * Bring a list into normal order in place: sorted, touching and overlapping ranges of
 * one protocol joined, ranges of one protocol cut where one of all protocols covers
 * them. The list may grow by the cuts, up to `max` entries.
 *
 * Returns the new number of entries; QUIC_TOOBIG if `max` is too small, QUIC_INVAL
 * if a range is not valid (the list's order and content are then unspecified).
 */
int ip_ranges_normalize(struct ip_range *r, size_t n, size_t max);

/*
 * `from` without the addresses of the `n` prefixes in `cut`, whatever their order,
 * ascending, into `out` of `max`. Prefixes of the other version don't matter.
 *
 * Returns the number of ranges written, perhaps 0; QUIC_TOOBIG, QUIC_INVAL as above.
 */
int ip_range_exclude(const struct ip_range *from, const struct ip_prefix *cut, size_t n,
                     struct ip_range *out, size_t max);

#endif
