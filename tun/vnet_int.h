/*
 * vnet_int - where the fields of IP, TCP and UDP headers lie. For tun/vnet_*.c.
 */
#ifndef TUN_VNET_INT_H
#define TUN_VNET_INT_H

#include <endian.h>
#include <string.h>

#include "tun/vnet.h"

#define PROTO_TCP 6
#define PROTO_UDP 17

#define V4_HEAD   20
#define V4_TOS    1
#define V4_LENGTH 2
#define V4_ID     4
#define V4_FRAG   6
#define V4_TTL    8
#define V4_PROTO  9
#define V4_CSUM   10
#define V4_SRC    12
#define V4_DF     0x4000 /* of V4_FRAG */
#define V4_OFFSET 0x3fff /* of V4_FRAG: offset and MF, zero in all that is no fragment */

#define V6_HEAD   40
#define V6_LENGTH 4
#define V6_NEXT   6
#define V6_HOPS   7
#define V6_SRC    8

#define TCP_HEAD   20
#define TCP_SEQ    4
#define TCP_ACK    8
#define TCP_OFF    12 /* data offset in the upper four bits */
#define TCP_FLAGS  13
#define TCP_CSUM   16
#define TCP_URGENT 18
#define TCP_FIN    0x01
#define TCP_SYN    0x02
#define TCP_RST    0x04
#define TCP_PSH    0x08
#define TCP_URG    0x20
#define TCP_CWR    0x80

#define UDP_HEAD   8
#define UDP_LENGTH 4
#define UDP_CSUM   6

static inline uint16_t get16(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof(v));
    return be16toh(v);
}

static inline uint32_t get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return be32toh(v);
}

static inline void put16(uint8_t *p, size_t v)
{
    uint16_t be = htobe16((uint16_t)v);

    memcpy(p, &be, sizeof(be));
}

static inline void put32(uint8_t *p, uint32_t v)
{
    uint32_t be = htobe32(v);

    memcpy(p, &be, sizeof(be));
}

/* A checksum field's value as inetsum has it. */
static inline uint16_t get_sum(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

static inline void put_sum(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, sizeof(v));
}

#endif
