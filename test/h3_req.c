/* req: what may come on a request stream, in any split of its bytes. */
#include "test/h3_util.h"

#include "h3/qpack_int.h"
#include "h3/req.h"

/* HEADERS frames and their events. */
#define GET      "0108 0000 d1 d7 c1 50 0161"
#define POST     "0108 0000 d4 d7 c1 50 0161"
#define POST_3   "010b 0000 d4 d7 c1 50 0161 54 0133"
#define CONNECT  "010a 0000 cf 50 05 613a343433"
#define EXT      "011e 0000 cf 27023a70726f746f636f6c 0a636f6e6e6563742d6970 d7 c1 50 0161"
#define OK       "0103 0000 d9"
#define OK_3     "0106 0000 d9 54 0133"
#define CONTINUE "0104 0000 ff00"
#define HINTS    "0103 0000 d8"
#define TRAILER  "0106 0000 21 78 01 79"

#define E_GET     "HEADERS 0 :method=GET :scheme=https :path=/ :authority=a\n"
#define E_POST    "HEADERS 0 :method=POST :scheme=https :path=/ :authority=a\n"
#define E_POST_3  "HEADERS 0 :method=POST :scheme=https :path=/ :authority=a content-length=3\n"
#define E_CONNECT "HEADERS 0 :method=CONNECT :authority=a:443\n"
#define E_EXT                                                                                  \
    "HEADERS 0 :method=CONNECT :protocol=connect-ip :scheme=https :path=/ :authority=a\n"
#define E_OK       "HEADERS 0 :status=200\n"
#define E_OK_3     "HEADERS 0 :status=200 content-length=3\n"
#define E_CONTINUE "HEADERS 0 interim :status=100\n"
#define E_TRAILER  "TRAILERS 0 x=y\n"
#define E_FIN      "FIN 0\n"

#define BAD H3_FRAME_UNEXPECTED

/* clang-format off */
static const struct script requests[] = {
    /* whole messages */
    {true, NULL, "0:" GET "!", 0, E_GET E_FIN},
    {true, NULL, "0:" GET ";0:!", 0, E_GET E_FIN},
    {true, NULL, "0:" POST "0003 616263 0001 64 !", 0, E_POST "DATA 0 abcd\n" E_FIN},
    {true, NULL, "0:" POST "0003 616263" TRAILER "!", 0, E_POST "DATA 0 abc\n" E_TRAILER E_FIN},
    {true, NULL, "0:" POST TRAILER "!", 0, E_POST E_TRAILER E_FIN},
    {true, NULL, "0:" POST_3 "0002 6162 0001 63!", 0, E_POST_3 "DATA 0 abc\n" E_FIN},
    {true, NULL, "0:" POST_3 "0003 616263" TRAILER "!", 0, E_POST_3 "DATA 0 abc\n" E_TRAILER E_FIN},
    {true, NULL, "0:" POST "0000 0000 400000 0003 616263 0000!", 0, E_POST "DATA 0 abc\n" E_FIN},
    {true, NULL, "4:" GET "!;0:" GET "!", 0,
     "HEADERS 4 :method=GET :scheme=https :path=/ :authority=a\nFIN 4\n" E_GET E_FIN},
    {true, NULL, "0:" GET ";4:" GET ";0:!;4:!", 0,
     E_GET "HEADERS 4 :method=GET :scheme=https :path=/ :authority=a\n" E_FIN "FIN 4\n"},
    {true, NULL, "0:" CONNECT "0003 616263 0001 64!", 0, E_CONNECT "DATA 0 abcd\n" E_FIN},
    {true, NULL, "0:" EXT "0003 616263 0001 64", 0, E_EXT "DATA 0 abcd\n"},
    /* frames to skip: before, between, behind, and long */
    {true, NULL, "0:2103 010203" GET "400a00 0001 61 21 400401020304 0001 62 2100!", 0,
     E_GET "DATA 0 ab\n" E_FIN},
    {true, NULL, "0:" GET TRAILER "2101 00!", 0, E_GET E_TRAILER E_FIN},
    {true, NULL, "0:" GET "21 ffffffffffffffff 000000;0:00000000", 0, E_GET},
    /* order of frames */
    {true, NULL, "0:0003 616263", BAD, ""},
    {true, NULL, "0:0000", BAD, ""},
    {true, NULL, "0:" GET TRAILER TRAILER, BAD, E_GET E_TRAILER},
    {true, NULL, "0:" GET TRAILER "0001 61", BAD, E_GET E_TRAILER},
    {true, NULL, "0:" GET TRAILER "0000", BAD, E_GET E_TRAILER},
    {true, NULL, "0:" CONNECT TRAILER, BAD, E_CONNECT},
    {true, NULL, "0:" EXT "0001 61" TRAILER, BAD, E_EXT "DATA 0 a\n"},
    /* frames of other streams, and of HTTP/2 */
    {true, NULL, "0:0400", BAD, ""},
    {true, NULL, "0:" GET "0400", BAD, E_GET},
    {true, NULL, "0:" GET "0301 00", BAD, E_GET},
    {true, NULL, "0:" GET "0501 00", BAD, E_GET},
    {true, NULL, "0:" GET "0701 00", BAD, E_GET},
    {true, NULL, "0:" GET "0d01 00", BAD, E_GET},
    {true, NULL, "0:" GET "0200", BAD, E_GET},
    {true, NULL, "0:" GET "0600", BAD, E_GET},
    {true, NULL, "0:" GET "0800", BAD, E_GET},
    {true, NULL, "0:" GET "0900", BAD, E_GET},
    /* cut off */
    {true, NULL, "0:01!", H3_FRAME_ERROR, ""},
    {true, NULL, "0:0108 0000 d1!", H3_FRAME_ERROR, ""},
    {true, NULL, "0:0108!", H3_FRAME_ERROR, ""},
    {true, NULL, "0:" GET "0003 6162!", H3_FRAME_ERROR, E_GET "DATA 0 ab\n"},
    {true, NULL, "0:" GET "00!", H3_FRAME_ERROR, E_GET},
    {true, NULL, "0:" GET "40!", H3_FRAME_ERROR, E_GET},
    {true, NULL, "0:" GET "2105 00!", H3_FRAME_ERROR, E_GET},
    {true, NULL, "0:!", 0, "ABORT 0 H3_REQUEST_INCOMPLETE\n"},
    {true, NULL, "0:2101 00!", 0, "ABORT 0 H3_REQUEST_INCOMPLETE\n"},
    /* malformed messages end the stream and nothing else; what follows is dropped */
    {true, NULL, "0:0106 0000 d1 d7 c1 d1;0:0400 ffff!;4:0000", BAD, "ABORT 0 H3_MESSAGE_ERROR\n"},
    {true, NULL, "0:0105 0000 d1 d7 c1", 0, "ABORT 0 H3_MESSAGE_ERROR\n"},
    {true, NULL, "0:0103 0000 d9", 0, "ABORT 0 H3_MESSAGE_ERROR\n"},
    {true, NULL, "0:0102 0000", 0, "ABORT 0 H3_MESSAGE_ERROR\n"},
    {true, NULL, "0:" GET "0103 0000 d9!", 0, E_GET "ABORT 0 H3_MESSAGE_ERROR\n"},
    {true, NULL, "0:" GET GET, 0, E_GET "ABORT 0 H3_MESSAGE_ERROR\n"},
    {true, NULL, "0:" POST_3 "0004 61626364", 0, E_POST_3 "ABORT 0 H3_MESSAGE_ERROR\n"},
    {true, NULL, "0:" POST_3 "0002 6162 0002 6364!", 0,
     E_POST_3 "DATA 0 ab\nABORT 0 H3_MESSAGE_ERROR\n"},
    {true, NULL, "0:" POST_3 "0002 6162!", 0, E_POST_3 "DATA 0 ab\nABORT 0 H3_MESSAGE_ERROR\n"},
    {true, NULL, "0:" POST_3 "!", 0, E_POST_3 "ABORT 0 H3_MESSAGE_ERROR\n"},
    {true, NULL, "0:" POST_3 TRAILER "!", 0, E_POST_3 E_TRAILER "ABORT 0 H3_MESSAGE_ERROR\n"},
    {true, NULL, "0:010d 0000 cf 50 05 613a343433 54 0133 0001 61!", 0,
     "HEADERS 0 :method=CONNECT :authority=a:443 content-length=3\nDATA 0 a\n" E_FIN},
    /* field sections that cannot be decoded, or are too large (the limit is 512) */
    {true, NULL, "0:0100", QPACK_DECOMPRESSION_FAILED, ""},
    {true, NULL, "0:0101 00", QPACK_DECOMPRESSION_FAILED, ""},
    {true, NULL, "0:0102 0100", QPACK_DECOMPRESSION_FAILED, ""},
    {true, NULL, "0:0103 0000 80", QPACK_DECOMPRESSION_FAILED, ""},
    {true, NULL, "0:0108 0000 d1 d7 c1 50 0261", QPACK_DECOMPRESSION_FAILED, ""},
    {true, NULL, "0:" GET "0103 0000 ff", QPACK_DECOMPRESSION_FAILED, E_GET},
    {true, NULL, "0:0108 0000 fa fa fa fa fa fa 0000;0:0000", 0, "ABORT 0 H3_EXCESSIVE_LOAD\n"},
    {true, NULL, "0:" GET "0108 0000 fa fa fa fa fa fa 0000", 0, E_GET "ABORT 0 H3_EXCESSIVE_LOAD\n"},
    {true, NULL, "0:014241 0000;0:0000", 0, "ABORT 0 H3_EXCESSIVE_LOAD\n"},
    {true, NULL, "0:01 ffffffffffffffff 0000", 0, "ABORT 0 H3_EXCESSIVE_LOAD\n"},
    /* resets */
    {true, NULL, "0:" GET ";0R10c", 0, E_GET "RESET 0 0x10c\n"},
    {true, NULL, "0:" GET "0003 61;0R10c;0S10c", 0, E_GET "DATA 0 a\nRESET 0 0x10c\nSTOPPED 0 0x10c\n"},
    {true, NULL, "0:" GET "!;0R10c", 0, E_GET E_FIN},
    {true, NULL, "0:0108 0000;0R10c;0R10c;0S0", 0, "ABORT 0 H3_REQUEST_REJECTED\n"},
    {true, NULL, "0R10c;0:ff", 0, "ABORT 0 H3_REQUEST_REJECTED\n"},
    {true, NULL, "0S10c", 0, "ABORT 0 H3_REQUEST_REJECTED\n"},
    {true, NULL, "0:" GET ";0D;0:0000 ff;0R0;0S0;0:!", 0, E_GET},
    {true, NULL, "0:ff;0D;0R0;4:" GET ";4R0;4D;4R0;4:0000;8:0000", BAD,
     "HEADERS 4 :method=GET :scheme=https :path=/ :authority=a\nRESET 4 0x0\n"},
    {true, NULL, "0:" GET ";0S100;0S100;0:0001 61!", 0, E_GET "STOPPED 0 0x100\nDATA 0 a\n" E_FIN},
};

static const struct script responses[] = {
    {false, "GET", "0:" OK "!", 0, E_OK E_FIN},
    {false, "GET", "0:" OK "0003 616263!", 0, E_OK "DATA 0 abc\n" E_FIN},
    {false, "GET", "0:" CONTINUE HINTS OK_3 "0003 616263" TRAILER "!", 0,
     E_CONTINUE "HEADERS 0 interim :status=103\n" E_OK_3 "DATA 0 abc\n" E_TRAILER E_FIN},
    {false, "GET", "0:" OK TRAILER TRAILER, BAD, E_OK E_TRAILER},
    {false, "GET", "0:0003 616263", BAD, ""},
    {false, "GET", "0:" CONTINUE "0003 616263", BAD, E_CONTINUE},
    {false, "GET", "0:" OK OK, 0, E_OK "ABORT 0 H3_MESSAGE_ERROR\n"},
    {false, "GET", "0:0104 0000 5f09 03313031", QPACK_DECOMPRESSION_FAILED, ""},
    {false, "GET", "0:0108 0000 5f09 03313031", 0, "ABORT 0 H3_MESSAGE_ERROR\n"}, /* 101 */
    {false, "GET", "0:" GET, 0, "ABORT 0 H3_MESSAGE_ERROR\n"},
    {false, "GET", "0:!", 0, "ABORT 0 H3_MESSAGE_ERROR\n"},
    {false, "GET", "0:" CONTINUE "!", 0, E_CONTINUE "ABORT 0 H3_MESSAGE_ERROR\n"},
    {false, "GET", "0:" OK_3 "0002 6162!", 0, E_OK_3 "DATA 0 ab\nABORT 0 H3_MESSAGE_ERROR\n"},
    {false, "GET", "0:" OK_3 "0004 6162", 0, E_OK_3 "ABORT 0 H3_MESSAGE_ERROR\n"},
    {false, "GET", "0:0501 00", H3_ID_ERROR, ""},
    {false, "GET", "0:" OK "0501 00", H3_ID_ERROR, E_OK},
    {false, "GET", "0:0d01 00", BAD, ""},
    {false, "GET", "0:0400", BAD, ""},
    {false, "GET", "0:" OK ";0R10b", 0, E_OK "RESET 0 0x10b\n"},
    {false, "GET", "0R10b", 0, "RESET 0 0x10b\n"},
    {false, "GET", "0S100;0:" OK "!", 0, "STOPPED 0 0x100\n" E_OK E_FIN},
    {false, "GET", "0D;0:" OK "!;0R0;0S0", 0, ""},
    {false, "GET", "4:" OK, QUIC_INVAL, ""},
    /* responses that never have content */
    {false, "HEAD", "0:" OK_3 "!", 0, E_OK_3 E_FIN},
    {false, "HEAD", "0:" OK_3 "0003 616263", 0, E_OK_3 "ABORT 0 H3_MESSAGE_ERROR\n"},
    {false, "HEAD", "0:" OK "0000!", 0, E_OK E_FIN},
    {false, "GET", "0:0107 0000 ff01 54 0133!", 0, "HEADERS 0 :status=204 content-length=3\n" E_FIN},
    {false, "GET", "0:0104 0000 ff01 0001 61", 0, "HEADERS 0 :status=204\nABORT 0 H3_MESSAGE_ERROR\n"},
    {false, "GET", "0:0106 0000 da 54 0133!", 0, "HEADERS 0 :status=304 content-length=3\n" E_FIN},
    /* tunnels carry DATA only, once they are made */
    {false, "CONNECT", "0:" OK "0003 616263!", 0, E_OK "DATA 0 abc\n" E_FIN},
    {false, "CONNECT", "0:" OK_3 "0001 61!", 0, E_OK_3 "DATA 0 a\n" E_FIN},
    {false, "CONNECT", "0:" OK TRAILER, BAD, E_OK},
    {false, "CONNECT", "0:" CONTINUE OK "0001 61" OK, BAD, E_CONTINUE E_OK "DATA 0 a\n"},
    {false, "CONNECT", "0:0103 0000 db 0001 61" TRAILER "!", 0,
     "HEADERS 0 :status=404\nDATA 0 a\n" E_TRAILER E_FIN},
    {false, "EXTENDED", "0:" OK "0003 616263 21020000 0001 64", 0, E_OK "DATA 0 abcd\n"},
    {false, "EXTENDED", "0:" OK TRAILER, BAD, E_OK},
    {false, "EXTENDED", "0:0104 0000 ff05!", 0, "HEADERS 0 :status=403\n" E_FIN},
    {false, "EXTENDED", "0:0104 0000 ff05;0R100", 0, "HEADERS 0 :status=403\nRESET 0 0x100\n"},
};
/* clang-format on */

static void request_table(void **state)
{
    (void)state;
    play_all(requests, ARRAY_LEN(requests));
}

static void response_table(void **state)
{
    (void)state;
    play_all(responses, ARRAY_LEN(responses));
}

/* Extended CONNECT needs the setting on our side. */
static void extended_refused(void **state)
{
    struct h3_config cfg = {.server = true};
    struct h3_conn *h = h3_conn_new(&cfg);
    static struct text t;
    uint64_t seed = 1;

    (void)state;
    text_clear(&t);
    assert_int_equal(step(h, "0:" EXT, SIZE_MAX, &seed, &t), 0);
    assert_string_equal(t.p, "ABORT 0 H3_MESSAGE_ERROR\n");
    h3_conn_del(h);
}

/* The hint on HEADERS is there exactly when FIN follows at once. */
static void fin_hint(void **state)
{
    static const struct {
        const char *hex;
        bool fin, hint;
    } rows[] = {
        {GET, true, true},         {GET, false, false},   {GET "2100", true, false},
        {GET "0000", true, false}, {POST_3, true, false}, /* ABORT follows */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct h3_config cfg = {.server = true};
        struct h3_conn *h = h3_conn_new(&cfg);
        uint8_t bytes[64];
        size_t n = unhex(rows[i].hex, bytes, sizeof(bytes)), used;
        struct h3_event ev;

        assert_int_equal(h3_recv(h, 0, span_of(bytes, n), rows[i].fin, &used), 0);
        assert_true(h3_next_event(h, &ev));
        assert_int_equal(ev.type, H3_EV_HEADERS);
        assert_int_equal(ev.fin, rows[i].hint);
        assert_int_equal(h3_next_event(h, &ev), used == n && rows[i].fin);
        h3_conn_del(h);
    }
}

/* Memory for a section grows with its bytes, not with the length that was announced. */
static void slow_section(void **state)
{
    enum { LENGTH = 500000, VALUE = LENGTH - 14 };
    static uint8_t bytes[LENGTH + H3_FRAME_HEAD_MAX];
    struct wire_w w = wire_w_of(bytes, sizeof(bytes));
    struct qpack_dec dec;
    struct h3_req q;
    struct h3_event ev = {.type = H3_EV_NONE};
    uint64_t aborted = 0;
    size_t n, used = 0;

    (void)state;
    h3_req_init(&q, true, false);
    qpack_dec_init(&dec, 1 << 20);
    h3_frame_write_head(&w, H3_FRAME_HEADERS, LENGTH);
    wire_w_bytes(&w, "\0\0\xd1\xd7\xc1\x50\x01\x61\x21x", 10);
    qpack_int_put(&w, 0, 7, VALUE);
    for (size_t i = 0; i < VALUE; i++)
        wire_w_u8(&w, 'v');
    n = (size_t)(w.p - bytes);
    assert_int_equal(n, LENGTH + 5);
    while (used < n) {
        size_t piece = n - used < 1000 ? n - used : 1000;

        assert_int_equal(ev.type, H3_EV_NONE);
        assert_int_equal(
            h3_req_read(&q, &dec, span_of(bytes + used, piece), &used, &ev, &aborted), 0);
        assert_int_equal(aborted, 0);
        assert_true(q.buf_cap <= 2 * used);
    }
    assert_int_equal(ev.type, H3_EV_HEADERS);
    assert_int_equal(ev.count, 5);
    assert_int_equal(ev.fields[4].value.n, VALUE);
    assert_int_equal(q.buf_cap, 0);
    h3_req_free(&q);
    qpack_dec_free(&dec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_table),    cmocka_unit_test(response_table),
        cmocka_unit_test(extended_refused), cmocka_unit_test(fin_hint),
        cmocka_unit_test(slow_section),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
