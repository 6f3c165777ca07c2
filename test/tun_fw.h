/*
 * tun_fw - firewall chains of other programs, made for tests: nf_tables chains as
 * iptables-nft, ufw or docker would leave them, written by hand.
 */
#ifndef TEST_TUN_FW_H
#define TEST_TUN_FW_H

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "test/tun_ns.h"

/* One message of a transaction at `buf`, numbered `seq`. */
static struct nlmsghdr *fw_message(char *buf, uint16_t type, uint16_t flags, uint32_t seq,
                                   uint8_t family, uint16_t res_id)
{
    struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
    struct nfgenmsg *head = mnl_nlmsg_put_extra_header(nlh, sizeof(*head));

    nlh->nlmsg_type = type;
    nlh->nlmsg_flags = NLM_F_REQUEST | flags;
    nlh->nlmsg_seq = seq;
    head->nfgen_family = family;
    head->version = NFNETLINK_V0;
    head->res_id = htons(res_id);
    return nlh;
}

static void fw_rule(struct nlmsghdr *nlh, const char *table, const char *chain,
                    const char *ifname)
{
    struct nlattr *list, *elem, *data, *value;

    mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, table);
    mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, chain);
    list = mnl_attr_nest_start(nlh, NFTA_RULE_EXPRESSIONS);
    elem = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
    mnl_attr_put_strz(nlh, NFTA_EXPR_NAME, "meta");
    data = mnl_attr_nest_start(nlh, NFTA_EXPR_DATA);
    mnl_attr_put_u32(nlh, NFTA_META_DREG, htonl(NFT_REG_1));
    mnl_attr_put_u32(nlh, NFTA_META_KEY, htonl(NFT_META_IIFNAME));
    mnl_attr_nest_end(nlh, data);
    mnl_attr_nest_end(nlh, elem);
    elem = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
    mnl_attr_put_strz(nlh, NFTA_EXPR_NAME, "cmp");
    data = mnl_attr_nest_start(nlh, NFTA_EXPR_DATA);
    mnl_attr_put_u32(nlh, NFTA_CMP_SREG, htonl(NFT_REG_1));
    mnl_attr_put_u32(nlh, NFTA_CMP_OP, htonl(NFT_CMP_EQ));
    value = mnl_attr_nest_start(nlh, NFTA_CMP_DATA);
    mnl_attr_put(nlh, NFTA_DATA_VALUE, strlen(ifname) + 1, ifname);
    mnl_attr_nest_end(nlh, value);
    mnl_attr_nest_end(nlh, data);
    mnl_attr_nest_end(nlh, elem);
    mnl_attr_nest_end(nlh, list);
}

/* fib FLAGS oif => register 1: the link that leads to the sender. */
static void fw_fib_rule(struct nlmsghdr *nlh, const char *table, const char *chain,
                        uint32_t flags)
{
    struct nlattr *list, *elem, *data;

    mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, table);
    mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, chain);
    list = mnl_attr_nest_start(nlh, NFTA_RULE_EXPRESSIONS);
    elem = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
    mnl_attr_put_strz(nlh, NFTA_EXPR_NAME, "fib");
    data = mnl_attr_nest_start(nlh, NFTA_EXPR_DATA);
    mnl_attr_put_u32(nlh, NFTA_FIB_DREG, htonl(NFT_REG_1));
    mnl_attr_put_u32(nlh, NFTA_FIB_RESULT, htonl(NFT_FIB_RESULT_OIF));
    mnl_attr_put_u32(nlh, NFTA_FIB_FLAGS, htonl(flags));
    mnl_attr_nest_end(nlh, data);
    mnl_attr_nest_end(nlh, elem);
    mnl_attr_nest_end(nlh, list);
}

/*
 * A table with one chain at `hook` of policy `policy` (NF_DROP, NF_ACCEPT); with a rule for
 * device `ifname` if not NULL, else with a fib lookup of `fib` flags if not 0.
 * Returns 0 or -errno.
 */
static int fw_chain(uint8_t family, const char *table, const char *chain, uint32_t hook,
                    uint32_t policy, const char *ifname, uint32_t fib)
{
    enum { BEGIN, TABLE, CHAIN, RULE, END, COUNT };
    static const uint16_t nft = NFNL_SUBSYS_NFTABLES << 8;
    _Alignas(8) char buf[8192] = "", answer[8192];
    struct netlink n;
    struct nlmsghdr *nlh;
    struct nlattr *nest;
    size_t at = 0;
    int err = netlink_open(&n, NETLINK_NETFILTER), left;

    if (err)
        return err;
    for (int i = BEGIN; i < COUNT; i++) {
        uint16_t create = NLM_F_CREATE;
        uint32_t seq = (uint32_t)i + 1;

        if (i == RULE && !ifname && !fib)
            continue;
        switch (i) {
        case BEGIN:
            nlh = fw_message(buf + at, NFNL_MSG_BATCH_BEGIN, 0, seq, AF_UNSPEC,
                             NFNL_SUBSYS_NFTABLES);
            break;
        case TABLE:
            nlh = fw_message(buf + at, nft | NFT_MSG_NEWTABLE, create, seq, family, 0);
            mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, table);
            break;
        case CHAIN:
            nlh = fw_message(buf + at, nft | NFT_MSG_NEWCHAIN, create | NLM_F_ACK, seq, family,
                             0);
            mnl_attr_put_strz(nlh, NFTA_CHAIN_TABLE, table);
            mnl_attr_put_strz(nlh, NFTA_CHAIN_NAME, chain);
            mnl_attr_put_strz(nlh, NFTA_CHAIN_TYPE, "filter");
            nest = mnl_attr_nest_start(nlh, NFTA_CHAIN_HOOK);
            mnl_attr_put_u32(nlh, NFTA_HOOK_HOOKNUM, htonl(hook));
            mnl_attr_put_u32(nlh, NFTA_HOOK_PRIORITY, htonl(0));
            mnl_attr_nest_end(nlh, nest);
            mnl_attr_put_u32(nlh, NFTA_CHAIN_POLICY, htonl(policy));
            break;
        case RULE:
            nlh = fw_message(buf + at, nft | NFT_MSG_NEWRULE, create | NLM_F_APPEND, seq,
                             family, 0);
            if (ifname)
                fw_rule(nlh, table, chain, ifname);
            else
                fw_fib_rule(nlh, table, chain, fib);
            break;
        default:
            nlh = fw_message(buf + at, NFNL_MSG_BATCH_END, 0, seq, AF_UNSPEC,
                             NFNL_SUBSYS_NFTABLES);
            break;
        }
        at += MNL_ALIGN(nlh->nlmsg_len);
    }
    if (mnl_socket_sendto(n.sock, buf, at) < 0)
        err = -errno;
    left = err ? 0 : (int)mnl_socket_recvfrom(n.sock, answer, sizeof(answer));
    nlh = (struct nlmsghdr *)answer;
    if (!err && (!mnl_nlmsg_ok(nlh, left) || nlh->nlmsg_type != NLMSG_ERROR))
        err = -EBADMSG;
    if (!err)
        err = ((struct nlmsgerr *)mnl_nlmsg_get_payload(nlh))->error;
    netlink_close(&n);
    return err;
}

__attribute__((unused)) static int fw_forward(uint8_t family, const char *table,
                                              const char *chain, uint32_t policy,
                                              const char *ifname)
{
    return fw_chain(family, table, chain, NF_INET_FORWARD, policy, ifname, 0);
}

/* A reverse path filter as firewalld has it; strict: with the link of arrival. */
__attribute__((unused)) static int fw_reverse_path(uint8_t family, const char *table,
                                                   const char *chain, bool strict)
{
    return fw_chain(family, table, chain, NF_INET_PRE_ROUTING, NF_ACCEPT, NULL,
                    NFTA_FIB_F_SADDR | NFTA_FIB_F_MARK | (strict ? NFTA_FIB_F_IIF : 0));
}

struct fw_seen {
    const char *table;
    bool found;
};

static int fw_on_table(const struct nlmsghdr *nlh, void *ctx)
{
    const struct nlattr *tb[NFTA_TABLE_NAME + 1];
    struct fw_seen *seen = ctx;

    netlink_attrs(nlh, sizeof(struct nfgenmsg), tb, NFTA_TABLE_NAME);
    if (tb[NFTA_TABLE_NAME] && !strcmp(mnl_attr_get_str(tb[NFTA_TABLE_NAME]), seen->table))
        seen->found = true;
    return MNL_CB_OK;
}

/* Whether nf_tables has a table of that name. */
__attribute__((unused)) static bool fw_table_exists(const char *table)
{
    struct fw_seen seen = {.table = table};
    struct nlmsghdr *nlh;
    struct netlink n;
    void *head;

    if (netlink_open(&n, NETLINK_NETFILTER))
        return false;
    nlh = netlink_begin(&n, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, NLM_F_DUMP,
                        sizeof(struct nfgenmsg), &head);
    netlink_ask(&n, nlh, fw_on_table, &seen);
    netlink_close(&n);
    return seen.found;
}

#endif
