/*
 * mp - several paths for one connection: RFC 10069, both roles.
 *
 *     cfg.ext = &mp_ext; cfg.max_paths = 9;       path IDs 0 to 8 at first
 *     ... QUIC_EV_PATHS_ALLOWED: mp_open(conn, &route, now, &path)
 *     ... QUIC_EV_PATH_VALIDATED: quic_dgram_send(conn, path, ...) and quic_send(conn, path, ...)
 *
 * It is negotiated in the handshake; with a peer that doesn't know it the connection is plain
 * QUIC, and mp_open says QUIC_INVAL. Paths are named by the index that quic/quic.h has for them.
 * Only a client opens paths; either end may abandon one, or say that it had rather not have it
 * used.
 *
 * The events of quic/quic.h tell of paths: QUIC_EV_PATH_NEW when one is open, at either end;
 * QUIC_EV_PATH_VALIDATED when the peer has answered on it, from which on it is usable;
 * QUIC_EV_PATH_ROUTE when it moved; QUIC_EV_PATH_GONE when it is over, with the error code of
 * PATH_ABANDON, the peer's or ours.
 *
 * A path that doesn't answer is not abandoned by itself: what was in flight goes over the
 * others, and it is probed until it answers again (MP_PROBE_*) or the user abandons it. One
 * that never answered is abandoned.
 */
#ifndef MP_MP_H
#define MP_MP_H

#include "mp/frames.h"
#include "quic/ext.h"
#include "quic/quic.h"

/* For quic_config.ext. quic_config.max_paths is how many path IDs are alive at most. */
extern const struct quic_ext mp_ext;

/* A silent path is probed every MP_PROBE_SOON for MP_PROBE_LONG, then every MP_PROBE_LATE. */
#define MP_PROBE_SOON (NS_PER_S / 2)
#define MP_PROBE_LATE (5 * NS_PER_S)
#define MP_PROBE_LONG (120 * NS_PER_S)

/* Our limit for path IDs is raised by one in this time at most. */
#define MP_RAISE_EVERY (NS_PER_S / 10)

/* Whether the peer has multipath too; false before its parameters are known. */
bool mp_negotiated(const struct quic_conn *conn);

/* How many paths could be opened now. */
size_t mp_ready(const struct quic_conn *conn);

/*
 * Open a path on `route`, of which the local part tells the user's socket apart from others.
 * The index is in `*path`; a PATH_CHALLENGE is due there at once.
 *
 * Returns 0; QUIC_BLOCKED before the handshake is confirmed, or while path IDs or connection IDs
 * are lacking (the peer is told, and QUIC_EV_PATHS_ALLOWED follows when there are some);
 * QUIC_INVAL for a server, without multipath, or where the server allows no other path to this
 * address (disable_active_migration); QUIC_CLOSED once the connection is closing.
 */
int mp_open(struct quic_conn *conn, const struct quic_route *route, ns_t now, size_t *path);

/*
 * Abandon a path for reason `error` (MP_NO_ERROR ...). Nothing more is sent on it. What was in
 * flight has a probe timeout left to be acknowledged, unless the path is silent; then it is
 * lost and goes over other paths.
 *
 * Returns 0 (also if it is being abandoned already); QUIC_INVAL if there is no such path;
 * QUIC_BLOCKED for the only one that is open: close the connection instead; QUIC_CLOSED.
 */
int mp_abandon(struct quic_conn *conn, size_t path, uint64_t error, ns_t now);

/*
 * Say what we wish of the peer: to use `path` only where no other is usable (`backup`), or like
 * any other. What the peer wishes is `standby` in quic_path_view.
 *
 * Returns 0, QUIC_INVAL if there is no such path, or QUIC_CLOSED.
 */
int mp_set_backup(struct quic_conn *conn, size_t path, bool backup, ns_t now);

/*
 * The same for a time, beside that wish: `path` gives no news. It is said on another path, if one
 * may do. Returns as mp_set_backup.
 */
int mp_spare(struct quic_conn *conn, size_t path, bool spare, ns_t now);

struct mp_stats {
    uint64_t local_max, peer_max; /* highest path IDs that each allows */
    uint64_t opened, abandoned, over;
    uint64_t paths_blocked, cids_blocked; /* times that the peer said so */
};

/* All zero without multipath. */
void mp_stats(const struct quic_conn *conn, struct mp_stats *out);

#endif
