#include "h3/stream.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* The place of the first stream whose number is not below `id`. */
static size_t lower_bound(const struct h3_streams *t, uint64_t id)
{
    size_t lo = 0, hi = t->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (t->v[mid]->id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct h3_stream *h3_streams_find(const struct h3_streams *t, uint64_t id)
{
    size_t at = lower_bound(t, id);

    return at < t->n && t->v[at]->id == id ? t->v[at] : NULL;
}

struct h3_stream *h3_streams_add(struct h3_streams *t, uint64_t id, enum h3_stream_kind kind)
{
    size_t at = lower_bound(t, id);
    struct h3_stream *s;

    assert(at == t->n || t->v[at]->id != id);
    if (t->n == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 8;
        struct h3_stream **v = realloc(t->v, cap * sizeof(*v));

        if (!v)
            return NULL;
        t->v = v;
        t->cap = cap;
    }
    s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->id = id;
    s->kind = kind;
    memmove(t->v + at + 1, t->v + at, (t->n - at) * sizeof(*t->v));
    t->v[at] = s;
    t->n++;
    if (kind == H3_KIND_REQUEST)
        t->requests++;
    else
        t->unis++;
    return s;
}

/* Take a stream out of the queue of events, wherever it stands. */
static void unqueue(struct h3_streams *t, struct h3_stream *s)
{
    struct h3_stream **link = &t->event_first, *before = NULL;

    if (!s->queued)
        return;
    while (*link != s) {
        before = *link;
        link = &before->event_next;
    }
    *link = s->event_next;
    if (t->event_last == s)
        t->event_last = before;
    s->event_next = NULL;
    s->queued = false;
}

void h3_streams_remove(struct h3_streams *t, struct h3_stream *s)
{
    size_t at = lower_bound(t, s->id);

    unqueue(t, s);
    t->n--;
    memmove(t->v + at, t->v + at + 1, (t->n - at) * sizeof(*t->v));
    if (s->kind == H3_KIND_REQUEST)
        t->requests--;
    else
        t->unis--;
    h3_req_free(&s->rx);
    free(s);
}

void h3_streams_free(struct h3_streams *t)
{
    for (size_t i = 0; i < t->n; i++) {
        h3_req_free(&t->v[i]->rx);
        h3_outq_drop(NULL, &t->v[i]->tx);
        free(t->v[i]);
    }
    free(t->v);
    *t = (struct h3_streams){0};
}

void h3_streams_raise(struct h3_streams *t, struct h3_stream *s, uint8_t bits)
{
    if (bits & H3_PEND_ABORT)
        s->pending = H3_PEND_ABORT;
    else if (!(s->pending & H3_PEND_ABORT))
        s->pending |= bits;
    if (s->queued || !s->pending)
        return;
    s->queued = true;
    if (t->event_last)
        t->event_last->event_next = s;
    else
        t->event_first = s;
    t->event_last = s;
}

bool h3_streams_next(struct h3_streams *t, struct h3_event *ev, struct h3_stream **from)
{
    struct h3_stream *s = t->event_first;

    if (!s)
        return false;
    *ev = (struct h3_event){.stream_id = s->id};
    if (s->pending & H3_PEND_FIN) {
        s->pending &= (uint8_t)~H3_PEND_FIN;
        ev->type = H3_EV_FIN;
    } else if (s->pending & H3_PEND_RESET) {
        s->pending &= (uint8_t)~H3_PEND_RESET;
        ev->type = H3_EV_RESET;
        ev->code = s->reset_code;
    } else if (s->pending & H3_PEND_STOPPED) {
        s->pending &= (uint8_t)~H3_PEND_STOPPED;
        ev->type = H3_EV_STOPPED;
        ev->code = s->stop_code;
    } else {
        s->pending = 0;
        ev->type = H3_EV_ABORT;
        ev->code = s->abort_code;
    }
    if (!s->pending)
        unqueue(t, s);
    *from = s;
    return true;
}

void h3_streams_check(const struct h3_streams *t)
{
    size_t requests = 0, queued = 0, in_queue = 0;

    for (size_t i = 0; i < t->n; i++) {
        const struct h3_stream *s = t->v[i];

        assert(i == 0 || t->v[i - 1]->id < s->id);
        assert(s->queued == (s->pending != 0));
        requests += s->kind == H3_KIND_REQUEST;
        queued += s->queued;
    }
    for (const struct h3_stream *s = t->event_first; s; s = s->event_next) {
        assert(s->queued);
        assert(s->event_next || t->event_last == s);
        in_queue++;
    }
    assert(requests == t->requests && t->n - requests == t->unis);
    assert(queued == in_queue && (in_queue > 0) == (t->event_last != NULL));
}
