/*
 * The sending half of a bond, simulated without QUIC: queue, lanes and a scheduler over links of
 * a rate, delay, jitter and loss, which each have an ideal sender: it paces at the link's rate.
 *
 * Far end: numbered packets are put in order by a resequencer that never gives up, lost ones
 * come again after a round trip and a quarter at the cost of the link's time; others arrive as
 * they do, or don't. Inner flows: one like TCP with CUBIC (RFC 9438, with the exit from slow
 * start by delay of RFC 9406), and VoIP. As a flow's packets are released in order, their fate
 * is known when they leave, and acknowledgements come in the order of sending.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sched/queue.h"
#include "test/rnd.h"

#define MS     NS_PER_MS
#define TICK   (100 * NS_PER_US)
#define BYTES  1400
#define BEHIND (2 * MS) /* from the far end to the inner receiver */
#define WINDOW 3000     /* packets: the inner socket's buffer of 4 MB */
#define RING   16384    /* packets under way, more than WINDOW and what the queue holds */
#define LINKS  4

struct link {
    double mbps;
    unsigned delay_ms, jitter_ms;
    uint32_t loss_ppm;
    /* ---- */
    ns_t free_at;
    uint64_t bytes;
};

#define LINK(rate, late, stray, loss)                                                          \
    {                                                                                          \
        .mbps = rate, .delay_ms = late, .jitter_ms = stray, .loss_ppm = loss                   \
    }

struct tcp {
    double cwnd, w_max, w_est, k;
    ns_t epoch, min_rtt;
    uint64_t sent, acked, recover; /* packets, by number */
    bool slow;
    struct {
        ns_t at, sent;
        bool lost, known;
    } ring[RING];
    ns_t released;
    uint64_t lost;
};

struct world {
    struct link link[LINKS];
    size_t links;
    const struct sched *sched;
    struct sched_state *state;
    struct queue queue;
    struct tcp tcp;
    bool voip;
    ns_t voip_worst;
    uint64_t voip_n, seed;
    struct node {
        struct queue_pkt pkt; /* first */
        uint64_t number;
        ns_t born;
        bool voip;
        struct node *next;
    } node[RING];
    struct node *spare;
};

static void push(struct world *w, uint32_t flow, uint32_t bytes, uint64_t number, ns_t now)
{
    struct node *n = w->spare;

    assert_non_null(n);
    w->spare = n->next;
    n->number = number;
    n->born = now;
    n->voip = flow == 2;
    n->pkt = (struct queue_pkt){
        .flow = flow, .bytes = bytes, .unit = bytes, .held = 2048, .elastic = flow != 2};
    queue_push(&w->queue, &n->pkt, now);
}

static void put(struct world *w, struct queue_pkt *pkt)
{
    struct node *n = (struct node *)(void *)pkt;

    n->next = w->spare;
    w->spare = n;
}

/* ---- the inner flow -------------------------------------------------------------------- */

static void tcp_fate(struct world *w, uint64_t number, bool lost, ns_t at)
{
    struct tcp *t = &w->tcp;

    t->ring[number % RING].at = at;
    t->ring[number % RING].lost = lost;
    t->ring[number % RING].known = true;
}

/* From here the window grows by CUBIC, with its plateau at `w_max`. */
static void tcp_epoch(struct tcp *t, double w_max, ns_t now)
{
    t->slow = false;
    t->w_max = w_max;
    t->w_est = t->cwnd;
    t->k = cbrt((w_max - t->cwnd) / 0.4);
    t->epoch = now;
}

static void tcp_grow(struct tcp *t, ns_t rtt, ns_t now)
{
    double s, target;

    t->min_rtt = ns_min(t->min_rtt, rtt);
    if (t->slow && rtt > t->min_rtt + ns_max(4 * MS, ns_min(t->min_rtt / 8, 16 * MS)))
        tcp_epoch(t, t->cwnd, now);
    if (t->slow) {
        t->cwnd += 1;
        return;
    }
    s = (double)(now - t->epoch + rtt) / 1e9 - t->k;
    target = 0.4 * s * s * s + t->w_max;
    t->w_est += 0.53 / t->cwnd;
    target = target < t->w_est ? t->w_est : target;
    if (target > 1.5 * t->cwnd)
        target = 1.5 * t->cwnd;
    t->cwnd += target > t->cwnd ? (target - t->cwnd) / t->cwnd : 0.01 / t->cwnd;
}

static void tcp_run(struct world *w, ns_t now)
{
    struct tcp *t = &w->tcp;

    for (; t->acked < t->sent; t->acked++) {
        uint64_t i = t->acked % RING;
        double w_max;

        if (!t->ring[i].known || t->ring[i].at > now)
            break;
        if (!t->ring[i].lost) {
            tcp_grow(t, now - t->ring[i].sent, now);
            continue;
        }
        t->lost++;
        if (t->acked < t->recover)
            continue;
        t->recover = t->sent;
        w_max = t->cwnd;
        t->cwnd = w_max * 0.7 > 2 ? w_max * 0.7 : 2;
        tcp_epoch(t, w_max > t->cwnd ? w_max : t->cwnd, now);
    }
    while (t->sent - t->acked < (t->cwnd < WINDOW ? (uint64_t)t->cwnd : WINDOW)) {
        t->ring[t->sent % RING].sent = now;
        t->ring[t->sent % RING].known = false;
        push(w, 1, BYTES, t->sent++, now);
    }
}

/* ---- links ----------------------------------------------------------------------------- */

static ns_t least_delay(const struct world *w)
{
    ns_t d = NS_NEVER;

    for (size_t i = 0; i < w->links; i++)
        d = ns_min(d, w->link[i].delay_ms * MS);
    return d;
}

static void views(const struct world *w, struct sched_path *v)
{
    for (size_t i = 0; i < w->links; i++) {
        const struct link *l = &w->link[i];
        ns_t rtt = 2 * l->delay_ms * MS + MS;
        size_t cwnd = (size_t)(l->mbps * 1e6 / 8 * (double)rtt / 1e9) * 2 + 65536;

        v[i] = (struct sched_path){.path = (uint32_t)i,
                                   .usable = true,
                                   .srtt = rtt,
                                   .min_rtt = rtt,
                                   .rate_bps = (uint64_t)(l->mbps * 1e6),
                                   .cwnd_bytes = cwnd,
                                   .room_bytes = cwnd,
                                   .earliest = l->free_at,
                                   .mtu_bytes = BYTES,
                                   .loss_ppm = l->loss_ppm,
                                   .delay = l->delay_ms * MS - least_delay(w),
                                   .delay_known = true,
                                   .jitter = l->jitter_ms * MS};
    }
}

/* One packet leaves: when it arrives; NS_NEVER if it is lost and nobody repairs it. */
static ns_t transmit(struct world *w, struct link *l, uint32_t bytes, bool repaired, ns_t now)
{
    ns_t take = (ns_t)(bytes * 8e3 / l->mbps), at;

    l->free_at = ns_max(l->free_at, now > TICK ? now - TICK : 0) + take;
    l->bytes += bytes;
    at = l->free_at + l->delay_ms * MS;
    if (l->jitter_ms)
        at += rnd(&w->seed) % (l->jitter_ms * MS);
    while (rnd(&w->seed) % 1000000 < l->loss_ppm) {
        if (!repaired)
            return NS_NEVER;
        l->free_at += take;
        at += l->delay_ms * MS * 5 / 2;
    }
    return at;
}

static void dropped(struct world *w, ns_t now)
{
    struct queue_pkt *pkt;

    while ((pkt = queue_dropped(&w->queue))) {
        struct node *n = (struct node *)(void *)pkt;

        if (!n->voip)
            tcp_fate(w, n->number, true,
                     ns_max(w->tcp.released, now) + BEHIND + least_delay(w));
        put(w, pkt);
    }
}

static bool pull(struct world *w, ns_t now)
{
    struct sched_head h[SCHED_HEADS];
    struct sched_path v[LINKS];
    struct sched_decision d;
    struct queue_pkt *pkt, *next;
    size_t n = queue_heads(&w->queue, now, h, SCHED_HEADS), at = 0, bytes = 0;

    views(w, v);
    if (n == 0 || sched_next(w->sched, w->state, v, w->links, h, n, now, &d))
        return false;
    while (h[at].flow != d.flow)
        at++;
    for (pkt = queue_first(&w->queue, d.flow, now); pkt; pkt = next) {
        struct node *node = (struct node *)(void *)pkt;
        ns_t arrival;

        next = queue_follow(pkt);
        if (bytes > 0 && bytes + pkt->bytes > d.bytes)
            break;
        bytes += pkt->bytes;
        arrival = transmit(w, &w->link[d.path], pkt->bytes, d.numbered, now);
        if (node->voip) {
            w->voip_n++;
            if (arrival != NS_NEVER)
                w->voip_worst = ns_max(w->voip_worst, arrival - node->born);
        } else {
            ns_t back = BEHIND + least_delay(w);

            if (arrival != NS_NEVER)
                w->tcp.released = ns_max(w->tcp.released, arrival);
            tcp_fate(w, node->number, arrival == NS_NEVER, w->tcp.released + back);
        }
        queue_took(&w->queue, pkt, pkt->bytes, now);
        put(w, pkt);
    }
    if (d.numbered)
        queue_numbered(&w->queue, d.flow);
    sched_sent(w->sched, w->state, v, w->links, &h[at], &d, bytes, now);
    return true;
}

/*
 * Play for `seconds`. Returns what the TCP flow got, in Mbit/s, the first fifth left out.
 */
static double play(struct world *w, const struct link *links, size_t n, const char *sched,
                   double seconds, bool voip)
{
    ns_t end = (ns_t)(seconds * 1e9), begin = end / 5;
    uint64_t before = 0, lost = 0;

    memset(w, 0, sizeof(*w));
    memcpy(w->link, links, n * sizeof(*links));
    w->links = n;
    w->sched = sched_find(sched);
    w->state = sched_state_new();
    w->seed = 1;
    queue_init(&w->queue, 16 << 20, NS_PER_S);
    w->queue.may_number = true;
    for (size_t i = 0; i < n; i++)
        w->queue.lossy |= links[i].loss_ppm > 200;
    for (size_t i = 0; i < RING; i++)
        put(w, &w->node[i].pkt);
    w->tcp.cwnd = 10;
    w->tcp.slow = true;
    w->tcp.min_rtt = NS_NEVER;
    for (ns_t now = TICK; now < end; now += TICK) {
        if (now == begin) {
            before = w->tcp.acked;
            lost = w->tcp.lost;
            w->voip_worst = 0;
        }
        tcp_run(w, now);
        if (voip && now % (20 * MS) == 0)
            push(w, 2, 160, 0, now);
        while (pull(w, now))
            ;
        dropped(w, now);
    }
    assert_true(queue_check(&w->queue));
    queue_clear(&w->queue);
    while (queue_dropped(&w->queue))
        ;
    queue_free(&w->queue);
    sched_state_del(w->state);
    return (double)(w->tcp.acked - before - (w->tcp.lost - lost)) * BYTES * 8e3 /
           (double)(end - begin);
}

static struct world *world(void)
{
    static struct world w;

    return &w;
}

struct bond {
    struct link link[LINKS];
    size_t n;
};

static void alone(const struct bond *b, double *best, double *sum, double seconds)
{
    *best = *sum = 0;
    for (size_t i = 0; i < b->n; i++) {
        double got = play(world(), &b->link[i], 1, "auto", seconds, false);

        *best = got > *best ? got : *best;
        *sum += got;
    }
}

/* ---- what must hold -------------------------------------------------------------------- */

static const struct bond lab[] = {
    {{LINK(300, 10, 0, 0), LINK(80, 30, 0, 0)}, 2},
    {{LINK(50, 20, 0, 0), LINK(50, 20, 0, 0)}, 2},
    {{LINK(50, 20, 0, 5000), LINK(50, 20, 0, 5000)}, 2},
    {{LINK(50, 20, 5, 0), LINK(50, 20, 5, 0)}, 2},
    {{LINK(50, 20, 0, 0), LINK(50, 40, 0, 0)}, 2},
    {{LINK(50, 20, 0, 0), LINK(12, 20, 0, 0)}, 2},
    {{LINK(40, 30, 5, 5000), LINK(25, 45, 8, 5000)}, 2},
    {{LINK(100, 25, 0, 0), LINK(100, 25, 0, 0)}, 2},
};

/* What loss leaves of a flow that waits for repairs by a model without a deadline. */
static double share(const struct bond *b)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->link[i].loss_ppm > 0)
            return 0.85;
    return 0.92;
}

/*
 * One CUBIC flow gets at least 92 % of what the links carry alone, together; and VoIP beside it is
 * never later than the fastest link's delay, jitter, and a burst on it.
 */
static void aggregation(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lab); i++) {
        const struct link *l = lab[i].link;
        double best, sum, got, late;

        alone(&lab[i], &best, &sum, 40);
        got = play(world(), l, lab[i].n, "auto", 40, true);
        late = (double)(world()->voip_worst - least_delay(world())) / 1e6;
        print_message("%3.0f/%u + %3.0f/%u: %.1f of %.1f (%.0f %%), best %.1f, VoIP +%.1f ms\n",
                      l[0].mbps, l[0].delay_ms, l[1].mbps, l[1].delay_ms, got, sum,
                      100 * got / sum, best, late);
        assert_true(got >= share(&lab[i]) * sum);
        assert_true(late <= 4 + (l[0].jitter_ms > l[1].jitter_ms ? l[0] : l[1]).jitter_ms);
    }
}

/* Never below the best link but for what trials cost: a grid of rates, delays and losses. */
static void never_below_the_best(void **state)
{
    static const struct link other[] = {
        LINK(2, 5, 0, 0),     LINK(2, 80, 0, 0),   LINK(20, 15, 0, 0),
        LINK(20, 120, 0, 0),  LINK(20, 30, 8, 0),  LINK(20, 30, 0, 10000),
        LINK(5, 60, 8, 5000), LINK(60, 250, 0, 0), LINK(60, 40, 0, 1000),
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(other); i++) {
        struct bond b = {{LINK(50, 15, 0, 0), other[i]}, 2};
        double best, sum, got;

        alone(&b, &best, &sum, 40);
        got = play(world(), b.link, b.n, "auto", 40, false);
        print_message("50/15 + %2.0f/%u, jitter %u, loss %.1f %%: %.1f of %.1f, best %.1f\n",
                      other[i].mbps, other[i].delay_ms, other[i].jitter_ms,
                      other[i].loss_ppm / 1e4, got, sum, best);
        assert_true(got >= 0.95 * best);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aggregation),
        cmocka_unit_test(never_below_the_best),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
