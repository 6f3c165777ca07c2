/*
 * req - the receiving side of one request stream (RFC 9114 4.1), on either end.
 *
 * A message is a header section, content and maybe a trailer section; on a client
 * interim responses may come before. DATA is handed through as it comes and never
 * kept; of a field section in several pieces the encoded bytes are kept until it
 * is whole; unknown frames are skipped.
 *
 * Two kinds of error leave this module: a connection error is returned, an error of
 * this stream alone is given in `*abort` with result 0. After either it is not to
 * be used any more.
 *
 * Invariant: while `inside`, `left` bytes of the payload of `frame.type` are still
 * to come, and for HEADERS buf[0 .. buf_n) are those that came.
 */
#ifndef H3_REQ_H
#define H3_REQ_H

#include "h3/frame.h"
#include "h3/h3.h"
#include "h3/msg.h"
#include "h3/qpack_dec.h"

enum h3_req_phase {
    H3_REQ_HEAD, /* the header section is awaited (client: of the final response) */
    H3_REQ_BODY, /* content, then maybe trailers */
    H3_REQ_TAIL  /* the trailers were received */
};

struct h3_req {
    bool server;      /* we are: the message is a request */
    bool extended_ok; /* server: :protocol is allowed */
    bool connect;     /* the request's method is CONNECT ... */
    bool head;        /* ... or HEAD */
    enum h3_req_phase phase;
    bool tunnel;     /* only DATA is allowed from here on (RFC 9114 4.4) */
    bool no_content; /* response to HEAD, 204 or 304 */
    bool has_length; /* content-length holds, and is ... */
    uint64_t length, got;
    struct h3_frame_rd frame;
    bool inside;
    uint64_t left;
    uint8_t *buf;
    size_t buf_n, buf_cap;
    const char *why; /* of the last error; static text */
};

/* A stream of ours or the peer's, nothing read yet. */
void h3_req_init(struct h3_req *q, bool server, bool extended_ok);

/* Client: what the request was, on which the meaning of the response depends. */
void h3_req_sent(struct h3_req *q, const struct h3_msg *request);

void h3_req_free(struct h3_req *q);

/*
 * Take bytes until one event is there or all are taken; `*used` grows by their
 * number. `ev` gets type and members of HEADERS (`fin` is left to the caller; the
 * fields are those of `dec`) or DATA (borrowed from `in`), and stays as it was if
 * there is none.
 *
 * Returns 0, a stream error in `*abort` (which is left alone otherwise):
 *   H3_MESSAGE_ERROR      see h3_msg_check; content beyond content-length or where
 *                         there can be none
 *   H3_EXCESSIVE_LOAD     a field section, encoded or decoded, above the limit
 * or a connection error:
 *   H3_FRAME_UNEXPECTED   a frame that may not come here or not in this order (4.1,
 *                         4.4, 7.2)
 *   H3_ID_ERROR           PUSH_PROMISE
 *   QPACK_DECOMPRESSION_FAILED
 *   H3_INTERNAL_ERROR     no memory
 */
int h3_req_read(struct h3_req *q, struct qpack_dec *dec, struct span in, size_t *used,
                struct h3_event *ev, uint64_t *abort);

/*
 * The stream ended well. Returns 0 when the message is complete; a stream error in
 * `*abort`: H3_REQUEST_INCOMPLETE without a request, H3_MESSAGE_ERROR without a
 * final response or when content-length is not reached; or the connection error
 * H3_FRAME_ERROR when it ended inside a frame (7.1).
 */
int h3_req_end(struct h3_req *q, uint64_t *abort);

#endif
