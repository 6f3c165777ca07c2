#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "quic/errors.h"
#include "quic/streams.h"
#include "test/quic_rand.h"

#define ROOM 1200

static const struct streams_config defaults = {.conn_window = 10000,
                                               .conn_window_max = 10000,
                                               .stream_window = 5000,
                                               .stream_window_max = 5000,
                                               .max_bidi = 4,
                                               .max_uni = 2,
                                               .send_buffer = 20000};

/* What a peer with this configuration says in its transport parameters. */
static struct tparams params_of(const struct streams_config *cfg)
{
    struct tparams t;

    memset(&t, 0, sizeof t);
    t.initial_max_data = cfg->conn_window;
    t.initial_max_stream_data_bidi_local = cfg->stream_window;
    t.initial_max_stream_data_bidi_remote = cfg->stream_window;
    t.initial_max_stream_data_uni = cfg->stream_window;
    t.initial_max_streams_bidi = cfg->max_bidi;
    t.initial_max_streams_uni = cfg->max_uni;
    return t;
}

static void start(struct streams *s, bool server, const struct streams_config *cfg,
                  const struct streams_config *peer)
{
    struct streams_config c = *cfg;
    struct tparams t = params_of(peer);

    c.server = server;
    streams_init(s, &c);
    streams_set_peer(s, &t);
}

static struct frame data_frame(uint64_t id, uint64_t off, size_t n, bool fin)
{
    static const uint8_t zeros[70000];
    struct frame f = {.type = FRAME_STREAM};

    f.stream.id = id;
    f.stream.offset = off;
    f.stream.data = span_of(zeros, n);
    f.stream.fin = fin;
    return f;
}

static int feed_data(struct streams *s, uint64_t id, uint64_t off, size_t n, bool fin)
{
    struct frame f = data_frame(id, off, n, fin);
    int err = streams_on_frame(s, &f);

    if (!err)
        assert_true(streams_check(s));
    return err;
}

/* A frame of two or three numbers: `a` the stream ID or the only value. */
static int feed(struct streams *s, uint64_t type, uint64_t a, uint64_t b, uint64_t c)
{
    struct frame f = {.type = type};
    int err;

    switch (type) {
    case FRAME_RESET_STREAM:
        f.reset_stream.id = a;
        f.reset_stream.code = b;
        f.reset_stream.final_size = c;
        break;
    case FRAME_STOP_SENDING:
        f.stop_sending.id = a;
        f.stop_sending.code = b;
        break;
    case FRAME_MAX_STREAM_DATA:
    case FRAME_STREAM_DATA_BLOCKED:
        f.max_stream_data.id = a;
        f.max_stream_data.max = b;
        break;
    default:
        f.max = a;
        break;
    }
    err = streams_on_frame(s, &f);
    if (!err)
        assert_true(streams_check(s));
    return err;
}

static void expect_event(struct streams *s, enum streams_event_type type, uint64_t id,
                         uint64_t code)
{
    struct streams_event ev;

    assert_true(streams_next_event(s, &ev));
    assert_int_equal(ev.type, type);
    assert_int_equal(ev.id, id);
    assert_int_equal(ev.code, code);
    assert_true(streams_check(s));
}

static void no_event(struct streams *s)
{
    struct streams_event ev;

    assert_false(streams_next_event(s, &ev));
}

static void drop_events(struct streams *s)
{
    struct streams_event ev;

    while (streams_next_event(s, &ev))
        ;
}

/* The next frame is of this type, with this first number. */
static struct sent_record expect_frame(struct streams *s, uint64_t type, uint64_t first)
{
    struct frame f;
    struct sent_record rec;

    assert_true(streams_pending(s));
    assert_true(streams_next_frame(s, ROOM, &f, &rec));
    assert_int_equal(f.type, type);
    assert_int_equal(f.max, first); /* the first number of every variant */
    assert_true(streams_check(s));
    return rec;
}

static void no_frame(struct streams *s)
{
    struct frame f;
    struct sent_record rec;

    assert_false(streams_next_frame(s, ROOM, &f, &rec));
    assert_false(streams_pending(s));
}

/* ---- what a peer may not do ---------------------------------------------------------- */

struct bad {
    uint64_t type, a, b, c;
    int result;
};

/* Against a server that has opened 1 and 3 and nothing else; the peer may open 4 and 2. */
/* clang-format off */
static const struct bad bad[] = {
    {FRAME_STREAM, 1, 0, 1, 0},
    {FRAME_STREAM, 5, 0, 1, QUIC_STREAM_STATE_ERROR},       /* ours, not open */
    {FRAME_STREAM, 3, 0, 1, QUIC_STREAM_STATE_ERROR},       /* we only send */
    {FRAME_STREAM, 7, 0, 1, QUIC_STREAM_STATE_ERROR},
    {FRAME_STREAM, 16, 0, 1, QUIC_STREAM_LIMIT_ERROR},
    {FRAME_STREAM, 10, 0, 1, QUIC_STREAM_LIMIT_ERROR},
    {FRAME_STREAM, VARINT_MAX - 3, 0, 1, QUIC_STREAM_LIMIT_ERROR},
    {FRAME_STREAM, 0, 5000, 1, QUIC_FLOW_CONTROL_ERROR},
    {FRAME_STREAM, 0, VARINT_MAX, 1, QUIC_FRAME_ENCODING_ERROR},
    {FRAME_STREAM, 0, VARINT_MAX, 0, QUIC_FLOW_CONTROL_ERROR},
    {FRAME_RESET_STREAM, 3, 0, 0, QUIC_STREAM_STATE_ERROR},
    {FRAME_RESET_STREAM, 5, 0, 0, QUIC_STREAM_STATE_ERROR},
    {FRAME_RESET_STREAM, 16, 0, 0, QUIC_STREAM_LIMIT_ERROR},
    {FRAME_RESET_STREAM, 1, 0, 5001, QUIC_FLOW_CONTROL_ERROR},
    {FRAME_RESET_STREAM, 1, 0, VARINT_MAX, QUIC_FLOW_CONTROL_ERROR},
    {FRAME_STOP_SENDING, 5, 0, 0, QUIC_STREAM_STATE_ERROR},
    {FRAME_STOP_SENDING, 2, 0, 0, QUIC_STREAM_STATE_ERROR}, /* we only receive */
    {FRAME_STOP_SENDING, 16, 0, 0, QUIC_STREAM_LIMIT_ERROR},
    {FRAME_STOP_SENDING, 3, 0, 0, 0},
    {FRAME_STOP_SENDING, 0, 0, 0, 0},                       /* opens it */
    {FRAME_MAX_STREAM_DATA, 5, 9, 0, QUIC_STREAM_STATE_ERROR},
    {FRAME_MAX_STREAM_DATA, 2, 9, 0, QUIC_STREAM_STATE_ERROR},
    {FRAME_MAX_STREAM_DATA, 1, 0, 0, 0},
    {FRAME_STREAM_DATA_BLOCKED, 3, 9, 0, QUIC_STREAM_STATE_ERROR},
    {FRAME_STREAM_DATA_BLOCKED, 5, 9, 0, QUIC_STREAM_STATE_ERROR},
    {FRAME_STREAM_DATA_BLOCKED, 2, 9, 0, 0},
    {FRAME_MAX_STREAMS_BIDI, FRAME_STREAMS_MAX + 1, 0, 0, QUIC_FRAME_ENCODING_ERROR},
    {FRAME_MAX_STREAMS_UNI, FRAME_STREAMS_MAX + 1, 0, 0, QUIC_FRAME_ENCODING_ERROR},
    {FRAME_MAX_STREAMS_UNI, FRAME_STREAMS_MAX, 0, 0, 0},
    {FRAME_STREAMS_BLOCKED_BIDI, FRAME_STREAMS_MAX + 1, 0, 0, QUIC_FRAME_ENCODING_ERROR},
    {FRAME_STREAMS_BLOCKED_UNI, FRAME_STREAMS_MAX, 0, 0, 0},
    {FRAME_DATA_BLOCKED, 0, 0, 0, 0},
    {FRAME_PING, 0, 0, 0, QUIC_INVAL},
    {FRAME_CRYPTO, 0, 0, 0, QUIC_INVAL},
};
/* clang-format on */

static void test_bad_frames(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const struct bad *b = &bad[i];
        struct streams s;
        uint64_t id;

        start(&s, true, &defaults, &defaults);
        assert_int_equal(streams_open(&s, false, &id), 0);
        assert_int_equal(id, 1);
        assert_int_equal(streams_open(&s, true, &id), 0);
        assert_int_equal(id, 3);
        assert_int_equal(streams_takes(b->type), b->result != QUIC_INVAL);
        if (b->type == FRAME_STREAM)
            assert_int_equal(feed_data(&s, b->a, b->b, b->c, false), b->result);
        else
            assert_int_equal(feed(&s, b->type, b->a, b->b, b->c), b->result);
        assert_true(streams_check(&s));
        streams_free(&s);
    }
}

/* The sum over streams has a limit of its own. */
static void test_conn_flow_control(void **state)
{
    struct streams s;

    (void)state;
    start(&s, true, &defaults, &defaults);
    assert_int_equal(feed_data(&s, 0, 0, 5000, false), 0);
    assert_int_equal(feed_data(&s, 4, 4000, 900, false), 0);
    assert_int_equal(feed_data(&s, 8, 0, 101, false), QUIC_FLOW_CONTROL_ERROR);
    assert_int_equal(feed_data(&s, 8, 0, 100, false), 0);
    assert_int_equal(feed_data(&s, 4, 0, 4000, false), 0); /* fills a gap: nothing new */
    assert_int_equal(feed(&s, FRAME_RESET_STREAM, 8, 0, 101), QUIC_FLOW_CONTROL_ERROR);
    no_frame(&s);
    streams_consume(&s, 0, 5000);
    expect_frame(&s, FRAME_MAX_DATA, 15000);
    expect_frame(&s, FRAME_MAX_STREAM_DATA, 0);
    no_frame(&s);
    /* What a reset stream had not delivered is credit again, on the connection. */
    assert_int_equal(feed(&s, FRAME_RESET_STREAM, 4, 0, 5000), 0);
    expect_frame(&s, FRAME_MAX_DATA, 20000);
    no_frame(&s);
    streams_free(&s);
}

/* ---- opening ------------------------------------------------------------------------- */

static void test_open(void **state)
{
    struct streams s;
    struct streams_config cfg = defaults;
    struct tparams t = params_of(&defaults);
    uint64_t id;

    (void)state;
    streams_init(&s, &cfg);
    assert_int_equal(streams_open(&s, false, &id), QUIC_BLOCKED);
    streams_set_peer(&s, &t);
    expect_event(&s, STREAMS_ALLOWED, 0, 0);
    expect_event(&s, STREAMS_ALLOWED, 2, 0);
    no_event(&s);
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(streams_open(&s, false, &id), 0);
        assert_int_equal(id, 4 * i);
    }
    no_frame(&s);
    assert_int_equal(streams_open(&s, false, &id), QUIC_BLOCKED);
    assert_int_equal(streams_open(&s, true, &id), 0);
    assert_int_equal(id, 2);
    struct sent_record rec = expect_frame(&s, FRAME_STREAMS_BLOCKED_BIDI, 4);

    assert_int_equal(streams_open(&s, false, &id), QUIC_BLOCKED);
    no_frame(&s); /* said once for this limit */
    streams_on_fate(&s, &rec, false);
    expect_frame(&s, FRAME_STREAMS_BLOCKED_BIDI, 4);
    assert_int_equal(feed(&s, FRAME_MAX_STREAMS_BIDI, 4, 0, 0), 0); /* no raise */
    no_event(&s);
    assert_int_equal(feed(&s, FRAME_MAX_STREAMS_BIDI, 5, 0, 0), 0);
    expect_event(&s, STREAMS_ALLOWED, 0, 0);
    streams_on_fate(&s, &rec, false); /* an old one */
    no_frame(&s);
    assert_int_equal(streams_open(&s, false, &id), 0);
    assert_int_equal(id, 16);
    assert_int_equal(feed(&s, FRAME_MAX_STREAMS_BIDI, 1, 0, 0), 0);
    assert_int_equal(s.ours[0].limit, 5);
    streams_free(&s);
}

/* A high number opens all below, at the price of one object. */
static void test_unborn(void **state)
{
    struct streams_config cfg = defaults;
    struct streams s;

    (void)state;
    cfg.max_bidi = 1000000;
    cfg.conn_window = cfg.conn_window_max = 10000000;
    start(&s, true, &cfg, &defaults);
    drop_events(&s);
    assert_int_equal(feed_data(&s, 4 * 999999, 0, 1, false), 0);
    assert_int_equal(s.count, 1);
    assert_true(streams_memory(&s) < 3000);
    expect_event(&s, STREAMS_OPENED, 4 * 999999, 0);
    expect_event(&s, STREAMS_READABLE, 4 * 999999, 0);
    no_event(&s);
    assert_int_equal(feed_data(&s, 4 * 500000, 0, 1, false), 0);
    assert_int_equal(feed(&s, FRAME_STOP_SENDING, 4 * 7, 1, 0), 0);
    assert_int_equal(s.count, 3);
    assert_non_null(streams_find(&s, 28));
    assert_null(streams_find(&s, 32));
    expect_event(&s, STREAMS_OPENED, 4 * 500000, 0);
    expect_event(&s, STREAMS_READABLE, 4 * 500000, 0);
    expect_event(&s, STREAMS_OPENED, 28, 0);
    expect_event(&s, STREAMS_STOPPED, 28, 1);
    /* For the user it isn't there before it is named. */
    assert_int_equal(streams_write(&s, 32, SPAN_LIT("x"), NULL), QUIC_CLOSED);
    streams_free(&s);
}

/* Bring a stream of the peer to its end in both directions. */
static void finish_stream(struct streams *s, uint64_t id)
{
    struct frame f;
    struct sent_record rec;

    assert_int_equal(feed_data(s, id, 0, 1, true), 0);
    streams_consume(s, id, 1);
    assert_int_equal(streams_finish(s, id), 0);
    while (streams_next_frame(s, ROOM, &f, &rec))
        assert_true(streams_on_fate(s, &rec, true));
    drop_events(s);
    assert_null(streams_find(s, id));
    assert_true(streams_check(s));
}

/* Credit for more streams comes when streams are over, and not before. */
static void test_stream_credit(void **state)
{
    struct streams s;
    struct sent_record rec;

    (void)state;
    start(&s, true, &defaults, &defaults); /* 4 at once */
    drop_events(&s);
    /* Opened and reset at once: our half is open, the user was not told. */
    for (uint64_t id = 0; id < 16; id += 4)
        assert_int_equal(feed(&s, FRAME_RESET_STREAM, id, 1, 0), 0);
    no_frame(&s);
    assert_int_equal(feed(&s, FRAME_RESET_STREAM, 16, 1, 0), QUIC_STREAM_LIMIT_ERROR);
    drop_events(&s);
    no_frame(&s);
    assert_int_equal(s.count, 4);
    for (uint64_t id = 0; id < 8; id += 4) {
        assert_int_equal(streams_reset(&s, id, 3), 0);
        rec = expect_frame(&s, FRAME_RESET_STREAM, id);
        streams_on_fate(&s, &rec, false);
        rec = expect_frame(&s, FRAME_RESET_STREAM, id);
        assert_non_null(streams_find(&s, id));
        streams_on_fate(&s, &rec, true);
        assert_null(streams_find(&s, id)); /* over */
    }
    rec = expect_frame(&s, FRAME_MAX_STREAMS_BIDI, 6);
    no_frame(&s);
    streams_on_fate(&s, &rec, false);
    expect_frame(&s, FRAME_MAX_STREAMS_BIDI, 6);
    /* Late frames for streams that are over are ignored, whatever they say. */
    assert_int_equal(feed_data(&s, 0, 0, 10, true), 0);
    assert_int_equal(feed(&s, FRAME_RESET_STREAM, 4, 1, 0), 0);
    assert_int_equal(feed(&s, FRAME_STOP_SENDING, 4, 1, 0), 0);
    assert_int_equal(feed(&s, FRAME_MAX_STREAM_DATA, 4, 100000, 0), 0);
    assert_int_equal(streams_write(&s, 0, SPAN_LIT("x"), NULL), QUIC_CLOSED);
    assert_int_equal(streams_finish(&s, 0), QUIC_CLOSED);
    assert_int_equal(streams_reset(&s, 0, 1), QUIC_CLOSED);
    assert_int_equal(streams_stop(&s, 0, 1), QUIC_CLOSED);
    streams_consume(&s, 0, 1);
    streams_set_urgent(&s, 0, true);
    assert_false(streams_on_fate(&s, &(struct sent_record){.kind = FRAME_PING}, true));
    assert_int_equal(s.count, 2);
    no_event(&s);
    no_frame(&s);
    streams_free(&s);
}

/* Thousands of streams one after the other leave nothing behind. */
static void test_many(void **state)
{
    struct streams s;
    size_t memory = 0;

    (void)state;
    start(&s, true, &defaults, &defaults);
    for (uint64_t i = 0; i < 5000; i++) {
        finish_stream(&s, 4 * i);
        if (i == 100)
            memory = streams_memory(&s);
    }
    assert_int_equal(s.count, 0);
    assert_int_equal(streams_memory(&s), memory);
    assert_int_equal(s.theirs[0].over, 5000);
    streams_free(&s);
}

/* ---- order of sending ---------------------------------------------------------------- */

static void write_to(struct streams *s, uint64_t id, size_t n)
{
    static const uint8_t zeros[20000];
    size_t taken;

    assert_int_equal(streams_write(s, id, span_of(zeros, n), &taken), 0);
    assert_int_equal(taken, n);
    assert_true(streams_check(s));
}

static void test_order(void **state)
{
    struct streams s;
    struct frame f;
    struct sent_record rec;
    uint64_t id;

    (void)state;
    start(&s, false, &defaults, &defaults);
    drop_events(&s);
    no_frame(&s);
    for (int i = 0; i < 4; i++)
        assert_int_equal(streams_open(&s, false, &id), 0);
    for (id = 0; id < 16; id += 4)
        write_to(&s, id, 2000);
    streams_set_urgent(&s, 12, true);
    streams_reset(&s, 8, 1);
    streams_stop(&s, 4, 1);
    assert_int_equal(streams_open(&s, false, &id), QUIC_BLOCKED);
    expect_frame(&s, FRAME_STREAMS_BLOCKED_BIDI, 4); /* the connection's first */
    expect_frame(&s, FRAME_RESET_STREAM, 8);         /* then control frames */
    expect_frame(&s, FRAME_STOP_SENDING, 4);
    expect_frame(&s, FRAME_STREAM, 12); /* then the urgent stream, all of it */
    rec = expect_frame(&s, FRAME_STREAM, 12);
    expect_frame(&s, FRAME_STREAM, 0); /* and the others in turn */
    expect_frame(&s, FRAME_STREAM, 4);
    streams_on_fate(&s, &rec, false);
    expect_frame(&s, FRAME_STREAM, 12); /* lost: urgent again */
    expect_frame(&s, FRAME_STREAM, 0);
    expect_frame(&s, FRAME_STREAM, 4);
    no_frame(&s);
    /* Too little room is no reason to lose one's turn. */
    write_to(&s, 0, 100);
    assert_false(streams_next_frame(&s, 2, &f, &rec));
    assert_false(streams_next_frame(&s, 0, &f, &rec));
    assert_true(streams_pending(&s));
    expect_frame(&s, FRAME_STREAM, 0);
    streams_free(&s);
}

/* Streams held back by the connection's credit say so once, and go on with more. */
static void test_held(void **state)
{
    struct streams s;
    struct frame f;
    struct sent_record rec, first = {0};
    uint64_t id, sum = 0;

    (void)state;
    start(&s, false, &defaults, &defaults); /* 10000 in all, 5000 each */
    drop_events(&s);
    for (int i = 0; i < 4; i++)
        assert_int_equal(streams_open(&s, false, &id), 0);
    for (id = 0; id < 16; id += 4)
        write_to(&s, id, 4000);
    while (streams_next_frame(&s, ROOM, &f, &rec) && f.type == FRAME_STREAM) {
        sum += f.stream.data.n;
        if (!first.kind)
            first = rec;
    }
    assert_int_equal(f.type, FRAME_DATA_BLOCKED);
    assert_int_equal(f.max, 10000);
    assert_int_equal(sum, 10000);
    no_frame(&s);
    assert_true(streams_check(&s));
    streams_on_fate(&s, &first, false); /* sending again needs no credit */
    expect_frame(&s, FRAME_STREAM, first.a);
    no_frame(&s);
    streams_on_fate(&s, &rec, false); /* DATA_BLOCKED was lost */
    expect_frame(&s, FRAME_DATA_BLOCKED, 10000);
    no_frame(&s);
    assert_int_equal(feed(&s, FRAME_MAX_DATA, 9000, 0, 0), 0); /* no raise */
    no_frame(&s);
    assert_int_equal(feed(&s, FRAME_MAX_DATA, 12000, 0, 0), 0);
    streams_on_fate(&s, &rec, false); /* for an old limit */
    for (sum = 0; streams_next_frame(&s, ROOM, &f, &rec) && f.type == FRAME_STREAM;)
        sum += f.stream.data.n;
    assert_int_equal(sum, 2000);
    assert_int_equal(f.type, FRAME_DATA_BLOCKED);
    assert_int_equal(feed(&s, FRAME_MAX_DATA, 1000000, 0, 0), 0);
    for (sum = 0; streams_next_frame(&s, ROOM, &f, &rec); sum += f.stream.data.n)
        assert_int_equal(f.type, FRAME_STREAM);
    assert_int_equal(sum, 4000);
    assert_int_equal(s.bytes_sent, 16000);
    no_frame(&s);
    streams_free(&s);
}

/* ---- two ends and a bad line --------------------------------------------------------- */

static uint8_t byte_at(uint64_t id, uint64_t off)
{
    return (uint8_t)(id * 29 + off * 37 + (off >> 8) * 11);
}

struct wire_frame { /* one frame in flight */
    struct sent_record rec;
    uint8_t bytes[ROOM];
    size_t n;
    bool lost;
};

enum { STREAMS = 300, FLIGHT = 200 };

struct end {
    struct streams s;
    struct wire_frame *flight;
    size_t n_flight;
    uint64_t written[STREAMS * 4], goal[STREAMS * 4], read[STREAMS * 4];
    bool done[STREAMS * 4];  /* we finished or reset sending */
    bool ended[STREAMS * 4]; /* the peer's end was read, or its reset */
    unsigned opened;
};

static void use(struct end *e, struct rnd *rnd, bool server)
{
    uint64_t id;
    bool uni = rnd_chance(rnd, 1, 3);

    if (e->opened < STREAMS && rnd_chance(rnd, 1, 3) && !streams_open(&e->s, uni, &id)) {
        assert_true(id < STREAMS * 4);
        assert_int_equal(id & 1, server);
        e->opened++;
        e->goal[id] = rnd_below(rnd, 9000);
        if (rnd_chance(rnd, 1, 8))
            streams_set_urgent(&e->s, id, true);
    }
}

/* Write some of what is planned for a stream, end it, or give it up. */
static void feed_stream(struct end *e, struct rnd *rnd, uint64_t id)
{
    uint8_t buf[3000];
    size_t n = rnd_below(rnd, sizeof buf), taken;
    int err;

    if (n > e->goal[id] - e->written[id])
        n = e->goal[id] - e->written[id];
    for (size_t i = 0; i < n; i++)
        buf[i] = byte_at(id, e->written[id] + i);
    err = streams_write(&e->s, id, span_of(buf, n), &taken);
    assert_true(err == 0 || err == QUIC_BLOCKED || err == QUIC_CLOSED);
    e->written[id] += taken;
    if (err == QUIC_CLOSED)
        e->done[id] = true; /* stopped by the peer */
    else if (rnd_chance(rnd, 1, 60))
        e->done[id] = !streams_reset(&e->s, id, id + 1);
    else if (e->written[id] == e->goal[id])
        e->done[id] = !streams_finish(&e->s, id);
}

static void read_stream(struct end *e, struct rnd *rnd, uint64_t id)
{
    bool fin;
    struct span data = streams_peek(&e->s, id, &fin);
    size_t n = rnd_chance(rnd, 1, 2) ? data.n : rnd_below(rnd, data.n + 1);

    for (size_t i = 0; i < n; i++)
        assert_int_equal(data.p[i], byte_at(id, e->read[id] + i));
    e->read[id] += n;
    streams_consume(&e->s, id, n);
    if (fin && n == data.n)
        e->ended[id] = true;
    else if (rnd_chance(rnd, 1, 100) && !streams_stop(&e->s, id, 9))
        e->ended[id] = true;
}

static void drive(struct end *e, struct rnd *rnd, bool server)
{
    struct streams_event ev;

    use(e, rnd, server);
    for (int i = 0; i < 4; i++) {
        uint64_t id = rnd_below(rnd, STREAMS * 4);
        struct stream *st = streams_find(&e->s, id);

        if (!st)
            continue;
        if (!e->done[id] && ((id & 1) == server || !(id & 2))) {
            if ((id & 1) != server && !e->goal[id])
                e->goal[id] = 1 + rnd_below(rnd, 6000); /* an answer */
            feed_stream(e, rnd, id);
        }
        if ((id & 1) != server || !(id & 2))
            read_stream(e, rnd, id);
    }
    while (rnd_chance(rnd, 1, 2) && streams_next_event(&e->s, &ev))
        if (ev.type == STREAMS_RESET) {
            assert_true(ev.code == ev.id + 1 || ev.code == 9);
            e->ended[ev.id] = true;
        }
}

/* One frame goes into flight. */
static void transmit(struct end *e, struct rnd *rnd)
{
    size_t room = 40 + rnd_below(rnd, ROOM - 40);
    struct wire_frame *wf = &e->flight[e->n_flight];
    struct wire_w w = wire_w_of(wf->bytes, room);
    bool pending = streams_pending(&e->s);
    struct frame f;

    if (e->n_flight == FLIGHT)
        return;
    if (!streams_next_frame(&e->s, room, &f, &wf->rec))
        return;
    assert_true(pending);
    frame_encode(&w, NULL, &f);
    assert_false(w.failed);
    wf->n = (size_t)(w.p - wf->bytes);
    wf->lost = false;
    e->n_flight++;
}

/* One frame in flight, any of them, arrives and is acknowledged, or is lost. */
static void deliver(struct end *e, struct end *to, struct rnd *rnd, unsigned loss)
{
    size_t i = rnd_below(rnd, e->n_flight);
    struct wire_frame *wf = &e->flight[i];
    struct wire_r r = wire_r_of(wf->bytes, wf->n);
    const struct frame_row *row;
    struct frame f;

    if (!wf->lost && rnd_below(rnd, 100) < loss) {
        assert_true(streams_on_fate(&e->s, &wf->rec, false));
        wf->lost = true;
        if (rnd_chance(rnd, 1, 2))
            return; /* it may still arrive */
    } else {
        assert_int_equal(frame_decode(&r, NULL, 0, LEVEL_APP, &f, &row), 0);
        assert_int_equal(streams_on_frame(&to->s, &f), 0);
        if (rnd_chance(rnd, 1, 20)) /* twice */
            assert_int_equal(streams_on_frame(&to->s, &f), 0);
        assert_true(streams_on_fate(&e->s, &wf->rec, true));
    }
    *wf = e->flight[--e->n_flight];
}

static bool all_over(const struct end *e)
{
    return e->opened == STREAMS && e->s.count == 0;
}

static void run_pair(uint64_t seed, unsigned loss)
{
    static struct end end[2];
    struct streams_config cfg = defaults;
    struct rnd rnd = {seed};
    ns_t now = 0;

    cfg.max_bidi = 1 + rnd_below(&rnd, 40);
    cfg.max_uni = 1 + rnd_below(&rnd, 10);
    cfg.conn_window = 2000 + rnd_below(&rnd, 20000);
    cfg.conn_window_max = 4 * cfg.conn_window;
    cfg.stream_window = 500 + rnd_below(&rnd, 4000);
    cfg.stream_window_max = 2 * cfg.stream_window;
    cfg.send_buffer = 100 + rnd_below(&rnd, 5000);
    memset(end, 0, sizeof end);
    for (int i = 0; i < 2; i++) {
        start(&end[i].s, i, &cfg, &cfg);
        end[i].flight = malloc(FLIGHT * sizeof *end[i].flight);
        assert_non_null(end[i].flight);
    }
    for (int step = 0; !all_over(&end[0]) || !all_over(&end[1]); step++) {
        assert_true(step < 3000000);
        now += 100000;
        for (int i = 0; i < 2; i++) {
            streams_time(&end[i].s, now, 5000000);
            drive(&end[i], &rnd, i);
            transmit(&end[i], &rnd);
            if (end[i].n_flight && rnd_chance(&rnd, 3, 4))
                deliver(&end[i], &end[!i], &rnd, loss);
            if (rnd_chance(&rnd, 1, 20))
                assert_true(streams_check(&end[i].s));
        }
    }
    for (int i = 0; i < 2; i++) {
        assert_true(streams_check(&end[i].s));
        assert_int_equal(end[i].s.conn_rx.consumed, end[i].s.conn_rx.received);
        assert_int_equal(end[i].s.conn_rx.received, end[!i].s.conn_tx.used);
        free(end[i].flight);
        streams_free(&end[i].s);
    }
}

static void test_pair(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++)
        run_pair(seed, (unsigned)(seed * 7 % 50));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_frames),    cmocka_unit_test(test_conn_flow_control),
        cmocka_unit_test(test_open),          cmocka_unit_test(test_unborn),
        cmocka_unit_test(test_stream_credit), cmocka_unit_test(test_many),
        cmocka_unit_test(test_order),         cmocka_unit_test(test_held),
        cmocka_unit_test(test_pair),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
