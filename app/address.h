/*
 * address - the same address in the terms of each layer.
 *
 * Layers don't know each other's types; the composition root turns one into another.
 */
#ifndef APP_ADDRESS_H
#define APP_ADDRESS_H

#include "app/udp.h"
#include "masque/prefix.h"
#include "quic/quic.h"
#include "tun/addr.h"

struct quic_addr address_quic(const union udp_addr *a);
union udp_addr address_udp(const struct quic_addr *a);
struct tun_addr address_tun(const struct ip_addr *a);
struct tun_prefix address_tun_prefix(const struct ip_prefix *p);
struct tun_addr address_tun_of_udp(const union udp_addr *a);

#endif
