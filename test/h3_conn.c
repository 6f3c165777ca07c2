/*
 * conn and send: a client and a server back to back, over a pipe that cuts the bytes
 * of every stream anywhere and delivers streams in any order.
 */
#include "test/h3_util.h"

#include "h3/conn.h"

#define STREAMS 64
#define BUFFER  (1 << 20)

/* One direction of one stream: bytes on the way, and how the stream ended. */
struct lane {
    uint64_t id;
    uint8_t *bytes;
    size_t n, at;
    bool fin, fin_given, reset, stop;
    uint64_t reset_code, stop_code;
    bool closed; /* no more goes in */
};

struct end {
    struct h3_conn *h;
    struct lane lanes[STREAMS]; /* what this end sends */
    size_t lanes_n;
    struct text events;
    int rc;
    /* What the driver does by itself. */
    void (*on_event)(struct end *e, const struct h3_event *ev);
    void *ctx;
};

struct net {
    struct end end[2]; /* client, server */
    uint64_t seed;
    bool harsh; /* random pieces, random blocking */
};

static struct net net;

static struct lane *lane(struct end *e, uint64_t id)
{
    for (size_t i = 0; i < e->lanes_n; i++)
        if (e->lanes[i].id == id)
            return &e->lanes[i];
    /* Streams must be opened in the order of their numbers. */
    for (size_t i = 0; i < e->lanes_n; i++)
        if (e == &net.end[0])
            assert_false(e->lanes[i].id % 4 == id % 4 && e->lanes[i].id > id);
    assert_true(e->lanes_n < STREAMS);
    e->lanes[e->lanes_n] = (struct lane){.id = id, .bytes = malloc(BUFFER)};
    return &e->lanes[e->lanes_n++];
}

static void net_open(const struct h3_config *client, const struct h3_config *server,
                     uint64_t seed)
{
    struct h3_config cfg[2] = {
        client ? *client : (struct h3_config){.h3_datagram = true},
        server ? *server
               : (struct h3_config){.h3_datagram = true, .enable_connect_protocol = true}};

    net.seed = seed;
    net.harsh = seed != 0;
    for (size_t k = 0; k < 2; k++) {
        struct end *e = &net.end[k];

        cfg[k].server = k == 1;
        e->h = h3_conn_new(&cfg[k]);
        assert_non_null(e->h);
        e->lanes_n = 0;
        e->rc = 0;
        e->on_event = NULL;
        text_clear(&e->events);
    }
}

static void net_close(void)
{
    for (size_t k = 0; k < 2; k++) {
        h3_conn_del(net.end[k].h);
        for (size_t i = 0; i < net.end[k].lanes_n; i++)
            free(net.end[k].lanes[i].bytes);
    }
}

static void handle(struct end *e, const struct h3_event *ev)
{
    struct lane *l;

    say_event(&e->events, ev);
    if (ev->type == H3_EV_ABORT) { /* reset what we send, stop what we receive */
        struct end *other = e == &net.end[0] ? &net.end[1] : &net.end[0];
        bool peer_uni = (ev->stream_id & 2) != 0;

        if (!peer_uni) {
            for (uint64_t id = 0; id < ev->stream_id; id += 4)
                lane(e, id); /* none is opened before those in front of it */
            l = lane(e, ev->stream_id);
            if (!l->closed) {
                l->reset = l->closed = true;
                l->reset_code = ev->code;
                l->at = l->n;
            }
        }
        l = lane(other, ev->stream_id);
        if (!l->closed) {
            l->stop = true;
            l->stop_code = ev->code;
        }
    }
    if (e->on_event)
        e->on_event(e, ev);
}

static void events(struct end *e)
{
    struct h3_event ev;

    h3_conn_check(e->h);
    while (h3_next_event(e->h, &ev))
        handle(e, &ev);
}

/* Take what the end has to send. */
static bool collect(struct end *e)
{
    struct h3_out out;
    bool any = false;

    for (size_t i = 0; i < 200 && h3_next_out(e->h, &out); i++) {
        struct lane *l = lane(e, out.stream_id);
        size_t n = net.harsh ? rnd(&net.seed) % (out.bytes.n + 1) : out.bytes.n;
        bool fin = out.fin && n == out.bytes.n;

        assert_false(l->closed);
        assert_true(out.bytes.n > 0 || out.fin);
        assert_true(out.bytes.n <= H3_OUT_QUANTUM && l->n + n <= BUFFER);
        if (n > 0)
            memcpy(l->bytes + l->n, out.bytes.p, n);
        l->n += n;
        l->fin = l->closed = fin;
        h3_out_done(e->h, out.stream_id, n, fin);
        if (n < out.bytes.n)
            h3_out_blocked(e->h, out.stream_id);
        any = true;
    }
    for (size_t i = 0; i < e->lanes_n; i++)
        if (!net.harsh || rnd(&net.seed) % 2)
            h3_out_unblocked(e->h, e->lanes[i].id);
    return any;
}

/* Give the other end a piece of one stream. */
static bool deliver(struct end *from, struct end *to, struct lane *l)
{
    size_t n = l->n - l->at;

    if (l->stop && !l->closed) { /* what the receiver asked of the sender */
        l->reset = l->closed = true;
        l->reset_code = l->stop_code;
        l->at = l->n;
        from->rc = h3_stream_stopped(from->h, l->id, l->stop_code);
        events(from);
        return true;
    }
    if (l->reset) {
        l->reset = false;
        to->rc = h3_stream_reset(to->h, l->id, l->reset_code);
        events(to);
        return true;
    }
    if (n == 0 && (!l->fin || l->fin_given))
        return false;
    if (net.harsh)
        n = rnd(&net.seed) % (n + 1);
    do {
        size_t used;
        bool fin = l->fin && l->at + n == l->n;

        to->rc = h3_recv(to->h, l->id, span_of(l->bytes + l->at, n), fin, &used);
        l->at += used;
        n -= used;
        l->fin_given = fin && n == 0;
        events(to);
    } while (to->rc == 0 && n > 0);
    return true;
}

/* Until nothing moves, or an end has failed. */
static void net_run(void)
{
    bool any = true;

    for (size_t idle = 0; idle < (net.harsh ? 50u : 2u); idle = any ? 0 : idle + 1) {
        any = false;
        for (size_t k = 0; k < 2; k++) {
            struct end *from = &net.end[k], *to = &net.end[1 - k];

            events(from);
            any |= collect(from);
            for (size_t i = 0; i < from->lanes_n; i++) {
                size_t pick = net.harsh ? rnd(&net.seed) % from->lanes_n : i;

                if (from->rc != 0 || to->rc != 0)
                    return;
                any |= deliver(from, to, &from->lanes[pick]);
            }
        }
    }
}

static const struct h3_field extended[] = {H3_FIELD_LIT(":method", "CONNECT"),
                                           H3_FIELD_LIT(":protocol", "connect-ip"),
                                           H3_FIELD_LIT(":scheme", "https"),
                                           H3_FIELD_LIT(":authority", "vpn.example:443"),
                                           H3_FIELD_LIT(":path", "/.well-known/masque/ip/*/*/"),
                                           H3_FIELD_LIT("capsule-protocol", "?1")};
static const struct h3_field get[] = {
    H3_FIELD_LIT(":method", "GET"), H3_FIELD_LIT(":scheme", "https"),
    H3_FIELD_LIT(":authority", "a"), H3_FIELD_LIT(":path", "/")};
static const struct h3_field ok[] = {H3_FIELD_LIT(":status", "200")};
static const struct h3_field hints[] = {H3_FIELD_LIT(":status", "103")};
static const struct h3_field trailer[] = {H3_FIELD_LIT("checksum", "5")};

#define SETTINGS_OF_SERVER "SETTINGS cap=0 blocked=0 size=32768 connect=1 datagram=1\n"
#define SETTINGS_OF_CLIENT "SETTINGS cap=0 blocked=0 size=32768 connect=0 datagram=1\n"

/* How often the line occurs among the events of an end. */
static size_t count_of(const struct end *e, const char *line)
{
    size_t n = 0;

    for (const char *at = e->events.p; (at = strstr(at, line)); at++)
        n++;
    return n;
}

static void assert_has(const struct end *e, const char *line)
{
    if (count_of(e, line) != 1)
        fail_msg("%zu times '%s' in:\n%s", count_of(e, line), line, e->events.p);
}

static void tunnel(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct end *c = &net.end[0], *s = &net.end[1];
        uint64_t id = 99;

        net_open(NULL, NULL, seed);
        assert_null(h3_peer_settings(c->h));
        assert_int_equal(h3_request(c->h, extended, 6, false, &id), QUIC_BLOCKED);
        assert_false(h3_datagram_ready(c->h));
        net_run();
        assert_string_equal(c->events.p, SETTINGS_OF_SERVER);
        assert_string_equal(s->events.p, SETTINGS_OF_CLIENT);
        assert_true(h3_datagram_ready(c->h) && h3_datagram_ready(s->h));
        assert_true(h3_peer_settings(c->h)->enable_connect_protocol);

        assert_int_equal(h3_request(c->h, extended, 6, false, &id), 0);
        assert_int_equal(id, 0);
        assert_int_equal(h3_data(c->h, 0, SPAN_LIT("early"), false), 0);
        net_run();
        assert_has(s, "HEADERS 0 :method=CONNECT :protocol=connect-ip :scheme=https "
                      ":authority=vpn.example:443 :path=/.well-known/masque/ip/*/*/ "
                      "capsule-protocol=?1\nDATA 0 early\n");
        assert_int_equal(h3_data(s->h, 0, SPAN_LIT("no"), false), QUIC_INVAL);
        assert_int_equal(h3_respond(s->h, 0, ok, 1, false), 0);
        assert_int_equal(h3_respond(s->h, 0, ok, 1, false), QUIC_INVAL);
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(h3_data(s->h, 0, SPAN_LIT("down."), false), 0);
            assert_int_equal(h3_data(c->h, 0, SPAN_LIT("up."), false), 0);
        }
        net_run();
        assert_has(c, "HEADERS 0 :status=200\nDATA 0 down.down.down.\n");
        assert_has(s, "DATA 0 earlyup.up.up.\n");
        assert_int_equal(h3_trailers(c->h, 0, trailer, 1), QUIC_INVAL);
        assert_int_equal(h3_trailers(s->h, 0, trailer, 1), QUIC_INVAL);

        assert_int_equal(h3_data(c->h, 0, SPAN_LIT("last"), true), 0);
        assert_int_equal(h3_data(c->h, 0, SPAN_LIT("more"), false), QUIC_CLOSED);
        net_run();
        assert_has(s, "DATA 0 earlyup.up.up.last\nFIN 0\n");
        assert_int_equal(h3_data(s->h, 0, span_of(NULL, 0), true), 0);
        net_run();
        assert_has(c, "FIN 0\n");
        assert_int_equal(h3_out_queued(c->h) + h3_out_queued(s->h), 0);
        h3_stream_done(c->h, 0);
        h3_stream_done(s->h, 0);
        assert_int_equal(h3_request_count(c->h) + h3_request_count(s->h), 0);
        assert_int_equal(h3_data(c->h, 0, SPAN_LIT("x"), false), QUIC_CLOSED);
        assert_int_equal(c->rc, 0);
        assert_int_equal(s->rc, 0);
        net_close();
    }
}

static void messages(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct end *c = &net.end[0], *s = &net.end[1];
        struct h3_field post[6];
        uint64_t id;

        net_open(NULL, NULL, seed);
        memcpy(post, get, sizeof(get));
        post[0] = h3_field_str(":method", "POST");
        post[4] = h3_field_str("content-length", "5");
        post[5] = h3_field_secret(h3_field_str("authorization", "Bearer k"));
        assert_int_equal(h3_request(c->h, post, 6, false, &id), 0);
        assert_int_equal(h3_data(c->h, id, SPAN_LIT("abc"), false), 0);
        assert_int_equal(h3_data(c->h, id, span_of(NULL, 0), false), 0);
        assert_int_equal(h3_data(c->h, id, SPAN_LIT("de"), false), 0);
        assert_int_equal(h3_trailers(c->h, id, trailer, 1), 0);
        assert_int_equal(h3_trailers(c->h, id, trailer, 1), QUIC_CLOSED);
        assert_int_equal(h3_request(c->h, get, 4, true, &id), 0);
        assert_int_equal(id, 4);
        assert_int_equal(h3_data(c->h, id, SPAN_LIT("x"), false), QUIC_CLOSED);
        net_run();
        assert_has(s, "HEADERS 0 :method=POST :scheme=https :authority=a :path=/ "
                      "content-length=5 authorization=Bearer k!\n");
        assert_has(s, "TRAILERS 0 checksum=5\n");
        assert_has(s, "FIN 0\n");
        assert_has(s, "HEADERS 4 :method=GET :scheme=https :authority=a :path=/\n");
        assert_has(s, "FIN 4\n");
        assert_int_equal(h3_respond(s->h, 0, hints, 1, true), QUIC_INVAL);
        assert_int_equal(h3_respond(s->h, 0, hints, 1, false), 0);
        assert_int_equal(h3_data(s->h, 0, SPAN_LIT("x"), false), QUIC_INVAL);
        assert_int_equal(h3_trailers(s->h, 0, trailer, 1), QUIC_INVAL);
        assert_int_equal(h3_respond(s->h, 0, hints, 1, false), 0);
        assert_int_equal(h3_respond(s->h, 0, ok, 1, false), 0);
        assert_int_equal(h3_data(s->h, 0, SPAN_LIT("body"), false), 0);
        assert_int_equal(h3_trailers(s->h, 0, trailer, 1), 0);
        net_run();
        assert_int_equal(h3_respond(s->h, 4, ok, 1, true), 0);
        assert_int_equal(h3_respond(s->h, 4, ok, 1, true), QUIC_CLOSED);
        net_run();
        assert_int_equal(count_of(c, "interim"), 2);
        assert_has(c, "HEADERS 0 :status=200\n");
        assert_has(c, "DATA 0 body\n");
        assert_has(c, "TRAILERS 0 checksum=5\n");
        assert_has(c, "FIN 0\n");
        assert_has(c, "HEADERS 4 :status=200\n");
        assert_has(c, "FIN 4\n");
        net_close();
    }
}

/* What the user may not do is refused with nothing changed. */
static void refused(void **state)
{
    struct h3_config no_extension = {.max_out_bytes = 1000, .max_field_section_size = 300};
    struct end *c = &net.end[0], *s = &net.end[1];
    static const uint8_t zero[1200];
    struct h3_field bad[5];
    uint64_t id;

    (void)state;
    net_open(NULL, &no_extension, 0);
    net_run();
    memcpy(bad, get, sizeof(get));
    bad[4] = h3_field_str("Upper", "x");
    assert_int_equal(h3_request(c->h, bad, 5, true, &id), QUIC_INVAL);
    bad[4] = h3_field_str("connection", "close");
    assert_int_equal(h3_request(c->h, bad, 5, true, &id), QUIC_INVAL);
    assert_int_equal(h3_request(c->h, get, 3, true, &id), QUIC_INVAL);
    assert_int_equal(h3_request(c->h, extended, 6, false, &id), QUIC_INVAL);
    bad[4] = h3_field_span(
        "x", span_of("yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
                     "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
                     119));
    assert_int_equal(h3_fields_size(bad, 5), 319);
    assert_int_equal(h3_request(c->h, bad, 5, true, &id), QUIC_TOOBIG);
    bad[4].value.n = 100; /* just the peer's limit */
    assert_int_equal(h3_fields_size(bad, 5), 300);
    assert_int_equal(h3_request(c->h, bad, 5, false, &id), 0);
    assert_int_equal(id, 0);
    assert_int_equal(h3_respond(c->h, 0, ok, 1, true), QUIC_INVAL);
    assert_int_equal(h3_data(c->h, 4, SPAN_LIT("x"), true), QUIC_CLOSED);
    assert_int_equal(h3_data(c->h, 2, SPAN_LIT("x"), true), QUIC_CLOSED);
    assert_int_equal(h3_trailers(c->h, 0, ok, 1), QUIC_INVAL);
    assert_int_equal(h3_reset(c->h, 4, 0), QUIC_CLOSED);
    net_run();
    assert_int_equal(h3_request(s->h, get, 4, true, &id), QUIC_INVAL);
    assert_int_equal(h3_respond(s->h, 4, ok, 1, true), QUIC_CLOSED);
    assert_int_equal(h3_respond(s->h, 3, ok, 1, true), QUIC_CLOSED);
    assert_int_equal(h3_respond(s->h, 0, get, 4, true), QUIC_INVAL);
    assert_int_equal(h3_respond(s->h, 0, trailer, 1, true), QUIC_INVAL);
    assert_int_equal(h3_respond(s->h, 0, ok, 1, false), 0);
    assert_int_equal(h3_data(s->h, 0, span_of(zero, 1001), false), QUIC_TOOBIG);
    assert_int_equal(h3_data(s->h, 0, span_of(zero, 900), false), 0);
    assert_int_equal(h3_data(s->h, 0, span_of(zero, 100), false), QUIC_BLOCKED);
    assert_int_equal(h3_trailers(s->h, 0, trailer, 1), 0);
    net_run();
    assert_int_equal(h3_out_queued(s->h), 0);
    net_close();
}

static void goaway(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct end *c = &net.end[0], *s = &net.end[1];
        uint64_t id;

        net_open(NULL, NULL, seed);
        assert_int_equal(h3_request(c->h, get, 4, true, &id), 0);
        net_run();
        assert_int_equal(h3_goaway(s->h), 0);
        assert_int_equal(h3_goaway(s->h), 0);
        assert_int_equal(h3_request(c->h, get, 4, true, &id), 0); /* on its way already */
        assert_int_equal(id, 4);
        net_run();
        assert_has(c, "GOAWAY 4\n");
        assert_has(s, "ABORT 4 H3_REQUEST_REJECTED\n");
        assert_has(c, "RESET 4 0x10b\n");
        assert_int_equal(h3_request(c->h, get, 4, true, &id), QUIC_CLOSED);
        assert_int_equal(h3_respond(s->h, 4, ok, 1, true), QUIC_CLOSED);
        assert_int_equal(h3_respond(s->h, 0, ok, 1, true), 0); /* the older one is served */
        net_run();
        assert_has(c, "HEADERS 0 :status=200\n");
        assert_has(c, "FIN 0\n");
        assert_int_equal(h3_goaway(c->h), 0);
        net_run();
        assert_has(s, "GOAWAY 0\n");
        assert_int_equal(c->rc + s->rc, 0);
        net_close();
    }
}

static void resets(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct end *c = &net.end[0], *s = &net.end[1];
        uint64_t id;

        net_open(NULL, NULL, seed);
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(h3_request(c->h, get, 4, false, &id), 0);
            assert_int_equal(h3_data(c->h, id, SPAN_LIT("abc"), false), 0);
        }
        /* given up before its first byte left: the number is used up all the same */
        assert_int_equal(h3_request(c->h, get, 4, false, &id), 0);
        assert_int_equal(h3_reset(c->h, id, H3_REQUEST_CANCELLED), 0);
        assert_int_equal(h3_reset(c->h, id, H3_REQUEST_CANCELLED), QUIC_CLOSED);
        assert_int_equal(h3_request(c->h, get, 4, true, &id), 0);
        net_run();
        assert_has(c, "ABORT 12 H3_REQUEST_CANCELLED\n");
        assert_has(s, "ABORT 12 H3_REQUEST_REJECTED\n");
        assert_has(s, "HEADERS 16 ");
        /* by the client, after the request was seen */
        assert_int_equal(h3_reset(c->h, 0, H3_REQUEST_CANCELLED), 0);
        /* by the server, before and after an answer */
        assert_int_equal(h3_reset(s->h, 4, H3_REQUEST_REJECTED), 0);
        assert_int_equal(h3_respond(s->h, 8, ok, 1, false), 0);
        net_run();
        assert_int_equal(h3_reset(s->h, 8, H3_CONNECT_ERROR), 0);
        assert_int_equal(h3_data(s->h, 8, SPAN_LIT("x"), true), QUIC_CLOSED);
        net_run();
        assert_has(c, "ABORT 0 H3_REQUEST_CANCELLED\n");
        assert_has(s, "RESET 0 0x10c\n");
        assert_has(s, "STOPPED 0 0x10c\n");
        assert_int_equal(h3_respond(s->h, 0, ok, 1, true), QUIC_CLOSED);
        assert_has(c, "RESET 4 0x10b\n");
        assert_has(c, "STOPPED 4 0x10b\n");
        assert_int_equal(h3_data(c->h, 4, SPAN_LIT("x"), true), QUIC_CLOSED);
        assert_has(c, "HEADERS 8 :status=200\n");
        assert_has(c, "RESET 8 0x10f\n");
        assert_int_equal(c->rc + s->rc, 0);
        net_close();
    }
}

/* Requests that are reset at once end the connection, unless as many end well. */
static void rapid_reset(void **state)
{
    struct h3_config cfg = {.server = true, .max_resets = 20, .max_requests = 10};
    static const uint8_t request[] = {0x01, 0x08, 0, 0, 0xd1, 0xd7, 0xc1, 0x50, 0x01, 0x61};
    static struct text t;
    struct h3_conn *h = h3_conn_new(&cfg);
    uint64_t id = 0;
    struct h3_out out;

    (void)state;
    text_clear(&t);
    for (size_t i = 0; i < 500; i++, id += 8) {
        assert_int_equal(feed(h, id, span_of(request, sizeof(request)), false, &t), 0);
        assert_int_equal(h3_stream_reset(h, id, H3_REQUEST_CANCELLED), 0);
        assert_int_equal(h3_stream_stopped(h, id, H3_REQUEST_CANCELLED), 0);
        h3_stream_done(h, id);
        assert_int_equal(feed(h, id + 4, span_of(request, sizeof(request)), true, &t), 0);
        assert_int_equal(h3_respond(h, id + 4, ok, 1, true), 0);
        while (h3_next_out(h, &out))
            h3_out_done(h, out.stream_id, out.bytes.n, out.fin);
        h3_stream_done(h, id + 4);
        text_clear(&t);
    }
    /* resets, requests cut off and malformed ones count alike */
    for (size_t i = 0; i < 20; i++, id += 4) {
        if (i % 3 == 0) {
            assert_int_equal(feed(h, id, span_of("\x01\x02\0\0", 4), false, &t), 0);
        } else {
            assert_int_equal(feed(h, id, span_of(request, i % 3 == 1 ? 10 : 5), false, &t), 0);
            assert_int_equal(h3_stream_reset(h, id, 0), 0);
        }
        h3_stream_done(h, id);
    }
    assert_int_equal(feed(h, id, span_of(request, sizeof(request)), false, &t), 0);
    assert_int_equal(h3_stream_reset(h, id, 0), H3_EXCESSIVE_LOAD);
    h3_conn_del(h);
}

static void request_limit(void **state)
{
    struct h3_config cfg = {.max_requests = 4};
    struct end *c = &net.end[0], *s = &net.end[1];
    uint64_t id;

    (void)state;
    net_open(&cfg, NULL, 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(h3_request(c->h, get, 4, true, &id), 0);
    assert_int_equal(h3_request(c->h, get, 4, true, &id), QUIC_BLOCKED);
    h3_stream_done(c->h, 4);
    assert_int_equal(h3_request_count(c->h), 3);
    assert_int_equal(h3_request(c->h, get, 4, true, &id), 0);
    assert_int_equal(id, 16);
    net_close();

    net_open(NULL, &cfg, 0);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(h3_request(c->h, get, 4, true, &id), 0);
    net_run();
    assert_int_equal(s->rc, H3_EXCESSIVE_LOAD);
    net_close();
}

/* Events wait until they are pulled, and the borrowed ones hold back the rest. */
static void unpulled(void **state)
{
    struct h3_config cfg = {.server = true};
    static const uint8_t request[] = {0x01, 0x08, 0,    0,    0xd4, 0xd7, 0xc1,
                                      0x50, 0x01, 0x61, 0x00, 0x01, 0x62};
    struct h3_conn *h = h3_conn_new(&cfg);
    struct h3_event ev;
    size_t used;

    (void)state;
    assert_int_equal(h3_recv(h, 0, span_of(request, 13), false, &used), 0);
    assert_int_equal(used, 10);
    assert_int_equal(h3_recv(h, 0, span_of(request + 10, 3), false, &used), QUIC_BLOCKED);
    assert_int_equal(used, 0);
    assert_int_equal(h3_stream_reset(h, 0, 7), 0);
    assert_true(h3_next_event(h, &ev));
    assert_int_equal(ev.type, H3_EV_HEADERS);
    assert_true(h3_span_is(h3_fields_value(ev.fields, ev.count, ":method"), "POST"));
    assert_true(h3_next_event(h, &ev));
    assert_int_equal(ev.type, H3_EV_RESET);
    assert_int_equal(ev.code, 7);
    assert_false(h3_next_event(h, &ev));
    /* a stream that is done takes its events along */
    assert_int_equal(h3_recv(h, 4, span_of(request, 10), true, &used), 0);
    h3_stream_done(h, 4);
    assert_false(h3_next_event(h, &ev));
    assert_int_equal(h3_recv(h, 8, span_of(request, 13), false, &used), 0);
    h3_conn_del(h);
}

/* The first bytes of each role, to the bit. */
static void first_bytes(void **state)
{
    static const struct {
        struct h3_config cfg;
        const char *control;
    } rows[] = {
        {{.server = false, .h3_datagram = true}, "00 0407 0680008000 3301"},
        {{.server = true, .h3_datagram = true, .enable_connect_protocol = true},
         "00 0409 0680008000 0801 3301"},
        {{.server = true, .max_field_section_size = 63, .grease = 1}, "00 0405 063f 4040 00"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct h3_conn *h = h3_conn_new(&rows[i].cfg);
        uint64_t first = rows[i].cfg.server ? 3 : 2;
        uint8_t want[3][32] = {{0}, {0x02}, {0x03}};
        size_t n[3] = {unhex(rows[i].control, want[0], 32), 1, 1};
        struct h3_out out;

        for (size_t k = 0; k < 3; k++) {
            assert_true(h3_next_out(h, &out));
            assert_int_equal(out.stream_id, first + 4 * k);
            assert_int_equal(out.bytes.n, n[k]);
            assert_memory_equal(out.bytes.p, want[k], n[k]);
            assert_false(out.fin);
            h3_out_blocked(h, out.stream_id);
            assert_false(h3_next_out(h, &out)); /* none may be opened before this one */
            h3_out_unblocked(h, out.stream_id);
            assert_true(h3_next_out(h, &out));
            h3_out_done(h, out.stream_id, out.bytes.n, false);
        }
        assert_false(h3_next_out(h, &out));
        h3_conn_del(h);
    }
}

static void keep_line(void *ctx, enum log_level level, const char *line)
{
    (void)level;
    say(ctx, "%s\n", line);
}

/* Why something failed is told, in the log and for CONNECTION_CLOSE. */
static void reasons(void **state)
{
    static struct text lines, t;
    struct log log = {keep_line, &lines, LOG_DEBUG};
    struct h3_config cfg = {.server = true, .log = &log};
    struct h3_conn *h = h3_conn_new(&cfg);
    uint64_t seed = 1;

    (void)state;
    text_clear(&lines);
    text_clear(&t);
    assert_string_equal(h3_fail_text(h), "");
    assert_int_equal(step(h, "0:0108 0000 d1 d7 c1 50 0161;", 1, &seed, &t), 0);
    assert_int_equal(h3_respond(h, 0, trailer, 1, true), QUIC_INVAL);
    assert_int_equal(step(h, "4:0102 0000", 1, &seed, &t), 0);
    assert_int_equal(step(h, "0:0403", 1, &seed, &t), H3_FRAME_UNEXPECTED);
    assert_string_equal(h3_fail_text(h), "frame not allowed on a request stream");
    assert_string_equal(lines.p, "h3: malformed section not sent: no :status\n"
                                 "h3: stream 4: H3_MESSAGE_ERROR: no valid :method\n"
                                 "h3: stream 0, frame SETTINGS (0x4) of 3 bytes\n"
                                 "h3: connection error H3_FRAME_UNEXPECTED: "
                                 "frame not allowed on a request stream\n");
    h3_conn_del(h);
}

/* A request that was given up unopened holds back later ones until its ABORT is known. */
static void numbers_in_step(void **state)
{
    struct h3_config cfg = {.server = false};
    struct h3_conn *h = h3_conn_new(&cfg);
    struct h3_event ev;
    struct h3_out out;
    uint64_t id;

    (void)state;
    while (h3_next_out(h, &out))
        h3_out_done(h, out.stream_id, out.bytes.n, out.fin);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(h3_request(h, get, 4, true, &id), 0);
    assert_int_equal(h3_reset(h, 0, H3_REQUEST_CANCELLED), 0);
    assert_false(h3_next_out(h, &out));
    assert_true(h3_next_event(h, &ev));
    assert_int_equal(ev.type, H3_EV_ABORT);
    assert_true(h3_next_out(h, &out));
    assert_int_equal(out.stream_id, 4);
    h3_out_blocked(h, 4);
    assert_false(h3_next_out(h, &out));
    h3_stream_done(h, 4); /* as if the transport had finished it */
    assert_true(h3_next_out(h, &out));
    assert_int_equal(out.stream_id, 8);
    h3_conn_check(h);
    h3_conn_del(h);
}

/* Long bodies take turns, a quantum each, and the control stream goes before them. */
static void output_turns(void **state)
{
    struct h3_config cfg = {.max_out_bytes = 1 << 20};
    struct h3_conn *h = h3_conn_new(&cfg);
    static const uint8_t body[100000];
    uint64_t id, last = 99;
    struct h3_out out;
    size_t turns = 0;

    (void)state;
    while (h3_next_out(h, &out))
        h3_out_done(h, out.stream_id, out.bytes.n, out.fin);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(h3_request(h, get, 4, false, &id), 0);
        assert_int_equal(h3_data(h, id, span_of(body, sizeof(body)), true), 0);
    }
    assert_int_equal(h3_goaway(h), 0);
    assert_true(h3_next_out(h, &out));
    assert_int_equal(out.stream_id, 2);
    h3_out_done(h, 2, out.bytes.n, false);
    for (; h3_next_out(h, &out); turns++) {
        assert_int_not_equal(out.stream_id, last);
        assert_true(out.bytes.n == H3_OUT_QUANTUM || out.fin);
        last = out.stream_id;
        h3_out_done(h, out.stream_id, out.bytes.n, out.fin);
    }
    assert_int_equal(turns, 3 * 7);
    assert_int_equal(h3_out_queued(h), 0);
    h3_conn_del(h);
}

/* --- a long random run: what was sent is what comes out --- */

static struct {
    uint64_t sent[2][STREAMS], got[2][STREAMS]; /* sums of bytes, by end and request */
    bool open[2][STREAMS], answered[STREAMS], fin[2][STREAMS];
} tally;

static void on_soak(struct end *e, const struct h3_event *ev)
{
    size_t k = ev->stream_id / 4, side = e == &net.end[1];

    if (ev->type == H3_EV_DATA)
        for (size_t i = 0; i < ev->data.n; i++)
            tally.got[side][k] = tally.got[side][k] * 31 + ev->data.p[i];
    if (ev->type == H3_EV_FIN)
        tally.fin[side][k] = true;
    if (ev->type == H3_EV_HEADERS && side == 1)
        tally.open[1][k] = true;
    text_clear(&e->events);
}

static void soak_write(size_t side, size_t k, uint64_t *seed)
{
    static uint8_t bytes[5000];
    size_t n = rnd(seed) % (rnd(seed) % 4 ? 50 : sizeof(bytes));
    bool fin = rnd(seed) % 16 == 0;
    int rc;

    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)rnd(seed);
    rc = h3_data(net.end[side].h, 4 * k, span_of(bytes, n), fin);
    assert_true(rc == 0 || rc == QUIC_BLOCKED);
    if (rc != 0)
        return;
    for (size_t i = 0; i < n; i++)
        tally.sent[side][k] = tally.sent[side][k] * 31 + bytes[i];
    tally.open[side][k] = !fin;
}

static void soak(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        uint64_t id, made = 0;
        struct h3_config cfg = {.max_out_bytes = 8000};
        uint64_t dice = seed;

        memset(&tally, 0, sizeof(tally));
        net_open(&cfg, &cfg, seed);
        net.end[0].on_event = net.end[1].on_event = on_soak;
        for (size_t round = 0; round < 400; round++) {
            size_t k = made ? rnd(&dice) % made : 0;

            if (made < STREAMS - 8 && rnd(&dice) % 8 == 0 &&
                h3_request(net.end[0].h, get, 4, false, &id) == 0) {
                assert_int_equal(id, 4 * made);
                tally.open[0][made++] = true;
            } else if (made && tally.open[0][k] && rnd(&dice) % 2) {
                soak_write(0, k, &dice);
            } else if (made && tally.open[1][k]) {
                if (!tally.answered[k])
                    tally.answered[k] = h3_respond(net.end[1].h, 4 * k, ok, 1, false) == 0;
                else
                    soak_write(1, k, &dice);
            }
            if (rnd(&dice) % 8 == 0)
                net_run();
        }
        for (size_t k = 0; k < made; k++) { /* end what is open */
            net_run();
            if (tally.open[0][k])
                assert_int_equal(h3_data(net.end[0].h, 4 * k, span_of(NULL, 0), true), 0);
            if (!tally.answered[k])
                assert_int_equal(h3_respond(net.end[1].h, 4 * k, ok, 1, true), 0);
            else if (tally.open[1][k])
                assert_int_equal(h3_data(net.end[1].h, 4 * k, span_of(NULL, 0), true), 0);
        }
        net_run();
        for (size_t k = 0; k < made; k++) {
            assert_true(tally.fin[0][k] && tally.fin[1][k]);
            assert_true(tally.got[1][k] == tally.sent[0][k]);
            assert_true(tally.got[0][k] == tally.sent[1][k]);
            h3_stream_done(net.end[0].h, 4 * k);
            h3_stream_done(net.end[1].h, 4 * k);
        }
        assert_int_equal(h3_request_count(net.end[0].h) + h3_request_count(net.end[1].h), 0);
        assert_true(made > 20);
        net_close();
    }
}

/* --- every allocation fails once --- */

#if defined(__SANITIZE_ADDRESS__)
#define OWN_MALLOC 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OWN_MALLOC 0
#endif
#endif
#if !defined(OWN_MALLOC) && defined(__GLIBC__)
#define OWN_MALLOC 1
#endif

#if OWN_MALLOC

static size_t fail_at, allocations;
static long live;

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t k, size_t n);
void *__libc_realloc(void *p, size_t n);
void __libc_free(void *p);

/* Whether this allocation is the one to fail. */
static bool unlucky(void)
{
    return fail_at && ++allocations == fail_at;
}

void *malloc(size_t n)
{
    void *p = unlucky() ? NULL : __libc_malloc(n);

    live += p != NULL;
    return p;
}

void *calloc(size_t k, size_t n)
{
    void *p = unlucky() ? NULL : __libc_calloc(k, n);

    live += p != NULL;
    return p;
}

void *realloc(void *p, size_t n)
{
    void *q = unlucky() ? NULL : __libc_realloc(p, n);

    live += q && !p;
    return q;
}

void free(void *p)
{
    live -= p != NULL;
    __libc_free(p);
}

/* The set-up of a connection and a stream; says whether anything was short of memory. */
static bool short_of_memory(void)
{
    static const uint8_t request[] = {0x01, 0x08, 0, 0, 0xd1, 0xd7, 0xc1, 0x50, 0x01, 0x61};
    static const struct h3_config cfg[2] = {{.server = false}, {.server = true}};
    static struct text t;
    struct h3_conn *c = h3_conn_new(&cfg[0]), *s = h3_conn_new(&cfg[1]);
    bool seen = !c || !s;
    uint64_t id;
    int rc;

    text_clear(&t);
    if (c) {
        rc = h3_request(c, get, 4, false, &id);
        assert_true(rc == 0 || rc == QUIC_NOMEM);
        assert_int_equal(h3_request_count(c), rc == 0);
        seen |= rc != 0;
        if (rc == 0) {
            static const uint8_t body[600];

            rc = h3_data(c, id, span_of(body, sizeof(body)), false);
            assert_true(rc == 0 || rc == QUIC_NOMEM);
            seen |= rc != 0;
        }
        h3_conn_check(c);
    }
    if (s) {
        size_t used;
        struct h3_event ev;

        rc = h3_recv(s, 0, span_of(request, 5), false, &used);
        if (rc == 0)
            rc = h3_recv(s, 0, span_of(request + 5, 5), false, &used);
        assert_true(rc == 0 || rc == H3_INTERNAL_ERROR);
        seen |= rc != 0;
        assert_int_equal(h3_next_event(s, &ev), rc == 0);
        if (rc == 0) {
            rc = h3_respond(s, 0, ok, 1, true);
            assert_true(rc == 0 || rc == QUIC_NOMEM);
            seen |= rc != 0;
        }
        h3_conn_check(s);
    }
    h3_conn_del(c);
    h3_conn_del(s);
    return seen;
}

static void allocation_sweep(void **state)
{
    size_t n = 1;
    bool seen;

    (void)state;
    do {
        long before = live;

        allocations = 0;
        fail_at = n;
        seen = short_of_memory();
        fail_at = 0;
        assert_int_equal(live, before);
        assert_int_equal(seen, allocations >= n);
    } while (seen && ++n < 1000);
    assert_true(n > 12);
    print_message("%zu allocations, each failed once\n", n - 1);
}

#else

static void allocation_sweep(void **state)
{
    (void)state;
    print_message("the allocator is the sanitizer's: skipped\n");
    skip();
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tunnel),        cmocka_unit_test(messages),
        cmocka_unit_test(refused),       cmocka_unit_test(goaway),
        cmocka_unit_test(resets),        cmocka_unit_test(rapid_reset),
        cmocka_unit_test(request_limit), cmocka_unit_test(unpulled),
        cmocka_unit_test(first_bytes),   cmocka_unit_test(numbers_in_step),
        cmocka_unit_test(reasons),       cmocka_unit_test(output_turns),
        cmocka_unit_test(soak),          cmocka_unit_test(allocation_sweep),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
