#include "quic/sent.h"

#include <stdlib.h>
#include <string.h>

#define MAX_GAP 16 /* numbers that one begin may pass over */

void sent_init(struct sent *s, uint32_t max)
{
    *s = (struct sent){.max = max};
}

void sent_free(struct sent *s)
{
    free(s->ring);
    free(s->recs);
    sent_init(s, s->max);
}

size_t sent_memory(const struct sent *s)
{
    return s->cap * sizeof *s->ring + s->rec_cap * sizeof *s->recs;
}

/* Move the packets to a ring of `cap`, which must hold them. */
static int resize_packets(struct sent *s, uint32_t cap)
{
    struct sent_packet *ring = malloc(cap * sizeof *ring);

    if (!ring)
        return QUIC_NOMEM;
    for (uint64_t pn = s->base; pn < s->next; pn++)
        ring[pn & (cap - 1)] = s->ring[pn & (s->cap - 1)];
    free(s->ring);
    s->ring = ring;
    s->cap = cap;
    return 0;
}

/* Where `n` records end up that must not wrap in a ring of `cap`, from index `at` on. */
static uint64_t unwrapped(uint64_t at, uint32_t n, uint32_t cap)
{
    uint32_t pos = (uint32_t)at & (cap - 1);

    return pos + n > cap ? at + (cap - pos) : at;
}

/*
 * Move the records to a ring of `cap`, packing them anew from index 0: a packet's records
 * that were contiguous in the old ring must be so in the new one.
 */
static int resize_records(struct sent *s, uint32_t cap)
{
    struct sent_record *recs = malloc(cap * sizeof *recs);
    uint64_t next = 0;

    if (!recs)
        return QUIC_NOMEM;
    for (uint64_t pn = s->base; pn < s->next; pn++) {
        struct sent_packet *p = sent_get(s, pn);

        if (!p->n_rec)
            continue;
        memcpy(&recs[next], sent_recs(s, p), p->n_rec * sizeof *recs);
        p->rec_first = (uint32_t)next;
        next += p->n_rec;
    }
    s->rec_base = 0;
    if (s->open && s->open_n)
        memcpy(&recs[next], &s->recs[s->open_first & (s->rec_cap - 1)],
               s->open_n * sizeof *recs);
    s->open_first = next;
    s->rec_next = next + (s->open ? s->open_n : 0);
    free(s->recs);
    s->recs = recs;
    s->rec_cap = cap;
    return 0;
}

/* The next larger size. */
static uint32_t larger(const struct sent *s, uint32_t cap)
{
    if (!cap)
        return SENT_MIN;
    return cap < SENT_KEPT && s->max > SENT_KEPT ? SENT_KEPT : cap * 2;
}

/* Make room for `n` more packets. */
static int packet_room(struct sent *s, uint64_t n)
{
    uint32_t cap = s->cap;

    while (sent_count(s) + n > cap)
        cap = larger(s, cap);
    if (cap > s->max)
        return QUIC_BLOCKED;
    if (cap == s->cap)
        return 0;
    /* Who sends much has as large a ring of records from the start. */
    if (cap >= SENT_KEPT && s->rec_cap < SENT_KEPT && s->max > SENT_KEPT &&
        resize_records(s, SENT_KEPT))
        return QUIC_NOMEM;
    return resize_packets(s, cap);
}

static struct sent_packet *push(struct sent *s, const struct sent_packet *p)
{
    struct sent_packet *at = &s->ring[s->next++ & (s->cap - 1)];

    *at = *p;
    if (sent_count(s) > s->peak)
        s->peak = (uint32_t)sent_count(s);
    return at;
}

static void push_skipped(struct sent *s, uint64_t upto)
{
    ns_t time = sent_count(s) ? sent_get(s, s->next - 1)->time : 0;
    struct sent_packet skipped = {
        .time = time, .flags = SENT_SKIPPED, .ack_largest = SENT_NO_ACK};

    while (s->next < upto)
        push(s, &skipped);
}

_Static_assert(sizeof(struct sent_packet) == 64, "a sent packet is one cache line");

int sent_begin(struct sent *s, uint64_t pn)
{
    int err;

    if (s->open || pn < s->next || pn - s->next > MAX_GAP)
        return QUIC_INVAL;
    err = packet_room(s, pn - s->next + 1);
    if (err)
        return err;
    if (s->next < pn)
        push_skipped(s, pn);
    s->open = true;
    s->open_first = s->rec_next;
    s->open_n = 0;
    return 0;
}

int sent_record_add(struct sent *s, const struct sent_record *rec)
{
    uint64_t first;

    if (!s->open)
        return QUIC_INVAL;
    if (s->open_n == UINT16_MAX)
        return QUIC_TOOBIG;
    first = s->rec_cap ? unwrapped(s->open_first, s->open_n + 1, s->rec_cap) : 0;
    if (first + s->open_n + 1 - s->rec_base > s->rec_cap) {
        uint32_t cap = larger(s, s->rec_cap);
        int err = cap > s->max ? QUIC_BLOCKED : resize_records(s, cap);

        if (err)
            return err;
        first = s->open_first;
    }
    /* At the end of the ring the packet's records move to its beginning. */
    if (first != s->open_first)
        memmove(&s->recs[first & (s->rec_cap - 1)], &s->recs[s->open_first & (s->rec_cap - 1)],
                s->open_n * sizeof *rec);
    s->open_first = first;
    s->recs[(first + s->open_n++) & (s->rec_cap - 1)] = *rec;
    s->rec_next = first + s->open_n;
    if (s->rec_next - s->rec_base > s->rec_peak)
        s->rec_peak = (uint32_t)(s->rec_next - s->rec_base);
    return 0;
}

void sent_commit(struct sent *s, const struct sent_packet *proto)
{
    struct sent_packet *p = push(s, proto);

    p->rec_first = (uint32_t)s->open_first;
    p->n_rec = (uint16_t)s->open_n;
    s->open = false;
}

void sent_abort(struct sent *s)
{
    if (!s->open)
        return;
    s->rec_next = s->open_first;
    s->open = false;
}

int sent_skip(struct sent *s, uint64_t pn)
{
    int err;

    if (s->open || pn < s->next || pn - s->next > MAX_GAP)
        return QUIC_INVAL;
    err = packet_room(s, pn - s->next + 1);
    if (!err)
        push_skipped(s, pn + 1);
    return err;
}

void sent_retire(struct sent *s)
{
    const struct sent_packet *p = sent_get(s, s->base);

    s->base++;
    if (p->n_rec)
        s->rec_base += (uint32_t)(p->rec_first - (uint32_t)s->rec_base) + p->n_rec;
    /* The last one leaves no hole behind it. */
    if (s->base == s->next && !s->open)
        s->rec_base = s->rec_next;
}

/* The size that leaves `peak` room to double, at least `least`. */
static uint32_t trimmed(uint32_t cap, uint32_t peak, uint32_t least)
{
    while (cap > least && cap / 4 >= peak)
        cap /= 2;
    return cap;
}

void sent_trim(struct sent *s, uint32_t least)
{
    uint32_t cap = trimmed(s->cap, s->peak, least);
    uint32_t rec_cap = trimmed(s->rec_cap, s->rec_peak, least);

    if (s->open)
        return;
    if (cap < s->cap && resize_packets(s, cap))
        return;
    if (rec_cap < s->rec_cap)
        resize_records(s, rec_cap);
    s->peak = (uint32_t)sent_count(s);
    s->rec_peak = (uint32_t)(s->rec_next - s->rec_base);
}

void sent_clear(struct sent *s)
{
    uint64_t next = s->next;

    sent_free(s);
    s->base = s->next = next;
}

bool sent_check(const struct sent *s)
{
    uint64_t at = s->rec_base;

    if (s->base > s->next || s->next - s->base > s->cap ||
        s->rec_next - s->rec_base > s->rec_cap)
        return false;
    if ((s->cap & (s->cap - 1)) || (s->rec_cap & (s->rec_cap - 1)))
        return false;
    for (uint64_t pn = s->base; pn < s->next; pn++) {
        const struct sent_packet *p = sent_get(s, pn);

        if (!p->n_rec)
            continue;
        if ((p->rec_first & (s->rec_cap - 1)) + p->n_rec > s->rec_cap)
            return false;
        at += (uint32_t)(p->rec_first - (uint32_t)at) + p->n_rec; /* backwards: 4 billion */
    }
    return at <= s->rec_next;
}
