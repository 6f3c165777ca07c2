#include "quic/initial.h"

#include <string.h>

#include "quic/aead.h"
#include "quic/errors.h"
#include "quic/frame.h"

#define SCID_MIN 8

bool initial_opens(const uint8_t *p, const struct packet_head *h,
                   uint8_t scratch[INITIAL_SCRATCH])
{
    struct aead client = {0}, server = {0};
    struct quic_cid dcid = cid_of(h->dcid);
    bool ok = false;
    size_t pnl;
    uint64_t truncated;
    if (h->length > INITIAL_SCRATCH || aead_initial(&client, &server, &dcid, true) != 0)
        return false;
    memcpy(scratch, p, h->length);
    if (aead_unprotect_head(&client, scratch, h->length, h->pn_offset, &pnl, &truncated) == 0) {
        size_t head = h->pn_offset + pnl;
        ok = aead_open(&client, 0, pn_decode(truncated, pnl, QUIC_PN_NONE),
                       span_of(scratch, head), scratch + head, h->length - head) == 0;
    }
    aead_free(&client);
    aead_free(&server);
    return ok;
}

size_t initial_retry(uint8_t out[INITIAL_ANSWER], const struct token_key *key,
                     const struct rng *rng, size_t cid_len, const struct packet_head *h,
                     const struct quic_addr *addr, ns_t now)
{
    uint8_t token[TOKEN_RETRY_SIZE], noise;
    struct quic_cid client = cid_of(h->scid);
    struct token_retry ids = {.original_dcid = cid_of(h->dcid)};
    ids.scid.len = (uint8_t)(cid_len < SCID_MIN ? SCID_MIN : cid_len);
    rng_fill(rng, ids.scid.b, ids.scid.len);
    rng_fill(rng, &noise, 1);
    struct wire_w w = wire_w_of(out, INITIAL_ANSWER);
    if (token_seal_retry(key, rng, addr, now, &ids, token) != 0 ||
        packet_retry(&w, &client, &ids.scid, &ids.original_dcid, span_of(token, sizeof(token)),
                     noise) != 0)
        return 0;
    return (size_t)(w.p - out);
}

size_t initial_refuse(uint8_t out[INITIAL_ANSWER], const struct packet_head *h, uint64_t code)
{
    struct aead client = {0}, server = {0};
    struct quic_cid to = cid_of(h->scid), from = cid_of(h->dcid);
    struct frame f = {.type = FRAME_CONNECTION_CLOSE};
    const char *name = quic_error_name(code);
    if (aead_initial(&client, &server, &from, true) != 0)
        return 0;
    f.close.code = code;
    f.close.reason = span_of(name, strlen(name));
    struct wire_w w = wire_w_of(out, INITIAL_ANSWER - QUIC_TAG);
    uint8_t *length =
        packet_long_head(&w, PACKET_INITIAL, QUIC_V1, &to, &from, (struct span){0}, 1);
    uint8_t *pn = w.p, *payload = pn + 1;
    pn_write(&w, 0, 1);
    frame_encode(&w, NULL, &f);
    size_t n = (size_t)(w.p - payload), size = 0;
    if (!w.failed) {
        packet_long_length(length, 1 + n + QUIC_TAG);
        if (aead_seal(&server, 0, 0, span_of(out, (size_t)(payload - out)), payload, n,
                      payload) == 0 &&
            aead_protect_head(&server, out, (size_t)(pn - out), 1) == 0)
            size = (size_t)(payload - out) + n + QUIC_TAG;
    }
    aead_free(&client);
    aead_free(&server);
    return size;
}
