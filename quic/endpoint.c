#include "quic/endpoint.h"

#include <stdlib.h>
#include <string.h>

#include "quic/cid_table.h"
#include "quic/conn.h"
#include "quic/initial.h"

#define MAX_CONNS     4096
#define MAX_HALF_OPEN 256
#define ANSWERS_PER_S 200
#define LOOKS_PER_S   (1u << 18) /* connections compared with what may be a stateless reset */
#define RETRIES_PER_S 20000
#define RETRY_WINDOWS 10 /* in a second, so that a flood doesn't silence us for long */
#define RESET_MIN     21 /* RFC 9000 10.3 */
#define RESET_MAX     42
#define FIXED_BIT     0x40
#define LONG_HEADER   0x80
#define ODCID_MIN     8 /* RFC 9000 7.2 */

struct member {
    struct quic_conn *conn;
    bool half_open;
};

/* What is left of so much per time, and since when. */
struct budget {
    ns_t since;
    unsigned left;
};

struct quic_endpoint {
    struct quic_endpoint_config cfg;
    struct cid_table table;
    struct member *member;
    struct quic_conn **heap; /* by endpoint_at */
    size_t n, cap;
    struct budget answers, looks, retries;
    struct token_key token_key;
    struct quic_endpoint_stats stats;
    uint8_t scratch[INITIAL_SCRATCH];
};

/* ---- the heap of deadlines ----------------------------------------------------------- */

static void heap_put(struct quic_endpoint *ep, size_t i, struct quic_conn *conn)
{
    ep->heap[i] = conn;
    conn->endpoint_heap = i;
}

static void heap_fix(struct quic_endpoint *ep, size_t i)
{
    struct quic_conn *conn = ep->heap[i];
    for (; i && conn->endpoint_at < ep->heap[(i - 1) / 2]->endpoint_at; i = (i - 1) / 2)
        heap_put(ep, i, ep->heap[(i - 1) / 2]);
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= ep->n)
            break;
        if (child + 1 < ep->n &&
            ep->heap[child + 1]->endpoint_at < ep->heap[child]->endpoint_at)
            child++;
        if (ep->heap[child]->endpoint_at >= conn->endpoint_at)
            break;
        heap_put(ep, i, ep->heap[child]);
        i = child;
    }
    heap_put(ep, i, conn);
}

/* ---- members ------------------------------------------------------------------------- */

struct quic_endpoint *quic_endpoint_new(const struct quic_endpoint_config *cfg)
{
    if (!cfg->conn.rng.fill || cfg->conn.cid_len < 4 || cfg->conn.cid_len > QUIC_CID_MAX)
        return NULL;
    struct quic_endpoint *ep = calloc(1, sizeof(*ep));
    if (!ep)
        return NULL;
    ep->cfg = *cfg;
    if (!ep->cfg.max_conns)
        ep->cfg.max_conns = MAX_CONNS;
    if (!ep->cfg.max_half_open)
        ep->cfg.max_half_open = MAX_HALF_OPEN;
    if (!ep->cfg.answers_per_s)
        ep->cfg.answers_per_s = ANSWERS_PER_S;
    if (!ep->cfg.retries_per_s)
        ep->cfg.retries_per_s = RETRIES_PER_S;
    if (ep->cfg.retries_per_s < RETRY_WINDOWS)
        ep->cfg.retries_per_s = RETRY_WINDOWS;
    if (!ep->cfg.retry_half_open)
        ep->cfg.retry_half_open = (ep->cfg.max_half_open + 3) / 4;
    ep->looks.left = LOOKS_PER_S;
    ep->answers.left = ep->cfg.answers_per_s;
    ep->retries.left = ep->cfg.retries_per_s / RETRY_WINDOWS;
    static const uint8_t none[32];
    if (memcmp(ep->cfg.conn.reset_key, none, 32) == 0)
        rng_fill(&cfg->conn.rng, ep->cfg.conn.reset_key, 32);
    if (cid_table_init(&ep->table, &cfg->conn.rng) != 0 ||
        token_key_init(&ep->token_key, ep->cfg.conn.reset_key,
                                     ep->cfg.unix_offset, &ep->cfg.conn.rng) != 0) {
        cid_table_free(&ep->table);
        free(ep);
        return NULL;
    }
    return ep;
}

void quic_endpoint_del(struct quic_endpoint *ep)
{
    if (!ep)
        return;
    while (ep->n)
        quic_endpoint_remove(ep, ep->member[ep->n - 1].conn);
    cid_table_free(&ep->table);
    free(ep->member);
    free(ep->heap);
    explicit_bzero(&ep->token_key, sizeof(ep->token_key));
    free(ep);
}

static int make_room(struct quic_endpoint *ep)
{
    if (ep->n < ep->cap)
        return 0;
    size_t cap = ep->cap ? 2 * ep->cap : 8;
    struct member *member = realloc(ep->member, cap * sizeof(*member));
    if (member)
        ep->member = member;
    struct quic_conn **heap = realloc(ep->heap, cap * sizeof(struct quic_conn *));
    if (heap)
        ep->heap = heap;
    if (!member || !heap)
        return QUIC_NOMEM;
    ep->cap = cap;
    return 0;
}

int quic_endpoint_add(struct quic_endpoint *ep, struct quic_conn *conn)
{
    if (ep->n >= ep->cfg.max_conns)
        return QUIC_BLOCKED;
    int r = make_room(ep);
    if (r)
        return r;
    bool half_open = conn->server && !conn->complete;
    ep->member[ep->n] = (struct member){conn, half_open};
    ep->stats.half_open += half_open;
    conn->endpoint_slot = ep->n;
    conn->endpoint_at = NS_NEVER;
    heap_put(ep, ep->n, conn);
    ep->n++;
    r = quic_endpoint_update(ep, conn);
    if (r)
        quic_endpoint_remove(ep, conn);
    return r;
}

static void not_half_open(struct quic_endpoint *ep, struct member *m)
{
    ep->stats.half_open -= m->half_open;
    m->half_open = false;
}

int quic_endpoint_update(struct quic_endpoint *ep, struct quic_conn *conn)
{
    if (conn->endpoint_slot >= ep->n)
        return 0;
    struct member *m = &ep->member[conn->endpoint_slot];
    struct cid_event ev;
    int result = 0;
    while (conn_cid_event(conn, &ev)) {
        int r = 0;
        if (ev.added)
            r = cid_table_add(&ep->table, &ev.cid, conn);
        else
            cid_table_remove(&ep->table, &ev.cid, conn);
        if (r)
            result = r;
    }
    if (conn->complete || !conn_alive(conn))
        not_half_open(ep, m);
    ns_t at = quic_deadline(conn);
    if (at != conn->endpoint_at) {
        conn->endpoint_at = at;
        heap_fix(ep, conn->endpoint_heap);
    }
    return result;
}

void quic_endpoint_remove(struct quic_endpoint *ep, struct quic_conn *conn)
{
    size_t i = conn->endpoint_slot, h = conn->endpoint_heap;
    if (i >= ep->n || ep->member[i].conn != conn)
        return;
    cid_table_forget(&ep->table, conn);
    not_half_open(ep, &ep->member[i]);
    ep->n--;
    ep->member[i] = ep->member[ep->n];
    ep->member[i].conn->endpoint_slot = i;
    if (h != ep->n) {
        heap_put(ep, h, ep->heap[ep->n]);
        heap_fix(ep, h);
    }
    conn->endpoint_slot = conn->endpoint_heap = SIZE_MAX;
}

ns_t quic_endpoint_deadline(const struct quic_endpoint *ep)
{
    return ep->n ? ep->heap[0]->endpoint_at : NS_NEVER;
}

struct quic_conn *quic_endpoint_next_due(struct quic_endpoint *ep, ns_t now)
{
    return ep->n && ep->heap[0]->endpoint_at <= now ? ep->heap[0] : NULL;
}

size_t quic_endpoint_count(const struct quic_endpoint *ep)
{
    return ep->n;
}

struct quic_conn *quic_endpoint_conn(const struct quic_endpoint *ep, size_t i)
{
    return i < ep->n ? ep->member[i].conn : NULL;
}

void quic_endpoint_stats(const struct quic_endpoint *ep, struct quic_endpoint_stats *out)
{
    *out = ep->stats;
}

/* ---- stateless answers --------------------------------------------------------------- */

/* Take `n` of the `most` that may be in each `window`. False if there are not so many left. */
static bool take(struct budget *b, size_t n, unsigned most, ns_t window, ns_t now)
{
    if (now - b->since >= window)
        *b = (struct budget){now, most};
    if (n > b->left)
        return false;
    b->left -= (unsigned)n;
    return true;
}

static bool may_answer(struct quic_endpoint *ep, ns_t now)
{
    bool may = take(&ep->answers, 1, ep->cfg.answers_per_s, NS_PER_S, now);
    ep->stats.drop_rate += !may;
    return may;
}

static enum quic_route_result answer_with(struct quic_train *t, const struct quic_rx *rx,
                                          size_t n)
{
    t->len = t->segment = n;
    t->count = 1;
    t->route = rx->route;
    t->ecn = 0;
    return QUIC_ROUTE_ANSWER;
}

static enum quic_route_result negotiate(struct quic_endpoint *ep, const struct quic_rx *rx,
                                        const struct packet_head *h, ns_t now,
                                        struct quic_train *t)
{
    if (!ep->cfg.accept || rx->n < QUIC_MIN_DATAGRAM || !may_answer(ep, now))
        return QUIC_ROUTE_DROP;
    uint8_t noise[2];
    rng_fill(&ep->cfg.conn.rng, noise, sizeof(noise));
    /* A reserved version among them, so that nobody relies on the list (RFC 9000 6.3). */
    uint32_t grease =
        0x0a0a0a0au | (uint32_t)(noise[1] & 0xf0) << 24 | (uint32_t)(noise[1] & 0x0f) << 12;
    if (grease == h->version)
        grease ^= 0x10;
    const uint32_t versions[] = {QUIC_V1, grease};
    struct wire_w w = wire_w_of(t->buf, t->cap);
    if (packet_version_negotiation(&w, h->dcid, h->scid, versions, 2, noise[0]) != 0)
        return QUIC_ROUTE_DROP;
    ep->stats.version_negotiations++;
    return answer_with(t, rx, (size_t)(w.p - t->buf));
}

/* Smaller than what triggered it, so that two endpoints can't keep each other busy. */
static enum quic_route_result reset(struct quic_endpoint *ep, const struct quic_rx *rx,
                                    ns_t now, struct quic_train *t)
{
    size_t len = ep->cfg.conn.cid_len;
    if (!ep->cfg.accept || rx->n <= RESET_MIN || rx->n < 1 + len || !may_answer(ep, now))
        return QUIC_ROUTE_DROP;
    size_t n = rx->n - 1 < RESET_MAX ? rx->n - 1 : RESET_MAX;
    struct quic_cid cid = cid_of(span_of(rx->p + 1, len));
    rng_fill(&ep->cfg.conn.rng, t->buf, n - 16);
    t->buf[0] = (uint8_t)((t->buf[0] & 0x3f) | FIXED_BIT);
    if (stateless_reset_token(ep->cfg.conn.reset_key, &cid, t->buf + n - 16) != 0)
        return QUIC_ROUTE_DROP;
    ep->stats.resets++;
    return answer_with(t, rx, n);
}

/* ---- routing ------------------------------------------------------------------------- */

/*
 * Whether a datagram of no known ID ends with the reset token of one of our peers. That looks at
 * every connection, so a flood of such datagrams is not followed for long.
 */
static struct quic_conn *find_reset(struct quic_endpoint *ep, const struct quic_rx *rx,
                                    ns_t now)
{
    if (!take(&ep->looks, ep->n, LOOKS_PER_S, NS_PER_S, now)) {
        ep->stats.drop_rate++;
        return NULL;
    }
    for (size_t i = 0; i < ep->n; i++) {
        struct quic_conn *c = ep->member[i].conn;
        for (size_t k = 0; k < c->n_paths; k++) {
            struct quic_path *p = &c->path[k];
            if (p->used && path_find(p, &rx->route) &&
                cid_remote_is_reset_token(&p->theirs, rx->p + rx->n - 16))
                return c;
        }
    }
    return NULL;
}

/* Instead of a connection: prove that you receive at the address that you send from. */
static enum quic_route_result ask_retry(struct quic_endpoint *ep, const struct quic_rx *rx,
                                        const struct packet_head *h, ns_t now,
                                        struct quic_train *t)
{
    if (!take(&ep->retries, 1, ep->cfg.retries_per_s / RETRY_WINDOWS, NS_PER_S / RETRY_WINDOWS,
              now)) {
        ep->stats.drop_retry++;
        return QUIC_ROUTE_DROP;
    }
    const struct quic_config *cfg = &ep->cfg.conn;
    size_t n = initial_retry(t->buf, &ep->token_key, &cfg->rng, cfg->cid_len, h,
                             &rx->route.remote, now);
    if (!n)
        return QUIC_ROUTE_DROP;
    ep->stats.retries++;
    return answer_with(t, rx, n);
}

/* The client would take no other Retry: tell it at once (RFC 9000 8.1.2). */
static enum quic_route_result invalid_token(struct quic_endpoint *ep, const struct quic_rx *rx,
                                            const struct packet_head *h, ns_t now,
                                            struct quic_train *t)
{
    ep->stats.invalid_tokens++;
    if (!may_answer(ep, now) || !initial_opens(rx->p, h, ep->scratch))
        return QUIC_ROUTE_DROP;
    size_t n = initial_refuse(t->buf, h, QUIC_INVALID_TOKEN);
    return n ? answer_with(t, rx, n) : QUIC_ROUTE_DROP;
}

/* What the Initial's token says, as conn_accept wants it. */
static enum token_verdict admit(const struct quic_endpoint *ep, const struct quic_rx *rx,
                                const struct packet_head *h, ns_t now, struct conn_admit *out)
{
    struct token_retry ids;
    struct quic_cid dcid = cid_of(h->dcid);
    enum token_verdict v = token_open(&ep->token_key, h->token, &rx->route.remote, now, &ids);
    if (v == TOKEN_RETRY && !cid_eq(&ids.scid, &dcid))
        v = TOKEN_RETRY_WRONG;
    *out = (struct conn_admit){.validated = v == TOKEN_RETRY || v == TOKEN_NEW,
                               .has_retry = v == TOKEN_RETRY,
                               .key = &ep->token_key};
    if (out->has_retry)
        out->original_dcid = ids.original_dcid;
    return v;
}

static bool wants_retry(const struct quic_endpoint *ep)
{
    return ep->cfg.retry == QUIC_RETRY_ALWAYS ||
           (ep->cfg.retry == QUIC_RETRY_LOAD && ep->stats.half_open >= ep->cfg.retry_half_open);
}

static enum quic_route_result make(struct quic_endpoint *ep, const struct quic_rx *rx,
                                   const struct packet_head *h, const struct conn_admit *how,
                                   ns_t now, struct quic_conn **conn)
{
    if (ep->n >= ep->cfg.max_conns || ep->stats.half_open >= ep->cfg.max_half_open) {
        ep->stats.drop_full++;
        return QUIC_ROUTE_DROP;
    }
    if (!initial_opens(rx->p, h, ep->scratch)) {
        ep->stats.drop_parse++;
        return QUIC_ROUTE_DROP;
    }
    struct quic_conn *c = conn_accept(&ep->cfg.conn, &rx->route, h, how, now);
    if (!c || quic_endpoint_add(ep, c) != 0) {
        quic_del(c);
        ep->stats.drop_full++;
        return QUIC_ROUTE_DROP;
    }
    ep->stats.accepted++;
    ep->stats.by_retry += how->has_retry;
    ep->stats.by_new_token += how->validated && !how->has_retry;
    if (how->validated)
        LOG_AT(ep->cfg.conn.log, LOG_DEBUG, "quic: a client has proven its address by %s",
               how->has_retry ? "a Retry's token" : "a token of a former connection");
    *conn = c;
    return QUIC_ROUTE_NEW;
}

static enum quic_route_result accept_initial(struct quic_endpoint *ep, const struct quic_rx *rx,
                                             const struct packet_head *h, ns_t now,
                                             struct quic_conn **conn, struct quic_train *answer)
{
    struct conn_admit how;
    if (!ep->cfg.accept || rx->n < QUIC_MIN_DATAGRAM || h->dcid.n < ODCID_MIN ||
        !(rx->p[0] & FIXED_BIT)) {
        ep->stats.drop_unknown++;
        return QUIC_ROUTE_DROP;
    }
    if (admit(ep, rx, h, now, &how) == TOKEN_RETRY_WRONG)
        return invalid_token(ep, rx, h, now, answer);
    if (!how.validated && wants_retry(ep) && ep->n < ep->cfg.max_conns)
        return ask_retry(ep, rx, h, now, answer);
    return make(ep, rx, h, &how, now, conn);
}

static enum quic_route_result unknown_short(struct quic_endpoint *ep, const struct quic_rx *rx,
                                            ns_t now, struct quic_conn **conn,
                                            struct quic_train *answer)
{
    if (rx->n >= RESET_MIN) {
        *conn = find_reset(ep, rx, now);
        if (*conn)
            return QUIC_ROUTE_CONN;
    }
    return reset(ep, rx, now, answer);
}

enum quic_route_result quic_endpoint_route(struct quic_endpoint *ep, const struct quic_rx *rx,
                                           ns_t now, struct quic_conn **conn,
                                           struct quic_train *answer)
{
    struct packet_head h;
    size_t len = ep->cfg.conn.cid_len;
    *conn = NULL;
    if (rx->n < 1 + len) {
        ep->stats.drop_parse++;
        return QUIC_ROUTE_DROP;
    }
    if (!(rx->p[0] & LONG_HEADER)) {
        *conn = cid_table_find(&ep->table, span_of(rx->p + 1, len));
        return *conn ? QUIC_ROUTE_CONN : unknown_short(ep, rx, now, conn, answer);
    }
    int r = packet_parse_greased(rx->p, rx->n, len, &h);
    if (r) {
        ep->stats.drop_parse++;
        return QUIC_ROUTE_DROP;
    }
    if (h.dcid.n <= QUIC_CID_MAX) {
        *conn = cid_table_find(&ep->table, h.dcid);
        if (*conn)
            return QUIC_ROUTE_CONN;
    }
    if (h.type == PACKET_OTHER_VERSION)
        return negotiate(ep, rx, &h, now, answer);
    if (h.type == PACKET_INITIAL)
        return accept_initial(ep, rx, &h, now, conn, answer);
    ep->stats.drop_unknown++;
    return QUIC_ROUTE_DROP;
}
