/*
 * outq - bytes that wait for the transport, a queue for each stream.
 *
 * An outbox holds the queues of the request streams: they share one bound in bytes
 * and take turns. Queues outside of an outbox (the control and QPACK streams) are
 * used by themselves, with a null outbox.
 *
 * A stream may not overtake another that the transport has yet to open, or the
 * numbers of the two layers would part: a queue that never gave anything is offered
 * only if its stream is the outbox's `opening`.
 *
 * Invariant: `total` is the sum of `len` over the queues; a queue is in the ring if
 * and only if it has bytes or an end to give and is not blocked; the bytes are
 * buf[off .. off + len).
 */
#ifndef H3_OUTQ_H
#define H3_OUTQ_H

#include "quic/types.h"

struct h3_outq {
    uint64_t id; /* stream */
    uint8_t *buf;
    size_t off, len, cap;
    bool fin;     /* the stream ends behind the bytes */
    bool over;    /* the end was taken, or the queue was dropped: nothing more goes in */
    bool opened;  /* the transport took something, or need not */
    bool blocked; /* the transport takes nothing now */
    bool listed;
    struct h3_outq *prev, *next; /* in the ring */
};

struct h3_outbox {
    struct h3_outq *first; /* the next in turn */
    size_t total, limit;   /* bytes */
    uint64_t opening;      /* UINT64_MAX: all may go, the peer opened them */
};

/* Zero a queue for a stream. */
void h3_outq_init(struct h3_outq *q, uint64_t id);

/* Take it out of its outbox and free its bytes. It is `over` from then on. */
void h3_outq_drop(struct h3_outbox *box, struct h3_outq *q);

/*
 * Append `head` and `body`, both or none, and the end of the stream if `fin`.
 *
 * Returns 0; QUIC_BLOCKED when they would pass the outbox's limit now, QUIC_TOOBIG
 * when they would even if it were empty; QUIC_CLOSED behind an end; QUIC_NOMEM.
 */
int h3_outq_put(struct h3_outbox *box, struct h3_outq *q, struct span head, struct span body,
                bool fin);

/* Whether the queue has bytes or an end to give and may give them. */
bool h3_outq_ready(const struct h3_outq *q);

/* Its next bytes, `max` at the most; `*fin` when the stream ends behind them. */
struct span h3_outq_peek(const struct h3_outq *q, size_t max, bool *fin);

/* The transport took `n` bytes and, if `fin`, the end; then the next queue has its turn. */
void h3_outq_took(struct h3_outbox *box, struct h3_outq *q, size_t n, bool fin);

/* The transport takes nothing for this stream now, or does again. */
void h3_outq_block(struct h3_outbox *box, struct h3_outq *q, bool blocked);

/* The queue whose turn it is, or null. */
struct h3_outq *h3_outbox_next(const struct h3_outbox *box);

/* Assert the invariant as far as the ring shows it: `sum` is that of all queues. */
void h3_outbox_check(const struct h3_outbox *box, size_t sum);

#endif
