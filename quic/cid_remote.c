#include <string.h>

#include "quic/aead.h"
#include "quic/cid.h"
#include "quic/errors.h"

static struct cid_peer *peer_by_use(struct cid_remote *r, enum cid_use use)
{
    struct cid_peer *found = NULL;

    for (size_t i = 0; i < CID_REMOTE_MAX; i++) {
        struct cid_peer *p = &r->peer[i];

        if (p->use == use && (!found || p->seq < found->seq))
            found = p;
    }
    return found;
}

static struct cid_peer *peer_by_seq(struct cid_remote *r, uint64_t seq)
{
    for (size_t i = 0; i < CID_REMOTE_MAX; i++) {
        if (r->peer[i].use != CID_NONE && r->peer[i].seq == seq)
            return &r->peer[i];
    }
    return NULL;
}

static size_t active(const struct cid_remote *r)
{
    size_t n = 0;

    for (size_t i = 0; i < CID_REMOTE_MAX; i++)
        n += r->peer[i].use != CID_NONE;
    return n;
}

/* ---- retirements --------------------------------------------------------------------- */

static struct cid_retire *retire_by_seq(struct cid_remote *r, uint64_t seq)
{
    for (size_t i = 0; i < CID_RETIRE_MAX; i++) {
        if (r->retire[i].used && r->retire[i].seq == seq)
            return &r->retire[i];
    }
    return NULL;
}

static bool retire_push(struct cid_remote *r, uint64_t seq)
{
    if (retire_by_seq(r, seq))
        return true;
    for (size_t i = 0; i < CID_RETIRE_MAX; i++) {
        if (!r->retire[i].used) {
            r->retire[i] = (struct cid_retire){.seq = seq, .used = true};
            return true;
        }
    }
    return false;
}

/* Stop using an ID, and say so; false if there is no room to remember that. */
static bool retire_peer(struct cid_remote *r, struct cid_peer *p)
{
    if (!retire_push(r, p->seq))
        return false;
    *p = (struct cid_peer){.use = CID_NONE};
    return true;
}

bool cid_remote_next_retire(const struct cid_remote *r, uint64_t *seq)
{
    for (size_t i = 0; i < CID_RETIRE_MAX; i++) {
        if (r->retire[i].used && !r->retire[i].sent) {
            *seq = r->retire[i].seq;
            return true;
        }
    }
    return false;
}

void cid_remote_on_sent(struct cid_remote *r, uint64_t seq)
{
    struct cid_retire *e = retire_by_seq(r, seq);

    if (e)
        e->sent = true;
}

void cid_remote_on_acked(struct cid_remote *r, uint64_t seq)
{
    struct cid_retire *e = retire_by_seq(r, seq);

    if (e)
        *e = (struct cid_retire){.used = false};
}

void cid_remote_on_lost(struct cid_remote *r, uint64_t seq)
{
    struct cid_retire *e = retire_by_seq(r, seq);

    if (e)
        e->sent = false;
}

/* ---- the first ID -------------------------------------------------------------------- */

void cid_remote_init(struct cid_remote *r, const struct quic_cid *first)
{
    *r = (struct cid_remote){0};
    if (!first)
        return;
    r->peer[0] = (struct cid_peer){.use = CID_CURRENT, .cid = *first};
    r->zero_length = first->len == 0;
    r->seen_below = 1;
}

void cid_remote_set_first(struct cid_remote *r, const struct quic_cid *cid)
{
    struct cid_peer *p = peer_by_seq(r, 0);

    if (!p)
        return;
    p->cid = *cid;
    r->zero_length = cid->len == 0;
}

void cid_remote_set_first_token(struct cid_remote *r, const uint8_t token[CID_RESET_TOKEN])
{
    struct cid_peer *p = peer_by_seq(r, 0);

    if (!p)
        return;
    memcpy(p->token, token, CID_RESET_TOKEN);
    p->has_token = true;
}

/* ---- NEW_CONNECTION_ID ----------------------------------------------------------------- */

/*
 * Which sequence numbers have come: all below seen_below, and those with a bit in `seen`. So a
 * frame that is repeated after its ID was retired doesn't bring the ID back.
 */
static bool was_seen(const struct cid_remote *r, uint64_t seq)
{
    return seq < r->seen_below ||
           (seq - r->seen_below < CID_SEQ_WINDOW && r->seen >> (seq - r->seen_below) & 1);
}

/*
 * Remember it. What the peer wants retired need not be told apart any more, so the window may
 * go up to there; false if that isn't enough.
 */
static bool mark_seen(struct cid_remote *r, uint64_t seq)
{
    if (seq < r->seen_below)
        return true;
    if (seq - r->seen_below >= CID_SEQ_WINDOW && r->retire_prior_to > r->seen_below) {
        uint64_t up = r->retire_prior_to - r->seen_below;

        r->seen = up < CID_SEQ_WINDOW ? r->seen >> up : 0;
        r->seen_below = r->retire_prior_to;
    }
    if (seq - r->seen_below >= CID_SEQ_WINDOW)
        return false;
    r->seen |= (uint64_t)1 << (seq - r->seen_below);
    for (; r->seen & 1; r->seen >>= 1)
        r->seen_below++;
    return true;
}

/* One sequence number, one ID, one token. */
static int check_repeat(const struct cid_remote *r, const struct frame_new_cid *f)
{
    for (size_t i = 0; i < CID_REMOTE_MAX; i++) {
        const struct cid_peer *p = &r->peer[i];
        bool same_cid = cid_eq(&p->cid, &f->cid), same_seq = p->seq == f->seq;

        if (p->use == CID_NONE)
            continue;
        if (same_cid != same_seq ||
            (same_seq && p->has_token && !bytes_equal_ct(p->token, f->token, CID_RESET_TOKEN)))
            return QUIC_PROTOCOL_VIOLATION;
    }
    return 0;
}

static int retire_below(struct cid_remote *r, uint64_t prior_to)
{
    if (prior_to <= r->retire_prior_to)
        return 0;
    r->retire_prior_to = prior_to;
    for (size_t i = 0; i < CID_REMOTE_MAX; i++) {
        struct cid_peer *p = &r->peer[i];

        if (p->use != CID_NONE && p->seq < prior_to && !retire_peer(r, p))
            return QUIC_CONNECTION_ID_LIMIT_ERROR;
    }
    return 0;
}

static int store(struct cid_remote *r, const struct frame_new_cid *f, uint64_t limit)
{
    struct cid_peer *p = peer_by_use(r, CID_NONE);

    if (active(r) >= limit || !p)
        return QUIC_CONNECTION_ID_LIMIT_ERROR;
    *p = (struct cid_peer){.use = CID_UNUSED, .has_token = true, .seq = f->seq, .cid = f->cid};
    memcpy(p->token, f->token, CID_RESET_TOKEN);
    return 0;
}

/*
 * An ID that came late, below what the peer wants retired, goes straight back. Where the window
 * has forgotten whether it did before, it is told again, which does no harm.
 */
static int take(struct cid_remote *r, const struct frame_new_cid *f, uint64_t limit)
{
    bool late = f->seq < r->retire_prior_to;
    bool known = was_seen(r, f->seq) && !(late && f->seq < r->seen_below);

    if (known)
        return 0;
    if (!mark_seen(r, f->seq))
        return QUIC_CONNECTION_ID_LIMIT_ERROR;
    if (late)
        return retire_push(r, f->seq) ? 0 : QUIC_CONNECTION_ID_LIMIT_ERROR;
    return store(r, f, limit);
}

int cid_remote_add(struct cid_remote *r, const struct frame_new_cid *f, uint64_t limit)
{
    bool had_current = peer_by_use(r, CID_CURRENT) != NULL;
    struct cid_peer *next;
    int err;

    if (r->closed)
        return 0;
    if (r->zero_length)
        return QUIC_PROTOCOL_VIOLATION;
    if (f->cid.len < 1 || f->cid.len > QUIC_CID_MAX || f->retire_prior_to > f->seq)
        return QUIC_FRAME_ENCODING_ERROR;
    err = check_repeat(r, f);
    if (!err)
        err = retire_below(r, f->retire_prior_to);
    if (!err)
        err = take(r, f, limit);
    if (err || !had_current || peer_by_use(r, CID_CURRENT))
        return err;
    next = peer_by_use(r, CID_UNUSED);
    if (!next)
        next = peer_by_use(r, CID_RESERVED);
    if (!next)
        return QUIC_PROTOCOL_VIOLATION;
    next->use = CID_CURRENT;
    return 0;
}

/* ---- use ----------------------------------------------------------------------------- */

const struct quic_cid *cid_remote_current(const struct cid_remote *r)
{
    for (size_t i = 0; i < CID_REMOTE_MAX; i++) {
        if (r->peer[i].use == CID_CURRENT)
            return &r->peer[i].cid;
    }
    return NULL;
}

size_t cid_remote_unused(const struct cid_remote *r)
{
    size_t n = 0;

    for (size_t i = 0; i < CID_REMOTE_MAX; i++)
        n += r->peer[i].use == CID_UNUSED;
    return n;
}

/* Make `next` current and retire what was. */
static int change(struct cid_remote *r, struct cid_peer *next)
{
    struct cid_peer *cur = peer_by_use(r, CID_CURRENT);

    if (!next || (cur && !retire_peer(r, cur)))
        return QUIC_BLOCKED;
    next->use = CID_CURRENT;
    return 0;
}

int cid_remote_rotate(struct cid_remote *r)
{
    return change(r, peer_by_use(r, CID_UNUSED));
}

int cid_remote_reserve(struct cid_remote *r, uint64_t *seq)
{
    struct cid_peer *p = peer_by_use(r, CID_UNUSED);

    if (r->zero_length && !r->closed) {
        *seq = 0;
        return 0;
    }
    if (!p)
        return QUIC_BLOCKED;
    p->use = CID_RESERVED;
    *seq = p->seq;
    return 0;
}

int cid_remote_reserve_seq(struct cid_remote *r, uint64_t seq)
{
    struct cid_peer *p = peer_by_seq(r, seq);

    if (!p || p->use != CID_UNUSED)
        return QUIC_BLOCKED;
    p->use = CID_RESERVED;
    return 0;
}

const struct quic_cid *cid_remote_get(const struct cid_remote *r, uint64_t seq)
{
    for (size_t i = 0; i < CID_REMOTE_MAX; i++) {
        if (r->peer[i].use != CID_NONE && r->peer[i].seq == seq)
            return &r->peer[i].cid;
    }
    return NULL;
}

int cid_remote_adopt(struct cid_remote *r, uint64_t seq)
{
    struct cid_peer *p = peer_by_seq(r, seq);

    if (p && p->use == CID_CURRENT)
        return 0;
    return change(r, p && p->use == CID_RESERVED ? p : NULL);
}

void cid_remote_release(struct cid_remote *r, uint64_t seq)
{
    struct cid_peer *p = peer_by_seq(r, seq);

    if (p && p->use == CID_RESERVED && !retire_peer(r, p))
        p->use = CID_UNUSED;
}

bool cid_remote_is_reset_token(const struct cid_remote *r, const uint8_t token[CID_RESET_TOKEN])
{
    unsigned found = 0;

    for (size_t i = 0; i < CID_REMOTE_MAX; i++) {
        const struct cid_peer *p = &r->peer[i];
        unsigned counts = (p->use == CID_CURRENT || p->use == CID_RESERVED) && p->has_token;

        found |= counts & (unsigned)bytes_equal_ct(p->token, token, CID_RESET_TOKEN);
    }
    return found;
}

void cid_remote_clear(struct cid_remote *r)
{
    *r = (struct cid_remote){.closed = true};
}

bool cid_remote_check(const struct cid_remote *r)
{
    size_t current = 0;

    if (r->seen & 1)
        return false;
    for (size_t i = 0; i < CID_REMOTE_MAX; i++) {
        const struct cid_peer *p = &r->peer[i];

        if (p->use == CID_NONE)
            continue;
        current += p->use == CID_CURRENT;
        if (p->seq < r->retire_prior_to || !was_seen(r, p->seq) ||
            (p->cid.len == 0) != r->zero_length || p->cid.len > QUIC_CID_MAX)
            return false;
        for (size_t k = 0; k < CID_RETIRE_MAX; k++) {
            if (r->retire[k].used && r->retire[k].seq == p->seq)
                return false;
        }
        for (size_t k = 0; k < i; k++) {
            if (r->peer[k].use != CID_NONE && r->peer[k].seq == p->seq)
                return false;
        }
    }
    return current <= 1;
}
