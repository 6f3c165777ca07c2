#include "app/lookout.h"

/* A look counts for so much less at the next one: half after some 3 s. */
#define FADE (1.0 - 1.0 / 40)
/* As if so many more packets had been sent without a loss: few prove nothing. */
#define DOUBT 200
/* A share of lost packets that is nothing unusual. */
#define ONCE      0.005
#define ACK_DELAY (25 * NS_PER_MS) /* that the far end may take for an acknowledgement */

static size_t paths_of(const struct quic_conn *conn)
{
    size_t n = quic_path_count(conn);

    return n < LOOKOUT_PATHS ? n : LOOKOUT_PATHS;
}

/* ---- watching -------------------------------------------------------------------------- */

/*
 * What a path has sent and lost since the last look. Losses that come all at once are those of a
 * queue that has overflowed, which is the controller's business and says little of the link: they
 * count for a few times the usual at most.
 */
static void count(struct lookout_path *p, const struct quic_path_view *v)
{
    uint64_t lost =
        v->packets_lost > v->packets_spurious ? v->packets_lost - v->packets_spurious : 0;
    double sent = (double)(v->packets_sent - p->sent), now = (double)lost - (double)p->lost;
    double usual = p->lost_lately / (p->lately + DOUBT);
    double most = sent * (usual > ONCE ? 4 * usual : 4 * ONCE);

    p->lately = p->lately * FADE + sent;
    p->lost_lately = p->lost_lately * FADE + (now < most ? now : most);
    if (p->lost_lately < 0)
        p->lost_lately = 0;
    p->sent = v->packets_sent;
    p->lost = lost;
    p->loss_ppm = (uint32_t)(p->lost_lately * 1e6 / (p->lately + DOUBT));
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

/* What is in flight on it goes over others. */
static void over(struct lookout_path *p, struct numbered *n)
{
    if (n && p->used)
        repair_path_lost(&n->repair, p->id);
    p->used = p->heard = false;
}

/* Of a path that there is: what changes slowly. */
static void study(struct lookout_path *p, const struct quic_path_view *v, struct numbered *n,
                  ns_t now)
{
    count(p, v);
    p->late_known = n && numbered_late(n, p->id, now, &p->late, &p->jitter);
}

/* The path is heard, or no longer while others are. */
static void hear(struct lookout_path *p, bool heard, bool others, struct numbered *n)
{
    if (p->heard && !heard && !others)
        return; /* nothing is gained by giving it up */
    if (p->heard && !heard && n)
        repair_path_lost(&n->repair, p->id);
    p->heard = heard;
}

void lookout_watch(struct lookout *o, struct quic_conn *conn, struct numbered *n, ns_t now)
{
    size_t paths = paths_of(conn), heard = 0;
    struct quic_path_view v[LOOKOUT_PATHS];
    bool due = now >= o->next;
    ns_t rtt = 0, rttvar = 0;

    o->check = NS_NEVER;
    if (now < o->soon && !(n && repair_holds_any(&n->repair)))
        return;
    o->soon = now + LOOKOUT_SOON;
    o->lossy = o->held = false;
    for (size_t i = 0; i < paths || i < o->paths; i++) {
        struct lookout_path *p = &o->path[i];

        if (i >= paths || quic_path_view(conn, i, now, &v[i])) {
            over(p, n);
            continue;
        }
        if (p->used && p->id != v[i].id)
            over(p, n);
        if (!p->used)
            *p = (struct lookout_path){.used = true, .id = v[i].id, .sent = v[i].packets_sent};
        if (v[i].usable && silence_of(&v[i]) == SCHED_HEARD) {
            heard++;
            o->held |= v[i].held_back;
        }
        if (v[i].delivery_bps)
            p->bps += ((double)v[i].delivery_bps - p->bps) / (p->bps > 0 ? 8 : 1);
        if (due)
            study(p, &v[i], n, now);
        o->lossy |= p->loss_ppm > LOOKOUT_LOSSY;
        if (v[i].has_rtt) {
            rtt = ns_max(rtt, v[i].srtt);
            rttvar = ns_max(rttvar, v[i].rttvar);
        }
    }
    for (size_t i = 0; i < paths; i++) {
        if (!o->path[i].used)
            continue;
        hear(&o->path[i], v[i].usable && silence_of(&v[i]) == SCHED_HEARD, heard > 0, n);
        if (o->path[i].heard && v[i].in_flight_bytes > 0 && v[i].waiting < patience(&v[i]))
            o->check = ns_min(o->check, now + patience(&v[i]) - v[i].waiting);
    }
    o->paths = paths;
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

    if (quic_path_view(conn, path, now, &v))
        return (struct sched_path){0};
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
        .priority = v.standby ? SCHED_BACKUP : priority_of(socks_priority(socks, &v.route)),
        .jitter = v.has_rtt ? v.rttvar : 0,
        .silence = silence_of(&v),
    };
    /* Held back by the pacer, a path may still have a window: then it is worth to wake up. */
    if (v.next_send > now && v.next_send != NS_NEVER && v.cwnd_bytes > v.in_flight_bytes)
        out.room_bytes = (size_t)(v.cwnd_bytes - v.in_flight_bytes);
    if (!p || !p->used || p->id != v.id)
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
    if (p->late_known) {
        out.delay = p->late;
        out.jitter = p->jitter;
    }
    return out;
}
