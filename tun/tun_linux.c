#include "tun/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tun/vnet.h"

#define TUN_NODE "/dev/net/tun"

/* Since kernel 6.2; older headers lack them. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

static bool name_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '_' || c == '-' || c == '.';
}

int tun_name_check(const char *name, bool pattern, char *why, size_t why_size)
{
    size_t n = strlen(name);
    bool seen = false;

    if (n == 0)
        return why_set(why, why_size, -EINVAL, "the TUN device needs a name");
    if (n > TUN_NAME_MAX)
        return why_set(why, why_size, -ENAMETOOLONG,
                       "'%.40s' is too long for a network device: at most %d characters", name,
                       TUN_NAME_MAX);
    for (size_t i = 0; i < n; i++) {
        if (pattern && !seen && name[i] == '%' && name[i + 1] == 'd') {
            seen = true;
            i++;
        } else if (!name_letter(name[i])) {
            return why_set(why, why_size, -EINVAL,
                           "'%s' can't be the name of the TUN device: use letters, digits, "
                           "'_', '-' and '.'",
                           name);
        }
    }
    if (!strcmp(name, ".") || !strcmp(name, ".."))
        return why_set(why, why_size, -EINVAL, "'%s' can't be the name of a device", name);
    return 0;
}

static int mtu_check(unsigned mtu_bytes, char *why, size_t why_size)
{
    if (mtu_bytes >= TUN_MTU_MIN && mtu_bytes <= TUN_MTU_MAX)
        return 0;
    return why_set(why, why_size, -ERANGE,
                   "a tunnel MTU of %u is not possible: use %d to %d (IPv6 needs 1280)",
                   mtu_bytes, TUN_MTU_MIN, TUN_MTU_MAX);
}

/* The sentence for a failed open of the device node. */
static int node_error(int err, char *why, size_t why_size)
{
    switch (err) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
        return why_set(why, why_size, -err,
                       "no TUN driver (" TUN_NODE "): run 'modprobe tun'; a container needs "
                       "--device /dev/net/tun and --cap-add NET_ADMIN");
    case EACCES:
    case EPERM:
        return why_set(why, why_size, -EPERM,
                       "not allowed to use " TUN_NODE ": run as root; a container needs "
                       "--device /dev/net/tun and --cap-add NET_ADMIN");
    default:
        return why_set(why, why_size, -err, "can't open " TUN_NODE ": %s", strerror(err));
    }
}

/* The sentence for a refused TUNSETIFF. */
static int make_error(int err, const char *name, char *why, size_t why_size)
{
    switch (err) {
    case EPERM:
        return why_set(why, why_size, -EPERM,
                       "not allowed to make a TUN device: run as root (CAP_NET_ADMIN); a "
                       "container needs --cap-add NET_ADMIN");
    case EBUSY:
    case EEXIST:
        return why_set(why, why_size, -EBUSY,
                       "a network device named '%s' exists already (another mqvpn?): choose "
                       "another with --tun-name, or remove it",
                       name);
    case ENFILE:
        return why_set(why, why_size, -ENFILE, "all names of the pattern '%s' are taken", name);
    default:
        return why_set(why, why_size, -err, "can't make the TUN device '%s': %s", name,
                       strerror(err));
    }
}

/* One interface ioctl on device t->name, by a socket opened for it. Returns 0 or -errno. */
static int link_ioctl(const struct tun *t, unsigned long request, struct ifreq *ifr)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int err = 0;

    if (fd < 0 && errno == EAFNOSUPPORT)
        fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    memcpy(ifr->ifr_name, t->name, sizeof(ifr->ifr_name));
    if (ioctl(fd, request, ifr) < 0)
        err = -errno;
    close(fd);
    return err;
}

/* Whether devices of this driver may have a virtio-net header. */
static bool vnet_offered(int fd)
{
    unsigned features;

    return ioctl(fd, TUNGETFEATURES, &features) == 0 && (features & IFF_VNET_HDR);
}

/* A header of the size that we know, and all offloads that there are. */
static int vnet_enable(struct tun *t, char *why, size_t why_size)
{
    int bytes = sizeof(struct vnet_hdr);

    if (ioctl(t->fd, TUNSETVNETHDRSZ, &bytes) < 0)
        return why_set(why, why_size, -errno, "%s takes no virtio-net header of %d bytes: %s",
                       t->name, bytes, strerror(errno));
    t->vnet = true;
    return tun_offload_set(t, TUN_OFFLOAD_USO, why, why_size);
}

int tun_mtu_set(struct tun *t, unsigned mtu_bytes, char *why, size_t why_size)
{
    struct ifreq ifr = {.ifr_mtu = (int)mtu_bytes};
    int err = mtu_check(mtu_bytes, why, why_size);

    if (err)
        return err;
    err = link_ioctl(t, SIOCSIFMTU, &ifr);
    if (err)
        return why_set(why, why_size, err, "can't set the MTU of %s to %u: %s", t->name,
                       mtu_bytes, strerror(-err));
    t->mtu_bytes = mtu_bytes;
    return 0;
}

int tun_up(struct tun *t, char *why, size_t why_size)
{
    struct ifreq ifr = {0};
    int err = link_ioctl(t, SIOCGIFFLAGS, &ifr);

    if (!err && !(ifr.ifr_flags & IFF_UP)) {
        ifr.ifr_flags |= IFF_UP;
        err = link_ioctl(t, SIOCSIFFLAGS, &ifr);
    }
    if (err)
        return why_set(why, why_size, err, "can't bring %s up: %s", t->name, strerror(-err));
    return 0;
}

/* Attach a new device to t->fd and learn its name and index. */
static int make(struct tun *t, const struct tun_cfg *cfg, const char *name, char *why,
                size_t why_size)
{
    bool vnet = cfg->vnet && vnet_offered(t->fd);
    struct ifreq ifr = {0};
    int err;

    ifr.ifr_flags = (short)(IFF_TUN | IFF_NO_PI | IFF_TUN_EXCL);
    if (vnet)
        ifr.ifr_flags |= IFF_VNET_HDR;
    memcpy(ifr.ifr_name, name, strlen(name));
    if (ioctl(t->fd, TUNSETIFF, &ifr) < 0)
        return make_error(errno, name, why, why_size);
    memcpy(t->name, ifr.ifr_name, sizeof(t->name));
    err = vnet ? vnet_enable(t, why, why_size) : 0;
    if (err)
        return err;
    err = link_ioctl(t, SIOCGIFINDEX, &ifr);
    if (err)
        return why_set(why, why_size, err, "%s has no index: %s", t->name, strerror(-err));
    t->ifindex = ifr.ifr_ifindex;
    ifr.ifr_qlen = TUN_QUEUE_PACKETS;
    link_ioctl(t, SIOCSIFTXQLEN, &ifr); /* without it bursts may be dropped: no failure */
    return tun_mtu_set(t, cfg->mtu_bytes, why, why_size);
}

int tun_open(struct tun *t, const struct tun_cfg *cfg, char *why, size_t why_size)
{
    const char *name = cfg->name && cfg->name[0] ? cfg->name : TUN_NAME_AUTO;
    int err;

    *t = (struct tun){.fd = -1};
    err = tun_name_check(name, true, why, why_size);
    if (!err)
        err = mtu_check(cfg->mtu_bytes, why, why_size);
    if (err)
        return err;
    t->fd = open(TUN_NODE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (t->fd < 0)
        return node_error(errno, why, why_size);
    err = make(t, cfg, name, why, why_size);
    if (err)
        tun_close(t);
    return err;
}

void tun_close(struct tun *t)
{
    if (t->fd >= 0)
        close(t->fd);
    *t = (struct tun){.fd = -1};
}

int tun_offload_set(struct tun *t, enum tun_offload want, char *why, size_t why_size)
{
    static const unsigned flags[] = {
        [TUN_OFFLOAD_NONE] = 0,
        [TUN_OFFLOAD_CSUM] = TUN_F_CSUM,
        [TUN_OFFLOAD_TSO] = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN,
        [TUN_OFFLOAD_USO] =
            TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6,
    };

    if (!t->vnet)
        return why_set(why, why_size, -EINVAL, "%s was opened without virtio-net header",
                       t->name);
    while (ioctl(t->fd, TUNSETOFFLOAD, (unsigned long)flags[want]) < 0) {
        if (errno != EINVAL || want == TUN_OFFLOAD_NONE)
            return why_set(why, why_size, -errno, "can't set the offloads of %s: %s", t->name,
                           strerror(errno));
        want--;
    }
    t->offload = want;
    return 0;
}

const char *tun_offload_text(const struct tun *t)
{
    static const char *const text[] = {
        [TUN_OFFLOAD_NONE] = "virtio-net header without offloads",
        [TUN_OFFLOAD_CSUM] = "checksum offload, no TSO, no USO",
        [TUN_OFFLOAD_TSO] = "TSO, no USO",
        [TUN_OFFLOAD_USO] = "TSO and USO",
    };

    return t->vnet ? text[t->offload] : "no offloads";
}

size_t tun_read_max(const struct tun *t)
{
    if (t->offload >= TUN_OFFLOAD_TSO)
        return VNET_READ_MAX;
    return t->mtu_bytes + (t->vnet ? sizeof(struct vnet_hdr) : 0);
}

ssize_t tun_read(struct tun *t, void *buf, size_t size)
{
    ssize_t n;

    do
        n = read(t->fd, buf, size);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return n;
    return errno == EAGAIN ? 0 : -errno;
}

int tun_write(struct tun *t, const void *pkt, size_t n)
{
    ssize_t done;

    do
        done = write(t->fd, pkt, n);
    while (done < 0 && errno == EINTR);
    return done < 0 ? -errno : 0;
}
