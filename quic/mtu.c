#include "quic/mtu.h"

/* Nothing is known about sizes above `current`. */
static void forget(struct mtu *m)
{
    m->failed = m->max + 1;
    m->probe = 0;
    m->losses = 0;
}

void mtu_init(struct mtu *m, size_t max)
{
    *m = (struct mtu){.state = MTU_DISABLED,
                      .current = MTU_BASE,
                      .max = max < MTU_BASE ? MTU_BASE : max,
                      .next = NS_NEVER};
    forget(m);
}

/* The size to try: the largest, or half way to what failed. */
static size_t target(const struct mtu *m)
{
    return m->failed > m->max ? m->max : m->current + (m->failed - m->current) / 2;
}

/* Go on searching, or see that there is nothing more to find. */
static void go_on(struct mtu *m, ns_t now)
{
    if (m->failed - m->current > MTU_STEP) {
        m->state = MTU_SEARCHING;
        m->next = now;
        return;
    }
    m->state = MTU_COMPLETE;
    m->next = m->current < m->max ? ns_add(now, MTU_RAISE) : NS_NEVER;
}

void mtu_start(struct mtu *m, ns_t now)
{
    if (m->state == MTU_DISABLED)
        go_on(m, now);
}

void mtu_set_max(struct mtu *m, size_t max, ns_t now)
{
    if (max < MTU_BASE)
        max = MTU_BASE;
    if (max == m->max)
        return;
    m->max = max;
    if (m->current > max)
        m->current = max;
    m->doubt = m->doubt && m->current > MTU_BASE;
    forget(m);
    if (m->state != MTU_DISABLED)
        go_on(m, now);
}

size_t mtu_next_probe(const struct mtu *m, ns_t now)
{
    if (m->state == MTU_DISABLED || m->probe)
        return 0;
    if (m->doubt)
        return m->current;
    if (m->next > now)
        return 0;
    return m->state == MTU_COMPLETE ? m->max : target(m);
}

ns_t mtu_deadline(const struct mtu *m)
{
    if (m->state == MTU_DISABLED || m->probe)
        return NS_NEVER;
    return m->doubt ? 0 : m->next;
}

void mtu_on_probe_sent(struct mtu *m, size_t size, uint64_t pn)
{
    m->probe_pn = pn;
    if (size > m->current) {
        if (m->state == MTU_COMPLETE)
            forget(m);
        m->state = MTU_SEARCHING;
    }
    m->probe = size;
}

/* The current size, or a larger one, has arrived. */
static void passes(struct mtu *m, uint64_t pn)
{
    m->large_acked = pn + 1;
    m->large_lost = 0;
    m->doubt = false;
}

bool mtu_on_probe_acked(struct mtu *m, uint64_t pn, ns_t now)
{
    bool more = m->probe > m->current;

    if (!m->probe || pn != m->probe_pn)
        return false;
    m->current = m->probe;
    m->probe = 0;
    m->losses = 0;
    passes(m, pn);
    if (more)
        go_on(m, now);
    return more;
}

bool mtu_on_probe_lost(struct mtu *m, uint64_t pn, ns_t now)
{
    size_t size = m->probe;

    if (!size || pn != m->probe_pn)
        return false;
    m->probe = 0;
    if (pn >= m->blind && ++m->losses >= MTU_PROBES) {
        m->losses = 0;
        if (size == m->current) {
            mtu_reset(m, now);
            return true;
        }
        m->failed = size;
    }
    if (size > m->current)
        go_on(m, now);
    return false;
}

static bool large(const struct mtu *m, size_t bytes)
{
    return bytes > MTU_BASE + (m->current - MTU_BASE) / 2;
}

void mtu_on_acked(struct mtu *m, uint64_t pn, size_t bytes)
{
    if (!large(m, bytes) || pn < m->large_acked)
        return;
    passes(m, pn);
}

void mtu_on_outage(struct mtu *m, uint64_t pn, bool over)
{
    if (pn > m->large_acked)
        m->large_acked = pn;
    m->large_lost = 0;
    m->losses = 0;
    m->blind = pn;
    m->doubt = over && m->current > MTU_BASE;
}

void mtu_on_lost(struct mtu *m, uint64_t pn, size_t bytes)
{
    m->large_lost += large(m, bytes) && pn >= m->large_acked;
}

bool mtu_judge(struct mtu *m, ns_t now)
{
    if (m->large_lost < MTU_BLACK_HOLE)
        return false;
    mtu_reset(m, now);
    return true;
}

void mtu_reset(struct mtu *m, ns_t now)
{
    m->current = MTU_BASE;
    m->large_lost = 0;
    m->doubt = false;
    forget(m);
    if (m->state != MTU_DISABLED)
        go_on(m, now);
}

bool mtu_check(const struct mtu *m)
{
    if (m->current < MTU_BASE || m->current > m->max || m->failed > m->max + 1)
        return false;
    if (m->failed <= m->current)
        return false;
    return !m->probe || (m->probe >= m->current && m->probe <= m->max);
}
