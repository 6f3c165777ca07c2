#include "quic/ackrx.h"

#include "quic/ecn.h"
#include "quic/errors.h"
#include "quic/frame.h"

#define NONE UINT64_MAX

/* Types of draft-ietf-quic-multipath, section 4.1; 0x3f has ECN counts. */
enum { FRAME_PATH_ACK = 0x3e };

void ackrx_init(struct ackrx *a, ns_t max_delay)
{
    *a = (struct ackrx){.largest = NONE,
                        .largest_eliciting = NONE,
                        .max_delay = max_delay,
                        .deadline = NS_NEVER,
                        .tolerance = ACKRX_TOLERANCE,
                        .reordering = 1,
                        .told = NONE};
    ranges_init(&a->received, ACKRX_MAX);
}

void ackrx_free(struct ackrx *a)
{
    ranges_free(&a->received);
}

/* What lies below the oldest range is too old to tell from now on. */
static void raise_floor(struct ackrx *a)
{
    a->floor = ranges_first(&a->received);
    if (a->reported_from < a->floor)
        a->reported_from = a->floor;
}

/*
 * Whether RFC 9000 13.2.1 wants the acknowledgement of ack-eliciting `pn` at once: it came
 * after a higher one, or there is a gap between it and the highest one before.
 */
static bool out_of_order(const struct ackrx *a, uint64_t pn)
{
    const struct range *at = ranges_at(&a->received);
    size_t i;

    if (a->largest_eliciting == NONE)
        return false;
    if (pn < a->largest_eliciting)
        return true;
    i = ranges_count(&a->received) - 1;
    if (pn < at[i].start)
        i = ranges_find(&a->received, pn);
    return at[i].start > a->largest_eliciting;
}

/* The lowest number from `from` on that was not received, below the highest range. */
static uint64_t first_missing(const struct ackrx *a, uint64_t from)
{
    const struct range *at = ranges_at(&a->received);
    size_t top = ranges_count(&a->received) - 1, i;

    if (at[top].start <= from)
        return NONE;
    i = ranges_find(&a->received, from);
    return at[i].start > from ? from : at[i].end;
}

/*
 * Section 6.2 of draft-ietf-quic-ack-frequency, with a threshold above 1: whether `pn`, which
 * has just been added, lets the peer declare something lost, or is what it thinks lost.
 */
static bool beyond_window(const struct ackrx *a, uint64_t pn)
{
    uint64_t from = ranges_first(&a->received), missing;

    if (a->told != NONE && a->told >= a->reordering) {
        if (pn <= a->told - a->reordering)
            return true;
        from = a->told - a->reordering + 1;
    } else if (a->told != NONE) {
        from = 0;
    }
    missing = first_missing(a, from);
    return missing < a->largest_eliciting && a->largest_eliciting - missing >= a->reordering;
}

/* Whether half as many gaps as an ACK frame can report have come up since the last one. */
static bool gaps_pile_up(const struct ackrx *a)
{
    size_t n = ranges_count(&a->received);

    if (n < ACKRX_SENT / 2)
        return false;
    return n - (a->told == NONE ? 0 : ranges_find(&a->received, a->told + 1)) >= ACKRX_SENT / 2;
}

/* Whether the place of ack-eliciting `pn` among the others is a reason to hurry. */
static bool hurries(const struct ackrx *a, uint64_t pn, bool reordered)
{
    if (a->reordering == 1)
        return reordered;
    return gaps_pile_up(a) || (a->reordering && beyond_window(a, pn));
}

static void count_mark(struct ackrx *a, uint8_t ecn)
{
    a->ect0 += ecn == ECN_ECT0;
    a->ect1 += ecn == ECN_ECT1;
    a->ce += ecn == ECN_CE;
}

/* Put `pn` into the set, where it does not just follow the highest one. */
static int remember(struct ackrx *a, uint64_t pn)
{
    if (ackrx_seen(a, pn))
        return QUIC_DROP;
    while (ranges_add(&a->received, pn, pn + 1)) {
        /* No room: forget the oldest, unless the new one is older still. */
        if (pn > ranges_first(&a->received))
            ranges_drop_first(&a->received);
        raise_floor(a);
        if (pn < a->floor)
            return QUIC_DROP;
    }
    if (ranges_count(&a->received) == ACKRX_MAX)
        raise_floor(a);
    return 0;
}

int ackrx_add(struct ackrx *a, uint64_t pn, bool eliciting, uint8_t ecn, ns_t now)
{
    bool reordered, ce;

    if (!ranges_extend(&a->received, pn) && remember(a, pn))
        return QUIC_DROP;
    if (a->largest == NONE || pn > a->largest) {
        a->largest = pn;
        a->largest_time = now;
    }
    if (pn < a->reported_from)
        a->reported_from = pn;
    if (ecn)
        count_mark(a, ecn);
    ce = ecn == ECN_CE && !(a->last_ce && a->tolerance > ACKRX_TOLERANCE);
    a->last_ce = ecn == ECN_CE;
    a->news = true;
    if (!eliciting)
        return 0;
    reordered = out_of_order(a, pn);
    if (a->largest_eliciting == NONE || pn > a->largest_eliciting)
        a->largest_eliciting = pn;
    a->unacked++;
    if (ce || a->at_once || a->unacked >= a->tolerance || hurries(a, pn, reordered))
        a->deadline = 0;
    else if (a->deadline == NS_NEVER)
        a->deadline = ns_add(now, a->max_delay);
    a->at_once = false;
    return 0;
}

void ackrx_ask(struct ackrx *a, uint64_t threshold, ns_t max_delay, uint64_t reordering)
{
    a->tolerance = threshold < UINT32_MAX ? (uint32_t)threshold + 1 : UINT32_MAX;
    a->max_delay = max_delay;
    a->reordering = reordering;
}

bool ackrx_due(const struct ackrx *a, ns_t now)
{
    return a->deadline <= now && a->deadline != NS_NEVER;
}

ns_t ackrx_deadline(const struct ackrx *a)
{
    return a->deadline;
}

bool ackrx_pending(const struct ackrx *a)
{
    return a->unacked > 0;
}

size_t ackrx_range_count(const struct ackrx *a)
{
    return ranges_count(&a->received) - ranges_find(&a->received, a->reported_from);
}

static bool has_marks(const struct ackrx *a)
{
    return a->ect0 || a->ect1 || a->ce;
}

static size_t ecn_size(const struct ackrx *a)
{
    return has_marks(a) ? varint_len(a->ect0) + varint_len(a->ect1) + varint_len(a->ce) : 0;
}

/*
 * How many ranges, counted from the newest, fit `room` bytes together with the count in
 * front of them; `top` is the index of the newest.
 */
static size_t ranges_that_fit(const struct ackrx *a, size_t top, size_t most, size_t room)
{
    const struct range *at = ranges_at(&a->received);
    size_t used = varint_len(ACKRX_SENT) + varint_len(at[top].end - 1 - at[top].start);
    size_t n = 1;

    if (used > room)
        return 0;
    for (; n < most; n++) {
        const struct range *r = &at[top - n];

        used += varint_len(r[1].start - r->end - 1) + varint_len(r->end - 1 - r->start);
        if (used > room)
            break;
    }
    return n;
}

/* A frame on the packets up to `last`, which is no more than the largest. */
static bool write_frame(const struct ackrx *a, struct wire_w *w, uint64_t path_id,
                        unsigned exponent, uint64_t last, ns_t now)
{
    const struct range *at = ranges_at(&a->received);
    uint64_t delay = ns_sub(now, a->largest_time) / NS_PER_US >> exponent, newest;
    struct wire_w before = *w;
    size_t most = ackrx_range_count(a), top = ranges_count(&a->received) - 1, n;

    for (; most > 0 && at[top].start > last; most--)
        top--;
    if (most == 0 || w->failed)
        return false;
    newest = at[top].end - 1 < last ? at[top].end - 1 : last;
    if (most > ACKRX_SENT)
        most = ACKRX_SENT;
    if (path_id == ACKRX_NO_PATH) {
        wire_w_varint(w, FRAME_ACK + has_marks(a));
    } else {
        wire_w_varint(w, FRAME_PATH_ACK + has_marks(a));
        wire_w_varint(w, path_id);
    }
    wire_w_varint(w, newest);
    wire_w_varint(w, delay);
    n = wire_w_left(w) < ecn_size(a)
            ? 0
            : ranges_that_fit(a, top, most, wire_w_left(w) - ecn_size(a));
    if (w->failed || !n) {
        *w = before;
        return false;
    }
    wire_w_varint(w, n - 1);
    wire_w_varint(w, newest - at[top].start);
    for (size_t i = 1; i < n; i++) {
        const struct range *r = &at[top - i];

        wire_w_varint(w, r[1].start - r->end - 1);
        wire_w_varint(w, r->end - 1 - r->start);
    }
    if (has_marks(a)) {
        wire_w_varint(w, a->ect0);
        wire_w_varint(w, a->ect1);
        wire_w_varint(w, a->ce);
    }
    return true;
}

bool ackrx_again(const struct ackrx *a, struct wire_w *w, uint64_t path_id, unsigned exponent,
                 ns_t now)
{
    return a->told != NONE && write_frame(a, w, path_id, exponent, a->told, now);
}

bool ackrx_frame(struct ackrx *a, struct wire_w *w, uint64_t path_id, unsigned exponent,
                 ns_t now, uint64_t *largest)
{
    if (a->largest == NONE || !write_frame(a, w, path_id, exponent, a->largest, now))
        return false;
    if (largest)
        *largest = a->largest;
    a->told = a->largest;
    a->unacked = 0;
    a->deadline = NS_NEVER;
    a->news = false;
    return true;
}

void ackrx_on_ack_of_ack(struct ackrx *a, uint64_t largest)
{
    if (a->largest == NONE || largest > a->largest)
        return;
    /* The range with the largest number is always reported (RFC 9000 13.2.3). */
    if (a->reported_from <= largest)
        a->reported_from = largest + 1 > a->largest ? a->largest : largest + 1;
}

bool ackrx_check(const struct ackrx *a)
{
    if (!ranges_check(&a->received) || ranges_count(&a->received) > ACKRX_MAX)
        return false;
    if ((a->deadline == NS_NEVER) != (a->unacked == 0))
        return false;
    if (a->largest == NONE)
        return ranges_empty(&a->received) && !a->unacked;
    return ranges_end(&a->received) == a->largest + 1 &&
           ranges_first(&a->received) >= a->floor && a->reported_from >= a->floor &&
           a->reported_from <= a->largest;
}
