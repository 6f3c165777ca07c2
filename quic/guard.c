#include "quic/guard.h"

#include <string.h>

/* How far an address reaches; NOWHERE: no single host is there. */
enum reach { NOWHERE, MACHINE, LINK, SITE, INTERNET };

struct net {
    uint8_t ip[16];
    unsigned bits;
    enum reach reach;
};

/* First match counts (RFC 6890, RFC 4291). */
static const struct net nets4[] = {
    {{0}, 8, NOWHERE},     {{127}, 8, MACHINE},   {{169, 254}, 16, LINK},
    {{10}, 8, SITE},       {{172, 16}, 12, SITE}, {{192, 168}, 16, SITE},
    {{100, 64}, 10, SITE}, {{224}, 4, NOWHERE},   {{240}, 4, NOWHERE},
};

static const struct net nets6[] = {
    {{[15] = 1}, 128, MACHINE}, {{0}, 96, NOWHERE}, {{[10] = 0xff, 0xff}, 96, NOWHERE},
    {{0xfe, 0x80}, 10, LINK},   {{0xfc}, 7, SITE},  {{0xfe, 0xc0}, 10, SITE},
    {{0xff}, 8, NOWHERE},
};

static bool within(const uint8_t *ip, const struct net *n)
{
    size_t whole = n->bits / 8;
    unsigned rest = n->bits % 8;

    return memcmp(ip, n->ip, whole) == 0 &&
           (rest == 0 || (ip[whole] ^ n->ip[whole]) >> (8 - rest) == 0);
}

static enum reach reach_of(const struct quic_addr *a)
{
    const struct net *nets = a->family == 4 ? nets4 : nets6;
    size_t n = a->family == 4 ? ARRAY_LEN(nets4) : ARRAY_LEN(nets6);

    for (size_t i = 0; i < n; i++)
        if (within(a->ip, &nets[i]))
            return nets[i].reach;
    return INTERNET;
}

bool guard_port(uint16_t port)
{
    static const uint16_t services[] = {0,   7,    13,   17,   19,   53,   69,   111,
                                        123, 137,  138,  161,  162,  389,  427,  500,
                                        520, 1701, 1900, 3702, 5060, 5353, 5355, 11211};

    for (size_t i = 0; i < ARRAY_LEN(services); i++)
        if (services[i] == port)
            return false;
    return true;
}

bool guard_preferred(const struct quic_addr *from, const struct quic_addr *to)
{
    enum reach reach = reach_of(to);

    return to->family == from->family && (to->family == 4 || to->family == 6) &&
           guard_port(to->port) && reach != NOWHERE && reach >= reach_of(from);
}
