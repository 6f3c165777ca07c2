/*
 * micro_h3 - HTTP/3 by memory: field sections, and content from one end to the other.
 *
 *     qpack_encode fields=N bytes=B  our CONNECT request with a key to a section of B bytes
 *     qpack_decode fields=N bytes=B  and back
 *     h3_data bytes=N                a DATA frame of N bytes: h3_data, h3_next_out, h3_recv,
 *                                    the event, h3_out_done; content is copied once
 */
#include "bench/bench.h"

#include "h3/h3.h"
#include "h3/qpack_dec.h"
#include "h3/qpack_enc.h"
#include "masque/request.h"

#include <string.h>

#define CONTENT 16000

static struct masque_head request;
static uint8_t section[1024];
static size_t section_n;
static struct qpack_dec decoder;

/* ---- field sections ------------------------------------------------------------------ */

static void encode(void *ctx, uint64_t n)
{
    (void)ctx;
    while (n--) {
        struct wire_w w = wire_w_of(section, sizeof(section));

        qpack_enc_section(&w, request.field, request.n);
        BENCH_CHECK(!w.failed);
        section_n = (size_t)(w.p - section);
    }
}

static void decode(void *ctx, uint64_t n)
{
    (void)ctx;
    while (n--)
        BENCH_CHECK(qpack_dec_section(&decoder, span_of(section, section_n)) == 0 &&
                    decoder.count == request.n);
}

static void bench_qpack(void)
{
    const struct masque_ask ask = {
        .authority = SPAN_LIT("vpn.example.org:443"),
        .bearer = SPAN_LIT("Zt2Vq0c9mYw4uJ7hXr1sLb8nKd3fPa6eGi5oTx0yUvE"),
    };

    BENCH_CHECK(masque_request_build(&ask, &request) == 0);
    encode(NULL, 1);
    bench_line(&(struct bench){.run = encode}, "qpack_encode fields=%zu bytes=%zu", request.n,
               section_n);
    qpack_dec_init(&decoder, 32768);
    bench_line(&(struct bench){.run = decode}, "qpack_decode fields=%zu bytes=%zu", request.n,
               section_n);
    for (size_t i = 0; i < request.n; i++)
        BENCH_CHECK(h3_span_eq(decoder.fields[i].name, request.field[i].name) &&
                    h3_span_eq(decoder.fields[i].value, request.field[i].value));
    qpack_dec_free(&decoder);
}

/* ---- content ------------------------------------------------------------------------- */

static struct h3_conn *client, *server;
static uint64_t stream;
static size_t content, arrived; /* bytes of a frame; bytes of DATA events */
static bool asked;              /* the server has seen the request */

/* Carry all that `from` has to say to `to`. */
static void carry(struct h3_conn *from, struct h3_conn *to)
{
    struct h3_event ev;
    struct h3_out o;

    while (h3_next_out(from, &o)) {
        struct span data = o.bytes;
        size_t used;

        do {
            BENCH_CHECK(h3_recv(to, o.stream_id, data, o.fin, &used) == 0);
            while (h3_next_event(to, &ev)) {
                arrived += ev.data.n;
                asked |= ev.type == H3_EV_HEADERS && to == server;
            }
            data = span_of(data.p + used, data.n - used);
        } while (data.n > 0);
        h3_out_done(from, o.stream_id, o.bytes.n, o.fin);
    }
}

static void transfer(void *ctx, uint64_t n)
{
    static uint8_t bytes[CONTENT];

    (void)ctx;
    while (n--) {
        size_t before = arrived;

        BENCH_CHECK(h3_data(client, stream, span_of(bytes, content), false) == 0);
        carry(client, server);
        BENCH_CHECK(arrived == before + content);
    }
}

static void bench_data(void)
{
    static const size_t sizes[] = {100, 1200, CONTENT};
    const struct h3_config ccfg = {.h3_datagram = true},
                           scfg = {.server = true,
                                   .enable_connect_protocol = true,
                                   .h3_datagram = true};
    struct masque_head answer;

    client = h3_conn_new(&ccfg);
    server = h3_conn_new(&scfg);
    BENCH_CHECK(client && server);
    carry(server, client);
    BENCH_CHECK(h3_request(client, request.field, request.n, false, &stream) == 0);
    carry(client, server);
    BENCH_CHECK(asked && masque_response_build(200, NULL, 0, &answer) == 0);
    BENCH_CHECK(h3_respond(server, stream, answer.field, answer.n, false) == 0);
    carry(server, client);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        content = sizes[i];
        bench_line(&(struct bench){.run = transfer}, "h3_data bytes=%zu", content);
    }
    h3_conn_del(client);
    h3_conn_del(server);
}

int main(void)
{
    bench_qpack();
    bench_data();
    return 0;
}
