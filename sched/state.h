/*
 * state - what schedulers remember, all of it bounded.
 *
 *   pins    which path a flow is on, and when the last of its packets will have arrived
 *   credit  of each path, the bytes that it has carried less than its share
 *   trials  for bulk flows: what a link has brought since it joined
 *
 * Pins lie in sets by hash; in a full set, the one out of use for longest is forgotten. The same
 * holds for trials, without sets.
 */
#ifndef SCHED_STATE_H
#define SCHED_STATE_H

#include "sched/sched.h"

#define SCHED_PINS        512u
#define SCHED_PIN_WAYS    4u
#define SCHED_PIN_QUIET   (1000 * NS_PER_MS) /* a flow silent so long may go anywhere */
#define SCHED_TRIALS      16u
#define SCHED_TRIAL_LINKS 8u

struct sched_pin {
    uint32_t flow, path;
    ns_t last;    /* when it sent; 0: never */
    ns_t since;   /* on this path */
    ns_t arrival; /* of what it sent, predicted */
};

struct sched_credit {
    uint32_t path;
    double bytes; /* carried less than its share, in the last time */
};

enum sched_trial_state { SCHED_TRIAL_NEW, SCHED_TRIAL_ON, SCHED_TRIAL_IN, SCHED_TRIAL_OUT };

#define SCHED_BIN  (250 * NS_PER_MS)
#define SCHED_BINS 4u

/* A bulk flow, and the links that are on trial for it. */
struct sched_trial {
    uint32_t flow;
    ns_t last, began, bin_at;
    uint64_t bin[SCHED_BINS + 1]; /* bytes: the current one, and those before */
    struct sched_trial_link {
        uint32_t path;
        enum sched_trial_state state;
        ns_t since, backoff;
        ns_t asked; /* last */
        uint64_t before;    /* bytes in SCHED_BINS bins before it joined; no more than others carry */
        uint64_t other_bps; /* rates of the other links then */
    } link[SCHED_TRIAL_LINKS];
    size_t links;
};

struct sched_state {
    struct sched_pin pin[SCHED_PINS];
    struct sched_credit credit[SCHED_PATHS_MAX];
    size_t credits;
    struct sched_trial trial[SCHED_TRIALS];
};

/* The pin of a flow that was not quiet, or null. */
struct sched_pin *sched_pin_find(struct sched_state *st, uint32_t flow, ns_t now);

/* A flow sent on `path`, to arrive at `arrival`. */
void sched_pin_set(struct sched_state *st, uint32_t flow, uint32_t path, ns_t arrival,
                   ns_t now);

/* The account of a path. */
double *sched_credit_of(struct sched_state *st, uint32_t path);

/* The trials of a flow, made if need be. */
struct sched_trial *sched_trial_of(struct sched_state *st, uint32_t flow, ns_t now);

/* A flow with trials sent bytes. */
void sched_trial_sent(struct sched_trial *t, size_t bytes, ns_t now);

/*
 * Whether a link that may do harm is used for the flow: it joins when the flow is SCHED_BINS
 * bins old. Where the flow keeps its queue filled (`busy`, of 1024: so the links are what
 * limits it), it must send what the other links offer alone (`other_bps`), or the link leaves,
 * looked at every two seconds. Where it doesn't, it must send more than before the link joined,
 * or than the others offer if that is less, looked at once; in proportion, if they offer less than
 * then; and once that was so, what the others offer. It is tried again after a time that doubles. A
 * link that does much harm leaves as soon as that shows, for longer.
 */
bool sched_trial_allows(struct sched_trial *t, uint32_t path, uint32_t busy, uint64_t other_bps,
                        ns_t now);

#endif
