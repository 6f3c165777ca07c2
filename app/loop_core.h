/*
 * loop_core - what the two backends of app/ring.h share. Included by the loop's files only.
 *
 * Model: a backend gathers (marks watches ready, appends received buffers to their socket
 * or TUN, reports results of sends) and never calls the user. The core delivers, lets the
 * backend pass queued output to the kernel, gives the batch's buffers back, and sweeps.
 *
 * Buffers live in arenas of equal slots. A slot is the kernel's (refs 0) or in use
 * (refs > 0): one reference for the batch, one for each hold, one for each run of pieces of a
 * write under way. When the last goes, the backend gets the slot back.
 *
 * Objects deleted by the user are marked dead and freed by the sweep between batches, when
 * the kernel and the caller hold nothing of them any more (`pending`, `taken`, `held`).
 */
#ifndef APP_LOOP_CORE_H
#define APP_LOOP_CORE_H

#include <signal.h>

#include "app/ring.h"

#define LOOP_VIEWS   256 /* datagrams per on_udp */
#define LOOP_ERRORS  64  /* failed sends told per batch; more are only counted */
#define LOOP_TX_IOVS 1024
#define LOOP_FEW     4 /* reads of a batch whose output need not wait for its end */

/* A receive slot of the UDP arena: header that io_uring writes, name, control, payload. */
#define LOOP_RX_NAME 32
#define LOOP_RX_SKIP (16 + LOOP_RX_NAME + UDP_RX_CONTROL)
#define LOOP_RX_ROOM 65536

struct loop_backend;

struct loop_arena {
    struct ring *r;
    uint8_t *base;       /* `n` slots of `stride` bytes, mapped */
    size_t stride, skip; /* the kernel writes from byte `skip` of a slot on */
    size_t room;         /* at most that many bytes */
    unsigned n, avail;   /* slots; those with the kernel or free */
    unsigned held;       /* slots in use: n - avail */
    uint32_t *refs;
    unsigned *spent, spent_n; /* slots of this batch */
    unsigned *free_list;      /* epoll: stack of the `avail` free slots */
    void *buf_ring;           /* io_uring: the provided-buffer ring */
    unsigned entries, group;  /* ... its size and id */
    unsigned unsent;          /* ... slots added but not yet published */
    struct loop_arena *next;
};

struct ring_tun {
    struct ring *r;
    int fd;
    void *user;
    size_t packet_bytes;
    struct loop_arena arena;
    struct ring_pkt *pkts; /* of this batch */
    unsigned pkts_n;
    unsigned pending; /* requests in the kernel */
    unsigned reads;   /* of them: reads that are armed */
    bool cancelled;   /* their cancellation was asked for */
    bool dead;
    bool paused; /* not reading: no buffer */
    int failed;  /* errno that ended reading; 0: none */
    bool failed_told;
    struct ring_tun *next;
};

struct ring_udp {
    struct ring *r;
    int fd, family;
    void *user;
    union udp_addr local;
    uint16_t port;
    int first, last; /* received slots of this batch, by loop `rx_next`; -1 none */
    struct udp_train *queue, **queue_tail; /* given, not yet with the kernel */
    unsigned taken;                        /* trains out of the pool for this socket */
    unsigned segments_max;
    unsigned pending; /* requests in the kernel */
    unsigned errors;  /* receive errors in a row */
    bool gso;
    bool full;      /* waiting to be writable */
    bool starved;   /* a train was refused */
    bool receiving; /* a multishot receive is armed; epoll: EPOLLIN is asked for */
    bool polling;   /* io_uring: a poll for POLLOUT is armed */
    bool cancelled;
    bool dead;
    struct ring_udp *next;
};

struct loop_watch {
    struct ring *r;
    int fd;
    short events, ready;
    ring_fd_fn *fn;
    void *ctx;
    unsigned pending;
    bool dead, queued, cancelled;
    struct loop_watch *next, *next_ready;
};

struct loop_child {
    struct ring *r;
    pid_t pid;
    int pidfd;
    ring_child_fn *fn;
    void *ctx;
    struct loop_child *next;
};

struct loop_error {
    struct ring_udp *sock;
    struct ring_udp_error e;
    union udp_addr remote, local;
};

struct ring {
    const struct loop_backend *be;
    void *priv; /* the backend's own */
    struct ring_cfg cfg;
    struct ring_stats stats;
    ns_t deadline;
    int code;
    bool stop;
    bool flush_due; /* a starved socket has trains again */
    bool got;       /* the batch has something to deliver */
    unsigned few;   /* reads of the batch, up to one more than LOOP_FEW */
    unsigned dead_n;

    struct loop_arena udp; /* receive buffers of all sockets */
    struct udp_rx *rx;     /* per slot */
    int *rx_next;          /* per slot: next received of the same socket */
    struct loop_arena *arenas;

    struct ring_tun *tuns;
    struct ring_udp *socks;
    struct loop_watch *watches, *ready, **ready_tail;
    struct loop_child *children;

    struct udp_train *pool; /* free trains */
    struct udp_train **all; /* every train ever made */
    size_t all_n, all_cap;

    struct loop_error errors[LOOP_ERRORS];
    unsigned errors_n;

    int sigfd;
    sigset_t caught, mask_before;

    struct udp_dgram views[LOOP_VIEWS];
};

/* A backend. Functions that return int: 0, or a code of quic/types.h. */
struct loop_backend {
    enum ring_kind kind;
    const char *name;
    int (*open)(struct ring *r, char *why, size_t why_size);
    bool (*drain)(struct ring *r); /* cancels all, waits; false: the kernel still holds some */
    void (*close)(struct ring *r); /* after it and after the arenas */
    /* Wait until `until` (0: don't) or something happens; collect. 0 or a negative errno. */
    int (*gather)(struct ring *r, ns_t until);
    void (*flush)(struct ring *r);  /* pass queued output on, or gather will */
    void (*hasten)(struct ring *r); /* pass it on now */
    int (*arena_open)(struct loop_arena *a);
    void (*arena_close)(struct loop_arena *a);
    void (*slot_back)(struct loop_arena *a, unsigned slot);
    int (*tun_add)(struct ring_tun *t);
    void (*tun_del)(struct ring_tun *t);
    int (*tun_write)(struct ring_tun *t, const struct iovec *iov, size_t n_iov, size_t bytes);
    int (*udp_add)(struct ring_udp *s);
    void (*udp_del)(struct ring_udp *s);
    void (*udp_send)(struct ring_udp *s, struct udp_train *t); /* t is laid out, s not full */
    int (*watch_add)(struct loop_watch *w);
    void (*watch_next)(struct loop_watch *w); /* its callback returned */
    void (*watch_del)(struct loop_watch *w);
};

extern const struct loop_backend loop_uring; /* ring.c */
extern const struct loop_backend loop_epoll; /* poll.c */

/* ---- loop_buf.c ---- */

int loop_arena_open(struct ring *r, struct loop_arena *a, unsigned n, size_t skip, size_t room);
void loop_arena_close(struct loop_arena *a); /* fine on one never opened (all zero) */

static inline uint8_t *loop_slot(const struct loop_arena *a, unsigned slot)
{
    return a->base + (size_t)slot * a->stride;
}

/* The kernel filled `slot`: it is in use, and of this batch. */
void loop_slot_took(struct loop_arena *a, unsigned slot);

/* One reference less; the last gives it back to the backend. */
void loop_slot_unref(struct loop_arena *a, unsigned slot);

/* The batch is over: drop its references. */
void loop_batch_end(struct ring *r);

/* The arena in whose slot, in use, `p` lies, or NULL. */
struct loop_arena *loop_find(struct ring *r, const void *p, unsigned *slot);

/* ---- loop_send.c ---- */

/* What became of a part of a train. */
enum loop_sent {
    LOOP_DONE, /* the train is over, and back in the pool */
    LOOP_MORE, /* the next part (or the same in another way) is to be sent */
    LOOP_FULL  /* the socket is full: the same part again when it is writable */
};

/* Note that sending t->part gave `res` (bytes or a negative errno). */
enum loop_sent loop_send_result(struct ring_udp *s, struct udp_train *t, int res);

/* Put `t` at the end of the queue of `s`. */
void loop_send_queue(struct ring_udp *s, struct udp_train *t);

/* Send the queue by system calls until it is empty or the socket full (s->full). */
void loop_send_now(struct ring_udp *s);

/* Give up what is queued. */
void loop_send_drop(struct ring_udp *s);

/* Back to the pool. */
void loop_train_back(struct udp_train *t);

/* ---- loop_core.c ---- */

/* A write of one packet of `bytes` gave `res` (bytes or a negative number); part of a packet is
 * none. */
void loop_tun_written(struct ring_tun *t, ssize_t res, size_t bytes);

/* Write one packet by a system call, and note what it gave. */
void loop_tun_write_now(struct ring_tun *t, const struct iovec *iov, size_t n, size_t bytes);

/* For backends, while gathering. */
void loop_udp_received(struct ring_udp *s, unsigned slot, const struct msghdr *msg, size_t n);
void loop_tun_received(struct ring_tun *t, unsigned slot, size_t n);
void loop_tun_failed(struct ring_tun *t, int err);
void loop_watch_ready(struct loop_watch *w, short events);

#endif
