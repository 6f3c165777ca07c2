/*
 * netlink - one request to the kernel and its answers, over libmnl. For tun/ only.
 *
 * Model: a blocking socket; every request is acknowledged or is a dump. Answers are read
 * until the request ends; an interrupted dump is reported so that the caller begins again.
 */
#ifndef TUN_NETLINK_H
#define TUN_NETLINK_H

#include <libmnl/libmnl.h>
#include <linux/netlink.h>

#include "quic/types.h"
#include "tun/addr.h"

#define NETLINK_REQUEST_BYTES 8192

struct netlink {
    struct mnl_socket *sock;
    unsigned port;
    uint32_t seq;
    char say[128]; /* the kernel's own sentence about the last error, or "" */
    bool dump_cut; /* the last dump was changed under way: not all of it is true */
    _Alignas(8) char req[NETLINK_REQUEST_BYTES];
};

/* Open towards `bus` (NETLINK_ROUTE, NETLINK_NETFILTER). Returns 0 or -errno. */
int netlink_open(struct netlink *n, int bus);

/* Close; again is fine. */
void netlink_close(struct netlink *n);

/*
 * Begin a request of `type` in n->req with `flags` besides NLM_F_REQUEST, and with `extra`
 * zeroed bytes of family header, whose address goes to `*head`.
 */
struct nlmsghdr *netlink_begin(struct netlink *n, uint16_t type, uint16_t flags, size_t extra,
                               void **head);

/*
 * Send the request (acknowledged, unless it is a dump) and give each answer to `cb`
 * (NULL: none is expected). `cb` returns MNL_CB_OK or MNL_CB_ERROR with errno.
 *
 * Returns 0, the error of the kernel (n->say may have its sentence), or -EINTR when a dump
 * was changed under way.
 */
int netlink_ask(struct netlink *n, struct nlmsghdr *nlh, mnl_cb_t cb, void *ctx);

/* Append an address attribute. */
void netlink_put_addr(struct nlmsghdr *nlh, uint16_t type, const struct tun_addr *a);

/* An address of `family` from an attribute; family 0 where `attr` is NULL or too short. */
struct tun_addr netlink_get_addr(const struct nlattr *attr, sa_family_t family);

/* Attributes by type into tb[0..max]; unknown ones are skipped. `offset`: family header. */
void netlink_attrs(const struct nlmsghdr *nlh, size_t offset, const struct nlattr **tb,
                   uint16_t max);

/* An attribute's 32-bit number, or `otherwise` where it is NULL or too short. */
uint32_t netlink_u32(const struct nlattr *attr, uint32_t otherwise);

/* "REASON (KERNEL'S SENTENCE)" of a failed netlink_ask into `out`; returns out. */
const char *netlink_reason(const struct netlink *n, int err, char *out, size_t size);

#endif
