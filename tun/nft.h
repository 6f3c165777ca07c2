/*
 * nft - the NAT table of a tunnel, written to nf_tables by netlink; and what others drop.
 *
 * Speaks the kernel's nf_tables protocol itself, so that NAT works on a machine without any
 * nftables program or library. One transaction makes the whole table or nothing.
 *
 * The table belongs to the netlink socket where the kernel knows that (5.12): nobody else's
 * `flush ruleset` removes it, and the kernel removes it when the process dies. Elsewhere it
 * stays until nft_table_del.
 *
 * Errors: see tun/why.h.
 */
#ifndef TUN_NFT_H
#define TUN_NFT_H

#include <net/if.h>

#include "quic/types.h"
#include "tun/addr.h"
#include "tun/why.h"

#define NFT_NAME_SIZE 64 /* a table or chain name with its NUL, as we keep it */
#define NFT_POOLS_MAX 16
#define NFT_FIREWALLD "firewalld" /* the table of that program */

struct nft;

/* Open the netlink socket in the current network namespace. Returns 0 or -errno. */
int nft_new(struct nft **out, char *why, size_t why_size);

/* Close and free; the kernel removes tables that the socket owns. NULL is fine. */
void nft_del(struct nft *nf);

/* What the table does. Pools may be of both families, at most NFT_POOLS_MAX. */
struct nft_nat {
    const char *table;              /* its name, family inet; ours alone */
    const char *tun_name;           /* the TUN device */
    const struct tun_prefix *pools; /* sources to be masqueraded */
    size_t n_pools;
    bool unowned; /* don't bind the table to the socket */
};

/*
 * Make the table, in place of one of the same name that nobody owns:
 *   - masquerade what comes from a pool and leaves by another link than the TUN
 *   - clamp the TCP maximum segment size of what is forwarded in and out of the TUN to the
 *     path MTU, so that connections work where ICMP does not
 * `*owned` (may be NULL) tells whether the kernel removes it when this process dies.
 *
 * Returns 0; -EINVAL (bad name, no pool, too many); -EPERM (no CAP_NET_ADMIN, or the table
 * is owned by another process); -EOPNOTSUPP (kernel without nf_tables, its inet family,
 * or NAT in it: 5.2); other errnos.
 */
int nft_nat_set(struct nft *nf, const struct nft_nat *nat, bool *owned, char *why,
                size_t why_size);

/* Remove table `table` of family inet. Returns 0, -ENOENT (there is none), -EPERM, -errno. */
int nft_table_del(struct nft *nf, const char *table, char *why, size_t why_size);

/*
 * A base chain at the forward hook whose policy is to drop; or that of firewalld, which
 * accepts by policy but ends with a rule that rejects.
 */
struct nft_drop {
    uint8_t family; /* NFPROTO_IPV4, NFPROTO_IPV6 or NFPROTO_INET */
    bool legacy;    /* of iptables-legacy, not nf_tables */
    bool named;     /* a rule of the same table mentions the TUN by name */
    char table[NFT_NAME_SIZE];
    char chain[NFT_NAME_SIZE];
};

/*
 * Forward chains of this namespace that drop by policy, `tun_name` deciding `named`.
 * Returns how many there are (only `max` are written), 0 too on a kernel without
 * nf_tables; or -errno (-EPERM).
 */
int nft_forward_drops(struct nft *nf, const char *tun_name, struct nft_drop *out, size_t max,
                      char *why, size_t why_size);

/* A rule that looks up the way back to a packet's sender out of the link of its arrival. */
struct nft_filter {
    uint8_t family; /* NFPROTO_IPV4, NFPROTO_IPV6, NFPROTO_INET, ... */
    char table[NFT_NAME_SIZE];
    char chain[NFT_NAME_SIZE];
};

/*
 * Find a strict reverse path filter among the rules of this namespace ("fib saddr . iif
 * oif", as of firewalld's IPv6_rpfilter). It drops what arrives by one link while the route
 * to the sender leads into another.
 * Returns whether there is one, the first in `*out`; false too where rules can't be read.
 */
bool nft_strict_filter(struct nft *nf, struct nft_filter *out);

#endif
