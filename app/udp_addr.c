#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/udp.h"

union udp_addr udp_addr_any(int family, uint16_t port)
{
    static const uint8_t zero[16];

    return udp_addr_raw(family, zero, port);
}

union udp_addr udp_addr_raw(int family, const void *bytes, uint16_t port)
{
    union udp_addr a;

    memset(&a, 0, sizeof(a));
    if (family == AF_INET) {
        a.v4.sin_family = AF_INET;
        a.v4.sin_port = htons(port);
        memcpy(&a.v4.sin_addr, bytes, 4);
    } else if (family == AF_INET6) {
        a.v6.sin6_family = AF_INET6;
        a.v6.sin6_port = htons(port);
        memcpy(&a.v6.sin6_addr, bytes, 16);
    }
    return a;
}

/* A decimal port of at most five digits and 65535. */
static bool port_parse(const char *text, uint16_t *out)
{
    unsigned v = 0;
    size_t i;

    for (i = 0; text[i]; i++) {
        if (i == 5 || text[i] < '0' || text[i] > '9')
            return false;
        v = v * 10 + (unsigned)(text[i] - '0');
    }
    if (i == 0 || v > 65535)
        return false;
    *out = (uint16_t)v;
    return true;
}

/* An IPv6 address with an optional %scope, by name or number. */
static bool v6_parse(char *host, union udp_addr *a)
{
    char *scope = strchr(host, '%');
    unsigned index = 0;

    if (scope) {
        char *end;

        *scope++ = 0;
        index = if_nametoindex(scope);
        if (!index && *scope >= '0' && *scope <= '9') {
            index = (unsigned)strtoul(scope, &end, 10);
            if (*end)
                return false;
        }
        if (!index)
            return false;
    }
    if (inet_pton(AF_INET6, host, &a->v6.sin6_addr) != 1)
        return false;
    a->v6.sin6_family = AF_INET6;
    a->v6.sin6_scope_id = index;
    return true;
}

/*
 * Cut `text` into host and port text: "[h]:p", "[h]", "h:p" with one colon, or a bare host.
 * Returns the host within `buf`; `*port` is NULL without one; NULL where brackets don't match.
 */
static char *host_cut(const char *text, char *buf, size_t size, const char **port)
{
    char *end;

    *port = NULL;
    if (strlen(text) >= size)
        return NULL;
    strcpy(buf, text);
    if (buf[0] == '[') {
        end = strchr(buf, ']');
        if (!end || (end[1] && end[1] != ':'))
            return NULL;
        *end = 0;
        if (end[1])
            *port = end + 2;
        return buf + 1;
    }
    end = strchr(buf, ':');
    if (end && !strchr(end + 1, ':')) {
        *end = 0;
        *port = end + 1;
    }
    return buf;
}

int udp_addr_parse(const char *text, uint16_t default_port, union udp_addr *out)
{
    char buf[INET6_ADDRSTRLEN + IF_NAMESIZE + 12], *host;
    uint16_t port = default_port;
    const char *port_text;
    union udp_addr a;
    bool bracket = text[0] == '[';

    memset(&a, 0, sizeof(a));
    host = host_cut(text, buf, sizeof(buf), &port_text);
    if (!host || (port_text && !port_parse(port_text, &port)))
        return QUIC_INVAL;
    if (!bracket && port_text && (!*host || !strcmp(host, "*"))) {
        a = udp_addr_any(AF_INET6, 0);
    } else if (!bracket && inet_pton(AF_INET, host, &a.v4.sin_addr) == 1) {
        a.v4.sin_family = AF_INET;
    } else if ((port_text && !bracket) || !v6_parse(host, &a)) {
        return QUIC_INVAL;
    }
    udp_addr_set_port(&a, port);
    *out = a;
    return 0;
}

const char *udp_addr_text(const union udp_addr *a, char *out, size_t size)
{
    char host[INET6_ADDRSTRLEN], scope[IF_NAMESIZE + 1] = "";

    if (a->sa.sa_family == AF_INET) {
        inet_ntop(AF_INET, &a->v4.sin_addr, host, sizeof(host));
        snprintf(out, size, "%s:%u", host, udp_addr_port(a));
    } else if (a->sa.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a->v6.sin6_addr, host, sizeof(host));
        if (a->v6.sin6_scope_id) {
            scope[0] = '%';
            if (!if_indextoname(a->v6.sin6_scope_id, scope + 1))
                snprintf(scope + 1, sizeof(scope) - 1, "%u", a->v6.sin6_scope_id);
        }
        snprintf(out, size, "[%s%s]:%u", host, scope, udp_addr_port(a));
    } else {
        snprintf(out, size, "none");
    }
    return out;
}

socklen_t udp_addr_len(const union udp_addr *a)
{
    return a->sa.sa_family == AF_INET    ? sizeof(a->v4)
           : a->sa.sa_family == AF_INET6 ? sizeof(a->v6)
                                         : 0;
}

uint16_t udp_addr_port(const union udp_addr *a)
{
    return a->sa.sa_family == AF_INET    ? ntohs(a->v4.sin_port)
           : a->sa.sa_family == AF_INET6 ? ntohs(a->v6.sin6_port)
                                         : 0;
}

void udp_addr_set_port(union udp_addr *a, uint16_t port)
{
    if (a->sa.sa_family == AF_INET)
        a->v4.sin_port = htons(port);
    else if (a->sa.sa_family == AF_INET6)
        a->v6.sin6_port = htons(port);
}

bool udp_addr_is_any(const union udp_addr *a)
{
    if (a->sa.sa_family == AF_INET)
        return a->v4.sin_addr.s_addr == 0;
    return a->sa.sa_family != AF_INET6 || IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr);
}

bool udp_addr_same_host(const union udp_addr *a, const union udp_addr *b)
{
    if (a->sa.sa_family != b->sa.sa_family)
        return false;
    if (a->sa.sa_family == AF_INET)
        return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
    if (a->sa.sa_family != AF_INET6)
        return true;
    return IN6_ARE_ADDR_EQUAL(&a->v6.sin6_addr, &b->v6.sin6_addr) &&
           (!IN6_IS_ADDR_LINKLOCAL(&a->v6.sin6_addr) ||
            a->v6.sin6_scope_id == b->v6.sin6_scope_id);
}

bool udp_addr_equal(const union udp_addr *a, const union udp_addr *b)
{
    return udp_addr_same_host(a, b) && udp_addr_port(a) == udp_addr_port(b);
}

void udp_addr_unmap(union udp_addr *a)
{
    if (a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr))
        *a = udp_addr_raw(AF_INET, a->v6.sin6_addr.s6_addr + 12, udp_addr_port(a));
}
