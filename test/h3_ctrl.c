/* ctrl and the other unidirectional streams of the peer, in any split of their bytes. */
#include "test/h3_util.h"

#define SET_EVENT "SETTINGS cap=0 blocked=0 size=-1 connect=0 datagram=0\n"

static const struct script rows[] = {
    /* SETTINGS */
    {true, NULL, "2:00 0400", 0, SET_EVENT},
    {true, NULL, "2:4000 4004 4000", 0, SET_EVENT}, /* longer varints of the same */
    {true, NULL, "6:00 0402 3301", 0,
     "SETTINGS cap=0 blocked=0 size=-1 connect=0 datagram=1\n"},
    {false, NULL, "3:00 040f 015000 074064 0680010000 0801 3301", 0,
     "SETTINGS cap=4096 blocked=100 size=65536 connect=1 datagram=1\n"},
    {false, NULL, "3:00 0404 4276 01 21 07", H3_FRAME_ERROR, ""},
    {false, NULL, "3:00 0405 4276 01 21 07", 0, SET_EVENT},
    {true, NULL, "2:00 0402 0802", H3_SETTINGS_ERROR, ""},
    {true, NULL, "2:00 0402 0200", H3_SETTINGS_ERROR, ""},
    {true, NULL, "2:00 0404 3301 3301", H3_SETTINGS_ERROR, ""},
    {true, NULL, "2:00 0401 33", H3_FRAME_ERROR, ""},
    {true, NULL, "2:00 045001", H3_EXCESSIVE_LOAD, ""},
    {true, NULL, "2:00 0400 0400", H3_FRAME_UNEXPECTED, SET_EVENT},
    /* something else first */
    {true, NULL, "2:00 070100", H3_MISSING_SETTINGS, ""},
    {true, NULL, "2:00 0000", H3_MISSING_SETTINGS, ""},
    {true, NULL, "2:00 2100", H3_MISSING_SETTINGS, ""},
    {true, NULL, "2:00 0200", H3_MISSING_SETTINGS, ""},
    /* frames that do not belong here */
    {true, NULL, "2:00 0400 0001 61", H3_FRAME_UNEXPECTED, SET_EVENT},
    {true, NULL, "2:00 0400 0103 0000d9", H3_FRAME_UNEXPECTED, SET_EVENT},
    {true, NULL, "2:00 0400 0501 00", H3_FRAME_UNEXPECTED, SET_EVENT},
    {false, NULL, "3:00 0400 0501 00", H3_FRAME_UNEXPECTED, SET_EVENT},
    {true, NULL, "2:00 0400 0200", H3_FRAME_UNEXPECTED, SET_EVENT},
    {true, NULL, "2:00 0400 0600", H3_FRAME_UNEXPECTED, SET_EVENT},
    {true, NULL, "2:00 0400 0800", H3_FRAME_UNEXPECTED, SET_EVENT},
    {true, NULL, "2:00 0400 0900", H3_FRAME_UNEXPECTED, SET_EVENT},
    {false, NULL, "3:00 0400 0d01 00", H3_FRAME_UNEXPECTED, SET_EVENT},
    /* unknown frames, PRIORITY_UPDATE among them, of any length */
    {true, NULL, "2:00 0400 2100 400a 03 010203 800f0700 02 0061 0701 00", 0,
     SET_EVENT "GOAWAY 0\n"},
    {true, NULL, "2:00 0400 21 ffffffffffffffff 0000000000", 0, SET_EVENT},
    /* GOAWAY */
    {false, NULL, "3:00 0400 0701 08 0701 08 0701 04 0701 00", 0,
     SET_EVENT "GOAWAY 8\nGOAWAY 4\nGOAWAY 0\n"},
    {false, NULL, "3:00 0400 0708 fffffffffffffffc 0702 4008", 0,
     SET_EVENT "GOAWAY 4611686018427387900\nGOAWAY 8\n"},
    {false, NULL, "3:00 0400 0701 08 0701 0c", H3_ID_ERROR, SET_EVENT "GOAWAY 8\n"},
    {false, NULL, "3:00 0400 0701 01", H3_ID_ERROR, SET_EVENT},
    {false, NULL, "3:00 0400 0701 03", H3_ID_ERROR, SET_EVENT},
    {true, NULL, "2:00 0400 0701 03 0701 01", 0, SET_EVENT "GOAWAY 3\nGOAWAY 1\n"},
    {true, NULL, "2:00 0400 0701 03 0701 04", H3_ID_ERROR, SET_EVENT "GOAWAY 3\n"},
    {true, NULL, "2:00 0400 0700", H3_FRAME_ERROR, SET_EVENT},
    {true, NULL, "2:00 0400 0701 40", H3_FRAME_ERROR, SET_EVENT},
    {true, NULL, "2:00 0400 0702 00 00", H3_FRAME_ERROR, SET_EVENT},
    {true, NULL, "2:00 0400 0709 0000", H3_FRAME_ERROR, SET_EVENT},
    /* push */
    {true, NULL, "2:00 0400 0d01 05 0d01 05 0d01 06", 0, SET_EVENT},
    {true, NULL, "2:00 0400 0d01 05 0d01 04", H3_ID_ERROR, SET_EVENT},
    {true, NULL, "2:00 0400 0d00", H3_FRAME_ERROR, SET_EVENT},
    {true, NULL, "2:00 0400 0301 00", H3_ID_ERROR, SET_EVENT},
    {false, NULL, "3:00 0400 0301 00", H3_ID_ERROR, SET_EVENT},
    {false, NULL, "3:00 0400 0302 00 00", H3_FRAME_ERROR, SET_EVENT},
    {true, NULL, "2:01", H3_STREAM_CREATION_ERROR, ""},
    {false, NULL, "3:01 00", H3_ID_ERROR, ""},
    /* one of each critical stream */
    {true, NULL, "2:00 0400;6:00", H3_STREAM_CREATION_ERROR, SET_EVENT},
    {true, NULL, "2:02;6:03;10:02", H3_STREAM_CREATION_ERROR, ""},
    {true, NULL, "2:02;6:03;10:03", H3_STREAM_CREATION_ERROR, ""},
    {true, NULL, "2:03;6:02 20;10:00 0400;2:40", 0, SET_EVENT},
    /* which may not end */
    {true, NULL, "2:00!", H3_CLOSED_CRITICAL_STREAM, ""},
    {true, NULL, "2:00 0400;2:!", H3_CLOSED_CRITICAL_STREAM, SET_EVENT},
    {true, NULL, "2:00 0400!", H3_CLOSED_CRITICAL_STREAM, SET_EVENT},
    {true, NULL, "2:02!", H3_CLOSED_CRITICAL_STREAM, ""},
    {true, NULL, "2:03!", H3_CLOSED_CRITICAL_STREAM, ""},
    {true, NULL, "2:00 0400;2R100", H3_CLOSED_CRITICAL_STREAM, SET_EVENT},
    {true, NULL, "2:02;2R100", H3_CLOSED_CRITICAL_STREAM, ""},
    {true, NULL, "2:03;2R100", H3_CLOSED_CRITICAL_STREAM, ""},
    {true, NULL, "3S100", H3_CLOSED_CRITICAL_STREAM, ""},
    {true, NULL, "7S100", H3_CLOSED_CRITICAL_STREAM, ""},
    {false, NULL, "10S100", H3_CLOSED_CRITICAL_STREAM, ""},
    /* the QPACK streams */
    {true, NULL, "2:02 20 20 20;6:03 44 48 7f00", 0, ""},
    {true, NULL, "2:02 3f00", QPACK_ENCODER_STREAM_ERROR, ""},
    {true, NULL, "2:02 c0 01 61", QPACK_ENCODER_STREAM_ERROR, ""},
    {true, NULL, "2:02 41 61 01 61", QPACK_ENCODER_STREAM_ERROR, ""},
    {true, NULL, "2:02 00", QPACK_ENCODER_STREAM_ERROR, ""},
    {true, NULL, "2:03 80", QPACK_DECODER_STREAM_ERROR, ""},
    {true, NULL, "2:03 01", QPACK_DECODER_STREAM_ERROR, ""},
    {true, NULL, "2:03 00", QPACK_DECODER_STREAM_ERROR, ""},
    /* unknown streams: stopped, and what still comes is dropped */
    {true, NULL, "2:21 0400 0400 ffff;2:0000", 0, "ABORT 2 H3_STREAM_CREATION_ERROR\n"},
    {true, NULL, "2:7fff;6:c000000000000054 00;2R0;6R0", 0,
     "ABORT 2 H3_STREAM_CREATION_ERROR\nABORT 6 H3_STREAM_CREATION_ERROR\n"},
    {true, NULL, "2:40;6:c0;10:;2:54;10:00 0400", 0,
     "ABORT 2 H3_STREAM_CREATION_ERROR\n" SET_EVENT},
    {true, NULL, "2:21 0011!;6:00 0400", 0, "ABORT 2 H3_STREAM_CREATION_ERROR\n" SET_EVENT},
    /* ended before the type is whole */
    {true, NULL, "2:!;6:40!;10:80;10R0;14:00 0400", 0, SET_EVENT},
    {true, NULL, "2R100;6:40;6R100;10:00 0400", 0, SET_EVENT},
    {true, NULL, "2:21;2D;2:00 00;2R0;2:!", 0, "ABORT 2 H3_STREAM_CREATION_ERROR\n"},
    /* streams that can't be */
    {false, NULL, "1:00", H3_STREAM_CREATION_ERROR, ""},
    {false, NULL, "1R0", H3_STREAM_CREATION_ERROR, ""},
    {true, NULL, "1:00", QUIC_INVAL, ""},
    {true, NULL, "3:00", QUIC_INVAL, ""},
    {false, NULL, "2:00", QUIC_INVAL, ""},
    {false, NULL, "0:00", QUIC_INVAL, ""},
    {false, NULL, "3S0", QUIC_INVAL, ""},
    {true, NULL, "3R0", QUIC_INVAL, ""},
};

static void table(void **state)
{
    (void)state;
    play_all(rows, ARRAY_LEN(rows));
}

/* The peer can't make more stream objects than was agreed. */
static void many_streams(void **state)
{
    struct h3_config cfg = {.server = true, .max_uni_streams = 5};
    struct h3_conn *h = h3_conn_new(&cfg);
    static struct text t;

    (void)state;
    text_clear(&t);
    for (uint64_t i = 0; i < 1000; i++) { /* those that end make room */
        assert_int_equal(feed(h, 2 + 4 * i, span_of("\x21xyz", 4), i % 2, &t), 0);
        if (i % 2 == 0)
            assert_int_equal(h3_stream_reset(h, 2 + 4 * i, 0), 0);
    }
    for (uint64_t i = 1000; i < 1006; i++)
        assert_int_equal(feed(h, 2 + 4 * i, span_of("\x40", 1), false, &t),
                         i < 1005 ? 0 : H3_EXCESSIVE_LOAD);
    h3_conn_del(h);
}

/* A megabyte of unknown frames and streams leaves nothing behind. */
static void skipping(void **state)
{
    struct h3_config cfg = {.server = true};
    struct h3_conn *h = h3_conn_new(&cfg);
    static const uint8_t start[] = {0x00, 0x04, 0x00, 0x21, 0x80, 0x10, 0x00, 0x00};
    static uint8_t zero[4096];
    static struct text t;

    (void)state;
    text_clear(&t);
    assert_int_equal(feed(h, 2, span_of(start, sizeof(start)), false, &t), 0);
    for (size_t i = 0; i < 256; i++)
        assert_int_equal(feed(h, 2, span_of(zero, sizeof(zero)), false, &t), 0);
    assert_int_equal(feed(h, 2, span_of("\x07\x01\x07", 3), false, &t), 0);
    assert_string_equal(t.p, SET_EVENT "GOAWAY 7\n");
    h3_conn_del(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(many_streams),
        cmocka_unit_test(skipping),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
