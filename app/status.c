#include "app/status.h"

#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PPM 1000000u

void status_rates_free(struct status_rates *r)
{
    free(r->e);
    *r = (struct status_rates){0};
}

/* The entry of a path, made if need be; NULL without memory. Mostly the next one. */
static struct status_rate *rate_entry(struct status_rates *r, uint64_t who, uint32_t path)
{
    for (size_t k = 0; k < r->n; k++) {
        size_t i = (r->next + k) % r->n;

        if (r->e[i].who == who && r->e[i].path == path) {
            r->next = i + 1;
            return &r->e[i];
        }
    }
    if (r->n == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 8;
        struct status_rate *e = realloc(r->e, cap * sizeof(*e));

        if (!e)
            return NULL;
        r->e = e;
        r->cap = cap;
    }
    r->e[r->n] = (struct status_rate){.who = who, .path = path};
    r->next = r->n + 1;
    return &r->e[r->n++];
}

static uint64_t per_second(uint64_t bytes, ns_t time)
{
    return (uint64_t)((unsigned __int128)bytes * 8 * NS_PER_S / time);
}

/* The rates of a path that has sent and received so much. */
static struct status_rate rate_update(struct status_rates *r, uint64_t who,
                                      const struct quic_path_view *v, ns_t now)
{
    struct status_rate *e = rate_entry(r, who, v->id);

    if (!e)
        return (struct status_rate){0};
    e->seen = true;
    if (!e->at || v->bytes_sent < e->tx || v->bytes_received < e->rx) {
        e->tx_bps = e->rx_bps = 0; /* the first look; or another session's path */
    } else if (now - e->at < STATUS_RATE_LEAST) {
        return *e;
    } else {
        e->tx_bps = per_second(v->bytes_sent - e->tx, now - e->at);
        e->rx_bps = per_second(v->bytes_received - e->rx, now - e->at);
    }
    e->at = now;
    e->tx = v->bytes_sent;
    e->rx = v->bytes_received;
    return *e;
}

/* Resident memory of this process, 0 if /proc does not say. */
static uint64_t memory(void)
{
    unsigned long size, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (f && fscanf(f, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    if (f)
        fclose(f);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void address(struct json *j, const char *key, const struct tun_prefix *p)
{
    char text[TUN_ADDR_TEXT];

    if (!p->addr.family)
        return;
    json_text(j, key, tun_addr_text(&p->addr, text));
}

static void metered(struct json *j, const struct status_self *self)
{
    json_open(j, "metered", '[');
    for (size_t i = 0; i < self->meter->n; i++) {
        const struct meter_item *it = &self->meter->item[i];

        json_open(j, NULL, '{');
        json_text(j, "interface", it->name);
        json_number(j, "used_bytes", it->bytes);
        json_number(j, "month_bytes", link_rules_terms(self->rules, it->name).month_bytes);
        json_close(j, '}');
    }
    json_close(j, ']');
}

void status_begin(struct json *j, struct status_rates *r, const struct status_self *self,
                  ns_t now)
{
    for (size_t i = 0; i < r->n; i++)
        r->e[i].seen = false;
    r->next = 0;
    json_open(j, NULL, '{');
    json_number(j, "version", STATUS_VERSION);
    json_text(j, "role", self->role);
    json_text(j, "state", self->state);
    json_number(j, "pid", (uint64_t)getpid());
    json_ms(j, "uptime_ms", now - self->started);
    json_number(j, "memory_bytes", memory());
    if (self->server)
        json_text(j, "server", self->server);
    json_open(j, "tun", '{');
    json_text(j, "name", self->tun);
    json_number(j, "mtu_bytes", self->mtu_bytes);
    address(j, "ipv4", &self->addr[0]);
    address(j, "ipv6", &self->addr[1]);
    json_close(j, '}');
    if (self->meter && self->meter->n > 0)
        metered(j, self);
    json_open(j, "peers", '[');
}

void status_end(struct json *j, struct status_rates *r)
{
    size_t n = 0;

    json_close(j, ']');
    json_close(j, '}');
    for (size_t i = 0; i < r->n; i++)
        if (r->e[i].seen)
            r->e[n++] = r->e[i];
    r->n = n;
}

void status_unknown(struct json *j)
{
    json_open(j, NULL, '{');
    json_text(j, "error", "the only question is \"status\"");
    json_close(j, '}');
}

/* ---- a peer ---- */

static uint64_t total_of(const struct session *s, struct status_rates *r, uint64_t who,
                         ns_t now)
{
    struct quic_path_view v;
    uint64_t sum = 0;

    for (size_t i = 0; i < quic_path_count(s->quic); i++) {
        if (quic_path_view(s->quic, i, now, &v) == 0) {
            struct status_rate e = rate_update(r, who, &v, now);

            sum += e.tx_bps + e.rx_bps;
        }
    }
    return sum;
}

static const char *path_state(const struct quic_path_view *v)
{
    if (v->usable && v->pto_count >= 2)
        return "silent";
    return v->usable ? "up" : v->validated ? "waiting" : "validating";
}

static void path(struct json *j, const struct status_peer *p, const struct quic_path_view *v,
                 const struct status_rate *e, uint64_t total, ns_t now)
{
    char name[IF_NAMESIZE], text[QUIC_ADDR_TEXT];
    uint64_t lost =
        v->packets_lost > v->packets_spurious ? v->packets_lost - v->packets_spurious : 0;

    json_open(j, NULL, '{');
    json_number(j, "id", v->id);
    json_text(j, "state", path_state(v));
    json_text(j, "interface",
              v->route.ifindex && if_indextoname(v->route.ifindex, name) ? name : p->interface);
    if (v->route.local.family)
        json_text(j, "local", quic_addr_text(&v->route.local, text));
    json_text(j, "remote", quic_addr_text(&v->route.remote, text));
    json_number(j, "tx_bps", e->tx_bps);
    json_number(j, "rx_bps", e->rx_bps);
    json_number(j, "share_pct", total ? (e->tx_bps + e->rx_bps) * 100 / total : 0);
    json_number(j, "pacing_bps", v->pacing_bps);
    if (v->cap_bps)
        json_number(j, "cap_bps", v->cap_bps);
    if (v->has_rtt) {
        json_ms(j, "rtt_ms", v->srtt);
        json_ms(j, "rtt_min_ms", v->min_rtt);
        json_ms(j, "jitter_ms", v->rttvar);
    }
    json_number(j, "loss_ppm", v->packets_sent ? lost * PPM / v->packets_sent : 0);
    json_number(j, "cwnd_bytes", v->cwnd_bytes);
    json_number(j, "in_flight_bytes", v->in_flight_bytes);
    json_number(j, "mtu_bytes", v->mtu_bytes);
    json_bool(j, "ecn", v->ecn);
    json_ms(j, "silent_ms", now > v->last_received ? now - v->last_received : 0);
    json_number(j, "tx_packets", v->packets_sent);
    json_number(j, "rx_packets", v->packets_received);
    json_number(j, "lost_packets", lost);
    json_number(j, "ce_packets", v->packets_ce);
    json_number(j, "tx_bytes", v->bytes_sent);
    json_number(j, "rx_bytes", v->bytes_received);
    json_close(j, '}');
}

/* Numbered flows: what was sent again, and what waits for its turn. */
static void numbered(struct json *j, const struct numbered *n)
{
    const struct repair_stats *out = &n->repair.stats;
    const struct reseq_stats *in = &n->reseq.stats;

    json_open(j, "numbered", '{');
    json_number(j, "tx_packets", n->stats.heads);
    json_number(j, "tx_lost", out->lost);
    json_number(j, "tx_repairs", out->resent);
    json_number(j, "tx_spurious", out->spurious);
    json_number(j, "tx_given_up", out->given_deadline + out->given_memory);
    json_number(j, "tx_parities", n->parity_out.sent);
    json_number(j, "rx_packets", in->passed + in->held + in->late);
    json_number(j, "rx_waited", in->held);
    json_number(j, "rx_waiting", n->reseq.held);
    json_ms(j, "wait_ms", in->held ? in->waited / in->held : 0);
    json_ms(j, "longest_wait_ms", in->longest);
    json_ms(j, "hold_ms", n->reseq.hold);
    json_number(j, "rx_late", in->late);
    json_number(j, "rx_duplicates", in->duplicates);
    json_number(j, "rx_recovered", n->parity_in.recovered);
    json_number(j, "rx_given_up", in->given_floor + in->given_time + in->given_memory);
    json_close(j, '}');
}

/* The queue in front of the paths; its delay by what the paths carry together. */
static void queue(struct json *j, const struct session *s, uint64_t pacing_bps, ns_t now)
{
    const struct queue *q = &s->sender.queue;
    struct queue_flows f;

    queue_flows(q, now, &f);
    json_open(j, "flows", '{');
    json_number(j, "prompt", f.prompt);
    json_number(j, "bulk", f.bulk);
    json_number(j, "steady", f.steady);
    json_number(j, "numbered", f.numbered);
    json_close(j, '}');
    json_open(j, "queue", '{');
    json_number(j, "packets", q->count);
    json_number(j, "bytes", q->bytes);
    json_ms(j, "delay_ms",
            pacing_bps ? (ns_t)((unsigned __int128)q->bytes * 8 * NS_PER_S / pacing_bps) : 0);
    json_ms(j, "prompt_ms", f.waited[SCHED_PROMPT]);
    json_ms(j, "bulk_ms", f.waited[SCHED_BULK]);
    json_number(j, "marked", q->stats.marked);
    json_number(j, "dropped_codel", q->stats.dropped_codel);
    json_number(j, "dropped_full", q->stats.dropped_full);
    json_number(j, "dropped_old", q->stats.dropped_old);
    json_number(j, "dropped_too_big", s->sender.stats.too_big);
    json_close(j, '}');
}

static void inner(struct json *j, const struct session *s, unsigned version, const char *key)
{
    const struct ip_assign *a = quic_is_server(s->quic) ? s->cip.theirs : s->cip.ours;
    size_t n = quic_is_server(s->quic) ? s->cip.ntheirs : s->cip.nours;
    char text[IP_ADDR_TEXT];

    for (size_t i = 0; i < n; i++) {
        if (a[i].prefix.addr.version == version) {
            json_text(j, key, ip_addr_format(&a[i].prefix.addr, text, sizeof(text)));
            return;
        }
    }
}

void status_peer(struct json *j, struct status_rates *r, const struct status_peer *p, ns_t now)
{
    const struct session *s = p->session;
    uint64_t total = total_of(s, r, p->number, now), pacing = 0;
    struct quic_path_view v;
    struct quic_stats q;

    quic_stats(s->quic, &q);
    json_open(j, NULL, '{');
    json_text(j, "name", p->name);
    json_text(j, "state", s->open ? "up" : "connecting");
    if (p->since)
        json_ms(j, "uptime_ms", now - p->since);
    if (s->open) {
        inner(j, s, 4, "ipv4");
        inner(j, s, 6, "ipv6");
        json_number(j, "mtu_bytes", session_mtu(s));
    }
    json_number(j, "memory_bytes", q.memory_bytes);
    json_open(j, "total", '{');
    json_number(j, "tx_packets", s->open ? s->cip.stats.out[CIP_OK] : 0);
    json_number(j, "rx_packets", s->open ? s->cip.stats.in[CIP_OK] : 0);
    json_number(j, "tx_bytes", s->open ? s->cip.stats.out_bytes : 0);
    json_number(j, "rx_bytes", s->open ? s->cip.stats.in_bytes : 0);
    json_close(j, '}');
    json_open(j, "paths", '[');
    for (size_t i = 0; i < quic_path_count(s->quic); i++) {
        if (quic_path_view(s->quic, i, now, &v))
            continue;
        struct status_rate e = rate_update(r, p->number, &v, now);
        path(j, p, &v, &e, total, now);
        pacing += v.usable ? v.pacing_bps : 0;
    }
    json_close(j, ']');
    queue(j, s, pacing, now);
    if (s->numbered)
        numbered(j, s->numbered);
    json_close(j, '}');
}
