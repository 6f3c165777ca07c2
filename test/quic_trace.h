/*
 * trace - a qlog sink in memory for tests, and a walk over its records.
 *
 *     traces_init(&t); cfg.qlog = &t.sink; ...
 *     for (trace_walk(&w, &t.trace[0]); trace_next(&w); ) ... w.p, w.n ...
 *
 * trace_next fails the test at whatever is no record: RS, one JSON object, LF.
 */
#ifndef TEST_QUIC_TRACE_H
#define TEST_QUIC_TRACE_H

#include "quic/qlog.h"
#include "test/json_check.h"

#define TRACES 8

struct trace {
    char *p;
    size_t n, cap;
    bool server, closed;
    struct quic_cid odcid;
};

struct traces {
    struct qlog_sink sink;
    struct trace trace[TRACES];
    size_t n;
};

static inline void *trace_open(void *ctx, const struct quic_cid *odcid, bool server, ns_t now)
{
    struct traces *t = ctx;
    (void)now;
    if (t->n == TRACES)
        return NULL;
    t->trace[t->n] = (struct trace){.server = server, .odcid = *odcid};
    return &t->trace[t->n++];
}

static inline void trace_write(void *trace, const char *p, size_t n, ns_t now)
{
    struct trace *t = trace;
    (void)now;
    if (t->n + n > t->cap) {
        t->cap = (t->n + n) * 2;
        t->p = realloc(t->p, t->cap);
        if (!t->p)
            abort();
    }
    memcpy(t->p + t->n, p, n);
    t->n += n;
}

static inline void trace_close(void *trace)
{
    struct trace *t = trace;
    assert_false(t->closed);
    t->closed = true;
}

static inline void traces_init(struct traces *t)
{
    memset(t, 0, sizeof(*t));
    t->sink = (struct qlog_sink){
        .ctx = t, .open = trace_open, .write = trace_write, .close = trace_close};
}

static inline void traces_free(struct traces *t)
{
    for (size_t i = 0; i < t->n; i++) {
        assert_true(t->trace[i].closed);
        free(t->trace[i].p);
    }
}

struct trace_walk {
    const struct trace *t;
    size_t at;
    const char *p; /* the object of the record */
    size_t n;
};

static inline void trace_walk(struct trace_walk *w, const struct trace *t)
{
    *w = (struct trace_walk){.t = t};
}

static inline bool trace_next(struct trace_walk *w)
{
    if (w->at == w->t->n)
        return false;
    const char *from = w->t->p + w->at, *end = w->t->p + w->t->n;
    assert_int_equal(*from, 0x1e);
    const char *lf = memchr(from, '\n', (size_t)(end - from));
    assert_non_null(lf);
    w->p = from + 1;
    w->n = (size_t)(lf - from) - 1;
    w->at += w->n + 2;
    assert_true(json_check(w->p, w->n));
    return true;
}

static inline bool trace_has(const struct trace_walk *w, const char *path, const char *want)
{
    return json_is(w->p, w->n, path, want);
}

/* How many events there are of that name, for which `path` (may be null) is `want`. */
static inline size_t trace_count(const struct trace *t, const char *name, const char *path,
                                 const char *want)
{
    char quoted[96];
    struct trace_walk w;
    size_t n = 0;
    snprintf(quoted, sizeof(quoted), "\"%s\"", name);
    for (trace_walk(&w, t); trace_next(&w);)
        n += trace_has(&w, "name", quoted) && (!path || trace_has(&w, path, want));
    return n;
}

#endif
