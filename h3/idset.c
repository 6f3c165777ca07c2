#include "h3/idset.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void h3_idset_free(struct h3_idset *s)
{
    free(s->v);
    *s = (struct h3_idset){0};
}

/* The place of the first range that ends at `id` or above it. */
static size_t place(const struct h3_idset *s, uint64_t id)
{
    size_t lo = 0, hi = s->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (s->v[mid].hi < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

bool h3_idset_has(const struct h3_idset *s, uint64_t id)
{
    size_t at = place(s, id);

    if (at < s->n && s->v[at].hi == id)
        at++;
    return at < s->n && s->v[at].lo <= id;
}

static void take_out(struct h3_idset *s, size_t at)
{
    s->n--;
    memmove(s->v + at, s->v + at + 1, (s->n - at) * sizeof(*s->v));
}

/* Room for one more range; false if the two lowest had to be joined for it. */
static bool reserve(struct h3_idset *s)
{
    size_t cap = s->cap ? s->cap * 2 : 4;
    struct h3_idrange *v;

    if (s->n < s->cap)
        return true;
    v = cap <= H3_IDSET_MAX ? realloc(s->v, cap * sizeof(*v)) : NULL;
    if (v) {
        s->v = v;
        s->cap = cap;
        return true;
    }
    if (s->n >= 2) {
        s->v[0].hi = s->v[1].hi;
        take_out(s, 1);
    }
    return false;
}

void h3_idset_add(struct h3_idset *s, uint64_t id)
{
    size_t at = place(s, id);

    if (h3_idset_has(s, id))
        return;
    if (at < s->n && s->v[at].hi == id) { /* grows upwards, maybe to the next */
        s->v[at].hi++;
        if (at + 1 < s->n && s->v[at + 1].lo == s->v[at].hi) {
            s->v[at].hi = s->v[at + 1].hi;
            take_out(s, at + 1);
        }
        return;
    }
    if (at < s->n && s->v[at].lo == id + 1) {
        s->v[at].lo = id;
        return;
    }
    if (!reserve(s)) {
        if (s->cap > s->n)
            h3_idset_add(s, id); /* the ranges moved */
        return;
    }
    memmove(s->v + at + 1, s->v + at, (s->n - at) * sizeof(*s->v));
    s->v[at] = (struct h3_idrange){id, id + 1};
    s->n++;
}

void h3_idset_check(const struct h3_idset *s)
{
    assert(s->n <= s->cap && s->cap <= H3_IDSET_MAX);
    for (size_t i = 0; i < s->n; i++) {
        assert(s->v[i].lo < s->v[i].hi);
        assert(i == 0 || s->v[i - 1].hi < s->v[i].lo);
    }
}
