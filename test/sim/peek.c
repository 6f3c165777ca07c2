#include "test/sim/peek.h"

#include <string.h>

struct quic_cid peek_dcid(const struct sim_packet *packet)
{
    struct packet_head h;
    if (packet_parse_greased(packet->p, packet->n, 8, &h) != 0)
        return (struct quic_cid){.len = 0};
    return cid_of(h.dcid);
}

bool peek_frames(const struct quic_conn *to, const struct sim_packet *packet, unsigned *frames,
                 size_t n)
{
    static uint8_t buf[65536];
    struct packet_head h;
    struct aead key = to->keys.rx[LEVEL_APP]; /* borrowed contexts; counters of its own */
    memset(frames, 0, n * sizeof(*frames));
    memcpy(buf, packet->p, packet->n);
    if (packet_parse_greased(buf, packet->n, to->cfg.cid_len, &h) != 0 ||
        h.type != PACKET_1RTT || !aead_ready(&key))
        return false;
    size_t pnl;
    uint64_t truncated;
    if (aead_unprotect_head(&key, buf, h.length, h.pn_offset, &pnl, &truncated) != 0)
        return false;
    uint64_t pn = pn_decode(truncated, pnl, to->path[0].ack[SPACE_APP].largest);
    size_t head = h.pn_offset + pnl;
    if (aead_open(&key, 0, pn, span_of(buf, head), buf + head, h.length - head) != 0)
        return false;
    struct wire_r r = wire_r_of(buf + head, h.length - head - QUIC_TAG);
    while (wire_r_left(&r)) {
        struct frame f;
        const struct frame_row *row;
        if (frame_decode(&r, NULL, 0, LEVEL_APP, &f, &row) != 0)
            return false;
        if (row->first < n)
            frames[row->first]++;
    }
    return true;
}
