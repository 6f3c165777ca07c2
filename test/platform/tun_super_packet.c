/*
 * What a TUN with virtio-net headers does: one UDP send of many datagrams is read as one
 * super-packet, whose checksum field holds the pseudo header's sum; written back, it arrives
 * as single datagrams, or as one where the socket takes them together. Where the offload is
 * not asked for, the kernel cuts. A checksum that is declared unfinished is not looked at;
 * one that is not declared and wrong makes the packet be dropped and counted.
 */
#include <linux/udp.h>
#include <netinet/in.h>
#include <poll.h>

#include "test/platform/private.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define SIZE  1000
#define COUNT 4
#define ALL   ((COUNT - 1) * SIZE + 500) /* the last datagram is shorter */
#define HEAD  28

/* struct virtio_net_hdr; older kernel headers lack its UDP_L4. */
struct head {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset;
};

static struct {
    struct head h;
    uint8_t p[4096];
} pkt;

static int tun, udp;
static struct sockaddr_in me, peer;

/* The next IPv4 packet within 2 s, or 0. */
static ssize_t next(void)
{
    struct pollfd p = {tun, POLLIN, 0};
    ssize_t n;

    while (poll(&p, 1, 2000) > 0) {
        n = read(tun, &pkt, sizeof(pkt));
        HOLDS(n > (ssize_t)sizeof(pkt.h));
        if (pkt.p[0] == 0x45)
            return n - (ssize_t)sizeof(pkt.h);
    }
    return 0;
}

/* Addresses and ports swapped: every sum stays what it is. */
static void turn_round(void)
{
    uint8_t x[4];

    memcpy(x, pkt.p + 12, 4);
    memcpy(pkt.p + 12, pkt.p + 16, 4);
    memcpy(pkt.p + 16, x, 4);
    memcpy(x, pkt.p + 20, 2);
    memcpy(pkt.p + 20, pkt.p + 22, 2);
    memcpy(pkt.p + 22, x, 2);
}

static void back(ssize_t n)
{
    HOLDS(write(tun, &pkt, sizeof(pkt.h) + (size_t)n) == (ssize_t)sizeof(pkt.h) + n);
}

static ssize_t arrives(int ms)
{
    struct pollfd p = {udp, POLLIN, 0};
    char got[8192];

    return poll(&p, 1, ms) > 0 ? recv(udp, got, sizeof(got), 0) : 0;
}

static void send_all(void)
{
    static char data[ALL];

    HOLDS(sendto(udp, data, ALL, 0, (struct sockaddr *)&peer, sizeof(peer)) == ALL);
}

static unsigned get16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

/* The sum over addresses, protocol and length, not complemented. */
static unsigned pseudo(void)
{
    unsigned sum = 17 + get16(pkt.p + 24);

    for (unsigned i = 12; i < 20; i += 2)
        sum += get16(pkt.p + i);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

static void together(void)
{
    int on = 1;

    send_all();
    HOLDS(next() == HEAD + ALL);
    HOLDS(pkt.h.flags == 1 && pkt.h.gso_type == 5 && pkt.h.gso_size == SIZE);
    HOLDS(pkt.h.csum_start == 20 && pkt.h.csum_offset == 6 && pkt.h.hdr_len >= HEAD);
    HOLDS(get16(pkt.p + 2) == HEAD + ALL && get16(pkt.p + 24) == 8 + ALL);
    HOLDS(get16(pkt.p + 26) == pseudo());

    turn_round();
    pkt.h.hdr_len = HEAD;
    back(HEAD + ALL);
    for (int i = 0; i < COUNT; i++)
        HOLDS(arrives(10000) == (i < COUNT - 1 ? SIZE : 500));
    HOLDS(!setsockopt(udp, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)));
    back(HEAD + ALL);
    HOLDS(arrives(10000) == ALL);
    on = 0;
    HOLDS(!setsockopt(udp, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)));
}

static void apart(void)
{
    HOLDS(!ioctl(tun, TUNSETOFFLOAD, (unsigned long)TUN_F_CSUM));
    send_all();
    for (int i = 0; i < COUNT; i++) {
        HOLDS(next() == HEAD + (i < COUNT - 1 ? SIZE : 500));
        HOLDS(pkt.h.gso_type == 0 && pkt.h.gso_size == 0);
    }
}

static void sums(void)
{
    char data[10] = "";
    ssize_t n;

    HOLDS(!ioctl(tun, TUNSETOFFLOAD, 0ul));
    HOLDS(sendto(udp, data, sizeof(data), 0, (struct sockaddr *)&peer, sizeof(peer)) == 10);
    n = next();
    HOLDS(n == HEAD + 10 && pkt.h.flags == 0);
    turn_round();
    back(n);
    HOLDS(arrives(10000) == 10);
    pkt.p[HEAD] ^= 1; /* no longer what its checksum says */
    back(n);
    HOLDS(arrives(500) == 0);
    pkt.h = (struct head){.flags = 1, .hdr_len = HEAD, .csum_start = 20, .csum_offset = 6};
    back(n);
    HOLDS(arrives(10000) == 10);
    /* Headers that contradict the packet are refused as a whole. */
    pkt.h.hdr_len = (uint16_t)(n + 1);
    HOLDS(write(tun, &pkt, sizeof(pkt.h) + (size_t)n) < 0 && errno == EINVAL);
    pkt.h.hdr_len = HEAD;
    pkt.h.gso_size = 4;
    pkt.h.gso_type = 0x7f;
    HOLDS(write(tun, &pkt, sizeof(pkt.h) + (size_t)n) < 0 && errno == EINVAL);
}

int main(void)
{
    struct ifreq ifr = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    int size = SIZE, bytes = sizeof(struct head);
    socklen_t len = sizeof(me);

    private_net();
    tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (tun < 0)
        SKIP("no /dev/net/tun: %s", strerror(errno));
    strcpy(ifr.ifr_name, "t0");
    if (ioctl(tun, TUNSETIFF, &ifr) || ioctl(tun, TUNSETVNETHDRSZ, &bytes))
        SKIP("no TUN device with virtio-net headers: %s", strerror(errno));
    if (ioctl(tun, TUNSETOFFLOAD,
              (unsigned long)(TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_USO4 | TUN_F_USO6)))
        SKIP("no UDP super-packets (before Linux 6.2): %s", strerror(errno));
    HOLDS(if_set("t0", SIOCSIFADDR, "10.1.0.1", 0));
    HOLDS(if_set("t0", SIOCSIFNETMASK, "255.255.255.0", 0));
    HOLDS(if_set("t0", SIOCSIFFLAGS, NULL, IFF_UP));
    udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    me = v4("10.1.0.1", 0);
    peer = v4("10.1.0.2", 0);
    HOLDS(!bind(udp, (struct sockaddr *)&me, len) &&
          !getsockname(udp, (struct sockaddr *)&me, &len));
    peer.sin_port = me.sin_port;
    HOLDS(!setsockopt(udp, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)));
    together();
    apart();
    sums();
    return 0;
}
