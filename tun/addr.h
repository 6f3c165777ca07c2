/*
 * addr - IP addresses and prefixes as the TUN and netlink code passes them.
 *
 * Values without ownership. An address keeps its 4 or 16 bytes in network order at the
 * start of `ip`, the rest 0. A prefix may have host bits set: an interface address is
 * "10.0.0.1/24". Numeric text only; no name is ever looked up.
 */
#ifndef TUN_ADDR_H
#define TUN_ADDR_H

#include <sys/socket.h>

#include "quic/types.h"

#define TUN_ADDR_TEXT   46 /* room for tun_addr_text */
#define TUN_PREFIX_TEXT 50 /* room for tun_prefix_text */

/* family AF_INET or AF_INET6; 0 is "none". */
struct tun_addr {
    sa_family_t family;
    uint8_t ip[16];
};

struct tun_prefix {
    struct tun_addr addr;
    uint8_t len; /* bits: 0..32 or 0..128 */
};

/* 4 for AF_INET, 16 for AF_INET6, 0 for anything else. */
size_t tun_addr_size(sa_family_t family);

/* An address from its raw bytes: 4 (AF_INET) or 16 (AF_INET6) at `ip`. */
struct tun_addr tun_addr_raw(sa_family_t family, const void *ip);

/*
 * Parse "192.0.2.1" or "2001:db8::1".
 *
 * Returns 0, or -EINVAL (`*out` unchanged) where the text is no numeric address.
 */
int tun_addr_parse(const char *text, struct tun_addr *out);

/*
 * Parse "10.0.0.1/24", "2001:db8::/32" or a bare address (/32 or /128). Host bits stay.
 *
 * Returns 0, or -EINVAL (`*out` unchanged) for anything else, a length too large included.
 */
int tun_prefix_parse(const char *text, struct tun_prefix *out);

/* Numeric text into `out` ("none" for family 0); return out. */
const char *tun_addr_text(const struct tun_addr *a, char out[TUN_ADDR_TEXT]);
const char *tun_prefix_text(const struct tun_prefix *p, char out[TUN_PREFIX_TEXT]);

bool tun_addr_equal(const struct tun_addr *a, const struct tun_addr *b);

/* The same family, bits and length, host bits included. */
bool tun_prefix_equal(const struct tun_prefix *a, const struct tun_prefix *b);

/* The prefix with its host bits cleared: the network it names. */
struct tun_prefix tun_prefix_network(const struct tun_prefix *p);

/* Whether `a` is of the family of `p` and its first p->len bits are those of `p`. */
bool tun_prefix_contains(const struct tun_prefix *p, const struct tun_addr *a);

#endif
