#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "quic/cid.h"
#include "quic/errors.h"
#include "test/quic_hex.h"

/* An ID and a token that follow from a number. */
static struct quic_cid cid_n(uint64_t n)
{
    uint8_t b[8];
    struct wire_w w = wire_w_of(b, sizeof(b));

    wire_w_u64(&w, n);
    return cid_of(span_of(b, sizeof(b)));
}

static void token_n(uint64_t n, uint8_t token[16])
{
    memset(token, 0x5a, 16);
    memcpy(token, &n, sizeof(n));
}

struct gen {
    uint64_t n;
    bool fails;
    unsigned repeats; /* gives the last one that often again */
};

static int gen(void *ctx, struct quic_cid *cid, uint8_t token[16])
{
    struct gen *g = ctx;

    if (g->fails)
        return QUIC_NOMEM;
    if (g->repeats > 0)
        g->repeats--;
    else
        g->n++;
    *cid = cid_n(g->n);
    token_n(g->n, token);
    return 0;
}

static struct frame_new_cid frame_n(uint64_t seq, uint64_t prior_to)
{
    struct frame_new_cid f = {.seq = seq, .retire_prior_to = prior_to, .cid = cid_n(seq)};

    token_n(seq, f.token);
    return f;
}

/* ---- local ------------------------------------------------------------------------------ */

static void pull_events(struct cid_local *l, int *added, int *removed)
{
    struct cid_event e;

    *added = *removed = 0;
    while (cid_local_event(l, &e)) {
        *added += e.added;
        *removed += !e.added;
    }
}

static void test_local_issue(void **state)
{
    struct gen g = {.n = 100};
    struct quic_cid first = cid_n(1), c;
    struct cid_local l;
    struct cid_issue is, again;
    uint64_t seq;
    int added, removed;

    (void)state;
    cid_local_init(&l, &first, gen, &g);
    assert_false(cid_local_pending(&l));
    assert_false(cid_local_next(&l, &is)); /* no limit known yet */
    pull_events(&l, &added, &removed);
    assert_int_equal(added, 1);

    cid_local_set_limit(&l, 4);
    for (uint64_t want = 1; want < 4; want++) {
        assert_true(cid_local_pending(&l));
        assert_true(cid_local_next(&l, &is));
        assert_true(cid_local_next(&l, &again)); /* the same until sent */
        assert_int_equal(is.seq, want);
        assert_int_equal(again.seq, want);
        assert_true(cid_eq(&is.cid, &again.cid));
        c = cid_n(100 + want);
        assert_true(cid_eq(&is.cid, &c));
        cid_local_on_sent(&l, want);
        assert_true(cid_local_check(&l));
    }
    assert_false(cid_local_pending(&l));
    assert_false(cid_local_next(&l, &is));
    assert_int_equal(cid_local_active(&l), 4);
    pull_events(&l, &added, &removed);
    assert_int_equal(added, 3);
    assert_int_equal(removed, 0);

    /* A lost one is sent again, an acknowledged one not. */
    cid_local_on_acked(&l, 1);
    cid_local_on_lost(&l, 1);
    assert_false(cid_local_pending(&l));
    cid_local_on_lost(&l, 3);
    cid_local_on_lost(&l, 2);
    assert_true(cid_local_next(&l, &is));
    assert_int_equal(is.seq, 2);
    cid_local_on_acked(&l, 2); /* it wasn't lost after all */
    assert_true(cid_local_next(&l, &is));
    assert_int_equal(is.seq, 3);
    cid_local_on_sent(&l, 3);
    assert_false(cid_local_pending(&l));

    /* Retired: gone from the table, and another is issued. */
    c = cid_n(102);
    assert_true(cid_local_find(&l, &c, &seq));
    for (int twice = 0; twice < 2; twice++) {
        const struct quic_cid *ours = cid_local_match(&l, cid_span(&c));
        assert_true(ours != &c && cid_eq(ours, &c));
        assert_null(cid_local_match(&l, span_of(c.b, c.len - 1u)));
        assert_null(cid_local_match(&l, span_of(c.b, 0)));
    }
    assert_int_equal(seq, 2);
    assert_int_equal(cid_local_retire(&l, 2, &first), 0);
    assert_false(cid_local_find(&l, &c, NULL));
    assert_null(cid_local_match(&l, cid_span(&c)));
    assert_int_equal(cid_local_retire(&l, 2, &first), 0); /* once more: nothing */
    pull_events(&l, &added, &removed);
    assert_int_equal(added, 0);
    assert_int_equal(removed, 1);
    assert_true(cid_local_next(&l, &is));
    assert_int_equal(is.seq, 4);
    assert_true(cid_local_check(&l));
}

static void test_local_retire_rules(void **state)
{
    struct gen g = {.n = 100};
    struct quic_cid first = cid_n(1), none = {0}, second;
    struct cid_local l;
    struct cid_issue is;

    (void)state;
    cid_local_init(&l, &first, gen, &g);
    cid_local_set_limit(&l, 3);
    /* Never issued, or made but never sent. */
    assert_int_equal(cid_local_retire(&l, 1, &first), QUIC_PROTOCOL_VIOLATION);
    assert_true(cid_local_next(&l, &is));
    assert_int_equal(cid_local_retire(&l, 1, &first), QUIC_PROTOCOL_VIOLATION);
    cid_local_on_sent(&l, 1);
    second = is.cid;
    /* The one that the packet came on. */
    assert_int_equal(cid_local_retire(&l, 1, &second), QUIC_PROTOCOL_VIOLATION);
    assert_int_equal(cid_local_retire(&l, 0, &first), QUIC_PROTOCOL_VIOLATION);
    assert_int_equal(cid_local_retire(&l, 0, &second), 0);
    assert_int_equal(cid_local_retire(&l, UINT64_MAX, &second), QUIC_PROTOCOL_VIOLATION);
    assert_int_equal(cid_local_retire(&l, 1, NULL), 0);

    /* Without connection IDs there is nothing to retire, and nothing to issue. */
    cid_local_init(&l, &none, gen, &g);
    cid_local_set_limit(&l, 8);
    assert_false(cid_local_next(&l, &is));
    assert_int_equal(cid_local_retire(&l, 0, &none), QUIC_PROTOCOL_VIOLATION);
    assert_true(cid_local_check(&l));
}

/* A lost one that was sent may be retired: the peer did get it. */
static void test_local_retire_lost(void **state)
{
    struct gen g = {.n = 100};
    struct quic_cid first = cid_n(1);
    struct cid_local l;
    struct cid_issue is;

    (void)state;
    cid_local_init(&l, &first, gen, &g);
    cid_local_set_limit(&l, 2);
    assert_true(cid_local_next(&l, &is));
    cid_local_on_sent(&l, 1);
    cid_local_on_lost(&l, 1);
    assert_int_equal(cid_local_retire(&l, 1, &first), 0);
    assert_true(cid_local_next(&l, &is));
    assert_int_equal(is.seq, 2);
}

static void test_local_limits(void **state)
{
    struct gen g = {.n = 100};
    struct quic_cid first = cid_n(1);
    struct cid_local l;
    struct cid_issue is;
    struct cid_event e;

    (void)state;
    cid_local_init(&l, &first, gen, &g);
    cid_local_set_limit(&l, UINT64_MAX);
    while (cid_local_next(&l, &is))
        cid_local_on_sent(&l, is.seq);
    assert_int_equal(cid_local_active(&l), CID_LOCAL_MAX);

    /* Slots whose removal nobody pulled are not used again: no more than the array. */
    for (uint64_t seq = 1; seq < CID_LOCAL_MAX; seq++)
        assert_int_equal(cid_local_retire(&l, seq, &first), 0);
    while (cid_local_next(&l, &is))
        cid_local_on_sent(&l, is.seq);
    for (int i = 0; i < 5; i++)
        cid_local_event(&l, &e);
    assert_true(cid_local_check(&l));
    while (cid_local_event(&l, &e))
        ;
    for (int round = 0; round < 100; round++) {
        while (cid_local_next(&l, &is))
            cid_local_on_sent(&l, is.seq);
        assert_int_equal(cid_local_active(&l), CID_LOCAL_MAX);
        for (uint64_t seq = 1; seq < l.next_seq; seq++)
            assert_int_equal(cid_local_retire(&l, seq, &first), 0);
        while (cid_local_event(&l, &e))
            ;
        assert_true(cid_local_check(&l));
    }
}

static void test_local_gen(void **state)
{
    struct gen g = {.n = 100, .fails = true};
    struct quic_cid first = cid_n(100);
    struct cid_local l;
    struct cid_issue is;

    (void)state;
    cid_local_init(&l, &first, gen, &g);
    cid_local_set_limit(&l, 3);
    assert_false(cid_local_next(&l, &is));
    g.fails = false;
    g.repeats = 3; /* the first one's ID, three times */
    assert_true(cid_local_next(&l, &is));
    assert_int_equal(is.seq, 1);
    assert_false(cid_eq(&is.cid, &first));
    cid_local_on_sent(&l, 1);
    g.repeats = 1000;
    assert_false(cid_local_next(&l, &is));
    assert_true(cid_local_check(&l));
}

/* A path other than 0 has yet to issue sequence number 0. */
static void test_local_no_first(void **state)
{
    struct gen g = {.n = 100};
    struct quic_cid other = cid_n(1);
    struct cid_local l;
    struct cid_issue is;
    int added, removed;

    (void)state;
    cid_local_init(&l, NULL, gen, &g);
    pull_events(&l, &added, &removed);
    assert_int_equal(added, 0);
    assert_int_equal(cid_local_retire(&l, 0, &other), QUIC_PROTOCOL_VIOLATION);
    cid_local_set_limit(&l, 2);
    assert_true(cid_local_next(&l, &is));
    assert_int_equal(is.seq, 0);
    cid_local_on_sent(&l, 0);
    assert_true(cid_local_next(&l, &is));
    assert_int_equal(is.seq, 1);
    assert_true(cid_local_check(&l));
}

static void test_local_clear(void **state)
{
    struct gen g = {.n = 100};
    struct quic_cid first = cid_n(1);
    struct cid_local l;
    struct cid_issue is;
    int added, removed;

    (void)state;
    cid_local_init(&l, &first, gen, &g);
    pull_events(&l, &added, &removed);
    cid_local_set_limit(&l, 3);
    assert_true(cid_local_next(&l, &is));
    cid_local_on_sent(&l, is.seq);
    pull_events(&l, &added, &removed);
    assert_true(cid_local_next(&l, &is)); /* this one's event is never pulled */
    cid_local_clear(&l);
    pull_events(&l, &added, &removed);
    assert_int_equal(added, 0);
    assert_int_equal(removed, 2);
    assert_false(cid_local_pending(&l));
    assert_int_equal(cid_local_active(&l), 0);
    assert_int_equal(cid_local_retire(&l, 0, NULL), 0); /* late frames do nothing */
}

/* ---- remote ------------------------------------------------------------------------------- */

static void assert_current(const struct cid_remote *r, uint64_t n)
{
    struct quic_cid want = cid_n(n);

    assert_non_null(cid_remote_current(r));
    assert_true(cid_eq(cid_remote_current(r), &want));
}

/* All retirements to send now, marked as sent, as a bit set. */
static uint64_t sent_retires(struct cid_remote *r)
{
    uint64_t set = 0, seq;

    while (cid_remote_next_retire(r, &seq)) {
        assert_true(seq < 64 && !(set >> seq & 1));
        set |= 1ull << seq;
        cid_remote_on_sent(r, seq);
    }
    return set;
}

static struct cid_remote remote_0(void)
{
    struct quic_cid first = cid_n(0);
    struct cid_remote r;

    cid_remote_init(&r, &first);
    return r;
}

static int add(struct cid_remote *r, uint64_t seq, uint64_t prior_to)
{
    struct frame_new_cid f = frame_n(seq, prior_to);
    int err = cid_remote_add(r, &f, 4);

    assert_true(err || cid_remote_check(r));
    return err;
}

static void test_remote_rotate(void **state)
{
    struct cid_remote r = remote_0();

    (void)state;
    assert_current(&r, 0);
    assert_int_equal(cid_remote_rotate(&r), QUIC_BLOCKED);
    assert_int_equal(add(&r, 2, 0), 0);
    assert_int_equal(add(&r, 1, 0), 0);
    assert_int_equal(cid_remote_unused(&r), 2);
    assert_int_equal(cid_remote_rotate(&r), 0);
    assert_current(&r, 1);
    assert_int_equal(sent_retires(&r), 1 << 0);
    assert_int_equal(cid_remote_rotate(&r), 0);
    assert_current(&r, 2);
    assert_int_equal(cid_remote_rotate(&r), QUIC_BLOCKED);
    assert_current(&r, 2);
    assert_int_equal(sent_retires(&r), 1 << 1);
    /* Lost: again; acknowledged: never again. */
    cid_remote_on_lost(&r, 0);
    cid_remote_on_lost(&r, 1);
    cid_remote_on_acked(&r, 0);
    assert_int_equal(sent_retires(&r), 1 << 1);
    cid_remote_on_acked(&r, 1);
    cid_remote_on_lost(&r, 1);
    assert_int_equal(sent_retires(&r), 0);
    /* A repeated frame doesn't bring a retired ID back. */
    assert_int_equal(add(&r, 1, 0), 0);
    assert_int_equal(cid_remote_unused(&r), 0);
    assert_int_equal(sent_retires(&r), 0);
}

static void test_remote_retire_prior_to(void **state)
{
    struct cid_remote r = remote_0();

    (void)state;
    assert_int_equal(add(&r, 1, 0), 0);
    assert_int_equal(add(&r, 2, 0), 0);
    assert_int_equal(add(&r, 3, 0), 0);
    /* Full, yet this one fits since it makes room (5.1.2: retire first). */
    assert_int_equal(add(&r, 4, 2), 0);
    assert_current(&r, 2);
    assert_int_equal(sent_retires(&r), 1 << 0 | 1 << 1);
    /* Smaller values have no effect. */
    assert_int_equal(add(&r, 5, 1), 0);
    assert_current(&r, 2);
    assert_int_equal(sent_retires(&r), 0);
    /* All at once: the new one is current. */
    assert_int_equal(add(&r, 7, 7), 0);
    assert_current(&r, 7);
    assert_int_equal(sent_retires(&r), 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5);
    /* One that was late goes straight back, once. */
    assert_int_equal(add(&r, 6, 0), 0);
    assert_current(&r, 7);
    assert_int_equal(cid_remote_unused(&r), 0);
    assert_int_equal(sent_retires(&r), 1 << 6);
    assert_int_equal(add(&r, 6, 0), 0);
    assert_int_equal(sent_retires(&r), 0);
    /* Even after all was acknowledged, a repetition is harmless. */
    for (uint64_t seq = 0; seq < 7; seq++)
        cid_remote_on_acked(&r, seq);
    assert_int_equal(add(&r, 3, 0), 0);
    assert_int_equal(add(&r, 7, 7), 0);
    assert_current(&r, 7);
}

static const struct {
    const char *what;
    uint64_t seq, prior_to, cid, token;
    int err;
} bad_adds[] = {
    {"repeated", 1, 0, 1, 1, 0},
    {"the first one again", 0, 0, 0, 0, 0},
    {"other ID", 1, 0, 9, 1, QUIC_PROTOCOL_VIOLATION},
    {"other token", 1, 0, 1, 9, QUIC_PROTOCOL_VIOLATION},
    {"other sequence number", 2, 0, 1, 1, QUIC_PROTOCOL_VIOLATION},
    {"the first one's ID", 2, 0, 0, 2, QUIC_PROTOCOL_VIOLATION},
    {"other ID for the first", 0, 0, 9, 9, QUIC_PROTOCOL_VIOLATION},
    {"retires itself", 2, 3, 2, 2, QUIC_FRAME_ENCODING_ERROR},
    {"within the window", CID_SEQ_WINDOW + 1, 0, 66, 66, 0},
    {"past the window", CID_SEQ_WINDOW + 2, 0, 66, 66, QUIC_CONNECTION_ID_LIMIT_ERROR},
    {"far past", VARINT_MAX, 0, 66, 66, QUIC_CONNECTION_ID_LIMIT_ERROR},
    {"far past, all retired", VARINT_MAX, VARINT_MAX, 66, 66, 0},
    {"far past, most retired", VARINT_MAX, VARINT_MAX - 63, 66, 66, 0},
    {"far past, too few retired", VARINT_MAX, VARINT_MAX - 64, 66, 66,
     QUIC_CONNECTION_ID_LIMIT_ERROR},
};

static void test_remote_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad_adds); i++) {
        struct cid_remote r = remote_0();
        struct frame_new_cid f = frame_n(bad_adds[i].seq, bad_adds[i].prior_to);
        int err;

        assert_int_equal(add(&r, 1, 0), 0);
        f.cid = cid_n(bad_adds[i].cid);
        token_n(bad_adds[i].token, f.token);
        err = cid_remote_add(&r, &f, 4);
        if (err != bad_adds[i].err)
            fail_msg("%s: %d", bad_adds[i].what, err);
        if (!err)
            assert_true(cid_remote_check(&r));
    }
}

static void test_remote_bad_length(void **state)
{
    struct cid_remote r = remote_0();
    struct frame_new_cid f = frame_n(1, 0);

    (void)state;
    f.cid.len = 0;
    assert_int_equal(cid_remote_add(&r, &f, 4), QUIC_FRAME_ENCODING_ERROR);
    f.cid.len = 21;
    assert_int_equal(cid_remote_add(&r, &f, 4), QUIC_FRAME_ENCODING_ERROR);
}

static void test_remote_limit(void **state)
{
    (void)state;
    for (uint64_t limit = 2; limit <= CID_REMOTE_MAX + 1; limit++) {
        struct cid_remote r = remote_0();
        uint64_t most = limit < CID_REMOTE_MAX ? limit : CID_REMOTE_MAX;

        for (uint64_t seq = 1; seq <= most; seq++) {
            struct frame_new_cid f = frame_n(seq, 0);

            assert_int_equal(cid_remote_add(&r, &f, limit),
                             seq < most ? 0 : QUIC_CONNECTION_ID_LIMIT_ERROR);
        }
    }
}

/* The peer that replaces its IDs for ever and never acknowledges our retirements. */
static void test_remote_flood(void **state)
{
    struct cid_remote r = remote_0();
    uint64_t seq = 0;
    int err = 0;

    (void)state;
    while (!err && seq < 1000) {
        seq++;
        err = add(&r, seq, seq);
    }
    assert_int_equal(err, QUIC_CONNECTION_ID_LIMIT_ERROR);
    assert_int_equal(seq, CID_RETIRE_MAX + 1);

    /* With acknowledgements it may go on. */
    r = remote_0();
    for (seq = 1; seq < 1000; seq++) {
        uint64_t retired;

        assert_int_equal(add(&r, seq, seq), 0);
        while (cid_remote_next_retire(&r, &retired)) {
            cid_remote_on_sent(&r, retired);
            cid_remote_on_acked(&r, retired);
        }
        assert_current(&r, seq);
    }

    /* We don't overrun it ourselves either. */
    r = remote_0();
    for (seq = 1; add(&r, seq, 0) == 0; seq++) {
        if (cid_remote_rotate(&r) != 0)
            break;
    }
    assert_int_equal(seq, CID_RETIRE_MAX + 1);
    assert_current(&r, seq - 1);
}

static void test_remote_zero_length(void **state)
{
    struct quic_cid none = {0}, first = cid_n(0);
    struct frame_new_cid f = frame_n(1, 0);
    struct cid_remote r;
    uint64_t seq = 9;

    (void)state;
    cid_remote_init(&r, &none);
    assert_int_equal(cid_remote_current(&r)->len, 0);
    assert_int_equal(cid_remote_add(&r, &f, 4), QUIC_PROTOCOL_VIOLATION);
    assert_int_equal(cid_remote_rotate(&r), QUIC_BLOCKED);
    assert_int_equal(cid_remote_reserve(&r, &seq), 0);
    assert_int_equal(seq, 0);
    assert_int_equal(cid_remote_get(&r, 0)->len, 0);
    cid_remote_release(&r, 0);
    assert_int_equal(cid_remote_adopt(&r, 0), 0);
    assert_int_equal(cid_remote_current(&r)->len, 0);
    assert_false(cid_remote_next_retire(&r, &seq));
    assert_true(cid_remote_check(&r));

    /* The client's own random choice, then a server that uses none. */
    cid_remote_init(&r, &first);
    cid_remote_set_first(&r, &none);
    assert_int_equal(cid_remote_add(&r, &f, 4), QUIC_PROTOCOL_VIOLATION);
}

static void test_remote_first(void **state)
{
    struct quic_cid retry = cid_n(50), server = cid_n(51);
    struct cid_remote r = remote_0();
    uint8_t token[16], other[16];

    (void)state;
    cid_remote_set_first(&r, &retry);
    assert_current(&r, 50);
    cid_remote_set_first(&r, &server);
    assert_current(&r, 51);
    token_n(51, token);
    token_n(52, other);
    assert_false(cid_remote_is_reset_token(&r, token));
    cid_remote_set_first_token(&r, token);
    assert_true(cid_remote_is_reset_token(&r, token));
    assert_false(cid_remote_is_reset_token(&r, other));
    assert_true(cid_remote_check(&r));
}

/* Only IDs in use count (RFC 9000 10.3.1). */
static void test_remote_reset_tokens(void **state)
{
    struct cid_remote r = remote_0();
    uint8_t zero[16] = {0}, token[5][16];
    uint64_t seq;

    (void)state;
    for (uint64_t i = 0; i < 5; i++)
        token_n(i, token[i]);
    assert_false(cid_remote_is_reset_token(&r, zero)); /* the first has none yet */
    assert_int_equal(add(&r, 1, 0), 0);
    assert_int_equal(add(&r, 2, 0), 0);
    assert_false(cid_remote_is_reset_token(&r, token[1]));
    assert_int_equal(cid_remote_rotate(&r), 0);
    assert_true(cid_remote_is_reset_token(&r, token[1]));
    assert_int_equal(cid_remote_reserve(&r, &seq), 0);
    assert_int_equal(seq, 2);
    assert_true(cid_remote_is_reset_token(&r, token[2]));
    assert_int_equal(cid_remote_adopt(&r, 2), 0);
    assert_false(cid_remote_is_reset_token(&r, token[1])); /* retired */
    assert_true(cid_remote_is_reset_token(&r, token[2]));
    assert_false(cid_remote_is_reset_token(&r, zero));
}

static void test_remote_reserve(void **state)
{
    struct cid_remote r = remote_0();
    struct quic_cid one = cid_n(1);
    uint64_t seq, seq2;

    (void)state;
    assert_int_equal(cid_remote_reserve(&r, &seq), QUIC_BLOCKED);
    assert_int_equal(add(&r, 1, 0), 0);
    assert_int_equal(cid_remote_reserve(&r, &seq), 0);
    assert_int_equal(seq, 1);
    assert_true(cid_eq(cid_remote_get(&r, 1), &one));
    assert_int_equal(cid_remote_reserve(&r, &seq2), QUIC_BLOCKED);
    assert_int_equal(cid_remote_rotate(&r), QUIC_BLOCKED); /* not that one */
    assert_current(&r, 0);
    assert_int_equal(cid_remote_adopt(&r, 5), QUIC_BLOCKED);
    assert_int_equal(cid_remote_adopt(&r, 1), 0);
    assert_current(&r, 1);
    assert_null(cid_remote_get(&r, 0));
    assert_int_equal(sent_retires(&r), 1 << 0);

    /* Not needed after all. */
    assert_int_equal(add(&r, 2, 0), 0);
    assert_int_equal(cid_remote_reserve(&r, &seq), 0);
    cid_remote_release(&r, seq);
    assert_null(cid_remote_get(&r, 2));
    assert_int_equal(sent_retires(&r), 1 << 2);
    cid_remote_release(&r, seq);
    cid_remote_release(&r, 1); /* current: not by this */
    assert_current(&r, 1);

    /* Taken away by the peer while it is reserved. */
    assert_int_equal(add(&r, 3, 0), 0);
    assert_int_equal(cid_remote_reserve(&r, &seq), 0);
    assert_int_equal(add(&r, 5, 4), 0);
    assert_null(cid_remote_get(&r, seq));
    assert_int_equal(cid_remote_adopt(&r, seq), QUIC_BLOCKED);
    assert_current(&r, 5);
    assert_int_equal(sent_retires(&r), 1 << 1 | 1 << 3);
}

/* The current one is taken away, and only the reserved one is left. */
static void test_remote_falls_back(void **state)
{
    struct cid_remote r = remote_0();
    uint64_t seq;

    (void)state;
    assert_int_equal(add(&r, 1, 0), 0);
    assert_int_equal(cid_remote_reserve(&r, &seq), 0);
    assert_int_equal(add(&r, 1, 1), 0);
    assert_current(&r, 1);

    /* Or nothing at all: a frame that retires all and brings back one that we retired. */
    r = remote_0();
    assert_int_equal(add(&r, 1, 0), 0);
    assert_int_equal(add(&r, 2, 0), 0);
    assert_int_equal(cid_remote_reserve(&r, &seq), 0);
    assert_int_equal(cid_remote_reserve(&r, &seq), 0);
    cid_remote_release(&r, 2);
    assert_int_equal(add(&r, 2, 2), QUIC_PROTOCOL_VIOLATION);
}

/* A path that isn't open yet. */
static void test_remote_no_first(void **state)
{
    struct cid_remote r;

    (void)state;
    cid_remote_init(&r, NULL);
    assert_null(cid_remote_current(&r));
    assert_int_equal(cid_remote_rotate(&r), QUIC_BLOCKED);
    assert_int_equal(add(&r, 0, 0), 0);
    assert_null(cid_remote_current(&r)); /* given, not yet used */
    assert_int_equal(cid_remote_unused(&r), 1);
    assert_int_equal(add(&r, 1, 1), 0);
    assert_int_equal(cid_remote_rotate(&r), 0);
    assert_current(&r, 1);
    assert_int_equal(sent_retires(&r), 1 << 0);
    cid_remote_clear(&r);
    assert_null(cid_remote_current(&r));
    assert_int_equal(add(&r, 2, 0), 0);
    assert_null(cid_remote_current(&r));
    assert_int_equal(sent_retires(&r), 0);
    assert_true(cid_remote_check(&r));
}

/* ---- both, over a bad network ------------------------------------------------------------- */

#define FLIGHT 64

struct packet {
    bool used, retire; /* RETIRE_CONNECTION_ID, else NEW_CONNECTION_ID */
    struct frame_new_cid f;
};

struct world {
    struct cid_local l;
    struct cid_remote r;
    struct packet flight[FLIGHT];
    uint64_t seed;
    bool table[4096]; /* the endpoint's, by number of the ID */
};

static void put(struct world *w, struct packet p)
{
    for (size_t i = 0; i < FLIGHT; i++) {
        if (!w->flight[i].used) {
            w->flight[i] = p;
            w->flight[i].used = true;
            return;
        }
    }
    fail_msg("too many in flight");
}

static size_t in_flight(const struct world *w)
{
    size_t n = 0;

    for (size_t i = 0; i < FLIGHT; i++)
        n += w->flight[i].used;
    return n;
}

static uint64_t number_of(const struct quic_cid *cid)
{
    struct wire_r r = wire_r_of(cid->b, cid->len);

    return wire_r_u64(&r);
}

static void arrive(struct world *w, const struct packet *p)
{
    if (p->retire) {
        assert_int_equal(cid_local_retire(&w->l, p->f.seq, NULL), 0);
    } else {
        assert_int_equal(cid_remote_add(&w->r, &p->f, 5), 0);
    }
}

/* One packet is delivered, perhaps twice, or lost; its sender learns of it sooner or later. */
static void move(struct world *w)
{
    size_t at = rand_below(&w->seed, FLIGHT);
    struct packet p = w->flight[at];
    bool lost = rand_below(&w->seed, 4) == 0;

    if (!p.used)
        return;
    w->flight[at].used = false;
    if (!lost || rand_below(&w->seed, 3) == 0) /* sometimes it was only believed lost */
        arrive(w, &p);
    if (!lost && rand_below(&w->seed, 4) == 0)
        arrive(w, &p);
    if (p.retire && lost)
        cid_remote_on_lost(&w->r, p.f.seq);
    else if (p.retire)
        cid_remote_on_acked(&w->r, p.f.seq);
    else if (lost)
        cid_local_on_lost(&w->l, p.f.seq);
    else
        cid_local_on_acked(&w->l, p.f.seq);
}

static void send(struct world *w)
{
    struct cid_issue is;
    uint64_t seq;

    if (in_flight(w) < FLIGHT && cid_local_next(&w->l, &is)) {
        struct packet p = {.f = {.seq = is.seq, .cid = is.cid}};

        memcpy(p.f.token, is.token, 16);
        put(w, p);
        cid_local_on_sent(&w->l, is.seq);
    }
    if (in_flight(w) < FLIGHT && cid_remote_next_retire(&w->r, &seq)) {
        put(w, (struct packet){.retire = true, .f = {.seq = seq}});
        cid_remote_on_sent(&w->r, seq);
    }
}

static bool busy(const struct world *w)
{
    uint64_t seq;

    return in_flight(w) > 0 || cid_local_pending(&w->l) || cid_remote_next_retire(&w->r, &seq);
}

static void keep_table(struct world *w)
{
    struct cid_event e;

    while (cid_local_event(&w->l, &e)) {
        uint64_t n = number_of(&e.cid);

        assert_true(n < ARRAY_LEN(w->table));
        assert_int_equal(w->table[n], !e.added);
        w->table[n] = e.added;
    }
}

static void test_world(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct gen g = {.n = 1};
        struct quic_cid first = cid_n(1);
        struct world w = {.seed = seed};

        cid_local_init(&w.l, &first, gen, &g);
        cid_remote_init(&w.r, &first);
        cid_local_set_limit(&w.l, 5);
        for (int i = 0; i < 2000; i++) {
            send(&w);
            keep_table(&w);
            move(&w);
            if (rand_below(&w.seed, 10) == 0)
                cid_remote_rotate(&w.r);
            assert_true(cid_local_check(&w.l));
            assert_true(cid_remote_check(&w.r));
            /* What we may put into a packet is in the peer's table. */
            assert_true(w.table[number_of(cid_remote_current(&w.r))]);
        }
        /* Left alone, both ends come to the same full set. */
        for (int i = 0; i < 100000 && busy(&w); i++) {
            send(&w);
            keep_table(&w);
            move(&w);
        }
        assert_int_equal(in_flight(&w), 0);
        assert_int_equal(cid_local_active(&w.l), 5);
        assert_int_equal(cid_remote_unused(&w.r), 4);
        for (size_t i = 0; i < CID_REMOTE_MAX; i++) {
            if (w.r.peer[i].use != CID_NONE) {
                assert_true(cid_local_find(&w.l, &w.r.peer[i].cid, NULL));
                assert_non_null(cid_local_match(&w.l, cid_span(&w.r.peer[i].cid)));
            }
        }
    }
}

/* Any frame at all: an error or a sound state, never more than the arrays. */
static void test_remote_random(void **state)
{
    uint64_t seed = 71;

    (void)state;
    for (int run = 0; run < 2000; run++) {
        struct cid_remote r = remote_0();
        uint64_t base = rand_below(&seed, 3) == 0 ? rand_varint(&seed) >> 1 : 0, any;

        for (int i = 0; i < 60; i++) {
            uint64_t seq = base + rand_below(&seed, 80);
            struct frame_new_cid f = frame_n(seq, seq - rand_below(&seed, seq + 1) / 2);

            if (rand_below(&seed, 3))
                f.retire_prior_to = 0;
            if (cid_remote_add(&r, &f, 2 + rand_below(&seed, 7)))
                break;
            assert_true(cid_remote_check(&r));
            assert_non_null(cid_remote_current(&r));
            switch (rand_below(&seed, 5)) {
            case 0:
                cid_remote_rotate(&r);
                break;
            case 1:
                if (cid_remote_reserve(&r, &any) == 0 && rand_below(&seed, 2))
                    cid_remote_adopt(&r, any);
                break;
            case 2:
                cid_remote_release(&r, rand_below(&seed, 80));
                break;
            default:
                while (cid_remote_next_retire(&r, &any)) {
                    cid_remote_on_sent(&r, any);
                    if (rand_below(&seed, 2))
                        cid_remote_on_acked(&r, any);
                }
            }
            assert_true(cid_remote_check(&r));
            assert_non_null(cid_remote_current(&r));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_local_issue),
        cmocka_unit_test(test_local_retire_rules),
        cmocka_unit_test(test_local_retire_lost),
        cmocka_unit_test(test_local_limits),
        cmocka_unit_test(test_local_gen),
        cmocka_unit_test(test_local_no_first),
        cmocka_unit_test(test_local_clear),
        cmocka_unit_test(test_remote_rotate),
        cmocka_unit_test(test_remote_retire_prior_to),
        cmocka_unit_test(test_remote_rules),
        cmocka_unit_test(test_remote_bad_length),
        cmocka_unit_test(test_remote_limit),
        cmocka_unit_test(test_remote_flood),
        cmocka_unit_test(test_remote_zero_length),
        cmocka_unit_test(test_remote_first),
        cmocka_unit_test(test_remote_reset_tokens),
        cmocka_unit_test(test_remote_reserve),
        cmocka_unit_test(test_remote_falls_back),
        cmocka_unit_test(test_remote_no_first),
        cmocka_unit_test(test_world),
        cmocka_unit_test(test_remote_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
