/*
 * Streams, driven by commands: what the peer sends, what the user does and what becomes of
 * the frames we send, in any order. After each the invariant must hold.
 *
 *     0 len bytes...   the peer's frames in these bytes, up to the first error
 *     1 kind           open a stream
 *     2 id n           write 64 * n bytes of a pattern
 *     3 id             finish
 *     4 id code        reset
 *     5 id code        stop
 *     6 id n           read up to 64 * n bytes
 *     7 room           send: frames of up to 16 * room bytes until there is none, at most 8
 *     8 which          a frame sent was acknowledged
 *     9 which          or lost
 *     a -              take an event
 *     b ms             time passes
 *
 * `id` is a byte: streams 0 to 255. The first byte of the input chooses our role.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "quic/errors.h"
#include "quic/streams.h"

#define CHECK(x)                                                                               \
    do {                                                                                       \
        if (!(x))                                                                              \
            abort();                                                                           \
    } while (0)

#define SENT 64

struct state {
    struct streams s;
    struct sent_record sent[SENT];
    size_t n_sent;
    ns_t now;
};

static const struct streams_config config = {.conn_window = 3000,
                                             .conn_window_max = 6000,
                                             .stream_window = 1000,
                                             .stream_window_max = 2000,
                                             .max_bidi = 10,
                                             .max_uni = 5,
                                             .send_buffer = 2000};

/* Frames from the peer. Returns whether the connection lives on. */
static bool feed(struct state *f, struct span bytes)
{
    struct wire_r r = wire_r_span(bytes);

    while (wire_r_left(&r)) {
        const struct frame_row *row;
        struct frame frame;
        int err;

        if (frame_decode(&r, NULL, 0, LEVEL_APP, &frame, &row))
            return true;
        if (!streams_takes(frame.type))
            continue;
        err = streams_on_frame(&f->s, &frame);
        CHECK(err >= 0 && err <= QUIC_NO_VIABLE_PATH);
        if (err)
            return false;
        CHECK(streams_check(&f->s));
    }
    return true;
}

static void send_some(struct state *f, size_t room)
{
    uint8_t buf[16 * 256];

    for (int i = 0; i < 8 && f->n_sent < SENT; i++) {
        struct wire_w w = wire_w_of(buf, room);
        struct frame frame;
        bool pending = streams_pending(&f->s);

        if (!streams_next_frame(&f->s, room, &frame, &f->sent[f->n_sent])) {
            CHECK(!pending || room < 64);
            return;
        }
        CHECK(pending);
        frame_encode(&w, NULL, &frame);
        CHECK(!w.failed);
        f->n_sent++;
    }
}

static void fate(struct state *f, uint8_t which, bool acked)
{
    struct sent_record *rec;

    if (!f->n_sent)
        return;
    rec = &f->sent[which % f->n_sent];
    CHECK(streams_on_fate(&f->s, rec, acked));
    if (acked)
        *rec = f->sent[--f->n_sent]; /* a lost one may still be acknowledged */
}

static void read_some(struct state *f, uint64_t id, size_t most)
{
    bool fin;
    struct span s = streams_peek(&f->s, id, &fin);

    streams_consume(&f->s, id, s.n < most ? s.n : most);
}

static void user(struct state *f, uint8_t op, uint64_t id, uint8_t arg)
{
    static const uint8_t pattern[64 * 256];
    struct streams_event ev;
    size_t taken;

    switch (op) {
    case 1:
        streams_open(&f->s, id & 1, &id);
        break;
    case 2:
        streams_write(&f->s, id, span_of(pattern, 64 * (size_t)arg), &taken);
        CHECK(taken <= 64 * (size_t)arg);
        break;
    case 3:
        streams_finish(&f->s, id);
        break;
    case 4:
        streams_reset(&f->s, id, arg);
        break;
    case 5:
        streams_stop(&f->s, id, arg);
        break;
    case 6:
        read_some(f, id, 64 * (size_t)arg);
        break;
    default:
        streams_next_event(&f->s, &ev);
        break;
    }
}

static bool command(struct state *f, struct wire_r *r)
{
    uint8_t op = wire_r_u8(r), arg;

    switch (op) {
    case 0:
        arg = wire_r_u8(r);
        return feed(f, wire_r_bytes(r, arg));
    case 7:
        send_some(f, 16 * (size_t)wire_r_u8(r));
        return true;
    case 8:
    case 9:
        fate(f, wire_r_u8(r), op == 8);
        return true;
    case 0xb:
        f->now += wire_r_u8(r) * NS_PER_MS;
        streams_time(&f->s, f->now, 20 * NS_PER_MS);
        return true;
    default:
        arg = wire_r_u8(r);
        user(f, op, arg, op == 1 || op == 3 || op > 6 ? 0 : wire_r_u8(r));
        return true;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_r r = wire_r_of(data, size);
    struct streams_config cfg = config;
    struct tparams peer = {.initial_max_data = 2000,
                           .initial_max_stream_data_bidi_local = 1000,
                           .initial_max_stream_data_bidi_remote = 1000,
                           .initial_max_stream_data_uni = 1000,
                           .initial_max_streams_bidi = 6,
                           .initial_max_streams_uni = 3};
    struct state f;

    memset(&f, 0, sizeof f);
    cfg.server = wire_r_u8(&r) & 1;
    streams_init(&f.s, &cfg);
    streams_set_peer(&f.s, &peer);
    while (wire_r_left(&r) && command(&f, &r))
        CHECK(streams_check(&f.s));
    streams_free(&f.s);
    return 0;
}
