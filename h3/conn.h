/*
 * conn - the parts of an HTTP/3 connection, for conn.c (in) and send.c (out) alone.
 *
 * conn.c assembles the readers of the peer's streams and gives events; send.c makes
 * frames and gives bytes. `now` is the one event that borrows memory: while it waits,
 * nothing more is read.
 */
#ifndef H3_CONN_H
#define H3_CONN_H

#include "h3/ctrl.h"
#include "h3/h3.h"
#include "h3/idset.h"
#include "h3/outq.h"
#include "h3/qpack_dec.h"
#include "h3/qpack_enc.h"
#include "h3/stream.h"

enum { H3_OWN_CONTROL, H3_OWN_ENCODER, H3_OWN_DECODER, H3_OWN_N };

struct h3_conn {
    struct h3_config cfg; /* defaults filled in */
    int failed;           /* the connection error, once there is one */
    const char *why;

    /* In. */
    struct h3_streams streams;
    struct h3_ctrl ctrl;
    struct qpack_dec dec;
    struct qpack_estream estream;
    struct qpack_dstream dstream;
    bool have_stream[H3_KIND_UNKNOWN]; /* by kind: the peer opened its own of these */
    struct h3_event now;
    struct h3_idset over[2]; /* by direction: the peer's streams that are done, as id / 4 */
    size_t resets;
    uint64_t next_seen; /* server: behind the highest request that was seen */

    /* Out. */
    struct h3_outq own[H3_OWN_N];
    struct h3_outbox box;
    uint64_t next_request; /* client */
    bool goaway_sent;
    uint64_t goaway_id;
};

/* Give a request up: ABORT event with this code, input dropped, output gone. */
void h3_conn_abort(struct h3_conn *h, struct h3_stream *s, uint64_t code);

/* Our three streams with their first bytes. Returns 0 or QUIC_NOMEM. */
int h3_send_start(struct h3_conn *h);

/* The outbox may offer the next stream that the transport has not opened yet. */
void h3_send_advance(struct h3_conn *h);

#endif
