/*
 * Handshake data repeated before its probe timeout (RFC 9002 6.2.3).
 *
 * Two kinds of packets show that something of the handshake got lost:
 *
 *     the peer repeats itself, or sends a bare PING, in Initial or Handshake: it misses an
 *     answer, so whatever we have in flight there goes out again;
 *     a packet comes that needs keys we don't have yet: the flight before it did not arrive,
 *     so we say something that makes the peer repeat it.
 *
 * Without this a lost flight waits for a timeout of a second, or of several once that has
 * doubled, since there is no estimate of the round-trip time yet.
 *
 * Packets of a forger or a copying network can't make a stream of it: CONN_EARLY_MAX times per
 * connection, not twice within CONN_EARLY_GAP (a peer's probes come in pairs), and within the
 * amplification limit like everything else.
 */
#include "quic/conn.h"

#define CONN_EARLY_MAX 8
#define CONN_EARLY_GAP (5 * NS_PER_MS)

static bool may(struct quic_conn *c)
{
    return !c->confirmed && conn_alive(c) && c->early < CONN_EARLY_MAX && c->now >= c->early_at;
}

static void count(struct quic_conn *c)
{
    c->early++;
    c->early_at = ns_add(c->now, CONN_EARLY_GAP);
    conn_probe(c, &c->path[0]);
}

void conn_early_repeat(struct quic_conn *c)
{
    if (may(c) && recovery_probe_early(&c->path[0].recovery, ns_sub(c->now, CONN_EARLY_GAP)))
        count(c);
}

void conn_early_missing(struct quic_conn *c, enum quic_level level)
{
    enum quic_space space = level == LEVEL_APP && aead_ready(&c->keys.tx[LEVEL_HANDSHAKE])
                                ? SPACE_HANDSHAKE
                                : SPACE_INITIAL;
    struct recovery *r = &c->path[0].recovery;
    if (!may(c) ||
        !aead_ready(&c->keys.tx[space == SPACE_INITIAL ? LEVEL_INITIAL : LEVEL_HANDSHAKE]) ||
        recovery_probes(r, space) ||
        r->space[space].last_eliciting > ns_sub(c->now, CONN_EARLY_GAP))
        return;
    recovery_ask_probe(r, space);
    count(c);
}
