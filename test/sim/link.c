#include "test/sim/link.h"

#include <stdlib.h>

static struct sim_link *link_of(struct sim_node *node)
{
    return (struct sim_link *)node;
}

static ns_t link_next(struct sim_node *node)
{
    struct sim_packet *first = link_of(node)->head;
    return first ? first->at : NS_NEVER;
}

static void link_run(struct sim_node *node, ns_t now)
{
    struct sim_link *l = link_of(node);
    while (l->head && l->head->at <= now) {
        struct sim_packet *packet = l->head;
        l->head = packet->next;
        if (!l->head)
            l->tail = &l->head;
        sim_pass(node, packet);
    }
}

static void link_free(struct sim_node *node)
{
    struct sim_link *l = link_of(node);
    while (l->head) {
        struct sim_packet *packet = l->head;
        l->head = packet->next;
        free(packet);
    }
}

/* Whether the token bucket lets `n` bytes pass. */
static bool police(struct sim_link *l, size_t n, ns_t now)
{
    double burst = (double)l->police_burst;
    if (!l->police_bps)
        return true;
    l->police_tokens +=
        (double)ns_sub(now, l->police_at) * (double)l->police_bps / 8 / (double)NS_PER_S;
    l->police_at = now;
    if (l->police_tokens > burst)
        l->police_tokens = burst;
    if (l->police_tokens < (double)n)
        return false;
    l->police_tokens -= (double)n;
    return true;
}

/* When a packet that leaves the rate limiter at `left` arrives. */
static ns_t arrival(struct sim_link *l, ns_t left)
{
    ns_t at = left + l->delay;
    if (l->jitter)
        at = ns_sub(at + sim_rng_below(&l->node.sim->rng, 2 * l->jitter + 1), l->jitter);
    if (l->slot)
        at = (at + l->slot - 1) / l->slot * l->slot;
    return l->last_at = ns_max(at, l->last_at);
}

static void link_deliver(struct sim_node *node, struct sim_packet *packet)
{
    struct sim_link *l = link_of(node);
    ns_t now = node->sim->now, start = ns_max(now, l->free_at);
    uint64_t waiting =
        (uint64_t)((double)(start - now) * (double)l->bps / 8 / (double)NS_PER_S);
    if (!police(l, packet->n, now)) {
        l->policed++;
        sim_drop(node, packet);
        return;
    }
    if (waiting + packet->n > l->queue) {
        l->overflowed++;
        sim_drop(node, packet);
        return;
    }
    if (start >= l->pause && start < l->until)
        start = l->until;
    l->free_at = start + packet->n * 8 * NS_PER_S / l->bps;
    l->queued_ns += (double)(start - now);
    l->packets++;
    if (sim_rng_chance(&node->sim->rng, l->loss_ppm)) {
        l->lost++;
        sim_drop(node, packet);
        return;
    }
    if (l->mark && waiting > l->mark && (packet->ecn == 1 || packet->ecn == 2)) {
        packet->ecn = 3;
        l->marked++;
    }
    packet->at = arrival(l, l->free_at);
    packet->next = NULL;
    *l->tail = packet;
    l->tail = &packet->next;
}

struct sim_link *sim_link(struct sim *sim, uint64_t bps, uint64_t queue, ns_t delay)
{
    struct sim_link *l = calloc(1, sizeof(*l));
    if (!l)
        abort();
    l->node.deliver = link_deliver;
    l->node.next = link_next;
    l->node.run = link_run;
    l->node.free = link_free;
    l->bps = bps;
    l->queue = queue;
    l->delay = delay;
    l->tail = &l->head;
    sim_add(sim, &l->node);
    return l;
}

double sim_link_queueing(struct sim_link *link)
{
    double mean = link->packets ? link->queued_ns / (double)link->packets : 0;
    link->queued_ns = 0;
    link->packets = 0;
    return mean;
}
