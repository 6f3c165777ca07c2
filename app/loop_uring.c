#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/loop_uring.h"

#define GROUPS 64 /* buffer groups: one of all sockets, one of each TUN */

/* ---- buffers ---- */

void uring_slot_back(struct loop_arena *a, unsigned slot)
{
    io_uring_buf_ring_add(a->buf_ring, loop_slot(a, slot) + a->skip, (unsigned)a->room,
                          (uint16_t)slot, (int)a->entries - 1, (int)a->unsent++);
}

int uring_arena_open(struct loop_arena *a)
{
    struct uring_state *u = a->r->priv;
    unsigned group = 0;
    int err;

    while (group < GROUPS && u->groups & (uint64_t)1 << group)
        group++;
    if (group == GROUPS)
        return QUIC_NOMEM;
    for (a->entries = 1; a->entries < a->n;)
        a->entries *= 2;
    a->buf_ring = io_uring_setup_buf_ring(&u->ring, a->entries, (int)group, 0, &err);
    if (!a->buf_ring)
        return QUIC_NOMEM;
    u->groups |= (uint64_t)1 << group;
    a->group = group;
    for (unsigned i = 0; i < a->n; i++)
        uring_slot_back(a, i);
    return 0;
}

void uring_arena_close(struct loop_arena *a)
{
    struct uring_state *u = a->r->priv;

    if (!a->buf_ring)
        return;
    io_uring_free_buf_ring(&u->ring, a->buf_ring, a->entries, (int)a->group);
    u->groups &= ~((uint64_t)1 << a->group);
}

void uring_slots_publish(struct loop_arena *a)
{
    io_uring_buf_ring_advance(a->buf_ring, (int)a->unsent);
    a->unsent = 0;
}

/* ---- TUN writes ---- */

static void op_unroom(struct uring_write *op)
{
    if (op->iov != op->small) {
        free(op->iov);
        free(op->held);
    }
    op->iov = op->small;
    op->held = op->held_small;
    op->cap = LOOP_IOV_SMALL;
}

struct uring_write *uring_op_get(struct ring *r)
{
    struct uring_state *u = r->priv;
    struct uring_write *op = u->free_ops;

    if (op) {
        u->free_ops = op->next;
        return op;
    }
    if (u->ops_n == r->cfg.tun_writes)
        return NULL;
    op = calloc(1, sizeof(*op));
    if (!op)
        return NULL;
    op_unroom(op);
    u->ops[u->ops_n++] = op;
    return op;
}

static bool op_room(struct uring_write *op, size_t pieces)
{
    size_t cap = LOOP_IOV_SMALL;
    struct uring_held *held;
    struct iovec *iov;

    if (pieces <= op->cap)
        return true;
    while (cap < pieces)
        cap *= 2;
    iov = malloc(cap * sizeof(*iov));
    held = malloc(cap * sizeof(*held));
    if (!iov || !held) {
        free(iov);
        free(held);
        return false;
    }
    op_unroom(op);
    op->iov = iov;
    op->held = held;
    op->cap = (unsigned)cap;
    return true;
}

static bool copy_room(struct uring_write *op, size_t bytes)
{
    uint8_t *copy;

    if (bytes <= op->copy_cap)
        return true;
    copy = malloc(bytes);
    if (!copy)
        return false;
    free(op->copy);
    op->copy = copy;
    op->copy_cap = bytes;
    return true;
}

/* Hold the slot where `p` lies, if `op` does not yet. False: it is in none of ours. */
static bool hold(struct ring *r, struct uring_write *op, const void *p)
{
    const struct uring_held *last = &op->held[op->held_n - (op->held_n > 0)];
    struct loop_arena *a;
    unsigned slot;

    if (op->held_n &&
        (uintptr_t)p - (uintptr_t)loop_slot(last->arena, last->slot) < last->arena->stride)
        return true;
    a = loop_find(r, p, &slot);
    if (!a)
        return false;
    a->refs[slot]++;
    op->held[op->held_n++] = (struct uring_held){a, slot};
    return true;
}

/* Copy the pieces of `iov` that have no place in `op` yet. */
static void copy_foreign(struct uring_write *op, const struct iovec *iov, size_t n)
{
    size_t off = 0;

    for (size_t i = 0; i < n; i++) {
        if (op->iov[i].iov_base)
            continue;
        if (iov[i].iov_len)
            memcpy(op->copy + off, iov[i].iov_base, iov[i].iov_len);
        op->iov[i].iov_base = op->copy + off;
        off += iov[i].iov_len;
    }
}

bool uring_op_fill(struct ring *r, struct uring_write *op, const struct iovec *iov, size_t n)
{
    size_t foreign = 0;
    bool copies = false;

    if (!op_room(op, n))
        return false;
    for (size_t i = 0; i < n; i++) {
        op->iov[i] = iov[i];
        if (hold(r, op, iov[i].iov_base))
            continue;
        op->iov[i].iov_base = NULL;
        foreign += iov[i].iov_len;
        copies = true;
    }
    if (!copy_room(op, foreign))
        return false;
    if (copies)
        copy_foreign(op, iov, n);
    op->n = (unsigned)n;
    return true;
}

void uring_op_free(struct ring *r, struct uring_write *op)
{
    struct uring_state *u = r->priv;

    for (unsigned i = 0; i < op->held_n; i++)
        loop_slot_unref(op->held[i].arena, op->held[i].slot);
    op->held_n = 0;
    op->n = 0;
    op->next = u->free_ops;
    u->free_ops = op;
}

/* ---- opening and closing ---- */

/* Why io_uring_setup failed with `err`, and what to do about it. */
static void explain(int err, char *why, size_t why_size)
{
    int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
    char level = '0';

    if (fd >= 0) {
        if (read(fd, &level, 1) != 1)
            level = '0';
        close(fd);
    }
    if (err == EPERM && level == '2')
        snprintf(why, why_size,
                 "io_uring is forbidden by the sysctl kernel.io_uring_disabled = 2");
    else if (err == EPERM && level == '1')
        snprintf(why, why_size,
                 "io_uring is forbidden to unprivileged processes by the sysctl "
                 "kernel.io_uring_disabled = 1; membership in kernel.io_uring_group allows it");
    else if (err == EPERM || err == EACCES)
        snprintf(why, why_size,
                 "io_uring is forbidden (%s), by a seccomp filter as containers have",
                 strerror(err));
    else if (err == ENOSYS)
        snprintf(why, why_size,
                 "there is no io_uring here: kernel without it, or forbidden "
                 "by a seccomp filter");
    else if (err == ENOMEM)
        snprintf(why, why_size, "io_uring found no memory; `ulimit -l` may be too small");
    else
        snprintf(why, why_size, "io_uring doesn't start: %s", strerror(err));
}

static int queue_open(struct uring_state *u, unsigned writes)
{
    /* Best first: work is run only while we wait (6.1), or at system calls (5.19). */
    static const unsigned flags[] = {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                         IORING_SETUP_SUBMIT_ALL,
                                     IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL};
    int rc = -EINVAL;

    for (size_t i = 0; i < ARRAY_LEN(flags) && rc == -EINVAL; i++) {
        struct io_uring_params p = {.flags =
                                        flags[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
                                    .cq_entries = 2 * (LOOP_SQ_ENTRIES + writes)};

        rc = io_uring_queue_init_params(LOOP_SQ_ENTRIES, &u->ring, &p);
    }
    return rc;
}

/*
 * What is needed and what is a matter of speed, by the requests that the kernel knows.
 * NULL when it is enough, else why not.
 */
static const char *probe(struct uring_state *u, const struct ring_cfg *cfg)
{
    struct io_uring_probe *p = io_uring_get_probe_ring(&u->ring);
    bool enough;

    if (!p)
        return "io_uring starts, but io_uring_register is forbidden, by a seccomp filter";
    /* SEND_ZC came with 6.0, as did multishot recvmsg, which has no number of its own. */
    enough = io_uring_opcode_supported(p, IORING_OP_SEND_ZC);
    u->read_multishot =
        !cfg->no_multishot && io_uring_opcode_supported(p, IORING_OP_READ_MULTISHOT);
    io_uring_free_probe(p);
    return enough ? NULL : "io_uring of this kernel is too old: Linux 6.0 or newer is needed";
}

void uring_close(struct ring *r)
{
    struct uring_state *u = r->priv;

    io_uring_queue_exit(&u->ring);
    for (unsigned i = 0; i < u->ops_n; i++) {
        op_unroom(u->ops[i]);
        free(u->ops[i]->copy);
        free(u->ops[i]);
    }
    free(u->ops);
    free(u);
}

int uring_open(struct ring *r, char *why, size_t why_size)
{
    struct uring_state *u = calloc(1, sizeof(*u));
    const char *lacks;
    int rc;

    if (!u)
        return QUIC_NOMEM;
    u->recv_msg.msg_namelen = LOOP_RX_NAME;
    u->recv_msg.msg_controllen = UDP_RX_CONTROL;
    u->ops = calloc(r->cfg.tun_writes, sizeof(struct uring_write *));
    if (!u->ops) {
        free(u);
        return QUIC_NOMEM;
    }
    rc = queue_open(u, r->cfg.tun_writes);
    if (rc) {
        explain(-rc, why, why_size);
        free(u->ops);
        free(u);
        return QUIC_CLOSED;
    }
    r->priv = u;
    lacks = probe(u, &r->cfg);
    if (lacks) {
        snprintf(why, why_size, "%s", lacks);
        uring_close(r);
        return QUIC_CLOSED;
    }
    io_uring_register_ring_fd(&u->ring);
    return 0;
}
