/*
 * frame_codec - the reading and writing function of each row in frame.c. Private to frame*.c.
 *
 * A `_get` reads what follows the type and fails the reader on a value that the frame may not
 * have; a `_put` writes the whole frame.
 */
#ifndef QUIC_FRAME_CODEC_H
#define QUIC_FRAME_CODEC_H

#include "quic/frame.h"

void padding_get(struct wire_r *r, struct frame *f);
void padding_put(struct wire_w *w, const struct frame *f);
void bare_get(struct wire_r *r, struct frame *f); /* PING, HANDSHAKE_DONE */
void bare_put(struct wire_w *w, const struct frame *f);
void ack_put(struct wire_w *w, const struct frame *f);
void reset_stream_get(struct wire_r *r, struct frame *f);
void reset_stream_put(struct wire_w *w, const struct frame *f);
void stop_sending_get(struct wire_r *r, struct frame *f);
void stop_sending_put(struct wire_w *w, const struct frame *f);
void crypto_get(struct wire_r *r, struct frame *f);
void crypto_put(struct wire_w *w, const struct frame *f);
void new_token_get(struct wire_r *r, struct frame *f);
void new_token_put(struct wire_w *w, const struct frame *f);
void stream_get(struct wire_r *r, struct frame *f);
void stream_put(struct wire_w *w, const struct frame *f);
void number_get(struct wire_r *r, struct frame *f); /* one varint after the type */
void number_put(struct wire_w *w, const struct frame *f);
void streams_get(struct wire_r *r, struct frame *f); /* a number of streams */
void max_stream_data_get(struct wire_r *r, struct frame *f);
void max_stream_data_put(struct wire_w *w, const struct frame *f);
void new_cid_put(struct wire_w *w, const struct frame *f);
void path_data_get(struct wire_r *r, struct frame *f);
void path_data_put(struct wire_w *w, const struct frame *f);
void close_get(struct wire_r *r, struct frame *f);
void close_put(struct wire_w *w, const struct frame *f);
void datagram_get(struct wire_r *r, struct frame *f);
void datagram_put(struct wire_w *w, const struct frame *f);
void ack_frequency_get(struct wire_r *r, struct frame *f);
void ack_frequency_put(struct wire_w *w, const struct frame *f);

#endif
