#include "app/address.h"

#include <string.h>

struct quic_addr address_quic(const union udp_addr *a)
{
    struct quic_addr q = {0};

    if (!a || a->sa.sa_family == 0)
        return q;
    q.port = udp_addr_port(a);
    if (a->sa.sa_family == AF_INET) {
        q.family = 4;
        memcpy(q.ip, &a->v4.sin_addr, 4);
    } else {
        q.family = 6;
        memcpy(q.ip, &a->v6.sin6_addr, 16);
    }
    return q;
}

union udp_addr address_udp(const struct quic_addr *a)
{
    union udp_addr none;

    if (a->family != 0)
        return udp_addr_raw(a->family == 4 ? AF_INET : AF_INET6, a->ip, a->port);
    memset(&none, 0, sizeof(none));
    return none;
}

struct tun_addr address_tun(const struct ip_addr *a)
{
    if (a->version == 0)
        return (struct tun_addr){0};
    return tun_addr_raw(a->version == 4 ? AF_INET : AF_INET6, a->b);
}

struct tun_prefix address_tun_prefix(const struct ip_prefix *p)
{
    return (struct tun_prefix){address_tun(&p->addr), p->len};
}

struct tun_addr address_tun_of_udp(const union udp_addr *a)
{
    if (a->sa.sa_family == AF_INET)
        return tun_addr_raw(AF_INET, &a->v4.sin_addr);
    if (a->sa.sa_family == AF_INET6)
        return tun_addr_raw(AF_INET6, &a->v6.sin6_addr);
    return (struct tun_addr){0};
}
