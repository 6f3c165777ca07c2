#include "app/device.h"

#include <stdlib.h>
#include <string.h>

#define HEADROOM   RING_HEADROOM
#define TRIM_EVERY NS_PER_S

/*
 * Bytes that a packet of each class can store; those that stay in a buffer of the loop store
 * none.
 */
static const size_t class_room[DEVICE_CLASSES] = {0, 2048, 4096, 8192, 16384, 32768, 65536};

/* Up to this size a packet is copied, and does not keep a large buffer from being read into. */
#define COPIED_MAX 16384

int device_open(struct device *d, struct ring *ring, const struct tun *tun, void *user)
{
    memset(d, 0, sizeof(*d));
    d->ring = ring;
    d->vnet = tun->vnet;
    vnet_merge_init(&d->merge, tun->offload >= TUN_OFFLOAD_USO);
    return ring_tun_add(ring, tun->fd, tun->vnet ? VNET_READ_MAX : 65535, user, &d->tun);
}

void device_close(struct device *d)
{
    for (size_t i = 0; i < DEVICE_CLASSES; i++) {
        struct packet *p, *next;

        for (p = d->spare[i]; p; p = next) {
            next = (struct packet *)(void *)p->node.next;
            free(p);
        }
        d->spare[i] = NULL;
        d->spare_n[i] = 0;
    }
}

/* ---- out of the device ----------------------------------------------------------------- */

bool device_split(struct device *d, const struct ring_pkt *read, struct vnet_split *out)
{
    if (!d->vnet) {
        *out = (struct vnet_split){.p = read->p, .n = read->n, .count = 1, .size = read->n};
        return true;
    }
    if (vnet_split_init(out, read->p, read->n) == 0)
        return true;
    d->stats.malformed++;
    return false;
}

size_t device_split_batch(struct device *d, struct ring_pkt **reads, size_t *n,
                          struct vnet_split out[DEVICE_BATCH])
{
    size_t k = 0;

    for (; *n > 0 && k < DEVICE_BATCH; ++*reads, --*n)
        k += device_split(d, *reads, &out[k]);
    return k;
}

static struct packet *get(struct device *d, unsigned size_class)
{
    struct packet *p = d->spare[size_class];

    if (!p) {
        p = malloc(sizeof(*p) + (size_class ? HEADROOM : 0) + class_room[size_class]);
        if (p)
            p->size_class = (uint8_t)size_class;
        else
            d->stats.nomem++;
        return p;
    }
    d->spare[size_class] = (struct packet *)(void *)p->node.next;
    if (--d->spare_n[size_class] < d->spare_least[size_class])
        d->spare_least[size_class] = d->spare_n[size_class];
    return p;
}

void device_put(struct device *d, struct packet *p)
{
    if (p->held)
        ring_buf_release(d->ring, p->split.p);
    p->held = false;
    p->node.next = (struct queue_pkt *)(void *)d->spare[p->size_class];
    d->spare[p->size_class] = p;
    d->spare_n[p->size_class]++;
}

/* Whether a quarter of the buffers is left to read into. */
static bool plenty(const struct device *d)
{
    unsigned avail, total;

    ring_tun_room(d->tun, &avail, &total);
    return avail >= total / 4;
}

/* What the node says of the packets that are yet to leave. */
static void measure(struct packet *p, size_t held)
{
    const struct vnet_split *s = &p->split;
    size_t heads = s->count * (s->head_n + p->head_n);
    size_t payload = s->n - s->head_n;

    p->next = 0;
    p->node.bytes = (uint32_t)(heads + payload);
    p->node.unit = (uint32_t)(s->size + p->head_n);
    p->node.held = (uint32_t)(sizeof(*p) + held);
}

struct packet *device_keep(struct device *d, const struct vnet_split *split, struct span head)
{
    struct packet *p;
    unsigned size_class = 1;

    if (split->n > COPIED_MAX && plenty(d) && ring_buf_hold(d->ring, split->p)) {
        p = get(d, 0);
        if (!p) {
            ring_buf_release(d->ring, split->p);
            return NULL;
        }
        p->split = *split;
        p->held = true;
    } else {
        while (class_room[size_class] < split->n)
            size_class++;
        p = get(d, size_class);
        if (!p)
            return NULL;
        p->split = *split;
        p->split.p = p->store + HEADROOM;
        p->held = false;
        memcpy(p->split.p, split->p, split->n);
    }
    memcpy(p->head, head.p, head.n);
    p->head_n = (uint8_t)head.n;
    measure(p, p->held ? split->n : HEADROOM + class_room[size_class]);
    return p;
}

struct packet *device_own(struct device *d, struct span pkt, struct span head)
{
    struct vnet_split one = {
        .p = (uint8_t *)(uintptr_t)pkt.p, .n = pkt.n, .count = 1, .size = pkt.n};

    return device_keep(d, &one, head);
}

/* ---- into the device ------------------------------------------------------------------- */

void device_flush(struct device *d)
{
    struct iovec iov[1 + VNET_IOV];
    struct vnet_hdr hdr;
    size_t n;

    while ((n = vnet_merge_next(&d->merge, &hdr, iov)) > 0)
        if (ring_tun_write(d->tun, iov, n))
            d->stats.full++;
}

void device_write(struct device *d, uint8_t *pkt, size_t n)
{
    if (!d->vnet) {
        if (ring_tun_write_one(d->tun, pkt, n))
            d->stats.full++;
        return;
    }
    if (vnet_merge_add(&d->merge, pkt, n))
        return;
    device_flush(d);
    vnet_merge_add(&d->merge, pkt, n);
}

void device_write_own(struct device *d, struct span pkt)
{
    struct vnet_hdr none = {0};
    struct iovec iov[2] = {{&none, sizeof(none)}, {(void *)(uintptr_t)pkt.p, pkt.n}};

    if (ring_tun_write(d->tun, d->vnet ? iov : iov + 1, d->vnet ? 2 : 1))
        d->stats.full++;
}

/* ---- memory ---------------------------------------------------------------------------- */

/* Free what lay idle all the time since the last look. */
void device_trim(struct device *d, ns_t now)
{
    if (now < d->trim_at)
        return;
    d->trim_at = ns_add(now, TRIM_EVERY);
    for (size_t i = 0; i < DEVICE_CLASSES; i++) {
        for (; d->spare_least[i] > 0; d->spare_least[i]--) {
            struct packet *p = d->spare[i];

            d->spare[i] = (struct packet *)(void *)p->node.next;
            d->spare_n[i]--;
            free(p);
        }
        d->spare_least[i] = d->spare_n[i];
    }
}
