#include "quic/streams.h"

#include <stdlib.h>
#include <string.h>

#include "quic/streams_core.h"

/* Whose streams a first MAX_STREAM_DATA of the peer is for (RFC 9000 18.2). */
enum send_kind { SEND_OUR_BIDI, SEND_THEIR_BIDI, SEND_OUR_UNI };

static void type_init(struct streams_type *t, uint64_t limit)
{
    *t = (struct streams_type){.limit = limit, .window = limit, .blocked_at = FLOW_NOT_BLOCKED};
    ranges_init(&t->unborn, UINT32_MAX);
}

void streams_init(struct streams *s, const struct streams_config *cfg)
{
    memset(s, 0, sizeof *s);
    s->cfg = *cfg;
    s->rings.keep = STREAMS_KEPT;
    for (int i = 0; i < 2; i++) {
        type_init(&s->ours[i], 0);
        type_init(&s->theirs[i], i ? cfg->max_uni : cfg->max_bidi);
    }
    flow_tx_init(&s->conn_tx, 0);
    flow_rx_init(&s->conn_rx, cfg->conn_window, cfg->conn_window_max);
}

void streams_free(struct streams *s)
{
    for (uint32_t i = 0; i < s->table_cap; i++) {
        for (struct stream *st = s->table[i], *next; st; st = next) {
            next = st->hash_next;
            stream_free(st);
            free(st);
        }
    }
    free(s->table);
    for (int i = 0; i < 2; i++)
        ranges_free(&s->theirs[i].unborn);
    s->table = NULL;
    s->table_cap = s->count = 0;
    s->control = s->data[0] = s->data[1] = s->held = s->events = (struct stream_list){0};
}

void streams_time(struct streams *s, ns_t now, ns_t rtt)
{
    s->now = now;
    s->rtt = rtt;
}

/* ---- the table ----------------------------------------------------------------------- */

static struct stream **slot(struct stream **table, uint32_t cap, uint64_t id)
{
    return &table[(uint32_t)(id * 0x9e3779b97f4a7c15u >> 32) & (cap - 1)];
}

struct stream *streams_find(struct streams *s, uint64_t id)
{
    struct stream *st = s->table_cap ? *slot(s->table, s->table_cap, id) : NULL;

    while (st && st->id != id)
        st = st->hash_next;
    return st;
}

/* Make the table as large as what is in it, more or less. */
static int table_resize(struct streams *s, uint32_t cap)
{
    struct stream **table = calloc(cap, sizeof *table);

    if (!table)
        return QUIC_NOMEM;
    for (uint32_t i = 0; i < s->table_cap; i++) {
        for (struct stream *st = s->table[i], *next; st; st = next) {
            struct stream **at = slot(table, cap, st->id);

            next = st->hash_next;
            st->hash_next = *at;
            *at = st;
        }
    }
    free(s->table);
    s->table = table;
    s->table_cap = cap;
    return 0;
}

struct stream *streams_create(struct streams *s, uint64_t id)
{
    bool ours = streams_is_ours(s, id), uni = id & ID_UNI;
    struct stream_limits lim = {.send_limit = s->send_limit[uni    ? SEND_OUR_UNI
                                                            : ours ? SEND_OUR_BIDI
                                                                   : SEND_THEIR_BIDI],
                                .recv_window = s->cfg.stream_window,
                                .recv_window_max = s->cfg.stream_window_max,
                                .send_buffer = s->cfg.send_buffer};
    struct stream *st, **at;

    if (s->count >= s->table_cap && table_resize(s, s->table_cap ? s->table_cap * 2 : 8))
        return NULL;
    st = malloc(sizeof *st);
    if (!st)
        return NULL;
    stream_init(st, id, !uni || ours, !uni || !ours, &lim);
    st->in.account = &s->rings;
    at = slot(s->table, s->table_cap, id);
    st->hash_next = *at;
    *at = st;
    s->count++;
    return st;
}

/* ---- queues -------------------------------------------------------------------------- */

static struct stream_list *queue_of(struct streams *s, uint8_t queue)
{
    switch (queue) {
    case QUEUE_CONTROL:
        return &s->control;
    case QUEUE_URGENT:
        return &s->data[0];
    case QUEUE_DATA:
        return &s->data[1];
    case QUEUE_HELD:
        return &s->held;
    default:
        return NULL;
    }
}

static void leave_queue(struct streams *s, struct stream *st)
{
    struct stream_list *l = queue_of(s, st->queue);

    if (!l)
        return;
    *(st->tx_prev ? &st->tx_prev->tx_next : &l->first) = st->tx_next;
    *(st->tx_next ? &st->tx_next->tx_prev : &l->last) = st->tx_prev;
    st->tx_prev = st->tx_next = NULL;
    st->queue = QUEUE_NONE;
}

void streams_join(struct streams *s, struct stream *st, uint8_t queue)
{
    struct stream_list *l = queue_of(s, queue);

    leave_queue(s, st);
    if (!l)
        return;
    st->queue = queue;
    st->tx_prev = l->last;
    *(l->last ? &l->last->tx_next : &l->first) = st;
    l->last = st;
}

uint8_t streams_right_queue(const struct streams *s, const struct stream *st)
{
    if (st->control)
        return QUEUE_CONTROL;
    if (stream_wants_data(st, flow_tx_room(&s->conn_tx)))
        return st->urgent ? QUEUE_URGENT : QUEUE_DATA;
    return stream_wants_data(st, UINT64_MAX) ? QUEUE_HELD : QUEUE_NONE;
}

static void add_event(struct streams *s, struct stream *st)
{
    if (!st->events || st->ev_queued)
        return;
    st->ev_queued = true;
    st->ev_next = NULL;
    *(s->events.last ? &s->events.last->ev_next : &s->events.first) = st;
    s->events.last = st;
}

/* The stream is over: forget it, and let the peer open another. */
static void destroy(struct streams *s, struct stream *st)
{
    struct stream **at = slot(s->table, s->table_cap, st->id);

    leave_queue(s, st);
    while (*at != st)
        at = &(*at)->hash_next;
    *at = st->hash_next;
    streams_type_of(s, st->id)->over++;
    stream_free(st);
    free(st);
    s->count--;
    if (s->table_cap > 64 && s->count < s->table_cap / 8)
        table_resize(s, s->table_cap / 4);
}

void streams_settle(struct streams *s, struct stream *st, struct streams_counts before)
{
    uint8_t queue = streams_right_queue(s, st);

    s->conn_rx.received += st->rx.received - before.received;
    flow_rx_consume(&s->conn_rx, st->rx.consumed - before.consumed);
    if (queue != st->queue)
        streams_join(s, st, queue);
    add_event(s, st);
    if (stream_over(st) && !st->ev_queued)
        destroy(s, st);
}

void streams_release_held(struct streams *s)
{
    struct stream *st;

    while ((st = s->held.first))
        streams_join(s, st, st->urgent ? QUEUE_URGENT : QUEUE_DATA);
}

void streams_allow(struct streams_type *t, uint64_t limit)
{
    if (limit <= t->limit)
        return;
    t->limit = limit;
    t->wanted = false;
    t->allowed = true;
}

void streams_set_peer(struct streams *s, const struct tparams *peer)
{
    s->send_limit[SEND_OUR_BIDI] = peer->initial_max_stream_data_bidi_remote;
    s->send_limit[SEND_THEIR_BIDI] = peer->initial_max_stream_data_bidi_local;
    s->send_limit[SEND_OUR_UNI] = peer->initial_max_stream_data_uni;
    flow_tx_raise(&s->conn_tx, peer->initial_max_data);
    streams_allow(&s->ours[0], peer->initial_max_streams_bidi);
    streams_allow(&s->ours[1], peer->initial_max_streams_uni);
}

/* ---- for the user -------------------------------------------------------------------- */

int streams_open(struct streams *s, bool uni, uint64_t *id)
{
    struct streams_type *t = &s->ours[uni];

    if (t->opened >= t->limit) {
        t->wanted = true;
        return QUIC_BLOCKED;
    }
    *id = t->opened << 2 | (uni ? ID_UNI : 0) | (s->cfg.server ? ID_BY_SERVER : 0);
    if (!streams_create(s, *id))
        return QUIC_NOMEM;
    t->opened++;
    return 0;
}

int streams_write(struct streams *s, uint64_t id, struct span data, size_t *taken)
{
    struct stream *st = streams_find(s, id);
    int err = QUIC_CLOSED;

    if (taken)
        *taken = 0;
    if (st) {
        err = stream_write(st, data, taken);
        streams_settle(s, st, streams_counts_of(st));
    }
    return err;
}

int streams_finish(struct streams *s, uint64_t id)
{
    struct stream *st = streams_find(s, id);
    int err = QUIC_CLOSED;

    if (st) {
        err = stream_finish(st);
        streams_settle(s, st, streams_counts_of(st));
    }
    return err;
}

int streams_reset(struct streams *s, uint64_t id, uint64_t code)
{
    struct stream *st = streams_find(s, id);
    int err = QUIC_CLOSED;

    if (st) {
        err = stream_reset(st, code);
        streams_settle(s, st, streams_counts_of(st));
    }
    return err;
}

int streams_stop(struct streams *s, uint64_t id, uint64_t code)
{
    struct stream *st = streams_find(s, id);
    struct streams_counts before;
    int err;

    if (!st)
        return QUIC_CLOSED;
    before = streams_counts_of(st);
    err = stream_stop(st, code);
    streams_settle(s, st, before);
    return err;
}

struct span streams_peek(struct streams *s, uint64_t id, bool *fin)
{
    struct stream *st = streams_find(s, id);

    if (st)
        return stream_peek(st, fin);
    if (fin)
        *fin = false;
    return span_of(NULL, 0);
}

void streams_consume(struct streams *s, uint64_t id, size_t n)
{
    struct stream *st = streams_find(s, id);
    struct streams_counts before;

    if (!st)
        return;
    before = streams_counts_of(st);
    stream_consume(st, n);
    streams_settle(s, st, before);
}

void streams_set_urgent(struct streams *s, uint64_t id, bool urgent)
{
    struct stream *st = streams_find(s, id);

    if (!st)
        return;
    st->urgent = urgent;
    streams_settle(s, st, streams_counts_of(st));
}

/* Bits in the order in which they are told. */
static const struct {
    uint8_t bit;
    enum streams_event_type type;
} event_order[] = {
    {STREAM_EV_OPENED, STREAMS_OPENED},     {STREAM_EV_READABLE, STREAMS_READABLE},
    {STREAM_EV_RESET, STREAMS_RESET},       {STREAM_EV_STOPPED, STREAMS_STOPPED},
    {STREAM_EV_WRITABLE, STREAMS_WRITABLE}, {STREAM_EV_FINISHED, STREAMS_FINISHED},
};

/* Take one event out of the stream; false if it has none. */
static bool take_event(struct stream *st, struct streams_event *ev)
{
    for (size_t i = 0; i < ARRAY_LEN(event_order); i++) {
        if (!(st->events & event_order[i].bit))
            continue;
        st->events &= (uint8_t)~event_order[i].bit;
        ev->type = event_order[i].type;
        ev->id = st->id;
        ev->code = ev->type == STREAMS_RESET     ? st->peer_reset_code
                   : ev->type == STREAMS_STOPPED ? st->peer_stop_code
                                                 : 0;
        if (ev->type == STREAMS_RESET && st->recv == RECV_RESET_RECVD)
            st->recv = RECV_RESET_READ;
        return true;
    }
    return false;
}

bool streams_next_event(struct streams *s, struct streams_event *ev)
{
    struct stream *st;

    for (int uni = 0; uni < 2; uni++) {
        if (s->ours[uni].allowed) {
            s->ours[uni].allowed = false;
            *ev = (struct streams_event){STREAMS_ALLOWED, uni ? ID_UNI : 0, 0};
            return true;
        }
    }
    while ((st = s->events.first)) {
        bool found = take_event(st, ev);

        if (!st->events) {
            s->events.first = st->ev_next;
            if (!s->events.first)
                s->events.last = NULL;
            st->ev_queued = false;
            streams_settle(s, st, streams_counts_of(st));
        }
        if (found)
            return true;
    }
    return false;
}

size_t streams_memory(const struct streams *s)
{
    size_t sum = s->table_cap * sizeof *s->table + ranges_memory(&s->theirs[0].unborn) +
                 ranges_memory(&s->theirs[1].unborn);

    for (uint32_t i = 0; i < s->table_cap; i++)
        for (const struct stream *st = s->table[i]; st; st = st->hash_next)
            sum += stream_memory(st);
    return sum;
}

void streams_trim(struct streams *s)
{
    for (uint32_t i = 0; i < s->table_cap; i++)
        for (struct stream *st = s->table[i]; st; st = st->hash_next)
            stream_trim(st);
    for (int i = 0; i < 2; i++)
        ranges_trim(&s->theirs[i].unborn);
}

/* ---- the invariant ------------------------------------------------------------------- */

static bool check_queue(const struct streams *s, const struct stream *st)
{
    uint8_t right = streams_right_queue(s, st);

    /* A data queue is looked through when it is served, not when credit runs out. */
    if (right == QUEUE_HELD && st->queue == (st->urgent ? QUEUE_URGENT : QUEUE_DATA))
        return true;
    return right == st->queue;
}

static bool check_type(const struct streams_type *t)
{
    return t->opened <= t->limit && t->over <= t->opened && ranges_check(&t->unborn);
}

bool streams_check(const struct streams *s)
{
    uint64_t received = 0, consumed = 0, used = 0;
    uint32_t count = 0;

    for (uint32_t i = 0; i < s->table_cap; i++) {
        for (const struct stream *st = s->table[i]; st; st = st->hash_next) {
            if (!stream_check(st) || !check_queue(s, st) || (st->events && !st->ev_queued) ||
                (stream_over(st) && !st->ev_queued))
                return false;
            received += st->rx.received;
            consumed += st->rx.consumed;
            used += st->tx.used;
            count++;
        }
    }
    for (int i = 0; i < 2; i++)
        if (!check_type(&s->ours[i]) || !check_type(&s->theirs[i]))
            return false;
    return count == s->count && received <= s->conn_rx.received &&
           consumed <= s->conn_rx.consumed && used <= s->conn_tx.used &&
           s->conn_rx.received <= s->conn_rx.limit && s->conn_tx.used <= s->conn_tx.limit &&
           s->conn_rx.consumed <= s->conn_rx.received;
}
