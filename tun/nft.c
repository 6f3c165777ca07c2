#include "tun/nft.h"

#include <errno.h>
#include <netinet/in.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "tun/nft_int.h"
#include "tun/tun.h"

#define BATCH_BYTES   32768
#define MESSAGE_BYTES 1024 /* more than any single message of ours */
#define TCP_FLAGS_OFF 13   /* RFC 9293 3.1: the octet of the control bits */
#define TCP_SYN       0x02
#define TCP_RST       0x04
#define TCPOPT_MAXSEG 2

/* Priorities that the nft program calls "srcnat" and "mangle". */
#define PRIORITY_SRCNAT 100
#define PRIORITY_MANGLE (-150)

/* Since kernel 5.12; older headers lack them. */
#ifndef NFT_TABLE_F_OWNER
#define NFT_TABLE_F_OWNER 0x2
#endif

/* Messages of one transaction. */
struct batch {
    struct nft *nf;
    const char *table;
    uint32_t first; /* sequence numbers of its messages: first..nl.seq */
    size_t n;
    struct nlmsghdr *last; /* message under construction or just made */
    _Alignas(8) char buf[BATCH_BYTES];
};

int nft_new(struct nft **out, char *why, size_t why_size)
{
    struct nft *nf = calloc(1, sizeof(*nf));
    int err;

    if (!nf)
        return why_set(why, why_size, -ENOMEM, "out of memory");
    err = netlink_open(&nf->nl, NETLINK_NETFILTER);
    if (err) {
        free(nf);
        return why_set(why, why_size, err, "can't talk to nf_tables: %s%s", strerror(-err),
                       err == -EPROTONOSUPPORT ? " (this kernel was built without it)" : "");
    }
    *out = nf;
    return 0;
}

void nft_del(struct nft *nf)
{
    if (!nf)
        return;
    netlink_close(&nf->nl);
    free(nf);
}

/* ---- messages of a transaction ---- */

/* Begin the next message; its predecessor is complete then. */
static struct nlmsghdr *message(struct batch *b, uint16_t type, uint16_t flags, uint8_t family,
                                uint16_t res_id)
{
    struct nfgenmsg *head;
    struct nlmsghdr *nlh;

    if (b->last)
        b->n += MNL_ALIGN(b->last->nlmsg_len);
    if (b->n + MESSAGE_BYTES > sizeof(b->buf))
        abort(); /* NFT_POOLS_MAX rules fit */
    nlh = mnl_nlmsg_put_header(b->buf + b->n);
    nlh->nlmsg_type = type;
    nlh->nlmsg_flags = NLM_F_REQUEST | flags;
    nlh->nlmsg_seq = ++b->nf->nl.seq;
    head = mnl_nlmsg_put_extra_header(nlh, sizeof(*head));
    head->nfgen_family = family;
    head->version = NFNETLINK_V0;
    head->res_id = htons(res_id);
    b->last = nlh;
    return nlh;
}

static struct nlmsghdr *begin(struct batch *b, uint16_t what, uint16_t flags)
{
    return message(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | what), flags, NFPROTO_INET, 0);
}

static void batch_init(struct batch *b, struct nft *nf, const char *table)
{
    memset(b, 0, sizeof(*b));
    b->nf = nf;
    b->table = table;
    b->first = nf->nl.seq + 1;
    message(b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
}

/* Whether one answer ends the transaction, with its verdict in `*err`. */
static bool batch_verdict(const struct batch *b, const struct nlmsghdr *a, uint32_t acked,
                          int *err)
{
    const struct nlmsgerr *e = mnl_nlmsg_get_payload(a);

    if (a->nlmsg_type != NLMSG_ERROR || a->nlmsg_pid != b->nf->nl.port ||
        a->nlmsg_seq - b->first > acked - b->first || a->nlmsg_len < mnl_nlmsg_size(sizeof(*e)))
        return false;
    *err = e->error;
    return e->error != 0 || a->nlmsg_seq == acked;
}

/* Commit: all messages take effect, or none. Returns 0 or -errno. */
static int commit(struct batch *b)
{
    struct netlink *n = &b->nf->nl;
    uint32_t acked = n->seq;
    _Alignas(8) char answer[8192];
    int err = 0;

    b->last->nlmsg_flags |= NLM_F_ACK;
    message(b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    n->say[0] = '\0';
    if (mnl_socket_sendto(n->sock, b->buf, b->n + b->last->nlmsg_len) < 0)
        return -errno;
    for (;;) {
        ssize_t got = mnl_socket_recvfrom(n->sock, answer, sizeof(answer));
        int left = (int)got;

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        for (const struct nlmsghdr *a = (const struct nlmsghdr *)answer; mnl_nlmsg_ok(a, left);
             a = mnl_nlmsg_next(a, &left)) {
            if (batch_verdict(b, a, acked, &err))
                return err;
        }
    }
}

/* ---- parts of messages ---- */

static void put_be32(struct nlmsghdr *nlh, uint16_t type, uint32_t v)
{
    mnl_attr_put_u32(nlh, type, htonl(v));
}

static void add_table(struct batch *b, uint32_t flags)
{
    struct nlmsghdr *nlh = begin(b, NFT_MSG_NEWTABLE, NLM_F_CREATE);

    mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, b->table);
    if (flags)
        put_be32(nlh, NFTA_TABLE_FLAGS, flags);
}

static void remove_table(struct batch *b)
{
    mnl_attr_put_strz(begin(b, NFT_MSG_DELTABLE, 0), NFTA_TABLE_NAME, b->table);
}

static void add_chain(struct batch *b, const char *chain, const char *type, uint32_t hook,
                      int priority)
{
    struct nlmsghdr *nlh = begin(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
    struct nlattr *nest;

    mnl_attr_put_strz(nlh, NFTA_CHAIN_TABLE, b->table);
    mnl_attr_put_strz(nlh, NFTA_CHAIN_NAME, chain);
    mnl_attr_put_strz(nlh, NFTA_CHAIN_TYPE, type);
    nest = mnl_attr_nest_start(nlh, NFTA_CHAIN_HOOK);
    put_be32(nlh, NFTA_HOOK_HOOKNUM, hook);
    put_be32(nlh, NFTA_HOOK_PRIORITY, (uint32_t)priority);
    mnl_attr_nest_end(nlh, nest);
    put_be32(nlh, NFTA_CHAIN_POLICY, NF_ACCEPT);
}

/* A rule under construction: its message and the nests that are open. */
struct rule {
    struct nlmsghdr *nlh;
    struct nlattr *list, *elem, *data;
};

static struct rule rule_begin(struct batch *b, const char *chain)
{
    struct rule r = {.nlh = begin(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND)};

    mnl_attr_put_strz(r.nlh, NFTA_RULE_TABLE, b->table);
    mnl_attr_put_strz(r.nlh, NFTA_RULE_CHAIN, chain);
    r.list = mnl_attr_nest_start(r.nlh, NFTA_RULE_EXPRESSIONS);
    return r;
}

static void rule_end(struct rule *r)
{
    mnl_attr_nest_end(r->nlh, r->list);
}

static void expr_begin(struct rule *r, const char *name)
{
    r->elem = mnl_attr_nest_start(r->nlh, NFTA_LIST_ELEM);
    mnl_attr_put_strz(r->nlh, NFTA_EXPR_NAME, name);
    r->data = mnl_attr_nest_start(r->nlh, NFTA_EXPR_DATA);
}

static void expr_end(struct rule *r)
{
    mnl_attr_nest_end(r->nlh, r->data);
    mnl_attr_nest_end(r->nlh, r->elem);
}

static void put_value(struct rule *r, uint16_t type, const void *p, size_t n)
{
    struct nlattr *nest = mnl_attr_nest_start(r->nlh, type);

    mnl_attr_put(r->nlh, NFTA_DATA_VALUE, n, p);
    mnl_attr_nest_end(r->nlh, nest);
}

/* Register 1 becomes packet metadata `key`. */
static void load_meta(struct rule *r, uint32_t key)
{
    expr_begin(r, "meta");
    put_be32(r->nlh, NFTA_META_DREG, NFT_REG_1);
    put_be32(r->nlh, NFTA_META_KEY, key);
    expr_end(r);
}

/* Register 1 becomes `n` bytes at `off` of the network or transport header. */
static void load_payload(struct rule *r, uint32_t base, uint32_t off, uint32_t n)
{
    expr_begin(r, "payload");
    put_be32(r->nlh, NFTA_PAYLOAD_DREG, NFT_REG_1);
    put_be32(r->nlh, NFTA_PAYLOAD_BASE, base);
    put_be32(r->nlh, NFTA_PAYLOAD_OFFSET, off);
    put_be32(r->nlh, NFTA_PAYLOAD_LEN, n);
    expr_end(r);
}

/* Register 1 keeps the bits of `mask` only. */
static void keep_bits(struct rule *r, const uint8_t *mask, uint32_t n)
{
    static const uint8_t zero[16];

    expr_begin(r, "bitwise");
    put_be32(r->nlh, NFTA_BITWISE_SREG, NFT_REG_1);
    put_be32(r->nlh, NFTA_BITWISE_DREG, NFT_REG_1);
    put_be32(r->nlh, NFTA_BITWISE_LEN, n);
    put_value(r, NFTA_BITWISE_MASK, mask, n);
    put_value(r, NFTA_BITWISE_XOR, zero, n);
    expr_end(r);
}

/* The rule goes on only if register 1 compares with `n` bytes at `p` as `op` says. */
static void compare(struct rule *r, uint32_t op, const void *p, size_t n)
{
    expr_begin(r, "cmp");
    put_be32(r->nlh, NFTA_CMP_SREG, NFT_REG_1);
    put_be32(r->nlh, NFTA_CMP_OP, op);
    put_value(r, NFTA_CMP_DATA, p, n);
    expr_end(r);
}

static void compare_byte(struct rule *r, uint32_t key, uint8_t v)
{
    load_meta(r, key);
    compare(r, NFT_CMP_EQ, &v, 1);
}

static void compare_link(struct rule *r, uint32_t key, uint32_t op, const char *name)
{
    char padded[IFNAMSIZ] = "";

    strncpy(padded, name, sizeof(padded) - 1);
    load_meta(r, key);
    compare(r, op, padded, sizeof(padded));
}

/* ---- the rules ---- */

/* Source in `pool`, leaving by another link than the TUN: masquerade. */
static void masquerade(struct batch *b, const struct tun_prefix *pool, const char *tun_name)
{
    struct tun_prefix net = tun_prefix_network(pool), ones = *pool;
    bool v6 = pool->addr.family == AF_INET6;
    uint32_t n = v6 ? 16 : 4;
    struct rule r = rule_begin(b, "postrouting");

    memset(ones.addr.ip, 0xff, n);
    ones = tun_prefix_network(&ones);
    compare_byte(&r, NFT_META_NFPROTO, v6 ? NFPROTO_IPV6 : NFPROTO_IPV4);
    load_payload(&r, NFT_PAYLOAD_NETWORK_HEADER, v6 ? 8 : 12, n);
    keep_bits(&r, ones.addr.ip, n);
    compare(&r, NFT_CMP_EQ, net.addr.ip, n);
    compare_link(&r, NFT_META_OIFNAME, NFT_CMP_NEQ, tun_name);
    expr_begin(&r, "masq");
    expr_end(&r);
    rule_end(&r);
}

/* A TCP SYN forwarded over the TUN, `key` saying which way: lower its MSS to the path MTU. */
static void clamp(struct batch *b, uint32_t key, const char *tun_name)
{
    static const uint8_t mask = TCP_SYN | TCP_RST, syn = TCP_SYN;
    struct rule r = rule_begin(b, "forward");

    compare_link(&r, key, NFT_CMP_EQ, tun_name);
    compare_byte(&r, NFT_META_L4PROTO, IPPROTO_TCP);
    load_payload(&r, NFT_PAYLOAD_TRANSPORT_HEADER, TCP_FLAGS_OFF, 1);
    keep_bits(&r, &mask, 1);
    compare(&r, NFT_CMP_EQ, &syn, 1);
    expr_begin(&r, "rt");
    put_be32(r.nlh, NFTA_RT_DREG, NFT_REG_1);
    put_be32(r.nlh, NFTA_RT_KEY, NFT_RT_TCPMSS);
    expr_end(&r);
    expr_begin(&r, "byteorder");
    put_be32(r.nlh, NFTA_BYTEORDER_SREG, NFT_REG_1);
    put_be32(r.nlh, NFTA_BYTEORDER_DREG, NFT_REG_1);
    put_be32(r.nlh, NFTA_BYTEORDER_OP, NFT_BYTEORDER_HTON);
    put_be32(r.nlh, NFTA_BYTEORDER_LEN, 2);
    put_be32(r.nlh, NFTA_BYTEORDER_SIZE, 2);
    expr_end(&r);
    expr_begin(&r, "exthdr");
    put_be32(r.nlh, NFTA_EXTHDR_SREG, NFT_REG_1);
    mnl_attr_put_u8(r.nlh, NFTA_EXTHDR_TYPE, TCPOPT_MAXSEG);
    put_be32(r.nlh, NFTA_EXTHDR_OFFSET, 2);
    put_be32(r.nlh, NFTA_EXTHDR_LEN, 2);
    put_be32(r.nlh, NFTA_EXTHDR_OP, NFT_EXTHDR_OP_TCPOPT);
    expr_end(&r);
    rule_end(&r);
}

/* Make the table in one transaction. Returns 0 or -errno. */
static int nat_set(struct nft *nf, const struct nft_nat *nat, bool owned)
{
    struct batch b;

    batch_init(&b, nf, nat->table);
    add_table(&b, 0); /* so that there is one to remove */
    remove_table(&b);
    add_table(&b, owned ? NFT_TABLE_F_OWNER : 0);
    add_chain(&b, "postrouting", "nat", NF_INET_POST_ROUTING, PRIORITY_SRCNAT);
    for (size_t i = 0; i < nat->n_pools; i++)
        masquerade(&b, &nat->pools[i], nat->tun_name);
    add_chain(&b, "forward", "filter", NF_INET_FORWARD, PRIORITY_MANGLE);
    clamp(&b, NFT_META_IIFNAME, nat->tun_name);
    clamp(&b, NFT_META_OIFNAME, nat->tun_name);
    return commit(&b);
}

static int nat_check(const struct nft_nat *nat, char *why, size_t why_size)
{
    if (!nat->table[0] || strlen(nat->table) >= NFT_NAME_SIZE)
        return why_set(why, why_size, -EINVAL, "'%.70s' can't name an nf_tables table",
                       nat->table);
    if (tun_name_check(nat->tun_name, false, why, why_size))
        return -EINVAL;
    if (nat->n_pools == 0 || nat->n_pools > NFT_POOLS_MAX)
        return why_set(why, why_size, -EINVAL, "NAT needs 1 to %d address pools, not %zu",
                       NFT_POOLS_MAX, nat->n_pools);
    for (size_t i = 0; i < nat->n_pools; i++) {
        if (nat->pools[i].len > 8 * tun_addr_size(nat->pools[i].addr.family) ||
            !nat->pools[i].addr.family)
            return why_set(why, why_size, -EINVAL, "an address pool of the NAT is no prefix");
    }
    return 0;
}

/* The sentence for a failed transaction; returns the code for the caller. */
static int nat_error(const struct nft_nat *nat, int err, char *why, size_t why_size)
{
    switch (err) {
    case -EPERM:
        return why_set(why, why_size, err,
                       "not allowed to set up NAT (table %s): run as root (CAP_NET_ADMIN), "
                       "with no other mqvpn on the same TUN name",
                       nat->table);
    case -EOPNOTSUPP:
    case -EAFNOSUPPORT:
    case -ENOENT: /* a type of chain or expression that this kernel lacks */
        return why_set(why, why_size, -EOPNOTSUPP,
                       "this kernel has no NAT in nf_tables: run 'modprobe nft_masq', or use "
                       "Linux 5.2 or newer with CONFIG_NFT_MASQ");
    default:
        return why_set(why, why_size, err, "can't set up NAT (table %s): %s", nat->table,
                       strerror(-err));
    }
}

int nft_nat_set(struct nft *nf, const struct nft_nat *nat, bool *owned, char *why,
                size_t why_size)
{
    bool bound = !nat->unowned;
    int err = nat_check(nat, why, why_size);

    if (err)
        return err;
    err = nat_set(nf, nat, bound);
    if (bound && (err == -EINVAL || err == -EOPNOTSUPP)) {
        bound = false; /* kernel before 5.12 */
        err = nat_set(nf, nat, false);
    }
    if (err)
        return nat_error(nat, err, why, why_size);
    if (owned)
        *owned = bound;
    return 0;
}

int nft_table_del(struct nft *nf, const char *table, char *why, size_t why_size)
{
    struct batch b;
    int err;

    if (!table[0] || strlen(table) >= NFT_NAME_SIZE)
        return why_set(why, why_size, -EINVAL, "'%.70s' can't name an nf_tables table", table);
    batch_init(&b, nf, table);
    remove_table(&b);
    err = commit(&b);
    if (err)
        why_set(why, why_size, err, "can't remove the nf_tables table %s: %s", table,
                strerror(-err));
    return err;
}
