#include "quic/reorder.h"

static void limit_init(struct reorder_limit *l, uint32_t least, uint32_t most)
{
    *l = (struct reorder_limit){.value = least,
                                .before = least,
                                .least = least,
                                .most = most,
                                .persist = REORDER_PERSIST};
}

void reorder_init(struct reorder *r)
{
    limit_init(&r->packets, REORDER_PACKETS, REORDER_PACKETS_MAX);
    limit_init(&r->eighths, REORDER_EIGHTHS, REORDER_EIGHTHS_MAX);
    r->lossy = false;
}

/* A threshold of `enough` would not have called the packet lost. */
static void late(struct reorder_limit *l, uint64_t enough, bool spurious)
{
    uint64_t most = 2 * (uint64_t)l->before < l->most ? 2 * l->before : l->most;

    l->needed |= enough > l->least && enough > l->value / 2;
    if (!spurious || enough <= l->value)
        return;
    enough = enough < most ? enough : most;
    if (enough > l->value)
        l->value = (uint32_t)enough;
}

void reorder_late(struct reorder *r, uint64_t distance, ns_t took, ns_t rtt, bool spurious)
{
    ns_t over = ns_sub(took, rtt), eighth = rtt / 8 ? rtt / 8 : 1;

    late(&r->packets, distance < UINT32_MAX ? distance + 1 : UINT32_MAX, spurious);
    late(&r->eighths, over / eighth + 1, spurious);
}

static void round_over(struct reorder_limit *l, bool lossy)
{
    if (l->needed) {
        l->persist = REORDER_PERSIST;
    } else if (lossy && l->value > l->least && --l->persist == 0) {
        l->value = l->least + (l->value - l->least) / 2;
        l->persist = REORDER_PERSIST;
    }
    l->before = l->value;
    l->needed = false;
}

void reorder_round(struct reorder *r)
{
    round_over(&r->packets, r->lossy);
    round_over(&r->eighths, r->lossy);
    r->lossy = false;
}

static bool limit_check(const struct reorder_limit *l)
{
    return l->least <= l->before && l->before <= l->value && l->value <= l->most &&
           l->persist >= 1 && l->persist <= REORDER_PERSIST;
}

bool reorder_check(const struct reorder *r)
{
    return limit_check(&r->packets) && limit_check(&r->eighths);
}
