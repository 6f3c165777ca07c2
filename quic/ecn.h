/*
 * ecn - whether one path carries ECN marks, and what the peer reports of them (RFC 9000 13.4
 * and appendix A.4, RFC 9002 7.1).
 *
 * A path is tested by marking the first ECN_TEST packets ECT(0); what follows goes unmarked
 * until they are heard of. Then the path is capable, and everything is marked, or it has
 * failed, and nothing is:
 *
 *     TESTING --ECN_TEST packets, or a probe timeout--> UNKNOWN
 *     TESTING, UNKNOWN --valid counts for a packet that is not CE--> CAPABLE
 *     UNKNOWN --all lost, or all CE--> FAILED; or back to TESTING where they were too few
 *     CAPABLE --ECN_CAPABLE_PTOS timeouts in a row--> UNKNOWN, to be tested once more
 *     any     --counts that can't be--> FAILED
 *     any     --ecn_restart: another route--> TESTING
 *
 * A probe timeout may mean that marked packets are dropped, so the probes go unmarked. A test
 * that ends so for the ECN_STRIKES-th time has failed, however few packets it had; before the
 * handshake is confirmed it isn't taken up again.
 *
 * Counts are per packet number space and never start over, tests do: a packet remembers the
 * round of the test that it belongs to (the upper bits of sent_packet.ecn), so that the marks
 * of another route are no evidence here. Only packets that must be heard of (`tracked`: they
 * are acknowledged or lost in the end) decide when a test is over.
 *
 * Invariant: acked + lost <= sent; space.sent >= space.ect0 + space.ce unless the state is FAILED.
 */
#ifndef QUIC_ECN_H
#define QUIC_ECN_H

#include "quic/frame.h"
#include "quic/packet.h"

#define ECN_TEST         10 /* marked packets of a test (RFC 9000 13.4.2) */
#define ECN_STRIKES      3  /* tests cut short by a timeout, with all marked packets lost */
#define ECN_CAPABLE_PTOS 3  /* probe timeouts in a row that cast doubt on a capable path */

/* The two bits of the IP header (RFC 3168 5). */
enum { ECN_NOT_ECT = 0, ECN_ECT1 = 1, ECN_ECT0 = 2, ECN_CE = 3 };

enum ecn_state {
    ECN_OFF, /* not wanted: nothing is marked */
    ECN_TESTING,
    ECN_UNKNOWN,
    ECN_FAILED,
    ECN_CAPABLE
};

struct ecn_space {
    uint64_t ect0, ect1, ce; /* as last reported by the peer */
    uint64_t sent;           /* packets sent with ECT(0) */
};

struct ecn {
    enum ecn_state state;
    uint8_t round;              /* of the test, modulo ECN_ROUNDS */
    uint8_t strikes;            /* rounds that a timeout ended with every mark lost */
    bool timed_out;             /* the state became UNKNOWN by a timeout */
    uint64_t sent, acked, lost; /* tracked packets of this round */
    uint64_t seen, ce;          /* of this round: marked ones in valid ACKs, CE reported */
    struct ecn_space space[SPACE_N];
};

/* What one ACK frame acknowledged for the first time. */
struct ecn_news {
    uint64_t marked; /* packets of this round, sent with ECT(0) */
    uint64_t older;  /* of earlier rounds */
};

/* `on`: test the path, and mark what it carries. */
void ecn_init(struct ecn *e, bool on);

/* The path runs on another route from now on: test that one. */
void ecn_restart(struct ecn *e);

/* The bits to send the next packet with: ECN_ECT0 or ECN_NOT_ECT. */
static inline uint8_t ecn_mark(const struct ecn *e)
{
    return e->state == ECN_TESTING || e->state == ECN_CAPABLE ? ECN_ECT0 : ECN_NOT_ECT;
}

/*
 * A packet of `space` was sent with the bits `mark`. Returns what is to be remembered of it
 * (sent_packet.ecn), for the functions below.
 */
uint8_t ecn_on_sent(struct ecn *e, enum quic_space space, uint8_t mark, bool tracked);

/* It was acknowledged for the first time, after having been called lost if `late`. */
void ecn_on_acked(struct ecn *e, struct ecn_news *news, uint8_t stamp, bool tracked, bool late);

/* A tracked one was declared lost. */
void ecn_on_lost(struct ecn *e, uint8_t stamp);

/* Nothing more will be heard of a tracked one: its keys are gone. */
void ecn_on_forgotten(struct ecn *e, uint8_t stamp);

/*
 * An ACK frame that raised the largest acknowledged number of `space` (others must not be
 * given: RFC 9000 13.4.2.1), all of whose news is counted. Validates its counts.
 *
 * Returns how many packets it newly reports as CE: congestion, where it isn't 0. Always 0 on
 * a path that has failed.
 */
uint64_t ecn_on_ack(struct ecn *e, enum quic_space space, const struct frame_ack *ack,
                    const struct ecn_news *news);

/*
 * After any acknowledgement, losses included: whether the test is over. `confirmed`: the
 * handshake is (RFC 9001 4.1.2).
 */
void ecn_settle(struct ecn *e, bool confirmed);

/* A probe timeout, the `count`th in a row. */
void ecn_on_pto(struct ecn *e, unsigned count);

/* Whether the invariant holds: for tests. */
bool ecn_check(const struct ecn *e);

#endif
