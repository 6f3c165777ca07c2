/*
 * uri - the path of an IP proxying request and the scope it asks for (RFC 9484 3, 4.6).
 *
 * The path is the default template, /.well-known/masque/ip/{target}/{ipproto}/ . A
 * server also takes it without its last slash, without {ipproto}, and the bare
 * prefix, all of which mean the wildcard for what is missing, because clients with
 * templates of their own send them.
 */
#ifndef MASQUE_URI_H
#define MASQUE_URI_H

#include "masque/prefix.h"
#include "quic/types.h"

#define MASQUE_URI_PREFIX "/.well-known/masque/ip/"
#define MASQUE_HOST_MAX   253
#define MASQUE_PATH_MAX   320 /* longest default path with its terminator */

enum masque_target { MASQUE_TARGET_ANY, MASQUE_TARGET_PREFIX, MASQUE_TARGET_HOST };

struct masque_scope {
    enum masque_target target;
    struct ip_prefix prefix;        /* TARGET_PREFIX: canonical */
    char host[MASQUE_HOST_MAX + 1]; /* TARGET_HOST: a DNS name, to be resolved by the server */
    uint8_t proto;                  /* IP protocol number; 0: all */
};

/*
 * Write the path for `scope` and a terminator into `out` of `size` bytes.
 *
 * Returns its length; 0 if it does not fit (MASQUE_PATH_MAX always suffices) or the
 * scope is not a legal one: host bits set, a host that is no DNS name.
 */
size_t masque_uri_build(const struct masque_scope *scope, char *out, size_t size);

/*
 * Read the scope from a request's :path; a query is ignored.
 *
 * Returns 0, or the HTTP status to answer with: 404 if it is another path, 400 if a
 * variable is not what RFC 9484 4.6 allows: bad percent-encoding, host bits, a prefix
 * length or protocol out of range, a protocol that is an IPv6 extension header.
 */
int masque_uri_parse(struct span path, struct masque_scope *scope);

/*
 * The ranges that a scope without a host name allows, in normal order: its prefix, or
 * all of the families that `v4` and `v6` say are served, for its protocol.
 *
 * Returns their number, 0 to 2. A MASQUE_TARGET_HOST has none before it is resolved.
 */
size_t masque_scope_ranges(const struct masque_scope *scope, bool v4, bool v6,
                           struct ip_range out[2]);

#endif
