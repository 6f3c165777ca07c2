#include "sched/state.h"

#include <stdlib.h>
#include <string.h>

#define TRIAL_TIME    (2 * NS_PER_S)
#define TRIAL_LEAST   ((SCHED_BINS + 1) * SCHED_BIN) /* it shows what harm it does */
#define TRIAL_AWAY    (NS_PER_S / 2)
#define HARM          0.875 /* the flow has less than that */
#define BACKOFF_LEAST (4 * NS_PER_S)
#define BACKOFF_HARM  (32 * NS_PER_S)
#define BACKOFF_MOST  (64 * NS_PER_S)

struct sched_state *sched_state_new(void)
{
    return calloc(1, sizeof(struct sched_state));
}

void sched_state_del(struct sched_state *st)
{
    free(st);
}

/* ---- pins ------------------------------------------------------------------------------ */

static struct sched_pin *set_of(struct sched_state *st, uint32_t flow)
{
    return &st->pin[flow % (SCHED_PINS / SCHED_PIN_WAYS) * SCHED_PIN_WAYS];
}

struct sched_pin *sched_pin_find(struct sched_state *st, uint32_t flow, ns_t now)
{
    struct sched_pin *set = set_of(st, flow);

    for (size_t i = 0; i < SCHED_PIN_WAYS; i++)
        if (set[i].flow == flow && set[i].last > 0)
            return ns_sub(now, set[i].last) < SCHED_PIN_QUIET ? &set[i] : NULL;
    return NULL;
}

void sched_pin_set(struct sched_state *st, uint32_t flow, uint32_t path, ns_t arrival, ns_t now)
{
    struct sched_pin *set = set_of(st, flow), *p = set;
    bool same;

    for (size_t i = 0; i < SCHED_PIN_WAYS; i++) {
        if (set[i].flow == flow && set[i].last > 0) {
            p = &set[i];
            break;
        }
        if (set[i].last < p->last)
            p = &set[i];
    }
    same = p->flow == flow && p->last > 0;
    *p = (struct sched_pin){
        .flow = flow,
        .path = path,
        .last = ns_max(now, 1),
        .since = same && p->path == path ? p->since : now,
        .arrival = same ? ns_max(p->arrival, arrival) : arrival,
    };
}

/* ---- credit ---------------------------------------------------------------------------- */

double *sched_credit_of(struct sched_state *st, uint32_t path)
{
    for (size_t i = 0; i < st->credits; i++)
        if (st->credit[i].path == path)
            return &st->credit[i].bytes;
    if (st->credits == SCHED_PATHS_MAX) /* paths that are long gone */
        st->credits = 0;
    st->credit[st->credits] = (struct sched_credit){.path = path};
    return &st->credit[st->credits++].bytes;
}

/* ---- trials ---------------------------------------------------------------------------- */

struct sched_trial *sched_trial_of(struct sched_state *st, uint32_t flow, ns_t now)
{
    struct sched_trial *t = st->trial;

    for (size_t i = 0; i < SCHED_TRIALS; i++) {
        struct sched_trial *o = &st->trial[i];

        if (o->flow == flow && o->last > 0 && ns_sub(now, o->last) < SCHED_PIN_QUIET)
            return o;
        if (o->last < t->last)
            t = o;
    }
    *t =
        (struct sched_trial){.flow = flow, .last = ns_max(now, 1), .began = now, .bin_at = now};
    return t;
}

static void roll(struct sched_trial *t, ns_t now)
{
    for (size_t i = 0; i <= SCHED_BINS && ns_sub(now, t->bin_at) >= SCHED_BIN; i++) {
        memmove(t->bin + 1, t->bin, SCHED_BINS * sizeof(t->bin[0]));
        t->bin[0] = 0;
        t->bin_at += SCHED_BIN;
    }
    if (ns_sub(now, t->bin_at) >= SCHED_BIN)
        t->bin_at = now;
}

void sched_trial_sent(struct sched_trial *t, size_t bytes, ns_t now)
{
    roll(t, now);
    t->bin[0] += bytes;
    t->last = ns_max(now, 1);
}

static uint64_t recent(const struct sched_trial *t)
{
    uint64_t sum = 0;

    for (size_t i = 1; i <= SCHED_BINS; i++)
        sum += t->bin[i];
    return sum;
}

static void join(const struct sched_trial *t, struct sched_trial_link *l, uint64_t other_bps,
                 ns_t now)
{
    uint64_t others = other_bps / 8 * (SCHED_BINS * SCHED_BIN) / NS_PER_S;

    l->state = SCHED_TRIAL_ON;
    l->since = now;
    l->before = recent(t) < others ? recent(t) : others;
    l->other_bps = other_bps;
}

/* What the flow would have sent in SCHED_BINS bins without the link, by what the others offer. */
static double expected(const struct sched_trial_link *l, uint64_t other_bps)
{
    double bytes = (double)l->before;

    return other_bps < l->other_bps ? bytes * (double)other_bps / (double)l->other_bps : bytes;
}

static bool harmful(const struct sched_trial *t, const struct sched_trial_link *l,
                    uint64_t other_bps)
{
    return (double)recent(t) < HARM * expected(l, other_bps);
}

/* Two seconds later, or as soon as harm shows; and every two seconds again. */
static void judge(const struct sched_trial *t, struct sched_trial_link *l, uint32_t busy,
                  uint64_t other_bps, ns_t now)
{
    uint64_t bps = recent(t) * 8 * NS_PER_S / (SCHED_BINS * SCHED_BIN);
    bool enough = bps >= other_bps - other_bps / 16;
    bool raised = (double)recent(t) > 1.05 * expected(l, other_bps);

    if (busy >= 512 || l->state == SCHED_TRIAL_IN ? enough : raised) {
        l->state = SCHED_TRIAL_IN;
        l->other_bps = other_bps;
    } else {
        ns_t least = harmful(t, l, other_bps) ? BACKOFF_HARM : BACKOFF_LEAST;

        l->state = SCHED_TRIAL_OUT;
        l->backoff = ns_min(ns_max(2 * l->backoff, least), BACKOFF_MOST);
    }
    l->since = now;
}

bool sched_trial_allows(struct sched_trial *t, uint32_t path, uint32_t busy, uint64_t other_bps,
                        ns_t now)
{
    struct sched_trial_link *l = NULL;

    roll(t, now);
    for (size_t i = 0; i < t->links && !l; i++)
        if (t->link[i].path == path)
            l = &t->link[i];
    if (!l) {
        if (t->links == SCHED_TRIAL_LINKS)
            return true;
        l = &t->link[t->links++];
        *l = (struct sched_trial_link){.path = path};
    }
    if (ns_sub(now, l->asked) > TRIAL_AWAY && l->state != SCHED_TRIAL_OUT)
        l->since = now; /* it was away: what was sent meanwhile says nothing of it */
    l->asked = now;
    switch (l->state) {
    case SCHED_TRIAL_NEW:
        if (ns_sub(now, t->began) >= (SCHED_BINS + 1) * SCHED_BIN)
            join(t, l, other_bps, now);
        break;
    case SCHED_TRIAL_ON:
        if (ns_sub(now, l->since) >= TRIAL_LEAST && harmful(t, l, other_bps))
            judge(t, l, busy, other_bps, now);
        /* fall through */
    case SCHED_TRIAL_IN:
        if (ns_sub(now, l->since) >= TRIAL_TIME)
            judge(t, l, busy, other_bps, now);
        break;
    case SCHED_TRIAL_OUT:
        if (ns_sub(now, l->since) >= l->backoff)
            join(t, l, other_bps, now);
        break;
    }
    return l->state == SCHED_TRIAL_ON || l->state == SCHED_TRIAL_IN;
}
