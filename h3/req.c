#include "h3/req.h"

#include <stdlib.h>
#include <string.h>

/*
 * An encoded section may be longer than the decoded limit by its prefix, hardly by
 * more: 32 bytes are counted for each field, far more than its lengths take.
 */
#define SECTION_SLACK 64

void h3_req_init(struct h3_req *q, bool server, bool extended_ok)
{
    *q = (struct h3_req){.server = server, .extended_ok = extended_ok, .why = ""};
}

void h3_req_sent(struct h3_req *q, const struct h3_msg *request)
{
    q->connect = request->connect;
    q->head = request->head;
}

void h3_req_free(struct h3_req *q)
{
    free(q->buf);
    q->buf = NULL;
    q->buf_n = q->buf_cap = 0;
}

static int fail(struct h3_req *q, int code, const char *why)
{
    q->why = why;
    return code;
}

static int give_up(struct h3_req *q, uint64_t *abort, uint64_t code, const char *why)
{
    q->why = why;
    *abort = code;
    return 0;
}

static int begin_data(struct h3_req *q, uint64_t *abort)
{
    if (q->phase != H3_REQ_BODY)
        return fail(q, H3_FRAME_UNEXPECTED,
                    q->phase == H3_REQ_HEAD ? "DATA before HEADERS" : "DATA behind trailers");
    if (q->no_content && q->left > 0)
        return give_up(q, abort, H3_MESSAGE_ERROR, "content where there can be none");
    if (q->has_length && q->left > q->length - q->got)
        return give_up(q, abort, H3_MESSAGE_ERROR, "more content than content-length");
    return 0;
}

static int begin_headers(struct h3_req *q, uint64_t max_size, uint64_t *abort)
{
    if (q->phase == H3_REQ_TAIL)
        return fail(q, H3_FRAME_UNEXPECTED, "HEADERS behind trailers");
    if (q->tunnel)
        return fail(q, H3_FRAME_UNEXPECTED, "HEADERS in a tunnel");
    if (q->left > max_size + SECTION_SLACK)
        return give_up(q, abort, H3_EXCESSIVE_LOAD, "field section too long");
    q->buf_n = 0;
    return 0;
}

/* A frame header is there: may it come? */
static int begin(struct h3_req *q, uint64_t max_size, uint64_t *abort)
{
    int rc = h3_frame_check(q->frame.type, H3_ON_REQUEST, !q->server);

    if (rc != 0)
        return fail(q, rc, "frame not allowed on a request stream");
    q->inside = true;
    q->left = q->frame.len;
    if (q->frame.type == H3_FRAME_DATA)
        return begin_data(q, abort);
    if (q->frame.type == H3_FRAME_HEADERS)
        return begin_headers(q, max_size, abort);
    return 0;
}

/* Keep a piece of an encoded section. Grows with what came, not with what was announced. */
static int keep(struct h3_req *q, struct span in)
{
    if (in.n > q->buf_cap - q->buf_n) {
        size_t cap = q->buf_n + in.n > 2 * q->buf_cap ? q->buf_n + in.n : 2 * q->buf_cap;
        uint8_t *buf = realloc(q->buf, cap);

        if (!buf)
            return fail(q, H3_INTERNAL_ERROR, "no memory");
        q->buf = buf;
        q->buf_cap = cap;
    }
    memcpy(q->buf + q->buf_n, in.p, in.n);
    q->buf_n += in.n;
    return 0;
}

/* What a header section means for the frames that follow. */
static void take_message(struct h3_req *q, const struct h3_msg *m)
{
    bool success = m->status / 100 == 2;

    if (!q->server && m->status / 100 == 1)
        return; /* interim: the phase stays */
    q->phase = H3_REQ_BODY;
    if (q->server) {
        q->connect = m->connect;
        q->head = m->head;
        q->tunnel = m->connect;
    } else {
        q->tunnel = q->connect && success;
        q->no_content = q->head || m->status == 204 || m->status == 304;
    }
    /* CONNECT has no content, its answer none of a known length (RFC 9110 9.3.6). */
    q->has_length = m->has_length && !q->tunnel && !q->no_content;
    q->length = m->length;
}

/* The whole encoded section is in `in`. */
static int section(struct h3_req *q, struct qpack_dec *dec, struct span in, struct h3_event *ev,
                   uint64_t *abort)
{
    bool trailers = q->phase == H3_REQ_BODY;
    enum h3_msg_kind kind = trailers    ? H3_MSG_TRAILERS
                            : q->server ? H3_MSG_REQUEST
                                        : H3_MSG_RESPONSE;
    struct h3_msg m;
    int rc = qpack_dec_section(dec, in);

    if (rc == QUIC_TOOBIG)
        return give_up(q, abort, H3_EXCESSIVE_LOAD, "field section too large");
    if (rc == QUIC_NOMEM)
        return fail(q, H3_INTERNAL_ERROR, "no memory");
    if (rc != 0)
        return fail(q, rc, "field section can't be decoded");
    rc = h3_msg_check(kind, dec->fields, dec->count, q->extended_ok, &m, &q->why);
    if (rc != 0)
        return give_up(q, abort, (uint64_t)rc, q->why);
    *ev = (struct h3_event){.type = H3_EV_HEADERS,
                            .fields = dec->fields,
                            .count = dec->count,
                            .trailers = trailers,
                            .informational = m.status / 100 == 1,
                            .status = m.status};
    if (trailers)
        q->phase = H3_REQ_TAIL;
    else
        take_message(q, &m);
    return 0;
}

/* The next bytes of the payload, none beyond its end. */
static int payload(struct h3_req *q, struct qpack_dec *dec, struct span in, struct h3_event *ev,
                   uint64_t *abort)
{
    int rc;

    q->left -= in.n;
    if (q->frame.type == H3_FRAME_DATA) {
        q->got += in.n;
        *ev = (struct h3_event){.type = H3_EV_DATA, .data = in};
    }
    if (q->frame.type != H3_FRAME_HEADERS)
        return 0;
    if (q->left == 0 && q->buf_n == 0)
        return section(q, dec, in, ev, abort); /* in one piece */
    rc = keep(q, in);
    if (rc != 0 || q->left > 0)
        return rc;
    rc = section(q, dec, span_of(q->buf, q->buf_n), ev, abort);
    h3_req_free(q);
    return rc;
}

int h3_req_read(struct h3_req *q, struct qpack_dec *dec, struct span in, size_t *used,
                struct h3_event *ev, uint64_t *abort)
{
    enum h3_event_type before = ev->type;
    uint64_t aborted = 0;
    size_t at = 0;
    int rc = 0;

    while (at < in.n && rc == 0 && aborted == 0 && ev->type == before) {
        if (!q->inside) {
            if (h3_frame_rd_feed(&q->frame, span_of(in.p + at, in.n - at), &at) == 0)
                rc = begin(q, dec->max_size, &aborted);
            if (rc == 0 && aborted == 0 && q->inside && q->left == 0 &&
                q->frame.type == H3_FRAME_HEADERS)
                rc = fail(q, QPACK_DECOMPRESSION_FAILED, "empty HEADERS");
        } else {
            size_t n = in.n - at < q->left ? in.n - at : (size_t)q->left;

            rc = payload(q, dec, span_of(in.p + at, n), ev, &aborted);
            at += n;
        }
        if (q->left == 0)
            q->inside = false;
    }
    *used += at;
    if (aborted != 0)
        *abort = aborted;
    return rc;
}

int h3_req_end(struct h3_req *q, uint64_t *abort)
{
    if (q->inside || !h3_frame_rd_idle(&q->frame))
        return fail(q, H3_FRAME_ERROR, "stream ends inside a frame");
    if (q->phase == H3_REQ_HEAD)
        return give_up(q, abort, q->server ? H3_REQUEST_INCOMPLETE : H3_MESSAGE_ERROR,
                       q->server ? "stream ends without a request"
                                 : "stream ends without a final response");
    if (q->has_length && q->got != q->length)
        return give_up(q, abort, H3_MESSAGE_ERROR, "less content than content-length");
    return 0;
}
