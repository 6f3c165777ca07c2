/*
 * loop_uring - state of the io_uring backend, its start and end, its buffer rings.
 * Included by app/ring.c, where the model is described, and app/loop_uring.c only.
 */
#ifndef APP_LOOP_URING_H
#define APP_LOOP_URING_H

#include <liburing.h>

#include "app/loop_core.h"

#define LOOP_SQ_ENTRIES 512
#define LOOP_IOV_SMALL  4

/* A slot that a write refers to, one reference for pieces that follow one another in it. */
struct uring_held {
    struct loop_arena *arena;
    unsigned slot;
};

/* One TUN write under way. */
struct uring_write {
    struct uring_write *next;
    struct ring_tun *tun;
    size_t bytes;
    unsigned n, cap; /* pieces, room for them */
    unsigned held_n;
    struct iovec *iov, small[LOOP_IOV_SMALL];
    struct uring_held *held, held_small[LOOP_IOV_SMALL]; /* room for `cap`, too */
    uint8_t *copy;                                       /* of foreign pieces */
    size_t copy_cap;
};

struct uring_state {
    struct io_uring ring;
    struct msghdr recv_msg; /* template: sizes of name and control */
    unsigned requests;
    bool output; /* sends or writes are to be submitted */
    bool read_multishot;
    bool rearm;    /* something may be to arm or cancel */
    unsigned turn; /* who is armed first, for fairness */
    uint64_t groups;
    struct uring_write *free_ops, **ops;
    unsigned ops_n;
};

/* The functions of struct loop_backend that their names say. */
int uring_open(struct ring *r, char *why, size_t why_size);
void uring_close(struct ring *r);
int uring_arena_open(struct loop_arena *a);
void uring_arena_close(struct loop_arena *a);
void uring_slot_back(struct loop_arena *a, unsigned slot);

/* A free write, or NULL: too many are under way, or no memory. */
struct uring_write *uring_op_get(struct ring *r);

/* Lay out `op`: pieces in our slots by reference, others copied. False: no memory. */
bool uring_op_fill(struct ring *r, struct uring_write *op, const struct iovec *iov, size_t n);

/* It is done, or not to be: drop its references. */
void uring_op_free(struct ring *r, struct uring_write *op);

/* Let the kernel see the slots that came back. */
void uring_slots_publish(struct loop_arena *a);

#endif
