#include "test/sim/evil.h"

#include <stdlib.h>
#include <string.h>

size_t evil_packet(struct quic_conn *as, const struct evil *e, struct span frames, uint8_t *out,
                   size_t cap)
{
    struct quic_path *p = &as->path[e->path];
    enum quic_space space = space_of(e->level);
    struct aead *key = e->key ? e->key : &as->keys.tx[e->level];
    const struct quic_cid *dcid = e->dcid ? e->dcid : path_dcid(p, path_current(p));
    uint64_t pn = recovery_next_pn(&p->recovery, space);
    size_t pnl = 4;
    if (e->seen && pn)
        pn--;
    struct wire_w w = wire_w_of(out, cap - QUIC_TAG);
    uint8_t *length_at = NULL;
    if (e->level == LEVEL_APP)
        packet_short_head(&w, dcid, false, as->keys.tx_phase ^ e->flip_phase, pnl);
    else
        length_at = packet_long_head(
            &w, e->level == LEVEL_INITIAL ? PACKET_INITIAL : PACKET_HANDSHAKE, QUIC_V1, dcid,
            &as->local.initial_scid, span_of(as->token, as->token_len), pnl);
    out[0] |= e->bits;
    out[0] &= (uint8_t)~e->clear;
    uint8_t *pn_at = w.p;
    pn_write(&w, pn, pnl);
    uint8_t *payload = w.p;
    wire_w_span(&w, frames);
    if (e->pad && (size_t)(w.p - out) + QUIC_TAG < QUIC_MIN_DATAGRAM)
        wire_w_zero(&w, QUIC_MIN_DATAGRAM - QUIC_TAG - (size_t)(w.p - out));
    size_t n = (size_t)(w.p - payload);
    if (length_at)
        packet_long_length(length_at, pnl + n + QUIC_TAG);
    if (w.failed ||
        aead_seal(key, p->id, pn, span_of(out, (size_t)(payload - out)), payload, n, payload) != 0)
        abort();
    if (aead_protect_head(key, out, (size_t)(pn_at - out), pnl) != 0)
        abort();
    if (!e->seen) {
        struct sent_packet proto = {.time = as->now,
                                    .bytes =
                                        (uint32_t)(payload - out + (ptrdiff_t)n + QUIC_TAG),
                                    .flags = SENT_ELICITING | SENT_IN_FLIGHT,
                                    .ack_largest = SENT_NO_ACK};
        if (sent_begin(&p->recovery.space[space].sent, pn) != 0)
            abort();
        recovery_on_sent(&p->recovery, space, &proto);
        if (e->deaf)
            recovery_restart_space(&p->recovery, space, as->now);
    }
    return (size_t)(payload - out) + n + QUIC_TAG;
}

int evil_send(struct quic_conn *as, struct quic_conn *victim, const struct evil *e,
              struct span frames, ns_t now)
{
    static uint8_t buf[65536];
    struct quic_rx rx = {.route = path_current(&victim->path[e->path])->route, .p = buf};
    rx.n = evil_packet(as, e, frames, buf, sizeof(buf));
    return quic_recv(victim, &rx, 1, now);
}
