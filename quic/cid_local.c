#include <string.h>

#include "quic/cid.h"
#include "quic/errors.h"

#define GEN_TRIES 4 /* before a generator that repeats itself counts as failed */

/* The active slot with this sequence number. */
static struct cid_slot *slot_of(struct cid_local *l, uint64_t seq)
{
    for (size_t i = 0; i < CID_LOCAL_MAX; i++) {
        if (cid_slot_active(&l->slot[i]) && l->slot[i].seq == seq)
            return &l->slot[i];
    }
    return NULL;
}

static struct cid_slot *slot_free(struct cid_local *l)
{
    for (size_t i = 0; i < CID_LOCAL_MAX; i++) {
        if (l->slot[i].state == CID_FREE)
            return &l->slot[i];
    }
    return NULL;
}

/* The oldest one that waits to be sent. */
static struct cid_slot *slot_new(struct cid_local *l)
{
    struct cid_slot *found = NULL;

    for (size_t i = 0; i < CID_LOCAL_MAX; i++) {
        struct cid_slot *s = &l->slot[i];

        if (s->state == CID_NEW && (!found || s->seq < found->seq))
            found = s;
    }
    return found;
}

/* What the routing table never learned it needn't forget. */
static void drop(struct cid_slot *s)
{
    if (s->announced)
        s->state = CID_GONE;
    else
        *s = (struct cid_slot){.state = CID_FREE};
}

void cid_local_init(struct cid_local *l, const struct quic_cid *first, cid_gen_fn *gen,
                    void *gen_ctx)
{
    *l = (struct cid_local){.gen = gen, .gen_ctx = gen_ctx};
    if (!first)
        return;
    l->next_seq = l->sent_seqs = 1;
    l->zero_length = first->len == 0;
    if (!l->zero_length)
        l->slot[0] = (struct cid_slot){.state = CID_ACKED, .cid = *first};
}

void cid_local_set_limit(struct cid_local *l, uint64_t limit)
{
    l->limit = limit < CID_LOCAL_MAX ? limit : CID_LOCAL_MAX;
}

size_t cid_local_active(const struct cid_local *l)
{
    size_t n = 0;

    for (size_t i = 0; i < CID_LOCAL_MAX; i++)
        n += cid_slot_active(&l->slot[i]);
    return n;
}

/* Whether one more may be made, and a slot is there for it. */
static bool may_grow(const struct cid_local *l)
{
    size_t taken = 0;

    for (size_t i = 0; i < CID_LOCAL_MAX; i++)
        taken += l->slot[i].state != CID_FREE;
    return !l->zero_length && taken < CID_LOCAL_MAX && cid_local_active(l) < l->limit;
}

static struct cid_slot *grow(struct cid_local *l)
{
    struct cid_slot *s = slot_free(l);

    for (int i = 0; s && i < GEN_TRIES; i++) {
        struct cid_slot made = {.state = CID_NEW, .seq = l->next_seq};

        if (l->gen(l->gen_ctx, &made.cid, made.token))
            return NULL;
        if (made.cid.len > 0 && !cid_local_find(l, &made.cid, NULL)) {
            l->next_seq++;
            *s = made;
            return s;
        }
    }
    return NULL;
}

bool cid_local_next(struct cid_local *l, struct cid_issue *out)
{
    struct cid_slot *s = slot_new(l);

    if (!s && may_grow(l))
        s = grow(l);
    if (!s)
        return false;
    *out = (struct cid_issue){.seq = s->seq, .cid = s->cid};
    memcpy(out->token, s->token, sizeof(out->token));
    return true;
}

bool cid_local_pending(const struct cid_local *l)
{
    for (size_t i = 0; i < CID_LOCAL_MAX; i++) {
        if (l->slot[i].state == CID_NEW)
            return true;
    }
    return may_grow(l);
}

void cid_local_on_sent(struct cid_local *l, uint64_t seq)
{
    struct cid_slot *s = slot_of(l, seq);

    if (s && s->state == CID_NEW)
        s->state = CID_SENT;
    if (s && seq >= l->sent_seqs)
        l->sent_seqs = seq + 1;
}

void cid_local_on_acked(struct cid_local *l, uint64_t seq)
{
    struct cid_slot *s = slot_of(l, seq);

    if (s)
        s->state = CID_ACKED;
}

void cid_local_on_lost(struct cid_local *l, uint64_t seq)
{
    struct cid_slot *s = slot_of(l, seq);

    if (s && s->state == CID_SENT)
        s->state = CID_NEW;
}

int cid_local_retire(struct cid_local *l, uint64_t seq, const struct quic_cid *arrived_on)
{
    struct cid_slot *s;

    if (l->zero_length || seq >= l->sent_seqs)
        return QUIC_PROTOCOL_VIOLATION;
    s = slot_of(l, seq);
    if (!s)
        return 0;
    if (arrived_on && cid_eq(&s->cid, arrived_on))
        return QUIC_PROTOCOL_VIOLATION;
    drop(s);
    return 0;
}

void cid_local_clear(struct cid_local *l)
{
    l->limit = 0;
    for (size_t i = 0; i < CID_LOCAL_MAX; i++) {
        if (cid_slot_active(&l->slot[i]))
            drop(&l->slot[i]);
    }
}

bool cid_local_event(struct cid_local *l, struct cid_event *out)
{
    for (size_t i = 0; i < CID_LOCAL_MAX; i++) {
        struct cid_slot *s = &l->slot[i];

        if (s->state == CID_GONE) {
            *out = (struct cid_event){.added = false, .cid = s->cid};
            *s = (struct cid_slot){.state = CID_FREE};
            return true;
        }
        if (cid_slot_active(s) && !s->announced) {
            *out = (struct cid_event){.added = true, .cid = s->cid};
            s->announced = true;
            return true;
        }
    }
    return false;
}

bool cid_local_find(const struct cid_local *l, const struct quic_cid *cid, uint64_t *seq)
{
    for (size_t i = 0; i < CID_LOCAL_MAX; i++) {
        if (cid_slot_active(&l->slot[i]) && cid_eq(&l->slot[i].cid, cid)) {
            if (seq)
                *seq = l->slot[i].seq;
            return true;
        }
    }
    return false;
}

const struct quic_cid *cid_local_search(struct cid_local *l, struct span cid)
{
    for (size_t i = 0; i < CID_LOCAL_MAX; i++) {
        struct cid_slot *s = &l->slot[i];

        if (cid_slot_active(s) && cid_is(&s->cid, cid)) {
            l->matched = (uint8_t)i;
            return &s->cid;
        }
    }
    return NULL;
}

bool cid_local_check(const struct cid_local *l)
{
    if (l->sent_seqs > l->next_seq || l->limit > CID_LOCAL_MAX)
        return false;
    for (size_t i = 0; i < CID_LOCAL_MAX; i++) {
        const struct cid_slot *s = &l->slot[i];

        if (s->state == CID_FREE)
            continue;
        if (s->seq >= l->next_seq || s->cid.len == 0 || s->cid.len > QUIC_CID_MAX ||
            (s->state == CID_GONE && !s->announced) ||
            ((s->state == CID_SENT || s->state == CID_ACKED) && s->seq >= l->sent_seqs))
            return false;
        for (size_t k = 0; k < i; k++) {
            if (l->slot[k].state != CID_FREE &&
                (l->slot[k].seq == s->seq || cid_eq(&l->slot[k].cid, &s->cid)))
                return false;
        }
    }
    return true;
}
