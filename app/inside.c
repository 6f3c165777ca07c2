#include "app/inside.h"

#include "app/netcheck.h"

#include <string.h>

/*
 * A stand-in for the server's own address, from which our ICMP messages into the TUN
 * come: the first host of the /24 or /64 that the assigned address lies in.
 */
static struct ip_addr gateway_of(const struct ip_addr *a)
{
    struct ip_addr g = *a;

    if (g.version == 4) {
        g.b[3] = g.b[3] == 1 ? 2 : 1;
    } else if (g.version == 6) {
        memset(g.b + 8, 0, 7);
        g.b[15] = ip_addr_equal(a, &g) || g.b[15] == 1 ? 2 : 1;
    }
    return g;
}

static int apply_addresses(struct host *h, struct cip *cip, const struct log *log)
{
    static const uint8_t ula[16] = {0xfd, 0x6d, 0x71, 0x76, 0x70, 0x6e, [15] = 1};
    struct ip_addr ip[2] = {{0}, {0}}, self[2];
    char text[2][IP_ADDR_TEXT];
    bool changed = false;
    int rc;

    for (int i = 0; i < 2; i++) {
        if (!cip_address(cip, i ? 6 : 4, &ip[i]))
            continue; /* a former one stays: what comes from it, the tunnel refuses */
        struct ip_prefix p = ip_prefix_host(&ip[i]);
        changed |= !host_has_address(h, &p);
        if ((rc = host_address(h, &p)))
            return rc;
    }
    self[0] = gateway_of(&ip[0]);
    self[1] = ip[1].version ? gateway_of(&ip[1]) : ip_addr_of(6, ula);
    cip_set_self(cip, &self[0], &self[1]);
    if (!changed)
        return 0;
    LOG_AT(log, LOG_INFO, "tunnel address %s, IPv6 %s",
           ip_addr_format(&ip[0], text[0], IP_ADDR_TEXT),
           ip[1].version ? ip_addr_format(&ip[1], text[1], IP_ADDR_TEXT) : "none (blocked)");
    return 0;
}

bool inside_ready(const struct session *s)
{
    size_t n;

    cip_assigned(&s->cip, &n);
    return n > 0 && session_mtu(s) >= TUN_MTU_MIN;
}

int inside_apply(struct host *h, const struct config *cfg, struct session *s,
                 const struct log *log)
{
    int rc;

    if ((rc = host_mtu(h, session_mtu(s))) || (rc = apply_addresses(h, &s->cip, log)) || (rc = host_up(h)))
        return rc;
    if (cfg->manage_routes && (rc = host_route(h, cfg->routes.item, cfg->routes.n)))
        return rc;
    return host_dns(h, cfg->dns.item, cfg->dns.n);
}

void inside_check(const struct host *h, const struct config *cfg, const char *link,
                  const struct log *log)
{
    struct netcheck_cfg check = {.tun_name = h->tun.name,
                                 .links = &link,
                                 .n_links = 1,
                                 .ipv4 = true,
                                 .ipv6 = h->addr[1].addr.family != 0,
                                 .default_route = cfg->manage_routes && !cfg->routes.n};
    struct netcheck_item item[8];
    size_t n = netcheck_run(&check, item, ARRAY_LEN(item));

    netcheck_log(item, n < ARRAY_LEN(item) ? n : ARRAY_LEN(item), log);
}
