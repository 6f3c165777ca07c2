/*
 * Theory of operation
 *
 * Three generations of read keys exist at most: the previous one, for KEYS_KEEP_PTOS after the
 * change, the current one, and the next one, made ahead; and one of write keys. A packet whose
 * Key Phase bit differs from the current one belongs to the previous generation if its number
 * is below all that the current one opened on its path, else to the next. The first that opens
 * under the next one is the peer's update: the generations move up, and our write keys follow
 * at once, so that no acknowledgement of it leaves under older ones.
 *
 * We update by ourselves when half of what a key may seal is used, and only where the
 * handshake is confirmed, a packet of the current generation was acknowledged, and that is
 * KEYS_KEEP_PTOS ago (RFC 9001 6.1, 6.5). Where that never comes, the connection ends while
 * there are packets left to say so. Packets that don't open are counted in rx.c, over all
 * generations.
 *
 * Time as a side channel (RFC 9001 6.3, 9.5): both candidates are ready before a packet comes, so a
 * forged Key Phase bit costs one AEAD operation as any forgery does. Keys are derived only
 * after an authentic packet, once per update: who sees that delay learns that an update
 * happened, not its keys.
 */
#include "quic/conn.h"

#define KEYS_KEEP_PTOS 3 /* old read keys, and between two updates (RFC 9001 6.5) */
/* Update when this part of a key's packets is used; close when no update was possible. */
#define KEYS_UPDATE_AT(limit) ((limit) / 2)
#define KEYS_RESERVE          4096 /* packets left for closing */

int keys_prepare(struct quic_conn *c)
{
    struct conn_keys *k = &c->keys;
    aead_free(&k->rx_next);
    k->rx_next = (struct aead){0};
    return aead_next(&k->rx_next, &k->rx[LEVEL_APP]);
}

void keys_drop_old(struct quic_conn *c)
{
    aead_free(&c->keys.rx_prev);
    c->keys.rx_prev = (struct aead){0};
}

void keys_free(struct quic_conn *c)
{
    for (int l = 0; l < LEVEL_N; l++) {
        aead_free(&c->keys.rx[l]);
        aead_free(&c->keys.tx[l]);
    }
    aead_free(&c->keys.rx_next);
    keys_drop_old(c);
}

/* Go over to the next write key. */
static int next_tx(struct quic_conn *c)
{
    struct conn_keys *k = &c->keys;
    struct aead next;
    int r = aead_next(&next, &k->tx[LEVEL_APP]);
    if (r)
        return r;
    aead_free(&k->tx[LEVEL_APP]);
    k->tx[LEVEL_APP] = next;
    k->tx_phase = !k->tx_phase;
    k->phase_acked = false;
    for (size_t i = 0; i < c->n_paths; i++)
        if (c->path[i].phase != PATH_FREE)
            c->path[i].phase_first_sent = sent_next(&c->path[i].recovery.space[SPACE_APP].sent);
    c->stats.key_updates++;
    return 0;
}

/* A packet opened with the next read key: it is the current one from here on. */
static int follow(struct quic_conn *c, struct quic_path *p, uint64_t pn)
{
    struct conn_keys *k = &c->keys;
    /* Two updates in a row, without having seen our answer to the first (RFC 9001 6.2). */
    if (k->rx_phase == k->tx_phase && c->stats.key_updates && k->tx[LEVEL_APP].used == 0)
        return QUIC_KEY_UPDATE_ERROR;
    keys_drop_old(c);
    k->rx_prev = k->rx[LEVEL_APP];
    k->rx[LEVEL_APP] = k->rx_next;
    k->rx_next = (struct aead){0};
    k->rx_phase = !k->rx_phase;
    c->timer[CONN_TIMER_OLD_KEYS] = ns_add(c->now, KEYS_KEEP_PTOS * conn_pto(c));
    for (size_t i = 0; i < c->n_paths; i++)
        c->path[i].phase_first_got = QUIC_PN_NONE;
    p->phase_first_got = pn;
    int r = keys_prepare(c);
    if (r == 0 && k->rx_phase != k->tx_phase)
        r = next_tx(c);
    return r ? QUIC_INTERNAL_ERROR : 0;
}

int keys_open_app(struct quic_conn *c, struct quic_path *p, uint64_t pn, bool phase,
                  struct span head, uint8_t *payload, size_t n, bool *late)
{
    struct conn_keys *k = &c->keys;
    struct aead *key = &k->rx[LEVEL_APP];
    *late = false;
    if (phase != k->rx_phase) {
        *late = aead_ready(&k->rx_prev) && pn < p->phase_first_got;
        key = *late ? &k->rx_prev : &k->rx_next;
    }
    int r = aead_open(key, p->id, pn, head, payload, n);
    if (r)
        return r;
    if (key == &k->rx_next)
        return follow(c, p, pn);
    if (key == &k->rx[LEVEL_APP] && pn < p->phase_first_got)
        p->phase_first_got = pn;
    return 0;
}

int quic_key_update(struct quic_conn *c)
{
    struct conn_keys *k = &c->keys;
    if (!conn_alive(c) || !c->confirmed || k->rx_phase != k->tx_phase || !k->phase_acked ||
        c->now < k->not_before)
        return QUIC_BLOCKED;
    if (next_tx(c) != 0) {
        conn_fail(c, QUIC_INTERNAL_ERROR, 0, "no memory for keys");
        return QUIC_BLOCKED;
    }
    return 0;
}

void keys_acked(struct quic_conn *c, const struct quic_path *p, uint64_t pn)
{
    struct conn_keys *k = &c->keys;
    if (k->phase_acked || pn < p->phase_first_sent)
        return;
    k->phase_acked = true;
    if (c->stats.key_updates)
        k->not_before = ns_add(c->now, KEYS_KEEP_PTOS * conn_pto(c));
}

void keys_check_limits(struct quic_conn *c)
{
    const struct aead *tx = &c->keys.tx[LEVEL_APP];
    uint64_t limit = aead_seal_limit(tx->id);
    if (!aead_ready(tx) || tx->used < KEYS_UPDATE_AT(limit))
        return;
    if (quic_key_update(c) != 0 && tx->used >= limit - KEYS_RESERVE)
        conn_fail(c, QUIC_AEAD_LIMIT_REACHED, 0, "too many packets under one key");
}
