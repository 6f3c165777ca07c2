#include <errno.h>
#include <string.h>

#include "app/loop_core.h"

#define SINGLES_BATCH 32 /* datagrams per sendmmsg without GSO */

static size_t datagrams(size_t bytes, size_t segment)
{
    return (bytes + segment - 1) / segment;
}

/* The rest of `t` is lost to `err`: count it, keep it to be told. */
static void lose(struct ring_udp *s, struct udp_train *t, int err)
{
    struct ring *r = s->r;
    size_t left = t->n - t->off, count = datagrams(left, t->segment);
    size_t bytes = left < t->segment ? left : t->segment;
    struct loop_error *e = r->errors_n ? &r->errors[r->errors_n - 1] : NULL;

    r->stats.udp_tx_drops += count;
    if (!s->dead && e && e->sock == s && e->e.err == err && e->e.bytes == bytes &&
        udp_addr_equal(&e->remote, &t->remote)) {
        e->e.count += count;
    } else if (!s->dead && r->errors_n < LOOP_ERRORS) {
        e = &r->errors[r->errors_n++];
        e->sock = s;
        e->remote = t->remote;
        e->local = t->local;
        e->e = (struct ring_udp_error){.err = err,
                                       .bytes = bytes,
                                       .count = count,
                                       .remote = &e->remote,
                                       .local = &e->local};
    }
    loop_train_back(t);
}

/* From now on one datagram per send on `s`. */
static void gso_off(struct ring_udp *s)
{
    char text[UDP_ADDR_TEXT];

    if (!s->gso)
        return;
    s->gso = false;
    LOG_AT(s->r->cfg.log, LOG_INFO,
           "UDP segmentation offload (GSO) doesn't work on the socket of %s: one datagram per "
           "send there",
           udp_addr_text(&s->local, text, sizeof(text)));
}

enum loop_sent loop_send_result(struct ring_udp *s, struct udp_train *t, int res)
{
    struct ring_stats *st = &s->r->stats;

    if (res >= 0) {
        size_t done =
            (size_t)res < t->part ? (size_t)res / t->segment : datagrams(t->part, t->segment);

        /* UDP takes all or nothing; should something between cut it, the rest is lost. */
        st->udp_tx_sends++;
        st->udp_tx_datagrams += done;
        st->udp_tx_drops += datagrams(t->part, t->segment) - done;
        st->udp_tx_bytes += (size_t)res;
        /* The whole was refused and its pieces pass: it is the segmentation that doesn't. */
        if (t->singles && t->part == t->segment)
            gso_off(s);
        t->off += t->part;
        if (t->off < t->n)
            return LOOP_MORE;
        loop_train_back(t);
        return LOOP_DONE;
    }
    switch (udp_send_verdict(t, -res)) {
    case UDP_RETRY:
        if (res == -EINTR)
            return LOOP_MORE;
        st->udp_tx_blocked++;
        return LOOP_FULL;
    case UDP_SPLIT:
        s->segments_max = UDP_SEGMENTS_OLD;
        return LOOP_MORE;
    case UDP_NO_GSO:
        gso_off(s);
        t->singles = 1;
        return LOOP_MORE;
    case UDP_SINGLES:
        t->singles = 1;
        return LOOP_MORE;
    case UDP_SOFT:
        break;
    }
    lose(s, t, -res);
    return LOOP_DONE;
}

void loop_send_queue(struct ring_udp *s, struct udp_train *t)
{
    t->next = NULL;
    *s->queue_tail = t;
    s->queue_tail = &t->next;
}

static void unqueue(struct ring_udp *s)
{
    s->queue = s->queue->next;
    if (!s->queue)
        s->queue_tail = &s->queue;
}

/* Send one part of `t`, laid out already. */
static enum loop_sent send_part(struct ring_udp *s, struct udp_train *t)
{
    ssize_t n = sendmsg(s->fd, &t->msg, MSG_DONTWAIT | MSG_NOSIGNAL);

    return loop_send_result(s, t, n < 0 ? -errno : (int)n);
}

/* Send up to SINGLES_BATCH datagrams of `t`, the first laid out already, by one call. */
static enum loop_sent send_singles(struct ring_udp *s, struct udp_train *t)
{
    struct mmsghdr msgs[SINGLES_BATCH];
    struct iovec iov[SINGLES_BATCH];
    size_t off = t->off, n = 0;
    enum loop_sent sent = LOOP_MORE;
    int done;

    for (; n < SINGLES_BATCH && off < t->n; n++) {
        size_t left = t->n - off;

        iov[n] = (struct iovec){t->buf + off, left < t->segment ? left : t->segment};
        msgs[n] = (struct mmsghdr){.msg_hdr = t->msg};
        msgs[n].msg_hdr.msg_iov = &iov[n];
        off += iov[n].iov_len;
    }
    done = sendmmsg(s->fd, msgs, (unsigned)n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (done < 0)
        return loop_send_result(s, t, -errno);
    for (int i = 0; i < done; i++) {
        t->part = iov[i].iov_len;
        sent = loop_send_result(s, t, (int)t->part);
    }
    return sent;
}

void loop_send_now(struct ring_udp *s)
{
    s->full = false;
    while (s->queue) {
        struct udp_train *t = s->queue, *after = t->next;
        enum loop_sent sent;

        if (!s->gso)
            t->singles = 1;
        udp_train_msg(t, s->family, s->segments_max); /* its fields were checked when given */
        sent = t->singles ? send_singles(s, t) : send_part(s, t);
        if (sent == LOOP_FULL) {
            s->full = true;
            return;
        }
        if (sent == LOOP_DONE) {
            /* `t` is in the pool, its link is the pool's now. */
            s->queue = after;
            if (!after)
                s->queue_tail = &s->queue;
        }
    }
}

void loop_send_drop(struct ring_udp *s)
{
    while (s->queue) {
        struct udp_train *t = s->queue;

        unqueue(s);
        s->r->stats.udp_tx_drops += datagrams(t->n - t->off, t->segment);
        loop_train_back(t);
    }
}

int ring_udp_send(struct udp_train *t)
{
    struct ring_udp *s = t->sock;

    t->off = 0;
    t->singles = !s->gso;
    if (s->dead || udp_train_msg(t, s->family, s->segments_max)) {
        if (t->segment)
            s->r->stats.udp_tx_drops += datagrams(t->n, t->segment);
        loop_train_back(t);
        return QUIC_INVAL;
    }
    if (s->full || s->queue)
        loop_send_queue(s, t);
    else
        s->r->be->udp_send(s, t);
    return 0;
}
