#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "quic/errors.h"
#include "quic/stream.h"

enum halves { BOTH, SEND_ONLY, RECV_ONLY };

enum verb {
    DATA,    /* from the peer: a offset, b length, c fin */
    RESET,   /* from the peer: a code, b final size */
    STOP,    /* from the peer: a code */
    MAX,     /* from the peer: a limit */
    WRITE,   /* by the user: a bytes, b taken */
    FINISH,  /* by the user */
    ABANDON, /* by the user: a code */
    REFUSE,  /* by the user: a code */
    READ,    /* by the user: a bytes expected, b fin expected */
    FRAME,   /* the next frame is of type a; b its offset, limit or code, c its length or
                final size */
    QUIET,   /* nothing to send */
    ACKED,   /* frame sent as number a was acknowledged */
    LOST     /* or lost */
};

struct step {
    enum verb verb;
    uint64_t a, b, c;
    int result;
    int send, recv;  /* states afterwards */
    unsigned events; /* that came up */
};

#define SO    SEND_OPEN
#define SS    SEND_DATA_SENT
#define SD    SEND_DATA_RECVD
#define SR    SEND_RESET_SENT
#define SX    SEND_RESET_RECVD
#define S_    SEND_ABSENT
#define RO    RECV_OPEN
#define RK    RECV_SIZE_KNOWN
#define RD    RECV_DATA_RECVD
#define RX    RECV_RESET_RECVD
#define RR    RECV_DATA_READ
#define RZ    RECV_RESET_READ
#define R_    RECV_ABSENT
#define EV(x) STREAM_EV_##x

/* The peer lets us send 100 bytes at first; it may send 1000, 500 are kept for sending. */
/* clang-format off */
static const struct step sending[] = {
    {QUIET, 0, 0, 0, 0, SO, RO, 0},
    {WRITE, 50, 50, 0, 0, SO, RO, 0},
    {FRAME, FRAME_STREAM, 0, 50, 0, SO, RO, 0},          /* 0 */
    {QUIET, 0, 0, 0, 0, SO, RO, 0},
    {WRITE, 100, 100, 0, 0, SO, RO, 0},
    {FRAME, FRAME_STREAM, 50, 50, 0, SO, RO, 0},         /* 1: up to the limit */
    {FRAME, FRAME_STREAM_DATA_BLOCKED, 100, 0, 0, SO, RO, 0}, /* 2: said once */
    {QUIET, 0, 0, 0, 0, SO, RO, 0},
    {LOST, 2, 0, 0, 0, SO, RO, 0},
    {FRAME, FRAME_STREAM_DATA_BLOCKED, 100, 0, 0, SO, RO, 0}, /* 3 */
    {LOST, 0, 0, 0, 0, SO, RO, 0},
    {FRAME, FRAME_STREAM, 0, 50, 0, SO, RO, 0},          /* 4: credit was used before */
    {MAX, 90, 0, 0, 0, SO, RO, 0},                       /* not a raise */
    {QUIET, 0, 0, 0, 0, SO, RO, 0},
    {MAX, 120, 0, 0, 0, SO, RO, 0},
    {FRAME, FRAME_STREAM, 100, 20, 0, SO, RO, 0},        /* 5 */
    {FRAME, FRAME_STREAM_DATA_BLOCKED, 120, 0, 0, SO, RO, 0}, /* 6 */
    {FINISH, 0, 0, 0, 0, SO, RO, 0},
    {FINISH, 0, 0, 0, QUIC_CLOSED, SO, RO, 0},
    {WRITE, 1, 0, 0, QUIC_CLOSED, SO, RO, 0},
    {MAX, 1000, 0, 0, 0, SO, RO, 0},
    {FRAME, FRAME_STREAM | FRAME_STREAM_FIN, 120, 30, 0, SS, RO, 0}, /* 7 */
    {QUIET, 0, 0, 0, 0, SS, RO, 0},
    {WRITE, 1, 0, 0, QUIC_CLOSED, SS, RO, 0},
    {LOST, 6, 0, 0, 0, SS, RO, 0},                       /* no longer blocked */
    {QUIET, 0, 0, 0, 0, SS, RO, 0},
    {ACKED, 4, 0, 0, 0, SS, RO, 0},
    {ACKED, 1, 0, 0, 0, SS, RO, 0},
    {LOST, 7, 0, 0, 0, SS, RO, 0},
    {FRAME, FRAME_STREAM | FRAME_STREAM_FIN, 120, 30, 0, SS, RO, 0}, /* 8 */
    {ACKED, 8, 0, 0, 0, SS, RO, 0},
    {ACKED, 5, 0, 0, 0, SD, RO, EV(FINISHED)},
    {ACKED, 7, 0, 0, 0, SD, RO, 0},
    {STOP, 9, 0, 0, 0, SD, RO, 0},                       /* too late */
    {ABANDON, 9, 0, 0, QUIC_CLOSED, SD, RO, 0},
    {QUIET, 0, 0, 0, 0, SD, RO, 0},
};
static const struct step abandoned[] = {
    {WRITE, 600, 500, 0, 0, SO, RO, 0},                  /* a short write */
    {WRITE, 1, 0, 0, QUIC_BLOCKED, SO, RO, 0},
    {FRAME, FRAME_STREAM, 0, 100, 0, SO, RO, 0},
    {ABANDON, 77, 0, 0, 0, SR, RO, 0},
    {ABANDON, 78, 0, 0, QUIC_CLOSED, SR, RO, 0},
    {WRITE, 1, 0, 0, QUIC_CLOSED, SR, RO, 0},
    {FRAME, FRAME_RESET_STREAM, 77, 100, 0, SR, RO, 0},  /* 1: as much was sent */
    {QUIET, 0, 0, 0, 0, SR, RO, 0},                      /* STREAM_DATA_BLOCKED is pointless */
    {LOST, 0, 0, 0, 0, SR, RO, 0},                       /* no retransmission */
    {QUIET, 0, 0, 0, 0, SR, RO, 0},
    {MAX, 1000, 0, 0, 0, SR, RO, 0},
    {LOST, 1, 0, 0, 0, SR, RO, 0},
    {STOP, 5, 0, 0, 0, SR, RO, 0},                       /* doesn't change the code */
    {FRAME, FRAME_RESET_STREAM, 77, 100, 0, SR, RO, 0},  /* 2 */
    {ACKED, 2, 0, 0, 0, SX, RO, 0},
    {LOST, 1, 0, 0, 0, SX, RO, 0},
    {QUIET, 0, 0, 0, 0, SX, RO, 0},
};
static const struct step told_to_stop[] = {
    {WRITE, 50, 50, 0, 0, SO, RO, 0},
    {FINISH, 0, 0, 0, 0, SO, RO, 0},
    {FRAME, FRAME_STREAM | FRAME_STREAM_FIN, 0, 50, 0, SS, RO, 0},
    {STOP, 5, 0, 0, 0, SR, RO, EV(STOPPED)},             /* even in Data Sent */
    {STOP, 6, 0, 0, 0, SR, RO, 0},
    {FRAME, FRAME_RESET_STREAM, 5, 50, 0, SR, RO, 0},
    {ACKED, 0, 0, 0, 0, SR, RO, 0},
    {ACKED, 1, 0, 0, 0, SX, RO, 0},
};
static const struct step writable[] = {
    {MAX, 10000, 0, 0, 0, SO, RO, 0},
    {WRITE, 600, 500, 0, 0, SO, RO, 0},
    {FRAME, FRAME_STREAM, 0, 100, 0, SO, RO, 0},
    {FRAME, FRAME_STREAM, 100, 98, 0, SO, RO, 0},        /* its offset takes two bytes */
    {ACKED, 0, 0, 0, 0, SO, RO, 0},                      /* not yet a quarter free */
    {ACKED, 1, 0, 0, 0, SO, RO, EV(WRITABLE)},
    {WRITE, 10, 10, 0, 0, SO, RO, 0},
};
static const struct step receiving[] = {
    {DATA, 100, 50, false, 0, SO, RO, 0},
    {READ, 0, false, 0, 0, SO, RO, 0},
    {DATA, 0, 100, false, 0, SO, RO, EV(READABLE)},
    {DATA, 50, 50, false, 0, SO, RO, 0},
    {READ, 150, false, 0, 0, SO, RO, 0},
    {QUIET, 0, 0, 0, 0, SO, RO, 0},                      /* too little to tell */
    {DATA, 150, 851, false, QUIC_FLOW_CONTROL_ERROR, SO, RO, 0},
    {DATA, 150, 150, false, 0, SO, RO, EV(READABLE)},
    {READ, 150, false, 0, 0, SO, RO, 0},
    {FRAME, FRAME_MAX_STREAM_DATA, 1300, 0, 0, SO, RO, 0}, /* 0 */
    {QUIET, 0, 0, 0, 0, SO, RO, 0},
    {LOST, 0, 0, 0, 0, SO, RO, 0},
    {FRAME, FRAME_MAX_STREAM_DATA, 1300, 0, 0, SO, RO, 0}, /* 1 */
    {LOST, 0, 0, 0, 0, SO, RO, 0},
    {FRAME, FRAME_MAX_STREAM_DATA, 1300, 0, 0, SO, RO, 0}, /* 2 */
    {LOST, 1, 0, 0, 0, SO, RO, 0},
    {DATA, 400, 100, true, 0, SO, RK, 0},
    {QUIET, 0, 0, 0, 0, SO, RK, 0},                      /* no credit needed any more */
    {DATA, 400, 101, false, QUIC_FINAL_SIZE_ERROR, SO, RK, 0},
    {RESET, 1, 499, 0, QUIC_FINAL_SIZE_ERROR, SO, RK, 0},
    {DATA, 300, 100, false, 0, SO, RD, EV(READABLE)},
    {RESET, 1, 500, 0, 0, SO, RD, 0},                    /* all came before */
    {REFUSE, 3, 0, 0, 0, SO, RR, 0},                     /* not interested */
    {REFUSE, 3, 0, 0, QUIC_CLOSED, SO, RR, 0},
    {QUIET, 0, 0, 0, 0, SO, RR, 0},
};
static const struct step ended[] = {
    {DATA, 0, 0, true, 0, SO, RD, EV(READABLE)},         /* nothing but an end */
    {READ, 0, true, 0, 0, SO, RR, 0},
    {DATA, 0, 0, true, 0, SO, RR, 0},
    {DATA, 0, 1, false, QUIC_FINAL_SIZE_ERROR, SO, RR, 0},
    {RESET, 1, 0, 0, 0, SO, RR, 0},
};
static const struct step fin_later[] = {
    {DATA, 0, 10, false, 0, SO, RO, EV(READABLE)},
    {READ, 10, false, 0, 0, SO, RO, 0},
    {DATA, 10, 0, true, 0, SO, RD, EV(READABLE)},
    {READ, 0, true, 0, 0, SO, RR, 0},
};
static const struct step was_reset[] = {
    {DATA, 0, 100, false, 0, SO, RO, EV(READABLE)},
    {RESET, 42, 1001, 0, QUIC_FLOW_CONTROL_ERROR, SO, RO, 0},
    {RESET, 42, 99, 0, QUIC_FINAL_SIZE_ERROR, SO, RO, 0},
    {RESET, 42, 1000, 0, 0, SO, RX, EV(RESET)},
    {READ, 0, false, 0, 0, SO, RX, 0},
    {DATA, 100, 900, true, 0, SO, RX, 0},                /* late, ignored */
    {DATA, 100, 900, false, 0, SO, RX, 0},
    {DATA, 100, 901, false, QUIC_FLOW_CONTROL_ERROR, SO, RX, 0},
    {RESET, 43, 1000, 0, 0, SO, RX, 0},
    {QUIET, 0, 0, 0, 0, SO, RX, 0},
    {REFUSE, 3, 0, 0, 0, SO, RZ, 0},
    {QUIET, 0, 0, 0, 0, SO, RZ, 0},
};
static const struct step refused[] = {
    {DATA, 0, 100, false, 0, SO, RO, EV(READABLE)},
    {REFUSE, 3, 0, 0, 0, SO, RO, 0},
    {REFUSE, 4, 0, 0, QUIC_CLOSED, SO, RO, 0},
    {READ, 0, false, 0, 0, SO, RO, 0},
    {FRAME, FRAME_STOP_SENDING, 3, 0, 0, SO, RO, 0},
    {QUIET, 0, 0, 0, 0, SO, RO, 0},
    {LOST, 0, 0, 0, 0, SO, RO, 0},
    {FRAME, FRAME_STOP_SENDING, 3, 0, 0, SO, RO, 0},
    {DATA, 500, 100, false, 0, SO, RO, 0},               /* dropped, but counted */
    {QUIET, 0, 0, 0, 0, SO, RO, 0},
    {DATA, 500, 600, false, QUIC_FLOW_CONTROL_ERROR, SO, RO, 0},
    {RESET, 3, 700, 0, 0, SO, RZ, 0},                    /* no need to tell the user */
    {LOST, 1, 0, 0, 0, SO, RZ, 0},
    {QUIET, 0, 0, 0, 0, SO, RZ, 0},
};
static const struct step refused_late[] = {
    {DATA, 50, 50, true, 0, SO, RK, 0},
    {REFUSE, 3, 0, 0, 0, SO, RR, 0},                     /* the size is known: nothing to ask */
    {QUIET, 0, 0, 0, 0, SO, RR, 0},
};
static const struct step refused_then_fin[] = {
    {REFUSE, 3, 0, 0, 0, SO, RO, 0},
    {DATA, 50, 50, true, 0, SO, RR, 0},
    {QUIET, 0, 0, 0, 0, SO, RR, 0},
};
static const struct step only_sends[] = {
    {REFUSE, 3, 0, 0, QUIC_INVAL, SO, R_, 0},
    {READ, 0, false, 0, 0, SO, R_, 0},
    {WRITE, 10, 10, 0, 0, SO, R_, 0},
    {FINISH, 0, 0, 0, 0, SO, R_, 0},
    {FRAME, FRAME_STREAM | FRAME_STREAM_FIN, 0, 10, 0, SS, R_, 0},
    {ACKED, 0, 0, 0, 0, SD, R_, EV(FINISHED)},
};
static const struct step only_receives[] = {
    {WRITE, 1, 0, 0, QUIC_INVAL, S_, RO, 0},
    {FINISH, 0, 0, 0, QUIC_INVAL, S_, RO, 0},
    {ABANDON, 1, 0, 0, QUIC_INVAL, S_, RO, 0},
    {DATA, 0, 10, true, 0, S_, RD, EV(READABLE)},
    {READ, 10, true, 0, 0, S_, RR, 0},
};
/* clang-format on */

struct play {
    struct stream st;
    struct sent_record sent[16];
    size_t n_sent;
    size_t room;
};

static void expect_frame(struct play *p, const struct step *s)
{
    struct sent_record *rec = &p->sent[p->n_sent++];
    struct frame f;
    uint64_t fresh;

    if (!stream_next_control(&p->st, p->room, 0, 0, &f, rec))
        assert_true(stream_next_data(&p->st, p->room, 1000000, &f, rec, &fresh));
    if (s->a >= FRAME_STREAM && s->a <= FRAME_STREAM_LAST) {
        assert_int_equal(f.type, FRAME_STREAM);
        assert_int_equal(f.stream.offset, s->b);
        assert_int_equal(f.stream.data.n, s->c);
        assert_int_equal(f.stream.fin, !!(s->a & FRAME_STREAM_FIN));
        return;
    }
    assert_int_equal(f.type, s->a);
    assert_int_equal(rec->kind, s->a);
    if (s->a == FRAME_RESET_STREAM) {
        assert_int_equal(f.reset_stream.code, s->b);
        assert_int_equal(f.reset_stream.final_size, s->c);
    } else if (s->a == FRAME_STOP_SENDING) {
        assert_int_equal(f.stop_sending.code, s->b);
    } else {
        assert_int_equal(f.max_stream_data.max, s->b);
    }
}

static int act(struct play *p, const struct step *s)
{
    static const uint8_t bytes[2000];
    struct stream *st = &p->st;
    struct frame f;
    struct sent_record rec;
    size_t taken;
    bool fin;
    int err;

    switch (s->verb) {
    case DATA:
        return stream_on_data(st, s->a, span_of(bytes, s->b), s->c);
    case RESET:
        return stream_on_reset(st, s->a, s->b);
    case STOP:
        stream_on_stop(st, s->a);
        return 0;
    case MAX:
        stream_on_max(st, s->a);
        return 0;
    case WRITE:
        err = stream_write(st, span_of(bytes, s->a), &taken);
        assert_int_equal(taken, s->b);
        return err;
    case FINISH:
        return stream_finish(st);
    case ABANDON:
        return stream_reset(st, s->a);
    case REFUSE:
        return stream_stop(st, s->a);
    case READ:
        assert_int_equal(stream_peek(st, &fin).n, s->a);
        assert_int_equal(fin, s->b);
        stream_consume(st, s->a);
        return 0;
    case FRAME:
        expect_frame(p, s);
        return 0;
    case QUIET:
        assert_false(stream_wants_data(st, 1000000));
        assert_false(stream_next_control(st, 1000, 0, 0, &f, &rec));
        return 0;
    default:
        stream_on_fate(st, &p->sent[s->a], s->verb == ACKED);
        return 0;
    }
}

static void play(const struct step *s, size_t n, enum halves halves, size_t room)
{
    static const struct stream_limits lim = {100, 1000, 1000, 500};
    struct play p = {.room = room};

    stream_init(&p.st, 4, halves != RECV_ONLY, halves != SEND_ONLY, &lim);
    for (size_t i = 0; i < n; i++) {
        int result = act(&p, &s[i]);

        if (result != s[i].result || p.st.send != s[i].send || p.st.recv != s[i].recv ||
            p.st.events != s[i].events)
            print_error("step %zu: result %d, send %d, recv %d, events %#x\n", i, result,
                        p.st.send, p.st.recv, p.st.events);
        assert_int_equal(result, s[i].result);
        assert_int_equal(p.st.send, s[i].send);
        assert_int_equal(p.st.recv, s[i].recv);
        assert_int_equal(p.st.events, s[i].events);
        p.st.events = 0;
        assert_true(stream_check(&p.st));
    }
    stream_free(&p.st);
}

#define PLAY(table, halves, room) play(table, ARRAY_LEN(table), halves, room)

static void test_send(void **state)
{
    (void)state;
    PLAY(sending, BOTH, 1000);
    PLAY(abandoned, BOTH, 1000);
    PLAY(told_to_stop, BOTH, 1000);
    PLAY(writable, BOTH, 104); /* little room: two frames */
    PLAY(only_sends, SEND_ONLY, 1000);
}

static void test_receive(void **state)
{
    (void)state;
    PLAY(receiving, BOTH, 1000);
    PLAY(ended, BOTH, 1000);
    PLAY(fin_later, BOTH, 1000);
    PLAY(was_reset, BOTH, 1000);
    PLAY(refused, BOTH, 1000);
    PLAY(refused_late, BOTH, 1000);
    PLAY(refused_then_fin, BOTH, 1000);
    PLAY(only_receives, RECV_ONLY, 1000);
}

/* Frames never exceed the room they were given, and say so when they don't fit. */
static void test_room(void **state)
{
    static const struct stream_limits lim = {100000, 1000, 1000, 100000};
    static const uint8_t bytes[3000];

    (void)state;
    for (size_t room = 0; room < 400; room++) {
        struct stream st;
        struct frame f;
        struct sent_record rec;
        uint64_t fresh;
        uint8_t buf[400];
        struct wire_w w = wire_w_of(buf, room);

        stream_init(&st, 16384, true, true, &lim);
        stream_write(&st, span_of(bytes, sizeof bytes), NULL);
        if (stream_next_data(&st, room, 1000000, &f, &rec, &fresh)) {
            frame_encode(&w, NULL, &f);
            assert_false(w.failed);
            assert_true(f.stream.data.n >= 16);
        } else {
            assert_true(room < 32);
        }
        stream_stop(&st, 70000);
        stream_reset(&st, 70000);
        for (int i = 0; i < 2; i++) {
            w = wire_w_of(buf, room);
            if (!stream_next_control(&st, room, 0, 0, &f, &rec)) {
                assert_true(room < 1 + 4 + 4 + 2);
                break;
            }
            frame_encode(&w, NULL, &f);
            assert_false(w.failed);
        }
        stream_free(&st);
    }
}

/* The connection's credit bounds new bytes only. */
static void test_conn_credit(void **state)
{
    static const struct stream_limits lim = {100000, 1000, 1000, 100000};
    static const uint8_t bytes[3000];
    struct stream st;
    struct frame f;
    struct sent_record rec, again;
    uint64_t fresh;

    (void)state;
    stream_init(&st, 0, true, true, &lim);
    assert_int_equal(stream_write(&st, span_of(bytes, sizeof bytes), NULL), 0);
    assert_false(stream_wants_data(&st, 0));
    assert_true(stream_wants_data(&st, 1));
    assert_true(stream_next_data(&st, 1000, 70, &f, &rec, &fresh));
    assert_int_equal(f.stream.data.n, 70);
    assert_int_equal(fresh, 70);
    assert_false(stream_next_data(&st, 1000, 0, &f, &again, &fresh));
    stream_on_fate(&st, &rec, false);
    assert_true(stream_wants_data(&st, 0));
    assert_true(stream_next_data(&st, 1000, 0, &f, &again, &fresh));
    assert_int_equal(f.stream.data.n, 70);
    assert_int_equal(fresh, 0);
    assert_int_equal(st.tx.used, 70);
    stream_free(&st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_send),
        cmocka_unit_test(test_receive),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_conn_credit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
