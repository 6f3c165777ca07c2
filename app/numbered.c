#include "app/numbered.h"

#include "masque/dgram.h"

#include <string.h>

#define UNIT       16   /* parts of a BULK_TICK that delays are kept in */
#define BASE_FAR   8192 /* BULK_TICKs: half a second */
#define DELAY_FAR  (1 << 26) /* parts: minutes */
#define PATH_STALE (5 * NS_PER_S)
#define TOLD_STALE (10 * NS_PER_S)

_Static_assert(BULK_FLOWS == RESEQ_FLOWS && BULK_FLOWS == REPAIR_FLOWS &&
                   BULK_FLOWS == PARITY_FLOWS && BULK_BLOCK == PARITY_BLOCK,
               "one number space each");
_Static_assert(BULK_NUMBERS == RESEQ_NUMBERS && BULK_NUMBERS == REPAIR_NUMBERS,
               "as on the wire");
_Static_assert(BULK_FLOOR_MAX == REPAIR_FLOOR_MAX && BULK_FLOOR_MAX < RESEQ_WINDOW,
               "a floor says what may be waited for");

int numbered_init(struct numbered *n, bool server, uint64_t stream, struct numbered_cap *cap)
{
    memset(n, 0, sizeof(*n));
    n->cap = cap;
    n->context_in = server ? BULK_CONTEXT_CLIENT : BULK_CONTEXT_SERVER;
    n->prefix_n = masque_dgram_prefix(
        stream, server ? BULK_CONTEXT_SERVER : BULK_CONTEXT_CLIENT, n->prefix);
    if (n->prefix_n == 0)
        return QUIC_INVAL;
    repair_init(&n->repair, NUMBERED_BYTES, NUMBERED_HOLD_MAX);
    reseq_init(&n->reseq, NUMBERED_BYTES, NUMBERED_HOLD_MAX);
    parity_out_init(&n->parity_out);
    parity_in_init(&n->parity_in);
    n->report_at = n->tend_at = NS_NEVER;
    return 0;
}

/* Our part of what all sessions hold; what is left of it bounds ours. */
static void account(struct numbered *n)
{
    size_t parity = n->parity_out.pool.bytes + n->parity_in.pool.bytes;
    size_t mine = repair_bytes(&n->repair) + n->reseq.bytes + parity, left;

    if (!n->cap)
        return;
    n->cap->used += mine - n->counted;
    n->counted = mine;
    left = n->cap->used < n->cap->max ? n->cap->max - n->cap->used : 0;
    n->repair.max_bytes =
        n->repair.cap + left < NUMBERED_BYTES ? n->repair.cap + left : NUMBERED_BYTES;
    n->reseq.max_bytes =
        n->reseq.bytes + left < NUMBERED_BYTES ? n->reseq.bytes + left : NUMBERED_BYTES;
    n->parity_out.pool.max_bytes = n->parity_out.pool.bytes + left;
    n->parity_in.pool.max_bytes = n->parity_in.pool.bytes + left;
}

void numbered_free(struct numbered *n)
{
    repair_free(&n->repair);
    reseq_free(&n->reseq);
    parity_out_free(&n->parity_out);
    parity_in_free(&n->parity_in);
    account(n);
}

/*
 * A packet lost on the slowest path is noticed after a round trip and a quarter, with its
 * variation, and its copy takes at most another; a second and a third loss in a row are worth
 * waiting for, too. The sender keeps packets no longer than the far end waits, and says what it
 * has given up: waiting long costs only where that is not heard.
 */
void numbered_hold(struct numbered *n, ns_t slowest_rtt, ns_t slowest_rttvar)
{
    ns_t hold = ns_add(4 * slowest_rtt, 8 * slowest_rttvar);

    hold = ns_min(ns_max(hold, NUMBERED_HOLD_MIN), NUMBERED_HOLD_MAX);
    n->reseq.hold = n->repair.deadline = hold;
}

/* ---- out ------------------------------------------------------------------------------- */

static size_t put(const struct numbered *n, const struct bulk_head *h, uint8_t *out)
{
    memcpy(out, n->prefix, n->prefix_n);
    bulk_encode(h, out + n->prefix_n);
    return n->prefix_n + BULK_HEAD;
}

/* Prefix and head of a packet; `number` is its own. */
static size_t put_head(const struct numbered *n, enum bulk_kind kind, unsigned flow,
                       uint32_t number, uint32_t floor, ns_t now, uint8_t *out)
{
    struct bulk_head h = {.kind = kind,
                          .flow = (uint8_t)flow,
                          .number = number & (BULK_NUMBERS - 1),
                          .time = bulk_time(now),
                          .floor = (uint16_t)floor};

    return put(n, &h, out);
}

size_t numbered_out(struct numbered *n, unsigned flow, uint32_t path, struct span head,
                    struct span body, ns_t now, uint8_t out[NUMBERED_HEAD_MAX], uint64_t *tag)
{
    uint32_t number = n->next[flow];
    uint32_t floor = repair_floor(&n->repair, flow, number, now);

    account(n);
    *tag = repair_keep(&n->repair, flow, number, path, head, body, now);
    n->next[flow] = (number + 1) & (BULK_NUMBERS - 1);
    account(n);
    n->active |= (uint64_t)1 << flow;
    n->floor_due &= ~((uint64_t)1 << flow);
    n->floor_next &= ~((uint64_t)1 << flow);
    if (n->tend_at == NS_NEVER)
        n->tend_at = now + NUMBERED_TEND;
    n->stats.heads++;
    return put_head(n, BULK_DATA, flow, number, floor, now, out);
}

void numbered_unsent(struct numbered *n, unsigned flow, uint64_t tag)
{
    repair_unkeep(&n->repair, tag);
    n->next[flow] = (n->next[flow] - 1) & (BULK_NUMBERS - 1);
    n->stats.heads--;
}

void numbered_left(struct numbered *n, unsigned flow, size_t left, struct span head,
                   struct span body, ns_t now)
{
    size_t skip = numbered_head(n);

    parity_add(&n->parity_out, flow, (n->next[flow] - 1 - (uint32_t)left) & (BULK_NUMBERS - 1),
               span_of(head.p + skip, head.n - skip), body, now);
}

size_t numbered_parity(struct numbered *n, ns_t now, struct span *pkt,
                       uint8_t out[NUMBERED_HEAD_MAX])
{
    struct bulk_head h;
    struct parity p;

    if (!parity_next(&n->parity_out, now, &p))
        return 0;
    h = (struct bulk_head){.kind = BULK_PARITY,
                           .flow = (uint8_t)p.flow,
                           .number = p.first,
                           .time = (uint16_t)p.count,
                           .floor = p.size};
    *pkt = p.pkt;
    return put(n, &h, out);
}

void numbered_fates(struct numbered *n, struct quic_conn *conn)
{
    struct quic_dgram_fate fate[64];
    size_t k;

    while ((k = quic_dgram_fates(conn, fate, ARRAY_LEN(fate))) > 0) {
        for (size_t i = 0; i < k; i++) {
            if (fate[i].fate == QUIC_FATE_LOST)
                repair_lost(&n->repair, fate[i].tag, quic_path_id(conn, fate[i].path));
            else
                repair_acked(&n->repair, fate[i].tag);
        }
    }
}

/* What was given up is told of, in case that no packet of the flow follows soon. */
static void watch_floors(struct numbered *n, ns_t now)
{
    const struct repair_stats *r = &n->repair.stats;
    uint64_t given = r->given_deadline + r->given_memory + r->given_told;

    if (given != n->given_up)
        n->floor_next |= n->active;
    n->given_up = given;
    if (n->floor_due || !n->floor_next)
        return;
    n->floor_due = n->floor_next;
    n->floor_next = 0;
    n->floor_at = now + NUMBERED_FLOOR;
}

static ns_t delay_ns(int64_t delay)
{
    return (ns_t)delay * (BULK_TICK / UNIT);
}

/* The delay of a path without its queues. */
static int32_t least(const struct numbered_path *p)
{
    return p->least[0] < p->least[1] ? p->least[0] : p->least[1];
}

static size_t put_report(struct numbered *n, ns_t now, uint8_t *out, size_t size)
{
    struct bulk_report list[NUMBERED_PATHS];
    int32_t fastest = INT32_MAX;
    size_t k = 0, len;

    for (size_t i = 0; i < NUMBERED_PATHS; i++) {
        if (n->path[i].used && ns_sub(now, n->path[i].seen) > PATH_STALE)
            n->path[i].used = false;
        if (n->path[i].used && least(&n->path[i]) < fastest)
            fastest = least(&n->path[i]);
    }
    for (size_t i = 0; i < NUMBERED_PATHS; i++)
        if (n->path[i].used)
            list[k++] = (struct bulk_report){n->path[i].id,
                                             (uint32_t)(least(&n->path[i]) - fastest) / UNIT,
                                             n->path[i].jitter / UNIT};
    n->report_at = NS_NEVER;
    if (k < 2) /* nothing to compare */
        return 0;
    memcpy(out, n->prefix, n->prefix_n);
    len = bulk_report_encode(list, k, out + n->prefix_n, size - n->prefix_n);
    return len ? n->prefix_n + len : 0;
}

size_t numbered_again(struct numbered *n, bool idle, ns_t now, struct repair_item *it,
                      uint8_t out[NUMBERED_HEAD_MAX])
{
    if (!repair_next(&n->repair, idle, now, it))
        return 0;
    return put_head(n, BULK_DATA, it->flow, it->number,
                    repair_floor(&n->repair, it->flow, it->number, now), now, out);
}

bool numbered_note_due(struct numbered *n, ns_t now)
{
    watch_floors(n, now);
    return (n->floor_due && now >= n->floor_at) || now >= n->report_at;
}

void numbered_note_later(struct numbered *n, ns_t now)
{
    if (n->floor_due && n->floor_at <= now)
        n->floor_at = now + NUMBERED_REPORT;
    if (n->report_at <= now)
        n->report_at = now + NUMBERED_REPORT;
}

size_t numbered_note(struct numbered *n, ns_t now, uint8_t out[NUMBERED_NOTE])
{
    watch_floors(n, now);
    if (n->floor_due && now >= n->floor_at) {
        unsigned flow = (unsigned)__builtin_ctzll(n->floor_due);

        n->floor_due &= n->floor_due - 1;
        if (!repair_holds(&n->repair, flow, now))
            n->active &= ~((uint64_t)1 << flow);
        return put_head(n, BULK_FLOOR, flow, n->next[flow],
                        repair_floor(&n->repair, flow, n->next[flow], now), now, out);
    }
    return now < n->report_at ? 0 : put_report(n, now, out, NUMBERED_NOTE);
}

/* ---- in -------------------------------------------------------------------------------- */

static struct numbered_path *path_of(struct numbered *n, uint64_t id)
{
    struct numbered_path *free = NULL;

    for (size_t i = 0; i < NUMBERED_PATHS; i++) {
        if (n->path[i].used && n->path[i].id == id)
            return &n->path[i];
        if (!n->path[i].used)
            free = &n->path[i];
    }
    if (free)
        *free = (struct numbered_path){.id = id};
    return free;
}

static bool far(int32_t delay)
{
    return delay > DELAY_FAR || delay < -DELAY_FAR;
}

/*
 * Count delays from `raw` on: at the start, and after hours, in which clocks drift. A path that
 * was left behind by a clock that leaps is forgotten.
 */
static void rebase(struct numbered *n, uint16_t raw)
{
    int32_t by = n->based ? (int16_t)(raw - n->base) * UNIT : 0;

    for (size_t i = 0; i < NUMBERED_PATHS; i++) {
        n->path[i].delay -= by;
        n->path[i].least[0] -= by;
        n->path[i].least[1] -= by;
        if (far(n->path[i].delay) || far(n->path[i].least[0]) || far(n->path[i].least[1]))
            n->path[i] = (struct numbered_path){0};
    }
    n->based = true;
    n->base = raw;
}

/* One more (arrival - sent) of a path. The clocks' difference is the same for all of them. */
static void compare(struct numbered *n, uint64_t id, uint16_t sent, ns_t now)
{
    struct numbered_path *p = path_of(n, id);
    uint16_t raw = (uint16_t)(bulk_time(now) - sent);
    int32_t delay;
    uint32_t off;

    if (!n->based || (int16_t)(raw - n->base) > BASE_FAR ||
        (int16_t)(raw - n->base) < -BASE_FAR)
        rebase(n, raw);
    delay = (int16_t)(raw - n->base) * UNIT;
    if (n->report_at == NS_NEVER)
        n->report_at = now + NUMBERED_REPORT;
    if (!p)
        return;
    if (!p->used) {
        p->used = true;
        p->delay = p->least[0] = p->least[1] = delay;
        p->jitter = 0;
        p->least_at = now;
    }
    if (ns_sub(now, p->least_at) >= NUMBERED_LEAST) {
        p->least[1] = p->least[0];
        p->least[0] = delay;
        p->least_at = now;
    }
    if (delay < p->least[0])
        p->least[0] = delay;
    off = (uint32_t)(delay > p->delay ? delay - p->delay : p->delay - delay);
    p->delay += (delay - p->delay) / 16;
    p->jitter += (uint32_t)((int32_t)(off - p->jitter) / 16);
    p->seen = now;
}

static void release(struct numbered *n, struct device *device, ns_t now)
{
    struct span pkt;

    while (reseq_next(&n->reseq, now, &pkt))
        if (pkt.n > 0)
            device_write(device, (uint8_t *)(uintptr_t)pkt.p, pkt.n);
}

/* Of a whole IP packet. TCP takes all that it is given at once; a UDP socket has little room. */
static bool is_tcp(struct span pkt)
{
    return pkt.p[pkt.p[0] >> 4 == 4 ? 9 : 6] == IP_PROTO_TCP;
}

/*
 * A packet: in its turn, later, or not at all. What the far end must not send takes its place
 * in the order all the same, as a packet of no bytes.
 */
static enum cip_verdict take(struct numbered *n, struct cip *cip, struct device *device,
                             unsigned flow, uint32_t number, uint32_t floor, struct span pkt,
                             ns_t now)
{
    enum cip_verdict v = cip_in_packet(cip, pkt);
    enum reseq_verdict r;

    if (v == CIP_OK && n->hold)
        hold_in(n->hold, (uint8_t *)(uintptr_t)pkt.p, pkt.n);
    reseq_spread(&n->reseq, flow, v == CIP_OK && !is_tcp(pkt));
    r = reseq_push(&n->reseq, flow, number, floor, span_of(pkt.p, v == CIP_OK ? pkt.n : 0),
                   now);
    if (v == CIP_OK && (r == RESEQ_PASS || r == RESEQ_LATE))
        device_write(device, (uint8_t *)(uintptr_t)pkt.p, pkt.n);
    return v;
}

enum cip_verdict numbered_in(struct numbered *n, struct cip *cip, struct device *device,
                             struct span payload, uint64_t path_id, struct span *pkt, ns_t now)
{
    struct bulk_head h;
    enum cip_verdict v = CIP_OK;
    struct span other;
    uint32_t number;
    bool gave = false;

    if (bulk_decode(payload, &h, pkt)) {
        n->stats.malformed++;
        *pkt = span_of(NULL, 0);
        return CIP_MALFORMED;
    }
    if (h.kind == BULK_REPORT) {
        int k = bulk_report_decode(&h, *pkt, n->told);

        n->told_n = k > 0 ? (size_t)k : 0;
        n->told_at = now;
        n->stats.reports += k >= 0;
        n->stats.malformed += k < 0;
        return CIP_OK;
    }
    account(n);
    if (h.kind != BULK_PARITY)
        compare(n, path_id, h.time, now);
    if (h.kind == BULK_PARITY) {
        struct parity p = {h.flow, h.number, h.time, h.floor, *pkt};

        gave = parity_came(&n->parity_in, &p, &number, &other, now);
    } else if (h.kind == BULK_FLOOR) {
        reseq_floor(&n->reseq, h.flow, h.number, h.floor, now);
    } else {
        number = h.number;
        other = *pkt;
        gave = parity_got(&n->parity_in, h.flow, &number, &other, now);
        v = take(n, cip, device, h.flow, h.number, h.floor, *pkt, now);
    }
    if (gave)
        take(n, cip, device, h.flow, number, BULK_FLOOR_MAX, other, now);
    if (n->tend_at == NS_NEVER)
        n->tend_at = now + NUMBERED_TEND;
    release(n, device, now);
    account(n);
    return v;
}

void numbered_tick(struct numbered *n, struct device *device, ns_t now)
{
    repair_tick(&n->repair, now);
    parity_tick(&n->parity_out, now);
    if (now < n->tend_at && now < reseq_deadline(&n->reseq))
        return;
    reseq_tick(&n->reseq, now);
    release(n, device, now);
    if (now < n->tend_at)
        return;
    repair_trim(&n->repair, now);
    parity_out_trim(&n->parity_out, now);
    parity_in_trim(&n->parity_in, now);
    account(n);
    n->tend_at = n->reseq.bytes || repair_bytes(&n->repair) || n->parity_out.pool.bytes ||
                         n->parity_in.pool.bytes
                     ? now + NUMBERED_TEND
                     : NS_NEVER;
}

void numbered_written(struct numbered *n)
{
    reseq_done(&n->reseq);
    parity_done(&n->parity_in);
}

ns_t numbered_deadline(const struct numbered *n)
{
    ns_t at = ns_min(reseq_deadline(&n->reseq), repair_deadline(&n->repair));

    at = ns_min(at, parity_deadline(&n->parity_out));
    at = ns_min(at, n->floor_due | n->floor_next ? n->floor_at : NS_NEVER);
    return ns_min(at, ns_min(n->report_at, n->tend_at));
}

bool numbered_late(const struct numbered *n, uint64_t id, ns_t now, ns_t *late, ns_t *jitter)
{
    for (size_t i = 0; i < n->told_n && ns_sub(now, n->told_at) < TOLD_STALE; i++) {
        if (n->told[i].path != id)
            continue;
        *late = ns_min(delay_ns((int64_t)n->told[i].late * UNIT), NUMBERED_HOLD_MAX);
        *jitter = ns_min(delay_ns((int64_t)n->told[i].jitter * UNIT), NUMBERED_HOLD_MAX);
        return true;
    }
    return false;
}
