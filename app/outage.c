#include "app/outage.h"

void outage_begin(struct outage *o, const struct attempt_env *env, struct attempt *a, ns_t now)
{
    outage_drop(o, env, now);
    *o = (struct outage){.a = a, .since = now, .ping_at = now};
}

struct attempt *outage_take(struct outage *o)
{
    struct attempt *a = o->a;

    o->a = NULL;
    return a;
}

void outage_drop(struct outage *o, const struct attempt_env *env, ns_t now)
{
    struct attempt *a = outage_take(o);

    if (a)
        paths_end(a, env, now);
}

void outage_nudge(struct outage *o, const struct attempt_env *env, const struct links *links,
                  ns_t now)
{
    if (!o->a)
        return;
    (void)paths_follow(o->a, env, links, now); /* without a link it waits for one */
    o->ping_at = now;
}

/* False: the session is no more. */
static bool take_events(struct outage *o, const struct attempt_env *env, ns_t now)
{
    struct session_event ev;

    while (session_next_event(&o->a->session, &ev, now)) {
        if (ev.type == SESSION_CLOSED || ev.type == SESSION_ENDED)
            return false;
        if (ev.type == SESSION_PATHS && ev.gone != SESSION_NO_PATH)
            paths_gone(o->a, env, ev.gone, now);
    }
    return true;
}

enum outage_state outage_tick(struct outage *o, const struct attempt_env *env,
                              const struct links *links, ns_t now)
{
    struct attempt *a = o->a;

    if (!a)
        return OUTAGE_NONE;
    if (quic_deadline(a->session.quic) <= now) {
        quic_tick(a->session.quic, now);
        paths_watch(a, env, now);
    }
    if (!take_events(o, env, now))
        return OUTAGE_LOST;
    if (paths_heard(a, now) >= o->since && paths_follow(a, env, links, now) == 0)
        return OUTAGE_ENDED;
    if (a->paths_at <= now)
        (void)paths_follow(a, env, links, now);
    if (o->ping_at <= now) {
        paths_ping(a);
        o->ping_at = now + (now - o->since < OUTAGE_LONG ? OUTAGE_SOON : OUTAGE_LATE);
    }
    return OUTAGE_LASTS;
}

ns_t outage_deadline(const struct outage *o, ns_t now)
{
    if (!o->a)
        return NS_NEVER;
    return ns_min(session_deadline(&o->a->session, now), ns_min(o->ping_at, o->a->paths_at));
}
