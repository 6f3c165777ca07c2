/*
 * micro_codec - headers and frames read and written, without protection.
 *
 *     parse head=H bytes=N       packet_parse of a 1-RTT or Initial packet
 *     decode frame=datagram ...  frame_decode of a packet that one DATAGRAM fills
 *     decode frame=ack ranges=N  frame_decode, which checks every range
 *     walk frame=ack ranges=N    ack_iter over the decoded ranges
 *     build head=H               a header with its packet number: pn_len, head, pn_write
 *     build frame=datagram       the head of a DATAGRAM frame
 */
#include "bench/bench.h"

#include "quic/frame.h"

#define CID     8
#define BYTES   1200
#define RANGES  32
#define PN      1000000
#define PN_SEEN (PN - 500) /* acknowledged by the peer: two bytes will do */

static const struct quic_cid dcid = {.len = CID, .b = {1, 2, 3}}, scid = {.len = CID, .b = {4}};

/* One packet, or the frames of one. */
struct input {
    uint8_t p[BYTES];
    size_t n;
    struct frame f; /* as decoded once */
};

/* Returns the offset of the packet number. */
static size_t write_head(struct wire_w *w, bool initial)
{
    size_t len = pn_len(PN, PN_SEEN);
    const uint8_t *begin = w->p;
    uint8_t *length = NULL;
    size_t offset;

    if (initial)
        length = packet_long_head(w, PACKET_INITIAL, QUIC_V1, &dcid, &scid, SPAN_LIT(""), len);
    else
        packet_short_head(w, &dcid, true, false, len);
    offset = (size_t)(w->p - begin);
    pn_write(w, PN, len);
    if (length)
        packet_long_length(length, BYTES - offset);
    return offset;
}

static void build_short(void *ctx, uint64_t n)
{
    struct input *in = ctx;

    for (uint64_t i = 0; i < n; i++) {
        struct wire_w w = wire_w_of(in->p, BYTES);

        BENCH_CHECK(write_head(&w, false) == 1 + CID && !w.failed);
    }
}

static void build_initial(void *ctx, uint64_t n)
{
    struct input *in = ctx;

    for (uint64_t i = 0; i < n; i++) {
        struct wire_w w = wire_w_of(in->p, BYTES);

        BENCH_CHECK(write_head(&w, true) > CID && !w.failed);
    }
}

static void build_datagram(void *ctx, uint64_t n)
{
    struct input *in = ctx;

    for (uint64_t i = 0; i < n; i++) {
        struct wire_w w = wire_w_of(in->p, BYTES);

        frame_datagram_head(&w, BYTES - 3, true);
        BENCH_CHECK(w.p == in->p + 3 && !w.failed);
    }
}

static void parse(void *ctx, uint64_t n)
{
    struct input *in = ctx;
    struct packet_head h;

    for (uint64_t i = 0; i < n; i++)
        BENCH_CHECK(packet_parse(in->p, in->n, CID, &h) == 0 && h.length == BYTES);
}

static void decode(void *ctx, uint64_t n)
{
    struct input *in = ctx;
    const struct frame_row *row;

    for (uint64_t i = 0; i < n; i++) {
        struct wire_r r = wire_r_of(in->p, in->n);

        BENCH_CHECK(frame_decode(&r, NULL, 0, LEVEL_APP, &in->f, &row) == 0 &&
                    wire_r_left(&r) == 0);
    }
}

static void walk(void *ctx, uint64_t n)
{
    struct input *in = ctx;
    uint64_t lo, hi;

    for (uint64_t i = 0; i < n; i++) {
        struct ack_iter it;
        size_t ranges = 0;

        ack_iter_init(&it, &in->f.ack);
        while (ack_iter_next(&it, &lo, &hi))
            ranges++;
        BENCH_CHECK(ranges == in->f.ack.range_count + 1);
    }
}

/* An ACK of `ranges` ranges of 98 packets, with two missing between. */
static void make_ack(struct input *in, size_t ranges)
{
    struct wire_w w = wire_w_of(in->p, BYTES), pairs;
    struct frame f = {.type = FRAME_ACK};
    uint8_t at[4 * RANGES];

    pairs = wire_w_of(at, sizeof(at));
    for (size_t i = 1; i < ranges; i++) {
        wire_w_varint(&pairs, 1);
        wire_w_varint(&pairs, 97);
    }
    f.ack = (struct frame_ack){.largest = PN,
                               .delay = 20,
                               .range_count = ranges - 1,
                               .first = 97,
                               .ranges = span_of(at, (size_t)(pairs.p - at))};
    frame_encode(&w, NULL, &f);
    BENCH_CHECK(!pairs.failed && !w.failed);
    in->n = (size_t)(w.p - in->p);
}

int main(void)
{
    static const size_t ranges[] = {1, 10, RANGES};
    static struct input in;
    struct wire_w w;

    bench_line(&(struct bench){build_short, &in, NULL, 0}, "build head=1rtt");
    bench_line(&(struct bench){build_initial, &in, NULL, 0}, "build head=initial");
    bench_line(&(struct bench){build_datagram, &in, NULL, 0}, "build frame=datagram");

    for (int initial = 0; initial < 2; initial++) {
        w = wire_w_of(in.p, BYTES);
        write_head(&w, initial);
        in.n = BYTES;
        bench_line(&(struct bench){parse, &in, NULL, 0}, "parse head=%s bytes=%d",
                   initial ? "initial" : "1rtt", BYTES);
    }

    in.p[0] = FRAME_DATAGRAM;
    bench_line(&(struct bench){decode, &in, NULL, 0}, "decode frame=datagram bytes=%d", BYTES);
    BENCH_CHECK(in.f.datagram.data.n == BYTES - 1);
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        make_ack(&in, ranges[i]);
        bench_line(&(struct bench){decode, &in, NULL, 0}, "decode frame=ack ranges=%zu",
                   ranges[i]);
        bench_line(&(struct bench){walk, &in, NULL, 0}, "walk frame=ack ranges=%zu", ranges[i]);
    }
    return 0;
}
