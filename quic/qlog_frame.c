#include <ctype.h>
#include <string.h>

#include "quic/qlog.h"

/* What has to remain free for the members that follow the frames. */
#define TAIL 256

static const char *stream_type(uint64_t type)
{
    return type & 1 ? "unidirectional" : "bidirectional";
}

/* The row's name in small letters. */
static void type_name(struct json *j, const struct frame_row *row)
{
    char name[64];
    size_t n = 0;
    for (; row->name[n] && n < sizeof(name) - 1; n++)
        name[n] = (char)tolower((unsigned char)row->name[n]);
    name[n] = 0;
    json_text(j, "frame_type", name);
}

static void length(struct json *j, size_t n)
{
    json_number(j, "length", n);
    json_open(j, "raw", '{');
    json_number(j, "payload_length", n);
    json_close(j, '}');
}

static void ack(struct json *j, const struct frame_ack *a, unsigned exponent)
{
    struct ack_iter it;
    uint64_t lo, hi, left_out = 0;
    int n = 0;
    ns_t most = NS_NEVER / NS_PER_US >> exponent;
    ack_iter_init(&it, a);
    if (a->delay < most)
        json_ms(j, "ack_delay", (a->delay << exponent) * NS_PER_US);
    json_open(j, "acked_ranges", '[');
    while (ack_iter_next(&it, &lo, &hi)) {
        if (n++ >= QLOG_RANGES) {
            left_out++;
            continue;
        }
        json_open(j, NULL, '[');
        json_number(j, NULL, lo);
        if (lo != hi)
            json_number(j, NULL, hi);
        json_close(j, ']');
    }
    json_close(j, ']');
    if (left_out)
        json_number(j, "left_out", left_out);
    if (!a->ecn)
        return;
    json_number(j, "ect0", a->ect0);
    json_number(j, "ect1", a->ect1);
    json_number(j, "ce", a->ce);
}

static void new_cid(struct json *j, const struct frame_new_cid *f)
{
    json_number(j, "sequence_number", f->seq);
    json_number(j, "retire_prior_to", f->retire_prior_to);
    json_number(j, "connection_id_length", f->cid.len);
    json_hex(j, "connection_id", cid_span(&f->cid));
}

static void close_frame(struct json *j, const struct frame *f)
{
    json_text(j, "error_space", f->close.app ? "application" : "transport");
    json_number(j, "error_code", f->close.code);
    json_number(j, "raw_error_code", f->close.code);
    json_bytes(j, "reason", f->close.reason);
    if (!f->close.app)
        json_number(j, "trigger_frame_type", f->close.frame_type);
}

static void stream(struct json *j, const struct frame *f)
{
    json_number(j, "stream_id", f->stream.id);
    json_number(j, "offset", f->stream.offset);
    length(j, f->stream.data.n);
    if (f->stream.fin)
        json_bool(j, "fin", true);
}

/* The frames that say something about one stream other than its data. */
static void stream_control(struct json *j, const struct frame *f)
{
    json_number(j, "stream_id", f->reset_stream.id);
    switch (f->type) {
    case FRAME_RESET_STREAM:
        json_number(j, "error_code", f->reset_stream.code);
        json_number(j, "final_size", f->reset_stream.final_size);
        break;
    case FRAME_STOP_SENDING:
        json_number(j, "error_code", f->stop_sending.code);
        break;
    case FRAME_MAX_STREAM_DATA:
        json_number(j, "maximum", f->max_stream_data.max);
        break;
    default:
        json_number(j, "limit", f->max_stream_data.max);
        break;
    }
}

/* The frames of one number. */
static void number(struct json *j, const struct frame *f)
{
    if ((f->type | 1) == FRAME_MAX_STREAMS_UNI || (f->type | 1) == FRAME_STREAMS_BLOCKED_UNI)
        json_text(j, "stream_type", stream_type(f->type));
    if (f->type == FRAME_RETIRE_CONNECTION_ID)
        json_number(j, "sequence_number", f->seq);
    else if (f->type < FRAME_DATA_BLOCKED)
        json_number(j, "maximum", f->max);
    else
        json_number(j, "limit", f->max);
}

static void base_frame(struct json *j, const struct frame *f, const struct qlog_packet *p,
                       bool last)
{
    switch (f->type) {
    case FRAME_PADDING:
        length(j, f->padding);
        break;
    case FRAME_ACK:
    case FRAME_ACK_ECN:
        ack(j, &f->ack, p->ack_exponent);
        break;
    case FRAME_CRYPTO:
        json_number(j, "offset", f->crypto.offset);
        length(j, f->crypto.data.n);
        break;
    case FRAME_NEW_TOKEN:
        length(j, f->token.n);
        break;
    case FRAME_STREAM ... FRAME_STREAM_LAST:
        stream(j, f);
        break;
    case FRAME_RESET_STREAM:
    case FRAME_STOP_SENDING:
    case FRAME_MAX_STREAM_DATA:
    case FRAME_STREAM_DATA_BLOCKED:
        stream_control(j, f);
        break;
    case FRAME_MAX_DATA:
    case FRAME_MAX_STREAMS_BIDI:
    case FRAME_MAX_STREAMS_UNI:
    case FRAME_DATA_BLOCKED:
    case FRAME_STREAMS_BLOCKED_BIDI:
    case FRAME_STREAMS_BLOCKED_UNI:
    case FRAME_RETIRE_CONNECTION_ID:
        number(j, f);
        break;
    case FRAME_NEW_CONNECTION_ID:
        new_cid(j, &f->new_cid);
        break;
    case FRAME_PATH_CHALLENGE:
    case FRAME_PATH_RESPONSE:
        json_hex(j, "data", span_of(f->path_data, sizeof(f->path_data)));
        break;
    case FRAME_CONNECTION_CLOSE:
    case FRAME_CONNECTION_CLOSE_APP:
        close_frame(j, f);
        break;
    case FRAME_DATAGRAM:
    case FRAME_DATAGRAM_LEN:
        length(j, f->datagram.data.n + (last ? p->dgram_rest : 0));
        break;
    default: /* PING, HANDSHAKE_DONE */
        break;
    }
}

/* False: it can't be read, and nothing behind it. */
static bool one(struct json *j, struct wire_r *r, const struct qlog_packet *p)
{
    struct frame f;
    const struct frame_row *row = NULL;
    if (frame_decode(r, p->rows, p->n_rows, p->level, &f, &row) != 0)
        return false;
    json_open(j, NULL, '{');
    type_name(j, row);
    if (row >= frame_table && row < frame_table + frame_table_len)
        base_frame(j, &f, p, wire_r_left(r) == 0);
    else
        json_number(j, "path_id", f.path_id);
    json_close(j, '}');
    return true;
}

void qlog_frames(struct json *j, const char *key, const struct qlog_packet *p)
{
    struct wire_r r = wire_r_span(p->frames);
    uint64_t left_out = 0;
    bool good = true;
    json_open(j, key, '[');
    while (good && wire_r_left(&r)) {
        struct json before = *j;
        good = one(j, &r, p);
        left_out += !good || j->failed || j->cap - j->n < TAIL;
        if (!good || j->failed || j->cap - j->n < TAIL)
            *j = before;
    }
    json_close(j, ']');
    if (left_out)
        json_number(j, "left_out", left_out);
}
