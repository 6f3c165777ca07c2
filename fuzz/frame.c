/*
 * Frames: the first byte is the encryption level, the rest a packet's payload. Each frame is
 * decoded, encoded and decoded again; acknowledged ranges are walked; connection ID frames go
 * through the state that keeps them.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "quic/cid.h"
#include "quic/errors.h"

#define CHECK(x)                                                                               \
    do {                                                                                       \
        if (!(x))                                                                              \
            abort();                                                                           \
    } while (0)

struct state {
    struct cid_local local;
    struct cid_remote remote;
    uint64_t n;
};

static int gen(void *ctx, struct quic_cid *cid, uint8_t token[CID_RESET_TOKEN])
{
    struct state *s = ctx;

    s->n++;
    *cid = cid_of(span_of(&s->n, sizeof(s->n)));
    memset(token, (int)s->n, CID_RESET_TOKEN);
    return 0;
}

static void walk_ack(const struct frame_ack *a)
{
    struct ack_iter it;
    uint64_t lo, hi, last = 0, n = 0;

    CHECK(ack_check(a) == 0);
    ack_iter_init(&it, a);
    while (ack_iter_next(&it, &lo, &hi)) {
        CHECK(lo <= hi && (n == 0 ? hi == a->largest : hi + 1 < last));
        last = lo;
        n++;
    }
    CHECK(n == a->range_count + 1);
}

/* A connection's reaction; false where it would close. */
static bool react(struct state *s, const struct frame *f)
{
    struct cid_issue issue;
    struct cid_event event;
    uint64_t seq;
    int err = 0;

    if (f->type == FRAME_NEW_CONNECTION_ID)
        err = cid_remote_add(&s->remote, &f->new_cid, 4);
    if (f->type == FRAME_RETIRE_CONNECTION_ID)
        err = cid_local_retire(&s->local, f->seq, NULL);
    if (f->type == FRAME_PING)
        cid_remote_rotate(&s->remote);
    if (err)
        return false;
    if (f->type == FRAME_MAX_DATA && cid_remote_next_retire(&s->remote, &seq)) {
        cid_remote_on_sent(&s->remote, seq);
        cid_remote_on_acked(&s->remote, seq);
    }
    while (cid_local_next(&s->local, &issue))
        cid_local_on_sent(&s->local, issue.seq);
    while (cid_local_event(&s->local, &event))
        ;
    CHECK(cid_local_check(&s->local) && cid_remote_check(&s->remote));
    CHECK(cid_remote_current(&s->remote));
    return true;
}

/* Encoding again gives the shortest form, which decodes to itself. */
static void encode_again(const struct frame *f, const struct frame_row *row, size_t size)
{
    size_t room = size + 64;
    uint8_t *a = malloc(room), *b = malloc(room);
    struct wire_w wa, wb;
    struct wire_r r;
    struct frame g;
    const struct frame_row *again;

    CHECK(a && b);
    wa = wire_w_of(a, room);
    wb = wire_w_of(b, room);
    frame_encode(&wa, row, f);
    CHECK(!wa.failed);
    r = wire_r_of(a, (size_t)(wa.p - a));
    CHECK(frame_decode(&r, NULL, 0, LEVEL_APP, &g, &again) == 0 && again == row);
    CHECK(wire_r_left(&r) == 0);
    frame_encode(&wb, row, &g);
    CHECK(wa.p - a == wb.p - b && memcmp(a, b, (size_t)(wa.p - a)) == 0);
    free(a);
    free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct quic_cid first = cid_of(SPAN_LIT("first"));
    struct state s = {.n = 0};
    struct wire_r r;
    enum quic_level level;
    bool open = true;

    if (size == 0)
        return 0;
    level = (enum quic_level)(data[0] % LEVEL_N);
    cid_local_init(&s.local, &first, gen, &s);
    cid_local_set_limit(&s.local, 5);
    cid_remote_init(&s.remote, &first);
    r = wire_r_of(data + 1, size - 1);
    while (wire_r_left(&r) > 0) {
        const struct frame_row *row = NULL;
        struct frame f;
        int err = frame_decode(&r, NULL, 0, level, &f, &row);

        if (err) {
            CHECK(err == QUIC_FRAME_ENCODING_ERROR || err == QUIC_PROTOCOL_VIOLATION);
            break;
        }
        CHECK(row && row->levels & FRAME_AT(level));
        if (row->first == FRAME_ACK)
            walk_ack(&f.ack);
        encode_again(&f, row, size);
        open = open && react(&s, &f);
    }
    return 0;
}
