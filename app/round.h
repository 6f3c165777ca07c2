/*
 * round - one try to reach the server: attempts by all ways, of which one wins.
 *
 * Model: the ways (race.h) are tried one after the other, staggered; attempts that were begun run
 * side by side. The first in which the server shows that it carries IP wins, the others are
 * closed, and no further way is tried. A round has failed when no attempt runs and no way is
 * left; what it failed of is the first failure, but a hopeless one counts more.
 *
 * The winner stays the round's until it fails too. Invariant: `won` is NULL or runs alone.
 */
#ifndef APP_ROUND_H
#define APP_ROUND_H

#include "app/failure.h"
#include "app/race.h"

#define ROUND_MAX 8 /* ways of one round */

struct round {
    const struct attempt_env *env;
    const struct links *links;

    struct attempt *run[ROUND_MAX];
    size_t n_run;
    struct attempt *won; /* NULL: none has */
    struct race_way way[ROUND_MAX];
    union udp_addr remote[RESOLVE_MAX]; /* that the ways lead to */
    size_t ways, next_way;
    ns_t next_at;       /* when the next way is tried; NS_NEVER if there is none */
    struct failure why; /* of the attempt that tells most */
};

/* No attempt runs. Both are borrowed. */
void round_init(struct round *r, const struct attempt_env *env, const struct links *links);

/*
 * Begin, by the present links to the server's addresses. False: it has failed already, for
 * `r->why`.
 */
bool round_begin(struct round *r, ns_t now);

/* A link has appeared: it takes part, unless it does or one attempt has won. */
void round_join(struct round *r, const struct link *it, ns_t now);

/* The next way is tried, if `next_at` has passed. False: the round has failed. */
bool round_tick(struct round *r, ns_t now);

/* `a` has won: the others are closed. */
void round_win(struct round *r, struct attempt *a, ns_t now);

/* `a` has come to nothing and is freed. False: the round has failed with it. */
bool round_failed(struct round *r, struct attempt *a, struct failure why, ns_t now);

/* The winner is the caller's from now on, and no attempt runs. */
struct attempt *round_take(struct round *r);

/* And is back: attempts that were begun meanwhile are closed. */
void round_put(struct round *r, struct attempt *a, ns_t now);

/* End all attempts; what they leave is kept for the next. */
void round_end(struct round *r, ns_t now);

/* Whether `a`, which may be freed already, is one of those that run. */
bool round_has(const struct round *r, const struct attempt *a);

#endif
