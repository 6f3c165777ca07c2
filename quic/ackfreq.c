#include "quic/ackfreq.h"

#define DELAY_PART 4 /* of a round trip */

void ackfreq_init(struct ackfreq *a, ns_t min_delay, ns_t own_delay)
{
    *a = (struct ackfreq){.on = min_delay != NS_NEVER,
                          .min_delay = min_delay,
                          .own_delay = own_delay,
                          .asked = {.threshold = 1, .delay = own_delay, .reordering = 1},
                          .acked_delay = own_delay};
    a->want = a->asked;
}

static uint64_t packets_per_ack(const struct ackfreq_path *p)
{
    uint64_t n = p->window_packets / (ACKFREQ_PER_RTT * (p->slow_start ? 2u : 1u));
    uint64_t per_ms = p->window_packets / (p->srtt / NS_PER_MS + 1);
    uint64_t most = per_ms > ACKFREQ_FEW ? per_ms : ACKFREQ_FEW;

    most = most < ACKFREQ_MAX ? most : ACKFREQ_MAX;
    return n < 2 ? 2 : n > most ? most : n;
}

/* Twice or half, of which a threshold of 0 is no exception. */
static bool far(uint64_t a, uint64_t b)
{
    return a + 1 >= 2 * (b + 1) || b + 1 >= 2 * (a + 1);
}

static bool worth_a_frame(const struct ackfreq *a)
{
    const struct ackfreq_ask *old = &a->asked, *want = &a->want;

    if (a->resend || far(want->threshold, old->threshold))
        return true;
    return old->threshold > 1 && (far(want->delay / NS_PER_US, old->delay / NS_PER_US) ||
                                  want->reordering != old->reordering);
}

void ackfreq_update(struct ackfreq *a, const struct ackfreq_path *path, size_t n, ns_t now)
{
    uint64_t every = 2, reordering = 1;
    ns_t srtt = NS_NEVER, delay;

    if (!ackfreq_wants_update(a, now))
        return;
    for (size_t i = 0; i < n; i++) {
        uint64_t packets = packets_per_ack(&path[i]);

        every = packets > every ? packets : every;
        srtt = ns_min(srtt, path[i].srtt);
        if (path[i].packet_threshold > reordering)
            reordering = path[i].packet_threshold;
    }
    delay = srtt / DELAY_PART / NS_PER_US * NS_PER_US;
    delay = ns_max(ns_min(delay, a->own_delay), a->min_delay);
    a->srtt = srtt;
    a->want = (struct ackfreq_ask){every - 1, delay, reordering};
    a->due = worth_a_frame(a);
}

uint64_t ackfreq_next(struct ackfreq *a, struct ackfreq_ask *out, ns_t now)
{
    *out = a->asked = a->want;
    a->pending_delay = ns_max(a->pending_delay, out->delay);
    a->not_before = ns_add(now, a->srtt);
    a->in_flight = true;
    a->due = a->resend = false;
    return a->next_seq++;
}

void ackfreq_on_acked(struct ackfreq *a, uint64_t seq, ns_t delay)
{
    if (seq + 1 != a->next_seq)
        return;
    a->acked_delay = delay;
    a->pending_delay = 0;
    a->in_flight = a->resend = a->due = false;
}

void ackfreq_on_lost(struct ackfreq *a, uint64_t seq)
{
    if (seq + 1 != a->next_seq || !a->in_flight)
        return;
    a->in_flight = false;
    a->resend = true;
}

bool ackfreq_check(const struct ackfreq *a)
{
    if (a->in_flight && a->due)
        return false;
    return !a->due || (a->want.threshold >= 1 && a->want.threshold < ACKFREQ_MAX &&
                       a->want.delay >= a->min_delay &&
                       a->want.delay <= ns_max(a->own_delay, a->min_delay));
}
