/* Handshakes over bad networks, and the ways in which a connection ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "quic/conn.h"
#include "quic/errors.h"
#include "quic/packet.h"
#include "test/sim/world.h"

#define PPM 10000u /* per cent, in millionths */

/* Both ends live, without damage. */
static void check_clean(struct world *w)
{
    WORLD_CHECK(w, !w->sim.livelock);
    WORLD_CHECK(w, w->xfer.bad_bytes == 0);
    for (size_t i = 0; i < w->xfer.n_ends; i++) {
        WORLD_CHECK(w, !w->xfer.end[i].closed);
        WORLD_CHECK(w, w->xfer.end[i].established);
        WORLD_CHECK(w, w->xfer.end[i].confirmed);
    }
}

static void workload(struct world *w, size_t streams, uint64_t up, uint64_t down)
{
    w->xfer.streams = streams;
    w->xfer.up = up;
    w->xfer.down = down;
}

static void settle(struct world *w, ns_t time)
{
    sim_run(&w->sim, w->sim.now + time, NULL, NULL);
}

/* ---- handshakes ---------------------------------------------------------------------- */

static void handshake_clean(uint64_t seed)
{
    struct world w;
    world_init(&w, seed);
    workload(&w, 1, 1000, 1000);
    world_path(&w, 10 * NS_PER_MS, 0, 0);
    world_start(&w, 1);
    ns_t start = w.sim.now;
    WORLD_CHECK(&w, world_run(&w, 5 * NS_PER_S));
    /* One round trip for the handshake, one for the request. */
    WORLD_CHECK(&w, w.sim.now - start < 50 * NS_PER_MS);
    settle(&w, NS_PER_S);
    check_clean(&w);
    struct quic_path_view view;
    quic_path_view(w.client->conn[0], 0, w.sim.now, &view);
    WORLD_CHECK(&w, view.packets_lost == 0 && view.validated && view.usable);
    WORLD_CHECK(&w, view.srtt >= 20 * NS_PER_MS && view.srtt < 40 * NS_PER_MS);
    world_free(&w);
}

static void test_clean(void **state)
{
    (void)state;
    world_each_seed(5, handshake_clean);
}

/* The first flight is two Initial datagrams of 1200 bytes: the hybrid key share is large. */
static bool see_first_flight(void *ctx, struct sim_packet *packet)
{
    unsigned *seen = ctx;
    if (packet->n == 1200 && (packet->p[0] & 0xf0) == 0xc0)
        ++*seen;
    return true;
}

static void test_first_flight(void **state)
{
    (void)state;
    struct world w;
    unsigned seen = 0;
    world_init(&w, 1);
    world_link(&w, UP, sim_filter(&w.sim, see_first_flight, &seen));
    world_path(&w, 100 * NS_PER_MS, 0, 0);
    world_start(&w, 1);
    sim_run(&w.sim, w.sim.now + 50 * NS_PER_MS, NULL, NULL);
    assert_int_equal(seen, 2);
    assert_int_equal(w.client->datagrams, 2);
    settle(&w, NS_PER_S);
    check_clean(&w);
    world_free(&w);
}

/*
 * Connections that a Version Negotiation packet has ended. A corrupted version can make one: no key
 * protects it (RFC 9000 6.2).
 */
static size_t turned_away(const struct world *w)
{
    size_t n = 0;

    for (size_t i = 0; i < w->xfer.n_ends; i++)
        n += w->xfer.end[i].closed && w->xfer.end[i].close.kind == QUIC_CLOSE_VERSION;
    return n;
}

/* Many connections at a time, as the interop runner does it; corruption may cost one. */
static void handshake_bad(uint64_t seed, struct sim_node *(*node)(struct sim *sim))
{
    struct world w;
    world_init(&w, seed);
    workload(&w, 1, 1000, 1000);
    w.client_cfg.conn.handshake = w.server_cfg.conn.handshake = 250 * NS_PER_S;
    w.client_cfg.conn.idle = w.server_cfg.conn.idle = 250 * NS_PER_S;
    for (int dir = UP; dir <= DOWN; dir++)
        world_link(&w, (enum world_dir)dir, node(&w.sim));
    world_path(&w, 15 * NS_PER_MS, 0, 0);
    world_start(&w, 25);
    if (!world_run(&w, 300 * NS_PER_S)) {
        size_t done = 0, away = turned_away(&w);

        for (size_t i = 0; i < w.xfer.n_ends; i++)
            done += w.xfer.end[i].done;
        WORLD_CHECK(&w, away == 1 && done + away == 25);
    }
    WORLD_CHECK(&w, !w.sim.livelock && w.xfer.bad_bytes == 0);
    world_free(&w);
}

static struct sim_node *loss_30(struct sim *sim)
{
    return sim_loss(sim, 30 * PPM, 3);
}

static struct sim_node *corrupt_30(struct sim *sim)
{
    return sim_corrupt(sim, 30 * PPM);
}

static void handshake_loss(uint64_t seed)
{
    handshake_bad(seed, loss_30);
}

static void handshake_corruption(uint64_t seed)
{
    handshake_bad(seed, corrupt_30);
}

static void test_loss(void **state)
{
    (void)state;
    world_each_seed(4, handshake_loss);
}

static void test_corruption(void **state)
{
    (void)state;
    world_each_seed(4, handshake_corruption);
}

/* Each single packet of the first dozen, either way, lost. */
static void test_each_lost(void **state)
{
    (void)state;
    for (int dir = UP; dir <= DOWN; dir++) {
        for (unsigned i = 0; i < 12; i++) {
            struct world w;
            world_init(&w, i);
            workload(&w, 1, 1000, 1000);
            world_link(&w, (enum world_dir)dir, sim_mask(&w.sim, 1ull << i));
            world_path(&w, 20 * NS_PER_MS, 0, 0);
            world_start(&w, 1);
            WORLD_CHECK(&w, world_run(&w, 20 * NS_PER_S));
            settle(&w, 5 * NS_PER_S);
            check_clean(&w);
            world_free(&w);
        }
    }
}

static void handshake_long(uint64_t seed)
{
    struct world w;
    world_init(&w, seed);
    workload(&w, 1, 1000, 1000);
    world_path(&w, 750 * NS_PER_MS, 0, 0);
    world_start(&w, 1);
    WORLD_CHECK(&w, world_run(&w, 20 * NS_PER_S));
    settle(&w, 5 * NS_PER_S);
    check_clean(&w);
    world_free(&w);
}

static void test_long_rtt(void **state)
{
    (void)state;
    world_each_seed(3, handshake_long);
}

/* ---- anti-amplification -------------------------------------------------------------- */

/* What went through to and from the server before it had a Handshake packet. */
struct amplification {
    uint64_t up, down, n_up, before; /* `before`: down until then */
    bool over, validated;
};

static bool amplification_up(void *ctx, struct sim_packet *packet)
{
    struct amplification *a = ctx;
    uint64_t n = a->n_up++;
    if (n >= 1 && n <= 6)
        return false; /* the client's packets 2 to 7 are lost */
    a->up += packet->n;
    /* Handshake packets stand alone or behind an Initial; the client has two datagrams of
     * Initials only, so whatever comes after the lost ones may hold one. */
    for (size_t at = 0; at < packet->n;) {
        struct packet_head h;
        if (packet_parse(packet->p + at, packet->n - at, 8, &h) != 0)
            break;
        a->validated |= h.type == PACKET_HANDSHAKE;
        at += h.length;
    }
    return true;
}

static bool amplification_down(void *ctx, struct sim_packet *packet)
{
    struct amplification *a = ctx;
    a->down += packet->n;
    if (a->validated)
        return true;
    a->before = a->down;
    a->over |= a->down > 3 * a->up;
    return true;
}

/* A certificate of more than three datagrams, or, as in the interop runner's case, nine of them. */
static void amplification_with(uint64_t seed, struct tls_ctx *server, uint64_t flight)
{
    struct world w;
    struct amplification a = {0};
    world_init(&w, seed);
    workload(&w, 1, 1000, 1000);
    w.server_cfg.conn.tls = server;
    w.client_cfg.conn.handshake = w.server_cfg.conn.handshake = 250 * NS_PER_S;
    world_path(&w, 15 * NS_PER_MS, 0, 0);
    world_link(&w, UP, sim_filter(&w.sim, amplification_up, &a));
    world_link(&w, DOWN, sim_filter(&w.sim, amplification_down, &a));
    world_start(&w, 1);
    WORLD_CHECK(&w, world_run(&w, 60 * NS_PER_S));
    WORLD_CHECK(&w, a.validated && !a.over && a.before > 0);
    WORLD_CHECK(&w, a.down > flight);
    settle(&w, NS_PER_S);
    check_clean(&w);
    world_free(&w);
}

static void amplification(uint64_t seed)
{
    amplification_with(seed, world_tls_large(), 5000);
    amplification_with(seed, world_tls_chain(), 7500);
}

static void test_amplification(void **state)
{
    (void)state;
    world_each_seed(3, amplification);
}

/* A client that is never heard again gets three times what it sent, and not a byte more. */
static bool only_first(void *ctx, struct sim_packet *packet)
{
    struct amplification *a = ctx;
    if (a->n_up++)
        return false;
    a->up += packet->n;
    return true;
}

static void test_amplification_silent(void **state)
{
    (void)state;
    struct world w;
    struct amplification a = {0};
    world_init(&w, 1);
    w.server_cfg.conn.tls = world_tls_large();
    world_link(&w, UP, sim_filter(&w.sim, only_first, &a));
    world_link(&w, DOWN, sim_filter(&w.sim, amplification_down, &a));
    world_path(&w, 15 * NS_PER_MS, 0, 0);
    world_start(&w, 1);
    settle(&w, 60 * NS_PER_S);
    assert_false(a.over);
    assert_int_equal(w.xfer.n_ends, 2);
    for (size_t i = 0; i < w.xfer.n_ends; i++) {
        assert_true(w.xfer.end[i].closed);
        assert_int_equal(w.xfer.end[i].close.kind, QUIC_CLOSE_HANDSHAKE);
    }
    world_free(&w);
}

/* ---- version negotiation ------------------------------------------------------------- */

static bool other_version(void *ctx, struct sim_packet *packet)
{
    (void)ctx;
    if (packet->n > 5 && packet->p[0] & 0x80) {
        packet->p[1] = packet->p[2] = packet->p[3] = packet->p[4] = 0x5a;
    }
    return true;
}

/* The server answers, naming version 1; since the client speaks it, it takes no notice. */
static void test_server_negotiates(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    world_link(&w, UP, sim_filter(&w.sim, other_version, NULL));
    world_path(&w, 10 * NS_PER_MS, 0, 0);
    world_start(&w, 1);
    settle(&w, 2 * NS_PER_S);
    struct quic_endpoint_stats stats;
    quic_endpoint_stats(w.server->ep, &stats);
    assert_true(stats.version_negotiations >= 2);
    assert_int_equal(stats.accepted, 0);
    assert_true(w.server->largest < 100);
    assert_false(w.xfer.end[0].closed);
    settle(&w, 60 * NS_PER_S);
    assert_int_equal(w.xfer.end[0].close.kind, QUIC_CLOSE_HANDSHAKE);
    world_free(&w);
}

/* Answers each Initial with a list that lacks version 1. */
struct negotiator {
    struct sim_node *back;
    bool lists_ours;
};

static bool negotiate(void *ctx, struct sim_packet *packet)
{
    struct negotiator *n = ctx;
    struct packet_head h;
    uint8_t buf[100];
    struct wire_w w = wire_w_of(buf, sizeof(buf));
    const uint32_t versions[] = {0x6b3343cf, n->lists_ours ? QUIC_V1 : 0xff00001d};
    if (packet_parse(packet->p, packet->n, 8, &h) != 0 || h.type != PACKET_INITIAL)
        return true;
    if (packet_version_negotiation(&w, h.dcid, h.scid, versions, 2, 0x55) != 0)
        return false;
    struct sim_packet *answer = sim_packet_new(buf, (size_t)(w.p - buf));
    answer->src = packet->dst;
    answer->dst = packet->src;
    n->back->deliver(n->back, answer);
    return n->lists_ours;
}

static void test_client_negotiated(void **state)
{
    (void)state;
    for (int ours = 0; ours <= 1; ours++) {
        struct world w;
        world_init(&w, 1);
        workload(&w, 1, 100, 100);
        struct negotiator n = {.lists_ours = ours};
        world_link(&w, UP, sim_filter(&w.sim, negotiate, &n));
        world_path(&w, 10 * NS_PER_MS, 0, 0);
        n.back = w.first[DOWN];
        world_start(&w, 1);
        assert_int_equal(world_run(&w, 5 * NS_PER_S), ours);
        if (!ours) {
            assert_true(w.xfer.end[0].closed);
            assert_int_equal(w.xfer.end[0].close.kind, QUIC_CLOSE_VERSION);
            assert_true(quic_is_drained(w.client->conn[0]));
        }
        world_free(&w);
    }
}

/* ---- Retry --------------------------------------------------------------------------- */

struct retrier {
    struct sim_node *back;
    unsigned retries;
    bool bad_tag;
    size_t token_seen;
};

/* Answers the first Initial with a Retry, as a server under load does. */
static bool answer_retry(void *ctx, struct sim_packet *packet)
{
    struct retrier *r = ctx;
    struct packet_head h;
    if (packet_parse(packet->p, packet->n, 8, &h) != 0 || h.type != PACKET_INITIAL)
        return true;
    r->token_seen += h.token.n;
    if (h.token.n || (r->bad_tag && r->retries))
        return true;
    if (r->retries)
        return false;
    r->retries++;
    uint8_t buf[200];
    struct wire_w w = wire_w_of(buf, sizeof(buf));
    struct quic_cid dcid = cid_of(h.scid), odcid = cid_of(h.dcid),
                    scid = {.len = 8, .b = "retry"};
    assert_int_equal(packet_retry(&w, &dcid, &scid, &odcid, SPAN_LIT("let me in"), 3), 0);
    if (r->bad_tag)
        w.p[-1] ^= 1;
    struct sim_packet *answer = sim_packet_new(buf, (size_t)(w.p - buf));
    answer->src = packet->dst;
    answer->dst = packet->src;
    r->back->deliver(r->back, answer);
    return false;
}

/*
 * The server has sent no Retry, so it doesn't know of this one: the client must find that the
 * parameters lack it (RFC 9000 7.3), after having followed it in every respect.
 */
static void test_retry(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    struct retrier r = {0};
    world_link(&w, UP, sim_filter(&w.sim, answer_retry, &r));
    world_path(&w, 10 * NS_PER_MS, 0, 0);
    r.back = w.first[DOWN];
    world_start(&w, 1);
    settle(&w, 5 * NS_PER_S);
    assert_int_equal(r.retries, 1);
    assert_true(r.token_seen >= 9);
    assert_int_equal(w.xfer.n_ends, 2);
    assert_int_equal(w.xfer.end[0].close.code, QUIC_TRANSPORT_PARAMETER_ERROR);
    assert_int_equal(w.xfer.end[0].close.kind, QUIC_CLOSE_LOCAL);
    assert_int_equal(w.xfer.end[1].close.code, QUIC_TRANSPORT_PARAMETER_ERROR);
    assert_int_equal(w.xfer.end[1].close.kind, QUIC_CLOSE_PEER);
    world_free(&w);
}

static void test_retry_bad_tag(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    workload(&w, 1, 100, 100);
    struct retrier r = {.bad_tag = true};
    world_link(&w, UP, sim_filter(&w.sim, answer_retry, &r));
    world_path(&w, 10 * NS_PER_MS, 0, 0);
    r.back = w.first[DOWN];
    world_start(&w, 1);
    assert_true(world_run(&w, 5 * NS_PER_S));
    assert_int_equal(r.token_seen, 0);
    world_free(&w);
}

/* What a client says in its Initials around a Retry. */
struct retry_watch {
    struct aead key, other; /* of the client's Initials; the server's, unused */
    struct quic_cid first, retry;
    uint8_t token[QUIC_TOKEN_MAX];
    size_t token_len;
    uint64_t before, after, highest; /* Initials; the highest number so far */
    bool any, bad;
};

static void watch_key(struct retry_watch *r, const struct quic_cid *dcid)
{
    aead_free(&r->key);
    aead_free(&r->other);
    assert_int_equal(aead_initial(&r->other, &r->key, dcid, true), 0);
    /* The keys to open with are those of the server's side. */
    struct aead swap = r->key;
    r->key = r->other;
    r->other = swap;
}

/* One Initial of one client, as it leaves: a number used twice, or another token, is bad. */
static void watch_initial(struct retry_watch *r, const struct packet_head *h, const uint8_t *p)
{
    static uint8_t copy[65536];
    size_t pnl;
    uint64_t pn;
    bool again = h->token.n > 0;
    if (again && !r->after) {
        memcpy(r->token, h->token.p, h->token.n);
        r->token_len = h->token.n;
    }
    if ((again ? r->after : r->before) == 0) {
        struct quic_cid dcid = cid_of(h->dcid);
        watch_key(r, &dcid);
    }
    r->bad |= !again && r->after;
    r->bad |= again &&
              (h->token.n != r->token_len || memcmp(h->token.p, r->token, r->token_len) != 0);
    again ? r->after++ : r->before++;
    memcpy(copy, p, h->length);
    assert_int_equal(aead_unprotect_head(&r->key, copy, h->length, h->pn_offset, &pnl, &pn), 0);
    pn = pn_decode(pn, pnl, r->any ? r->highest : QUIC_PN_NONE);
    size_t head = h->pn_offset + pnl;
    r->bad |=
        aead_open(&r->key, 0, pn, span_of(copy, head), copy + head, h->length - head) != 0;
    r->bad |= r->any && pn <= r->highest;
    r->highest = pn;
    r->any = true;
}

static bool watch_up(void *ctx, struct sim_packet *packet)
{
    struct packet_head h;
    if (packet_parse(packet->p, packet->n, 8, &h) == 0 && h.type == PACKET_INITIAL)
        watch_initial(ctx, &h, packet->p);
    return true;
}

/* Through a Retry, whatever is lost of it: followed once, and the numbers go on. */
static void retry_handshake(uint64_t seed)
{
    struct world w;
    struct retry_watch r = {0};
    world_init(&w, seed);
    workload(&w, 1, 10000, 10000);
    w.server_cfg.retry = QUIC_RETRY_ALWAYS;
    w.client_cfg.conn.handshake = w.server_cfg.conn.handshake = 250 * NS_PER_S;
    world_link(&w, UP, sim_filter(&w.sim, watch_up, &r));
    for (int dir = UP; dir <= DOWN && seed > 1; dir++)
        world_link(&w, (enum world_dir)dir, sim_loss(&w.sim, 25 * PPM, 2));
    world_path(&w, 15 * NS_PER_MS, 0, 0);
    world_start(&w, 1);
    ns_t start = w.sim.now;
    WORLD_CHECK(&w, world_run(&w, 60 * NS_PER_S));
    if (seed == 1) /* one round trip more than the three without */
        WORLD_CHECK(&w, w.sim.now - start < 125 * NS_PER_MS);
    settle(&w, 5 * NS_PER_S);
    check_clean(&w);
    struct quic_endpoint_stats stats;
    quic_endpoint_stats(w.server->ep, &stats);
    WORLD_CHECK(&w, !r.bad && r.before && r.after);
    WORLD_CHECK(&w, r.token_len == TOKEN_RETRY_SIZE);
    WORLD_CHECK(&w, stats.retries >= 1 && stats.retries <= r.before);
    WORLD_CHECK(&w, stats.by_retry == 1 && stats.accepted == 1);
    aead_free(&r.key);
    aead_free(&r.other);
    world_free(&w);
}

static void test_retry_handshake(void **state)
{
    (void)state;
    world_each_seed(20, retry_handshake);
}

/* Thirty at a time, at a server that asks for proof from the eighth on. */
static void retry_load(uint64_t seed)
{
    struct world w;
    world_init(&w, seed);
    workload(&w, 1, 1000, 1000);
    w.server_cfg.max_half_open = 32;
    w.client_cfg.conn.handshake = w.server_cfg.conn.handshake = 250 * NS_PER_S;
    w.client_cfg.conn.idle = w.server_cfg.conn.idle = 250 * NS_PER_S;
    for (int dir = UP; dir <= DOWN; dir++)
        world_link(&w, (enum world_dir)dir, sim_loss(&w.sim, 5 * PPM, 2));
    world_path(&w, 15 * NS_PER_MS, 0, 0);
    world_start(&w, 30);
    WORLD_CHECK(&w, world_run(&w, 120 * NS_PER_S));
    struct quic_endpoint_stats stats;
    quic_endpoint_stats(w.server->ep, &stats);
    WORLD_CHECK(&w, stats.accepted - stats.by_retry >= 8 && stats.by_retry >= 1);
    WORLD_CHECK(&w, stats.invalid_tokens == 0);
    world_free(&w);
}

static void test_retry_load(void **state)
{
    (void)state;
    world_each_seed(4, retry_load);
}

/* ---- tokens for the next connection -------------------------------------------------- */

/* A second connection of which the server hears the ClientHello and no more. */
struct second {
    struct amplification a;
    bool begun, moved; /* the second's time has come; it comes from another address */
    struct quic_addr from, to;
};

static bool second_up(void *ctx, struct sim_packet *packet)
{
    struct second *s = ctx;
    if (!s->begun)
        return true;
    if (s->moved)
        packet->src = s->to;
    if (s->a.n_up++ >= 2)
        return false;
    s->a.up += packet->n;
    return true;
}

static bool second_down(void *ctx, struct sim_packet *packet)
{
    struct second *s = ctx;
    if (!s->begun)
        return true;
    if (s->moved)
        packet->dst = s->from;
    return amplification_down(&s->a, packet);
}

/* The limit is gone for the holder of a token, where it got it; on a lossy way, too. */
static void new_token(uint64_t seed, bool moved)
{
    static uint8_t token[QUIC_TOKEN_MAX];
    struct world w;
    struct second s = {.moved = moved};
    world_init(&w, seed);
    workload(&w, 1, 1000, 1000);
    w.server_cfg.conn.tls = world_tls_large();
    w.server_cfg.unix_offset = 1700000000 * NS_PER_S;
    world_link(&w, UP, sim_filter(&w.sim, second_up, &s));
    world_link(&w, DOWN, sim_filter(&w.sim, second_down, &s));
    struct sim_node *loss = sim_loss(&w.sim, 20 * PPM, 2);
    world_path(&w, 15 * NS_PER_MS, 0, 0);
    world_link(&w, DOWN, loss);
    world_start(&w, 1);
    s.from = s.to = w.client_addr;
    s.to.ip[3] ^= 0x40;
    WORLD_CHECK(&w, world_run(&w, 60 * NS_PER_S));
    settle(&w, 5 * NS_PER_S);
    check_clean(&w);
    struct span got = quic_new_token(w.client->conn[0]);
    WORLD_CHECK(&w, got.n == TOKEN_NEW_SIZE);
    WORLD_CHECK(&w, !w.server->conn[0]->new_token);
    memcpy(token, got.p, got.n);
    quic_close(w.client->conn[0], 0, "", w.sim.now);
    sim_host_wake(w.client);
    settle(&w, 10 * NS_PER_S);
    s.begun = true;
    w.client->cfg.token = span_of(token, got.n);
    world_connect(&w);
    settle(&w, 20 * NS_PER_S);
    struct quic_endpoint_stats stats;
    quic_endpoint_stats(w.server->ep, &stats);
    WORLD_CHECK(&w, stats.accepted == 2 && stats.retries == 0 && stats.invalid_tokens == 0);
    WORLD_CHECK(&w, stats.by_new_token == !moved);
    WORLD_CHECK(&w, s.a.up == 2400 && s.a.down > 2400);
    WORLD_CHECK(&w, s.a.over == !moved);
    world_free(&w);
}

static void new_token_same(uint64_t seed)
{
    new_token(seed, false);
}

static void new_token_moved(uint64_t seed)
{
    new_token(seed, true);
}

static void test_new_token(void **state)
{
    (void)state;
    world_each_seed(8, new_token_same);
}

static void test_new_token_moved(void **state)
{
    (void)state;
    world_each_seed(4, new_token_moved);
}

/* ---- endings ------------------------------------------------------------------------- */

static void test_no_answer(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    world_link(&w, UP, sim_hole(&w.sim, 0, NS_NEVER));
    world_path(&w, 10 * NS_PER_MS, 0, 0);
    world_start(&w, 1);
    ns_t start = w.sim.now;
    sim_run(&w.sim, start + 60 * NS_PER_S, xfer_closed, &w.xfer);
    assert_true(w.xfer.end[0].closed);
    assert_int_equal(w.xfer.end[0].close.kind, QUIC_CLOSE_HANDSHAKE);
    assert_string_equal(w.xfer.end[0].close.text, "no answer");
    assert_true(w.sim.now - start <= w.client_cfg.conn.handshake);
    /* Probes back off: not a flood. */
    assert_true(w.client->datagrams < 40);
    settle(&w, 60 * NS_PER_S);
    assert_true(quic_is_drained(w.client->conn[0]));
    world_free(&w);
}

/* The smaller of both idle times counts, and nothing is said when it is over. */
static void test_idle(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    w.client_cfg.conn.idle = 20 * NS_PER_S;
    w.server_cfg.conn.idle = 5 * NS_PER_S;
    world_path(&w, 10 * NS_PER_MS, 0, 0);
    world_start(&w, 1);
    settle(&w, 4 * NS_PER_S);
    check_clean(&w);
    uint64_t sent = w.client->datagrams + w.server->datagrams;
    settle(&w, 3 * NS_PER_S);
    for (int i = 0; i < 2; i++) {
        assert_true(w.xfer.end[i].closed);
        assert_int_equal(w.xfer.end[i].close.kind, QUIC_CLOSE_IDLE);
    }
    assert_int_equal(w.client->datagrams + w.server->datagrams, sent);
    assert_true(quic_is_drained(w.client->conn[0]) && quic_is_drained(w.server->conn[0]));
    world_free(&w);
}

static void test_keep_alive(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    w.client_cfg.conn.idle = w.server_cfg.conn.idle = 5 * NS_PER_S;
    w.client_cfg.conn.keep_alive = 2 * NS_PER_S;
    world_path(&w, 10 * NS_PER_MS, 0, 0);
    world_start(&w, 1);
    settle(&w, 60 * NS_PER_S);
    check_clean(&w);
    assert_true(w.client->datagrams < 60);
    world_free(&w);
}

static void closing(uint64_t seed)
{
    struct world w;
    world_init(&w, seed);
    workload(&w, 2, 5000, 5000);
    for (int dir = UP; dir <= DOWN; dir++)
        world_link(&w, (enum world_dir)dir, sim_loss(&w.sim, 20 * PPM, 2));
    world_path(&w, 10 * NS_PER_MS, 0, 0);
    world_start(&w, 1);
    WORLD_CHECK(&w, world_run(&w, 30 * NS_PER_S));
    quic_close(w.client->conn[0], 77, "enough", w.sim.now);
    sim_host_wake(w.client);
    settle(&w, 40 * NS_PER_S);
    WORLD_CHECK(&w, w.xfer.end[0].close.kind == QUIC_CLOSE_LOCAL);
    WORLD_CHECK(&w, w.xfer.end[0].close.app && w.xfer.end[0].close.code == 77);
    WORLD_CHECK(&w, w.xfer.end[1].closed);
    /* The one packet may be lost: then it is the idle time that ends the other side. */
    if (w.xfer.end[1].close.kind == QUIC_CLOSE_PEER) {
        WORLD_CHECK(&w, w.xfer.end[1].close.app && w.xfer.end[1].close.code == 77);
        WORLD_CHECK(&w, strcmp(w.xfer.end[1].close.text, "enough") == 0);
    } else {
        WORLD_CHECK(&w, w.xfer.end[1].close.kind == QUIC_CLOSE_IDLE);
    }
    WORLD_CHECK(&w, quic_is_drained(w.client->conn[0]));
    WORLD_CHECK(&w, quic_is_drained(w.server->conn[0]));
    world_free(&w);
}

static void test_close(void **state)
{
    (void)state;
    world_each_seed(10, closing);
}

/* Closed during the handshake: the application's code stays at home (RFC 9000 10.2.3). */
static void test_close_early(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    world_path(&w, 10 * NS_PER_MS, 0, 0);
    world_start(&w, 1);
    sim_run(&w.sim, w.sim.now + 12 * NS_PER_MS, NULL, NULL);
    quic_close(w.client->conn[0], 77, "secret", w.sim.now);
    sim_host_wake(w.client);
    settle(&w, 10 * NS_PER_S);
    assert_int_equal(w.xfer.n_ends, 2);
    assert_int_equal(w.xfer.end[1].close.kind, QUIC_CLOSE_PEER);
    assert_false(w.xfer.end[1].close.app);
    assert_int_equal(w.xfer.end[1].close.code, QUIC_APPLICATION_ERROR);
    assert_string_equal(w.xfer.end[1].close.text, "");
    world_free(&w);
}

/* The server has lost its memory, but not its key: the client learns it by a reset. */
static void test_stateless_reset(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1);
    workload(&w, 1, 1000, 1000);
    world_path(&w, 10 * NS_PER_MS, 0, 0);
    world_start(&w, 1);
    assert_true(world_run(&w, 5 * NS_PER_S));
    settle(&w, NS_PER_S);
    sim_host_restart(w.server);
    quic_ping(w.client->conn[0], 0);
    sim_host_wake(w.client);
    settle(&w, 2 * NS_PER_S);
    struct quic_endpoint_stats stats;
    quic_endpoint_stats(w.server->ep, &stats);
    assert_true(stats.resets >= 1);
    assert_true(w.xfer.end[0].closed);
    assert_int_equal(w.xfer.end[0].close.kind, QUIC_CLOSE_RESET);
    settle(&w, 10 * NS_PER_S);
    assert_true(quic_is_drained(w.client->conn[0]));
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean),
        cmocka_unit_test(test_first_flight),
        cmocka_unit_test(test_loss),
        cmocka_unit_test(test_corruption),
        cmocka_unit_test(test_each_lost),
        cmocka_unit_test(test_long_rtt),
        cmocka_unit_test(test_amplification),
        cmocka_unit_test(test_amplification_silent),
        cmocka_unit_test(test_server_negotiates),
        cmocka_unit_test(test_client_negotiated),
        cmocka_unit_test(test_retry),
        cmocka_unit_test(test_retry_bad_tag),
        cmocka_unit_test(test_retry_handshake),
        cmocka_unit_test(test_retry_load),
        cmocka_unit_test(test_new_token),
        cmocka_unit_test(test_new_token_moved),
        cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_close_early),
        cmocka_unit_test(test_stateless_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
