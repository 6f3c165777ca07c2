#include "quic/pacer.h"

/* Tokens are bits * 1e9, so that rate * nanoseconds needs no division. */
#define BYTE ((int64_t)8 * (int64_t)NS_PER_S)

static void set_burst(struct pacer *p)
{
    uint64_t per_ms = p->rate_bps / 8 / 1000;

    p->burst = PACER_PACKETS * p->mss;
    if (p->burst < per_ms)
        p->burst = per_ms;
    if (p->quantum)
        p->burst = p->quantum > 2 * p->mss ? p->quantum : 2 * p->mss;
    if (p->burst > PACER_BURST_MAX)
        p->burst = PACER_BURST_MAX;
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
    return tokens > 0 ? (size_t)(tokens / BYTE) : 0;
}

ns_t pacer_next(const struct pacer *p, size_t bytes)
{
    int64_t need = (int64_t)(bytes < p->burst ? bytes : p->burst) * BYTE - p->tokens;

    if (!p->rate_bps || need <= 0)
        return p->last;
    return ns_add(p->last, ((uint64_t)need + p->rate_bps - 1) / p->rate_bps);
}

void pacer_sent(struct pacer *p, size_t bytes, ns_t now)
{
    int64_t cost;

    if (!p->rate_bps) {
        p->last = ns_max(p->last, now);
        return;
    }
    refill(p, now);
    cost = (int64_t)(bytes < 2 * p->burst ? bytes : 2 * p->burst) * BYTE;
    p->tokens = p->tokens - cost < -full(p) ? -full(p) : p->tokens - cost;
}

bool pacer_check(const struct pacer *p)
{
    return p->tokens <= full(p) && p->tokens >= -full(p);
}
