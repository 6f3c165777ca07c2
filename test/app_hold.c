/*
 * hold: which flows are known, what their windows become while a link is away and which are
 * left alone, and a model of senders. SEEDS is the number of runs of that.
 *
 * Senders are at 10.0.0.2 or fd00::2, ports tell them apart. Out: from them; in: to them.
 */
#include "test/masque_util.h"

#include "app/hold.h"
#include "test/quic_rand.h"

#include <math.h>

#define MS   NS_PER_MS
#define S    NS_PER_S
#define HASH 77 /* seed of flow hashes */
#define SYN  IPPKT_TCP_SYN
#define ACK  IPPKT_TCP_ACK
#define BPS  1600000.0 /* for which there is room for */
#define ROOM 30001u    /* bytes in the queue of one flow */
#define MD5  19        /* options of who signs */
#define AO   29

static struct hold h;
static struct queue q;
static struct queue_pkt pool[1 << 14];
static size_t used;
static ns_t now;

static void begin(void)
{
    queue_init(&q, 1 << 30, NS_NEVER);
    q.slack = S;
    hold_init(&h, &q, HASH);
    used = 0;
    now = S;
}

static void end(void)
{
    queue_clear(&q);
    while (queue_dropped(&q))
        ;
    queue_free(&q);
}

/* ---- packets --------------------------------------------------------------------------- */

struct seg {
    bool in, v6;
    uint16_t port;
    uint8_t flags;
    uint32_t seq, ack;
    uint16_t window;
    int scale; /* -1: without the option */
    int signs; /* of a SYN: by this option; 0: not */
    uint32_t data;
};

static void set32(uint8_t *p, uint32_t v)
{
    set16(p, v >> 16);
    set16(p + 2, v & 0xffff);
}

static size_t head_of(const uint8_t *b)
{
    return b[0] >> 4 == 4 ? (b[0] & 15u) * 4 : 40;
}

static bool sum_right(const uint8_t *b, size_t n)
{
    return upper_sum(b, head_of(b), IP_PROTO_TCP, n - head_of(b)) == 0xffff;
}

/* Of 65535 bytes there. */
static size_t build(uint8_t *b, const struct seg *s)
{
    static uint8_t t[65535];
    const char *here = s->v6 ? "fd00::2" : "10.0.0.2", *there = s->v6 ? "fd00::9" : "192.0.2.9";
    size_t options = 20, head, n;

    memset(t, 0, 60);
    if (s->flags & SYN && s->signs) {
        memcpy(t + options, (uint8_t[]){1, 1, (uint8_t)s->signs, 18}, 4);
        options += 20;
    }
    if (s->flags & SYN && s->scale >= 0) {
        memcpy(t + options, (uint8_t[]){1, 3, 3, (uint8_t)s->scale}, 4);
        options += 4;
    }
    head = options;
    set16(t, s->in ? 443 : s->port);
    set16(t + 2, s->in ? s->port : 443);
    set32(t + 4, s->seq);
    set32(t + 8, s->ack);
    t[12] = (uint8_t)(head / 4 << 4);
    t[13] = s->flags;
    set16(t + 14, s->window);
    n = make_packet(b, s->in ? there : here, s->in ? here : there, IP_PROTO_TCP, 64, t,
                    head + s->data);
    set16(b + n - s->data - head + 16,
          (uint16_t)~upper_sum(b, head_of(b), IP_PROTO_TCP, head + s->data));
    return n;
}

static uint32_t flow_of(bool v6, uint16_t port)
{
    uint8_t b[100];
    struct ippkt v;
    size_t n = build(b, &(struct seg){.v6 = v6, .port = port, .flags = ACK});

    assert_int_equal(ippkt_parse(span_of(b, n), &v), 0);
    return ippkt_flow_hash(&v, span_of(b, n), HASH);
}

/* One packet, with no byte behind it; what is in its window then. Else it is as it was. */
static uint16_t pass(const struct seg *s)
{
    static uint8_t whole[65535];
    size_t n = build(whole, s), at = head_of(whole);
    uint8_t *b = malloc(n);
    uint16_t window;

    assert_non_null(b);
    memcpy(b, whole, n);
    if (s->in)
        hold_in(&h, b, n);
    else
        hold_out(&h, b, n, flow_of(s->v6, s->port));
    window = (uint16_t)(b[at + 14] << 8 | b[at + 15]);
    assert_true(sum_right(b, n));
    if (window == s->window)
        assert_memory_equal(b, whole, n);
    memcpy(whole + at + 14, b + at + 14, 4);
    assert_memory_equal(b, whole, n);
    free(b);
    return window;
}

static void shake(bool in, uint16_t port, uint8_t flags, int scale, int signs)
{
    pass(&(struct seg){.in = in,
                       .port = port,
                       .flags = flags,
                       .scale = scale,
                       .signs = signs,
                       .window = 65535,
                       .seq = 9});
}

static void syn(bool in, uint16_t port, uint8_t flags, int scale)
{
    shake(in, port, flags, scale, 0);
}

static void sent(uint16_t port, uint32_t seq, uint32_t data)
{
    pass(&(struct seg){.port = port, .flags = ACK, .seq = seq, .data = data, .window = 502});
}

static uint16_t told(uint16_t port, uint32_t ack)
{
    return pass(
        &(struct seg){.in = true, .port = port, .flags = ACK, .ack = ack, .window = 65535});
}

/* ---- the queue ------------------------------------------------------------------------- */

static void push(uint32_t flow, uint32_t bytes)
{
    struct queue_pkt *p = &pool[used++ % ARRAY_LEN(pool)];

    assert_true(q.count < ARRAY_LEN(pool) / 2);
    *p = (struct queue_pkt){.flow = flow, .bytes = bytes, .unit = 1400, .held = 1};
    queue_push(&q, p, now);
}

static uint32_t take(uint32_t flow, uint32_t most)
{
    const struct queue_slot *s = queue_find(&q, flow);
    uint32_t n;

    if (!s || !s->head)
        return 0;
    n = s->head->bytes < most ? s->head->bytes : most;
    queue_took(&q, s->head, n, now);
    return n;
}

/* So much of a flow waits, and nothing else. */
static void backlog(uint32_t flow, uint32_t bytes)
{
    while (take(flow, UINT32_MAX))
        ;
    if (bytes)
        push(flow, bytes);
}

/* It fills its queue for 30 ms, and then has none. */
static void bulk(uint32_t flow)
{
    for (int i = 0; i < 60; i++)
        push(flow, 1400);
    while (take(flow, 1400))
        now += MS / 2;
    assert_int_equal(queue_find(&q, flow)->flow.lane, SCHED_BULK);
}

/* ---- what is known --------------------------------------------------------------------- */

/* What shakes hands, and by which scale the windows are then; -1: not known. */
static void handshakes(void **state)
{
    static const struct {
        struct {
            enum { NONE, OUT, IN } way;
            uint8_t flags;
            int scale, signs;
        } step[3];
        int scale;
    } row[] = {
        {{{IN, SYN, 7, 0}}, 7},
        {{{IN, SYN | ACK, 7, 0}}, 7},
        {{{IN, SYN, 0, 0}}, 0},
        {{{IN, SYN, 13, 0}}, 13},
        {{{IN, SYN, 14, 0}}, 14},
        {{{IN, SYN, 15, 0}}, 14},
        {{{IN, SYN, 255, 0}}, 14},
        {{{IN, SYN, -1, 0}}, -1},
        {{{IN, ACK, 7, 0}}, -1},
        {{{OUT, SYN, 7, 0}}, -1},
        {{{OUT, SYN, 3, 0}, {IN, SYN | ACK, 9, 0}}, 9},
        {{{OUT, SYN, 3, 0}, {IN, SYN | ACK, -1, 0}}, -1},
        {{{IN, SYN, 7, 0}, {OUT, SYN | ACK, 3, 0}}, 7},
        {{{IN, SYN, 7, 0}, {OUT, SYN | ACK, -1, 0}}, -1},
        {{{IN, SYN, 7, 0}, {IN, SYN, 2, 0}}, 2}, /* anew */
        {{{IN, SYN, 7, 0}, {IN, SYN, -1, 0}}, -1},
        {{{IN, SYN, 7, 0}, {OUT, SYN | ACK, -1, 0}, {IN, SYN, 5, 0}}, 5},
        {{{IN, SYN, 7, 0}, {IN, SYN, -1, 0}, {IN, SYN, 5, 0}}, 5},
        {{{IN, SYN, 7, MD5}}, -1}, /* who signs, is left alone */
        {{{IN, SYN, 7, AO}}, -1},
        {{{IN, SYN, 7, 30}}, 7}, /* another option: MPTCP's */
        {{{OUT, SYN, 3, MD5}, {IN, SYN | ACK, 9, MD5}}, -1},
        {{{OUT, SYN, 3, AO}, {IN, SYN | ACK, 9, 0}}, 9}, /* both sign, or none */
        {{{IN, SYN, 7, 0}, {OUT, SYN | ACK, 3, MD5}}, -1},
        {{{IN, SYN, 7, 0}, {OUT, SYN | ACK, 3, AO}}, -1},
        {{{IN, SYN, 7, 0}, {OUT, SYN | ACK, 3, 30}}, 7},
        {{{IN, SYN, 7, 0}, {IN, SYN, 7, AO}}, -1},
        {{{IN, SYN, 7, AO}, {IN, SYN, 5, 0}}, 5},
    };

    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(row); i++) {
        size_t r = i / 2;
        uint16_t want = 65535, got;

        begin();
        for (size_t k = 0; k < 3 && row[r].step[k].way; k++) {
            if (i % 2 && k > 0) /* also while a link is away */
                hold_look(&h, true, BPS, now);
            shake(row[r].step[k].way == IN, 1, row[r].step[k].flags, row[r].step[k].scale,
                  row[r].step[k].signs);
        }
        bulk(flow_of(false, 1));
        backlog(flow_of(false, 1), 60000);
        hold_look(&h, true, BPS, now + HOLD_EVERY);
        sent(1, 159000, 1000);
        if (row[r].scale >= 0)
            want = (uint16_t)(60000 >> row[r].scale);
        got = told(1, 100000);
        if (got != want)
            fail_msg("row %zu: %u, not %u", r, got, want);
        end();
    }
}

static bool known(uint32_t flow)
{
    for (size_t i = 0; i < HOLD_SETS * HOLD_WAYS; i++)
        if (h.flow[i / HOLD_WAYS][i % HOLD_WAYS].used &&
            h.flow[i / HOLD_WAYS][i % HOLD_WAYS].flow == flow)
            return true;
    return false;
}

/* The next port whose flow is in the same set as that of port 1. */
static uint16_t beside(uint16_t port)
{
    while (flow_of(false, ++port) % HOLD_SETS != flow_of(false, 1) % HOLD_SETS)
        assert_true(port < 60000);
    return port;
}

/* More flows than there is place for: those that fill the queue stay. */
static void crowded_set(void **state)
{
    (void)state;
    for (size_t bulks = 0; bulks <= HOLD_WAYS; bulks++) {
        uint32_t flow[HOLD_WAYS];
        uint16_t port = 1;
        size_t left;

        begin();
        for (size_t i = 0; i < HOLD_WAYS; i++, port = beside(port)) {
            syn(true, port, SYN, 7);
            flow[i] = flow_of(false, port);
        }
        /* not the first ones, and at the same time */
        for (size_t i = HOLD_WAYS - bulks; i < HOLD_WAYS; i++)
            bulk(flow[i]);
        for (size_t i = 0; i < HOLD_WAYS; i++)
            assert_true(known(flow[i]));
        for (int more = 0; more < 30; more++, port = beside(port)) {
            syn(true, port, SYN, 7);
            assert_true(known(flow_of(false, port)));
            left = 0;
            for (size_t i = HOLD_WAYS - bulks; i < HOLD_WAYS; i++)
                left += known(flow[i]);
            assert_int_equal(left, bulks < HOLD_WAYS ? bulks : HOLD_WAYS - 1);
        }
        for (size_t i = 0; i < HOLD_WAYS - bulks; i++)
            assert_false(known(flow[i]));
        end();
    }
}

/* A place that nobody has is taken first, and by nobody who needs none. */
static void free_place(void **state)
{
    uint16_t port[HOLD_WAYS + 1] = {1};

    (void)state;
    for (size_t gone = 0; gone < HOLD_WAYS; gone++) {
        begin();
        for (size_t i = 0; i <= HOLD_WAYS; i++) {
            port[i] = i ? beside(port[i - 1]) : 1;
            syn(true, port[i], SYN, i < HOLD_WAYS ? 7 : -1);
        }
        for (size_t i = 0; i < HOLD_WAYS; i++)
            assert_true(known(flow_of(false, port[i])));
        syn(true, port[gone], SYN, -1);
        syn(true, port[HOLD_WAYS], SYN, 7);
        for (size_t i = 0; i <= HOLD_WAYS; i++)
            assert_int_equal(known(flow_of(false, port[i])), i != gone);
        end();
    }
}

/* ---- windows --------------------------------------------------------------------------- */

/* A flow that is known and bulk, a link away. Its hash. */
static uint32_t ready(bool v6, int scale)
{
    begin();
    pass(&(struct seg){.in = true, .v6 = v6, .port = 1, .flags = SYN, .scale = scale});
    bulk(flow_of(v6, 1));
    hold_look(&h, true, BPS, now);
    return flow_of(v6, 1);
}

/* Of what the table says: all up to `end` is sent, then an acknowledgement; what it tells then. */
struct held {
    int scale;
    uint32_t end, ack, backlog;
    uint16_t window, told;
};

static void held(const struct held *row, size_t i, bool v6)
{
    struct seg s = {.in = true, .v6 = v6, .port = 1, .flags = ACK, .data = i % 3 * 501};
    uint16_t got;

    backlog(flow_of(v6, 1), row->backlog);
    pass(
        &(struct seg){.v6 = v6, .port = 1, .flags = ACK, .seq = row->end - 1000, .data = 1000});
    s.ack = row->ack;
    s.window = row->window;
    got = pass(&s);
    if (got != row->told)
        fail_msg("row %zu: %u, not %u", i, got, row->told);
}

/* When there is more than room for, and that is what is not acknowledged. */
static void begins(void **state)
{
    static const struct held row[] = {
        {0, 100000, 69998, 30002, 65535, 30002},
        {0, 100000, 69999, 30001, 65535, 65535}, /* there is room */
        {0, 100000, 50000, 30001, 65535, 65535},
        {0, 100000, 50000, 1, 65535, 65535},
        {0, 100000, 50000, 0, 65535, 65535},
        {0, 100000, 50000, 30002, 65535, 50000},      /* more is under way than in the queue */
        {0, 100000, 73748, 30002, 65535, 26252},      /* 7/8 of 30002, up */
        {0, 100000, 73749, 30002, 65535, 65535},      /* that was sent again */
        {7, 100000, 0xfff51154, 900000, 65535, 6378}, /* 816460 before */
        {7, 1000000, 212500, 900000, 65535, 6152},
        {7, 1000000, 212501, 900000, 65535, 65535},
        {0, 100000, 100000, 40000, 65535, 65535},
        {0, 100000, 100001, 40000, 65535, 65535}, /* acknowledged before it was sent */
        {0, 100000, 140000, 40000, 65535, 65535},
        {0, 100000, 0x80000000, 40000, 65535, 65535},
        {0, 5000, 0xffff7748, 40000, 65535, 40000}, /* 40000 before */
        {0, 0x80001000, 0x7fff73c0, 40000, 65535, 40000},
        {0, 100000, 60000, 40000, 40001, 40000},
        {0, 100000, 60000, 40000, 40000, 40000},
        {0, 100000, 60000, 40000, 39999, 39999}, /* it isn't made longer */
        {0, 100000, 60000, 40000, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(row); i++) {
        ready(i % 2, row[i / 2].scale);
        held(&row[i / 2], i / 2, i % 2);
        end();
    }
}

/* Of a flow that is held, up to `end` at first. */
static void lowered(void **state)
{
    static const struct held row[] = {
        {0, 100000, 90000, 1, 65535, 10000 + ROOM - 1},
        {0, 100000, 90000, 0, 65535, 10000 + ROOM},
        {0, 100000, 90000, 20000, 65535, 20001},
        {0, 100000, 90000, 30000, 65535, 10001},
        {0, 100000, 90000, 30001, 65535, 10000},
        {0, 100000, 90000, 30002, 65535, 10000}, /* not behind what was sent */
        {0, 100000, 90000, 900000, 65535, 10000},
        {0, 100000, 91807, 40000, 65535, 8193},
        {0, 100000, 91808, 40000, 65535, HOLD_LEAST},
        {0, 100000, 91809, 40000, 65535, HOLD_LEAST},
        {0, 100000, 100000, 40000, 65535, HOLD_LEAST},
        {0, 100000, 100000, 20000, 65535, 10001},
        {0, 100000, 90000, 20000, 20002, 20001},
        {0, 100000, 90000, 20000, 20001, 20001}, /* nor is it made longer */
        {0, 100000, 90000, 20000, 20000, 20000},
        {0, 100000, 100000, 40000, 8191, 8191},
        {0, 100000, 100000, 40000, 0, 0},
        {7, 100000, 90000, 20001, 65535, 156}, /* 156.25 */
        {7, 100000, 90000, 20032, 65535, 156},
        {7, 100000, 90000, 20033, 65535, 156},
        {7, 100000, 90000, 20034, 65535, 155},
        {7, 100000, 90000, 20001, 155, 155},
        {7, 100000, 91680, 40000, 65535, 65},
        {7, 100000, 91681, 40000, 65535, 64},
        {7, 100000, 91809, 40000, 65535, 64},
        {11, 100000, 100000, 40000, 65535, 4},
        {12, 100000, 87712, 40000, 65535, 3},
        {12, 100000, 87713, 40000, 65535, 2},
        {12, 100000, 100000, 40000, 65535, 2},
        {13, 100000, 100000, 40000, 65535, 1},
        {14, 100000, 90000, 1, 65535, 2},
        {14, 100000, 90000, 7233, 65535, 2},
        {14, 100000, 90000, 7234, 65535, 1},
        {14, 100000, 90000, 23617, 65535, 1},
        {14, 100000, 90000, 23618, 65535, 1}, /* less than one: not none */
        {14, 100000, 100000, 40000, 65535, 1},
        {0, 5000, 0xffffec78, 20000, 65535, 20001}, /* 10000 before */
        {0, 5000, 0xffffec78, 90000, 65535, 10000},
        {0, 0, 0xffffffff, 20000, 65535, 10002},
        {0, 0xfffff000, 0xffffe000, 1, 65535, 0x1000 + ROOM - 1},
        {0, 0x80001000, 0x7ffff000, 20000, 65535, 0x2000 + 10001},
        {0, 100000, 121807, 1, 65535, 8193}, /* acknowledged before it was sent */
        {0, 100000, 130000, 1, 65535, HOLD_LEAST},
        {0, 100000, 140000, 1, 65535, HOLD_LEAST},
        {0, 100000, 0x80000000, 1, 65535, HOLD_LEAST},
        {0, 100000, 0x90000000, 1, 65535, 65535}, /* so long ago that it was enough */
    };

    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(row); i++) {
        struct held first = row[i / 2];

        ready(i % 2, first.scale);
        first.ack = first.end - 60000;
        first.backlog = 60000;
        first.window = 65535;
        first.told = (uint16_t)(60000 >> first.scale);
        held(&first, i / 2, i % 2);
        held(&row[i / 2], i / 2, i % 2);
        end();
    }
}

/* What was told of stays allowed, and all that is sent counts, once. */
static void over_time(void **state)
{
    static const struct {
        uint32_t seq, data; /* sent; 0: nothing */
        uint32_t ack, backlog;
        uint16_t told;
    } row[] = {
        {99000, 1000, 60000, 0, 65535}, /* not held yet */
        {0, 0, 60000, 30001, 65535},
        {0, 0, 60000, 30002, 40000},
        {0, 0, 90000, 10000, 30001}, /* up to 120001 */
        {0, 0, 90000, 20000, 30001}, /* a queue that grew takes nothing back */
        {0, 0, 110000, 90000, 10001},
        {0, 0, 115000, 90000, HOLD_LEAST}, /* up to 123192, by a later ack only */
        {0, 0, 110000, 90000, 10001},
        {0, 0, 100000, 9999, 20002},       /* one that shrank gives */
        {90000, 500, 100000, 9998, 20003}, /* sent again */
        {99999, 2, 100000, 9998, 20004},
        {100001, 19999, 100000, 50000, 20004},
        {120000, 10000, 100000, 50000, 30000}, /* more than it was told of */
        {130000, 0, 100000, 20000, 40001},
        {0, 0, 130000, 0, 30001}, /* it ran empty */
        {0, 0, 140000, 0, 20001},
        {0, 0, 140000, 1, 20001},
        {130000, 60000, 130000, 60000, 60000},
        {190000, 1000, 130000, 61000, 61000},
    };
    uint32_t flow = ready(false, 0);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        uint16_t got;

        backlog(flow, row[i].backlog);
        if (row[i].seq)
            sent(1, row[i].seq, row[i].data);
        got = told(1, row[i].ack);
        if (got != row[i].told)
            fail_msg("row %zu: %u, not %u", i, got, row[i].told);
    }
    end();
}

/* What goes out first while a link is away is sent again: it had sent more before. */
static void again_first(void **state)
{
    uint32_t flow = ready(false, 0);

    (void)state;
    hold_look(&h, false, BPS, now);
    sent(1, 199000, 1000);
    hold_look(&h, true, BPS, now);
    backlog(flow, 60000);
    assert_int_equal(told(1, 140000), 65535); /* nothing is seen yet */
    sent(1, 140000, 1000);
    assert_int_equal(told(1, 140000), 65535);
    sent(1, 200000, 1000); /* and now the next */
    assert_int_equal(told(1, 140000), 61000);
    end();
}

/* A SYN while it is held: from afar it may be anybody's, from here the flow begins anew. */
static void syn_held(void **state)
{
    static const struct {
        bool in;
        uint8_t flags;
        int scale, signs;
        bool stays;
    } row[] = {
        {true, SYN, 0, 0, true},         {true, SYN, 7, 0, true},
        {true, SYN, 14, 0, true},        {true, SYN, -1, 0, true},
        {true, SYN, 7, MD5, true},       {true, SYN | ACK, 0, 0, true},
        {true, SYN | ACK, -1, AO, true}, {false, SYN, 7, 0, false},
        {false, SYN | ACK, 7, 0, false}, {false, SYN, -1, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(row); i++) {
        size_t r = i / 2;
        uint32_t flow = ready(false, 7);
        uint16_t want = 468;

        sent(1, 99000, 1000);
        backlog(flow, 60000);
        assert_int_equal(told(1, 40000), want);
        if (i % 2) { /* and allowed all that there is room for */
            backlog(flow, 0);
            want = (60000 + ROOM) >> 7;
            assert_int_equal(told(1, 40000), want);
            backlog(flow, 60000);
        }
        shake(row[r].in, 1, row[r].flags, row[r].scale, row[r].signs);
        if (!row[r].stays) {
            want = 65535;
            sent(1, 99000, 1000);
        }
        if (told(1, 40000) != want)
            fail_msg("row %zu", r);
        if (!row[r].stays) { /* answered */
            syn(true, 1, SYN | ACK, 3);
            sent(1, 5099000, 1000);
            assert_int_equal(told(1, 5040000), 60000 >> 3);
        }
        hold_look(&h, false, BPS, now);
        syn(true, 1, SYN, 2); /* not held */
        hold_look(&h, true, BPS, now);
        sent(1, 99000, 1000);
        assert_int_equal(told(1, 40000), 15000);
        end();
    }
}

/* ---- what is left alone ---------------------------------------------------------------- */

enum odd {
    USUAL,
    NO_LINK_AWAY,
    NO_RATE,
    NOT_KNOWN,
    NOTHING_SENT,
    SYN_SENT,
    OTHER_SENT,
    SENT_AGAIN,
    PROMPT,
    ROOM_LEFT,
    QUIET,
    NO_QUEUE,
    NO_ACK,
    OTHER_PORT,
    FIRST_FRAGMENT,
    LATER_FRAGMENT,
    HEAD_SHORT,
    HEAD_NONE,
    HEAD_LONG,
    CUT,
    UDP,
    V6_OPTIONS,
    ODDS
};

/* To the packet. Returns its length. */
static size_t spoil(enum odd odd, uint8_t *b, size_t n)
{
    switch (odd) {
    case FIRST_FRAGMENT:
        b[6] = 0x20;
        break;
    case LATER_FRAGMENT:
        b[7] = 3;
        break;
    case HEAD_SHORT:
        b[32] = 0x40;
        break;
    case HEAD_NONE:
        b[32] = 0;
        break;
    case HEAD_LONG:
        b[32] = 0x60;
        break;
    case CUT:
        n -= 4;
        set16(b + 2, (unsigned)n);
        break;
    case UDP:
        b[9] = IP_PROTO_UDP;
        break;
    case V6_OPTIONS:
        memmove(b + 48, b + 40, n - 40);
        memcpy(b + 40, (uint8_t[8]){IP_PROTO_TCP, 0, 1, 4}, 8);
        b[6] = IP_PROTO_DSTOPTS;
        set16(b + 4, (unsigned)(n += 8) - 40);
        break;
    default:
        break;
    }
    if (b[0] >> 4 == 4)
        fix_v4(b);
    return n;
}

static void left_alone(void **state)
{
    (void)state;
    for (enum odd odd = USUAL; odd < ODDS; odd++) {
        bool v6 = odd == V6_OPTIONS;
        struct seg s = {.in = true, .v6 = v6, .port = 1, .flags = ACK, .ack = 50000};
        uint8_t b[100], *exact;
        uint32_t flow;
        struct ippkt v;
        size_t n;

        begin();
        flow = flow_of(v6, 1);
        if (odd != NOT_KNOWN)
            pass(&(struct seg){.in = true, .v6 = v6, .port = 1, .flags = SYN});
        if (odd == PROMPT || odd == NO_QUEUE)
            now += 30 * MS;
        else
            bulk(flow);
        if (odd != NO_QUEUE)
            push(flow, odd == ROOM_LEFT ? ROOM : 40000);
        if (odd != NO_LINK_AWAY)
            hold_look(&h, true, odd == NO_RATE ? 0 : BPS, now);
        if (odd == SYN_SENT)
            syn(false, 1, SYN | ACK, 7);
        else if (odd != NOTHING_SENT)
            pass(&(struct seg){.v6 = v6,
                               .port = odd == OTHER_SENT ? 2 : 1,
                               .seq = odd == SENT_AGAIN ? 80000 : 99000,
                               .flags = ACK,
                               .data = 1000});
        if (odd == QUIET) {
            while (take(flow, UINT32_MAX))
                ;
            now += FLOW_QUIET;
            push(flow, 40000);
        }
        s.window = 65535;
        s.flags = odd == NO_ACK ? 8 : ACK;
        s.port = odd == OTHER_PORT ? 2 : 1;
        n = spoil(odd, b, build(b, &s));
        assert_int_equal(ippkt_parse(span_of(b, n), &v), 0);
        exact = malloc(n);
        assert_non_null(exact);
        memcpy(exact, b, n);
        hold_in(&h, exact, n);
        if ((memcmp(exact, b, n) == 0) != (odd != USUAL))
            fail_msg("row %d", (int)odd);
        free(exact);
        end();
    }
}

/* ---- the room -------------------------------------------------------------------------- */

/* Looked at `at` ms from now on: what there is room for. */
static void room(void **state)
{
    static const struct {
        ns_t at;
        double bps;
        uint16_t port; /* another flow that becomes bulk before */
        uint16_t room; /* and one */
    } row[] = {
        {0, 400000, 0, 7500},     {9, 800000, 0, 7500},     {10, 800000, 0, 15000},
        {20, 400000, 0, 15000},   {30, 0, 0, 15000},        {100, 1600000, 2, 15000},
        {110, 3200000, 0, 30000}, {200, 3200000, 3, 20000}, {300, 3200000, 4, 15000},
    };
    uint32_t flow = ready(false, 0);
    ns_t from = now + HOLD_EVERY;

    (void)state;
    hold_look(&h, false, 0, now);
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        ns_t at = from + row[i].at * MS;
        uint32_t got[3];

        if (row[i].port)
            bulk(flow_of(false, row[i].port));
        assert_true(now <= at);
        now = at;
        backlog(flow, row[i].room + 1u);
        hold_look(&h, true, row[i].bps, now);
        for (size_t k = 0; k < HOLD_WAYS; k++)
            h.flow[flow % HOLD_SETS][k].held = false; /* what it was told before */
        sent(1, 99000, 1000);
        got[0] = told(1, 50000);
        backlog(flow, row[i].room + 2u);
        got[1] = told(1, 50000);
        backlog(flow, 1);
        got[2] = told(1, 90000);
        if (got[0] != 65535 || got[1] != 50000 || got[2] != 10000u + row[i].room)
            fail_msg("row %zu: %u, %u, 10000 + %u", i, got[0], got[1], got[2] - 10000);
    }
    end();
}

/* However fast, what is told of makes sense. */
static void room_most(void **state)
{
    static const double bps[] = {4e9, 1e12, 1e300, INFINITY};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bps); i++) {
        uint32_t flow = ready(false, 14), most = 64 << 20;

        now += HOLD_EVERY;
        hold_look(&h, true, bps[i], now);
        sent(1, 0xfffff000, 0x1000);
        backlog(flow, most + 1);
        assert_int_equal(told(1, -most - 16384), 65535);
        backlog(flow, most + 2);
        assert_int_equal(told(1, -most - 16384), 4097);
        backlog(flow, 1);
        assert_int_equal(told(1, -32768u), 4096 + 2);
        end();
    }
}

/*
 * A sender who is told of more while its queue is empty: how long it takes until that has come, and
 * what it is allowed for it from then on.
 */
static void far_away(void **state)
{
    static const struct {
        int scale;
        unsigned in,
            less;      /* ms, bytes: after which what comes ends that much before the edge */
        uint16_t port; /* by whom */
        unsigned more; /* thirtieths of the room that it is allowed beside it */
    } row[] = {
        {2, 15, 0, 1, 3},       {2, 150, 0, 1, 30},      {2, 150, 1500, 1, 30},
        {2, 150, 1501, 1, 200}, {2, 0, 0, 1, 0},         {2, 1000, 0, 1, 200},
        {2, 5000, 0, 1, 200},   {2, 150, 0, 2, 200},     {11, 150, 0, 1, 30},
        {11, 150, 1500, 1, 30}, {11, 150, 1501, 1, 200},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(row); i++) {
        uint32_t flow = ready(false, row[i].scale), edge, room;

        sent(1, 99000, 1000);
        backlog(flow, 60000);
        told(1, 40000);
        backlog(flow, 0);
        told(1, 100000); /* up to the edge */
        backlog(flow, 60000);
        edge = 100000 + (ROOM >> row[i].scale << row[i].scale);
        for (unsigned ms = 0; ms < row[i].in; ms += 5) { /* in pieces, and with looks between */
            sent(1, 100000 + ms, 5);
            now += 5 * MS;
            hold_look(&h, true, BPS, now);
        }
        sent(row[i].port, edge - row[i].less - 1000, 1000);
        now += 850 * MS;
        hold_look(&h, true, BPS, now);
        sent(1, edge + 99000, 1000);
        backlog(flow, 0);
        room = told(1, edge + 100000);
        room <<= row[i].scale;
        edge = ROOM + ROOM * row[i].more / 30;
        if (room > edge || room + (2u << row[i].scale) + 10 < edge)
            fail_msg("row %zu: %u of %u", i, (unsigned)room, (unsigned)edge);
        end();
    }
}

/* The link is back: nothing is remembered. */
static void let_go(void **state)
{
    (void)state;
    for (int empty = 0; empty < 2; empty++) {
        uint32_t flow = ready(false, 0);

        sent(1, 99000, 1000);
        backlog(flow, 40000);
        assert_int_equal(told(1, 50000), 50000);
        backlog(flow, !empty);
        assert_int_equal(told(1, 90000), 10000 + ROOM - !empty);
        backlog(flow, 20000);
        hold_look(&h, false, BPS, now);
        assert_int_equal(told(1, 90000), 65535);
        sent(1, 100000, 1000);
        assert_int_equal(told(1, 50000), 65535);
        hold_look(&h, true, BPS / 2, now); /* at once */
        assert_int_equal(told(1, 50000), 65535);
        sent(1, 98000, 1000);
        assert_int_equal(told(1, 50000), 49000);
        end();
    }
}

/* ---- senders --------------------------------------------------------------------------- */

#define SENDERS 3
#define LINE    1024 /* ms, of which delays are less */

/*
 * A sender whose congestion window never changes, `near` ms from here, and its receiver, `far` ms
 * behind the queue and with a window that is in no way. Offsets from the first byte.
 */
struct sender {
    uint16_t port;
    bool v6;
    int scale;
    unsigned near, far;
    bool mute; /* nothing is said without news */
    uint32_t flow, isn;
    uint64_t una, next, window, edge;  /* at the sender */
    uint64_t out, left;                /* here: came from it, and left the queue */
    uint64_t said, told;               /* here: what came back; the edge, since the link went */
    uint64_t more;                     /* ... what it was allowed beside its room */
    bool slow;                         /* ... and its own window was not beyond the edge */
    uint64_t at_risk;                  /* sent before it had heard of that */
    ns_t moved;                        /* when something last left the queue */
    uint64_t sent[LINE], done[LINE];   /* by time: `next`; `left` */
    uint64_t acked[LINE], edges[LINE]; /* and what it is told */
};

static void sender_init(struct sender *s, struct rnd *r, uint16_t port, uint64_t rate)
{
    unsigned near = rnd_chance(r, 1, 3) ? (unsigned)rnd_below(r, 300) : 1;

    memset(s, 0, sizeof(*s));
    *s = (struct sender){.port = port,
                         .v6 = rnd_chance(r, 1, 2),
                         .scale = 7 + (int)rnd_below(r, 8),
                         .near = near + 1,
                         .far = 5 + (unsigned)rnd_below(r, 200),
                         .mute = rnd_chance(r, 1, 2),
                         .isn = (uint32_t)(0 - rnd_below(r, 1 << 22))};
    /* of all the links, and a queue beyond */
    s->window = rate * (s->near + s->far) + 65536 + rate * (20 + rnd_below(r, 200));
    s->edge = s->edges[LINE - 1] = 65535u << s->scale;
    s->flow = flow_of(s->v6, port);
    pass(&(struct seg){
        .in = true, .v6 = s->v6, .port = port, .flags = SYN | ACK, .scale = s->scale});
}

static void sender_sends(struct sender *s, uint64_t t)
{
    uint64_t to = s->una + s->window, came = t >= s->near ? s->sent[(t - s->near) % LINE] : 0;

    s->slow |= to < s->edge + 1400;
    to = s->edge < to ? s->edge : to;
    if (to > s->next + 1399) /* whole segments */
        s->next += (to - s->next) / 1400 * 1400;
    if (s->edge >= s->una + (65535u << s->scale))
        s->at_risk = s->next; /* not told yet */
    s->sent[t % LINE] = s->next;
    while (s->out < came) {
        uint32_t n = came - s->out < 42000 ? (uint32_t)(came - s->out) : 42000;
        static uint8_t b[65535];
        struct seg seg = {.v6 = s->v6, .port = s->port, .flags = ACK};

        seg.seq = s->isn + (uint32_t)s->out;
        build(b, &seg);
        hold_out(&h, b, head_of(b) + 20 + n, s->flow); /* of which only the head is looked at */
        push(s->flow, n);
        s->out += n;
    }
}

static struct hold_flow *place(const struct sender *s)
{
    for (size_t i = 0; i < HOLD_WAYS; i++)
        if (h.flow[s->flow % HOLD_SETS][i].flow == s->flow)
            return &h.flow[s->flow % HOLD_SETS][i];
    fail_msg("flow %u is not known", (unsigned)s->port);
    return NULL;
}

/* What the far end says of `ack` bytes. Returns the edge then. `away`: whether a link is. */
static uint64_t sender_told(struct sender *s, uint64_t ack, bool away)
{
    struct seg seg = {.in = true, .v6 = s->v6, .port = s->port, .flags = ACK, .window = 65535};
    uint64_t edge, unit = 1u << s->scale;
    const struct hold_flow *f = place(s);
    uint16_t window;

    seg.ack = s->isn + (uint32_t)ack;
    window = pass(&seg);
    edge = ack + (uint64_t)window * unit;
    s->said = ack;
    if (!away || !f->held) {
        assert_int_equal(window, 65535);
        s->told = s->more = 0;
        s->slow = false;
    } else {
        /* but for the rounding: */
        assert_true(edge + unit > s->out); /* that passed here */
        assert_true(edge + unit > s->told);
        assert_true((uint64_t)window * unit >= HOLD_LEAST);
        s->told = edge > s->told ? edge : s->told;
        s->more = h.room * f->trip / h.time;
    }
    return edge;
}

static void sender_hears(struct sender *s, uint64_t t, bool away)
{
    uint64_t ack = t >= s->far ? s->done[(t - s->far) % LINE] : 0;

    s->done[t % LINE] = s->left;
    s->acked[t % LINE] = ack;
    s->edges[t % LINE] =
        s->mute && ack == s->said ? s->edges[(t + LINE - 1) % LINE] : sender_told(s, ack, away);
    if (t < s->near)
        return;
    s->una = s->acked[(t - s->near) % LINE];
    s->edge = s->edges[(t - s->near) % LINE];
}

static struct sender sender[SENDERS];

/* They share the rate, of which `*due` bytes are due by now. Returns what nobody used. */
static uint64_t drain(size_t n, int64_t *due)
{
    static size_t turn;
    int64_t rest;

    turn %= n;
    for (size_t idle = 0; idle<n && * due> 0; turn = (turn + 1) % n) {
        struct sender *s = &sender[turn];
        uint32_t k = take(s->flow, 1400);

        idle = k ? 0 : idle + 1;
        *due -= k;
        s->left += k;
        if (k > 0)
            s->moved = now;
    }
    rest = *due > 0 ? *due : 0;
    *due -= rest;
    return (uint64_t)rest;
}

/*
 * Two seconds with all links, four with what is left of them, one with all again. While a link is
 * away:
 *  - an edge that was told stays and is not before what was sent, but for what the scale rounds;
 *  - what waits of a flow that is held is never more than its share of HOLD_TIME at the rate that
 *    is left, or HOLD_LEAST, and what leaves in the time that is taken for the sender's, or what is
 *    left of that which he had sent before he heard;
 *  - that time is not too long, if his own window was enough all the time;
 *  - no flow stops, and the rate is used, but for four times what is missing while the sender who
 *    is furthest away hears of something, less his share, which was under way.
 * Else no window is changed.
 */
static void one_run(uint64_t seed)
{
    enum { GONE = 2000, BACK = 6000, OVER = 7000 };
    struct rnd r = {.state = seed};
    size_t n = 1 + rnd_below(&r, SENDERS);
    uint64_t rate = 1000 + rnd_below(&r, 9000), less = rate / (2 + rnd_below(&r, 6));
    uint64_t share = less * 150 / n + 1, idle = 0, most_idle = 0;
    int64_t due = 0;
    bool begun = false;

    begin();
    for (size_t i = 0; i < n; i++)
        sender_init(&sender[i], &r, (uint16_t)(1 + i), rate);
    for (uint64_t t = 0; t < OVER; t++, now += MS) {
        bool away = t >= GONE && t < BACK;

        hold_look(&h, away, (double)less * 8000, now);
        for (size_t i = 0; i < n; i++)
            sender_sends(&sender[i], t);
        due += (int64_t)(away ? less : rate);
        idle += drain(n, &due) * (away && begun);
        for (size_t i = 0; i < n; i++) {
            struct sender *s = &sender[i];
            uint64_t unit = 1u << s->scale, least = unit > HOLD_LEAST ? unit : HOLD_LEAST;
            uint64_t waits = s->out - s->left, most = share > least ? share : least, risk;
            uint64_t trip = 2 * s->near, gap = (trip + 10) * less + unit;

            sender_hears(s, t, away);
            if (!away)
                continue;
            begun |= s->told > 0;
            if (place(s)->trip > (s->slow ? S : (trip + 4) * MS))
                fail_msg("seed %u, %u ms: a trip of %u ms", (unsigned)seed, (unsigned)t,
                         (unsigned)(place(s)->trip / MS));
            gap = gap > share ? gap - share : 0;
            if (gap > most_idle)
                most_idle = gap;
            risk = s->at_risk > s->left ? s->at_risk - s->left : 0;
            if (waits > most + s->more && waits > risk)
                fail_msg("seed %u, %u ms: %u of %u and %u and %u", (unsigned)seed, (unsigned)t,
                         (unsigned)waits, (unsigned)most, (unsigned)s->more, (unsigned)risk);
            assert_true(now - s->moved < (trip + 2 * (s->far + 10)) * MS);
        }
    }
    if (idle > 4 * most_idle + less)
        fail_msg("seed %u: %u idle, not %u", (unsigned)seed, (unsigned)idle,
                 (unsigned)most_idle);
    end();
}

static void senders(void **state)
{
    const char *env = getenv("SEEDS");
    unsigned seeds = env ? (unsigned)strtoul(env, NULL, 10) : 20;

    (void)state;
    for (uint64_t seed = 1; seed <= seeds; seed++)
        one_run(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handshakes),  cmocka_unit_test(crowded_set),
        cmocka_unit_test(free_place),  cmocka_unit_test(begins),
        cmocka_unit_test(lowered),     cmocka_unit_test(over_time),
        cmocka_unit_test(again_first), cmocka_unit_test(syn_held),
        cmocka_unit_test(left_alone),  cmocka_unit_test(room),
        cmocka_unit_test(room_most),   cmocka_unit_test(far_away),
        cmocka_unit_test(let_go),      cmocka_unit_test(senders),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
