#include "quic/frame_codec.h"

#include "quic/errors.h"

#define I (FRAME_AT(LEVEL_INITIAL))
#define H (FRAME_AT(LEVEL_HANDSHAKE))
#define E (FRAME_AT(LEVEL_EARLY)) /* 0-RTT */
#define A (FRAME_AT(LEVEL_APP))   /* 1-RTT */

#define ACKED FRAME_ELICITING

/*
 * RFC 9000 table 3, with RFC 9221's DATAGRAM and the two of ACK frequency; CONNECTION_CLOSE's
 * "ih" makes two rows.
 */
/* clang-format off */
const struct frame_row frame_table[] = {
    {0x00, 0x00, "PADDING", I | H | E | A, FRAME_PROBING, LOSS_NONE, padding_get, padding_put},
    {0x01, 0x01, "PING", I | H | E | A, ACKED, LOSS_NONE, bare_get, bare_put},
    {0x02, 0x03, "ACK", I | H | A, FRAME_NON_FLIGHT, LOSS_NONE, frame_ack_get, ack_put},
    {0x04, 0x04, "RESET_STREAM", E | A, ACKED, LOSS_STATE, reset_stream_get, reset_stream_put},
    {0x05, 0x05, "STOP_SENDING", E | A, ACKED, LOSS_STATE, stop_sending_get, stop_sending_put},
    {0x06, 0x06, "CRYPTO", I | H | A, ACKED, LOSS_RANGE, crypto_get, crypto_put},
    {0x07, 0x07, "NEW_TOKEN", A, ACKED | FRAME_FROM_SERVER, LOSS_ITEM, new_token_get, new_token_put},
    {0x08, 0x0f, "STREAM", E | A, ACKED | FRAME_FLOW, LOSS_RANGE, stream_get, stream_put},
    {0x10, 0x10, "MAX_DATA", E | A, ACKED, LOSS_STATE, number_get, number_put},
    {0x11, 0x11, "MAX_STREAM_DATA", E | A, ACKED, LOSS_STATE, max_stream_data_get, max_stream_data_put},
    {0x12, 0x13, "MAX_STREAMS", E | A, ACKED, LOSS_STATE, streams_get, number_put},
    {0x14, 0x14, "DATA_BLOCKED", E | A, ACKED, LOSS_STATE, number_get, number_put},
    {0x15, 0x15, "STREAM_DATA_BLOCKED", E | A, ACKED, LOSS_STATE, max_stream_data_get, max_stream_data_put},
    {0x16, 0x17, "STREAMS_BLOCKED", E | A, ACKED, LOSS_STATE, streams_get, number_put},
    {0x18, 0x18, "NEW_CONNECTION_ID", E | A, ACKED | FRAME_PROBING, LOSS_ITEM, frame_new_cid_get, new_cid_put},
    {0x19, 0x19, "RETIRE_CONNECTION_ID", E | A, ACKED, LOSS_ITEM, number_get, number_put},
    {0x1a, 0x1a, "PATH_CHALLENGE", E | A, ACKED | FRAME_PROBING, LOSS_NONE, path_data_get, path_data_put},
    {0x1b, 0x1b, "PATH_RESPONSE", A, ACKED | FRAME_PROBING, LOSS_NONE, path_data_get, path_data_put},
    {0x1c, 0x1c, "CONNECTION_CLOSE", I | H | E | A, 0, LOSS_NONE, close_get, close_put},
    {0x1d, 0x1d, "CONNECTION_CLOSE", E | A, 0, LOSS_NONE, close_get, close_put},
    {0x1e, 0x1e, "HANDSHAKE_DONE", A, ACKED | FRAME_FROM_SERVER, LOSS_STATE, bare_get, bare_put},
    {0x1f, 0x1f, "IMMEDIATE_ACK", A, ACKED, LOSS_NONE, bare_get, bare_put},
    {0x30, 0x31, "DATAGRAM", E | A, ACKED, LOSS_NONE, datagram_get, datagram_put},
    {0xaf, 0xaf, "ACK_FREQUENCY", A, ACKED, LOSS_STATE, ack_frequency_get, ack_frequency_put},
};
/* clang-format on */

const size_t frame_table_len = ARRAY_LEN(frame_table);

/* Type to row number plus one, 0 for none; the test holds it against the table. */
/* clang-format off */
static const uint8_t row_of[] = {
    [0x00] = 1, [0x01] = 2, [0x02 ... 0x03] = 3, [0x04] = 4, [0x05] = 5, [0x06] = 6, [0x07] = 7,
    [0x08 ... 0x0f] = 8, [0x10] = 9, [0x11] = 10, [0x12 ... 0x13] = 11, [0x14] = 12, [0x15] = 13,
    [0x16 ... 0x17] = 14, [0x18] = 15, [0x19] = 16, [0x1a] = 17, [0x1b] = 18, [0x1c] = 19,
    [0x1d] = 20, [0x1e] = 21, [0x1f] = 22, [0x30 ... 0x31] = 23, [0xaf] = 24,
};
/* clang-format on */

const struct frame_row *frame_find(uint64_t type, const struct frame_row *ext, size_t n_ext)
{
    if (type < ARRAY_LEN(row_of) && row_of[type] > 0)
        return &frame_table[row_of[type] - 1];
    for (size_t i = 0; i < n_ext; i++) {
        if (type >= ext[i].first && type <= ext[i].last)
            return &ext[i];
    }
    return NULL;
}

int frame_decode(struct wire_r *r, const struct frame_row *ext, size_t n_ext,
                 enum quic_level level, struct frame *f, const struct frame_row **row)
{
    const uint8_t *start = r->p;
    const struct frame_row *found;

    *f = (struct frame){.type = wire_r_varint(r)};
    if (r->failed)
        return QUIC_FRAME_ENCODING_ERROR;
    if ((size_t)(r->p - start) != varint_len(f->type))
        return QUIC_PROTOCOL_VIOLATION;
    found = frame_find(f->type, ext, n_ext);
    if (!found)
        return QUIC_FRAME_ENCODING_ERROR;
    if (!(found->levels & FRAME_AT(level)))
        return QUIC_PROTOCOL_VIOLATION;
    found->decode(r, f);
    if (r->failed)
        return QUIC_FRAME_ENCODING_ERROR;
    *row = found;
    return 0;
}

void frame_encode(struct wire_w *w, const struct frame_row *row, const struct frame *f)
{
    if (!row)
        row = frame_find(f->type, NULL, 0);
    if (row)
        row->encode(w, f);
    else
        wire_w_fail(w);
}

const char *frame_name(uint64_t type)
{
    const struct frame_row *row = frame_find(type, NULL, 0);

    return row ? row->name : "unknown";
}

void ack_iter_init(struct ack_iter *it, const struct frame_ack *a)
{
    *it = (struct ack_iter){
        .r = wire_r_span(a->ranges),
        .left = a->range_count,
        .largest = a->largest,
        .first = a->first,
    };
}

static bool iter_end(struct ack_iter *it)
{
    it->begun = true;
    it->left = 0;
    return false;
}

bool ack_iter_next(struct ack_iter *it, uint64_t *lo, uint64_t *hi)
{
    uint64_t length = it->first, top = it->largest;

    if (it->begun) {
        uint64_t gap;

        if (it->left == 0)
            return false;
        it->left--;
        gap = wire_r_varint(&it->r);
        length = wire_r_varint(&it->r);
        if (it->r.failed || gap + 2 > it->next)
            return iter_end(it);
        top = it->next - gap - 2;
    }
    if (length > top)
        return iter_end(it);
    it->begun = true;
    *hi = top;
    *lo = it->next = top - length;
    return true;
}

int ack_check(const struct frame_ack *a)
{
    struct ack_iter it;
    uint64_t lo, hi, ranges = 0;

    ack_iter_init(&it, a);
    while (ack_iter_next(&it, &lo, &hi))
        ranges++;
    if (ranges == 0 || ranges - 1 != a->range_count || wire_r_left(&it.r) != 0)
        return QUIC_FRAME_ENCODING_ERROR;
    return 0;
}
