/*
 * What a connection makes of datagrams must not depend on how they are divided into calls of
 * quic_recv: a child process takes the same ones a call each, and the outcomes are compared.
 * Among them is whatever might upset what a batch prepares or remembers: other paths of the
 * same connection, key updates, coalesced packets, garbage, retired IDs, the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/wait.h>
#include <unistd.h>

#include "test/quic_pair.h"
#include "test/quic_rand.h"
#include "test/sim/evil.h"

#define MOST 160
#define SIZE 1300

/* What there is to compare; all of it zeroed before it is filled. */
struct outcome {
    struct quic_stats stats;
    uint64_t close_kind, close_app, close_code, close_frame, state;
    uint64_t received[PATH_ROUTES], failed, key_updates;
    uint64_t acks, largest, ect0, ce;
    uint32_t unacked;
    ns_t ack_deadline, deadline, idle;
    unsigned current;
    bool rx_phase, tx_phase;
    size_t events;
    uint64_t dgrams, dgram_hash;
};

struct flight {
    size_t n;
    struct quic_rx rx[MOST];
    uint8_t b[MOST][SIZE];
};

static uint64_t mix(uint64_t h, const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const uint8_t *)p)[i]) * 0x100000001b3u;
    return h;
}

static void outcome_of(struct quic_conn *c, struct outcome *o)
{
    const struct quic_path *p = &c->path[0];
    const struct ackrx *ack = &p->ack[SPACE_APP];
    quic_stats(c, &o->stats);
    /*
     * What was taken before a close can't be lost by it; and the close is repeated for packets
     * of later calls only.
     */
    if (c->state >= CONN_CLOSING)
        o->stats.drop_dgram = o->dgrams = o->dgram_hash = 0;
    else
        o->deadline = quic_deadline(c);
    o->close_kind = c->close.kind;
    o->close_app = c->close.app;
    o->close_code = c->close.code;
    o->close_frame = c->close.frame_type;
    o->state = c->state;
    for (int i = 0; i < PATH_ROUTES; i++)
        o->received[i] = p->route[i].used ? p->route[i].received : 0;
    o->failed = c->keys.failed;
    o->key_updates = c->stats.key_updates;
    o->acks = ranges_size(&ack->received);
    o->largest = ack->largest;
    o->ect0 = ack->ect0;
    o->ce = ack->ce;
    o->unacked = ack->unacked;
    o->ack_deadline = ack->deadline;
    o->idle = c->timer[CONN_TIMER_IDLE];
    o->current = p->current;
    o->rx_phase = c->keys.rx_phase;
    o->tx_phase = c->keys.tx_phase;
    o->events = c->event_n;
}

/* Give the flight to `c`, `step` datagrams a call; 0: by chance. */
static void take(struct quic_conn *c, struct flight *f, size_t step, struct rnd *r, ns_t now,
                 struct outcome *o)
{
    struct quic_dgram_rx got[QUIC_DGRAM_RX_MAX];
    memset(o, 0, sizeof(*o));
    for (size_t at = 0; at < f->n;) {
        size_t n = step ? step : 1 + rnd_below(r, MOST);
        n = n < f->n - at ? n : f->n - at;
        quic_recv(c, f->rx + at, n, now);
        at += n;
        n = quic_dgram_recv(c, got, ARRAY_LEN(got));
        for (size_t i = 0; i < n; i++)
            o->dgram_hash = mix(o->dgram_hash, got[i].p, got[i].n);
        o->dgrams += n;
    }
    outcome_of(c, o);
}

/* The same in a process of its own: this one's connection is not touched. */
static void take_apart(struct quic_conn *c, struct flight *f, ns_t now, struct outcome *o)
{
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        take(c, f, 1, NULL, now, o);
        _exit(write(fd[1], o, sizeof(*o)) == sizeof(*o) ? 0 : 1);
    }
    close(fd[1]);
    assert_int_equal(read(fd[0], o, sizeof(*o)), sizeof(*o));
    close(fd[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* An ID of ours that the peer knows. */
static const struct quic_cid *some_cid(const struct quic_conn *c, struct rnd *r)
{
    const struct cid_local *l = &c->path[0].ours;
    size_t i;
    do
        i = rnd_below(r, CID_LOCAL_MAX);
    while (l->slot[i].state != CID_ACKED && l->slot[i].state != CID_SENT);
    return &l->slot[i].cid;
}

static size_t frames_of(struct rnd *r, const struct quic_conn *to, uint8_t *out, size_t cap)
{
    struct wire_w w = wire_w_of(out, cap);
    size_t n = 10 + rnd_below(r, 850);
    uint8_t data[1024];
    rnd_fill(r, data, n);
    switch (rnd_below(r, 40)) {
    case 0: /* its own ID is an error, another is not */
        wire_w_varint(&w, FRAME_RETIRE_CONNECTION_ID);
        wire_w_varint(&w, rnd_below(r, to->path[0].ours.next_seq));
        wire_w_zero(&w, 10);
        break;
    case 1:
        wire_w_varint(&w, FRAME_PATH_CHALLENGE);
        wire_w_bytes(&w, data, 8);
        break;
    case 2:
        wire_w_u8(&w, FRAME_PING);
        wire_w_zero(&w, 10);
        wire_w_varint(&w, FRAME_DATAGRAM_LEN);
        wire_w_vec(&w, span_of(data, n));
        break;
    case 3:
        wire_w_varint(&w, FRAME_DATAGRAM_LEN);
        wire_w_vec(&w, span_of(data, n));
        wire_w_varint(&w, FRAME_DATAGRAM);
        wire_w_bytes(&w, data, n / 4);
        break;
    case 4:
        if (rnd_chance(r, 1, 8)) { /* cut short: the connection fails */
            wire_w_varint(&w, FRAME_DATAGRAM_LEN);
            wire_w_varint(&w, 5000);
            wire_w_zero(&w, 10);
            break;
        }
        wire_w_zero(&w, n); /* nothing but PADDING */
        break;
    case 5:
        if (rnd_chance(r, 1, 4)) {
            wire_w_varint(&w, FRAME_CONNECTION_CLOSE_APP);
            wire_w_varint(&w, 77);
            wire_w_vec(&w, SPAN_LIT("enough for a sample"));
            break;
        }
        wire_w_zero(&w, 10);
        wire_w_u8(&w, FRAME_PING);
        break;
    default:
        wire_w_varint(&w, FRAME_DATAGRAM);
        wire_w_bytes(&w, data, n);
    }
    assert_false(w.failed);
    return (size_t)(w.p - out);
}

/* A Handshake packet that nobody can open, to be followed by another packet. */
static size_t false_start(struct rnd *r, const struct quic_cid *dcid, uint8_t *out)
{
    struct wire_w w = wire_w_of(out, 100);
    struct quic_cid none = {0};
    uint8_t noise[24];
    rnd_fill(r, noise, sizeof(noise));
    packet_long_length(
        packet_long_head(&w, PACKET_HANDSHAKE, QUIC_V1, dcid, &none, (struct span){0}, 1),
        sizeof(noise));
    wire_w_bytes(&w, noise, sizeof(noise));
    return (size_t)(w.p - out);
}

/* One datagram from `as` to `to`. */
static void make(struct rnd *r, struct quic_conn *as, struct quic_conn *to, struct flight *f)
{
    struct quic_rx *rx = &f->rx[f->n];
    uint8_t frames[1200], *b = f->b[f->n];
    const struct quic_cid *dcid = rnd_chance(r, 1, 6) ? some_cid(to, r) : NULL;
    struct evil e = {.level = LEVEL_APP, .dcid = dcid};
    size_t n = frames_of(r, to, frames, 1100), before = 0;
    if (rnd_chance(r, 1, 200))
        quic_key_update(as);
    if (rnd_chance(r, 1, 30))
        before = false_start(r, dcid ? dcid : &to->local.initial_scid, b);
    e.flip_phase = rnd_chance(r, 1, 60);
    e.seen = rnd_chance(r, 1, 20);
    if (rnd_chance(r, 1, 1000))
        e.bits = 0x18;
    rx->p = b;
    rx->n = before + evil_packet(as, &e, span_of(frames, n), b + before, SIZE - before);
    rx->route = path_current(&to->path[0])->route;
    rx->ecn = rnd_chance(r, 1, 10) ? (uint8_t)rnd_below(r, 4) : 0;
    if (rnd_chance(r, 1, 30)) /* another port, or another address */
        rx->route.remote.port = (uint16_t)(rx->route.remote.port + rnd_below(r, 3));
    if (rnd_chance(r, 1, 100))
        rx->route.remote.ip[3] = (uint8_t)rnd_next(r);
    if (rnd_chance(r, 1, 20)) /* damaged, anywhere */
        b[rnd_below(r, rx->n)] ^= (uint8_t)(1u << rnd_below(r, 8));
    if (rnd_chance(r, 1, 30)) /* cut */
        rx->n = rnd_below(r, rx->n) + 1;
    if (rnd_chance(r, 1, 60)) /* as short as a packet may be, and shorter */
        rx->n = 20 + rnd_below(r, 15);
    if (rnd_chance(r, 1, 30))
        rnd_fill(r, b, rx->n);
    if (f->n && rnd_chance(r, 1, 20)) { /* once more */
        size_t old = rnd_below(r, f->n);
        memcpy(b, f->b[old], f->rx[old].n);
        rx->n = f->rx[old].n;
    }
    f->n++;
}

static void check(uint64_t seed, bool *lived)
{
    static struct flight whole, apart;
    struct rnd r = {seed};
    struct pair p;
    pair_init(&p);
    p.seed = seed;
    pair_connect(&p);
    pair_run(&p, NS_PER_S);
    int to = (int)rnd_below(&r, 2);
    struct quic_conn *victim = p.conn[to];
    *lived = true;
    for (int round = 0; round < 3 && *lived; round++) {
        whole.n = 0;
        size_t n = 1 + rnd_below(&r, MOST);
        while (whole.n < n)
            make(&r, p.conn[1 - to], victim, &whole);
        apart = whole;
        for (size_t i = 0; i < n; i++)
            apart.rx[i].p = apart.b[i];
        struct outcome one, other;
        take_apart(victim, &apart, p.now, &one);
        take(victim, &whole, rnd_chance(&r, 1, 2) ? MOST : 0, &r, p.now, &other);
        if (memcmp(&one, &other, sizeof(one)) != 0) {
            print_error("seed %llu round %d: state %llu/%llu dgrams %llu/%llu idle %llu/%llu "
                        "code %llu/%llu\n",
                        (unsigned long long)seed, round, (unsigned long long)one.state,
                        (unsigned long long)other.state, (unsigned long long)one.dgrams,
                        (unsigned long long)other.dgrams, (unsigned long long)one.idle,
                        (unsigned long long)other.idle, (unsigned long long)one.close_code,
                        (unsigned long long)other.close_code);
            fail();
        }
        *lived = conn_alive(victim);
        /* What it says to all that, the other side hears. */
        p.now += NS_PER_MS;
        pair_flush(&p, to);
        *lived &= conn_alive(p.conn[1 - to]);
    }
    pair_free(&p);
}

static void test_batches(void **state)
{
    (void)state;
    const char *env = getenv("SEEDS");
    uint64_t seeds = env && atoi(env) > 0 ? (uint64_t)atoi(env) : 60, survived = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        bool lived;
        check(seed, &lived);
        survived += lived;
    }
    /* Neither all of them ended early, nor none. */
    if (seeds >= 20) {
        assert_true(survived > 0);
        assert_true(survived < seeds);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_batches)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
