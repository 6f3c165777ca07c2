#include "app/host.h"

#include "app/address.h"
#include "app/leftovers.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* How often, and with what pause, a device name that is taken is asked for. */
#define TAKEN_TRIES    40
#define TAKEN_PAUSE_US 50000

/* The status for a failure of the TUN or netlink code. */
static int status_of(int rc)
{
    if (rc == -EPERM || rc == -EACCES || rc == -ENOENT || rc == -ENODEV)
        return EXIT_PRIVILEGE;
    return EXIT_TUN;
}

static int fail(struct host *h, int rc, const char *why)
{
    LOG_AT(h->log, LOG_ERROR, "%s", why);
    return status_of(rc);
}

/* A killed instance's device outlives it a little: io_uring lets go of it in its own time. */
static int open_tun(struct tun *tun, const struct tun_cfg *cfg, char *why, size_t why_size)
{
    int rc = tun_open(tun, cfg, why, why_size);

    for (int i = 1; rc == -EBUSY && i < TAKEN_TRIES; i++) {
        usleep(TAKEN_PAUSE_US);
        rc = tun_open(tun, cfg, why, why_size);
    }
    return rc;
}

int host_open(struct host *h, const char *tun_name, unsigned mtu_bytes, bool offload,
              const char *state_dir, const struct log *log)
{
    struct tun_cfg cfg = {.name = tun_name, .mtu_bytes = mtu_bytes, .vnet = offload};
    struct netcfg_journal journal;
    char why[WHY_SIZE] = "";
    int rc;

    memset(h, 0, sizeof(*h));
    h->log = log;
    h->tun.fd = -1;
    rc = undo_open(&h->undo, state_dir ? UNDO_DIR : NULL, state_dir, why, sizeof(why));
    if (rc)
        return fail(h, rc, why);
    leftovers_recover(h->undo, state_dir ? NULL : "", log);
    journal = leftovers_netcfg_journal(h->undo);
    if ((rc = netcfg_new(&h->nc, &journal, why, sizeof(why))) ||
        (rc = open_tun(&h->tun, &cfg, why, sizeof(why)))) {
        rc = fail(h, rc, why);
        host_close(h);
        return rc;
    }
    LOG_AT(log, offload && h->tun.offload < TUN_OFFLOAD_USO ? LOG_INFO : LOG_DEBUG, "%s: %s",
           h->tun.name, tun_offload_text(&h->tun));
    netcfg_own_link(h->nc, h->tun.ifindex);
    netcfg_link_plain(h->nc, h->tun.ifindex, why, sizeof(why));
    return 0;
}

void host_close(struct host *h)
{
    char why[WHY_SIZE];

    if (!h->undo)
        return;
    dns_stop(h->dns);
    nat_stop(h->nat);
    if (h->nc && netcfg_undo(h->nc, why, sizeof(why)))
        LOG_AT(h->log, LOG_WARN, "%s", why);
    netcfg_del(h->nc);
    tun_close(&h->tun);
    undo_close(h->undo);
    memset(h, 0, sizeof(*h));
    h->tun.fd = -1;
}

bool host_has_address(const struct host *h, const struct ip_prefix *address)
{
    struct tun_prefix p = address_tun_prefix(address);

    return tun_prefix_equal(&h->addr[address->addr.version == 6], &p);
}

int host_address(struct host *h, const struct ip_prefix *address)
{
    struct tun_prefix p = address_tun_prefix(address);
    struct tun_prefix *slot = &h->addr[address->addr.version == 6];
    char why[WHY_SIZE] = "";
    int rc;

    if (host_has_address(h, address))
        return 0;
    rc = netcfg_addr_add(h->nc, h->tun.ifindex, &p, NULL, why, sizeof(why));
    if (rc == -EAFNOSUPPORT || (rc == -EACCES && p.addr.family == AF_INET6)) {
        LOG_AT(h->log, LOG_WARN, "%s", why);
        return 0; /* a machine without IPv6 has nothing to send */
    }
    if (rc)
        return fail(h, rc, why);
    /* Not before: with its last IPv4 address a link loses its IPv4 routes. */
    if (slot->addr.family && netcfg_addr_del(h->nc, h->tun.ifindex, slot, why, sizeof(why)))
        LOG_AT(h->log, LOG_DEBUG, "%s", why);
    *slot = p;
    return 0;
}

int host_up(struct host *h)
{
    char why[WHY_SIZE] = "";
    int rc;

    if (h->up)
        return 0;
    rc = tun_up(&h->tun, why, sizeof(why));
    if (rc)
        return fail(h, rc, why);
    h->up = true;
    return 0;
}

int host_mtu(struct host *h, size_t mtu_bytes)
{
    char why[WHY_SIZE] = "";
    unsigned mtu = mtu_bytes < TUN_MTU_MIN   ? TUN_MTU_MIN
                   : mtu_bytes > TUN_MTU_MAX ? TUN_MTU_MAX
                                             : (unsigned)mtu_bytes;
    int rc;

    if (mtu == h->tun.mtu_bytes)
        return 0;
    rc = tun_mtu_set(&h->tun, mtu, why, sizeof(why));
    return rc ? fail(h, rc, why) : 0;
}

int host_route(struct host *h, char *const *prefixes, size_t n)
{
    static char all4[] = "0.0.0.0/0", all6[] = "::/0";
    static char *const all[] = {all4, all6};
    struct tun_prefix p[256];
    char why[WHY_SIZE] = "";
    int rc;

    if (h->routed)
        return 0;
    if (n == 0) {
        prefixes = all;
        n = ARRAY_LEN(all);
    }
    for (size_t i = 0; i < n && i < ARRAY_LEN(p); i++)
        if (tun_prefix_parse(prefixes[i], &p[i]))
            return fail(h, -EINVAL, prefixes[i]);
    rc = netcfg_route_via_tun(h->nc, h->tun.ifindex, p, n, why, sizeof(why));
    if (rc)
        return fail(h, rc, why);
    h->routed = true;
    return 0;
}

int host_dns(struct host *h, char *const *servers, size_t n)
{
    struct tun_addr a[DNS_SERVERS_MAX];
    struct dns_cfg cfg = {.servers = a, .n_servers = n, .tun_name = h->tun.name};
    char why[WHY_SIZE] = "";
    int rc = n > DNS_SERVERS_MAX ? -EINVAL : 0;

    if (h->dns || n == 0)
        return 0;
    if (rc)
        return fail(h, rc, "--dns: at most 8 resolvers");
    for (size_t i = 0; i < n; i++)
        if (tun_addr_parse(servers[i], &a[i]))
            return fail(h, -EINVAL, servers[i]);
    rc = dns_start(&h->dns, &cfg, h->undo, h->log, why, sizeof(why));
    return rc ? fail(h, rc, why) : 0;
}

int host_nat(struct host *h, const struct tun_prefix *pools, size_t n, bool masquerade)
{
    struct nat_cfg cfg = {
        .tun_name = h->tun.name, .pools = pools, .n_pools = n, .forward_only = !masquerade};
    char why[WHY_SIZE] = "";
    int rc = nat_start(&h->nat, &cfg, h->undo, h->log, why, sizeof(why));

    return rc ? fail(h, rc, why) : 0;
}
