/*
 * ring - the io_uring backend of app/ring.h.
 *
 * Model: each socket has one multishot recvmsg, each TUN one multishot read (or several
 * plain ones before Linux 6.7), each watched descriptor one one-shot poll, all fed from
 * provided-buffer rings or re-armed by arm() at the start of each gather: nothing else
 * starts or cancels a request that stays. Sends and TUN writes are requests that never wait
 * in the kernel (MSG_DONTWAIT, RWF_NOWAIT): as a rule each completes within the submission, so
 * that one io_uring_enter passes a whole batch on, and brings the next under load.
 *
 * Invariant: `requests` counts submissions whose last completion is outstanding; an object
 * is freed only when its own share (`pending`) is 0, a slot reused only when its references
 * are gone. Nothing depends on a request completing at once.
 *
 * A full socket leaves the ring's fast way: its trains wait in its queue for POLLOUT and go
 * out by system calls, in order. So do trains that the kernel wants in several parts.
 */
#include "app/ring.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "app/loop_uring.h"

#define READS_PLAIN 16 /* reads at once on a TUN without multishot */
#define RX_ERRORS   16 /* failed receives in a row before a socket is given up */
#define DRAIN_TRIES 50 /* of 100 ms */

/* What a completion belongs to, in the low bits of its user data. */
enum tag {
    TAG_NONE,
    TAG_RECV,
    TAG_READ,
    TAG_WRITE,
    TAG_SEND,
    TAG_WATCH,
    TAG_OUT,
    TAG_MASK = 7
};

static uint64_t tagged(const void *object, enum tag tag)
{
    return (uint64_t)(uintptr_t)object | tag;
}

/* ---- submission ---- */

/* A request entry; NULL only when the kernel takes no more for now. */
static struct io_uring_sqe *sqe_get(struct uring_state *u)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

    if (!sqe && io_uring_submit(&u->ring) > 0)
        sqe = io_uring_get_sqe(&u->ring);
    return sqe;
}

static void sqe_done(struct uring_state *u, struct io_uring_sqe *sqe, const void *object,
                     enum tag tag)
{
    io_uring_sqe_set_data64(sqe, tagged(object, tag));
    u->requests++;
}

static void cancel(struct uring_state *u, const void *object, enum tag tag, bool *cancelled)
{
    struct io_uring_sqe *sqe = sqe_get(u);

    u->rearm |= !sqe;
    if (!sqe)
        return;
    io_uring_prep_cancel64(sqe, tagged(object, tag), IORING_ASYNC_CANCEL_ALL);
    sqe_done(u, sqe, NULL, TAG_NONE);
    *cancelled = true;
}

static void arm_tun(struct uring_state *u, struct ring_tun *t)
{
    unsigned want = u->read_multishot ? 1 : READS_PLAIN;
    bool was = t->paused;

    if (t->dead) {
        if (t->reads && !t->cancelled)
            cancel(u, t, TAG_READ, &t->cancelled);
        return;
    }
    if (want > t->arena.avail)
        want = t->arena.avail;
    t->paused = want == 0;
    u->rearm |= t->paused;
    while (!t->failed && t->reads < want) {
        struct io_uring_sqe *sqe = sqe_get(u);

        u->rearm |= !sqe;
        if (!sqe)
            return;
        if (u->read_multishot) {
            io_uring_prep_read_multishot(sqe, t->fd, 0, 0, (int)t->arena.group);
        } else {
            io_uring_prep_read(sqe, t->fd, NULL, (unsigned)t->arena.room, 0);
            sqe->flags |= IOSQE_BUFFER_SELECT;
            sqe->buf_group = (uint16_t)t->arena.group;
        }
        sqe_done(u, sqe, t, TAG_READ);
        t->reads++;
        t->pending++;
        t->r->stats.rearms += was;
    }
}

static void arm_udp(struct uring_state *u, struct ring_udp *s)
{
    struct io_uring_sqe *sqe;

    if (s->dead) {
        if (s->receiving && !s->cancelled)
            cancel(u, s, TAG_RECV, &s->cancelled);
        if (s->polling) {
            bool done = false;

            cancel(u, s, TAG_OUT, &done);
            s->polling = !done;
        }
        return;
    }
    if (s->full && !s->polling && (sqe = sqe_get(u))) {
        io_uring_prep_poll_add(sqe, s->fd, POLLOUT);
        sqe_done(u, sqe, s, TAG_OUT);
        s->polling = true;
        s->pending++;
    }
    if (!s->receiving && s->errors < RX_ERRORS && s->r->udp.avail && (sqe = sqe_get(u))) {
        io_uring_prep_recvmsg_multishot(sqe, s->fd, &u->recv_msg, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = (uint16_t)s->r->udp.group;
        sqe_done(u, sqe, s, TAG_RECV);
        s->receiving = true;
        s->pending++;
        s->r->stats.rearms++;
    }
    u->rearm |= (s->full && !s->polling) || (!s->receiving && s->errors < RX_ERRORS);
}

static void arm_watch(struct uring_state *u, struct loop_watch *w)
{
    struct io_uring_sqe *sqe;

    if (w->dead) {
        if (w->pending && !w->cancelled)
            cancel(u, w, TAG_WATCH, &w->cancelled);
        return;
    }
    if (w->pending || w->queued)
        return;
    sqe = sqe_get(u);
    u->rearm |= !sqe;
    if (!sqe)
        return;
    io_uring_prep_poll_add(sqe, w->fd, (unsigned)(uint16_t)w->events);
    sqe_done(u, sqe, w, TAG_WATCH);
    w->pending++;
}

/* Publish returned slots; start and cancel what is to be, sockets in turn. */
static void arm(struct ring *r)
{
    struct uring_state *u = r->priv;
    unsigned n = 0, skip;

    for (struct loop_arena *a = r->arenas; a; a = a->next)
        uring_slots_publish(a);
    if (!u->rearm)
        return;
    u->rearm = false;
    for (struct ring_tun *t = r->tuns; t; t = t->next)
        arm_tun(u, t);
    for (struct ring_udp *s = r->socks; s; s = s->next)
        n++;
    skip = n ? u->turn++ % n : 0;
    for (unsigned round = 0; round < 2; round++) {
        unsigned i = 0;

        for (struct ring_udp *s = r->socks; s; s = s->next, i++) {
            if ((i >= skip) == (round == 0))
                arm_udp(u, s);
        }
    }
    for (struct loop_watch *w = r->watches; w; w = w->next)
        arm_watch(u, w);
}

/* ---- completion ---- */

static void read_done(struct uring_state *u, struct ring_tun *t, const struct io_uring_cqe *cqe)
{
    if (!(cqe->flags & IORING_CQE_F_MORE)) {
        t->reads--;
        t->pending--;
        u->rearm = true;
    }
    if (cqe->flags & IORING_CQE_F_BUFFER) {
        loop_tun_received(t, cqe->flags >> IORING_CQE_BUFFER_SHIFT,
                          cqe->res > 0 ? (size_t)cqe->res : 0);
    }
    switch (cqe->res) {
    case -ENOBUFS:
        t->r->stats.no_buffers++;
        t->paused = true;
        break;
    case -EAGAIN:
    case -EINTR:
    case -ECANCELED:
        break;
    default:
        if (cqe->res <= 0 && !t->dead && !t->failed)
            loop_tun_failed(t, cqe->res ? -cqe->res : EPIPE);
    }
}

static void recv_done(struct uring_state *u, struct ring_udp *s, const struct io_uring_cqe *cqe)
{
    struct ring *r = s->r;
    struct io_uring_recvmsg_out *out = NULL;
    struct msghdr msg;
    unsigned slot;

    if (!(cqe->flags & IORING_CQE_F_MORE)) {
        s->receiving = false;
        s->pending--;
        u->rearm = true;
    }
    if (cqe->res == -ENOBUFS)
        r->stats.no_buffers++;
    else if (cqe->res < 0 && cqe->res != -ECANCELED && cqe->res != -EAGAIN &&
             cqe->res != -EINTR && ++s->errors == RX_ERRORS)
        LOG_AT(r->cfg.log, LOG_WARN, "a UDP socket is given up, receiving fails: %s",
               strerror(-cqe->res));
    if (!(cqe->flags & IORING_CQE_F_BUFFER))
        return;
    slot = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    if (cqe->res >= 0)
        out = io_uring_recvmsg_validate(loop_slot(&r->udp, slot), cqe->res, &u->recv_msg);
    memset(&msg, 0, sizeof(msg));
    if (!out) {
        loop_udp_received(s, slot, &msg, 0);
        return;
    }
    msg.msg_name = io_uring_recvmsg_name(out);
    msg.msg_namelen = out->namelen < LOOP_RX_NAME ? out->namelen : LOOP_RX_NAME;
    msg.msg_control = (uint8_t *)msg.msg_name + LOOP_RX_NAME;
    msg.msg_controllen = out->controllen;
    msg.msg_flags = (int)out->flags;
    loop_udp_received(s, slot, &msg,
                      io_uring_recvmsg_payload_length(out, cqe->res, &u->recv_msg));
}

static void send_done(struct uring_state *u, struct udp_train *t, int res)
{
    struct ring_udp *s = t->sock;

    s->pending--;
    switch (loop_send_result(s, t, res)) {
    case LOOP_DONE:
        break;
    case LOOP_FULL:
        s->full = true;
        /* fall through */
    case LOOP_MORE:
        u->rearm = true;
        loop_send_queue(s, t);
        if (s->dead)
            loop_send_drop(s);
    }
}

static void writable(struct uring_state *u, struct ring_udp *s)
{
    s->polling = false;
    s->pending--;
    if (s->dead)
        return;
    loop_send_now(s);
    u->rearm |= s->full;
}

static void watch_done(struct uring_state *u, struct loop_watch *w, int res)
{
    w->pending--;
    u->rearm = true;
    if (!w->dead && res != -ECANCELED)
        loop_watch_ready(w, res < 0 ? POLLNVAL : (short)res);
}

static void write_done(struct uring_write *op, int res)
{
    struct ring_tun *t = op->tun;

    t->pending--;
    /* Descriptors that know no RWF_NOWAIT are written to the plain way. */
    if (res == -EAGAIN || res == -EOPNOTSUPP || res == -EINTR)
        loop_tun_write_now(t, op->iov, op->n, op->bytes);
    else
        loop_tun_written(t, res, op->bytes);
    uring_op_free(t->r, op);
}

static void reap(struct ring *r)
{
    struct uring_state *u = r->priv;
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;

    io_uring_for_each_cqe(&u->ring, head, cqe)
    {
        void *object = (void *)(uintptr_t)(cqe->user_data & ~(uint64_t)TAG_MASK);

        n++;
        if (!(cqe->flags & IORING_CQE_F_MORE))
            u->requests--;
        switch ((enum tag)(cqe->user_data & TAG_MASK)) {
        case TAG_RECV:
            recv_done(u, object, cqe);
            break;
        case TAG_READ:
            read_done(u, object, cqe);
            break;
        case TAG_WRITE:
            write_done(object, cqe->res);
            break;
        case TAG_SEND:
            send_done(u, object, cqe->res);
            break;
        case TAG_WATCH:
            watch_done(u, object, cqe->res);
            break;
        case TAG_OUT:
            writable(u, object);
            break;
        default:
            break;
        }
    }
    io_uring_cq_advance(&u->ring, n);
}

/*
 * Submit; wait for one completion until `until` (0: don't). The requests submitted are done
 * before it returns, where they can be, and so may some that were armed before.
 */
static int submit_wait(struct ring *r, ns_t until)
{
    struct uring_state *u = r->priv;
    struct io_uring_cqe *cqe;
    ns_t left = until == NS_NEVER || until == 0 ? until : ns_sub(until, ring_clock());
    struct __kernel_timespec ts = {.tv_sec = (int64_t)(left / NS_PER_S),
                                   .tv_nsec = (int64_t)(left % NS_PER_S)};
    int rc;

    r->stats.enters++;
    u->output = false;
    if (left == 0)
        rc = io_uring_submit_and_get_events(&u->ring);
    else if (left == NS_NEVER)
        rc = io_uring_submit_and_wait(&u->ring, 1);
    else
        rc = io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &ts, NULL);
    reap(r);
    /* EBUSY and EAGAIN: the kernel wants completions reaped, or memory back, first. */
    return rc < 0 && rc != -ETIME && rc != -EINTR && rc != -EBUSY && rc != -EAGAIN ? rc : 0;
}

static int uring_gather(struct ring *r, ns_t until)
{
    struct uring_state *u = r->priv;
    int rc;

    arm(r);
    if (io_uring_cq_ready(&u->ring)) { /* of what was hastened */
        reap(r);
        if (r->got || r->errors_n || r->flush_due || u->rearm)
            until = 0;
    }
    if (u->output && until) {
        /* What completes at once must not count as the event waited for, and what failed
         * must be seen to first. Under load there are events already, and no second wait. */
        rc = submit_wait(r, 0);
        if (rc || r->got || r->errors_n || r->flush_due || u->rearm)
            return rc;
    }
    return submit_wait(r, until);
}

/* ---- output ---- */

static int uring_tun_write(struct ring_tun *t, const struct iovec *iov, size_t n, size_t bytes)
{
    struct uring_state *u = t->r->priv;
    struct uring_write *op = uring_op_get(t->r);
    struct io_uring_sqe *sqe;

    if (!op)
        return QUIC_BLOCKED;
    op->tun = t;
    op->bytes = bytes;
    if (!uring_op_fill(t->r, op, iov, n)) {
        uring_op_free(t->r, op);
        return QUIC_NOMEM;
    }
    sqe = sqe_get(u);
    if (!sqe) {
        uring_op_free(t->r, op);
        return QUIC_BLOCKED;
    }
    io_uring_prep_writev2(sqe, t->fd, op->iov, op->n, 0, RWF_NOWAIT);
    sqe_done(u, sqe, op, TAG_WRITE);
    u->output = true;
    t->pending++;
    return 0;
}

static void uring_udp_send(struct ring_udp *s, struct udp_train *t)
{
    struct uring_state *u = s->r->priv;
    struct io_uring_sqe *sqe = t->part == t->n ? sqe_get(u) : NULL;

    if (!sqe) {
        loop_send_queue(s, t);
        return;
    }
    io_uring_prep_sendmsg(sqe, s->fd, &t->msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    sqe_done(u, sqe, t, TAG_SEND);
    u->output = true;
    s->pending++;
}

static void uring_flush(struct ring *r)
{
    struct uring_state *u = r->priv;
    bool submitted = false;

    for (struct ring_udp *s = r->socks; s; s = s->next) {
        if (!s->queue || s->full)
            continue;
        /* What was given before goes first. */
        if (!submitted)
            io_uring_submit(&u->ring);
        submitted = true;
        loop_send_now(s);
        u->rearm |= s->full;
    }
    if (r->stop && !submitted)
        io_uring_submit(&u->ring);
}

static void uring_hasten(struct ring *r)
{
    struct uring_state *u = r->priv;

    if (!u->output)
        return;
    u->output = false;
    io_uring_submit(&u->ring);
}

/* ---- objects: arm() does what they need ---- */

static int uring_tun_add(struct ring_tun *t)
{
    struct uring_state *u = t->r->priv;

    u->rearm = true;
    return 0;
}

/* What was queued names the descriptor, which may be closed next: it goes out now. */
static void uring_tun_del(struct ring_tun *t)
{
    struct uring_state *u = t->r->priv;

    u->rearm = true;
    io_uring_submit(&u->ring);
}

static int uring_udp_add(struct ring_udp *s)
{
    struct uring_state *u = s->r->priv;

    u->rearm = true;
    return 0;
}

static void uring_udp_del(struct ring_udp *s)
{
    struct uring_state *u = s->r->priv;

    u->rearm = true;
    io_uring_submit(&u->ring);
}

static int uring_watch_add(struct loop_watch *w)
{
    struct uring_state *u = w->r->priv;

    u->rearm = true;
    return 0;
}

static void uring_watch_change(struct loop_watch *w)
{
    struct uring_state *u = w->r->priv;

    u->rearm = true;
}

static bool uring_drain(struct ring *r)
{
    struct uring_state *u = r->priv;

    u->rearm = true;
    for (unsigned i = 0; i < DRAIN_TRIES && (u->requests || i == 0); i++) {
        struct __kernel_timespec ts = {.tv_nsec = 100000000};
        struct io_uring_cqe *cqe;

        arm(r);
        if (u->requests)
            io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &ts, NULL);
        reap(r);
    }
    return u->requests == 0;
}

const struct loop_backend loop_uring = {
    .kind = RING_URING,
    .name = "io_uring",
    .open = uring_open,
    .drain = uring_drain,
    .close = uring_close,
    .gather = uring_gather,
    .flush = uring_flush,
    .hasten = uring_hasten,
    .arena_open = uring_arena_open,
    .arena_close = uring_arena_close,
    .slot_back = uring_slot_back,
    .tun_add = uring_tun_add,
    .tun_del = uring_tun_del,
    .tun_write = uring_tun_write,
    .udp_add = uring_udp_add,
    .udp_del = uring_udp_del,
    .udp_send = uring_udp_send,
    .watch_add = uring_watch_add,
    .watch_next = uring_watch_change,
    .watch_del = uring_watch_change,
};
