/*
 * frame - QUIC frames: the table that says what is legal where, and the codec
 * (RFC 9000 12.4 and 19, RFC 9221 4, draft-ietf-quic-ack-frequency 4 and 5).
 *
 * A frame type is a row of data: name, encryption levels, how it counts for
 * acknowledgement, congestion and path probing, what becomes of it when its packet is lost,
 * and the two functions that read and write it. Receiving, sending, loss handling and logs
 * all go by the row. An extension brings rows of its own; they are looked up after these.
 *
 * No state. Decoded frames borrow the packet's bytes.
 */
#ifndef QUIC_FRAME_H
#define QUIC_FRAME_H

#include "quic/packet.h"

/* Frame types. Where a row covers several, this is the first. */
enum {
    FRAME_PADDING = 0x00,
    FRAME_PING = 0x01,
    FRAME_ACK = 0x02,
    FRAME_ACK_ECN = 0x03,
    FRAME_RESET_STREAM = 0x04,
    FRAME_STOP_SENDING = 0x05,
    FRAME_CRYPTO = 0x06,
    FRAME_NEW_TOKEN = 0x07,
    FRAME_STREAM = 0x08, /* | FRAME_STREAM_OFF | FRAME_STREAM_LEN | FRAME_STREAM_FIN */
    FRAME_STREAM_LAST = 0x0f,
    FRAME_MAX_DATA = 0x10,
    FRAME_MAX_STREAM_DATA = 0x11,
    FRAME_MAX_STREAMS_BIDI = 0x12,
    FRAME_MAX_STREAMS_UNI = 0x13,
    FRAME_DATA_BLOCKED = 0x14,
    FRAME_STREAM_DATA_BLOCKED = 0x15,
    FRAME_STREAMS_BLOCKED_BIDI = 0x16,
    FRAME_STREAMS_BLOCKED_UNI = 0x17,
    FRAME_NEW_CONNECTION_ID = 0x18,
    FRAME_RETIRE_CONNECTION_ID = 0x19,
    FRAME_PATH_CHALLENGE = 0x1a,
    FRAME_PATH_RESPONSE = 0x1b,
    FRAME_CONNECTION_CLOSE = 0x1c,
    FRAME_CONNECTION_CLOSE_APP = 0x1d,
    FRAME_HANDSHAKE_DONE = 0x1e,
    FRAME_IMMEDIATE_ACK = 0x1f, /* draft-ietf-quic-ack-frequency, as ACK_FREQUENCY */
    FRAME_DATAGRAM = 0x30,
    FRAME_DATAGRAM_LEN = 0x31,
    FRAME_ACK_FREQUENCY = 0xaf
};

#define FRAME_STREAM_FIN 0x01
#define FRAME_STREAM_LEN 0x02
#define FRAME_STREAM_OFF 0x04

#define FRAME_STREAMS_MAX ((uint64_t)1 << 60) /* largest stream count (RFC 9000 4.6) */

/*
 * ACK: [largest - first, largest] and then `range_count` pairs of varints in `ranges`,
 * walked by ack_iter. `delay` is as on the wire: not yet scaled by ack_delay_exponent.
 */
struct frame_ack {
    uint64_t largest, delay, range_count, first;
    struct span ranges;
    bool ecn; /* the counts below were there */
    uint64_t ect0, ect1, ce;
};

struct frame_new_cid {
    uint64_t seq, retire_prior_to;
    struct quic_cid cid;
    uint8_t token[16];
};

struct frame {
    uint64_t type;    /* as on the wire, flag bits included */
    uint64_t path_id; /* 0 unless an extension's row set it */
    union {
        size_t padding; /* PADDING: how many in a row */
        struct frame_ack ack;
        struct {
            uint64_t id, code, final_size;
        } reset_stream;
        struct {
            uint64_t id, code;
        } stop_sending;
        struct {
            uint64_t offset;
            struct span data;
        } crypto;
        struct span token; /* NEW_TOKEN */
        struct {
            uint64_t id, offset;
            struct span data;
            bool fin, has_len;
        } stream;
        uint64_t max; /* MAX_DATA, MAX_STREAMS, DATA_BLOCKED, STREAMS_BLOCKED */
        uint64_t seq; /* RETIRE_CONNECTION_ID */
        struct {
            uint64_t id, max;
        } max_stream_data; /* MAX_STREAM_DATA and STREAM_DATA_BLOCKED */
        struct frame_new_cid new_cid;
        uint8_t path_data[8]; /* PATH_CHALLENGE and PATH_RESPONSE */
        struct {
            bool app; /* type 0x1d, and no frame_type then */
            uint64_t code, frame_type;
            struct span reason;
        } close;
        struct {
            struct span data;
            bool has_len;
        } datagram;
        struct {
            uint64_t seq, threshold, max_delay_us, reordering;
        } ack_frequency;
        struct {
            uint64_t v[4];
            struct span data;
        } ext; /* for an extension's rows to use as they like */
    };
};

/* What becomes of a frame when the packet that carried it is lost (RFC 9000 13.3). */
enum loss_class {
    LOSS_NONE,  /* never sent again */
    LOSS_STATE, /* send the current value, if it still matters */
    LOSS_RANGE, /* send these bytes of a stream or of CRYPTO data */
    LOSS_ITEM   /* send this one numbered object */
};

/* Bit of an encryption level in frame_row.levels. */
#define FRAME_AT(level) (1u << (level))

enum {
    FRAME_ELICITING = 0x01,  /* not marked N: demands an acknowledgement (13.2) */
    FRAME_PROBING = 0x02,    /* P: may probe a path (9.1) */
    FRAME_NON_FLIGHT = 0x04, /* C: alone, doesn't count to bytes in flight */
    FRAME_FLOW = 0x08,       /* F: flow controlled */
    FRAME_FROM_SERVER = 0x10 /* a server that receives it answers PROTOCOL_VIOLATION */
};

struct frame_row {
    uint64_t first, last; /* types of this row, inclusive */
    const char *name;
    uint8_t levels; /* FRAME_AT bits */
    uint8_t flags;  /* FRAME_ELICITING ... */
    enum loss_class loss;
    /*
     * Read what follows the type; f->type is set, the rest of `f` zero. Fails the reader if
     * truncated or if a value is not allowed.
     */
    void (*decode)(struct wire_r *r, struct frame *f);
    /* Write all of the frame, its type included; fails the writer if it doesn't fit. */
    void (*encode)(struct wire_w *w, const struct frame *f);
};

extern const struct frame_row frame_table[];
extern const size_t frame_table_len;

/* The row of a type, from the base table, then from `ext`; NULL if unknown. */
const struct frame_row *frame_find(uint64_t type, const struct frame_row *ext, size_t n_ext);

/*
 * Read one frame of a packet of `level`. `ext` are the rows that extensions have negotiated.
 * A run of PADDING comes out as one frame. `*row` is set on success.
 *
 * Returns 0; QUIC_FRAME_ENCODING_ERROR for an unknown type, a truncated frame or a value that
 * the frame may not have; QUIC_PROTOCOL_VIOLATION for a type not allowed at this level or
 * not in its shortest form (RFC 9000 12.4). After an error `f->type` holds the type, if one
 * could be read, for the CONNECTION_CLOSE. FRAME_FROM_SERVER is the caller's to check.
 */
int frame_decode(struct wire_r *r, const struct frame_row *ext, size_t n_ext,
                 enum quic_level level, struct frame *f, const struct frame_row **row);

/*
 * Write a frame by its row, or, with NULL, by f->type from the base table. The bits that
 * follow from the contents (STREAM's flags, ACK's ECN, DATAGRAM's length, CONNECTION_CLOSE's
 * kind) are set from those. Fails the writer if it doesn't fit or the type is unknown.
 */
void frame_encode(struct wire_w *w, const struct frame_row *row, const struct frame *f);

/* The row's name, or "unknown"; for messages. */
const char *frame_name(uint64_t type);

/*
 * Everything but the data of a STREAM, CRYPTO or DATAGRAM frame, so that the data can be
 * written in place behind it. `n` is the length of the data.
 */
void frame_stream_head(struct wire_w *w, uint64_t id, uint64_t offset, size_t n, bool fin,
                       bool has_len);
void frame_crypto_head(struct wire_w *w, uint64_t offset, size_t n);
void frame_datagram_head(struct wire_w *w, size_t n, bool has_len);

/* The bytes those write. */
size_t frame_stream_overhead(uint64_t id, uint64_t offset, size_t n, bool has_len);
size_t frame_crypto_overhead(uint64_t offset, size_t n);
size_t frame_datagram_overhead(size_t n, bool has_len);

/*
 * The fields of ACK and of NEW_CONNECTION_ID that follow the type, for rows of an extension
 * which put a path ID before them. frame_ack_get goes by the low bit of f->type for ECN.
 */
void frame_ack_get(struct wire_r *r, struct frame *f);
void frame_ack_put(struct wire_w *w, const struct frame_ack *a);
void frame_new_cid_get(struct wire_r *r, struct frame *f);
void frame_new_cid_put(struct wire_w *w, const struct frame_new_cid *c);

/*
 * Walk the ranges of an ACK from the newest down.
 *
 * Invariant: for an ACK that ack_check accepts, ranges are disjoint, not adjacent and
 * descending; for another, the walk ends before the range that would go below zero.
 */
struct ack_iter {
    struct wire_r r;
    uint64_t left; /* pairs still to come */
    uint64_t next; /* smallest number of the range before */
    uint64_t largest, first;
    bool begun;
};

void ack_iter_init(struct ack_iter *it, const struct frame_ack *a);

/* The next range, both ends inclusive; false at the end. */
bool ack_iter_next(struct ack_iter *it, uint64_t *lo, uint64_t *hi);

/*
 * Returns 0, or QUIC_FRAME_ENCODING_ERROR where a range would go below packet number 0 or
 * `ranges` doesn't hold `range_count` pairs (RFC 9000 19.3.1). frame_decode has done it.
 */
int ack_check(const struct frame_ack *a);

#endif
