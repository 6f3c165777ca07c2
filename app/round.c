#include "app/round.h"

#include "app/exit.h"
#include "app/paths.h"
#include "quic/errors.h"

#include <string.h>

static void no_more_ways(struct round *r)
{
    r->ways = r->next_way = 0;
    r->next_at = NS_NEVER;
}

void round_init(struct round *r, const struct attempt_env *env, const struct links *links)
{
    memset(r, 0, sizeof(*r));
    r->env = env;
    r->links = links;
    no_more_ways(r);
}

bool round_has(const struct round *r, const struct attempt *a)
{
    for (size_t i = 0; i < r->n_run; i++)
        if (r->run[i] == a)
            return true;
    return false;
}

/* ---- the end of attempts --------------------------------------------------------------- */

/* It runs no more. */
static void leave(struct round *r, const struct attempt *a)
{
    size_t i = 0;

    while (r->run[i] != a)
        i++;
    for (r->n_run--; i < r->n_run; i++)
        r->run[i] = r->run[i + 1];
    if (r->won == a)
        r->won = NULL;
}

static void drop(struct round *r, struct attempt *a, ns_t now)
{
    leave(r, a);
    attempt_del(a, now);
}

static void over(struct round *r, struct attempt *a, ns_t now)
{
    leave(r, a);
    paths_end(a, r->env, now);
}

void round_end(struct round *r, ns_t now)
{
    while (r->n_run > 0)
        over(r, r->run[r->n_run - 1], now);
    no_more_ways(r);
}

static void note(struct round *r, struct failure why)
{
    if (why.hopeless || !r->why.hopeless)
        r->why.status = why.status;
    r->why.hopeless |= why.hopeless;
}

bool round_failed(struct round *r, struct attempt *a, struct failure why, ns_t now)
{
    over(r, a, now);
    note(r, why);
    if (r->n_run == 0 && r->next_way == r->ways)
        return false;
    if (r->n_run == 0)
        r->next_at = now;
    return true;
}

void round_win(struct round *r, struct attempt *a, ns_t now)
{
    r->won = a;
    r->why.hopeless = false;
    no_more_ways(r);
    for (size_t i = r->n_run; i-- > 0;) {
        struct attempt *other = r->run[i];

        if (other == a)
            continue;
        quic_close(other->session.quic, H3_NO_ERROR, "", now);
        drop(r, other, now);
    }
}

struct attempt *round_take(struct round *r)
{
    struct attempt *a = r->won;

    r->won = NULL;
    r->n_run = 0;
    no_more_ways(r);
    return a;
}

void round_put(struct round *r, struct attempt *a, ns_t now)
{
    while (r->n_run > 0) {
        quic_close(r->run[0]->session.quic, H3_NO_ERROR, "", now);
        drop(r, r->run[0], now);
    }
    no_more_ways(r);
    r->run[r->n_run++] = r->won = a;
}

/* ---- one way after the other ----------------------------------------------------------- */

/* Try the next way; where it can't even be begun, the one after. */
static bool try_next(struct round *r, ns_t now)
{
    while (r->next_way < r->ways) {
        const struct race_way *way = &r->way[r->next_way++];
        const struct link *it = links_by_id(r->links, way->link_id);
        struct failure why;
        struct attempt *a;

        r->next_at = r->next_way < r->ways ? now + RACE_STAGGER : NS_NEVER;
        if (!it)
            continue;
        why.status = attempt_new(&a, r->env, it, &r->remote[way->remote], now, &why.hopeless);
        if (why.status == 0) {
            r->run[r->n_run++] = a;
            return true;
        }
        note(r, why);
    }
    return r->n_run > 0;
}

bool round_begin(struct round *r, ns_t now)
{
    const struct peer *peer = r->env->peer;
    const struct link *list;
    size_t n;

    r->why = (struct failure){EXIT_NO_ANSWER, false};
    list = links_list(r->links, &n);
    memcpy(r->remote, peer->addr, sizeof(r->remote));
    r->next_way = 0;
    r->ways = race_plan(list, n, r->remote, peer->addrs, peer->turn, r->way, ROUND_MAX);
    if (r->ways > 0)
        return try_next(r, now);
    r->why = failure_no_link(r->env);
    return false;
}

void round_join(struct round *r, const struct link *it, ns_t now)
{
    const struct peer *peer = r->env->peer;
    size_t n;

    for (size_t i = 0; i < r->ways; i++)
        if (r->way[i].link_id == it->id)
            return;
    if (r->won)
        return;
    n = race_plan(it, 1, r->remote, peer->addrs, peer->turn, &r->way[r->ways],
                  ROUND_MAX - r->ways);
    if (n > 0 && r->next_way == r->ways)
        r->next_at = now;
    r->ways += n;
}

bool round_tick(struct round *r, ns_t now)
{
    struct quic_path_view v;

    if (r->next_at > now)
        return true;
    /* Where the server has answered another just now, that may win soon. */
    for (size_t i = 0; i < r->n_run; i++) {
        if (quic_path_view(r->run[i]->session.quic, 0, now, &v) || v.packets_received == 0 ||
            now - v.last_received >= RACE_ANSWERED)
            continue;
        r->next_at = v.last_received + RACE_ANSWERED;
        return true;
    }
    return try_next(r, now);
}
