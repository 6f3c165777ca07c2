/* pick - what schedulers share: which paths are in question, and what is expected of them. */
#ifndef SCHED_PICK_H
#define SCHED_PICK_H

#include "sched/state.h"

/* The paths that may carry a packet, of which there are `n`; by their index in the views. */
struct sched_set {
    uint8_t at[SCHED_PATHS_MAX];
    size_t n;
    bool usable; /* there is a usable path at all */
    bool known;  /* the one-way delays of all of them are known */
};

/*
 * The paths on which a packet of `bytes` may go now or later: usable, not excluded by the user,
 * of a sufficient MTU; and of these, the ones most alive, backups only if there are no others.
 */
void sched_set_of(struct sched_set *set, const struct sched_path *views, size_t n,
                  size_t bytes);

/*
 * How long a packet that leaves `p` is under way when nothing stands in front of the link; among
 * those of `set`, only differences count.
 */
ns_t sched_delay(const struct sched_set *set, const struct sched_path *p);

/* When `bytes` on `p` will have arrived, behind what stands in front of the link. */
ns_t sched_arrival(const struct sched_set *set, const struct sched_path *p, size_t bytes,
                   ns_t now);

/* Whether `bytes` may leave on `p` now. */
static inline bool sched_open(const struct sched_path *p, size_t bytes, ns_t now)
{
    return p->room_bytes >= bytes && p->earliest <= now;
}

/* When time alone opens `p` for `bytes`: NS_NEVER where only an acknowledgement does. */
static inline ns_t sched_wake(const struct sched_path *p, size_t bytes)
{
    return p->room_bytes >= bytes ? p->earliest : NS_NEVER;
}

/* Begin a decision: nothing can leave. */
void sched_undecided(struct sched_decision *d);

/*
 * The paths for the first packet of `h`. Returns 0; SCHED_TOOBIG if it fits no usable path,
 * SCHED_WAIT if there is none; `d` then says whose it is.
 */
int sched_set_for(struct sched_set *set, const struct sched_path *views, size_t n,
                  const struct sched_head *h, struct sched_decision *d);

/* Both, for the head that comes first in the order of service. SCHED_WAIT if there is none. */
int sched_begin(struct sched_set *set, const struct sched_path *views, size_t n,
                const struct sched_head *heads, size_t nheads, struct sched_decision *d);

/* `h` goes on `p`, as much of it as fits a burst. Returns 0. */
int sched_decide(struct sched_decision *d, const struct sched_path *p,
                 const struct sched_head *h, ns_t now);

/*
 * The path of a flow that stays on one (wlb): the one it has, or the one that weighted round
 * robin says, without state the one that the flow's hash says by the same weights. When it
 * is not open but another one is that has carried less than its share, the flow moves there
 * after a while. Null: wait; `wake` is then moved up.
 */
const struct sched_path *sched_pinned(struct sched_state *st, const struct sched_path *views,
                                      const struct sched_set *set, const struct sched_head *h,
                                      ns_t now, ns_t *wake);

/*
 * The open path that has carried least of its share. Null: wait; `wake` is then moved up.
 */
const struct sched_path *sched_furthest_behind(struct sched_state *st,
                                               const struct sched_path *views,
                                               const struct sched_set *set, size_t bytes,
                                               ns_t now, ns_t *wake);

/* `bytes` of `h` went on `path`: to the account of weighted round robin. */
void sched_charge(struct sched_state *st, const struct sched_path *views, size_t n,
                  const struct sched_head *h, uint32_t path, size_t bytes, ns_t now);

#endif
