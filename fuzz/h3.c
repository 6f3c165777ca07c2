/*
 * Fuzz target: an HTTP/3 connection, driven by commands.
 *
 * The first byte: bit 0 server, bit 1 Extended CONNECT announced (or, on a client,
 * by the peer: its SETTINGS come first), bit 2 small limits. Then commands, each an
 * opcode and its operands; `s` is a byte that names a stream, `n` a length:
 *   0 s n bytes   the peer sends bytes; 1 the same, and ends the stream
 *   2 s c         RESET_STREAM     3 s c   STOP_SENDING     4 s   done
 *   5 k           request of kind k (client)
 *   6 s k         respond          7 s n   data             8 s n data and end
 *   9 s           trailers         10      GOAWAY           11 s c   reset
 *   12 n          write up to n bytes of the next output, blocked if not all
 *   13 s          unblock
 *
 * Everything is done to two connections, of which the second gets its bytes one by
 * one: results and events must be the same. What a client sends is given to a third,
 * a server, which must never find a connection error in it.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "h3/h3.h"
#include "quic/wire.h"

#define MUST(x)                                                                                \
    do {                                                                                       \
        if (!(x))                                                                              \
            abort();                                                                           \
    } while (0)

/* One connection and a hash of its events. */
struct side {
    struct h3_conn *h;
    uint64_t hash;
};

static void mix(uint64_t *hash, uint64_t v)
{
    *hash = (*hash ^ v) * 0x9e3779b97f4a7c15;
    *hash ^= *hash >> 29;
}

static void mix_span(uint64_t *hash, struct span s)
{
    mix(hash, s.n);
    for (size_t i = 0; i < s.n; i++)
        mix(hash, s.p[i]);
}

/* All of an event but where DATA was cut, and the hint of HEADERS. */
static void mix_event(uint64_t *hash, const struct h3_event *ev)
{
    MUST(ev->type > H3_EV_NONE && ev->type <= H3_EV_ABORT);
    if (ev->type == H3_EV_DATA) {
        MUST(ev->data.n > 0);
        for (size_t i = 0; i < ev->data.n; i++) {
            mix(hash, ev->stream_id);
            mix(hash, 0x100 | ev->data.p[i]);
        }
        return;
    }
    mix(hash, ev->type);
    mix(hash, ev->stream_id);
    mix(hash, ev->code);
    mix(hash, ev->goaway_id);
    mix(hash, (uint64_t)ev->trailers << 12 | (uint64_t)ev->informational << 11 | ev->status);
    for (size_t i = 0; i < ev->count; i++) {
        mix_span(hash, ev->fields[i].name);
        mix_span(hash, ev->fields[i].value);
        mix(hash, ev->fields[i].never_index);
    }
}

static void drain(struct side *a)
{
    struct h3_event ev;

    while (h3_next_event(a->h, &ev))
        mix_event(&a->hash, &ev);
    h3_conn_check(a->h);
}

/* Feed as the contract says, `step` bytes at a time. */
static int feed(struct side *a, uint64_t id, struct span in, bool fin, size_t step)
{
    int rc;

    do {
        size_t n = in.n < step ? in.n : step, used;

        rc = h3_recv(a->h, id, span_of(in.p, n), fin && n == in.n, &used);
        MUST(used <= n && (rc != 0 || used > 0 || n == 0));
        drain(a);
        in = span_of(in.p + used, in.n - used);
    } while (rc == 0 && in.n > 0);
    return rc;
}

static const struct h3_field requests[][7] = {
    {H3_FIELD_LIT(":method", "GET"), H3_FIELD_LIT(":scheme", "https"),
     H3_FIELD_LIT(":authority", "a"), H3_FIELD_LIT(":path", "/")},
    {H3_FIELD_LIT(":method", "HEAD"), H3_FIELD_LIT(":scheme", "https"),
     H3_FIELD_LIT(":authority", "a"), H3_FIELD_LIT(":path", "/")},
    {H3_FIELD_LIT(":method", "CONNECT"), H3_FIELD_LIT(":authority", "a:1")},
    {H3_FIELD_LIT(":method", "CONNECT"), H3_FIELD_LIT(":protocol", "connect-ip"),
     H3_FIELD_LIT(":scheme", "https"), H3_FIELD_LIT(":authority", "a"),
     H3_FIELD_LIT(":path", "/"), H3_FIELD_LIT("capsule-protocol", "?1")},
};
static const struct h3_field responses[][2] = {
    {H3_FIELD_LIT(":status", "200")},
    {H3_FIELD_LIT(":status", "103")},
    {H3_FIELD_LIT(":status", "404"), H3_FIELD_LIT("server", "x")},
    {H3_FIELD_LIT("server", "x"), H3_FIELD_LIT(":status", "200")},
};
static const struct h3_field trailer[] = {H3_FIELD_LIT("checksum", "1")};

static size_t length_of(const struct h3_field *f, size_t max)
{
    size_t n = 0;

    while (n < max && f[n].name.n > 0)
        n++;
    return n;
}

/* Small numbers of all four kinds, the ones that matter first. */
static uint64_t stream_of(uint8_t byte)
{
    return byte % 32;
}

static const uint8_t zeroes[1024];

/* Commands that the user of the connection gives. */
static int user(struct h3_conn *h, uint8_t op, uint8_t a, uint8_t b)
{
    uint64_t id = stream_of(a);

    switch (op) {
    case 5:
        return h3_request(h, requests[a % 4], length_of(requests[a % 4], 7), a & 4, &id);
    case 6:
        return h3_respond(h, id, responses[b % 4], length_of(responses[b % 4], 2), b & 4);
    case 7:
    case 8:
        return h3_data(h, id, span_of(zeroes, 4u * b), op == 8);
    case 9:
        return h3_trailers(h, id, trailer, 1);
    case 10:
        return h3_goaway(h);
    default:
        return h3_reset(h, id, 0x100 + b);
    }
}

/* Write some of the next output of both, which must be the same; show it to the server. */
static void output(struct side s[2], struct side *peer, size_t max)
{
    struct h3_out out[2];
    bool any = h3_next_out(s[0].h, &out[0]);
    size_t n;
    bool fin;

    MUST(any == h3_next_out(s[1].h, &out[1]));
    if (!any)
        return;
    MUST(out[0].stream_id == out[1].stream_id && out[0].fin == out[1].fin);
    MUST(h3_span_eq(out[0].bytes, out[1].bytes));
    MUST(out[0].bytes.n > 0 || out[0].fin);
    n = out[0].bytes.n < max ? out[0].bytes.n : max;
    fin = out[0].fin && n == out[0].bytes.n;
    if (peer && (n > 0 || fin))
        MUST(feed(peer, out[0].stream_id, span_of(n ? out[0].bytes.p : zeroes, n), fin,
                  SIZE_MAX) == 0);
    for (size_t i = 0; i < 2; i++) {
        h3_out_done(s[i].h, out[i].stream_id, n, fin);
        if (n < out[i].bytes.n)
            h3_out_blocked(s[i].h, out[i].stream_id);
    }
}

static int command(struct side s[2], struct side *peer, struct wire_r *r)
{
    static const uint8_t operands[14] = {2, 2, 2, 2, 1, 1, 2, 2, 2, 1, 0, 2, 1, 1};
    uint8_t op = wire_r_u8(r) % 14;
    uint8_t a = operands[op] > 0 ? wire_r_u8(r) : 0;
    uint8_t b = operands[op] > 1 ? wire_r_u8(r) : 0;
    int rc[2] = {0, 0};
    struct span bytes = {zeroes, 0};

    if (op <= 1)
        bytes = wire_r_bytes(r, b < wire_r_left(r) ? b : wire_r_left(r));
    if (op == 12) {
        output(s, peer, 16u * a);
        return 0;
    }
    for (size_t i = 0; i < 2; i++) {
        if (op <= 1)
            rc[i] = feed(&s[i], stream_of(a), bytes, op == 1, i == 0 ? SIZE_MAX : 1);
        else if (op == 2)
            rc[i] = h3_stream_reset(s[i].h, stream_of(a), b);
        else if (op == 3)
            rc[i] = h3_stream_stopped(s[i].h, stream_of(a), b);
        else if (op == 4)
            h3_stream_done(s[i].h, stream_of(a));
        else if (op == 13)
            h3_out_unblocked(s[i].h, stream_of(a));
        else
            rc[i] = user(s[i].h, op, a, b);
        drain(&s[i]);
    }
    MUST(rc[0] == rc[1]);
    MUST(s[0].hash == s[1].hash);
    MUST(h3_out_queued(s[0].h) == h3_out_queued(s[1].h));
    return op <= 3 && rc[0] > 0 ? rc[0] : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t settings[] = {0x00, 0x04, 0x02, 0x08, 0x01};
    uint8_t flags = size ? data[0] : 0;
    struct h3_config cfg = {.server = flags & 1,
                            .enable_connect_protocol = flags & 2,
                            .h3_datagram = true,
                            .max_field_section_size = flags & 4 ? 200 : 0,
                            .max_requests = flags & 4 ? 3 : 0,
                            .max_uni_streams = flags & 4 ? 4 : 0,
                            .max_out_bytes = flags & 4 ? 500 : 0,
                            .max_resets = flags & 4 ? 2 : 0};
    struct h3_config server = {.server = true,
                               .enable_connect_protocol = true,
                               .max_requests = SIZE_MAX,
                               .max_resets = SIZE_MAX};
    struct side s[2] = {{h3_conn_new(&cfg), 0}, {h3_conn_new(&cfg), 0}};
    struct side peer = {cfg.server ? NULL : h3_conn_new(&server), 0};
    struct wire_r r;

    MUST(s[0].h && s[1].h && (cfg.server || peer.h));
    if (size == 0)
        goto out;
    if (!cfg.server && flags & 2)
        for (size_t i = 0; i < 2; i++)
            MUST(feed(&s[i], 3, span_of(settings, sizeof(settings)), false, SIZE_MAX) == 0);
    r = wire_r_of(data + 1, size - 1);
    while (wire_r_left(&r) > 0 && !r.failed)
        if (command(s, peer.h ? &peer : NULL, &r) != 0)
            break;
out:
    h3_conn_del(s[0].h);
    h3_conn_del(s[1].h);
    h3_conn_del(peer.h);
    return 0;
}
