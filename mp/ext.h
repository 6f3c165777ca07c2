/*
 * ext - the state of multipath in one connection, shared by the sources of mp/ only.
 *
 * path[i] belongs to c->path[i]: same index, same path ID. `due` says that there may be a frame
 * to send; whoever changes anything sets it, and the next look settles it.
 */
#ifndef MP_EXT_H
#define MP_EXT_H

#include "mp/mp.h"
#include "mp/paths.h"
#include "quic/conn.h"

/* Record kinds; rec.path is the path ID. */
enum {
    MP_REC_ABANDON = EXT_RECORD_FIRST,
    MP_REC_STATUS,  /* a: sequence number */
    MP_REC_NEW_CID, /* a: sequence number */
    MP_REC_RETIRE,  /* a: sequence number */
    MP_REC_MAX,     /* a: the limit */
    MP_REC_PATHS,   /* PATHS_BLOCKED, a: the limit */
    MP_REC_CIDS     /* PATH_CIDS_BLOCKED, a: next sequence number */
};

#define MP_UNTOLD UINT64_MAX

/* Why the peer is to spare a path: the user wishes it, or, for a time, it gives no news. */
enum mp_wish { MP_BACKUP, MP_SPARE, MP_WISHES };

struct mp_path {
    enum mp_state state;
    bool say, said;       /* PATH_ABANDON is to be sent; was acknowledged */
    bool status_due;      /* ours is to be sent */
    bool wish[MP_WISHES]; /* that the peer spares it */
    bool has_status;      /* we have ever said so */
    bool cids_due;        /* PATH_CIDS_BLOCKED is to be sent */
    uint64_t error;       /* of our PATH_ABANDON */
    uint64_t status_next; /* sequence number of our next status */
    uint64_t cids_told;   /* the peer was told that this one is lacking; MP_UNTOLD */
    struct mp_status peer;
    ns_t keep;   /* LEFT: until then */
    ns_t lose;   /* what is in flight then is lost; NS_NEVER */
    ns_t probe;  /* silent: next PING; NS_NEVER: not silent */
    ns_t silent; /* since */
    ns_t pinged; /* when it was last kept alive */
};

/* What the status of a path says: that it is a backup. */
static inline bool mp_wished(const struct mp_path *p)
{
    return p->wish[MP_BACKUP] || p->wish[MP_SPARE];
}

struct mp {
    struct quic_conn *c;
    bool on, due;
    bool wanted;        /* mp_open was refused, or nothing was allowed yet */
    uint64_t local_max; /* highest path ID that we allow */
    uint64_t peer_initial, peer_max;
    bool max_due;        /* MAX_PATH_ID is to be sent */
    bool paths_due;      /* PATHS_BLOCKED is to be sent */
    uint64_t paths_told; /* the peer was told that this limit is in the way; MP_UNTOLD */
    ns_t raise_at;       /* the limit is not raised before */
    struct mp_stats stats;
    size_t n; /* places: the connection's max_paths */
    struct mp_path path[];
};

/* The place of a path ID; false: it is over, or above our limit. */
bool mp_find(const struct mp *m, uint64_t id, size_t *at);

/* `q`, a slot with a new path ID or the first path, gets its place. */
void mp_place(struct mp *m, struct quic_path *q, enum mp_state state);

/* Something happened to the path at `at`; `error` is for our PATH_ABANDON and the user. */
void mp_step(struct mp *m, size_t at, enum mp_event event, uint64_t error);

/* Paths that are open, proven or not. */
size_t mp_open_paths(const struct mp *m);

/* Tell the user, who waits for it, that a path may be opened. */
void mp_tell_ready(struct mp *m);

/* ---- time.c ---------------------------------------------------------------------------- */

/* The earliest instant at which mp_tick has something to do. */
ns_t mp_deadline(void *state);
void mp_tick(void *state, ns_t now);

/* ---- cids.c: connection IDs ------------------------------------------------------------ */

/* Whether IDs of this path are to be announced to the peer or retired. */
bool mp_cids_due(const struct mp *m, size_t at);

/* How many IDs the peer should have for the path. */
void mp_cids_limit(struct mp *m, size_t at);

/* Write one frame of this path's IDs; false if there is none, or it doesn't fit. */
bool mp_cids_write(struct mp *m, size_t at, struct wire_w *w, struct sent_record *rec);

/* Frames about connection IDs. 0, or the error code. */
int mp_cids_on_new(struct mp *m, size_t at, const struct frame *f);
int mp_cids_on_retire(struct mp *m, size_t at, const struct frame *f,
                      const struct rx_packet *pkt);
int mp_cids_on_blocked(struct mp *m, size_t at, const struct frame *f);

/* What became of PATH_NEW_CONNECTION_ID and PATH_RETIRE_CONNECTION_ID. */
void mp_cids_on_fate(struct mp *m, size_t at, const struct sent_record *rec, bool acked);

/* Whether both ends have an ID for the other's first packet on the path. */
bool mp_cids_ready(const struct mp *m, size_t at);

#endif
