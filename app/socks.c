#include "app/socks.h"

struct socks socks_one(struct ring_udp *sock)
{
    return (struct socks){.item = {{.sock = sock}}, .n = 1};
}

int socks_add(struct socks *s, uint32_t ifindex, int family, enum link_priority priority,
              struct ring_udp *sock)
{
    if (s->n == LINKS_MAX)
        return QUIC_NOMEM;
    s->item[s->n].ifindex = ifindex;
    s->item[s->n].family = family;
    s->item[s->n].priority = priority;
    s->item[s->n++].sock = sock;
    return 0;
}

/* The place of the socket of that interface; `n` if there is none. */
static size_t of(const struct socks *s, uint32_t ifindex, int family)
{
    size_t i = 0;

    while (i < s->n && (s->item[i].ifindex != ifindex || s->item[i].family != family))
        i++;
    return i;
}

bool socks_has(const struct socks *s, uint32_t ifindex, int family)
{
    return of(s, ifindex, family) < s->n;
}

struct ring_udp *socks_take(struct socks *s, uint32_t ifindex, int family)
{
    size_t i = of(s, ifindex, family);
    struct ring_udp *sock;

    if (i == s->n)
        return NULL;
    sock = s->item[i].sock;
    s->n--;
    for (; i < s->n; i++)
        s->item[i] = s->item[i + 1];
    return sock;
}

/* Its place; `n` if there is none. */
static size_t place(const struct socks *s, const struct quic_route *route)
{
    size_t i = 0;

    while (i < s->n && s->item[i].ifindex != 0 && route->ifindex != 0 &&
           (s->item[i].ifindex != route->ifindex || s->item[i].family != route->remote.family))
        i++;
    return i;
}

struct ring_udp *socks_find(const struct socks *s, const struct quic_route *route)
{
    size_t i = place(s, route);

    return i < s->n ? s->item[i].sock : NULL;
}

enum link_priority socks_priority(const struct socks *s, const struct quic_route *route)
{
    size_t i = place(s, route);

    return i < s->n ? s->item[i].priority : LINK_PRIMARY;
}

uint32_t socks_ifindex(const struct socks *s, const struct ring_udp *sock)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->item[i].sock == sock)
            return s->item[i].ifindex;
    return 0;
}
