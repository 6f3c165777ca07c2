#include "quic/ecn.h"

#define ECN_ROUNDS 64 /* that sent_packet.ecn can tell apart */

void ecn_init(struct ecn *e, bool on)
{
    *e = (struct ecn){.state = on ? ECN_TESTING : ECN_OFF};
}

/* Forget what this round has shown. */
static void new_round(struct ecn *e, enum ecn_state state)
{
    e->state = state;
    e->round = (e->round + 1) % ECN_ROUNDS;
    e->timed_out = false;
    e->sent = e->acked = e->lost = 0;
    e->seen = e->ce = 0;
}

void ecn_restart(struct ecn *e)
{
    if (e->state == ECN_OFF)
        return;
    new_round(e, ECN_TESTING);
    e->strikes = 0;
    /* What another route added to the peer's count is no fault of this one. */
    for (int i = 0; i < SPACE_N; i++)
        if (e->space[i].sent < e->space[i].ect0 + e->space[i].ce)
            e->space[i].sent = e->space[i].ect0 + e->space[i].ce;
}

static bool marked(uint8_t stamp)
{
    return (stamp & 3) == ECN_ECT0;
}

static bool of_round(const struct ecn *e, uint8_t stamp)
{
    return marked(stamp) && stamp >> 2 == e->round;
}

uint8_t ecn_on_sent(struct ecn *e, enum quic_space space, uint8_t mark, bool tracked)
{
    uint8_t stamp = (uint8_t)(mark | e->round << 2);

    if (mark != ECN_ECT0)
        return ECN_NOT_ECT;
    e->space[space].sent++;
    if (!tracked)
        return stamp;
    e->sent++;
    if (e->state == ECN_TESTING && e->sent >= ECN_TEST)
        e->state = ECN_UNKNOWN;
    return stamp;
}

void ecn_on_acked(struct ecn *e, struct ecn_news *news, uint8_t stamp, bool tracked, bool late)
{
    if (!of_round(e, stamp)) {
        news->older += marked(stamp);
        return;
    }
    news->marked++;
    if (!tracked)
        return;
    e->acked++;
    if (late && e->lost)
        e->lost--;
}

void ecn_on_lost(struct ecn *e, uint8_t stamp)
{
    if (of_round(e, stamp))
        e->lost++;
}

void ecn_on_forgotten(struct ecn *e, uint8_t stamp)
{
    if (of_round(e, stamp))
        e->sent--;
}

/* RFC 9000 13.4.2.1; `s` are the counts before this ACK. */
static bool valid(const struct ecn_space *s, const struct frame_ack *ack,
                  const struct ecn_news *news)
{
    if (!ack->ecn)
        return news->marked == 0;
    if (ack->ect0 < s->ect0 || ack->ect1 < s->ect1 || ack->ce < s->ce)
        return false;
    /* No packet leaves with ECT(1); what another route made of ours is not this one's fault. */
    if (ack->ect1 - s->ect1 > news->older || ack->ect0 + ack->ce > s->sent)
        return false;
    return ack->ect0 - s->ect0 + (ack->ce - s->ce) >= news->marked;
}

uint64_t ecn_on_ack(struct ecn *e, enum quic_space space, const struct frame_ack *ack,
                    const struct ecn_news *news)
{
    struct ecn_space *s = &e->space[space];
    uint64_t ce = 0;

    if (e->state == ECN_OFF)
        return 0;
    if (!valid(s, ack, news))
        e->state = ECN_FAILED;
    if (ack->ecn) {
        ce = ack->ce > s->ce ? ack->ce - s->ce : 0;
        s->ect0 = ack->ect0;
        s->ect1 = ack->ect1;
        s->ce = ack->ce;
    }
    if (e->state == ECN_FAILED)
        return 0;
    e->seen += news->marked;
    e->ce += ce;
    if (news->marked && e->seen > e->ce)
        e->state = ECN_CAPABLE;
    return ce;
}

void ecn_settle(struct ecn *e, bool confirmed)
{
    if (e->state != ECN_UNKNOWN || e->acked + e->lost < e->sent)
        return;
    if (e->acked > e->ce) { /* only in ACKs that could not be judged by */
        new_round(e, ECN_TESTING);
        return;
    }
    if (e->timed_out && e->sent)
        e->strikes++;
    e->timed_out = false;
    if (e->sent >= ECN_TEST || e->strikes >= ECN_STRIKES)
        e->state = ECN_FAILED;
    else if (confirmed)
        e->state = ECN_TESTING;
}

void ecn_on_pto(struct ecn *e, unsigned count)
{
    if (e->state == ECN_CAPABLE && count >= ECN_CAPABLE_PTOS)
        new_round(e, ECN_UNKNOWN);
    else if (e->state != ECN_TESTING)
        return;
    e->state = ECN_UNKNOWN;
    e->timed_out = true;
}

bool ecn_check(const struct ecn *e)
{
    if (e->acked + e->lost > e->sent)
        return false;
    for (int i = 0; i < SPACE_N; i++)
        if (e->state != ECN_FAILED && e->space[i].ect0 + e->space[i].ce > e->space[i].sent)
            return false;
    return true;
}
