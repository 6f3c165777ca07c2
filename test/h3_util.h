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

/* splitmix64: any seed will do, 0 included. */
static inline uint64_t rnd(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

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
    static uint64_t data_id;
    static struct text *data_in;
    static size_t data_end;
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
        if (data_in == t && data_end == t->n && data_id == id)
            t->n--; /* goes on */
        else
            say(t, "DATA %llu ", id);
        for (size_t i = 0; i < ev->data.n; i++)
            say(t, "%c", ev->data.p[i] >= 0x20 && ev->data.p[i] < 0x7f ? ev->data.p[i] : '?');
        say(t, "\n");
        data_in = t;
        data_id = id;
        data_end = t->n;
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

/* Start a text anew, so that a DATA line is not taken for the end of an older one. */
static inline void text_clear(struct text *t)
{
    struct h3_event ev = {.type = H3_EV_FIN};

    t->n = 0;
    say_event(t, &ev);
    t->n = 0;
    t->p[0] = 0;
}

#endif
