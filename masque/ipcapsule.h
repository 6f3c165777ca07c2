/*
 * ipcapsule - the values of the three capsules of CONNECT-IP (RFC 9484 4.7), and of one of ours.
 *
 * Parsers check everything the RFC lets a receiver check and take nothing on error.
 * Writers write the whole capsule, head included, and are given lists that are
 * already right: canonical prefixes, ranges in normal order.
 */
#ifndef MASQUE_IPCAPSULE_H
#define MASQUE_IPCAPSULE_H

#include "masque/capsule.h"
#include "masque/prefix.h"

/* An Assigned Address or a Requested Address (RFC 9484 4.7.1, 4.7.2). */
struct ip_assign {
    uint64_t request_id; /* 0: not in answer to a request */
    struct ip_prefix prefix;
};

/*
 * Whether an Assigned Address says "your request was refused": an all-zero address of
 * full length that answers a request (RFC 9484 4.7.2).
 */
bool ip_assign_refused(const struct ip_assign *a);

/* What the parser of ADDRESS_ASSIGN noticed, beyond the list. */
struct ip_assign_seen {
    bool v4, v6;
    bool host_bits; /* an IPv6 entry had host bits set, and was let through */
};

/*
 * Parse the value of an ADDRESS_ASSIGN into `out` of `max` entries; `*n` gets their
 * number, perhaps 0. With `host_bits_pass`, an IPv6 entry with host bits set is taken
 * and noted in `seen`, instead of being an error.
 *
 * Returns 0; MASQUE_H3_MESSAGE_ERROR for a version other than 4 and 6, a prefix
 * length beyond the address, host bits, or bytes left over or missing (RFC 9484
 * 4.7.1, RFC 9297 3.3); MASQUE_H3_EXCESSIVE_LOAD for more than `max` entries.
 */
int ipcapsule_parse_assign(struct span value, bool host_bits_pass, struct ip_assign *out,
                           size_t max, size_t *n, struct ip_assign_seen *seen);

/*
 * Parse the value of an ADDRESS_REQUEST. As above; no entry at all and a request ID of
 * 0 or used twice are MASQUE_H3_MESSAGE_ERROR too (RFC 9484 4.7.2).
 */
int ipcapsule_parse_request(struct span value, struct ip_assign *out, size_t max, size_t *n);

/*
 * Parse the value of a ROUTE_ADVERTISEMENT; the list is in normal order.
 *
 * Returns 0; MASQUE_H3_MESSAGE_ERROR for a bad version, start after end, an order other
 * than the normal one (overlap of one protocol with all protocols included), or bytes
 * left over or missing (RFC 9484 4.7.3); MASQUE_H3_EXCESSIVE_LOAD above `max` ranges.
 */
int ipcapsule_parse_routes(struct span value, struct ip_range *out, size_t max, size_t *n);

/*
 * An entry of PATH_RATES: a client wants no more than that sent to it on a path. Each capsule is
 * the whole list and replaces the last; a path that it does not name is not bounded. On the wire
 * an entry is two variable-length integers.
 */
struct path_rate {
    uint64_t path; /* path ID; 0 for plain QUIC */
    uint64_t kbps; /* 1000 bits per second, of whole IP packets; 0: not bounded */
};

/* The entry of a list that names a path; null: none does. And whether two lists are the same. */
const struct path_rate *path_rates_find(const struct path_rate *list, size_t n, uint64_t path);
bool path_rates_equal(const struct path_rate *a, size_t na, const struct path_rate *b,
                      size_t nb);

/*
 * Parse the value of a PATH_RATES.
 *
 * Returns 0; MASQUE_H3_MESSAGE_ERROR for a path named twice or bytes missing;
 * MASQUE_H3_EXCESSIVE_LOAD above `max` entries.
 */
int ipcapsule_parse_rates(struct span value, struct path_rate *out, size_t max, size_t *n);

/*
 * Upper bound on the bytes of a capsule of `n` addresses, ranges or rates, head included.
 */
size_t ipcapsule_addresses_size(size_t n);
size_t ipcapsule_routes_size(size_t n);
size_t ipcapsule_rates_size(size_t n);

/* Write one whole ADDRESS_ASSIGN or ADDRESS_REQUEST (`type`); ROUTE_ADVERTISEMENT; PATH_RATES. */
void ipcapsule_write_addresses(struct wire_w *w, enum capsule_type type,
                               const struct ip_assign *a, size_t n);
void ipcapsule_write_routes(struct wire_w *w, const struct ip_range *r, size_t n);
void ipcapsule_write_rates(struct wire_w *w, const struct path_rate *r, size_t n);

#endif
