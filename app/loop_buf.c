#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "app/loop_core.h"

/* ---- arenas ---- */

int loop_arena_open(struct ring *r, struct loop_arena *a, unsigned n, size_t skip, size_t room)
{
    void *map;

    memset(a, 0, sizeof(*a));
    a->r = r;
    a->skip = skip;
    a->room = room;
    a->stride = (skip + room + RING_TAILROOM + 63) & ~(size_t)63;
    a->n = a->avail = n;
    map = mmap(NULL, a->stride * n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return QUIC_NOMEM;
    a->base = map;
    a->refs = calloc(n, sizeof(*a->refs));
    a->spent = calloc(n, sizeof(*a->spent));
    if (!a->refs || !a->spent || r->be->arena_open(a)) {
        loop_arena_close(a);
        return QUIC_NOMEM;
    }
    a->next = r->arenas;
    r->arenas = a;
    return 0;
}

void loop_arena_close(struct loop_arena *a)
{
    if (!a->base)
        return;
    for (struct loop_arena **p = &a->r->arenas; *p; p = &(*p)->next) {
        if (*p == a) {
            *p = a->next;
            break;
        }
    }
    a->r->be->arena_close(a);
    munmap(a->base, a->stride * a->n);
    free(a->refs);
    free(a->spent);
    memset(a, 0, sizeof(*a));
}

void loop_slot_took(struct loop_arena *a, unsigned slot)
{
    a->refs[slot] = 1;
    a->avail--;
    a->held++;
    a->spent[a->spent_n++] = slot;
}

void loop_slot_unref(struct loop_arena *a, unsigned slot)
{
    if (--a->refs[slot])
        return;
    a->avail++;
    a->held--;
    a->r->be->slot_back(a, slot);
}

void loop_batch_end(struct ring *r)
{
    for (struct loop_arena *a = r->arenas; a; a = a->next) {
        for (unsigned i = 0; i < a->spent_n; i++)
            loop_slot_unref(a, a->spent[i]);
        a->spent_n = 0;
    }
}

struct loop_arena *loop_find(struct ring *r, const void *p, unsigned *slot)
{
    for (struct loop_arena *a = r->arenas; a; a = a->next) {
        uintptr_t off = (uintptr_t)p - (uintptr_t)a->base;

        if (off < a->stride * a->n) {
            *slot = (unsigned)(off / a->stride);
            return a->refs[*slot] ? a : NULL;
        }
    }
    return NULL;
}

bool ring_buf_hold(struct ring *r, const void *p)
{
    unsigned slot;
    struct loop_arena *a = loop_find(r, p, &slot);

    if (!a)
        return false;
    a->refs[slot]++;
    return true;
}

void ring_buf_release(struct ring *r, const void *p)
{
    unsigned slot;
    struct loop_arena *a = loop_find(r, p, &slot);

    if (a)
        loop_slot_unref(a, slot);
}

/* ---- trains ---- */

/* A new train, entered in r->all. */
static struct udp_train *train_new(struct ring *r)
{
    struct udp_train *t;

    if (r->all_n == r->all_cap) {
        size_t cap = r->all_cap ? 2 * r->all_cap : 16;
        struct udp_train **all = realloc(r->all, cap * sizeof(*all));

        if (!all)
            return NULL;
        r->all = all;
        r->all_cap = cap;
    }
    t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->buf = aligned_alloc(64, (UDP_TRAIN_BYTES + 63) & ~63);
    if (!t->buf) {
        free(t);
        return NULL;
    }
    r->all[r->all_n++] = t;
    return t;
}

struct udp_train *ring_train_get(struct ring_udp *s)
{
    struct ring *r = s->r;
    struct udp_train *t;

    if (s->dead)
        return NULL;
    if (s->taken >= r->cfg.sock_trains) {
        s->starved = true;
        return NULL;
    }
    t = r->pool;
    if (t)
        r->pool = t->next;
    else
        t = train_new(r);
    if (!t)
        return NULL;
    s->taken++;
    t->sock = s;
    t->next = NULL;
    t->n = t->segment = t->off = t->part = 0;
    t->remote.sa.sa_family = t->local.sa.sa_family = AF_UNSPEC;
    t->ifindex = 0;
    t->ecn = 0;
    t->singles = 0;
    return t;
}

void loop_train_back(struct udp_train *t)
{
    struct ring_udp *s = t->sock;

    s->taken--;
    if (s->starved && !s->dead) {
        s->starved = false;
        s->r->flush_due = true;
    }
    t->sock = NULL;
    t->next = s->r->pool;
    s->r->pool = t;
}

void ring_train_put(struct udp_train *t)
{
    loop_train_back(t);
}
