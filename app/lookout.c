#include "app/lookout.h"

#include "mp/mp.h"

#include <math.h>

/* A look counts for so much less at the next one: half after some 3 s. */
#define FADE (1.0 - 1.0 / 40)
/* As if so many more packets had been sent without a loss: few prove nothing. */
#define DOUBT 200
/* A share of lost packets that is nothing unusual. */
#define ONCE      0.005
#define ACK_DELAY (25 * NS_PER_MS) /* that the far end may take for an acknowledgement */
#define PROBES    2                /* packets */
#define APART     (10 * NS_PER_MS) /* news of two paths that don't come together */
#define FAILED    (NS_PER_S / 2)   /* longer silence is no pause */
#define PAUSE_FADE (1.0 - 1.0 / 400)
#define STANDING_MOST (100 * NS_PER_MS)
#define SETTLED        32 /* packets, after which a path's variation is its own */
#define SPARED         (250 * NS_PER_MS) /* is a path at first */
#define MISJUDGED_MOST 4

#define MISSED_LONG  (15 * NS_PER_S) /* a path is expected back, */
#define MISSED_FADE  (5 * NS_PER_S)  /* at the end of that less and less, */
#define MISSED_AFTER NS_PER_S        /* and fills again */
#define MISSED_SHARE 1.25            /* flows grow meanwhile */
#define SLACK_MOST   (300 * NS_PER_MS)

static size_t paths_of(const struct quic_conn *conn)
{
    size_t n = quic_path_count(conn);

    return n < LOOKOUT_PATHS ? n : LOOKOUT_PATHS;
}

/* ---- watching -------------------------------------------------------------------------- */

static double share(double lost, double sent)
{
    return lost / (sent + DOUBT);
}

/*
 * What a path has sent and lost since the last look. Losses that come all at once are those of a
 * queue that has overflowed, which is the controller's business and says little of the link: they
 * count for a few times the usual at most; and not at all while it finds out what the path carries,
 * and is given enough for that: flows that a lossy link holds down never do. Nor does anything
 * count while it has to carry what a link that is `missed` did.
 */
static void count(struct lookout_path *p, const struct quic_path_view *v, bool missed, ns_t now)
{
    uint64_t lost =
        v->packets_lost > v->packets_spurious ? v->packets_lost - v->packets_spurious : 0;
    double sent = (double)(v->packets_sent - p->sent), more = (double)lost - (double)p->lost;
    double usual = share(p->lost_lately, p->lately);
    double most = sent * (usual > ONCE ? 4 * usual : 4 * ONCE);

    p->sent = v->packets_sent;
    p->lost = lost;
    p->pause = (ns_t)((double)p->pause * PAUSE_FADE);
    if (missed)
        return;
    p->lately = p->lately * FADE + sent;
    if (ns_sub(now, p->ramped_at) < 2 * v->srtt + LOOKOUT_EVERY)
        more = fmin(more, 0);
    p->lost_lately = p->lost_lately * FADE + fmin(more, most);
    if (p->lost_lately < 0)
        p->lost_lately = 0;
    p->loss_ppm = (uint32_t)(share(p->lost_lately, p->lately) * 1e6);
}

/* Longer than this no news of what is in flight should take (RFC 9002 6.2.1). */
static ns_t patience(const struct quic_path_view *v)
{
    return v->srtt + ns_max(4 * v->rttvar, NS_PER_MS) + ACK_DELAY;
}

static enum sched_silence silence_of(const struct quic_path_view *v)
{
    if (v->pto_count > 1 || v->waiting >= 2 * patience(v))
        return SCHED_SILENT;
    return v->pto_count > 0 || v->waiting >= patience(v) ? SCHED_SUSPECT : SCHED_HEARD;
}

/* The longest time between two pieces of news. */
static ns_t beat(const struct lookout_path *p, const struct quic_path_view *v)
{
    return patience(v) - v->srtt + p->pause;
}

/* Whether another path gives news while `i` doesn't: then it is not the far end that pauses. */
static bool outlived(const struct quic_path_view *v, size_t paths, size_t i, ns_t by)
{
    for (size_t k = 0; k < paths; k++)
        if (k != i && v[k].usable && v[k].in_flight_bytes > 0 && v[k].waiting + by <= v[i].waiting)
            return true;
    return false;
}

/*
 * A path that is busy has news all the time: it is not heard any more when those of its oldest
 * packet are overdue, and there were none at all for longer than there should be.
 */
static bool is_heard(const struct lookout_path *p, const struct quic_path_view *v, size_t paths,
                     size_t i)
{
    if (!v[i].usable || silence_of(&v[i]) != SCHED_HEARD)
        return false;
    if (!p->heard && p->news > 0 && v[i].in_flight_bytes > 0 && v[i].reached <= p->lost_at)
        return false;
    return v[i].oldest < patience(&v[i]) || v[i].waiting < beat(p, &v[i]) ||
           !outlived(v, paths, i, APART);
}

/* When it is to be looked at again, in case that no news comes. */
static ns_t falls_in(const struct lookout_path *p, const struct quic_path_view *v)
{
    ns_t at = ns_max(ns_sub(patience(v), v->oldest), ns_sub(beat(p, v), v->waiting));
    ns_t last = ns_sub(patience(v), v->waiting); /* whatever else */

    if (last == 0)
        return NS_NEVER;
    return at > 0 ? ns_min(at, last) : last;
}

static void least_add(struct lookout_least *l, ns_t v, ns_t now)
{
    if (l->since == 0 || ns_sub(now, l->since) >= NUMBERED_LEAST) {
        l->v[1] = l->since ? l->v[0] : NS_NEVER;
        l->v[0] = v;
        l->since = now;
    }
    l->v[0] = ns_min(l->v[0], v);
}

static ns_t least_of(const struct lookout_least *l)
{
    return ns_min(l->v[0], l->v[1]);
}

/*
 * What stands on the path all the time. The far end takes it for a part of the path's delay, and so
 * a path that was filled alone for seconds for a long one.
 */
static void stand(struct lookout_path *p, const struct quic_path_view *v, ns_t now)
{
    least_add(&p->rtt, v->latest_rtt, now);
    p->standing = ns_min(ns_sub(least_of(&p->rtt), v->min_rtt), STANDING_MOST);
}

/* There was news of what the path carries. */
static void carried(struct lookout_path *p, const struct quic_path_view *v)
{
    double bps = (double)v->delivery_bps;

    if (bps > 0 && (!v->ramping || bps > p->bps))
        p->bps += (bps - p->bps) / (p->bps > 0 ? 8 : 1);
}

/* Whether it has enough to send for its controller to find out what it carries, by turns at least. */
static bool is_tried(const struct quic_path_view *v)
{
    return !v->app_limited || 2 * v->in_flight_bytes > v->cwnd_bytes;
}

static bool is_unproven(const struct quic_path_view *v)
{
    return v->packets_sent < LOOKOUT_PROOF;
}

/* Whether its variation is measured: the first sample is taken for twice that (RFC 9002 5.3). */
static bool is_settled(const struct quic_path_view *v)
{
    return v->has_rtt && v->packets_sent >= SETTLED;
}

/* Of a path that there is: what changes slowly. */
static void study(struct lookout_path *p, const struct quic_path_view *v, bool missed,
                  struct numbered *n, ns_t now)
{
    ns_t jitter = v->rttvar;

    count(p, v, missed, now);
    p->late_known = n && numbered_late(n, p->id, now, &p->late, &jitter);
    if (is_settled(v))
        least_add(&p->jitter, jitter, now);
}

/*
 * What the far end sends on a path that gives no news is perhaps lost, too: say, the
 * acknowledgements of what goes over others now. Where it has little else to send there, it
 * would find out late. But while something comes by the path, only our direction is in doubt;
 * and as nothing does once the far end spares it, the request ends by itself, a later one the
 * later, and comes again only after a longer silence.
 */
static void tell(struct lookout_path *p, const struct quic_path_view *v, bool heard, bool others,
                 struct quic_conn *conn, size_t path, ns_t now)
{
    ns_t quiet = ns_sub(now, ns_max(v->last_received, p->told_at));
    bool spare = !heard && others;

    if (heard)
        p->misjudged = 0;
    if (p->spared)
        spare &= now < p->told_at + (SPARED << p->misjudged) && v->last_received <= p->told_at;
    else
        spare &= v->waiting > 0 && quiet >= beat(p, v) << p->misjudged;
    if (spare == p->spared || mp_spare(conn, path, spare, now))
        return;
    if (p->spared && !heard && p->misjudged < MISJUDGED_MOST)
        p->misjudged++;
    p->spared = spare;
    p->told_at = now;
}

/*
 * Where the far end asks us to spare a path that gives us no news either, it means no more than
 * that: with the first news the path is used, a round trip before the request is taken back.
 */
static void wish(struct lookout_path *p, const struct quic_path_view *v)
{
    if (v->standby != p->standby)
        p->doubted = v->standby && p->news > 0;
    p->standby = v->standby;
}

/* ---- what is missed -------------------------------------------------------------------- */

/*
 * What a path that fails carried in a round trip is the part of the flows' windows that only it
 * needs: in the longest one, as the flows wait for their packets on all paths. It is kept in the
 * queue, in case that the path is back soon: else it would take the flows long to fill it again.
 * And if its link comes back, or another address of it, as another path: the flows don't know.
 */
static void gap_open(struct lookout *o, const struct lookout_path *p, uint64_t in_flight,
                     ns_t now)
{
    double left = fmax((double)in_flight, p->bps * (double)o->longest_rtt / 8e9);
    struct lookout_gap *g = &o->gap[0];

    for (size_t i = 0; i < LOOKOUT_PATHS && g->id != p->id; i++)
        if (o->gap[i].id == p->id || o->gap[i].until < g->until)
            g = &o->gap[i];
    *g = (struct lookout_gap){p->id, true, (uint64_t)left, now + MISSED_LONG};
}

/* Whether the path that it is of is there no more. */
static bool gap_alone(const struct lookout *o, const struct lookout_gap *g)
{
    for (size_t i = 0; i < LOOKOUT_PATHS; i++)
        if (o->path[i].usable && o->path[i].id == g->id)
            return false;
    return true;
}

/* A path is heard again, or `anew`: from what its gap is now to nothing. */
static void gap_close(struct lookout *o, struct lookout_path *p, bool anew, ns_t now)
{
    for (size_t i = 0; i < LOOKOUT_PATHS; i++) {
        struct lookout_gap *g = &o->gap[i];

        if (!g->open || g->until <= now || (anew ? !gap_alone(o, g) : g->id != p->id))
            continue;
        g->left = g->left * ns_min(g->until - now, MISSED_FADE) / MISSED_AFTER;
        g->until = p->counts = now + MISSED_AFTER;
        g->open = false;
        return;
    }
}

static void miss(struct lookout *o, ns_t now)
{
    double missed = 0;

    o->bps = 0;
    o->away = false;
    for (size_t i = 0; i < o->paths; i++)
        if (o->path[i].used && o->path[i].heard && o->path[i].counts <= now)
            o->bps += o->path[i].bps;
    for (size_t i = 0; i < LOOKOUT_PATHS; i++) {
        const struct lookout_gap *g = &o->gap[i];

        if (g->until <= now)
            continue;
        missed += (double)g->left * (double)ns_min(g->until - now, MISSED_FADE);
        o->away |= g->open;
    }
    if (missed > 0 && o->bps == 0)
        return;
    missed *= 8e9 * MISSED_SHARE / (double)MISSED_FADE;
    o->slack = missed > 0 ? (ns_t)fmin(missed / o->bps, (double)SLACK_MOST) : 0;
}

/* The path is there no more: what is in flight on it goes over others. */
static void over(struct lookout *o, struct lookout_path *p, struct numbered *n, ns_t now)
{
    if (n && p->used)
        repair_path_lost(&n->repair, p->id, now);
    if (p->heard)
        gap_open(o, p, 0, now);
    p->used = p->usable = p->heard = false;
}

/* The path is heard, or no longer while others are. */
static void hear(struct lookout *o, struct lookout_path *p, const struct quic_path_view *v,
                 bool heard, bool others, struct numbered *n, ns_t now)
{
    if (p->heard && !heard && !others) { /* nothing is gained by giving it up */
        if (n && v->in_flight_bytes > 0 && p->probed <= v->pto_count)
            repair_probe(&n->repair, p->id, PROBES);
        p->probed = v->pto_count + 1;
        return;
    }
    if (heard)
        p->probed = 0;
    if (p->heard && !heard) {
        if (n)
            repair_path_lost(&n->repair, p->id, now);
        p->news = now - v->waiting;
        p->lost_at = now;
        p->usual = beat(p, v) - p->pause;
        gap_open(o, p, v->in_flight_bytes, now);
    } else if (!p->heard && heard) {
        if (p->news > 0 && now - p->news < FAILED)
            p->pause = ns_min(ns_max(p->pause, ns_sub(now - p->news, p->usual)), v->srtt);
        gap_close(o, p, p->news == 0, now);
        p->news = 0;
    }
    p->heard = heard;
}

void lookout_watch(struct lookout *o, struct quic_conn *conn, struct numbered *n, ns_t now)
{
    size_t paths = paths_of(conn), heard = 0;
    struct quic_path_view v[LOOKOUT_PATHS] = {0};
    bool is[LOOKOUT_PATHS];
    bool due = now >= o->next, proven = false, unproven = false;
    double sent = 0, lost = 0, ppm;
    ns_t rtt = 0, rttvar = 0, longest = 0, since; /* the last look */

    o->check = NS_NEVER;
    if (now < o->soon && !(n && repair_holds_any(&n->repair)))
        return;
    since = now + LOOKOUT_SOON - o->soon;
    o->soon = now + LOOKOUT_SOON;
    o->lossy = o->held = false;
    for (size_t i = 0; i < paths || i < o->paths; i++) {
        struct lookout_path *p = &o->path[i];

        if (i >= paths || quic_path_view(conn, i, now, &v[i])) {
            over(o, p, n, now);
            continue;
        }
        if (p->used && p->id != v[i].id)
            over(o, p, n, now);
        if (!p->used)
            *p = (struct lookout_path){.used = true, .id = v[i].id, .sent = v[i].packets_sent};
        p->usable = v[i].usable;
        if (v[i].waiting < since)
            carried(p, &v[i]);
        if (v[i].ramping && is_tried(&v[i]))
            p->ramped_at = now;
        if (due)
            study(p, &v[i], o->slack > 0, n, now);
        o->lossy |= p->loss_ppm > SCHED_LOSSY;
        sent += p->lately;
        lost += p->lost_lately;
        if (is_unproven(&v[i]))
            unproven = true;
        else
            proven = true;
        if (v[i].has_rtt) {
            stand(p, &v[i], now);
            longest = ns_max(longest, v[i].min_rtt);
            rtt = ns_max(rtt, v[i].srtt);
            rttvar = ns_max(rttvar, v[i].rttvar);
        }
    }
    o->longest_rtt = longest;
    o->unproven = unproven && !proven;
    ppm = share(lost, sent) * 1e6;
    o->parity = ppm > LOOKOUT_PARITY && ppm < LOOKOUT_PARITY_MOST;
    for (size_t i = 0; i < paths; i++) {
        is[i] = o->path[i].used && is_heard(&o->path[i], v, paths, i);
        heard += is[i];
        o->held |= is[i] && v[i].held_back;
    }
    for (size_t i = 0; i < paths; i++) {
        if (!o->path[i].used)
            continue;
        tell(&o->path[i], &v[i], is[i], heard > 0, conn, i, now);
        hear(o, &o->path[i], &v[i], is[i], heard > 0, n, now);
        wish(&o->path[i], &v[i]);
        if (o->path[i].heard && v[i].in_flight_bytes > 0)
            o->check = ns_min(o->check, ns_add(now, falls_in(&o->path[i], &v[i])));
    }
    o->paths = paths;
    miss(o, now);
    if (!due)
        return;
    if (n && rtt > 0)
        numbered_hold(n, rtt, rttvar);
    o->next = now + LOOKOUT_EVERY;
}

/* ---- snapshots ------------------------------------------------------------------------- */

static enum sched_priority priority_of(enum link_priority p)
{
    return p == LINK_NEVER       ? SCHED_NEVER
           : p == LINK_BACKUP    ? SCHED_BACKUP
           : p == LINK_SECONDARY ? SCHED_SECONDARY
                                 : SCHED_PRIMARY;
}

struct sched_path lookout_path(const struct lookout *o, const struct quic_conn *conn,
                               const struct socks *socks, size_t path, size_t reserve, ns_t now)
{
    const struct lookout_path *p = path < LOOKOUT_PATHS ? &o->path[path] : NULL;
    struct quic_path_view v;
    struct sched_path out;
    bool spare;

    if (quic_path_view(conn, path, now, &v))
        return (struct sched_path){0};
    if (p && (!p->used || p->id != v.id)) /* of a path that was */
        p = NULL;
    spare = v.standby && !(p && p->doubted && p->heard);
    out = (struct sched_path){
        .path = v.id,
        .usable = v.usable,
        .srtt = v.srtt,
        .min_rtt = v.min_rtt,
        .rate_bps = v.pacing_bps,
        .cwnd_bytes = v.cwnd_bytes,
        .flight_bytes = v.in_flight_bytes,
        .room_bytes = v.room_bytes,
        .earliest = v.next_send,
        .mtu_bytes = v.dgram_max_bytes > reserve ? v.dgram_max_bytes - reserve : 0,
        .unproven = is_unproven(&v) || o->slack > 0,
        .priority = spare ? SCHED_BACKUP : priority_of(socks_priority(socks, &v.route)),
        .jitter = p                ? least_of(&p->jitter)
                  : is_settled(&v) ? v.rttvar
                                   : 0,
        .silence = silence_of(&v),
    };
    if (p && !p->heard && out.silence == SCHED_HEARD)
        out.silence = SCHED_SUSPECT;
    /* Held back by the pacer, a path may still have a window: then it is worth to wake up. */
    if (v.next_send > now && v.next_send != NS_NEVER && v.cwnd_bytes > v.in_flight_bytes)
        out.room_bytes = (size_t)(v.cwnd_bytes - v.in_flight_bytes);
    if (!p)
        return out;
    if (v.ramping) {
        out.rate_bps = 0;
        out.queued = v.has_rtt ? ns_sub(v.latest_rtt, v.min_rtt) : 0;
    } else if (p->bps > 0) {
        out.rate_bps = (uint64_t)p->bps;
        out.queued = ns_sub((ns_t)((double)v.in_flight_bytes * 8e9 / p->bps), v.min_rtt);
    }
    out.loss_ppm = p->loss_ppm;
    out.delay_known = p->late_known;
    if (p->late_known)
        out.delay = p->late + STANDING_MOST - p->standing; /* only differences count */
    return out;
}
