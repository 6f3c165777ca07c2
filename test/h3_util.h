/*
 * h3_util - what the tests of HTTP/3 share: hexadecimal bytes, a repeatable random
 * source, and events as lines of text, so that whole sequences compare as strings.
 */
#ifndef TEST_H3_UTIL_H
#define TEST_H3_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "h3/h3.h"
#include "test/rnd.h"

/* Bytes of a text of hexadecimal digits and blanks; returns their number. */
static inline size_t unhex(const char *text, uint8_t *out, size_t max)
{
    size_t n = 0;
    unsigned byte;

    for (; *text; text += *text == ' ' ? 1 : 2) {
        if (*text == ' ')
            continue;
        assert_true(n < max && sscanf(text, "%2x", &byte) == 1);
        out[n++] = (uint8_t)byte;
    }
    return n;
}

/* A text that grows in place; too much is a failure of the test. */
struct text {
    size_t n;
    uint64_t data_id; /* the stream of a DATA line that ends at `data_end` */
    size_t data_end;
    char p[1 << 17];
};

__attribute__((format(printf, 2, 3))) static inline void say(struct text *t, const char *fmt,
                                                             ...)
{
    va_list ap;
    int k;

    va_start(ap, fmt);
    k = vsnprintf(t->p + t->n, sizeof(t->p) - t->n, fmt, ap);
    va_end(ap);
    assert_true(k >= 0 && (size_t)k < sizeof(t->p) - t->n);
    t->n += (size_t)k;
}

static inline void say_fields(struct text *t, const struct h3_field *f, size_t n)
{
    for (size_t i = 0; i < n; i++)
        say(t, " %.*s=%.*s%s", (int)f[i].name.n, (const char *)f[i].name.p, (int)f[i].value.n,
            (const char *)f[i].value.p, f[i].never_index ? "!" : "");
}

/*
 * One event as a line, without what depends on how the bytes were split: the `fin`
 * hint of HEADERS, and where one DATA event ends and the next of its stream begins.
 */
static inline void say_event(struct text *t, const struct h3_event *ev)
{
    unsigned long long id = ev->stream_id;

    switch (ev->type) {
    case H3_EV_SETTINGS:
        say(t, "SETTINGS cap=%llu blocked=%llu size=%lld connect=%d datagram=%d\n",
            (unsigned long long)ev->settings->qpack_max_table_capacity,
            (unsigned long long)ev->settings->qpack_blocked_streams,
            (long long)ev->settings->max_field_section_size,
            ev->settings->enable_connect_protocol, ev->settings->h3_datagram);
        break;
    case H3_EV_HEADERS:
        say(t, "%s %llu", ev->trailers ? "TRAILERS" : "HEADERS", id);
        if (ev->status)
            say(t, "%s", ev->informational ? " interim" : "");
        say_fields(t, ev->fields, ev->count);
        say(t, "\n");
        break;
    case H3_EV_DATA:
        assert_true(ev->data.n > 0);
        if (t->n > 0 && t->data_end == t->n && t->data_id == id)
            t->n--; /* goes on */
        else
            say(t, "DATA %llu ", id);
        for (size_t i = 0; i < ev->data.n; i++)
            say(t, "%c", ev->data.p[i] >= 0x20 && ev->data.p[i] < 0x7f ? ev->data.p[i] : '?');
        say(t, "\n");
        t->data_id = id;
        t->data_end = t->n;
        break;
    case H3_EV_FIN:
        say(t, "FIN %llu\n", id);
        break;
    case H3_EV_RESET:
        say(t, "RESET %llu 0x%llx\n", id, (unsigned long long)ev->code);
        break;
    case H3_EV_STOPPED:
        say(t, "STOPPED %llu 0x%llx\n", id, (unsigned long long)ev->code);
        break;
    case H3_EV_GOAWAY:
        say(t, "GOAWAY %llu\n", (unsigned long long)ev->goaway_id);
        break;
    case H3_EV_ABORT:
        say(t, "ABORT %llu %s\n", id, h3_error_name(ev->code));
        break;
    default:
        fail_msg("event of type %d", (int)ev->type);
    }
}

static inline void text_clear(struct text *t)
{
    t->n = t->data_end = 0;
    t->p[0] = 0;
}

/* --- scripts of what a peer sends --- */

/* A row of a table: what comes in, and what must come of it however it is split. */
struct script {
    bool server;         /* we are */
    const char *request; /* client: GET, HEAD, CONNECT or EXTENDED, made on stream 0 */
    /*
     * Steps parted by ';', each with the number of a stream first: ':' and hexadecimal
     * bytes, with '!' behind them when they end the stream; 'R' and a code for a reset,
     * 'S' and a code for STOP_SENDING; 'D' when the transport is done with it.
     */
    const char *in;
    int rc; /* of the step at which the script ends, 0 for all */
    const char *events;
};

/* SETTINGS on the peer's control stream, in a message of its own. */
#define SETTINGS_C "2:00 04 00;"
#define SETTINGS_S "3:00 04 04 0801 3301;"

static inline void drain(struct h3_conn *h, struct text *t)
{
    struct h3_event ev;

    while (h3_next_event(h, &ev))
        say_event(t, &ev);
    h3_conn_check(h);
}

/* Hand over bytes as the contract says: the rest again, events in between. */
static inline int feed(struct h3_conn *h, uint64_t id, struct span in, bool fin, struct text *t)
{
    int rc;

    do {
        uint8_t *copy = malloc(in.n + !in.n); /* exactly as long: a read beyond it shows */
        size_t used, n = in.n;

        if (in.n > 0)
            memcpy(copy, in.p, in.n);
        rc = h3_recv(h, id, span_of(copy, in.n), fin, &used);
        assert_true(used <= in.n);
        drain(h, t);
        free(copy);
        if (n > 0)
            in = span_of(in.p + used, in.n - used);
        assert_true(rc != 0 || used > 0 || n == 0); /* it goes on */
    } while (rc == 0 && in.n > 0);
    return rc;
}

/* The same in pieces: `step` bytes each, or of random length if it is 0. */
static inline int feed_split(struct h3_conn *h, uint64_t id, struct span in, bool fin,
                             size_t step, uint64_t *seed, struct text *t)
{
    int rc;

    do {
        size_t n = step ? step : rnd(seed) % 9;

        if (n > in.n)
            n = in.n;
        rc = feed(h, id, span_of(in.p, n), fin && n == in.n && step != 1, t);
        if (rc == 0 && fin && n == in.n && step == 1)
            rc = feed(h, id, span_of(NULL, 0), true, t); /* the end by itself */
        in = span_of(in.p + n, in.n - n);
    } while (rc == 0 && in.n > 0);
    return rc;
}

static inline void make_request(struct h3_conn *h, const char *method)
{
    struct h3_field f[8] = {H3_FIELD_LIT(":method", ""), H3_FIELD_LIT(":authority", "a:443")};
    bool plain = strcmp(method, "CONNECT") == 0, extended = strcmp(method, "EXTENDED") == 0;
    static const uint8_t settings[] = {0x00, 0x04, 0x02, 0x08, 0x01};
    static struct text t;
    uint64_t id;
    size_t n = 2;

    f[0].value = span_of(method, strlen(method));
    if (extended) {
        f[0].value = SPAN_LIT("CONNECT");
        f[n++] = h3_field_str(":protocol", "connect-ip");
        text_clear(&t);
        assert_int_equal(feed(h, 3, span_of(settings, sizeof(settings)), false, &t), 0);
    }
    if (!plain) {
        f[n++] = h3_field_str(":scheme", "https");
        f[n++] = h3_field_str(":path", "/");
    }
    assert_int_equal(h3_request(h, f, n, false, &id), 0);
    assert_int_equal(id, 0);
}

static inline int step(struct h3_conn *h, const char *at, size_t split, uint64_t *seed,
                       struct text *t)
{
    uint8_t bytes[2048];
    unsigned long long code;
    char kind, hex[4096], *end;
    uint64_t id = strtoull(at, &end, 10);
    size_t len;
    bool fin;
    int rc = 0;

    kind = *end++;
    len = strcspn(end, ";");
    assert_true(len < sizeof(hex));
    memcpy(hex, end, len);
    hex[len] = 0;
    code = strtoull(hex, NULL, 16);
    switch (kind) {
    case ':':
        fin = len > 0 && hex[len - 1] == '!';
        hex[len - fin] = 0;
        return feed_split(h, id, span_of(bytes, unhex(hex, bytes, sizeof(bytes))), fin, split,
                          seed, t);
    case 'R':
        rc = h3_stream_reset(h, id, code);
        break;
    case 'S':
        rc = h3_stream_stopped(h, id, code);
        break;
    case 'D':
        h3_stream_done(h, id);
        break;
    default:
        fail_msg("step '%s'", at);
    }
    drain(h, t);
    return rc;
}

static inline void play(const struct script *s, size_t split, uint64_t seed, struct text *t)
{
    struct h3_config cfg = {.server = s->server,
                            .enable_connect_protocol = s->server,
                            .h3_datagram = true,
                            .max_field_section_size = 512};
    struct h3_conn *h = h3_conn_new(&cfg);
    const char *at = s->in;
    int rc = 0;

    if (s->request)
        make_request(h, s->request);
    text_clear(t);
    while (rc == 0 && *at) {
        rc = step(h, at, split, &seed, t);
        at += strcspn(at, ";");
        at += *at == ';';
    }
    if (rc != s->rc)
        fail_msg("%s: %s instead of %s (%s), after:\n%s", s->in, h3_error_name((uint64_t)rc),
                 h3_error_name((uint64_t)s->rc), h3_fail_text(h), t->p);
    if (rc > 0) { /* it stays failed */
        size_t used;

        assert_int_equal(h3_recv(h, s->server ? 0 : 3, span_of("", 0), false, &used), rc);
        assert_string_not_equal(h3_fail_text(h), "");
    }
    h3_conn_del(h);
}

/* Play a table: each row in one piece, byte by byte, and in random pieces. */
static inline void play_all(const struct script *rows, size_t n)
{
    static struct text t;

    for (size_t i = 0; i < n; i++) {
        for (uint64_t run = 0; run < 40; run++) {
            size_t split = run == 0 ? SIZE_MAX : run == 1 ? 1 : run == 2 ? 2 : 0;

            play(&rows[i], split, run, &t);
            if (strcmp(t.p, rows[i].events) != 0)
                fail_msg("%s\nrun %d gives:\n%s\ninstead of:\n%s", rows[i].in, (int)run, t.p,
                         rows[i].events);
        }
    }
}

#endif
