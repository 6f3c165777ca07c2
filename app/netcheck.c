#include "app/netcheck.h"

#include <linux/netfilter.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/sysctl.h"
#include "tun/nft.h"

#define DROPS_MAX 8
#define UFW_CONF  "/etc/ufw/ufw.conf"

struct findings {
    struct netcheck_item *out;
    size_t n, max;
};

/* A new item to fill, or a scratch one where there is no room. */
static struct netcheck_item *find(struct findings *f, enum netcheck_kind kind)
{
    static _Thread_local struct netcheck_item scratch;
    struct netcheck_item *item = f->n < f->max ? &f->out[f->n] : &scratch;

    f->n++;
    *item = (struct netcheck_item){.kind = kind};
    return item;
}

/* An integer setting, or `otherwise` where it can't be read. */
static long setting(const char *family, const char *link, const char *name, long otherwise)
{
    char key[SYSCTL_KEY_MAX];
    long v;

    snprintf(key, sizeof(key), "net/%s/conf/%s/%s", family, link, name);
    return sysctl_get_int(key, &v) ? otherwise : v;
}

/*
 * With all IPv4 routed into the tunnel, the way back to the server is there too: a strict
 * filter (1) on the link where its packets arrive drops them. The larger of the settings
 * for all links and for this one counts; 2 is loose.
 */
static void check_rp_filter(struct findings *f, const char *link)
{
    long all = setting("ipv4", "all", "rp_filter", 0);
    long own = setting("ipv4", link, "rp_filter", 0);
    struct netcheck_item *item;

    if ((all > own ? all : own) != 1)
        return;
    item = find(f, NETCHECK_RP_FILTER);
    snprintf(item->ifname, sizeof(item->ifname), "%s", link);
    snprintf(item->what, sizeof(item->what), "strict reverse path filter on %.15s", link);
    snprintf(item->why, sizeof(item->why),
             "the server's packets arrive there, while the route to it leads into the tunnel: "
             "the kernel drops them");
    snprintf(item->fix, sizeof(item->fix), "sysctl -w net.ipv4.conf.%.15s.rp_filter=2", link);
}

/* The same by a firewall's rules, which serve IPv6 too. */
static void check_firewall_filter(struct findings *f)
{
    struct nft_filter rule;
    struct netcheck_item *item;
    struct nft *nf;
    bool found;

    if (nft_new(&nf, NULL, 0))
        return;
    found = nft_strict_filter(nf, &rule);
    nft_del(nf);
    if (!found)
        return;
    item = find(f, NETCHECK_RP_FILTER);
    snprintf(item->what, sizeof(item->what),
             "strict reverse path filter of the firewall (table %.40s, chain %.40s)",
             rule.table, rule.chain);
    snprintf(item->why, sizeof(item->why),
             "the route to the server leads into the tunnel: packets from its %s address are "
             "dropped",
             rule.family == NFPROTO_IPV4 ? "IPv4" : "IPv6");
    if (!strcmp(rule.table, NFT_FIREWALLD))
        snprintf(item->fix, sizeof(item->fix),
                 "sed -i 's/^#*IPv6_rpfilter=.*/IPv6_rpfilter=loose/' "
                 "/etc/firewalld/firewalld.conf && firewall-cmd --reload");
    else
        snprintf(item->fix, sizeof(item->fix),
                 "nft -a list chain %s %.40s %.40s, and make its 'fib' rule loose (no iif)",
                 rule.family == NFPROTO_INET   ? "inet"
                 : rule.family == NFPROTO_IPV6 ? "ip6"
                                               : "ip",
                 rule.table, rule.chain);
}

static void check_forwarding(struct findings *f, bool v6)
{
    long on = 1;
    struct netcheck_item *item;
    const char *dotted = v6 ? "net.ipv6.conf.all.forwarding" : "net.ipv4.ip_forward";

    if (sysctl_get_int(v6 ? "net/ipv6/conf/all/forwarding" : "net/ipv4/ip_forward", &on) || on)
        return;
    item = find(f, NETCHECK_FORWARDING);
    snprintf(item->what, sizeof(item->what), "IPv%d forwarding is off (%s=0)", v6 ? 6 : 4,
             dotted);
    snprintf(item->why, sizeof(item->why),
             "clients reach this machine only, nothing beyond it");
    snprintf(item->fix, sizeof(item->fix), "sysctl -w %s=1 (or start the server with --nat)",
             dotted);
}

static bool ufw_enabled(void)
{
    char line[256];
    bool found = false;
    FILE *f = fopen(UFW_CONF, "re");

    while (f && !found && fgets(line, sizeof(line), f))
        found = !strncmp(line, "ENABLED=yes", 11);
    if (f)
        fclose(f);
    return found;
}

/* The command that lets the TUN's packets through the chain. */
static void forward_fix(const struct nft_drop *d, const char *tun, char *out, size_t size)
{
    const char *six = d->family == NFPROTO_IPV6 ? "6" : "";
    const char *family = d->family == NFPROTO_INET   ? "inet"
                         : d->family == NFPROTO_IPV6 ? "ip6"
                                                     : "ip";

    if (!strcmp(d->table, NFT_FIREWALLD))
        snprintf(out, size, "firewall-cmd --zone=trusted --add-interface=%s", tun);
    else if (!strcmp(d->chain, "FORWARD") && ufw_enabled())
        snprintf(out, size, "ufw route allow in on %s; ufw route allow out on %s", tun, tun);
    else if (!strcmp(d->chain, "FORWARD"))
        snprintf(out, size,
                 "ip%stables%s -I FORWARD -i %s -j ACCEPT; ip%stables%s -I FORWARD -o %s -j "
                 "ACCEPT",
                 six, d->legacy ? "-legacy" : "", tun, six, d->legacy ? "-legacy" : "", tun);
    else
        snprintf(out, size,
                 "nft insert rule %s %.40s %.40s iifname %s accept; nft insert rule %s %.40s "
                 "%.40s oifname %s accept",
                 family, d->table, d->chain, tun, family, d->table, d->chain, tun);
}

static void check_forward_drops(struct findings *f, const struct netcheck_cfg *cfg)
{
    struct nft_drop drop[DROPS_MAX];
    struct nft *nf;
    int n;

    if (nft_new(&nf, NULL, 0))
        return;
    n = nft_forward_drops(nf, cfg->tun_name, drop, DROPS_MAX, NULL, 0);
    nft_del(nf);
    for (int i = 0; i < n && i < DROPS_MAX; i++) {
        const struct nft_drop *d = &drop[i];
        struct netcheck_item *item;

        if (d->named || (d->family == NFPROTO_IPV4 && !cfg->ipv4) ||
            (d->family == NFPROTO_IPV6 && !cfg->ipv6))
            continue;
        item = find(f, NETCHECK_FORWARD_DROP);
        snprintf(item->what, sizeof(item->what),
                 "the firewall drops forwarded packets (table %.40s, chain %.40s%s)", d->table,
                 d->chain, d->legacy ? ", iptables-legacy" : "");
        snprintf(item->why, sizeof(item->why), "clients reach nothing beyond this machine");
        forward_fix(d, cfg->tun_name, item->fix, sizeof(item->fix));
    }
}

static void check_ipv6(struct findings *f, const char *tun)
{
    struct netcheck_item *item;

    if (access("/proc/sys/net/ipv6", F_OK)) {
        item = find(f, NETCHECK_IPV6_OFF);
        snprintf(item->what, sizeof(item->what), "this machine has IPv6 switched off");
        snprintf(item->fix, sizeof(item->fix), "boot without ipv6.disable=1");
    } else if (setting("ipv6", "all", "disable_ipv6", 0) == 1) {
        item = find(f, NETCHECK_IPV6_OFF);
        snprintf(item->what, sizeof(item->what), "IPv6 is disabled on all links");
        snprintf(item->fix, sizeof(item->fix), "sysctl -w net.ipv6.conf.all.disable_ipv6=0");
    } else if (setting("ipv6", tun, "disable_ipv6", 0) == 1) {
        item = find(f, NETCHECK_IPV6_OFF);
        snprintf(item->what, sizeof(item->what), "IPv6 is disabled on %.15s", tun);
        snprintf(item->fix, sizeof(item->fix),
                 "sysctl -w net.ipv6.conf.default.disable_ipv6=0, then start mqvpn again");
    } else {
        return;
    }
    snprintf(item->why, sizeof(item->why), "the tunnel's IPv6 addresses can't be used");
}

size_t netcheck_run(const struct netcheck_cfg *cfg, struct netcheck_item *out, size_t max)
{
    struct findings f = {.out = out, .max = max};

    if (cfg->ipv6)
        check_ipv6(&f, cfg->tun_name);
    if (cfg->server) {
        if (cfg->ipv4)
            check_forwarding(&f, false);
        if (cfg->ipv6)
            check_forwarding(&f, true);
        check_forward_drops(&f, cfg);
    } else if (cfg->default_route) {
        for (size_t i = 0; i < cfg->n_links && cfg->ipv4; i++)
            check_rp_filter(&f, cfg->links[i]);
        check_firewall_filter(&f);
    }
    return f.n;
}

void netcheck_log(const struct netcheck_item *items, size_t n, const struct log *log)
{
    for (size_t i = 0; i < n; i++)
        LOG_AT(log, LOG_WARN, "%s: %s; fix: %s", items[i].what, items[i].why, items[i].fix);
}
