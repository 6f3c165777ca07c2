/*
 * ext - the one seam through which an extension reaches a connection.
 *
 * The extension (multipath: mp/) brings frame rows, transport parameters and a life cycle;
 * the connection brings paths, packets and loss. A table of functions and an opaque state
 * per connection; the connection calls down into it at the places named here and nowhere
 * else, and works without it.
 *
 * What the extension may call is in quic/conn.h: path slots, conn_fail, events, rx_ack. With it
 * negotiated, announcing connection IDs is its task on all paths, the first included. No
 * function here may free the connection or call one of the five verbs.
 */
#ifndef QUIC_EXT_H
#define QUIC_EXT_H

#include "quic/frame.h"
#include "quic/sent.h"

struct quic_conn;
struct rx_packet;

/* What happened to a path without the extension's doing. */
enum ext_path_event {
    EXT_PATH_ARRIVED, /* the peer sent on a path that was ahead: it is open */
    EXT_PATH_PROVEN,  /* its first challenge was answered */
    EXT_PATH_FAILED   /* no challenge was answered: end it, or the connection ends */
};

/* Record kinds from here on belong to the extension; below, kinds are frame types. */
#define EXT_RECORD_FIRST 0x1000

struct quic_ext {
    /* Rows of the frames it understands, known to the decoder once it is negotiated. */
    const struct frame_row *rows;
    size_t n_rows;

    /* Make and free the state of one connection; null means no memory. */
    void *(*open)(struct quic_conn *conn);
    void (*close)(void *state);

    /* Append the extension's transport parameters, ready-encoded (RFC 9000 18). */
    void (*tparams)(void *state, struct wire_w *w);

    /*
     * The peer's parameters, all of them, encoded; called once, before any frame.
     * `*negotiated` says whether frames of `rows` are to be accepted and `pending` asked.
     * Returns 0 or the error code that the peer deserves.
     */
    int (*on_peer_tparams)(void *state, struct span blob, bool *negotiated);

    /* A frame of `rows` arrived in `pkt`; valid for the call. Returns 0 or the error code. */
    int (*on_frame)(void *state, const struct rx_packet *pkt, const struct frame *frame,
                    ns_t now);

    /* Called only once it is negotiated. */
    void (*on_path)(void *state, size_t path, enum ext_path_event what, ns_t now);

    /* Whether a frame is to be sent on path index `path`. */
    bool (*pending)(void *state, size_t path);

    /*
     * Write the next frame for path index `path`. `*rec` comes zeroed; the extension sets
     * kind (>= EXT_RECORD_FIRST) and what it needs to know later, or leaves kind 0 for no
     * report. `*eliciting` comes true. False if there is none or it doesn't fit, and then
     * nothing may have been written.
     */
    bool (*next_frame)(void *state, size_t path, struct wire_w *w, struct sent_record *rec,
                       bool *eliciting, ns_t now);

    /* What became of a frame of its: acknowledged, or lost (also to be probed with). */
    void (*on_fate)(void *state, const struct sent_record *rec, bool acked);

    /* When tick has something to do, NS_NEVER if never; and tick. */
    ns_t (*deadline)(void *state);
    void (*tick)(void *state, ns_t now);
};

#endif
