#include "sched/repair.h"

#include <stdlib.h>
#include <string.h>

#define RECORDS_MIN 256
#define BYTES_MIN   65536

enum state { SETTLED, FLYING, LOST };

struct repair_record {
    uint64_t at;   /* running offset of the bytes */
    uint64_t next; /* tag of the flow's next packet, 0: none yet */
    uint64_t prev; /* and of the one before; 0: none */
    ns_t sent;     /* for the first time */
    uint32_t number, n, path;
    uint8_t flow, state;
    bool exempt; /* from the share */
};

_Static_assert(sizeof(struct repair_record) <= REPAIR_RECORD, "repair_bytes");

static struct repair_record *rec(const struct repair *r, uint64_t tag)
{
    return &r->record[tag & (r->records - 1)];
}

static bool known(const struct repair *r, uint64_t tag)
{
    return tag >= r->oldest && tag < r->next;
}

void repair_init(struct repair *r, size_t max_bytes, ns_t deadline)
{
    memset(r, 0, sizeof(*r));
    r->max_bytes = BYTES_MIN;
    while (r->max_bytes * 2 <= max_bytes)
        r->max_bytes *= 2;
    r->deadline = deadline;
    r->oldest = r->next = r->lost_from = 1;
    r->credit = REPAIR_CREDIT;
}

void repair_free(struct repair *r)
{
    free(r->record);
    free(r->bytes);
    repair_init(r, r->max_bytes, r->deadline);
}

/* ---- settling -------------------------------------------------------------------------- */

/* It is lost no more. */
static void recovered(struct repair *r, const struct repair_record *p)
{
    r->lost -= p->state == LOST;
    r->pressing -= p->state == LOST && p->exempt;
}

static void settle(struct repair *r, uint64_t tag)
{
    struct repair_record *p = rec(r, tag);

    recovered(r, p);
    p->state = SETTLED;
    while (r->oldest < r->next && rec(r, r->oldest)->state == SETTLED)
        r->oldest++;
}

void repair_tick(struct repair *r, ns_t now)
{
    while (r->oldest < r->next && ns_sub(now, rec(r, r->oldest)->sent) > r->deadline) {
        r->stats.given_deadline++;
        settle(r, r->oldest);
    }
}

void repair_acked(struct repair *r, uint64_t tag)
{
    if (!known(r, tag) || rec(r, tag)->state == SETTLED)
        return;
    r->stats.acked++;
    r->stats.spurious += rec(r, tag)->state == LOST;
    settle(r, tag);
}

static void lose(struct repair *r, uint64_t tag, bool exempt)
{
    struct repair_record *p = rec(r, tag);

    p->state = LOST;
    p->exempt = exempt;
    r->lost++;
    r->pressing += exempt;
    r->stats.lost++;
    if (tag < r->lost_from)
        r->lost_from = tag;
}

void repair_lost(struct repair *r, uint64_t tag, uint32_t path)
{
    if (known(r, tag) && rec(r, tag)->state == FLYING && rec(r, tag)->path == path)
        lose(r, tag, false);
}

size_t repair_path_lost(struct repair *r, uint32_t path, ns_t now)
{
    size_t n = 0;

    for (uint64_t tag = r->oldest; tag < r->next; tag++) {
        struct repair_record *p = rec(r, tag);

        if (p->path != path || p->state == SETTLED)
            continue;
        if (!p->exempt) /* once: a path that died says nothing of how long the next may take */
            p->sent = now;
        if (p->state == FLYING) {
            lose(r, tag, true);
            n++;
        } else if (!p->exempt) {
            p->exempt = true;
            r->pressing++;
        }
    }
    return n;
}

void repair_probe(struct repair *r, uint32_t path, size_t most)
{
    for (uint64_t tag = r->oldest; tag < r->next && most > 0; tag++) {
        struct repair_record *p = rec(r, tag);

        if (p->path != path || p->state != FLYING)
            continue;
        lose(r, tag, true);
        most--;
    }
}

/* ---- keeping --------------------------------------------------------------------------- */

/* Place for one more; where the bound allows no more of them, the oldest packet's. */
static bool more_records(struct repair *r)
{
    size_t n = r->records ? r->records * 2 : RECORDS_MIN;
    struct repair_record *list;

    if (r->next - r->oldest < r->records)
        return true;
    if (r->records && n * sizeof(*list) > r->max_bytes) {
        r->stats.given_memory++;
        settle(r, r->oldest);
        return true;
    }
    list = malloc(n * sizeof(*list));
    if (!list)
        return false;
    for (uint64_t tag = r->oldest; tag < r->next; tag++)
        list[tag & (n - 1)] = *rec(r, tag);
    free(r->record);
    r->record = list;
    r->records = n;
    return true;
}

/* Where `n` bytes begin that don't go over the ring's end. */
static uint64_t place(uint64_t head, size_t cap, size_t n)
{
    size_t left = cap - (size_t)(head & (cap - 1));

    return left < n ? head + left : head;
}

static uint64_t tail(const struct repair *r)
{
    return r->oldest < r->next ? rec(r, r->oldest)->at : r->head;
}

static bool fits(const struct repair *r, size_t n)
{
    return r->cap && place(r->head, r->cap, n) + n - tail(r) <= r->cap;
}

/* A larger ring, with what is kept moved over. */
static bool more_bytes(struct repair *r)
{
    size_t cap = r->cap ? r->cap * 2 : BYTES_MIN;
    uint64_t head = 0;
    uint8_t *bytes;

    if (cap > r->max_bytes)
        return false;
    bytes = malloc(cap);
    if (!bytes)
        return false;
    for (uint64_t tag = r->oldest; tag < r->next; tag++) {
        struct repair_record *p = rec(r, tag);

        head = place(head, cap, p->n);
        memcpy(bytes + (head & (cap - 1)), r->bytes + (p->at & (r->cap - 1)), p->n);
        p->at = head;
        head += p->n;
    }
    free(r->bytes);
    r->bytes = bytes;
    r->cap = cap;
    r->head = head;
    return true;
}

/* Room for `n` bytes at the head. */
static bool make_room(struct repair *r, size_t n)
{
    while (!fits(r, n)) {
        if (more_bytes(r))
            continue;
        if (r->oldest == r->next)
            return false;
        r->stats.given_memory++;
        settle(r, r->oldest);
    }
    return true;
}

uint64_t repair_keep(struct repair *r, unsigned flow, uint32_t number, uint32_t path,
                     struct span head, struct span body, ns_t now)
{
    struct repair_record *p;
    uint64_t tag = r->next;
    size_t n = head.n + body.n;
    uint8_t *to;

    repair_tick(r, now);
    r->credit += (int64_t)(n / REPAIR_SHARE);
    if (r->credit > REPAIR_CREDIT)
        r->credit = REPAIR_CREDIT;
    if (n == 0 || n > REPAIR_PACKET || !more_records(r) || !make_room(r, n))
        return 0;
    r->head = place(r->head, r->cap, n);
    p = rec(r, tag);
    *p = (struct repair_record){.at = r->head,
                                .sent = now,
                                .number = number,
                                .n = (uint32_t)n,
                                .path = path,
                                .prev = r->last[flow],
                                .flow = (uint8_t)flow,
                                .state = FLYING};
    to = r->bytes + (p->at & (r->cap - 1));
    if (head.n)
        memcpy(to, head.p, head.n);
    if (body.n)
        memcpy(to + head.n, body.p, body.n);
    r->head += n;
    r->next++;
    if (known(r, r->last[flow]))
        rec(r, r->last[flow])->next = tag;
    else
        r->first[flow] = tag;
    r->last[flow] = tag;
    r->stats.kept++;
    return tag;
}

void repair_unkeep(struct repair *r, uint64_t tag)
{
    struct repair_record *p;

    if (!known(r, tag) || tag + 1 != r->next)
        return;
    p = rec(r, tag);
    recovered(r, p);
    r->next--;
    r->head = p->at;
    r->last[p->flow] = p->prev;
    if (known(r, p->prev))
        rec(r, p->prev)->next = 0;
    if (r->first[p->flow] == tag)
        r->first[p->flow] = 0;
    r->credit -= (int64_t)(p->n / REPAIR_SHARE);
    r->stats.kept--;
}

/* ---- sending again --------------------------------------------------------------------- */

bool repair_next(struct repair *r, bool idle, ns_t now, struct repair_item *out)
{
    struct repair_record *p;

    repair_tick(r, now);
    if (r->lost == 0)
        return false;
    if (r->lost_from < r->oldest)
        r->lost_from = r->oldest;
    while (rec(r, r->lost_from)->state != LOST)
        r->lost_from++;
    p = rec(r, r->lost_from);
    if (!idle && !p->exempt && r->credit < (int64_t)p->n)
        return false;
    *out = (struct repair_item){.tag = r->lost_from,
                                .flow = p->flow,
                                .number = p->number,
                                .path = p->path,
                                .pkt = span_of(r->bytes + (p->at & (r->cap - 1)), p->n)};
    return true;
}

void repair_resent(struct repair *r, uint64_t tag, uint32_t path)
{
    struct repair_record *p;

    if (!known(r, tag) || rec(r, tag)->state != LOST)
        return;
    p = rec(r, tag);
    recovered(r, p);
    p->state = FLYING;
    p->path = path;
    if (!p->exempt)
        r->credit -= (int64_t)p->n;
    r->stats.resent++;
    r->stats.resent_bytes += p->n;
}

void repair_give_up(struct repair *r, uint64_t tag)
{
    if (!known(r, tag) || rec(r, tag)->state == SETTLED)
        return;
    r->stats.given_told++;
    settle(r, tag);
}

/* The oldest packet of the flow that is not settled; 0: none. */
static uint64_t first_of(struct repair *r, unsigned flow, ns_t now)
{
    uint64_t tag = r->first[flow];

    repair_tick(r, now);
    if (r->oldest == r->next)
        return r->first[flow] = 0;
    /* Those below `oldest` are gone, and with them the way to the next: look for it. */
    if (!known(r, tag) && known(r, r->last[flow]))
        for (tag = r->oldest; rec(r, tag)->flow != flow;)
            tag++;
    while (known(r, tag) && rec(r, tag)->state == SETTLED)
        tag = rec(r, tag)->next;
    return r->first[flow] = known(r, tag) ? tag : 0;
}

uint32_t repair_floor(struct repair *r, unsigned flow, uint32_t number, ns_t now)
{
    uint64_t tag = first_of(r, flow, now);
    uint32_t below = tag ? (number - rec(r, tag)->number) & (REPAIR_NUMBERS - 1) : 0;

    return below > REPAIR_FLOOR_MAX ? REPAIR_FLOOR_MAX : below;
}

bool repair_holds(struct repair *r, unsigned flow, ns_t now)
{
    return first_of(r, flow, now) != 0;
}

ns_t repair_deadline(const struct repair *r)
{
    return r->oldest < r->next ? ns_add(rec(r, r->oldest)->sent, r->deadline + 1) : NS_NEVER;
}

void repair_trim(struct repair *r, ns_t now)
{
    repair_tick(r, now);
    if (r->oldest < r->next || !r->bytes)
        return;
    free(r->record);
    free(r->bytes);
    r->record = NULL;
    r->bytes = NULL;
    r->records = r->cap = 0;
    r->head = 0;
}

bool repair_check(const struct repair *r)
{
    size_t lost = 0, pressing = 0;
    uint64_t at = tail(r);

    if (r->oldest > r->next || r->next - r->oldest > r->records ||
        (r->cap && r->head - tail(r) > r->cap))
        return false;
    for (uint64_t tag = r->oldest; tag < r->next; tag++) {
        const struct repair_record *p = rec(r, tag);

        if (p->at < at || (p->at & (r->cap - 1)) + p->n > r->cap || p->flow >= REPAIR_FLOWS ||
            (p->next && p->next <= tag) || (p->state == LOST && tag < r->lost_from))
            return false;
        at = p->at + p->n;
        lost += p->state == LOST;
        pressing += p->state == LOST && p->exempt;
    }
    return lost == r->lost && pressing == r->pressing &&
           (r->oldest == r->next || rec(r, r->oldest)->state != SETTLED) &&
           at <= r->head;
}
