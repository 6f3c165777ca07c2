/*
 * Loss recovery, driven by commands. Each is a byte, whose low two bits (modulo 3) choose the
 * packet number space and whose next bits the operation, and what follows it:
 *
 *     0 flags size     send a packet: ack-eliciting, in flight, MTU probe, ECT(0), skip one
 *     1 n pairs...     an ACK frame: gap and length, from the highest number sent down
 *     2 ecn n pairs... the same with ECN counts
 *     3 t              t * t * 100 microseconds pass
 *     4 -              time passes up to the timer, which fires
 *     5 bits           the connection's state
 *     6 what           discard, restart, lose all, reset the path, change the datagram size
 *     7 -              name the content of a probe
 *
 * After each the invariant must hold; verdicts must be given once, and in the right order.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "quic/errors.h"
#include "quic/recovery.h"

#define CHECK(x)                                                                               \
    do {                                                                                       \
        if (!(x))                                                                              \
            abort();                                                                           \
    } while (0)

#define PACKETS 4096

struct state {
    struct recovery r;
    struct wire_r in;
    ns_t now;
    uint8_t told[SPACE_N][PACKETS]; /* verdicts, one bit each */
};

static void pull(struct state *f)
{
    struct verdict v;
    bool lost = false;

    while (recovery_next_verdict(&f->r, &v)) {
        uint8_t *told = &f->told[v.space][v.pn];

        CHECK(v.pn < PACKETS && v.pkt->n_rec == v.n && (v.n == 0) == (v.rec == NULL));
        CHECK(v.n == 0 || v.rec[0].a == v.pn);
        CHECK(!lost || v.fate == VERDICT_LOST);
        CHECK(v.fate != VERDICT_PROBE);
        CHECK(*told == (v.fate == VERDICT_SPURIOUS ? 1u << VERDICT_LOST : 0));
        *told |= (uint8_t)(1u << v.fate);
        lost = v.fate == VERDICT_LOST;
    }
    recovery_verdicts_done(&f->r, f->now);
}

static void send_packet(struct state *f, enum quic_space space)
{
    struct sent *sent = &f->r.space[space].sent;
    uint8_t bits = wire_r_u8(&f->in), size = wire_r_u8(&f->in);
    uint64_t pn = recovery_next_pn(&f->r, space) + (bits >> 4 & 1);
    struct sent_record rec = {.a = pn};
    struct sent_packet p = {.time = f->now,
                            .bytes = 8u * size,
                            .flags = bits & (SENT_ELICITING | SENT_IN_FLIGHT),
                            .ecn = bits & 4 ? 2 : 0,
                            .ack_largest = SENT_NO_ACK};

    if (f->r.space[space].discarded || pn >= PACKETS || sent_begin(sent, pn))
        return;
    if (bits & 8)
        p.flags |= SENT_PROBE;
    for (int i = bits >> 5; i > 0; i--)
        if (sent_record_add(sent, &rec))
            break;
    recovery_on_sent(&f->r, space, &p);
}

/* Returns whether the connection lives on. */
static bool receive_ack(struct state *f, enum quic_space space, bool ecn)
{
    uint8_t pairs[2 * 255 * 2];
    struct wire_w w = wire_w_of(pairs, sizeof pairs);
    uint64_t next = sent_next(&f->r.space[space].sent);
    struct frame_ack ack = {.ecn = ecn};
    uint8_t count;
    int err;

    if (ecn) {
        ack.ect0 = wire_r_u8(&f->in);
        ack.ce = wire_r_u8(&f->in);
    }
    count = wire_r_u8(&f->in);
    ack.largest = next + 1 - (wire_r_u8(&f->in) & 127); /* may be beyond what was sent */
    ack.first = wire_r_u8(&f->in);
    for (; count > 1 && wire_r_left(&f->in); count--, ack.range_count++) {
        wire_w_varint(&w, wire_r_u8(&f->in) & 15);
        wire_w_varint(&w, wire_r_u8(&f->in));
    }
    ack.ranges = span_of(pairs, (size_t)(w.p - pairs));
    if (ack.largest > VARINT_MAX || ack_check(&ack))
        return true; /* would not get so far */
    err = recovery_on_ack(&f->r, space, &ack, wire_r_u8(&f->in) * NS_PER_MS, f->now);
    CHECK(err == 0 || err == QUIC_PROTOCOL_VIOLATION);
    CHECK(f->r.space[space].discarded || (ack.largest >= next) <= (err != 0));
    pull(f);
    return err == 0;
}

/* Each firing has an effect, and after a few the timer lies in the future. */
static void fire(struct state *f)
{
    ns_t at = recovery_deadline(&f->r);

    if (at == NS_NEVER) {
        CHECK(recovery_on_timeout(&f->r, f->now) == RECOVERY_NONE);
        return;
    }
    f->now = ns_max(f->now, at);
    for (int i = 0; recovery_deadline(&f->r) <= f->now; i++) {
        at = recovery_deadline(&f->r);
        /* The round-trip time may have grown since the timer was set. */
        CHECK(recovery_on_timeout(&f->r, f->now) != RECOVERY_NONE ||
              recovery_deadline(&f->r) > at);
        pull(f);
        CHECK(i < 64);
    }
}

static void set_state(struct state *f, uint8_t bits)
{
    struct recovery_state st = {.server = bits & 1,
                                .handshake_keys = bits & 2,
                                .peer_validated = bits & 4,
                                .confirmed = bits & 8,
                                .at_amplification_limit = bits & 16,
                                .max_ack_delay = (bits >> 5) * 8 * NS_PER_MS};

    recovery_set_state(&f->r, &st, f->now);
}

static void change(struct state *f, enum quic_space space, uint8_t what)
{
    switch (what % 5) {
    case 0:
        recovery_discard_space(&f->r, space, f->now);
        break;
    case 1:
        recovery_restart_space(&f->r, space, f->now);
        break;
    case 2:
        recovery_lose_all(&f->r, f->now);
        pull(f);
        break;
    case 3:
        recovery_reset_path(&f->r, f->now);
        break;
    default:
        recovery_set_mtu(&f->r, 1200 + what);
        break;
    }
}

static bool command(struct state *f)
{
    uint8_t op = wire_r_u8(&f->in), arg;
    enum quic_space space = (enum quic_space)((op & 3) % 3);
    struct verdict v;

    switch (op >> 2 & 7) {
    case 0:
        send_packet(f, space);
        return true;
    case 1:
    case 2:
        return receive_ack(f, space, op >> 2 & 2);
    case 3:
        arg = wire_r_u8(&f->in);
        f->now += (ns_t)arg * arg * 100 * NS_PER_US;
        return true;
    case 4:
        fire(f);
        return true;
    case 5:
        set_state(f, wire_r_u8(&f->in));
        return true;
    case 6:
        change(f, space, wire_r_u8(&f->in));
        return true;
    default:
        if (recovery_next_probe(&f->r, space, &v))
            CHECK(v.fate == VERDICT_PROBE && v.n && !f->told[space][v.pn]);
        return true;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct state f;
    struct recovery_config cfg = {.max_datagram = 1200};
    uint8_t first;

    memset(&f, 0, sizeof f);
    f.in = wire_r_of(data, size);
    f.now = 1;
    first = wire_r_u8(&f.in);
    cfg.cc = first & 1 ? "newreno" : "cubic";
    cfg.ecn = first & 2;
    CHECK(recovery_init(&f.r, &cfg) == 0);
    while (wire_r_left(&f.in) && command(&f))
        CHECK(recovery_check(&f.r));
    recovery_free(&f.r);
    return 0;
}
