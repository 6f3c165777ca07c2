#include "tun/netlink.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

int netlink_open(struct netlink *n, int bus)
{
    struct timeval patience = {.tv_sec = 5};
    int one = 1;

    memset(n, 0, sizeof(*n));
    n->sock = mnl_socket_open2(bus, SOCK_CLOEXEC);
    if (!n->sock)
        return -errno;
    if (mnl_socket_bind(n->sock, 0, MNL_SOCKET_AUTOPID) < 0) {
        int err = -errno;

        netlink_close(n);
        return err;
    }
    /* Sentences besides error codes, and no request echoed in errors; nice to have. */
    mnl_socket_setsockopt(n->sock, NETLINK_EXT_ACK, &one, sizeof(one));
    mnl_socket_setsockopt(n->sock, NETLINK_CAP_ACK, &one, sizeof(one));
    /* The kernel answers at once; should it ever not, an error is better than a standstill. */
    setsockopt(mnl_socket_get_fd(n->sock), SOL_SOCKET, SO_RCVTIMEO, &patience,
               sizeof(patience));
    n->port = mnl_socket_get_portid(n->sock);
    n->seq = (uint32_t)time(NULL);
    return 0;
}

void netlink_close(struct netlink *n)
{
    if (n->sock)
        mnl_socket_close(n->sock);
    n->sock = NULL;
}

struct nlmsghdr *netlink_begin(struct netlink *n, uint16_t type, uint16_t flags, size_t extra,
                               void **head)
{
    struct nlmsghdr *nlh;

    memset(n->req, 0, sizeof(n->req));
    nlh = mnl_nlmsg_put_header(n->req);
    nlh->nlmsg_type = type;
    nlh->nlmsg_flags = NLM_F_REQUEST | flags;
    if ((flags & NLM_F_DUMP) != NLM_F_DUMP) /* its bits mean others in other requests */
        nlh->nlmsg_flags |= NLM_F_ACK;
    *head = mnl_nlmsg_put_extra_header(nlh, extra);
    return nlh;
}

/* Keep the kernel's sentence of an error message, where it sent one. */
static void keep_sentence(struct netlink *n, const struct nlmsghdr *nlh)
{
    const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);
    size_t off = NLMSG_HDRLEN + sizeof(*e);
    const struct nlattr *attr;

    if (!(nlh->nlmsg_flags & NLM_F_ACK_TLVS))
        return;
    if (!(nlh->nlmsg_flags & NLM_F_CAPPED) && e->msg.nlmsg_len > sizeof(e->msg))
        off += MNL_ALIGN(e->msg.nlmsg_len - sizeof(e->msg));
    if (off > nlh->nlmsg_len)
        return;
    mnl_attr_for_each(attr, nlh, off - NLMSG_HDRLEN)
    {
        if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG &&
            mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0)
            snprintf(n->say, sizeof(n->say), "%s", mnl_attr_get_str(attr));
    }
}

/* One message of an answer. Returns 1: go on; 0: the request has ended; -errno. */
static int answer(struct netlink *n, const struct nlmsghdr *nlh, mnl_cb_t cb, void *ctx)
{
    const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);

    if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
        n->dump_cut = true;
    switch (nlh->nlmsg_type) {
    case NLMSG_ERROR:
        if (nlh->nlmsg_len < mnl_nlmsg_size(sizeof(*e)))
            return -EBADMSG;
        keep_sentence(n, nlh);
        return e->error;
    case NLMSG_DONE:
        return 0;
    case NLMSG_NOOP:
        return 1;
    case NLMSG_OVERRUN:
        return -ENOBUFS;
    default:
        if (cb && cb(nlh, ctx) < 0)
            return -errno;
        return 1;
    }
}

int netlink_ask(struct netlink *n, struct nlmsghdr *nlh, mnl_cb_t cb, void *ctx)
{
    _Alignas(8) char buf[32768];
    uint32_t seq = ++n->seq;

    nlh->nlmsg_seq = seq;
    n->say[0] = '\0';
    n->dump_cut = false;
    if (mnl_socket_sendto(n->sock, nlh, nlh->nlmsg_len) < 0)
        return -errno;
    for (;;) {
        ssize_t got = mnl_socket_recvfrom(n->sock, buf, sizeof(buf));
        int left = (int)got;

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        for (const struct nlmsghdr *a = (const struct nlmsghdr *)buf; mnl_nlmsg_ok(a, left);
             a = mnl_nlmsg_next(a, &left)) {
            int rc;

            if (a->nlmsg_seq != seq || a->nlmsg_pid != n->port)
                continue; /* the rest of an answer given up on earlier */
            rc = answer(n, a, cb, ctx);
            if (rc == 0 && n->dump_cut)
                return -EINTR;
            if (rc <= 0)
                return rc;
        }
    }
}

void netlink_put_addr(struct nlmsghdr *nlh, uint16_t type, const struct tun_addr *a)
{
    mnl_attr_put(nlh, type, tun_addr_size(a->family), a->ip);
}

struct tun_addr netlink_get_addr(const struct nlattr *attr, sa_family_t family)
{
    if (!attr || !tun_addr_size(family) ||
        mnl_attr_get_payload_len(attr) < tun_addr_size(family))
        return (struct tun_addr){0};
    return tun_addr_raw(family, mnl_attr_get_payload(attr));
}

void netlink_attrs(const struct nlmsghdr *nlh, size_t offset, const struct nlattr **tb,
                   uint16_t max)
{
    const struct nlattr *attr;

    memset(tb, 0, (max + (size_t)1) * sizeof(*tb));
    mnl_attr_for_each(attr, nlh, offset)
    {
        if (mnl_attr_get_type(attr) <= max)
            tb[mnl_attr_get_type(attr)] = attr;
    }
}

uint32_t netlink_u32(const struct nlattr *attr, uint32_t otherwise)
{
    if (!attr || mnl_attr_get_payload_len(attr) < sizeof(uint32_t))
        return otherwise;
    return mnl_attr_get_u32(attr);
}

const char *netlink_reason(const struct netlink *n, int err, char *out, size_t size)
{
    if (n->say[0])
        snprintf(out, size, "%s (%s)", strerror(-err), n->say);
    else
        snprintf(out, size, "%s", strerror(-err));
    return out;
}
