#include "app/udp.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* ---- sockets ---- */

struct opt_row {
    int family; /* of the traffic that it acts on */
    int level, name, value;
    const char *text;
};

/*
 * DF set and the kernel's path MTU ignored: path MTU discovery is the transport's (RFC 9000
 * 14). ECN, local address and interface of each datagram.
 */
static const struct opt_row options[] = {
    // clang-format off
    {AF_INET,  IPPROTO_IP,   IP_MTU_DISCOVER,   IP_PMTUDISC_PROBE,   "IP_MTU_DISCOVER"},
    {AF_INET,  IPPROTO_IP,   IP_RECVTOS,        1,                   "IP_RECVTOS"},
    {AF_INET,  IPPROTO_IP,   IP_PKTINFO,        1,                   "IP_PKTINFO"},
    {AF_INET6, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE, "IPV6_MTU_DISCOVER"},
    {AF_INET6, IPPROTO_IPV6, IPV6_RECVTCLASS,   1,                   "IPV6_RECVTCLASS"},
    {AF_INET6, IPPROTO_IPV6, IPV6_RECVPKTINFO,  1,                   "IPV6_RECVPKTINFO"},
    // clang-format on
};

static int say(char *why, size_t why_size, int err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static int say(char *why, size_t why_size, int err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, why_size, fmt, ap);
    va_end(ap);
    return -err;
}

static int set_int(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) ? errno : 0;
}

/* Force, else ask for, a buffer of `want` bytes; returns what the kernel granted. */
static int sockbuf_set(int fd, int force, int name, int want)
{
    socklen_t len = sizeof(int);
    int got = 0;

    if (set_int(fd, SOL_SOCKET, force, want))
        set_int(fd, SOL_SOCKET, name, want);
    getsockopt(fd, SOL_SOCKET, name, &got, &len);
    return got / 2; /* the kernel doubles it for its own overhead */
}

static void sockbufs_set(int fd, const struct udp_cfg *cfg)
{
    int want = cfg->sockbuf_bytes ? cfg->sockbuf_bytes : UDP_SOCKBUF_BYTES;
    int rx = sockbuf_set(fd, SO_RCVBUFFORCE, SO_RCVBUF, want);
    int tx = sockbuf_set(fd, SO_SNDBUFFORCE, SO_SNDBUF, want);

    if (rx < want / 2 || tx < want / 2)
        LOG_AT(cfg->log, LOG_WARN,
               "UDP buffers are small (receive %d KB, send %d KB, wanted %d KB each): bursts "
               "may be lost; raise sysctl net.core.rmem_max and net.core.wmem_max, or run "
               "with CAP_NET_ADMIN",
               rx / 1024, tx / 1024, want / 1024);
}

static int device_bind(int fd, const struct udp_cfg *cfg, char *why, size_t why_size)
{
    if (!cfg->device)
        return 0;
    if (strlen(cfg->device) >= IF_NAMESIZE)
        return say(why, why_size, ENODEV, "interface name \"%s\" is too long", cfg->device);
    if (!setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, cfg->device,
                    (socklen_t)strlen(cfg->device) + 1))
        return 0;
    switch (errno) {
    case ENODEV:
        return say(why, why_size, ENODEV,
                   "there is no network interface \"%s\"; /sys/class/net lists those there are",
                   cfg->device);
    case EPERM:
        return say(why, why_size, EPERM,
                   "binding to interface \"%s\" was refused: run as root or with CAP_NET_RAW",
                   cfg->device);
    default:
        return say(why, why_size, errno, "can't bind to interface \"%s\": %s", cfg->device,
                   strerror(errno));
    }
}

static int options_set(int fd, const struct udp_cfg *cfg, char *why, size_t why_size)
{
    int family = cfg->bind.sa.sa_family, one = 1, err;

    if (family == AF_INET6 && (err = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, !cfg->dual)))
        return say(why, why_size, err, "can't set IPV6_V6ONLY: %s", strerror(err));
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        const struct opt_row *o = &options[i];

        if (o->family != family && !(cfg->dual && family == AF_INET6))
            continue;
        err = set_int(fd, o->level, o->name, o->value);
        if (err)
            return say(why, why_size, err, "can't set %s on a UDP socket: %s", o->text,
                       strerror(err));
    }
    if (cfg->reuse_port && (err = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1)))
        return say(why, why_size, err, "can't set SO_REUSEPORT: %s", strerror(err));
    if (!cfg->no_gro && setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one)))
        LOG_AT(cfg->log, LOG_INFO, "no UDP_GRO here (%s): one datagram per receive",
               strerror(errno));
    return 0;
}

static int address_bind(int fd, const struct udp_cfg *cfg, char *why, size_t why_size)
{
    unsigned port = udp_addr_port(&cfg->bind);
    char text[UDP_ADDR_TEXT];

    if (!bind(fd, &cfg->bind.sa, udp_addr_len(&cfg->bind)))
        return 0;
    udp_addr_text(&cfg->bind, text, sizeof(text));
    switch (errno) {
    case EADDRINUSE:
        return say(why, why_size, EADDRINUSE,
                   "UDP port %u is taken (%s): choose another with --listen, "
                   "`ss -ulpn sport = :%u` shows by whom",
                   port, text, port);
    case EACCES:
        return say(why, why_size, EACCES,
                   "UDP port %u is for root or CAP_NET_BIND_SERVICE only (%s): choose one "
                   "above 1023 with --listen, or run with the privilege",
                   port, text);
    case EADDRNOTAVAIL:
        return say(why, why_size, EADDRNOTAVAIL,
                   "%s is no address of this machine: choose one that `ip address` shows, or "
                   "leave the address out",
                   text);
    default:
        return say(why, why_size, errno, "can't bind UDP %s: %s", text, strerror(errno));
    }
}

int udp_open(const struct udp_cfg *cfg, int *out, char *why, size_t why_size)
{
    int family = cfg->bind.sa.sa_family, fd, rc;

    *out = -1;
    fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
    if (fd < 0 && errno == EAFNOSUPPORT)
        return say(why, why_size, EAFNOSUPPORT, "this system has no %s",
                   family == AF_INET6 ? "IPv6: give an IPv4 address" : "such address family");
    if (fd < 0)
        return say(why, why_size, errno, "can't make a UDP socket: %s", strerror(errno));
    rc = device_bind(fd, cfg, why, why_size);
    if (!rc)
        rc = options_set(fd, cfg, why, why_size);
    if (!rc)
        rc = address_bind(fd, cfg, why, why_size);
    if (rc) {
        close(fd);
        return rc;
    }
    sockbufs_set(fd, cfg);
    *out = fd;
    return 0;
}

int udp_local(int fd, union udp_addr *out)
{
    socklen_t len = sizeof(*out);

    memset(out, 0, sizeof(*out));
    if (getsockname(fd, &out->sa, &len))
        return -errno;
    return 0;
}

/* ---- receive ---- */

static void rx_cmsg_v4(struct udp_rx *rx, const struct cmsghdr *c, uint16_t port)
{
    if (c->cmsg_type == IP_TOS && c->cmsg_len >= CMSG_LEN(1)) {
        rx->ecn = CMSG_DATA(c)[0] & 3;
    } else if (c->cmsg_type == IP_PKTINFO &&
               c->cmsg_len >= CMSG_LEN(sizeof(struct in_pktinfo))) {
        struct in_pktinfo info;

        memcpy(&info, CMSG_DATA(c), sizeof(info));
        rx->local = udp_addr_raw(AF_INET, &info.ipi_addr, port);
        rx->ifindex = (unsigned)info.ipi_ifindex;
    }
}

static void rx_cmsg_v6(struct udp_rx *rx, const struct cmsghdr *c, uint16_t port)
{
    if (c->cmsg_type == IPV6_TCLASS && c->cmsg_len >= CMSG_LEN(sizeof(int))) {
        int tclass;

        memcpy(&tclass, CMSG_DATA(c), sizeof(tclass));
        rx->ecn = (uint8_t)(tclass & 3);
    } else if (c->cmsg_type == IPV6_PKTINFO &&
               c->cmsg_len >= CMSG_LEN(sizeof(struct in6_pktinfo))) {
        struct in6_pktinfo info;

        memcpy(&info, CMSG_DATA(c), sizeof(info));
        rx->local = udp_addr_raw(AF_INET6, &info.ipi6_addr, port);
        if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
            rx->local.v6.sin6_scope_id = (uint32_t)info.ipi6_ifindex;
        udp_addr_unmap(&rx->local);
        rx->ifindex = (unsigned)info.ipi6_ifindex;
    }
}

static void rx_cmsg_udp(struct udp_rx *rx, const struct cmsghdr *c)
{
    int size;

    if (c->cmsg_type != UDP_GRO || c->cmsg_len < CMSG_LEN(sizeof(int)))
        return;
    memcpy(&size, CMSG_DATA(c), sizeof(size));
    if (size > 0 && (size_t)size < rx->n)
        rx->segment = (size_t)size;
}

void udp_rx_read(struct udp_rx *rx, const struct msghdr *msg, uint16_t port)
{
    struct msghdr *m = (struct msghdr *)msg;

    memset(&rx->remote, 0, sizeof(rx->remote));
    memset(&rx->local, 0, sizeof(rx->local));
    rx->segment = rx->n;
    rx->ifindex = 0;
    rx->ecn = 0;
    /* Without its control messages a buffer could be cut in the wrong places. */
    rx->cut = (msg->msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
    if (msg->msg_name && msg->msg_namelen >= sizeof(struct sockaddr_in)) {
        size_t len = msg->msg_namelen;

        memcpy(&rx->remote, msg->msg_name, len < sizeof(rx->remote) ? len : sizeof(rx->remote));
        udp_addr_unmap(&rx->remote);
    }
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level == IPPROTO_UDP)
            rx_cmsg_udp(rx, c);
        else if (c->cmsg_level == IPPROTO_IP)
            rx_cmsg_v4(rx, c, port);
        else if (c->cmsg_level == IPPROTO_IPV6)
            rx_cmsg_v6(rx, c, port);
    }
}

size_t udp_split(const struct udp_rx *rx, size_t *off, struct udp_dgram *out, size_t max)
{
    size_t n = 0;

    if (rx->cut || rx->segment == 0)
        return 0;
    while (n < max && *off < rx->n) {
        size_t left = rx->n - *off;
        size_t len = left < rx->segment ? left : rx->segment;

        out[n++] = (struct udp_dgram){rx->p + *off, len,         &rx->remote,
                                      &rx->local,   rx->ifindex, rx->ecn};
        *off += len;
    }
    return n;
}

/* ---- send ---- */

/* `a` as a socket of `family` wants it; family 0 when it can't carry it. */
static union udp_addr addr_for(int family, const union udp_addr *a)
{
    uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff};

    if (a->sa.sa_family == family)
        return *a;
    if (family != AF_INET6 || a->sa.sa_family != AF_INET)
        return udp_addr_raw(AF_UNSPEC, NULL, 0);
    memcpy(mapped + 12, &a->v4.sin_addr, 4);
    return udp_addr_raw(AF_INET6, mapped, udp_addr_port(a));
}

struct ctl_w {
    uint8_t *p;
    size_t n;
};

static void ctl_add(struct ctl_w *w, int level, int type, const void *data, size_t len)
{
    struct cmsghdr c = {.cmsg_level = level, .cmsg_type = type, .cmsg_len = CMSG_LEN(len)};

    memset(w->p + w->n, 0, CMSG_SPACE(len));
    memcpy(w->p + w->n, &c, sizeof(c));
    memcpy(w->p + w->n + CMSG_LEN(0), data, len);
    w->n += CMSG_SPACE(len);
}

/* The source address and interface, where one was asked for. */
static void ctl_source(struct ctl_w *w, const struct udp_train *t)
{
    bool addr = t->local.sa.sa_family == t->remote.sa.sa_family && !udp_addr_is_any(&t->local);

    if (!addr && !t->ifindex)
        return;
    if (t->remote.sa.sa_family == AF_INET) {
        struct in_pktinfo info = {.ipi_ifindex = (int)t->ifindex};

        if (addr)
            info.ipi_spec_dst = t->local.v4.sin_addr;
        ctl_add(w, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
    } else {
        struct in6_pktinfo info = {.ipi6_ifindex = t->ifindex};

        if (addr)
            info.ipi6_addr = t->local.v6.sin6_addr;
        if (addr && !t->ifindex)
            info.ipi6_ifindex = t->local.v6.sin6_scope_id;
        ctl_add(w, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof(info));
    }
}

int udp_train_msg(struct udp_train *t, int family, unsigned segments_max)
{
    struct ctl_w w = {t->control, 0};
    size_t limit;

    if (t->n == 0 || t->n > UDP_TRAIN_BYTES || t->segment == 0 || t->off >= t->n ||
        t->ecn > 3 || t->segment > UINT16_MAX)
        return QUIC_INVAL;
    t->name = addr_for(family, &t->remote);
    if (!udp_addr_len(&t->name) || udp_addr_port(&t->name) == 0)
        return QUIC_INVAL;

    limit = t->segment * (t->singles || segments_max == 0 ? 1 : segments_max);
    t->part = t->n - t->off < limit ? t->n - t->off : limit;
    if (t->part > t->segment) {
        uint16_t segment = (uint16_t)t->segment;

        ctl_add(&w, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment));
    }
    if (t->ecn) {
        int tos = t->ecn;

        if (t->remote.sa.sa_family == AF_INET)
            ctl_add(&w, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
        else
            ctl_add(&w, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
    }
    ctl_source(&w, t);

    t->iov = (struct iovec){t->buf + t->off, t->part};
    memset(&t->msg, 0, sizeof(t->msg));
    t->msg.msg_name = &t->name;
    t->msg.msg_namelen = udp_addr_len(&t->name);
    t->msg.msg_iov = &t->iov;
    t->msg.msg_iovlen = 1;
    t->msg.msg_control = w.n ? t->control : NULL;
    t->msg.msg_controllen = w.n;
    return 0;
}

enum udp_verdict udp_send_verdict(const struct udp_train *t, int err)
{
    size_t segments = (t->part + t->segment - 1) / t->segment;

    switch (err) {
    case EAGAIN:
    case EINTR:
        return UDP_RETRY;
    case EINVAL:
        /* More segments than this kernel takes, or (older ones) a segment above the device's
         * MTU, or no GSO: the first is told by its count, the others by trying. */
        if (segments > UDP_SEGMENTS_OLD)
            return UDP_SPLIT;
        return segments > 1 ? UDP_SINGLES : UDP_SOFT;
    case EMSGSIZE:
        /* A segment above the device's MTU, or above 65535 with its headers. */
        return segments > 1 ? UDP_SINGLES : UDP_SOFT;
    case EIO:
    case EOPNOTSUPP:
        /* The device can't checksum segments, or IPsec stands in the way. */
        return segments > 1 ? UDP_NO_GSO : UDP_SOFT;
    default:
        /* No route, device down, no buffers, refused by a filter, address gone: whatever it
         * is, it hits this destination or this moment, not the socket. */
        return UDP_SOFT;
    }
}
