/*
 * ring - the event loop: TUN descriptors, UDP sockets, one deadline, signals, descriptors.
 *
 * Two backends behind this one interface: io_uring (ring.c) and epoll (poll.c). RING_AUTO
 * takes io_uring where the system lets it work and says in one log line why not otherwise.
 * Callers can't tell them apart but by speed.
 *
 * Model: the loop waits, gathers a batch of completions, and hands it over in this order:
 *
 *   1. ready descriptors, signals, exited children, errors of sends (own callbacks)
 *   2. on_udp   all datagrams of the batch, grouped by socket, in arrival order
 *   3. on_tun   all packets of the batch, grouped by TUN, in arrival order
 *   4. on_deadline  if the deadline passed
 *   5. on_flush     once, at the end of each batch; also when nothing else happened but a
 *      socket that was refused a train (ring_train_get) has one again
 *
 * then what was queued by ring_tun_write and ring_udp_send goes to the kernel at once (or
 * before, by ring_hasten), and the buffers of the batch go back. Callbacks run on the thread of
 * ring_run, never re-entrantly; from any of them everything below may be called, ring_free
 * excepted.
 *
 * Buffers: the bytes handed to on_udp and on_tun belong to the caller, writable, until the
 * on_flush of the same batch has returned. They live longer when ring_buf_hold says so, or
 * while a ring_tun_write out of them is under way: nothing is copied then. A buffer never
 * goes back to the kernel before its last user is done. Reading pauses while all buffers
 * are taken: that is the back-pressure towards the TUN device and the sockets.
 *
 * Limits: one deadline (the caller keeps the minimum of its own); an idle ring makes no
 * wake-up; in steady state nothing here allocates.
 */
#ifndef APP_RING_H
#define APP_RING_H

#include <sys/types.h>
#include <sys/uio.h>

#include "app/udp.h"
#include "quic/log.h"
#include "quic/types.h"

#define RING_HEADROOM 64 /* writable bytes before each TUN packet */
#define RING_TAILROOM 64 /* writable bytes after each TUN packet */

struct ring;     /* one loop; one thread */
struct ring_tun; /* one TUN descriptor in it */
struct ring_udp; /* one UDP socket in it */

enum ring_kind { RING_AUTO, RING_URING, RING_EPOLL };

/* One packet read from a TUN (virtio-net header included if the device has one). */
struct ring_pkt {
    uint8_t *p;
    size_t n;
};

/* A send that failed for good; the socket goes on. */
struct ring_udp_error {
    int err;                      /* errno: EMSGSIZE, ENETUNREACH, ENETDOWN, EPERM, ... */
    size_t bytes;                 /* size of the lost datagrams (each) */
    size_t count;                 /* how many were lost */
    const union udp_addr *remote; /* to whom; borrowed for the call */
    const union udp_addr *local;
};

/* Counters since ring_new; all only grow. */
struct ring_stats {
    uint64_t enters;  /* waits in the kernel (io_uring_enter, epoll_wait) */
    uint64_t batches; /* on_flush calls */
    uint64_t tun_rx_packets;
    uint64_t tun_rx_bytes;
    uint64_t tun_rx_errors; /* failed reads (device down, ...) */
    uint64_t tun_tx_packets;
    uint64_t tun_tx_bytes;
    uint64_t tun_tx_drops; /* packets the device refused or that found no room */
    uint64_t udp_rx_reads; /* receives; datagrams / reads is what GRO gives */
    uint64_t udp_rx_datagrams;
    uint64_t udp_rx_bytes;
    uint64_t udp_rx_drops; /* cut by the kernel, or without an address */
    uint64_t udp_tx_sends; /* sendmsg calls that succeeded */
    uint64_t udp_tx_datagrams;
    uint64_t udp_tx_bytes;
    uint64_t udp_tx_drops;   /* datagrams lost to errors */
    uint64_t udp_tx_blocked; /* sends put off because the socket was full */
    uint64_t rearms;         /* multishot requests started again */
    uint64_t no_buffers;     /* ... because all buffers were taken */
};

/* What the loop calls. NULL entries are skipped (errors of sends: told to the log at debug level).
 * `now` is CLOCK_MONOTONIC of the batch. */
struct ring_ops {
    void (*on_udp)(void *ctx, struct ring_udp *sock, struct udp_dgram *dgrams, size_t n,
                   ns_t now);
    void (*on_tun)(void *ctx, struct ring_tun *tun, struct ring_pkt *pkts, size_t n, ns_t now);
    void (*on_deadline)(void *ctx, ns_t now); /* the deadline is NS_NEVER again: set anew */
    void (*on_flush)(void *ctx, ns_t now);
    void (*on_signal)(void *ctx, int signo, ns_t now);
    void (*on_udp_error)(void *ctx, struct ring_udp *sock, const struct ring_udp_error *e,
                         ns_t now);
    /* A TUN can't be read any more (its device was removed): err is the errno. Told once;
     * the loop goes on without reading it. */
    void (*on_tun_error)(void *ctx, struct ring_tun *tun, int err, ns_t now);
};

struct ring_cfg {
    enum ring_kind kind;
    struct ring_ops ops;
    void *ctx;             /* first argument of each callback in ops */
    const struct log *log; /* may be NULL; must outlive the ring */
    unsigned udp_bufs;     /* receive buffers of 64 KB, all sockets together; 0: 32 */
    unsigned tun_bufs;     /* read buffers of each TUN; 0: 128, or 32 of more than 16 KB */
    unsigned sock_trains;  /* trains that one socket may have taken; 0: 32 */
    unsigned tun_writes;   /* TUN writes under way at most; 0: 4096 */
    bool no_gso;           /* one datagram per send from the start */
    bool no_multishot;     /* plain read and receive requests even where multishot works */
};

/*
 * Make a loop, for the calling thread only, whose timer slack and time slice it makes small. On
 * success `*out` is the caller's, to be freed with ring_free.
 *
 * Returns 0; or, with a sentence for the user in `why`: QUIC_NOMEM; QUIC_INVAL (a count out
 * of range); QUIC_CLOSED where the forced backend can't work, telling what forbids it.
 */
int ring_new(const struct ring_cfg *cfg, struct ring **out, char *why, size_t why_size);

/*
 * Cancel everything, wait for what the kernel still holds, free. Sends still queued are
 * tried once. UDP sockets are closed, TUN and watched descriptors left open. NULL is fine.
 * Not from a callback.
 */
void ring_free(struct ring *r);

/* RING_URING or RING_EPOLL: what ring_new chose. And its name: "io_uring" or "epoll". */
enum ring_kind ring_kind(const struct ring *r);
const char *ring_kind_name(const struct ring *r);

const struct ring_stats *ring_stats(const struct ring *r);

/* The invariants of buffers and trains; for tests, from callbacks too. */
bool ring_check(const struct ring *r);

/* CLOCK_MONOTONIC now, read afresh. */
ns_t ring_clock(void);

/*
 * Run until ring_stop. Returns the code given to ring_stop, or a negative errno when the
 * kernel refused to wait (fatal; never seen in practice).
 */
int ring_run(struct ring *r);

/*
 * What was queued goes to the kernel now, if the batch is of few reads: somebody waits for each
 * of them, while the rest of on_flush takes longer than one more system call. Does nothing in a
 * larger batch, for which one call is cheaper.
 */
void ring_hasten(struct ring *r);

/*
 * End ring_run, also one yet to come, with `code` after the present batch, queued sends and
 * writes included.
 */
void ring_stop(struct ring *r, int code);

/* Call on_deadline once at or after `at` (CLOCK_MONOTONIC); NS_NEVER: not at all. */
void ring_deadline_set(struct ring *r, ns_t at);
ns_t ring_deadline(const struct ring *r);

/* ---- TUN ---- */

/*
 * Read packets from `fd` (a TUN, or anything that keeps packet borders) and allow writes.
 * The largest packet is `packet_bytes` (device MTU, or 65535 plus the virtio header with
 * offloads). The descriptor stays the caller's, is made non-blocking, and must stay open
 * until ring_tun_del or ring_free.
 *
 * Returns 0, QUIC_NOMEM, QUIC_INVAL (packet_bytes 0 or above 66000).
 */
int ring_tun_add(struct ring *r, int fd, size_t packet_bytes, void *user,
                 struct ring_tun **out);

/* Stop reading, let writes finish; the handle is dead at once, the descriptor may be closed. */
void ring_tun_del(struct ring_tun *tun);

void *ring_tun_user(const struct ring_tun *tun);

/* How many buffers of 'tun' are free for reading, of how many. */
void ring_tun_room(const struct ring_tun *tun, unsigned *avail, unsigned *total);

/*
 * Queue one packet, gathered from `n_iov` pieces, to be written to the device.
 *
 * Pieces that lie in a buffer of this ring (a datagram given to on_udp, a packet given to
 * on_tun) are not copied: the buffer is held until the write is done, and the bytes must
 * not be changed any more. All other pieces are copied before the call returns.
 *
 * Returns 0; QUIC_BLOCKED when too many writes are under way, QUIC_NOMEM, QUIC_INVAL (no
 * bytes, more than 1024 pieces): the packet is then dropped and counted in tun_tx_drops,
 * as it is when the device refuses it later.
 */
int ring_tun_write(struct ring_tun *tun, const struct iovec *iov, size_t n_iov);

/* The same for one piece. */
int ring_tun_write_one(struct ring_tun *tun, const void *p, size_t n);

/* ---- buffers ---- */

/*
 * Keep the buffer that contains `p` (any byte of a datagram or packet that a callback of
 * this ring handed over) beyond its batch; counted, one ring_buf_release for each hold.
 * Returns false, and does nothing, where `p` is in no buffer of this ring.
 */
bool ring_buf_hold(struct ring *r, const void *p);
void ring_buf_release(struct ring *r, const void *p);

/* ---- UDP ---- */

/*
 * Receive from and send on `fd`, a socket from udp_open; it belongs to the ring from now
 * on, also when this fails (it is closed then).
 *
 * Returns 0, QUIC_NOMEM, or QUIC_INVAL (not a bound UDP socket).
 */
int ring_udp_add(struct ring *r, int fd, void *user, struct ring_udp **out);

/*
 * Queued sends are tried once, then the socket is closed, before or with the next batch; the
 * handle is dead at once.
 */
void ring_udp_del(struct ring_udp *sock);

void *ring_udp_user(const struct ring_udp *sock);
void ring_udp_set_user(struct ring_udp *sock, void *user);
int ring_udp_fd(const struct ring_udp *sock); /* for getsockopt; not to be read or closed */
const union udp_addr *ring_udp_local(const struct ring_udp *sock); /* as bound */

/*
 * A send buffer for `sock`: n, segment, ifindex, ecn 0, no addresses. NULL when the socket
 * has its share (ring_cfg.sock_trains) taken, which is the back-pressure of a full
 * socket: on_flush is called again when one is back. Give it to ring_udp_send or
 * ring_train_put.
 */
struct udp_train *ring_train_get(struct ring_udp *sock);

/* Return a train unsent. */
void ring_train_put(struct udp_train *t);

/*
 * Queue a train: one sendmsg with UDP_SEGMENT, or as many as the kernel and the device
 * make necessary. Trains of one socket leave in the order given, those excepted whose
 * segmentation was refused and that are tried again in pieces. A full socket is waited for;
 * other errors lose the rest of the train, are counted, and told to on_udp_error in the next
 * batch. The train is the ring's from now on.
 *
 * Returns 0, or QUIC_INVAL for contradicting fields (see udp_train_msg); it is dropped then.
 */
int ring_udp_send(struct udp_train *t);

/* False once the kernel or the device refused UDP_SEGMENT: one datagram per send now. */
bool ring_udp_gso(const struct ring_udp *sock);

/* ---- other descriptors, signals, children ---- */

typedef void ring_fd_fn(void *ctx, int fd, short events, ns_t now);
typedef void ring_child_fn(void *ctx, pid_t pid, int status, ns_t now);

/*
 * Call `fn` whenever `fd` has one of `events` (POLLIN, POLLOUT; POLLERR and POLLHUP always
 * included), level-triggered. Calling again for the same fd changes events, fn and ctx.
 * The descriptor stays the caller's.
 *
 * Returns 0, QUIC_NOMEM, or QUIC_INVAL (bad descriptor, or one that can't be polled).
 */
int ring_fd_add(struct ring *r, int fd, short events, ring_fd_fn *fn, void *ctx);

/* Stop watching; `fn` isn't called after this returns. To be called before close(fd). */
void ring_fd_del(struct ring *r, int fd);

/*
 * Deliver signal `signo` to on_signal instead of its usual effect: it is blocked in the
 * calling thread and read from a signalfd; ring_free restores the thread's mask. Signals
 * to be caught must be added before other threads start.
 *
 * Returns 0, or QUIC_INVAL (no such signal, SIGKILL, SIGSTOP, or no signalfd).
 */
int ring_signal_add(struct ring *r, int signo);

/*
 * Call `fn` once when child `pid` has exited, with its wait status; it is reaped.
 *
 * Returns 0, QUIC_NOMEM, or QUIC_INVAL (not a child of this process, or no pidfd: kernel
 * before 5.3).
 */
int ring_child_add(struct ring *r, pid_t pid, ring_child_fn *fn, void *ctx);

/* Forget the child; it isn't reaped by the ring any more. */
void ring_child_del(struct ring *r, pid_t pid);

#endif
