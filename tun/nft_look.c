/* What other firewalls of this machine do to our packets. */
#include <errno.h>
#include <netinet/in.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "tun/nft_int.h"
#include "tun/xtables.h"

#define REASON_MAX 192
#define DUMP_TRIES 8

/* ---- forwarded packets ---- */

struct drops {
    struct nft_drop *out;
    size_t n, max;
};

struct name_search {
    const char *name;
    bool found;
};

static void copy_name(char out[NFT_NAME_SIZE], const struct nlattr *attr)
{
    if (attr && mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0)
        strncat(out, mnl_attr_get_str(attr), NFT_NAME_SIZE - 1);
}

/* A base chain at the forward hook that drops is added to the drops. */
static int on_chain(const struct nlmsghdr *nlh, void *ctx)
{
    const struct nfgenmsg *head = mnl_nlmsg_get_payload(nlh);
    const struct nlattr *tb[NFTA_CHAIN_POLICY + 1], *attr;
    struct nft_drop e = {0};
    struct drops *d = ctx;
    uint32_t hook = UINT32_MAX;

    if (nlh->nlmsg_len < mnl_nlmsg_size(sizeof(*head)) ||
        (nlh->nlmsg_type & 0xff) != NFT_MSG_NEWCHAIN)
        return MNL_CB_OK;
    if (head->nfgen_family != NFPROTO_IPV4 && head->nfgen_family != NFPROTO_IPV6 &&
        head->nfgen_family != NFPROTO_INET)
        return MNL_CB_OK;
    netlink_attrs(nlh, sizeof(*head), tb, NFTA_CHAIN_POLICY);
    if (!tb[NFTA_CHAIN_HOOK] || !tb[NFTA_CHAIN_POLICY])
        return MNL_CB_OK;
    mnl_attr_for_each_nested(attr, tb[NFTA_CHAIN_HOOK])
    {
        if (mnl_attr_get_type(attr) == NFTA_HOOK_HOOKNUM)
            hook = ntohl(netlink_u32(attr, UINT32_MAX));
    }
    copy_name(e.table, tb[NFTA_CHAIN_TABLE]);
    copy_name(e.chain, tb[NFTA_CHAIN_NAME]);
    if (hook != NF_INET_FORWARD || (netlink_u32(tb[NFTA_CHAIN_POLICY], ~0u) != htonl(NF_DROP) &&
                                    strcmp(e.table, NFT_FIREWALLD)))
        return MNL_CB_OK;
    e.family = head->nfgen_family;
    if (d->n++ < d->max)
        d->out[d->n - 1] = e;
    return MNL_CB_OK;
}

/* Device names stand in rules as text that a NUL ends. */
static int on_rule(const struct nlmsghdr *nlh, void *ctx)
{
    struct name_search *s = ctx;

    if (memmem(nlh, nlh->nlmsg_len, s->name, strlen(s->name) + 1))
        s->found = true;
    return MNL_CB_OK;
}

/* Begin a dump of chains or rules of `family`. */
static struct nlmsghdr *dump(struct netlink *n, uint16_t what, uint8_t family)
{
    struct nfgenmsg *head;
    void *at;
    struct nlmsghdr *nlh = netlink_begin(n, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | what),
                                         NLM_F_DUMP, sizeof(*head), &at);

    head = at;
    head->nfgen_family = family;
    head->version = NFNETLINK_V0;
    return nlh;
}

static bool table_names(struct nft *nf, const struct nft_drop *e, const char *name)
{
    struct name_search s = {.name = name};
    int err = -EINTR;

    for (int i = 0; i < DUMP_TRIES && err == -EINTR; i++) {
        struct nlmsghdr *nlh = dump(&nf->nl, NFT_MSG_GETRULE, e->family);

        mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, e->table);
        err = netlink_ask(&nf->nl, nlh, on_rule, &s);
    }
    return s.found;
}

static void add_legacy(struct drops *d, sa_family_t family, const char *tun_name)
{
    bool named;

    if (!xtables_forward_drop(family, tun_name, &named))
        return;
    if (d->n++ < d->max)
        d->out[d->n - 1] =
            (struct nft_drop){.family = family == AF_INET6 ? NFPROTO_IPV6 : NFPROTO_IPV4,
                              .legacy = true,
                              .named = named,
                              .table = "filter",
                              .chain = "FORWARD"};
}

int nft_forward_drops(struct nft *nf, const char *tun_name, struct nft_drop *out, size_t max,
                      char *why, size_t why_size)
{
    struct drops d;
    int err = -EINTR;

    for (int i = 0; i < DUMP_TRIES && err == -EINTR; i++) {
        d = (struct drops){.out = out, .max = max};
        err =
            netlink_ask(&nf->nl, dump(&nf->nl, NFT_MSG_GETCHAIN, NFPROTO_UNSPEC), on_chain, &d);
    }
    if (err && err != -EINVAL && err != -EOPNOTSUPP) {
        char reason[REASON_MAX];

        return why_set(why, why_size, err, "can't list the firewall's chains: %s",
                       netlink_reason(&nf->nl, err, reason, sizeof(reason)));
    }
    for (size_t i = 0; i < d.n && i < max; i++)
        out[i].named = table_names(nf, &out[i], tun_name);
    add_legacy(&d, AF_INET, tun_name);
    add_legacy(&d, AF_INET6, tun_name);
    return (int)d.n;
}

/* ---- reverse path filters ---- */

struct filter_search {
    struct nft_filter *out;
    bool found;
};

/* Attributes of a nest by type, as netlink_attrs. */
static void nested(const struct nlattr *nest, const struct nlattr **tb, uint16_t max)
{
    const struct nlattr *attr;

    memset(tb, 0, (max + (size_t)1) * sizeof(*tb));
    mnl_attr_for_each_nested(attr, nest)
    {
        if (mnl_attr_get_type(attr) <= max)
            tb[mnl_attr_get_type(attr)] = attr;
    }
}

/* Whether an expression looks up the way back to the sender out of the link of arrival. */
static bool strict_fib(const struct nlattr *elem)
{
    const struct nlattr *expr[NFTA_EXPR_DATA + 1], *fib[NFTA_FIB_FLAGS + 1];
    uint32_t need = NFTA_FIB_F_SADDR | NFTA_FIB_F_IIF, flags;

    nested(elem, expr, NFTA_EXPR_DATA);
    if (!expr[NFTA_EXPR_NAME] || !expr[NFTA_EXPR_DATA] ||
        mnl_attr_validate(expr[NFTA_EXPR_NAME], MNL_TYPE_NUL_STRING) < 0 ||
        strcmp(mnl_attr_get_str(expr[NFTA_EXPR_NAME]), "fib"))
        return false;
    nested(expr[NFTA_EXPR_DATA], fib, NFTA_FIB_FLAGS);
    flags = ntohl(netlink_u32(fib[NFTA_FIB_FLAGS], 0));
    return netlink_u32(fib[NFTA_FIB_RESULT], 0) == htonl(NFT_FIB_RESULT_OIF) &&
           (flags & need) == need;
}

static int on_filter_rule(const struct nlmsghdr *nlh, void *ctx)
{
    const struct nfgenmsg *head = mnl_nlmsg_get_payload(nlh);
    const struct nlattr *tb[NFTA_RULE_EXPRESSIONS + 1], *elem;
    struct filter_search *s = ctx;

    if (s->found || nlh->nlmsg_len < mnl_nlmsg_size(sizeof(*head)))
        return MNL_CB_OK;
    netlink_attrs(nlh, sizeof(*head), tb, NFTA_RULE_EXPRESSIONS);
    if (!tb[NFTA_RULE_EXPRESSIONS])
        return MNL_CB_OK;
    mnl_attr_for_each_nested(elem, tb[NFTA_RULE_EXPRESSIONS])
    {
        s->found = s->found || strict_fib(elem);
    }
    if (s->found) {
        *s->out = (struct nft_filter){.family = head->nfgen_family};
        copy_name(s->out->table, tb[NFTA_RULE_TABLE]);
        copy_name(s->out->chain, tb[NFTA_RULE_CHAIN]);
    }
    return MNL_CB_OK;
}

bool nft_strict_filter(struct nft *nf, struct nft_filter *out)
{
    struct filter_search s = {.out = out};
    int err = -EINTR;

    for (int i = 0; i < DUMP_TRIES && err == -EINTR; i++)
        err = netlink_ask(&nf->nl, dump(&nf->nl, NFT_MSG_GETRULE, NFPROTO_UNSPEC),
                          on_filter_rule, &s);
    return s.found;
}
