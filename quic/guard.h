/*
 * guard - addresses that a peer may not point us at (request forgery, RFC 9000 21.5).
 *
 * A peer can make an endpoint send to an address of the peer's choosing: by migrating from a
 * forged source address, or by a preferred address. What is sent there are packets of QUIC,
 * mostly random bytes; these two bounds keep them from networks and services for which even
 * that may mean something.
 */
#ifndef QUIC_GUARD_H
#define QUIC_GUARD_H

#include "quic/quic.h"

/*
 * Whether a peer may be at this UDP port: not 0, nor that of a service which is reached over
 * UDP without a connection, and known for being used so (DNS, NTP, SNMP, SSDP ...).
 */
bool guard_port(uint16_t port);

/*
 * Whether a client that reached its server at `from` may go over to `to`, because the server
 * says so: of the same family, a single host, a port as above, and not in a network of
 * smaller reach: a server of the Internet names no address of the client's own network or
 * machine.
 */
bool guard_preferred(const struct quic_addr *from, const struct quic_addr *to);

#endif
