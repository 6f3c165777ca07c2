/*
 * Two endpoints of real connections in one process, on a network that the input drives.
 *
 * The linker puts a null cipher in the place of aead_seal, aead_open and header protection
 * (LINK_fuzz/pair in the Makefile): packets are in clear, the tag only tells under which key a
 * packet was sealed, and a changed byte gets to the frames. Random numbers, OpenSSL's
 * included, follow from a seed, so that an input always does the same.
 *
 * The input is four bytes of configuration, then commands, each an opcode (low half; bit 7
 * chooses the side) and arguments:
 *
 *     0 -              the oldest datagram on its way from that side arrives
 *     1 which          this one arrives, before others
 *     2 which          this one is lost
 *     3 which          this one arrives and stays on its way: a duplicate
 *     4 which at x     one of its bytes gets xor-ed
 *     5 n              the side sends what it has, in trains of at most n + 1
 *     6 ms             time passes; both sides do what is due, and what they send is kept
 *     7 ms             the same, with everything delivered at once
 *     8 id n           write 32 * n bytes to a stream; one that isn't open is opened
 *     9 id what        finish, reset or stop a stream
 *     a id n           read at most 32 * n bytes of a stream
 *     b n              a DATAGRAM of at most 8 * n bytes, over each path in turn
 *     c what           key update, PING, move to another address, rebinding; with multipath and
 *                      bit 3: a path opened, abandoned, to be spared, another way for ACKs
 *     d at             everything on its way from that side is marked CE, or not
 *     e code           close
 *     f -              read all there is
 *
 * Asserted after each command: the invariants of every part, the amplification limit, the bound
 * on memory, that no instant lasts for ever. As long as no byte was changed: what is read is
 * what was written, no DATAGRAM comes twice, none is acknowledged that did not come, and
 * nobody closes for an error. At the end of an input without changed bytes the network is
 * healed, and everything written must arrive.
 */
#include <openssl/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "mp/mp.h"
#include "quic/conn.h"
#include "quic/endpoint.h"

#define CHECK(x)                                                                               \
    do {                                                                                       \
        if (!(x)) {                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                            \
            abort();                                                                           \
        }                                                                                      \
    } while (0)

#define QUEUE    64   /* datagrams on their way from a side; more are lost */
#define COMMANDS 400  /* of an input at most */
#define IDS      256  /* stream IDs that are used */
#define DGRAMS   4096 /* DATAGRAMs numbered */
#define PATHS    4    /* path IDs at once, with multipath */
#define SPIN     2000 /* calls at one instant: more is a livelock */
#define SERVER   1

/* ---- chance and the null cipher ------------------------------------------------------ */

static uint64_t chance;

static void fill(void *ctx, void *out, size_t n)
{
    uint8_t *p = out;

    (void)ctx;
    for (size_t i = 0; i < n; i++) {
        chance = chance * 6364136223846793005u + 1442695040888963407u;
        p[i] = (uint8_t)(chance >> 56);
    }
}

int __wrap_RAND_bytes_ex(OSSL_LIB_CTX *ctx, unsigned char *buf, size_t n, unsigned strength);
int __wrap_RAND_priv_bytes_ex(OSSL_LIB_CTX *ctx, unsigned char *buf, size_t n,
                              unsigned strength);

int __wrap_RAND_bytes_ex(OSSL_LIB_CTX *ctx, unsigned char *buf, size_t n, unsigned strength)
{
    (void)ctx, (void)strength;
    fill(NULL, buf, n);
    return 1;
}

int __wrap_RAND_priv_bytes_ex(OSSL_LIB_CTX *ctx, unsigned char *buf, size_t n,
                              unsigned strength)
{
    return __wrap_RAND_bytes_ex(ctx, buf, n, strength);
}

int __wrap_aead_seal(struct aead *a, uint32_t path_id, uint64_t pn, struct span aad,
                     const uint8_t *in, size_t n, uint8_t *out);
int __wrap_aead_open(struct aead *a, uint32_t path_id, uint64_t pn, struct span aad,
                     uint8_t *inout, size_t n);
int __wrap_aead_masks(struct aead *a, const uint8_t (*samples)[AEAD_SAMPLE], size_t n,
                      uint8_t (*masks)[AEAD_MASK]);
int __wrap_aead_protect_head(struct aead *a, uint8_t *packet, size_t pn_offset, size_t pn_len);
int __wrap_aead_unprotect_head(struct aead *a, uint8_t *packet, size_t n, size_t pn_offset,
                               size_t *pn_len, uint64_t *truncated);

static void null_tag(const struct aead *a, uint8_t tag[QUIC_TAG])
{
    memcpy(tag, a->secret, QUIC_TAG);
}

int __wrap_aead_seal(struct aead *a, uint32_t path_id, uint64_t pn, struct span aad,
                     const uint8_t *in, size_t n, uint8_t *out)
{
    (void)path_id, (void)pn, (void)aad;
    if (!aead_ready(a) || !a->seal)
        return QUIC_INVAL;
    memmove(out, in, n);
    null_tag(a, out + n);
    a->used++;
    return 0;
}

int __wrap_aead_open(struct aead *a, uint32_t path_id, uint64_t pn, struct span aad,
                     uint8_t *inout, size_t n)
{
    uint8_t tag[QUIC_TAG];

    (void)path_id, (void)pn, (void)aad;
    if (!aead_ready(a) || a->seal || n < QUIC_TAG)
        return QUIC_DROP;
    null_tag(a, tag);
    if (memcmp(inout + n - QUIC_TAG, tag, QUIC_TAG) == 0)
        return 0;
    a->failed++;
    return QUIC_DROP;
}

int __wrap_aead_masks(struct aead *a, const uint8_t (*samples)[AEAD_SAMPLE], size_t n,
                      uint8_t (*masks)[AEAD_MASK])
{
    (void)a, (void)samples;
    memset(masks, 0, n * sizeof(*masks));
    return 0;
}

int __wrap_aead_protect_head(struct aead *a, uint8_t *packet, size_t pn_offset, size_t pn_len)
{
    (void)a, (void)packet, (void)pn_offset, (void)pn_len;
    return 0;
}

int __wrap_aead_unprotect_head(struct aead *a, uint8_t *packet, size_t n, size_t pn_offset,
                               size_t *pn_len, uint64_t *truncated)
{
    static const uint8_t mask[AEAD_MASK];

    (void)a;
    if (n < AEAD_SAMPLE_END || pn_offset > n - AEAD_SAMPLE_END)
        return QUIC_DROP;
    aead_unmask_head(packet, pn_offset, mask, pn_len, truncated);
    return 0;
}

/* ---- the pair ------------------------------------------------------------------------ */

struct parcel {
    struct quic_route route; /* as its receiver sees it */
    uint8_t ecn;
    size_t n;
    uint8_t p[1500];
};

struct side {
    struct quic_conn *conn;
    struct parcel *queue[QUEUE]; /* from this side, oldest first */
    size_t queued;
    uint64_t opened[2];
    uint64_t written[IDS], got[IDS];
    bool written_to[IDS], finished[IDS], ended[IDS]; /* FIN written; FIN read */
    bool spoiled[IDS];                               /* reset or stopped by somebody */
    uint32_t dgrams;
    uint8_t dgram_came[DGRAMS]; /* from this side, at the other */
};

struct pair {
    struct side side[2];
    struct quic_config cfg[2];
    struct quic_endpoint *ep; /* the server's */
    struct quic_addr addr[2];
    ns_t now;
    unsigned spins; /* calls since time moved */
    bool tainted;   /* a byte was changed */
    bool closed_by_us, moved, lost_early;
    bool multi; /* both offer multipath */
};

static struct tls_ctx *tls[2];

static void spin(struct pair *p)
{
    CHECK(++p->spins < SPIN);
}

static void set_now(struct pair *p, ns_t now)
{
    if (now > p->now) {
        p->now = now;
        p->spins = 0;
    }
}

static uint8_t pattern(int side, uint64_t id, uint64_t at)
{
    return (uint8_t)(at + 37 * id + 101 * (unsigned)side + (at >> 8));
}

static uint8_t dgram_byte(uint32_t number, size_t at)
{
    return (uint8_t)(number * 7 + at);
}

/* ---- what must hold ------------------------------------------------------------------ */

static void check_conn(struct quic_conn *c)
{
    CHECK(streams_check(&c->streams));
    for (size_t i = 0; i < c->n_paths; i++) {
        struct quic_path *path = &c->path[i];

        if (!path->used)
            continue;
        CHECK(recovery_check(&path->recovery));
        for (int s = 0; s < SPACE_N; s++)
            CHECK(ackrx_check(&path->ack[s]));
        CHECK(cid_local_check(&path->ours) && cid_remote_check(&path->theirs));
        for (int r = 0; r < PATH_ROUTES; r++) {
            const struct path_route *route = &path->route[r];

            CHECK(!route->used || route->validated ||
                  route->sent <= PATH_AMPLIFICATION * route->received);
        }
    }
    for (int s = 0; s < SPACE_N; s++)
        CHECK(sbuf_check(&c->crypto[s].tx) && rbuf_check(&c->crypto[s].rx));
}

/* How a connection may end while nobody changed a byte. */
static bool fair_end(const struct pair *p, const struct quic_close_info *info)
{
    switch (info->kind) {
    case QUIC_CLOSE_NONE:
    case QUIC_CLOSE_IDLE:
    case QUIC_CLOSE_HANDSHAKE:
        return true;
    case QUIC_CLOSE_LOCAL:
        /* All the datagrams of a new address were lost. */
        return p->closed_by_us || (p->moved && info->code == 0);
    case QUIC_CLOSE_PEER:
        /* A Retry's token is only good for some seconds, and from one address. */
        return p->closed_by_us || info->code == 0 || info->code == QUIC_INVALID_TOKEN;
    case QUIC_CLOSE_RESET:
    case QUIC_CLOSE_VERSION:
        break;
    }
    return false;
}

static void check(struct pair *p)
{
    for (int i = 0; i < 2; i++) {
        struct quic_conn *c = p->side[i].conn;
        struct quic_close_info info;
        struct quic_stats stats;

        if (!c)
            continue;
        check_conn(c);
        quic_stats(c, &stats);
        CHECK(stats.memory_bytes <= quic_memory_bound(&p->cfg[i], p->side[i].opened[0] +
                                                                      p->side[i].opened[1]));
        quic_close_info(c, &info);
        if (!p->tainted && !fair_end(p, &info)) {
            fprintf(stderr, "side %d: kind %d code %llx %s\n", i, (int)info.kind,
                    (unsigned long long)info.code, info.text);
            abort();
        }
    }
}

/* ---- taking in ----------------------------------------------------------------------- */

static void take_dgrams(struct pair *p, int i)
{
    struct quic_dgram_rx d;
    struct side *from = &p->side[1 - i];

    while (quic_dgram_recv(p->side[i].conn, &d, 1)) {
        uint32_t number;

        if (p->tainted)
            continue;
        CHECK(d.n >= 4);
        memcpy(&number, d.p, 4);
        CHECK(number < from->dgrams && !from->dgram_came[number]);
        from->dgram_came[number] = 1;
        for (size_t at = 4; at < d.n; at++)
            CHECK(d.p[at] == dgram_byte(number, at));
    }
}

static void take_fates(struct pair *p, int i)
{
    struct quic_dgram_fate fate;

    while (quic_dgram_fates(p->side[i].conn, &fate, 1))
        CHECK(p->tainted || fate.fate == QUIC_FATE_LOST || p->side[i].dgram_came[fate.tag - 1]);
}

static void take_events(struct pair *p, int i)
{
    struct quic_conn *c = p->side[i].conn;
    struct quic_event ev;

    for (unsigned n = 0; quic_next_event(c, &ev); n++)
        CHECK(n < 10000);
}

static void arrive(struct pair *p, int from, const struct parcel *parcel)
{
    static uint8_t answer_buf[1500];
    struct quic_train answer = {.buf = answer_buf, .cap = sizeof answer_buf, .max_count = 1};
    int to = 1 - from;
    /* Of exactly the size, so that the sanitizer sees a step beyond. */
    uint8_t *copy = malloc(parcel->n ? parcel->n : 1);
    struct quic_rx rx = {.route = parcel->route, .ecn = parcel->ecn, .p = copy, .n = parcel->n};

    CHECK(copy);
    memcpy(copy, parcel->p, parcel->n);
    spin(p);
    if (to == SERVER) {
        struct quic_conn *conn;
        enum quic_route_result r = quic_endpoint_route(p->ep, &rx, p->now, &conn, &answer);

        if (r == QUIC_ROUTE_NEW) {
            CHECK(!p->side[SERVER].conn);
            p->side[SERVER].conn = conn;
        }
        CHECK(!conn || conn == p->side[SERVER].conn);
        if (r == QUIC_ROUTE_ANSWER) {
            struct side *s = &p->side[SERVER];

            CHECK(answer.len < rx.n);
            if (s->queued < QUEUE) {
                struct parcel *back = s->queue[s->queued++] = calloc(1, sizeof *back);

                CHECK(back);
                back->route = (struct quic_route){p->addr[0], p->addr[1], 0};
                back->n = answer.len;
                memcpy(back->p, answer.buf, answer.len);
            }
        }
        if (conn)
            quic_recv(conn, &rx, 1, p->now);
    } else {
        quic_recv(p->side[0].conn, &rx, 1, p->now);
    }
    if (p->side[to].conn) {
        take_dgrams(p, to);
        take_fates(p, to);
        take_events(p, to);
        if (to == SERVER)
            quic_endpoint_update(p->ep, p->side[to].conn);
    }
    free(copy);
}

static struct parcel *take_out(struct side *s, size_t which)
{
    struct parcel *parcel = s->queue[which];

    s->queued--;
    memmove(&s->queue[which], &s->queue[which + 1],
            (s->queued - which) * sizeof(struct parcel *));
    return parcel;
}

/* Each further path of the client's has an address of its own, which stays. */
static struct quic_addr client_addr(const struct pair *p, uint32_t id)
{
    return id ? (struct quic_addr){4, {10, 0, 1, (uint8_t)id}, (uint16_t)(1000 + id)} : p->addr[0];
}

static void post(struct pair *p, int from, size_t path, const struct quic_train *t)
{
    struct side *s = &p->side[from];
    struct quic_addr addr[2] = {client_addr(p, quic_path_id(s->conn, path)), p->addr[1]};

    CHECK(t->count == 0 || (t->len <= t->count * t->segment && t->ecn < 4));
    for (size_t i = 0; i < t->count && s->queued < QUEUE; i++) {
        size_t n = quic_train_size(t, i);
        struct parcel *parcel = calloc(1, sizeof *parcel);

        CHECK(parcel && n <= sizeof parcel->p && n > 0);
        /* A server answers to where it thinks the client is: that is where it gets. */
        parcel->route.local = addr[1 - from];
        parcel->route.remote = addr[from];
        parcel->ecn = t->ecn;
        parcel->n = n;
        memcpy(parcel->p, t->buf + i * t->segment, n);
        s->queue[s->queued++] = parcel;
    }
}

static void flush(struct pair *p, int i, size_t count)
{
    static uint8_t buf[65536];
    struct quic_train t = {.buf = buf, .cap = 65507, .max_count = count};
    struct quic_conn *c = p->side[i].conn;

    for (size_t path = 0; c && path < quic_path_count(c); path++)
        while (quic_send(c, path, &t, p->now) > 0) {
            spin(p);
            post(p, i, path, &t);
            quic_train_reset(&t);
        }
    if (c)
        take_events(p, i);
    if (c && i == SERVER)
        quic_endpoint_update(p->ep, c);
}

static ns_t next_deadline(const struct pair *p)
{
    ns_t at = NS_NEVER;

    for (int i = 0; i < 2; i++)
        if (p->side[i].conn)
            at = ns_min(at, quic_deadline(p->side[i].conn));
    return at;
}

static bool deliver_all(struct pair *p)
{
    bool any = false;

    for (int i = 0; i < 2; i++) {
        while (p->side[i].queued) {
            struct parcel *parcel = take_out(&p->side[i], 0);

            arrive(p, i, parcel);
            free(parcel);
            any = true;
        }
    }
    return any;
}

/* Let `time` pass. With `deliver`, what is sent arrives a millisecond later. */
static void pass(struct pair *p, ns_t time, bool deliver)
{
    ns_t end = ns_add(p->now, time);

    for (;;) {
        ns_t at;
        bool any = deliver && deliver_all(p);

        for (int i = 0; i < 2; i++) {
            if (p->side[i].conn)
                quic_tick(p->side[i].conn, p->now);
            flush(p, i, 16);
        }
        for (int i = 0; i < 2; i++)
            any |= deliver && p->side[i].queued;
        spin(p);
        at = next_deadline(p);
        if (any)
            at = ns_min(ns_max(at, p->now), p->now + NS_PER_MS);
        if (at > end)
            break;
        set_now(p, at);
    }
    set_now(p, end);
}

/* ---- the user ------------------------------------------------------------------------ */

/* The stream with this number as a side may write it, opened if it is the next of ours. */
static void write_some(struct pair *p, int i, uint64_t id, size_t n)
{
    uint8_t data[32 * 256];
    struct side *s = &p->side[i];
    uint64_t made;
    size_t taken;

    if ((id & 1) == (unsigned)i && id >> 2 == s->opened[(id >> 1) & 1] &&
        quic_stream_open(s->conn, id & 2, &made) == 0) {
        CHECK(made == id);
        s->opened[(id >> 1) & 1]++;
    }
    for (size_t at = 0; at < n; at++)
        data[at] = pattern(i, id, s->written[id] + at);
    quic_stream_write(s->conn, id, span_of(data, n), &taken);
    CHECK(taken <= n);
    s->written[id] += taken;
    s->written_to[id] |= taken > 0;
}

static void end_stream(struct pair *p, int i, uint64_t id, unsigned what)
{
    struct side *s = &p->side[i];

    switch (what % 3) {
    case 0:
        s->finished[id] |= quic_stream_finish(s->conn, id) == 0;
        break;
    case 1:
        s->spoiled[id] |= quic_stream_reset(s->conn, id, what) == 0;
        break;
    default:
        /* The other side's sending ends by this, and it will say RESET_STREAM. */
        p->side[1 - i].spoiled[id] |= quic_stream_stop(s->conn, id, what) == 0;
        break;
    }
}

static bool read_some(struct pair *p, int i, uint64_t id, size_t most)
{
    struct side *s = &p->side[i], *from = &p->side[1 - i];
    bool fin;
    struct span data = quic_stream_peek(s->conn, id, &fin);

    if (data.n > most) {
        data.n = most;
        fin = false;
    }
    for (size_t at = 0; at < data.n && !p->tainted; at++)
        CHECK(data.p[at] == pattern(1 - i, id, s->got[id] + at));
    s->got[id] += data.n;
    quic_stream_consume(s->conn, id, data.n);
    if (!p->tainted) {
        CHECK(s->got[id] <= from->written[id]);
        CHECK(!fin || (from->finished[id] && s->got[id] == from->written[id]));
    }
    s->ended[id] |= fin;
    return data.n > 0;
}

static void read_all(struct pair *p, int i)
{
    for (uint64_t id = 0; id < IDS; id++)
        while (read_some(p, i, id, SIZE_MAX))
            ;
}

static void send_dgram(struct pair *p, int i, size_t n)
{
    static uint8_t buf[2048], out[2048];
    struct side *s = &p->side[i];
    struct quic_dgram d = {.p = buf + 64, .n = n, .headroom = 64, .tag = s->dgrams + 1};
    struct quic_train t = {.buf = out, .cap = sizeof out, .max_count = 1};

    if (s->dgrams == DGRAMS)
        return;
    d.n = n < 4 ? 4 : n > 1400 ? 1400 : n;
    memcpy(d.p, &s->dgrams, 4);
    for (size_t at = 4; at < d.n; at++)
        d.p[at] = dgram_byte(s->dgrams, at);
    size_t path = s->dgrams % quic_path_count(s->conn);

    if (quic_dgram_send(s->conn, path, &t, &d, 1, p->now) == 1) {
        s->dgrams++;
        post(p, i, path, &t);
    } else if (path && quic_dgram_send(s->conn, 0, &t, &d, 1, p->now) == 1) {
        s->dgrams++;
        post(p, i, 0, &t);
    }
}

static void path_jobs(struct pair *p, int i, unsigned what)
{
    struct quic_conn *c = p->side[i].conn;
    size_t path = what >> 6;
    struct quic_route route = {.remote = p->addr[1]};

    p->moved = true; /* the only path may be abandoned, or no way be left */
    switch (what & 3) {
    case 0:
        /* The ID, and so the address, that it will have. */
        for (uint32_t id = 1; i == 0 && id < 256; id++) {
            size_t at = 0;

            while (at < quic_path_count(c) && (c->path[at].id != id || !c->path[at].phase))
                at++;
            if (at == quic_path_count(c) || c->path[at].phase != PATH_AHEAD)
                continue;
            route.local = client_addr(p, id);
            if (mp_open(c, &route, p->now, &at) == 0)
                CHECK(quic_path_id(c, at) == id);
            break;
        }
        break;
    case 1:
        mp_abandon(c, path, what >> 4, p->now);
        break;
    case 2:
        mp_set_backup(c, path, what & 16, p->now);
        break;
    default:
        quic_set_acks(c, what & 16 ? QUIC_ACKS_FASTEST : QUIC_ACKS_OWN);
        break;
    }
}

static void odd_jobs(struct pair *p, int i, unsigned what)
{
    struct quic_conn *c = p->side[i].conn;
    struct quic_route route = {p->addr[0], p->addr[1], 0};

    if (p->multi && what & 8) {
        path_jobs(p, i, what);
        return;
    }
    switch (what % 4) {
    case 0:
        quic_key_update(c);
        break;
    case 1:
        quic_ping(c, 0);
        break;
    case 2:
        route.local.port++;
        if (i == 0 && quic_path_move(c, 0, &route, p->now) == 0) {
            p->addr[0] = route.local;
            p->moved = true;
        }
        break;
    default: /* a NAT between has given the client another port, or another address */
        if (what & 4)
            p->addr[0].ip[3]++;
        p->addr[0].port += 2;
        p->moved = true;
        /* A server need not follow before the handshake is confirmed (RFC 9000 9). */
        p->lost_early |= !p->side[SERVER].conn || !p->side[SERVER].conn->confirmed;
        break;
    }
}

/* ---- commands ------------------------------------------------------------------------ */

static void network(struct pair *p, int i, unsigned op, struct wire_r *r)
{
    struct side *s = &p->side[i];
    size_t which = op ? wire_r_u8(r) : 0;
    struct parcel *parcel;

    if (!s->queued)
        return;
    which %= s->queued;
    if (op < 3) {
        parcel = take_out(s, which);
        if (op < 2)
            arrive(p, i, parcel);
        free(parcel);
        return;
    }
    parcel = s->queue[which];
    if (op == 3) {
        struct parcel copy = *parcel;

        arrive(p, i, &copy);
        return;
    }
    which = wire_r_u8(r);
    which |= (size_t)wire_r_u8(r) << 8;
    parcel->p[which % parcel->n] ^= (uint8_t)(wire_r_u8(r) | 1);
    p->tainted = true;
}

static void command(struct pair *p, struct wire_r *r)
{
    uint8_t op = wire_r_u8(r);
    int i = op >> 7;
    unsigned kind = op & 15;
    uint8_t a;

    if (kind < 5) {
        network(p, i, kind, r);
        return;
    }
    a = wire_r_u8(r);
    if (kind == 6 || kind == 7) {
        pass(p, a * (op & 0x40 ? 100 : 1) * NS_PER_MS, kind == 7);
        return;
    }
    if (kind == 13) {
        for (size_t k = 0; k < p->side[i].queued; k++)
            if (p->side[i].queue[k]->ecn)
                p->side[i].queue[k]->ecn = a & 1 ? 3 : 2;
        return;
    }
    if (!p->side[i].conn)
        return;
    switch (kind) {
    case 5:
        flush(p, i, 1 + a % 16);
        break;
    case 8:
        write_some(p, i, a, 32 * (size_t)wire_r_u8(r));
        break;
    case 9:
        end_stream(p, i, a, wire_r_u8(r));
        break;
    case 10:
        read_some(p, i, a, 32 * (size_t)wire_r_u8(r));
        break;
    case 11:
        send_dgram(p, i, 8 * (size_t)a);
        break;
    case 12:
        odd_jobs(p, i, a);
        break;
    case 14:
        quic_close(p->side[i].conn, a, "enough", p->now);
        p->closed_by_us = true;
        break;
    default:
        read_all(p, i);
        break;
    }
}

/* ---- beginning and end --------------------------------------------------------------- */

static void contexts(void)
{
    static const char *const alpn[] = {"pair"}, *const name[] = {"pair.test"};
    struct tls_pem cert, key;
    char err[TLS_TEXT_MAX];

    if (tls[0])
        return;
    CHECK(tls_make_cert(name, 1, 30, 1700000000, &cert, &key) == 0);
    struct tls_ctx_config server = {.server = true,
                                    .alpn = alpn,
                                    .n_alpn = 1,
                                    .verify = TLS_VERIFY_NONE,
                                    .cert_pem = tls_pem_span(&cert),
                                    .key_pem = tls_pem_span(&key)};
    struct tls_ctx_config client = {
        .alpn = alpn, .n_alpn = 1, .verify = TLS_VERIFY_NONE, .groups = "*X25519"};

    tls[0] = tls_ctx_new(&client, err, sizeof err);
    tls[1] = tls_ctx_new(&server, err, sizeof err);
    CHECK(tls[0] && tls[1]);
    tls_pem_free(&cert);
    tls_pem_free(&key);
}

static void configure(struct pair *p, struct wire_r *r, struct quic_endpoint_config *ec)
{
    static const char *const cc[] = {"cubic", "newreno", "bbr", "cubic"};
    uint8_t b[4];

    for (int i = 0; i < 4; i++)
        b[i] = wire_r_u8(r);
    p->multi = b[1] & 32;
    for (int i = 0; i < 2; i++) {
        struct quic_config *c = &p->cfg[i];

        quic_config_default(c);
        c->tls = tls[i];
        c->rng = (struct rng){fill, NULL};
        c->cc = cc[b[0] & 3];
        c->ecn = b[0] & 4;
        c->idle = b[0] & 8 ? 30 * NS_PER_S : 0;
        c->handshake = b[0] & 16 ? 10 * NS_PER_S : 0;
        c->max_udp_payload = b[0] & 32 ? 1452 : 1200;
        c->cid_len = 4 + (b[1] & 15);
        c->conn_window = 1000 + 100 * (uint64_t)b[2];
        c->conn_window_max = 60000;
        c->stream_window = 500 + 100 * (uint64_t)(b[2] & 31);
        c->stream_window_max = 20000;
        c->streams_bidi = 1 + (b[3] & 15);
        c->streams_uni = 1 + (b[3] >> 4);
        c->stream_send_buffer = 5000;
        c->ext = p->multi ? &mp_ext : NULL;
        c->max_paths = p->multi ? PATHS : 1;
        memset(c->reset_key, i + 1, sizeof c->reset_key);
    }
    *ec = (struct quic_endpoint_config){.conn = p->cfg[SERVER],
                                        .accept = true,
                                        .max_conns = 1,
                                        .retry =
                                            b[1] & 16 ? QUIC_RETRY_ALWAYS : QUIC_RETRY_NEVER};
}

static bool begin(struct pair *p, struct wire_r *r)
{
    struct quic_endpoint_config ec;
    struct quic_route route;

    chance = 1;
    contexts();
    configure(p, r, &ec);
    p->now = NS_PER_S;
    p->addr[0] = (struct quic_addr){4, {10, 0, 0, 1}, 1000};
    p->addr[1] = (struct quic_addr){4, {10, 0, 0, 2}, 443};
    route = (struct quic_route){p->addr[0], p->addr[1], 0};
    p->ep = quic_endpoint_new(&ec);
    p->side[0].conn = quic_connect(&p->cfg[0], "pair.test", &route, p->now);
    return p->ep && p->side[0].conn;
}

static bool alive(const struct pair *p)
{
    return p->side[1].conn && conn_alive(p->side[0].conn) && conn_alive(p->side[1].conn);
}

/* The network works, and both read: after a while, all there was to say has come. */
static void heal(struct pair *p)
{
    for (int round = 0; round < 40 && alive(p); round++) {
        pass(p, 20 * NS_PER_S, true);
        for (int i = 0; i < 2; i++)
            read_all(p, i);
        check(p);
    }
    if (!alive(p))
        return;
    for (int i = 0; i < 2; i++) {
        const struct side *s = &p->side[i], *to = &p->side[1 - i];

        CHECK(s->conn->confirmed);
        for (unsigned id = 0; id < IDS; id++)
            CHECK(s->spoiled[id] ||
                  (to->got[id] == s->written[id] && to->ended[id] == s->finished[id]));
    }
}

/* What an input came to (SHOW=1), for who writes one. */
static void show(const struct pair *p)
{
    printf("%.3f s%s", (double)p->now / NS_PER_S, p->tainted ? ", changed" : "");
    for (int i = 0; i < 2; i++) {
        const struct side *s = &p->side[i];
        struct quic_stats stats = {0};
        struct quic_close_info info = {.text = "none"};

        if (s->conn) {
            quic_stats(s->conn, &stats);
            quic_close_info(s->conn, &info);
        }
        printf("; %s%llu bytes, %llu DATAGRAMs, %llu updates, end %d %s",
               s->conn && s->conn->confirmed ? "confirmed, " : "",
               (unsigned long long)stats.stream_bytes_received,
               (unsigned long long)stats.dgrams_received, (unsigned long long)stats.key_updates,
               (int)info.kind, info.text);
    }
    puts("");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wire_r r = wire_r_of(data, size);
    struct pair *p = calloc(1, sizeof *p);

    CHECK(p);
    if (begin(p, &r)) {
        for (int n = 0; n < COMMANDS && wire_r_left(&r); n++) {
            command(p, &r);
            check(p);
        }
        if (!p->tainted && !p->closed_by_us && !p->lost_early && p->side[SERVER].conn)
            heal(p);
    }
    if (getenv("SHOW"))
        show(p);
    for (int i = 0; i < 2; i++) {
        if (i == SERVER && p->side[i].conn)
            quic_endpoint_remove(p->ep, p->side[i].conn);
        quic_del(p->side[i].conn);
        while (p->side[i].queued)
            free(take_out(&p->side[i], 0));
    }
    quic_endpoint_del(p->ep);
    free(p);
    return 0;
}
