#include "app/nat.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/sysctl.h"
#include "tun/netcfg.h"
#include "tun/nft.h"
#include "tun/tun.h"

#define KIND         "nat"
#define TABLE        "mqvpn-" /* and the name of the TUN */
#define CHANGES_MAX  128      /* settings; a machine with more links keeps those it has */
#define DEFAULTS_MAX 16

struct nat {
    struct undo *undo;
    const struct log *log;
    struct nft *nft;
    char table[NFT_NAME_SIZE];
    uint64_t record;
    bool made, recorded, owned;
    struct sysctl_change changes[CHANGES_MAX]; /* in order */
    size_t n;
};

/* ---- forwarding ---- */

/* Room for one more setting; the last ones are for the switches themselves. */
static struct sysctl_change *next_change(struct nat *nat, size_t spare)
{
    return nat->n + spare < CHANGES_MAX ? &nat->changes[nat->n] : NULL;
}

static int change(struct nat *nat, const char *key, const char *value, char *why,
                  size_t why_size)
{
    struct sysctl_change *c = next_change(nat, 0);
    int err;

    if (!c)
        return why_set(why, why_size, -ENOSPC, "too many settings to change");
    err = sysctl_set(nat->undo, key, value, c, why, why_size);
    if (!err && c->active)
        nat->n++;
    return err;
}

/*
 * Switching forwarding off for all links, as the restore will, also switches it off where
 * it was on for a single link: those are remembered by themselves.
 */
static void keep_links(struct nat *nat, const char *family)
{
    struct if_nameindex *links = if_nameindex();
    char key[SYSCTL_KEY_MAX];

    for (size_t i = 0; links && links[i].if_index; i++) {
        struct sysctl_change *c = next_change(nat, 2 + DEFAULTS_MAX);
        long on;

        snprintf(key, sizeof(key), "net/%s/conf/%s/forwarding", family, links[i].if_name);
        if (c && sysctl_get_int(key, &on) == 0 && on == 1 &&
            sysctl_keep(nat->undo, key, c, NULL, 0) == 0 && c->active)
            nat->n++;
    }
    if_freenameindex(links);
}

/* The global switch of a family, `key`. */
static int forward(struct nat *nat, const char *family, const char *key, char *why,
                   size_t why_size)
{
    long on;

    if (sysctl_get_int(key, &on) == 0 && on == 0)
        keep_links(nat, family);
    return change(nat, key, "1", why, why_size);
}

/*
 * With forwarding on, a link takes router advertisements only if accept_ra is 2; else its
 * default route would vanish at once. Where accept_ra is 0 somebody in user space looks after it.
 */
static int keep_advertisements(struct nat *nat, char *why, size_t why_size)
{
    struct netcfg_default def[DEFAULTS_MAX];
    struct netcfg *nc;
    int n, err = netcfg_new(&nc, NULL, why, why_size);

    if (err)
        return err;
    n = netcfg_defaults(nc, AF_INET6, def, DEFAULTS_MAX, why, why_size);
    netcfg_del(nc);
    for (int i = 0; i < n && i < DEFAULTS_MAX && !err; i++) {
        char name[IF_NAMESIZE], key[SYSCTL_KEY_MAX];
        long accept;

        if (def[i].protocol != RTPROT_RA || !if_indextoname((unsigned)def[i].oif, name))
            continue;
        snprintf(key, sizeof(key), "net/ipv6/conf/%s/accept_ra", name);
        if (sysctl_get_int(key, &accept) || accept != 1)
            continue;
        LOG_AT(nat->log, LOG_INFO, "%s keeps taking router advertisements (accept_ra 2)", name);
        err = change(nat, key, "2", why, why_size);
    }
    return n < 0 ? n : err;
}

static int forwarding(struct nat *nat, const struct nat_cfg *cfg, char *why, size_t why_size)
{
    bool v4 = false, v6 = false;
    int err = 0;

    for (size_t i = 0; i < cfg->n_pools; i++) {
        v4 = v4 || cfg->pools[i].addr.family == AF_INET;
        v6 = v6 || cfg->pools[i].addr.family == AF_INET6;
    }
    if (v6 && access("/proc/sys/net/ipv6", F_OK))
        return why_set(why, why_size, -EAFNOSUPPORT,
                       "an IPv6 pool, but this machine has IPv6 switched off: leave --subnet6 "
                       "out, or boot without ipv6.disable=1");
    if (v4)
        err = forward(nat, "ipv4", "net/ipv4/ip_forward", why, why_size);
    if (!err && v6)
        err = keep_advertisements(nat, why, why_size);
    if (!err && v6)
        err = forward(nat, "ipv6", "net/ipv6/conf/all/forwarding", why, why_size);
    return err;
}

/* ---- the table ---- */

static int make_table(struct nat *nat, const struct nat_cfg *cfg, char *why, size_t why_size)
{
    struct nft_nat table = {.table = nat->table,
                            .tun_name = cfg->tun_name,
                            .pools = cfg->pools,
                            .n_pools = cfg->n_pools,
                            .unowned = cfg->unowned};
    int err = nft_new(&nat->nft, why, why_size);

    if (!err)
        err = undo_add(nat->undo, KIND, nat->table, &nat->record, why, why_size);
    if (err)
        return err;
    nat->recorded = true;
    err = nft_nat_set(nat->nft, &table, &nat->owned, why, why_size);
    nat->made = err == 0;
    if (nat->made && nat->owned) {
        undo_done(nat->undo, nat->record); /* the kernel sees to it */
        nat->recorded = false;
    }
    return err;
}

static void remove_table(struct nat *nat)
{
    char why[WHY_SIZE] = "";
    int err = nat->made ? nft_table_del(nat->nft, nat->table, why, sizeof(why)) : 0;

    if (err && err != -ENOENT)
        LOG_AT(nat->log, LOG_WARN, "%s", why);
    else if (nat->recorded)
        undo_done(nat->undo, nat->record);
    nft_del(nat->nft);
}

/* ---- */

int nat_start(struct nat **out, const struct nat_cfg *cfg, struct undo *u,
              const struct log *log, char *why, size_t why_size)
{
    struct nat *nat;
    int err;

    if (cfg->n_pools == 0 || cfg->n_pools > NAT_POOLS_MAX)
        return why_set(why, why_size, -EINVAL, "NAT needs 1 to %d address pools, not %zu",
                       NAT_POOLS_MAX, cfg->n_pools);
    err = tun_name_check(cfg->tun_name, false, why, why_size);
    if (err)
        return err;
    nat = calloc(1, sizeof(*nat));
    if (!nat)
        return why_set(why, why_size, -ENOMEM, "out of memory");
    nat->undo = u;
    nat->log = log;
    snprintf(nat->table, sizeof(nat->table), TABLE "%s", cfg->tun_name);
    if (!cfg->forward_only)
        err = make_table(nat, cfg, why, why_size);
    if (!err)
        err = forwarding(nat, cfg, why, why_size);
    if (err) {
        nat_stop(nat);
        return err;
    }
    *out = nat;
    return 0;
}

void nat_stop(struct nat *nat)
{
    char why[WHY_SIZE] = "";

    if (!nat)
        return;
    while (nat->n > 0) {
        if (sysctl_restore(nat->undo, &nat->changes[--nat->n], why, sizeof(why)))
            LOG_AT(nat->log, LOG_WARN, "%s", why);
    }
    remove_table(nat);
    free(nat);
}

/* A table that a killed instance left on a kernel that doesn't tie tables to processes. */
static int revert(struct undo *u, const char *text, char *why, size_t why_size)
{
    struct nft *nft;
    int err;

    (void)u;
    if (strncmp(text, TABLE, strlen(TABLE)) || strlen(text) >= NFT_NAME_SIZE ||
        tun_name_check(text + strlen(TABLE), false, NULL, 0))
        return why_set(why, why_size, -EINVAL, "'%.80s' is no table of ours", text);
    err = nft_new(&nft, why, why_size);
    if (err)
        return err;
    err = nft_table_del(nft, text, why, why_size);
    nft_del(nft);
    return err == -ENOENT ? 0 : err;
}

const struct undo_kind nat_undo_kind = {.name = KIND, .in_kernel = true, .revert = revert};
