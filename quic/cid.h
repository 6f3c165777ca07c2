/*
 * cid - connection IDs of one path, both ways (RFC 9000 5.1, 19.15, 19.16).
 *
 * cid_local: the IDs that we issue and the peer puts into its packets. As many are kept
 * active as the peer wants, at most CID_LOCAL_MAX. Each is made by the caller's generator,
 * advertised by NEW_CONNECTION_ID until that was acknowledged, and lives until the peer
 * retires it. What the endpoint's routing table has to learn is pulled as events; a slot
 * is used again only after its removal was pulled, so events can't pile up.
 *
 *     slot: FREE -> NEW (to send) -> SENT -> ACKED        any -> GONE (removal to pull) -> FREE
 *                     ^---- lost ----'
 *
 * cid_remote: the IDs that the peer issued and we put into our packets. One is current; one
 * more may be reserved for a second route that is being validated; the others are unused. A
 * retired ID stays in the list of RETIRE_CONNECTION_ID frames until that was acknowledged.
 *
 * Limits: an ID not asked for, more active ones than we allow, or more than CID_RETIRE_MAX
 * retirements that the peer doesn't acknowledge end the connection: a peer can't make us hold
 * more than these arrays.
 *
 * No clock and no frames here: the caller builds the frames, and reports what became of them.
 */
#ifndef QUIC_CID_H
#define QUIC_CID_H

#include "quic/frame.h"

#define CID_LOCAL_MAX   8
#define CID_REMOTE_MAX  8
#define CID_RETIRE_MAX  24 /* RFC 9000 5.1.2 asks for at least twice our limit */
#define CID_SEQ_WINDOW  64 /* sequence numbers above the oldest outstanding one */
#define CID_RESET_TOKEN 16

/* Makes a connection ID that routes to us, and its stateless reset token. 0, or failure. */
typedef int cid_gen_fn(void *ctx, struct quic_cid *cid, uint8_t token[CID_RESET_TOKEN]);

enum cid_state { CID_FREE, CID_NEW, CID_SENT, CID_ACKED, CID_GONE };

struct cid_slot {
    enum cid_state state;
    bool announced; /* its ADDED event was pulled */
    uint64_t seq;
    struct quic_cid cid;
    uint8_t token[CID_RESET_TOKEN];
};

/* Whether the peer may use it, or may soon. */
static inline bool cid_slot_active(const struct cid_slot *s)
{
    return s->state == CID_NEW || s->state == CID_SENT || s->state == CID_ACKED;
}

struct cid_local {
    struct cid_slot slot[CID_LOCAL_MAX];
    uint64_t next_seq;  /* of the next new one */
    uint64_t sent_seqs; /* every seq below was sent to the peer */
    uint64_t limit;     /* to keep active: the peer's, capped */
    bool zero_length;   /* we use none: nothing is ever issued */
    uint8_t matched;    /* slot that cid_local_match found last: where it looks first */
    cid_gen_fn *gen;
    void *gen_ctx;
};

/* One ID to advertise: NEW_CONNECTION_ID with Retire Prior To 0. */
struct cid_issue {
    uint64_t seq;
    struct quic_cid cid;
    uint8_t token[CID_RESET_TOKEN];
};

struct cid_event {
    bool added; /* else removed */
    struct quic_cid cid;
};

/*
 * `first` is the Source Connection ID of the handshake, sequence number 0, known to the peer;
 * an empty one means that we use no connection IDs; NULL means that sequence number 0 is yet to
 * be issued (a path other than 0). Nothing more is issued until cid_local_set_limit.
 */
void cid_local_init(struct cid_local *l, const struct quic_cid *first, cid_gen_fn *gen,
                    void *gen_ctx);

/* The peer's active_connection_id_limit; what passes CID_LOCAL_MAX is not used. */
void cid_local_set_limit(struct cid_local *l, uint64_t limit);

/*
 * The next ID to advertise: a lost or unsent one, else a new one if the peer has fewer than
 * its limit. The same one is given until cid_local_on_sent. False if there is none, or if the
 * generator failed. A new one is an event: pull it before the peer can answer.
 */
bool cid_local_next(struct cid_local *l, struct cid_issue *out);

/* Whether cid_local_next would say true. Makes nothing. */
bool cid_local_pending(const struct cid_local *l);

/* The NEW_CONNECTION_ID frame with this sequence number was sent, acknowledged, lost. */
void cid_local_on_sent(struct cid_local *l, uint64_t seq);
void cid_local_on_acked(struct cid_local *l, uint64_t seq);
void cid_local_on_lost(struct cid_local *l, uint64_t seq);

/*
 * RETIRE_CONNECTION_ID for `seq`, in a packet with destination ID `arrived_on`.
 *
 * Returns 0 (also for one retired before), or QUIC_PROTOCOL_VIOLATION for a sequence number
 * that was never sent, for the ID of the packet itself, or if we use no connection IDs.
 */
int cid_local_retire(struct cid_local *l, uint64_t seq, const struct quic_cid *arrived_on);

/* All IDs are gone at once: removals to pull, nothing to issue any more. */
void cid_local_clear(struct cid_local *l);

/* The next change for a routing table; the first ID of the handshake is reported too. */
bool cid_local_event(struct cid_local *l, struct cid_event *out);

/* Whether `cid` is one of ours and active; its sequence number to *seq unless NULL. */
bool cid_local_find(const struct cid_local *l, const struct quic_cid *cid, uint64_t *seq);

/* cid_local_match for any other than the one found before. */
const struct quic_cid *cid_local_search(struct cid_local *l, struct span cid);

/*
 * The same by bytes, quick where it is the one that was found before. The ID is valid until it is
 * retired and its removal pulled; NULL if it is none of ours.
 */
static inline const struct quic_cid *cid_local_match(struct cid_local *l, struct span cid)
{
    const struct cid_slot *s = &l->slot[l->matched];

    return cid_slot_active(s) && cid_is(&s->cid, cid) ? &s->cid : cid_local_search(l, cid);
}

/* IDs that the peer may use. */
size_t cid_local_active(const struct cid_local *l);

/* What must hold always; for tests and fuzzing. */
bool cid_local_check(const struct cid_local *l);

enum cid_use { CID_NONE, CID_UNUSED, CID_RESERVED, CID_CURRENT };

struct cid_peer {
    enum cid_use use;
    bool has_token;
    uint64_t seq;
    struct quic_cid cid;
    uint8_t token[CID_RESET_TOKEN];
};

struct cid_retire {
    uint64_t seq;
    bool used; /* this element */
    bool sent; /* and not lost since */
};

struct cid_remote {
    struct cid_peer peer[CID_REMOTE_MAX];
    struct cid_retire retire[CID_RETIRE_MAX];
    uint64_t retire_prior_to; /* largest received */
    uint64_t seen_below;      /* every seq below was received or given up */
    uint64_t seen;            /* bit i: seen_below + i was received */
    bool zero_length;         /* the peer uses none */
    bool closed;              /* by cid_remote_clear: later frames are ignored */
};

/*
 * `first` is what we put into the first packets, sequence number 0; NULL where the first is
 * yet to come (a path other than 0).
 */
void cid_remote_init(struct cid_remote *r, const struct quic_cid *first);

/*
 * During the handshake: the peer's own choice takes the place of the first one (RFC 9000 7.2);
 * an empty one means that the peer uses no connection IDs.
 */
void cid_remote_set_first(struct cid_remote *r, const struct quic_cid *cid);

/* The stateless reset token of sequence number 0, from the transport parameters. */
void cid_remote_set_first_token(struct cid_remote *r, const uint8_t token[CID_RESET_TOKEN]);

/*
 * A NEW_CONNECTION_ID frame, where `limit` is the active_connection_id_limit that we sent (at
 * most CID_REMOTE_MAX). May change the current ID, if that one is to be retired.
 *
 * Returns 0 (also for a repeated frame);
 * QUIC_PROTOCOL_VIOLATION if the peer uses no connection IDs, gave one sequence number to two IDs
 * or tokens, gave one ID twice, or left the path without any ID;
 * QUIC_FRAME_ENCODING_ERROR for Retire Prior To above the sequence number or a bad length;
 * QUIC_CONNECTION_ID_LIMIT_ERROR for more active IDs than `limit`, more than CID_RETIRE_MAX
 * retirements outstanding, or a sequence number CID_SEQ_WINDOW past one that never came.
 */
int cid_remote_add(struct cid_remote *r, const struct frame_new_cid *f, uint64_t limit);

/* The ID to use, valid until the next call that changes `r`; NULL if there is none. */
const struct quic_cid *cid_remote_current(const struct cid_remote *r);

/* IDs that were never used. */
size_t cid_remote_unused(const struct cid_remote *r);

/*
 * Go over to an unused ID (one set aside by cid_remote_reserve is not taken) and retire the
 * current one, if any. Returns 0, or QUIC_BLOCKED where there is none.
 */
int cid_remote_rotate(struct cid_remote *r);

/*
 * Set an unused ID aside for a second route, and its sequence number to *seq. Returns 0, or
 * QUIC_BLOCKED where there is none. While the peer uses no connection IDs, both routes share
 * the empty one: *seq is 0.
 */
int cid_remote_reserve(struct cid_remote *r, uint64_t *seq);

/* The same with this unused ID, as that of a preferred address. 0 or QUIC_BLOCKED. */
int cid_remote_reserve_seq(struct cid_remote *r, uint64_t seq);

/* The active ID with this sequence number; NULL once it was retired (by us or by the peer). */
const struct quic_cid *cid_remote_get(const struct cid_remote *r, uint64_t seq);

/* Make a reserved ID the current one, and retire that. QUIC_BLOCKED if it is gone. */
int cid_remote_adopt(struct cid_remote *r, uint64_t seq);

/*
 * Retire a reserved ID that is not needed any more; nothing happens if it is gone. With
 * CID_RETIRE_MAX retirements outstanding it is put back among the unused ones.
 */
void cid_remote_release(struct cid_remote *r, uint64_t seq);

/* The next RETIRE_CONNECTION_ID to send; the same until cid_remote_on_sent. */
bool cid_remote_next_retire(const struct cid_remote *r, uint64_t *seq);

/* The RETIRE_CONNECTION_ID frame with this sequence number was sent, acknowledged, lost. */
void cid_remote_on_sent(struct cid_remote *r, uint64_t seq);
void cid_remote_on_acked(struct cid_remote *r, uint64_t seq);
void cid_remote_on_lost(struct cid_remote *r, uint64_t seq);

/*
 * Whether `token` is that of an ID which we have used and not retired (RFC 9000 10.3.1). The
 * comparison takes the same time for any token.
 */
bool cid_remote_is_reset_token(const struct cid_remote *r,
                               const uint8_t token[CID_RESET_TOKEN]);

/* All IDs are gone, without RETIRE frames; frames that still come are ignored. */
void cid_remote_clear(struct cid_remote *r);

/* What must hold always; for tests and fuzzing. */
bool cid_remote_check(const struct cid_remote *r);

#endif
