#include "quic/pacer.h"

/* Tokens are bits * 1e9, so that rate * nanoseconds needs no division. */
#define BYTE ((int64_t)8 * (int64_t)NS_PER_S)

static uint64_t clamped(uint64_t v, uint64_t least, uint64_t most)
{
    return v < least ? least : v > most ? most : v;
}

static void set_burst(struct pacer *p)
{
    uint64_t per_ms = p->rate_bps / 8 / 1000, most = PACER_PACKETS * p->mss;
    uint64_t fast = clamped(per_ms / (NS_PER_MS / PACER_FAST), 0, PACER_FAST_MAX);
    uint64_t slow = clamped(2 * per_ms, PACER_FIRST * p->mss, most);

    p->burst = per_ms > slow ? per_ms : slow;
    if (p->quantum)
        p->burst = p->quantum > 2 * p->mss ? p->quantum : 2 * p->mss;
    if (p->burst > PACER_BURST_MAX)
        p->burst = PACER_BURST_MAX;
    if (p->burst < fast)
        p->burst = fast;
    p->train = clamped(per_ms, 2 * p->mss, most);
    if (p->train > p->burst / 2)
        p->train = p->burst / 2;
}

static int64_t full(const struct pacer *p)
{
    return (int64_t)p->burst * BYTE;
}

/* What the bucket holds at `now`. */
static int64_t filled(const struct pacer *p, ns_t now)
{
    ns_t passed = ns_sub(now, p->last);
    uint64_t missing = (uint64_t)(full(p) - p->tokens);

    if (passed && p->rate_bps >= missing / passed + 1)
        return full(p);
    return p->tokens + (int64_t)(p->rate_bps * passed);
}

static void refill(struct pacer *p, ns_t now)
{
    p->tokens = filled(p, now);
    p->last = ns_max(p->last, now);
}

void pacer_init(struct pacer *p, size_t mss)
{
    *p = (struct pacer){.mss = mss};
    set_burst(p);
    p->tokens = full(p);
}

void pacer_set_mss(struct pacer *p, size_t mss)
{
    p->mss = mss;
    set_burst(p);
    if (p->tokens > full(p))
        p->tokens = full(p);
    if (p->tokens < -full(p))
        p->tokens = -full(p);
    p->dry |= p->tokens < (int64_t)p->mss * BYTE;
}

void pacer_rate(struct pacer *p, uint64_t bps, ns_t now)
{
    if (bps == p->rate_bps)
        return;
    refill(p, now);
    p->rate_bps = bps;
    pacer_set_mss(p, p->mss);
}

void pacer_quantum(struct pacer *p, uint64_t bytes)
{
    if (bytes == p->quantum)
        return;
    p->quantum = bytes;
    pacer_set_mss(p, p->mss);
}

size_t pacer_ready(const struct pacer *p, ns_t now)
{
    int64_t tokens;

    if (!p->rate_bps)
        return SIZE_MAX;
    tokens = filled(p, now);
    if (tokens <= 0 || (p->dry && tokens < (int64_t)p->train * BYTE))
        return 0;
    return (size_t)(tokens / BYTE);
}

ns_t pacer_next(const struct pacer *p)
{
    int64_t need = (p->dry ? (int64_t)p->train : 1) * BYTE - p->tokens;

    if (!p->rate_bps || need <= 0)
        return p->last;
    return ns_add(p->last, ((uint64_t)need + p->rate_bps - 1) / p->rate_bps);
}

bool pacer_full(const struct pacer *p, ns_t now)
{
    return !p->rate_bps || filled(p, now) == full(p);
}

void pacer_sent(struct pacer *p, size_t bytes, ns_t now)
{
    int64_t cost;

    if (!p->rate_bps) {
        p->last = ns_max(p->last, now);
        return;
    }
    refill(p, now);
    if (p->tokens >= (int64_t)p->train * BYTE)
        p->dry = false;
    cost = (int64_t)(bytes < 2 * p->burst ? bytes : 2 * p->burst) * BYTE;
    p->tokens = p->tokens - cost < -full(p) ? -full(p) : p->tokens - cost;
    p->dry |= p->tokens < (int64_t)p->mss * BYTE;
}

bool pacer_check(const struct pacer *p)
{
    return p->tokens <= full(p) && p->tokens >= -full(p) && p->train && p->train <= p->burst / 2;
}
