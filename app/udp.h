/*
 * udp - UDP sockets as a QUIC transport wants them: opening, control messages, trains.
 *
 * Model: a socket is bound and never connected, non-blocking, DF always set with the
 * kernel's own path MTU kept out of it (IP_PMTUDISC_PROBE), GRO on, and it tells for
 * each datagram the ECN bits, the local address and the interface. What arrives is one
 * buffer of equal-size datagrams (the last may be shorter), `struct udp_rx`, cut into
 * views by udp_split. What leaves is a train: one buffer of equal-size datagrams (the
 * last may be shorter) for one remote address, one sendmsg with UDP_SEGMENT.
 *
 * Addresses: IPv4 is always AF_INET at this interface. A dual-stack socket (AF_INET6 that
 * also serves IPv4) maps and unmaps inside, so that one peer has one spelling.
 *
 * This file does no waiting; app/ring.h drives the sockets. No protocol header is used.
 */
#ifndef APP_UDP_H
#define APP_UDP_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "quic/log.h"
#include "quic/types.h"

#define UDP_TRAIN_BYTES   65507 /* the most that one send may carry */
#define UDP_SEGMENTS_MAX  128   /* datagrams per send; older kernels take 64 */
#define UDP_SEGMENTS_OLD  64
#define UDP_SOCKBUF_BYTES (7 * 1024 * 1024) /* send and receive buffer aimed at */
#define UDP_ADDR_TEXT     80                /* room for udp_addr_text, scope included */
#define UDP_RX_CONTROL    192               /* control bytes of one receive */
#define UDP_TX_CONTROL    128               /* control bytes of one send */

/* An IPv4 or IPv6 address with its port; sa.sa_family 0 means "none". */
union udp_addr {
    struct sockaddr sa;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* ---- addresses ---- */

/* The unspecified address of `family` (AF_INET or AF_INET6) with `port` (host order). */
union udp_addr udp_addr_any(int family, uint16_t port);

/* Address from its 4 or 16 raw bytes (network order), `family` and `port` (host order). */
union udp_addr udp_addr_raw(int family, const void *bytes, uint16_t port);

/*
 * Parse a numeric address: "192.0.2.1", "192.0.2.1:443", "2001:db8::1", "[2001:db8::1]:443",
 * "[fe80::1%eth0]:443", "*:443" and ":443" (IPv6 unspecified). Without a port,
 * `default_port` is taken. No name is looked up.
 *
 * Returns 0, or QUIC_INVAL (`*out` unchanged) when the text is no address.
 */
int udp_addr_parse(const char *text, uint16_t default_port, union udp_addr *out);

/* "192.0.2.1:443" or "[2001:db8::1]:443" into `out` (UDP_ADDR_TEXT is enough); returns out. */
const char *udp_addr_text(const union udp_addr *a, char *out, size_t size);

socklen_t udp_addr_len(const union udp_addr *a); /* of the sockaddr; 0 for "none" */
uint16_t udp_addr_port(const union udp_addr *a); /* host order; 0 for "none" */
void udp_addr_set_port(union udp_addr *a, uint16_t port);
bool udp_addr_is_any(const union udp_addr *a); /* unspecified address, or "none" */

/* Same family, address, port (and scope of a link-local address). */
bool udp_addr_equal(const union udp_addr *a, const union udp_addr *b);

/* Same family and address, whatever the ports. */
bool udp_addr_same_host(const union udp_addr *a, const union udp_addr *b);

/* An IPv4-mapped IPv6 address becomes the IPv4 one; anything else stays. */
void udp_addr_unmap(union udp_addr *a);

/* ---- sockets ---- */

struct udp_cfg {
    union udp_addr bind;   /* address and port to bind; udp_addr_any(family, 0) for "any" */
    const char *device;    /* interface to bind to (SO_BINDTODEVICE), or NULL */
    bool dual;             /* AF_INET6 unspecified only: serve IPv4 too */
    bool no_gro;           /* one datagram per receive */
    bool reuse_port;       /* SO_REUSEPORT, for several workers on one port */
    int sockbuf_bytes;     /* 0: UDP_SOCKBUF_BYTES */
    const struct log *log; /* may be NULL */
};

/*
 * Open and bind a socket as described above into `*fd` (close-on-exec; the caller owns it
 * until ring_udp_add takes it). Large buffers are forced where permitted (CAP_NET_ADMIN),
 * else as large as the system allows, with one log line when that is well below the aim.
 *
 * Returns 0, or a negative errno with a sentence for the user in `why` that says what is
 * wrong and what to do: -EADDRINUSE (port taken), -EACCES (privileged port), -EADDRNOTAVAIL
 * (no such local address), -ENODEV (no such interface), -EPERM (binding to a device needs
 * privilege), -EAFNOSUPPORT (no IPv6 here), others with the system's own text.
 */
int udp_open(const struct udp_cfg *cfg, int *fd, char *why, size_t why_size);

/* The address that the socket is bound to (its port where 0 was asked). 0 or -errno. */
int udp_local(int fd, union udp_addr *out);

/* ---- receive ---- */

/* One received buffer: datagrams of one remote address, equal in size but for the last. */
struct udp_rx {
    uint8_t *p;            /* payload, writable */
    size_t n;              /* bytes of payload, all datagrams together */
    size_t segment;        /* bytes of each datagram; n when it is only one; never 0 if n > 0 */
    union udp_addr remote; /* who sent it */
    union udp_addr local;  /* where it arrived: address, and the socket's port if known */
    unsigned ifindex;      /* interface it arrived on; 0 unknown */
    uint8_t ecn;           /* 0 not-ECT, 1 ECT(1), 2 ECT(0), 3 CE (RFC 3168 5) */
    bool cut;              /* the kernel cut the payload: not to be used */
};

/* One received datagram, a view into a udp_rx. The addresses live as long as the bytes. */
struct udp_dgram {
    uint8_t *p; /* writable: packets are opened in place */
    size_t n;
    const union udp_addr *remote;
    const union udp_addr *local;
    unsigned ifindex;
    uint8_t ecn;
};

/* Whether two views are of one buffer, with the same addresses: what was made of those of the
 * one holds for the other. False tells nothing. */
static inline bool udp_dgram_same_route(const struct udp_dgram *a, const struct udp_dgram *b)
{
    return a->remote == b->remote && a->local == b->local;
}

/*
 * Fill the addresses, ECN, interface, segment size and `cut` of `rx` from the name, control
 * messages and flags of `msg`; rx->p and rx->n are set by the caller beforehand, and
 * `port` (host order) becomes the port of rx->local. Unknown control messages are skipped.
 */
void udp_rx_read(struct udp_rx *rx, const struct msghdr *msg, uint16_t port);

/*
 * Views of the datagrams of `rx` from byte `*off` on, at most `max`; `*off` moves past them.
 * Returns how many; 0 at the end, and for a cut buffer. Views borrow from rx.
 */
size_t udp_split(const struct udp_rx *rx, size_t *off, struct udp_dgram *out, size_t max);

/* ---- send ---- */

/*
 * A send buffer. The owner of the moment (the caller between ring_train_get and
 * ring_udp_send or ring_train_put) fills buf[0..n) with datagrams of `segment` bytes each,
 * the last 1..segment long, and the fields below; the rest is the ring's.
 */
struct udp_train {
    uint8_t *buf;          /* UDP_TRAIN_BYTES bytes, 64-byte aligned */
    size_t n;              /* bytes filled */
    size_t segment;        /* bytes of each datagram but the last */
    union udp_addr remote; /* to whom */
    union udp_addr local;  /* from which address; family 0: the kernel chooses */
    unsigned ifindex;      /* by which interface; 0: by the routing table or bound device */
    uint8_t ecn;           /* ECN bits to set, 0..3 */

    /* The ring's own. */
    uint8_t singles;        /* send the rest one datagram at a time */
    size_t off, part;       /* bytes done, bytes in the send now under way */
    struct udp_train *next; /* pool or queue */
    void *sock;             /* its struct ring_udp */
    struct msghdr msg;
    struct iovec iov;
    union udp_addr name; /* `remote` in the socket's own family */
    _Alignas(8) uint8_t control[UDP_TX_CONTROL];
};

/*
 * Lay out t->msg for the next part of the train on a socket of `family`: from t->off, at
 * most `segments_max` datagrams (one if t->singles); sets t->part. `ip_tos` and friends go
 * out as control messages only where needed.
 *
 * Returns 0, or QUIC_INVAL when the fields contradict (n 0 or too long, segment 0, remote
 * without an address, IPv6 remote on an IPv4 socket).
 */
int udp_train_msg(struct udp_train *t, int family, unsigned segments_max);

/* What to do about a failed send. */
enum udp_verdict {
    UDP_RETRY,   /* EAGAIN, EINTR: again when writable */
    UDP_SPLIT,   /* the kernel takes fewer segments: retry with UDP_SEGMENTS_OLD */
    UDP_SINGLES, /* no GSO for this: retry this train one datagram at a time */
    UDP_NO_GSO,  /* no GSO on this socket's device: likewise, and remember it */
    UDP_SOFT,    /* this part is lost, the socket is fine: count, report, go on */
};

/*
 * Judge the error `err` (positive errno) of a send of `t->part` bytes of `t`.
 * Pure; each errno's meaning is explained at the definition.
 */
enum udp_verdict udp_send_verdict(const struct udp_train *t, int err);

#endif
